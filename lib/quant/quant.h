/* quant.h - quantizers inside: what a method chooses, and the grid that a threshold means. */
#ifndef QD_QUANT_H
#define QD_QUANT_H

#include "calib/calib.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "quant/codes.h"
#include "quant/inputs.h"

#include <qdisp/quant.h>

#define QD_N_CLIPS 64

struct qd_method;

/* Levels of integer codes of b bits: 2^b - 1 and 2^b symmetric ones, or 2^b over the range of the weights and 0, with
 * an integer zero point. */
typedef enum qd_levels { QD_NARROW, QD_FULL, QD_ASYM } qd_levels;
const char *qd_levels_name(qd_levels levels);
bool qd_levels_find(const char *name, qd_levels *levels);

/* A weight to be kept in 16 bits, by name: see keep.c. */
typedef struct qd_keep {
    char *tensor;
    uint64_t row, column;
} qd_keep;

struct qdisp_quantizer {
    qdisp_ctx *ctx;
    const struct qd_method *method;
    qdisp_quantizer_options opt; /* defaults filled in; strings owned */
    char *roles, *objective, *weights, *options;
    qd_levels levels;
    const char *type; /* static: of blocks; NULL: integers */
    qd_keep *keeps; /* [n_keeps] in the order of their table */
    size_t n_keeps;
};

/* Ends of weights or of a grid: low <= 0 <= high; symmetric levels have -|w| and |w|. */
typedef struct qd_range {
    float low, high;
} qd_range;

/* One matrix, [n_out, n_in] of f32, f16 or bf16, and what is chosen for it: a row of a plan. Units are its groups,
 * channels or the matrix itself, in memory order. Quantizers see its weights with the columns times the factors of
 * inputs, and 0 where weights are kept (qd_choice_prepare). */
typedef struct qd_choice {
    const char *name; /* for messages */
    const struct qd_method *method;
    const char *type; /* static: "int", or what fixes bits and blocks */
    const void *data;
    qdisp_dtype dtype;
    size_t i_tensor, i_linear; /* of the model, if it is one of a model's */
    qd_slot slot;
    qd_input input;
    size_t n_out, n_in, n_units, units_per_row; /* tensor: 1 unit, units_per_row 0 */
    int bits;
    qd_levels levels;
    int64_t group_size;
    uint8_t *clips; /* [n_units] k of the threshold, absmax (QD_ASYM: both ends) * 2^(-k/12); unused for a tensor */
    uint8_t *gains; /* [n_units] k of gain = 2^(k/64): values are codes times step times gain */
    float alpha;    /* of a tensor: the threshold; QD_ASYM: of the end that is farther from 0 */
    qd_range range; /* of a tensor's weights, for QD_ASYM; not a part of the plan */
    uint8_t *inputs; /* [n_in] k of the factor 2^((k-32)/8); NULL: 1 */
    uint64_t *keep;  /* row * n_in + column of the weights that stay in 16 bits, ascending */
    size_t n_keep;
    char *weights; /* lambda of the languages, "en:0.07,de:0.12"; NULL: even */
    char *options; /* of the method's quantize, "damp=0.01,act_order=1"; NULL: its defaults */
    double error_rel, error_rel_model;
    char note[96];
} qd_choice;

/* E[x_j^2] of a language, fold and matrix: scale * squares[n_in]; squares NULL: nothing known. */
typedef struct qd_energy {
    const double *squares;
    double scale;
} qd_energy;

/* What the languages send into n_choices matrices, in the order of the choices. */
typedef struct qd_languages {
    size_t n, n_choices;
    const char *const *tags;       /* [n]; NULL: they have none */
    const double *tokens_per_byte; /* [n] */
    const qd_energy *energies;     /* [QD_N_FOLDS][n_choices][n] */
} qd_languages;

/* What the mixture of the languages sends into a matrix, NULL where the method does not ask (needs_e, needs_h).
 * What quantize sees, and leaves as it is, is of the inputs divided by the choice's factors. */
typedef struct qd_inputs {
    double *e; /* [n_in] E[x_j^2] */
    double *h; /* [n_in, n_in] E[x x^T] */
} qd_inputs;

typedef enum qd_need { QD_UNUSED, QD_NEEDED, QD_USED } qd_need;

/* A method: one file and one row in the list of methods (lib/meson.build). choose fills clips or alpha, gains,
 * error_rel_model (or NaN) and note, when the plan is made; languages is NULL without a calibration. quantize fills
 * codes, scales, zeros and offsets of *out when the plan is applied, from w[n_out, n_in] as qd_choice_prepare leaves
 * it; NULL: nearest under the plan's thresholds (qd_quantize_nearest). */
