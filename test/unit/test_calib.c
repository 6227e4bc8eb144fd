/* test_calib.c - activation statistics: collected, fed, merged, saved, and what they say of each language. */
#include "tiny.h"

#include "calib/calib.h"
#include "model/sequences.h"
#include "stats/census.h"

static qdisp_ctx *ctx;
static tiny *weights;
static qdisp_model *model;
static qdisp_tokenizer *tokenizer;
static char folder[64], path_text[256];

#define N_LINES 10

static const char *in_folder(const char *name) {
    snprintf(path_text, sizeof path_text, "%s/%s", folder, name);
    return path_text;
}

static qdisp_calib *collected(qdisp_corpus *corpus) {
    qdisp_calib *c = NULL;
    CHECK_STATUS(qdisp_calib_new(model, &c), QDISP_OK);
    CHECK_STATUS(qdisp_calib_collect(c, model, tokenizer, corpus), QDISP_OK);
    return c;
}

static int same_bits(const qdisp_calib *a, const qdisp_calib *b) {
    int same = a->n_languages == b->n_languages && a->total == b->total && a->n_linears == b->n_linears;
    for (size_t l = 0; same && l < a->n_languages; l++) {
        same = !strcmp(a->languages[l].tag, b->languages[l].tag);
        for (size_t f = 0; same && f < QD_N_FOLDS; f++) {
            const qd_calib_fold *x = &a->languages[l].folds[f], *y = &b->languages[l].folds[f];
            same = !memcmp(x->squares, y->squares, a->total * sizeof(double)) &&
                   !memcmp(x->n_rows, y->n_rows, a->n_linears * sizeof(uint64_t)) &&
                   !memcmp(x->abs_sums, y->abs_sums, (a->n_layer + 1) * sizeof(double)) &&
                   x->n_tokens == y->n_tokens && x->n_bytes == y->n_bytes && x->n_scored == y->n_scored &&
                   !x->gradients == !y->gradients &&
                   (!x->gradients || !memcmp(x->gradients, y->gradients, a->total_out * sizeof(double)));
        }
    }
    return same;
}

/* Plain recomputation: one line at a time, sums in f64 without blocks. */
typedef struct plain {
    double *squares[64], abs_sums[16];
    size_t n_tokens;
} plain;

static int plain_activation(void *user, qdisp_activation *a) {
    plain *p = user;
    bool is_residual = a->site == QDISP_SITE_RESIDUAL;
    for (size_t r = 1; r < a->n_rows; r++) {
        for (size_t j = 0; j < a->n_cols; j++) {
            double x = (double)a->data[r * a->stride + j];
            if (is_residual) p->abs_sums[a->layer + 1] += fabs(x);
            else p->squares[a->i_linear][j] += x * x;
        }
    }
    if (is_residual && a->layer < 0) p->n_tokens += a->n_rows - 1;
    return 0;
}

#define BOTH_SITES (QDISP_SITE_BIT(QDISP_SITE_RESIDUAL) | QDISP_SITE_BIT(QDISP_SITE_LINEAR_IN))

TEST(collect_equals_a_plain_recomputation) {
    qdisp_corpus *corpus = tiny_corpus(ctx, 3, N_LINES, 1);
    qdisp_calib *c = collected(corpus);
    CHECK(c->n_languages == 3 && c->n_linears == 4 * 2 + 1);
    for (size_t l = 0; l < 3; l++)
        for (size_t fold = 0; fold < 2; fold++) {
            plain p = {.n_tokens = 0};
            size_t n_bytes = 0;
            for (size_t i = 0; i < c->n_linears; i++) p.squares[i] = calloc(c->n_in[i], sizeof(double));
            for (size_t line = 0; line < N_LINES; line++) {
                if ((line % 4 == 3) != (fold == 1)) continue; /* every fourth line guards */
                size_t n, n_ids, starts[2] = {0, 0};
                const char *text = qdisp_corpus_line(corpus, l, line, &n);
                int32_t *ids = malloc((n + 2) * sizeof *ids);
                ids[0] = 0; /* <s> */
                CHECK_STATUS(qdisp_tokenizer_encode(tokenizer, text, n, ids + 1, NULL, n + 1, &n_ids), QDISP_OK);
                CHECK(n_ids == n); /* a token a byte */
                starts[1] = n_ids + 1;
                qd_run run = {.user = &p, .tap = plain_activation, .sites = BOTH_SITES, .tap_head = true};
                qdisp_batch batch = qd_batch_of(ids, starts, 1);
                CHECK_STATUS(qd_model_run(model, &batch, &run), QDISP_OK);
                n_bytes += n;
                free(ids);
            }
            const qd_calib_fold *f = &c->languages[l].folds[fold];
            CHECK(f->n_tokens == p.n_tokens && f->n_bytes == n_bytes);
            int bad = 0;
            for (size_t i = 0; i < c->n_linears; i++) {
                bad += f->n_rows[i] != p.n_tokens;
                /* f32 partial sums (10 u a sum) and matrix products of other shapes, whose roundings add up over two
                 * layers: 1e-5 is some 80 u, on sums of squares that all have one sign */
                for (size_t j = 0; j < c->n_in[i]; j++)
                    bad += !(fabs(f->squares[c->offsets[i] + j] - p.squares[i][j]) <= 1e-5 * p.squares[i][j] + 1e-9);
                free(p.squares[i]);
            }
            CHECK(bad == 0);
            for (size_t i = 0; i <= c->n_layer; i++) CHECK_NEAR(f->abs_sums[i], p.abs_sums[i], 1e-5);
        }
    qdisp_calib_free(c);
    qdisp_corpus_free(corpus);
}

