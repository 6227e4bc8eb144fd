/* bench_blocks.c - decoding GGUF's blocks to f32 and encoding them, with and without importance, 4 MiB of floats a pass
 * as for a matrix of 1024 x 1024, one thread. */
#include "bench.h"

#include "tensor/blocks.h"

#include <stdio.h>
#include <stdlib.h>

enum { N_VALUES = 1 << 20, MAX_ID = 64 };

typedef struct blocks {
    const qd_block_type *type;
    uint8_t *data;
    float *out;
    const float *x, *importance; /* [N_VALUES] and [1024] or NULL */
    const qd_kernels *kernels;
} blocks;

static int decode(void *arg) {
    blocks *b = arg;
    b->type->decode(b->data, N_VALUES / b->type->n_values, b->out);
    return 0;
}

static int encode(void *arg) {
    blocks *b = arg;
    size_t row_bytes = 1024 / b->type->n_values * b->type->n_bytes;
    for (size_t r = 0; r < N_VALUES / 1024; r++)
        b->type->encode(b->kernels, b->x + 1024 * r, b->importance, 1024, b->data + r * row_bytes);
    return 0;
}

/* The block types in the order of their ids; name for a case. */
static const qd_block_type *type_of(uint32_t id, char name[24]) {
    const char *unknown;
    const qd_block_type *type = qd_block_type_find(id, &unknown);
    if (type) snprintf(name, 24, "decode_%s", type->name);
    return type && type->decode && type->n_values > 1 ? type : NULL;
}

void bench_list_blocks(void) {
    char name[24];
    for (uint32_t id = 0; id < MAX_ID; id++)
        if (type_of(id, name)) puts(name);
    for (uint32_t id = 0; id < MAX_ID; id++) {
        const qd_block_type *type = type_of(id, name);
        if (type && type->encode) printf("encode_%s\nencode_%s_importance\n", type->name, type->name);
    }
}

static void bench_encoders(const bench_options *o, blocks *b) {
    char name[40];
    float *x = bench_weights(N_VALUES), *importance = bench_weights(1024);
    const char *isa;
    b->kernels = qd_kernels_get(o->isa, &isa, NULL);
    b->x = x;
    for (size_t j = 0; importance && j < 1024; j++) importance[j] *= importance[j];
    for (uint32_t id = 0; x && importance && b->kernels && id < 2 * MAX_ID; id++) {
        b->type = type_of(id / 2, name);
        if (!b->type || !b->type->encode) continue;
        b->importance = id % 2 ? importance : NULL;
        snprintf(name, sizeof name, "encode_%s%s", b->type->name, id % 2 ? "_importance" : "");
        if (!bench_selected(o, name)) continue;
        bench_row row = {.name = name, .by = isa, .threads = 1, .n = N_VALUES, .unit = "Gweights/s",
                         .bytes = 4.0 * N_VALUES + (double)N_VALUES / b->type->n_values * b->type->n_bytes};
        bench_times times;
        bench_confine(1);
        if (bench_measure(o, encode, b, &times) == 0) bench_print(o, &row, &times);
    }
    free(x);
    free(importance);
}

void bench_blocks(const bench_options *o) {
    char name[24];
    blocks b = {.data = bench_zeros(2 * N_VALUES), .out = bench_zeros(4 * N_VALUES)};
    for (uint32_t i = 0; b.data && i < 2 * N_VALUES; i++) b.data[i] = (uint8_t)(i * 2654435761u >> 13);
    for (uint32_t id = 0; b.data && b.out && id < MAX_ID; id++) {
        b.type = type_of(id, name);
        if (!b.type || !bench_selected(o, name)) continue;
        bench_row row = {.name = name, .by = "c", .threads = 1, .n = 4.0 * N_VALUES, .unit = "GB/s out",
                         .bytes = 4.0 * N_VALUES + (double)N_VALUES / b.type->n_values * b.type->n_bytes};
        bench_times times;
        bench_confine(1);
        if (bench_measure(o, decode, &b, &times) == 0) bench_print(o, &row, &times);
    }
    if (b.data && b.out) bench_encoders(o, &b);
    free(b.data);
    free(b.out);
}
