/* moments.c - mergeable moments of arrays in one pass.
 *
 * Blocks of 16384 elements go through the kernel power_sums with a pivot near their mean, become central moments in f64
 * and are merged in order into spans of four blocks; spans are the tasks of the parallel loop (pass.c) and are merged
 * in order too. So the result depends on the data and the order of elements alone.
 *
 * Error against exact arithmetic. With u = 2^-24 and q = |pivot - mean| / std of a block, the kernel's sums are off by
 * at most (8 + 2p) u sum |x - pivot|^p. Moving them to the mean by the binomial formula gives, all in all, at most
 * (8 + 2p) u sum (|x - pivot| + q std)^p, and by Minkowski's inequality (8 + 2p) (1 + 2q)^p u m_p for even p. A block
 * whose pivot was further off than one standard deviation is summed again about its own mean (twice if need be: a
 * first mean from afar is off by 10 u |pivot - mean|), hence q <= 1 and: m2 within 108 u = 7e-6, m4 within 1296 u =
 * 8e-5, worst case; what is seen is 1e-7, since roundings do not conspire. Blocks out of the range of f32 powers run
 * in f64 and are exact to 1e-14; merging adds a few roundings of f64. */
#include "stats/stats.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 16384, SHORT = 16384 };

qdisp_moments qd_moments_none(void) {
    qdisp_moments m = {.mean = NAN, .min = INFINITY, .max = -INFINITY};
    return m;
}

static float element(const void *x, qdisp_dtype dtype, size_t i) {
    switch (dtype) {
    case QDISP_DTYPE_F16: return qd_f16_to_f32(((const uint16_t *)x)[i]);
    case QDISP_DTYPE_BF16: return qd_bf16_to_f32(((const uint16_t *)x)[i]);
    case QDISP_DTYPE_I8: return (float)((const int8_t *)x)[i];
    default: return ((const float *)x)[i];
    }
}

static float lesser(float a, float b) {
    return a < b ? a : b;
}

static float greater(float a, float b) {
    return a > b ? a : b;
}

static float median(float a, float b, float c) {
    return greater(lesser(a, b), lesser(greater(a, b), c));
}

/* Median of the medians of nine elements spread over the block, without a branch that depends on them: near the mean
 * even beside outliers, and the constant itself if the block is constant. n > 0. */
static float choose_pivot(const void *x, qdisp_dtype dtype, size_t n) {
    float v[9], finite = 0.0f;
    for (size_t i = 0; i < 9; i++) {
        float sample = element(x, dtype, (2 * i + 1) * n / 18);
        v[i] = finite = isfinite(sample) ? sample : finite;
    }
    return median(median(v[0], v[1], v[2]), median(v[3], v[4], v[5]), median(v[6], v[7], v[8]));
}

qdisp_moments qd_moments_from_sums(const double s[4], uint64_t n_finite, double pivot, double min, double max) {
    double n = (double)n_finite, d = s[0] / n, d2 = d * d;
    qdisp_moments m = {.n = n_finite, .mean = pivot + d, .min = min, .max = max};
    /* equal elements, found by comparing: no rounding of the mean makes them differ */
    if (min == max) {
        m.mean = min;
        return m;
    }
    m.m2 = s[1] - d * s[0];
    m.m3 = s[2] - 3 * d * s[1] + 2 * d2 * s[0];
    m.m4 = s[3] - 4 * d * s[2] + 6 * d2 * s[1] - 3 * d2 * d * s[0];
    m.m2 = m.m2 > 0 ? m.m2 : 0;
    m.m4 = m.m4 > 0 ? m.m4 : 0;
    return m;
}

bool qd_pivot_is_far(const double s[4], uint64_t n) {
    return s[0] * s[0] > 0.5 * (double)n * s[1];
}

static void sum_block(const qd_kernels *kernels, const void *x, qdisp_dtype dtype, size_t n, float pivot,
                      qd_power_sums *out) {
    switch (dtype) {
    case QDISP_DTYPE_F16: kernels->power_sums_f16(x, n, pivot, out); break;
    case QDISP_DTYPE_BF16: kernels->power_sums_bf16(x, n, pivot, out); break;
    case QDISP_DTYPE_I8: kernels->power_sums_i8(x, n, pivot, out); break;
    default: kernels->power_sums(x, n, pivot, out); break;
    }
}

static qdisp_moments moments_of_block(const qd_kernels *kernels, const void *x, qdisp_dtype dtype, size_t n,
                                      float pivot) {
    qd_power_sums sums;
    qdisp_moments m = qd_moments_none();
    for (int again = 0; again < 3; again++) {
        sum_block(kernels, x, dtype, n, pivot, &sums);
        double s[4] = {sums.s1, sums.s2, sums.s3, sums.s4};
        if (sums.n_finite > 0) m = qd_moments_from_sums(s, sums.n_finite, (double)pivot, sums.min, sums.max);
        if (!qd_pivot_is_far(s, sums.n_finite)) break;
        pivot = (float)m.mean;
    }
    m.n_non_finite = n - sums.n_finite;
    return m;
}

