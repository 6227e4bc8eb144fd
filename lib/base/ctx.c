/* ctx.c - the context: hooks, messages, memory. Nothing here is global. */
#include "base/base.h"

#include "kernels/kernels.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_THREADS 1024

static const struct {
    qdisp_status status;
    const char *name, *text;
} status_rows[] = {
#define ROW(name, number, text) {QDISP_##name, "QDISP_" #name, text},
    QDISP_STATUSES(ROW)
#undef ROW
};

const char *qdisp_status_name(qdisp_status status) {
    for (size_t i = 0; i < sizeof status_rows / sizeof *status_rows; i++)
        if (status_rows[i].status == status) return status_rows[i].name;
    return "QDISP_?";
}

const char *qdisp_status_text(qdisp_status status) {
    for (size_t i = 0; i < sizeof status_rows / sizeof *status_rows; i++)
        if (status_rows[i].status == status) return status_rows[i].text;
    return "unknown status";
}

#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)

const char *qdisp_version(void) {
    return STRINGIFY(QDISP_VERSION_MAJOR) "." STRINGIFY(QDISP_VERSION_MINOR) "." STRINGIFY(QDISP_VERSION_PATCH);
}

static void *default_allocate(void *user, size_t n) {
    (void)user;
    return malloc(n);
}
static void *default_reallocate(void *user, void *block, size_t n) {
    (void)user;
    return realloc(block, n);
}
static void default_release(void *user, void *block) {
    (void)user;
    free(block);
}
static void default_log(void *user, qdisp_log_level level, const char *line) {
    (void)user, (void)level, (void)line;
}
static void default_progress(void *user, const char *what, double done) {
    (void)user, (void)what, (void)done;
}
static int default_cancelled(void *user) {
    (void)user;
    return 0;
}

static unsigned count_processors(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return (unsigned)CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}

qdisp_status qd_copy_options(qdisp_ctx *ctx, const char *what, const void *given, void *out, size_t known_size) {
    uint64_t size;
    memset(out, 0, known_size);
    if (!given) return QDISP_OK;
    memcpy(&size, given, sizeof size);
    if (size < sizeof size || size > 65536)
        return ctx ? qd_fail(ctx, QDISP_EINVAL, "%s: size %llu: set it to sizeof the struct", what,
                             (unsigned long long)size)
                   : QDISP_EINVAL;
    const unsigned char *bytes = given;
    for (size_t i = known_size; i < size; i++)
        if (bytes[i])
            return ctx ? qd_fail(ctx, QDISP_EINVAL, "%s: byte %zu is set, which this version does not know", what, i)
                       : QDISP_EINVAL;
    memcpy(out, given, size < known_size ? (size_t)size : known_size);
    return QDISP_OK;
}

qdisp_status qdisp_ctx_new(const qdisp_ctx_options *options, qdisp_ctx **out) {
    qdisp_ctx_options opt;
    if (!out) return QDISP_EINVAL;
    qdisp_status status = qd_copy_options(NULL, "ctx options", options, &opt, sizeof opt);
    if (status != QDISP_OK) return status;
    int n_given = !!opt.allocate + !!opt.reallocate + !!opt.release;
    if ((n_given != 0 && n_given != 3) || opt.n_threads > MAX_THREADS || opt.own_blas > 1) return QDISP_EINVAL;
    if (!n_given) {
        opt.allocate = default_allocate;
        opt.reallocate = default_reallocate;
        opt.release = default_release;
    }
    if (!opt.log) opt.log = default_log;
    if (!opt.progress) opt.progress = default_progress;
    if (!opt.cancelled) opt.cancelled = default_cancelled;

    int known = 0;
    const char *isa = NULL;
    const qd_kernels *kernels = qd_kernels_get(opt.isa, &isa, &known);
    if (!kernels) return known ? QDISP_EUNSUPPORTED : QDISP_EINVAL;

    qdisp_ctx *ctx = opt.allocate(opt.user, sizeof *ctx);
    if (!ctx) return QDISP_ENOMEM;
    memset(ctx, 0, sizeof *ctx);
    ctx->opt = opt;
    ctx->n_refs = 1;
    ctx->n_threads = opt.n_threads ? (unsigned)opt.n_threads : count_processors();
    if (ctx->n_threads > MAX_THREADS) ctx->n_threads = MAX_THREADS;
    ctx->kernels = kernels;
    ctx->isa_name = isa;
    *out = ctx;
    return QDISP_OK;
}

