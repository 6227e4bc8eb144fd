/* bench_kernels.c - every kernel on every instruction set of this CPU, one pinned thread, beside a bare read of the
 * same run. Streaming kernels work on 256 MiB, the others on 256 KiB that stay in L2. Measures, asserts nothing.
 *     bench_kernels [--csv] [--quick] [KERNEL...]
 * Columns: element reads per second (G/s), GB/s of all arrays read and written, best and median of the repetitions, and
 * the best against the bare read of the same size. */
#include "kernels/kernels.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_REPEATS = 31, COLUMNS = 4096, GROUP = 64, N_GRIDS = 64, N_BINS = 8192, VOCAB = 250880 };

/* Buffers of one run: x and y hold n floats (or twice as many halves), out as many bytes. */
typedef struct work {
    size_t n;
    const float *x, *y;
    float *out;
    double *sums;
    uint64_t *counts;
} work;

/* One pass of a kernel over the buffers. */
typedef struct bench {
    const char *name;
    void (*run)(const qd_kernels *k, const work *w);
    double bytes; /* moved, an element */
    double per;   /* element operations, an element: N_GRIDS for grid_errors */
    int streams;  /* 256 MiB, else L2 */
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

static void run_column_sums(const qd_kernels *k, const work *w) {
    k->column_sums(w->x, w->n / COLUMNS, COLUMNS, COLUMNS, w->sums);
}

static void run_column_squares(const qd_kernels *k, const work *w) {
    k->column_squares(w->x, w->n / COLUMNS, COLUMNS, COLUMNS, w->sums);
}

static void run_abs_max(const qd_kernels *k, const work *w) {
    sink = (double)k->abs_max(w->x, w->n);
}

static void run_abs_sum(const qd_kernels *k, const work *w) {
    sink = k->abs_sum(w->x, w->n);
}

static void run_abs_histogram(const qd_kernels *k, const work *w) {
    k->abs_histogram(w->x, w->n, 40000.0f, N_BINS, w->counts);
}

static const qd_grid grid = {0.01f, 100.0f, -8, 7};

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
        grids[i] = (qd_grid){scale, 1.0f / scale, -8, 7};
    }
    for (size_t i = 0; i + GROUP <= w->n; i += GROUP) {
        k->grid_errors(w->x + i, w->y + i, GROUP, grids, N_GRIDS, errors);
        sink = errors[0];
    }
}

static void run_column_errors(const qd_kernels *k, const work *w) {
    for (size_t i = 0; i + COLUMNS <= w->n; i += COLUMNS) k->column_errors(w->x + i, w->y + i, COLUMNS, w->sums);
}

static void run_softmax(const qd_kernels *k, const work *w) {
    memcpy(w->out, w->x, w->n * sizeof(float));
    for (size_t i = 0; i + 512 <= w->n; i += 512) k->softmax(w->out + i, 512);
}

static void run_nll(const qd_kernels *k, const work *w) {
    size_t n = w->n < VOCAB ? w->n : VOCAB;
    for (size_t i = 0; i + n <= w->n; i += n) sink = (double)k->nll(w->x + i, n, 7);
}

static void run_bias_gelu_tanh(const qd_kernels *k, const work *w) {
    memcpy(w->out, w->x, w->n * sizeof(float));
    k->bias_gelu_tanh(w->out, w->y, w->n / COLUMNS, COLUMNS);
}

static void run_layer_norm(const qd_kernels *k, const work *w) {
    for (size_t i = 0; i + COLUMNS <= w->n; i += COLUMNS) {
        k->layer_norm(w->x + i, COLUMNS, 1e-5f, w->y, w->y, w->out + i);
    }
}

/* What a pass moves: bytes an element, operations an element, and whether it streams. A kernel of kernels.inc without
 * its line here does not compile. */
#define COST_to_f32_f16 6, 1, 1
#define COST_to_f32_bf16 6, 1, 1
#define COST_power_sums 4, 1, 1
#define COST_column_sums 4, 1, 1
#define COST_column_squares 4, 1, 1
#define COST_abs_max 4, 1, 1
#define COST_abs_sum 4, 1, 1
#define COST_abs_histogram 4, 1, 1
#define COST_quantize 8, 1, 1
#define COST_quantize_codes 5, 1, 1
#define COST_grid_errors 8, N_GRIDS, 0
#define COST_column_errors 8, 1, 1
#define COST_softmax 16, 1, 0 /* with the copy that renews its input, as for bias_gelu_tanh */
#define COST_nll 4, 1, 1
#define COST_bias_gelu_tanh 16, 1, 0
#define COST_layer_norm 8, 1, 0

static const bench benches[] = {
#define K(name, ret, args) {#name, run_##name, COST_##name},
#include "kernels/kernels.inc"
#undef K
};
enum { N_KERNELS = sizeof benches / sizeof *benches };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef uint64_t two_words __attribute__((vector_size(16)));

