/* tokenize.c - encoding and decoding with an open tokenizer. */
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

static void encoder_clear(qd_encoder *e) {
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
    encoder_clear(&e);
    return status;
}

/* ---- decoding ---- */

/* Length of the valid character at s[n], or 0 and in *n_bad the length of what becomes one U+FFFD: the longest
 * beginning of a valid character, or one byte (Unicode, "substitution of maximal subparts", as the reference does). */
static size_t char_length(const uint8_t *s, size_t n, size_t *n_bad) {
    uint8_t c = s[0];
    *n_bad = 1;
    if (c < 0x80) return 1;
    if (c < 0xC2 || c > 0xF4) return 0;
    size_t len = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    uint8_t low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80, high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    for (size_t i = 1; i < len; i++) {
        if (i >= n || s[i] < low || s[i] > high) return 0;
        low = 0x80;
        high = 0xBF;
        *n_bad = i + 1;
    }
    return len;
}

/* Valid UTF-8 of s[n]; out may be NULL to count. */
static size_t to_utf8(const uint8_t *s, size_t n, char *out) {
    size_t n_out = 0;
    for (size_t i = 0; i < n;) {
        size_t n_bad, len = char_length(s + i, n - i, &n_bad);
        if (out) memcpy(out + n_out, len ? (const char *)s + i : "\xEF\xBF\xBD", len ? len : 3);
        n_out += len ? len : 3;
        i += len ? len : n_bad;
    }
    return n_out;
}

/* Bytes of all tokens together; out may be NULL to count. */
static size_t join(const qdisp_tokenizer *t, const int32_t *ids, size_t n_ids, int skip_special, char *out) {
    size_t n = 0;
    bool first = true;
    for (size_t i = 0; i < n_ids; i++) {
        int32_t id = ids[i];
        if (!t->decoded.str[id] || (skip_special && t->special[id])) continue;
        if (t->join_spaces && !first) {
            if (out) out[n] = ' ';
            n++;
        }
        if (out && t->decoded.len[id]) memcpy(out + n, t->decoded.str[id], t->decoded.len[id]);
        n += t->decoded.len[id];
        first = false;
    }
    return n;
}

qdisp_status qdisp_tokenizer_decode(const qdisp_tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                                    int skip_special, char *text, size_t capacity, size_t *n_bytes) {
    if (!tokenizer) return QDISP_EINVAL;
    qdisp_ctx *ctx = tokenizer->ctx;
    if ((!ids && n_ids) || (!text && capacity) || !n_bytes) {
        return qd_fail(ctx, QDISP_EINVAL, "qdisp_tokenizer_decode: %s is NULL",
                       !n_bytes ? "n_bytes" : !ids && n_ids ? "ids" : "text");
    }
    for (size_t i = 0; i < n_ids; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= tokenizer->strings.n || !tokenizer->strings.str[ids[i]]) {
            return qd_fail(ctx, QDISP_EINVAL, "ids[%zu]: %d is not in the vocabulary", i, (int)ids[i]);
        }
    }
    size_t n = join(tokenizer, ids, n_ids, skip_special, NULL);
    char *bytes = qd_alloc(ctx, n + 1, 1);
    if (!bytes) return QDISP_ENOMEM;
    join(tokenizer, ids, n_ids, skip_special, bytes);
    *n_bytes = to_utf8((const uint8_t *)bytes, n, NULL);
    if (*n_bytes <= capacity) to_utf8((const uint8_t *)bytes, n, text);
    qd_free(ctx, bytes);
    return QDISP_OK;
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
