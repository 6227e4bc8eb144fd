/* weights.c - the weights of a model: which file of a folder, and an index of shards as one file. */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tensor/quantized.h"
#include "tensor/tensor.h"

#define MAX_CONFIG_BYTES ((size_t)1 << 20)
#define MAX_INDEX_BYTES ((size_t)64 << 20) /* 100 bytes a tensor: of the largest models some MB */

/* --- shards --- */

typedef struct shards {
    qd_tensor_file *file;
    const char *folder; /* "" for the current one, else it ends with a slash */
    const char **names; /* [n] of the files, sorted */
    size_t n;
    size_t *ends; /* [n] tensors of the file after shard i was read */
} shards;

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A shard lies beside its index: nothing else is opened, whatever the index says. */
static bool is_plain_name(const char *name) {
    return *name && strcmp(name, ".") && strcmp(name, "..") && !strpbrk(name, "/\\:");
}

static qdisp_status collect_names(shards *s, json_t *map) {
    qd_tensor_file *file = s->file;
    size_t n_all = json_object_size(map), n = 0;
    s->names = qd_alloc(file->ctx, n_all ? n_all : 1, sizeof *s->names);
    s->ends = qd_alloc(file->ctx, n_all ? n_all : 1, sizeof *s->ends);
    if (!s->names || !s->ends) return QDISP_ENOMEM;
    const char *key;
    json_t *value;
    json_object_foreach(map, key, value) {
        const char *name = json_string_value(value);
        if (!name) return qd_fail(file->ctx, QDISP_EFORMAT, "%s: '%.200s': not the name of a file", file->path, key);
        if (!is_plain_name(name)) {
            return qd_fail(file->ctx, QDISP_EFORMAT, "%s: '%.200s': '%.200s' is not the name of a file in this folder",
                           file->path, key, name);
        }
        s->names[s->n++] = name;
    }
    qsort((void *)s->names, s->n, sizeof *s->names, compare_texts);
    for (size_t i = 0; i < s->n; i++)
        if (n == 0 || strcmp(s->names[n - 1], s->names[i])) s->names[n++] = s->names[i];
    s->n = n;
    return QDISP_OK;
}

static qdisp_status read_shard(shards *s, size_t i) {
    qd_tensor_file *file = s->file;
    char *path = qd_format(file->ctx, "%s%s", s->folder, s->names[i]);
    if (!path) return QDISP_ENOMEM;
    qdisp_status status = qd_tensor_file_map(file, path);
    if (status == QDISP_ENOTFOUND) {
        status = qd_fail(file->ctx, QDISP_ENOTFOUND, "%s: the shard '%.200s' is not there", file->path, s->names[i]);
    }
    if (status == QDISP_OK) status = qd_tensor_file_parse_last(file, false);
    qd_free(file->ctx, path);
    s->ends[i] = file->n_tensors;
    return status;
}

/* Every tensor of the map lies in the shard that it names, and in no other. */
static qdisp_status check_map(const shards *s, json_t *map) {
    qd_tensor_file *file = s->file;
    const char *key;
    json_t *value;
    for (size_t i = 1; i < file->n_tensors; i++) {
        const char *name = file->by_name[i]->name;
        if (!strcmp(file->by_name[i - 1]->name, name)) {
            return qd_fail(file->ctx, QDISP_EFORMAT, "%s: tensor '%.200s' is in two shards", file->path, name);
        }
    }
    json_object_foreach(map, key, value) {
        const qdisp_tensor *tensor = qd_tensor_file_find(file, key);
        const char *name = json_string_value(value);
        size_t i = 0;
        while (tensor && i < s->n && (size_t)(tensor - file->tensors) >= s->ends[i]) i++;
        if (!tensor || strcmp(s->names[i], name)) {
            return qd_fail(file->ctx, QDISP_EFORMAT, "%s: tensor '%.200s' is not in '%.200s'%s%.200s", file->path, key,
                           name, tensor ? ", but in " : "", tensor ? s->names[i] : "");
        }
    }
    return QDISP_OK;
}

