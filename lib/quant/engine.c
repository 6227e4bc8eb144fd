/* engine.c - a plan carried out. Everything is checked before any work; then tensor after tensor, in the order of the
 * forward pass, becomes codes, goes to the packer and is forgotten. */
#include "quant/engine.h"

#include "calib/hessian.h"

#include <stdlib.h>
#include <string.h>

/* ---- the model with dequantized weights ---- */

qdisp_status qd_dequantized_open(const qd_packing *packing, qd_dequantized **out) {
    qd_dequantized *d = qd_alloc(packing->ctx, 1, sizeof *d);
    if (!d) return QDISP_ENOMEM;
    d->packing = packing;
    d->data = qd_alloc(packing->ctx, packing->n_choices, sizeof *d->data);
    d->i_tensors = qd_alloc(packing->ctx, packing->n_choices, sizeof *d->i_tensors);
    if (!d->data || !d->i_tensors) {
        qd_dequantized_discard(d);
        return QDISP_ENOMEM;
    }
    *out = d;
    return QDISP_OK;
}

qdisp_status qd_dequantized_put(qd_dequantized *d, size_t i_choice, const qd_codes *codes) {
    float *data = qd_alloc_aligned(d->packing->ctx, codes->n_out * codes->n_in, sizeof *data);
    if (!data) return QDISP_ENOMEM;
    qd_codes_decode(d->packing->ctx, codes, 0, codes->n_out, data);
    d->i_tensors[d->n] = d->packing->choices[i_choice].i_tensor;
    d->data[d->n++] = data;
    return QDISP_OK;
}

qdisp_status qd_dequantized_commit(qd_dequantized *d, qdisp_model **out) {
    qdisp_status status = qd_model_with_tensors(d->packing->model, d->i_tensors, d->data, d->n, out);
    if (status == QDISP_OK) d->n = 0; /* the model owns them */
    qd_dequantized_discard(d);
    return status;
}

void qd_dequantized_discard(qd_dequantized *d) {
    if (!d) return;
    qdisp_ctx *ctx = d->packing->ctx;
    for (size_t i = 0; i < d->n; i++) qd_free_aligned(ctx, d->data[i]);
    qd_free(ctx, d->data);
    qd_free(ctx, d->i_tensors);
    qd_free(ctx, d);
}

/* ---- the run ---- */

static int by_linear(const void *a, const void *b) {
    size_t i = ((const qd_choice *)a)->i_linear, k = ((const qd_choice *)b)->i_linear;
    return (i > k) - (i < k);
}

/* What methods need when they are applied, found missing before any work. */
static qdisp_status check_needs(const qd_packing *p) {
    for (size_t i = 0; i < p->n_choices; i++) {
        const qd_choice *c = &p->choices[i];
        if (c->method->needs_e && !p->options->calib)
            return qd_fail(p->ctx, QDISP_EINVAL, "%s: %s needs a calibration by language: 'qdisp calibrate' or "
                           "qdisp_calib_collect makes one", c->name, c->method->name);
        if (c->method->needs_h && (!p->options->corpus || !p->options->tokenizer))
            return qd_fail(p->ctx, QDISP_EINVAL, "%s: %s needs text by language: a corpus and its tokenizer", c->name,
                           c->method->name);
    }
    return p->options->calib ? qd_calib_check(p->options->calib, p->model) : QDISP_OK;
}

/* E[x_j^2] of the languages mixed by the choice's weights, each over its own mean. */
static qdisp_status mix_energies(const qd_packing *p, const qd_choice *c, double *e) {
    const qdisp_calib *calib = p->options->calib;
    double *one = qd_alloc(p->ctx, c->n_in, sizeof *one);
    if (!one) return QDISP_ENOMEM;
    for (size_t l = 0; l < calib->n_languages; l++) {
        double mean = 0, lambda = qd_choice_weight(c, calib->languages[l].tag, 1 / (double)calib->n_languages);
        if (!(lambda > 0) || !qd_calib_energy(calib, l, QD_N_FOLDS, c->i_linear, one)) continue;
        for (size_t j = 0; j < c->n_in; j++) mean += one[j] / (double)c->n_in;
        for (size_t j = 0; mean > 0 && j < c->n_in; j++) e[j] += lambda / mean * one[j];
    }
    qd_free(p->ctx, one);
    return QDISP_OK;
}

