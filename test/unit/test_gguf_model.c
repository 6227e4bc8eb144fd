/* GGUF models as llama.cpp's converter wrote them (test/golden/make_gguf_models.py) beside the folders they came from:
 * the same tensors by name, role and bits, and the same losses. Some things no GGUF file tells. */
#include <unistd.h>

#include "harness.h"
#include "model/model.h"

static const struct {
    const char *folder, *name;
    bool same_losses; /* the file says all that the config says */
} models[] = {
    {"golden/bloom_f16", "bloom_f16", true},
    {"golden/arch/gpt2", "gpt2", true},
    {"golden/arch/gpt_neox_serial", "gpt_neox_serial", true},
    {"golden/arch/falcon_new", "falcon_new", true},
    {"golden/arch/llama_linear", "llama_linear", true},
    {"golden/arch/llama_yarn", "llama_yarn", true},
    {"golden/arch/llama_llama3", "llama_llama3", true},
    {"golden/arch/mixtral", "mixtral", true},
    {"golden/arch/qwen3_moe", "qwen3_moe", true},
    {"golden/arch/phi3_longrope", "phi3_longrope", true},
    {"golden/arch/gemma3", "gemma3", false}, /* sliding_window_pattern and query_pre_attn_scalar are not written */
    {"golden/arch/t5", "t5", false},         /* relative_attention_max_distance is not written */
};
#define N_MODELS (sizeof models / sizeof *models)

static qdisp_ctx *gguf_ctx;

static qdisp_model *open_model(const char *format, const char *name) {
    char path[512];
    qdisp_model *m = NULL;
    snprintf(path, sizeof path, format, QDISP_ROOT, name);
    CHECK_STATUS(qdisp_model_open(gguf_ctx, path, &m), QDISP_OK);
    if (!m) printf("%s\n", qdisp_ctx_error(gguf_ctx));
    return m;
}

static void same_tensor(const qdisp_model *a, const qdisp_model *b, size_t i) {
    qdisp_tensor x, y;
    CHECK(qdisp_model_tensor(a, i, &x) == QDISP_OK && qdisp_model_tensor(b, i, &y) == QDISP_OK);
    size_t n = (size_t)qd_tensor_n_elements(&x);
    bool same = x.n_dims == y.n_dims && !memcmp(x.shape, y.shape, sizeof x.shape);
    CHECK(same && qdisp_model_layer(a, i) == qdisp_model_layer(b, i));
    CHECK(qdisp_model_expert(a, i) == qdisp_model_expert(b, i));
    CHECK_STR(qdisp_model_role(a, i), qdisp_model_role(b, i));
    if (strcmp(x.name, "lm_head.weight")) CHECK_STR(x.name, y.name); /* transformers 5 renames GPT-NeoX's */
    if (!same) return;
    float *values = malloc(3 * n * sizeof *values);
    CHECK_STATUS(qdisp_model_read(a, i, 0, n, values), QDISP_OK);
    CHECK_STATUS(qdisp_model_read(b, i, 0, n, values + n), QDISP_OK);
    CHECK(!memcmp(values, values + n, n * sizeof *values));
    for (size_t at = 0, m = 1; at < n; at += m, m = m % 37 + 5 < n - at ? m % 37 + 5 : n - at) { /* in pieces, too */
        if (m > n - at) m = n - at;
        CHECK_STATUS(qdisp_model_read(b, i, at, m, values + 2 * n + at), QDISP_OK);
    }
    CHECK(!memcmp(values, values + 2 * n, n * sizeof *values));
    free(values);
}

TEST(tensors_are_those_of_the_folder) {
    for (size_t k = 0; k < N_MODELS; k++) {
        qdisp_model *a = open_model("%s/test/%s", models[k].folder);
        qdisp_model *b = open_model("%s/test/golden/gguf/%s.gguf", models[k].name);
        int bad = harness_bad;
        CHECK(a && b && qdisp_model_n_tensors(a) == qdisp_model_n_tensors(b));
        for (size_t i = 0; a && b && i < qdisp_model_n_tensors(a); i++) same_tensor(a, b, i);
        if (harness_bad != bad) printf("  in %s\n", models[k].name);
        qdisp_model_free(a);
        qdisp_model_free(b);
    }
}

