/* tokenizer_wordpiece.c - the longest token at each place of a word (Wu et al. 2016), by a walk through a trie.
 *
 * Tokens that continue a word begin with a prefix ("##"): their walk starts at the prefix's node. A word that ends in
 * the middle of nothing known, or is longer than a limit in characters, is unknown as a whole. */
#include "tokenizer/tokenizer.h"

typedef struct wordpiece {
    qd_trie trie;
    int32_t continuing; /* node of the prefix; -1: no token begins with it */
    int32_t unk_id;     /* -1: none */
    size_t max_chars;
} wordpiece;

static qdisp_status push_unknown(qd_encoder *e, const wordpiece *model, const qd_text *text, size_t begin) {
    if (model->unk_id < 0) return qd_tokenizer_unknown(e, text, begin);
    return qd_encoder_push(e, model->unk_id, qd_text_origin(text, begin));
}

static bool too_long(const uint8_t *s, size_t n, size_t max_chars) {
    size_t n_chars = 0;
    if (n <= max_chars) return false;
    for (size_t i = 0; i < n; i++) n_chars += (s[i] & 0xC0) != 0x80;
    return n_chars > max_chars;
}

static qdisp_status wordpiece_encode(qd_encoder *e, const void *opaque, const qd_text *text, size_t begin,
                                     size_t end) {
    const wordpiece *model = opaque;
    const qd_trie_node *nodes = model->trie.nodes;
    size_t n_before = e->n;
    if (too_long(text->bytes + begin, end - begin, model->max_chars)) return push_unknown(e, model, text, begin);
    for (size_t at = begin, stop; at < end; at = stop) {
        int32_t node = at == begin ? 0 : model->continuing, id = -1;
        stop = at;
        for (size_t i = at; i < end && node >= 0; i++) {
            node = qd_trie_child(&model->trie, node, text->bytes[i]);
            if (node >= 0 && nodes[node].value >= 0) {
                id = nodes[node].value;
                stop = i + 1;
            }
        }
        if (id < 0) {
            e->n = n_before;
            return push_unknown(e, model, text, begin);
        }
        QD_TRY(qd_encoder_push(e, id, qd_text_origin(text, at)));
    }
    return QDISP_OK;
}

static void wordpiece_free(qdisp_ctx *ctx, void *opaque) {
    wordpiece *model = opaque;
    if (!model) return;
    qd_trie_free(ctx, &model->trie);
    qd_free(ctx, model);
}

qdisp_status qd_wordpiece_new(const qd_place *place, const qdisp_tokenizer *t, int32_t unk_id, const char *prefix,
                               size_t n_prefix, size_t max_chars, void **out) {
    wordpiece *model = qd_alloc(place->ctx, 1, sizeof *model);
    if (!model) return QDISP_ENOMEM;
    model->unk_id = unk_id;
    model->max_chars = max_chars;
    qdisp_status status = qd_trie_new(place->ctx, &t->strings, t->in_model, &model->trie);
    if (status != QDISP_OK) {
        wordpiece_free(place->ctx, model);
        return status;
    }
    model->continuing = qd_trie_walk(&model->trie, 0, prefix, n_prefix);
    *out = model;
    return QDISP_OK;
}

static qdisp_status wordpiece_open(const qd_place *place, qdisp_tokenizer *t, const json_t *json, void **out) {
    const char *prefix = NULL;
    size_t n = 0;
    int32_t unk_id = -1;
    const json_t *max_chars = json_object_get(json, "max_input_chars_per_word");
    QD_TRY(qd_tokenizer_read_unk(place, t, json, &unk_id));
    QD_TRY(qd_json_string(place, json, "continuing_subword_prefix", true, &prefix, &n));
    if (!json_is_integer(max_chars) || json_integer_value(max_chars) < 0) {
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: model.max_input_chars_per_word: %s", place->file,
                       max_chars ? "not a count" : "missing");
    }
    return qd_wordpiece_new(place, t, unk_id, prefix, n, (size_t)json_integer_value(max_chars), out);
}

const qd_tokenizer_kind qd_tokenizer_wordpiece = {"WordPiece", wordpiece_open, wordpiece_free, wordpiece_encode};
