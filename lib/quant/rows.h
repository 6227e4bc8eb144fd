/* rows.h - passes over the rows of a matrix, in parallel and in groups that fit the kernels' f32 sums. */
#ifndef QD_ROWS_H
#define QD_ROWS_H

#include "quant/quant.h"

enum { QD_ROW_GROUP = 8 };

/* n rows of a choice's matrix, evenly spaced; n = n_out: all of them. */
typedef struct qd_rows {
    qdisp_ctx *ctx;
    qd_choice *c;
    size_t n;
} qd_rows;

/* At most QD_ROW_GROUP rows: w[h][n_in], their places in the matrix, room for as many quantized ones; adds to sums. */
typedef qdisp_status (*qd_row_group)(const qd_rows *rows, void *user, const size_t *i_rows, size_t h, const float *w,
                                     float *q, double *sums);
/* Calls group for all rows. sums[n_sums] get what the groups added, the same for any number of threads; n_sums may be
 * 0. Calls run in parallel: what they write belongs to their rows. */
qdisp_status qd_rows_run(const qd_rows *rows, qd_row_group group, void *user, double *sums, size_t n_sums);

/* The ends of the rows' weights; ENUMERIC if one is not finite. */
qdisp_status qd_rows_range(const qd_rows *rows, qd_range *range);
/* sums[n_in] = column sums of w^2. */
qdisp_status qd_rows_squares(const qd_rows *rows, double *sums);
/* sums[0 .. n_in) = column sums of (w - Q)^2 under the choice, sums[n_in .. 2 n_in) of Q^2. */
qdisp_status qd_rows_measure(const qd_rows *rows, double *sums);

/* Column weights of a clipping problem: omega[n_in], NULL: 1; total[n_in + 1]: their running sums, 0 first. */
typedef struct qd_weighting {
    const float *omega;
    const double *total;
} qd_weighting;
/* How many clip characters are candidates: thresholds of groups never pay below 2^(-31/12) = 1/6 of the maximum; whole
 * channels and tensors of heavy-tailed weights can, so they get the whole range. */
size_t qd_n_candidates(const qd_choice *c);
/* The thresholds of these rows with the least sum omega_j (w - Q)^2, and with gain the gains; range is set for a
 * tensor. sums: as qd_rows_measure, or NULL. */
qdisp_status qd_search_rows(const qd_rows *rows, const qd_weighting *weighting, bool gain, double *sums);

/* The ratio of a threshold to the end of a unit from its magnitudes in units of it, n of 0..1, which may be reordered;
 * NaN or 0: none. choose of methods that need no more: the nearest clips, or alpha of a tensor. */
typedef double (*qd_sizes_ratio)(const qd_choice *c, float *sizes, size_t n);
qdisp_status qd_sizes_choose(qdisp_ctx *ctx, qd_choice *choices, size_t n, qd_sizes_ratio ratio);
/* Those magnitudes: |x| over that of the end on its side. */
void qd_unit_sizes(const float *x, size_t n, qd_range range, float *sizes);

/* Round to nearest and ACIQ, for the units of these rows (la-aciq's guard compares with them). */
typedef qdisp_status (*qd_choose_rows)(const qd_rows *rows);
qdisp_status qd_rtn_choose(const qd_rows *rows);
qdisp_status qd_aciq_choose(const qd_rows *rows);
/* Runs one over all rows of all choices. */
qdisp_status qd_choose_each(qdisp_ctx *ctx, qd_choice *choices, size_t n, qd_choose_rows choose);

#endif
