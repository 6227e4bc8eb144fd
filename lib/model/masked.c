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
    size_t *rows;           /* [n_seq] of the caller's ids: the one that copy s masks */
    float *nll;
    size_t n_seq, n_rows;   /* made */
    size_t cap_ids, cap_targets, cap_starts, cap_rows, cap_nll;
} copies;

static void free_copies(qdisp_ctx *ctx, copies *c) {
    qd_free(ctx, c->ids);
    qd_free(ctx, c->targets);
    qd_free(ctx, c->starts);
    qd_free(ctx, c->rows);
    qd_free(ctx, c->nll);
}

/* A copy of ids[first .. end - 1] with ids[at] masked, whose loss is that of target. */
static qdisp_status add_copy(qdisp_ctx *ctx, copies *c, const int32_t *ids, size_t first, size_t end, size_t at,
                             int32_t mask_id, int32_t target) {
    size_t n = end - first, rows = c->n_rows + n;
    QD_TRY(qd_grow(ctx, (void **)&c->ids, &c->cap_ids, rows, sizeof *c->ids));
    QD_TRY(qd_grow(ctx, (void **)&c->targets, &c->cap_targets, rows, sizeof *c->targets));
    QD_TRY(qd_grow(ctx, (void **)&c->nll, &c->cap_nll, rows, sizeof *c->nll));
    QD_TRY(qd_grow(ctx, (void **)&c->starts, &c->cap_starts, c->n_seq + 2, sizeof *c->starts));
    QD_TRY(qd_grow(ctx, (void **)&c->rows, &c->cap_rows, c->n_seq + 1, sizeof *c->rows));
    memcpy(c->ids + c->n_rows, ids + first, n * sizeof *ids);
    for (size_t i = 0; i < n; i++) c->targets[c->n_rows + i] = -1;
    c->targets[c->n_rows + at - first] = target;
    c->ids[c->n_rows + at - first] = mask_id;
    c->rows[c->n_seq] = at;
    c->starts[c->n_seq++] = c->n_rows;
    c->starts[c->n_seq] = c->n_rows = rows;
    return QDISP_OK;
}

/* Runs the copies and stores the loss of each. */
static qdisp_status run_copies(const qdisp_model *m, copies *c, const qd_run *outer) {
    qd_run run = *outer;
    run.nll = c->nll;
    qdisp_batch batch = qd_batch_of(c->ids, c->starts, c->n_seq);
    batch.targets = c->targets;
    QD_TRY(qd_model_run(m, &batch, &run));
    for (size_t s = 0; s < c->n_seq; s++) {
        for (size_t i = c->starts[s]; i < c->starts[s + 1]; i++) {
            if (c->targets[i] >= 0) outer->nll[c->rows[s]] = c->nll[i];
        }
    }
    c->n_seq = c->n_rows = 0;
    return QDISP_OK;
}

static qdisp_status check_batch(const qdisp_model *m, const qdisp_batch *in) {
    bool good = in->ids && in->starts && in->starts[0] == 0;
    for (size_t s = 0; good && s < in->n_seq; s++) good = in->starts[s + 1] > in->starts[s];
    if (!good) return qd_fail(m->ctx, QDISP_EINVAL, "forward: no ids, an empty sequence, or starts that do not "
                              "ascend from 0");
    for (size_t i = 0; i < in->starts[in->n_seq]; i++) { /* those that are not scored may be in no copy */
        if (in->ids[i] < 0 || (size_t)in->ids[i] >= m->config.n_vocab) {
            return qd_fail(m->ctx, QDISP_EINVAL, "forward: id %d at position %zu is outside the vocabulary (%zu)",
                           (int)in->ids[i], i, m->config.n_vocab);
        }
    }
    return QDISP_OK;
}

static qdisp_status run_masked(const qdisp_model *m, const qdisp_batch *in, const qd_run *run) {
    copies c = {0};
    int32_t mask_id = (int32_t)(in->mask_id_plus_1 - 1);
    QD_TRY(check_batch(m, in));
    size_t n = in->starts[in->n_seq], done = 0;
    qdisp_status status = QDISP_OK;
    for (size_t i = 0, s = 0; i < n && status == QDISP_OK; i++) {
        int32_t target = in->targets ? in->targets[i] : in->ids[i];
        while (i >= in->starts[s + 1]) s++;
        run->nll[i] = NAN;
        if (target != -1) {
            status = add_copy(m->ctx, &c, in->ids, in->starts[s], in->starts[s + 1], i, mask_id, target);
        }
        if (status != QDISP_OK || !c.n_seq || (c.n_rows < COPY_ROWS && i + 1 < n)) continue;
        qd_progress_range range = qd_progress_enter(m->ctx, "forward", (double)done / (double)n,
                                                    (double)(i + 1) / (double)n);
        status = run_copies(m, &c, run);
        qd_progress_leave(m->ctx, range);
        done = i + 1;
    }
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
        if (!is_masked || run.logits) {
            return qd_fail(model->ctx, QDISP_EINVAL, "forward: a mask id goes with masked models, without logits");
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
