/* The corpus handle: lines, tags, scripts, splits; and the table of languages. */
#include "corpus/corpus.h"
#include "harness.h"

#ifndef QDISP_ROOT
#define QDISP_ROOT "."
#endif

static qdisp_ctx *ctx;

static qdisp_status make(const char *tag, const char *text, size_t n, qdisp_corpus **out) {
    return qdisp_corpus_from_texts(ctx, &tag, &text, &n, 1, out);
}

static int line_is(const qdisp_corpus *corpus, size_t i_language, size_t i_line, const char *expected,
                   size_t n_expected) {
    size_t n = 0;
    const char *line = qdisp_corpus_line(corpus, i_language, i_line, &n);
    return line && n == n_expected && !memcmp(line, expected, n);
}

TEST(lines) {
    qdisp_corpus *c = NULL;
    CHECK_STATUS(make("en", "\xEF\xBB\xBFone\r\ntwo\0x\n three ", 21, &c), QDISP_OK);
    CHECK(qdisp_corpus_n_lines(c) == 3 && qdisp_corpus_n_languages(c) == 1);
    CHECK(line_is(c, 0, 0, "one", 3) && line_is(c, 0, 1, "two\0x", 5) && line_is(c, 0, 2, " three ", 7));
    CHECK(!qdisp_corpus_line(c, 0, 3, NULL) && !qdisp_corpus_line(c, 1, 0, NULL) && !qdisp_corpus_language(c, 1));
    qdisp_corpus_free(c);
    qdisp_corpus_free(NULL);
}

TEST(embedded_text) {
    qdisp_corpus *c = NULL;
    qdisp_table *table = NULL;
    CHECK_STATUS(qdisp_corpus_open(ctx, QDISP_ROOT "/examples/data/text", NULL, &c), QDISP_OK);
    CHECK(qdisp_corpus_n_languages(c) >= 24 && qdisp_corpus_n_lines(c) >= 64);
    for (size_t i = 1; i < qdisp_corpus_n_languages(c); i++) {
        CHECK(strcmp(qdisp_corpus_language(c, i - 1), qdisp_corpus_language(c, i)) < 0);
    }
    CHECK_STATUS(qdisp_corpus_describe(c, &table), QDISP_OK);
    CHECK(qdisp_table_n_rows(table) == qdisp_corpus_n_languages(c));
    const int64_t *bytes = qdisp_table_i64(table, qdisp_table_find(table, "n_bytes"));
    const int64_t *codepoints = qdisp_table_i64(table, qdisp_table_find(table, "n_codepoints"));
    const char *const *name = qdisp_table_str(table, qdisp_table_find(table, "name"));
    for (size_t i = 0; i < qdisp_table_n_rows(table); i++) {
        CHECK(codepoints[i] > 0 && codepoints[i] <= bytes[i] && name[i] != NULL);
        CHECK(strcmp(qdisp_corpus_script(c, i), "Zyyy") != 0);
    }
    qdisp_table_free(table);
    qdisp_corpus_free(c);
    CHECK_STATUS(qdisp_corpus_open(ctx, QDISP_ROOT "/examples/data/text", "sw, en", &c), QDISP_OK);
    CHECK_STR(qdisp_corpus_language(c, 0), "sw");
    CHECK_STR(qdisp_corpus_language(c, 1), "en");
    qdisp_corpus_free(c);
}

TEST(scripts) {
    static const char *const CASES[][2] = {{"en", "Latn"}, {"pt-BR", "Latn"}, {"zh", "Hans"}, {"zh-Hant-TW", "Hant"},
                                           {"sr-Latn", "Latn"}, {"sr", "Cyrl"}, {"xx", "Zyyy"}, {"xx-Grek", "Grek"},
                                           {"es-419", "Latn"}, {"AM", "Ethi"}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        qdisp_corpus *c = NULL;
        CHECK_STATUS(make(CASES[i][0], "a", 1, &c), QDISP_OK);
        CHECK_STR(qdisp_corpus_script(c, 0), CASES[i][1]);
        CHECK_STR(qdisp_corpus_language(c, 0), CASES[i][0]);
        qdisp_corpus_free(c);
    }
    static const char *const BAD[] = {"", "e", "engl", "en-", "en-Lat", "en_US", "en-USA", "en-12", "en-1234", "e n",
                                      "en-US-x"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        qdisp_corpus *c = NULL;
        CHECK_STATUS(make(BAD[i], "a", 1, &c), QDISP_EINVAL);
        CHECK(!c);
    }
}

