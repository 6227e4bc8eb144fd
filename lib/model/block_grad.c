/* block_grad.c - one block backwards: the mirror of block.c, whose intermediate rows are kept. */
#include <string.h>

#include "model/grad.h"

size_t qd_grads_plan(const qdisp_model *model, const qd_sizes *sizes, float *scratch, qd_grads *out) {
    const qd_model_config *c = &model->config;
    size_t n = qd_larger(sizes->chunk_rows, sizes->source_rows), e = n * qd_larger(c->n_embd, c->n_word_embd), used = 0;
    size_t n_k = 2 * c->n_kv_head * c->head_dim, ff = qd_larger(c->n_ff, c->n_ff_expert);
    const size_t floats[] = {e, e, e, n * qd_larger(c->n_head * c->head_dim, c->n_embd), n * qd_qkv_columns(c),
                             sizes->source_rows * n_k, n * qd_larger(2 * ff, c->n_expert), n * ff};
    float **pointers = (float **)out;
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        if (out) pointers[i] = scratch + used;
        used += (floats[i] + 15) / 16 * 16;
    }
    return used;
}

void qd_linear_products(const qd_back *k, qd_slot slot, const qd_linear *l, const float *x, const float *dy,
                        size_t n_rows, size_t ld, const float *weight, bool add, float *dx) {
    size_t n_out = l->n_out, n_in = l->n_in;
    float *dw = k->lane->dw[slot];
    if (dw) qd_gemm(true, false, n_out, n_in, n_rows, 1.0f, dy, ld, x, n_in, 1.0f, dw, n_in);
    if (dx) qd_gemm(false, false, n_rows, n_in, n_out, 1.0f, dy, ld, weight, n_in, add ? 1.0f : 0.0f, dx, n_in);
}

qdisp_status qd_linear_back(const qd_back *k, qd_slot weight, const float *x, const float *dy, size_t n_rows, size_t ld,
                            bool source, bool add, float *dx) {
    const qd_block *b = &k->b;
    bool outside = qd_slot_rows[weight].where == 'M';
    size_t i = qd_model_linear_index(b->model, outside ? 0 : b->i_layer, 0, weight);
    const qd_linear *l = &b->model->linears[i];
    if (b->run->sites & QDISP_SITE_BIT(QDISP_SITE_LINEAR_GRAD)) {
        qdisp_activation a = {.site = QDISP_SITE_LINEAR_GRAD, .layer = l->layer, .i_linear = i,
                              .i_seq = b->chunk->i_seq, .n_seq = b->chunk->n_seq,
                              .starts = source ? b->source_starts : b->starts,
                              .i_row = source ? b->chunk->i_source : b->i_row, .n_rows = n_rows, .n_cols = l->n_out,
                              .stride = ld, .data = (float *)(uintptr_t)dy};
        QD_TRY(qd_tap_call(b, &a));
    }
    qd_linear_products(k, weight, l, x, dy, n_rows, ld, qd_weight(b, weight), add, dx);
    return QDISP_OK;
}

void qd_norm_back(const qd_back *k, qd_slot slot, const float *x, const float *dy, size_t n_rows, float *dx) {
    const qd_block *b = &k->b;
    const qd_model_config *c = &b->model->config;
    const float *w = qd_weight(b, slot);
    size_t n = c->n_embd;
    for (size_t r = 0; r < n_rows; r++) {
        if (c->rms) b->kernels->rms_norm_grad(x + r * n, n, c->epsilon, w, c->norm_offset, dy + r * n, dx + r * n);
        else b->kernels->layer_norm_grad(x + r * n, n, c->epsilon, w, dy + r * n, dx + r * n);
    }
}

/* --- feed-forward network: from g.branch (of mlp.down's output) to g.mixed (of what the network reads) --- */

static qdisp_status fused_back(const qd_back *k, const float *x) {
    const qd_block *b = &k->b;
    size_t n = b->model->config.n_ff;
    for (size_t r = 0; r < b->n_rows; r++) {
        const float *row = b->a.gate + r * 2 * n;
        float *d = k->g.gate + r * 2 * n;
        b->kernels->act_gated_grad(b->model->config.act, row, row + n, k->g.up + r * n, n, d, d + n);
    }
    return qd_linear_back(k, QD_SLOT_MLP_GATE_UP, x, k->g.gate, b->n_rows, 2 * n, b->encoder, false, k->g.mixed);
}

static qdisp_status network_back(const qd_back *k, const float *x) {
    const qd_block *b = &k->b;
    const qd_model_config *c = &b->model->config;
    size_t n = b->n_rows, n_ff = c->n_ff;
    QD_TRY(qd_linear_back(k, QD_SLOT_MLP_DOWN, b->a.act, k->g.branch, n, c->n_embd, b->encoder, false, k->g.up));
    if (!c->gated) {
        b->kernels->act_grad(c->act, b->a.up, k->g.up, n * n_ff, k->g.up);
        return qd_linear_back(k, QD_SLOT_MLP_UP, x, k->g.up, n, n_ff, b->encoder, false, k->g.mixed);
    }
    if (qd_weight(b, QD_SLOT_MLP_GATE_UP)) return fused_back(k, x);
    b->kernels->act_gated_grad(c->act, b->a.gate, b->a.up, k->g.up, n * n_ff, k->g.gate, k->g.up);
    QD_TRY(qd_linear_back(k, QD_SLOT_MLP_UP, x, k->g.up, n, n_ff, b->encoder, false, k->g.mixed));
    return qd_linear_back(k, QD_SLOT_MLP_GATE, x, k->g.gate, n, n_ff, b->encoder, true, k->g.mixed);
}

