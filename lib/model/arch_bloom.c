/* arch_bloom.c - BLOOM (BigScience 2022): ALiBi, q, k and v fused head by head, a norm after the embedding, tied head.
 * The order of operations follows transformers' modeling_bloom.py. */
#include "model/arch.h"

static const char *const class_names[] = {"BloomForCausalLM", "BloomModel", NULL};

static const qd_tensor_spec specs[] = {
    {.slot = QD_SLOT_EMBED, .name = "word_embeddings.weight", .dims = "ve"},
    {.slot = QD_SLOT_EMBED_NORM, .name = "word_embeddings_layernorm.weight", .dims = "e"},
    {.slot = QD_SLOT_EMBED_NORM_BIAS, .name = "word_embeddings_layernorm.bias", .dims = "e"},
    {.slot = QD_SLOT_ATTN_NORM, .name = "h.#.input_layernorm.weight", .dims = "e"},
    {.slot = QD_SLOT_ATTN_NORM_BIAS, .name = "h.#.input_layernorm.bias", .dims = "e"},
    {.slot = QD_SLOT_ATTN_QKV, .name = "h.#.self_attention.query_key_value.weight", .dims = "ae"},
    {.slot = QD_SLOT_ATTN_QKV_BIAS, .name = "h.#.self_attention.query_key_value.bias", .dims = "a"},
    {.slot = QD_SLOT_ATTN_OUT, .name = "h.#.self_attention.dense.weight", .dims = "eq"},
    {.slot = QD_SLOT_ATTN_OUT_BIAS, .name = "h.#.self_attention.dense.bias", .dims = "e"},
    {.slot = QD_SLOT_MLP_NORM, .name = "h.#.post_attention_layernorm.weight", .dims = "e"},
    {.slot = QD_SLOT_MLP_NORM_BIAS, .name = "h.#.post_attention_layernorm.bias", .dims = "e"},
    {.slot = QD_SLOT_MLP_UP, .name = "h.#.mlp.dense_h_to_4h.weight", .dims = "fe"},
    {.slot = QD_SLOT_MLP_UP_BIAS, .name = "h.#.mlp.dense_h_to_4h.bias", .dims = "f"},
    {.slot = QD_SLOT_MLP_DOWN, .name = "h.#.mlp.dense_4h_to_h.weight", .dims = "ef"},
    {.slot = QD_SLOT_MLP_DOWN_BIAS, .name = "h.#.mlp.dense_4h_to_h.bias", .dims = "e"},
    {.slot = QD_SLOT_NORM, .name = "ln_f.weight", .dims = "e"},
    {.slot = QD_SLOT_NORM_BIAS, .name = "ln_f.bias", .dims = "e"},
};

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    /* The first BLOOM checkpoints say n_embed, later ones hidden_size. */
    m->n_embd = qd_config_size(&c, "hidden_size", "n_embed", QD_MAX_EMBD);
    m->n_layer = qd_config_size(&c, "n_layer", "num_hidden_layers", QD_MAX_LAYERS);
    m->n_head = qd_config_size(&c, "n_head", "num_attention_heads", QD_MAX_EMBD);
    m->n_vocab = qd_config_size(&c, "vocab_size", NULL, QD_MAX_VOCAB);
    qd_config_heads(&c, m);
    m->n_ff = 4 * m->n_embd;
    m->act = QD_ACT_GELU_TANH;
    m->position = QD_POSITION_ALIBI;
    m->qkv_layout = QD_QKV_GROUPED;
    m->epsilon = qd_config_epsilon(&c, "layer_norm_epsilon");
    m->residual_normed = qd_config_bool_or(&c, "apply_residual_connection_post_layernorm", false);
    qd_config_tokens(&c, m, true);
    return c.status;
}

extern const qd_arch qd_arch_bloom;
const qd_arch qd_arch_bloom = {
    .name = "bloom",
    .kind = QDISP_MODEL_DECODER,
    .class_names = class_names,
    .prefix = "transformer.",
    .head_name = "lm_head.weight",
    .specs = specs,
    .n_specs = sizeof specs / sizeof *specs,
    .read_config = read_config,
};
