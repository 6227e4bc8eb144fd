/* panels.c - matrices turned into panels: a product with many rows then reads its weights in one stream, and no copy is
 * made for every chunk as inside a BLAS. */
#include "model/panels.h"

#include <string.h>

/* Columns at a time. What lies between two rows keeps the rows from meeting in a set of the first cache. */
enum { COLUMNS = 256, STRIDE = COLUMNS + 16 };

void qd_panels_load(const qd_kernels *kernels, const qdisp_tensor *t, size_t first, size_t n, float *panels) {
    size_t n_in = (size_t)t->shape[1];
    float rows[QD_PANEL * STRIDE];
    for (size_t r = 0; r < n; r += QD_PANEL, panels += QD_PANEL * n_in) {
        size_t n_rows = n - r < QD_PANEL ? n - r : QD_PANEL;
        if (n_rows < QD_PANEL) memset(rows, 0, sizeof rows);
        for (size_t k = 0; k < n_in; k += COLUMNS) {
            size_t m = n_in - k < COLUMNS ? n_in - k : COLUMNS;
            for (size_t j = 0; j < n_rows; j++) {
                float *to = rows + j * STRIDE;
                size_t at = (first + r + j) * n_in + k;
                const float *x = qd_load_f32(kernels, t->data, (qdisp_dtype)t->dtype, at, m, to);
                if (x != to) memcpy(to, x, m * sizeof *to);
            }
            float *panel = panels + k * QD_PANEL;
            for (size_t i = 0; i < m; i++)
                for (size_t j = 0; j < QD_PANEL; j++) panel[i * QD_PANEL + j] = rows[j * STRIDE + i];
        }
    }
}
