/* normalize.c - the normalizer: a list of steps, each keeping where every character came from.
 *
 * The alignment rules are the reference's, down to what happens to the origin of marks that are reordered: a new
 * character that replaces takes the origin of the next old character, an inserted one that of the character before
 * it. A step that changes nothing copies nothing. */
#include "tokenizer/normalize.h"
#include <string.h>
#include <utf8proc.h>

#define MAX_STEPS 32

typedef enum step_kind { STEP_FORM, STEP_MAP, STEP_REPLACE, STEP_STRIP, STEP_PREPEND, STEP_CHARSMAP } step_kind;

/* What a character becomes, 0 (it goes) to 4 characters in out. */
typedef unsigned (*char_map)(int32_t c, int32_t out[4]);

typedef struct step {
    step_kind kind;
    bool compose, compat;  /* STEP_FORM */
    char_map map;          /* STEP_MAP */
    bool plain[128];       /* STEP_MAP: ASCII that stays as it is */
    bool left, right;      /* STEP_STRIP */
    qd_pattern *pattern;   /* STEP_REPLACE, unless it is a string: */
    char *literal;
    size_t n_literal;
    char *content;         /* STEP_REPLACE, STEP_PREPEND */
    size_t n_content;
    qd_charsmap *charsmap; /* STEP_CHARSMAP */
} step;

struct qd_normalizer {
    step steps[MAX_STEPS];
    size_t n;
};

/* ---- characters to characters ---- */

static unsigned lower_case(int32_t c, int32_t out[4]) {
    int32_t newer = qd_unicode_lower_newer(c);
    out[0] = newer >= 0 ? newer : utf8proc_tolower(c);
    if (c != 0x130) return 1; /* the one character whose lower case has two, in every context */
    out[0] = 'i';
    out[1] = 0x307;
    return 2;
}

static unsigned clean(int32_t c, int32_t out[4]) {
    out[0] = qd_unicode_is_space(c) ? ' ' : c;
    return c && c != 0xFFFD && !qd_unicode_is_control(c);
}

/* Blocks of Chinese characters as BERT has them: the extensions until 2006, E without its beginning. */
static unsigned space_chinese(int32_t c, int32_t out[4]) {
    static const qd_code_range CHINESE[] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},
                                            {0x20000, 0x2A6DF}, {0x2A700, 0x2B81F}, {0x2B920, 0x2CEAF},
                                            {0x2F800, 0x2FA1F}};
    bool is_chinese = c >= 0x3400 && QD_RANGE_OF(CHINESE, c);
    out[0] = is_chinese ? ' ' : c;
    out[1] = c;
    out[2] = ' ';
    return is_chinese ? 3 : 1;
}

static unsigned drop_nonspacing(int32_t c, int32_t out[4]) {
    out[0] = c;
    return !qd_unicode_is_nonspacing(c);
}

static unsigned drop_marks(int32_t c, int32_t out[4]) {
    out[0] = c;
    return !qd_unicode_is_mark(c);
}

/* The rules of SentencePiece's nmt normalization that are not its charsmap's. */
static unsigned nmt(int32_t c, int32_t out[4]) {
    bool is_space = c == '\t' || c == '\n' || c == '\f' || c == '\r' || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                    c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
    out[0] = is_space ? ' ' : c;
    return is_space || !((c > 0 && c < ' ') || c == 0x7F || c == 0x8F || c == 0x9F);
}

static unsigned alphabet(int32_t c, int32_t out[4]) {
    uint8_t bytes[4];
    unsigned n = (unsigned)qd_utf8_put(c, bytes);
    for (unsigned i = 0; i < n; i++) out[i] = qd_byte_level_char(bytes[i]);
    return n;
}

/* ---- reading ---- */

static qdisp_status read_replace(const qd_place *place, const json_t *json, step *made) {
    const json_t *literal = json_object_get(json_object_get(json, "pattern"), "String");
    const char *content = NULL;
    QD_TRY(qd_json_string(place, json, "content", true, &content, &made->n_content));
    made->n_literal = json_string_length(literal);
    if (made->n_literal) {
        made->literal = qd_strndup(place->ctx, json_string_value(literal), made->n_literal);
        if (!made->literal) return QDISP_ENOMEM;
    } else {
        QD_TRY(qd_json_pattern(place, json, &made->pattern));
    }
    made->content = qd_strndup(place->ctx, content, made->n_content);
    return made->content ? QDISP_OK : QDISP_ENOMEM;
}

static qdisp_status read_prepend(const qd_place *place, const json_t *json, step *made) {
    const char *content = NULL;
    QD_TRY(qd_json_string(place, json, "prepend", true, &content, &made->n_content));
    made->content = qd_strndup(place->ctx, content, made->n_content);
    return made->content ? QDISP_OK : QDISP_ENOMEM;
}

