/* predict.c - what the weights, a language's activations and its gradients foretell of its loss, and the calibration of
 * such numbers to bits per byte.
 *
 * With dW = Q - W the loss of a language changes by <dL/dW, dW> + 1/2 <dW, H dW> + ... The second term by Fisher's
 * information, factored and diagonal (la-aciq section 4), needs only the statistics and is never negative. The first is
 * not small: a model that was not trained on just this text is at no minimum for it, and of two languages equally
 * disturbed one may even gain. It needs one backward pass over the language's calibration text for every dW. */
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
    double *fisher;   /* [n_linears][n_languages] or NULL */
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
    qd_map_inputs inputs = {.n_languages = 0};
    if (status == QDISP_OK && job->fisher)
        status = qd_map_inputs_make(job->calib, i, linear->n_out, true, &inputs);
    for (size_t r = 0; r < linear->n_out && status == QDISP_OK; r += N_ROWS) {
        size_t h = linear->n_out - r < N_ROWS ? linear->n_out - r : N_ROWS, n = h * n_in;
        const float *w = qd_load_f32(kernels, t->data, (qdisp_dtype)t->dtype, r * n_in, n, rows);
        const float *q = qd_load_f32(kernels, u->data, (qdisp_dtype)u->dtype, r * n_in, n, rows + N_ROWS * n_in);
        kernels->column_measure(w, q, h, n_in, n_in, n_in, errors, quantized);
        kernels->column_squares(w, h, n_in, n_in, squares);
        if (inputs.gradients) qd_error_sums(&inputs, r, h, w, q, inputs.work, job->fisher + i * n_languages);
    }
    for (size_t j = 0; j < n_in && status == QDISP_OK; j++) d += errors[j], p += squares[j];
    job->plain[i] = p > 0 ? d / p : 0;
    for (size_t l = 0; l < n_languages && status == QDISP_OK; l++) {
        qd_calib_energy(job->calib, l, QD_N_FOLDS, i, energy);
        job->damage[i * n_languages + l] = qd_damage_of(energy, errors, squares, quantized, n_in);
    }
    qd_free(ctx, columns);
    qd_map_inputs_clear(ctx, &inputs);
    qd_free(ctx, rows);
    return status;
}

qdisp_status qd_predict_damage(const qdisp_model *model, const qdisp_model *quantized, const qdisp_calib *calib,
                               double *damage, double *fisher, double *mean_relative) {
    qdisp_ctx *ctx = model->ctx;
    QD_TRY(qd_calib_check(calib, model));
    size_t n = model->n_linears, n_languages = calib->n_languages;
    damage_job job = {model, quantized, calib, qd_alloc(ctx, n * (n_languages + 1), sizeof(qd_damage)),
                      qd_alloc(ctx, n + 1, sizeof(double)), NULL};
    if (fisher) job.fisher = qd_alloc(ctx, n * (n_languages + 1), sizeof(double));
    qdisp_status status = job.damage && job.plain && (job.fisher || !fisher) ? QDISP_OK : QDISP_ENOMEM;
    if (status == QDISP_OK) status = qd_parallel(ctx, n, damage_task, &job);
    for (size_t l = 0; l < n_languages && status == QDISP_OK; l++) {
        double tpb = qd_calib_tokens_per_byte(calib, l);
        damage[l] = qd_damage_sum(job.damage + l, n, n_languages, isfinite(tpb) ? tpb : 1);
        if (fisher) fisher[l] = 0;
        for (size_t i = 0; fisher && i < n; i++) fisher[l] += 0.5 * tpb / QD_LN2 * job.fisher[i * n_languages + l];
    }
    if (status == QDISP_OK && mean_relative) {
        *mean_relative = 0;
        for (size_t i = 0; i < n; i++) *mean_relative += job.plain[i];
    }
    qd_free(ctx, job.damage);
    qd_free(ctx, job.fisher);
    qd_free(ctx, job.plain);
    return status;
}

/* --- first order --- */

typedef struct first_order {
    const qdisp_model *model, *quantized;
    float *rows; /* [2, N_ROWS * widest map] */
    double sum;
} first_order;

