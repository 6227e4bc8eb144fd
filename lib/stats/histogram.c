/* histogram.c - a tally of 16-bit patterns as a sorted distribution: its quantiles, L-moments and tail.
 *
 * Patterns of a float ascend with its magnitude, so counting them needs no range beforehand, merges by adding, and
 * resolves every magnitude alike: a counter of F32 patterns holds [x, x + 2^-7 x), or less. Its elements are taken to
 * be in the middle, at most 2^-8 of themselves away; where the rank within a counter matters they are taken to be
 * spread evenly. Denormals (below 2^-126) have counters of width 2^-133. */
#include "stats/stats.h"

#include <math.h>
#include <string.h>

enum { INFINITE_F16 = 0x7c00, INFINITE_F32 = 0x7f80 }; /* patterns from here on are not finite */

void qd_distribution_free(qdisp_ctx *ctx, qd_distribution *d) {
    qd_free(ctx, d->values);
    qd_free(ctx, d->widths);
    qd_free(ctx, d->counts);
    *d = (qd_distribution){0};
}

static double pattern_value(const qd_tally *tally, size_t pattern) {
    return (double)(tally->is_f16 ? qd_f16_to_f32((uint16_t)pattern) : qd_bf16_to_f32((uint16_t)pattern));
}

/* The next counter up to the end: the largest float, not infinity, bounds the last. */
static double pattern_width(const qd_tally *tally, size_t magnitude) {
    double low = pattern_value(tally, magnitude);
    return magnitude + 1 < INFINITE_F32 ? pattern_value(tally, magnitude + 1) - low : low * 0x1p-8;
}

/* Appends a counter; sign -1 or 1. */
static void append(const qd_tally *tally, qd_distribution *d, size_t magnitude, double sign, uint64_t count) {
    size_t i = d->n_values++;
    double low = pattern_value(tally, magnitude), width = tally->exact ? 0 : pattern_width(tally, magnitude);
    d->values[i] = sign * (low + width / 2);
    d->widths[i] = width;
    d->counts[i] = count;
    d->n += count;
}

/* Zero is a counter of its own beside the denormals, and many weights are exactly zero. */
static void append_zero(qd_distribution *d, uint64_t count) {
    if (count == 0) return;
    size_t i = d->n_values++;
    d->values[i] = d->widths[i] = 0;
    d->counts[i] = count;
    d->n += count;
}

/* No element lies outside [min, max]: the ranges of the first and the last counter are cut. NaN: not known. */
static void clamp(qd_distribution *d, double min, double max) {
    d->min = min;
    d->max = max;
    for (size_t k = 0; k < 2 && d->n_values > 0; k++) {
        size_t i = k ? d->n_values - 1 : 0;
        double low = fmax(d->values[i] - d->widths[i] / 2, min), high = fmin(d->values[i] + d->widths[i] / 2, max);
        if (d->widths[i] == 0 || !(low <= high)) continue;
        if (d->counts[i] == 1 && !isnan(k ? max : min)) low = high = k ? max : min;
        d->values[i] = low + (high - low) / 2;
        d->widths[i] = high - low;
    }
}

static size_t count_used(const qd_tally *tally) {
    size_t n = 0;
    for (size_t p = 0; p < QD_PATTERNS; p++) n += tally->counts[p] != 0;
    return n;
}

qdisp_status qd_distribution_make(qdisp_ctx *ctx, const qd_tally *tally, double min, double max, bool magnitudes,
                                  qd_distribution *out) {
    const uint64_t *positive = tally->counts, *negative = tally->counts + QD_PATTERNS / 2;
    size_t n = count_used(tally) + 1, end = tally->is_f16 ? INFINITE_F16 : INFINITE_F32;
    qd_distribution d = {qd_alloc(ctx, n, sizeof(double)), qd_alloc(ctx, n, sizeof(double)),
                         qd_alloc(ctx, n, sizeof(uint64_t)), .min = NAN, .max = NAN};
    if (!d.values || !d.widths || !d.counts) {
        qd_distribution_free(ctx, &d);
        return QDISP_ENOMEM;
    }
    for (size_t m = end - 1; m > 0 && !magnitudes; m--) {
        if (negative[m]) append(tally, &d, m, -1, negative[m]);
    }
    append_zero(&d, negative[0] + positive[0]);
    for (size_t m = 1; m < end; m++) {
        uint64_t count = positive[m] + (magnitudes ? negative[m] : 0);
        if (count) append(tally, &d, m, 1, count);
    }
    if (magnitudes) {
        clamp(&d, min > 0 ? min : max < 0 ? -max : NAN, fmax(-min, max));
    } else {
        clamp(&d, min, max);
    }
    *out = d;
    return QDISP_OK;
}

/* The element of rank `within` (0..count-1) of a counter, if they are spread evenly. */
static double spread(const qd_distribution *d, size_t i, double within) {
    return d->values[i] + d->widths[i] * ((within + 0.5) / (double)d->counts[i] - 0.5);
}

double qd_distribution_quantile(const qd_distribution *d, double probability) {
    if (d->n == 0) return NAN;
    double wanted = ceil(probability * (double)d->n) - 1, below = 0;
    wanted = fmin(fmax(wanted, 0), (double)d->n - 1);
    if (wanted == (double)d->n - 1 && !isnan(d->max)) return d->max;
    if (wanted == 0 && !isnan(d->min)) return d->min;
    for (size_t i = 0; i < d->n_values; i++) {
        double next = below + (double)d->counts[i];
        if (wanted < next) return spread(d, i, wanted - below);
        below = next;
    }
    return d->values[d->n_values - 1];
}

