/* arch_mistral.c - Mistral (Jiang et al. 2023): Llama whose layers see a window of the keys. */
#include "model/arch.h"

static const char *const class_names[] = {"MistralForCausalLM", "MistralModel", NULL};

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    qd_config_llama(&c, m, "hidden_act");
    qd_config_rope(&c, m, 1, NULL, &m->rope[0]);
    m->window = qd_config_window(&c, 4096);
    qd_config_local_layers(&c, m, 0);
    qd_config_tokens(&c, m, false);
    return c.status;
}

extern const qd_arch qd_arch_mistral;
const qd_arch qd_arch_mistral = {
    .name = "mistral",
    .kind = QDISP_MODEL_DECODER,
    .class_names = class_names,
    QD_LLAMA_TENSORS,
    .read_config = read_config,
};
