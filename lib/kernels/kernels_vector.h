/* kernels_vector.h - the kernels over 16-lane vectors, once for all vector instruction sets. A file kernels_NAME.c
 * defines QD_ISA (its name), the types vf, vi (16 floats, 16 int32) and vd (16 doubles) with the operations used below,
 * and includes this. What it would do better in its own way it defines itself, as v_KERNEL, with QD_OWN_KERNEL.
 * The bits are those of kernels_c.c: read that first. */
#ifndef QD_KERNELS_VECTOR_H
#define QD_KERNELS_VECTOR_H

/* m < 16 elements, the other lanes `fill`. */
static inline vf vf_part(const float *x, size_t m, float fill) {
    float lanes[QD_STEP];
    vf_store(lanes, vf_set(fill));
    memcpy(lanes, x, m * sizeof *x);
    return vf_load(lanes);
}

static inline void vf_store_part(float *out, size_t m, vf v) {
    float lanes[QD_STEP];
    vf_store(lanes, v);
    memcpy(out, lanes, m * sizeof *out);
}

/* lanes += f32 sums: a flush. */
static inline void vd_flush(double lanes[QD_STEP], vf sums) {
    vd_store(lanes, vd_add(vd_load(lanes), vd_from(sums)));
}

/* ---- widening ---- */

static void v_to_f32_f16(const uint16_t *x, size_t n, float *out) {
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) vf_store(out + i, vf_load_f16(x + i));
    qd_c_to_f32_f16(x + i, n - i, out + i);
}

static void v_to_f32_bf16(const uint16_t *x, size_t n, float *out) {
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) vf_store(out + i, vf_load_bf16(x + i));
    qd_c_to_f32_bf16(x + i, n - i, out + i);
}

/* ---- moments ---- */

typedef struct block_range {
    float min, max; /* of the numbers, NaN left out */
} block_range;

static inline block_range range_of(const float *x, size_t n) {
    vf min = vf_set(INFINITY), max = vf_set(-INFINITY);
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) {
        vf v = vf_load(x + i);
        min = vf_min(v, min); /* in this order a NaN is passed over */
        max = vf_max(v, max);
    }
    if (i < n) {
        vf v = vf_part(x + i, n - i, NAN);
        min = vf_min(v, min);
        max = vf_max(v, max);
    }
    float mins[QD_STEP], maxs[QD_STEP];
    vf_store(mins, min);
    vf_store(maxs, max);
    block_range out = {mins[0], maxs[0]};
    for (size_t l = 1; l < QD_STEP; l++) {
        if (mins[l] < out.min) out.min = mins[l];
        if (maxs[l] > out.max) out.max = maxs[l];
    }
    return out;
}

typedef struct four_sums {
    vf s1, s2, s3, s4;
} four_sums;

static inline void add_powers(four_sums *s, vf d) {
    vf d2 = vf_mul(d, d);
    s->s1 = vf_add(s->s1, d);
    s->s2 = vf_add(s->s2, d2);
    s->s3 = vf_add(s->s3, vf_mul(d2, d));
    s->s4 = vf_add(s->s4, vf_mul(d2, d2));
}

/* At most 128 elements; the last step is padded with the pivot. */
static inline void power_chunk(qd_power_state *state, const float *x, size_t n, float pivot) {
    vf p = vf_set(pivot), zero = vf_set(0.0f);
    four_sums s = {zero, zero, zero, zero};
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) add_powers(&s, vf_sub(vf_load(x + i), p));
    if (i < n) add_powers(&s, vf_sub(vf_part(x + i, n - i, pivot), p));
    vd_flush(state->sums[0], s.s1);
    vd_flush(state->sums[1], s.s2);
    vd_flush(state->sums[2], s.s3);
    vd_flush(state->sums[3], s.s4);
}

static inline void power_block(qd_power_state *state, const float *x, size_t n, float pivot) {
    size_t i = 0;
    for (; i + QD_FLUSH <= n; i += QD_FLUSH) power_chunk(state, x + i, QD_FLUSH, pivot);
    if (i < n) power_chunk(state, x + i, n - i, pivot);
}

/* The largest |x - pivot| is that of the least or the greatest x, as rounding is monotone. A NaN, which the range does
 * not show, shows in the sums: then the block is undone and goes the slow way. */
