/* kendall.c - Kendall's tau-b by merge sort (W. R. Knight, JASA 61, 1966), exact and asymptotic p. */
#include "stats/correlate.h"
#include "stats/special.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct point {
    double x, y;
} point;

static int by_x_then_y(const void *a, const void *b) {
    const point *p = a, *q = b;
    return p->x != q->x ? (p->x > q->x) - (p->x < q->x) : (p->y > q->y) - (p->y < q->y);
}

/* Sums over groups of t tied values: pairs t (t - 1) / 2, and the two that the variance of the statistic asks for. */
typedef struct ties {
    uint64_t n_pairs;
    double triples, weighted; /* t (t - 1) (t - 2), t (t - 1) (2 t + 5) */
} ties;

static void add_group(ties *to, uint64_t t) {
    double pairs = (double)t * (double)(t - 1);
    to->n_pairs += t * (t - 1) / 2;
    to->triples += pairs * ((double)t - 2);
    to->weighted += pairs * (2 * (double)t + 5);
}

/* Ties of neighbours in p[n]: by x, by y, or by both where both flags are set. */
static ties count_ties(const point *p, size_t n, bool by_x, bool by_y) {
    ties sum = {0};
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && (!by_x || p[to].x == p[from].x) && (!by_y || p[to].y == p[from].y); to++) {}
        add_group(&sum, to - from);
    }
    return sum;
}

/* Sorts p[n] by y, stably, and returns the number of exchanges of neighbours that this takes: the pairs whose y go
 * down while x goes up. */
static uint64_t sort_by_y(point *p, point *other, size_t n) {
    uint64_t n_exchanges = 0;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t from = 0; from < n; from += 2 * width) {
            size_t middle = from + width < n ? from + width : n, end = from + 2 * width < n ? from + 2 * width : n;
            size_t left = from, right = middle;
            for (size_t k = from; k < end; k++) {
                bool take_right = left == middle || (right < end && p[right].y < p[left].y);
                if (take_right) n_exchanges += middle - left;
                other[k] = take_right ? p[right++] : p[left++];
            }
        }
        memcpy(p, other, n * sizeof *p);
    }
    return n_exchanges;
}

#define EXACT_MAX 33
#define MAX_INVERSIONS (EXACT_MAX * (EXACT_MAX - 1) / 4)

/* P(inversions of a random permutation of n <= c), for c <= MAX_INVERSIONS: the number of inversions is a sum of
 * independent uniform numbers of 0..j-1, j = 1..n. */
static double inversions_cdf(size_t n, size_t c) {
    double p[MAX_INVERSIONS + 1] = {1}, sum = 0;
    for (size_t j = 2; j <= n; j++) {
        /* p becomes the mean of its last j values; in place from above, so that what is read is still old */
        for (size_t i = c + 1; i-- > 0;) {
            double window = 0;
            for (size_t k = i >= j ? i - j + 1 : 0; k <= i; k++) window += p[k];
            p[i] = window / (double)j;
        }
        if (j > 200 && p[c] == 0) break; /* 1 / n! is below the smallest number; only c <= 1 comes here */
    }
    for (size_t i = 0; i <= c; i++) sum += p[i];
    return sum;
}

/* p of n_down pairs out of order among n without ties. */
static double exact_p(size_t n, uint64_t n_down, qdisp_alternative alternative) {
    uint64_t n_all = (uint64_t)n * (n - 1) / 2, n_up = n_all - n_down;
    bool agrees = n_down < n_up;
    uint64_t few = agrees ? n_down : n_up;
    if (alternative == QDISP_TWO_SIDED) return fmin(1, 2 * inversions_cdf(n, (size_t)few));
    if (agrees == (alternative == QDISP_GREATER) || n_down == n_up) return inversions_cdf(n, (size_t)few);
    return few == 0 ? 1 : 1 - inversions_cdf(n, (size_t)few - 1);
}

static double normal_p(double s, size_t n, const ties *x, const ties *y, qdisp_alternative alternative) {
    double m = (double)n * (double)(n - 1);
    double variance = (m * (2 * (double)n + 5) - x->weighted - y->weighted) / 18 +
                      2 * (double)x->n_pairs * (double)y->n_pairs / m +
                      x->triples * y->triples / (9 * m * (double)(n - 2));
    double z = s / sqrt(variance);
    if (alternative == QDISP_TWO_SIDED) return 2 * qd_normal_cdf(-fabs(z));
    return qd_normal_cdf(alternative == QDISP_LESS ? z : -z);
}

static void kendall(point *p, point *other, size_t n, qdisp_alternative alternative, double level,
                    qdisp_correlation_test *c) {
    qsort(p, n, sizeof *p, by_x_then_y);
    ties x = count_ties(p, n, true, false), both = count_ties(p, n, true, true);
    uint64_t n_down = sort_by_y(p, other, n), n_all = (uint64_t)n * (n - 1) / 2;
    ties y = count_ties(p, n, false, true);
    if (x.n_pairs == n_all || y.n_pairs == n_all) return;
    uint64_t n_ordered = n_all - x.n_pairs - y.n_pairs + both.n_pairs; /* in both x and y */
    double s = (double)((int64_t)n_ordered - 2 * (int64_t)n_down);
    double free_x = (double)(n_all - x.n_pairs), free_y = (double)(n_all - y.n_pairs);
    c->r = fmin(1, fmax(-1, free_x == free_y ? s / free_x : s / sqrt(free_x) / sqrt(free_y)));
    bool tied = x.n_pairs > 0 || y.n_pairs > 0;
    uint64_t few = n_down < n_all - n_down ? n_down : n_all - n_down;
    c->p = !tied && (n <= EXACT_MAX || few <= 1) ? exact_p(n, n_down, alternative)
                                                 : normal_p(s, n, &x, &y, alternative);
    qd_fisher_interval(c->r, (1 - c->r) * (1 + c->r), sqrt(0.437 / ((double)n - 4)), alternative, level, &c->low,
                       &c->high);
}

qdisp_status qdisp_kendall(qdisp_ctx *ctx, const double *x, const double *y, size_t n, qdisp_alternative alternative,
                           double level, qdisp_correlation_test *out) {
    double *pairs;
    size_t n_pairs;
    if (!out) return qd_fail(ctx, QDISP_EINVAL, "kendall: no place for the result");
    if (n >= (size_t)1 << 31) return qd_fail(ctx, QDISP_EINVAL, "kendall: %zu pairs, under 2^31 are possible", n);
    QD_TRY(qd_check_test(ctx, "kendall", alternative, level));
    QD_TRY(qd_pairs(ctx, "kendall", x, y, n, false, &pairs, &n_pairs));
    point *points = qd_alloc(ctx, 2 * n_pairs, sizeof *points);
    qdisp_status status = points ? QDISP_OK : QDISP_ENOMEM;
    qdisp_correlation_test c = {.r = NAN, .p = NAN, .n = n_pairs, .low = NAN, .high = NAN};
    if (status == QDISP_OK && n_pairs >= 3) {
        for (size_t i = 0; i < n_pairs; i++) points[i] = (point){pairs[i], pairs[n + i]};
        kendall(points, points + n_pairs, n_pairs, alternative, level, &c);
    }
    if (status == QDISP_OK) *out = c;
    qd_free(ctx, points);
    qd_free(ctx, pairs);
    return status;
}
