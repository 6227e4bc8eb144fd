/* permute.c - permutation test and jackknife of a correlation.
 *
 * Only sum(x_i y_p(i)) changes under a permutation p (for Spearman of the ranks), for Kendall only the number of
 * concordant less discordant pairs: that is the score; the correlation is the score over a constant. Fisher and Yates's
 * shuffle takes its digits, of bases n, n - 1, ... 2, from Philox words: as many a word as keep the product of their
 * bases within 2^16, so no combination is off its probability by more than 2^-16 of it (two words a digit beyond
 * 2^16); over all orders it takes them from the order's number instead. */
#include "kernels/kernels.h"
#include "stats/paired.h"
#include "stats/resample.h"

#include <math.h>
#include <string.h>

enum { STREAM = 3, A_TASK = 2048, BATCH = 64, BATCH_WORDS = 4096, ABREAST = 4, LANES = 16, ALWAYS_EXACT = 9 };

/* What a worker works in. */
typedef struct permute_room {
    uint32_t *words, *digits; /* of a batch */
    double *y;                /* [ABREAST][n] */
    uint32_t *places;         /* Kendall: places[n], then [n][LANES] of 16 bits or the other 5 n */
} permute_room;

typedef struct permute_job {
    qd_draws draws;             /* of one shuffle; n_words a multiple of 4 */
    uint8_t *digits;            /* a word: how many digits it gives; 0: the first of two for one digit */
    size_t n_digit_words;
    const qd_paired *sample;
    double *x, *y;              /* Pearson, Spearman: centred values or ranks, x[n], y[ABREAST][n] times the same */
    double scale;               /* correlation = score / scale */
    double observed;            /* score */
    qdisp_alternative alternative;
    bool exact;
    uint64_t n_permutations;
    size_t batch;
    permute_room *rooms;        /* a worker */
    struct task_sums {
        uint64_t n_extreme;
        double sum, squares;    /* of scores over scale */
    } *sums;
} permute_job;

/* ---- shuffles ---- */

/* Words of one shuffle. */
static size_t plan_digits(size_t n, uint8_t *digits) {
    size_t n_words = 0;
    for (size_t base = n; base > 1;) {
        if (base > 65536) {
            digits[n_words++] = 0;
            digits[n_words++] = 1;
            base--;
            continue;
        }
        size_t product = 1, n_digits = 0;
        for (; base > 1 && product * base <= 65536; base--, n_digits++) product *= base;
        digits[n_words++] = (uint8_t)n_digits;
    }
    return n_words;
}

/* digits[n - 1][BATCH] of shuffles first .. first + m - 1: place n - 1 - s gets what is at place digits[s] by then. */
static void fill_digits(const permute_job *job, uint64_t first, size_t m, const uint32_t *words, uint32_t *digits) {
    size_t base = job->sample->n, n_words = job->draws.n_words;
    uint32_t w[BATCH];
    if (job->exact) {
        for (size_t r = 0; r < m; r++) {
            uint64_t order = first + r;
            for (size_t b = base, s = 0; b > 1; order /= b, b--, s++) digits[s * BATCH + r] = (uint32_t)(order % b);
        }
        return;
    }
    for (size_t k = 0; k < job->n_digit_words; k++) {
        if (job->digits[k] == 0) {
            for (size_t r = 0; r < m; r++) digits[r] = (uint32_t)qd_draw_wide(words + r * n_words + k, base);
            k++;
            base--;
            digits += BATCH;
            continue;
        }
        for (size_t r = 0; r < m; r++) w[r] = words[r * n_words + k];
        for (unsigned d = job->digits[k]; d > 0; d--, base--, digits += BATCH) {
            for (size_t r = 0; r < m; r++) {
                uint64_t product = (uint64_t)w[r] * (uint32_t)base;
                digits[r] = (uint32_t)(product >> 32);
                w[r] = (uint32_t)product;
            }
        }
    }
}

