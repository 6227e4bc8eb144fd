/* gguf_vocab.c - a tokenizer.json as the vocabulary of a GGUF file: what source_gguf.c reads, written. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/gguf.h"
#include "tokenizer/normalize.h"
#include "tokenizer/sources.h"
#include "tokenizer/spm.h"

#define KEY(name) "tokenizer.ggml." name
#define MAX_PATTERNS 6

typedef struct token {
    const char *text; /* NULL: no token has the id */
    size_t n;
    int32_t type;
    float score;
} token;

typedef struct vocab {
    qdisp_ctx *ctx;
    const char *folder, *file; /* file: of the tokenizer, for messages */
    json_t *json, *config, *settings; /* tokenizer.json, config.json, tokenizer_config.json; the others may be NULL */
    const json_t *model;
    token *tokens; /* [n_tokens] */
    size_t n_tokens;
    qd_gguf_writer *w;
} vocab;

static qdisp_status refuse(const vocab *v, qdisp_status status, const char *where, const char *why) {
    return qd_fail(v->ctx, status, "%s: %s: %s", v->file, where, why);
}

/* A file of the folder as JSON; NULL if it is not there or no JSON. */
static json_t *load(const vocab *v, const char *name) {
    char *path = qd_format(v->ctx, "%s/%s", v->folder, name);
    json_t *json = path ? json_load_file(path, JSON_ALLOW_NUL, NULL) : NULL;
    qd_free(v->ctx, path);
    return json;
}

/* ---- tokens ---- */

static qdisp_status put_token(vocab *v, int64_t id, const json_t *text, int32_t type, float score) {
    if (id < 0 || !json_is_string(text)) return refuse(v, QDISP_EFORMAT, "vocabulary", "an id or token that is none");
    if ((uint64_t)id >= v->n_tokens) return QDISP_OK; /* beyond the model's rows: no use */
    v->tokens[id] = (token){json_string_value(text), json_string_length(text), type, score};
    return QDISP_OK;
}

static qdisp_status read_map(vocab *v) {
    json_t *map = json_object_get(v->model, "vocab"), *id;
    const char *name;
    if (!json_is_object(map)) return refuse(v, QDISP_EFORMAT, "model.vocab", "not an object");
    json_object_foreach(map, name, id) {
        /* the key's own string, as long as the object lives */
        int64_t at = json_is_integer(id) ? (int64_t)json_integer_value(id) : -1;
        if (at < 0) return refuse(v, QDISP_EFORMAT, "model.vocab", "an id that is no number");
        if ((uint64_t)at < v->n_tokens) v->tokens[at] = (token){name, strlen(name), QD_PIECE_NORMAL, 0};
    }
    return QDISP_OK;
}

static qdisp_status read_pieces(vocab *v) {
    const json_t *list = json_object_get(v->model, "vocab"), *item;
    size_t i;
    if (!json_is_array(list)) return refuse(v, QDISP_EFORMAT, "model.vocab", "not a list");
    json_array_foreach(list, i, item) {
        double score = json_number_value(json_array_get(item, 1));
        QD_TRY(put_token(v, (int64_t)i, json_array_get(item, 0), QD_PIECE_NORMAL, (float)score));
    }
    return QDISP_OK;
}

static qdisp_status read_added(vocab *v) {
    const json_t *list = json_object_get(v->json, "added_tokens"), *item;
    size_t i;
    json_array_foreach(list, i, item) {
        const json_t *id = json_object_get(item, "id");
        bool special = json_is_true(json_object_get(item, "special"));
        QD_TRY(put_token(v, json_is_integer(id) ? (int64_t)json_integer_value(id) : -1,
                         json_object_get(item, "content"), special ? QD_PIECE_CONTROL : QD_PIECE_USER_DEFINED,
                         -1000));
    }
    return QDISP_OK;
}

static int64_t id_of(const vocab *v, const char *text) {
    for (size_t i = 0; text && i < v->n_tokens; i++)
        if (v->tokens[i].text && !strcmp(v->tokens[i].text, text)) return (int64_t)i;
    return -1;
}

static void put_tokens(const vocab *v) {
    char name[32];
    qd_gguf_put_texts(v->w, KEY("tokens"), v->n_tokens);
    for (size_t i = 0; i < v->n_tokens; i++) {
        const token *t = &v->tokens[i];
        if (t->text) qd_gguf_put_element(v->w, t->text, t->n);
        else qd_gguf_put_element(v->w, name, (size_t)snprintf(name, sizeof name, "[PAD%zu]", i));
    }
}

