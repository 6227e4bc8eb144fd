/* diagnose.c - the main job: calibrate, predict, quantize, measure, and say how well the prediction did. */
#include "eval/diagnose.h"
#include "quant/quant.h"
#include "stats/correlate.h"
#include "stats/resample.h"

#include <qdisp/quant.h>
#include <qdisp/stats.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAN_SHARE 0.3  /* of a quantizer's time goes into its plan, for the progress bar */
#define GRADIENT_SHARE 0.2 /* of it with gradients: the rest goes into backward passes */
#define CALIB_SHARE 0.9 /* of the first part's time goes into running the model */

static qdisp_status bad_list(qd_diagnosis *d, const char *what, const char *list) {
    return qd_fail(d->ctx, QDISP_EINVAL, "%s: '%s' is not a comma-separated list of at most %d quantizers in all", what,
                   list, QD_MAX_QUANTIZERS);
}

/* methods x bits, methods varying fastest: one bit width's methods stand side by side. */
static qdisp_status parse_quantizers(qd_diagnosis *d) {
    const char *methods = d->opt.methods ? d->opt.methods : "rtn,aciq,la-aciq";
    const char *all_bits = d->opt.bits ? d->opt.bits : "8,4,3";
    for (const char *b = all_bits; *b;) {
        char *end;
        long bits = strtol(b, &end, 10);
        if (end == b || (*end && *end != ',') || bits < 2 || bits > 8)
            return qd_fail(d->ctx, QDISP_EINVAL, "bits: '%s' is not a comma-separated list of 2..8", all_bits);
        for (const char *m = methods; *m;) {
            size_t n = strcspn(m, ",");
            if (n == 0 || n >= sizeof d->rows->method || d->n_rows == QD_MAX_QUANTIZERS)
                return bad_list(d, "methods", methods);
            qd_quantizer_row *row = &d->rows[d->n_rows++];
            memcpy(row->method, m, n);
            row->bits = (int)bits;
            for (const qd_quantizer_row *other = d->rows; other < row; other++)
                if (other->bits == row->bits && !strcmp(other->method, row->method))
                    return qd_fail(d->ctx, QDISP_EINVAL, "methods, bits: %s with %d bits comes twice", row->method,
                                   row->bits);
            m += n + (m[n] == ',');
        }
        b = *end ? end + 1 : end;
    }
    return d->n_rows ? QDISP_OK : bad_list(d, "methods", methods);
}

static qdisp_status make_arrays(qd_diagnosis *d) {
    size_t n = d->n_rows * d->n_languages;
    double **arrays[] = {&d->damage, &d->fisher, &d->first,  &d->on_calibration, &d->loss,          &d->low,
                         &d->high,   &d->p_holm, &d->predicted, &d->predicted_low, &d->predicted_high, &d->scratch};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        if (!(*arrays[i] = qd_alloc(d->ctx, n, sizeof(double)))) return QDISP_ENOMEM;
    d->mean_relative = qd_alloc(d->ctx, d->n_rows, sizeof(double));
    d->baseline = qd_alloc(d->ctx, d->n_languages, sizeof(double));
    return d->mean_relative && d->baseline ? QDISP_OK : QDISP_ENOMEM;
}

/* Mean bits per weight of a plan over the weights that it quantizes. */
static double plan_bits_per_weight(const qdisp_table *plan) {
    const int64_t *n = qdisp_table_i64(plan, qdisp_table_find(plan, "n_weights"));
    const double *bpw = qdisp_table_f64(plan, qdisp_table_find(plan, "bits_per_weight"));
    double bits = 0, weights = 0;
    for (size_t i = 0; i < qdisp_table_n_rows(plan); i++) bits += bpw[i] * (double)n[i], weights += (double)n[i];
    return weights > 0 ? bits / weights : NAN;
}

static qdisp_status make_quantizer(const qd_diagnosis *d, size_t q, qdisp_quantizer **out) {
    qdisp_quantizer_options options = {.size = sizeof options, .bits = (uint64_t)d->rows[q].bits,
                                       .group_size = d->opt.group_size, .roles = d->opt.roles};
    return qdisp_quantizer_new(d->ctx, d->rows[q].method, &options, out);
}

