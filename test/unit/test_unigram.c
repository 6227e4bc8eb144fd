/* The unigram model: golden tokenizers, ties, unknown characters, models made from memory. */
#include "tokenizer_golden.h"

TEST(golden) {
    CHECK_KINDS("uni_xlmr", "uni_t5", "uni_holes", "uni_none", "uni_ties", "uni_bytes");
}

/* ---- made from memory ---- */

typedef struct vocabulary {
    qdisp_tokenizer t;
    double scores[32];
    bool in_model[32];
} vocabulary;

static const qd_place *here(void) {
    static qd_place place;
    place = (qd_place){.ctx = ctx, .file = "memory", .member = "scores"};
    return &place;
}

/* Token i is names[i] with scores[i]. */
static void fill(vocabulary *v, size_t n, const char *const *names, const double *scores) {
    memset(v, 0, sizeof *v);
    v->t.ctx = ctx;
    v->t.kind = &qd_tokenizer_unigram;
    v->t.in_model = v->in_model;
    CHECK_STATUS(qd_strings_new(ctx, n, &v->t.strings), QDISP_OK);
    for (size_t i = 0; i < n; i++) {
        qd_strings_add(&v->t.strings, (int32_t)i, names[i], strlen(names[i]));
        v->scores[i] = scores[i];
        v->in_model[i] = true;
    }
}

static void drop(vocabulary *v) {
    if (v->t.model) qd_tokenizer_unigram.free(ctx, v->t.model);
    qd_strings_free(ctx, &v->t.strings);
}

/* Ids as text: "3 4 4". */
static const char *encoded(vocabulary *v, const char *text) {
    static char out[256];
    qd_encoder e = {.ctx = ctx, .tokenizer = &v->t, .want_starts = true};
    qd_text whole = {.bytes = (const uint8_t *)text, .n = strlen(text)};
    *out = 0;
    qdisp_status status = qd_tokenizer_unigram.encode(&e, v->t.model, &whole, 0, whole.n);
    if (status != QDISP_OK) snprintf(out, sizeof out, "%s", qdisp_status_name(status));
    for (size_t i = 0; i < e.n && status == QDISP_OK; i++) {
        size_t n = strlen(out);
        snprintf(out + n, sizeof out - n, "%s%d", i ? " " : "", (int)e.ids[i]);
    }
    qd_encoder_clear(&e);
    return out;
}

TEST(best_segmentation) {
    vocabulary v;
    const char *names[] = {"<unk>", "a", "b", "c", "d", "cd", "ab", "abc", "abcd"};
    const double scores[] = {0, 0, 0, 0, 0, 1, 2, 5, 10};
    fill(&v, 9, names, scores);
    CHECK_STATUS(qd_unigram_new(here(), &v.t, v.scores, 0, false, &v.t.model), QDISP_OK);
    CHECK_STR(encoded(&v, "abcd"), "8");
    CHECK_STR(encoded(&v, "abcdacd"), "8 1 5");
    CHECK_STR(encoded(&v, "abcc"), "7 3");
    CHECK_STR(encoded(&v, "dcba"), "4 3 2 1");
    CHECK_STR(encoded(&v, "abcdacdxx"), "8 1 5 0"); /* unknown neighbors are one token */
    CHECK_STR(encoded(&v, "\xC3\xA9" "a\xE5\xAD\x97x"), "0 1 0");
    drop(&v);
}

/* Of equal segmentations the one that was found first holds: the longest last token that starts earliest. */
TEST(ties) {
    vocabulary v;
    const char *names[] = {"<unk>", "a", "aa"};
    const double scores[] = {-9, -1, -2};
    fill(&v, 3, names, scores);
    CHECK_STATUS(qd_unigram_new(here(), &v.t, v.scores, 0, false, &v.t.model), QDISP_OK);
    CHECK_STR(encoded(&v, "aa"), "2");
    CHECK_STR(encoded(&v, "aaa"), "1 2");
    drop(&v);
}

