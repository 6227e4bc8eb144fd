/* bootstrap.c - bootstrap intervals of a ratio of sums and of correlations.
 *
 * Ratio and Pearson need sums over the drawn pairs only, of (a, b) or (x, y, x^2, y^2, xy) with x and y centred: a row
 * of a table a draw, or of a table of all pairs of rows, two draws at once, where that table stays in the L1 cache.
 * Rank correlations come from how often each pair was drawn (paired.c). A value belongs to its resample, whoever
 * computes it, and what is summed over resamples is summed in their order. */
#include "kernels/kernels.h"
#include "stats/paired.h"
#include "stats/resample.h"

#include <math.h>
#include <string.h>

enum { STREAM = 2, RESAMPLES_A_TASK = 4096, BATCH = 128, BATCH_WORDS = 4096, TABLE_BYTES = 24 << 10 };

/* Two doubles, added as two: SSE2 and NEON do that at once, with the same bits as one by one. */
typedef double pair_of __attribute__((vector_size(16)));

typedef struct boot_job {
    qd_draws draws;
    const qd_paired *sample; /* NULL: ratio */
    pair_of *rows, *twos;    /* rows[n][width], twos[n * n][width] or NULL */
    size_t n_resamples, batch;
    uint32_t *buffers;       /* a worker: words of a batch, then counts[n] and scratch[3 n] */
    size_t buffer_size;
    double *values;
} boot_job;

#define RATIO_WIDTH 1
#define PEARSON_WIDTH 4 /* (x, y), (x^2, y^2), (xy, 0), none: places of a power of two */
#define PEARSON_USED 3

/* How draws are taken from words; each its own loop, with the numbers below as constants. */
typedef enum draw_mode { FOUR_BY_TWO, TWO_BY_TWO, TWO, ONE, WIDE } draw_mode;

#define INLINE static inline __attribute__((always_inline))

INLINE void add_row(pair_of *sums, const pair_of *row, size_t used) {
    for (size_t k = 0; k < used; k++) sums[k] += row[k];
}

/* sums[used] of the drawn rows. */
INLINE void sum_rows(const boot_job *job, const uint32_t *words, size_t width, size_t used, draw_mode mode,
                     pair_of *out) {
    const bool by_two = mode == FOUR_BY_TWO || mode == TWO_BY_TWO;
    const size_t per_word = mode == FOUR_BY_TWO ? 4 : mode == TWO_BY_TWO || mode == TWO ? 2 : 1;
    const pair_of *rows = job->rows, *table = by_two ? job->twos : rows;
    uint64_t n = job->draws.n, base = by_two ? n * n : n, w = 0;
    size_t left = job->draws.n_draws;
    pair_of sums[PEARSON_USED] = {{0, 0}};
    for (; mode == WIDE && left > 0; left--, words += 2) add_row(sums, rows + width * qd_draw_wide(words, n), used);
    for (; left >= per_word; left -= per_word, words++) {
        w = *words;
        for (size_t d = 0; d < per_word; d += by_two ? 2 : 1) {
            w *= base;
            add_row(sums, table + width * (w >> 32), used);
            w &= UINT32_MAX;
        }
    }
    if (left) w = *words;
    if (mode == FOUR_BY_TWO && left >= 2) {
        w *= base;
        add_row(sums, table + width * (w >> 32), used);
        w &= UINT32_MAX;
        left -= 2;
    }
    if (left) add_row(sums, rows + width * (w * n >> 32), used);
    for (size_t k = 0; k < used; k++) out[k] = sums[k];
}

INLINE void ratio_batch(const boot_job *job, const uint32_t *words, size_t m, draw_mode mode, double *values) {
    for (size_t r = 0; r < m; r++) {
        pair_of sums;
        sum_rows(job, words + r * job->draws.n_words, RATIO_WIDTH, RATIO_WIDTH, mode, &sums);
        values[r] = sums[0] / sums[1];
    }
}

static double counted_value(const boot_job *job, const uint32_t *words, uint32_t *counts) {
    size_t n = job->draws.n;
    memset(counts, 0, n * sizeof *counts);
    qd_draws_count(&job->draws, words, counts);
    return qd_paired_value(job->sample, counts, n, counts + n);
}

