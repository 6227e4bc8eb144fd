/* head.c - from the residual stream to losses: the final norm, then the vocabulary tile by tile, so that no more than a
 * tile of logits of a chunk is ever held, and no more than a tile of the head is loaded. */
#include <math.h>
#include <string.h>

#include "model/head.h"

static size_t at_batch(const qd_forward *f, const qd_chunk *chunk) {
    return chunk->i_row - f->chunks[f->first_chunk].i_row;
}

static void scale_rows(const qd_model_config *c, size_t n, float *x) {
    for (size_t i = 0; c->head_scale > 0 && i < n; i++) x[i] *= c->head_scale;
}

qdisp_status qd_head_input(const qd_block *b, const float *x, size_t n_rows, float *out) {
    const qd_model_config *c = &b->model->config;
    const float *at = x;
    size_t n = c->n_embd;
    if (qd_weight(b, QD_SLOT_NORM)) {
        qd_norm_rows(b, QD_SLOT_NORM, x, n_rows, b->a.normed);
        at = b->a.normed;
    }
    if (qd_weight(b, QD_SLOT_PROJECT_OUT)) {
        QD_TRY(qd_linear_run(b, QD_SLOT_PROJECT_OUT, at, n_rows, false, b->a.attn, c->n_word_embd, false));
        at = b->a.attn;
        n = c->n_word_embd;
    }
    if (qd_weight(b, QD_SLOT_HEAD_DENSE)) {
        QD_TRY(qd_linear_run(b, QD_SLOT_HEAD_DENSE, at, n_rows, true, b->a.attn, n, false));
        b->kernels->bias_act(c->head_act, b->a.attn, NULL, n_rows, n);
        qd_norm_rows(b, QD_SLOT_HEAD_NORM, b->a.attn, n_rows, b->a.heads);
        at = b->a.heads;
    }
    if (out != at) memcpy(out, at, n_rows * n * sizeof *out);
    scale_rows(c, n_rows * n, out);
    return QDISP_OK;
}

/* The rows that are wanted, moved together in front of their chunk's part of h, and through the final norm. */
static qdisp_status input_task(qd_forward *f, const qd_block *b) {
    const qd_model_config *c = &f->model->config;
    qd_head *d = f->head;
    size_t n = 0, first = at_batch(f, b->chunk);
    for (size_t r = 0; r < b->n_rows; r++) {
        if (!f->run->logits && !f->run->tap_head && f->targets[b->i_row + r] < 0) continue;
        if (n != r) memcpy(b->h + n * c->n_embd, b->h + r * c->n_embd, c->n_embd * sizeof(float));
        d->lse[first + n] = (qd_lse)QD_LSE;
        d->rows[first + n++] = r;
    }
    d->n_rows[b->chunk->i_chunk - f->first_chunk] = n;
    QD_TRY(qd_head_input(b, b->h, n, b->h));
    const qd_linear *l = &f->model->linears[f->model->n_linears - 1];
    qdisp_activation a = {.site = QDISP_SITE_LINEAR_IN, .layer = -1, .i_linear = f->model->n_linears - 1,
                          .i_seq = b->chunk->i_seq, .n_seq = b->chunk->n_seq, .starts = b->starts, .i_row = b->i_row,
                          .n_rows = n, .n_cols = l->n_in, .stride = l->n_in, .data = b->h};
    if (n != b->n_rows) a.rows = d->rows + first;
    return qd_tap_call(b, &a);
}

void qd_head_finish(const qd_forward *f, float *logits, size_t n, size_t ld) {
    const qd_head *d = f->head;
    for (size_t r = 0; r < n; r++) {
        float *row = logits + r * ld;
        if (d->bias) qd_sum(row, d->bias + d->first, d->n, row);
        if (f->model->config.logit_softcap > 0)
            f->ctx->kernels->scale_softcap(row, d->n, 1.0f, f->model->config.logit_softcap);
    }
}