static qdisp_status put_types(const vocab *v, bool scores) {
    int32_t *types = qd_alloc(v->ctx, v->n_tokens, sizeof *types);
    float *values = qd_alloc(v->ctx, v->n_tokens, sizeof *values);
    for (size_t i = 0; types && values && i < v->n_tokens; i++) {
        types[i] = v->tokens[i].text ? v->tokens[i].type : QD_PIECE_UNUSED;
        values[i] = v->tokens[i].text ? v->tokens[i].score : -10000;
    }
    if (types && values) qd_gguf_put_array(v->w, KEY("token_type"), QD_GGUF_I32, types, v->n_tokens);
    if (types && values && scores) qd_gguf_put_array(v->w, KEY("scores"), QD_GGUF_F32, values, v->n_tokens);
    qdisp_status status = types && values ? QDISP_OK : QDISP_ENOMEM;
    qd_free(v->ctx, types);
    qd_free(v->ctx, values);
    return status;
}

/* ---- byte-level BPE: merges, and the pre-tokenizer's name ---- */

static qdisp_status put_merges(const vocab *v) {
    const json_t *list = json_object_get(v->model, "merges"), *item;
    size_t i;
    qd_gguf_put_texts(v->w, KEY("merges"), json_array_size(list));
    json_array_foreach(list, i, item) {
        const json_t *a = json_array_get(item, 0), *b = json_array_get(item, 1);
        if (json_is_string(item)) {
            qd_gguf_put_element(v->w, json_string_value(item), json_string_length(item));
        } else if (json_is_string(a) && json_is_string(b)) {
            char *text = qd_format(v->ctx, "%s %s", json_string_value(a), json_string_value(b));
            if (!text) return QDISP_ENOMEM;
            qd_gguf_put_element(v->w, text, strlen(text));
            qd_free(v->ctx, text);
        } else {
            return refuse(v, QDISP_EFORMAT, "model.merges", "neither a string nor a pair of them");
        }
    }
    return QDISP_OK;
}

/* The pattern of a step of the pre-tokenizer, NULL: no step that cuts by a pattern. */
static const char *pattern_of(const json_t *step) {
    const char *type = json_string_value(json_object_get(step, "type"));
    const json_t *use_regex = json_object_get(step, "use_regex");
    if (!type) return NULL;
    if (!strcmp(type, "Split")) return json_string_value(json_object_get(json_object_get(step, "pattern"), "Regex"));
    if (!strcmp(type, "Digits") && json_is_true(json_object_get(step, "individual_digits"))) return "\\p{N}";
    if (!strcmp(type, "ByteLevel") && !json_is_false(use_regex)) return QD_PATTERN_GPT2;
    return NULL;
}

static qdisp_status find_pre(const vocab *v, const char **out) {
    const json_t *pre = json_object_get(v->json, "pre_tokenizer"), *list = json_object_get(pre, "pretokenizers");
    const char *patterns[MAX_PATTERNS + 1];
    size_t n = 0, n_steps = list ? json_array_size(list) : 1;
    for (size_t i = 0; i < n_steps && n <= MAX_PATTERNS; i++) {
        const char *pattern = pattern_of(list ? json_array_get(list, i) : pre);
        if (pattern) patterns[n++] = pattern;
    }
    bool ignore_merges = json_is_true(json_object_get(v->model, "ignore_merges"));
    *out = n && n <= MAX_PATTERNS ? qd_pretokenizer_name(patterns, n, ignore_merges) : NULL;
    if (*out) return QDISP_OK;
    return qd_fail(v->ctx, QDISP_EUNSUPPORTED, "%s: pre_tokenizer: GGUF has no name for it ('%.120s')", v->file,
                   n ? patterns[0] : "");
}

static bool is_byte_level(const vocab *v) {
    const json_t *pre = json_object_get(v->json, "pre_tokenizer"), *list = json_object_get(pre, "pretokenizers");
    for (size_t i = 0; i < (list ? json_array_size(list) : 1); i++) {
        const char *type = json_string_value(json_object_get(list ? json_array_get(list, i) : pre, "type"));
        if (type && !strcmp(type, "ByteLevel")) return true;
    }
    return false;
}

