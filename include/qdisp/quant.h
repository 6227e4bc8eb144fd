/* qdisp/quant.h - quantizers: from a model to a plan, from a plan to a quantized model. */
#ifndef QDISP_QUANT_H
#define QDISP_QUANT_H

#include <qdisp/base.h>
#include <qdisp/calib.h>
#include <qdisp/model.h>
#include <qdisp/table.h>

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
    uint64_t full_range;   /* 1: 2^bits levels, -2^(b-1) .. 2^(b-1)-1; default 0: 2^bits - 1 symmetric levels */
    const char *roles; /* comma-separated roles to quantize, default "attn.qkv,attn.out,mlp.up,mlp.down"; "embed" too */
    /* la-aciq: "regret" (default): the largest damage of a language over what it would be under thresholds chosen for
     * it alone; "worst" or "mean": of the predicted damage per byte over languages */
    const char *objective;
    uint64_t n_steps;      /* la-aciq: steps of the dual, 1..1000, default 12 */
    double step;           /* la-aciq: eta of the multiplicative update, default 1.0 */
} qdisp_quantizer_options;

/* A quantizer by its method: "rtn" (round to nearest, min-max), "aciq" (Banner, Nahshan, Soudry 2019, the optimum
 * solved on the data), "la-aciq" (language-aware: the dual over languages, needs calibration). options: NULL =
 * defaults. Errors: EINVAL (unknown method, lists those there are; an option out of range), ENOMEM. */
QDISP_API qdisp_status qdisp_quantizer_new(qdisp_ctx *ctx, const char *method, const qdisp_quantizer_options *options,
                                           qdisp_quantizer **out);
QDISP_API void qdisp_quantizer_free(qdisp_quantizer *quantizer);
/* Table "quantizers": method, needs, paper: a row a method. */
QDISP_API qdisp_status qdisp_quantizers(qdisp_ctx *ctx, qdisp_table **out);

/* Makes the plan: table "plan", a row for every tensor to quantize:
 *   tensor, role, layer, method, bits, group_size, levels ("narrow" or "full"), alpha, clip, gain, n_weights,
 *   bits_per_weight (codes and 16-bit scales), error_rel (sum (w - Q)^2 / sum w^2, exact), error_rel_model (clip error
 *   plus a^2 times rounding noise, ACIQ's model), note.
 * alpha is the threshold of a tensor (NaN for channels and groups). clip holds a character a channel or group, or one
 * for all: its place k in "A-Za-z0-9-_" makes alpha = max|w| * 2^(-k/12), so "A" is min-max. gain is written likewise:
 * values are multiplied by 2^(k/64), which gives back what clipping takes. All three may be edited. calib may be NULL
 * for methods that do not need it. Errors: EINVAL (no calibration), EMISMATCH (of another model), ENUMERIC (weights
 * that are not finite, a scale beyond 16-bit floats: names the tensor), ECANCELLED, ENOMEM. Cost: la-aciq: n_steps
 * passes of 32 or 64 candidates a weight; memory of one tensor a thread. Progress: "planning". */
QDISP_API qdisp_status qdisp_quantizer_plan(const qdisp_quantizer *quantizer, const qdisp_model *model,
                                            const qdisp_calib *calib, qdisp_table **plan);

/* Applies a plan: a model that computes with the quantized weights, dequantized to f32, and shares the others with
 * `model`. Columns needed: tensor, bits, group_size, levels, alpha, clip; gain if present; others are ignored. The same
 * plan and model give the same bits on every machine. Errors: EMISMATCH (a tensor the model lacks, a clip string of
 * another length: names the row), EINVAL (a value out of range: names row and column), ENUMERIC, ENOMEM. */
QDISP_API qdisp_status qdisp_plan_apply(const qdisp_table *plan, const qdisp_model *model, qdisp_model **out);

#ifdef __cplusplus
}
#endif
#endif
