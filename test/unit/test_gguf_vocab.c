/* Vocabularies of GGUF files, made here byte by byte: what each kind of tokenizer.ggml.model gives, what it puts around
 * a text by default and when it is told, names of special tokens in a text, and what is refused. Real ones are compared
 * with llama.cpp by test/interop/check_gguf_vocab.py. */
#include "base/base.h"
#include "gguf_writer.h"
#include "model/sequences.h"

#include <qdisp/qdisp.h>

#include <unistd.h>

static qdisp_ctx *ctx;
static char path[] = "/tmp/qdisp-vocab-XXXXXX";
static gguf_bytes file;

/* A vocabulary: tokens with their types and scores, merges, and keys of integers ("add_bos_token" and so on are
 * booleans). */
typedef struct vocab {
    const char *model, *pre;
    const char *const *tokens;
    const uint8_t *types;
    const float *scores;
    const char *const *merges;
    const char *const *keys;
    const int *values;
} vocab;

static size_t count(const char *const *list) {
    size_t n = 0;
    while (list && list[n]) n++;
    return n;
}

static void put_strings(const char *key, const char *const *list) {
    put_array(&file, key, 8, count(list));
    for (size_t i = 0; list[i]; i++) put_text(&file, list[i]);
}

static void put_keys(const vocab *v) {
    char key[80];
    for (size_t i = 0; i < count(v->keys); i++) {
        snprintf(key, sizeof key, "tokenizer.ggml.%s", v->keys[i]);
        bool is_bool = !strncmp(v->keys[i], "add_", 4) || !strncmp(v->keys[i], "remove_", 7);
        put_value(&file, key, is_bool ? 7 : 4, (uint64_t)v->values[i], is_bool ? 1 : 4);
    }
}

static void write_vocab(const vocab *v) {
    size_t n = count(v->tokens);
    put_header(&file, 3, 0, 2 + (v->pre != NULL) + (v->types != NULL) + (v->scores != NULL) + (v->merges != NULL) +
               count(v->keys));
    put_string(&file, "tokenizer.ggml.model", v->model);
    if (v->pre) put_string(&file, "tokenizer.ggml.pre", v->pre);
    put_strings("tokenizer.ggml.tokens", v->tokens);
    if (v->types) put_array(&file, "tokenizer.ggml.token_type", 5, n);
    for (size_t i = 0; v->types && i < n; i++) put_number(&file, v->types[i], 4);
    if (v->scores) put_array(&file, "tokenizer.ggml.scores", 6, n);
    for (size_t i = 0; v->scores && i < n; i++) put(&file, &v->scores[i], 4);
    if (v->merges) put_strings("tokenizer.ggml.merges", v->merges);
    put_keys(v);
    put_padding(&file, 32);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(file.data, 1, file.n, f) != file.n || fclose(f)) exit(1);
}

static qdisp_tokenizer *open_vocab(const vocab *v) {
    qdisp_tokenizer *t = NULL;
    write_vocab(v);
    qdisp_status status = qdisp_tokenizer_open(ctx, path, &t);
    CHECK_STATUS(status, QDISP_OK);
    if (status != QDISP_OK) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
    return t;
}

static void refused(const vocab *v, qdisp_status expected, const char *reason) {
    qdisp_tokenizer *t = NULL;
    write_vocab(v);
    CHECK_STATUS(qdisp_tokenizer_open(ctx, path, &t), expected);
    CHECK_HAS(qdisp_ctx_error(ctx), reason);
    CHECK(!t);
}

/* expected: ids as text, "3 4 5". */
static void gives(const qdisp_tokenizer *t, const char *text, bool special_as_text, const char *expected) {
    int32_t ids[64];
    size_t n = 0;
    char got[256] = "";
    qdisp_encode_options options = {.size = sizeof options, .special_as_text = special_as_text};
    CHECK_STATUS(qdisp_tokenizer_encode_as(t, text, strlen(text), &options, ids, NULL, 64, &n), QDISP_OK);
    for (size_t i = 0, at = 0; i < n && i < 64; i++)
        at += (size_t)snprintf(got + at, sizeof got - at, "%s%d", i ? " " : "", (int)ids[i]);
    CHECK_STR(got, expected);
}

/* Ids around a text, -1: none. */
static void frames(const qdisp_tokenizer *t, int before, int after) {
    size_t n_before, n_after;
    const int32_t *prefix = qdisp_tokenizer_prefix(t, &n_before), *suffix = qdisp_tokenizer_suffix(t, &n_after);
    CHECK(before < 0 ? n_before == 0 : n_before == 1 && prefix[0] == before);
    CHECK(after < 0 ? n_after == 0 : n_after == 1 && suffix[0] == after);
    CHECK(qdisp_tokenizer_states_template(t) == 1);
}

