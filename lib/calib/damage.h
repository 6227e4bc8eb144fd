/* damage.h - what a quantization does to a language, foretold from weights and energies. */
#ifndef QD_DAMAGE_H
#define QD_DAMAGE_H

#include <stddef.h>

/* Of one linear map and language, relative to the map's output energy: the part of the output error that is unlike the
 * output (noise), and the part by which the output shrinks (shrink > 0) or grows. */
typedef struct qd_damage {
    double noise, shrink;
} qd_damage;

/* From column sums over the rows i of a map: errors[j] = sum (w - q)^2, squares[j] = sum w^2, quantized[j] = sum q^2,
 * and the language's energy[j] = E[x_j^2]; all [n_in]. */
qd_damage qd_damage_of(const double *energy, const double *errors, const double *squares, const double *quantized,
                       size_t n_in);
/* Over n maps, stride apart: noise adds up in energy, a shrinking of every map in amplitude; per byte. */
double qd_damage_sum(const qd_damage *damage, size_t n, size_t stride, double tokens_per_byte);

#endif
