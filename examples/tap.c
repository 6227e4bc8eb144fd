/* tap.c - taps: reads how large the residual stream is after each block, then silences one attention head after another
 * and tells which the sentence misses most.   tap MODEL TEXT */
#include <qdisp/qdisp.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TOKENS = 256, MAX_LAYERS = 64 };

static const qdisp_model_info *info;

/* Taps are called from worker threads, at once for unlike pieces of a batch. A single sequence is a single piece, so
 * these sums need no lock. */
typedef struct norms {
    double sum[MAX_LAYERS + 1]; /* [0]: after the embedding */
    size_t n_rows;
} norms;

static int read_norms(void *user, qdisp_activation *a) {
    norms *out = user;
    for (size_t r = 0; r < a->n_rows; r++) {
        double squares = 0;
        for (size_t j = 0; j < a->n_cols; j++) {
            double x = a->data[r * a->stride + j];
            squares += x * x;
        }
        out->sum[a->layer + 1] += sqrt(squares);
    }
    if (a->layer < 0) out->n_rows = a->n_rows;
    return 0; /* anything else stops the run */
}

/* What a tap writes is what the pass goes on with. */
typedef struct head {
    int32_t layer;
    size_t i_head;
} head;

static int silence(void *user, qdisp_activation *a) {
    const head *h = user;
    if (a->layer != h->layer) return 0;
    for (size_t r = 0; r < a->n_rows; r++)
        memset(a->data + r * a->stride + h->i_head * info->head_dim, 0, info->head_dim * sizeof(float));
    return 0;
}

/* Mean loss in nats a token, of all but the first. */
static qdisp_status loss(const qdisp_model *model, const int32_t *ids, size_t n, qdisp_tap tap, uint64_t sites,
                         void *user, double *mean) {
    float nll[MAX_TOKENS];
    size_t starts[] = {0, n};
    qdisp_batch batch = {.size = sizeof batch, .ids = ids, .starts = starts, .n_seq = 1};
    qdisp_run_options options = {.size = sizeof options, .nll = nll, .tap = tap, .user = user, .sites = sites};
    qdisp_status status = qdisp_model_run(model, &batch, &options);
    *mean = 0;
    for (size_t i = 1; i < n && status == QDISP_OK; i++) *mean += nll[i] / (double)(n - 1);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: tap MODEL TEXT\n");
        return 2;
    }
    static norms residual;
    int32_t ids[MAX_TOKENS];
    size_t n = 0;
    double base = 0, largest = -INFINITY, mean = 0;
    head worst = {0};
    qdisp_ctx *ctx = NULL;
    qdisp_model *model = NULL;
    qdisp_tokenizer *tokenizer = NULL;
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;

    qdisp_status status = qdisp_model_open(ctx, argv[1], &model);
    if (status == QDISP_OK) status = qdisp_tokenizer_open(ctx, argv[1], &tokenizer);
    if (status == QDISP_OK)
        status = qdisp_tokenizer_encode(tokenizer, argv[2], strlen(argv[2]), ids, NULL, MAX_TOKENS, &n);
    if (status != QDISP_OK) goto done;
    info = qdisp_model_describe(model);
    if (info->kind != QDISP_MODEL_DECODER || info->n_layer > MAX_LAYERS || n < 2 || n > MAX_TOKENS) {
        fprintf(stderr, "tap: for decoders of up to %d blocks and texts of 2 to %d tokens\n", MAX_LAYERS, MAX_TOKENS);
        status = QDISP_EINVAL;
        goto done;
    }

    status = loss(model, ids, n, read_norms, QDISP_SITE_BIT(QDISP_SITE_RESIDUAL), &residual, &base);
    for (size_t i = 0; i <= info->n_layer && status == QDISP_OK; i++)
        printf("residual stream after %zu blocks: norm %.3f\n", i, residual.sum[i] / (double)residual.n_rows);

    for (size_t i = 0; i < (size_t)info->n_layer * info->n_head && status == QDISP_OK; i++) {
        head h = {(int32_t)(i / info->n_head), i % info->n_head};
        status = loss(model, ids, n, silence, QDISP_SITE_BIT(QDISP_SITE_HEADS), &h, &mean);
        if (mean - base > largest) worst = h, largest = mean - base;
    }
    if (status == QDISP_OK)
        printf("%.3f nats a token; without head %zu of block %d %.3f more, the most of %u heads\n", base, worst.i_head,
               (int)worst.layer, largest, info->n_layer * info->n_head);
done:
    if (status != QDISP_OK) fprintf(stderr, "%s: %s\n", qdisp_status_name(status), qdisp_ctx_error(ctx));
    qdisp_tokenizer_free(tokenizer);
    qdisp_model_free(model);
    qdisp_ctx_free(ctx);
    return status == QDISP_OK && residual.n_rows == n && largest > 0 ? 0 : 1;
}
