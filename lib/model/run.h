/* run.h - a run in progress: batches of chunks, weights in f32, scratch, and what blocks are made of. */
#ifndef QD_RUN_H
#define QD_RUN_H

#include "model/arch.h"
#include "model/gemm.h"
#include "model/panels.h"

#define QD_QUERY_ROWS 64 /* rows of attention scores at a time */

/* Rows of the head, tokens of the vocabulary, at a time: their weights stay in a cache that the workers share, and a
 * chunk's logits in one of their own. A multiple of QD_LSE_BLOCK, so that sums do not depend on it. */
#define QD_HEAD_TILE ((size_t)2048)
_Static_assert(2048 % QD_PANEL == 0 && 2048 % QD_LSE_BLOCK == 0, "tiles of the head");

static inline size_t qd_larger(size_t a, size_t b) {
    return a > b ? a : b;
}

/* Positions, made once a run. */
typedef struct qd_positions {
    float *cos[2], *sin[2];  /* [longest, n_rot / 2] of rope[0] and rope[1] */
    float *alibi;            /* [n_head, longest] bias of a key, by its position */
    float *relative[2];      /* [n_head, 2 longest - 1] bias of the distance key - query + longest - 1; [1]: encoder */
    float *sinusoid;         /* [longest, n_embd] */
    size_t longest;
} qd_positions;

qdisp_status qd_positions_make(const qdisp_model *model, size_t longest, qd_positions *out);
void qd_positions_free(qdisp_ctx *ctx, qd_positions *positions);
/* Whether the turns depend on the length of the sequence; if so, they have to be made for every length beyond
 * rope->n_original by qd_rope_table: cos and sin [n_tokens, n_rot / 2] for a sequence of n_tokens. */
bool qd_rope_is_dynamic(const qd_rope *rope);
void qd_rope_table(const qd_rope *rope, size_t n_tokens, float *cos, float *sin);
/* What the scaling divides the frequencies by, out[n_rot / 2]; not for scalings that depend on n_tokens. */
void qd_rope_divisors(const qd_rope *rope, float *out);

/* Intermediate rows of one chunk in one block. A forward pass lets those share memory that are not alive at once
 * (qd_acts_plan); a backward pass keeps all. */
#define QD_ACTS(X)                                                                                                 \
    X(normed)      /* [n_rows, n_embd] what the attention reads */                                                 \
    X(qkv)         /* [n_rows, q and twice k] after norms and turns */                                             \
    X(qk_raw)      /* the same before the norms of q and k; kept for the backward pass only */                     \
    X(heads)       /* [n_rows, n_head * head_dim] */                                                               \
    X(attn)        /* [n_rows, n_embd] of attn.out */                                                              \
    X(attn_normed) /* after the norm of a sandwich */                                                              \
    X(h_attn)      /* the residual after the attention, before a post norm */                                      \
    X(h_mid)       /* the residual after it */                                                                     \
    X(cross_normed)                                                                                                \
    X(cross_q)                                                                                                     \
    X(cross_kv)    /* [n_source, twice k] */                                                                       \
    X(cross_heads)                                                                                                 \
    X(cross)                                                                                                       \
    X(h_cross)                                                                                                     \
    X(mlp_normed)  /* what the feed-forward network reads */                                                       \
    X(gate)        /* [n_rows, n_ff], or [n_rows, 2 n_ff] where gate and up are fused */                           \
    X(up)          /* [n_rows, n_ff], without its bias if it is not gated */                                       \
    X(act)         /* [n_rows, n_ff] what mlp.down reads */                                                        \
    X(mlp)                                                                                                         \
    X(mlp_normed_out)                                                                                              \
    X(h_mlp)       /* the residual after the feed-forward network, before a post norm */

typedef struct qd_acts {
#define QD_ACT_POINTER(name) float *name;
    QD_ACTS(QD_ACT_POINTER)
#undef QD_ACT_POINTER
} qd_acts;

/* What a run is sized by. */
typedef struct qd_sizes {
    size_t chunk_rows, source_rows, longest; /* most rows of a chunk, in either stack; longest sequence of any */
} qd_sizes;

/* Floats of scratch that acts take, placed in `scratch` if it is not NULL. keep: nothing shares memory. */
size_t qd_acts_plan(const qdisp_model *model, const qd_sizes *sizes, bool keep, float *scratch, qd_acts *out);

