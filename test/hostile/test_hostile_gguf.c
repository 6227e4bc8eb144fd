/* test_hostile_gguf.c - broken GGUF files: each is refused with its name and reason, or read without harm. */
#include "harness.h"

#include "use_tensors.h"

#define FOLDER QDISP_ROOT "/test/hostile/gguf/"
#define GOOD FOLDER "good.gguf"

static qdisp_ctx *ctx;

static qdisp_status open_it(const char *path) {
    qd_tensor_file *file = NULL;
    qdisp_status status = qd_tensor_file_open(ctx, path, &file);
    CHECK((status == QDISP_OK) == (file != NULL));
    if (file) use_tensors(ctx, file);
    qd_tensor_file_free(file);
    return status;
}

#include "replay.h"

REPLAY_MAIN()
