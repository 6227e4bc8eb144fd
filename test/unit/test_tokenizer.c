/* Tokenizers against what Hugging Face's gave (golden/make_tokenizer.py), and the interface's own promises. */
#include "tokenizer_golden.h"

#include <time.h>

TEST(golden) {
    static const char *const NAMES[] = {
        "gpt2", "gpt2_plain", "bloom", "llama3", "qwen2", "o200k", "nfkc_lower", "nfd", "nfkd_strip", "steps",
        "whitespace", "removed",    "previous", "next", "invert", "next_invert", "contiguous", "empty", "lines"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s%s", GOLDEN, NAMES[i]);
        check_golden(NAMES[i], path);
    }
}

TEST(embedded_model) {
    check_golden("model", QDISP_ROOT "/examples/data/model");
}

/* ---- promises of the header ---- */

TEST(sizes_and_arguments) {
    qdisp_tokenizer *t = NULL;
    int32_t ids[64] = {-7, -7};
    size_t starts[64] = {99, 99}, n = 5;
    char text[64] = "?";
    CHECK_STATUS(qdisp_tokenizer_open(ctx, GOLDEN "gpt2_plain/tokenizer.json", &t), QDISP_OK);
    CHECK_STATUS(qdisp_tokenizer_encode(t, "Hello there", 11, ids, starts, 1, &n), QDISP_OK);
    CHECK(n > 1 && ids[0] == -7 && starts[0] == 99);
    CHECK_STATUS(qdisp_tokenizer_encode(t, NULL, 0, NULL, NULL, 0, &n), QDISP_OK);
    CHECK(n == 0);
    n = 5;
    CHECK_STATUS(qdisp_tokenizer_encode(t, "ab\xC3(", 4, ids, starts, 64, &n), QDISP_EENCODING);
    CHECK_HAS(qdisp_ctx_error(ctx), "offset 2");
    CHECK_STATUS(qdisp_tokenizer_encode(t, "\xED\xA0\x80", 3, ids, starts, 64, &n), QDISP_EENCODING);
    CHECK_STATUS(qdisp_tokenizer_encode(t, "a\xF0\x9F\x98", 4, ids, starts, 64, &n), QDISP_EENCODING);
    CHECK_STATUS(qdisp_tokenizer_encode(t, NULL, 3, ids, starts, 64, &n), QDISP_EINVAL);
    CHECK_STATUS(qdisp_tokenizer_encode(t, "abc", 3, NULL, NULL, 64, &n), QDISP_EINVAL);
    CHECK_STATUS(qdisp_tokenizer_encode(NULL, "abc", 3, ids, NULL, 64, &n), QDISP_EINVAL);
    CHECK(n == 5 && ids[0] == -7);
    ids[0] = 1 << 20;
    CHECK_STATUS(qdisp_tokenizer_decode(t, ids, 1, 0, text, 64, &n), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "ids[0]: 1048576");
    CHECK_STATUS(qdisp_tokenizer_encode(t, "abc", 3, ids, NULL, 64, &n), QDISP_OK);
    size_t n_text = 0;
    CHECK_STATUS(qdisp_tokenizer_decode(t, ids, n, 0, text, 2, &n_text), QDISP_OK);
    CHECK(n_text == 3 && text[0] == '?');
    qdisp_tokenizer_free(t);
    qdisp_tokenizer_free(NULL);
}

TEST(tokens_and_specials) {
    qdisp_tokenizer *t = NULL;
    int32_t ids[8];
    size_t n = 0, n_text = 0;
    char text[32];
    CHECK_STATUS(qdisp_tokenizer_open(ctx, GOLDEN "gpt2_plain", &t), QDISP_OK);
    int32_t s = qdisp_tokenizer_id(t, "<s>");
    CHECK(s >= 600 && s < (int32_t)qdisp_tokenizer_n_vocab(t));
    CHECK_STR(qdisp_tokenizer_token(t, s), "<s>");
    CHECK(qdisp_tokenizer_id(t, "no such token") == -1 && qdisp_tokenizer_id(t, "") == -1);
    CHECK(!qdisp_tokenizer_token(t, -1) && !qdisp_tokenizer_token(t, 1 << 20));
    CHECK_STATUS(qdisp_tokenizer_encode(t, "<s>a", 4, ids, NULL, 8, &n), QDISP_OK);
    CHECK(n == 2 && ids[0] == s);
    CHECK_STATUS(qdisp_tokenizer_decode(t, ids, n, 1, text, 32, &n_text), QDISP_OK);
    CHECK(n_text == 1 && text[0] == 'a');
    /* parts of characters: one U+FFFD for each longest valid beginning */
    int32_t parts[4] = {qdisp_tokenizer_id(t, "\xC3\xB0"), qdisp_tokenizer_id(t, "\xC5\x81"), ids[1],
                        qdisp_tokenizer_id(t, "\xC3\xBF")};
    CHECK_STATUS(qdisp_tokenizer_decode(t, parts, 4, 0, text, 32, &n_text), QDISP_OK); /* F0 9F 'a'-id FF */
    CHECK(n_text == 7 && !memcmp(text, "\xEF\xBF\xBD" "a\xEF\xBF\xBD", 7));
    qdisp_tokenizer_free(t);
}

/* A word of a megabyte: seconds would mean quadratic merging; the heap takes a fraction of one. */
TEST(long_word) {
    size_t n = 1 << 20;
    char *text = malloc(n);
    buffers b = {0};
    qdisp_tokenizer *t = NULL;
    for (size_t i = 0; i < n; i++) text[i] = "theingando"[i * 7 % 10];
    CHECK_STATUS(qdisp_tokenizer_open(ctx, GOLDEN "gpt2_plain", &t), QDISP_OK);
    clock_t begin = clock();
    CHECK_STATUS(encode(t, text, n, &b), QDISP_OK);
    CHECK((double)(clock() - begin) / CLOCKS_PER_SEC < 20.0); /* a bound for sanitizers and emulators */
    CHECK(b.n > 0 && b.n <= n && b.starts[b.n - 1] < n);
    memset(text, ' ', n);
    CHECK_STATUS(encode(t, text, n, &b), QDISP_OK);
    for (size_t i = 0; i < n; i++) text[i] = (i & 1) ? '\x81' : '\xCC'; /* U+0301: marks without a letter */
    CHECK_STATUS(encode(t, text, n, &b), QDISP_OK);
    qdisp_tokenizer_free(t);
    t = NULL;
    CHECK_STATUS(qdisp_tokenizer_open(ctx, GOLDEN "qwen2", &t), QDISP_OK);
    CHECK_STATUS(encode(t, text, n, &b), QDISP_OK);
    qdisp_tokenizer_free(t);
    buffers_free(&b);
    free(text);
}

TEST(byte_alphabet) {
    for (int b = 0; b < 256; b++) CHECK(qd_byte_level_byte(qd_byte_level_char((uint8_t)b)) == b);
    CHECK(qd_byte_level_char(' ') == 0x120 && qd_byte_level_char('\n') == 0x10A && qd_byte_level_char(0xAD) == 0x143);
    CHECK(qd_byte_level_byte(0x20) == -1 && qd_byte_level_byte(0x144) == -1 && qd_byte_level_byte(0xAD) == -1);
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(golden);
    RUN(embedded_model);
    RUN(sizes_and_arguments);
    RUN(tokens_and_specials);
    RUN(long_word);
    RUN(byte_alphabet);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
