/* quant_kl.c - thresholds by entropy, as for activations in Migacz, "8-bit inference with TensorRT", GTC 2017: the
 * magnitudes of a unit are counted in bins; of the clip characters that one is taken under which the counts, with those
 * beyond the threshold in the last bin below it, diverge least (Kullback, Leibler) from what 2^(bits-1) levels leave of
 * them: each level's share of the bins spread evenly over those of them that are not empty; a last bin of
 * nothing but what is beyond counts as if they left a ten-thousandth. 2048 bins, fewer for units of less than 8192
 * weights, in which they would hold single weights: at least 4 a level. */
#include "quant/rows.h"

#include <math.h>
#include <string.h>

enum { N_BINS = 2048 };
#define LEFT 1e-4

/* Bins that hold something, ascending, and counts. */
typedef struct filled {
    size_t n;
    uint16_t bins[N_BINS];
    double counts[N_BINS];
} filled;

static void count(const float *sizes, size_t n, size_t n_bins, filled *f) {
    uint64_t counts[N_BINS] = {0};
    for (size_t i = 0; i < n; i++) {
        size_t bin = (size_t)(sizes[i] * (float)n_bins);
        counts[bin < n_bins ? bin : n_bins - 1]++;
    }
    f->n = 0;
    for (size_t k = 0; k < n_bins; k++) {
        if (counts[k] == 0) continue;
        f->bins[f->n] = (uint16_t)k;
        f->counts[f->n++] = (double)counts[k];
    }
}

/* KL(P || Q) for the first n_bins bins. */
static double divergence(const filled *f, size_t n_bins, size_t n_levels) {
    size_t n = f->n;
    double total = 0, inside = 0, kl = 0;
    while (n > 0 && f->bins[n - 1] >= n_bins) n--;
    for (size_t i = 0; i < f->n; i++) total += f->counts[i];
    for (size_t i = 0; i < n; i++) inside += f->counts[i];
    if (n == 0) return INFINITY;
    bool has_last = f->bins[n - 1] + 1u == n_bins;
    if (inside < total && !has_last) kl = (total - inside) / total * log((total - inside) / total / LEFT);
    for (size_t first = 0, end; first < n; first = end) { /* the bins of a level */
        size_t level = f->bins[first] * n_levels / n_bins;
        double sum = 0;
        for (end = first; end < n && f->bins[end] * n_levels / n_bins == level; end++) sum += f->counts[end];
        double q = sum / (double)(end - first) / inside;
        for (size_t i = first; i < end; i++) {
            double p = (f->counts[i] + (i == n - 1 && has_last ? total - inside : 0)) / total;
            kl += p * log(p / q);
        }
    }
    return kl;
}

static double ratio(const qd_choice *c, float *sizes, size_t n) {
    size_t n_levels = (size_t)1 << (c->bits - 1), best = 0, all_bins = N_BINS;
    filled f;
    double least = INFINITY;
    while (all_bins > 4 * n_levels && 4 * all_bins > n) all_bins /= 2;
    count(sizes, n, all_bins, &f);
    for (size_t k = 0; k < qd_n_candidates(c); k++) {
        size_t n_bins = (size_t)lrint((double)all_bins * (double)qd_clip_ratio((unsigned)k));
        double kl = n_bins >= n_levels ? divergence(&f, n_bins, n_levels) : INFINITY;
        if (!(kl < least)) continue;
        least = kl;
        best = k;
    }
    return (double)qd_clip_ratio((unsigned)best);
}

static qdisp_status choose(const qdisp_quantizer *q, const qd_languages *languages, qd_choice *choices, size_t n) {
    (void)languages;
    return qd_sizes_choose(q->ctx, choices, n, ratio);
}

const qd_method qd_method_kl = {.name = "kl", .needs = "weights", .paper = "Migacz 2017, entropy calibration",
                                .choose = choose};
