/* arch_llama.c - Llama (Touvron et al. 2023), and what the models built like it share: rms norm, rotary positions,
 * grouped keys, gated feed-forward network, which may be a mixture of experts. */
#include "model/arch.h"

static const char *const class_names[] = {"LlamaForCausalLM", "LlamaModel", NULL};

const qd_tensor_spec qd_llama_specs[] = {
    {.slot = QD_SLOT_EMBED, .name = "embed_tokens.weight", .dims = "ve"},
    {.slot = QD_SLOT_ATTN_NORM, .name = "layers.#.input_layernorm.weight", .dims = "e"},
    {.slot = QD_SLOT_ATTN_QKV, .name = "layers.#.self_attn.qkv_proj.weight", .dims = "ae"},
    {.slot = QD_SLOT_ATTN_Q, .name = "layers.#.self_attn.q_proj.weight", .dims = "qe"},
    {.slot = QD_SLOT_ATTN_Q_BIAS, .name = "layers.#.self_attn.q_proj.bias", .dims = "q"},
    {.slot = QD_SLOT_ATTN_K, .name = "layers.#.self_attn.k_proj.weight", .dims = "ke"},
    {.slot = QD_SLOT_ATTN_K_BIAS, .name = "layers.#.self_attn.k_proj.bias", .dims = "k"},
    {.slot = QD_SLOT_ATTN_V, .name = "layers.#.self_attn.v_proj.weight", .dims = "ke"},
    {.slot = QD_SLOT_ATTN_V_BIAS, .name = "layers.#.self_attn.v_proj.bias", .dims = "k"},
    {.slot = QD_SLOT_Q_NORM, .name = "layers.#.self_attn.q_norm.weight", .dims = "d"},
    {.slot = QD_SLOT_K_NORM, .name = "layers.#.self_attn.k_norm.weight", .dims = "d"},
    {.slot = QD_SLOT_ATTN_OUT, .name = "layers.#.self_attn.o_proj.weight", .dims = "eq"},
    {.slot = QD_SLOT_ATTN_OUT_BIAS, .name = "layers.#.self_attn.o_proj.bias", .dims = "e"},
    {.slot = QD_SLOT_MLP_NORM, .name = "layers.#.post_attention_layernorm.weight", .dims = "e"},
    {.slot = QD_SLOT_MLP_ROUTER,
     .name = "layers.#.mlp.gate.weight|layers.#.block_sparse_moe.gate.weight", .dims = "ne"},
    {.slot = QD_SLOT_MLP_GATE_UP, .name = "layers.#.mlp.gate_up_proj.weight", .dims = "ge"},
    {.slot = QD_SLOT_MLP_GATE, .name = "layers.#.mlp.gate_proj.weight", .dims = "fe"},
    {.slot = QD_SLOT_MLP_GATE_BIAS, .name = "layers.#.mlp.gate_proj.bias", .dims = "f"},
    {.slot = QD_SLOT_MLP_UP, .name = "layers.#.mlp.up_proj.weight", .dims = "fe"},
    {.slot = QD_SLOT_MLP_UP_BIAS, .name = "layers.#.mlp.up_proj.bias", .dims = "f"},
    {.slot = QD_SLOT_MLP_DOWN, .name = "layers.#.mlp.down_proj.weight", .dims = "ef"},
    {.slot = QD_SLOT_MLP_DOWN_BIAS, .name = "layers.#.mlp.down_proj.bias", .dims = "e"},
    {.slot = QD_SLOT_EXPERT_GATE,
     .name = "layers.#.mlp.experts.%.gate_proj.weight|layers.#.block_sparse_moe.experts.%.w1.weight", .dims = "xe"},
    {.slot = QD_SLOT_EXPERT_UP,
     .name = "layers.#.mlp.experts.%.up_proj.weight|layers.#.block_sparse_moe.experts.%.w3.weight", .dims = "xe"},
    {.slot = QD_SLOT_EXPERT_DOWN,
     .name = "layers.#.mlp.experts.%.down_proj.weight|layers.#.block_sparse_moe.experts.%.w2.weight", .dims = "ex"},
    {.slot = QD_SLOT_NORM, .name = "norm.weight", .dims = "e"},
};
_Static_assert(sizeof qd_llama_specs / sizeof *qd_llama_specs == QD_N_LLAMA_SPECS, "arch.h says how many there are");

const char *const qd_llama_ignored[] = {"layers.#.self_attn.rotary_emb.inv_freq", NULL};

/* Slots that only some of the kin have. */
static void leave_out(qd_config *c, qd_model_config *m) {
    bool attention_bias = qd_config_bool_or(c, "attention_bias", false);
    bool mlp_bias = qd_config_bool_or(c, "mlp_bias", false);
    m->absent[QD_SLOT_ATTN_Q_BIAS] = m->absent[QD_SLOT_ATTN_K_BIAS] = !attention_bias;
    m->absent[QD_SLOT_ATTN_V_BIAS] = m->absent[QD_SLOT_ATTN_OUT_BIAS] = !attention_bias;
    m->absent[QD_SLOT_MLP_GATE_BIAS] = m->absent[QD_SLOT_MLP_UP_BIAS] = m->absent[QD_SLOT_MLP_DOWN_BIAS] = !mlp_bias;
    m->absent[QD_SLOT_ATTN_QKV] = m->absent[QD_SLOT_MLP_GATE_UP] = true;
    m->absent[QD_SLOT_Q_NORM] = m->absent[QD_SLOT_K_NORM] = true;
}

void qd_config_llama(qd_config *c, qd_model_config *m, const char *act_key) {
    m->n_embd = qd_config_size(c, "hidden_size", NULL, QD_MAX_EMBD);
    m->n_layer = qd_config_size(c, "num_hidden_layers", NULL, QD_MAX_LAYERS);
    m->n_head = qd_config_size(c, "num_attention_heads", NULL, QD_MAX_EMBD);
    m->n_kv_head = qd_config_size_or(c, "num_key_value_heads", NULL, QD_MAX_EMBD, 0);
    m->head_dim = qd_config_size_or(c, "head_dim", NULL, QD_MAX_EMBD, m->head_dim);
    m->n_ff = qd_config_size(c, "intermediate_size", NULL, QD_MAX_FF);
    m->n_vocab = qd_config_size(c, "vocab_size", NULL, QD_MAX_VOCAB);
    qd_config_heads(c, m);
    m->rms = true;
    m->epsilon = qd_config_epsilon(c, "rms_norm_eps");
    m->act = qd_config_act(c, act_key);
    m->gated = true;
    m->position = QD_POSITION_ROPE;
    leave_out(c, m);
}

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    qd_config_llama(&c, m, "hidden_act");
    qd_config_rope(&c, m, 1, NULL, &m->rope[0]);
    qd_config_tokens(&c, m, false);
    return c.status;
}

extern const qd_arch qd_arch_llama;
const qd_arch qd_arch_llama = {
    .name = "llama",
    .kind = QDISP_MODEL_DECODER,
    .class_names = class_names,
    QD_LLAMA_TENSORS,
    .read_config = read_config,
};
