/* Every broken file of hostile/tokenizer: its status, and what the message names. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "harness.h"

#include <fcntl.h>
#include <qdisp/tokenizer.h>
#include <unistd.h>

#ifndef QDISP_ROOT
#define QDISP_ROOT "."
#endif

static const struct {
    const char *name;
    qdisp_status status;
    const char *message[2];
} FILES[] = {
    {"empty", QDISP_EFORMAT, {"line 1", NULL}},
    {"null", QDISP_EFORMAT, {"null", NULL}},
    {"array", QDISP_EFORMAT, {"not a JSON object", NULL}},
    {"truncated", QDISP_EFORMAT, {"line 1, column", NULL}},
    {"trailing", QDISP_EFORMAT, {"end of file expected", NULL}},
    {"deep", QDISP_EFORMAT, {"maximum parsing depth", NULL}},
    {"not_utf8", QDISP_EFORMAT, {"byte 0xff", NULL}},
    {"nul_key", QDISP_EUNSUPPORTED, {"model.vocab[0]: the token holds a NUL", NULL}},
    {"vocab_surrogate", QDISP_EFORMAT, {"line 1, column", "surrogate"}},
    {"vocab_control", QDISP_EFORMAT, {"line 1, column", "unexpected newline"}},
    {"vocab_escape", QDISP_EFORMAT, {"line 1, column", "invalid escape"}},
    {"vocab_escaped_twice", QDISP_EFORMAT, {"model.vocab: duplicate key 'a'", NULL}},
    {"vocab_comma", QDISP_EFORMAT, {"line 1, column", "near '}'"}},
    {"vocab_leading_zero", QDISP_EFORMAT, {"line 1, column", "near '0'"}},
    {"vocab_exponent", QDISP_EFORMAT, {"model.vocab 'a': the id is not an integer", NULL}},
    {"vocab_long_number", QDISP_EFORMAT, {"line 1, column", "too big integer"}},
    {"vocab_name_escaped", QDISP_EUNSUPPORTED, {"model.vocab: its name", NULL}},
    {"vocab_unended", QDISP_EFORMAT, {"line 1, column", "premature end"}},
    {"merges_comma", QDISP_EFORMAT, {"line 1, column", "near ']'"}},
    {"merges_deep", QDISP_EFORMAT, {"maximum parsing depth", NULL}},
    {"merges_nested", QDISP_EFORMAT, {"model.merges[0]: neither", NULL}},
    {"merges_twice", QDISP_EFORMAT, {"duplicate", NULL}},
    {"duplicate_member", QDISP_EFORMAT, {"duplicate", NULL}},
    {"version", QDISP_EUNSUPPORTED, {"version", "9.9"}},
    {"no_model", QDISP_EFORMAT, {"model: missing", NULL}},
    {"model_array", QDISP_EFORMAT, {"model: not an object", NULL}},
    {"no_vocab", QDISP_EFORMAT, {"model.vocab: missing", NULL}},
    {"vocab_array", QDISP_EFORMAT, {"model.vocab: not an object", NULL}},
    {"vocab_empty", QDISP_EFORMAT, {"model.vocab: empty", NULL}},
    {"no_merges", QDISP_EFORMAT, {"model.merges: missing", NULL}},
    {"merges_object", QDISP_EFORMAT, {"model.merges", "not an array"}},
    {"merge_number", QDISP_EFORMAT, {"model.merges[0]", NULL}},
    {"merge_one_part", QDISP_EFORMAT, {"model.merges[0]", NULL}},
    {"merge_three_parts", QDISP_EFORMAT, {"model.merges[0]", NULL}},
    {"merge_triple", QDISP_EFORMAT, {"model.merges[0]", NULL}},
    {"merge_unknown_token", QDISP_EFORMAT, {"model.merges[0]: token 'qq'", NULL}},
    {"merge_unknown_result", QDISP_EFORMAT, {"model.merges[0]: result 'ac'", NULL}},
    {"type_unigram", QDISP_EFORMAT, {"model.vocab: not an array", NULL}},
    {"type_number", QDISP_EFORMAT, {"model.type: not a string", NULL}},
    {"dropout", QDISP_EUNSUPPORTED, {"model.dropout", NULL}},
    {"byte_fallback", QDISP_EFORMAT, {"model.byte_fallback: not a boolean", NULL}},
    {"prefix", QDISP_EUNSUPPORTED, {"model.continuing_subword_prefix: longer than 64", NULL}},
    {"suffix_nul", QDISP_EUNSUPPORTED, {"model.end_of_word_suffix: holds a NUL", NULL}},
    {"fuse_unk_text", QDISP_EFORMAT, {"model.fuse_unk: not a boolean", NULL}},
    {"pre_tokenizer_text", QDISP_EFORMAT, {"pre_tokenizer.type", NULL}},
    {"pre_tokenizer_type", QDISP_EUNSUPPORTED, {"pre_tokenizer: type 'Telepathy'", NULL}},
    {"many_steps", QDISP_EUNSUPPORTED, {"pre_tokenizer: more than 32 steps", NULL}},
    {"nested_pre_tokenizer", QDISP_EUNSUPPORTED, {"pre_tokenizer: nested", NULL}},
    {"nested_normalizer", QDISP_EUNSUPPORTED, {"normalizer: nested", NULL}},
    {"normalizer_type", QDISP_EUNSUPPORTED, {"normalizer: type 'Telepathy'", NULL}},
    {"normalizer_no_list", QDISP_EFORMAT, {"normalizer.normalizers", NULL}},
    {"replace_no_pattern", QDISP_EFORMAT, {"normalizer.pattern", NULL}},
    {"strip_number", QDISP_EFORMAT, {"normalizer.strip_left: not a boolean", NULL}},
    {"decoder_type", QDISP_EUNSUPPORTED, {"decoder: type 'CTC'", NULL}},
    {"decoder_number", QDISP_EFORMAT, {"decoder.type", NULL}},
    {"id_negative", QDISP_EFORMAT, {"model.vocab 'q'", "-1"}},
    {"id_huge", QDISP_EFORMAT, {"model.vocab 'qq'", "1099511627776"}},
    {"id_beyond_file", QDISP_EFORMAT, {"model.vocab 'qq'", "1000000"}},
    {"id_fraction", QDISP_EFORMAT, {"model.vocab 'qq'", "not an integer"}},
    {"id_text", QDISP_EFORMAT, {"model.vocab 'qq'", "not an integer"}},
    {"id_duplicate", QDISP_EFORMAT, {"id 5 is given to", "'qq'"}},
    {"unk_missing", QDISP_EFORMAT, {"model.unk_token: '<unk>'", NULL}},
    {"regex_bad", QDISP_EFORMAT, {"pre_tokenizer: pattern", "parenthesis"}},
    {"regex_class", QDISP_EFORMAT, {"pre_tokenizer: pattern", "bracket"}},
    {"regex_range", QDISP_EFORMAT, {"pre_tokenizer: pattern", "range"}},
    {"regex_property", QDISP_EFORMAT, {"pre_tokenizer: pattern", "property"}},
    {"regex_intersection", QDISP_EUNSUPPORTED, {"intersection", NULL}},
    {"regex_negated_inner", QDISP_EUNSUPPORTED, {"negated class inside", NULL}},
    {"regex_posix", QDISP_EUNSUPPORTED, {"POSIX", NULL}},
    {"regex_recursion", QDISP_EUNSUPPORTED, {"group option", NULL}},
    {"regex_callout", QDISP_EUNSUPPORTED, {"group option", NULL}},
    {"regex_verb", QDISP_EUNSUPPORTED, {"verb", NULL}},
    {"regex_nested", QDISP_EFORMAT, {"pre_tokenizer: pattern", "nested"}},
    {"regex_huge_repeat", QDISP_EFORMAT, {"pre_tokenizer: pattern", "too large"}},
    {"regex_none", QDISP_EFORMAT, {"pre_tokenizer.pattern", NULL}},
    {"behavior", QDISP_EFORMAT, {"pre_tokenizer.behavior", "Torn"}},
    {"added_clash", QDISP_EFORMAT, {"added_tokens[0]: '<x>' has id 5", NULL}},
    {"added_known_content", QDISP_EFORMAT, {"added_tokens[0]: 'aa' has id 3", "gives it 256"}},
    {"added_twice", QDISP_EFORMAT, {"added_tokens[1]: '<x>'", "twice"}},
    {"added_gap", QDISP_EFORMAT, {"added_tokens[0]: '<x>' has id 300", "258"}},
    {"added_negative", QDISP_EFORMAT, {"added_tokens[0]: id -2", NULL}},
    {"added_number", QDISP_EFORMAT, {"added_tokens[0].content: not a string", NULL}},
    {"added_flag", QDISP_EFORMAT, {"added_tokens[0].special: not a boolean", NULL}},
    {"added_long", QDISP_EUNSUPPORTED, {"added_tokens[0].content: longer", NULL}},
    {"added_nul", QDISP_EUNSUPPORTED, {"added_tokens[0].content: holds a NUL", NULL}},
    {"added_object", QDISP_EFORMAT, {"added_tokens: not an array", NULL}},
    {"added_text", QDISP_EFORMAT, {"added_tokens[0].content: missing", NULL}},
    {"unigram_no_score", QDISP_EFORMAT, {"model.vocab[1]: not a token and its score", NULL}},
    {"unigram_score_text", QDISP_EFORMAT, {"model.vocab[0]", NULL}},
    {"unigram_token_number", QDISP_EFORMAT, {"model.vocab[0]", NULL}},
    {"unigram_unk_outside", QDISP_EFORMAT, {"model.unk_id", NULL}},
    {"unigram_unk_text", QDISP_EFORMAT, {"model.unk_id", NULL}},
    {"wordpiece_no_prefix", QDISP_EFORMAT, {"continuing_subword_prefix", NULL}},
    {"wordpiece_limit_text", QDISP_EFORMAT, {"max_input_chars_per_word", NULL}},
    {"wordlevel_no_unk", QDISP_EFORMAT, {"unk_token", NULL}},
    {"charsmap_empty", QDISP_EFORMAT, {"precompiled_charsmap", NULL}},
    {"charsmap_short", QDISP_EFORMAT, {"precompiled_charsmap", NULL}},
    {"charsmap_letters", QDISP_EFORMAT, {"not base 64", NULL}},
    {"charsmap_length", QDISP_EFORMAT, {"base 64", NULL}},
    {"charsmap_size", QDISP_EFORMAT, {"size field", NULL}},
    {"charsmap_no_units", QDISP_EFORMAT, {"size field", NULL}},
    {"charsmap_number", QDISP_EFORMAT, {"precompiled_charsmap: not a string", NULL}},
    {"bert_no_lowercase", QDISP_EFORMAT, {"normalizer.lowercase", NULL}},
    {"metaspace_two", QDISP_EFORMAT, {"replacement: not one character", NULL}},
    {"metaspace_scheme", QDISP_EFORMAT, {"prepend_scheme", "often"}},
    {"fixed_length_zero", QDISP_EFORMAT, {"length: not a count", NULL}},
    {"decoder_strip", QDISP_EFORMAT, {"decoder.start: not a count", NULL}},
    {"template_id", QDISP_EFORMAT, {"post_processor: an id that is not in the vocabulary", NULL}},
    {"template_no_token", QDISP_EFORMAT, {"special_tokens does not hold", NULL}},
    {"template_no_text", QDISP_EFORMAT, {"without the text", NULL}},
    {"template_type", QDISP_EUNSUPPORTED, {"post_processor: type 'Telepathy'", NULL}},
};

static qdisp_ctx *ctx;

static qdisp_status open_named(const char *name, qdisp_tokenizer **out) {
    char path[1024];
    snprintf(path, sizeof path, "%s/test/hostile/tokenizer/%s.json", QDISP_ROOT, name);
    return qdisp_tokenizer_open(ctx, path, out);
}

TEST(broken_files) {
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
        qdisp_tokenizer *t = NULL;
        int before = harness_bad;
        char file[80];
        snprintf(file, sizeof file, "/%s.json", FILES[i].name);
        harness_bad = 0;
        CHECK_STATUS(open_named(FILES[i].name, &t), FILES[i].status);
        CHECK(!t);
        CHECK_HAS(qdisp_ctx_error(ctx), file);
        for (size_t k = 0; k < 2 && FILES[i].message[k]; k++) CHECK_HAS(qdisp_ctx_error(ctx), FILES[i].message[k]);
        if (harness_bad) printf("  in %s: %s\n", FILES[i].name, qdisp_ctx_error(ctx));
        harness_bad |= before;
        qdisp_tokenizer_free(t);
    }
}

TEST(odd_but_fine) {
    qdisp_tokenizer *t = NULL;
    int32_t ids[8];
    size_t starts[8], n = 0;
    CHECK_STATUS(open_named("good", &t), QDISP_OK);
    CHECK(qdisp_tokenizer_n_vocab(t) == 258);
    CHECK_STATUS(qdisp_tokenizer_encode(t, "aaab", 4, ids, starts, 8, &n), QDISP_OK);
    CHECK(n == 2 && ids[0] == 256 && ids[1] == 257 && starts[1] == 2);
    qdisp_tokenizer_free(t);
    t = NULL;
    CHECK_STATUS(open_named("id_hole", &t), QDISP_OK);
    CHECK(qdisp_tokenizer_n_vocab(t) == 901);
    CHECK(!qdisp_tokenizer_token(t, 500));
    ids[0] = 500;
    CHECK_STATUS(qdisp_tokenizer_decode(t, ids, 1, 0, NULL, 0, &n), QDISP_EINVAL);
    qdisp_tokenizer_free(t);
    t = NULL;
    CHECK_STATUS(open_named("no_alphabet", &t), QDISP_OK);
    CHECK_STATUS(qdisp_tokenizer_encode(t, "bac", 3, ids, starts, 8, &n), QDISP_OK);
    CHECK(n == 1 && ids[0] == 0 && starts[0] == 1);
    qdisp_tokenizer_free(t);
}

/* Of equal tokens in a Unigram vocabulary the last holds, whatever the scores: tokenizers 0.23.3 gives these ids. */
TEST(unigram_tokens_that_come_twice) {
    qdisp_tokenizer *t = NULL;
    int32_t ids[8];
    size_t n = 0;
    CHECK_STATUS(open_named("unigram_twice", &t), QDISP_OK);
    CHECK(qdisp_tokenizer_n_vocab(t) == 6 && qdisp_tokenizer_id(t, "a") == 5 && qdisp_tokenizer_id(t, "ab") == 4);
    CHECK_STR(qdisp_tokenizer_token(t, 1), "a");
    CHECK_STATUS(qdisp_tokenizer_encode(t, "aabz", 4, ids, NULL, 8, &n), QDISP_OK);
    CHECK(n == 3 && ids[0] == 5 && ids[1] == 4 && ids[2] == 0);
    qdisp_tokenizer_free(t);
    t = NULL;
    CHECK_STATUS(open_named("unigram_twice_worse", &t), QDISP_OK);
    CHECK_STATUS(qdisp_tokenizer_encode(t, "aab", 3, ids, NULL, 8, &n), QDISP_OK);
    CHECK(n == 3 && ids[0] == 1 && ids[1] == 1 && ids[2] == 2);
    qdisp_tokenizer_free(t);
}

