/* layers.c - what blocks are made of: norms, linear maps, taps. */
#include <string.h>

#include "model/run.h"

void qd_sum(const float *a, const float *b, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = a[i] + b[i];
}

void qd_norm_rows(const qd_block *b, qd_slot slot, const float *x, size_t n_rows, float *out) {
    const qd_model_config *c = &b->model->config;
    const float *w = qd_weight(b, slot), *bias = qd_weight(b, slot + 1);
    size_t n = c->n_embd;
    for (size_t r = 0; r < n_rows; r++) {
        if (c->rms) b->kernels->rms_norm(x + r * n, n, c->epsilon, w, c->norm_offset, out + r * n);
        else b->kernels->layer_norm(x + r * n, n, c->epsilon, w, bias, out + r * n);
    }
}

qdisp_status qd_tap_call(const qd_block *b, qdisp_activation *a) {
    if (!b->run->tap || !(b->run->sites & QDISP_SITE_BIT(a->site))) return QDISP_OK;
    a->i_chunk = b->chunk->i_chunk;
    a->i_worker = b->i_worker;
    if (b->run->tap(b->run->user, a) == 0) return QDISP_OK;
    return qd_fail(b->model->ctx, QDISP_ECANCELLED, "stopped by a tap");
}

static qdisp_activation rows_of(const qd_block *b, qdisp_site site, float *data, size_t n_cols, size_t stride) {
    return (qdisp_activation){
        .site = site, .layer = (int32_t)b->i_layer, .i_linear = QD_NONE, .i_seq = b->chunk->i_seq,
        .n_seq = b->chunk->n_seq, .starts = b->starts, .i_row = b->i_row, .n_rows = b->n_rows, .n_cols = n_cols,
        .stride = stride, .data = data,
    };
}

qdisp_status qd_tap_rows(const qd_block *b, qdisp_site site, float *data, size_t n_cols) {
    qdisp_activation a = rows_of(b, site, data, n_cols, n_cols);
    return qd_tap_call(b, &a);
}

static qdisp_status tap_linear(const qd_block *b, qdisp_site site, size_t i_linear, float *data, size_t n_rows,
                               size_t n_cols, size_t stride, bool source) {
    if (!b->run->tap) return QDISP_OK;
    qdisp_activation a = rows_of(b, site, data, n_cols, stride);
    a.i_linear = i_linear;
    a.layer = b->model->linears[i_linear].layer;
    a.n_rows = n_rows;
    if (source) {
        a.starts = b->source_starts;
        a.i_row = b->chunk->i_source;
    }
    return qd_tap_call(b, &a);
}

void qd_linear_apply(const qd_block *b, const float *x, size_t n_rows, size_t n_in, const float *weight, size_t n_out,
                       bool add, float *out, size_t ld) {
    if (b->panels) b->kernels->panel_product(x, n_in, n_rows, n_in, weight, n_in, n_out, add, out, ld);
    else qd_gemm(false, true, n_rows, n_out, n_in, 1.0f, x, n_in, weight, n_in, add ? 1.0f : 0.0f, out, ld);
}

qdisp_status qd_linear_run(const qd_block *b, qd_slot weight, const float *x, size_t n_rows, bool with_bias, float *out,
                           size_t ld, bool source) {
    bool outside = qd_slot_rows[weight].where == 'M';
    size_t i = qd_model_linear_index(b->model, outside ? 0 : b->i_layer, 0, weight);
    const qd_linear *l = &b->model->linears[i];
    const float *bias = with_bias && l->i_bias != QD_NONE ? qd_weight(b, weight + 1) : NULL;
    QD_TRY(tap_linear(b, QDISP_SITE_LINEAR_IN, i, (float *)(uintptr_t)x, n_rows, l->n_in, l->n_in, source));
    /* The product adds to rows that hold the bias: one pass less than adding it afterwards. */
    for (size_t r = 0; bias && r < n_rows; r++) memcpy(out + r * ld, bias, l->n_out * sizeof *out);
    qd_linear_apply(b, x, n_rows, l->n_in, qd_weight(b, weight), l->n_out, bias != NULL, out, ld);
    return tap_linear(b, QDISP_SITE_LINEAR_OUT, i, out, n_rows, l->n_out, ld, source);
}
