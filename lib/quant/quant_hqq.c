/* quant_hqq.c - half-quadratic quantization: Badri, Shaji, "Half-Quadratic Quantization of Large Machine Learning
 * Models", 2023. Data-free: with the min-max step of a unit kept, its real zero point z minimises sum |w - W_q|^p for
 * p < 1 by splitting: the error is shrunk towards 0 (a generalised soft threshold), then z fits the rest in the mean,
 * z <- mean(q - (w - shrunk error) / step), while the penalty beta grows. In steps, with r = w / step + z - q, that is
 * z <- z - mean(sign(r) min(|r|, c |r|^(p-1))), c = step^(p-2) / beta: the kernel half_quadratic.
 *
 * Beside the authors' program: the step is rounded to 16 bits before (so z makes up for it), the iterations of a unit
 * end where they stand still instead of where the mean error of the whole matrix grows, and codes are rounded on the
 * stored grid, code * scale + offset, with 16 bits for both. */
#include "quant/rows.h"

#include <math.h>
#include <string.h>

typedef struct hqq {
    const qd_choice *c;
    float step, offset; /* of a tensor */
} hqq;

/* Step and offset of a unit: values are step * (code - 2^(bits-1)) + offset. */
static qdisp_status fit(qdisp_ctx *ctx, const qd_choice *c, const float *w, size_t n, float *step, float *offset) {
    float ends[2], high = (float)((1 << c->bits) - 1), middle = (float)(1 << (c->bits - 1));
    ctx->kernels->range(w, n, ends);
    if (!isfinite(ends[0]) || !isfinite(ends[1]))
        return qd_fail(ctx, QDISP_ENUMERIC, "%s: a weight is not finite", c->name);
    *step = qd_f16_to_f32(qd_f32_to_f16((ends[1] - ends[0]) / high));
    *offset = qd_f16_to_f32(qd_f32_to_f16(0.5f * ends[0] + 0.5f * ends[1])); /* all weights alike */
    if (*step > 0 && isfinite(*step)) {
        double p = qd_choice_option(c, "lp", 0.7), beta = qd_choice_option(c, "beta", 10);
        double kappa = qd_choice_option(c, "kappa", 1.01), n_iterations = qd_choice_option(c, "iterations", 20);
        double weight = pow((double)*step, p - 2) / beta, last = weight * pow(kappa, -n_iterations);
        qd_half_quadratic how = {1 / *step, high, (float)weight, (float)(1 / kappa), (float)(p - 1),
                                 (float)(0.9 * pow(last, 1 / (2 - p))), (unsigned)n_iterations};
        float zero = ctx->kernels->half_quadratic(w, n, -ends[0] * how.inverse, &how);
        *offset = qd_f16_to_f32(qd_f32_to_f16((middle - zero) * *step));
    }
    if (isfinite(*step) && isfinite(*offset)) return QDISP_OK;
    return qd_fail(ctx, QDISP_ENUMERIC, "%s: a scale for weights up to %g does not fit a 16-bit float", c->name,
                   (double)fmaxf(-ends[0], ends[1]));
}

static qdisp_status quantize_row(qdisp_ctx *ctx, void *user, const float *w, size_t i_row, qd_codes *out) {
    enum { BLOCK = 1024 };
    const hqq *h = user;
    const qd_choice *c = h->c;
    int middle = 1 << (c->bits - 1);
    float moved[BLOCK];
    for (size_t g = 0; g < out->n_groups; g++) {
        size_t first = g * out->group_size, at = i_row * out->n_groups + g;
        size_t n = c->n_in - first < out->group_size ? c->n_in - first : out->group_size;
        float step = h->step, offset = h->offset;
        if (c->units_per_row) QD_TRY(fit(ctx, c, w + first, n, &step, &offset));
        qd_grid grid = {step, step > 0 ? 1 / step : 0, -middle, middle - 1};
        for (size_t j = 0; j < n; j += BLOCK) {
            size_t m = n - j < BLOCK ? n - j : BLOCK;
            for (size_t k = 0; k < m; k++) moved[k] = w[first + j + k] - offset;
            qd_grid_codes(ctx->kernels, moved, m, &grid, (uint8_t)middle, out->codes + i_row * c->n_in + first + j);
        }
        out->scales[at] = step;
        out->offsets[at] = offset;
    }
    return QDISP_OK;
}

static qdisp_status quantize(qdisp_ctx *ctx, const qd_choice *c, const float *w, const qd_inputs *x, qd_codes *out) {
    hqq h = {c, 0, 0};
    (void)x;
    if (c->units_per_row == 0) QD_TRY(fit(ctx, c, w, c->n_out * c->n_in, &h.step, &h.offset));
    QD_TRY(qd_codes_make(ctx, c->n_out, c->n_in, c->bits, qd_choice_group(c), false, true, out));
    return qd_codes_rows(ctx, w, quantize_row, &h, out);
}

static qdisp_status check_options(qdisp_ctx *ctx, const qd_choice *c) {
    double p = qd_choice_option(c, "lp", 0.7), n_iterations = qd_choice_option(c, "iterations", 20);
    if (!(p > 0 && p <= 1)) return qd_fail(ctx, QDISP_EINVAL, "%s: hqq: lp: %g is not in 0..1", c->name, p);
    if (!(qd_choice_option(c, "beta", 10) > 0) || !(qd_choice_option(c, "kappa", 1.01) >= 1))
        return qd_fail(ctx, QDISP_EINVAL, "%s: hqq: beta is not above 0, or kappa below 1", c->name);
    if (!(n_iterations >= 0 && n_iterations <= 1000) || n_iterations != rint(n_iterations))
        return qd_fail(ctx, QDISP_EINVAL, "%s: hqq: iterations: %g is not a whole number in 0..1000", c->name,
                       n_iterations);
    return QDISP_OK;
}

/* Nothing is chosen: zero points are real numbers, found when the plan is applied. */
static qdisp_status choose(const qdisp_quantizer *q, const qd_languages *languages, qd_choice *choices, size_t n) {
    (void)languages;
    for (size_t i = 0; i < n; i++) choices[i].levels = QD_ASYM;
    return qd_choose_each(q->ctx, choices, n, qd_rtn_choose);
}

const qd_method qd_method_hqq = {.name = "hqq", .needs = "weights", .paper = "Badri, Shaji 2023", .choose = choose,
                                 .quantize = quantize, .check = check_options,
                                 .unit_bits = 32, .options = "lp,beta,kappa,iterations"};
