/* search.c - thresholds of the least weighted squared error among the clip characters: the search of mse and la-aciq.
 *
 * Gain. Clipping shrinks: Q(w) keeps less than all of w's own direction. Where it is asked for, each unit's values are
 * scaled by the gain that makes the error orthogonal to the weights, sum_j omega_j w_j (w_j - gain Q(w_j)) = 0 (the
 * weighted form of the bias correction in section 3 of the ACIQ paper); engines store it as part of the scale, so it
 * costs nothing. */
#include "quant/rows.h"

#include <math.h>
#include <string.h>

size_t qd_n_candidates(const qd_choice *c) {
    return c->group_size > 0 ? 32 : QD_N_CLIPS;
}

typedef struct searching {
    const qd_weighting *weighting;
    bool gain;
    float ratios[QD_N_CLIPS];
    qd_grid grids[QD_N_CLIPS]; /* of a tensor */
    size_t n_grids, best;
} searching;

static uint8_t gain_of(const double *sums) {
    return sums[1] > 0 ? qd_gain_code(sums[0] / sums[1]) : 0;
}

/* sum e w^2 and sum e w q, e = NULL: 1. */
static void products(const qd_kernels *kernels, const float *w, const float *q, const float *e, size_t n,
                     double *sums) {
    double part[2];
    if (e) kernels->weighted_products(w, q, e, n, part);
    else {
        part[0] = part[1] = 0;
        for (size_t j = 0; j < n; j++) {
            part[0] += (double)w[j] * (double)w[j];
            part[1] += (double)w[j] * (double)q[j];
        }
    }
    sums[0] += part[0];
    sums[1] += part[1];
}

/* Groups or channels of one row; q receives the quantized row. */
static qdisp_status choose_row(const qd_rows *rows, const searching *s, size_t i_row, const float *w, float *q) {
    const qd_kernels *kernels = rows->ctx->kernels;
    const float *omega = s->weighting->omega;
    const double *total = s->weighting->total;
    qd_choice *c = rows->c;
    for (size_t u = i_row * c->units_per_row; u < (i_row + 1) * c->units_per_row; u++) {
        size_t row, first, n;
        double sums[2] = {0, 0};
        qd_grid grid = {0, 0, 0, 0};
        qd_unit_span(c, u, &row, &first, &n);
        qd_unit one = {w + first, omega ? omega + first : NULL, n, omega ? total[first + n] - total[first] : (double)n,
                       {0, 0}};
        QD_TRY(qd_unit_range(rows->ctx, c, one.w, n, &one.range));
        c->clips[u] = (uint8_t)qd_grid_search(kernels, &one, s->ratios, qd_n_candidates(c), c->bits, c->levels, &grid);
        c->gains[u] = 0;
        kernels->quantize(one.w, n, &grid, q + first);
        if (!s->gain) continue;
        products(kernels, one.w, q + first, one.e, n, sums);
        c->gains[u] = gain_of(sums);
        if (c->gains[u] == 0) continue;
        QD_TRY(qd_row_grid(rows->ctx, c, u, w, &first, &n, &grid));
        kernels->quantize(one.w, n, &grid, q + first);
    }
    return QDISP_OK;
}

static qdisp_status group_choose(const qd_rows *rows, void *user, const size_t *i_rows, size_t h, const float *w,
                                 float *q, double *sums) {
    size_t n_in = rows->c->n_in;
    for (size_t r = 0; r < h; r++) QD_TRY(choose_row(rows, user, i_rows[r], w + r * n_in, q + r * n_in));
    if (sums) rows->ctx->kernels->column_measure(w, q, h, n_in, n_in, n_in, sums, sums + n_in);
    return QDISP_OK;
}

/* A threshold for the whole matrix: the candidates' errors over the rows, then the gain. */
static qdisp_status group_errors(const qd_rows *rows, void *user, const size_t *i_rows, size_t h, const float *w,
                                 float *q, double *sums) {
    const searching *s = user;
    double errors[QD_N_CLIPS];
    (void)i_rows, (void)q;
    for (size_t r = 0; r < h; r++) {
        rows->ctx->kernels->grid_errors(w + r * rows->c->n_in, s->weighting->omega, rows->c->n_in, s->grids,
                                        s->n_grids, errors);
        for (size_t k = 0; k < s->n_grids; k++) sums[k] += errors[k];
    }
    return QDISP_OK;
}

static qdisp_status group_project(const qd_rows *rows, void *user, const size_t *i_rows, size_t h, const float *w,
                                  float *q, double *sums) {
    const searching *s = user;
    size_t n_in = rows->c->n_in;
    (void)i_rows;
    for (size_t r = 0; r < h; r++) {
        rows->ctx->kernels->quantize(w + r * n_in, n_in, &s->grids[s->best], q);
        products(rows->ctx->kernels, w + r * n_in, q, s->weighting->omega, n_in, sums);
    }
    return QDISP_OK;
}

static qdisp_status choose_matrix(const qd_rows *rows, searching *s) {
    qd_choice *c = rows->c;
    double errors[QD_N_CLIPS], sums[2] = {0, 0};
    qd_grids_make(rows->ctx->kernels, c->range, s->ratios, qd_n_candidates(c), c->bits, c->levels, s->grids,
                  &s->n_grids);
    QD_TRY(qd_rows_run(rows, group_errors, s, errors, s->n_grids));
    for (size_t k = 1; k < s->n_grids; k++)
        if (errors[k] < errors[s->best]) s->best = k;
    c->alpha = qd_range_most(c->range) * qd_clip_ratio((unsigned)s->best);
    if (s->gain && s->n_grids > 0) QD_TRY(qd_rows_run(rows, group_project, s, sums, 2));
    c->gains[0] = gain_of(sums);
    return QDISP_OK;
}

qdisp_status qd_search_rows(const qd_rows *rows, const qd_weighting *weighting, bool gain, double *sums) {
    searching s = {.weighting = weighting, .gain = gain};
    for (unsigned k = 0; k < QD_N_CLIPS; k++) s.ratios[k] = qd_clip_ratio(k);
    if (rows->c->units_per_row) return qd_rows_run(rows, group_choose, &s, sums, sums ? 2 * rows->c->n_in : 0);
    QD_TRY(choose_matrix(rows, &s));
    return sums ? qd_rows_measure(rows, sums) : QDISP_OK;
}
