/* test_eval.c - losses, comparison, prediction, and the whole diagnosis on a tiny model. */
#include "tiny.h"

#include "eval/eval.h"
#include "model/model.h"
#include "stats/correlate.h"

#include <qdisp/stats.h>

static qdisp_ctx *ctx;
static tiny *weights;
static qdisp_model *model;
static qdisp_tokenizer *tokenizer;

static const double *f64(const qdisp_table *t, const char *column) {
    const double *v = qdisp_table_f64(t, qdisp_table_find(t, column));
    if (!v) printf("no column %s\n", column), exit(1);
    return v;
}
static const int64_t *i64(const qdisp_table *t, const char *column) {
    const int64_t *v = qdisp_table_i64(t, qdisp_table_find(t, column));
    if (!v) printf("no column %s\n", column), exit(1);
    return v;
}
static const char *const *str(const qdisp_table *t, const char *column) {
    const char *const *v = qdisp_table_str(t, qdisp_table_find(t, column));
    if (!v) printf("no column %s\n", column), exit(1);
    return v;
}

TEST(losses_are_the_models_nll) {
    for (int bos = 0; bos < 2; bos++) {
        tiny *own = tiny_make(1, 16, 2, bos);
        qdisp_model *m = tiny_model(ctx, own);
        qdisp_corpus *corpus = tiny_corpus(ctx, 3, 6, 1);
        qdisp_table *t = NULL;
        CHECK_STATUS(qdisp_eval_losses(m, tokenizer, corpus, &t), QDISP_OK);
        CHECK(qdisp_table_n_rows(t) == 18);
        for (size_t l = 0, row = 0; l < 3; l++)
            for (size_t i = 0; i < 6; i++, row++) {
                size_t n, n_ids, starts[2] = {0, 0};
                const char *line = qdisp_corpus_line(corpus, l, i, &n);
                int32_t ids[512];
                float nll[512];
                ids[0] = 0;
                CHECK_STATUS(qdisp_tokenizer_encode(tokenizer, line, n, ids + bos, NULL, 511, &n_ids), QDISP_OK);
                starts[1] = n_ids + (size_t)bos;
                CHECK_STATUS(qdisp_model_nll(m, ids, starts, 1, nll), QDISP_OK);
                double sum = 0;
                for (size_t k = 1; k < starts[1]; k++) sum += (double)nll[k];
                CHECK_STR(str(t, "language")[row], qdisp_corpus_language(corpus, l));
                CHECK(i64(t, "i_line")[row] == (int64_t)i);
                /* a token is a byte: without <s> the first has no context and does not count (a first character of
                 * several bytes is shared by tokens, and its share is the tokenizer's to say) */
                if (bos || (unsigned char)line[0] < 128) CHECK(i64(t, "n_bytes")[row] == (int64_t)(bos ? n : n - 1));
                CHECK(i64(t, "n_tokens")[row] == (int64_t)(starts[1] - 1));
                CHECK_NEAR(f64(t, "nll_nats")[row], sum, 1e-5); /* matrix products of another shape */
            }
        qdisp_table_free(t);
        qdisp_corpus_free(corpus);
        qdisp_model_free(m);
        tiny_free(own);
    }
}

TEST(losses_that_are_not_finite_name_their_line) {
    tiny *own = tiny_make(1, 16, 1, 1);
    tiny_data(own, "ln_f.bias")[2] = INFINITY;
    qdisp_model *m = tiny_model(ctx, own);
    qdisp_corpus *corpus = tiny_corpus(ctx, 2, 2, 1);
    qdisp_table *t = NULL;
    CHECK_STATUS(qdisp_eval_losses(m, tokenizer, corpus, &t), QDISP_ENUMERIC);
    CHECK_HAS(qdisp_ctx_error(ctx), "language en, line 1");
    CHECK(t == NULL);
    qdisp_corpus_free(corpus);
    qdisp_model_free(m);
    tiny_free(own);
}

