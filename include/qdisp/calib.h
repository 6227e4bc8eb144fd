/* qdisp/calib.h - activation statistics by language: what every language sends into every linear map. */
#ifndef QDISP_CALIB_H
#define QDISP_CALIB_H

#include <qdisp/base.h>
#include <qdisp/corpus.h>
#include <qdisp/model.h>
#include <qdisp/table.h>
#include <qdisp/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Statistics of a model's activations by language: sums of x_j^2 for the input x of every linear map (and of the output
 * head), sums of |h| of the residual stream after the embedding and after every layer, and counts of tokens and bytes.
 * Kept in two folds, "fit" and "guard" (every fourth line), so that a quantizer can check itself on text that it was
 * not fitted to. Lines are read as eval.h says, masked models without a mask; tokens of the template and the first
 * position of a decoder (its beginning-of-sequence token) are left out. Both stacks of encoder-decoder models count:
 * n_tokens is their sum, and the mean of a layer is over its own stack.
 * An accumulator: one thread at a time; several merge into one. */
typedef struct qdisp_calib qdisp_calib;

/* Empty statistics for a model. Errors: ENOMEM. */
QDISP_API qdisp_status qdisp_calib_new(const qdisp_model *model, qdisp_calib **out);
QDISP_API void qdisp_calib_free(qdisp_calib *calib);

/* Runs the model over every line of every language of the corpus and adds what it saw. Errors: EMISMATCH (a model or
 * tokenizer that does not belong to these statistics), ENUMERIC (activations that are not finite: names the map),
 * ECANCELLED, ENOMEM; on failure nothing was added. Cost: one forward pass. Progress: "calibrating". */
QDISP_API qdisp_status qdisp_calib_collect(qdisp_calib *calib, const qdisp_model *model,
                                           const qdisp_tokenizer *tokenizer, const qdisp_corpus *corpus);
/* Adds energies of the gradients: sum over rows of (dL/dy_i)^2 for every output i of every linear map, L the sum of the
 * losses in nats, and how many losses. Text, rows and folds as qdisp_calib_collect; call both, in any order: the
 * statistics then tell how much the loss of each language grows with an error of each weight (a token: 1/2 sum_ij g_i
 * e_j dw_ij^2), not only how much its activations move. Of a masked model every seventh token is hidden and scored.
 * Errors: as qdisp_calib_collect; EMISMATCH also for a masked model without a mask token. Cost: about four forward
 * passes; memory: the residual stream of some lines after every layer (96 MiB, but at least 512 tokens or the longest
 * line). */
QDISP_API qdisp_status qdisp_calib_collect_gradients(qdisp_calib *calib, const qdisp_model *model,
                                                     const qdisp_tokenizer *tokenizer, const qdisp_corpus *corpus);
/* Adds rows that a host engine saw: rows[n_rows * n_in], the inputs of the linear map whose weight is `tensor`, for a
 * language; guard: 0 adds to the fit fold, 1 to the guard fold; n_bytes of text that they stand for (0 if not known;
 * count it once, with one tensor). Errors: ENOTFOUND (tensor), EINVAL (n_in), ENUMERIC, ENOMEM. */
QDISP_API qdisp_status qdisp_calib_feed(qdisp_calib *calib, const char *language, int guard, const char *tensor,
                                        const float *rows, size_t n_rows, size_t n_in, size_t n_bytes);
/* Adds from to into, gradients included. Errors: EMISMATCH (other linear maps), ENOMEM. */
QDISP_API qdisp_status qdisp_calib_merge(qdisp_calib *into, const qdisp_calib *from);

/* Saves as a safetensors file (F64 sums, counts in the metadata) and opens it again. Errors: EIO, EFORMAT, ENOMEM. */
QDISP_API qdisp_status qdisp_calib_save(const qdisp_calib *calib, const char *path);
QDISP_API qdisp_status qdisp_calib_open(qdisp_ctx *ctx, const char *path, qdisp_calib **out);

/* Table "calibration", a row a language: language, n_tokens, n_bytes, tokens_per_byte, n_gradients (losses whose
 * gradients were collected), mean_abs_embed, mean_abs_layer_0 ... */
QDISP_API qdisp_status qdisp_calib_describe(const qdisp_calib *calib, qdisp_table **out);

/* Table "languages", a row a language: language, kurtosis_eff (excess kurtosis of the weights as the language uses
 * them: M_p = sum_j omega_j mean_i (w_ij - mu)^p with omega_j = E[x_j^2] / sum E[x^2]; mean over the linear maps
 * weighted by size), kurtosis_eff_max (largest map), outlier_activation (sum of mean |h| of the outlier layers over
 * that of all layers; outlier layers are the quarter of the layers, at least one, whose largest weight kurtosis is
 * highest). Errors: EMISMATCH. Cost: one pass over the weights, whatever the number of languages. */
QDISP_API qdisp_status qdisp_calib_languages(const qdisp_calib *calib, const qdisp_model *model, qdisp_table **out);

/* How statistics by language become one importance matrix. A sized struct: size = sizeof(qdisp_imatrix_options), zero
 * means default. */
typedef struct qdisp_imatrix_options {
    uint64_t size;
    /* What makes a language count: "token" (default: its tokens, as llama-imatrix has it, which gives most to languages
     * that the tokenizer cuts finest), "byte" (its bytes) or "sentence" (all the same, as parallel text has as many of
     * each) */
    const char *merge;
    const char *weights; /* "en:0.25,sw:0.75" instead, in proportion: each language in units of its own mean in a map */
    uint64_t legacy;     /* 1: llama.cpp's form before 2025 (.dat); default 0: its GGUF form */
} qdisp_imatrix_options;

/* Writes the importance matrix that llama.cpp's llama-quantize reads: for every linear map, under its name in GGUF, the
 * merged mean of x_j^2 times the rows of all languages (f32; f64 until then), and those rows. Keys qdisp.calibration.*
 * tell languages and weights. options: NULL = defaults. Errors: EMISMATCH (another model, an unknown language), EINVAL
 * (an option), EUNSUPPORTED (a map that GGUF has no name for), EIO, ENOMEM. */
QDISP_API qdisp_status qdisp_imatrix_save(const qdisp_calib *calib, const qdisp_model *model,
                                          const qdisp_imatrix_options *options, const char *path);
/* Reads an importance matrix of either form as statistics of one language: an importance matrix does not tell whose
 * text it saw, so the caller gives the tag ("und": nobody knows). Maps that the file lacks have no rows. Errors:
 * EFORMAT, EMISMATCH (of another model), EINVAL, ENOTFOUND, EIO, ENOMEM. */
QDISP_API qdisp_status qdisp_imatrix_open(const qdisp_model *model, const char *path, const char *language,
                                          qdisp_calib **out);

#ifdef __cplusplus
}
#endif
#endif
