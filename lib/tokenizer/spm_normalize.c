/* spm_normalize.c - SentencePiece's normalizer: the precompiled map, spaces merged and escaped, the dummy prefix.
 *
 * Unlike the reference tokenizers', which take grapheme clusters, the map is searched for the longest entry at every
 * place; user-defined pieces pass as they are. */
#include "tokenizer/spm.h"
#include <string.h>

#define SPACE_LENGTH 3

typedef struct part { /* what the text's next `used` bytes become */
    const uint8_t *bytes;
    size_t n, used;
} part;

size_t qd_spm_user_piece(const qd_spm *m, const uint8_t *s, size_t n, int32_t *id) {
    size_t longest = 0;
    int32_t node = 0;
    if (!m->user.nodes) return 0;
    for (size_t i = 0; i < n && (node = qd_trie_child(&m->user, node, s[i])) >= 0; i++) {
        if (m->user.nodes[node].value < 0) continue;
        longest = i + 1;
        *id = m->user.nodes[node].value;
    }
    return longest;
}

static qdisp_status next_part(qd_encoder *e, const qd_spm *m, const uint8_t *s, size_t n, part *out) {
    int32_t id;
    size_t len = qd_spm_user_piece(m, s, n, &id);
    *out = (part){s, len, len};
    if (len) return QDISP_OK;
    if (m->charsmap) {
        const char *text = NULL;
        if (!qd_charsmap_longest(m->charsmap, s, n, &out->used, &text, &out->n)) {
            return qd_fail(e->ctx, QDISP_EFORMAT, "tokenizer: precompiled_charsmap leads outside itself");
        }
        out->bytes = (const uint8_t *)text;
        if (out->used) return QDISP_OK;
    }
    *out = (part){s, qd_spm_char_length(s, n), qd_spm_char_length(s, n)};
    if ((s[0] & 0xC0) == 0x80) *out = (part){(const uint8_t *)"\xEF\xBF\xBD", 3, 1}; /* the map ate its first byte */
    return QDISP_OK;
}

static qdisp_status reserve(qd_encoder *e, qd_text *to, size_t more) {
    QD_TRY(qd_grow(e->ctx, (void **)&to->own_bytes, &to->cap_bytes, to->n_own + more, 1));
    return qd_grow(e->ctx, (void **)&to->own_map, &to->cap_map, to->n_own + more, sizeof(size_t));
}

/* There is room for it. */
static void put(qd_text *to, uint8_t byte, size_t origin) {
    to->own_bytes[to->n_own] = byte;
    to->own_map[to->n_own++] = origin;
}

static void put_space(const qd_spm *m, qd_text *to, size_t origin) {
    const char *space = m->escape_whitespaces ? QD_SPM_SPACE : " ";
    while (*space) put(to, (uint8_t)*space++, origin);
}

static bool is_space(const part *p) {
    return p->n == 1 && *p->bytes == ' ';
}

static qdisp_status put_part(qd_encoder *e, const qd_spm *m, const part *p, size_t origin, bool *after_space,
                             qd_text *to) {
    size_t first = 0;
    while (*after_space && first < p->n && p->bytes[first] == ' ') first++;
    if (first == p->n) return QDISP_OK;
    QD_TRY(reserve(e, to, SPACE_LENGTH * (p->n - first)));
    for (size_t i = first; i < p->n; i++) {
        if (p->bytes[i] == ' ') put_space(m, to, origin);
        else put(to, p->bytes[i], origin);
    }
    *after_space = p->bytes[p->n - 1] == ' ';
    return QDISP_OK;
}

/* Characters that need no search, from i on; returns where they end. */
static size_t put_plain(const qd_spm *m, const qd_text *text, size_t i, size_t end, qd_text *to) {
    const uint8_t *s = text->bytes;
    size_t room = (to->cap_bytes < to->cap_map ? to->cap_bytes : to->cap_map) - to->n_own;
    if (end - i > room) end = i + room;
    for (; i < end && m->plain[s[i]]; i++) put(to, s[i], text->map ? text->map[i] : text->base + i);
    return i;
}

static qdisp_status put_all(qd_encoder *e, const qd_spm *m, const qd_text *text, size_t i, size_t end, qd_text *to) {
    bool after_space = m->remove_extra_whitespaces;
    while (i < end) {
        part p;
        size_t stop = put_plain(m, text, i, end, to);
        if (stop > i) after_space = false;
        i = stop;
        if (i == end) break;
        QD_TRY(next_part(e, m, text->bytes + i, end - i, &p));
        QD_TRY(reserve(e, to, 64));
        QD_TRY(put_part(e, m, &p, qd_text_origin(text, i), &after_space, to));
        i += p.used;
        after_space = after_space && m->remove_extra_whitespaces;
    }
    return QDISP_OK;
}

static bool ends_with_space(const qd_spm *m, const qd_text *to) {
    size_t n = m->escape_whitespaces ? SPACE_LENGTH : 1;
    return to->n_own >= n && !memcmp(to->own_bytes + to->n_own - n, m->escape_whitespaces ? QD_SPM_SPACE : " ", n);
}

qdisp_status qd_spm_normalize(qd_encoder *e, const qd_spm *m, const qd_text *text, size_t begin, size_t end,
                              qd_text *to) {
    size_t i = begin;
    part p;
    qd_text_clear(to);
    while (m->remove_extra_whitespaces && i < end) {
        QD_TRY(next_part(e, m, text->bytes + i, end - i, &p));
        if (!is_space(&p)) break;
        i += p.used;
    }
    if (i < end) {
        size_t last = text->bytes == NULL ? 0 : qd_text_origin(text, end - 1);
        QD_TRY(reserve(e, to, end - i + (end - i) / 2 + 64));
        if (m->add_dummy_prefix && !m->whitespace_suffix) put_space(m, to, qd_text_origin(text, i));
        QD_TRY(put_all(e, m, text, i, end, to));
        while (m->remove_extra_whitespaces && ends_with_space(m, to)) {
            to->n_own -= m->escape_whitespaces ? SPACE_LENGTH : 1;
            last = to->own_map[to->n_own];
        }
        QD_TRY(reserve(e, to, SPACE_LENGTH));
        if (m->add_dummy_prefix && m->whitespace_suffix) put_space(m, to, last);
    }
    qd_text_seal(to);
    return QDISP_OK;
}

/* A byte is plain if neither a user-defined piece nor an entry of the map begins with it. */
void qd_spm_set_plain(qd_spm *m) {
    for (int b = 1; b < 0x80; b++) {
        uint8_t byte = (uint8_t)b;
        m->plain[b] = b != ' ' && !(m->user.nodes && qd_trie_child(&m->user, 0, byte) >= 0) &&
                      !(m->charsmap && qd_charsmap_begins(m->charsmap, byte));
    }
}
