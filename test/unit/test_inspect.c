/* What is at a path, told for every kind of thing; nothing that can lie there is an obstacle. */
#include <ftw.h>
#include <unistd.h>

#include "base/base.h"
#include "harness.h"

#include <qdisp/qdisp.h>

static qdisp_ctx *ctx;

static const char *value_of(const qdisp_report *report, const char *property) {
    const qdisp_table *t = report ? qdisp_report_find(report, "summary") : NULL;
    for (size_t i = 0; t && i < qdisp_table_n_rows(t); i++)
        if (!strcmp(qdisp_table_str(t, 0)[i], property)) return qdisp_table_str(t, 1)[i];
    return "";
}

static qdisp_report *inspect(const char *path) {
    qdisp_report *report = NULL;
    CHECK_STATUS(qdisp_inspect(ctx, path, &report), QDISP_OK);
    if (!report) printf("%s\n", qdisp_ctx_error(ctx));
    return report;
}

TEST(models) {
    static const struct {
        const char *path, *container, *architecture, *kind, *positions, *n_positions, *head;
    } cases[] = {
        {"examples/data/model", "safetensors", "bloom", "decoder", "alibi", "no limit", "tied to the embedding"},
        {"test/golden/arch/gpt2", "safetensors", "gpt2", "decoder", "learned", "64", "tied to the embedding"},
        {"test/golden/arch/bert", "safetensors", "bert", "masked", "learned", "64", "tied to the embedding"},
        {"test/golden/arch/mt5", "safetensors", "t5", "encoder-decoder", "relative", "no limit", "its own"},
        {"test/golden/arch/llama_yarn", "safetensors", "llama", "decoder", "rope", "no limit", "its own"},
        {"test/golden/arch/xglm", "safetensors", "xglm", "decoder", "sinusoidal", "no limit", "tied to the embedding"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", QDISP_ROOT, cases[i].path);
        qdisp_report *r = inspect(path);
        CHECK_STR(value_of(r, "container"), cases[i].container);
        CHECK_STR(value_of(r, "architecture"), cases[i].architecture);
        CHECK_STR(value_of(r, "kind"), cases[i].kind);
        CHECK_HAS(value_of(r, "positions"), cases[i].positions);
        CHECK_STR(value_of(r, "head"), cases[i].head);
        if (strcmp(cases[i].positions, "rope")) CHECK_STR(value_of(r, "n_positions"), cases[i].n_positions);
        CHECK_STR(value_of(r, "tokenizer"), i ? "none: tokenizer.json: No such file or directory" : "BPE");
        if (!i) CHECK_STR(value_of(r, "bos_id"), "1 <s>");
        qdisp_report_free(r);
    }
}

TEST(tables_of_a_mixture) {
    qdisp_report *r = inspect(QDISP_ROOT "/test/golden/arch/mixtral");
    CHECK_STR(value_of(r, "n_expert"), "4");
    CHECK_STR(value_of(r, "n_expert_used"), "2");
    const qdisp_table *t = r ? qdisp_report_find(r, "tensors") : NULL, *f = r ? qdisp_report_find(r, "formats") : NULL;
    int64_t n_experts = 0, n_bytes = 0, n_parameters = 0;
    for (size_t i = 0; t && i < qdisp_table_n_rows(t); i++) {
        int64_t expert = qdisp_table_i64(t, qdisp_table_find(t, "expert"))[i];
        CHECK((expert != QDISP_MISSING_I64) == (strstr(qdisp_table_str(t, 0)[i], "experts.") != NULL));
        n_experts += expert == 3;
        n_bytes += qdisp_table_i64(t, qdisp_table_find(t, "n_bytes"))[i];
        n_parameters += qdisp_table_i64(t, qdisp_table_find(t, "n_parameters"))[i];
    }
    CHECK(n_experts == 2 * 3);
    CHECK(f && qdisp_table_n_rows(f) == 1 && qdisp_table_i64(f, 3)[0] == n_bytes);
    CHECK(f && qdisp_table_i64(f, 2)[0] == n_parameters && atoll(value_of(r, "n_parameters")) == n_parameters);
    qdisp_report_free(r);
}

TEST(parts_alone) {
    qdisp_report *r = inspect(QDISP_ROOT "/test/golden/arch/bert/golden.safetensors");
    CHECK_STR(value_of(r, "container"), "safetensors");
    CHECK_HAS(value_of(r, "model"), "none: ");
    const qdisp_table *t = r ? qdisp_report_find(r, "tensors") : NULL;
    CHECK(t && qdisp_table_str(t, qdisp_table_find(t, "role"))[0] == NULL);
    t = r ? qdisp_report_find(r, "metadata") : NULL;
    CHECK(t && qdisp_table_n_rows(t) == 1);
    if (t) {
        CHECK_STR(qdisp_table_str(t, 0)[0], "versions");
        CHECK_HAS(qdisp_table_str(t, 1)[0], "transformers");
    }
    qdisp_report_free(r);
    r = inspect(QDISP_ROOT "/examples/data/model/tokenizer.json");
    CHECK_STR(value_of(r, "tokenizer"), "BPE");
    CHECK_STR(value_of(r, "n_tokens"), "8192");
    CHECK(r && !qdisp_report_find(r, "tensors") && !qdisp_report_find(r, "files"));
    qdisp_report_free(r);
}

TEST(nothing_there) {
    static const struct {
        const char *path;
        qdisp_status status;
        const char *reason;
    } cases[] = {{"/no/such/path", QDISP_ENOTFOUND, "/no/such/path"},
                 {QDISP_ROOT "/examples/data/text", QDISP_ENOTFOUND, "no model"},
                 {QDISP_ROOT "/examples/data/text/en.txt", QDISP_EUNSUPPORTED, "not a container"},
                 {"", QDISP_ENOTFOUND, "No such file"}};
    qdisp_report *r = NULL;
    qdisp_table *t = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_STATUS(qdisp_inspect(ctx, cases[i].path, &r), cases[i].status);
        CHECK_HAS(qdisp_ctx_error(ctx), cases[i].reason);
        CHECK_STATUS(qdisp_census_weights(ctx, cases[i].path, &t), cases[i].status);
    }
    CHECK_STATUS(qdisp_inspect(ctx, NULL, &r), QDISP_EINVAL);
    CHECK_STATUS(qdisp_census_weights(ctx, NULL, &t), QDISP_EINVAL);
    CHECK(!r && !t);
}