/* Bad options show before the work starts: methods, bits, groups, and by the choices the roles. */
static qdisp_status check_quantizers(const qd_diagnosis *d) {
    for (size_t q = 0; q < d->n_rows; q++) {
        qdisp_quantizer *quantizer;
        qd_choice *choices;
        size_t n_choices;
        QD_TRY(make_quantizer(d, q, &quantizer));
        qdisp_status status = qd_choices_make(quantizer, d->model, &choices, &n_choices);
        if (status == QDISP_OK) qd_choices_free(d->ctx, choices, n_choices);
        qdisp_quantizer_free(quantizer);
        QD_TRY(status);
    }
    return QDISP_OK;
}

/* Bits per byte that a quantized model loses on the calibration text. */
static qdisp_status calibration_losses(const qd_diagnosis *d, const qdisp_model *quantized, double *out) {
    qdisp_table *table = NULL;
    qd_losses before = {.first = NULL}, after = {.first = NULL};
    QD_TRY(qdisp_eval_losses(quantized, d->tokenizer, d->calibration, &table));
    qdisp_status status = qd_losses_read(d->calibration_base, &before);
    if (status == QDISP_OK) status = qd_losses_read(table, &after);
    for (size_t l = 0; l < d->n_languages && status == QDISP_OK; l++) {
        double nats = 0, n_bytes = 0;
        for (size_t i = before.first[l]; i < before.first[l + 1]; i++)
            nats += after.nll[i] - before.nll[i], n_bytes += (double)before.n_bytes[i];
        out[l] = nats / n_bytes / QD_LN2;
    }
    if (before.first) qd_losses_clear(&before);
    if (after.first) qd_losses_clear(&after);
    qdisp_table_free(table);
    return status;
}

/* What a quantized model loses, foretold from the calibration text. */
static qdisp_status foretell(qd_diagnosis *d, size_t q, const qdisp_model *quantized) {
    size_t at = q * d->n_languages;
    bool gradients = d->opt.gradients != 0;
    QD_TRY(qd_predict_damage(d->model, quantized, d->calib, d->damage + at, gradients ? d->fisher + at : NULL,
                             &d->mean_relative[q]));
    if (!gradients) return QDISP_OK;
    qd_progress_range range = qd_progress_enter(d->ctx, "diagnosing", 0, 0.8);
    qdisp_status status =
        qd_predict_first_order(d->model, quantized, d->tokenizer, d->calibration, d->first + at);
    qd_progress_leave(d->ctx, range);
    range = qd_progress_enter(d->ctx, "diagnosing", 0.8, 1);
    if (status == QDISP_OK) status = calibration_losses(d, quantized, d->on_calibration + at);
    qd_progress_leave(d->ctx, range);
    return status;
}

/* Plans, applies, predicts and measures one quantizer. */
static qdisp_status run_quantizer(qd_diagnosis *d, size_t q) {
    qdisp_quantizer *quantizer = NULL;
    qdisp_table *plan = NULL, *losses = NULL, *comparison = NULL;
    qdisp_model *quantized = NULL;
    size_t at = q * d->n_languages;
    double share = d->opt.gradients ? GRADIENT_SHARE : 1; /* of what is not the backward pass */
    qdisp_status status = make_quantizer(d, q, &quantizer);
    qd_progress_range range = qd_progress_enter(d->ctx, "diagnosing", 0, share * 0.8 * PLAN_SHARE);
    if (status == QDISP_OK) status = qdisp_quantizer_plan(quantizer, d->model, d->calib, &plan);
    qd_progress_leave(d->ctx, range);
    range = qd_progress_enter(d->ctx, "diagnosing", share * 0.8 * PLAN_SHARE, share * PLAN_SHARE);
    qdisp_plan_options with = {.size = sizeof with, .calib = d->calib, .tokenizer = d->tokenizer,
                               .corpus = d->calibration};
    if (status == QDISP_OK) status = qdisp_plan_apply(plan, d->model, &with, &quantized);
    qd_progress_leave(d->ctx, range);
    range = qd_progress_enter(d->ctx, "diagnosing", share * PLAN_SHARE, share * PLAN_SHARE + 1 - share);
    if (status == QDISP_OK) status = foretell(d, q, quantized);
    qd_progress_leave(d->ctx, range);
    range = qd_progress_enter(d->ctx, "diagnosing", share * PLAN_SHARE + 1 - share, 1);
    if (status == QDISP_OK) status = qdisp_eval_losses(quantized, d->tokenizer, d->evaluation, &losses);
    qd_progress_leave(d->ctx, range);
    if (status == QDISP_OK) status = qdisp_eval_compare(d->base, losses, (size_t)d->opt.n_resamples, &comparison);
    if (status == QDISP_OK) {
        const char *const names[] = {"loss_bpb", "low_bpb", "high_bpb", "p_holm"};
        double *const to[] = {d->loss, d->low, d->high, d->p_holm};
        for (size_t k = 0; k < 4; k++)
            memcpy(to[k] + at, qdisp_table_f64(comparison, qdisp_table_find(comparison, names[k])),
                   d->n_languages * sizeof(double));
        memcpy(d->baseline, qdisp_table_f64(comparison, qdisp_table_find(comparison, "baseline_bpb")),
               d->n_languages * sizeof(double));
        d->rows[q].bits_per_weight = plan_bits_per_weight(plan);
    }
    qdisp_quantizer_free(quantizer);
    qdisp_table_free(plan);
    qdisp_table_free(losses);
    qdisp_table_free(comparison);
    qdisp_model_free(quantized);
    return status;
}

