/* correlate.c - rank correlation. */
#include "base/base.h"

#include <qdisp/stats.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct ranked {
    double value;
    size_t i;
} ranked;

static int by_value(const void *a, const void *b) {
    double x = ((const ranked *)a)->value, y = ((const ranked *)b)->value;
    return (x > y) - (x < y);
}

/* Average ranks, 1-based: tied values share the mean of their places. */
static void rank(ranked *order, size_t n, double *ranks) {
    qsort(order, n, sizeof *order, by_value);
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && order[to].value == order[from].value; to++) {}
        for (size_t k = from; k < to; k++) ranks[order[k].i] = 0.5 * (double)(from + to + 1);
    }
}

static double pearson(const double *x, const double *y, size_t n) {
    double mx = 0, my = 0, sxx = 0, syy = 0, sxy = 0;
    for (size_t i = 0; i < n; i++) mx += x[i] / (double)n, my += y[i] / (double)n;
    for (size_t i = 0; i < n; i++) {
        sxx += (x[i] - mx) * (x[i] - mx);
        syy += (y[i] - my) * (y[i] - my);
        sxy += (x[i] - mx) * (y[i] - my);
    }
    return sxx > 0 && syy > 0 ? sxy / sqrt(sxx * syy) : NAN;
}

qdisp_status qdisp_spearman(qdisp_ctx *ctx, const double *x, const double *y, size_t n, double *rho) {
    if ((n > 0 && (!x || !y)) || !rho) return qd_fail(ctx, QDISP_EINVAL, "spearman: NULL argument");
    ranked *order = qd_alloc(ctx, 2 * n, sizeof *order);
    double *ranks = qd_alloc(ctx, 2 * n, sizeof *ranks);
    if (!order || !ranks) {
        qd_free(ctx, order);
        qd_free(ctx, ranks);
        return QDISP_ENOMEM;
    }
    size_t n_pairs = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(x[i]) || isnan(y[i])) continue;
        order[n_pairs] = (ranked){x[i], n_pairs};
        order[n + n_pairs] = (ranked){y[i], n_pairs};
        n_pairs++;
    }
    rank(order, n_pairs, ranks);
    rank(order + n, n_pairs, ranks + n);
    *rho = n_pairs < 3 ? NAN : pearson(ranks, ranks + n, n_pairs);
    qd_free(ctx, order);
    qd_free(ctx, ranks);
    return QDISP_OK;
}
