/* c_quantize.c - the specification of quantizing. Lanes, flush interval, the fold and
 * the constants are those of lanes.h. */
#include "lanes.h"

/* Clamped before it is rounded: the bounds are integers, so that is the same, and the trick of QD_ROUND needs it. */
static float quantize_one(float w, const qd_grid *grid) {
    float t = w * grid->inverse;
    t = t == t ? t : 0.0f;
    t = qd_min(qd_max(t, (float)grid->low), (float)grid->high);
    return (t + QD_ROUND) - QD_ROUND;
}

void qd_c_quantize(const float *w, size_t n, const qd_grid *grid, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = quantize_one(w[i], grid) * grid->scale;
}

void qd_c_quantize_codes(const float *w, size_t n, const qd_grid *grid, int8_t *codes) {
    for (size_t i = 0; i < n; i++) codes[i] = (int8_t)quantize_one(w[i], grid);
}

void qd_c_grid_errors(const float *w, const float *e, size_t n, const qd_grid *grids, size_t n_grids, double *errors) {
    for (size_t k = 0; k < n_grids; k++) {
        double lanes[QD_STEP] = {0};
        for (size_t first = 0; first < n; first += QD_FLUSH) {
            float sums[QD_STEP] = {0};
            for (size_t i = first; i < n && i < first + QD_FLUSH; i++) {
                float d = w[i] - quantize_one(w[i], &grids[k]) * grids[k].scale;
                sums[i % QD_STEP] += e ? d * d * e[i] : d * d;
            }
            for (size_t l = 0; l < QD_STEP; l++) lanes[l] += (double)sums[l];
        }
        errors[k] = qd_fold(lanes);
    }
}

void qd_c_column_errors(const float *w, const float *q, size_t n, double *errors) {
    for (size_t i = 0; i < n; i++) {
        double d = (double)(w[i] - q[i]);
        errors[i] += d * d;
    }
}
