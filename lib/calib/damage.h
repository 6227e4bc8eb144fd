/* damage.h - what a quantization does to a language, foretold from weights and energies. */
#ifndef QD_DAMAGE_H
#define QD_DAMAGE_H

#include "calib/calib.h"

#define QD_LN2 0.69314718055994530942

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


/* What languages send into a map and want of it, for qd_error_sums: one block to be freed, NULL without memory.
 * energies [n_in][n_languages] E[x_j^2]; gradients [n_languages][n_out] energies of the loss's gradients, NULL unless
 * asked for; work [n_languages]. */
typedef struct qd_map_inputs {
    size_t n_languages, n_in, n_out;
    double *energies, *gradients, *work;
} qd_map_inputs;
qdisp_status qd_map_inputs_make(const qdisp_calib *calib, size_t i_linear, size_t n_out, bool gradients,
                                qd_map_inputs *out);
void qd_map_inputs_clear(qdisp_ctx *ctx, qd_map_inputs *inputs);
/* sums[l] += sum over rows first .. first + h - 1 of g_l[i] sum_j e_l[j] (w - q)^2, g = 1 without gradients; rows w and
 * q [h, n_in], q NULL: 0. work [n_languages] is the caller's, zeroed here. */
void qd_error_sums(const qd_map_inputs *inputs, size_t first, size_t h, const float *w, const float *q, double *work,
                   double *sums);

#endif