qdisp_ctx *qd_ctx_ref(qdisp_ctx *ctx) {
    __atomic_fetch_add(&ctx->n_refs, 1, __ATOMIC_RELAXED);
    return ctx;
}

void qdisp_ctx_free(qdisp_ctx *ctx) {
    if (ctx && __atomic_sub_fetch(&ctx->n_refs, 1, __ATOMIC_ACQ_REL) == 0) ctx->opt.release(ctx->opt.user, ctx);
}

const char *qdisp_ctx_error(const qdisp_ctx *ctx) {
    return ctx ? ctx->error : "no context";
}

const char *qdisp_ctx_isa(const qdisp_ctx *ctx) {
    return ctx->isa_name;
}

unsigned qdisp_ctx_n_threads(const qdisp_ctx *ctx) {
    return ctx->n_threads;
}

/* A spin flag, not a mutex: held for one memcpy, and only on failures. */
static void set_error(qdisp_ctx *ctx, const char *text) {
    while (__atomic_test_and_set(&ctx->error_lock, __ATOMIC_ACQUIRE)) sched_yield();
    memcpy(ctx->error, text, sizeof ctx->error);
    __atomic_clear(&ctx->error_lock, __ATOMIC_RELEASE);
}

void qd_copy_error(qdisp_ctx *ctx, char text[512]) {
    while (__atomic_test_and_set(&ctx->error_lock, __ATOMIC_ACQUIRE)) sched_yield();
    memcpy(text, ctx->error, sizeof ctx->error);
    __atomic_clear(&ctx->error_lock, __ATOMIC_RELEASE);
}

qdisp_status qd_fail(qdisp_ctx *ctx, qdisp_status status, const char *format, ...) {
    char text[sizeof ctx->error] = {0};
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    set_error(ctx, text);
    return status;
}

/* strerror_r exists in two shapes; glibc's returns the text, the POSIX one fills the buffer. */
static const char *reason_text(int error, char *buffer, size_t size) {
#ifdef __GLIBC__
    return strerror_r(error, buffer, size);
#else
    return strerror_r(error, buffer, size) == 0 ? buffer : "unknown error";
#endif
}

qdisp_status qd_fail_errno(qdisp_ctx *ctx, const char *path, int error) {
    char buffer[128];
    qdisp_status status = error == ENOENT ? QDISP_ENOTFOUND : error == ENOMEM ? QDISP_ENOMEM : QDISP_EIO;
    return qd_fail(ctx, status, "%s: %s", path, reason_text(error, buffer, sizeof buffer));
}

void qd_log(qdisp_ctx *ctx, qdisp_log_level level, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ctx->opt.log(ctx->opt.user, level, text);
}

bool qd_cancelled(qdisp_ctx *ctx) {
    return ctx->opt.cancelled(ctx->opt.user) != 0;
}

qdisp_status qd_progress(qdisp_ctx *ctx, const char *what, double done) {
    double share = ctx->progress_from + (ctx->progress_to - ctx->progress_from) * done;
    ctx->opt.progress(ctx->opt.user, ctx->progress_to > 0 ? ctx->progress_what : what,
                      ctx->progress_to > 0 ? share : done);
    return qd_cancelled(ctx) ? qd_fail(ctx, QDISP_ECANCELLED, "%s: cancelled", what) : QDISP_OK;
}

void qd_progress_stage(qdisp_ctx *ctx, const char *what, double from, double to) {
    ctx->progress_what = what;
    ctx->progress_from = from;
    ctx->progress_to = what ? to : 0;
}

