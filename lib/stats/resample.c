/* resample.c - bootstrap and permutation. Random numbers are Philox words of (resample, position), so a result
 * depends on data and seed only. */
#include "stats/resample.h"

#include <qdisp/stats.h>

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

static double normal_cdf(double z) {
    return 0.5 * erfc(-z / 1.4142135623730951);
}

/* By bisection: three calls an interval do not need a faster one, and there are no coefficients to get wrong. */
static double normal_quantile(double p) {
    double low = -40, high = 40;
    for (int i = 0; i < 80; i++) {
        double middle = 0.5 * (low + high);
        if (normal_cdf(middle) < p) low = middle;
        else high = middle;
    }
    return 0.5 * (low + high);
}

/* Index in [0, n) for the k-th draw of resample r: a 32-bit word times n, high part (n < 2^20 here, so the bias is
 * below 2^-12 of a draw's probability, far under the resampling noise). */
static void draw_indices(uint64_t r, uint64_t seed, size_t n, size_t *indices) {
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, words[4];
    for (size_t k = 0; k < n; k++) {
        if (k % 4 == 0) {
            uint32_t counter[4] = {(uint32_t)(k / 4), (uint32_t)r, (uint32_t)(r >> 32), 0};
            qd_philox(counter, key, words);
        }
        indices[k] = (size_t)(((uint64_t)words[k % 4] * n) >> 32);
    }
}

/* Acceleration by the jackknife, Efron 1987 eq. 6.6. */
static double acceleration(const double *a, const double *b, size_t n, double sum_a, double sum_b) {
    double mean = 0, s2 = 0, s3 = 0;
    for (size_t i = 0; i < n; i++) mean += (sum_a - a[i]) / (sum_b - b[i]) / (double)n;
    for (size_t i = 0; i < n; i++) {
        double d = mean - (sum_a - a[i]) / (sum_b - b[i]);
        s2 += d * d;
        s3 += d * d * d;
    }
    return s2 > 0 ? s3 / (6 * pow(s2, 1.5)) : 0;
}

static double bca_level(double z0, double accel, double p) {
    double z = z0 + normal_quantile(p);
    return normal_cdf(z0 + z / (1 - accel * z));
}

qdisp_status qdisp_bootstrap_ratio(qdisp_ctx *ctx, const double *a, const double *b, size_t n, double level,
                                   size_t n_resamples, uint64_t seed, double *low, double *high) {
    double sum_a = 0, sum_b = 0;
    if (!a || !b || n < 3 || n > (1u << 20))
        return qd_fail(ctx, QDISP_EINVAL, "bootstrap: %zu pairs, 3..2^20 needed", n);
    if (!(level > 0 && level < 1) || n_resamples < 100 || n_resamples > 100000000)
        return qd_fail(ctx, QDISP_EINVAL, "bootstrap: level in (0, 1) and 100..1e8 resamples needed");
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(a[i]) || !isfinite(b[i]) || !(b[i] > 0))
            return qd_fail(ctx, QDISP_ENUMERIC, "bootstrap: pair %zu: %g / %g", i, a[i], b[i]);
        sum_a += a[i];
        sum_b += b[i];
    }
    double *values = qd_alloc(ctx, n_resamples, sizeof *values), estimate = sum_a / sum_b;
    size_t *indices = qd_alloc(ctx, n, sizeof *indices), n_below = 0, n_equal = 0;
    if (!values || !indices) {
        qd_free(ctx, values);
        qd_free(ctx, indices);
        return QDISP_ENOMEM;
    }
    for (size_t r = 0; r < n_resamples; r++) {
        double ra = 0, rb = 0;
        draw_indices(r, seed, n, indices);
        for (size_t k = 0; k < n; k++) ra += a[indices[k]], rb += b[indices[k]];
        values[r] = ra / rb;
        n_below += values[r] < estimate;
        n_equal += values[r] == estimate;
    }
    qd_sort(values, n_resamples);
    /* half of the ties count as below; kept off 0 and 1, where z0 is infinite */
    double share = ((double)n_below + 0.5 * (double)n_equal + 0.5) / ((double)n_resamples + 1);
    double z0 = normal_quantile(share), accel = acceleration(a, b, n, sum_a, sum_b);
    *low = qd_quantile(values, n_resamples, bca_level(z0, accel, (1 - level) / 2));
    *high = qd_quantile(values, n_resamples, bca_level(z0, accel, (1 + level) / 2));
    qd_free(ctx, values);
    qd_free(ctx, indices);
    return QDISP_OK;
}

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

qdisp_status qd_holm(qdisp_ctx *ctx, double *p, size_t n) {
    double *sorted = qd_alloc(ctx, n, sizeof *sorted), *adjusted = qd_alloc(ctx, n, sizeof *adjusted);
    if (!sorted || !adjusted) {
        qd_free(ctx, sorted);
        qd_free(ctx, adjusted);
        return QDISP_ENOMEM;
    }
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        if (!isnan(p[i])) sorted[m++] = p[i];
    qd_sort(sorted, m);
    for (size_t k = 0; k < m; k++) {
        double value = fmin(1, sorted[k] * (double)(m - k));
        adjusted[k] = k > 0 ? fmax(value, adjusted[k - 1]) : value;
    }
    for (size_t i = 0; i < n; i++) {
        if (isnan(p[i])) continue;
        size_t k = 0; /* equal values: the first one's adjusted value is theirs, as the running maximum grows */
        while (sorted[k] < p[i]) k++;
        p[i] = adjusted[k];
    }
    qd_free(ctx, sorted);
    qd_free(ctx, adjusted);
    return QDISP_OK;
}
