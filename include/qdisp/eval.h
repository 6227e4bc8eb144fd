/* qdisp/eval.h - losses by language, what a quantization costs each, prediction, and the whole diagnosis. */
#ifndef QDISP_EVAL_H
#define QDISP_EVAL_H

#include <qdisp/base.h>
#include <qdisp/calib.h>
#include <qdisp/corpus.h>
#include <qdisp/model.h>
#include <qdisp/quant.h>
#include <qdisp/table.h>
#include <qdisp/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a model reads a text, here and in qdisp_calib_collect; template: what the tokenizer puts around a text.
 *   decoder          the template's prefix, else the model's beginning-of-sequence token, if it has one; then the text.
 *                    Each token is scored given those before it; without anything in front the first token of a text
 *                    has no context and is not scored, and its bytes do not count.
 *   masked           prefix, text, suffix of the template ([CLS] x [SEP]); each token of the text is masked in turn
 *                    (pseudo-likelihood, Salazar et al. 2020).
 *   encoder-decoder  the encoder reads prefix, the first half of the text's tokens (rounded down) and suffix (that of
 *                    the template, else the model's end-of-sequence token); the decoder is scored on the second half,
 *                    each token given the source and those before it. n_bytes are those of the second half.
 * Tokens of the template are never scored. A text that is longer than the model can read (n_positions) is cut into
 * windows: each begins half a window before the end of the one before, and what both hold is only context in the
 * second, so that each token is scored once; the last window is moved back to be full. Encoder-decoder models: pieces
 * of twice the encoder's length that do not overlap, each halved as above. */

/* Losses of every line: table "losses": language, i_line, n_bytes, n_tokens, nll_nats (sum over the line's tokens).
 * Each line is a text of its own. Errors: EMISMATCH (ids beyond the model's vocabulary, a template longer than
 * n_positions, a masked model whose tokenizer has no mask token), ENUMERIC (a loss that is not finite: names language
 * and line), ECANCELLED, ENOMEM. Cost: one forward pass; masked models: one of a line's length a token. */
QDISP_API qdisp_status qdisp_eval_losses(const qdisp_model *model, const qdisp_tokenizer *tokenizer,
                                         const qdisp_corpus *corpus, qdisp_table **out);

/* Quantized activations of qdisp_eval_losses_with; a sized struct. */
typedef struct qdisp_eval_activations {
    uint64_t size;
    const qdisp_table *thresholds; /* of qdisp_activations_choose */
    const qdisp_table *plan;       /* whose column inputs the thresholds were chosen under; NULL: none */
    uint64_t shared;               /* 1: every language by the rows of "*"; 0: each by its own */
} qdisp_eval_activations;
/* The same with the inputs of linear maps quantized as thresholds say: what an engine with static scales loses. Errors:
 * also EINVAL, EMISMATCH (a language or tensor without a threshold: named). */
QDISP_API qdisp_status qdisp_eval_losses_with(const qdisp_model *model, const qdisp_tokenizer *tokenizer,
                                              const qdisp_corpus *corpus, const qdisp_eval_activations *activations,
                                              qdisp_table **out);

/* Options of qdisp_eval_text; a sized struct, zero means default. */
typedef struct qdisp_eval_text_options {
    uint64_t size;
    uint64_t window;        /* tokens that the model reads at once, those of the template included; default 512, or
                               n_positions if that is less */
    uint64_t min_context;   /* a token is scored if at least so many stand before it in its window, those of the
                               template included; default 0: all that can be scored */
    uint64_t max_windows;   /* no more than these, from the text's beginning; default: all */
    uint64_t replace_first; /* decoders. 0: what is put in front of a window makes room for itself. 1: it takes the
                               place of the window's first token, which is not read at all, also of the first window's
                               (where it is what is in front of the text); the last window counts only if it is full */
    uint64_t no_bos;        /* decoders. 1: nothing in front, whatever tokenizer and model say */
} qdisp_eval_text_options;

/* Loss of one running text[n_bytes], tokenized whole and cut into windows side by side, each read as said above (for
 * encoder-decoder models a window is source and target together, without the template). Table "perplexity" of one row:
 * n_windows, n_read (tokens in all windows, with the template's), n_tokens (scored), n_bytes (of the scored tokens),
 * nll_nats (sum), mean_nats (a token), perplexity = exp(mean_nats), perplexity_error (its standard error if
 * the losses of tokens were independent), bpb (bits per byte).
 * llama-perplexity's protocol with a context of N: window = N, min_context = N / 2 + 1, replace_first = 1: the same
 * tokens are scored in the same context.
 * Errors: EINVAL (a window that is too short, or longer than n_positions; no token left to score), EENCODING, those of
 * qdisp_eval_losses. Cost: as there; memory: 12 bytes a token of the text beside the run's own. Progress:
 * "evaluating". */
