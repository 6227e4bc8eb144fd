/* scanner_read.c - reads a pattern for scanner.c, or finds that it is of another kind.
 *
 * Nothing is reported as an error here: what is not understood is left to PCRE2, whose translation says what is wrong
 * with it. Sets are of Unicode's general categories, characters and ranges; their members are looked up once, when the
 * table of classes is made, from the same categories (qd_unicode_kinds) that PCRE2 is shown by the stand-ins. */
#include "tokenizer/scanner.h"
#include <string.h>

#define MAX_RANGES 32 /* of characters beyond ASCII in a set */

typedef struct char_set {
    uint64_t ascii[2];
    uint32_t kinds; /* beyond ASCII: a bit a kind, see qd_unicode_kinds */
    int32_t ranges[MAX_RANGES][2];
    unsigned n_ranges;
    bool negated;
} char_set;

typedef struct reader {
    const uint8_t *s;
    size_t n, i;
    qd_scanner *r;
    unsigned n_items, n_literal_bytes;
    char_set sets[QD_SCAN_CLASSES];
    unsigned n_sets;
} reader;

static int peek(const reader *t, size_t ahead) {
    return t->i + ahead < t->n ? t->s[t->i + ahead] : -1;
}

/* ---- sets ---- */

#define BIT(kind) ((uint32_t)1 << (kind))

static const struct {
    const char *name;
    uint32_t kinds;
} PROPERTIES[] = {
    {"L", 0x3Eu},      {"Lu", BIT(1)},  {"Ll", BIT(2)},  {"Lt", BIT(3)},  {"Lm", BIT(4)},  {"Lo", BIT(5)},
    {"M", 0x1C0u},     {"Mn", BIT(6)},  {"Mc", BIT(7)},  {"Me", BIT(8)},  {"N", 0xE00u},   {"Nd", BIT(9)},
    {"Nl", BIT(10)},   {"No", BIT(11)}, {"P", 0x7F000u}, {"Pc", BIT(12)}, {"Pd", BIT(13)}, {"Ps", BIT(14)},
    {"Pe", BIT(15)},   {"Pi", BIT(16)}, {"Pf", BIT(17)}, {"Po", BIT(18)}, {"S", 0x780000u}, {"Sm", BIT(19)},
    {"Sc", BIT(20)},   {"Sk", BIT(21)}, {"So", BIT(22)}, {"Z", 0x3800000u}, {"Zs", BIT(23)}, {"Zl", BIT(24)},
    {"Zp", BIT(25)},
};

#define ALL_KINDS (BIT(QD_KIND_NEXT_LINE + 1) - 1)
#define SPACE_KINDS (BIT(23) | BIT(24) | BIT(25) | BIT(QD_KIND_NEXT_LINE))

static void add_ascii(char_set *set, int c) {
    set->ascii[c >> 6] |= (uint64_t)1 << (c & 63);
}

static bool has_ascii(const char_set *set, int c) {
    return set->ascii[c >> 6] >> (c & 63) & 1;
}

/* Adds what is of these kinds, or with `negated` all else. */
static void add_kinds(char_set *set, uint32_t kinds, bool negated) {
    uint8_t ascii[256];
    qd_unicode_kinds(0, ascii);
    set->kinds |= negated ? ALL_KINDS & ~kinds : kinds;
    for (int c = 0; c < 128; c++) {
        bool is = kinds == SPACE_KINDS ? c == ' ' || (c >= 9 && c <= 13) : kinds >> ascii[c] & 1;
        if (is != negated) add_ascii(set, c);
    }
}

static bool add_range(char_set *set, int32_t first, int32_t last) {
    if (first > last) return false;
    for (int32_t c = first; c <= last && c < 128; c++) add_ascii(set, c);
    if (last < 128) return true;
    if (set->n_ranges == MAX_RANGES) return false;
    set->ranges[set->n_ranges][0] = first > 128 ? first : 128;
    set->ranges[set->n_ranges++][1] = last;
    return true;
}

/* \p{X} or \P{X}, at the backslash. */
static bool read_property(reader *t, char_set *set) {
    bool negated = peek(t, 1) == 'P';
    size_t n = 0;
    if (peek(t, 2) != '{') return false;
    while (peek(t, 3 + n) >= 0 && peek(t, 3 + n) != '}') n++;
    for (size_t k = 0; k < sizeof PROPERTIES / sizeof PROPERTIES[0]; k++) {
        if (strlen(PROPERTIES[k].name) != n || memcmp(PROPERTIES[k].name, t->s + t->i + 3, n)) continue;
        add_kinds(set, PROPERTIES[k].kinds, negated);
        t->i += 4 + n;
        return peek(t, 0) >= 0 || t->i == t->n;
    }
    return false;
}

