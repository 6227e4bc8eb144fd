/* quant_mse.c - thresholds of the least squared error, by a search over the clip characters with the real quantizer:
 * sum e_j (w_ij - Q(w_ij))^2, with e_j = E[x_j^2] of the mixture of languages where there is a calibration, else 1. The
 * unweighted form is the "MSE observer" of common tool kits, known to lose to min-max downstream at 4 bits and more;
 * the weighted one is the diagonal of GPTQ's problem. */
#include "quant/rows.h"

#include <math.h>
#include <string.h>

static qdisp_status choose_one(qdisp_ctx *ctx, const qd_languages *languages, qd_choice *c, size_t i) {
    float *omega = NULL;
    double *mix = NULL;
    qdisp_status status = QDISP_OK;
    qd_rows all = {ctx, c, c->n_out};
    if (languages) {
        omega = qd_alloc_aligned(ctx, c->n_in, sizeof *omega);
        mix = qd_alloc(ctx, c->n_in + 1, sizeof *mix);
        status = omega && mix ? qd_mix_languages(ctx, languages, i, c, mix + 1) : QDISP_ENOMEM;
        for (size_t j = 0; status == QDISP_OK && j < c->n_in; j++) {
            omega[j] = (float)mix[j + 1];
            mix[j + 1] = mix[j] + (double)omega[j];
        }
    }
    qd_weighting weighting = {omega, mix};
    if (status == QDISP_OK && c->units_per_row == 0) status = qd_rows_range(&all, &c->range);
    if (status == QDISP_OK) status = qd_search_rows(&all, &weighting, false, NULL);
    qd_free_aligned(ctx, omega);
    qd_free(ctx, mix);
    return status;
}

static qdisp_status choose(const qdisp_quantizer *q, const qd_languages *languages, qd_choice *choices, size_t n) {
    for (size_t i = 0; i < n; i++) {
        QD_TRY(choose_one(q->ctx, languages, &choices[i], i));
        QD_TRY(qd_progress(q->ctx, "planning", (double)(i + 1) / (double)n));
    }
    return QDISP_OK;
}

const qd_method qd_method_mse = {.name = "mse", .needs = "weights, calibration by language if there is one",
                                 .paper = "grid search for the least squared error", .needs_calib = QD_USED,
                                 .choose = choose};
