/* spm_bpe.c - SentencePiece's BPE: the pair whose joined piece has the highest score merges first, the leftmost of
 * equals. Every way to cut a piece in two is a merge, and its rank the place of the piece's score; the rest is BPE over
 * characters (tokenizer_bpe.c).
 *
 * SentencePiece merges over the whole text. Where no piece reaches over the start of a space (nearly all models), words
 * with the spaces before them are merged by themselves. */
#include "tokenizer/spm.h"
#include <stdlib.h>
#include <string.h>

#define MAX_PIECE 512 /* bytes: the cuts of a piece are looked up, which takes its length squared */
#define SPACE_LENGTH 3

/* ---- making ---- */

/* Others are cut out of the text before, or stand for no text. */
static bool merges(const qd_spm *m, int32_t id) {
    return m->types[id] == QD_PIECE_NORMAL || m->types[id] == QD_PIECE_UNUSED;
}

typedef struct scored {
    float score;
    int32_t id;
} scored;

static int compare_scores(const void *a, const void *b) {
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static int32_t part_id(const qd_spm *m, const char *part, size_t n) {
    int32_t id = qd_strings_find(&m->t->strings, part, n);
    return id >= 0 && merges(m, id) ? id : -1;
}

static qdisp_status refuse(const qd_place *place, int32_t id, const char *why) {
    return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: %s: piece %d %s", place->file, place->member, (int)id, why);
}

/* Appends the ways to cut a piece in two; n_cuts counts them. */
static qdisp_status cut_piece(const qd_place *place, const qd_spm *m, int32_t id, qd_merges *list, size_t *n_cuts) {
    const char *piece = m->t->strings.str[id];
    size_t n = m->t->strings.len[id], len;
    *n_cuts = 0;
    qd_utf8_next((const uint8_t *)piece, &len);
    if (len == n) return QDISP_OK;
    if (n > MAX_PIECE) return refuse(place, id, "has more than 512 bytes");
    for (size_t cut = len; cut < n; cut += len) {
        qd_utf8_next((const uint8_t *)piece + cut, &len);
        int32_t left = part_id(m, piece, cut), right = left < 0 ? -1 : part_id(m, piece + cut, n - cut);
        if (right < 0) continue;
        QD_TRY(qd_grow(place->ctx, (void **)&list->items, &list->cap, list->n + 1, sizeof *list->items));
        list->items[list->n++] = (qd_merge){.left = left, .right = right, .id = id};
        (*n_cuts)++;
    }
    return QDISP_OK;
}

/* Whether every character of a piece that can come from merging is a piece, as BPE over characters needs. */
static bool has_characters(const qd_spm *m, int32_t id) {
    const char *piece = m->t->strings.str[id];
    for (size_t i = 0, len; i < m->t->strings.len[id]; i += len) {
        qd_utf8_next((const uint8_t *)piece + i, &len);
        if (qd_strings_find(&m->t->strings, piece + i, len) < 0) return false;
    }
    return true;
}

/* The highest score first; pieces of one score have one rank. */
static qdisp_status list_merges(const qd_place *place, const qd_spm_spec *spec, const qd_spm *m, scored *order,
                                qd_merges *list) {
    size_t n = m->t->strings.n, n_order = 0;
    uint32_t rank = 0;
    const scored *before = NULL;
    for (size_t i = 0; i < n; i++) {
        if (m->t->strings.str[i] && merges(m, (int32_t)i)) order[n_order++] = (scored){spec->scores[i], (int32_t)i};
    }
    qsort(order, n_order, sizeof *order, compare_scores);
    for (size_t i = 0; i < n_order; i++) {
        int32_t id = order[i].id;
        size_t n_cuts;
        QD_TRY(cut_piece(place, m, id, list, &n_cuts));
        if (!has_characters(m, id)) return refuse(place, id, "holds a character that is no piece");
        if (!n_cuts) continue;
        if (m->types[id] == QD_PIECE_UNUSED && !spec->like_llama) return refuse(place, id, "is unused, and merged to");
        if (before && before->score != order[i].score) rank++;
        for (size_t k = list->n - n_cuts; k < list->n; k++) list->items[k].rank = rank;
        before = &order[i];
    }
    return QDISP_OK;
}

/* Whether a space stands in the piece behind something else. */
static bool reaches_over(const char *piece, size_t n) {
    bool other = false;
    for (size_t i = 0, len; i < n; i += len) {
        qd_utf8_next((const uint8_t *)piece + i, &len);
        bool space = len == SPACE_LENGTH && !memcmp(piece + i, QD_SPM_SPACE, SPACE_LENGTH);
        if (space && other) return true;
        other = other || !space;
    }
    return false;
}

/* Unknown characters in a row are one token, so a cut must have a known one beside it: the space. */
static bool set_by_words(const qd_spm *m) {
    if (part_id(m, QD_SPM_SPACE, SPACE_LENGTH) < 0) return false;
    for (size_t i = 0; i < m->t->strings.n; i++) {
        if (!m->t->strings.str[i] || !merges(m, (int32_t)i)) continue;
        if (reaches_over(m->t->strings.str[i], m->t->strings.len[i])) return false;
    }
    return true;
}

qdisp_status qd_spm_make_bpe(const qd_place *place, const qd_spm_spec *spec, qd_spm *m) {
    qd_merges list = {0};
    qd_bpe_options options = {.byte_fallback = m->byte_fallback, .fuse_unk = true, .merges = &list};
    if (m->unk_id >= 0) options.unk_token = m->t->strings.str[m->unk_id];
    scored *order = qd_alloc(place->ctx, m->t->strings.n, sizeof *order);
    if (!order) return QDISP_ENOMEM;
    qdisp_status status = list_merges(place, spec, m, order, &list);
    m->by_words = set_by_words(m);
    if (status == QDISP_OK) status = qd_bpe_new(place, m->t, &options, &m->bpe);
    qd_free(place->ctx, list.items);
    qd_free(place->ctx, order);
    return status;
}

/* ---- encoding ---- */

static bool space_at(const uint8_t *s, size_t i, size_t end) {
    return s[i] == 0xE2 && end - i >= SPACE_LENGTH && s[i + 1] == 0x96 && s[i + 2] == 0x81;
}

/* A word: spaces, then what follows up to the next space. */
static size_t word_end(const uint8_t *s, size_t i, size_t end) {
    while (i < end && space_at(s, i, end)) i += SPACE_LENGTH;
    while (i < end && !space_at(s, i, end)) i++;
    return i;
}

static qdisp_status encode_run(qd_encoder *e, const qd_spm *m, const qd_text *text, size_t begin, size_t end) {
    for (size_t i = begin, stop; i < end; i = stop) {
        stop = m->by_words ? word_end(text->bytes, i, end) : end;
        QD_TRY(qd_tokenizer_bpe.encode(e, m->bpe, text, i, stop));
    }
    return QDISP_OK;
}

/* User-defined pieces are cut out, the longest at the first place; the runs between them merge. */
qdisp_status qd_spm_encode_bpe(qd_encoder *e, const qd_spm *m, const qd_text *text) {
    size_t begin = 0;
    for (size_t i = 0; m->user.nodes && i < text->n;) {
        int32_t id;
        size_t len = qd_spm_user_piece(m, text->bytes + i, text->n - i, &id);
        if (len) {
            QD_TRY(encode_run(e, m, text, begin, i));
            QD_TRY(qd_encoder_push(e, id, qd_text_origin(text, i)));
            begin = i + len;
        }
        i += len ? len : qd_spm_char_length(text->bytes + i, text->n - i);
    }
    return encode_run(e, m, text, begin, text->n);
}
