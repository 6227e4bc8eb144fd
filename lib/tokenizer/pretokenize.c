/* pretokenize.c - text to words: a list of steps, each a pattern with a behavior; byte-level is a mark at the end.
 *
 * All pre-tokenizers are said as patterns, so that one loop runs them. ByteLevel's mapping of bytes to printable
 * characters is not carried out: the model works on bytes, which are the same thing. It must therefore be the last
 * step. */
#include "tokenizer/tokenizer.h"
#include <string.h>

#define MAX_STEPS 32

typedef struct step {
    qd_pattern *pattern; /* NULL: no cutting */
    qd_behavior behavior;
    bool invert;
    bool prefix_space;
} step;

struct qd_pretokenizer {
    step steps[MAX_STEPS];
    size_t n;
    bool byte_level;
};

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
/* \w and its complement without \s as the reference's Whitespace has them: not Oniguruma's \w. */
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}"
#define PUNCTUATION "[!-/:-@\\[-`{-~\\p{P}]"

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
    if (p->n == MAX_STEPS) {
        return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: %s: more than %d steps", place->file, place->member,
                       MAX_STEPS);
    }
    if (p->byte_level) {
        return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: %s: a step after ByteLevel", place->file, place->member);
    }
    p->steps[p->n++] = made;
    return QDISP_OK;
}

static qdisp_status add_regex(const qd_place *place, qd_pretokenizer *p, const char *pattern, step made) {
    QD_TRY(add_step(place, p, made));
    return qd_pattern_new(place, pattern, strlen(pattern), false, &p->steps[p->n - 1].pattern);
}

static qdisp_status add_split(const qd_place *place, qd_pretokenizer *p, const json_t *json) {
    step made = {0};
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

static qdisp_status read_steps(const qd_place *place, qd_pretokenizer *p, const json_t *json, int depth) {
    const char *type = NULL;
    size_t n = 0;
    QD_TRY(qd_json_string(place, json, "type", true, &type, &n));
    if (!strcmp(type, "Sequence")) {
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
    if (!strcmp(type, "Split")) return add_split(place, p, json);
    if (!strcmp(type, "ByteLevel")) return add_byte_level(place, p, json);
    if (!strcmp(type, "Digits")) {
        bool individual = false;
        QD_TRY(qd_json_bool(place, json, "individual_digits", true, &individual));
        return add_regex(place, p, "\\p{N}", (step){.behavior = individual ? QD_ISOLATED : QD_CONTIGUOUS});
    }
    if (!strcmp(type, "Punctuation")) {
        qd_behavior behavior = QD_ISOLATED;
        QD_TRY(behavior_of(place, json, false, &behavior));
        return add_regex(place, p, PUNCTUATION, (step){.behavior = behavior});
    }
    if (!strcmp(type, "Whitespace")) {
        return add_regex(place, p, "[" WORD "]+|[^" WORD "\\s]+", (step){.behavior = QD_REMOVED, .invert = true});
    }
    if (!strcmp(type, "WhitespaceSplit")) return add_regex(place, p, "\\s", (step){.behavior = QD_REMOVED});
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

/* A copy of all words with a space before those that have none; the space has the origin of the character behind it. */
static qdisp_status put_spaces(qd_encoder *e, const qd_text *text, const qd_text **out) {
    qd_text *to = &e->prefixed[text == &e->prefixed[0]];
    qd_text_clear(to);
    for (size_t i = 0; i < e->words.n; i++) {
        qd_piece *word = &e->words.items[i];
        size_t begin = to->n_own;
        if (text->bytes[word->begin] != ' ') {
            QD_TRY(qd_text_push_char(e->ctx, to, ' ', qd_text_origin(text, word->begin)));
        }
        QD_TRY(qd_text_push(e->ctx, to, text->bytes + word->begin, word->end - word->begin, text, word->begin));
        *word = (qd_piece){begin, to->n_own, -1};
    }
    qd_text_seal(to);
    *out = to;
    return QDISP_OK;
}

qdisp_status qd_pretokenize(qd_encoder *e, const qd_pretokenizer *pretokenizer, const qd_text *text, size_t begin,
                            size_t end, const qd_text **out) {
    const uint8_t *shadow = NULL;
    e->words.n = e->words_next.n = 0;
    QD_TRY(push_word(e, begin, end));
    for (size_t i = 0; pretokenizer && i < pretokenizer->n; i++) {
        qd_pieces swap = e->words;
        e->words = e->words_next;
        e->words_next = swap;
        const step *s = &pretokenizer->steps[i];
        if (s->prefix_space) {
            QD_TRY(put_spaces(e, text, &text));
            shadow = NULL;
        }
        e->words_next.n = 0;
        if (s->pattern && !shadow && e->words.n) {
            size_t last = e->words.items[e->words.n - 1].end;
            QD_TRY(qd_encoder_shadow(e, text, e->words.items[0].begin, last, &shadow));
        }
        for (size_t k = 0; k < e->words.n; k++) {
            const qd_piece *word = &e->words.items[k];
            if (!s->pattern) {
                QD_TRY(push_word(e, word->begin, word->end));
                continue;
            }
            e->spans.n = 0;
            QD_TRY(qd_pattern_spans(e->ctx, e->matcher, s->pattern, text->bytes, shadow, word->begin, word->end,
                                    &e->spans));
            QD_TRY(apply(e, s));
        }
    }
    qd_pieces swap = e->words;
    e->words = e->words_next;
    e->words_next = swap;
    *out = text;
    return QDISP_OK;
}
