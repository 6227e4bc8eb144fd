/* write_gguf.c - GGUF files out: keys and tensors are gathered, then data are streamed behind them. */
#include <stdio.h>
#include <string.h>

#include "tensor/blocks.h"
#include "tensor/gguf.h"

enum { ALIGNMENT = 32, VERSION = 3 };

typedef struct bytes {
    uint8_t *data;
    size_t n, cap;
} bytes;

struct qd_gguf_writer {
    qdisp_ctx *ctx;
    char *path;
    qd_output *output; /* from the first data on */
    bytes keys, tensors;
    uint64_t n_keys, n_tensors;
    uint64_t *sizes;    /* [n_tensors] bytes of data */
    size_t cap_sizes;
    uint64_t offset;    /* where the next tensor's data begin */
    size_t i_tensor;    /* whose data come */
    uint64_t n_written; /* of them */
    qdisp_status status;
};

qdisp_status qd_gguf_writer_new(qdisp_ctx *ctx, const char *path, qd_gguf_writer **out) {
    qd_gguf_writer *w = qd_alloc(ctx, 1, sizeof *w);
    if (!w) return QDISP_ENOMEM;
    w->ctx = ctx;
    if (!(w->path = qd_strdup(ctx, path))) {
        qd_free(ctx, w);
        return QDISP_ENOMEM;
    }
    *out = w;
    return QDISP_OK;
}

void qd_gguf_writer_discard(qd_gguf_writer *w) {
    if (!w) return;
    qd_output_discard(w->output);
    qd_free(w->ctx, w->keys.data);
    qd_free(w->ctx, w->tensors.data);
    qd_free(w->ctx, w->sizes);
    qd_free(w->ctx, w->path);
    qd_free(w->ctx, w);
}

/* --- bytes --- */

static void add(qd_gguf_writer *w, bytes *to, const void *data, size_t n) {
    if (w->status == QDISP_OK) w->status = qd_grow(w->ctx, (void **)&to->data, &to->cap, to->n + n, 1);
    if (w->status != QDISP_OK || n == 0) return;
    memcpy(to->data + to->n, data, n);
    to->n += n;
}

static void add_number(qd_gguf_writer *w, bytes *to, uint64_t x, size_t n) {
    uint8_t data[8];
    for (size_t i = 0; i < n; i++) data[i] = (uint8_t)(x >> 8 * i);
    add(w, to, data, n);
}

static void add_text(qd_gguf_writer *w, bytes *to, const char *text, size_t n) {
    add_number(w, to, n, 8);
    add(w, to, text, n);
}

/* --- keys --- */

static void add_key(qd_gguf_writer *w, const char *key, qd_gguf_type type) {
    add_text(w, &w->keys, key, strlen(key));
    add_number(w, &w->keys, (uint64_t)type, 4);
    w->n_keys++;
}

void qd_gguf_put_u32(qd_gguf_writer *w, const char *key, uint32_t x) {
    add_key(w, key, QD_GGUF_U32);
    add_number(w, &w->keys, x, 4);
}

void qd_gguf_put_f32(qd_gguf_writer *w, const char *key, float x) {
    add_key(w, key, QD_GGUF_F32);
    add(w, &w->keys, &x, 4);
}

void qd_gguf_put_bool(qd_gguf_writer *w, const char *key, bool x) {
    add_key(w, key, QD_GGUF_BOOL);
    add_number(w, &w->keys, x, 1);
}

void qd_gguf_put_text(qd_gguf_writer *w, const char *key, const char *text) {
    add_key(w, key, QD_GGUF_STRING);
    add_text(w, &w->keys, text, strlen(text));
}

static void add_array(qd_gguf_writer *w, const char *key, qd_gguf_type type, size_t n) {
    add_key(w, key, QD_GGUF_ARRAY);
    add_number(w, &w->keys, (uint64_t)type, 4);
    add_number(w, &w->keys, n, 8);
}

void qd_gguf_put_array(qd_gguf_writer *w, const char *key, qd_gguf_type type, const void *elements, size_t n) {
    add_array(w, key, type, n);
    add(w, &w->keys, elements, n * qd_gguf_type_bytes(type));
}

void qd_gguf_put_texts(qd_gguf_writer *w, const char *key, size_t n) {
    add_array(w, key, QD_GGUF_STRING, n);
}

void qd_gguf_put_element(qd_gguf_writer *w, const char *text, size_t n) {
    add_text(w, &w->keys, text, n);
}

