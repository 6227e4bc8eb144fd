/* pretokenize.c - text to words: a list of steps, each cutting every word of the one before.
 *
 * A step cuts at a pattern or at characters of a class, with a behavior for what it cut at; Metaspace also writes the
 * text anew. ByteLevel's mapping of bytes to printable characters is not carried out if it comes last and the model is
 * BPE, which works on bytes: they are the same thing. */
#include "tokenizer/tokenizer.h"
#include <string.h>

#define MAX_STEPS 32

typedef enum step_kind {
    STEP_KEEP,      /* does not cut */
    STEP_PATTERN,
    STEP_CLASS,
    STEP_METASPACE,
    STEP_LENGTH,
    STEP_ALPHABET   /* writes bytes as characters */
} step_kind;

typedef enum char_class { CLASS_SPACE, CLASS_PUNCTUATION, CLASS_NUMERIC, CLASS_ONE } char_class;

typedef struct step {
    step_kind kind;
    qd_pattern *pattern;
    char_class class;
    int32_t character;     /* of CLASS_ONE */
    size_t length;         /* of STEP_LENGTH: characters a word */
    qd_metaspace metaspace;
    qd_behavior behavior;
    bool invert;
    bool prefix_space;
} step;

struct qd_pretokenizer {
    step steps[MAX_STEPS];
    size_t n;
    bool byte_level; /* the last step is ByteLevel */
};

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
/* \w and its complement without \s as the reference's Whitespace has them: not Oniguruma's \w. */
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}"

static const struct {
    const char *name;
    qd_behavior behavior;
} BEHAVIORS[] = {{"Removed", QD_REMOVED},
                 {"Isolated", QD_ISOLATED},
                 {"MergedWithPrevious", QD_MERGED_PREVIOUS},
                 {"MergedWithNext", QD_MERGED_NEXT},
                 {"Contiguous", QD_CONTIGUOUS}};

static qdisp_status behavior_of(const qd_place *place, const json_t *json, bool required, qd_behavior *out) {
    const char *name = NULL;
    size_t n = 0;
    QD_TRY(qd_json_string(place, json, "behavior", required, &name, &n));
    if (!name) return QDISP_OK;
    for (size_t i = 0; i < sizeof BEHAVIORS / sizeof BEHAVIORS[0]; i++) {
        if (!strcmp(name, BEHAVIORS[i].name)) {
            *out = BEHAVIORS[i].behavior;
            return QDISP_OK;
        }
    }
    return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s.behavior: '%.40s' is not known", place->file, place->member,
                   name);
}

qdisp_status qd_metaspace_read(const qd_place *place, const json_t *json, qd_metaspace *out) {
    static const char *const SCHEMES[] = {"always", "first", "never"}; /* in the order of the enum */
    const char *scheme = "always";
    size_t n = 0, i = 0;
    bool prefix_space = true;
    out->split = true;
    QD_TRY(qd_json_char(place, json, "replacement", &out->replacement));
    QD_TRY(qd_json_string(place, json, "prepend_scheme", false, &scheme, &n));
    QD_TRY(qd_json_bool(place, json, "add_prefix_space", false, &prefix_space));
    QD_TRY(qd_json_bool(place, json, "split", false, &out->split));
    while (i < 3 && strcmp(scheme, SCHEMES[i])) i++;
    if (i == 3 || (!prefix_space && i != QD_PREPEND_NEVER)) {
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s.prepend_scheme: '%.40s'%s", place->file, place->member,
                       scheme, i == 3 ? " is not known" : " against add_prefix_space = false");
    }
    out->prepend = i == 0 ? QD_PREPEND_ALWAYS : i == 1 ? QD_PREPEND_FIRST : QD_PREPEND_NEVER;
    return QDISP_OK;
}

static qdisp_status add_step(const qd_place *place, qd_pretokenizer *p, step made) {
    if (p->byte_level) { /* no longer the last: its mapping is carried out */
        p->byte_level = false;
        QD_TRY(add_step(place, p, (step){.kind = STEP_ALPHABET}));
    }
    if (p->n == MAX_STEPS) {
        return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: %s: more than %d steps", place->file, place->member,
                       MAX_STEPS);
    }
    p->steps[p->n++] = made;
    return QDISP_OK;
}

