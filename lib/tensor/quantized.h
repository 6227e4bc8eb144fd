/* quantized.h - matrices that other programs have quantized: the parts they are stored as become one packed tensor.
 *
 * A method is one file and one row in quantized.inc. Its function finds the modules of the file that have its parts,
 * checks the parts against each other, and gives each module's weight. */
#ifndef QD_QUANTIZED_H
#define QD_QUANTIZED_H

#include <jansson.h>

#include "tensor/tensor.h"

/* --- codes in words of 32 bits, little-endian, at any alignment --- */

typedef enum qd_bits_order {
    QD_BITS_DENSE,  /* the first code in the lowest bits; codes go on in the next word */
    QD_BITS_PADDED, /* 32 / bits whole codes a word */
    QD_BITS_PLANES, /* 32 codes in `bits` words: their lowest 4 or 2 bits, then the others (GPTQ's gptq_p) */
    QD_BITS_AWQ     /* 8 of 4 bits a word: of codes 0, 2, 4, 6, 1, 3, 5, 7 */
} qd_bits_order;

/* Streams of codes: of a row, a column or a group; n of the words in each is known to who made it. */
typedef struct qd_bits {
    const uint8_t *words;
    size_t word_stride, lane_stride; /* words from one of a stream to its next, from a stream to the next */
    unsigned bits;                   /* 2..8 */
    qd_bits_order order;
} qd_bits;

/* Words of a stream of n codes. n is at most 2^48. */
uint64_t qd_bits_words(qd_bits_order order, unsigned bits, uint64_t n);
/* Code i of a stream, 0 .. 2^bits - 1. */
unsigned qd_bits_at(const qd_bits *b, size_t lane, size_t i);

/* --- a matrix: (code - zero) * scale, rounded --- */

typedef enum qd_zeros_kind {
    QD_ZEROS_CONSTANT,  /* zero_bias */
    QD_ZEROS_OF_GROUPS, /* a stream a group, over the rows */
    QD_ZEROS_OF_ROWS,   /* a stream a row, over the groups */
    QD_ZEROS_I8         /* where the scales are: [row, group] */
} qd_zeros_kind;

typedef struct qd_quantized {
    qd_packed base;
    qd_bits codes; /* bits = 0: `values` are the codes */
    bool is_column; /* AWQ: a stream of codes is an input's, over the outputs; else it is an output's */
    const void *values;
    qdisp_dtype values_dtype; /* I8 or of qd_load_f32 */
    /* scale of row r and group g: element (r / row_block) * scale_row + g * scale_group */
    const void *scales;
    qdisp_dtype scale_dtype; /* of qd_load_f32, or U8: 2^(x - 127) */
    size_t row_block, scale_row, scale_group;
    float divisor;          /* of the scale, 0: none */
    bool scale_is_bf16;     /* the divided scale is rounded */
    float factor;           /* of the rounded product, 0: none */
    qd_zeros_kind zeros_kind;
    qd_bits zeros;
    const int8_t *zeros_i8;
    int zero_bias;          /* added to zeros */
    const uint8_t *g_idx;   /* i32 [n_columns], any alignment: the group of each column; NULL: column / group_size */
    size_t group_size, n_groups;
    qdisp_dtype rounding;      /* of the products; base.value may have to be wider for the kept ones */
    /* Elements that are not quantized: i64 places, row * n_columns + column, ascending, at any alignment */
    const uint8_t *kept_index;
    const void *kept_values;
    qdisp_dtype kept_dtype;
    size_t n_kept;
} qd_quantized;

/* x[n] to the nearest values of F16 or BF16, ties to even; of F32 as they are. */
void qd_round_values(const qd_kernels *kernels, qdisp_dtype dtype, size_t n, float *x);
/* The reader of such a matrix. */
void qd_quantized_read(const qd_packed *packed, const qd_kernels *kernels, size_t first, size_t n, float *out);

/* --- resolving --- */

typedef struct qd_resolve {
    qd_tensor_file *file;
    const json_t *config; /* quantization_config */
    const json_t *model;  /* config.json, or the same */
    bool *gone;           /* [n_tensors] parts that are taken */
    qdisp_tensor *made;   /* [n_tensors] what stands in their place, name = NULL: nothing */
    char module[512];     /* whose parts are being looked at */
} qd_resolve;

/* Makes packed tensors of the parts of quantized matrices, if config (config.json, or quantize_config.json; NULL: there
 * is none) says that there are. Errors: EFORMAT (a part is missing or does not fit), EUNSUPPORTED (the method, by
 * name), ENOMEM; the file is then to be freed. */
qdisp_status qd_quantized_resolve(qd_tensor_file *file, const json_t *config);

#define QD_RESOLVE_FAIL(r, status, format, ...) \
    qd_fail((r)->file->ctx, (status), "%s: module '%.200s': " format, (r)->file->path, (r)->module, __VA_ARGS__)

/* Whether tensor i ends a module's name with suffix (".qweight"); r->module is the module then. */
bool qd_resolve_is(qd_resolve *r, size_t i, const char *suffix);
/* The module's part, taken; NULL: it has none. */
const qdisp_tensor *qd_resolve_take(qd_resolve *r, const char *suffix);
bool qd_resolve_has(const qd_resolve *r, const char *suffix);
/* The same, of n_dims dimensions and one dtype; EFORMAT if it is not there or not so. */
qdisp_status qd_resolve_need(qd_resolve *r, const char *suffix, qdisp_dtype dtype, uint32_t n_dims,
                             const qdisp_tensor **out);
/* The module's weight [n_rows, n_columns] in place of tensor i; packed is taken over. format is copied. */
qdisp_status qd_resolve_give(qd_resolve *r, size_t i, qd_packed *packed, const char *format, uint64_t n_bytes);
/* The same of a matrix whose base.n_rows, n_columns, codes, scales and zeros are set: copied. The type that it is
 * rounded to is base.value. The module's qdisp_kept_index i64 [n] and qdisp_kept_value [n], which qdisp writes for
 * weights that stay in 16 bits, are taken, if they are there. */
qdisp_status qd_resolve_give_matrix(qd_resolve *r, size_t i, const qd_quantized *matrix, const char *format,
                                    uint64_t n_bytes);
/* The groups of the module's columns: g_idx (NULL: none) is checked and left out if it only counts up; else the size
 * from the config, or that which n_groups equal ones have. Sets group_size, n_groups, g_idx. */
qdisp_status qd_resolve_groups(qd_resolve *r, qd_quantized *matrix, uint64_t n_groups, const qdisp_tensor *g_idx);
/* An integer of the config, or fallback; text and number both. */
int64_t qd_resolve_integer(const qd_resolve *r, const char *key, int64_t fallback);
/* A text of the config, or "". */
const char *qd_resolve_text(const qd_resolve *r, const char *key);
/* Scales may be F32, F16, BF16. */
qdisp_status qd_resolve_scales(qd_resolve *r, qd_quantized *matrix, const qdisp_tensor *scales);

/* The methods, by config's quant_method. */
#define METHOD(name, function) qdisp_status function(qd_resolve *r);
#include "tensor/quantized.inc"
#undef METHOD

#endif