typedef struct qd_method {
    const char *name, *needs, *paper;
    qd_need needs_calib;
    qdisp_status (*choose)(const qdisp_quantizer *q, const qd_languages *languages, qd_choice *choices, size_t n);
    qdisp_status (*quantize)(qdisp_ctx *ctx, const qd_choice *c, const float *w, const qd_inputs *x, qd_codes *out);
    bool needs_e, needs_h; /* by quantize */
    qdisp_status (*check)(qdisp_ctx *ctx, const qd_choice *c); /* options and shapes, before any work; or NULL */
    const char *type;      /* of the codes, where the method has one of its own; else NULL */
    unsigned unit_bits;    /* that a unit stores; 0: a 16-bit scale, and the zero point of asymmetric levels */
    int64_t group;         /* default group size; 0: 64 */
    const char *options;   /* names of the numbers that the options may give, "damp,act_order"; NULL: none */
} qd_method;

/* The method of a name, or NULL. */
const qd_method *qd_method_find(const char *name);
/* What languages send into a choice's matrix under its weights (even if it has none), each in units of its mean:
 * out[n_in], mean 1. EMISMATCH: weights name a language that is not there. */
qdisp_status qd_mix_languages(qdisp_ctx *ctx, const qd_languages *languages, size_t i_choice, const qd_choice *c,
                              double *out);
/* EINVAL, beginning with the place, unless they are "name=number" options of a method, "language:lambda" weights. */
qdisp_status qd_options_check(qdisp_ctx *ctx, const char *place, const char *text, const qd_method *method);
qdisp_status qd_weights_check(qdisp_ctx *ctx, const char *place, const char *text);
/* The number of an option of a choice; missing if it is not given. */
double qd_choice_option(const qd_choice *c, const char *name, double missing);
/* The lambda of a language under a choice's weights; 0 if they do not name it, missing if there are none. */
double qd_choice_weight(const qd_choice *c, const char *tag, double missing);
/* 2^((k-32)/8), exact to f32: the same bits everywhere. */
float qd_input_factor(unsigned k);
/* The k of the factor nearest to 2^log2_factor. */
uint8_t qd_input_code(double log2_factor);
/* A row as quantizers see it, in place: columns times the inputs' factors, kept weights 0. */
void qd_choice_prepare(const qd_choice *c, size_t i_row, float *w);
/* The codes of a matrix under a choice, by its method, with inputs' factors and kept weights: everything but the name.
 * Parallel inside. Errors: ENUMERIC (names the matrix), ENOMEM, ECANCELLED; *out is cleared then. */
qdisp_status qd_choice_quantize(qdisp_ctx *ctx, const qd_choice *c, const qd_inputs *x, qd_codes *out);
/* Calls quantize for every row of w and codes that are made, in parallel; clears the codes on failure. */
typedef qdisp_status (*qd_row_quantizer)(qdisp_ctx *ctx, void *user, const float *w, size_t i_row, qd_codes *out);
qdisp_status qd_codes_rows(qdisp_ctx *ctx, const float *w, qd_row_quantizer quantize, void *user, qd_codes *out);
/* Columns of a group of codes: the group size, at most a row. */
size_t qd_choice_group(const qd_choice *c);
/* What a grid rounds to, plus the code of 0. */
void qd_grid_codes(const qd_kernels *kernels, const float *w, size_t n, const qd_grid *grid, uint8_t zero,
                   uint8_t *codes);
/* Nearest under the thresholds: decoded they are bit for bit what qd_quantize_row gives. w as prepared. */
qdisp_status qd_quantize_nearest(qdisp_ctx *ctx, const qd_choice *c, const float *w, qd_codes *out);
/* The rows of a plan as choices, everything checked; free with qd_choices_free. Errors: EINVAL, EMISMATCH: name row
 * and column. */
qdisp_status qd_plan_parse(const qdisp_table *plan, const qdisp_model *model, qd_choice **choices, size_t *n);

/* GGUF's blocks as types of choices (block_codes.c). The static name of such a type, or NULL; the list of them; a
 * choice's, or NULL for integers. */
const char *qd_block_type_static(const char *name);
void qd_block_type_list(char *text, size_t n);
const qd_block_type *qd_choice_block(const qd_choice *c);
/* Gives a choice a type that qd_block_type_static knows, or what stands in for it. Errors: EUNSUPPORTED (rows that are
 * no whole blocks), EINVAL (a method that does not make blocks). */
qdisp_status qd_choice_set_block(qdisp_ctx *ctx, qd_choice *c, const char *type);
/* Its blocks, as qd_method's quantize; with x->e as importances if the method asks for them. */
qdisp_status qd_quantize_blocks(qdisp_ctx *ctx, const qd_choice *c, const float *w, const qd_inputs *x, qd_codes *out);
/* sum (w - Q)^2 / sum w^2 of a choice of blocks without importances. */
qdisp_status qd_measure_blocks(qdisp_ctx *ctx, qd_choice *c);

/* 2^(-k/12) as an f32, from a table: the same bits everywhere. */
float qd_clip_ratio(unsigned k);
/* 2^(k/64), likewise; and the k of the gain nearest to a ratio, 0 for ratios up to 1 and for no number. */
float qd_gain_ratio(unsigned k);
uint8_t qd_gain_code(double ratio);
/* The clip whose threshold is nearest to a on the logarithmic scale, beside the largest magnitude. */
uint8_t qd_clip_code(float a, float absmax);
/* What the steps of a grid divide: the largest |w|, or for QD_ASYM the distance of the ends; both ends times a ratio;
 * the magnitude of the end that is farther from 0. */