static qdisp_status add_regex(const qd_place *place, qd_pretokenizer *p, const char *pattern, step made) {
    made.kind = STEP_PATTERN;
    QD_TRY(add_step(place, p, made));
    return qd_pattern_new(place, pattern, strlen(pattern), false, &p->steps[p->n - 1].pattern);
}

static qdisp_status add_class(const qd_place *place, qd_pretokenizer *p, char_class class, qd_behavior behavior) {
    return add_step(place, p, (step){.kind = STEP_CLASS, .class = class, .behavior = behavior});
}

static qdisp_status add_split(const qd_place *place, qd_pretokenizer *p, const json_t *json) {
    step made = {.kind = STEP_PATTERN};
    QD_TRY(behavior_of(place, json, true, &made.behavior));
    QD_TRY(qd_json_bool(place, json, "invert", true, &made.invert));
    QD_TRY(add_step(place, p, made));
    return qd_json_pattern(place, json, &p->steps[p->n - 1].pattern);
}

static qdisp_status add_byte_level(const qd_place *place, qd_pretokenizer *p, const json_t *json) {
    step made = {.behavior = QD_ISOLATED};
    bool use_regex = true;
    QD_TRY(qd_json_bool(place, json, "add_prefix_space", true, &made.prefix_space));
    QD_TRY(qd_json_bool(place, json, "use_regex", false, &use_regex));
    QD_TRY(use_regex ? add_regex(place, p, GPT2, made) : add_step(place, p, made));
    p->byte_level = true;
    return QDISP_OK;
}

static qdisp_status add_digits(const qd_place *place, qd_pretokenizer *p, const json_t *json) {
    bool individual = false;
    QD_TRY(qd_json_bool(place, json, "individual_digits", true, &individual));
    return add_class(place, p, CLASS_NUMERIC, individual ? QD_ISOLATED : QD_CONTIGUOUS);
}

static qdisp_status add_punctuation(const qd_place *place, qd_pretokenizer *p, const json_t *json) {
    qd_behavior behavior = QD_ISOLATED;
    QD_TRY(behavior_of(place, json, false, &behavior));
    return add_class(place, p, CLASS_PUNCTUATION, behavior);
}

static qdisp_status add_bert(const qd_place *place, qd_pretokenizer *p, const json_t *json) {
    (void)json;
    QD_TRY(add_class(place, p, CLASS_SPACE, QD_REMOVED));
    return add_class(place, p, CLASS_PUNCTUATION, QD_ISOLATED);
}

static qdisp_status add_whitespace(const qd_place *place, qd_pretokenizer *p, const json_t *json) {
    (void)json;
    return add_regex(place, p, "[" WORD "]+|[^" WORD "\\s]+", (step){.behavior = QD_REMOVED, .invert = true});
}

static qdisp_status add_whitespace_split(const qd_place *place, qd_pretokenizer *p, const json_t *json) {
    (void)json;
    return add_class(place, p, CLASS_SPACE, QD_REMOVED);
}

static qdisp_status add_delimiter(const qd_place *place, qd_pretokenizer *p, const json_t *json) {
    step made = {.kind = STEP_CLASS, .class = CLASS_ONE, .behavior = QD_REMOVED};
    QD_TRY(qd_json_char(place, json, "delimiter", &made.character));
    return add_step(place, p, made);
}

static qdisp_status add_metaspace(const qd_place *place, qd_pretokenizer *p, const json_t *json) {
    step made = {.kind = STEP_METASPACE};
    QD_TRY(qd_metaspace_read(place, json, &made.metaspace));
    return add_step(place, p, made);
}

static qdisp_status add_fixed_length(const qd_place *place, qd_pretokenizer *p, const json_t *json) {
    const json_t *length = json_object_get(json, "length");
    step made = {.kind = STEP_LENGTH, .length = 5};
    if (length) {
        if (!json_is_integer(length) || json_integer_value(length) < 1) {
            return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s.length: not a count", place->file, place->member);
        }
        made.length = (size_t)json_integer_value(length);
    }
    return add_step(place, p, made);
}

static qdisp_status read_steps(const qd_place *place, qd_pretokenizer *p, const json_t *json, int depth);

