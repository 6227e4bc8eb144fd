/* bench_limits.c - what the machine itself can do: reading memory, reading a file, multiplying and adding. Rows of the
 * table like any other, measured when a case first asks for them. */
#include "bench.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_BLOCK = 1 << 20, MAX_KNOWN = 32, N_STREAMS = 3 };

static volatile double sink;

/* Limits that are known: the row's name and what it depends on, to the figure. */
static struct {
    const char *name, *by;
    size_t n_bytes;
    unsigned threads;
    double value;
} known[MAX_KNOWN];
static size_t n_known;

static double *find_known(const char *name, const char *by, size_t n_bytes, unsigned threads, int *is_new) {
    size_t i = 0;
    while (i < n_known && (strcmp(known[i].name, name) || strcmp(known[i].by, by) || known[i].n_bytes != n_bytes ||
                           known[i].threads != threads))
        i++;
    *is_new = i == n_known;
    if (*is_new && n_known < MAX_KNOWN) n_known++;
    if (i == MAX_KNOWN) i--;
    known[i].name = name, known[i].by = by, known[i].n_bytes = n_bytes, known[i].threads = threads;
    return &known[i].value;
}

/* Memory: sums of u64 from 1, 2 or 4 places at once, 512 bytes a round; which is fastest differs by machine. */
typedef uint64_t four_words __attribute__((vector_size(32)));

#define READ_BODY(streams)                                                                    \
    {                                                                                         \
        size_t part = n_bytes / streams;                                                      \
        four_words a[8] = {{0}};                                                              \
        uint64_t total = 0;                                                                   \
        for (size_t i = 0; i + 512 / streams <= part; i += 512 / streams) {                   \
            for (size_t s = 0; s < streams; s++) {                                            \
                const four_words *p = (const four_words *)(const void *)(data + s * part + i); \
                for (size_t k = 0; k < 16 / streams; k++) a[k % 8] += p[k];                   \
            }                                                                                 \
        }                                                                                     \
        for (size_t k = 0; k < 8; k++) total += a[k][0] + a[k][1] + a[k][2] + a[k][3];        \
        return total;                                                                         \
    }
#if defined(__x86_64__)
#define WIDE __attribute__((target("avx2")))
#define HAVE_WIDE __builtin_cpu_supports("avx2")
#else
#define WIDE
#define HAVE_WIDE 0
#endif
static uint64_t read_1(const char *data, size_t n_bytes) READ_BODY(1)
static uint64_t read_2(const char *data, size_t n_bytes) READ_BODY(2)
static uint64_t read_4(const char *data, size_t n_bytes) READ_BODY(4)
WIDE static uint64_t read_wide_1(const char *data, size_t n_bytes) READ_BODY(1)
WIDE static uint64_t read_wide_2(const char *data, size_t n_bytes) READ_BODY(2)
WIDE static uint64_t read_wide_4(const char *data, size_t n_bytes) READ_BODY(4)

typedef uint64_t (*reader)(const char *data, size_t n_bytes);

/* A share of a read: of memory (data) or of a file (file, first). */
typedef struct share {
    reader read;
    const char *data;
    size_t first, n_bytes;
    int file, failed;
    uint64_t result;
} share;

static void *read_share(void *arg) {
    share *s = arg;
    if (s->read) {
        s->result = s->read(s->data, s->n_bytes);
        return NULL;
    }
    char *block = malloc(FILE_BLOCK);
    for (size_t i = 0; block && i < s->n_bytes && !s->failed;) {
        size_t n = s->n_bytes - i < FILE_BLOCK ? s->n_bytes - i : FILE_BLOCK;
        ssize_t got = pread(s->file, block, n, (off_t)(s->first + i));
        if (got <= 0) s->failed = 1;
        else i += (size_t)got;
    }
    if (!block) s->failed = 1;
    free(block);
    return NULL;
}

