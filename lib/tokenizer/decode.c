/* decode.c - ids back to text: the decoder's steps over a list of token strings.
 *
 * The byte alphabet alone, which most models have, joins what was decoded when the file was opened. Otherwise every
 * step writes a new list; strings are valid UTF-8 at every step, as the reference's are. */
#include "tokenizer/tokenizer.h"
#include <string.h>

#define MAX_STEPS 32
#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

typedef enum step_kind {
    STEP_BYTE_LEVEL,
    STEP_METASPACE,
    STEP_WORDPIECE,
    STEP_BPE,
    STEP_BYTE_FALLBACK,
    STEP_FUSE,
    STEP_REPLACE,
    STEP_STRIP
} step_kind;

typedef struct step {
    step_kind kind;
    char *content;      /* WORDPIECE: the prefix, BPE: the suffix, REPLACE: what is put in */
    size_t n_content;
    bool cleanup;       /* WORDPIECE */
    int32_t character;  /* METASPACE, STRIP */
    bool drop_first;    /* METASPACE: the first token's are not spaces but go */
    size_t start, stop; /* STRIP: at most so many of the character at either end */
    qd_pattern *pattern;
} step;

struct qd_decoder {
    step steps[MAX_STEPS];
    size_t n;
};

typedef struct list { /* strings one after another */
    uint8_t *bytes;
    size_t n_bytes, cap_bytes;
    size_t *ends;
    size_t n, cap_ends;
} list;

typedef struct job {
    qd_encoder e; /* the matcher and its buffers */
    list from, to;
} job;

/* ---- reading ---- */

static qdisp_status read_content(const qd_place *place, const json_t *json, const char *name, step *made) {
    const char *content = NULL;
    QD_TRY(qd_json_string(place, json, name, true, &content, &made->n_content));
    made->content = qd_strndup(place->ctx, content, made->n_content);
    return made->content ? QDISP_OK : QDISP_ENOMEM;
}

static qdisp_status read_count(const qd_place *place, const json_t *json, const char *name, size_t *out) {
    const json_t *value = json_object_get(json, name);
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s.%s: %s", place->file, place->member, name,
                       value ? "not a count" : "missing");
    }
    *out = (size_t)json_integer_value(value);
    return QDISP_OK;
}

static qdisp_status read_metaspace(const qd_place *place, const json_t *json, step *made) {
    qd_metaspace m = {0};
    QD_TRY(qd_metaspace_read(place, json, &m));
    made->character = m.replacement;
    made->drop_first = m.prepend != QD_PREPEND_NEVER;
    return QDISP_OK;
}

static qdisp_status read_step(const qd_place *place, const json_t *json, step *made) {
    switch (made->kind) {
    case STEP_METASPACE:
        return read_metaspace(place, json, made);
    case STEP_WORDPIECE:
        QD_TRY(read_content(place, json, "prefix", made));
        return qd_json_bool(place, json, "cleanup", true, &made->cleanup);
    case STEP_BPE:
        QD_TRY(read_content(place, json, "suffix", made));
        if (made->n_content) return QDISP_OK;
        return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: %s.suffix: empty", place->file, place->member);
    case STEP_REPLACE:
        QD_TRY(read_content(place, json, "content", made));
        return qd_json_pattern(place, json, &made->pattern);
    case STEP_STRIP:
        QD_TRY(qd_json_char(place, json, "content", &made->character));
        QD_TRY(read_count(place, json, "start", &made->start));
        return read_count(place, json, "stop", &made->stop);
    default:
        return QDISP_OK;
    }
}

