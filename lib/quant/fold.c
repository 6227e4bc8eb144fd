/* fold.c - scaled inputs put into the tensors around them. x_j / s_j becomes what the norm (or the row of the matrix
 * before) gives if its weight and bias are divided by s_j; all maps that read it have their columns multiplied. */
#include "quant/fold.h"

#include <string.h>

/* Column factors of all maps that read the input of choice c. */
static qdisp_status fold_readers(const qdisp_model *m, const qd_choice *c, qd_fold *folds) {
    for (size_t i = c->input.i_first; i < m->n_linears; i++) {
        qd_input input;
        const qd_linear *l = &m->linears[i];
        if (l->layer != m->linears[c->i_linear].layer) break;
        qd_input_find(m, i, &input);
        if (input.i_first != c->input.i_first) continue;
        qd_fold *f = &folds[l->i_weight];
        if (!(f->columns = qd_alloc(m->ctx, l->n_in, sizeof *f->columns))) return QDISP_ENOMEM;
        for (size_t j = 0; j < l->n_in; j++) f->columns[j] = qd_input_factor(c->inputs[j]);
    }
    return QDISP_OK;
}

static qdisp_status fold_maker(const qdisp_model *m, const qd_choice *c, size_t i_tensor, qd_fold *folds) {
    qd_fold *f = &folds[i_tensor];
    size_t n_rows = (size_t)m->tensors[i_tensor].shape[0];
    if (!f->rows) {
        if (!(f->rows = qd_alloc(m->ctx, n_rows, sizeof *f->rows))) return QDISP_ENOMEM;
        for (size_t r = 0; r < n_rows; r++) f->rows[r] = 1;
    }
    for (size_t j = 0; j < c->n_in; j++) f->rows[qd_input_row(&c->input, j)] = qd_input_factor(c->inputs[j]);
    return QDISP_OK;
}

/* A map that reads the same as an earlier one must have its factors. */
static qdisp_status check_readers(const qdisp_model *m, const qd_choice *choices, size_t n, const qd_choice *c) {
    for (size_t i = 0; i < n; i++) {
        const qd_choice *o = &choices[i];
        if (o->input.i_first != c->input.i_first) continue;
        if (o->inputs && !memcmp(o->inputs, c->inputs, c->n_in)) continue;
        return qd_fail(m->ctx, QDISP_EINVAL, "plan: %s and %s read one input, but their columns 'inputs' differ",
                       c->name, o->name);
    }
    return QDISP_OK;
}

static qdisp_status check_maker(const qdisp_model *m, const qd_choice *c) {
    if (c->input.maker == QD_MAKER_NONE)
        return qd_fail(m->ctx, QDISP_EUNSUPPORTED, "%s: no norm or linear map makes its input alone, so that scaled "
                       "inputs cannot be written: empty its column 'inputs'", c->name);
    for (size_t j = 0; j < c->n_in; j++)
        if (c->inputs[j] != c->inputs[qd_input_tied(&c->input, j)])
            return qd_fail(m->ctx, QDISP_EUNSUPPORTED, "%s: inputs %zu and %zu come from one value head, but their "
                           "factors differ", c->name, qd_input_tied(&c->input, j), j);
    return QDISP_OK;
}

static qdisp_status fold_all(const qdisp_model *m, const qd_choice *choices, size_t n, qd_fold *folds) {
    for (size_t i = 0; i < n; i++) {
        const qd_choice *c = &choices[i];
        if (!c->inputs) continue;
        QD_TRY(check_maker(m, c));
        QD_TRY(check_readers(m, choices, n, c));
        if (folds[c->i_tensor].columns) continue; /* with the first of its input's readers */
        QD_TRY(fold_readers(m, c, folds));
        QD_TRY(fold_maker(m, c, c->input.i_tensor, folds));
        if (c->input.i_bias != QD_NONE) QD_TRY(fold_maker(m, c, c->input.i_bias, folds));
    }
    return QDISP_OK;
}

qdisp_status qd_folds_make(const qdisp_model *m, const qd_choice *choices, size_t n, qd_fold **out) {
    qd_fold *folds = qd_alloc(m->ctx, m->n_tensors, sizeof *folds);
    if (!folds) return QDISP_ENOMEM;
    qdisp_status status = fold_all(m, choices, n, folds);
    if (status == QDISP_OK) *out = folds;
    else qd_folds_free(m, folds);
    return status;
}

void qd_folds_free(const qdisp_model *m, qd_fold *folds) {
    for (size_t i = 0; folds && i < m->n_tensors; i++) {
        qd_free(m->ctx, folds[i].columns);
        qd_free(m->ctx, folds[i].rows);
    }
    qd_free(m->ctx, folds);
}

void qd_fold_rows(const qdisp_model *m, const qd_fold *folds, size_t i_tensor, size_t first, size_t n, float *w) {
    const qd_fold *f = &folds[i_tensor];
    const qdisp_tensor *t = &m->tensors[i_tensor];
    size_t n_columns = t->n_dims > 1 ? (size_t)t->shape[1] : 1;
    bool is_rms = m->config.rms && qd_slot_rows[m->slots[i_tensor]].what == 'N' && n_columns == 1;
    float offset = is_rms ? m->config.norm_offset : 0;
    for (size_t r = 0; r < n; r++) {
        float *row = w + r * n_columns;
        for (size_t j = 0; f->columns && j < n_columns; j++) row[j] *= f->columns[j];
        for (size_t j = 0; f->rows && j < n_columns; j++) row[j] = (row[j] + offset) / f->rows[first + r] - offset;
    }
}
