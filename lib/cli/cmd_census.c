/* cmd_census.c - the shape of every weight tensor. */
#include "cli/cli.h"

static int run(int argc, const char **argv) {
    const char *args[1];
    struct poptOption table[] = {CLI_COMMON, POPT_TABLEEND};
    int rc =
        cli_parse(argc, argv, table, "census MODEL [OPTIONS]",
                  "Kurtosis census: mean, spread, excess kurtosis, L-kurtosis, reach, Hill index of the tail and the\n"
                  "share of energy beyond 6 standard deviations of every weight matrix, with the parts of fused\n"
                  "query-key-value maps. Classes: heavy > 50, moderate 15-50, mild 5-15, gaussian < 5.",
                  args, 1, 1);
    if (rc >= 0) return rc;
    cli_inputs in = {.ctx = cli_ctx()};
    if (!in.ctx) return CLI_ERROR;
    qdisp_table *census = NULL;
    qdisp_status status = cli_open(&in, args[0], NULL, NULL, NULL);
    if (status == QDISP_OK) status = qdisp_census(in.model, &census);
    rc = status == QDISP_OK ? cli_print_table(in.ctx, census) : cli_fail(in.ctx, status);
    qdisp_table_free(census);
    cli_close(&in);
    return rc;
}

const cli_command cli_command_census = {"census", "kurtosis of every weight tensor of a model", run};