static qdisp_status read_steps(const qd_place *place, qd_decoder *d, const json_t *json, int depth) {
    static const struct {
        const char *name;
        step_kind kind;
    } ROWS[] = {{"ByteLevel", STEP_BYTE_LEVEL}, {"Metaspace", STEP_METASPACE},
                {"WordPiece", STEP_WORDPIECE},  {"BPEDecoder", STEP_BPE},
                {"ByteFallback", STEP_BYTE_FALLBACK}, {"Fuse", STEP_FUSE},
                {"Replace", STEP_REPLACE},      {"Strip", STEP_STRIP}};
    const char *type = NULL;
    size_t n = 0, i;
    QD_TRY(qd_json_string(place, json, "type", true, &type, &n));
    if (!strcmp(type, "Sequence")) {
        const json_t *steps = json_object_get(json, "decoders"), *item;
        if (!json_is_array(steps)) {
            return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s.decoders: not an array", place->file, place->member);
        }
        if (depth >= QD_TOKENIZER_MAX_NESTING) {
            return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: %s: nested more than %d deep", place->file,
                           place->member, QD_TOKENIZER_MAX_NESTING);
        }
        json_array_foreach(steps, i, item) QD_TRY(read_steps(place, d, item, depth + 1));
        return QDISP_OK;
    }
    for (i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        if (strcmp(type, ROWS[i].name)) continue;
        if (d->n == MAX_STEPS) {
            return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: %s: more than %d steps", place->file, place->member,
                           MAX_STEPS);
        }
        step *made = &d->steps[d->n++]; /* counted first: freeing finds what a failure leaves */
        *made = (step){.kind = ROWS[i].kind};
        return read_step(place, json, made);
    }
    return qd_fail(place->ctx, QDISP_EUNSUPPORTED, "%s: %s: type '%.40s'", place->file, place->member, type);
}

void qd_decoder_free(qdisp_ctx *ctx, qd_decoder *decoder) {
    if (!decoder) return;
    for (size_t i = 0; i < decoder->n; i++) {
        qd_free(ctx, decoder->steps[i].content);
        qd_pattern_free(ctx, decoder->steps[i].pattern);
    }
    qd_free(ctx, decoder);
}

static bool starts_with_bytes(const qd_decoder *d) {
    return d && d->n && d->steps[0].kind == STEP_BYTE_LEVEL;
}

/* What each token decodes to: its bytes in the alphabet, or its own UTF-8 if a character is outside it. */
static qdisp_status fill_decoded(qdisp_tokenizer *t) {
    qd_strings *d = &t->decoded;
    size_t total = 0, used = 0;
    QD_TRY(qd_strings_new(t->ctx, t->strings.n, d));
    for (size_t i = 0; i < t->strings.n; i++) {
        d->str[i] = t->strings.str[i];
        d->len[i] = t->strings.len[i];
    }
    for (size_t i = 0; i < t->normalized.n; i++) { /* decoding shows the normalized form */
        d->str[t->normalized.items[i].id] = t->normalized.items[i].content;
        d->len[t->normalized.items[i].id] = (uint32_t)t->normalized.items[i].n;
    }
    if (!starts_with_bytes(t->decoder)) return QDISP_OK;
    for (size_t i = 0; i < d->n; i++) total += d->len[i];
    t->decoded_pool = qd_alloc(t->ctx, total + 1, 1);
    if (!t->decoded_pool) return QDISP_ENOMEM;
    for (size_t i = 0; i < d->n; i++) {
        size_t n = 0;
        char *to = t->decoded_pool + used;
        if (!d->str[i] || !qd_byte_level_decode(d->str[i], d->len[i], to, &n)) continue;
        d->str[i] = to;
        d->len[i] = (uint32_t)n;
        used += n;
    }
    return QDISP_OK;
}

qdisp_status qd_decoder_read(const qd_place *place, qdisp_tokenizer *t, const json_t *json) {
    if (json && !json_is_null(json)) {
        t->decoder = qd_alloc(place->ctx, 1, sizeof *t->decoder);
        if (!t->decoder) return QDISP_ENOMEM;
        QD_TRY(read_steps(place, t->decoder, json, 0));
    }
    return fill_decoded(t);
}

/* ---- bytes to UTF-8 ---- */

/* Length of the valid character at s[n], or 0 and in *n_bad the length of what becomes one U+FFFD: the longest
 * beginning of a valid character, or one byte (Unicode, "substitution of maximal subparts", as the reference does). */
static size_t char_length(const uint8_t *s, size_t n, size_t *n_bad) {
    uint8_t c = s[0];
    *n_bad = 1;
    if (c < 0x80) return 1;
    if (c < 0xC2 || c > 0xF4) return 0;
    size_t len = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    uint8_t low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80, high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    for (size_t i = 1; i < len; i++) {
        if (i >= n || s[i] < low || s[i] > high) return 0;
        low = 0x80;
        high = 0xBF;
        *n_bad = i + 1;
    }
    return len;
}

