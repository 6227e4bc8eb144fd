/* Quantized folders: every value of every module has the bits that the format's own program gives
 * (test/golden/make_quantized.py), whatever piece of it is read. */
#include <dirent.h>

#include "harness.h"
#include "tensor/quantized.h"

#ifndef QDISP_ROOT
#define QDISP_ROOT "."
#endif
#define FOLDER QDISP_ROOT "/test/golden/quantized/"

static qdisp_ctx *ctx;

static qd_tensor_file *open_in(const char *folder, const char *name) {
    char path[1024];
    qd_tensor_file *file = NULL;
    snprintf(path, sizeof path, FOLDER "%s%s", folder, name);
    CHECK_STATUS(qd_weights_open(ctx, path, &file), QDISP_OK);
    if (!file) printf("  %s\n", qdisp_ctx_error(ctx));
    return file;
}

/* A NaN is as good as another. */
static int same(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) && !(isnan(a[i]) && isnan(b[i]))) return 0;
    return 1;
}

static size_t check_tensor(const char *folder, const qdisp_tensor *got, const qdisp_tensor *want) {
    size_t n = (size_t)qd_tensor_n_elements(want), columns = (size_t)want->shape[1];
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    const float *all = qd_load_f32(ctx->kernels, want->data, (qdisp_dtype)want->dtype, 0, n, y);
    const size_t pieces[] = {n, columns, 1, 5 * columns, 37, 17 * columns, 2 * columns + 3};
    CHECK(got->dtype == QDISP_DTYPE_PACKED && got->n_dims == 2 && got->shape[0] == want->shape[0] &&
          got->shape[1] == columns);
    CHECK(qd_tensor_value_dtype(got) == (qdisp_dtype)want->dtype);
    for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
        size_t piece = pieces[k];
        for (size_t at = 0; at < n; at += piece) {
            size_t m = n - at < piece ? n - at : piece;
            qd_load_f32(ctx->kernels, got->data, QDISP_DTYPE_PACKED, at, m, x);
            if (same(x, all + at, m)) continue;
            size_t bad = 0;
            while (same(x + bad, all + at + bad, 1)) bad++;
            printf("  %s: %s by %zu: element %zu is %.9g, not %.9g\n", folder, want->name, piece, at + bad,
                   (double)x[bad], (double)all[at + bad]);
            CHECK(!"bits");
            break;
        }
    }
    free(x);
    free(y);
    return n;
}

static void check_folder(const char *name, size_t *n_tensors, size_t *n_values) {
    qd_tensor_file *file = open_in(name, ""), *values = open_in(name, "/values.safetensors");
    size_t n_packed = 0;
    for (size_t i = 0; file && values && i < values->n_tensors; i++) {
        const qdisp_tensor *want = &values->tensors[i], *got = qd_tensor_file_find(file, want->name);
        CHECK(got != NULL);
        if (got) *n_values += check_tensor(name, got, want);
        else printf("  %s: no %s\n", name, want->name);
        ++*n_tensors;
    }
    for (size_t i = 0; file && values && i < file->n_tensors; i++) { /* no part is left */
        const char *t = file->tensors[i].name, *dot = strrchr(t, '.');
        n_packed += file->tensors[i].dtype == QDISP_DTYPE_PACKED;
        CHECK(!strcmp(dot, ".weight") || !strcmp(dot, ".bias"));
    }
    if (file && values) {
        CHECK(n_packed == values->n_tensors);
        CHECK(qd_tensor_file_find(file, "model.norm.weight"));
    }
    qd_tensor_file_free(file);
    qd_tensor_file_free(values);
}

TEST(test_as_their_owners_read_them) {
    size_t n_folders = 0, n_tensors = 0, n_values = 0;
    DIR *dir = opendir(FOLDER);
    CHECK(dir != NULL);
    for (const struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        check_folder(e->d_name, &n_tensors, &n_values);
        n_folders++;
    }
    if (dir) closedir(dir);
    printf("%zu values of %zu matrices in %zu folders\n", n_values, n_tensors, n_folders);
    CHECK(n_folders == 12 && n_tensors == 59);
}

