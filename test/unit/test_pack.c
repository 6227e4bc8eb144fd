/* test_pack.c - packed codes: against plain arithmetic, against the plans of "rtn", and what is refused. */
#include "harness.h"

#include "quant/quant.h"

#include <qdisp/qdisp.h>

static qdisp_ctx *ctx;
static uint32_t seed = 1;

static uint32_t random_word(void) {
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

static float random_float(void) {
    float f;
    do {
        uint32_t bits = random_word();
        memcpy(&f, &bits, sizeof f);
    } while (isnan(f));
    return f;
}

TEST(f16_rounding_is_that_of_the_conversions) {
    enum { N = 1000 };
    float x[N], got[N];
    for (int round = 0; round < 300; round++) {
        for (int i = 0; i < N; i++)
            x[i] = round % 2 ? random_float() : ldexpf(random_float(), -(int)(random_word() % 9));
        ctx->kernels->round_f16(x, N, got);
        for (int i = 0; i < N; i++) {
            float want = qd_f16_to_f32(qd_f32_to_f16(x[i]));
            if (memcmp(&got[i], &want, sizeof want)) CHECK(!"the bits of qd_f32_to_f16");
        }
    }
}

TEST(many_grids_are_those_of_one_at_a_time) {
    float ratios[QD_N_CLIPS + 5];
    static const float sizes[] = {0, 1e-45f, 1e-7f, 1e-4f, 0.0371f, 1, 17.3f, 65504, 3e5f, 1e7f, 3e38f};
    for (unsigned k = 0; k < QD_N_CLIPS + 5; k++) ratios[k] = k < QD_N_CLIPS ? qd_clip_ratio(k) : 0.01f;
    for (int bits = 2; bits <= 8; bits++) {
        for (int levels = QD_NARROW; levels <= QD_ASYM; levels++) {
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
                static const size_t counts[] = {0, 1, 32, QD_N_CLIPS, QD_N_CLIPS + 5};
                size_t n = counts[(s + (size_t)bits) % 5], n_fit = 99, want = 0;
                qd_grid grids[QD_N_CLIPS + 5], grid;
                qd_range range = {levels == QD_ASYM ? -0.3f * sizes[s] : -sizes[s], sizes[s]};
                qd_grids_make(ctx->kernels, range, ratios, n, bits, (qd_levels)levels, grids, &n_fit);
                while (want < n &&
                       qd_grid_make(qd_range_scale(range, ratios[want]), 1, bits, (qd_levels)levels, &grid)) {
                    CHECK(grid.high - grid.low == (1 << bits) - (levels == QD_NARROW ? 2 : 1));
                    CHECK(memcmp(&grid, &grids[want], sizeof grid) == 0);
                    want++;
                }
                CHECK(n_fit == want);
            }
        }
    }
}

/* ---- bits ---- */

TEST(codes_are_a_stream_of_bits) {
    enum { N = 333 };
    int8_t codes[N], back[N];
    for (unsigned bits = 2; bits <= 8; bits++) {
        for (size_t n = 0; n <= N; n += n < 70 ? 1 : 37) {
            for (int offset = 0; offset < 2; offset++) {
                uint8_t packed[N + 8];
                size_t n_bytes = (n * bits + 7) / 8;
                for (size_t i = 0; i < n; i++)
                    codes[i] = (int8_t)((int)(random_word() % (1u << bits)) - (1 << (bits - 1)));
                memset(packed, 0xa5, sizeof packed);
                memset(back, 0x5a, sizeof back);
                ctx->kernels->pack_bits(codes, n, bits, offset, packed);
                ctx->kernels->unpack_bits(packed, n, bits, offset, back);
                CHECK(n == 0 || memcmp(codes, back, n) == 0);
                CHECK(n == N || back[n] == 0x5a);
                CHECK(packed[n_bytes] == 0xa5);
                for (size_t b = 0; b < 8 * n_bytes; b++) {
                    unsigned stored = (unsigned)codes[b / bits < n ? b / bits : 0] + (offset ? 1u << (bits - 1) : 0);
                    unsigned want = b < n * bits ? stored >> b % bits & 1 : 0;
                    if ((packed[b / 8] >> b % 8 & 1u) != want) CHECK(!"bit b % bits of code b / bits");
                }
            }
        }
    }
}

/* GPTQ's words: 32 / bits codes each, lowest first; of 3 bits, the 11th code lies across the first two words. */
TEST(four_bits_are_gptqs_words) {
    const int8_t codes[16] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
    uint32_t words[2];
    ctx->kernels->pack_bits(codes, 16, 4, true, (uint8_t *)words);
    CHECK(words[0] == 0xfedcba98u && words[1] == 0x76543210u);
    ctx->kernels->pack_bits(codes, 8, 4, false, (uint8_t *)words);
    CHECK(words[0] == 0x76543210u);
    const int8_t three[16] = {0, 1, 2, 3, -4, -3, -2, -1, 0, 1, 2, 3, 0, 0, 0, 0};
    ctx->kernels->pack_bits(three, 16, 3, false, (uint8_t *)words);
    CHECK((words[0] >> 21 & 7) == 7 && words[0] >> 30 == 2 && (words[1] & 1) == 0);
}

