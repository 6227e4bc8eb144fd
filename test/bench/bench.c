/* bench.c - the speed of every kernel on every instruction set of this CPU and of the library's whole jobs, beside what
 * the machine can do: a bare read, a bare read of a file, bare arithmetic.
 *     bench [--csv] [--quick] [--threads 1,2] [--isa NAME] [--folder DIR] [--passes N] [--list]
 *           [--model MODEL] [--text FILE] [--tokenizers DIR] [CASE...]
 * CASE is a name or a pattern ('moments_*'). test/bench/RESULTS.md explains the columns; run.py adds the peers. */
#include "bench.h"

#include <fnmatch.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { MAX_REPEATS = 11, QUICK_REPEATS = 3 };
static const double budget = 10, long_pass = 6, short_pass = 1e-3; /* seconds */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int bench_measure(const bench_options *o, bench_pass pass, void *arg, bench_times *times) {
    double seconds[MAX_REPEATS], start = now(), once;
    size_t n = 0, n_wanted = o->scale == BENCH_FULL ? MAX_REPEATS : QUICK_REPEATS, inner = 1;
    if (o->n_passes) {
        for (size_t i = 0; i < o->n_passes; i++)
            if (pass(arg)) return 1;
        once = (now() - start) / (double)o->n_passes;
        *times = (bench_times){once, once, once};
        return 0;
    }
    if (pass(arg)) return 1;
    once = now() - start;
    if (once > long_pass) {
        *times = (bench_times){once, once, once};
        return 0;
    }
    if (once < short_pass) inner = (size_t)(short_pass / (once > 1e-7 ? once : 1e-7)) + 1;
    for (start = now(); n < n_wanted && (n < QUICK_REPEATS || now() - start < budget); n++) {
        double from = now();
        for (size_t i = 0; i < inner; i++)
            if (pass(arg)) return 1;
        seconds[n] = (now() - from) / (double)inner;
    }
    qsort(seconds, n, sizeof *seconds, ascending);
    *times = (bench_times){seconds[0], seconds[n / 2], seconds[n - 1]};
    return 0;
}

static double rate(const bench_row *row, double seconds) {
    double scale = *row->unit == 'G' ? 1e-9 : *row->unit == 'M' ? 1e-6 : *row->unit == 'k' ? 1e-3 : 1;
    return strcmp(row->unit, "s") ? scale * row->n / seconds : seconds;
}

static void print_header(int csv) {
    static int printed;
    if (printed++) return;
    if (csv) printf("case,by,threads,n,unit,best_s,median_s,worst_s,bytes,limit,limit_s,note\n");
    else
        printf("%-24s %-8s %2s %11s %9s %9s %7s  %-11s %7s %5s %s\n", "case", "by", "th", "n", "best", "median",
               "spread", "unit", "GB/s", "of", "limit");
}

void bench_print(const bench_options *o, const bench_row *row, const bench_times *t) {
    char gb[16] = "-", of[16] = "-";
    print_header(o->csv);
    if (o->csv) {
        printf("%s,%s,%u,%.0f,%s,%.9g,%.9g,%.9g,%.0f,%s,%.9g,%s\n", row->name, row->by, row->threads, row->n, row->unit,
               t->best, t->median, t->worst, row->bytes, row->limit ? row->limit : "", row->limit_seconds, row->note);
    } else {
        if (row->bytes > 0) snprintf(gb, sizeof gb, "%.2f", 1e-9 * row->bytes / t->best);
        if (row->limit_seconds > 0) snprintf(of, sizeof of, "%.2f", row->limit_seconds / t->best);
        printf("%-24s %-8s %2u %11.0f %9.4g %9.4g %6.0f%%  %-11s %7s %5s %-5s %s\n", row->name, row->by, row->threads,
               row->n, rate(row, t->best), rate(row, t->median), 100 * (t->worst - t->best) / t->median, row->unit, gb,
               of, row->limit ? row->limit : "", row->note);
    }
    fflush(stdout);
}

void bench_skip(const bench_options *o, const bench_row *row, const char *why) {
    print_header(o->csv);
    if (o->csv) printf("%s,%s,%u,,%s,,,,,,,skipped: ", row->name, row->by, row->threads, row->unit);
    else printf("%-24s %-8s %2u skipped: ", row->name, row->by, row->threads);
    for (; *why; why++) putchar(*why == ',' || *why == '\n' ? ';' : *why); /* a comma would end the field */
    putchar('\n');
    fflush(stdout);
}

