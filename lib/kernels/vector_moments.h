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

/* Elements as floats: the type is a constant wherever these are inlined. */
typedef enum element_type { ELEMENT_F32, ELEMENT_F16, ELEMENT_BF16, ELEMENT_I8 } element_type;

static inline const void *element_at(const void *x, size_t i, element_type type) {
    size_t size = type == ELEMENT_F32 ? 4 : type == ELEMENT_I8 ? 1 : 2;
    return (const char *)x + i * size;
}

static inline vf load_elements(const void *x, element_type type) {
    switch (type) {
    case ELEMENT_F16: return vf_load_f16(x);
    case ELEMENT_BF16: return vf_load_bf16(x);
    case ELEMENT_I8: return vf_load_i8(x);
    default: return vf_load(x);
    }
}

#ifdef QD_HALVES
static inline vh load_half(const void *x, element_type type) {
    switch (type) {
    case ELEMENT_F16: return vh_load_f16(x);
    case ELEMENT_BF16: return vh_load_bf16(x);
    case ELEMENT_I8: return vh_load_i8(x);
    default: return vh_load(x);
    }
}
#endif

/* n elements, at the ends of arrays and before a slow block. */
static inline void widen_elements(const void *x, size_t n, element_type type, float *out) {
    if (type == ELEMENT_F16) {
        qd_c_to_f32_f16(x, n, out);
    } else if (type == ELEMENT_BF16) {
        qd_c_to_f32_bf16(x, n, out);
    } else if (type == ELEMENT_I8) {
        const int8_t *codes = x;
        for (size_t i = 0; i < n; i++) out[i] = (float)codes[i];
    } else {
        memcpy(out, x, n * sizeof *out);
    }
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

typedef struct vector_range {
    vf min, max; /* of the numbers: v first, so that a NaN is passed over */
} vector_range;

static inline void add_range(vector_range *range, vf v) {
    range->min = vf_min(v, range->min);
    range->max = vf_max(v, range->max);
}

/* One step of power_sums. Where a vector is two registers, one goes after the other: side by side the sums, the range
 * and what is between would not fit sixteen registers. */
static inline QD_INLINE void power_step(four_sums *s, vector_range *range, const void *at, vf pivot,
                                        element_type type) {
#ifdef QD_HALVES
#define POWER_HALF(h, first)                                             \
    do {                                                                 \
        vh v = load_half(element_at(at, first, type), type);             \
        range->min.h = vh_min(v, range->min.h);                          \
        range->max.h = vh_max(v, range->max.h);                          \
        vh d = vh_sub(v, pivot.h), d2 = vh_mul(d, d);                    \
        s->s1.h = vh_add(s->s1.h, d);                                    \
        s->s2.h = vh_add(s->s2.h, d2);                                   \
        s->s3.h = vh_add(s->s3.h, vh_mul(d2, d));                        \
        s->s4.h = vh_add(s->s4.h, vh_mul(d2, d2));                       \
    } while (0)
    POWER_HALF(a, 0);
    POWER_HALF(b, QD_STEP / 2);
#undef POWER_HALF
#else
    vf v = load_elements(at, type);
    add_powers(s, vf_sub(v, pivot));
    add_range(range, v);
#endif
}


/* At most 128 elements; the last step is padded with the pivot, or for the range with NaN. */
static inline QD_INLINE void power_chunk(double sums[4][QD_QUAD], const void *x, size_t n, vf pivot,
                                         vector_range *range, element_type type) {
    vf zero = vf_set(0.0f);
    four_sums s = {zero, zero, zero, zero};
    size_t i = 0;
#pragma GCC unroll 1
    for (; i + QD_STEP <= n; i += QD_STEP) {
        const void *at = element_at(x, i, type);
        if (type == ELEMENT_F32 || i % (2 * QD_STEP) == 0) __builtin_prefetch((const char *)at + QD_AHEAD);
        power_step(&s, range, at, pivot, type);
    }
    if (i < n) {
        float last[QD_STEP];
        vf_store(last, pivot);
        widen_elements(element_at(x, i, type), n - i, type, last);
        add_powers(&s, vf_sub(vf_load(last), pivot));
        vf_store(last, vf_set(NAN));
        widen_elements(element_at(x, i, type), n - i, type, last);
        add_range(range, vf_load(last));
    }
    vf_flush_quad(sums[0], s.s1);
    vf_flush_quad(sums[1], s.s2);
    vf_flush_quad(sums[2], s.s3);
    vf_flush_quad(sums[3], s.s4);
}

/* At most QD_BLOCK elements in f32; false: that was not safe, and nothing is done. The largest |x - pivot| is that of
 * the least or the greatest x, as rounding is monotone; a NaN, which the range does not show, shows in the sums. */
static inline QD_INLINE bool power_block(qd_power_state *state, const void *x, size_t n, float pivot,
                                         element_type type) {
    double sums[4][QD_QUAD] = {{0}}, nan;
    vf p = vf_set(pivot);
    vector_range range = {vf_set(INFINITY), vf_set(-INFINITY)};
    size_t i = 0;
    for (; i + QD_FLUSH <= n; i += QD_FLUSH) power_chunk(sums, element_at(x, i, type), QD_FLUSH, p, &range, type);
    if (i < n) power_chunk(sums, element_at(x, i, type), n - i, p, &range, type);
    float min = vf_lowest(range.min), max = vf_highest(range.max), low = fabsf(min - pivot), high = fabsf(max - pivot);
    nan = qd_fold_quad(sums[0]);
    if (nan != nan || !qd_powers_fit(qd_float_bits(low > high ? low : high))) return false;
    qd_power_state_add(state, sums, min, max, n);
    return true;
}

static __attribute__((noinline)) void power_block_slow(qd_power_state *state, const void *x, size_t n, float pivot,
                                                       element_type type) {
    float block[QD_BLOCK];
    widen_elements(x, n, type, block);
    qd_power_block_slow(state, block, n, pivot);
}

static inline QD_INLINE void power_sums_of(const void *x, size_t n, float pivot, qd_power_sums *out,
                                           element_type type) {
    qd_power_state state;
    qd_power_state_init(&state);
    for (size_t i = 0; i < n; i += QD_BLOCK) {
        size_t m = n - i < QD_BLOCK ? n - i : QD_BLOCK;
        const void *at = element_at(x, i, type);
        if (!power_block(&state, at, m, pivot, type)) power_block_slow(&state, at, m, pivot, type);
    }
    qd_power_state_finish(&state, out);
}

#define POWER_SUMS_OF(name, kind, type)                                               \
    static void v_##name(const kind *x, size_t n, float pivot, qd_power_sums *out) {  \
        power_sums_of(x, n, pivot, out, type);                                        \
    }
