/* test_hostile_table.c - broken table files: each is refused with its name and reason, or read without harm. */
#include "harness.h"

#include "base/base.h"

#include <qdisp/qdisp.h>


#define FOLDER QDISP_ROOT "/test/hostile/table/"
#define GOOD FOLDER "good.csv"

static qdisp_ctx *ctx;

static int drop(void *user, const char *bytes, size_t n) {
    (void)user, (void)bytes, (void)n;
    return 0;
}

static qdisp_status open_it(const char *path) {
    static const char *const formats[] = {"text", "csv", "json", "markdown"};
    qdisp_table *t = NULL;
    qdisp_status status = qdisp_table_open_csv(ctx, path, "t", &t);
    CHECK((status == QDISP_OK) == (t != NULL));
    for (size_t i = 0; t && i < 4; i++) CHECK_STATUS(qdisp_table_write(t, formats[i], drop, NULL), QDISP_OK);
    qdisp_table_free(t);
    return status;
}

#include "replay.h"

REPLAY_MAIN()
