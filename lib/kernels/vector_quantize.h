/* vector_quantize.h - c_quantize.c over vectors; a part of kernels_vector.h. */

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

static void v_round_f16(const float *x, size_t n, float *out) {
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) vf_store(out + i, vf_round_f16(vf_load(x + i)));
    if (i < n) vf_store_part(out + i, n - i, vf_round_f16(vf_part(x + i, n - i, 0.0f)));
}

/* ---- errors of many grids ---- */

/* A grid as the loops broadcast it. */
typedef struct flat_grid {
    float scale, inverse, low, high;
} flat_grid;

typedef float four_floats __attribute__((vector_size(16)));
typedef int32_t four_ints __attribute__((vector_size(16)));

/* Whether all the grids are odd functions that rise. Such a grid has the same errors at the magnitudes of the weights,
 * which need no lower bound. */
static inline bool flatten(const qd_grid *grids, size_t n, flat_grid *flat) {
    const four_ints bounds = {0, 0, -1, -1};
    int32_t not_odd = 0;
    for (size_t k = 0; k < n; k++) {
        four_ints grid;
        memcpy(&grid, &grids[k], sizeof grid);
        four_ints values = (grid & ~bounds) | ((four_ints)__builtin_convertvector(grid, four_floats) & bounds);
        memcpy(&flat[k], &values, sizeof values);
        not_odd |= (grids[k].low + grids[k].high) | (grids[k].inverse < 0);
    }
    return not_odd == 0;
}

/* At most 128 elements for many grids, copied if they are wanted as magnitudes or have to be padded with zeros, which
 * every grid hits exactly, to whole pairs of steps. */
static inline const float *pad_chunk(float *copy, const float *x, size_t n, bool magnitudes) {
    size_t i = 0;
    if (!magnitudes && n % (2 * QD_STEP) == 0) return x;
    for (; i + QD_STEP <= n; i += QD_STEP) {
        vf_store(copy + i, magnitudes ? vf_abs(vf_load(x + i)) : vf_load(x + i));
    }
    if (i < n) {
        vf part = vf_part(x + i, n - i, 0.0f);
        vf_store(copy + i, magnitudes ? vf_abs(part) : part);
        i += QD_STEP;
    }
    if (i % (2 * QD_STEP)) vf_store(copy + i, vf_set(0.0f));
    return copy;
}

/* Squared errors of two steps of elements, weighted, in w[0..31]. The two go side by side: a term is a chain of 25
 * cycles, and a processor's scheduler holds only a few. A NaN product needs no care: as scale and inverse are finite it
 * comes from a NaN or infinite weight, whose error is NaN or infinite with any code. Nor does a code of -0. */
static inline void pair_terms(const float *w, const float *e, const flat_grid *g, bool odd, vf *first, vf *second) {
    vf inverse = vf_set(g->inverse), low = vf_set(g->low), high = vf_set(g->high), scale = vf_set(g->scale);
    vf x = vf_mul(vf_load(w), inverse), y = vf_mul(vf_load(w + QD_STEP), inverse);
    if (!odd) x = vf_max(x, low), y = vf_max(y, low);
    x = vf_min(x, high), y = vf_min(y, high);
    x = vf_round(x), y = vf_round(y);
    x = vf_mul(x, scale), y = vf_mul(y, scale);
    x = vf_sub(x, vf_load(w)), y = vf_sub(y, vf_load(w + QD_STEP));
    x = vf_mul(x, x), y = vf_mul(y, y);
    *first = e ? vf_mul(x, vf_load(e)) : x;
    *second = e ? vf_mul(y, vf_load(e + QD_STEP)) : y;
}

static inline vf pair_sum(const float *w, const float *e, size_t i_pair, const flat_grid *g, bool odd) {
    vf a, b;
    pair_terms(w + i_pair * 2 * QD_STEP, e ? e + i_pair * 2 * QD_STEP : NULL, g, odd, &a, &b);
    return vf_add(a, b);
}

