/* Models as GGUF files: converted (a plan of no rows) they have the tensors, bit for bit, and the sizes of those that
 * llama.cpp's own converter wrote; quantized, the values of the plan; what cannot be stored is told before any work. */
#include "harness.h"
#include "model/model.h"
#include "tensor/blocks.h"
#include "tensor/gguf.h"
#include "tiny.h"

#include <qdisp/qdisp.h>
#include <strings.h>

static qdisp_ctx *ctx;
static char out_path[64];

static qdisp_table *empty_plan(void) {
    static const char *const columns[] = {"tensor", "bits", "group_size", "levels", "alpha", "clip"};
    qdisp_table *plan = NULL;
    CHECK_STATUS(qdisp_table_new(ctx, "plan", "plan", &plan), QDISP_OK);
    for (size_t i = 0; i < 6; i++) qdisp_table_add_column(plan, columns[i], "", QDISP_COLUMN_STR, NULL);
    return plan;
}

static qdisp_model *open_model(const char *format, const char *name) {
    char path[512];
    qdisp_model *m = NULL;
    snprintf(path, sizeof path, format, QDISP_ROOT, name);
    CHECK_STATUS(qdisp_model_open(ctx, path, &m), QDISP_OK);
    return m;
}

static qd_tensor_file *convert(const qdisp_model *m) {
    qd_tensor_file *file = NULL;
    qdisp_table *plan = empty_plan();
    CHECK_STATUS(qdisp_plan_write(plan, m, NULL, "gguf", out_path), QDISP_OK);
    CHECK_STATUS(qd_tensor_file_open(ctx, out_path, &file), QDISP_OK);
    if (!file) printf("%s\n", qdisp_ctx_error(ctx));
    qdisp_table_free(plan);
    return file;
}

/* Every tensor of a is in b with the same bytes; floats of other widths with the same values. */
static void same_tensors(const qd_tensor_file *a, const qd_tensor_file *b) {
    CHECK(a->n_tensors == b->n_tensors);
    for (size_t i = 0; i < a->n_tensors; i++) {
        const qdisp_tensor *x = &a->tensors[i], *y = qd_tensor_file_find(b, x->name);
        bool found = y && x->n_dims == y->n_dims && !memcmp(x->shape, y->shape, sizeof x->shape);
        CHECK(found);
        if (!found) {
            printf("  %s\n", x->name);
            continue;
        }
        size_t n = (size_t)qd_tensor_n_elements(x);
        float *values = malloc(2 * n * sizeof *values);
        memcpy(values, qd_load_f32(ctx->kernels, x->data, (qdisp_dtype)x->dtype, 0, n, values + n), n * sizeof *values);
        const float *others = qd_load_f32(ctx->kernels, y->data, (qdisp_dtype)y->dtype, 0, n, values + n);
        CHECK(!memcmp(values, others, n * sizeof *values));
        free(values);
    }
}

static bool same_value(const qd_gguf_value *a, const qd_gguf_value *b) {
    double x = 0, y = 0;
    if (a->type == QD_GGUF_STRING)
        return a->n_bytes == b->n_bytes && a->n == b->n && !memcmp(a->data, b->data, a->n_bytes);
    for (size_t i = 0; i < a->n && a->n == b->n; i++)
        if (!qd_gguf_number(a, i, &x) || !qd_gguf_number(b, i, &y) || x != y) return false;
    return a->n == b->n;
}

/* The keys of ours that both have are the same; what the converter guesses (BLOOM's context, GPT-2's inner size) is not
 * looked at. */
static size_t same_keys(const qd_gguf *ours, const qd_gguf *theirs, const char *prefix) {
    size_t n = 0;
    for (size_t i = 0; i < ours->n_values; i++) {
        const qd_gguf_value *a = &ours->values[i];
        char key[200];
        snprintf(key, sizeof key, "%.*s", (int)a->key.n, a->key.text);
        const qd_gguf_value *b = qd_gguf_find(theirs, key);
        if (strncmp(key, prefix, strlen(prefix)) || !b || !strcmp(key, "bloom.context_length") ||
            !strcmp(key, "gpt2.feed_forward_length"))
            continue;
        CHECK(same_value(a, b));
        if (!same_value(a, b)) printf("  %s\n", key);
        n++;
    }
    return n;
}

