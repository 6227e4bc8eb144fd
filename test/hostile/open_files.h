/* open_files.h - a function a kind of file: it opens whatever is at a path and, if that succeeds, uses all of it, so
 * that a sanitizer sees what a file only claims. Tests and fuzz targets share them; what is not right aborts. */
#ifndef OPEN_FILES_H
#define OPEN_FILES_H

#include "split_quantized.h"
#include "use_tensors.h"

#include <qdisp/qdisp.h>
#include <unistd.h>

static inline void expect(bool condition) {
    if (!condition) abort();
}

/* A status without a handle, or a handle without a message, is no answer. */
static inline void answered(qdisp_ctx *ctx, qdisp_status status, const void *handle) {
    expect((status == QDISP_OK) == (handle != NULL) && (handle || *qdisp_ctx_error(ctx)));
}

/* --- tables and calibrations --- */

static inline int drop(void *user, const char *bytes, size_t n) {
    (void)user, (void)bytes, (void)n;
    return 0;
}

/* A CSV that reads must write, and what is written must read as the same table. */
static inline qdisp_status open_table(qdisp_ctx *ctx, const char *path) {
    static const char *const formats[] = {"text", "csv", "json", "markdown"};
    char written[64];
    qdisp_table *t = NULL, *again = NULL;
    qdisp_status status = qdisp_table_open_csv(ctx, path, "t", &t);
    answered(ctx, status, t);
    if (!t) return status;
    for (size_t i = 0; i < 4; i++) expect(qdisp_table_write(t, formats[i], drop, NULL) == QDISP_OK);
    snprintf(written, sizeof written, "/tmp/qdisp-table-%ld", (long)getpid());
    expect(qdisp_table_save(t, written, "csv") == QDISP_OK);
    expect(qdisp_table_open_csv(ctx, written, "t", &again) == QDISP_OK);
    unlink(written);
    expect(qdisp_table_n_rows(again) == qdisp_table_n_rows(t));
    expect(qdisp_table_n_columns(again) == qdisp_table_n_columns(t));
    for (size_t i = 0; i < qdisp_table_n_columns(t); i++) {
        expect(!strcmp(qdisp_table_column_name(again, i), qdisp_table_column_name(t, i)));
    }
    qdisp_table_free(again);
    qdisp_table_free(t);
    return QDISP_OK;
}

static inline qdisp_status open_calib(qdisp_ctx *ctx, const char *path) {
    qdisp_calib *c = NULL;
    qdisp_table *t = NULL;
    qdisp_status status = qdisp_calib_open(ctx, path, &c);
    answered(ctx, status, c);
    if (c) expect(qdisp_calib_describe(c, &t) == QDISP_OK);
    qdisp_table_free(t);
    qdisp_calib_free(c);
    return status;
}