POWER_SUMS_OF(power_sums, float, ELEMENT_F32)
POWER_SUMS_OF(power_sums_f16, uint16_t, ELEMENT_F16)
POWER_SUMS_OF(power_sums_bf16, uint16_t, ELEMENT_BF16)
POWER_SUMS_OF(power_sums_i8, int8_t, ELEMENT_I8)

/* ---- columns ---- */

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

static inline void tile_store(float *out, size_t m, vf v) {
    if (m == QD_STEP) {
        vf_store(out, v);
    } else {
        vf_store_part(out, m, v);
    }
}

static inline vf tile_elements(const void *x, size_t m, element_type type) {
    if (m == QD_STEP) return load_elements(x, type);
    float lanes[QD_STEP] = {0};
    widen_elements(x, m, type, lanes);
    return vf_load(lanes);
}

static __attribute__((noinline)) void tile_slow(const void *tile, size_t h, size_t m, size_t stride,
                                                const float *pivots, size_t pitch, size_t j,
                                                const qd_column_sums *into, element_type type) {
    float wide[QD_COLUMN_ROWS * QD_STEP];
    for (size_t r = 0; r < h; r++) widen_elements(element_at(tile, r * stride, type), m, type, wide + r * QD_STEP);
    qd_column_sums_slow(wide, h, m, QD_STEP, pivots, pitch, j, into);
}

/* One group of rows of one tile; always inlined so that m is a constant where it is 16. A tile of fewer is padded with
 * pivots and rows of 0. */
static inline QD_INLINE void tile_sums(const void *tile, size_t h, size_t m, size_t stride, const float *pivots,
                                       size_t pitch, size_t j, const qd_column_sums *into, element_type type) {
    vf zero = vf_set(0.0f), pivot = pivots ? tile_row(pivots, m) : zero;
    four_sums s = {zero, zero, zero, zero};
    vector_range range = {vf_set(INFINITY), vf_set(-INFINITY)};
    for (size_t r = 0; r < h; r++) {
        const void *at = element_at(tile, r * stride, type);
        __builtin_prefetch(element_at(tile, (r + QD_COLUMN_ROWS) * stride, type));
        if (m == QD_STEP) {
            power_step(&s, &range, at, pivot, type);
            continue;
        }
        vf x = tile_elements(at, m, type);
        add_powers(&s, vf_sub(x, pivot));
        add_range(&range, x);
    }
    vi bits = vi_max(vf_bits(vf_abs(vf_sub(range.min, pivot))), vf_bits(vf_abs(vf_sub(range.max, pivot))));
    /* qd_powers_fit, and no NaN */
    if (vi_outside(bits, 0x33800000, 0x4e800000) || vi_outside(vf_bits(vf_abs(s.s1)), 0, 0x7f800000)) {
        tile_slow(tile, h, m, stride, pivots, pitch, j, into, type);
        return;
    }
    double *sums = into->sums + j;
    tile_flush(sums, m, s.s1);
    tile_flush(sums + pitch, m, s.s2);
    tile_flush(sums + 2 * pitch, m, s.s3);
    tile_flush(sums + 3 * pitch, m, s.s4);
    tile_store(into->min + j, m, vf_min(range.min, tile_row(into->min + j, m)));
    tile_store(into->max + j, m, vf_max(range.max, tile_row(into->max + j, m)));
}