TEST(threads_and_instruction_sets_give_the_same_bits) {
    static const struct {
        unsigned n_threads;
        const char *isa;
    } rows[] = {{1, "c"}, {2, "c"}, {5, "c"}, {1, "avx2"}, {3, "avx2"}};
    qdisp_calib *first = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qdisp_ctx *own = tiny_ctx(rows[i].n_threads, rows[i].isa);
        if (!own) continue; /* this machine lacks it */
        qdisp_model *m = tiny_model(own, weights);
        qdisp_tokenizer *t = tiny_tokenizer(own);
        qdisp_corpus *corpus = tiny_corpus(own, 2, 70, 1);
        qdisp_calib *c = NULL;
        CHECK_STATUS(qdisp_calib_new(m, &c), QDISP_OK);
        CHECK_STATUS(qdisp_calib_collect(c, m, t, corpus), QDISP_OK);
        if (first) CHECK(same_bits(first, c));
        else first = c;
        if (first != c) qdisp_calib_free(c);
        qdisp_ctx_free(own);
        qdisp_model_free(m);
        qdisp_tokenizer_free(t);
        qdisp_corpus_free(corpus);
    }
    qdisp_calib_free(first);
}

/* A race shows now and then only. (An OpenBLAS built without threads and without locks has one: workers must not call
 * it at once.) */
TEST(many_threads_give_the_same_bits_every_time) {
    qdisp_calib *first = NULL;
    int n_unlike = 0;
    for (int repeat = 0; repeat < 40; repeat++) {
        qdisp_ctx *own = tiny_ctx(repeat ? 6 : 1, NULL);
        qdisp_model *m = tiny_model(own, weights);
        qdisp_corpus *corpus = tiny_corpus(own, 1, 400, 1);
        qdisp_calib *c = NULL;
        CHECK_STATUS(qdisp_calib_new(m, &c), QDISP_OK);
        CHECK_STATUS(qdisp_calib_collect(c, m, tokenizer, corpus), QDISP_OK);
        if (!first) first = c;
        else n_unlike += !same_bits(first, c), qdisp_calib_free(c);
        qdisp_ctx_free(own);
        qdisp_model_free(m);
        qdisp_corpus_free(corpus);
    }
    if (n_unlike) printf("%d of 39 runs differ\n", n_unlike);
    CHECK(n_unlike == 0);
    qdisp_calib_free(first);
}

static qdisp_calib *with_gradients(const qdisp_model *m, const qdisp_tokenizer *t, const qdisp_corpus *corpus) {
    qdisp_calib *c = NULL;
    CHECK_STATUS(qdisp_calib_new(m, &c), QDISP_OK);
    CHECK_STATUS(qdisp_calib_collect_gradients(c, m, t, corpus), QDISP_OK);
    return c;
}

static int plain_gradient(void *user, qdisp_activation *a) {
    plain *p = user;
    for (size_t r = 1; r < a->n_rows; r++)
        for (size_t j = 0; j < a->n_cols; j++) {
            double g = (double)a->data[r * a->stride + j];
            p->squares[a->i_linear][a->i_col + j] += g * g;
        }
    return 0;
}

