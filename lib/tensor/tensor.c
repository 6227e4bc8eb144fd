/* tensor.c - shapes and sizes of tensors, and the list that an opened file is. */
#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool qd_tensor_sizes(const uint64_t *shape, uint32_t n_dims, uint32_t dtype, uint64_t *n_elements, uint64_t *n_bytes) {
    uint64_t n = 1, bytes;
    /* A zero dimension would hide an overflow of the others, so they are multiplied first. */
    bool empty = false;
    for (uint32_t i = 0; i < n_dims; i++) {
        if (shape[i] == 0) {
            empty = true;
        } else if (qd_mul_overflows(n, shape[i], &n)) {
            return false;
        }
    }
    if (qd_mul_overflows(n, qd_dtype_size((qdisp_dtype)dtype), &bytes) || bytes > PTRDIFF_MAX) return false;
    *n_elements = empty ? 0 : n;
    *n_bytes = empty ? 0 : bytes;
    return true;
}

uint64_t qd_tensor_n_elements(const qdisp_tensor *tensor) {
    uint64_t n = 1;
    for (uint32_t i = 0; i < tensor->n_dims; i++) n *= tensor->shape[i];
    return n;
}

void qd_tensor_shape_text(const uint64_t *shape, uint32_t n_dims, char text[96]) {
    size_t n = 0;
    text[n++] = '[';
    /* 4 dimensions of at most 20 digits and ", " each: 90 characters. */
    for (uint32_t i = 0; i < n_dims && i < 4; i++) {
        n += (size_t)snprintf(text + n, 96 - n, i ? ", %llu" : "%llu", (unsigned long long)shape[i]);
    }
    text[n++] = ']';
    text[n] = 0;
}

bool qd_tensor_is_float(const qdisp_tensor *tensor) {
    return tensor->dtype == QDISP_DTYPE_F32 || tensor->dtype == QDISP_DTYPE_F16 || tensor->dtype == QDISP_DTYPE_BF16 ||
           tensor->dtype == QDISP_DTYPE_PACKED;
}

void qd_tensor_file_free(qd_tensor_file *file) {
    if (!file) return;
    qdisp_ctx *ctx = file->ctx;
    for (size_t i = 0; file->tensors && i < file->n_tensors; i++) {
        qd_free(ctx, (void *)(uintptr_t)file->tensors[i].name);
    }
    for (size_t i = 0; file->metadata && i < 2 * file->n_metadata; i++) qd_free(ctx, file->metadata[i]);
    qd_free(ctx, file->tensors);
    qd_free(ctx, (void *)file->by_name);
    qd_free(ctx, (void *)file->metadata);
    qd_free(ctx, file->path);
    for (size_t i = 0; i < file->n_maps; i++) {
        qd_unmap_file(&file->maps[i]);
        qd_free(ctx, file->map_paths[i]);
    }
    qd_free(ctx, file->maps);
    qd_free(ctx, (void *)file->map_paths);
    for (size_t i = 0; i < file->n_owned; i++) qd_free(ctx, file->owned[i]);
    qd_free(ctx, (void *)file->owned);
    qd_free(ctx, file);
    qdisp_ctx_free(ctx);
}