int bench_selected(const bench_options *o, const char *name) {
    for (size_t i = 0; i < o->n_names; i++)
        if (fnmatch(o->names[i], name, 0) == 0) return 1;
    return o->n_names == 0;
}

void bench_confine(unsigned n) {
    static cpu_set_t all;
    static int known;
    cpu_set_t some;
    unsigned n_set = 0;
    if (!known++) sched_getaffinity(0, sizeof all, &all);
    CPU_ZERO(&some);
    for (int c = CPU_SETSIZE - 1; c >= 0 && n_set < n; c--) {
        if (!CPU_ISSET(c, &all)) continue;
        CPU_SET(c, &some);
        n_set++;
    }
    if (sched_setaffinity(0, sizeof some, &some) != 0) fprintf(stderr, "not pinned\n");
}

char *bench_read(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    long size = f && fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    char *data = size >= 0 ? malloc((size_t)size + 1) : NULL;
    if (data) rewind(f), *n = fread(data, 1, (size_t)size, f);
    if (f) fclose(f);
    return data;
}

void *bench_zeros(size_t n_bytes) {
    void *block = NULL;
    if (posix_memalign(&block, (size_t)2 << 20, n_bytes) != 0) return NULL;
    (void)madvise(block, n_bytes, MADV_HUGEPAGE);
    return memset(block, 0, n_bytes);
}

float *bench_weights(size_t n) {
    enum { PERIOD = 1 << 16 };
    float *x = bench_zeros(n * sizeof *x);
    uint64_t state = 1;
    for (size_t i = 0; x && i < n && i < PERIOD; i++) {
        double sum = -2;
        for (int k = 0; k < 4; k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            sum += (double)(state >> 32) / 4294967296.0;
        }
        x[i] = (float)(0.02 * sqrt(3) * sum) * (i % 1000 == 999 ? 10 : 1); /* four uniform numbers: variance 1/3 */
    }
    for (size_t i = PERIOD; x && i < n; i += PERIOD) memcpy(x + i, x, (n - i < PERIOD ? n - i : PERIOD) * sizeof *x);
    return x;
}

/* "1,2" */
static int parse_threads(bench_options *o, const char *text) {
    o->n_threads = 0;
    while (*text && o->n_threads < sizeof o->threads / sizeof *o->threads) {
        char *end;
        unsigned long n = strtoul(text, &end, 10);
        if (end == text || n < 1 || n > BENCH_MAX_THREADS) return 0;
        o->threads[o->n_threads++] = (unsigned)n;
        text = *end == ',' ? end + 1 : end;
    }
    return o->n_threads > 0 && !*text;
}

static unsigned n_processors(void) {
    cpu_set_t all;
    return sched_getaffinity(0, sizeof all, &all) == 0 ? (unsigned)CPU_COUNT(&all) : 1;
}

static int list_cases(void) {
    bench_list_kernels(), bench_list_blocks(), bench_list_tokenizers(), bench_list_jobs();
    return 0;
}

int main(int argc, char **argv) {
    bench_options o = {.scale = BENCH_FULL, .threads = {1, 2}, .n_threads = n_processors() > 1 ? 2 : 1,
                       .folder = "/tmp", .names = argv};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--csv")) o.csv = 1;
        else if (!strcmp(argv[i], "--quick")) o.scale = BENCH_QUICK;
        else if (!strcmp(argv[i], "--isa")) o.isa = value, i++;
        else if (!strcmp(argv[i], "--folder")) o.folder = value, i++;
        else if (!strcmp(argv[i], "--passes")) o.n_passes = strtoul(value, NULL, 10), o.scale = BENCH_TINY, i++;
        else if (!strcmp(argv[i], "--threads") && parse_threads(&o, value)) i++;
        else if (!strcmp(argv[i], "--model")) o.model = value, i++;
        else if (!strcmp(argv[i], "--text")) o.text = value, i++;
        else if (!strcmp(argv[i], "--tokenizers")) o.tokenizers = value, i++;
        else if (!strcmp(argv[i], "--memory")) return bench_memory(&o, value);
        else if (!strcmp(argv[i], "--list")) return list_cases();
        else if (*argv[i] != '-') o.names[o.n_names++] = argv[i];
        else return fprintf(stderr, "bench: %s? See the head of test/bench/bench.c\n", argv[i]), 2;
    }
    bench_kernels(&o);
    bench_blocks(&o);
    bench_tokenizers(&o);
    bench_jobs(&o);
    return 0;
}
