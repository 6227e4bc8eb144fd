/* sizes.c - methods that look at nothing but how large weights are: a threshold for each unit's magnitudes in units of
 * their end, |x| / |end on x's side|, which for symmetric levels is |x| / max|x|. */
#include "quant/rows.h"

#include <string.h>

void qd_unit_sizes(const float *x, size_t n, qd_range range, float *sizes) {
    float low = range.low < 0 ? -1 / range.low : 0, high = range.high > 0 ? 1 / range.high : 0;
    for (size_t i = 0; i < n; i++) {
        float size = x[i] < 0 ? -x[i] * low : x[i] * high;
        sizes[i] = size < 1 ? size : 1;
    }
}

typedef struct sizes_job {
    qd_sizes_ratio ratio;
    float *all; /* [n_out, n_in] of a tensor */
} sizes_job;

static qdisp_status group_choose(const qd_rows *rows, void *user, const size_t *i_rows, size_t h, const float *w,
                                 float *q, double *sums) {
    const sizes_job *j = user;
    qd_choice *c = rows->c;
    (void)sums;
    for (size_t r = 0; r < h; r++)
        for (size_t u = i_rows[r] * c->units_per_row; u < (i_rows[r] + 1) * c->units_per_row; u++) {
            size_t row, first, n;
            qd_range range;
            qd_unit_span(c, u, &row, &first, &n);
            QD_TRY(qd_unit_range(rows->ctx, c, w + r * c->n_in + first, n, &range));
            qd_unit_sizes(w + r * c->n_in + first, n, range, q);
            c->clips[u] = qd_clip_code((float)j->ratio(c, q, n), 1);
        }
    return QDISP_OK;
}

static qdisp_status group_sizes(const qd_rows *rows, void *user, const size_t *i_rows, size_t h, const float *w,
                                float *q, double *sums) {
    const sizes_job *j = user;
    (void)q, (void)sums;
    qd_unit_sizes(w, h * rows->c->n_in, rows->c->range, j->all + i_rows[0] * rows->c->n_in);
    return QDISP_OK;
}

static qdisp_status choose_matrix(const qd_rows *rows, sizes_job *j) {
    qd_choice *c = rows->c;
    QD_TRY(qd_rows_range(rows, &c->range));
    j->all = qd_alloc_aligned(rows->ctx, c->n_out * c->n_in, sizeof *j->all);
    qdisp_status status = j->all ? qd_rows_run(rows, group_sizes, j, NULL, 0) : QDISP_ENOMEM;
    if (status == QDISP_OK) c->alpha = qd_range_most(c->range) * (float)j->ratio(c, j->all, c->n_out * c->n_in);
    qd_free_aligned(rows->ctx, j->all);
    return status;
}

qdisp_status qd_sizes_choose(qdisp_ctx *ctx, qd_choice *choices, size_t n, qd_sizes_ratio ratio) {
    for (size_t i = 0; i < n; i++) {
        qd_choice *c = &choices[i];
        qd_rows all = {ctx, c, c->n_out};
        sizes_job j = {.ratio = ratio};
        memset(c->gains, 0, c->n_units);
        QD_TRY(c->units_per_row ? qd_rows_run(&all, group_choose, &j, NULL, 0) : choose_matrix(&all, &j));
        QD_TRY(qd_progress(ctx, "planning", (double)(i + 1) / (double)n));
    }
    return QDISP_OK;
}
