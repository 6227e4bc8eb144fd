/* model.c - the model handle and its opening. */
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/assemble.h"
#include "model/gguf_model.h"
#include "tensor/quantized.h"

#define MAX_CONFIG_BYTES ((size_t)1 << 20) /* real ones have some thousand bytes */

const qd_slot_row qd_slot_rows[QD_N_SLOTS] = {
#define L 'L'
#define M 'M'
#define E 'E'
#define W 'W'
#define B 'B'
#define N 'N'
#define ROW(name, where, what, role) {where, what, role},
    QD_SLOTS(ROW)
#undef ROW
#undef L
#undef M
#undef E
#undef W
#undef B
#undef N
};

const qdisp_model *qd_model_ref(const qdisp_model *model) {
    qdisp_model *m = (qdisp_model *)(uintptr_t)model;
    __atomic_fetch_add(&m->n_refs, 1, __ATOMIC_RELAXED);
    return model;
}

void qdisp_model_free(qdisp_model *model) {
    if (!model || __atomic_sub_fetch(&model->n_refs, 1, __ATOMIC_ACQ_REL) != 0) return;
    qdisp_ctx *ctx = model->ctx;
    for (size_t i = 0; i < model->n_owned; i++) qd_free_aligned(ctx, model->owned[i]);
    qd_free(ctx, model->owned);
    qd_free(ctx, model->tensors);
    if (!model->base) { /* else these are the base's */
        qd_free(ctx, model->slots);
        qd_free(ctx, model->layers);
        qd_free(ctx, model->experts);
        qd_free(ctx, model->transposed);
        qd_free(ctx, model->index);
        qd_free(ctx, model->linear_index);
        qd_free(ctx, model->linears);
        qd_free(ctx, model->config_text);
        qd_free(ctx, model->path);
        qd_tensor_file_free(model->file);
    }
    qdisp_model_free((qdisp_model *)(uintptr_t)model->base);
    qd_free(ctx, model);
    qdisp_ctx_free(ctx);
}

size_t qd_model_at(const qdisp_model *model, size_t layer, size_t expert, qd_slot slot) {
    size_t i = qd_slot_rows[slot].where == 'E' ? QD_N_SLOTS + 3 * expert + (size_t)(slot - QD_SLOT_EXPERT_GATE) : slot;
    return layer * model->n_index + i;
}

size_t qd_model_index(const qdisp_model *model, size_t layer, size_t expert, qd_slot slot) {
    return model->index[qd_model_at(model, layer, expert, slot)];
}

size_t qd_model_linear_index(const qdisp_model *model, size_t layer, size_t expert, qd_slot slot) {
    return model->linear_index[qd_model_at(model, layer, expert, slot)];
}

/* --- opening --- */

static qdisp_status read_config(qdisp_model *m, const char *path) {
    json_error_t error;
    json_t *json = json_loads(m->config_text, JSON_REJECT_DUPLICATES, &error);
    if (!json) return qd_fail(m->ctx, QDISP_EFORMAT, "%s: line %d: %s", path, error.line, error.text);
    qdisp_status status = QDISP_OK;
    if (!json_is_object(json)) status = qd_fail(m->ctx, QDISP_EFORMAT, "%s: not a JSON object", path);
    if (status == QDISP_OK) status = qd_arch_find(m->ctx, path, json, &m->arch);
    if (status == QDISP_OK) status = qd_model_configure(m, path, json);
    json_decref(json);
    return status;
}

qdisp_status qd_model_configure(qdisp_model *m, const char *path, const json_t *json) {
    qd_model_config *c = &m->config;
    c->kind = m->arch->kind;
    c->decoder_start_id = -1;
    QD_TRY(m->arch->read_config(m->ctx, path, json, c));
    if (!c->n_word_embd) c->n_word_embd = c->n_embd;
    if (c->n_expert_used > c->n_expert) {
        return qd_fail(m->ctx, QDISP_EFORMAT, "%s: %zu experts a token, there are %zu", path, c->n_expert_used,
                       c->n_expert);
    }
    if (!c->n_ff) return qd_fail(m->ctx, QDISP_EFORMAT, "%s: the feed-forward network has no rows", path);
    for (size_t i = 0; i < c->n_layer; i++) {
        if (c->is_moe[i] && (!c->n_expert_used || !c->n_ff_expert)) {
            return qd_fail(m->ctx, QDISP_EFORMAT, "%s: layer %zu has experts, but their number or size is 0", path, i);
        }
    }
    return QDISP_OK;
}

static qdisp_status new_model(qdisp_ctx *ctx, qdisp_model **out) {
    qdisp_model *m = qd_alloc(ctx, 1, sizeof *m);
    if (!m) return QDISP_ENOMEM;
    m->ctx = qd_ctx_ref(ctx);
    m->n_refs = 1;
    *out = m;
    return QDISP_OK;
}