/* The character that an escape stands for, or -1: it stands for more, or is not known here. */
static int32_t escaped_char(int c) {
    if (c == 'n') return '\n';
    if (c == 'r') return '\r';
    if (c == 't') return '\t';
    bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c < 0 || c >= 0x80;
    return plain ? -1 : c;
}

/* A character as it stands or escaped. */
static bool read_char(reader *t, int32_t *c) {
    if (peek(t, 0) < 0) return false;
    if (peek(t, 0) == '\\') {
        *c = escaped_char(peek(t, 1));
        t->i += 2;
        return *c >= 0;
    }
    size_t len;
    *c = qd_utf8_next(t->s + t->i, &len);
    t->i += len;
    return true;
}

/* \s \S \d \p{} \P{}; *is = false: something else stands here. */
static bool read_kind_escape(reader *t, char_set *set, bool *is) {
    int c = peek(t, 0) == '\\' ? peek(t, 1) : -1;
    *is = c == 's' || c == 'S' || c == 'd' || c == 'p' || c == 'P';
    if (!*is) return true;
    if (c == 'p' || c == 'P') return read_property(t, set);
    add_kinds(set, c == 'd' ? BIT(9) : SPACE_KINDS, c == 'S');
    t->i += 2;
    return true;
}

/* Behind `[`, or `[^`. An inner class adds its members. */
static bool read_members(reader *t, char_set *set, int depth) {
    while (peek(t, 0) >= 0) {
        bool is;
        int32_t first, last;
        if (peek(t, 0) == ']') {
            t->i++;
            return true;
        }
        if (peek(t, 0) == '&' && peek(t, 1) == '&') return false;
        if (peek(t, 0) == '[') {
            int next = peek(t, 1);
            if (depth > 4 || next == '^' || next == ':' || next == ']') return false;
            t->i++;
            if (!read_members(t, set, depth + 1)) return false;
            continue;
        }
        if (!read_kind_escape(t, set, &is)) return false;
        if (is) {
            if (peek(t, 0) == '-' && peek(t, 1) != ']') return false;
            continue;
        }
        if (!read_char(t, &first)) return false;
        last = first;
        if (peek(t, 0) == '-' && peek(t, 1) != ']') {
            t->i++;
            if (peek(t, 0) == '[' || !read_char(t, &last)) return false;
        }
        if (!add_range(set, first, last)) return false;
    }
    return false;
}

/* The bit of a set, an equal one's if there is one; 0: no room. */
static uint16_t bit_of_set(reader *t, const char_set *set) {
    unsigned i = 0;
    while (i < t->n_sets && memcmp(&t->sets[i], set, sizeof *set)) i++;
    if (i == QD_SCAN_CLASSES) return 0;
    if (i == t->n_sets) t->sets[t->n_sets++] = *set;
    return (uint16_t)(1u << i);
}

/* A set as a class, an escape or a single character; 0: not one. */
static uint16_t read_set(reader *t) {
    char_set set;
    bool is;
    int32_t c;
    memset(&set, 0, sizeof set); /* compared as bytes */
    if (peek(t, 0) == '[') {
        t->i++;
        set.negated = peek(t, 0) == '^';
        if (set.negated) t->i++;
        if (peek(t, 0) == ']' || !read_members(t, &set, 0)) return 0;
        return bit_of_set(t, &set);
    }
    if (!read_kind_escape(t, &set, &is)) return 0;
    if (is) return bit_of_set(t, &set);
    return read_char(t, &c) && add_range(&set, c, c) ? bit_of_set(t, &set) : 0;
}

/* ---- items ---- */

#define NOT_LITERAL ".^$*+?{})"

static qd_scan_item *new_item(reader *t, qd_scan_type type) {
    if (t->n_items == QD_SCAN_ITEMS) return NULL;
    qd_scan_item *item = &t->r->items[t->n_items++];
    *item = (qd_scan_item){.type = type, .min = 1, .max = 1};
    return item;
}

/* A character under a quantifier is a set of one. */
static bool is_quantified(const reader *t) {
    reader *ahead = (reader *)t;
    size_t i = t->i;
    int32_t c;
    bool is = read_char(ahead, &c) && peek(t, 0) >= 0 && strchr("?*+{", peek(t, 0));
    ahead->i = i;
    return is;
}

/* One string: literal characters up to what has another meaning. */
static bool read_literal(reader *t, qd_scan_item *item, bool in_group) {
    unsigned at = t->n_literal_bytes++;
    if (!item->n++) item->first = (uint16_t)at;
    while (peek(t, 0) >= 0 && !strchr(in_group ? "|)" : "|([", peek(t, 0))) {
        int32_t c;
        if (strchr(NOT_LITERAL, peek(t, 0))) return false;
        if (!in_group && (is_quantified(t) || (peek(t, 0) == '\\' && escaped_char(peek(t, 1)) < 0))) break;
        if (is_quantified(t) || !read_char(t, &c) || (item->no_case && c >= 128)) return false;
        if (t->n_literal_bytes + 4 > QD_SCAN_LITERAL_BYTES) return false;
        t->n_literal_bytes += (unsigned)qd_utf8_put(c, t->r->literals + t->n_literal_bytes);
    }
    size_t n = t->n_literal_bytes - at - 1;
    t->r->literals[at] = (uint8_t)n;
    return n > 0 && t->n_literal_bytes < QD_SCAN_LITERAL_BYTES;
}

