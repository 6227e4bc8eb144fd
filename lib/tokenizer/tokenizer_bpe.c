/* tokenizer_bpe.c - byte pair encoding (Sennrich et al. 2016) over bytes or characters.
 *
 * The reference writes bytes as printable characters and merges strings; here the vocabulary's strings are turned
 * back into bytes once, when the model is made, and words stay as they are.
 *
 * A word that is a token and comes out as that token when its symbols are merged ("whole") needs no merging, which is
 * most words of most text. Whether a token is whole is found out when it is first met and remembered. */
#include "tokenizer/bpe.h"
#include <string.h>

#define MAX_AFFIX 64

enum { UNTRIED, WHOLE, NOT_WHOLE };
enum { N_CHARS = 0x10000 }; /* those of at most three bytes */

/* Where a character stands decides its affixes. */
enum { NOT_FIRST = 1, LAST = 2 };

typedef struct bpe {
    const qdisp_tokenizer *t;
    qd_merge_table merges;
    const qd_strings *words; /* the model's tokens by their bytes: own_words or the vocabulary itself */
    qd_strings own_words;
    char *word_pool;
    uint8_t *whole;          /* [words->n], atomic */
    qd_joins joins;
    int32_t unit_id[4][256]; /* of a byte (byte-level) or an ASCII character, by its place; -1: none */
    int32_t *char_id;        /* [N_CHARS] of a character of two or three bytes; NULL: ask the vocabulary */
    int32_t fallback_id[256];
    int32_t unk_id;
    bool byte_level, byte_fallback, fuse_unk, ignore_merges;
    char prefix[MAX_AFFIX], suffix[MAX_AFFIX];
    size_t n_prefix, n_suffix;
} bpe;

/* The symbols of a word, before and after merging. */
typedef struct symbols {
    int32_t *ids;
    uint32_t *starts; /* in the word */
    size_t n;
    bool unk;         /* an unknown token is due: it is written before the next known one, as the reference does */
    uint32_t unk_at;
    int32_t few_ids[QD_BPE_SHORT]; /* storage for short words */
    uint32_t few_starts[QD_BPE_SHORT];
} symbols;

static int32_t find_in_model(const qdisp_tokenizer *t, const void *str, size_t n) {
    int32_t id = qd_strings_find(&t->strings, str, n);
    return id >= 0 && t->in_model[id] ? id : -1;
}

/* ---- first symbols ---- */

static void put(symbols *s, int32_t id, size_t start) {
    s->ids[s->n] = id;
    s->starts[s->n++] = (uint32_t)start;
}

static void flush_unknown(const bpe *model, symbols *s) {
    if (s->unk) put(s, model->unk_id, s->unk_at);
    s->unk = false;
}

/* The string that the vocabulary is asked for: affixes and all; a byte as its letter of the alphabet. */
static size_t write_unit(const bpe *model, const uint8_t *unit, size_t len, unsigned at, uint8_t *out) {
    size_t n = at & NOT_FIRST ? model->n_prefix : 0;
    memcpy(out, model->prefix, n);
    if (model->byte_level) {
        n += qd_utf8_put(qd_byte_level_char(unit[0]), out + n);
    } else {
        memcpy(out + n, unit, len);
        n += len;
    }
    if (at & LAST) {
        memcpy(out + n, model->suffix, model->n_suffix);
        n += model->n_suffix;
    }
    return n;
}

static bool fall_back(const bpe *model, const uint8_t *unit, size_t n, size_t start, symbols *s) {
    for (size_t i = 0; i < n; i++) {
        if (model->fallback_id[unit[i]] < 0) return false;
    }
    for (size_t i = 0; i < n; i++) put(s, model->fallback_id[unit[i]], start);
    return true;
}

