/* normalize_forms.c - the forms NFC, NFD, NFKC, NFKD, with the origin of every character.
 *
 * A text is gone through in stretches: characters that a form leaves alone, which are copied, and the rest, from the
 * character before (which a mark may compose with) to the next that is left alone, which are decomposed, ordered and
 * composed. */
#include "tokenizer/normalize.h"
#include <string.h>
#include <utf8proc.h>

static uint8_t class_of(int32_t c) {
    if (c < 0x300) return 0;
    uint8_t class = (uint8_t)utf8proc_get_property(c)->combining_class;
    return class && !qd_unicode_inert(c) ? class : 0;
}

static qdisp_status push_char(qd_encoder *e, size_t *n, int32_t c, int32_t changes) {
    QD_TRY(qd_chars_push(e, n, c, changes));
    QD_TRY(qd_grow(e->ctx, (void **)&e->classes, &e->cap_classes, *n, 1));
    e->classes[*n - 1] = class_of(c);
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

/* ---- stretches ---- */

/* Characters that composition may not leave alone, roughly: second parts of compositions that are not marks, and what
 * decomposes for good (a range may hold others; they only take the slow way). */
static const qd_code_range COMPOSING[] = {
    {0x0340, 0x0345}, {0x0374, 0x0374}, {0x037E, 0x037E}, {0x0385, 0x0387}, {0x03D3, 0x03D4}, {0x0958, 0x095F},
    {0x09BE, 0x09BE}, {0x09D7, 0x09DF}, {0x0A33, 0x0A36}, {0x0A59, 0x0A5E}, {0x0B3E, 0x0B3E}, {0x0B56, 0x0B5D},
    {0x0BBE, 0x0BBE}, {0x0BD7, 0x0BD7}, {0x0CC2, 0x0CC2}, {0x0CD5, 0x0CD6}, {0x0D3E, 0x0D3E}, {0x0D57, 0x0D57},
    {0x0DCF, 0x0DCF}, {0x0DDF, 0x0DDF}, {0x0F43, 0x0FB9}, {0x102E, 0x102E}, {0x1161, 0x1175}, {0x11A8, 0x11C2},
    {0x1B35, 0x1B35}, {0x1E9B, 0x1E9B}, {0x1F71, 0x1FFD}, {0x2000, 0x2001}, {0x2126, 0x212B}, {0x2329, 0x232A},
    {0x2ADC, 0x2ADC}, {0xF900, 0xFAFF}, {0xFB1D, 0xFB4F}, {0x11127, 0x11127}, {0x1133E, 0x1133E}, {0x11357, 0x11357},
    {0x114B0, 0x114B0}, {0x114BA, 0x114BD}, {0x115AF, 0x115AF}, {0x1D15E, 0x1D1C0}, {0x2F800, 0x2FA1F},
};

static bool left_alone(int32_t c, bool composing, bool compat) {
    if (c < 0xA0) return true;
    if (composing && !compat && c < 0x300) return true;
    const utf8proc_property_t *p = utf8proc_get_property(c);
    bool decomposes = p->decomp_seqindex != UINT16_MAX && !(composing && p->decomp_type == 0);
    if ((p->combining_class || (decomposes && (compat || !composing))) && !qd_unicode_inert(c)) return false;
    return composing ? !QD_RANGE_OF(COMPOSING, c) : c < 0xAC00 || c > 0xD7A3;
}

qdisp_status qd_normalize_form(qd_encoder *e, bool composing, bool compat, const qd_text *text, size_t begin,
                               size_t end, qd_text *to, bool *changed) {
    size_t done = begin, previous = begin; /* previous: the last character before i, if it is left alone */
    *changed = false;
    for (size_t i = begin, len; i < end; previous = i, i += len) {
        int32_t c = qd_utf8_next(text->bytes + i, &len);
        if (left_alone(c, composing, compat)) continue;
        size_t stop = i, n = 0;
        while (stop < end && !left_alone(c, composing, compat)) {
            stop += len;
            if (stop < end) c = qd_utf8_next(text->bytes + stop, &len);
        }
        QD_TRY(qd_text_push(e->ctx, to, text->bytes + done, previous - done, text, done));
        QD_TRY(decompose(e, text->bytes + previous, stop - previous, compat, &n));
        QD_TRY(order(e, n));
        if (composing) n = compose(e, n);
        QD_TRY(qd_chars_write(e, n, text, previous, stop, to));
        *changed = true;
        done = i = stop;
        len = 0;
    }
    return *changed ? qd_text_push(e->ctx, to, text->bytes + done, end - done, text, done) : QDISP_OK;
}
