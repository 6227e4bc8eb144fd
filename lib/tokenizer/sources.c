/* sources.c - opens a tokenizer from whatever holds one, told by content: the table of kinds of files. */
#include "tokenizer/sources.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

/* The first that matches; tokenizer.json last, as its parser says best what is wrong with any other text. */
static const qd_source *const SOURCES[] = {&qd_source_gguf, &qd_source_sentencepiece, &qd_source_tiktoken,
                                           &qd_source_json};

/* What a folder may hold, the best first. */
static const char *const NAMES[] = {"tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
                                    "sentencepiece.model", "tiktoken.model"};
static const char *const ENDINGS[] = {".tiktoken", ".model", ".gguf"};

/* ---- which file ---- */

static bool has_ending(const char *name) {
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ENDINGS / sizeof *ENDINGS; i++) {
        size_t len = strlen(ENDINGS[i]);
        if (n <= len || strcmp(name + n - len, ENDINGS[i])) continue;
        /* of a split GGUF file the first part has the vocabulary */
        const char *part = strstr(name, "-of-");
        return !part || part < name + 6 || !strncmp(part - 6, "-00001", 6);
    }
    return false;
}

/* The one file of the folder that looks like a tokenizer, as *found; NULL if there is none. */
static qdisp_status search_folder(qdisp_ctx *ctx, const char *folder, char **found) {
    DIR *dir = opendir(folder);
    if (!dir) return QDISP_OK; /* opening a file in it says why */
    qdisp_status status = QDISP_OK;
    const struct dirent *entry;
    while (status == QDISP_OK && (entry = readdir(dir))) {
        if (!has_ending(entry->d_name)) continue;
        if (*found) {
            status = qd_fail(ctx, QDISP_EINVAL, "%s: no tokenizer.json, and several others ('%.80s', '%.80s'): name "
                             "one", folder, *found, entry->d_name);
        } else if (!(*found = qd_strdup(ctx, entry->d_name))) {
            status = QDISP_ENOMEM;
        }
    }
    closedir(dir);
    return status;
}

static qdisp_status find_in_folder(qdisp_ctx *ctx, const char *folder, char **out) {
    char *found = NULL;
    qd_mapped_file file;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        char *path = qd_format(ctx, "%s/%s", folder, NAMES[i]);
        if (!path) return QDISP_ENOMEM;
        qdisp_status status = qd_map_file(ctx, path, &file);
        if (status != QDISP_ENOTFOUND) { /* any other trouble with it is told when it is opened */
            if (status == QDISP_OK) qd_unmap_file(&file);
            *out = path;
            return status == QDISP_ENOMEM ? status : QDISP_OK;
        }
        qd_free(ctx, path);
    }
    qdisp_status status = search_folder(ctx, folder, &found);
    if (status == QDISP_OK) {
        *out = qd_format(ctx, "%s/%s", folder, found ? found : "tokenizer.json");
        if (!*out) status = QDISP_ENOMEM;
    }
    qd_free(ctx, found);
    return status;
}

/* ---- which kind ---- */

static qdisp_status find_source(qdisp_ctx *ctx, const char *file, const qd_source **out) {
    uint8_t head[QD_SOURCE_HEAD];
    qd_mapped_file map;
    QD_TRY(qd_map_file(ctx, file, &map));
    size_t n = map.size < sizeof head ? map.size : sizeof head;
    qdisp_status status = n ? qd_read_mapped(ctx, &map, file, 0, n, head) : QDISP_OK;
    bool too_large = map.size > QD_TOKENIZER_MAX_FILE;
    qd_unmap_file(&map);
    if (status != QDISP_OK) return status;
    for (size_t i = 0; i < sizeof SOURCES / sizeof *SOURCES; i++) {
        if (!SOURCES[i]->matches(file, head, n)) continue;
        *out = SOURCES[i];
        return QDISP_OK;
    }
    if (too_large) return qd_fail(ctx, QDISP_EFORMAT, "%s: larger than %zu bytes", file, QD_TOKENIZER_MAX_FILE);
    return qd_fail(ctx, QDISP_EUNSUPPORTED, "%s: neither tokenizer.json, SentencePiece model, tiktoken ranks nor GGUF",
                   file);
}

static qdisp_status tokenizer_new(qdisp_ctx *ctx, qdisp_tokenizer **out) {
    qdisp_tokenizer *t = qd_alloc(ctx, 1, sizeof *t);
    if (!t) return QDISP_ENOMEM;
    t->ctx = qd_ctx_ref(ctx);
    t->n_refs = 1;
    t->unk_id = -1;
    *out = t;
    return QDISP_OK;
}

static qdisp_status open_file(qdisp_ctx *ctx, const char *file, const qdisp_tokenizer_options *options,
                              qdisp_tokenizer **out) {
    const qd_source *source = NULL;
    qd_source_job job = {.ctx = ctx, .file = file, .options = options};
    QD_TRY(find_source(ctx, file, &source));
    if ((options->encoding || options->special_tokens) && source != &qd_source_tiktoken) {
        return qd_fail(ctx, QDISP_EINVAL, "%s: an encoding or special tokens are for tiktoken's files: this is a "
                       "%s file", file, source->name);
    }
    QD_TRY(tokenizer_new(ctx, &job.t));
    qdisp_status status = source->open(&job);
    if (status == QDISP_OK) *out = job.t;
    else qdisp_tokenizer_free(job.t);
    return status;
}