/* ---- scores ---- */

/* The sums of x_i times the shuffled y_i, as places are filled from the last; four shuffles abreast, as a step waits
 * for the one before. y: room for 4 n. */
static void sum_scores(const permute_job *job, size_t m, const uint32_t *digits, double *y, double *scores) {
    size_t n = job->sample->n;
    const double *x = job->x;
    for (size_t r = 0; r < m; r += ABREAST) { /* beyond m: digits of 0, scores that nobody reads */
        const uint32_t *d = digits + r;
        double sum[ABREAST] = {0};
        memcpy(y, job->y, ABREAST * n * sizeof *y);
        for (size_t i = n - 1; i > 0; i--, d += BATCH) {
            for (size_t l = 0; l < ABREAST; l++) {
                double *own = y + l * n;
                sum[l] += x[i] * own[d[l]];
                own[d[l]] = own[i];
            }
        }
        for (size_t l = 0; l < ABREAST; l++) scores[r + l] = sum[l] + x[0] * y[l * n];
    }
}

/* places[i]: what place i gets. */
static void shuffle(const uint32_t *digits, size_t n, uint32_t *places) {
    for (size_t i = 0; i < n; i++) places[i] = (uint32_t)i;
    for (size_t i = n - 1; i > 0; i--, digits += BATCH) {
        uint32_t taken = places[*digits];
        places[*digits] = places[i];
        places[i] = taken;
    }
}

/* Concordant less discordant pairs of up to 16 orders at once; at most 256 * 255 / 2, which fits. */
static void kendall_lanes(const permute_job *job, size_t m, const uint32_t *digits, uint32_t *places, int16_t *y,
                          double *scores) {
    const qd_paired *s = job->sample;
    int16_t score[LANES] = {0};
    for (size_t l = 0; l < m; l++) {
        shuffle(digits + l, s->n, places);
        for (size_t i = 0; i < s->n; i++) y[i * LANES + l] = (int16_t)s->y_group[places[i]];
    }
    for (size_t i = 0, end = 0; i < s->n; i++) {
        const int16_t *a = y + i * LANES;
        while (end < s->n && s->x_group[end] == s->x_group[i]) end++;
        for (size_t j = end; j < s->n; j++) {
            const int16_t *b = y + j * LANES;
            for (size_t l = 0; l < LANES; l++) score[l] = (int16_t)(score[l] + (b[l] > a[l]) - (b[l] < a[l]));
        }
    }
    for (size_t l = 0; l < m; l++) scores[l] = score[l];
}

static void kendall_scores(const permute_job *job, size_t m, const uint32_t *digits, uint32_t *places, double *scores) {
    size_t n = job->sample->n;
    uint32_t *rest = places + n;
    for (size_t r = 0; r < m && n <= QD_SIGNS_MAX; r += LANES) {
        size_t step = m - r < LANES ? m - r : LANES;
        kendall_lanes(job, step, digits + r, places, (int16_t *)(void *)rest, scores + r);
    }
    if (n <= QD_SIGNS_MAX) return;
    qd_paired moved = *job->sample;
    uint32_t *counts = rest + n, *scratch = counts + n;
    for (size_t i = 0; i < n; i++) counts[i] = 1;
    for (size_t r = 0; r < m; r++) {
        shuffle(digits + r, n, places);
        for (size_t i = 0; i < n; i++) rest[i] = job->sample->y_group[places[i]];
        moved.y_group = rest;
        scores[r] = qd_paired_value(&moved, counts, n, scratch) * job->scale;
    }
}

