/* cli.c - options, progress, output. */
#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

cli_common cli_options;

struct poptOption cli_common_table[] = {
    {"json", 'j', POPT_ARG_NONE, &cli_options.json, 0, "print JSON (the same as --format json)", NULL},
    {"format", 'f', POPT_ARG_STRING, &cli_options.format, 0, "text, csv, json or markdown", "FORMAT"},
    {"output", 'o', POPT_ARG_STRING, &cli_options.output, 0, "write to a file or folder instead of standard output",
     "PATH"},
    {"threads", 't', POPT_ARG_INT, &cli_options.threads, 0, "threads to use (default: one a processor)", "N"},
    {"isa", 0, POPT_ARG_STRING, &cli_options.isa, 0, "cap the instruction set: c, avx2, avx512, neon", "NAME"},
    {"quiet", 'q', POPT_ARG_NONE, &cli_options.quiet, 0, "no progress, no warnings", NULL},
    {"help", 'h', POPT_ARG_NONE, &cli_options.help, 0, "show this help", NULL},
    POPT_TABLEEND};

int cli_parse(int argc, const char **argv, struct poptOption *table, const char *usage, const char *details,
              const char **args, int n_min, int n_max) {
    const char *command = argv[0];
    argv[0] = "qdisp"; /* popt's help then begins "Usage: qdisp COMMAND ..." */
    poptContext pc = poptGetContext("qdisp", argc, argv, table, 0);
    poptSetOtherOptionHelp(pc, usage);
    int rc = poptGetNextOpt(pc), n = 0;
    if (rc < -1) {
        fprintf(stderr, "qdisp: %s: %s\nTry 'qdisp %s --help'.\n", poptBadOption(pc, POPT_BADOPTION_NOALIAS),
                poptStrerror(rc), command);
        poptFreeContext(pc);
        return CLI_USAGE;
    }
    if (cli_options.help) {
        poptPrintHelp(pc, stdout, 0);
        printf("\n%s\n", details);
        poptFreeContext(pc);
        return CLI_OK;
    }
    for (int i = 0; i < n_max; i++) args[i] = NULL;
    const char *arg;
    while ((arg = poptGetArg(pc)) && n < n_max) args[n++] = strdup(arg); /* lives as long as the process */
    int too_many = arg != NULL;
    poptFreeContext(pc);
    if (cli_options.json) cli_options.format = "json";
    if (!cli_options.format) cli_options.format = "text";
    if (n >= n_min && !too_many && cli_options.threads >= 0) return -1;
    fprintf(stderr, "qdisp: %s\nUsage: qdisp %s\nTry 'qdisp %s --help'.\n",
            too_many ? "too many arguments" : n < n_min ? "too few arguments" : "--threads is below 0", usage, command);
    return CLI_USAGE;
}

static volatile sig_atomic_t interrupted;

static void on_signal(int signal) {
    (void)signal;
    if (interrupted++ > 0) _exit(130); /* a second Ctrl-C does not wait */
}

static int on_cancelled(void *user) {
    (void)user;
    return interrupted != 0;
}

static void on_log(void *user, qdisp_log_level level, const char *line) {
    (void)user;
    if (!cli_options.quiet)
        fprintf(stderr, "%sqdisp: %s%s\n", isatty(2) ? "\r\033[K" : "", level == QDISP_LOG_WARNING ? "warning: " : "",
                line);
}

double cli_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A bar with the time left; at most ten times a second. */
static void on_progress(void *user, const char *what, double done) {
    static double first, last;
    double now = cli_seconds();
    (void)user;
    if (first == 0) first = now;
    if (done < 1 && now - last < 0.1) return;
    last = now;
    int n = (int)(done * 30 + 0.5);
    double left = done > 0.02 ? (now - first) / done * (1 - done) : -1;
    fprintf(stderr, "\r\033[K%-28.28s [%.*s%*s] %3.0f %%", what, n, "##############################", 30 - n, "",
            100 * done);
    if (done < 1 && left >= 0) fprintf(stderr, "  %.0f s left", left);
    if (done >= 1) {
        fprintf(stderr, "\r\033[K");
        first = last = 0;
    }
    fflush(stderr);
}

qdisp_ctx *cli_ctx(void) {
    qdisp_ctx_options options = {.size = sizeof options, .log = on_log, .cancelled = on_cancelled,
                                 .n_threads = (uint64_t)cli_options.threads, .isa = cli_options.isa, .own_blas = 1};
    if (isatty(2) && !cli_options.quiet) options.progress = on_progress;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    qdisp_ctx *ctx = NULL;
    qdisp_status status = qdisp_ctx_new(&options, &ctx);
    if (status == QDISP_OK) return ctx;
    fprintf(stderr, "qdisp: %s (--threads %d, --isa %s)\n", qdisp_status_text(status), cli_options.threads,
            cli_options.isa ? cli_options.isa : "best");
    return NULL;
}

int cli_fail(qdisp_ctx *ctx, qdisp_status status) {
    return cli_fail_text(ctx, status, NULL);
}

