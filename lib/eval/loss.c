/* loss.c - the loss of every line of every language. */
#include "corpus/sequences.h"
#include "eval/eval.h"

#include <math.h>
#include <string.h>

typedef struct loss_columns {
    size_t language, i_line, n_bytes, n_tokens, nll;
} loss_columns;

/* Sum of the scored tokens of a sequence: all but the first, which has no context. */
static double sequence_nll(const float *nll, size_t first, size_t end) {
    double sum = 0;
    for (size_t i = first + 1; i < end; i++) sum += (double)nll[i];
    return sum;
}

static qdisp_status add_language(const qdisp_model *model, const qdisp_tokenizer *tokenizer, const qdisp_corpus *corpus,
                                 size_t l, const loss_columns *c, qdisp_table *t) {
    qdisp_ctx *ctx = model->ctx;
    qd_sequences s;
    QD_TRY(qd_sequences_make(ctx, tokenizer, corpus, l, NULL, qdisp_corpus_n_lines(corpus), model->info.bos_id,
                             model->info.n_vocab, &s));
    float *nll = qd_alloc(ctx, s.starts[s.n_seq], sizeof *nll);
    qdisp_status status = nll ? QDISP_OK : QDISP_ENOMEM;
    qd_run run = {.nll = nll};
    qdisp_batch batch = qd_batch_of(s.ids, s.starts, s.n_seq);
    if (status == QDISP_OK) status = qd_model_run(model, &batch, &run);
    for (size_t i = 0; i < s.n_seq && status == QDISP_OK; i++) {
        double sum = sequence_nll(nll, s.starts[i], s.starts[i + 1]);
        if (!isfinite(sum)) {
            status = qd_fail(ctx, QDISP_ENUMERIC, "language %s, line %zu: the loss is not finite",
                             qdisp_corpus_language(corpus, l), i + 1);
            break;
        }
        size_t row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, c->language, qdisp_corpus_language(corpus, l));
        qd_table_i64(t, &status, row, c->i_line, (int64_t)i);
        qd_table_i64(t, &status, row, c->n_bytes, (int64_t)s.n_bytes[i]);
        qd_table_i64(t, &status, row, c->n_tokens, (int64_t)s.n_scored[i]);
        qd_table_f64(t, &status, row, c->nll, sum);
    }
    qd_free(ctx, nll);
    qd_sequences_clear(&s);
    return status;
}

qdisp_status qdisp_eval_losses(const qdisp_model *model, const qdisp_tokenizer *tokenizer, const qdisp_corpus *corpus,
                               qdisp_table **out) {
    qdisp_table *t;
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
        if (status == QDISP_OK) status = add_language(model, tokenizer, corpus, l, &c, t);
        qd_progress_leave(model->ctx, range);
    }
    if (status == QDISP_OK) status = qd_progress(model->ctx, "evaluating", 1);
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
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
