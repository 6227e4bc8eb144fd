/* tokenizer_spm.c - SentencePiece models: what all kinds share, and the two simple ones, words and characters. */
#include "tokenizer/spm.h"
#include <stdio.h>
#include <string.h>

#define SPACE_LENGTH 3

/* ---- encoding ---- */

static bool has_bytes(const qd_spm *m, const qd_text *text, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
        if (m->byte_id[text->bytes[i]] < 0) return false;
    }
    return true;
}

qdisp_status qd_spm_push(qd_encoder *e, const qd_spm *m, int32_t id, const qd_text *text, size_t begin, size_t end,
                         bool *unknown_before) {
    size_t origin = qd_text_origin(text, begin);
    bool unknown = id == m->unk_id, second = unknown && *unknown_before;
    *unknown_before = unknown;
    if (!unknown) return qd_encoder_push(e, id, origin);
    if (m->byte_fallback && has_bytes(m, text, begin, end)) {
        for (size_t i = begin; i < end; i++) QD_TRY(qd_encoder_push(e, m->byte_id[text->bytes[i]], origin));
        return QDISP_OK;
    }
    if (m->unk_id < 0) return qd_tokenizer_unknown(e, text, begin);
    return second ? QDISP_OK : qd_encoder_push(e, id, origin);
}

static qdisp_status push_string(qd_encoder *e, const qd_spm *m, const qd_text *text, size_t begin, size_t end,
                                bool *unknown) {
    int32_t id = qd_strings_find(&m->t->strings, text->bytes + begin, end - begin);
    return qd_spm_push(e, m, id < 0 ? m->unk_id : id, text, begin, end, unknown);
}

static qdisp_status encode_chars(qd_encoder *e, const qd_spm *m, const qd_text *text) {
    bool unknown = false;
    for (size_t i = 0, len; i < text->n; i += len) {
        int32_t id;
        len = qd_spm_user_piece(m, text->bytes + i, text->n - i, &id);
        if (!len) len = qd_spm_char_length(text->bytes + i, text->n - i);
        QD_TRY(push_string(e, m, text, i, i + len, &unknown));
    }
    return QDISP_OK;
}

/* A word begins at every space. */
static qdisp_status encode_words(qd_encoder *e, const qd_spm *m, const qd_text *text) {
    bool unknown = false;
    size_t begin = 0;
    for (size_t i = 1; i <= text->n; i++) {
        bool at_space = text->n - i >= SPACE_LENGTH && !memcmp(text->bytes + i, QD_SPM_SPACE, SPACE_LENGTH);
        if (i < text->n && !at_space) continue;
        QD_TRY(push_string(e, m, text, begin, i, &unknown));
        begin = i;
    }
    return QDISP_OK;
}

static qdisp_status spm_encode(qd_encoder *e, const void *opaque, const qd_text *text, size_t begin, size_t end) {
    const qd_spm *m = opaque;
    qd_text *normalized = &e->norm[text == &e->norm[0]];
    QD_TRY(qd_spm_normalize(e, m, text, begin, end, normalized));
    if (!normalized->n) return QDISP_OK;
    if (normalized->n >= UINT32_MAX) {
        return qd_fail(e->ctx, QDISP_EUNSUPPORTED, "tokenizer: a text of %zu bytes at once", normalized->n);
    }
    switch (m->kind) {
    case QD_SPM_UNIGRAM: return qd_spm_encode_unigram(e, m, normalized);
    case QD_SPM_BPE: return qd_spm_encode_bpe(e, m, normalized);
    case QD_SPM_WORD: return encode_words(e, m, normalized);
    default: return encode_chars(e, m, normalized);
    }
}

/* Stripped before spaces are put in: what an unknown piece shows begins with a space that stays. */
json_t *qd_spm_decoder_json(size_t n_stripped) {
    return json_pack("{s:s, s:[{s:s}, {s:s}, {s:s, s:s, s:I, s:i}, {s:s, s:{s:s}, s:s}]}", "type", "Sequence",
                     "decoders", "type", "ByteFallback", "type", "Fuse", "type", "Strip", "content", QD_SPM_SPACE,
                     "start", (json_int_t)n_stripped, "stop", 0, "type", "Replace", "pattern", "String", QD_SPM_SPACE,
                     "content", " ");
}

