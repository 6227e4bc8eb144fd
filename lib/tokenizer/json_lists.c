/* json_lists.c - reads a tokenizer.json whose vocabulary and merges are nearly all of it.
 *
 * A tree with a value for every one of a million strings takes several times as long as to read them. So the two lists
 * are found and checked here, strictly, and what is around them goes to jansson. Whatever is not as it should be is
 * shown to jansson whole, which then says what is wrong and where. */
#include "tokenizer/json_lists.h"
#include <string.h>

typedef struct finder {
    const char *end;
    qd_json_lists *lists;
    char *vocab_end, *merges_end;
    const char *bad_key;   /* of a vocabulary entry that is no id, with its value as written */
    size_t bad_merge;      /* SIZE_MAX: none */
} finder;

/* ---- strict pieces: NULL where the text is not as it should be ---- */

static char *skip_space(char *s) {
    while (*s == ' ' || *s == '\n' || *s == '\r' || *s == '\t') s++; /* the NUL ends it */
    return s;
}

static int hex_value(const char *s) {
    int v = 0;
    for (int i = 0; i < 4; i++) {
        int digit = s[i] >= '0' && s[i] <= '9' ? s[i] - '0' : (s[i] | 0x20) - 'a' + 10;
        if (digit < 0 || digit > 15 || (digit > 9 && s[i] <= '9')) return -1;
        v = v << 4 | digit;
    }
    return v;
}

/* An escape at the backslash: its length and character, 0: wrong. */
static size_t read_escape(const char *s, int32_t *c) {
    static const char NAMES[] = "\"\\/bfnrt", CHARS[] = "\"\\/\b\f\n\r\t";
    const char *name = s[1] ? strchr(NAMES, s[1]) : NULL;
    if (name) {
        *c = CHARS[name - NAMES];
        return 2;
    }
    if (s[1] != 'u' || (*c = hex_value(s + 2)) < 0) return 0;
    if (*c < 0xD800 || *c > 0xDFFF) return 6;
    if (*c > 0xDBFF || s[6] != '\\' || s[7] != 'u') return 0;
    int low = hex_value(s + 8);
    if (low < 0xDC00 || low > 0xDFFF) return 0;
    *c = 0x10000 + ((*c - 0xD800) << 10) + (low - 0xDC00);
    return 12;
}

/* Bytes of eight that end a run: a quote, a backslash, a control character. */
static uint64_t special_bytes(uint64_t v) {
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    uint64_t quote = v ^ ones * '"', slash = v ^ ones * '\\';
    return ((quote - ones) | (slash - ones) | (v - ones * 0x20)) & ~v & high; /* false alarms cost a look */
}

/* Behind the string that begins at s. The text's final NUL is a control character. */
static char *skip_string(char *s, const char *end) {
    if (*s++ != '"') return NULL;
    for (;;) {
        uint64_t eight;
        while (end - s >= 8 && (memcpy(&eight, s, 8), !special_bytes(eight))) s += 8;
        for (; (uint8_t)*s >= 0x20 && *s != '"' && *s != '\\'; s++) {}
        if (*s == '"') return s + 1;
        int32_t c;
        size_t n = *s == '\\' ? read_escape(s, &c) : 0;
        if (!n) return NULL;
        s += n;
    }
}

/* A value of any kind, checked by jansson later; strings so far that brackets in them do not count. */
static char *skip_value(char *s, const char *end) {
    size_t depth = 0;
    do {
        if (*s == '"') {
            if (!(s = skip_string(s, end))) return NULL;
            continue;
        }
        if (*s == '{' || *s == '[') depth++;
        if (*s == '}' || *s == ']') {
            if (!depth) return s;
            depth--;
        }
        if (*s == ',' && !depth) return s;
        if (!*s) return NULL;
        s++;
    } while (depth || (*s != ',' && *s != '}' && *s != ']'));
    return s;
}

static char *skip_integer(char *s, int64_t *v) {
    char *digits = s + (*s == '-');
    size_t n = 0;
    uint64_t value = 0;
    for (; digits[n] >= '0' && digits[n] <= '9'; n++) {
        if (n < 18) value = value * 10 + (uint64_t)(digits[n] - '0');
    }
    if (!n || n > 18 || (n > 1 && *digits == '0') || digits[n] == '.' || (digits[n] | 0x20) == 'e') return NULL;
    *v = *s == '-' ? -(int64_t)value : (int64_t)value;
    return digits + n;
}

/* ---- the lists ---- */

