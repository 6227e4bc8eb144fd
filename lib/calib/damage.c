/* damage.c - predicted damage of a language, in arbitrary units per byte. With D = sum_ij e[j] (w - q)^2, P = sum_ij
 * e[j] w^2 and b = sum_ij e[j] w (w - q) / P, the output error of a map is D/P relative to its output, of which b^2
 * lies in the direction of the output itself: the map gives (1 - b) of what it should. Errors unlike the output are
 * independent from map to map, so their energies add: sum (D/P - b^2). Clipping shrinks every map the same way, and
 * amplitudes of one sign add: (sum b)^2, which for two dozen maps outweighs the rest though each b^2 is small. Without
 * this term clipping looks better than it is (llm-compressor's issues 2094 and 2456 report the symptom: clipping by
 * weight error alone loses to min-max). */
#include "calib/damage.h"

#include <math.h>
#include <string.h>

qd_damage qd_damage_of(const double *energy, const double *errors, const double *squares, const double *quantized,
                       size_t n_in) {
    double d = 0, p = 0, cross = 0;
    for (size_t j = 0; j < n_in; j++) {
        d += energy[j] * errors[j];
        p += energy[j] * squares[j];
        cross += energy[j] * 0.5 * (errors[j] + squares[j] - quantized[j]); /* w (w - q) */
    }
    if (!(p > 0)) return (qd_damage){0, 0};
    double shrink = cross / p;
    return (qd_damage){fmax(d / p - shrink * shrink, 0), shrink};
}

double qd_damage_sum(const qd_damage *damage, size_t n, size_t stride, double tokens_per_byte) {
    double noise = 0, shrink = 0;
    for (size_t i = 0; i < n; i++) {
        noise += damage[i * stride].noise;
        shrink += damage[i * stride].shrink;
    }
    return tokens_per_byte * (noise + shrink * shrink);
}

qdisp_status qd_map_inputs_make(const qdisp_calib *calib, size_t i_linear, size_t n_out, bool gradients,
                                qd_map_inputs *out) {
    size_t n = calib->n_languages, n_in = calib->n_in[i_linear];
    qd_map_inputs m = {.n_languages = n, .n_in = n_in, .n_out = n_out};
    double *energy = qd_alloc(calib->ctx, n_in, sizeof *energy);
    m.energies = qd_alloc(calib->ctx, n * n_in + 1, sizeof *m.energies);
    if (gradients) m.gradients = qd_alloc(calib->ctx, n * n_out + 1, sizeof *m.gradients);
    m.work = qd_alloc(calib->ctx, n + 1, sizeof *m.work);
    bool good = energy && m.energies && m.work && (m.gradients || !gradients);
    for (size_t l = 0; l < n && good; l++) {
        qd_calib_energy(calib, l, QD_N_FOLDS, i_linear, energy);
        for (size_t j = 0; j < n_in; j++) m.energies[j * n + l] = energy[j];
        if (gradients) qd_calib_gradient(calib, l, i_linear, m.gradients + l * n_out);
    }
    qd_free(calib->ctx, energy);
    if (good) *out = m;
    else qd_map_inputs_clear(calib->ctx, &m);
    return good ? QDISP_OK : QDISP_ENOMEM;
}

void qd_map_inputs_clear(qdisp_ctx *ctx, qd_map_inputs *m) {
    qd_free(ctx, m->energies);
    qd_free(ctx, m->gradients);
    qd_free(ctx, m->work);
    memset(m, 0, sizeof *m);
}

void qd_error_sums(const qd_map_inputs *m, size_t first, size_t h, const float *w, const float *q, double *work,
                   double *sums) {
    size_t n = m->n_languages;
    for (size_t r = 0; r < h; r++) {
        memset(work, 0, n * sizeof *work);
        for (size_t j = 0; j < m->n_in; j++) {
            double d = (double)w[r * m->n_in + j] - (q ? (double)q[r * m->n_in + j] : 0), d2 = d * d;
            for (size_t l = 0; l < n; l++) work[l] += m->energies[j * n + l] * d2;
        }
        for (size_t l = 0; l < n; l++) sums[l] += (m->gradients ? m->gradients[l * m->n_out + first + r] : 1) * work[l];
    }
}
