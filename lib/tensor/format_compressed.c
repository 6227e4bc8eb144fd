/* format_compressed.c - compressed-tensors: packed integers, 8-bit integers and floats, 4-bit floats with block scales.
 *
 * What a module is, is told by its parts and their shapes, not by matching its name against the config's targets; only
 * the number of bits comes from the config's groups, where the shapes allow one of them. A value is (q - zero) * scale
 * in the type of the scale. Integers are packed along the inputs, zeros along the outputs, both plus 2^(bits-1); codes
 * of 3, 5, 6 and 7 bits fill words whole (up to June 2026, 32 / bits a word) or go on in the next word. */
#include <stdio.h>
#include <string.h>

#include "tensor/quantized.h"

static const char *const known_formats[] = {"", "dense", "pack-quantized", "int-quantized", "float-quantized",
                                            "naive-quantized", "mixed-precision", "nvfp4-pack-quantized",
                                            "mxfp4-pack-quantized", "mxfp8-quantized"};

/* Parts that say how activations were quantized: nothing of the weight. */
static const char *const others[] = {".input_scale", ".input_zero_point", ".input_global_scale", ".output_scale",
                                     ".output_zero_point", ".weight_shape", ".weight_g_idx"};

/* --- the config --- */

static qdisp_status check_format(const qd_resolve *r, const json_t *of) {
    const char *format = json_string_value(json_object_get(of, "format"));
    for (size_t i = 0; format && i < sizeof known_formats / sizeof *known_formats; i++)
        if (!strcmp(format, known_formats[i])) return QDISP_OK;
    if (!format) return QDISP_OK;
    return qd_fail(r->file->ctx, QDISP_EUNSUPPORTED, "%s: compressed-tensors format '%.60s' is not read", r->file->path,
                   format);
}

static qdisp_status check_config(const qd_resolve *r) {
    const json_t *sparsity = json_object_get(r->config, "sparsity_config");
    const json_t *transforms = json_object_get(json_object_get(r->config, "transform_config"), "config_groups");
    const char *sparse = json_string_value(json_object_get(sparsity, "format"));
    if (sparse && strcmp(sparse, "dense")) {
        return qd_fail(r->file->ctx, QDISP_EUNSUPPORTED, "%s: sparse weights '%.60s' are not read", r->file->path,
                       sparse);
    }
    if (json_object_size(transforms) > 0) {
        return qd_fail(r->file->ctx, QDISP_EUNSUPPORTED, "%s: transformed weights (transform_config) are not read",
                       r->file->path);
    }
    QD_TRY(check_format(r, r->config));
    const char *key;
    json_t *group;
    json_object_foreach(json_object_get((json_t *)(uintptr_t)r->config, "config_groups"), key, group)
        QD_TRY(check_format(r, group));
    return QDISP_OK;
}

static bool names_module(const qd_resolve *r, const json_t *group) {
    const json_t *targets = json_object_get(group, "targets");
    for (size_t i = 0; i < json_array_size(targets); i++) {
        const char *target = json_string_value(json_array_get(targets, i));
        if (target && !strcmp(target, r->module)) return true;
    }
    return false;
}

/* The bits of the config's groups that give so many words for n codes, in one order or the other; two may only where 7
 * bits in the old order meet 8 bits: then the group that names the module tells, or it is not known (0). */
static unsigned find_bits(const qd_resolve *r, uint64_t n, uint64_t n_words, qd_bits_order *order) {
    const char *key;
    json_t *group;
    unsigned found = 0;
    bool is_named = false, is_ambiguous = false;
    json_object_foreach(json_object_get((json_t *)(uintptr_t)r->config, "config_groups"), key, group) {
        json_int_t bits = json_integer_value(json_object_get(json_object_get(group, "weights"), "num_bits"));
        bool named = names_module(r, group);
        if (bits < 2 || bits > 8 || (is_named && !named)) continue;
        bool dense = qd_bits_words(QD_BITS_DENSE, (unsigned)bits, n) == n_words;
        if (!dense && qd_bits_words(QD_BITS_PADDED, (unsigned)bits, n) != n_words) continue;
        is_ambiguous = (named == is_named) && (is_ambiguous || (found && found != (unsigned)bits));
        is_named = named;
        found = (unsigned)bits;
        *order = dense ? QD_BITS_DENSE : QD_BITS_PADDED;
    }
    return is_ambiguous ? 0 : found;
}