TEST(folders_become_what_the_converter_writes) {
    static const struct {
        const char *folder, *gguf, *arch;
    } models[] = {{"golden/bloom_f16", "bloom_f16", "bloom."},
                  {"golden/arch/gpt2", "gpt2", "gpt2."},
                  {"golden/arch/gpt_neox_serial", "gpt_neox_serial", "gptneox."},
                  {"golden/arch/llama_linear", "llama_linear", "llama."},
                  {"golden/arch/llama_yarn", "llama_yarn", "llama."},
                  {"golden/arch/llama_llama3", "llama_llama3", "llama."},
                  {"golden/arch/mixtral", "mixtral", "llama."},
                  {"golden/arch/qwen3_moe", "qwen3_moe", "qwen3moe."},
                  {"golden/arch/gemma3", "gemma3", "gemma3."}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[512];
        int bad = harness_bad;
        qd_tensor_file *theirs = NULL, *ours;
        qdisp_model *m = open_model("%s/test/%s", models[i].folder);
        snprintf(path, sizeof path, "%s/test/golden/gguf/%s.gguf", QDISP_ROOT, models[i].gguf);
        CHECK_STATUS(qd_tensor_file_open(ctx, path, &theirs), QDISP_OK);
        if (m && theirs && (ours = convert(m))) {
            same_tensors(ours, theirs);
            CHECK(same_keys(ours->gguf, theirs->gguf, models[i].arch) >= 5);
            if (i == 0) CHECK(same_keys(ours->gguf, theirs->gguf, "general.file_type") == 1); /* F16 */
            CHECK(qd_gguf_find(ours->gguf, "qdisp.version") != NULL);
            qd_tensor_file_free(ours);
        }
        qd_tensor_file_free(theirs);
        qdisp_model_free(m);
        if (harness_bad != bad) printf("  in %s\n", models[i].folder);
    }
}

static void same_losses(const qdisp_model *a, const qdisp_model *b) {
    int32_t ids[17];
    size_t starts[2] = {0, 17};
    float x[17], y[17];
    for (int i = 0; i < 17; i++) ids[i] = (i * 7 + 1) % 61;
    CHECK_STATUS(qdisp_model_nll(a, ids, starts, 1, x), QDISP_OK);
    CHECK_STATUS(qdisp_model_nll(b, ids, starts, 1, y), QDISP_OK);
    for (int i = 1; i < 17; i++) CHECK_NEAR(x[i], y[i], 1e-6);
}

/* Of architectures without a file of the converter's here. */
TEST(folders_come_back) {
    static const char *const names[] = {"llama", "mistral", "qwen2", "qwen3", "gemma", "gpt2", "bloom", "gpt_neox"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        qdisp_model *m = open_model("%s/test/golden/arch/%s", names[i]), *back = NULL;
        qd_tensor_file *file = m ? convert(m) : NULL;
        if (file) CHECK_STATUS(qdisp_model_open(ctx, out_path, &back), QDISP_OK);
        if (m && !back) printf("%s\n", qdisp_ctx_error(ctx));
        if (back) {
            CHECK(m->n_tensors == back->n_tensors);
            if (strcmp(names[i], "mistral")) same_losses(m, back); /* whose window GGUF does not tell */
        }
        qd_tensor_file_free(file);
        qdisp_model_free(back);
        qdisp_model_free(m);
    }
}

TEST(files_come_back) {
    static const char *const names[] = {"bloom_f16", "gpt2", "gpt_neox_serial", "falcon_new", "llama_linear",
                                        "llama_yarn", "llama_llama3", "mixtral", "qwen3_moe", "phi3_longrope",
                                        "gemma3", "t5"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        qd_tensor_file *file = NULL, *copy;
        qdisp_model *m = open_model("%s/test/golden/gguf/%s.gguf", names[i]);
        snprintf(path, sizeof path, "%s/test/golden/gguf/%s.gguf", QDISP_ROOT, names[i]);
        CHECK_STATUS(qd_tensor_file_open(ctx, path, &file), QDISP_OK);
        if (m && file && (copy = convert(m))) {
            same_tensors(file, copy);
            for (size_t k = 0; k < file->n_tensors; k++) CHECK(file->tensors[k].dtype == copy->tensors[k].dtype);
            CHECK(same_keys(copy->gguf, file->gguf, "tokenizer.") >= 2);
            qd_tensor_file_free(copy);
        }
        qd_tensor_file_free(file);
        qdisp_model_free(m);
    }
}

/* A Llama whose rows are blocks of 256, with two query heads a key head. */
enum { EMBD = 256, VOCAB = 61 };

