/* format_bnb.c - bitsandbytes: NF4 and FP4 with or without quantized scales, and the 8-bit rows of LLM.int8().
 *
 * 4 bits: weight is the codes of the flat matrix, two a byte, the first in the high half; quant_map their 16 values;
 * absmax a scale a block, itself in 8 bits with nested_quant_map, nested_absmax and an offset if it was quantized; what
 * else is needed is JSON in quant_state. As bitsandbytes: map[code] * absmax in f32, rounded to quant_state's type.
 * 8 bits: weight i8 and SCB f32 [N]: w * SCB * (1 / 127), two products in f32. */
#include <stdio.h>
#include <string.h>

#include "tensor/quantized.h"

#define MAX_STATE ((uint64_t)1 << 16)

typedef struct nibbles {
    qd_packed base;
    const uint8_t *codes, *absmax; /* absmax: f32, or u8 if nested */
    const uint8_t *nested_absmax;  /* f32; NULL: none */
    size_t block, nested_block;
    float offset, values[16], nested_values[256];
} nibbles;

static float float_at(const uint8_t *p, size_t i) {
    float x;
    memcpy(&x, p + i * sizeof x, sizeof x);
    return x;
}

static float scale_of(const nibbles *m, size_t block) {
    if (!m->nested_absmax) return float_at(m->absmax, block);
    float scale = m->nested_values[m->absmax[block]] * float_at(m->nested_absmax, block / m->nested_block);
    return scale + m->offset;
}

static void read_nibbles(const qd_packed *packed, const qd_kernels *kernels, size_t first, size_t n, float *out) {
    const nibbles *m = (const nibbles *)packed;
    for (size_t i = 0; i < n;) {
        size_t at = first + i, left = m->block - at % m->block, end = n - i < left ? n : i + left;
        float scale = scale_of(m, at / m->block), values[16];
        for (size_t k = 0; k < 16; k++) values[k] = m->values[k] * scale;
        for (; i < end; i++) {
            at = first + i;
            out[i] = values[m->codes[at / 2] >> (at % 2 ? 0 : 4) & 15];
        }
    }
    qd_round_values(kernels, packed->value, n, out);
}

/* A part of n elements, whatever its shape. */
static qdisp_status part(qd_resolve *r, const char *suffix, qdisp_dtype dtype, uint64_t n, const uint8_t **out) {
    const qdisp_tensor *t = qd_resolve_take(r, suffix);
    if (!t) return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "its '%s' is missing", suffix + 1);
    if (t->dtype != (uint32_t)dtype || qd_tensor_n_elements(t) != n) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "'%s' is %llu elements of %s, not %llu of %s", suffix + 1,
                               (unsigned long long)qd_tensor_n_elements(t), qd_tensor_format(t), (unsigned long long)n,
                               qd_dtype_name(dtype));
    }
    *out = t->data;
    return QDISP_OK;
}

static uint64_t blocks_of(uint64_t n, size_t block) {
    return n / block + (n % block != 0);
}

/* Shape, block size and type from quant_state: the matrix's n elements. */
static qdisp_status read_state(qd_resolve *r, const json_t *state, nibbles *m, uint64_t *n) {
    const json_t *shape = json_object_get(state, "shape");
    const char *dtype = json_string_value(json_object_get(state, "dtype"));
    json_int_t rows = json_integer_value(json_array_get(shape, 0));
    json_int_t columns = json_integer_value(json_array_get(shape, 1));
    json_int_t block = json_integer_value(json_object_get(state, "blocksize"));
    if (json_array_size(shape) != 2 || rows <= 0 || columns <= 0 || block <= 0 ||
        qd_mul_overflows((uint64_t)rows, (uint64_t)columns, n)) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%s", "quant_state gives no matrix, or no block size");
    }
    static const struct {
        const char *name;
        qdisp_dtype dtype;
    } dtypes[] = {{"float32", QDISP_DTYPE_F32}, {"float16", QDISP_DTYPE_F16}, {"bfloat16", QDISP_DTYPE_BF16}};
    for (size_t i = 0; dtype && i < 3; i++)
        if (!strcmp(dtype, dtypes[i].name)) m->base.value = dtypes[i].dtype;
    if (!m->base.value) {
        return QD_RESOLVE_FAIL(r, QDISP_EUNSUPPORTED, "quant_state: dtype '%.40s'", dtype ? dtype : "none");
    }
    m->base.n_rows = (size_t)rows;
    m->base.n_columns = (size_t)columns;
    m->block = (size_t)block;
    return QDISP_OK;
}

