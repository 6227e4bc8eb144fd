/* allocate.h - how many bits for each tensor, so that no language pays too much for a given size. */
#ifndef QD_ALLOCATE_H
#define QD_ALLOCATE_H

#include "base/base.h"

/* F of the losses r[n_languages]. WORST: max r. CVAR: the mean of the worst `share` of the languages. DISPARITY: the
 * larger of mean r and max r - cap: the mean as long as no language loses more than cap above it. */
typedef enum qd_objective { QD_WORST, QD_MEAN, QD_CVAR, QD_DISPARITY } qd_objective;

/* One candidate a tensor is to be chosen, sizes in all at most `most`, r_l the sum of what the chosen ones cost l. */
typedef struct qd_allocation {
    size_t n_tensors, n_candidates, n_languages;
    const double *damage; /* [n_tensors][n_candidates][n_languages], finite, >= 0 */
    const double *size;   /* [n_tensors][n_candidates] > 0 */
    double most;
    qd_objective objective;
    double share, cap;
    size_t *chosen;       /* [n_tensors] out */
    double value, bound;  /* out: F of what was chosen, and what no choice can be below */
} qd_allocation;

/* Errors: EINVAL (most is below the least sizes in all), ENOMEM. The same result on every machine. */
qdisp_status qd_allocate(qdisp_ctx *ctx, qd_allocation *allocation);
double qd_allocation_objective(const qd_allocation *allocation, const double *r, double *work);

#endif
