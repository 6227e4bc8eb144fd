/* tokenizer_golden.h - texts and what Hugging Face's tokenizers made of them (golden/make_tokenizer*.py). */
#ifndef TOKENIZER_GOLDEN_H
#define TOKENIZER_GOLDEN_H

#include "base/base.h"
#include "harness.h"
#include "tokenizer/tokenizer.h"

#ifndef QDISP_ROOT
#define QDISP_ROOT "."
#endif
#define GOLDEN QDISP_ROOT "/test/golden/tokenizer/"

static qdisp_ctx *ctx;

typedef struct buffers {
    int32_t *ids;
    size_t *starts, n, cap;
} buffers;

static qdisp_status encode(const qdisp_tokenizer *t, const char *text, size_t n, buffers *b) {
    qdisp_status status = qdisp_tokenizer_encode(t, text, n, b->ids, b->starts, b->cap, &b->n);
    if (status == QDISP_OK && b->n > b->cap) {
        b->cap = b->n * 2;
        b->ids = realloc(b->ids, b->cap * sizeof *b->ids);
        b->starts = realloc(b->starts, b->cap * sizeof *b->starts);
        status = qdisp_tokenizer_encode(t, text, n, b->ids, b->starts, b->cap, &b->n);
    }
    return status;
}

static void buffers_free(buffers *b) {
    free(b->ids);
    free(b->starts);
    *b = (buffers){0};
}

static uint64_t fnv(uint64_t h, uint64_t value) {
    for (int k = 0; k < 4; k++) h = (h ^ (value >> (8 * k) & 0xFF)) * 0x100000001B3u;
    return h;
}

static uint64_t hash_of(uint64_t h, const buffers *b) {
    h = fnv(h, b->n);
    for (size_t i = 0; i < b->n; i++) h = fnv(h, (uint64_t)b->ids[i]);
    for (size_t i = 0; i < b->n; i++) h = fnv(h, b->starts[i]);
    return h;
}

/* ---- the same random text as make_tokenizer.py ---- */

typedef struct generator {
    uint32_t block, key, words[4];
    int n_left;
} generator;

static uint32_t next(generator *g) {
    if (!g->n_left) {
        const uint32_t counter[4] = {g->block++, 0, 0, 0}, key[2] = {g->key, 0};
        qd_philox(counter, key, g->words);
        g->n_left = 4;
    }
    return g->words[4 - g->n_left--];
}

static size_t random_text(generator *g, char *out) {
    static const uint32_t RANGES[][2] = {
        {0x20, 0x7E},     {0x61, 0x7A},     {0x20, 0x20},     {0x09, 0x0D},     {0x30, 0x39},       {0x80, 0xFF},
        {0x100, 0x24F},   {0x300, 0x36F},   {0x370, 0x52F},   {0x590, 0x6FF},   {0x700, 0x8FF},     {0x900, 0xDFF},
        {0xE00, 0xFFF},   {0x1000, 0x13FF}, {0x1680, 0x1FFF}, {0x2000, 0x206F}, {0x2070, 0x2BFF},   {0x2C00, 0x2FFF},
        {0x3000, 0x30FF}, {0x3400, 0x9FFF}, {0xA000, 0xABFF}, {0xAC00, 0xD7FF}, {0xE000, 0xF8FF},   {0xF900, 0xFFFF},
        {0x10000, 0x1FFFF}, {0x1D400, 0x1D7FF}, {0x1F300, 0x1FAFF}, {0x20000, 0x323FF}, {0x0, 0x10FFFF},
        {0xAC00, 0xD7FF}, {0x1100, 0x11FF}, {0x300, 0x345}};
    size_t n = 0;
    for (uint32_t n_runs = 1 + next(g) % 12; n_runs > 0; n_runs--) {
        const uint32_t *range = RANGES[next(g) % (sizeof RANGES / sizeof RANGES[0])];
        for (uint32_t n_chars = 1 + next(g) % 5; n_chars > 0; n_chars--) {
            uint32_t c = range[0] + next(g) % (range[1] - range[0] + 1);
            n += qd_utf8_put(c >= 0xD800 && c < 0xE000 ? 0xFFFD : (int32_t)c, (uint8_t *)out + n);
        }
    }
    return n;
}

/* ---- golden files ---- */

static char *read_all(const char *path, size_t *n) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    *n = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*n + 1);
    if (fread(text, 1, *n, file) != *n) *n = 0;
    text[*n] = 0;
    fclose(file);
    return text;
}

static size_t from_hex(const char *hex, size_t n_hex, char *out) {
    for (size_t i = 0; i + 1 < n_hex; i += 2) {
        char two[3] = {hex[i], hex[i + 1], 0};
        out[i / 2] = (char)strtol(two, NULL, 16);
    }
    return n_hex / 2;
}

/* "1,2,3" against what came out. */
static int same_numbers(const char *list, const int32_t *ids, const size_t *starts, size_t n) {
    size_t i = 0;
    for (const char *s = list; *s; i++) {
        char *end;
        unsigned long long v = strtoull(s, &end, 10);
        if (i >= n || (ids ? (unsigned long long)ids[i] : (unsigned long long)starts[i]) != v) return 0;
        s = *end == ',' ? end + 1 : end;
    }
    return i == n;
}

