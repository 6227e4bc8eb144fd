/* paired.c - one correlation many times. */
#include "stats/paired.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct place {
    double x, y;
    uint32_t i;
} place;

static int by_x(const void *a, const void *b) {
    const place *p = a, *q = b;
    return p->x != q->x ? (p->x > q->x) - (p->x < q->x) : (p->i > q->i) - (p->i < q->i);
}

static int by_y(const void *a, const void *b) {
    const place *p = a, *q = b;
    return p->y != q->y ? (p->y > q->y) - (p->y < q->y) : (p->i > q->i) - (p->i < q->i);
}

/* Pairs in the order of x, and the groups of both. */
static void rank_groups(qd_paired *s, place *places) {
    for (size_t i = 0; i < s->n; i++) places[i] = (place){s->x[i], s->y[i], (uint32_t)i};
    qsort(places, s->n, sizeof *places, by_x);
    for (size_t i = 0; i < s->n; i++) {
        s->n_x_groups += i == 0 || places[i].x != places[i - 1].x;
        s->x_group[i] = (uint32_t)s->n_x_groups - 1;
        s->x[i] = places[i].x;
        s->y[i] = places[i].y;
        places[i].i = (uint32_t)i;
    }
    qsort(places, s->n, sizeof *places, by_y);
    for (size_t i = 0; i < s->n; i++) {
        s->n_y_groups += i == 0 || places[i].y != places[i - 1].y;
        s->y_group[places[i].i] = (uint32_t)s->n_y_groups - 1;
    }
}

static void fill_signs(qd_paired *s) {
    for (size_t i = 0; i < s->n; i++) {
        for (size_t j = 0; j < s->n; j++) {
            int sx = (s->x_group[i] > s->x_group[j]) - (s->x_group[i] < s->x_group[j]);
            int sy = (s->y_group[i] > s->y_group[j]) - (s->y_group[i] < s->y_group[j]);
            s->signs[i * s->pitch + j] = (int16_t)(sx * sy);
        }
    }
}

/* out = values minus their mean, scaled to at most 1 before and after, so that no square leaves the range; false if a
 * value is not finite. */
static bool center(const double *values, size_t n, double *out) {
    for (int pass = 0; pass < 2; pass++) {
        double max = 0, mean = 0;
        int exponent;
        for (size_t i = 0; i < n; i++) {
            double magnitude = fabs(pass ? out[i] : values[i]);
            if (!isfinite(magnitude)) return false;
            max = magnitude > max ? magnitude : max;
        }
        (void)frexp(max, &exponent);
        for (size_t i = 0; i < n; i++) {
            out[i] = ldexp(pass ? out[i] : values[i], -exponent);
            mean += out[i] / (double)n;
        }
        for (size_t i = 0; i < n; i++) out[i] -= mean;
    }
    return true;
}

static bool is_constant(const double *x, size_t n) {
    for (size_t i = 1; i < n; i++) {
        if (x[i] != x[0]) return false;
    }
    return true;
}

static qdisp_status prepare(qdisp_ctx *ctx, qd_paired *s) {
    size_t room = s->n + 1; /* allocations of nothing are no failure */
    if (s->kind == QDISP_CORRELATION_PEARSON) {
        if (!(s->centred = qd_alloc(ctx, 2 * room, sizeof *s->centred))) return QDISP_ENOMEM;
        s->defined = s->defined && center(s->x, s->n, s->centred) && center(s->y, s->n, s->centred + s->n);
        return QDISP_OK;
    }
    place *places = qd_alloc(ctx, room, sizeof *places);
    s->x_group = qd_alloc(ctx, room, sizeof *s->x_group);
    s->y_group = qd_alloc(ctx, room, sizeof *s->y_group);
    bool good = places && s->x_group && s->y_group;
    if (good) rank_groups(s, places);
    qd_free(ctx, places);
    if (!good) return QDISP_ENOMEM;
    if (s->kind == QDISP_CORRELATION_KENDALL && s->n <= QD_SIGNS_MAX) {
        s->pitch = (s->n + 7) / 8 * 8;
        if (!(s->signs = qd_alloc_aligned(ctx, s->pitch * room, sizeof *s->signs))) return QDISP_ENOMEM;
        fill_signs(s);
    }
    return QDISP_OK;
}

