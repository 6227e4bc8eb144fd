/* Quantized folders: what is written is read back to the bit by our own readers, whole or not at all. */
#include "archs.h"

#include "quant/checkpoint.h"
#include "quant/engine.h"

#include <sys/stat.h>
#include <unistd.h>

static char folder[64], path_text[256];
static size_t n_matrices;

static const char *in_folder(const char *name) {
    snprintf(path_text, sizeof path_text, "%s/%s", folder, name);
    return path_text;
}

static int exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

static void remove_all(const char *path) {
    char command[512];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    if (system(command) != 0) puts("a temporary folder is left");
}

/* A Llama of two blocks: 4 query heads of 16 share 2 value heads; 64 inputs, 96 in between. */
enum { EMBD = 64, FF = 96, VOCAB = 50, N_LAYER = 2, MAX_TENSORS = 32 };
static const char *const config =
    "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"vocab_size\": 50, \"hidden_size\": 64,"
    " \"intermediate_size\": 96, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,"
    " \"rms_norm_eps\": 1e-5, \"hidden_act\": \"silu\", \"max_position_embeddings\": 64,"
    " \"tie_word_embeddings\": false, \"torch_dtype\": \"bfloat16\"}";

static qdisp_tensor tensors[MAX_TENSORS];
static char names[MAX_TENSORS][80];
static size_t n_tensors;

static void add_tensor(const char *name, size_t rows, size_t columns) {
    size_t n = rows * (columns ? columns : 1);
    float *data = malloc(n * sizeof *data);
    for (size_t i = 0; i < n; i++) {
        double x = 0;
        for (uint64_t k = 0; k < 6; k++) x += sign(n_tensors + 100 * k, i);
        data[i] = (float)(columns ? x / 20 : 1 + x / 30);
    }
    snprintf(names[n_tensors], sizeof names[0], "%s", name);
    tensors[n_tensors] = (qdisp_tensor){.name = names[n_tensors], .data = data, .n_bytes = n * sizeof *data,
                                        .shape = {rows, columns}, .n_dims = columns ? 2 : 1,
                                        .dtype = QDISP_DTYPE_F32};
    n_tensors++;
}

static void make_tensors(void) {
    static const struct {
        const char *name;
        size_t rows, columns;
    } of_layer[] = {{"input_layernorm.weight", EMBD, 0},           {"self_attn.q_proj.weight", EMBD, EMBD},
                    {"self_attn.k_proj.weight", 32, EMBD},         {"self_attn.v_proj.weight", 32, EMBD},
                    {"self_attn.o_proj.weight", EMBD, EMBD},       {"post_attention_layernorm.weight", EMBD, 0},
                    {"mlp.gate_proj.weight", FF, EMBD},            {"mlp.up_proj.weight", FF, EMBD},
                    {"mlp.down_proj.weight", EMBD, FF}};
    char name[80];
    add_tensor("model.embed_tokens.weight", VOCAB, EMBD);
    for (size_t layer = 0; layer < N_LAYER; layer++)
        for (size_t i = 0; i < sizeof of_layer / sizeof *of_layer; i++) {
            snprintf(name, sizeof name, "model.layers.%zu.%s", layer, of_layer[i].name);
            add_tensor(name, of_layer[i].rows, of_layer[i].columns);
        }
    add_tensor("model.norm.weight", EMBD, 0);
    add_tensor("lm_head.weight", VOCAB, EMBD);
}

static qdisp_ctx *ctx;
static qdisp_model *model;

static qdisp_table *plan_of(const qdisp_model *m, const char *method, const qdisp_calib *calib,
                            qdisp_quantizer_options o) {
    qdisp_quantizer *q = NULL;
    qdisp_table *plan = NULL;
    o.size = sizeof o;
    CHECK_STATUS(qdisp_quantizer_new(m->ctx, method, &o, &q), QDISP_OK);
    CHECK_STATUS(qdisp_quantizer_plan(q, m, calib, &plan), QDISP_OK);
    qdisp_quantizer_free(q);
    if (!plan) printf("%s\n", qdisp_ctx_error(m->ctx)), exit(1);
    return plan;
}

