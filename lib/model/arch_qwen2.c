/* arch_qwen2.c - Qwen2 and Qwen2.5 (Yang et al. 2024): Llama with biases at q, k and v; upper layers may see a
 * window. */
#include "model/arch.h"

static const char *const class_names[] = {"Qwen2ForCausalLM", "Qwen2Model", NULL};

void qd_config_qwen_window(qd_config *c, qd_model_config *m) {
    if (!qd_config_bool_or(c, "use_sliding_window", false)) return;
    m->window = qd_config_window(c, 4096);
    size_t first = qd_config_size_or(c, "max_window_layers", NULL, QD_MAX_LAYERS, 28);
    qd_config_local_layers(c, m, 0);
    if (json_is_array(json_object_get(c->json, "layer_types"))) return;
    for (size_t i = 0; i < m->n_layer; i++) m->is_local[i] = i >= first;
}

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    qd_config_llama(&c, m, "hidden_act");
    m->absent[QD_SLOT_ATTN_Q_BIAS] = m->absent[QD_SLOT_ATTN_K_BIAS] = m->absent[QD_SLOT_ATTN_V_BIAS] = false;
    qd_config_rope(&c, m, 1, NULL, &m->rope[0]);
    qd_config_qwen_window(&c, m);
    qd_config_tokens(&c, m, false);
    return c.status;
}

extern const qd_arch qd_arch_qwen2;
const qd_arch qd_arch_qwen2 = {
    .name = "qwen2",
    .kind = QDISP_MODEL_DECODER,
    .class_names = class_names,
    QD_LLAMA_TENSORS,
    .read_config = read_config,
};
