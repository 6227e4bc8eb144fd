/* Text as models of every kind read it: templates, windows, masks, sources; what is scored and what calibrates. */
#include <unistd.h>

#include "calib/calib.h"
#include "eval/eval.h"
#include "words.h"

static qdisp_ctx *ctx;

static qdisp_model *open_arch(const char *name) {
    char path[512];
    qdisp_model *model = NULL;
    snprintf(path, sizeof path, "%s/test/golden/arch/%s", QDISP_ROOT, name);
    CHECK_STATUS(qdisp_model_open(ctx, path, &model), QDISP_OK);
    if (!model) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
    return model;
}

static qdisp_corpus *corpus_of(const char *text) {
    qdisp_corpus *corpus = NULL;
    const char *tag = "en";
    size_t n = strlen(text);
    CHECK_STATUS(qdisp_corpus_from_texts(ctx, &tag, &text, &n, 1, &corpus), QDISP_OK);
    return corpus;
}

typedef struct case_of {
    qdisp_model *model;
    qdisp_tokenizer *tokenizer;
    qdisp_corpus *corpus;
    qd_frame frame;
    qd_lines lines;
    const qd_sequences *s;
} case_of;

static case_of *make(const char *arch, const char *template, const char *text) {
    case_of *c = calloc(1, sizeof *c);
    c->model = open_arch(arch);
    c->tokenizer = words_tokenizer(ctx, template, 1);
    c->corpus = corpus_of(text);
    CHECK_STATUS(qd_frame_make(c->model, c->tokenizer, &c->frame), QDISP_OK);
    CHECK_STATUS(qd_lines_make(&c->frame, c->corpus, 0, NULL, qdisp_corpus_n_lines(c->corpus), &c->lines), QDISP_OK);
    c->s = &c->lines.sequences;
    return c;
}

static void finish(case_of *c) {
    qd_lines_clear(&c->lines);
    qdisp_corpus_free(c->corpus);
    qdisp_tokenizer_free(c->tokenizer);
    qdisp_model_free(c->model);
    free(c);
}

static int ids_are(const int32_t *ids, const size_t *starts, size_t i_seq, const int32_t *expected, size_t n) {
    return starts[i_seq + 1] - starts[i_seq] == n && !memcmp(ids + starts[i_seq], expected, n * sizeof *ids);
}

TEST(decoder) {
    case_of *c = make("gpt2", "", "w7 w8 w9\nw10\n"); /* bos_id 0 of the config */
    CHECK(c->s->n_seq == 2 && ids_are(c->s->ids, c->s->starts, 0, (int32_t[]){0, 7, 8, 9}, 4));
    CHECK(ids_are(c->s->ids, c->s->starts, 1, (int32_t[]){0, 10}, 2));
    CHECK(c->s->scored[0].first == 1 && c->s->scored[0].end == 4 && c->s->text[0].first == 1 && c->s->text[0].end == 4);
    CHECK(c->lines.n_scored[0] == 3 && c->lines.n_bytes[0] == 8);
    CHECK(c->lines.n_scored[1] == 1 && c->lines.n_bytes[1] == 3);
    finish(c);
    c = make("gpt2", "1 $ 0", "w7 w8\n"); /* the template wins; its end is not the text's */
    CHECK(ids_are(c->s->ids, c->s->starts, 0, (int32_t[]){1, 7, 8}, 3));
    finish(c);
    c = make("t5", "$ 1", "w7 w8\n");
    finish(c);
    case_of *bare = make("llama", "", "w7 w8 w9\n");
    bare->model->info.bos_id = -1;
    qd_lines_clear(&bare->lines);
    CHECK_STATUS(qd_frame_make(bare->model, bare->tokenizer, &bare->frame), QDISP_OK);
    CHECK_STATUS(qd_lines_make(&bare->frame, bare->corpus, 0, NULL, 1, &bare->lines), QDISP_OK);
    CHECK(ids_are(bare->s->ids, bare->s->starts, 0, (int32_t[]){7, 8, 9}, 3));
    CHECK(bare->s->scored[0].first == 1 && bare->lines.n_scored[0] == 2);
    CHECK(bare->lines.n_bytes[0] >= 5 && bare->lines.n_bytes[0] <= 6); /* w8 w9, with or without the space before */
    finish(bare);
}

