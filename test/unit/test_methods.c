/* test_methods.c - codes of quantizers that have tables of their own, against the programs of their owners
 * (test/golden/make_codebooks.py), and what plans say of them. */
#include "tiny.h"

#include "model/model.h"
#include "quant/quant.h"

enum { N_OUT = 8, N_IN = 128, N = N_OUT * N_IN };

static qdisp_ctx *ctx;
static float weights[N];

static qd_choice choice_of(const char *method, size_t n_out, size_t n_in, int64_t group) {
    static uint8_t zeros[N];
    qd_choice c = {.name = "w", .method = qd_method_find(method), .data = weights, .dtype = QDISP_DTYPE_F32,
                   .n_out = n_out, .n_in = n_in, .bits = 4, .group_size = group, .clips = zeros, .gains = zeros};
    c.type = c.method->type ? c.method->type : "int";
    c.n_units = qd_unit_count(n_out, n_in, group, &c.units_per_row);
    return c;
}

/* Fields: scales, codes. */
static void codebook_row(const char *method, int64_t group, char *fields) {
    qd_choice c = choice_of(method, N_OUT, N_IN, group);
    qd_codes codes;
    float decoded[N];
    size_t n_bad = 0;
    char *at = fields;
    CHECK_STATUS(qd_choice_quantize(ctx, &c, NULL, &codes), QDISP_OK);
    CHECK(codes.levels && codes.bits == 4 && codes.n_groups == (size_t)(N_IN / group));
    for (size_t g = 0; g < N_OUT * codes.n_groups; g++, at++) {
        uint32_t bits = (uint32_t)strtoul(at, &at, 16), got;
        memcpy(&got, &codes.scales[g], 4);
        n_bad += bits != got;
    }
    for (size_t i = 0; i < N; i++) {
        char digit[2] = {at[i], 0};
        n_bad += codes.codes[i] != strtoul(digit, NULL, 16);
    }
    CHECK(n_bad == 0);
    qd_codes_decode(ctx, &codes, 0, N_OUT, decoded);
    for (size_t i = 0; i < N; i++)
        n_bad += !(decoded[i] == codes.scales[i / (size_t)group] * codes.levels[codes.codes[i]]);
    CHECK(n_bad == 0);
    qd_codes_clear(ctx, &codes);
}

TEST(tables_of_16_give_their_owners_codes) {
    static char line[1 << 15];
    FILE *f = fopen(QDISP_ROOT "/test/golden/codebooks.txt", "r");
    int n_rows = 0;
    CHECK(f != NULL);
    while (f && fgets(line, sizeof line, f)) {
        char *at = strchr(line, ' ');
        if (!at || *line == '#') continue;
        *at++ = 0;
        if (!strcmp(line, "weights")) {
            for (size_t i = 0; i < N; i++) {
                uint32_t bits = (uint32_t)strtoul(at, &at, 16);
                memcpy(&weights[i], &bits, 4);
            }
            continue;
        }
        codebook_row(line, strcmp(line, "mxfp4") ? 64 : 32, at);
        n_rows++;
    }
    if (f) fclose(f);
    CHECK(n_rows == 3);
}

static const char *const own_codes[] = {"hqq", "nf4", "fp4", "mxfp4"};

TEST(codes_do_not_depend_on_threads_or_instructions) {
    qdisp_ctx *other = tiny_ctx(3, "c");
    for (size_t i = 0; i < N; i++) weights[i] = tiny_random(8, 1, (uint32_t)i);
    for (size_t m = 0; m < 4; m++)
        for (int64_t group = -2; group <= 64; group = group < 0 ? group + 1 : group + 24) {
            if (group == 0) continue;
            if (!strcmp(own_codes[m], "mxfp4") && group != 24) continue;
            /* rows with a last group that is shorter */
            qd_choice c = choice_of(own_codes[m], 10, 100, strcmp(own_codes[m], "mxfp4") ? group : 32);
            qd_codes a, b;
            CHECK_STATUS(qd_choice_quantize(ctx, &c, NULL, &a), QDISP_OK);
            CHECK_STATUS(qd_choice_quantize(other, &c, NULL, &b), QDISP_OK);
            CHECK(!memcmp(a.codes, b.codes, 1000) && !memcmp(a.scales, b.scales, 10 * a.n_groups * sizeof *a.scales));
            if (a.offsets) CHECK(!memcmp(a.offsets, b.offsets, 10 * a.n_groups * sizeof *a.offsets));
            float out[1000];
            double error = 0, energy = 0;
            qd_codes_decode(ctx, &a, 0, 10, out);
            for (size_t i = 0; i < 1000; i++) {
                error += pow((double)weights[i] - (double)out[i], 2);
                energy += pow((double)weights[i], 2);
            }
            CHECK(error < 0.03 * energy); /* four bits of a normal law */
            qd_codes_clear(ctx, &a);
            qd_codes_clear(other, &b);
        }
    qdisp_ctx_free(other);
}

