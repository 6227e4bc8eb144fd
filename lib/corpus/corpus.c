/* corpus.c - parallel text: opening, checking, splitting.
 *
 * The text is held once, in `texts`; a corpus is a view of it with a list of lines, so that the parts of a split cost
 * an index a line. */
#include "corpus/corpus.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE ((size_t)1 << 30)

typedef struct text {
    char tag[16];
    char script[5];
    char *bytes;
    size_t n_bytes;
    size_t *begin, *end; /* [n_lines] */
    size_t n_lines, cap_begin, cap_end;
} text;

typedef struct texts {
    qdisp_ctx *ctx;
    unsigned n_refs;
    text *items;
    size_t n, n_lines;
} texts;

struct qdisp_corpus {
    texts *texts;
    size_t *lines; /* [n_lines], ascending; NULL: all */
    size_t n_lines;
};

static void texts_free(texts *t) {
    if (!t || __atomic_sub_fetch(&t->n_refs, 1, __ATOMIC_ACQ_REL)) return;
    qdisp_ctx *ctx = t->ctx;
    for (size_t i = 0; t->items && i < t->n; i++) {
        qd_free(ctx, t->items[i].bytes);
        qd_free(ctx, t->items[i].begin);
        qd_free(ctx, t->items[i].end);
    }
    qd_free(ctx, t->items);
    qd_free(ctx, t);
    qdisp_ctx_free(ctx);
}

static qdisp_status texts_new(qdisp_ctx *ctx, size_t n, texts **out) {
    texts *t = qd_alloc(ctx, 1, sizeof *t);
    if (!t) return QDISP_ENOMEM;
    t->ctx = qd_ctx_ref(ctx);
    t->n_refs = 1;
    t->items = qd_alloc(ctx, n ? n : 1, sizeof *t->items);
    if (!t->items) {
        texts_free(t);
        return QDISP_ENOMEM;
    }
    *out = t;
    return QDISP_OK;
}

/* Takes over t. */
static qdisp_status corpus_new(texts *t, size_t *lines, size_t n_lines, qdisp_corpus **out) {
    qdisp_corpus *corpus = qd_alloc(t->ctx, 1, sizeof *corpus);
    if (!corpus) {
        qd_free(t->ctx, lines);
        texts_free(t);
        return QDISP_ENOMEM;
    }
    *corpus = (qdisp_corpus){t, lines, n_lines};
    *out = corpus;
    return QDISP_OK;
}

void qdisp_corpus_free(qdisp_corpus *corpus) {
    if (!corpus) return;
    qd_free(corpus->texts->ctx, corpus->lines);
    texts *t = corpus->texts;
    qd_free(t->ctx, corpus);
    texts_free(t);
}

/* ---- reading ---- */

static qdisp_status set_tag(qdisp_ctx *ctx, texts *t, const char *tag, size_t n, text *to) {
    if (!qd_language_is_tag(tag, n)) {
        return qd_fail(ctx, QDISP_EINVAL, "language '%.*s': not a BCP-47 tag like 'en', 'pt-BR' or 'zh-Hant-TW'",
                       n > 40 ? 40 : (int)n, tag);
    }
    memcpy(to->tag, tag, n); /* at most 12 bytes, as the shape bounds it */
    to->tag[n] = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (!strcmp(t->items[i].tag, to->tag)) {
            return qd_fail(ctx, QDISP_EINVAL, "language '%s' is there twice", to->tag);
        }
    }
    const char *dash = strchr(to->tag, '-');
    const qd_language *row = qd_language_find(to->tag);
    strcpy(to->script, row ? row->script : "Zyyy");
    if (dash && (strlen(dash + 1) == 4 || (strlen(dash + 1) > 4 && dash[5] == '-'))) memcpy(to->script, dash + 1, 4);
    return QDISP_OK;
}

static bool is_blank(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (s[i] != ' ' && s[i] != '\t') return false;
    }
    return true;
}

