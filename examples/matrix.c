/* matrix.c - thresholds for one matrix of a host engine: no file, no model, only weights and what each language sends
 * into them. The data are synthetic: three languages that live in different columns. */
#include <qdisp/qdisp.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { N_OUT = 256, N_IN = 512, GROUP = 64, BITS = 4, N_LANGUAGES = 3, N_UNITS = N_OUT * N_IN / GROUP };

static float w[N_OUT * N_IN], steps[N_UNITS], scales[N_UNITS];
static double energy[N_LANGUAGES * N_IN];

static double uniform(void) { /* in [-1, 1), the same on every machine */
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 40) / 8388608.0 - 1.0;
}

/* What language l loses: sum e (w - q)^2 / sum e w^2. The codes of a unit are round(w / step), their value code *
 * scale. */
static double loss(int l) {
    const double high = (1 << (BITS - 1)) - 1;
    double lost = 0, all = 0;
    for (size_t i = 0; i < N_OUT * N_IN; i++) {
        size_t unit = i / GROUP; /* rows hold whole groups, so units follow memory */
        double code = fmin(fmax(rint((double)w[i] / (double)steps[unit]), -high), high);
        double d = (double)w[i] - code * (double)scales[unit], e = energy[(size_t)l * N_IN + i % N_IN];
        lost += e * d * d;
        all += e * (double)w[i] * (double)w[i];
    }
    return lost / all;
}

int main(void) {
    for (size_t i = 0; i < N_OUT * N_IN; i++) w[i] = (float)pow(uniform(), 5); /* heavy tails */
    for (size_t k = 0; k < N_LANGUAGES * N_IN; k++) energy[k] = k % N_IN % N_LANGUAGES == k / N_IN ? 1 : 0.02;

    static const char *const methods[] = {"rtn", "la-aciq"};
    qdisp_ctx *ctx = NULL;
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    qdisp_status status = QDISP_OK;
    for (int m = 0; m < 2 && status == QDISP_OK; m++) {
        qdisp_quantizer *quantizer = NULL;
        qdisp_quantizer_options options = {.size = sizeof options, .bits = BITS, .group_size = GROUP};
        qdisp_matrix matrix = {.size = sizeof matrix, .data = w, .dtype = QDISP_DTYPE_F32, .n_out = N_OUT,
                               .n_in = N_IN, .energy = energy, .n_languages = N_LANGUAGES};
        status = qdisp_quantizer_new(ctx, methods[m], &options, &quantizer);
        if (status == QDISP_OK) status = qdisp_quantizer_matrix(quantizer, &matrix, steps, scales);
        if (status == QDISP_OK) {
            printf("%-8s", methods[m]);
            for (int l = 0; l < N_LANGUAGES; l++) printf("  language %d loses %.5f", l, loss(l));
            printf("\n");
        }
        qdisp_quantizer_free(quantizer);
    }
    if (status != QDISP_OK) fprintf(stderr, "%s: %s\n", qdisp_status_name(status), qdisp_ctx_error(ctx));
    qdisp_ctx_free(ctx);
    return status != QDISP_OK;
}