TEST(catastrophic_pattern) {
    qdisp_tokenizer *t = NULL;
    char text[65];
    size_t n = 77;
    memset(text, 'a', 64);
    text[64] = '!';
    CHECK_STATUS(open_named("regex_catastrophic", &t), QDISP_OK);
    CHECK_STATUS(qdisp_tokenizer_encode(t, text, 65, NULL, NULL, 0, &n), QDISP_EUNSUPPORTED);
    CHECK_HAS(qdisp_ctx_error(ctx), "match limit");
    CHECK(n == 77);
    qdisp_tokenizer_free(t);
}

TEST(too_large) {
    char path[] = "/tmp/qdisp-tokenizer-XXXXXX";
    qdisp_tokenizer *t = NULL;
    int fd = mkstemp(path);
    CHECK(fd >= 0 && ftruncate(fd, ((off_t)256 << 20) + 1) == 0 && pwrite(fd, "{", 1, 0) == 1);
    CHECK_STATUS(qdisp_tokenizer_open(ctx, path, &t), QDISP_EFORMAT);
    CHECK_HAS(qdisp_ctx_error(ctx), path);
    CHECK_HAS(qdisp_ctx_error(ctx), "268435456");
    close(fd);
    unlink(path);
}

TEST(missing) {
    qdisp_tokenizer *t = NULL;
    CHECK_STATUS(open_named("no-such-file", &t), QDISP_ENOTFOUND);
    CHECK_HAS(qdisp_ctx_error(ctx), "no-such-file.json");
    CHECK_STATUS(qdisp_tokenizer_open(ctx, QDISP_ROOT "/test", &t), QDISP_ENOTFOUND);
    CHECK_HAS(qdisp_ctx_error(ctx), "/test/tokenizer.json");
    CHECK_STATUS(qdisp_tokenizer_open(ctx, NULL, &t), QDISP_EINVAL);
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(broken_files);
    RUN(odd_but_fine);
    RUN(unigram_tokens_that_come_twice);
    RUN(catastrophic_pattern);
    RUN(too_large);
    RUN(missing);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
