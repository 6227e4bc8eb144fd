/* format_fp8.c - weights of 8-bit floats with a scale a block (DeepSeek, Qwen): weight, weight_scale_inv [A, B].
 *
 * As transformers dequantizes them: the product in f32, rounded to the type that the config says the model has. */
#include <string.h>

#include "tensor/quantized.h"

static qdisp_dtype model_dtype(const qd_resolve *r, qdisp_dtype fallback) {
    const char *name = json_string_value(json_object_get(r->model, "dtype"));
    if (!name) name = json_string_value(json_object_get(r->model, "torch_dtype"));
    if (!name) return fallback;
    if (!strcmp(name, "bfloat16")) return QDISP_DTYPE_BF16;
    if (!strcmp(name, "float16")) return QDISP_DTYPE_F16;
    return !strcmp(name, "float32") ? QDISP_DTYPE_F32 : fallback;
}

/* Rows, or columns, that share a scale: n sizes in n_scales; the config's where they are not equally many. */
static size_t block_of(const qd_resolve *r, size_t axis, uint64_t n, uint64_t n_scales) {
    if (n % n_scales == 0) return (size_t)(n / n_scales);
    json_int_t size = json_integer_value(json_array_get(json_object_get(r->config, "weight_block_size"), axis));
    bool fits = size > 0 && n / (uint64_t)size + (n % (uint64_t)size != 0) == n_scales;
    return fits ? (size_t)size : 0;
}

static qdisp_status resolve_module(qd_resolve *r, size_t i) {
    const qdisp_tensor *weight = qd_resolve_take(r, ".weight"), *scales = &r->file->tensors[i];
    if (!weight || weight->n_dims != 2 || qd_tensor_n_elements(weight) == 0 ||
        weight->dtype != QDISP_DTYPE_PACKED || strncmp(qd_tensor_format(weight), "F8_", 3)) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%s", "a scale of no matrix of 8-bit floats");
    }
    uint64_t a = scales->n_dims == 2 ? scales->shape[0] : 1, b = scales->n_dims == 2 ? scales->shape[1] : 1;
    if (qd_tensor_n_elements(scales) == 0 || qd_tensor_n_elements(scales) != a * b) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%s", "its scales are neither one nor a matrix");
    }
    qd_quantized m = {
        .base = {.n_rows = (size_t)weight->shape[0], .n_columns = (size_t)weight->shape[1]},
        .values = weight->data,
        .values_dtype = (qdisp_dtype)weight->dtype,
        .scales = scales->data,
        .scale_dtype = (qdisp_dtype)scales->dtype,
        .row_block = block_of(r, 0, weight->shape[0], a),
        .group_size = block_of(r, 1, weight->shape[1], b),
        .scale_row = (size_t)b,
        .scale_group = 1,
        .n_groups = (size_t)b,
    };
    if (!m.row_block || !m.group_size) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%s", "its scales do not fit its weight");
    }
    if (!qd_tensor_is_float(scales) && scales->dtype != QDISP_DTYPE_U8) {
        return QD_RESOLVE_FAIL(r, QDISP_EUNSUPPORTED, "scales of %s", qd_tensor_format(scales));
    }
    bool is_wide = scales->dtype == QDISP_DTYPE_F32 || scales->dtype == QDISP_DTYPE_F16;
    m.base.value = model_dtype(r, is_wide ? (qdisp_dtype)scales->dtype : QDISP_DTYPE_BF16);
    qd_resolve_take(r, ".activation_scale");
    qd_resolve_take(r, ".input_scale");
    return qd_resolve_give_matrix(r, i, &m, "fp8", weight->n_bytes + scales->n_bytes);
}

qdisp_status qd_resolve_fp8(qd_resolve *r) {
    for (size_t i = 0; i < r->file->n_tensors; i++) {
        if (!qd_resolve_is(r, i, ".weight_scale_inv")) continue;
        QD_TRY(resolve_module(r, i));
    }
    return QDISP_OK;
}