/* <dL/dW, Q - W> of a map; f32 differences are exact enough, sums are f64. */
static int on_weight(void *user, size_t i, const float *grad, size_t n_out, size_t n_in) {
    first_order *f = user;
    const qdisp_tensor *t = &f->model->tensors[f->model->linears[i].i_weight];
    const qdisp_tensor *u = &f->quantized->tensors[f->quantized->linears[i].i_weight];
    if (t->data == u->data) return 0;
    for (size_t r = 0; r < n_out; r += N_ROWS) {
        size_t h = n_out - r < N_ROWS ? n_out - r : N_ROWS, n = h * n_in;
        const qd_kernels *kernels = f->model->ctx->kernels;
        const float *w = qd_load_f32(kernels, t->data, (qdisp_dtype)t->dtype, r * n_in, n, f->rows);
        const float *q = qd_load_f32(kernels, u->data, (qdisp_dtype)u->dtype, r * n_in, n, f->rows + N_ROWS * n_in);
        double lanes[8] = {0};
        for (size_t k = 0; k < n; k++) lanes[k % 8] += (double)grad[r * n_in + k] * (double)(q[k] - w[k]);
        for (size_t k = 0; k < 8; k++) f->sum += lanes[k];
    }
    return 0;
}

static qdisp_status first_of_language(first_order *f, const qd_frame *frame, const qdisp_corpus *corpus, size_t l,
                                      double *out) {
    qd_lines lines;
    size_t n_targets = 0, n_scored = 0, n_bytes = 0;
    QD_TRY(qd_lines_make(frame, corpus, l, NULL, qdisp_corpus_n_lines(corpus), &lines));
    qdisp_grad_options options = {.size = sizeof options, .weight = on_weight, .user = f};
    f->sum = 0;
    qdisp_status status = qd_gradients_run(&lines.sequences, &options, NULL, &n_targets);
    for (size_t i = 0; i < lines.n_lines; i++) n_scored += lines.n_scored[i], n_bytes += lines.n_bytes[i];
    qd_lines_clear(&lines);
    if (status == QDISP_OK && !isfinite(f->sum))
        return qd_fail(frame->model->ctx, QDISP_ENUMERIC, "language %s: the gradient is not finite",
                       qdisp_corpus_language(corpus, l));
    *out = n_targets && n_bytes ? f->sum * (double)n_scored / (double)n_targets / (double)n_bytes / QD_LN2 : 0;
    return status;
}

qdisp_status qd_predict_first_order(const qdisp_model *model, const qdisp_model *quantized,
                                    const qdisp_tokenizer *tokenizer, const qdisp_corpus *corpus, double *first) {
    qdisp_ctx *ctx = model->ctx;
    qd_frame frame;
    first_order f = {.model = model, .quantized = quantized};
    size_t widest = 0, n = qdisp_corpus_n_languages(corpus);
    QD_TRY(qd_frame_make(model, tokenizer, &frame));
    QD_TRY(qd_frame_scores(&frame));
    for (size_t i = 0; i < model->n_linears; i++)
        if (model->linears[i].n_in > widest) widest = model->linears[i].n_in;
    if (!(f.rows = qd_alloc(ctx, 2 * N_ROWS * widest, sizeof *f.rows))) return QDISP_ENOMEM;
    qdisp_status status = QDISP_OK;
    for (size_t l = 0; l < n && status == QDISP_OK; l++) {
        qd_progress_range range =
            qd_progress_enter(ctx, "predicting", (double)l / (double)n, (double)(l + 1) / (double)n);
        status = first_of_language(&f, &frame, corpus, l, &first[l]);
        qd_progress_leave(ctx, range);
    }
    qd_free(ctx, f.rows);
    return status;
}

/* --- calibration of predictors --- */

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

/* What is fitted without the pairs of one group: a language, or a quantizer. */
typedef struct fit {
    const qd_loo *loo;
    size_t left_out;
    double *u, *v; /* [n_pairs] work */
} fit;

static bool in_group(const qd_loo *loo, size_t i, size_t group) {
    return (loo->by_quantizer ? i / loo->n_languages : i % loo->n_languages) == group;
}

static void set_prediction(const qd_loo *loo, size_t i, double center, double low, double high) {
    loo->predicted[i] = center;
    loo->predicted_low[i] = low;
    loo->predicted_high[i] = high;
}