/* The lanes of tree_sum before they are folded. */
static inline vf chunk_lanes(const float *w, const float *e, size_t n_pairs, const flat_grid *g, bool odd) {
    vf a = pair_sum(w, e, 0, g, odd);
    if (n_pairs > 1) a = vf_add(a, pair_sum(w, e, 1, g, odd));
    if (n_pairs <= 2) return a;
    vf b = pair_sum(w, e, 2, g, odd);
    if (n_pairs > 3) b = vf_add(b, pair_sum(w, e, 3, g, odd));
    return vf_add(a, b);
}

/* errors += those of a chunk, four grids at a time, beyond n_grids too. Inlined with constants for n_pairs, odd and e =
 * NULL. */
static inline void chunk_errors(const float *w, const float *e, size_t n_pairs, const flat_grid *grids, size_t n_grids,
                                bool odd, double *errors) {
    for (const flat_grid *g = grids; g < grids + n_grids; g += 4, errors += 4) {
        vf a = chunk_lanes(w, e, n_pairs, g, odd), b = chunk_lanes(w, e, n_pairs, g + 1, odd);
        vf c = chunk_lanes(w, e, n_pairs, g + 2, odd), d = chunk_lanes(w, e, n_pairs, g + 3, odd);
        vf_fold4(errors, a, b, c, d);
    }
}

static inline void chunk_errors_any(const float *w, const float *e, size_t n_pairs, const flat_grid *grids,
                                    size_t n_grids, bool odd, double *errors) {
    if (n_pairs == 4 && odd) chunk_errors(w, e, 4, grids, n_grids, true, errors);
    else if (n_pairs == 4) chunk_errors(w, e, 4, grids, n_grids, false, errors);
    else if (n_pairs == 2 && odd) chunk_errors(w, e, 2, grids, n_grids, true, errors);
    else if (n_pairs == 2) chunk_errors(w, e, 2, grids, n_grids, false, errors);
    else chunk_errors(w, e, n_pairs, grids, n_grids, false, errors); /* the lower bound does no harm to magnitudes */
}

/* A chunk of 128 stays in L1 while all grids pass over it. */
static void v_grid_errors(const float *w, const float *e, size_t n, const qd_grid *grids, size_t n_grids,
                          double *errors) {
    flat_grid flat[QD_GRIDS];
    double sums[QD_GRIDS];
    for (; n_grids > QD_GRIDS; n_grids -= QD_GRIDS, grids += QD_GRIDS, errors += QD_GRIDS) {
        v_grid_errors(w, e, n, grids, QD_GRIDS, errors);
    }
    bool odd = flatten(grids, n_grids, flat);
    for (size_t k = n_grids; k % 4; k++) flat[k] = flat[0];
    for (size_t k = 0; k < n_grids; k += 4) memset(sums + k, 0, 4 * sizeof *sums);
    for (size_t first = 0; first < n; first += QD_FLUSH) {
        size_t m = n - first < QD_FLUSH ? n - first : QD_FLUSH, n_pairs = (m + 2 * QD_STEP - 1) / (2 * QD_STEP);
        float w_copy[QD_FLUSH], e_copy[QD_FLUSH];
        const float *wc = pad_chunk(w_copy, w + first, m, odd), *ec = e ? pad_chunk(e_copy, e + first, m, false) : NULL;
        if (e) chunk_errors_any(wc, ec, n_pairs, flat, n_grids, odd, sums);
        else chunk_errors_any(wc, NULL, n_pairs, flat, n_grids, odd, sums);
    }
    memcpy(errors, sums, n_grids * sizeof *errors);
}

/* Two steps, of which the first m <= 32 elements count. */
static inline void pair_add_errors(const float *w, const flat_grid *g, bool odd, size_t m, float *errors) {
    vf a, b;
    pair_terms(w, NULL, g, odd, &a, &b);
    if (m == 2 * QD_STEP) {
        vf_store(errors, vf_add(vf_load(errors), a));
        vf_store(errors + QD_STEP, vf_add(vf_load(errors + QD_STEP), b));
        return;
    }
    float terms[2 * QD_STEP];
    vf_store(terms, a);
    vf_store(terms + QD_STEP, b);
    for (size_t j = 0; j < m; j++) errors[j] += terms[j];
}

