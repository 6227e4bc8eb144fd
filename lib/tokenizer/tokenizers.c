/* tokenizers.c - reads tokenizer.json: the table of model types, the vocabulary and the added tokens.
 *
 * Ids are those that the reference gives, not those that added_tokens states; where the two differ the file is refused,
 * since a model trained with one would be fed the other. Members that act only on request (truncation, padding) are not
 * read: nothing is truncated or padded here.
 *
 * Untrusted input: jansson stops at 2048 levels of nesting and checks UTF-8; ids must be below the file's size in
 * bytes, so memory stays in proportion to the file. */
#include "tokenizer/json_lists.h"
#include "tokenizer/sources.h"
#include <string.h>

static const qd_tokenizer_kind *const KINDS[] = {&qd_tokenizer_bpe, &qd_tokenizer_unigram, &qd_tokenizer_wordpiece,
                                               &qd_tokenizer_wordlevel};

#define MAX_ADDED_BYTES 1024 /* of one added token: bounds the matching at a position */

typedef struct loader {
    qd_place place;
    qdisp_tokenizer *t;
    const json_t *root, *model, *vocab, *added;
    qd_json_lists lists;
    size_t n_bytes; /* of the file */
    bool *is_added; /* [strings.n] */
} loader;

qdisp_status qd_json_bool(const qd_place *place, const json_t *object, const char *name, bool required, bool *out) {
    const json_t *value = json_object_get(object, name);
    if ((!value || json_is_null(value)) && !required) return QDISP_OK;
    if (!json_is_boolean(value)) {
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s.%s: %s", place->file, place->member, name,
                       value ? "not a boolean" : "missing");
    }
    *out = json_is_true(value);
    return QDISP_OK;
}

qdisp_status qd_json_string(const qd_place *place, const json_t *object, const char *name, bool required,
                            const char **out, size_t *n) {
    const json_t *value = json_object_get(object, name);
    if ((!value || json_is_null(value)) && !required) return QDISP_OK;
    if (!json_is_string(value)) {
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s.%s: %s", place->file, place->member, name,
                       value ? "not a string" : "missing");
    }
    *out = json_string_value(value);
    *n = json_string_length(value);
    return QDISP_OK;
}

qdisp_status qd_json_char(const qd_place *place, const json_t *object, const char *name, int32_t *out) {
    const char *text = NULL;
    size_t n = 0, len = 0;
    QD_TRY(qd_json_string(place, object, name, true, &text, &n));
    if (n) *out = qd_utf8_next((const uint8_t *)text, &len);
    if (n && len == n) return QDISP_OK;
    return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s.%s: not one character", place->file, place->member, name);
}

qdisp_status qd_json_pattern(const qd_place *place, const json_t *object, qd_pattern **out) {
    const json_t *pattern = json_object_get(object, "pattern");
    const json_t *literal = json_object_get(pattern, "String"), *regex = json_object_get(pattern, "Regex");
    const json_t *source = json_is_string(literal) ? literal : regex;
    if (!json_is_string(source)) {
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s.pattern: neither String nor Regex", place->file,
                       place->member);
    }
    return qd_pattern_new(place, json_string_value(source), json_string_length(source), source == literal, out);
}

/* ---- vocabulary ---- */

static qdisp_status check_id(const loader *l, const char *member, const json_t *value, int32_t *id) {
    if (!json_is_integer(value)) {
        return qd_fail(l->place.ctx, QDISP_EFORMAT, "%s: %s: the id is not an integer", l->place.file, member);
    }
    json_int_t v = json_integer_value(value);
    if (v < 0 || (uint64_t)v >= l->n_bytes || v >= INT32_MAX) {
        return qd_fail(l->place.ctx, QDISP_EFORMAT, "%s: %s: id %lld is %s", l->place.file, member, (long long)v,
                       v < 0 ? "negative" : "larger than the file has bytes");
    }
    *id = (int32_t)v;
    return QDISP_OK;
}

