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