/* Adds m scores in four lanes of a fixed order. sign 0: their magnitudes count. */
static void tally(const double *scores, size_t m, double scale, double sign, double least, struct task_sums *sums) {
    double sum[4] = {0}, squares[4] = {0}, inverse = 1 / scale;
    uint64_t n_extreme[4] = {0};
    size_t r = 0;
    for (; r + 4 <= m; r += 4) {
        for (size_t l = 0; l < 4; l++) {
            double s = scores[r + l], v = s * inverse;
            n_extreme[l] += (sign == 0 ? fabs(s) : s * sign) >= least;
            sum[l] += v;
            squares[l] += v * v;
        }
    }
    for (; r < m; r++) {
        double s = scores[r], v = s * inverse;
        n_extreme[0] += (sign == 0 ? fabs(s) : s * sign) >= least;
        sum[0] += v;
        squares[0] += v * v;
    }
    sums->n_extreme += n_extreme[0] + n_extreme[1] + n_extreme[2] + n_extreme[3];
    sums->sum += (sum[0] + sum[2]) + (sum[1] + sum[3]);
    sums->squares += (squares[0] + squares[2]) + (squares[1] + squares[3]);
}

static qdisp_status permute_task(void *arg, size_t i_task, unsigned i_worker) {
    const permute_job *job = arg;
    const permute_room *room = &job->rooms[i_worker];
    double scores[BATCH];
    struct task_sums sums = {0};
    uint64_t first = (uint64_t)i_task * A_TASK, end = first + A_TASK;
    double sign = job->alternative == QDISP_TWO_SIDED ? 0 : job->alternative == QDISP_LESS ? -1 : 1;
    /* ties by rounding are ties */
    double least = (sign == 0 ? fabs(job->observed) : job->observed * sign) - 1e-12 * job->scale;
    end = end < job->n_permutations ? end : job->n_permutations;
    for (size_t m; first < end; first += m) {
        m = end - first < job->batch ? (size_t)(end - first) : job->batch;
        if (!job->exact) qd_draws_words(&job->draws, first, m, room->words);
        fill_digits(job, first, m, room->words, room->digits);
        if (job->x) sum_scores(job, m, room->digits, room->y, scores);
        else kendall_scores(job, m, room->digits, room->places, scores);
        tally(scores, m, job->scale, sign, least, &sums);
    }
    job->sums[i_task] = sums;
    return QDISP_OK;
}

/* ---- the test ---- */

/* Centred values; or ranks, as whole numbers. */
static void fill_scores(permute_job *job) {
    const qd_paired *s = job->sample;
    double xx = 0, yy = 0;
    if (s->kind == QDISP_CORRELATION_PEARSON) {
        memcpy(job->x, s->centred, s->n * sizeof *job->x);
        memcpy(job->y, s->centred + s->n, s->n * sizeof *job->y);
    } else {
        for (int k = 0; k < 2; k++) {
            const uint32_t *group = k ? s->y_group : s->x_group;
            double *out = k ? job->y : job->x;
            size_t n_groups = k ? s->n_y_groups : s->n_x_groups;
            uint32_t *members = job->rooms[0].places;
            memset(members, 0, n_groups * sizeof *members);
            for (size_t i = 0; i < s->n; i++) members[group[i]]++;
            int64_t before = -(int64_t)s->n;
            for (size_t g = 0; g < n_groups; g++) {
                int64_t t = members[g];
                members[g] = (uint32_t)(before + t);
                before += 2 * t;
            }
            for (size_t i = 0; i < s->n; i++) out[i] = (double)(int32_t)members[group[i]];
        }
    }
    for (size_t i = 0; i < s->n; i++) xx += job->x[i] * job->x[i], yy += job->y[i] * job->y[i];
    job->scale = sqrt(xx) * sqrt(yy);
    job->observed = s->estimate * job->scale;
}

/* Pairs of an array that are not tied. */
static double untied(const uint32_t *group, size_t n, uint32_t *members, size_t n_groups) {
    double pairs = (double)n * (double)n;
    memset(members, 0, n_groups * sizeof *members);
    for (size_t i = 0; i < n; i++) members[group[i]]++;
    for (size_t g = 0; g < n_groups; g++) pairs -= (double)members[g] * members[g];
    return 0.5 * pairs;
}

