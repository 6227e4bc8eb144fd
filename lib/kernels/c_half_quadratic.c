/* c_half_quadratic.c - the specification of half-quadratic quantization's inner loop (Badri, Shaji 2023). */
#include "lanes.h"

float qd_c_half_quadratic(const float *w, size_t n, float zero, const qd_half_quadratic *how) {
    float weight = how->weight;
    for (unsigned k = 0; k < how->n_iterations; k++) {
        double lanes[QD_STEP] = {0};
        bool inside = true;
        for (size_t first = 0; first < n; first += QD_FLUSH) {
            float sums[QD_STEP] = {0};
            for (size_t i = first; i < n && i < first + QD_FLUSH; i++) {
                float r = qd_half_quadratic_residual(w[i], zero, how);
                inside = inside && !(fabsf(r) > how->limit);
                sums[i % QD_STEP] += qd_half_quadratic_term(r, weight, how);
            }
            for (size_t l = 0; l < QD_STEP; l++) lanes[l] += (double)sums[l];
        }
        float next = (float)((double)zero - qd_fold(lanes) / (double)n);
        if (next == zero && inside) break;
        zero = next;
        weight *= how->decay;
    }
    return zero;
}
