/* layerwise.c - see layerwise.h. A wave is copied from the streams into the run's batch, goes through the layer by the
 * same code as any forward pass, and is copied back when the streams advance. */
#include "model/layerwise.h"

#include <string.h>

/* Sets the run's batch to the wave that begins at f.first_chunk; the streams' rows of it, and how many. */
typedef struct wave {
    float *h, *memory;
    size_t n, n_source; /* floats */
} wave;

static wave next_wave(qd_layerwise *w) {
    qd_forward *f = &w->f;
    size_t left = f->n_chunks - f->first_chunk, n_embd = f->model->config.n_embd;
    f->n_batch = left < f->batch_chunks ? left : f->batch_chunks;
    const qd_chunk *first = &f->chunks[f->first_chunk], *last = first + f->n_batch - 1;
    return (wave){w->h + first->i_row * n_embd, w->memory ? w->memory + first->i_source * n_embd : NULL,
                  (last->i_row + last->n_rows - first->i_row) * n_embd,
                  (last->i_source + last->n_source - first->i_source) * n_embd};
}

static void copy_in(qd_layerwise *w, const wave *v) {
    memcpy(w->f.h, v->h, v->n * sizeof(float));
    if (v->memory) memcpy(w->f.memory, v->memory, v->n_source * sizeof(float));
}

static void copy_out(qd_layerwise *w, const wave *v) {
    if (w->f.encoder) memcpy(v->memory, w->f.memory, v->n_source * sizeof(float));
    else memcpy(v->h, w->f.h, v->n * sizeof(float));
}

/* step(f) for every wave; store: and its result into the streams. */
static qdisp_status each_wave(qd_layerwise *w, qdisp_status (*step)(qd_forward *f), bool store, qd_wave_done done) {
    qd_forward *f = &w->f;
    f->done = 0;
    f->step = (double)f->batch_chunks / (double)f->n_chunks;
    for (f->first_chunk = 0; f->first_chunk < f->n_chunks; f->first_chunk += f->n_batch) {
        wave v = next_wave(w);
        copy_in(w, &v);
        QD_TRY(step(f));
        if (store) copy_out(w, &v);
        if (done) QD_TRY(done(w->run.user));
    }
    return QDISP_OK;
}

static qdisp_status embed_all(qd_layerwise *w) {
    qd_forward *f = &w->f;
    size_t n_embd = f->model->config.n_embd;
    w->h = qd_alloc_aligned(f->ctx, w->batch.starts[w->batch.n_seq] * n_embd, sizeof *w->h);
    if (!w->h) return QDISP_ENOMEM;
    if (f->memory) {
        w->memory = qd_alloc_aligned(f->ctx, w->batch.source_starts[w->batch.n_seq] * n_embd, sizeof *w->memory);
        if (!w->memory) return QDISP_ENOMEM;
        f->encoder = true;
        QD_TRY(each_wave(w, qd_forward_embed, true, NULL));
        f->encoder = false;
    }
    return each_wave(w, qd_forward_embed, true, NULL);
}

qdisp_status qd_layerwise_open(const qdisp_model *model, const qdisp_batch *batch, size_t most_rows,
                               qd_layerwise **out) {
    qd_layerwise *w = qd_alloc(model->ctx, 1, sizeof *w);
    if (!w) return QDISP_ENOMEM;
    w->batch = *batch;
    w->f = (qd_forward){.model = model, .ctx = model->ctx, .run = &w->run, .batch = &w->batch, .most_rows = most_rows};
    qdisp_status status = qd_model_with_tensors(model, NULL, NULL, 0, &w->model);
    if (status == QDISP_OK) {
        w->f.model = w->model;
        status = qd_forward_begin(&w->f, 0);
    }
    if (status == QDISP_OK) status = embed_all(w);
    if (status == QDISP_OK) *out = w;
    else qd_layerwise_free(w);
    return status;
}

void qd_layerwise_free(qd_layerwise *w) {
    if (!w) return;
    qdisp_ctx *ctx = w->f.ctx;
    qd_forward_end(&w->f);
    qd_free_aligned(ctx, w->h);
    qd_free_aligned(ctx, w->memory);
    qdisp_model_free(w->model);
    qd_free(ctx, w);
}

static void enter_layer(qd_layerwise *w, size_t layer) {
    w->f.layer = layer;
    w->f.encoder = layer < w->f.model->config.n_encoder_layer;
}

qdisp_status qd_layerwise_look(qd_layerwise *w, size_t layer, const qd_run *run, qd_wave_done wave_done) {
    w->run = *run;
    enter_layer(w, layer);
    qdisp_status status = each_wave(w, qd_forward_layer, false, wave_done);
    w->run = (qd_run){0};
    return status;
}

qdisp_status qd_layerwise_look_head(qd_layerwise *w, const qd_run *run, qd_wave_done wave_done) {
    w->run = *run;
    w->run.tap_head = true;
    w->f.encoder = false;
    qdisp_status status = each_wave(w, qd_head_run, false, wave_done);
    w->run = (qd_run){0};
    return status;
}

void qd_layerwise_replace(qd_layerwise *w, size_t i_tensor, const float *data) {
    qdisp_tensor *t = &w->model->tensors[i_tensor];
    *t = w->model->base->tensors[i_tensor];
    if (!data) return;
    t->dtype = QDISP_DTYPE_F32;
    t->data = data;
    t->n_bytes = qd_tensor_n_elements(t) * sizeof *data;
}

qdisp_status qd_layerwise_advance(qd_layerwise *w, size_t layer) {
    enter_layer(w, layer);
    QD_TRY(each_wave(w, qd_forward_layer, true, NULL));
    bool is_last = w->f.encoder && layer + 1 == w->f.model->config.n_encoder_layer;
    return is_last ? each_wave(w, qd_forward_encoder_norm, true, NULL) : QDISP_OK;
}
