/* format_safetensors.c - safetensors: u64 header length, JSON header, data. Read without copying, written as a stream.
 *
 * The reader is as strict as the reference implementation: the data must be tiled by the tensors with no hole or
 * overlap, so that nothing can hide in a file; sizes are checked against overflow before they are used. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/tensor.h"

#define MAX_HEADER 100000000u /* the reference implementation's limit */
#define BLOCK_BYTES ((size_t)1 << 20)

/* What an array can be; the names of smaller floats are in minifloat.c. Others are listed and not read. */
static const struct {
    const char *name;
    qdisp_dtype dtype;
} dtypes[] = {
    {"F32", QDISP_DTYPE_F32}, {"F16", QDISP_DTYPE_F16}, {"BF16", QDISP_DTYPE_BF16},
    {"F64", QDISP_DTYPE_F64}, {"I64", QDISP_DTYPE_I64}, {"I32", QDISP_DTYPE_I32},
    {"I8", QDISP_DTYPE_I8},   {"U8", QDISP_DTYPE_U8},   {"BOOL", QDISP_DTYPE_BOOL},
};
#define N_DTYPES (sizeof dtypes / sizeof *dtypes)

/* Where a tensor's description is being read; for messages. */
typedef struct entry {
    qd_tensor_file *file;
    const char *name;
    json_t *info;
} entry;

#define FAIL(e, status, format, ...) \
    qd_fail((e)->file->ctx, (status), "%s: tensor '%.200s': " format, (e)->file->path, (e)->name, __VA_ARGS__)

static qdisp_status read_dtype(const entry *e, qdisp_tensor *tensor) {
    const char *text = json_string_value(json_object_get(e->info, "dtype"));
    if (!text) return FAIL(e, QDISP_EFORMAT, "%s", "no dtype");
    for (size_t i = 0; i < N_DTYPES; i++) {
        if (!strcmp(text, dtypes[i].name)) {
            tensor->dtype = dtypes[i].dtype;
            return QDISP_OK;
        }
    }
    tensor->dtype = QDISP_DTYPE_OTHER;
    return QDISP_OK;
}

static qdisp_status read_shape(const entry *e, qdisp_tensor *tensor) {
    json_t *shape = json_object_get(e->info, "shape");
    if (!json_is_array(shape)) return FAIL(e, QDISP_EFORMAT, "%s", "no shape");
    size_t n = json_array_size(shape);
    if (n > 4) return FAIL(e, QDISP_EUNSUPPORTED, "%zu dimensions, more than 4", n);
    for (size_t i = 0; i < n; i++) {
        json_t *size = json_array_get(shape, i);
        if (!json_is_integer(size) || json_integer_value(size) < 0) {
            return FAIL(e, QDISP_EFORMAT, "dimension %zu of the shape is not a size", i);
        }
        tensor->shape[i] = (uint64_t)json_integer_value(size);
    }
    tensor->n_dims = (uint32_t)n;
    return QDISP_OK;
}

static qdisp_status read_offsets(const entry *e, uint64_t n_data, uint64_t *begin, uint64_t *end) {
    json_t *offsets = json_object_get(e->info, "data_offsets");
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !json_is_integer(json_array_get(offsets, 0)) ||
        !json_is_integer(json_array_get(offsets, 1))) {
        return FAIL(e, QDISP_EFORMAT, "%s", "data_offsets are not two integers");
    }
    json_int_t from = json_integer_value(json_array_get(offsets, 0));
    json_int_t to = json_integer_value(json_array_get(offsets, 1));
    if (from < 0 || to < from) {
        return FAIL(e, QDISP_EFORMAT, "offsets %lld..%lld do not ascend from 0", (long long)from, (long long)to);
    }
    if ((uint64_t)to > n_data) {
        return FAIL(e, QDISP_EFORMAT, "offsets %lld..%lld pass the end (%llu)", (long long)from, (long long)to,
                    (unsigned long long)n_data);
    }
    *begin = (uint64_t)from;
    *end = (uint64_t)to;
    return QDISP_OK;
}

