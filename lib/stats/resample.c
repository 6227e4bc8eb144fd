/* resample.c - what bootstrap and permutation share: random places, quantiles, intervals; and the sign-flip test.
 * Random numbers are Philox words of (resample, place), so a result depends on data and seed only. */
#include "stats/resample.h"

#include "kernels/kernels.h"
#include "stats/special.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void qd_sort(double *x, size_t n) {
    qsort(x, n, sizeof *x, ascending);
}

double qd_quantile(const double *sorted, size_t n, double q) {
    if (n == 0) return NAN;
    double at = q * (double)(n - 1), floor_at = floor(at);
    size_t i = (size_t)floor_at;
    return i + 1 < n ? sorted[i] + (at - floor_at) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

/* ---- random places ---- */

qd_draws qd_draws_of(const qdisp_ctx *ctx, uint64_t seed, uint32_t stream, size_t n, size_t n_draws) {
    qd_draws d = {.kernels = ctx->kernels, .key = {(uint32_t)seed, (uint32_t)(seed >> 32)}, .stream = stream, .n = n,
                  .n_draws = n_draws, .per_word = n <= 16 ? 4 : n <= 256 ? 2 : n <= 65536 ? 1 : 0};
    size_t n_words = d.per_word ? (n_draws + d.per_word - 1) / d.per_word : 2 * n_draws;
    d.n_words = (n_words + 3) / 4 * 4;
    return d;
}

void qd_draws_words(const qd_draws *draws, uint64_t first, size_t n_resamples, uint32_t *words) {
    uint64_t n_blocks = draws->n_words / 4, at = first * n_blocks;
    uint32_t counter[4] = {(uint32_t)at, (uint32_t)(at >> 32), draws->stream, 0};
    draws->kernels->philox(counter, draws->key, n_resamples * (size_t)n_blocks, words);
}

void qd_draws_count(const qd_draws *draws, const uint32_t *words, uint32_t *counts) {
    size_t left = draws->n_draws, n = draws->n;
    if (draws->per_word == 0) {
        for (size_t k = 0; k < left; k++) counts[qd_draw_wide(words + 2 * k, n)]++;
        return;
    }
    for (; left >= draws->per_word; words++) {
        uint64_t w = *words;
        for (unsigned k = 0; k < draws->per_word; k++, left--) {
            w *= n;
            counts[w >> 32]++;
            w &= UINT32_MAX;
        }
    }
    for (uint64_t w = left ? *words : 0; left > 0; left--) {
        w *= n;
        counts[w >> 32]++;
        w &= UINT32_MAX;
    }
}

/* ---- quantiles without sorting ---- */

enum { SORT_BELOW = 4096, N_BINS = 4096 };

typedef struct bins {
    double low, inverse;
    uint32_t counts[N_BINS];
} bins;

/* Two neighbouring order statistics of an array, ranks rank and above, all in bins first..last. */
typedef struct place {
    size_t rank, above;
    uint32_t first, last;
    size_t n_below, n_inside;
} place;

/* Monotone in x, as rounding keeps order; 0 to N_BINS - 1, as the greatest x comes to N_BINS - 0.5 and two roundings.
 */
static uint32_t bin_of(const bins *b, double x) {
    return (uint32_t)(int32_t)((x - b->low) * b->inverse);
}

static void range_of(const double *x, size_t n, double *low, double *high) {
    double lows[4] = {x[0], x[0], x[0], x[0]}, highs[4] = {x[0], x[0], x[0], x[0]};
    for (size_t i = 0; i + 4 <= n; i += 4) {
        for (size_t l = 0; l < 4; l++) lows[l] = x[i + l] < lows[l] ? x[i + l] : lows[l];
        for (size_t l = 0; l < 4; l++) highs[l] = x[i + l] > highs[l] ? x[i + l] : highs[l];
    }
    *low = fmin(fmin(lows[0], lows[1]), fmin(lows[2], lows[3]));
    *high = fmax(fmax(highs[0], highs[1]), fmax(highs[2], highs[3]));
    for (size_t i = n / 4 * 4; i < n; i++) *low = fmin(*low, x[i]), *high = fmax(*high, x[i]);
}

/* False if that makes no sense: constant or next to it, or a range that overflows. */
static bool count_bins(const double *x, size_t n, double low, double high, bins *b) {
    memset(b, 0, sizeof *b);
    b->low = low;
    b->inverse = (N_BINS - 0.5) / (high - low);
    if (!(high - low > 0) || !isfinite(high - low) || !isfinite(b->inverse)) return false;
    for (size_t i = 0; i < n; i++) b->counts[bin_of(b, x[i])]++;
    return true;
}

static void find_bins(const bins *b, place *p) {
    uint32_t k = 0;
    size_t below = 0;
    for (; below + b->counts[k] <= p->rank; k++) below += b->counts[k];
    p->first = k;
    p->n_below = below;
    for (; below + b->counts[k] <= p->above; k++) below += b->counts[k];
    p->last = k;
    p->n_inside = below + b->counts[k] - p->n_below;
}

/* Those of x[n] that are in the bins of p; out, of p->n_inside and one more, may be x. */
static void keep_inside(const double *x, size_t n, const bins *b, const place *p, double *out) {
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        out[m] = x[i];
        m += bin_of(b, x[i]) - p->first <= p->last - p->first;
    }
}

