/* quantized.c - from a config's quantization method to packed tensors: the table of methods and what they share. */
#include "tensor/quantized.h"

#include <stdio.h>
#include <string.h>

#define MAX_ELEMENTS ((uint64_t)1 << 48) /* so that products of sizes below do not overflow */

typedef struct method {
    const char *name; /* quant_method */
    qdisp_status (*resolve)(qd_resolve *r);
} method;

static const method methods[] = {
#define METHOD(name, function) {name, function},
#include "tensor/quantized.inc"
#undef METHOD
};

static const char method_names[] =
#define METHOD(name, function) " " name
#include "tensor/quantized.inc"
#undef METHOD
    ;

/* --- parts --- */

bool qd_resolve_is(qd_resolve *r, size_t i, const char *suffix) {
    const char *name = r->file->tensors[i].name;
    size_t n = strlen(name), n_suffix = strlen(suffix);
    if (n <= n_suffix || n - n_suffix >= sizeof r->module || strcmp(name + n - n_suffix, suffix)) return false;
    memcpy(r->module, name, n - n_suffix);
    r->module[n - n_suffix] = 0;
    return true;
}

static const qdisp_tensor *find_part(const qd_resolve *r, const char *suffix) {
    char name[sizeof r->module + 64];
    snprintf(name, sizeof name, "%s%s", r->module, suffix);
    return qd_tensor_file_find(r->file, name);
}

bool qd_resolve_has(const qd_resolve *r, const char *suffix) {
    return find_part(r, suffix) != NULL;
}

const qdisp_tensor *qd_resolve_take(qd_resolve *r, const char *suffix) {
    const qdisp_tensor *tensor = find_part(r, suffix);
    if (tensor) r->gone[tensor - r->file->tensors] = true;
    return tensor;
}

qdisp_status qd_resolve_need(qd_resolve *r, const char *suffix, qdisp_dtype dtype, uint32_t n_dims,
                             const qdisp_tensor **out) {
    const qdisp_tensor *tensor = qd_resolve_take(r, suffix);
    if (!tensor) return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "its '%s' is missing", suffix + 1);
    if (tensor->dtype != dtype) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "'%s' is %s, not %s", suffix + 1, qd_tensor_format(tensor),
                               qd_dtype_name(dtype));
    }
    if (tensor->n_dims != n_dims || qd_tensor_n_elements(tensor) == 0) {
        char shape[96];
        qd_tensor_shape_text(tensor->shape, tensor->n_dims, shape);
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "'%s' has shape %s, not %u sizes above 0", suffix + 1, shape, n_dims);
    }
    *out = tensor;
    return QDISP_OK;
}

qdisp_status qd_resolve_give(qd_resolve *r, size_t i, qd_packed *packed, const char *format, uint64_t n_bytes) {
    char name[sizeof r->module + 8];
    qdisp_tensor tensor = {.shape = {packed->n_rows, packed->n_columns}, .n_dims = 2};
    int n = snprintf(name, sizeof name, "%s.weight", r->module);
    QD_TRY(qd_tensor_file_pack(r->file, &tensor, packed, n_bytes));
    packed->format = qd_tensor_file_text(r->file, format, strlen(format));
    tensor.name = qd_tensor_file_text(r->file, name, (size_t)n);
    if (!packed->format || !tensor.name) return QDISP_ENOMEM;
    r->gone[i] = false;
    r->made[i] = tensor;
    return QDISP_OK;
}

static int64_t place_of(const void *index, size_t i) {
    int64_t place;
    memcpy(&place, (const char *)index + i * sizeof place, sizeof place);
    return place;
}

