/* qdisp/quant.h - quantizers: from a model to a plan, from a plan to a quantized model. */
#ifndef QDISP_QUANT_H
#define QDISP_QUANT_H

#include <qdisp/base.h>
#include <qdisp/calib.h>
#include <qdisp/corpus.h>
#include <qdisp/model.h>
#include <qdisp/table.h>
#include <qdisp/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An immutable quantizer: a method and its options. */
typedef struct qdisp_quantizer qdisp_quantizer;

/* Group sizes with a meaning of their own. */
#define QDISP_GROUP_CHANNEL (-1) /* one threshold an output channel (a row) */
#define QDISP_GROUP_TENSOR (-2)  /* one threshold a tensor */

/* A sized struct: size = sizeof(qdisp_quantizer_options), zero means default. */
typedef struct qdisp_quantizer_options {
    uint64_t size;
    uint64_t bits;         /* 2..8, default 4 */
    int64_t group_size;    /* weights of a row that share a threshold, 8.., or one of the above; default 64 */
    /* "narrow" (default): 2^bits - 1 symmetric levels; "full": -2^(bits-1) .. 2^(bits-1) - 1 times the step; "asym":
     * 2^bits levels over the range of the weights and 0, with an integer zero point */
    const char *levels;
    /* lambda of the languages, "en:0.07,de:0.12", sum 1, for methods that mix what they send into a map; default: all
     * the same */
    const char *weights;
    const char *options; /* of the method, "percentile=99.5": qdisp_quantizers lists them */
    const char *roles; /* comma-separated roles to quantize; default: every linear map of the blocks but routers */
    /* la-aciq: "regret" (default): the largest damage of a language over what it would be under thresholds chosen for
     * it alone; of the predicted damage per byte over languages: "worst", "mean", "cvar" (mean of the worst share of
     * them, option share, 0.25) or "disparity" (the mean, while the worst is at most tau times it, option tau, 1.25) */
    const char *objective;
    uint64_t n_steps;      /* la-aciq: steps of the dual, 1..1000, default 12 */
    double step;           /* la-aciq: eta of the multiplicative update, default 1.0 */
    /* "int" (default): codes of bits, as above; or a type of GGUF's blocks, which fixes bits and groups: "q4_0",
     * "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", by the methods rtn
     * and imatrix. Rows that are no whole blocks of 256 where the type has such get what llama-quantize takes instead;
     * the plan's note says so. */
    const char *type;
    const qdisp_table *keep; /* weights that stay in 16 bits beside the grid, for which thresholds are chosen without
                              * them: columns tensor, row, column, as qdisp_superweights gives; not kept by the
                              * quantizer. Default: none */
} qdisp_quantizer_options;

/* A quantizer by its method: "rtn" (round to nearest, min-max), "aciq" (Banner, Nahshan, Soudry 2019, the optimum
 * solved on the data), "percentile" (a share of the weights within the threshold), "mse" (the least squared error of
 * a grid search, weighted by what the languages send if there is a calibration), "kl" (entropy), "hqq"
 * (half-quadratic, real zero points in 16 bits; levels are always asymmetric), "nf4", "fp4" (tables of 16 numbers,
 * the largest |w| of a group in 32 bits; 4 bits), "mxfp4" (4-bit floats in groups of 32 with powers of two),
 * "imatrix" (blocks of GGUF under an importance matrix of the languages, needs calibration), "la-aciq"
 * (language-aware: the dual over languages, needs calibration), "awq" (Lin et al. 2023: inputs scaled for the mixture
 * of languages, needs calibration; groups or channels). options: NULL = defaults. Errors: EINVAL (unknown method,
 * lists those there are; an option out of range), ENOMEM. */
QDISP_API qdisp_status qdisp_quantizer_new(qdisp_ctx *ctx, const char *method, const qdisp_quantizer_options *options,
                                           qdisp_quantizer **out);
QDISP_API void qdisp_quantizer_free(qdisp_quantizer *quantizer);
/* Table "quantizers": method, needs, options (names of the numbers that it takes), paper: a row a method. */
QDISP_API qdisp_status qdisp_quantizers(qdisp_ctx *ctx, qdisp_table **out);

