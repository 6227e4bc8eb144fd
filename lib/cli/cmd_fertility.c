/* cmd_fertility.c - tokens for the same text in every language, many tokenizers side by side. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TOKENIZERS = 64 };

/* "NAME=PATH", or a path whose last part that says something is its name: gpt2 for dir/gpt2/tokenizer.json. */
static char *name_of(const char *arg, const char **path) {
    const char *equals = strchr(arg, '='), *slash = strchr(arg, '/');
    *path = arg;
    if (equals && equals > arg && (!slash || equals < slash)) {
        *path = equals + 1;
        return strndup(arg, (size_t)(equals - arg));
    }
    size_t n = strlen(arg);
    const char *file = "/tokenizer.json";
    if (n > strlen(file) && !strcmp(arg + n - strlen(file), file)) n -= strlen(file);
    while (n > 1 && arg[n - 1] == '/') n--;
    size_t begin = n;
    while (begin > 0 && arg[begin - 1] != '/') begin--;
    return strndup(arg + begin, n - begin);
}

static int compute(cli_inputs *in, const char **args, size_t n, const qdisp_fertility_options *options) {
    qdisp_tokenizer *tokenizers[MAX_TOKENIZERS] = {0};
    char *names[MAX_TOKENIZERS] = {0};
    qdisp_report *report = NULL;
    qdisp_status status = QDISP_OK;
    for (size_t i = 0; i < n && status == QDISP_OK; i++) {
        const char *path;
        names[i] = name_of(args[i], &path);
        status = names[i] ? qdisp_tokenizer_open(in->ctx, path, &tokenizers[i]) : QDISP_ENOMEM;
    }
    if (status == QDISP_OK)
        status = qdisp_fertility(in->ctx, (const qdisp_tokenizer *const *)tokenizers, (const char *const *)names, n,
                                 in->corpus, options, &report);
    int rc = status == QDISP_OK ? cli_print_report(in->ctx, report, NULL, 0) : cli_fail(in->ctx, status);
    qdisp_report_free(report);
    for (size_t i = 0; i < n; i++) {
        qdisp_tokenizer_free(tokenizers[i]);
        free(names[i]);
    }
    return rc;
}

static int run(int argc, const char **argv) {
    const char *corpus = NULL, *languages = NULL, *args[MAX_TOKENIZERS];
    qdisp_fertility_options options = {.size = sizeof options};
    struct poptOption table[] = {
        {"corpus", 'c', POPT_ARG_STRING, &corpus, 0, "folder of parallel text, one TAG.txt a language", "DIR"},
        {"pivot", 'p', POPT_ARG_STRING, &options.pivot, 0, "language of premiums (default: en)", "TAG"},
        {"languages", 'l', POPT_ARG_STRING, &languages, 0, "only these, comma-separated (default: all)", "TAGS"},
        CLI_COMMON,
        POPT_TABLEEND};
    int rc = cli_parse(argc, argv, table, "fertility [NAME=]TOKENIZER... --corpus DIR [--pivot TAG]",
                       "Tokens that every tokenizer needs for the same text in every language: by byte, code point,\n"
                       "grapheme and sentence, the premium over the pivot language with a 95 % interval; shares of\n"
                       "single bytes, unknown tokens and words kept whole ('-' where a script shows no words).",
                       args, 1, MAX_TOKENIZERS);
    if (rc >= 0) return rc;
    if (!corpus) {
        fprintf(stderr, "qdisp: --corpus DIR is needed\nTry 'qdisp fertility --help'.\n");
        return CLI_USAGE;
    }
    size_t n = 0;
    while (n < MAX_TOKENIZERS && args[n]) n++;
    cli_inputs in = {.ctx = cli_ctx()};
    if (!in.ctx) return CLI_ERROR;
    qdisp_status status = qdisp_corpus_open(in.ctx, corpus, languages, &in.corpus);
    rc = status == QDISP_OK ? compute(&in, args, n, &options) : cli_fail(in.ctx, status);
    cli_close(&in);
    return rc;
}

const cli_command cli_command_fertility = {"fertility", "tokens for the same text in every language, by tokenizer",
                                           run};