qdisp_status qd_paired_new(qdisp_ctx *ctx, const char *what, qdisp_correlation kind, const double *x, const double *y,
                           size_t n, qd_paired *out) {
    qd_paired s = {.kind = kind, .estimate = NAN};
    if (n > 0 && (!x || !y)) return qd_fail(ctx, QDISP_EINVAL, "%s: x or y is NULL, n is %zu", what, n);
    if (n > QD_PAIRED_MAX) return qd_fail(ctx, QDISP_EINVAL, "%s: %zu pairs, at most 2^20", what, n);
    if ((unsigned)kind > QDISP_CORRELATION_KENDALL) {
        return qd_fail(ctx, QDISP_EINVAL, "%s: correlation %d is not Pearson, Spearman or Kendall", what, (int)kind);
    }
    s.x = qd_alloc(ctx, n + 1, sizeof *s.x);
    s.y = qd_alloc(ctx, n + 1, sizeof *s.y);
    uint32_t *counts = qd_alloc(ctx, 4 * (n + 1), sizeof *counts);
    qdisp_status status = QDISP_ENOMEM;
    if (!s.x || !s.y || !counts) goto done;
    for (size_t i = 0; i < n; i++) {
        if (isnan(x[i]) || isnan(y[i])) continue;
        counts[s.n] = 1;
        s.x[s.n] = x[i];
        s.y[s.n++] = y[i];
    }
    s.defined = s.n >= 3 && !is_constant(s.x, s.n) && !is_constant(s.y, s.n);
    QD_TRY_GOTO(prepare(ctx, &s));
    if (s.defined) s.estimate = qd_paired_value(&s, counts, s.n, counts + n);
    s.defined = !isnan(s.estimate);
done:
    qd_free(ctx, counts);
    if (status == QDISP_OK) *out = s;
    else qd_paired_free(ctx, &s);
    return status;
}

void qd_paired_free(qdisp_ctx *ctx, qd_paired *sample) {
    qd_free(ctx, sample->x);
    qd_free(ctx, sample->y);
    qd_free(ctx, sample->centred);
    qd_free(ctx, sample->x_group);
    qd_free(ctx, sample->y_group);
    qd_free_aligned(ctx, sample->signs);
    *sample = (qd_paired){.estimate = NAN};
}

/* ---- Pearson ---- */

/* The values with a count, moved and scaled to [0, 1]. */
typedef struct unit_range {
    double low, scale, inverse;
} unit_range;

