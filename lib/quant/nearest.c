/* nearest.c - a choice becomes codes: the one way from weights to a quantized matrix. What a method does not do itself
 * is rounding to nearest under the plan's thresholds. */
#include "quant/quant.h"

#include <math.h>
#include <string.h>

float qd_input_factor(unsigned k) {
    return ldexpf(qd_gain_ratio(k % 8 * 8), (int)(k / 8) - 4);
}

uint8_t qd_input_code(double log2_factor) {
    double k = rint(8 * log2_factor) + 32;
    return (uint8_t)(k < 0 ? 0 : k > QD_N_CLIPS - 1 ? QD_N_CLIPS - 1 : k);
}

/* The first of the kept weights at or after a place. */
static size_t first_kept(const qd_choice *c, uint64_t place) {
    size_t low = 0, high = c->n_keep;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->keep[middle] < place) low = middle + 1;
        else high = middle;
    }
    return low;
}

void qd_choice_prepare(const qd_choice *c, size_t i_row, float *w) {
    uint64_t from = (uint64_t)i_row * c->n_in;
    for (size_t j = 0; c->inputs && j < c->n_in; j++) w[j] *= qd_input_factor(c->inputs[j]);
    for (size_t k = first_kept(c, from); k < c->n_keep && c->keep[k] < from + c->n_in; k++) w[c->keep[k] - from] = 0;
}

size_t qd_choice_group(const qd_choice *c) {
    return c->group_size > 0 && (size_t)c->group_size < c->n_in ? (size_t)c->group_size : c->n_in;
}

/* ---- rows ---- */

enum { N_TASKS = 64 };

typedef struct rows_job {
    qdisp_ctx *ctx;
    const float *w;
    qd_row_quantizer quantize;
    void *user;
    qd_codes *out;
    size_t rows_per_task;
} rows_job;

static qdisp_status rows_task(void *arg, size_t i, unsigned i_worker) {
    const rows_job *j = arg;
    size_t end = (i + 1) * j->rows_per_task, n_in = j->out->n_in;
    (void)i_worker;
    for (size_t row = i * j->rows_per_task; row < end && row < j->out->n_out; row++)
        QD_TRY(j->quantize(j->ctx, j->user, j->w + row * n_in, row, j->out));
    return QDISP_OK;
}

qdisp_status qd_codes_rows(qdisp_ctx *ctx, const float *w, qd_row_quantizer quantize, void *user, qd_codes *out) {
    rows_job j = {ctx, w, quantize, user, out, (out->n_out + N_TASKS - 1) / N_TASKS};
    qdisp_status status = qd_parallel(ctx, (out->n_out + j.rows_per_task - 1) / j.rows_per_task, rows_task, &j);
    if (status != QDISP_OK) qd_codes_clear(ctx, out);
    return status;
}

/* ---- nearest ---- */

void qd_grid_codes(const qd_kernels *kernels, const float *w, size_t n, const qd_grid *grid, uint8_t zero,
                   uint8_t *codes) {
    enum { BLOCK = 1024 };
    float rounded[BLOCK];
    qd_grid whole = *grid;
    whole.scale = 1;
    for (size_t first = 0; first < n; first += BLOCK) {
        size_t m = n - first < BLOCK ? n - first : BLOCK;
        kernels->quantize(w + first, m, &whole, rounded);
        for (size_t j = 0; j < m; j++) codes[first + j] = (uint8_t)((int32_t)rounded[j] + zero);
    }
}

static qdisp_status nearest_row(qdisp_ctx *ctx, void *user, const float *w, size_t i_row, qd_codes *out) {
    const qd_choice *c = user;
    uint8_t *codes = out->codes + i_row * c->n_in;
    size_t n_units = c->units_per_row ? c->units_per_row : 1;
    for (size_t u = i_row * n_units; u < (i_row + 1) * n_units; u++) {
        size_t first, n;
        qd_grid grid;
        QD_TRY(qd_row_grid(ctx, c, u, w, &first, &n, &grid));
        uint8_t zero = qd_grid_zero(&grid, c->bits, c->levels);
        qd_grid_codes(ctx->kernels, w + first, n, &grid, zero, codes + first);
        out->scales[u] = grid.scale;
        if (out->zeros) out->zeros[u] = zero;
    }
    return QDISP_OK;
}

