/* fuzz_torch.c - whatever is read from a PyTorch checkpoint must be there. */
#include "fuzz.h"

#include "use_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qdisp_ctx *ctx = NULL;
    qd_tensor_file *file = NULL;
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 0;
    if (qd_tensor_file_parse(ctx, "fuzz", data, size, &file) == QDISP_OK) {
        use_tensors(ctx, file);
        qd_tensor_file_free(file);
    } else {
        require(file == NULL && qdisp_ctx_error(ctx)[0]);
    }
    qdisp_ctx_free(ctx);
    return 0;
}
