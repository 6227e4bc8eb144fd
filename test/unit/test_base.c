/* test_base.c - lib/base: context, memory, half floats, UTF-8, Philox, parallel loop, files in and out. */
#include "harness.h"

#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct counters {
    long n_live, n_calls, fail_at; /* fail_at: the call that fails, 0 = none */
    int n_parallel, n_cancel_asked, cancel_after, n_logs;
    char last_log[64];
    double last_done;
} counters;

static void *count_allocate(void *user, size_t n) {
    counters *c = user;
    long call = __atomic_add_fetch(&c->n_calls, 1, __ATOMIC_RELAXED);
    if (call == c->fail_at) return NULL;
    __atomic_add_fetch(&c->n_live, 1, __ATOMIC_RELAXED);
    void *block = malloc(n);
    memset(block, 0xa5, n); /* memory of a host is not zero */
    return block;
}
static void *count_reallocate(void *user, void *block, size_t n) {
    counters *c = user;
    long call = __atomic_add_fetch(&c->n_calls, 1, __ATOMIC_RELAXED);
    if (call == c->fail_at) return NULL;
    if (!block) __atomic_add_fetch(&c->n_live, 1, __ATOMIC_RELAXED);
    return realloc(block, n);
}
static void count_release(void *user, void *block) {
    counters *c = user;
    __atomic_sub_fetch(&c->n_live, 1, __ATOMIC_RELAXED);
    free(block);
}
static int count_cancelled(void *user) {
    counters *c = user;
    return ++c->n_cancel_asked > c->cancel_after && c->cancel_after > 0;
}
static void count_log(void *user, qdisp_log_level level, const char *line) {
    counters *c = user;
    c->n_logs += level == QDISP_LOG_WARNING;
    snprintf(c->last_log, sizeof c->last_log, "%s", line);
}
static void count_progress(void *user, const char *what, double done) {
    counters *c = user;
    c->last_done = done;
    snprintf(c->last_log, sizeof c->last_log, "%s", what);
}

static qdisp_ctx_options counting(counters *c) {
    qdisp_ctx_options o = {.size = sizeof o, .user = c, .allocate = count_allocate, .reallocate = count_reallocate,
                           .release = count_release, .n_threads = 4};
    return o;
}

static qdisp_ctx *plain_ctx(unsigned n_threads) {
    qdisp_ctx_options o = {.size = sizeof o, .n_threads = n_threads};
    qdisp_ctx *ctx = NULL;
    CHECK_STATUS(qdisp_ctx_new(&o, &ctx), QDISP_OK);
    return ctx;
}

static char folder[64];
static char path_text[256];
static const char *in_folder(const char *name) {
    snprintf(path_text, sizeof path_text, "%s/%s", folder, name);
    return path_text;
}

TEST(statuses_have_names_and_texts) {
    CHECK_STR(qdisp_status_name(QDISP_OK), "QDISP_OK");
    CHECK_STR(qdisp_status_name(QDISP_EMISMATCH), "QDISP_EMISMATCH");
    CHECK_STR(qdisp_status_text(QDISP_EINVAL), "invalid argument");
    CHECK_STR(qdisp_status_name((qdisp_status)99), "QDISP_?");
    CHECK_STR(qdisp_status_text((qdisp_status)-1), "unknown status");
    CHECK_STR(qdisp_version(), "0.1.0");
    CHECK(QDISP_ENOMEM == 1 && QDISP_EIO == 3 && QDISP_EMISMATCH == 10);
}

