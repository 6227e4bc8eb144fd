/* qdisp/model.h - models: tensors with roles, forward and backward pass, taps, negative log-likelihood. */
#ifndef QDISP_MODEL_H
#define QDISP_MODEL_H

#include <qdisp/base.h>
#include <qdisp/table.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A tensor as it lies in memory: row-major, little-endian, at any alignment. Frozen struct. */
typedef struct qdisp_tensor {
    const char *name;
    const void *data;
    uint64_t n_bytes;
    uint64_t shape[4]; /* shape[0] varies slowest; a linear map is [n_out, n_in] */
    uint32_t n_dims;   /* 0..4 */
    uint32_t dtype;    /* qdisp_dtype */
} qdisp_tensor;

/* What a model does with text. Numbers are pinned. */
typedef enum qdisp_model_kind {
    QDISP_MODEL_DECODER = 1,        /* predicts the next token */
    QDISP_MODEL_MASKED = 2,         /* an encoder that predicts masked tokens */
    QDISP_MODEL_ENCODER_DECODER = 3 /* predicts the next token of a target, given a source */
} qdisp_model_kind;

/* Sizes of a model. Frozen struct. Blocks are numbered through: those of an encoder first, then the decoder's. */
typedef struct qdisp_model_info {
    const char *architecture; /* "llama": a row of qdisp_architectures */
    uint64_t n_parameters;    /* tied tensors counted once */
    uint64_t n_bytes;         /* of all tensors, as they are stored */
    uint32_t kind;            /* qdisp_model_kind */
    uint32_t n_vocab;
    uint32_t n_layer;         /* blocks, of both stacks together */
    uint32_t n_encoder_layer; /* the first blocks that are the encoder's; 0 but for encoder-decoder models */
    uint32_t n_head, n_kv_head, head_dim;
    uint32_t n_embd;
    uint32_t n_ff;            /* of the feed-forward network (of one expert, where there are only experts) */
    uint32_t n_expert, n_expert_used; /* 0: no mixture of experts */
    uint32_t n_positions;     /* longest sequence that the model can read; 0: no limit of its own */
    int32_t bos_id;           /* -1: none */
    int32_t eos_id;           /* -1: none */
    int32_t decoder_start_id; /* first decoder input of encoder-decoder models, else -1 */
} qdisp_model_info;

/* An immutable model; any number of threads may use it at once. */
typedef struct qdisp_model qdisp_model;

/* Opens a model, told by content: a Hugging Face folder (config.json and model.safetensors, its shards, or
 * pytorch_model.bin), also one quantized by GPTQ, AWQ, compressed-tensors or bitsandbytes, or the file of weights in
 * it; or a GGUF file. Weights are mapped, not copied; quantized ones are decoded when they are read. Every size is
 * checked against config and file before use. Tensors stand in the order of the forward pass. The files must not be
 * truncated while the model lives: a mapping would fault. Errors: ENOTFOUND, EIO, EFORMAT (file, tensor and reason),
 * EUNSUPPORTED (architecture, type or method by name), ENOMEM. Cost: reads the headers; memory for names and shapes. */
QDISP_API qdisp_status qdisp_model_open(qdisp_ctx *ctx, const char *path, qdisp_model **out);
/* The same from tensors that a host holds: config is the text of a config.json; tensors[n_tensors] by their Hugging
 * Face names. Data are not copied: they must stay valid and unchanged until the model is freed; names are copied.
 * Quantized weights (tensors as such a folder's file has them) are decoded as the config's quantization_config says.
 * Errors: as above; EINVAL for NULL data or n_bytes that does not match shape and dtype. */
QDISP_API qdisp_status qdisp_model_from_tensors(qdisp_ctx *ctx, const char *config, const qdisp_tensor *tensors,
                                                size_t n_tensors, qdisp_model **out);
QDISP_API void qdisp_model_free(qdisp_model *model);

/* Table "architectures", a row an architecture that can be opened: name, kind, classes (as config.json names them). */
QDISP_API qdisp_status qdisp_architectures(qdisp_ctx *ctx, qdisp_table **out);

QDISP_API const qdisp_model_info *qdisp_model_describe(const qdisp_model *model);
QDISP_API size_t qdisp_model_n_tensors(const qdisp_model *model);
/* Tensor i, owned by the model. Its data are opaque if the dtype is PACKED. Errors: EINVAL (index). */
QDISP_API qdisp_status qdisp_model_tensor(const qdisp_model *model, size_t i_tensor, qdisp_tensor *out);
/* Elements [first, first + n) of tensor i, row-major, as f32 to out[n]: exact for every stored type. Any thread.
 * Errors: EINVAL (range), EUNSUPPORTED (integers). Cost: reads the elements; packed ones are quickest by whole rows. */
