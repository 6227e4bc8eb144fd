/* tokenizer_unigram.c - the most probable segmentation of a word under a unigram model (Kudo 2018), by Viterbi.
 *
 * Scores add up from the left in f64 and the first of equal segmentations holds, as in the reference, so that ties
 * fall the same way. For that the scores themselves must be the reference's: its JSON reader is not exact in the last
 * place, and what it makes of a number is computed here (score_as_read). A character that no token of its length
 * covers costs the lowest score less 10; unknown neighbors are one token, or the bytes of all of them. */
#include "tokenizer/tokenizer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define UNKNOWN_PENALTY 10.0

typedef struct node { /* the trie's, with what a step needs side by side */
    int32_t base, parent;
    double score; /* NaN: no token ends here */
} node;

typedef struct unigram {
    node *nodes;
    int32_t *ids;      /* [n_nodes] */
    qd_trie trie;      /* for whole strings */
    double unk_score;
    int32_t unk_id;    /* -1: none */
    bool byte_fallback;
    int32_t byte_id[256];
} unigram;

typedef struct best { /* the best path that ends at a place */
    double score;
    size_t start; /* of its last token; SIZE_MAX: no path ends here */
    int32_t id;
} best;

static size_t char_length(uint8_t lead) {
    return lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

static void offer(best *target, double score, size_t start, int32_t id) {
    if (target->start == SIZE_MAX || score > target->score) *target = (best){score, start, id};
}

/* Fills path[0, n]; false: an unknown character and no token for it, at *at. */
static bool search(const unigram *model, const uint8_t *s, size_t n, best *path, size_t *at) {
    const node *nodes = model->nodes;
    for (size_t i = 0; i <= n; i++) path[i].start = SIZE_MAX;
    path[0].score = 0;
    for (size_t start = 0, len; start < n; start += len) {
        double score = path[start].score;
        bool has_single = false;
        int32_t here = 0;
        len = char_length(s[start]);
        for (size_t i = start; i < n; i++) {
            int32_t next = nodes[here].base + s[i];
            if (nodes[next].parent != here) break;
            here = next;
            if (isnan(nodes[here].score)) continue;
            has_single = has_single || i + 1 - start == len;
            offer(&path[i + 1], score + nodes[here].score, start, model->ids[here]);
        }
        if (has_single) continue;
        best *target = &path[start + len];
        if (model->unk_id < 0 && (target->start == SIZE_MAX || score + model->unk_score > target->score)) {
            *at = start;
            return false;
        }
        offer(target, score + model->unk_score, start, model->unk_id);
    }
    return true;
}

/* Neighbors that are unknown, as one: the token of that string if there is one, bytes, or the unknown token. */
static qdisp_status push_unknown(qd_encoder *e, const unigram *model, const qd_text *text, size_t begin, size_t end) {
    size_t origin = qd_text_origin(text, begin);
    int32_t id = qd_trie_find(&model->trie, text->bytes + begin, end - begin);
    bool as_bytes = model->byte_fallback && id < 0;
    for (size_t i = begin; i < end && as_bytes; i++) as_bytes = model->byte_id[text->bytes[i]] >= 0;
    if (!as_bytes) return qd_encoder_push(e, id < 0 ? model->unk_id : id, origin);
    for (size_t i = begin; i < end; i++) QD_TRY(qd_encoder_push(e, model->byte_id[text->bytes[i]], origin));
    return QDISP_OK;
}

/* Links the path forward: afterwards path[i].start is where the token that begins at i ends. */
static void turn(best *path, size_t n) {
    int32_t id = path[n].id;
    for (size_t end = n, start = path[n].start; end > 0;) {
        size_t before = path[start].start;
        int32_t id_before = path[start].id;
        path[start].start = end;
        path[start].id = id;
        end = start;
        start = before;
        id = id_before;
    }
}

static qdisp_status unigram_encode(qd_encoder *e, const void *opaque, const qd_text *text, size_t begin, size_t end) {
    const unigram *model = opaque;
    size_t n = end - begin, at = 0;
    QD_TRY(qd_grow(e->ctx, &e->symbols, &e->cap_symbols, n + 1, sizeof(best)));
    best *path = e->symbols;
    if (!search(model, text->bytes + begin, n, path, &at)) return qd_tokenizer_unknown(e, text, begin + at);
    turn(path, n);
    for (size_t i = 0, stop; i < n; i = stop) {
        stop = path[i].start;
        if (path[i].id != model->unk_id) {
            QD_TRY(qd_encoder_push(e, path[i].id, qd_text_origin(text, begin + i)));
            continue;
        }
        while (stop < n && path[stop].id == model->unk_id) stop = path[stop].start;
        QD_TRY(push_unknown(e, model, text, begin + i, begin + stop));
    }
    return QDISP_OK;
}

static void unigram_free(qdisp_ctx *ctx, void *opaque) {
    unigram *model = opaque;
    if (!model) return;
    qd_trie_free(ctx, &model->trie);
    qd_free(ctx, model->nodes);
    qd_free(ctx, model->ids);
    qd_free(ctx, model);
}

/* ---- making ---- */

static qdisp_status check_scores(const qd_place *place, const qdisp_tokenizer *t, const double *scores,
                                 double *lowest) {
    *lowest = INFINITY;
    for (size_t i = 0; i < t->strings.n; i++) {
        if (!t->in_model[i]) continue;
        if (!isfinite(scores[i])) {
            return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s: the score of token %zu is not a finite number",
                           place->file, place->member, i);
        }
        if (scores[i] < *lowest) *lowest = scores[i];
    }
    return QDISP_OK;
}

