/* model_table.c - what a model tells about its tensors and linear maps. */
#include <string.h>

#include "model/model.h"

const qdisp_model_info *qdisp_model_describe(const qdisp_model *model) {
    return &model->info;
}

size_t qdisp_model_n_tensors(const qdisp_model *model) {
    return model->n_tensors;
}

qdisp_status qdisp_model_tensor(const qdisp_model *model, size_t i_tensor, qdisp_tensor *out) {
    if (i_tensor >= model->n_tensors) {
        return qd_fail(model->ctx, QDISP_EINVAL, "model: tensor %zu of %zu", i_tensor, model->n_tensors);
    }
    *out = model->tensors[i_tensor];
    return QDISP_OK;
}

const char *qdisp_model_role(const qdisp_model *model, size_t i_tensor) {
    if (i_tensor >= model->n_tensors) return NULL;
    if (model->config.tied_head && model->slots[i_tensor] == QD_SLOT_EMBED) return "embed+head";
    return qd_slot_rows[model->slots[i_tensor]].role;
}

int qdisp_model_layer(const qdisp_model *model, size_t i_tensor) {
    return i_tensor < model->n_tensors ? model->layers[i_tensor] : -1;
}

int qdisp_model_expert(const qdisp_model *model, size_t i_tensor) {
    return i_tensor < model->n_tensors ? model->experts[i_tensor] : -1;
}

const char *qdisp_model_format(const qdisp_model *model, size_t i_tensor) {
    return i_tensor < model->n_tensors ? qd_tensor_format(&model->tensors[i_tensor]) : NULL;
}

size_t qdisp_model_n_linears(const qdisp_model *model) {
    return model->n_linears;
}

size_t qdisp_model_linear(const qdisp_model *model, size_t i_linear) {
    return i_linear < model->n_linears ? model->linears[i_linear].i_weight : QDISP_NO_TENSOR;
}

qdisp_status qdisp_model_read(const qdisp_model *model, size_t i_tensor, size_t first, size_t n, float *out) {
    if (i_tensor >= model->n_tensors) {
        return qd_fail(model->ctx, QDISP_EINVAL, "model: tensor %zu of %zu", i_tensor, model->n_tensors);
    }
    const qdisp_tensor *t = &model->tensors[i_tensor];
    size_t n_elements = (size_t)qd_tensor_n_elements(t);
    if (first > n_elements || n > n_elements - first || (n && !out)) {
        return qd_fail(model->ctx, QDISP_EINVAL, "model: elements %zu..%zu of tensor '%s', which has %zu", first,
                       first + n, t->name, n_elements);
    }
    const float *x = qd_load_f32(model->ctx->kernels, t->data, (qdisp_dtype)t->dtype, first, n, out);
    if (n && x != out) memcpy(out, x, n * sizeof *out);
    return QDISP_OK;
}

qdisp_status qdisp_model_tensors(const qdisp_model *model, qdisp_table **out) {
    qdisp_table *table = NULL;
    QD_TRY(qdisp_table_new(model->ctx, "tensors", "Tensors of the model", &table));
    qdisp_status status = QDISP_OK;
    size_t name = qd_table_column(table, &status, "name", "", QDISP_COLUMN_STR);
    size_t role = qd_table_column(table, &status, "role", "", QDISP_COLUMN_STR);
    size_t layer = qd_table_column(table, &status, "layer", "", QDISP_COLUMN_I64);
    size_t expert = qd_table_column(table, &status, "expert", "", QDISP_COLUMN_I64);
    size_t dtype = qd_table_column(table, &status, "dtype", "", QDISP_COLUMN_STR);
    size_t shape = qd_table_column(table, &status, "shape", "", QDISP_COLUMN_STR);
    size_t n_parameters = qd_table_column(table, &status, "n_parameters", "", QDISP_COLUMN_I64);
    size_t n_bytes = qd_table_column(table, &status, "n_bytes", "B", QDISP_COLUMN_I64);
    for (size_t i = 0; i < model->n_tensors && status == QDISP_OK; i++) {
        const qdisp_tensor *t = &model->tensors[i];
        char text[96];
        qd_tensor_shape_text(t->shape, t->n_dims, text);
        size_t row = qd_table_row(table, &status);
        qd_table_str(table, &status, row, name, t->name);
        qd_table_str(table, &status, row, role, qdisp_model_role(model, i));
        qd_table_i64(table, &status, row, layer, model->layers[i] < 0 ? QDISP_MISSING_I64 : model->layers[i]);
        qd_table_i64(table, &status, row, expert, model->experts[i] < 0 ? QDISP_MISSING_I64 : model->experts[i]);
        qd_table_str(table, &status, row, dtype, qd_tensor_format(t));
        qd_table_str(table, &status, row, shape, text);
        qd_table_i64(table, &status, row, n_parameters, (int64_t)qd_tensor_n_elements(t));
        qd_table_i64(table, &status, row, n_bytes, (int64_t)t->n_bytes);
    }
    if (status != QDISP_OK) {
        qdisp_table_free(table);
        return status;
    }
    *out = table;
    return QDISP_OK;
}