static void scale_kendall(permute_job *job) {
    const qd_paired *s = job->sample;
    uint32_t *members = job->rooms[0].places;
    double xx = untied(s->x_group, s->n, members, s->n_x_groups), yy = untied(s->y_group, s->n, members, s->n_y_groups);
    job->scale = sqrt(xx * yy);
    job->observed = s->estimate * job->scale;
}

/* n! if at most `limit`, else 0. */
static uint64_t factorial_up_to(size_t n, uint64_t limit) {
    uint64_t product = 1;
    for (size_t k = 2; k <= n; k++) {
        if (product > limit / k) return 0;
        product *= k;
    }
    return product;
}

static qdisp_status make_rooms(qdisp_ctx *ctx, permute_job *job) {
    size_t n = job->sample->n;
    if (!(job->rooms = qd_alloc(ctx, qd_n_workers(ctx), sizeof *job->rooms))) return QDISP_ENOMEM;
    for (unsigned w = 0; w < qd_n_workers(ctx); w++) {
        permute_room *room = &job->rooms[w];
        room->words = qd_alloc_aligned(ctx, job->batch * job->draws.n_words, sizeof *room->words);
        room->digits = qd_alloc_aligned(ctx, n * BATCH, sizeof *room->digits);
        room->y = qd_alloc_aligned(ctx, n * ABREAST, sizeof *room->y);
        room->places = qd_alloc_aligned(ctx, n + n * LANES / 2, sizeof *room->places);
        if (!room->words || !room->digits || !room->y || !room->places) return QDISP_ENOMEM;
    }
    return QDISP_OK;
}

static void free_job(qdisp_ctx *ctx, permute_job *job) {
    for (unsigned w = 0; job->rooms && w < qd_n_workers(ctx); w++) {
        qd_free_aligned(ctx, job->rooms[w].words);
        qd_free_aligned(ctx, job->rooms[w].digits);
        qd_free_aligned(ctx, job->rooms[w].y);
        qd_free_aligned(ctx, job->rooms[w].places);
    }
    qd_free(ctx, job->rooms);
    qd_free(ctx, job->digits);
    qd_free(ctx, job->sums);
    qd_free(ctx, job->x);
}

static qdisp_status run(qdisp_ctx *ctx, permute_job *job) {
    size_t n = job->sample->n, n_tasks = (size_t)((job->n_permutations + A_TASK - 1) / A_TASK);
    if (!(job->digits = qd_alloc(ctx, 2 * n, 1))) return QDISP_ENOMEM;
    job->n_digit_words = plan_digits(n, job->digits);
    job->draws.n_words = (job->n_digit_words + 3) / 4 * 4;
    job->batch = BATCH_WORDS / job->draws.n_words < 1 ? 1 : BATCH_WORDS / job->draws.n_words;
    job->batch = job->batch < BATCH ? job->batch : BATCH;
    QD_TRY(make_rooms(ctx, job));
    if (!(job->sums = qd_alloc(ctx, n_tasks, sizeof *job->sums))) return QDISP_ENOMEM;
    if (job->sample->kind == QDISP_CORRELATION_KENDALL) {
        scale_kendall(job);
    } else {
        if (!(job->x = qd_alloc(ctx, (1 + ABREAST) * n, sizeof *job->x))) return QDISP_ENOMEM;
        job->y = job->x + n;
        fill_scores(job);
        for (size_t i = n; i < ABREAST * n; i++) job->y[i] = job->y[i - n];
    }
    return qd_parallel(ctx, n_tasks, permute_task, job);
}

static qdisp_permutation finish(const permute_job *job) {
    double n = (double)job->n_permutations, sum = 0, squares = 0;
    qdisp_permutation out = {.estimate = job->sample->estimate, .n_permutations = job->n_permutations,
                             .exact = job->exact};
    for (uint64_t t = 0; t * A_TASK < job->n_permutations; t++) {
        out.n_extreme += job->sums[t].n_extreme;
        sum += job->sums[t].sum;
        squares += job->sums[t].squares;
    }
    out.p = job->exact ? (double)out.n_extreme / n : ((double)out.n_extreme + 1) / (n + 1);
    out.null_sd = sqrt(fmax(0, squares / n - sum / n * (sum / n)));
    return out;
}