/* test_gradients compares the taps themselves with autograd and with finite differences. */
TEST(gradients_are_the_sums_of_what_the_taps_see) {
    qdisp_corpus *corpus = tiny_corpus(ctx, 2, N_LINES, 1);
    qdisp_calib *c = with_gradients(model, tokenizer, corpus);
    int bad = 0, n_compared = 0;
    for (size_t l = 0; l < 2; l++)
        for (size_t fold = 0; fold < 2; fold++) {
            plain p = {.n_tokens = 0};
            for (size_t i = 0; i < c->n_linears; i++) p.squares[i] = calloc(c->n_out[i], sizeof(double));
            for (size_t line = fold ? 3 : 0; line < N_LINES; line++) {
                if ((line % 4 == 3) != (fold == 1)) continue;
                size_t n, n_ids, starts[2] = {0, 0};
                const char *text = qdisp_corpus_line(corpus, l, line, &n);
                int32_t *ids = malloc((n + 2) * sizeof *ids);
                ids[0] = 0;
                CHECK_STATUS(qdisp_tokenizer_encode(tokenizer, text, n, ids + 1, NULL, n + 1, &n_ids), QDISP_OK);
                starts[1] = n_ids + 1;
                qdisp_batch batch = qd_batch_of(ids, starts, 1);
                qdisp_grad_options options = {.size = sizeof options, .tap = plain_gradient, .user = &p,
                                              .sites = QDISP_SITE_BIT(QDISP_SITE_LINEAR_GRAD)};
                CHECK_STATUS(qdisp_model_grads(model, &batch, &options), QDISP_OK);
                p.n_tokens += n_ids;
                free(ids);
            }
            const qd_calib_fold *f = &c->languages[l].folds[fold];
            CHECK(f->n_scored == p.n_tokens && f->n_tokens == 0);
            for (size_t i = 0; i < c->n_linears; i++) {
                double most = 0;
                for (size_t j = 0; j < c->n_out[i]; j++) most = fmax(most, p.squares[i][j]);
                for (size_t j = 0; j < c->n_out[i]; j++, n_compared++) /* f32 products of other shapes */
                    bad += !(fabs(f->gradients[c->out_offsets[i] + j] - p.squares[i][j]) <= 1e-4 * most);
                bad += !(most > 0);
                free(p.squares[i]);
            }
        }
    CHECK(bad == 0 && n_compared == 4 * (2 * (48 + 16 + 64 + 16) + TINY_VOCAB));
    double g[TINY_VOCAB];
    CHECK(qd_calib_gradient(c, 1, 3, g));
    CHECK_NEAR(g[5] * (double)(c->languages[1].folds[0].n_scored + c->languages[1].folds[1].n_scored),
               c->languages[1].folds[0].gradients[c->out_offsets[3] + 5] +
                   c->languages[1].folds[1].gradients[c->out_offsets[3] + 5], 1e-12);
    qdisp_calib_free(c);
    qdisp_corpus_free(corpus);
}

TEST(gradients_do_not_depend_on_threads) {
    qdisp_corpus *corpus = tiny_corpus(ctx, 2, 90, 1);
    qdisp_calib *first = NULL;
    for (unsigned n_threads = 1; n_threads <= 5; n_threads += 2) {
        qdisp_ctx *own = tiny_ctx(n_threads, NULL);
        qdisp_model *m = tiny_model(own, weights);
        qdisp_calib *c = with_gradients(m, tokenizer, corpus);
        if (first) CHECK(same_bits(first, c));
        else first = c;
        if (first != c) qdisp_calib_free(c);
        qdisp_model_free(m);
        qdisp_ctx_free(own);
    }
    qdisp_calib_free(first);
    qdisp_corpus_free(corpus);
}