const char *const qd_predictors[QD_N_PREDICTORS] = {
    "damage",       "fisher",     "first order + fisher", "first order + damage", "measured on calibration text",
    "mean error",   "baseline loss", "tokens per byte",   "kurtosis",             "outlier",
    "script"};

qd_predictor qd_main_predictor(const qd_diagnosis *d) {
    return d->opt.gradients ? QD_PREDICTOR_CALIBRATION : QD_PREDICTOR_DAMAGE;
}

static bool has_predictor(const qd_diagnosis *d, qd_predictor p) {
    return d->opt.gradients || p == QD_PREDICTOR_DAMAGE || p >= QD_FIRST_TRIVIAL;
}

/* The script's prediction needs no calibration: the mean measured loss of the other languages of the script, of all
 * others if it has none. (Fitting it as the rest are fitted would leak: the level of every other language holds this
 * one's loss.) */
static void predict_by_script(qd_diagnosis *d) {
    for (size_t i = 0; i < d->n_rows * d->n_languages; i++) {
        size_t l = i % d->n_languages, at = i - l, n[2] = {0, 0};
        double sum[2] = {0, 0};
        for (size_t k = 0; k < d->n_languages; k++) {
            bool same = !strcmp(qdisp_corpus_script(d->evaluation, k), qdisp_corpus_script(d->evaluation, l));
            for (size_t same_only = 0; k != l && same_only <= same; same_only++)
                sum[same_only] += d->loss[at + k], n[same_only]++;
        }
        d->predicted[i] = n[1] ? sum[1] / (double)n[1] : n[0] ? sum[0] / (double)n[0] : NAN;
        d->predicted_low[i] = d->predicted_high[i] = NAN;
    }
}

/* x, and *y of a predictor that has two. */
static void raw_predictor(const qd_diagnosis *d, qd_predictor predictor, double *x, const double **y) {
    *y = predictor == QD_PREDICTOR_FIRST_DAMAGE || predictor == QD_PREDICTOR_FIRST_FISHER ? d->first : NULL;
    for (size_t i = 0; i < d->n_rows * d->n_languages; i++) {
        size_t l = i % d->n_languages;
        double factor = 1;
        switch (predictor) {
        case QD_PREDICTOR_DAMAGE:
        case QD_PREDICTOR_FIRST_DAMAGE: x[i] = d->damage[i]; continue;
        case QD_PREDICTOR_FISHER:
        case QD_PREDICTOR_FIRST_FISHER: x[i] = d->fisher[i]; continue;
        case QD_PREDICTOR_CALIBRATION: x[i] = d->on_calibration[i]; continue;
        case QD_PREDICTOR_BASELINE: factor = d->baseline[l]; break;
        case QD_PREDICTOR_TOKENS: factor = qd_calib_tokens_per_byte(d->calib, l); break;
        case QD_PREDICTOR_KURTOSIS: /* not excess: above 0 */
            factor = 3 + qdisp_table_f64(d->effective, 1)[l];
            break;
        case QD_PREDICTOR_OUTLIER: factor = qdisp_table_f64(d->effective, 3)[l]; break;
        default: break;
        }
        x[i] = factor * d->mean_relative[i / d->n_languages];
    }
}

