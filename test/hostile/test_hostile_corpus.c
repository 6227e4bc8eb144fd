/* Every broken folder of hostile/corpus: its status, and what the message names. */
#include "harness.h"

#include <qdisp/corpus.h>

#ifndef QDISP_ROOT
#define QDISP_ROOT "."
#endif

static const struct {
    const char *folder, *languages;
    qdisp_status status;
    const char *message[2];
} FOLDERS[] = {
    {"invalid_utf8", NULL, QDISP_EENCODING, {"invalid_utf8/de.txt: line 2, byte 3 (offset 7)", "0xFF"}},
    {"truncated_character", NULL, QDISP_EENCODING, {"en.txt: line 2, byte 3", NULL}},
    {"empty_line", NULL, QDISP_EFORMAT, {"en.txt: line 2: empty", NULL}},
    {"crlf_blank", NULL, QDISP_EFORMAT, {"en.txt: line 2: empty", NULL}},
    {"unequal", NULL, QDISP_EFORMAT, {"en.txt has 3 lines", "fr.txt has 2"}},
    {"unequal", "fr,en", QDISP_EFORMAT, {"fr.txt has 2 lines", "en.txt has 3"}},
    {"empty_file", NULL, QDISP_EFORMAT, {"en.txt: no lines", NULL}},
    {"bom_only", NULL, QDISP_EFORMAT, {"en.txt: no lines", NULL}},
    {"no_files", NULL, QDISP_EFORMAT, {"no file named after a language", NULL}},
    {"no_such_folder", NULL, QDISP_ENOTFOUND, {"no_such_folder", NULL}},
    {"bad_tag", "en,xx", QDISP_ENOTFOUND, {"bad_tag/xx.txt", NULL}},
    {"bad_tag", "en,english", QDISP_EINVAL, {"'english'", NULL}},
    {"bad_tag", "../en", QDISP_EINVAL, {"'../en'", NULL}},
    {"bad_tag", "", QDISP_EINVAL, {"language ''", NULL}},
    {"bad_tag", "en,", QDISP_EINVAL, {"language ''", NULL}},
    {"bad_tag", "en,en", QDISP_EINVAL, {"'en' is there twice", NULL}},
    {"bad_tag", "e1", QDISP_EINVAL, {"'e1'", NULL}},
    {"bad_tag/en.txt", NULL, QDISP_EIO, {"bad_tag/en.txt", NULL}},
};

static qdisp_ctx *ctx;

TEST(broken_folders) {
    for (size_t i = 0; i < sizeof FOLDERS / sizeof FOLDERS[0]; i++) {
        char path[1024];
        qdisp_corpus *corpus = NULL;
        int before = harness_bad;
        harness_bad = 0;
        snprintf(path, sizeof path, "%s/test/hostile/corpus/%s", QDISP_ROOT, FOLDERS[i].folder);
        CHECK_STATUS(qdisp_corpus_open(ctx, path, FOLDERS[i].languages, &corpus), FOLDERS[i].status);
        CHECK(!corpus);
        for (size_t k = 0; k < 2 && FOLDERS[i].message[k]; k++) CHECK_HAS(qdisp_ctx_error(ctx), FOLDERS[i].message[k]);
        if (harness_bad) printf("  in %s: %s\n", FOLDERS[i].folder, qdisp_ctx_error(ctx));
        harness_bad |= before;
        qdisp_corpus_free(corpus);
    }
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(broken_folders);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
