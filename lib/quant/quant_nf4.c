/* quant_nf4.c - the 4-bit normal float: Dettmers et al., "QLoRA", 2023, appendix E: quantiles of the normal law between
 * -1 and 1 with an exact 0, times the largest |w| of a group in 32 bits. */
#include "quant/codebook.h"

static const float levels[16] = {-1.0f,         -0.69619280f, -0.52507305f, -0.39491749f, -0.28444138f, -0.18477343f,
                                 -0.09105004f,  0.0f,         0.07958030f,  0.16093020f,  0.24611230f,  0.33791524f,
                                 0.44070983f,   0.56261700f,  0.72295684f,  1.0f};

static qdisp_status quantize(qdisp_ctx *ctx, const qd_choice *c, const float *w, const qd_inputs *x, qd_codes *out) {
    static const qd_codebook book = {levels, NULL};
    (void)x;
    return qd_codebook_quantize(ctx, c, w, &book, out);
}

static qdisp_status check(qdisp_ctx *ctx, const qd_choice *c) {
    return qd_codebook_check(ctx, c, 0);
}

const qd_method qd_method_nf4 = {.name = "nf4", .needs = "weights", .paper = "Dettmers et al. 2023, QLoRA",
                                 .choose = qd_codebook_choose, .quantize = quantize, .check = check, .type = "nf4",
                                 .unit_bits = 32};
