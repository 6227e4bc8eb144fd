/* loss.c - the loss of every line of every language. */
#include "eval/eval.h"
#include "model/sequences.h"
#include "quant/activations.h"

#include <math.h>
#include <string.h>

typedef struct loss_columns {
    size_t language, i_line, n_bytes, n_tokens, nll;
} loss_columns;

/* clips: NULL: activations as they are. */
static qdisp_status run_sequences(const qd_sequences *s, qd_clips *clips, float *nll) {
    qdisp_batch batch = qd_sequences_batch(s, true);
    qdisp_run_options options = {.size = sizeof options, .nll = nll, .user = clips};
    if (clips) {
        options.tap = qd_clips_tap;
        options.sites = QDISP_SITE_BIT(QDISP_SITE_LINEAR_IN);
    }
    return batch.n_seq ? qdisp_model_run(s->frame->model, &batch, &options) : QDISP_OK;
}

qdisp_status qd_sequences_nll(const qd_sequences *s, float *nll) {
    return run_sequences(s, NULL, nll);
}

/* Sum over the scored tokens of sequences first .. end - 1. */
static double sum_nll(const qd_sequences *s, const float *nll, size_t first, size_t end) {
    double sum = 0;
    for (size_t i = first; i < end; i++)
        for (size_t r = s->scored[i].first; r < s->scored[i].end; r++) sum += (double)nll[r];
    return sum;
}

static qdisp_status add_rows(const qd_lines *l, const float *nll, const char *language, const loss_columns *c,
                             qdisp_table *t) {
    qdisp_status status = QDISP_OK;
    for (size_t i = 0; i < l->n_lines && status == QDISP_OK; i++) {
        double sum = sum_nll(&l->sequences, nll, l->first[i], l->first[i + 1]);
        if (!isfinite(sum))
            return qd_fail(l->sequences.ctx, QDISP_ENUMERIC, "language %s, line %zu: the loss is not finite", language,
                           i + 1);
        size_t row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, c->language, language);
        qd_table_i64(t, &status, row, c->i_line, (int64_t)i);
        qd_table_i64(t, &status, row, c->n_bytes, (int64_t)l->n_bytes[i]);
        qd_table_i64(t, &status, row, c->n_tokens, (int64_t)l->n_scored[i]);
        qd_table_f64(t, &status, row, c->nll, sum);
    }
    return status;
}

static qdisp_status add_language(const qd_frame *frame, const qdisp_corpus *corpus, size_t l,
                                 const qdisp_eval_activations *activations, const loss_columns *c, qdisp_table *t) {
    qdisp_ctx *ctx = frame->model->ctx;
    qd_lines lines;
    qd_clips clips = {0};
    if (activations)
        QD_TRY(qd_clips_make(frame->model, activations->thresholds, activations->plan, qdisp_corpus_language(corpus, l),
                             activations->shared != 0, &clips));
    qdisp_status status = qd_lines_make(frame, corpus, l, NULL, qdisp_corpus_n_lines(corpus), &lines);
    if (status != QDISP_OK) {
        qd_clips_clear(&clips);
        return status;
    }
    const qd_sequences *s = &lines.sequences;
    float *nll = qd_alloc(ctx, s->starts[s->n_seq], sizeof *nll);
    status = nll ? run_sequences(s, activations ? &clips : NULL, nll) : QDISP_ENOMEM;
    if (status == QDISP_OK) status = add_rows(&lines, nll, qdisp_corpus_language(corpus, l), c, t);
    qd_free(ctx, nll);
    qd_lines_clear(&lines);
    qd_clips_clear(&clips);
    return status;
}

static qdisp_status eval_losses(const qdisp_model *model, const qdisp_tokenizer *tokenizer, const qdisp_corpus *corpus,
                                const qdisp_eval_activations *activations, qdisp_table **out) {
    qdisp_table *t;
    qd_frame frame;
    QD_TRY(qd_frame_make(model, tokenizer, &frame));
    QD_TRY(qd_frame_scores(&frame));
    QD_TRY(qdisp_table_new(model->ctx, "losses", "Negative log-likelihood of every line", &t));
    qdisp_status status = QDISP_OK;
    loss_columns c;
    c.language = qd_table_column(t, &status, "language", "", QDISP_COLUMN_STR);
    c.i_line = qd_table_column(t, &status, "i_line", "", QDISP_COLUMN_I64);
    c.n_bytes = qd_table_column(t, &status, "n_bytes", "bytes", QDISP_COLUMN_I64);
    c.n_tokens = qd_table_column(t, &status, "n_tokens", "tokens", QDISP_COLUMN_I64);
    c.nll = qd_table_column(t, &status, "nll_nats", "nats", QDISP_COLUMN_F64);
    size_t n = qdisp_corpus_n_languages(corpus);
    for (size_t l = 0; l < n && status == QDISP_OK; l++) {
        status = qd_progress(model->ctx, "evaluating", (double)l / (double)n);
        qd_progress_range range =
            qd_progress_enter(model->ctx, "evaluating", (double)l / (double)n, (double)(l + 1) / (double)n);
        if (status == QDISP_OK) status = add_language(&frame, corpus, l, activations, &c, t);
        qd_progress_leave(model->ctx, range);
    }
    if (status == QDISP_OK) status = qd_progress(model->ctx, "evaluating", 1);
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}

qdisp_status qdisp_eval_losses(const qdisp_model *model, const qdisp_tokenizer *tokenizer, const qdisp_corpus *corpus,
                               qdisp_table **out) {
    return eval_losses(model, tokenizer, corpus, NULL, out);
}

qdisp_status qdisp_eval_losses_with(const qdisp_model *model, const qdisp_tokenizer *tokenizer,
                                    const qdisp_corpus *corpus, const qdisp_eval_activations *activations,
                                    qdisp_table **out) {
    qdisp_eval_activations a;
    QD_TRY(qd_copy_options(model->ctx, "activations", activations, &a, sizeof a));
    if (!a.thresholds || a.shared > 1)
        return qd_fail(model->ctx, QDISP_EINVAL, "activations: thresholds are needed, and shared is 0 or 1");
    return eval_losses(model, tokenizer, corpus, &a, out);
}

void qd_losses_clear(qd_losses *losses) {
    qd_free(losses->ctx, losses->first);
    losses->first = NULL;
}

qdisp_status qd_losses_read(const qdisp_table *t, qd_losses *out) {
    qd_losses r = {.ctx = qd_table_ctx(t)};
    size_t n = qdisp_table_n_rows(t);
    r.language = qdisp_table_str(t, qdisp_table_find(t, "language"));
    r.i_line = qdisp_table_i64(t, qdisp_table_find(t, "i_line"));
    r.n_bytes = qdisp_table_i64(t, qdisp_table_find(t, "n_bytes"));
    r.nll = qdisp_table_f64(t, qdisp_table_find(t, "nll_nats"));
    if (n == 0 || !r.language || !r.i_line || !r.n_bytes || !r.nll)
        return qd_fail(r.ctx, QDISP_EMISMATCH, "table %s: not losses as qdisp_eval_losses makes them",
                       qdisp_table_name(t));
    for (size_t i = 0; i < n; i++)
        if (!r.language[i])
            return qd_fail(r.ctx, QDISP_EMISMATCH, "table %s, row %zu: no language", qdisp_table_name(t), i + 1);
    r.first = qd_alloc(r.ctx, n + 1, sizeof *r.first);
    if (!r.first) return QDISP_ENOMEM;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(r.language[i], r.language[i - 1])) r.first[r.n_languages++] = i;
    r.first[r.n_languages] = n;
    *out = r;
    return QDISP_OK;
}
