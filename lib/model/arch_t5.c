/* arch_t5.c - T5 (Raffel et al. 2020) and mT5 (Xue et al. 2021): encoder and decoder, positions by buckets of distance,
 * scores that are not scaled. */
#include <math.h>
#include <string.h>

#include "model/arch.h"

static const char *const class_names[] = {"T5ForConditionalGeneration", "MT5ForConditionalGeneration", NULL};
static const char *const model_types[] = {"mt5", NULL};

#define ENCODER .encoder = true
static const qd_tensor_spec specs[] = {
    {.slot = QD_SLOT_EMBED, .name = "shared.weight|encoder.embed_tokens.weight", .dims = "ve"},
    {.slot = QD_SLOT_ENCODER_RELATIVE, .name = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
     .dims = "bh"},
    {.slot = QD_SLOT_ATTN_NORM, .name = "encoder.block.#.layer.0.layer_norm.weight", .dims = "e", ENCODER},
    {.slot = QD_SLOT_ATTN_Q, .name = "encoder.block.#.layer.0.SelfAttention.q.weight", .dims = "qe", ENCODER},
    {.slot = QD_SLOT_ATTN_K, .name = "encoder.block.#.layer.0.SelfAttention.k.weight", .dims = "ke", ENCODER},
    {.slot = QD_SLOT_ATTN_V, .name = "encoder.block.#.layer.0.SelfAttention.v.weight", .dims = "ke", ENCODER},
    {.slot = QD_SLOT_ATTN_OUT, .name = "encoder.block.#.layer.0.SelfAttention.o.weight", .dims = "eq", ENCODER},
    {.slot = QD_SLOT_MLP_NORM, .name = "encoder.block.#.layer.1.layer_norm.weight", .dims = "e", ENCODER},
    {.slot = QD_SLOT_MLP_GATE, .name = "encoder.block.#.layer.1.DenseReluDense.wi_0.weight", .dims = "fe", ENCODER},
    {.slot = QD_SLOT_MLP_UP,
     .name = "encoder.block.#.layer.1.DenseReluDense.wi.weight|encoder.block.#.layer.1.DenseReluDense.wi_1.weight",
     .dims = "fe", ENCODER},
    {.slot = QD_SLOT_MLP_DOWN, .name = "encoder.block.#.layer.1.DenseReluDense.wo.weight", .dims = "ef", ENCODER},
    {.slot = QD_SLOT_ENCODER_NORM, .name = "encoder.final_layer_norm.weight", .dims = "e"},
    {.slot = QD_SLOT_RELATIVE, .name = "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
     .dims = "bh"},
    {.slot = QD_SLOT_ATTN_NORM, .name = "decoder.block.#.layer.0.layer_norm.weight", .dims = "e"},
    {.slot = QD_SLOT_ATTN_Q, .name = "decoder.block.#.layer.0.SelfAttention.q.weight", .dims = "qe"},
    {.slot = QD_SLOT_ATTN_K, .name = "decoder.block.#.layer.0.SelfAttention.k.weight", .dims = "ke"},
    {.slot = QD_SLOT_ATTN_V, .name = "decoder.block.#.layer.0.SelfAttention.v.weight", .dims = "ke"},
    {.slot = QD_SLOT_ATTN_OUT, .name = "decoder.block.#.layer.0.SelfAttention.o.weight", .dims = "eq"},
    {.slot = QD_SLOT_CROSS_NORM, .name = "decoder.block.#.layer.1.layer_norm.weight", .dims = "e"},
    {.slot = QD_SLOT_CROSS_Q, .name = "decoder.block.#.layer.1.EncDecAttention.q.weight", .dims = "qe"},
    {.slot = QD_SLOT_CROSS_K, .name = "decoder.block.#.layer.1.EncDecAttention.k.weight", .dims = "ke"},
    {.slot = QD_SLOT_CROSS_V, .name = "decoder.block.#.layer.1.EncDecAttention.v.weight", .dims = "ke"},
    {.slot = QD_SLOT_CROSS_OUT, .name = "decoder.block.#.layer.1.EncDecAttention.o.weight", .dims = "eq"},
    {.slot = QD_SLOT_MLP_NORM, .name = "decoder.block.#.layer.2.layer_norm.weight", .dims = "e"},
    {.slot = QD_SLOT_MLP_GATE, .name = "decoder.block.#.layer.2.DenseReluDense.wi_0.weight", .dims = "fe"},
    {.slot = QD_SLOT_MLP_UP,
     .name = "decoder.block.#.layer.2.DenseReluDense.wi.weight|decoder.block.#.layer.2.DenseReluDense.wi_1.weight",
     .dims = "fe"},
    {.slot = QD_SLOT_MLP_DOWN, .name = "decoder.block.#.layer.2.DenseReluDense.wo.weight", .dims = "ef"},
    {.slot = QD_SLOT_NORM, .name = "decoder.final_layer_norm.weight", .dims = "e"},
};