TEST(ctx_options_are_checked) {
    qdisp_ctx *ctx = NULL;
    CHECK_STATUS(qdisp_ctx_new(NULL, &ctx), QDISP_OK);
    CHECK(qdisp_ctx_n_threads(ctx) >= 1 && qdisp_ctx_n_threads(ctx) <= 1024);
    CHECK_STR(qdisp_ctx_error(ctx), "");
    qdisp_ctx_free(ctx);
    CHECK_STATUS(qdisp_ctx_new(NULL, NULL), QDISP_EINVAL);
    qdisp_ctx *kept = ctx = (qdisp_ctx *)&path_text;
    qdisp_ctx_options o = {.size = 0};
    CHECK_STATUS(qdisp_ctx_new(&o, &ctx), QDISP_EINVAL);
    o = (qdisp_ctx_options){.size = sizeof o, .n_threads = 1025};
    CHECK_STATUS(qdisp_ctx_new(&o, &ctx), QDISP_EINVAL);
    o = (qdisp_ctx_options){.size = sizeof o, .isa = "sse9"};
    CHECK_STATUS(qdisp_ctx_new(&o, &ctx), QDISP_EINVAL);
#if defined(__x86_64__)
    o = (qdisp_ctx_options){.size = sizeof o, .isa = "neon"};
    CHECK(qdisp_ctx_new(&o, &ctx) != QDISP_OK);
#endif
    o = (qdisp_ctx_options){.size = sizeof o, .allocate = count_allocate};
    CHECK_STATUS(qdisp_ctx_new(&o, &ctx), QDISP_EINVAL);
    CHECK(ctx == kept);
    o = (qdisp_ctx_options){.size = sizeof o, .isa = "c", .n_threads = 3};
    CHECK_STATUS(qdisp_ctx_new(&o, &ctx), QDISP_OK);
    CHECK_STR(qdisp_ctx_isa(ctx), "c");
    CHECK(qdisp_ctx_n_threads(ctx) == 3);
    qdisp_ctx_free(ctx);
    qdisp_ctx_free(NULL);
}

TEST(sized_structs_refuse_an_unknown_tail_and_take_a_short_one) {
    struct {
        qdisp_ctx_options o;
        uint64_t tail[2];
    } longer = {.o = {.size = sizeof longer, .n_threads = 2}};
    qdisp_ctx *ctx = NULL;
    CHECK_STATUS(qdisp_ctx_new(&longer.o, &ctx), QDISP_OK);
    qdisp_ctx_free(ctx);
    ((unsigned char *)longer.tail)[15] = 1;
    CHECK_STATUS(qdisp_ctx_new(&longer.o, &ctx), QDISP_EINVAL);
    ctx = plain_ctx(1);
    struct known {
        uint64_t size, a, b;
    } out = {7, 7, 7};
    uint64_t short_one[2] = {16, 5};
    CHECK_STATUS(qd_copy_options(ctx, "x", short_one, &out, sizeof out), QDISP_OK);
    CHECK(out.a == 5 && out.b == 0);
    CHECK_STATUS(qd_copy_options(ctx, "x", NULL, &out, sizeof out), QDISP_OK);
    CHECK(out.size == 0 && out.a == 0);
    uint64_t long_one[4] = {32, 5, 6, 1};
    CHECK_STATUS(qd_copy_options(ctx, "plan options", long_one, &out, sizeof out), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "plan options");
    CHECK_HAS(qdisp_ctx_error(ctx), "byte 24");
    long_one[0] = 4;
    CHECK_STATUS(qd_copy_options(ctx, "x", long_one, &out, sizeof out), QDISP_EINVAL);
    long_one[0] = 1u << 20;
    CHECK_STATUS(qd_copy_options(ctx, "x", long_one, &out, sizeof out), QDISP_EINVAL);
    qdisp_ctx_free(ctx);
}

