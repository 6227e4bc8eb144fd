/* panels.h - matrices as the kernel panel_product reads them. */
#ifndef QD_PANELS_H
#define QD_PANELS_H

#include "tensor/tensor.h"

/* Floats of a matrix [n_out, n_in] in panels: its last panel is filled up. */
static inline size_t qd_panel_floats(size_t n_out, size_t n_in) {
    return (n_out + QD_PANEL - 1) / QD_PANEL * QD_PANEL * n_in;
}
/* Rows first .. first + n - 1 of a matrix, as panels; first is a multiple of QD_PANEL. Any thread. */
void qd_panels_load(const qd_kernels *kernels, const qdisp_tensor *t, size_t first, size_t n, float *panels);

#endif
