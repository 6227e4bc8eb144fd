/* scanner.c - runs a pattern that scanner_read.c has read, by backtracking over a table of classes.
 *
 * The published pre-tokenizer patterns are alternations of short sequences of sets of characters. Most of a text is
 * eaten by the innermost loop below, one table look-up a character; an alternative is tried only where its first item
 * can begin. */
#include "tokenizer/scanner.h"
#include <string.h>

/* The classes of the character at s, and its length. */
static inline uint16_t classes_at(const qd_scanner *r, const uint8_t *s, size_t *len) {
    if (s[0] < 0x80) {
        *len = 1;
        return r->ascii[s[0]];
    }
    uint32_t c;
    if (s[0] < 0xE0) {
        *len = 2;
        c = (uint32_t)(s[0] & 0x1F) << 6 | (s[1] & 0x3F);
    } else if (s[0] < 0xF0) {
        *len = 3;
        c = (uint32_t)(s[0] & 0x0F) << 12 | (uint32_t)(s[1] & 0x3F) << 6 | (s[2] & 0x3F);
    } else {
        *len = 4;
        c = (uint32_t)(s[0] & 0x07) << 18 | (uint32_t)(s[1] & 0x3F) << 12 | (uint32_t)(s[2] & 0x3F) << 6 |
            (s[3] & 0x3F);
    }
    return r->blocks[(size_t)r->block_of[c >> 8] * 256 + (c & 255)];
}

/* Bytes at s that are the letter `c` in either case, 0: none. Two letters of ASCII have a third form. */
static size_t letter_length(const uint8_t *s, const uint8_t *end, uint8_t c) {
    uint8_t other = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ? c ^ 0x20 : c;
    if (s < end && (*s == c || *s == other)) return 1;
    if ((c | 0x20) == 's' && end - s >= 2 && !memcmp(s, "\xC5\xBF", 2)) return 2;     /* long s */
    if ((c | 0x20) == 'k' && end - s >= 3 && !memcmp(s, "\xE2\x84\xAA", 3)) return 3; /* Kelvin */
    return 0;
}

static const uint8_t *match_literal(const uint8_t *literal, size_t n, bool no_case, const uint8_t *at,
                                    const uint8_t *end) {
    if (!no_case) return (size_t)(end - at) >= n && !memcmp(at, literal, n) ? at + n : NULL;
    for (size_t i = 0; i < n; i++) {
        size_t len = letter_length(at, end, literal[i]);
        if (!len) return NULL;
        at += len;
    }
    return at;
}

static const uint8_t *match(const qd_scanner *r, const qd_scan_item *item, const uint8_t *at, const uint8_t *end,
                            int64_t *budget);

static const uint8_t *match_literals(const qd_scanner *r, const qd_scan_item *item, const uint8_t *at,
                                     const uint8_t *end, int64_t *budget) {
    const uint8_t *literal = r->literals + item->first;
    for (unsigned i = 0; i < item->n; i++, literal += *literal + 1) {
        const uint8_t *behind = match_literal(literal + 1, *literal, item->no_case, at, end);
        const uint8_t *found = behind ? match(r, item + 1, behind, end, budget) : NULL;
        if (found) return found;
    }
    return item->min ? NULL : match(r, item + 1, at, end, budget);
}

/* The end of the match of the items from here on, or NULL. Depth is bounded by the items of an alternative. */
static const uint8_t *match(const qd_scanner *r, const qd_scan_item *item, const uint8_t *at, const uint8_t *end,
                            int64_t *budget) {
    size_t len;
    for (;; item++) {
        if (item->type == QD_SCAN_END) return at;
        if (item->type == QD_SCAN_LITERALS) return match_literals(r, item, at, end, budget);
        if (item->type == QD_SCAN_NOT_BEFORE) {
            if (at < end && classes_at(r, at, &len) & item->bit) return NULL;
            continue;
        }
        const uint8_t *p = at;
        uint32_t n = 0;
        for (; n < item->max && p < end && classes_at(r, p, &len) & item->bit; n++) p += len;
        *budget -= p - at + 1;
        if (n < item->min || *budget < 0) return NULL;
        at = p;
        if (item[1].type == QD_SCAN_END) return at;
        for (; n > item->min && !item->possessive; n--) {
            const uint8_t *found = match(r, item + 1, at, end, budget);
            if (found || *budget < 0) return found;
            for (at--; (*at & 0xC0) == 0x80;) at--;
        }
    }
}

bool qd_scanner_next(const qd_scanner *r, const uint8_t *from, const uint8_t *end, int64_t *budget,
                     const uint8_t **match_begin, const uint8_t **match_end) {
    size_t len;
    for (const uint8_t *at = from; at < end; at += len) {
        uint16_t classes = classes_at(r, at, &len);
        uint32_t may = *at < 0x80 ? r->ascii_first[*at] : ((uint32_t)1 << r->n_alternatives) - 1;
        for (unsigned i; may; may &= may - 1) {
            i = (unsigned)__builtin_ctz(may);
            if (*at >= 0x80 && !(r->first[i] & classes) && r->first[i] != UINT16_MAX) continue;
            const uint8_t *found = match(r, r->items + r->starts[i], at, end, budget);
            if (*budget < 0) return false;
            if (!found) continue;
            *match_begin = at;
            *match_end = found;
            return true;
        }
    }
    return false;
}