static bool power_block_fits(qd_power_state *state, const float *x, size_t n, float pivot) {
    block_range range = range_of(x, n);
    float low = fabsf(range.min - pivot), high = fabsf(range.max - pivot);
    if (!qd_powers_fit(qd_float_bits(low > high ? low : high))) return false;
    qd_power_state sums = *state;
    power_block(&sums, x, n, pivot);
    for (size_t l = 0; l < QD_STEP; l++) {
        if (sums.sums[0][l] != sums.sums[0][l]) return false;
    }
    if ((double)range.min < sums.min) sums.min = (double)range.min;
    if ((double)range.max > sums.max) sums.max = (double)range.max;
    sums.n_finite += n;
    *state = sums;
    return true;
}

static void v_power_sums(const float *x, size_t n, float pivot, qd_power_sums *out) {
    qd_power_state state;
    qd_power_state_init(&state);
    for (size_t first = 0; first < n; first += QD_BLOCK) {
        size_t m = n - first < QD_BLOCK ? n - first : QD_BLOCK;
        if (!power_block_fits(&state, x + first, m, pivot)) qd_power_block_slow(&state, x + first, m, pivot);
    }
    qd_power_state_finish(&state, out);
}

static inline vf tile_row(const float *x, size_t m) {
    return m == QD_STEP ? vf_load(x) : vf_part(x, m, 0.0f);
}

static inline void tile_flush(double *sums, size_t m, vf s) {
    if (m == QD_STEP) {
        vd_flush(sums, s);
    } else {
        float lanes[QD_STEP];
        vf_store(lanes, s);
        for (size_t l = 0; l < m; l++) sums[l] += (double)lanes[l];
    }
}

/* One group of rows of one tile; always inlined so that m is a constant where it is 16. */
static inline void tile_sums(const float *tile, size_t h, size_t m, size_t stride, size_t pitch, double *sums) {
    vf zero = vf_set(0.0f);
    four_sums s = {zero, zero, zero, zero};
    vi bits = vf_bits(zero);
    for (size_t r = 0; r < h; r++) {
        vf x = tile_row(tile + r * stride, m);
        add_powers(&s, x);
        bits = vi_max(bits, vf_bits(vf_abs(x)));
    }
    if (vi_outside(bits, 0x33800000, 0x4e800000)) { /* qd_powers_fit */
        qd_column_powers_slow(tile, h, m, stride, 1, 4, pitch, sums);
        return;
    }
    tile_flush(sums, m, s.s1);
    tile_flush(sums + pitch, m, s.s2);
    tile_flush(sums + 2 * pitch, m, s.s3);
    tile_flush(sums + 3 * pitch, m, s.s4);
}

static void v_column_sums(const float *w, size_t n_rows, size_t n_columns, size_t stride, double *sums) {
    for (size_t i = 0; i < n_rows; i += QD_FLUSH_ROWS) {
        size_t h = n_rows - i < QD_FLUSH_ROWS ? n_rows - i : QD_FLUSH_ROWS, j = 0;
        const float *rows = w + i * stride;
        for (; j + QD_STEP <= n_columns; j += QD_STEP) tile_sums(rows + j, h, QD_STEP, stride, n_columns, sums + j);
        if (j < n_columns) tile_sums(rows + j, h, n_columns - j, stride, n_columns, sums + j);
    }
}

static inline void tile_squares(const float *tile, size_t h, size_t m, size_t stride, size_t pitch, double *squares) {
    vf s = vf_set(0.0f);
    vi bits = vf_bits(s);
    for (size_t r = 0; r < h; r++) {
        vf x = tile_row(tile + r * stride, m);
        s = vf_add(s, vf_mul(x, x));
        bits = vi_max(bits, vf_bits(vf_abs(x)));
    }
    if (vi_outside(bits, 0x26800000, 0x5d800000)) { /* qd_squares_fit */
        qd_column_powers_slow(tile, h, m, stride, 2, 1, pitch, squares);
    } else {
        tile_flush(squares, m, s);
    }
}

static void v_column_squares(const float *x, size_t n_rows, size_t n_columns, size_t stride, double *squares) {
    for (size_t i = 0; i < n_rows; i += QD_FLUSH_ROWS) {
        size_t h = n_rows - i < QD_FLUSH_ROWS ? n_rows - i : QD_FLUSH_ROWS, j = 0;
        const float *rows = x + i * stride;
        for (; j + QD_STEP <= n_columns; j += QD_STEP) {
            tile_squares(rows + j, h, QD_STEP, stride, n_columns, squares + j);
        }
        if (j < n_columns) tile_squares(rows + j, h, n_columns - j, stride, n_columns, squares + j);
    }
}