static size_t losses_of(const qdisp_model *m, float *nll) {
    enum { N = 40 };
    int32_t ids[N];
    static const size_t starts[] = {0, 1, 14, N};
    bool seq2seq = qdisp_model_describe(m)->kind == QDISP_MODEL_ENCODER_DECODER;
    for (size_t i = 0; i < N; i++) ids[i] = (int32_t)(4 + i * 7 % (qdisp_model_describe(m)->n_vocab - 4));
    qdisp_batch batch = {.size = sizeof batch, .ids = ids, .starts = starts, .n_seq = 3,
                         .source_ids = seq2seq ? ids : NULL, .source_starts = seq2seq ? starts : NULL};
    qdisp_run_options run = {.size = sizeof run, .nll = nll};
    CHECK_STATUS(qdisp_model_run(m, &batch, &run), QDISP_OK);
    return N;
}

TEST(losses_are_those_of_the_folder) {
    for (size_t k = 0; k < N_MODELS; k++) {
        float x[64] = {0}, y[64] = {0};
        qdisp_model *a = open_model("%s/test/%s", models[k].folder);
        qdisp_model *b = open_model("%s/test/golden/gguf/%s.gguf", models[k].name);
        if (!a || !b) continue;
        size_t n = losses_of(a, x);
        CHECK(losses_of(b, y) == n);
        double worst = 0;
        for (size_t i = 0; i < n; i++) {
            if (!isnan(x[i]) || !isnan(y[i])) worst = fmax(worst, fabs((double)x[i] - (double)y[i]));
        }
        printf("%s: losses differ by at most %.1e nats\n", models[k].name, worst);
        /* divisors of frequencies are f32 in the file: angles move by 1e-7 of them */
        CHECK(!models[k].same_losses || worst < 1e-5);
        qdisp_model_free(a);
        qdisp_model_free(b);
    }
}

/* Saved, it is a folder that opens and has the same tensors and losses. */
TEST(saved_as_a_folder) {
    for (size_t k = 0; k < N_MODELS; k++) {
        char folder[] = "/tmp/qdisp-test-XXXXXX", path[64], command[128];
        qdisp_model *a = open_model("%s/test/golden/gguf/%s.gguf", models[k].name), *b = NULL;
        CHECK(mkdtemp(folder) != NULL);
        snprintf(path, sizeof path, "%s/x", folder);
        if (!a) continue;
        int bad = harness_bad;
        float x[64] = {0}, y[64] = {0};
        CHECK_STATUS(qdisp_model_save(a, path), QDISP_OK);
        CHECK_STATUS(qdisp_model_open(gguf_ctx, path, &b), QDISP_OK);
        CHECK(b && qdisp_model_n_tensors(a) == qdisp_model_n_tensors(b));
        for (size_t i = 0; b && i < qdisp_model_n_tensors(a); i++) same_tensor(a, b, i);
        if (b) {
            losses_of(a, x);
            losses_of(b, y);
            CHECK(!memcmp(x, y, sizeof x));
        }
        if (harness_bad != bad) printf("  in %s: %s\n", models[k].name, qdisp_ctx_error(gguf_ctx));
        qdisp_model_free(a);
        qdisp_model_free(b);
        snprintf(command, sizeof command, "rm -rf '%s'", folder);
        CHECK(system(command) == 0);
    }
}

int main(void) {
    if (qdisp_ctx_new(NULL, &gguf_ctx) != QDISP_OK) return 1;
    RUN(tensors_are_those_of_the_folder);
    RUN(losses_are_those_of_the_folder);
    RUN(saved_as_a_folder);
    qdisp_ctx_free(gguf_ctx);
    return TEST_END();
}
