/* model_save.c - a model as a Hugging Face folder, which appears whole or not at all. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/kernels.h"
#include "model/model.h"

/* Copied if they are there: what a tokenizer and text generation need beside the model. */
static const char *const companions[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                         "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model",
                                         "generation_config.json"};
#define N_COMPANIONS (sizeof companions / sizeof *companions)
#define LONGEST_NAME 32

typedef struct save {
    const qdisp_model *model;
    qdisp_ctx *ctx;
    char *path;   /* the target, without trailing slashes */
    char *folder; /* the temporary sibling */
    char *doomed; /* room for the path of a file in it: cleaning up must not need memory */
    size_t n_doomed;
    bool made;
} save;

static bool is_used(const char *path) {
    struct stat info;
    if (lstat(path, &info) != 0) return false;
    DIR *dir = S_ISDIR(info.st_mode) ? opendir(path) : NULL;
    if (!dir) return true;
    size_t n = 0;
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(dir);
    return n != 0;
}

/* The list of files is known, so nothing else can be removed. */
static void remove_folder(const save *s) {
    if (!s->made) return;
    static const char *const ours[] = {"config.json", "model.safetensors"};
    for (size_t i = 0; i < 2 + N_COMPANIONS; i++) {
        snprintf(s->doomed, s->n_doomed, "%s/%s", s->folder, i < 2 ? ours[i] : companions[i - 2]);
        unlink(s->doomed);
    }
    rmdir(s->folder);
}

static qdisp_status write_file(const save *s, const char *name, const void *bytes, size_t size) {
    char *path = qd_format(s->ctx, "%s/%s", s->folder, name);
    if (!path) return QDISP_ENOMEM;
    qd_output *output = NULL;
    qdisp_status status = qd_output_open(s->ctx, path, &output);
    if (status == QDISP_OK) status = qd_output_write(output, bytes, size);
    if (status == QDISP_OK) {
        status = qd_output_commit(output);
    } else {
        qd_output_discard(output);
    }
    qd_free(s->ctx, path);
    return status;
}

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
    qdisp_status status = text ? write_file(s, "config.json", text, strlen(text))
                               : qd_fail(s->ctx, QDISP_ENOMEM, "%s/config.json: out of memory", s->path);
    free(text); /* jansson's */
    json_decref(json);
    return status;
}

static qdisp_status fill_f32(void *user, size_t i_tensor, uint64_t offset, void *out, size_t n_bytes) {
    const qdisp_model *m = user;
    const qdisp_tensor *t = &m->tensors[i_tensor];
    size_t first = (size_t)(offset / sizeof(float)), n = n_bytes / sizeof(float);
    if (m->transposed[i_tensor]) {
        qd_tensor_read_transposed(m->ctx->kernels, t, first, n, out);
    } else {
        const float *x = qd_load_f32(m->ctx->kernels, t->data, (qdisp_dtype)t->dtype, first, n, out);
        if (x != out) memcpy(out, x, n_bytes);
    }
    return qd_cancelled(m->ctx) ? qd_fail(m->ctx, QDISP_ECANCELLED, "cancelled") : QDISP_OK;
}

static qdisp_status write_tensors(const save *s) {
    static const char *const metadata[] = {"format", "pt"};
    const qdisp_model *m = s->model;
    qdisp_tensor *tensors = qd_alloc(s->ctx, m->n_tensors, sizeof *tensors);
    char *path = qd_format(s->ctx, "%s/model.safetensors", s->folder);
    qdisp_status status = QDISP_ENOMEM;
    if (!tensors || !path) goto done;
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
    qd_free(s->ctx, path);
    qd_free(s->ctx, tensors);
    return status;
}

static qdisp_status copy_companion(const save *s, const char *name) {
    char *path = qd_format(s->ctx, "%s/%s", s->model->path, name);
    if (!path) return QDISP_ENOMEM;
    qd_mapped_file file = {0};
    qdisp_status status = QDISP_OK;
    if (access(path, F_OK) == 0) {
        status = qd_map_file(s->ctx, path, &file);
        if (status == QDISP_OK) status = write_file(s, name, file.data, file.size);
        qd_unmap_file(&file);
    }
    qd_free(s->ctx, path);
    return status;
}

static qdisp_status write_folder(save *s) {
    if (mkdir(s->folder, 0777) != 0) return qd_fail_errno(s->ctx, s->folder, errno);
    s->made = true;
    QD_TRY(write_config(s));
    QD_TRY(write_tensors(s));
    for (size_t i = 0; s->model->path && i < N_COMPANIONS; i++) QD_TRY(copy_companion(s, companions[i]));
    int fd = open(s->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd); /* the names; the files are synced already */
        close(fd);
    }
    /* An empty folder at the target is replaced; one that has filled meanwhile is not. */
    if (rename(s->folder, s->path) != 0) return qd_fail_errno(s->ctx, s->path, errno);
    s->made = false;
    return QDISP_OK;
}

qdisp_status qdisp_model_save(const qdisp_model *model, const char *path) {
    if (!model) return QDISP_EINVAL;
    if (!path || !*path) return qd_fail(model->ctx, QDISP_EINVAL, "model: no path to save to");
    save s = {.model = model, .ctx = model->ctx, .path = qd_strdup(model->ctx, path)};
    if (!s.path) return QDISP_ENOMEM;
    for (size_t n = strlen(s.path); n > 1 && s.path[n - 1] == '/'; n--) s.path[n - 1] = 0;
    qdisp_status status = QDISP_ENOMEM;
    s.folder = qd_format(s.ctx, "%s.tmp-%ld", s.path, (long)getpid());
    if (!s.folder) goto done;
    s.n_doomed = strlen(s.folder) + LONGEST_NAME + 2;
    s.doomed = qd_alloc(s.ctx, s.n_doomed, 1);
    if (!s.doomed) goto done;
    if (is_used(s.path)) {
        status = qd_fail(s.ctx, QDISP_EINVAL, "%s: exists and is no empty folder", s.path);
        goto done;
    }
    status = write_folder(&s);
    remove_folder(&s);
done:
    qd_free(s.ctx, s.doomed);
    qd_free(s.ctx, s.folder);
    qd_free(s.ctx, s.path);
    return status;
}
