/* attention.c - attention: q, k and v with their norms and turns, then head by head and sequence by sequence. */
#include <math.h>
#include <string.h>

#include "model/run.h"

/* --- where q, k and v stand in the rows of qkv --- */

static bool is_grouped(const qd_model_config *c) {
    return c->qkv_layout == QD_QKV_GROUPED;
}

size_t qd_q_column(const qd_model_config *c, size_t i) {
    size_t group = c->n_head / c->n_kv_head;
    return (is_grouped(c) ? i / group * (group + 2) + i % group : i) * c->head_dim;
}

size_t qd_k_column(const qd_model_config *c, size_t i) {
    size_t group = c->n_head / c->n_kv_head;
    return (is_grouped(c) ? i * (group + 2) + group : c->n_head + i) * c->head_dim;
}

size_t qd_v_column(const qd_model_config *c, size_t i) {
    return qd_k_column(c, i) + (is_grouped(c) ? 1 : c->n_kv_head) * c->head_dim;
}

/* --- q, k, v --- */

static qdisp_status make_qkv(const qd_block *b, const float *x) {
    const qd_model_config *c = &b->model->config;
    size_t ld = qd_qkv_columns(c), n = b->n_rows;
    float *qkv = b->a.qkv;
    if (qd_weight(b, QD_SLOT_ATTN_QKV)) return qd_linear_run(b, QD_SLOT_ATTN_QKV, x, n, true, qkv, ld, b->encoder);
    QD_TRY(qd_linear_run(b, QD_SLOT_ATTN_Q, x, n, true, qkv, ld, b->encoder));
    QD_TRY(qd_linear_run(b, QD_SLOT_ATTN_K, x, n, true, qkv + qd_k_column(c, 0), ld, b->encoder));
    return qd_linear_run(b, QD_SLOT_ATTN_V, x, n, true, qkv + qd_v_column(c, 0), ld, b->encoder);
}

/* The norms of q and k, head by head (Qwen3, Gemma 3). */
static void norm_heads(const qd_block *b) {
    const qd_model_config *c = &b->model->config;
    size_t ld = qd_qkv_columns(c), d = c->head_dim;
    const float *q_norm = qd_weight(b, QD_SLOT_Q_NORM), *k_norm = qd_weight(b, QD_SLOT_K_NORM);
    if (!q_norm) return;
    if (b->a.qk_raw) memcpy(b->a.qk_raw, b->a.qkv, b->n_rows * ld * sizeof(float));
    for (size_t r = 0; r < b->n_rows; r++) {
        float *row = b->a.qkv + r * ld;
        for (size_t i = 0; i < c->n_head; i++) {
            float *q = row + qd_q_column(c, i);
            b->kernels->rms_norm(q, d, c->epsilon, q_norm, c->norm_offset, q);
        }
        for (size_t i = 0; i < c->n_kv_head; i++) {
            float *k = row + qd_k_column(c, i);
            b->kernels->rms_norm(k, d, c->epsilon, k_norm, c->norm_offset, k);
        }
    }
}

void qd_turns(const qd_block *b, size_t n, const float **cos, const float **sin) {
    const qd_model_config *c = &b->model->config;
    size_t kind = c->local_rope && c->is_local[b->i_layer];
    const qd_rope *r = &c->rope[kind];
    *cos = b->positions->cos[kind];
    *sin = b->positions->sin[kind];
    if (!qd_rope_is_dynamic(r) || n <= r->n_original) return;
    float *own = b->turns;
    qd_rope_table(r, n, own, own + n * (r->n_rot / 2));
    *cos = own;
    *sin = own + n * (r->n_rot / 2);
}

static void turn_sequence(const qd_block *b, size_t row, size_t n) {
    const qd_model_config *c = &b->model->config;
    const qd_rope *r = &c->rope[c->local_rope && c->is_local[b->i_layer]];
    size_t ld = qd_qkv_columns(c), n_pairs = r->n_rot / 2;
    const float *cos, *sin;
    qd_turns(b, n, &cos, &sin);
    for (size_t p = 0; p < n; p++) {
        float *x = b->a.qkv + (row + p) * ld;
        const float *cp = cos + p * n_pairs, *sp = sin + p * n_pairs;
        for (size_t i = 0; i < c->n_head; i++) b->kernels->rope(x + qd_q_column(c, i), cp, sp, n_pairs, r->interleaved);
        for (size_t i = 0; i < c->n_kv_head; i++)
            b->kernels->rope(x + qd_k_column(c, i), cp, sp, n_pairs, r->interleaved);
    }
}

/* --- a head --- */

static float score_scale(const qd_block *b) {
    const qd_model_config *c = &b->model->config;
    double scale = c->attn_scale > 0 ? c->attn_scale : 1 / sqrt((double)c->head_dim);
    return (float)(c->attn_scale_by_layer ? scale / (double)(b->i_layer + 1) : scale);
}

