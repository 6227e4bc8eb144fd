/* source_tiktoken.c - tiktoken's files: a line a token, its bytes in base64 and its rank.
 *
 * The file names neither the pattern that cuts text into words nor the special tokens. They are those of a known
 * encoding, by name or by the number of ranks; nothing is guessed beyond that. */
#include "tokenizer/sources.h"
#include <stdio.h>
#include <string.h>

#define MAX_TOKEN 4096     /* bytes of one */
#define MAX_RANK (1 << 24)
#define MAX_GAP 65536      /* ids that no line names: what a few lines can claim is bounded */

typedef struct special {
    const char *token;
    int32_t id;
} special;

typedef struct encoding {
    const char *name;
    size_t n_ranks;
    const char *pattern;
    special specials[12];  /* up to the first NULL */
    const char *reserved;  /* format of the tokens that fill the ids [n_ranks, n_ranks + n_reserved) left free */
    int32_t n_reserved;
} encoding;

#define FIM(a, b, c) {"<|fim_prefix|>", a}, {"<|fim_middle|>", b}, {"<|fim_suffix|>", c}
#define CL100K "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+" \
               "|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s"

static const encoding ENCODINGS[] = {
    {"r50k_base", 50256, QD_PATTERN_GPT2, {{"<|endoftext|>", 50256}}, NULL, 0},
    {"gpt2", 50256, QD_PATTERN_GPT2, {{"<|endoftext|>", 50256}}, NULL, 0},
    {"p50k_base", 50280, QD_PATTERN_GPT2, {{"<|endoftext|>", 50256}}, NULL, 0},
    {"p50k_edit", 50280, QD_PATTERN_GPT2, {{"<|endoftext|>", 50256}, FIM(50281, 50282, 50283)}, NULL, 0},
    {"cl100k_base", 100256, CL100K,
     {{"<|endoftext|>", 100257}, FIM(100258, 100259, 100260), {"<|endofprompt|>", 100276}}, NULL, 0},
    {"o200k_base", 199998, QD_PATTERN_O200K, {{"<|endoftext|>", 199999}, {"<|endofprompt|>", 200018}}, NULL, 0},
    {"llama3", 128000, QD_PATTERN_LLAMA3,
     {{"<|begin_of_text|>", 128000}, {"<|end_of_text|>", 128001}, {"<|start_header_id|>", 128006},
      {"<|end_header_id|>", 128007}, {"<|eot_id|>", 128009}}, "<|reserved_special_token_%d|>", 256},
    {"qwen", 151643, QD_PATTERN_QWEN2,
     {{"<|endoftext|>", 151643}, {"<|im_start|>", 151644}, {"<|im_end|>", 151645}}, "<|extra_%d|>", 208},
};

static const encoding NO_SPECIALS = {0};

bool qd_tiktoken_knows(const char *name, size_t n) {
    for (size_t i = 0; i < sizeof ENCODINGS / sizeof *ENCODINGS; i++) {
        if (strlen(ENCODINGS[i].name) == n && !memcmp(ENCODINGS[i].name, name, n)) return true;
    }
    return false;
}

/* ---- the lines ---- */

static int digit_of(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 4648 with padding, strictly. false: it is not base64 of 1..MAX_TOKEN bytes. */
static bool decode_base64(const char *s, size_t n, uint8_t *out, size_t *n_out) {
    size_t n_pad = n && s[n - 1] == '=' ? 1 + (n > 1 && s[n - 2] == '=') : 0;
    uint32_t bits = 0;
    if (!n || n % 4 || n / 4 * 3 > MAX_TOKEN) return false;
    *n_out = 0;
    for (size_t i = 0; i < n; i++) {
        int digit = i < n - n_pad ? digit_of((uint8_t)s[i]) : 0;
        if (digit < 0) return false;
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 < 3) continue;
        for (int k = 0; k < 3; k++) out[(*n_out)++] = (uint8_t)(bits >> (16 - 8 * k));
        bits = 0;
    }
    for (size_t k = 1; k <= n_pad; k++) {
        if (out[*n_out - k]) return false; /* bits behind the end */
    }
    *n_out -= n_pad;
    return true;
}

typedef struct line {
    uint8_t bytes[MAX_TOKEN];
    size_t n;
    int32_t rank;
} line;

/* "BASE64 RANK" in s[n]. */
static bool read_line(const char *s, size_t n, line *out) {
    const char *space = memchr(s, ' ', n);
    if (!space || !decode_base64(s, (size_t)(space - s), out->bytes, &out->n)) return false;
    size_t at = (size_t)(space - s) + 1;
    int64_t rank = 0;
    if (at == n || n - at > 8) return false;
    for (; at < n; at++) {
        if (s[at] < '0' || s[at] > '9') return false;
        rank = rank * 10 + (s[at] - '0');
    }
    out->rank = (int32_t)rank;
    return rank < MAX_RANK;
}

