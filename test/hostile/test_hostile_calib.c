/* test_hostile_calib.c - broken calib files: each is refused with its name and reason, or read without harm. */
#include "harness.h"

#include "base/base.h"

#include <qdisp/qdisp.h>


#define FOLDER QDISP_ROOT "/test/hostile/calib/"
#define GOOD FOLDER "good.safetensors"

static qdisp_ctx *ctx;

static qdisp_status open_it(const char *path) {
    qdisp_calib *c = NULL;
    qdisp_table *t = NULL;
    qdisp_status status = qdisp_calib_open(ctx, path, &c);
    CHECK((status == QDISP_OK) == (c != NULL));
    if (c) CHECK_STATUS(qdisp_calib_describe(c, &t), QDISP_OK);
    qdisp_table_free(t);
    qdisp_calib_free(c);
    return status;
}

#include "replay.h"

REPLAY_MAIN()