/* One chunk in one block, as its functions see it. */
typedef struct qd_block {
    const qdisp_model *model;
    const qd_kernels *kernels;
    const float *const *weights; /* [QD_N_SLOTS] of this block and of the slots outside the blocks */
    bool panels;                 /* linear maps are in panels, not in rows */
    const qd_positions *positions;
    const qd_run *run;
    const qd_chunk *chunk;
    const size_t *starts;        /* of the stack that the block is in, whole run */
    const size_t *source_starts; /* of the encoder's */
    size_t i_row, n_rows;        /* of the chunk in its stack */
    size_t i_layer;
    bool encoder;
    unsigned i_worker;
    const float *memory; /* [n_source, n_embd] output of the encoder */
    float *h;            /* [n_rows, n_embd] residual stream, in and out; in a backward pass h_mlp or its norm is out */
    qd_acts a;
    float *scratch; /* all of it: the rest of a chunk's memory lies in it */
    float *scores;  /* [QD_QUERY_ROWS, longest]; thrice that for the backward pass */
    float *turns;  /* [2, longest, n_rot / 2] for sequences with turns of their own */
    float *kv;     /* keys and values of a head in panels */
} qd_block;

/* --- layers.c --- */
static inline const float *qd_weight(const qd_block *b, qd_slot slot) {
    return b->weights[slot];
}
static inline size_t qd_qkv_columns(const qd_model_config *c) {
    return (c->n_head + 2 * c->n_kv_head) * c->head_dim;
}
/* out [n_rows, n_out] = x [n_rows, n_in] W^T, added to what is there if `add`; W as this run has its linear maps. */
void qd_linear_apply(const qd_block *b, const float *x, size_t n_rows, size_t n_in, const float *weight, size_t n_out,
                       bool add, float *out, size_t ld);
void qd_norm_rows(const qd_block *b, qd_slot weight, const float *x, size_t n_rows, float *out);
/* out [n_rows, n_out] with row stride ld = x [n_rows, n_in] W^T + bias, or without bias; tells the taps. source: the
 * rows are the encoder's. */
qdisp_status qd_linear_run(const qd_block *b, qd_slot weight, const float *x, size_t n_rows, bool with_bias, float *out,
                           size_t ld, bool source);
qdisp_status qd_tap_rows(const qd_block *b, qdisp_site site, float *data, size_t n_cols);
qdisp_status qd_tap_call(const qd_block *b, qdisp_activation *activation);
/* out = a + b over n elements. */
void qd_sum(const float *a, const float *b, size_t n, float *out);

/* --- attention.c --- */
/* One head of one sequence. Query i sees keys that the mask allows; rows i of q and j of k and v at row strides. */
typedef struct qd_attend {
    const float *q, *k, *v;
    size_t ld_q, ld_k, n_q, n_k;
    bool causal;
    size_t window;       /* 0: all; keys i - window + 1 .. are seen */
    float scale, softcap;
    const float *alibi;  /* bias of key j at alibi[j]; NULL: none */
    float alibi_scale;
    const float *bias;   /* of distance j - i at bias[j - i]; NULL: none */
    const float *k_panels, *v_panels; /* keys times scale, and values; NULL: as they lie */
    float *out;
    size_t ld_out;
} qd_attend;
/* Floats of b->kv for sequences of at most `longest` tokens. */
size_t qd_attend_floats(const qd_model_config *c, size_t longest);
size_t qd_q_column(const qd_model_config *c, size_t i_head);
size_t qd_k_column(const qd_model_config *c, size_t i_kv_head); /* its v follows */
size_t qd_v_column(const qd_model_config *c, size_t i_kv_head);
/* The attention of head i_head of the block over sequence i_seq of the run, on its own rows or (cross) the encoder's;
 * out is that of b->a.heads or b->a.cross_heads. */
qd_attend qd_attend_make(const qd_block *b, size_t i_seq, size_t i_head, bool cross);
/* Probabilities of queries first .. first + m - 1 to scores [m, *n_keys] of keys *i_key ..; capped [same] (may be NULL)
 * gets the scores before the softmax. */
void qd_attend_probs(const qd_block *b, const qd_attend *a, size_t first, size_t m, float *scores, float *capped,
                     size_t *i_key, size_t *n_keys);