static double table_nll(const case_of *c, int64_t *n_tokens) {
    qdisp_table *t = NULL;
    double sum = NAN;
    CHECK_STATUS(qdisp_eval_losses(c->model, c->tokenizer, c->corpus, &t), QDISP_OK);
    if (t) {
        sum = qdisp_table_f64(t, qdisp_table_find(t, "nll_nats"))[0];
        *n_tokens = qdisp_table_i64(t, qdisp_table_find(t, "n_tokens"))[0];
    }
    qdisp_table_free(t);
    return sum;
}

TEST(masked) {
    static const char *const archs[] = {"bert", "xlm_roberta"};
    for (int k = 0; k < 2; k++) {
        case_of *c = make(archs[k], "0 $ 1", "w7 w8 w9 w10\n");
        int32_t ids[] = {0, 7, 8, 9, 10, 1};
        CHECK(ids_are(c->s->ids, c->s->starts, 0, ids, 6));
        CHECK(c->s->scored[0].first == 1 && c->s->scored[0].end == 5 && c->lines.n_bytes[0] == 12);
        /* each token masked by hand: the mask is id 3 */
        double sum = 0;
        for (int i = 1; i < 5; i++) {
            int32_t masked[6], targets[6] = {-1, -1, -1, -1, -1, -1};
            float nll[6];
            memcpy(masked, ids, sizeof ids);
            masked[i] = 3;
            targets[i] = ids[i];
            qdisp_batch batch = qd_batch_of(masked, (size_t[]){0, 6}, 1);
            batch.targets = targets;
            qdisp_run_options run = {.size = sizeof run, .nll = nll};
            CHECK_STATUS(qdisp_model_run(c->model, &batch, &run), QDISP_OK);
            sum += nll[i];
        }
        int64_t n_tokens = 0;
        CHECK_NEAR(table_nll(c, &n_tokens), sum, 1e-5); /* the same products in blocks of other sizes */
        CHECK(n_tokens == 4);
        finish(c);
    }
}

/* Only tokens with a target cost a copy. */
static int count_rows(void *user, qdisp_activation *a) {
    __atomic_fetch_add((size_t *)user, a->layer < 0 ? a->n_rows : 0, __ATOMIC_RELAXED);
    return 0;
}

TEST(masked_in_part) {
    case_of *c = make("bert", "0 $ 1", "w7 w8 w9 w10\n");
    size_t n_rows = 0;
    int32_t ids[] = {0, 7, 8, 1, 9, 1}, targets[] = {-1, 7, -1, -1, 12, -1};
    float nll[6], all[6];
    qdisp_batch batch = qd_batch_of(ids, (size_t[]){0, 4, 6}, 2);
    batch.mask_id_plus_1 = 4;
    qdisp_run_options run = {.size = sizeof run, .nll = all};
    CHECK_STATUS(qdisp_model_run(c->model, &batch, &run), QDISP_OK);
    batch.targets = targets;
    run = (qdisp_run_options){.size = sizeof run, .nll = nll, .tap = count_rows, .user = &n_rows,
                              .sites = QDISP_SITE_BIT(QDISP_SITE_RESIDUAL)};
    CHECK_STATUS(qdisp_model_run(c->model, &batch, &run), QDISP_OK);
    CHECK(n_rows == 4 + 2);
    CHECK_NEAR(nll[1], all[1], 1e-6);
    CHECK(isnan(nll[0]) && isnan(nll[2]) && isnan(nll[3]) && isnan(nll[5]) && isfinite(nll[4]) && nll[4] != all[4]);
    for (int i = 0; i < 6; i++) CHECK(isfinite(all[i]));
    targets[4] = 61;
    CHECK_STATUS(qdisp_model_run(c->model, &batch, &run), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "61");
    targets[4] = -1;
    ids[4] = 61; /* in no copy, and wrong none the less */
    CHECK_STATUS(qdisp_model_run(c->model, &batch, &run), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "position 4");
    finish(c);
}