static qdisp_status resolve_kept(qd_resolve *r, qd_quantized *matrix) {
    const qdisp_tensor *index = qd_resolve_take(r, ".qdisp_kept_index");
    const qdisp_tensor *values = qd_resolve_take(r, ".qdisp_kept_value");
    if (!index && !values) return QDISP_OK;
    if (!index || !values || index->dtype != QDISP_DTYPE_I64 || index->n_dims != 1 || values->n_dims != 1 ||
        index->shape[0] != values->shape[0] ||
        (values->dtype != QDISP_DTYPE_F32 && values->dtype != QDISP_DTYPE_F16 && values->dtype != QDISP_DTYPE_BF16)) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%s", "qdisp_kept_index and qdisp_kept_value are no rows of i64 and "
                               "floats of one length");
    }
    size_t n = (size_t)index->shape[0];
    uint64_t n_all = (uint64_t)matrix->base.n_rows * matrix->base.n_columns;
    for (size_t i = 0; i < n; i++) {
        int64_t place = place_of(index->data, i);
        if (place >= 0 && (uint64_t)place < n_all && (i == 0 || place > place_of(index->data, i - 1))) continue;
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "qdisp_kept_index %zu is %lld: not ascending, or outside of %llu "
                               "weights", i, (long long)place, (unsigned long long)n_all);
    }
    matrix->kept_index = index->data;
    matrix->kept_values = values->data;
    matrix->kept_dtype = (qdisp_dtype)values->dtype;
    matrix->n_kept = n;
    if (matrix->kept_dtype != matrix->base.value) matrix->base.value = QDISP_DTYPE_F32;
    return QDISP_OK;
}

qdisp_status qd_resolve_give_matrix(qd_resolve *r, size_t i, const qd_quantized *matrix, const char *format,
                                    uint64_t n_bytes) {
    uint64_t n;
    if (qd_mul_overflows(matrix->base.n_rows, matrix->base.n_columns, &n) || n > MAX_ELEMENTS) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%zu rows of %zu are too many", matrix->base.n_rows,
                               matrix->base.n_columns);
    }
    qd_quantized whole = *matrix;
    whole.rounding = matrix->base.value;
    QD_TRY(resolve_kept(r, &whole));
    qd_quantized *copy = qd_alloc(r->file->ctx, 1, sizeof *copy);
    if (!copy) return QDISP_ENOMEM;
    *copy = whole;
    copy->base.read = qd_quantized_read;
    if (copy->row_block == 0) copy->row_block = 1;
    return qd_resolve_give(r, i, &copy->base, format, n_bytes);
}

qdisp_status qd_resolve_scales(qd_resolve *r, qd_quantized *matrix, const qdisp_tensor *scales) {
    if (scales->dtype != QDISP_DTYPE_F16 && scales->dtype != QDISP_DTYPE_BF16 && scales->dtype != QDISP_DTYPE_F32) {
        return QD_RESOLVE_FAIL(r, QDISP_EUNSUPPORTED, "scales of %s", qd_tensor_format(scales));
    }
    matrix->scales = scales->data;
    matrix->scale_dtype = matrix->base.value = (qdisp_dtype)scales->dtype;
    return QDISP_OK;
}

static int32_t group_of(const void *g_idx, size_t i) {
    int32_t g;
    memcpy(&g, (const char *)g_idx + i * sizeof g, sizeof g);
    return g;
}

qdisp_status qd_resolve_groups(qd_resolve *r, qd_quantized *matrix, uint64_t n_groups, const qdisp_tensor *g_idx) {
    uint64_t n = matrix->base.n_columns;
    int64_t size = qd_resolve_integer(r, "group_size", 0);
    matrix->n_groups = (size_t)n_groups;
    if (n_groups > n) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%llu groups of %llu inputs", (unsigned long long)n_groups,
                               (unsigned long long)n);
    }
    bool fits = size > 0 && (uint64_t)size <= n && n / (uint64_t)size + (n % (uint64_t)size != 0) == n_groups;
    if (!fits && n % n_groups == 0) size = (int64_t)(n / n_groups), fits = true;
    matrix->group_size = fits ? (size_t)size : 0;
    bool counts_up = fits;
    for (size_t i = 0; g_idx && i < n; i++) {
        int32_t g = group_of(g_idx->data, i);
        if (g < 0 || (uint64_t)g >= n_groups) {
            return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "g_idx %d of input %zu is outside of %llu groups", g, i,
                                   (unsigned long long)n_groups);
        }
        counts_up = counts_up && (size_t)g == i / matrix->group_size;
    }
    if (g_idx && !counts_up) matrix->g_idx = g_idx->data;
    if (!g_idx && !fits) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%llu inputs in %llu groups: not of %lld", (unsigned long long)n,
                               (unsigned long long)n_groups, (long long)size);
    }
    return QDISP_OK;
}

