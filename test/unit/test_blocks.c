/* Blocks of GGUF decode to the bits that gguf-py gives (test/golden/make_gguf.py), whole or in pieces; every type is
 * there; sizes and names of all ids. */
#include "harness.h"
#include "tensor/blocks.h"
#include "tensor/gguf.h"

#ifndef QDISP_ROOT
#define QDISP_ROOT "."
#endif
#define GOLDEN QDISP_ROOT "/test/golden/gguf/"

static qdisp_ctx *ctx;
static qd_tensor_file *file;

static uint32_t crc32_of(const void *data, size_t n) {
    const uint8_t *bytes = data;
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        crc ^= bytes[i];
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

/* Every tensor of the golden file; *values has room for any. */
static void each(void (*check)(const qdisp_tensor *t, size_t n, uint32_t crc, const uint32_t first[4])) {
    char line[256], name[64], type[16];
    unsigned crc, v[4];
    size_t n, n_lines = 0;
    FILE *f = fopen(GOLDEN "blocks.txt", "r");
    CHECK(f != NULL);
    while (f && fgets(line, sizeof line, f)) {
        CHECK(sscanf(line, "%63s %15s %zu %x %x %x %x %x", name, type, &n, &crc, v, v + 1, v + 2, v + 3) == 8);
        const qdisp_tensor *t = qd_tensor_file_find(file, name);
        CHECK(t && n <= 4096 && qd_tensor_n_elements(t) == n);
        if (!t) continue;
        int bad = harness_bad;
        check(t, n, crc, (const uint32_t *)v);
        if (harness_bad != bad) printf("  in %s\n", name);
        n_lines++;
    }
    if (f) fclose(f);
    CHECK(n_lines == 30 && file->n_tensors == 30);
}

static void check_whole(const qdisp_tensor *t, size_t n, uint32_t crc, const uint32_t first[4]) {
    float buffer[4096];
    const float *x = qd_load_f32(ctx->kernels, t->data, (qdisp_dtype)t->dtype, 0, n, buffer);
    CHECK(x != NULL);
    if (!x) return;
    CHECK(!memcmp(x, first, 16));
    CHECK(crc32_of(x, 4 * n) == crc);
}

TEST(every_type_decodes_to_the_same_bits) {
    each(check_whole);
}

static void check_pieces(const qdisp_tensor *t, size_t n, uint32_t crc, const uint32_t first[4]) {
    static const size_t lengths[] = {1, 7, 31, 255, 256, 257, 600};
    float whole[4096], piece[4096];
    (void)first;
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
        for (size_t at = 0, m; at < n; at += m) {
            m = n - at < lengths[k] ? n - at : lengths[k];
            const float *x = qd_load_f32(ctx->kernels, t->data, (qdisp_dtype)t->dtype, at, m, piece);
            memcpy(whole + at, x, 4 * m);
        }
        CHECK(crc32_of(whole, 4 * n) == crc);
    }
}

TEST(pieces_are_the_same) {
    each(check_pieces);
}

/* The dtype that a type names as wide enough holds every value of the golden blocks. */
static void check_value(const qdisp_tensor *t, size_t n, uint32_t crc, const uint32_t first[4]) {
    float buffer[4096];
    qdisp_dtype dtype = qd_tensor_value_dtype(t);
    const float *x = qd_load_f32(ctx->kernels, t->data, (qdisp_dtype)t->dtype, 0, n, buffer);
    (void)crc;
    (void)first;
    for (size_t i = 0; x && i < n; i++) {
        float narrow = dtype == QDISP_DTYPE_F16    ? qd_f16_to_f32(qd_f32_to_f16(x[i]))
                       : dtype == QDISP_DTYPE_BF16 ? qd_bf16_to_f32(qd_f32_to_bf16(x[i]))
                                                   : x[i];
        CHECK(narrow == x[i]);
        if (narrow != x[i]) break;
    }
    CHECK(t->n_bytes > 0 && t->n_bytes <= 8 * n);
}

TEST(values_fit_into_their_dtype) {
    each(check_value);
}

TEST(two_bits_without_a_golden_file) {
    /* Q2_0 as ggml-quants.c has it: 0.5 times the code less one, four codes a byte, lowest first. */
    uint8_t block[18] = {0x00, 0x38, 0xe4, 0x1b};
    float out[64];
    qd_decode_q2_0(block, 1, out);
    static const float wanted[9] = {-0.5f, 0, 0.5f, 1, 1, 0.5f, 0, -0.5f, -0.5f};
    CHECK(!memcmp(out, wanted, sizeof wanted) && out[63] == -0.5f);
}

enum { N_ROWS = 3, N_COLUMNS = 1280 };

