/* checkpoint.c - a quantized folder in writing. Names, shapes and places of all tensors are known before the first
 * matrix comes, so its parts are written to their places as it comes: memory of one matrix. */
#include "quant/checkpoint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_INDEX ".qdisp_kept_index"
#define KEPT_VALUE ".qdisp_kept_value"
enum { BLOCK = 1 << 18 }; /* floats at a time of what is copied */

size_t qd_module_length(const qd_choice *c) {
    size_t n = strlen(c->name);
    return n > 7 && !strcmp(c->name + n - 7, ".weight") ? n - 7 : 0;
}

/* ---- check ---- */

static qdisp_status check_choice(const qd_packing *p, const qd_choice *c, const char *form) {
    const char *why = NULL;
    if (c->type && strcmp(c->type, "int")) why = "holds integer codes only";
    else if (qd_module_length(c) == 0) why = "holds matrices named MODULE.weight only";
    else if (p->model->slots[c->i_tensor] == QD_SLOT_EMBED) why = "cannot hold a head that is the embedding, too";
    if (!why) return QDISP_OK;
    return qd_fail(p->ctx, QDISP_EUNSUPPORTED, "%s: %s %s (this is type '%s'): leave it out of the plan, or use "
                   "another format", c->name, form, why, c->type ? c->type : "int");
}

qdisp_status qd_checkpoint_check(const qd_packing *p, const char *form) {
    qd_fold *folds = NULL;
    QD_TRY(qd_folder_check(p->ctx, p->path));
    for (size_t i = 0; i < p->n_choices; i++) QD_TRY(check_choice(p, &p->choices[i], form));
    QD_TRY(qd_folds_make(p->model, p->choices, p->n_choices, &folds));
    qd_folds_free(p->model, folds);
    return QDISP_OK;
}

/* ---- the list of tensors ---- */

static bool is_folded(const qd_checkpoint *k, size_t i_tensor) {
    return k->folds[i_tensor].rows || k->folds[i_tensor].columns;
}

/* Tensors with folded factors get all of f32, as a product has more digits than its factors. */
static qdisp_dtype copied_dtype(const qd_checkpoint *k, size_t i_tensor) {
    const qdisp_tensor *t = &k->packing->model->tensors[i_tensor];
    return is_folded(k, i_tensor) ? QDISP_DTYPE_F32 : qd_tensor_value_dtype(t);
}

static qdisp_status add(qd_checkpoint *k, qdisp_tensor t) {
    QD_TRY(qd_grow(k->ctx, (void **)&k->tensors, &k->cap, k->n + 1, sizeof *k->tensors));
    t.n_bytes = qd_dtype_size((qdisp_dtype)t.dtype);
    for (uint32_t i = 0; i < t.n_dims; i++) t.n_bytes *= t.shape[i];
    t.data = NULL;
    k->tensors[k->n++] = t;
    return QDISP_OK;
}

static qdisp_status add_part(qd_checkpoint *k, const qd_choice *c, qd_module_part part) {
    QD_TRY(qd_grow(k->ctx, (void **)&k->names, &k->cap_names, k->n_names + 1, sizeof *k->names));
    char *name = qd_format(k->ctx, "%.*s%s", (int)qd_module_length(c), c->name, part.suffix);
    if (!name) return QDISP_ENOMEM;
    k->names[k->n_names++] = name;
    return add(k, (qdisp_tensor){.name = name, .dtype = part.dtype, .n_dims = part.n_dims,
                                 .shape = {part.shape[0], part.shape[1]}});
}

static qdisp_status add_module(qd_checkpoint *k, size_t i_choice, qd_module_parts list) {
    const qd_choice *c = &k->packing->choices[i_choice];
    qd_module_part parts[QD_MAX_PARTS];
    size_t n = list(c, parts);
    k->first[i_choice] = k->n;
    for (size_t i = 0; i < n; i++) QD_TRY(add_part(k, c, parts[i]));
    if (c->n_keep == 0) return QDISP_OK;
    bool bf16 = c->dtype == QDISP_DTYPE_BF16;
    qdisp_dtype dtype = is_folded(k, c->i_tensor) ? QDISP_DTYPE_F32 : bf16 ? QDISP_DTYPE_BF16 : QDISP_DTYPE_F16;
    QD_TRY(add_part(k, c, (qd_module_part){KEPT_INDEX, QDISP_DTYPE_I64, 1, {c->n_keep, 0}}));
    return add_part(k, c, (qd_module_part){KEPT_VALUE, dtype, 1, {c->n_keep, 0}});
}