/* Length of the line at s[n] without its end; *next: where the next one begins. */
static size_t line_length(const char *s, size_t n, size_t *next) {
    const char *end = memchr(s, '\n', n);
    size_t len = end ? (size_t)(end - s) : n;
    *next = end ? len + 1 : len;
    return len && s[len - 1] == '\r' ? len - 1 : len;
}

static bool matches(const char *file, const uint8_t *head, size_t n) {
    line first;
    (void)file;
    size_t next, len = line_length((const char *)head, n, &next);
    return len && len < QD_SOURCE_HEAD && read_line((const char *)head, len, &first);
}

/* ---- the vocabulary ---- */

typedef struct reader {
    const qd_source_job *job;
    qd_place place;
    char *text;
    size_t n_text, used;
    size_t n_ranks;
    int32_t highest;
    const encoding *encoding;
    bool whole; /* the number of ranks is the encoding's, so its special tokens are there too */
} reader;

/* Token strings are kept in GPT-2's byte alphabet, as tokenizer.json has them: at most two bytes a byte. */
static size_t to_alphabet(const line *l, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) n += qd_utf8_put(qd_byte_level_char(l->bytes[i]), (uint8_t *)out + n);
    return n;
}

typedef qdisp_status (*line_action)(reader *r, const line *l);

static qdisp_status each_line(reader *r, line_action action) {
    line l;
    size_t i_line = 1, next;
    for (size_t at = 0; at < r->n_text; at += next, i_line++) {
        size_t n = line_length(r->text + at, r->n_text - at, &next);
        if (!n) continue;
        if (!read_line(r->text + at, n, &l)) {
            return qd_fail(r->job->ctx, QDISP_EFORMAT, "%s: line %zu: not a token in base64 and its rank below %d",
                           r->job->file, i_line, MAX_RANK);
        }
        char member[32];
        snprintf(member, sizeof member, "line %zu", i_line);
        r->place.member = member;
        qdisp_status status = action(r, &l);
        r->place.member = "";
        QD_TRY(status);
    }
    return QDISP_OK;
}

static qdisp_status measure_line(reader *r, const line *l) {
    if (l->rank > r->highest) r->highest = l->rank;
    r->n_ranks++;
    return QDISP_OK;
}

static qdisp_status put_line(reader *r, const line *l) {
    char token[2 * MAX_TOKEN];
    return qd_vocab_put(&r->place, r->job->t, l->rank, token, to_alphabet(l, token), &r->used);
}

/* ---- the encoding ---- */

static qdisp_status find_encoding(reader *r) {
    const char *name = r->job->options->encoding;
    for (size_t i = 0; i < sizeof ENCODINGS / sizeof *ENCODINGS; i++) {
        const encoding *e = &ENCODINGS[i];
        if (name ? strcmp(name, e->name) != 0 : r->n_ranks != e->n_ranks) continue;
        r->encoding = e;
        r->whole = r->n_ranks == e->n_ranks;
        return QDISP_OK;
    }
    if (name) {
        return qd_fail(r->job->ctx, QDISP_EUNSUPPORTED, "%s: encoding '%.40s' is not known", r->job->file, name);
    }
    return qd_fail(r->job->ctx, QDISP_EUNSUPPORTED,
                   "%s: %zu ranks are those of no known encoding: name one (r50k_base, p50k_base, cl100k_base, "
                   "o200k_base, llama3, qwen) whose pattern it has", r->job->file, r->n_ranks);
}

/* A "TOKEN=ID" of options->special_tokens at s, up to a comma; the id stands behind the last '='. */
static bool read_special(const char *s, size_t n, size_t *n_token, int32_t *id) {
    int64_t value = 0;
    size_t at = n;
    while (at > 0 && s[at - 1] != '=') at--;
    if (at < 2 || at == n || n - at > 9) return false;
    for (size_t i = at; i < n; i++) {
        if (s[i] < '0' || s[i] > '9') return false;
        value = value * 10 + (s[i] - '0');
    }
    *n_token = at - 1;
    *id = (int32_t)value;
    return value < MAX_RANK;
}

typedef struct specials { /* text "TOKEN=ID,..." */
    const char *at;
    const char *token;
    size_t n;
    int32_t id;
} specials;

/* The next one of options->special_tokens. */
static qdisp_status next_special(const reader *r, specials *s, bool *found) {
    *found = s->at && *s->at;
    if (!*found) return QDISP_OK;
    size_t n = strcspn(s->at, ",");
    s->token = s->at;
    if (!read_special(s->at, n, &s->n, &s->id)) {
        return qd_fail(r->job->ctx, QDISP_EINVAL, "special_tokens: '%.*s' is not TOKEN=ID", n > 60 ? 60 : (int)n,
                       s->at);
    }
    s->at += n + (s->at[n] == ',');
    return QDISP_OK;
}