static bool range_of(const double *x, const uint32_t *counts, size_t n, unit_range *r) {
    double low = INFINITY, high = -INFINITY;
    int exponent;
    for (size_t i = 0; i < n; i++) {
        if (counts[i] == 0) continue;
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    if (!(high > low)) return false;
    (void)frexp(fmax(fabs(low), fabs(high)), &exponent);
    exponent = exponent < -1000 ? -1000 : exponent; /* 2^1000 times the smallest number is an ordinary one */
    r->scale = ldexp(0.5, -exponent); /* the range of -1e308..1e308 must not overflow */
    r->low = low * r->scale;
    r->inverse = 1 / (high * r->scale - r->low);
    return true;
}

static double in_range(double x, const unit_range *r) {
    return (x * r->scale - r->low) * r->inverse;
}

static double clamp_correlation(double r) {
    return r > 1 ? 1 : r < -1 ? -1 : r;
}

static double pearson(const qd_paired *s, const uint32_t *counts, size_t n_total) {
    unit_range rx, ry;
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0, n = (double)n_total;
    if (!range_of(s->x, counts, s->n, &rx) || !range_of(s->y, counts, s->n, &ry)) return NAN;
    for (size_t i = 0; i < s->n; i++) {
        if (counts[i] == 0) continue;
        mx += counts[i] * in_range(s->x[i], &rx);
        my += counts[i] * in_range(s->y[i], &ry);
    }
    mx /= n;
    my /= n;
    for (size_t i = 0; i < s->n; i++) {
        if (counts[i] == 0) continue;
        double dx = in_range(s->x[i], &rx) - mx, dy = in_range(s->y[i], &ry) - my;
        xx += counts[i] * dx * dx;
        yy += counts[i] * dy * dy;
        xy += counts[i] * dx * dy;
    }
    return clamp_correlation(xy / sqrt(xx * yy));
}

/* ---- ranks ---- */

/* Draws a group, turned in place into twice the average rank of its members minus n + 1; returns the sum over all draws
 * of its square. At most n^3 = 2^60. */
static int64_t centred_ranks(uint32_t *groups, size_t n_groups, size_t n_total) {
    int64_t sum = 0;
    int32_t before = -(int32_t)n_total;
    for (size_t g = 0; g < n_groups; g++) {
        int32_t t = (int32_t)groups[g], rank = before + t;
        sum += (int64_t)t * rank * rank;
        groups[g] = (uint32_t)rank;
        before += 2 * t;
    }
    return sum;
}

static double spearman(const qd_paired *s, const uint32_t *counts, size_t n_total, uint32_t *scratch) {
    uint32_t *x_ranks = scratch, *y_ranks = scratch + s->n;
    memset(scratch, 0, 2 * s->n * sizeof *scratch);
    for (size_t i = 0; i < s->n; i++) {
        x_ranks[s->x_group[i]] += counts[i];
        y_ranks[s->y_group[i]] += counts[i];
    }
    int64_t xx = centred_ranks(x_ranks, s->n_x_groups, n_total), yy = centred_ranks(y_ranks, s->n_y_groups, n_total);
    int64_t xy = 0;
    if (xx == 0 || yy == 0) return NAN;
    for (size_t i = 0; i < s->n; i++) {
        xy += (int64_t)counts[i] * (int32_t)x_ranks[s->x_group[i]] * (int32_t)y_ranks[s->y_group[i]];
    }
    return clamp_correlation((double)xy / sqrt((double)xx * (double)yy));
}

/* Twice the number of pairs of draws that are not tied. */
static int64_t twice_untied(const uint32_t *group, size_t n_groups, const qd_paired *s, const uint32_t *counts,
                            size_t n_total, uint32_t *groups) {
    int64_t sum = (int64_t)n_total * (int64_t)n_total;
    memset(groups, 0, n_groups * sizeof *groups);
    for (size_t i = 0; i < s->n; i++) groups[group[i]] += counts[i];
    for (size_t g = 0; g < n_groups; g++) sum -= (int64_t)groups[g] * groups[g];
    return sum;
}

/* Twice (concordant - discordant) pairs of draws, by the matrix of signs. */
static int64_t twice_score_by_signs(const qd_paired *s, const uint32_t *counts, uint32_t *scratch) {
    int16_t *c = (int16_t *)(void *)scratch;
    int64_t score = 0;
    memset(c, 0, s->pitch * sizeof *c);
    for (size_t i = 0; i < s->n; i++) c[i] = (int16_t)counts[i];
    for (size_t i = 0; i < s->n; i++) {
        const int16_t *row = s->signs + i * s->pitch;
        int32_t sum = 0;
        for (size_t j = 0; j < s->pitch; j++) sum += row[j] * c[j];
        score += (int64_t)sum * c[i];
    }
    return score;
}

/* The same by a Fenwick tree over the groups of y, filled in the order of x, a group of x at a time. */
static int64_t twice_score_by_tree(const qd_paired *s, const uint32_t *counts, uint32_t *tree) {
    int64_t score = 0, n_before = 0;
    memset(tree, 0, (s->n_y_groups + 1) * sizeof *tree);
    for (size_t from = 0, to; from < s->n; from = to) {
        for (to = from; to < s->n && s->x_group[to] == s->x_group[from]; to++) {
            int64_t below = 0, tied_or_below = 0;
            if (counts[to] == 0) continue;
            for (size_t k = s->y_group[to]; k > 0; k &= k - 1) below += tree[k];
            for (size_t k = s->y_group[to] + 1; k > 0; k &= k - 1) tied_or_below += tree[k];
            score += counts[to] * (below - (n_before - tied_or_below));
        }
        for (size_t i = from; i < to; i++) {
            n_before += counts[i];
            for (size_t k = s->y_group[i] + 1; k <= s->n_y_groups; k += k & (~k + 1)) tree[k] += counts[i];
        }
    }
    return 2 * score;
}

/* tau-b (Kendall 1945). */
static double kendall(const qd_paired *s, const uint32_t *counts, size_t n_total, uint32_t *scratch) {
    int64_t xx = twice_untied(s->x_group, s->n_x_groups, s, counts, n_total, scratch);
    int64_t yy = twice_untied(s->y_group, s->n_y_groups, s, counts, n_total, scratch);
    if (xx == 0 || yy == 0) return NAN;
    int64_t score = s->signs ? twice_score_by_signs(s, counts, scratch) : twice_score_by_tree(s, counts, scratch);
    return clamp_correlation((double)score / sqrt((double)xx * (double)yy));
}

double qd_paired_value(const qd_paired *sample, const uint32_t *counts, size_t n_total, uint32_t *scratch) {
    switch (sample->kind) {
    case QDISP_CORRELATION_PEARSON: return pearson(sample, counts, n_total);
    case QDISP_CORRELATION_SPEARMAN: return spearman(sample, counts, n_total, scratch);
    default: return kendall(sample, counts, n_total, scratch);
    }
}

/* ---- leave-one-out ---- */

enum { LEFT_OUT_A_TASK = 64 };

typedef struct leave_job {
    const qd_paired *sample;
    double sums[5];
    uint32_t *counts; /* a worker: n counts and 3 n of scratch */
    double *values;
} leave_job;

/* r of all but pair i from the sums; false where that is not sure. */
static bool pearson_without(const leave_job *job, size_t i, double *r) {
    const qd_paired *s = job->sample;
    double x = s->centred[i], y = s->centred[s->n + i], inverse_n = 1 / (double)(s->n - 1);
    double sx = job->sums[0] - x, sy = job->sums[1] - y;
    double xx = job->sums[2] - x * x - sx * sx * inverse_n, yy = job->sums[3] - y * y - sy * sy * inverse_n;
    double xy = job->sums[4] - x * y - sx * sy * inverse_n;
    if (!(xx > QD_PEARSON_SURE * job->sums[2] && yy > QD_PEARSON_SURE * job->sums[3])) return false;
    if (!(xx * yy > QD_PEARSON_LEAST)) return false;
    *r = clamp_correlation(xy / sqrt(xx * yy));
    return true;
}

static qdisp_status leave_task(void *arg, size_t i_task, unsigned i_worker) {
    leave_job *job = arg;
    const qd_paired *s = job->sample;
    uint32_t *counts = job->counts + i_worker * 4 * (s->n + 1);
    size_t first = i_task * LEFT_OUT_A_TASK, end = first + LEFT_OUT_A_TASK < s->n ? first + LEFT_OUT_A_TASK : s->n;
    for (size_t i = 0; i < s->n; i++) counts[i] = 1;
    for (size_t i = first; i < end; i++) {
        if (s->kind == QDISP_CORRELATION_PEARSON && pearson_without(job, i, &job->values[i])) continue;
        counts[i] = 0;
        job->values[i] = qd_paired_value(s, counts, s->n - 1, counts + s->n);
        counts[i] = 1;
    }
    return QDISP_OK;
}

qdisp_status qd_paired_leave_one_out(qdisp_ctx *ctx, const qd_paired *sample, double *values) {
    leave_job job = {.sample = sample, .values = values};
    size_t n = sample->n;
    job.counts = qd_alloc(ctx, qd_n_workers(ctx) * 4 * (n + 1), sizeof *job.counts);
    if (!job.counts) return QDISP_ENOMEM;
    for (size_t i = 0; i < n && sample->kind == QDISP_CORRELATION_PEARSON; i++) {
        double x = sample->centred[i], y = sample->centred[n + i];
        double row[5] = {x, y, x * x, y * y, x * y};
        for (size_t k = 0; k < 5; k++) job.sums[k] += row[k];
    }
    qdisp_status status = qd_parallel(ctx, (n + LEFT_OUT_A_TASK - 1) / LEFT_OUT_A_TASK, leave_task, &job);
    qd_free(ctx, job.counts);
    return status;
}