static qdisp_status add_all(qd_checkpoint *k, qd_module_parts parts, size_t *copies) {
    const qdisp_model *m = k->packing->model;
    for (size_t i = 0; i < m->n_tensors; i++) copies[i] = SIZE_MAX;
    for (size_t i = 0; i < k->packing->n_choices; i++) {
        QD_TRY(add_module(k, i, parts));
        copies[k->packing->choices[i].i_tensor] = SIZE_MAX - 1;
    }
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (copies[i] == SIZE_MAX - 1) continue;
        qdisp_tensor t = m->tensors[i];
        t.dtype = copied_dtype(k, i);
        if (m->transposed[i]) { /* as it was read */
            t.shape[0] = m->tensors[i].shape[1];
            t.shape[1] = m->tensors[i].shape[0];
        }
        copies[i] = k->n;
        QD_TRY(add(k, t));
    }
    return QDISP_OK;
}

/* ---- what is copied ---- */

static void narrow(const float *x, size_t n, qdisp_dtype dtype, void *out) {
    if (dtype == QDISP_DTYPE_F32) memcpy(out, x, n * sizeof *x);
    for (size_t i = 0; dtype == QDISP_DTYPE_F16 && i < n; i++) ((uint16_t *)out)[i] = qd_f32_to_f16(x[i]);
    for (size_t i = 0; dtype == QDISP_DTYPE_BF16 && i < n; i++) ((uint16_t *)out)[i] = qd_f32_to_bf16(x[i]);
}

static qdisp_status copy_plain(qd_checkpoint *k, size_t i_tensor, size_t i_out, float *block, float *narrowed) {
    const qdisp_tensor *t = &k->tensors[i_out];
    size_t size = qd_dtype_size((qdisp_dtype)t->dtype), n = (size_t)(t->n_bytes / size);
    for (size_t first = 0; first < n; first += BLOCK) {
        size_t m = n - first < BLOCK ? n - first : BLOCK;
        qd_model_stored(k->packing->model, i_tensor, first, m, block);
        narrow(block, m, (qdisp_dtype)t->dtype, narrowed);
        QD_TRY(qd_safetensors_put(k->writer, i_out, first * size, narrowed, m * size));
        if (qd_cancelled(k->ctx)) return qd_fail(k->ctx, QDISP_ECANCELLED, "cancelled");
    }
    return QDISP_OK;
}

static qdisp_status copy_folded(qd_checkpoint *k, size_t i_tensor, size_t i_out) {
    const qdisp_model *m = k->packing->model;
    size_t n_rows, n_columns, n = (size_t)qd_tensor_n_elements(&m->tensors[i_tensor]);
    float *w = qd_alloc_aligned(k->ctx, 2 * n, sizeof *w), *out = w;
    if (!w) return QDISP_ENOMEM;
    n_rows = (size_t)m->tensors[i_tensor].shape[0];
    n_columns = n / n_rows;
    const float *x = qd_load_f32(m->ctx->kernels, m->tensors[i_tensor].data, (qdisp_dtype)m->tensors[i_tensor].dtype, 0,
                                 n, w);
    if (x != w) memcpy(w, x, n * sizeof *w);
    qd_fold_rows(m, k->folds, i_tensor, 0, n_rows, w);
    if (m->transposed[i_tensor]) {
        out = w + n;
        for (size_t r = 0; r < n_rows; r++)
            for (size_t j = 0; j < n_columns; j++) out[j * n_rows + r] = w[r * n_columns + j];
    }
    qdisp_status status = qd_safetensors_put(k->writer, i_out, 0, out, n * sizeof *out);
    qd_free_aligned(k->ctx, w);
    return status;
}

static qdisp_status copy_all(qd_checkpoint *k, const size_t *copies) {
    float *block = qd_alloc_aligned(k->ctx, 2 * BLOCK, sizeof *block);
    qdisp_status status = block ? QDISP_OK : QDISP_ENOMEM;
    for (size_t i = 0; i < k->packing->model->n_tensors && status == QDISP_OK; i++) {
        if (copies[i] == SIZE_MAX - 1) continue;
        status = is_folded(k, i) ? copy_folded(k, i, copies[i]) : copy_plain(k, i, copies[i], block, block + BLOCK);
    }
    qd_free_aligned(k->ctx, block);
    return status;
}