/* Sums of a batch, one array a sum: what follows goes over two resamples and more at once. */
typedef struct pearson_sums {
    double x[BATCH], y[BATCH], xx[BATCH], yy[BATCH], xy[BATCH];
} pearson_sums;

INLINE void fill_sums(const boot_job *job, const uint32_t *words, size_t m, draw_mode mode, pearson_sums *sums) {
    for (size_t r = 0; r < m; r++) {
        pair_of s[PEARSON_USED];
        sum_rows(job, words + r * job->draws.n_words, PEARSON_WIDTH, PEARSON_USED, mode, s);
        sums->x[r] = s[0][0];
        sums->y[r] = s[0][1];
        sums->xx[r] = s[1][0];
        sums->yy[r] = s[1][1];
        sums->xy[r] = s[2][0];
    }
}

static void pearson_batch(const boot_job *job, const uint32_t *words, size_t m, draw_mode mode, double *values,
                          uint32_t *counts) {
    pearson_sums s;
    double inverse_n = 1 / (double)job->draws.n;
    size_t n_sure = 0;
    switch (mode) {
    case FOUR_BY_TWO: fill_sums(job, words, m, FOUR_BY_TWO, &s); break;
    case TWO_BY_TWO: fill_sums(job, words, m, TWO_BY_TWO, &s); break;
    case TWO: fill_sums(job, words, m, TWO, &s); break;
    case ONE: fill_sums(job, words, m, ONE, &s); break;
    case WIDE: fill_sums(job, words, m, WIDE, &s); break;
    }
    for (size_t r = 0; r < m; r++) { /* loops of one kind each, which compilers turn into vectors */
        double xx = s.xx[r] - s.x[r] * s.x[r] * inverse_n, yy = s.yy[r] - s.y[r] * s.y[r] * inverse_n;
        double x_margin = xx - QD_PEARSON_SURE * s.xx[r], y_margin = yy - QD_PEARSON_SURE * s.yy[r];
        s.xy[r] -= s.x[r] * s.y[r] * inverse_n;
        s.xx[r] = xx * yy;
        s.x[r] = x_margin < y_margin ? x_margin : y_margin;
    }
    for (size_t r = 0; r < m; r++) {
        double v = s.xy[r] / sqrt(s.xx[r]);
        v = v > 1 ? 1 : v;
        values[r] = v < -1 ? -1 : v;
    }
    for (size_t r = 0; r < m; r++) n_sure += (s.x[r] > 0) & (s.xx[r] > QD_PEARSON_LEAST);
    for (size_t r = 0; r < m && n_sure < m; r++) {
        if (s.x[r] > 0 && s.xx[r] > QD_PEARSON_LEAST) continue;
        values[r] = counted_value(job, words + r * job->draws.n_words, counts);
    }
}

static void evaluate(const boot_job *job, const uint32_t *words, size_t m, double *values, uint32_t *counts) {
    unsigned per_word = job->draws.per_word;
    draw_mode by_word = per_word == 2 ? (job->twos ? TWO_BY_TWO : TWO) : per_word ? ONE : WIDE;
    draw_mode mode = per_word == 4 ? FOUR_BY_TWO : by_word; /* n <= 16: the table is there */
    if (job->sample && job->sample->kind == QDISP_CORRELATION_PEARSON) {
        pearson_batch(job, words, m, mode, values, counts);
    } else if (job->sample) {
        for (size_t r = 0; r < m; r++) values[r] = counted_value(job, words + r * job->draws.n_words, counts);
    } else {
        switch (mode) {
        case FOUR_BY_TWO: ratio_batch(job, words, m, FOUR_BY_TWO, values); break;
        case TWO_BY_TWO: ratio_batch(job, words, m, TWO_BY_TWO, values); break;
        case TWO: ratio_batch(job, words, m, TWO, values); break;
        case ONE: ratio_batch(job, words, m, ONE, values); break;
        case WIDE: ratio_batch(job, words, m, WIDE, values); break;
        }
    }
}

