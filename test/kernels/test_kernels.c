/* test_kernels.c - every kernel on every instruction set that this CPU has returns the bits of the C table: odd lengths
 * and offsets, NaN, infinities, denormals, with canaries around the outputs. The table of cases comes from kernels.inc:
 * a kernel without a case does not link. NaN results compare equal whatever their bits (see lanes.h). */
#include "inputs.h"
#include "kernels/kernels.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_N = 4099, MAX_OFFSET = 4, GUARD = 32, ROOM = MAX_N + MAX_OFFSET + 2 * GUARD, MAX_GRIDS = 70 };

/* A test is a kernel on an instruction set; it fails if any of its comparisons does. */
static const char *const kernel_names[] = {
#define K(name, ret, args) #name,
#include "kernels/kernels.inc"
#undef K
    "qd_kernels_get"};
#define N_KERNELS (sizeof kernel_names / sizeof *kernel_names)
static int kernel_failed[N_KERNELS];
static size_t n_compared, n_different;
static const char *isa_name;

/* What a case gets: inputs at an offset from alignment and two outputs, for the C table and for the other. */
typedef struct test_case {
    const qd_kernels *c, *isa;
    size_t n;
    const float *x, *y, *positive; /* two arrays of the kind, and one of numbers >= 0 */
    const char *kind;
} test_case;

static const char *const kind_names[] = {"normal", "weights", "constant", "shifted", "huge", "tiny",
                                         "denormal", "mixed scales", "zeros", "special", "one nan", "one inf"};
_Static_assert(sizeof kind_names / sizeof *kind_names == N_KINDS, "a name for each kind");

static void report(const test_case *t, const char *kernel, int same) {
    n_compared++;
    if (same) return;
    for (size_t i = 0; i < N_KERNELS; i++)
        if (!strcmp(kernel_names[i], kernel)) kernel_failed[i] = 1;
    if (n_different++ < 50) printf("FAIL %s on %s: n %zu, %s\n", kernel, isa_name, t->n, t->kind);
}

static double outputs[2][8 * ROOM]; /* bytes enough for every kernel */

/* Output i of the pair, canaries all over, `offset` elements from alignment; the part in use copied from `from`. */
static void *output(int i, size_t offset, size_t size, const void *from, size_t n_bytes) {
    char *bytes = (char *)outputs[i];
    size_t start = GUARD * sizeof(double) + offset * size;
    memset(bytes, 0xa5, start + n_bytes + GUARD * sizeof(double));
    if (from) memcpy(bytes + start, from, n_bytes);
    return bytes + start;
}

static int guards_hold(int i, size_t offset, size_t size, size_t n_bytes) {
    const unsigned char *bytes = (const unsigned char *)outputs[i];
    size_t start = GUARD * sizeof(double) + offset * size;
    for (size_t k = 0; k < start; k++) {
        if (bytes[k] != 0xa5) return 0;
    }
    for (size_t k = start + n_bytes; k < start + n_bytes + GUARD * sizeof(double); k++) {
        if (bytes[k] != 0xa5) return 0;
    }
    return 1;
}

static void one_nan_f32(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (isnan(x[i])) x[i] = NAN;
    }
}

static void one_nan_f64(double *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (isnan(x[i])) x[i] = NAN;
    }
}

static int same_f32(float *a, float *b, size_t n) {
    one_nan_f32(a, n);
    one_nan_f32(b, n);
    return n == 0 || memcmp(a, b, n * sizeof *a) == 0;
}

static int same_f64(double *a, double *b, size_t n) {
    one_nan_f64(a, n);
    one_nan_f64(b, n);
    return n == 0 || memcmp(a, b, n * sizeof *a) == 0;
}

