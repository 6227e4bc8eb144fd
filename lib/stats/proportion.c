/* proportion.c - counts: Wilson's interval, Fisher's exact test. */
#include "stats/correlate.h"
#include "stats/special.h"

#include <float.h>
#include <math.h>

qdisp_status qdisp_wilson(qdisp_ctx *ctx, uint64_t n_hits, uint64_t n, double level, double *low, double *high) {
    if (!low || !high) return qd_fail(ctx, QDISP_EINVAL, "wilson: no place for the result");
    QD_TRY(qd_check_test(ctx, "wilson", QDISP_TWO_SIDED, level));
    if (n == 0 || n_hits > n)
        return qd_fail(ctx, QDISP_EINVAL, "wilson: %llu of %llu", (unsigned long long)n_hits, (unsigned long long)n);
    double z = -qd_normal_quantile((1 - level) / 2), m = (double)n, p = (double)n_hits / m, square = z * z / m;
    double middle = (p + square / 2) / (1 + square);
    double half = sqrt(square * (p * (1 - p) + square / 4)) / (1 + square);
    *low = n_hits == 0 ? 0 : fmax(0, middle - half);
    *high = n_hits == n ? 1 : fmin(1, middle + half);
    return QDISP_OK;
}

/* Counts of a table with fixed margins: k marked among n_drawn of n, n_marked of which are marked. */
typedef struct margins {
    double n_marked, n_drawn, n, k_min, k_max, mode;
} margins;

static double log_p(const margins *m, double k) {
    return qd_hypergeometric_log(k, m->n_marked, m->n_drawn, m->n);
}

/* P(K <= k) for step -1, P(K >= k) for step 1, for k on that side of the mode, where terms fall away from k. */
static double outer_tail(const margins *m, double k, int step) {
    double term = 1, sum = 1;
    if (k < m->k_min || k > m->k_max) return 0;
    for (double i = k; step > 0 ? i < m->k_max : i > m->k_min; i += step) {
        double below = step > 0 ? i : i - 1; /* p(below + 1) / p(below) */
        double ratio = (m->n_marked - below) / (below + 1) * ((m->n_drawn - below) /
                       (m->n - m->n_marked - m->n_drawn + below + 1));
        term *= step > 0 ? ratio : 1 / ratio;
        sum += term;
        if (term < DBL_EPSILON / 64 * sum) break;
    }
    return exp(log_p(m, k)) * sum;
}

static double tail(const margins *m, double k, int step) {
    bool is_outer = step > 0 ? k > m->mode : k <= m->mode;
    return fmin(1, is_outer ? outer_tail(m, k, step) : 1 - outer_tail(m, k - step, -step));
}

/* The tables on the other side of the mode that are no more probable than that of k begin where the log of the
 * probability, which falls from the mode on, passes that of k. */
static double two_sided(const margins *m, double k) {
    double limit = log_p(m, k) + 1e-12;
    int side = k > m->mode ? -1 : 1; /* the other side */
    double inner = m->mode, outer = side > 0 ? m->k_max : m->k_min;
    if (log_p(m, m->mode) <= limit) return 1;
    double near = outer_tail(m, k, -side);
    if (log_p(m, outer) > limit) return near;
    while (fabs(outer - inner) > 1) {
        double middle = floor(0.5 * (inner + outer));
        if (log_p(m, middle) <= limit) outer = middle;
        else inner = middle;
    }
    return fmin(1, near + outer_tail(m, outer, side));
}

qdisp_status qdisp_fisher_exact(qdisp_ctx *ctx, const uint64_t table[4], qdisp_alternative alternative,
                                double *odds_ratio, double *p) {
    if (!table || !odds_ratio || !p) return qd_fail(ctx, QDISP_EINVAL, "fisher exact: NULL argument");
    QD_TRY(qd_check_test(ctx, "fisher exact", alternative, 0.5));
    for (int i = 0; i < 4; i++)
        if (table[i] >= (uint64_t)1 << 48)
            return qd_fail(ctx, QDISP_EINVAL, "fisher exact: count %d is %llu, under 2^48 is possible", i,
                           (unsigned long long)table[i]);
    double a = (double)table[0], b = (double)table[1], c = (double)table[2], d = (double)table[3];
    if (a + b == 0 || c + d == 0 || a + c == 0 || b + d == 0) {
        *odds_ratio = NAN;
        *p = 1;
        return QDISP_OK;
    }
    margins m = {.n_marked = a + b, .n_drawn = a + c, .n = a + b + c + d};
    m.k_min = fmax(0, m.n_drawn + m.n_marked - m.n);
    m.k_max = fmin(m.n_drawn, m.n_marked);
    m.mode = floor((m.n_drawn + 1) / (m.n + 2) * (m.n_marked + 1));
    m.mode = fmin(m.k_max, fmax(m.k_min, m.mode));
    *odds_ratio = b > 0 && c > 0 ? a * d / (b * c) : INFINITY;
    *p = alternative == QDISP_TWO_SIDED ? two_sided(&m, a) : tail(&m, a, alternative == QDISP_GREATER ? 1 : -1);
    return QDISP_OK;
}
