/* kernels_c.c - the specification: what every kernel returns, to the bit, on every instruction set. Lanes, flush
 * interval, the fold and the constants are those of lanes.h. */
#include "lanes.h"

static float min_f(float a, float b) {
    return a < b ? a : b;
}

static float max_f(float a, float b) {
    return a > b ? a : b;
}

/* ---- widening ---- */

void qd_c_to_f32_f16(const uint16_t *x, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        uint32_t sign = (uint32_t)(x[i] & 0x8000u) << 16, magnitude = x[i] & 0x7fffu;
        uint32_t bits;
        if (magnitude >= 0x7c00u) { /* infinity, NaN (made quiet) */
            bits = 0x7f800000u | (magnitude & 0x3ffu) << 13;
            if (magnitude > 0x7c00u) bits |= 0x00400000u;
        } else if (magnitude >= 0x400u) {
            bits = (magnitude << 13) + (112u << 23);
        } else { /* 2^-24 times an integer: exact */
            bits = qd_float_bits((float)magnitude * 0x1p-24f);
        }
        out[i] = qd_bits_float(bits | sign);
    }
}

void qd_c_to_f32_bf16(const uint16_t *x, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = qd_bits_float((uint32_t)x[i] << 16);
}

/* ---- moments ---- */

void qd_power_state_init(qd_power_state *state) {
    memset(state, 0, sizeof *state);
    state->min = INFINITY;
    state->max = -INFINITY;
}

void qd_power_block_slow(qd_power_state *state, const float *x, size_t n, float pivot) {
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) continue;
        double d = (double)x[i] - (double)pivot, d2 = d * d;
        size_t l = i % QD_STEP;
        state->sums[0][l] += d;
        state->sums[1][l] += d2;
        state->sums[2][l] += d2 * d;
        state->sums[3][l] += d2 * d2;
        if (x[i] < state->min) state->min = x[i];
        if (x[i] > state->max) state->max = x[i];
        state->n_finite++;
    }
}

void qd_power_state_finish(const qd_power_state *state, qd_power_sums *out) {
    out->s1 = qd_fold(state->sums[0]);
    out->s2 = qd_fold(state->sums[1]);
    out->s3 = qd_fold(state->sums[2]);
    out->s4 = qd_fold(state->sums[3]);
    out->min = state->min + 0.0;
    out->max = state->max + 0.0;
    out->n_finite = state->n_finite;
}

