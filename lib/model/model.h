/* model.h - the model handle inside: tensors by slot, linear maps, and the run with its taps. */
#ifndef QD_MODEL_H
#define QD_MODEL_H

#include <qdisp/model.h>
#include "base/base.h"
#include "kernels/kernels.h"
#include "tensor/tensor.h"

#define QD_NONE ((size_t)-1)
#define QD_MAX_LAYERS 1024
#define QD_MAX_ROPE_PAIRS 256

/* Parts of a block and of the model that a tensor can be, in the order of the forward pass. One list: slots and roles.
 * Where: L once a block, M once, E once an expert of a block. What: W the weight of a linear map, B the bias of the
 * slot before it, N neither. */
#define QD_SLOTS(X)                                        \
    X(EMBED, M, N, "embed")                                \
    X(POSITION, M, N, "position")                          \
    X(TYPE, M, N, "type")                                  \
    X(PROJECT_IN, M, W, "project_in")                      \
    X(EMBED_NORM, M, N, "embed_norm")                      \
    X(EMBED_NORM_BIAS, M, B, "embed_norm.bias")            \
    X(ENCODER_RELATIVE, M, N, "attn.relative")             \
    X(RELATIVE, M, N, "attn.relative")                     \
    X(ENCODER_NORM, M, N, "norm")                          \
    X(ENCODER_NORM_BIAS, M, B, "norm.bias")                \
    X(ATTN_NORM, L, N, "attn_norm")                        \
    X(ATTN_NORM_BIAS, L, B, "attn_norm.bias")              \
    X(ATTN_QKV, L, W, "attn.qkv")                          \
    X(ATTN_QKV_BIAS, L, B, "attn.qkv.bias")                \
    X(ATTN_Q, L, W, "attn.q")                              \
    X(ATTN_Q_BIAS, L, B, "attn.q.bias")                    \
    X(ATTN_K, L, W, "attn.k")                              \
    X(ATTN_K_BIAS, L, B, "attn.k.bias")                    \
    X(ATTN_V, L, W, "attn.v")                              \
    X(ATTN_V_BIAS, L, B, "attn.v.bias")                    \
    X(Q_NORM, L, N, "attn.q_norm")                         \
    X(K_NORM, L, N, "attn.k_norm")                         \
    X(ATTN_OUT, L, W, "attn.out")                          \
    X(ATTN_OUT_BIAS, L, B, "attn.out.bias")                \
    X(ATTN_POST_NORM, L, N, "attn_post_norm")              \
    X(ATTN_POST_NORM_BIAS, L, B, "attn_post_norm.bias")    \
    X(CROSS_NORM, L, N, "cross_norm")                      \
    X(CROSS_NORM_BIAS, L, B, "cross_norm.bias")            \
    X(CROSS_Q, L, W, "cross.q")                            \
    X(CROSS_Q_BIAS, L, B, "cross.q.bias")                  \
    X(CROSS_K, L, W, "cross.k")                            \
    X(CROSS_K_BIAS, L, B, "cross.k.bias")                  \
    X(CROSS_V, L, W, "cross.v")                            \
    X(CROSS_V_BIAS, L, B, "cross.v.bias")                  \
    X(CROSS_OUT, L, W, "cross.out")                        \
    X(CROSS_OUT_BIAS, L, B, "cross.out.bias")              \
    X(MLP_NORM, L, N, "mlp_norm")                          \
    X(MLP_NORM_BIAS, L, B, "mlp_norm.bias")                \
    X(MLP_ROUTER, L, W, "mlp.router")                      \
    X(MLP_GATE_UP, L, W, "mlp.gate_up")                    \
    X(MLP_GATE_UP_BIAS, L, B, "mlp.gate_up.bias")          \
    X(MLP_GATE, L, W, "mlp.gate")                          \
    X(MLP_GATE_BIAS, L, B, "mlp.gate.bias")                \
    X(MLP_UP, L, W, "mlp.up")                              \
    X(MLP_UP_BIAS, L, B, "mlp.up.bias")                    \
    X(MLP_DOWN, L, W, "mlp.down")                          \
    X(MLP_DOWN_BIAS, L, B, "mlp.down.bias")                \
    X(EXPERT_GATE, E, W, "mlp.gate")                       \
    X(EXPERT_UP, E, W, "mlp.up")                           \
    X(EXPERT_DOWN, E, W, "mlp.down")                       \
    X(MLP_POST_NORM, L, N, "mlp_post_norm")                \
    X(MLP_POST_NORM_BIAS, L, B, "mlp_post_norm.bias")      \
    X(NORM, M, N, "norm")                                  \
    X(NORM_BIAS, M, B, "norm.bias")                        \
    X(PROJECT_OUT, M, W, "project_out")                    \
    X(HEAD_DENSE, M, W, "head.dense")                      \
    X(HEAD_DENSE_BIAS, M, B, "head.dense.bias")            \
    X(HEAD_NORM, M, N, "head.norm")                        \
    X(HEAD_NORM_BIAS, M, B, "head.norm.bias")              \
    X(HEAD, M, W, "head")                                  \
    X(HEAD_BIAS, M, B, "head.bias")