TEST(gradients_merge_and_come_back_from_a_file) {
    qdisp_corpus *corpus = tiny_corpus(ctx, 2, N_LINES, 1);
    qdisp_calib *c = collected(corpus), *g = with_gradients(model, tokenizer, corpus), *back = NULL, *old = NULL;
    double work[TINY_VOCAB];
    CHECK(!qd_calib_gradient(c, 0, 0, work));
    CHECK_STATUS(qdisp_calib_merge(c, g), QDISP_OK);
    CHECK(qd_calib_gradient(c, 0, 0, work) && c->languages[0].folds[0].n_tokens > 0);
    CHECK_STATUS(qdisp_calib_collect_gradients(g, model, tokenizer, corpus), QDISP_OK);
    CHECK(g->languages[1].folds[0].gradients[7] == 2 * c->languages[1].folds[0].gradients[7]);
    CHECK_STATUS(qdisp_calib_save(c, in_folder("gradients")), QDISP_OK);
    CHECK_STATUS(qdisp_calib_open(ctx, in_folder("gradients"), &back), QDISP_OK);
    CHECK(back && same_bits(c, back));
    /* a file from before there were gradients: of unknown outputs, which it takes from what is added */
    CHECK_STATUS(qdisp_calib_open(ctx, QDISP_ROOT "/test/hostile/calib/good.safetensors", &old), QDISP_OK);
    CHECK(old && old->total_out == 0 && !old->languages[0].folds[0].gradients);
    memset(back->n_out, 0, back->n_linears * sizeof *back->n_out);
    for (size_t l = 0; l < 2; l++)
        for (size_t f = 0; f < 2; f++) {
            qd_calib_fold *fold = &back->languages[l].folds[f];
            qd_free(ctx, fold->gradients);
            fold->gradients = NULL;
            fold->n_scored = 0;
        }
    CHECK_STATUS(qd_calib_layout(back), QDISP_OK);
    CHECK_STATUS(qd_calib_check(back, model), QDISP_OK);
    CHECK_STATUS(qdisp_calib_collect_gradients(back, model, tokenizer, corpus), QDISP_OK);
    CHECK(same_bits(c, back));
    qdisp_calib_free(c);
    qdisp_calib_free(g);
    qdisp_calib_free(back);
    qdisp_calib_free(old);
    qdisp_corpus_free(corpus);
}

/* Masked models and encoder-decoder models have other targets and rows: against their own taps, and every map heard. */
TEST(gradients_of_the_other_kinds_of_models) {
    static const char *const names[] = {"bert", "t5", "mixtral"};
    for (size_t i = 0; i < 3; i++) {
        char path[512];
        qdisp_model *m = NULL;
        snprintf(path, sizeof path, "%s/test/golden/arch/%s", QDISP_ROOT, names[i]);
        CHECK_STATUS(qdisp_model_open(ctx, path, &m), QDISP_OK);
        qd_frame frame = {.model = m, .n_most = SIZE_MAX, .mask_id = i == 0 ? 3 : -1};
        qd_sequences s = {.ctx = ctx, .frame = &frame}, part;
        int32_t ids[20], targets[64];
        size_t n_targets;
        for (int k = 0; k < 20; k++) ids[k] = 5 + k;
        for (int k = 0; k < 3; k++) CHECK_STATUS(qd_sequences_add(&s, ids + k, 17, 0), QDISP_OK);
        CHECK_STATUS(qd_sequences_slice(&s, 1, 2, &part), QDISP_OK);
        CHECK(part.n_seq == 2 && part.starts[0] == 0 && part.ids[0] == s.ids[s.starts[1]] &&
              part.scored[1].end == s.scored[2].end - s.starts[1]);
        CHECK((i == 1) == (part.source_ids != NULL));
        qdisp_batch batch = qd_sequences_targets(&part, targets, &n_targets);
        CHECK(n_targets == (i == 0 ? 6u : i == 1 ? 18u : 32u)); /* every 7th; the second half; all but the first */
        for (size_t r = 0; i == 0 && r < part.starts[2]; r++) CHECK((part.ids[r] == 3) == (targets[r] >= 0));
        float nll[64];
        qdisp_grad_options options = {.size = sizeof options, .nll = nll};
        CHECK_STATUS(qdisp_model_grads(m, &batch, &options), QDISP_OK);
        size_t n_losses = 0;
        for (size_t r = 0; r < part.starts[2]; r++) n_losses += isfinite(nll[r]);
        CHECK(n_losses == n_targets);
        qd_sequences_clear(&s);
        qd_sequences_clear(&part);
        qdisp_model_free(m);
    }
}

TEST(merge_is_collect_on_both) {
    qdisp_corpus *a = tiny_corpus(ctx, 3, N_LINES, 1), *b = tiny_corpus(ctx, 2, N_LINES + 3, 2);
    qdisp_calib *both = collected(a), *x = collected(a), *y = collected(b), *empty = NULL;
    CHECK_STATUS(qdisp_calib_collect(both, model, tokenizer, b), QDISP_OK);
    CHECK_STATUS(qdisp_calib_merge(x, y), QDISP_OK);
    CHECK(same_bits(both, x));
    CHECK_STATUS(qdisp_calib_new(model, &empty), QDISP_OK);
    CHECK_STATUS(qdisp_calib_merge(empty, y), QDISP_OK);
    CHECK(same_bits(empty, y));
    CHECK_STATUS(qdisp_calib_merge(y, y), QDISP_OK); /* with itself: twice all */
    CHECK(y->languages[0].folds[0].n_tokens == 2 * empty->languages[0].folds[0].n_tokens);
    CHECK(y->languages[1].folds[1].squares[3] == 2 * empty->languages[1].folds[1].squares[3]);
    qdisp_calib_free(both);
    qdisp_calib_free(x);
    qdisp_calib_free(y);
    qdisp_calib_free(empty);
    qdisp_corpus_free(a);
    qdisp_corpus_free(b);
}