/* Both places at once. What is between them, most of it, is passed over first. */
static void keep_inside_two(const double *x, size_t n, const bins *b, const place p[2], double *const out[2]) {
    size_t low = p[0].first <= p[1].first ? 0 : 1, m[2] = {0, 0};
    uint32_t from = p[low].last + 1, between = p[!low].first > from ? p[!low].first - from : 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bin = bin_of(b, x[i]);
        if (bin - from < between) continue;
        for (size_t k = 0; k < 2; k++) {
            out[k][m[k]] = x[i];
            m[k] += bin - p[k].first <= p[k].last - p[k].first;
        }
    }
}

/* The order statistics of x[n], which is overwritten: only the bins that hold them are kept, until they are few or no
 * longer get fewer. */
static void order_statistics(double *x, size_t n, place p, bins *b, double two[2]) {
    while (n > SORT_BELOW) {
        double low, high;
        range_of(x, n, &low, &high);
        if (!count_bins(x, n, low, high, b)) break;
        find_bins(b, &p);
        if (p.n_inside == n) break;
        keep_inside(x, n, b, &p, x);
        n = p.n_inside;
        p.rank -= p.n_below;
        p.above -= p.n_below;
    }
    qd_sort(x, n);
    two[0] = x[p.rank];
    two[1] = x[p.above];
}

static double between(const double two[2], double q, size_t n) {
    double at = q * (double)(n - 1);
    return two[0] + (at - floor(at)) * (two[1] - two[0]);
}

/* Quantiles q[0], q[1] of x[n] in low..high, as by qd_quantile, without sorting it all; NaN for no values or a q that
 * is NaN. No NaN in x. */
static qdisp_status two_quantiles(qdisp_ctx *ctx, const double *x, size_t n, double low, double high, const double q[2],
                                  double out[2]) {
    double two[2], *kept[2] = {NULL, NULL};
    place p[2];
    qdisp_status status = QDISP_ENOMEM;
    if (n == 0 || q[0] != q[0] || q[1] != q[1]) {
        out[0] = out[1] = NAN;
        return QDISP_OK;
    }
    bins *b = qd_alloc(ctx, 1, sizeof *b);
    if (!b) return QDISP_ENOMEM;
    bool binned = n > SORT_BELOW && count_bins(x, n, low, high, b);
    for (size_t k = 0; k < 2; k++) {
        size_t rank = (size_t)floor(q[k] * (double)(n - 1));
        p[k] = (place){.rank = rank, .above = rank + 1 < n ? rank + 1 : rank, .last = N_BINS - 1, .n_inside = n};
        if (binned) find_bins(b, &p[k]);
        if (!(kept[k] = qd_alloc(ctx, p[k].n_inside + 1, sizeof *kept[k]))) goto done;
    }
    if (binned) {
        keep_inside_two(x, n, b, p, kept);
    } else {
        for (size_t k = 0; k < 2; k++) memcpy(kept[k], x, n * sizeof *x);
    }
    for (size_t k = 0; k < 2; k++) {
        p[k].rank -= p[k].n_below;
        p[k].above -= p[k].n_below;
        order_statistics(kept[k], p[k].n_inside, p[k], b, two);
        out[k] = between(two, q[k], n);
    }
    status = QDISP_OK;
done:
    qd_free(ctx, kept[0]);
    qd_free(ctx, kept[1]);
    qd_free(ctx, b);
    return status;
}

/* ---- intervals ---- */

/* Efron 1987, eq. 6.6. NaN if a value is; 0 where all are equal. */
static double acceleration(const double *values, size_t n) {
    double mean = 0, s2 = 0, s3 = 0;
    for (size_t i = 0; i < n; i++) mean += values[i] / (double)n;
    for (size_t i = 0; i < n; i++) {
        double d = mean - values[i];
        s2 += d * d;
        s3 += d * d * d;
    }
    return s2 > 0 ? s3 / (6 * s2 * sqrt(s2)) : s2 == 0 ? 0 : NAN;
}

static double bca_level(double z0, double accel, double p) {
    double z = z0 + qd_normal_quantile(p);
    return qd_normal_cdf(z0 + z / (1 - accel * z));
}

/* Moves the numbers to the front, in order; returns how many. */
static size_t drop_nan(double *values, size_t n) {
    size_t n_nan = 0, m = 0;
    for (size_t i = 0; i < n; i++) n_nan += values[i] != values[i];
    if (n_nan == 0) return n;
    for (size_t i = 0; i < n; i++) {
        values[m] = values[i];
        m += values[i] == values[i];
    }
    return m;
}