typedef enum qd_slot {
#define QD_SLOT_ENUM(name, where, what, role) QD_SLOT_##name,
    QD_SLOTS(QD_SLOT_ENUM)
#undef QD_SLOT_ENUM
    QD_N_SLOTS
} qd_slot;

typedef struct qd_slot_row {
    char where, what; /* 'L' 'M' 'E'; 'W' 'B' 'N' */
    const char *role;
} qd_slot_row;
extern const qd_slot_row qd_slot_rows[QD_N_SLOTS];

/* Where norms stand. PRE: x + f(norm(x)). POST: norm(x + f(x)). SANDWICH: x + norm(f(norm(x))). */
typedef enum qd_norm_place { QD_NORM_PRE, QD_NORM_POST, QD_NORM_SANDWICH } qd_norm_place;
typedef enum qd_position {
    QD_POSITION_NONE,
    QD_POSITION_ROPE,
    QD_POSITION_ALIBI,
    QD_POSITION_LEARNED,    /* rows position_offset + i of the slot POSITION */
    QD_POSITION_SINUSOIDAL, /* computed, at position_offset + i */
    QD_POSITION_RELATIVE    /* T5's buckets: a bias a head and distance */
} qd_position;
/* Rows of a fused attn.qkv. STACKED: all q, all k, all v. GROUPED: for each key head its query heads, its k, its v. */
typedef enum qd_qkv_layout { QD_QKV_STACKED, QD_QKV_GROUPED } qd_qkv_layout;
typedef enum qd_rope_scaling {
    QD_ROPE_PLAIN,
    QD_ROPE_LINEAR,
    QD_ROPE_DYNAMIC, /* NTK by the length of the sequence */
    QD_ROPE_YARN,
    QD_ROPE_LLAMA3,
    QD_ROPE_LONG,    /* factors[0] up to n_original tokens, factors[1] beyond */
    QD_ROPE_FACTORS  /* frequencies divided by factors[0] */
} qd_rope_scaling;

typedef struct qd_rope {
    qd_rope_scaling scaling;
    size_t n_rot;      /* leading dimensions of a head that turn, even */
    bool interleaved;  /* pairs (2i, 2i+1), else (i, i + n_rot / 2) */
    double theta, factor, low_factor, high_factor, beta_fast, beta_slow;
    double magnitude;  /* cos and sin are multiplied by it; 0: as the scaling says */
    bool truncate;     /* yarn: round the ramp's ends */
    size_t n_original; /* positions of the unscaled model */
    float factors[2][QD_MAX_ROPE_PAIRS];
} qd_rope;

/* Sizes and traits of a model: all that the generic block needs to know. A config reader fills it from zero. */
typedef struct qd_model_config {
    qdisp_model_kind kind;
    size_t n_vocab, n_layer, n_encoder_layer, n_head, n_kv_head, head_dim, n_embd, n_ff;
    size_t n_word_embd;       /* columns of the embedding: n_embd but for models that project it */
    size_t n_positions, position_offset, n_types; /* n_positions 0: no limit */
    size_t n_expert, n_expert_used, n_ff_expert;
    bool expert_normalized;   /* weights of the chosen experts sum to 1 */
    bool is_moe[QD_MAX_LAYERS];
    qd_norm_place norm_place;
    bool rms;                 /* root mean square, else layer norm */
    float epsilon, norm_offset; /* rms norm: times (weight + offset) */
    bool parallel;            /* attention and feed-forward network read the same residual */
    bool residual_normed;     /* the residual is taken after the norm */
    qd_act act, head_act;
    bool gated;
    qd_position position;
    qd_rope rope[2];          /* [1]: of local layers, if local_rope */
    bool local_rope;
    size_t window;            /* keys that local layers see, the query's own included; 0: all */
    bool is_local[QD_MAX_LAYERS];
    bool alibi_scaled;        /* the bias is scaled like q k, too */
    bool alibi_bf16;          /* slopes, positions and their products are rounded to bf16 */
    size_t n_buckets, max_distance; /* relative positions */
    qd_qkv_layout qkv_layout;
    double attn_scale;        /* of q k; 0: 1 / sqrt(head_dim) */
    bool attn_scale_by_layer; /* divided by the layer's number from 1, too */
    float attn_softcap, logit_softcap; /* cap tanh(x / cap); 0: none */
    float embed_scale, head_scale;     /* 0: 1 */
    bool tied_head;
    int32_t bos_id, eos_id, decoder_start_id;
    bool absent[QD_N_SLOTS];  /* slots of the architecture that this config does without */
} qd_model_config;