static inline void chunk_column_errors(const float *w, size_t m, size_t n, const flat_grid *grids, size_t n_grids,
                                       bool odd, float *errors) {
    enum { PAIR = 2 * QD_STEP };
    for (size_t k = 0; k < n_grids; k++, errors += n) {
        size_t j = 0;
        for (; j + PAIR <= m; j += PAIR) pair_add_errors(w + j, &grids[k], odd, PAIR, errors + j);
        if (j < m) pair_add_errors(w + j, &grids[k], odd, m - j, errors + j);
    }
}

static void v_column_grid_errors(const float *w, size_t n, const qd_grid *grids, size_t n_grids, float *errors) {
    flat_grid flat[QD_GRIDS];
    for (; n_grids > QD_GRIDS; n_grids -= QD_GRIDS, grids += QD_GRIDS, errors += QD_GRIDS * n) {
        v_column_grid_errors(w, n, grids, QD_GRIDS, errors);
    }
    bool odd = flatten(grids, n_grids, flat);
    for (size_t first = 0; first < n; first += QD_FLUSH) {
        size_t m = n - first < QD_FLUSH ? n - first : QD_FLUSH;
        float copy[QD_FLUSH];
        const float *chunk = pad_chunk(copy, w + first, m, odd);
        if (odd) chunk_column_errors(chunk, m, n, flat, n_grids, true, errors + first);
        else chunk_column_errors(chunk, m, n, flat, n_grids, false, errors + first);
    }
}

/* ---- errors by column ---- */

/* One group of rows of one tile; inlined so that m is a constant where it is 16. */
static inline void tile_measure(const float *w, const float *q, size_t h, size_t m, size_t stride_w, size_t stride_q,
                                double *errors, double *squares) {
    vf e = vf_set(0.0f), s = e;
    vi e_bits = vf_bits(e), s_bits = e_bits;
    for (size_t r = 0; r < h; r++) {
        vf v = tile_row(q + r * stride_q, m), d = vf_sub(tile_row(w + r * stride_w, m), v);
        e = vf_add(e, vf_mul(d, d));
        s = vf_add(s, vf_mul(v, v));
        e_bits = vi_max(e_bits, vf_bits(vf_abs(d)));
        s_bits = vi_max(s_bits, vf_bits(vf_abs(v)));
    }
    /* qd_squares_fit */
    if (vi_outside(e_bits, 0x26800000, 0x5d800000)) qd_measure_slow(w, q, h, m, stride_w, stride_q, errors);
    else tile_flush(errors, m, e);
    if (vi_outside(s_bits, 0x26800000, 0x5d800000)) qd_column_squares_slow(q, h, m, stride_q, squares);
    else tile_flush(squares, m, s);
}

static void v_column_measure(const float *w, const float *q, size_t n_rows, size_t n, size_t stride_w, size_t stride_q,
                             double *errors, double *squares) {
    for (size_t i = 0; i < n_rows; i += QD_FLUSH_ROWS, w += QD_FLUSH_ROWS * stride_w, q += QD_FLUSH_ROWS * stride_q) {
        size_t h = n_rows - i < QD_FLUSH_ROWS ? n_rows - i : QD_FLUSH_ROWS, j = 0;
        for (; j + QD_STEP <= n; j += QD_STEP) {
            tile_measure(w + j, q + j, h, QD_STEP, stride_w, stride_q, errors + j, squares + j);
        }
        if (j < n) tile_measure(w + j, q + j, h, n - j, stride_w, stride_q, errors + j, squares + j);
    }
}

