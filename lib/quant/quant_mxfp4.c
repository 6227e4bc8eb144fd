/* quant_mxfp4.c - MXFP4 of the OCP Microscaling formats, 1.0: 4-bit floats (E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their
 * negatives) in groups of 32 with a power of two for a scale, 2^(floor(log2(max|w|)) - 2), which leaves the largest
 * below 8. To the nearest, of two as near the one nearer to 0, as ggml's reference does; beyond 6 it saturates. */
#include "quant/codebook.h"

#include <math.h>

enum { GROUP = 32, LOWEST = -127 /* of an 8-bit exponent */ };

static const float levels[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
static const float middles[7] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5};

static qdisp_status quantize_row(qdisp_ctx *ctx, void *user, const float *w, size_t i_row, qd_codes *out) {
    const qd_choice *c = user;
    for (size_t g = 0; g < out->n_groups; g++) {
        size_t first = g * GROUP, n = c->n_in - first < GROUP ? c->n_in - first : GROUP;
        float absmax = ctx->kernels->abs_max(w + first, n), sizes[GROUP];
        uint8_t *codes = out->codes + i_row * c->n_in + first;
        int exponent;
        if (!isfinite(absmax)) return qd_fail(ctx, QDISP_ENUMERIC, "%s: a weight is not finite", c->name);
        frexpf(absmax, &exponent); /* absmax in [2^(exponent - 1), 2^exponent) */
        exponent = exponent - 3 < LOWEST || !(absmax > 0) ? LOWEST : exponent - 3;
        float inverse = ldexpf(1, -exponent); /* at most 2^127; exact */
        for (size_t j = 0; j < n; j++) sizes[j] = fabsf(w[first + j]) * inverse;
        qd_codebook_count(sizes, n, middles, 7, codes);
        for (size_t j = 0; j < n; j++) codes[j] |= (uint8_t)(w[first + j] < 0 && codes[j] > 0 ? 8 : 0);
        out->scales[i_row * out->n_groups + g] = ldexpf(1, exponent);
    }
    return QDISP_OK;
}

static qdisp_status quantize(qdisp_ctx *ctx, const qd_choice *c, const float *w, const qd_inputs *x, qd_codes *out) {
    qd_choice own = *c;
    (void)x;
    QD_TRY(qd_codes_make(ctx, c->n_out, c->n_in, 4, GROUP, false, false, out));
    out->levels = levels;
    out->type = c->type;
    return qd_codes_rows(ctx, w, quantize_row, &own, out);
}

static qdisp_status check(qdisp_ctx *ctx, const qd_choice *c) {
    return qd_codebook_check(ctx, c, GROUP);
}

const qd_method qd_method_mxfp4 = {.name = "mxfp4", .needs = "weights", .paper = "OCP Microscaling formats 1.0, 2023",
                                   .choose = qd_codebook_choose, .quantize = quantize, .check = check, .type = "mxfp4",
                                   .unit_bits = 8, .group = GROUP};