TEST(memory_comes_from_the_hooks_and_is_zeroed) {
    counters c = {0};
    qdisp_ctx_options o = counting(&c);
    qdisp_ctx *ctx = NULL;
    CHECK_STATUS(qdisp_ctx_new(&o, &ctx), QDISP_OK);
    CHECK(c.n_live == 1);
    unsigned char *a = qd_alloc(ctx, 100, 3);
    unsigned bad = 0;
    for (int i = 0; i < 300; i++) bad |= a[i];
    CHECK(bad == 0);
    CHECK(qd_alloc(ctx, SIZE_MAX / 2, 3) == NULL);
    CHECK_HAS(qdisp_ctx_error(ctx), "out of memory");
    CHECK(qd_alloc_aligned(ctx, SIZE_MAX, 1) == NULL);
    void *empty = qd_alloc(ctx, 0, 8);
    CHECK(empty != NULL);
    unsigned char *aligned = qd_alloc_aligned(ctx, 65, 1);
    CHECK((uintptr_t)aligned % 64 == 0);
    for (int i = 0; i < 65; i++) bad |= aligned[i];
    CHECK(bad == 0);
    int *grown = NULL;
    size_t cap = 0;
    for (int i = 0; i < 1000; i++) {
        CHECK_STATUS(qd_grow(ctx, (void **)&grown, &cap, (size_t)i + 1, sizeof *grown), QDISP_OK);
        CHECK(grown[i] == 0);
        grown[i] = i;
    }
    for (int i = 0; i < 1000; i++) bad |= grown[i] != i;
    CHECK(bad == 0 && cap >= 1000);
    int *before = grown;
    size_t cap_before = cap;
    c.fail_at = c.n_calls + 1;
    CHECK_STATUS(qd_grow(ctx, (void **)&grown, &cap, 5000, sizeof *grown), QDISP_ENOMEM);
    CHECK(grown == before && cap == cap_before);
    CHECK_STATUS(qd_grow(ctx, (void **)&grown, &cap, SIZE_MAX / 2, sizeof *grown), QDISP_ENOMEM);
    char *text = qd_format(ctx, "%s %d", "seven", 7), *part = qd_strndup(ctx, "abcdef", 3);
    CHECK_STR(text, "seven 7");
    CHECK_STR(part, "abc");
    qd_free(ctx, NULL);
    qd_free_aligned(ctx, NULL);
    qd_free(ctx, a);
    qd_free(ctx, empty);
    qd_free_aligned(ctx, aligned);
    qd_free(ctx, grown);
    qd_free(ctx, text);
    qd_free(ctx, part);
    qd_ctx_ref(ctx);
    qdisp_ctx_free(ctx);
    CHECK(c.n_live == 1);
    qdisp_ctx_free(ctx);
    CHECK(c.n_live == 0);
    c.fail_at = c.n_calls + 1;
    CHECK_STATUS(qdisp_ctx_new(&o, &ctx), QDISP_ENOMEM);
}

TEST(log_progress_and_messages) {
    counters c = {0};
    qdisp_ctx_options o = {.size = sizeof o, .user = &c, .log = count_log, .progress = count_progress,
                           .cancelled = count_cancelled};
    qdisp_ctx *ctx = NULL;
    CHECK_STATUS(qdisp_ctx_new(&o, &ctx), QDISP_OK);
    qd_log(ctx, QDISP_LOG_WARNING, "look at %d", 3);
    CHECK_STR(c.last_log, "look at 3");
    CHECK(c.n_logs == 1);
    CHECK_STATUS(qd_progress(ctx, "work", 0.25), QDISP_OK);
    CHECK(c.last_done == 0.25);
    qd_progress_stage(ctx, "whole", 0.5, 1);
    CHECK_STATUS(qd_progress(ctx, "work", 0.5), QDISP_OK);
    CHECK(c.last_done == 0.75);
    CHECK_STR(c.last_log, "whole");
    qd_progress_stage(ctx, NULL, 0, 0);
    c.cancel_after = 1;
    CHECK_STATUS(qd_progress(ctx, "work", 0.5), QDISP_ECANCELLED);
    CHECK_HAS(qdisp_ctx_error(ctx), "cancelled");
    char longest[2000];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    CHECK_STATUS(qd_fail(ctx, QDISP_EINVAL, "%s", longest), QDISP_EINVAL);
    CHECK(strlen(qdisp_ctx_error(ctx)) == 511);
    CHECK_STATUS(qd_fail_errno(ctx, "a/b", ENOENT), QDISP_ENOTFOUND);
    CHECK_STR(qdisp_ctx_error(ctx), "a/b: No such file or directory");
    CHECK_STATUS(qd_fail_errno(ctx, "a/b", ENOSPC), QDISP_EIO);
    CHECK_STATUS(qd_fail_errno(ctx, "a/b", ENOMEM), QDISP_ENOMEM);
    qdisp_ctx_free(ctx);
}

static uint32_t f32_bits(float f) {
    uint32_t b;
    memcpy(&b, &f, 4);
    return b;
}

