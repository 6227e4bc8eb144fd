/* pattern_translate.c - a pattern in Oniguruma's Ruby syntax, written anew for PCRE2.
 *
 * Published tokenizer.json files are matched by Oniguruma. What differs from PCRE2 (UTF | UCP | MULTILINE, newline LF):
 *   - A class inside a class is a union: BLOOM's `[^(\s|[.,...])]` is one negated class. PCRE2 would take the inner
 * `[` as
 *     a character, end the class at the first `]` and then ask for a literal `)]`. Inner classes are written out flat.
 *   - \h is a hexadecimal digit, \w holds marks and all that is alphabetic, (?m) lets the dot match a newline.
 *   - Scripts: \p{Han} is the Script property; PCRE2's is Script_Extensions.
 * What means something else and cannot be said by rewriting one token is refused by name. */
#include "tokenizer/pattern.h"
#include <string.h>

/* The members of \w, for use inside a class. Oniguruma counts superscript digits and fractions of Latin-1 in. */
#define WORD                                                                                                     \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}" \
    "\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}"

typedef struct translator {
    const qd_place *place;
    const char *s;
    size_t n, i;
    char *out;
    size_t n_out, cap;
} translator;

static qdisp_status put(translator *t, const char *bytes, size_t n) {
    QD_TRY(qd_grow(t->place->ctx, (void **)&t->out, &t->cap, t->n_out + n + 1, 1));
    memcpy(t->out + t->n_out, bytes, n);
    t->n_out += n;
    t->out[t->n_out] = 0;
    return QDISP_OK;
}

static qdisp_status puts_(translator *t, const char *text) {
    return put(t, text, strlen(text));
}

static qdisp_status refuse(const translator *t, const char *what) {
    return qd_fail(t->place->ctx, QDISP_EUNSUPPORTED, "%s: %s: pattern: %s at byte %zu", t->place->file,
                   t->place->member, what, t->i);
}

static char peek(const translator *t, size_t ahead) {
    return t->i + ahead < t->n ? t->s[t->i + ahead] : 0;
}

/* \p{Name}, \P{Name}, \p{^Name}: at the backslash. */
static qdisp_status property(translator *t) {
    static const char *const SAME[] = {"Any",  "Alphabetic", "Uppercase", "Lowercase", "White_Space",
                                       "Emoji", "Ideographic"};
    const char *open = t->s + t->i + 2;
    if (peek(t, 2) != '{') return refuse(t, "a property without braces");
    const char *close = memchr(open, '}', t->n - t->i - 2);
    if (!close) return refuse(t, "a property without its closing brace");
    const char *name = open + 1;
    bool negated = t->s[t->i + 1] == 'P';
    if (name < close && *name == '^') {
        negated = !negated;
        name++;
    }
    size_t len = (size_t)(close - name);
    bool known = len == 1 || len == 2;
    for (size_t k = 0; k < sizeof SAME / sizeof SAME[0]; k++) {
        if (strlen(SAME[k]) == len && !memcmp(SAME[k], name, len)) known = true;
    }
    QD_TRY(puts_(t, negated ? "\\P{" : "\\p{"));
    if (!known) {
        static const char *const POSIX[] = {"Alpha", "Alnum", "Blank", "Cntrl", "Digit", "Graph", "Print",
                                            "Punct", "Space", "Upper", "Lower", "XDigit", "Word", "ASCII"};
        for (size_t k = 0; k < sizeof POSIX / sizeof POSIX[0]; k++) {
            if (strlen(POSIX[k]) == len && !memcmp(POSIX[k], name, len)) return refuse(t, "a POSIX property");
        }
        QD_TRY(puts_(t, "sc:"));
    }
    QD_TRY(put(t, name, len));
    t->i = (size_t)(close - t->s) + 1;
    return puts_(t, "}");
}

/* At a backslash. in_class: what is written must be valid inside a class. */
static qdisp_status escape(translator *t, bool in_class) {
    char c = peek(t, 1);
    const char *written = NULL;
    switch (c) {
    case 0:
        return refuse(t, "a backslash at the end");
    case 'p': case 'P':
        return property(t);
    case 'w':
        written = in_class ? WORD : "[" WORD "]";
        break;
    case 'W':
        if (in_class) return refuse(t, "\\W inside a class");
        written = "[^" WORD "]";
        break;
    case 'h':
        written = in_class ? "0-9a-fA-F" : "[0-9a-fA-F]";
        break;
    case 'H':
        if (in_class) return refuse(t, "\\H inside a class");
        written = "[^0-9a-fA-F]";
        break;
    case 'b': case 'B':
        if (in_class) break;
        return refuse(t, "\\b");
    case 'Z': case 'z': case 'A': case 'R':
    case 's': case 'S': case 'd': case 'D': case 'n': case 'r': case 't': case 'f': case 'v': case 'a': case 'e':
        if (c == 'v') written = "\\x0B"; /* PCRE2's \v is any vertical space */
        break;
    case 'x': {
        QD_TRY(put(t, t->s + t->i, 2));
        t->i += 2;
        return QDISP_OK; /* the digits follow as they stand */
    }
    case 'u': {
        for (size_t k = 2; k < 6; k++) {
            if (!peek(t, k) || !strchr("0123456789abcdefABCDEF", peek(t, k))) {
                return refuse(t, "\\u without four digits");
            }
        }
        QD_TRY(puts_(t, "\\x{"));
        QD_TRY(put(t, t->s + t->i + 2, 4));
        t->i += 6;
        return puts_(t, "}");
    }
    default:
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
            char what[] = "\\?";
            what[1] = c;
            return refuse(t, what);
        }
    }
    if (written) {
        t->i += 2;
        return puts_(t, written);
    }
    size_t n = 2; /* an escaped character may have several bytes */
    while (t->i + n < t->n && ((uint8_t)t->s[t->i + n] & 0xC0) == 0x80) n++;
    t->i += n;
    return put(t, t->s + t->i - n, n);
}

