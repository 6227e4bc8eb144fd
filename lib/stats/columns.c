/* columns.c - moments of every column in one pass in the order of memory.
 *
 * Rows go in chunks, which are the tasks, whose borders depend on the shape alone, and columns in strips of 512, whose
 * sums stay in L1 while a chunk streams by. All sums of a column are about one pivot and in groups of 16 rows, so
 * chunks are simply added up in their order.
 *
 * The pivot of a column is the median of nine means of five rows: further than a standard deviation from the mean for
 * one Gaussian column in a million, near it even beside outliers. If a column's is (its elements drift, or the kernel
 * would lose digits), another pass takes the means for pivots. So |pivot - mean| <= std, and as in moments.c: m2
 * within 18 * 9 u = 1e-5, m4 within 22 * 81 u = 1.1e-4, worst case. */
#include "stats/stats.h"

#include <math.h>
#include <string.h>

/* GROUP: rows that the kernel sums together */
enum { STRIP = 512, MAX_CHUNKS = 32, GROUP = 16, N_MEANS = 9, MEAN_ROWS = 5 };

/* Sums of a chunk; a strip's sums are [4][its width] from 4 * its first column on. */
typedef struct chunk {
    double *sums;
    float *range; /* min [n_columns], max [n_columns] */
    uint64_t *n_non_finite;
} chunk;

typedef struct columns_job {
    qdisp_ctx *ctx;
    const qd_array *array;
    const float *pivots;
    size_t rows_per_chunk, n_chunks;
    chunk *chunks;
} columns_job;

static size_t strip_width(size_t n_columns, size_t j) {
    return n_columns - j < STRIP ? n_columns - j : STRIP;
}

/* Elements as floats, into `out` if they are not that already. x is aligned. */
static const float *widen(const qd_kernels *kernels, const void *x, qdisp_dtype dtype, size_t n, float *out) {
    if (dtype != QDISP_DTYPE_I8) return qd_load_f32(kernels, x, dtype, 0, n, out);
    for (size_t i = 0; i < n; i++) out[i] = (float)((const int8_t *)x)[i];
    return out;
}

static void free_chunk(qdisp_ctx *ctx, chunk *c) {
    qd_free(ctx, c->sums);
    qd_free(ctx, c->range);
    qd_free(ctx, c->n_non_finite);
    *c = (chunk){0};
}

static qdisp_status new_chunk(qdisp_ctx *ctx, size_t n_columns, chunk *c) {
    c->sums = qd_alloc(ctx, 4 * n_columns, sizeof *c->sums);
    c->range = qd_alloc(ctx, 2 * n_columns, sizeof *c->range);
    c->n_non_finite = qd_alloc(ctx, n_columns, sizeof *c->n_non_finite);
    if (!c->sums || !c->range || !c->n_non_finite) return QDISP_ENOMEM; /* freed with the others */
    for (size_t j = 0; j < n_columns; j++) c->range[j] = INFINITY, c->range[n_columns + j] = -INFINITY;
    return QDISP_OK;
}

/* n_rows rows at x, strip by strip. */
static void add_rows(const columns_job *job, const chunk *c, const void *x, size_t n_rows) {
    const qd_kernels *kernels = job->ctx->kernels;
    size_t n = job->array->n_columns, size = qd_dtype_size(job->array->dtype);
    for (size_t j = 0; j < n; j += STRIP) {
        size_t width = strip_width(n, j);
        const void *at = (const char *)x + j * size;
        const float *pivots = job->pivots + j;
        qd_column_sums into = {c->sums + 4 * j, c->range + j, c->range + n + j, c->n_non_finite + j};
        switch (job->array->dtype) {
        case QDISP_DTYPE_F16: kernels->column_sums_f16(at, n_rows, width, n, pivots, &into); break;
        case QDISP_DTYPE_BF16: kernels->column_sums_bf16(at, n_rows, width, n, pivots, &into); break;
        case QDISP_DTYPE_I8: kernels->column_sums_i8(at, n_rows, width, n, pivots, &into); break;
        default: kernels->column_sums(at, n_rows, width, n, pivots, &into); break;
        }
    }
}