/* What a run is made of beside the packing. */
typedef struct engine {
    const qd_packing *p;
    void *state;           /* the packer's */
    qd_hessians *hessians; /* NULL: no method asks for second moments */
    double *lambda;        /* [n_choices][n_languages] */
    size_t n_languages, n_walked; /* choices up to the last one that asks; layers that the text went through */
    size_t layer;
    qd_hessian_want *wants; /* [n_choices] of the layer under way */
    float **data;           /* [n_choices] the weights that replace the layer's own */
} engine;

static const qd_linear *linear_of(const qd_packing *p, size_t i) {
    return &p->model->linears[p->choices[i].i_linear];
}

static qd_hessian_want want_of(const engine *e, size_t i) {
    return (qd_hessian_want){e->p->choices[i].i_linear, e->lambda + i * e->n_languages};
}

/* own: to be freed. */
static qdisp_status find_inputs(const engine *e, size_t i, qd_inputs *x, double **own) {
    const qd_packing *p = e->p;
    const qd_choice *c = &p->choices[i];
    if (c->method->needs_e) {
        if (!(x->e = qd_alloc(p->ctx, c->n_in, sizeof *x->e))) return QDISP_ENOMEM;
        QD_TRY(mix_energies(p, c, x->e));
    }
    if (!c->method->needs_h) return QDISP_OK;
    const qd_hessian_want want = want_of(e, i);
    const qd_hessian *h = qd_hessians_find(e->hessians, &want);
    if (!(h->heard > 0)) {
        qd_log(p->ctx, QDISP_LOG_WARNING, "%s: no text went there: rounded to nearest", c->name);
        return QDISP_OK;
    }
    x->h = h->total;
    if (!c->inputs) return QDISP_OK;
    /* a copy, as several maps read it, and factors of inputs change it */
    if (!(x->h = *own = qd_alloc_aligned(p->ctx, c->n_in * c->n_in, sizeof *x->h))) return QDISP_ENOMEM;
    memcpy(x->h, h->total, c->n_in * c->n_in * sizeof *x->h);
    return QDISP_OK;
}

/* Codes of a choice to the packer; and to the layers after it. */
static qdisp_status run_one(engine *e, size_t i) {
    const qd_packing *p = e->p;
    const qd_choice *c = &p->choices[i];
    qd_inputs inputs = {0};
    qd_codes codes = {0};
    double *own = NULL;
    qdisp_status status = find_inputs(e, i, &inputs, &own);
    if (status == QDISP_OK) status = qd_choice_quantize(p->ctx, c, &inputs, &codes);
    codes.name = c->name;
    if (status == QDISP_OK) status = p->packer->put(e->state, i, &codes);
    if (status == QDISP_OK && i + 1 < e->n_walked && !p->options->original_inputs) {
        e->data[i] = qd_alloc_aligned(p->ctx, c->n_out * c->n_in, sizeof **e->data);
        if (e->data[i]) qd_codes_decode(p->ctx, &codes, 0, c->n_out, e->data[i]);
        else status = QDISP_ENOMEM;
    }
    qd_codes_clear(p->ctx, &codes);
    qd_free(p->ctx, inputs.e);
    qd_free_aligned(p->ctx, own);
    return status;
}

/* The text goes on to a layer, or past the last one. */
static qdisp_status walk_to(engine *e, size_t layer) {
    for (; e->layer < layer; e->layer++) QD_TRY(qd_layerwise_advance(e->hessians->walk, e->layer));
    return QDISP_OK;
}

