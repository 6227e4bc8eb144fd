/* stats.h - what of statistics crosses files: histograms of magnitudes, moments of one array without threads. */
#ifndef QD_STATS_H
#define QD_STATS_H

#include "base/base.h"

#include <qdisp/stats.h>

/* Magnitudes of an array in equal bins over [0, max]: bin i counts |x| in [i * width, (i + 1) * width), up to the
 * rounding of |x| / width in f32; the last holds the maximum too. */
typedef struct qd_histogram {
    uint64_t *counts;
    uint32_t n_bins;
    float max;    /* largest finite |x|, 0 if there is none */
    double width; /* 0 if max is 0: all in bin 0 */
    uint64_t n_finite, n_non_finite;
} qd_histogram;

/* Histogram of |x| of data[n] of dtype F32, F16 or BF16, any alignment; 1 <= n_bins <= 2^24, 4096 to 16384 are useful.
 * The same counts for any number of threads. Errors: EINVAL, EUNSUPPORTED (dtype), ENOMEM. Cost: two passes and
 * n_bins * 8 bytes a thread. Free with qd_histogram_free. */
qdisp_status qd_abs_histogram(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n, uint32_t n_bins,
                              qd_histogram *out);
void qd_histogram_free(qdisp_ctx *ctx, qd_histogram *histogram);

#endif
