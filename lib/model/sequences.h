/* sequences.h - text as a model reads it: what calibration and evaluation feed.
 *
 * A decoder reads a lead, then the text; the lead is what the tokenizer's template puts in front, else the model's
 * beginning-of-sequence token, else nothing. A GGUF vocabulary says itself whether it puts a token in front (its
 * add_bos_token) or behind, and is believed. A masked model reads prefix, text and suffix of the template. In an
 * encoder-decoder model the encoder reads prefix, the first half of the text (rounded down) and suffix (that of the
 * template, else the model's end-of-sequence token), and the decoder predicts the rest. Template tokens are never
 * scored, nor is a decoder's first token when nothing leads it. */
#ifndef QD_SEQUENCES_H
#define QD_SEQUENCES_H

#include "model/model.h"

#include <qdisp/corpus.h>
#include <qdisp/tokenizer.h>

/* How a model reads text; borrows from model and tokenizer. */
typedef struct qd_frame {
    const qdisp_model *model;
    const qdisp_tokenizer *tokenizer;
    const int32_t *prefix, *suffix;
    size_t n_prefix, n_suffix;
    size_t n_most;   /* tokens of text that a sequence can hold; SIZE_MAX: no limit */
    int32_t mask_id; /* -1: none, which scoring a masked model needs */
} qd_frame;
/* Errors: EMISMATCH (the template does not fit into the model's n_positions or its vocabulary). */
qdisp_status qd_frame_make(const qdisp_model *model, const qdisp_tokenizer *tokenizer, qd_frame *out);
/* EMISMATCH for a masked model without a mask token. */
qdisp_status qd_frame_scores(const qd_frame *frame);

typedef struct qd_row_span {
    size_t first, end;
} qd_row_span;

/* Sequences s; rows are indices into ids, of source into source_ids. */
typedef struct qd_sequences {
    qdisp_ctx *ctx;
    const qd_frame *frame;
    int32_t *ids, *source_ids;      /* source: encoder-decoder models, else NULL */
    size_t *starts, *source_starts; /* [n_seq + 1] */
    int32_t *targets;               /* as ids: the id where it is scored, else -1 */
    qd_row_span *scored;                /* [n_seq] */
    /* [n_seq] rows whose activations are those of text, each token of it once: without template tokens and the first
     * row of a decoder. */
    qd_row_span *text, *source_text;
    size_t n_seq, cap[8];
} qd_sequences;

/* Adds a sequence of the text tokens ids[n]; those before from are context: they are neither scored nor text. n up to
 * frame->n_most, twice that for encoder-decoder models, whose from is 0. Errors: EINVAL (no tokens; an encoder without
 * any), ENOMEM. */
qdisp_status qd_sequences_add(qd_sequences *s, const int32_t *ids, size_t n, size_t from);
/* Adds sequence i of others. n_most: a decoder's ends after so many rows of text, 1 or more; others are added whole.
 * Errors: ENOMEM. */
qdisp_status qd_sequences_append(qd_sequences *s, const qd_sequences *others, size_t i, size_t n_most);
/* Forgets the sequences, keeps the memory. */
void qd_sequences_reset(qd_sequences *s);
void qd_sequences_clear(qd_sequences *s);
/* The sequences as a batch; scores: with what the loss needs, else as they stand. Borrows from s. */
qdisp_batch qd_sequences_batch(const qd_sequences *s, bool scores);
/* Copies of the sequences first .. first + n - 1. Errors: ENOMEM. */
qdisp_status qd_sequences_slice(const qd_sequences *s, size_t first, size_t n, qd_sequences *out);
/* The sequences as a batch whose losses a backward pass can start from: targets[number of ids] as qdisp_batch has them,
 * for the scored tokens alone. Of a masked model every seventh of them (15 %, Devlin et al. 2019) gets a target and is
 * hidden from the batch by its mask, in s itself. *n_targets: how many. */
qdisp_batch qd_sequences_targets(qd_sequences *s, int32_t *targets, size_t *n_targets);
/* Index among the tokens ids[n] of a sequence added with from = 0 of the first one that is scored. */
size_t qd_frame_first_scored(const qd_frame *frame, size_t n);

/* Text to ids and the byte where each token begins; *starts has *n + 1 entries, the last n_bytes. Both the caller's.
 * Errors: EMISMATCH (an id beyond the model's vocabulary), EINVAL (no tokens), those of the tokenizer. */
qdisp_status qd_frame_encode(const qd_frame *frame, const char *text, size_t n_bytes, int32_t **ids, size_t **starts,
                             size_t *n);

/* Lines of a corpus. A line that a sequence cannot hold becomes several (windows): each begins half a window before
 * the end of the one before, and what both hold is context in the second; the last is moved back to be full.
 * Encoder-decoder models: pieces of twice a window that do not overlap, halved each. */
typedef struct qd_lines {
    qd_sequences sequences;
    size_t *first;    /* [n_lines + 1] first sequence of a line */
    size_t *n_bytes;  /* [n_lines] bytes of text that the scored tokens stand for */
    size_t *n_scored; /* [n_lines] */
    size_t n_lines;
} qd_lines;
/* The lines `lines[n]` (NULL: all) of a language. Errors: those above with language and line named. */
qdisp_status qd_lines_make(const qd_frame *frame, const qdisp_corpus *corpus, size_t i_language, const size_t *lines,
                           size_t n, qd_lines *out);
void qd_lines_clear(qd_lines *lines);

#endif