/* A GGUF file says itself what stands in config.json elsewhere. */
static qdisp_status read_gguf(qdisp_model *m) {
    qd_free(m->ctx, m->config_text);
    m->config_text = NULL;
    m->config = (qd_model_config){0};
    QD_TRY(qd_gguf_config(m->file, &m->config_text));
    QD_TRY(read_config(m, m->file->path));
    return qd_gguf_restore(m->file, m->arch, &m->config);
}

static qdisp_status read_config_file(qdisp_model *m, const char *path) {
    size_t size;
    QD_TRY(qd_read_file(m->ctx, path, MAX_CONFIG_BYTES, &m->config_text, &size));
    if (strlen(m->config_text) != size) return qd_fail(m->ctx, QDISP_EFORMAT, "%s: holds a zero byte", path);
    return read_config(m, path);
}

/* Quantized weights that did not come from a folder are read as the config says. */
static qdisp_status resolve(qdisp_model *m) {
    json_t *json = json_loads(m->config_text, 0, NULL);
    if (!json) return qd_fail(m->ctx, QDISP_ENOMEM, "%s: config", m->file->path);
    qdisp_status status = qd_quantized_resolve(m->file, json);
    json_decref(json);
    return status == QDISP_OK ? qd_experts_unstack(m->file) : status;
}

/* One file: a GGUF model, or the weights of the folder that it is in. */
static qdisp_status open_file(qdisp_model *m, const char *path) {
    QD_TRY(qd_weights_open(m->ctx, path, &m->file));
    if (m->file->gguf) {
        QD_TRY(read_gguf(m));
        return qd_model_assemble(m);
    }
    const char *slash = strrchr(path, '/');
    m->path = slash ? qd_strndup(m->ctx, path, (size_t)(slash - path)) : qd_strdup(m->ctx, ".");
    char *config_path = m->path ? qd_format(m->ctx, "%s/config.json", m->path) : NULL;
    if (!config_path) return QDISP_ENOMEM;
    qdisp_status status =
        access(config_path, F_OK) == 0
            ? read_config_file(m, config_path)
            : qd_fail(m->ctx, QDISP_EUNSUPPORTED, "%s: weights without a config.json beside them", path);
    qd_free(m->ctx, config_path);
    if (status == QDISP_OK) status = resolve(m);
    return status == QDISP_OK ? qd_model_assemble(m) : status;
}

static qdisp_status open_folder(qdisp_model *m, const char *path) {
    m->path = qd_strdup(m->ctx, path);
    char *config_path = qd_format(m->ctx, "%s/config.json", path);
    qdisp_status status = QDISP_ENOMEM;
    if (!m->path || !config_path) goto done;
    if (access(config_path, F_OK) != 0 && qd_weights_open(m->ctx, path, &m->file) == QDISP_OK && m->file->gguf) {
        QD_TRY_GOTO(read_gguf(m));
        status = qd_model_assemble(m);
        goto done;
    }
    QD_TRY_GOTO(read_config_file(m, config_path));
    QD_TRY_GOTO(qd_weights_open(m->ctx, m->path, &m->file));
    if (m->file->gguf) QD_TRY_GOTO(read_gguf(m));
    else QD_TRY_GOTO(qd_experts_unstack(m->file));
    status = qd_model_assemble(m);
done:
    qd_free(m->ctx, config_path);
    return status;
}

qdisp_status qdisp_model_open(qdisp_ctx *ctx, const char *path, qdisp_model **out) {
    if (!ctx) return QDISP_EINVAL;
    if (!path || !out) return qd_fail(ctx, QDISP_EINVAL, "model: no path or no place for the result");
    qdisp_model *m = NULL;
    QD_TRY(new_model(ctx, &m));
    bool is_file = !qd_is_directory(path) && access(path, F_OK) == 0;
    qdisp_status status = is_file ? open_file(m, path) : open_folder(m, path);
    if (status != QDISP_OK) {
        qdisp_model_free(m);
        return status;
    }
    *out = m;
    return QDISP_OK;
}

qdisp_status qdisp_model_from_tensors(qdisp_ctx *ctx, const char *config, const qdisp_tensor *tensors,
                                      size_t n_tensors, qdisp_model **out) {
    if (!ctx) return QDISP_EINVAL;
    if (!config || (!tensors && n_tensors) || !out) {
        return qd_fail(ctx, QDISP_EINVAL, "model: no config, no tensors or no place for the result");
    }
    qdisp_model *m = NULL;
    QD_TRY(new_model(ctx, &m));
    qdisp_status status = QDISP_ENOMEM;
    m->config_text = qd_strdup(ctx, config);
    if (!m->config_text) goto done;
    QD_TRY_GOTO(read_config(m, "config"));
    QD_TRY_GOTO(qd_tensor_file_from(ctx, "tensors", tensors, n_tensors, &m->file));
    QD_TRY_GOTO(resolve(m));
    QD_TRY_GOTO(qd_model_assemble(m));
    *out = m;
    return QDISP_OK;
done:
    qdisp_model_free(m);
    return status;
}
