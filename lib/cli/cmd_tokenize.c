/* cmd_tokenize.c - a text's tokens. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tokens {
    char *text;
    size_t n_bytes;
    int32_t *ids;
    size_t *starts, n;
    char *decoded;
    size_t n_decoded;
} tokens;

static qdisp_status encode(const qdisp_tokenizer *tokenizer, const qdisp_encode_options *options, tokens *t) {
    size_t cap = t->n_bytes + 2;
    for (;;) {
        free(t->ids);
        free(t->starts);
        t->ids = malloc(cap * sizeof *t->ids);
        t->starts = malloc(cap * sizeof *t->starts);
        if (!t->ids || !t->starts) return QDISP_ENOMEM;
        qdisp_status status = qdisp_tokenizer_encode_as(tokenizer, t->text, t->n_bytes, options, t->ids, t->starts,
                                                         cap, &t->n);
        if (status != QDISP_OK || t->n <= cap) return status;
        cap = t->n;
    }
}

static qdisp_status decode(const qdisp_tokenizer *tokenizer, tokens *t) {
    qdisp_status status = qdisp_tokenizer_decode(tokenizer, t->ids, t->n, 0, NULL, 0, &t->n_decoded);
    if (status != QDISP_OK) return status;
    if (!(t->decoded = malloc(t->n_decoded + 1))) return QDISP_ENOMEM;
    t->decoded[t->n_decoded] = 0;
    return qdisp_tokenizer_decode(tokenizer, t->ids, t->n, 0, t->decoded, t->n_decoded, &t->n_decoded);
}

static qdisp_status tokens_table(qdisp_ctx *ctx, const qdisp_tokenizer *tokenizer, const tokens *t,
                                 qdisp_table **out) {
    qdisp_table *table = NULL;
    qdisp_status status = qdisp_table_new(ctx, "tokens", "Tokens (bytes: where each begins in the text)", &table);
    if (status == QDISP_OK) status = qdisp_table_add_column(table, "id", "", QDISP_COLUMN_I64, NULL);
    if (status == QDISP_OK) status = qdisp_table_add_column(table, "begin_byte", "bytes", QDISP_COLUMN_I64, NULL);
    if (status == QDISP_OK) status = qdisp_table_add_column(table, "token", "", QDISP_COLUMN_STR, NULL);
    if (status == QDISP_OK && t->n) status = qdisp_table_add_rows(table, t->n, NULL);
    for (size_t i = 0; i < t->n && status == QDISP_OK; i++) {
        status = qdisp_table_set_i64(table, i, 0, t->ids[i]);
        if (status == QDISP_OK) status = qdisp_table_set_i64(table, i, 1, (int64_t)t->starts[i]);
        if (status == QDISP_OK)
            status = qdisp_table_set_str(table, i, 2, qdisp_tokenizer_token(tokenizer, t->ids[i]));
    }
    if (status == QDISP_OK) *out = table;
    else qdisp_table_free(table);
    return status;
}

static qdisp_status decoded_table(qdisp_ctx *ctx, const tokens *t, qdisp_table **out) {
    qdisp_table *table = NULL;
    int64_t same = t->n_decoded == t->n_bytes && !memcmp(t->decoded, t->text, t->n_bytes);
    qdisp_status status = qdisp_table_new(ctx, "decoded", "Decoded again (same: 1 if it is the text)", &table);
    if (status == QDISP_OK) status = qdisp_table_add_column(table, "same", "", QDISP_COLUMN_I64, NULL);
    if (status == QDISP_OK) status = qdisp_table_add_column(table, "text", "", QDISP_COLUMN_STR, NULL);
    if (status == QDISP_OK) status = qdisp_table_add_rows(table, 1, NULL);
    if (status == QDISP_OK) status = qdisp_table_set_i64(table, 0, 0, same);
    if (status == QDISP_OK) status = qdisp_table_set_str(table, 0, 1, t->decoded);
    if (status == QDISP_OK) *out = table;
    else qdisp_table_free(table);
    return status;
}

static int print(cli_inputs *in, tokens *t, const char *path, const qdisp_encode_options *options, int decodes) {
    qdisp_report *report = NULL;
    qdisp_table *table = NULL;
    qdisp_status status = encode(in->tokenizer, options, t);
    if (status == QDISP_OK && decodes) status = decode(in->tokenizer, t);
    if (status == QDISP_OK) status = tokens_table(in->ctx, in->tokenizer, t, &table);
    if (status == QDISP_OK && !decodes) {
        int rc = cli_print_table(in->ctx, table);
        qdisp_table_free(table);
        return rc;
    }
    if (status == QDISP_OK) status = qdisp_report_new(in->ctx, "tokenization", &report);
    if (status == QDISP_OK) status = qdisp_report_add(report, table);
    if (status == QDISP_OK) status = decoded_table(in->ctx, t, &table);
    if (status == QDISP_OK) status = qdisp_report_add(report, table);
    int rc = status == QDISP_OK ? cli_print_report(in->ctx, report, NULL, 0)
                                : cli_fail_text(in->ctx, status, path);
    qdisp_report_free(report);
    return rc;
}

static int run(int argc, const char **argv) {
    const char *path = NULL, *special = "parse", *args[1];
    int decodes = 0;
    struct poptOption table[] = {
        {"text", 0, POPT_ARG_STRING, &path, 0, "UTF-8 text to encode, - for standard input", "FILE"},
        {"decode", 'd', POPT_ARG_NONE, &decodes, 0, "decode the tokens again, and say whether that is the text", NULL},
        {"special", 's', POPT_ARG_STRING, &special, 0,
         "names of special tokens in the text: parse (they are these tokens, the default) or text (they are text)",
         "HOW"},
        CLI_COMMON,
        POPT_TABLEEND};
    int rc = cli_parse(argc, argv, table, "tokenize TOKENIZER --text FILE [OPTIONS]",
                       "The tokens of a text: id, the byte where each begins, the token's string in the vocabulary.\n"
                       "TOKENIZER: a tokenizer.json, a SentencePiece .model, a GGUF model, tiktoken's ranks\n"
                       "(cl100k_base:FILE names an encoding), or a folder that holds one of them.",
                       args, 1, 1);
    if (rc >= 0) return rc;
    if (!path) {
        fprintf(stderr, "qdisp: --text FILE is needed\nTry 'qdisp tokenize --help'.\n");
        return CLI_USAGE;
    }
    if (strcmp(special, "parse") && strcmp(special, "text")) {
        fprintf(stderr, "qdisp: --special: '%s' is neither parse nor text\nTry 'qdisp tokenize --help'.\n", special);
        return CLI_USAGE;
    }
    qdisp_encode_options options = {.size = sizeof options, .special_as_text = !strcmp(special, "text")};
    tokens t = {0};
    cli_inputs in = {.ctx = cli_ctx()};
    if (!in.ctx) return CLI_ERROR;
    qdisp_status status = qdisp_tokenizer_open(in.ctx, args[0], &in.tokenizer);
    if (status != QDISP_OK) rc = cli_fail(in.ctx, status);
    else rc = cli_read_text(path, &t.text, &t.n_bytes) ? print(&in, &t, path, &options, decodes) : CLI_ERROR;
    free(t.text);
    free(t.ids);
    free(t.starts);
    free(t.decoded);
    cli_close(&in);
    return rc;
}

const cli_command cli_command_tokenize = {"tokenize", "a text's tokens", run};
