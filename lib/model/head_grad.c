/* head_grad.c - from the losses backwards through the vocabulary, tile by tile, and through the final norm. */
#include <math.h>
#include <string.h>

#include "model/grad.h"
#include "model/head.h"

typedef struct head_back {
    qd_backward *w;
    float *dx;      /* [batch_rows, n_word_embd] gradient of the head's input */
    float *dw;      /* [n_vocab, n_word_embd] or NULL */
    float *lanes;   /* [n_lanes, QD_HEAD_TILE, n_word_embd] */
} head_back;

/* dL/dlogits of a tile in place: (softmax - one at the target) times the slope of the cap; rows without a target 0. */
static void logits_back(const qd_forward *f, const qd_chunk *chunk, size_t at, float *logits) {
    const qd_head *d = f->head;
    float cap = f->model->config.logit_softcap;
    for (size_t r = 0; r < chunk->n_rows; r++) {
        float *row = logits + r * d->n;
        int32_t target = f->targets[chunk->i_row + r];
        float lse = (float)qd_lse_nll(&d->lse[at + r], 0);
        for (size_t j = 0; j < d->n; j++) {
            float p = target < 0 ? 0 : expf(row[j] - lse);
            if (target >= 0 && d->first + j == (size_t)target) p -= 1;
            float t = cap > 0 ? row[j] / cap : 0;
            row[j] = p * (1 - t * t);
        }
    }
}

static qdisp_status tap_logits(const head_back *g, const qd_chunk *chunk, float *logits, unsigned i_worker) {
    qd_forward *f = &g->w->f;
    size_t n = f->head->n;
    qdisp_activation a = {.site = QDISP_SITE_LINEAR_GRAD, .layer = -1, .i_linear = f->model->n_linears - 1,
                          .i_chunk = chunk->i_chunk, .i_seq = chunk->i_seq, .n_seq = chunk->n_seq,
                          .starts = f->batch->starts, .i_row = chunk->i_row, .n_rows = chunk->n_rows, .n_cols = n,
                          .stride = n, .data = logits, .i_worker = i_worker, .i_col = f->head->first};
    if (g->w->run.tap(g->w->run.user, &a) == 0) return QDISP_OK;
    return qd_fail(f->ctx, QDISP_ECANCELLED, "stopped by a tap");
}

static qdisp_status lane_task(void *arg, size_t lane, unsigned i_worker) {
    const head_back *g = arg;
    qd_forward *f = &g->w->f;
    const qd_head *d = f->head;
    size_t n_in = f->model->config.n_word_embd;
    bool tapped = g->w->run.sites & QDISP_SITE_BIT(QDISP_SITE_LINEAR_GRAD);
    float *logits = qd_forward_scratch(f, i_worker), *dw = g->lanes ? g->lanes + lane * QD_HEAD_TILE * n_in : NULL;
    if (!logits) return QDISP_ENOMEM;
    if (dw) memset(dw, 0, d->n * n_in * sizeof *dw);
    for (size_t i = lane; i < f->n_chunks; i += g->w->n_lanes) {
        const qd_chunk *chunk = &f->chunks[i];
        /* the inputs of the head stand where qd_head_run has left them, at the start of each chunk's part of h */
        const float *x = f->h + chunk->i_row * f->model->config.n_embd;
        float *dx = g->dx + chunk->i_row * n_in;
        qd_gemm(false, true, chunk->n_rows, d->n, n_in, 1.0f, x, n_in, d->weight, n_in, 0.0f, logits, d->n);
        qd_head_finish(f, logits, chunk->n_rows, d->n);
        logits_back(f, chunk, chunk->i_row, logits);
        if (tapped) QD_TRY(tap_logits(g, chunk, logits, i_worker));
        qd_gemm(false, false, chunk->n_rows, n_in, d->n, 1.0f, logits, d->n, d->weight, n_in, d->first ? 1.0f : 0.0f,
                dx, n_in);
        if (dw) qd_gemm(true, false, d->n, n_in, chunk->n_rows, 1.0f, logits, d->n, x, n_in, 1.0f, dw, n_in);
    }
    return QDISP_OK;
}

static void add_lanes(const head_back *g, const qd_head *d, size_t n_in) {
    if (!g->dw) return;
    float *to = g->dw + d->first * n_in;
    memcpy(to, g->lanes, d->n * n_in * sizeof *to);
    for (size_t i = 1; i < g->w->n_lanes; i++) qd_sum(to, g->lanes + i * QD_HEAD_TILE * n_in, d->n * n_in, to);
}

