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
    size_t n_tensors, cap_tensors;
    const qdisp_tensor **by_name; /* [n_tensors] sorted by name */
    const char **metadata; /* [2 * n_metadata] key, value, key, value ... */
    size_t n_metadata;
    qd_mapped_file *maps; /* [n_maps]: one, or one a shard; none for tensors in memory */
    char **map_paths;     /* [n_maps] */
    size_t n_maps;
    void **owned;         /* [n_owned] blocks of qd_alloc: names, and what packed tensors point at */
    size_t n_owned, cap_owned;
    char *room;           /* for names: n_room bytes of the last block of them */
    size_t n_room;
    struct qd_gguf *gguf; /* gguf.h; NULL for other containers */
} qd_tensor_file;

/* A container, told by its content: the table in formats.c. */
typedef struct qd_container {
    const char *name;
    bool (*matches)(const uint8_t *data, size_t size);
    qdisp_status (*parse)(qd_tensor_file *file, const uint8_t *data, size_t size);
} qd_container;

/* Parses with the first container in the table that matches. */
qdisp_status qd_tensor_file_detect(qd_tensor_file *file, const uint8_t *data, size_t size);
/* Name of the container that an opened file is in, NULL for tensors in memory. */
const char *qd_tensor_file_container(const qd_tensor_file *file);

/* The weights of a model, told by content: a folder with model.safetensors, model.safetensors.index.json,
 * pytorch_model.bin, pytorch_model.bin.index.json (the first that is there) or one GGUF file; an index of shards; or a
 * file of any container in the table. Shards lie beside their index and become one file. Of a folder whose config.json
 * (or quantize_config.json, quant_config.json) says how its matrices were quantized, their parts become packed tensors.
 * Errors: ENOTFOUND, EIO, EFORMAT, EUNSUPPORTED (container, quantization method), ENOMEM. */
qdisp_status qd_weights_open(qdisp_ctx *ctx, const char *path, qd_tensor_file **out);
/* An index of shards: "weight_map" from names of tensors to names of files, which lie in folder. */
qdisp_status qd_shards_read(qd_tensor_file *file, const char *folder, const char *index, size_t n_index);

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

/* The same with the data in any order: every byte of every tensor comes once by put. path, tensors and names outlive
 * the writer. commit makes the file appear, EINVAL if bytes never came; it and discard (NULL is fine) free it. */
typedef struct qd_safetensors_writer qd_safetensors_writer;
qdisp_status qd_safetensors_begin(qdisp_ctx *ctx, const char *path, const qdisp_tensor *tensors, size_t n,
                                  const char *const *metadata, size_t n_metadata, qd_safetensors_writer **out);
qdisp_status qd_safetensors_put(qd_safetensors_writer *writer, size_t i_tensor, uint64_t offset, const void *bytes,
                                size_t n_bytes);
qdisp_status qd_safetensors_commit(qd_safetensors_writer *writer);
void qd_safetensors_discard(qd_safetensors_writer *writer);

/* --- making a file from parts, for containers --- */

qdisp_status qd_tensor_file_new(qdisp_ctx *ctx, const char *label, qd_tensor_file **out);
/* Adds the mapping of one more file: file->maps[file->n_maps - 1]. */
qdisp_status qd_tensor_file_map(qd_tensor_file *file, const char *path);
/* Room for n more tensors after file->n_tensors; pointers to tensors end here. */
qdisp_status qd_tensor_file_reserve(qd_tensor_file *file, size_t n);
/* Takes a block of qd_alloc over; on failure it is freed at once. */
qdisp_status qd_tensor_file_own(qd_tensor_file *file, void *block);
/* A copy that the file owns, for names; NULL: ENOMEM. */
const char *qd_tensor_file_text(qd_tensor_file *file, const char *text, size_t n);
/* Sorts by name what has been added: nothing is found before. Errors: EFORMAT (two of a name), ENOMEM. */
qdisp_status qd_tensor_file_index(qd_tensor_file *file);
/* Parses what is mapped last, told by its content or as safetensors; messages name that file. */
qdisp_status qd_tensor_file_parse_last(qd_tensor_file *file, bool is_safetensors);

/* Makes tensor a packed one: takes packed (the first member of a block of qd_alloc) over, which the file frees; on
 * failure it is freed at once. The shape of the tensor must be set; n_bytes: what the values take where they are
 * stored. */
