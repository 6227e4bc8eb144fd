/* fuzz_safetensors.c - whatever the safetensors reader accepts must be consistent. */
#include "fuzz.h"

#include "use_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qdisp_ctx *ctx = NULL;
    qd_tensor_file *file = NULL;
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 0;
    if (size > 8 && data[8] == '{' && qd_tensor_file_parse(ctx, "fuzz", data, size, &file) == QDISP_OK) {
        uint64_t n_bytes = 0;
        for (size_t i = 0; i < file->n_tensors; i++) n_bytes += file->tensors[i].n_bytes;
        require(n_bytes <= size - 8);
        use_tensors(ctx, file);
        qd_tensor_file_free(file);
    } else {
        require(file == NULL);
    }
    qdisp_ctx_free(ctx);
    return 0;
}