TEST(test_formats_have_names) {
    static const char *const rows[][3] = {
        {"gptq", "m.w3.weight", "gptq-3bit"},      {"awq_gemm", "a.q.weight", "awq-4bit"},
        {"ct_pack", "m.int5.weight", "ct-int5"},   {"ct_fp4", "m.nv.weight", "ct-nvfp4"},
        {"bnb_4bit", "m.nf4.weight", "bnb-nf4"},   {"bnb_int8", "m.w.weight", "bnb-int8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qd_tensor_file *file = open_in(rows[i][0], "");
        const qdisp_tensor *t = file ? qd_tensor_file_find(file, rows[i][1]) : NULL;
        CHECK(t != NULL);
        if (t) CHECK_STR(qd_tensor_format(t), rows[i][2]);
        qd_tensor_file_free(file);
    }
}

TEST(test_other_methods_are_named) {
    static const struct {
        const char *config;
        qdisp_status status;
        const char *reason;
    } rows[] = {
        {"{\"model_type\":\"x\"}", QDISP_OK, ""},
        {"{\"model_type\":\"x\",\"quantization_config\":null}", QDISP_OK, ""},
        {"{\"model_type\":\"x\",\"quantization_config\":{\"quant_method\":\"aqlm\"}}", QDISP_EUNSUPPORTED,
         "method 'aqlm' is not read (these are: gptq awq auto-round compressed-tensors bitsandbytes fp8)"},
        {"{\"model_type\":\"x\",\"quantization_config\":{}}", QDISP_EUNSUPPORTED, "method ''"},
        {"{\"bits\":4,\"group_size\":128}", QDISP_OK, ""},
        {"{\"quant_method\":\"gptq\",\"checkpoint_format\":\"marlin\"}", QDISP_EUNSUPPORTED, "GPTQ format 'marlin'"},
        {"{\"quant_method\":\"gptq\",\"pack_dtype\":\"int64\"}", QDISP_EUNSUPPORTED, "words of 'int64'"},
        {"{\"quant_method\":\"awq\",\"version\":\"gemv_fast\"}", QDISP_EUNSUPPORTED, "AWQ version 'gemv_fast'"},
        {"{\"quant_method\":\"awq\",\"bits\":3}", QDISP_EUNSUPPORTED, "AWQ of 3 bits"},
        {"{\"quant_method\":\"auto-round\",\"packing_format\":\"auto_round:gguf\"}", QDISP_EUNSUPPORTED,
         "AutoRound packing 'auto_round:gguf'"},
        {"{\"quant_method\":\"compressed-tensors\",\"format\":\"marlin-24\"}", QDISP_EUNSUPPORTED,
         "compressed-tensors format 'marlin-24'"},
        {"{\"quant_method\":\"compressed-tensors\",\"sparsity_config\":{\"format\":\"sparse-24-bitmask\"}}",
         QDISP_EUNSUPPORTED, "sparse weights 'sparse-24-bitmask'"},
        {"{\"quant_method\":\"compressed-tensors\",\"transform_config\":{\"config_groups\":{\"R1\":{}}}}",
         QDISP_EUNSUPPORTED, "transform_config"},
    };
    static const float one = 1;
    const qdisp_tensor tensor = {.name = "w", .data = &one, .n_bytes = 4, .shape = {1}, .n_dims = 1,
                                 .dtype = QDISP_DTYPE_F32};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qd_tensor_file *file = NULL;
        json_t *config = json_loads(rows[i].config, 0, NULL);
        CHECK(config != NULL);
        CHECK_STATUS(qd_tensor_file_from(ctx, "memory", &tensor, 1, &file), QDISP_OK);
        CHECK_STATUS(qd_quantized_resolve(file, config), rows[i].status);
        if (rows[i].status != QDISP_OK) CHECK_HAS(qdisp_ctx_error(ctx), rows[i].reason);
        json_decref(config);
        qd_tensor_file_free(file);
    }
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(test_as_their_owners_read_them);
    RUN(test_formats_have_names);
    RUN(test_other_methods_are_named);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