static bool read_group(reader *t) {
    if (peek(t, 1) != '?') return false;
    if (peek(t, 2) == '!') {
        qd_scan_item *item = new_item(t, QD_SCAN_NOT_BEFORE);
        t->i += 3;
        if (!item || !(item->bit = read_set(t)) || peek(t, 0) != ')') return false;
        t->i++;
        return true;
    }
    qd_scan_item *item = new_item(t, QD_SCAN_LITERALS);
    bool no_case = peek(t, 2) == 'i' && peek(t, 3) == ':';
    if (!item || (!no_case && peek(t, 2) != ':')) return false;
    item->no_case = no_case;
    t->i += no_case ? 4 : 3;
    do {
        if (!read_literal(t, item, true) || peek(t, 0) < 0) return false;
        t->i++;
    } while (t->s[t->i - 1] == '|');
    int c = peek(t, 0);
    if (c == '?') {
        item->min = 0;
        c = peek(t, 1);
        t->i++;
    }
    return c < 0 || !strchr("?*+{", c);
}

static bool read_number(reader *t, uint32_t *out) {
    uint32_t v = 0;
    size_t n = 0;
    for (; peek(t, 0) >= '0' && peek(t, 0) <= '9' && n < 5; n++, t->i++) v = v * 10 + (uint32_t)(t->s[t->i] - '0');
    *out = v;
    return n > 0;
}

static bool read_quantifier(reader *t, qd_scan_item *item) {
    int c = peek(t, 0);
    if (c < 0 || !strchr("?*+{", c)) return true;
    t->i++;
    if (c == '{') {
        if (!read_number(t, &item->min)) return false;
        item->max = item->min;
        if (peek(t, 0) == ',') {
            t->i++;
            if (peek(t, 0) == '}') {
                item->max = UINT32_MAX;
            } else if (!read_number(t, &item->max)) {
                return false;
            }
        }
        if (peek(t, 0) != '}' || item->min > item->max || !item->max) return false;
        t->i++;
    } else {
        item->min = c == '+';
        item->max = c == '?' ? 1 : UINT32_MAX;
        item->possessive = peek(t, 0) == '+';
        if (item->possessive) t->i++;
    }
    c = peek(t, 0); /* lazy, or a quantifier of a quantifier */
    return c < 0 || !strchr("?*+{", c);
}

/* Up to `|` or the end. */
static bool read_alternative(reader *t) {
    unsigned start = t->n_items;
    bool matches_something = false;
    if (t->r->n_alternatives == QD_SCAN_ALTERNATIVES) return false;
    t->r->starts[t->r->n_alternatives++] = start;
    while (peek(t, 0) >= 0 && peek(t, 0) != '|') {
        int c = peek(t, 0);
        if (strchr(NOT_LITERAL, c)) return false;
        if (c == '(') {
            if (!read_group(t)) return false;
        } else {
            bool set = c == '[' || is_quantified(t) || (c == '\\' && escaped_char(peek(t, 1)) < 0);
            qd_scan_item *item = new_item(t, set ? QD_SCAN_CLASS : QD_SCAN_LITERALS);
            if (!item) return false;
            if (!set && !read_literal(t, item, false)) return false;
            if (set && (!(item->bit = read_set(t)) || !read_quantifier(t, item))) return false;
        }
        const qd_scan_item *last = &t->r->items[t->n_items - 1];
        if (last->type != QD_SCAN_NOT_BEFORE && last->min) matches_something = true;
    }
    return new_item(t, QD_SCAN_END) && matches_something;
}

/* ---- tables ---- */

static bool set_has(const char_set *set, int32_t c, uint8_t kind) {
    bool has = c < 128 ? has_ascii(set, c) : set->kinds >> kind & 1;
    for (unsigned i = 0; i < set->n_ranges && !has; i++) has = c >= set->ranges[i][0] && c <= set->ranges[i][1];
    return has != set->negated;
}

static uint16_t classes_of(const reader *t, int32_t c, uint8_t kind) {
    uint16_t bits = 0;
    for (unsigned i = 0; i < t->n_sets; i++) bits |= (uint16_t)(set_has(&t->sets[i], c, kind) << i);
    return bits;
}