/* Rows that are read or copied at once: a span's worth, in whole groups of the kernel, hence to the same bits. */
static size_t rows_at_once(const qd_array *a) {
    size_t rows = QD_SPAN / (a->n_columns > 0 ? a->n_columns : 1);
    return rows < GROUP ? GROUP : rows / GROUP * GROUP;
}

static qdisp_status chunk_task(void *arg, size_t i, unsigned i_worker) {
    const columns_job *job = arg;
    const qd_array *a = job->array;
    size_t first = i * job->rows_per_chunk, left = a->n_rows - first, size = qd_dtype_size(a->dtype);
    size_t n_rows = left < job->rows_per_chunk ? left : job->rows_per_chunk;
    size_t step = qd_array_is_ready(a) ? n_rows : rows_at_once(a);
    (void)i_worker;
    QD_TRY(new_chunk(job->ctx, a->n_columns, &job->chunks[i]));
    void *buffer = qd_array_is_ready(a) ? NULL : qd_alloc_aligned(job->ctx, step * a->n_columns, size);
    qdisp_status status = buffer || qd_array_is_ready(a) ? QDISP_OK : QDISP_ENOMEM;
    for (size_t r = 0; r < n_rows && status == QDISP_OK; r += step) {
        const void *x;
        size_t m = n_rows - r < step ? n_rows - r : step;
        status = qd_array_read(job->ctx, a, (first + r) * a->n_columns, m * a->n_columns, buffer, &x);
        if (status == QDISP_OK) add_rows(job, &job->chunks[i], x, m);
    }
    qd_free_aligned(job->ctx, buffer);
    return status;
}

/* Sums of all rows in chunk 0; the others are freed on the way, all on failure. */
static qdisp_status sum_columns(columns_job *job) {
    size_t n_columns = job->array->n_columns;
    qdisp_status status = qd_parallel(job->ctx, job->n_chunks, chunk_task, job);
    for (size_t i = 1; i < job->n_chunks; i++) {
        chunk *all = &job->chunks[0], *c = &job->chunks[i];
        for (size_t k = 0; k < 4 * n_columns && status == QDISP_OK; k++) all->sums[k] += c->sums[k];
        for (size_t j = 0; j < n_columns && status == QDISP_OK; j++) {
            all->range[j] = fminf(all->range[j], c->range[j]);
            all->range[n_columns + j] = fmaxf(all->range[n_columns + j], c->range[n_columns + j]);
            all->n_non_finite[j] += c->n_non_finite[j];
        }
        free_chunk(job->ctx, c);
    }
    if (status != QDISP_OK) free_chunk(job->ctx, &job->chunks[0]);
    return status;
}

static float median(float a, float b, float c) {
    float low = a < b ? a : b, high = a < b ? b : a, rest = high < c ? high : c;
    return low > rest ? low : rest;
}

