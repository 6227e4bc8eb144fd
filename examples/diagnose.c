/* diagnose.c - the main job: which languages does a quantization of this model hurt?
 * diagnose MODEL TEXT [LANGUAGES]   TEXT: a folder of en.txt, sw.txt, ..., parallel by line; LANGUAGES: "en,sw" */
#include <qdisp/qdisp.h>

#include <stdio.h>

static int to_stdout(void *user, const char *bytes, size_t n_bytes) {
    (void)user;
    return fwrite(bytes, 1, n_bytes, stdout) == n_bytes ? 0 : 1;
}

/* A result is also data: the columns of a table are arrays. */
static void print_worst(const qdisp_report *report) {
    const qdisp_table *table = qdisp_report_find(report, "quantizers");
    if (!table) return;
    const char *const *method = qdisp_table_str(table, qdisp_table_find(table, "method"));
    const int64_t *bits = qdisp_table_i64(table, qdisp_table_find(table, "bits"));
    const char *const *worst = qdisp_table_str(table, qdisp_table_find(table, "worst"));
    const double *worst_bpb = qdisp_table_f64(table, qdisp_table_find(table, "worst_bpb"));
    if (!method || !bits || !worst || !worst_bpb) return;
    for (size_t i = 0; i < qdisp_table_n_rows(table); i++)
        printf("%s at %d bits hurts %s most: %.4f bits per byte\n", method[i], (int)bits[i],
               worst[i] ? worst[i] : "none", worst_bpb[i]);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: diagnose MODEL TEXT [LANGUAGES]\n");
        return 2;
    }
    qdisp_ctx *ctx = NULL;
    qdisp_model *model = NULL;
    qdisp_tokenizer *tokenizer = NULL;
    qdisp_corpus *corpus = NULL;
    qdisp_report *report = NULL;
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;

    /* A zero means the default, so only what differs is named. */
    qdisp_diagnose_options options = {.size = sizeof options, .methods = "rtn,la-aciq", .bits = "4,3"};

    qdisp_status status = qdisp_model_open(ctx, argv[1], &model);
    if (status == QDISP_OK) status = qdisp_tokenizer_open(ctx, argv[1], &tokenizer);
    if (status == QDISP_OK) status = qdisp_corpus_open(ctx, argv[2], argc > 3 ? argv[3] : NULL, &corpus);
    if (status == QDISP_OK) status = qdisp_diagnose(model, tokenizer, corpus, &options, &report);
    if (status == QDISP_OK) status = qdisp_report_write(report, "text", to_stdout, NULL);
    if (status == QDISP_OK) print_worst(report);
    else fprintf(stderr, "%s: %s\n", qdisp_status_name(status), qdisp_ctx_error(ctx));

    qdisp_report_free(report);
    qdisp_corpus_free(corpus);
    qdisp_tokenizer_free(tokenizer);
    qdisp_model_free(model);
    qdisp_ctx_free(ctx);
    return status == QDISP_OK ? 0 : 1;
}