static qdisp_model *made_llama(void) {
    static const struct {
        const char *name;
        size_t rows, columns;
    } parts[] = {{"model.embed_tokens.weight", VOCAB, EMBD}, {"model.layers.0.input_layernorm.weight", EMBD, 0},
                 {"model.layers.0.self_attn.q_proj.weight", EMBD, EMBD},
                 {"model.layers.0.self_attn.k_proj.weight", EMBD / 2, EMBD},
                 {"model.layers.0.self_attn.v_proj.weight", EMBD / 2, EMBD},
                 {"model.layers.0.self_attn.o_proj.weight", EMBD, EMBD},
                 {"model.layers.0.post_attention_layernorm.weight", EMBD, 0},
                 {"model.layers.0.mlp.gate_proj.weight", EMBD, EMBD}, {"model.layers.0.mlp.up_proj.weight", EMBD, EMBD},
                 {"model.layers.0.mlp.down_proj.weight", EMBD, EMBD}, {"model.norm.weight", EMBD, 0},
                 {"lm_head.weight", VOCAB, EMBD}};
    enum { N_PARTS = sizeof parts / sizeof *parts };
    static qdisp_tensor tensors[N_PARTS];
    qdisp_model *m = NULL;
    for (size_t i = 0; i < N_PARTS; i++) {
        size_t n = parts[i].rows * (parts[i].columns ? parts[i].columns : 1);
        float *data = tensors[i].data ? (float *)(uintptr_t)tensors[i].data : malloc(n * sizeof *data);
        for (size_t k = 0; k < n; k++)
            data[k] = (parts[i].columns ? 0 : 1) + 0.05f * tiny_random(5, (uint32_t)i, (uint32_t)k);
        tensors[i] = (qdisp_tensor){.name = parts[i].name, .data = data, .n_bytes = n * sizeof *data,
                                    .shape = {parts[i].rows, parts[i].columns}, .n_dims = parts[i].columns ? 2 : 1,
                                    .dtype = QDISP_DTYPE_F32};
    }
    const char *config = "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", "
                         "\"hidden_act\": \"silu\", "
                         "\"hidden_size\": 256, \"intermediate_size\": 256, \"num_attention_heads\": 4, "
                         "\"num_key_value_heads\": 2, \"num_hidden_layers\": 1, \"rms_norm_eps\": 1e-5, "
                         "\"vocab_size\": 61}";
    CHECK_STATUS(qdisp_model_from_tensors(ctx, config, tensors, N_PARTS, &m), QDISP_OK);
    return m;
}

/* The file's model has the bits of the model that the plan gives. */
static void check_values(const qdisp_table *plan, const qdisp_model *m, const qdisp_calib *calib) {
    qdisp_model *applied = NULL, *back = NULL;
    qdisp_plan_options options = {.size = sizeof options, .calib = calib};
    CHECK_STATUS(qdisp_plan_apply(plan, m, &options, &applied), QDISP_OK);
    CHECK_STATUS(qdisp_plan_write(plan, m, &options, "gguf", out_path), QDISP_OK);
    CHECK_STATUS(qdisp_model_open(ctx, out_path, &back), QDISP_OK);
    if (!back) printf("%s\n", qdisp_ctx_error(ctx));
    for (size_t i = 0; applied && back && i < m->n_tensors; i++) {
        static float x[EMBD * EMBD], y[EMBD * EMBD];
        size_t n = (size_t)qd_tensor_n_elements(&m->tensors[i]), same = 0;
        CHECK_STATUS(qdisp_model_read(applied, i, 0, n, x), QDISP_OK);
        CHECK_STATUS(qdisp_model_read(back, i, 0, n, y), QDISP_OK);
        for (size_t k = 0; k < n; k++) same += x[k] == y[k]; /* zeros may differ in sign */
        CHECK(same == n);
        if (same != n) printf("  %s: %zu of %zu\n", m->tensors[i].name, same, n);
    }
    qdisp_model_free(applied);
    qdisp_model_free(back);
}

static qdisp_table *plan_of(const qdisp_model *m, const char *method, const qdisp_calib *calib,
                            qdisp_quantizer_options options) {
    qdisp_quantizer *q = NULL;
    qdisp_table *plan = NULL;
    options.size = sizeof options;
    CHECK_STATUS(qdisp_quantizer_new(ctx, method, &options, &q), QDISP_OK);
    if (q) CHECK_STATUS(qdisp_quantizer_plan(q, m, calib, &plan), QDISP_OK);
    if (!plan) printf("%s\n", qdisp_ctx_error(ctx));
    qdisp_quantizer_free(q);
    return plan;
}

