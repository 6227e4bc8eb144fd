/* Importance matrices: what languages merge to by tokens, bytes, sentences and weights, in both forms of llama.cpp's;
 * read back they are the same; MoE experts are slices of one tensor. */
#include "calib/calib.h"
#include "harness.h"
#include "model/model.h"
#include "tensor/gguf.h"

#include <qdisp/qdisp.h>
#include <unistd.h>

static qdisp_ctx *ctx;
static qdisp_model *model;
static char path[64];

enum { N_IN = 24 }; /* of bloom's attention */
static const char *const map = "transformer.h.1.self_attention.dense.weight";

/* Two languages: en has 30 rows of 1, 2, 3 ... and 100 bytes, sw 10 rows of 1 and 300 bytes. */
static qdisp_calib *fed(const qdisp_model *m, const char *tensor) {
    static float rows[30 * N_IN];
    qdisp_calib *c = NULL;
    CHECK_STATUS(qdisp_calib_new(m, &c), QDISP_OK);
    for (size_t k = 0; k < 30 * N_IN; k++) rows[k] = (float)(k % N_IN + 1);
    CHECK_STATUS(qdisp_calib_feed(c, "en", 0, tensor, rows, 20, N_IN, 70), QDISP_OK);
    CHECK_STATUS(qdisp_calib_feed(c, "en", 1, tensor, rows, 10, N_IN, 30), QDISP_OK);
    for (size_t k = 0; k < 10 * N_IN; k++) rows[k] = 1;
    CHECK_STATUS(qdisp_calib_feed(c, "sw", 0, tensor, rows, 10, N_IN, 300), QDISP_OK);
    return c;
}

static void check_sums(qdisp_imatrix_options options, double of_en, double of_sw) {
    qdisp_calib *c = fed(model, map);
    qd_tensor_file *file = NULL;
    qd_gguf_text text;
    int64_t n = 0;
    options.size = sizeof options;
    CHECK_STATUS(qdisp_imatrix_save(c, model, &options, path), QDISP_OK);
    CHECK_STATUS(qd_tensor_file_open(ctx, path, &file), QDISP_OK);
    const qdisp_tensor *sums = file ? qd_tensor_file_find(file, "blk.1.attn_output.weight.in_sum2") : NULL;
    const qdisp_tensor *counts = file ? qd_tensor_file_find(file, "blk.1.attn_output.weight.counts") : NULL;
    CHECK(sums && counts && qd_tensor_n_elements(sums) == N_IN && qd_tensor_n_elements(counts) == 1);
    if (sums && counts) {
        CHECK(*(const float *)counts->data == 40);
        for (size_t j = 0; j < N_IN; j++) {
            double square = (double)((j + 1) * (j + 1));
            CHECK_NEAR(((const float *)sums->data)[j], 40 * (of_en * square + of_sw), 1e-6);
        }
        CHECK(qd_gguf_string(qd_gguf_find(file->gguf, "general.type"), &text) && qd_gguf_is(text, "imatrix"));
        CHECK(qd_gguf_int(qd_gguf_find(file->gguf, "imatrix.chunk_size"), 0, &n) && n == 512);
        CHECK(qd_gguf_find(file->gguf, "imatrix.chunk_count") && qd_gguf_find(file->gguf, "imatrix.datasets")->n == 2);
    }
    qd_tensor_file_free(file);
    qdisp_calib_free(c);
}

TEST(merged_by_tokens_bytes_sentences_and_weights) {
    double mean = 0; /* of en's squares: languages are taken in units of theirs */
    for (size_t j = 1; j <= N_IN; j++) mean += (double)(j * j) / N_IN;
    check_sums((qdisp_imatrix_options){0}, 0.75, 0.25);
    check_sums((qdisp_imatrix_options){.merge = "byte"}, 0.25, 0.75);
    check_sums((qdisp_imatrix_options){.merge = "sentence"}, 0.5, 0.5);
    double all = 0.25 * mean + 0.75 * 1; /* the mean stays that of the languages' means */
    check_sums((qdisp_imatrix_options){.weights = "en:1,sw:3"}, 0.25 * all / mean, 0.75 * all);
    check_sums((qdisp_imatrix_options){.weights = "sw:1"}, 0, 1);
}

TEST(both_forms_come_back) {
    qdisp_calib *c = fed(model, map), *back = NULL;
    for (uint64_t legacy = 0; legacy < 2; legacy++) {
        double wanted[N_IN], got[N_IN];
        qdisp_imatrix_options options = {.size = sizeof options, .legacy = legacy};
        CHECK_STATUS(qdisp_imatrix_save(c, model, &options, path), QDISP_OK);
        CHECK_STATUS(qdisp_imatrix_open(model, path, "und", &back), QDISP_OK);
        size_t i = 0;
        while (back && strcmp(back->names[i], map)) i++;
        CHECK(back && back->n_languages == 1 && !strcmp(back->languages[0].tag, "und"));
        if (back) {
            CHECK(back->languages[0].folds[0].n_rows[i] == 40 && back->languages[0].folds[0].n_rows[0] == 0);
            CHECK(qd_calib_energy(back, 0, QD_N_FOLDS, i, got));
            for (size_t j = 0; j < N_IN; j++) {
                wanted[j] = 0.75 * (double)((j + 1) * (j + 1)) + 0.25;
                CHECK_NEAR(got[j], wanted[j], 1e-6);
            }
        }
        qdisp_calib_free(back);
        back = NULL;
    }
    qdisp_calib_free(c);
}