/* The value of a half from the definition in IEEE 754, by ldexp. */
static double half_value(uint16_t h) {
    int e = h >> 10 & 31, m = h & 1023;
    double v = e == 31 ? (m ? (double)NAN : (double)INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return h & 0x8000 ? -v : v;
}

TEST(f16_decodes_all_patterns_and_comes_back) {
    for (uint32_t h = 0; h < 65536; h++) {
        double expected = half_value((uint16_t)h);
        float got = qd_f16_to_f32((uint16_t)h);
        if (isnan(expected)) {
            if (!isnan(got) || !(f32_bits(got) & 0x400000)) { CHECK(!"NaN stays a quiet NaN"); return; }
            uint16_t back = qd_f32_to_f16(got);
            if ((back & 0x7e00) != 0x7e00 || (back & 0x8000) != (h & 0x8000)) { CHECK(!"NaN comes back"); return; }
        } else {
            if ((double)got != expected || !!signbit(got) != (h >> 15)) { CHECK(!"value"); return; }
            if (qd_f32_to_f16(got) != h) { CHECK(!"comes back"); return; }
        }
    }
}

/* Rounding changes only at the midpoints of neighbours: looking there and one step to either side looks everywhere. */
TEST(f16_rounds_to_nearest_even) {
    for (uint16_t h = 0; h < 0x7c00; h++) {
        double next = h == 0x7bff ? 65536 : half_value((uint16_t)(h + 1)); /* infinity rounds as 2^16 would */
        float middle = (float)((half_value(h) + next) / 2); /* exact: 12 bits */
        uint16_t even = (uint16_t)(h & 1 ? h + 1 : h), above = (uint16_t)(h + 1);
        if (qd_f32_to_f16(middle) != even || qd_f32_to_f16(nextafterf(middle, INFINITY)) != above ||
            qd_f32_to_f16(nextafterf(middle, 0)) != h || qd_f32_to_f16(-middle) != (even | 0x8000)) {
            printf("at half 0x%04x\n", h);
            CHECK(!"round to nearest even");
            return;
        }
    }
    CHECK(qd_f32_to_f16(1e30f) == 0x7c00 && qd_f32_to_f16(-INFINITY) == 0xfc00);
    CHECK(qd_f32_to_f16(1e-40f) == 0 && qd_f32_to_f16(-1e-40f) == 0x8000);
}

TEST(bf16_decodes_all_patterns_and_rounds_to_nearest_even) {
    for (uint32_t h = 0; h < 65536; h++) {
        float v = qd_bf16_to_f32((uint16_t)h);
        if (f32_bits(v) != h << 16) { CHECK(!"upper half"); return; }
        if (isnan(v)) {
            uint16_t back = qd_f32_to_bf16(v);
            if ((back & 0x7fc0) != 0x7fc0 || (back & 0x8000) != (h & 0x8000)) { CHECK(!"NaN stays NaN"); return; }
            continue;
        }
        if (qd_f32_to_bf16(v) != h) { CHECK(!"comes back"); return; }
        if ((h & 0x7fff) >= 0x7f80) continue;
        uint32_t middle = h << 16 | 0x8000, below = middle - 1, above = middle + 1;
        float m, b, a;
        memcpy(&m, &middle, 4), memcpy(&b, &below, 4), memcpy(&a, &above, 4);
        if (qd_f32_to_bf16(m) != (uint16_t)(h & 1 ? h + 1 : h) || qd_f32_to_bf16(b) != h ||
            qd_f32_to_bf16(a) != (uint16_t)(h + 1)) {
            CHECK(!"round to nearest even");
            return;
        }
    }
    uint32_t low_nan = 0x7f800001; /* its upper half alone would be infinity */
    float f;
    memcpy(&f, &low_nan, 4);
    CHECK(isnan(qd_bf16_to_f32(qd_f32_to_bf16(f))));
    CHECK(isnan(qd_f16_to_f32(qd_f32_to_f16(f))));
}

TEST(dtypes) {
    CHECK(qd_dtype_size(QDISP_DTYPE_F32) == 4 && qd_dtype_size(QDISP_DTYPE_BF16) == 2);
    CHECK(qd_dtype_size(QDISP_DTYPE_I64) == 8 && qd_dtype_size(QDISP_DTYPE_BOOL) == 1);
    CHECK(qd_dtype_size((qdisp_dtype)0) == 0 && qd_dtype_size((qdisp_dtype)77) == 0);
    CHECK_STR(qd_dtype_name(QDISP_DTYPE_BF16), "bf16");
    CHECK_STR(qd_dtype_name((qdisp_dtype)77), "?");
    uint64_t p;
    CHECK(!qd_mul_overflows(1ull << 32, (1ull << 32) - 1, &p) && p == 0xffffffff00000000ull);
    CHECK(qd_mul_overflows(1ull << 32, 1ull << 32, &p));
}

TEST(utf8) {
    static const struct {
        const char *text;
        size_t n, bad; /* bad = n: valid */
    } rows[] = {
        {"", 0, 0}, {"abc", 3, 3}, {"a\0b", 3, 3}, {"12345678\xff", 9, 8}, {"123456789\xc3\xa9", 11, 11},
        {"\xc2\x80", 2, 2}, {"\xdf\xbf", 2, 2}, {"\xe0\xa0\x80", 3, 3}, {"\xef\xbf\xbf", 3, 3},
        {"\xf0\x90\x80\x80", 4, 4}, {"\xf4\x8f\xbf\xbf", 4, 4}, {"\xed\x9f\xbf", 3, 3}, {"\xee\x80\x80", 3, 3},
        {"\x80", 1, 0}, {"\xbf", 1, 0}, {"\xc0\x80", 2, 0}, {"\xc1\xbf", 2, 0}, {"\xe0\x9f\xbf", 3, 0}, /* overlong */
        {"\xf0\x8f\xbf\xbf", 4, 0}, {"\xed\xa0\x80", 3, 0}, {"\xed\xbf\xbf", 3, 0},                     /* surrogates */
        {"\xf4\x90\x80\x80", 4, 0}, {"\xf5\x80\x80\x80", 4, 0}, {"\xff", 1, 0}, {"\xfe", 1, 0},
        {"a\xc3", 2, 1}, {"a\xe2\x82", 3, 1}, {"a\xf0\x9f\x98", 4, 1}, {"\xc3(", 2, 0}, {"\xe2(\xa1", 3, 0},
        {"\xe2\x82(", 3, 0}, {"\xf0\x90\x80(", 4, 0}, {"\xf0(\x8c\xbc", 4, 0}, {"\xf8\x88\x80\x80\x80", 5, 0},
        {"1234567\xc3\xa9", 9, 9}, {"12345678901234567\xc3", 18, 17},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *exact = malloc(rows[i].n + 1); /* a copy with its own end, so that the sanitizer sees a read past it */
        memcpy(exact, rows[i].text, rows[i].n);
        char *tight = realloc(exact, rows[i].n ? rows[i].n : 1);
        if (qd_utf8_check(tight, rows[i].n) != rows[i].bad) {
            printf("row %zu\n", i);
            CHECK(!"position of the first bad byte");
        }
        free(tight);
    }
    /* every code point, encoded by the definition */
    for (uint32_t c = 0; c < 0x110000; c++) {
        char s[4];
        size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        if (n == 1) s[0] = (char)c;
        for (size_t k = n; n > 1 && k-- > 1;) s[k] = (char)(0x80 | (c >> (6 * (n - 1 - k)) & 0x3f));
        if (n > 1) s[0] = (char)((0xf00 >> n & 0xff & ~(0xff >> (n + 1))) | c >> (6 * (n - 1)));
        size_t expected = c >= 0xd800 && c < 0xe000 ? 0 : n;
        if (qd_utf8_check(s, n) != expected) {
            printf("U+%04X\n", c);
            CHECK(!"code point");
            return;
        }
    }
}

/* Known answers of Random123's kat_vectors, philox4x32 10 rounds. */
TEST(philox_known_answers) {
    static const uint32_t rows[3][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420,
         0x24126ea1}};
    for (size_t i = 0; i < 3; i++) {
        uint32_t out[4];
        qd_philox(rows[i], rows[i] + 4, out);
        CHECK(!memcmp(out, rows[i] + 6, sizeof out));
    }
}