/* At `[`. Writes one flat class. */
static qdisp_status class_(translator *t) {
    QD_TRY(puts_(t, "["));
    t->i++;
    if (peek(t, 0) == '^') {
        QD_TRY(puts_(t, "^"));
        t->i++;
    }
    if (peek(t, 0) == ']') return refuse(t, "an empty class");
    for (int depth = 1; depth > 0;) {
        if (t->i >= t->n) {
            return qd_fail(t->place->ctx, QDISP_EFORMAT, "%s: %s: pattern: a class without its closing bracket",
                           t->place->file, t->place->member);
        }
        char c = t->s[t->i];
        if (c == '\\') {
            QD_TRY(escape(t, true));
            continue;
        }
        if (c == '&' && peek(t, 1) == '&') return refuse(t, "an intersection of classes");
        t->i++;
        if (c == '[') {
            if (peek(t, 0) == ':') return refuse(t, "a POSIX class");
            if (peek(t, 0) == '^') return refuse(t, "a negated class inside a class");
            if (peek(t, 0) == ']') return refuse(t, "an empty class");
            if (++depth > 16) return refuse(t, "classes nested more than 16 deep");
        } else if (c == ']') {
            depth--;
        } else {
            QD_TRY(put(t, &c, 1));
        }
    }
    return puts_(t, "]");
}

/* At `(`. Groups pass, options are renamed. */
static qdisp_status group(translator *t) {
    QD_TRY(puts_(t, "("));
    t->i++;
    if (peek(t, 0) == '*') return refuse(t, "a verb"); /* in Oniguruma an error as well */
    if (peek(t, 0) != '?') return QDISP_OK;
    char c = peek(t, 1);
    if (c && strchr(":=!>|<#", c) && c != '|' && c != '#') {
        size_t n = c == '<' ? 3 : 2;
        if (c == '<' && peek(t, 2) != '=' && peek(t, 2) != '!') return refuse(t, "a named group");
        QD_TRY(put(t, t->s + t->i, n));
        t->i += n;
        return QDISP_OK;
    }
    QD_TRY(puts_(t, "?"));
    for (t->i++; t->i < t->n; t->i++) {
        c = t->s[t->i];
        if (c == ':' || c == ')') break;
        if (c != 'i' && c != 'm' && c != '-') return refuse(t, "a group option");
        QD_TRY(put(t, c == 'm' ? "s" : &c, 1));
    }
    return QDISP_OK;
}

/* At `{`: an interval passes; its lazy and possessive forms mean other things in the two syntaxes. */
static qdisp_status interval(translator *t) {
    size_t k = 1;
    while (peek(t, k) && strchr("0123456789,", peek(t, k))) k++;
    if (peek(t, k) != '}' || k == 1) {
        t->i++;
        return puts_(t, "\\{");
    }
    bool comma = memchr(t->s + t->i, ',', k) != NULL;
    if (peek(t, k + 1) == '+') return refuse(t, "a plus after an interval");
    if (peek(t, k + 1) == '?' && !comma) return refuse(t, "a question mark after a fixed interval");
    if (peek(t, 1) == ',') QD_TRY(puts_(t, "{0")); /* {,n}: PCRE2 10.42 reads it as text */
    size_t from = peek(t, 1) == ',' ? 1 : 0;
    QD_TRY(put(t, t->s + t->i + from, k + 1 - from));
    t->i += k + 1;
    return QDISP_OK;
}

qdisp_status qd_pattern_translate(const qd_place *place, const char *source, size_t n, char **out, size_t *n_out) {
    translator t = {.place = place, .s = source, .n = n};
    qdisp_status status = puts_(&t, "");
    while (status == QDISP_OK && t.i < t.n) {
        char c = t.s[t.i];
        if (c == '\\') {
            status = escape(&t, false);
        } else if (c == '[') {
            status = class_(&t);
        } else if (c == '(') {
            status = group(&t);
        } else if (c == '{') {
            status = interval(&t);
        } else {
            t.i++;
            status = put(&t, &c, 1);
        }
    }
    if (status != QDISP_OK) {
        qd_free(place->ctx, t.out);
        return status;
    }
    *out = t.out;
    *n_out = t.n_out;
    return QDISP_OK;
}
