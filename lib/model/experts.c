/* experts.c - a mixture of experts: the router picks, then expert after expert is widened and sees its rows, so that
 * no more than one expert's weights are in memory at a time. */
#include <string.h>

#include "model/experts.h"

size_t qd_experts_row(const qd_forward *f, const qd_block *b) {
    return b->i_row - f->chunks[f->first_chunk].i_row;
}

/* The largest n_used of p[n] in falling order, the first of equals first. */
static void choose(const qd_model_config *c, const float *p, uint32_t *chosen, float *shares) {
    float sum = 0;
    for (size_t k = 0; k < c->n_expert_used; k++) {
        size_t best = QD_NONE;
        for (size_t e = 0; e < c->n_expert; e++) {
            bool taken = false;
            for (size_t i = 0; i < k; i++) taken |= chosen[i] == e;
            if (!taken && (best == QD_NONE || p[e] > p[best])) best = e;
        }
        chosen[k] = (uint32_t)best;
        shares[k] = p[best];
        sum += p[best];
    }
    for (size_t k = 0; c->expert_normalized && k < c->n_expert_used; k++) shares[k] /= sum;
}

qdisp_status qd_experts_route(const qd_forward *f, const qd_block *b, const float *input, float *probs) {
    const qd_model_config *c = &f->model->config;
    const qd_experts *x = f->experts;
    size_t first = qd_experts_row(f, b);
    QD_TRY(qd_linear_run(b, QD_SLOT_MLP_ROUTER, input, b->n_rows, false, probs, c->n_expert, b->encoder));
    for (size_t r = 0; r < b->n_rows; r++) {
        float *row = probs + r * c->n_expert;
        b->kernels->softmax(row, c->n_expert);
        choose(c, row, x->chosen + (first + r) * c->n_expert_used, x->shares + (first + r) * c->n_expert_used);
    }
    return QDISP_OK;
}

static qdisp_status route_task(qd_forward *f, const qd_block *b) {
    size_t n_embd = f->model->config.n_embd, at = qd_experts_row(f, b) * n_embd, n = b->n_rows * n_embd;
    const float *input;
    QD_TRY(qd_block_attention(b));
    qd_block_mlp_input(b, &input);
    memcpy(f->experts->input + at, input, n * sizeof(float));
    memset(f->experts->output + at, 0, n * sizeof(float));
    return qd_experts_route(f, b, input, b->a.gate);
}

static qd_expert_rows gather(const qd_forward *f, const qd_block *b) {
    const qd_experts *x = f->experts;
    size_t first = qd_experts_row(f, b), k_max = f->model->config.n_expert_used, e = f->model->config.n_embd;
    /* qd_forward_scratch_floats sees to it that both lists fit */
    qd_expert_rows g = {.rows = (size_t *)(void *)b->scores};
    g.places = g.rows + f->sizes.chunk_rows;
    for (size_t r = 0; r < b->n_rows; r++) {
        for (size_t k = 0; k < k_max; k++) {
            if (x->chosen[(first + r) * k_max + k] != x->expert) continue;
            memcpy(b->a.normed + g.n * e, x->input + (first + r) * e, e * sizeof(float));
            g.places[g.n] = (first + r) * k_max + k;
            g.rows[g.n++] = r;
        }
    }
    return g;
}

static qdisp_status expert_linear(const qd_forward *f, const qd_block *b, size_t which, const float *in, size_t n,
                                  const size_t *rows, float *out) {
    const qd_experts *x = f->experts;
    size_t i = qd_model_linear_index(f->model, b->i_layer, x->expert, (qd_slot)(QD_SLOT_EXPERT_GATE + which));
    const qd_linear *l = &f->model->linears[i];
    qdisp_activation a = {.site = QDISP_SITE_LINEAR_IN, .layer = l->layer, .i_linear = i, .i_seq = b->chunk->i_seq,
                          .n_seq = b->chunk->n_seq, .starts = b->starts, .i_row = b->i_row, .n_rows = n,
                          .n_cols = l->n_in, .stride = l->n_in, .rows = rows, .data = (float *)(uintptr_t)in};
    QD_TRY(qd_tap_call(b, &a));
    qd_linear_apply(b, in, n, l->n_in, x->weights[which], l->n_out, false, out, l->n_out);
    a.site = QDISP_SITE_LINEAR_OUT;
    a.n_cols = a.stride = l->n_out;
    a.data = out;
    return qd_tap_call(b, &a);
}

