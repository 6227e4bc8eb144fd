/* c_quantize.c - the specification of quantizing. Lanes, flush interval, the fold and
 * the constants are those of lanes.h. */
#include "lanes.h"

/* Clamped before it is rounded: the bounds are integers, so that is the same, and the trick of QD_ROUND needs it. */
static float quantize_one(float w, const qd_grid *grid) {
    float t = w * grid->inverse;
    t = t == t ? t : 0.0f;
    t = qd_min(qd_max(t, (float)grid->low), (float)grid->high);
    return (t + QD_ROUND) - QD_ROUND;
}

void qd_c_quantize(const float *w, size_t n, const qd_grid *grid, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = quantize_one(w[i], grid) * grid->scale;
}

void qd_c_quantize_codes(const float *w, size_t n, const qd_grid *grid, int8_t *codes) {
    for (size_t i = 0; i < n; i++) codes[i] = (int8_t)quantize_one(w[i], grid);
}

/* Bits of a magnitude: a tie or more carries into the kept ones. Below 2^-14 the unit of f16 is 2^-24, that of f32
 * between a half and one. */
static uint32_t round_f16_bits(uint32_t magnitude) {
    if (magnitude > 0x7f800000u) return magnitude;
    if (magnitude >= 0x477ff000u) return 0x7f800000u; /* 65520 */
    if (magnitude < 0x38800000u) return qd_float_bits((qd_bits_float(magnitude) + 0.5f) - 0.5f);
    return (magnitude + 0xfffu + (magnitude >> 13 & 1)) & ~0x1fffu;
}

void qd_c_round_f16(const float *x, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = qd_float_bits(x[i]);
        out[i] = qd_bits_float(round_f16_bits(bits & 0x7fffffffu) | (bits & 0x80000000u));
    }
}

static float error_one(float w, const qd_grid *grid) {
    float d = w - quantize_one(w, grid) * grid->scale;
    return d * d;
}

/* 128 terms as a tree of depth 7, so that a sum has 7 inexact additions: steps of 16 lanes with their neighbours, then
 * the lanes in halves. */
static float tree_sum(float t[QD_FLUSH]) {
    for (size_t n_steps = QD_FLUSH / QD_STEP / 2; n_steps > 0; n_steps /= 2) {
        for (size_t s = 0; s < n_steps; s++) {
            for (size_t l = 0; l < QD_STEP; l++) {
                t[s * QD_STEP + l] = t[2 * s * QD_STEP + l] + t[(2 * s + 1) * QD_STEP + l];
            }
        }
    }
    for (size_t half = QD_STEP / 2; half > 0; half /= 2) {
        for (size_t l = 0; l < half; l++) t[l] += t[l + half];
    }
    return t[0];
}

void qd_c_grid_errors(const float *w, const float *e, size_t n, const qd_grid *grids, size_t n_grids, double *errors) {
    for (size_t k = 0; k < n_grids; k++) {
        errors[k] = 0;
        for (size_t first = 0; first < n; first += QD_FLUSH) {
            float terms[QD_FLUSH] = {0};
            for (size_t i = first; i < n && i < first + QD_FLUSH; i++) {
                terms[i - first] = e ? error_one(w[i], &grids[k]) * e[i] : error_one(w[i], &grids[k]);
            }
            errors[k] += (double)tree_sum(terms);
        }
    }
}

void qd_c_column_grid_errors(const float *w, size_t n, const qd_grid *grids, size_t n_grids, float *errors) {
    for (size_t k = 0; k < n_grids; k++) {
        for (size_t j = 0; j < n; j++) errors[k * n + j] += error_one(w[j], &grids[k]);
    }
}

void qd_measure_slow(const float *w, const float *q, size_t n_rows, size_t n, size_t stride_w, size_t stride_q,
                     double *errors) {
    for (size_t j = 0; j < n; j++) {
        double sum = 0;
        for (size_t i = 0; i < n_rows; i++) {
            double d = (double)w[i * stride_w + j] - (double)q[i * stride_q + j];
            sum += d * d;
        }
        errors[j] += sum;
    }
}