static qdisp_status boot_task(void *arg, size_t i_task, unsigned i_worker) {
    const boot_job *job = arg;
    uint32_t *words = job->buffers + i_worker * job->buffer_size, *counts = words + job->batch * job->draws.n_words;
    size_t first = i_task * RESAMPLES_A_TASK, end = first + RESAMPLES_A_TASK;
    end = end < job->n_resamples ? end : job->n_resamples;
    for (size_t r = first, m; r < end; r += m) {
        double *values = job->values + r;
        m = end - r < job->batch ? end - r : job->batch;
        qd_draws_words(&job->draws, r, m, words);
        evaluate(job, words, m, values, counts);
    }
    return QDISP_OK;
}

/* Fills values[n_resamples]. rows[n][width] of the sums, or NULL for rank correlations. */
static qdisp_status run(qdisp_ctx *ctx, boot_job *job, size_t width) {
    size_t n = job->draws.n, n_words = job->draws.n_words;
    qdisp_status status = QDISP_ENOMEM;
    job->batch = BATCH_WORDS / n_words < 1 ? 1 : BATCH_WORDS / n_words > BATCH ? BATCH : BATCH_WORDS / n_words;
    job->buffer_size = (job->batch * n_words + 4 * (n + 1) + 15) / 16 * 16;
    if (width && job->draws.per_word > 1 && n * n * width * sizeof *job->twos <= TABLE_BYTES) {
        if (!(job->twos = qd_alloc_aligned(ctx, n * n * width, sizeof *job->twos))) goto done;
        for (size_t i = 0; i < n * n * width; i++) {
            size_t k = i % width, two = i / width;
            job->twos[i] = job->rows[two / n * width + k] + job->rows[two % n * width + k];
        }
    }
    if (!(job->buffers = qd_alloc_aligned(ctx, qd_n_workers(ctx) * job->buffer_size, sizeof *job->buffers))) goto done;
    status = qd_parallel(ctx, (job->n_resamples + RESAMPLES_A_TASK - 1) / RESAMPLES_A_TASK, boot_task, job);
done:
    qd_free_aligned(ctx, job->twos);
    qd_free_aligned(ctx, job->buffers);
    return status;
}

static qdisp_status check_options(qdisp_ctx *ctx, double level, size_t n_resamples) {
    if (!(level > 0 && level < 1)) return qd_fail(ctx, QDISP_EINVAL, "bootstrap: level %g is outside (0, 1)", level);
    if (n_resamples < 100 || n_resamples > 100000000) {
        return qd_fail(ctx, QDISP_EINVAL, "bootstrap: %zu resamples, 100..1e8 needed", n_resamples);
    }
    return QDISP_OK;
}

/* ---- ratio ---- */

static qdisp_status ratio_interval(qdisp_ctx *ctx, boot_job *job, const double *a, const double *b, double level,
                                   double *low, double *high) {
    size_t n = job->draws.n;
    double sum_a = 0, sum_b = 0, *left = qd_alloc(ctx, n, sizeof *left);
    qdisp_status status = QDISP_ENOMEM;
    qd_resampled r;
    job->rows = qd_alloc_aligned(ctx, n, sizeof *job->rows);
    job->values = qd_alloc(ctx, job->n_resamples, sizeof *job->values);
    if (!left || !job->rows || !job->values) goto done;
    for (size_t i = 0; i < n; i++) {
        sum_a += a[i];
        sum_b += b[i];
        job->rows[i] = (pair_of){a[i], b[i]};
    }
    for (size_t i = 0; i < n; i++) left[i] = (sum_a - a[i]) / (sum_b - b[i]);
    QD_TRY_GOTO(run(ctx, job, RATIO_WIDTH));
    QD_TRY_GOTO(qd_interval(ctx, QDISP_INTERVAL_BCA, level, sum_a / sum_b, job->values, job->n_resamples, left, n, &r));
    *low = r.low;
    *high = r.high;
done:
    qd_free(ctx, left);
    qd_free_aligned(ctx, job->rows);
    qd_free(ctx, job->values);
    return status;
}

