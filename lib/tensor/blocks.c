/* blocks.c - the table of GGUF's element types, and tensors made of their blocks. */
#include "tensor/blocks.h"

#include <string.h>
#include <strings.h>

/* Plain types without a dtype of ours: decoded to floats like blocks. */
static void decode_f64(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        double x;
        memcpy(&x, blocks + 8 * i, 8);
        out[i] = (float)x;
    }
}

static void decode_i16(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        int16_t x;
        memcpy(&x, blocks + 2 * i, 2);
        out[i] = (float)x;
    }
}

#define PLAIN(name, id, dtype, bytes) {name, id, 1, bytes, QDISP_DTYPE_##dtype, NULL, NULL},
#define BLOCK(name, id, values, bytes, value, decode) {name, id, values, bytes, QDISP_DTYPE_##value, decode, NULL},
#define BOTH(name, id, values, bytes, kind) \
    {name, id, values, bytes, QDISP_DTYPE_F32, qd_decode_##kind, qd_encode_##kind},

/* Name, id, values and bytes of a block, narrowest dtype that holds every value (F64: the nearest f32). */
static const qd_block_type types[] = {
    PLAIN("F32", 0, F32, 4)
    PLAIN("F16", 1, F16, 2)
    BOTH("Q4_0", 2, 32, 18, q4_0)
    BOTH("Q4_1", 3, 32, 20, q4_1)
    BOTH("Q5_0", 6, 32, 22, q5_0)
    BOTH("Q5_1", 7, 32, 24, q5_1)
    BOTH("Q8_0", 8, 32, 34, q8_0)
    BOTH("Q2_K", 10, 256, 84, q2_k)
    BOTH("Q3_K", 11, 256, 110, q3_k)
    BOTH("Q4_K", 12, 256, 144, q4_k)
    BOTH("Q5_K", 13, 256, 176, q5_k)
    BOTH("Q6_K", 14, 256, 210, q6_k)
    BLOCK("Q8_K", 15, 256, 292, F32, qd_decode_q8_k)
    BLOCK("IQ2_XXS", 16, 256, 66, F32, qd_decode_iq2_xxs)
    BLOCK("IQ2_XS", 17, 256, 74, F32, qd_decode_iq2_xs)
    BLOCK("IQ3_XXS", 18, 256, 98, F32, qd_decode_iq3_xxs)
    BLOCK("IQ1_S", 19, 256, 50, F32, qd_decode_iq1_s)
    BOTH("IQ4_NL", 20, 32, 18, iq4_nl)
    BLOCK("IQ3_S", 21, 256, 110, F32, qd_decode_iq3_s)
    BLOCK("IQ2_S", 22, 256, 82, F32, qd_decode_iq2_s)
    BOTH("IQ4_XS", 23, 256, 136, iq4_xs)
    PLAIN("I8", 24, I8, 1)
    BLOCK("I16", 25, 1, 2, F32, decode_i16)
    PLAIN("I32", 26, I32, 4)
    PLAIN("I64", 27, I64, 8)
    BLOCK("F64", 28, 1, 8, F32, decode_f64)
    BLOCK("IQ1_M", 29, 256, 56, F32, qd_decode_iq1_m)
    PLAIN("BF16", 30, BF16, 2)
    BLOCK("TQ1_0", 34, 256, 54, F16, qd_decode_tq1_0)
    BLOCK("TQ2_0", 35, 256, 66, F32, qd_decode_tq2_0)
    BLOCK("MXFP4", 39, 32, 17, BF16, qd_decode_mxfp4)
    BLOCK("NVFP4", 40, 64, 36, F16, qd_decode_nvfp4)
    BLOCK("Q1_0", 41, 128, 18, F16, qd_decode_q1_0)
    BLOCK("Q2_0", 42, 64, 18, F32, qd_decode_q2_0)
};

/* What is known of ids that cannot be read. */
static const struct {
    uint32_t first, last;
    const char *name;
} unreadable[] = {
    {4, 5, "Q4_2 or Q4_3, gone since 2023"},
    {9, 9, "Q8_1, for activations"},
    {31, 33, "Q4_0 interleaved for one processor, gone since 2024"},
    {36, 38, "IQ4_NL interleaved for one processor, gone since 2024"},
    {97, 399, "of the fork ik_llama.cpp"},
};

const qd_block_type *qd_block_type_find(uint32_t id, const char **name) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].id == id) return &types[i];
    }
    *name = "unknown";
    for (size_t i = 0; i < sizeof unreadable / sizeof *unreadable; i++) {
        if (id >= unreadable[i].first && id <= unreadable[i].last) *name = unreadable[i].name;
    }
    return NULL;
}

bool qd_block_type_bytes(const qd_block_type *type, uint64_t n_elements, uint64_t *n_bytes) {
    return !qd_mul_overflows(n_elements / type->n_values, type->n_bytes, n_bytes) && *n_bytes <= PTRDIFF_MAX;
}

typedef struct packed_blocks {
    qd_packed packed; /* first */
    const qd_block_type *type;
    const uint8_t *data;
} packed_blocks;

static void read_blocks(const qd_packed *packed, const qd_kernels *kernels, size_t first, size_t n, float *out) {
    const packed_blocks *p = (const packed_blocks *)packed;
    size_t n_values = p->type->n_values, i_block = first / n_values, skip = first % n_values;
    (void)kernels;
    while (n > 0) {
        const uint8_t *data = p->data + i_block * p->type->n_bytes;
        size_t n_blocks = skip ? 0 : n / n_values, n_done = n_blocks * n_values;
        if (n_blocks) {
            p->type->decode(data, n_blocks, out);
            i_block += n_blocks;
        } else { /* a part of a block */
            float block[QD_BLOCK_MAX];
            p->type->decode(data, 1, block);
            n_done = n_values - skip < n ? n_values - skip : n;
            memcpy(out, block + skip, n_done * sizeof *out);
            i_block++;
            skip = 0;
        }
        out += n_done;
        n -= n_done;
    }
}

const qd_block_type *qd_block_type_named(const char *name) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcasecmp(types[i].name, name)) return &types[i];
    return NULL;
}

const qd_block_type *qd_block_type_of(const qdisp_tensor *tensor, const uint8_t **data) {
    const packed_blocks *p = tensor->data;
    if (tensor->dtype == QDISP_DTYPE_PACKED) {
        if (p->packed.read != read_blocks) return NULL;
        *data = p->data;
        return p->type;
    }
    *data = tensor->data;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!types[i].decode && types[i].dtype == (qdisp_dtype)tensor->dtype) return &types[i];
    return NULL;
}

qdisp_status qd_block_tensor(qd_tensor_file *file, qdisp_tensor *tensor, const qd_block_type *type,
                             const uint8_t *data, uint64_t n_bytes) {
    if (!type->decode) {
        tensor->data = data;
        tensor->n_bytes = n_bytes;
        tensor->dtype = type->dtype;
        return QDISP_OK;
    }
    packed_blocks *p = qd_alloc(file->ctx, 1, sizeof *p);
    if (!p) return QDISP_ENOMEM;
    size_t n = (size_t)qd_tensor_n_elements(tensor);
    p->packed.read = read_blocks;
    p->packed.format = type->name;
    p->packed.value = type->dtype;
    p->packed.n_columns = tensor->n_dims ? (size_t)tensor->shape[tensor->n_dims - 1] : 1;
    p->packed.n_rows = p->packed.n_columns ? n / p->packed.n_columns : 0;
    p->type = type;
    p->data = data;
    return qd_tensor_file_pack(file, tensor, &p->packed, n_bytes);
}
