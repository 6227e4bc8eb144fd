/* blocks.h - types of elements in GGUF files: most are blocks of quantized values, decoded on reading. */
#ifndef QD_BLOCKS_H
#define QD_BLOCKS_H

#include "tensor/tensor.h"

#define QD_BLOCK_MAX 256 /* values of the longest block */

/* A row of the table in blocks.c. */
typedef struct qd_block_type {
    const char *name;   /* "Q4_K" */
    uint32_t id;        /* in the file */
    uint16_t n_values, n_bytes; /* of a block; 1 value for plain types */
    qdisp_dtype dtype;  /* of plain types that are read as they lie; of blocks: the narrowest that holds all values */
    /* n blocks, at any alignment, to out[n * n_values]; NULL: read as they lie. Bit for bit what the format's own
     * reference (gguf-py) gives. */
    void (*decode)(const uint8_t *blocks, size_t n, float *out);
} qd_block_type;

/* The type of an id, or NULL: then name tells people what is known of it. */
const qd_block_type *qd_block_type_find(uint32_t id, const char **name);
/* Bytes of n_elements of a type; false on overflow. n_elements: a multiple of n_values. */
bool qd_block_type_bytes(const qd_block_type *type, uint64_t n_elements, uint64_t *n_bytes);
/* Gives tensor, whose shape is set, these n_bytes of data. Errors: ENOMEM. */
qdisp_status qd_block_tensor(qd_tensor_file *file, qdisp_tensor *tensor, const qd_block_type *type,
                             const uint8_t *data, uint64_t n_bytes);

/* The decoders, by file. */
#define QD_DECODER(name) void qd_decode_##name(const uint8_t *blocks, size_t n, float *out)
/* blocks_legacy.c: 32 values and a scale */
QD_DECODER(q4_0);
QD_DECODER(q4_1);
QD_DECODER(q5_0);
QD_DECODER(q5_1);
QD_DECODER(q8_0);

#endif