QDISP_API qdisp_status qdisp_model_read(const qdisp_model *model, size_t i_tensor, size_t first, size_t n, float *out);
/* Role of tensor i; a static string, NULL outside the range. Roles: "embed", "position", "type", "embed_norm",
 * "project_in", "attn_norm", "attn.q", "attn.k", "attn.v", "attn.qkv" (fused), "attn.q_norm", "attn.k_norm",
 * "attn.out", "attn_post_norm", "attn.relative", "cross_norm", "cross.q", "cross.k", "cross.v", "cross.out",
 * "mlp_norm", "mlp.router", "mlp.gate", "mlp.up", "mlp.gate_up" (fused), "mlp.down", "mlp_post_norm", "norm",
 * "project_out", "head.dense", "head.norm", "head"; ".bias" is appended for biases. The matrices of an expert have the
 * roles "mlp.gate", "mlp.up", "mlp.down". A tensor that is the embedding and the head at once is "embed+head". */
QDISP_API const char *qdisp_model_role(const qdisp_model *model, size_t i_tensor);
/* Block of tensor i, 0.., or -1 for tensors outside the blocks; expert of tensor i, or -1. */
QDISP_API int qdisp_model_layer(const qdisp_model *model, size_t i_tensor);
QDISP_API int qdisp_model_expert(const qdisp_model *model, size_t i_tensor);
/* What a tensor's values are stored as: "bf16", "Q4_K", "gptq-4bit" ...; owned by the model, NULL outside the range. */
QDISP_API const char *qdisp_model_format(const qdisp_model *model, size_t i_tensor);
/* Table "tensors": name, role, layer, expert, dtype (as qdisp_model_format), shape, n_parameters, n_bytes. */
QDISP_API qdisp_status qdisp_model_tensors(const qdisp_model *model, qdisp_table **out);

/* Linear maps in the order of the forward pass: y [n_rows, n_out] = x [n_rows, n_in] W^T + b. The tensor that is the
 * weight of map i (that of the head is the embedding if they are tied); QDISP_NO_TENSOR outside the range. */
#define QDISP_NO_TENSOR ((size_t)-1)
QDISP_API size_t qdisp_model_n_linears(const qdisp_model *model);
QDISP_API size_t qdisp_model_linear(const qdisp_model *model, size_t i_linear);

/* --- running --- */

/* Sequences for a model. A sized struct: size = sizeof(qdisp_batch), zero means absent. Sequence s is
 * ids[starts[s]] .. ids[starts[s + 1] - 1], starts[n_seq + 1] ascending from 0. Borrowed for the call. */
typedef struct qdisp_batch {
    uint64_t size;
    const int32_t *ids;           /* each in [0, n_vocab); what the decoder of an encoder-decoder model predicts */
    const size_t *starts;
    size_t n_seq;
    const int32_t *source_ids;    /* encoder-decoder models: what the encoder reads, sequence by sequence */
    const size_t *source_starts;  /* [n_seq + 1] */
    /* Masked models, for nll: a token id plus one to put in the place of each token in turn (pseudo-likelihood, Salazar
     * et al. 2020); 0: sequences are read as they are. */
    int64_t mask_id_plus_1;
    /* [number of ids] targets of the loss, -1: none; NULL: the default. The loss of row r is that of targets[r] given
     * the logits of row r, and stands at nll[r]. Together with a mask: only tokens with a target are masked in turn, so
     * that those without (such as [CLS]) cost nothing. */
    const int32_t *targets;
} qdisp_batch;

/* Places where a forward pass can be read and changed. One definition for all architectures. Numbers are pinned. */
typedef enum qdisp_site {
    /* The residual stream h [n_rows, n_embd]: layer -1 after the embedding (with its norm and positions), layer i
     * after block i; before the final norm. */
    QDISP_SITE_RESIDUAL = 1,
    QDISP_SITE_LINEAR_IN = 2,   /* input x [n_rows, n_in] of linear map i_linear */
    QDISP_SITE_LINEAR_OUT = 3,  /* output y [n_rows, n_out] of linear map i_linear, bias included, not the head's */
    QDISP_SITE_PROBS = 4,       /* attention probabilities [n_rows queries, n_cols keys] of head i_head, one sequence */
    QDISP_SITE_HEADS = 5,       /* outputs of all heads side by side [n_rows, n_head * head_dim], before "attn.out" */
    QDISP_SITE_ATTN = 6,        /* what the attention adds to the residual stream [n_rows, n_embd] */
    QDISP_SITE_MLP = 7,         /* what the feed-forward network adds to the residual stream [n_rows, n_embd] */
    QDISP_SITE_CROSS_PROBS = 8, /* the same for the attention of a decoder to the encoder */
    QDISP_SITE_CROSS_HEADS = 9,
    QDISP_SITE_CROSS = 10,
    QDISP_SITE_LINEAR_GRAD = 11 /* backward only: dL/dy [n_rows, n_out] of linear map i_linear; the head's comes in
                                 * pieces of its columns */
} qdisp_site;
#define QDISP_SITE_BIT(site) ((uint64_t)1 << (site))

/* What a tap sees; fields may be added at the end. Rows are tokens: row r is ids[i_row + r] (source_ids in the encoder
 * and for the keys and values of cross attention). Pointers are valid during the call. */