/* Valid UTF-8 of s[n]; out may be NULL to count. */
static size_t to_utf8(const uint8_t *s, size_t n, char *out) {
    size_t n_out = 0;
    for (size_t i = 0; i < n;) {
        size_t n_bad, len = char_length(s + i, n - i, &n_bad);
        if (out) memcpy(out + n_out, len ? (const char *)s + i : REPLACEMENT, len ? len : 3);
        n_out += len ? len : 3;
        i += len ? len : n_bad;
    }
    return n_out;
}

/* ---- lists ---- */

static qdisp_status put(job *j, const void *bytes, size_t n) {
    list *to = &j->to;
    QD_TRY(qd_grow(j->e.ctx, (void **)&to->bytes, &to->cap_bytes, to->n_bytes + n + 1, 1));
    if (n) memcpy(to->bytes + to->n_bytes, bytes, n);
    to->n_bytes += n;
    return QDISP_OK;
}

/* Ends a string of `to`. */
static qdisp_status end(job *j) {
    list *to = &j->to;
    QD_TRY(qd_grow(j->e.ctx, (void **)&to->ends, &to->cap_ends, to->n + 1, sizeof *to->ends));
    to->ends[to->n++] = to->n_bytes;
    return QDISP_OK;
}

static qdisp_status put_utf8(job *j, const uint8_t *bytes, size_t n) {
    size_t n_out = to_utf8(bytes, n, NULL);
    QD_TRY(qd_grow(j->e.ctx, (void **)&j->to.bytes, &j->to.cap_bytes, j->to.n_bytes + n_out + 1, 1));
    to_utf8(bytes, n, (char *)j->to.bytes + j->to.n_bytes);
    j->to.n_bytes += n_out;
    return QDISP_OK;
}

/* ---- the steps ---- */

/* The first step finds bytes already (fill_decoded). */
static qdisp_status byte_level(job *j, bool is_first) {
    list bytes = {0};
    qdisp_status status = QDISP_OK;
    if (is_first) {
        QD_TRY(put_utf8(j, j->from.bytes, j->from.n_bytes));
        return end(j);
    }
    QD_TRY(qd_grow(j->e.ctx, (void **)&bytes.bytes, &bytes.cap_bytes, j->from.n_bytes + 1, 1));
    for (size_t i = 0, begin = 0; i < j->from.n; begin = j->from.ends[i++]) {
        size_t n = j->from.ends[i] - begin, n_out;
        const char *token = (const char *)j->from.bytes + begin;
        if (!qd_byte_level_decode(token, n, (char *)bytes.bytes + bytes.n_bytes, &n_out)) {
            memcpy(bytes.bytes + bytes.n_bytes, token, n_out = n);
        }
        bytes.n_bytes += n_out;
    }
    QD_TRY_GOTO(put_utf8(j, bytes.bytes, bytes.n_bytes));
    status = end(j);
done:
    qd_free(j->e.ctx, bytes.bytes);
    return status;
}

static qdisp_status metaspace(job *j, const step *s, size_t i, const uint8_t *token, size_t n) {
    for (size_t k = 0, len; k < n; k += len) {
        bool is_space = qd_utf8_next(token + k, &len) == s->character;
        if (!is_space) QD_TRY(put(j, token + k, len));
        if (is_space && !(i == 0 && s->drop_first)) QD_TRY(put(j, " ", 1));
    }
    return QDISP_OK;
}

/* In to->bytes[from, end): every `old` becomes `made`, which is not longer. */
static void replace_in_place(list *to, size_t from, const char *old, const char *made) {
    size_t n_old = strlen(old), n_made = strlen(made), out = from;
    for (size_t i = from; i < to->n_bytes;) {
        if (to->n_bytes - i >= n_old && !memcmp(to->bytes + i, old, n_old)) {
            memcpy(to->bytes + out, made, n_made);
            out += n_made;
            i += n_old;
        } else {
            to->bytes[out++] = to->bytes[i++];
        }
    }
    to->n_bytes = out;
}

