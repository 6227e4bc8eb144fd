/* arch_gemma3.c - Gemma 3, text (Gemma Team 2025): Gemma 2 with norms of queries and keys; layers that see a window
 * have rotary positions of their own. */
#include "model/arch.h"

static const char *const class_names[] = {"Gemma3ForCausalLM", "Gemma3TextModel", NULL};
static const char *const model_types[] = {"gemma3_text", NULL};

static void read_rope(qd_config *c, qd_model_config *m) {
    m->local_rope = true;
    m->rope[0].theta = 1e6; /* where the config does not say */
    qd_config_rope(c, m, 1, "full_attention", &m->rope[0]);
    m->rope[1].theta = 10000;
    if (json_is_object(json_object_get(c->json, "rope_parameters"))) {
        qd_config_rope(c, m, 1, "sliding_attention", &m->rope[1]);
    } else { /* older configs: rope_scaling is of the other layers alone */
        m->rope[1] = (qd_rope){.n_rot = m->head_dim, .n_original = m->rope[0].n_original};
        m->rope[1].theta = qd_config_number_or(c, "rope_local_base_freq", 1e-3, 1e12, 10000);
    }
}

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    qd_config_gemma2(&c, m, 0, 0);
    m->absent[QD_SLOT_Q_NORM] = m->absent[QD_SLOT_K_NORM] = false;
    size_t period = qd_config_size_or(&c, "sliding_window_pattern", "_sliding_window_pattern", QD_MAX_LAYERS, 6);
    qd_config_local_layers(&c, m, period);
    if (qd_config_bool_or(&c, "use_bidirectional_attention", false)) {
        qd_config_fail(&c, QDISP_EUNSUPPORTED, "use_bidirectional_attention is not supported");
    }
    read_rope(&c, m);
    return c.status;
}

extern const qd_arch qd_arch_gemma3;
const qd_arch qd_arch_gemma3 = {
    .name = "gemma3",
    .kind = QDISP_MODEL_DECODER,
    .class_names = class_names,
    .model_types = model_types,
    QD_GEMMA2_TENSORS,
    .read_config = read_config,
};
