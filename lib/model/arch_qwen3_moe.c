/* arch_qwen3_moe.c - Qwen3-MoE (Yang et al. 2025): Qwen3 with a mixture of experts in some layers. */
#include "model/arch.h"

static const char *const class_names[] = {"Qwen3MoeForCausalLM", "Qwen3MoeModel", NULL};

/* Layers of experts: every step-th but those that mlp_only_layers names. */
static void mark_layers(qd_config *c, qd_model_config *m) {
    size_t step = qd_config_size_or(c, "decoder_sparse_step", NULL, QD_MAX_LAYERS, 1), i;
    const json_t *dense = json_object_get(c->json, "mlp_only_layers"), *item;
    if (!step) qd_config_fail(c, QDISP_EFORMAT, "decoder_sparse_step is 0");
    if (dense && !json_is_null(dense) && !json_is_array(dense)) {
        qd_config_fail(c, QDISP_EFORMAT, "mlp_only_layers is not a list");
    }
    if (c->status != QDISP_OK) return;
    for (i = 0; i < m->n_layer; i++) m->is_moe[i] = m->n_expert > 0 && (i + 1) % step == 0;
    json_array_foreach(dense, i, item) {
        json_int_t layer = json_is_integer(item) ? json_integer_value(item) : -1;
        if (layer >= 0 && (uint64_t)layer < m->n_layer) m->is_moe[layer] = false;
        else qd_config_fail(c, QDISP_EFORMAT, "mlp_only_layers[%zu] is no layer", i);
    }
}

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    qd_config_llama(&c, m, "hidden_act");
    m->absent[QD_SLOT_Q_NORM] = m->absent[QD_SLOT_K_NORM] = false;
    qd_config_rope(&c, m, 1, NULL, &m->rope[0]);
    if (qd_config_bool_or(&c, "use_sliding_window", false)) m->window = qd_config_window(&c, 4096);
    qd_config_local_layers(&c, m, 0);
    m->n_expert = qd_config_size_or(&c, "num_experts", "num_local_experts", QD_MAX_EXPERTS, 128);
    m->n_expert_used = qd_config_size_or(&c, "num_experts_per_tok", NULL, QD_MAX_EXPERTS, 8);
    m->n_ff_expert = qd_config_size_or(&c, "moe_intermediate_size", NULL, QD_MAX_FF, 768);
    m->expert_normalized = qd_config_bool_or(&c, "norm_topk_prob", false);
    mark_layers(&c, m);
    qd_config_tokens(&c, m, false);
    return c.status;
}

extern const qd_arch qd_arch_qwen3_moe;
const qd_arch qd_arch_qwen3_moe = {
    .name = "qwen3_moe",
    .kind = QDISP_MODEL_DECODER,
    .class_names = class_names,
    QD_LLAMA_TENSORS,
    .read_config = read_config,
};