/* Of dtypes whose size is known the bytes must be those of the shape. */
static qdisp_status check_size(const entry *e, const qdisp_tensor *tensor) {
    const char *name = json_string_value(json_object_get(e->info, "dtype"));
    uint64_t n_elements, n_bytes, n_bits = qd_minifloat_bits(name);
    bool is_other = tensor->dtype == QDISP_DTYPE_OTHER, known = !is_other || n_bits;
    char shape[96];
    qd_tensor_shape_text(tensor->shape, tensor->n_dims, shape);
    if (!qd_tensor_sizes(tensor->shape, tensor->n_dims, is_other ? QDISP_DTYPE_I8 : tensor->dtype, &n_elements,
                         &n_bytes)) {
        return FAIL(e, QDISP_EFORMAT, "the size of shape %s overflows", shape);
    }
    if (n_bits) n_bytes = n_bits == 4 ? n_elements / 2 + n_elements % 2 : n_elements;
    if (known && n_bytes != tensor->n_bytes) {
        return FAIL(e, QDISP_EFORMAT, "shape %s of %s takes %llu bytes, offsets give %llu", shape,
                    is_other ? name : qd_dtype_name((qdisp_dtype)tensor->dtype), (unsigned long long)n_bytes,
                    (unsigned long long)tensor->n_bytes);
    }
    return QDISP_OK;
}

static qdisp_status read_entry(const entry *e, const uint8_t *data, uint64_t n_data, qdisp_tensor *tensor) {
    if (!json_is_object(e->info)) return FAIL(e, QDISP_EFORMAT, "%s", "its description is not an object");
    uint64_t begin = 0, end = 0;
    QD_TRY(read_dtype(e, tensor));
    QD_TRY(read_shape(e, tensor));
    QD_TRY(read_offsets(e, n_data, &begin, &end));
    tensor->data = data + begin;
    tensor->n_bytes = end - begin;
    QD_TRY(check_size(e, tensor));
    tensor->name = qd_tensor_file_text(e->file, e->name, strlen(e->name));
    return tensor->name ? QDISP_OK : QDISP_ENOMEM;
}

static qdisp_status read_metadata(qd_tensor_file *file, json_t *metadata) {
    if (!json_is_object(metadata)) {
        return qd_fail(file->ctx, QDISP_EFORMAT, "%s: __metadata__ is not an object", file->path);
    }
    size_t cap = file->n_metadata;
    QD_TRY(qd_grow(file->ctx, (void **)&file->metadata, &cap, file->n_metadata + json_object_size(metadata),
                   2 * sizeof *file->metadata));
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value)) {
            return qd_fail(file->ctx, QDISP_EFORMAT, "%s: __metadata__ '%.200s' is not a string", file->path, key);
        }
        const char *name = qd_tensor_file_text(file, key, strlen(key));
        const char *text = qd_tensor_file_text(file, json_string_value(value), json_string_length(value));
        if (!name || !text) return QDISP_ENOMEM;
        file->metadata[2 * file->n_metadata] = name;
        file->metadata[2 * file->n_metadata++ + 1] = text;
    }
    return QDISP_OK;
}

static int compare_offsets(const void *a, const void *b) {
    const qdisp_tensor *x = a, *y = b;
    if (x->data != y->data) return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    if (x->n_bytes != y->n_bytes) return x->n_bytes < y->n_bytes ? -1 : 1; /* empty ones before what begins there */
    return strcmp(x->name, y->name);
}

/* tensors[n], in the order of the data from here on. */
static qdisp_status check_tiling(const qd_tensor_file *file, qdisp_tensor *tensors, size_t n, const uint8_t *data,
                                 uint64_t n_data) {
    qsort(tensors, n, sizeof *tensors, compare_offsets);
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t begin = (uint64_t)((const uint8_t *)tensors[i].data - data);
        if (begin != at) {
            return qd_fail(file->ctx, QDISP_EFORMAT, "%s: tensor '%.200s': begins at %llu, %s (%llu)", file->path,
                           tensors[i].name, (unsigned long long)begin,
                           begin < at ? "before the end of another tensor" : "after a hole in the data",
                           (unsigned long long)at);
        }
        at += tensors[i].n_bytes;
    }
    if (at != n_data) {
        return qd_fail(file->ctx, QDISP_EFORMAT, "%s: the tensors end at %llu, the data at %llu", file->path,
                       (unsigned long long)at, (unsigned long long)n_data);
    }
    return QDISP_OK;
}