TEST(save_and_open_come_back) {
    qdisp_corpus *corpus = tiny_corpus(ctx, 3, N_LINES, 1);
    qdisp_calib *c = collected(corpus), *back = NULL, *empty = NULL;
    CHECK_STATUS(qdisp_calib_save(c, in_folder("stats")), QDISP_OK);
    CHECK_STATUS(qdisp_calib_open(ctx, in_folder("stats"), &back), QDISP_OK);
    CHECK(back && same_bits(c, back));
    CHECK_STATUS(qdisp_calib_merge(back, c), QDISP_OK); /* still of this model */
    CHECK_STATUS(qdisp_calib_collect(back, model, tokenizer, corpus), QDISP_OK);
    qdisp_calib_free(back);
    CHECK_STATUS(qdisp_calib_new(model, &empty), QDISP_OK);
    CHECK_STATUS(qdisp_calib_save(empty, in_folder("none")), QDISP_OK);
    CHECK_STATUS(qdisp_calib_open(ctx, in_folder("none"), &back), QDISP_OK);
    CHECK(back && back->n_languages == 0 && back->n_linears == c->n_linears);
    qdisp_calib_free(back);
    CHECK_STATUS(qdisp_calib_save(c, in_folder("no/such")), QDISP_EIO);
    CHECK_HAS(qdisp_ctx_error(ctx), "no/such");
    CHECK_STATUS(qdisp_calib_open(ctx, in_folder("nothing"), &back), QDISP_ENOTFOUND);
    qdisp_calib_free(c);
    qdisp_calib_free(empty);
    qdisp_corpus_free(corpus);
}

/* Keeps the rows that a tap sees, and feeds them as a host would. */
typedef struct host {
    qdisp_calib *calib;
    const char *tag;
    int guard;
    size_t n_bytes;
} host;

static int feed_input(void *user, qdisp_activation *a) {
    host *h = user;
    const char *name = model->tensors[model->linears[a->i_linear].i_weight].name;
    return qdisp_calib_feed(h->calib, h->tag, h->guard, name, a->data + a->n_cols, a->n_rows - 1, a->n_cols,
                            a->i_linear == 0 ? h->n_bytes : 0) != QDISP_OK;
}

TEST(fed_rows_count_as_collected_ones) {
    qdisp_corpus *corpus = tiny_corpus(ctx, 1, 1, 1);
    qdisp_calib *c = collected(corpus), *fed = NULL;
    size_t n, n_ids, starts[2] = {0};
    const char *text = qdisp_corpus_line(corpus, 0, 0, &n);
    int32_t *ids = calloc(n + 2, sizeof *ids);
    CHECK_STATUS(qdisp_tokenizer_encode(tokenizer, text, n, ids + 1, NULL, n + 1, &n_ids), QDISP_OK);
    starts[1] = n_ids + 1;
    CHECK_STATUS(qdisp_calib_new(model, &fed), QDISP_OK);
    host h = {fed, "en", 0, n};
    qd_run run = {.user = &h, .tap = feed_input, .sites = QDISP_SITE_BIT(QDISP_SITE_LINEAR_IN), .tap_head = true};
    qdisp_batch batch = qd_batch_of(ids, starts, 1);
    CHECK_STATUS(qd_model_run(model, &batch, &run), QDISP_OK);
    const qd_calib_fold *a = &c->languages[0].folds[0], *b = &fed->languages[0].folds[0];
    CHECK(!memcmp(a->squares, b->squares, c->total * sizeof(double)));
    CHECK(!memcmp(a->n_rows, b->n_rows, c->n_linears * sizeof(uint64_t)) && a->n_bytes == b->n_bytes);
    CHECK(qd_calib_tokens_per_byte(fed, 0) == qd_calib_tokens_per_byte(c, 0));
    free(ids);
    qdisp_calib_free(c);
    qdisp_calib_free(fed);
    qdisp_corpus_free(corpus);
}