void qd_gguf_put_value(qd_gguf_writer *w, const qd_gguf_value *value) {
    add_text(w, &w->keys, value->key.text, value->key.n);
    if (value->is_array) add_number(w, &w->keys, QD_GGUF_ARRAY, 4);
    add_number(w, &w->keys, (uint64_t)value->type, 4);
    if (value->is_array) add_number(w, &w->keys, value->n, 8);
    add(w, &w->keys, value->data, value->n_bytes);
    w->n_keys++;
}

/* --- tensors --- */

void qd_gguf_put_tensor(qd_gguf_writer *w, const char *name, const qd_block_type *type, const uint64_t *shape,
                        size_t n_dims) {
    uint64_t n = 1, n_bytes = 0;
    bool fits = n_dims >= 1 && n_dims <= 4;
    for (size_t i = 0; fits && i < n_dims; i++) fits = !qd_mul_overflows(n, shape[i], &n);
    if (w->status != QDISP_OK) return;
    if (!fits || shape[n_dims - 1] % type->n_values || !qd_block_type_bytes(type, n, &n_bytes)) {
        w->status = qd_fail(w->ctx, QDISP_EINVAL, "%s: tensor '%s': no shape for %s", w->path, name, type->name);
        return;
    }
    w->status = qd_grow(w->ctx, (void **)&w->sizes, &w->cap_sizes, (size_t)w->n_tensors + 1, sizeof *w->sizes);
    if (w->status != QDISP_OK) return;
    w->sizes[w->n_tensors++] = n_bytes;
    add_text(w, &w->tensors, name, strlen(name));
    add_number(w, &w->tensors, n_dims, 4);
    for (size_t i = n_dims; i > 0; i--) add_number(w, &w->tensors, shape[i - 1], 8);
    add_number(w, &w->tensors, type->id, 4);
    add_number(w, &w->tensors, w->offset, 8);
    w->offset += (n_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* --- the file --- */

static void write_bytes(qd_gguf_writer *w, const void *data, size_t n) {
    if (w->status == QDISP_OK && n > 0) w->status = qd_output_write(w->output, data, n);
}

static void pad(qd_gguf_writer *w, uint64_t n) {
    static const uint8_t zeros[ALIGNMENT];
    write_bytes(w, zeros, (size_t)((ALIGNMENT - n % ALIGNMENT) % ALIGNMENT));
}

static void write_header(qd_gguf_writer *w) {
    bytes head = {0};
    add(w, &head, "GGUF", 4);
    add_number(w, &head, VERSION, 4);
    add_number(w, &head, w->n_tensors, 8);
    add_number(w, &head, w->n_keys, 8);
    if (w->status == QDISP_OK) w->status = qd_output_open(w->ctx, w->path, &w->output);
    write_bytes(w, head.data, head.n);
    write_bytes(w, w->keys.data, w->keys.n);
    write_bytes(w, w->tensors.data, w->tensors.n);
    pad(w, head.n + w->keys.n + w->tensors.n);
    qd_free(w->ctx, head.data);
}

/* Passes tensors whose data are all there. */
static void pass_tensors(qd_gguf_writer *w) {
    while (w->status == QDISP_OK && w->i_tensor < w->n_tensors && w->n_written == w->sizes[w->i_tensor]) {
        pad(w, w->n_written);
        w->n_written = 0;
        w->i_tensor++;
    }
}

qdisp_status qd_gguf_write_data(qd_gguf_writer *w, const void *data, size_t n_bytes) {
    const uint8_t *at = data;
    if (!w->output) write_header(w);
    while (w->status == QDISP_OK && n_bytes > 0) {
        pass_tensors(w);
        uint64_t left = w->i_tensor < w->n_tensors ? w->sizes[w->i_tensor] - w->n_written : 0;
        size_t n = left < n_bytes ? (size_t)left : n_bytes;
        if (n == 0) return w->status = qd_fail(w->ctx, QDISP_EINVAL, "%s: more data than tensors", w->path);
        write_bytes(w, at, n);
        w->n_written += n;
        at += n;
        n_bytes -= n;
    }
    return w->status;
}

qdisp_status qd_gguf_writer_commit(qd_gguf_writer *w) {
    if (!w->output) write_header(w);
    pass_tensors(w);
    if (w->status == QDISP_OK && w->i_tensor < w->n_tensors)
        w->status = qd_fail(w->ctx, QDISP_EINVAL, "%s: data of tensor %zu of %llu are missing", w->path, w->i_tensor,
                            (unsigned long long)w->n_tensors);
    qdisp_status status = w->status;
    if (status == QDISP_OK) {
        status = qd_output_commit(w->output);
        w->output = NULL;
    }
    qd_gguf_writer_discard(w);
    return status;
}
