/* sequences.c - what calibration and evaluation feed to a model. */
#include "corpus/sequences.h"

#include <string.h>

void qd_sequences_clear(qd_sequences *s) {
    qd_free(s->ctx, s->ids);
    qd_free(s->ctx, s->starts);
    qd_free(s->ctx, s->n_bytes);
    qd_free(s->ctx, s->n_scored);
    memset(s, 0, sizeof *s);
}

/* Appends one line at ids[at]; *n_ids is its length with the leading token. */
static qdisp_status add_line(qd_sequences *s, const qdisp_tokenizer *tokenizer, const char *text, size_t n_bytes,
                             int32_t bos_id, size_t at, size_t i_seq, size_t *n_ids) {
    qdisp_ctx *ctx = s->ctx;
    size_t n_lead = bos_id >= 0, n = 0, *starts = NULL;
    QD_TRY(qd_grow(ctx, (void **)&s->ids, &s->ids_cap, at + n_lead + n_bytes + 1, sizeof *s->ids));
    QD_TRY(qdisp_tokenizer_encode(tokenizer, text, n_bytes, s->ids + at + n_lead, NULL, n_bytes + 1, &n));
    if (n > n_bytes + 1) { /* a normalizer made the text longer */
        QD_TRY(qd_grow(ctx, (void **)&s->ids, &s->ids_cap, at + n_lead + n, sizeof *s->ids));
        QD_TRY(qdisp_tokenizer_encode(tokenizer, text, n_bytes, s->ids + at + n_lead, NULL, n, &n));
    }
    if (n + n_lead == 0) return qd_fail(ctx, QDISP_EINVAL, "a line has no tokens");
    s->n_bytes[i_seq] = n_bytes;
    s->n_scored[i_seq] = n + n_lead - 1;
    if (n_lead) s->ids[at] = bos_id;
    else if (n > 0) { /* the first token's bytes are context only */
        if (!(starts = qd_alloc(ctx, n, sizeof *starts))) return QDISP_ENOMEM;
        qdisp_status status = qdisp_tokenizer_encode(tokenizer, text, n_bytes, s->ids + at, starts, n, &n);
        s->n_bytes[i_seq] = n > 1 ? n_bytes - starts[1] : 0;
        qd_free(ctx, starts);
        QD_TRY(status);
    }
    *n_ids = n + n_lead;
    return QDISP_OK;
}

static qdisp_status check_ids(qd_sequences *s, size_t from, size_t to, size_t n_vocab) {
    for (size_t i = from; i < to; i++)
        if (s->ids[i] < 0 || (size_t)s->ids[i] >= n_vocab)
            return qd_fail(s->ctx, QDISP_EMISMATCH, "token id %d: the model's vocabulary has %zu: "
                           "is this the model's tokenizer?", s->ids[i], n_vocab);
    return QDISP_OK;
}

qdisp_status qd_sequences_make(qdisp_ctx *ctx, const qdisp_tokenizer *tokenizer, const qdisp_corpus *corpus,
                               size_t i_language, const size_t *lines, size_t n, int32_t bos_id, size_t n_vocab,
                               qd_sequences *out) {
    qd_sequences s = {.ctx = ctx, .n_seq = n};
    qdisp_status status = QDISP_ENOMEM;
    s.starts = qd_alloc(ctx, n + 1, sizeof *s.starts);
    s.n_bytes = qd_alloc(ctx, n, sizeof *s.n_bytes);
    s.n_scored = qd_alloc(ctx, n, sizeof *s.n_scored);
    if (!s.starts || !s.n_bytes || !s.n_scored) goto done;
    status = QDISP_OK;
    for (size_t i = 0; i < n; i++) {
        size_t n_bytes, n_ids = 0, i_line = lines ? lines[i] : i, at = s.starts[i];
        const char *text = qdisp_corpus_line(corpus, i_language, i_line, &n_bytes);
        status = text ? add_line(&s, tokenizer, text, n_bytes, bos_id, at, i, &n_ids)
                      : qd_fail(ctx, QDISP_EINVAL, "no line %zu", i_line);
        if (status == QDISP_OK) status = check_ids(&s, at, at + n_ids, n_vocab);
        if (status != QDISP_OK) {
            char reason[512];
            qd_copy_error(ctx, reason);
            qd_fail(ctx, status, "language %s, line %zu: %.400s", qdisp_corpus_language(corpus, i_language), i_line + 1,
                    reason);
            goto done;
        }
        s.starts[i + 1] = at + n_ids;
    }
    *out = s;
    return QDISP_OK;
done:
    qd_sequences_clear(&s);
    return status;
}