TEST(integers_are_stored_exactly) {
    static const char *const levels[] = {"narrow", "full", "asym"};
    static const int64_t groups[] = {32, 64, QDISP_GROUP_CHANNEL, QDISP_GROUP_TENSOR};
    qdisp_model *m = made_llama();
    for (unsigned i = 0; m && i < 7 * 3; i++) {
        qdisp_quantizer_options options = {.bits = 2 + i / 3, .group_size = groups[i % 4], .levels = levels[i % 3],
                                           .roles = "attn.q,mlp.up,head"};
        qdisp_table *plan = plan_of(m, i % 2 ? "aciq" : "rtn", NULL, options);
        if (plan && !(options.bits == 8 && i % 3 == 2)) check_values(plan, m, NULL);
        else if (plan) CHECK_STATUS(qdisp_plan_write(plan, m, NULL, "gguf", out_path), QDISP_EUNSUPPORTED);
        qdisp_table_free(plan);
    }
    qdisp_model_free(m);
}

static const char *const block_types[] = {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k",
                                          "q6_k"};

/* Of every map the energies of two languages: sw looks at the first half of the inputs. */
static qdisp_calib *fed_calib(const qdisp_model *m) {
    qdisp_calib *c = NULL;
    float rows[2 * EMBD];
    CHECK_STATUS(qdisp_calib_new(m, &c), QDISP_OK);
    for (size_t i = 0; c && i < m->n_linears; i++)
        for (int sw = 0; sw < 2; sw++) {
            for (size_t j = 0; j < 2 * EMBD; j++) rows[j] = (sw && j % EMBD > EMBD / 2 ? 0.1f : 1) + (float)(j % 7);
            const char *name = m->tensors[m->linears[i].i_weight].name;
            CHECK_STATUS(qdisp_calib_feed(c, sw ? "sw" : "en", 0, name, rows, 2, EMBD, i == 0 ? 9 : 0), QDISP_OK);
        }
    return c;
}

TEST(blocks_are_stored_as_they_are) {
    qdisp_model *m = made_llama();
    qdisp_calib *calib = m ? fed_calib(m) : NULL;
    for (size_t i = 0; calib && i < 2 * sizeof block_types / sizeof *block_types; i++) {
        bool imatrix = i % 2 == 1;
        qdisp_quantizer_options options = {.type = block_types[i / 2], .roles = "attn.k,mlp.down"};
        qdisp_table *plan = plan_of(m, imatrix ? "imatrix" : "rtn", imatrix ? calib : NULL, options);
        qd_tensor_file *file = NULL;
        const qdisp_tensor *k;
        if (!plan) continue;
        CHECK_STR(qdisp_table_str(plan, qdisp_table_find(plan, "type"))[0], block_types[i / 2]);
        check_values(plan, m, calib);
        CHECK_STATUS(qd_tensor_file_open(ctx, out_path, &file), QDISP_OK);
        if (file && (k = qd_tensor_file_find(file, "blk.0.attn_k.weight")))
            CHECK(!strcasecmp(qd_tensor_format(k), block_types[i / 2]));
        if (file) CHECK((qd_gguf_find(file->gguf, "qdisp.calibration.languages") != NULL) == imatrix);
        if (file) CHECK((qd_gguf_find(file->gguf, "quantize.imatrix.entries_count") != NULL) == imatrix);
        qd_tensor_file_free(file);
        qdisp_table_free(plan);
    }
    qdisp_calib_free(calib);
    qdisp_model_free(m);
}

TEST(mxfp4_is_stored_exactly) {
    qdisp_model *m = made_llama();
    qdisp_quantizer_options options = {.group_size = 32, .roles = "attn.k,mlp.up"};
    qdisp_table *plan = plan_of(m, "mxfp4", NULL, options);
    qd_tensor_file *file = NULL;
    const qdisp_tensor *k = NULL;
    if (plan) check_values(plan, m, NULL);
    CHECK_STATUS(qd_tensor_file_open(ctx, out_path, &file), QDISP_OK);
    if (file) k = qd_tensor_file_find(file, "blk.0.attn_k.weight");
    CHECK(k && !strcmp(qd_tensor_format(k), "MXFP4"));
    qd_tensor_file_free(file);
    qdisp_table_free(plan);
    qdisp_model_free(m);
}