static size_t tensor_of(const qdisp_model *m, const char *name) {
    for (size_t i = 0; i < m->n_tensors; i++)
        if (!strcmp(m->tensors[i].name, name)) return i;
    printf("no tensor %s\n", name);
    exit(1);
}

static float *read_tensor(const qdisp_model *m, size_t i_tensor) {
    size_t n = (size_t)qd_tensor_n_elements(&m->tensors[i_tensor]);
    float *x = malloc(n * sizeof *x);
    CHECK_STATUS(qdisp_model_read(m, i_tensor, 0, n, x), QDISP_OK);
    return x;
}

/* Every tensor of the folder is what applying the plan gives, quantized ones rounded to the type of their scales. */
static void check_written(const qdisp_model *m, const qdisp_table *plan, const char *path) {
    qdisp_model *applied = NULL, *back = NULL;
    CHECK_STATUS(qdisp_plan_apply(plan, m, NULL, &applied), QDISP_OK);
    CHECK_STATUS(qdisp_model_open(m->ctx, path, &back), QDISP_OK);
    if (!back) printf("%s: %s\n", path, qdisp_ctx_error(m->ctx));
    for (size_t i = 0; back && applied && i < m->n_tensors; i++) {
        size_t k = tensor_of(back, m->tensors[i].name), n = (size_t)qd_tensor_n_elements(&m->tensors[i]);
        bool is_quantized = back->tensors[k].dtype == QDISP_DTYPE_PACKED;
        float *a = read_tensor(applied, i), *b = read_tensor(back, k);
        if (is_quantized) m->ctx->kernels->round_f16(a, n, a);
        n_matrices += is_quantized;
        CHECK(!memcmp(a, b, n * sizeof *a));
        if (memcmp(a, b, n * sizeof *a)) printf("%s: %s differs\n", path, m->tensors[i].name);
        free(a);
        free(b);
    }
    if (back) CHECK_HAS(back->config_text, "\"quantization_config\"");
    if (back) CHECK_HAS(back->config_text, "\"qdisp\"");
    qdisp_model_free(applied);
    qdisp_model_free(back);
}

static void check_format(const qdisp_model *m, const qdisp_table *plan, const char *format) {
    char path[256];
    snprintf(path, sizeof path, "%s", in_folder(format));
    CHECK_STATUS(qdisp_plan_write(plan, m, NULL, format, path), QDISP_OK);
    if (!exists(path)) printf("%s: %s\n", format, qdisp_ctx_error(m->ctx));
    else check_written(m, plan, path);
    remove_all(path);
}

static const char *const formats[] = {"gptq", "gptq_v2", "compressed-tensors"};

TEST(all_bits_groups_and_levels_come_back_to_the_bit) {
    static const int64_t groups[] = {QDISP_GROUP_TENSOR, QDISP_GROUP_CHANNEL, 32};
    static const char *const levels[] = {"narrow", "full", "asym"};
    for (size_t f = 0; f < 3; f++)
        for (uint64_t bits = 2; bits <= 8; bits++)
            for (size_t g = 0; g < 3; g++)
                for (size_t l = 0; l < 3; l++) {
                    if (f < 2 && (bits == 5 || bits == 6 || bits == 7)) continue;
                    qdisp_quantizer_options o = {.bits = bits, .group_size = groups[g], .levels = levels[l]};
                    qdisp_table *plan = plan_of(model, "rtn", NULL, o);
                    check_format(model, plan, formats[f]);
                    qdisp_table_free(plan);
                }
    printf("%zu matrices written and read\n", n_matrices);
    CHECK(n_matrices == 14 * 9 * (4 + 4 + 7));
}

TEST(compressed_tensors_hold_every_architecture_with_linear_modules) {
    size_t before = n_matrices, n_refused = 0;
    for (size_t i = 0; i < n_folders; i++) {
        golden g;
        char path[256];
        if (!open_golden(&g, folders[i], 2)) continue;
        qdisp_table *plan = plan_of(g.model, "rtn", NULL, (qdisp_quantizer_options){.bits = 3, .group_size = -1});
        snprintf(path, sizeof path, "%s", in_folder("arch"));
        qdisp_status status = qdisp_plan_write(plan, g.model, NULL, "compressed-tensors", path);
        if (status == QDISP_OK) check_written(g.model, plan, path);
        else CHECK_STATUS(status, QDISP_EUNSUPPORTED); /* experts fused in one tensor, [n_in, n_out] */
        n_refused += status != QDISP_OK;
        CHECK((status == QDISP_OK) == exists(path));
        remove_all(path);
        qdisp_table_free(plan);
        close_golden(&g);
    }
    printf("%zu matrices of %zu models, %zu models refused\n", n_matrices - before, n_folders, n_refused);
    CHECK(n_refused < n_folders / 3);
}

