/* paired.h - a sample of pairs made ready for many evaluations of a correlation: resamples, leave-one-out. */
#ifndef QD_PAIRED_H
#define QD_PAIRED_H

#include "base/base.h"

#include <qdisp/stats.h>

enum { QD_PAIRED_MAX = 1 << 20, QD_SIGNS_MAX = 256 };

/* Pairs without a NaN. For rank kinds they are in the order of x, and a group is a set of equal values, numbered
 * upward: ranks of any resample follow from how many of each group were drawn, as integers. */
typedef struct qd_paired {
    qdisp_correlation kind;
    size_t n;
    bool defined;             /* n >= 3, neither x nor y constant, and for Pearson all finite */
    double *x, *y;            /* [n] as given */
    double *centred;          /* Pearson: [2][n], x and y minus their means, scaled by powers of two to at most 1 */
    uint32_t *x_group, *y_group;
    size_t n_x_groups, n_y_groups;
    int16_t *signs;           /* Kendall, n <= QD_SIGNS_MAX: [n][pitch], sign(x_i - x_j) sign(y_i - y_j), 0 beyond n */
    size_t pitch;
    double estimate;          /* NaN if not defined */
} qd_paired;

/* Errors: EINVAL (NULL, kind, n > QD_PAIRED_MAX), ENOMEM. `what` names the caller in messages. */
qdisp_status qd_paired_new(qdisp_ctx *ctx, const char *what, qdisp_correlation kind, const double *x, const double *y,
                           size_t n, qd_paired *out);
void qd_paired_free(qdisp_ctx *ctx, qd_paired *sample);

/* The correlation of the sample in which pair i occurs counts[i] times, n_total in all; NaN if x or y is constant
 * there. scratch[3 n] (any contents). Exact up to the last roundings: integers for ranks, two passes for Pearson. */
double qd_paired_value(const qd_paired *sample, const uint32_t *counts, size_t n_total, uint32_t *scratch);

/* r from sums of x, y, x^2, y^2, xy is sure where n times the variances of both, which are differences, are more than
 * this part of the sums of squares (10 bits lost of 53), and their product is no denormal; elsewhere the two passes of
 * qd_paired_value are due. */
#define QD_PEARSON_SURE 0x1p-10
#define QD_PEARSON_LEAST 1e-200

/* Leave-one-out correlations of a defined sample, values[n]; NaN where one is not defined. Parallel. Cost: n for
 * Pearson, n^2 for ranks (Kendall beyond QD_SIGNS_MAX: n^2 log n; up to it n^3 / 8). */
qdisp_status qd_paired_leave_one_out(qdisp_ctx *ctx, const qd_paired *sample, double *values);

#endif