TEST(encoder_decoder) {
    case_of *c = make("t5", "$ 1", "w7 w8 w9 w10 w11\nw12\n");
    CHECK(ids_are(c->s->source_ids, c->s->source_starts, 0, (int32_t[]){7, 8, 1}, 3));
    CHECK(ids_are(c->s->ids, c->s->starts, 0, (int32_t[]){9, 10, 11}, 3));
    CHECK(ids_are(c->s->source_ids, c->s->source_starts, 1, (int32_t[]){1}, 1));
    CHECK(ids_are(c->s->ids, c->s->starts, 1, (int32_t[]){12}, 1));
    CHECK(c->lines.n_scored[0] == 3 && c->lines.n_scored[1] == 1 && c->lines.n_bytes[1] == 3);
    CHECK(c->s->source_text[0].first == 0 && c->s->source_text[0].end == 2);
    CHECK(c->s->text[0].first == 1 && c->s->text[0].end == 3); /* the decoder's first row reads its start token */
    float nll[3];
    qdisp_batch batch = qd_batch_of((int32_t[]){9, 10, 11}, (size_t[]){0, 3}, 1);
    batch.source_ids = (int32_t[]){7, 8, 1};
    batch.source_starts = (size_t[]){0, 3};
    qdisp_run_options run = {.size = sizeof run, .nll = nll};
    CHECK_STATUS(qdisp_model_run(c->model, &batch, &run), QDISP_OK);
    int64_t n_tokens = 0;
    CHECK_NEAR(table_nll(c, &n_tokens), (double)nll[0] + nll[1] + nll[2], 1e-5);
    CHECK(n_tokens == 3);
    finish(c);
    c = make("mt5", "", "w7 w8 w9 w10\n"); /* no template: the config's end of sequence */
    CHECK(ids_are(c->s->source_ids, c->s->source_starts, 0, (int32_t[]){7, 8, 1}, 3));
    finish(c);
}

/* Every token once, whatever the line's length; 64 positions. */
static void check_windows(const char *arch, const char *template, size_t n_words) {
    char *text = words_text(n_words, (uint32_t)n_words);
    case_of *c = make(arch, template, text);
    size_t most = c->frame.n_most, at = 0, *starts, n;
    int32_t *ids;
    CHECK_STATUS(qd_frame_encode(&c->frame, text, strlen(text), &ids, &starts, &n), QDISP_OK);
    CHECK(n == n_words && starts[n] == strlen(text));
    CHECK((c->s->n_seq == 1) == (n <= most));
    for (size_t s = 0; s < c->s->n_seq; s++) {
        size_t length = c->s->starts[s + 1] - c->s->starts[s], context = c->s->scored[s].first - c->s->starts[s];
        CHECK(length <= 64 && (n < most || length == 64));
        CHECK(s == 0 || context >= c->frame.n_prefix + most / 2);
        for (size_t r = c->s->scored[s].first; r < c->s->scored[s].end; r++)
            CHECK(at < n && c->s->ids[r] == ids[at++]);
        for (size_t r = c->s->starts[s]; r < c->s->starts[s + 1]; r++) {
            bool scored = r >= c->s->scored[s].first && r < c->s->scored[s].end;
            CHECK(c->s->targets[r] == (scored ? c->s->ids[r] : -1));
        }
    }
    CHECK(at == n && c->lines.n_scored[0] == n && c->lines.n_bytes[0] == strlen(text));
    CHECK(c->lines.first[1] == c->s->n_seq);
    int64_t n_tokens = 0;
    CHECK(isfinite(table_nll(c, &n_tokens)) && n_tokens == (int64_t)n);
    free(text);
    qd_free(ctx, ids);
    qd_free(ctx, starts);
    finish(c);
}

