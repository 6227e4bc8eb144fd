/* test_superweights.c - weights that a model cannot do without: found, measured, kept. */
#include "tiny.h"

#include "eval/eval.h"
#include "quant/quant.h"

static qdisp_ctx *ctx;
static tiny *weights;
static qdisp_model *model;
static qdisp_tokenizer *tokenizer;
static qdisp_corpus *corpus;

#define PLANTED "h.1.mlp.dense_4h_to_h.weight"
enum { ROW = 5, COLUMN = 17, N_IN = 64, N_LANGUAGES = 2 };

static const double *f64(const qdisp_table *t, const char *name) {
    return qdisp_table_f64(t, qdisp_table_find(t, name));
}

static const int64_t *i64(const qdisp_table *t, const char *name) {
    return qdisp_table_i64(t, qdisp_table_find(t, name));
}

static const char *str(const qdisp_table *t, const char *name, size_t row) {
    return qdisp_table_str(t, qdisp_table_find(t, name))[row];
}

static qdisp_table *found(const qdisp_corpus *text, uint64_t n) {
    qdisp_superweights_options o = {.size = sizeof o, .n_candidates = n, .n_resamples = 200};
    qdisp_table *t = NULL;
    CHECK_STATUS(qdisp_superweights(model, text ? tokenizer : NULL, text, &o, &t), QDISP_OK);
    if (!t) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
    return t;
}

TEST(the_largest_is_found_without_text) {
    qdisp_table *t = found(NULL, 3);
    double sum = 0, squares = 0, n = 16 * N_IN;
    const float *w = tiny_data(weights, PLANTED);
    for (size_t k = 0; k < 16 * N_IN; k++) sum += (double)w[k], squares += (double)w[k] * (double)w[k];
    CHECK(qdisp_table_n_rows(t) == 3 && qdisp_table_find(t, "worst_bpb") == (size_t)-1);
    CHECK_HAS(str(t, "tensor", 0), PLANTED);
    CHECK_STR(str(t, "role", 0), "mlp.down");
    CHECK_STR(str(t, "found_by", 0), "size");
    CHECK(i64(t, "row")[0] == ROW && i64(t, "column")[0] == COLUMN && i64(t, "layer")[0] == 1);
    CHECK_NEAR(f64(t, "sigmas")[0], fabs((double)w[ROW * N_IN + COLUMN]) / sqrt(squares / n - sum / n * sum / n), 1e-9);
    CHECK(f64(t, "sigmas")[0] > f64(t, "sigmas")[1] && f64(t, "sigmas")[1] >= f64(t, "sigmas")[2]);
    qdisp_table_free(t);
}

typedef struct gradients {
    double largest; /* |w dL/dw| over the maps of the blocks */
    double planted; /* of the planted weight */
} gradients;

static int on_weight(void *user, size_t i, const float *grad, size_t n_out, size_t n_in) {
    gradients *g = user;
    const qd_linear *linear = &model->linears[i];
    const float *w = model->tensors[linear->i_weight].data;
    for (size_t k = 0; linear->layer >= 0 && k < n_out * n_in; k++)
        g->largest = fmax(g->largest, fabs((double)grad[k] * (double)w[k]));
    if (strstr(model->tensors[linear->i_weight].name, PLANTED))
        g->planted = (double)grad[ROW * N_IN + COLUMN] * (double)w[ROW * N_IN + COLUMN];
    return 0;
}