qdisp_status qd_tensor_file_pack(qd_tensor_file *file, qdisp_tensor *tensor, qd_packed *packed, uint64_t n_bytes);
/* Floats of 8 or 4 bits by their name in safetensors: how many bits, 0 = no such name; and the packed tensor of those
 * that lie at tensor->data. */
unsigned qd_minifloat_bits(const char *name);
qdisp_status qd_minifloat_pack(qd_tensor_file *file, qdisp_tensor *tensor, const char *name);
/* Makes tensor, its shape and data set, of dtype F32, F16 or BF16, the packed one of elements that lie strides[n_dims]
 * elements apart. n_bytes: of the elements. The caller has checked that all of them lie in the data. */
qdisp_status qd_strided_pack(qd_tensor_file *file, qdisp_tensor *tensor, const uint64_t strides[4]);
/* The shape; dimensions beyond 4 are multiplied into the first. false: their product overflows. */
bool qd_tensor_set_shape(qdisp_tensor *tensor, const uint64_t *shape, size_t n_dims);
/* Makes tensor one of values that nothing here reads, of the type that format names (copied); others stay usable. */
qdisp_status qd_tensor_file_other(qd_tensor_file *file, qdisp_tensor *tensor, const char *format, uint64_t n_bytes);
/* Views; nothing is copied. Transposes a matrix; makes a tensor its i-th slice along the first dimension, named
 * "NAME[i]". The file owns what they need, the tensor is changed in place. Errors: ENOMEM. */
qdisp_status qd_tensor_transpose(qd_tensor_file *file, qdisp_tensor *tensor);
qdisp_status qd_tensor_slice(qd_tensor_file *file, qdisp_tensor *tensor, size_t i);
/* The same for what converters to GGUF do; 1 or 2 dimensions. Rows of n_head heads whose halves were put together pair
 * by pair (Llama's q, k) come apart again; all q, all k, all v become, for each key head, its q, its k, its v (BLOOM,
 * GPT-NeoX, Falcon); every value less one (Gemma's norms). The rows must be a multiple of what is asked for. */
qdisp_status qd_tensor_unpair(qd_tensor_file *file, qdisp_tensor *tensor, size_t n_head);
qdisp_status qd_tensor_group_heads(qd_tensor_file *file, qdisp_tensor *tensor, size_t n_head, size_t n_kv_head);
qdisp_status qd_tensor_less_one(qd_tensor_file *file, qdisp_tensor *tensor);
/* Where in the GGUF file a row of such a tensor lies. Unpaired: row x of the first half of a head beside row x of the
 * second. Grouped: all q, all k, all v; in the tensor for each key head its query heads, its k and its v. */
size_t qd_row_unpaired(size_t row, size_t head_dim);
size_t qd_row_grouped(size_t row, size_t head_dim, size_t n_head, size_t n_kv_head);
/* Elements [first, first + n) of the transposed matrix, without a view. */
void qd_tensor_read_transposed(const qd_kernels *kernels, const qdisp_tensor *tensor, size_t first, size_t n,
                               float *out);
/* What a person calls the type of a tensor's values: "f32", "Q4_K", "gptq-4bit", "U16" ... */
const char *qd_tensor_format(const qdisp_tensor *tensor);
/* The narrowest of F32, F16 and BF16 that holds every value; the dtype itself for other tensors. */
qdisp_dtype qd_tensor_value_dtype(const qdisp_tensor *tensor);

/* Elements of a shape, and bytes; false on overflow of 64 bits. */
bool qd_tensor_sizes(const uint64_t *shape, uint32_t n_dims, uint32_t dtype, uint64_t *n_elements, uint64_t *n_bytes);
uint64_t qd_tensor_n_elements(const qdisp_tensor *tensor);
/* As a matrix: all dimensions but the last make the rows. Without dimensions, or of none: 1 row, or 0. */
void qd_tensor_matrix(const qdisp_tensor *tensor, size_t *n_rows, size_t *n_columns);
/* "[3, 4]" into text, always terminated. */
void qd_tensor_shape_text(const uint64_t *shape, uint32_t n_dims, char text[96]);
bool qd_tensor_is_float(const qdisp_tensor *tensor); /* F32, F16, BF16 or PACKED: qd_load_f32 reads it */

#endif
