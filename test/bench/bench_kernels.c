/* bench_kernels.c - every kernel on every instruction set of this CPU, on one thread. Streaming kernels work on
 * 256 MiB, the others on 256 KiB that stay in L2. To add one: run_NAME and COST_NAME. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 4096, GROUP = 64, N_GRIDS = 64, N_COUNTS = 131072, VOCAB = 250880, SUMS = 4 * COLUMNS };

/* Buffers of one run: x and y hold n floats (or twice as many halves), out as many bytes. */
typedef struct work {
    size_t n;
    const float *x, *y;
    float *out;
    double *sums;
    const uint16_t *halves; /* of x, n of them */
    uint32_t *counts;
} work;

/* One pass of a kernel over the buffers. */
typedef struct bench {
    const char *name;
    void (*run)(const qd_kernels *k, const work *w);
    double bytes; /* moved, an element */
    double per;   /* element operations, an element: N_GRIDS for grid_errors */
    int streams;  /* 256 MiB, else L2 */
    double ops;   /* f32 operations an element operation, where they and not memory are the limit; 0: not counted */
} bench;

static volatile double sink;

static void run_to_f32_f16(const qd_kernels *k, const work *w) {
    k->to_f32_f16((const uint16_t *)w->x, w->n, w->out);
}

static void run_to_f32_bf16(const qd_kernels *k, const work *w) {
    k->to_f32_bf16((const uint16_t *)w->x, w->n, w->out);
}

static void run_power_sums(const qd_kernels *k, const work *w) {
    qd_power_sums s;
    k->power_sums(w->x, w->n, 0.001f, &s);
    sink = s.s4;
}

/* upper halves of floats are bf16; as f16 they are other numbers, but numbers */
#define MOMENTS_RUN(suffix, elements)                                                              \
    static void run_power_sums_##suffix(const qd_kernels *k, const work *w) {                      \
        qd_power_sums s;                                                                           \
        k->power_sums_##suffix(elements, w->n, 0.001f, &s);                                        \
        sink = s.s4;                                                                               \
    }                                                                                              \
    static void run_column_sums_##suffix(const qd_kernels *k, const work *w) {                     \
        qd_column_sums into = columns_of(w);                                                       \
        k->column_sums_##suffix(elements, w->n / COLUMNS, COLUMNS, COLUMNS, NULL, &into);          \
    }

static qd_column_sums columns_of(const work *w) {
    static float range[2 * COLUMNS];
    static uint64_t n_non_finite[COLUMNS];
    return (qd_column_sums){w->sums, range, range + COLUMNS, n_non_finite};
}

MOMENTS_RUN(f16, w->halves)
MOMENTS_RUN(bf16, w->halves)
MOMENTS_RUN(i8, (const int8_t *)w->x)

static void run_column_sums(const qd_kernels *k, const work *w) {
    qd_column_sums into = columns_of(w);
    k->column_sums(w->x, w->n / COLUMNS, COLUMNS, COLUMNS, NULL, &into);
}

static void run_column_squares(const qd_kernels *k, const work *w) {
    k->column_squares(w->x, w->n / COLUMNS, COLUMNS, COLUMNS, w->sums);
}

static void run_abs_max(const qd_kernels *k, const work *w) {
    sink = (double)k->abs_max(w->x, w->n);
}

static void run_range(const qd_kernels *k, const work *w) {
    k->range(w->x, w->n, w->out);
}

static void run_abs_sum(const qd_kernels *k, const work *w) {
    sink = k->abs_sum(w->x, w->n);
}

static void run_count_f32(const qd_kernels *k, const work *w) {
    sink = (double)k->count_f32(w->x, w->n, w->counts);
}

static void run_count_16(const qd_kernels *k, const work *w) {
    k->count_16(w->halves, w->n, w->counts);
}

static const qd_grid grid = {0.01f, 100.0f, -8, 7};

static void run_half_quadratic(const qd_kernels *k, const work *w) {
    static const qd_half_quadratic how = {4, 15, 100, 0.99f, -0.3f, 20, 10};
    for (size_t i = 0; i + 64 <= w->n; i += 64) sink = (double)k->half_quadratic(w->x + i, 64, 7.3f, &how);
}

