/* engine.c - a plan carried out. Everything is checked before any work; then tensor after tensor, in the order of the
 * forward pass, becomes codes, goes to the packer and is forgotten. */
#include "quant/engine.h"

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

static qdisp_status run_one(const qd_packing *p, size_t i, void *state) {
    const qd_choice *c = &p->choices[i];
    qd_inputs inputs = {0};
    qd_codes codes = {0};
    qdisp_status status = qd_progress(p->ctx, "quantizing", (double)i / (double)p->n_choices);
    if (status == QDISP_OK && c->method->needs_e)
        status = (inputs.e = qd_alloc(p->ctx, c->n_in, sizeof *inputs.e)) ? mix_energies(p, c, inputs.e) : QDISP_ENOMEM;
    if (status == QDISP_OK) status = qd_choice_quantize(p->ctx, c, &inputs, &codes);
    codes.name = c->name;
    if (status == QDISP_OK) status = p->packer->put(state, i, &codes);
    qd_codes_clear(p->ctx, &codes);
    qd_free(p->ctx, inputs.e);
    return status;
}

static qdisp_status run_all(const qd_packing *p, void **state) {
    QD_TRY(check_needs(p));
    if (p->packer->check) QD_TRY(p->packer->check(p));
    QD_TRY(p->packer->open(p, state));
    for (size_t i = 0; i < p->n_choices; i++) QD_TRY(run_one(p, i, *state));
    return qd_progress(p->ctx, "quantizing", 1);
}

/* commit gets the packer's state of all that was put. */
static qdisp_status run_plan(const qdisp_table *plan, const qdisp_model *model, const qdisp_plan_options *options,
                             qd_packing *p, qdisp_status (*commit)(void *state, void *user), void *user) {
    qdisp_plan_options opt;
    qd_choice *choices;
    void *state = NULL;
    QD_TRY(qd_copy_options(model->ctx, "plan options", options, &opt, sizeof opt));
    QD_TRY(qd_plan_parse(plan, model, &choices, &p->n_choices));
    qsort(choices, p->n_choices, sizeof *choices, by_linear);
    p->ctx = model->ctx;
    p->model = model;
    p->plan = plan;
    p->choices = choices;
    p->options = &opt;
    qdisp_status status = run_all(p, &state);
    if (status == QDISP_OK) status = commit(state, user);
    else if (state) p->packer->discard(state);
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