int64_t qd_resolve_integer(const qd_resolve *r, const char *key, int64_t fallback) {
    const json_t *value = json_object_get(r->config, key);
    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

const char *qd_resolve_text(const qd_resolve *r, const char *key) {
    const char *text = json_string_value(json_object_get(r->config, key));
    return text ? text : "";
}

/* --- the file --- */

/* Tensors that were made take the place of one of their parts, the other parts are left out. */
static qdisp_status replace(qd_resolve *r) {
    qd_tensor_file *file = r->file;
    size_t n = 0;
    for (size_t i = 0; i < file->n_tensors; i++) {
        if (r->made[i].name) file->tensors[n++] = r->made[i];
        else if (!r->gone[i]) file->tensors[n++] = file->tensors[i];
    }
    file->n_tensors = n;
    return qd_tensor_file_index(file);
}

static qdisp_status run(qd_tensor_file *file, const json_t *config, const json_t *model, const method *m) {
    qd_resolve *r = qd_alloc(file->ctx, 1, sizeof *r);
    if (!r) return QDISP_ENOMEM;
    r->file = file;
    r->config = config;
    r->model = model;
    r->gone = qd_alloc(file->ctx, file->n_tensors + 1, sizeof *r->gone);
    r->made = qd_alloc(file->ctx, file->n_tensors + 1, sizeof *r->made);
    qdisp_status status = r->gone && r->made ? m->resolve(r) : QDISP_ENOMEM;
    if (status == QDISP_OK) status = replace(r);
    qd_free(file->ctx, r->gone);
    qd_free(file->ctx, r->made);
    qd_free(file->ctx, r);
    return status;
}

/* Old writers leave the method out: GPTQ's quantize_config.json has bits and group_size alone. */
static const char *method_of(const json_t *config) {
    const char *name = json_string_value(json_object_get(config, "quant_method"));
    if (!name) name = json_string_value(json_object_get(config, "method"));
    if (name && !strcmp(name, "intel/auto-round")) return "auto-round";
    if (name) return name;
    if (json_is_true(json_object_get(config, "load_in_4bit")) || json_is_true(json_object_get(config, "load_in_8bit")))
        return "bitsandbytes";
    if (json_object_get(config, "config_groups")) return "compressed-tensors";
    if (json_object_get(config, "zero_point") && json_object_get(config, "version")) return "awq";
    return json_object_get(config, "bits") || json_object_get(config, "w_bit") ? "gptq" : "";
}

qdisp_status qd_quantized_resolve(qd_tensor_file *file, const json_t *config) {
    const json_t *own = json_object_get(config, "quantization_config");
    if (!own) own = json_object_get(config, "compression_config"); /* of compressed-tensors before 0.7 */
    if (!own && !json_object_get(config, "model_type") && !json_object_get(config, "architectures")) own = config;
    if (!json_is_object(own)) return QDISP_OK;
    const char *name = method_of(own);
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (!strcmp(name, methods[i].name)) return run(file, own, config, &methods[i]);
    if (!*name && own == config) return QDISP_OK;
    return qd_fail(file->ctx, QDISP_EUNSUPPORTED, "%s: quantization method '%.60s' is not read (these are:%s)",
                   file->path, name, method_names);
}
