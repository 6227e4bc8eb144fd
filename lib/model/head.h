/* head.h - the head of a batch under way; head.c goes forward, head_grad.c back. */
#ifndef QD_HEAD_H
#define QD_HEAD_H

#include "model/run.h"

typedef struct qd_head {
    float *tile;         /* [QD_HEAD_TILE, n_in] loaded */
    const float *weight; /* the tile's */
    const float *bias;   /* [n_vocab] or NULL */
    size_t *rows;        /* [batch_rows] row of its chunk that an input row is of; grouped by chunk */
    size_t *n_rows;      /* [chunks of the batch] */
    qd_lse *lse;         /* [batch_rows] */
    float *target;       /* [batch_rows] logit of the target */
    size_t first, n;     /* the tile: vocabulary rows */
    const float *dx;     /* backward pass: gradient of the head's input */
} qd_head;

/* Bias and cap of logits [n, head->n] at a row stride. */
void qd_head_finish(const qd_forward *f, float *logits, size_t n, size_t ld);

#endif
