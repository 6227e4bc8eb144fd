/* test_hostile_quantized.c - broken quantized models (make_quantized_files.py): each is refused by name and reason. */
#include "harness.h"

#include "split_quantized.h"
#include "use_tensors.h"

#define FOLDER QDISP_ROOT "/test/hostile/quantized/"
#define GOOD FOLDER "good.bin"

static qdisp_ctx *ctx;

static qdisp_status open_it(const char *path) {
    qd_tensor_file *file = NULL;
    char *data = NULL;
    size_t size = 0;
    CHECK_STATUS(qd_read_file(ctx, path, 1 << 20, &data, &size), QDISP_OK);
    qdisp_status status = open_quantized(ctx, path, (const uint8_t *)data, size, &file);
    CHECK((status == QDISP_OK) == (file != NULL));
    if (file) use_tensors(ctx, file);
    qd_tensor_file_free(file);
    qd_free(ctx, data);
    return status;
}

#include "replay.h"

REPLAY_MAIN()
