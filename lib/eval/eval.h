/* eval.h - losses by language in arrays, and the prediction of damage. */
#ifndef QD_EVAL_H
#define QD_EVAL_H

#include "calib/damage.h"
#include "model/sequences.h"

#include <qdisp/eval.h>

/* Losses of the scored tokens to nll[number of ids] (others: NaN, or the loss of a token that does not count). */
qdisp_status qd_sequences_nll(const qd_sequences *sequences, float *nll);

/* A table of losses read back: languages in their order, lines of one language together. Pointers belong to the
 * table. */
typedef struct qd_losses {
    qdisp_ctx *ctx;
    size_t n_languages, *first; /* [n_languages + 1] rows */
    const char *const *language;
    const int64_t *i_line, *n_bytes;
    const double *nll;
} qd_losses;
qdisp_status qd_losses_read(const qdisp_table *table, qd_losses *out);
void qd_losses_clear(qd_losses *losses);
/* EMISMATCH unless both are of the same lines. */
qdisp_status qd_losses_check(const qd_losses *a, const qd_losses *b);

/* Predicted damage of a quantized model for every language of the calibration, in arbitrary units per byte: r_l =
 * tokens per byte * sum over layers' maps of D_l / P_l; see quant_laaciq.c for D and P. fisher (may be NULL; needs
 * gradients in the calibration): tokens per byte * 1/2 sum g e dw^2, in bits per byte. mean_relative (may be NULL) is
 * the damage without the language: sum over maps of sum (w - q)^2 / sum w^2. */
qdisp_status qd_predict_damage(const qdisp_model *model, const qdisp_model *quantized, const qdisp_calib *calib,
                               double *damage, double *fisher, double *mean_relative);
/* First order: <dL/dW, Q - W> of every language of a corpus, in bits per byte. Cost: about four forward passes over the
 * corpus. */
qdisp_status qd_predict_first_order(const qdisp_model *model, const qdisp_model *quantized,
                                    const qdisp_tokenizer *tokenizer, const qdisp_corpus *corpus, double *first);

/* One predictor against measurements, leave-one-language-out or leave-one-quantizer-out. x[n_quantizers][n_languages]
 * is the raw predictor; loss and its interval are measured. predicted, low and high receive the prediction for each
 * pair made from those of other languages (quantizers): log loss = a + b log x over the pairs whose interval lies above
 * 0, the band from the 2.5 and 97.5 % quantiles of the residuals. linear: loss = a x + b y over all pairs, y a second
 * predictor (NULL: none); both may have any sign. NaN where too few pairs are left. */
typedef struct qd_loo {
    size_t n_languages, n_quantizers;
    const double *x, *loss, *low;
    double *predicted, *predicted_low, *predicted_high;
    const double *y;
    bool linear, by_quantizer;
} qd_loo;
qdisp_status qd_predict_loo(qdisp_ctx *ctx, const qd_loo *loo);

#endif
