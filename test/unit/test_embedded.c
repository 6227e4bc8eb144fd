/* The embedded model and text against transformers: test/golden/embedded_nll.csv, from make_embedded.py. */
#include <qdisp/tokenizer.h>

#include "harness.h"
#include "model/model.h"

#ifndef QDISP_ROOT
#define QDISP_ROOT "."
#endif
#define DATA QDISP_ROOT "/examples/data"
#define MAX_ROWS 1024
#define MAX_IDS 4096 /* of a line; they have some dozens */

static char languages[MAX_ROWS][16];
static int lines[MAX_ROWS], n_ids[MAX_ROWS];
static double golden[MAX_ROWS];
static size_t n_rows;

static int read_golden(void) {
    FILE *f = fopen(QDISP_ROOT "/test/golden/embedded_nll.csv", "r");
    if (!f) return 0;
    char row[128];
    CHECK(fgets(row, sizeof row, f) != NULL);
    CHECK_STR(row, "language,line,n_ids,nll_nats\n");
    while (n_rows < MAX_ROWS && fgets(row, sizeof row, f)) {
        int n = sscanf(row, "%15[^,],%d,%d,%lf", languages[n_rows], &lines[n_rows], &n_ids[n_rows], &golden[n_rows]);
        CHECK(n == 4);
        n_rows++;
    }
    fclose(f);
    return 1;
}

/* Appends [bos] + encode(line) to ids; returns the number, 0 on failure. */
static size_t encode(qdisp_ctx *ctx, const qdisp_tokenizer *tokenizer, int32_t bos, size_t i_row, int32_t *ids) {
    char path[512];
    char *text = NULL;
    size_t size = 0, n = 0;
    snprintf(path, sizeof path, DATA "/text/%s.txt", languages[i_row]);
    CHECK_STATUS(qd_read_file(ctx, path, 1 << 24, &text, &size), QDISP_OK);
    if (!text) return 0;
    const char *line = text;
    for (int i = 0; line && i < lines[i_row]; i++) line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL;
    CHECK(line != NULL);
    if (line) {
        ids[0] = bos;
        CHECK_STATUS(qdisp_tokenizer_encode(tokenizer, line, strcspn(line, "\n"), ids + 1, NULL, MAX_IDS - 1, &n),
                     QDISP_OK);
        n++;
    }
    qd_free(ctx, text);
    return n;
}

TEST(test_nll_as_transformers) {
    if (!read_golden()) SKIP("no test/golden/embedded_nll.csv (test/golden/make_embedded.py writes it)");
    qdisp_ctx *ctx = NULL;
    qdisp_model *model = NULL;
    qdisp_tokenizer *tokenizer = NULL;
    CHECK_STATUS(qdisp_ctx_new(NULL, &ctx), QDISP_OK);
    CHECK_STATUS(qdisp_model_open(ctx, DATA "/model", &model), QDISP_OK);
    CHECK_STATUS(qdisp_tokenizer_open(ctx, DATA "/model", &tokenizer), QDISP_OK);
    int32_t *ids = malloc((n_rows + 1) * MAX_IDS * sizeof *ids);
    size_t *starts = calloc(n_rows + 1, sizeof *starts);
    size_t n_good = 0;
    for (size_t i = 0; model && tokenizer && i < n_rows; i++) {
        size_t n = encode(ctx, tokenizer, qdisp_model_describe(model)->bos_id, i, ids + starts[i]);
        CHECK(n == (size_t)n_ids[i]);
        n_good += n == (size_t)n_ids[i];
        starts[i + 1] = starts[i] + (n ? n : 1);
    }
    if (n_rows && n_good == n_rows) {
        float *nll = malloc(starts[n_rows] * sizeof *nll);
        double worst = 0;
        CHECK_STATUS(qdisp_model_nll(model, ids, starts, n_rows, nll), QDISP_OK);
        for (size_t i = 0; i < n_rows; i++) {
            double sum = 0;
            for (size_t t = starts[i] + 1; t < starts[i + 1]; t++) sum += nll[t];
            /* What is promised; f32 in another order of sums gives some 1e-7. */
            CHECK_NEAR(sum, golden[i], 1e-4);
            worst = fmax(worst, fabs(sum - golden[i]) / golden[i]);
        }
        printf("%zu lines, nll differs by at most %.1e\n", n_rows, worst);
        free(nll);
    }
    free(starts);
    free(ids);
    qdisp_tokenizer_free(tokenizer);
    qdisp_model_free(model);
    qdisp_ctx_free(ctx);
}

int main(void) {
    RUN(test_nll_as_transformers);
    return TEST_END();
}
