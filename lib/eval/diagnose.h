/* diagnose.h - the state of a diagnosis, shared by the work (diagnose.c) and its tables (diagnose_tables.c). */
#ifndef QD_DIAGNOSE_H
#define QD_DIAGNOSE_H

#include "eval/eval.h"

#define QD_MAX_QUANTIZERS 64

typedef struct qd_quantizer_row {
    char method[32];
    int bits;
    double bits_per_weight;
} qd_quantizer_row;

typedef struct qd_diagnosis {
    qdisp_ctx *ctx;
    const qdisp_model *model;
    const qdisp_tokenizer *tokenizer;
    qdisp_corpus *calibration, *evaluation;
    qdisp_calib *calib;
    qdisp_table *base, *calibration_base, *effective;
    qdisp_diagnose_options opt;
    qd_quantizer_row rows[QD_MAX_QUANTIZERS];
    size_t n_rows, n_languages;
    /* [n_rows][n_languages] */
    double *damage, *fisher, *first, *on_calibration; /* predictors; the last three with gradients only */
    double *loss, *low, *high, *p_holm, *predicted, *predicted_low, *predicted_high, *scratch;
    double *mean_relative; /* [n_rows] */
    double *baseline;      /* [n_languages] bits per byte */
} qd_diagnosis;

/* How a predictor did: Spearman over all pairs, its mean over quantizers, median absolute error, share in the
 * interval; the same pooled and error when whole quantizers are left out. used: there were the data for it. */
typedef struct qd_score {
    double pooled, mean, error, coverage, pooled_quantizers, error_quantizers;
    bool used;
} qd_score;

/* What foretells a loss from weights and calibration text first; then the loss that the quantized model has on that
 * text itself, which beats them on all models looked at, and costs less; then trivial ones, that scale the
 * quantizer's mean relative error by one number a language. What does not beat these is not worth its text. */
typedef enum qd_predictor {
    QD_PREDICTOR_DAMAGE,
    QD_PREDICTOR_FISHER,
    QD_PREDICTOR_FIRST_FISHER,
    QD_PREDICTOR_FIRST_DAMAGE,
    QD_PREDICTOR_CALIBRATION,
    QD_PREDICTOR_MEAN_ERROR,
    QD_PREDICTOR_BASELINE,
    QD_PREDICTOR_TOKENS,
    QD_PREDICTOR_KURTOSIS,
    QD_PREDICTOR_OUTLIER,
    QD_PREDICTOR_SCRIPT,
    QD_N_PREDICTORS
} qd_predictor;
#define QD_FIRST_TRIVIAL QD_PREDICTOR_MEAN_ERROR
extern const char *const qd_predictors[QD_N_PREDICTORS];
/* The one whose predictions a diagnosis shows: chosen beforehand, never by its score. */
qd_predictor qd_main_predictor(const qd_diagnosis *d);

qdisp_status qd_languages_table(const qd_diagnosis *d, qdisp_table **out);
qdisp_status qd_losses_table(const qd_diagnosis *d, qdisp_table **out);
qdisp_status qd_quantizers_table(const qd_diagnosis *d, qdisp_table **out);
qdisp_status qd_prediction_table(const qd_diagnosis *d, const qd_score *scores, qdisp_table **out);

#endif
