/* tiny.h - a small random BLOOM model, its byte tokenizer and a small corpus, made in memory for the tests. */
#ifndef TINY_H
#define TINY_H

#include "harness.h"

#include "base/base.h"

#include <qdisp/qdisp.h>

#include <unistd.h>

#define TINY_VOCAB 258 /* <s>, </s>, and a token a byte */
#define TINY_MAX_TENSORS 128

typedef struct tiny {
    char config[512];
    qdisp_tensor tensors[TINY_MAX_TENSORS];
    char names[TINY_MAX_TENSORS][80];
    size_t n;
} tiny;

/* Uniform in [0, 1) from (seed, tensor, element); nearly normal as a sum of twelve would be too slow to care: a sum of
 * four words, scaled to variance 1. */
static inline float tiny_random(uint32_t seed, uint32_t i_tensor, uint32_t i) {
    uint32_t counter[4] = {i, i_tensor, 0, 0}, key[2] = {seed, 7}, w[4];
    qd_philox(counter, key, w);
    double sum = ((double)w[0] + (double)w[1] + (double)w[2] + (double)w[3]) / 4294967296.0 - 2;
    return (float)(sum * 1.7320508075688772);
}

static inline void tiny_add(tiny *t, uint32_t seed, const char *name, size_t rows, size_t columns, float mean,
    float spread) {
    size_t n = rows * (columns ? columns : 1);
    float *data = malloc(n * sizeof *data);
    for (size_t i = 0; i < n; i++) data[i] = mean + spread * tiny_random(seed, (uint32_t)t->n, (uint32_t)i);
    snprintf(t->names[t->n], sizeof t->names[t->n], "transformer.%s", name);
    t->tensors[t->n] = (qdisp_tensor){.name = t->names[t->n], .data = data, .n_bytes = n * sizeof *data,
                                      .shape = {rows, columns}, .n_dims = columns ? 2 : 1, .dtype = QDISP_DTYPE_F32};
    t->n++;
}

/* embd must be a multiple of 2. Weights spread so that the model is far from a uniform one and from saturation. */
static inline tiny *tiny_make(uint32_t seed, size_t embd, size_t n_layer, int bos) {
    tiny *t = calloc(1, sizeof *t);
    char name[64], bos_text[16] = "null";
    float s = (float)(1 / sqrt((double)embd));
    if (bos) snprintf(bos_text, sizeof bos_text, "0");
    snprintf(t->config, sizeof t->config,
             "{\"architectures\": [\"BloomForCausalLM\"], \"model_type\": \"bloom\", \"vocab_size\": %d, "
             "\"hidden_size\": %zu,"
             " \"n_layer\": %zu, \"n_head\": 2, \"layer_norm_epsilon\": 1e-5, \"bos_token_id\": %s, "
             "\"eos_token_id\": 1}",
             TINY_VOCAB, embd, n_layer, bos_text);
    tiny_add(t, seed, "word_embeddings.weight", TINY_VOCAB, embd, 0, 0.5f);
    tiny_add(t, seed, "word_embeddings_layernorm.weight", embd, 0, 1, 0.2f);
    tiny_add(t, seed, "word_embeddings_layernorm.bias", embd, 0, 0, 0.1f);
    static const struct {
        const char *name;
        int rows, columns; /* in units of embd; columns 0: a vector */
        float mean, spread;
    } specs[] = {{"input_layernorm.weight", 1, 0, 1, 0.3f}, {"input_layernorm.bias", 1, 0, 0, 0.1f},
                 {"self_attention.query_key_value.weight", 3, 1, 0, 1}, {"self_attention.query_key_value.bias", 3, 0,
                     0, 0.1f},
                 {"self_attention.dense.weight", 1, 1, 0, 1}, {"self_attention.dense.bias", 1, 0, 0, 0.1f},
                 {"post_attention_layernorm.weight", 1, 0, 1, 0.3f}, {"post_attention_layernorm.bias", 1, 0, 0, 0.1f},
                 {"mlp.dense_h_to_4h.weight", 4, 1, 0, 1}, {"mlp.dense_h_to_4h.bias", 4, 0, 0, 0.1f},
                 {"mlp.dense_4h_to_h.weight", 1, 4, 0, 1}, {"mlp.dense_4h_to_h.bias", 1, 0, 0, 0.1f}};
    for (size_t layer = 0; layer < n_layer; layer++)
        for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
            snprintf(name, sizeof name, "h.%zu.%s", layer, specs[i].name);
            tiny_add(t, seed, name, (size_t)specs[i].rows * embd, (size_t)specs[i].columns * embd, specs[i].mean,
                     specs[i].columns ? s : specs[i].spread);
        }
    tiny_add(t, seed, "ln_f.weight", embd, 0, 1, 0.3f);
    tiny_add(t, seed, "ln_f.bias", embd, 0, 0, 0.1f);
    return t;
}