/* One group of at most 8 rows of a tile of at most 16 columns; each of the two sums in f32 if that is safe for all its
 * columns. */
static void measure_tile(const float *w, const float *q, size_t h, size_t m, size_t stride_w, size_t stride_q,
                         double *errors, double *squares) {
    float e[QD_STEP] = {0}, s[QD_STEP] = {0};
    uint32_t e_bits[QD_STEP] = {0}, s_bits[QD_STEP] = {0};
    bool e_fits = true, s_fits = true;
    for (size_t r = 0; r < h; r++) {
        for (size_t l = 0; l < m; l++) {
            float v = q[r * stride_q + l], d = w[r * stride_w + l] - v;
            uint32_t d_bits = qd_float_bits(fabsf(d)), v_bits = qd_float_bits(fabsf(v));
            e[l] += d * d;
            s[l] += v * v;
            if (d_bits > e_bits[l]) e_bits[l] = d_bits;
            if (v_bits > s_bits[l]) s_bits[l] = v_bits;
        }
    }
    for (size_t l = 0; l < m; l++) {
        e_fits = e_fits && qd_squares_fit(e_bits[l]);
        s_fits = s_fits && qd_squares_fit(s_bits[l]);
    }
    if (!e_fits) qd_measure_slow(w, q, h, m, stride_w, stride_q, errors);
    if (!s_fits) qd_column_squares_slow(q, h, m, stride_q, squares);
    for (size_t l = 0; l < m && e_fits; l++) errors[l] += (double)e[l];
    for (size_t l = 0; l < m && s_fits; l++) squares[l] += (double)s[l];
}

void qd_c_column_measure(const float *w, const float *q, size_t n_rows, size_t n, size_t stride_w, size_t stride_q,
                         double *errors, double *squares) {
    for (size_t i = 0; i < n_rows; i += QD_FLUSH_ROWS) {
        size_t h = n_rows - i < QD_FLUSH_ROWS ? n_rows - i : QD_FLUSH_ROWS;
        for (size_t j = 0; j < n; j += QD_STEP) {
            measure_tile(w + i * stride_w + j, q + i * stride_q + j, h, n - j < QD_STEP ? n - j : QD_STEP, stride_w,
                         stride_q, errors + j, squares + j);
        }
    }
}

void qd_c_weighted_products(const float *w, const float *q, const float *e, size_t n, double sums[2]) {
    double squares[QD_STEP] = {0}, products[QD_STEP] = {0};
    for (size_t first = 0; first < n; first += QD_FLUSH) {
        float s[QD_STEP] = {0}, p[QD_STEP] = {0};
        for (size_t i = first; i < n && i < first + QD_FLUSH; i++) {
            float ew = e[i] * w[i];
            s[i % QD_STEP] += ew * w[i];
            p[i % QD_STEP] += ew * q[i];
        }
        for (size_t l = 0; l < QD_STEP; l++) {
            squares[l] += (double)s[l];
            products[l] += (double)p[l];
        }
    }
    sums[0] = qd_fold(squares);
    sums[1] = qd_fold(products);
}

/* ---- analytical clipping ---- */

void qd_c_excess_sums(const float *x, const float *e, size_t n, float threshold, double sums[2]) {
    double moment[QD_STEP] = {0}, weight[QD_STEP] = {0};
    for (size_t i = 0; i < n; i++) {
        float magnitude = fabsf(x[i]);
        if (!(magnitude > threshold)) continue;
        double w = e ? (double)e[i] : 1.0;
        moment[i % QD_STEP] += w * (double)magnitude;
        weight[i % QD_STEP] += w;
    }
    sums[0] = qd_fold(moment);
    sums[1] = qd_fold(weight);
}

double qd_c_excess_squares(const float *x, size_t n, float threshold) {
    double sums[QD_STEP] = {0};
    for (size_t i = 0; i < n; i++) {
        double excess = (double)qd_max(fabsf(x[i]) - threshold, 0.0f);
        sums[i % QD_STEP] += excess * excess;
    }
    return qd_fold(sums);
}
