/* test_kernels.c - every kernel on every instruction set that this CPU has returns the bits of the C table: odd lengths
 * and offsets, NaN, infinities, denormals, with canaries around the outputs. The table of cases comes from kernels.inc:
 * a kernel without a case does not link. NaN results compare equal whatever their bits (see lanes.h). */
#include "inputs.h"
#include "kernels/kernels.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_N = 4099, MAX_OFFSET = 4, GUARD = 32, ROOM = MAX_N + MAX_OFFSET + 2 * GUARD, MAX_GRIDS = 90 };

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

/* ---- a case a kernel ---- */

#include "cases_moments.h"
#include "cases_quantize.h"
#include "cases_forward.h"
#include "cases_random.h"
#include "cases_search.h"

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
