/* quant_aciq.c - analytical clipping for integer quantization: Banner, Nahshan, Soudry, "Post-training 4-bit
 * quantization of convolution networks for rapid-deployment", NeurIPS 2019. The clipping threshold a minimises
 * E[((|X| - a)+)^2] + c a^2, c the rounding noise of the grid at a = 1. The derivative vanishes where E[(|X| - a)+]
 * = c a for every law of X; the objective is convex, so the root is unique. It is found on the weights themselves:
 * f(a) = sum (|x| - a)+ - n c a is convex, decreasing and piecewise linear, so Newton's steps from a = 0 rise
 * monotonically to the root and end on it exactly after finitely many: a' = sum_{|x| > a} |x| / (#{|x| > a} + n c). */
#include "quant/quant.h"

#include <math.h>
#include <string.h>

#define MAX_NEWTON 100

static float solve(const float *x, size_t n, double c) {
    double a = 0;
    for (int step = 0; step < MAX_NEWTON; step++) {
        double sum = 0;
        size_t n_above = 0;
        for (size_t i = 0; i < n; i++) {
            double magnitude = fabs((double)x[i]);
            bool above = magnitude > a;
            sum += above ? magnitude : 0;
            n_above += above;
        }
        double next = sum / ((double)n_above + (double)n * c);
        if (!(next > a * (1 + 1e-12))) break;
        a = next;
    }
    return (float)a;
}

/* Mean of the model's error: clip error plus rounding noise. */
static double model_error(const float *x, size_t n, double a, double c) {
    double clip = 0;
    for (size_t i = 0; i < n; i++) {
        double excess = fabs((double)x[i]) - a;
        clip += excess > 0 ? excess * excess : 0;
    }
    return clip + (double)n * c * a * a;
}

/* The code whose threshold is nearest to a on the logarithmic scale. */
static uint8_t nearest_clip(float a, float absmax) {
    if (!(a > 0) || !(absmax > 0)) return 0;
    double k = rint(-12 * log2((double)a / (double)absmax));
    return (uint8_t)(k < 0 ? 0 : k > QD_N_CLIPS - 1 ? QD_N_CLIPS - 1 : k);
}

qdisp_status qd_aciq_choose(const qdisp_model *model, qd_choice *c) {
    double noise = qd_grid_noise(c->bits, c->full_range), energy = 0, error = 0;
    qd_tensor_work work;
    qdisp_status status;
    float absmax;
    QD_TRY(qd_tensor_work_open(model, c, &work));
    size_t n_all = c->n_out * c->n_in;
    memset(c->gains, 0, c->n_units);
    for (size_t i = 0; i < n_all; i++) energy += (double)work.w[i] * (double)work.w[i];
    if (c->units_per_row == 0) {
        QD_TRY_GOTO(qd_unit_absmax(model, c, work.w, n_all, &absmax));
        c->alpha = solve(work.w, n_all, noise);
        if (c->alpha > absmax) c->alpha = absmax;
        error = model_error(work.w, n_all, (double)c->alpha, noise);
    }
    for (size_t u = 0; c->units_per_row && u < c->n_units; u++) {
        size_t row, first, n;
        qd_unit_span(c, u, &row, &first, &n);
        const float *x = work.w + row * c->n_in + first;
        QD_TRY_GOTO(qd_unit_absmax(model, c, x, n, &absmax));
        c->clips[u] = nearest_clip(solve(x, n, noise), absmax);
        error += model_error(x, n, (double)(absmax * qd_clip_ratio(c->clips[u])), noise);
    }
    c->error_rel_model = energy > 0 ? error / energy : NAN;
    status = QDISP_OK;
done:
    qd_tensor_work_close(&work);
    return status;
}

static qdisp_status choose(const qdisp_quantizer *q, const qdisp_model *model, const qdisp_calib *calib,
                           qd_choice *choices, size_t n) {
    (void)calib;
    return qd_choose_each(q->ctx, model, choices, n, qd_aciq_choose);
}

const qd_method qd_method_aciq = {"aciq", "weights", "Banner, Nahshan, Soudry 2019", false, choose};