static qdisp_status read_scales(qd_resolve *r, const json_t *state, nibbles *m, uint64_t n_blocks) {
    if (!json_object_get(state, "nested_offset")) {
        return part(r, ".weight.absmax", QDISP_DTYPE_F32, n_blocks, &m->absmax);
    }
    json_int_t block = json_integer_value(json_object_get(state, "nested_blocksize"));
    const char *dtype = json_string_value(json_object_get(state, "nested_dtype"));
    if (block <= 0 || !json_is_number(json_object_get(state, "nested_offset")) || !dtype || strcmp(dtype, "float32")) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%s", "quant_state: nested blocksize, offset or dtype");
    }
    const uint8_t *values = NULL;
    m->nested_block = (size_t)block;
    m->offset = (float)json_number_value(json_object_get(state, "nested_offset"));
    QD_TRY(part(r, ".weight.absmax", QDISP_DTYPE_U8, n_blocks, &m->absmax));
    QD_TRY(part(r, ".weight.nested_quant_map", QDISP_DTYPE_F32, 256, &values));
    memcpy(m->nested_values, values, sizeof m->nested_values);
    return part(r, ".weight.nested_absmax", QDISP_DTYPE_F32, blocks_of(n_blocks, m->nested_block), &m->nested_absmax);
}

static qdisp_status fill(qd_resolve *r, const json_t *state, nibbles *m, uint64_t *n_bytes) {
    uint64_t n = 0;
    const uint8_t *values = NULL;
    QD_TRY(read_state(r, state, m, &n));
    const qdisp_tensor *weight = qd_resolve_take(r, ".weight");
    if (!weight || !qd_dtype_size((qdisp_dtype)weight->dtype) || weight->n_bytes != n / 2 + n % 2) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "no weight of %llu bytes, two of [%zu, %zu] in each",
                               (unsigned long long)(n / 2 + n % 2), m->base.n_rows, m->base.n_columns);
    }
    m->codes = weight->data;
    QD_TRY(part(r, ".weight.quant_map", QDISP_DTYPE_F32, 16, &values));
    memcpy(m->values, values, sizeof m->values);
    *n_bytes = weight->n_bytes + blocks_of(n, m->block);
    return read_scales(r, state, m, blocks_of(n, m->block));
}

static qdisp_status resolve_nibbles(qd_resolve *r, size_t i, const char *format) {
    const qdisp_tensor *t = &r->file->tensors[i];
    if (t->dtype != QDISP_DTYPE_U8 || t->n_bytes > MAX_STATE) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "quant_state is no text of at most %u bytes", (unsigned)MAX_STATE);
    }
    json_error_t error;
    json_t *state = json_loadb(t->data, (size_t)t->n_bytes, JSON_REJECT_DUPLICATES, &error);
    if (!state) return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "quant_state: %s", error.text);
    nibbles *m = qd_alloc(r->file->ctx, 1, sizeof *m);
    qdisp_status status = m ? QDISP_OK : QDISP_ENOMEM;
    uint64_t n_bytes = 0;
    if (m) {
        m->base.read = read_nibbles;
        status = fill(r, state, m, &n_bytes);
    }
    json_decref(state);
    if (status == QDISP_OK) return qd_resolve_give(r, i, &m->base, format, n_bytes);
    qd_free(r->file->ctx, m);
    return status;
}

static qdisp_status resolve_int8(qd_resolve *r, size_t i) {
    const qdisp_tensor *weight = NULL, *scales = &r->file->tensors[i], *layout = qd_resolve_take(r, ".weight_format");
    QD_TRY(qd_resolve_need(r, ".weight", QDISP_DTYPE_I8, 2, &weight));
    if (scales->dtype != QDISP_DTYPE_F32 || qd_tensor_n_elements(scales) != weight->shape[0]) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "SCB is %llu elements of %s, the weight has %llu rows",
                               (unsigned long long)qd_tensor_n_elements(scales), qd_tensor_format(scales),
                               (unsigned long long)weight->shape[0]);
    }
    if (layout && (layout->dtype != QDISP_DTYPE_U8 || layout->n_bytes < 1 || *(const uint8_t *)layout->data != 0)) {
        return QD_RESOLVE_FAIL(r, QDISP_EUNSUPPORTED, "%s", "weight_format is not 0: not by rows");
    }
    qd_quantized m = {
        .base = {.n_rows = (size_t)weight->shape[0], .n_columns = (size_t)weight->shape[1], .value = QDISP_DTYPE_F32},
        .values = weight->data,
        .values_dtype = QDISP_DTYPE_I8,
        .scales = scales->data,
        .scale_dtype = QDISP_DTYPE_F32,
        .scale_row = 1,
        .group_size = (size_t)weight->shape[1],
        .n_groups = 1,
        .factor = 7.874015718698502e-3f,
    };
    return qd_resolve_give_matrix(r, i, &m, "bnb-int8", weight->n_bytes + scales->n_bytes);
}

qdisp_status qd_resolve_bitsandbytes(qd_resolve *r) {
    for (size_t i = 0; i < r->file->n_tensors; i++) {
        if (qd_resolve_is(r, i, ".weight.quant_state.bitsandbytes__nf4")) QD_TRY(resolve_nibbles(r, i, "bnb-nf4"));
        else if (qd_resolve_is(r, i, ".weight.quant_state.bitsandbytes__fp4")) QD_TRY(resolve_nibbles(r, i, "bnb-fp4"));
        else if (qd_resolve_is(r, i, ".SCB")) QD_TRY(resolve_int8(r, i));
    }
    return QDISP_OK;
}
