/* model.c - the model handle: opening, checking, and what it tells about its tensors. */
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/arch.h"

#define MAX_CONFIG_BYTES ((size_t)1 << 20) /* real ones have some thousand bytes */

static const struct {
    bool in_layer;
    const char *role;
} slot_rows[QD_N_SLOTS] = {
#define L true
#define M false
#define ROW(name, where, role) {where, role},
    QD_SLOTS(ROW)
#undef ROW
#undef L
#undef M
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
        qd_free(ctx, model->index);
        qd_free(ctx, model->linears);
        qd_free(ctx, model->config_text);
        qd_free(ctx, model->path);
        qd_tensor_file_free(model->file);
    }
    qdisp_model_free((qdisp_model *)(uintptr_t)model->base);
    qd_free(ctx, model);
    qdisp_ctx_free(ctx);
}

size_t qd_model_index(const qdisp_model *model, size_t layer, qd_slot slot) {
    return model->index[layer * QD_N_SLOTS + slot];
}

/* --- checking tensors against the config --- */

typedef struct assembly {
    qdisp_model *model;
    bool prefixed;
    bool *used; /* [file->n_tensors] */
} assembly;

/* '#' becomes the layer. name has room for the longest spec, prefix and layer. */
static void spec_name(const assembly *a, const char *pattern, bool prefixed, size_t layer, char name[160]) {
    const char *mark = strchr(pattern, '#'), *prefix = prefixed ? a->model->arch->prefix : "";
    if (mark) {
        snprintf(name, 160, "%s%.*s%zu%s", prefix, (int)(mark - pattern), pattern, layer, mark + 1);
    } else {
        snprintf(name, 160, "%s%s", prefix, pattern);
    }
}

static uint64_t spec_size(const qd_model_config *c, char what) {
    switch (what) {
    case 'e': return c->n_embd;
    case 'f': return c->n_ff;
    case 'q': return 3 * c->n_embd;
    default: return c->n_vocab;
    }
}

static qdisp_status check_tensor(const qdisp_model *m, const qdisp_tensor *t, const char *dims) {
    uint64_t shape[4] = {0};
    uint32_t n = (uint32_t)strlen(dims);
    for (uint32_t i = 0; i < n; i++) shape[i] = spec_size(&m->config, dims[i]);
    if (t->n_dims != n || memcmp(t->shape, shape, n * sizeof *shape)) {
        char got[96], wanted[96];
        qd_tensor_shape_text(t->shape, t->n_dims, got);
        qd_tensor_shape_text(shape, n, wanted);
        return qd_fail(m->ctx, QDISP_EFORMAT, "%s: tensor '%s': shape %s, the config asks for %s", m->file->path,
                       t->name, got, wanted);
    }
    if (!qd_tensor_is_float(t)) {
        return qd_fail(m->ctx, QDISP_EUNSUPPORTED, "%s: tensor '%s': dtype %s is not supported in a model",
                       m->file->path, t->name, qd_tensor_format(t));
    }
    return QDISP_OK;
}

static qdisp_status add_tensor(assembly *a, const char *name, qd_slot slot, size_t layer, const char *dims) {
    qdisp_model *m = a->model;
    const qdisp_tensor *t = qd_tensor_file_find(m->file, name);
    if (!t) return qd_fail(m->ctx, QDISP_EFORMAT, "%s: tensor '%s' is missing", m->file->path, name);
    QD_TRY(check_tensor(m, t, dims));
    size_t i = m->n_tensors++;
    a->used[t - m->file->tensors] = true;
    m->tensors[i] = *t;
    m->slots[i] = slot;
    m->layers[i] = slot_rows[slot].in_layer ? (int)layer : -1;
    m->index[layer * QD_N_SLOTS + slot] = i;
    m->info.n_parameters += qd_tensor_n_elements(t);
    m->info.n_bytes += t->n_bytes;
    return QDISP_OK;
}

static qdisp_status add_specs(assembly *a) {
    const qd_arch *arch = a->model->arch;
    char name[160];
    spec_name(a, arch->specs[0].name, true, 0, name);
    a->prefixed = qd_tensor_file_find(a->model->file, name) != NULL;
    for (size_t first = 0, end; first < arch->n_specs; first = end) {
        bool in_layer = slot_rows[arch->specs[first].slot].in_layer;
        for (end = first; end < arch->n_specs && slot_rows[arch->specs[end].slot].in_layer == in_layer;) end++;
        for (size_t layer = 0; layer < (in_layer ? a->model->config.n_layer : 1); layer++) {
            for (size_t i = first; i < end; i++) {
                const qd_tensor_spec *spec = &arch->specs[i];
                spec_name(a, spec->name, a->prefixed, layer, name);
                QD_TRY(add_tensor(a, name, spec->slot, layer, spec->dims));
            }
        }
    }
    if (!a->model->config.tied_head) return add_tensor(a, arch->head_name, QD_SLOT_HEAD, 0, "ve");
    return QDISP_OK;
}

