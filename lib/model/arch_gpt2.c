/* arch_gpt2.c - GPT-2 (Radford et al. 2019): learned positions, matrices stored as [n_in, n_out], q, k, v fused one
 * after the other. */
#include "model/arch.h"

static const char *const class_names[] = {"GPT2LMHeadModel", "GPT2Model", NULL};

static const qd_tensor_spec specs[] = {
    {.slot = QD_SLOT_EMBED, .name = "wte.weight", .dims = "ve"},
    {.slot = QD_SLOT_POSITION, .name = "wpe.weight", .dims = "pe"},
    {.slot = QD_SLOT_ATTN_NORM, .name = "h.#.ln_1.weight", .dims = "e"},
    {.slot = QD_SLOT_ATTN_NORM_BIAS, .name = "h.#.ln_1.bias", .dims = "e"},
    {.slot = QD_SLOT_ATTN_QKV, .name = "h.#.attn.c_attn.weight", .dims = "ae", .transposed = true},
    {.slot = QD_SLOT_ATTN_QKV_BIAS, .name = "h.#.attn.c_attn.bias", .dims = "a"},
    {.slot = QD_SLOT_ATTN_OUT, .name = "h.#.attn.c_proj.weight", .dims = "eq", .transposed = true},
    {.slot = QD_SLOT_ATTN_OUT_BIAS, .name = "h.#.attn.c_proj.bias", .dims = "e"},
    {.slot = QD_SLOT_MLP_NORM, .name = "h.#.ln_2.weight", .dims = "e"},
    {.slot = QD_SLOT_MLP_NORM_BIAS, .name = "h.#.ln_2.bias", .dims = "e"},
    {.slot = QD_SLOT_MLP_UP, .name = "h.#.mlp.c_fc.weight", .dims = "fe", .transposed = true},
    {.slot = QD_SLOT_MLP_UP_BIAS, .name = "h.#.mlp.c_fc.bias", .dims = "f"},
    {.slot = QD_SLOT_MLP_DOWN, .name = "h.#.mlp.c_proj.weight", .dims = "ef", .transposed = true},
    {.slot = QD_SLOT_MLP_DOWN_BIAS, .name = "h.#.mlp.c_proj.bias", .dims = "e"},
    {.slot = QD_SLOT_NORM, .name = "ln_f.weight", .dims = "e"},
    {.slot = QD_SLOT_NORM_BIAS, .name = "ln_f.bias", .dims = "e"},
};

/* Buffers of older checkpoints: the causal mask. */
static const char *const ignored[] = {"h.#.attn.bias", "h.#.attn.masked_bias", NULL};

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    m->n_embd = qd_config_size(&c, "n_embd", "hidden_size", QD_MAX_EMBD);
    m->n_layer = qd_config_size(&c, "n_layer", "num_hidden_layers", QD_MAX_LAYERS);
    m->n_head = qd_config_size(&c, "n_head", "num_attention_heads", QD_MAX_EMBD);
    m->n_vocab = qd_config_size(&c, "vocab_size", NULL, QD_MAX_VOCAB);
    m->n_positions = qd_config_size(&c, "n_positions", "max_position_embeddings", QD_MAX_POSITIONS);
    m->n_ff = qd_config_size_or(&c, "n_inner", NULL, QD_MAX_FF, 4 * m->n_embd);
    qd_config_heads(&c, m);
    m->act = qd_config_act(&c, "activation_function");
    m->position = QD_POSITION_LEARNED;
    m->epsilon = qd_config_epsilon(&c, "layer_norm_epsilon");
    if (!qd_config_bool_or(&c, "scale_attn_weights", true)) m->attn_scale = 1;
    m->attn_scale_by_layer = qd_config_bool_or(&c, "scale_attn_by_inverse_layer_idx", false);
    qd_config_tokens(&c, m, true);
    return c.status;
}

extern const qd_arch qd_arch_gpt2;
const qd_arch qd_arch_gpt2 = {
    .name = "gpt2",
    .kind = QDISP_MODEL_DECODER,
    .class_names = class_names,
    .prefix = "transformer.",
    .head_name = "lm_head.weight",
    .specs = specs,
    .n_specs = sizeof specs / sizeof *specs,
    .ignored = ignored,
    .read_config = read_config,
};
