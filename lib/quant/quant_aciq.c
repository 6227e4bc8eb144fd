/* quant_aciq.c - analytical clipping for integer quantization: Banner, Nahshan, Soudry, "Post-training 4-bit
 * quantization of convolution networks for rapid-deployment", NeurIPS 2019. The clipping threshold a minimises
 * E[((|X| - a)+)^2] + c a^2, c the rounding noise of the grid at a = 1. The derivative vanishes where E[(|X| - a)+]
 * = c a for every law of X; the objective is convex, so the root is unique. It is found on the weights themselves:
 * f(a) = sum (|x| - a)+ - n c a is convex, decreasing and piecewise linear, so Newton's steps from the left of the root
 * rise monotonically and end on it exactly after finitely many, and a step from its right leads to its left:
 * a' = sum_{|x| > a} |x| / (#{|x| > a} + n c). The root does not depend on the start; a good one saves passes. */
#include "quant/rows.h"
#include "stats/stats.h"

#include <math.h>
#include <string.h>

enum { MAX_NEWTON = 100 };

float qd_aciq_solve(const qd_kernels *kernels, const float *x, const float *e, size_t n, double c, double *ratio) {
    double sums[2];
    kernels->excess_sums(x, e, n, -1.0f, sums);
    if (!(sums[0] > 0)) return 0;
    double weight = sums[1], mean = sums[0] / weight, a = mean * (*ratio > 0 ? *ratio : 1 / (1 + c)), from = -1;
    /* steps that matter are far larger than rounding's 1e-12 */
    for (int step = 0; step < MAX_NEWTON && fabs(a - from) > 1e-12 * from; step++) {
        from = a;
        kernels->excess_sums(x, e, n, qd_float_below(from), sums);
        a = sums[0] / (sums[1] + weight * c);
    }
    *ratio = a / mean;
    return (float)a;
}

/* Adds the model's error (clip error plus rounding noise) to sums[0] and the energy to sums[1]. */
static void model_error(const qd_kernels *kernels, const float *x, size_t n, float a, double c, double *sums) {
    sums[0] += kernels->excess_squares(x, n, a) + (double)n * c * (double)a * (double)a;
    sums[1] += kernels->excess_squares(x, n, 0.0f);
}

/* The code whose threshold is nearest to a on the logarithmic scale. */
static uint8_t nearest_clip(float a, float absmax) {
    if (!(a > 0) || !(absmax > 0)) return 0;
    double k = rint(-12 * log2((double)a / (double)absmax));
    return (uint8_t)(k < 0 ? 0 : k > QD_N_CLIPS - 1 ? QD_N_CLIPS - 1 : k);
}

static qdisp_status group_choose(const qd_rows *rows, void *user, const size_t *i_rows, size_t h, const float *w,
                                 float *q, double *sums) {
    qd_choice *c = rows->c;
    const qd_kernels *kernels = rows->ctx->kernels;
    double noise = qd_grid_noise(c->bits, c->full_range);
    double ratio = 0; /* units are alike: start where the last one ended */
    (void)user, (void)q;
    for (size_t r = 0; r < h; r++)
        for (size_t u = i_rows[r] * c->units_per_row; u < (i_rows[r] + 1) * c->units_per_row; u++) {
            size_t row, first, n;
            float absmax;
            qd_unit_span(c, u, &row, &first, &n);
            const float *x = w + r * c->n_in + first;
            QD_TRY(qd_unit_absmax(rows->ctx, c, x, n, &absmax));
            c->clips[u] = nearest_clip(qd_aciq_solve(kernels, x, NULL, n, noise, &ratio), absmax);
            model_error(kernels, x, n, absmax * qd_clip_ratio(c->clips[u]), noise, sums);
        }
    return QDISP_OK;
}

/* One threshold, for all of the matrix. */
static qdisp_status choose_matrix(qdisp_ctx *ctx, qd_choice *c, double *sums) {
    qd_rows all = {ctx, c, c->n_out};
    qdisp_aciq aciq;
    float absmax;
    QD_TRY(qd_rows_absmax(&all, &absmax)); /* and names the matrix if a weight is not finite */
    QD_TRY(qdisp_aciq_array(ctx, c->data, c->dtype, c->n_out * c->n_in, (unsigned)c->bits, c->full_range, &aciq));
    c->alpha = fminf((float)aciq.alpha, absmax);
    sums[0] = aciq.mse;
    sums[1] = aciq.mean_square;
    return QDISP_OK;
}

qdisp_status qd_aciq_choose(const qd_rows *rows) {
    qd_choice *c = rows->c;
    double sums[2] = {0, 0};
    memset(c->gains, 0, c->n_units);
    QD_TRY(c->units_per_row ? qd_rows_run(rows, group_choose, NULL, sums, 2) : choose_matrix(rows->ctx, c, sums));
    c->error_rel_model = sums[1] > 0 ? sums[0] / sums[1] : NAN;
    return QDISP_OK;
}

static qdisp_status choose(const qdisp_quantizer *q, const qd_languages *languages, qd_choice *choices, size_t n) {
    (void)languages;
    return qd_choose_each(q->ctx, choices, n, qd_aciq_choose);
}

const qd_method qd_method_aciq = {"aciq", "weights", "Banner, Nahshan, Soudry 2019", false, choose};