static qdisp_status read_sequence(const qd_place *place, qd_pretokenizer *p, const json_t *json, int depth) {
    const json_t *list = json_object_get(json, "pretokenizers"), *item;
    size_t i;
    if (!json_is_array(list)) {
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s.pretokenizers: not an array", place->file, place->member);
    }
    if (depth >= QD_TOKENIZER_MAX_NESTING) {
        return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: %s: nested more than %d deep", place->file,
                       place->member, QD_TOKENIZER_MAX_NESTING);
    }
    json_array_foreach(list, i, item) QD_TRY(read_steps(place, p, item, depth + 1));
    return QDISP_OK;
}

static qdisp_status read_steps(const qd_place *place, qd_pretokenizer *p, const json_t *json, int depth) {
    static const struct {
        const char *name;
        qdisp_status (*add)(const qd_place *place, qd_pretokenizer *p, const json_t *json);
    } ROWS[] = {{"Split", add_split},
                {"ByteLevel", add_byte_level},
                {"Metaspace", add_metaspace},
                {"Digits", add_digits},
                {"Punctuation", add_punctuation},
                {"BertPreTokenizer", add_bert},
                {"Whitespace", add_whitespace},
                {"WhitespaceSplit", add_whitespace_split},
                {"CharDelimiterSplit", add_delimiter},
                {"Delimiter", add_delimiter},
                {"FixedLength", add_fixed_length}};
    const char *type = NULL;
    size_t n = 0;
    QD_TRY(qd_json_string(place, json, "type", true, &type, &n));
    if (!strcmp(type, "Sequence")) return read_sequence(place, p, json, depth);
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        if (!strcmp(type, ROWS[i].name)) return ROWS[i].add(place, p, json);
    }
    return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: %s: type '%.40s'", place->file, place->member, type);
}

qdisp_status qd_pretokenizer_new(const qd_place *place, const json_t *json, qd_pretokenizer **out) {
    *out = NULL;
    if (!json || json_is_null(json)) return QDISP_OK;
    qd_pretokenizer *p = qd_alloc(place->ctx, 1, sizeof *p);
    if (!p) return QDISP_ENOMEM;
    qdisp_status status = read_steps(place, p, json, 0);
    if (status != QDISP_OK) {
        qd_pretokenizer_free(place->ctx, p);
        return status;
    }
    *out = p;
    return QDISP_OK;
}

void qd_pretokenizer_free(qdisp_ctx *ctx, qd_pretokenizer *pretokenizer) {
    if (!pretokenizer) return;
    for (size_t i = 0; i < pretokenizer->n; i++) qd_pattern_free(ctx, pretokenizer->steps[i].pattern);
    qd_free(ctx, pretokenizer);
}

bool qd_pretokenizer_is_byte_level(const qd_pretokenizer *pretokenizer) {
    return pretokenizer && pretokenizer->byte_level;
}

static qdisp_status push_word(qd_encoder *e, size_t begin, size_t end) {
    qd_pieces *to = &e->words_next;
    QD_TRY(qd_grow(e->ctx, (void **)&to->items, &to->cap, to->n + 1, sizeof *to->items));
    to->items[to->n++] = (qd_piece){begin, end, -1};
    return QDISP_OK;
}

/* Spans to words. Merging backwards runs from the end, and its result is turned round; spans are merged in place. */
static qdisp_status apply(qd_encoder *e, const step *s) {
    qd_span *a = e->spans.items;
    size_t n = e->spans.n, n_kept = 0;
    bool previous = false;
    if (s->behavior == QD_MERGED_NEXT) {
        size_t top = n;
        for (size_t i = n; i-- > 0;) {
            bool is_match = a[i].is_match != s->invert;
            if (is_match && !previous && top < n) {
                a[top].begin = a[i].begin;
            } else {
                a[--top] = a[i];
            }
            previous = is_match;
        }
        for (size_t i = top; i < n; i++) {
            if (a[i].end > a[i].begin) QD_TRY(push_word(e, a[i].begin, a[i].end));
        }
        return QDISP_OK;
    }
    for (size_t i = 0; i < n; i++) {
        bool is_match = a[i].is_match != s->invert;
        bool joins = (s->behavior == QD_CONTIGUOUS && is_match == previous) ||
                     (s->behavior == QD_MERGED_PREVIOUS && is_match && !previous);
        previous = is_match;
        if (s->behavior == QD_REMOVED && is_match) continue;
        if (joins && n_kept) {
            a[n_kept - 1].end = a[i].end;
        } else {
            a[n_kept++] = a[i];
        }
    }
    for (size_t i = 0; i < n_kept; i++) {
        if (a[i].end > a[i].begin) QD_TRY(push_word(e, a[i].begin, a[i].end));
    }
    return QDISP_OK;
}

