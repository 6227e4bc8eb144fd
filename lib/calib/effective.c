/* effective.c - what the statistics say of each language: effective kurtosis and outlier-layer activation. */
#include "calib/calib.h"
#include "stats/census.h"
#include "stats/stats.h"

#include <math.h>
#include <string.h>

/* Effective kurtosis of a map for every language (la-aciq section 3): kurtosis of its weights, each column with the
 * weight omega_j, the energy of that input. One pass over the weights gives central moments of the columns; moved to a
 * center common to the map they are the column sums C_p[j], and a language is a product of omega with [n_in, 4].
 *
 * Error: moving from the common center c to the language's own mean cancels up to (1 + q)^4 times the rounding of f64,
 * q = |c - mean| / std; a language with q > MAX_SHIFT, who hears few columns that lie apart, is moved column by column
 * instead. So the product adds less than 1e-9, whatever the means are, to the columns' own error (columns.c). */
#define MAX_SHIFT 30.0

typedef struct effective_job {
    const qdisp_calib *calib;
    size_t i_linear, n_in;
    const qdisp_moments *columns; /* [n_in] */
    double (*sums)[4];            /* [n_in] sums of powers 1..4 of (w - center) down a column */
    bool whole;                   /* every column has as many finite weights, n_out of them */
    double *kurtosis;             /* [n_languages] */
} effective_job;

/* Sums of powers 1..4 of (x - center) from central moments. */
static void shifted_sums(const qdisp_moments *m, double center, double out[4]) {
    double n = (double)m->n, d = m->mean - center, d2 = d * d;
    if (m->n == 0) d = d2 = 0;
    out[0] = n * d;
    out[1] = m->m2 + n * d2;
    out[2] = m->m3 + 3 * d * m->m2 + n * d2 * d;
    out[3] = m->m4 + 4 * d * m->m3 + 6 * d2 * m->m2 + n * d2 * d2;
}

/* total = sum of omega, s[p] = sum of omega_j sums[j][p], omega = a + b the energy of the two folds. Two columns at a
 * time, four powers side by side. */
static double weigh(const double *a, const double *b, const double (*sums)[4], size_t n, double s[4]) {
    double lanes[2][4] = {{0}}, total[2] = {0};
    for (size_t j = 0; j < n; j++) {
        double omega = a[j] + b[j];
        total[j % 2] += omega;
        for (size_t p = 0; p < 4; p++) lanes[j % 2][p] += omega * sums[j][p];
    }
    for (size_t p = 0; p < 4; p++) s[p] = lanes[0][p] + lanes[1][p];
    return total[0] + total[1];
}

/* Central moments about a language's mean, from sums about a center that is near it: kurtosis. */
static double kurtosis_of(const double s[4], double weight, double *mean, double *shift) {
    double d = s[0] / weight, m2 = s[1] / weight - d * d;
    double m4 = s[3] / weight - 4 * d * s[2] / weight + 6 * d * d * s[1] / weight - 3 * d * d * d * d;
    *mean = d;
    *shift = m2 > 0 ? fabs(d) / sqrt(m2) : INFINITY;
    return m2 > 0 ? m4 / (m2 * m2) - 3 : NAN;
}

/* The same column by column, about `center` itself. */
static double kurtosis_about(const effective_job *job, const double *a, const double *b, double center) {
    double s[4] = {0}, weight = 0, mean, shift;
    for (size_t j = 0; j < job->n_in; j++) {
        double c[4], omega = a[j] + b[j];
        shifted_sums(&job->columns[j], center, c);
        weight += omega * (double)job->columns[j].n;
        for (size_t p = 0; p < 4; p++) s[p] += omega * c[p];
    }
    return kurtosis_of(s, weight, &mean, &shift);
}

static double language_mean(const effective_job *job, const double *a, const double *b) {
    double sum = 0, weight = 0;
    for (size_t j = 0; j < job->n_in; j++) {
        double share = (a[j] + b[j]) * (double)job->columns[j].n;
        if (share > 0) sum += share * job->columns[j].mean, weight += share;
    }
    return sum / weight;
}

static qdisp_status language_task(void *arg, size_t l, unsigned i_worker) {
    const effective_job *job = arg;
    const qd_calib_language *language = &job->calib->languages[l];
    size_t offset = job->calib->offsets[job->i_linear];
    const double *a = language->folds[0].squares + offset, *b = language->folds[1].squares + offset;
    double s[4], mean, shift, weight;
    (void)i_worker;
    job->kurtosis[l] = NAN;
    if (language->folds[0].n_rows[job->i_linear] + language->folds[1].n_rows[job->i_linear] == 0) return QDISP_OK;
    weight = weigh(a, b, (const double (*)[4])job->sums, job->n_in, s);
    if (job->whole) {
        weight *= (double)job->columns[0].n;
    } else {
        weight = 0;
        for (size_t j = 0; j < job->n_in; j++) weight += (a[j] + b[j]) * (double)job->columns[j].n;
    }
    if (!(weight > 0)) return QDISP_OK;
    job->kurtosis[l] = kurtosis_of(s, weight, &mean, &shift);
    if (shift > MAX_SHIFT) job->kurtosis[l] = kurtosis_about(job, a, b, language_mean(job, a, b));
    return QDISP_OK;
}

/* kurtosis[n_languages] of a map; NaN for a language that was not heard there. Threads share the rows, then the
 * languages. */
static qdisp_status effective_kurtosis(const qdisp_calib *c, const qdisp_model *model, size_t i_linear,
                                       double *kurtosis) {
    qdisp_ctx *ctx = model->ctx;
    const qd_linear *linear = &model->linears[i_linear];
    const qdisp_tensor *t = &model->tensors[linear->i_weight];
    qd_array array = qd_array_of(t, linear->n_out, model->file);
    qdisp_moments *columns = qd_alloc(ctx, linear->n_in, sizeof *columns), all = qd_moments_none();
    effective_job job = {.calib = c, .i_linear = i_linear, .n_in = linear->n_in, .columns = columns, .whole = true,
                         .sums = qd_alloc(ctx, linear->n_in, sizeof *job.sums), .kurtosis = kurtosis};
    qdisp_status status = columns && job.sums ? qd_moments_columns(ctx, &array, columns) : QDISP_ENOMEM;
    for (size_t j = 0; j < linear->n_in && status == QDISP_OK; j++) {
        qdisp_moments_merge(&all, &columns[j]);
        job.whole = job.whole && columns[j].n == linear->n_out;
    }
    for (size_t j = 0; j < linear->n_in && status == QDISP_OK; j++) shifted_sums(&columns[j], all.mean, job.sums[j]);
    if (status == QDISP_OK) status = qd_parallel(ctx, c->n_languages, language_task, &job);
    qd_free(ctx, columns);
    qd_free(ctx, job.sums);
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
    qdisp_status status = kurtosis && is_outlier ? qd_outlier_layers(model, is_outlier) : QDISP_ENOMEM;
    for (size_t i = 0; i < model->n_linears && status == QDISP_OK; i++)
        status = effective_kurtosis(c, model, i, kurtosis + i * c->n_languages);
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
    size_t n_gradients = qd_table_column(t, &status, "n_gradients", "tokens", QDISP_COLUMN_I64);
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
        qd_table_i64(t, &status, row, n_gradients, (int64_t)(f[0].n_scored + f[1].n_scored));
        for (size_t i = 0; i <= c->n_layer; i++)
            qd_table_f64(t, &status, row, first + i, n > 0 ? (f[0].abs_sums[i] + f[1].abs_sums[i]) / n : NAN);
    }
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}
