/* experts_grad.c - a block with a mixture of experts (and norms before its halves) backwards: the router first, then
 * expert after expert, so that no more than one is widened at a time; then the rest of the block, whose attention is
 * run once more. */
#include <string.h>

#include "model/experts.h"
#include "model/grad.h"

/* The choice, and what the experts read. Taps have seen the attention when all is done, so not here. */
static qdisp_status route_task(const qd_back *k) {
    const qd_experts *x = k->f->experts;
    const qd_model_config *c = &k->b.model->config;
    size_t first = qd_experts_row(k->f, &k->b), n = k->b.n_rows;
    qd_run quiet = {0};
    qd_block b = k->b;
    const float *input;
    b.run = &quiet;
    QD_TRY(qd_block_attention(&b));
    qd_block_mlp_input(&b, &input);
    memcpy(x->input + first * c->n_embd, input, n * c->n_embd * sizeof(float));
    memset(x->output + first * c->n_embd, 0, n * c->n_embd * sizeof(float));
    memset(x->dshares + first * c->n_expert_used, 0, n * c->n_expert_used * sizeof(float));
    return qd_experts_route(k->f, &k->b, input, x->probs + first * c->n_expert);
}

/* As qd_linear_back, of matrix `which` of the expert, on some rows. */
static qdisp_status matrix_back(const qd_back *k, const qd_expert_rows *g, size_t which, const float *x,
                                const float *dy, bool add, float *dx) {
    const qd_block *b = &k->b;
    const qd_experts *e = k->f->experts;
    qd_slot slot = (qd_slot)(QD_SLOT_EXPERT_GATE + which);
    size_t i = qd_model_linear_index(b->model, b->i_layer, e->expert, slot);
    const qd_linear *l = &b->model->linears[i];
    qdisp_activation a = {.site = QDISP_SITE_LINEAR_GRAD, .layer = l->layer, .i_linear = i, .i_seq = b->chunk->i_seq,
                          .n_seq = b->chunk->n_seq, .starts = b->starts, .i_row = b->i_row, .n_rows = g->n,
                          .n_cols = l->n_out, .stride = l->n_out, .rows = g->rows, .data = (float *)(uintptr_t)dy};
    QD_TRY(qd_tap_call(b, &a));
    qd_linear_products(k, slot, l, x, dy, g->n, l->n_out, e->weights[which], add, dx);
    return QDISP_OK;
}

/* d_out of a row is its share of dh; the share's own gradient is what the expert says times dh. */
static void outputs_back(const qd_back *k, const qd_expert_rows *g) {
    const qd_experts *x = k->f->experts;
    size_t n = k->b.model->config.n_embd;
    for (size_t i = 0; i < g->n; i++) {
        const float *dh = k->dh + g->rows[i] * n, *out = k->b.a.mlp + i * n;
        float *d = k->g.branch + i * n, share = x->shares[g->places[i]];
        double sum = 0;
        for (size_t j = 0; j < n; j++) {
            sum += (double)dh[j] * (double)out[j];
            d[j] = dh[j] * share;
        }
        x->dshares[g->places[i]] = (float)sum;
    }
}

static qdisp_status expert_task(const qd_back *k) {
    const qd_block *b = &k->b;
    const qd_model_config *c = &b->model->config;
    qd_expert_rows g;
    QD_TRY(qd_experts_network(k->f, b, &g));
    if (g.n == 0) return QDISP_OK;
    outputs_back(k, &g);
    QD_TRY(matrix_back(k, &g, 2, b->a.act, k->g.branch, false, k->g.up));
    b->kernels->act_gated_grad(c->act, b->a.gate, b->a.up, k->g.up, g.n * c->n_ff_expert, k->g.gate, k->g.up);
    QD_TRY(matrix_back(k, &g, 1, b->a.normed, k->g.up, false, k->g.mixed));
    QD_TRY(matrix_back(k, &g, 0, b->a.normed, k->g.gate, true, k->g.mixed));
    float *to = k->f->experts->output + qd_experts_row(k->f, b) * c->n_embd;
    for (size_t i = 0; i < g.n; i++) {
        float *row = to + g.rows[i] * c->n_embd;
        qd_sum(row, k->g.mixed + i * c->n_embd, c->n_embd, row);
    }
    return QDISP_OK;
}

/* From the shares' gradients to those of the router's probabilities, which are 0 where an expert was not chosen. With
 * shares p / sum p: (d - sum of share d) / sum p. */
static void shares_back(const qd_model_config *c, const qd_experts *x, size_t row, float *dp) {
    const uint32_t *chosen = x->chosen + row * c->n_expert_used;
    const float *d = x->dshares + row * c->n_expert_used, *shares = x->shares + row * c->n_expert_used;
    const float *p = x->probs + row * c->n_expert;
    float mean = 0, sum = 1;
    if (c->expert_normalized) {
        sum = 0;
        for (size_t k = 0; k < c->n_expert_used; k++) {
            mean += shares[k] * d[k];
            sum += p[chosen[k]];
        }
    }
    memset(dp, 0, c->n_expert * sizeof *dp);
    for (size_t k = 0; k < c->n_expert_used; k++) dp[chosen[k]] = (d[k] - mean) / sum;
}

static qdisp_status rest_task(const qd_back *k) {
    const qd_block *b = &k->b;
    const qd_model_config *c = &b->model->config;
    const qd_experts *x = k->f->experts;
    size_t first = qd_experts_row(k->f, b), n = c->n_expert;
    const float *input;
    QD_TRY(qd_block_attention(b));
    qd_block_mlp_input(b, &input);
    memcpy(k->g.mixed, x->output + first * c->n_embd, b->n_rows * c->n_embd * sizeof(float));
    for (size_t r = 0; r < b->n_rows; r++) {
        float *row = k->g.gate + r * n;
        shares_back(c, x, first + r, row);
        b->kernels->softmax_grad(x->probs + (first + r) * n, row, n, row);
    }
    QD_TRY(qd_linear_back(k, QD_SLOT_MLP_ROUTER, input, k->g.gate, b->n_rows, n, b->encoder, true, k->g.mixed));
    return qd_block_input_back(k);
}

qdisp_status qd_experts_back(qd_backward *w) {
    qd_forward *f = &w->f;
    QD_TRY(qd_backward_stage(w, 'L', route_task));
    for (size_t i = f->model->config.n_expert; i-- > 0;) {
        w->expert = f->experts->expert = i;
        QD_TRY(qd_experts_widen(f));
        QD_TRY(qd_backward_stage(w, 'E', expert_task));
        for (qd_slot slot = QD_SLOT_EXPERT_DOWN + 1; slot-- > QD_SLOT_EXPERT_GATE;)
            QD_TRY(qd_backward_tell(w, f->layer, slot));
    }
    return qd_backward_stage(w, 'L', rest_task);
}
