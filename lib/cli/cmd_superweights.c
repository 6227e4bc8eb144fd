/* cmd_superweights.c - single weights that a model cannot do without. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static int run(int argc, const char **argv) {
    const char *corpus = NULL, *languages = NULL, *tokenizer = NULL, *args[1];
    int count = 0, resamples = 0;
    struct poptOption table[] = {
        {"corpus", 'c', POPT_ARG_STRING, &corpus, 0, "folder of text: also by gradients, and measured by removal",
         "DIR"},
        {"languages", 'l', POPT_ARG_STRING, &languages, 0, "only these, comma-separated (default: all)", "TAGS"},
        {"tokenizer", 0, POPT_ARG_STRING, &tokenizer, 0, "any tokenizer file or its folder (default: the model's)",
         "PATH"},
        {"count", 'n', POPT_ARG_INT, &count, 0, "candidates by each criterion, at most 64 (default: 8)", "N"},
        {"resamples", 0, POPT_ARG_INT, &resamples, 0, "of the comparisons (default: 2000)", "N"},
        CLI_COMMON,
        POPT_TABLEEND};
    int rc = cli_parse(argc, argv, table, "superweights MODEL [--corpus DIR] [-o KEEP.csv]",
                       "Finds the weights whose removal costs some language most. 'qdisp plan --keep KEEP.csv' keeps\n"
                       "them in 16 bits: delete the rows of those that are not to be kept.",
                       args, 1, 1);
    if (rc >= 0) return rc;
    if (count < 0 || resamples < 0) {
        fprintf(stderr, "qdisp: --count and --resamples are not negative\n");
        return CLI_USAGE;
    }
    /* a file in the form that can be read back, unless another is asked for */
    if (cli_options.output && !strcmp(cli_options.format, "text")) cli_options.format = "csv";
    qdisp_superweights_options options = {.size = sizeof options, .n_candidates = (uint64_t)count,
                                          .n_resamples = (uint64_t)resamples};
    cli_inputs in = {.ctx = cli_ctx()};
    if (!in.ctx) return CLI_ERROR;
    qdisp_table *t = NULL;
    qdisp_status status = cli_open(&in, args[0], tokenizer, corpus, languages);
    if (status == QDISP_OK) status = qdisp_superweights(in.model, in.tokenizer, in.corpus, &options, &t);
    rc = status == QDISP_OK ? cli_print_table(in.ctx, t) : cli_fail(in.ctx, status);
    qdisp_table_free(t);
    cli_close(&in);
    return rc;
}

const cli_command cli_command_superweights = {"superweights", "single weights that a model cannot do without", run};