/* An importance matrix of the model test/golden/bloom_f32: what reads must write in both forms. */
static inline qdisp_status open_imatrix(qdisp_ctx *ctx, const char *path) {
    static const char config[] =
        "{\"architectures\": [\"BloomForCausalLM\"], \"model_type\": \"bloom\", \"vocab_size\": 3, "
        "\"hidden_size\": 12, \"n_layer\": 2, \"n_head\": 3, \"layer_norm_epsilon\": 1e-5, "
        "\"tie_word_embeddings\": false}";
    static const float zeros[48 * 12];
    qdisp_tensor tensors[32];
    char names[32][64], written[64];
    size_t n = 0;
    qdisp_model *m = NULL;
    qdisp_calib *c = NULL;
#define ADD(format, rows, columns)                                                                                  \
    (snprintf(names[n], sizeof names[n], format, (int)k),                                                           \
     tensors[n] = (qdisp_tensor){.name = names[n], .data = zeros, .n_bytes = (rows) * ((columns) ? (columns) : 1) * 4, \
                                 .shape = {rows, columns}, .n_dims = (columns) ? 2 : 1, .dtype = QDISP_DTYPE_F32},   \
     n++)
    for (size_t k = 0; k < 2; k++) {
        ADD("h.%d.input_layernorm.weight", 12, 0), ADD("h.%d.input_layernorm.bias", 12, 0);
        ADD("h.%d.self_attention.query_key_value.weight", 36, 12);
        ADD("h.%d.self_attention.query_key_value.bias", 36, 0);
        ADD("h.%d.self_attention.dense.weight", 12, 12), ADD("h.%d.self_attention.dense.bias", 12, 0);
        ADD("h.%d.post_attention_layernorm.weight", 12, 0), ADD("h.%d.post_attention_layernorm.bias", 12, 0);
        ADD("h.%d.mlp.dense_h_to_4h.weight", 48, 12), ADD("h.%d.mlp.dense_h_to_4h.bias", 48, 0);
        ADD("h.%d.mlp.dense_4h_to_h.weight", 12, 48), ADD("h.%d.mlp.dense_4h_to_h.bias", 12, 0);
    }
    static const char *const outside[] = {"word_embeddings_layernorm.weight", "word_embeddings_layernorm.bias",
                                          "ln_f.weight", "ln_f.bias"};
    for (size_t k = 0; k < 4; k++, n++)
        tensors[n] = (qdisp_tensor){.name = outside[k], .data = zeros, .n_bytes = 48, .shape = {12}, .n_dims = 1,
                                    .dtype = QDISP_DTYPE_F32};
    for (size_t k = 0; k < 2; k++, n++)
        tensors[n] = (qdisp_tensor){.name = k ? "lm_head.weight" : "word_embeddings.weight", .data = zeros,
                                    .n_bytes = 144, .shape = {3, 12}, .n_dims = 2, .dtype = QDISP_DTYPE_F32};
#undef ADD
    expect(qdisp_model_from_tensors(ctx, config, tensors, n, &m) == QDISP_OK);
    qdisp_status status = qdisp_imatrix_open(m, path, "und", &c);
    answered(ctx, status, c);
    snprintf(written, sizeof written, "/tmp/qdisp-imatrix-%ld", (long)getpid());
    for (uint64_t legacy = 0; c && legacy < 2; legacy++) {
        qdisp_imatrix_options options = {.size = sizeof options, .legacy = legacy};
        qdisp_status saved = qdisp_imatrix_save(c, m, &options, written);
        expect(saved == QDISP_OK || saved == QDISP_EINVAL); /* a matrix without rows has nothing to merge */
        unlink(written);
    }
    qdisp_calib_free(c);
    qdisp_model_free(m);
    return status;
}

/* --- tensors --- */

static inline qdisp_status open_tensors(qdisp_ctx *ctx, const char *path) {
    qd_tensor_file *file = NULL;
    qdisp_status status = qd_tensor_file_open(ctx, path, &file);
    answered(ctx, status, file);
    if (file) use_tensors(ctx, file);
    qd_tensor_file_free(file);
    return status;
}

static inline qdisp_status open_split(qdisp_ctx *ctx, const char *path) {
    qd_tensor_file *file = NULL;
    char *data = NULL;
    size_t size = 0;
    expect(qd_read_file(ctx, path, 1 << 20, &data, &size) == QDISP_OK);
    qdisp_status status = open_quantized(ctx, path, (const uint8_t *)data, size, &file);
    answered(ctx, status, file);
    if (file) use_tensors(ctx, file);
    qd_tensor_file_free(file);
    qd_free(ctx, data);
    return status;
}

/* --- tokenizers --- */

/* Some texts there and back. A text may be refused (no unknown token, a pattern beyond its limit), with a reason. */
static inline void use_tokenizer(qdisp_ctx *ctx, const qdisp_tokenizer *t) {
    static const char *const texts[] = {"The cat, 12 \xE7\x8C\xAB \xD7\x97\xD7\xAA\xD7\x95\xD7\x9C  a\xCC\x81 <s>\n x",
                                        "", "   ", "\xE2\x96\x81", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabcabc",
                                        "\xEF\xAC\x81\xE3\x8E\xA8\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7\r\n\x01"};
    enum { MAX = 512 };
    int32_t ids[MAX];
    size_t starts[MAX], n_ids, n_bytes, n_vocab = qdisp_tokenizer_n_vocab(t);
    char out[4 * MAX];
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        size_t n = strlen(texts[k]);
        if (qdisp_tokenizer_encode(t, texts[k], n, ids, starts, MAX, &n_ids) != QDISP_OK) {
            expect(*qdisp_ctx_error(ctx) != 0);
            continue;
        }
        for (size_t i = 0; i < n_ids && i < MAX; i++) {
            expect(starts[i] <= n && (size_t)ids[i] < n_vocab && qdisp_tokenizer_token(t, ids[i]));
        }
        qdisp_tokenizer_decode(t, ids, n_ids < MAX ? n_ids : MAX, 0, out, sizeof out, &n_bytes);
    }
    for (size_t i = 0; i < n_vocab && i < 5000; i++) { /* a token's string is a text as well */
        const char *token = qdisp_tokenizer_token(t, (int32_t)i);
        if (!token) continue;
        expect(qdisp_tokenizer_id(t, token) >= 0);
        ids[0] = (int32_t)i;
        qdisp_tokenizer_decode(t, ids, 1, 1, out, sizeof out, &n_bytes);
        if (i < 200) qdisp_tokenizer_encode(t, token, strlen(token), ids, starts, MAX, &n_ids);
    }
}

