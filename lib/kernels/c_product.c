/* c_product.c - the specification of products with a matrix in panels. A result is summed over blocks of QD_PANEL_DEPTH
 * inputs: in a block one fused multiply-add after the other from zero, then the blocks in their order. Fused, as all
 * processors with vectors of 256 bits do that in one instruction: unfused it would take twice as long. */
#include "lanes.h"

static void product_part(const float *x, size_t n, const float *panel, float sums[QD_PANEL]) {
    for (size_t j = 0; j < QD_PANEL; j++) sums[j] = 0.0f;
    for (size_t k = 0; k < n; k++)
        for (size_t j = 0; j < QD_PANEL; j++) sums[j] = fmaf(x[k], panel[k * QD_PANEL + j], sums[j]);
}

void qd_c_panel_product(const float *x, size_t ld_x, size_t n_rows, size_t n_in, const float *panels, size_t depth,
                        size_t n_out, bool add, float *out, size_t ld_out) {
    float sums[QD_PANEL];
    for (size_t k = 0; k < n_in; k += QD_PANEL_DEPTH) {
        size_t n = n_in - k < QD_PANEL_DEPTH ? n_in - k : QD_PANEL_DEPTH;
        for (size_t j = 0; j < n_out; j += QD_PANEL) {
            size_t width = n_out - j < QD_PANEL ? n_out - j : QD_PANEL;
            for (size_t r = 0; r < n_rows; r++) {
                float *row = out + r * ld_out + j;
                product_part(x + r * ld_x + k, n, panels + j * depth + k * QD_PANEL, sums);
                for (size_t i = 0; i < width; i++) row[i] = add || k > 0 ? row[i] + sums[i] : sums[i];
            }
        }
    }
}