qd_attend qd_attend_make(const qd_block *b, size_t i_seq, size_t i_head, bool cross) {
    const qd_model_config *c = &b->model->config;
    const qd_positions *p = b->positions;
    size_t row = b->starts[i_seq] - b->i_row, n = b->starts[i_seq + 1] - b->starts[i_seq], d = c->head_dim;
    size_t i_kv = i_head / (c->n_head / c->n_kv_head), ld = qd_qkv_columns(c), ld_out = c->n_head * d;
    qd_attend a = {.n_q = n, .scale = score_scale(b), .softcap = c->attn_softcap, .ld_out = ld_out};
    if (cross) {
        size_t source = b->source_starts[i_seq] - b->chunk->i_source;
        a.n_k = b->source_starts[i_seq + 1] - b->source_starts[i_seq];
        a.ld_q = ld_out;
        a.ld_k = 2 * c->n_kv_head * d;
        a.q = b->a.cross_q + row * a.ld_q + i_head * d;
        a.k = b->a.cross_kv + source * a.ld_k + i_kv * d;
        a.v = a.k + c->n_kv_head * d;
        a.out = b->a.cross_heads + row * ld_out + i_head * d;
        return a;
    }
    a.n_k = n;
    a.ld_q = a.ld_k = ld;
    a.q = b->a.qkv + row * ld + qd_q_column(c, i_head);
    a.k = b->a.qkv + row * ld + qd_k_column(c, i_kv);
    a.v = b->a.qkv + row * ld + qd_v_column(c, i_kv);
    a.out = b->a.heads + row * ld_out + i_head * d;
    a.causal = c->kind != QDISP_MODEL_MASKED && !b->encoder;
    a.window = c->is_local[b->i_layer] ? c->window : 0;
    if (p->alibi) a.alibi = p->alibi + i_head * p->longest;
    a.alibi_scale = c->alibi_scaled ? a.scale : 1.0f;
    const float *relative = p->relative[b->encoder];
    if (relative) a.bias = relative + i_head * (2 * p->longest - 1) + p->longest - 1;
    return a;
}

size_t qd_attend_floats(const qd_model_config *c, size_t longest) {
    return qd_panel_floats(longest, c->head_dim) + qd_panel_floats(c->head_dim, longest);
}

/* The keys of a head, scaled, and its values as panels in b->kv. */
static void load_keys(const qd_block *b, qd_attend *a) {
    size_t d = b->model->config.head_dim;
    float *k_panels = b->kv, *v_panels = b->kv + qd_panel_floats(a->n_k, d);
    for (size_t i = 0; i < a->n_k; i++) {
        const float *k = a->k + i * a->ld_k, *v = a->v + i * a->ld_k;
        float *to = k_panels + i / QD_PANEL * QD_PANEL * d + i % QD_PANEL;
        for (size_t j = 0; j < d; j++) to[j * QD_PANEL] = k[j] * a->scale;
        for (size_t j = 0; j < d; j += QD_PANEL)
            memcpy(v_panels + (j * a->n_k) + i * QD_PANEL, v + j, (d - j < QD_PANEL ? d - j : QD_PANEL) * sizeof *v);
    }
    a->k_panels = k_panels;
    a->v_panels = v_panels;
}

static void multiply_keys(const qd_block *b, const qd_attend *a, size_t first, size_t m, size_t low, size_t n,
                          float *scores) {
    size_t d = b->model->config.head_dim;
    const float *q = a->q + first * a->ld_q;
    if (a->k_panels) b->kernels->panel_product(q, a->ld_q, m, d, a->k_panels + low * d, d, n, false, scores, n);
    else qd_gemm(false, true, m, n, d, a->scale, q, a->ld_q, a->k + low * a->ld_k, a->ld_k, 0.0f, scores, n);
}

static void multiply_values(const qd_block *b, const qd_attend *a, size_t first, size_t m, size_t low, size_t n) {
    size_t d = b->model->config.head_dim;
    float *out = a->out + first * a->ld_out;
    const float *p = b->scores;
    if (a->v_panels)
        b->kernels->panel_product(p, n, m, n, a->v_panels + low * QD_PANEL, a->n_k, d, false, out, a->ld_out);
    else qd_gemm(false, false, m, d, n, 1.0f, p, n, a->v + low * a->ld_k, a->ld_k, 0.0f, out, a->ld_out);
}

