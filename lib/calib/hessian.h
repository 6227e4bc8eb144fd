/* hessian.h - second moments E[x x^T] of what the languages send into linear maps, mixed by weights of the languages,
 * layer by layer. */
#ifndef QD_HESSIAN_H
#define QD_HESSIAN_H

#include "model/layerwise.h"
#include "model/sequences.h"

/* A map whose inputs are asked for, and the weights of the languages there. */
typedef struct qd_hessian_want {
    size_t i_linear;
    const double *lambda; /* [n_languages], not negative */
} qd_hessian_want;

/* Of one input, which several maps may read. Sums over rows are products in f32 of up to a wave of rows each, added in
 * f32 for a language (relative error about 1e-6) and in f64 over languages. */
typedef struct qd_hessian {
    size_t i_linear;      /* the first map that reads it */
    const double *lambda;
    size_t n_in;
    double *total; /* [n_in, n_in] sum over l of lambda_l / (reference_l n_rows_l) sum x x^T, the reference the mean of
                      E[x_j^2] over j */
    double heard;  /* sum of the lambda in it: less than all if a language sent no rows, as can happen to experts */
    /* At work. */
    float *sum;          /* [n_in, n_in] of the language under way, upper half */
    double scale;
    float *rows;         /* [wave rows, n_in] */
    uint16_t *languages; /* [wave rows] 1 + language of a row; 0: no row */
    size_t n, first, end; /* rows of the wave; of the language under way among them */
} qd_hessian;

typedef struct qd_hessians {
    qdisp_ctx *ctx;
    const qdisp_corpus *corpus;
    const bool *wanted;
    size_t n_languages;
    qd_frame frame;
    qd_sequences text;  /* of all languages, one after another */
    uint16_t *language; /* [text.n_seq] */
    size_t cap;
    qdisp_batch batch;
    qd_layerwise *walk;
    qd_hessian *inputs; /* of the layer under way */
    size_t n_inputs, i_language;
} qd_hessians;

/* Reads the text of every language (wanted: [n_languages] of those where it is set; NULL: all; borrowed): of each about
 * max_tokens tokens from its beginning (0: all), equal to the token for decoders. Errors: those of qd_lines_make and of
 * forward runs; EINVAL (a language without text). Memory: 4 n_embd bytes a token. */
qdisp_status qd_hessians_open(const qdisp_model *model, const qdisp_tokenizer *tokenizer, const qdisp_corpus *corpus,
                              const bool *wanted, size_t max_tokens, qd_hessians **out);
void qd_hessians_free(qd_hessians *h);
/* Fills inputs with those of the maps wanted[n], all of one layer (-1: the head), from what the layer reads now; lambda
 * is borrowed until qd_hessians_done. Errors: ENUMERIC (an activation that is not finite: names language and map),
 * ECANCELLED, ENOMEM. Cost: a forward pass of the layer and n_in^2 a row and input. */
qdisp_status qd_hessians_layer(qd_hessians *h, int layer, const qd_hessian_want *wanted, size_t n);
/* That of a wanted map. */
const qd_hessian *qd_hessians_find(const qd_hessians *h, const qd_hessian_want *want);
/* Frees those of the layer. */
void qd_hessians_done(qd_hessians *h);

#endif