TEST(languages) {
    CHECK(qd_language_count() >= 100);
    for (size_t i = 0; i < qd_language_count(); i++) {
        const qd_language *row = qd_language_at(i);
        CHECK(qd_language_find(row->tag) == row); /* sorted, or the search fails */
        CHECK(strlen(row->script) == 4 && *row->name && qd_resource_name(row->resource));
    }
    CHECK(qd_language_find("ar")->right_to_left && !qd_language_find("en")->right_to_left);
    CHECK(qd_language_find("yo")->resource == QD_RESOURCE_LOW);
    CHECK(qd_language_find("en-GB")->resource == QD_RESOURCE_HIGH);
    CHECK(!qd_language_find("xx") && !qd_language_at(qd_language_count()));
}

TEST(split) {
    char text[200];
    size_t n = 0;
    qdisp_corpus *c = NULL, *a = NULL, *b = NULL, *a2 = NULL, *b2 = NULL;
    int seen[50] = {0}, n_different = 0;
    for (int i = 0; i < 50; i++) n += (size_t)sprintf(text + n, "%02d\n", i);
    CHECK_STATUS(make("en", text, n, &c), QDISP_OK);
    CHECK_STATUS(qdisp_corpus_split(c, 0.25, 42, &a, &b), QDISP_OK);
    CHECK_STATUS(qdisp_corpus_split(c, 0.25, 43, &a2, &b2), QDISP_OK);
    qdisp_corpus_free(c); /* the parts keep the text */
    CHECK(qdisp_corpus_n_lines(a) == 13 && qdisp_corpus_n_lines(b) == 37);
    const qdisp_corpus *parts[2] = {a, b};
    for (int p = 0; p < 2; p++) {
        int last = -1;
        for (size_t i = 0; i < qdisp_corpus_n_lines(parts[p]); i++) {
            int line = atoi(qdisp_corpus_line(parts[p], 0, i, NULL));
            CHECK(line > last);
            seen[last = line]++;
        }
    }
    for (int i = 0; i < 50; i++) CHECK(seen[i] == 1);
    for (size_t i = 0; i < 13; i++) {
        n_different += atoi(qdisp_corpus_line(a, 0, i, NULL)) != atoi(qdisp_corpus_line(a2, 0, i, NULL));
    }
    CHECK(n_different > 0);
    qdisp_corpus *x = NULL, *y = NULL;
    CHECK_STATUS(qdisp_corpus_split(b, 0.5, 1, &x, &y), QDISP_OK); /* a part of a part */
    for (size_t i = 0; i < qdisp_corpus_n_lines(x); i++) {
        int found = 0, line = atoi(qdisp_corpus_line(x, 0, i, NULL));
        for (size_t k = 0; k < 37; k++) found += atoi(qdisp_corpus_line(b, 0, k, NULL)) == line;
        CHECK(found == 1);
    }
    qdisp_corpus *one = NULL, *rest = NULL;
    CHECK_STATUS(qdisp_corpus_split(b, 1e-9, 1, &one, &rest), QDISP_OK);
    CHECK(qdisp_corpus_n_lines(one) == 1 && qdisp_corpus_n_lines(rest) == 36);
    CHECK_STATUS(qdisp_corpus_split(b, 0.0, 1, &a, &b), QDISP_EINVAL);
    CHECK_STATUS(qdisp_corpus_split(b, 1.0, 1, &a, &b), QDISP_EINVAL);
    CHECK_STATUS(qdisp_corpus_split(b, NAN, 1, &a, &b), QDISP_EINVAL);
    qdisp_corpus *all[] = {a, b, a2, b2, x, y, one, rest};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) qdisp_corpus_free(all[i]);
    CHECK_STATUS(make("en", "one", 3, &c), QDISP_OK);
    CHECK_STATUS(qdisp_corpus_split(c, 0.5, 1, &a, &b), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "single line");
    qdisp_corpus_free(c);
}

TEST(from_texts_errors) {
    const char *tags[] = {"en", "de"}, *texts[] = {"a\nb", "c"};
    const size_t n[] = {3, 1};
    qdisp_corpus *c = NULL;
    CHECK_STATUS(qdisp_corpus_from_texts(ctx, tags, texts, n, 2, &c), QDISP_EFORMAT);
    CHECK_HAS(qdisp_ctx_error(ctx), "en has 2 lines, but de has 1");
    CHECK_STATUS(qdisp_corpus_from_texts(ctx, tags, texts, n, 0, &c), QDISP_EFORMAT);
    CHECK_STATUS(qdisp_corpus_from_texts(ctx, NULL, texts, n, 2, &c), QDISP_EINVAL);
    CHECK_STATUS(make("en", "a\n\xC3(", 4, &c), QDISP_EENCODING);
    CHECK_HAS(qdisp_ctx_error(ctx), "en: line 2, byte 1");
    CHECK_STATUS(qdisp_corpus_open(ctx, NULL, NULL, &c), QDISP_EINVAL);
    CHECK(!c);
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(lines);
    RUN(embedded_text);
    RUN(scripts);
    RUN(languages);
    RUN(split);
    RUN(from_texts_errors);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
