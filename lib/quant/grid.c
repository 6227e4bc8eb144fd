/* grid.c - thresholds, grids and units: what a row of a plan means in numbers. */
#include "quant/quant.h"

#include <math.h>
#include <string.h>

float qd_clip_ratio(unsigned k) {
    /* 2^(-i/12) */
    static const float semitones[12] = {1.0f,         0.943874313f, 0.890898718f, 0.840896415f,
                                        0.793700526f, 0.749153538f, 0.707106781f, 0.667419927f,
                                        0.629960525f, 0.594603558f, 0.561231024f, 0.529731547f};
    static const float octaves[6] = {1.0f, 0.5f, 0.25f, 0.125f, 0.0625f, 0.03125f};
    return semitones[k % 12] * octaves[k / 12 % 6];
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

uint8_t qd_clip_code(float a, float absmax) {
    if (!(a > 0) || !(absmax > 0)) return 0;
    double k = rint(-12 * log2((double)a / (double)absmax));
    return (uint8_t)(k < 0 ? 0 : k > QD_N_CLIPS - 1 ? QD_N_CLIPS - 1 : k);
}

/* Steps between the largest weight and 0, or for QD_ASYM between the ends. */
static int grid_steps(int bits, qd_levels levels) {
    return levels == QD_ASYM ? (1 << bits) - 1 : (1 << (bits - 1)) - (levels == QD_NARROW);
}

double qd_grid_noise(int bits, qd_levels levels) {
    /* step = span / n; uniform rounding error has variance step^2 / 12 */
    double n = grid_steps(bits, levels);
    return 1 / (12 * n * n);
}

float qd_range_span(qd_range range, qd_levels levels) {
    return levels == QD_ASYM ? range.high - range.low : range.high;
}

qd_range qd_range_scale(qd_range range, float ratio) {
    return (qd_range){range.low * ratio, range.high * ratio};
}

float qd_range_most(qd_range range) {
    return range.high > -range.low ? range.high : -range.low;
}

/* The inverse of the step, and the ends: for QD_ASYM around the integer nearest to the lower one. */
static void set_ends(float step, float low, int bits, qd_levels levels, qd_grid *grid) {
    int n = grid_steps(bits, levels);
    grid->inverse = step > 0 ? 1 / step : 0;
    grid->low = -n;
    grid->high = levels == QD_FULL ? n - 1 : n;
    if (levels != QD_ASYM) return;
    float zero = rintf(-low * grid->inverse);
    grid->low = zero < (float)n ? -(int32_t)zero : -n;
    grid->high = n + grid->low;
}

bool qd_grid_make(qd_range range, float gain, int bits, qd_levels levels, qd_grid *grid) {
    float ideal = qd_range_span(range, levels) / (float)grid_steps(bits, levels);
    float step = qd_f16_to_f32(qd_f32_to_f16(ideal)); /* engines store scales in 16 bits */
    float scale = qd_f16_to_f32(qd_f32_to_f16(ideal * gain));
    if (!isfinite(step) || !isfinite(scale)) return false;
    grid->scale = scale;
    set_ends(step, range.low, bits, levels, grid);
    return true;
}

uint8_t qd_grid_zero(const qd_grid *grid, int bits, qd_levels levels) {
    return (uint8_t)(levels == QD_ASYM ? -grid->low : 1 << (bits - 1));
}

void qd_grids_make(const qd_kernels *kernels, qd_range range, const float *ratios, size_t n_ratios, int bits,
                   qd_levels levels, qd_grid *grids, size_t *n_fit) {
    enum { BLOCK = 64 };
    float scales[BLOCK], n_steps = (float)grid_steps(bits, levels);
    size_t n = 0;
    bool fits = true;
    while (n < n_ratios && fits) {
        size_t m = n_ratios - n < BLOCK ? n_ratios - n : BLOCK;
        for (size_t k = 0; k < m; k++)
            scales[k] = qd_range_span(qd_range_scale(range, ratios[n + k]), levels) / n_steps;
        kernels->round_f16(scales, m, scales);
        for (size_t k = 0; k < m; k++) {
            grids[n + k].scale = scales[k];
            set_ends(scales[k], range.low * ratios[n + k], bits, levels, &grids[n + k]);
            fits = fits && isfinite(scales[k]);
        }
        n += m;
    }
    if (!fits)
        for (n = 0; isfinite(grids[n].scale);) n++;
    *n_fit = n;
}

/* Rounding costs at most (scale/2)^2 a weight; what an error is above that is clipping, which only grows from candidate
 * to candidate: as soon as it alone exceeds the least error, the rest is worse. Not so for QD_ASYM, whose ends move
 * with the rounding of the zero. */
size_t qd_grid_search(const qd_kernels *kernels, const qd_unit *u, const float *ratios, size_t n_ratios, int bits,
                      qd_levels levels, qd_grid *grid) {
    enum { BATCH = 8 };
    qd_grid grids[BATCH];
    double errors[BATCH], least = INFINITY;
    size_t best = 0, n_fit;
    for (size_t k = 0; k < n_ratios; k += BATCH) {
        size_t m = n_ratios - k < BATCH ? n_ratios - k : BATCH;
        qd_grids_make(kernels, u->range, ratios + k, m, bits, levels, grids, &n_fit);
        kernels->grid_errors(u->w, u->e, u->n, grids, n_fit, errors);
        for (size_t i = 0; i < n_fit; i++) {
            if (!(errors[i] < least)) continue;
            least = errors[i];
            best = k + i;
            *grid = grids[i];
        }
        if (n_fit < m) break;
        if (levels == QD_ASYM) continue;
        double half_step = 0.5 * (double)grids[m - 1].scale;
        if (errors[m - 1] - u->total * half_step * half_step > least) break;
    }
    return best;
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

qdisp_status qd_unit_range(qdisp_ctx *ctx, const qd_choice *c, const float *w, size_t n, qd_range *range) {
    float ends[2];
    if (c->levels == QD_ASYM) ctx->kernels->range(w, n, ends);
    else ends[0] = -(ends[1] = ctx->kernels->abs_max(w, n));
    *range = (qd_range){fminf(ends[0], 0), fmaxf(ends[1], 0)};
    if (isfinite(ends[0]) && isfinite(ends[1])) return QDISP_OK;
    return qd_fail(ctx, QDISP_ENUMERIC, "%s: a weight is not finite", c->name);
}

qd_range qd_choice_range(const qd_choice *c) {
    float most = qd_range_most(c->range);
    if (c->levels != QD_ASYM) return (qd_range){-c->alpha, c->alpha};
    return qd_range_scale(c->range, most > 0 ? c->alpha / most : 0);
}

qdisp_status qd_row_grid(qdisp_ctx *ctx, const qd_choice *c, size_t i_unit, const float *w, size_t *first, size_t *n,
                         qd_grid *grid) {
    qd_range range;
    size_t i_row;
    *first = 0;
    *n = c->n_in;
    if (c->units_per_row) qd_unit_span(c, i_unit, &i_row, first, n);
    QD_TRY(qd_unit_range(ctx, c, w + *first, *n, &range));
    if (c->units_per_row) range = qd_range_scale(range, qd_clip_ratio(c->clips[i_unit]));
    else range = qd_choice_range(c);
    float gain = qd_gain_ratio(c->gains[c->units_per_row ? i_unit : 0]);
    if (qd_grid_make(range, gain, c->bits, c->levels, grid)) return QDISP_OK;
    return qd_fail(ctx, QDISP_ENUMERIC, "%s: a scale of %g does not fit a 16-bit float", c->name,
                   (double)qd_range_span(range, c->levels));
}

qdisp_status qd_quantize_row(qdisp_ctx *ctx, const qd_choice *c, size_t i_row, const float *w, float *out) {
    size_t n_units = c->units_per_row ? c->units_per_row : 1;
    for (size_t u = i_row * n_units; u < (i_row + 1) * n_units; u++) {
        size_t first, n;
        qd_grid grid;
        QD_TRY(qd_row_grid(ctx, c, u, w, &first, &n, &grid));
        ctx->kernels->quantize(w + first, n, &grid, out + first);
    }
    return QDISP_OK;
}
