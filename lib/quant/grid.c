/* grid.c - thresholds, grids and units: what a row of a plan means in numbers. */
#include "quant/quant.h"

#include <math.h>
#include <string.h>

float qd_clip_ratio(unsigned k) {
    /* 2^(-i/12) */
    static const float semitones[12] = {1.0f,         0.943874313f, 0.890898718f, 0.840896415f,
                                        0.793700526f, 0.749153538f, 0.707106781f, 0.667419927f,
                                        0.629960525f, 0.594603558f, 0.561231024f, 0.529731547f};
    return ldexpf(semitones[k % 12], -(int)(k / 12));
}

float qd_gain_ratio(unsigned k) {
    /* 2^(i/64) = 2^(i%8/64) 2^(i/8/8) */
    static const float fine[8] = {1.0f,         1.01088929f, 1.02189715f, 1.03302487f,
                                  1.04427378f, 1.05564518f, 1.0671404f,  1.07876080f};
    static const float coarse[8] = {1.0f,        1.09050773f, 1.18920712f, 1.29683955f,
                                    1.41421356f, 1.54221083f, 1.68179283f, 1.83400809f};
    return fine[k % 8] * coarse[k / 8 % 8];
}

uint8_t qd_gain_code(double ratio) {
    if (!(ratio > 1)) return 0;
    double k = rint(64 * log2(ratio));
    return (uint8_t)(k > QD_N_CLIPS - 1 ? QD_N_CLIPS - 1 : k);
}

static int grid_half(int bits, bool full_range) {
    return full_range ? 1 << (bits - 1) : (1 << (bits - 1)) - 1;
}

double qd_grid_noise(int bits, bool full_range) {
    /* step = alpha / half; uniform rounding error has variance step^2 / 12 */
    double half = grid_half(bits, full_range);
    return 1 / (12 * half * half);
}

bool qd_grid_make(float alpha, float gain, int bits, bool full_range, qd_grid *grid) {
    int half = grid_half(bits, full_range);
    float step = qd_f16_to_f32(qd_f32_to_f16(alpha / (float)half)); /* engines store scales in 16 bits */
    float scale = qd_f16_to_f32(qd_f32_to_f16(alpha / (float)half * gain));
    if (!isfinite(step) || !isfinite(scale)) return false;
    grid->scale = scale;
    grid->inverse = step > 0 ? 1 / step : 0;
    grid->low = -half;
    grid->high = full_range ? half - 1 : half;
    return true;
}

size_t qd_unit_count(size_t n_out, size_t n_in, int64_t group_size, size_t *units_per_row) {
    *units_per_row = group_size == QDISP_GROUP_TENSOR    ? 0
                     : group_size == QDISP_GROUP_CHANNEL ? 1
                                                         : (n_in + (size_t)group_size - 1) / (size_t)group_size;
    return *units_per_row ? n_out * *units_per_row : 1;
}

void qd_unit_span(const qd_choice *c, size_t i_unit, size_t *i_row, size_t *first, size_t *n) {
    *i_row = i_unit / c->units_per_row;
    *first = c->group_size > 0 ? i_unit % c->units_per_row * (size_t)c->group_size : 0;
    *n = c->n_in - *first;
    if (c->group_size > 0 && *n > (size_t)c->group_size) *n = (size_t)c->group_size;
}

const float *qd_choice_weights(const qdisp_model *model, const qd_choice *c, float *buffer) {
    const qdisp_tensor *t = &model->tensors[c->i_tensor];
    return qd_load_f32(model->ctx->kernels, t->data, (qdisp_dtype)t->dtype, 0, c->n_out * c->n_in, buffer);
}

qdisp_status qd_tensor_work_open(const qdisp_model *model, const qd_choice *c, qd_tensor_work *out) {
    qd_tensor_work work = {.ctx = model->ctx};
    work.buffer = qd_alloc_aligned(model->ctx, c->n_out * c->n_in, sizeof(float));
    work.row = qd_alloc_aligned(model->ctx, c->n_in, sizeof(float));
    if (!work.buffer || !work.row) {
        qd_tensor_work_close(&work);
        return QDISP_ENOMEM;
    }
    work.w = qd_choice_weights(model, c, work.buffer);
    *out = work;
    return QDISP_OK;
}

void qd_tensor_work_close(qd_tensor_work *work) {
    qd_free_aligned(work->ctx, work->buffer);
    qd_free_aligned(work->ctx, work->row);
}

qdisp_status qd_unit_absmax(const qdisp_model *model, const qd_choice *c, const float *w, size_t n, float *absmax) {
    *absmax = model->ctx->kernels->abs_max(w, n);
    if (isfinite(*absmax)) return QDISP_OK;
    return qd_fail(model->ctx, QDISP_ENUMERIC, "%s: a weight is not finite", model->tensors[c->i_tensor].name);
}

static qdisp_status make_grid(const qdisp_model *model, const qd_choice *c, float alpha, size_t i_unit, qd_grid *grid) {
    if (qd_grid_make(alpha, qd_gain_ratio(c->gains[i_unit]), c->bits, c->full_range, grid)) return QDISP_OK;
    return qd_fail(model->ctx, QDISP_ENUMERIC, "%s: a scale of %g does not fit a 16-bit float",
                   model->tensors[c->i_tensor].name, (double)alpha);
}

qdisp_status qd_quantize_row(const qdisp_model *model, const qd_choice *c, size_t i_row, const float *w, float *out) {
    const qd_kernels *kernels = model->ctx->kernels;
    qd_grid grid;
    float absmax;
    if (c->units_per_row == 0) {
        QD_TRY(qd_unit_absmax(model, c, w, c->n_in, &absmax));
        QD_TRY(make_grid(model, c, c->alpha, 0, &grid));
        kernels->quantize(w, c->n_in, &grid, out);
        return QDISP_OK;
    }
    for (size_t u = i_row * c->units_per_row; u < (i_row + 1) * c->units_per_row; u++) {
        size_t row, first, n;
        qd_unit_span(c, u, &row, &first, &n);
        QD_TRY(qd_unit_absmax(model, c, w + first, n, &absmax));
        QD_TRY(make_grid(model, c, absmax * qd_clip_ratio(c->clips[u]), u, &grid));
        kernels->quantize(w + first, n, &grid, out + first);
    }
    return QDISP_OK;
}