TEST(windows) {
    static const size_t lengths[] = {1, 2, 61, 62, 63, 64, 65, 94, 95, 96, 97, 200, 500};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        check_windows("gpt2", "", lengths[i]);
        if (lengths[i] <= 200) check_windows("bert", "0 $ 1", lengths[i]);
    }
}

TEST(what_does_not_belong_together) {
    case_of *c = make("bert", "0 $ 1", "w7 w8\n");
    qdisp_tokenizer *no_mask = words_tokenizer(ctx, "0 $ 1", 0);
    qdisp_table *t = NULL;
    qdisp_calib *calib = NULL;
    CHECK_STATUS(qdisp_eval_losses(c->model, no_mask, c->corpus, &t), QDISP_EMISMATCH);
    CHECK_HAS(qdisp_ctx_error(ctx), "[MASK]");
    CHECK_STATUS(qdisp_calib_new(c->model, &calib), QDISP_OK);
    CHECK_STATUS(qdisp_calib_collect(calib, c->model, no_mask, c->corpus), QDISP_OK); /* which masks nothing */
    qdisp_calib_free(calib);
    c->model->info.n_vocab = 8;
    CHECK_STATUS(qdisp_eval_losses(c->model, c->tokenizer, c->corpus, &t), QDISP_EMISMATCH);
    CHECK_HAS(qdisp_ctx_error(ctx), "token id 8");
    CHECK_HAS(qdisp_ctx_error(ctx), "language en, line 1");
    c->model->info.n_vocab = 1;
    CHECK_STATUS(qdisp_eval_losses(c->model, c->tokenizer, c->corpus, &t), QDISP_EMISMATCH);
    c->model->info.n_vocab = 61;
    c->model->info.n_positions = 3;
    CHECK_STATUS(qdisp_eval_losses(c->model, c->tokenizer, c->corpus, &t), QDISP_EMISMATCH);
    CHECK_HAS(qdisp_ctx_error(ctx), "template");
    CHECK(t == NULL);
    qdisp_tokenizer_free(no_mask);
    finish(c);
}

/* Rows of every map: those of its stack's text, each once. */
static void check_rows(const char *arch, const char *template, const char *text, size_t n_encoder, size_t n_decoder) {
    case_of *c = make(arch, template, text);
    qdisp_calib *calib = NULL;
    CHECK_STATUS(qdisp_calib_new(c->model, &calib), QDISP_OK);
    CHECK_STATUS(qdisp_calib_collect(calib, c->model, c->tokenizer, c->corpus), QDISP_OK);
    if (calib && calib->n_languages == 1) {
        const qd_calib_fold *f = &calib->languages[0].folds[0];
        for (size_t i = 0; i < calib->n_linears; i++) {
            const qd_linear *l = &c->model->linears[i];
            bool cross_kv = l->slot == QD_SLOT_CROSS_K || l->slot == QD_SLOT_CROSS_V;
            bool encoder = cross_kv || (l->layer >= 0 && (size_t)l->layer < c->model->info.n_encoder_layer);
            if (l->expert < 0) CHECK(f->n_rows[i] == (encoder ? n_encoder : n_decoder));
        }
        CHECK(f->n_tokens == n_encoder + n_decoder);
        for (size_t i = 0; i <= calib->n_layer; i++) CHECK(isfinite(f->abs_sums[i]) && f->abs_sums[i] > 0);
    } else CHECK(false);
    qdisp_calib_free(calib);
    finish(c);
}

TEST(calibration_counts_text) {
    check_rows("gpt2", "", "w7 w8 w9 w10 w11", 0, 5);
    check_rows("bert", "0 $ 1", "w7 w8 w9 w10 w11", 0, 5);
    check_rows("mixtral", "1 $", "w7 w8 w9 w10 w11", 0, 5);
    check_rows("t5", "$ 1", "w7 w8 w9 w10 w11", 2, 2);
    check_rows("mt5", "$ 1", "w7 w8 w9 w10 w11 w12 w13 w14", 4, 3);
    char *text = words_text(200, 5);
    check_rows("gpt2", "", text, 0, 200); /* windows overlap: no token twice */
    check_rows("xlm_roberta", "0 $ 1", text, 0, 200);
    free(text);
}

