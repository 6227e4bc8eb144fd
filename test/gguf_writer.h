/* gguf_writer.h - GGUF files made in memory for the tests, sound or broken at will: every function appends. */
#ifndef GGUF_WRITER_H
#define GGUF_WRITER_H

#include "harness.h"

#include <stdint.h>

typedef struct gguf_bytes {
    uint8_t data[1 << 16];
    size_t n;
} gguf_bytes;

static inline void put(gguf_bytes *b, const void *bytes, size_t n) {
    if (b->n + n > sizeof b->data) exit(1);
    memcpy(b->data + b->n, bytes, n);
    b->n += n;
}

static inline void put_number(gguf_bytes *b, uint64_t x, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i++) {
        uint8_t byte = (uint8_t)(x >> (8 * i));
        put(b, &byte, 1);
    }
}

static inline void put_text(gguf_bytes *b, const char *text) {
    put_number(b, strlen(text), 8);
    put(b, text, strlen(text));
}

static inline void put_header(gguf_bytes *b, uint32_t version, uint64_t n_tensors, uint64_t n_values) {
    b->n = 0;
    put(b, "GGUF", 4);
    put_number(b, version, 4);
    put_number(b, n_tensors, 8);
    put_number(b, n_values, 8);
}

/* A scalar of an integer type, or the bits of another. */
static inline void put_value(gguf_bytes *b, const char *key, uint32_t type, uint64_t x, size_t n_bytes) {
    put_text(b, key);
    put_number(b, type, 4);
    put_number(b, x, n_bytes);
}

static inline void put_string(gguf_bytes *b, const char *key, const char *text) {
    put_text(b, key);
    put_number(b, 8, 4);
    put_text(b, text);
}

static inline void put_array(gguf_bytes *b, const char *key, uint32_t type, uint64_t n) {
    put_text(b, key);
    put_number(b, 9, 4);
    put_number(b, type, 4);
    put_number(b, n, 8);
}

/* A tensor of two dimensions, n_in fastest. */
static inline void put_tensor(gguf_bytes *b, const char *name, uint64_t n_in, uint64_t n_out, uint32_t type,
                              uint64_t offset) {
    put_text(b, name);
    put_number(b, 2, 4);
    put_number(b, n_in, 8);
    put_number(b, n_out, 8);
    put_number(b, type, 4);
    put_number(b, offset, 8);
}

static inline void put_padding(gguf_bytes *b, size_t alignment) {
    while (b->n % alignment) put_number(b, 0, 1);
}

#endif