/* Unigram's vocabulary: [[token, score], ...]. */
static qdisp_status measure_list(loader *l, size_t *n_ids, size_t *n_pool) {
    const json_t *item;
    size_t i;
    json_array_foreach(l->vocab, i, item) {
        const json_t *token = json_array_get(item, 0);
        if (!json_is_string(token)) {
            return qd_fail(l->place.ctx, QDISP_EFORMAT, "%s: model.vocab[%zu]: not a token and its score",
                           l->place.file, i);
        }
        *n_pool += json_string_length(token) + 1;
    }
    *n_ids = json_array_size(l->vocab);
    return QDISP_OK;
}

/* Sizes first, so that every table is made once. */
static qdisp_status measure(loader *l, size_t *n_ids, size_t *n_pool) {
    int32_t id = 0;
    *n_ids = (size_t)(l->lists.max_id + 1);
    *n_pool = l->lists.vocab_bytes;
    if (json_is_array(l->vocab)) QD_TRY(measure_list(l, n_ids, n_pool));
    const json_t *item;
    size_t i;
    json_array_foreach(l->added, i, item) {
        char member[40];
        snprintf(member, sizeof member, "added_tokens[%zu]", i);
        qd_place place = l->place;
        place.member = member;
        const char *content = NULL;
        size_t n = 0;
        QD_TRY(qd_json_string(&place, item, "content", true, &content, &n));
        QD_TRY(check_id(l, member, json_object_get(item, "id"), &id));
        if (n > MAX_ADDED_BYTES) {
            return qd_fail(l->place.ctx, QDISP_EUNSUPPORTED, "%s: %s.content: longer than %d bytes", l->place.file,
                           member, MAX_ADDED_BYTES);
        }
        if (strlen(content) != n) {
            return qd_fail(l->place.ctx, QDISP_EUNSUPPORTED, "%s: %s.content: holds a NUL", l->place.file, member);
        }
        if ((size_t)id >= *n_ids) *n_ids = (size_t)id + 1;
        *n_pool += n + 1;
    }
    return QDISP_OK;
}

static void read_list(loader *l, size_t *used) {
    qdisp_tokenizer *t = l->t;
    const json_t *item;
    size_t i;
    json_array_foreach(l->vocab, i, item) {
        const json_t *token = json_array_get(item, 0);
        size_t n = json_string_length(token);
        char *to = t->pool + *used;
        memcpy(to, json_string_value(token), n + 1);
        qd_strings_add_again(&t->strings, (int32_t)i, to, n); /* of equal tokens the last holds, as in the reference */
        t->in_model[i] = true;
        *used += n + 1;
    }
}

static qdisp_status read_vocab(loader *l, size_t *used) {
    if (json_is_array(l->vocab)) {
        read_list(l, used);
        return QDISP_OK;
    }
    qdisp_tokenizer *t = l->t;
    char *at = l->lists.vocab.begin, *token;
    for (size_t i = 0; i < l->lists.vocab.n; i++) {
        int32_t id;
        size_t n;
        qd_json_vocab_next(&at, &token, &n, &id);
        char *to = t->pool + *used;
        if (memchr(token, 0, n)) {
            return qd_fail(l->place.ctx, QDISP_EUNSUPPORTED, "%s: model.vocab[%zu]: the token holds a NUL",
                           l->place.file, i);
        }
        if (t->strings.str[id]) {
            return qd_fail(l->place.ctx, QDISP_EFORMAT, "%s: model.vocab: id %d is given to '%.40s' and '%.40s'",
                           l->place.file, (int)id, t->strings.str[id], token);
        }
        memcpy(to, token, n + 1);
        if (!qd_strings_add(&t->strings, id, to, n)) {
            return qd_fail(l->place.ctx, QDISP_EFORMAT, "%s: model.vocab: duplicate key '%.40s'", l->place.file, token);
        }
        t->in_model[id] = true;
        *used += n + 1;
    }
    return QDISP_OK;
}

/* ---- added tokens ---- */

