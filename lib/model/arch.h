/* arch.h - what an architecture is: a row of archs.inc and one file arch_NAME.c. */
#ifndef QD_ARCH_H
#define QD_ARCH_H

#include <jansson.h>

#include "model/model.h"

/* A tensor that a model must have unless its config says that the slot is absent. In name '#' stands for the block
 * (counted within its stack) and '%' for the expert; '|' parts names, of which the first that the file has counts.
 * dims, a letter a dimension: 'e' n_embd, 'w' n_word_embd, 'v' n_vocab, 'q' n_head head_dim, 'k' n_kv_head head_dim,
 * 'a' q and twice k, 'd' head_dim, 'f' n_ff, 'g' 2 n_ff, 'x' n_ff_expert, 'n' n_expert,
 * 'p' positions with their offset, 't' n_types, 'b' n_buckets, 'h' n_head.
 * transposed: the file has the dimensions the other way round. encoder: of the encoder's blocks of an encoder-decoder
 * model (else the decoder's, or those of the only stack). */
typedef struct qd_tensor_spec {
    qd_slot slot;
    const char *name;
    const char *dims;
    bool transposed, encoder;
} qd_tensor_spec;

typedef struct qd_arch {
    const char *name;
    qdisp_model_kind kind;
    const char *const *class_names; /* NULL-ended: what config.json calls it */
    const char *const *model_types; /* NULL-ended: config.json's model_type where there is no class; NULL: the name */
    const char *prefix;             /* of tensor names, which a checkpoint of the bare model leaves out */
    const char *head_name;          /* of a head of its own, without prefix; NULL: it is one of specs */
    /* In the order of the forward pass; those of the blocks of a stack stand together. Names without prefix; one that
     * begins with '/' never has it. */
    const qd_tensor_spec *specs;
    size_t n_specs;
    /* NULL-ended or NULL: tensors that may be there and are left out (buffers, other heads, copies of tied ones);
     * '#' is any number, a final '*' anything. */
    const char *const *ignored;
    /* Config keys to sizes and traits; out is zero before. path is for messages. */
    qdisp_status (*read_config)(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *out);
} qd_arch;

/* The architecture that a config names. Errors: EUNSUPPORTED (the name), EFORMAT. */
qdisp_status qd_arch_find(qdisp_ctx *ctx, const char *path, const json_t *json, const qd_arch **out);
/* By name, or NULL. */
const qd_arch *qd_arch_named(const char *name);

/* --- config.c: members of a config.json, each checked before anyone uses it. Keys may have another name (NULL: none).
 * --- */

/* Where a config is being read; errors stick: after the first failure readers change nothing, so that a read_config
 * needs no ladder of checks and returns status. */
typedef struct qd_config {
    qdisp_ctx *ctx;
    const char *path;
    const json_t *json;
    qdisp_status status;
} qd_config;

qdisp_status qd_config_fail(qd_config *c, qdisp_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* 1..max; must be there. */
size_t qd_config_size(qd_config *c, const char *key, const char *alias, size_t max);
/* The same with a default for an absent or null member; a minimum of 0. */
size_t qd_config_size_or(qd_config *c, const char *key, const char *alias, size_t max, size_t absent);
float qd_config_epsilon(qd_config *c, const char *key); /* 0 < x < 1; must be there */
/* A finite number in [low, high]; absent or null: the default. */
double qd_config_number_or(qd_config *c, const char *key, double low, double high, double absent);
bool qd_config_bool_or(qd_config *c, const char *key, bool absent);
/* A string, NULL if absent or null; owned by the json. */
const char *qd_config_string(qd_config *c, const char *key);
/* A token id, -1 for null or absent; a list gives its first. */
int32_t qd_config_id(qd_config *c, const char *key, size_t n_vocab);
/* An activation by the name that transformers gives it ("gelu_new", "silu" ...); must be there. */
qd_act qd_config_act(qd_config *c, const char *key);
qd_act qd_config_act_or(qd_config *c, const char *key, const char *absent);
qd_act qd_config_act_named(qd_config *c, const char *key, const char *name); /* key: for messages */
/* Numbers of head_dim, n_kv_head and so on that depend on each other: n_embd, n_head, n_kv_head, head_dim must be set
 * (0: n_kv_head = n_head, head_dim = n_embd / n_head). Checks that they divide. */
void qd_config_heads(qd_config *c, qd_model_config *m);
/* bos_token_id, eos_token_id and tie_word_embeddings (absent: tied). n_vocab must be set. */
void qd_config_tokens(qd_config *c, qd_model_config *m, bool tied);
/* Rotary positions: rope_parameters or rope_scaling, rope_theta (older configs), partial rotary factor. part: share of
 * head_dim that turns, out->theta (0: 10000): the base, if the config does not say. head_dim must be
 * set. layer_type: the member of rope_parameters ("full_attention"); NULL for a model with one kind. */
void qd_config_rope(qd_config *c, const qd_model_config *m, double part, const char *layer_type, qd_rope *out);
/* layer_types, or sliding_window_pattern: marks is_local; period 0: all layers, n: all but every n-th. */
void qd_config_local_layers(qd_config *c, qd_model_config *m, size_t period);

/* sliding_window: absent gives the default, null no window (0). */
size_t qd_config_window(qd_config *c, size_t absent);

/* Upper limits of config sizes: beyond any model known, and small enough that no product of three of them passes 63
 * bits. */
#define QD_MAX_EMBD 65536
#define QD_MAX_FF (1 << 20)
#define QD_MAX_VOCAB ((size_t)1 << 24)
#define QD_MAX_POSITIONS ((size_t)1 << 30)
#define QD_MAX_EXPERTS 1024

/* --- what architectures share with their kin: tables of tensors, and the part of a read_config that is alike --- */

/* arch_llama.c. Without rotary positions and tokens, which differ; m->head_dim is the default of head_dim. All slots
 * that Llama itself does not have are marked absent. */
#define QD_N_LLAMA_SPECS 26
extern const qd_tensor_spec qd_llama_specs[QD_N_LLAMA_SPECS];
extern const char *const qd_llama_ignored[];
void qd_config_llama(qd_config *c, qd_model_config *m, const char *act_key);
#define QD_LLAMA_TENSORS                                                                                      \
    .prefix = "model.", .head_name = "lm_head.weight", .specs = qd_llama_specs, .n_specs = QD_N_LLAMA_SPECS, \
    .ignored = qd_llama_ignored
/* arch_qwen2.c: use_sliding_window and what belongs to it. */
void qd_config_qwen_window(qd_config *c, qd_model_config *m);
/* arch_gemma.c; with tokens. */
void qd_config_gemma(qd_config *c, qd_model_config *m, const char *act_key);
/* arch_gemma2.c; the caps where the config does not say (0: none). */
#define QD_N_GEMMA2_SPECS 19
extern const qd_tensor_spec qd_gemma2_specs[QD_N_GEMMA2_SPECS];
void qd_config_gemma2(qd_config *c, qd_model_config *m, double attn_softcap, double logit_softcap);
#define QD_GEMMA2_TENSORS                                                                                       \
    .prefix = "model.", .head_name = "lm_head.weight", .specs = qd_gemma2_specs, .n_specs = QD_N_GEMMA2_SPECS, \
    .ignored = qd_llama_ignored
/* arch_bert.c; without the head's activation. position_offset: row of the first position. */
#define QD_N_BERT_SPECS 26
extern const qd_tensor_spec qd_bert_specs[QD_N_BERT_SPECS];
void qd_config_bert(qd_config *c, qd_model_config *m, size_t position_offset);

#endif