qdisp_status qdisp_bootstrap_ratio(qdisp_ctx *ctx, const double *a, const double *b, size_t n, double level,
                                   size_t n_resamples, uint64_t seed, double *low, double *high) {
    if (!a || !b || !low || !high || n < 3 || n > QD_PAIRED_MAX) {
        return qd_fail(ctx, QDISP_EINVAL, "bootstrap: %zu pairs, 3..2^20 needed, and no NULL", n);
    }
    QD_TRY(check_options(ctx, level, n_resamples));
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(a[i]) || !isfinite(b[i]) || !(b[i] > 0)) {
            return qd_fail(ctx, QDISP_ENUMERIC, "bootstrap: pair %zu: %g / %g", i, a[i], b[i]);
        }
    }
    boot_job job = {.draws = qd_draws_of(ctx, seed, STREAM, n, n), .n_resamples = n_resamples};
    return ratio_interval(ctx, &job, a, b, level, low, high);
}

/* ---- correlation ---- */

static qdisp_status fill_rows(qdisp_ctx *ctx, boot_job *job) {
    const double *x = job->sample->centred, *y = x + job->draws.n;
    if (job->sample->kind != QDISP_CORRELATION_PEARSON) return QDISP_OK;
    job->rows = qd_alloc_aligned(ctx, job->draws.n * PEARSON_WIDTH, sizeof *job->rows);
    if (!job->rows) return QDISP_ENOMEM;
    for (size_t i = 0; i < job->draws.n; i++) {
        job->rows[PEARSON_WIDTH * i] = (pair_of){x[i], y[i]};
        job->rows[PEARSON_WIDTH * i + 1] = (pair_of){x[i] * x[i], y[i] * y[i]};
        job->rows[PEARSON_WIDTH * i + 2] = (pair_of){x[i] * y[i], 0};
    }
    return QDISP_OK;
}

static qdisp_status correlation_interval(qdisp_ctx *ctx, boot_job *job, qdisp_interval_method method, double level,
                                         qdisp_bootstrap *out) {
    const qd_paired *sample = job->sample;
    qdisp_status status = QDISP_ENOMEM;
    qd_resampled r;
    double *left = qd_alloc(ctx, sample->n, sizeof *left);
    job->values = qd_alloc(ctx, job->n_resamples, sizeof *job->values);
    if (!left || !job->values) goto done;
    QD_TRY_GOTO(fill_rows(ctx, job));
    QD_TRY_GOTO(run(ctx, job, job->rows ? PEARSON_WIDTH : 0));
    if (method == QDISP_INTERVAL_BCA) QD_TRY_GOTO(qd_paired_leave_one_out(ctx, sample, left));
    QD_TRY_GOTO(qd_interval(ctx, method, level, sample->estimate, job->values, job->n_resamples, left, sample->n, &r));
    *out = (qdisp_bootstrap){.estimate = sample->estimate, .low = r.low, .high = r.high,
                             .bias = r.mean - sample->estimate, .standard_error = r.sd,
                             .n_resamples = job->n_resamples, .n_degenerate = r.n_degenerate};
done:
    qd_free(ctx, left);
    qd_free(ctx, job->values);
    qd_free_aligned(ctx, job->rows);
    return status;
}

qdisp_status qdisp_bootstrap_correlation(qdisp_ctx *ctx, qdisp_correlation kind, const double *x, const double *y,
                                         size_t n, qdisp_interval_method method, double level, size_t n_resamples,
                                         uint64_t seed, qdisp_bootstrap *out) {
    qd_paired sample;
    if (!out) return qd_fail(ctx, QDISP_EINVAL, "bootstrap: out is NULL");
    if ((unsigned)method > QDISP_INTERVAL_BCA) return qd_fail(ctx, QDISP_EINVAL, "bootstrap: method %d", (int)method);
    QD_TRY(check_options(ctx, level, n_resamples));
    QD_TRY(qd_paired_new(ctx, "bootstrap", kind, x, y, n, &sample));
    qdisp_status status = QDISP_OK;
    if (sample.defined) {
        boot_job job = {.draws = qd_draws_of(ctx, seed, STREAM, sample.n, sample.n), .sample = &sample,
                        .n_resamples = n_resamples};
        status = correlation_interval(ctx, &job, method, level, out);
    } else {
        *out = (qdisp_bootstrap){NAN, NAN, NAN, NAN, NAN, n_resamples, n_resamples};
    }
    qd_paired_free(ctx, &sample);
    return status;
}
