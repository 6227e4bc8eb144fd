/* tensor.c - shapes and sizes of tensors, and the list that an opened file is. */
#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/gguf.h"

#define NAME_ROOM ((size_t)8192) /* names of 100 to 200 tensors */

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

bool qd_tensor_set_shape(qdisp_tensor *tensor, const uint64_t *shape, size_t n_dims) {
    size_t n_folded = n_dims > 4 ? n_dims - 4 : 0;
    uint64_t folded = 1;
    for (size_t i = 0; i < n_folded; i++)
        if (qd_mul_overflows(folded, shape[i], &folded)) return false;
    tensor->n_dims = (uint32_t)(n_dims - n_folded);
    for (uint32_t i = 0; i < tensor->n_dims; i++) tensor->shape[i] = shape[n_folded + i];
    return n_folded == 0 || !qd_mul_overflows(tensor->shape[0], folded, &tensor->shape[0]);
}

void qd_tensor_matrix(const qdisp_tensor *tensor, size_t *n_rows, size_t *n_columns) {
    uint64_t n = qd_tensor_n_elements(tensor), last = tensor->n_dims ? tensor->shape[tensor->n_dims - 1] : 1;
    *n_columns = (size_t)last;
    *n_rows = last ? (size_t)(n / last) : 0;
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
    qd_gguf_free(ctx, file->gguf);
    qd_free(ctx, file);
    qdisp_ctx_free(ctx);
}

static int compare_names(const void *a, const void *b) {
    const qdisp_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

qdisp_status qd_tensor_file_index(qd_tensor_file *file) {
    qd_free(file->ctx, (void *)file->by_name);
    file->by_name = qd_alloc(file->ctx, file->n_tensors ? file->n_tensors : 1, sizeof *file->by_name);
    if (!file->by_name) return QDISP_ENOMEM;
    for (size_t i = 0; i < file->n_tensors; i++) file->by_name[i] = &file->tensors[i];
    qsort((void *)file->by_name, file->n_tensors, sizeof *file->by_name, compare_names);
    for (size_t i = 1; i < file->n_tensors; i++) {
        if (!strcmp(file->by_name[i - 1]->name, file->by_name[i]->name)) {
            return qd_fail(file->ctx, QDISP_EFORMAT, "%s: two tensors are named '%.200s'", file->path,
                           file->by_name[i]->name);
        }
    }
    return QDISP_OK;
}

qdisp_status qd_tensor_file_new(qdisp_ctx *ctx, const char *label, qd_tensor_file **out) {
    qd_tensor_file *file = qd_alloc(ctx, 1, sizeof *file);
    if (!file) return QDISP_ENOMEM;
    file->ctx = qd_ctx_ref(ctx);
    file->path = qd_strdup(ctx, label);
    if (!file->path) {
        qd_tensor_file_free(file);
        return QDISP_ENOMEM;
    }
    *out = file;
    return QDISP_OK;
}

qdisp_status qd_tensor_file_map(qd_tensor_file *file, const char *path) {
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

qdisp_status qd_tensor_file_reserve(qd_tensor_file *file, size_t n) {
    if (n > SIZE_MAX - file->n_tensors) return qd_fail(file->ctx, QDISP_ENOMEM, "%s: %zu tensors", file->path, n);
    return qd_grow(file->ctx, (void **)&file->tensors, &file->cap_tensors, file->n_tensors + (n ? n : 1),
                   sizeof *file->tensors);
}

qdisp_status qd_tensor_file_own(qd_tensor_file *file, void *block) {
    qdisp_status status =
        qd_grow(file->ctx, (void **)&file->owned, &file->cap_owned, file->n_owned + 1, sizeof *file->owned);
    if (status == QDISP_OK) {
        file->owned[file->n_owned++] = block;
    } else {
        qd_free(file->ctx, block);
    }
    return status;
}

const char *qd_tensor_file_text(qd_tensor_file *file, const char *text, size_t n) {
    if (n >= file->n_room) {
        size_t size = n >= NAME_ROOM ? n + 1 : NAME_ROOM; /* n is a string's length: n + 1 does not wrap */
        char *block = qd_alloc(file->ctx, size, 1);
        if (!block || qd_tensor_file_own(file, block) != QDISP_OK) return NULL;
        file->room = block;
        file->n_room = size;
    }
    char *copy = file->room;
    memcpy(copy, text, n);
    copy[n] = 0;
    file->room += n + 1;
    file->n_room -= n + 1;
    return copy;
}

qdisp_status qd_tensor_file_parse_last(qd_tensor_file *file, bool is_safetensors) {
    const qd_mapped_file *map = &file->maps[file->n_maps - 1];
    char *label = file->path;
    file->path = file->map_paths[file->n_maps - 1];
    qdisp_status status = is_safetensors ? qd_safetensors_parse(file, map->data, map->size)
                                         : qd_tensor_file_detect(file, map->data, map->size);
    file->path = label;
    return status;
}

/* The end of making a file: it is given or freed. */
static qdisp_status give(qd_tensor_file *file, qdisp_status status, qd_tensor_file **out) {
    if (status == QDISP_OK) status = qd_tensor_file_index(file);
    if (status != QDISP_OK) {
        qd_tensor_file_free(file);
        return status;
    }
    *out = file;
    return QDISP_OK;
}

static qdisp_status open_file(qdisp_ctx *ctx, const char *path, bool is_safetensors, qd_tensor_file **out) {
    qd_tensor_file *file = NULL;
    QD_TRY(qd_tensor_file_new(ctx, path, &file));
    qdisp_status status = qd_tensor_file_map(file, path);
    if (status == QDISP_OK) status = qd_tensor_file_parse_last(file, is_safetensors);
    return give(file, status, out);
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
    QD_TRY(qd_tensor_file_new(ctx, label, &file));
    return give(file, qd_tensor_file_detect(file, data, size), out);
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
    to->name = qd_tensor_file_text(file, from->name, strlen(from->name));
    return to->name ? QDISP_OK : QDISP_ENOMEM;
}

qdisp_status qd_tensor_file_from(qdisp_ctx *ctx, const char *label, const qdisp_tensor *tensors, size_t n,
                                 qd_tensor_file **out) {
    qd_tensor_file *file = NULL;
    QD_TRY(qd_tensor_file_new(ctx, label, &file));
    qdisp_status status = qd_tensor_file_reserve(file, n);
    for (size_t i = 0; i < n && status == QDISP_OK; i++) {
        status = copy_tensor(file, &tensors[i], &file->tensors[i]);
        file->n_tensors += status == QDISP_OK;
    }
    return give(file, status, out);
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
    QD_TRY(qd_tensor_file_own(file, packed));
    tensor->dtype = QDISP_DTYPE_PACKED;
    tensor->data = packed;
    tensor->n_bytes = n_bytes;
    return QDISP_OK;
}

qdisp_status qd_tensor_file_other(qd_tensor_file *file, qdisp_tensor *tensor, const char *format, uint64_t n_bytes) {
    tensor->data = qd_tensor_file_text(file, format, strlen(format));
    tensor->dtype = QDISP_DTYPE_OTHER;
    tensor->n_bytes = n_bytes;
    return tensor->data ? QDISP_OK : QDISP_ENOMEM;
}

const char *qd_tensor_format(const qdisp_tensor *tensor) {
    if (tensor->dtype == QDISP_DTYPE_PACKED) return ((const qd_packed *)tensor->data)->format;
    if (tensor->dtype == QDISP_DTYPE_OTHER) return tensor->data;
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