/* Runs CALL once with `k` = the C table and `out` = output 0, once with the other; compares. */
#define COMPARE(kernel, type, same, offset, from, count, CALL)                                          \
    do {                                                                                                \
        size_t bytes_ = (count) * sizeof(type);                                                         \
        type *outs_[2];                                                                                 \
        for (int i_ = 0; i_ < 2; i_++) {                                                                \
            const qd_kernels *k = i_ ? t->isa : t->c;                                                   \
            type *out = outs_[i_] = output(i_, offset, sizeof(type), from, bytes_);                     \
            CALL;                                                                                       \
            (void)k;                                                                                    \
        }                                                                                               \
        report(t, kernel, same(outs_[0], outs_[1], (count)) && guards_hold(1, offset, sizeof(type), bytes_)); \
    } while (0)

static int same_i8(int8_t *a, int8_t *b, size_t n) {
    return n == 0 || memcmp(a, b, n) == 0;
}

static int same_u64(uint64_t *a, uint64_t *b, size_t n) {
    return n == 0 || memcmp(a, b, n * sizeof *a) == 0;
}

static const qd_grid grids[] = {{0.1f, 10.0f, -8, 7},    {0.003f, 1.0f / 0.003f, -4, 3}, {1e-3f, 1e3f, -127, 127},
                                {1e37f, 1e-37f, -8, 7},  {2.0f, 0.5f, -128, 127},        {0.0f, 0.0f, -8, 7},
                                {1e-26f, 1e26f, -2, 1},  {0.25f, 4.0f, -1, 1}};
enum { N_GRIDS = sizeof grids / sizeof *grids };

/* ---- a case a kernel ---- */

static void test_to_f32_f16(const test_case *t) {
    const uint16_t *h = (const uint16_t *)t->x;
    COMPARE("to_f32_f16", float, same_f32, t->n % 3, NULL, t->n, k->to_f32_f16(h, t->n, out));
}

static void test_to_f32_bf16(const test_case *t) {
    const uint16_t *h = (const uint16_t *)t->x;
    COMPARE("to_f32_bf16", float, same_f32, t->n % 3, NULL, t->n, k->to_f32_bf16(h, t->n, out));
}

static void test_power_sums(const test_case *t) {
    float pivots[] = {0.0f, 0.37f, 1e4f, -3e38f};
    for (size_t p = 0; p < 4; p++) {
        qd_power_sums a, b;
        memset(&a, 0, sizeof a);
        memset(&b, 0, sizeof b);
        t->c->power_sums(t->x, t->n, pivots[p], &a);
        t->isa->power_sums(t->x, t->n, pivots[p], &b);
        report(t, "power_sums", memcmp(&a, &b, sizeof a) == 0);
    }
}

/* The array as a matrix: several shapes, the last with a stride wider than its rows. */
static size_t matrix(const test_case *t, size_t shape, size_t *n_columns, size_t *stride) {
    static const size_t columns[] = {1, 16, 37, 64};
    *n_columns = columns[shape];
    *stride = *n_columns + (shape == 3 ? 5 : 0);
    return t->n / *stride;
}

static void test_column_sums(const test_case *t) {
    for (size_t s = 0; s < 4; s++) {
        size_t n_columns, stride, n_rows = matrix(t, s, &n_columns, &stride);
        double start[4 * 64];
        for (size_t i = 0; i < 4 * 64; i++) start[i] = (double)i * 0.125;
        COMPARE("column_sums", double, same_f64, s % 2, start, 4 * n_columns,
                k->column_sums(t->x, n_rows, n_columns, stride, out));
    }
}

static void test_column_squares(const test_case *t) {
    for (size_t s = 0; s < 4; s++) {
        size_t n_columns, stride, n_rows = matrix(t, s, &n_columns, &stride);
        double start[64] = {1, 2, 3};
        COMPARE("column_squares", double, same_f64, s % 2, start, n_columns,
                k->column_squares(t->x, n_rows, n_columns, stride, out));
    }
}

static void test_abs_max(const test_case *t) {
    COMPARE("abs_max", float, same_f32, 0, NULL, 1, *out = k->abs_max(t->x, t->n));
}

