/* golden.h - lines of test/golden/NAME: a word, then numbers. */
#ifndef GOLDEN_H
#define GOLDEN_H

#include "harness.h"

typedef struct golden {
    FILE *file;
    char word[64];
    double v[4096];
    size_t n;
} golden;

static int golden_open(golden *g, const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%s/test/golden/%s", QDISP_ROOT, name);
    g->file = fopen(path, "r");
    return g->file != NULL;
}

/* The next line that is no comment; 0 at the end, which closes the file. */
static int golden_next(golden *g) {
    static char line[1 << 20];
    while (fgets(line, sizeof line, g->file)) {
        char *at = line + strcspn(line, " \n"), *end;
        if (*line == '#') continue;
        snprintf(g->word, sizeof g->word, "%.*s", (int)(at - line), line);
        g->n = 0;
        for (double v; g->n < 4096 && (v = strtod(at, &end), end != at); at = end) g->v[g->n++] = v;
        return 1;
    }
    fclose(g->file);
    return 0;
}

/* Calls check(numbers, n) for every line of the file that starts with `wanted`; returns how many. */
static inline int golden_each(const char *name, const char *wanted, void (*check)(const double *v, size_t n)) {
    static golden g;
    int n_rows = 0;
    if (!golden_open(&g, name)) return 0;
    while (golden_next(&g)) {
        if (strcmp(g.word, wanted)) continue;
        check(g.v, g.n);
        n_rows++;
    }
    return n_rows;
}

#endif