/* The numbers of make_encoders.py. */
static void numbers(float x[N_ROWS * N_COLUMNS], float e[N_COLUMNS]) {
    uint32_t state = 1;
    for (size_t i = 0; i < N_ROWS * N_COLUMNS + N_COLUMNS; i++) {
        state = state * 1664525 + 1013904223;
        float value = (float)((int32_t)(state >> 8) - (1 << 23));
        uint32_t kind = state >> 8 & 63;
        if (i < N_ROWS * N_COLUMNS) x[i] = value * (kind == 0 ? 0x1p-24f : kind == 1 ? 0 : 0x1p-28f);
        else e[i - N_ROWS * N_COLUMNS] = ldexpf((float)((state >> 16) + 1), -(int)(state >> 8 & 7));
    }
}

static const qd_block_type *type_named(const char *name) {
    const char *unknown;
    for (uint32_t id = 0; id < 64; id++) {
        const qd_block_type *type = qd_block_type_find(id, &unknown);
        if (type && !strcmp(type->name, name)) return type;
    }
    return NULL;
}

/* On every instruction set, and each is the only encoder there is for its type. */
TEST(encoders_give_the_blocks_of_ggml) {
    static float x[N_ROWS * N_COLUMNS], e[N_COLUMNS], back[N_COLUMNS];
    static uint8_t blocks[N_ROWS * N_COLUMNS * 2];
    char line[256], name[16];
    const char *isas[8];
    size_t n_isas = qd_kernels_list(isas), n_lines = 0, n_encoders = 0;
    unsigned importance, crc;
    numbers(x, e);
    FILE *f = fopen(QDISP_ROOT "/test/golden/encoders.txt", "r");
    CHECK(f && fgets(line, sizeof line, f) && line[0] == '#');
    for (; f && fgets(line, sizeof line, f); n_lines++) {
        CHECK(sscanf(line, "%15s %u %x", name, &importance, &crc) == 3);
        const qd_block_type *type = type_named(name);
        CHECK(type && type->encode);
        if (!type || !type->encode) continue;
        size_t row_bytes = N_COLUMNS / type->n_values * type->n_bytes;
        for (size_t i = 0; i < n_isas; i++) {
            const qd_kernels *kernels = qd_kernels_get(isas[i], NULL, NULL);
            for (size_t r = 0; r < N_ROWS; r++)
                type->encode(kernels, x + r * N_COLUMNS, importance ? e : NULL, N_COLUMNS, blocks + r * row_bytes);
            CHECK(crc32_of(blocks, N_ROWS * row_bytes) == crc);
        }
        type->decode(blocks, N_COLUMNS / type->n_values, back);
        double error = 0, power = 0;
        for (size_t j = 0; j < N_COLUMNS; j++) {
            error += (double)(back[j] - x[j]) * (double)(back[j] - x[j]);
            power += (double)x[j] * (double)x[j];
        }
        CHECK(error < 0.2 * power);
    }
    if (f) fclose(f);
    for (uint32_t id = 0; id < 64; id++) {
        const qd_block_type *type = qd_block_type_find(id, (const char *[]){NULL});
        n_encoders += type && type->encode;
    }
    CHECK(n_lines == 2 * n_encoders && n_encoders >= 10);
}

TEST(ids) {
    const char *name = NULL;
    size_t n_types = 0;
    for (uint32_t id = 0; id < 1000; id++) {
        const qd_block_type *type = qd_block_type_find(id, &name);
        uint64_t n_bytes = 0;
        if (!type) {
            CHECK(name && *name);
            continue;
        }
        n_types++;
        CHECK(type->id == id && type->n_values <= QD_BLOCK_MAX && QD_BLOCK_MAX % type->n_values == 0);
        CHECK(qd_block_type_bytes(type, 768, &n_bytes) && n_bytes == 768 / type->n_values * type->n_bytes);
        if (type->n_bytes >= 2 * type->n_values) CHECK(!qd_block_type_bytes(type, (uint64_t)1 << 62, &n_bytes));
    }
    CHECK(n_types == 34);
    CHECK(!qd_block_type_find(4, &name));
    CHECK_HAS(name, "gone");
    CHECK(!qd_block_type_find(150, &name));
    CHECK_HAS(name, "ik_llama");
    CHECK(!qd_block_type_find(96, &name));
    CHECK_STR(name, "unknown");
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    if (qd_tensor_file_open(ctx, GOLDEN "blocks.gguf", &file) != QDISP_OK) {
        printf("%s\n", qdisp_ctx_error(ctx));
        return 1;
    }
    RUN(every_type_decodes_to_the_same_bits);
    RUN(pieces_are_the_same);
    RUN(values_fit_into_their_dtype);
    RUN(two_bits_without_a_golden_file);
    RUN(encoders_give_the_blocks_of_ggml);
    RUN(ids);
    qd_tensor_file_free(file);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