/* Copies of the embedding, and a table of the first checkpoints that no block uses. */
static const char *const ignored[] = {
    "encoder.embed_tokens.weight", "decoder.embed_tokens.weight",
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight", NULL};

/* "relu", "gated-gelu" (which is the approximation) and so on. */
static void read_act(qd_config *c, qd_model_config *m) {
    const char *text = qd_config_string(c, "feed_forward_proj");
    if (!text) text = "relu";
    m->gated = !strncmp(text, "gated-", 6);
    if (m->gated) text += 6;
    m->act = m->gated && !strcmp(text, "gelu") ? QD_ACT_GELU_TANH : qd_config_act_named(c, "feed_forward_proj", text);
    m->absent[QD_SLOT_MLP_GATE] = !m->gated;
}

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    m->n_embd = qd_config_size(&c, "d_model", "hidden_size", QD_MAX_EMBD);
    m->n_encoder_layer = qd_config_size(&c, "num_layers", "num_hidden_layers", QD_MAX_LAYERS / 2);
    m->n_layer = m->n_encoder_layer +
                 qd_config_size_or(&c, "num_decoder_layers", NULL, QD_MAX_LAYERS / 2, m->n_encoder_layer);
    m->n_head = qd_config_size(&c, "num_heads", "num_attention_heads", QD_MAX_EMBD);
    m->head_dim = qd_config_size(&c, "d_kv", "head_dim", QD_MAX_EMBD);
    m->n_ff = qd_config_size(&c, "d_ff", NULL, QD_MAX_FF);
    m->n_vocab = qd_config_size(&c, "vocab_size", NULL, QD_MAX_VOCAB);
    qd_config_heads(&c, m);
    m->rms = true;
    m->epsilon = qd_config_epsilon(&c, "layer_norm_epsilon");
    read_act(&c, m);
    m->position = QD_POSITION_RELATIVE;
    m->n_buckets = qd_config_size_or(&c, "relative_attention_num_buckets", NULL, 1 << 16, 32);
    m->max_distance = qd_config_size_or(&c, "relative_attention_max_distance", NULL, QD_MAX_POSITIONS, 128);
    if (m->n_buckets < 4 || m->max_distance <= m->n_buckets / 2) {
        qd_config_fail(&c, QDISP_EFORMAT, "%zu buckets of relative positions up to %zu make no sense", m->n_buckets,
                       m->max_distance);
    }
    m->attn_scale = 1;
    qd_config_tokens(&c, m, true);
    /* What a T5 with a head of its own does without; mT5's always is. */
    const char *type = qd_config_string(&c, "model_type");
    bool scaled = qd_config_bool_or(&c, "scale_decoder_outputs", m->tied_head && !(type && !strcmp(type, "mt5")));
    if (scaled) m->head_scale = 1 / sqrtf((float)m->n_embd);
    if (m->decoder_start_id < 0) qd_config_fail(&c, QDISP_EFORMAT, "decoder_start_token_id is missing");
    return c.status;
}

extern const qd_arch qd_arch_t5;
const qd_arch qd_arch_t5 = {
    .name = "t5",
    .kind = QDISP_MODEL_ENCODER_DECODER,
    .class_names = class_names,
    .model_types = model_types,
    .prefix = "",
    .head_name = "lm_head.weight",
    .specs = specs,
    .n_specs = sizeof specs / sizeof *specs,
    .ignored = ignored,
    .read_config = read_config,
};
