/* arch_llama.c - Llama (Touvron et al. 2023) and what is built alike: rms norm, rotary positions, grouped keys, gated
 * feed-forward network. */
#include "model/arch.h"

static const char *const class_names[] = {"LlamaForCausalLM", "LlamaModel", NULL};

static const qd_tensor_spec specs[] = {
    {.slot = QD_SLOT_EMBED, .name = "embed_tokens.weight", .dims = "ve"},
    {.slot = QD_SLOT_ATTN_NORM, .name = "layers.#.input_layernorm.weight", .dims = "e"},
    {.slot = QD_SLOT_ATTN_Q, .name = "layers.#.self_attn.q_proj.weight", .dims = "qe"},
    {.slot = QD_SLOT_ATTN_Q_BIAS, .name = "layers.#.self_attn.q_proj.bias", .dims = "q"},
    {.slot = QD_SLOT_ATTN_K, .name = "layers.#.self_attn.k_proj.weight", .dims = "ke"},
    {.slot = QD_SLOT_ATTN_K_BIAS, .name = "layers.#.self_attn.k_proj.bias", .dims = "k"},
    {.slot = QD_SLOT_ATTN_V, .name = "layers.#.self_attn.v_proj.weight", .dims = "ke"},
    {.slot = QD_SLOT_ATTN_V_BIAS, .name = "layers.#.self_attn.v_proj.bias", .dims = "k"},
    {.slot = QD_SLOT_ATTN_OUT, .name = "layers.#.self_attn.o_proj.weight", .dims = "eq"},
    {.slot = QD_SLOT_ATTN_OUT_BIAS, .name = "layers.#.self_attn.o_proj.bias", .dims = "e"},
    {.slot = QD_SLOT_MLP_NORM, .name = "layers.#.post_attention_layernorm.weight", .dims = "e"},
    {.slot = QD_SLOT_MLP_GATE, .name = "layers.#.mlp.gate_proj.weight", .dims = "fe"},
    {.slot = QD_SLOT_MLP_GATE_BIAS, .name = "layers.#.mlp.gate_proj.bias", .dims = "f"},
    {.slot = QD_SLOT_MLP_UP, .name = "layers.#.mlp.up_proj.weight", .dims = "fe"},
    {.slot = QD_SLOT_MLP_UP_BIAS, .name = "layers.#.mlp.up_proj.bias", .dims = "f"},
    {.slot = QD_SLOT_MLP_DOWN, .name = "layers.#.mlp.down_proj.weight", .dims = "ef"},
    {.slot = QD_SLOT_MLP_DOWN_BIAS, .name = "layers.#.mlp.down_proj.bias", .dims = "e"},
    {.slot = QD_SLOT_NORM, .name = "norm.weight", .dims = "e"},
};

static const char *const ignored[] = {"layers.#.self_attn.rotary_emb.inv_freq", NULL};

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    m->n_embd = qd_config_size(&c, "hidden_size", NULL, QD_MAX_EMBD);
    m->n_layer = qd_config_size(&c, "num_hidden_layers", NULL, QD_MAX_LAYERS);
    m->n_head = qd_config_size(&c, "num_attention_heads", NULL, QD_MAX_EMBD);
    m->n_kv_head = qd_config_size_or(&c, "num_key_value_heads", NULL, QD_MAX_EMBD, 0);
    m->head_dim = qd_config_size_or(&c, "head_dim", NULL, QD_MAX_EMBD, 0);
    m->n_ff = qd_config_size(&c, "intermediate_size", NULL, QD_MAX_FF);
    m->n_vocab = qd_config_size(&c, "vocab_size", NULL, QD_MAX_VOCAB);
    qd_config_heads(&c, m);
    m->rms = true;
    m->epsilon = qd_config_epsilon(&c, "rms_norm_eps");
    m->act = qd_config_act(&c, "hidden_act");
    m->gated = true;
    m->position = QD_POSITION_ROPE;
    qd_config_rope(&c, m, 1, NULL, &m->rope[0]);
    bool attention_bias = qd_config_bool_or(&c, "attention_bias", false);
    bool mlp_bias = qd_config_bool_or(&c, "mlp_bias", false);
    m->absent[QD_SLOT_ATTN_Q_BIAS] = m->absent[QD_SLOT_ATTN_K_BIAS] = !attention_bias;
    m->absent[QD_SLOT_ATTN_V_BIAS] = m->absent[QD_SLOT_ATTN_OUT_BIAS] = !attention_bias;
    m->absent[QD_SLOT_MLP_GATE_BIAS] = m->absent[QD_SLOT_MLP_UP_BIAS] = m->absent[QD_SLOT_MLP_DOWN_BIAS] = !mlp_bias;
    qd_config_tokens(&c, m, false);
    return c.status;
}

extern const qd_arch qd_arch_llama;
const qd_arch qd_arch_llama = {
    .name = "llama",
    .kind = QDISP_MODEL_DECODER,
    .class_names = class_names,
    .prefix = "model.",
    .head_name = "lm_head.weight",
    .specs = specs,
    .n_specs = sizeof specs / sizeof *specs,
    .ignored = ignored,
    .read_config = read_config,
};
