/* fold.h - scaled inputs (a plan's column "inputs") put into the tensors around them, so that a model computes the same
 * without dividing anything when it runs. */
#ifndef QD_FOLD_H
#define QD_FOLD_H

#include "quant/quant.h"

/* What becomes of a tensor of the model: its columns are multiplied, its rows (elements of a norm or a bias) divided.
 * NULL: by 1. */
typedef struct qd_fold {
    float *columns; /* [n_in] */
    float *rows;    /* [n_out] */
} qd_fold;

/* *out [model->n_tensors], for the choices of a plan. Errors: EUNSUPPORTED (the input of a map that nothing before it
 * can take, or not as the plan has it: names the map), EINVAL (maps that read one input with unlike factors), ENOMEM.
 */
qdisp_status qd_folds_make(const qdisp_model *model, const qd_choice *choices, size_t n, qd_fold **out);
void qd_folds_free(const qdisp_model *model, qd_fold *folds);
/* Rows first .. first + n - 1 of tensor i_tensor, as a matrix (a vector: its elements are rows of one column). */
void qd_fold_rows(const qdisp_model *model, const qd_fold *folds, size_t i_tensor, size_t first, size_t n, float *w);

#endif
