/* arch_opt.c - OPT (Zhang et al. 2022): learned positions from the third row on; the norm stands before each half of a
 * block or after it (350M), and blocks may be wider than the embedding. */
#include "model/arch.h"

static const char *const class_names[] = {"OPTForCausalLM", "OPTModel", NULL};

static const qd_tensor_spec specs[] = {
    {.slot = QD_SLOT_EMBED, .name = "decoder.embed_tokens.weight", .dims = "vw"},
    {.slot = QD_SLOT_POSITION, .name = "decoder.embed_positions.weight", .dims = "pe"},
    {.slot = QD_SLOT_PROJECT_IN, .name = "decoder.project_in.weight", .dims = "ew"},
    {.slot = QD_SLOT_ATTN_NORM, .name = "decoder.layers.#.self_attn_layer_norm.weight", .dims = "e"},
    {.slot = QD_SLOT_ATTN_NORM_BIAS, .name = "decoder.layers.#.self_attn_layer_norm.bias", .dims = "e"},
    {.slot = QD_SLOT_ATTN_Q, .name = "decoder.layers.#.self_attn.q_proj.weight", .dims = "qe"},
    {.slot = QD_SLOT_ATTN_Q_BIAS, .name = "decoder.layers.#.self_attn.q_proj.bias", .dims = "q"},
    {.slot = QD_SLOT_ATTN_K, .name = "decoder.layers.#.self_attn.k_proj.weight", .dims = "ke"},
    {.slot = QD_SLOT_ATTN_K_BIAS, .name = "decoder.layers.#.self_attn.k_proj.bias", .dims = "k"},
    {.slot = QD_SLOT_ATTN_V, .name = "decoder.layers.#.self_attn.v_proj.weight", .dims = "ke"},
    {.slot = QD_SLOT_ATTN_V_BIAS, .name = "decoder.layers.#.self_attn.v_proj.bias", .dims = "k"},
    {.slot = QD_SLOT_ATTN_OUT, .name = "decoder.layers.#.self_attn.out_proj.weight", .dims = "eq"},
    {.slot = QD_SLOT_ATTN_OUT_BIAS, .name = "decoder.layers.#.self_attn.out_proj.bias", .dims = "e"},
    {.slot = QD_SLOT_ATTN_POST_NORM, .name = "decoder.layers.#.self_attn_layer_norm.weight", .dims = "e"},
    {.slot = QD_SLOT_ATTN_POST_NORM_BIAS, .name = "decoder.layers.#.self_attn_layer_norm.bias", .dims = "e"},
    {.slot = QD_SLOT_MLP_NORM, .name = "decoder.layers.#.final_layer_norm.weight", .dims = "e"},
    {.slot = QD_SLOT_MLP_NORM_BIAS, .name = "decoder.layers.#.final_layer_norm.bias", .dims = "e"},
    {.slot = QD_SLOT_MLP_UP, .name = "decoder.layers.#.fc1.weight", .dims = "fe"},
    {.slot = QD_SLOT_MLP_UP_BIAS, .name = "decoder.layers.#.fc1.bias", .dims = "f"},
    {.slot = QD_SLOT_MLP_DOWN, .name = "decoder.layers.#.fc2.weight", .dims = "ef"},
    {.slot = QD_SLOT_MLP_DOWN_BIAS, .name = "decoder.layers.#.fc2.bias", .dims = "e"},
    {.slot = QD_SLOT_MLP_POST_NORM, .name = "decoder.layers.#.final_layer_norm.weight", .dims = "e"},
    {.slot = QD_SLOT_MLP_POST_NORM_BIAS, .name = "decoder.layers.#.final_layer_norm.bias", .dims = "e"},
    {.slot = QD_SLOT_NORM, .name = "decoder.final_layer_norm.weight", .dims = "e"},
    {.slot = QD_SLOT_NORM_BIAS, .name = "decoder.final_layer_norm.bias", .dims = "e"},
    {.slot = QD_SLOT_PROJECT_OUT, .name = "decoder.project_out.weight", .dims = "we"},
};

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    m->n_embd = qd_config_size(&c, "hidden_size", NULL, QD_MAX_EMBD);
    m->n_layer = qd_config_size(&c, "num_hidden_layers", NULL, QD_MAX_LAYERS);
    m->n_head = qd_config_size(&c, "num_attention_heads", NULL, QD_MAX_EMBD);
    m->n_ff = qd_config_size(&c, "ffn_dim", NULL, QD_MAX_FF);
    m->n_vocab = qd_config_size(&c, "vocab_size", NULL, QD_MAX_VOCAB);
    m->n_word_embd = qd_config_size_or(&c, "word_embed_proj_dim", NULL, QD_MAX_EMBD, m->n_embd);
    if (!m->n_word_embd) qd_config_fail(&c, QDISP_EFORMAT, "word_embed_proj_dim is 0");
    qd_config_heads(&c, m);
    m->n_positions = qd_config_size(&c, "max_position_embeddings", NULL, QD_MAX_POSITIONS);
    m->position = QD_POSITION_LEARNED;
    m->position_offset = 2;
    m->act = qd_config_act_or(&c, "activation_function", "relu");
    m->epsilon = 1e-5F; /* torch's own */
    bool before = qd_config_bool_or(&c, "do_layer_norm_before", true);
    m->norm_place = before ? QD_NORM_PRE : QD_NORM_POST;
    m->absent[QD_SLOT_ATTN_NORM] = m->absent[QD_SLOT_ATTN_NORM_BIAS] = !before;
    m->absent[QD_SLOT_MLP_NORM] = m->absent[QD_SLOT_MLP_NORM_BIAS] = !before;
    m->absent[QD_SLOT_ATTN_POST_NORM] = m->absent[QD_SLOT_ATTN_POST_NORM_BIAS] = before;
    m->absent[QD_SLOT_MLP_POST_NORM] = m->absent[QD_SLOT_MLP_POST_NORM_BIAS] = before;
    bool final_norm = before && !qd_config_bool_or(&c, "_remove_final_layer_norm", false);
    m->absent[QD_SLOT_NORM] = m->absent[QD_SLOT_NORM_BIAS] = !final_norm;
    m->absent[QD_SLOT_PROJECT_IN] = m->absent[QD_SLOT_PROJECT_OUT] = m->n_word_embd == m->n_embd;
    if (!qd_config_bool_or(&c, "enable_bias", true) || !qd_config_bool_or(&c, "layer_norm_elementwise_affine", true)) {
        qd_config_fail(&c, QDISP_EUNSUPPORTED, "linear maps without bias or norms without weight are not supported");
    }
    qd_config_tokens(&c, m, true);
    return c.status;
}

extern const qd_arch qd_arch_opt;
const qd_arch qd_arch_opt = {
    .name = "opt",
    .kind = QDISP_MODEL_DECODER,
    .class_names = class_names,
    .prefix = "model.",
    .head_name = "lm_head.weight",
    .specs = specs,
    .n_specs = sizeof specs / sizeof *specs,
    .read_config = read_config,
};
