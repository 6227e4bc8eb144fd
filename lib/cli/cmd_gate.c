/* cmd_gate.c - does a quantized model stay within a margin of its baseline, in every language? For continuous
 * integration: the exit status is the verdict. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PASS = 0, FAIL = 1, UNDECIDED = 2, ERROR = 3 };

static int status_of(const qdisp_report *report) {
    const qdisp_table *t = qdisp_report_find(report, "verdict");
    const char *verdict = qdisp_table_str(t, qdisp_table_find(t, "verdict"))[0];
    return !strcmp(verdict, "pass") ? PASS : !strcmp(verdict, "fail") ? FAIL : UNDECIDED;
}

static qdisp_status measure(cli_inputs *in, const char *quantized, qdisp_table **base_losses, qdisp_table **losses) {
    qdisp_model *model = NULL;
    qdisp_status status = qdisp_model_open(in->ctx, quantized, &model);
    if (status == QDISP_OK) status = qdisp_eval_losses(in->model, in->tokenizer, in->corpus, base_losses);
    if (status == QDISP_OK) status = qdisp_eval_losses(model, in->tokenizer, in->corpus, losses);
    qdisp_model_free(model);
    return status;
}

static int run(int argc, const char **argv) {
    const char *corpus = NULL, *languages = NULL, *tokenizer = NULL, *args[2];
    double margin = 0, alpha = 0;
    int equivalence = 0;
    struct poptOption table[] = {
        {"corpus", 'c', POPT_ARG_STRING, &corpus, 0, "folder of text, one TAG.txt a language", "DIR"},
        {"margin", 'm', POPT_ARG_DOUBLE, &margin, 0, "bits per byte that a language may lose", "M"},
        {"alpha", 0, POPT_ARG_DOUBLE, &alpha, 0, "chance of a wrong verdict, over all languages (default: 0.05)", "P"},
        {"equivalence", 0, POPT_ARG_NONE, &equivalence, 0, "a gain beyond the margin is no pass, either", NULL},
        {"languages", 'l', POPT_ARG_STRING, &languages, 0, "only these, comma-separated (default: all)", "TAGS"},
        {"tokenizer", 0, POPT_ARG_STRING, &tokenizer, 0, "any tokenizer file or its folder (default: BASE's)", "PATH"},
        CLI_COMMON,
        POPT_TABLEEND};
    int rc =
        cli_parse(argc, argv, table, "gate BASE QUANTIZED --corpus DIR --margin M",
                  "Exit status 0: every language loses less than M; 1: some language loses more; 2: the text does not\n"
                  "decide it (the report says how many lines would); 3: an error. Losses are paired by line, tests\n"
                  "adjusted for the number of languages. --format junit writes a test report.",
                  args, 2, 2);
    if (rc >= 0) return rc == CLI_OK ? CLI_OK : ERROR;
    if (!corpus || !(margin > 0)) {
        fprintf(stderr, "qdisp: --corpus DIR and --margin M above 0 are needed\nTry 'qdisp gate --help'.\n");
        return ERROR;
    }
    qdisp_eval_gate_options options = {.size = sizeof options, .margin_bpb = margin, .alpha = alpha,
                                       .equivalence = (uint64_t)equivalence};
    cli_inputs in = {.ctx = cli_ctx()};
    if (!in.ctx) return ERROR;
    qdisp_table *base_losses = NULL, *losses = NULL;
    qdisp_report *report = NULL;
    qdisp_status status = cli_open(&in, args[0], tokenizer ? tokenizer : args[0], corpus, languages);
    if (status == QDISP_OK) status = measure(&in, args[1], &base_losses, &losses);
    if (status == QDISP_OK) status = qdisp_eval_gate(base_losses, losses, &options, &report);
    rc = status == QDISP_OK ? cli_print_report(in.ctx, report, NULL, 0) : cli_fail(in.ctx, status);
    rc = rc == CLI_OK ? status_of(report) : ERROR;
    qdisp_report_free(report);
    qdisp_table_free(base_losses);
    qdisp_table_free(losses);
    cli_close(&in);
    return rc;
}

const cli_command cli_command_gate = {"gate", "is every language within a margin? the exit status is the verdict", run};
