/* correlate.h - what correlations share with each other and with other layers. */
#ifndef QD_CORRELATE_H
#define QD_CORRELATE_H

#include "base/base.h"

#include <qdisp/stats.h>

/* Checks the arguments that the tests of stats/ have in common: EINVAL with `what` in the message. */
qdisp_status qd_check_test(qdisp_ctx *ctx, const char *what, qdisp_alternative alternative, double level);
/* The pairs without NaN, in *pairs: x[0..n_pairs), and y from pairs + n on; free with qd_free. EINVAL for NULL with
 * n > 0; where y is optional, NULL stands for zeros. */
qdisp_status qd_pairs(qdisp_ctx *ctx, const char *what, const double *x, const double *y, size_t n, bool y_is_optional,
                      double **pairs, size_t *n_pairs);

/* Pearson's r of x[n], y[n] without NaN, and *unexplained = 1 - r^2, which keeps its digits next to r = 1; both NaN
 * for n < 3, a constant or an infinity. Relative error of 1 - r^2 about n 2^-100 / (1 - r^2); below n 2^-98 it is 0
 * and r is 1 or -1. */
double qd_pearson(const double *x, const double *y, size_t n, double *unexplained);
/* Average ranks of x[n], 1-based: tied values share the mean of their places. */
qdisp_status qd_ranks(qdisp_ctx *ctx, const double *x, size_t n, double *ranks);
/* Spearman's coefficient alone; NaN if n < 3 or either is constant, pairs with a NaN are left out. */
qdisp_status qd_spearman(qdisp_ctx *ctx, const double *x, const double *y, size_t n, double *rho);

/* p of a correlation with df degrees of freedom by Student's t; NaN for df <= 0. */
double qd_correlation_p(double r, double unexplained, double df, qdisp_alternative alternative);
/* Interval around r by Fisher's z with this standard error of z; NaN if that is not positive and finite. */
void qd_fisher_interval(double r, double unexplained, double standard_error, qdisp_alternative alternative,
                        double level, double *low, double *high);

#endif
