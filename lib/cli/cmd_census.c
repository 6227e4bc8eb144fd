/* cmd_census.c - the shape of every weight tensor. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a model; of weights alone where there is none, which is said. */
static qdisp_status take(qdisp_ctx *ctx, const char *path, qdisp_table **out) {
    qdisp_model *model = NULL;
    qdisp_status status = qdisp_model_open(ctx, path, &model);
    if (status == QDISP_OK) {
        status = qdisp_census(model, out);
        qdisp_model_free(model);
    } else if (status == QDISP_ENOTFOUND || status == QDISP_EUNSUPPORTED) {
        char *reason = strdup(qdisp_ctx_error(ctx));
        qdisp_status weights = qdisp_census_weights(ctx, path, out);
        if (weights == QDISP_OK && !cli_options.quiet)
            fprintf(stderr, "qdisp: %s: weights alone, roles are not known (%s)\n", path, reason ? reason : "");
        status = weights;
        free(reason);
    }
    return status;
}

static int run(int argc, const char **argv) {
    const char *args[1];
    struct poptOption table[] = {CLI_COMMON, POPT_TABLEEND};
    int rc =
        cli_parse(argc, argv, table, "census MODEL [OPTIONS]",
                  "Kurtosis census: mean, spread, excess kurtosis, L-kurtosis, reach, Hill index of the tail and the\n"
                  "share of energy beyond 6 standard deviations of every weight matrix, with the parts of fused\n"
                  "query-key-value maps. Classes: heavy > 50, moderate 15-50, mild 5-15, gaussian < 5. MODEL may be a\n"
                  "file of tensors whose model is not known: then without roles.",
                  args, 1, 1);
    if (rc >= 0) return rc;
    qdisp_ctx *ctx = cli_ctx();
    if (!ctx) return CLI_ERROR;
    qdisp_table *census = NULL;
    qdisp_status status = take(ctx, args[0], &census);
    rc = status == QDISP_OK ? cli_print_table(ctx, census) : cli_fail(ctx, status);
    qdisp_table_free(census);
    qdisp_ctx_free(ctx);
    return rc;
}

const cli_command cli_command_census = {"census", "kurtosis of every weight tensor of a model", run};