static qdisp_status check_rest(const assembly *a) {
    const qdisp_model *m = a->model;
    for (size_t i = 0; i < m->file->n_tensors; i++) {
        if (a->used[i]) continue;
        const qdisp_tensor *t = &m->file->tensors[i];
        if (m->config.tied_head && !strcmp(t->name, m->arch->head_name)) {
            /* Some writers repeat the tied head; the config says that the embedding stands for it. */
            QD_TRY(check_tensor(m, t, "ve"));
            qd_log(m->ctx, QDISP_LOG_INFO, "%s: tensor '%s' is tied to the embedding and left out", m->file->path,
                   t->name);
            continue;
        }
        return qd_fail(m->ctx, QDISP_EFORMAT, "%s: tensor '%.200s' has no place in a %s model of %zu layers",
                       m->file->path, t->name, m->arch->name, m->config.n_layer);
    }
    return QDISP_OK;
}

static void add_linear(qdisp_model *m, qd_slot slot, size_t layer, const char *role) {
    qd_linear *l = &m->linears[m->n_linears++];
    l->i_weight = qd_model_index(m, layer, slot);
    l->i_bias = slot_rows[slot].in_layer ? qd_model_index(m, layer, slot + 1) : QD_NONE;
    l->role = role;
    l->layer = slot_rows[slot].in_layer ? (int)layer : -1;
    l->n_out = (size_t)m->tensors[l->i_weight].shape[0];
    l->n_in = (size_t)m->tensors[l->i_weight].shape[1];
}

static void add_linears(qdisp_model *m) {
    static const qd_slot slots[] = {QD_SLOT_ATTN_QKV, QD_SLOT_ATTN_OUT, QD_SLOT_MLP_UP, QD_SLOT_MLP_DOWN};
    for (size_t layer = 0; layer < m->config.n_layer; layer++) {
        for (size_t i = 0; i < 4; i++) add_linear(m, slots[i], layer, slot_rows[slots[i]].role);
    }
    add_linear(m, m->config.tied_head ? QD_SLOT_EMBED : QD_SLOT_HEAD, 0, "head");
}

static qdisp_status assemble(qdisp_model *m) {
    const qd_model_config *c = &m->config;
    size_t capacity = m->file->n_tensors, n_index = c->n_layer * QD_N_SLOTS;
    /* A file with too few tensors is told by the first that is missing: never more than capacity are added. */
    assembly a = {.model = m, .used = qd_alloc(m->ctx, capacity + 1, sizeof *a.used)};
    m->tensors = qd_alloc(m->ctx, capacity + 1, sizeof *m->tensors);
    m->slots = qd_alloc(m->ctx, capacity + 1, sizeof *m->slots);
    m->layers = qd_alloc(m->ctx, capacity + 1, sizeof *m->layers);
    m->index = qd_alloc(m->ctx, n_index, sizeof *m->index);
    m->linears = qd_alloc(m->ctx, 4 * c->n_layer + 1, sizeof *m->linears);
    qdisp_status status = QDISP_ENOMEM;
    if (!a.used || !m->tensors || !m->slots || !m->layers || !m->index || !m->linears) goto done;
    for (size_t i = 0; i < n_index; i++) m->index[i] = QD_NONE;
    QD_TRY_GOTO(add_specs(&a));
    QD_TRY_GOTO(check_rest(&a));
    add_linears(m);
    m->info.architecture = m->arch->name;
    m->info.n_vocab = (uint32_t)c->n_vocab;
    m->info.n_layer = (uint32_t)c->n_layer;
    m->info.n_head = (uint32_t)c->n_head;
    m->info.n_embd = (uint32_t)c->n_embd;
    m->info.bos_id = c->bos_id;
    m->info.eos_id = c->eos_id;
done:
    qd_free(m->ctx, a.used);
    return status;
}

/* --- opening --- */

static qdisp_status read_config(qdisp_model *m, const char *path) {
    json_error_t error;
    json_t *json = json_loads(m->config_text, JSON_REJECT_DUPLICATES, &error);
    if (!json) return qd_fail(m->ctx, QDISP_EFORMAT, "%s: line %d: %s", path, error.line, error.text);
    qdisp_status status = QDISP_OK;
    if (!json_is_object(json)) status = qd_fail(m->ctx, QDISP_EFORMAT, "%s: not a JSON object", path);
    if (status == QDISP_OK) status = qd_arch_find(m->ctx, path, json, &m->arch);
    if (status == QDISP_OK) status = m->arch->read_config(m->ctx, path, json, &m->config);
    json_decref(json);
    return status;
}

