/* tokenize.c - encoding with an open tokenizer. */
#include "tokenizer/tokenizer.h"
#include <string.h>

/* ---- GPT-2's byte alphabet: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and up, in order
 * ---- */

static bool is_printable(int b) {
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
}

int32_t qd_byte_level_char(uint8_t byte) {
    if (is_printable(byte)) return byte;
    if (byte <= 0x20) return 0x100 + byte;
    if (byte <= 0xA0) return 0x121 + (byte - 0x7F);
    return 0x143; /* 0xAD */
}

int qd_byte_level_byte(int32_t c) {
    if (c < 0x100) return is_printable(c) ? c : -1;
    if (c <= 0x120) return c - 0x100;
    if (c <= 0x142) return c - 0x121 + 0x7F;
    return c == 0x143 ? 0xAD : -1;
}

bool qd_byte_level_decode(const char *token, size_t n, char *out, size_t *n_out) {
    *n_out = 0;
    for (size_t i = 0, len; i < n; i += len) {
        int byte = qd_byte_level_byte(qd_utf8_next((const uint8_t *)token + i, &len));
        if (byte < 0) return false;
        out[(*n_out)++] = (char)byte;
    }
    return true;
}

/* ---- encoding ---- */

qdisp_status qd_encoder_push(qd_encoder *e, int32_t id, size_t start) {
    if (e->n == e->cap_ids || e->n == e->cap_starts) {
        QD_TRY(qd_grow(e->ctx, (void **)&e->ids, &e->cap_ids, e->n + 1, sizeof *e->ids));
        QD_TRY(qd_grow(e->ctx, (void **)&e->starts, &e->cap_starts, e->n + 1, sizeof *e->starts));
    }
    e->ids[e->n] = id;
    e->starts[e->n++] = start;
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
    QD_TRY(qd_added_cut(e->ctx, &t->normalized, text->bytes, begin, end, &e->inner));
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
    QD_TRY(qd_matcher_new(e->ctx, &e->matcher));
    QD_TRY(qd_added_cut(e->ctx, &e->tokenizer->raw, text.bytes, 0, n, &e->outer));
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

void qd_encoder_clear(qd_encoder *e) {
    qd_matcher_free(e->ctx, e->matcher);
    for (size_t i = 0; i < 2; i++) {
        qd_text_free(e->ctx, &e->norm[i]);
        qd_text_free(e->ctx, &e->prefixed[i]);
    }
    qd_free(e->ctx, e->chars);
    qd_free(e->ctx, e->classes);
    qd_free(e->ctx, e->shadow);
    qd_free(e->ctx, e->outer.items);
    qd_free(e->ctx, e->inner.items);
    qd_free(e->ctx, e->words.items);
    qd_free(e->ctx, e->words_next.items);
    qd_free(e->ctx, e->spans.items);
    qd_free(e->ctx, e->symbols);
    qd_free(e->ctx, e->heap);
    qd_free(e->ctx, e->links);
    qd_free(e->ctx, e->ids);
    qd_free(e->ctx, e->starts);
}

qdisp_status qdisp_tokenizer_encode(const qdisp_tokenizer *tokenizer, const char *text, size_t n_bytes, int32_t *ids,
                                    size_t *starts, size_t capacity, size_t *n_ids) {
    if (!tokenizer) return QDISP_EINVAL;
    qdisp_ctx *ctx = tokenizer->ctx;
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
    qd_encoder e = {.ctx = ctx, .tokenizer = tokenizer};
    qdisp_status status = n_bytes ? encode_text(&e, text, n_bytes) : QDISP_OK;
    if (status == QDISP_OK) {
        *n_ids = e.n;
        if (e.n && e.n <= capacity) {
            memcpy(ids, e.ids, e.n * sizeof *ids);
            if (starts) memcpy(starts, e.starts, e.n * sizeof *starts);
        }
    }
    qd_encoder_clear(&e);
    return status;
}

size_t qdisp_tokenizer_n_vocab(const qdisp_tokenizer *tokenizer) {
    return tokenizer ? tokenizer->strings.n : 0;
}

int32_t qdisp_tokenizer_id(const qdisp_tokenizer *tokenizer, const char *token) {
    return tokenizer && token ? qd_strings_find(&tokenizer->strings, token, strlen(token)) : -1;
}

const char *qdisp_tokenizer_token(const qdisp_tokenizer *tokenizer, int32_t id) {
    return tokenizer && id >= 0 && (size_t)id < tokenizer->strings.n ? tokenizer->strings.str[id] : NULL;
}

bool qd_tokenizer_is_byte(const qdisp_tokenizer *tokenizer, int32_t id) {
    const char *token = tokenizer->strings.str[id], *decoded = tokenizer->decoded.str[id];
    if (!token) return false;
    if (tokenizer->strings.len[id] == 6 && !memcmp(token, "<0x", 3) && strspn(token + 3, "0123456789ABCDEF") == 2 &&
        token[5] == '>')
        return true;
    return decoded && tokenizer->decoded.len[id] == 1 && (uint8_t)*decoded >= 0x80;
}