static inline qdisp_status open_tokenizer_as(qdisp_ctx *ctx, const char *path, const char *encoding) {
    qdisp_tokenizer_options options = {.size = sizeof options, .encoding = encoding};
    qdisp_tokenizer *t = NULL;
    qdisp_status status = qdisp_tokenizer_open_as(ctx, path, &options, &t);
    answered(ctx, status, t);
    if (t) use_tokenizer(ctx, t);
    qdisp_tokenizer_free(t);
    return status;
}

static inline qdisp_status open_tokenizer(qdisp_ctx *ctx, const char *path) {
    return open_tokenizer_as(ctx, path, NULL);
}

static inline qdisp_status open_tiktoken(qdisp_ctx *ctx, const char *path) {
    return open_tokenizer_as(ctx, path, "llama3");
}

/* --- models --- */

static inline void use_model(qdisp_ctx *ctx, const qdisp_model *m) {
    enum { N = 9, MAX_READ = 1 << 14 };
    const qdisp_model_info *info = qdisp_model_describe(m);
    static float x[MAX_READ];
    int32_t ids[N];
    float nll[N];
    static const size_t starts[] = {0, 1, N};
    for (size_t i = 0; i < qdisp_model_n_tensors(m); i++) {
        qdisp_tensor t;
        expect(qdisp_model_tensor(m, i, &t) == QDISP_OK && qdisp_model_role(m, i) && qdisp_model_format(m, i));
        size_t n = (size_t)qd_tensor_n_elements(&t), n_read = n < MAX_READ ? n : MAX_READ;
        expect(qdisp_model_read(m, i, 0, n_read, x) == QDISP_OK);
        expect(qdisp_model_read(m, i, n - n_read, n_read, x) == QDISP_OK);
    }
    for (size_t i = 0; i < N; i++) ids[i] = (int32_t)(i * 7 % info->n_vocab);
    bool pairs = info->kind == QDISP_MODEL_ENCODER_DECODER;
    qdisp_batch batch = {.size = sizeof batch, .ids = ids, .starts = starts, .n_seq = 2,
                         .source_ids = pairs ? ids : NULL, .source_starts = pairs ? starts : NULL};
    qdisp_run_options run = {.size = sizeof run, .nll = nll};
    if (qdisp_model_run(m, &batch, &run) != QDISP_OK) expect(*qdisp_ctx_error(ctx) != 0);
}

static inline qdisp_status open_model(qdisp_ctx *ctx, const char *path) {
    qdisp_model *m = NULL;
    qdisp_status status = qdisp_model_open(ctx, path, &m);
    answered(ctx, status, m);
    if (m) use_model(ctx, m);
    qdisp_model_free(m);
    return status;
}

/* A plan, for the model gguf_model/good.gguf: what can be applied can be written, or the format cannot hold it. */
static inline qdisp_status open_plan(qdisp_ctx *ctx, const char *path) {
    qdisp_model *m = NULL, *applied = NULL;
    qdisp_table *t = NULL, *formats = NULL;
    qdisp_status status = qdisp_table_open_csv(ctx, path, "plan", &t);
    if (!t) return status;
    expect(qdisp_model_open(ctx, QDISP_ROOT "/test/hostile/gguf_model/good.gguf", &m) == QDISP_OK);
    status = qdisp_plan_apply(t, m, NULL, &applied);
    answered(ctx, status, applied);
    if (applied) use_model(ctx, applied);
    expect(qdisp_packers(ctx, &formats) == QDISP_OK);
    for (size_t i = 0; applied && i < qdisp_table_n_rows(formats); i++) {
        char out[64], command[80];
        snprintf(out, sizeof out, "/tmp/qdisp-plan-%ld", (long)getpid());
        snprintf(command, sizeof command, "rm -rf '%s'", out);
        qdisp_status wrote = qdisp_plan_write(t, m, NULL, qdisp_table_str(formats, 0)[i], out);
        expect(wrote == QDISP_OK || (wrote == QDISP_EUNSUPPORTED && access(out, F_OK) != 0));
        expect(system(command) == 0);
    }
    qdisp_table_free(formats);
    qdisp_model_free(applied);
    qdisp_model_free(m);
    qdisp_table_free(t);
    return status;
}

#endif