/* A table of losses by hand: n_lines lines of each language, nll = base + step * line. */
static qdisp_table *hand_made(const char *const *tags, size_t n_languages, size_t n_lines, double base, double step) {
    qdisp_table *t = NULL;
    qdisp_status status = qdisp_table_new(ctx, "losses", "by hand", &t);
    qd_table_column(t, &status, "language", "", QDISP_COLUMN_STR);
    qd_table_column(t, &status, "i_line", "", QDISP_COLUMN_I64);
    qd_table_column(t, &status, "n_bytes", "", QDISP_COLUMN_I64);
    qd_table_column(t, &status, "n_tokens", "", QDISP_COLUMN_I64);
    qd_table_column(t, &status, "nll_nats", "", QDISP_COLUMN_F64);
    for (size_t l = 0; l < n_languages; l++)
        for (size_t i = 0; i < n_lines; i++) {
            size_t row = qd_table_row(t, &status);
            qd_table_str(t, &status, row, 0, tags[l]);
            qd_table_i64(t, &status, row, 1, (int64_t)i);
            qd_table_i64(t, &status, row, 2, (int64_t)(10 + i));
            qd_table_i64(t, &status, row, 3, 5);
            qd_table_f64(t, &status, row, 4, base + step * (double)i);
        }
    CHECK_STATUS(status, QDISP_OK);
    return t;
}

static const char *const tags[] = {"en", "sw", "ja"};

TEST(equal_models_cost_nothing) {
    qdisp_table *a = hand_made(tags, 3, 12, 20, 1), *t = NULL;
    CHECK_STATUS(qdisp_eval_compare(a, a, 0, &t), QDISP_OK);
    for (size_t l = 0; l < 3; l++) {
        CHECK(f64(t, "loss_bpb")[l] == 0 && f64(t, "low_bpb")[l] == 0 && f64(t, "high_bpb")[l] == 0);
        CHECK(f64(t, "p_holm")[l] == 1);
        CHECK(i64(t, "n_lines")[l] == 12 && i64(t, "n_bytes")[l] == 12 * 10 + 66);
        CHECK_NEAR(f64(t, "baseline_bpb")[l], (12 * 20 + 66) / 186.0 / QD_LN2, 1e-14);
    }
    qdisp_table_free(a);
    qdisp_table_free(t);
}

TEST(a_constant_cost_is_sure) {
    qdisp_table *a = hand_made(tags, 2, 12, 20, 1), *b = hand_made(tags, 2, 12, 20, 1), *t = NULL;
    for (size_t i = 0; i < 12; i++) /* ln 2 nats a byte more: 1 bit a byte, in en only */
        CHECK_STATUS(qdisp_table_set_f64(b, i, 4, f64(a, "nll_nats")[i] + QD_LN2 * (double)(10 + i)), QDISP_OK);
    CHECK_STATUS(qdisp_eval_compare(a, b, 5000, &t), QDISP_OK);
    CHECK_NEAR(f64(t, "loss_bpb")[0], 1, 1e-14);
    CHECK_NEAR(f64(t, "low_bpb")[0], 1, 1e-12);
    CHECK_NEAR(f64(t, "high_bpb")[0], 1, 1e-12);
    CHECK_NEAR(f64(t, "p_holm")[0], 2 * 2.0 / 4096, 1e-12); /* all signs or none, twice for two languages */
    CHECK(f64(t, "loss_bpb")[1] == 0 && f64(t, "p_holm")[1] == 1);
    qdisp_table_free(t);
    /* the other way round is a gain */
    CHECK_STATUS(qdisp_eval_compare(b, a, 5000, &t), QDISP_OK);
    CHECK_NEAR(f64(t, "loss_bpb")[0], -1, 1e-14);
    qdisp_table_free(a);
    qdisp_table_free(b);
    qdisp_table_free(t);
}