/* ---- magnitudes ---- */

static float v_abs_max(const float *x, size_t n) {
    vi a = vf_bits(vf_set(0.0f)), b = a; /* the order of a maximum of integers does not matter */
    size_t i = 0;
    for (; i + 2 * QD_STEP <= n; i += 2 * QD_STEP) {
        a = vi_max(a, vf_bits(vf_abs(vf_load(x + i))));
        b = vi_max(b, vf_bits(vf_abs(vf_load(x + i + QD_STEP))));
    }
    uint32_t bits[QD_STEP], max_bits = qd_float_bits(qd_c_abs_max(x + i, n - i));
    vi_store(bits, vi_max(a, b));
    for (size_t l = 0; l < QD_STEP; l++) max_bits = bits[l] > max_bits ? bits[l] : max_bits;
    return max_bits > 0x7f800000u ? INFINITY : qd_bits_float(max_bits);
}

static double v_abs_sum(const float *x, size_t n) {
    vd sum = vd_from(vf_set(0.0f));
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) sum = vd_add(sum, vd_from(vf_abs(vf_load(x + i))));
    if (i < n) sum = vd_add(sum, vd_from(vf_abs(vf_part(x + i, n - i, 0.0f))));
    return vd_fold(sum);
}

static void v_abs_histogram(const float *x, size_t n, float bins_per_unit, uint32_t n_bins, uint64_t *counts) {
    vf per_unit = vf_set(bins_per_unit), last = vf_set((float)(n_bins - 1));
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) {
        vf magnitude = vf_abs(vf_load(x + i));
        if (vi_outside(vf_bits(magnitude), 0, 0x7f800000)) {
            qd_c_abs_histogram(x + i, QD_STEP, bins_per_unit, n_bins, counts);
            continue;
        }
        uint32_t bins[QD_STEP];
        vi_store(bins, vf_to_int(vf_min(vf_mul(magnitude, per_unit), last)));
        for (size_t l = 0; l < QD_STEP; l++) counts[bins[l]]++;
    }
    qd_c_abs_histogram(x + i, n - i, bins_per_unit, n_bins, counts);
}

/* ---- quantizing ---- */

typedef struct vector_grid {
    vf scale, inverse, low, high;
} vector_grid;

static inline vector_grid grid_load(const qd_grid *grid) {
    vector_grid g = {vf_set(grid->scale), vf_set(grid->inverse), vf_set((float)grid->low), vf_set((float)grid->high)};
    return g;
}

static inline vf grid_round(vf t, const vector_grid *g) {
    vf round = vf_set(QD_ROUND);
    return vf_sub(vf_add(vf_min(vf_max(t, g->low), g->high), round), round);
}

static void v_quantize(const float *w, size_t n, const qd_grid *grid, float *out) {
    vector_grid g = grid_load(grid);
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) {
        vf t = vf_zero_nan(vf_mul(vf_load(w + i), g.inverse));
        vf_store(out + i, vf_mul(grid_round(t, &g), g.scale));
    }
    qd_c_quantize(w + i, n - i, grid, out + i);
}

static void v_quantize_codes(const float *w, size_t n, const qd_grid *grid, int8_t *codes) {
    vector_grid g = grid_load(grid);
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) {
        vf t = vf_zero_nan(vf_mul(vf_load(w + i), g.inverse));
        vi_store_i8(codes + i, vf_to_int(grid_round(t, &g)));
    }
    qd_c_quantize_codes(w + i, n - i, grid, codes + i);
}

/* At most 128 elements against one grid. A NaN product needs no care here: as scale and inverse are finite it comes
 * from a NaN or infinite weight, whose error is NaN or infinite with any code. */
static inline vf chunk_error(const float *w, const float *e, size_t n_steps, const qd_grid *grid) {
    vector_grid g = grid_load(grid);
    vf sum = vf_set(0.0f);
    for (size_t s = 0; s < n_steps; s++) {
        vf x = vf_load(w + s * QD_STEP);
        vf d = vf_sub(x, vf_mul(grid_round(vf_mul(x, g.inverse), &g), g.scale));
        vf d2 = vf_mul(d, d);
        sum = vf_add(sum, e ? vf_mul(d2, vf_load(e + s * QD_STEP)) : d2);
    }
    return sum;
}

