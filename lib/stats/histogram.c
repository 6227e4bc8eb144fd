/* histogram.c - fine histogram of magnitudes, from which clipping thresholds are solved. Counts are integers, so each
 * worker counts for itself and the sum does not depend on who did what. */
#include "kernels/kernels.h"
#include "stats/stats.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { BLOCK = 8192, SPAN = 64 * BLOCK, MAX_BINS = 1 << 24 };

typedef struct histogram_job {
    const qd_kernels *kernels;
    const void *data;
    qdisp_dtype dtype;
    size_t n;
    float bins_per_unit;
    uint32_t n_bins;
    float *maxs;      /* a task */
    uint64_t *counts; /* a worker, n_bins each */
} histogram_job;

/* Largest finite |x|; only a block with NaN or infinity is looked at element by element. */
static float finite_max(const qd_kernels *kernels, const float *x, size_t n) {
    float max = kernels->abs_max(x, n);
    if (isfinite(max)) return max;
    max = 0;
    for (size_t i = 0; i < n; i++) {
        if (isfinite(x[i]) && fabsf(x[i]) > max) max = fabsf(x[i]);
    }
    return max;
}

static size_t block_of(const histogram_job *job, size_t i_task, size_t i) {
    size_t left = job->n - i_task * SPAN;
    size_t end = left < SPAN ? left : SPAN;
    return i >= end ? 0 : end - i < BLOCK ? end - i : BLOCK;
}

static qdisp_status max_task(void *arg, size_t i_task, unsigned i_worker) {
    histogram_job *job = arg;
    float buffer[BLOCK], max = 0;
    (void)i_worker;
    for (size_t i = 0, m; (m = block_of(job, i_task, i)) > 0; i += m) {
        const float *x = qd_load_f32(job->kernels, job->data, job->dtype, i_task * SPAN + i, m, buffer);
        max = fmaxf(max, finite_max(job->kernels, x, m));
    }
    job->maxs[i_task] = max;
    return QDISP_OK;
}

static qdisp_status count_task(void *arg, size_t i_task, unsigned i_worker) {
    histogram_job *job = arg;
    float buffer[BLOCK];
    uint64_t *counts = job->counts + (size_t)i_worker * job->n_bins;
    for (size_t i = 0, m; (m = block_of(job, i_task, i)) > 0; i += m) {
        const float *x = qd_load_f32(job->kernels, job->data, job->dtype, i_task * SPAN + i, m, buffer);
        job->kernels->abs_histogram(x, m, job->bins_per_unit, job->n_bins, counts);
    }
    return QDISP_OK;
}

qdisp_status qd_abs_histogram(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n, uint32_t n_bins,
                              qd_histogram *out) {
    if (n > 0 && !data) return qd_fail(ctx, QDISP_EINVAL, "histogram: data is NULL, n is %zu", n);
    if (n_bins < 1 || n_bins > MAX_BINS) {
        return qd_fail(ctx, QDISP_EINVAL, "histogram: %u bins, not 1..%d", (unsigned)n_bins, MAX_BINS);
    }
    if (dtype != QDISP_DTYPE_F32 && dtype != QDISP_DTYPE_F16 && dtype != QDISP_DTYPE_BF16) {
        return qd_fail(ctx, QDISP_EUNSUPPORTED, "histogram: dtype %s (%d) is none of f32, f16, bf16",
                       qd_dtype_name(dtype), (int)dtype);
    }
    size_t n_tasks = n / SPAN + (n % SPAN != 0), n_workers = n_tasks < qd_n_workers(ctx) ? n_tasks : qd_n_workers(ctx);
    n_workers = n_workers ? n_workers : 1;
    histogram_job job = {.kernels = ctx->kernels, .data = data, .dtype = dtype, .n = n, .n_bins = n_bins};
    qd_histogram h = {.n_bins = n_bins};
    qdisp_status status = QDISP_ENOMEM;
    uint64_t n_counts;
    if (qd_mul_overflows(n_workers, n_bins, &n_counts) || n_counts > SIZE_MAX / sizeof *job.counts) goto done;
    if (!(job.maxs = qd_alloc(ctx, n_tasks ? n_tasks : 1, sizeof *job.maxs))) goto done;
    if (!(job.counts = qd_alloc(ctx, (size_t)n_counts, sizeof *job.counts))) goto done;
    QD_TRY_GOTO(qd_parallel(ctx, n_tasks, max_task, &job));
    for (size_t i = 0; i < n_tasks; i++) h.max = fmaxf(h.max, job.maxs[i]);
    if (h.max > 0) {
        job.bins_per_unit = fminf((float)n_bins / h.max, FLT_MAX); /* below 1e-34 the first bins only */
        h.width = 1.0 / (double)job.bins_per_unit;
    }
    QD_TRY_GOTO(qd_parallel(ctx, n_tasks, count_task, &job));
    for (uint32_t b = 0; b < n_bins; b++) {
        for (size_t w = 1; w < n_workers; w++) job.counts[b] += job.counts[w * n_bins + b];
        h.n_finite += job.counts[b];
    }
    h.n_non_finite = n - h.n_finite;
    h.counts = job.counts;
    job.counts = NULL;
    *out = h;
done:
    qd_free(ctx, job.maxs);
    qd_free(ctx, job.counts);
    return status;
}

void qd_histogram_free(qdisp_ctx *ctx, qd_histogram *histogram) {
    if (!histogram) return;
    qd_free(ctx, histogram->counts);
    histogram->counts = NULL;
}