/* One predictor: a power law. */
static void fit_power(const fit *f, size_t n_pairs) {
    const qd_loo *loo = f->loo;
    size_t n = 0;
    double a = 0, b = 0;
    for (size_t i = 0; i < n_pairs; i++) {
        if (in_group(loo, i, f->left_out) || !(loo->low[i] > 0) || !(loo->x[i] > 0) || !(loo->loss[i] > 0)) continue;
        f->u[n] = log(loo->x[i]);
        f->v[n++] = log(loo->loss[i]);
    }
    bool good = fit_line(f->u, f->v, n, &a, &b);
    for (size_t i = 0; i < n && good; i++) f->v[i] -= a + b * f->u[i];
    if (good) qd_sort(f->v, n);
    double low = qd_quantile(f->v, n, 0.025), high = qd_quantile(f->v, n, 0.975);
    for (size_t i = 0; i < n_pairs; i++) {
        if (!in_group(loo, i, f->left_out)) continue;
        double center = good && loo->x[i] > 0 ? a + b * log(loo->x[i]) : NAN;
        set_prediction(loo, i, exp(center), exp(center + low), exp(center + high));
    }
}

static double second(const qd_loo *loo, size_t i) {
    return loo->y ? loo->y[i] : 0;
}

/* Two predictors: loss = a x + b y without a constant, least squares weighed by how large an error is to be expected:
 * in proportion to the first predictor, and not below the noise of the measurements. */
static void fit_sum(const fit *f, size_t n_pairs) {
    const qd_loo *loo = f->loo;
    size_t n = 0;
    double sum_x = 0, sum_loss = 0, xx = 0, xy = 0, yy = 0, xl = 0, yl = 0;
    for (size_t i = 0; i < n_pairs; i++) {
        if (in_group(loo, i, f->left_out)) continue;
        f->v[n++] = loo->loss[i] - loo->low[i];
        sum_x += fabs(loo->x[i]);
        sum_loss += fabs(loo->loss[i]);
    }
    qd_sort(f->v, n);
    double noise = n ? fmax(qd_quantile(f->v, n, 0.5), 1e-9 * sum_loss / (double)n) : NAN;
    double scale = sum_x > 0 ? sum_loss / sum_x : 0;
    for (size_t i = 0; i < n_pairs; i++) {
        if (in_group(loo, i, f->left_out)) continue;
        double w = 1 / (scale * fabs(loo->x[i]) + noise);
        double x = w * loo->x[i], y = w * second(loo, i), l = w * loo->loss[i];
        xx += x * x, xy += x * y, yy += y * y, xl += x * l, yl += y * l;
    }
    double det = xx * yy - xy * xy, a = NAN, b = 0;
    if (det > 1e-12 * xx * yy) a = (xl * yy - yl * xy) / det, b = (yl * xx - xl * xy) / det;
    else if (xx > 0) a = xl / xx;
    if (n < 4) a = NAN;
    n = 0;
    for (size_t i = 0; i < n_pairs; i++)
        if (!in_group(loo, i, f->left_out))
            f->v[n++] = (loo->loss[i] - a * loo->x[i] - b * second(loo, i)) / (scale * fabs(loo->x[i]) + noise);
    if (!isnan(a)) qd_sort(f->v, n);
    double low = qd_quantile(f->v, n, 0.025), high = qd_quantile(f->v, n, 0.975);
    for (size_t i = 0; i < n_pairs; i++) {
        if (!in_group(loo, i, f->left_out)) continue;
        double center = a * loo->x[i] + b * second(loo, i), unit = scale * fabs(loo->x[i]) + noise;
        set_prediction(loo, i, center, center + low * unit, center + high * unit);
    }
}

qdisp_status qd_predict_loo(qdisp_ctx *ctx, const qd_loo *loo) {
    size_t n_pairs = loo->n_languages * loo->n_quantizers;
    double *work = qd_alloc(ctx, 2 * n_pairs, sizeof *work);
    if (!work) return QDISP_ENOMEM;
    for (size_t group = 0; group < (loo->by_quantizer ? loo->n_quantizers : loo->n_languages); group++) {
        fit f = {loo, group, work, work + n_pairs};
        if (loo->linear) fit_sum(&f, n_pairs);
        else fit_power(&f, n_pairs);
    }
    qd_free(ctx, work);
    return QDISP_OK;
}
