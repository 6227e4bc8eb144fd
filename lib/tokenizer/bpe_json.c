/* bpe_json.c - the BPE of a tokenizer.json: its options and merges. */
#include "tokenizer/bpe.h"
#include "tokenizer/json_lists.h"
#include <string.h>

static bool is_token(const qdisp_tokenizer *t, int32_t id, const char *left, size_t n_left, const char *right,
                     size_t n_right) {
    return (size_t)id < t->strings.n && t->strings.len[id] == n_left + n_right && t->in_model[id] &&
           !memcmp(t->strings.str[id], left, n_left) && !memcmp(t->strings.str[id] + n_left, right, n_right);
}

static qdisp_status no_token(const qd_place *place, size_t i_merge, const char *what, const char *token, size_t n) {
    return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s.merges[%zu]: %s '%.*s' is not in model.vocab", place->file,
                   place->member, i_merge, what, n > 40 ? 40 : (int)n, token);
}

static qdisp_status token_id(const qd_place *place, const qdisp_tokenizer *t, size_t i_merge, const char *what,
                             const char *token, size_t n, int32_t *out) {
    *out = qd_strings_find(&t->strings, token, n);
    return *out >= 0 && t->in_model[*out] ? QDISP_OK : no_token(place, i_merge, what, token, n);
}

/* The id of two strings together. Lists are mostly in the order of their results, so the last one and the next are
 * tried first. */
static qdisp_status result_id(const qd_place *place, const qdisp_tokenizer *t, size_t i_merge, const char *left,
                              size_t n_left, const char *right, size_t n_right, int32_t last, int32_t *out) {
    char few[256], *joined = few;
    for (*out = last; *out <= last + 1; (*out)++) {
        if (is_token(t, *out, left, n_left, right, n_right)) return QDISP_OK;
    }
    size_t n = n_left + n_right;
    if (n > sizeof few && !(joined = qd_alloc(place->ctx, n, 1))) return QDISP_ENOMEM;
    memcpy(joined, left, n_left);
    memcpy(joined + n_left, right, n_right);
    qdisp_status status = token_id(place, t, i_merge, "result", joined, n, out);
    if (joined != few) qd_free(place->ctx, joined);
    return status;
}

qdisp_status qd_merges_push(const qd_place *place, const qdisp_tokenizer *t, size_t i_merge, const char *left,
                            size_t n_left, const char *right, size_t n_right, size_t prefix_len, qd_merges *merges) {
    qd_merge m = {.rank = (uint32_t)merges->n};
    int32_t last = merges->n ? merges->items[merges->n - 1].id : 0;
    size_t cut = prefix_len < n_right ? prefix_len : n_right;
    QD_TRY(token_id(place, t, i_merge, "token", left, n_left, &m.left));
    QD_TRY(token_id(place, t, i_merge, "token", right, n_right, &m.right));
    QD_TRY(result_id(place, t, i_merge, left, n_left, right + cut, n_right - cut, last, &m.id));
    QD_TRY(qd_grow(place->ctx, (void **)&merges->items, &merges->cap, merges->n + 1, sizeof *merges->items));
    merges->items[merges->n++] = m;
    return QDISP_OK;
}

/* "a b" to its parts; *ok = false for a comment line of the older form. */
static qdisp_status split_merge(const qd_place *place, size_t i, char *part[2], size_t n[2], bool *ok) {
    char *text = part[0], *space = memchr(text, ' ', n[0]);
    size_t len = n[0];
    *ok = len < 8 || memcmp(text, "#version", 8) != 0;
    if (!*ok) return QDISP_OK;
    if (!space || memchr(space + 1, ' ', len - (size_t)(space + 1 - text))) {
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: model.merges[%zu]: neither \"a b\" nor [\"a\", \"b\"]",
                       place->file, i);
    }
    n[0] = (size_t)(space - text);
    part[1] = space + 1;
    n[1] = len - n[0] - 1;
    return QDISP_OK;
}

static qdisp_status read_merges(const qd_place *place, const qdisp_tokenizer *t, const char *prefix,
                                qd_merges *merges) {
    const qd_json_list *list = &t->lists->merges;
    size_t prefix_len = prefix ? strlen(prefix) : 0;
    char *at = list->begin, *part[2];
    if (!at) return qd_fail(place->ctx, QDISP_EFORMAT, "%s: model.merges: missing or not an array", place->file);
    QD_TRY(qd_grow(place->ctx, (void **)&merges->items, &merges->cap, list->n, sizeof *merges->items));
    for (size_t i = 0; i < list->n; i++) {
        size_t n[2];
        bool ok = true;
        qd_json_merge_next(&at, part, n);
        if (!part[1]) QD_TRY(split_merge(place, i, part, n, &ok));
        if (ok) QD_TRY(qd_merges_push(place, t, i, part[0], n[0], part[1], n[1], prefix_len, merges));
    }
    return QDISP_OK;
}

static qdisp_status read_text(const qd_place *place, const json_t *json, const char *name, const char **out) {
    size_t n = 0;
    QD_TRY(qd_json_string(place, json, name, false, out, &n));
    if (!*out || strlen(*out) == n) return QDISP_OK;
    return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: model.%s: holds a NUL", place->file, name);
}

static qdisp_status read_options(const qd_place *place, const json_t *json, qd_bpe_options *o) {
    const json_t *dropout = json_object_get(json, "dropout");
    if (dropout && !json_is_null(dropout) && !(json_is_number(dropout) && json_number_value(dropout) == 0.0)) {
        return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: model.dropout: tokens that depend on chance", place->file);
    }
    QD_TRY(read_text(place, json, "continuing_subword_prefix", &o->prefix));
    QD_TRY(read_text(place, json, "end_of_word_suffix", &o->suffix));
    QD_TRY(read_text(place, json, "unk_token", &o->unk_token));
    QD_TRY(qd_json_bool(place, json, "byte_fallback", false, &o->byte_fallback));
    QD_TRY(qd_json_bool(place, json, "fuse_unk", false, &o->fuse_unk));
    return qd_json_bool(place, json, "ignore_merges", false, &o->ignore_merges);
}

qdisp_status qd_bpe_open(const qd_place *place, qdisp_tokenizer *t, const json_t *json, void **out) {
    qd_bpe_options o = {.byte_level = qd_pretokenizer_is_byte_level(t->pretokenizer)};
    qd_merges merges = {0};
    QD_TRY(read_options(place, json, &o));
    qdisp_status status = read_merges(place, t, o.prefix, &merges);
    o.merges = &merges;
    if (status == QDISP_OK) status = qd_bpe_new(place, t, &o, out);
    qd_free(place->ctx, merges.items);
    return status;
}