TEST(what_text_says_is_what_removal_and_gradients_give) {
    qdisp_table *t = found(corpus, 4), *base = NULL, *without = NULL, *comparison = NULL;
    size_t n = qdisp_table_n_rows(t), at = 0;
    CHECK(n >= 4 && n <= 12);
    for (size_t i = 1; i < n; i++) CHECK(f64(t, "worst_bpb")[i] <= f64(t, "worst_bpb")[i - 1]);
    while (at < n && !(strstr(str(t, "tensor", at), PLANTED) && i64(t, "row")[at] == ROW &&
                       i64(t, "column")[at] == COLUMN)) at++;
    CHECK(at < n);
    CHECK_HAS(str(t, "found_by", at), "size");
    /* removal, by hand */
    float *w = tiny_data(weights, PLANTED) + ROW * N_IN + COLUMN, kept = *w;
    CHECK_STATUS(qdisp_eval_losses(model, tokenizer, corpus, &base), QDISP_OK);
    *w = 0;
    CHECK_STATUS(qdisp_eval_losses(model, tokenizer, corpus, &without), QDISP_OK);
    *w = kept;
    CHECK_STATUS(qdisp_eval_compare(base, without, 200, &comparison), QDISP_OK);
    double mean = 0, worst = -INFINITY;
    for (size_t l = 0; l < N_LANGUAGES; l++) {
        char name[32];
        double loss = f64(comparison, "loss_bpb")[l];
        snprintf(name, sizeof name, "%s.loss", qdisp_corpus_language(corpus, l));
        CHECK_NEAR(f64(t, name)[at], loss, 1e-6);
        mean += loss / N_LANGUAGES;
        worst = fmax(worst, loss);
    }
    CHECK_NEAR(f64(t, "mean_bpb")[at], mean, 1e-6);
    CHECK_NEAR(f64(t, "worst_bpb")[at], worst, 1e-6);
    /* first order, by one pass over each language; second by the statistics */
    double most_first = 0, largest = 0, most_second = 0;
    qdisp_calib *c = NULL;
    CHECK_STATUS(qdisp_calib_new(model, &c), QDISP_OK);
    CHECK_STATUS(qdisp_calib_collect(c, model, tokenizer, corpus), QDISP_OK);
    CHECK_STATUS(qdisp_calib_collect_gradients(c, model, tokenizer, corpus), QDISP_OK);
    for (size_t l = 0; l < N_LANGUAGES; l++) {
        qd_frame frame;
        qd_lines lines;
        size_t n_targets = 0, n_bytes = 0, i = 0;
        gradients g = {0, 0};
        qdisp_grad_options o = {.size = sizeof o, .weight = on_weight, .user = &g};
        CHECK_STATUS(qd_frame_make(model, tokenizer, &frame), QDISP_OK);
        CHECK_STATUS(qd_lines_make(&frame, corpus, l, NULL, qdisp_corpus_n_lines(corpus), &lines), QDISP_OK);
        CHECK_STATUS(qd_gradients_run(&lines.sequences, &o, NULL, &n_targets), QDISP_OK);
        for (size_t k = 0; k < lines.n_lines; k++) n_bytes += lines.n_bytes[k];
        double scale = 1 / (double)n_bytes / QD_LN2;
        if (fabs(scale * g.planted) > fabs(most_first)) most_first = -scale * g.planted;
        largest = fmax(largest, scale * g.largest);
        double e[N_IN], gradient[16];
        while (!strstr(model->tensors[model->linears[i].i_weight].name, PLANTED)) i++;
        CHECK(qd_calib_energy(c, l, QD_N_FOLDS, i, e) && qd_calib_gradient(c, l, i, gradient));
        most_second = fmax(most_second, 0.5 * (double)kept * (double)kept * e[COLUMN] * gradient[ROW] *
                                            qd_calib_tokens_per_byte(c, l) / QD_LN2);
        qd_lines_clear(&lines);
    }
    CHECK_NEAR(f64(t, "first_order_bpb")[at], most_first, 1e-3);
    CHECK_NEAR(f64(t, "second_order_bpb")[at], most_second, 1e-5);
    double in_table = 0;
    for (size_t i = 0; i < n; i++) in_table = fmax(in_table, fabs(f64(t, "first_order_bpb")[i]));
    CHECK_NEAR(in_table, largest, 1e-3); /* the very largest is among them */
    qdisp_calib_free(c);
    qdisp_table_free(t);
    qdisp_table_free(base);
    qdisp_table_free(without);
    qdisp_table_free(comparison);
}

