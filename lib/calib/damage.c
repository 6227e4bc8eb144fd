/* damage.c - predicted damage of a language, in arbitrary units per byte. With D = sum_ij e[j] (w - q)^2, P = sum_ij
 * e[j] w^2 and b = sum_ij e[j] w (w - q) / P, the output error of a map is D/P relative to its output, of which b^2
 * lies in the direction of the output itself: the map gives (1 - b) of what it should. Errors unlike the output are
 * independent from map to map, so their energies add: sum (D/P - b^2). Clipping shrinks every map the same way, and
 * amplitudes of one sign add: (sum b)^2, which for two dozen maps outweighs the rest though each b^2 is small. Without
 * this term clipping looks better than it is (llm-compressor's issues 2094 and 2456 report the symptom: clipping by
 * weight error alone loses to min-max). */
#include "calib/damage.h"

#include <math.h>

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