static inline float *tiny_data(const tiny *t, const char *part) {
    for (size_t i = 0; i < t->n; i++)
        if (strstr(t->names[i], part)) return (float *)(uintptr_t)t->tensors[i].data;
    return NULL;
}

static inline const char *tiny_name(const tiny *t, const char *part) {
    for (size_t i = 0; i < t->n; i++)
        if (strstr(t->names[i], part)) return t->names[i];
    return NULL;
}

static inline void tiny_free(tiny *t) {
    for (size_t i = 0; t && i < t->n; i++) free((void *)(uintptr_t)t->tensors[i].data);
    free(t);
}

static inline qdisp_model *tiny_model(qdisp_ctx *ctx, const tiny *t) {
    qdisp_model *m = NULL;
    CHECK_STATUS(qdisp_model_from_tensors(ctx, t->config, t->tensors, t->n, &m), QDISP_OK);
    if (!m) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
    return m;
}

static inline qdisp_ctx *tiny_ctx(unsigned n_threads, const char *isa) {
    qdisp_ctx_options o = {.size = sizeof o, .n_threads = n_threads, .isa = isa};
    qdisp_ctx *ctx = NULL;
    if (qdisp_ctx_new(&o, &ctx) != QDISP_OK) return NULL;
    return ctx;
}

/* A byte-level BPE without merges: a token a byte, ids 2 + byte. */
static inline void tiny_write_tokenizer(const char *path) {
    FILE *f = fopen(path, "wb");
    int n_other = 0;
    fputs("{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": ["
          "{\"id\": 0, \"content\": \"<s>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
          "\"normalized\": false, \"special\": true}, "
          "{\"id\": 1, \"content\": \"</s>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
          "\"normalized\": false, \"special\": true}], \"normalizer\": null, "
          "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "
          "\"use_regex\": true}, \"post_processor\": null, \"decoder\": {\"type\": \"ByteLevel\", "
          "\"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true}, \"model\": {\"type\": \"BPE\", "
          "\"dropout\": null, \"unk_token\": null, \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, "
          "\"fuse_unk\": false, \"byte_fallback\": false, \"vocab\": {\"<s>\": 0, \"</s>\": 1", f);
    for (int b = 0; b < 256; b++) {
        int same = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; /* GPT-2's printable bytes */
        fprintf(f, ", \"\\u%04x\": %d", (unsigned)(same ? b : 256 + n_other++), b + 2);
    }
    fputs("}, \"merges\": []}}", f);
    fclose(f);
}

/* In a folder of its own under /tmp, removed again. */
static inline qdisp_tokenizer *tiny_tokenizer(qdisp_ctx *ctx) {
    char folder[] = "/tmp/qdisp-tiny-XXXXXX", path[64];
    qdisp_tokenizer *t = NULL;
    if (!mkdtemp(folder)) exit(1);
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    tiny_write_tokenizer(path);
    CHECK_STATUS(qdisp_tokenizer_open(ctx, path, &t), QDISP_OK);
    unlink(path);
    rmdir(folder);
    if (!t) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
    return t;
}

/* n_languages of en, el, ja, sw, ru, tr with n_lines lines of unlike length; seed changes the text. */
static inline qdisp_corpus *tiny_corpus(qdisp_ctx *ctx, size_t n_languages, size_t n_lines, unsigned seed) {
    static const char *const tags[] = {"en", "el", "ja", "sw", "ru", "tr"};
    static const char *const words[][4] = {{"the cat ", "sat ", "on a mat ", "again "}, {"η γάτα ", "κάθισε ",
        "στο χαλί ", "πάλι "},
                                           {"猫が", "敷物に", "座った", "また"}, {"paka ", "alikaa ", "kwenye mkeka ", "tena "},
                                           {"кот ", "сел ", "на коврик ", "опять "}, {"kedi ", "oturdu ", "hasıra ",
                                               "yine "}};
    char *texts[6] = {0};
    size_t n_bytes[6] = {0};
    for (size_t l = 0; l < n_languages; l++) {
        texts[l] = calloc(n_lines + 1, 512);
        for (size_t i = 0; i < n_lines; i++) {
            for (unsigned k = 0; k < 2 + (i * 7 + seed) % 4; k++) strcat(texts[l], words[l][(i * 3 + k * (1 + i % 3)
                + seed) % 4]);
            sprintf(texts[l] + strlen(texts[l]), "%zu.\n", i + 10 * l);
        }
        n_bytes[l] = strlen(texts[l]);
    }
    qdisp_corpus *c = NULL;
    CHECK_STATUS(qdisp_corpus_from_texts(ctx, tags, (const char *const *)texts, n_bytes, n_languages, &c), QDISP_OK);
    for (size_t l = 0; l < n_languages; l++) free(texts[l]);
    if (!c) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
    return c;
}

#endif