/* [rows, columns] of blocks, from the first group that has them and fits. */
static bool find_block(const qd_resolve *r, const qd_quantized *m, const qdisp_tensor *scale, size_t block[2]) {
    const char *key;
    json_t *group;
    json_object_foreach(json_object_get((json_t *)(uintptr_t)r->config, "config_groups"), key, group) {
        const json_t *sizes = json_object_get(json_object_get(group, "weights"), "block_structure");
        json_int_t rows = json_integer_value(json_array_get(sizes, 0));
        json_int_t columns = json_integer_value(json_array_get(sizes, 1));
        if (rows <= 0 || columns <= 0) continue;
        block[0] = (size_t)rows;
        block[1] = (size_t)columns;
        uint64_t n_rows = m->base.n_rows / block[0] + (m->base.n_rows % block[0] != 0);
        uint64_t n_columns = m->base.n_columns / block[1] + (m->base.n_columns % block[1] != 0);
        if (n_rows == scale->shape[0] && n_columns == scale->shape[1]) return true;
    }
    return false;
}

/* --- scales and zeros --- */

/* One for the tensor, for a row, for a group of a row, or for a block. */
static qdisp_status place_scales(qd_resolve *r, qd_quantized *m, const qdisp_tensor *scale, const qdisp_tensor *g_idx) {
    uint64_t n = qd_tensor_n_elements(scale), rows = m->base.n_rows;
    uint64_t n_groups = scale->n_dims == 2 ? scale->shape[1] : 1;
    size_t block[2];
    m->scales = scale->data;
    m->group_size = m->base.n_columns;
    m->n_groups = 1;
    if (n == 1) return QDISP_OK;
    if (scale->n_dims >= 1 && scale->n_dims <= 2 && scale->shape[0] == rows && n_groups > 0) {
        m->scale_row = (size_t)n_groups;
        m->scale_group = 1;
        return qd_resolve_groups(r, m, n_groups, g_idx);
    }
    if (n > 0 && scale->n_dims == 2 && find_block(r, m, scale, block)) {
        m->row_block = block[0];
        m->group_size = block[1];
        m->scale_row = (size_t)n_groups;
        m->scale_group = 1;
        m->n_groups = (size_t)n_groups;
        return QDISP_OK;
    }
    char text[96];
    qd_tensor_shape_text(scale->shape, scale->n_dims, text);
    return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "weight_scale %s does not fit a weight [%zu, %zu]", text, m->base.n_rows,
                           m->base.n_columns);
}

static qdisp_status place_zeros(qd_resolve *r, qd_quantized *m, const qdisp_tensor *scale, const qdisp_tensor *zeros) {
    unsigned bits = m->codes.bits;
    if (!zeros) {
        m->zero_bias = bits ? 1 << (bits - 1) : 0; /* codes are stored plus as much */
        return QDISP_OK;
    }
    if (zeros->dtype == QDISP_DTYPE_I8 && qd_tensor_n_elements(zeros) == qd_tensor_n_elements(scale)) {
        m->zeros_kind = QD_ZEROS_I8;
        m->zeros_i8 = zeros->data;
        m->zero_bias = bits ? 1 << (bits - 1) : 0;
        return QDISP_OK;
    }
    uint64_t words = zeros->n_dims == 2 ? zeros->shape[0] : 0;
    for (int k = 0; k < 2 && bits && zeros->dtype == QDISP_DTYPE_I32; k++) {
        qd_bits_order order = k == 0 ? m->codes.order : QD_BITS_PADDED;
        if (words != qd_bits_words(order, bits, m->base.n_rows) || zeros->shape[1] != m->n_groups) continue;
        m->zeros_kind = QD_ZEROS_OF_GROUPS;
        m->zeros = (qd_bits){zeros->data, m->n_groups, 1, bits, order};
        return QDISP_OK;
    }
    return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "weight_zero_point of %s does not fit its scales",
                           qd_tensor_format(zeros));
}