QDISP_API qdisp_status qdisp_eval_text(const qdisp_model *model, const qdisp_tokenizer *tokenizer, const char *text,
                                       size_t n_bytes, const qdisp_eval_text_options *options, qdisp_table **out);

/* What a quantization costs, paired by line: table "comparison", a row a language: language, n_lines, n_bytes,
 * baseline_bpb, loss_bpb (dNLL: bits per byte of `quantized` minus those of `baseline`), low_bpb, high_bpb (BCa
 * interval over lines, 95 %), p_holm (two-sided paired sign-flip permutation test over lines, Holm-adjusted over
 * languages). Both from qdisp_eval_losses on the same corpus. Errors: EMISMATCH, ENUMERIC, ENOMEM. Cost: n_resamples
 * resamples a language (0 = 2000). */
QDISP_API qdisp_status qdisp_eval_compare(const qdisp_table *baseline, const qdisp_table *quantized, size_t n_resamples,
                                          qdisp_table **out);

/* Options of qdisp_eval_gate; a sized struct, zero means default. */
typedef struct qdisp_eval_gate_options {
    uint64_t size;
    double margin_bpb;    /* bits per byte that a language may lose; to be set, and before the losses are seen */
    double alpha;         /* chance of a wrong verdict on any language, for each kind of error; default 0.05 */
    uint64_t equivalence; /* 1: a gain beyond the margin is no pass, either; default 0: only losses count */
} qdisp_eval_gate_options;

/* Does a quantized model stay within a margin of its baseline in every language? Both tables from qdisp_eval_losses on
 * the same corpus. Report "gate" with tables
 *   verdict    one row: scope, verdict ("pass": every language loses less than the margin; "fail": some language loses
 *              more; "undecided"), margin_bpb, alpha, n_pass, n_fail, n_undecided, worst, worst_bpb, n_lines_needed (of
 *              each language, by which all undecided ones would be decided with probability 0.8 if their losses are
 *              what they seem; missing: unknown)
 *   languages  language, verdict, loss_bpb, low_bpb, high_bpb (bounds of all languages at once, each with probability
 *              alpha / languages beyond it), margin_bpb, p_pass, p_fail (t tests paired by line that the loss is below,
 *              above the margin; Holm-adjusted over the languages), baseline_bpb, n_lines, n_bytes, detectable_bpb
 *              (distance from the margin that so many lines find with probability 0.8), n_lines_needed
 * Lines are taken as independent; with fewer than 3 a language is undecided. Errors: EINVAL (options), EMISMATCH,
 * ENUMERIC, ENOMEM. Source: Schuirmann 1987 (equivalence), Fieller 1954 (bounds of a ratio), Holm 1979. */
QDISP_API qdisp_status qdisp_eval_gate(const qdisp_table *baseline, const qdisp_table *quantized,
                                       const qdisp_eval_gate_options *options, qdisp_report **out);

/* Options of qdisp_superweights; a sized struct, zero means default. */
typedef struct qdisp_superweights_options {
    uint64_t size;
    uint64_t n_candidates; /* by each of the criteria, at most 64; default 8 */
    uint64_t n_resamples;  /* of the comparisons, default 2000 */
} qdisp_superweights_options;

/* Single weights that a model cannot do without. corpus NULL (and tokenizer NULL): the weights of the attention's and
 * the feed-forward network's output maps that are largest beside the standard deviation of their tensor. With text also
 * those, of all maps of the blocks, whose removal the gradients of some language foretell to cost most: by first order
 * |w dL/dw| (on the first lines, as many as one backward pass holds) and by second order 1/2 w^2 g_i e_j; all of them
 * are removed one by one and the loss of every language measured on that text. Table "super_weights", a row a weight,
 * the most harmful first: tensor, role, layer, row, column, weight, sigmas (|w| over the standard deviation), found_by;
 * with text first_order_bpb and second_order_bpb (of the language that has most), mean_bpb, worst_bpb, worst
 * (language), p_holm (of that language: paired permutation over lines, Holm-adjusted over languages, not over weights),
 * then LANGUAGE.loss. qdisp_quantizer_options.keep takes it. Errors: EINVAL, those of the parts. Cost: with text some
 * twelve forward passes, and one a weight. Progress: "super weights". */