/* The turns of a sequence of n tokens in this block: cos and sin [n, n_rot / 2]. */
void qd_turns(const qd_block *b, size_t n, const float **cos, const float **sin);
qdisp_status qd_attention(const qd_block *b);
qdisp_status qd_cross_attention(const qd_block *b);

/* --- block.c, experts.c, head.c --- */
/* Attention up to the residual h_mid (and that of cross attention); then the feed-forward network. */
qdisp_status qd_block_attention(const qd_block *b);
qdisp_status qd_block_mlp(const qd_block *b);
/* The input of the feed-forward network to b->a.mlp_normed, and what becomes of its output b->a.mlp. */
void qd_block_mlp_input(const qd_block *b, const float **x);
qdisp_status qd_block_mlp_output(const qd_block *b);
const float *qd_block_residual(const qd_block *b); /* what the block read */

typedef struct qd_forward qd_forward;
/* The embedding of the block's rows, [n_rows, n_word_embd]. */
void qd_embed_rows(const qd_forward *f, const qd_block *b, float *out);
qdisp_status qd_experts_run(qd_forward *f);
void qd_experts_free(qd_forward *f);
qdisp_status qd_head_run(qd_forward *f);
void qd_head_free(qd_forward *f);
/* Rows to the space of the head: final norm, projection, dense layer; x [n_rows, n_embd] to out [n_rows, n_word_embd],
 * which may be x; scratch as the block's. */
qdisp_status qd_head_input(const qd_block *b, const float *x, size_t n_rows, float *out);

/* --- forward.c: the run --- */
struct qd_forward {
    const qdisp_model *model;
    qdisp_ctx *ctx;
    const qd_run *run;
    const qdisp_batch *batch;
    const int32_t *targets; /* [n_tokens] */
    int32_t *own_targets, *shifted; /* default targets; what the decoder of an encoder-decoder model reads */
    size_t first_target;    /* the loss of row r stands at nll[r + first_target] */
    qd_chunk *chunks;
    size_t n_chunks, batch_chunks;
    bool threaded_blas;
    bool keep;      /* a backward pass follows: one batch, room for all intermediate rows */
    size_t most_rows; /* of a batch; 0: as many as memory suggests */
    bool recompute; /* blocks keep their intermediate rows now */
    qd_sizes sizes;
    size_t batch_rows, batch_source_rows;
    qd_positions positions;
    float *h, *memory;       /* [batch_rows, n_embd] residual streams of the batch: decoder or only stack; encoder */
    float *model_weights, *layer_weights; /* loaded */
    float **scratch;         /* [n_workers], made when a worker first needs it */
    unsigned n_workers;
    size_t n_scratch;        /* floats each */
    const float *weights[QD_N_SLOTS];
    /* The work under way. */
    size_t first_chunk, n_batch, layer;
    bool encoder;
    double done, step; /* progress of stages */
    struct qd_experts *experts;
    struct qd_head *head;
};
/* task(f, block) for every chunk of the batch. */
typedef qdisp_status (*qd_stage)(qd_forward *f, const qd_block *b);
qdisp_status qd_forward_stage(qd_forward *f, qd_stage task);
qd_block qd_forward_block(qd_forward *f, const qd_chunk *chunk, unsigned i_worker, float *scratch);
float *qd_forward_scratch(qd_forward *f, unsigned i_worker);
/* Tensor i_tensor as floats, by all workers: in place or in buffer; a linear map in panels unless f->keep. */
qdisp_status qd_forward_load(qd_forward *f, size_t i_tensor, float *buffer, const float **out);
/* Rows first .. first + n - 1 of a matrix, likewise; first is a multiple of QD_PANEL. */
qdisp_status qd_forward_load_rows(qd_forward *f, size_t i_tensor, size_t first, size_t n, float *buffer,
                                  const float **out);
/* Floats of scratch that a worker's block takes; what is asked for beyond it begins there. */
size_t qd_forward_scratch_floats(const qd_forward *f);
qdisp_status qd_forward_load_layer(qd_forward *f);

/* Steps of a run that the backward pass shares: prepare, then batches, then end. extra: floats a worker more. */
qdisp_status qd_forward_begin(qd_forward *f, size_t extra);
void qd_forward_end(qd_forward *f);
qdisp_status qd_forward_embed(qd_forward *f);
qdisp_status qd_forward_encoder_norm(qd_forward *f);
qdisp_status qd_forward_layer(qd_forward *f); /* loads and runs block f->layer */

#endif
