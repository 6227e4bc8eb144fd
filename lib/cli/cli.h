/* cli.h - what the commands share. The program uses only what any user has: the public headers. */
#ifndef CLI_H
#define CLI_H

#include <popt.h>
#include <qdisp/qdisp.h>

/* A command: one file cmd_NAME.c and one word in lib/meson.build. */
typedef struct cli_command {
    const char *name, *summary;
    int (*run)(int argc, const char **argv); /* argv[0] is the command's name; returns the exit status */
} cli_command;

enum { CLI_OK = 0, CLI_ERROR = 1, CLI_USAGE = 2 };

/* Options that every command has. */
typedef struct cli_common {
    int json, quiet, threads, help;
    const char *format, *output, *isa;
} cli_common;
extern cli_common cli_options;
extern struct poptOption cli_common_table[];
#define CLI_COMMON {NULL, 0, POPT_ARG_INCLUDE_TABLE, cli_common_table, 0, "Common options:", NULL}

/* Parses argv by table; the positional arguments go to args[n_min..n_max], NULL for those not given. usage is the line
 * after "qdisp", details one paragraph. -1: go on; else the exit status. */
int cli_parse(int argc, const char **argv, struct poptOption *table, const char *usage, const char *details,
              const char **args, int n_min, int n_max);

/* The context of the command line: progress bar on a terminal, warnings on stderr, Ctrl-C cancels. NULL: it failed and
 * said why. */
qdisp_ctx *cli_ctx(void);
/* Prints the message of a failed call; CLI_ERROR. */
int cli_fail(qdisp_ctx *ctx, qdisp_status status);
/* The same after a call that was given the text of a file: a message about the text names the file. */
int cli_fail_text(qdisp_ctx *ctx, qdisp_status status, const char *path);
/* Writes a table or report to --output or stdout in --format. The exit status. */
int cli_print_table(qdisp_ctx *ctx, const qdisp_table *table);
/* leave_out[n_leave_out] (NULL: none): tables that are data for machines, left out of text and Markdown. */
int cli_print_report(qdisp_ctx *ctx, const qdisp_report *report, const char *const *leave_out, size_t n_leave_out);
/* "channel", "tensor" or a number into a group size; false if it is none of these. */
int cli_group_size(const char *text, int64_t *group_size);

/* The whole of a file, or of standard input ("-"), with a NUL behind, which the caller frees; 0 if it cannot be read,
 * which is said. */
int cli_read_text(const char *path, char **text, size_t *n_bytes);
double cli_seconds(void); /* of a clock that never goes back */

/* What most commands open: model, corpus, tokenizer. NULL paths are not opened, but a corpus brings the model's
 * tokenizer with it. */
typedef struct cli_inputs {
    qdisp_ctx *ctx;
    qdisp_model *model;
    qdisp_tokenizer *tokenizer;
    qdisp_corpus *corpus;
} cli_inputs;
qdisp_status cli_open(cli_inputs *in, const char *model_path, const char *tokenizer_path, const char *corpus_path,
                      const char *languages);
void cli_close(cli_inputs *in);

#endif
