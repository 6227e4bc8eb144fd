/* encoder.c - encoding: text cut at added tokens, normalized, cut into words, given to the model.
 *
 * What changes during a call lives in an encoder. A tokenizer keeps a few between calls, with their buffers and the
 * model's cache of words, so that a call on a line allocates nothing; a thread takes one and puts it back by an atomic
 * exchange of a pointer. */
#include "tokenizer/tokenizer.h"
#include <string.h>

#define MOST_KEPT ((size_t)8 << 20) /* bytes of buffers that an idle encoder may hold */

qdisp_status qd_encoder_reserve(qd_encoder *e, size_t n) {
    QD_TRY(qd_grow(e->ctx, (void **)&e->ids, &e->cap_ids, e->n + n, sizeof *e->ids));
    return e->want_starts ? qd_grow(e->ctx, (void **)&e->starts, &e->cap_starts, e->n + n, sizeof *e->starts)
                          : QDISP_OK;
}

qdisp_status qd_encoder_push(qd_encoder *e, int32_t id, size_t start) {
    QD_TRY(qd_encoder_reserve(e, 1));
    e->ids[e->n] = id;
    if (e->want_starts) e->starts[e->n] = start;
    e->n++;
    return QDISP_OK;
}

qdisp_status qd_encoder_shadow(qd_encoder *e, const qd_text *text, size_t begin, size_t end, const uint8_t **out) {
    const uint8_t *s = text->bytes;
    bool copied = false;
    *out = s;
    for (size_t i = begin, len; i < end; i += len) {
        if (s[i] < 0xE0) { /* nothing newer has fewer than three bytes */
            len = s[i] < 0x80 ? 1 : 2;
            continue;
        }
        int32_t c = qd_utf8_next(s + i, &len), other = qd_unicode_stand_in(c);
        if (c == other) continue;
        if (!copied) {
            QD_TRY(qd_grow(e->ctx, (void **)&e->shadow, &e->cap_shadow, end, 1));
            memcpy(e->shadow + begin, s + begin, end - begin);
            *out = e->shadow;
            copied = true;
        }
        qd_utf8_put(other, e->shadow + i);
    }
    return QDISP_OK;
}

static qdisp_status encode_plain(qd_encoder *e, const qd_text *text, size_t begin, size_t end) {
    const qdisp_tokenizer *t = e->tokenizer;
    const qd_text *worded = NULL;
    QD_TRY(qd_pretokenize(e, t->pretokenizer, text, begin, end, &worded));
    for (size_t i = 0; i < e->words.n; i++) {
        QD_TRY(t->kind->encode(e, t->model, worded, e->words.items[i].begin, e->words.items[i].end));
    }
    return QDISP_OK;
}

static qdisp_status encode_piece(qd_encoder *e, const qd_text *text, size_t begin, size_t end) {
    const qdisp_tokenizer *t = e->tokenizer;
    QD_TRY(qd_normalize(e, t->normalizer, &text, &begin, &end));
    e->inner.n = 0;
    QD_TRY(qd_added_cut(e->ctx, &t->normalized, text->bytes, begin, end, e->special_as_text, &e->inner));
    for (size_t i = 0; i < e->inner.n; i++) {
        const qd_piece *piece = &e->inner.items[i];
        if (piece->id >= 0) {
            QD_TRY(qd_encoder_push(e, piece->id, qd_text_origin(text, piece->begin)));
        } else {
            QD_TRY(encode_plain(e, text, piece->begin, piece->end));
        }
    }
    return QDISP_OK;
}

static qdisp_status encode_text(qd_encoder *e, const char *bytes, size_t n) {
    qd_text text = {.bytes = (const uint8_t *)bytes, .n = n};
    e->outer.n = 0;
    QD_TRY(qd_added_cut(e->ctx, &e->tokenizer->raw, text.bytes, 0, n, e->special_as_text, &e->outer));
    for (size_t i = 0; i < e->outer.n; i++) {
        const qd_piece *piece = &e->outer.items[i];
        if (piece->id >= 0) {
            QD_TRY(qd_encoder_push(e, piece->id, piece->begin));
        } else {
            QD_TRY(encode_piece(e, &text, piece->begin, piece->end));
        }
    }
    return QDISP_OK;
}

/* ---- encoders between calls ---- */

void qd_encoder_clear(qd_encoder *e) {
    qd_matcher_free(e->ctx, e->matcher);
    for (size_t i = 0; i < 2; i++) {
        qd_text_free(e->ctx, &e->norm[i]);
        qd_text_free(e->ctx, &e->prefixed[i]);
    }
    void *blocks[] = {e->chars,   e->classes, e->shadow, e->outer.items, e->inner.items, e->words.items,
                      e->words_next.items, e->spans.items, e->symbols, e->heap, e->links, e->cache, e->ids, e->starts};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) qd_free(e->ctx, blocks[i]);
}

