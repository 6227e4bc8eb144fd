/* quant_percentile.c - thresholds within which a given share of a unit's weights lies: the percentile of |w|, or for
 * asymmetric levels of |w| in units of the end on its side. Between two weights it is interpolated. */
#include "quant/rows.h"

#include <math.h>
#include <stddef.h>

#define DEFAULT 99.9

/* Puts the element of rank k into place k, smaller ones before it, larger ones behind: Hoare's selection. */
static void select_rank(float *x, size_t n, size_t k) {
    ptrdiff_t low = 0, high = (ptrdiff_t)n - 1, rank = (ptrdiff_t)k;
    while (low < high) {
        float middle = x[rank];
        ptrdiff_t i = low, j = high;
        while (i <= j) {
            while (x[i] < middle) i++;
            while (x[j] > middle) j--;
            if (i > j) break;
            float swapped = x[i];
            x[i++] = x[j];
            x[j--] = swapped;
        }
        if (j < rank) low = i;
        if (rank < i) high = j;
    }
}

static double ratio(const qd_choice *c, float *sizes, size_t n) {
    double rank = qd_choice_option(c, "percentile", DEFAULT) / 100 * (double)(n - 1);
    size_t below = (size_t)rank;
    select_rank(sizes, n, below);
    float low = sizes[below], high = INFINITY;
    for (size_t i = below + 1; i < n; i++) high = sizes[i] < high ? sizes[i] : high;
    return below + 1 < n ? (double)low + (rank - (double)below) * ((double)high - (double)low) : (double)low;
}

static qdisp_status check(qdisp_ctx *ctx, const qd_choice *c) {
    double percentile = qd_choice_option(c, "percentile", DEFAULT);
    if (percentile > 0 && percentile <= 100) return QDISP_OK;
    return qd_fail(ctx, QDISP_EINVAL, "%s: percentile: %g is not in 0..100", c->name, percentile);
}

static qdisp_status choose(const qdisp_quantizer *q, const qd_languages *languages, qd_choice *choices, size_t n) {
    (void)languages;
    return qd_sizes_choose(q->ctx, choices, n, ratio);
}

const qd_method qd_method_percentile = {.name = "percentile", .needs = "weights",
                                        .paper = "a share of the weights within the threshold", .choose = choose,
                                        .check = check, .options = "percentile"};
