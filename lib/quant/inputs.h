/* inputs.h - what reads and what makes the input of a linear map: where a scaling of its channels can go. */
#ifndef QD_INPUTS_H
#define QD_INPUTS_H

#include "model/model.h"

typedef enum qd_maker {
    QD_MAKER_NONE, /* a residual stream, a curved activation: nothing that could be scaled instead */
    QD_MAKER_NORM, /* the weight of a norm, and its bias */
    QD_MAKER_ROWS  /* rows of a matrix that reach the input by way of a function linear in them (or, ReLU, that keeps a
                      positive factor) */
} qd_maker;

/* The input of a linear map. Maps that read the same rows have the same i_first. */
typedef struct qd_input {
    qd_maker maker;
    size_t i_first;          /* the first linear map that reads it */
    size_t i_tensor, i_bias; /* that make it; QD_NONE: none */
    qd_part part;            /* ROWS: those of the tensor */
    size_t run, n_tied;      /* ROWS: of n_tied heads side by side, `run` columns each, the same columns come from one
                                row: query heads that share a value head; else n_in and 1 */
} qd_input;

void qd_input_find(const qdisp_model *model, size_t i_linear, qd_input *out);
/* The element of the norm, or the row of the tensor, that column j of the input comes from. */
size_t qd_input_row(const qd_input *input, size_t j);
/* The first of the columns that come from the same place as column j. */
size_t qd_input_tied(const qd_input *input, size_t j);

#endif
