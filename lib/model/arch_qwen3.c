/* arch_qwen3.c - Qwen3 (Yang et al. 2025): Llama that norms the queries and keys of each head. */
#include "model/arch.h"

static const char *const class_names[] = {"Qwen3ForCausalLM", "Qwen3Model", NULL};

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    m->head_dim = 128; /* where the config does not say */
    qd_config_llama(&c, m, "hidden_act");
    m->absent[QD_SLOT_Q_NORM] = m->absent[QD_SLOT_K_NORM] = false;
    qd_config_rope(&c, m, 1, NULL, &m->rope[0]);
    qd_config_qwen_window(&c, m);
    qd_config_tokens(&c, m, false);
    return c.status;
}

extern const qd_arch qd_arch_qwen3;
const qd_arch qd_arch_qwen3 = {
    .name = "qwen3",
    .kind = QDISP_MODEL_DECODER,
    .class_names = class_names,
    QD_LLAMA_TENSORS,
    .read_config = read_config,
};