TEST(bad_rows_are_refused_and_add_nothing) {
    qdisp_calib *c = NULL;
    const char *up = tiny_name(weights, "h.1.mlp.dense_h_to_4h.weight");
    float rows[2 * 16] = {1, 2, 3};
    CHECK_STATUS(qdisp_calib_new(model, &c), QDISP_OK);
    CHECK_STATUS(qdisp_calib_feed(c, "en", 0, "nothing", rows, 2, 16, 0), QDISP_ENOTFOUND);
    CHECK_HAS(qdisp_ctx_error(ctx), "nothing");
    CHECK_STATUS(qdisp_calib_feed(c, "en", 0, up, rows, 2, 15, 0), QDISP_EINVAL);
    CHECK_STATUS(qdisp_calib_feed(c, "", 0, up, rows, 2, 16, 0), QDISP_EINVAL);
    CHECK_STATUS(qdisp_calib_feed(c, NULL, 0, up, rows, 2, 16, 0), QDISP_EINVAL);
    rows[20] = NAN;
    CHECK_STATUS(qdisp_calib_feed(c, "en", 0, up, rows, 2, 16, 0), QDISP_ENUMERIC);
    CHECK_HAS(qdisp_ctx_error(ctx), up);
    CHECK_HAS(qdisp_ctx_error(ctx), "row 1");
    rows[20] = INFINITY;
    CHECK_STATUS(qdisp_calib_feed(c, "en", 0, up, rows, 2, 16, 0), QDISP_ENUMERIC);
    CHECK(c->n_languages == 0);
    CHECK_STATUS(qdisp_calib_feed(c, "en", 1, up, rows, 1, 16, 7), QDISP_OK); /* the first row is good */
    CHECK(c->languages[0].folds[1].n_bytes == 7 && c->languages[0].folds[0].n_bytes == 0);
    double e[16];
    CHECK(qd_calib_energy(c, 0, 1, 6, e) && e[1] == 4 && e[2] == 9 && !qd_calib_energy(c, 0, 0, 6, e));
    rows[5] = 3e38f; /* its square is no f32 */
    CHECK_STATUS(qdisp_calib_feed(c, "big", 0, up, rows, 1, 16, 0), QDISP_OK);
    CHECK(qd_calib_energy(c, 1, QD_N_FOLDS, 6, e));
    CHECK_NEAR(e[5], (double)3e38f * (double)3e38f, 1e-6); /* f32 partial sums, where they can hold it */
    qdisp_calib_free(c);
}

TEST(another_model_is_refused) {
    tiny *other_weights = tiny_make(5, 16, 1, 1), *wide_weights = tiny_make(5, 32, 2, 1);
    qdisp_model *other = tiny_model(ctx, other_weights), *wide = tiny_model(ctx, wide_weights);
    qdisp_corpus *corpus = tiny_corpus(ctx, 2, 4, 1);
    qdisp_calib *c = collected(corpus), *d = NULL;
    qdisp_table *t = NULL;
    CHECK_STATUS(qdisp_calib_collect(c, other, tokenizer, corpus), QDISP_EMISMATCH);
    CHECK_STATUS(qdisp_calib_collect(c, wide, tokenizer, corpus), QDISP_EMISMATCH);
    CHECK_STATUS(qdisp_calib_languages(c, other, &t), QDISP_EMISMATCH);
    CHECK_STATUS(qdisp_calib_new(other, &d), QDISP_OK);
    CHECK_STATUS(qdisp_calib_merge(c, d), QDISP_EMISMATCH);
    CHECK(t == NULL);
    qdisp_calib_free(c);
    qdisp_calib_free(d);
    qdisp_corpus_free(corpus);
    qdisp_model_free(other);
    qdisp_model_free(wide);
    tiny_free(other_weights);
    tiny_free(wide_weights);
}

TEST(a_model_that_overflows_is_an_error_and_adds_nothing) {
    tiny *bad_weights = tiny_make(1, 16, 2, 1);
    tiny_data(bad_weights, "h.0.mlp.dense_4h_to_h.weight")[3] = NAN;
    qdisp_model *bad = tiny_model(ctx, bad_weights);
    qdisp_corpus *corpus = tiny_corpus(ctx, 2, 4, 1);
    qdisp_calib *c = NULL;
    CHECK_STATUS(qdisp_calib_new(bad, &c), QDISP_OK);
    CHECK_STATUS(qdisp_calib_collect(c, bad, tokenizer, corpus), QDISP_ENUMERIC);
    CHECK_HAS(qdisp_ctx_error(ctx), "language en");
    CHECK_HAS(qdisp_ctx_error(ctx), "h.1.self_attention.query_key_value.weight"); /* the first map that it reaches */
    CHECK(c->n_languages == 0);
    qdisp_calib_free(c);
    qdisp_corpus_free(corpus);
    qdisp_model_free(bad);
    tiny_free(bad_weights);
}

