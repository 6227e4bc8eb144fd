/* bpe_cut.c - cutting a long text at places that no merge can cross.
 *
 * A merge puts two strings together; the last character of the one and the first of the other then stand side by side.
 * Between two characters that no merge brings together there is always a border of tokens, so both sides can be encoded
 * apart, and a text without words falls into short parts. The set of pairs is a Bloom filter with one hash: a false
 * member costs a cut, never a wrong one. */
#include "tokenizer/bpe.h"
#include <string.h>

#define BITS_A_PAIR 16 /* about one pair in sixteen is a false member */

static size_t bit_of(const qd_joins *joins, uint32_t left, uint32_t right) {
    uint64_t pair = (uint64_t)left << 32 | right;
    return (size_t)(pair * 0x9E3779B97F4A7C15u >> joins->shift);
}

static uint32_t last_char(const char *s, size_t n) {
    size_t at = n - 1, len;
    while (at > 0 && ((uint8_t)s[at] & 0xC0) == 0x80) at--;
    return (uint32_t)qd_utf8_next((const uint8_t *)s + at, &len);
}

/* First and last character of each token. */
static uint32_t *ends_of(qdisp_ctx *ctx, const qd_strings *strings) {
    uint32_t *ends = qd_alloc(ctx, strings->n, 2 * sizeof *ends);
    for (size_t i = 0; ends && i < strings->n; i++) {
        size_t len;
        if (!strings->str[i] || !strings->len[i]) continue;
        ends[2 * i] = (uint32_t)qd_utf8_next((const uint8_t *)strings->str[i], &len);
        ends[2 * i + 1] = last_char(strings->str[i], strings->len[i]);
    }
    return ends;
}

/* Adds the pairs; returns how many bits that set. */
static size_t fill(qd_joins *joins, const uint32_t *ends, const qd_merges *merges) {
    size_t n_set = 0;
    for (size_t i = 0; i < merges->n; i++) {
        size_t bit = bit_of(joins, ends[2 * merges->items[i].left + 1], ends[2 * merges->items[i].right]);
        uint64_t mask = (uint64_t)1 << (bit & 63);
        n_set += !(joins->bits[bit >> 6] & mask);
        joins->bits[bit >> 6] |= mask;
    }
    return n_set;
}

qdisp_status qd_joins_new(qdisp_ctx *ctx, const qd_strings *strings, const qd_merges *merges, const bool *unmerged,
                          qd_joins *out) {
    for (size_t i = 0; i < merges->n; i++) {
        if (unmerged[merges->items[i].left] || unmerged[merges->items[i].right]) return QDISP_OK;
    }
    uint32_t *ends = ends_of(ctx, strings);
    if (!ends) return QDISP_ENOMEM;
    qdisp_status status = QDISP_OK;
    for (unsigned log2 = 12;; log2++) { /* distinct pairs are far fewer than merges */
        qd_joins joins = {.shift = 64 - log2, .bits = qd_alloc(ctx, ((size_t)1 << log2) / 64, sizeof(uint64_t))};
        if (!joins.bits) {
            status = QDISP_ENOMEM;
            break;
        }
        if (fill(&joins, ends, merges) * BITS_A_PAIR <= (size_t)1 << log2 || log2 >= 30) {
            *out = joins;
            break;
        }
        qd_free(ctx, joins.bits);
    }
    qd_free(ctx, ends);
    return status;
}

size_t qd_joins_cut(const qd_joins *joins, const uint8_t *text, size_t begin, size_t end) {
    size_t len;
    uint32_t left = (uint32_t)qd_utf8_next(text + begin, &len);
    size_t at = begin + len;
    while (at < end) {
        uint32_t right = (uint32_t)qd_utf8_next(text + at, &len);
        size_t bit = bit_of(joins, left, right);
        if (!(joins->bits[bit >> 6] >> (bit & 63) & 1)) return at;
        left = right;
        at += len;
    }
    return end;
}