TEST(unpaired_tables_are_refused) {
    qdisp_table *a = hand_made(tags, 2, 5, 20, 1), *t = NULL;
    qdisp_table *others[6] = {hand_made(tags, 2, 4, 20, 1), hand_made(tags, 3, 5, 20, 1), hand_made(tags + 1, 2, 5,
        20, 1),
                              hand_made(tags, 2, 5, 20, 1), hand_made(tags, 2, 5, 20, 1), NULL};
    CHECK_STATUS(qdisp_table_set_i64(others[3], 7, 2, 99), QDISP_OK); /* other bytes */
    CHECK_STATUS(qdisp_table_set_i64(others[4], 7, 1, 99), QDISP_OK); /* another line */
    CHECK_STATUS(qdisp_table_new(ctx, "else", "x", &others[5]), QDISP_OK);
    for (size_t i = 0; i < 6; i++) {
        CHECK_STATUS(qdisp_eval_compare(a, others[i], 0, &t), QDISP_EMISMATCH);
        CHECK_STATUS(qdisp_eval_compare(others[i], a, 0, &t), QDISP_EMISMATCH);
        CHECK(t == NULL && strlen(qdisp_ctx_error(ctx)) > 0);
        qdisp_table_free(others[i]);
    }
    CHECK_STATUS(qdisp_table_set_f64(a, 3, 4, NAN), QDISP_OK);
    CHECK_STATUS(qdisp_eval_compare(a, a, 0, &t), QDISP_ENUMERIC);
    qdisp_table_free(a);
}

TEST(one_and_two_lines_have_no_interval) {
    for (size_t n = 1; n <= 2; n++) {
        qdisp_table *a = hand_made(tags, 2, n, 20, 1), *b = hand_made(tags, 2, n, 21, 1), *t = NULL;
        CHECK_STATUS(qdisp_eval_compare(a, b, 0, &t), QDISP_OK);
        CHECK(t && isfinite(f64(t, "loss_bpb")[0]) && f64(t, "loss_bpb")[0] > 0);
        CHECK(t && isnan(f64(t, "low_bpb")[0]) && isnan(f64(t, "high_bpb")[1]));
        CHECK(t && f64(t, "p_holm")[0] <= 1 && f64(t, "p_holm")[0] >= 0.5);
        qdisp_table_free(a);
        qdisp_table_free(b);
        qdisp_table_free(t);
    }
}

TEST(losses_through_csv_compare) {
    qdisp_table *a = hand_made(tags, 2, 6, 20, 1), *back = NULL, *t = NULL; /* whole numbers: still reals */
    char path[] = "/tmp/qdisp-eval-XXXXXX";
    CHECK(mkstemp(path) >= 0);
    CHECK_STATUS(qdisp_table_save(a, path, "csv"), QDISP_OK);
    CHECK_STATUS(qdisp_table_open_csv(ctx, path, "losses", &back), QDISP_OK);
    CHECK_STATUS(qdisp_eval_compare(a, back, 0, &t), QDISP_OK);
    unlink(path);
    qdisp_table_free(a);
    qdisp_table_free(back);
    qdisp_table_free(t);
}

/* A model without <s> scores nothing of a line of one token: that line says nothing, and is no error. */
TEST(lines_of_one_token_do_not_stop_a_comparison) {
    tiny *own = tiny_make(1, 16, 1, 0);
    qdisp_model *m = tiny_model(ctx, own);
    const char *tag[] = {"en"}, *text[] = {"a\nlonger line\nanother\nfourth one\n"};
    size_t n_bytes = strlen(text[0]);
    qdisp_corpus *corpus = NULL;
    qdisp_table *t = NULL, *c = NULL;
    CHECK_STATUS(qdisp_corpus_from_texts(ctx, tag, text, &n_bytes, 1, &corpus), QDISP_OK);
    CHECK_STATUS(qdisp_eval_losses(m, tokenizer, corpus, &t), QDISP_OK);
    CHECK(t && i64(t, "n_bytes")[0] == 0 && f64(t, "nll_nats")[0] == 0);
    CHECK_STATUS(qdisp_eval_compare(t, t, 0, &c), QDISP_OK);
    CHECK(c && f64(c, "loss_bpb")[0] == 0 && f64(c, "low_bpb")[0] == 0);
    qdisp_table_free(t);
    qdisp_table_free(c);
    qdisp_corpus_free(corpus);
    qdisp_model_free(m);
    tiny_free(own);
}

