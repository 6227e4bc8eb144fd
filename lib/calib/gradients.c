/* gradients.c - energies of the gradients of the loss: which outputs of a linear map a language cannot bear to have
 * wrong. */
#include "calib/calib.h"

#include "kernels/kernels.h"
#include "model/grad.h"

#include <math.h>
#include <string.h>

/* A backward pass keeps the residual stream of its batch after every layer: sequences are taken as long as that stays
 * below these bytes, and at least these rows, so that the weights are not read anew for a handful. */
#define MOST_BYTES ((size_t)96 << 20)
#define LEAST_ROWS 512

/* Chunks of a lane follow each other, and lanes are summed in their order: threads do not matter. */
typedef struct collector {
    const qdisp_calib *calib;
    const qd_sequences *sequences;
    double *lanes[QD_LANES]; /* [total_out] */
} collector;

static void add_squares(void *user, const qdisp_activation *a, size_t first, size_t n) {
    const collector *k = user;
    double *to = k->lanes[a->i_chunk % QD_LANES] + k->calib->out_offsets[a->i_linear] + a->i_col;
    k->calib->ctx->kernels->column_squares(a->data + first * a->stride, n, a->n_cols, a->stride, to);
}

static int on_gradient(void *user, qdisp_activation *a) {
    collector *k = user;
    qd_calib_text_rows(k->sequences, a, add_squares, k);
    return 0;
}

size_t qd_gradients_end(const qd_sequences *s, size_t first) {
    const qdisp_model *m = s->frame->model;
    size_t most = MOST_BYTES / sizeof(float) / (m->config.n_embd * (m->config.n_layer + 2)), end = first + 1;
    if (most < LEAST_ROWS) most = LEAST_ROWS;
    while (end < s->n_seq && s->starts[end + 1] - s->starts[first] <= most) end++;
    return end;
}

static qdisp_status run_batch(const qd_sequences *all, size_t first, size_t end, const qdisp_grad_options *options,
                              const qd_sequences **current, size_t *n_targets) {
    qdisp_ctx *ctx = all->ctx;
    qd_sequences s;
    size_t n = 0;
    QD_TRY(qd_sequences_slice(all, first, end - first, &s));
    int32_t *targets = qd_alloc(ctx, s.starts[s.n_seq], sizeof *targets);
    qdisp_status status = targets ? QDISP_OK : QDISP_ENOMEM;
    if (status == QDISP_OK) {
        qdisp_batch batch = qd_sequences_targets(&s, targets, &n);
        if (current) *current = &s;
        if (n) status = qdisp_model_grads(all->frame->model, &batch, options);
    }
    *n_targets += n;
    qd_free(ctx, targets);
    qd_sequences_clear(&s);
    return status;
}

qdisp_status qd_gradients_run(const qd_sequences *s, const qdisp_grad_options *options, const qd_sequences **current,
                              size_t *n_targets) {
    double n = (double)s->starts[s->n_seq];
    for (size_t first = 0, end; first < s->n_seq; first = end) {
        end = qd_gradients_end(s, first);
        qd_progress_range range =
            qd_progress_enter(s->ctx, "backward", (double)s->starts[first] / n, (double)s->starts[end] / n);
        qdisp_status status = run_batch(s, first, end, options, current, n_targets);
        qd_progress_leave(s->ctx, range);
        QD_TRY(status);
    }
    return QDISP_OK;
}

static qdisp_status check_finite(const qdisp_calib *c, const char *tag, const double *sums) {
    for (size_t i = 0; i < c->n_linears; i++)
        for (size_t j = 0; j < c->n_out[i]; j++)
            if (!isfinite(sums[c->out_offsets[i] + j]))
                return qd_fail(c->ctx, QDISP_ENUMERIC, "language %s: the gradient of output %zu of %s is not finite",
                               tag, j, c->names[i]);
    return QDISP_OK;
}

/* Of a masked model only some tokens have a loss: their gradients stand for all. */
static void add_lanes(const collector *k, const qd_lines *lines, size_t n_targets, qd_calib_fold *fold) {
    size_t n_scored = 0;
    for (size_t i = 0; i < lines->n_lines; i++) n_scored += lines->n_scored[i];
    double scale = n_targets ? (double)n_scored / (double)n_targets : 0;
    for (size_t j = 0; j < k->calib->total_out; j++) {
        double sum = 0;
        for (size_t i = 0; i < QD_LANES; i++) sum += k->lanes[i][j];
        fold->gradients[j] += scale * sum;
    }
    fold->n_scored += n_scored;
}

static qdisp_status collect_gradients(qdisp_calib *c, size_t i_language, qd_calib_fold *fold, const qd_lines *lines) {
    collector k = {.calib = c};
    size_t n_targets = 0;
    qdisp_status status = qd_calib_fold_gradients(c, fold);
    for (size_t i = 0; i < QD_LANES && status == QDISP_OK; i++)
        if (!(k.lanes[i] = qd_alloc(c->ctx, c->total_out, sizeof *k.lanes[i]))) status = QDISP_ENOMEM;
    qdisp_grad_options options = {.size = sizeof options, .tap = on_gradient, .user = &k,
                                  .sites = QDISP_SITE_BIT(QDISP_SITE_LINEAR_GRAD)};
    if (status == QDISP_OK) status = qd_gradients_run(&lines->sequences, &options, &k.sequences, &n_targets);
    for (size_t i = 0; i < QD_LANES && status == QDISP_OK; i++)
        status = check_finite(c, c->languages[i_language].tag, k.lanes[i]);
    if (status == QDISP_OK) add_lanes(&k, lines, n_targets, fold);
    for (size_t i = 0; i < QD_LANES; i++) qd_free(c->ctx, k.lanes[i]);
    return status;
}

qdisp_status qdisp_calib_collect_gradients(qdisp_calib *calib, const qdisp_model *model,
                                           const qdisp_tokenizer *tokenizer, const qdisp_corpus *corpus) {
    qd_frame frame;
    QD_TRY(qd_frame_make(model, tokenizer, &frame));
    QD_TRY(qd_frame_scores(&frame));
    return qd_calib_collect(calib, model, tokenizer, corpus, collect_gradients);
}
