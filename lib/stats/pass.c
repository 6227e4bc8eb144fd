/* pass.c - one pass over an array in memory or in a file: rows' moments and tallies of patterns.
 *
 * A task is a span: whole rows that have at most QD_SPAN elements together, or a piece of a longer row. Its borders
 * depend on the shape alone, pieces of a row are merged in order, and counts are integers: results are the same for any
 * number of threads. A span is read from its file by pread into a block that stays in L2 while the kernels go over it:
 * measured on a warm file with two threads (EPYC, Linux), pread of 128-256 KiB 11.5 GB/s, of 1 MiB 10.0, a mapping
 * given back with MADV_DONTNEED 5.1, with MADV_POPULATE_READ first 5.0, and no page of the file counts as ours. */
#include "stats/stats.h"

#include <string.h>

enum { BATCH = 1 << 15, COUNTERS = 2 * QD_PATTERNS }; /* spans before counters of 32 bits are emptied: 2^31 elements */

/* What a thread has for itself, made when it first needs it. */
typedef struct scratch {
    void *buffer;      /* a span */
    uint32_t **counts; /* [n_sets] blocks of COUNTERS */
    uint32_t *low;     /* [n_sets] lower halves seen */
} scratch;

struct qd_pass {
    qdisp_ctx *ctx;
    size_t n_workers, n_sets;
    scratch *workers;  /* [n_workers] */
    qd_tally *tallies; /* [n_sets] */
};

void qd_pass_free(qd_pass *pass) {
    if (!pass) return;
    qdisp_ctx *ctx = pass->ctx;
    for (size_t i = 0; pass->workers && i < pass->n_workers; i++) {
        scratch *own = &pass->workers[i];
        for (size_t s = 0; own->counts && s < pass->n_sets; s++) qd_free_aligned(ctx, own->counts[s]);
        qd_free(ctx, own->counts);
        qd_free(ctx, own->low);
        qd_free_aligned(ctx, own->buffer);
    }
    qd_free(ctx, pass->workers);
    qd_free(ctx, pass->tallies);
    qd_free(ctx, pass);
}

qdisp_status qd_pass_new(qdisp_ctx *ctx, size_t n_sets, qd_pass **out) {
    qd_pass *pass = qd_alloc(ctx, 1, sizeof *pass);
    if (!pass) return QDISP_ENOMEM;
    *pass = (qd_pass){.ctx = ctx, .n_workers = qd_n_workers(ctx), .n_sets = n_sets};
    pass->workers = qd_alloc(ctx, pass->n_workers, sizeof *pass->workers);
    if (n_sets > 0) pass->tallies = qd_alloc(ctx, n_sets, sizeof *pass->tallies);
    if (!pass->workers || (n_sets > 0 && !pass->tallies)) {
        qd_pass_free(pass);
        return QDISP_ENOMEM;
    }
    *out = pass;
    return QDISP_OK;
}

const qd_tally *qd_pass_tally(const qd_pass *pass, size_t i_set) {
    return &pass->tallies[i_set];
}

void qd_tally_add(qd_tally *into, const qd_tally *from) {
    for (size_t p = 0; p < QD_PATTERNS; p++) into->counts[p] += from->counts[p];
    into->exact = into->exact && from->exact;
}

qd_array qd_array_of(const qdisp_tensor *tensor, size_t n_rows, const qd_tensor_file *file) {
    size_t n_columns = n_rows ? (size_t)qd_tensor_n_elements(tensor) / n_rows : 0;
    qd_array array = {tensor->data, (qdisp_dtype)tensor->dtype, n_rows, n_columns, file, NULL};
    if (tensor->dtype == QDISP_DTYPE_PACKED) {
        array.packed = tensor->data;
        array.dtype = QDISP_DTYPE_F32;
    }
    return array;
}

qdisp_status qd_array_check(qdisp_ctx *ctx, const char *what, const qd_array *a) {
    uint64_t n;
    if (qd_mul_overflows(a->n_rows, a->n_columns, &n) || n > SIZE_MAX / sizeof(float)) {
        return qd_fail(ctx, QDISP_EINVAL, "%s: %zu rows of %zu are too many", what, a->n_rows, a->n_columns);
    }
    if (n > 0 && !a->data) return qd_fail(ctx, QDISP_EINVAL, "%s: data is NULL, n is %zu", what, (size_t)n);
    if (a->dtype != QDISP_DTYPE_F32 && a->dtype != QDISP_DTYPE_F16 && a->dtype != QDISP_DTYPE_BF16 &&
        a->dtype != QDISP_DTYPE_I8) {
        return qd_fail(ctx, QDISP_EUNSUPPORTED, "%s: dtype %s (%d) is none of f32, f16, bf16, i8", what,
                       qd_dtype_name(a->dtype), (int)a->dtype);
    }
    return QDISP_OK;
}