static qdisp_status normalized_content(loader *l, qd_added *token) {
    qdisp_tokenizer *t = l->t;
    qdisp_ctx *ctx = l->place.ctx;
    qd_encoder e = {.ctx = ctx, .tokenizer = t};
    qd_text plain = {.bytes = (const uint8_t *)token->content, .n = token->n};
    const qd_text *text = &plain;
    size_t begin = 0, end = token->n;
    qdisp_status status = qd_matcher_new(ctx, &e.matcher);
    if (status == QDISP_OK) status = qd_normalize(&e, t->normalizer, &text, &begin, &end);
    if (status == QDISP_OK && (end - begin != token->n || memcmp(text->bytes + begin, token->content, token->n))) {
        char *own = qd_strndup(ctx, (const char *)text->bytes + begin, end - begin);
        if (own) {
            token->content = own;
            token->n = end - begin;
        } else {
            status = QDISP_ENOMEM;
        }
    }
    qd_encoder_clear(&e);
    return status;
}

/* The id that the reference gives: that of model.vocab, else the next one behind the vocabulary. */
static qdisp_status place_token(loader *l, const char *member, const char *content, size_t n, int32_t stated,
                                int32_t *next, size_t *used) {
    qdisp_tokenizer *t = l->t;
    int32_t id = qd_strings_find(&t->strings, content, n);
    bool is_new = id < 0;
    if (is_new) id = (*next)++;
    if (id != stated) {
        return qd_fail(l->place.ctx, QDISP_EFORMAT, "%s: %s: '%.40s' has id %d, but %s gives it %d", l->place.file,
                       member, content, (int)stated, is_new ? "the size of model.vocab" : "model.vocab", (int)id);
    }
    if (is_new && t->strings.str[id]) {
        return qd_fail(l->place.ctx, QDISP_EFORMAT, "%s: %s: id %d is given to '%.40s' and '%.40s'", l->place.file,
                       member, (int)id, t->strings.str[id], content);
    }
    if (l->is_added[id]) {
        return qd_fail(l->place.ctx, QDISP_EFORMAT, "%s: %s: '%.40s' is there twice", l->place.file, member, content);
    }
    if (is_new) {
        char *to = t->pool + *used;
        memcpy(to, content, n + 1);
        qd_strings_add(&t->strings, id, to, n);
        *used += n + 1;
    }
    l->is_added[id] = true;
    return QDISP_OK;
}

static qdisp_status read_added_token(loader *l, size_t i, const json_t *item, int32_t *next, size_t *used) {
    qdisp_tokenizer *t = l->t;
    char member[40];
    snprintf(member, sizeof member, "added_tokens[%zu]", i);
    qd_place place = l->place;
    place.member = member;
    qd_added token = {0};
    QD_TRY(qd_json_string(&place, item, "content", true, &token.content, &token.n));
    QD_TRY(qd_json_bool(&place, item, "single_word", true, &token.single_word));
    QD_TRY(qd_json_bool(&place, item, "lstrip", true, &token.lstrip));
    QD_TRY(qd_json_bool(&place, item, "rstrip", true, &token.rstrip));
    QD_TRY(qd_json_bool(&place, item, "normalized", true, &token.normalized));
    QD_TRY(qd_json_bool(&place, item, "special", true, &token.special));
    if (!token.n) return QDISP_OK; /* the reference passes over it */
    token.id = (int32_t)json_integer_value(json_object_get(item, "id"));
    QD_TRY(place_token(l, member, token.content, token.n, token.id, next, used));
    token.content = t->strings.str[token.id];
    t->special[token.id] = token.special;
    if (token.normalized && t->normalizer) QD_TRY(normalized_content(l, &token));
    qd_added_set *set = token.normalized ? &t->normalized : &t->raw;
    set->items[set->n++] = token;
    if (token.n) return QDISP_OK;
    return qd_fail(l->place.ctx, QDISP_EFORMAT, "%s: %s: nothing is left of '%.40s' after normalizing", l->place.file,
                   member, t->strings.str[token.id]);
}

