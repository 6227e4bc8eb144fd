/* cmd_quantize.c - a plan applied and written. */
#include "cli/cli.h"

#include <stdio.h>

static int run(int argc, const char **argv) {
    const char *plan_path = NULL, *format = "folder", *args[1];
    struct poptOption table[] = {
        {"plan", 'p', POPT_ARG_STRING, &plan_path, 0, "plan from 'qdisp plan -o PLAN.csv'", "FILE"},
        {"format", 'f', POPT_ARG_STRING, &format, 0,
         "folder (default: dequantized, F32), gguf, gptq, gptq_v2 or compressed-tensors", "NAME"},
        CLI_COMMON,
        POPT_TABLEEND};
    int rc =
        cli_parse(argc, argv, table, "quantize MODEL --plan PLAN.csv [--format NAME] -o PATH",
                  "Applies a plan and writes the quantized model: with its dequantized weights as a Hugging Face\n"
                  "folder (F32), for evaluation by any program that loads such folders, as a GGUF file, or packed in\n"
                  "a Hugging Face folder (gptq, gptq_v2, compressed-tensors).",
                  args, 1, 1);
    if (rc >= 0) return rc;
    if (!plan_path || !cli_options.output) {
        fprintf(stderr, "qdisp: --plan FILE and --output PATH are needed\nTry 'qdisp quantize --help'.\n");
        return CLI_USAGE;
    }
    cli_inputs in = {.ctx = cli_ctx()};
    if (!in.ctx) return CLI_ERROR;
    qdisp_table *plan = NULL;
    qdisp_status status = cli_open(&in, args[0], NULL, NULL, NULL);
    if (status == QDISP_OK) status = qdisp_table_open_csv(in.ctx, plan_path, "plan", &plan);
    if (status == QDISP_OK) status = qdisp_plan_write(plan, in.model, NULL, format, cli_options.output);
    rc = status == QDISP_OK ? CLI_OK : cli_fail(in.ctx, status);
    qdisp_table_free(plan);
    cli_close(&in);
    return rc;
}

const cli_command cli_command_quantize = {"quantize", "apply a plan and write the quantized model", run};
