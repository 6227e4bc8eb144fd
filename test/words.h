/* words.h - a tokenizer of words, for the small models of test/golden/arch: "w4" .. "w60" have ids 4 .. 60. */
#ifndef WORDS_H
#define WORDS_H

#include "harness.h"

#include <qdisp/qdisp.h>

/* Ids 0 <s>, 1 </s>, 2 <pad>, 3 "<mask>" (or "<unk>" without has_mask). template: "" or ids before and behind, as in
 * "0 $ 1". */
static inline qdisp_tokenizer *words_tokenizer(qdisp_ctx *ctx, const char *template, int has_mask) {
    const char *const special[] = {"<s>", "</s>", "<pad>", has_mask ? "<mask>" : "<unk>"};
    char path[] = "/tmp/qdisp-words-XXXXXX";
    int fd = mkstemp(path);
    FILE *f = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (!f) return NULL;
    fputs("{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": [", f);
    for (int i = 0; i < 4; i++)
        fprintf(f, "%s{\"id\": %d, \"content\": \"%s\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
                "\"normalized\": false, \"special\": true}", i ? ", " : "", i, special[i]);
    fputs("], \"normalizer\": null, \"pre_tokenizer\": {\"type\": \"WhitespaceSplit\"}, \"post_processor\": ", f);
    if (!*template) fputs("null", f);
    else fputs("{\"type\": \"TemplateProcessing\", \"single\": [", f);
    for (const char *at = template; *at; at++) {
        if (*at == ' ') continue;
        if (*at == '$') fputs("{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}", f);
        else fprintf(f, "{\"SpecialToken\": {\"id\": \"%s\", \"type_id\": 0}}", special[*at - '0']);
        if (at[1]) fputs(", ", f);
    }
    if (*template) {
        fputs("], \"pair\": [{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"B\", "
              "\"type_id\": 0}}], \"special_tokens\": {", f);
        for (int i = 0; i < 4; i++)
            fprintf(f, "%s\"%s\": {\"id\": \"%s\", \"ids\": [%d], \"tokens\": [\"%s\"]}", i ? ", " : "", special[i],
                    special[i], i, special[i]);
        fputs("}}", f);
    }
    fputs(", \"decoder\": null, \"model\": {\"type\": \"WordLevel\", \"unk_token\": \"<pad>\", \"vocab\": {", f);
    for (int i = 0; i < 4; i++) fprintf(f, "\"%s\": %d, ", special[i], i);
    for (int i = 4; i <= 60; i++) fprintf(f, "\"w%d\": %d%s", i, i, i < 60 ? ", " : "}}}");
    fclose(f);
    qdisp_tokenizer *tokenizer = NULL;
    qdisp_status status = qdisp_tokenizer_open(ctx, path, &tokenizer);
    unlink(path);
    if (status != QDISP_OK) printf("%s\n", qdisp_ctx_error(ctx));
    return tokenizer;
}

/* n words from a small generator, into text; the caller frees. */
static inline char *words_text(size_t n, uint32_t seed) {
    char *text = malloc(4 * n + 1), *at = text;
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        at += sprintf(at, "%sw%u", i ? " " : "", 4 + (seed >> 16) % 57);
    }
    *at = 0;
    return text;
}

#endif