/* Types beyond those of arrays, told once more by the header: until here data and n_bytes were the raw ones. */
static qdisp_status finish(qd_tensor_file *file, json_t *header, size_t first) {
    for (size_t i = first; i < file->n_tensors; i++) {
        qdisp_tensor *tensor = &file->tensors[i];
        if (tensor->dtype != QDISP_DTYPE_OTHER) continue;
        const char *name = json_string_value(json_object_get(json_object_get(header, tensor->name), "dtype"));
        QD_TRY(qd_minifloat_bits(name) ? qd_minifloat_pack(file, tensor, name)
                                       : qd_tensor_file_other(file, tensor, name, tensor->n_bytes));
    }
    return QDISP_OK;
}

static qdisp_status read_header(qd_tensor_file *file, json_t *header, const uint8_t *data, uint64_t n_data) {
    size_t first = file->n_tensors;
    QD_TRY(qd_tensor_file_reserve(file, json_object_size(header)));
    const char *key;
    json_t *value;
    json_object_foreach(header, key, value) {
        if (!strcmp(key, "__metadata__")) {
            QD_TRY(read_metadata(file, value));
            continue;
        }
        entry e = {file, key, value};
        QD_TRY(read_entry(&e, data, n_data, &file->tensors[file->n_tensors]));
        file->n_tensors++;
    }
    QD_TRY(check_tiling(file, file->tensors + first, file->n_tensors - first, data, n_data));
    return finish(file, header, first);
}

qdisp_status qd_safetensors_parse(qd_tensor_file *file, const uint8_t *data, size_t size) {
    if (size < 8) {
        return qd_fail(file->ctx, QDISP_EFORMAT, "%s: %zu bytes are too few for safetensors", file->path, size);
    }
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--) n = n << 8 | data[i];
    if (n > MAX_HEADER) {
        return qd_fail(file->ctx, QDISP_EFORMAT, "%s: header of %llu bytes, more than %u: no safetensors file",
                       file->path, (unsigned long long)n, MAX_HEADER);
    }
    if (n > size - 8) {
        return qd_fail(file->ctx, QDISP_EFORMAT, "%s: header of %llu bytes passes the end of the file (%zu)",
                       file->path, (unsigned long long)n, size);
    }
    if (n == 0 || data[8] != '{') return qd_fail(file->ctx, QDISP_EFORMAT, "%s: header is no JSON object", file->path);
    json_error_t error;
    json_t *header = json_loadb((const char *)data + 8, (size_t)n, JSON_REJECT_DUPLICATES, &error);
    if (!header) {
        return qd_fail(file->ctx, json_error_code(&error) == json_error_out_of_memory ? QDISP_ENOMEM : QDISP_EFORMAT,
                       "%s: header: %s (byte %d)", file->path, error.text, error.position);
    }
    qdisp_status status = read_header(file, header, data + 8 + n, size - 8 - n);
    json_decref(header);
    return status;
}

static bool matches(const uint8_t *data, size_t size) {
    return size > 8 && data[8] == '{';
}

extern const qd_container qd_container_safetensors;
const qd_container qd_container_safetensors = {"safetensors", matches, qd_safetensors_parse};

/* --- writer --- */

typedef struct qd_safetensors_writer writer;
struct qd_safetensors_writer {
    qdisp_ctx *ctx;
    const char *path;
    const qdisp_tensor *tensors;
    size_t n;
    const qdisp_tensor **order; /* in the order of the data */
    uint64_t *offsets;          /* [n] of tensors[i] in the file */
    uint64_t n_left;            /* bytes that have not come */
    qd_output *output;
};