/* dh += the gradient that comes through what a branch reads: dx, of norm(h) or h. */
static void read_back(const qd_back *k, qd_slot norm, const float *h, float *dx) {
    size_t n = k->b.n_rows;
    if (k->b.model->config.norm_place != QD_NORM_POST) qd_norm_back(k, norm, h, dx, n, dx);
    qd_sum(k->dh, dx, n * k->b.model->config.n_embd, k->dh);
}

/* g.branch = the gradient of a branch's output, given dh of the residual that it was added to. */
static void branch_back(const qd_back *k, qd_slot post_norm, const float *raw_sum, const float *raw_branch) {
    const qd_model_config *c = &k->b.model->config;
    size_t n = k->b.n_rows * c->n_embd;
    if (c->norm_place == QD_NORM_POST) qd_norm_back(k, post_norm, raw_sum, k->dh, k->b.n_rows, k->dh);
    if (c->norm_place == QD_NORM_SANDWICH) qd_norm_back(k, post_norm, raw_branch, k->dh, k->b.n_rows, k->g.branch);
    else memcpy(k->g.branch, k->dh, n * sizeof(float));
}

static qdisp_status mlp_back(const qd_back *k) {
    const qd_block *b = &k->b;
    const qd_model_config *c = &b->model->config;
    size_t n = b->n_rows * c->n_embd;
    branch_back(k, QD_SLOT_MLP_POST_NORM, b->a.h_mlp, b->a.mlp);
    QD_TRY(network_back(k, b->a.mlp_normed));
    if (c->residual_normed) {
        qd_sum(k->g.mixed, k->dh, n, k->g.mixed);
        memset(k->dh, 0, n * sizeof(float));
    }
    return QDISP_OK;
}

/* --- attention --- */

static qdisp_status cross_back(const qd_back *k) {
    const qd_block *b = &k->b;
    const qd_model_config *c = &b->model->config;
    size_t n = b->n_rows, n_source = b->chunk->n_source;
    size_t n_q = c->n_head * c->head_dim, n_k = c->n_kv_head * c->head_dim;
    QD_TRY(qd_linear_back(k, QD_SLOT_CROSS_OUT, b->a.cross_heads, k->dh, n, c->n_embd, false, false, k->g.heads));
    qd_cross_attention_back(k);
    QD_TRY(qd_linear_back(k, QD_SLOT_CROSS_V, b->memory, k->g.kv + n_k, n_source, 2 * n_k, true, true, k->dmemory));
    QD_TRY(qd_linear_back(k, QD_SLOT_CROSS_K, b->memory, k->g.kv, n_source, 2 * n_k, true, true, k->dmemory));
    QD_TRY(qd_linear_back(k, QD_SLOT_CROSS_Q, b->a.cross_normed, k->g.qkv, n, n_q, false, false, k->g.mixed));
    read_back(k, QD_SLOT_CROSS_NORM, b->a.h_mid, k->g.mixed);
    return QDISP_OK;
}

static qdisp_status self_back(const qd_back *k) {
    const qd_block *b = &k->b;
    QD_TRY(qd_linear_back(k, QD_SLOT_ATTN_OUT, b->a.heads, k->g.branch, b->n_rows, b->model->config.n_embd, b->encoder,
                          false, k->g.heads));
    return qd_attention_back(k); /* to g.normed */
}

static qdisp_status attention_back(const qd_back *k) {
    const qd_block *b = &k->b;
    const qd_model_config *c = &b->model->config;
    size_t n = b->n_rows * c->n_embd;
    branch_back(k, QD_SLOT_ATTN_POST_NORM, b->a.h_attn, b->a.attn);
    QD_TRY(self_back(k));
    if (c->residual_normed) {
        qd_sum(k->g.normed, k->dh, n, k->g.normed);
        memset(k->dh, 0, n * sizeof(float));
    }
    read_back(k, QD_SLOT_ATTN_NORM, b->h, k->g.normed);
    return QDISP_OK;
}

qdisp_status qd_block_input_back(const qd_back *k) {
    const qd_block *b = &k->b;
    read_back(k, QD_SLOT_MLP_NORM, qd_block_residual(b), k->g.mixed);
    if (b->model->config.kind == QDISP_MODEL_ENCODER_DECODER && !b->encoder) QD_TRY(cross_back(k));
    return attention_back(k);
}

/* Both branches read the same residual and add to it. */
static qdisp_status parallel_back(const qd_back *k) {
    const qd_block *b = &k->b;
    size_t n = b->n_rows * b->model->config.n_embd;
    bool shared = !qd_weight(b, QD_SLOT_MLP_NORM);
    memcpy(k->g.branch, k->dh, n * sizeof(float)); /* of either branch's output; dh itself goes on */
    QD_TRY(network_back(k, shared ? b->a.normed : b->a.mlp_normed));
    QD_TRY(self_back(k));
    if (shared) qd_sum(k->g.normed, k->g.mixed, n, k->g.normed);
    else read_back(k, QD_SLOT_MLP_NORM, b->h, k->g.mixed);
    read_back(k, QD_SLOT_ATTN_NORM, b->h, k->g.normed);
    return QDISP_OK;
}

qdisp_status qd_block_back(const qd_back *k) {
    const qd_block *b = &k->b;
    QD_TRY(qd_block_attention(b));
    QD_TRY(qd_block_mlp(b));
    if (b->model->config.parallel) return parallel_back(k);
    QD_TRY(mlp_back(k));
    return qd_block_input_back(k);
}
