/* Tokenizers from other files than tokenizer.json: told by content, their options, small vocabularies by hand. */
#include "base/base.h"
#include "harness.h"
#include "tokenizer/tokenizer.h"

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

int main(void) {
    snprintf(folder, sizeof folder, "/tmp/qdisp-sources-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    CHECK_STATUS(qdisp_ctx_new(NULL, &ctx), QDISP_OK);
    RUN(tiktoken_needs_an_encoding);
    RUN(tiktoken_with_a_named_encoding);
    RUN(tiktoken_special_tokens);
    RUN(options_are_for_their_kind);
    RUN(a_folder_with_one_of_them);
    qdisp_ctx_free(ctx);
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    if (system(command) != 0) puts("temporary folder left behind");
    return TEST_END();
}
