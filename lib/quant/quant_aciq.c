/* quant_aciq.c - analytical clipping for integer quantization: Banner, Nahshan, Soudry, "Post-training 4-bit
 * quantization of convolution networks for rapid-deployment", NeurIPS 2019. The clipping threshold a minimises
 * E[((|X| - a)+)^2] + c a^2, c the rounding noise of the grid at a = 1. The derivative vanishes where E[(|X| - a)+]
 * = c a for every law of X; the objective is convex, so the root is unique. It is found on the weights themselves:
 * f(a) = sum (|x| - a)+ - n c a is convex, decreasing and piecewise linear, so Newton's steps from the left of the root
 * rise monotonically and end on it exactly after finitely many, and a step from its right leads to its left:
 * a' = sum_{|x| > a} |x| / (#{|x| > a} + n c). The root does not depend on the start; a good one saves passes.
 *
 * Asymmetric levels clip both ends in one ratio r: with m(x) the magnitude of the end on x's side and u = |x| / m(x),
 * the objective sum m^2 ((u - r)+)^2 + n c r^2 (high - low)^2 is of the same form, weights m^2 a term; everything in
 * units of the farther end, so that f32 holds it. */
#include "quant/rows.h"
#include "stats/stats.h"

#include <math.h>
#include <string.h>

enum {
    MAX_NEWTON = 100,
    N_SAMPLE = 64 /* rows from which a tensor's root starts */
};

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

/* The terms of asymmetric levels. */
static void sides(const float *x, size_t n, qd_range range, float *u, float *e) {
    float low = range.low / qd_range_most(range), high = range.high / qd_range_most(range);
    qd_unit_sizes(x, n, range, u);
    for (size_t i = 0; i < n; i++) e[i] = x[i] < 0 ? low * low : high * high;
}

/* Clip error of thresholds. */
static double clip_error(const qd_kernels *kernels, const float *x, size_t n, qd_range ends, qd_levels levels) {
    if (levels != QD_ASYM) return kernels->excess_squares(x, n, ends.high);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double over = x[i] < ends.low ? (double)ends.low - (double)x[i] : (double)x[i] - (double)ends.high;
        if (over > 0) sum += over * over;
    }
    return sum;
}

/* Adds the model's error (clip error plus rounding noise) to sums[0] and the energy to sums[1]. */
static void model_error(const qd_kernels *kernels, const qd_choice *c, const float *x, size_t n, qd_range ends,
                        double *sums) {
    double span = (double)qd_range_span(ends, c->levels);
    sums[0] += clip_error(kernels, x, n, ends, c->levels) + (double)n * qd_grid_noise(c->bits, c->levels) * span * span;
    sums[1] += kernels->excess_squares(x, n, 0.0f);
}

/* c times the square of the span in the units of the terms. */
static double noise_of(const qd_choice *c, qd_range range) {
    double span = (double)qd_range_span(range, c->levels) / (double)qd_range_most(range);
    return qd_grid_noise(c->bits, c->levels) * span * span;
}

/* The threshold of a unit beside its largest |w|; work[2 n]. */
static uint8_t unit_clip(const qd_kernels *kernels, const qd_choice *c, const float *x, size_t n, qd_range range,
                         float *work, double *ratio) {
    double noise = noise_of(c, range), sums[2];
    if (!(noise > 0)) return 0; /* nothing but zeros */
    if (c->levels != QD_ASYM) return qd_clip_code(qd_aciq_solve(kernels, x, NULL, n, noise, ratio), range.high);
    sides(x, n, range, work, work + n);
    kernels->excess_sums(work, work + n, n, -1.0f, sums);
    return qd_clip_code(qd_aciq_solve(kernels, work, work + n, n, (double)n * noise / sums[1], ratio), 1);
}