TEST(unknown) {
    vocabulary v;
    const char *names[] = {"<unk>", "<0x78>", "<0x79>", "a", "zz"};
    const double scores[] = {0, -1, -1, -1, -100};
    fill(&v, 5, names, scores);
    CHECK_STATUS(qd_unigram_new(here(), &v.t, v.scores, 0, true, &v.t.model), QDISP_OK);
    CHECK_STR(encoded(&v, "axya"), "3 1 2 3");
    CHECK_STR(encoded(&v, "axwa"), "3 0 3"); /* one byte without a token: the whole stretch is unknown */
    CHECK_STR(encoded(&v, "zz"), "4");
    CHECK_STR(encoded(&v, "z"), "0");
    qd_tokenizer_unigram.free(ctx, v.t.model);
    v.t.model = NULL;
    CHECK_STATUS(qd_unigram_new(here(), &v.t, v.scores, -1, false, &v.t.model), QDISP_OK);
    CHECK_STR(encoded(&v, "aaa"), "3 3 3");
    CHECK_STR(encoded(&v, "aab"), "QDISP_EUNSUPPORTED");
    CHECK_HAS(qdisp_ctx_error(ctx), "byte 2");
    drop(&v);
}

TEST(scores_must_be_finite) {
    vocabulary v;
    const char *names[] = {"<unk>", "a"};
    const double scores[] = {0, NAN};
    fill(&v, 2, names, scores);
    CHECK_STATUS(qd_unigram_new(here(), &v.t, v.scores, 0, false, &v.t.model), QDISP_EFORMAT);
    CHECK(!v.t.model);
    CHECK_HAS(qdisp_ctx_error(ctx), "memory: scores: the score of token 1");
    drop(&v);
}

/* ---- the trie ---- */

/* Short strings of any bytes, longer ones of few. */
static void bytes_from(const uint32_t words[4], size_t len, char *out) {
    for (size_t k = 0; k < len; k++) {
        out[k] = (char)(words[1 + k / 4 % 3] >> (8 * (k % 4)) & (len < 4 ? 0xFF : 0x87));
    }
}

/* Every string is found with its id, and no other: against the hash table. */
TEST(trie_finds_what_the_table_finds) {
    enum { N = 3000 };
    static char pool[N][12];
    qd_strings strings;
    qd_trie trie;
    size_t n = 0;
    uint32_t counter[4] = {0}, words[4];
    const uint32_t key[2] = {7, 0};
    CHECK_STATUS(qd_strings_new(ctx, N, &strings), QDISP_OK);
    for (counter[0] = 0; n < N && counter[0] < 20000; counter[0]++) {
        qd_philox(counter, key, words);
        size_t len = 1 + words[0] % 8;
        bytes_from(words, len, pool[n]);
        n += qd_strings_add(&strings, (int32_t)n, pool[n], len);
    }
    strings.n = n;
    CHECK_STATUS(qd_trie_new(ctx, &strings, NULL, &trie), QDISP_OK);
    CHECK(trie.n_nodes < 60 * n);
    size_t n_found = 0;
    for (counter[0] = 0; counter[0] < 20000; counter[0]++) {
        char text[12];
        qd_philox(counter, key, words);
        size_t len = 1 + words[3] % 9;
        bytes_from(words, len, text);
        int32_t id = qd_strings_find(&strings, text, len);
        CHECK(qd_trie_find(&trie, text, len) == id);
        n_found += id >= 0;
    }
    CHECK(n_found > 100 && n_found < 19000);
    for (size_t i = 0; i < n; i++) CHECK(qd_trie_find(&trie, strings.str[i], strings.len[i]) == (int32_t)i);
    CHECK(qd_trie_find(&trie, "", 0) == -1);
    qd_trie_free(ctx, &trie);
    qd_strings_free(ctx, &strings);
}

/* A word of a megabyte is searched in one pass. */
TEST(long_word) {
    size_t n = 1 << 20, n_ids = 0;
    char *text = malloc(n);
    qdisp_tokenizer *t = NULL;
    CHECK_STATUS(qdisp_tokenizer_open(ctx, GOLDEN "kinds/uni_none.json", &t), QDISP_OK);
    for (size_t i = 0; i < n; i++) text[i] = "theingando"[i * 7 % 10];
    CHECK_STATUS(qdisp_tokenizer_encode(t, text, n, NULL, NULL, 0, &n_ids), QDISP_OK);
    CHECK(n_ids > n / 8 && n_ids <= n);
    qdisp_tokenizer_free(t);
    free(text);
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(golden);
    RUN(best_segmentation);
    RUN(ties);
    RUN(unknown);
    RUN(scores_must_be_finite);
    RUN(trie_finds_what_the_table_finds);
    RUN(long_word);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