qdisp_status qd_experts_network(const qd_forward *f, const qd_block *b, qd_expert_rows *out) {
    const qd_model_config *c = &f->model->config;
    qd_expert_rows g = *out = gather(f, b);
    if (g.n == 0) return QDISP_OK;
    QD_TRY(expert_linear(f, b, 0, b->a.normed, g.n, g.rows, b->a.gate));
    QD_TRY(expert_linear(f, b, 1, b->a.normed, g.n, g.rows, b->a.up));
    b->kernels->act_gated(c->act, b->a.gate, b->a.up, g.n * c->n_ff_expert, b->a.act);
    return expert_linear(f, b, 2, b->a.act, g.n, g.rows, b->a.mlp);
}

static qdisp_status expert_task(qd_forward *f, const qd_block *b) {
    size_t n_embd = f->model->config.n_embd;
    qd_expert_rows g;
    QD_TRY(qd_experts_network(f, b, &g));
    for (size_t i = 0; i < g.n; i++) {
        float *out = f->experts->output + (qd_experts_row(f, b) + g.rows[i]) * n_embd;
        float share = f->experts->shares[g.places[i]];
        for (size_t j = 0; j < n_embd; j++) out[j] += b->a.mlp[i * n_embd + j] * share;
    }
    return QDISP_OK;
}

static qdisp_status finish_task(qd_forward *f, const qd_block *b) {
    size_t n_embd = f->model->config.n_embd;
    memcpy(b->a.mlp, f->experts->output + qd_experts_row(f, b) * n_embd, b->n_rows * n_embd * sizeof(float));
    QD_TRY(qd_block_mlp_output(b));
    return qd_tap_rows(b, QDISP_SITE_RESIDUAL, b->h, n_embd);
}

static qdisp_status make_experts(qd_forward *f) {
    const qd_model_config *c = &f->model->config;
    qd_experts *x = f->experts = qd_alloc(f->ctx, 1, sizeof *x);
    if (!x) return QDISP_ENOMEM;
    x->input = qd_alloc_aligned(f->ctx, f->batch_rows * c->n_embd, sizeof(float));
    x->output = qd_alloc_aligned(f->ctx, f->batch_rows * c->n_embd, sizeof(float));
    x->chosen = qd_alloc(f->ctx, f->batch_rows * c->n_expert_used, sizeof *x->chosen);
    x->shares = qd_alloc(f->ctx, f->batch_rows * c->n_expert_used, sizeof *x->shares);
    for (size_t i = 0; i < 3; i++) {
        x->matrices[i] = qd_alloc_aligned(f->ctx, qd_panel_floats(i < 2 ? c->n_ff_expert : c->n_embd,
                                                                  i < 2 ? c->n_embd : c->n_ff_expert), sizeof(float));
        if (!x->matrices[i]) return QDISP_ENOMEM;
    }
    if (f->keep) {
        x->probs = qd_alloc_aligned(f->ctx, f->batch_rows * c->n_expert, sizeof(float));
        x->dshares = qd_alloc(f->ctx, f->batch_rows * c->n_expert_used, sizeof(float));
        if (!x->probs || !x->dshares) return QDISP_ENOMEM;
    }
    return x->input && x->output && x->chosen && x->shares ? QDISP_OK : QDISP_ENOMEM;
}

void qd_experts_free(qd_forward *f) {
    qd_experts *x = f->experts;
    if (!x) return;
    qd_free_aligned(f->ctx, x->input);
    qd_free_aligned(f->ctx, x->output);
    qd_free(f->ctx, x->chosen);
    qd_free(f->ctx, x->shares);
    qd_free_aligned(f->ctx, x->probs);
    qd_free(f->ctx, x->dshares);
    for (size_t i = 0; i < 3; i++) qd_free_aligned(f->ctx, x->matrices[i]);
    qd_free(f->ctx, x);
}

qdisp_status qd_experts_widen(qd_forward *f) {
    qd_experts *x = f->experts;
    for (size_t i = 0; i < 3; i++) {
        size_t t = qd_model_index(f->model, f->layer, x->expert, (qd_slot)(QD_SLOT_EXPERT_GATE + i));
        QD_TRY(qd_forward_load(f, t, x->matrices[i], &x->weights[i]));
    }
    return QDISP_OK;
}

qdisp_status qd_experts_run(qd_forward *f) {
    if (!f->experts) QD_TRY(make_experts(f));
    qd_experts *x = f->experts;
    QD_TRY(qd_forward_stage(f, route_task));
    for (x->expert = 0; x->expert < f->model->config.n_expert; x->expert++) {
        QD_TRY(qd_experts_widen(f));
        QD_TRY(qd_forward_stage(f, expert_task));
    }
    return qd_forward_stage(f, finish_task);
}
