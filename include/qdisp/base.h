/* qdisp/base.h - status codes, the context with its hooks, library version.
 *
 * Conventions of every header here:
 *   - Functions that can fail return qdisp_status; on failure outputs are untouched and
 *     qdisp_ctx_error() says what and where.
 *   - Arguments come in the order of the data: handle, inputs, options, outputs.
 *   - Handles are reference counted inside: free them in any order, NULL is fine.
 *   - Unless a declaration says otherwise, a handle may be used from one thread at a time, and
 *     immutable handles (model, tokenizer, corpus) from any number of threads.
 *   - Languages are BCP-47 tags ("en", "pt-BR"). Text is UTF-8, given with its length in bytes.
 */
#ifndef QDISP_BASE_H
#define QDISP_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define QDISP_API __attribute__((visibility("default")))
#else
#define QDISP_API
#endif

#define QDISP_VERSION_MAJOR 0
#define QDISP_VERSION_MINOR 1
#define QDISP_VERSION_PATCH 0

/* Every status: name, number (pinned for ever), meaning. */
#define QDISP_STATUSES(X)                                            \
    X(OK, 0, "success")                                              \
    X(ENOMEM, 1, "out of memory")                                    \
    X(EINVAL, 2, "invalid argument")                                 \
    X(EIO, 3, "input or output failed")                              \
    X(EFORMAT, 4, "malformed file")                                  \
    X(EUNSUPPORTED, 5, "not supported")                              \
    X(ENOTFOUND, 6, "not found")                                     \
    X(EENCODING, 7, "invalid UTF-8")                                 \
    X(ECANCELLED, 8, "cancelled")                                    \
    X(ENUMERIC, 9, "not a finite number or no solution")             \
    X(EMISMATCH, 10, "inputs do not belong together")

typedef enum qdisp_status {
#define QDISP_STATUS_ENUM(name, number, text) QDISP_##name = number,
    QDISP_STATUSES(QDISP_STATUS_ENUM)
#undef QDISP_STATUS_ENUM
} qdisp_status;

/* Name ("QDISP_EINVAL") and meaning ("invalid argument") of a status; static strings, never NULL
 * ("QDISP_?" and "unknown status" for a number outside the list). Any thread. */
QDISP_API const char *qdisp_status_name(qdisp_status status);
QDISP_API const char *qdisp_status_text(qdisp_status status);

/* Version of the library that is loaded, "MAJOR.MINOR.PATCH"; a static string. Any thread. */
QDISP_API const char *qdisp_version(void);

/* Element types of tensors and arrays. Numbers are pinned. */
typedef enum qdisp_dtype {
    QDISP_DTYPE_F32 = 1,
    QDISP_DTYPE_F16 = 2,
    QDISP_DTYPE_BF16 = 3,
    QDISP_DTYPE_F64 = 4,
    QDISP_DTYPE_I64 = 5,
    QDISP_DTYPE_I32 = 6,
    QDISP_DTYPE_I8 = 7,
    QDISP_DTYPE_U8 = 8,
    QDISP_DTYPE_BOOL = 9,
    /* Values that are decoded on reading: blocks of a GGUF file, GPTQ, AWQ, a transposed matrix ... The data of such a
     * tensor are opaque; qdisp_model_read gives its values. */
    QDISP_DTYPE_PACKED = 10,
    /* Values of a type that nothing here reads, in a file whose other tensors can be used. */
    QDISP_DTYPE_OTHER = 11
} qdisp_dtype;

/* Severity of a log line. */
typedef enum qdisp_log_level { QDISP_LOG_INFO = 1, QDISP_LOG_WARNING = 2 } qdisp_log_level;

/* What a host engine may bring; a sized struct: set size = sizeof(qdisp_ctx_options), zero means
 * default. All callbacks get `user`. They may be called from worker threads, never concurrently
 * except allocate/reallocate/release and parallel_for's tasks. */
typedef struct qdisp_ctx_options {
    uint64_t size;
    void *user;
    /* Memory: like malloc, realloc and free; give all three or none (default: the C library's). */
    void *(*allocate)(void *user, size_t n_bytes);
    void *(*reallocate)(void *user, void *block, size_t n_bytes);
    void (*release)(void *user, void *block);
    /* One log line without newline (default: dropped). */
    void (*log)(void *user, qdisp_log_level level, const char *line);
    /* Long work: what is running and the part done, 0..1 (default: none). */
    void (*progress)(void *user, const char *what, double done);
    /* Asked often during long work; non-zero stops it with QDISP_ECANCELLED (default: never). */
    int (*cancelled)(void *user);
    /* The host's own parallel loop: call task(arg, i) for i in [0, n), return when all are done
     * (default: threads of the library's own). */
    void (*parallel_for)(void *user, size_t n, void (*task)(void *arg, size_t i), void *arg);
    /* Threads to use, 0 = one per processor the process may run on, at most 1024. */
    uint64_t n_threads;
    /* Cap on the instruction set: "c", "avx2", "avx512", "neon"; NULL = the best the CPU has.
     * Results are the same bits on every instruction set. */
    const char *isa;
    /* 1: nothing else in this process uses OpenBLAS, so it may be set to one thread, and the library's own threads do
     * the work (faster). 0 (default): the process's OpenBLAS settings are never touched; if it runs with several
     * threads, a backward pass uses those in its matrix products and one thread between them. */
    uint64_t own_blas;
} qdisp_ctx_options;

/* A context: hooks, thread count, instruction set and the last error message. Everything is made
 * from one, and keeps it alive. Threads that want their own messages use contexts of their own. */
typedef struct qdisp_ctx qdisp_ctx;

/* Makes a context. options: NULL = defaults. Errors: EINVAL (a size or non-zero tail this version
 * does not know, an incomplete allocator, n_threads > 1024, an unknown isa), EUNSUPPORTED (an isa
 * that this CPU lacks), ENOMEM. */
QDISP_API qdisp_status qdisp_ctx_new(const qdisp_ctx_options *options, qdisp_ctx **out);
QDISP_API void qdisp_ctx_free(qdisp_ctx *ctx);

/* Message of the last failure of a call on this context or a handle made from it: names file,
 * place and reason ("" before any failure). Owned by ctx, valid until the next failure. */
QDISP_API const char *qdisp_ctx_error(const qdisp_ctx *ctx);

/* Instruction set in use ("c", "avx2", "avx512", "neon") and number of threads. */
QDISP_API const char *qdisp_ctx_isa(const qdisp_ctx *ctx);
QDISP_API unsigned qdisp_ctx_n_threads(const qdisp_ctx *ctx);

#ifdef __cplusplus
}
#endif
#endif
