/* stats.h - what of statistics crosses files: one pass over an array for moments and counts, and what counts tell. */
#ifndef QD_STATS_H
#define QD_STATS_H

#include "base/base.h"
#include "kernels/kernels.h"
#include "tensor/tensor.h"

#include <qdisp/stats.h>

enum {
    QD_SPAN = 65536,    /* elements that one task takes: 256 KiB, which stay in L2 from one kernel to the next */
    QD_PATTERNS = 65536 /* counters of a tally */
};

/* A matrix of contiguous rows, at any alignment. */
typedef struct qd_array {
    const void *data;
    qdisp_dtype dtype; /* F32, F16, BF16 or I8 */
    size_t n_rows, n_columns;
    const qd_tensor_file *file; /* NULL: in memory; else data that lie in its mapping are read, not mapped in */
    const qd_packed *packed;    /* not NULL: the elements are decoded, to F32 */
} qd_array;
/* A tensor of n_rows rows that lies in file. */
qd_array qd_array_of(const qdisp_tensor *tensor, size_t n_rows, const qd_tensor_file *file);

/* How often each 16-bit pattern was seen: of F16 its own bits, of all others the upper half of F32. */
typedef struct qd_tally {
    uint64_t counts[QD_PATTERNS];
    bool is_f16;
    bool exact; /* false: the elements have lower halves too */
} qd_tally;

/* Scratch of the threads of a pass: made once, used for many arrays. One caller at a time. */
typedef struct qd_pass qd_pass;
qdisp_status qd_pass_new(qdisp_ctx *ctx, size_t n_sets, qd_pass **out);
void qd_pass_free(qd_pass *pass);
/* One pass over an array: the moments of every row (rows[n_rows]; undefined on failure), and if the pass has sets, the
 * tally of the elements of each set of rows: sets[n_rows] < n_sets, NULL = all in set 0. Tallies start anew.
 * Errors: EINVAL, EUNSUPPORTED (dtype), EIO, ECANCELLED, ENOMEM. Memory: 256 KiB and 512 KiB a set for each thread. */
qdisp_status qd_pass_run(qd_pass *pass, const qd_array *array, const uint8_t *sets, qdisp_moments *rows);
const qd_tally *qd_pass_tally(const qd_pass *pass, size_t i_set);
/* into = the tally of both; of one kind of patterns. */
void qd_tally_add(qd_tally *into, const qd_tally *from);

/* EINVAL for NULL data or a size that overflows, EUNSUPPORTED for a dtype; what = for the message. */
qdisp_status qd_array_check(qdisp_ctx *ctx, const char *what, const qd_array *array);
/* Elements [first, first + n) at their own alignment: where they are, or read or copied into buffer. */
qdisp_status qd_array_read(qdisp_ctx *ctx, const qd_array *array, size_t first, size_t n, void *buffer,
                           const void **out);

/* Whether qd_array_read gives a place in the data: no buffer is needed. */
bool qd_array_is_ready(const qd_array *array);

/* Moments of no elements, and of at most QD_SPAN aligned ones on this thread. */
qdisp_moments qd_moments_none(void);
qdisp_moments qd_moments_of_span(const qd_kernels *kernels, const void *x, qdisp_dtype dtype, size_t n);
/* Central moments from the sums s[4] of (x - pivot)^p over n > 0 elements that lie in [min, max]. */
qdisp_moments qd_moments_from_sums(const double s[4], uint64_t n, double pivot, double min, double max);
/* Whether the pivot was so far from the mean (a standard deviation) that the sums should be made again about it. */
bool qd_pivot_is_far(const double s[4], uint64_t n);

/* Values in ascending order, each with its count. */
typedef struct qd_distribution {
    double *values;   /* [n_values]; a place in the middle of those that a counter holds */
    double *widths;   /* [n_values]: of that range, 0: exact */
    uint64_t *counts; /* [n_values] > 0 */
    size_t n_values;
    uint64_t n; /* sum of counts: finite elements */
    double min, max; /* exactly; NaN: not known */
} qd_distribution;

/* From a tally whose finite elements lie in [min, max]; magnitudes: of |x|. Free with qd_distribution_free. ENOMEM. */
qdisp_status qd_distribution_make(qdisp_ctx *ctx, const qd_tally *tally, double min, double max, bool magnitudes,
                                  qd_distribution *out);
void qd_distribution_free(qdisp_ctx *ctx, qd_distribution *distribution);
double qd_distribution_quantile(const qd_distribution *d, double probability);
/* What of a qdisp_shape comes from its tally. moments: of the same elements. ENOMEM. */
qdisp_status qd_shape_make(qdisp_ctx *ctx, const qd_tally *tally, const qdisp_moments *moments, qdisp_shape *out);

/* Moments of every column: what qdisp_moments_columns does, file and all. */
qdisp_status qd_moments_columns(qdisp_ctx *ctx, const qd_array *array, qdisp_moments *out);

/* The largest float up to a > 0: the same floats are above both. */
float qd_float_below(double a);

#endif
