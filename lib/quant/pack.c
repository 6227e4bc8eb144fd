/* pack.c - matrices as packed codes and 16-bit scales: what an engine multiplies with, and back. Rows are independent
 * and go to the threads in blocks. */
#include "quant/quant.h"

#include <math.h>

enum { BLOCK = 4096, TASK = 1 << 16 }; /* weights widened at a time, which stay in L1; weights a task */

typedef struct shape {
    size_t n_rows, n_columns, group_size, n_groups, row_bytes, rows_per_task;
    unsigned bits;
} shape;

size_t qdisp_packed_row_bytes(size_t n_columns, uint64_t bits) {
    if (bits < 2 || bits > 8) return 0;
    return n_columns / 8 * (size_t)bits + (n_columns % 8 * (size_t)bits + 7) / 8;
}

size_t qdisp_packed_n_groups(size_t n_columns, int64_t group_size) {
    if (group_size == QDISP_GROUP_CHANNEL) return n_columns > 0;
    if (group_size < 8) return 0;
    return n_columns / (size_t)group_size + (n_columns % (size_t)group_size > 0);
}

static qdisp_status make_shape(qdisp_ctx *ctx, size_t n_rows, size_t n_columns, uint64_t bits, int64_t group_size,
                               shape *s) {
    uint64_t n;
    if (bits < 2 || bits > 8) return qd_fail(ctx, QDISP_EINVAL, "bits: %llu is not 2..8", (unsigned long long)bits);
    if (group_size != QDISP_GROUP_CHANNEL && group_size < 8)
        return qd_fail(ctx, QDISP_EINVAL, "group_size: %lld is not 8 or more, or -1 (channel)", (long long)group_size);
    if (qd_mul_overflows(n_rows, n_columns, &n) || n > SIZE_MAX / 16)
        return qd_fail(ctx, QDISP_EINVAL, "a matrix of [%zu, %zu] is too large", n_rows, n_columns);
    *s = (shape){.n_rows = n_rows, .n_columns = n_columns, .bits = (unsigned)bits, .group_size = n_columns};
    if (group_size > 0 && (size_t)group_size < n_columns) s->group_size = (size_t)group_size;
    s->n_groups = qdisp_packed_n_groups(n_columns, group_size);
    s->row_bytes = qdisp_packed_row_bytes(n_columns, bits);
    s->rows_per_task = n_columns > 0 && n_columns < TASK ? TASK / n_columns : 1;
    return QDISP_OK;
}

static size_t n_tasks(const shape *s) {
    if (s->n_columns == 0) return 0;
    return s->n_rows / s->rows_per_task + (s->n_rows % s->rows_per_task > 0);
}

static size_t rows_end(const shape *s, size_t i_task) {
    size_t end = (i_task + 1) * s->rows_per_task;
    return end < s->n_rows ? end : s->n_rows;
}

/* ---- to codes ---- */

typedef struct pack_job {
    qdisp_ctx *ctx;
    shape s;
    const void *data;
    qdisp_dtype dtype;
    bool full_range;
    size_t block;   /* weights of a buffer: whole groups */
    float *buffers; /* [workers][block] */
    int8_t *codes;  /* [workers][n_columns], for groups that do not end with a byte; else NULL */
    uint8_t *packed;
    uint16_t *scales;
} pack_job;

/* Why the group of weights w[n] has no scale. */
static qdisp_status fail_group(const pack_job *job, size_t i_row, size_t first, const float *w, size_t n) {
    for (size_t j = 0; j < n; j++)
        if (!isfinite(w[j]))
            return qd_fail(job->ctx, QDISP_ENUMERIC, "row %zu, column %zu: the weight is not finite", i_row, first + j);
    return qd_fail(job->ctx, QDISP_ENUMERIC, "row %zu, columns %zu to %zu: a scale for weights up to %g does not fit a "
                   "16-bit float", i_row, first, first + n - 1, (double)job->ctx->kernels->abs_max(w, n));
}

/* Groups of a length that is no multiple of 8. */
static qdisp_status code_groups(const pack_job *job, const float *w, size_t n, size_t i_row, size_t column,
                                uint16_t *scales, int8_t *codes) {
    const qd_kernels *kernels = job->ctx->kernels;
    for (size_t i = 0; i < n; i += job->s.group_size, scales++) {
        size_t m = n - i < job->s.group_size ? n - i : job->s.group_size;
        float absmax = kernels->abs_max(w + i, m);
        qd_range range = {-absmax, absmax};
        qd_grid grid;
        if (!isfinite(absmax) || !qd_grid_make(range, 1, (int)job->s.bits, (qd_levels)job->full_range, &grid))
            return fail_group(job, i_row, column + i, w + i, m);
        kernels->quantize_codes(w + i, m, &grid, codes + i);
        *scales = qd_f32_to_f16(grid.scale);
    }
    return QDISP_OK;
}