static int compare_written(const void *a, const void *b) {
    const qdisp_tensor *x = *(const qdisp_tensor *const *)a, *y = *(const qdisp_tensor *const *)b;
    size_t nx = qd_dtype_size((qdisp_dtype)x->dtype), ny = qd_dtype_size((qdisp_dtype)y->dtype);
    if (nx != ny) return nx > ny ? -1 : 1;
    return strcmp(x->name, y->name);
}

static qdisp_status check_written(const writer *w) {
    for (size_t i = 0; i < w->n; i++) {
        const qdisp_tensor *t = w->order[i];
        uint64_t n_elements, n_bytes;
        if (qd_dtype_size((qdisp_dtype)t->dtype) == 0 || t->n_dims > 4 ||
            !qd_tensor_sizes(t->shape, t->n_dims, t->dtype, &n_elements, &n_bytes) || n_bytes != t->n_bytes) {
            return qd_fail(w->ctx, QDISP_EINVAL, "%s: tensor '%.200s': size does not match shape and dtype", w->path,
                           t->name);
        }
    }
    return QDISP_OK;
}

static json_t *shape_json(const qdisp_tensor *t) {
    json_t *shape = json_array();
    for (uint32_t i = 0; i < t->n_dims; i++) json_array_append_new(shape, json_integer((json_int_t)t->shape[i]));
    return shape;
}

static const char *dtype_text(const qdisp_tensor *t) {
    for (size_t i = 0; i < N_DTYPES; i++) {
        if (dtypes[i].dtype == t->dtype) return dtypes[i].name;
    }
    return "?";
}

/* NULL: out of memory, or a name that is not UTF-8 or there twice (*bad). */
static char *header_text(const writer *w, const char *const *metadata, size_t n_metadata, const char **bad) {
    json_t *header = json_object(), *strings = n_metadata ? json_object() : NULL;
    bool failed = !header || (n_metadata && !strings);
    for (size_t i = 0; i < n_metadata && !failed; i++) {
        failed = json_object_set_new(strings, metadata[2 * i], json_string(metadata[2 * i + 1])) != 0;
        if (failed) *bad = metadata[2 * i];
    }
    if (strings && header) json_object_set(header, "__metadata__", strings);
    uint64_t at = 0;
    for (size_t i = 0; i < w->n && !failed; i++) {
        const qdisp_tensor *t = w->order[i];
        json_t *info = json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_text(t), "shape", shape_json(t),
                                 "data_offsets", (json_int_t)at, (json_int_t)(at + t->n_bytes));
        failed = !info || json_object_get(header, t->name) || json_object_set(header, t->name, info) != 0;
        if (failed) *bad = t->name;
        json_decref(info);
        at += t->n_bytes;
    }
    char *text = failed ? NULL : json_dumps(header, JSON_COMPACT);
    json_decref(strings);
    json_decref(header);
    return text;
}

static qdisp_status write_header(writer *w, const char *text) {
    size_t n = strlen(text), padded = (n + 7) & ~(size_t)7;
    uint64_t at = 8 + padded;
    if (padded > MAX_HEADER) return qd_fail(w->ctx, QDISP_EUNSUPPORTED, "%s: header of %zu bytes", w->path, padded);
    uint8_t length[8];
    for (size_t i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)padded >> (8 * i));
    for (size_t i = 0; i < w->n; i++) {
        w->offsets[w->order[i] - w->tensors] = at;
        at += w->order[i]->n_bytes;
    }
    w->n_left = at - 8 - padded;
    QD_TRY(qd_output_write(w->output, length, 8));
    QD_TRY(qd_output_write(w->output, text, n));
    return qd_output_write(w->output, "       ", padded - n);
}

