/* disparity.c - what a quantization costs each language: paired by line, in bits per byte, always as a difference. A
 * relative perplexity would hide a destroyed model behind a bad baseline; a difference of losses does not. */
#include "eval/eval.h"
#include "stats/resample.h"

#include <qdisp/stats.h>

#include <math.h>
#include <string.h>

#define DEFAULT_RESAMPLES 2000
#define LEVEL 0.95

typedef struct compare_job {
    qdisp_ctx *ctx;
    const qd_losses *a, *b;
    size_t n_resamples;
    double *low, *high, *p; /* [n_languages] */
} compare_job;

static qdisp_status compare_language(void *arg, size_t l, unsigned i_worker) {
    compare_job *job = arg;
    size_t first = job->a->first[l], n_lines = job->a->first[l + 1] - first, n = 0;
    (void)i_worker;
    job->low[l] = job->high[l] = job->p[l] = NAN;
    double *d = qd_alloc(job->ctx, 2 * n_lines, sizeof *d), *bytes = d ? d + n_lines : NULL;
    if (!d) return QDISP_ENOMEM;
    for (size_t i = first; i < first + n_lines; i++) {
        d[n] = (job->b->nll[i] - job->a->nll[i]) / QD_LN2;
        bytes[n] = (double)job->a->n_bytes[i];
        n += !(bytes[n] == 0 && d[n] == 0); /* a line of one token without context says nothing */
    }
    /* the same seed for every language: parallel lines are resampled together */
    qdisp_status status = QDISP_OK;
    if (n >= 3)
        status = qdisp_bootstrap_ratio(job->ctx, d, bytes, n, LEVEL, job->n_resamples, 0, &job->low[l], &job->high[l]);
    if (status == QDISP_OK) status = qd_sign_flip_test(job->ctx, d, n, job->n_resamples, 0, &job->p[l]);
    qd_free(job->ctx, d);
    return status;
}

qdisp_status qd_losses_check(const qd_losses *a, const qd_losses *b) {
    bool same = a->n_languages == b->n_languages &&
                a->first[a->n_languages] == b->first[b->n_languages];
    for (size_t i = 0; same && i < a->first[a->n_languages]; i++) {
        same =
            !strcmp(a->language[i], b->language[i]) && a->i_line[i] == b->i_line[i] && a->n_bytes[i] == b->n_bytes[i];
        if (!same)
            return qd_fail(a->ctx, QDISP_EMISMATCH, "row %zu: %s line %lld against %s line %lld", i + 1, a->language[i],
                           (long long)a->i_line[i], b->language[i], (long long)b->i_line[i]);
    }
    return same ? QDISP_OK : qd_fail(a->ctx, QDISP_EMISMATCH, "the two evaluations are not of the same lines");
}

static qdisp_status fill_comparison(const compare_job *job, qdisp_table *t) {
    qdisp_status status = QDISP_OK;
    size_t language = qd_table_column(t, &status, "language", "", QDISP_COLUMN_STR);
    size_t n_lines = qd_table_column(t, &status, "n_lines", "", QDISP_COLUMN_I64);
    size_t n_bytes = qd_table_column(t, &status, "n_bytes", "bytes", QDISP_COLUMN_I64);
    size_t baseline = qd_table_column(t, &status, "baseline_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t loss = qd_table_column(t, &status, "loss_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t low = qd_table_column(t, &status, "low_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t high = qd_table_column(t, &status, "high_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t p_holm = qd_table_column(t, &status, "p_holm", "", QDISP_COLUMN_F64);
    for (size_t l = 0; l < job->a->n_languages; l++) {
        double bytes = 0, a = 0, b = 0;
        for (size_t i = job->a->first[l]; i < job->a->first[l + 1]; i++) {
            bytes += (double)job->a->n_bytes[i];
            a += job->a->nll[i] / QD_LN2;
            b += job->b->nll[i] / QD_LN2;
        }
        size_t row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, language, job->a->language[job->a->first[l]]);
        qd_table_i64(t, &status, row, n_lines, (int64_t)(job->a->first[l + 1] - job->a->first[l]));
        qd_table_i64(t, &status, row, n_bytes, (int64_t)bytes);
        qd_table_f64(t, &status, row, baseline, bytes > 0 ? a / bytes : NAN);
        qd_table_f64(t, &status, row, loss, bytes > 0 ? (b - a) / bytes : NAN);
        qd_table_f64(t, &status, row, low, job->low[l]);
        qd_table_f64(t, &status, row, high, job->high[l]);
        qd_table_f64(t, &status, row, p_holm, job->p[l]);
    }
    return status;
}

qdisp_status qdisp_eval_compare(const qdisp_table *baseline, const qdisp_table *quantized, size_t n_resamples,
                                qdisp_table **out) {
    qdisp_ctx *ctx = qd_table_ctx(baseline);
    qd_losses a = {.ctx = ctx}, b = {.ctx = ctx};
    qdisp_table *t = NULL;
    double *values = NULL;
    qdisp_status status = qd_losses_read(baseline, &a);
    if (status == QDISP_OK) status = qd_losses_read(quantized, &b);
    if (status == QDISP_OK) status = qd_losses_check(&a, &b);
    if (status == QDISP_OK && !(values = qd_alloc(ctx, 3 * a.n_languages, sizeof *values))) status = QDISP_ENOMEM;
    if (status == QDISP_OK) {
        compare_job job = {.ctx = ctx, .a = &a, .b = &b, .n_resamples = n_resamples ? n_resamples : DEFAULT_RESAMPLES,
                           .low = values, .high = values + a.n_languages, .p = values + 2 * a.n_languages};
        status = qd_parallel(ctx, a.n_languages, compare_language, &job);
        if (status == QDISP_OK) status = qdisp_holm(ctx, job.p, a.n_languages, job.p);
        if (status == QDISP_OK)
            status = qdisp_table_new(ctx, "comparison", "Loss by quantization (bits per byte, 95 % interval)", &t);
        if (status == QDISP_OK) status = fill_comparison(&job, t);
    }
    qd_losses_clear(&a);
    qd_losses_clear(&b);
    qd_free(ctx, values);
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}