static char *check_entry(finder *f, char *s, qd_json_lists *l) {
    char *key = s;
    int64_t id;
    s = skip_string(s, f->end);
    if (!s) return NULL;
    l->vocab_bytes += (size_t)(s - key); /* quotes included: room for a NUL */
    s = skip_space(s);
    if (*s != ':') return NULL;
    s = skip_integer(skip_space(s + 1), &id);
    if (!s || id < 0 || (uint64_t)id >= l->n_text || id >= INT32_MAX) {
        f->bad_key = key;
        return NULL;
    }
    if (id > l->max_id) l->max_id = (int32_t)id;
    l->vocab.n++;
    return s;
}

static char *check_merge(finder *f, char *s, qd_json_lists *l) {
    f->bad_merge = l->merges.n;
    if (*s == '[') {
        s = skip_string(skip_space(s + 1), f->end);
        if (!s || *(s = skip_space(s)) != ',') return NULL;
        s = skip_string(skip_space(s + 1), f->end);
        if (!s || *(s = skip_space(s)) != ']') return NULL;
        s++;
    } else {
        s = skip_string(s, f->end);
    }
    if (!s) return NULL;
    l->merges.n++;
    f->bad_merge = SIZE_MAX;
    return s;
}

static char *check_list(finder *f, char *s, char close, char *(*check)(finder *, char *, qd_json_lists *)) {
    s = skip_space(s + 1);
    if (*s == close) return s + 1;
    for (;;) {
        s = check(f, s, f->lists);
        if (!s) return NULL;
        s = skip_space(s);
        if (*s == close) return s + 1;
        if (*s != ',') return NULL;
        s = skip_space(s + 1);
    }
}

static bool key_is(const char *key, const char *behind, const char *name) {
    size_t n = strlen(name);
    return (size_t)(behind - key) == n + 2 && !memcmp(key + 1, name, n);
}

/* The value of a member of the model. */
static char *take_member(finder *f, const char *key, const char *behind, char *s) {
    qd_json_lists *l = f->lists;
    if (*s == '{' && !l->vocab.begin && key_is(key, behind, "vocab")) {
        l->vocab.begin = s;
        return f->vocab_end = check_list(f, s, '}', check_entry);
    }
    if (*s == '[' && !l->merges.begin && key_is(key, behind, "merges")) {
        l->merges.begin = s;
        return f->merges_end = check_list(f, s, ']', check_merge);
    }
    return skip_value(s, f->end);
}

/* The members of the object at s; in_model: those of "model", which is looked for else. */
static char *find(finder *f, char *s, bool in_model) {
    if (*s != '{') return NULL;
    for (s++;; s++) {
        char *key = s = skip_space(s), *behind;
        if (!(behind = s = skip_string(s, f->end)) || *(s = skip_space(s)) != ':') return NULL;
        s = skip_space(s + 1);
        if (in_model) {
            s = take_member(f, key, behind, s);
        } else {
            s = *s == '{' && key_is(key, behind, "model") ? find(f, s, true) : skip_value(s, f->end);
        }
        if (!s || *(s = skip_space(s)) != ',') return s && *s == '}' ? s + 1 : NULL;
    }
}

/* ---- the file ---- */

static qdisp_status parse(qdisp_ctx *ctx, const char *file, const char *text, size_t n, json_t **root) {
    json_error_t error;
    *root = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (*root) return QDISP_OK;
    if (json_error_code(&error) == json_error_out_of_memory) {
        return qd_fail(ctx, QDISP_ENOMEM, "%s: out of memory", file);
    }
    return qd_fail(ctx, QDISP_EFORMAT, "%s: line %d, column %d: %s", file, error.line, error.column, error.text);
}

/* Something was not as it should be: jansson says what, or it was not the syntax. */
static qdisp_status refuse(qdisp_ctx *ctx, const char *file, const finder *f) {
    json_t *whole = NULL;
    QD_TRY(parse(ctx, file, f->lists->text, f->lists->n_text, &whole));
    json_decref(whole);
    if (f->bad_merge != SIZE_MAX) {
        return qd_fail(ctx, QDISP_EFORMAT, "%s: model.merges[%zu]: neither \"a b\" nor [\"a\", \"b\"]", file,
                       f->bad_merge);
    }
    if (!f->bad_key) return qd_fail(ctx, QDISP_EFORMAT, "%s: the file is not a JSON object", file);
    char *at = (char *)f->bad_key, *value = skip_space(skip_string(at, f->end));
    int64_t id;
    bool is_integer = skip_integer(skip_space(value + 1), &id) != NULL;
    int n = (int)(value - f->bad_key) - 2;
    while (n > 40 || ((uint8_t)f->bad_key[1 + n] & 0xC0) == 0x80) n--;
    if (!is_integer) {
        return qd_fail(ctx, QDISP_EFORMAT, "%s: model.vocab '%.*s': the id is not an integer", file, n, f->bad_key + 1);
    }
    return qd_fail(ctx, QDISP_EFORMAT, "%s: model.vocab '%.*s': id %lld is %s", file, n, f->bad_key + 1, (long long)id,
                   id < 0 ? "negative" : "larger than the file has bytes");
}

