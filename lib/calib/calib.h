/* calib.h - activation statistics inside: energies by language, fold and linear map. */
#ifndef QD_CALIB_H
#define QD_CALIB_H

#include "model/sequences.h"

#include <qdisp/calib.h>

#define QD_N_FOLDS 2 /* 0 fit, 1 guard */
#define QD_GUARD_EVERY 4

typedef struct qd_calib_fold {
    double *squares;   /* [total]: sum of x_j^2, maps one after another */
    uint64_t *n_rows;  /* [n_linears] */
    double *abs_sums;  /* [n_layer + 1]: sum of |h| */
    uint64_t n_tokens; /* rows of the residual stream; with host-fed rows 0 */
    uint64_t n_bytes;
    double *gradients; /* [total_out]: sum of (dL/dy_i)^2, maps one after another; NULL: none were collected */
    uint64_t n_scored; /* tokens whose losses are in L */
} qd_calib_fold;

typedef struct qd_calib_language {
    char *tag;
    qd_calib_fold folds[QD_N_FOLDS];
} qd_calib_language;

struct qdisp_calib {
    qdisp_ctx *ctx;
    size_t n_linears, n_layer, n_embd, total;
    char **names;    /* [n_linears] weight tensors; a tied head goes by the name of the embedding */
    size_t *n_in;    /* [n_linears] */
    size_t *offsets; /* [n_linears] into squares */
    size_t *n_out, *out_offsets, total_out; /* the same for outputs and gradients; 0: an older file does not say */
    qd_calib_language *languages;
    size_t n_languages, cap;
};

/* EMISMATCH unless the linear maps are those of the model. */
qdisp_status qd_calib_check(const qdisp_calib *calib, const qdisp_model *model);
/* E[x_j^2] of a language and map, out[n_in]: fold 0, 1, or QD_N_FOLDS for both. False if there are no rows. */
bool qd_calib_energy(const qdisp_calib *calib, size_t i_language, size_t fold, size_t i_linear, double *out);
/* g[i] = sum over rows of text of (dL/dy_i)^2, per scored token, of a language and map, both folds: out[n_out]. False
 * if no gradients were collected. 1/2 sum_ij g[i] e[j] dw_ij^2 is then a loss in nats a token (la-aciq section 4). */
bool qd_calib_gradient(const qdisp_calib *calib, size_t i_language, size_t i_linear, double *out);
/* Scored tokens a byte of text, NaN if no bytes were counted. */
double qd_calib_tokens_per_byte(const qdisp_calib *calib, size_t i_language);
/* Lines of a fold among n_lines, to lines[n_lines]; how many. */
size_t qd_calib_fold_lines(size_t n_lines, size_t fold, size_t *lines);
/* Index of a tag, (size_t)-1 if absent; get adds it. */
size_t qd_calib_find(const qdisp_calib *calib, const char *tag);
qdisp_status qd_calib_get(qdisp_calib *calib, const char *tag, size_t *i_language);
/* An empty calibration over given maps. */
qdisp_status qd_calib_make(qdisp_ctx *ctx, size_t n_linears, size_t n_layer, size_t n_embd, qdisp_calib **out);
/* Names and sizes of all maps are set: lay out the offsets. EFORMAT on overflow. */
qdisp_status qd_calib_layout(qdisp_calib *calib);
/* Room for the gradients of a fold, zeroed, unless it has them. */
qdisp_status qd_calib_fold_gradients(const qdisp_calib *calib, qd_calib_fold *fold);
void qd_calib_fold_clear(const qdisp_calib *calib, qd_calib_fold *fold);

/* What a collection does with the lines of a language and fold: adds to fold. */
typedef qdisp_status (*qd_calib_pass)(qdisp_calib *calib, size_t i_language, qd_calib_fold *fold,
                                      const qd_lines *lines);
/* pass for every language and fold of the corpus, into calib when all went well. */
qdisp_status qd_calib_collect(qdisp_calib *calib, const qdisp_model *model, const qdisp_tokenizer *tokenizer,
                              const qdisp_corpus *corpus, qd_calib_pass pass);
/* qdisp_model_grads over sequences, in batches whose residual streams fit into a bounded memory. *current (may be NULL)
 * is the batch under way, for taps; *n_targets += the number of losses. */
qdisp_status qd_gradients_run(const qd_sequences *sequences, const qdisp_grad_options *options,
                              const qd_sequences **current, size_t *n_targets);
/* End of the batch that begins at sequence `first`. */
size_t qd_gradients_end(const qd_sequences *sequences, size_t first);
/* add() for the rows first .. first + n - 1 of an activation that are those of text, n of them at a time. */
typedef void (*qd_calib_add)(void *user, const qdisp_activation *activation, size_t first, size_t n);
void qd_calib_text_rows(const qd_sequences *sequences, const qdisp_activation *activation, qd_calib_add add,
                        void *user);

#endif
