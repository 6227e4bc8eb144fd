/* cmd_quantize.c - a plan applied and written. */
#include "cli/cli.h"

#include <stdio.h>

static int run(int argc, const char **argv) {
    const char *plan_path = NULL, *stats = NULL, *corpus = NULL, *languages = NULL, *tokenizer = NULL;
    const char *format = "folder", *args[1];
    int max_tokens = 0, original = 0;
    struct poptOption table[] = {
        {"plan", 'p', POPT_ARG_STRING, &plan_path, 0, "plan from 'qdisp plan -o PLAN.csv'", "FILE"},
        {"format", 'f', POPT_ARG_STRING, &format, 0,
         "folder (default: dequantized, F32), gguf, gptq, gptq_v2 or compressed-tensors", "NAME"},
        {"stats", 's', POPT_ARG_STRING, &stats, 0, "statistics from 'qdisp calibrate', for methods that need energies",
         "FILE"},
        {"corpus", 'c', POPT_ARG_STRING, &corpus, 0, "folder of text, one TAG.txt a language (gptq needs it)", "DIR"},
        {"languages", 'l', POPT_ARG_STRING, &languages, 0, "only these of the corpus, comma-separated", "TAGS"},
        {"tokenizer", 0, POPT_ARG_STRING, &tokenizer, 0, "tokenizer.json or its folder (default: the model's)", "PATH"},
        {"max-tokens", 0, POPT_ARG_INT, &max_tokens, 0, "of each language's text (default: all)", "N"},
        {"original-inputs", 0, POPT_ARG_NONE, &original, 0,
         "layers see what the unquantized model gives, not the quantized layers before them", NULL},
        CLI_COMMON,
        POPT_TABLEEND};
    int rc =
        cli_parse(argc, argv, table, "quantize MODEL --plan PLAN.csv [--corpus DIR] [--format NAME] -o PATH",
                  "Applies a plan and writes the quantized model: with its dequantized weights as a Hugging Face\n"
                  "folder (F32), for evaluation by any program that loads such folders, as a GGUF file, or packed in\n"
                  "a Hugging Face folder (gptq, gptq_v2, compressed-tensors).",
                  args, 1, 1);
    if (rc >= 0) return rc;
    if (!plan_path || !cli_options.output || max_tokens < 0) {
        fprintf(stderr, "qdisp: --plan FILE and --output PATH are needed, --max-tokens is not negative\n"
                        "Try 'qdisp quantize --help'.\n");
        return CLI_USAGE;
    }
    cli_inputs in = {.ctx = cli_ctx()};
    if (!in.ctx) return CLI_ERROR;
    qdisp_table *plan = NULL;
    qdisp_calib *calib = NULL;
    qdisp_plan_options options = {.size = sizeof options, .max_tokens = (uint64_t)max_tokens,
                                  .original_inputs = (uint64_t)original};
    qdisp_status status = cli_open(&in, args[0], tokenizer, corpus, languages);
    if (status == QDISP_OK) status = qdisp_table_open_csv(in.ctx, plan_path, "plan", &plan);
    if (status == QDISP_OK && stats) status = qdisp_calib_open(in.ctx, stats, &calib);
    options.calib = calib;
    options.corpus = in.corpus;
    options.tokenizer = in.tokenizer;
    if (status == QDISP_OK) status = qdisp_plan_write(plan, in.model, &options, format, cli_options.output);
    rc = status == QDISP_OK ? CLI_OK : cli_fail(in.ctx, status);
    qdisp_calib_free(calib);
    qdisp_table_free(plan);
    cli_close(&in);
    return rc;
}

const cli_command cli_command_quantize = {"quantize", "apply a plan and write the quantized model", run};