#define SPACE "\xC4\xA0" /* of the byte alphabet */
static const char *const bpe_tokens[] = {"a", "b", "c", SPACE, "ab", SPACE "ab", "<", ">", "s", "u", "<s>", "<u>",
                                         NULL};
static const uint8_t bpe_types[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 4};
static const char *const bpe_merges[] = {"a b", SPACE " ab", NULL};
static const char *const bpe_keys[] = {"bos_token_id", "eos_token_id", "add_bos_token", "add_eos_token", NULL};

static vocab bpe(void) {
    return (vocab){.model = "gpt2", .pre = "gpt-2", .tokens = bpe_tokens, .types = bpe_types, .merges = bpe_merges};
}

TEST(byte_level_bpe) {
    vocab v = bpe();
    qdisp_tokenizer *t = open_vocab(&v);
    gives(t, "ab ab", false, "4 5");
    gives(t, "cab  ab", false, "2 4 3 5");
    gives(t, "a<s>b<u>", false, "0 10 1 11");
    gives(t, "a<s>b<u>", true, "0 6 8 7 1 11"); /* what the user defined is a token all the same */
    frames(t, -1, -1);
    qdisp_tokenizer_free(t);
}

TEST(what_stands_around_a_text) {
    vocab v = bpe();
    v.keys = bpe_keys;
    v.values = (const int[]){10, 11, 1, 1};
    qdisp_tokenizer *t = open_vocab(&v);
    frames(t, 10, 11);
    qdisp_tokenizer_free(t);
    v.values = (const int[]){10, 11, 0, 0};
    frames(t = open_vocab(&v), -1, -1);
    qdisp_tokenizer_free(t);
    v.pre = "llama-bpe"; /* adds by default, but is told not to */
    frames(t = open_vocab(&v), -1, -1);
    qdisp_tokenizer_free(t);
    static const char *const only[] = {"bos_token_id", NULL};
    v.keys = only;
    frames(t = open_vocab(&v), 10, -1);
    qdisp_tokenizer_free(t);
}

static qdisp_model *open_gpt2(void) {
    qdisp_model *model = NULL;
    CHECK_STATUS(qdisp_model_open(ctx, QDISP_ROOT "/test/golden/arch/gpt2", &model), QDISP_OK);
    return model;
}

/* The model has a bos (0), the vocabulary says whether it is read. */
TEST(add_bos_token_is_believed) {
    qdisp_model *model = open_gpt2();
    vocab v = bpe();
    v.keys = bpe_keys;
    const int values[2][4] = {{2, 2, 0, 0}, {2, 2, 1, 0}};
    for (size_t i = 0; i < 2; i++) {
        qd_frame frame;
        qdisp_corpus *corpus = NULL;
        qdisp_table *losses = NULL;
        qdisp_calib *calib = NULL;
        const char *tag = "en", *text = "ab ab\n";
        size_t n = strlen(text);
        v.values = values[i];
        qdisp_tokenizer *t = open_vocab(&v);
        CHECK_STATUS(qd_frame_make(model, t, &frame), QDISP_OK);
        CHECK(frame.n_prefix == i && (!i || frame.prefix[0] == 2));
        CHECK_STATUS(qdisp_corpus_from_texts(ctx, &tag, &text, &n, 1, &corpus), QDISP_OK);
        CHECK_STATUS(qdisp_eval_losses(model, t, corpus, &losses), QDISP_OK);
        CHECK(qdisp_table_i64(losses, qdisp_table_find(losses, "n_tokens"))[0] == 1 + (int64_t)i);
        CHECK(qdisp_table_i64(losses, qdisp_table_find(losses, "n_bytes"))[0] == (i ? 5 : 3));
        CHECK_STATUS(qdisp_calib_new(model, &calib), QDISP_OK);
        CHECK_STATUS(qdisp_calib_collect(calib, model, t, corpus), QDISP_OK);
        qdisp_calib_free(calib);
        qdisp_table_free(losses);
        qdisp_corpus_free(corpus);
        qdisp_tokenizer_free(t);
    }
    qdisp_model_free(model);
}

#define BLANK "\xE2\x96\x81"
static const char *const spm_tokens[] = {"<unk>", "<s>", "</s>", "<0x61>", BLANK, "a", "b", BLANK "a", "ab",
                                         BLANK "ab", "<0xC3>", "<0xA9>", NULL};
static const uint8_t spm_types[] = {2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 6, 6};
static const float spm_scores[] = {0, 0, 0, 0, -9, -9, -9, -3, -1, -2, 0, 0};