static qdisp_status score_predictor(qd_diagnosis *d, qd_score *s) {
    size_t n = d->n_rows * d->n_languages, n_rho = 0, n_errors = 0, n_inside = 0;
    QD_TRY(qd_spearman(d->ctx, d->predicted, d->loss, n, &s->pooled));
    s->mean = 0;
    for (size_t q = 0; q < d->n_rows; q++) {
        double rho;
        QD_TRY(qd_spearman(d->ctx, d->predicted + q * d->n_languages, d->loss + q * d->n_languages, d->n_languages,
                              &rho));
        if (!isnan(rho)) s->mean += rho, n_rho++;
    }
    s->mean = n_rho ? s->mean / (double)n_rho : NAN;
    for (size_t i = 0; i < n; i++) {
        if (isnan(d->predicted[i])) continue;
        d->scratch[n_errors++] = fabs(d->predicted[i] - d->loss[i]);
        n_inside += d->loss[i] >= d->predicted_low[i] && d->loss[i] <= d->predicted_high[i];
    }
    s->coverage = n > 0 && isnan(d->predicted_low[0]) ? NAN : n_errors ? (double)n_inside / (double)n_errors : NAN;
    qd_sort(d->scratch, n_errors);
    s->error = qd_quantile(d->scratch, n_errors, 0.5);
    return QDISP_OK;
}

static qdisp_status run_predictor(qd_diagnosis *d, qd_predictor p, double *x, qd_score *score) {
    qd_score whole;
    if (p == QD_PREDICTOR_SCRIPT) {
        predict_by_script(d);
        score->pooled_quantizers = score->error_quantizers = NAN;
        return score_predictor(d, score);
    }
    qd_loo loo = {d->n_languages, d->n_rows, x, d->loss, d->low, d->predicted, d->predicted_low, d->predicted_high,
                  NULL, p == QD_PREDICTOR_CALIBRATION, true};
    raw_predictor(d, p, x, &loo.y);
    loo.linear = loo.linear || loo.y;
    QD_TRY(qd_predict_loo(d->ctx, &loo));
    QD_TRY(score_predictor(d, &whole));
    loo.by_quantizer = false;
    QD_TRY(qd_predict_loo(d->ctx, &loo));
    QD_TRY(score_predictor(d, score));
    score->pooled_quantizers = whole.pooled;
    score->error_quantizers = whole.error;
    return QDISP_OK;
}

static qdisp_status run_predictors(qd_diagnosis *d, qd_score *scores) {
    double *x = qd_alloc(d->ctx, d->n_rows * d->n_languages, sizeof *x);
    if (!x) return QDISP_ENOMEM;
    qdisp_status status = QDISP_OK;
    for (qd_predictor p = 0; p < QD_N_PREDICTORS && status == QDISP_OK; p++) {
        scores[p].used = has_predictor(d, p);
        if (scores[p].used) status = run_predictor(d, p, x, &scores[p]);
    }
    qd_score last; /* its predictions stay */
    if (status == QDISP_OK) status = run_predictor(d, qd_main_predictor(d), x, &last);
    qd_free(d->ctx, x);
    return status;
}

/* Statistics; with gradients also the losses of the calibration text. */
static qdisp_status calibrate(qd_diagnosis *d) {
    double share = d->opt.gradients ? 1.0 / 6 : 1; /* a backward pass is about four forward passes */
    qd_progress_range range = qd_progress_enter(d->ctx, "diagnosing", 0, share);
    qdisp_status status = qdisp_calib_collect(d->calib, d->model, d->tokenizer, d->calibration);
    qd_progress_leave(d->ctx, range);
    if (status != QDISP_OK || !d->opt.gradients) return status;
    range = qd_progress_enter(d->ctx, "diagnosing", share, 1 - share);
    status = qdisp_calib_collect_gradients(d->calib, d->model, d->tokenizer, d->calibration);
    qd_progress_leave(d->ctx, range);
    range = qd_progress_enter(d->ctx, "diagnosing", 1 - share, 1);
    if (status == QDISP_OK) status = qdisp_eval_losses(d->model, d->tokenizer, d->calibration, &d->calibration_base);
    qd_progress_leave(d->ctx, range);
    return status;
}

