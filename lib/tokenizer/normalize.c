/* normalize.c - Unicode normalization and the other normalizers, each keeping where every character came from.
 *
 * The alignment rules are the reference's, down to what happens to the origin of marks that are reordered: a new
 * character that replaces takes the origin of the next old character, an inserted one that of the character before
 * it. */
#include "tokenizer/tokenizer.h"
#include <string.h>
#include <utf8proc.h>

#define MAX_STEPS 32

typedef enum step_kind { STEP_FORM, STEP_LOWERCASE, STEP_REPLACE, STEP_STRIP, STEP_PREPEND } step_kind;

typedef struct step {
    step_kind kind;
    bool compose, compat;  /* STEP_FORM */
    bool left, right;      /* STEP_STRIP */
    qd_pattern *pattern;   /* STEP_REPLACE */
    char *content;         /* STEP_REPLACE, STEP_PREPEND */
    size_t n_content;
} step;

struct qd_normalizer {
    step steps[MAX_STEPS];
    size_t n;
};

/* ---- reading ---- */

static qdisp_status read_replace(const qd_place *place, const json_t *json, step *made) {
    const char *content = NULL;
    QD_TRY(qd_json_string(place, json, "content", true, &content, &made->n_content));
    QD_TRY(qd_json_pattern(place, json, &made->pattern));
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

static qdisp_status read_steps(const qd_place *place, qd_normalizer *normalizer, const json_t *json, int depth) {
    static const struct {
        const char *name;
        step step;
    } ROWS[] = {{"NFC", {.kind = STEP_FORM, .compose = true}},
                {"NFD", {.kind = STEP_FORM}},
                {"NFKC", {.kind = STEP_FORM, .compose = true, .compat = true}},
                {"NFKD", {.kind = STEP_FORM, .compat = true}},
                {"Lowercase", {.kind = STEP_LOWERCASE}},
                {"Replace", {.kind = STEP_REPLACE}},
                {"Strip", {.kind = STEP_STRIP}},
                {"Prepend", {.kind = STEP_PREPEND}}};
    const char *type = NULL;
    size_t n = 0;
    QD_TRY(qd_json_string(place, json, "type", true, &type, &n));
    if (!strcmp(type, "Sequence")) return read_sequence(place, normalizer, json, depth);
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        if (strcmp(type, ROWS[i].name)) continue;
        if (normalizer->n == MAX_STEPS) {
            return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: %s: more than %d steps", place->file, place->member,
                           MAX_STEPS);
        }
        step *made = &normalizer->steps[normalizer->n++]; /* counted first: freeing finds what a failure leaves */
        *made = ROWS[i].step;
        if (made->kind == STEP_REPLACE) return read_replace(place, json, made);
        if (made->kind == STEP_PREPEND) return read_prepend(place, json, made);
        if (made->kind == STEP_STRIP) {
            QD_TRY(qd_json_bool(place, json, "strip_left", true, &made->left));
            return qd_json_bool(place, json, "strip_right", true, &made->right);
        }
        return QDISP_OK;
    }
    return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: %s: type '%.40s'", place->file, place->member, type);
}

qdisp_status qd_normalizer_new(const qd_place *place, const json_t *json, qd_normalizer **out) {
    *out = NULL;
    if (!json || json_is_null(json)) return QDISP_OK;
    qd_normalizer *normalizer = qd_alloc(place->ctx, 1, sizeof *normalizer);
    if (!normalizer) return QDISP_ENOMEM;
    qdisp_status status = read_steps(place, normalizer, json, 0);
    if (status != QDISP_OK) {
        qd_normalizer_free(place->ctx, normalizer);
        return status;
    }
    *out = normalizer;
    return QDISP_OK;
}

void qd_normalizer_free(qdisp_ctx *ctx, qd_normalizer *normalizer) {
    if (!normalizer) return;
    for (size_t i = 0; i < normalizer->n; i++) {
        qd_pattern_free(ctx, normalizer->steps[i].pattern);
        qd_free(ctx, normalizer->steps[i].content);
    }
    qd_free(ctx, normalizer);
}