/* c: the character, if the model is not one of bytes. */
static void put_unit(const bpe *model, const uint8_t *text, size_t len, int32_t c, size_t start, unsigned at,
                     symbols *s) {
    uint8_t unit[2 * MAX_AFFIX + 4];
    bool by_byte = model->byte_level || len == 1, by_char = model->char_id && c < N_CHARS;
    int32_t id = by_byte ? model->unit_id[at][text[0]] : by_char ? model->char_id[c] : -1;
    size_t n = 0;
    if (id < 0) {
        n = write_unit(model, text, len, at, unit);
        if (!by_byte && !by_char) id = find_in_model(model->t, unit, n);
    }
    if (id >= 0) {
        flush_unknown(model, s);
        put(s, id, start);
        return;
    }
    if (model->byte_fallback && fall_back(model, unit, n, start, s)) return;
    if (model->unk_id < 0 || (s->unk && model->fuse_unk)) return; /* without an unknown token it is dropped */
    flush_unknown(model, s);
    s->unk = true;
    s->unk_at = (uint32_t)start;
}

static void first_symbols(const bpe *model, const uint8_t *word, size_t n, symbols *s) {
    int32_t c = 0;
    for (size_t i = 0, len = 1; i < n; i += len) {
        if (!model->byte_level) c = qd_utf8_next(word + i, &len);
        put_unit(model, word + i, len, c, i, (i ? NOT_FIRST : 0) | (i + len == n ? LAST : 0), s);
    }
    flush_unknown(model, s);
}

/* ---- encoding ---- */

/* Symbols that a word of n bytes may have. */
static size_t max_symbols(const bpe *model, size_t n) {
    return model->byte_fallback ? n * (1 + model->n_prefix + model->n_suffix + model->byte_level) : n;
}

static qdisp_status merged_symbols(qd_encoder *e, const bpe *model, const uint8_t *word, size_t n, symbols *s) {
    size_t most = max_symbols(model, n);
    if (most > QD_BPE_SHORT) {
        if (most > INT32_MAX) return qd_fail(e->ctx, QDISP_EUNSUPPORTED, "tokenizer: a word of %zu bytes", n);
        QD_TRY(qd_grow(e->ctx, &e->symbols, &e->cap_symbols, 2 * most, sizeof(int32_t)));
        s->ids = e->symbols;
        s->starts = (uint32_t *)e->symbols + most;
    }
    first_symbols(model, word, n, s);
    if (s->n > QD_BPE_SHORT) return qd_bpe_merge_long(e, &model->merges, s->ids, s->starts, &s->n);
    s->n = qd_bpe_merge_short(&model->merges, s->ids, s->starts, s->n);
    return QDISP_OK;
}

static qdisp_status find_symbols(qd_encoder *e, const bpe *model, const uint8_t *word, size_t n, symbols *s) {
    int32_t id = qd_strings_find(model->words, word, n);
    if (id >= 0 && !model->t->in_model[id]) id = -1;
    uint8_t whole = id >= 0 ? __atomic_load_n(&model->whole[id], __ATOMIC_RELAXED) : NOT_WHOLE;
    if (id >= 0 && (model->ignore_merges || whole == WHOLE)) {
        put(s, id, 0);
        return QDISP_OK;
    }
    QD_TRY(merged_symbols(e, model, word, n, s));
    if (whole == UNTRIED) { /* several threads may find out at once; they write the same */
        __atomic_store_n(&model->whole[id], s->n == 1 && s->ids[0] == id ? WHOLE : NOT_WHOLE, __ATOMIC_RELAXED);
    }
    return QDISP_OK;
}

static void keep(qd_cached_word *word, const symbols *s) {
    for (size_t i = 0; i < s->n; i++) {
        word->ids[i] = s->ids[i];
        word->starts[i] = (uint8_t)s->starts[i];
    }
    word->n = (uint8_t)s->n;
}

