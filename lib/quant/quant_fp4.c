/* quant_fp4.c - bitsandbytes' 4-bit float: a sign, two bits of exponent and one of fraction, their values in units of
 * the largest (12, with steps that halve towards 1/16), times the largest |w| of a group in 32 bits. */
#include "quant/codebook.h"

#define OF_12(x) ((x) / 12.0f)
static const float levels[16] = {0,  OF_12(0.0625f),  OF_12(8.0f),  1,  OF_12(4.0f),  OF_12(6.0f),  OF_12(2.0f),
                                 OF_12(3.0f), 0, OF_12(-0.0625f), OF_12(-8.0f), -1, OF_12(-4.0f), OF_12(-6.0f),
                                 OF_12(-2.0f), OF_12(-3.0f)};
static const uint8_t order[16] = {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3};

static qdisp_status quantize(qdisp_ctx *ctx, const qd_choice *c, const float *w, const qd_inputs *x, qd_codes *out) {
    static const qd_codebook book = {levels, order};
    (void)x;
    return qd_codebook_quantize(ctx, c, w, &book, out);
}

static qdisp_status check(qdisp_ctx *ctx, const qd_choice *c) {
    return qd_codebook_check(ctx, c, 0);
}

const qd_method qd_method_fp4 = {.name = "fp4", .needs = "weights", .paper = "bitsandbytes' 4-bit float",
                                 .choose = qd_codebook_choose, .quantize = quantize, .check = check, .type = "fp4",
                                 .unit_bits = 32};