typedef struct loop {
    qdisp_ctx *ctx;
    int counts[1000];
    unsigned seen_worker;
    size_t fail_from;
} loop;

static qdisp_status loop_task(void *arg, size_t i, unsigned i_worker) {
    loop *l = arg;
    __atomic_add_fetch(&l->counts[i], 1, __ATOMIC_RELAXED);
    if (i_worker >= qd_n_workers(l->ctx)) l->seen_worker = 1;
    if (i >= l->fail_from) {
        if (i % 2) usleep(100); /* a later index may well fail first in time */
        return qd_fail(l->ctx, i % 3 ? QDISP_EINVAL : QDISP_ENUMERIC, "task %zu failed", i);
    }
    return QDISP_OK;
}

TEST(parallel_runs_every_index_once) {
    for (unsigned n_threads = 1; n_threads <= 100; n_threads += n_threads < 5 ? 1 : 95) {
        qdisp_ctx *ctx = plain_ctx(n_threads);
        loop l = {.ctx = ctx, .fail_from = SIZE_MAX};
        CHECK_STATUS(qd_parallel(ctx, 1000, loop_task, &l), QDISP_OK);
        int bad = 0;
        for (int i = 0; i < 1000; i++) bad += l.counts[i] != 1;
        CHECK(bad == 0 && !l.seen_worker);
        CHECK_STATUS(qd_parallel(ctx, 0, loop_task, &l), QDISP_OK);
        qdisp_ctx_free(ctx);
    }
}