static void v_weighted_products(const float *w, const float *q, const float *e, size_t n, double sums[2]) {
    vd squares = vd_from(vf_set(0.0f)), products = squares;
    for (size_t first = 0; first < n; first += QD_FLUSH) {
        size_t end = n - first < QD_FLUSH ? n : first + QD_FLUSH, i = first;
        vf s = vf_set(0.0f), p = s;
        for (; i + QD_STEP <= end; i += QD_STEP) {
            vf x = vf_load(w + i), ex = vf_mul(vf_load(e + i), x);
            s = vf_add(s, vf_mul(ex, x));
            p = vf_add(p, vf_mul(ex, vf_load(q + i)));
        }
        if (i < end) {
            vf x = vf_part(w + i, end - i, 0.0f), ex = vf_mul(vf_part(e + i, end - i, 0.0f), x);
            s = vf_add(s, vf_mul(ex, x));
            p = vf_add(p, vf_mul(ex, vf_part(q + i, end - i, 0.0f)));
        }
        squares = vd_add(squares, vd_from(s));
        products = vd_add(products, vd_from(p));
    }
    sums[0] = vd_fold(squares);
    sums[1] = vd_fold(products);
}

/* ---- analytical clipping ---- */

typedef struct excess {
    vd moment, weight;
} excess;

static inline void add_excess(excess *sums, vf x, vf e, vf threshold) {
    vf magnitude = vf_abs(x), zero = vf_set(0.0f);
    vd w = vd_from(vf_if_less(threshold, magnitude, e, zero));
    sums->weight = vd_add(sums->weight, w);
    sums->moment = vd_add(sums->moment, vd_mul(w, vd_from(vf_if_less(threshold, magnitude, magnitude, zero))));
}

/* Without weights the count of a step fits f32: it is widened once a chunk. */
static inline void add_excess_chunk(excess *sums, const float *x, size_t n_steps, vf threshold) {
    vf zero = vf_set(0.0f), one = vf_set(1.0f), count = zero;
    for (size_t s = 0; s < n_steps; s++) {
        vf magnitude = vf_abs(vf_load(x + s * QD_STEP));
        count = vf_add(count, vf_if_less(threshold, magnitude, one, zero));
        sums->moment = vd_add(sums->moment, vd_from(vf_if_less(threshold, magnitude, magnitude, zero)));
    }
    sums->weight = vd_add(sums->weight, vd_from(count));
}

/* Missing lanes are NaN, which are above no threshold. */
static void v_excess_sums(const float *x, const float *e, size_t n, float threshold, double sums[2]) {
    vf t = vf_set(threshold), zero = vf_set(0.0f);
    excess total = {vd_from(zero), vd_from(zero)};
    size_t i = 0;
    if (e) {
        for (; i + QD_STEP <= n; i += QD_STEP) add_excess(&total, vf_load(x + i), vf_load(e + i), t);
        if (i < n) add_excess(&total, vf_part(x + i, n - i, NAN), vf_part(e + i, n - i, 0.0f), t);
    } else {
        for (; i + QD_FLUSH <= n; i += QD_FLUSH) add_excess_chunk(&total, x + i, QD_FLUSH / QD_STEP, t);
        size_t n_steps = (n - i) / QD_STEP;
        add_excess_chunk(&total, x + i, n_steps, t);
        i += n_steps * QD_STEP;
        if (i < n) add_excess(&total, vf_part(x + i, n - i, NAN), vf_set(1.0f), t);
    }
    sums[0] = vd_fold(total.moment);
    sums[1] = vd_fold(total.weight);
}

static inline vd add_excess_square(vd sum, vf x, vf threshold) {
    vd d = vd_from(vf_max(vf_sub(vf_abs(x), threshold), vf_set(0.0f)));
    return vd_add(sum, vd_mul(d, d));
}

static double v_excess_squares(const float *x, size_t n, float threshold) {
    vf t = vf_set(threshold);
    vd sum = vd_from(vf_set(0.0f));
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) sum = add_excess_square(sum, vf_load(x + i), t);
    if (i < n) sum = add_excess_square(sum, vf_part(x + i, n - i, NAN), t);
    return vd_fold(sum);
}