/* --- modules --- */

/* weight_shape, two integers. */
static qdisp_status read_shape(qd_resolve *r, const qdisp_tensor *packed, qd_quantized *m) {
    const qdisp_tensor *shape = qd_resolve_take(r, ".weight_shape");
    int64_t sizes[2] = {0, 0};
    if (shape && shape->dtype == QDISP_DTYPE_I64 && shape->n_bytes == 16) memcpy(sizes, shape->data, 16);
    if (shape && shape->dtype == QDISP_DTYPE_I32 && shape->n_bytes == 8) {
        int32_t narrow[2];
        memcpy(narrow, shape->data, 8);
        sizes[0] = narrow[0];
        sizes[1] = narrow[1];
    }
    if (sizes[0] <= 0 || sizes[1] <= 0 || (uint64_t)sizes[0] != packed->shape[0]) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%s", "weight_shape is missing or not that of weight_packed");
    }
    m->base.n_rows = (size_t)sizes[0];
    m->base.n_columns = (size_t)sizes[1];
    return QDISP_OK;
}

static qdisp_status resolve_integers(qd_resolve *r, size_t i, const qdisp_tensor *packed) {
    qd_quantized m = {.base = {.n_rows = 0}};
    const qdisp_tensor *scale = qd_resolve_take(r, ".weight_scale"), *g_idx = qd_resolve_take(r, ".weight_g_idx");
    const qdisp_tensor *zeros = qd_resolve_take(r, ".weight_zero_point");
    if (packed->n_dims != 2 || !scale) return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%s", "no packed matrix, or no scales");
    QD_TRY(read_shape(r, packed, &m));
    qd_bits_order order = QD_BITS_DENSE;
    unsigned bits = find_bits(r, m.base.n_columns, packed->shape[1], &order);
    if (!bits) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%llu words for %zu codes: no number of bits of the config, or "
                               "several",
                               (unsigned long long)packed->shape[1], m.base.n_columns);
    }
    m.codes = (qd_bits){packed->data, 1, (size_t)packed->shape[1], bits, order};
    if (g_idx) {
        int32_t first = -1;
        if (g_idx->dtype != QDISP_DTYPE_I32 || qd_tensor_n_elements(g_idx) != m.base.n_columns) {
            return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%s", "weight_g_idx is not an i32 an input");
        }
        memcpy(&first, g_idx->data, sizeof first);
        if (first == -1) g_idx = NULL; /* not set: groups in order */
    }
    QD_TRY(qd_resolve_scales(r, &m, scale));
    QD_TRY(place_scales(r, &m, scale, g_idx));
    QD_TRY(place_zeros(r, &m, scale, zeros));
    char format[32];
    snprintf(format, sizeof format, "ct-int%u", bits);
    return qd_resolve_give_matrix(r, i, &m, format, packed->n_bytes + scale->n_bytes + (zeros ? zeros->n_bytes : 0));
}