static qdisp_status group_choose(const qd_rows *rows, void *user, const size_t *i_rows, size_t h, const float *w,
                                 float *q, double *sums) {
    qd_choice *c = rows->c;
    double ratio = 0; /* units are alike: start where the last one ended */
    (void)user;
    for (size_t r = 0; r < h; r++)
        for (size_t u = i_rows[r] * c->units_per_row; u < (i_rows[r] + 1) * c->units_per_row; u++) {
            size_t row, first, n;
            qd_range range;
            qd_unit_span(c, u, &row, &first, &n);
            const float *x = w + r * c->n_in + first;
            QD_TRY(qd_unit_range(rows->ctx, c, x, n, &range));
            c->clips[u] = unit_clip(rows->ctx->kernels, c, x, n, range, q, &ratio);
            range = qd_range_scale(range, qd_clip_ratio(c->clips[u]));
            model_error(rows->ctx->kernels, c, x, n, range, sums);
        }
    return QDISP_OK;
}

/* ---- one threshold, for all of the matrix: a pass a step ---- */

typedef struct newton {
    float threshold;
    bool measure; /* the model's error instead */
} newton;

static qdisp_status group_excess(const qd_rows *rows, void *user, const size_t *i_rows, size_t h, const float *w,
                                 float *q, double *sums) {
    const newton *s = user;
    const qd_choice *c = rows->c;
    (void)i_rows;
    for (size_t r = 0; r < h; r++, w += c->n_in) {
        double one[2];
        if (s->measure) {
            model_error(rows->ctx->kernels, c, w, c->n_in, qd_choice_range(c), sums);
            continue;
        }
        if (c->levels == QD_ASYM) sides(w, c->n_in, c->range, q, q + c->n_in);
        const float *x = c->levels == QD_ASYM ? q : w, *e = c->levels == QD_ASYM ? q + c->n_in : NULL;
        rows->ctx->kernels->excess_sums(x, e, c->n_in, s->threshold, one);
        sums[0] += one[0];
        sums[1] += one[1];
    }
    return QDISP_OK;
}

/* As qd_aciq_solve; *a is the start, 0: unknown. Of asymmetric levels the ratio. */
static qdisp_status solve(const qd_rows *rows, double *a) {
    newton s = {.threshold = -1};
    const qd_choice *c = rows->c;
    double sums[2], from = -1, n = (double)rows->n * (double)c->n_in, noise = n * noise_of(c, c->range);
    QD_TRY(qd_rows_run(rows, group_excess, &s, sums, 2));
    if (!(sums[0] > 0)) return QDISP_OK;
    if (!(*a > 0)) *a = sums[0] / (sums[1] + noise);
    for (int step = 0; step < MAX_NEWTON && fabs(*a - from) > 1e-12 * from; step++) {
        from = *a;
        s.threshold = qd_float_below(from);
        QD_TRY(qd_rows_run(rows, group_excess, &s, sums, 2));
        *a = sums[0] / (sums[1] + noise);
    }
    return QDISP_OK;
}

static qdisp_status choose_matrix(const qd_rows *rows, double *sums) {
    qd_choice *c = rows->c;
    qd_rows sample = *rows;
    newton s = {.measure = true};
    double a = 0;
    QD_TRY(qd_rows_range(rows, &c->range));
    float most = qd_range_most(c->range);
    if (sample.n > 4 * N_SAMPLE) {
        sample.n = N_SAMPLE;
        QD_TRY(solve(&sample, &a));
    }
    QD_TRY(solve(rows, &a));
    c->alpha = fminf((float)(c->levels == QD_ASYM ? a * (double)most : a), most);
    return qd_rows_run(rows, group_excess, &s, sums, 2);
}

qdisp_status qd_aciq_choose(const qd_rows *rows) {
    qd_choice *c = rows->c;
    double sums[2] = {0, 0};
    memset(c->gains, 0, c->n_units);
    QD_TRY(c->units_per_row ? qd_rows_run(rows, group_choose, NULL, sums, 2) : choose_matrix(rows, sums));
    c->error_rel_model = sums[1] > 0 ? sums[0] / sums[1] : NAN;
    return QDISP_OK;
}

static qdisp_status choose(const qdisp_quantizer *q, const qd_languages *languages, qd_choice *choices, size_t n) {
    (void)languages;
    return qd_choose_each(q->ctx, choices, n, qd_aciq_choose);
}

const qd_method qd_method_aciq = {"aciq", "weights", "Banner, Nahshan, Soudry 2019", QD_UNUSED, choose};
