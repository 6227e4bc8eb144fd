/* codes.h - a quantized matrix: what every quantizer fills and every packer reads. */
#ifndef QD_CODES_H
#define QD_CODES_H

#include "base/base.h"
#include "tensor/blocks.h"

/* A weight that stays out of the grid, in 16 bits: at row * n_in + column. */
typedef struct qd_kept {
    uint64_t at;
    float value; /* exact in bf16 or f16, as the model has it */
} qd_kept;

/* Of one matrix [n_out, n_in]. Uniform and codebook types: the value of a weight is
 *     scale * (levels ? levels[code] : code - zero) + offset,
 * with the scale, zero and offset of its group; divided by inputs[j], and kept weights instead, where there are any.
 * Block types: rows of blocks, and nothing else. Arrays are owned (qd_codes_clear). */
typedef struct qd_codes {
    const char *name; /* borrowed: the tensor's */
    size_t i_tensor;  /* of the model */
    size_t n_out, n_in;
    int bits;
    size_t group_size, n_groups; /* of a row; one group of n_in: channel or tensor */
    uint8_t *codes;       /* [n_out, n_in] 0 .. 2^bits - 1 */
    float *scales;        /* [n_out, n_groups]; integer types: 16-bit floats */
    uint8_t *zeros;       /* [n_out, n_groups]; NULL: 2^(bits-1), symmetric */
    float *offsets;       /* [n_out, n_groups]; NULL: none. HQQ's real zero points, Q4_1's minimum */
    const float *levels;  /* [2^bits] static: NF4, FP4, MXFP4; NULL: uniform */
    const char *type;     /* static: "int", "nf4", ..., or a block type's name */
    float *inputs;        /* [n_in] what inputs are divided by; NULL: 1 */
    uint32_t *order;      /* [n_in] group of a column, GPTQ's g_idx; NULL: column / group_size */
    qd_kept *kept;        /* ascending */
    size_t n_kept;
    const qd_block_type *block; /* block types */
    uint8_t *blocks;      /* [n_out, row bytes] */
    size_t row_bytes;
} qd_codes;

/* Allocates codes and scales (and zeros, offsets) for a shape; clears *out first. Errors: ENOMEM. */
qdisp_status qd_codes_make(qdisp_ctx *ctx, size_t n_out, size_t n_in, int bits, size_t group_size, bool zeros,
                           bool offsets, qd_codes *out);
void qd_codes_clear(qdisp_ctx *ctx, qd_codes *codes);
/* Rows first .. first + n - 1 as floats to out [n, n_in]: the effective weights, inputs' division and kept weights
 * included. Any thread. */
void qd_codes_decode(qdisp_ctx *ctx, const qd_codes *codes, size_t first, size_t n, float *out);

#endif