/* Two of 4 bits a byte, the first in the low half; nvfp4: scales in E4M3, divided by one for the tensor. */
static qdisp_status resolve_fp4(qd_resolve *r, size_t i, const qdisp_tensor *packed) {
    const qdisp_tensor *scale = qd_resolve_take(r, ".weight_scale");
    const qdisp_tensor *global = qd_resolve_take(r, ".weight_global_scale");
    if (packed->n_dims != 2 || !scale || packed->shape[1] > SIZE_MAX / 2) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%s", "no packed matrix, or no scales");
    }
    qdisp_tensor values = {.data = packed->data, .n_bytes = packed->n_bytes, .n_dims = 2,
                           .shape = {packed->shape[0], 2 * packed->shape[1]}};
    QD_TRY(qd_minifloat_pack(r->file, &values, "F4"));
    qd_quantized m = {
        .base = {.n_rows = (size_t)values.shape[0], .n_columns = (size_t)values.shape[1], .value = QDISP_DTYPE_BF16},
        .values = values.data,
        .values_dtype = QDISP_DTYPE_PACKED,
        .scale_dtype = (qdisp_dtype)scale->dtype,
    };
    bool is_e4m3 = scale->dtype == QDISP_DTYPE_PACKED && !strcmp(qd_tensor_format(scale), "F8_E4M3");
    if (global) {
        if (global->dtype != QDISP_DTYPE_F32 || qd_tensor_n_elements(global) != 1 || !is_e4m3) {
            return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%s", "weight_global_scale is not one f32, or no E4M3 scales");
        }
        memcpy(&m.divisor, global->data, sizeof m.divisor);
        m.scale_is_bf16 = global->n_dims == 0; /* a number takes the type of what it divides */
        if (m.divisor == 0) return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%s", "weight_global_scale is 0");
    } else if (scale->dtype != QDISP_DTYPE_U8) {
        return QD_RESOLVE_FAIL(r, QDISP_EUNSUPPORTED, "4-bit floats with scales of %s", qd_tensor_format(scale));
    }
    QD_TRY(place_scales(r, &m, scale, NULL));
    return qd_resolve_give_matrix(r, i, &m, global ? "ct-nvfp4" : "ct-mxfp4", packed->n_bytes + scale->n_bytes);
}

/* A weight of bytes with a scale. Of floats, the scale is that of a model that was never compressed. */
static qdisp_status resolve_bytes(qd_resolve *r, size_t i) {
    const qdisp_tensor *scale = &r->file->tensors[i], *weight = qd_resolve_take(r, ".weight");
    const qdisp_tensor *zeros = qd_resolve_take(r, ".weight_zero_point");
    bool is_f8 = weight && weight->dtype == QDISP_DTYPE_PACKED && !strncmp(qd_tensor_format(weight), "F8_", 3);
    r->gone[i] = true;
    if (weight && !is_f8 && weight->dtype != QDISP_DTYPE_I8) {
        r->gone[weight - r->file->tensors] = false;
        return QDISP_OK;
    }
    if (!weight || weight->n_dims != 2 || qd_tensor_n_elements(weight) == 0) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%s", "weight_scale without a matrix 'weight'");
    }
    qd_quantized m = {
        .base = {.n_rows = (size_t)weight->shape[0], .n_columns = (size_t)weight->shape[1], .value = QDISP_DTYPE_BF16},
        .values = weight->data,
        .values_dtype = (qdisp_dtype)weight->dtype,
        .scale_dtype = QDISP_DTYPE_U8,
    };
    bool is_mx = is_f8 && scale->dtype == QDISP_DTYPE_U8;
    if (!is_mx) QD_TRY(qd_resolve_scales(r, &m, scale));
    QD_TRY(place_scales(r, &m, scale, qd_resolve_take(r, ".weight_g_idx")));
    QD_TRY(place_zeros(r, &m, scale, zeros));
    return qd_resolve_give_matrix(r, i, &m, is_mx ? "ct-mxfp8" : is_f8 ? "ct-fp8" : "ct-int8",
                                  weight->n_bytes + scale->n_bytes + (zeros ? zeros->n_bytes : 0));
}

qdisp_status qd_resolve_compressed(qd_resolve *r) {
    QD_TRY(check_config(r));
    for (size_t i = 0; i < r->file->n_tensors; i++) {
        const qdisp_tensor *t = &r->file->tensors[i];
        if (qd_resolve_is(r, i, ".weight_packed")) {
            QD_TRY(t->dtype == QDISP_DTYPE_U8 ? resolve_fp4(r, i, t)
                   : t->dtype == QDISP_DTYPE_I32 ? resolve_integers(r, i, t)
                   : QD_RESOLVE_FAIL(r, QDISP_EUNSUPPORTED, "weight_packed of %s", qd_tensor_format(t)));
        } else if (qd_resolve_is(r, i, ".weight_scale") && !qd_resolve_has(r, ".weight_packed")) {
            QD_TRY(resolve_bytes(r, i));
        } else {
            continue;
        }
        for (size_t k = 0; k < sizeof others / sizeof *others; k++) qd_resolve_take(r, others[k]);
    }
    return QDISP_OK;
}
