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
    qdisp_table *base, *effective;
    qdisp_diagnose_options opt;
    qd_quantizer_row rows[QD_MAX_QUANTIZERS];
    size_t n_rows, n_languages;
    /* [n_rows][n_languages] */
    double *damage, *loss, *low, *high, *p_holm, *predicted, *predicted_low, *predicted_high, *scratch;
    double *mean_relative; /* [n_rows] */
    double *baseline;      /* [n_languages] bits per byte */
} qd_diagnosis;

/* How a predictor did: Spearman over all pairs, its mean over quantizers, median absolute error, share in the
 * interval. */
typedef struct qd_score {
    double pooled, mean, error, coverage;
} qd_score;

/* Predictors: the damage itself first, then trivial ones that scale the quantizer's mean relative error by one number a
 * language. A prediction that does not beat these is not worth its calibration text. */
#define QD_N_PREDICTORS 7
#define QD_SCRIPT_PREDICTOR 6
extern const char *const qd_predictors[QD_N_PREDICTORS];

qdisp_status qd_languages_table(const qd_diagnosis *d, qdisp_table **out);
qdisp_status qd_losses_table(const qd_diagnosis *d, qdisp_table **out);
qdisp_status qd_quantizers_table(const qd_diagnosis *d, qdisp_table **out);
qdisp_status qd_prediction_table(const qd_diagnosis *d, const qd_score *scores, qdisp_table **out);

#endif
