/* codebook.h - codes that are numbers of a table of 16: NF4, FP4, MXFP4. */
#ifndef QD_CODEBOOK_H
#define QD_CODEBOOK_H

#include "quant/quant.h"

/* Levels in the order of the codes, ascending under `order` (NULL: they are so); times the largest |w| of a group. A
 * weight takes the nearest level, of two as near the lower one. */
typedef struct qd_codebook {
    const float *levels;  /* [16] static */
    const uint8_t *order; /* [16] */
} qd_codebook;

/* quantize of a method: codes of w under a table, groups as the choice says. ENUMERIC: a weight that is not finite. */
qdisp_status qd_codebook_quantize(qdisp_ctx *ctx, const qd_choice *c, const float *w, const qd_codebook *book,
                                  qd_codes *out);
/* check of a method: 4 bits; groups of `group` if it is not 0. */
qdisp_status qd_codebook_check(qdisp_ctx *ctx, const qd_choice *c, int64_t group);
/* choose of a method: there is nothing to choose. */
qdisp_status qd_codebook_choose(const qdisp_quantizer *q, const qd_languages *languages, qd_choice *choices, size_t n);
/* above[j] = how many of bounds[n_bounds], n_bounds < 16, are less than x[j]. */
void qd_codebook_count(const float *x, size_t n, const float *bounds, size_t n_bounds, uint8_t *above);

#endif