/* The shares of a read, one a thread. */
typedef struct reading {
    share all;
    unsigned threads;
} reading;

/* Pins thread t to the t-th of the processors that this one may use. */
static void pin_to(pthread_attr_t *attributes, unsigned t) {
    cpu_set_t allowed, one;
    CPU_ZERO(&one);
    if (pthread_getaffinity_np(pthread_self(), sizeof allowed, &allowed) != 0) return;
    for (int c = 0; c < CPU_SETSIZE; c++) {
        if (!CPU_ISSET(c, &allowed) || t-- > 0) continue;
        CPU_SET(c, &one);
        pthread_attr_setaffinity_np(attributes, sizeof one, &one);
        return;
    }
}

static int read_all(void *arg) {
    reading *r = arg;
    share shares[BENCH_MAX_THREADS];
    pthread_t threads[BENCH_MAX_THREADS];
    size_t part = r->all.n_bytes / r->threads / 4096 * 4096;
    int failed = 0;
    for (unsigned t = 0; t < r->threads; t++) {
        pthread_attr_t attributes;
        shares[t] = r->all;
        shares[t].first = t * part;
        if (r->all.data) shares[t].data += t * part;
        shares[t].n_bytes = t + 1 < r->threads ? part : r->all.n_bytes - t * part;
        if (r->threads == 1) {
            read_share(&shares[0]);
            break;
        }
        pthread_attr_init(&attributes);
        pin_to(&attributes, t);
        if (pthread_create(&threads[t], &attributes, read_share, &shares[t]) != 0) abort();
        pthread_attr_destroy(&attributes);
    }
    for (unsigned t = 0; t < r->threads; t++) {
        if (r->threads > 1) pthread_join(threads[t], NULL);
        failed |= shares[t].failed;
        sink = (double)shares[t].result;
    }
    return failed;
}

double bench_read_limit(const bench_options *o, const void *data, size_t n_bytes, unsigned threads) {
    if (o->n_passes) return 0;
    static const reader narrow[N_STREAMS] = {read_1, read_2, read_4};
    static const reader wide[N_STREAMS] = {read_wide_1, read_wide_2, read_wide_4};
    int is_new, n_streams = 0;
    double *gbs = find_known("(bare_read)", "-", n_bytes, threads, &is_new);
    if (!is_new) return *gbs;
    bench_times best = {0};
    bench_confine(threads);
    for (int s = 0; s < N_STREAMS; s++) {
        reading r = {{.read = (HAVE_WIDE ? wide : narrow)[s], .data = data, .n_bytes = n_bytes}, threads};
        bench_times times;
        if (bench_measure(o, read_all, &r, &times)) continue;
        if (n_streams && times.best >= best.best) continue;
        best = times;
        n_streams = 1 << s;
    }
    *gbs = 1e-9 * (double)n_bytes / best.best;
    bench_row row = {.name = "(bare_read)", .by = "-", .threads = threads, .n = (double)n_bytes, .unit = "Gbytes/s",
                     .bytes = (double)n_bytes, .limit = "read", .limit_seconds = best.best};
    snprintf(row.note, sizeof row.note, "%d streams", n_streams);
    bench_print(o, &row, &best);
    return *gbs;
}

double bench_file_limit(const bench_options *o, const char *path, unsigned threads) {
    int is_new, file = open(path, O_RDONLY | O_CLOEXEC);
    off_t end = file < 0 ? -1 : lseek(file, 0, SEEK_END);
    if (end <= 0) {
        if (file >= 0) close(file);
        return 0;
    }
    double *gbs = find_known("(file_read)", "-", (size_t)end, threads, &is_new);
    if (is_new) {
        reading r = {{.n_bytes = (size_t)end, .file = file}, threads};
        bench_times times;
        bench_confine(threads);
        *gbs = 0;
        if (bench_measure(o, read_all, &r, &times) == 0) {
            *gbs = 1e-9 * (double)end / times.best;
            bench_row row = {.name = "(file_read)", .by = "-", .threads = threads, .n = (double)end, .unit = "Gbytes/s",
                             .bytes = (double)end, .limit = "file", .limit_seconds = times.best,
                             .note = "pread of a warm file in blocks of 1 MiB"};
            bench_print(o, &row, &times);
        }
    }
    close(file);
    return *gbs;
}