/* The text without the entries of its lists. */
static char *rest_of(qdisp_ctx *ctx, const finder *f, size_t *n) {
    const qd_json_lists *l = f->lists;
    char *rest = qd_alloc(ctx, l->n_text + 1, 1), *from = l->text;
    struct cut {
        char *begin, *end;
    } cuts[2] = {{l->vocab.begin, f->vocab_end}, {l->merges.begin, f->merges_end}};
    if (cuts[1].begin && (!cuts[0].begin || cuts[1].begin < cuts[0].begin)) {
        struct cut first = cuts[1];
        cuts[1] = cuts[0];
        cuts[0] = first;
    }
    *n = 0;
    for (int i = 0; rest && i < 3; i++) {
        char *to = i < 2 && cuts[i].begin ? cuts[i].begin + 1 : i < 2 ? from : l->text + l->n_text;
        memcpy(rest + *n, from, (size_t)(to - from));
        *n += (size_t)(to - from);
        from = i < 2 && cuts[i].begin ? cuts[i].end - 1 : to;
    }
    return rest;
}

static qdisp_status read_parts(qdisp_ctx *ctx, const char *file, qd_json_lists *l, json_t **root) {
    finder f = {.end = l->text + l->n_text, .lists = l, .bad_merge = SIZE_MAX};
    size_t n;
    char *behind = qd_utf8_check(l->text, l->n_text) == l->n_text ? find(&f, skip_space(l->text), false) : NULL;
    if (!behind || *skip_space(behind)) return refuse(ctx, file, &f);
    char *rest = rest_of(ctx, &f, &n);
    if (!rest) return QDISP_ENOMEM;
    json_error_t error;
    *root = json_loadb(rest, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    qd_free(ctx, rest);
    return *root ? QDISP_OK : refuse(ctx, file, &f);
}

qdisp_status qd_json_lists_read(qdisp_ctx *ctx, const char *file, size_t max_bytes, qd_json_lists *out, json_t **root) {
    qd_json_lists l = {.max_id = -1};
    QD_TRY(qd_read_file(ctx, file, max_bytes, &l.text, &l.n_text));
    qdisp_status status = read_parts(ctx, file, &l, root);
    if (status != QDISP_OK) {
        qd_json_lists_free(ctx, &l);
        return status;
    }
    *out = l;
    return QDISP_OK;
}

void qd_json_lists_free(qdisp_ctx *ctx, qd_json_lists *lists) {
    qd_free(ctx, lists->text);
    *lists = (qd_json_lists){0};
}

/* ---- reading what has been checked ---- */

/* The string at **at, decoded where it stands (an escape is never shorter than its character) and ended by a NUL. */
static char *read_string(char **at, size_t *n) {
    char *s = *at + 1, *begin = s, *to;
    while (*s != '"' && *s != '\\') s++;
    for (to = s; *s != '"';) {
        int32_t c;
        if (*s != '\\') {
            *to++ = *s++;
            continue;
        }
        s += read_escape(s, &c);
        to += qd_utf8_put(c, (uint8_t *)to);
    }
    *to = 0;
    *n = (size_t)(to - begin);
    *at = s + 1;
    return begin;
}

void qd_json_vocab_next(char **at, char **token, size_t *n, int32_t *id) {
    int64_t v;
    char *s = skip_space(*at + 1); /* behind the bracket or the comma */
    *token = read_string(&s, n);
    s = skip_space(s);
    *at = skip_space(skip_integer(skip_space(s + 1), &v));
    *id = (int32_t)v;
}

void qd_json_merge_next(char **at, char *part[2], size_t n[2]) {
    char *s = skip_space(*at + 1);
    bool pair = *s == '[';
    if (pair) s = skip_space(s + 1);
    part[0] = read_string(&s, &n[0]);
    part[1] = NULL;
    if (pair) {
        s = skip_space(skip_space(s) + 1);
        part[1] = read_string(&s, &n[1]);
        s = skip_space(s) + 1;
    }
    *at = skip_space(s);
}
