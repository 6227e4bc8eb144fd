/* moments.c - mergeable moments of arrays in one pass.
 *
 * Blocks of 8192 elements go through the kernel power_sums with a pivot near their mean, become central moments in f64
 * and are merged in order into spans of 64 blocks; spans are the tasks of the parallel loop and are merged in order
 * too. So the result depends on the data and the order of elements alone.
 *
 * Error against exact arithmetic. With u = 2^-24 and q = |pivot - mean| / std of a block, the kernel's sums are off by
 * at most (6 + 2p) u times the sum of |d|^p, and moving them to the mean adds no more than sum |d|^p times powers of
 * 1 + q again. A block whose pivot was further off than one standard deviation is summed once more about its own mean
 * (q = 0), hence q <= 1 and: m2 within 20 u, m4 within 14 (1 + q)^4 u < 1.4e-5 relative, worst case; what is seen is
 * 1e-7, since roundings do not conspire. Blocks out of the range of f32 powers run in f64 and are exact to 1e-14. */
#include "kernels/kernels.h"
#include "stats/stats.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 8192, SPAN = 64 * BLOCK, N_SAMPLES = 9 };

static qdisp_moments no_moments(void) {
    qdisp_moments m = {.mean = NAN, .min = INFINITY, .max = -INFINITY};
    return m;
}

/* Median of up to nine finite elements spread over the block: near the mean even beside outliers, and the constant
 * itself if the block is constant. */
static float choose_pivot(const float *x, size_t n) {
    float sorted[N_SAMPLES];
    size_t n_sorted = 0, step = n / N_SAMPLES + 1;
    for (size_t i = step / 2 < n ? step / 2 : 0; i < n; i += step) {
        if (!isfinite(x[i])) continue;
        size_t k = n_sorted++;
        for (; k > 0 && sorted[k - 1] > x[i]; k--) sorted[k] = sorted[k - 1];
        sorted[k] = x[i];
    }
    return n_sorted ? sorted[n_sorted / 2] : 0.0f;
}

/* Central moments from the sums about a pivot. */
static qdisp_moments from_sums(const qd_power_sums *s, float pivot, size_t n_all) {
    qdisp_moments m = no_moments();
    m.n = s->n_finite;
    m.n_non_finite = n_all - s->n_finite;
    if (m.n == 0) return m;
    double n = (double)m.n, d = s->s1 / n, d2 = d * d;
    m.mean = (double)pivot + d;
    m.m2 = s->s2 - d * s->s1;
    m.m3 = s->s3 - 3 * d * s->s2 + 2 * d2 * s->s1;
    m.m4 = s->s4 - 4 * d * s->s3 + 6 * d2 * s->s2 - 3 * d2 * d * s->s1;
    m.min = s->min;
    m.max = s->max;
    /* equal elements, found by comparing: no rounding of the mean makes them differ */
    if (m.min == m.max) {
        m.mean = m.min;
        m.m2 = m.m3 = m.m4 = 0;
    }
    m.m2 = m.m2 > 0 ? m.m2 : 0;
    m.m4 = m.m4 > 0 ? m.m4 : 0;
    return m;
}

static qdisp_moments moments_of_block(const qd_kernels *kernels, const float *x, size_t n) {
    qd_power_sums sums;
    float pivot = choose_pivot(x, n);
    kernels->power_sums(x, n, pivot, &sums);
    qdisp_moments m = from_sums(&sums, pivot, n);
    if (sums.s1 * sums.s1 > 0.5 * (double)m.n * sums.s2) { /* |pivot - mean| > std */
        pivot = (float)m.mean;
        kernels->power_sums(x, n, pivot, &sums);
        m = from_sums(&sums, pivot, n);
    }
    return m;
}

/* A source of elements, and one span of it. */
typedef struct source {
    const qd_kernels *kernels;
    const void *data;
    qdisp_dtype dtype;
} source;

static qdisp_moments moments_of_span(const source *src, size_t first, size_t n) {
    float buffer[BLOCK];
    qdisp_moments total = no_moments();
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t m = n - i < BLOCK ? n - i : BLOCK;
        const float *x = qd_load_f32(src->kernels, src->data, src->dtype, first + i, m, buffer);
        qdisp_moments block = moments_of_block(src->kernels, x, m);
        qdisp_moments_merge(&total, &block);
    }
    return total;
}

