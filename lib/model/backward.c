/* backward.c - gradients of the losses: a forward pass that keeps what every block read, then the blocks from the last
 * to the first. */
#include <string.h>

#include "model/grad.h"

/* --- lanes --- */

/* Points the lanes' dw into their buffers for the linear maps of a layer; zeroed. The head's has its own place. */
static void clear_lanes(qd_backward *w, char where) {
    const qdisp_model *m = w->f.model;
    for (size_t i = 0; i < w->n_lanes; i++) {
        size_t used = 0;
        for (qd_slot slot = 0; slot < QD_N_SLOTS; slot++) {
            bool wanted = w->weight && qd_slot_rows[slot].where == where && qd_slot_rows[slot].what == 'W' &&
                          slot != QD_SLOT_HEAD;
            size_t l = wanted ? qd_model_linear_index(m, where == 'M' ? 0 : w->f.layer, w->expert, slot) : QD_NONE;
            w->lanes[i].dw[slot] = NULL;
            if (l == QD_NONE) continue;
            w->lanes[i].dw[slot] = w->lanes[i].weights + used;
            used += m->linears[l].n_out * m->linears[l].n_in;
        }
        if (used) memset(w->lanes[i].weights, 0, used * sizeof(float));
    }
}

static size_t lane_floats(const qdisp_model *m) {
    size_t most = 3 * m->config.n_ff_expert * m->config.n_embd + 1, outside = 0, in_layer = 0;
    int layer = -1;
    for (size_t i = 0; i + 1 < m->n_linears; i++) {
        const qd_linear *l = &m->linears[i];
        if (l->expert >= 0) continue; /* one at a time */
        if (l->layer != layer) in_layer = 0;
        layer = l->layer;
        if (layer < 0) outside += l->n_out * l->n_in;
        else in_layer += l->n_out * l->n_in;
        if (in_layer > most) most = in_layer;
        if (outside > most) most = outside;
    }
    return most;
}

qdisp_status qd_backward_tell(qd_backward *w, size_t layer, qd_slot slot) {
    const qdisp_model *m = w->f.model;
    size_t i = qd_model_linear_index(m, layer, w->expert, slot);
    if (i == QD_NONE || !w->lanes[0].dw[slot]) return QDISP_OK;
    const qd_linear *l = &m->linears[i];
    float *sum = w->lanes[0].dw[slot];
    for (size_t k = 1; k < w->n_lanes; k++) qd_sum(sum, w->lanes[k].dw[slot], l->n_out * l->n_in, sum);
    if (w->weight(w->user, i, sum, l->n_out, l->n_in) == 0) return QDISP_OK;
    return qd_fail(w->f.ctx, QDISP_ECANCELLED, "stopped by the caller of the gradients");
}

static qdisp_status lane_task(void *arg, size_t lane, unsigned i_worker) {
    qd_backward *w = arg;
    qd_forward *f = &w->f;
    size_t n_embd = f->model->config.n_embd;
    float *scratch = qd_forward_scratch(f, i_worker);
    if (!scratch) return QDISP_ENOMEM;
    for (size_t i = lane; i < f->n_chunks; i += w->n_lanes) {
        qd_back k = {.b = qd_forward_block(f, &f->chunks[i], i_worker, scratch), .lane = &w->lanes[lane], .f = f,
                     .head = f->head};
        k.b.run = &w->run;
        k.b.h = w->residuals[f->layer] + k.b.i_row * n_embd;
        qd_grads_plan(f->model, &f->sizes, scratch + qd_forward_scratch_floats(f), &k.g);
        if (w->dmemory) k.dmemory = w->dmemory + k.b.chunk->i_source * n_embd;
        k.dh = f->encoder ? k.dmemory : w->dh + k.b.i_row * n_embd;
        QD_TRY(w->task(&k));
    }
    return QDISP_OK;
}

qdisp_status qd_backward_stage(qd_backward *w, char where, qdisp_status (*task)(const qd_back *k)) {
    clear_lanes(w, where);
    w->task = task;
    w->f.recompute = true;
    qdisp_status status = qd_gemm_each(w->f.ctx, w->f.threaded_blas, w->n_lanes, lane_task, w);
    w->f.recompute = false;
    return status;
}

/* --- the pass --- */

static qdisp_status keep(qd_backward *w, size_t i, const float *h, size_t n_rows) {
    size_t n = n_rows * w->f.model->config.n_embd;
    w->residuals[i] = qd_alloc_aligned(w->f.ctx, n, sizeof(float));
    if (!w->residuals[i]) return QDISP_ENOMEM;
    memcpy(w->residuals[i], h, n * sizeof(float));
    return QDISP_OK;
}

static qdisp_status forward(qd_backward *w) {
    qd_forward *f = &w->f;
    const qd_model_config *c = &f->model->config;
    if (c->n_encoder_layer) {
        f->encoder = true;
        QD_TRY(qd_forward_embed(f));
        for (f->layer = 0; f->layer < c->n_encoder_layer; f->layer++) {
            QD_TRY(keep(w, f->layer, f->memory, f->batch_source_rows));
            QD_TRY(qd_forward_layer(f));
        }
        QD_TRY(keep(w, c->n_layer + 1, f->memory, f->batch_source_rows));
        QD_TRY(qd_forward_encoder_norm(f));
        f->encoder = false;
    }
    QD_TRY(qd_forward_embed(f));
    for (f->layer = c->n_encoder_layer; f->layer < c->n_layer; f->layer++) {
        QD_TRY(keep(w, f->layer, f->h, f->batch_rows));
        QD_TRY(qd_forward_layer(f));
    }
    return keep(w, c->n_layer, f->h, f->batch_rows);
}

