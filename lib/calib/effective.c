/* effective.c - what the statistics say of each language: effective kurtosis and outlier-layer activation. */
#include "calib/calib.h"
#include "kernels/kernels.h"
#include "stats/census.h"

#include <math.h>
#include <string.h>

/* Kurtosis of the weights under column weights omega, from raw column sums [4][n_in] of powers 1..4 over n_out rows. */
static double effective_kurtosis(const double *sums, const double *omega, size_t n_out, size_t n_in) {
    double m[5] = {1, 0, 0, 0, 0}, total = 0;
    for (size_t j = 0; j < n_in; j++) {
        total += omega[j];
        for (size_t p = 0; p < 4; p++) m[p + 1] += omega[j] * sums[p * n_in + j];
    }
    if (!(total > 0)) return NAN;
    for (size_t p = 1; p < 5; p++) m[p] /= total * (double)n_out;
    double mu = m[1], m2 = m[2] - mu * mu, m4 = m[4] - 4 * mu * m[3] + 6 * mu * mu * m[2] - 3 * mu * mu * mu * mu;
    return m2 > 0 ? m4 / (m2 * m2) - 3 : NAN;
}

typedef struct effective_job {
    const qdisp_calib *calib;
    const qdisp_model *model;
    double *kurtosis; /* [n_linears][n_languages] */
} effective_job;

/* One map: a pass over its weights for the column sums, then every language is a small product. */
static qdisp_status effective_task(void *arg, size_t i, unsigned i_worker) {
    effective_job *job = arg;
    const qd_linear *linear = &job->model->linears[i];
    const qdisp_tensor *t = &job->model->tensors[linear->i_weight];
    qdisp_ctx *ctx = job->model->ctx;
    (void)i_worker;
    double *sums = qd_alloc(ctx, 4 * linear->n_in, sizeof *sums), *energy = qd_alloc(ctx, linear->n_in, sizeof *energy);
    float *row = qd_alloc(ctx, linear->n_in, sizeof *row);
    qdisp_status status = sums && energy && row ? QDISP_OK : QDISP_ENOMEM;
    for (size_t r = 0; r < linear->n_out && status == QDISP_OK; r++) {
        const float *w = qd_load_f32(ctx->kernels, t->data, (qdisp_dtype)t->dtype, r * linear->n_in, linear->n_in, row);
        ctx->kernels->column_sums(w, 1, linear->n_in, linear->n_in, sums);
    }
    for (size_t l = 0; l < job->calib->n_languages && status == QDISP_OK; l++) {
        bool any = qd_calib_energy(job->calib, l, QD_N_FOLDS, i, energy);
        job->kurtosis[i * job->calib->n_languages + l] =
            any ? effective_kurtosis(sums, energy, linear->n_out, linear->n_in) : NAN;
    }
    qd_free(ctx, sums);
    qd_free(ctx, energy);
    qd_free(ctx, row);
    return status;
}

static double outlier_share(const qdisp_calib *c, size_t l, const bool *is_outlier) {
    double outlier = 0, all = 0;
    for (size_t i = 0; i < c->n_layer; i++) { /* the mean |h| of a layer is that of its output */
        double sum = c->languages[l].folds[0].abs_sums[i + 1] + c->languages[l].folds[1].abs_sums[i + 1];
        all += sum;
        if (is_outlier[i]) outlier += sum;
    }
    return all > 0 ? outlier / all : NAN;
}