qdisp_status qdisp_permutation_correlation(qdisp_ctx *ctx, qdisp_correlation kind, const double *x, const double *y,
                                           size_t n, qdisp_alternative alternative, size_t n_permutations,
                                           uint64_t seed, qdisp_permutation *out) {
    qd_paired sample;
    if (!out) return qd_fail(ctx, QDISP_EINVAL, "permutation test: out is NULL");
    if ((unsigned)alternative > QDISP_GREATER) {
        return qd_fail(ctx, QDISP_EINVAL, "permutation test: alternative %d", (int)alternative);
    }
    if (n_permutations < 100 || n_permutations > 100000000) {
        return qd_fail(ctx, QDISP_EINVAL, "permutation test: %zu permutations, 100..1e8 needed", n_permutations);
    }
    QD_TRY(qd_paired_new(ctx, "permutation test", kind, x, y, n, &sample));
    if (!sample.defined) {
        *out = (qdisp_permutation){.estimate = NAN, .p = NAN, .null_sd = NAN};
        qd_paired_free(ctx, &sample);
        return QDISP_OK;
    }
    permute_job job = {.draws = qd_draws_of(ctx, seed, STREAM, sample.n, sample.n), .sample = &sample,
                       .alternative = alternative, .n_permutations = n_permutations};
    uint64_t n_orders = factorial_up_to(sample.n, sample.n <= ALWAYS_EXACT ? UINT64_MAX : n_permutations);
    job.exact = n_orders > 0;
    if (job.exact) job.n_permutations = n_orders;
    qdisp_status status = run(ctx, &job);
    if (status == QDISP_OK) *out = finish(&job);
    free_job(ctx, &job);
    qd_paired_free(ctx, &sample);
    return status;
}

/* ---- jackknife ---- */

static qdisp_jackknife jackknife_of(const double *values, size_t n, double estimate) {
    qdisp_jackknife out = {estimate, NAN, NAN, NAN, NAN, 0};
    double mean = 0, squares = 0, low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        out.n_degenerate += isnan(values[i]);
        mean += (values[i] - estimate) / (double)n;
        low = fmin(low, values[i]);
        high = fmax(high, values[i]);
    }
    if (out.n_degenerate) return out;
    for (size_t i = 0; i < n; i++) squares += (values[i] - estimate - mean) * (values[i] - estimate - mean);
    out.bias = (double)(n - 1) * mean;
    out.standard_error = sqrt((double)(n - 1) / (double)n * squares);
    out.low = low;
    out.high = high;
    return out;
}

qdisp_status qdisp_jackknife_correlation(qdisp_ctx *ctx, qdisp_correlation kind, const double *x, const double *y,
                                         size_t n, qdisp_jackknife *out) {
    qd_paired sample;
    if (!out) return qd_fail(ctx, QDISP_EINVAL, "jackknife: out is NULL");
    QD_TRY(qd_paired_new(ctx, "jackknife", kind, x, y, n, &sample));
    qdisp_status status = QDISP_OK;
    double *values = qd_alloc(ctx, sample.n + 1, sizeof *values);
    if (!values) status = QDISP_ENOMEM;
    else if (sample.defined) status = qd_paired_leave_one_out(ctx, &sample, values);
    if (status == QDISP_OK && sample.defined) *out = jackknife_of(values, sample.n, sample.estimate);
    else if (status == QDISP_OK) *out = (qdisp_jackknife){NAN, NAN, NAN, NAN, NAN, sample.n};
    qd_free(ctx, values);
    qd_paired_free(ctx, &sample);
    return status;
}
