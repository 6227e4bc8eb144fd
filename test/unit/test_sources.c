/* Tokenizers from other files than tokenizer.json: told by content, their options, small vocabularies by hand. */
#include "base/base.h"
#include "golden.h"
#include "harness.h"
#include "tokenizer/tokenizer.h"

#include <qdisp/corpus.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

static qdisp_ctx *ctx;
static char folder[64];

static const char *in_folder(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static const char *write_file(const char *name, const char *text, size_t n) {
    const char *path = in_folder(name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(text, 1, n, f) != n || fclose(f)) exit(1);
    return path;
}

static void check_ids(const qdisp_tokenizer *t, const char *text, int n, ...) {
    int32_t ids[64];
    size_t starts[64], n_ids = 0;
    va_list expected;
    CHECK_STATUS(qdisp_tokenizer_encode(t, text, strlen(text), ids, starts, 64, &n_ids), QDISP_OK);
    va_start(expected, n);
    bool same = n_ids == (size_t)n;
    for (int i = 0; i < n; i++) {
        int id = va_arg(expected, int);
        same = same && ids[i] == id;
    }
    va_end(expected);
    if (same) return;
    harness_bad = 1;
    printf("'%s':", text);
    for (size_t i = 0; i < n_ids && i < 64; i++) printf(" %d", (int)ids[i]);
    printf("\n");
}

static void check_round_trip(const qdisp_tokenizer *t, const char *text) {
    int32_t ids[64];
    char out[256];
    size_t n_ids = 0, n = 0;
    CHECK_STATUS(qdisp_tokenizer_encode(t, text, strlen(text), ids, NULL, 64, &n_ids), QDISP_OK);
    CHECK_STATUS(qdisp_tokenizer_decode(t, ids, n_ids, 0, out, sizeof out, &n), QDISP_OK);
    CHECK(n == strlen(text) && !memcmp(out, text, n));
}

/* a b c ab abc " " " ab" 0xC3 0xA9 */
static const char RANKS[] = "YQ== 0\nYg== 1\nYw== 2\nYWI= 3\nYWJj 4\nIA== 5\nIGFi 6\nww== 7\nqQ== 8\n";

TEST(tiktoken_needs_an_encoding) {
    qdisp_tokenizer *t = NULL;
    const char *path = write_file("small.tiktoken", RANKS, sizeof RANKS - 1);
    CHECK_STATUS(qdisp_tokenizer_open(ctx, path, &t), QDISP_EUNSUPPORTED);
    CHECK_HAS(qdisp_ctx_error(ctx), "small.tiktoken: 9 ranks");
    qdisp_tokenizer_options options = {.size = sizeof options, .encoding = "no_such_base"};
    CHECK_STATUS(qdisp_tokenizer_open_as(ctx, path, &options, &t), QDISP_EUNSUPPORTED);
    CHECK_HAS(qdisp_ctx_error(ctx), "no_such_base");
    CHECK(!t);
}

TEST(tiktoken_with_a_named_encoding) {
    qdisp_tokenizer *t = NULL;
    char named[300];
    snprintf(named, sizeof named, "r50k_base:%s", write_file("small.tiktoken", RANKS, sizeof RANKS - 1));
    CHECK_STATUS(qdisp_tokenizer_open(ctx, named, &t), QDISP_OK);
    CHECK(qdisp_tokenizer_n_vocab(t) == 9); /* another number of ranks: the encoding's special tokens are not there */
    check_ids(t, "abc ab", 2, 4, 6);
    check_ids(t, "cab\xC3\xA9", 4, 2, 3, 7, 8);
    check_ids(t, "", 0);
    check_round_trip(t, "cab\xC3\xA9 ab");
    CHECK_STR(qdisp_tokenizer_token(t, 6), "\xC4\xA0" "ab");
    qdisp_tokenizer_free(t);
}

TEST(tiktoken_special_tokens) {
    qdisp_tokenizer *t = NULL;
    const char *path = write_file("small.tiktoken", RANKS, sizeof RANKS - 1);
    qdisp_tokenizer_options options = {.size = sizeof options, .encoding = "cl100k_base",
                                       .special_tokens = "<|end|>=9,<|=|>=12"};
    CHECK_STATUS(qdisp_tokenizer_open_as(ctx, path, &options, &t), QDISP_OK);
    CHECK(qdisp_tokenizer_n_vocab(t) == 13 && qdisp_tokenizer_id(t, "<|=|>") == 12);
    check_ids(t, "ab<|end|>c<|=|>", 4, 3, 9, 2, 12);
    check_round_trip(t, "ab<|end|>c<|=|>");
    qdisp_tokenizer_free(t);
    static const char *const wrong[][2] = {{"<|end|>", "TOKEN=ID"}, {"=3", "TOKEN=ID"}, {"x=", "TOKEN=ID"},
                                           {"x=-1", "TOKEN=ID"}, {"x=99999999", "TOKEN=ID"}, {"x=3", "twice"},
                                           {"x=70000", "70000"}, {"y=20,y=21", "twice"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        t = NULL;
        options.special_tokens = wrong[i][0];
        qdisp_status status = qdisp_tokenizer_open_as(ctx, path, &options, &t);
        CHECK(status == QDISP_EINVAL || status == QDISP_EFORMAT);
        CHECK_HAS(qdisp_ctx_error(ctx), wrong[i][1]);
        CHECK(!t);
    }
}

TEST(options_are_for_their_kind) {
    qdisp_tokenizer *t = NULL;
    qdisp_tokenizer_options options = {.size = sizeof options, .encoding = "cl100k_base"};
    CHECK_STATUS(qdisp_tokenizer_open_as(ctx, QDISP_ROOT "/examples/data/model", &options, &t), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "tokenizer.json");
    options = (qdisp_tokenizer_options){.size = sizeof options};
    CHECK_STATUS(qdisp_tokenizer_open_as(ctx, QDISP_ROOT "/examples/data/model", &options, &t), QDISP_OK);
    qdisp_tokenizer_free(t);
    t = NULL;
    CHECK_STATUS(qdisp_tokenizer_open(ctx, write_file("what.bin", "\x01\x02\x03", 3), &t), QDISP_EUNSUPPORTED);
    CHECK_HAS(qdisp_ctx_error(ctx), "neither");
    CHECK(!t);
}

TEST(a_folder_with_one_of_them) {
    qdisp_tokenizer *t = NULL;
    mkdir(in_folder("one"), 0700);
    CHECK_STATUS(qdisp_tokenizer_open(ctx, in_folder("one"), &t), QDISP_ENOTFOUND);
    CHECK_HAS(qdisp_ctx_error(ctx), "one/tokenizer.json");
    write_file("one/a.tiktoken", RANKS, sizeof RANKS - 1);
    write_file("one/notes.txt", "x", 1);
    qdisp_tokenizer_options options = {.size = sizeof options, .encoding = "r50k_base"};
    CHECK_STATUS(qdisp_tokenizer_open_as(ctx, in_folder("one"), &options, &t), QDISP_OK);
    qdisp_tokenizer_free(t);
    t = NULL;
    write_file("one/b.tiktoken", RANKS, sizeof RANKS - 1);
    CHECK_STATUS(qdisp_tokenizer_open_as(ctx, in_folder("one"), &options, &t), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "b.tiktoken");
    CHECK(!t);
}

/* ---- SentencePiece, against its library (golden/make_sentencepiece.py) ---- */

#define MAX_TEXTS 80
static char odd[MAX_TEXTS][512];
static size_t n_odd_bytes[MAX_TEXTS], n_odd;

static int32_t ids[1 << 16];

static uint64_t fnv(uint64_t h, uint64_t value) {
    for (int k = 0; k < 4; k++) h = (h ^ (value >> (8 * k) & 0xFF)) * 0x100000001B3u;
    return h;
}

static void keep_text(const golden *g) {
    size_t i = (size_t)atoi(g->word + 5), n = 0;
    if (i >= MAX_TEXTS) exit(1);
    for (size_t k = 0; k < g->n; k++) n += qd_utf8_put((int32_t)g->v[k], (uint8_t *)odd[i] + n);
    n_odd_bytes[i] = n;
    if (i >= n_odd) n_odd = i + 1;
}

static void check_odd(const qdisp_tokenizer *t, const golden *g, size_t i) {
    size_t n = 0, n_bytes = 0;
    char out[2048];
    CHECK_STATUS(qdisp_tokenizer_encode(t, odd[i], n_odd_bytes[i], ids, NULL, 1 << 16, &n), QDISP_OK);
    bool same = n == g->n;
    for (size_t k = 0; same && k < n; k++) same = ids[k] == (int32_t)g->v[k];
    if (!same) {
        harness_bad = 1;
        printf("%s:", g->word);
        for (size_t k = 0; k < n; k++) printf(" %d", (int)ids[k]);
        printf("\n");
    }
    CHECK_STATUS(qdisp_tokenizer_decode(t, ids, n, 0, out, sizeof out, &n_bytes), QDISP_OK);
    CHECK(n_bytes <= sizeof out && qd_utf8_check(out, n_bytes) == n_bytes);
}

static void check_language(const qdisp_tokenizer *t, const golden *g, const char *tag) {
    qdisp_corpus *corpus = NULL;
    size_t n_all = 0, starts_bad = 0;
    static int32_t all[1 << 18];
    static size_t starts[1 << 16];
    CHECK_STATUS(qdisp_corpus_open(ctx, QDISP_ROOT "/examples/data/text", tag, &corpus), QDISP_OK);
    for (size_t i = 0; i < qdisp_corpus_n_lines(corpus); i++) {
        size_t n_bytes, n = 0;
        const char *line = qdisp_corpus_line(corpus, 0, i, &n_bytes);
        CHECK_STATUS(qdisp_tokenizer_encode(t, line, n_bytes, ids, starts, 1 << 16, &n), QDISP_OK);
        for (size_t k = 0; k < n; k++) starts_bad += starts[k] >= n_bytes || (k && starts[k] < starts[k - 1]);
        memcpy(all + n_all, ids, n * sizeof *ids);
        n_all += n;
    }
    uint64_t h = fnv(0xCBF29CE484222325u, n_all);
    for (size_t k = 0; k < n_all; k++) h = fnv(h, (uint64_t)all[k]);
    CHECK(starts_bad == 0);
    if (n_all != (size_t)g->v[0] || (double)(h >> 16) != g->v[1]) {
        harness_bad = 1;
        printf("%s: %zu tokens, expected %.0f, or other ids\n", g->word, n_all, g->v[0]);
    }
    qdisp_corpus_free(corpus);
}

/* KIND/NAME/WHAT: the tokenizer that the line is about, opened when the name changes. */
static void check_golden(const char *file, const char *pattern, int expected) {
    static golden g;
    qdisp_tokenizer *t = NULL;
    char name[64] = "";
    int n_rows = 0;
    n_odd = 0;
    if (!golden_open(&g, file)) exit(1);
    while (golden_next(&g)) {
        char word[64], *kind = word, *of, *what;
        strcpy(word, g.word);
        if (!strncmp(word, "text/", 5)) {
            keep_text(&g);
            continue;
        }
        of = strchr(word, '/');
        what = of ? strchr(of + 1, '/') : NULL;
        if (!what) exit(1);
        *of++ = *what++ = 0;
        if (strcmp(name, of)) {
            char path[256];
            qdisp_tokenizer_free(t);
            t = NULL;
            strcpy(name, of);
            snprintf(path, sizeof path, pattern, name);
            CHECK_STATUS(qdisp_tokenizer_open(ctx, path, &t), QDISP_OK);
            if (!t) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
        }
        if (!strcmp(kind, "ids")) check_odd(t, &g, (size_t)atoi(what));
        else check_language(t, &g, what);
        n_rows++;
    }
    qdisp_tokenizer_free(t);
    if (n_rows != expected) {
        harness_bad = 1;
        printf("%s: %d lines, expected %d\n", file, n_rows, expected);
    }
}

TEST(sentencepiece_ids_are_the_librarys) {
    check_golden("sentencepiece.txt", QDISP_ROOT "/test/golden/sentencepiece/%s.model", 847);
}

static void check_decoded(const char *model, const char *text, const char *expected) {
    char path[256], out[256];
    qdisp_tokenizer *t = NULL;
    size_t n = 0, n_bytes = 0;
    snprintf(path, sizeof path, QDISP_ROOT "/test/golden/sentencepiece/%s.model", model);
    CHECK_STATUS(qdisp_tokenizer_open(ctx, path, &t), QDISP_OK);
    CHECK_STATUS(qdisp_tokenizer_encode(t, text, strlen(text), ids, NULL, 1 << 16, &n), QDISP_OK);
    CHECK_STATUS(qdisp_tokenizer_decode(t, ids, n, 0, out, sizeof out - 1, &n_bytes), QDISP_OK);
    out[n_bytes] = 0;
    CHECK_STR(out, expected);
    qdisp_tokenizer_free(t);
}

TEST(sentencepiece_decoding_is_the_librarys) {
    check_decoded("bpe", "  the   cat ", "the cat");
    check_decoded("bpe_bytes", "  the   \xE2\x9B\xB5 cat ", "  the   \xE2\x9B\xB5 cat ");
    check_decoded("bpe", "\xE2\x9B\xB5 cat", " \xE2\x81\x87 " " c" "at");
    check_decoded("unigram_suffix", "the cat", "the cat ");
    check_decoded("unigram_user", "the<sep>cat", "the<sep>cat");
}

/* The English text sixty times: the sum of the scores passes what a float can tell apart. The number of ids and their
 * polynomial in 31 modulo 2^32 are those of sentencepiece 0.2.3. */
TEST(a_long_text_of_sentencepiece) {
    enum { N_TIMES = 60, N_BYTES = 5194 };
    char *text = malloc(N_TIMES * N_BYTES);
    int32_t *many = malloc(N_TIMES * N_BYTES * sizeof *many);
    qdisp_tokenizer *t = NULL;
    size_t n = 0;
    uint32_t sum = 0;
    FILE *f = fopen(QDISP_ROOT "/examples/data/text/en.txt", "rb");
    CHECK(f && text && many && fread(text, 1, N_BYTES, f) == N_BYTES && fgetc(f) == EOF);
    if (f) fclose(f);
    for (size_t i = 1; i < N_TIMES; i++) memcpy(text + i * N_BYTES, text, N_BYTES);
    CHECK_STATUS(qdisp_tokenizer_open(ctx, QDISP_ROOT "/test/golden/sentencepiece/unigram.model", &t), QDISP_OK);
    CHECK_STATUS(qdisp_tokenizer_encode(t, text, N_TIMES * N_BYTES, many, NULL, N_TIMES * N_BYTES, &n), QDISP_OK);
    for (size_t i = 0; i < n; i++) sum = sum * 31 + (uint32_t)many[i];
    CHECK(n == 175380 && sum == 1008952192u);
    qdisp_tokenizer_free(t);
    free(text);
    free(many);
}

int main(void) {
    snprintf(folder, sizeof folder, "/tmp/qdisp-sources-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    CHECK_STATUS(qdisp_ctx_new(NULL, &ctx), QDISP_OK);
    RUN(tiktoken_needs_an_encoding);
    RUN(tiktoken_with_a_named_encoding);
    RUN(tiktoken_special_tokens);
    RUN(options_are_for_their_kind);
    RUN(a_folder_with_one_of_them);
    RUN(sentencepiece_ids_are_the_librarys);
    RUN(sentencepiece_decoding_is_the_librarys);
    RUN(a_long_text_of_sentencepiece);
    qdisp_ctx_free(ctx);
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    if (system(command) != 0) puts("temporary folder left behind");
    return TEST_END();
}