static qdisp_status read_map(shards *s, json_t *index) {
    json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map)) {
        return qd_fail(s->file->ctx, QDISP_EFORMAT, "%s: no object weight_map: not an index of shards", s->file->path);
    }
    QD_TRY(collect_names(s, map));
    for (size_t i = 0; i < s->n; i++) QD_TRY(read_shard(s, i));
    qdisp_status status = qd_tensor_file_index(s->file);
    /* two of a name are told with the word shard */
    return status == QDISP_OK || status == QDISP_EFORMAT ? check_map(s, map) : status;
}

qdisp_status qd_shards_read(qd_tensor_file *file, const char *folder, const char *index, size_t n_index) {
    json_error_t error;
    json_t *json = json_loadb(index, n_index, JSON_REJECT_DUPLICATES, &error);
    if (!json) {
        return qd_fail(file->ctx, json_error_code(&error) == json_error_out_of_memory ? QDISP_ENOMEM : QDISP_EFORMAT,
                       "%s: line %d: %s", file->path, error.line, error.text);
    }
    shards s = {.file = file, .folder = folder};
    qdisp_status status = read_map(&s, json);
    qd_free(file->ctx, (void *)s.names);
    qd_free(file->ctx, s.ends);
    json_decref(json);
    return status;
}

/* --- a folder or a file --- */

static qdisp_status open_index(qdisp_ctx *ctx, const char *path, qd_tensor_file **out) {
    char *text = NULL, *folder = NULL;
    size_t n = 0;
    const char *slash = strrchr(path, '/');
    qd_tensor_file *file = NULL;
    qdisp_status status = qd_tensor_file_new(ctx, path, &file);
    if (status != QDISP_OK) return status;
    QD_TRY_GOTO(qd_read_file(ctx, path, MAX_INDEX_BYTES, &text, &n));
    folder = qd_strndup(ctx, path, slash ? (size_t)(slash - path) + 1 : 0);
    status = folder ? qd_shards_read(file, folder, text, n) : QDISP_ENOMEM;
done:
    qd_free(ctx, folder);
    qd_free(ctx, text);
    if (status == QDISP_OK) {
        *out = file;
    } else {
        qd_tensor_file_free(file);
    }
    return status;
}

/* JSON, and not safetensors, whose first 8 bytes are a length: a '{' there would make a header of 2^56 bytes. */
static qdisp_status looks_like_json(qdisp_ctx *ctx, const char *path, bool *is_json) {
    qd_mapped_file map;
    QD_TRY(qd_map_file(ctx, path, &map));
    size_t i = 0;
    while (i < map.size && i < 8 && strchr(" \t\r\n", map.data[i]) && map.data[i]) i++;
    *is_json = i < map.size && map.data[i] == '{' && map.size >= 8 && map.data[7] != 0;
    qd_unmap_file(&map);
    return QDISP_OK;
}

/* The only GGUF file of a folder; of a file in pieces the first (the reader of GGUF finds the others). */
static bool is_gguf_name(const char *name) {
    size_t n = strlen(name);
    if (n < 6 || strcmp(name + n - 5, ".gguf")) return false;
    const char *of = n > 20 ? name + n - 20 : NULL; /* -00001-of-00002.gguf */
    bool is_piece = of && of[0] == '-' && strspn(of + 1, "0123456789") == 5 && !strncmp(of + 6, "-of-", 4);
    return !is_piece || !strncmp(of, "-00001", 6);
}

static qdisp_status find_gguf(qdisp_ctx *ctx, const char *folder, char **out) {
    DIR *dir = opendir(folder);
    if (!dir) return qd_fail_errno(ctx, folder, errno);
    qdisp_status status = QDISP_OK;
    char *found = NULL;
    for (const struct dirent *e; status == QDISP_OK && (e = readdir(dir)) != NULL;) {
        if (!is_gguf_name(e->d_name)) continue;
        if (found) {
            status = qd_fail(ctx, QDISP_EUNSUPPORTED, "%s: several models in GGUF, '%.100s' is another: name one file",
                             found, e->d_name);
        } else {
            found = qd_format(ctx, "%s/%s", folder, e->d_name);
            if (!found) status = QDISP_ENOMEM;
        }
    }
    closedir(dir);
    if (status == QDISP_OK) {
        *out = found;
    } else {
        qd_free(ctx, found);
    }
    return status;
}

