/* vector_product.h - c_product.c with tiles of results in registers: QD_TILE_ROWS rows (a multiple of 3) by
 * QD_TILE_VECTORS vectors, as a file kernels_NAME.c says by its number of registers. Part of kernels_vector.h. */

/* Panels that all rows pass by before the next: QD_PANEL_DEPTH deep they stay in the second cache. And how many inputs
 * ahead a panel is fetched into the first. */
enum { QD_PANEL_GROUP = 2, QD_PANEL_AHEAD = 16 };

static inline QD_INLINE void product_store(float *out, size_t width, bool add, vf sum) {
    if (width >= QD_STEP) vf_store(out, add ? vf_add(vf_load(out), sum) : sum);
    else vf_store_part(out, width, add ? vf_add(vf_part(out, width, 0.0f), sum) : sum);
}

/* The first `width` columns of n_rows <= QD_TILE_ROWS rows; n_rows is a constant. */
static inline QD_INLINE void product_tile(size_t n_rows, const float *x, size_t ld_x, size_t n, const float *panel,
                                          size_t width, bool add, float *out, size_t ld_out) {
    vf sums[QD_TILE_ROWS][QD_TILE_VECTORS];
    for (size_t r = 0; r < n_rows; r++)
        for (size_t v = 0; v < QD_TILE_VECTORS; v++) {
            sums[r][v] = vf_set(0.0f);
            __builtin_prefetch(out + r * ld_out + v * QD_STEP, 1);
        }
    for (size_t k = 0; k < n; k++) {
        vf w[QD_TILE_VECTORS];
        for (size_t v = 0; v < QD_TILE_VECTORS; v++) {
            w[v] = vf_load(panel + k * QD_PANEL + v * QD_STEP);
            __builtin_prefetch(panel + (k + QD_PANEL_AHEAD) * QD_PANEL + v * QD_STEP);
        }
#pragma GCC unroll 16
        for (size_t r = 0; r < n_rows; r++) {
            vf a = vf_set(x[r * ld_x + k]);
            for (size_t v = 0; v < QD_TILE_VECTORS; v++) sums[r][v] = vf_fma(a, w[v], sums[r][v]);
        }
    }
    for (size_t r = 0; r < n_rows; r++)
        for (size_t v = 0; v < QD_TILE_VECTORS && v * QD_STEP < width; v++)
            product_store(out + r * ld_out + v * QD_STEP, width - v * QD_STEP, add, sums[r][v]);
}

/* Rows by panels that lie `stride` floats apart. */
static inline QD_INLINE void product_rows(size_t n_rows, const float *x, size_t ld_x, size_t n, const float *panels,
                                          size_t stride, size_t n_out, bool add, float *out, size_t ld_out) {
    for (size_t j = 0; j < n_out; j += QD_TILE_VECTORS * QD_STEP) {
        const float *panel = panels + j / QD_PANEL * stride + j % QD_PANEL;
        product_tile(n_rows, x, ld_x, n, panel, n_out - j, add, out + j, ld_out);
    }
}

static void v_panel_product(const float *x, size_t ld_x, size_t n_rows, size_t n_in, const float *panels, size_t depth,
                            size_t n_out, bool add, float *out, size_t ld_out) {
    size_t stride = depth * QD_PANEL, group = QD_PANEL_GROUP * QD_PANEL;
    for (size_t k = 0; k < n_in; k += QD_PANEL_DEPTH, add = true) {
        size_t n = n_in - k < QD_PANEL_DEPTH ? n_in - k : QD_PANEL_DEPTH;
        for (size_t j = 0; j < n_out; j += group) {
            const float *p = panels + j * depth + k * QD_PANEL, *a = x + k;
            size_t width = n_out - j < group ? n_out - j : group, left = n_rows, step;
            float *to = out + j;
            for (; left > 0; left -= step, a += step * ld_x, to += step * ld_out) {
                step = left >= QD_TILE_ROWS ? QD_TILE_ROWS : left >= QD_TILE_ROWS / 3 ? QD_TILE_ROWS / 3 : 1;
                if (step == QD_TILE_ROWS) product_rows(QD_TILE_ROWS, a, ld_x, n, p, stride, width, add, to, ld_out);
                else if (step == 1) product_rows(1, a, ld_x, n, p, stride, width, add, to, ld_out);
                else product_rows(QD_TILE_ROWS / 3, a, ld_x, n, p, stride, width, add, to, ld_out);
            }
        }
    }
}