TEST(parallel_returns_the_lowest_failure) {
    for (int repeat = 0; repeat < 200; repeat++) {
        qdisp_ctx *ctx = plain_ctx(4);
        loop l = {.ctx = ctx, .fail_from = 17};
        CHECK_STATUS(qd_parallel(ctx, 1000, loop_task, &l), QDISP_EINVAL); /* 17 % 3 != 0 */
        int n_run = 0, bad = 0;
        for (int i = 0; i < 1000; i++) n_run += l.counts[i];
        for (int i = 0; i <= 17; i++) bad += l.counts[i] != 1;
        CHECK(bad == 0 && n_run < 40); /* the rest was stopped */
        qdisp_ctx_free(ctx);
    }
}

static void host_parallel_for(void *user, size_t n, void (*task)(void *arg, size_t i), void *arg) {
    counters *c = user;
    c->n_parallel++;
    for (size_t i = n; i-- > 0;) task(arg, i);
}

TEST(parallel_uses_the_hosts_loop_and_can_be_cancelled) {
    counters c = {0};
    qdisp_ctx_options o = {.size = sizeof o, .user = &c, .parallel_for = host_parallel_for, .n_threads = 3,
                           .cancelled = count_cancelled};
    qdisp_ctx *ctx = NULL;
    CHECK_STATUS(qdisp_ctx_new(&o, &ctx), QDISP_OK);
    loop l = {.ctx = ctx, .fail_from = SIZE_MAX};
    CHECK_STATUS(qd_parallel(ctx, 1000, loop_task, &l), QDISP_OK);
    int bad = 0;
    for (int i = 0; i < 1000; i++) bad += l.counts[i] != 1;
    CHECK(bad == 0 && c.n_parallel == 1 && !l.seen_worker);
    c.cancel_after = c.n_cancel_asked + 5;
    memset(l.counts, 0, sizeof l.counts);
    CHECK_STATUS(qd_parallel(ctx, 1000, loop_task, &l), QDISP_ECANCELLED);
    int n_run = 0;
    for (int i = 0; i < 1000; i++) n_run += l.counts[i];
    CHECK(n_run < 1000); /* base.h: cancellation is checked between tasks */
    CHECK_HAS(qdisp_ctx_error(ctx), "cancelled");
    qdisp_ctx_free(ctx);
}

static void write_plain(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    if (!f) return;
    fputs(text, f);
    fclose(f);
}

static size_t n_in_folder(const char *part) {
    char command[256];
    snprintf(command, sizeof command, "ls -A '%s' | grep -c '%s'", folder, part);
    FILE *p = popen(command, "r");
    int n = -1;
    if (fscanf(p, "%d", &n) != 1) n = -1;
    pclose(p);
    return (size_t)n;
}

