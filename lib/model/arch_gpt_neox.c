/* arch_gpt_neox.c - GPT-NeoX (Black et al. 2022) and Pythia: a part of each head turns, attention and feed-forward
 * network beside each other, each with its norm. */
#include "model/arch.h"

static const char *const class_names[] = {"GPTNeoXForCausalLM", "GPTNeoXModel", NULL};

static const qd_tensor_spec specs[] = {
    {.slot = QD_SLOT_EMBED, .name = "embed_in.weight", .dims = "ve"},
    {.slot = QD_SLOT_ATTN_NORM, .name = "layers.#.input_layernorm.weight", .dims = "e"},
    {.slot = QD_SLOT_ATTN_NORM_BIAS, .name = "layers.#.input_layernorm.bias", .dims = "e"},
    {.slot = QD_SLOT_ATTN_QKV, .name = "layers.#.attention.query_key_value.weight", .dims = "ae"},
    {.slot = QD_SLOT_ATTN_QKV_BIAS, .name = "layers.#.attention.query_key_value.bias", .dims = "a"},
    {.slot = QD_SLOT_ATTN_OUT, .name = "layers.#.attention.dense.weight", .dims = "eq"},
    {.slot = QD_SLOT_ATTN_OUT_BIAS, .name = "layers.#.attention.dense.bias", .dims = "e"},
    {.slot = QD_SLOT_MLP_NORM, .name = "layers.#.post_attention_layernorm.weight", .dims = "e"},
    {.slot = QD_SLOT_MLP_NORM_BIAS, .name = "layers.#.post_attention_layernorm.bias", .dims = "e"},
    {.slot = QD_SLOT_MLP_UP, .name = "layers.#.mlp.dense_h_to_4h.weight", .dims = "fe"},
    {.slot = QD_SLOT_MLP_UP_BIAS, .name = "layers.#.mlp.dense_h_to_4h.bias", .dims = "f"},
    {.slot = QD_SLOT_MLP_DOWN, .name = "layers.#.mlp.dense_4h_to_h.weight", .dims = "ef"},
    {.slot = QD_SLOT_MLP_DOWN_BIAS, .name = "layers.#.mlp.dense_4h_to_h.bias", .dims = "e"},
    {.slot = QD_SLOT_NORM, .name = "final_layer_norm.weight", .dims = "e"},
    {.slot = QD_SLOT_NORM_BIAS, .name = "final_layer_norm.bias", .dims = "e"},
};

/* Buffers of older checkpoints: the causal mask, the frequencies. */
static const char *const ignored[] = {"layers.#.attention.bias", "layers.#.attention.masked_bias",
                                      "layers.#.attention.rotary_emb.inv_freq", NULL};

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    m->n_embd = qd_config_size(&c, "hidden_size", NULL, QD_MAX_EMBD);
    m->n_layer = qd_config_size(&c, "num_hidden_layers", NULL, QD_MAX_LAYERS);
    m->n_head = qd_config_size(&c, "num_attention_heads", NULL, QD_MAX_EMBD);
    m->n_ff = qd_config_size(&c, "intermediate_size", NULL, QD_MAX_FF);
    m->n_vocab = qd_config_size(&c, "vocab_size", NULL, QD_MAX_VOCAB);
    qd_config_heads(&c, m);
    m->epsilon = qd_config_epsilon(&c, "layer_norm_eps");
    m->act = qd_config_act(&c, "hidden_act");
    m->qkv_layout = QD_QKV_GROUPED;
    m->parallel = qd_config_bool_or(&c, "use_parallel_residual", true);
    m->position = QD_POSITION_ROPE;
    qd_config_rope(&c, m, 0.25, NULL, &m->rope[0]);
    bool bias = qd_config_bool_or(&c, "attention_bias", true);
    m->absent[QD_SLOT_ATTN_QKV_BIAS] = m->absent[QD_SLOT_ATTN_OUT_BIAS] = !bias;
    qd_config_tokens(&c, m, false);
    return c.status;
}

extern const qd_arch qd_arch_gpt_neox;
const qd_arch qd_arch_gpt_neox = {
    .name = "gpt_neox",
    .kind = QDISP_MODEL_DECODER,
    .class_names = class_names,
    .prefix = "gpt_neox.",
    .head_name = "embed_out.weight|lm_head.weight",
    .specs = specs,
    .n_specs = sizeof specs / sizeof *specs,
    .ignored = ignored,
    .read_config = read_config,
};