/* What comes before the quantizers: split, calibration, effective kurtosis, baseline losses. */
static qdisp_status prepare(qd_diagnosis *d, const qdisp_corpus *corpus) {
    double share = d->opt.calibration_share != 0 ? d->opt.calibration_share : 0.5;
    double n_parts = 2 + (double)d->n_rows; /* every part is a forward pass over about half of the text */
    QD_TRY(qdisp_corpus_split(corpus, share, d->opt.seed, &d->calibration, &d->evaluation));
    d->n_languages = qdisp_corpus_n_languages(corpus);
    QD_TRY(make_arrays(d));
    QD_TRY(qdisp_calib_new(d->model, &d->calib));
    qd_progress_stage(d->ctx, "diagnosing: calibration", 0, CALIB_SHARE / n_parts);
    QD_TRY(calibrate(d));
    qd_progress_stage(d->ctx, "diagnosing: calibration", CALIB_SHARE / n_parts, 1 / n_parts);
    QD_TRY(qdisp_calib_languages(d->calib, d->model, &d->effective));
    qd_progress_stage(d->ctx, "diagnosing: baseline", 1 / n_parts, 2 / n_parts);
    return qdisp_eval_losses(d->model, d->tokenizer, d->evaluation, &d->base);
}

static qdisp_status diagnose(qd_diagnosis *d, const qdisp_corpus *corpus, qdisp_report *report) {
    qd_score scores[QD_N_PREDICTORS];
    qdisp_table *t = NULL;
    QD_TRY(parse_quantizers(d));
    QD_TRY(check_quantizers(d));
    if (d->opt.n_resamples && d->opt.n_resamples < 100)
        return qd_fail(d->ctx, QDISP_EINVAL, "n_resamples: %llu is below 100", (unsigned long long)d->opt.n_resamples);
    QD_TRY(prepare(d, corpus));
    for (size_t q = 0; q < d->n_rows; q++) {
        char what[64];
        snprintf(what, sizeof what, "diagnosing: %s %d bits", d->rows[q].method, d->rows[q].bits);
        double n_parts = 2 + (double)d->n_rows;
        qd_progress_stage(d->ctx, what, ((double)q + 2) / n_parts, ((double)q + 3) / n_parts);
        qdisp_status status = run_quantizer(d, q);
        qd_progress_stage(d->ctx, NULL, 0, 0); /* `what` goes out of scope */
        QD_TRY(status);
    }
    QD_TRY(qd_progress(d->ctx, "diagnosing", 1));
    QD_TRY(run_predictors(d, scores));
    QD_TRY(qd_languages_table(d, &t));
    QD_TRY(qdisp_report_add(report, t));
    QD_TRY(qd_losses_table(d, &t));
    QD_TRY(qdisp_report_add(report, t));
    QD_TRY(qd_quantizers_table(d, &t));
    QD_TRY(qdisp_report_add(report, t));
    QD_TRY(qd_prediction_table(d, scores, &t));
    return qdisp_report_add(report, t);
}

qdisp_status qdisp_diagnose(const qdisp_model *model, const qdisp_tokenizer *tokenizer, const qdisp_corpus *corpus,
                            const qdisp_diagnose_options *options, qdisp_report **out) {
    qdisp_ctx *ctx = model->ctx;
    qdisp_report *report;
    qd_diagnosis *d = qd_alloc(ctx, 1, sizeof *d);
    if (!d) return QDISP_ENOMEM;
    d->ctx = ctx;
    d->model = model;
    d->tokenizer = tokenizer;
    qdisp_status status = qd_copy_options(ctx, "diagnose options", options, &d->opt, sizeof d->opt);
    if (status == QDISP_OK) status = qdisp_report_new(ctx, "diagnosis", &report);
    if (status == QDISP_OK) {
        status = diagnose(d, corpus, report);
        if (status == QDISP_OK) *out = report;
        else qdisp_report_free(report);
    }
    qd_progress_stage(ctx, NULL, 0, 0);
    double *arrays[] = {d->damage,    d->loss,          d->low,            d->high,    d->p_holm,   d->mean_relative,
                        d->predicted, d->predicted_low, d->predicted_high, d->scratch, d->baseline, d->fisher,
                        d->first,     d->on_calibration};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) qd_free(ctx, arrays[i]);
    qdisp_corpus_free(d->calibration);
    qdisp_corpus_free(d->evaluation);
    qdisp_calib_free(d->calib);
    qdisp_table_free(d->base);
    qdisp_table_free(d->calibration_base);
    qdisp_table_free(d->effective);
    qd_free(ctx, d);
    return status;
}