qd_progress_range qd_progress_enter(qdisp_ctx *ctx, const char *what, double from, double to) {
    qd_progress_range before = {ctx->progress_what, ctx->progress_from, ctx->progress_to};
    if (before.to > 0) {
        double width = before.to - before.from;
        what = before.what;
        to = before.from + width * to;
        from = before.from + width * from;
    }
    qd_progress_stage(ctx, what, from, to);
    return before;
}

void qd_progress_leave(qdisp_ctx *ctx, qd_progress_range range) {
    ctx->progress_what = range.what;
    ctx->progress_from = range.from;
    ctx->progress_to = range.to;
}

bool qd_mul_overflows(uint64_t a, uint64_t b, uint64_t *product) {
    return __builtin_mul_overflow(a, b, product);
}

void *qd_alloc(qdisp_ctx *ctx, size_t n, size_t size) {
    uint64_t n_bytes;
    void *block = NULL;
    if (!qd_mul_overflows(n, size, &n_bytes) && n_bytes <= PTRDIFF_MAX)
        block = ctx->opt.allocate(ctx->opt.user, n_bytes ? (size_t)n_bytes : 1);
    if (!block) {
        qd_fail(ctx, QDISP_ENOMEM, "out of memory (%zu items of %zu bytes)", n, size);
        return NULL;
    }
    memset(block, 0, n_bytes ? (size_t)n_bytes : 1);
    return block;
}

qdisp_status qd_grow(qdisp_ctx *ctx, void **block, size_t *cap, size_t need, size_t size) {
    if (need <= *cap) return QDISP_OK;
    size_t new_cap = *cap ? *cap : 16;
    while (new_cap < need) {
        if (new_cap > SIZE_MAX / 2) return qd_fail(ctx, QDISP_ENOMEM, "out of memory (%zu items)", need);
        new_cap *= 2;
    }
    uint64_t n_bytes;
    void *grown = NULL;
    if (!qd_mul_overflows(new_cap, size, &n_bytes) && n_bytes <= PTRDIFF_MAX)
        grown = ctx->opt.reallocate(ctx->opt.user, *block, (size_t)n_bytes);
    if (!grown) return qd_fail(ctx, QDISP_ENOMEM, "out of memory (%zu items of %zu bytes)", new_cap, size);
    memset((char *)grown + *cap * size, 0, (new_cap - *cap) * size);
    *block = grown;
    *cap = new_cap;
    return QDISP_OK;
}

void qd_free(qdisp_ctx *ctx, void *block) {
    if (block) ctx->opt.release(ctx->opt.user, block);
}

#define ALIGNMENT 64

/* The host's allocator promises no alignment beyond malloc's: the real start is kept just before the block. */
void *qd_alloc_aligned(qdisp_ctx *ctx, size_t n, size_t size) {
    uint64_t n_bytes;
    if (qd_mul_overflows(n, size, &n_bytes) || n_bytes > PTRDIFF_MAX - 2 * ALIGNMENT) {
        qd_fail(ctx, QDISP_ENOMEM, "out of memory (%zu items of %zu bytes)", n, size);
        return NULL;
    }
    char *start = qd_alloc(ctx, 1, (size_t)n_bytes + ALIGNMENT + sizeof(void *));
    if (!start) return NULL;
    uintptr_t address = ((uintptr_t)start + sizeof(void *) + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1);
    memcpy((char *)address - sizeof(void *), &start, sizeof start);
    return (void *)address;
}

void qd_free_aligned(qdisp_ctx *ctx, void *block) {
    if (!block) return;
    void *start;
    memcpy(&start, (char *)block - sizeof(void *), sizeof start);
    qd_free(ctx, start);
}

char *qd_strndup(qdisp_ctx *ctx, const char *s, size_t n) {
    char *copy = qd_alloc(ctx, n + 1, 1);
    if (copy) memcpy(copy, s, n);
    return copy;
}

char *qd_strdup(qdisp_ctx *ctx, const char *s) {
    return qd_strndup(ctx, s, strlen(s));
}

char *qd_format(qdisp_ctx *ctx, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = n < 0 ? NULL : qd_alloc(ctx, (size_t)n + 1, 1);
    if (text) vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    return text;
}