/* What AWQ divides inputs by goes into the norms and maps before, which GGUF then has in f32. */
TEST(scaled_inputs_are_folded) {
    qdisp_model *m = made_llama(), *applied = NULL, *back = NULL;
    qdisp_calib *calib = fed_calib(m);
    qdisp_table *plan = plan_of(m, "awq", calib, (qdisp_quantizer_options){.bits = 4, .group_size = 32});
    size_t inputs = plan ? qdisp_table_find(plan, "inputs") : 0;
    CHECK(plan && qdisp_table_str(plan, inputs) && qdisp_table_str(plan, inputs)[0]);
    if (plan) CHECK_STATUS(qdisp_plan_apply(plan, m, NULL, &applied), QDISP_OK);
    if (plan) CHECK_STATUS(qdisp_plan_write(plan, m, NULL, "gguf", out_path), QDISP_OK);
    CHECK_STATUS(qdisp_model_open(ctx, out_path, &back), QDISP_OK);
    if (applied && back) {
        int32_t ids[17];
        size_t starts[2] = {0, 17};
        float x[17], y[17];
        for (int i = 0; i < 17; i++) ids[i] = (i * 7 + 1) % VOCAB;
        CHECK_STATUS(qdisp_model_nll(applied, ids, starts, 1, x), QDISP_OK);
        CHECK_STATUS(qdisp_model_nll(back, ids, starts, 1, y), QDISP_OK);
        for (int i = 1; i < 17; i++) CHECK_NEAR(x[i], y[i], 2e-3); /* scales are rounded to f16 once more */
    }
    qdisp_table_free(plan);
    qdisp_calib_free(calib);
    qdisp_model_free(applied);
    qdisp_model_free(back);
    qdisp_model_free(m);
}

/* Rows of 90 and 48: no blocks of 256, and none of 32. */
TEST(types_fall_back_as_llama_quantize_has_it) {
    qdisp_model *m = made_llama(), *odd = open_model("%s/test/golden/arch/%s", "llama");
    qdisp_quantizer *q = NULL;
    qdisp_table *plan = NULL;
    qdisp_quantizer_options options = {.size = sizeof options, .type = "q4_k"};
    CHECK_STATUS(qdisp_quantizer_new(ctx, "rtn", &options, &q), QDISP_OK);
    CHECK_STATUS(qdisp_quantizer_plan(q, odd, NULL, &plan), QDISP_EUNSUPPORTED);
    CHECK_HAS(qdisp_ctx_error(ctx), "no whole blocks of 32");
    qdisp_quantizer_free(q);
    q = NULL;
    CHECK_STATUS(qdisp_quantizer_new(ctx, "aciq", &options, &q), QDISP_OK);
    CHECK_STATUS(qdisp_quantizer_plan(q, m, NULL, &plan), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "use rtn or imatrix");
    qdisp_quantizer_free(q);
    q = NULL;
    options.type = "q9_z";
    CHECK_STATUS(qdisp_quantizer_new(ctx, "rtn", &options, &q), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "q4_k");
    options.type = NULL;
    qdisp_calib *calib = fed_calib(m);
    CHECK_STATUS(qdisp_quantizer_new(ctx, "imatrix", &options, &q), QDISP_OK);
    CHECK_STATUS(qdisp_quantizer_plan(q, m, calib, &plan), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "type of blocks");
    qdisp_quantizer_free(q);
    qdisp_calib_free(calib);
    qdisp_model_free(m);
    qdisp_model_free(odd);
}

TEST(what_cannot_be_stored_is_told) {
    qdisp_model *m = made_llama(), *t5 = open_model("%s/test/golden/arch/%s", "xglm");
    qdisp_table *plan = m ? plan_of(m, "rtn", NULL, (qdisp_quantizer_options){.group_size = 24}) : NULL;
    qdisp_table *none = empty_plan();
    unlink(out_path);
    if (plan) {
        CHECK_STATUS(qdisp_plan_write(plan, m, NULL, "gguf", out_path), QDISP_EUNSUPPORTED);
        CHECK_HAS(qdisp_ctx_error(ctx), "multiple of 32");
    }
    if (t5) {
        CHECK_STATUS(qdisp_plan_write(none, t5, NULL, "gguf", out_path), QDISP_EUNSUPPORTED);
        CHECK_HAS(qdisp_ctx_error(ctx), "xglm");
    }
    CHECK(access(out_path, F_OK) != 0);
    CHECK_STATUS(qdisp_plan_write(none, m, NULL, "gguf", "/nowhere/x.gguf"), QDISP_EIO);
    qdisp_table_free(plan);
    qdisp_table_free(none);
    qdisp_model_free(t5);
    qdisp_model_free(m);
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    snprintf(out_path, sizeof out_path, "/tmp/qdisp-pack-%ld.gguf", (long)getpid());
    RUN(folders_become_what_the_converter_writes);
    RUN(folders_come_back);
    RUN(files_come_back);
    RUN(integers_are_stored_exactly);
    RUN(blocks_are_stored_as_they_are);
    RUN(mxfp4_is_stored_exactly);
    RUN(scaled_inputs_are_folded);
    RUN(types_fall_back_as_llama_quantize_has_it);
    RUN(what_cannot_be_stored_is_told);
    unlink(out_path);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
