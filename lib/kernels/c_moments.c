/* c_moments.c - the specification of widening, power sums, column sums and magnitudes. Lanes, flush interval,
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
        if (isfinite(x[i])) counts[(uint32_t)qd_min(fabsf(x[i]) * bins_per_unit, last)]++;
    }
}
