/* quant.h - quantizers inside: what a method chooses, and the grid that a threshold means. */
#ifndef QD_QUANT_H
#define QD_QUANT_H

#include "calib/calib.h"
#include "kernels/kernels.h"
#include "model/model.h"

#include <qdisp/quant.h>

#define QD_N_CLIPS 64

struct qd_method;

struct qdisp_quantizer {
    qdisp_ctx *ctx;
    const struct qd_method *method;
    qdisp_quantizer_options opt; /* defaults filled in; strings owned */
    char *roles, *objective;
};

/* What is chosen for one tensor. Units are its groups, channels or the tensor itself, in memory order. */
typedef struct qd_choice {
    size_t i_tensor, i_linear;
    size_t n_out, n_in, n_units, units_per_row; /* tensor: 1 unit, units_per_row 0 */
    int bits;
    bool full_range;
    int64_t group_size;
    uint8_t *clips; /* [n_units] k of alpha = absmax * 2^(-k/12); unused for a tensor */
    uint8_t *gains; /* [n_units] k of gain = 2^(k/64): values are codes times step times gain */
    float alpha;    /* of a tensor */
    double error_rel, error_rel_model;
    char note[96];
} qd_choice;

/* A method: one file and one row in the list of methods (lib/meson.build). choose fills clips or alpha, error_rel_model
 * (or NaN) and note. */
typedef struct qd_method {
    const char *name, *needs, *paper;
    bool needs_calib;
    qdisp_status (*choose)(const qdisp_quantizer *q, const qdisp_model *model, const qdisp_calib *calib,
                           qd_choice *choices, size_t n);
} qd_method;

/* 2^(-k/12) as an f32, from a table: the same bits everywhere. */
float qd_clip_ratio(unsigned k);
/* 2^(k/64), likewise; and the k of the gain nearest to a ratio, 0 for ratios up to 1 and for no number. */
float qd_gain_ratio(unsigned k);
uint8_t qd_gain_code(double ratio);
/* The grid of a threshold; false if the 16-bit scale overflows. alpha = 0 gives an all-zero grid. */
bool qd_grid_make(float alpha, float gain, int bits, bool full_range, qd_grid *grid);
/* E[noise] / alpha^2 of uniform rounding on that grid: the c of E[(|X| - a)+] = c a; 1 / (3 4^b) for 2^b levels. */
double qd_grid_noise(int bits, bool full_range);
/* Start column and length of a unit within its row. */
void qd_unit_span(const qd_choice *c, size_t i_unit, size_t *i_row, size_t *first, size_t *n);
/* Number of units of a shape. */
size_t qd_unit_count(size_t n_out, size_t n_in, int64_t group_size, size_t *units_per_row);

/* The f32 weights of a choice's tensor, widened into buffer[n_out * n_in] unless they can be used in place. */
const float *qd_choice_weights(const qdisp_model *model, const qd_choice *c, float *buffer);
/* Quantizes one row: out[n_in]. Absolute maxima are taken from w. ENUMERIC names the tensor. */
qdisp_status qd_quantize_row(const qdisp_model *model, const qd_choice *c, size_t i_row, const float *w, float *out);
/* The threshold of a unit under code k; ENUMERIC if a weight is not finite. */
qdisp_status qd_unit_absmax(const qdisp_model *model, const qd_choice *c, const float *w, size_t n, float *absmax);
/* Choices that need one tensor at a time: round to nearest and ACIQ (la-aciq's guard compares with them). */
typedef qdisp_status (*qd_choose_one)(const qdisp_model *model, qd_choice *c);
qdisp_status qd_rtn_choose(const qdisp_model *model, qd_choice *c);
qdisp_status qd_aciq_choose(const qdisp_model *model, qd_choice *c);
/* Runs one over all choices, tensors in parallel. */
qdisp_status qd_choose_each(qdisp_ctx *ctx, const qdisp_model *model, qd_choice *choices, size_t n, qd_choose_one one);
/* Scratch of a task over one tensor: its weights as f32 (NULL if they are in place) and a quantized row. */
typedef struct qd_tensor_work {
    qdisp_ctx *ctx;
    float *buffer, *row;
    const float *w;
} qd_tensor_work;
qdisp_status qd_tensor_work_open(const qdisp_model *model, const qd_choice *c, qd_tensor_work *out);
void qd_tensor_work_close(qd_tensor_work *work);

/* Choices for the tensors that roles name, units counted and clips allocated; free with qd_choices_free. */
qdisp_status qd_choices_make(const qdisp_quantizer *q, const qdisp_model *model, qd_choice **choices, size_t *n);
void qd_choices_free(qdisp_ctx *ctx, qd_choice *choices, size_t n);
/* A choice as a row of a plan, and the clip characters. */
qdisp_status qd_plan_make(const qdisp_quantizer *q, const qdisp_model *model, const qd_choice *choices, size_t n,
                          qdisp_table **out);
#define QD_CLIP_CODES "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

#endif