static inline QD_INLINE void column_sums_of(const void *w, size_t n_rows, size_t n_columns, size_t stride,
                                            const float *pivots, const qd_column_sums *into, element_type type) {
    for (size_t i = 0; i < n_rows; i += QD_COLUMN_ROWS) {
        size_t h = n_rows - i < QD_COLUMN_ROWS ? n_rows - i : QD_COLUMN_ROWS, j = 0;
        for (; j + QD_STEP <= n_columns; j += QD_STEP) {
            tile_sums(element_at(w, i * stride + j, type), h, QD_STEP, stride, pivots ? pivots + j : NULL, n_columns, j,
                      into, type);
        }
        if (j < n_columns) {
            tile_sums(element_at(w, i * stride + j, type), h, n_columns - j, stride, pivots ? pivots + j : NULL,
                      n_columns, j, into, type);
        }
    }
}

#define COLUMN_SUMS_OF(name, kind, type)                                                                          \
    static void v_##name(const kind *w, size_t n_rows, size_t n_columns, size_t stride, const float *pivots,      \
                         const qd_column_sums *into) {                                                            \
        column_sums_of(w, n_rows, n_columns, stride, pivots, into, type);                                         \
    }
COLUMN_SUMS_OF(column_sums, float, ELEMENT_F32)
COLUMN_SUMS_OF(column_sums_f16, uint16_t, ELEMENT_F16)
COLUMN_SUMS_OF(column_sums_bf16, uint16_t, ELEMENT_BF16)
COLUMN_SUMS_OF(column_sums_i8, int8_t, ELEMENT_I8)

static inline void tile_squares(const float *tile, size_t h, size_t m, size_t stride, double *squares) {
    vf s = vf_set(0.0f);
    vi bits = vf_bits(s);
    for (size_t r = 0; r < h; r++) {
        vf x = tile_row(tile + r * stride, m);
        s = vf_add(s, vf_mul(x, x));
        bits = vi_max(bits, vf_bits(vf_abs(x)));
    }
    if (vi_outside(bits, 0x26800000, 0x5d800000)) { /* qd_squares_fit */
        qd_column_squares_slow(tile, h, m, stride, squares);
    } else {
        tile_flush(squares, m, s);
    }
}

static void v_column_squares(const float *x, size_t n_rows, size_t n_columns, size_t stride, double *squares) {
    for (size_t i = 0; i < n_rows; i += QD_FLUSH_ROWS) {
        size_t h = n_rows - i < QD_FLUSH_ROWS ? n_rows - i : QD_FLUSH_ROWS, j = 0;
        const float *rows = x + i * stride;
        for (; j + QD_STEP <= n_columns; j += QD_STEP) {
            tile_squares(rows + j, h, QD_STEP, stride, squares + j);
        }
        if (j < n_columns) tile_squares(rows + j, h, n_columns - j, stride, squares + j);
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

static void v_range(const float *x, size_t n, float ends[2]) {
    vf low = vf_set(INFINITY), high = vf_set(-INFINITY);
    vi bits = vf_bits(vf_set(0.0f));
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) {
        vf v = vf_load(x + i);
        bits = vi_max(bits, vf_bits(vf_abs(v)));
        low = vf_min(v, low);
        high = vf_max(v, high);
    }
    float rest[2];
    qd_c_range(x + i, n - i, rest);
    ends[0] = qd_min(rest[0], vf_lowest(low)) + 0.0f;
    ends[1] = qd_max(rest[1], vf_highest(high)) + 0.0f;
    if (vi_fold_max(bits) > 0x7f800000u) ends[0] = -INFINITY, ends[1] = INFINITY;
}

static double v_abs_sum(const float *x, size_t n) {
    vd sum = vd_from(vf_set(0.0f));
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) sum = vd_add(sum, vd_from(vf_abs(vf_load(x + i))));
    if (i < n) sum = vd_add(sum, vd_from(vf_abs(vf_part(x + i, n - i, 0.0f))));
    return vd_fold(sum);
}

/* ---- counts: a load and an increment an element, for which vectors have nothing to offer ---- */

static uint32_t v_count_f32(const float *x, size_t n, uint32_t *counts) {
    return qd_c_count_f32(x, n, counts);
}

static void v_count_16(const uint16_t *x, size_t n, uint32_t *counts) {
    qd_c_count_16(x, n, counts);
}