static bool in_class(const step *s, int32_t c) {
    switch (s->class) {
    case CLASS_SPACE:
        return qd_unicode_is_space(c);
    case CLASS_PUNCTUATION:
        return qd_unicode_is_punctuation(c);
    case CLASS_NUMERIC:
        return qd_unicode_is_numeric(c);
    default:
        return c == s->character;
    }
}

/* Spans of a word: characters of the class one by one, and what is between them. */
static qdisp_status class_spans(qd_encoder *e, const step *s, const qd_text *text, const qd_piece *word) {
    qd_spans *spans = &e->spans;
    size_t done = word->begin;
    for (size_t i = word->begin, len; i < word->end; i += len) {
        if (!in_class(s, qd_utf8_next(text->bytes + i, &len))) continue;
        QD_TRY(qd_grow(e->ctx, (void **)&spans->items, &spans->cap, spans->n + 2, sizeof *spans->items));
        if (done < i) spans->items[spans->n++] = (qd_span){done, i, false};
        spans->items[spans->n++] = (qd_span){i, i + len, true};
        done = i + len;
    }
    if (done == word->end) return QDISP_OK;
    QD_TRY(qd_grow(e->ctx, (void **)&spans->items, &spans->cap, spans->n + 1, sizeof *spans->items));
    spans->items[spans->n++] = (qd_span){done, word->end, false};
    return QDISP_OK;
}

static qdisp_status cut_length(qd_encoder *e, const step *s, const qd_text *text, const qd_piece *word) {
    for (size_t i = word->begin, begin = i, n = 0, len; i < word->end;) {
        qd_utf8_next(text->bytes + i, &len);
        i += len;
        if (++n == s->length || i >= word->end) {
            QD_TRY(push_word(e, begin, i));
            begin = i;
            n = 0;
        }
    }
    return QDISP_OK;
}

/* A copy of all words with a space before those that have none; the space has the origin of the character behind it. */
static qdisp_status put_spaces(qd_encoder *e, const qd_text *text, qd_text *to) {
    for (size_t i = 0; i < e->words.n; i++) {
        qd_piece *word = &e->words.items[i];
        size_t begin = to->n_own;
        if (text->bytes[word->begin] != ' ') {
            QD_TRY(qd_text_push_char(e->ctx, to, ' ', qd_text_origin(text, word->begin)));
        }
        QD_TRY(qd_text_push(e->ctx, to, text->bytes + word->begin, word->end - word->begin, text, word->begin));
        *word = (qd_piece){begin, to->n_own, -1};
    }
    return QDISP_OK;
}

static bool begins_with(const qd_text *text, const qd_piece *word, int32_t character) {
    size_t len;
    return qd_utf8_next(text->bytes + word->begin, &len) == character;
}

/* Spaces become the replacement, words may get one at their beginning, and are cut before each of them. */
static qdisp_status apply_metaspace(qd_encoder *e, const step *s, const qd_text *text, qd_text *to) {
    const qd_metaspace *m = &s->metaspace;
    for (size_t i = 0; i < e->words.n; i++) {
        const qd_piece *word = &e->words.items[i];
        size_t begin = to->n_own, done = word->begin, origin = qd_text_origin(text, done);
        bool has_one = text->bytes[done] == ' ' || begins_with(text, word, m->replacement);
        if (!has_one && (m->prepend == QD_PREPEND_ALWAYS || (m->prepend == QD_PREPEND_FIRST && origin == 0))) {
            QD_TRY(qd_text_push_char(e->ctx, to, m->replacement, origin));
        }
        for (size_t at = done, len; at < word->end; at += len) {
            bool is_space = text->bytes[at] == ' ';
            int32_t c = qd_utf8_next(text->bytes + at, &len);
            if (!is_space && c != m->replacement) continue;
            QD_TRY(qd_text_push(e->ctx, to, text->bytes + done, at - done, text, done));
            if (m->split && to->n_own > begin) {
                QD_TRY(push_word(e, begin, to->n_own));
                begin = to->n_own;
            }
            QD_TRY(qd_text_push_char(e->ctx, to, m->replacement, qd_text_origin(text, at)));
            done = at + len;
        }
        QD_TRY(qd_text_push(e->ctx, to, text->bytes + done, word->end - done, text, done));
        QD_TRY(push_word(e, begin, to->n_own));
    }
    return QDISP_OK;
}

