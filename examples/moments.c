/* moments.c - kurtosis of an array, and of one that arrives in parts. */
#include <qdisp/qdisp.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define N 100000

/* A Laplace variable by inversion: its excess kurtosis is 3. */
static float laplace(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    double u = ((double)(*state >> 11) + 0.5) / 9007199254740992.0 - 0.5; /* 53 random bits, in (-0.5, 0.5) */
    return (float)(u < 0 ? log(1 + 2 * u) : -log(1 - 2 * u));
}

int main(void) {
    float *data = malloc(N * sizeof *data);
    qdisp_ctx *ctx = NULL;
    if (!data || qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    uint64_t state = 1;
    for (size_t i = 0; i < N; i++) data[i] = laplace(&state);

    /* Moments of parts merge to those of the whole, whatever the parts. */
    qdisp_moments whole, part, rest;
    size_t cut = N / 3;
    qdisp_status status = qdisp_moments_compute(ctx, data, QDISP_DTYPE_F32, N, &whole);
    if (status == QDISP_OK) status = qdisp_moments_compute(ctx, data, QDISP_DTYPE_F32, cut, &part);
    if (status == QDISP_OK) status = qdisp_moments_compute(ctx, data + cut, QDISP_DTYPE_F32, N - cut, &rest);
    if (status != QDISP_OK) {
        fprintf(stderr, "%s: %s\n", qdisp_status_name(status), qdisp_ctx_error(ctx));
        return 1;
    }
    qdisp_moments_merge(&part, &rest);
    double kurtosis = qdisp_moments_kurtosis(&whole), merged = qdisp_moments_kurtosis(&part);
    printf("n %llu  mean %.6f  std %.6f  excess kurtosis %.6f, merged from two parts %.6f (Laplace: 3)\n",
           (unsigned long long)whole.n, whole.mean, qdisp_moments_std(&whole), kurtosis, merged);

    qdisp_ctx_free(ctx);
    free(data);
    /* The two orders of adding differ by rounding, about 1e-7 of m4. */
    return fabs(merged - kurtosis) < 1e-5 ? 0 : 1;
}