static size_t span_length(size_t n, size_t i_span) {
    return n - i_span * SPAN < SPAN ? n - i_span * SPAN : SPAN;
}

static size_t n_spans_of(size_t n) {
    return n / SPAN + (n % SPAN != 0);
}

/* n elements from `first`, spans in order: what compute does in parallel. */
static qdisp_moments moments_of_array(const source *src, size_t first, size_t n) {
    qdisp_moments total = no_moments();
    for (size_t s = 0; s < n_spans_of(n); s++) {
        qdisp_moments span = moments_of_span(src, first + s * SPAN, span_length(n, s));
        qdisp_moments_merge(&total, &span);
    }
    return total;
}

static qdisp_status check_source(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n) {
    if (n > 0 && !data) return qd_fail(ctx, QDISP_EINVAL, "moments: data is NULL, n is %zu", n);
    if (dtype != QDISP_DTYPE_F32 && dtype != QDISP_DTYPE_F16 && dtype != QDISP_DTYPE_BF16) {
        return qd_fail(ctx, QDISP_EUNSUPPORTED, "moments: dtype %s (%d) is none of f32, f16, bf16",
                       qd_dtype_name(dtype), (int)dtype);
    }
    return QDISP_OK;
}

typedef struct span_job {
    source src;
    size_t n;
    qdisp_moments *spans;
} span_job;

static qdisp_status span_task(void *arg, size_t i, unsigned i_worker) {
    span_job *job = arg;
    (void)i_worker;
    job->spans[i] = moments_of_span(&job->src, i * SPAN, span_length(job->n, i));
    return QDISP_OK;
}

qdisp_status qdisp_moments_compute(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n, qdisp_moments *out) {
    QD_TRY(check_source(ctx, data, dtype, n));
    span_job job = {.src = {ctx->kernels, data, dtype}, .n = n};
    size_t n_spans = n_spans_of(n);
    if (n_spans <= 1) {
        *out = moments_of_array(&job.src, 0, n);
        return QDISP_OK;
    }
    job.spans = qd_alloc(ctx, n_spans, sizeof *job.spans);
    if (!job.spans) return QDISP_ENOMEM;
    qdisp_status status = qd_parallel(ctx, n_spans, span_task, &job);
    if (status == QDISP_OK) {
        qdisp_moments total = no_moments();
        for (size_t s = 0; s < n_spans; s++) qdisp_moments_merge(&total, &job.spans[s]);
        *out = total;
    }
    qd_free(ctx, job.spans);
    return status;
}

typedef struct row_job {
    source src;
    size_t n_rows, n_columns, rows_per_task;
    qdisp_moments *rows;
} row_job;

static qdisp_status row_task(void *arg, size_t i, unsigned i_worker) {
    row_job *job = arg;
    (void)i_worker;
    size_t first = i * job->rows_per_task, left = job->n_rows - first;
    size_t end = first + (left < job->rows_per_task ? left : job->rows_per_task);
    for (size_t r = first; r < end; r++) {
        job->rows[r] = moments_of_array(&job->src, r * job->n_columns, job->n_columns);
    }
    return QDISP_OK;
}

qdisp_status qdisp_moments_rows(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n_rows, size_t n_columns,
                                qdisp_moments *out) {
    uint64_t n;
    if (qd_mul_overflows(n_rows, n_columns, &n) || n > SIZE_MAX / sizeof(float)) {
        return qd_fail(ctx, QDISP_EINVAL, "moments: %zu rows of %zu are too many", n_rows, n_columns);
    }
    QD_TRY(check_source(ctx, data, dtype, (size_t)n));
    if (n_rows == 0) return QDISP_OK;
    size_t rows_per_task = n_columns < SPAN ? SPAN / (n_columns + 1) + 1 : 1;
    size_t n_tasks = n_rows / rows_per_task + (n_rows % rows_per_task != 0);
    row_job job = {.src = {ctx->kernels, data, dtype},
                   .n_rows = n_rows,
                   .n_columns = n_columns,
                   .rows_per_task = rows_per_task};
    /* outputs stay untouched on failure, so workers write to their own array */
    job.rows = qd_alloc(ctx, n_rows, sizeof *job.rows);
    if (!job.rows) return QDISP_ENOMEM;
    qdisp_status status = qd_parallel(ctx, n_tasks, row_task, &job);
    if (status == QDISP_OK) memcpy(out, job.rows, n_rows * sizeof *out);
    qd_free(ctx, job.rows);
    return status;
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