TEST(what_is_wrong_is_told) {
    static const struct {
        qdisp_imatrix_options options;
        qdisp_status status;
        const char *reason;
    } cases[] = {{{.merge = "word"}, QDISP_EINVAL, "token, byte or sentence"},
                 {{.weights = "en:1,de:1"}, QDISP_EMISMATCH, "no language 'de'"},
                 {{.weights = "en"}, QDISP_EINVAL, "language:weight"},
                 {{.weights = "en:"}, QDISP_EINVAL, "language:weight"},
                 {{.weights = "en:-1"}, QDISP_EINVAL, "language:weight"},
                 {{.weights = "en:1;sw:1"}, QDISP_EINVAL, "language:weight"},
                 {{.weights = "en:nan"}, QDISP_EINVAL, "language:weight"},
                 {{.weights = "en:0"}, QDISP_EINVAL, "nothing to merge"}};
    qdisp_calib *c = fed(model, map), *out = NULL, *empty = NULL;
    unlink(path);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qdisp_imatrix_options options = cases[i].options;
        options.size = sizeof options;
        CHECK_STATUS(qdisp_imatrix_save(c, model, &options, path), cases[i].status);
        CHECK_HAS(qdisp_ctx_error(ctx), cases[i].reason);
    }
    CHECK_STATUS(qdisp_calib_new(model, &empty), QDISP_OK);
    CHECK_STATUS(qdisp_imatrix_save(empty, model, NULL, path), QDISP_EINVAL);
    CHECK(access(path, F_OK) != 0);
    CHECK_STATUS(qdisp_imatrix_open(model, "/nowhere", "en", &out), QDISP_ENOTFOUND);
    CHECK_STATUS(qdisp_imatrix_open(model, path, "", &out), QDISP_EINVAL);
    CHECK(out == NULL);
    qdisp_calib_free(c);
    qdisp_calib_free(empty);
}

TEST(experts_are_slices) {
    qdisp_model *m = NULL;
    qdisp_calib *c = NULL, *back = NULL;
    qd_tensor_file *file = NULL;
    CHECK_STATUS(qdisp_model_open(ctx, QDISP_ROOT "/test/golden/arch/mixtral", &m), QDISP_OK);
    if (!m) return;
    size_t i = 0, n_expert = m->config.n_expert;
    while (m->linears[i].expert != 1 || m->linears[i].slot != QD_SLOT_EXPERT_DOWN) i++;
    const char *name = m->tensors[m->linears[i].i_weight].name;
    size_t n_in = m->linears[i].n_in;
    float *rows = malloc(3 * n_in * sizeof *rows);
    for (size_t k = 0; k < 3 * n_in; k++) rows[k] = 2;
    CHECK_STATUS(qdisp_calib_new(m, &c), QDISP_OK);
    CHECK_STATUS(qdisp_calib_feed(c, "en", 0, name, rows, 3, n_in, 9), QDISP_OK);
    CHECK_STATUS(qdisp_imatrix_save(c, m, NULL, path), QDISP_OK);
    CHECK_STATUS(qd_tensor_file_open(ctx, path, &file), QDISP_OK);
    const qdisp_tensor *counts = file ? qd_tensor_file_find(file, "blk.0.ffn_down_exps.weight.counts") : NULL;
    CHECK(counts && qd_tensor_n_elements(counts) == n_expert);
    if (counts) CHECK(((const float *)counts->data)[0] == 0 && ((const float *)counts->data)[1] == 3);
    CHECK_STATUS(qdisp_imatrix_open(m, path, "en", &back), QDISP_OK);
    if (back) CHECK(!memcmp(back->languages[0].folds[0].squares, c->languages[0].folds[0].squares, c->total * 8));
    free(rows);
    qd_tensor_file_free(file);
    qdisp_calib_free(c);
    qdisp_calib_free(back);
    qdisp_model_free(m);
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    if (qdisp_model_open(ctx, QDISP_ROOT "/test/golden/arch/bloom", &model) != QDISP_OK) return 1;
    snprintf(path, sizeof path, "/tmp/qdisp-imatrix-%ld", (long)getpid());
    RUN(merged_by_tokens_bytes_sentences_and_weights);
    RUN(both_forms_come_back);
    RUN(what_is_wrong_is_told);
    RUN(experts_are_slices);
    unlink(path);
    qdisp_model_free(model);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
