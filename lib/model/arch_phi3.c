/* arch_phi3.c - Phi-3 and Phi-4 (Abdin et al. 2024): Llama with q, k, v fused one after the other, gate and up fused,
 * and rotary positions stretched by tables. */
#include "model/arch.h"

static const char *const class_names[] = {"Phi3ForCausalLM", "Phi3Model", NULL};

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    qd_config_llama(&c, m, "hidden_act");
    m->absent[QD_SLOT_ATTN_QKV] = m->absent[QD_SLOT_MLP_GATE_UP] = false;
    m->absent[QD_SLOT_ATTN_Q] = m->absent[QD_SLOT_ATTN_K] = m->absent[QD_SLOT_ATTN_V] = true;
    m->absent[QD_SLOT_MLP_GATE] = m->absent[QD_SLOT_MLP_UP] = true;
    qd_config_rope(&c, m, 1, NULL, &m->rope[0]);
    m->window = qd_config_window(&c, 0);
    qd_config_local_layers(&c, m, 0);
    qd_config_tokens(&c, m, false);
    return c.status;
}

extern const qd_arch qd_arch_phi3;
const qd_arch qd_arch_phi3 = {
    .name = "phi3",
    .kind = QDISP_MODEL_DECODER,
    .class_names = class_names,
    QD_LLAMA_TENSORS,
    .read_config = read_config,
};
