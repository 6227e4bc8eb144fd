/* cmd_eval.c - losses of a corpus by language, alone or against another model; or of one running text. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t value_of(const qdisp_table *table, const char *column) {
    return qdisp_table_i64(table, qdisp_table_find(table, column))[0];
}

static int eval_text(cli_inputs *in, const char *path, const qdisp_eval_text_options *options) {
    char *text = NULL;
    size_t n_bytes = 0;
    qdisp_table *table = NULL;
    if (!cli_read_text(path, &text, &n_bytes)) return CLI_ERROR;
    double begin = cli_seconds();
    qdisp_status status = qdisp_eval_text(in->model, in->tokenizer, text, n_bytes, options, &table);
    double seconds = cli_seconds() - begin;
    int rc = status == QDISP_OK ? cli_print_table(in->ctx, table) : cli_fail_text(in->ctx, status, path);
    if (status == QDISP_OK && !cli_options.quiet)
        fprintf(stderr, "qdisp: %lld tokens in %.2f s, %.0f tokens/s\n", (long long)value_of(table, "n_read"), seconds,
                (double)value_of(table, "n_read") / seconds);
    qdisp_table_free(table);
    free(text);
    return rc;
}

/* The first n lines of a language, each with its newline; the caller frees. */
static char *first_lines(const qdisp_corpus *corpus, size_t language, size_t n, size_t *n_bytes) {
    size_t n_line;
    *n_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        qdisp_corpus_line(corpus, language, i, &n_line);
        *n_bytes += n_line + 1;
    }
    char *text = malloc(*n_bytes), *at = text;
    for (size_t i = 0; text && i < n; i++) {
        const char *line = qdisp_corpus_line(corpus, language, i, &n_line);
        memcpy(at, line, n_line);
        at[n_line] = '\n';
        at += n_line + 1;
    }
    return text;
}

/* The first n lines of every language take the place of the corpus. */
static qdisp_status shorten(cli_inputs *in, size_t n) {
    size_t n_languages = qdisp_corpus_n_languages(in->corpus);
    if (n >= qdisp_corpus_n_lines(in->corpus)) return QDISP_OK;
    const char **tags = calloc(n_languages, sizeof *tags);
    char **texts = calloc(n_languages, sizeof *texts);
    size_t *n_bytes = calloc(n_languages, sizeof *n_bytes);
    qdisp_corpus *corpus = NULL;
    qdisp_status status = tags && texts && n_bytes ? QDISP_OK : QDISP_ENOMEM;
    for (size_t l = 0; l < n_languages && status == QDISP_OK; l++) {
        tags[l] = qdisp_corpus_language(in->corpus, l);
        if (!(texts[l] = first_lines(in->corpus, l, n, &n_bytes[l]))) status = QDISP_ENOMEM;
    }
    if (status == QDISP_OK)
        status = qdisp_corpus_from_texts(in->ctx, tags, (const char *const *)texts, n_bytes, n_languages, &corpus);
    if (status == QDISP_OK) {
        qdisp_corpus_free(in->corpus);
        in->corpus = corpus;
    }
    for (size_t l = 0; texts && l < n_languages; l++) free(texts[l]);
    free(tags);
    free(texts);
    free(n_bytes);
    return status;
}

/* Files of quantized activations. */
typedef struct clips {
    const char *thresholds, *plan;
    int shared;
} clips;

/* The losses of the model, under quantized activations if there are any. */
static qdisp_status losses_of(const cli_inputs *in, const clips *files, qdisp_table **losses) {
    qdisp_table *thresholds = NULL, *plan = NULL;
    if (!files->thresholds) return qdisp_eval_losses(in->model, in->tokenizer, in->corpus, losses);
    qdisp_status status = qdisp_table_open_csv(in->ctx, files->thresholds, "activations", &thresholds);
    if (status == QDISP_OK && files->plan) status = qdisp_table_open_csv(in->ctx, files->plan, "plan", &plan);
    qdisp_eval_activations a = {.size = sizeof a, .thresholds = thresholds, .plan = plan,
                                .shared = (uint64_t)files->shared};
    if (status == QDISP_OK) status = qdisp_eval_losses_with(in->model, in->tokenizer, in->corpus, &a, losses);
    qdisp_table_free(thresholds);
    qdisp_table_free(plan);
    return status;
}

