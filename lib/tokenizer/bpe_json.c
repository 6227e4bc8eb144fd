/* bpe_json.c - the BPE of a tokenizer.json: its options and merges. */
#include "tokenizer/bpe.h"
#include <string.h>

static qdisp_status token_id(const qd_place *place, const qdisp_tokenizer *t, size_t i_merge, const char *what,
                             const char *token, size_t n, int32_t *out) {
    *out = qd_strings_find(&t->strings, token, n);
    if (*out >= 0 && t->in_model[*out]) return QDISP_OK;
    return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s.merges[%zu]: %s '%.*s' is not in model.vocab", place->file,
                   place->member, i_merge, what, n > 40 ? 40 : (int)n, token);
}

qdisp_status qd_merges_push(const qd_place *place, const qdisp_tokenizer *t, size_t i_merge, const char *left,
                            size_t n_left, const char *right, size_t n_right, size_t prefix_len, qd_merges *merges) {
    qd_merge m = {.rank = (uint32_t)merges->n};
    char few[256], *joined = few;
    QD_TRY(token_id(place, t, i_merge, "token", left, n_left, &m.left));
    QD_TRY(token_id(place, t, i_merge, "token", right, n_right, &m.right));
    QD_TRY(qd_grow(place->ctx, (void **)&merges->items, &merges->cap, merges->n + 1, sizeof *merges->items));
    size_t cut = prefix_len < n_right ? prefix_len : n_right, n = n_left + n_right - cut;
    if (n > sizeof few && !(joined = qd_alloc(place->ctx, n, 1))) return QDISP_ENOMEM;
    memcpy(joined, left, n_left);
    memcpy(joined + n_left, right + cut, n_right - cut);
    qdisp_status status = token_id(place, t, i_merge, "result", joined, n, &m.id);
    if (joined != few) qd_free(place->ctx, joined);
    if (status == QDISP_OK) merges->items[merges->n++] = m;
    return status;
}

/* "a b" or ["a", "b"]; *ok = false for a comment line of the older form. */
static qdisp_status split_merge(const qd_place *place, const json_t *item, size_t i, const char *part[2], size_t n[2],
                                bool *ok) {
    *ok = true;
    if (json_is_array(item) && json_array_size(item) == 2 && json_is_string(json_array_get(item, 0)) &&
        json_is_string(json_array_get(item, 1))) {
        for (size_t k = 0; k < 2; k++) {
            part[k] = json_string_value(json_array_get(item, k));
            n[k] = json_string_length(json_array_get(item, k));
        }
        return QDISP_OK;
    }
    if (json_is_string(item)) {
        const char *text = json_string_value(item);
        size_t len = json_string_length(item);
        const char *space = memchr(text, ' ', len);
        *ok = len < 8 || memcmp(text, "#version", 8) != 0;
        if (!*ok) return QDISP_OK;
        if (space && !memchr(space + 1, ' ', len - (size_t)(space + 1 - text))) {
            part[0] = text;
            n[0] = (size_t)(space - text);
            part[1] = space + 1;
            n[1] = len - n[0] - 1;
            return QDISP_OK;
        }
    }
    return qd_fail(place->ctx, QDISP_EFORMAT, "%s: model.merges[%zu]: neither \"a b\" nor [\"a\", \"b\"]",
                   place->file, i);
}

static qdisp_status read_merges(const qd_place *place, const qdisp_tokenizer *t, const json_t *json,
                                const char *prefix, qd_merges *merges) {
    const json_t *list = json_object_get(json, "merges"), *item;
    size_t i, prefix_len = prefix ? strlen(prefix) : 0;
    if (!json_is_array(list)) {
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: model.merges: missing or not an array", place->file);
    }
    json_array_foreach(list, i, item) {
        const char *part[2] = {0};
        size_t n[2] = {0};
        bool ok;
        QD_TRY(split_merge(place, item, i, part, n, &ok));
        if (!ok) continue;
        QD_TRY(qd_merges_push(place, t, i, part[0], n[0], part[1], n[1], prefix_len, merges));
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
    qdisp_status status = read_merges(place, t, json, o.prefix, &merges);
    o.merges = &merges;
    if (status == QDISP_OK) status = qd_bpe_new(place, t, &o, out);
    qd_free(place->ctx, merges.items);
    return status;
}