TEST(sentencepieces_bpe) {
    vocab v = {.model = "llama", .tokens = spm_tokens, .types = spm_types, .scores = spm_scores};
    qdisp_tokenizer *t = open_vocab(&v);
    gives(t, "ab", false, "9");
    gives(t, "ab ab\xC3\xA9", false, "9 9 10 11");
    gives(t, "</s>", false, "2");
    frames(t, 1, -1);
    qdisp_tokenizer_free(t);
    static const char *const keys[] = {"add_space_prefix", "add_bos_token", "add_eos_token", NULL};
    v.keys = keys;
    v.values = (const int[]){0, 0, 1};
    t = open_vocab(&v);
    gives(t, "ab", false, "8");
    frames(t, -1, 2);
    qdisp_tokenizer_free(t);
}

static const char *const t5_tokens[] = {"<pad>", "</s>", "<unk>", BLANK "a", "b", BLANK "ab", "a", BLANK, NULL};
static const uint8_t t5_types[] = {3, 3, 2, 1, 1, 1, 1, 1};
static const float t5_scores[] = {0, 0, 0, -1, -1, -3, -4, -4};

TEST(sentencepieces_unigram) {
    static const char *const keys[] = {"add_space_prefix", "unknown_token_id", NULL};
    vocab v = {.model = "t5", .tokens = t5_tokens, .types = t5_types, .scores = t5_scores, .keys = keys,
               .values = (const int[]){1, 2}};
    qdisp_tokenizer *t = open_vocab(&v);
    gives(t, "ab", false, "3 4"); /* -2 is above -3 */
    gives(t, "abz", false, "3 4 2");
    frames(t, -1, 1);
    qdisp_tokenizer_free(t);
}

static const char *const bert_tokens[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", BLANK "un", "able", BLANK "a", "b",
                                          BLANK ",", NULL};
static const uint8_t bert_types[] = {3, 3, 3, 3, 1, 1, 1, 1, 1};

TEST(wordpiece) {
    static const char *const keys[] = {"unknown_token_id", "bos_token_id", "seperator_token_id", NULL};
    vocab v = {.model = "bert", .tokens = bert_tokens, .types = bert_types, .keys = keys,
               .values = (const int[]){1, 2, 3}};
    qdisp_tokenizer *t = open_vocab(&v);
    gives(t, "Unable, ab", false, "4 5 8 6 7");
    gives(t, "able [SEP]", false, "1 3"); /* no word begins with it */
    frames(t, 2, 3);
    qdisp_tokenizer_free(t);
}

TEST(refusals) {
    vocab v = bpe();
    v.pre = "no-such-pre";
    refused(&v, QDISP_EUNSUPPORTED, "tokenizer.ggml.pre: 'no-such-pre'");
    v = bpe();
    v.merges = NULL;
    refused(&v, QDISP_EFORMAT, "tokenizer.ggml.merges: missing");
    static const char *const wrong[] = {"a x", NULL}, *const bare[] = {"ab", NULL};
    v.merges = wrong;
    refused(&v, QDISP_EFORMAT, "'x'");
    v.merges = bare;
    refused(&v, QDISP_EFORMAT, "not \"a b\"");
    v = bpe();
    v.model = "rwkv";
    refused(&v, QDISP_EUNSUPPORTED, "'rwkv'");
    v.model = "llama";
    refused(&v, QDISP_EFORMAT, "tokenizer.ggml.scores: missing");
    static const char *const twice[] = {"a", "a", NULL}, *const none[] = {NULL};
    v = (vocab){.model = "gpt2", .tokens = twice, .merges = bpe_merges};
    refused(&v, QDISP_EFORMAT, "twice");
    v.tokens = none;
    refused(&v, QDISP_EFORMAT, "tokenizer.ggml.tokens");
}

TEST(every_prefix_of_a_file_is_refused) {
    vocab v = bpe();
    write_vocab(&v);
    size_t n = file.n, n_refused = 0;
    for (size_t cut = 1; cut < n - 31; cut++) { /* the padding holds nothing */
        qdisp_tokenizer *t = NULL;
        if (truncate(path, 0) != 0) exit(1);
        FILE *f = fopen(path, "wb");
        if (!f || fwrite(file.data, 1, cut, f) != cut || fclose(f)) exit(1);
        n_refused += qdisp_tokenizer_open(ctx, path, &t) != QDISP_OK && !t;
        qdisp_tokenizer_free(t);
    }
    CHECK(n_refused == n - 32);
}

int main(void) {
    if (mkstemp(path) < 0) return 1;
    CHECK_STATUS(qdisp_ctx_new(NULL, &ctx), QDISP_OK);
    RUN(byte_level_bpe);
    RUN(what_stands_around_a_text);
    RUN(add_bos_token_is_believed);
    RUN(sentencepieces_bpe);
    RUN(sentencepieces_unigram);
    RUN(wordpiece);
    RUN(refusals);
    RUN(every_prefix_of_a_file_is_refused);
    unlink(path);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