TEST(a_prediction_knows_nothing_of_the_language_left_out) {
    enum { N = 6, Q = 3 };
    double x[Q * N], loss[Q * N], low[Q * N], first[3][Q * N], second[3][Q * N];
    for (size_t i = 0; i < Q * N; i++) {
        x[i] = exp(0.3 * (double)(i % 7) - (double)(i / N));
        loss[i] = 0.2 * pow(x[i], 0.8) * (1 + 0.1 * sin((double)i));
        low[i] = 0.5 * loss[i];
    }
    qd_loo loo = {N, Q, x, loss, low, first[0], first[1], first[2]};
    CHECK_STATUS(qd_predict_loo(ctx, &loo), QDISP_OK);
    for (size_t l = 0; l < N; l++) {
        double moved[Q * N], moved_low[Q * N];
        memcpy(moved, loss, sizeof loss), memcpy(moved_low, low, sizeof low);
        for (size_t q = 0; q < Q; q++) moved[q * N + l] *= 50, moved_low[q * N + l] = q == 1 ? -1 : 7;
        qd_loo again = {N, Q, x, moved, moved_low, second[0], second[1], second[2]};
        CHECK_STATUS(qd_predict_loo(ctx, &again), QDISP_OK);
        int n_other = 0;
        for (size_t q = 0; q < Q; q++)
            for (size_t k = 0; k < N; k++) {
                int same = first[0][q * N + k] == second[0][q * N + k] && first[1][q * N + k] == second[1][q * N + k] &&
                           first[2][q * N + k] == second[2][q * N + k];
                if (k == l) CHECK(same); /* its own losses have no say */
                else n_other += !same;   /* those of the others do */
            }
        CHECK(n_other > 0);
    }
    /* an exact power law is found exactly, and its band closes */
    for (size_t i = 0; i < Q * N; i++) loss[i] = 0.2 * pow(x[i], 0.8), low[i] = 0.1 * loss[i];
    CHECK_STATUS(qd_predict_loo(ctx, &loo), QDISP_OK);
    for (size_t i = 0; i < Q * N; i++) {
        CHECK_NEAR(first[0][i], loss[i], 1e-12);
        CHECK_NEAR(first[1][i], loss[i], 1e-12);
        CHECK_NEAR(first[2][i], loss[i], 1e-12);
    }
    for (size_t i = 0; i < Q * N; i++) low[i] = -1; /* nothing measured above zero: no prediction, and it says so */
    CHECK_STATUS(qd_predict_loo(ctx, &loo), QDISP_OK);
    for (size_t i = 0; i < Q * N; i++) CHECK(isnan(first[0][i]) && isnan(first[1][i]) && isnan(first[2][i]));
}

TEST(two_predictors_and_whole_quantizers_left_out) {
    enum { N = 5, Q = 4 };
    double x[Q * N], y[Q * N], loss[Q * N], low[Q * N], first[3][Q * N], second[3][Q * N];
    for (size_t i = 0; i < Q * N; i++) {
        x[i] = exp(0.2 * (double)(i % 7) - (double)(i / N));
        y[i] = 0.3 * x[i] * sin(3.0 * (double)i); /* of any sign, and so is the loss */
        loss[i] = 0.1 * x[i] + 0.8 * y[i];
        low[i] = loss[i] - 0.01;
    }
    for (int by_quantizer = 0; by_quantizer < 2; by_quantizer++) {
        qd_loo loo = {N, Q, x, loss, low, first[0], first[1], first[2], y, true, by_quantizer};
        CHECK_STATUS(qd_predict_loo(ctx, &loo), QDISP_OK);
        for (size_t i = 0; i < Q * N; i++) { /* an exact law is found exactly */
            CHECK_NEAR(first[0][i], loss[i], 1e-9);
            CHECK_NEAR(first[1][i], first[2][i], 1e-9);
        }
        for (size_t i = 0; i < Q * N; i++) loss[i] += 0.02 * sin((double)i);
        CHECK_STATUS(qd_predict_loo(ctx, &loo), QDISP_OK);
        for (size_t g = 0; g < (by_quantizer ? Q : N); g++) {
            double moved[Q * N];
            for (size_t i = 0; i < Q * N; i++)
                moved[i] = loss[i] + ((by_quantizer ? i / N : i % N) == g ? 10 + (double)i : 0);
            qd_loo again = {N, Q, x, moved, low, second[0], second[1], second[2], y, true, by_quantizer};
            CHECK_STATUS(qd_predict_loo(ctx, &again), QDISP_OK);
            int n_other = 0;
            for (size_t i = 0; i < Q * N; i++) {
                int same = first[0][i] == second[0][i] && first[2][i] == second[2][i];
                if ((by_quantizer ? i / N : i % N) == g) CHECK(same);
                else n_other += !same;
            }
            CHECK(n_other > 0);
        }
        for (size_t i = 0; i < Q * N; i++) loss[i] -= 0.02 * sin((double)i);
    }
}