static void power_block_fast(qd_power_state *state, const float *x, size_t n, float pivot) {
    for (size_t first = 0; first < n; first += QD_FLUSH) {
        float sums[4][QD_STEP] = {{0}};
        for (size_t i = first; i < n && i < first + QD_FLUSH; i++) {
            float d = x[i] - pivot, d2 = d * d;
            size_t l = i % QD_STEP;
            sums[0][l] += d;
            sums[1][l] += d2;
            sums[2][l] += d2 * d;
            sums[3][l] += d2 * d2;
        }
        for (size_t p = 0; p < 4; p++) {
            for (size_t l = 0; l < QD_STEP; l++) state->sums[p][l] += (double)sums[p][l];
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (x[i] < state->min) state->min = x[i];
        if (x[i] > state->max) state->max = x[i];
    }
    state->n_finite += n;
}

void qd_c_power_sums(const float *x, size_t n, float pivot, qd_power_sums *out) {
    qd_power_state state;
    qd_power_state_init(&state);
    for (size_t first = 0; first < n; first += QD_BLOCK) {
        size_t m = n - first < QD_BLOCK ? n - first : QD_BLOCK;
        uint32_t max_bits = 0;
        for (size_t i = first; i < first + m; i++) {
            uint32_t bits = qd_float_bits(fabsf(x[i] - pivot));
            if (bits > max_bits) max_bits = bits;
        }
        if (qd_powers_fit(max_bits)) {
            power_block_fast(&state, x + first, m, pivot);
        } else {
            qd_power_block_slow(&state, x + first, m, pivot);
        }
    }
    qd_power_state_finish(&state, out);
}

void qd_column_powers_slow(const float *w, size_t n_rows, size_t n_columns, size_t stride, unsigned first_power,
                           unsigned n_powers, size_t pitch, double *sums) {
    for (size_t j = 0; j < n_columns; j++) {
        double s[4] = {0};
        for (size_t i = 0; i < n_rows; i++) {
            double x = w[i * stride + j], power[4] = {x, x * x, x * x * x, x * x * (x * x)};
            for (unsigned p = 0; p < n_powers; p++) s[p] += power[first_power - 1 + p];
        }
        for (unsigned p = 0; p < n_powers; p++) sums[p * pitch + j] += s[p];
    }
}

/* Columns go in tiles of 16 (the last has fewer), rows in groups of 8; a tile of a group is summed in f32 if that is
 * safe for each of its columns. */
void qd_c_column_sums(const float *w, size_t n_rows, size_t n_columns, size_t stride, double *sums) {
    for (size_t i = 0; i < n_rows; i += QD_FLUSH_ROWS) {
        size_t h = n_rows - i < QD_FLUSH_ROWS ? n_rows - i : QD_FLUSH_ROWS;
        for (size_t j = 0; j < n_columns; j += QD_STEP) {
            size_t m = n_columns - j < QD_STEP ? n_columns - j : QD_STEP;
            const float *tile = w + i * stride + j;
            float s[4][QD_STEP] = {{0}};
            uint32_t max_bits[QD_STEP] = {0};
            bool fits = true;
            for (size_t r = 0; r < h; r++) {
                for (size_t l = 0; l < m; l++) {
                    float x = tile[r * stride + l], x2 = x * x;
                    s[0][l] += x;
                    s[1][l] += x2;
                    s[2][l] += x2 * x;
                    s[3][l] += x2 * x2;
                    uint32_t bits = qd_float_bits(fabsf(x));
                    if (bits > max_bits[l]) max_bits[l] = bits;
                }
            }
            for (size_t l = 0; l < m; l++) fits = fits && qd_powers_fit(max_bits[l]);
            if (!fits) {
                qd_column_powers_slow(tile, h, m, stride, 1, 4, n_columns, sums + j);
                continue;
            }
            for (size_t p = 0; p < 4; p++) {
                for (size_t l = 0; l < m; l++) sums[p * n_columns + j + l] += (double)s[p][l];
            }
        }
    }
}

void qd_c_column_squares(const float *x, size_t n_rows, size_t n_columns, size_t stride, double *squares) {
    for (size_t i = 0; i < n_rows; i += QD_FLUSH_ROWS) {
        size_t h = n_rows - i < QD_FLUSH_ROWS ? n_rows - i : QD_FLUSH_ROWS;
        for (size_t j = 0; j < n_columns; j += QD_STEP) {
            size_t m = n_columns - j < QD_STEP ? n_columns - j : QD_STEP;
            const float *tile = x + i * stride + j;
            float s[QD_STEP] = {0};
            uint32_t max_bits[QD_STEP] = {0};
            bool fits = true;
            for (size_t r = 0; r < h; r++) {
                for (size_t l = 0; l < m; l++) {
                    float v = tile[r * stride + l];
                    s[l] += v * v;
                    uint32_t bits = qd_float_bits(fabsf(v));
                    if (bits > max_bits[l]) max_bits[l] = bits;
                }
            }
            for (size_t l = 0; l < m; l++) fits = fits && qd_squares_fit(max_bits[l]);
            if (!fits) {
                qd_column_powers_slow(tile, h, m, stride, 2, 1, n_columns, squares + j);
                continue;
            }
            for (size_t l = 0; l < m; l++) squares[j + l] += (double)s[l];
        }
    }
}

/* ---- magnitudes ---- */

float qd_c_abs_max(const float *x, size_t n) {
    uint32_t max_bits = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = qd_float_bits(fabsf(x[i]));
        if (bits > max_bits) max_bits = bits;
    }
    return max_bits > 0x7f800000u ? INFINITY : qd_bits_float(max_bits);
}

double qd_c_abs_sum(const float *x, size_t n) {
    double sums[QD_STEP] = {0};
    for (size_t i = 0; i < n; i++) sums[i % QD_STEP] += (double)fabsf(x[i]);
    return qd_fold(sums);
}

void qd_c_abs_histogram(const float *x, size_t n, float bins_per_unit, uint32_t n_bins, uint64_t *counts) {
    float last = (float)(n_bins - 1);
    for (size_t i = 0; i < n; i++) {
        if (isfinite(x[i])) counts[(uint32_t)min_f(fabsf(x[i]) * bins_per_unit, last)]++;
    }
}

/* ---- quantizing ---- */

/* Clamped before it is rounded: the bounds are integers, so that is the same, and the trick of QD_ROUND needs it. */
static float quantize_one(float w, const qd_grid *grid) {
    float t = w * grid->inverse;
    t = t == t ? t : 0.0f;
    t = min_f(max_f(t, (float)grid->low), (float)grid->high);
    return (t + QD_ROUND) - QD_ROUND;
}

void qd_c_quantize(const float *w, size_t n, const qd_grid *grid, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = quantize_one(w[i], grid) * grid->scale;
}

void qd_c_quantize_codes(const float *w, size_t n, const qd_grid *grid, int8_t *codes) {
    for (size_t i = 0; i < n; i++) codes[i] = (int8_t)quantize_one(w[i], grid);
}

void qd_c_grid_errors(const float *w, const float *e, size_t n, const qd_grid *grids, size_t n_grids, double *errors) {
    for (size_t k = 0; k < n_grids; k++) {
        double lanes[QD_STEP] = {0};
        for (size_t first = 0; first < n; first += QD_FLUSH) {
            float sums[QD_STEP] = {0};
            for (size_t i = first; i < n && i < first + QD_FLUSH; i++) {
                float d = w[i] - quantize_one(w[i], &grids[k]) * grids[k].scale;
                sums[i % QD_STEP] += e ? d * d * e[i] : d * d;
            }
            for (size_t l = 0; l < QD_STEP; l++) lanes[l] += (double)sums[l];
        }
        errors[k] = qd_fold(lanes);
    }
}

