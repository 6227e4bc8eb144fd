/* block.c - one block of a transformer, for every architecture: attention, cross attention, feed-forward network.
 *
 * What the norms, residuals and networks of an architecture are is in its qd_model_config. The order of operations is
 * that of transformers' modeling files. */
#include <string.h>

#include "model/run.h"

/* --- memory of the intermediate rows --- */

typedef struct plan {
    float *scratch; /* NULL: only counts */
    size_t used;
} plan;

static float *take(plan *p, size_t n) {
    float *at = p->scratch ? p->scratch + p->used : NULL;
    p->used += (n + 15) / 16 * 16;
    return at;
}

/* In a forward pass: `normed` and what the network reads follow each other, so do qkv and gate, heads and mlp. */
static void plan_shared(const qd_model_config *c, const qd_sizes *s, plan *p, qd_acts *a) {
    size_t n = s->chunk_rows, ff = qd_larger(c->n_ff, c->n_ff_expert), n_heads = c->n_head * c->head_dim;
    a->normed = a->cross_normed = a->mlp_normed = take(p, n * qd_larger(c->n_embd, c->n_word_embd));
    a->qkv = a->cross_q = a->gate = take(p, n * qd_larger(qd_larger(qd_qkv_columns(c), 2 * ff), c->n_expert));
    a->heads = a->cross_heads = a->mlp = a->mlp_normed_out = take(p, n * qd_larger(n_heads, c->n_embd));
    a->attn = a->attn_normed = a->cross = take(p, n * qd_larger(c->n_embd, c->n_word_embd));
    a->up = a->act = take(p, n * ff);
    a->cross_kv = take(p, s->source_rows * 2 * c->n_kv_head * c->head_dim);
}

static void plan_kept(const qd_model_config *c, const qd_sizes *s, plan *p, qd_acts *a) {
    size_t n = s->chunk_rows, e = n * c->n_embd, n_heads = n * c->n_head * c->head_dim;
    size_t ff = qd_larger(c->n_ff, c->n_ff_expert);
    a->normed = take(p, n * qd_larger(c->n_embd, c->n_word_embd));
    a->qkv = take(p, n * qd_qkv_columns(c));
    a->qk_raw = take(p, n * qd_qkv_columns(c));
    a->heads = take(p, qd_larger(n_heads, e));
    a->attn = take(p, n * qd_larger(c->n_embd, c->n_word_embd));
    a->attn_normed = take(p, e);
    a->h_attn = take(p, e);
    a->h_mid = take(p, e);
    if (c->kind == QDISP_MODEL_ENCODER_DECODER) {
        a->cross_normed = take(p, e);
        a->cross_q = take(p, n_heads);
        a->cross_kv = take(p, s->source_rows * 2 * c->n_kv_head * c->head_dim);
        a->cross_heads = take(p, n_heads);
        a->cross = take(p, e);
        a->h_cross = take(p, e);
    }
    a->mlp_normed = take(p, e);
    a->gate = take(p, n * 2 * ff);
    a->up = take(p, n * ff);
    a->act = take(p, n * ff);
    a->mlp = take(p, e);
    a->mlp_normed_out = take(p, e);
    a->h_mlp = take(p, e);
}

size_t qd_acts_plan(const qdisp_model *model, const qd_sizes *sizes, bool keep, float *scratch, qd_acts *out) {
    plan p = {.scratch = scratch};
    qd_sizes rows = *sizes; /* a block may be of either stack */
    qd_acts acts = {0};
    rows.chunk_rows = qd_larger(rows.chunk_rows, rows.source_rows);
    if (keep) plan_kept(&model->config, &rows, &p, &acts);
    else plan_shared(&model->config, &rows, &p, &acts);
    if (out) *out = acts;
    return p.used;
}

/* --- attention --- */

/* h = residual + x, with the norm after it where norms stand there. raw: the sum before the norm. */
static void add_residual(const qd_block *b, const float *residual, const float *x, qd_slot post_norm, float *raw,
                         float *h) {
    size_t n = b->n_rows * b->model->config.n_embd;
    bool post = b->model->config.norm_place == QD_NORM_POST;
    qd_sum(residual, x, n, post ? raw : h);
    if (post) qd_norm_rows(b, post_norm, raw, b->n_rows, h);
}

static void sandwich(const qd_block *b, qd_slot post_norm, const float *x, float *out) {
    if (b->model->config.norm_place == QD_NORM_SANDWICH) qd_norm_rows(b, post_norm, x, b->n_rows, out);
    else if (out != x) memcpy(out, x, b->n_rows * b->model->config.n_embd * sizeof *out);
}

/* What a branch reads: the norm of the residual, or the residual itself. */
static void read_residual(const qd_block *b, qd_slot norm, const float *h, float *out) {
    if (b->model->config.norm_place != QD_NORM_POST) qd_norm_rows(b, norm, h, b->n_rows, out);
    else memcpy(out, h, b->n_rows * b->model->config.n_embd * sizeof *out);
}

static qdisp_status cross_part(const qd_block *b) {
    const qd_model_config *c = &b->model->config;
    if (c->kind != QDISP_MODEL_ENCODER_DECODER || b->encoder) return QDISP_OK;
    float *h_mid = b->a.h_mid ? b->a.h_mid : b->h, *h_cross = b->a.h_cross ? b->a.h_cross : b->h;
    read_residual(b, QD_SLOT_CROSS_NORM, h_mid, b->a.cross_normed);
    QD_TRY(qd_cross_attention(b));
    QD_TRY(qd_tap_rows(b, QDISP_SITE_CROSS, b->a.cross, c->n_embd));
    qd_sum(h_mid, b->a.cross, b->n_rows * c->n_embd, h_cross);
    return QDISP_OK;
}

