/* arch.h - what an architecture is: a row of archs.inc and one file arch_NAME.c. */
#ifndef QD_ARCH_H
#define QD_ARCH_H

#include <jansson.h>

#include "kernels/kernels.h"
#include "model/model.h"

/* A tensor that a model must have. '#' in name stands for the layer. dims: what each dimension is, 'e' n_embd,
 * 'f' n_ff, 'q' 3 n_embd, 'v' n_vocab. */
typedef struct qd_tensor_spec {
    qd_slot slot;
    const char *name;
    const char *dims;
} qd_tensor_spec;

/* One chunk in one layer, as a block function sees it: F32 weights, the residual stream and scratch. */
typedef struct qd_block {
    const qdisp_model *model;
    const qd_kernels *kernels;
    const float *const *weights; /* [QD_N_SLOTS] of this layer */
    const qd_run *run;
    const qd_chunk *chunk;
    const size_t *starts; /* of the whole run; the chunk's sequences are chunk->i_seq .. */
    size_t i_layer;
    unsigned i_worker;
    float *h;      /* [n_rows, n_embd], in and out */
    float *normed; /* [n_rows, n_embd] */
    float *mixed;  /* [n_rows, n_embd] */
    float *wide;   /* [n_rows, max(3 n_embd, n_ff)] */
    float *scores; /* [QD_QUERY_ROWS, longest sequence] */
} qd_block;

typedef struct qd_arch {
    const char *name;
    const char *const *class_names; /* NULL-ended: what config.json calls it */
    const char *prefix;             /* of tensor names, which a checkpoint of the bare model leaves out */
    const char *head_name;          /* without prefix */
    const qd_tensor_spec *specs;    /* in the order of the forward pass; those of L slots stand together */
    size_t n_specs;
    /* Config keys to sizes. path is for messages. */
    qdisp_status (*read_config)(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *out);
    qdisp_status (*block)(const qd_block *b);
} qd_arch;

/* The architecture that a config names. Errors: EUNSUPPORTED (the name), EFORMAT. */
qdisp_status qd_arch_find(qdisp_ctx *ctx, const char *path, const json_t *json, const qd_arch **out);

/* Members of a config, under a key or its other name (may be NULL). The first two must be there. */
qdisp_status qd_config_size(qdisp_ctx *ctx, const char *path, const json_t *json, const char *key, const char *alias,
                            size_t max, size_t *out); /* 1..max */
qdisp_status qd_config_epsilon(qdisp_ctx *ctx, const char *path, const json_t *json, const char *key, float *out);
qdisp_status qd_config_bool(qdisp_ctx *ctx, const char *path, const json_t *json, const char *key, bool absent,
                            bool *out);
/* A token id, -1 for null; a list gives its first. */
qdisp_status qd_config_id(qdisp_ctx *ctx, const char *path, const json_t *json, const char *key, size_t n_vocab,
                          int32_t *out);

/* What blocks are made of (layers.c). */
#define QD_QUERY_ROWS 64 /* rows of attention scores at a time */
void qd_layer_norm(const qd_block *b, const float *x, qd_slot weight, float *out);
/* out = x W^T + bias, or without bias; tells the tap. x has n_in columns. */
qdisp_status qd_linear_run(const qd_block *b, qd_slot weight, const float *x, bool with_bias, float *out);
/* Causal attention with ALiBi over qkv [n_rows, n_head, 3, head_dim] in b->wide, to b->mixed. */
void qd_attention_alibi(const qd_block *b);
void qd_rows_add(float *into, const float *from, size_t n);

#endif
