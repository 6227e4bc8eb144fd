/* tensor.h - files of tensors: a list of qdisp_tensor and the mapping that their data lie in. */
#ifndef QD_TENSOR_H
#define QD_TENSOR_H

#include <qdisp/model.h>
#include "base/base.h"
#include "kernels/kernels.h"

/* An opened file. Tensors stand in the order of their data. Names, data and metadata belong to it. A file that is
 * truncated by someone else after it was opened faults on access: a mapping cannot know. */
typedef struct qd_tensor_file {
    qdisp_ctx *ctx;
    char *path;            /* for messages */
    qdisp_tensor *tensors; /* [n_tensors] */
    size_t n_tensors;
    const qdisp_tensor **by_name; /* [n_tensors] sorted by name */
    char **metadata;       /* [2 * n_metadata] key, value, key, value ... */
    size_t n_metadata;
    qd_mapped_file *maps; /* [n_maps]: one, or one a shard; none for tensors in memory */
    char **map_paths;     /* [n_maps] */
    size_t n_maps;
    void **owned;         /* [n_owned] blocks of qd_alloc that packed tensors point at */
    size_t n_owned, cap_owned;
} qd_tensor_file;

/* A container, told by its content: the table in formats.c. */
typedef struct qd_container {
    const char *name;
    bool (*matches)(const uint8_t *data, size_t size);
    qdisp_status (*parse)(qd_tensor_file *file, const uint8_t *data, size_t size);
} qd_container;

/* Parses with the first container in the table that matches. */
qdisp_status qd_tensor_file_detect(qd_tensor_file *file, const uint8_t *data, size_t size);

/* Opens a file of any container in the table. Errors: ENOTFOUND, EIO, EFORMAT, EUNSUPPORTED (container, dtype),
 * ENOMEM. */
qdisp_status qd_tensor_file_open(qdisp_ctx *ctx, const char *path, qd_tensor_file **out);
/* The same from bytes that outlive the file; label stands for the path in messages. */
qdisp_status qd_tensor_file_parse(qdisp_ctx *ctx, const char *label, const uint8_t *data, size_t size,
                                  qd_tensor_file **out);
/* The same from tensors in memory: names are copied, data are not. Errors: EINVAL (NULL, sizes), EFORMAT (two of a
 * name), ENOMEM. */
qdisp_status qd_tensor_file_from(qdisp_ctx *ctx, const char *label, const qdisp_tensor *tensors, size_t n,
                                 qd_tensor_file **out);
void qd_tensor_file_free(qd_tensor_file *file);
/* NULL if there is none. */
const qdisp_tensor *qd_tensor_file_find(const qd_tensor_file *file, const char *name);
const char *qd_tensor_file_metadata(const qd_tensor_file *file, const char *key);

/* Whether data lie in the file's mapping (file may be NULL), and if so: reads n_bytes from there on into buffer,
 * without mapping them in. Any thread. Errors: EIO. */
bool qd_tensor_file_maps(const qd_tensor_file *file, const void *data);
qdisp_status qd_tensor_file_read(const qd_tensor_file *file, const void *data, size_t n_bytes, void *buffer);

/* Opens a file that has to be safetensors, whatever it looks like. */
qdisp_status qd_safetensors_open(qdisp_ctx *ctx, const char *path, qd_tensor_file **out);
qdisp_status qd_safetensors_parse(qd_tensor_file *file, const uint8_t *data, size_t size);
/* Gives bytes [offset, offset + n_bytes) of tensor i_tensor (index into the array given to the writer); offset and
 * n_bytes are multiples of 8 but for the tensor's end. */
typedef qdisp_status (*qd_tensor_fill)(void *user, size_t i_tensor, uint64_t offset, void *out, size_t n_bytes);
/* Writes tensors[n] (wide elements first, then by name, so that all are aligned) and metadata[2 * n_metadata] strings.
 * fill = NULL: the bytes are those at tensors[i].data; else data is not looked at and fill is called for blocks of at
 * most 1 MiB. The file appears whole or not at all. Errors: EINVAL (two tensors of a name), EIO, ENOMEM, fill's. */
qdisp_status qd_safetensors_write(qdisp_ctx *ctx, const char *path, const qdisp_tensor *tensors, size_t n,
                                  const char *const *metadata, size_t n_metadata, qd_tensor_fill fill, void *user);

/* Makes tensor a packed one: takes packed (the first member of a block of qd_alloc) over, which the file frees; on
 * failure it is freed at once. The shape of the tensor must be set; n_bytes: what the values take where they are
 * stored. */
qdisp_status qd_tensor_file_pack(qd_tensor_file *file, qdisp_tensor *tensor, qd_packed *packed, uint64_t n_bytes);
/* What a person calls the type of a tensor's values: "f32", "Q4_K", "gptq-4bit" ... */
const char *qd_tensor_format(const qdisp_tensor *tensor);
/* The narrowest of F32, F16 and BF16 that holds every value; the dtype itself for other tensors. */
qdisp_dtype qd_tensor_value_dtype(const qdisp_tensor *tensor);

/* Elements of a shape, and bytes; false on overflow of 64 bits. */
bool qd_tensor_sizes(const uint64_t *shape, uint32_t n_dims, uint32_t dtype, uint64_t *n_elements, uint64_t *n_bytes);
uint64_t qd_tensor_n_elements(const qdisp_tensor *tensor);
/* "[3, 4]" into text, always terminated. */
void qd_tensor_shape_text(const uint64_t *shape, uint32_t n_dims, char text[96]);
bool qd_tensor_is_float(const qdisp_tensor *tensor); /* F32, F16, BF16 or PACKED: qd_load_f32 reads it */

#endif