/* The mean |h| of a layer is over its own stack. */
static int sum_abs(void *user, qdisp_activation *a) {
    double *sums = user;
    for (size_t r = 0; r < a->n_rows; r++) {
        size_t at = a->i_row + r;
        bool encoder = a->layer >= 0 && a->layer < 2;
        if (a->layer < 0 || (encoder ? at >= 4 : at == 0)) continue; /* the source's </s>; the start token */
        for (size_t j = 0; j < a->n_cols; j++)
            sums[a->layer + 1] += fabs((double)a->data[r * a->stride + j]) / (double)a->n_cols / (encoder ? 4 : 3);
    }
    return 0;
}

TEST(means_of_stacks) {
    case_of *c = make("t5", "$ 1", "w7 w8 w9 w10 w11 w12 w13 w14");
    qdisp_calib *calib = NULL;
    qdisp_table *t = NULL;
    CHECK_STATUS(qdisp_calib_new(c->model, &calib), QDISP_OK);
    CHECK_STATUS(qdisp_calib_collect(calib, c->model, c->tokenizer, c->corpus), QDISP_OK);
    CHECK_STATUS(qdisp_calib_describe(calib, &t), QDISP_OK);
    double sums[8] = {0};
    qdisp_batch batch = qd_sequences_batch(c->s, false);
    qdisp_run_options run = {.size = sizeof run, .tap = sum_abs, .user = sums,
                             .sites = QDISP_SITE_BIT(QDISP_SITE_RESIDUAL)};
    CHECK_STATUS(qdisp_model_run(c->model, &batch, &run), QDISP_OK);
    for (size_t i = 0; t && i < c->model->info.n_layer; i++) {
        char name[32];
        snprintf(name, sizeof name, "mean_abs_layer_%zu", i);
        CHECK_NEAR(qdisp_table_f64(t, qdisp_table_find(t, name))[0], sums[i + 1], 1e-6);
    }
    qdisp_table_free(t);
    qdisp_calib_free(calib);
    finish(c);
}

/* The table of one row, in the order of its columns. */
typedef struct text_loss {
    int64_t n_windows, n_read, n_tokens, n_bytes;
    double nll;
} text_loss;

static text_loss eval_text(const case_of *c, const char *text, qdisp_eval_text_options options) {
    qdisp_table *t = NULL;
    text_loss r = {-1, -1, -1, -1, NAN};
    options.size = sizeof options;
    CHECK_STATUS(qdisp_eval_text(c->model, c->tokenizer, text, strlen(text), &options, &t), QDISP_OK);
    if (!t) return printf("%s\n", qdisp_ctx_error(ctx)), r;
    r = (text_loss){qdisp_table_i64(t, 0)[0], qdisp_table_i64(t, 1)[0], qdisp_table_i64(t, 2)[0],
                    qdisp_table_i64(t, 3)[0], qdisp_table_f64(t, 4)[0]};
    CHECK_NEAR(qdisp_table_f64(t, 5)[0], r.nll / (double)r.n_tokens, 1e-15);
    CHECK_NEAR(qdisp_table_f64(t, 6)[0], exp(r.nll / (double)r.n_tokens), 1e-15);
    CHECK_NEAR(qdisp_table_f64(t, 8)[0], r.nll / log(2) / (double)r.n_bytes, 1e-15);
    qdisp_table_free(t);
    return r;
}