static qdisp_status read_steps(const qd_place *place, qd_normalizer *normalizer, const json_t *json, int depth);

static qdisp_status read_sequence(const qd_place *place, qd_normalizer *normalizer, const json_t *json, int depth) {
    const json_t *list = json_object_get(json, "normalizers"), *item;
    size_t i;
    if (!json_is_array(list)) {
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s.normalizers: not an array", place->file, place->member);
    }
    if (depth >= QD_TOKENIZER_MAX_NESTING) {
        return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: %s: nested more than %d deep", place->file, place->member,
                       QD_TOKENIZER_MAX_NESTING);
    }
    json_array_foreach(list, i, item) QD_TRY(read_steps(place, normalizer, item, depth + 1));
    return QDISP_OK;
}

/* NULL: there are too many. A step is counted first, so that freeing finds what a failure leaves. */
static step *next_step(const qd_place *place, qd_normalizer *normalizer, step made) {
    if (normalizer->n == MAX_STEPS) {
        qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: %s: more than %d steps", place->file, place->member, MAX_STEPS);
        return NULL;
    }
    step *s = &normalizer->steps[normalizer->n++];
    *s = made;
    for (int32_t c = 0; c < 128 && s->map; c++) {
        int32_t to[4];
        s->plain[c] = s->map(c, to) == 1 && to[0] == c;
    }
    return s;
}

static qdisp_status add_bert(const qd_place *place, qd_normalizer *normalizer, const json_t *json) {
    bool do_clean = false, chinese = false, lower = false, accents = false;
    QD_TRY(qd_json_bool(place, json, "clean_text", true, &do_clean));
    QD_TRY(qd_json_bool(place, json, "handle_chinese_chars", true, &chinese));
    QD_TRY(qd_json_bool(place, json, "lowercase", true, &lower));
    accents = lower;
    QD_TRY(qd_json_bool(place, json, "strip_accents", false, &accents));
    const struct {
        bool wanted;
        step step;
    } rows[] = {{do_clean, {.kind = STEP_MAP, .map = clean}},
                {chinese, {.kind = STEP_MAP, .map = space_chinese}},
                {accents, {.kind = STEP_FORM}},
                {accents, {.kind = STEP_MAP, .map = drop_nonspacing}},
                {lower, {.kind = STEP_MAP, .map = lower_case}}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].wanted && !next_step(place, normalizer, rows[i].step)) return QDISP_EUNSUPPORTED;
    }
    return QDISP_OK;
}

static qdisp_status read_step(const qd_place *place, const json_t *json, step *made) {
    const char *text = NULL;
    size_t n = 0;
    switch (made->kind) {
    case STEP_REPLACE:
        return read_replace(place, json, made);
    case STEP_PREPEND:
        return read_prepend(place, json, made);
    case STEP_STRIP:
        QD_TRY(qd_json_bool(place, json, "strip_left", true, &made->left));
        return qd_json_bool(place, json, "strip_right", true, &made->right);
    case STEP_CHARSMAP:
        QD_TRY(qd_json_string(place, json, "precompiled_charsmap", true, &text, &n));
        return qd_charsmap_from_base64(place, text, n, &made->charsmap);
    default:
        return QDISP_OK;
    }
}

static qdisp_status read_steps(const qd_place *place, qd_normalizer *normalizer, const json_t *json, int depth) {
    static const struct {
        const char *name;
        step step;
    } ROWS[] = {{"NFC", {.kind = STEP_FORM, .compose = true}},
                {"NFD", {.kind = STEP_FORM}},
                {"NFKC", {.kind = STEP_FORM, .compose = true, .compat = true}},
                {"NFKD", {.kind = STEP_FORM, .compat = true}},
                {"Lowercase", {.kind = STEP_MAP, .map = lower_case}},
                {"StripAccents", {.kind = STEP_MAP, .map = drop_marks}},
                {"Nmt", {.kind = STEP_MAP, .map = nmt}},
                {"ByteLevel", {.kind = STEP_MAP, .map = alphabet}},
                {"Precompiled", {.kind = STEP_CHARSMAP}},
                {"Replace", {.kind = STEP_REPLACE}},
                {"Strip", {.kind = STEP_STRIP}},
                {"Prepend", {.kind = STEP_PREPEND}}};
    const char *type = NULL;
    size_t n = 0;
    QD_TRY(qd_json_string(place, json, "type", true, &type, &n));
    if (!strcmp(type, "Sequence")) return read_sequence(place, normalizer, json, depth);
    if (!strcmp(type, "BertNormalizer")) return add_bert(place, normalizer, json);
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        if (strcmp(type, ROWS[i].name)) continue;
        step *made = next_step(place, normalizer, ROWS[i].step);
        return made ? read_step(place, json, made) : QDISP_EUNSUPPORTED;
    }
    return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: %s: type '%.40s'", place->file, place->member, type);
}

