/* Scaled inputs folded into the tensors around them leave every architecture's results as they are. */
#include "archs.h"

#include "quant/fold.h"

static size_t n_scaled, n_left;

/* A choice a linear map: random factors, the same for maps that read one input and for columns from one place. */
static qd_choice *random_choices(const golden *g) {
    const qdisp_model *m = g->model;
    qd_choice *choices = qd_alloc(g->ctx, m->n_linears, sizeof *choices);
    for (size_t i = 0; i < m->n_linears; i++) {
        const qd_linear *l = &m->linears[i];
        qd_choice *c = &choices[i];
        *c = (qd_choice){.name = m->tensors[l->i_weight].name, .i_tensor = l->i_weight, .i_linear = i,
                         .slot = l->slot, .n_out = l->n_out, .n_in = l->n_in};
        qd_input_find(m, i, &c->input);
        CHECK(c->input.i_first <= i);
        if (c->input.maker == QD_MAKER_NONE) {
            n_left++;
            continue;
        }
        c->inputs = qd_alloc(g->ctx, c->n_in, 1);
        for (size_t j = 0; j < c->n_in; j++) {
            double x = sign(c->input.i_first, qd_input_tied(&c->input, j)) + sign(99, qd_input_tied(&c->input, j));
            c->inputs[j] = qd_input_code(x);
        }
        n_scaled++;
    }
    return choices;
}

static qdisp_model *folded(const golden *g, const qd_choice *choices, size_t n) {
    const qdisp_model *m = g->model;
    qd_fold *folds = NULL;
    qdisp_model *out = NULL;
    CHECK_STATUS(qd_folds_make(m, choices, n, &folds), QDISP_OK);
    if (!folds) return NULL;
    size_t *i_tensors = qd_alloc(g->ctx, m->n_tensors, sizeof *i_tensors);
    float **data = qd_alloc(g->ctx, m->n_tensors, sizeof *data);
    for (size_t i = 0; i < m->n_tensors; i++) {
        size_t n_values = (size_t)qd_tensor_n_elements(&m->tensors[i]);
        i_tensors[i] = i;
        data[i] = qd_alloc_aligned(g->ctx, n_values, sizeof(float));
        CHECK_STATUS(qdisp_model_read(m, i, 0, n_values, data[i]), QDISP_OK);
        if (folds[i].columns || folds[i].rows)
            qd_fold_rows(m, folds, i, 0, (size_t)m->tensors[i].shape[0], data[i]);
    }
    CHECK_STATUS(qd_model_with_tensors(m, i_tensors, data, m->n_tensors, &out), QDISP_OK);
    qd_free(g->ctx, i_tensors);
    qd_free(g->ctx, data);
    qd_folds_free(m, folds);
    return out;
}

static float *logits_of(const golden *g, const qdisp_model *m) {
    float *logits = qd_alloc(g->ctx, g->n_rows * g->info->n_vocab, sizeof *logits);
    qdisp_run_options o = {.size = sizeof o, .logits = logits};
    CHECK_STATUS(qdisp_model_run(m, &g->batch, &o), QDISP_OK);
    return logits;
}

static void free_choices(const golden *g, qd_choice *choices) {
    for (size_t i = 0; i < g->model->n_linears; i++) qd_free(g->ctx, choices[i].inputs);
    qd_free(g->ctx, choices);
}

static void check_folder(const char *name) {
    golden g;
    if (!open_golden(&g, name, 1)) return;
    qd_choice *choices = random_choices(&g);
    qdisp_model *m = folded(&g, choices, g.model->n_linears);
    if (m) {
        float *before = logits_of(&g, g.model), *after = logits_of(&g, m);
        check_error(&g, "logits", difference(after, before, g.n_rows * g.info->n_vocab), 2e-5);
        qd_free(g.ctx, before);
        qd_free(g.ctx, after);
    }
    qdisp_model_free(m);
    free_choices(&g, choices);
    close_golden(&g);
}

TEST(every_architecture_computes_the_same_with_scaled_inputs) {
    for (size_t i = 0; i < n_folders; i++) check_folder(folders[i]);
    printf("%zu linear maps with scaled inputs, %zu whose input nothing can take\n", n_scaled, n_left);
    CHECK(n_scaled > 100 && n_left > 0);
}

static qdisp_status fold_status(const golden *g, const qd_choice *choices) {
    qd_fold *folds = NULL;
    qdisp_status status = qd_folds_make(g->model, choices, g->model->n_linears, &folds);
    CHECK(status == QDISP_OK || !folds);
    qd_folds_free(g->model, folds);
    return status;
}

TEST(factors_that_cannot_be_folded_are_refused_by_name) {
    golden g;
    for (size_t f = 0; f < n_folders; f++) {
        if (!open_golden(&g, folders[f], 1)) return;
        qd_choice *choices = random_choices(&g);
        for (size_t i = 0; i < g.model->n_linears; i++) {
            qd_choice *c = &choices[i];
            if (c->input.maker != QD_MAKER_NONE && c->input.i_first != i) {
                c->inputs[0] ^= 1;
                CHECK_STATUS(fold_status(&g, choices), c->input.n_tied > 1 ? QDISP_EUNSUPPORTED : QDISP_EINVAL);
                CHECK_HAS(qdisp_ctx_error(g.ctx), c->name);
                c->inputs[0] ^= 1;
            }
            if (c->input.n_tied > 1) {
                c->inputs[c->input.run] ^= 1;
                CHECK_STATUS(fold_status(&g, choices), QDISP_EUNSUPPORTED);
                CHECK_HAS(qdisp_ctx_error(g.ctx), c->name);
                c->inputs[c->input.run] ^= 1;
            }
            if (c->input.maker == QD_MAKER_NONE) {
                uint8_t one[4096] = {0};
                CHECK(c->n_in <= sizeof one);
                c->inputs = one;
                CHECK_STATUS(fold_status(&g, choices), QDISP_EUNSUPPORTED);
                CHECK_HAS(qdisp_ctx_error(g.ctx), c->name);
                c->inputs = NULL;
            }
        }
        CHECK_STATUS(fold_status(&g, choices), QDISP_OK);
        free_choices(&g, choices);
        close_golden(&g);
    }
}

int main(int argc, char **argv) {
    if (!list_folders(argc, argv)) return 1;
    RUN(every_architecture_computes_the_same_with_scaled_inputs);
    RUN(factors_that_cannot_be_folded_are_refused_by_name);
    return TEST_END();
}
