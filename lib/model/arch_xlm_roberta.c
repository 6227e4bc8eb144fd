/* arch_xlm_roberta.c - XLM-RoBERTa (Conneau et al. 2020) and RoBERTa: BERT with positions counted from the padding id's
 * successor. Padding inside a text, which has no position of its own there, is not expected. */
#include "model/arch.h"

static const char *const class_names[] = {"XLMRobertaForMaskedLM", "RobertaForMaskedLM", "CamembertForMaskedLM", NULL};
static const char *const model_types[] = {"xlm-roberta", "roberta", "camembert", NULL};

static const char *const ignored[] = {"embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias",
                                      "lm_head.decoder.bias", NULL};

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *m) {
    qd_config c = {ctx, path, json, QDISP_OK};
    size_t pad = qd_config_size_or(&c, "pad_token_id", NULL, QD_MAX_VOCAB, 1);
    qd_config_bert(&c, m, pad + 1);
    m->head_act = QD_ACT_GELU_ERF;
    return c.status;
}

extern const qd_arch qd_arch_xlm_roberta;
const qd_arch qd_arch_xlm_roberta = {
    .name = "xlm_roberta",
    .kind = QDISP_MODEL_MASKED,
    .class_names = class_names,
    .model_types = model_types,
    .prefix = "roberta.",
    .head_name = "lm_head.decoder.weight",
    .specs = qd_bert_specs,
    .n_specs = QD_N_BERT_SPECS,
    .ignored = ignored,
    .read_config = read_config,
};
