/* text.c - text whose bytes know where they came from. */
#include "tokenizer/tokenizer.h"
#include <string.h>

int32_t qd_utf8_next(const uint8_t *s, size_t *n_bytes) {
    if (s[0] < 0x80) {
        *n_bytes = 1;
        return s[0];
    }
    if (s[0] < 0xE0) {
        *n_bytes = 2;
        return (s[0] & 0x1F) << 6 | (s[1] & 0x3F);
    }
    if (s[0] < 0xF0) {
        *n_bytes = 3;
        return (s[0] & 0x0F) << 12 | (s[1] & 0x3F) << 6 | (s[2] & 0x3F);
    }
    *n_bytes = 4;
    return (s[0] & 0x07) << 18 | (s[1] & 0x3F) << 12 | (s[2] & 0x3F) << 6 | (s[3] & 0x3F);
}

size_t qd_utf8_put(int32_t c, uint8_t out[4]) {
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xC0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xE0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (c & 0x3F));
    return 4;
}

size_t qd_text_origin(const qd_text *text, size_t i_byte) {
    if (text->map) return text->map[i_byte];
    while (i_byte > 0 && (text->bytes[i_byte] & 0xC0) == 0x80) i_byte--;
    return text->base + i_byte;
}

void qd_text_clear(qd_text *to) {
    to->n_own = 0;
}

qdisp_status qd_text_push(qdisp_ctx *ctx, qd_text *to, const uint8_t *bytes, size_t n, const qd_text *from,
                          size_t i_from) {
    if (n == 0) return QDISP_OK;
    QD_TRY(qd_grow(ctx, (void **)&to->own_bytes, &to->cap_bytes, to->n_own + n, 1));
    QD_TRY(qd_grow(ctx, (void **)&to->own_map, &to->cap_map, to->n_own + n, sizeof(size_t)));
    memcpy(to->own_bytes + to->n_own, bytes, n);
    if (from->map) {
        memcpy(to->own_map + to->n_own, from->map + i_from, n * sizeof *from->map);
    } else {
        size_t origin = qd_text_origin(from, i_from);
        for (size_t i = 0; i < n; i++) {
            if ((bytes[i] & 0xC0) != 0x80) origin = from->base + i_from + i;
            to->own_map[to->n_own + i] = origin;
        }
    }
    to->n_own += n;
    return QDISP_OK;
}

qdisp_status qd_text_push_char(qdisp_ctx *ctx, qd_text *to, int32_t c, size_t origin) {
    QD_TRY(qd_grow(ctx, (void **)&to->own_bytes, &to->cap_bytes, to->n_own + 4, 1));
    QD_TRY(qd_grow(ctx, (void **)&to->own_map, &to->cap_map, to->n_own + 4, sizeof(size_t)));
    size_t n = qd_utf8_put(c, to->own_bytes + to->n_own);
    for (size_t i = 0; i < n; i++) to->own_map[to->n_own + i] = origin;
    to->n_own += n;
    return QDISP_OK;
}

void qd_text_seal(qd_text *to) {
    to->bytes = to->own_bytes ? to->own_bytes : (const uint8_t *)"";
    to->map = to->own_map;
    to->base = 0;
    to->n = to->n_own;
}

void qd_text_free(qdisp_ctx *ctx, qd_text *text) {
    qd_free(ctx, text->own_bytes);
    qd_free(ctx, text->own_map);
}
