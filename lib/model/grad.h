/* grad.h - the backward pass: block after block from the last, each run forward once more with its intermediate rows
 * kept, so that only the residual streams of the whole batch are in memory (Chen et al. 2016). */
#ifndef QD_GRAD_H
#define QD_GRAD_H

#include "model/run.h"

/* Chunks are dealt to lanes, chunk i to lane i mod n_lanes. A lane's chunks follow each other and add to gradients of
 * its own; lanes are summed in their order: results do not depend on threads. */
#define QD_LANES 4

typedef struct qd_lane {
    float *weights;       /* one buffer for what dw points into */
    float *dw[QD_N_SLOTS]; /* dL/dW of the linear maps of the layer, NULL: not wanted */
} qd_lane;

/* Gradients of a chunk's intermediate rows. */
#define QD_GRADS(X)                                              \
    X(normed)  /* [n_rows, larger of n_embd and n_word_embd] */  \
    X(branch)  /* the same: of a branch's output */              \
    X(mixed)   /* the same: work */                              \
    X(heads)   /* [n_rows, n_head * head_dim] */                 \
    X(qkv)     /* [n_rows, q and twice k] */                     \
    X(kv)      /* [n_source, twice k] */                         \
    X(gate)    /* [n_rows, 2 n_ff] */                            \
    X(up)      /* [n_rows, n_ff] */

typedef struct qd_grads {
#define QD_GRAD_POINTER(name) float *name;
    QD_GRADS(QD_GRAD_POINTER)
#undef QD_GRAD_POINTER
} qd_grads;
size_t qd_grads_plan(const qdisp_model *model, const qd_sizes *sizes, float *scratch, qd_grads *out);

/* A block's chunk on the way back. b.run has the taps. */
typedef struct qd_back {
    qd_block b;
    qd_lane *lane;
    qd_grads g;
    float *dh;      /* [n_rows, n_embd] gradient of what the block gave; becomes that of what it read */
    float *dmemory; /* [n_source, n_embd] of the encoder's output, added to */
    const struct qd_head *head;
    const qd_forward *f;
} qd_back;

/* dy [n_rows, n_out] at row stride ld of a linear map: tells the tap, adds dL/dW, and dx = dy W (added to if add). dx
 * may be NULL. */
qdisp_status qd_linear_back(const qd_back *k, qd_slot weight, const float *x, const float *dy, size_t n_rows, size_t ld,
                            bool source, bool add, float *dx);
/* Its products: adds dL/dW to the lane's, and dx. */
void qd_linear_products(const qd_back *k, qd_slot slot, const qd_linear *l, const float *x, const float *dy,
                        size_t n_rows, size_t ld, const float *weight, bool add, float *dx);
/* dx of a norm at x for dy; dx may be dy. */
void qd_norm_back(const qd_back *k, qd_slot weight, const float *x, const float *dy, size_t n_rows, float *dx);
qdisp_status qd_block_back(const qd_back *k);
/* The rest of it, from g.mixed, the gradient of what the feed-forward network reads (not in parallel blocks). */
qdisp_status qd_block_input_back(const qd_back *k);
/* From k->g.heads to k->g.qkv, or k->g.qkv (of q) and k->g.kv for cross attention. */
qdisp_status qd_attention_back(const qd_back *k);
void qd_cross_attention_back(const qd_back *k);

/* The whole pass. */
typedef struct qd_backward {
    qd_forward f;
    qd_run forward_run, run; /* without and with taps */
    qdisp_weight_grad weight;
    void *user;
    float **residuals; /* [n_layer + 2] what every block read; then the decoder's last and the encoder's last output */
    float *dh, *dmemory;
    qd_lane lanes[QD_LANES];
    size_t n_lanes;
    size_t expert; /* whose linear maps get gradients where the stage is of 'E' */
    qdisp_status (*task)(const qd_back *k);
} qd_backward;
/* task for every chunk, by lanes, in block f.layer: b.h is residuals[f.layer]. where: 'L', 'M' or 'E': the linear maps
 * that get gradients. */
qdisp_status qd_backward_stage(qd_backward *w, char where, qdisp_status (*task)(const qd_back *k));
/* Sums the lanes' gradients of a slot and tells the caller. */
qdisp_status qd_backward_tell(qd_backward *w, size_t layer, qd_slot slot);
/* A block with experts. */
qdisp_status qd_experts_back(qd_backward *w);
/* From the losses to dh of the last residual stream. */
qdisp_status qd_head_back(qd_backward *w);

#endif