static qdisp_status new_model(qdisp_ctx *ctx, qdisp_model **out) {
    qdisp_model *m = qd_alloc(ctx, 1, sizeof *m);
    if (!m) return QDISP_ENOMEM;
    m->ctx = qd_ctx_ref(ctx);
    m->n_refs = 1;
    *out = m;
    return QDISP_OK;
}

static qdisp_status open_folder(qdisp_model *m, const char *path) {
    m->path = qd_strdup(m->ctx, path);
    char *config_path = qd_format(m->ctx, "%s/config.json", path);
    qdisp_status status = QDISP_ENOMEM;
    if (!m->path || !config_path) goto done;
    size_t size;
    QD_TRY_GOTO(qd_read_file(m->ctx, config_path, MAX_CONFIG_BYTES, &m->config_text, &size));
    if (strlen(m->config_text) != size) {
        status = qd_fail(m->ctx, QDISP_EFORMAT, "%s: holds a zero byte", config_path);
        goto done;
    }
    QD_TRY_GOTO(read_config(m, config_path));
    QD_TRY_GOTO(qd_weights_open(m->ctx, m->path, &m->file));
    status = assemble(m);
done:
    qd_free(m->ctx, config_path);
    return status;
}

qdisp_status qdisp_model_open(qdisp_ctx *ctx, const char *path, qdisp_model **out) {
    if (!ctx) return QDISP_EINVAL;
    if (!path || !out) return qd_fail(ctx, QDISP_EINVAL, "model: no path or no place for the result");
    qdisp_model *m = NULL;
    QD_TRY(new_model(ctx, &m));
    qdisp_status status = open_folder(m, path);
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
    QD_TRY_GOTO(assemble(m));
    *out = m;
    return QDISP_OK;
done:
    qdisp_model_free(m);
    return status;
}

/* --- telling --- */

const qdisp_model_info *qdisp_model_describe(const qdisp_model *model) {
    return &model->info;
}

size_t qdisp_model_n_tensors(const qdisp_model *model) {
    return model->n_tensors;
}

qdisp_status qdisp_model_tensor(const qdisp_model *model, size_t i_tensor, qdisp_tensor *out) {
    if (i_tensor >= model->n_tensors) {
        return qd_fail(model->ctx, QDISP_EINVAL, "model: tensor %zu of %zu", i_tensor, model->n_tensors);
    }
    *out = model->tensors[i_tensor];
    return QDISP_OK;
}

const char *qdisp_model_role(const qdisp_model *model, size_t i_tensor) {
    return i_tensor < model->n_tensors ? slot_rows[model->slots[i_tensor]].role : NULL;
}

int qdisp_model_layer(const qdisp_model *model, size_t i_tensor) {
    return i_tensor < model->n_tensors ? model->layers[i_tensor] : -1;
}

qdisp_status qdisp_model_tensors(const qdisp_model *model, qdisp_table **out) {
    qdisp_table *table = NULL;
    QD_TRY(qdisp_table_new(model->ctx, "tensors", "Tensors of the model", &table));
    qdisp_status status = QDISP_OK;
    size_t name = qd_table_column(table, &status, "name", "", QDISP_COLUMN_STR);
    size_t role = qd_table_column(table, &status, "role", "", QDISP_COLUMN_STR);
    size_t layer = qd_table_column(table, &status, "layer", "", QDISP_COLUMN_I64);
    size_t dtype = qd_table_column(table, &status, "dtype", "", QDISP_COLUMN_STR);
    size_t shape = qd_table_column(table, &status, "shape", "", QDISP_COLUMN_STR);
    size_t n_parameters = qd_table_column(table, &status, "n_parameters", "", QDISP_COLUMN_I64);
    size_t n_bytes = qd_table_column(table, &status, "n_bytes", "B", QDISP_COLUMN_I64);
    for (size_t i = 0; i < model->n_tensors && status == QDISP_OK; i++) {
        const qdisp_tensor *t = &model->tensors[i];
        char text[96];
        qd_tensor_shape_text(t->shape, t->n_dims, text);
        size_t row = qd_table_row(table, &status);
        qd_table_str(table, &status, row, name, t->name);
        qd_table_str(table, &status, row, role, qdisp_model_role(model, i));
        qd_table_i64(table, &status, row, layer, model->layers[i] < 0 ? QDISP_MISSING_I64 : model->layers[i]);
        qd_table_str(table, &status, row, dtype, qd_dtype_name((qdisp_dtype)t->dtype));
        qd_table_str(table, &status, row, shape, text);
        qd_table_i64(table, &status, row, n_parameters, (int64_t)qd_tensor_n_elements(t));
        qd_table_i64(table, &status, row, n_bytes, (int64_t)t->n_bytes);
    }
    if (status != QDISP_OK) {
        qdisp_table_free(table);
        return status;
    }
    *out = table;
    return QDISP_OK;
}
