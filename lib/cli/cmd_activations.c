/* cmd_activations.c - thresholds of activations by language, for engines that quantize them with static scales. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static int run(int argc, const char **argv) {
    const char *corpus = NULL, *languages = NULL, *tokenizer = NULL, *plan_path = NULL, *args[1];
    int bits = 8;
    struct poptOption table[] = {
        {"corpus", 'c', POPT_ARG_STRING, &corpus, 0, "folder of text, one TAG.txt a language", "DIR"},
        {"plan", 'p', POPT_ARG_STRING, &plan_path, 0, "only its maps, their inputs scaled as it says", "FILE"},
        {"bits", 'b', POPT_ARG_INT, &bits, 0, "of an activation, 2 to 8 (default: 8)", "N"},
        {"languages", 'l', POPT_ARG_STRING, &languages, 0, "only these, comma-separated (default: all)", "TAGS"},
        {"tokenizer", 0, POPT_ARG_STRING, &tokenizer, 0, "any tokenizer file or its folder (default: the model's)",
         "PATH"},
        CLI_COMMON,
        POPT_TABLEEND};
    int rc = cli_parse(argc, argv, table, "activations MODEL --corpus DIR [--plan PLAN.csv] [--bits N] [-o FILE.csv]",
                       "Chooses a threshold for the input of every linear map, for each language and for all together\n"
                       "(\"*\"): a table that an engine with static scales indexes by the language of a request.\n"
                       "'qdisp eval --activations FILE.csv' measures what they cost.",
                       args, 1, 1);
    if (rc >= 0) return rc;
    if (!corpus || bits < 1) {
        fprintf(stderr, "qdisp: --corpus DIR is needed, and --bits is 2 to 8\nTry 'qdisp activations --help'.\n");
        return CLI_USAGE;
    }
    if (cli_options.output && !strcmp(cli_options.format, "text")) cli_options.format = "csv";
    cli_inputs in = {.ctx = cli_ctx()};
    if (!in.ctx) return CLI_ERROR;
    qdisp_table *plan = NULL, *thresholds = NULL;
    qdisp_status status = cli_open(&in, args[0], tokenizer ? tokenizer : args[0], corpus, languages);
    if (status == QDISP_OK && plan_path) status = qdisp_table_open_csv(in.ctx, plan_path, "plan", &plan);
    qdisp_activations_options options = {.size = sizeof options, .bits = (uint64_t)bits, .plan = plan};
    if (status == QDISP_OK)
        status = qdisp_activations_choose(in.model, in.tokenizer, in.corpus, &options, &thresholds);
    rc = status == QDISP_OK ? cli_print_table(in.ctx, thresholds) : cli_fail(in.ctx, status);
    qdisp_table_free(thresholds);
    qdisp_table_free(plan);
    cli_close(&in);
    return rc;
}

const cli_command cli_command_activations = {"activations", "thresholds of activations by language", run};