void qd_encoder_free(qd_encoder *e) {
    if (!e) return;
    qd_encoder_clear(e);
    qd_free(e->ctx, e);
}

static size_t bytes_held(const qd_encoder *e) {
    size_t n = e->cap_chars * sizeof *e->chars + e->cap_classes + e->cap_shadow;
    for (size_t i = 0; i < 2; i++) {
        n += e->norm[i].cap_bytes + e->norm[i].cap_map * sizeof(size_t);
        n += e->prefixed[i].cap_bytes + e->prefixed[i].cap_map * sizeof(size_t);
    }
    n += (e->outer.cap + e->inner.cap + e->words.cap + e->words_next.cap) * sizeof(qd_piece);
    n += e->spans.cap * sizeof(qd_span) + e->cap_symbols * sizeof(int32_t) + e->cap_heap * sizeof(uint64_t);
    return n + e->cap_links * sizeof(uint32_t) + e->cap_ids * sizeof(int32_t) + e->cap_starts * sizeof(size_t);
}

static qd_encoder *take(const qdisp_tokenizer *tokenizer) {
    qdisp_tokenizer *t = (qdisp_tokenizer *)tokenizer; /* what is idle is no part of what the tokenizer means */
    for (size_t i = 0; i < QD_IDLE_ENCODERS; i++) {
        if (!__atomic_load_n(&t->idle[i], __ATOMIC_RELAXED)) continue;
        qd_encoder *e = __atomic_exchange_n(&t->idle[i], NULL, __ATOMIC_ACQUIRE);
        if (e) return e;
    }
    qd_encoder *e = qd_alloc(t->ctx, 1, sizeof *e);
    if (!e) return NULL;
    e->ctx = t->ctx;
    e->tokenizer = t;
    if (qd_matcher_new(t->ctx, &e->matcher) == QDISP_OK) return e;
    qd_free(t->ctx, e);
    return NULL;
}

static void give_back(qd_encoder *e) {
    qdisp_tokenizer *t = (qdisp_tokenizer *)e->tokenizer;
    bool keep = bytes_held(e) <= MOST_KEPT;
    for (size_t i = 0; keep && i < QD_IDLE_ENCODERS; i++) {
        qd_encoder *none = NULL;
        if (__atomic_compare_exchange_n(&t->idle[i], &none, e, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) return;
    }
    qd_encoder_free(e);
}

qdisp_status qdisp_tokenizer_encode_as(const qdisp_tokenizer *tokenizer, const char *text, size_t n_bytes,
                                       const qdisp_encode_options *options, int32_t *ids, size_t *starts,
                                       size_t capacity, size_t *n_ids) {
    if (!tokenizer) return QDISP_EINVAL;
    qdisp_ctx *ctx = tokenizer->ctx;
    qdisp_encode_options given;
    QD_TRY(qd_copy_options(ctx, "encode options", options, &given, sizeof given));
    if ((!text && n_bytes) || (!ids && capacity) || !n_ids) {
        return qd_fail(ctx, QDISP_EINVAL, "qdisp_tokenizer_encode: %s is NULL",
                       !n_ids ? "n_ids" : !text ? "text" : "ids");
    }
    if (n_bytes > PTRDIFF_MAX / sizeof(size_t)) return qd_fail(ctx, QDISP_EINVAL, "qdisp_tokenizer_encode: n_bytes");
    size_t bad = n_bytes ? qd_utf8_check(text, n_bytes) : 0;
    if (bad < n_bytes) {
        return qd_fail(ctx, QDISP_EENCODING, "text: byte 0x%02X at offset %zu is not valid UTF-8", (uint8_t)text[bad],
                       bad);
    }
    qd_encoder *e = take(tokenizer);
    if (!e) return QDISP_ENOMEM;
    e->n = 0;
    e->want_starts = starts != NULL;
    e->special_as_text = given.special_as_text;
    qdisp_status status = n_bytes ? encode_text(e, text, n_bytes) : QDISP_OK;
    if (status == QDISP_OK) {
        *n_ids = e->n;
        if (e->n && e->n <= capacity) {
            memcpy(ids, e->ids, e->n * sizeof *ids);
            if (starts) memcpy(starts, e->starts, e->n * sizeof *starts);
        }
    }
    give_back(e);
    return status;
}

qdisp_status qdisp_tokenizer_encode(const qdisp_tokenizer *tokenizer, const char *text, size_t n_bytes, int32_t *ids,
                                    size_t *starts, size_t capacity, size_t *n_ids) {
    return qdisp_tokenizer_encode_as(tokenizer, text, n_bytes, NULL, ids, starts, capacity, n_ids);
}