static qdisp_status wordpiece(job *j, const step *s, size_t i, const uint8_t *token, size_t n) {
    static const char *const CLEAN[][2] = {{" .", "."},     {" ?", "?"},      {" !", "!"},     {" ,", ","},
                                           {" ' ", "'"},    {" n't", "n't"},  {" 'm", "'m"},   {" do not", " don't"},
                                           {" 's", "'s"},   {" 've", "'ve"},  {" 're", "'re"}};
    size_t begin = j->to.n_bytes;
    bool continues = n >= s->n_content && !memcmp(token, s->content, s->n_content);
    if (i && continues) {
        QD_TRY(put(j, token + s->n_content, n - s->n_content));
    } else {
        if (i) QD_TRY(put(j, " ", 1));
        QD_TRY(put(j, token, n));
    }
    for (size_t k = 0; s->cleanup && k < sizeof CLEAN / sizeof CLEAN[0]; k++) {
        replace_in_place(&j->to, begin, CLEAN[k][0], CLEAN[k][1]);
    }
    return QDISP_OK;
}

/* The suffix of a word's end becomes a space, the last token's goes. */
static qdisp_status bpe(job *j, const step *s, size_t i, const uint8_t *token, size_t n) {
    for (size_t k = 0; k < n;) {
        if (n - k >= s->n_content && !memcmp(token + k, s->content, s->n_content)) {
            if (i + 1 < j->from.n) QD_TRY(put(j, " ", 1));
            k += s->n_content;
        } else {
            QD_TRY(put(j, token + k++, 1));
        }
    }
    return QDISP_OK;
}

static int hex_digit(uint8_t c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                                                                       : -1;
}