static int compare_names(const void *a, const void *b) {
    const qdisp_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static qdisp_status index_names(qd_tensor_file *file) {
    file->by_name = qd_alloc(file->ctx, file->n_tensors ? file->n_tensors : 1, sizeof *file->by_name);
    if (!file->by_name) return QDISP_ENOMEM;
    for (size_t i = 0; i < file->n_tensors; i++) file->by_name[i] = &file->tensors[i];
    qsort((void *)file->by_name, file->n_tensors, sizeof *file->by_name, compare_names);
    for (size_t i = 1; i < file->n_tensors; i++) {
        if (!strcmp(file->by_name[i - 1]->name, file->by_name[i]->name)) {
            return qd_fail(file->ctx, QDISP_EFORMAT, "%s: two tensors are named '%s'", file->path,
                           file->by_name[i]->name);
        }
    }
    return QDISP_OK;
}

static qdisp_status new_file(qdisp_ctx *ctx, const char *path, qd_tensor_file **out) {
    qd_tensor_file *file = qd_alloc(ctx, 1, sizeof *file);
    if (!file) return QDISP_ENOMEM;
    file->ctx = qd_ctx_ref(ctx);
    file->path = qd_strdup(ctx, path);
    if (!file->path) {
        qd_tensor_file_free(file);
        return QDISP_ENOMEM;
    }
    *out = file;
    return QDISP_OK;
}

static qdisp_status parse(qd_tensor_file *file, const uint8_t *data, size_t size, bool is_safetensors) {
    QD_TRY(is_safetensors ? qd_safetensors_parse(file, data, size) : qd_tensor_file_detect(file, data, size));
    return index_names(file);
}

/* Adds the mapping of one more file. */
static qdisp_status map_path(qd_tensor_file *file, const char *path) {
    size_t cap_maps = file->n_maps, cap_paths = file->n_maps;
    QD_TRY(qd_grow(file->ctx, (void **)&file->maps, &cap_maps, file->n_maps + 1, sizeof *file->maps));
    QD_TRY(qd_grow(file->ctx, (void **)&file->map_paths, &cap_paths, file->n_maps + 1, sizeof *file->map_paths));
    char *copy = qd_strdup(file->ctx, path);
    if (!copy) return QDISP_ENOMEM;
    qdisp_status status = qd_map_file(file->ctx, path, &file->maps[file->n_maps]);
    if (status != QDISP_OK) {
        qd_free(file->ctx, copy);
        return status;
    }
    file->map_paths[file->n_maps++] = copy;
    return QDISP_OK;
}

static qdisp_status open_file(qdisp_ctx *ctx, const char *path, bool is_safetensors, qd_tensor_file **out) {
    qd_tensor_file *file = NULL;
    QD_TRY(new_file(ctx, path, &file));
    qdisp_status status = map_path(file, path);
    if (status == QDISP_OK) status = parse(file, file->maps[0].data, file->maps[0].size, is_safetensors);
    if (status != QDISP_OK) {
        qd_tensor_file_free(file);
        return status;
    }
    *out = file;
    return QDISP_OK;
}

qdisp_status qd_tensor_file_open(qdisp_ctx *ctx, const char *path, qd_tensor_file **out) {
    return open_file(ctx, path, false, out);
}

qdisp_status qd_safetensors_open(qdisp_ctx *ctx, const char *path, qd_tensor_file **out) {
    return open_file(ctx, path, true, out);
}

qdisp_status qd_tensor_file_parse(qdisp_ctx *ctx, const char *label, const uint8_t *data, size_t size,
                                  qd_tensor_file **out) {
    qd_tensor_file *file = NULL;
    QD_TRY(new_file(ctx, label, &file));
    qdisp_status status = parse(file, data, size, false);
    if (status != QDISP_OK) {
        qd_tensor_file_free(file);
        return status;
    }
    *out = file;
    return QDISP_OK;
}

static qdisp_status copy_tensor(qd_tensor_file *file, const qdisp_tensor *from, qdisp_tensor *to) {
    uint64_t n_elements, n_bytes;
    if (!from->name) return qd_fail(file->ctx, QDISP_EINVAL, "%s: a tensor has no name", file->path);
    if (from->n_dims > 4 || qd_dtype_size((qdisp_dtype)from->dtype) == 0) {
        return qd_fail(file->ctx, QDISP_EINVAL, "%s: tensor '%.200s': %u dimensions of dtype %u", file->path,
                       from->name, from->n_dims, from->dtype);
    }
    if (!qd_tensor_sizes(from->shape, from->n_dims, from->dtype, &n_elements, &n_bytes) || n_bytes != from->n_bytes) {
        return qd_fail(file->ctx, QDISP_EINVAL, "%s: tensor '%.200s': %llu bytes do not match shape and dtype",
                       file->path, from->name, (unsigned long long)from->n_bytes);
    }
    if (!from->data && n_bytes) {
        return qd_fail(file->ctx, QDISP_EINVAL, "%s: tensor '%.200s': no data", file->path, from->name);
    }
    *to = *from;
    to->name = qd_strdup(file->ctx, from->name);
    return to->name ? QDISP_OK : QDISP_ENOMEM;
}

qdisp_status qd_tensor_file_from(qdisp_ctx *ctx, const char *label, const qdisp_tensor *tensors, size_t n,
                                 qd_tensor_file **out) {
    qd_tensor_file *file = NULL;
    QD_TRY(new_file(ctx, label, &file));
    qdisp_status status = QDISP_ENOMEM;
    file->tensors = qd_alloc(ctx, n ? n : 1, sizeof *file->tensors);
    if (!file->tensors) goto done;
    for (; file->n_tensors < n; file->n_tensors++) {
        QD_TRY_GOTO(copy_tensor(file, &tensors[file->n_tensors], &file->tensors[file->n_tensors]));
    }
    QD_TRY_GOTO(index_names(file));
    *out = file;
    file = NULL;
done:
    qd_tensor_file_free(file);
    return status;
}

const qdisp_tensor *qd_tensor_file_find(const qd_tensor_file *file, const char *name) {
    size_t low = 0, high = file->n_tensors;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(file->by_name[middle]->name, name);
        if (order == 0) return file->by_name[middle];
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* The mapping that data lie in, or n_maps. */
static size_t map_of(const qd_tensor_file *file, const void *data) {
    size_t i = 0;
    for (; i < file->n_maps; i++) {
        uintptr_t at = (uintptr_t)data, start = (uintptr_t)file->maps[i].data;
        if (at >= start && at - start < file->maps[i].size) break;
    }
    return i;
}

bool qd_tensor_file_maps(const qd_tensor_file *file, const void *data) {
    return file && map_of(file, data) < file->n_maps;
}

qdisp_status qd_tensor_file_read(const qd_tensor_file *file, const void *data, size_t n_bytes, void *buffer) {
    size_t i = map_of(file, data), offset = (size_t)((uintptr_t)data - (uintptr_t)file->maps[i].data);
    return qd_read_mapped(file->ctx, &file->maps[i], file->map_paths[i], offset, n_bytes, buffer);
}

qdisp_status qd_tensor_file_pack(qd_tensor_file *file, qdisp_tensor *tensor, qd_packed *packed, uint64_t n_bytes) {
    qdisp_status status =
        qd_grow(file->ctx, (void **)&file->owned, &file->cap_owned, file->n_owned + 1, sizeof *file->owned);
    if (status != QDISP_OK) {
        qd_free(file->ctx, packed);
        return status;
    }
    file->owned[file->n_owned++] = packed;
    tensor->dtype = QDISP_DTYPE_PACKED;
    tensor->data = packed;
    tensor->n_bytes = n_bytes;
    return QDISP_OK;
}

const char *qd_tensor_format(const qdisp_tensor *tensor) {
    if (tensor->dtype == QDISP_DTYPE_PACKED) return ((const qd_packed *)tensor->data)->format;
    return qd_dtype_name((qdisp_dtype)tensor->dtype);
}

qdisp_dtype qd_tensor_value_dtype(const qdisp_tensor *tensor) {
    if (tensor->dtype == QDISP_DTYPE_PACKED) return ((const qd_packed *)tensor->data)->value;
    return (qdisp_dtype)tensor->dtype;
}

const char *qd_tensor_file_metadata(const qd_tensor_file *file, const char *key) {
    for (size_t i = 0; i < file->n_metadata; i++) {
        if (!strcmp(file->metadata[2 * i], key)) return file->metadata[2 * i + 1];
    }
    return NULL;
}
