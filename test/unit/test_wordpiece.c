/* WordPiece and WordLevel: golden tokenizers, and the edges of a word. */
#include "tokenizer_golden.h"

TEST(golden) {
    CHECK_KINDS("wp_bert", "wp_cased", "wp_prefix", "wl_punctuation", "wl_removed", "wl_merged", "wl_length");
}

typedef struct vocabulary {
    qdisp_tokenizer t;
    bool in_model[16];
} vocabulary;

static void fill(vocabulary *v, size_t n, const char *const *names) {
    memset(v, 0, sizeof *v);
    v->t.ctx = ctx;
    v->t.in_model = v->in_model;
    CHECK_STATUS(qd_strings_new(ctx, n, &v->t.strings), QDISP_OK);
    for (size_t i = 0; i < n; i++) {
        qd_strings_add(&v->t.strings, (int32_t)i, names[i], strlen(names[i]));
        v->in_model[i] = true;
    }
}

static void drop(vocabulary *v) {
    if (v->t.model) v->t.kind->free(ctx, v->t.model);
    qd_strings_free(ctx, &v->t.strings);
    v->t.model = NULL;
}

static const char *encoded(vocabulary *v, const char *text) {
    static char out[256];
    qd_encoder e = {.ctx = ctx, .tokenizer = &v->t, .want_starts = true};
    qd_text whole = {.bytes = (const uint8_t *)text, .n = strlen(text)};
    *out = 0;
    qdisp_status status = v->t.kind->encode(&e, v->t.model, &whole, 0, whole.n);
    if (status != QDISP_OK) snprintf(out, sizeof out, "%s", qdisp_status_name(status));
    for (size_t i = 0; i < e.n && status == QDISP_OK; i++) {
        size_t n = strlen(out);
        snprintf(out + n, sizeof out - n, "%s%d@%zu", i ? " " : "", (int)e.ids[i], e.starts[i]);
    }
    qd_encoder_clear(&e);
    return out;
}

TEST(longest_token_first) {
    vocabulary v;
    const qd_place place = {.ctx = ctx, .file = "memory", .member = "tokens"};
    const char *names[] = {"[UNK]", "un", "una", "##aff", "##able", "##a", "##ff", "\xC3\xA9", "##\xC3\xA9", "##"};
    fill(&v, 10, names);
    v.t.kind = &qd_tokenizer_wordpiece;
    CHECK_STATUS(qd_wordpiece_new(&place, &v.t, 0, "##", 2, 9, &v.t.model), QDISP_OK);
    CHECK_STR(encoded(&v, "unaffable"), "2@0 6@3 4@5"); /* "una" is longer than "un", though "##aff" is then lost */
    CHECK_STR(encoded(&v, "unff"), "1@0 6@2");
    CHECK_STR(encoded(&v, "unaffx"), "0@0");            /* the whole word is unknown */
    CHECK_STR(encoded(&v, "unffunff"), "0@0");          /* "##un" is no token */
    CHECK_STR(encoded(&v, "\xC3\xA9\xC3\xA9"), "7@0 8@2");
    CHECK_STR(encoded(&v, "unaaaaaaa"), "2@0 5@3 5@4 5@5 5@6 5@7 5@8");
    CHECK_STR(encoded(&v, "unaaaaaaaa"), "0@0");        /* 10 characters */
    CHECK_STR(encoded(&v, "\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9"), "7@0 8@2 8@4 8@6 8@8"); /* 5, in 10 bytes */
    CHECK_STR(encoded(&v, "##"), "9@0");
    drop(&v);
    fill(&v, 10, names);
    v.t.kind = &qd_tokenizer_wordpiece;
    CHECK_STATUS(qd_wordpiece_new(&place, &v.t, -1, "@@", 2, 9, &v.t.model), QDISP_OK);
    CHECK_STR(encoded(&v, "una"), "2@0");
    CHECK_STR(encoded(&v, "unff"), "QDISP_EUNSUPPORTED"); /* no token continues a word */
    CHECK_HAS(qdisp_ctx_error(ctx), "no unknown token");
    drop(&v);
}

TEST(whole_words) {
    vocabulary v;
    const qd_place place = {.ctx = ctx, .file = "memory", .member = "tokens"};
    const char *names[] = {"[UNK]", "cat", "dog"};
    fill(&v, 3, names);
    v.in_model[2] = false; /* an added token is not the model's */
    v.t.kind = &qd_tokenizer_wordlevel;
    CHECK_STATUS(qd_wordlevel_new(&place, &v.t, 0, &v.t.model), QDISP_OK);
    CHECK_STR(encoded(&v, "cat"), "1@0");
    CHECK_STR(encoded(&v, "dog"), "0@0");
    CHECK_STR(encoded(&v, "ca"), "0@0");
    drop(&v);
    fill(&v, 3, names);
    v.t.kind = &qd_tokenizer_wordlevel;
    CHECK_STATUS(qd_wordlevel_new(&place, &v.t, -1, &v.t.model), QDISP_OK);
    CHECK_STR(encoded(&v, "cow"), "QDISP_EUNSUPPORTED");
    drop(&v);
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(golden);
    RUN(longest_token_first);
    RUN(whole_words);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
