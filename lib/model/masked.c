/* masked.c - the public run, and the pseudo-likelihood of masked models: each token masked in turn (Salazar, Liang,
 * Nguyen, Kirchhoff 2020). */
#include <math.h>
#include <string.h>

#include "model/arch.h"

/* Rows of copies at a time: bounds their memory, and is enough for a full batch of chunks. */
#define COPY_ROWS ((size_t)1 << 14)

typedef struct copies {
    int32_t *ids, *targets;
    size_t *starts;
    float *nll;
    size_t n_seq, n_rows;   /* made */
    size_t cap_ids, cap_targets, cap_starts, cap_nll;
} copies;

static void free_copies(qdisp_ctx *ctx, copies *c) {
    qd_free(ctx, c->ids);
    qd_free(ctx, c->targets);
    qd_free(ctx, c->starts);
    qd_free(ctx, c->nll);
}

/* A copy of ids[n] with ids[at] masked. */
static qdisp_status add_copy(qdisp_ctx *ctx, copies *c, const int32_t *ids, size_t n, size_t at, int32_t mask_id) {
    size_t rows = c->n_rows + n;
    QD_TRY(qd_grow(ctx, (void **)&c->ids, &c->cap_ids, rows, sizeof *c->ids));
    QD_TRY(qd_grow(ctx, (void **)&c->targets, &c->cap_targets, rows, sizeof *c->targets));
    QD_TRY(qd_grow(ctx, (void **)&c->nll, &c->cap_nll, rows, sizeof *c->nll));
    QD_TRY(qd_grow(ctx, (void **)&c->starts, &c->cap_starts, c->n_seq + 2, sizeof *c->starts));
    memcpy(c->ids + c->n_rows, ids, n * sizeof *ids);
    for (size_t i = 0; i < n; i++) c->targets[c->n_rows + i] = -1;
    c->targets[c->n_rows + at] = ids[at];
    c->ids[c->n_rows + at] = mask_id;
    c->starts[c->n_seq++] = c->n_rows;
    c->starts[c->n_seq] = c->n_rows = rows;
    return QDISP_OK;
}

/* Runs the copies and stores the loss of each at out[0 .. n_seq - 1]. */
static qdisp_status run_copies(const qdisp_model *m, copies *c, const qd_run *outer, float *out) {
    qd_run run = *outer;
    run.nll = c->nll;
    qdisp_batch batch = qd_batch_of(c->ids, c->starts, c->n_seq);
    batch.targets = c->targets;
    QD_TRY(qd_model_run(m, &batch, &run));
    for (size_t s = 0; s < c->n_seq; s++) {
        for (size_t i = c->starts[s]; i < c->starts[s + 1]; i++) {
            if (c->targets[i] >= 0) out[s] = c->nll[i];
        }
    }
    c->n_seq = c->n_rows = 0;
    return QDISP_OK;
}

static qdisp_status run_masked(const qdisp_model *m, const qdisp_batch *in, const qd_run *run) {
    copies c = {0};
    int32_t mask_id = (int32_t)(in->mask_id_plus_1 - 1);
    qdisp_status status = QDISP_OK;
    size_t done = 0;
    for (size_t s = 0; s < in->n_seq && status == QDISP_OK; s++) {
        if (in->starts[s + 1] <= in->starts[s] || in->starts[0] != 0) {
            status = qd_fail(m->ctx, QDISP_EINVAL, "forward: sequence %zu is empty or starts do not ascend from 0", s);
            break;
        }
        size_t n = in->starts[s + 1] - in->starts[s];
        for (size_t i = 0; i < n && status == QDISP_OK; i++) {
            status = add_copy(m->ctx, &c, in->ids + in->starts[s], n, i, mask_id);
            if (status != QDISP_OK || c.n_rows < COPY_ROWS) continue;
            size_t n_copies = c.n_seq;
            status = run_copies(m, &c, run, run->nll + done);
            done += n_copies;
        }
    }
    if (status == QDISP_OK && c.n_seq) status = run_copies(m, &c, run, run->nll + done);
    free_copies(m->ctx, &c);
    return status;
}

qdisp_status qdisp_model_run(const qdisp_model *model, const qdisp_batch *batch, const qdisp_run_options *options) {
    qdisp_batch in;
    qdisp_run_options opt;
    if (!model) return QDISP_EINVAL;
    QD_TRY(qd_copy_options(model->ctx, "batch", batch, &in, sizeof in));
    QD_TRY(qd_copy_options(model->ctx, "run options", options, &opt, sizeof opt));
    qd_run run = {.nll = opt.nll, .logits = opt.logits, .tap = opt.tap, .user = opt.user,
                  .sites = opt.tap ? opt.sites : 0};
    run.tap_head = (run.sites & QDISP_SITE_BIT(QDISP_SITE_LINEAR_IN)) != 0;
    bool is_masked = model->config.kind == QDISP_MODEL_MASKED;
    if (in.mask_id_plus_1) {
        if (!is_masked || in.targets || run.logits) {
            return qd_fail(model->ctx, QDISP_EINVAL, "forward: a mask id goes with masked models, without targets and "
                           "logits");
        }
        if (in.mask_id_plus_1 < 1 || in.mask_id_plus_1 > (int64_t)model->config.n_vocab) {
            return qd_fail(model->ctx, QDISP_EINVAL, "forward: mask id %lld is outside the vocabulary (%zu)",
                           (long long)in.mask_id_plus_1 - 1, model->config.n_vocab);
        }
        if (!run.nll) return qd_fail(model->ctx, QDISP_EINVAL, "forward: a mask id without a place for nll");
        return in.n_seq ? run_masked(model, &in, &run) : QDISP_OK;
    }
    if (is_masked && run.nll && !in.targets) {
        return qd_fail(model->ctx, QDISP_EINVAL, "forward: the nll of a %s model needs a mask id or targets",
                       model->arch->name);
    }
    return qd_model_run(model, &in, &run);
}
