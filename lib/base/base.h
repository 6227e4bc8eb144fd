/* base.h - what every layer shares: context internals, errors, memory, threads, files, half floats. */
#ifndef QD_BASE_H
#define QD_BASE_H

#include <qdisp/base.h>
#include <qdisp/table.h>
#include <stdbool.h>
#include <stdarg.h>

struct qd_kernels;

struct qdisp_ctx {
    qdisp_ctx_options opt;            /* callbacks, all set */
    unsigned n_refs;                  /* atomic */
    unsigned n_threads;
    const struct qd_kernels *kernels; /* set by qdisp_ctx_new through kernels/ */
    const char *isa_name;
    bool error_lock;                  /* atomic flag over error */
    char error[512];
    const char *progress_what;        /* the stage that nested progress is part of; NULL: none */
    double progress_from, progress_to;
};

qdisp_ctx *qd_ctx_ref(qdisp_ctx *ctx);

/* Records the message of a failure and returns its status: return qd_fail(ctx, QDISP_EINVAL, "bits: %d ...", b).
 * The last writer wins; safe from several threads. A first failure inside qd_parallel tasks is kept by the caller. */
qdisp_status qd_fail(qdisp_ctx *ctx, qdisp_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with errno's text: "PATH: reason". EIO; ENOTFOUND for ENOENT. */
qdisp_status qd_fail_errno(qdisp_ctx *ctx, const char *path, int error);
void qd_copy_error(qdisp_ctx *ctx, char text[512]); /* the message now, safely beside other threads' failures */
void qd_log(qdisp_ctx *ctx, qdisp_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Reports progress and asks whether to stop: QDISP_OK or QDISP_ECANCELLED (with a message). Call from one thread. */
qdisp_status qd_progress(qdisp_ctx *ctx, const char *what, double done);
/* From now on, progress of the work inside is shown as `what`, its 0..1 mapped to from..to; what = NULL ends it. */
void qd_progress_stage(qdisp_ctx *ctx, const char *what, double from, double to);
/* The same within what is set now: from..to are a part of its range, and its name goes before `what`. Returns what was
 * set, for qd_progress_leave. */
typedef struct qd_progress_range {
    const char *what;
    double from, to;
} qd_progress_range;
qd_progress_range qd_progress_enter(qdisp_ctx *ctx, const char *what, double from, double to);
void qd_progress_leave(qdisp_ctx *ctx, qd_progress_range range);
bool qd_cancelled(qdisp_ctx *ctx);
#define QD_TRY(call)                          \
    do {                                      \
        qdisp_status qd_try_ = (call);        \
        if (qd_try_ != QDISP_OK) return qd_try_; \
    } while (0)
/* Inside functions with a `done:` label that cleans up and returns `status`. */
#define QD_TRY_GOTO(call)                            \
    do {                                             \
        if ((status = (call)) != QDISP_OK) goto done; \
    } while (0)

/* Memory from the context's allocator; NULL with ENOMEM recorded. Zeroed. n*size overflow is caught. Any thread. */
void *qd_alloc(qdisp_ctx *ctx, size_t n, size_t size);
/* Grows *block ([*cap] items of `size`) to at least `need` items, doubling; keeps the old block on failure. */
qdisp_status qd_grow(qdisp_ctx *ctx, void **block, size_t *cap, size_t need, size_t size);
void qd_free(qdisp_ctx *ctx, void *block);
/* 64-byte aligned, zeroed; free with qd_free_aligned. */
void *qd_alloc_aligned(qdisp_ctx *ctx, size_t n, size_t size);
void qd_free_aligned(qdisp_ctx *ctx, void *block);
char *qd_strdup(qdisp_ctx *ctx, const char *s);
char *qd_strndup(qdisp_ctx *ctx, const char *s, size_t n);
char *qd_format(qdisp_ctx *ctx, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* task(arg, i, i_worker) for i in [0, n) on the context's threads; i_worker < qd_n_workers(ctx). A task that fails
 * stops the rest; the status of the lowest failing index is returned. Cancellation is checked between tasks. */
typedef qdisp_status (*qd_task)(void *arg, size_t i, unsigned i_worker);
qdisp_status qd_parallel(qdisp_ctx *ctx, size_t n, qd_task task, void *arg);
unsigned qd_n_workers(const qdisp_ctx *ctx);

/* A read-only mapping of a whole file, private; empty files give data = "" and size 0. A file that shrinks while
 * mapped would fault: qd_map_file therefore takes the size once and maps only regular files. */
typedef struct qd_mapped_file {
    const uint8_t *data;
    size_t size;
    int fd; /* the file, open while size > 0 */
} qd_mapped_file;
qdisp_status qd_map_file(qdisp_ctx *ctx, const char *path, qd_mapped_file *out);
void qd_unmap_file(qd_mapped_file *file);
/* Bytes [offset, offset + n) of the mapping read into buffer: no page of it is mapped in for that, and a file that has
 * shrunk is an error. path: for the message. Any thread. Errors: EIO. */
qdisp_status qd_read_mapped(qdisp_ctx *ctx, const qd_mapped_file *file, const char *path, size_t offset, size_t n,
                            void *buffer);
/* Whole file as bytes plus a final NUL (not counted); for configs and texts. max_bytes bounds it (EFORMAT above). */
qdisp_status qd_read_file(qdisp_ctx *ctx, const char *path, size_t max_bytes, char **data, size_t *size);
bool qd_is_directory(const char *path);

/* A file that appears whole or not at all: written as PATH.tmp-PID beside its target, synced and renamed by
 * qd_output_commit, removed by qd_output_discard. Errors name the path and reason (also ENOSPC). */
typedef struct qd_output qd_output;
qdisp_status qd_output_open(qdisp_ctx *ctx, const char *path, qd_output **out);
qdisp_status qd_output_write(qd_output *output, const void *bytes, size_t n_bytes);
qdisp_status qd_output_commit(qd_output *output); /* frees output in every case */
void qd_output_discard(qd_output *output);        /* NULL is fine */
/* Bytes at a place that qd_output_write has passed or will not reach; gaps read as zeros. Not for devices. */
qdisp_status qd_output_write_at(qd_output *output, uint64_t offset, const void *bytes, size_t n_bytes);

/* A folder that appears whole or not at all: made as PATH.partial beside its target, renamed by qd_folder_commit,
 * removed with all its files by qd_folder_discard. PATH may be an empty folder. Errors: EINVAL (PATH is in use, as
 * qd_folder_check says, or a PATH.partial is there, of a killed run), EIO, ENOMEM. */
typedef struct qd_folder qd_folder;
qdisp_status qd_folder_check(qdisp_ctx *ctx, const char *path);
qdisp_status qd_folder_open(qdisp_ctx *ctx, const char *path, qd_folder **out);
/* Where a file of the folder is to be written; the text is the folder's. */
qdisp_status qd_folder_file(qd_folder *folder, const char *name, const char **path);
qdisp_status qd_folder_write(qd_folder *folder, const char *name, const void *bytes, size_t n_bytes);
/* The file of that name in another folder, if it is there. */
qdisp_status qd_folder_copy(qd_folder *folder, const char *from, const char *name);
qdisp_status qd_folder_commit(qd_folder *folder); /* frees it in every case */
void qd_folder_discard(qd_folder *folder);        /* NULL is fine */

/* Checks a sized struct from outside: copies the known part to out, refuses a non-zero unknown tail. */
qdisp_status qd_copy_options(qdisp_ctx *ctx, const char *what, const void *given, void *out, size_t known_size);

/* IEEE half and bfloat16, round to nearest even; NaN stays NaN (quiet). */
float qd_f16_to_f32(uint16_t h);
uint16_t qd_f32_to_f16(float f);
float qd_bf16_to_f32(uint16_t h);
uint16_t qd_f32_to_bf16(float f);

size_t qd_dtype_size(qdisp_dtype dtype);         /* bytes an element, 0 = unknown */
const char *qd_dtype_name(qdisp_dtype dtype);    /* "f32" ... "?" */
bool qd_mul_overflows(uint64_t a, uint64_t b, uint64_t *product);

/* Position of the first byte that is not valid UTF-8 (RFC 3629: no surrogates, no overlong forms), or n. */
size_t qd_utf8_check(const char *text, size_t n);

/* Philox 4x32-10 (Salmon et al. 2011): 4 words from a 128-bit counter and a 64-bit key; same on every machine. */
void qd_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Tables, for the layers above: one call per row value, remembering the first failure in *status (skips work when
 * *status is not OK), so that filling a row needs no ladder of checks. */
size_t qd_table_column(qdisp_table *table, qdisp_status *status, const char *name, const char *unit,
                       qdisp_column_type type);
size_t qd_table_row(qdisp_table *table, qdisp_status *status);
void qd_table_f64(qdisp_table *table, qdisp_status *status, size_t row, size_t col, double v);
void qd_table_i64(qdisp_table *table, qdisp_status *status, size_t row, size_t col, int64_t v);
void qd_table_str(qdisp_table *table, qdisp_status *status, size_t row, size_t col, const char *v);
qdisp_ctx *qd_table_ctx(const qdisp_table *table);
qdisp_ctx *qd_report_ctx(const qdisp_report *report);

#endif