/* Makes the plan: table "plan", a row for every tensor to quantize:
 *   tensor, role, layer, method, type, bits, group_size, levels, alpha, clip, gain, inputs, weights, keep, options,
 *   n_weights, bits_per_weight (codes, 16-bit scales, zero points, 48 bits a kept weight), error_rel (sum (w - Q)^2
 *   / sum w^2, exact), error_rel_model (clip error plus a^2 times rounding noise, ACIQ's model), note.
 * alpha is the threshold of a tensor (NaN for channels and groups). clip holds a character a channel or group, or
 * one for all: its place k in "A-Za-z0-9-_" makes alpha = max|w| * 2^(-k/12), so "A" is min-max. gain is written
 * likewise: values are multiplied by 2^(k/64), which gives back what clipping takes. For "asym" levels the step is
 * (high - low) / (2^bits - 1) between the ends that are clipped in the same ratio, 0 among them, and the code of 0
 * is round(-low / step); alpha is then the magnitude of the farther end. type: "int" (codes of bits). inputs: a
 * character an input channel; its place k means that the input is divided by 2^((k-32)/8) and the column of the
 * weight multiplied by it before it is quantized. weights: as in the options. keep: "row:column row:column",
 * ascending: weights that stay in 16 bits. options: of the method, where it quantizes when the plan is applied. All
 * may be edited. calib may be NULL for methods that do not need it. Errors: EINVAL (no calibration), EMISMATCH (of
 * another model), ENUMERIC (weights that are not finite, a scale beyond 16-bit floats: names the tensor),
 * ECANCELLED, ENOMEM. Cost: la-aciq: one pass of up to 32 or 64 candidates a weight, and n_steps of them over at
 * most 256 rows a tensor, whatever the number of languages; memory of a few rows a thread. Progress: "planning". */
QDISP_API qdisp_status qdisp_quantizer_plan(const qdisp_quantizer *quantizer, const qdisp_model *model,
                                            const qdisp_calib *calib, qdisp_table **plan);

/* How many bits for each tensor. A sized struct: size = sizeof(qdisp_allocation_options), zero means default; one of
 * n_bytes and bits_per_weight is needed. */
typedef struct qdisp_allocation_options {
    uint64_t size;
    uint64_t n_bytes;       /* most bytes of all tensors together: those of the plan with their scales, others (the
                             * embedding, norms) in 16 bits unless they are stored in less */
    double bits_per_weight; /* most bits a weight of the plan's tensors, scales included */
    const char *bits;       /* to choose from, comma-separated: widths 2..8, or types of GGUF's blocks ("q4_k"); default
                             * "2,3,4,5,6,8" */
    /* "worst" (default): the largest predicted loss of a language; "mean"; "cvar": the mean of the worst share of the
     * languages; "disparity": the mean, or what the worst language loses beyond cap if that is more */
    const char *objective;
    double share;           /* cvar: (0, 1], default 0.25 */
    double cap;             /* disparity: bits per byte that the worst language may lose more than the mean */
} qdisp_allocation_options;

/* A plan whose tensors have the bits that make the objective least for a size. Each width is planned as by
 * qdisp_quantizer_plan; what a tensor at a width costs a language is foretold by second order, 1/2 sum g_i e_j dw_ij^2
 * in bits per byte, if the statistics have gradients (qdisp_calib_collect_gradients), else by the relative error of its
 * output. Costs of tensors are added; methods that round by second moments are judged by rounding to nearest. Head and
 * embedding are in the plan only if the quantizer's roles name them; a tied one is judged as head alone: looking rows
 * up is no map. summary (may be NULL): table "allocation", a row a language: language, predicted_bpb (damage without
 * gradients), and the same in every row: objective, bound (no choice of these candidates is below it), n_bytes,
 * n_bytes_fixed (of tensors that are not in the plan), bits_per_weight. The same result on every machine. Errors:
 * EINVAL (no statistics; an option out of range; a size that cannot be met: names the least possible), those of
 * qdisp_quantizer_plan. Cost: a plan a width, and a pass over the weights a width with 2 n_languages operations a
 * weight. Progress: "allocating". */
QDISP_API qdisp_status qdisp_quantizer_allocate(const qdisp_quantizer *quantizer, const qdisp_model *model,
                                                const qdisp_calib *calib, const qdisp_allocation_options *options,
                                                qdisp_table **plan, qdisp_table **summary);

/* One matrix of a host engine, for qdisp_quantizer_matrix. A sized struct: size = sizeof(qdisp_matrix). Pointers are
 * borrowed for the call. */