TEST(files_are_mapped_and_read) {
    qdisp_ctx *ctx = plain_ctx(1);
    qd_mapped_file map;
    char *text = NULL;
    size_t n = 99;
    write_plain(in_folder("full"), "hello");
    CHECK_STATUS(qd_map_file(ctx, in_folder("full"), &map), QDISP_OK);
    CHECK(map.size == 5 && !memcmp(map.data, "hello", 5));
    qd_unmap_file(&map);
    CHECK(map.data == NULL && map.size == 0);
    CHECK_STATUS(qd_read_file(ctx, in_folder("full"), 5, &text, &n), QDISP_OK);
    CHECK(n == 5 && !strcmp(text, "hello"));
    qd_free(ctx, text);
    CHECK_STATUS(qd_read_file(ctx, in_folder("full"), 4, &text, &n), QDISP_EFORMAT);
    CHECK_HAS(qdisp_ctx_error(ctx), "full");
    write_plain(in_folder("empty"), "");
    CHECK_STATUS(qd_map_file(ctx, in_folder("empty"), &map), QDISP_OK);
    CHECK(map.size == 0 && map.data != NULL);
    qd_unmap_file(&map);
    CHECK_STATUS(qd_read_file(ctx, in_folder("empty"), 5, &text, &n), QDISP_OK);
    CHECK(n == 0 && text[0] == 0);
    qd_free(ctx, text);
    CHECK_STATUS(qd_map_file(ctx, folder, &map), QDISP_EIO);
    CHECK_HAS(qdisp_ctx_error(ctx), folder);
    CHECK(mkfifo(in_folder("fifo"), 0600) == 0);
    CHECK_STATUS(qd_map_file(ctx, in_folder("fifo"), &map), QDISP_EIO); /* and does not hang */
    CHECK_STATUS(qd_read_file(ctx, in_folder("fifo"), 9, &text, &n), QDISP_EIO);
    CHECK_STATUS(qd_map_file(ctx, in_folder("nothing"), &map), QDISP_ENOTFOUND);
    CHECK_HAS(qdisp_ctx_error(ctx), "nothing: No such file");
    CHECK_STATUS(qd_map_file(ctx, in_folder("full/below"), &map), QDISP_EIO);
    CHECK(qd_is_directory(folder) && !qd_is_directory(in_folder("full")) && !qd_is_directory(in_folder("nothing")));
    qdisp_ctx_free(ctx);
}

TEST(outputs_appear_whole_or_not_at_all) {
    qdisp_ctx *ctx = plain_ctx(1);
    qd_output *o = NULL;
    char *text = NULL, block[1000];
    size_t n;
    memset(block, 'b', sizeof block);
    write_plain(in_folder("out"), "old");
    CHECK_STATUS(qd_output_open(ctx, in_folder("out"), &o), QDISP_OK);
    for (int i = 0; i < 200; i++) CHECK_STATUS(qd_output_write(o, block, sizeof block), QDISP_OK);
    CHECK_STATUS(qd_read_file(ctx, in_folder("out"), 100, &text, &n), QDISP_OK); /* not yet */
    CHECK_STR(text, "old");
    qd_free(ctx, text);
    CHECK_STATUS(qd_output_commit(o), QDISP_OK);
    CHECK_STATUS(qd_read_file(ctx, in_folder("out"), 1000000, &text, &n), QDISP_OK);
    CHECK(n == 200000 && strspn(text, "b") == n);
    qd_free(ctx, text);
    CHECK_STATUS(qd_output_open(ctx, in_folder("out"), &o), QDISP_OK);
    CHECK_STATUS(qd_output_write(o, "x", 1), QDISP_OK);
    qd_output_discard(o);
    qd_output_discard(NULL);
    CHECK_STATUS(qd_read_file(ctx, in_folder("out"), 1000000, &text, &n), QDISP_OK);
    CHECK(n == 200000);
    qd_free(ctx, text);
    CHECK_STATUS(qd_output_open(ctx, in_folder("no/such/out"), &o), QDISP_EIO);
    CHECK_HAS(qdisp_ctx_error(ctx), "no/such/out: No such file");
    qdisp_ctx_free(ctx);
    CHECK(n_in_folder("tmp-") == 0);
}

TEST(output_to_a_folder_fails) {
    qdisp_ctx *ctx = plain_ctx(1);
    qd_output *o = NULL;
    CHECK(mkdir(in_folder("taken"), 0700) == 0);
    qdisp_status status = qd_output_open(ctx, in_folder("taken"), &o);
    if (status == QDISP_OK) status = qd_output_commit(o);
    CHECK_STATUS(status, QDISP_EIO);
    CHECK_HAS(qdisp_ctx_error(ctx), "taken: Is a directory");
    qdisp_ctx_free(ctx);
    CHECK(n_in_folder("tmp-") == 0);
}