static void test_abs_sum(const test_case *t) {
    COMPARE("abs_sum", double, same_f64, 0, NULL, 1, *out = k->abs_sum(t->x, t->n));
}

static void test_abs_histogram(const test_case *t) {
    static const float per_unit[] = {25.0f, 1e30f, 0.0f, 1e-36f};
    static const uint32_t n_bins[] = {100, 512, 1, 7};
    uint64_t start[512] = {3, 1};
    for (size_t s = 0; s < 4; s++) {
        COMPARE("abs_histogram", uint64_t, same_u64, 0, start, n_bins[s],
                k->abs_histogram(t->x, t->n, per_unit[s], n_bins[s], out));
    }
}

static void test_quantize(const test_case *t) {
    for (size_t g = 0; g < N_GRIDS; g++) {
        COMPARE("quantize", float, same_f32, t->n % 3, NULL, t->n, k->quantize(t->x, t->n, &grids[g], out));
        COMPARE("quantize in place", float, same_f32, 1, t->x, t->n, k->quantize(out, t->n, &grids[g], out));
    }
}

static void test_quantize_codes(const test_case *t) {
    for (size_t g = 0; g < N_GRIDS; g++) {
        COMPARE("quantize_codes", int8_t, same_i8, t->n % 5, NULL, t->n, k->quantize_codes(t->x, t->n, &grids[g], out));
    }
}

static void test_grid_errors(const test_case *t) {
    qd_grid many[MAX_GRIDS];
    static const size_t n_grids[] = {0, 1, 3, 64, MAX_GRIDS};
    for (size_t g = 0; g < MAX_GRIDS; g++) many[g] = grids[g % N_GRIDS];
    for (size_t s = 0; s < 5; s++) {
        if (n_grids[s] > 3 && t->n > 300 && t->n % 2 == 0) continue;
        COMPARE("grid_errors", double, same_f64, s % 2, NULL, n_grids[s],
                k->grid_errors(t->x, NULL, t->n, many, n_grids[s], out));
        COMPARE("grid_errors weighted", double, same_f64, s % 2, NULL, n_grids[s],
                k->grid_errors(t->x, t->positive, t->n, many, n_grids[s], out));
    }
}

static void test_column_errors(const test_case *t) {
    static double start[MAX_N];
    for (size_t i = 0; i < t->n; i++) start[i] = (double)i;
    COMPARE("column_errors", double, same_f64, t->n % 2, start, t->n, k->column_errors(t->x, t->y, t->n, out));
}

static void test_softmax(const test_case *t) {
    if (t->n == 0) return;
    COMPARE("softmax", float, same_f32, t->n % 4, t->x, t->n, k->softmax(out, t->n));
}

static void test_nll(const test_case *t) {
    if (t->n == 0) return;
    COMPARE("nll", float, same_f32, 0, NULL, 1, *out = k->nll(t->x, t->n, t->n / 2));
}

static void test_bias_gelu_tanh(const test_case *t) {
    static const size_t columns[] = {1, 16, 37, 64};
    for (size_t s = 0; s < 4; s++) {
        size_t n_rows = t->n / columns[s];
        COMPARE("bias_gelu_tanh", float, same_f32, s, t->x, n_rows * columns[s],
                k->bias_gelu_tanh(out, t->y, n_rows, columns[s]));
    }
    if (t->n) COMPARE("bias_gelu_tanh", float, same_f32, 1, t->x, t->n, k->bias_gelu_tanh(out, t->y, 1, t->n));
}

static void test_layer_norm(const test_case *t) {
    if (t->n == 0) return;
    COMPARE("layer_norm", float, same_f32, t->n % 4, NULL, t->n,
            k->layer_norm(t->x, t->n, 1e-5f, t->y, t->positive, out));
    COMPARE("layer_norm in place", float, same_f32, 1, t->x, t->n,
            k->layer_norm(out, t->n, 1e-5f, t->y, t->positive, out));
}