/* The bare read: sum of u64 in eight accumulators of two. */
static void run_read(const qd_kernels *k, const work *w) {
    const two_words *p = (const two_words *)(const void *)w->x;
    two_words a = {0}, b = a, c = a, d = a, e = a, f = a, g = a, h = a;
    (void)k;
    for (size_t i = 0; i + 8 <= w->n / 4; i += 8) {
        a += p[i], b += p[i + 1], c += p[i + 2], d += p[i + 3];
        e += p[i + 4], f += p[i + 5], g += p[i + 6], h += p[i + 7];
    }
    a += b + c + d + e + f + g + h;
    sink = (double)(a[0] + a[1]);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of one pass, best and median; passes over small buffers are repeated to last about a millisecond. */
static void measure(const bench *b, const qd_kernels *k, const work *w, int repeats, double *best, double *median) {
    double seconds[MAX_REPEATS], once = now();
    b->run(k, w); /* and warms up */
    once = now() - once;
    size_t inner = once < 1e-3 ? (size_t)(1e-3 / (once > 1e-7 ? once : 1e-7)) + 1 : 1;
    for (int r = 0; r < repeats; r++) {
        double start = now();
        for (size_t i = 0; i < inner; i++) b->run(k, w);
        seconds[r] = (now() - start) / (double)inner;
    }
    qsort(seconds, (size_t)repeats, sizeof *seconds, ascending);
    *best = seconds[0];
    *median = seconds[repeats / 2];
}

static void print_row(int csv, const bench *b, const char *isa, size_t n, double best, double median, double read) {
    double elements = (double)n * b->per, gb = 1e-9 * (double)n * b->bytes;
    const char *format = csv ? "%s,%s,%zu,%.4f,%.4f,%.3f,%.3f,%.3f\n"
                             : "%-16s %-7s %11zu %10.3f %10.3f %9.2f %9.2f %8.2f\n";
    printf(format, b->name, isa, n, 1e-9 * elements / best, 1e-9 * elements / median, gb / best, gb / median,
           gb / best / read);
    fflush(stdout);
}

static int selected(int argc, char **argv, const char *name) {
    int any = 0;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-') continue;
        any = 1;
        if (strcmp(argv[i], name) == 0) return 1;
    }
    return !any;
}

static void pin(void) {
    cpu_set_t all, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof all, &all) != 0) return;
    for (int c = CPU_SETSIZE - 1; c >= 0; c--) {
        if (CPU_ISSET(c, &all)) {
            CPU_SET(c, &one);
            break;
        }
    }
    if (sched_setaffinity(0, sizeof one, &one) != 0) fprintf(stderr, "not pinned\n");
}

static void *filled(size_t n, size_t size, int fill) {
    void *block = NULL;
    if (posix_memalign(&block, 64, n * size) != 0) exit(1);
    if (!fill) return memset(block, 0, n * size);
    float *x = block;
    for (size_t i = 0; i < n; i++) x[i] = (float)((int)(i * 2654435761u % 4001u) - 2000) * 1e-4f;
    return block;
}

int main(int argc, char **argv) {
    int csv = 0, quick = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--csv") == 0) csv = 1;
        if (strcmp(argv[i], "--quick") == 0) quick = 1;
    }
    size_t large = (size_t)(quick ? 4 : 64) << 20, small = (size_t)64 << 10; /* floats */
    work w = {large, filled(large, 4, 1), filled(large, 4, 1), filled(large, 4, 0), filled(4 * COLUMNS, 8, 0),
              filled(N_BINS, 8, 0)};
    const bench read = {"(bare read)", run_read, 4, 1, 1};
    const char *isas[8];
    size_t n_isas = qd_kernels_list(isas);
    double read_gbs[2];
    int repeats = quick ? 3 : 11;
    pin();
    printf(csv ? "kernel,isa,n,gelements_s_best,gelements_s_median,gb_s_best,gb_s_median,of_read\n"
               : "%-16s %-7s %11s %10s %10s %9s %9s %8s\n",
           "kernel", "isa", "n", "Gel/s", "median", "GB/s", "median", "of read");
    for (int streams = 0; streams < 2; streams++) {
        double best, median;
        w.n = streams ? large : small;
        measure(&read, NULL, &w, repeats, &best, &median);
        read_gbs[streams] = 4e-9 * (double)w.n / best;
        print_row(csv, &read, "-", w.n, best, median, read_gbs[streams]);
    }
    for (size_t b = 0; b < N_KERNELS; b++) {
        for (size_t i = 0; i < n_isas && selected(argc, argv, benches[b].name); i++) {
            double best, median;
            w.n = benches[b].streams ? large : small;
            measure(&benches[b], qd_kernels_get(isas[i], NULL, NULL), &w, repeats, &best, &median);
            print_row(csv, &benches[b], isas[i], w.n, best, median, read_gbs[benches[b].streams]);
        }
    }
    return 0;
}
