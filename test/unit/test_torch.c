/* PyTorch checkpoints: every view as torch reads it (test/golden/make_torch.py), by any piece. */
#include "harness.h"
#include "tensor/tensor.h"

#ifndef QDISP_ROOT
#define QDISP_ROOT "."
#endif
#define FOLDER QDISP_ROOT "/test/golden/torch/"

static qdisp_ctx *ctx;

TEST(test_views) {
    qd_tensor_file *file = NULL, *golden = NULL;
    CHECK_STATUS(qd_weights_open(ctx, FOLDER "views.bin", &file), QDISP_OK);
    CHECK_STATUS(qd_weights_open(ctx, FOLDER "values.safetensors", &golden), QDISP_OK);
    if (!file || !golden) return;
    CHECK(file->n_tensors == 23 && golden->n_tensors == 17);
    size_t n_packed = 0, n_values = 0;
    for (size_t i = 0; i < golden->n_tensors; i++) {
        const qdisp_tensor *want = &golden->tensors[i], *got = qd_tensor_file_find(file, want->name);
        size_t n = (size_t)qd_tensor_n_elements(want);
        float *values = malloc((n + 1) * sizeof *values);
        CHECK(got && got->n_dims == want->n_dims && !memcmp(got->shape, want->shape, sizeof got->shape));
        if (!got || qd_tensor_n_elements(got) != n) continue;
        n_packed += got->dtype == QDISP_DTYPE_PACKED;
        static const size_t pieces[] = {1, 3, 7, 64, 10000};
        for (size_t k = 0; k < 5; k++) {
            size_t piece = pieces[k];
            for (size_t at = 0; at < n; at += piece) {
                size_t m = n - at < piece ? n - at : piece;
                const float *x = qd_load_f32(ctx->kernels, got->data, (qdisp_dtype)got->dtype, at, m, values);
                int same = !memcmp(x, (const char *)want->data + at * sizeof *x, m * sizeof *x);
                if (!same) printf("  %s, from %zu by %zu\n", want->name, at, piece);
                CHECK(same);
            }
        }
        n_values += n;
        free(values);
    }
    printf("%zu values of %zu tensors, %zu of them packed\n", n_values, golden->n_tensors, n_packed);
    CHECK(n_packed == 10);
    static const char *const formats[][2] = {{"wide", "f64"}, {"index", "i64"}, {"small", "i8"}, {"mask", "bool"},
                                             {"u16", "U16 of 1 dimensions"}, {"five", "F32 of 5 dimensions"},
                                             {"e4m3", "F8_E4M3"}, {"transposed", "strided f32"}, {"first", "f16"}};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const qdisp_tensor *t = qd_tensor_file_find(file, formats[i][0]);
        CHECK(t != NULL);
        if (t) CHECK_STR(qd_tensor_format(t), formats[i][1]);
    }
    qd_tensor_file_free(file);
    qd_tensor_file_free(golden);
}

/* The weights of a training checkpoint: names joined, the optimizer's tensors left where they are. */
TEST(test_nested) {
    qd_tensor_file *file = NULL;
    CHECK_STATUS(qd_weights_open(ctx, FOLDER "nested.bin", &file), QDISP_OK);
    if (!file) return;
    CHECK(file->n_tensors == 2 && qd_tensor_file_find(file, "encoder.weight") && qd_tensor_file_find(file, "bias"));
    qd_tensor_file_free(file);
}

TEST(test_legacy) {
    qd_tensor_file *file = NULL;
    CHECK_STATUS(qd_weights_open(ctx, FOLDER "legacy.bin", &file), QDISP_EUNSUPPORTED);
    CHECK_HAS(qdisp_ctx_error(ctx), "torch.save wrote before 1.6");
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(test_views);
    RUN(test_nested);
    RUN(test_legacy);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