qdisp_status qd_block_attention(const qd_block *b) {
    const qd_model_config *c = &b->model->config;
    float *h_mid = b->a.h_mid ? b->a.h_mid : b->h, *raw = b->a.h_attn ? b->a.h_attn : b->h;
    read_residual(b, QD_SLOT_ATTN_NORM, b->h, b->a.normed);
    QD_TRY(qd_attention(b));
    sandwich(b, QD_SLOT_ATTN_POST_NORM, b->a.attn, b->a.attn_normed);
    QD_TRY(qd_tap_rows(b, QDISP_SITE_ATTN, b->a.attn_normed, c->n_embd));
    if (c->parallel) return QDISP_OK;
    add_residual(b, c->residual_normed ? b->a.normed : b->h, b->a.attn_normed, QD_SLOT_ATTN_POST_NORM, raw, h_mid);
    return cross_part(b);
}

/* --- feed-forward network --- */

const float *qd_block_residual(const qd_block *b) {
    const qd_model_config *c = &b->model->config;
    if (c->parallel) return b->h;
    if (c->kind == QDISP_MODEL_ENCODER_DECODER && !b->encoder) return b->a.h_cross ? b->a.h_cross : b->h;
    return b->a.h_mid ? b->a.h_mid : b->h;
}

void qd_block_mlp_input(const qd_block *b, const float **x) {
    bool shared = b->model->config.parallel && !qd_weight(b, QD_SLOT_MLP_NORM);
    if (!shared) read_residual(b, QD_SLOT_MLP_NORM, qd_block_residual(b), b->a.mlp_normed);
    *x = shared ? b->a.normed : b->a.mlp_normed;
}

/* Fused: rows of gate and up side by side. */
static qdisp_status gated_fused(const qd_block *b, const float *x) {
    size_t n = b->model->config.n_ff;
    QD_TRY(qd_linear_run(b, QD_SLOT_MLP_GATE_UP, x, b->n_rows, true, b->a.gate, 2 * n, b->encoder));
    for (size_t r = 0; r < b->n_rows; r++) {
        const float *row = b->a.gate + r * 2 * n;
        b->kernels->act_gated(b->model->config.act, row, row + n, n, b->a.act + r * n);
    }
    return QDISP_OK;
}

static qdisp_status gated(const qd_block *b, const float *x) {
    const qd_model_config *c = &b->model->config;
    if (qd_weight(b, QD_SLOT_MLP_GATE_UP)) return gated_fused(b, x);
    QD_TRY(qd_linear_run(b, QD_SLOT_MLP_GATE, x, b->n_rows, true, b->a.gate, c->n_ff, b->encoder));
    QD_TRY(qd_linear_run(b, QD_SLOT_MLP_UP, x, b->n_rows, true, b->a.up, c->n_ff, b->encoder));
    b->kernels->act_gated(c->act, b->a.gate, b->a.up, b->n_rows * c->n_ff, b->a.act);
    return QDISP_OK;
}

/* The bias is added by the activation, in one pass, unless somebody looks at what is between. */
static qdisp_status plain(const qd_block *b, const float *x) {
    const qd_model_config *c = &b->model->config;
    bool looked_at = b->a.act != b->a.up || (b->run->sites & QDISP_SITE_BIT(QDISP_SITE_LINEAR_OUT));
    QD_TRY(qd_linear_run(b, QD_SLOT_MLP_UP, x, b->n_rows, looked_at, b->a.up, c->n_ff, b->encoder));
    if (b->a.act != b->a.up) memcpy(b->a.act, b->a.up, b->n_rows * c->n_ff * sizeof(float));
    b->kernels->bias_act(c->act, b->a.act, looked_at ? NULL : qd_weight(b, QD_SLOT_MLP_UP_BIAS), b->n_rows, c->n_ff);
    return QDISP_OK;
}

qdisp_status qd_block_mlp_output(const qd_block *b) {
    const qd_model_config *c = &b->model->config;
    size_t n = b->n_rows * c->n_embd;
    float *out = b->a.h_mlp ? b->a.h_mlp : b->h;
    sandwich(b, QD_SLOT_MLP_POST_NORM, b->a.mlp, b->a.mlp_normed_out);
    QD_TRY(qd_tap_rows(b, QDISP_SITE_MLP, b->a.mlp_normed_out, c->n_embd));
    if (c->parallel) {
        qd_sum(b->a.attn_normed, b->a.mlp_normed_out, n, b->a.mlp_normed_out);
        qd_sum(b->h, b->a.mlp_normed_out, n, out);
        return QDISP_OK;
    }
    const float *residual = c->residual_normed ? b->a.mlp_normed : qd_block_residual(b);
    bool post = c->norm_place == QD_NORM_POST;
    qd_sum(residual, b->a.mlp_normed_out, n, out);
    if (post && !b->a.h_mlp) qd_norm_rows(b, QD_SLOT_MLP_POST_NORM, out, b->n_rows, out);
    return QDISP_OK;
}

qdisp_status qd_block_mlp(const qd_block *b) {
    const qd_model_config *c = &b->model->config;
    const float *x;
    qd_block_mlp_input(b, &x);
    QD_TRY(c->gated ? gated(b, x) : plain(b, x));
    QD_TRY(qd_linear_run(b, QD_SLOT_MLP_DOWN, b->a.act, b->n_rows, true, b->a.mlp, c->n_embd, b->encoder));
    return qd_block_mlp_output(b);
}
