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

/* --- for the decoders --- */

static inline uint16_t qd_u16_at(const uint8_t *data) {
    return (uint16_t)(data[0] | data[1] << 8);
}

static inline uint32_t qd_u32_at(const uint8_t *data) {
    return (uint32_t)qd_u16_at(data) | (uint32_t)qd_u16_at(data + 2) << 16;
}

static inline float qd_f16_at(const uint8_t *data) {
    return qd_f16_to_f32(qd_u16_at(data));
}

/* A codebook of the IQ types: the points with digits 0..base-1 (n_digits of them) that are in it, in ascending order,
 * digit 0 the lowest. Bit i of bits: the point of number i is there. */
typedef struct qd_grid_points {
    const uint64_t *bits;
    uint32_t n_points, n_digits, base;
} qd_grid_points;
extern const qd_grid_points qd_grid_iq1, qd_grid_iq2_xxs, qd_grid_iq2_xs, qd_grid_iq2_s, qd_grid_iq3_xxs, qd_grid_iq3_s;

#define QD_DECODER(name) void qd_decode_##name(const uint8_t *blocks, size_t n, float *out);
/* blocks_simple.c: a scale a block */
QD_DECODER(q4_0) QD_DECODER(q4_1) QD_DECODER(q5_0) QD_DECODER(q5_1) QD_DECODER(q8_0)
QD_DECODER(q1_0) QD_DECODER(q2_0) QD_DECODER(tq1_0) QD_DECODER(tq2_0) QD_DECODER(mxfp4) QD_DECODER(nvfp4)
/* blocks_k.c: 256 values with scales of scales */
QD_DECODER(q2_k) QD_DECODER(q3_k) QD_DECODER(q4_k) QD_DECODER(q5_k) QD_DECODER(q6_k) QD_DECODER(q8_k)
/* blocks_iq.c: codebooks */
QD_DECODER(iq1_s) QD_DECODER(iq1_m) QD_DECODER(iq2_xxs) QD_DECODER(iq2_xs) QD_DECODER(iq2_s)
QD_DECODER(iq3_xxs) QD_DECODER(iq3_s) QD_DECODER(iq4_nl) QD_DECODER(iq4_xs)
#undef QD_DECODER

#endif