static qdisp_status read_added(loader *l, size_t n_vocab, size_t *used) {
    qdisp_tokenizer *t = l->t;
    int32_t next = (int32_t)n_vocab;
    size_t n = json_array_size(l->added), i;
    const json_t *item;
    if (!n) return QDISP_OK;
    t->raw.items = qd_alloc(l->place.ctx, n, sizeof *t->raw.items);
    t->normalized.items = qd_alloc(l->place.ctx, n, sizeof *t->normalized.items);
    if (!t->raw.items || !t->normalized.items) return QDISP_ENOMEM;
    json_array_foreach(l->added, i, item) QD_TRY(read_added_token(l, i, item, &next, used));
    qd_added_sort(&t->raw);
    qd_added_sort(&t->normalized);
    for (i = 1; i < t->normalized.n; i++) {
        const qd_added *a = &t->normalized.items[i - 1], *b = a + 1;
        if (a->n == b->n && !memcmp(a->content, b->content, a->n)) {
            return qd_fail(l->place.ctx, QDISP_EFORMAT,
                           "%s: added_tokens: '%.40s' and '%.40s' are the same when normalized",
                           l->place.file, t->strings.str[a->id], t->strings.str[b->id]);
        }
    }
    return QDISP_OK;
}

/* ---- the whole ---- */

static qdisp_status read_kind(loader *l) {
    const char *type = NULL;
    size_t n = 0;
    qd_place place = l->place;
    place.member = "model";
    QD_TRY(qd_json_string(&place, l->model, "type", false, &type, &n));
    if (!type && json_object_get(l->model, "merges")) type = "BPE"; /* older files leave it out */
    if (!type) return qd_fail(place.ctx, QDISP_EFORMAT, "%s: model.type: missing", place.file);
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        if (!strcmp(type, KINDS[i]->name)) {
            l->t->kind = KINDS[i];
            return KINDS[i]->open(&place, l->t, l->model, &l->t->model);
        }
    }
    return qd_fail(place.ctx, QDISP_EUNSUPPORTED, "%s: model: type '%.40s'", place.file, type);
}

/* Its existence is for the model type to check. */
static void read_unk(loader *l) {
    const json_t *token = json_object_get(l->model, "unk_token"), *id = json_object_get(l->model, "unk_id");
    l->t->unk_id = -1;
    if (json_is_string(token))
        l->t->unk_id = qd_strings_find(&l->t->strings, json_string_value(token), json_string_length(token));
    else if (json_is_integer(id) && json_integer_value(id) >= 0 &&
             (uint64_t)json_integer_value(id) < l->t->strings.n)
        l->t->unk_id = (int32_t)json_integer_value(id);
}

static size_t vocab_size(const loader *l) {
    return json_is_array(l->vocab) ? json_array_size(l->vocab) : l->lists.vocab.n;
}

static qdisp_status check_members(loader *l) {
    const qd_place *place = &l->place;
    if (!json_is_object(l->root)) {
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: the file is not a JSON object", place->file);
    }
    const char *version = json_string_value(json_object_get(l->root, "version"));
    if (version && strcmp(version, "1.0")) {
        return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: version: '%.40s'", place->file, version);
    }
    l->model = json_object_get(l->root, "model");
    if (!json_is_object(l->model)) {
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: model: %s", place->file, l->model ? "not an object" : "missing");
    }
    const char *type = json_string_value(json_object_get(l->model, "type"));
    bool known = !type;
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) known = known || !strcmp(type, KINDS[i]->name);
    if (!known) return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: model: type '%.40s'", place->file, type);
    l->vocab = json_object_get(l->model, "vocab");
    bool is_list = type && !strcmp(type, qd_tokenizer_unigram.name);
    if (!(is_list ? json_is_array(l->vocab) : json_is_object(l->vocab))) {
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: model.vocab: %s", place->file,
                       !l->vocab ? "missing" : is_list ? "not an array" : "not an object");
    }
    if (!is_list && !l->lists.vocab.begin) { /* only a name written with escapes is overlooked */
        return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: model.vocab: its name is written otherwise", place->file);
    }
    if (!vocab_size(l)) return qd_fail(place->ctx, QDISP_EFORMAT, "%s: model.vocab: empty", place->file);
    l->added = json_object_get(l->root, "added_tokens");
    if (l->added && !json_is_null(l->added) && !json_is_array(l->added)) {
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: added_tokens: not an array", place->file);
    }
    return QDISP_OK;
}

