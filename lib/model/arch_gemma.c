/* arch_gemma.c - Gemma (Gemma Team 2024): Llama with scaled embeddings, norms that multiply by 1 + weight, and GELU. */
#include <math.h>

#include "model/arch.h"

static const char *const class_names[] = {"GemmaForCausalLM", "GemmaModel", NULL};

void qd_config_gemma(qd_config *c, qd_model_config *m, const char *act_key) {
    m->head_dim = 256; /* where the config does not say */
    qd_config_llama(c, m, act_key);
    m->norm_offset = 1;
    m->embed_scale = sqrtf((float)m->n_embd);
    qd_config_tokens(c, m, true);
}

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    qd_config_gemma(&c, m, "hidden_act");
    /* The first configs say "gelu" and mean its approximation. */
    if (m->act == QD_ACT_GELU_ERF) m->act = QD_ACT_GELU_TANH;
    qd_config_rope(&c, m, 1, NULL, &m->rope[0]);
    return c.status;
}

extern const qd_arch qd_arch_gemma;
const qd_arch qd_arch_gemma = {
    .name = "gemma",
    .kind = QDISP_MODEL_DECODER,
    .class_names = class_names,
    QD_LLAMA_TENSORS,
    .read_config = read_config,
};
