/* arch_xglm.c - XGLM (Lin et al. 2022): scaled embeddings, positions by sine and cosine from the third on. */
#include <math.h>

#include "model/arch.h"

static const char *const class_names[] = {"XGLMForCausalLM", "XGLMModel", NULL};

static const qd_tensor_spec specs[] = {
    {.slot = QD_SLOT_EMBED, .name = "embed_tokens.weight", .dims = "ve"},
    {.slot = QD_SLOT_ATTN_NORM, .name = "layers.#.self_attn_layer_norm.weight", .dims = "e"},
    {.slot = QD_SLOT_ATTN_NORM_BIAS, .name = "layers.#.self_attn_layer_norm.bias", .dims = "e"},
    {.slot = QD_SLOT_ATTN_Q, .name = "layers.#.self_attn.q_proj.weight", .dims = "qe"},
    {.slot = QD_SLOT_ATTN_Q_BIAS, .name = "layers.#.self_attn.q_proj.bias", .dims = "q"},
    {.slot = QD_SLOT_ATTN_K, .name = "layers.#.self_attn.k_proj.weight", .dims = "ke"},
    {.slot = QD_SLOT_ATTN_K_BIAS, .name = "layers.#.self_attn.k_proj.bias", .dims = "k"},
    {.slot = QD_SLOT_ATTN_V, .name = "layers.#.self_attn.v_proj.weight", .dims = "ke"},
    {.slot = QD_SLOT_ATTN_V_BIAS, .name = "layers.#.self_attn.v_proj.bias", .dims = "k"},
    {.slot = QD_SLOT_ATTN_OUT, .name = "layers.#.self_attn.out_proj.weight", .dims = "eq"},
    {.slot = QD_SLOT_ATTN_OUT_BIAS, .name = "layers.#.self_attn.out_proj.bias", .dims = "e"},
    {.slot = QD_SLOT_MLP_NORM, .name = "layers.#.final_layer_norm.weight", .dims = "e"},
    {.slot = QD_SLOT_MLP_NORM_BIAS, .name = "layers.#.final_layer_norm.bias", .dims = "e"},
    {.slot = QD_SLOT_MLP_UP, .name = "layers.#.fc1.weight", .dims = "fe"},
    {.slot = QD_SLOT_MLP_UP_BIAS, .name = "layers.#.fc1.bias", .dims = "f"},
    {.slot = QD_SLOT_MLP_DOWN, .name = "layers.#.fc2.weight", .dims = "ef"},
    {.slot = QD_SLOT_MLP_DOWN_BIAS, .name = "layers.#.fc2.bias", .dims = "e"},
    {.slot = QD_SLOT_NORM, .name = "layer_norm.weight", .dims = "e"},
    {.slot = QD_SLOT_NORM_BIAS, .name = "layer_norm.bias", .dims = "e"},
};

static const char *const ignored[] = {"embed_positions.weights", NULL}; /* computed */

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    m->n_embd = qd_config_size(&c, "d_model", "hidden_size", QD_MAX_EMBD);
    m->n_layer = qd_config_size(&c, "num_layers", "num_hidden_layers", QD_MAX_LAYERS);
    m->n_head = qd_config_size(&c, "attention_heads", "num_attention_heads", QD_MAX_EMBD);
    m->n_ff = qd_config_size(&c, "ffn_dim", NULL, QD_MAX_FF);
    m->n_vocab = qd_config_size(&c, "vocab_size", NULL, QD_MAX_VOCAB);
    if (m->n_embd < 4) qd_config_fail(&c, QDISP_EFORMAT, "d_model %zu is too small for sines", m->n_embd);
    qd_config_heads(&c, m);
    m->position = QD_POSITION_SINUSOIDAL;
    m->position_offset = 2;
    m->act = qd_config_act_or(&c, "activation_function", "gelu");
    m->epsilon = 1e-5F; /* torch's own */
    if (qd_config_bool_or(&c, "scale_embedding", true)) m->embed_scale = sqrtf((float)m->n_embd);
    qd_config_tokens(&c, m, true);
    return c.status;
}

extern const qd_arch qd_arch_xglm;
const qd_arch qd_arch_xglm = {
    .name = "xglm",
    .kind = QDISP_MODEL_DECODER,
    .class_names = class_names,
    .prefix = "model.",
    .head_name = "lm_head.weight",
    .specs = specs,
    .n_specs = sizeof specs / sizeof *specs,
    .ignored = ignored,
    .read_config = read_config,
};
