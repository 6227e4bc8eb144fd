/* multiple.c - p-values of several tests at once. */
#include "base/base.h"

#include <qdisp/stats.h>

#include <math.h>
#include <stdlib.h>

typedef struct placed {
    double p;
    size_t i;
} placed;

static int by_p(const void *a, const void *b) {
    double x = ((const placed *)a)->p, y = ((const placed *)b)->p;
    return (x > y) - (x < y);
}

/* The values of p[n] that are not NaN, ascending. */
static qdisp_status sorted(qdisp_ctx *ctx, const char *what, const double *p, size_t n, double *adjusted, placed **out,
                           size_t *n_tests) {
    size_t m = 0;
    if (n > 0 && (!p || !adjusted)) return qd_fail(ctx, QDISP_EINVAL, "%s: NULL for %zu values", what, n);
    for (size_t i = 0; i < n; i++)
        if (p[i] < 0 || p[i] > 1) return qd_fail(ctx, QDISP_EINVAL, "%s: p[%zu] = %g is outside [0, 1]", what, i, p[i]);
    placed *order = qd_alloc(ctx, n, sizeof *order);
    if (!order) return QDISP_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        if (!isnan(p[i])) order[m++] = (placed){p[i], i};
        adjusted[i] = p[i]; /* NaN stays; the others are replaced */
    }
    qsort(order, m, sizeof *order, by_p);
    *out = order;
    *n_tests = m;
    return QDISP_OK;
}

qdisp_status qdisp_holm(qdisp_ctx *ctx, const double *p, size_t n, double *adjusted) {
    placed *order;
    size_t m;
    double largest = 0;
    QD_TRY(sorted(ctx, "holm", p, n, adjusted, &order, &m));
    for (size_t k = 0; k < m; k++) { /* equal values follow each other: the running maximum gives them one value */
        largest = fmax(largest, fmin(1, order[k].p * (double)(m - k)));
        adjusted[order[k].i] = largest;
    }
    qd_free(ctx, order);
    return QDISP_OK;
}

qdisp_status qdisp_benjamini_hochberg(qdisp_ctx *ctx, const double *p, size_t n, double *adjusted) {
    placed *order;
    size_t m;
    double smallest = 1;
    QD_TRY(sorted(ctx, "benjamini-hochberg", p, n, adjusted, &order, &m));
    for (size_t k = m; k-- > 0;) {
        smallest = fmin(smallest, order[k].p * (double)m / (double)(k + 1));
        adjusted[order[k].i] = smallest;
    }
    qd_free(ctx, order);
    return QDISP_OK;
}
