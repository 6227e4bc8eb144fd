/* cmd_eval.c - losses by language, alone or against another model. */
#include "cli/cli.h"

#include <stdio.h>

static int run(int argc, const char **argv) {
    const char *corpus = NULL, *languages = NULL, *tokenizer = NULL, *against = NULL, *args[1];
    struct poptOption table[] = {
        {"corpus", 'c', POPT_ARG_STRING, &corpus, 0, "folder of text, one TAG.txt a language", "DIR"},
        {"against", 'a', POPT_ARG_STRING, &against, 0, "the unquantized model to compare with", "MODEL"},
        {"languages", 'l', POPT_ARG_STRING, &languages, 0, "only these, comma-separated (default: all)", "TAGS"},
        {"tokenizer", 0, POPT_ARG_STRING, &tokenizer, 0, "tokenizer.json or its folder (default: the model's)", "PATH"},
        CLI_COMMON,
        POPT_TABLEEND};
    int rc =
        cli_parse(argc, argv, table, "eval MODEL --corpus DIR [--against BASE]",
                  "Loss of every line, or with --against what MODEL loses to BASE in each language: dNLL in bits per\n"
                  "byte with a 95 % interval, paired by line.",
                  args, 1, 1);
    if (rc >= 0) return rc;
    if (!corpus) {
        fprintf(stderr, "qdisp: --corpus DIR is needed\nTry 'qdisp eval --help'.\n");
        return CLI_USAGE;
    }
    cli_inputs in = {.ctx = cli_ctx()};
    if (!in.ctx) return CLI_ERROR;
    qdisp_model *base = NULL;
    qdisp_table *losses = NULL, *base_losses = NULL, *comparison = NULL;
    qdisp_status status = cli_open(&in, args[0], tokenizer, corpus, languages);
    if (status == QDISP_OK && against) status = qdisp_model_open(in.ctx, against, &base);
    if (status == QDISP_OK && against) status = qdisp_eval_losses(base, in.tokenizer, in.corpus, &base_losses);
    if (status == QDISP_OK) status = qdisp_eval_losses(in.model, in.tokenizer, in.corpus, &losses);
    if (status == QDISP_OK && against) status = qdisp_eval_compare(base_losses, losses, 0, &comparison);
    rc = status == QDISP_OK ? cli_print_table(in.ctx, against ? comparison : losses) : cli_fail(in.ctx, status);
    qdisp_table_free(comparison);
    qdisp_table_free(losses);
    qdisp_table_free(base_losses);
    qdisp_model_free(base);
    cli_close(&in);
    return rc;
}

const cli_command cli_command_eval = {"eval", "loss of every language, alone or against another model", run};