typedef struct qdisp_matrix {
    uint64_t size;
    const void *data; /* [n_out, n_in], row-major */
    uint64_t dtype;   /* QDISP_DTYPE_F32, _F16 or _BF16 */
    uint64_t n_out, n_in;
    const double *energy; /* [n_languages, n_in]: E[x_j^2] of each language's inputs, >= 0; for methods that need it */
    uint64_t n_languages;
    const double *tokens_per_byte; /* [n_languages] > 0; NULL: all the same */
} qdisp_matrix;

/* Units of a matrix under a quantizer's group size: its groups (the last of a row may be shorter), rows, or 1. */
QDISP_API size_t qdisp_quantizer_n_units(const qdisp_quantizer *quantizer, size_t n_out, size_t n_in);
/* Chooses the thresholds of one matrix: steps[n_units] and scales[n_units], unit by unit in memory order. The code of
 * a weight is q = clamp(round_half_even(w / step), -h, h) with h = 2^(bits-1) - 1 (levels "full": -2^(bits-1) ..
 * 2^(bits-1) - 1), its value q * scale; scale is step times the gain that gives back what clipping takes, and both are
 * 16-bit floats. A step of 0 means that all weights are 0. Errors: EINVAL (sizes, no energy where the method needs
 * it), EUNSUPPORTED (dtype, levels "asym", methods whose codes are no thresholds), ENUMERIC (weights or energies that
 * are not finite, a scale beyond 16-bit floats), ECANCELLED, ENOMEM. Cost: la-aciq: about one pass of up to 32 or 64
 * candidates a weight, whatever the number of languages. Runs on all threads of the context; the same numbers for any
 * number of them. */
QDISP_API qdisp_status qdisp_quantizer_matrix(const qdisp_quantizer *quantizer, const qdisp_matrix *matrix,
                                              float *steps, float *scales);

/* What carrying out a plan may need. A sized struct: size = sizeof(qdisp_plan_options), zero means default; what is
 * given is borrowed for the call. */
typedef struct qdisp_plan_options {
    uint64_t size;
    const qdisp_calib *calib;         /* statistics by language, for methods that weigh by energies */
    const qdisp_tokenizer *tokenizer; /* of the corpus */
    const qdisp_corpus *corpus;       /* text by language, for methods that need second moments of inputs (gptq) */
    uint64_t max_tokens;      /* of each language's text, no more than about these, from its beginning; default: all */
    uint64_t original_inputs; /* 1: second moments are those of the model as it is; default 0: layers see what the
                                 quantized layers before them give */
} qdisp_plan_options;

/* Applies a plan: a model that computes with the quantized weights, dequantized to f32, and shares the others with
 * `model`. Columns needed: tensor, bits, group_size, levels, alpha, clip; used if present: gain, method, type, inputs,
 * weights, keep, options; others are ignored. inputs: the weights are those that stand for both, column s quantized,
 * divided by s. weights: how much each language counts where the method mixes them,
 * "en:0.25,sw:0.75" (empty: all the same). options: NULL = defaults. All is checked before any work. The same plan and
 * model give the same bits on every machine, but for methods that need second moments (gptq), whose bits are those of
 * the machine's OpenBLAS (and the same for any number of threads). Errors: EMISMATCH (a tensor the model lacks, a clip
 * string of another length, statistics of another model, a language of weights that the text or the statistics lack:
 * names the row), EINVAL (a value out of range: names row and column; no corpus or statistics where a method needs
 * them), EUNSUPPORTED, ENUMERIC (weights or activations that are not finite, a scale beyond 16-bit floats, second
 * moments that stay singular: names tensor, and language), ECANCELLED, ENOMEM. Progress: "quantizing". */
QDISP_API qdisp_status qdisp_plan_apply(const qdisp_table *plan, const qdisp_model *model,
                                        const qdisp_plan_options *options, qdisp_model **out);
/* The same, written to `path` as `format` (one of qdisp_packers). The output appears whole or not at all. Errors: those
 * above; EINVAL (an unknown format: lists those there are), EUNSUPPORTED (what the format cannot hold: names the
 * tensor), EIO. */
QDISP_API qdisp_status qdisp_plan_write(const qdisp_table *plan, const qdisp_model *model,
                                        const qdisp_plan_options *options, const char *format, const char *path);
/* What the plan chose, as another tool reads it, whose own method then makes the codes: bits (and groups) by layer.
 * tool: "llama-quantize" (a file for --tensor-type-file: a line a tensor, integers of b bits as the k-quant of b bits),
 * "ik_llama" (the argument of --custom-q), "gptqmodel" (dynamic), "auto-round" (layer_config), "compressed-tensors"
 * (config_groups and ignore). Names are the tool's, patterns match nothing else; maps of the blocks that the plan
 * leaves out are told to stay where the tool has a way. Errors: EINVAL (unknown tool: lists those there are),
 * EUNSUPPORTED (a type that the tool does not have, a tensor without a name in GGUF), EIO (the sink), those of reading
 * a plan. */