static qdisp_status push_cached(qd_encoder *e, const qd_text *text, size_t begin, const qd_cached_word *word) {
    QD_TRY(qd_encoder_reserve(e, word->n));
    for (size_t i = 0; i < word->n; i++) e->ids[e->n + i] = word->ids[i];
    for (size_t i = 0; e->want_starts && i < word->n; i++) {
        e->starts[e->n + i] = qd_text_origin(text, begin + word->starts[i]);
    }
    e->n += word->n;
    return QDISP_OK;
}

static qdisp_status encode_part(qd_encoder *e, const bpe *model, const qd_text *text, size_t begin, size_t end) {
    const uint8_t *bytes = text->bytes + begin;
    qd_cached_word *word = NULL;
    if (end - begin <= QD_CACHED_BYTES) {
        word = qd_bpe_cached(e, bytes, end - begin);
        if (!word) return QDISP_ENOMEM;
        if (word->n) return push_cached(e, text, begin, word);
    }
    symbols s = {.n = 0};
    s.ids = s.few_ids;
    s.starts = s.few_starts;
    QD_TRY(find_symbols(e, model, bytes, end - begin, &s));
    if (word && s.n <= QD_CACHED_IDS) keep(word, &s);
    if (s.n == 0) return QDISP_OK; /* nothing in it has a token: there may be no ids at all */
    QD_TRY(qd_encoder_reserve(e, s.n));
    memcpy(e->ids + e->n, s.ids, s.n * sizeof *s.ids);
    for (size_t i = 0; e->want_starts && i < s.n; i++) e->starts[e->n + i] = qd_text_origin(text, begin + s.starts[i]);
    e->n += s.n;
    return QDISP_OK;
}

static qdisp_status bpe_encode(qd_encoder *e, const void *opaque, const qd_text *text, size_t begin, size_t end) {
    const bpe *model = opaque;
    while (model->joins.bits && begin < end) {
        size_t cut = qd_joins_cut(&model->joins, text->bytes, begin, end);
        QD_TRY(encode_part(e, model, text, begin, cut));
        begin = cut;
    }
    return begin < end ? encode_part(e, model, text, begin, end) : QDISP_OK;
}

/* ---- making the model ---- */

static qdisp_status set_affix(const qd_place *place, const char *what, const char *affix, char *to, size_t *n) {
    *n = affix ? strlen(affix) : 0;
    if (*n > MAX_AFFIX) {
        return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: %s.%s: longer than %d bytes", place->file, place->member,
                       what, MAX_AFFIX);
    }
    if (*n) memcpy(to, affix, *n);
    return QDISP_OK;
}

/* Every character has tokens, its own or those of its bytes (of which an ASCII character with a token needs none). */
static bool covers_all(const bpe *model) {
    bool affix = model->n_prefix || model->n_suffix; /* a character that falls back takes its affixes along */
    for (int b = 0; b < 256; b++) {
        bool own = model->byte_level || !affix;
        for (int at = 0; at < 4; at++) own = own && model->unit_id[at][b] >= 0;
        if (!own && !(model->byte_fallback && model->fallback_id[b] >= 0)) return false;
    }
    return true;
}

static qdisp_status set_units(const qd_place *place, bpe *model, const char *unk_token) {
    for (int b = 0; b < 256; b++) {
        uint8_t unit[2 * MAX_AFFIX + 4], byte = (uint8_t)b;
        for (unsigned at = 0; at < 4; at++) {
            size_t n = model->byte_level || b < 0x80 ? write_unit(model, &byte, 1, at, unit) : 0;
            model->unit_id[at][b] = n ? find_in_model(model->t, unit, n) : -1;
        }
        char name[8];
        int n = snprintf(name, sizeof name, "<0x%02X>", (unsigned)b);
        model->fallback_id[b] = find_in_model(model->t, name, (size_t)n);
    }
    model->unk_id = unk_token ? find_in_model(model->t, unk_token, strlen(unk_token)) : -1;
    if (!unk_token || model->unk_id >= 0 || covers_all(model)) return QDISP_OK;
    return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s.unk_token: '%.40s' is not in the vocabulary", place->file,
                   place->member, unk_token);
}

