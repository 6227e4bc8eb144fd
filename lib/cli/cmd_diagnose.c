/* cmd_diagnose.c - the main job. */
#include "cli/cli.h"

#include <stdio.h>

static int run(int argc, const char **argv) {
    const char *corpus = NULL, *languages = NULL, *tokenizer = NULL, *methods = NULL, *bits = NULL, *group = NULL;
    const char *roles = NULL, *args[1];
    double share = 0;
    long seed = 0;
    int resamples = 0, gradients = 0;
    struct poptOption table[] = {
        {"corpus", 'c', POPT_ARG_STRING, &corpus, 0, "folder of parallel text, one TAG.txt a language", "DIR"},
        {"languages", 'l', POPT_ARG_STRING, &languages, 0, "only these, comma-separated (default: all)", "TAGS"},
        {"tokenizer", 0, POPT_ARG_STRING, &tokenizer, 0, "any tokenizer file or its folder (default: the model's)",
         "PATH"},
        {"methods", 'm', POPT_ARG_STRING, &methods, 0, "quantizers (default: rtn,aciq,la-aciq)", "LIST"},
        {"bits", 'b', POPT_ARG_STRING, &bits, 0, "bit widths (default: 8,4,3)", "LIST"},
        {"group", 'g', POPT_ARG_STRING, &group, 0, "weights a threshold: a number (default: 64), channel or tensor",
         "SIZE"},
        {"roles", 'r', POPT_ARG_STRING, &roles, 0, "which maps (default: all of the blocks)", "LIST"},
        {"calibration-share", 0, POPT_ARG_DOUBLE, &share, 0, "share of the lines that calibrates (default: 0.5)", "X"},
        {"seed", 0, POPT_ARG_LONG, &seed, 0, "of the split (default: 0)", "N"},
        {"resamples", 0, POPT_ARG_INT, &resamples, 0, "bootstrap resamples (default: 2000)", "N"},
        {"gradients", 0, POPT_ARG_NONE, &gradients, 0, "predict from gradients, too: five times as long", NULL},
        CLI_COMMON,
        POPT_TABLEEND};
    int rc =
        cli_parse(argc, argv, table, "diagnose MODEL --corpus DIR [OPTIONS]",
                  "Which languages does a quantization hurt? Calibrates on one part of the text, then predicts and\n"
                  "measures the loss of every language, bits per byte above the unquantized model, on the other.",
                  args, 1, 1);
    if (rc >= 0) return rc;
    if (!corpus || seed < 0 || resamples < 0) {
        fprintf(stderr, "qdisp: %s\nTry 'qdisp diagnose --help'.\n",
                !corpus ? "--corpus DIR is needed: a folder with en.txt, sw.txt, ..., parallel by line"
                        : "--seed and --resamples are not negative");
        return CLI_USAGE;
    }
    qdisp_diagnose_options options = {.size = sizeof options, .methods = methods, .bits = bits, .roles = roles,
                                      .calibration_share = share, .seed = (uint64_t)seed,
                                      .n_resamples = (uint64_t)resamples,
                                      .gradients = (uint64_t)gradients};
    if (group && !cli_group_size(group, &options.group_size)) return CLI_USAGE;
    cli_inputs in = {.ctx = cli_ctx()};
    if (!in.ctx) return CLI_ERROR;
    qdisp_report *report = NULL;
    qdisp_status status = cli_open(&in, args[0], tokenizer, corpus, languages);
    if (status == QDISP_OK) status = qdisp_diagnose(in.model, in.tokenizer, in.corpus, &options, &report);
    rc = status == QDISP_OK ? cli_print_report(in.ctx, report, &(const char *){"losses"}, 1) : cli_fail(in.ctx, status);
    qdisp_report_free(report);
    cli_close(&in);
    return rc;
}

const cli_command cli_command_diagnose = {"diagnose", "which languages a quantization hurts: predicted and measured",
                                          run};
