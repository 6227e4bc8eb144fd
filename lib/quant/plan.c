/* plan.c - the plan as a table. It is the seam between choosing and quantizing, and the place where bits
 * become firm: thresholds come from it and from the weights alone. */
#include "quant/quant.h"

#include <stdio.h>
#include <string.h>

/* A character a unit, or one if all are the same. */
static void set_codes(qdisp_table *t, qdisp_status *status, size_t row, size_t col, const uint8_t *codes, size_t n) {
    char *text = qd_alloc(qd_table_ctx(t), n + 1, 1);
    if (!text) {
        *status = QDISP_ENOMEM;
        return;
    }
    bool same = true;
    for (size_t u = 0; u < n; u++) {
        text[u] = QD_CLIP_CODES[codes[u]];
        same = same && codes[u] == codes[0];
    }
    if (same) text[1] = 0;
    qd_table_str(t, status, row, col, text);
    qd_free(qd_table_ctx(t), text);
}

static void set_keep(qdisp_table *t, qdisp_status *status, size_t row, size_t col, const qd_choice *c) {
    enum { LONGEST = 42 }; /* two numbers of 20 digits, a colon and a space */
    char *text = qd_alloc(qd_table_ctx(t), c->n_keep, LONGEST), *at = text;
    if (!text) {
        *status = QDISP_ENOMEM;
        return;
    }
    for (size_t k = 0; k < c->n_keep; k++)
        at += snprintf(at, LONGEST, "%s%zu:%zu", k ? " " : "", (size_t)(c->keep[k] / c->n_in),
                       (size_t)(c->keep[k] % c->n_in));
    qd_table_str(t, status, row, col, text);
    qd_free(qd_table_ctx(t), text);
}

/* Codes, 16 bits a scale, a zero point, and for a kept weight its value and a place of 32 bits. */
double qd_choice_bits(const qd_choice *c) {
    const qd_block_type *block = qd_choice_block(c);
    double unit = 16 + (c->levels == QD_ASYM ? c->bits : 0);
    if (c->method->unit_bits) unit = c->method->unit_bits;
    if (block) return 8.0 * block->n_bytes / block->n_values;
    return c->bits + (unit * (double)c->n_units + 48.0 * (double)c->n_keep) / ((double)c->n_out * (double)c->n_in);
}

qdisp_status qd_plan_make(const qdisp_quantizer *q, const qdisp_model *model, const qd_choice *choices, size_t n,
                          qdisp_table **out) {
    qdisp_table *t;
    QD_TRY(qdisp_table_new(q->ctx, "plan", "Plan: how each tensor is quantized", &t));
    qdisp_status status = QDISP_OK;
    size_t tensor = qd_table_column(t, &status, "tensor", "", QDISP_COLUMN_STR);
    size_t role = qd_table_column(t, &status, "role", "", QDISP_COLUMN_STR);
    size_t layer = qd_table_column(t, &status, "layer", "", QDISP_COLUMN_I64);
    size_t method = qd_table_column(t, &status, "method", "", QDISP_COLUMN_STR);
    size_t type = qd_table_column(t, &status, "type", "", QDISP_COLUMN_STR);
    size_t bits = qd_table_column(t, &status, "bits", "bits", QDISP_COLUMN_I64);
    size_t group_size = qd_table_column(t, &status, "group_size", "weights", QDISP_COLUMN_I64);
    size_t levels = qd_table_column(t, &status, "levels", "", QDISP_COLUMN_STR);
    size_t alpha = qd_table_column(t, &status, "alpha", "", QDISP_COLUMN_F64);
    size_t clip = qd_table_column(t, &status, "clip", "", QDISP_COLUMN_STR);
    size_t gain = qd_table_column(t, &status, "gain", "", QDISP_COLUMN_STR);
    size_t inputs = qd_table_column(t, &status, "inputs", "", QDISP_COLUMN_STR);
    size_t weights = qd_table_column(t, &status, "weights", "", QDISP_COLUMN_STR);
    size_t keep = qd_table_column(t, &status, "keep", "", QDISP_COLUMN_STR);
    size_t options = qd_table_column(t, &status, "options", "", QDISP_COLUMN_STR);
    size_t n_weights = qd_table_column(t, &status, "n_weights", "", QDISP_COLUMN_I64);
    size_t bpw = qd_table_column(t, &status, "bits_per_weight", "bits", QDISP_COLUMN_F64);
    size_t error = qd_table_column(t, &status, "error_rel", "", QDISP_COLUMN_F64);
    size_t error_model = qd_table_column(t, &status, "error_rel_model", "", QDISP_COLUMN_F64);
    size_t note = qd_table_column(t, &status, "note", "", QDISP_COLUMN_STR);
    for (size_t i = 0; i < n && status == QDISP_OK; i++) {
        const qd_choice *c = &choices[i];
        size_t row = qd_table_row(t, &status), n_all = c->n_out * c->n_in;
        qd_table_str(t, &status, row, tensor, model->tensors[c->i_tensor].name);
        qd_table_str(t, &status, row, role, qdisp_model_role(model, c->i_tensor));
        qd_table_i64(t, &status, row, layer, model->layers[c->i_tensor]);
        qd_table_str(t, &status, row, method, q->method->name);
        qd_table_str(t, &status, row, type, c->type);
        qd_table_i64(t, &status, row, bits, c->bits);
        qd_table_i64(t, &status, row, group_size, c->group_size);
        qd_table_str(t, &status, row, levels, qd_levels_name(c->levels));
        qd_table_i64(t, &status, row, n_weights, (int64_t)n_all);
        qd_table_f64(t, &status, row, bpw, qd_choice_bits(c));
        qd_table_f64(t, &status, row, error, c->error_rel);
        qd_table_f64(t, &status, row, error_model, c->error_rel_model);
        if (*c->note) qd_table_str(t, &status, row, note, c->note);
        if (c->units_per_row == 0) qd_table_f64(t, &status, row, alpha, (double)c->alpha);
        else set_codes(t, &status, row, clip, c->clips, c->n_units);
        set_codes(t, &status, row, gain, c->gains, c->n_units);
        if (c->inputs) set_codes(t, &status, row, inputs, c->inputs, c->n_in);
        if (c->weights) qd_table_str(t, &status, row, weights, c->weights);
        if (c->n_keep > 0) set_keep(t, &status, row, keep, c);
        if (c->options) qd_table_str(t, &status, row, options, c->options);
    }
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}
