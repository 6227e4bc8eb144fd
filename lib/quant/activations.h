/* activations.h - the inputs of linear maps as an engine quantizes them: thresholds by language and map. */
#ifndef QD_ACTIVATIONS_H
#define QD_ACTIVATIONS_H

#include "quant/quant.h"

/* What one language's run quantizes. */
typedef struct qd_clips {
    qdisp_ctx *ctx;
    size_t n_linears;
    qd_grid *grids;  /* [n_linears] scale 0: left as it is */
    float **factors; /* [n_linears] what the input is divided by first, [n_in]; NULL: 1 */
    size_t *n_in;    /* [n_linears] */
} qd_clips;

/* Of the rows of a table "activations" for a language, or with shared those of "*"; plan (NULL: none): whose column
 * inputs says what inputs are divided by. Errors: EMISMATCH (no row for the language, a tensor the model lacks), EINVAL
 * (a column or value), ENOMEM. */
qdisp_status qd_clips_make(const qdisp_model *model, const qdisp_table *activations, const qdisp_table *plan,
                           const char *language, bool shared, qd_clips *out);
void qd_clips_clear(qd_clips *clips);
/* A tap at LINEAR_IN: user is the qd_clips. */
int qd_clips_tap(void *user, qdisp_activation *activation);

#endif