/* ---- Unicode forms ---- */

static uint8_t class_of(int32_t c) {
    return c < 0x300 || qd_unicode_inert(c) ? 0 : (uint8_t)utf8proc_get_property(c)->combining_class;
}

static qdisp_status push_char(qd_encoder *e, size_t *n, int32_t c, int32_t changes) {
    QD_TRY(qd_grow(e->ctx, (void **)&e->chars, &e->cap_chars, *n + 1, sizeof *e->chars));
    QD_TRY(qd_grow(e->ctx, (void **)&e->classes, &e->cap_classes, *n + 1, 1));
    e->classes[*n] = class_of(c);
    e->chars[(*n)++] = (qd_char){c, changes};
    return QDISP_OK;
}

static qdisp_status decompose(qd_encoder *e, const uint8_t *s, size_t n_bytes, bool compat, size_t *n) {
    int options = UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0);
    for (size_t i = 0, len; i < n_bytes; i += len) {
        int32_t c = qd_utf8_next(s + i, &len), parts[32]; /* U+FDFA, the longest, has 18 */
        int boundary = 0;
        if (c < 0xA0 || qd_unicode_inert(c)) {
            QD_TRY(push_char(e, n, c, 0));
            continue;
        }
        utf8proc_ssize_t n_parts = utf8proc_decompose_char(c, parts, 32, (utf8proc_option_t)options, &boundary);
        if (n_parts < 1 || n_parts > 32) {
            parts[0] = c;
            n_parts = 1;
        }
        for (utf8proc_ssize_t k = 0; k < n_parts; k++) QD_TRY(push_char(e, n, parts[k], k > 0));
    }
    return QDISP_OK;
}

/* Stable order by class of chars[a, b), all of them marks; by counting, so that a long run of marks is not
 * quadratic. */
static qdisp_status order_run(qd_encoder *e, size_t n, size_t a, size_t b) {
    size_t n_run = b - a, at[257] = {0};
    QD_TRY(qd_grow(e->ctx, (void **)&e->chars, &e->cap_chars, n + n_run, sizeof *e->chars));
    QD_TRY(qd_grow(e->ctx, (void **)&e->classes, &e->cap_classes, n + n_run, 1));
    memcpy(e->chars + n, e->chars + a, n_run * sizeof *e->chars);
    memcpy(e->classes + n, e->classes + a, n_run);
    for (size_t i = 0; i < n_run; i++) at[e->classes[n + i] + 1]++;
    for (size_t i = 0; i < 256; i++) at[i + 1] += at[i];
    for (size_t i = 0; i < n_run; i++) {
        size_t to = a + at[e->classes[n + i]]++;
        e->chars[to] = e->chars[n + i];
        e->classes[to] = e->classes[n + i];
    }
    return QDISP_OK;
}

static qdisp_status order(qd_encoder *e, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t b = i;
        bool sorted = true;
        while (b < n && e->classes[b]) {
            if (b > i && e->classes[b] < e->classes[b - 1]) sorted = false;
            b++;
        }
        if (!sorted) QD_TRY(order_run(e, n, i, b));
        i = b + 1;
    }
    return QDISP_OK;
}