/* ---- making ---- */

static void spm_free(qdisp_ctx *ctx, void *opaque) {
    qd_spm *m = opaque;
    if (!m) return;
    qd_charsmap_free(ctx, m->charsmap);
    qd_trie_free(ctx, &m->user);
    qd_trie_free(ctx, &m->trie);
    qd_free(ctx, m->scores);
    if (m->bpe) qd_tokenizer_bpe.free(ctx, m->bpe);
    qd_free(ctx, m->types);
    qd_free(ctx, m);
}

static qdisp_status set_bytes(const qd_place *place, const qd_spm_spec *spec, qd_spm *m) {
    for (int b = 0; b < 256; b++) {
        char name[8];
        int n = snprintf(name, sizeof name, "<0x%02X>", (unsigned)b);
        int32_t id = qd_strings_find(&m->t->strings, name, (size_t)n);
        m->byte_id[b] = id >= 0 && m->types[id] == QD_PIECE_BYTE ? id : -1;
        if (m->byte_id[b] >= 0 || !spec->byte_fallback || spec->like_llama) continue;
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s: byte_fallback without a piece %s", place->file,
                       place->member, name);
    }
    return QDISP_OK;
}

static qdisp_status set_user_pieces(const qd_place *place, qd_spm *m) {
    size_t n = m->t->strings.n, n_user = 0;
    bool *wanted = qd_alloc(place->ctx, n, 1);
    if (!wanted) return QDISP_ENOMEM;
    for (size_t i = 0; i < n; i++) n_user += wanted[i] = m->types[i] == QD_PIECE_USER_DEFINED;
    qdisp_status status = n_user ? qd_trie_new(place->ctx, &m->t->strings, wanted, &m->user) : QDISP_OK;
    qd_free(place->ctx, wanted);
    return status;
}

static qdisp_status make(const qd_place *place, const qd_spm_spec *spec, qd_spm *m) {
    size_t n = m->t->strings.n;
    m->types = qd_alloc(place->ctx, n, 1);
    if (!m->types) return QDISP_ENOMEM;
    memcpy(m->types, spec->types, n);
    QD_TRY(set_bytes(place, spec, m));
    if (!spec->like_llama) QD_TRY(set_user_pieces(place, m)); /* there they are added tokens */
    if (spec->charsmap) QD_TRY(qd_charsmap_new(place, spec->charsmap, spec->n_charsmap, &m->charsmap));
    qd_spm_set_plain(m);
    if (spec->kind == QD_SPM_UNIGRAM) return qd_spm_make_unigram(place, spec, m);
    return spec->kind == QD_SPM_BPE ? qd_spm_make_bpe(place, spec, m) : QDISP_OK;
}

qdisp_status qd_spm_new(const qd_place *place, const qdisp_tokenizer *t, const qd_spm_spec *spec, void **out) {
    qd_spm *m = qd_alloc(place->ctx, 1, sizeof *m);
    if (!m) return QDISP_ENOMEM;
    m->t = t;
    m->kind = spec->kind;
    m->unk_id = spec->unk_id;
    m->byte_fallback = spec->byte_fallback;
    m->add_dummy_prefix = spec->add_dummy_prefix;
    m->remove_extra_whitespaces = spec->remove_extra_whitespaces;
    m->escape_whitespaces = spec->escape_whitespaces;
    m->whitespace_suffix = spec->whitespace_suffix;
    qdisp_status status = make(place, spec, m);
    if (status == QDISP_OK) *out = m;
    else spm_free(place->ctx, m);
    return status;
}

const qd_tokenizer_kind qd_tokenizer_spm = {"SentencePiece", NULL, spm_free, spm_encode};
