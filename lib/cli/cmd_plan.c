/* cmd_plan.c - how each tensor is to be quantized: a table that may be edited. */
#include "cli/cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int keep(void *user, const char *bytes, size_t n) {
    FILE *f = user;
    return fwrite(bytes, 1, n, f) != n;
}

/* All of it before a byte of the output is touched. */
static int print_overrides(const cli_inputs *in, const qdisp_table *plan, const char *tool) {
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n), *out = stdout;
    if (!f) return CLI_ERROR;
    qdisp_status status = qdisp_plan_overrides(plan, in->model, tool, keep, f);
    int failed = fclose(f) != 0;
    if (status != QDISP_OK) {
        free(text);
        return cli_fail(in->ctx, status);
    }
    if (cli_options.output) out = fopen(cli_options.output, "w");
    failed = failed || !out || fwrite(text, 1, n, out) != n;
    if (out) failed = (out == stdout ? fflush(out) : fclose(out)) != 0 || failed;
    if (failed) fprintf(stderr, "qdisp: %s: cannot be written\n", cli_options.output ? cli_options.output : "output");
    free(text);
    return failed ? CLI_ERROR : CLI_OK;
}

/* "90M" and the like, by thousands. */
static int parse_size(const char *text, uint64_t *n_bytes) {
    char *end;
    double value = strtod(text, &end);
    const char *const suffixes = "kMG";
    const char *suffix = *end ? strchr(suffixes, *end) : NULL;
    if (suffix) value *= pow(1000, (double)(suffix - suffixes + 1)), end++;
    if (*end || end == text || !(value >= 1 && value < 1e18)) {
        fprintf(stderr, "qdisp: --size %s: a number of bytes is needed, as 90000000 or 90M\n", text);
        return 0;
    }
    *n_bytes = (uint64_t)value;
    return 1;
}