qdisp_status qd_quantize_nearest(qdisp_ctx *ctx, const qd_choice *c, const float *w, qd_codes *out) {
    qd_choice own = *c;
    if (c->units_per_row == 0) QD_TRY(qd_unit_range(ctx, c, w, c->n_out * c->n_in, &own.range));
    QD_TRY(qd_codes_make(ctx, c->n_out, c->n_in, c->bits, qd_choice_group(c), c->levels == QD_ASYM, false, out));
    return qd_codes_rows(ctx, w, nearest_row, &own, out);
}

/* ---- by the method ---- */

typedef struct prepare_job {
    qdisp_ctx *ctx;
    const qd_choice *c;
    float *w;
} prepare_job;

static qdisp_status prepare_task(void *arg, size_t i, unsigned i_worker) {
    const prepare_job *j = arg;
    float *row = j->w + i * j->c->n_in;
    (void)i_worker;
    const float *data = qd_load_f32(j->ctx->kernels, j->c->data, j->c->dtype, i * j->c->n_in, j->c->n_in, row);
    if (data != row) memcpy(row, data, j->c->n_in * sizeof *row);
    qd_choice_prepare(j->c, i, row);
    return QDISP_OK;
}

/* E[x^2] and E[x x^T] of the inputs as they are after the division. */
static void divide_inputs(const qd_choice *c, const qd_inputs *x) {
    for (size_t i = 0; i < c->n_in; i++) {
        double f = (double)qd_input_factor(c->inputs[i]);
        if (x->e) x->e[i] /= f * f;
        for (size_t k = 0; x->h && k < c->n_in; k++) x->h[i * c->n_in + k] /= f * (double)qd_input_factor(c->inputs[k]);
    }
}

/* Factors and kept weights into the codes. */
static qdisp_status finish(qdisp_ctx *ctx, const qd_choice *c, qd_codes *out) {
    out->i_tensor = c->i_tensor;
    if (c->inputs) out->inputs = qd_alloc(ctx, c->n_in, sizeof *out->inputs);
    if (c->n_keep > 0) out->kept = qd_alloc(ctx, c->n_keep, sizeof *out->kept);
    if ((c->inputs && !out->inputs) || (c->n_keep > 0 && !out->kept)) return QDISP_ENOMEM;
    for (size_t j = 0; c->inputs && j < c->n_in; j++) out->inputs[j] = qd_input_factor(c->inputs[j]);
    for (out->n_kept = 0; out->n_kept < c->n_keep; out->n_kept++) {
        float buffer, w = *qd_load_f32(ctx->kernels, c->data, c->dtype, c->keep[out->n_kept], 1, &buffer);
        if (c->dtype != QDISP_DTYPE_BF16) w = qd_f16_to_f32(qd_f32_to_f16(w));
        if (!isfinite(w))
            return qd_fail(ctx, QDISP_ENUMERIC, "%s: the weight kept at row %zu, column %zu does not fit 16 bits",
                           c->name, (size_t)(c->keep[out->n_kept] / c->n_in), (size_t)(c->keep[out->n_kept] % c->n_in));
        out->kept[out->n_kept] = (qd_kept){c->keep[out->n_kept], w};
    }
    return QDISP_OK;
}

qdisp_status qd_choice_quantize(qdisp_ctx *ctx, const qd_choice *c, const qd_inputs *x, qd_codes *out) {
    float *buffer = NULL;
    const float *w = c->data;
    qdisp_status status = QDISP_OK;
    *out = (qd_codes){0};
    if (c->dtype != QDISP_DTYPE_F32 || (uintptr_t)c->data % _Alignof(float) || c->inputs || c->n_keep > 0) {
        w = buffer = qd_alloc_aligned(ctx, c->n_out * c->n_in, sizeof *buffer);
        prepare_job j = {ctx, c, buffer};
        status = buffer ? qd_parallel(ctx, c->n_out, prepare_task, &j) : QDISP_ENOMEM;
    }
    if (status == QDISP_OK && c->inputs && x) divide_inputs(c, x);
    if (status == QDISP_OK && qd_choice_block(c)) status = qd_quantize_blocks(ctx, c, w, x, out);
    else if (status == QDISP_OK)
        status = c->method->quantize ? c->method->quantize(ctx, c, w, x, out) : qd_quantize_nearest(ctx, c, w, out);
    qd_free_aligned(ctx, buffer);
    if (status == QDISP_OK) status = finish(ctx, c, out);
    if (status != QDISP_OK) qd_codes_clear(ctx, out);
    return status;
}