static bool in_ranges(const reader *t, int32_t first, int32_t last) {
    for (unsigned i = 0; i < t->n_sets; i++) {
        for (unsigned k = 0; k < t->sets[i].n_ranges; k++) {
            if (t->sets[i].ranges[k][0] <= last && t->sets[i].ranges[k][1] >= first) return true;
        }
    }
    return false;
}

/* Blocks that are the same share their storage. */
static qdisp_status add_block(qdisp_ctx *ctx, qd_scanner *r, size_t i_block, const uint16_t classes[256]) {
    size_t k = 0;
    while (k < r->n_blocks && memcmp(r->blocks + k * 256, classes, 256 * sizeof *classes)) k++;
    r->block_of[i_block] = (uint16_t)k;
    if (k < r->n_blocks) return QDISP_OK;
    QD_TRY(qd_grow(ctx, (void **)&r->blocks, &r->cap_blocks, (k + 1) * 256, sizeof *r->blocks));
    memcpy(r->blocks + k * 256, classes, 256 * sizeof *classes);
    r->n_blocks++;
    return QDISP_OK;
}

static qdisp_status make_tables(qdisp_ctx *ctx, const reader *t) {
    qd_scanner *r = t->r;
    uint16_t of_kind[QD_KIND_NEXT_LINE + 1], classes[256];
    uint8_t kinds[256], last_kind = 0;
    size_t last = 0; /* a block of this kind alone; 0: none so far */
    for (uint8_t k = 0; k <= QD_KIND_NEXT_LINE; k++) of_kind[k] = classes_of(t, INT32_MAX, k);
    for (size_t b = 0; b < 0x1100; b++) {
        int32_t first = (int32_t)b * 256;
        bool plain = b > 0 && !in_ranges(t, first, first + 255), same = qd_unicode_kinds(first, kinds) && plain;
        if (same && last && kinds[0] == last_kind) {
            r->block_of[b] = r->block_of[last];
            continue;
        }
        for (int i = 0; i < 256; i++) classes[i] = plain ? of_kind[kinds[i]] : classes_of(t, first + i, kinds[i]);
        if (b == 0) memcpy(r->ascii, classes, sizeof r->ascii);
        QD_TRY(add_block(ctx, r, b, classes));
        if (same) {
            last = b;
            last_kind = kinds[0];
        }
    }
    return QDISP_OK;
}

/* What an alternative may begin with: classes in r->first, single ASCII characters in r->ascii_first. */
static void set_first(qd_scanner *r, unsigned i_alternative) {
    uint16_t bit = (uint16_t)(1u << i_alternative), first = 0;
    for (const qd_scan_item *item = r->items + r->starts[i_alternative];; item++) {
        if (item->type == QD_SCAN_NOT_BEFORE) continue;
        if (item->type == QD_SCAN_CLASS) first |= item->bit;
        const uint8_t *literal = r->literals + item->first;
        for (unsigned i = 0; item->type == QD_SCAN_LITERALS && i < item->n; i++, literal += *literal + 1) {
            uint8_t c = literal[1], other = item->no_case && (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? c ^ 0x20 : c;
            if (c < 128) r->ascii_first[c] |= bit;
            if (c < 128) r->ascii_first[other] |= bit;
            if (c >= 128 || other != c) first = UINT16_MAX; /* letters have forms that are not ASCII */
        }
        if (item->min) break;
    }
    for (int c = 0; c < 128; c++) {
        if (r->ascii[c] & first) r->ascii_first[c] |= bit;
    }
    r->first[i_alternative] = first;
}

qdisp_status qd_scanner_new(qdisp_ctx *ctx, const char *source, size_t n, qd_scanner **out) {
    *out = NULL;
    qd_scanner *r = qd_alloc(ctx, 1, sizeof *r);
    reader *t = r ? qd_alloc(ctx, 1, sizeof *t) : NULL;
    bool understood = t && n > 0 && !memchr(source, 0, n);
    qdisp_status status = t ? QDISP_OK : QDISP_ENOMEM;
    if (t) {
        t->s = (const uint8_t *)source;
        t->n = n;
        t->r = r;
    }
    while (understood && (understood = read_alternative(t)) && peek(t, 0) == '|') t->i++;
    if (understood && t->s[n - 1] == '|') understood = false; /* an empty alternative at the end */
    if (understood) status = make_tables(ctx, t);
    for (unsigned i = 0; understood && status == QDISP_OK && i < r->n_alternatives; i++) set_first(r, i);
    qd_free(ctx, t);
    if (understood && status == QDISP_OK) {
        *out = r;
    } else {
        qd_scanner_free(ctx, r);
    }
    return status;
}

void qd_scanner_free(qdisp_ctx *ctx, qd_scanner *scanner) {
    if (!scanner) return;
    qd_free(ctx, scanner->blocks);
    qd_free(ctx, scanner);
}