static void run_quantize(const qd_kernels *k, const work *w) {
    k->quantize(w->x, w->n, &grid, w->out);
}

static void run_quantize_codes(const qd_kernels *k, const work *w) {
    k->quantize_codes(w->x, w->n, &grid, (int8_t *)w->out);
}

static void run_grid_errors(const qd_kernels *k, const work *w) {
    qd_grid grids[N_GRIDS];
    double errors[N_GRIDS];
    for (int i = 0; i < N_GRIDS; i++) {
        float scale = 0.01f + 0.0005f * (float)i;
        grids[i] = (qd_grid){scale, 1.0f / scale, -7, 7};
    }
    for (size_t i = 0; i + GROUP <= w->n; i += GROUP) {
        k->grid_errors(w->x + i, w->y + i, GROUP, grids, N_GRIDS, errors);
        sink = errors[0];
    }
}

static void run_round_f16(const qd_kernels *k, const work *w) {
    k->round_f16(w->x, w->n, w->out);
}

static void run_column_grid_errors(const qd_kernels *k, const work *w) {
    qd_grid grids[N_GRIDS];
    for (int i = 0; i < N_GRIDS; i++) {
        float scale = 0.01f + 0.0005f * (float)i;
        grids[i] = (qd_grid){scale, 1.0f / scale, -7, 7};
    }
    memset(w->out, 0, GROUP * N_GRIDS * sizeof(float));
    for (size_t i = 0; i + GROUP <= w->n; i += GROUP) k->column_grid_errors(w->x + i, GROUP, grids, N_GRIDS, w->out);
}

static void run_column_measure(const qd_kernels *k, const work *w) {
    k->column_measure(w->x, w->y, w->n / COLUMNS, COLUMNS, COLUMNS, COLUMNS, w->sums, w->sums + COLUMNS);
}

static void run_weighted_products(const qd_kernels *k, const work *w) {
    double sums[2];
    for (size_t i = 0; i + GROUP <= w->n; i += GROUP) {
        k->weighted_products(w->x + i, w->y + i, w->y + i, GROUP, sums);
        sink = sums[0];
    }
}

static void run_excess_sums(const qd_kernels *k, const work *w) {
    double sums[2];
    k->excess_sums(w->x, NULL, w->n, 0.1f, sums);
    sink = sums[0];
}

static void run_excess_squares(const qd_kernels *k, const work *w) {
    sink = k->excess_squares(w->x, w->n, 0.1f);
}

static void run_pack_bits(const qd_kernels *k, const work *w) {
    k->pack_bits((const int8_t *)w->x, w->n, 4, true, (uint8_t *)w->out);
}

static void run_unpack_bits(const qd_kernels *k, const work *w) {
    k->unpack_bits((const uint8_t *)w->x, w->n, 4, true, (int8_t *)w->out);
}

static void run_scale_codes(const qd_kernels *k, const work *w) {
    k->scale_codes((const int8_t *)w->x, w->n, 0.01f, w->out);
}

/* Rows of 4096, groups of 128, 4 bits. */
static void run_quantize_pack(const qd_kernels *k, const work *w) {
    uint16_t scales[COLUMNS / 128];
    for (size_t i = 0; i + COLUMNS <= w->n; i += COLUMNS) {
        k->quantize_pack(w->x + i, COLUMNS, 128, 4, false, scales, (uint8_t *)w->out + i / 2);
    }
}

static void run_softmax(const qd_kernels *k, const work *w) {
    memcpy(w->out, w->x, w->n * sizeof(float));
    for (size_t i = 0; i + 512 <= w->n; i += 512) k->softmax(w->out + i, 512);
}

static void run_nll(const qd_kernels *k, const work *w) {
    size_t n = w->n < VOCAB ? w->n : VOCAB;
    for (size_t i = 0; i + n <= w->n; i += n) sink = k->nll(w->x + i, n, 7);
}