TEST(text_in_windows) {
    enum { N = 150 };
    char *text = words_text(N, 3);
    case_of *c = make("gpt2", "", "w5");
    size_t *starts, n;
    int32_t *ids;
    CHECK_STATUS(qd_frame_encode(&c->frame, text, strlen(text), &ids, &starts, &n), QDISP_OK);
    static const struct {
        qdisp_eval_text_options options;
        size_t from, step, n_text, n_windows; /* first scored position of a window, its BOS being 0 */
    } cases[] = {
        {{0}, 1, 63, 63, 3},                                              /* 64 positions */
        {{.window = 32, .min_context = 9}, 9, 31, 31, 5},
        {{.window = 32, .min_context = 17, .replace_first = 1}, 17, 32, 31, 4}, /* as llama-perplexity */
        {{.window = 16, .min_context = 9, .max_windows = 2}, 9, 15, 15, 2},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        text_loss got = eval_text(c, text, cases[k].options);
        double sum = 0;
        int64_t n_tokens = 0, n_bytes = 0;
        for (size_t w = 0; w < cases[k].n_windows; w++) {
            size_t at = w * cases[k].step, m = n - at < cases[k].n_text ? n - at : cases[k].n_text;
            int32_t window[64] = {0};
            float nll[64];
            memcpy(window + 1, ids + at, m * sizeof *ids);
            CHECK_STATUS(qdisp_model_nll(c->model, window, (size_t[]){0, m + 1}, 1, nll), QDISP_OK);
            for (size_t r = cases[k].from; r <= m; r++) {
                sum += nll[r], n_tokens++;
                n_bytes += (int64_t)(starts[at + r] - starts[at + r - 1]);
            }
        }
        CHECK(got.n_windows == (int64_t)cases[k].n_windows && got.n_tokens == n_tokens && got.n_bytes == n_bytes);
        CHECK_NEAR(got.nll, sum, 1e-5); /* the same products in blocks of other sizes */
    }
    text_loss bare = eval_text(c, text, (qdisp_eval_text_options){.window = 50, .no_bos = 1});
    CHECK(bare.n_windows == 3 && bare.n_tokens == N - 3 && bare.n_read == N);
    qd_free(ctx, ids);
    qd_free(ctx, starts);
    finish(c);
    c = make("bert", "0 $ 1", "w5"); /* windows of one line each give the loss of lines */
    text_loss masked = eval_text(c, text, (qdisp_eval_text_options){.window = 12});
    CHECK(masked.n_windows == 15 && masked.n_tokens == N && masked.n_read == N + 2 * 15);
    text_loss part = eval_text(c, "w5", (qdisp_eval_text_options){0});
    int64_t n_tokens;
    CHECK_NEAR(part.nll, table_nll(c, &n_tokens), 1e-6);
    finish(c);
    c = make("t5", "$ 1", "w7 w8 w9 w10 w11");
    text_loss pair = eval_text(c, text, (qdisp_eval_text_options){.window = 20});
    CHECK(pair.n_windows == 8 && pair.n_tokens == 7 * 10 + 5 && pair.n_read == N + 8);
    text_loss later = eval_text(c, text, (qdisp_eval_text_options){.window = 20, .min_context = 14});
    CHECK(later.n_windows == 7 && later.n_tokens == 7 * 6 && later.nll < pair.nll);
    part = eval_text(c, "w7 w8 w9 w10 w11", (qdisp_eval_text_options){0});
    CHECK_NEAR(part.nll, table_nll(c, &n_tokens), 1e-6);
    finish(c);
    free(text);
}