/* The primary composite of a pair, or -1. */
static int32_t compose_pair(int32_t a, int32_t b) {
    if (b < 0x300) return -1;
    int32_t pair[2] = {a, b};
    utf8proc_ssize_t n = utf8proc_normalize_utf32(pair, 2, (utf8proc_option_t)(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
    return n == 1 && !qd_unicode_inert(a) && !qd_unicode_inert(b) && !qd_unicode_inert(pair[0]) ? pair[0] : -1;
}

/* In place; a character is blocked from its starter by one of the same or a higher class between them. */
static size_t compose(qd_encoder *e, size_t n) {
    qd_char *chars = e->chars;
    size_t n_out = 0, starter = SIZE_MAX;
    int last_class = -1; /* of what stands between starter and here; -1: nothing */
    for (size_t i = 0; i < n; i++) {
        uint8_t class_here = e->classes[i];
        if (starter != SIZE_MAX && last_class < (int)class_here && !(last_class == 0)) {
            int32_t c = compose_pair(chars[starter].c, chars[i].c);
            if (c >= 0) {
                chars[starter].c = c;
                chars[starter].changes += chars[i].changes - 1;
                continue;
            }
        }
        chars[n_out] = chars[i];
        if (class_here == 0) {
            starter = n_out;
            last_class = -1;
        } else {
            last_class = class_here;
        }
        n_out++;
    }
    return n_out;
}

/* Writes the n new characters in e->chars over text[begin, end). */
static qdisp_status transform(qd_encoder *e, size_t n, const qd_text *text, size_t begin, size_t end, qd_text *to) {
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

static bool all_below(const uint8_t *s, size_t n, int32_t limit) {
    for (size_t i = 0, len; i < n; i += len) {
        if (qd_utf8_next(s + i, &len) >= limit) return false;
    }
    return true;
}

/* ---- the steps ---- */

static qdisp_status apply_form(qd_encoder *e, const step *s, const qd_text *text, size_t begin, size_t end,
                               qd_text *to) {
    size_t n = 0;
    QD_TRY(decompose(e, text->bytes + begin, end - begin, s->compat, &n));
    QD_TRY(order(e, n));
    if (s->compose) n = compose(e, n);
    return transform(e, n, text, begin, end, to);
}

static qdisp_status apply_lowercase(qd_encoder *e, const qd_text *text, size_t begin, size_t end, qd_text *to) {
    size_t n = 0;
    for (size_t i = begin, len; i < end; i += len) {
        int32_t c = qd_utf8_next(text->bytes + i, &len), newer = qd_unicode_lower_newer(c);
        if (c == 0x130) { /* the one character whose lower case has two, in every context */
            QD_TRY(push_char(e, &n, 'i', 0));
            QD_TRY(push_char(e, &n, 0x307, 1));
        } else {
            QD_TRY(push_char(e, &n, newer >= 0 ? newer : utf8proc_tolower(c), 0));
        }
    }
    return transform(e, n, text, begin, end, to);
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
                                  qd_text *to) {
    const uint8_t *shadow = NULL;
    QD_TRY(qd_encoder_shadow(e, text, begin, end, &shadow));
    e->spans.n = 0;
    QD_TRY(qd_pattern_spans(e->ctx, e->matcher, s->pattern, text->bytes, shadow, begin, end, &e->spans));
    for (size_t i = 0; i < e->spans.n; i++) {
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

qdisp_status qd_normalize(qd_encoder *e, const qd_normalizer *normalizer, const qd_text **text, size_t *begin,
                          size_t *end) {
    for (size_t i = 0; normalizer && i < normalizer->n && *begin < *end; i++) {
        const step *s = &normalizer->steps[i];
        if (s->kind == STEP_STRIP) {
            apply_strip(s, *text, begin, end);
            continue;
        }
        /* below these, no character changes nor meets one that does */
        if (s->kind == STEP_FORM &&
            all_below((*text)->bytes + *begin, *end - *begin, s->compat ? 0xA0 : s->compose ? 0x300 : 0xC0)) {
            continue;
        }
        qd_text *to = &e->norm[*text == &e->norm[0]];
        qd_text_clear(to);
        switch (s->kind) {
        case STEP_FORM:
            QD_TRY(apply_form(e, s, *text, *begin, *end, to));
            break;
        case STEP_LOWERCASE:
            QD_TRY(apply_lowercase(e, *text, *begin, *end, to));
            break;
        case STEP_REPLACE:
            QD_TRY(apply_replace(e, s, *text, *begin, *end, to));
            break;
        default:
            QD_TRY(push_content(e, s, qd_text_origin(*text, *begin), to));
            QD_TRY(qd_text_push(e->ctx, to, (*text)->bytes + *begin, *end - *begin, *text, *begin));
        }
        qd_text_seal(to);
        *text = to;
        *begin = 0;
        *end = to->n;
    }
    return QDISP_OK;
}