static void run_softmax_kl(const qd_kernels *k, const work *w) {
    size_t n = w->n < VOCAB ? w->n : VOCAB;
    for (size_t i = 0; i + n <= w->n; i += n) {
        qd_kl kl;
        k->softmax_kl(w->x + i, w->y + i, n, &kl);
        sink = kl.kl;
    }
}

static void run_js_divergence(const qd_kernels *k, const work *w) {
    for (size_t i = 0; i + 512 <= w->n; i += 512) sink = k->js_divergence(w->x + i, w->y + i, 512);
}

static void run_lse_part(const qd_kernels *k, const work *w) {
    qd_lse row = QD_LSE;
    for (size_t i = 0; i + QD_LSE_BLOCK <= w->n; i += QD_LSE_BLOCK) k->lse_part(w->x + i, QD_LSE_BLOCK, &row);
    sink = row.sum;
}

static void run_softmax_grad(const qd_kernels *k, const work *w) {
    for (size_t i = 0; i + 512 <= w->n; i += 512) k->softmax_grad(w->x + i, w->y + i, 512, w->out + i);
}

static void run_bias_act(const qd_kernels *k, const work *w) {
    memcpy(w->out, w->x, w->n * sizeof(float));
    k->bias_act(QD_ACT_GELU_TANH, w->out, w->y, w->n / COLUMNS, COLUMNS);
}

static void run_act_gated(const qd_kernels *k, const work *w) {
    k->act_gated(QD_ACT_SILU, w->x, w->y, w->n, w->out);
}

static void run_act_grad(const qd_kernels *k, const work *w) {
    k->act_grad(QD_ACT_GELU_ERF, w->x, w->y, w->n, w->out);
}

static void run_act_gated_grad(const qd_kernels *k, const work *w) {
    k->act_gated_grad(QD_ACT_SILU, w->x, w->y, w->x, w->n / 2, w->out, w->out + w->n / 2);
}

static void run_scale_softcap(const qd_kernels *k, const work *w) {
    memcpy(w->out, w->x, w->n * sizeof(float));
    k->scale_softcap(w->out, w->n, 0.125f, 50.0f);
}

static void run_layer_norm(const qd_kernels *k, const work *w) {
    for (size_t i = 0; i + COLUMNS <= w->n; i += COLUMNS) {
        k->layer_norm(w->x + i, COLUMNS, 1e-5f, w->y, w->y, w->out + i);
    }
}

static void run_layer_norm_grad(const qd_kernels *k, const work *w) {
    for (size_t i = 0; i + COLUMNS <= w->n; i += COLUMNS) {
        k->layer_norm_grad(w->x + i, COLUMNS, 1e-5f, w->y, w->y + i, w->out + i);
    }
}

static void run_rms_norm(const qd_kernels *k, const work *w) {
    for (size_t i = 0; i + COLUMNS <= w->n; i += COLUMNS) {
        k->rms_norm(w->x + i, COLUMNS, 1e-5f, w->y, 0.0f, w->out + i);
    }
}

static void run_rms_norm_grad(const qd_kernels *k, const work *w) {
    for (size_t i = 0; i + COLUMNS <= w->n; i += COLUMNS) {
        k->rms_norm_grad(w->x + i, COLUMNS, 1e-5f, w->y, 0.0f, w->y + i, w->out + i);
    }
}

/* Heads of 128; of the "angles" only the speed counts, so x grows little: |cos| and |sin| are small. */
static void run_rope(const qd_kernels *k, const work *w) {
    memcpy(w->out, w->x, w->n * sizeof(float));
    for (size_t i = 0; i + 128 <= w->n; i += 128) k->rope(w->out + i, w->y, w->y + 64, 64, false);
}

/* Rows of 64 by a matrix of 64 by 1024: panels of 256 KiB. */
static void run_panel_product(const qd_kernels *k, const work *w) {
    k->panel_product(w->y, 1024, 64, 1024, w->x, 1024, w->n / 1024, false, w->out, w->n / 1024);
}

static void run_philox(const qd_kernels *k, const work *w) {
    const uint32_t counter[4] = {1, 2, 3, 4}, key[2] = {5, 6};
    k->philox(counter, key, w->n / 4, (uint32_t *)w->out);
}

