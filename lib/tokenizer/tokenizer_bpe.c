/* tokenizer_bpe.c - byte pair encoding over bytes (Sennrich et al. 2016; GPT-2's byte-level form).
 *
 * The reference writes bytes as printable characters and merges strings; here the vocabulary's strings are turned
 * back into bytes once, when the file is opened, and words stay as they are. At opening every token is also encoded:
 * one that comes back as itself ("whole") needs no merging when it turns up as a word, which is most words of most
 * text. That table takes the place of a cache, and costs no lock and no memory a call.
 *
 * Short words merge by scanning for the lowest rank; long ones by a heap of candidates, so that n bytes take O(n log
 * n). */
#include "tokenizer/tokenizer.h"
#include <string.h>

#define NO_ID (-1)
#define NO_RANK UINT32_MAX
#define SHORT_WORD 64

typedef struct merge {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank; /* NO_RANK: an empty slot */
    int32_t id;
} merge;

typedef struct bpe {
    merge *merges; /* open addressing */
    size_t n_slots;
    qd_strings words; /* the model's tokens by their bytes */
    char *word_pool;
    bool *whole;      /* [words.n] */
    int32_t byte_id[256];
    int32_t unk_id;
    bool fuse_unk, ignore_merges;
} bpe;

typedef struct symbol {
    size_t start;
    size_t prev, next; /* SIZE_MAX: none */
    int32_t id;        /* NO_ID: merged into the one before */
} symbol;

typedef struct candidate {
    uint32_t rank;
    int32_t id;
    size_t at;
} candidate;

/* ---- merges ---- */