TEST(effective_kurtosis_is_that_of_the_weighted_weights) {
    qdisp_corpus *corpus = tiny_corpus(ctx, 3, N_LINES, 1);
    qdisp_calib *c = collected(corpus);
    qdisp_table *t = NULL, *census = NULL;
    bool outlier[2];
    CHECK_STATUS(qdisp_calib_languages(c, model, &t), QDISP_OK);
    CHECK_STATUS(qdisp_census(model, &census), QDISP_OK);
    CHECK_STATUS(qd_outlier_layers(model, outlier), QDISP_OK);
    CHECK(outlier[0] + outlier[1] == 1);
    /* outlier layer from the census table */
    double highest[2] = {-INFINITY, -INFINITY};
    for (size_t r = 0; r < qdisp_table_n_rows(census); r++) {
        int64_t layer = qdisp_table_i64(census, qdisp_table_find(census, "layer"))[r];
        double k = qdisp_table_f64(census, qdisp_table_find(census, "kurtosis"))[r];
        if (layer >= 0 && k > highest[layer]) highest[layer] = k;
    }
    CHECK(outlier[0] == (highest[0] >= highest[1]));
    for (size_t l = 0; l < 3; l++) {
        double sum = 0, n_weights = 0, most = -INFINITY, e[64];
        for (size_t i = 0; i + 1 < model->n_linears; i++) { /* all but the head */
            const qd_linear *linear = &model->linears[i];
            const float *w = model->tensors[linear->i_weight].data;
            double total = 0, mu = 0, m2 = 0, m4 = 0, n = (double)linear->n_out;
            CHECK(qd_calib_energy(c, l, QD_N_FOLDS, i, e));
            for (size_t j = 0; j < linear->n_in; j++) total += e[j];
            for (size_t r = 0; r < linear->n_out; r++)
                for (size_t j = 0; j < linear->n_in; j++) mu += e[j] / total / n * (double)w[r * linear->n_in + j];
            for (size_t r = 0; r < linear->n_out; r++)
                for (size_t j = 0; j < linear->n_in; j++) {
                    double d = (double)w[r * linear->n_in + j] - mu, omega = e[j] / total / n;
                    m2 += omega * d * d;
                    m4 += omega * d * d * d * d;
                }
            double k = m4 / (m2 * m2) - 3, size = n * (double)linear->n_in;
            sum += size * k;
            n_weights += size;
            most = fmax(most, k);
        }
        /* the column sums come from f32 products, 14 u a power: about 1e-6 of m4/m2^2, which is near 3 here */
        CHECK(fabs(qdisp_table_f64(t, 1)[l] - sum / n_weights) < 1e-5);
        CHECK(fabs(qdisp_table_f64(t, 2)[l] - most) < 1e-5);
        const qd_calib_fold *f = c->languages[l].folds;
        double in = 0, all = 0;
        for (size_t i = 0; i < 2; i++) {
            double s = f[0].abs_sums[i + 1] + f[1].abs_sums[i + 1];
            all += s;
            in += outlier[i] ? s : 0;
        }
        CHECK_NEAR(qdisp_table_f64(t, 3)[l], in / all, 1e-14);
    }
    qdisp_table_free(t);
    qdisp_table_free(census);
    CHECK_STATUS(qdisp_calib_describe(c, &t), QDISP_OK);
    CHECK(qdisp_table_n_rows(t) == 3 && qdisp_table_find(t, "mean_abs_layer_1") != (size_t)-1);
    const qd_calib_fold *f = c->languages[1].folds;
    CHECK(qdisp_table_i64(t, 1)[1] == (int64_t)(f[0].n_tokens + f[1].n_tokens));
    CHECK_NEAR(qdisp_table_f64(t, 3)[1], 1.0, 1e-15); /* a token a byte */
    CHECK_NEAR(qdisp_table_f64(t, qdisp_table_find(t, "mean_abs_embed"))[1],
               (f[0].abs_sums[0] + f[1].abs_sums[0]) / (16.0 * (double)(f[0].n_tokens + f[1].n_tokens)), 1e-14);
    qdisp_table_free(t);
    qdisp_calib_free(c);
    qdisp_corpus_free(corpus);
}

/* A map far from 0 with a column further off: a language that hears that column alone is 1e6 of its standard deviations
 * from the rest. */