typedef struct qdisp_activation {
    uint32_t site;       /* qdisp_site */
    int32_t layer;       /* block; -1: after the embedding, or the head */
    size_t i_linear;     /* LINEAR_*: the map */
    size_t i_head;       /* PROBS */
    size_t i_chunk;      /* piece of work that the rows belong to: sequences i_seq .. i_seq + n_seq - 1 */
    size_t i_seq, n_seq;
    const size_t *starts;   /* of the whole batch, in the stack that the rows belong to */
    size_t i_row, n_rows;
    size_t n_cols;       /* row r begins at data[r * stride] */
    size_t stride;
    size_t i_key;        /* PROBS: column c is the key at row i_key + c; keys outside have probability 0 */
    const size_t *rows;  /* not NULL: row r is token i_row + rows[r] (an expert sees only some) */
    float *data;         /* may be changed: the pass goes on with what is there (not at LINEAR_GRAD,
                          nor anywhere in qdisp_model_grads). Maps that read one input (q, k, v; gate, up) read
                          the same memory: what the first changes at LINEAR_IN the others find changed */
    unsigned i_worker;
    size_t i_col;        /* LINEAR_GRAD of the head: column c is that of output i_col + c */
} qdisp_activation;

/* Called from worker threads, at once for unlike chunks but never at once for one chunk. Not 0: stops the run with
 * ECANCELLED. */
typedef int (*qdisp_tap)(void *user, qdisp_activation *activation);

/* What a run gives. A sized struct: size = sizeof(qdisp_run_options), zero means absent. */
typedef struct qdisp_run_options {
    uint64_t size;
    float *nll;     /* [number of ids] in nats; NaN where there is no loss. Default targets: decoder: the token itself
                     * given those before it (the first has none); masked: the token, masked in turn; encoder-decoder:
                     * the token given the source and those before it (decoder input: decoder_start_id first) */
    float *logits;  /* [number of ids, n_vocab]; row r is what the model says having read row r */
    qdisp_tap tap;
    void *user;
    uint64_t sites; /* which sites the tap sees: QDISP_SITE_BIT(...) | ... */
} qdisp_run_options;

/* Runs sequences through the model. Computed in f32 by the library's kernels: the same bits on every instruction set
 * and for any number of threads, however sequences are batched. Logits are never held beyond a tile unless asked for.
 * Errors: EINVAL (empty sequences, ids out of range: names position and id; longer than n_positions; no source),
 * ENUMERIC never (not finite numbers go through), ENOMEM, ECANCELLED. Cost: about 2 n_parameters operations a token
 * plus attention; memory: a batch of chunks, and one layer's weights in f32. */
QDISP_API qdisp_status qdisp_model_run(const qdisp_model *model, const qdisp_batch *batch,
                                       const qdisp_run_options *options);

/* Gradients of L = sum of nll over the batch (the targets above; with a mask id: EINVAL, give targets and masked ids).
 * weight (may be NULL) gets dL/dW [n_out, n_in] of each linear map, once each, from the last to the first, from the
 * calling thread; valid during the call; not 0 stops with ECANCELLED. tap (may be NULL) sees LINEAR_IN and LINEAR_GRAD,
 * as sites say. nll as above. Errors: as qdisp_model_run. Cost: three to four forward passes; memory: the residual
 * stream of every layer for the whole batch, one layer's weights and at most four times its gradients (one expert's, in
 * a mixture of experts). */
typedef int (*qdisp_weight_grad)(void *user, size_t i_linear, const float *grad, size_t n_out, size_t n_in);
typedef struct qdisp_grad_options {
    uint64_t size;
    qdisp_weight_grad weight;
    qdisp_tap tap;
    void *user;
    uint64_t sites;
    float *nll;
} qdisp_grad_options;
QDISP_API qdisp_status qdisp_model_grads(const qdisp_model *model, const qdisp_batch *batch,
                                         const qdisp_grad_options *options);

/* Logits of one sequence. ids[n_ids]; logits[n_ids * n_vocab], row i for the token after ids[i] (masked models: at
 * ids[i]). Not for encoder-decoder models (EINVAL). As qdisp_model_run. */
QDISP_API qdisp_status qdisp_model_forward(const qdisp_model *model, const int32_t *ids, size_t n_ids, float *logits);
/* nll[starts[n_seq]] of many sequences of a decoder, as qdisp_run_options.nll. EINVAL for other kinds: they need a mask
 * or a source (qdisp_model_run). */
QDISP_API qdisp_status qdisp_model_nll(const qdisp_model *model, const int32_t *ids, const size_t *starts, size_t n_seq,
                                       float *nll);

/* Writes the model as a Hugging Face folder (config.json, model.safetensors in F32, and the tokenizer files of the
 * folder it came from, if any). path must not exist or be an empty folder. Errors: EINVAL (path in use), EIO (names the
 * file and the system's reason; nothing half-written stays), ENOMEM. */
QDISP_API qdisp_status qdisp_model_save(const qdisp_model *model, const char *path);

#ifdef __cplusplus
}
#endif
#endif