typedef struct summary {
    double sum, squares;          /* of differences from the estimate */
    double low, high;
    uint64_t n_below, n_up_to;    /* values that differ from the estimate by rounding are up to it, not below */
} summary;

/* In four lanes of a fixed order; a NaN shows in sum. */
static summary summarize(const double *x, size_t n, double estimate) {
    double sum[4] = {0}, squares[4] = {0}, lows[4], highs[4], near = 1e-13 * fabs(estimate);
    uint64_t below[4] = {0}, up_to[4] = {0};
    double from = estimate - near, to = estimate + near;
    for (size_t l = 0; l < 4; l++) lows[l] = INFINITY, highs[l] = -INFINITY;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        for (size_t l = 0; l < 4; l++) {
            double v = x[i + l], d = v - estimate;
            sum[l] += d;
            squares[l] += d * d;
            below[l] += v < from;
            up_to[l] += v <= to;
            lows[l] = v < lows[l] ? v : lows[l];
            highs[l] = v > highs[l] ? v : highs[l];
        }
    }
    for (; i < n; i++) {
        double d = x[i] - estimate;
        sum[0] += d;
        squares[0] += d * d;
        below[0] += x[i] < from;
        up_to[0] += x[i] <= to;
        lows[0] = fmin(lows[0], x[i]);
        highs[0] = fmax(highs[0], x[i]);
    }
    return (summary){(sum[0] + sum[2]) + (sum[1] + sum[3]), (squares[0] + squares[2]) + (squares[1] + squares[3]),
                     fmin(fmin(lows[0], lows[1]), fmin(lows[2], lows[3])),
                     fmax(fmax(highs[0], highs[1]), fmax(highs[2], highs[3])),
                     below[0] + below[1] + below[2] + below[3], up_to[0] + up_to[1] + up_to[2] + up_to[3]};
}

qdisp_status qd_interval(qdisp_ctx *ctx, qdisp_interval_method method, double level, double estimate, double *values,
                         size_t n, const double *leave_one_out, size_t n_left, qd_resampled *out) {
    double p[2] = {(1 - level) / 2, (1 + level) / 2}, q[2];
    size_t m = n;
    summary s = summarize(values, n, estimate);
    if (s.sum != s.sum) {
        m = drop_nan(values, n);
        s = summarize(values, m, estimate);
    }
    if (method == QDISP_INTERVAL_BCA) {
        /* half of the ties count as below; the share is kept off 0 and 1, where z0 is infinite */
        double share = (0.5 * ((double)s.n_below + (double)s.n_up_to) + 0.5) / ((double)m + 1);
        double z0 = qd_normal_quantile(share), accel = acceleration(leave_one_out, n_left);
        for (int k = 0; k < 2; k++) p[k] = bca_level(z0, accel, p[k]);
    }
    QD_TRY(two_quantiles(ctx, values, m, s.low, s.high, p, q));
    out->n = m;
    out->n_degenerate = n - m;
    out->mean = m ? estimate + s.sum / (double)m : NAN;
    out->sd = m > 1 ? sqrt(fmax(0, s.squares - s.sum * s.sum / (double)m) / (double)(m - 1)) : NAN;
    out->low = method == QDISP_INTERVAL_BASIC ? 2 * estimate - q[1] : q[0];
    out->high = method == QDISP_INTERVAL_BASIC ? 2 * estimate - q[0] : q[1];
    return QDISP_OK;
}

/* ---- sign flips ---- */

qdisp_status qd_sign_flip_test(qdisp_ctx *ctx, const double *d, size_t n, size_t n_resamples, uint64_t seed,
                               double *p) {
    double observed = 0, scale = 0;
    for (size_t i = 0; i < n; i++) observed += d[i], scale += fabs(d[i]);
    if (!isfinite(scale)) return qd_fail(ctx, QDISP_ENUMERIC, "sign-flip test: a difference is not finite");
    /* sums in another order differ by rounding: ties must count as ties */
    double threshold = fabs(observed) - 1e-12 * scale;
    bool exact = n < 63 && ((uint64_t)1 << n) <= n_resamples;
    uint64_t n_all = exact ? (uint64_t)1 << n : n_resamples, n_extreme = 0;
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, words[4] = {0};
    for (uint64_t r = 0; r < n_all; r++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++) {
            if (!exact && i % 128 == 0) {
                uint32_t counter[4] = {(uint32_t)(i / 128), (uint32_t)r, (uint32_t)(r >> 32), 1};
                qd_philox(counter, key, words);
            }
            bool flip = exact ? r >> i & 1 : words[i % 128 / 32] >> (i % 32) & 1;
            sum += flip ? -d[i] : d[i];
        }
        n_extreme += fabs(sum) >= threshold;
    }
    *p = exact ? (double)n_extreme / (double)n_all : ((double)n_extreme + 1) / ((double)n_all + 1);
    return QDISP_OK;
}