static qdisp_status add_line(qdisp_ctx *ctx, text *t, const char *name, size_t begin, size_t end) {
    if (end > begin && t->bytes[end - 1] == '\r') end--;
    if (is_blank(t->bytes + begin, end - begin)) {
        return qd_fail(ctx, QDISP_EFORMAT, "%s: line %zu: empty", name, t->n_lines + 1);
    }
    QD_TRY(qd_grow(ctx, (void **)&t->begin, &t->cap_begin, t->n_lines + 1, sizeof *t->begin));
    QD_TRY(qd_grow(ctx, (void **)&t->end, &t->cap_end, t->n_lines + 1, sizeof *t->end));
    t->begin[t->n_lines] = begin;
    t->end[t->n_lines++] = end;
    return QDISP_OK;
}

/* Checks t->bytes and finds its lines. A byte order mark is left out. */
static qdisp_status find_lines(qdisp_ctx *ctx, text *t, const char *name) {
    size_t bad = t->n_bytes ? qd_utf8_check(t->bytes, t->n_bytes) : 0, begin = 0;
    if (bad < t->n_bytes) {
        size_t line = 1;
        for (size_t i = 0; i < bad; i++) {
            if (t->bytes[i] == '\n') {
                line++;
                begin = i + 1;
            }
        }
        return qd_fail(ctx, QDISP_EENCODING, "%s: line %zu, byte %zu (offset %zu): 0x%02X is not valid UTF-8", name,
                       line, bad - begin + 1, bad, (unsigned)(uint8_t)t->bytes[bad]);
    }
    if (t->n_bytes >= 3 && !memcmp(t->bytes, "\xEF\xBB\xBF", 3)) begin = 3;
    while (begin < t->n_bytes) {
        const char *newline = memchr(t->bytes + begin, '\n', t->n_bytes - begin);
        size_t end = newline ? (size_t)(newline - t->bytes) : t->n_bytes;
        QD_TRY(add_line(ctx, t, name, begin, end));
        begin = end + 1;
    }
    if (!t->n_lines) return qd_fail(ctx, QDISP_EFORMAT, "%s: no lines", name);
    return QDISP_OK;
}

static qdisp_status read_language(qdisp_ctx *ctx, texts *t, const char *folder, const char *tag, size_t n_tag) {
    text *to = &t->items[t->n];
    QD_TRY(set_tag(ctx, t, tag, n_tag, to));
    char *file = qd_format(ctx, "%s/%s.txt", folder, to->tag);
    if (!file) return QDISP_ENOMEM;
    t->n++; /* from here on freeing reaches it */
    qdisp_status status = qd_read_file(ctx, file, MAX_FILE, &to->bytes, &to->n_bytes);
    if (status == QDISP_OK) status = find_lines(ctx, to, file);
    qd_free(ctx, file);
    return status;
}