TEST(text_that_cannot_be_scored) {
    case_of *c = make("gpt2", "", "w5"), *b = make("bert", "0 $ 1", "w5");
    qdisp_table *t = NULL;
    static const struct {
        const char *text;
        qdisp_eval_text_options options;
        qdisp_status status;
        const char *reason;
    } cases[] = {
        {"", {.size = sizeof(qdisp_eval_text_options)}, QDISP_EINVAL, "no tokens"},
        {"w5 \xff", {.size = sizeof(qdisp_eval_text_options)}, QDISP_EENCODING, "3"},
        {"w5", {.size = sizeof(qdisp_eval_text_options), .window = 65}, QDISP_EINVAL, "3..64"},
        {"w5", {.size = sizeof(qdisp_eval_text_options), .window = UINT64_MAX}, QDISP_EINVAL, "3..64"},
        {"w5", {.size = sizeof(qdisp_eval_text_options), .window = 2}, QDISP_EINVAL, "3..64"},
        {"w5", {.size = sizeof(qdisp_eval_text_options), .window = 8, .min_context = 8}, QDISP_EINVAL, "min_context"},
        {"w5", {.size = sizeof(qdisp_eval_text_options), .min_context = UINT64_MAX}, QDISP_EINVAL, "min_context"},
        {"w5 w6", {.size = sizeof(qdisp_eval_text_options), .min_context = 5}, QDISP_EINVAL, "too short"},
        {"w5 w6", {.size = sizeof(qdisp_eval_text_options), .replace_first = 1}, QDISP_EINVAL, "too short"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_STATUS(qdisp_eval_text(c->model, c->tokenizer, cases[i].text, strlen(cases[i].text), &cases[i].options,
                                     &t), cases[i].status);
        CHECK_HAS(qdisp_ctx_error(ctx), cases[i].reason);
    }
    qdisp_eval_text_options replaces = {.size = sizeof replaces, .replace_first = 1};
    CHECK_STATUS(qdisp_eval_text(b->model, b->tokenizer, "w5", 2, &replaces, &t), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "decoders");
    CHECK_STATUS(qdisp_eval_text(c->model, NULL, "w5", 2, NULL, &t), QDISP_EINVAL);
    CHECK(t == NULL);
    finish(c);
    finish(b);
}

/* The whole diagnosis of every kind, on random models: that it runs, with finite numbers. */
TEST(diagnosis_of_every_kind) {
    static const char *const archs[] = {"bert", "t5", "mixtral", "gemma3", "falcon", "opt"};
    for (size_t k = 0; k < sizeof archs / sizeof *archs; k++) {
        case_of *c = make(archs[k], k == 1 ? "$ 1" : "0 $ 1", "w7 w8 w9");
        char *texts[3];
        size_t n_bytes[3];
        const char *tags[] = {"en", "de", "th"};
        for (int l = 0; l < 3; l++) {
            char *line = words_text(9, (uint32_t)l + 1);
            texts[l] = malloc(400);
            sprintf(texts[l], "%s\n%s w5\n%s w7 w9\nw11 %s\n%s\n", line, line, line, line, line);
            n_bytes[l] = strlen(texts[l]);
            free(line);
        }
        qdisp_corpus *corpus = NULL;
        CHECK_STATUS(qdisp_corpus_from_texts(ctx, tags, (const char *const *)texts, n_bytes, 3, &corpus), QDISP_OK);
        qdisp_diagnose_options options = {.size = sizeof options, .methods = "rtn,la-aciq", .bits = "3",
                                          .n_resamples = 100, .group_size = QDISP_GROUP_CHANNEL};
        qdisp_report *report = NULL;
        CHECK_STATUS(qdisp_diagnose(c->model, c->tokenizer, corpus, &options, &report), QDISP_OK);
        if (!report) printf("%s: %s\n", archs[k], qdisp_ctx_error(ctx));
        const qdisp_table *t = report ? qdisp_report_find(report, "losses") : NULL;
        for (size_t i = 0; t && i < qdisp_table_n_rows(t); i++)
            CHECK(isfinite(qdisp_table_f64(t, qdisp_table_find(t, "loss_bpb"))[i]));
        qdisp_report_free(report);
        qdisp_corpus_free(corpus);
        for (int l = 0; l < 3; l++) free(texts[l]);
        finish(c);
    }
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(decoder);
    RUN(masked);
    RUN(masked_in_part);
    RUN(encoder_decoder);
    RUN(windows);
    RUN(what_does_not_belong_together);
    RUN(calibration_counts_text);
    RUN(means_of_stacks);
    RUN(text_in_windows);
    RUN(text_that_cannot_be_scored);
    RUN(diagnosis_of_every_kind);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