/* The mean so far is the best guess of the next block's: no samples are needed. For a short row summing it twice costs
 * less than looking at samples: weights lie about 0. */
qdisp_moments qd_moments_of_span(const qd_kernels *kernels, const void *x, qdisp_dtype dtype, size_t n) {
    if (n < SHORT) return moments_of_block(kernels, x, dtype, n, 0.0f);
    qdisp_moments total = qd_moments_none();
    size_t size = qd_dtype_size(dtype);
    for (size_t i = 0; i < n; i += BLOCK) {
        const void *at = (const char *)x + i * size;
        size_t m = n - i < BLOCK ? n - i : BLOCK;
        float pivot = total.n > 0 ? (float)total.mean : choose_pivot(at, dtype, m);
        qdisp_moments block = moments_of_block(kernels, at, dtype, m, pivot);
        if (i == 0) total = block;
        else qdisp_moments_merge(&total, &block);
    }
    return total;
}

/* Outputs stay untouched on failure, so the pass writes to an array of its own. */
static qdisp_status run(qdisp_ctx *ctx, const qd_array *array, qdisp_moments *out) {
    qdisp_moments one, *rows = array->n_rows == 1 ? &one : qd_alloc(ctx, array->n_rows, sizeof *rows);
    qd_pass *pass = NULL;
    qdisp_status status = rows ? qd_pass_new(ctx, 0, &pass) : QDISP_ENOMEM;
    if (status == QDISP_OK) status = qd_pass_run(pass, array, NULL, rows);
    if (status == QDISP_OK) memcpy(out, rows, array->n_rows * sizeof *out);
    qd_pass_free(pass);
    if (rows != &one) qd_free(ctx, rows);
    return status;
}

qdisp_status qdisp_moments_compute(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n, qdisp_moments *out) {
    qd_array array = {.data = data, .dtype = dtype, .n_rows = 1, .n_columns = n};
    QD_TRY(qd_array_check(ctx, "moments", &array));
    return run(ctx, &array, out);
}

qdisp_status qdisp_moments_rows(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n_rows, size_t n_columns,
                                qdisp_moments *out) {
    qd_array array = {.data = data, .dtype = dtype, .n_rows = n_rows, .n_columns = n_columns};
    QD_TRY(qd_array_check(ctx, "moments", &array));
    return n_rows > 0 ? run(ctx, &array, out) : QDISP_OK;
}

void qdisp_moments_merge(qdisp_moments *into, const qdisp_moments *from) {
    qdisp_moments a = *into, b = *from, m;
    uint64_t n_non_finite = a.n_non_finite + b.n_non_finite;
    if (a.n == 0 || b.n == 0) {
        m = a.n == 0 ? b : a;
        m.n_non_finite = n_non_finite;
        *into = m;
        return;
    }
    double na = (double)a.n, nb = (double)b.n, n = na + nb, pa = na / n, pb = nb / n;
    double d = b.mean - a.mean, d2 = d * d;
    m.n = a.n + b.n;
    m.n_non_finite = n_non_finite;
    m.mean = d == 0 ? a.mean : a.mean + d * pb;
    m.m2 = a.m2 + b.m2 + d2 * na * pb;
    m.m3 = a.m3 + b.m3 + d2 * d * na * pb * (pa - pb) + 3 * d * (pa * b.m2 - pb * a.m2);
    m.m4 = a.m4 + b.m4 + d2 * d2 * na * pb * (pa * pa - pa * pb + pb * pb) +
           6 * d2 * (pa * pa * b.m2 + pb * pb * a.m2) + 4 * d * (pa * b.m3 - pb * a.m3);
    m.min = a.min < b.min ? a.min : b.min;
    m.max = a.max > b.max ? a.max : b.max;
    *into = m;
}

double qdisp_moments_kurtosis(const qdisp_moments *m) {
    if (m->n == 0 || !(m->m2 > 0)) return NAN;
    double variance = m->m2 / (double)m->n;
    return m->m4 / (double)m->n / (variance * variance) - 3.0;
}

double qdisp_moments_std(const qdisp_moments *m) {
    return m->n == 0 ? NAN : sqrt(m->m2 / (double)m->n);
}

double qdisp_moments_skewness(const qdisp_moments *m) {
    if (m->n == 0 || !(m->m2 > 0)) return NAN;
    double variance = m->m2 / (double)m->n;
    return m->m3 / (double)m->n / (variance * sqrt(variance));
}