static qdisp_status load(loader *l) {
    qdisp_tokenizer *t = l->t;
    qdisp_ctx *ctx = l->place.ctx;
    size_t n_ids, n_pool, used = 0;
    l->n_bytes = l->lists.n_text;
    t->lists = &l->lists;
    QD_TRY(check_members(l));
    QD_TRY(measure(l, &n_ids, &n_pool));
    QD_TRY(qd_strings_new(ctx, n_ids, &t->strings));
    t->pool = qd_alloc(ctx, n_pool + 1, 1);
    t->in_model = qd_alloc(ctx, n_ids, 1);
    t->special = qd_alloc(ctx, n_ids, 1);
    l->is_added = qd_alloc(ctx, n_ids, 1);
    if (!t->pool || !t->in_model || !t->special || !l->is_added) return QDISP_ENOMEM;
    QD_TRY(read_vocab(l, &used));
    qd_place place = l->place;
    place.member = "normalizer";
    QD_TRY(qd_normalizer_new(&place, json_object_get(l->root, "normalizer"), &t->normalizer));
    place.member = "pre_tokenizer";
    QD_TRY(qd_pretokenizer_new(&place, json_object_get(l->root, "pre_tokenizer"), &t->pretokenizer));
    QD_TRY(read_added(l, vocab_size(l), &used));
    place.member = "decoder";
    QD_TRY(qd_decoder_read(&place, t, json_object_get(l->root, "decoder")));
    read_unk(l);
    place.member = "post_processor";
    QD_TRY(qd_template_read(&place, t, json_object_get(l->root, "post_processor")));
    return read_kind(l);
}

static qdisp_status open_json(const qd_source_job *job) {
    json_t *root = NULL;
    loader l = {.place = {.ctx = job->ctx, .file = job->file, .member = ""}, .t = job->t};
    qdisp_status status = qd_json_lists_read(job->ctx, job->file, QD_TOKENIZER_MAX_FILE, &l.lists, &root);
    l.root = root;
    if (status == QDISP_OK) status = load(&l);
    l.t->lists = NULL;
    json_decref(root);
    qd_json_lists_free(job->ctx, &l.lists);
    qd_free(job->ctx, l.is_added);
    return status;
}

/* JSON, or what is called so: the parser says what is wrong. */
static bool looks_like_json(const char *file, const uint8_t *head, size_t n) {
    size_t n_name = strlen(file), i = 0;
    if (n_name >= 5 && !strcmp(file + n_name - 5, ".json")) return true;
    if (n >= 3 && !memcmp(head, "\xEF\xBB\xBF", 3)) i = 3;
    while (i < n && memchr(" \t\r\n", head[i], 4)) i++;
    return i < n && (head[i] == '{' || head[i] == '[');
}

const qd_source qd_source_json = {"tokenizer.json", looks_like_json, open_json};

qdisp_tokenizer *qd_tokenizer_ref(const qdisp_tokenizer *tokenizer) {
    qdisp_tokenizer *t = (qdisp_tokenizer *)tokenizer;
    __atomic_add_fetch(&t->n_refs, 1, __ATOMIC_RELAXED);
    return t;
}

static void free_set(qdisp_tokenizer *t, qd_added_set *set) {
    for (size_t i = 0; i < set->n; i++) {
        if (set->items[i].content != t->strings.str[set->items[i].id]) qd_free(t->ctx, (char *)set->items[i].content);
    }
    qd_free(t->ctx, set->items);
}

void qdisp_tokenizer_free(qdisp_tokenizer *t) {
    if (!t || __atomic_sub_fetch(&t->n_refs, 1, __ATOMIC_ACQ_REL)) return;
    qdisp_ctx *ctx = t->ctx;
    for (size_t i = 0; i < QD_IDLE_ENCODERS; i++) qd_encoder_free(t->idle[i]);
    if (t->kind) t->kind->free(ctx, t->model);
    free_set(t, &t->raw);
    free_set(t, &t->normalized);
    qd_normalizer_free(ctx, t->normalizer);
    qd_pretokenizer_free(ctx, t->pretokenizer);
    qd_strings_free(ctx, &t->strings);
    qd_decoder_free(ctx, t->decoder);
    qd_strings_free(ctx, &t->decoded);
    qd_free(ctx, t->decoded_pool);
    qd_free(ctx, t->pool);
    qd_free(ctx, t->in_model);
    qd_free(ctx, t->special);
    qd_free(ctx, t->template_ids);
    qd_free(ctx, t);
    qdisp_ctx_free(ctx);
}
