/* predict.c - the damage that the weights and a language's activations foretell, and its calibration to bits per
 * byte. */
#include "calib/damage.h"
#include "eval/eval.h"
#include "kernels/kernels.h"
#include "stats/resample.h"

#include <math.h>
#include <string.h>

enum { N_ROWS = 8 }; /* that the kernels sum in f32 */

typedef struct damage_job {
    const qdisp_model *model, *quantized;
    const qdisp_calib *calib;
    qd_damage *damage; /* [n_linears][n_languages] */
    double *plain;    /* [n_linears]: sum (w - q)^2 / sum w^2 */
} damage_job;

static qdisp_status damage_task(void *arg, size_t i, unsigned i_worker) {
    damage_job *job = arg;
    const qd_linear *linear = &job->model->linears[i];
    const qdisp_tensor *t = &job->model->tensors[linear->i_weight], *u = &job->quantized->tensors[linear->i_weight];
    qdisp_ctx *ctx = job->model->ctx;
    const qd_kernels *kernels = ctx->kernels;
    size_t n_in = linear->n_in, n_languages = job->calib->n_languages;
    (void)i_worker;
    if (t->data == u->data) return QDISP_OK; /* not quantized: no damage */
    double *columns = qd_alloc(ctx, 4 * n_in, sizeof *columns);
    float *rows = qd_alloc(ctx, 2 * N_ROWS * n_in, sizeof *rows);
    qdisp_status status = columns && rows ? QDISP_OK : QDISP_ENOMEM;
    double *errors = columns, *squares = columns ? columns + n_in : NULL,
           *quantized = columns ? columns + 2 * n_in : NULL;
    double *energy = columns ? columns + 3 * n_in : NULL, d = 0, p = 0;
    for (size_t r = 0; r < linear->n_out && status == QDISP_OK; r += N_ROWS) {
        size_t h = linear->n_out - r < N_ROWS ? linear->n_out - r : N_ROWS, n = h * n_in;
        const float *w = qd_load_f32(kernels, t->data, (qdisp_dtype)t->dtype, r * n_in, n, rows);
        const float *q = qd_load_f32(kernels, u->data, (qdisp_dtype)u->dtype, r * n_in, n, rows + N_ROWS * n_in);
        kernels->column_measure(w, q, h, n_in, n_in, n_in, errors, quantized);
        kernels->column_squares(w, h, n_in, n_in, squares);
    }
    for (size_t j = 0; j < n_in && status == QDISP_OK; j++) d += errors[j], p += squares[j];
    job->plain[i] = p > 0 ? d / p : 0;
    for (size_t l = 0; l < n_languages && status == QDISP_OK; l++) {
        qd_calib_energy(job->calib, l, QD_N_FOLDS, i, energy);
        job->damage[i * n_languages + l] = qd_damage_of(energy, errors, squares, quantized, n_in);
    }
    qd_free(ctx, columns);
    qd_free(ctx, rows);
    return status;
}

qdisp_status qd_predict_damage(const qdisp_model *model, const qdisp_model *quantized, const qdisp_calib *calib,
                               double *damage, double *mean_relative) {
    qdisp_ctx *ctx = model->ctx;
    QD_TRY(qd_calib_check(calib, model));
    size_t n = model->n_linears, n_languages = calib->n_languages;
    damage_job job = {model, quantized, calib, qd_alloc(ctx, n * (n_languages + 1), sizeof(qd_damage)),
                      qd_alloc(ctx, n + 1, sizeof(double))};
    qdisp_status status = job.damage && job.plain ? qd_parallel(ctx, n, damage_task, &job) : QDISP_ENOMEM;
    for (size_t l = 0; l < n_languages && status == QDISP_OK; l++) {
        double tpb = qd_calib_tokens_per_byte(calib, l);
        damage[l] = qd_damage_sum(job.damage + l, n, n_languages, isfinite(tpb) ? tpb : 1);
    }
    if (status == QDISP_OK && mean_relative) {
        *mean_relative = 0;
        for (size_t i = 0; i < n; i++) *mean_relative += job.plain[i];
    }
    qd_free(ctx, job.damage);
    qd_free(ctx, job.plain);
    return status;
}

/* Least squares of v on u; false with fewer than 3 points. One value of u gives the mean alone. */
static bool fit_line(const double *u, const double *v, size_t n, double *a, double *b) {
    double mu = 0, mv = 0, suu = 0, suv = 0;
    if (n < 3) return false;
    for (size_t i = 0; i < n; i++) mu += u[i] / (double)n, mv += v[i] / (double)n;
    for (size_t i = 0; i < n; i++) suu += (u[i] - mu) * (u[i] - mu), suv += (u[i] - mu) * (v[i] - mv);
    *b = suu > 0 ? suv / suu : 0;
    *a = mv - *b * mu;
    return true;
}

static void predict_language(const qd_loo *loo, size_t left_out, double *u, double *v) {
    size_t n = 0, n_languages = loo->n_languages;
    double a = 0, b = 0;
    for (size_t i = 0; i < loo->n_quantizers * n_languages; i++) {
        if (i % n_languages == left_out || !(loo->low[i] > 0) || !(loo->x[i] > 0) || !(loo->loss[i] > 0)) continue;
        u[n] = log(loo->x[i]);
        v[n++] = log(loo->loss[i]);
    }
    bool good = fit_line(u, v, n, &a, &b);
    for (size_t i = 0; i < n && good; i++) v[i] -= a + b * u[i];
    if (good) qd_sort(v, n);
    for (size_t q = 0; q < loo->n_quantizers; q++) {
        size_t i = q * n_languages + left_out;
        double center = good && loo->x[i] > 0 ? a + b * log(loo->x[i]) : NAN;
        loo->predicted[i] = exp(center);
        loo->predicted_low[i] = exp(center + qd_quantile(v, n, 0.025));
        loo->predicted_high[i] = exp(center + qd_quantile(v, n, 0.975));
    }
}

qdisp_status qd_predict_loo(qdisp_ctx *ctx, const qd_loo *loo) {
    size_t n = loo->n_languages * loo->n_quantizers;
    double *u = qd_alloc(ctx, 2 * n, sizeof *u);
    if (!u) return QDISP_ENOMEM;
    for (size_t l = 0; l < loo->n_languages; l++) predict_language(loo, l, u, u + n);
    qd_free(ctx, u);
    return QDISP_OK;
}
