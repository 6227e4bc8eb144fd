/* divergence.c - losses and divergences of rows, for engines that bring their own logits and attention. The kernels
 * do a row; here rows are checked and shared out. Results are kept aside until all rows are done, so that a cancelled
 * call leaves the caller's arrays alone. */
#include "base/base.h"
#include "kernels/kernels.h"

#include <qdisp/stats.h>

#include <math.h>
#include <string.h>

/* Elements a task takes at least: some tens of microseconds, so that short rows do not drown in task switches. */
enum { TASK_ELEMENTS = 1 << 16 };

typedef struct rows {
    const qd_kernels *kernels;
    const float *x, *y;
    const int32_t *targets;
    size_t n_rows, n_columns, stride, rows_a_task;
    double *values; /* [n_rows]; of softmax_kl NULL */
    qd_kl *kl;      /* [n_rows], of softmax_kl */
} rows;

static qdisp_status check_rows(qdisp_ctx *ctx, const char *what, const rows *r, bool two, const void *out) {
    if (r->n_rows == 0) return QDISP_OK;
    if (!r->x || (two && !r->y) || !out) return qd_fail(ctx, QDISP_EINVAL, "%s: an array is NULL", what);
    if (r->n_columns == 0) return qd_fail(ctx, QDISP_EINVAL, "%s: rows of no columns", what);
    if (r->stride < r->n_columns)
        return qd_fail(ctx, QDISP_EINVAL, "%s: stride %zu is below %zu columns", what, r->stride, r->n_columns);
    return QDISP_OK;
}

/* One task over rows first .. end. */
typedef void (*row_function)(const rows *r, size_t first, size_t end);

typedef struct row_job {
    rows *rows;
    row_function run;
} row_job;

static qdisp_status row_task(void *arg, size_t i, unsigned i_worker) {
    row_job *job = arg;
    size_t n = job->rows->n_rows, step = job->rows->rows_a_task, first = i * step;
    (void)i_worker;
    job->run(job->rows, first, n - first < step ? n : first + step);
    return QDISP_OK;
}

static qdisp_status run_rows(qdisp_ctx *ctx, rows *r, row_function run) {
    row_job job = {r, run};
    r->kernels = ctx->kernels;
    r->rows_a_task = r->n_columns < TASK_ELEMENTS ? TASK_ELEMENTS / r->n_columns : 1;
    return qd_parallel(ctx, (r->n_rows - 1) / r->rows_a_task + 1, row_task, &job);
}

/* One number a row, into out. */
static qdisp_status values_of_rows(qdisp_ctx *ctx, rows *r, row_function run, double *out) {
    r->values = qd_alloc(ctx, r->n_rows, sizeof *r->values);
    if (!r->values) return QDISP_ENOMEM;
    qdisp_status status = run_rows(ctx, r, run);
    if (status == QDISP_OK) memcpy(out, r->values, r->n_rows * sizeof *out);
    qd_free(ctx, r->values);
    return status;
}

static void nll_of_rows(const rows *r, size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
        r->values[i] = r->kernels->nll(r->x + i * r->stride, r->n_columns, (size_t)r->targets[i]);
    }
}

qdisp_status qdisp_nll_rows(qdisp_ctx *ctx, const float *logits, const int32_t *targets, size_t n_rows,
                            size_t n_columns, size_t stride, double *nll) {
    rows r = {.x = logits, .targets = targets, .n_rows = n_rows, .n_columns = n_columns,
              .stride = stride ? stride : n_columns};
    QD_TRY(check_rows(ctx, "nll", &r, false, nll));
    if (n_rows == 0) return QDISP_OK;
    if (!targets) return qd_fail(ctx, QDISP_EINVAL, "nll: no targets");
    for (size_t i = 0; i < n_rows; i++) {
        if (targets[i] < 0 || (size_t)targets[i] >= n_columns)
            return qd_fail(ctx, QDISP_EINVAL, "nll: target %d of row %zu is outside 0..%zu", (int)targets[i], i,
                           n_columns - 1);
    }
    return values_of_rows(ctx, &r, nll_of_rows, nll);
}

static void js_of_rows(const rows *r, size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
        r->values[i] = r->kernels->js_divergence(r->x + i * r->stride, r->y + i * r->stride, r->n_columns);
    }
}

qdisp_status qdisp_js_divergence(qdisp_ctx *ctx, const float *p, const float *q, size_t n_rows, size_t n_columns,
                                 size_t stride, double *js) {
    rows r = {.x = p, .y = q, .n_rows = n_rows, .n_columns = n_columns, .stride = stride ? stride : n_columns};
    QD_TRY(check_rows(ctx, "JS divergence", &r, true, js));
    return n_rows ? values_of_rows(ctx, &r, js_of_rows, js) : QDISP_OK;
}

static void kl_of_rows(const rows *r, size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
        r->kernels->softmax_kl(r->x + i * r->stride, r->y + i * r->stride, r->n_columns, &r->kl[i]);
    }
}

qdisp_status qdisp_softmax_kl(qdisp_ctx *ctx, const float *x, const float *y, size_t n_rows, size_t n_columns,
                              size_t stride, double *kl, double *lse_x, double *lse_y, uint8_t *same_top) {
    rows r = {.x = x, .y = y, .n_rows = n_rows, .n_columns = n_columns, .stride = stride ? stride : n_columns};
    QD_TRY(check_rows(ctx, "softmax KL", &r, true, kl));
    if (n_rows == 0) return QDISP_OK;
    r.kl = qd_alloc(ctx, n_rows, sizeof *r.kl);
    if (!r.kl) return QDISP_ENOMEM;
    qdisp_status status = run_rows(ctx, &r, kl_of_rows);
    for (size_t i = 0; i < n_rows && status == QDISP_OK; i++) {
        kl[i] = r.kl[i].kl;
        if (lse_x) lse_x[i] = r.kl[i].lse_x;
        if (lse_y) lse_y[i] = r.kl[i].lse_y;
        if (same_top) same_top[i] = r.kl[i].top_x < n_columns && r.kl[i].top_x == r.kl[i].top_y;
    }
    qd_free(ctx, r.kl);
    return status;
}