/* --- scaled inputs --- */

static float *logits_of(const qdisp_model *m) {
    static const int32_t ids[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 35};
    float *logits = malloc(10 * VOCAB * sizeof *logits);
    CHECK_STATUS(qdisp_model_forward(m, ids, 10, logits), QDISP_OK);
    return logits;
}

/* A calibration where channel 5 of every input is loud. */
static qdisp_calib *loud(const qdisp_model *m) {
    qdisp_calib *calib = NULL;
    float rows[8 * FF];
    CHECK_STATUS(qdisp_calib_new(m, &calib), QDISP_OK);
    for (size_t i = 0; i < m->n_linears; i++) {
        const qd_linear *l = &m->linears[i];
        for (int guard = 0; guard < 2; guard++) {
            for (size_t k = 0; k < 8 * l->n_in; k++) rows[k] = (float)(sign(k, i) * (k % l->n_in == 5 ? 40 : 1));
            CHECK_STATUS(qdisp_calib_feed(calib, "xx", guard, m->tensors[l->i_weight].name, rows, 8, l->n_in, 9),
                         QDISP_OK);
        }
    }
    return calib;
}

TEST(scaled_inputs_go_into_norms_and_rows) {
    qdisp_calib *calib = loud(model);
    qdisp_table *plan = plan_of(model, "awq", calib, (qdisp_quantizer_options){.bits = 4, .group_size = 32});
    qdisp_model *applied = NULL;
    CHECK_STATUS(qdisp_plan_apply(plan, model, NULL, &applied), QDISP_OK);
    float *wanted = logits_of(applied), *plain = logits_of(model);
    for (size_t f = 0; f < 3; f++) {
        char path[256];
        qdisp_model *back = NULL;
        snprintf(path, sizeof path, "%s", in_folder(formats[f]));
        CHECK_STATUS(qdisp_plan_write(plan, model, NULL, formats[f], path), QDISP_OK);
        CHECK_STATUS(qdisp_model_open(ctx, path, &back), QDISP_OK);
        if (!back) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
        float *got = logits_of(back);
        double error = difference(got, wanted, 10 * VOCAB);
        printf("%s with scaled inputs: logits off by %.1e of the largest, by quantization %.1e\n", formats[f], error,
               difference(wanted, plain, 10 * VOCAB));
        check_error(&(golden){.name = formats[f]}, "logits", error, 2e-3); /* scales, products: 16 bits, 2^-11 */
        CHECK(error > 0);
        free(got);
        qdisp_model_free(back);
        remove_all(path);
    }
    free(wanted);
    free(plain);
    qdisp_model_free(applied);
    qdisp_table_free(plan);
    qdisp_calib_free(calib);
}

/* --- kept weights --- */

