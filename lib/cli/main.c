/* main.c - the qdisp program: picks the command (commands.inc, written by meson from lib/meson.build). */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#define COMMAND(name) extern const cli_command cli_command_##name;
#include "commands.inc"
#undef COMMAND

static const cli_command *const commands[] = {
#define COMMAND(name) &cli_command_##name,
#include "commands.inc"
#undef COMMAND
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

static void help(FILE *to) {
    fprintf(to, "qdisp %s: which languages does a quantization hurt, and what to do about it\n\n"
                "Usage: qdisp COMMAND [OPTIONS]\n\nCommands:\n", qdisp_version());
    for (size_t i = 0; i < N_COMMANDS; i++) fprintf(to, "  %-10s  %s\n", commands[i]->name, commands[i]->summary);
    fprintf(to, "  %-10s  %s\n  %-10s  %s\n\n", "help", "this text; 'qdisp help COMMAND' for one command", "version",
            "the version of the library");
    fprintf(to, "Start with:  qdisp diagnose MODEL --corpus DIR\n"
                "MODEL is a Hugging Face folder (config.json, weights, a tokenizer) or a GGUF file; DIR holds one\n"
                "text file a language (en.txt, sw.txt, ...), one sentence a line, parallel by line.\n"
                "Exit status: 0 done, 1 failed (the reason is on standard error), 2 wrong usage.\n");
}

static const cli_command *find(const char *name) {
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (!strcmp(commands[i]->name, name)) return commands[i];
    return NULL;
}

int main(int argc, const char **argv) {
    const char *name = argc > 1 ? argv[1] : "help";
    if (!strcmp(name, "version") || !strcmp(name, "--version")) {
        printf("qdisp %s\n", qdisp_version());
        return CLI_OK;
    }
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h")) {
        const cli_command *command = argc > 2 ? find(argv[2]) : NULL;
        const char *arguments[] = {argc > 2 ? argv[2] : "", "--help", NULL};
        if (command) return command->run(2, arguments);
        if (argc > 2) fprintf(stderr, "qdisp: no command '%s'\n", argv[2]);
        help(argc > 2 ? stderr : stdout);
        return argc > 2 ? CLI_USAGE : argc > 1 ? CLI_OK : CLI_USAGE;
    }
    const cli_command *command = find(name);
    if (command) return command->run(argc - 1, argv + 1);
    fprintf(stderr, "qdisp: no command '%s': 'qdisp help' lists them\n", name);
    return CLI_USAGE;
}
