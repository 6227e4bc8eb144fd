/* aciq_array.c - the ACIQ threshold of the numbers of an array: the root of sum (|x| - a)+ = n c a.
 *
 * The left side is convex, falls and is piecewise linear: Newton's step, a' = sum_{|x| > a} |x| / (#{|x| > a} + n c),
 * rises from any point left of the root, ends on it exactly after finitely many, and leads from its right to its left.
 * A pass a step, some 4 to 10. Spans of 64 blocks are the tasks, and their sums are added in order. */
#include "kernels/kernels.h"
#include "stats/stats.h"

#include <math.h>

enum { BLOCK = 8192, SPAN = 64 * BLOCK, MAX_STEPS = 100 };

typedef struct sums_job {
    const qd_kernels *kernels;
    const void *data;
    qdisp_dtype dtype;
    size_t n;
    float threshold;
    bool squares;       /* of the excess; else the sums of a step */
    double (*sums)[2];  /* a task */
} sums_job;

static qdisp_status sums_task(void *arg, size_t i_task, unsigned i_worker) {
    const sums_job *job = arg;
    float buffer[BLOCK];
    double total[2] = {0, 0};
    size_t end = (i_task + 1) * SPAN < job->n ? (i_task + 1) * SPAN : job->n;
    (void)i_worker;
    for (size_t i = i_task * SPAN, m; i < end; i += m) {
        double sums[2] = {0, 0};
        m = end - i < BLOCK ? end - i : BLOCK;
        const float *x = qd_load_f32(job->kernels, job->data, job->dtype, i, m, buffer);
        if (job->squares) sums[0] = job->kernels->excess_squares(x, m, job->threshold);
        else job->kernels->excess_sums(x, NULL, m, job->threshold, sums);
        total[0] += sums[0];
        total[1] += sums[1];
    }
    job->sums[i_task][0] = total[0];
    job->sums[i_task][1] = total[1];
    return QDISP_OK;
}

static qdisp_status pass(qdisp_ctx *ctx, sums_job *job, float threshold, bool squares, double out[2]) {
    size_t n_tasks = job->n / SPAN + (job->n % SPAN != 0);
    job->threshold = threshold;
    job->squares = squares;
    QD_TRY(qd_parallel(ctx, n_tasks, sums_task, job));
    out[0] = out[1] = 0;
    for (size_t t = 0; t < n_tasks; t++) out[0] += job->sums[t][0], out[1] += job->sums[t][1];
    return QDISP_OK;
}

float qd_float_below(double a) {
    float f = (float)a;
    return (double)f > a ? nextafterf(f, 0.0f) : f;
}

/* Newton's steps from *a. */
static qdisp_status solve(qdisp_ctx *ctx, sums_job *job, double c, double *a) {
    double sums[2], from = -1; /* a zero array ends at once */
    for (int step = 0; step < MAX_STEPS && fabs(*a - from) > 1e-12 * from; step++) {
        from = *a;
        QD_TRY(pass(ctx, job, qd_float_below(from), false, sums));
        *a = sums[0] / (sums[1] + (double)job->n * c);
    }
    return QDISP_OK;
}

/* From the mean to the root of a span in the middle, which is near that of all: that saves passes. */
static qdisp_status solve_all(qdisp_ctx *ctx, sums_job *job, double c, double *alpha) {
    double sums[2], n = (double)job->n;
    QD_TRY(pass(ctx, job, -1.0f, false, sums));
    if (sums[1] != n || !isfinite(sums[0])) {
        return qd_fail(ctx, QDISP_ENUMERIC, "aciq: %s among %zu elements", sums[1] != n ? "a NaN" : "an infinity",
                       job->n);
    }
    *alpha = 4 * sums[0] / n; /* for 3 to 4 bits */
    if (job->n >= 8 * SPAN) {
        sums_job part = *job;
        part.data = (const char *)job->data + job->n / 2 * qd_dtype_size(job->dtype);
        part.n = SPAN;
        QD_TRY(solve(ctx, &part, c, alpha));
    }
    return solve(ctx, job, c, alpha);
}

qdisp_status qdisp_aciq_array(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n, unsigned bits,
                              int full_range, qdisp_aciq *out) {
    if (!out || n == 0 || !data) return qd_fail(ctx, QDISP_EINVAL, "aciq: no data, or out is NULL");
    if (bits < (full_range ? 1u : 2u) || bits > 16) {
        return qd_fail(ctx, QDISP_EINVAL, "aciq: %u bits, not %d..16", bits, full_range ? 1 : 2);
    }
    if (dtype != QDISP_DTYPE_F32 && dtype != QDISP_DTYPE_F16 && dtype != QDISP_DTYPE_BF16) {
        return qd_fail(ctx, QDISP_EUNSUPPORTED, "aciq: dtype %s (%d) is none of f32, f16, bf16", qd_dtype_name(dtype),
                       (int)dtype);
    }
    double half = ldexp(0.5, (int)bits) - (full_range ? 0 : 1), c = 1 / (12 * half * half), excess[2], energy[2];
    sums_job job = {.kernels = ctx->kernels, .data = data, .dtype = dtype, .n = n};
    qdisp_aciq result = {.n = n};
    qdisp_status status = QDISP_ENOMEM;
    if (!(job.sums = qd_alloc(ctx, n / SPAN + 1, sizeof *job.sums))) return status;
    QD_TRY_GOTO(solve_all(ctx, &job, c, &result.alpha));
    QD_TRY_GOTO(pass(ctx, &job, (float)result.alpha, true, excess));
    QD_TRY_GOTO(pass(ctx, &job, 0.0f, true, energy));
    result.mse = excess[0] / (double)n + c * result.alpha * result.alpha;
    result.mean_square = energy[0] / (double)n;
    *out = result;
done:
    qd_free(ctx, job.sums);
    return status;
}