static qdisp_status tiles_back(head_back *g) {
    qd_forward *f = &g->w->f;
    qd_head *d = f->head;
    size_t i_head = f->model->n_linears - 1, n_vocab = f->model->config.n_vocab, n_in = f->model->config.n_word_embd;
    for (d->first = 0; d->first < n_vocab; d->first += QD_HEAD_TILE) {
        d->n = n_vocab - d->first < QD_HEAD_TILE ? n_vocab - d->first : QD_HEAD_TILE;
        size_t i_weight = f->model->linears[i_head].i_weight;
        QD_TRY(qd_forward_load_rows(f, i_weight, d->first, d->n, d->tile, &d->weight));
        QD_TRY(qd_gemm_each(f->ctx, f->threaded_blas, g->w->n_lanes, lane_task, g));
        add_lanes(g, d, n_in);
    }
    if (!g->dw || g->w->weight(g->w->user, i_head, g->dw, n_vocab, n_in) == 0) return QDISP_OK;
    return qd_fail(f->ctx, QDISP_ECANCELLED, "stopped by the caller of the gradients");
}

/* Through what qd_head_input did to the rows of a chunk: g.branch holds the gradient of the head's input. */
static qdisp_status input_task(const qd_back *k) {
    const qd_block *b = &k->b;
    const qd_model_config *c = &b->model->config;
    size_t n = b->n_rows;
    bool normed = qd_weight(b, QD_SLOT_NORM), dense = qd_weight(b, QD_SLOT_HEAD_DENSE);
    const float *x = normed ? b->a.normed : b->h;
    float *d = k->g.branch;
    if (normed) qd_norm_rows(b, QD_SLOT_NORM, b->h, n, b->a.normed);
    for (size_t i = 0; c->head_scale > 0 && i < n * c->n_word_embd; i++) d[i] *= c->head_scale;
    if (dense) {
        float *z = b->a.attn, *a = b->a.heads;
        QD_TRY(qd_linear_run(b, QD_SLOT_HEAD_DENSE, x, n, true, z, c->n_embd, false));
        memcpy(a, z, n * c->n_embd * sizeof *a);
        b->kernels->bias_act(c->head_act, a, NULL, n, c->n_embd);
        qd_norm_back(k, QD_SLOT_HEAD_NORM, a, d, n, d);
        b->kernels->act_grad(c->head_act, z, d, n * c->n_embd, d);
        QD_TRY(qd_linear_back(k, QD_SLOT_HEAD_DENSE, x, d, n, c->n_embd, false, false, k->g.mixed));
        d = k->g.mixed;
    } else if (qd_weight(b, QD_SLOT_PROJECT_OUT)) {
        QD_TRY(qd_linear_back(k, QD_SLOT_PROJECT_OUT, x, d, n, c->n_word_embd, false, false, k->g.mixed));
        d = k->g.mixed;
    }
    if (normed) qd_norm_back(k, QD_SLOT_NORM, b->h, d, n, k->dh);
    else memcpy(k->dh, d, n * c->n_embd * sizeof *d);
    return QDISP_OK;
}

/* The gradients of the head's input lie apart, as they may have other columns than the residual stream. */
static qdisp_status input_back(const qd_back *k) {
    const qd_head *d = k->head;
    size_t n = k->b.model->config.n_word_embd;
    memcpy(k->g.branch, d->dx + k->b.i_row * n, k->b.n_rows * n * sizeof(float));
    return input_task(k);
}

qdisp_status qd_head_back(qd_backward *w) {
    qd_forward *f = &w->f;
    size_t n_in = f->model->config.n_word_embd, n_vocab = f->model->config.n_vocab;
    head_back g = {.w = w, .dx = qd_alloc_aligned(f->ctx, f->batch_rows * n_in, sizeof(float))};
    qdisp_status status = g.dx ? QDISP_OK : QDISP_ENOMEM;
    if (status == QDISP_OK && w->weight) {
        g.dw = qd_alloc_aligned(f->ctx, n_vocab * n_in, sizeof(float));
        g.lanes = qd_alloc_aligned(f->ctx, w->n_lanes * QD_HEAD_TILE * n_in, sizeof(float));
        if (!g.dw || !g.lanes) status = QDISP_ENOMEM;
    }
    if (status == QDISP_OK) status = qd_head_run(f);
    if (status == QDISP_OK) status = tiles_back(&g);
    qd_free_aligned(f->ctx, g.dw);
    qd_free_aligned(f->ctx, g.lanes);
    if (status == QDISP_OK) {
        f->head->dx = g.dx;
        f->layer = f->model->config.n_layer;
        status = qd_backward_stage(w, 'M', input_back);
    }
    qd_free_aligned(f->ctx, g.dx);
    if (status == QDISP_OK) status = qd_backward_tell(w, 0, QD_SLOT_HEAD_DENSE);
    return status == QDISP_OK ? qd_backward_tell(w, 0, QD_SLOT_PROJECT_OUT) : status;
}