/* Choices [first, end) of one layer, or one outside the layers: second moments; codes; on with the new weights. */
static qdisp_status run_layer(engine *e, size_t first, size_t end) {
    const qd_packing *p = e->p;
    int layer = linear_of(p, first)->layer;
    size_t n = 0, at = layer < 0 ? p->model->config.n_layer : (size_t)layer;
    double from = (double)first / (double)p->n_choices, to = (double)end / (double)p->n_choices;
    qdisp_status status = QDISP_OK;
    for (size_t i = first; i < end; i++)
        if (p->choices[i].method->needs_h) e->wants[n++] = want_of(e, i);
    qd_progress_range range = qd_progress_enter(p->ctx, "quantizing", from, from + 0.5 * (to - from));
    if (n > 0) status = walk_to(e, at);
    if (status == QDISP_OK && n > 0) status = qd_hessians_layer(e->hessians, layer, e->wants, n);
    qd_progress_leave(p->ctx, range);
    for (size_t i = first; i < end && status == QDISP_OK; i++) {
        double done = e->hessians ? 0.5 + 0.2 * (double)(i - first) / (double)(end - first) : 0;
        status = qd_progress(p->ctx, "quantizing", from + done * (to - from));
        if (status == QDISP_OK) status = run_one(e, i);
        if (status == QDISP_OK && e->data && e->data[i])
            qd_layerwise_replace(e->hessians->walk, p->choices[i].i_tensor, e->data[i]);
    }
    if (e->hessians) qd_hessians_done(e->hessians);
    range = qd_progress_enter(p->ctx, "quantizing", from + 0.7 * (to - from), to);
    if (status == QDISP_OK && layer >= 0 && end < e->n_walked) status = walk_to(e, (size_t)layer + 1);
    qd_progress_leave(p->ctx, range);
    for (size_t i = first; e->data && i < end; i++) {
        if (status == QDISP_OK) qd_layerwise_replace(e->hessians->walk, p->choices[i].i_tensor, NULL);
        qd_free_aligned(p->ctx, e->data[i]);
        e->data[i] = NULL;
    }
    return status;
}

/* Weights of the languages of the text for every choice that asks; *wanted: [n_languages] which of them any does. */
static qdisp_status find_lambda(engine *e, bool *wanted) {
    const qd_packing *p = e->p;
    for (size_t i = 0; i < e->n_walked; i++) {
        double *lambda = e->lambda + i * e->n_languages, sum = 0;
        if (!p->choices[i].method->needs_h) continue;
        for (size_t l = 0; l < e->n_languages; l++) {
            const char *tag = qdisp_corpus_language(p->options->corpus, l);
            sum += lambda[l] = qd_choice_weight(&p->choices[i], tag, 1 / (double)e->n_languages);
        }
        if (sum < 1 - 2e-3) /* the weights of all that are named sum to 1 */
            return qd_fail(p->ctx, QDISP_EMISMATCH, "%s: weights '%s' name a language that the text lacks",
                           p->choices[i].name, p->choices[i].weights);
        for (size_t l = 0; l < e->n_languages; l++) {
            lambda[l] /= sum;
            wanted[l] = wanted[l] || lambda[l] > 0;
        }
    }
    return QDISP_OK;
}