/* Losses of a corpus in bits per byte by language. */
static void bits_per_byte(const qdisp_model *m, const qdisp_tokenizer *t, const qdisp_corpus *corpus, double *out) {
    qdisp_table *table = NULL;
    qd_losses losses;
    CHECK_STATUS(qdisp_eval_losses(m, t, corpus, &table), QDISP_OK);
    CHECK_STATUS(qd_losses_read(table, &losses), QDISP_OK);
    for (size_t l = 0; l < losses.n_languages; l++) {
        double nats = 0, n = 0;
        for (size_t i = losses.first[l]; i < losses.first[l + 1]; i++)
            nats += losses.nll[i], n += (double)losses.n_bytes[i];
        out[l] = nats / n / QD_LN2;
    }
    qd_losses_clear(&losses);
    qdisp_table_free(table);
}

TEST(gradients_foretell_small_changes) {
    tiny *own = tiny_make(11, 16, 2, 1);
    qdisp_model *m = tiny_model(ctx, own), *moved[2] = {NULL, NULL};
    qdisp_tokenizer *t = tiny_tokenizer(ctx);
    qdisp_corpus *corpus = tiny_corpus(ctx, 3, 12, 1);
    qdisp_calib *c = NULL;
    size_t i_tensors[16], n = 0;
    double first[3], damage[3], fisher[3], plain[3] = {0}, loss[2][3], e[64], g[64];
    CHECK_STATUS(qdisp_calib_new(m, &c), QDISP_OK);
    CHECK_STATUS(qdisp_calib_collect(c, m, t, corpus), QDISP_OK);
    CHECK_STATUS(qdisp_calib_collect_gradients(c, m, t, corpus), QDISP_OK);
    for (size_t i = 0; i + 1 < m->n_linears; i++) i_tensors[n++] = m->linears[i].i_weight;
    for (int sign = 0; sign < 2; sign++) {
        float *data[16];
        for (size_t i = 0; i < n; i++) {
            const qd_linear *linear = &m->linears[i];
            const float *w = m->tensors[i_tensors[i]].data;
            data[i] = qd_alloc_aligned(ctx, linear->n_out * linear->n_in, sizeof(float));
            for (size_t l = 0; l < 3; l++) {
                if (sign == 1 || !qd_calib_energy(c, l, QD_N_FOLDS, i, e) || !qd_calib_gradient(c, l, i, g)) continue;
                for (size_t k = 0; k < linear->n_out * linear->n_in; k++) {
                    double d = 0.002 * (double)tiny_random(5, (uint32_t)i, (uint32_t)k);
                    plain[l] += 0.5 * g[k / linear->n_in] * e[k % linear->n_in] * d * d / QD_LN2;
                }
            }
            for (size_t k = 0; k < linear->n_out * linear->n_in; k++)
                data[i][k] = w[k] + (sign ? -0.002f : 0.002f) * tiny_random(5, (uint32_t)i, (uint32_t)k);
        }
        CHECK_STATUS(qd_model_with_tensors(m, i_tensors, data, n, &moved[sign]), QDISP_OK);
        bits_per_byte(moved[sign], t, corpus, loss[sign]);
    }
    CHECK_STATUS(qd_predict_first_order(m, moved[0], t, corpus, first), QDISP_OK);
    CHECK_STATUS(qd_predict_damage(m, moved[0], c, damage, fisher, NULL), QDISP_OK);
    for (size_t l = 0; l < 3; l++) {
        CHECK_NEAR(first[l], (loss[0][l] - loss[1][l]) / 2, 0.02); /* the third order and f32 losses are left */
        CHECK_NEAR(fisher[l], plain[l] * qd_calib_tokens_per_byte(c, l), 1e-3); /* f32 differences of weights */
    }
    CHECK_STATUS(qd_predict_first_order(m, m, t, corpus, first), QDISP_OK);
    CHECK_STATUS(qd_predict_damage(m, m, c, damage, fisher, NULL), QDISP_OK);
    for (size_t l = 0; l < 3; l++) CHECK(first[l] == 0 && fisher[l] == 0 && damage[l] == 0);
    qdisp_model_free(moved[0]);
    qdisp_model_free(moved[1]);
    qdisp_calib_free(c);
    qdisp_model_free(m);
    qdisp_tokenizer_free(t);
    qdisp_corpus_free(corpus);
    tiny_free(own);
}