bool qd_array_is_ready(const qd_array *a) {
    return !a->packed && !qd_tensor_file_maps(a->file, a->data) && (uintptr_t)a->data % qd_dtype_size(a->dtype) == 0;
}

qdisp_status qd_array_read(qdisp_ctx *ctx, const qd_array *a, size_t first, size_t n, void *buffer, const void **out) {
    size_t size = qd_dtype_size(a->dtype);
    if (a->packed) {
        a->packed->read(a->packed, ctx->kernels, first, n, buffer);
        *out = buffer;
        return QDISP_OK;
    }
    const char *at = (const char *)a->data + first * size;
    *out = at;
    if (n == 0 || qd_array_is_ready(a)) return QDISP_OK;
    *out = buffer;
    if (qd_tensor_file_maps(a->file, a->data)) return qd_tensor_file_read(a->file, at, n * size, buffer);
    memcpy(buffer, at, n * size);
    return QDISP_OK;
}

/* ---- counting ---- */

static qdisp_status own_counts(const qd_pass *pass, scratch *own, size_t i_set) {
    if (!own->counts) own->counts = qd_alloc(pass->ctx, pass->n_sets, sizeof *own->counts);
    if (!own->low) own->low = qd_alloc(pass->ctx, pass->n_sets, sizeof *own->low);
    if (!own->counts || !own->low) return QDISP_ENOMEM;
    if (!own->counts[i_set]) own->counts[i_set] = qd_alloc_aligned(pass->ctx, COUNTERS, sizeof **own->counts);
    return own->counts[i_set] ? QDISP_OK : QDISP_ENOMEM;
}

/* Bytes are bf16 without loss. */
static void count_bytes(const qd_kernels *kernels, const int8_t *x, size_t n, uint32_t *counts) {
    uint16_t wide[1024];
    for (size_t i = 0; i < n; i += 1024) {
        size_t m = n - i < 1024 ? n - i : 1024;
        for (size_t k = 0; k < m; k++) wide[k] = qd_f32_to_bf16((float)x[i + k]);
        kernels->count_16(wide, m, counts);
    }
}

static qdisp_status count(const qd_pass *pass, scratch *own, size_t i_set, const void *x, qdisp_dtype dtype, size_t n) {
    const qd_kernels *kernels = pass->ctx->kernels;
    QD_TRY(own_counts(pass, own, i_set));
    uint32_t *counts = own->counts[i_set];
    if (dtype == QDISP_DTYPE_F32) {
        own->low[i_set] |= kernels->count_f32(x, n, counts);
    } else if (dtype == QDISP_DTYPE_I8) {
        count_bytes(kernels, x, n, counts);
    } else {
        kernels->count_16(x, n, counts);
    }
    return QDISP_OK;
}

/* Adds the counters of all threads to the tallies and empties them; lines of zeros, nearly all, are passed over. */
static void drain(qd_pass *pass) {
    for (size_t i = 0; i < pass->n_workers; i++) {
        scratch *own = &pass->workers[i];
        for (size_t s = 0; own->counts && s < pass->n_sets; s++) {
            uint32_t *counts = own->counts[s];
            qd_tally *tally = &pass->tallies[s];
            tally->exact = tally->exact && !(own->low && own->low[s]);
            for (size_t at = 0; counts && at < COUNTERS; at += 16) {
                uint32_t any = 0;
                for (size_t k = 0; k < 16; k++) any |= counts[at + k];
                if (!any) continue;
                for (size_t k = 0; k < 16; k++) tally->counts[(at + k) / 2] += counts[at + k];
                memset(counts + at, 0, 16 * sizeof *counts);
            }
            if (own->low) own->low[s] = 0;
        }
    }
}

/* ---- spans ---- */

typedef struct pass_job {
    qd_pass *pass;
    const qd_array *array;
    const uint8_t *sets;
    size_t rows_per_span;  /* whole rows of a span, */
    size_t spans_per_row;  /* or spans of a row: one of the two is 1 */
    size_t first_span;     /* of this batch */
    qdisp_moments *pieces; /* [n_rows * spans_per_row] */
} pass_job;