TEST(kept_weights_are_an_overlay_that_our_reader_honours) {
    qdisp_table *plan = plan_of(model, "rtn", NULL, (qdisp_quantizer_options){.bits = 3, .group_size = 32});
    CHECK_STATUS(qdisp_table_set_str(plan, 3, qdisp_table_find(plan, "keep"), "0:1 7:63 63:0"), QDISP_OK);
    CHECK_STATUS(qdisp_table_set_str(plan, 6, qdisp_table_find(plan, "keep"), "63:95"), QDISP_OK);
    for (size_t f = 0; f < 3; f++) {
        char path[256];
        qdisp_model *applied = NULL, *back = NULL;
        snprintf(path, sizeof path, "%s", in_folder(formats[f]));
        CHECK_STATUS(qdisp_plan_write(plan, model, NULL, formats[f], path), QDISP_OK);
        CHECK_STATUS(qdisp_plan_apply(plan, model, NULL, &applied), QDISP_OK);
        CHECK_STATUS(qdisp_model_open(ctx, path, &back), QDISP_OK);
        if (!back || !applied) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
        size_t i = model->linears[3].i_weight, n = EMBD * EMBD, n_other = 0;
        float *a = read_tensor(applied, i), *b = read_tensor(back, tensor_of(back, model->tensors[i].name));
        const float *w = model->tensors[i].data;
        for (size_t k = 0; k < n; k++) n_other += b[k] != qd_f16_to_f32(qd_f32_to_f16(a[k]));
        CHECK(n_other == 0);
        CHECK(b[1] == qd_f16_to_f32(qd_f32_to_f16(w[1])) && b[7 * EMBD + 63] == a[7 * EMBD + 63]);
        CHECK(b[63 * EMBD] == a[63 * EMBD]);
        /* in pieces, too */
        float piece[3];
        i = tensor_of(back, model->tensors[i].name);
        CHECK_STATUS(qdisp_model_read(back, i, 63 * EMBD - 1, 3, piece), QDISP_OK);
        CHECK(!memcmp(piece, b + 63 * EMBD - 1, sizeof piece));
        free(a);
        free(b);
        qdisp_model_free(applied);
        qdisp_model_free(back);
        remove_all(path);
    }
    qdisp_table_free(plan);
}

/* --- refusals --- */

static void check_refused(const qdisp_table *plan, const char *format, qdisp_status wanted, const char *part) {
    char path[256];
    snprintf(path, sizeof path, "%s", in_folder("refused"));
    CHECK_STATUS(qdisp_plan_write(plan, model, NULL, format, path), wanted);
    CHECK_HAS(qdisp_ctx_error(ctx), part);
    CHECK(!exists(path));
    snprintf(path, sizeof path, "%s", in_folder("refused.partial"));
    CHECK(!exists(path));
}

TEST(what_a_format_cannot_hold_is_refused_by_name) {
    qdisp_table *plan = plan_of(model, "rtn", NULL, (qdisp_quantizer_options){.bits = 5, .group_size = 32});
    check_refused(plan, "gptq", QDISP_EUNSUPPORTED, "no 5 bits");
    check_refused(plan, "gguff", QDISP_EINVAL, "compressed-tensors");
    qdisp_table_free(plan);
    plan = plan_of(model, "rtn", NULL, (qdisp_quantizer_options){.bits = 4, .group_size = 24});
    check_refused(plan, "compressed-tensors", QDISP_EUNSUPPORTED, "whole groups of 24");
    qdisp_table_free(plan);
    plan = plan_of(model, "rtn", NULL, (qdisp_quantizer_options){.bits = 4, .group_size = 32, .roles = "head"});
    check_refused(plan, "gptq", QDISP_EUNSUPPORTED, "lm_head.weight: gptq holds multiples of 32");
    CHECK_STATUS(qdisp_table_set_str(plan, 0, qdisp_table_find(plan, "inputs"), "i"), QDISP_OK);
    check_refused(plan, "compressed-tensors", QDISP_EUNSUPPORTED, "lm_head.weight");
    qdisp_table_free(plan);
}

TEST(a_folder_in_use_and_what_a_killed_run_left_are_refused) {
    qdisp_table *plan = plan_of(model, "rtn", NULL, (qdisp_quantizer_options){.bits = 4, .group_size = 32});
    char path[256], partial[256];
    snprintf(path, sizeof path, "%s", in_folder("used"));
    snprintf(partial, sizeof partial, "%s", in_folder("used.partial"));
    CHECK(mkdir(partial, 0777) == 0);
    CHECK_STATUS(qdisp_plan_write(plan, model, NULL, "gptq", path), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "used.partial: there already");
    CHECK(exists(partial) && !exists(path));
    CHECK(rmdir(partial) == 0 && mkdir(path, 0777) == 0);
    CHECK_STATUS(qdisp_plan_write(plan, model, NULL, "gptq", path), QDISP_OK); /* an empty one is taken */
    CHECK_STATUS(qdisp_plan_write(plan, model, NULL, "gptq", path), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "used: exists");
    remove_all(path);
    qdisp_table_free(plan);
}

