/* arch_gemma2.c - Gemma 2 (Gemma Team 2024): norms before and after each half of a block, every other layer sees a
 * window of the keys, scores and logits are capped. */
#include <math.h>

#include "model/arch.h"

static const char *const class_names[] = {"Gemma2ForCausalLM", "Gemma2Model", NULL};

/* Also Gemma 3's, which has the norms of queries and keys. */
const qd_tensor_spec qd_gemma2_specs[] = {
    {.slot = QD_SLOT_EMBED, .name = "embed_tokens.weight", .dims = "ve"},
    {.slot = QD_SLOT_ATTN_NORM, .name = "layers.#.input_layernorm.weight", .dims = "e"},
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
    {.slot = QD_SLOT_ATTN_POST_NORM, .name = "layers.#.post_attention_layernorm.weight", .dims = "e"},
    {.slot = QD_SLOT_MLP_NORM, .name = "layers.#.pre_feedforward_layernorm.weight", .dims = "e"},
    {.slot = QD_SLOT_MLP_GATE, .name = "layers.#.mlp.gate_proj.weight", .dims = "fe"},
    {.slot = QD_SLOT_MLP_UP, .name = "layers.#.mlp.up_proj.weight", .dims = "fe"},
    {.slot = QD_SLOT_MLP_DOWN, .name = "layers.#.mlp.down_proj.weight", .dims = "ef"},
    {.slot = QD_SLOT_MLP_POST_NORM, .name = "layers.#.post_feedforward_layernorm.weight", .dims = "e"},
    {.slot = QD_SLOT_NORM, .name = "norm.weight", .dims = "e"},
};
_Static_assert(sizeof qd_gemma2_specs / sizeof *qd_gemma2_specs == QD_N_GEMMA2_SPECS, "arch.h says how many there are");

/* Null means none, an absent key the default. */
static float softcap(qd_config *c, const char *key, double absent) {
    if (json_is_null(json_object_get(c->json, key))) return 0;
    return (float)qd_config_number_or(c, key, 1e-3, 1e6, absent);
}

void qd_config_gemma2(qd_config *c, qd_model_config *m, double attn_softcap, double logit_softcap) {
    qd_config_gemma(c, m, "hidden_activation");
    m->norm_place = QD_NORM_SANDWICH;
    m->attn_scale = 1 / sqrt(qd_config_number_or(c, "query_pre_attn_scalar", 1e-3, 1e6, 256));
    m->attn_softcap = softcap(c, "attn_logit_softcapping", attn_softcap);
    m->logit_softcap = softcap(c, "final_logit_softcapping", logit_softcap);
    m->window = qd_config_window(c, 4096);
}

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    qd_config_gemma2(&c, m, 50, 30);
    qd_config_local_layers(&c, m, 2);
    qd_config_rope(&c, m, 1, NULL, &m->rope[0]);
    return c.status;
}

extern const qd_arch qd_arch_gemma2;
const qd_arch qd_arch_gemma2 = {
    .name = "gemma2",
    .kind = QDISP_MODEL_DECODER,
    .class_names = class_names,
    QD_GEMMA2_TENSORS,
    .read_config = read_config,
};