/* Whole rows [first, end) at x: runs of rows of one set are counted together. */
static qdisp_status take_rows(const pass_job *job, scratch *own, size_t first, size_t end, const char *x) {
    const qd_array *a = job->array;
    size_t row_bytes = a->n_columns * qd_dtype_size(a->dtype), r = first;
    while (r < end) {
        size_t run = r + 1, set = job->sets ? job->sets[r] : 0;
        while (run < end && (!job->sets || job->sets[run] == set)) run++;
        const char *at = x + (r - first) * row_bytes;
        if (job->pass->n_sets > 0) QD_TRY(count(job->pass, own, set, at, a->dtype, (run - r) * a->n_columns));
        for (; r < run; r++, at += row_bytes)
            job->pieces[r] = qd_moments_of_span(job->pass->ctx->kernels, at, a->dtype, a->n_columns);
    }
    return QDISP_OK;
}

static qdisp_status pass_task(void *arg, size_t i, unsigned i_worker) {
    const pass_job *job = arg;
    const qd_array *a = job->array;
    qdisp_ctx *ctx = job->pass->ctx;
    scratch *own = &job->pass->workers[i_worker];
    const void *x;
    i += job->first_span;
    if (!qd_array_is_ready(a) && !own->buffer && !(own->buffer = qd_alloc_aligned(ctx, QD_SPAN, sizeof(float))))
        return QDISP_ENOMEM;
    if (job->spans_per_row == 1) {
        size_t first = i * job->rows_per_span, left = a->n_rows - first;
        size_t n = left < job->rows_per_span ? left : job->rows_per_span;
        QD_TRY(qd_array_read(ctx, a, first * a->n_columns, n * a->n_columns, own->buffer, &x));
        return take_rows(job, own, first, first + n, x);
    }
    size_t row = i / job->spans_per_row, from = i % job->spans_per_row * QD_SPAN;
    size_t n = a->n_columns - from < QD_SPAN ? a->n_columns - from : QD_SPAN;
    QD_TRY(qd_array_read(ctx, a, row * a->n_columns + from, n, own->buffer, &x));
    if (job->pass->n_sets > 0) QD_TRY(count(job->pass, own, job->sets ? job->sets[row] : 0, x, a->dtype, n));
    job->pieces[i] = qd_moments_of_span(ctx->kernels, x, a->dtype, n);
    return QDISP_OK;
}

static qdisp_status run_batches(pass_job *job, size_t n_spans) {
    qd_pass *pass = job->pass;
    for (size_t s = 0; s < pass->n_sets; s++) {
        memset(pass->tallies[s].counts, 0, sizeof pass->tallies[s].counts);
        pass->tallies[s].is_f16 = job->array->dtype == QDISP_DTYPE_F16;
        pass->tallies[s].exact = true;
    }
    qdisp_status status = QDISP_OK;
    for (job->first_span = 0; job->first_span < n_spans && status == QDISP_OK; job->first_span += BATCH) {
        size_t left = n_spans - job->first_span;
        status = qd_parallel(pass->ctx, left < BATCH ? left : BATCH, pass_task, job);
        drain(pass);
    }
    return status;
}

qdisp_status qd_pass_run(qd_pass *pass, const qd_array *array, const uint8_t *sets, qdisp_moments *rows) {
    qdisp_ctx *ctx = pass->ctx;
    size_t n_columns = array->n_columns;
    QD_TRY(qd_array_check(ctx, "pass", array));
    pass_job job = {.pass = pass, .array = array, .sets = sets, .rows_per_span = 1, .spans_per_row = 1};
    if (n_columns <= QD_SPAN) {
        job.rows_per_span = n_columns > 0 ? QD_SPAN / n_columns : QD_SPAN;
        job.pieces = rows;
        return run_batches(&job, array->n_rows / job.rows_per_span + (array->n_rows % job.rows_per_span != 0));
    }
    job.spans_per_row = n_columns / QD_SPAN + (n_columns % QD_SPAN != 0);
    size_t n_pieces = array->n_rows * job.spans_per_row;
    job.pieces = qd_alloc(ctx, n_pieces, sizeof *job.pieces);
    qdisp_status status = job.pieces ? run_batches(&job, n_pieces) : QDISP_ENOMEM;
    for (size_t r = 0; r < array->n_rows && status == QDISP_OK; r++) {
        rows[r] = job.pieces[r * job.spans_per_row];
        for (size_t s = 1; s < job.spans_per_row; s++)
            qdisp_moments_merge(&rows[r], &job.pieces[r * job.spans_per_row + s]);
    }
    qd_free(ctx, job.pieces);
    return status;
}
