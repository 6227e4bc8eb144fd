/* sequences.h - lines of a corpus as token sequences, each after the model's beginning-of-sequence token. */
#ifndef QD_SEQUENCES_H
#define QD_SEQUENCES_H

#include "base/base.h"

#include <qdisp/corpus.h>
#include <qdisp/tokenizer.h>

typedef struct qd_sequences {
    qdisp_ctx *ctx;
    int32_t *ids;
    size_t *starts;   /* [n_seq + 1] */
    size_t *n_bytes;  /* [n_seq] bytes of text that the scored tokens stand for */
    size_t *n_scored; /* [n_seq] tokens that have a context */
    size_t n_seq, ids_cap;
} qd_sequences;

/* The lines `lines[n]` (NULL: all) of a language. bos_id -1: no such token, so the first token of a line is not
 * scored and its bytes do not count. Errors: EMISMATCH for an id >= n_vocab; those of the tokenizer with language
 * and line named. */
qdisp_status qd_sequences_make(qdisp_ctx *ctx, const qdisp_tokenizer *tokenizer, const qdisp_corpus *corpus,
                               size_t i_language, const size_t *lines, size_t n, int32_t bos_id, size_t n_vocab,
                               qd_sequences *out);
void qd_sequences_clear(qd_sequences *s);

#endif