TEST(output_beyond_the_file_size_limit_leaves_the_old_file) {
    qdisp_ctx *ctx = plain_ctx(1);
    struct rlimit old, small = {.rlim_cur = 4096};
    qd_output *o = NULL;
    char block[1000], *text = NULL;
    size_t n;
    qdisp_status status = QDISP_OK;
    memset(block, 'b', sizeof block);
    write_plain(in_folder("limited"), "old");
    CHECK_STATUS(qd_output_open(ctx, in_folder("limited"), &o), QDISP_OK);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    for (int i = 0; i < 200 && status == QDISP_OK; i++) status = qd_output_write(o, block, sizeof block);
    CHECK_STATUS(status, QDISP_EIO);
    CHECK_HAS(qdisp_ctx_error(ctx), "limited: File too large");
    CHECK_STATUS(qd_output_commit(o), QDISP_EIO); /* a failed write is not forgotten */
    CHECK_STATUS(qd_output_open(ctx, in_folder("limited"), &o), QDISP_OK);
    for (int i = 0; i < 6; i++) qd_output_write(o, block, sizeof block); /* fails only when the buffer is flushed */
    CHECK_STATUS(qd_output_commit(o), QDISP_EIO);
    setrlimit(RLIMIT_FSIZE, &old);
    CHECK_STATUS(qd_read_file(ctx, in_folder("limited"), 100, &text, &n), QDISP_OK);
    CHECK_STR(text, "old");
    qd_free(ctx, text);
    qdisp_ctx_free(ctx);
    CHECK(n_in_folder("tmp-") == 0);
}

TEST(output_into_a_read_only_folder_fails) {
    if (geteuid() == 0) SKIP("root may write into read-only folders");
    qdisp_ctx *ctx = plain_ctx(1);
    qd_output *o = NULL;
    CHECK(mkdir(in_folder("locked"), 0500) == 0);
    CHECK_STATUS(qd_output_open(ctx, in_folder("locked/out"), &o), QDISP_EIO);
    CHECK_HAS(qdisp_ctx_error(ctx), "locked/out: Permission denied");
    qdisp_ctx_free(ctx);
}

/* A rename over a device would replace it, and root may do that. */
TEST(output_to_a_device_goes_into_it) {
    qdisp_ctx *ctx = plain_ctx(1);
    qd_output *o = NULL;
    struct stat st;
    if (stat("/dev/full", &st) != 0 || !S_ISCHR(st.st_mode)) SKIP("there is no /dev/full");
    CHECK(symlink("/dev/full", in_folder("device")) == 0);
    qdisp_status status = qd_output_open(ctx, in_folder("device"), &o);
    CHECK_STATUS(status, QDISP_OK);
    if (status == QDISP_OK) {
        qd_output_write(o, "x", 1);
        CHECK_STATUS(qd_output_commit(o), QDISP_EIO);
        CHECK_HAS(qdisp_ctx_error(ctx), "No space left on device");
    }
    CHECK(stat(in_folder("device"), &st) == 0 && S_ISCHR(st.st_mode));
    qdisp_ctx_free(ctx);
    CHECK(n_in_folder("tmp-") == 0);
}

int main(void) {
    snprintf(folder, sizeof folder, "/tmp/qdisp-base-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    RUN(statuses_have_names_and_texts);
    RUN(ctx_options_are_checked);
    RUN(sized_structs_refuse_an_unknown_tail_and_take_a_short_one);
    RUN(memory_comes_from_the_hooks_and_is_zeroed);
    RUN(log_progress_and_messages);
    RUN(f16_decodes_all_patterns_and_comes_back);
    RUN(f16_rounds_to_nearest_even);
    RUN(bf16_decodes_all_patterns_and_rounds_to_nearest_even);
    RUN(dtypes);
    RUN(utf8);
    RUN(philox_known_answers);
    RUN(parallel_runs_every_index_once);
    RUN(parallel_returns_the_lowest_failure);
    RUN(parallel_uses_the_hosts_loop_and_can_be_cancelled);
    RUN(files_are_mapped_and_read);
    RUN(outputs_appear_whole_or_not_at_all);
    RUN(output_to_a_folder_fails);
    RUN(output_beyond_the_file_size_limit_leaves_the_old_file);
    RUN(output_into_a_read_only_folder_fails);
    RUN(output_to_a_device_goes_into_it);
    char command[256];
    snprintf(command, sizeof command, "chmod -R u+w '%s' && rm -r '%s'", folder, folder);
    if (system(command) != 0) puts("temporary folder left behind");
    return TEST_END();
}