/* Files of unlike length, told by both names. folder NULL: texts from memory. */
static qdisp_status check_parallel(qdisp_ctx *ctx, texts *t, const char *folder) {
    const text *first = &t->items[0];
    for (size_t i = 1; i < t->n; i++) {
        const text *other = &t->items[i];
        if (other->n_lines == first->n_lines) continue;
        return qd_fail(ctx, QDISP_EFORMAT, "%s%s%s%s has %zu lines, but %s%s has %zu", folder ? folder : "",
                       folder ? "/" : "", first->tag, folder ? ".txt" : "", first->n_lines, other->tag,
                       folder ? ".txt" : "", other->n_lines);
    }
    t->n_lines = first->n_lines;
    return QDISP_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static qdisp_status list_folder(qdisp_ctx *ctx, const char *folder, char ***names, size_t *n_names) {
    size_t cap = 0;
    struct dirent *entry;
    DIR *dir = opendir(folder);
    if (!dir) return qd_fail_errno(ctx, folder, errno);
    qdisp_status status = QDISP_OK;
    while (status == QDISP_OK && (errno = 0, entry = readdir(dir))) {
        size_t n = strlen(entry->d_name);
        if (n < 5 || strcmp(entry->d_name + n - 4, ".txt") || entry->d_name[0] == '.') continue;
        if (!qd_language_is_tag(entry->d_name, n - 4)) {
            qd_log(ctx, QDISP_LOG_INFO, "%s/%s: not named after a language, left out", folder, entry->d_name);
            continue;
        }
        status = qd_grow(ctx, (void **)names, &cap, *n_names + 1, sizeof **names);
        if (status != QDISP_OK) break;
        (*names)[*n_names] = qd_strndup(ctx, entry->d_name, n - 4);
        if (!(*names)[*n_names]) status = QDISP_ENOMEM;
        else (*n_names)++;
    }
    int error = status == QDISP_OK ? errno : 0;
    closedir(dir);
    if (error) return qd_fail_errno(ctx, folder, error);
    if (*n_names) qsort(*names, *n_names, sizeof **names, compare_names);
    return status;
}

static qdisp_status read_folder(qdisp_ctx *ctx, const char *folder, texts **out) {
    char **names = NULL;
    size_t n = 0;
    qdisp_status status = list_folder(ctx, folder, &names, &n);
    if (status == QDISP_OK && !n) {
        status = qd_fail(ctx, QDISP_EFORMAT, "%s: no file named after a language (TAG.txt)", folder);
    }
    if (status == QDISP_OK) status = texts_new(ctx, n, out);
    for (size_t i = 0; status == QDISP_OK && i < n; i++) {
        status = read_language(ctx, *out, folder, names[i], strlen(names[i]));
    }
    for (size_t i = 0; i < n; i++) qd_free(ctx, names[i]);
    qd_free(ctx, names);
    return status;
}

static qdisp_status read_list(qdisp_ctx *ctx, const char *folder, const char *languages, texts **out) {
    size_t n = 1;
    for (const char *s = languages; *s; s++) n += *s == ',';
    QD_TRY(texts_new(ctx, n, out));
    for (const char *s = languages; n > 0; n--) {
        const char *comma = strchr(s, ',');
        const char *end = comma ? comma : s + strlen(s), *next = comma ? comma + 1 : end;
        while (s < end && *s == ' ') s++;
        while (end > s && end[-1] == ' ') end--;
        QD_TRY(read_language(ctx, *out, folder, s, (size_t)(end - s)));
        s = next;
    }
    return QDISP_OK;
}

qdisp_status qdisp_corpus_open(qdisp_ctx *ctx, const char *path, const char *languages, qdisp_corpus **out) {
    if (!ctx) return QDISP_EINVAL;
    if (!path || !out) return qd_fail(ctx, QDISP_EINVAL, "qdisp_corpus_open: %s is NULL", path ? "out" : "path");
    texts *t = NULL;
    qdisp_status status = languages ? read_list(ctx, path, languages, &t) : read_folder(ctx, path, &t);
    if (status == QDISP_OK) status = check_parallel(ctx, t, path);
    if (status != QDISP_OK) {
        texts_free(t);
        return status;
    }
    return corpus_new(t, NULL, t->n_lines, out);
}

static qdisp_status copy_text(qdisp_ctx *ctx, texts *t, const char *tag, const char *bytes, size_t n) {
    text *to = &t->items[t->n];
    QD_TRY(set_tag(ctx, t, tag, strlen(tag), to));
    to->bytes = qd_strndup(ctx, bytes ? bytes : "", n);
    if (!to->bytes) return QDISP_ENOMEM;
    to->n_bytes = n;
    t->n++;
    return find_lines(ctx, to, to->tag);
}

qdisp_status qdisp_corpus_from_texts(qdisp_ctx *ctx, const char *const *tags, const char *const *given,
                                     const size_t *n_bytes, size_t n_languages, qdisp_corpus **out) {
    if (!ctx) return QDISP_EINVAL;
    if (!tags || !given || !n_bytes || !out) {
        return qd_fail(ctx, QDISP_EINVAL, "qdisp_corpus_from_texts: %s is NULL",
                       !tags ? "tags" : !given ? "texts" : !n_bytes ? "n_bytes" : "out");
    }
    if (!n_languages) return qd_fail(ctx, QDISP_EFORMAT, "corpus: no languages");
    for (size_t i = 0; i < n_languages; i++) {
        if (!tags[i] || (!given[i] && n_bytes[i])) {
            return qd_fail(ctx, QDISP_EINVAL, "qdisp_corpus_from_texts: %s[%zu] is NULL", tags[i] ? "texts" : "tags",
                           i);
        }
    }
    texts *t = NULL;
    QD_TRY(texts_new(ctx, n_languages, &t));
    qdisp_status status = QDISP_OK;
    for (size_t i = 0; status == QDISP_OK && i < n_languages; i++) {
        status = copy_text(ctx, t, tags[i], given[i], n_bytes[i]);
    }
    if (status == QDISP_OK) status = check_parallel(ctx, t, NULL);
    if (status != QDISP_OK) {
        texts_free(t);
        return status;
    }
    return corpus_new(t, NULL, t->n_lines, out);
}

/* ---- reading out ---- */

size_t qdisp_corpus_n_languages(const qdisp_corpus *corpus) {
    return corpus ? corpus->texts->n : 0;
}

size_t qdisp_corpus_n_lines(const qdisp_corpus *corpus) {
    return corpus ? corpus->n_lines : 0;
}

const char *qdisp_corpus_language(const qdisp_corpus *corpus, size_t i_language) {
    return i_language < qdisp_corpus_n_languages(corpus) ? corpus->texts->items[i_language].tag : NULL;
}

const char *qdisp_corpus_script(const qdisp_corpus *corpus, size_t i_language) {
    return i_language < qdisp_corpus_n_languages(corpus) ? corpus->texts->items[i_language].script : NULL;
}

const char *qdisp_corpus_line(const qdisp_corpus *corpus, size_t i_language, size_t i_line, size_t *n_bytes) {
    if (i_language >= qdisp_corpus_n_languages(corpus) || i_line >= corpus->n_lines) return NULL;
    const text *t = &corpus->texts->items[i_language];
    size_t line = corpus->lines ? corpus->lines[i_line] : i_line;
    if (n_bytes) *n_bytes = t->end[line] - t->begin[line];
    return t->bytes + t->begin[line];
}

static void count(const qdisp_corpus *corpus, size_t i_language, int64_t *n_bytes, int64_t *n_codepoints) {
    *n_bytes = *n_codepoints = 0;
    for (size_t i = 0; i < corpus->n_lines; i++) {
        size_t n = 0;
        const char *line = qdisp_corpus_line(corpus, i_language, i, &n);
        *n_bytes += (int64_t)n;
        for (size_t k = 0; k < n; k++) *n_codepoints += ((uint8_t)line[k] & 0xC0) != 0x80;
    }
}

qdisp_status qdisp_corpus_describe(const qdisp_corpus *corpus, qdisp_table **out) {
    if (!corpus) return QDISP_EINVAL;
    qdisp_ctx *ctx = corpus->texts->ctx;
    if (!out) return qd_fail(ctx, QDISP_EINVAL, "qdisp_corpus_describe: out is NULL");
    qdisp_table *table = NULL;
    qdisp_status status = qdisp_table_new(ctx, "corpus", "Text by language", &table);
    if (status != QDISP_OK) return status;
    size_t language = qd_table_column(table, &status, "language", "", QDISP_COLUMN_STR);
    size_t name = qd_table_column(table, &status, "name", "", QDISP_COLUMN_STR);
    size_t script = qd_table_column(table, &status, "script", "", QDISP_COLUMN_STR);
    size_t n_lines = qd_table_column(table, &status, "n_lines", "", QDISP_COLUMN_I64);
    size_t n_bytes = qd_table_column(table, &status, "n_bytes", "", QDISP_COLUMN_I64);
    size_t n_codepoints = qd_table_column(table, &status, "n_codepoints", "", QDISP_COLUMN_I64);
    for (size_t i = 0; status == QDISP_OK && i < corpus->texts->n; i++) {
        const text *t = &corpus->texts->items[i];
        const qd_language *row = qd_language_find(t->tag);
        int64_t bytes, codepoints;
        count(corpus, i, &bytes, &codepoints);
        size_t r = qd_table_row(table, &status);
        qd_table_str(table, &status, r, language, t->tag);
        qd_table_str(table, &status, r, name, row ? row->name : NULL);
        qd_table_str(table, &status, r, script, t->script);
        qd_table_i64(table, &status, r, n_lines, (int64_t)corpus->n_lines);
        qd_table_i64(table, &status, r, n_bytes, bytes);
        qd_table_i64(table, &status, r, n_codepoints, codepoints);
    }
    if (status != QDISP_OK) {
        qdisp_table_free(table);
        return status;
    }
    *out = table;
    return QDISP_OK;
}

/* ---- splitting ---- */

/* Fisher-Yates. A 64-bit word modulo n has a bias below n / 2^64, which no corpus can show. */
static void shuffle(size_t *order, size_t n, uint64_t seed) {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (size_t i = n - 1; i > 0; i--) {
        const uint32_t counter[4] = {(uint32_t)i, (uint32_t)((uint64_t)i >> 32), 0, 0};
        uint32_t words[4];
        qd_philox(counter, key, words);
        size_t k = (size_t)(((uint64_t)words[1] << 32 | words[0]) % (i + 1)), other = order[k];
        order[k] = order[i];
        order[i] = other;
    }
}

static int compare_lines(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

qdisp_status qd_corpus_part(const qdisp_corpus *corpus, const size_t *order, size_t n, qdisp_corpus **out) {
    size_t *lines = qd_alloc(corpus->texts->ctx, n, sizeof *lines);
    if (!lines) return QDISP_ENOMEM;
    for (size_t i = 0; i < n; i++) lines[i] = corpus->lines ? corpus->lines[order[i]] : order[i];
    qsort(lines, n, sizeof *lines, compare_lines);
    __atomic_add_fetch(&corpus->texts->n_refs, 1, __ATOMIC_RELAXED);
    return corpus_new(corpus->texts, lines, n, out);
}

qdisp_status qdisp_corpus_split(const qdisp_corpus *corpus, double share, uint64_t seed, qdisp_corpus **calibration,
                                qdisp_corpus **evaluation) {
    if (!corpus) return QDISP_EINVAL;
    qdisp_ctx *ctx = corpus->texts->ctx;
    size_t n = corpus->n_lines;
    if (!calibration || !evaluation) return qd_fail(ctx, QDISP_EINVAL, "qdisp_corpus_split: an output is NULL");
    if (!(share > 0 && share < 1)) return qd_fail(ctx, QDISP_EINVAL, "share: %g is not between 0 and 1", share);
    if (n < 2) return qd_fail(ctx, QDISP_EINVAL, "corpus: a single line cannot be split");
    size_t *order = qd_alloc(ctx, n, sizeof *order), n_first = (size_t)llround(share * (double)n);
    if (!order) return QDISP_ENOMEM;
    if (n_first < 1) n_first = 1;
    if (n_first > n - 1) n_first = n - 1;
    for (size_t i = 0; i < n; i++) order[i] = i;
    shuffle(order, n, seed);
    qdisp_corpus *first = NULL, *second = NULL;
    qdisp_status status = qd_corpus_part(corpus, order, n_first, &first);
    if (status == QDISP_OK) status = qd_corpus_part(corpus, order + n_first, n - n_first, &second);
    qd_free(ctx, order);
    if (status != QDISP_OK) {
        qdisp_corpus_free(first);
        return status;
    }
    *calibration = first;
    *evaluation = second;
    return QDISP_OK;
}