static qdisp_status pack_row(const pack_job *job, size_t i_row, float *buffer, int8_t *codes) {
    const qd_kernels *kernels = job->ctx->kernels;
    const shape *s = &job->s;
    uint8_t *packed = job->packed + i_row * s->row_bytes;
    uint16_t *scales = job->scales + i_row * s->n_groups;
    for (size_t first = 0; first < s->n_columns; first += job->block) {
        size_t n = s->n_columns - first < job->block ? s->n_columns - first : job->block;
        size_t i_group = first / s->group_size, n_groups = (n + s->group_size - 1) / s->group_size;
        const float *w = qd_load_f32(kernels, job->data, job->dtype, i_row * s->n_columns + first, n, buffer);
        if (codes) {
            QD_TRY(code_groups(job, w, n, i_row, first, scales + i_group, codes + first));
            continue;
        }
        size_t done = kernels->quantize_pack(w, n, s->group_size, s->bits, job->full_range, scales + i_group,
                                             packed + first / 8 * s->bits);
        if (done == n_groups) continue;
        size_t at = done * s->group_size;
        return fail_group(job, i_row, first + at, w + at, n - at < s->group_size ? n - at : s->group_size);
    }
    if (codes) kernels->pack_bits(codes, s->n_columns, s->bits, true, packed);
    return QDISP_OK;
}

static qdisp_status pack_task(void *arg, size_t i, unsigned i_worker) {
    const pack_job *job = arg;
    float *buffer = job->buffers + i_worker * job->block;
    int8_t *codes = job->codes ? job->codes + i_worker * job->s.n_columns : NULL;
    for (size_t row = i * job->s.rows_per_task; row < rows_end(&job->s, i); row++)
        QD_TRY(pack_row(job, row, buffer, codes));
    return QDISP_OK;
}

qdisp_status qdisp_quantize_packed(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n_rows, size_t n_columns,
                                   uint64_t bits, int64_t group_size, uint64_t full_range, uint8_t *packed,
                                   uint16_t *scales) {
    pack_job job = {.ctx = ctx, .data = data, .dtype = dtype, .full_range = full_range != 0, .packed = packed,
                    .scales = scales};
    QD_TRY(make_shape(ctx, n_rows, n_columns, bits, group_size, &job.s));
    if (dtype != QDISP_DTYPE_F32 && dtype != QDISP_DTYPE_F16 && dtype != QDISP_DTYPE_BF16)
        return qd_fail(ctx, QDISP_EUNSUPPORTED, "dtype %s (%d) is none of f32, f16, bf16", qd_dtype_name(dtype),
                       (int)dtype);
    size_t tasks = n_tasks(&job.s), workers = qd_n_workers(ctx), group = job.s.group_size;
    if (tasks == 0) return QDISP_OK;
    bool bytes = group % 8 == 0 || group == n_columns;
    job.block = group < BLOCK ? BLOCK / group * group : group;
    job.buffers = qd_alloc_aligned(ctx, workers * job.block, sizeof *job.buffers);
    if (!bytes) job.codes = qd_alloc_aligned(ctx, workers * n_columns, 1);
    qdisp_status status = job.buffers && (bytes || job.codes) ? QDISP_OK : QDISP_ENOMEM;
    if (status == QDISP_OK) status = qd_parallel(ctx, tasks, pack_task, &job);
    qd_free_aligned(ctx, job.buffers);
    qd_free_aligned(ctx, job.codes);
    return status;
}

/* ---- and back ---- */

typedef struct unpack_job {
    const qd_kernels *kernels;
    shape s;
    const uint8_t *packed;
    const uint16_t *scales;
    float *out;
} unpack_job;

static void unpack_row(const unpack_job *job, size_t i_row) {
    const shape *s = &job->s;
    const uint8_t *packed = job->packed + i_row * s->row_bytes;
    const uint16_t *scales = job->scales + i_row * s->n_groups;
    float *out = job->out + i_row * s->n_columns;
    int8_t codes[BLOCK];
    for (size_t first = 0; first < s->n_columns; first += BLOCK) {
        size_t n = s->n_columns - first < BLOCK ? s->n_columns - first : BLOCK;
        job->kernels->unpack_bits(packed + first / 8 * s->bits, n, s->bits, true, codes);
        for (size_t j = first, m; j < first + n; j += m) { /* what of a group lies in the block */
            m = s->group_size - j % s->group_size;
            if (m > first + n - j) m = first + n - j;
            job->kernels->scale_codes(codes + (j - first), m, qd_f16_to_f32(scales[j / s->group_size]), out + j);
        }
    }
}

static qdisp_status unpack_task(void *arg, size_t i, unsigned i_worker) {
    const unpack_job *job = arg;
    (void)i_worker;
    for (size_t row = i * job->s.rows_per_task; row < rows_end(&job->s, i); row++) unpack_row(job, row);
    return QDISP_OK;
}

qdisp_status qdisp_dequantize_packed(qdisp_ctx *ctx, const uint8_t *packed, const uint16_t *scales, size_t n_rows,
                                     size_t n_columns, uint64_t bits, int64_t group_size, float *out) {
    unpack_job job = {.kernels = ctx->kernels, .packed = packed, .scales = scales, .out = out};
    QD_TRY(make_shape(ctx, n_rows, n_columns, bits, group_size, &job.s));
    return qd_parallel(ctx, n_tasks(&job.s), unpack_task, &job);
}
