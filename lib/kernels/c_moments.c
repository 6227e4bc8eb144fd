/* c_moments.c - the specification of widening, power sums, column sums, magnitudes and counts. Lanes, flush interval,
 * the fold and the constants are those of lanes.h. */
#include "lanes.h"

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

void qd_power_block_slow(qd_power_state *state, const float *x, size_t n, float pivot) {
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) continue;
        double d = (double)x[i] - (double)pivot, d2 = d * d;
        size_t l = i % QD_QUAD;
        state->sums[0][l] += d;
        state->sums[1][l] += d2;
        state->sums[2][l] += d2 * d;
        state->sums[3][l] += d2 * d2;
        if (x[i] < state->min) state->min = x[i];
        if (x[i] > state->max) state->max = x[i];
        state->n_finite++;
    }
}

static void power_block_fast(qd_power_state *state, const float *x, size_t n, float pivot) {
    double block[4][QD_QUAD] = {{0}};
    float min = INFINITY, max = -INFINITY;
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
            for (size_t half = QD_STEP / 2; half >= QD_QUAD; half /= 2) {
                for (size_t l = 0; l < half; l++) sums[p][l] += sums[p][l + half];
            }
            for (size_t l = 0; l < QD_QUAD; l++) block[p][l] += (double)sums[p][l];
        }
    }
    for (size_t i = 0; i < n; i++) {
        min = qd_min(x[i], min);
        max = qd_max(x[i], max);
    }
    qd_power_state_add(state, block, min, max, n);
}

/* At most QD_BLOCK elements: in f32 if that is safe. */
static void power_block(qd_power_state *state, const float *x, size_t n, float pivot) {
    uint32_t max_bits = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = qd_float_bits(fabsf(x[i] - pivot));
        if (bits > max_bits) max_bits = bits;
    }
    if (qd_powers_fit(max_bits)) {
        power_block_fast(state, x, n, pivot);
    } else {
        qd_power_block_slow(state, x, n, pivot);
    }
}

void qd_c_power_sums(const float *x, size_t n, float pivot, qd_power_sums *out) {
    qd_power_state state;
    qd_power_state_init(&state);
    for (size_t i = 0; i < n; i += QD_BLOCK) power_block(&state, x + i, n - i < QD_BLOCK ? n - i : QD_BLOCK, pivot);
    qd_power_state_finish(&state, out);
}

static void widen_i8(const int8_t *x, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = (float)x[i];
}

/* The same over another type of element. */
#define POWER_SUMS_OF(suffix, type, widen)                                                            \
    void qd_c_power_sums_##suffix(const type *x, size_t n, float pivot, qd_power_sums *out) {         \
        float block[QD_BLOCK];                                                                        \
        qd_power_state state;                                                                         \
        qd_power_state_init(&state);                                                                  \
        for (size_t i = 0; i < n; i += QD_BLOCK) {                                                    \
            size_t m = n - i < QD_BLOCK ? n - i : QD_BLOCK;                                           \
            widen(x + i, m, block);                                                                   \
            power_block(&state, block, m, pivot);                                                     \
        }                                                                                             \
        qd_power_state_finish(&state, out);                                                           \
    }
POWER_SUMS_OF(f16, uint16_t, qd_c_to_f32_f16)
POWER_SUMS_OF(bf16, uint16_t, qd_c_to_f32_bf16)
POWER_SUMS_OF(i8, int8_t, widen_i8)

/* ---- columns ---- */

void qd_column_sums_slow(const float *w, size_t n_rows, size_t n_columns, size_t stride, const float *pivots,
                         size_t pitch, size_t j, const qd_column_sums *into) {
    for (size_t l = 0; l < n_columns; l++) {
        double s[4] = {0}, pivot = pivots ? (double)pivots[l] : 0.0;
        for (size_t i = 0; i < n_rows; i++) {
            float x = w[i * stride + l];
            if (!isfinite(x)) {
                into->n_non_finite[j + l]++;
                continue;
            }
            double d = (double)x - pivot, d2 = d * d;
            s[0] += d;
            s[1] += d2;
            s[2] += d2 * d;
            s[3] += d2 * d2;
            into->min[j + l] = qd_min(x, into->min[j + l]);
            into->max[j + l] = qd_max(x, into->max[j + l]);
        }
        for (size_t p = 0; p < 4; p++) into->sums[p * pitch + j + l] += s[p];
    }
}

/* A group of at most 16 rows of a tile of at most 16 columns. */
static void column_tile(const float *tile, size_t n_rows, size_t m, size_t stride, const float *pivots, size_t pitch,
                        size_t j, const qd_column_sums *into) {
    float s[4][QD_STEP] = {{0}}, min[QD_STEP], max[QD_STEP];
    bool fits = true;
    for (size_t l = 0; l < m; l++) min[l] = INFINITY, max[l] = -INFINITY;
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t l = 0; l < m; l++) {
            float x = tile[r * stride + l], d = x - (pivots ? pivots[l] : 0.0f), d2 = d * d;
            s[0][l] += d;
            s[1][l] += d2;
            s[2][l] += d2 * d;
            s[3][l] += d2 * d2;
            min[l] = qd_min(x, min[l]);
            max[l] = qd_max(x, max[l]);
        }
    }
    for (size_t l = 0; l < m; l++) {
        float pivot = pivots ? pivots[l] : 0.0f, low = fabsf(min[l] - pivot), high = fabsf(max[l] - pivot);
        fits = fits && !isnan(s[0][l]) && qd_powers_fit(qd_float_bits(low > high ? low : high));
    }
    if (!fits) {
        qd_column_sums_slow(tile, n_rows, m, stride, pivots, pitch, j, into);
        return;
    }
    for (size_t p = 0; p < 4; p++) {
        for (size_t l = 0; l < m; l++) into->sums[p * pitch + j + l] += (double)s[p][l];
    }
    for (size_t l = 0; l < m; l++) {
        into->min[j + l] = qd_min(min[l], into->min[j + l]);
        into->max[j + l] = qd_max(max[l], into->max[j + l]);
    }
}