static qdisp_status layers_back(qd_backward *w, size_t first, size_t end) {
    qd_forward *f = &w->f;
    for (size_t layer = end; layer-- > first;) {
        f->layer = layer;
        QD_TRY(qd_progress(f->ctx, "backward", f->done));
        f->done += f->step;
        QD_TRY(qd_forward_load_layer(f));
        QD_TRY(f->model->config.is_moe[layer] ? qd_experts_back(w) : qd_backward_stage(w, 'L', qd_block_back));
        for (qd_slot slot = QD_N_SLOTS; slot-- > 0;)
            if (qd_slot_rows[slot].where == 'L') QD_TRY(qd_backward_tell(w, layer, slot));
    }
    return QDISP_OK;
}

static qdisp_status encoder_norm_back(const qd_back *k) {
    qd_norm_back(k, QD_SLOT_ENCODER_NORM, k->b.h, k->dh, k->b.n_rows, k->dh);
    return QDISP_OK;
}

static qdisp_status embedding_back(const qd_back *k) {
    const qd_model_config *c = &k->b.model->config;
    qd_embed_rows(k->f, &k->b, k->b.a.normed);
    return qd_linear_back(k, QD_SLOT_PROJECT_IN, k->b.a.normed, k->dh, k->b.n_rows, c->n_embd, false, false, NULL);
}

static qdisp_status backward(qd_backward *w) {
    qd_forward *f = &w->f;
    const qd_model_config *c = &f->model->config;
    QD_TRY(qd_head_back(w));
    QD_TRY(layers_back(w, c->n_encoder_layer, c->n_layer));
    if (qd_model_linear_index(f->model, 0, 0, QD_SLOT_PROJECT_IN) != QD_NONE) {
        QD_TRY(qd_backward_stage(w, 'M', embedding_back));
        QD_TRY(qd_backward_tell(w, 0, QD_SLOT_PROJECT_IN));
    }
    if (!c->n_encoder_layer) return QDISP_OK;
    f->encoder = true;
    f->layer = c->n_layer + 1;
    if (f->weights[QD_SLOT_ENCODER_NORM]) QD_TRY(qd_backward_stage(w, 'M', encoder_norm_back));
    return layers_back(w, 0, c->n_encoder_layer);
}

static qdisp_status run_all(qd_backward *w) {
    qd_forward *f = &w->f;
    const qd_model_config *c = &f->model->config;
    f->keep = true;
    QD_TRY(qd_forward_begin(f, 0));
    f->n_scratch += qd_grads_plan(f->model, &f->sizes, NULL, NULL);
    f->n_batch = f->n_chunks;
    f->step = 0.25 / (double)c->n_layer; /* a forward pass is about a quarter */
    w->n_lanes = f->n_chunks < QD_LANES ? f->n_chunks : QD_LANES;
    w->residuals = qd_alloc(f->ctx, c->n_layer + 2, sizeof *w->residuals);
    w->dh = qd_alloc_aligned(f->ctx, f->batch_rows * c->n_embd, sizeof(float));
    if (!w->residuals || !w->dh) return QDISP_ENOMEM;
    if (f->memory && !(w->dmemory = qd_alloc_aligned(f->ctx, f->batch_source_rows * c->n_embd, sizeof(float))))
        return QDISP_ENOMEM;
    size_t n_floats = w->weight ? lane_floats(f->model) : 0;
    for (size_t i = 0; n_floats && i < w->n_lanes; i++) {
        if (!(w->lanes[i].weights = qd_alloc_aligned(f->ctx, n_floats, sizeof(float)))) return QDISP_ENOMEM;
    }
    QD_TRY(forward(w));
    f->step *= 3;
    QD_TRY(backward(w));
    return qd_progress(f->ctx, "backward", 1.0);
}

static void end(qd_backward *w) {
    qd_forward *f = &w->f;
    for (size_t i = 0; w->residuals && i < f->model->config.n_layer + 2; i++) qd_free_aligned(f->ctx, w->residuals[i]);
    for (size_t i = 0; i < QD_LANES; i++) qd_free_aligned(f->ctx, w->lanes[i].weights);
    qd_free(f->ctx, w->residuals);
    qd_free_aligned(f->ctx, w->dh);
    qd_free_aligned(f->ctx, w->dmemory);
    qd_forward_end(f);
}

qdisp_status qdisp_model_grads(const qdisp_model *model, const qdisp_batch *batch, const qdisp_grad_options *options) {
    qdisp_batch in;
    qdisp_grad_options opt;
    if (!model) return QDISP_EINVAL;
    QD_TRY(qd_copy_options(model->ctx, "batch", batch, &in, sizeof in));
    QD_TRY(qd_copy_options(model->ctx, "gradient options", options, &opt, sizeof opt));
    if (in.mask_id_plus_1 || (model->config.kind == QDISP_MODEL_MASKED && !in.targets)) {
        return qd_fail(model->ctx, QDISP_EINVAL, "gradients of a %s model need targets, without a mask id",
                       model->arch->name);
    }
    if (!in.n_seq) return QDISP_OK;
    size_t n_ids = in.starts ? in.starts[in.n_seq] : 0;
    float *nll = opt.nll ? opt.nll : qd_alloc(model->ctx, n_ids + 1, sizeof *nll);
    if (!nll) return QDISP_ENOMEM;
    qd_backward w = {.weight = opt.weight, .user = opt.user};
    w.forward_run = (qd_run){.nll = nll, .tap_head = true};
    w.run = (qd_run){.tap = opt.tap, .user = opt.user, .sites = opt.tap ? opt.sites : 0};
    w.f = (qd_forward){.model = model, .ctx = model->ctx, .run = &w.forward_run, .batch = &in};
    qdisp_status status = run_all(&w);
    end(&w);
    if (nll != opt.nll) qd_free(model->ctx, nll);
    return status;
}