static qdisp_status put_gpt2(vocab *v) {
    const char *pre;
    QD_TRY(find_pre(v, &pre));
    QD_TRY(read_map(v));
    QD_TRY(read_added(v));
    qd_gguf_put_text(v->w, KEY("model"), "gpt2");
    qd_gguf_put_text(v->w, KEY("pre"), pre);
    put_tokens(v);
    QD_TRY(put_types(v, false));
    return put_merges(v);
}

/* ---- BPE with bytes as a fallback, as SentencePiece has it: the order of merges as scores ---- */

static void score_merges(vocab *v, json_t *places) {
    const json_t *list = json_object_get(v->model, "merges"), *item;
    size_t i;
    json_array_foreach(list, i, item) {
        const char *pair = json_string_value(item), *space = pair && *pair ? strchr(pair + 1, ' ') : NULL;
        const char *a = json_string_value(json_array_get(item, 0)), *b = json_string_value(json_array_get(item, 1));
        char merged[1024];
        int n = space       ? snprintf(merged, sizeof merged, "%.*s%s", (int)(space - pair), pair, space + 1)
                : a && b ? snprintf(merged, sizeof merged, "%s%s", a, b)
                            : -1;
        const json_t *place = n > 0 && n < (int)sizeof merged ? json_object_get(places, merged) : NULL;
        if (!json_is_integer(place) || (uint64_t)json_integer_value(place) >= v->n_tokens) continue;
        token *t = &v->tokens[json_integer_value(place)];
        if (t->type == QD_PIECE_NORMAL && t->score == 0) t->score = -1 - (float)i;
    }
    /* what no merge makes comes last: llama.cpp joins any two whose text is a token */
    for (i = 0; i < v->n_tokens; i++)
        if (v->tokens[i].text && v->tokens[i].score == 0) v->tokens[i].score = -1 - (float)json_array_size(list);
}

/* A token <0x41>. */
static bool is_byte(const token *t) {
    return t->n == 6 && !memcmp(t->text, "<0x", 3) && t->text[5] == '>';
}

