/* experts.h - the mixture of experts of a batch under way; experts.c goes forward, experts_grad.c back. */
#ifndef QD_EXPERTS_H
#define QD_EXPERTS_H

#include "model/run.h"

typedef struct qd_experts {
    float *input;     /* [batch_rows, n_embd] what the network reads */
    float *output;    /* the same: the weighted sum of the experts; on the way back the gradient of input */
    uint32_t *chosen; /* [batch_rows, n_expert_used] */
    float *shares;    /* the same */
    float *probs;     /* [batch_rows, n_expert] of the router; these and dshares on the way back only */
    float *dshares;   /* [batch_rows, n_expert_used] */
    float *matrices[3]; /* gate, up, down of the expert under way, widened */
    const float *weights[3];
    size_t expert;
} qd_experts;

/* Row of the batch that a block's first row is. */
size_t qd_experts_row(const qd_forward *f, const qd_block *b);
/* The router: probabilities for input's rows to probs [n_rows, n_expert], the experts that it picks, their shares. */
qdisp_status qd_experts_route(const qd_forward *f, const qd_block *b, const float *input, float *probs);
/* Widens the matrices of expert f->experts->expert. */
qdisp_status qd_experts_widen(qd_forward *f);

/* The rows of a chunk that go to the expert. They lie in b->scores, which nothing else uses meanwhile. */
typedef struct qd_expert_rows {
    size_t n;
    size_t *rows;   /* [n] of the chunk */
    size_t *places; /* [n] in chosen, shares and dshares */
} qd_expert_rows;
/* Gathers their inputs in b->a.normed and runs the expert on them: b->a.gate, up, act and mlp are its rows. */
qdisp_status qd_experts_network(const qd_forward *f, const qd_block *b, qd_expert_rows *out);

#endif