static qdisp_status start_writing(writer *w, const char *const *metadata, size_t n_metadata) {
    const char *bad = NULL;
    w->order = qd_alloc(w->ctx, w->n ? w->n : 1, sizeof *w->order);
    w->offsets = qd_alloc(w->ctx, w->n ? w->n : 1, sizeof *w->offsets);
    if (!w->order || !w->offsets) return QDISP_ENOMEM;
    for (size_t i = 0; i < w->n; i++) w->order[i] = &w->tensors[i];
    qsort((void *)w->order, w->n, sizeof *w->order, compare_written);
    QD_TRY(check_written(w));
    char *text = header_text(w, metadata, n_metadata, &bad);
    if (!text) {
        return bad ? qd_fail(w->ctx, QDISP_EINVAL, "%s: '%.200s' is not UTF-8, or there twice", w->path, bad)
                   : qd_fail(w->ctx, QDISP_ENOMEM, "%s: header", w->path);
    }
    qdisp_status status = qd_output_open(w->ctx, w->path, &w->output);
    if (status == QDISP_OK) status = write_header(w, text);
    free(text); /* jansson's */
    return status;
}

static void writer_clear(writer *w) {
    qd_output_discard(w->output);
    qd_free(w->ctx, (void *)w->order);
    qd_free(w->ctx, w->offsets);
}

static qdisp_status write_data(const writer *w, qd_tensor_fill fill, void *user, void *block) {
    for (size_t i = 0; i < w->n; i++) {
        const qdisp_tensor *t = w->order[i];
        if (!fill) {
            QD_TRY(qd_output_write(w->output, t->data, (size_t)t->n_bytes));
            continue;
        }
        for (uint64_t at = 0; at < t->n_bytes; at += BLOCK_BYTES) {
            size_t n = t->n_bytes - at < BLOCK_BYTES ? (size_t)(t->n_bytes - at) : BLOCK_BYTES;
            QD_TRY(fill(user, (size_t)(t - w->tensors), at, block, n));
            QD_TRY(qd_output_write(w->output, block, n));
        }
    }
    return QDISP_OK;
}

static qdisp_status commit_writer(writer *w) {
    qd_output *output = w->output;
    w->output = NULL;
    return qd_output_commit(output);
}

qdisp_status qd_safetensors_write(qdisp_ctx *ctx, const char *path, const qdisp_tensor *tensors, size_t n,
                                  const char *const *metadata, size_t n_metadata, qd_tensor_fill fill, void *user) {
    writer w = {.ctx = ctx, .path = path, .tensors = tensors, .n = n};
    void *block = fill ? qd_alloc_aligned(ctx, 1, BLOCK_BYTES) : NULL;
    qdisp_status status = fill && !block ? QDISP_ENOMEM : start_writing(&w, metadata, n_metadata);
    if (status == QDISP_OK) status = write_data(&w, fill, user, block);
    if (status == QDISP_OK) status = commit_writer(&w);
    writer_clear(&w);
    qd_free_aligned(ctx, block);
    return status;
}

qdisp_status qd_safetensors_begin(qdisp_ctx *ctx, const char *path, const qdisp_tensor *tensors, size_t n,
                                  const char *const *metadata, size_t n_metadata, qd_safetensors_writer **out) {
    writer *w = qd_alloc(ctx, 1, sizeof *w);
    if (!w) return QDISP_ENOMEM;
    *w = (writer){.ctx = ctx, .path = path, .tensors = tensors, .n = n};
    qdisp_status status = start_writing(w, metadata, n_metadata);
    if (status == QDISP_OK) *out = w;
    else qd_safetensors_discard(w);
    return status;
}

qdisp_status qd_safetensors_put(writer *w, size_t i_tensor, uint64_t offset, const void *bytes, size_t n_bytes) {
    w->n_left -= n_bytes;
    return qd_output_write_at(w->output, w->offsets[i_tensor] + offset, bytes, n_bytes);
}

qdisp_status qd_safetensors_commit(writer *w) {
    qdisp_status status = w->n_left == 0 ? commit_writer(w)
                                         : qd_fail(w->ctx, QDISP_EINVAL, "%s: %llu bytes of its tensors never came",
                                                   w->path, (unsigned long long)w->n_left);
    qd_safetensors_discard(w);
    return status;
}

void qd_safetensors_discard(writer *w) {
    if (!w) return;
    writer_clear(w);
    qd_free(w->ctx, w);
}