QDISP_API qdisp_status qdisp_superweights(const qdisp_model *model, const qdisp_tokenizer *tokenizer,
                                          const qdisp_corpus *corpus, const qdisp_superweights_options *options,
                                          qdisp_table **out);

/* Options of qdisp_diagnose; a sized struct, zero means default. */
typedef struct qdisp_diagnose_options {
    uint64_t size;
    const char *methods;          /* comma-separated, default "rtn,aciq,la-aciq" */
    const char *bits;             /* comma-separated, default "8,4,3" */
    int64_t group_size;           /* as in qdisp_quantizer_options; default 64 */
    const char *roles;            /* as in qdisp_quantizer_options */
    double calibration_share;     /* of the lines, default 0.5; the others evaluate */
    uint64_t seed;                /* of the split, default 0 */
    uint64_t n_resamples;         /* default 2000 */
    uint64_t gradients;           /* 1: predict from gradients, too; takes five times as long. Default 0 */
} qdisp_diagnose_options;

/* The main job: which languages does a quantization of this model hurt? Splits the corpus, calibrates on one part,
 * predicts and measures the loss of every language under every method and bit width on the other. Report "diagnosis"
 * with tables languages   language, script, baseline_bpb, tokens_per_byte, kurtosis_eff, outlier_activation, then for
 * every quantizer METHODBITS.pred, .loss, .low, .high (bits per byte) losses      the same in long form: language,
 * method, bits, predicted_bpb, predicted_low_bpb, predicted_high_bpb, loss_bpb, low_bpb, high_bpb, p_holm, bpw
 *   quantizers  a row a quantizer: method, bits, bpw (bits per weight), mean_bpb, worst, worst_bpb, low_bpb, high_bpb,
 *               disparity_bpb (max - min), gini, spearman (prediction against measurement over languages)
 *   prediction  how well each predictor did, leave-one-language-out: predictor, spearman_pooled, spearman_mean (over
 *               the languages of a quantizer), error_bpb (median absolute), coverage (share inside the 95 % interval),
 *               spearman_quantizers and error_quantizers_bpb (pooled, leave-one-quantizer-out), verdict
 * Predictors: "damage" (error of the outputs by the activations' energies); with gradients "fisher" (second order), and
 * sums of the first order <dL/dW, dW> with each, and "measured on calibration text", the loss that the quantized model
 * has there, whose predictions are then shown (without gradients those of "damage"); then trivial baselines.
 * Errors: as the parts. Progress: "diagnosing". */
QDISP_API qdisp_status qdisp_diagnose(const qdisp_model *model, const qdisp_tokenizer *tokenizer,
                                      const qdisp_corpus *corpus, const qdisp_diagnose_options *options,
                                      qdisp_report **out);

/* Options of qdisp_quantizer_fair; a sized struct, zero means default. */
typedef struct qdisp_fair_options {
    uint64_t size;
    const char *objective; /* "worst" (default), "cvar" (mean of the worst quarter) or "mean" of the losses */
    uint64_t n_steps;      /* updates of the weights, 1..1000, default 3 */
    double step;           /* eta of the update, default 1 */
} qdisp_fair_options;

/* A plan whose column weights is chosen by what each language really loses: plans, quantizes and measures, gives more
 * weight to the languages that lose more bits per byte than the mean, lambda_l exp(eta (r_l - mean r) / max |r|),
 * again, and returns the plan of the best iterate; the first has the quantizer's own weights. For any method that mixes
 * languages by weights. with: corpus and tokenizer (needed) and what applying the plan needs else; of the corpus every
 * fourth line is kept for measuring, the others are what quantizing sees. calib: as in qdisp_quantizer_plan; NULL: made
 * from those lines if the method uses one. steps (may be NULL): table "steps", a row a step and language: step,
 * objective_bpb, language, weight, loss_bpb (more bits per byte than the model as it is). Errors: EINVAL, EMISMATCH,
 * and those of qdisp_quantizer_plan, qdisp_plan_apply and qdisp_eval_losses. Cost: n_steps + 1 times planning, applying
 * and evaluating a quarter of the corpus. Progress: "weighing languages". */
QDISP_API qdisp_status qdisp_quantizer_fair(const qdisp_quantizer *quantizer, const qdisp_model *model,
                                            const qdisp_calib *calib, const qdisp_plan_options *with,
                                            const qdisp_fair_options *options, qdisp_table **plan,
                                            qdisp_table **steps);

#ifdef __cplusplus
}
#endif
#endif
