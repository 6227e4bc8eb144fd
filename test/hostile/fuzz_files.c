/* fuzz_files.c - a file of the kind that OPEN_FILE (open_files.h) opens: used to the end if it opens, refused with a
 * reason if not. */
#include "fuzz.h"

#include "open_files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qdisp_ctx *ctx = NULL;
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 0;
    OPEN_FILE(ctx, fuzz_file(data, size));
    qdisp_ctx_free(ctx);
    return 0;
}
