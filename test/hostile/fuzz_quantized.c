/* fuzz_quantized.c - whatever is read from the parts of quantized matrices must be there. */
#include "fuzz.h"

#include "split_quantized.h"
#include "use_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qdisp_ctx *ctx = NULL;
    qd_tensor_file *file = NULL;
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 0;
    if (open_quantized(ctx, "fuzz", data, size, &file) == QDISP_OK) use_tensors(ctx, file);
    else require(file == NULL && qdisp_ctx_error(ctx)[0]);
    qd_tensor_file_free(file);
    qdisp_ctx_free(ctx);
    return 0;
}
