/* cmd_calibrate.c - activation statistics by language, saved for planning. */
#include "cli/cli.h"

#include <stdio.h>

static int run(int argc, const char **argv) {
    const char *corpus = NULL, *languages = NULL, *tokenizer = NULL, *output, *args[1];
    int gradients = 0;
    struct poptOption table[] = {
        {"corpus", 'c', POPT_ARG_STRING, &corpus, 0, "folder of text, one TAG.txt a language", "DIR"},
        {"languages", 'l', POPT_ARG_STRING, &languages, 0, "only these, comma-separated (default: all)", "TAGS"},
        {"tokenizer", 0, POPT_ARG_STRING, &tokenizer, 0, "any tokenizer file or its folder (default: the model's)",
         "PATH"},
        {"gradients", 0, POPT_ARG_NONE, &gradients, 0, "also energies of the loss's gradients (five times as long)",
         NULL},
        CLI_COMMON,
        POPT_TABLEEND};
    int rc = cli_parse(argc, argv, table, "calibrate MODEL --corpus DIR -o STATS [--gradients]",
                       "Runs the model over the text and saves what every language sends into every linear map.", args,
                       1, 1);
    if (rc >= 0) return rc;
    if (!corpus || !cli_options.output) {
        fprintf(stderr, "qdisp: --corpus DIR and --output STATS are needed\nTry 'qdisp calibrate --help'.\n");
        return CLI_USAGE;
    }
    output = cli_options.output;
    cli_options.output = NULL; /* the summary goes to standard output */
    cli_inputs in = {.ctx = cli_ctx()};
    if (!in.ctx) return CLI_ERROR;
    qdisp_calib *calib = NULL;
    qdisp_table *summary = NULL;
    qdisp_status status = cli_open(&in, args[0], tokenizer, corpus, languages);
    if (status == QDISP_OK) status = qdisp_calib_new(in.model, &calib);
    if (status == QDISP_OK) status = qdisp_calib_collect(calib, in.model, in.tokenizer, in.corpus);
    if (status == QDISP_OK && gradients)
        status = qdisp_calib_collect_gradients(calib, in.model, in.tokenizer, in.corpus);
    if (status == QDISP_OK) status = qdisp_calib_save(calib, output);
    if (status == QDISP_OK) status = qdisp_calib_describe(calib, &summary);
    rc = status == QDISP_OK ? cli_print_table(in.ctx, summary) : cli_fail(in.ctx, status);
    qdisp_table_free(summary);
    qdisp_calib_free(calib);
    cli_close(&in);
    return rc;
}

const cli_command cli_command_calibrate = {"calibrate", "activation statistics by language, saved for planning", run};
