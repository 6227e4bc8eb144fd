/* bench_tokenizers.c - opening tokenizers, and encoding a text with them on one thread: whole, and line by line. The
 * embedded tokenizer, and those that --tokenizers DIR holds: folders and files that qdisp_tokenizer_open takes. The
 * text is the embedded one, 26 languages, or that of --text FILE. Cases: load_NAME, encode_NAME, lines_NAME. */
#include "bench.h"

#include <qdisp/qdisp.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tokens {
    qdisp_ctx *ctx;
    qdisp_tokenizer *tokenizer;
    const char *path;
    char *text;
    size_t n, n_ids;
    int32_t *ids; /* [n + 1] */
} tokens;

static int load(void *arg) {
    tokens *t = arg;
    qdisp_tokenizer *tokenizer = NULL;
    qdisp_status status = qdisp_tokenizer_open(t->ctx, t->path, &tokenizer);
    qdisp_tokenizer_free(tokenizer);
    return status != QDISP_OK;
}

static int encode(void *arg) {
    tokens *t = arg;
    return qdisp_tokenizer_encode(t->tokenizer, t->text, t->n, t->ids, NULL, t->n + 1, &t->n_ids) != QDISP_OK;
}

static int lines(void *arg) {
    tokens *t = arg;
    size_t n_ids;
    t->n_ids = 0;
    for (const char *at = t->text, *end = t->text + t->n; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((stop ? stop : end) - at);
        if (qdisp_tokenizer_encode(t->tokenizer, at, n, t->ids, NULL, t->n + 1, &n_ids) != QDISP_OK) return 1;
        t->n_ids += n_ids;
        at += n + 1;
    }
    return 0;
}

static const struct {
    const char *name;
    bench_pass pass;
} parts[] = {{"load", load}, {"encode", encode}, {"lines", lines}};
enum { N_PARTS = sizeof parts / sizeof *parts };

static void bench_part(const bench_options *o, tokens *t, size_t part, const char *name) {
    bench_times times;
    bench_row row = {.name = name, .by = "qdisp", .threads = 1, .n = part ? (double)t->n : 1,
                     .unit = part ? "Mbytes/s" : "s"};
    if (bench_measure(o, parts[part].pass, t, &times)) {
        bench_skip(o, &row, qdisp_ctx_error(t->ctx));
        return;
    }
    if (part) snprintf(row.note, sizeof row.note, "%zu tokens", t->n_ids);
    bench_print(o, &row, &times);
}

static void bench_tokenizer(const bench_options *o, tokens *t, const char *path, const char *name) {
    char cases[N_PARTS][96];
    int n_selected = 0;
    for (size_t i = 0; i < N_PARTS; i++) {
        snprintf(cases[i], sizeof cases[i], "%s_%s", parts[i].name, name);
        n_selected += bench_selected(o, cases[i]);
    }
    if (!n_selected || qdisp_tokenizer_open(t->ctx, path, &t->tokenizer) != QDISP_OK) return; /* not a tokenizer */
    t->path = path;
    for (size_t i = 0; i < N_PARTS; i++)
        if (bench_selected(o, cases[i])) bench_part(o, t, i, cases[i]);
    qdisp_tokenizer_free(t->tokenizer);
    t->tokenizer = NULL;
}

/* The text with what follows it forgotten: a file's, or all of the embedded text. */
static void read_text(const bench_options *o, tokens *t) {
    qdisp_corpus *corpus = NULL;
    if (o->text) {
        t->text = bench_read(o->text, &t->n);
    } else if (qdisp_corpus_open(t->ctx, QDISP_ROOT "/examples/data/text", NULL, &corpus) == QDISP_OK) {
        size_t n_line, room = 0;
        for (size_t l = 0; l < qdisp_corpus_n_languages(corpus); l++)
            for (size_t i = 0; i < qdisp_corpus_n_lines(corpus); i++) {
                const char *line = qdisp_corpus_line(corpus, l, i, &n_line);
                if (t->n + n_line + 1 > room) t->text = realloc(t->text, room = 2 * (t->n + n_line + 1));
                memcpy(t->text + t->n, line, n_line);
                t->text[t->n + n_line] = '\n';
                t->n += n_line + 1;
            }
        qdisp_corpus_free(corpus);
    }
}

void bench_list_tokenizers(void) {
    for (size_t i = 0; i < N_PARTS; i++) printf("%s_embedded\n", parts[i].name);
}

static int not_hidden(const struct dirent *entry) {
    return *entry->d_name != '.';
}

void bench_tokenizers(const bench_options *o) {
    tokens t = {0};
    struct dirent **entries = NULL;
    char path[1024];
    qdisp_ctx_options options = {.size = sizeof options, .n_threads = 1, .isa = o->isa};
    int n = o->tokenizers ? scandir(o->tokenizers, &entries, not_hidden, alphasort) : 0;
    if (qdisp_ctx_new(&options, &t.ctx) != QDISP_OK) return;
    read_text(o, &t);
    t.ids = malloc((t.n + 1) * sizeof *t.ids);
    bench_confine(1);
    if (t.text && t.ids) bench_tokenizer(o, &t, QDISP_ROOT "/examples/data/model", "embedded");
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", o->tokenizers, entries[i]->d_name);
        if (t.text && t.ids) bench_tokenizer(o, &t, path, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries), free(t.text), free(t.ids);
    qdisp_ctx_free(t.ctx);
}