TEST(kept_weights_leave_the_grid) {
    qdisp_table *t = found(NULL, 1), *plan = NULL, *plain = NULL;
    qdisp_quantizer *q = NULL;
    qdisp_model *quantized = NULL, *rounded = NULL;
    qdisp_quantizer_options o = {.size = sizeof o, .bits = 3, .group_size = QDISP_GROUP_CHANNEL, .keep = t};
    CHECK_STATUS(qdisp_quantizer_new(ctx, "rtn", &o, &q), QDISP_OK);
    qdisp_table_free(t); /* not needed any more */
    CHECK_STATUS(qdisp_quantizer_plan(q, model, NULL, &plan), QDISP_OK);
    qdisp_quantizer_free(q);
    o.keep = NULL;
    CHECK_STATUS(qdisp_quantizer_new(ctx, "rtn", &o, &q), QDISP_OK);
    CHECK_STATUS(qdisp_quantizer_plan(q, model, NULL, &plain), QDISP_OK);
    qdisp_quantizer_free(q);
    size_t at = 0, i = 0;
    while (!strstr(str(plan, "tensor", at), PLANTED)) at++;
    CHECK_STR(str(plan, "keep", at), "5:17");
    CHECK(f64(plan, "bits_per_weight")[at] > f64(plain, "bits_per_weight")[at]);
    CHECK(f64(plan, "error_rel")[at] < f64(plain, "error_rel")[at]);
    CHECK_STATUS(qdisp_plan_apply(plan, model, NULL, &quantized), QDISP_OK);
    CHECK_STATUS(qdisp_plan_apply(plain, model, NULL, &rounded), QDISP_OK);
    while (!strstr(model->tensors[i].name, PLANTED)) i++;
    const float *w = model->tensors[i].data, *x = quantized->tensors[i].data, *y = rounded->tensors[i].data;
    double kept_error = 0, plain_error = 0;
    for (size_t j = 0; j < N_IN; j++) {
        size_t k = ROW * N_IN + j;
        kept_error += pow((double)x[k] - (double)w[k], 2), plain_error += pow((double)y[k] - (double)w[k], 2);
    }
    CHECK(fabsf(x[ROW * N_IN + COLUMN] / w[ROW * N_IN + COLUMN] - 1) < 1e-3f); /* 16 bits */
    CHECK(kept_error < 0.2 * plain_error); /* the others of its row have a threshold of their own */
    qdisp_table_free(plan);
    qdisp_table_free(plain);
    qdisp_model_free(quantized);
    qdisp_model_free(rounded);
}

TEST(bad_tables_are_refused) {
    static const struct {
        const char *csv, *part;
        qdisp_status at_new, at_plan;
    } rows[] = {{"tensor,row\nx,1\n", "columns tensor", QDISP_EINVAL, QDISP_OK},
                {"tensor,row,column\nx,-1,2\n", "row 1", QDISP_EINVAL, QDISP_OK},
                {"tensor,row,column\nx,1,2\n", "no tensor 'x'", QDISP_OK, QDISP_EMISMATCH},
                {"tensor,row,column\ntransformer." PLANTED ",16,2\n", "[16, 64]", QDISP_OK, QDISP_EMISMATCH}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[] = "/tmp/qdisp-keep-XXXXXX";
        qdisp_table *t = NULL, *plan = NULL;
        qdisp_quantizer *q = NULL;
        int fd = mkstemp(path);
        CHECK(fd >= 0 && write(fd, rows[i].csv, strlen(rows[i].csv)) == (ssize_t)strlen(rows[i].csv));
        close(fd);
        CHECK_STATUS(qdisp_table_open_csv(ctx, path, "keep", &t), QDISP_OK);
        unlink(path);
        qdisp_quantizer_options o = {.size = sizeof o, .keep = t};
        CHECK_STATUS(qdisp_quantizer_new(ctx, "rtn", &o, &q), rows[i].at_new);
        if (q) CHECK_STATUS(qdisp_quantizer_plan(q, model, NULL, &plan), rows[i].at_plan);
        CHECK_HAS(qdisp_ctx_error(ctx), rows[i].part);
        CHECK(plan == NULL);
        qdisp_quantizer_free(q);
        qdisp_table_free(t);
    }
    qdisp_superweights_options o = {.size = sizeof o, .n_candidates = 65};
    qdisp_table *t = NULL;
    CHECK_STATUS(qdisp_superweights(model, NULL, NULL, &o, &t), QDISP_EINVAL);
    CHECK_STATUS(qdisp_superweights(model, NULL, corpus, NULL, &t), QDISP_EINVAL);
    CHECK(t == NULL);
}

int main(void) {
    ctx = tiny_ctx(2, NULL);
    weights = tiny_make(3, 16, 2, 1);
    tiny_data(weights, PLANTED)[ROW * N_IN + COLUMN] = 4.1f;
    model = tiny_model(ctx, weights);
    tokenizer = tiny_tokenizer(ctx);
    corpus = tiny_corpus(ctx, N_LANGUAGES, 8, 1);
    RUN(the_largest_is_found_without_text);
    RUN(what_text_says_is_what_removal_and_gradients_give);
    RUN(kept_weights_leave_the_grid);
    RUN(bad_tables_are_refused);
    qdisp_corpus_free(corpus);
    qdisp_tokenizer_free(tokenizer);
    qdisp_model_free(model);
    tiny_free(weights);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
