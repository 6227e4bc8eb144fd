/* codes.c - quantized matrices: made, decoded, cleared. */
#include "quant/codes.h"

#include <string.h>

qdisp_status qd_codes_make(qdisp_ctx *ctx, size_t n_out, size_t n_in, int bits, size_t group_size, bool zeros,
                           bool offsets, qd_codes *out) {
    *out = (qd_codes){.n_out = n_out, .n_in = n_in, .bits = bits, .group_size = group_size, .type = "int"};
    out->n_groups = (n_in + group_size - 1) / group_size;
    size_t n = n_out * out->n_groups;
    out->codes = qd_alloc(ctx, n_out * n_in, 1);
    out->scales = qd_alloc(ctx, n, sizeof *out->scales);
    if (zeros) out->zeros = qd_alloc(ctx, n, 1);
    if (offsets) out->offsets = qd_alloc(ctx, n, sizeof *out->offsets);
    if (out->codes && out->scales && (out->zeros || !zeros) && (out->offsets || !offsets)) return QDISP_OK;
    qd_codes_clear(ctx, out);
    return QDISP_ENOMEM;
}

void qd_codes_clear(qdisp_ctx *ctx, qd_codes *c) {
    qd_free(ctx, c->codes);
    qd_free(ctx, c->scales);
    qd_free(ctx, c->zeros);
    qd_free(ctx, c->offsets);
    qd_free(ctx, c->inputs);
    qd_free(ctx, c->order);
    qd_free(ctx, c->kept);
    qd_free(ctx, c->blocks);
    *c = (qd_codes){0};
}

/* Columns [first, first + n) of a row, all of one group. */
static void decode_group(const qd_codes *c, size_t i_row, size_t g, size_t first, size_t n, float *out) {
    const uint8_t *codes = c->codes + i_row * c->n_in + first;
    size_t at = i_row * c->n_groups + g;
    float scale = c->scales[at], offset = c->offsets ? c->offsets[at] : 0;
    int zero = c->zeros ? c->zeros[at] : 1 << (c->bits - 1);
    for (size_t j = 0; c->levels && j < n; j++) out[j] = scale * c->levels[codes[j]] + offset;
    for (size_t j = 0; !c->levels && j < n; j++) out[j] = scale * (float)(codes[j] - zero) + offset;
}

static void decode_row(const qd_codes *c, size_t i_row, float *out) {
    for (size_t j = 0; c->order && j < c->n_in; j++) decode_group(c, i_row, c->order[j], j, 1, out + j);
    for (size_t g = 0; !c->order && g < c->n_groups; g++) {
        size_t first = g * c->group_size, n = c->n_in - first < c->group_size ? c->n_in - first : c->group_size;
        decode_group(c, i_row, g, first, n, out + first);
    }
}

static void keep(const qd_codes *c, size_t first, size_t n, float *out) {
    size_t low = 0, high = c->n_kept, from = first * c->n_in;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->kept[middle].at < from) low = middle + 1;
        else high = middle;
    }
    for (; low < c->n_kept && c->kept[low].at < from + n * c->n_in; low++)
        out[c->kept[low].at - from] = c->kept[low].value;
}

void qd_codes_decode(qdisp_ctx *ctx, const qd_codes *c, size_t first, size_t n, float *out) {
    (void)ctx;
    for (size_t r = 0; r < n; r++) {
        float *row = out + r * c->n_in;
        if (c->block) c->block->decode(c->blocks + (first + r) * c->row_bytes, c->n_in / c->block->n_values, row);
        else decode_row(c, first + r, row);
        for (size_t j = 0; c->inputs && j < c->n_in; j++) row[j] /= c->inputs[j];
    }
    keep(c, first, n, out);
}