/* A matrix product of the forward pass: y [n_rows, n_out] = x [n_rows, n_in] W^T + b. */
typedef struct qd_linear {
    size_t i_weight, i_bias; /* tensor indices; i_bias may be QD_NONE */
    const char *role;        /* of its slot; the head's is "head" also when it is tied */
    qd_slot slot;
    int layer;               /* -1 outside the blocks */
    int expert;              /* -1: none */
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
    int *layers, *experts; /* [n_tensors], -1: none */
    bool *transposed;      /* [n_tensors]: stored as [n_in, n_out] */
    size_t *index;         /* [n_layer * n_index] tensor of a slot, QD_NONE if absent; layer 0 holds the M slots */
    size_t *linear_index;  /* the same for linear maps, at their weight */
    size_t n_index;        /* QD_N_SLOTS + 3 * n_expert: the slots of expert e follow at QD_N_SLOTS + 3 e */
    qd_linear *linears;    /* [n_linears], in the order of the forward pass, the head last */
    size_t n_linears;
    char *config_text;     /* the config.json as it came, or made from the keys of GGUF */
    char *path;            /* its folder, NULL for tensors of a host */
    qd_tensor_file *file;  /* owner of names and data (of names alone for tensors of a host) */
    const qdisp_model *base; /* reference: the model that owns all pointers here but tensors and owned; or NULL */
    float **owned;           /* [n_owned] blocks of qd_model_with_tensors */
    size_t n_owned;
};

const qdisp_model *qd_model_ref(const qdisp_model *model);
/* Tensor index of a slot, and index of its linear map; layer is 0 for the slots outside the blocks, expert is 0 but for
 * the slots of experts. QD_NONE if the model has none. */
size_t qd_model_at(const qdisp_model *model, size_t layer, size_t expert, qd_slot slot); /* place in both tables */
size_t qd_model_index(const qdisp_model *model, size_t layer, size_t expert, qd_slot slot);
size_t qd_model_linear_index(const qdisp_model *model, size_t layer, size_t expert, qd_slot slot);

/* The row sets of a fused tensor: part p of "attn.qkv" (weight or bias) is q, k or v, of "mlp.gate_up" gate or up. Rows
 * of the part: for run r in [0, n_runs), rows first + r * stride .. + run_rows - 1. Any other tensor has one part,
 * named "", that is all rows. i_tensor and i_part in range. role: of the part ("attn.q"). */
typedef struct qd_part {
    const char *name, *role;
    size_t first, stride, run_rows, n_runs;
} qd_part;
size_t qd_model_n_parts(const qdisp_model *model, size_t i_tensor);
qd_part qd_model_part(const qdisp_model *model, size_t i_tensor, size_t i_part);

/* A model that shares everything with base but tensors i_tensors[n] (distinct), which become F32 at data[n]: blocks of
 * qd_alloc_aligned of the shape's size, taken over on success only. Keeps a reference to base. */
qdisp_status qd_model_with_tensors(const qdisp_model *base, const size_t *i_tensors, float *const *data, size_t n,
                                   qdisp_model **out);

/* The files that a tokenizer and text generation need beside the model, copied from the folder it came from, if any. */
qdisp_status qd_model_companions(const qdisp_model *model, qd_folder *folder);
/* Elements of tensor i_tensor as floats in the order of its file: that of a transposed one is not the model's. */
void qd_model_stored(const qdisp_model *model, size_t i_tensor, size_t first, size_t n, float *out);

/* A chunk: some whole sequences that one worker takes through a layer. Boundaries depend on starts alone, never on
 * threads: what is summed within a chunk and merged in the order of chunks is the same for any number of threads. */
typedef struct qd_chunk {
    size_t i_chunk;       /* 0.. over the whole run */
    size_t i_seq, n_seq;  /* its sequences */
    size_t i_row, n_rows; /* its tokens: ids[i_row .. i_row + n_rows - 1] */
    size_t i_source, n_source; /* the same in source_ids */
} qd_chunk;
/* Number of chunks, and their list if chunks is not NULL. starts as in qdisp_batch, valid; source_starts or NULL. */
size_t qd_model_chunks(const size_t *starts, const size_t *source_starts, size_t n_seq, qd_chunk *chunks);

/* qdisp_run_options, and what only the library uses. */
typedef struct qd_run {
    float *nll, *logits;
    qdisp_tap tap;
    void *user;
    uint64_t sites;
    bool tap_head; /* run as far as the head's input (LINEAR_IN of the last map) also without nll and logits */
    /* Chunks i_chunk .. i_chunk + n_chunks - 1 are through all layers and will not be tapped again: the place to merge
     * accumulators of chunks in order and to use them anew. From the calling thread, in ascending order. */
    qdisp_status (*chunks_done)(void *user, size_t i_chunk, size_t n_chunks);
} qd_run;

/* At most this many chunks are under way between two calls of chunks_done. */
#define QD_RUN_MAX_CHUNKS 64

/* qdisp_model_run; without a mask. */
qdisp_status qd_model_run(const qdisp_model *model, const qdisp_batch *batch, const qd_run *run);
/* A batch of plain sequences. */
qdisp_batch qd_batch_of(const int32_t *ids, const size_t *starts, size_t n_seq);

#endif
