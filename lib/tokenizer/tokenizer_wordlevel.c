/* tokenizer_wordlevel.c - a word is a token, or unknown. */
#include "tokenizer/tokenizer.h"

typedef struct wordlevel {
    const qd_strings *strings; /* of the tokenizer */
    const bool *in_model;
    int32_t unk_id;            /* -1: none */
} wordlevel;

qdisp_status qd_tokenizer_unknown(qd_encoder *e, const qd_text *text, size_t at) {
    return qd_fail(e->ctx, QDISP_EUNSUPPORTED, "text: no token for what begins at byte %zu, and the vocabulary has no "
                   "unknown token", qd_text_origin(text, at));
}

static qdisp_status wordlevel_encode(qd_encoder *e, const void *opaque, const qd_text *text, size_t begin,
                                     size_t end) {
    const wordlevel *model = opaque;
    int32_t id = qd_strings_find(model->strings, text->bytes + begin, end - begin);
    if (id < 0 || !model->in_model[id]) id = model->unk_id;
    if (id < 0) return qd_tokenizer_unknown(e, text, begin);
    return qd_encoder_push(e, id, qd_text_origin(text, begin));
}

static void wordlevel_free(qdisp_ctx *ctx, void *model) {
    qd_free(ctx, model);
}

qdisp_status qd_wordlevel_new(const qd_place *place, const qdisp_tokenizer *t, int32_t unk_id, void **out) {
    wordlevel *model = qd_alloc(place->ctx, 1, sizeof *model);
    if (!model) return QDISP_ENOMEM;
    *model = (wordlevel){&t->strings, t->in_model, unk_id};
    *out = model;
    return QDISP_OK;
}

qdisp_status qd_tokenizer_read_unk(const qd_place *place, const qdisp_tokenizer *t, const json_t *json, int32_t *id) {
    const char *unk = NULL;
    size_t n = 0;
    QD_TRY(qd_json_string(place, json, "unk_token", true, &unk, &n));
    *id = qd_strings_find(&t->strings, unk, n);
    if (*id >= 0 && !t->in_model[*id]) *id = -1;
    return QDISP_OK;
}

static qdisp_status wordlevel_open(const qd_place *place, qdisp_tokenizer *t, const json_t *json, void **out) {
    int32_t unk_id = -1;
    QD_TRY(qd_tokenizer_read_unk(place, t, json, &unk_id));
    return qd_wordlevel_new(place, t, unk_id, out);
}

const qd_tokenizer_kind qd_tokenizer_wordlevel = {"WordLevel", wordlevel_open, wordlevel_free, wordlevel_encode};