static uint64_t pair_of(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static merge *slot_of(const bpe *model, uint64_t pair) {
    size_t i = (size_t)(pair * 0x9E3779B97F4A7C15u >> 24) & (model->n_slots - 1);
    while (model->merges[i].rank != NO_RANK && model->merges[i].pair != pair) i = (i + 1) & (model->n_slots - 1);
    return &model->merges[i];
}

static const merge *merge_of(const bpe *model, int32_t left, int32_t right) {
    const merge *m = slot_of(model, pair_of(left, right));
    return m->rank == NO_RANK ? NULL : m;
}

/* ---- encoding ---- */

static qdisp_status push_unknown(qd_encoder *e, const bpe *model, symbol *symbols, size_t *n, size_t start) {
    (void)e;
    if (model->unk_id < 0) return QDISP_OK; /* the reference drops what it has no token for */
    if (model->fuse_unk && *n && symbols[*n - 1].id == model->unk_id) return QDISP_OK;
    symbols[*n] = (symbol){.start = start, .id = model->unk_id};
    (*n)++;
    return QDISP_OK;
}

static size_t merge_short(const bpe *model, symbol *s, size_t n) {
    const merge *next[SHORT_WORD];
    for (size_t i = 0; i + 1 < n; i++) next[i] = merge_of(model, s[i].id, s[i + 1].id);
    while (n > 1) {
        size_t best = SIZE_MAX;
        uint32_t rank = NO_RANK;
        for (size_t i = 0; i + 1 < n; i++) {
            if (next[i] && next[i]->rank < rank) {
                rank = next[i]->rank;
                best = i;
            }
        }
        if (best == SIZE_MAX) break;
        s[best].id = next[best]->id;
        memmove(s + best + 1, s + best + 2, (n - best - 2) * sizeof *s);
        memmove(next + best, next + best + 1, (n - best - 2) * sizeof *next);
        n--;
        if (best > 0) next[best - 1] = merge_of(model, s[best - 1].id, s[best].id);
        if (best + 1 < n) next[best] = merge_of(model, s[best].id, s[best + 1].id);
    }
    return n;
}

static bool before(const candidate *a, const candidate *b) {
    return a->rank < b->rank || (a->rank == b->rank && a->at < b->at);
}

static qdisp_status heap_push(qd_encoder *e, size_t *n, candidate c) {
    QD_TRY(qd_grow(e->ctx, &e->heap, &e->cap_heap, *n + 1, sizeof(candidate)));
    candidate *heap = e->heap;
    size_t i = (*n)++;
    for (; i > 0 && before(&c, &heap[(i - 1) / 2]); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = c;
    return QDISP_OK;
}

static candidate heap_pop(candidate *heap, size_t *n) {
    candidate top = heap[0], last = heap[--(*n)];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < *n; i = child) {
        if (child + 1 < *n && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &last)) break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

static qdisp_status heap_pair(qd_encoder *e, size_t *n, const bpe *model, const symbol *s, size_t at) {
    const merge *m = merge_of(model, s[at].id, s[s[at].next].id);
    return m ? heap_push(e, n, (candidate){m->rank, m->id, at}) : QDISP_OK;
}

static qdisp_status merge_long(qd_encoder *e, const bpe *model, symbol *s, size_t *n) {
    size_t n_heap = 0, n_left = 0;
    for (size_t i = 0; i < *n; i++) {
        s[i].prev = i ? i - 1 : SIZE_MAX;
        s[i].next = i + 1 < *n ? i + 1 : SIZE_MAX;
    }
    for (size_t i = 0; i + 1 < *n; i++) QD_TRY(heap_pair(e, &n_heap, model, s, i));
    while (n_heap) {
        candidate top = heap_pop(e->heap, &n_heap);
        symbol *left = &s[top.at];
        if (left->id == NO_ID || left->next == SIZE_MAX) continue;
        const merge *m = merge_of(model, left->id, s[left->next].id);
        if (!m || m->id != top.id) continue; /* the pair has changed since */
        symbol *right = &s[left->next];
        left->id = top.id;
        left->next = right->next;
        right->id = NO_ID;
        if (left->next != SIZE_MAX) s[left->next].prev = top.at;
        if (left->prev != SIZE_MAX) QD_TRY(heap_pair(e, &n_heap, model, s, left->prev));
        if (left->next != SIZE_MAX) QD_TRY(heap_pair(e, &n_heap, model, s, top.at));
    }
    for (size_t i = 0; i < *n; i++) {
        if (s[i].id != NO_ID) s[n_left++] = s[i];
    }
    *n = n_left;
    return QDISP_OK;
}

static qdisp_status encode_bytes(qd_encoder *e, const bpe *model, const qd_text *text, size_t begin, size_t end) {
    size_t n = 0;
    symbol few[SHORT_WORD], *symbols = few;
    if (end - begin > SHORT_WORD) {
        QD_TRY(qd_grow(e->ctx, &e->symbols, &e->cap_symbols, end - begin, sizeof(symbol)));
        symbols = e->symbols;
    }
    for (size_t i = begin; i < end; i++) {
        int32_t id = model->byte_id[text->bytes[i]];
        if (id < 0) {
            QD_TRY(push_unknown(e, model, symbols, &n, i));
        } else {
            symbols[n++] = (symbol){.start = i, .id = id};
        }
    }
    if (end - begin > SHORT_WORD) {
        QD_TRY(merge_long(e, model, symbols, &n));
    } else {
        n = merge_short(model, symbols, n);
    }
    for (size_t i = 0; i < n; i++) QD_TRY(qd_encoder_push(e, symbols[i].id, qd_text_origin(text, symbols[i].start)));
    return QDISP_OK;
}

static qdisp_status bpe_encode(qd_encoder *e, const void *opaque, const qd_text *text, size_t begin, size_t end) {
    const bpe *model = opaque;
    int32_t id = qd_strings_find(&model->words, text->bytes + begin, end - begin);
    if (id >= 0 && (model->whole[id] || model->ignore_merges)) {
        return qd_encoder_push(e, id, qd_text_origin(text, begin));
    }
    return encode_bytes(e, model, text, begin, end);
}

/* ---- opening ---- */

static qdisp_status refuse(const qd_place *place, const char *member, const char *why) {
    return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: model.%s: %s", place->file, member, why);
}

static qdisp_status read_options(const qd_place *place, const qdisp_tokenizer *t, const json_t *json, bpe *model) {
    const json_t *dropout = json_object_get(json, "dropout");
    if (dropout && !json_is_null(dropout) && !(json_is_number(dropout) && json_number_value(dropout) == 0.0)) {
        return refuse(place, "dropout", "tokens that depend on chance");
    }
    const char *text = NULL;
    size_t n = 0;
    QD_TRY(qd_json_string(place, json, "continuing_subword_prefix", false, &text, &n));
    if (n) return refuse(place, "continuing_subword_prefix", "not for byte-level BPE");
    QD_TRY(qd_json_string(place, json, "end_of_word_suffix", false, &text, &n));
    if (n) return refuse(place, "end_of_word_suffix", "not for byte-level BPE");
    bool byte_fallback = false;
    QD_TRY(qd_json_bool(place, json, "byte_fallback", false, &byte_fallback));
    if (byte_fallback) return refuse(place, "byte_fallback", "not for byte-level BPE");
    QD_TRY(qd_json_bool(place, json, "fuse_unk", false, &model->fuse_unk));
    QD_TRY(qd_json_bool(place, json, "ignore_merges", false, &model->ignore_merges));
    model->unk_id = NO_ID;
    text = NULL;
    QD_TRY(qd_json_string(place, json, "unk_token", false, &text, &n));
    if (text) {
        model->unk_id = qd_strings_find(&t->strings, text, n);
        if (model->unk_id >= 0 && !t->in_model[model->unk_id]) model->unk_id = NO_ID;
    }
    bool complete = true;
    for (int b = 0; b < 256; b++) {
        uint8_t letter[4];
        size_t len = qd_utf8_put(qd_byte_level_char((uint8_t)b), letter);
        int32_t id = qd_strings_find(&t->strings, letter, len);
        model->byte_id[b] = id >= 0 && t->in_model[id] ? id : NO_ID;
        if (model->byte_id[b] < 0) complete = false;
    }
    if (text && model->unk_id < 0 && !complete) {
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: model.unk_token: '%.40s' is not in model.vocab", place->file,
                       text);
    }
    return QDISP_OK;
}

static qdisp_status token_id(const qd_place *place, const qdisp_tokenizer *t, size_t i_merge, const char *what,
                             const char *token, size_t n, int32_t *out) {
    *out = qd_strings_find(&t->strings, token, n);
    if (*out >= 0 && t->in_model[*out]) return QDISP_OK;
    return qd_fail(place->ctx, QDISP_EFORMAT, "%s: model.merges[%zu]: %s '%.*s' is not in model.vocab", place->file,
                   i_merge, what, n > 40 ? 40 : (int)n, token);
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

static qdisp_status read_merges(const qd_place *place, const qdisp_tokenizer *t, const json_t *json, bpe *model) {
    const json_t *list = json_object_get(json, "merges"), *item;
    if (!json_is_array(list)) {
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: model.merges: missing or not an array", place->file);
    }
    size_t i, cap = 0;
    uint32_t rank = 0;
    char *joined = NULL;
    qdisp_status status = QDISP_OK;
    model->n_slots = 16;
    while (model->n_slots < json_array_size(list) * 2) model->n_slots *= 2;
    model->merges = qd_alloc(place->ctx, model->n_slots, sizeof *model->merges);
    if (!model->merges) return QDISP_ENOMEM;
    for (i = 0; i < model->n_slots; i++) model->merges[i].rank = NO_RANK;
    json_array_foreach(list, i, item) {
        const char *part[2] = {0};
        size_t n[2] = {0};
        int32_t left, right, id;
        bool ok;
        QD_TRY_GOTO(split_merge(place, item, i, part, n, &ok));
        if (!ok) continue;
        QD_TRY_GOTO(token_id(place, t, i, "token", part[0], n[0], &left));
        QD_TRY_GOTO(token_id(place, t, i, "token", part[1], n[1], &right));
        QD_TRY_GOTO(qd_grow(place->ctx, (void **)&joined, &cap, n[0] + n[1] + 1, 1));
        memcpy(joined, part[0], n[0]);
        memcpy(joined + n[0], part[1], n[1]);
        QD_TRY_GOTO(token_id(place, t, i, "result", joined, n[0] + n[1], &id));
        uint64_t pair = pair_of(left, right);
        *slot_of(model, pair) = (merge){pair, rank++, id}; /* of two merges of a pair the later one holds */
    }
done:
    qd_free(place->ctx, joined);
    return status;
}

/* Tokens by their bytes. Tokens outside the alphabet cannot come from text and stay out. */
static qdisp_status read_words(const qd_place *place, const qdisp_tokenizer *t, bpe *model) {
    size_t total = 0, used = 0;
    for (size_t i = 0; i < t->strings.n; i++) total += t->strings.str[i] ? t->strings.len[i] : 0;
    QD_TRY(qd_strings_new(place->ctx, t->strings.n, &model->words));
    model->whole = qd_alloc(place->ctx, t->strings.n, 1);
    model->word_pool = qd_alloc(place->ctx, total + 1, 1);
    if (!model->whole || !model->word_pool) return QDISP_ENOMEM;
    for (size_t i = 0; i < t->strings.n; i++) {
        size_t n = 0;
        char *to = model->word_pool + used;
        if (!t->strings.str[i] || !t->in_model[i] || !t->strings.len[i]) continue;
        if (!qd_byte_level_decode(t->strings.str[i], t->strings.len[i], to, &n)) continue;
        qd_strings_add(&model->words, (int32_t)i, to, n);
        used += n;
    }
    return QDISP_OK;
}

static qdisp_status find_whole(const qd_place *place, bpe *model) {
    qd_encoder e = {.ctx = place->ctx};
    qdisp_status status = QDISP_OK;
    for (size_t i = 0; i < model->words.n; i++) {
        if (!model->words.str[i]) continue;
        qd_text text = {.bytes = (const uint8_t *)model->words.str[i], .n = model->words.len[i]};
        e.n = 0;
        QD_TRY_GOTO(encode_bytes(&e, model, &text, 0, text.n));
        model->whole[i] = e.n == 1 && e.ids[0] == (int32_t)i;
    }
done:
    qd_free(place->ctx, e.symbols);
    qd_free(place->ctx, e.heap);
    qd_free(place->ctx, e.ids);
    qd_free(place->ctx, e.starts);
    return status;
}

static void bpe_free(qdisp_ctx *ctx, void *opaque) {
    bpe *model = opaque;
    if (!model) return;
    qd_strings_free(ctx, &model->words);
    qd_free(ctx, model->merges);
    qd_free(ctx, model->word_pool);
    qd_free(ctx, model->whole);
    qd_free(ctx, model);
}

static qdisp_status bpe_open(const qd_place *place, qdisp_tokenizer *t, const json_t *json, void **out) {
    if (!qd_pretokenizer_is_byte_level(t->pretokenizer)) {
        return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: model: BPE without a ByteLevel pre-tokenizer", place->file);
    }
    bpe *model = qd_alloc(place->ctx, 1, sizeof *model);
    if (!model) return QDISP_ENOMEM;
    qdisp_status status = read_options(place, t, json, model);
    if (status == QDISP_OK) status = read_merges(place, t, json, model);
    if (status == QDISP_OK) status = read_words(place, t, model);
    if (status == QDISP_OK) status = find_whole(place, model);
    if (status != QDISP_OK) {
        bpe_free(place->ctx, model);
        return status;
    }
    *out = model;
    return QDISP_OK;
}

const qd_tokenizer_kind qd_tokenizer_bpe = {"BPE", bpe_open, bpe_free, bpe_encode};