/* means is [9][n_columns]; pivots go to its first row. A column with NaN among its samples may get 0. */
static qdisp_status choose_pivots(qdisp_ctx *ctx, const qd_array *a, float *means) {
    size_t n = a->n_columns, size = qd_dtype_size(a->dtype), n_rows = a->n_rows / N_MEANS;
    n_rows = n_rows < 1 ? 1 : n_rows > MEAN_ROWS ? MEAN_ROWS : n_rows;
    void *buffer = qd_alloc_aligned(ctx, n, size);
    float *wide = qd_alloc_aligned(ctx, n, sizeof *wide);
    qdisp_status status = buffer && wide ? QDISP_OK : QDISP_ENOMEM;
    for (size_t g = 0; g < N_MEANS && status == QDISP_OK; g++) {
        float *mean = means + g * n;
        size_t first = (2 * g + 1) * a->n_rows / (2 * N_MEANS), last = a->n_rows - n_rows;
        first = first < last ? first : last;
        for (size_t r = 0; r < n_rows && status == QDISP_OK; r++) {
            const void *x;
            status = qd_array_read(ctx, a, (first + r) * n, n, buffer, &x);
            if (status != QDISP_OK) break;
            const float *row = widen(ctx->kernels, x, a->dtype, n, wide);
            for (size_t j = 0; j < n; j++) mean[j] += row[j] / (float)n_rows;
        }
    }
    qd_free_aligned(ctx, buffer);
    qd_free_aligned(ctx, wide);
    for (size_t j = 0; j < n && status == QDISP_OK; j++) {
        const float *m = means + j;
        float pivot = median(median(m[0], m[n], m[2 * n]), median(m[3 * n], m[4 * n], m[5 * n]),
                             median(m[6 * n], m[7 * n], m[8 * n]));
        means[j] = isfinite(pivot) ? pivot : 0.0f;
    }
    return status;
}

static void column_moments(const columns_job *job, size_t j, double s[4], qdisp_moments *out) {
    const chunk *c = &job->chunks[0];
    size_t n_columns = job->array->n_columns, first = j / STRIP * STRIP, width = strip_width(n_columns, first);
    for (size_t p = 0; p < 4; p++) s[p] = c->sums[4 * first + p * width + (j - first)];
    uint64_t n = job->array->n_rows - c->n_non_finite[j];
    *out = qd_moments_none();
    if (n > 0) {
        *out = qd_moments_from_sums(s, n, (double)job->pivots[j], (double)c->range[j] + 0.0,
                                    (double)c->range[n_columns + j] + 0.0);
    }
    out->n_non_finite = c->n_non_finite[j];
}

qdisp_status qd_moments_columns(qdisp_ctx *ctx, const qd_array *a, qdisp_moments *out) {
    size_t n = a->n_columns, rows = a->n_rows / MAX_CHUNKS + 1, least = QD_SPAN / (n > 0 ? n : 1) + 1;
    rows = ((rows > least ? rows : least) + GROUP - 1) / GROUP * GROUP;
    columns_job job = {.ctx = ctx, .array = a, .rows_per_chunk = rows, .n_chunks = a->n_rows / rows};
    chunk chunks[MAX_CHUNKS] = {{0}};
    if (n == 0) return QDISP_OK;
    job.n_chunks += a->n_rows % rows != 0 || a->n_rows == 0;
    float *means = qd_alloc(ctx, N_MEANS * n, sizeof *means);
    qdisp_moments *moments = qd_alloc(ctx, n, sizeof *moments);
    qdisp_status status = means && moments ? QDISP_OK : QDISP_ENOMEM;
    if (status == QDISP_OK && a->n_rows > 0) status = choose_pivots(ctx, a, means);
    job.pivots = means;
    job.chunks = chunks;
    for (int again = 0; again < 3 && status == QDISP_OK; again++) {
        bool far = false;
        if ((status = sum_columns(&job)) != QDISP_OK) break;
        for (size_t j = 0; j < n; j++) {
            double s[4];
            column_moments(&job, j, s, &moments[j]);
            if (!qd_pivot_is_far(s, moments[j].n)) continue;
            means[j] = (float)moments[j].mean;
            far = true;
        }
        free_chunk(ctx, &chunks[0]);
        if (!far) break;
    }
    if (status == QDISP_OK) memcpy(out, moments, n * sizeof *out);
    qd_free(ctx, means);
    qd_free(ctx, moments);
    return status;
}

qdisp_status qdisp_moments_columns(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n_rows,
                                   size_t n_columns, qdisp_moments *out) {
    qd_array array = {.data = data, .dtype = dtype, .n_rows = n_rows, .n_columns = n_columns};
    QD_TRY(qd_array_check(ctx, "moments", &array));
    return qd_moments_columns(ctx, &array, out);
}
