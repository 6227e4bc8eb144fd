/* diagnose_tables.c - a diagnosis as tables. */
#include "eval/diagnose.h"
#include "stats/correlate.h"

#include <qdisp/stats.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *language_at(const qd_diagnosis *d, size_t l) {
    return qdisp_corpus_language(d->evaluation, l);
}

/* Text columns, then for every quantizer METHODBITS.pred .loss .low .high: the dot makes a group for the writers. */
qdisp_status qd_languages_table(const qd_diagnosis *d, qdisp_table **out) {
    qdisp_table *t;
    QD_TRY(qdisp_table_new(d->ctx, "languages",
                           "Loss by language: predicted and measured dNLL in bits per byte, 95 % interval", &t));
    qdisp_status status = QDISP_OK;
    size_t language = qd_table_column(t, &status, "language", "", QDISP_COLUMN_STR);
    size_t script = qd_table_column(t, &status, "script", "", QDISP_COLUMN_STR);
    size_t baseline = qd_table_column(t, &status, "baseline_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t tpb = qd_table_column(t, &status, "tokens_per_byte", "tokens/byte", QDISP_COLUMN_F64);
    size_t kurtosis = qd_table_column(t, &status, "kurtosis_eff", "", QDISP_COLUMN_F64);
    size_t outlier = qd_table_column(t, &status, "outlier_activation", "", QDISP_COLUMN_F64);
    size_t first = qdisp_table_n_columns(t);
    const char *const parts[] = {"pred", "loss", "low", "high"};
    for (size_t q = 0; q < d->n_rows; q++)
        for (size_t k = 0; k < 4; k++) {
            char name[64];
            snprintf(name, sizeof name, "%s%d.%s", d->rows[q].method, d->rows[q].bits, parts[k]);
            qd_table_column(t, &status, name, "bits/byte", QDISP_COLUMN_F64);
        }
    const double *const values[] = {d->predicted, d->loss, d->low, d->high};
    for (size_t l = 0; l < d->n_languages; l++) {
        size_t row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, language, language_at(d, l));
        qd_table_str(t, &status, row, script, qdisp_corpus_script(d->evaluation, l));
        qd_table_f64(t, &status, row, baseline, d->baseline[l]);
        qd_table_f64(t, &status, row, tpb, qd_calib_tokens_per_byte(d->calib, l));
        qd_table_f64(t, &status, row, kurtosis, qdisp_table_f64(d->effective, 1)[l]);
        qd_table_f64(t, &status, row, outlier, qdisp_table_f64(d->effective, 3)[l]);
        for (size_t i = 0; i < 4 * d->n_rows; i++)
            qd_table_f64(t, &status, row, first + i, values[i % 4][i / 4 * d->n_languages + l]);
    }
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}

qdisp_status qd_losses_table(const qd_diagnosis *d, qdisp_table **out) {
    qdisp_table *t;
    QD_TRY(qdisp_table_new(d->ctx, "losses", "Loss of every language under every quantizer", &t));
    qdisp_status status = QDISP_OK;
    size_t language = qd_table_column(t, &status, "language", "", QDISP_COLUMN_STR);
    size_t method = qd_table_column(t, &status, "method", "", QDISP_COLUMN_STR);
    size_t bits = qd_table_column(t, &status, "bits", "bits", QDISP_COLUMN_I64);
    const char *const names[] = {"predicted_bpb", "predicted_low_bpb", "predicted_high_bpb", "loss_bpb",
                                 "low_bpb",       "high_bpb"};
    const double *const values[] = {d->predicted, d->predicted_low, d->predicted_high, d->loss, d->low, d->high};
    size_t first = qdisp_table_n_columns(t);
    for (size_t k = 0; k < 6; k++) qd_table_column(t, &status, names[k], "bits/byte", QDISP_COLUMN_F64);
    size_t p_holm = qd_table_column(t, &status, "p_holm", "", QDISP_COLUMN_F64);
    size_t bpw = qd_table_column(t, &status, "bpw", "bits/weight", QDISP_COLUMN_F64);
    for (size_t i = 0; i < d->n_rows * d->n_languages; i++) {
        size_t row = qd_table_row(t, &status), q = i / d->n_languages;
        qd_table_str(t, &status, row, language, language_at(d, i % d->n_languages));
        qd_table_str(t, &status, row, method, d->rows[q].method);
        qd_table_i64(t, &status, row, bits, d->rows[q].bits);
        for (size_t k = 0; k < 6; k++) qd_table_f64(t, &status, row, first + k, values[k][i]);
        qd_table_f64(t, &status, row, p_holm, d->p_holm[i]);
        qd_table_f64(t, &status, row, bpw, d->rows[q].bits_per_weight);
    }
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}

/* Gini coefficient of the losses, those below 0 counted as 0; NaN when none is above. */
static double gini(const double *loss, size_t n) {
    double sum = 0, differences = 0;
    for (size_t i = 0; i < n; i++) {
        sum += fmax(loss[i], 0);
        for (size_t k = 0; k < n; k++) differences += fabs(fmax(loss[i], 0) - fmax(loss[k], 0));
    }
    return sum > 0 ? differences / (2 * (double)n * sum) : NAN;
}