static qdisp_status put_llama(vocab *v) {
    const char *unknown = json_string_value(json_object_get(v->model, "unk_token"));
    const json_t *normalizer = json_object_get(v->json, "normalizer");
    char *text = json_dumps(normalizer, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
    bool prefix = text && strstr(text, "\"Prepend\""); /* a space before the text */
    free(text);
    QD_TRY(read_map(v));
    score_merges(v, json_object_get(v->model, "vocab"));
    QD_TRY(read_added(v));
    int64_t unk = id_of(v, unknown);
    for (size_t i = 0; i < v->n_tokens; i++)
        if (v->tokens[i].text && is_byte(&v->tokens[i])) v->tokens[i].type = QD_PIECE_BYTE;
    if (unk >= 0) v->tokens[unk].type = QD_PIECE_UNKNOWN;
    qd_gguf_put_text(v->w, KEY("model"), "llama");
    qd_gguf_put_text(v->w, KEY("pre"), "default");
    put_tokens(v);
    if (unk >= 0) qd_gguf_put_u32(v->w, KEY("unknown_token_id"), (uint32_t)unk);
    qd_gguf_put_bool(v->w, KEY("add_space_prefix"), prefix);
    return put_types(v, true);
}

/* ---- Unigram ---- */

/* The charsmap of a normalizer or of one of its parts. */
static const json_t *find_charsmap(const json_t *normalizer) {
    const json_t *own = json_object_get(normalizer, "precompiled_charsmap"), *item;
    const json_t *list = json_object_get(normalizer, "normalizers");
    size_t i;
    json_array_foreach(list, i, item) {
        if (!own) own = json_object_get(item, "precompiled_charsmap");
    }
    return json_is_string(own) ? own : NULL;
}

static qdisp_status put_charsmap(const vocab *v) {
    const json_t *text = find_charsmap(json_object_get(v->json, "normalizer"));
    qd_place place = {.ctx = v->ctx, .file = v->file, .member = "normalizer"};
    uint8_t *map = NULL;
    size_t n = 0;
    if (!text) return QDISP_OK;
    QD_TRY(qd_base64_decode(&place, json_string_value(text), json_string_length(text), &map, &n));
    qd_gguf_put_array(v->w, KEY("precompiled_charsmap"), QD_GGUF_U8, map, n);
    qd_free(v->ctx, map);
    return QDISP_OK;
}

static qdisp_status put_t5(vocab *v) {
    const json_t *unknown = json_object_get(v->model, "unk_id");
    QD_TRY(read_pieces(v));
    QD_TRY(read_added(v));
    json_int_t unk = json_is_integer(unknown) ? json_integer_value(unknown) : -1;
    qd_gguf_put_text(v->w, KEY("model"), "t5");
    qd_gguf_put_text(v->w, KEY("pre"), "default");
    put_tokens(v);
    if (unk >= 0 && (uint64_t)unk < v->n_tokens) {
        v->tokens[unk].type = QD_PIECE_UNKNOWN;
        qd_gguf_put_u32(v->w, KEY("unknown_token_id"), (uint32_t)unk);
    }
    qd_gguf_put_bool(v->w, KEY("add_space_prefix"), true);
    qd_gguf_put_bool(v->w, KEY("remove_extra_whitespaces"), true);
    QD_TRY(put_charsmap(v));
    return put_types(v, true);
}

/* ---- special tokens ---- */

/* An id that config.json has under a name; a list gives its first. */
static int64_t config_id(const vocab *v, const char *name) {
    const json_t *id = json_object_get(v->config, name);
    if (json_is_array(id)) id = json_array_get(id, 0);
    return json_is_integer(id) ? (int64_t)json_integer_value(id) : -1;
}

static void put_id(const vocab *v, const char *key, int64_t id) {
    if (id >= 0 && (uint64_t)id < v->n_tokens) qd_gguf_put_u32(v->w, key, (uint32_t)id);
}

static qdisp_status put_specials(const vocab *v) {
    qdisp_tokenizer *t;
    size_t n_before, n_after;
    QD_TRY(qdisp_tokenizer_open(v->ctx, v->file, &t));
    const int32_t *before = qdisp_tokenizer_prefix(t, &n_before), *after = qdisp_tokenizer_suffix(t, &n_after);
    put_id(v, KEY("bos_token_id"), n_before ? before[0] : config_id(v, "bos_token_id"));
    put_id(v, KEY("eos_token_id"), n_after ? after[n_after - 1] : config_id(v, "eos_token_id"));
    qd_gguf_put_bool(v->w, KEY("add_bos_token"), n_before > 0);
    qd_gguf_put_bool(v->w, KEY("add_eos_token"), n_after > 0);
    qdisp_tokenizer_free(t);
    const json_t *pad = json_object_get(v->settings, "pad_token");
    const json_t *chat = json_object_get(v->settings, "chat_template");
    if (json_is_object(pad)) pad = json_object_get(pad, "content");
    put_id(v, KEY("padding_token_id"), id_of(v, json_string_value(pad)));
    if (json_is_string(chat)) qd_gguf_put_text(v->w, "tokenizer.chat_template", json_string_value(chat));
    return QDISP_OK;
}

/* ---- the whole ---- */

static qdisp_status put_all(vocab *v) {
    v->model = json_object_get(v->json, "model");
    const char *type = json_string_value(json_object_get(v->model, "type"));
    bool pieces = json_is_array(json_object_get(v->model, "vocab"));
    v->tokens = qd_alloc(v->ctx, v->n_tokens, sizeof *v->tokens);
    if (!v->tokens) return QDISP_ENOMEM;
    if (!type) type = json_object_get(v->model, "merges") ? "BPE" : pieces ? "Unigram" : "?";
    if (!strcmp(type, "BPE")) QD_TRY(is_byte_level(v) ? put_gpt2(v) : put_llama(v));
    else if (!strcmp(type, "Unigram")) QD_TRY(put_t5(v));
    else return qd_fail(v->ctx, QDISP_EUNSUPPORTED, "%s: model.type '%.40s' cannot be written as GGUF", v->file, type);
    return put_specials(v);
}

qdisp_status qd_vocab_put_gguf(qdisp_ctx *ctx, const char *folder, size_t n_vocab, qd_gguf_writer *w) {
    vocab v = {.ctx = ctx, .folder = folder, .n_tokens = n_vocab, .w = w};
    char *path = qd_format(ctx, "%s/tokenizer.json", folder);
    if (!path) return QDISP_ENOMEM;
    qdisp_status status = QDISP_OK;
    v.file = path;
    v.json = load(&v, "tokenizer.json");
    v.config = load(&v, "config.json");
    v.settings = load(&v, "tokenizer_config.json");
    if (v.json) status = put_all(&v);
    else qd_gguf_put_text(w, KEY("model"), "none");
    qd_free(ctx, v.tokens);
    json_decref(v.json);
    json_decref(v.config);
    json_decref(v.settings);
    qd_free(ctx, path);
    return status;
}
