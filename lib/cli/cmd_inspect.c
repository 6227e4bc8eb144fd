/* cmd_inspect.c - what is at a path. */
#include "cli/cli.h"

static int run(int argc, const char **argv) {
    const char *args[1];
    int tensors = 0, metadata = 0;
    struct poptOption table[] = {
        {"tensors", 0, POPT_ARG_NONE, &tensors, 0, "all tensors, too", NULL},
        {"metadata", 0, POPT_ARG_NONE, &metadata, 0, "what the file says besides, too", NULL},
        CLI_COMMON,
        POPT_TABLEEND};
    int rc = cli_parse(argc, argv, table, "inspect PATH [--tensors] [--metadata]",
                       "What is at a path: a model (folder or GGUF file), a file of tensors (safetensors, GGUF,\n"
                       "PyTorch), a tokenizer. Container, architecture, sizes, how values are stored, special tokens.",
                       args, 1, 1);
    if (rc >= 0) return rc;
    qdisp_ctx *ctx = cli_ctx();
    if (!ctx) return CLI_ERROR;
    qdisp_report *report = NULL;
    qdisp_status status = qdisp_inspect(ctx, args[0], &report);
    const char *leave_out[] = {tensors ? NULL : "tensors", metadata ? NULL : "metadata"};
    rc = status == QDISP_OK ? cli_print_report(ctx, report, leave_out, 2) : cli_fail(ctx, status);
    qdisp_report_free(report);
    qdisp_ctx_free(ctx);
    return rc;
}

const cli_command cli_command_inspect = {"inspect", "what is at a path: model, weights, tokenizer", run};