/* 16 blocks of 32 a call; y as weights of any sign: only the speed counts. */
enum { LANES = 16 * 32 };

static void run_search_affine(const qd_kernels *k, const work *w) {
    static const qd_affine_search how = {15, 20, -1.0f, 0.1f, false};
    float scales[16], minima[16];
    for (size_t i = 0; i + LANES <= w->n; i += LANES)
        k->search_affine(w->x + i, w->y + i, 32, &how, scales, minima, (uint8_t *)w->out + i);
}

static void run_search_scale(const qd_kernels *k, const work *w) {
    float scales[16];
    for (size_t i = 0; i + LANES <= w->n; i += LANES)
        k->search_scale(w->x + i, w->y + i, 32, 32, scales, (uint8_t *)w->out + i);
}

static void run_search_descent(const qd_kernels *k, const work *w) {
    float scales[16];
    for (size_t i = 0; i + LANES <= w->n; i += LANES)
        k->search_descent(w->x + i, 32, 4, scales, (uint8_t *)w->out + i);
}

static void run_search_codebook(const qd_kernels *k, const work *w) {
    float scales[16];
    for (size_t i = 0; i + LANES <= w->n; i += LANES) k->search_codebook(w->x + i, w->y + i, 32, scales);
}

static void run_codebook_codes(const qd_kernels *k, const work *w) {
    for (size_t i = 0; i + LANES <= w->n; i += LANES)
        k->codebook_codes(w->x + i, 32, w->y, (uint8_t *)w->out + i);
}

static void run_affine_codes(const qd_kernels *k, const work *w) {
    for (size_t i = 0; i + LANES <= w->n; i += LANES)
        k->affine_codes(w->x + i, 32, w->y, w->y + 16, 0, 15, (uint8_t *)w->out + i);
}

/* What a pass moves: bytes an element, element operations an element, and whether it streams; then, if arithmetic may
 * be its limit, the f32 operations of an element operation as the C code has them. A kernel of kernels.inc without its
 * line here does not compile. */
#define COST_to_f32_f16 6, 1, 1
#define COST_to_f32_bf16 6, 1, 1
#define COST_power_sums 4, 1, 1, 10
#define COST_power_sums_f16 2, 1, 1, 11
#define COST_power_sums_bf16 2, 1, 1, 11
#define COST_power_sums_i8 1, 1, 1, 11
#define COST_column_sums 4, 1, 1, 10
#define COST_column_sums_f16 2, 1, 1, 10
#define COST_column_sums_bf16 2, 1, 1, 10
#define COST_column_sums_i8 1, 1, 1, 10
#define COST_column_squares 4, 1, 1
#define COST_abs_max 4, 1, 1
#define COST_range 4, 1, 1
#define COST_abs_sum 4, 1, 1
#define COST_count_f32 4, 1, 1
#define COST_count_16 2, 1, 1
#define COST_quantize 8, 1, 1
#define COST_half_quadratic 4, 10, 0
#define COST_quantize_codes 5, 1, 1
#define COST_grid_errors 8, N_GRIDS, 0, 10
#define COST_round_f16 8, 1, 1
#define COST_column_grid_errors 4, N_GRIDS, 0, 9
#define COST_column_measure 8, 1, 1
#define COST_weighted_products 12, 1, 0
#define COST_excess_sums 4, 1, 1
#define COST_excess_squares 4, 1, 1
#define COST_pack_bits 1.5, 1, 1
#define COST_unpack_bits 1.5, 1, 1
#define COST_scale_codes 5, 1, 1
#define COST_quantize_pack 4.5, 1, 1
#define COST_search_affine 9, 1, 0, 336 /* 21 grids of 8 operations for sums and 8 for the error */
#define COST_search_scale 9, 1, 0, 190
#define COST_search_descent 5, 1, 0, 110
#define COST_search_codebook 8, 1, 0, 560 /* 16 grids of 15 comparisons and sums, and 5 */
#define COST_codebook_codes 5, 1, 0, 31
#define COST_affine_codes 5, 1, 0
#define COST_softmax 16, 1, 0, 26 /* with the copy that renews its input, as for others that work in place */
#define COST_nll 4, 1, 1, 25
#define COST_softmax_kl 8, 1, 1, 76
#define COST_js_divergence 8, 1, 1, 64
#define COST_lse_part 4, 1, 0, 25
#define COST_softmax_grad 12, 1, 0
#define COST_bias_act 16, 1, 0, 31
#define COST_act_gated 12, 1, 0, 26
#define COST_act_grad 12, 1, 0, 60
#define COST_act_gated_grad 10, 0.5, 0, 60
#define COST_scale_softcap 16, 1, 0, 44
#define COST_layer_norm 8, 1, 0
#define COST_layer_norm_grad 12, 1, 0
#define COST_rms_norm 8, 1, 0
#define COST_rms_norm_grad 12, 1, 0
#define COST_rope 16, 1, 0
#define COST_panel_product 4, 64, 0, 2 /* fused, so that it can pass 1 */
#define COST_philox 4, 1, 0

