/* shape.c - shape and quantiles of an array: one pass for moments and a tally of its patterns. */
#include "stats/stats.h"

#include <math.h>
#include <string.h>

typedef struct tallied {
    qd_pass *pass;
    qdisp_moments moments;
} tallied;

static qdisp_status tally_array(qdisp_ctx *ctx, const char *what, const void *data, qdisp_dtype dtype, size_t n,
                                tallied *out) {
    qd_array array = {.data = data, .dtype = dtype, .n_rows = 1, .n_columns = n};
    QD_TRY(qd_array_check(ctx, what, &array));
    QD_TRY(qd_pass_new(ctx, 1, &out->pass));
    return qd_pass_run(out->pass, &array, NULL, &out->moments);
}

qdisp_status qdisp_shape_compute(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n, qdisp_shape *out) {
    tallied t = {0};
    qdisp_status status = tally_array(ctx, "shape", data, dtype, n, &t);
    if (status == QDISP_OK) status = qd_shape_make(ctx, qd_pass_tally(t.pass, 0), &t.moments, out);
    qd_pass_free(t.pass);
    return status;
}

qdisp_status qdisp_quantiles(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n, int magnitudes,
                             const double *probabilities, size_t n_probabilities, double *out) {
    tallied t = {0};
    qd_distribution d = {0};
    if (!probabilities || n_probabilities == 0) return qd_fail(ctx, QDISP_EINVAL, "quantiles: no probability");
    for (size_t i = 0; i < n_probabilities; i++) {
        if (!(probabilities[i] >= 0 && probabilities[i] <= 1)) {
            return qd_fail(ctx, QDISP_EINVAL, "quantiles: probability %zu is %g, not in [0, 1]", i, probabilities[i]);
        }
    }
    qdisp_status status = tally_array(ctx, "quantiles", data, dtype, n, &t);
    if (status == QDISP_OK)
        status = qd_distribution_make(ctx, qd_pass_tally(t.pass, 0), t.moments.min, t.moments.max, magnitudes != 0, &d);
    for (size_t i = 0; status == QDISP_OK && i < n_probabilities; i++)
        out[i] = qd_distribution_quantile(&d, probabilities[i]);
    qd_distribution_free(ctx, &d);
    qd_pass_free(t.pass);
    return status;
}