/* ---- open ---- */

/* Which languages the thresholds were chosen for, as far as the plan says. */
static const char *languages_of(const qd_packing *p) {
    const char *weights = NULL;
    for (size_t i = 0; i < p->n_choices; i++) {
        const char *own = p->choices[i].weights;
        if (own && weights && strcmp(own, weights)) return "differ from tensor to tensor: see the plan";
        if (own) weights = own;
    }
    return weights;
}

static const char *method_of(const qd_packing *p) {
    const char *name = p->n_choices && p->choices[0].method ? p->choices[0].method->name : "";
    for (size_t i = 1; i < p->n_choices; i++)
        if (p->choices[i].method && strcmp(p->choices[i].method->name, name)) return "mixed";
    return name;
}

static qdisp_status begin(qd_checkpoint *k) {
    const char *metadata[8] = {"format", "pt", "qdisp.version", qdisp_version(), "qdisp.method", method_of(k->packing),
                               "qdisp.language_weights", languages_of(k->packing)};
    const char *path = NULL;
    QD_TRY(qd_folder_open(k->ctx, k->packing->path, &k->folder));
    QD_TRY(qd_folder_file(k->folder, "model.safetensors", &path));
    return qd_safetensors_begin(k->ctx, path, k->tensors, k->n, metadata, metadata[7] ? 4 : 3, &k->writer);
}

qdisp_status qd_checkpoint_open(const qd_packing *packing, qd_module_parts parts, qd_checkpoint **out) {
    qd_checkpoint *k = qd_alloc(packing->ctx, 1, sizeof *k);
    if (!k) return QDISP_ENOMEM;
    *k = (qd_checkpoint){.packing = packing, .ctx = packing->ctx};
    size_t *copies = qd_alloc(k->ctx, packing->model->n_tensors, sizeof *copies);
    k->first = qd_alloc(k->ctx, packing->n_choices + 1, sizeof *k->first);
    qdisp_status status = copies && k->first ? QDISP_OK : QDISP_ENOMEM;
    if (status == QDISP_OK) status = qd_folds_make(packing->model, packing->choices, packing->n_choices, &k->folds);
    if (status == QDISP_OK) status = add_all(k, parts, copies);
    if (status == QDISP_OK) status = begin(k);
    if (status == QDISP_OK) status = copy_all(k, copies);
    qd_free(k->ctx, copies);
    if (status == QDISP_OK) *out = k;
    else qd_checkpoint_discard(k);
    return status;
}

/* ---- parts ---- */

qdisp_status qd_checkpoint_put(qd_checkpoint *k, size_t i_choice, size_t i_part, const void *bytes) {
    size_t i = k->first[i_choice] + i_part;
    return qd_safetensors_put(k->writer, i, 0, bytes, (size_t)k->tensors[i].n_bytes);
}

qdisp_status qd_checkpoint_put_kept(qd_checkpoint *k, size_t i_choice, size_t n_parts, const qd_codes *codes) {
    const qd_choice *c = &k->packing->choices[i_choice];
    const qd_fold *fold = &k->folds[c->i_tensor];
    if (c->n_keep == 0) return QDISP_OK;
    size_t i = k->first[i_choice] + n_parts;
    int64_t *index = qd_alloc(k->ctx, c->n_keep, sizeof *index);
    float *values = qd_alloc(k->ctx, 2 * c->n_keep, sizeof *values);
    qdisp_status status = index && values ? QDISP_OK : QDISP_ENOMEM;
    for (size_t j = 0; j < c->n_keep && status == QDISP_OK; j++) {
        size_t row = (size_t)(codes->kept[j].at / c->n_in), column = (size_t)(codes->kept[j].at % c->n_in);
        index[j] = (int64_t)codes->kept[j].at;
        values[j] = codes->kept[j].value;
        if (fold->columns) values[j] *= fold->columns[column];
        if (fold->rows) values[j] /= fold->rows[row];
    }
    if (status == QDISP_OK) {
        narrow(values, c->n_keep, (qdisp_dtype)k->tensors[i + 1].dtype, values + c->n_keep);
        status = qd_safetensors_put(k->writer, i, 0, index, c->n_keep * sizeof *index);
    }
    if (status == QDISP_OK)
        status = qd_safetensors_put(k->writer, i + 1, 0, values + c->n_keep, (size_t)k->tensors[i + 1].n_bytes);
    qd_free(k->ctx, index);
    qd_free(k->ctx, values);
    return status;
}

