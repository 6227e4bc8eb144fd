/* rows.c - one way to walk over a matrix. It is cut into blocks whose borders depend on the number of rows alone; the
 * blocks are the tasks of the parallel loop and their sums are added in order, so results do not depend on threads. */
#include "quant/rows.h"

#include <string.h>

enum { N_BLOCKS = 16 };

typedef struct job {
    const qd_rows *rows;
    qd_row_group group;
    void *user;
    size_t rows_per_block, n_sums;
    double *sums;    /* [N_BLOCKS][n_sums] */
    float **scratch; /* of each worker: two groups of rows */
} job;

static size_t place(const qd_rows *rows, size_t i) {
    return (size_t)((unsigned __int128)i * rows->c->n_out / rows->n);
}

/* The group's rows as quantizers see them, side by side: in place if they lie so. */
static const float *load_group(const qd_rows *rows, const size_t *i_rows, size_t h, float *buffer) {
    const qd_choice *c = rows->c;
    bool plain = !c->inputs && c->n_keep == 0;
    if (rows->n == c->n_out && plain)
        return qd_load_f32(rows->ctx->kernels, c->data, c->dtype, i_rows[0] * c->n_in, h * c->n_in, buffer);
    for (size_t r = 0; r < h; r++) {
        float *row = buffer + r * c->n_in;
        const float *w = qd_load_f32(rows->ctx->kernels, c->data, c->dtype, i_rows[r] * c->n_in, c->n_in, row);
        if (w != row) memcpy(row, w, c->n_in * sizeof *row);
        if (!plain) qd_choice_prepare(c, i_rows[r], row);
    }
    return buffer;
}

static qdisp_status run_block(void *arg, size_t i, unsigned i_worker) {
    job *j = arg;
    const qd_rows *rows = j->rows;
    size_t first = i * j->rows_per_block, end = first + j->rows_per_block, n_in = rows->c->n_in;
    if (end > rows->n) end = rows->n;
    float *buffer = j->scratch[i_worker];
    if (!buffer) buffer = j->scratch[i_worker] = qd_alloc_aligned(rows->ctx, 2 * QD_ROW_GROUP * n_in, sizeof *buffer);
    qdisp_status status = buffer ? QDISP_OK : QDISP_ENOMEM;
    for (; first < end && status == QDISP_OK; first += QD_ROW_GROUP) {
        size_t i_rows[QD_ROW_GROUP], h = end - first < QD_ROW_GROUP ? end - first : QD_ROW_GROUP;
        for (size_t r = 0; r < h; r++) i_rows[r] = place(rows, first + r);
        const float *w = load_group(rows, i_rows, h, buffer);
        float *q = buffer + QD_ROW_GROUP * n_in;
        status = j->group(rows, j->user, i_rows, h, w, q, j->sums ? j->sums + i * j->n_sums : NULL);
    }
    return status;
}

qdisp_status qd_rows_run(const qd_rows *rows, qd_row_group group, void *user, double *sums, size_t n_sums) {
    job j = {.rows = rows, .group = group, .user = user, .n_sums = n_sums};
    size_t n_groups = (rows->n + QD_ROW_GROUP - 1) / QD_ROW_GROUP;
    j.rows_per_block = (n_groups + N_BLOCKS - 1) / N_BLOCKS * QD_ROW_GROUP;
    size_t n_blocks = rows->n ? (rows->n + j.rows_per_block - 1) / j.rows_per_block : 0;
    j.scratch = qd_alloc(rows->ctx, qd_n_workers(rows->ctx), sizeof *j.scratch);
    if (n_sums > 0) j.sums = qd_alloc(rows->ctx, n_blocks * n_sums + 1, sizeof *j.sums);
    qdisp_status status = j.scratch && (j.sums || n_sums == 0) ? QDISP_OK : QDISP_ENOMEM;
    if (status == QDISP_OK) status = qd_parallel(rows->ctx, n_blocks, run_block, &j);
    if (status == QDISP_OK && n_sums > 0) {
        memset(sums, 0, n_sums * sizeof *sums);
        for (size_t b = 0; b < n_blocks; b++)
            for (size_t k = 0; k < n_sums; k++) sums[k] += j.sums[b * n_sums + k];
    }
    for (size_t i = 0; j.scratch && i < qd_n_workers(rows->ctx); i++) qd_free_aligned(rows->ctx, j.scratch[i]);
    qd_free(rows->ctx, j.scratch);
    qd_free(rows->ctx, j.sums);
    return status;
}

static qdisp_status group_range(const qd_rows *rows, void *user, const size_t *i_rows, size_t h, const float *w,
                                 float *q, double *sums) {
    qd_range *ranges = user; /* [n_out], of the group in the place of its first row */
    (void)q, (void)sums;
    return qd_unit_range(rows->ctx, rows->c, w, h * rows->c->n_in, &ranges[i_rows[0]]);
}

qdisp_status qd_rows_range(const qd_rows *rows, qd_range *range) {
    qd_range *all = qd_alloc(rows->ctx, rows->c->n_out, sizeof *all), ends = {0, 0};
    if (!all) return QDISP_ENOMEM;
    qdisp_status status = qd_rows_run(rows, group_range, all, NULL, 0);
    for (size_t r = 0; r < rows->c->n_out; r++) {
        ends.low = all[r].low < ends.low ? all[r].low : ends.low;
        ends.high = all[r].high > ends.high ? all[r].high : ends.high;
    }
    if (status == QDISP_OK) *range = ends;
    qd_free(rows->ctx, all);
    return status;
}

static qdisp_status group_squares(const qd_rows *rows, void *user, const size_t *i_rows, size_t h, const float *w,
                                  float *q, double *sums) {
    (void)user, (void)i_rows, (void)q;
    rows->ctx->kernels->column_squares(w, h, rows->c->n_in, rows->c->n_in, sums);
    return QDISP_OK;
}

qdisp_status qd_rows_squares(const qd_rows *rows, double *sums) {
    return qd_rows_run(rows, group_squares, NULL, sums, rows->c->n_in);
}

static qdisp_status group_measure(const qd_rows *rows, void *user, const size_t *i_rows, size_t h, const float *w,
                                  float *q, double *sums) {
    size_t n_in = rows->c->n_in;
    (void)user;
    for (size_t r = 0; r < h; r++)
        QD_TRY(qd_quantize_row(rows->ctx, rows->c, i_rows[r], w + r * n_in, q + r * n_in));
    rows->ctx->kernels->column_measure(w, q, h, n_in, n_in, n_in, sums, sums + n_in);
    return QDISP_OK;
}

qdisp_status qd_rows_measure(const qd_rows *rows, double *sums) {
    return qd_rows_run(rows, group_measure, NULL, sums, 2 * rows->c->n_in);
}

qdisp_status qd_choose_each(qdisp_ctx *ctx, qd_choice *choices, size_t n, qd_choose_rows choose) {
    for (size_t i = 0; i < n; i++) {
        qd_rows all = {ctx, &choices[i], choices[i].n_out};
        QD_TRY(choose(&all));
    }
    return QDISP_OK;
}