/* Characters by their number: their tokens are asked for once a character of a text. */
static qdisp_status set_chars(qdisp_ctx *ctx, bpe *model) {
    const qd_strings *strings = &model->t->strings;
    if (model->byte_level || model->n_prefix || model->n_suffix) return QDISP_OK;
    model->char_id = qd_alloc(ctx, N_CHARS, sizeof *model->char_id);
    if (!model->char_id) return QDISP_ENOMEM;
    for (size_t i = 0; i < N_CHARS; i++) model->char_id[i] = -1;
    for (size_t i = 0; i < strings->n; i++) {
        size_t len;
        if (!strings->str[i] || strings->len[i] < 2 || strings->len[i] > 3 || !model->t->in_model[i]) continue;
        int32_t c = qd_utf8_next((const uint8_t *)strings->str[i], &len);
        if (len == strings->len[i]) model->char_id[c] = (int32_t)i;
    }
    return QDISP_OK;
}

/* Byte-level tokens by their bytes. Tokens outside the alphabet cannot come from text and stay out. */
static qdisp_status set_words(const qd_place *place, bpe *model) {
    const qd_strings *strings = &model->t->strings;
    size_t total = 0, used = 0;
    model->words = strings;
    model->whole = qd_alloc(place->ctx, strings->n ? strings->n : 1, 1);
    if (!model->whole) return QDISP_ENOMEM;
    if (!model->byte_level) return QDISP_OK;
    for (size_t i = 0; i < strings->n; i++) total += strings->str[i] ? strings->len[i] : 0;
    QD_TRY(qd_strings_new(place->ctx, strings->n, &model->own_words));
    model->words = &model->own_words;
    model->word_pool = qd_alloc(place->ctx, total + 1, 1);
    if (!model->word_pool) return QDISP_ENOMEM;
    for (size_t i = 0; i < strings->n; i++) {
        size_t n = 0;
        char *to = model->word_pool + used;
        if (!strings->str[i] || !model->t->in_model[i] || !strings->len[i]) continue;
        if (!qd_byte_level_decode(strings->str[i], strings->len[i], to, &n)) continue;
        qd_strings_add(&model->own_words, (int32_t)i, to, n);
        used += n;
    }
    return QDISP_OK;
}

/* tiktoken's rule written out: every way to cut a token into two tokens, with the token's id as the rank. */
static qdisp_status merges_by_rank(const qd_place *place, const bpe *model, qd_merges *merges) {
    const qd_strings *words = model->words;
    for (size_t id = 0; id < words->n; id++) {
        if (!words->str[id] || !model->t->in_model[id]) continue;
        for (size_t cut = 1; cut < words->len[id]; cut++) {
            int32_t left = qd_strings_find(words, words->str[id], cut);
            if (left < 0 || !model->t->in_model[left]) continue;
            int32_t right = qd_strings_find(words, words->str[id] + cut, words->len[id] - cut);
            if (right < 0 || !model->t->in_model[right]) continue;
            QD_TRY(qd_grow(place->ctx, (void **)&merges->items, &merges->cap, merges->n + 1, sizeof *merges->items));
            merges->items[merges->n++] = (qd_merge){left, right, (int32_t)id, (uint32_t)id};
        }
    }
    return QDISP_OK;
}

/* A long text without words is cut where that changes nothing: every character must have tokens of its own, and a word
 * that is taken as it stands (ignore_merges) must stay whole. */