static qdisp_status fill_table(const qdisp_calib *c, const qdisp_model *model, const double *kurtosis,
                               const bool *is_outlier, qdisp_table *t) {
    qdisp_status status = QDISP_OK;
    size_t language = qd_table_column(t, &status, "language", "", QDISP_COLUMN_STR);
    size_t mean = qd_table_column(t, &status, "kurtosis_eff", "", QDISP_COLUMN_F64);
    size_t most = qd_table_column(t, &status, "kurtosis_eff_max", "", QDISP_COLUMN_F64);
    size_t outlier = qd_table_column(t, &status, "outlier_activation", "", QDISP_COLUMN_F64);
    for (size_t l = 0; l < c->n_languages; l++) {
        double sum = 0, n_weights = 0, highest = NAN;
        for (size_t i = 0; i < model->n_linears; i++) {
            const qd_linear *linear = &model->linears[i];
            double k = kurtosis[i * c->n_languages + l], n = (double)linear->n_out * (double)linear->n_in;
            if (linear->layer < 0 || isnan(k)) continue; /* the head is no layer's map */
            sum += n * k;
            n_weights += n;
            if (!(highest >= k)) highest = k;
        }
        size_t row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, language, c->languages[l].tag);
        qd_table_f64(t, &status, row, mean, n_weights > 0 ? sum / n_weights : NAN);
        qd_table_f64(t, &status, row, most, highest);
        qd_table_f64(t, &status, row, outlier, outlier_share(c, l, is_outlier));
    }
    return status;
}

qdisp_status qdisp_calib_languages(const qdisp_calib *c, const qdisp_model *model, qdisp_table **out) {
    qdisp_ctx *ctx = model->ctx;
    QD_TRY(qd_calib_check(c, model));
    double *kurtosis = qd_alloc(ctx, model->n_linears * (c->n_languages + 1), sizeof *kurtosis);
    bool *is_outlier = qd_alloc(ctx, model->info.n_layer, sizeof *is_outlier);
    qdisp_table *t = NULL;
    effective_job job = {c, model, kurtosis};
    qdisp_status status = kurtosis && is_outlier ? qd_outlier_layers(model, is_outlier) : QDISP_ENOMEM;
    if (status == QDISP_OK) status = qd_parallel(ctx, model->n_linears, effective_task, &job);
    if (status == QDISP_OK) status = qdisp_table_new(ctx, "languages", "What each language makes of the weights", &t);
    if (status == QDISP_OK) status = fill_table(c, model, kurtosis, is_outlier, t);
    qd_free(ctx, kurtosis);
    qd_free(ctx, is_outlier);
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}

qdisp_status qdisp_calib_describe(const qdisp_calib *c, qdisp_table **out) {
    qdisp_table *t;
    qdisp_status status = QDISP_OK;
    QD_TRY(qdisp_table_new(c->ctx, "calibration", "Calibration: activations by language", &t));
    size_t language = qd_table_column(t, &status, "language", "", QDISP_COLUMN_STR);
    size_t n_tokens = qd_table_column(t, &status, "n_tokens", "tokens", QDISP_COLUMN_I64);
    size_t n_bytes = qd_table_column(t, &status, "n_bytes", "bytes", QDISP_COLUMN_I64);
    size_t tpb = qd_table_column(t, &status, "tokens_per_byte", "tokens/byte", QDISP_COLUMN_F64);
    size_t first = qd_table_column(t, &status, "mean_abs_embed", "", QDISP_COLUMN_F64);
    for (size_t i = 0; i < c->n_layer && status == QDISP_OK; i++) {
        char *name = qd_format(c->ctx, "mean_abs_layer_%zu", i);
        if (name) qd_table_column(t, &status, name, "", QDISP_COLUMN_F64);
        else status = QDISP_ENOMEM;
        qd_free(c->ctx, name);
    }
    for (size_t l = 0; l < c->n_languages && status == QDISP_OK; l++) {
        const qd_calib_fold *f = c->languages[l].folds;
        double n = (double)(f[0].n_tokens + f[1].n_tokens) * (double)c->n_embd;
        size_t row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, language, c->languages[l].tag);
        qd_table_i64(t, &status, row, n_tokens, (int64_t)(f[0].n_tokens + f[1].n_tokens));
        qd_table_i64(t, &status, row, n_bytes, (int64_t)(f[0].n_bytes + f[1].n_bytes));
        qd_table_f64(t, &status, row, tpb, qd_calib_tokens_per_byte(c, l));
        for (size_t i = 0; i <= c->n_layer; i++)
            qd_table_f64(t, &status, row, first + i, n > 0 ? (f[0].abs_sums[i] + f[1].abs_sums[i]) / n : NAN);
    }
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}