typedef void (*case_function)(const test_case *t);
static const case_function cases[] = {
#define K(name, ret, args) test_##name,
#include "kernels/kernels.inc"
#undef K
};

/* ---- all of them ---- */

static size_t length(size_t i) {
    static const size_t longer[] = {127, 128, 129, 255, 256, 257, 1000, 4099};
    return i < 68 ? i : i - 68 < sizeof longer / sizeof *longer ? longer[i - 68] : SIZE_MAX;
}

static void check_all(const qd_kernels *c, const qd_kernels *isa) {
    static float x[ROOM], y[ROOM], positive[ROOM];
    for (int kind = 0; kind < N_KINDS; kind++) {
        input_fill((enum input_kind)kind, 1, x, ROOM);
        input_fill((enum input_kind)kind, 2, y, ROOM);
        input_fill(MIXED_SCALES, 3, positive, ROOM);
        for (size_t i = 0; i < ROOM; i++) positive[i] = fminf(fabsf(positive[i]), 1e6f);
        for (size_t i = 0; length(i) != SIZE_MAX; i++) {
            for (size_t offset = 0; offset < MAX_OFFSET; offset++) {
                test_case t = {c, isa, length(i), x + offset, y + (offset + 1) % 4, positive + (offset + 2) % 4,
                               kind_names[kind]};
                if (kind == ONE_NAN || kind == ONE_INF) input_fill((enum input_kind)kind, 1, x + offset, t.n);
                for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) cases[k](&t);
            }
        }
    }
}

/* All 65536 patterns through the widening kernels, and all floats near halves through quantize. */
static void check_patterns(const qd_kernels *c, const qd_kernels *isa) {
    static uint16_t h[65536];
    static float a[65536], b[65536];
    test_case t = {c, isa, 65536, NULL, NULL, NULL, "all patterns"};
    for (size_t i = 0; i < 65536; i++) h[i] = (uint16_t)i;
    c->to_f32_f16(h, 65536, a);
    isa->to_f32_f16(h, 65536, b);
    report(&t, "to_f32_f16", memcmp(a, b, sizeof a) == 0); /* to the bit, NaN too */
    c->to_f32_bf16(h, 65536, a);
    isa->to_f32_bf16(h, 65536, b);
    report(&t, "to_f32_bf16", memcmp(a, b, sizeof a) == 0);
}

int main(void) {
    static const char *const names[] = {"c", "avx2", "avx512", "neon"};
    const qd_kernels *c = qd_kernels_get("c", NULL, NULL);
    const char *runs[8], *best = "";
    size_t n_runs = qd_kernels_list(runs);
    int known = 1;
    size_t n_passed = 0, n_failed = 0, n_skipped = 0;
    report(&(test_case){.kind = "best"}, "qd_kernels_get",
           qd_kernels_get(NULL, &best, &known) != NULL && strcmp(best, runs[n_runs - 1]) == 0);
    report(&(test_case){.kind = "unknown"}, "qd_kernels_get", !qd_kernels_get("mmx", NULL, &known) && !known);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const qd_kernels *isa = qd_kernels_get(names[i], NULL, &known);
        isa_name = names[i];
        if (!isa) {
            printf("skipped %s: the CPU has no %s\n", names[i], names[i]);
            n_skipped++;
            report(&(test_case){.kind = "known"}, "qd_kernels_get", known);
            continue;
        }
        size_t before = n_compared;
        check_patterns(c, isa);
        check_all(c, isa);
        printf("%s: %zu comparisons\n", names[i], n_compared - before);
        for (size_t k = 0; k < N_KERNELS; k++) {
            n_failed += kernel_failed[k] != 0;
            n_passed += kernel_failed[k] == 0;
            kernel_failed[k] = 0;
        }
        fflush(stdout);
    }
    printf("%zu passed, %zu failed, %zu skipped\n", n_passed, n_failed, n_skipped);
    return n_different != 0;
}