typedef struct watch {
    double last, most;
    int n_calls, n_back, n_asked, cancel_at;
    unsigned n_threads; /* 0: two */
    char where[64];
} watch;

static void on_progress(void *user, const char *what, double done) {
    watch *w = user;
    if (done < w->last - 1e-12) { /* parts meet up to rounding */
        if (!w->n_back++) snprintf(w->where, sizeof w->where, "%s %.3f after %.3f", what, done, w->last);
    }
    w->last = done;
    if (done > w->most) w->most = done;
    w->n_calls++;
}
static int on_cancelled(void *user) {
    watch *w = user;
    return w->cancel_at && ++w->n_asked >= w->cancel_at;
}

#define N_LANGUAGES 5

static qdisp_status diagnose(watch *w, qdisp_diagnose_options o, qdisp_report **out) {
    qdisp_ctx_options c = {.size = sizeof c, .user = w, .progress = on_progress, .cancelled = on_cancelled,
        .n_threads = w->n_threads ? w->n_threads : 2};
    qdisp_ctx *own = NULL;
    CHECK_STATUS(qdisp_ctx_new(&c, &own), QDISP_OK);
    qdisp_model *m = tiny_model(own, weights);
    qdisp_tokenizer *t = tiny_tokenizer(own);
    qdisp_corpus *corpus = tiny_corpus(own, N_LANGUAGES, 16, 1);
    o.size = sizeof o;
    qdisp_status status = qdisp_diagnose(m, t, corpus, &o, out);
    if (status != QDISP_OK) qd_fail(ctx, status, "%s", qdisp_ctx_error(own));
    qdisp_ctx_free(own);
    qdisp_model_free(m);
    qdisp_tokenizer_free(t);
    qdisp_corpus_free(corpus);
    return status;
}