qdisp_status qd_quantizers_table(const qd_diagnosis *d, qdisp_table **out) {
    qdisp_table *t;
    QD_TRY(qdisp_table_new(d->ctx, "quantizers",
                           "Quantizers: mean and worst language, disparity (bits per byte, 95 % interval)", &t));
    qdisp_status status = QDISP_OK;
    size_t method = qd_table_column(t, &status, "method", "", QDISP_COLUMN_STR);
    size_t bits = qd_table_column(t, &status, "bits", "bits", QDISP_COLUMN_I64);
    size_t bpw = qd_table_column(t, &status, "bpw", "bits/weight", QDISP_COLUMN_F64);
    size_t mean = qd_table_column(t, &status, "mean_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t worst = qd_table_column(t, &status, "worst", "", QDISP_COLUMN_STR);
    size_t worst_bpb = qd_table_column(t, &status, "worst_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t low = qd_table_column(t, &status, "low_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t high = qd_table_column(t, &status, "high_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t disparity = qd_table_column(t, &status, "disparity_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t gini_column = qd_table_column(t, &status, "gini", "", QDISP_COLUMN_F64);
    size_t spearman = qd_table_column(t, &status, "spearman", "", QDISP_COLUMN_F64);
    for (size_t q = 0; q < d->n_rows && status == QDISP_OK; q++) {
        const double *loss = d->loss + q * d->n_languages;
        size_t row = qd_table_row(t, &status), i_worst = 0, i_best = 0;
        double sum = 0, rho = NAN;
        for (size_t l = 0; l < d->n_languages; l++) {
            sum += loss[l];
            if (loss[l] > loss[i_worst]) i_worst = l;
            if (loss[l] < loss[i_best]) i_best = l;
        }
        if (status == QDISP_OK)
            status = qd_spearman(d->ctx, d->predicted + q * d->n_languages, loss, d->n_languages, &rho);
        qd_table_str(t, &status, row, method, d->rows[q].method);
        qd_table_i64(t, &status, row, bits, d->rows[q].bits);
        qd_table_f64(t, &status, row, bpw, d->rows[q].bits_per_weight);
        qd_table_f64(t, &status, row, mean, sum / (double)d->n_languages);
        qd_table_str(t, &status, row, worst, language_at(d, i_worst));
        qd_table_f64(t, &status, row, worst_bpb, loss[i_worst]);
        qd_table_f64(t, &status, row, low, d->low[q * d->n_languages + i_worst]);
        qd_table_f64(t, &status, row, high, d->high[q * d->n_languages + i_worst]);
        qd_table_f64(t, &status, row, disparity, loss[i_worst] - loss[i_best]);
        qd_table_f64(t, &status, row, gini_column, gini(loss, d->n_languages));
        qd_table_f64(t, &status, row, spearman, rho);
    }
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}

/* Beaten: the main predictor ranks the languages better, on average over the quantizers. */
static void verdict_text(const qd_diagnosis *d, const qd_score *scores, qd_predictor k, char text[64]) {
    size_t n_beaten = 0;
    double own = scores[k < QD_FIRST_TRIVIAL ? k : qd_main_predictor(d)].mean;
    for (qd_predictor i = QD_FIRST_TRIVIAL; i < QD_N_PREDICTORS; i++)
        n_beaten += own > scores[i].mean || isnan(scores[i].mean);
    if (k < QD_FIRST_TRIVIAL)
        snprintf(text, 64, "beats %zu of %d baselines", n_beaten, QD_N_PREDICTORS - QD_FIRST_TRIVIAL);
    else
        snprintf(text, 64, own > scores[k].mean || isnan(scores[k].mean) ? "beaten" : "not beaten");
}

qdisp_status qd_prediction_table(const qd_diagnosis *d, const qd_score *scores, qdisp_table **out) {
    qdisp_table *t;
    QD_TRY(qdisp_table_new(d->ctx, "prediction",
                           "Prediction, leave-one-language-out (columns *_quantizers: leave-one-quantizer-out)", &t));
    qdisp_status status = QDISP_OK;
    size_t predictor = qd_table_column(t, &status, "predictor", "", QDISP_COLUMN_STR);
    size_t pooled = qd_table_column(t, &status, "spearman_pooled", "", QDISP_COLUMN_F64);
    size_t mean = qd_table_column(t, &status, "spearman_mean", "", QDISP_COLUMN_F64);
    size_t error = qd_table_column(t, &status, "error_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t coverage = qd_table_column(t, &status, "coverage", "", QDISP_COLUMN_F64);
    size_t pooled_q = qd_table_column(t, &status, "spearman_quantizers", "", QDISP_COLUMN_F64);
    size_t error_q = qd_table_column(t, &status, "error_quantizers_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t verdict = qd_table_column(t, &status, "verdict", "", QDISP_COLUMN_STR);
    for (qd_predictor k = 0; k < QD_N_PREDICTORS; k++) {
        if (!scores[k].used) continue;
        size_t row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, predictor, qd_predictors[k]);
        qd_table_f64(t, &status, row, pooled, scores[k].pooled);
        qd_table_f64(t, &status, row, mean, scores[k].mean);
        qd_table_f64(t, &status, row, error, scores[k].error);
        qd_table_f64(t, &status, row, coverage, scores[k].coverage);
        qd_table_f64(t, &status, row, pooled_q, scores[k].pooled_quantizers);
        qd_table_f64(t, &status, row, error_q, scores[k].error_quantizers);
        char text[64];
        verdict_text(d, scores, k, text);
        qd_table_str(t, &status, row, verdict, text);
    }
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}
