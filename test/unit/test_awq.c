/* Activation-aware quantization: inputs are scaled for what languages send, the plan says how, and that helps. */
#include "tiny.h"

#include "model/model.h"
#include "quant/quant.h"

#define UP "transformer.h.0.mlp.dense_h_to_4h.weight"     /* [64, 16], read from a norm */
#define DOWN "transformer.h.0.mlp.dense_4h_to_h.weight"   /* [16, 64], from a GELU: cannot be scaled */
#define OUT "transformer.h.0.self_attention.dense.weight" /* [16, 16], from the values of two heads */

enum { N_ROWS = 64 };
static qdisp_ctx *ctx;
static tiny *weights;
static qdisp_model *model;
static qdisp_calib *calib;
static float inputs[N_ROWS * 64];

/* Channel 3 of every input is 30 times the others. */
static void feed(qdisp_calib *c, const char *language, const char *tensor, size_t n_in, size_t loud) {
    for (int guard = 0; guard < 2; guard++) {
        for (uint32_t i = 0; i < N_ROWS * n_in; i++)
            inputs[i] = tiny_random(5, (uint32_t)guard, i) * (i % n_in == loud ? 30.0f : 1.0f);
        CHECK_STATUS(qdisp_calib_feed(c, language, guard, tensor, inputs, N_ROWS, n_in, 100), QDISP_OK);
    }
}

static qdisp_table *plan_of(const char *method, const char *roles, int64_t group_size) {
    qdisp_quantizer_options o = {.size = sizeof o, .bits = 3, .group_size = group_size, .roles = roles};
    qdisp_quantizer *q = NULL;
    qdisp_table *plan = NULL;
    CHECK_STATUS(qdisp_quantizer_new(ctx, method, &o, &q), QDISP_OK);
    CHECK_STATUS(qdisp_quantizer_plan(q, model, calib, &plan), QDISP_OK);
    qdisp_quantizer_free(q);
    if (!plan) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
    return plan;
}

static const char *cell(const qdisp_table *plan, const char *column, const char *tensor) {
    const char *const *names = qdisp_table_str(plan, qdisp_table_find(plan, "tensor"));
    for (size_t r = 0; r < qdisp_table_n_rows(plan); r++)
        if (!strcmp(names[r], tensor)) return qdisp_table_str(plan, qdisp_table_find(plan, column))[r];
    return NULL;
}

static size_t tensor_of(const char *name) {
    for (size_t i = 0; i < model->n_tensors; i++)
        if (!strcmp(model->tensors[i].name, name)) return i;
    return 0;
}

/* The mean of |y - y'|^2 over the rows that were fed, for one map. */
static double output_error(const qdisp_table *plan, const char *name, size_t n_out, size_t n_in) {
    qdisp_model *q = NULL;
    CHECK_STATUS(qdisp_plan_apply(plan, model, NULL, &q), QDISP_OK);
    if (!q) return NAN;
    const float *w = model->tensors[tensor_of(name)].data, *v = q->tensors[tensor_of(name)].data;
    double sum = 0;
    for (size_t r = 0; r < N_ROWS; r++)
        for (size_t i = 0; i < n_out; i++) {
            double y = 0;
            for (size_t j = 0; j < n_in; j++)
                y += (double)inputs[r * n_in + j] * ((double)w[i * n_in + j] - (double)v[i * n_in + j]);
            sum += y * y / N_ROWS;
        }
    qdisp_model_free(q);
    return sum;
}

TEST(a_loud_channel_is_made_small_and_its_column_large) {
    qdisp_table *awq = plan_of("awq", "mlp.up", QDISP_GROUP_CHANNEL);
    qdisp_table *rtn = plan_of("rtn", "mlp.up", QDISP_GROUP_CHANNEL);
    const char *scales = cell(awq, "inputs", UP);
    CHECK(scales && strlen(scales) == 16);
    for (int j = 0; scales && j < 16; j++)
        CHECK(j == 3 || strchr(QD_CLIP_CODES, scales[j]) < strchr(QD_CLIP_CODES, scales[3]));
    CHECK(cell(rtn, "inputs", UP) == NULL);
    feed(calib, "xx", UP, 16, 3); /* the same rows once more: inputs holds them */
    double plain = output_error(rtn, UP, 64, 16), scaled = output_error(awq, UP, 64, 16);
    printf("output error of a map with a loud channel at 3 bits: rtn %.4g, awq %.4g\n", plain, scaled);
    CHECK(scaled < 0.25 * plain);
    qdisp_table_free(awq);
    qdisp_table_free(rtn);
}