static int eval_corpus(cli_inputs *in, const char *against, const clips *files) {
    qdisp_model *base = NULL;
    qdisp_table *losses = NULL, *base_losses = NULL, *comparison = NULL;
    qdisp_status status = QDISP_OK;
    if (against) status = qdisp_model_open(in->ctx, against, &base);
    if (status == QDISP_OK && against) status = qdisp_eval_losses(base, in->tokenizer, in->corpus, &base_losses);
    if (status == QDISP_OK) status = losses_of(in, files, &losses);
    if (status == QDISP_OK && against) status = qdisp_eval_compare(base_losses, losses, 0, &comparison);
    int rc = status == QDISP_OK ? cli_print_table(in->ctx, against ? comparison : losses) : cli_fail(in->ctx, status);
    qdisp_table_free(comparison);
    qdisp_table_free(losses);
    qdisp_table_free(base_losses);
    qdisp_model_free(base);
    return rc;
}

static int run(int argc, const char **argv) {
    const char *corpus = NULL, *languages = NULL, *tokenizer = NULL, *against = NULL, *text = NULL, *args[1];
    clips files = {0};
    int window = 0, context = 0, limit = 0, replace_first = 0, no_bos = 0;
    struct poptOption table[] = {
        {"corpus", 'c', POPT_ARG_STRING, &corpus, 0, "folder of text, one TAG.txt a language", "DIR"},
        {"text", 0, POPT_ARG_STRING, &text, 0, "one running text, UTF-8, - for standard input", "FILE"},
        {"limit", 0, POPT_ARG_INT, &limit, 0, "only the first N lines of a language, or windows of the text", "N"},
        {"against", 'a', POPT_ARG_STRING, &against, 0, "the unquantized model to compare with (corpus)", "MODEL"},
        {"activations", 0, POPT_ARG_STRING, &files.thresholds, 0,
         "corpus: thresholds from 'qdisp activations': inputs of linear maps are quantized, too", "FILE"},
        {"plan", 'p', POPT_ARG_STRING, &files.plan, 0, "the plan that these thresholds were chosen for", "FILE"},
        {"shared", 0, POPT_ARG_NONE, &files.shared, 0, "one threshold for all languages instead of their own", NULL},
        {"languages", 'l', POPT_ARG_STRING, &languages, 0, "only these, comma-separated (default: all)", "TAGS"},
        {"tokenizer", 0, POPT_ARG_STRING, &tokenizer, 0, "any tokenizer file or its folder (default: the model's)",
         "PATH"},
        {"window", 'w', POPT_ARG_INT, &window, 0, "text: tokens read at once (default: 512)", "N"},
        {"min-context", 0, POPT_ARG_INT, &context, 0, "text: tokens before a scored one in its window (default: 0)",
         "M"},
        {"replace-first", 0, POPT_ARG_NONE, &replace_first, 0,
         "text: what is put in front takes the place of a window's first token", NULL},
        {"no-bos", 0, POPT_ARG_NONE, &no_bos, 0, "text: a decoder reads nothing in front, whatever the tokenizer says",
         NULL},
        CLI_COMMON,
        POPT_TABLEEND};
    int rc =
        cli_parse(argc, argv, table, "eval MODEL --corpus DIR [--against BASE] | --text FILE [--window N]",
                  "Of a corpus: the loss of every line, or with --against what MODEL loses to BASE in each language:\n"
                  "dNLL in bits per byte with a 95 % interval, paired by line. Of a text: its loss and perplexity in\n"
                  "windows side by side. llama-perplexity's protocol with a context of 512:\n"
                  "--window 512 --min-context 257 --replace-first.",
                  args, 1, 1);
    if (rc >= 0) return rc;
    if (!corpus == !text || window < 0 || context < 0 || limit < 0 || (text && against)) {
        fprintf(stderr, "qdisp: %s\nTry 'qdisp eval --help'.\n",
                !corpus == !text    ? "either --corpus DIR or --text FILE is needed"
                : text && against ? "--against goes with --corpus"
                                    : "--window, --min-context and --limit are not negative");
        return CLI_USAGE;
    }
    qdisp_eval_text_options options = {.size = sizeof options, .window = (uint64_t)window,
                                       .min_context = (uint64_t)context, .max_windows = (uint64_t)limit,
                                       .replace_first = (uint64_t)replace_first, .no_bos = (uint64_t)no_bos};
    cli_inputs in = {.ctx = cli_ctx()};
    if (!in.ctx) return CLI_ERROR;
    qdisp_status status = cli_open(&in, args[0], tokenizer ? tokenizer : args[0], corpus, languages);
    if (status == QDISP_OK && corpus && limit) status = shorten(&in, (size_t)limit);
    rc = status != QDISP_OK ? cli_fail(in.ctx, status)
         : text             ? eval_text(&in, text, &options)
                            : eval_corpus(&in, against, &files);
    cli_close(&in);
    return rc;
}

const cli_command cli_command_eval = {"eval", "loss of every language or of a text, alone or against another model",
                                      run};
