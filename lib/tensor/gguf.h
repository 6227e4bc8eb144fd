/* gguf.h - what a GGUF file says besides its tensors: keys and values, read where they lie in the mapping. */
#ifndef QD_GGUF_H
#define QD_GGUF_H

#include "tensor/tensor.h"

/* Types of values, by their numbers in the file. */
typedef enum qd_gguf_type {
    QD_GGUF_U8, QD_GGUF_I8, QD_GGUF_U16, QD_GGUF_I16, QD_GGUF_U32, QD_GGUF_I32, QD_GGUF_F32, QD_GGUF_BOOL,
    QD_GGUF_STRING, QD_GGUF_ARRAY, QD_GGUF_U64, QD_GGUF_I64, QD_GGUF_F64,
    QD_GGUF_N_TYPES
} qd_gguf_type;

/* Bytes in the file, not ended by a zero and not checked to be UTF-8. */
typedef struct qd_gguf_text {
    const char *text;
    size_t n;
} qd_gguf_text;

typedef struct qd_gguf_value {
    qd_gguf_text key;    /* UTF-8 without a zero byte */
    qd_gguf_type type;   /* of the value; of an array: of its elements */
    bool is_array;
    size_t n;            /* elements; 1 unless it is an array */
    const uint8_t *data; /* the first element, at any alignment */
    size_t n_bytes;      /* of all elements */
} qd_gguf_value;

typedef struct qd_gguf {
    uint32_t version;
    size_t alignment;
    qd_gguf_value *values; /* [n_values] in the order of the file; of a split file: of its first shard */
    size_t n_values, cap_values;
    const qd_gguf_value **by_key; /* [n_values] sorted */
} qd_gguf;

/* The value of a key, or NULL. Every function below takes NULL for a value and then returns false. */
const qd_gguf_value *qd_gguf_find(const qd_gguf *gguf, const char *key);
/* Element i (0 for a scalar) as an integer (from any integer type or bool that fits), as a number (from a float or an
 * integer), as a bool. false: no such element, or of another type; out is untouched. */
bool qd_gguf_int(const qd_gguf_value *value, size_t i, int64_t *out);
bool qd_gguf_number(const qd_gguf_value *value, size_t i, double *out);
bool qd_gguf_bool(const qd_gguf_value *value, bool *out);
/* A string, or a string array's elements one after another, at most n times: *at = NULL before the first. */
bool qd_gguf_string(const qd_gguf_value *value, qd_gguf_text *out);
bool qd_gguf_next(const qd_gguf_value *value, const uint8_t **at, qd_gguf_text *out);
/* Bytes of an element; 0 where it varies. */
size_t qd_gguf_type_bytes(qd_gguf_type type);
/* Whether a text is this word. */
bool qd_gguf_is(qd_gguf_text text, const char *word);
/* How many bytes of a text a message may show: as far as it is UTF-8, at most 40. */
int qd_gguf_printable(qd_gguf_text text);

/* --- for format_gguf.c --- */

/* Where a file is being read. */
typedef struct qd_gguf_cursor {
    qdisp_ctx *ctx;
    const char *path; /* for messages */
    const uint8_t *data;
    size_t size, at;
} qd_gguf_cursor;

/* The next n bytes, or NULL if the file ends before. */
const uint8_t *qd_gguf_take(qd_gguf_cursor *c, uint64_t n);
/* Little-endian numbers; false at the end of the file. */
bool qd_gguf_u32(qd_gguf_cursor *c, uint32_t *out);
bool qd_gguf_u64(qd_gguf_cursor *c, uint64_t *out);
/* Reads n values (a claim of the file). Errors: EFORMAT (key and reason), ENOMEM. */
qdisp_status qd_gguf_read_values(qd_gguf_cursor *c, uint64_t n, qd_gguf *out);
void qd_gguf_free(qdisp_ctx *ctx, qd_gguf *gguf);

/* --- writing --- */

/* A file in the making: keys, then tensors, then their data, in that order. Errors stick: every call after a failure
 * does nothing, and qd_gguf_write_* tells it. */
typedef struct qd_gguf_writer qd_gguf_writer;
struct qd_block_type;

/* Nothing is written before the first data. Errors: ENOMEM. */
qdisp_status qd_gguf_writer_new(qdisp_ctx *ctx, const char *path, qd_gguf_writer **out);
void qd_gguf_put_u32(qd_gguf_writer *w, const char *key, uint32_t x);
void qd_gguf_put_f32(qd_gguf_writer *w, const char *key, float x);
void qd_gguf_put_bool(qd_gguf_writer *w, const char *key, bool x);
void qd_gguf_put_text(qd_gguf_writer *w, const char *key, const char *text);
/* An array of fixed-size elements in the machine's order (little-endian), copied; of strings: begun, then n strings. */
void qd_gguf_put_array(qd_gguf_writer *w, const char *key, qd_gguf_type type, const void *elements, size_t n);
void qd_gguf_put_texts(qd_gguf_writer *w, const char *key, size_t n);
void qd_gguf_put_element(qd_gguf_writer *w, const char *text, size_t n);
/* A value of another file, as it is. */
void qd_gguf_put_value(qd_gguf_writer *w, const qd_gguf_value *value);
/* A tensor of shape [n_dims], the last dimension fastest; the name is copied. */
void qd_gguf_put_tensor(qd_gguf_writer *w, const char *name, const struct qd_block_type *type, const uint64_t *shape,
                        size_t n_dims);
/* The data of the tensors, one after another in their order, in pieces of any size. Errors: EIO, and whatever failed
 * before. */
qdisp_status qd_gguf_write_data(qd_gguf_writer *w, const void *bytes, size_t n_bytes);
/* The file appears, whole; frees w in every case. EINVAL: not all data have come. */
qdisp_status qd_gguf_writer_commit(qd_gguf_writer *w);
void qd_gguf_writer_discard(qd_gguf_writer *w); /* NULL is fine */

#endif