void qd_c_column_errors(const float *w, const float *q, size_t n, double *errors) {
    for (size_t i = 0; i < n; i++) {
        double d = (double)(w[i] - q[i]);
        errors[i] += d * d;
    }
}

/* ---- forward pass ---- */

/* Within 1 ulp of exp (0.963 seen over every 97th float of the range); NaN stays. */
static float exp_one(float x) {
    float clamped = min_f(QD_EXP_HIGH, max_f(QD_EXP_LOW, x)); /* this order keeps NaN */
    float shifted = clamped * QD_LOG2E + QD_ROUND, n = shifted - QD_ROUND;
    float r = clamped - n * QD_LN2_HIGH - n * QD_LN2_LOW;
    float p = QD_EXP_P0;
    p = p * r + QD_EXP_P1;
    p = p * r + QD_EXP_P2;
    p = p * r + QD_EXP_P3;
    p = p * r + QD_EXP_P4;
    p = p * r + QD_EXP_P5;
    p = p * (r * r) + r + 1.0f;
    /* the low bits of `shifted` hold n; 2^n by its exponent field, n in [-126, 127] */
    uint32_t power = (qd_float_bits(shifted) - qd_float_bits(QD_ROUND) + 127u) << 23;
    float y = p * qd_bits_float(power);
    y = x < QD_EXP_LOW ? 0.0f : y;
    return x > QD_EXP_HIGH ? INFINITY : y;
}

static float max_of(const float *x, size_t n) {
    float m[QD_STEP];
    for (size_t l = 0; l < QD_STEP; l++) m[l] = -INFINITY;
    for (size_t i = 0; i < n; i++) m[i % QD_STEP] = max_f(m[i % QD_STEP], x[i]);
    for (size_t half = QD_STEP / 2; half > 0; half /= 2) {
        for (size_t l = 0; l < half; l++) m[l] = max_f(m[l], m[l + half]);
    }
    return m[0];
}

/* Sum of exp(x - max); stored to out unless it is NULL. */
static double exp_sum(const float *x, size_t n, float max, float *out) {
    double lanes[QD_STEP] = {0};
    for (size_t first = 0; first < n; first += QD_FLUSH) {
        float sums[QD_STEP] = {0};
        for (size_t i = first; i < n && i < first + QD_FLUSH; i++) {
            float y = exp_one(x[i] - max);
            sums[i % QD_STEP] += y;
            if (out) out[i] = y;
        }
        for (size_t l = 0; l < QD_STEP; l++) lanes[l] += (double)sums[l];
    }
    return qd_fold(lanes);
}

void qd_c_softmax(float *x, size_t n) {
    float scale = (float)(1.0 / exp_sum(x, n, max_of(x, n), x));
    for (size_t i = 0; i < n; i++) x[i] *= scale;
}

float qd_nll_finish(double sum, float max, float x_target) {
    return (float)(log(sum) + ((double)max - (double)x_target));
}

float qd_c_nll(const float *x, size_t n, size_t target) {
    float max = max_of(x, n);
    return qd_nll_finish(exp_sum(x, n, max, NULL), max, x[target]);
}

void qd_c_bias_gelu_tanh(float *x, const float *bias, size_t n_rows, size_t n_columns) {
    for (size_t i = 0; i < n_rows; i++) {
        for (size_t j = 0; j < n_columns; j++) {
            float v = x[i * n_columns + j] + bias[j];
            float u = v * QD_GELU_SCALE * (v * v * QD_GELU_CUBIC + 1.0f);
            x[i * n_columns + j] = v / (exp_one(u) + 1.0f);
        }
    }
}

float qd_layer_norm_scale(double sum_squares, size_t n, double mean, float rounded, float epsilon) {
    double shift = mean - (double)rounded;
    double variance = sum_squares / (double)n - shift * shift;
    return (float)(1.0 / sqrt((variance > 0 ? variance : 0) + (double)epsilon));
}

void qd_c_layer_norm(const float *x, size_t n, float epsilon, const float *weight, const float *bias, float *out) {
    double sums[QD_STEP] = {0}, squares[QD_STEP] = {0};
    for (size_t i = 0; i < n; i++) sums[i % QD_STEP] += (double)x[i];
    double mean = qd_fold(sums) / (double)n;
    float rounded = (float)mean;
    for (size_t i = 0; i < n; i++) {
        double d = (double)(x[i] - rounded);
        squares[i % QD_STEP] += d * d;
    }
    float scale = qd_layer_norm_scale(qd_fold(squares), n, mean, rounded, epsilon);
    for (size_t i = 0; i < n; i++) out[i] = (x[i] - rounded) * scale * weight[i] + bias[i];
}

const qd_kernels qd_kernels_c = {
#define K(name, ret, args) .name = qd_c_##name,
#include "kernels.inc"
#undef K
};