static qdisp_status tile_task(qd_forward *f, const qd_block *b) {
    const qd_model_config *c = &f->model->config;
    qd_head *d = f->head;
    size_t first = at_batch(f, b->chunk), n = d->n_rows[b->chunk->i_chunk - f->first_chunk];
    if (n == 0) return QDISP_OK;
    float *logits = f->run->logits ? f->run->logits + b->i_row * c->n_vocab + d->first : b->scratch;
    size_t ld = f->run->logits ? c->n_vocab : d->n;
    qd_linear_apply(b, b->h, n, c->n_word_embd, d->weight, d->n, false, logits, ld);
    qd_head_finish(f, logits, n, ld);
    for (size_t r = 0; f->run->nll && r < n; r++) {
        int32_t target = f->targets[b->i_row + d->rows[first + r]];
        if (target < 0) continue;
        f->ctx->kernels->lse_part(logits + r * ld, d->n, &d->lse[first + r]);
        size_t at = (size_t)target - d->first;
        if ((size_t)target >= d->first && at < d->n) d->target[first + r] = logits[r * ld + at];
    }
    return QDISP_OK;
}

static void store_losses(const qd_forward *f) {
    const qd_head *d = f->head;
    for (size_t k = 0; k < f->n_batch; k++) {
        const qd_chunk *chunk = &f->chunks[f->first_chunk + k];
        size_t first = at_batch(f, chunk);
        for (size_t r = 0; r < d->n_rows[k]; r++) {
            size_t row = chunk->i_row + d->rows[first + r];
            if (f->targets[row] < 0) continue;
            f->run->nll[row + f->first_target] = (float)qd_lse_nll(&d->lse[first + r], d->target[first + r]);
        }
    }
}

static qdisp_status make_head(qd_forward *f) {
    const qdisp_model *m = f->model;
    qd_head *d = f->head = qd_alloc(f->ctx, 1, sizeof *d);
    if (!d) return QDISP_ENOMEM;
    size_t bias = m->linears[m->n_linears - 1].i_bias;
    d->rows = qd_alloc(f->ctx, f->batch_rows, sizeof *d->rows);
    d->lse = qd_alloc(f->ctx, f->batch_rows, sizeof *d->lse);
    d->target = qd_alloc(f->ctx, f->batch_rows, sizeof *d->target);
    d->n_rows = qd_alloc(f->ctx, f->batch_chunks, sizeof *d->n_rows);
    d->tile = qd_alloc_aligned(f->ctx, QD_HEAD_TILE * m->config.n_word_embd, sizeof(float));
    if (!d->rows || !d->lse || !d->target || !d->n_rows || !d->tile) return QDISP_ENOMEM;
    if (bias != QD_NONE) d->bias = f->weights[QD_SLOT_HEAD_BIAS];
    return QDISP_OK;
}

void qd_head_free(qd_forward *f) {
    qd_head *d = f->head;
    if (!d) return;
    qd_free(f->ctx, d->rows);
    qd_free(f->ctx, d->lse);
    qd_free(f->ctx, d->target);
    qd_free(f->ctx, d->n_rows);
    qd_free_aligned(f->ctx, d->tile);
    qd_free(f->ctx, d);
}

qdisp_status qd_head_run(qd_forward *f) {
    if (!f->head) QD_TRY(make_head(f));
    qd_head *d = f->head;
    size_t i_weight = f->model->linears[f->model->n_linears - 1].i_weight, n_vocab = f->model->config.n_vocab;
    QD_TRY(qd_forward_stage(f, input_task));
    if (!f->run->nll && !f->run->logits) return QDISP_OK;
    for (d->first = 0; d->first < n_vocab; d->first += QD_HEAD_TILE) {
        d->n = n_vocab - d->first < QD_HEAD_TILE ? n_vocab - d->first : QD_HEAD_TILE;
        QD_TRY(qd_forward_load_rows(f, i_weight, d->first, d->n, d->tile, &d->weight));
        QD_TRY(qd_forward_stage(f, tile_task));
    }
    if (f->run->nll) store_losses(f);
    return QDISP_OK;
}
