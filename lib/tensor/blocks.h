/* blocks.h - types of elements in GGUF files: most are blocks of quantized values, decoded on reading. */
#ifndef QD_BLOCKS_H
#define QD_BLOCKS_H

#include <string.h>

#include "tensor/tensor.h"

#define QD_BLOCK_MAX 256 /* values of the longest block */
#define QD_LANES 16      /* blocks that are searched side by side */

/* A row of the table in blocks.c. */
typedef struct qd_block_type {
    const char *name;   /* "Q4_K" */
    uint32_t id;        /* in the file */
    uint16_t n_values, n_bytes; /* of a block; 1 value for plain types */
    qdisp_dtype dtype;  /* of plain types that are read as they lie; of blocks: the narrowest that holds all values */
    /* n blocks, at any alignment, to out[n * n_values]; NULL: read as they lie. Bit for bit what the format's own
     * reference (gguf-py) gives. */
    void (*decode)(const uint8_t *blocks, size_t n, float *out);
    /* A row x[n] of finite values, n a multiple of n_values, to blocks; importance[n] >= 0 of its columns, or NULL.
     * Bit for bit what ggml_quantize_chunk of ggml 0.25.3 gives where it is compiled without fused operations. NULL:
     * none. */
    void (*encode)(const qd_kernels *kernels, const float *x, const float *importance, size_t n, uint8_t *blocks);
} qd_block_type;

/* The type of an id, or NULL: then name tells people what is known of it. */
const qd_block_type *qd_block_type_find(uint32_t id, const char **name);
/* Bytes of n_elements of a type; false on overflow. n_elements: a multiple of n_values. */
bool qd_block_type_bytes(const qd_block_type *type, uint64_t n_elements, uint64_t *n_bytes);
/* Gives tensor, whose shape is set, these n_bytes of data. Errors: ENOMEM. */
qdisp_status qd_block_tensor(qd_tensor_file *file, qdisp_tensor *tensor, const qd_block_type *type,
                             const uint8_t *data, uint64_t n_bytes);

/* The type of a name in any case ("q4_k", "F16"), or NULL. */
const qd_block_type *qd_block_type_named(const char *name);
/* The type of a tensor of a GGUF file as it was read, and its bytes there; NULL for any other tensor. */
const qd_block_type *qd_block_type_of(const qdisp_tensor *tensor, const uint8_t **data);

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

/* --- for the encoders --- */

static inline void qd_put_f16(uint8_t *out, float x) {
    uint16_t half = qd_f32_to_f16(x);
    out[0] = (uint8_t)half;
    out[1] = (uint8_t)(half >> 8);
}

/* The nearest integer, ties to even, for |x| < 2^22; beyond, what ggml's trick with the bits gives. */
static inline int qd_block_nearest(float x) {
    float shifted = x + 12582912.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return (int)(bits & 0x7fffff) - 0x400000;
}

/* 16 runs of n values side by side, as the kernels search_* take them. */
typedef struct qd_block_lanes {
    float x[QD_LANES * 32], w[QD_LANES * 32];
    float scales[QD_LANES], minima[QD_LANES];
    uint8_t codes[QD_LANES * 32];
} qd_block_lanes;

/* Element i of run l to [16 * i + l]; runs beyond n_runs become zero. */
void qd_block_lanes_load(const float *from, size_t n_runs, size_t n, float *to);

#define QD_ENCODER(name) \
    void qd_encode_##name(const qd_kernels *kernels, const float *x, const float *importance, size_t n, \
                          uint8_t *blocks);
/* encode_simple.c */
QD_ENCODER(q4_0) QD_ENCODER(q4_1) QD_ENCODER(q5_0) QD_ENCODER(q5_1) QD_ENCODER(q8_0)
/* encode_k.c */
QD_ENCODER(q2_k) QD_ENCODER(q3_k) QD_ENCODER(q4_k) QD_ENCODER(q5_k) QD_ENCODER(q6_k)
/* encode_iq4.c */
QD_ENCODER(iq4_nl) QD_ENCODER(iq4_xs)
#undef QD_ENCODER

#endif