static inline vf chunk_error_any(const float *w, const float *e, size_t n_steps, const qd_grid *grid) {
    if (n_steps == 8) return e ? chunk_error(w, e, 8, grid) : chunk_error(w, NULL, 8, grid);
    if (n_steps == 4) return e ? chunk_error(w, e, 4, grid) : chunk_error(w, NULL, 4, grid);
    if (n_steps == 2) return e ? chunk_error(w, e, 2, grid) : chunk_error(w, NULL, 2, grid);
    return e ? chunk_error(w, e, n_steps, grid) : chunk_error(w, NULL, n_steps, grid);
}

/* A chunk of 128 stays in L1 while all grids pass over it. The last, partial step is padded with zeros, which every
 * grid hits exactly. */
static void v_grid_errors(const float *w, const float *e, size_t n, const qd_grid *grids, size_t n_grids,
                          double *errors) {
    double lanes[QD_GRIDS][QD_STEP];
    for (; n_grids > QD_GRIDS; n_grids -= QD_GRIDS, grids += QD_GRIDS, errors += QD_GRIDS) {
        v_grid_errors(w, e, n, grids, QD_GRIDS, errors);
    }
    if (n > QD_FLUSH || n == 0) memset(lanes, 0, n_grids * sizeof *lanes);
    for (size_t first = 0; first < n; first += QD_FLUSH) {
        size_t m = n - first < QD_FLUSH ? n - first : QD_FLUSH, n_steps = (m + QD_STEP - 1) / QD_STEP;
        const float *wc = w + first, *ec = e ? e + first : NULL;
        float w_padded[QD_FLUSH], e_padded[QD_FLUSH];
        if (m % QD_STEP) {
            memset(w_padded, 0, sizeof w_padded);
            wc = memcpy(w_padded, wc, m * sizeof *wc);
            if (e) {
                memset(e_padded, 0, sizeof e_padded);
                ec = memcpy(e_padded, ec, m * sizeof *ec);
            }
        }
        for (size_t k = 0; k < n_grids; k++) {
            vf sum = chunk_error_any(wc, ec, n_steps, &grids[k]);
            if (n <= QD_FLUSH) {
                errors[k] = vd_fold(vd_from(sum)); /* no sum is -0, so adding it to zero would not change it */
            } else {
                vd_flush(lanes[k], sum);
            }
        }
    }
    if (n > QD_FLUSH || n == 0) {
        for (size_t k = 0; k < n_grids; k++) errors[k] = vd_fold(vd_load(lanes[k]));
    }
}

static void v_column_errors(const float *w, const float *q, size_t n, double *errors) {
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) {
        vd d = vd_from(vf_sub(vf_load(w + i), vf_load(q + i)));
        vd_store(errors + i, vd_add(vd_load(errors + i), vd_mul(d, d)));
    }
    qd_c_column_errors(w + i, q + i, n - i, errors + i);
}

/* ---- forward pass ---- */

/* not_above_zero: the caller knows that x <= 0 or NaN, which spares the upper end. */
static inline vf vf_exp(vf x, bool not_above_zero) {
    vf low = vf_set(QD_EXP_LOW), high = vf_set(QD_EXP_HIGH), round = vf_set(QD_ROUND), one = vf_set(1.0f);
    vf clamped = vf_max(low, x);
    if (!not_above_zero) clamped = vf_min(high, clamped);
    vf shifted = vf_add(vf_mul(clamped, vf_set(QD_LOG2E)), round), n = vf_sub(shifted, round);
    vf r = vf_sub(vf_sub(clamped, vf_mul(n, vf_set(QD_LN2_HIGH))), vf_mul(n, vf_set(QD_LN2_LOW)));
    vf p = vf_set(QD_EXP_P0);
    p = vf_add(vf_mul(p, r), vf_set(QD_EXP_P1));
    p = vf_add(vf_mul(p, r), vf_set(QD_EXP_P2));
    p = vf_add(vf_mul(p, r), vf_set(QD_EXP_P3));
    p = vf_add(vf_mul(p, r), vf_set(QD_EXP_P4));
    p = vf_add(vf_mul(p, r), vf_set(QD_EXP_P5));
    p = vf_add(vf_add(vf_mul(p, vf_mul(r, r)), r), one);
    vf y = vf_mul(p, vi_power_of_two(vf_bits(shifted)));
    y = vf_if_less(x, low, vf_set(0.0f), y);
    return not_above_zero ? y : vf_if_less(high, x, vf_set(INFINITY), y);
}

