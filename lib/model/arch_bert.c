/* arch_bert.c - BERT (Devlin et al. 2019), also multilingual: an encoder with the norm after each half of a block, and
 * a head that predicts masked tokens. */
#include <string.h>

#include "model/arch.h"

static const char *const class_names[] = {"BertForMaskedLM", "BertForPreTraining", NULL};

/* Also RoBERTa's, whose head has other names. The first checkpoints call weight and bias of norms gamma and beta. */
const qd_tensor_spec qd_bert_specs[] = {
    {.slot = QD_SLOT_EMBED, .name = "embeddings.word_embeddings.weight", .dims = "ve"},
    {.slot = QD_SLOT_POSITION, .name = "embeddings.position_embeddings.weight", .dims = "pe"},
    {.slot = QD_SLOT_TYPE, .name = "embeddings.token_type_embeddings.weight", .dims = "te"},
    {.slot = QD_SLOT_EMBED_NORM, .name = "embeddings.LayerNorm.weight|embeddings.LayerNorm.gamma", .dims = "e"},
    {.slot = QD_SLOT_EMBED_NORM_BIAS, .name = "embeddings.LayerNorm.bias|embeddings.LayerNorm.beta", .dims = "e"},
    {.slot = QD_SLOT_ATTN_Q, .name = "encoder.layer.#.attention.self.query.weight", .dims = "qe"},
    {.slot = QD_SLOT_ATTN_Q_BIAS, .name = "encoder.layer.#.attention.self.query.bias", .dims = "q"},
    {.slot = QD_SLOT_ATTN_K, .name = "encoder.layer.#.attention.self.key.weight", .dims = "ke"},
    {.slot = QD_SLOT_ATTN_K_BIAS, .name = "encoder.layer.#.attention.self.key.bias", .dims = "k"},
    {.slot = QD_SLOT_ATTN_V, .name = "encoder.layer.#.attention.self.value.weight", .dims = "ke"},
    {.slot = QD_SLOT_ATTN_V_BIAS, .name = "encoder.layer.#.attention.self.value.bias", .dims = "k"},
    {.slot = QD_SLOT_ATTN_OUT, .name = "encoder.layer.#.attention.output.dense.weight", .dims = "eq"},
    {.slot = QD_SLOT_ATTN_OUT_BIAS, .name = "encoder.layer.#.attention.output.dense.bias", .dims = "e"},
    {.slot = QD_SLOT_ATTN_POST_NORM,
     .name = "encoder.layer.#.attention.output.LayerNorm.weight|encoder.layer.#.attention.output.LayerNorm.gamma",
     .dims = "e"},
    {.slot = QD_SLOT_ATTN_POST_NORM_BIAS,
     .name = "encoder.layer.#.attention.output.LayerNorm.bias|encoder.layer.#.attention.output.LayerNorm.beta",
     .dims = "e"},
    {.slot = QD_SLOT_MLP_UP, .name = "encoder.layer.#.intermediate.dense.weight", .dims = "fe"},
    {.slot = QD_SLOT_MLP_UP_BIAS, .name = "encoder.layer.#.intermediate.dense.bias", .dims = "f"},
    {.slot = QD_SLOT_MLP_DOWN, .name = "encoder.layer.#.output.dense.weight", .dims = "ef"},
    {.slot = QD_SLOT_MLP_DOWN_BIAS, .name = "encoder.layer.#.output.dense.bias", .dims = "e"},
    {.slot = QD_SLOT_MLP_POST_NORM,
     .name = "encoder.layer.#.output.LayerNorm.weight|encoder.layer.#.output.LayerNorm.gamma", .dims = "e"},
    {.slot = QD_SLOT_MLP_POST_NORM_BIAS,
     .name = "encoder.layer.#.output.LayerNorm.bias|encoder.layer.#.output.LayerNorm.beta", .dims = "e"},
    {.slot = QD_SLOT_HEAD_DENSE, .name = "/cls.predictions.transform.dense.weight|/lm_head.dense.weight", .dims = "ee"},
    {.slot = QD_SLOT_HEAD_DENSE_BIAS, .name = "/cls.predictions.transform.dense.bias|/lm_head.dense.bias", .dims = "e"},
    {.slot = QD_SLOT_HEAD_NORM,
     .name = "/cls.predictions.transform.LayerNorm.weight|/cls.predictions.transform.LayerNorm.gamma|"
             "/lm_head.layer_norm.weight",
     .dims = "e"},
    {.slot = QD_SLOT_HEAD_NORM_BIAS,
     .name = "/cls.predictions.transform.LayerNorm.bias|/cls.predictions.transform.LayerNorm.beta|"
             "/lm_head.layer_norm.bias",
     .dims = "e"},
    {.slot = QD_SLOT_HEAD_BIAS, .name = "/cls.predictions.bias|/lm_head.bias", .dims = "v"},
};
_Static_assert(sizeof qd_bert_specs / sizeof *qd_bert_specs == QD_N_BERT_SPECS, "arch.h says how many there are");

/* The pooler, the head of the next sentence, and copies: of the tied head's weight and of its bias. */
static const char *const ignored[] = {"embeddings.position_ids",   "pooler.dense.weight",
                                      "pooler.dense.bias",         "cls.seq_relationship.*",
                                      "cls.predictions.decoder.bias", NULL};

void qd_config_bert(qd_config *c, qd_model_config *m, size_t position_offset) {
    m->n_embd = qd_config_size(c, "hidden_size", NULL, QD_MAX_EMBD);
    m->n_layer = qd_config_size(c, "num_hidden_layers", NULL, QD_MAX_LAYERS);
    m->n_head = qd_config_size(c, "num_attention_heads", NULL, QD_MAX_EMBD);
    m->n_ff = qd_config_size(c, "intermediate_size", NULL, QD_MAX_FF);
    m->n_vocab = qd_config_size(c, "vocab_size", NULL, QD_MAX_VOCAB);
    m->n_types = qd_config_size(c, "type_vocab_size", NULL, QD_MAX_EMBD);
    qd_config_heads(c, m);
    size_t n_rows = qd_config_size(c, "max_position_embeddings", NULL, QD_MAX_POSITIONS);
    const char *type = qd_config_string(c, "position_embedding_type");
    if (n_rows <= position_offset) {
        qd_config_fail(c, QDISP_EFORMAT, "max_position_embeddings %zu leaves no position", n_rows);
    } else if (type && strcmp(type, "absolute")) {
        qd_config_fail(c, QDISP_EUNSUPPORTED, "position_embedding_type '%.60s' is not supported", type);
    }
    m->n_positions = n_rows - position_offset;
    m->position_offset = position_offset;
    m->position = QD_POSITION_LEARNED;
    m->norm_place = QD_NORM_POST;
    m->epsilon = qd_config_epsilon(c, "layer_norm_eps");
    m->act = qd_config_act(c, "hidden_act");
    qd_config_tokens(c, m, true);
}

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    qd_config_bert(&c, m, 0);
    m->head_act = m->act;
    return c.status;
}

extern const qd_arch qd_arch_bert;
const qd_arch qd_arch_bert = {
    .name = "bert",
    .kind = QDISP_MODEL_MASKED,
    .class_names = class_names,
    .prefix = "bert.",
    .head_name = "cls.predictions.decoder.weight",
    .specs = qd_bert_specs,
    .n_specs = QD_N_BERT_SPECS,
    .ignored = ignored,
    .read_config = read_config,
};
