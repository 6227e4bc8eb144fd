/* arch_falcon.c - Falcon (Almazrouei et al. 2023): one key head for all queries (7B), key heads with their queries and
 * two norms beside each other (40B, "new decoder architecture"), or ALiBi and blocks as BLOOM's (RefinedWeb). */
#include "model/arch.h"

static const char *const class_names[] = {"FalconForCausalLM", "RWForCausalLM", "FalconModel", NULL};
static const char *const model_types[] = {"RefinedWeb", "RefinedWebModel", NULL};

static const qd_tensor_spec specs[] = {
    {.slot = QD_SLOT_EMBED, .name = "word_embeddings.weight", .dims = "ve"},
    {.slot = QD_SLOT_ATTN_NORM, .name = "h.#.input_layernorm.weight|h.#.ln_attn.weight", .dims = "e"},
    {.slot = QD_SLOT_ATTN_NORM_BIAS, .name = "h.#.input_layernorm.bias|h.#.ln_attn.bias", .dims = "e"},
    {.slot = QD_SLOT_ATTN_QKV, .name = "h.#.self_attention.query_key_value.weight", .dims = "ae"},
    {.slot = QD_SLOT_ATTN_QKV_BIAS, .name = "h.#.self_attention.query_key_value.bias", .dims = "a"},
    {.slot = QD_SLOT_ATTN_OUT, .name = "h.#.self_attention.dense.weight", .dims = "eq"},
    {.slot = QD_SLOT_ATTN_OUT_BIAS, .name = "h.#.self_attention.dense.bias", .dims = "e"},
    {.slot = QD_SLOT_MLP_NORM, .name = "h.#.post_attention_layernorm.weight|h.#.ln_mlp.weight", .dims = "e"},
    {.slot = QD_SLOT_MLP_NORM_BIAS, .name = "h.#.post_attention_layernorm.bias|h.#.ln_mlp.bias", .dims = "e"},
    {.slot = QD_SLOT_MLP_UP, .name = "h.#.mlp.dense_h_to_4h.weight", .dims = "fe"},
    {.slot = QD_SLOT_MLP_UP_BIAS, .name = "h.#.mlp.dense_h_to_4h.bias", .dims = "f"},
    {.slot = QD_SLOT_MLP_DOWN, .name = "h.#.mlp.dense_4h_to_h.weight", .dims = "ef"},
    {.slot = QD_SLOT_MLP_DOWN_BIAS, .name = "h.#.mlp.dense_4h_to_h.bias", .dims = "e"},
    {.slot = QD_SLOT_NORM, .name = "ln_f.weight", .dims = "e"},
    {.slot = QD_SLOT_NORM_BIAS, .name = "ln_f.bias", .dims = "e"},
};

static const char *const ignored[] = {"h.#.self_attention.rotary_emb.inv_freq", NULL};

/* The three ways to build a block. */
static void read_block(qd_config *c, qd_model_config *m) {
    bool grouped = qd_config_bool_or(c, "new_decoder_architecture", false);
    bool multi_query = qd_config_bool_or(c, "multi_query", true);
    m->n_kv_head = grouped || !multi_query ? qd_config_size_or(c, "num_kv_heads", "n_head_kv", QD_MAX_EMBD, 0) : 1;
    m->qkv_layout = grouped || !multi_query ? QD_QKV_GROUPED : QD_QKV_STACKED;
    m->parallel = grouped || qd_config_bool_or(c, "parallel_attn", true);
    size_t n_norms = qd_config_size_or(c, "num_ln_in_parallel_attn", NULL, 2, grouped ? 2 : 1);
    bool one_norm = m->parallel && !(grouped && n_norms == 2);
    m->absent[QD_SLOT_MLP_NORM] = m->absent[QD_SLOT_MLP_NORM_BIAS] = one_norm;
    bool bias = qd_config_bool_or(c, "bias", false);
    m->absent[QD_SLOT_ATTN_QKV_BIAS] = m->absent[QD_SLOT_ATTN_OUT_BIAS] = !bias;
    m->absent[QD_SLOT_MLP_UP_BIAS] = m->absent[QD_SLOT_MLP_DOWN_BIAS] = !bias;
}

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    m->n_embd = qd_config_size(&c, "hidden_size", "n_embed", QD_MAX_EMBD);
    m->n_layer = qd_config_size(&c, "num_hidden_layers", "n_layer", QD_MAX_LAYERS);
    m->n_head = qd_config_size(&c, "num_attention_heads", "n_head", QD_MAX_EMBD);
    m->n_vocab = qd_config_size(&c, "vocab_size", NULL, QD_MAX_VOCAB);
    m->n_ff = qd_config_size_or(&c, "ffn_hidden_size", NULL, QD_MAX_FF, 4 * m->n_embd);
    read_block(&c, m);
    qd_config_heads(&c, m);
    m->act = qd_config_act_or(&c, "activation", "gelu");
    m->epsilon = qd_config_epsilon(&c, "layer_norm_epsilon");
    m->position = qd_config_bool_or(&c, "alibi", false) ? QD_POSITION_ALIBI : QD_POSITION_ROPE;
    if (m->position == QD_POSITION_ROPE) qd_config_rope(&c, m, 1, NULL, &m->rope[0]);
    m->alibi_scaled = m->alibi_bf16 = true;
    qd_config_tokens(&c, m, true);
    return c.status;
}

extern const qd_arch qd_arch_falcon;
const qd_arch qd_arch_falcon = {
    .name = "falcon",
    .kind = QDISP_MODEL_DECODER,
    .class_names = class_names,
    .model_types = model_types,
    .prefix = "transformer.",
    .head_name = "lm_head.weight",
    .specs = specs,
    .n_specs = sizeof specs / sizeof *specs,
    .ignored = ignored,
    .read_config = read_config,
};