static inline float v_max_of(const float *x, size_t n) {
    vf max = vf_set(-INFINITY);
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) max = vf_max(max, vf_load(x + i));
    if (i < n) max = vf_max(max, vf_part(x + i, n - i, -INFINITY));
    float m[QD_STEP];
    vf_store(m, max);
    for (size_t half = QD_STEP / 2; half > 0; half /= 2) {
        for (size_t l = 0; l < half; l++) m[l] = m[l] > m[l + half] ? m[l] : m[l + half];
    }
    return m[0];
}

/* Beside a NaN the maximum may be another element's, and x - max above zero: the sum is NaN whatever comes of that. */
static inline double v_exp_sum(const float *x, size_t n, float max, float *out) {
    vf shift = vf_set(max);
    vd total = vd_from(vf_set(0.0f));
    for (size_t first = 0; first < n; first += QD_FLUSH) {
        size_t end = first + QD_FLUSH < n ? first + QD_FLUSH : n, i = first;
        vf sum = vf_set(0.0f);
        for (; i + QD_STEP <= end; i += QD_STEP) {
            vf y = vf_exp(vf_sub(vf_load(x + i), shift), true);
            sum = vf_add(sum, y);
            if (out) vf_store(out + i, y);
        }
        if (i < end) { /* exp(-inf) = 0 */
            vf y = vf_exp(vf_sub(vf_part(x + i, end - i, -INFINITY), shift), true);
            sum = vf_add(sum, y);
            if (out) vf_store_part(out + i, end - i, y);
        }
        total = vd_add(total, vd_from(sum));
    }
    return vd_fold(total);
}

static void v_softmax(float *x, size_t n) {
    float scale = (float)(1.0 / v_exp_sum(x, n, v_max_of(x, n), x));
    vf factor = vf_set(scale);
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) vf_store(x + i, vf_mul(vf_load(x + i), factor));
    for (; i < n; i++) x[i] *= scale;
}

static float v_nll(const float *x, size_t n, size_t target) {
    float max = v_max_of(x, n);
    return qd_nll_finish(v_exp_sum(x, n, max, NULL), max, x[target]);
}

static inline vf vf_gelu(vf v) {
    vf one = vf_set(1.0f);
    vf cubic = vf_add(vf_mul(vf_mul(v, v), vf_set(QD_GELU_CUBIC)), one);
    return vf_div(v, vf_add(vf_exp(vf_mul(vf_mul(v, vf_set(QD_GELU_SCALE)), cubic), false), one));
}

static void v_bias_gelu_tanh(float *x, const float *bias, size_t n_rows, size_t n_columns) {
    for (size_t i = 0; i < n_rows; i++, x += n_columns) {
        size_t j = 0;
        for (; j + QD_STEP <= n_columns; j += QD_STEP) {
            vf_store(x + j, vf_gelu(vf_add(vf_load(x + j), vf_load(bias + j))));
        }
        qd_c_bias_gelu_tanh(x + j, bias + j, 1, n_columns - j);
    }
}

static void v_layer_norm(const float *x, size_t n, float epsilon, const float *weight, const float *bias, float *out) {
    vd sum = vd_from(vf_set(0.0f)), squares = sum;
    size_t full = n - n % QD_STEP;
    for (size_t i = 0; i < full; i += QD_STEP) sum = vd_add(sum, vd_from(vf_load(x + i)));
    if (full < n) sum = vd_add(sum, vd_from(vf_part(x + full, n - full, 0.0f)));
    double mean = vd_fold(sum) / (double)n;
    float rounded = (float)mean;
    vf center = vf_set(rounded);
    for (size_t i = 0; i < n; i += QD_STEP) {
        vf v = i < full ? vf_load(x + i) : vf_part(x + i, n - i, rounded);
        vd d = vd_from(vf_sub(v, center));
        squares = vd_add(squares, vd_mul(d, d));
    }
    float scale = qd_layer_norm_scale(vd_fold(squares), n, mean, rounded, epsilon);
    vf factor = vf_set(scale);
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) {
        vf y = vf_mul(vf_mul(vf_sub(vf_load(x + i), center), factor), vf_load(weight + i));
        vf_store(out + i, vf_add(y, vf_load(bias + i)));
    }
    for (; i < n; i++) out[i] = (x[i] - rounded) * scale * weight[i] + bias[i];
}

#define QD_PASTE_(a, b) a##b
#define QD_PASTE(a, b) QD_PASTE_(a, b)
const qd_kernels QD_PASTE(qd_kernels_, QD_ISA) = {
#define K(name, ret, args) .name = v_##name,
#include "kernels.inc"
#undef K
};

#endif