void qd_attend_probs(const qd_block *b, const qd_attend *a, size_t first, size_t m, float *scores, float *capped,
                     size_t *i_key, size_t *n_keys) {
    size_t low = a->window && first + 1 > a->window ? first + 1 - a->window : 0;
    low = low / QD_PANEL * QD_PANEL;
    size_t high = a->causal ? first + m : a->n_k, n = high - low;
    multiply_keys(b, a, first, m, low, n, scores);
    if (a->softcap > 0) b->kernels->scale_softcap(scores, m * n, 1.0f, a->softcap);
    if (capped) memcpy(capped, scores, m * n * sizeof *scores);
    for (size_t r = 0; r < m; r++) {
        float *row = scores + r * n;
        size_t query = first + r, end = a->causal ? query + 1 : a->n_k;
        size_t begin = a->window && query + 1 > a->window ? query + 1 - a->window : 0;
        for (size_t j = begin; a->alibi && j < end; j++) row[j - low] += a->alibi[j] * a->alibi_scale;
        for (size_t j = begin; a->bias && j < end; j++) row[j - low] += a->bias[(ptrdiff_t)j - (ptrdiff_t)query];
        memset(row, 0, (begin - low) * sizeof *row);
        b->kernels->softmax(row + begin - low, end - begin);
        memset(row + end - low, 0, (high - end) * sizeof *row);
    }
    *i_key = low;
    *n_keys = n;
}

static qdisp_status attend(const qd_block *b, const qd_attend *a, size_t i_seq, size_t i_head, qdisp_site site) {
    size_t n_keys, i_key;
    for (size_t first = 0; first < a->n_q; first += QD_QUERY_ROWS) {
        size_t m = a->n_q - first < QD_QUERY_ROWS ? a->n_q - first : QD_QUERY_ROWS;
        qd_attend_probs(b, a, first, m, b->scores, NULL, &i_key, &n_keys);
        if (b->run->sites & QDISP_SITE_BIT(site)) {
            qdisp_activation act = {.site = site, .layer = (int32_t)b->i_layer, .i_linear = QD_NONE, .i_head = i_head,
                                    .i_seq = i_seq, .n_seq = 1, .starts = b->starts, .i_row = b->starts[i_seq] + first,
                                    .n_rows = m, .n_cols = n_keys, .stride = n_keys, .i_key = i_key,
                                    .data = b->scores};
            if (site == QDISP_SITE_CROSS_PROBS) act.i_key += b->source_starts[i_seq];
            else act.i_key += b->starts[i_seq];
            QD_TRY(qd_tap_call(b, &act));
        }
        multiply_values(b, a, first, m, i_key, n_keys);
    }
    return QDISP_OK;
}

static qdisp_status attend_all(const qd_block *b, bool cross) {
    qdisp_site site = cross ? QDISP_SITE_CROSS_PROBS : QDISP_SITE_PROBS;
    const qd_model_config *c = &b->model->config;
    for (size_t s = b->chunk->i_seq; s < b->chunk->i_seq + b->chunk->n_seq; s++) {
        for (size_t i = 0; i < c->n_head; i++) {
            qd_attend a = qd_attend_make(b, s, i, cross);
            if (b->panels) load_keys(b, &a);
            QD_TRY(attend(b, &a, s, i, site));
        }
    }
    return QDISP_OK;
}

qdisp_status qd_attention(const qd_block *b) {
    const qd_model_config *c = &b->model->config;
    QD_TRY(make_qkv(b, b->a.normed));
    norm_heads(b);
    for (size_t s = b->chunk->i_seq; c->position == QD_POSITION_ROPE && s < b->chunk->i_seq + b->chunk->n_seq; s++)
        turn_sequence(b, b->starts[s] - b->i_row, b->starts[s + 1] - b->starts[s]);
    QD_TRY(attend_all(b, false));
    QD_TRY(qd_tap_rows(b, QDISP_SITE_HEADS, b->a.heads, c->n_head * c->head_dim));
    return qd_linear_run(b, QD_SLOT_ATTN_OUT, b->a.heads, b->n_rows, true, b->a.attn, c->n_embd, b->encoder);
}

qdisp_status qd_cross_attention(const qd_block *b) {
    const qd_model_config *c = &b->model->config;
    size_t n_source = b->chunk->n_source, n_q = c->n_head * c->head_dim, n_k = c->n_kv_head * c->head_dim;
    QD_TRY(qd_linear_run(b, QD_SLOT_CROSS_Q, b->a.cross_normed, b->n_rows, true, b->a.cross_q, n_q, false));
    QD_TRY(qd_linear_run(b, QD_SLOT_CROSS_K, b->memory, n_source, true, b->a.cross_kv, 2 * n_k, true));
    QD_TRY(qd_linear_run(b, QD_SLOT_CROSS_V, b->memory, n_source, true, b->a.cross_kv + n_k, 2 * n_k, true));
    QD_TRY(attend_all(b, true));
    QD_TRY(qd_tap_rows(b, QDISP_SITE_CROSS_HEADS, b->a.cross_heads, n_q));
    return qd_linear_run(b, QD_SLOT_CROSS_OUT, b->a.cross_heads, b->n_rows, true, b->a.cross, c->n_embd, false);
}