/* ---- matrices ---- */

enum { MAX_COLUMNS = 4500, MAX_ROWS = 40, MAX_WEIGHTS = 20000 };
static float w[MAX_WEIGHTS], values[MAX_COLUMNS], back[MAX_WEIGHTS + 1];
static uint16_t narrow[MAX_WEIGHTS + 1], scales[MAX_WEIGHTS / 8 + MAX_ROWS + 1];
static uint8_t packed[MAX_WEIGHTS + MAX_ROWS + 1];
static uint8_t clips[MAX_WEIGHTS];

static void fill(qdisp_dtype dtype, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float g = ((float)(random_word() % 2001) - 1000) * 1e-4f;
        w[i] = i % 97 == 5 ? g * 30 : i % 1000 < 150 ? 0 : i % 3000 > 2900 ? g * 1e-6f : g;
        if (dtype == QDISP_DTYPE_F16) w[i] = qd_f16_to_f32(narrow[i] = qd_f32_to_f16(w[i]));
        if (dtype == QDISP_DTYPE_BF16) w[i] = qd_bf16_to_f32(narrow[i] = qd_f32_to_bf16(w[i]));
    }
}

typedef struct matrix_case {
    size_t n_rows, n_columns;
    int64_t group_size;
} matrix_case;
static const matrix_case shapes[] = {{3, 64, 64},    {5, 128, 32},  {40, 200, 40},  {2, 4500, 128}, {7, 100, 13},
                                     {3, 77, -1},    {1, 1, 8},     {13, 33, 9999}, {4, 4500, 4200}, {4, 4500, -1},
                                     {6, 1000, 100}, {37, 255, 8},  {4, 4499, 1000}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

/* The values of packed codes are those of a plan's row of round to nearest, and codes are in range. */
static void check_matrix(const matrix_case *m, qdisp_dtype dtype, unsigned bits, bool full) {
    size_t n = m->n_rows * m->n_columns, row_bytes = qdisp_packed_row_bytes(m->n_columns, bits);
    size_t n_groups = qdisp_packed_n_groups(m->n_columns, m->group_size);
    qd_choice c = {.name = "w", .n_out = m->n_rows, .n_in = m->n_columns, .bits = (int)bits, .levels = (qd_levels)full,
                   .group_size = m->group_size, .clips = clips, .gains = clips};
    c.n_units = qd_unit_count(c.n_out, c.n_in, c.group_size, &c.units_per_row);
    CHECK(n_groups == c.units_per_row && row_bytes == (m->n_columns * bits + 7) / 8);
    fill(dtype, n);
    memset(packed, 0xa5, sizeof packed);
    memset(scales, 0xa5, sizeof scales);
    CHECK_STATUS(qdisp_quantize_packed(ctx, dtype == QDISP_DTYPE_F32 ? (void *)w : narrow, dtype, m->n_rows,
                                       m->n_columns, bits, m->group_size, full, packed, scales),
                 QDISP_OK);
    CHECK(packed[m->n_rows * row_bytes] == 0xa5 && scales[m->n_rows * n_groups] == 0xa5a5);
    back[n] = 12345;
    CHECK_STATUS(qdisp_dequantize_packed(ctx, packed, scales, m->n_rows, m->n_columns, bits, m->group_size, back),
                 QDISP_OK);
    CHECK(back[n] == 12345);
    for (size_t row = 0; row < m->n_rows; row++) {
        CHECK_STATUS(qd_quantize_row(ctx, &c, row, w + row * m->n_columns, values), QDISP_OK);
        for (size_t j = 0; j < m->n_columns; j++)
            if (back[row * m->n_columns + j] != values[j]) CHECK(!"the value that a plan gives");
    }
}

TEST(packed_codes_are_round_to_nearest) {
    static const qdisp_dtype dtypes[] = {QDISP_DTYPE_F32, QDISP_DTYPE_F16, QDISP_DTYPE_BF16};
    for (unsigned bits = 2; bits <= 8; bits++)
        for (size_t s = 0; s < N_SHAPES; s++)
            for (size_t t = 0; t < 3; t++) check_matrix(&shapes[s], dtypes[t], bits, (bits + s) % 2);
}

TEST(packed_codes_are_the_same_for_all_threads_and_instruction_sets) {
    static uint8_t first[sizeof packed];
    static uint16_t first_scales[sizeof scales / sizeof *scales];
    static const char *const isas[] = {"c", NULL, NULL};
    qdisp_ctx *own = ctx;
    fill(QDISP_DTYPE_F32, 36 * 500);
    for (uint64_t t = 0; t < 3; t++) {
        qdisp_ctx_options o = {.size = sizeof o, .n_threads = 1 + t, .isa = isas[t]};
        CHECK_STATUS(qdisp_ctx_new(&o, &ctx), QDISP_OK);
        CHECK_STATUS(qdisp_quantize_packed(ctx, (char *)w + 0, QDISP_DTYPE_F32, 36, 500, 3, 64, 0, packed, scales),
                     QDISP_OK);
        if (t == 0) memcpy(first, packed, sizeof first), memcpy(first_scales, scales, sizeof first_scales);
        CHECK(memcmp(first, packed, 36 * qdisp_packed_row_bytes(500, 3)) == 0);
        CHECK(memcmp(first_scales, scales, 36 * 8 * sizeof *scales) == 0);
        qdisp_ctx_free(ctx);
    }
    ctx = own;
}

TEST(unaligned_data_are_read) {
    static char bytes[4 * 300 + 1];
    static uint8_t aligned[300];
    fill(QDISP_DTYPE_F32, 300);
    memcpy(bytes + 1, w, 4 * 300);
    CHECK_STATUS(qdisp_quantize_packed(ctx, w, QDISP_DTYPE_F32, 3, 100, 4, 16, 0, aligned, scales), QDISP_OK);
    CHECK_STATUS(qdisp_quantize_packed(ctx, bytes + 1, QDISP_DTYPE_F32, 3, 100, 4, 16, 0, packed, scales), QDISP_OK);
    CHECK(memcmp(aligned, packed, 150) == 0);
}

static qdisp_status quantize(size_t n_rows, size_t n_columns, uint64_t bits, int64_t group_size) {
    return qdisp_quantize_packed(ctx, w, QDISP_DTYPE_F32, n_rows, n_columns, bits, group_size, 0, packed, scales);
}

static bool error_has(const char *text) {
    return strstr(qdisp_ctx_error(ctx), text) != NULL;
}

TEST(what_cannot_be_packed_is_named) {
    static const int64_t groups[] = {64, 13, -1};
    for (size_t g = 0; g < 3; g++) {
        static const float bad[] = {NAN, INFINITY, -INFINITY};
        for (size_t k = 0; k < 3; k++) {
            fill(QDISP_DTYPE_F32, 40 * 200);
            w[17 * 200 + 133] = bad[k];
            CHECK_STATUS(quantize(40, 200, 4, groups[g]), QDISP_ENUMERIC);
            CHECK(error_has("row 17, column 133"));
        }
        w[17 * 200 + 133] = 1e6f;
        CHECK_STATUS(quantize(40, 200, 4, groups[g]), QDISP_ENUMERIC);
        CHECK(error_has("row 17, columns ") && error_has("1e+06"));
        w[17 * 200 + 133] = 0;
    }
    CHECK_STATUS(quantize(40, 200, 1, 64), QDISP_EINVAL);
    CHECK(error_has("bits: 1"));
    CHECK_STATUS(quantize(40, 200, 9, 64), QDISP_EINVAL);
    CHECK_STATUS(quantize(40, 200, 4, 7), QDISP_EINVAL);
    CHECK_STATUS(quantize(40, 200, 4, QDISP_GROUP_TENSOR), QDISP_EINVAL);
    CHECK(error_has("group_size: -2"));
    CHECK_STATUS(quantize(SIZE_MAX / 2, 200, 4, 64), QDISP_EINVAL);
    CHECK_STATUS(qdisp_quantize_packed(ctx, w, QDISP_DTYPE_I8, 1, 8, 4, 8, 0, packed, scales), QDISP_EUNSUPPORTED);
    CHECK_STATUS(qdisp_dequantize_packed(ctx, packed, scales, 1, 8, 12, 8, back), QDISP_EINVAL);
    CHECK_STATUS(quantize(0, 200, 4, 64), QDISP_OK);
    CHECK_STATUS(quantize(3, 0, 4, -1), QDISP_OK);
    CHECK(qdisp_packed_row_bytes(10, 1) == 0 && qdisp_packed_row_bytes(11, 3) == 5 &&
          qdisp_packed_row_bytes(0, 4) == 0);
    CHECK(qdisp_packed_n_groups(10, 7) == 0 && qdisp_packed_n_groups(0, 8) == 0 && qdisp_packed_n_groups(17, 8) == 3);
}

int main(void) {
    qdisp_ctx_options o = {.size = sizeof o, .n_threads = 2};
    if (qdisp_ctx_new(&o, &ctx) != QDISP_OK) return 1;
    RUN(f16_rounding_is_that_of_the_conversions);
    RUN(many_grids_are_those_of_one_at_a_time);
    RUN(codes_are_a_stream_of_bits);
    RUN(four_bits_are_gptqs_words);
    RUN(packed_codes_are_round_to_nearest);
    RUN(packed_codes_are_the_same_for_all_threads_and_instruction_sets);
    RUN(unaligned_data_are_read);
    RUN(what_cannot_be_packed_is_named);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