/* Whatever lies at a path: told, or refused with a reason. */
static size_t n_told, n_refused;

static int visit(const char *path, const struct stat *info, int type) {
    qdisp_report *r = NULL;
    qdisp_table *t = NULL;
    (void)info;
    (void)type;
    qdisp_status status = qdisp_inspect(ctx, path, &r);
    if (status == QDISP_OK) CHECK(*value_of(r, "model") || *value_of(r, "architecture"));
    else CHECK(strlen(qdisp_ctx_error(ctx)) > 9);
    if (status == QDISP_OK) n_told++;
    else n_refused++;
    status = qdisp_census_weights(ctx, path, &t);
    CHECK((status == QDISP_OK) == (t != NULL));
    qdisp_report_free(r);
    qdisp_table_free(t);
    return 0;
}

TEST(whatever_lies_there) {
    CHECK(ftw(QDISP_ROOT "/test/hostile", visit, 16) == 0);
    CHECK(ftw(QDISP_ROOT "/test/golden", visit, 16) == 0);
    printf("%zu paths told, %zu refused\n", n_told, n_refused);
    CHECK(n_told > 100 && n_refused > 100);
}

TEST(census_of_weights) {
    qdisp_model *model = NULL;
    qdisp_table *a = NULL, *b = NULL;
    CHECK_STATUS(qdisp_model_open(ctx, QDISP_ROOT "/test/golden/arch/mixtral", &model), QDISP_OK);
    CHECK_STATUS(qdisp_census(model, &a), QDISP_OK);
    CHECK_STATUS(qdisp_census_weights(ctx, QDISP_ROOT "/test/golden/arch/mixtral/model.safetensors", &b), QDISP_OK);
    size_t n = a ? qdisp_table_n_rows(a) : 0, n_same = 0;
    CHECK(n > 0 && b && qdisp_table_n_rows(b) == n);
    for (size_t i = 0; b && i < n; i++) {
        CHECK(!qdisp_table_str(b, 1)[i] && qdisp_table_i64(b, 2)[i] == QDISP_MISSING_I64);
        for (size_t k = 0; k < n; k++) {
            if (strcmp(qdisp_table_str(a, 0)[k], qdisp_table_str(b, 0)[i])) continue;
            n_same++;
            for (size_t c = 4; c < qdisp_table_n_columns(a); c++) {
                if (qdisp_table_f64(a, c)) CHECK_NEAR(qdisp_table_f64(a, c)[k], qdisp_table_f64(b, c)[i], 0);
                if (qdisp_table_i64(a, c)) CHECK(qdisp_table_i64(a, c)[k] == qdisp_table_i64(b, c)[i]);
            }
        }
    }
    CHECK(n_same == n);
    qdisp_table_free(a);
    qdisp_table_free(b);
    qdisp_model_free(model);
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(models);
    RUN(tables_of_a_mixture);
    RUN(parts_alone);
    RUN(nothing_there);
    RUN(census_of_weights);
    RUN(whatever_lies_there);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
