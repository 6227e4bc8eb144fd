/* template.c - what the post-processor puts around a text: [CLS] x [SEP], <s> x </s>, a beginning of text.
 *
 * Only the template for one text is read, and a sequence may hold one processor that puts tokens. What a processor does
 * to offsets has no meaning here: starts are never trimmed. */
#include "tokenizer/tokenizer.h"
#include <string.h>

#define MAX_TOKENS 1024 /* of a template; published ones have at most a few */

typedef struct reader {
    const qd_place *place;
    const qdisp_tokenizer *t;
    bool framed; /* a processor has put tokens */
    int32_t before[MAX_TOKENS], after[MAX_TOKENS];
    size_t n_before, n_after;
} reader;

static qdisp_status unsupported(const reader *r, const char *what) {
    return qd_fail(r->place->ctx, QDISP_EUNSUPPORTED, "%s: %s: %s", r->place->file, r->place->member, what);
}

static qdisp_status bad(const reader *r, const char *why) {
    return qd_fail(r->place->ctx, QDISP_EFORMAT, "%s: %s: %s", r->place->file, r->place->member, why);
}

static qdisp_status add(const reader *r, int32_t *ids, size_t *n, const json_t *id) {
    json_int_t v = json_integer_value(id);
    if (!json_is_integer(id) || v < 0 || (size_t)v >= r->t->strings.n || !r->t->strings.str[v]) {
        return bad(r, "an id that is not in the vocabulary");
    }
    if (*n == MAX_TOKENS) return unsupported(r, "a template of more than 1024 tokens");
    ids[(*n)++] = (int32_t)v;
    return QDISP_OK;
}

/* BertProcessing, RobertaProcessing: cls and sep are [token, id]. */
static qdisp_status read_pair(reader *r, const json_t *json) {
    QD_TRY(add(r, r->before, &r->n_before, json_array_get(json_object_get(json, "cls"), 1)));
    return add(r, r->after, &r->n_after, json_array_get(json_object_get(json, "sep"), 1));
}

static qdisp_status add_special(const reader *r, const json_t *special, const json_t *piece, int32_t *ids, size_t *n) {
    const json_t *id;
    const char *name = json_string_value(json_object_get(piece, "id"));
    size_t i;
    const json_t *list = name ? json_object_get(json_object_get(special, name), "ids") : NULL;
    if (!json_is_array(list)) return bad(r, "a piece that special_tokens does not hold");
    json_array_foreach(list, i, id) QD_TRY(add(r, ids, n, id));
    return QDISP_OK;
}

static qdisp_status read_template(reader *r, const json_t *json) {
    const json_t *single = json_object_get(json, "single"), *special = json_object_get(json, "special_tokens"), *item;
    bool seen = false;
    size_t i;
    if (!json_is_array(single)) return bad(r, "single is not an array");
    json_array_foreach(single, i, item) {
        const json_t *sequence = json_object_get(item, "Sequence"), *piece = json_object_get(item, "SpecialToken");
        const char *name = json_string_value(json_object_get(sequence, "id"));
        if (piece) {
            QD_TRY(add_special(r, special, piece, seen ? r->after : r->before, seen ? &r->n_after : &r->n_before));
        } else if (!name) {
            return bad(r, "a piece that is neither Sequence nor SpecialToken");
        } else if (seen || strcmp(name, "A")) {
            return unsupported(r, "a template that is not one text with tokens around it");
        } else {
            seen = true;
        }
    }
    return seen ? QDISP_OK : bad(r, "a template without the text");
}

static qdisp_status read_processor(reader *r, const json_t *json, int depth) {
    const char *type = NULL;
    size_t n = 0, i;
    QD_TRY(qd_json_string(r->place, json, "type", true, &type, &n));
    if (!strcmp(type, "Sequence")) {
        const json_t *list = json_object_get(json, "processors"), *item;
        if (!json_is_array(list)) return bad(r, "processors: not an array");
        if (depth >= QD_TOKENIZER_MAX_NESTING) return unsupported(r, "nested more than 8 deep");
        json_array_foreach(list, i, item) QD_TRY(read_processor(r, item, depth + 1));
        return QDISP_OK;
    }
    if (!strcmp(type, "ByteLevel")) return QDISP_OK; /* offsets only */
    bool is_template = !strcmp(type, "TemplateProcessing");
    if (!is_template && strcmp(type, "BertProcessing") && strcmp(type, "RobertaProcessing")) {
        return qd_fail(r->place->ctx, QDISP_EUNSUPPORTED, "%s: %s: type '%.40s'", r->place->file, r->place->member,
                       type);
    }
    if (r->framed) return unsupported(r, "a second processor that puts tokens around the text");
    r->framed = true;
    return is_template ? read_template(r, json) : read_pair(r, json);
}

qdisp_status qd_template_make(qdisp_tokenizer *t, const int32_t *before, size_t n_before, const int32_t *after,
                              size_t n_after) {
    int32_t *ids = qd_alloc(t->ctx, n_before + n_after + 1, sizeof *ids);
    if (!ids) return QDISP_ENOMEM;
    if (n_before) memcpy(ids, before, n_before * sizeof *ids);
    if (n_after) memcpy(ids + n_before, after, n_after * sizeof *ids);
    qd_free(t->ctx, t->template_ids);
    t->template_ids = ids;
    t->n_before = n_before;
    t->n_after = n_after;
    return QDISP_OK;
}

qdisp_status qd_template_read(const qd_place *place, qdisp_tokenizer *t, const json_t *json) {
    if (!json || json_is_null(json)) return QDISP_OK;
    reader *r = qd_alloc(place->ctx, 1, sizeof *r);
    if (!r) return QDISP_ENOMEM;
    r->place = place;
    r->t = t;
    qdisp_status status = read_processor(r, json, 0);
    if (status == QDISP_OK) {
        status = qd_template_make(t, r->before, r->n_before, r->after, r->n_after);
    }
    qd_free(place->ctx, r);
    return status;
}

const int32_t *qdisp_tokenizer_prefix(const qdisp_tokenizer *tokenizer, size_t *n_ids) {
    size_t n = tokenizer ? tokenizer->n_before : 0;
    if (n_ids) *n_ids = n;
    return n ? tokenizer->template_ids : NULL;
}

const int32_t *qdisp_tokenizer_suffix(const qdisp_tokenizer *tokenizer, size_t *n_ids) {
    size_t n = tokenizer ? tokenizer->n_after : 0;
    if (n_ids) *n_ids = n;
    return n ? tokenizer->template_ids + tokenizer->n_before : NULL;
}

int qdisp_tokenizer_states_template(const qdisp_tokenizer *tokenizer) {
    return tokenizer && tokenizer->states_template;
}

int32_t qdisp_tokenizer_mask_id(const qdisp_tokenizer *tokenizer) {
    static const char *const NAMES[] = {"[MASK]", "<mask>"};
    for (size_t i = 0; tokenizer && i < sizeof NAMES / sizeof NAMES[0]; i++) {
        int32_t id = qdisp_tokenizer_id(tokenizer, NAMES[i]);
        if (id >= 0 && tokenizer->special[id]) return id;
    }
    return -1;
}