static qdisp_status fill(const qd_place *place, const qdisp_tokenizer *t, const double *scores, unigram *model) {
    QD_TRY(qd_trie_new(place->ctx, &t->strings, t->in_model, &model->trie));
    size_t n = model->trie.n_nodes;
    model->nodes = qd_alloc(place->ctx, n, sizeof *model->nodes);
    model->ids = qd_alloc(place->ctx, n, sizeof *model->ids);
    if (!model->nodes || !model->ids) return QDISP_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const qd_trie_node *from = &model->trie.nodes[i];
        model->ids[i] = from->value;
        model->nodes[i] = (node){from->base, from->parent, from->value < 0 ? NAN : scores[from->value]};
    }
    for (unsigned b = 0; b < 256; b++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", b);
        model->byte_id[b] = qd_trie_find(&model->trie, name, 6);
    }
    return QDISP_OK;
}

qdisp_status qd_unigram_new(const qd_place *place, const qdisp_tokenizer *t, const double *scores, int32_t unk_id,
                             bool byte_fallback, void **out) {
    double lowest = 0;
    QD_TRY(check_scores(place, t, scores, &lowest));
    unigram *model = qd_alloc(place->ctx, 1, sizeof *model);
    if (!model) return QDISP_ENOMEM;
    model->unk_id = unk_id;
    model->byte_fallback = byte_fallback;
    model->unk_score = lowest - UNKNOWN_PENALTY;
    qdisp_status status = fill(place, t, scores, model);
    if (status != QDISP_OK) {
        unigram_free(place->ctx, model);
        return status;
    }
    *out = model;
    return QDISP_OK;
}

/* What the reference's reader makes of a number: all digits as an integer, rounded, times or over a power of ten,
 * rounded again. Files hold the shortest digits that give the number back, so the digits are those of `value`. */
static double score_as_read(double value) {
    char digits[40];
    uint64_t significand = 0;
    int precision = 0, exponent = 0;
    while (precision++ < 17) {
        snprintf(digits, sizeof digits, "%.*e", precision - 1, value);
        if (precision == 17 || strtod(digits, NULL) == value) break;
    }
    const char *s = digits;
    for (; *s && *s != 'e'; s++) {
        if (*s >= '0' && *s <= '9') significand = significand * 10 + (uint64_t)(*s - '0');
    }
    if (*s == 'e') exponent = (int)strtol(s + 1, NULL, 10) - (precision - 1);
    double read = (double)significand;
    if (exponent < -290 || exponent > 290) return value;
    static const double TENS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    int power = abs(exponent);
    double ten = power <= 22 ? TENS[power] : pow(10, power);
    read = exponent < 0 ? read / ten : read * ten;
    return value < 0 ? -read : read;
}

static qdisp_status read_scores(const qd_place *place, const json_t *vocab, double *scores) {
    const json_t *item;
    size_t i;
    json_array_foreach(vocab, i, item) {
        const json_t *score = json_array_get(item, 1);
        if (json_array_size(item) != 2 || !json_is_number(score)) {
            return qd_fail(place->ctx, QDISP_EFORMAT, "%s: model.vocab[%zu]: not a token and its score", place->file,
                           i);
        }
        scores[i] = json_is_integer(score) ? (double)json_integer_value(score) : score_as_read(json_real_value(score));
    }
    return QDISP_OK;
}

static qdisp_status unigram_open(const qd_place *place, qdisp_tokenizer *t, const json_t *json, void **out) {
    const json_t *vocab = json_object_get(json, "vocab"), *unk = json_object_get(json, "unk_id");
    bool byte_fallback = false, has_unk = unk && !json_is_null(unk);
    json_int_t unk_id = has_unk ? json_integer_value(unk) : -1;
    QD_TRY(qd_json_bool(place, json, "byte_fallback", false, &byte_fallback));
    if (has_unk && (!json_is_integer(unk) || unk_id < 0 || (size_t)unk_id >= json_array_size(vocab))) {
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: model.unk_id: not the number of a token", place->file);
    }
    double *scores = qd_alloc(place->ctx, t->strings.n, sizeof *scores);
    if (!scores) return QDISP_ENOMEM;
    qdisp_status status = read_scores(place, vocab, scores);
    if (status == QDISP_OK) status = qd_unigram_new(place, t, scores, (int32_t)unk_id, byte_fallback, out);
    qd_free(place->ctx, scores);
    return status;
}

const qd_tokenizer_kind qd_tokenizer_unigram = {"Unigram", unigram_open, unigram_free, unigram_encode};