TEST(a_failure_in_the_middle_leaves_nothing) {
    float *w = (float *)(uintptr_t)tensors[tensor_of(model, "model.layers.1.mlp.down_proj.weight")].data, old = w[9];
    qdisp_table *plan = plan_of(model, "rtn", NULL, (qdisp_quantizer_options){.bits = 4, .group_size = 32});
    w[9] = NAN;
    for (size_t f = 0; f < 3; f++) check_refused(plan, formats[f], QDISP_ENUMERIC, "model.layers.1.mlp.down_proj");
    w[9] = old;
    qdisp_table_free(plan);
}

TEST(config_says_what_is_quantized) {
    qdisp_table *plan = plan_of(model, "rtn", NULL, (qdisp_quantizer_options){.bits = 4, .group_size = 32,
                                                                             .roles = "attn.q,mlp.up,head"});
    static const struct {
        size_t format;
        const char *parts[6];
    } wanted[] = {{0, {"\"checkpoint_format\": \"gptq\"", "\"sym\": true", "\"group_size\": 32",
                       "\"-:^model\\\\.layers\\\\.1\\\\.mlp\\\\.down_proj$\": {}",
                       "\"+:^model\\\\.layers\\\\.0\\\\.mlp\\\\.up_proj$\"", "\"torch_dtype\": \"float16\""}},
                  {2, {"\"pack-quantized\"", "\"model.layers.0.mlp.down_proj\"", "\"strategy\": \"channel\"",
                       "\"group_1\"", "\"num_bits\": 8", "\"method\": \"rtn\""}}};
    qdisp_table_free(plan);
    plan = plan_of(model, "rtn", NULL, (qdisp_quantizer_options){.bits = 4, .group_size = 32,
                                                                 .roles = "attn.q,mlp.up"});
    CHECK_STATUS(qdisp_table_set_i64(plan, 1, qdisp_table_find(plan, "bits"), 8), QDISP_OK);
    CHECK_STATUS(qdisp_table_set_i64(plan, 1, qdisp_table_find(plan, "group_size"), -1), QDISP_OK);
    CHECK_STATUS(qdisp_table_set_str(plan, 1, qdisp_table_find(plan, "clip"), "A"), QDISP_OK);
    CHECK_STATUS(qdisp_table_set_str(plan, 1, qdisp_table_find(plan, "gain"), "A"), QDISP_OK);
    for (size_t i = 0; i < 2; i++) {
        qdisp_model *back = NULL;
        char path[256];
        snprintf(path, sizeof path, "%s", in_folder("said"));
        CHECK_STATUS(qdisp_plan_write(plan, model, NULL, formats[wanted[i].format], path), QDISP_OK);
        CHECK_STATUS(qdisp_model_open(ctx, path, &back), QDISP_OK);
        if (!back) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
        for (size_t k = 0; k < 6; k++) CHECK_HAS(back->config_text, wanted[i].parts[k]);
        qdisp_model_free(back);
        remove_all(path);
    }
    qdisp_table_free(plan);
}

int main(int argc, char **argv) {
    qdisp_ctx_options options = {.size = sizeof options, .n_threads = 2, .own_blas = 1};
    snprintf(folder, sizeof folder, "/tmp/qdisp-packers-XXXXXX");
    if (!mkdtemp(folder) || !list_folders(argc, argv)) return 1;
    CHECK_STATUS(qdisp_ctx_new(&options, &ctx), QDISP_OK);
    make_tensors();
    CHECK_STATUS(qdisp_model_from_tensors(ctx, config, tensors, n_tensors, &model), QDISP_OK);
    if (!model) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
    RUN(all_bits_groups_and_levels_come_back_to_the_bit);
    RUN(compressed_tensors_hold_every_architecture_with_linear_modules);
    RUN(scaled_inputs_go_into_norms_and_rows);
    RUN(kept_weights_are_an_overlay_that_our_reader_honours);
    RUN(what_a_format_cannot_hold_is_refused_by_name);
    RUN(a_folder_in_use_and_what_a_killed_run_left_are_refused);
    RUN(a_failure_in_the_middle_leaves_nothing);
    RUN(config_says_what_is_quantized);
    qdisp_model_free(model);
    qdisp_ctx_free(ctx);
    for (size_t i = 0; i < n_tensors; i++) free((void *)(uintptr_t)tensors[i].data);
    remove_all(folder);
    return TEST_END();
}
