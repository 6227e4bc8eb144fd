/* census.c - prints the moments of every weight matrix of a model.   census MODEL [text|csv|json|markdown] */
#include <qdisp/qdisp.h>

#include <stdio.h>

/* The library never prints: it hands its text to a sink. */
static int to_stdout(void *user, const char *bytes, size_t n_bytes) {
    (void)user;
    return fwrite(bytes, 1, n_bytes, stdout) == n_bytes ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: census MODEL [text|csv|json|markdown]\n");
        return 2;
    }
    qdisp_ctx *ctx = NULL;
    qdisp_model *model = NULL;
    qdisp_table *table = NULL;

    /* NULL options: all processors, the best instruction set, the C library's memory. */
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;

    qdisp_status status = qdisp_model_open(ctx, argv[1], &model);
    if (status == QDISP_OK) status = qdisp_census(model, &table);
    if (status == QDISP_OK) status = qdisp_table_write(table, argc > 2 ? argv[2] : "text", to_stdout, NULL);
    if (status != QDISP_OK) fprintf(stderr, "%s: %s\n", qdisp_status_name(status), qdisp_ctx_error(ctx));

    /* Any order of freeing is right, and NULL is fine. */
    qdisp_ctx_free(ctx);
    qdisp_model_free(model);
    qdisp_table_free(table);
    return status == QDISP_OK ? 0 : 1;
}
