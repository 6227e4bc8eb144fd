/* fuzz_safetensors.c - whatever the safetensors reader accepts must be consistent. */
#include "fuzz.h"

#include "kernels/kernels.h"
#include "tensor/tensor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qdisp_ctx *ctx = NULL;
    qd_tensor_file *file = NULL;
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 0;
    if (qd_tensor_file_parse(ctx, "fuzz", data, size, &file) == QDISP_OK) {
        uint64_t n_bytes = 0;
        volatile uint8_t last = 0;
        for (size_t i = 0; i < file->n_tensors; i++) {
            const qdisp_tensor *t = &file->tensors[i];
            n_bytes += t->n_bytes;
            require(t->n_dims <= 4 && qd_tensor_file_find(file, t->name) == t);
            uint64_t n = qd_tensor_n_elements(t);
            size_t size_of_one = qd_dtype_size((qdisp_dtype)t->dtype);
            if (size_of_one) require(n * size_of_one == t->n_bytes);
            for (uint64_t j = 0; size_of_one && j < t->n_bytes; j++) /* readable */
                last = ((const uint8_t *)t->data)[j];
            float x[64];
            for (uint64_t j = 0; t->dtype == QDISP_DTYPE_PACKED && j < n; j += 64)
                qd_load_f32(ctx->kernels, t->data, QDISP_DTYPE_PACKED, (size_t)j, n - j < 64 ? (size_t)(n - j) : 64, x);
        }
        require(n_bytes <= size - 8);
        (void)last;
        qd_tensor_file_free(file);
    } else {
        require(file == NULL && qdisp_ctx_error(ctx)[0]);
    }
    qdisp_ctx_free(ctx);
    return 0;
}