static void check_text_line(const qdisp_tokenizer *t, char *line, buffers *b) {
    char *field[4], *text = malloc(strlen(line) + 1), *decoded;
    size_t n_decoded = 0;
    for (int k = 0; k < 4; k++) field[k] = strsep(&line, ";");
    CHECK(field[3] != NULL);
    if (!field[3]) {
        free(text);
        return;
    }
    size_t n = from_hex(field[0], strlen(field[0]), text);
    CHECK_STATUS(encode(t, text, n, b), QDISP_OK);
    int same = same_numbers(field[1], b->ids, NULL, b->n) && same_numbers(field[2], NULL, b->starts, b->n);
    CHECK(same);
    if (!same) printf("  text %s\n", field[0]);
    CHECK_STATUS(qdisp_tokenizer_decode(t, b->ids, b->n, 0, NULL, 0, &n_decoded), QDISP_OK);
    decoded = malloc(n_decoded + 1);
    CHECK_STATUS(qdisp_tokenizer_decode(t, b->ids, b->n, 0, decoded, n_decoded, &n_decoded), QDISP_OK);
    n = from_hex(field[3], strlen(field[3]), text = realloc(text, strlen(field[3]) + 1));
    CHECK(n == n_decoded && !memcmp(text, decoded, n));
    free(decoded);
    free(text);
}

static void check_random_line(const qdisp_tokenizer *t, const char *line, buffers *b) {
    unsigned seed = 0, count = 0;
    unsigned long long expected = 0;
    uint64_t h = 0xCBF29CE484222325u;
    char text[12 * 5 * 4];
    CHECK(sscanf(line, "random %u %u %llx", &seed, &count, &expected) == 3);
    generator g = {.key = seed};
    for (unsigned i = 0; i < count; i++) {
        CHECK_STATUS(encode(t, text, random_text(&g, text), b), QDISP_OK);
        h = hash_of(h, b);
    }
    CHECK(h == expected);
}

static void check_file_line(const qdisp_tokenizer *t, const char *line, buffers *b) {
    char name[64], path[1024];
    unsigned long long expected = 0;
    size_t n_ids = 0, n_expected = 0, n;
    uint64_t h = 0xCBF29CE484222325u;
    CHECK(sscanf(line, "text %63s %zu %llx", name, &n_expected, &expected) == 3);
    snprintf(path, sizeof path, "%s/examples/data/text/%s", QDISP_ROOT, name);
    char *text = read_all(path, &n), *rest = text, *one;
    CHECK(text != NULL);
    while (rest && *rest && (one = strsep(&rest, "\n"))) {
        CHECK_STATUS(encode(t, one, strlen(one), b), QDISP_OK);
        n_ids += b->n;
        h = hash_of(h, b);
    }
    CHECK(n_ids == n_expected && h == expected);
    if (h != expected) printf("  %s\n", name);
    free(text);
}

/* "template PREFIX;SUFFIX" */
static void check_template_line(const qdisp_tokenizer *t, char *line) {
    size_t n = 0;
    char *suffix = strchr(line, ';');
    CHECK(suffix != NULL);
    if (!suffix) return;
    *suffix++ = 0;
    const int32_t *ids = qdisp_tokenizer_prefix(t, &n);
    CHECK(same_numbers(line + strlen("template "), ids, NULL, n));
    ids = qdisp_tokenizer_suffix(t, &n);
    CHECK(same_numbers(suffix, ids, NULL, n));
}

/* Every line of test/golden/tokenizer/NAME.golden for the tokenizer at a path. */
static void check_golden(const char *name, const char *tokenizer) {
    char path[1024];
    size_t n;
    buffers b = {0};
    qdisp_tokenizer *t = NULL;
    CHECK_STATUS(qdisp_tokenizer_open(ctx, tokenizer, &t), QDISP_OK);
    if (!t) printf("  %s\n", qdisp_ctx_error(ctx));
    snprintf(path, sizeof path, "%s%s.golden", GOLDEN, name);
    char *text = read_all(path, &n), *rest = text, *line;
    CHECK(text != NULL);
    while (t && rest && *rest && (line = strsep(&rest, "\n"))) {
        if (!strncmp(line, "template ", 9)) {
            check_template_line(t, line);
        } else if (!strncmp(line, "random ", 7)) {
            check_random_line(t, line, &b);
        } else if (!strncmp(line, "text ", 5)) {
            check_file_line(t, line, &b);
        } else {
            check_text_line(t, line, &b);
        }
    }
    if (harness_bad) printf("  in %s\n", name);
    free(text);
    buffers_free(&b);
    qdisp_tokenizer_free(t);
}

/* The same for tokenizers of make_tokenizer_kinds.py. */
static inline void check_kinds(const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char path[1024], name[64];
        snprintf(path, sizeof path, "%skinds/%s.json", GOLDEN, names[i]);
        snprintf(name, sizeof name, "kinds/%s", names[i]);
        check_golden(name, path);
    }
}
#define CHECK_KINDS(...)                                                                  \
    do {                                                                                  \
        static const char *const names_[] = {__VA_ARGS__};                                \
        check_kinds(names_, sizeof names_ / sizeof names_[0]);                            \
    } while (0)

#endif
