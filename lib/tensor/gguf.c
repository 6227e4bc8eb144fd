/* gguf.c - keys and values of a GGUF file: checked once, then read where they lie.
 *
 * A key is u64 length and bytes; a value its type (i32) and its bytes; a string like a key; an array the type of its
 * elements (i32), their number (u64) and they. Nothing is copied: a vocabulary stays in the mapping. */
#include "tensor/gguf.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TEXT ((uint64_t)64 << 20) /* bytes of one string */
#define MAX_KEY 65535                 /* the specification's limit */
#define MAX_DEPTH 4                   /* arrays within arrays; no writer is known that nests them at all */
#define MIN_VALUE_BYTES 14            /* a key of one character and a value of one byte */

/* Bytes an element, 0 where it varies. */
static const uint8_t type_bytes[QD_GGUF_N_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

size_t qd_gguf_type_bytes(qd_gguf_type type) {
    return type_bytes[type];
}

const uint8_t *qd_gguf_take(qd_gguf_cursor *c, uint64_t n) {
    if (n > c->size - c->at) return NULL;
    const uint8_t *data = c->data + c->at;
    c->at += (size_t)n;
    return data;
}

static uint64_t little_endian(const uint8_t *data, size_t n) {
    uint64_t x = 0;
    for (size_t i = n; i > 0; i--) x = x << 8 | data[i - 1];
    return x;
}

bool qd_gguf_u32(qd_gguf_cursor *c, uint32_t *out) {
    const uint8_t *data = qd_gguf_take(c, 4);
    if (data) *out = (uint32_t)little_endian(data, 4);
    return data != NULL;
}

bool qd_gguf_u64(qd_gguf_cursor *c, uint64_t *out) {
    const uint8_t *data = qd_gguf_take(c, 8);
    if (data) *out = little_endian(data, 8);
    return data != NULL;
}

/* --- checking --- */

static qdisp_status read_key(qd_gguf_cursor *c, uint64_t i, qd_gguf_text *out) {
    uint64_t n = 0;
    const uint8_t *text = NULL;
    if (qd_gguf_u64(c, &n) && n <= MAX_KEY) text = qd_gguf_take(c, n);
    if (!text) {
        return qd_fail(c->ctx, QDISP_EFORMAT, "%s: key %llu: %llu bytes of it pass the end of the file (%zu) or %d",
                       c->path, (unsigned long long)i, (unsigned long long)n, c->size, MAX_KEY);
    }
    *out = (qd_gguf_text){(const char *)text, (size_t)n};
    if (n == 0 || memchr(text, 0, n) || qd_utf8_check(out->text, out->n) != n) {
        return qd_fail(c->ctx, QDISP_EFORMAT, "%s: key %llu is empty, has a zero byte or is not UTF-8", c->path,
                       (unsigned long long)i);
    }
    return QDISP_OK;
}

#define FAIL(c, value, format, ...)                                                                       \
    qd_fail((c)->ctx, QDISP_EFORMAT, "%s: key '%.*s': " format, (c)->path,                                \
            (int)((value)->key.n < 200 ? (value)->key.n : 200), (value)->key.text, __VA_ARGS__)

/* Passes n elements of a type, checking that they are there. */
static qdisp_status pass_elements(qd_gguf_cursor *c, const qd_gguf_value *value, uint32_t type, uint64_t n,
                                  unsigned depth) {
    uint64_t n_bytes;
    if (type >= QD_GGUF_N_TYPES) return FAIL(c, value, "type %u is not known", type);
    if (depth > MAX_DEPTH) return FAIL(c, value, "arrays within arrays, deeper than %d", MAX_DEPTH);
    if (type_bytes[type]) {
        if (qd_mul_overflows(n, type_bytes[type], &n_bytes) || !qd_gguf_take(c, n_bytes)) {
            return FAIL(c, value, "%llu elements pass the end of the file (%zu)", (unsigned long long)n, c->size);
        }
        return QDISP_OK;
    }
    for (uint64_t i = 0; i < n; i++) {
        uint32_t inner = type;
        uint64_t count;
        if ((type == QD_GGUF_ARRAY && !qd_gguf_u32(c, &inner)) || !qd_gguf_u64(c, &count)) {
            return FAIL(c, value, "element %llu of %llu passes the end of the file (%zu)", (unsigned long long)i,
                        (unsigned long long)n, c->size);
        }
        if (type == QD_GGUF_ARRAY) {
            QD_TRY(pass_elements(c, value, inner, count, depth + 1));
        } else if (count > MAX_TEXT || !qd_gguf_take(c, count)) {
            return FAIL(c, value, "a string of %llu bytes passes the end of the file (%zu) or 64 MiB",
                        (unsigned long long)count, c->size);
        }
    }
    return QDISP_OK;
}

static qdisp_status read_value(qd_gguf_cursor *c, uint64_t i, qd_gguf_value *value) {
    uint32_t type = 0;
    uint64_t n = 1;
    QD_TRY(read_key(c, i, &value->key));
    bool there = qd_gguf_u32(c, &type);
    value->is_array = there && type == QD_GGUF_ARRAY;
    if (value->is_array) there = qd_gguf_u32(c, &type) && qd_gguf_u64(c, &n);
    if (!there) return FAIL(c, value, "its type passes the end of the file (%zu)", c->size);
    value->data = c->data + c->at;
    QD_TRY(pass_elements(c, value, type, n, 1));
    value->type = (qd_gguf_type)type;
    value->n = (size_t)n;
    value->n_bytes = (size_t)(c->data + c->at - value->data);
    if (type != QD_GGUF_BOOL) return QDISP_OK;
    for (size_t k = 0; k < value->n; k++) {
        if (value->data[k] > 1) return FAIL(c, value, "%u is neither true nor false", value->data[k]);
    }
    return QDISP_OK;
}

static int compare_text(qd_gguf_text a, qd_gguf_text b) {
    int order = memcmp(a.text, b.text, a.n < b.n ? a.n : b.n);
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

static int compare_keys(const void *a, const void *b) {
    const qd_gguf_value *const *x = a, *const *y = b;
    return compare_text((*x)->key, (*y)->key);
}

qdisp_status qd_gguf_read_values(qd_gguf_cursor *c, uint64_t n, qd_gguf *out) {
    if (n > (c->size - c->at) / MIN_VALUE_BYTES) {
        return qd_fail(c->ctx, QDISP_EFORMAT, "%s: %llu keys do not fit into the file (%zu bytes)", c->path,
                       (unsigned long long)n, c->size);
    }
    for (uint64_t i = 0; i < n; i++) {
        QD_TRY(qd_grow(c->ctx, (void **)&out->values, &out->cap_values, out->n_values + 1, sizeof *out->values));
        QD_TRY(read_value(c, i, &out->values[out->n_values]));
        out->n_values++;
    }
    out->by_key = qd_alloc(c->ctx, out->n_values ? out->n_values : 1, sizeof *out->by_key);
    if (!out->by_key) return QDISP_ENOMEM;
    for (size_t i = 0; i < out->n_values; i++) out->by_key[i] = &out->values[i];
    qsort((void *)out->by_key, out->n_values, sizeof *out->by_key, compare_keys);
    for (size_t i = 1; i < out->n_values; i++) {
        if (compare_keys(&out->by_key[i - 1], &out->by_key[i]) == 0) {
            return FAIL(c, out->by_key[i], "%s", "it is there twice");
        }
    }
    return QDISP_OK;
}

void qd_gguf_free(qdisp_ctx *ctx, qd_gguf *gguf) {
    if (!gguf) return;
    qd_free(ctx, gguf->values);
    qd_free(ctx, (void *)gguf->by_key);
    qd_free(ctx, gguf);
}

/* --- reading --- */

const qd_gguf_value *qd_gguf_find(const qd_gguf *gguf, const char *key) {
    qd_gguf_text wanted = {key, strlen(key)};
    size_t low = 0, high = gguf->n_values;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_text(gguf->by_key[middle]->key, wanted);
        if (order == 0) return gguf->by_key[middle];
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

bool qd_gguf_int(const qd_gguf_value *value, size_t i, int64_t *out) {
    if (!value || i >= value->n) return false;
    size_t bytes = type_bytes[value->type];
    uint64_t x = bytes ? little_endian(value->data + i * bytes, bytes) : 0;
    switch (value->type) {
    case QD_GGUF_I8: *out = (int8_t)x; return true;
    case QD_GGUF_I16: *out = (int16_t)x; return true;
    case QD_GGUF_I32: *out = (int32_t)x; return true;
    case QD_GGUF_I64: *out = (int64_t)x; return true;
    case QD_GGUF_U64:
        if (x > INT64_MAX) return false;
        /* fall through */
    case QD_GGUF_U8: case QD_GGUF_U16: case QD_GGUF_U32: case QD_GGUF_BOOL: *out = (int64_t)x; return true;
    default: return false;
    }
}

bool qd_gguf_number(const qd_gguf_value *value, size_t i, double *out) {
    int64_t integer;
    if (!value || i >= value->n) return false;
    if (value->type == QD_GGUF_F32) {
        float x;
        uint32_t bits = (uint32_t)little_endian(value->data + 4 * i, 4);
        memcpy(&x, &bits, 4);
        *out = (double)x;
    } else if (value->type == QD_GGUF_F64) {
        uint64_t bits = little_endian(value->data + 8 * i, 8);
        memcpy(out, &bits, 8);
    } else {
        if (!qd_gguf_int(value, i, &integer)) return false;
        *out = (double)integer;
    }
    return true;
}

bool qd_gguf_bool(const qd_gguf_value *value, bool *out) {
    if (!value || value->is_array || value->type != QD_GGUF_BOOL) return false;
    *out = value->data[0] != 0;
    return true;
}

bool qd_gguf_next(const qd_gguf_value *value, const uint8_t **at, qd_gguf_text *out) {
    if (!value || value->type != QD_GGUF_STRING) return false;
    if (!*at) *at = value->data;
    out->n = (size_t)little_endian(*at, 8);
    out->text = (const char *)*at + 8;
    *at += 8 + out->n;
    return true;
}

bool qd_gguf_string(const qd_gguf_value *value, qd_gguf_text *out) {
    const uint8_t *at = NULL;
    return value && !value->is_array && qd_gguf_next(value, &at, out);
}

bool qd_gguf_is(qd_gguf_text text, const char *word) {
    return text.n == strlen(word) && !memcmp(text.text, word, text.n);
}

int qd_gguf_printable(qd_gguf_text text) {
    return (int)qd_utf8_check(text.text, text.n < 40 ? text.n : 40);
}