static const struct {
    const char *name;
    qdisp_status (*open)(qdisp_ctx *ctx, const char *path, qd_tensor_file **out);
} in_folder[] = {
    {"model.safetensors", qd_safetensors_open},
    {"model.safetensors.index.json", open_index},
    {"pytorch_model.bin", qd_tensor_file_open},
    {"pytorch_model.bin.index.json", open_index},
};

static qdisp_status open_folder(qdisp_ctx *ctx, const char *folder, qd_tensor_file **out) {
    for (size_t i = 0; i < sizeof in_folder / sizeof *in_folder; i++) {
        char *path = qd_format(ctx, "%s/%s", folder, in_folder[i].name);
        if (!path) return QDISP_ENOMEM;
        bool is_there = access(path, F_OK) == 0;
        qdisp_status status = is_there ? in_folder[i].open(ctx, path, out) : QDISP_OK;
        qd_free(ctx, path);
        if (is_there) return status;
    }
    char *path = NULL;
    QD_TRY(find_gguf(ctx, folder, &path));
    if (!path) {
        return qd_fail(ctx, QDISP_ENOTFOUND, "%s/model.safetensors: No such file, nor model.safetensors.index.json, "
                       "pytorch_model.bin, pytorch_model.bin.index.json or a .gguf", folder);
    }
    qdisp_status status = qd_tensor_file_open(ctx, path, out);
    qd_free(ctx, path);
    return status;
}

/* --- quantized ones --- */

static qdisp_status resolve_by(qd_tensor_file *file, const char *path) {
    char *text = NULL;
    size_t n = 0;
    json_error_t error;
    QD_TRY(qd_read_file(file->ctx, path, MAX_CONFIG_BYTES, &text, &n));
    json_t *config = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    qd_free(file->ctx, text);
    if (!config) {
        return qd_fail(file->ctx, json_error_code(&error) == json_error_out_of_memory ? QDISP_ENOMEM : QDISP_EFORMAT,
                       "%s: line %d: %s", path, error.line, error.text);
    }
    qdisp_status status = qd_quantized_resolve(file, config);
    json_decref(config);
    return status;
}

/* Says the config how, or one of the files beside it that older writers made? */
static qdisp_status resolve_folder(qd_tensor_file *file, const char *folder) {
    static const char *const configs[] = {"config.json", "quantize_config.json", "quant_config.json"};
    for (size_t i = 0, n = file->n_tensors; i < sizeof configs / sizeof *configs && file->n_tensors == n; i++) {
        char *path = qd_format(file->ctx, "%s/%s", folder, configs[i]);
        if (!path) return QDISP_ENOMEM;
        qdisp_status status = access(path, F_OK) == 0 ? resolve_by(file, path) : QDISP_OK;
        qd_free(file->ctx, path);
        QD_TRY(status);
    }
    return QDISP_OK;
}

static qdisp_status open_model(qdisp_ctx *ctx, const char *folder, qd_tensor_file **out) {
    qd_tensor_file *file = NULL;
    QD_TRY(open_folder(ctx, folder, &file));
    qdisp_status status = resolve_folder(file, folder);
    if (status != QDISP_OK) {
        qd_tensor_file_free(file);
        return status;
    }
    *out = file;
    return QDISP_OK;
}

qdisp_status qd_weights_open(qdisp_ctx *ctx, const char *path, qd_tensor_file **out) {
    if (qd_is_directory(path)) return open_model(ctx, path, out);
    bool is_json = false;
    QD_TRY(looks_like_json(ctx, path, &is_json));
    return is_json ? open_index(ctx, path, out) : qd_tensor_file_open(ctx, path, out);
}