/* Arithmetic: twelve independent chains x <- x * m + c keep every unit of a core busy. */
enum { CHAINS = 12, ROUNDS = 1 << 16 };
typedef float lanes_4 __attribute__((vector_size(16)));
typedef float lanes_8 __attribute__((vector_size(32)));
typedef float lanes_16 __attribute__((vector_size(64)));

#define OPS_BODY(lanes)                                                                       \
    {                                                                                         \
        lanes x[CHAINS], m = {0}, c = {0};                                                    \
        float total = 0;                                                                      \
        (void)arg;                                                                            \
        m += (float)sink * 0 + 0.999f, c += 0.001f; /* sink: no constants for the compiler */ \
        for (int k = 0; k < CHAINS; k++) x[k] = c * (float)(k + 1);                           \
        for (int i = 0; i < ROUNDS; i++)                                                      \
            for (int k = 0; k < CHAINS; k++) x[k] = x[k] * m + c;                             \
        for (int k = 0; k < CHAINS; k++) total += x[k][0];                                    \
        sink = (double)total;                                                                 \
        return 0;                                                                             \
    }
static int ops_4(void *arg) OPS_BODY(lanes_4)
#if defined(__x86_64__)
__attribute__((target("avx2"))) static int ops_8(void *arg) OPS_BODY(lanes_8)
__attribute__((target("avx512f"))) static int ops_16(void *arg) OPS_BODY(lanes_16)
/* The same, fused. */
#define FUSED(isa) __attribute__((target(isa), optimize("fp-contract=fast")))
FUSED("avx2,fma") static int fused_8(void *arg) OPS_BODY(lanes_8)
FUSED("avx512f") static int fused_16(void *arg) OPS_BODY(lanes_16)
#define HAVE_FUSED 1
#else
static int ops_8(void *arg) OPS_BODY(lanes_8)
static int ops_16(void *arg) OPS_BODY(lanes_16)
#define fused_8 ops_8
#define fused_16 ops_16
#define HAVE_FUSED 0
#endif

static double arithmetic(const bench_options *o, const char *name, const char *isa, double n, const char *unit,
                         const char *limit, bench_pass pass) {
    int is_new;
    double *rate = find_known(name, isa, 0, 1, &is_new);
    if (!is_new) return *rate;
    bench_row row = {.name = name, .by = isa, .threads = 1, .n = n, .unit = unit, .limit = limit};
    bench_times times;
    sink = 0;
    bench_confine(1);
    bench_measure(o, pass, NULL, &times);
    row.limit_seconds = times.best;
    bench_print(o, &row, &times);
    return *rate = n / times.best;
}

static int lanes_of(const char *isa) {
    return !strcmp(isa, "avx512") ? 16 : !strcmp(isa, "avx2") ? 8 : 4;
}

double bench_ops_limit(const bench_options *o, const char *isa) {
    int lanes = lanes_of(isa);
    if (o->n_passes) return 0;
    return arithmetic(o, "(bare_arithmetic)", isa, 2.0 * CHAINS * ROUNDS * lanes, "Gops/s", "ops",
                      lanes == 16 ? ops_16 : lanes == 8 ? ops_8 : ops_4);
}

double bench_products_limit(const bench_options *o, const char *isa) {
    int lanes = lanes_of(isa);
    if (o->n_passes || !HAVE_FUSED || lanes == 4) return 0;
    return arithmetic(o, "(bare_products)", isa, 1.0 * CHAINS * ROUNDS * lanes, "Gfma/s", "fma",
                      lanes == 16 ? fused_16 : fused_8);
}
