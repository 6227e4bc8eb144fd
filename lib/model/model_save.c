/* model_save.c - a model as a Hugging Face folder, which appears whole or not at all. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "model/model.h"

/* Copied if they are there: what a tokenizer and text generation need beside the model. */
static const char *const companions[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                         "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model",
                                         "generation_config.json"};
#define N_COMPANIONS (sizeof companions / sizeof *companions)

typedef struct save {
    const qdisp_model *model;
    qdisp_ctx *ctx;
    qd_folder *folder;
} save;

static qdisp_status write_config(const save *s) {
    json_t *json = json_loads(s->model->config_text, 0, NULL);
    /* transformers 4.56 renamed torch_dtype to dtype; both are kept true. */
    bool is_new = json_object_get(json, "dtype") != NULL;
    bool is_old = json_object_get(json, "torch_dtype") != NULL || !is_new;
    bool failed = !json;
    json_object_del(json, "quantization_config"); /* the weights are written as plain floats */
    if (is_new) failed |= json_object_set_new(json, "dtype", json_string("float32")) != 0;
    if (is_old) failed |= json_object_set_new(json, "torch_dtype", json_string("float32")) != 0;
    char *text = failed ? NULL : json_dumps(json, JSON_INDENT(2));
    qdisp_status status = text ? qd_folder_write(s->folder, "config.json", text, strlen(text))
                               : qd_fail(s->ctx, QDISP_ENOMEM, "config.json: out of memory");
    free(text); /* jansson's */
    json_decref(json);
    return status;
}

void qd_model_stored(const qdisp_model *m, size_t i_tensor, size_t first, size_t n, float *out) {
    const qdisp_tensor *t = &m->tensors[i_tensor];
    if (m->transposed[i_tensor]) {
        qd_tensor_read_transposed(m->ctx->kernels, t, first, n, out);
    } else {
        const float *x = qd_load_f32(m->ctx->kernels, t->data, (qdisp_dtype)t->dtype, first, n, out);
        if (x != out) memcpy(out, x, n * sizeof *out);
    }
}

static qdisp_status fill_f32(void *user, size_t i_tensor, uint64_t offset, void *out, size_t n_bytes) {
    const qdisp_model *m = user;
    qd_model_stored(m, i_tensor, (size_t)(offset / sizeof(float)), n_bytes / sizeof(float), out);
    return qd_cancelled(m->ctx) ? qd_fail(m->ctx, QDISP_ECANCELLED, "cancelled") : QDISP_OK;
}

static qdisp_status write_tensors(const save *s) {
    static const char *const metadata[] = {"format", "pt"};
    const qdisp_model *m = s->model;
    qdisp_tensor *tensors = qd_alloc(s->ctx, m->n_tensors, sizeof *tensors);
    const char *path = NULL;
    qdisp_status status = tensors ? qd_folder_file(s->folder, "model.safetensors", &path) : QDISP_ENOMEM;
    if (status != QDISP_OK) goto done;
    for (size_t i = 0; i < m->n_tensors; i++) {
        tensors[i] = m->tensors[i];
        tensors[i].dtype = QDISP_DTYPE_F32;
        tensors[i].n_bytes = qd_tensor_n_elements(&tensors[i]) * sizeof(float);
        if (m->transposed[i]) { /* as it was read */
            tensors[i].shape[0] = m->tensors[i].shape[1];
            tensors[i].shape[1] = m->tensors[i].shape[0];
        }
    }
    status = qd_safetensors_write(s->ctx, path, tensors, m->n_tensors, metadata, 1, fill_f32,
                                  (qdisp_model *)(uintptr_t)m);
done:
    qd_free(s->ctx, tensors);
    return status;
}

qdisp_status qd_model_companions(const qdisp_model *model, qd_folder *folder) {
    for (size_t i = 0; model->path && i < N_COMPANIONS; i++)
        QD_TRY(qd_folder_copy(folder, model->path, companions[i]));
    return QDISP_OK;
}

qdisp_status qdisp_model_save(const qdisp_model *model, const char *path) {
    if (!model) return QDISP_EINVAL;
    if (!path || !*path) return qd_fail(model->ctx, QDISP_EINVAL, "model: no path to save to");
    save s = {.model = model, .ctx = model->ctx};
    QD_TRY(qd_folder_open(s.ctx, path, &s.folder));
    qdisp_status status = write_config(&s);
    if (status == QDISP_OK) status = write_tensors(&s);
    if (status == QDISP_OK) status = qd_model_companions(model, s.folder);
    if (status == QDISP_OK) return qd_folder_commit(s.folder);
    qd_folder_discard(s.folder);
    return status;
}
