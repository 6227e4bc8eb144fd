/* charsmap.c - SentencePiece's precompiled_charsmap: a double array from bytes to places in a list of replacements.
 *
 * Layout: the array's size in bytes (u32), its units (u32 each, little-endian), then the replacements, each ended by a
 * NUL. A unit holds the byte that leads to it (bits 0..7 and 31), whether a value belongs to it (bit 8) and the
 * exclusive-or to its children (bits 10.., times 256 if bit 9 is set); the value stands at the child by byte 0.
 *
 * Applied as the reference does it: a grapheme cluster of fewer than 6 bytes becomes what its shortest beginning in the
 * map stands for, whatever follows in it; otherwise each character is looked up by itself.
 *
 * Untrusted: the array is only followed where it is, and a map that leads outside is an error at that text. */
#include "tokenizer/normalize.h"
#include <string.h>

#define LONG_CLUSTER 6 /* bytes from which a cluster is taken character by character */

struct qd_charsmap {
    uint8_t *bytes;      /* own copy of the whole */
    const uint8_t *units;
    size_t n_units;
    const char *replacements;
    size_t n_replacements;
    bool plain[128];     /* ASCII that no entry begins with */
};

typedef enum found { FOUND, NOT_FOUND, BROKEN } found;

static uint32_t unit_at(const qd_charsmap *map, size_t i) {
    const uint8_t *u = map->units + 4 * i;
    return (uint32_t)u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

static size_t offset_of(uint32_t unit) {
    return (size_t)(unit >> 10) << ((unit & (1u << 9)) >> 6);
}

/* The replacement at a place; it must be whole characters. */
static found replacement_at(const qd_charsmap *map, size_t at, const char **out, size_t *n_out) {
    if (at >= map->n_replacements) return BROKEN;
    const char *begin = map->replacements + at, *end = memchr(begin, 0, map->n_replacements - at);
    if (((uint8_t)*begin & 0xC0) == 0x80) return BROKEN;
    *out = begin;
    *n_out = end ? (size_t)(end - begin) : map->n_replacements - at;
    return FOUND;
}

/* What the shortest entry that s[n] begins with stands for. */
static found look_up(const qd_charsmap *map, const uint8_t *s, size_t n, const char **out, size_t *n_out) {
    uint32_t unit = unit_at(map, 0);
    size_t at = offset_of(unit);
    for (size_t i = 0; i < n && s[i]; i++) {
        at ^= s[i];
        if (at >= map->n_units) return BROKEN;
        unit = unit_at(map, at);
        if ((unit & (1u << 31 | 0xFFu)) != s[i]) return NOT_FOUND;
        at ^= offset_of(unit);
        if (!(unit >> 8 & 1)) continue;
        if (at >= map->n_units) return BROKEN;
        return replacement_at(map, unit_at(map, at) & 0x7FFFFFFFu, out, n_out);
    }
    return NOT_FOUND;
}

bool qd_charsmap_longest(const qd_charsmap *map, const uint8_t *s, size_t n, size_t *len, const char **out,
                         size_t *n_out) {
    uint32_t unit = unit_at(map, 0);
    size_t at = offset_of(unit), value = 0;
    *len = 0;
    for (size_t i = 0; i < n && s[i]; i++) {
        at ^= s[i];
        if (at >= map->n_units) return false;
        unit = unit_at(map, at);
        if ((unit & (1u << 31 | 0xFFu)) != s[i]) break;
        at ^= offset_of(unit);
        if (!(unit >> 8 & 1)) continue;
        if (at >= map->n_units) return false;
        value = unit_at(map, at) & 0x7FFFFFFFu;
        *len = i + 1;
    }
    return !*len || replacement_at(map, value, out, n_out) == FOUND;
}

bool qd_charsmap_begins(const qd_charsmap *map, uint8_t byte) {
    size_t at = offset_of(unit_at(map, 0)) ^ byte;
    return at < map->n_units && (unit_at(map, at) & (1u << 31 | 0xFFu)) == byte;
}

/* ---- reading ---- */

static qdisp_status bad(const qd_place *place, const char *why) {
    return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s.precompiled_charsmap: %s", place->file, place->member, why);
}

static qdisp_status check(const qd_place *place, qd_charsmap *map, size_t n) {
    if (n < 4) return bad(place, "shorter than its size field");
    size_t n_trie = (size_t)map->bytes[0] | (size_t)map->bytes[1] << 8 | (size_t)map->bytes[2] << 16 |
                    (size_t)map->bytes[3] << 24;
    map->n_units = n_trie / 4;
    if (!map->n_units || map->n_units > (n - 4) / 4) return bad(place, "its size field is not that of its content");
    map->units = map->bytes + 4;
    map->replacements = (const char *)map->units + map->n_units * 4;
    map->n_replacements = n - 4 - map->n_units * 4;
    if (qd_utf8_check(map->replacements, map->n_replacements) < map->n_replacements) {
        return bad(place, "replacements that are not UTF-8");
    }
    for (int c = 0; c < 128; c++) {
        uint8_t byte = (uint8_t)c;
        const char *text;
        size_t n_text;
        map->plain[c] = look_up(map, &byte, 1, &text, &n_text) == NOT_FOUND;
    }
    return QDISP_OK;
}

/* Takes `bytes` over. */
static qdisp_status make(const qd_place *place, uint8_t *bytes, size_t n, qd_charsmap **out) {
    qd_charsmap *map = qd_alloc(place->ctx, 1, sizeof *map);
    if (!map) {
        qd_free(place->ctx, bytes);
        return QDISP_ENOMEM;
    }
    map->bytes = bytes;
    qdisp_status status = check(place, map, n);
    if (status != QDISP_OK) {
        qd_charsmap_free(place->ctx, map);
        return status;
    }
    *out = map;
    return QDISP_OK;
}

qdisp_status qd_charsmap_new(const qd_place *place, const uint8_t *bytes, size_t n, qd_charsmap **out) {
    uint8_t *own = qd_alloc(place->ctx, n ? n : 1, 1);
    if (!own) return QDISP_ENOMEM;
    if (n) memcpy(own, bytes, n);
    return make(place, own, n, out);
}

static int base64_value(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

qdisp_status qd_base64_decode(const qd_place *place, const char *text, size_t n, uint8_t **out, size_t *n_out) {
    size_t n_bytes = 0, n_digits = n;
    uint32_t bits = 0;
    while (n_digits && n - n_digits < 2 && text[n_digits - 1] == '=') n_digits--;
    if (n % 4 || n_digits % 4 == 1) return bad(place, "a length that base 64 does not have");
    uint8_t *bytes = qd_alloc(place->ctx, n / 4 * 3 + 1, 1);
    if (!bytes) return QDISP_ENOMEM;
    for (size_t i = 0; i < n_digits; i++) {
        int value = base64_value(text[i]);
        if (value < 0) {
            qd_free(place->ctx, bytes);
            return bad(place, "a character that is not base 64");
        }
        bits = bits << 6 | (uint32_t)value;
        if (i % 4) bytes[n_bytes++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    *out = bytes;
    *n_out = n_bytes;
    return QDISP_OK;
}

qdisp_status qd_charsmap_from_base64(const qd_place *place, const char *text, size_t n, qd_charsmap **out) {
    uint8_t *bytes;
    size_t n_bytes;
    QD_TRY(qd_base64_decode(place, text, n, &bytes, &n_bytes));
    return make(place, bytes, n_bytes, out);
}

void qd_charsmap_free(qdisp_ctx *ctx, qd_charsmap *map) {
    if (!map) return;
    qd_free(ctx, map->bytes);
    qd_free(ctx, map);
}

/* ---- applying ---- */

static size_t count_chars(const uint8_t *s, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += (s[i] & 0xC0) != 0x80;
    return count;
}

/* Appends what old[n_old] becomes. A character that is left over is an insertion; one that goes missing belongs to the
 * character before, wherever that came from, and to nothing at the beginning of the text. */
static qdisp_status replace(qd_encoder *e, size_t *n, const uint8_t *old, size_t n_old, const char *text,
                            size_t n_text) {
    int64_t more = (int64_t)count_chars((const uint8_t *)text, n_text) - (int64_t)count_chars(old, n_old);
    for (size_t i = 0, len; i < n_text; i += len) {
        QD_TRY(qd_chars_push(e, n, qd_utf8_next((const uint8_t *)text + i, &len), 0));
    }
    for (int64_t k = 0; k < more; k++) e->chars[*n - 1 - (size_t)k].changes = 1;
    if (more < 0 && *n) e->chars[*n - 1].changes += (int32_t)more;
    return QDISP_OK;
}

/* One cluster, or one character of it (is_char: it then stands for itself if it is not in the map). */
static found transform(qd_encoder *e, const qd_charsmap *map, size_t *n, const uint8_t *s, size_t n_bytes,
                       qdisp_status *status) {
    const char *text = NULL;
    size_t n_text = 0;
    found result = look_up(map, s, n_bytes, &text, &n_text);
    *status = result == FOUND ? replace(e, n, s, n_bytes, text, n_text) : QDISP_OK;
    return result;
}

static qdisp_status apply_cluster(qd_encoder *e, const qd_charsmap *map, size_t *n, const uint8_t *s, size_t n_bytes,
                                  bool *changed) {
    qdisp_status status = QDISP_OK;
    found result = n_bytes < LONG_CLUSTER ? transform(e, map, n, s, n_bytes, &status) : NOT_FOUND;
    for (size_t i = 0, len; result == NOT_FOUND && i < n_bytes; i += len) {
        int32_t c = qd_utf8_next(s + i, &len);
        found of_char = transform(e, map, n, s + i, len, &status);
        if (of_char == NOT_FOUND) status = qd_chars_push(e, n, c, 0);
        if (of_char == FOUND) *changed = true;
        if (of_char == BROKEN) result = BROKEN;
        if (status != QDISP_OK) return status;
    }
    if (result == BROKEN) {
        return qd_fail(e->ctx, QDISP_EFORMAT, "tokenizer: normalizer.precompiled_charsmap leads outside itself");
    }
    if (result == FOUND) *changed = true;
    return status;
}

qdisp_status qd_charsmap_apply(qd_encoder *e, const qd_charsmap *map, const qd_text *text, size_t begin, size_t end,
                               qd_text *to, bool *changed) {
    const uint8_t *s = text->bytes;
    size_t n = 0;
    *changed = false;
    for (size_t i = begin, stop; i < end; i = stop) {
        bool alone = s[i] < 0x80 && s[i] != '\r' && (i + 1 == end || s[i + 1] < 0x80);
        stop = alone ? i + 1 : i + qd_grapheme_length((const char *)s + i, end - i);
        if (alone && map->plain[s[i]]) {
            QD_TRY(qd_chars_push(e, &n, s[i], 0));
        } else {
            QD_TRY(apply_cluster(e, map, &n, s + i, stop - i, changed));
        }
    }
    return *changed ? qd_chars_write(e, n, text, begin, end, to) : QDISP_OK;
}
