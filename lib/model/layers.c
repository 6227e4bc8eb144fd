/* layers.c - what blocks are made of: layer norm, linear maps, attention. */
#include <math.h>
#include <string.h>

#include "model/arch.h"
#include "model/gemm.h"

void qd_rows_add(float *into, const float *from, size_t n) {
    for (size_t i = 0; i < n; i++) into[i] += from[i];
}

void qd_layer_norm(const qd_block *b, const float *x, qd_slot weight, float *out) {
    const qd_model_config *c = &b->model->config;
    const float *w = b->weights[weight], *bias = b->weights[weight + 1];
    for (size_t r = 0; r < b->chunk->n_rows; r++) {
        b->kernels->layer_norm(x + r * c->n_embd, c->n_embd, c->epsilon, w, bias, out + r * c->n_embd);
    }
}

/* The linear maps of a layer in the order of qdisp_model.linears. */
static size_t linear_in_layer(qd_slot weight) {
    switch (weight) {
    case QD_SLOT_ATTN_QKV: return 0;
    case QD_SLOT_ATTN_OUT: return 1;
    case QD_SLOT_MLP_UP: return 2;
    default: return 3;
    }
}

qdisp_status qd_linear_run(const qd_block *b, qd_slot weight, const float *x, bool with_bias, float *out) {
    size_t i_linear = 4 * b->i_layer + linear_in_layer(weight), n_rows = b->chunk->n_rows;
    const qd_linear *l = &b->model->linears[i_linear];
    if (b->run->linear_input) QD_TRY(b->run->linear_input(b->run->user, b->chunk, i_linear, x, b->i_worker));
    float beta = 0;
    if (with_bias && l->i_bias != QD_NONE) {
        /* The product adds to rows that hold the bias: one pass less than adding it afterwards. */
        for (size_t r = 0; r < n_rows; r++) memcpy(out + r * l->n_out, b->weights[weight + 1], l->n_out * sizeof *out);
        beta = 1;
    }
    qd_gemm(true, n_rows, l->n_out, l->n_in, 1.0f, x, l->n_in, b->weights[weight], l->n_in, beta, out, l->n_out);
    return QDISP_OK;
}

/* Slope of a head, Press et al. 2022 section 3: 2^(-8 (i + 1) / n) for n a power of two, else those of the power
 * below, followed by every other one of twice that power (their reference code, which transformers follows). */
static float alibi_slope(size_t i_head, size_t n_head) {
    size_t power = 1;
    while (2 * power <= n_head) power *= 2;
    double exponent = i_head < power ? 8.0 * (double)(i_head + 1) / (double)power
                                     : 8.0 * (double)(2 * (i_head - power) + 1) / (double)(2 * power);
    return (float)exp2(-exponent);
}

/* One head of one sequence of n tokens; q points at its first query, row stride ld. */
static void attend(const qd_block *b, const float *q, size_t n, float slope, float *out) {
    const qd_model_config *c = &b->model->config;
    size_t d = c->head_dim, ld = 3 * c->n_embd;
    const float *k = q + d, *v = q + 2 * d;
    float scale = 1.0f / sqrtf((float)d);
    for (size_t first = 0; first < n; first += QD_QUERY_ROWS) {
        size_t m = n - first < QD_QUERY_ROWS ? n - first : QD_QUERY_ROWS, n_keys = first + m;
        qd_gemm(true, m, n_keys, d, scale, q + first * ld, ld, k, ld, 0.0f, b->scores, n_keys);
        for (size_t r = 0; r < m; r++) {
            float *row = b->scores + r * n_keys;
            size_t n_seen = first + r + 1; /* causal: keys after the query get no weight */
            for (size_t j = 0; j < n_seen; j++) row[j] += slope * (float)j;
            b->kernels->softmax(row, n_seen);
            memset(row + n_seen, 0, (n_keys - n_seen) * sizeof *row);
        }
        qd_gemm(false, m, d, n_keys, 1.0f, b->scores, n_keys, v, ld, 0.0f, out + first * c->n_embd, c->n_embd);
    }
}

void qd_attention_alibi(const qd_block *b) {
    const qd_model_config *c = &b->model->config;
    for (size_t s = b->chunk->i_seq; s < b->chunk->i_seq + b->chunk->n_seq; s++) {
        size_t row = b->starts[s] - b->chunk->i_row, n = b->starts[s + 1] - b->starts[s];
        for (size_t i = 0; i < c->n_head; i++) {
            attend(b, b->wide + row * 3 * c->n_embd + i * 3 * c->head_dim, n, alibi_slope(i, c->n_head),
                   b->mixed + row * c->n_embd + i * c->head_dim);
        }
    }
}