/* Columns go in tiles of 16 (the last has fewer), rows in groups of 16; a tile of a group is summed in f32 if that is
 * safe for each of its columns. */
void qd_c_column_sums(const float *w, size_t n_rows, size_t n_columns, size_t stride, const float *pivots,
                      const qd_column_sums *into) {
    for (size_t i = 0; i < n_rows; i += QD_COLUMN_ROWS) {
        size_t h = n_rows - i < QD_COLUMN_ROWS ? n_rows - i : QD_COLUMN_ROWS;
        for (size_t j = 0; j < n_columns; j += QD_STEP) {
            size_t m = n_columns - j < QD_STEP ? n_columns - j : QD_STEP;
            column_tile(w + i * stride + j, h, m, stride, pivots ? pivots + j : NULL, n_columns, j, into);
        }
    }
}

/* The same over another type of element: a tile is widened first. */
#define COLUMN_SUMS_OF(suffix, type, widen)                                                                            \
    void qd_c_column_sums_##suffix(const type *w, size_t n_rows, size_t n_columns, size_t stride, const float *pivots, \
                                   const qd_column_sums *into) {                                                       \
        float tile[QD_COLUMN_ROWS * QD_STEP];                                                                          \
        for (size_t i = 0; i < n_rows; i += QD_COLUMN_ROWS) {                                                          \
            size_t h = n_rows - i < QD_COLUMN_ROWS ? n_rows - i : QD_COLUMN_ROWS;                                      \
            for (size_t j = 0; j < n_columns; j += QD_STEP) {                                                          \
                size_t m = n_columns - j < QD_STEP ? n_columns - j : QD_STEP;                                          \
                for (size_t r = 0; r < h; r++) widen(w + (i + r) * stride + j, m, tile + r * QD_STEP);                 \
                column_tile(tile, h, m, QD_STEP, pivots ? pivots + j : NULL, n_columns, j, into);                      \
            }                                                                                                          \
        }                                                                                                              \
    }
COLUMN_SUMS_OF(f16, uint16_t, qd_c_to_f32_f16)
COLUMN_SUMS_OF(bf16, uint16_t, qd_c_to_f32_bf16)
COLUMN_SUMS_OF(i8, int8_t, widen_i8)

void qd_column_squares_slow(const float *x, size_t n_rows, size_t n_columns, size_t stride, double *squares) {
    for (size_t j = 0; j < n_columns; j++) {
        double s = 0;
        for (size_t i = 0; i < n_rows; i++) s += (double)x[i * stride + j] * (double)x[i * stride + j];
        squares[j] += s;
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
                qd_column_squares_slow(tile, h, m, stride, squares + j);
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

void qd_c_range(const float *x, size_t n, float ends[2]) {
    float low = INFINITY, high = -INFINITY;
    bool any_nan = false;
    for (size_t i = 0; i < n; i++) {
        any_nan |= x[i] != x[i];
        low = qd_min(x[i], low);
        high = qd_max(x[i], high);
    }
    ends[0] = any_nan ? -INFINITY : low + 0.0f;
    ends[1] = any_nan ? INFINITY : high + 0.0f;
}

double qd_c_abs_sum(const float *x, size_t n) {
    double sums[QD_STEP] = {0};
    for (size_t i = 0; i < n; i++) sums[i % QD_STEP] += (double)fabsf(x[i]);
    return qd_fold(sums);
}

/* ---- counts ---- */

/* Two floats or four halves a word: fewer loads beside those of the counters. */
uint32_t qd_c_count_f32(const float *x, size_t n, uint32_t *counts) {
    uint64_t low = 0, word[4];
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        memcpy(word, x + i, sizeof word);
        low |= word[0] | word[1] | word[2] | word[3];
        for (size_t k = 0; k < 4; k++) {
            counts[2 * (word[k] >> 16 & 0xffffu)]++;
            counts[2 * (word[k] >> 48) + 1]++;
        }
    }
    low |= low >> 32;
    for (; i < n; i++) {
        uint32_t bits = qd_float_bits(x[i]);
        low |= bits;
        counts[2 * (size_t)(bits >> 16) + i % 2]++;
    }
    return (uint32_t)low & 0xffffu;
}

void qd_c_count_16(const uint16_t *x, size_t n, uint32_t *counts) {
    uint64_t word[2];
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        memcpy(word, x + i, sizeof word);
        for (size_t k = 0; k < 2; k++) {
            counts[2 * (word[k] & 0xffffu)]++;
            counts[2 * (word[k] >> 16 & 0xffffu) + 1]++;
            counts[2 * (word[k] >> 32 & 0xffffu)]++;
            counts[2 * (word[k] >> 48) + 1]++;
        }
    }
    for (; i < n; i++) counts[2 * (size_t)x[i] + i % 2]++;
}
