/* attention_grad.c - attention backwards: probabilities are computed once more, query block by query block. */
#include <string.h>

#include "model/grad.h"

/* One head of one sequence: dq, dk and dv have the places and strides of q, k and v; dk and dv are added to. */
typedef struct head_grad {
    const float *d_out;
    float *dq, *dk, *dv;
} head_grad;

static void head_back(const qd_back *k, const qd_attend *a, const head_grad *g) {
    const qd_block *b = &k->b;
    size_t d = b->model->config.head_dim, longest = b->positions->longest, i_key, n;
    size_t rows = longest < QD_QUERY_ROWS ? longest : QD_QUERY_ROWS;
    float *p = b->scores, *dp = p + rows * longest, *capped = a->softcap > 0 ? dp + rows * longest : NULL;
    for (size_t first = 0; first < a->n_q; first += QD_QUERY_ROWS) {
        size_t m = a->n_q - first < QD_QUERY_ROWS ? a->n_q - first : QD_QUERY_ROWS;
        qd_attend_probs(b, a, first, m, p, capped, &i_key, &n);
        const float *d_out = g->d_out + first * a->ld_out, *v = a->v + i_key * a->ld_k;
        qd_gemm(false, true, m, n, d, 1.0f, d_out, a->ld_out, v, a->ld_k, 0.0f, dp, n);
        qd_gemm(true, false, n, d, m, 1.0f, p, n, d_out, a->ld_out, 1.0f, g->dv + i_key * a->ld_k, a->ld_k);
        for (size_t r = 0; r < m; r++) b->kernels->softmax_grad(p + r * n, dp + r * n, n, dp + r * n);
        for (size_t i = 0; capped && i < m * n; i++) {
            float t = capped[i] / a->softcap;
            dp[i] *= 1.0f - t * t;
        }
        qd_gemm(false, false, m, d, n, a->scale, dp, n, a->k + i_key * a->ld_k, a->ld_k, 0.0f, g->dq + first * a->ld_q,
                a->ld_q);
        qd_gemm(true, false, n, d, m, a->scale, dp, n, a->q + first * a->ld_q, a->ld_q, 1.0f, g->dk + i_key * a->ld_k,
                a->ld_k);
    }
}

static void heads_back(const qd_back *k, bool cross, float *dq_base, float *dk_base) {
    const qd_block *b = &k->b;
    const float *q_base = cross ? b->a.cross_q : b->a.qkv, *k_base = cross ? b->a.cross_kv : b->a.qkv;
    const float *out_base = cross ? b->a.cross_heads : b->a.heads;
    for (size_t s = b->chunk->i_seq; s < b->chunk->i_seq + b->chunk->n_seq; s++) {
        for (size_t i = 0; i < b->model->config.n_head; i++) {
            qd_attend a = qd_attend_make(b, s, i, cross);
            head_grad g = {k->g.heads + (a.out - out_base), dq_base + (a.q - q_base), dk_base + (a.k - k_base),
                           dk_base + (a.v - k_base)};
            head_back(k, &a, &g);
        }
    }
}

/* Turns back: the transpose of a turn is the turn the other way. */
static void turn_back(const qd_back *k, size_t row, size_t n) {
    const qd_block *b = &k->b;
    const qd_model_config *c = &b->model->config;
    const qd_rope *r = &c->rope[c->local_rope && c->is_local[b->i_layer]];
    size_t ld = qd_qkv_columns(c), n_pairs = r->n_rot / 2;
    const float *cos, *sin;
    float minus[QD_MAX_ROPE_PAIRS];
    qd_turns(b, n, &cos, &sin);
    for (size_t p = 0; p < n; p++) {
        float *x = k->g.qkv + (row + p) * ld;
        for (size_t i = 0; i < n_pairs; i++) minus[i] = -sin[p * n_pairs + i];
        for (size_t i = 0; i < c->n_head; i++)
            b->kernels->rope(x + qd_q_column(c, i), cos + p * n_pairs, minus, n_pairs, r->interleaved);
        for (size_t i = 0; i < c->n_kv_head; i++)
            b->kernels->rope(x + qd_k_column(c, i), cos + p * n_pairs, minus, n_pairs, r->interleaved);
    }
}

static void norm_heads_back(const qd_back *k) {
    const qd_block *b = &k->b;
    const qd_model_config *c = &b->model->config;
    size_t ld = qd_qkv_columns(c), d = c->head_dim;
    const float *q_norm = qd_weight(b, QD_SLOT_Q_NORM), *k_norm = qd_weight(b, QD_SLOT_K_NORM);
    for (size_t r = 0; q_norm && r < b->n_rows; r++) {
        float *dy = k->g.qkv + r * ld;
        const float *x = b->a.qk_raw + r * ld;
        for (size_t i = 0; i < c->n_head; i++) {
            size_t at = qd_q_column(c, i);
            b->kernels->rms_norm_grad(x + at, d, c->epsilon, q_norm, c->norm_offset, dy + at, dy + at);
        }
        for (size_t i = 0; i < c->n_kv_head; i++) {
            size_t at = qd_k_column(c, i);
            b->kernels->rms_norm_grad(x + at, d, c->epsilon, k_norm, c->norm_offset, dy + at, dy + at);
        }
    }
}

qdisp_status qd_attention_back(const qd_back *k) {
    const qd_block *b = &k->b;
    const qd_model_config *c = &b->model->config;
    size_t ld = qd_qkv_columns(c), n = b->n_rows;
    memset(k->g.qkv, 0, n * ld * sizeof(float));
    heads_back(k, false, k->g.qkv, k->g.qkv);
    for (size_t s = b->chunk->i_seq; c->position == QD_POSITION_ROPE && s < b->chunk->i_seq + b->chunk->n_seq; s++)
        turn_back(k, b->starts[s] - b->i_row, b->starts[s + 1] - b->starts[s]);
    norm_heads_back(k);
    const float *x = b->a.normed, *dqkv = k->g.qkv;
    if (qd_weight(b, QD_SLOT_ATTN_QKV))
        return qd_linear_back(k, QD_SLOT_ATTN_QKV, x, dqkv, n, ld, b->encoder, false, k->g.normed);
    QD_TRY(qd_linear_back(k, QD_SLOT_ATTN_V, x, dqkv + qd_v_column(c, 0), n, ld, b->encoder, false, k->g.normed));
    QD_TRY(qd_linear_back(k, QD_SLOT_ATTN_K, x, dqkv + qd_k_column(c, 0), n, ld, b->encoder, true, k->g.normed));
    return qd_linear_back(k, QD_SLOT_ATTN_Q, x, dqkv, n, ld, b->encoder, true, k->g.normed);
}

void qd_cross_attention_back(const qd_back *k) {
    const qd_model_config *c = &k->b.model->config;
    memset(k->g.kv, 0, k->b.chunk->n_source * 2 * c->n_kv_head * c->head_dim * sizeof(float));
    heads_back(k, true, k->g.qkv, k->g.kv);
}