static void free_steps(qdisp_ctx *ctx, qd_normalizer *normalizer, size_t from) {
    while (normalizer->n > from) {
        step *s = &normalizer->steps[--normalizer->n];
        qd_pattern_free(ctx, s->pattern);
        qd_charsmap_free(ctx, s->charsmap);
        qd_free(ctx, s->literal);
        qd_free(ctx, s->content);
    }
}

void qd_normalizer_free(qdisp_ctx *ctx, qd_normalizer *normalizer) {
    if (!normalizer) return;
    free_steps(ctx, normalizer, 0);
    qd_free(ctx, normalizer);
}

/* The steps of json, or of a charsmap where there is none. */
static qdisp_status add(const qd_place *place, const json_t *json, const uint8_t *charsmap, size_t n,
                        qd_normalizer **normalizer) {
    qd_normalizer *to = *normalizer ? *normalizer : qd_alloc(place->ctx, 1, sizeof *to);
    if (!to) return QDISP_ENOMEM;
    size_t n_before = to->n;
    qdisp_status status;
    if (json) {
        status = read_steps(place, to, json, 0);
    } else {
        step *made = next_step(place, to, (step){.kind = STEP_CHARSMAP});
        status = made ? qd_charsmap_new(place, charsmap, n, &made->charsmap) : QDISP_EUNSUPPORTED;
    }
    if (status == QDISP_OK) {
        *normalizer = to;
        return QDISP_OK;
    }
    free_steps(place->ctx, to, n_before);
    if (!*normalizer) qd_free(place->ctx, to);
    return status;
}

qdisp_status qd_normalizer_add(const qd_place *place, const json_t *json, qd_normalizer **normalizer) {
    return add(place, json, NULL, 0, normalizer);
}

qdisp_status qd_normalizer_add_charsmap(const qd_place *place, const uint8_t *bytes, size_t n,
                                        qd_normalizer **normalizer) {
    return add(place, NULL, bytes, n, normalizer);
}

qdisp_status qd_normalizer_new(const qd_place *place, const json_t *json, qd_normalizer **out) {
    *out = NULL;
    return !json || json_is_null(json) ? QDISP_OK : qd_normalizer_add(place, json, out);
}

/* ---- the steps ---- */

qdisp_status qd_chars_push(qd_encoder *e, size_t *n, int32_t c, int32_t changes) {
    QD_TRY(qd_grow(e->ctx, (void **)&e->chars, &e->cap_chars, *n + 1, sizeof *e->chars));
    e->chars[(*n)++] = (qd_char){c, changes};
    return QDISP_OK;
}

qdisp_status qd_chars_write(qd_encoder *e, size_t n, const qd_text *text, size_t begin, size_t end, qd_text *to) {
    size_t at = begin, len;
    for (size_t i = 0; i < n; i++) {
        int32_t changes = e->chars[i].changes;
        size_t origin = at;
        if (changes > 0 || at >= end) {
            origin = at > begin ? at - 1 : begin;
        } else {
            for (int32_t k = 0; k <= -changes && at < end; k++, at += len) qd_utf8_next(text->bytes + at, &len);
        }
        QD_TRY(qd_text_push_char(e->ctx, to, e->chars[i].c, qd_text_origin(text, origin)));
    }
    return QDISP_OK;
}

/* Characters that stay are copied together with their neighbors. */
static qdisp_status apply_map(qd_encoder *e, const step *s, const qd_text *text, size_t begin, size_t end, qd_text *to,
                              bool *changed) {
    const uint8_t *bytes = text->bytes;
    size_t done = begin;
    *changed = false;
    for (size_t i = begin, len; i < end; i += len) {
        int32_t out[4], c = bytes[i];
        len = 1;
        if (c < 0x80 && s->plain[c]) continue;
        c = qd_utf8_next(bytes + i, &len);
        unsigned n = s->map(c, out);
        if (n == 1 && out[0] == c) continue;
        *changed = true;
        QD_TRY(qd_text_push(e->ctx, to, bytes + done, i - done, text, done));
        for (unsigned k = 0; k < n; k++) {
            QD_TRY(qd_text_push_char(e->ctx, to, out[k], qd_text_origin(text, i)));
        }
        done = i + len;
    }
    return *changed ? qd_text_push(e->ctx, to, bytes + done, end - done, text, done) : QDISP_OK;
}

