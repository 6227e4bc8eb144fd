/* arch_mixtral.c - Mixtral (Jiang et al. 2024): Mistral whose feed-forward networks are mixtures of experts. */
#include "model/arch.h"

static const char *const class_names[] = {"MixtralForCausalLM", "MixtralModel", NULL};

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    qd_config_llama(&c, m, "hidden_act");
    m->rope[0].theta = 1e6; /* where the config does not say */
    qd_config_rope(&c, m, 1, NULL, &m->rope[0]);
    m->window = qd_config_window(&c, 0);
    qd_config_local_layers(&c, m, 0);
    m->n_expert = qd_config_size(&c, "num_local_experts", "num_experts", QD_MAX_EXPERTS);
    m->n_expert_used = qd_config_size_or(&c, "num_experts_per_tok", NULL, QD_MAX_EXPERTS, 2);
    m->n_ff_expert = m->n_ff;
    m->expert_normalized = true;
    for (size_t i = 0; i < m->n_layer; i++) m->is_moe[i] = true;
    qd_config_tokens(&c, m, false);
    return c.status;
}

extern const qd_arch qd_arch_mixtral;
const qd_arch qd_arch_mixtral = {
    .name = "mixtral",
    .kind = QDISP_MODEL_DECODER,
    .class_names = class_names,
    QD_LLAMA_TENSORS,
    .read_config = read_config,
};