static int run(int argc, const char **argv) {
    const char *stats = NULL, *method = "la-aciq", *group = NULL, *roles = NULL, *objective = NULL, *args[1];
    const char *type = NULL, *overrides = NULL, *levels = NULL, *weights = NULL, *method_options = NULL;
    const char *bits_list = NULL, *size = NULL, *keep_path = NULL;
    double bpw = 0, share = 0, cap = 0;
    const char *corpus = NULL, *languages = NULL, *tokenizer = NULL, *dual_objective = NULL;
    int bits = 4, steps = 0, dual = 0, max_tokens = 0;
    struct poptOption table[] = {
        {"stats", 's', POPT_ARG_STRING, &stats, 0, "statistics from 'qdisp calibrate' (la-aciq needs them)", "FILE"},
        {"method", 'm', POPT_ARG_STRING, &method, 0, "la-aciq (default), rtn, aciq, mse, awq, imatrix ...", "NAME"},
        {"bits", 'b', POPT_ARG_STRING, &bits_list, 0,
         "2 to 8 (default: 4); with --size or --bpw: a list to choose from", "N"},
        {"size", 0, POPT_ARG_STRING, &size, 0, "bits for each tensor so that all take at most this, as 90M",
         "BYTES"},
        {"bpw", 0, POPT_ARG_DOUBLE, &bpw, 0, "the same by bits per quantized weight", "X"},
        {"type", 0, POPT_ARG_STRING, &type, 0, "int (default) or blocks of GGUF: q4_0 ... q8_0, q2_k ... q6_k", "NAME"},
        {"group", 'g', POPT_ARG_STRING, &group, 0, "weights a threshold: a number (default: 64), channel or tensor",
         "SIZE"},
        {"levels", 'l', POPT_ARG_STRING, &levels, 0,
         "narrow (default; 2^bits - 1 symmetric), full (2^bits) or asym (a zero point)", "NAME"},
        {"weights", 'w', POPT_ARG_STRING, &weights, 0, "lambda of the languages: en:0.3,de:0.7 (default: even)",
         "LIST"},
        {"options", 0, POPT_ARG_STRING, &method_options, 0, "of the method: NAME=NUMBER,...", "LIST"},
        {"roles", 'r', POPT_ARG_STRING, &roles, 0, "which maps (default: all of the blocks)", "LIST"},
        {"objective", 0, POPT_ARG_STRING, &objective, 0,
         "regret (default of la-aciq), worst (default of --size and --bpw), mean, cvar or disparity", "NAME"},
        {"share", 0, POPT_ARG_DOUBLE, &share, 0, "cvar: of the languages (default: 0.25)", "X"},
        {"cap", 0, POPT_ARG_DOUBLE, &cap, 0, "disparity: bits per byte of the worst above the mean", "X"},
        {"keep", 0, POPT_ARG_STRING, &keep_path, 0, "weights to keep in 16 bits, from 'qdisp superweights -o'", "FILE"},
        {"steps", 0, POPT_ARG_INT, &steps, 0, "la-aciq: steps of the dual (default: 12)", "N"},
        {"overrides", 0, POPT_ARG_STRING, &overrides, 0,
         "write what another tool reads instead: llama-quantize, ik_llama, gptqmodel, auto-round, compressed-tensors",
         "TOOL"},
        {"corpus", 'c', POPT_ARG_STRING, &corpus, 0, "text by language, instead of --stats and for --dual", "DIR"},
        {"languages", 0, POPT_ARG_STRING, &languages, 0, "only these of the corpus, comma-separated", "TAGS"},
        {"tokenizer", 0, POPT_ARG_STRING, &tokenizer, 0, "tokenizer.json or its folder (default: the model's)", "PATH"},
        {"dual", 0, POPT_ARG_INT, &dual, 0, "steps of weights by the losses measured on a quarter of the corpus", "N"},
        {"dual-objective", 0, POPT_ARG_STRING, &dual_objective, 0, "worst (default), cvar or mean", "NAME"},
        {"max-tokens", 0, POPT_ARG_INT, &max_tokens, 0, "--dual: of each language's text, to quantize by", "N"},
        CLI_COMMON,
        POPT_TABLEEND};
    int rc = cli_parse(argc, argv, table, "plan MODEL [--stats STATS] [--method NAME] [--bits N] [-o PLAN.csv]",
                       "Chooses thresholds for every tensor. The plan is a CSV table: edit it, then 'qdisp quantize'.\n"
                       "Column clip: a character a group, its place k in A-Za-z0-9-_ makes max|w| * 2^(-k/12).",
                       args, 1, 1);
    if (rc >= 0) return rc;
    int allocates = size || bpw != 0;
    qdisp_allocation_options allocation = {.size = sizeof allocation, .bits_per_weight = bpw, .share = share,
                                           .cap = cap, .bits = type ? type : bits_list};
    if (size && !parse_size(size, &allocation.n_bytes)) return CLI_USAGE;
    if (bits_list && !allocates) {
        char *end;
        long value = strtol(bits_list, &end, 10);
        bits = end == bits_list || *end || value > 1000 ? -1 : (int)value;
    }
    if (allocates) {
        allocation.objective = objective;
        objective = type = NULL;
    }
    if (bits < 0 || steps < 0 || dual < 0 || max_tokens < 0 || (dual > 0 && (!corpus || allocates))) {
        fprintf(stderr, "qdisp: --bits, --steps, --dual and --max-tokens are numbers that are not negative, and --dual "
                        "needs --corpus and no size\n");
        return CLI_USAGE;
    }
    qdisp_quantizer_options options = {.size = sizeof options, .bits = (uint64_t)bits, .roles = roles,
                                       .levels = levels, .weights = weights, .options = method_options,
                                       .objective = objective, .type = type,
                                       .n_steps = (uint64_t)steps};
    if (bits == 0) options.bits = 1; /* 0 would mean the default: let the library refuse it */
    if (group && !cli_group_size(group, &options.group_size)) return CLI_USAGE;
    /* a file in the form that can be read back, unless another is asked for */
    if (cli_options.output && !strcmp(cli_options.format, "text")) cli_options.format = "csv";
    cli_inputs in = {.ctx = cli_ctx()};
    if (!in.ctx) return CLI_ERROR;
    qdisp_calib *calib = NULL;
    qdisp_quantizer *quantizer = NULL;
    qdisp_table *plan = NULL, *summary = NULL, *kept = NULL;
    qdisp_status status = keep_path ? qdisp_table_open_csv(in.ctx, keep_path, "super_weights", &kept) : QDISP_OK;
    options.keep = kept;
    if (status == QDISP_OK) status = qdisp_quantizer_new(in.ctx, method, &options, &quantizer);
    if (status == QDISP_OK) status = cli_open(&in, args[0], tokenizer, corpus, languages);
    if (status == QDISP_OK && stats) status = qdisp_calib_open(in.ctx, stats, &calib);
    qdisp_fair_options fair = {.size = sizeof fair, .objective = dual_objective, .n_steps = (uint64_t)dual};
    if (status == QDISP_OK && dual > 0) {
        qdisp_plan_options with = {.size = sizeof with, .calib = calib, .corpus = in.corpus, .tokenizer = in.tokenizer,
                                   .max_tokens = (uint64_t)max_tokens};
        status = qdisp_quantizer_fair(quantizer, in.model, calib, &with, &fair, &plan, NULL);
    } else if (status == QDISP_OK && in.corpus && !calib) {
        status = qdisp_calib_new(in.model, &calib);
        if (status == QDISP_OK) status = qdisp_calib_collect(calib, in.model, in.tokenizer, in.corpus);
    }
    if (status == QDISP_OK && allocates && !plan)
        status = qdisp_quantizer_allocate(quantizer, in.model, calib, &allocation, &plan, &summary);
    else if (status == QDISP_OK && !plan)
        status = qdisp_quantizer_plan(quantizer, in.model, calib, &plan);
    if (status == QDISP_OK && overrides) rc = print_overrides(&in, plan, overrides);
    else rc = status == QDISP_OK ? cli_print_table(in.ctx, plan) : cli_fail(in.ctx, status);
    if (rc == CLI_OK && summary && cli_options.output) { /* standard output is free for it */
        cli_options.output = NULL;
        cli_options.format = "text";
        rc = cli_print_table(in.ctx, summary);
    }
    qdisp_table_free(plan);
    qdisp_table_free(summary);
    qdisp_table_free(kept);
    qdisp_quantizer_free(quantizer);
    qdisp_calib_free(calib);
    cli_close(&in);
    return rc;
}

const cli_command cli_command_plan = {"plan", "choose thresholds for every tensor: a table that may be edited", run};