TEST(bad_weights_and_options_are_named) {
    for (size_t m = 0; m < 4; m++) {
        qd_choice c = choice_of(own_codes[m], N_OUT, N_IN, 32);
        qd_codes codes;
        for (size_t i = 0; i < N; i++) weights[i] = 1;
        weights[N - 3] = m % 2 ? INFINITY : NAN;
        CHECK_STATUS(qd_choice_quantize(ctx, &c, NULL, &codes), QDISP_ENUMERIC);
        CHECK_HAS(qdisp_ctx_error(ctx), "w: a weight is not finite");
        CHECK(codes.codes == NULL);
    }
    weights[N - 3] = 1e6f;
    qd_choice c = choice_of("hqq", N_OUT, N_IN, QDISP_GROUP_TENSOR);
    qd_codes codes;
    CHECK_STATUS(qd_choice_quantize(ctx, &c, NULL, &codes), QDISP_ENUMERIC);
    CHECK_HAS(qdisp_ctx_error(ctx), "16-bit");
    static const struct {
        const char *method, *options, *part;
        uint64_t bits;
        int64_t group;
    } rows[] = {{"hqq", "lp=2", "lp", 4, 64},           {"hqq", "beta=0", "beta", 4, 64},
                {"hqq", "iterations=1.5", "iterations", 4, 64}, {"hqq", "steps=3", "no option 'steps'", 4, 64},
                {"percentile", "percentile=0", "percentile", 4, 64}, {"nf4", NULL, "4 bits", 3, 64},
                {"mxfp4", NULL, "groups of 32", 4, 64}, {"la-aciq", "share=0", "share", 4, 64},
                {"la-aciq", "tau=0.5", "tau", 4, 64},   {"mse", "x", "name=number", 4, 64},
                {"mse", "=1", "name=number", 4, 64},    {"percentile", "percentile=1,", "name=number", 4, 64}};
    tiny *t = tiny_make(1, 32, 1, 1);
    qdisp_model *m = tiny_model(ctx, t);
    qdisp_calib *calib = NULL;
    CHECK_STATUS(qdisp_calib_new(m, &calib), QDISP_OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qdisp_quantizer_options o = {.size = sizeof o, .bits = rows[i].bits, .group_size = rows[i].group,
                                     .options = rows[i].options};
        qdisp_quantizer *q = NULL;
        qdisp_table *plan = NULL;
        qdisp_status status = qdisp_quantizer_new(ctx, rows[i].method, &o, &q);
        if (status == QDISP_OK) status = qdisp_quantizer_plan(q, m, calib, &plan);
        CHECK_STATUS(status, QDISP_EINVAL);
        CHECK_HAS(qdisp_ctx_error(ctx), rows[i].part);
        CHECK(plan == NULL);
        qdisp_quantizer_free(q);
    }
    static const char *const bad_weights[] = {"en", "en:1,", "en:0.5", "en:1.5,de:-0.5", "en:0.5,en:0.5", "en:x", ":1"};
    for (size_t i = 0; i < 7; i++) {
        qdisp_quantizer_options o = {.size = sizeof o, .weights = bad_weights[i]};
        qdisp_quantizer *q = NULL;
        CHECK_STATUS(qdisp_quantizer_new(ctx, "mse", &o, &q), QDISP_EINVAL);
        CHECK_HAS(qdisp_ctx_error(ctx), "weights");
    }
    qdisp_calib_free(calib);
    qdisp_model_free(m);
    tiny_free(t);
}

TEST(a_plan_of_every_method_is_applied_as_it_was_measured) {
    static const char *const methods[] = {"rtn", "aciq", "percentile", "mse", "kl", "hqq", "nf4", "fp4", "mxfp4"};
    tiny *t = tiny_make(3, 32, 1, 1);
    qdisp_model *m = tiny_model(ctx, t);
    for (size_t k = 0; k < sizeof methods / sizeof *methods; k++) {
        qdisp_quantizer_options o = {.size = sizeof o, .roles = "mlp.up", .group_size = 32,
                                     .levels = k % 2 ? "asym" : "full"};
        qdisp_quantizer *q = NULL;
        qdisp_table *plan = NULL;
        qdisp_model *out = NULL;
        CHECK_STATUS(qdisp_quantizer_new(ctx, methods[k], &o, &q), QDISP_OK);
        CHECK_STATUS(qdisp_quantizer_plan(q, m, NULL, &plan), QDISP_OK);
        CHECK_STATUS(qdisp_plan_apply(plan, m, NULL, &out), QDISP_OK);
        double error = 0, energy = 0, told = qdisp_table_f64(plan, qdisp_table_find(plan, "error_rel"))[0];
        for (size_t i = 0; out && i < m->n_tensors; i++) {
            if (!strstr(m->tensors[i].name, "h_to_4h.weight")) continue;
            const float *a = m->tensors[i].data, *b = out->tensors[i].data;
            for (size_t j = 0; j < 128 * 32; j++) {
                error += pow((double)a[j] - (double)b[j], 2);
                energy += pow((double)a[j], 2);
            }
        }
        CHECK_NEAR(told, error / energy, 1e-5);
        CHECK(told > 0 && told < 0.05);
        qdisp_model_free(out);
        qdisp_table_free(plan);
        qdisp_quantizer_free(q);
    }
    qdisp_model_free(m);
    tiny_free(t);
}

int main(void) {
    ctx = tiny_ctx(2, NULL);
    if (!ctx) return 1;
    RUN(tables_of_16_give_their_owners_codes);
    RUN(codes_do_not_depend_on_threads_or_instructions);
    RUN(bad_weights_and_options_are_named);
    RUN(a_plan_of_every_method_is_applied_as_it_was_measured);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