float qd_range_span(qd_range range, qd_levels levels);
qd_range qd_range_scale(qd_range range, float ratio);
float qd_range_most(qd_range range);
/* The grid between thresholds; false if the 16-bit scale overflows. A span of 0 gives an all-zero grid. */
bool qd_grid_make(qd_range range, float gain, int bits, qd_levels levels, qd_grid *grid);
/* The code of 0: codes are what the grid rounds to plus this. */
uint8_t qd_grid_zero(const qd_grid *grid, int bits, qd_levels levels);
/* The grids of candidates, both ends times ratios[k], gain 1: the same numbers, many at a time. *n_fit: those before
 * the first whose scale overflows; the others are not to be used. */
void qd_grids_make(const qd_kernels *kernels, qd_range range, const float *ratios, size_t n_ratios, int bits,
                   qd_levels levels, qd_grid *grids, size_t *n_fit);
/* Weights that share a threshold, column weights (NULL: 1), how many and the sum of the column weights. */
typedef struct qd_unit {
    const float *w, *e;
    size_t n;
    double total;
    qd_range range;
} qd_unit;
/* Of candidates, both ends times ratios[k], ratios descending, the first with the least sum e (w - Q(w))^2: its k, and
 * its grid into *grid, which stays as it is if none fits 16 bits. Stops where no later one can be better. */
size_t qd_grid_search(const qd_kernels *kernels, const qd_unit *unit, const float *ratios, size_t n_ratios, int bits,
                      qd_levels levels, qd_grid *grid);
/* E[noise] / span^2 of uniform rounding on that grid: symmetric, the c of E[(|X| - a)+] = c a; 1 / (3 4^b) for 2^b
 * levels. */
double qd_grid_noise(int bits, qd_levels levels);
/* ACIQ's threshold of x[n], the root a of sum e (|x| - a)+ = c a sum e; e[n] >= 0, NULL: 1. *ratio is where to start in
 * units of the mean |x| (0: nothing known) and becomes where it ended; the result does not depend on it. */
float qd_aciq_solve(const qd_kernels *kernels, const float *x, const float *e, size_t n, double c, double *ratio);
/* Start column and length of a unit within its row. */
void qd_unit_span(const qd_choice *c, size_t i_unit, size_t *i_row, size_t *first, size_t *n);
/* Number of units of a shape. */
size_t qd_unit_count(size_t n_out, size_t n_in, int64_t group_size, size_t *units_per_row);

/* Quantizes one row: out[n_in], which may be w. Absolute maxima are taken from w. ENUMERIC names the matrix. */
qdisp_status qd_quantize_row(qdisp_ctx *ctx, const qd_choice *c, size_t i_row, const float *w, float *out);
/* The ends of a unit's weights; ENUMERIC if a weight is not finite. */
qdisp_status qd_unit_range(qdisp_ctx *ctx, const qd_choice *c, const float *w, size_t n, qd_range *range);
/* A tensor's thresholds, from alpha and range. */
qd_range qd_choice_range(const qd_choice *c);
/* Place within its row and grid of unit i_unit, counted as if a tensor's were one a row, its gain included; w: that
 * row, prepared. ENUMERIC if a weight is not finite or the scale overflows. */
qdisp_status qd_row_grid(qdisp_ctx *ctx, const qd_choice *c, size_t i_unit, const float *w, size_t *first, size_t *n,
                         qd_grid *grid);

/* Choices for the tensors that roles name, units counted and clips allocated; free with qd_choices_free. */
qdisp_status qd_choices_make(const qdisp_quantizer *q, const qdisp_model *model, qd_choice **choices, size_t *n);
/* The same, and chosen: what a plan is made of. */
qdisp_status qd_choices_plan(const qdisp_quantizer *q, const qdisp_model *model, const qdisp_calib *calib,
                             qd_choice **choices, size_t *n);
/* From a table with columns tensor, row, column. Errors: EINVAL. */
qdisp_status qd_keeps_parse(qdisp_ctx *ctx, const qdisp_table *table, qd_keep **keeps, size_t *n);
void qd_keeps_free(qdisp_ctx *ctx, qd_keep *keeps, size_t n);
/* Those of a quantizer into the choices of their tensors. Errors: EMISMATCH (no such tensor or place). */
qdisp_status qd_keeps_apply(const qdisp_quantizer *q, qd_choice *choices, size_t n);
void qd_choices_free(qdisp_ctx *ctx, qd_choice *choices, size_t n);
/* Bits a weight of a choice, scales and kept weights included. */
double qd_choice_bits(const qd_choice *c);
/* A choice as a row of a plan, and the clip characters. */
qdisp_status qd_plan_make(const qdisp_quantizer *q, const qdisp_model *model, const qd_choice *choices, size_t n,
                          qdisp_table **out);
#define QD_CLIP_CODES "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

#endif