static qdisp_status apply_alphabet(qd_encoder *e, const qd_text *text, qd_text *to) {
    for (size_t i = 0; i < e->words.n; i++) {
        const qd_piece *word = &e->words.items[i];
        size_t begin = to->n_own;
        for (size_t k = word->begin; k < word->end; k++) {
            QD_TRY(qd_text_push_char(e->ctx, to, qd_byte_level_char(text->bytes[k]), qd_text_origin(text, k)));
        }
        QD_TRY(push_word(e, begin, to->n_own));
    }
    return QDISP_OK;
}

static void swap_words(qd_encoder *e) {
    qd_pieces swap = e->words;
    e->words = e->words_next;
    e->words_next = swap;
}

/* Cuts e->words into e->words_next. */
static qdisp_status cut(qd_encoder *e, const step *s, const qd_text *text) {
    const uint8_t *shadow = NULL;
    if (s->kind == STEP_PATTERN && e->words.n) {
        size_t last = e->words.items[e->words.n - 1].end;
        QD_TRY(qd_encoder_shadow(e, text, e->words.items[0].begin, last, &shadow));
    }
    for (size_t k = 0; k < e->words.n; k++) {
        const qd_piece *word = &e->words.items[k];
        e->spans.n = 0;
        switch (s->kind) {
        case STEP_PATTERN:
            QD_TRY(qd_pattern_spans(e->ctx, e->matcher, s->pattern, text->bytes, shadow, word->begin, word->end,
                                    &e->spans));
            QD_TRY(apply(e, s));
            break;
        case STEP_CLASS:
            QD_TRY(class_spans(e, s, text, word));
            QD_TRY(apply(e, s));
            break;
        case STEP_LENGTH:
            QD_TRY(cut_length(e, s, text, word));
            break;
        default:
            QD_TRY(push_word(e, word->begin, word->end));
        }
    }
    return QDISP_OK;
}

/* The buffer that text is not in, empty. */
static qd_text *other_text(qd_encoder *e, const qd_text *text) {
    qd_text *to = &e->prefixed[text == &e->prefixed[0]];
    qd_text_clear(to);
    return to;
}

static qdisp_status run_step(qd_encoder *e, const step *s, const qd_text **text) {
    if (s->prefix_space) {
        qd_text *to = other_text(e, *text);
        QD_TRY(put_spaces(e, *text, to));
        qd_text_seal(to);
        *text = to;
    }
    e->words_next.n = 0;
    if (s->kind == STEP_METASPACE || s->kind == STEP_ALPHABET) {
        qd_text *to = other_text(e, *text);
        QD_TRY(s->kind == STEP_METASPACE ? apply_metaspace(e, s, *text, to) : apply_alphabet(e, *text, to));
        qd_text_seal(to);
        *text = to;
    } else {
        QD_TRY(cut(e, s, *text));
    }
    swap_words(e);
    return QDISP_OK;
}

qdisp_status qd_pretokenize(qd_encoder *e, const qd_pretokenizer *p, const qd_text *text, size_t begin, size_t end,
                            const qd_text **out) {
    static const step alphabet = {.kind = STEP_ALPHABET};
    e->words_next.n = 0;
    QD_TRY(push_word(e, begin, end));
    swap_words(e);
    for (size_t i = 0; p && i < p->n; i++) QD_TRY(run_step(e, &p->steps[i], &text));
    if (p && p->byte_level && e->tokenizer->kind != &qd_tokenizer_bpe) QD_TRY(run_step(e, &alphabet, &text));
    *out = text;
    return QDISP_OK;
}