static void check_diagnosis(uint64_t gradients) {
    watch w = {.last = 0};
    qdisp_report *r = NULL;
    qdisp_diagnose_options o = {.bits = "4,2", .n_resamples = 200, .gradients = gradients};
    CHECK_STATUS(diagnose(&w, o, &r), QDISP_OK);
    if (!r) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
    CHECK(qdisp_report_n_tables(r) == 4);
    const qdisp_table *languages = qdisp_report_find(r, "languages"), *losses = qdisp_report_find(r, "losses");
    const qdisp_table *quantizers = qdisp_report_find(r, "quantizers"), *prediction = qdisp_report_find(r,
        "prediction");
    CHECK(qdisp_table_n_rows(languages) == N_LANGUAGES && qdisp_table_n_columns(languages) == 6 + 4 * 6);
    CHECK(qdisp_table_n_rows(losses) == 6 * N_LANGUAGES && qdisp_table_n_rows(quantizers) == 6);
    CHECK(qdisp_table_n_rows(prediction) == (gradients ? 11 : 7));
    for (size_t i = 0; gradients && i < 5; i++) { /* what rests on text, by language and by quantizer */
        CHECK(isfinite(f64(prediction, "spearman_mean")[i]) && isfinite(f64(prediction, "error_quantizers_bpb")[i]));
        CHECK(strstr(str(prediction, "verdict")[i], "beats") != NULL);
    }
    for (size_t q = 0; q < 6; q++) {
        char name[64];
        double sum = 0, differences = 0, most = -INFINITY, least = INFINITY, mean = 0, rho = NAN;
        const double *loss = f64(losses, "loss_bpb") + q * N_LANGUAGES, *pred = f64(losses, "predicted_bpb")
            + q * N_LANGUAGES;
        snprintf(name, sizeof name, "%s%d.loss", str(quantizers, "method")[q], (int)i64(quantizers, "bits")[q]);
        for (size_t l = 0; l < N_LANGUAGES; l++) {
            CHECK(f64(languages, name)[l] == loss[l]);
            CHECK_STR(str(losses, "method")[q * N_LANGUAGES + l], str(quantizers, "method")[q]);
            CHECK(i64(losses, "bits")[q * N_LANGUAGES + l] == i64(quantizers, "bits")[q]);
            sum += fmax(loss[l], 0);
            mean += loss[l] / N_LANGUAGES;
            most = fmax(most, loss[l]), least = fmin(least, loss[l]);
            for (size_t k = 0; k < N_LANGUAGES; k++) differences += fabs(fmax(loss[l], 0) - fmax(loss[k], 0));
            if (loss[l] == f64(quantizers, "worst_bpb")[q]) CHECK_STR(str(quantizers, "worst")[q], str(languages,
                "language")[l]);
            double low = f64(losses, "low_bpb")[q * N_LANGUAGES + l], high = f64(losses,
                "high_bpb")[q * N_LANGUAGES + l];
            CHECK(low <= high);
        }
        CHECK_NEAR(f64(quantizers, "mean_bpb")[q], mean, 1e-12);
        CHECK(f64(quantizers, "worst_bpb")[q] == most);
        CHECK_NEAR(f64(quantizers, "disparity_bpb")[q], most - least, 1e-12);
        if (sum > 0) CHECK_NEAR(f64(quantizers, "gini")[q], differences / (2 * N_LANGUAGES * sum), 1e-12);
        CHECK_STATUS(qd_spearman(ctx, pred, loss, N_LANGUAGES, &rho), QDISP_OK);
        CHECK_NEAR(f64(quantizers, "spearman")[q], rho, 1e-12);
        CHECK(f64(quantizers, "bpw")[q] > (double)i64(quantizers, "bits")[q]);
    }
    CHECK(str(prediction, "verdict")[0] != NULL);
    CHECK(w.n_calls > 10 && w.n_back == 0 && w.last == 1 && w.most == 1);
    if (w.n_back) printf("progress went back %d of %d times: %s\n", w.n_back, w.n_calls, w.where);
    if (w.last != 1) printf("progress ended at %g\n", w.last);
    qdisp_report_free(r);
}

TEST(a_diagnosis_hangs_together) {
    check_diagnosis(0);
    check_diagnosis(1);
}

TEST(a_diagnosis_depends_on_its_seed_alone) {
    qdisp_report *r[3] = {NULL};
    for (int i = 0; i < 3; i++) {
        watch w = {.last = 0};
        CHECK_STATUS(diagnose(&w, (qdisp_diagnose_options){.bits = "3", .methods = "rtn,la-aciq", .n_resamples = 100,
            .seed = i == 2}, &r[i]), QDISP_OK);
    }
    int n_same = 0, n = 2 * N_LANGUAGES, n_moved = 0;
    for (int i = 0; i < n; i++) {
        double a = f64(qdisp_report_find(r[0], "losses"), "low_bpb")[i], b = f64(qdisp_report_find(r[1], "losses"),
            "low_bpb")[i];
        n_same += a == b;
        n_moved += a != f64(qdisp_report_find(r[2], "losses"), "low_bpb")[i];
    }
    CHECK(n_same == n && n_moved > 0);
    for (int i = 0; i < 3; i++) qdisp_report_free(r[i]);
}