static qdisp_status set_joins(const qd_place *place, bpe *model, const qd_merges *merges) {
    if (model->byte_level || model->ignore_merges || model->n_prefix || model->n_suffix || !covers_all(model)) {
        return QDISP_OK;
    }
    bool *unmerged = qd_alloc(place->ctx, model->t->strings.n, 1);
    if (!unmerged) return QDISP_ENOMEM;
    for (int b = 0; b < 256; b++) {
        if (model->fallback_id[b] >= 0) unmerged[model->fallback_id[b]] = true;
    }
    if (model->unk_id >= 0) unmerged[model->unk_id] = true;
    qdisp_status status = qd_joins_new(place->ctx, &model->t->strings, merges, unmerged, &model->joins);
    qd_free(place->ctx, unmerged);
    return status;
}

static qdisp_status check_merges(const qd_place *place, size_t n_ids, const qd_merges *merges) {
    if (n_ids > (size_t)1 << QD_MERGE_ID_BITS || merges->n >= ((size_t)1 << QD_MERGE_RANK_BITS) - 1) {
        return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: %s: %zu ids and %zu merges, more than %zu and %zu",
                       place->file, place->member, n_ids, merges->n, (size_t)1 << QD_MERGE_ID_BITS,
                       ((size_t)1 << QD_MERGE_RANK_BITS) - 2);
    }
    for (size_t i = 0; i < merges->n; i++) {
        const qd_merge *m = &merges->items[i];
        bool known = (uint32_t)m->left < n_ids && (uint32_t)m->right < n_ids && (uint32_t)m->id < n_ids;
        if (known && m->rank < ((uint32_t)1 << QD_MERGE_RANK_BITS) - 1) continue;
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s.merges[%zu]: %s", place->file, place->member, i,
                       known ? "the rank is too high" : "an id outside the vocabulary");
    }
    return QDISP_OK;
}

static qdisp_status set_merges(const qd_place *place, bpe *model, const qd_merges *given) {
    qd_merges made = {0};
    qdisp_status status = given ? QDISP_OK : merges_by_rank(place, model, &made);
    const qd_merges *merges = given ? given : &made;
    if (status == QDISP_OK) status = check_merges(place, model->t->strings.n, merges);
    if (status == QDISP_OK) status = qd_merge_table_new(place->ctx, merges, &model->merges);
    if (status == QDISP_OK) status = set_joins(place, model, merges);
    qd_free(place->ctx, made.items);
    return status;
}

static void bpe_free(qdisp_ctx *ctx, void *opaque) {
    bpe *model = opaque;
    if (!model) return;
    qd_strings_free(ctx, &model->own_words);
    qd_merge_table_free(ctx, &model->merges);
    qd_free(ctx, model->joins.bits);
    qd_free(ctx, model->word_pool);
    qd_free(ctx, model->whole);
    qd_free(ctx, model->char_id);
    qd_free(ctx, model);
}

static qdisp_status make(const qd_place *place, const qd_bpe_options *o, bpe *model) {
    QD_TRY(set_affix(place, "continuing_subword_prefix", o->prefix, model->prefix, &model->n_prefix));
    QD_TRY(set_affix(place, "end_of_word_suffix", o->suffix, model->suffix, &model->n_suffix));
    QD_TRY(set_units(place, model, o->unk_token));
    QD_TRY(set_chars(place->ctx, model));
    QD_TRY(set_words(place, model));
    return set_merges(place, model, o->merges);
}

qdisp_status qd_bpe_new(const qd_place *place, const qdisp_tokenizer *t, const qd_bpe_options *o, void **out) {
    bpe *model = qd_alloc(place->ctx, 1, sizeof *model);
    if (!model) return QDISP_ENOMEM;
    model->t = t;
    model->byte_level = o->byte_level;
    model->byte_fallback = o->byte_fallback;
    model->fuse_unk = o->fuse_unk;
    model->ignore_merges = o->ignore_merges;
    qdisp_status status = make(place, o, model);
    if (status != QDISP_OK) {
        bpe_free(place->ctx, model);
        return status;
    }
    *out = model;
    return QDISP_OK;
}

const qd_tokenizer_kind qd_tokenizer_bpe = {"BPE", qd_bpe_open, bpe_free, bpe_encode};
