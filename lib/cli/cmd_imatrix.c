/* cmd_imatrix.c - importance matrices of llama.cpp, written from statistics by language and read as statistics. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static int ends_in(const char *text, const char *ending) {
    size_t n = strlen(text), m = strlen(ending);
    return n >= m && !strcmp(text + n - m, ending);
}

static int run(int argc, const char **argv) {
    const char *stats = NULL, *merge = NULL, *weights = NULL, *from = NULL, *language = "und", *args[1];
    struct poptOption table[] = {
        {"stats", 's', POPT_ARG_STRING, &stats, 0, "statistics from 'qdisp calibrate'", "FILE"},
        {"merge", 0, POPT_ARG_STRING, &merge, 0, "a language counts by token (default), byte or sentence", "BY"},
        {"weights", 0, POPT_ARG_STRING, &weights, 0, "what languages count instead: en:0.25,sw:0.75", "LIST"},
        {"import", 0, POPT_ARG_STRING, &from, 0, "an importance matrix, saved as statistics", "FILE"},
        {"language", 'l', POPT_ARG_STRING, &language, 0, "whose text the imported matrix saw (default: und)", "TAG"},
        CLI_COMMON,
        POPT_TABLEEND};
    int rc = cli_parse(argc, argv, table, "imatrix MODEL --stats STATS -o FILE | --import FILE -o STATS",
                       "Writes the importance matrix that llama-quantize --imatrix reads (FILE.dat: its older form),\n"
                       "or makes statistics for 'qdisp plan' of one that llama-imatrix wrote.",
                       args, 1, 1);
    if (rc >= 0) return rc;
    if (!stats == !from || !cli_options.output || (merge && weights)) {
        fprintf(stderr, "qdisp: --output FILE and either --stats or --import are needed; --merge or --weights\n"
                        "Try 'qdisp imatrix --help'.\n");
        return CLI_USAGE;
    }
    cli_inputs in = {.ctx = cli_ctx()};
    if (!in.ctx) return CLI_ERROR;
    qdisp_calib *calib = NULL;
    qdisp_imatrix_options options = {.size = sizeof options, .merge = merge, .weights = weights,
                                     .legacy = (uint64_t)ends_in(cli_options.output, ".dat")};
    qdisp_status status = cli_open(&in, args[0], NULL, NULL, NULL);
    if (status == QDISP_OK && from) {
        status = qdisp_imatrix_open(in.model, from, language, &calib);
        if (status == QDISP_OK) status = qdisp_calib_save(calib, cli_options.output);
    } else if (status == QDISP_OK) {
        status = qdisp_calib_open(in.ctx, stats, &calib);
        if (status == QDISP_OK) status = qdisp_imatrix_save(calib, in.model, &options, cli_options.output);
    }
    rc = status == QDISP_OK ? CLI_OK : cli_fail(in.ctx, status);
    qdisp_calib_free(calib);
    cli_close(&in);
    return rc;
}

const cli_command cli_command_imatrix = {"imatrix", "importance matrices of llama.cpp, out and in", run};
