/* model.h - the model handle inside: tensors by slot, linear maps, and the forward pass with its taps. */
#ifndef QD_MODEL_H
#define QD_MODEL_H

#include <qdisp/model.h>
#include "base/base.h"
#include "tensor/tensor.h"

#define QD_NONE ((size_t)-1)

/* Parts of a block and of the model that a tensor can be. One list: slots and roles. L = once a layer, M = once. */
#define QD_SLOTS(X)                                                  \
    X(EMBED, M, "embed")                                             \
    X(EMBED_NORM, M, "embed_norm")                                   \
    X(EMBED_NORM_BIAS, M, "embed_norm.bias")                         \
    X(ATTN_NORM, L, "attn_norm")                                     \
    X(ATTN_NORM_BIAS, L, "attn_norm.bias")                           \
    X(ATTN_QKV, L, "attn.qkv")                                       \
    X(ATTN_QKV_BIAS, L, "attn.qkv.bias")                             \
    X(ATTN_OUT, L, "attn.out")                                       \
    X(ATTN_OUT_BIAS, L, "attn.out.bias")                             \
    X(MLP_NORM, L, "mlp_norm")                                       \
    X(MLP_NORM_BIAS, L, "mlp_norm.bias")                             \
    X(MLP_UP, L, "mlp.up")                                           \
    X(MLP_UP_BIAS, L, "mlp.up.bias")                                 \
    X(MLP_DOWN, L, "mlp.down")                                       \
    X(MLP_DOWN_BIAS, L, "mlp.down.bias")                             \
    X(NORM, M, "norm")                                               \
    X(NORM_BIAS, M, "norm.bias")                                     \
    X(HEAD, M, "head")

typedef enum qd_slot {
#define QD_SLOT_ENUM(name, where, role) QD_SLOT_##name,
    QD_SLOTS(QD_SLOT_ENUM)
#undef QD_SLOT_ENUM
    QD_N_SLOTS
} qd_slot;

/* Sizes and constants that a config gives. */
typedef struct qd_model_config {
    size_t n_vocab, n_layer, n_head, n_embd, n_ff, head_dim;
    float epsilon;        /* of the layer norms */
    bool residual_normed; /* the residual is taken after the layer norm */
    bool tied_head;
    int32_t bos_id, eos_id;
} qd_model_config;

/* A matrix product of the forward pass: y [n_rows, n_out] = x [n_rows, n_in] W^T + b. */
typedef struct qd_linear {
    size_t i_weight, i_bias; /* tensor indices; i_bias may be QD_NONE */
    const char *role;        /* "attn.qkv", "attn.out", "mlp.up", "mlp.down", "head" (also when it is tied) */
    int layer;               /* -1 for the head */
    size_t n_out, n_in;
} qd_linear;

struct qd_arch;

struct qdisp_model {
    qdisp_ctx *ctx;
    unsigned n_refs; /* atomic */
    const struct qd_arch *arch;
    qdisp_model_info info;
    qd_model_config config;
    qdisp_tensor *tensors; /* [n_tensors], in the order of the forward pass */
    size_t n_tensors;
    qd_slot *slots;        /* [n_tensors] */
    int *layers;           /* [n_tensors], -1 outside the layers */
    size_t *index;         /* [n_layer * QD_N_SLOTS] tensor of a slot, QD_NONE if absent; layer 0 holds the M slots */
    qd_linear *linears;    /* [n_linears]: 4 a layer in the order of the forward pass, the head last */
    size_t n_linears;
    char *config_text;     /* the config.json as it came */
    char *path;            /* its folder, NULL for tensors of a host */
    qd_tensor_file *file;  /* owner of names and data (of names alone for tensors of a host) */
    const qdisp_model *base; /* reference: the model that owns all pointers here but tensors and owned; or NULL */
    float **owned;           /* [n_owned] blocks of qd_model_with_tensors */
    size_t n_owned;
};

const qdisp_model *qd_model_ref(const qdisp_model *model);
/* Tensor index of a slot; layer is 0 for the slots outside the layers. QD_NONE if the model has none. */
size_t qd_model_index(const qdisp_model *model, size_t layer, qd_slot slot);

/* The row sets of a fused tensor: part p of "attn.qkv" (weight or bias) is q, k or v. Rows of the part: for run r in
 * [0, n_runs), rows first + r * stride .. + run_rows - 1. Any other tensor has one part, named "", that is all rows.
 * i_tensor and i_part in range. */
typedef struct qd_part {
    const char *name; /* "q", "k", "v" or "" */
    size_t first, stride, run_rows, n_runs;
} qd_part;
size_t qd_model_n_parts(const qdisp_model *model, size_t i_tensor);
qd_part qd_model_part(const qdisp_model *model, size_t i_tensor, size_t i_part);

/* A model that shares everything with base but tensors i_tensors[n] (distinct), which become F32 at data[n]: blocks of
 * qd_alloc_aligned of the shape's size, taken over on success only. Keeps a reference to base. */
qdisp_status qd_model_with_tensors(const qdisp_model *base, const size_t *i_tensors, float *const *data, size_t n,
                                   qdisp_model **out);

/* A chunk: some whole sequences that one worker takes through a layer. Boundaries depend on starts alone, never on
 * threads: what is summed within a chunk and merged in the order of chunks is the same for any number of threads. */
typedef struct qd_chunk {
    size_t i_chunk;      /* 0.. over the whole run */
    size_t i_seq, n_seq; /* its sequences */
    size_t i_row, n_rows; /* its tokens: ids[i_row .. i_row + n_rows - 1] */
} qd_chunk;
/* Number of chunks, and their list if chunks is not NULL. starts as in qdisp_model_nll, valid. */
size_t qd_model_chunks(const size_t *starts, size_t n_seq, qd_chunk *chunks);

/* What a run gives; every member may be NULL. The taps are called from worker threads, at once for unlike chunks but
 * never at once for one chunk; a failure stops the run. i_worker < qd_n_workers(ctx). x and h are row-major and only
 * valid during the call; row r is token ids[chunk->i_row + r]. */
typedef struct qd_run {
    float *nll;    /* [n_tokens]; NaN for the first token of a sequence */
    float *logits; /* [n_tokens * n_vocab] */
    void *user;
    /* Input x [n_rows, n_in] of model->linears[i_linear]. The head is only run, and tapped, if nll, logits or
     * tap_head asks for it. */
    qdisp_status (*linear_input)(void *user, const qd_chunk *chunk, size_t i_linear, const float *x, unsigned i_worker);
    /* Residual stream h [n_rows, n_embd]: i_layer 0 = after the embedding norm, i = output of block i (1-based). */
    qdisp_status (*hidden)(void *user, const qd_chunk *chunk, size_t i_layer, const float *h, unsigned i_worker);
    /* Chunks i_chunk .. i_chunk + n_chunks - 1 are through all layers and will not be tapped again: the place to merge
     * accumulators of chunks in order and to use them anew. From the calling thread, in ascending order. */
    qdisp_status (*chunks_done)(void *user, size_t i_chunk, size_t n_chunks);
    bool tap_head;
} qd_run;

/* At most this many chunks are under way between two calls of chunks_done. */
#define QD_RUN_MAX_CHUNKS 64

/* Runs the sequences through the model. Errors: EINVAL (starts, ids), ENOMEM, ECANCELLED, a tap's. Memory: bounded by
 * a batch of QD_RUN_MAX_CHUNKS chunks, a layer's weights in F32 and the head in F32 (none of these if already F32). */
qdisp_status qd_model_run(const qdisp_model *model, const int32_t *ids, const size_t *starts, size_t n_seq,
                          const qd_run *run);

#endif