TEST(only_what_can_be_folded_is_scaled_and_heads_stay_together) {
    qdisp_table *plan = plan_of("awq", NULL, 8);
    CHECK(cell(plan, "inputs", DOWN) == NULL);
    CHECK(cell(plan, "clip", DOWN) != NULL);
    const char *scales = cell(plan, "inputs", OUT);
    CHECK(scales && strlen(scales) == 16);
    qdisp_table_free(plan);
}

TEST(a_plan_with_scaled_inputs_through_csv_gives_the_same_weights) {
    char path[] = "/tmp/qdisp-awq-XXXXXX";
    CHECK(mkstemp(path) >= 0);
    qdisp_table *plan = plan_of("awq", NULL, 8), *back = NULL;
    qdisp_model *a = NULL, *b = NULL;
    CHECK_STATUS(qdisp_table_save(plan, path, "csv"), QDISP_OK);
    CHECK_STATUS(qdisp_table_open_csv(ctx, path, "plan", &back), QDISP_OK);
    CHECK_STATUS(qdisp_plan_apply(plan, model, NULL, &a), QDISP_OK);
    CHECK_STATUS(qdisp_plan_apply(back, model, NULL, &b), QDISP_OK);
    for (size_t i = 0; a && b && i < a->n_tensors; i++)
        CHECK(!memcmp(a->tensors[i].data, b->tensors[i].data, a->tensors[i].n_bytes));
    qdisp_model_free(a);
    qdisp_model_free(b);
    qdisp_table_free(plan);
    qdisp_table_free(back);
    remove(path);
}

TEST(factors_are_written_down) {
    CHECK(qd_input_factor(32) == 1 && qd_input_factor(24) == 0.5f && qd_input_factor(40) == 2);
    for (unsigned k = 0; k < 64; k++) {
        CHECK_NEAR(qd_input_factor(k), exp2(((double)k - 32) / 8), 1e-7);
        CHECK(qd_input_code(log2((double)qd_input_factor(k))) == k);
    }
    CHECK(qd_input_code(-9) == 0 && qd_input_code(9) == 63);
}

TEST(bad_factors_and_thresholds_are_refused) {
    qdisp_table *plan = plan_of("awq", "mlp.up", QDISP_GROUP_CHANNEL);
    size_t column = qdisp_table_find(plan, "inputs");
    qdisp_model *q = NULL;
    CHECK_STATUS(qdisp_table_set_str(plan, 0, column, "ggg"), QDISP_OK);
    CHECK_STATUS(qdisp_plan_apply(plan, model, NULL, &q), QDISP_EMISMATCH);
    CHECK_HAS(qdisp_ctx_error(ctx), "plan row 1: inputs has 3 characters, the tensor 16 inputs");
    CHECK_STATUS(qdisp_table_set_str(plan, 0, column, "?"), QDISP_OK);
    CHECK_STATUS(qdisp_plan_apply(plan, model, NULL, &q), QDISP_EINVAL);
    CHECK(q == NULL);
    qdisp_table_free(plan);
    qdisp_quantizer_options o = {.size = sizeof o, .group_size = QDISP_GROUP_TENSOR};
    qdisp_quantizer *quantizer = NULL;
    CHECK_STATUS(qdisp_quantizer_new(ctx, "awq", &o, &quantizer), QDISP_OK);
    plan = NULL;
    CHECK_STATUS(qdisp_quantizer_plan(quantizer, model, calib, &plan), QDISP_EUNSUPPORTED);
    CHECK(plan == NULL);
    CHECK_STATUS(qdisp_quantizer_plan(quantizer, model, NULL, &plan), QDISP_EINVAL);
    qdisp_quantizer_free(quantizer);
}

int main(void) {
    ctx = tiny_ctx(2, NULL);
    weights = tiny_make(1, 16, 1, 1);
    model = tiny_model(ctx, weights);
    CHECK_STATUS(qdisp_calib_new(model, &calib), QDISP_OK);
    for (size_t i = 0; i < model->n_linears; i++)
        if (model->linears[i].layer >= 0)
            feed(calib, "xx", model->tensors[model->linears[i].i_weight].name, model->linears[i].n_in, 3);
    RUN(a_loud_channel_is_made_small_and_its_column_large);
    RUN(only_what_can_be_folded_is_scaled_and_heads_stay_together);
    RUN(a_plan_with_scaled_inputs_through_csv_gives_the_same_weights);
    RUN(factors_are_written_down);
    RUN(bad_factors_and_thresholds_are_refused);
    qdisp_calib_free(calib);
    qdisp_model_free(model);
    qdisp_ctx_free(ctx);
    tiny_free(weights);
    return TEST_END();
}
