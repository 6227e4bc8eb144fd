/* A plan as what other quantizers read: names of the tool, anchored patterns, what the plan leaves out. */
#include "harness.h"
#include "model/model.h"

#include <jansson.h>
#include <qdisp/qdisp.h>

static qdisp_ctx *ctx;
static qdisp_model *model;
static char text[1 << 16];

static int keep(void *user, const char *bytes, size_t n) {
    size_t *at = user;
    if (*at + n >= sizeof text) return 1;
    memcpy(text + *at, bytes, n);
    text[*at += n] = 0;
    return 0;
}

static qdisp_table *plan_of(const qdisp_model *m, qdisp_quantizer_options options) {
    qdisp_quantizer *q = NULL;
    qdisp_table *plan = NULL;
    options.size = sizeof options;
    CHECK_STATUS(qdisp_quantizer_new(ctx, "rtn", &options, &q), QDISP_OK);
    CHECK_STATUS(qdisp_quantizer_plan(q, m, NULL, &plan), QDISP_OK);
    qdisp_quantizer_free(q);
    return plan;
}

static qdisp_status overrides(const qdisp_table *plan, const qdisp_model *m, const char *tool) {
    size_t n = 0;
    text[0] = 0;
    return qdisp_plan_overrides(plan, m, tool, keep, &n);
}

TEST(types_by_tensor) {
    qdisp_table *plan = plan_of(model, (qdisp_quantizer_options){.bits = 3, .roles = "attn.q"});
    CHECK_STATUS(overrides(plan, model, "llama-quantize"), QDISP_OK);
    CHECK_STR(text, "^blk\\.0\\.attn_q\\.weight$=q3_K\n^blk\\.1\\.attn_q\\.weight$=q3_K\n");
    CHECK_STATUS(overrides(plan, model, "ik_llama"), QDISP_OK);
    CHECK_STR(text, "^blk\\.0\\.attn_q\\.weight$=q3_K,^blk\\.1\\.attn_q\\.weight$=q3_K\n");
    qdisp_table_free(plan);
}

TEST(experts_are_one_tensor) {
    qdisp_model *m = NULL;
    CHECK_STATUS(qdisp_model_open(ctx, QDISP_ROOT "/test/golden/arch/mixtral", &m), QDISP_OK);
    if (!m) return;
    qdisp_table *plan = plan_of(m, (qdisp_quantizer_options){.bits = 8, .roles = "mlp.up"});
    CHECK_STATUS(overrides(plan, m, "llama-quantize"), QDISP_OK);
    CHECK_STR(text, "^blk\\.0\\.ffn_up_exps\\.weight$=q8_0\n^blk\\.1\\.ffn_up_exps\\.weight$=q8_0\n");
    qdisp_table_free(plan);
    qdisp_model_free(m);
}

static const json_t *at(const json_t *json, const char *key) {
    return json_object_get(json, key);
}

TEST(json_by_module) {
    static const char *const q = "model.layers.0.self_attn.q_proj", *const down = "model.layers.1.mlp.down_proj";
    qdisp_quantizer_options options = {.bits = 5, .group_size = 32, .roles = "attn.q,attn.k"};
    qdisp_table *plan = plan_of(model, options);
    CHECK_STATUS(overrides(plan, model, "gptqmodel"), QDISP_OK);
    json_t *json = json_loads(text, 0, NULL);
    const json_t *rule = at(json, "+:^model\\.layers\\.0\\.self_attn\\.q_proj$");
    CHECK(json_integer_value(at(rule, "bits")) == 5 && json_integer_value(at(rule, "group_size")) == 32);
    CHECK(json_is_true(at(rule, "sym")) && at(json, "-:^model\\.layers\\.1\\.mlp\\.down_proj$"));
    CHECK(json_object_size(json) == 14 && !at(json, "-:^lm_head$"));
    json_decref(json);
    CHECK_STATUS(overrides(plan, model, "auto-round"), QDISP_OK);
    json = json_loads(text, 0, NULL);
    CHECK(json_integer_value(at(at(json, q), "bits")) == 5 && json_integer_value(at(at(json, down), "bits")) == 16);
    json_decref(json);
    CHECK_STATUS(overrides(plan, model, "compressed-tensors"), QDISP_OK);
    json = json_loads(text, 0, NULL);
    const json_t *group = at(at(json, "config_groups"), "group_0");
    CHECK(json_object_size(at(json, "config_groups")) == 1 && json_array_size(at(group, "targets")) == 4);
    CHECK_STR(json_string_value(json_array_get(at(group, "targets"), 0)),
              "re:^model\\.layers\\.0\\.self_attn\\.q_proj$");
    CHECK_STR(json_string_value(at(at(group, "weights"), "strategy")), "group");
    CHECK(json_array_size(at(json, "ignore")) == 11);
    json_decref(json);
    qdisp_table_free(plan);
}

TEST(what_is_wrong_is_told) {
    qdisp_table *plan = plan_of(model, (qdisp_quantizer_options){.roles = "attn.q"});
    CHECK_STATUS(overrides(plan, model, "bitsandbytes"), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "auto-round");
    CHECK_STATUS(overrides(plan, model, NULL), QDISP_EINVAL);
    size_t full = sizeof text;
    CHECK_STATUS(qdisp_plan_overrides(plan, model, "gptqmodel", keep, &full), QDISP_EIO);
    qdisp_table_free(plan);
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    if (qdisp_model_open(ctx, QDISP_ROOT "/test/golden/arch/llama", &model) != QDISP_OK) return 1;
    RUN(types_by_tensor);
    RUN(experts_are_one_tensor);
    RUN(json_by_module);
    RUN(what_is_wrong_is_told);
    qdisp_model_free(model);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