int cli_fail_text(qdisp_ctx *ctx, qdisp_status status, const char *path) {
    static const char about[] = "text: ";
    const char *message = qdisp_ctx_error(ctx), *at = *message ? message : qdisp_status_text(status);
    int names_it = path && !strncmp(at, about, sizeof about - 1);
    fprintf(stderr, "%sqdisp: %s%s%s\n", isatty(2) ? "\r\033[K" : "", names_it ? path : "", names_it ? ": " : "",
            names_it ? at + sizeof about - 1 : at);
    return CLI_ERROR;
}

static int to_file(void *user, const char *bytes, size_t n) {
    if (fwrite(bytes, 1, n, stdout) == n) return 0;
    *(int *)user = errno;
    return 1;
}

/* error: the reason why standard output did not take all, or 0. */
static int finish(qdisp_ctx *ctx, qdisp_status status, int error) {
    if (status == QDISP_OK && fflush(stdout) != 0) error = errno;
    if (error) {
        fprintf(stderr, "qdisp: standard output: %s\n", strerror(error));
        return CLI_ERROR;
    }
    return status == QDISP_OK ? CLI_OK : cli_fail(ctx, status);
}

int cli_print_table(qdisp_ctx *ctx, const qdisp_table *table) {
    int error = 0;
    if (cli_options.output) return finish(ctx, qdisp_table_save(table, cli_options.output, cli_options.format), 0);
    qdisp_status status = qdisp_table_write(table, cli_options.format, to_file, &error);
    return finish(ctx, status, error);
}

static int is_in(const char *const *list, size_t n, const char *name) {
    size_t i = 0;
    while (i < n && (!list[i] || strcmp(list[i], name))) i++;
    return i < n;
}

int cli_print_report(qdisp_ctx *ctx, const qdisp_report *report, const char *const *leave_out, size_t n_leave_out) {
    int for_people = !strcmp(cli_options.format, "text") || !strcmp(cli_options.format, "markdown");
    int error = 0;
    qdisp_status status = QDISP_OK;
    if (cli_options.output) return finish(ctx, qdisp_report_save(report, cli_options.output, cli_options.format), 0);
    if (!for_people) {
        status = qdisp_report_write(report, cli_options.format, to_file, &error);
        return finish(ctx, status, error);
    }
    for (size_t i = 0, n = 0; i < qdisp_report_n_tables(report) && status == QDISP_OK; i++) {
        const qdisp_table *table = qdisp_report_table(report, i);
        if (is_in(leave_out, n_leave_out, qdisp_table_name(table))) continue;
        if (n++ > 0) putchar('\n');
        status = qdisp_table_write(table, cli_options.format, to_file, &error);
    }
    return finish(ctx, status, error);
}

int cli_group_size(const char *text, int64_t *group_size) {
    char *end;
    if (!strcmp(text, "channel")) *group_size = QDISP_GROUP_CHANNEL;
    else if (!strcmp(text, "tensor")) *group_size = QDISP_GROUP_TENSOR;
    else {
        errno = 0;
        long long v = strtoll(text, &end, 10);
        if (errno || end == text || *end || v < 8) {
            fprintf(stderr, "qdisp: --group: '%s' is not channel, tensor or a number of 8 or more\n", text);
            return 0;
        }
        *group_size = v;
    }
    return 1;
}

int cli_read_text(const char *path, char **text, size_t *n_bytes) {
    FILE *file = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    size_t cap = 0, n_read = 1, n = 0;
    char *bytes = NULL;
    while (file && n_read > 0) {
        if (cap - n < 2) {
            cap = cap ? 2 * cap : 1 << 16;
            char *more = realloc(bytes, cap);
            if (!more) break;
            bytes = more;
        }
        n_read = fread(bytes + n, 1, cap - n - 1, file);
        n += n_read;
    }
    int good = file && n_read == 0 && !ferror(file);
    if (!good) fprintf(stderr, "qdisp: %s: %s\n", path, strerror(errno));
    if (file && file != stdin) fclose(file);
    if (good) bytes[n] = 0;
    else free(bytes);
    *text = good ? bytes : NULL;
    *n_bytes = good ? n : 0;
    return good;
}

qdisp_status cli_open(cli_inputs *in, const char *model_path, const char *tokenizer_path, const char *corpus_path,
                      const char *languages) {
    qdisp_status status = QDISP_OK;
    if (model_path) status = qdisp_model_open(in->ctx, model_path, &in->model);
    if (status == QDISP_OK && corpus_path) status = qdisp_corpus_open(in->ctx, corpus_path, languages, &in->corpus);
    if (!tokenizer_path && corpus_path) tokenizer_path = model_path;
    if (status == QDISP_OK && tokenizer_path) status = qdisp_tokenizer_open(in->ctx, tokenizer_path, &in->tokenizer);
    return status;
}

void cli_close(cli_inputs *in) {
    qdisp_model_free(in->model);
    qdisp_tokenizer_free(in->tokenizer);
    qdisp_corpus_free(in->corpus);
    qdisp_ctx_free(in->ctx);
}