static qdisp_status push_content(qd_encoder *e, const step *s, size_t origin, qd_text *to) {
    const uint8_t *content = (const uint8_t *)s->content;
    for (size_t i = 0, len; i < s->n_content; i += len) {
        int32_t c = qd_utf8_next(content + i, &len);
        QD_TRY(qd_text_push_char(e->ctx, to, c, origin));
    }
    return QDISP_OK;
}

static qdisp_status apply_replace(qd_encoder *e, const step *s, const qd_text *text, size_t begin, size_t end,
                                  qd_text *to, bool *changed) {
    const uint8_t *shadow = NULL;
    QD_TRY(qd_encoder_shadow(e, text, begin, end, &shadow));
    e->spans.n = 0;
    QD_TRY(qd_pattern_spans(e->ctx, e->matcher, s->pattern, text->bytes, shadow, begin, end, &e->spans));
    *changed = e->spans.n > 1 || (e->spans.n && e->spans.items[0].is_match);
    for (size_t i = 0; i < e->spans.n && *changed; i++) {
        const qd_span *span = &e->spans.items[i];
        if (span->is_match) {
            size_t last = span->end > begin ? span->end - 1 : begin;
            QD_TRY(push_content(e, s, qd_text_origin(text, last), to));
        } else {
            QD_TRY(qd_text_push(e->ctx, to, text->bytes + span->begin, span->end - span->begin, text, span->begin));
        }
    }
    return QDISP_OK;
}

static qdisp_status apply_literal(qd_encoder *e, const step *s, const qd_text *text, size_t begin, size_t end,
                                  qd_text *to, bool *changed) {
    const uint8_t *bytes = text->bytes;
    size_t done = begin;
    *changed = false;
    for (size_t i = begin; end - i >= s->n_literal;) {
        const uint8_t *found = memchr(bytes + i, (uint8_t)s->literal[0], end - i - s->n_literal + 1);
        if (!found) break;
        i = (size_t)(found - bytes);
        if (memcmp(found, s->literal, s->n_literal)) {
            i++;
            continue;
        }
        *changed = true;
        QD_TRY(qd_text_push(e->ctx, to, bytes + done, i - done, text, done));
        done = i += s->n_literal;
        QD_TRY(push_content(e, s, qd_text_origin(text, i - 1), to));
    }
    return *changed ? qd_text_push(e->ctx, to, bytes + done, end - done, text, done) : QDISP_OK;
}

static void apply_strip(const step *s, const qd_text *text, size_t *begin, size_t *end) {
    size_t len;
    while (s->left && *begin < *end && qd_unicode_is_space(qd_utf8_next(text->bytes + *begin, &len))) *begin += len;
    while (s->right && *begin < *end) {
        size_t at = *end - 1;
        while (at > *begin && (text->bytes[at] & 0xC0) == 0x80) at--;
        if (!qd_unicode_is_space(qd_utf8_next(text->bytes + at, &len))) break;
        *end = at;
    }
}

static qdisp_status apply(qd_encoder *e, const step *s, const qd_text *text, size_t begin, size_t end, qd_text *to,
                          bool *changed) {
    switch (s->kind) {
    case STEP_FORM:
        return qd_normalize_form(e, s->compose, s->compat, text, begin, end, to, changed);
    case STEP_MAP:
        return apply_map(e, s, text, begin, end, to, changed);
    case STEP_REPLACE:
        return s->literal ? apply_literal(e, s, text, begin, end, to, changed)
                          : apply_replace(e, s, text, begin, end, to, changed);
    case STEP_CHARSMAP:
        return qd_charsmap_apply(e, s->charsmap, text, begin, end, to, changed);
    default:
        *changed = true;
        QD_TRY(push_content(e, s, qd_text_origin(text, begin), to));
        return qd_text_push(e->ctx, to, text->bytes + begin, end - begin, text, begin);
    }
}

qdisp_status qd_normalize(qd_encoder *e, const qd_normalizer *normalizer, const qd_text **text, size_t *begin,
                          size_t *end) {
    for (size_t i = 0; normalizer && i < normalizer->n && *begin < *end; i++) {
        const step *s = &normalizer->steps[i];
        bool changed = false;
        if (s->kind == STEP_STRIP) {
            apply_strip(s, *text, begin, end);
            continue;
        }
        qd_text *to = &e->norm[*text == &e->norm[0]];
        qd_text_clear(to);
        QD_TRY(apply(e, s, *text, *begin, *end, to, &changed));
        if (!changed) continue;
        qd_text_seal(to);
        *text = to;
        *begin = 0;
        *end = to->n;
    }
    return QDISP_OK;
}