QDISP_API qdisp_status qdisp_plan_overrides(const qdisp_table *plan, const qdisp_model *model, const char *tool,
                                            qdisp_sink sink, void *user);
/* Table "formats": format, summary: a row a format of qdisp_plan_write. */
QDISP_API qdisp_status qdisp_packers(qdisp_ctx *ctx, qdisp_table **out);

/* Options of qdisp_activations_choose; a sized struct, zero means default. */
typedef struct qdisp_activations_options {
    uint64_t size;
    uint64_t bits;           /* 2..8, default 8: codes -h .. h, h = 2^(bits-1) - 1 */
    const qdisp_table *plan; /* its tensors alone, their inputs divided by its column inputs; NULL: every linear map of
                                the blocks but routers, as they are */
} qdisp_activations_options;

/* Thresholds of the inputs of linear maps, for engines that quantize activations with static scales (W8A8, W4A8) and
 * know the language of a request. Table "activations", a row a language and map, and for language "*", one threshold
 * for all (the even mixture): language, tensor, bits, alpha (an input x becomes clamp(round(x h / alpha), -h, h)
 * alpha / h), largest (|x| seen, to 3 %), error_rel (least clipping plus rounding error over sum x^2, by 128 candidates
 * 2^(-k/12) of the largest). All rows that the model reads count. Errors: EINVAL, EMISMATCH, ENUMERIC (inputs all 0 or
 * not finite: names tensor and language), those of evaluation. Cost: one forward pass; memory 64 KiB a thread for each
 * input that maps share. Progress: "activations". */
QDISP_API qdisp_status qdisp_activations_choose(const qdisp_model *model, const qdisp_tokenizer *tokenizer,
                                                const qdisp_corpus *corpus, const qdisp_activations_options *options,
                                                qdisp_table **out);

/* Packed codes. A row of codes is one stream of bits, the first code in the lowest bits of the first byte, filled with
 * zeros to a whole byte; a code q stands there as q + 2^(bits-1). Bytes of a row (0: bits is not 2..8), and groups of a
 * row, of which the last may be shorter (0: group_size is neither 8 or more nor QDISP_GROUP_CHANNEL). Any thread. */
QDISP_API size_t qdisp_packed_row_bytes(size_t n_columns, uint64_t bits);
QDISP_API size_t qdisp_packed_n_groups(size_t n_columns, int64_t group_size);

/* Rounds a matrix to nearest with a min-max scale a group, and packs the codes: the numbers of the method "rtn".
 * data: [n_rows, n_columns], row-major, dtype F32, F16 or BF16, any alignment. bits: 2..8. group_size: 8 or more
 * weights of a row (multiples of 8 are fastest), or QDISP_GROUP_CHANNEL. full_range: 0: codes -h..h, h = 2^(bits-1) -
 * 1; 1: -2^(bits-1) .. 2^(bits-1) - 1. packed: [n_rows, row bytes]; scales: [n_rows, groups], 16-bit floats: a weight
 * is code * scale. All arrays are the caller's. Errors: EINVAL (bits, group_size, sizes), EUNSUPPORTED (dtype),
 * ENUMERIC (a weight that is not finite, a scale beyond 16-bit floats: names row and column), ECANCELLED, ENOMEM; on
 * ENUMERIC and ECANCELLED packed and scales are partly written, as checking first would read everything twice. Cost:
 * one pass over data, bound by memory; all threads of the context; the same bits for any number of them and on every
 * machine. */
QDISP_API qdisp_status qdisp_quantize_packed(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n_rows,
                                             size_t n_columns, uint64_t bits, int64_t group_size, uint64_t full_range,
                                             uint8_t *packed, uint16_t *scales);
/* Back to floats: out[n_rows, n_columns] = code * scale. Arrays as above; exact, so quantizing the result under the
 * same scales gives the same codes. Errors: EINVAL, ECANCELLED. */
QDISP_API qdisp_status qdisp_dequantize_packed(qdisp_ctx *ctx, const uint8_t *packed, const uint16_t *scales,
                                               size_t n_rows, size_t n_columns, uint64_t bits, int64_t group_size,
                                               float *out);

#ifdef __cplusplus
}
#endif
#endif