/* "NAME:PATH" with the name of an encoding. */
static qdisp_status split_name(qdisp_ctx *ctx, const char **path, qdisp_tokenizer_options *options, char **name) {
    const char *colon = strchr(*path, ':');
    if (options->encoding || !colon || !qd_tiktoken_knows(*path, (size_t)(colon - *path))) return QDISP_OK;
    *name = qd_strndup(ctx, *path, (size_t)(colon - *path));
    if (!*name) return QDISP_ENOMEM;
    options->encoding = *name;
    *path = colon + 1;
    return QDISP_OK;
}

qdisp_status qdisp_tokenizer_open_as(qdisp_ctx *ctx, const char *path, const qdisp_tokenizer_options *options,
                                     qdisp_tokenizer **out) {
    if (!ctx) return QDISP_EINVAL;
    if (!path || !out) return qd_fail(ctx, QDISP_EINVAL, "qdisp_tokenizer_open: %s is NULL", path ? "out" : "path");
    qdisp_tokenizer_options given;
    char *name = NULL, *file = NULL;
    QD_TRY(qd_copy_options(ctx, "tokenizer options", options, &given, sizeof given));
    QD_TRY(split_name(ctx, &path, &given, &name));
    qdisp_status status = QDISP_OK;
    if (qd_is_directory(path)) status = find_in_folder(ctx, path, &file);
    else if (!(file = qd_strdup(ctx, path))) status = QDISP_ENOMEM;
    if (status == QDISP_OK) status = open_file(ctx, file, &given, out);
    qd_free(ctx, file);
    qd_free(ctx, name);
    return status;
}

qdisp_status qdisp_tokenizer_open(qdisp_ctx *ctx, const char *path, qdisp_tokenizer **out) {
    return qdisp_tokenizer_open_as(ctx, path, NULL, out);
}

/* ---- a vocabulary from memory ---- */

qdisp_status qd_vocab_new(qdisp_tokenizer *t, size_t n_ids, size_t n_bytes) {
    if (n_ids >= INT32_MAX || n_bytes > SIZE_MAX - n_ids - 1) {
        return qd_fail(t->ctx, QDISP_EFORMAT, "tokenizer: %zu tokens", n_ids);
    }
    QD_TRY(qd_strings_new(t->ctx, n_ids, &t->strings));
    t->pool = qd_alloc(t->ctx, n_bytes + n_ids + 1, 1);
    t->in_model = qd_alloc(t->ctx, n_ids + 1, 1);
    t->special = qd_alloc(t->ctx, n_ids + 1, 1);
    return t->pool && t->in_model && t->special ? QDISP_OK : QDISP_ENOMEM;
}

qdisp_status qd_vocab_put(const qd_place *place, qdisp_tokenizer *t, int32_t id, const char *str, size_t n,
                          size_t *used) {
    const char *why = NULL;
    if (id < 0 || (size_t)id >= t->strings.n) why = "an id outside the vocabulary";
    else if (t->strings.str[id]) why = "the id is given twice";
    else if (!n) why = "an empty string";
    else if (memchr(str, 0, n)) why = "a string with a NUL";
    else if (qd_utf8_check(str, n) != n) why = "not UTF-8";
    if (!why) {
        char *to = t->pool + *used;
        memcpy(to, str, n);
        to[n] = 0;
        if (qd_strings_add(&t->strings, id, to, n)) {
            t->in_model[id] = true;
            *used += n + 1;
            return QDISP_OK;
        }
        why = "the string is there twice";
    }
    return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s: token %d: %s", place->file, place->member, (int)id, why);
}

qdisp_status qd_vocab_add_special(qdisp_tokenizer *t, int32_t id, bool special, size_t reserve) {
    if (!t->raw.items) {
        t->raw.items = qd_alloc(t->ctx, reserve, sizeof *t->raw.items);
        if (!t->raw.items) return QDISP_ENOMEM;
    }
    t->special[id] = special;
    t->raw.items[t->raw.n++] = (qd_added){.content = t->strings.str[id], .n = t->strings.len[id], .id = id,
                                          .special = special};
    return QDISP_OK;
}

qdisp_status qd_vocab_pretokenizer(const qd_place *place, qdisp_tokenizer *t, json_t *json) {
    qdisp_status status = json ? qd_pretokenizer_new(place, json, &t->pretokenizer) : QDISP_ENOMEM;
    json_decref(json);
    return status;
}

qdisp_status qd_vocab_normalizer(const qd_place *place, qdisp_tokenizer *t, json_t *json) {
    qdisp_status status = json ? qd_normalizer_new(place, json, &t->normalizer) : QDISP_ENOMEM;
    json_decref(json);
    return status;
}

qdisp_status qd_vocab_decoder(const qd_place *place, qdisp_tokenizer *t, json_t *json) {
    qdisp_status status = json ? qd_decoder_read(place, t, json) : QDISP_ENOMEM;
    json_decref(json);
    return status;
}

json_t *qd_split_json(const char *const *patterns, size_t n) {
    json_t *steps = json_array();
    json_t *all = json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", steps);
    int failed = !all;
    for (size_t i = 0; i < n && !failed && patterns[i]; i++) {
        if (!*patterns[i]) continue;
        failed = json_array_append_new(steps, json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern",
                                                        "Regex", patterns[i], "behavior", "Isolated", "invert", 0));
    }
    if (!failed)
        failed = json_array_append_new(steps, json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel",
                                                        "add_prefix_space", 0, "trim_offsets", 0, "use_regex", 0));
    if (!failed) return all;
    json_decref(all);
    return NULL;
}
