/* vector_moments.h - c_moments.c over vectors; a part of kernels_vector.h. */

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