/* ---- L-moments ---- */

/* Unbiased probability-weighted moments b_r = 1/n sum_i C(i, r) / C(n-1, r) x_(i), i = 0..n-1, of x - center. The ranks
 * s .. s + c - 1 of a counter add C(s + c, r + 1) - C(s, r + 1), written as a product with c so that nothing
 * cancels. */
static void weighted_moments(const qd_distribution *d, double center, double b[4]) {
    double s = 0, n = (double)d->n;
    memset(b, 0, 4 * sizeof *b);
    for (size_t i = 0; i < d->n_values; i++) {
        double c = (double)d->counts[i], e = s + c, x = c * (d->values[i] - center), sum = s + e;
        double squares = e * e + e * s + s * s;
        b[0] += x;
        b[1] += x * (sum - 1) / 2;
        b[2] += x * (squares - 3 * sum + 2) / 6;
        b[3] += x * (sum * (s * s + e * e) - 6 * squares + 11 * sum - 6) / 24;
        s = e;
    }
    b[0] /= n; /* n C(n - 1, r) */
    b[1] /= n * (n - 1);
    b[2] /= n * (n - 1) * (n - 2) / 2;
    b[3] /= n * (n - 1) * (n - 2) * (n - 3) / 6;
}

/* Hosking 1990, section 3; about the mean, so that a mean far from 0 does not cancel. */
static void l_moments(const qd_distribution *d, const qdisp_moments *m, qdisp_shape *out) {
    double b[4];
    out->l1 = m->mean;
    if (d->n < 2) return;
    weighted_moments(d, m->mean, b);
    out->l2 = m->min < m->max ? 2 * b[1] - b[0] : 0;
    if (!(out->l2 > 0)) return;
    if (d->n > 2) out->t3 = (6 * b[2] - 6 * b[1] + b[0]) / out->l2;
    if (d->n > 3) out->t4 = (20 * b[3] - 30 * b[2] + 12 * b[1] - b[0]) / out->l2;
}

/* ---- tails ---- */

/* k = a thousandth, 10 at least, and one more element as the threshold. */
static void hill(const qd_distribution *d, qdisp_shape *out) {
    uint64_t k = d->n / 1000 > 10 ? d->n / 1000 : 10, above = 0;
    if (d->n <= k) return;
    size_t i = d->n_values;
    while (above + d->counts[i - 1] <= k) above += d->counts[--i]; /* whole counters beyond the threshold's */
    size_t own = i - 1;
    uint64_t rest = k - above; /* of the threshold's own counter */
    double threshold = spread(d, own, (double)(d->counts[own] - rest) - 1), sum = 0;
    if (!(threshold > 0)) return;
    for (; i < d->n_values; i++) sum += (double)d->counts[i] * log(d->values[i] / threshold);
    double top = d->values[own] + d->widths[own] / 2;
    if (rest > 0) sum += (double)rest * log((threshold + top) / 2 / threshold);
    if (!(sum > 0)) return;
    out->hill_index = (double)k / sum;
    out->n_tail = k;
}

static double outlier_energy(const qd_distribution *d, const qdisp_moments *m) {
    double limit = 6 * qdisp_moments_std(m), energy = 0;
    if (!(m->m2 > 0)) return NAN;
    for (size_t i = 0; i < d->n_values; i++) {
        double x = d->values[i] - m->mean;
        if (fabs(x) > limit) energy += (double)d->counts[i] * x * x;
    }
    return fmin(energy / m->m2, 1);
}

/* Whether the counters are too coarse: elements are off by up to 2^-8 of themselves, which must be little beside l2. So
 * it is where the mean lies further from 0 than some nine standard deviations. */
static bool is_coarse(const qd_distribution *magnitudes, const qdisp_shape *shape) {
    double sum = 0, width = 0;
    for (size_t i = 0; i < magnitudes->n_values; i++) {
        sum += (double)magnitudes->counts[i] * magnitudes->values[i];
        width = fmax(width, magnitudes->widths[i]);
    }
    return width > 0 && sum / (double)magnitudes->n * 0x1p-8 > shape->l2 * 0x1p-4;
}

qdisp_status qd_shape_make(qdisp_ctx *ctx, const qd_tally *tally, const qdisp_moments *m, qdisp_shape *out) {
    qdisp_shape shape = {.moments = *m, .l1 = NAN, .l2 = NAN, .t3 = NAN, .t4 = NAN, .hill_index = NAN};
    qd_distribution all = {0}, magnitudes = {0};
    double std = qdisp_moments_std(m), reach = fmax(m->max - m->mean, m->mean - m->min);
    qdisp_status status = qd_distribution_make(ctx, tally, m->min, m->max, false, &all);
    if (status == QDISP_OK) status = qd_distribution_make(ctx, tally, m->min, m->max, true, &magnitudes);
    if (status == QDISP_OK) {
        shape.max_over_std = std > 0 ? reach / std : NAN;
        l_moments(&all, m, &shape);
        hill(&magnitudes, &shape);
        shape.outlier_energy = outlier_energy(&all, m);
        if (is_coarse(&magnitudes, &shape)) shape.l2 = shape.t3 = shape.t4 = shape.outlier_energy = NAN;
        *out = shape;
    }
    qd_distribution_free(ctx, &all);
    qd_distribution_free(ctx, &magnitudes);
    return status;
}