static const bench benches[] = {
#define K(name, ret, args) {#name, run_##name, COST_##name},
#include "kernels/kernels.inc"
#undef K
};
enum { N_KERNELS = sizeof benches / sizeof *benches };

/* A kernel, an instruction set and its buffers: an argument of bench_measure. */
typedef struct kernel_pass {
    const bench *b;
    const qd_kernels *k;
    const work *w;
} kernel_pass;

static int run_pass(void *arg) {
    const kernel_pass *p = arg;
    p->b->run(p->k, p->w);
    return 0;
}

static void bench_kernel(const bench_options *o, const bench *b, const char *isa, const work *w) {
    kernel_pass pass = {b, qd_kernels_get(isa, NULL, NULL), w};
    bench_row row = {.name = b->name, .by = isa, .threads = 1, .n = (double)w->n * b->per, .unit = "Gel/s",
                     .bytes = (double)w->n * b->bytes};
    bench_times times;
    double read = row.bytes / (1e9 * bench_read_limit(o, w->x, w->n * sizeof(float), 1));
    double ops = b->ops > 0 ? row.n * b->ops / bench_ops_limit(o, isa) : 0;
    row.limit = ops > read ? "ops" : "read"; /* the one that takes longer is the limit */
    row.limit_seconds = ops > read ? ops : read;
    bench_confine(1);
    bench_measure(o, run_pass, &pass, &times);
    bench_print(o, &row, &times);
}

void bench_list_kernels(void) {
    for (size_t b = 0; b < N_KERNELS; b++) puts(benches[b].name);
}

void bench_kernels(const bench_options *o) {
    size_t large = (size_t)(o->scale == BENCH_FULL ? 64 << 20 : o->scale == BENCH_QUICK ? 16 << 20 : 64 << 10);
    size_t small = (size_t)64 << 10; /* floats */
    const char *isas[8];
    size_t n_isas = qd_kernels_list(isas), n_selected = 0;
    for (size_t b = 0; b < N_KERNELS; b++) n_selected += (size_t)bench_selected(o, benches[b].name);
    if (n_selected == 0) return;
    float *x = bench_weights(large), *y = bench_weights(large), *out = bench_zeros(large * sizeof *out);
    double *sums = bench_zeros(SUMS * sizeof *sums);
    uint16_t *halves = bench_zeros(large * sizeof *halves);
    uint32_t *counts = bench_zeros(N_COUNTS * sizeof *counts);
    if (!x || !y || !out || !sums || !halves || !counts) abort();
    for (size_t i = 0; i < large; i++) memcpy(&halves[i], (const char *)&x[i] + 2, 2);
    for (size_t b = 0; b < N_KERNELS; b++) {
        work w = {benches[b].streams ? large : small, x, y, out, sums, halves, counts};
        if (!bench_selected(o, benches[b].name)) continue;
        for (size_t i = 0; i < n_isas; i++)
            if (!o->isa || !strcmp(o->isa, isas[i])) bench_kernel(o, &benches[b], isas[i], &w);
    }
    free(x), free(y), free(out), free(sums), free(halves), free(counts);
}