static qdisp_status prepare_walk(engine *e) {
    const qd_packing *p = e->p;
    for (size_t i = 0; i < p->n_choices; i++) {
        if (!p->choices[i].method->needs_h) continue;
        e->n_walked = i + 1;
        if (linear_of(p, i)->layer < 0 && p->choices[i].i_linear + 1 != p->model->n_linears)
            return qd_fail(p->ctx, QDISP_EUNSUPPORTED, "%s: %s sees the maps of the layers and the head, not this one",
                           p->choices[i].name, p->choices[i].method->name);
    }
    if (e->n_walked == 0) return QDISP_OK;
    e->n_languages = qdisp_corpus_n_languages(p->options->corpus);
    e->lambda = qd_alloc(p->ctx, e->n_walked * e->n_languages, sizeof *e->lambda);
    e->data = qd_alloc(p->ctx, p->n_choices, sizeof *e->data);
    bool *wanted = qd_alloc(p->ctx, e->n_languages, sizeof *wanted);
    qdisp_status status = e->lambda && e->data && wanted ? find_lambda(e, wanted) : QDISP_ENOMEM;
    if (status == QDISP_OK)
        status = qd_hessians_open(p->model, p->options->tokenizer, p->options->corpus, wanted,
                                  (size_t)p->options->max_tokens, &e->hessians);
    qd_free(p->ctx, wanted);
    return status;
}

static qdisp_status run_layers(engine *e) {
    const qd_packing *p = e->p;
    for (size_t first = 0, end; first < p->n_choices; first = end) {
        int layer = linear_of(p, first)->layer;
        for (end = first + 1; layer >= 0 && end < p->n_choices && linear_of(p, end)->layer == layer;) end++;
        QD_TRY(run_layer(e, first, end));
    }
    return qd_progress(p->ctx, "quantizing", 1);
}

static qdisp_status run_all(engine *e) {
    const qd_packing *p = e->p;
    e->wants = qd_alloc(p->ctx, p->n_choices, sizeof *e->wants);
    if (!e->wants) return QDISP_ENOMEM;
    QD_TRY(check_needs(p));
    if (p->packer->check) QD_TRY(p->packer->check(p));
    QD_TRY(prepare_walk(e));
    QD_TRY(p->packer->open(p, &e->state));
    return run_layers(e);
}

/* commit gets the packer's state of all that was put. */
static qdisp_status run_plan(const qdisp_table *plan, const qdisp_model *model, const qdisp_plan_options *options,
                             qd_packing *p, qdisp_status (*commit)(void *state, void *user), void *user) {
    qdisp_plan_options opt;
    qd_choice *choices;
    engine e = {.p = p};
    QD_TRY(qd_copy_options(model->ctx, "plan options", options, &opt, sizeof opt));
    QD_TRY(qd_plan_parse(plan, model, &choices, &p->n_choices));
    qsort(choices, p->n_choices, sizeof *choices, by_linear);
    p->ctx = model->ctx;
    p->model = model;
    p->plan = plan;
    p->choices = choices;
    p->options = &opt;
    qdisp_status status = run_all(&e);
    qd_hessians_free(e.hessians);
    qd_free(p->ctx, e.lambda);
    qd_free(p->ctx, e.wants);
    qd_free(p->ctx, e.data);
    if (status == QDISP_OK) status = commit(e.state, user);
    else if (e.state) p->packer->discard(e.state);
    qd_choices_free(model->ctx, choices, p->n_choices);
    return status;
}

static qdisp_status commit_model(void *state, void *user) {
    return qd_dequantized_commit(state, user);
}

qdisp_status qdisp_plan_apply(const qdisp_table *plan, const qdisp_model *model, const qdisp_plan_options *options,
                              qdisp_model **out) {
    qd_packing p = {0};
    QD_TRY(qd_packer_find(model->ctx, "folder", &p.packer)); /* whose state is the model */
    return run_plan(plan, model, options, &p, commit_model, out);
}

static qdisp_status commit_file(void *state, void *user) {
    return ((const qd_packer *)user)->commit(state);
}

qdisp_status qdisp_plan_write(const qdisp_table *plan, const qdisp_model *model, const qdisp_plan_options *options,
                              const char *format, const char *path) {
    qd_packing p = {.path = path};
    if (!path || !*path) return qd_fail(model->ctx, QDISP_EINVAL, "plan: no path to write to");
    QD_TRY(qd_packer_find(model->ctx, format, &p.packer));
    return run_plan(plan, model, options, &p, commit_file, (void *)(uintptr_t)p.packer);
}