/* Ids and bytes that special tokens may need. */
static qdisp_status measure_specials(reader *r, size_t *n_bytes) {
    const encoding *e = r->whole ? r->encoding : &NO_SPECIALS;
    specials s = {.at = r->job->options->special_tokens};
    for (size_t i = 0; i < sizeof e->specials / sizeof *e->specials && e->specials[i].token; i++) {
        if (e->specials[i].id > r->highest) r->highest = e->specials[i].id;
        *n_bytes += strlen(e->specials[i].token);
    }
    if (e->n_reserved && (int32_t)e->n_ranks + e->n_reserved - 1 > r->highest) {
        r->highest = (int32_t)e->n_ranks + e->n_reserved - 1;
    }
    *n_bytes += (size_t)e->n_reserved * 64;
    for (bool found = true; found;) {
        QD_TRY(next_special(r, &s, &found));
        if (!found) break;
        if (s.id > r->highest) r->highest = s.id;
        *n_bytes += s.n;
    }
    return QDISP_OK;
}

static qdisp_status put_special(reader *r, const char *token, size_t n, int32_t id) {
    qdisp_tokenizer *t = r->job->t;
    QD_TRY(qd_vocab_put(&r->place, t, id, token, n, &r->used));
    t->in_model[id] = false;
    return qd_vocab_add_special(t, id, true, t->strings.n - r->n_ranks + 1);
}

/* Those of the caller first: they may take an id that the encoding gives to another. */
static qdisp_status put_specials(reader *r) {
    const encoding *e = r->whole ? r->encoding : &NO_SPECIALS;
    qdisp_tokenizer *t = r->job->t;
    specials s = {.at = r->job->options->special_tokens};
    r->place.member = "special_tokens";
    for (bool found = true; found;) {
        QD_TRY(next_special(r, &s, &found));
        if (found) QD_TRY(put_special(r, s.token, s.n, s.id));
    }
    r->place.member = r->encoding->name;
    for (size_t i = 0; i < sizeof e->specials / sizeof *e->specials && e->specials[i].token; i++) {
        const special *own = &e->specials[i];
        if (t->strings.str[own->id] && t->special[own->id]) continue;
        if (qd_strings_find(&t->strings, own->token, strlen(own->token)) >= 0) continue;
        QD_TRY(put_special(r, own->token, strlen(own->token), own->id));
    }
    for (int32_t id = (int32_t)e->n_ranks, k = 0; id < (int32_t)e->n_ranks + e->n_reserved; id++) {
        char token[64];
        if (t->strings.str[id]) continue;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        int n = snprintf(token, sizeof token, e->reserved, (int)k++);
#pragma GCC diagnostic pop
        QD_TRY(put_special(r, token, (size_t)n, id));
    }
    qd_added_sort(&t->raw);
    return QDISP_OK;
}

/* ---- the whole ---- */

static qdisp_status make(reader *r) {
    qdisp_tokenizer *t = r->job->t;
    size_t n_bytes = 0;
    QD_TRY(each_line(r, measure_line));
    QD_TRY(find_encoding(r));
    QD_TRY(measure_specials(r, &n_bytes));
    if ((size_t)r->highest > r->n_ranks + MAX_GAP) {
        return qd_fail(r->job->ctx, QDISP_EFORMAT, "%s: id %d with only %zu ranks", r->job->file, (int)r->highest,
                       r->n_ranks);
    }
    QD_TRY(qd_vocab_new(t, (size_t)r->highest + 1, n_bytes + 2 * r->n_text));
    QD_TRY(each_line(r, put_line));
    QD_TRY(put_specials(r));
    QD_TRY(qd_vocab_pretokenizer(&r->place, t, qd_split_json(&r->encoding->pattern, 1)));
    QD_TRY(qd_vocab_decoder(&r->place, t, json_pack("{s:s}", "type", "ByteLevel")));
    const qd_bpe_options options = {.byte_level = true, .ignore_merges = true};
    r->place.member = "ranks";
    t->kind = &qd_tokenizer_bpe;
    return qd_bpe_new(&r->place, t, &options, &t->model);
}

static qdisp_status open_tiktoken(const qd_source_job *job) {
    reader r = {.job = job, .place = {.ctx = job->ctx, .file = job->file, .member = ""}};
    QD_TRY(qd_read_file(job->ctx, job->file, QD_TOKENIZER_MAX_FILE, &r.text, &r.n_text));
    qdisp_status status = make(&r);
    qd_free(job->ctx, r.text);
    return status;
}

const qd_source qd_source_tiktoken = {"tiktoken", matches, open_tiktoken};