/* The byte of <0xXX>, or -1. A sign counts as a digit zero, as it does where the reference parses the number. */
static int fallback_byte(const uint8_t *token, size_t n) {
    if (n != 6 || memcmp(token, "<0x", 3) || token[5] != '>') return -1;
    int high = token[3] == '+' ? 0 : hex_digit(token[3]), low = hex_digit(token[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Bytes in a row become their text, or one U+FFFD each if they are not valid together. */
static qdisp_status byte_fallback(job *j) {
    const list *from = &j->from;
    for (size_t i = 0, begin = 0; i < from->n;) {
        size_t first = i, at = j->to.n_bytes;
        int byte = -1;
        while (i < from->n && (byte = fallback_byte(from->bytes + begin, from->ends[i] - begin)) >= 0) {
            uint8_t one = (uint8_t)byte;
            QD_TRY(put(j, &one, 1));
            begin = from->ends[i++];
        }
        size_t n = i - first;
        bool valid = n && qd_utf8_check((const char *)j->to.bytes + at, n) == n;
        if (valid) QD_TRY(end(j));
        if (n && !valid) j->to.n_bytes = at;
        for (size_t k = 0; k < n && !valid; k++) {
            QD_TRY(put(j, REPLACEMENT, 3));
            QD_TRY(end(j));
        }
        if (i == from->n) break;
        QD_TRY(put(j, from->bytes + begin, from->ends[i] - begin));
        QD_TRY(end(j));
        begin = from->ends[i++];
    }
    return QDISP_OK;
}

static qdisp_status replace(job *j, const step *s, const uint8_t *token, size_t n) {
    qd_text text = {.bytes = token, .n = n};
    const uint8_t *shadow = NULL;
    if (!n) return QDISP_OK;
    QD_TRY(qd_encoder_shadow(&j->e, &text, 0, n, &shadow));
    j->e.spans.n = 0;
    QD_TRY(qd_pattern_spans(j->e.ctx, j->e.matcher, s->pattern, token, shadow, 0, n, &j->e.spans));
    for (size_t i = 0; i < j->e.spans.n; i++) {
        const qd_span *span = &j->e.spans.items[i];
        QD_TRY(span->is_match ? put(j, s->content, s->n_content)
                              : put(j, token + span->begin, span->end - span->begin));
    }
    return QDISP_OK;
}

static qdisp_status strip(job *j, const step *s, const uint8_t *token, size_t n) {
    size_t begin = 0, stop = n, len;
    for (size_t k = 0; k < s->start && begin < n; k++) {
        if (qd_utf8_next(token + begin, &len) != s->character) break;
        begin += len;
    }
    for (size_t k = 0; k < s->stop && stop > begin; k++) {
        size_t at = stop - 1;
        while (at > begin && (token[at] & 0xC0) == 0x80) at--;
        if (qd_utf8_next(token + at, &len) != s->character) break;
        stop = at;
    }
    return put(j, token + begin, stop - begin);
}

static qdisp_status each_token(job *j, const step *s) {
    for (size_t i = 0, begin = 0; i < j->from.n; begin = j->from.ends[i++]) {
        const uint8_t *token = j->from.bytes + begin;
        size_t n = j->from.ends[i] - begin;
        if (s->kind == STEP_METASPACE) QD_TRY(metaspace(j, s, i, token, n));
        if (s->kind == STEP_WORDPIECE) QD_TRY(wordpiece(j, s, i, token, n));
        if (s->kind == STEP_BPE) QD_TRY(bpe(j, s, i, token, n));
        if (s->kind == STEP_REPLACE) QD_TRY(replace(j, s, token, n));
        if (s->kind == STEP_STRIP) QD_TRY(strip(j, s, token, n));
        QD_TRY(end(j));
    }
    return QDISP_OK;
}

static bool needs_matcher(const qd_decoder *d) {
    for (size_t i = 0; d && i < d->n; i++) {
        if (d->steps[i].pattern) return true;
    }
    return false;
}

/* Leaves the text in j->to. */
static qdisp_status run(job *j, const qdisp_tokenizer *t, const int32_t *ids, size_t n_ids, int skip_special) {
    const qd_decoder *d = t->decoder;
    bool join_spaces = !d;
    if (needs_matcher(d)) QD_TRY(qd_matcher_new(j->e.ctx, &j->e.matcher));
    for (size_t i = 0; i < n_ids; i++) {
        if (skip_special && t->special[ids[i]]) continue;
        if (join_spaces && j->to.n) QD_TRY(put(j, " ", 1));
        QD_TRY(put(j, t->decoded.str[ids[i]], t->decoded.len[ids[i]]));
        QD_TRY(end(j));
    }
    for (size_t i = 0; d && i < d->n; i++) {
        list swap = j->from;
        j->from = j->to;
        j->to = swap;
        j->to.n = j->to.n_bytes = 0;
        switch (d->steps[i].kind) {
        case STEP_BYTE_LEVEL:
            QD_TRY(byte_level(j, i == 0));
            break;
        case STEP_BYTE_FALLBACK:
            QD_TRY(byte_fallback(j));
            break;
        case STEP_FUSE:
            QD_TRY(put(j, j->from.bytes, j->from.n_bytes));
            QD_TRY(end(j));
            break;
        default:
            QD_TRY(each_token(j, &d->steps[i]));
        }
    }
    return QDISP_OK;
}

qdisp_status qdisp_tokenizer_decode(const qdisp_tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                                    int skip_special, char *text, size_t capacity, size_t *n_bytes) {
    if (!tokenizer) return QDISP_EINVAL;
    qdisp_ctx *ctx = tokenizer->ctx;
    if ((!ids && n_ids) || (!text && capacity) || !n_bytes) {
        return qd_fail(ctx, QDISP_EINVAL, "qdisp_tokenizer_decode: %s is NULL",
                       !n_bytes ? "n_bytes" : !ids && n_ids ? "ids" : "text");
    }
    for (size_t i = 0; i < n_ids; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= tokenizer->strings.n || !tokenizer->strings.str[ids[i]]) {
            return qd_fail(ctx, QDISP_EINVAL, "ids[%zu]: %d is not in the vocabulary", i, (int)ids[i]);
        }
    }
    job j = {.e = {.ctx = ctx, .tokenizer = tokenizer}};
    qdisp_status status = run(&j, tokenizer, ids, n_ids, skip_special);
    if (status == QDISP_OK) {
        *n_bytes = j.to.n_bytes;
        if (j.to.n_bytes && j.to.n_bytes <= capacity) memcpy(text, j.to.bytes, j.to.n_bytes);
    }
    qd_encoder_clear(&j.e);
    for (size_t i = 0; i < 2; i++) {
        list *l = i ? &j.to : &j.from;
        qd_free(ctx, l->bytes);
        qd_free(ctx, l->ends);
    }
    return status;
}