TEST(a_diagnosis_can_be_cancelled_anywhere) {
    /* one thread: with more, how often worker 0 asks depends on how many tasks it gets, so a run could end before it
     * has asked as often as the counted one; two threads are cancelled at the first question, which is always asked */
    watch whole = {.cancel_at = 1 << 30, .n_threads = 1}, threaded = {.cancel_at = 1};
    qdisp_report *r = NULL;
    qdisp_diagnose_options o = {.bits = "3", .methods = "rtn,la-aciq", .n_resamples = 100};
    CHECK_STATUS(diagnose(&threaded, o, &r), QDISP_ECANCELLED);
    CHECK(r == NULL);
    CHECK_STATUS(diagnose(&whole, o, &r), QDISP_OK);
    qdisp_report_free(r);
    r = NULL;
    for (int at = 1; at < whole.n_asked; at += at < 10 ? 3 : whole.n_asked / 12 + 1) {
        watch w = {.cancel_at = at, .n_threads = 1};
        CHECK_STATUS(diagnose(&w, o, &r), QDISP_ECANCELLED);
        CHECK_HAS(qdisp_ctx_error(ctx), "cancelled");
        CHECK(r == NULL);
    }
}

TEST(bad_diagnoses_are_refused_before_the_work) {
    static const struct {
        qdisp_diagnose_options o;
        const char *part;
    } rows[] = {{{.bits = "9"}, "bits"}, {{.bits = "4;3"}, "bits"}, {{.bits = ""}, ""}, {{.bits = "4,,3"}, "bits"},
                {{.methods = "gpt-q"}, "gpt-q"}, {{.methods = ",rtn"}, "methods"}, {{.methods = ""}, "methods"},
                {{.methods = "rtn,rtn"}, "rtn"}, {{.bits = "3,4,3"}, "3"}, {{.group_size = 3}, "group_size"},
                {{.calibration_share = 1.5}, "share"}, {{.calibration_share = -0.5}, "share"},
                {{.roles = "head.of.state"}, "head.of.state"}, {{.n_resamples = 5}, "resamples"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        watch w = {.last = 0};
        qdisp_report *r = NULL;
        CHECK_STATUS(diagnose(&w, rows[i].o, &r), QDISP_EINVAL);
        CHECK_HAS(qdisp_ctx_error(ctx), rows[i].part);
        if (w.n_calls != 0) printf("row %zu: %s (%d steps of work)\n", i, qdisp_ctx_error(ctx), w.n_calls);
        CHECK(w.n_calls == 0); /* no calibration was run first */
        qdisp_report_free(r);
    }
}

int main(void) {
    ctx = tiny_ctx(2, NULL);
    weights = tiny_make(1, 16, 2, 1);
    model = tiny_model(ctx, weights);
    tokenizer = tiny_tokenizer(ctx);
    RUN(losses_are_the_models_nll);
    RUN(losses_that_are_not_finite_name_their_line);
    RUN(equal_models_cost_nothing);
    RUN(a_constant_cost_is_sure);
    RUN(unpaired_tables_are_refused);
    RUN(one_and_two_lines_have_no_interval);
    RUN(losses_through_csv_compare);
    RUN(lines_of_one_token_do_not_stop_a_comparison);
    RUN(a_prediction_knows_nothing_of_the_language_left_out);
    RUN(two_predictors_and_whole_quantizers_left_out);
    RUN(gradients_foretell_small_changes);
    RUN(a_diagnosis_hangs_together);
    RUN(a_diagnosis_depends_on_its_seed_alone);
    RUN(a_diagnosis_can_be_cancelled_anywhere);
    RUN(bad_diagnoses_are_refused_before_the_work);
    qdisp_tokenizer_free(tokenizer);
    qdisp_model_free(model);
    qdisp_ctx_free(ctx);
    tiny_free(weights);
    return TEST_END();
}
