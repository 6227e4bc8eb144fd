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

static float value_of(const qd_codes *c, size_t i_row, size_t j) {
    size_t g = i_row * c->n_groups + (c->order ? c->order[j] : j / c->group_size);
    int code = c->codes[i_row * c->n_in + j], zero = c->zeros ? c->zeros[g] : 1 << (c->bits - 1);
    float level = c->levels ? c->levels[code] : (float)(code - zero);
    return c->scales[g] * level + (c->offsets ? c->offsets[g] : 0);
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
        for (size_t j = 0; !c->block && j < c->n_in; j++) row[j] = value_of(c, first + r, j);
        for (size_t j = 0; c->inputs && j < c->n_in; j++) row[j] /= c->inputs[j];
    }
    keep(c, first, n, out);
}