TEST(effective_kurtosis_far_from_zero) {
    enum { N_IN = 16, N_OUT = 64, FAR = 3 };
    const char *up = "h.1.mlp.dense_h_to_4h.weight";
    tiny *far_weights = tiny_make(7, N_IN, 2, 1);
    float *w = tiny_data(far_weights, up), rows[2][N_IN] = {{0}};
    for (int i = 0; i < N_OUT * N_IN; i++)
        w[i] = i % N_IN == FAR ? -1e4f + 0x1p-7f * (float)(i / N_IN % 7) : 1e3f + 0x1p-5f * (float)(i * i % 61);
    qdisp_model *far = tiny_model(ctx, far_weights);
    qdisp_calib *c = NULL;
    qdisp_table *t = NULL;
    CHECK_STATUS(qdisp_calib_new(far, &c), QDISP_OK);
    for (size_t j = 0; j < N_IN; j++) rows[0][j] = j == FAR ? 0 : 1 + (float)j;
    rows[1][FAR] = 2;
    CHECK_STATUS(qdisp_calib_feed(c, "en", 0, tiny_name(far_weights, up), rows[0], 1, N_IN, 1), QDISP_OK);
    CHECK_STATUS(qdisp_calib_feed(c, "sw", 0, tiny_name(far_weights, up), rows[1], 1, N_IN, 1), QDISP_OK);
    CHECK_STATUS(qdisp_calib_languages(c, far, &t), QDISP_OK);
    for (size_t l = 0; l < 2; l++) {
        long double total = 0, mu = 0, m2 = 0, m4 = 0;
        for (int i = 0; i < N_OUT * N_IN; i++) {
            long double omega = (long double)rows[l][i % N_IN] * rows[l][i % N_IN];
            total += omega;
            mu += omega * w[i];
        }
        mu /= total;
        for (int i = 0; i < N_OUT * N_IN; i++) {
            long double omega = (long double)rows[l][i % N_IN] * rows[l][i % N_IN], d = w[i] - mu;
            m2 += omega * d * d / total;
            m4 += omega * d * d * d * d / total;
        }
        /* the columns' own worst case is 1e-5 of m2 and 1.1e-4 of m4 (columns.c), of which little is seen */
        CHECK_NEAR(qdisp_table_f64(t, 1)[l] + 3, (double)(m4 / (m2 * m2)), 1e-5);
    }
    qdisp_table_free(t);
    qdisp_calib_free(c);
    qdisp_model_free(far);
    tiny_free(far_weights);
}

TEST(handles_are_freed_in_any_order) {
    qdisp_ctx *own = tiny_ctx(2, NULL);
    qdisp_model *m = tiny_model(own, weights);
    qdisp_calib *c = NULL;
    CHECK_STATUS(qdisp_calib_new(m, &c), QDISP_OK);
    qdisp_ctx_free(own);
    qdisp_model_free(m);
    float row[16] = {1};
    CHECK_STATUS(qdisp_calib_feed(c, "en", 0, tiny_name(weights, "h.0.mlp.dense_h_to_4h.weight"), row, 1, 16, 4),
        QDISP_OK);
    qdisp_calib_free(c);
    qdisp_calib_free(NULL);
}

int main(void) {
    snprintf(folder, sizeof folder, "/tmp/qdisp-calib-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    ctx = tiny_ctx(2, NULL);
    weights = tiny_make(1, 16, 2, 1);
    model = tiny_model(ctx, weights);
    tokenizer = tiny_tokenizer(ctx);
    RUN(collect_equals_a_plain_recomputation);
    RUN(threads_and_instruction_sets_give_the_same_bits);
    RUN(many_threads_give_the_same_bits_every_time);
    RUN(gradients_are_the_sums_of_what_the_taps_see);
    RUN(gradients_do_not_depend_on_threads);
    RUN(gradients_merge_and_come_back_from_a_file);
    RUN(gradients_of_the_other_kinds_of_models);
    RUN(merge_is_collect_on_both);
    RUN(save_and_open_come_back);
    RUN(fed_rows_count_as_collected_ones);
    RUN(bad_rows_are_refused_and_add_nothing);
    RUN(another_model_is_refused);
    RUN(a_model_that_overflows_is_an_error_and_adds_nothing);
    RUN(effective_kurtosis_is_that_of_the_weighted_weights);
    RUN(effective_kurtosis_far_from_zero);
    RUN(handles_are_freed_in_any_order);
    qdisp_tokenizer_free(tokenizer);
    qdisp_model_free(model);
    qdisp_ctx_free(ctx);
    tiny_free(weights);
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    if (system(command) != 0) puts("temporary folder left behind");
    return TEST_END();
}