qdisp_status qd_checkpoint_scales(const qd_checkpoint *k, size_t i_choice, const qd_codes *codes, uint16_t *out) {
    const qd_choice *c = &k->packing->choices[i_choice];
    const float *rows = k->folds[c->i_tensor].rows;
    if (codes->block || codes->levels || codes->offsets)
        return qd_fail(k->ctx, QDISP_EUNSUPPORTED, "%s: its codes are not integers with integer zero points: use "
                       "format 'folder'", c->name);
    for (size_t i = 0; i < codes->n_out; i++)
        for (size_t g = 0; g < codes->n_groups; g++) {
            float scale = codes->scales[i * codes->n_groups + g] / (rows ? rows[i] : 1);
            uint16_t half = qd_f32_to_f16(scale);
            if (!isfinite(qd_f16_to_f32(half)))
                return qd_fail(k->ctx, QDISP_ENUMERIC, "%s: a scale of %g does not fit a 16-bit float", c->name,
                               (double)scale);
            out[i * codes->n_groups + g] = half;
        }
    return QDISP_OK;
}

/* ---- commit ---- */

static qdisp_status write_json(qd_checkpoint *k, const char *name, const json_t *json) {
    char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
    qdisp_status status = text ? qd_folder_write(k->folder, name, text, strlen(text))
                               : qd_fail(k->ctx, QDISP_ENOMEM, "%s: out of memory", name);
    free(text); /* jansson's */
    return status;
}

/* Scales are 16-bit floats, so the model computes in them. */
static json_t *model_config(const qd_checkpoint *k, json_t *quantization) {
    const qd_packing *p = k->packing;
    const char *languages = languages_of(p);
    json_t *json = json_loads(p->model->config_text, 0, NULL);
    json_t *provenance = json_pack("{s:s, s:s, s:s*}", "version", qdisp_version(), "method", method_of(p),
                                   "language_weights", languages);
    bool is_new = json_object_get(json, "dtype") != NULL;
    bool is_old = json_object_get(json, "torch_dtype") != NULL || !is_new;
    bool failed = !json || !provenance || json_object_set(json, "quantization_config", quantization) != 0 ||
                  json_object_set(json, "qdisp", provenance) != 0;
    if (is_new && !failed) failed = json_object_set_new(json, "dtype", json_string("float16")) != 0;
    if (is_old && !failed) failed = json_object_set_new(json, "torch_dtype", json_string("float16")) != 0;
    json_decref(provenance);
    if (!failed) return json;
    json_decref(json);
    return NULL;
}

static qdisp_status write_configs(qd_checkpoint *k, json_t *quantization, const char *extra_name) {
    json_t *config = quantization ? model_config(k, quantization) : NULL;
    qdisp_status status = write_json(k, "config.json", config);
    json_decref(config);
    return status == QDISP_OK && extra_name ? write_json(k, extra_name, quantization) : status;
}

qdisp_status qd_checkpoint_commit(qd_checkpoint *k, json_t *quantization, const char *extra_name) {
    qdisp_status status = qd_safetensors_commit(k->writer);
    k->writer = NULL;
    if (status == QDISP_OK) status = write_configs(k, quantization, extra_name);
    json_decref(quantization);
    if (status == QDISP_OK) status = qd_model_companions(k->packing->model, k->folder);
    if (status == QDISP_OK) {
        status = qd_folder_commit(k->folder);
        k->folder = NULL;
    }
    qd_checkpoint_discard(k);
    return status;
}

void qd_checkpoint_discard(qd_checkpoint *k) {
    if (!k) return;
    qd_safetensors_discard(k->writer);
    qd_folder_discard(k->folder);
    qd_folds_free(k->packing->model, k->folds);
    for (size_t i = 0; i < k->n_names; i++) qd_free(k->ctx, k->names[i]);
    qd_free(k->ctx, k->names);
    qd_free(k->ctx, k->tensors);
    qd_free(k->ctx, k->first);
    qd_free(k->ctx, k);
}
