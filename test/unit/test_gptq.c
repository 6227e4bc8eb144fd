/* GPTQ: its rounding against a plain restatement of the paper; second moments by language against plain sums; plans
 * that need text; weights of the languages by measured losses. */
#include "tiny.h"

#include "calib/hessian.h"
#include "quant/quant.h"

enum { N_OUT = 150, N_IN = 300, N_ROWS = 900 };
static qdisp_ctx *ctx;
static tiny *parts;
static qdisp_model *model;
static qdisp_tokenizer *tokenizer;
static float weights[N_OUT * N_IN];
static double moments[N_IN * N_IN];
static uint8_t clips[N_OUT * N_IN], gains[N_OUT * N_IN];

/* Inputs that go along with each other, of unlike size; column 5 is always 0. */
static void make_moments(void) {
    static float x[N_ROWS * N_IN];
    for (uint32_t r = 0; r < N_ROWS; r++)
        for (uint32_t j = 0; j < N_IN; j++)
            x[r * N_IN + j] = (tiny_random(1, r, j) + 2 * tiny_random(2, r, j % 7)) *
                              (j == 5 ? 0.0f : j % 40 == 1 ? 8.0f : 1.0f);
    for (size_t i = 0; i < N_IN; i++)
        for (size_t j = 0; j < N_IN; j++) {
            double sum = 0;
            for (size_t r = 0; r < N_ROWS; r++) sum += (double)x[r * N_IN + i] * (double)x[r * N_IN + j];
            moments[i * N_IN + j] = sum / N_ROWS;
        }
    for (uint32_t k = 0; k < N_OUT * N_IN; k++) weights[k] = 0.05f * tiny_random(3, 0, k);
}

static qd_choice choice_of(const char *method, int bits, int64_t group_size, qd_levels levels, const char *options) {
    qd_choice c = {.name = "matrix", .method = qd_method_find(method), .type = "int", .data = weights,
                   .dtype = QDISP_DTYPE_F32, .n_out = N_OUT, .n_in = N_IN, .bits = bits, .group_size = group_size,
                   .levels = levels, .clips = clips, .gains = gains, .alpha = 0.2f,
                   .options = (char *)(uintptr_t)options};
    c.n_units = qd_unit_count(c.n_out, c.n_in, c.group_size, &c.units_per_row);
    return c;
}

static qdisp_status quantize(const qd_choice *c, double *h, qd_codes *out) {
    qd_inputs x = {.h = h};
    return qd_choice_quantize(ctx, c, h ? &x : NULL, out);
}

/* sum over rows of (w - q) H (w - q)^T */
static double error_of(const qd_codes *codes) {
    static float q[N_OUT * N_IN];
    double sum = 0;
    qd_codes_decode(ctx, codes, 0, N_OUT, q);
    for (size_t i = 0; i < N_OUT; i++)
        for (size_t j = 0; j < N_IN; j++) {
            double part = 0;
            for (size_t k = 0; k < N_IN; k++)
                part += moments[j * N_IN + k] * (double)(weights[i * N_IN + k] - q[i * N_IN + k]);
            sum += part * (double)(weights[i * N_IN + j] - q[i * N_IN + j]);
        }
    return sum;
}

/* ---- the paper's steps: the upper Cholesky factor of the inverse, all columns to the right updated ---- */

static double inverse[N_IN * N_IN], upper[N_IN * N_IN];

static void invert(const double *h, const size_t *order, double damp) {
    static double a[N_IN * 2 * N_IN];
    double mean = 0;
    for (size_t j = 0; j < N_IN; j++) mean += (j == 5 ? 1 : h[j * N_IN + j]) / N_IN;
    for (size_t i = 0; i < N_IN; i++)
        for (size_t j = 0; j < N_IN; j++) {
            a[i * 2 * N_IN + j] = h[order[i] * N_IN + order[j]];
            if (i == j) a[i * 2 * N_IN + j] += (order[i] == 5 ? 1 : 0) + damp * mean;
            a[i * 2 * N_IN + N_IN + j] = i == j;
        }
    for (size_t i = 0; i < N_IN; i++) { /* Gauss-Jordan: positive definite, no pivots needed */
        double d = a[i * 2 * N_IN + i];
        for (size_t j = 0; j < 2 * N_IN; j++) a[i * 2 * N_IN + j] /= d;
        for (size_t k = 0; k < N_IN; k++) {
            double f = a[k * 2 * N_IN + i];
            for (size_t j = 0; k != i && f != 0 && j < 2 * N_IN; j++) a[k * 2 * N_IN + j] -= f * a[i * 2 * N_IN + j];
        }
    }
    for (size_t i = 0; i < N_IN; i++)
        for (size_t j = 0; j < N_IN; j++) inverse[i * N_IN + j] = a[i * 2 * N_IN + N_IN + j];
}

static void factorise(void) {
    memset(upper, 0, sizeof upper);
    for (size_t i = 0; i < N_IN; i++)
        for (size_t j = i; j < N_IN; j++) {
            double sum = inverse[i * N_IN + j];
            for (size_t k = 0; k < i; k++) sum -= upper[k * N_IN + i] * upper[k * N_IN + j];
            upper[i * N_IN + j] = i == j ? sqrt(sum) : sum / upper[i * N_IN + i];
        }
}

static int descending(const void *a, const void *b) {
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    double x = moments[i * N_IN + i], y = moments[j * N_IN + j];
    return x != y ? (x < y) - (x > y) : (i > j) - (i < j);
}

/* How many codes differ from what the paper's steps give. */
static size_t n_unlike(const qd_codes *got, int bits, bool act_order) {
    size_t order[N_IN], n = 0;
    for (size_t j = 0; j < N_IN; j++) order[j] = j;
    if (act_order) qsort(order, N_IN, sizeof *order, descending);
    invert(moments, order, 0.01);
    factorise();
    for (size_t i = 0; i < N_OUT; i++) {
        double w[N_IN];
        for (size_t j = 0; j < N_IN; j++) w[j] = order[j] == 5 ? 0 : (double)weights[i * N_IN + order[j]];
        for (size_t j = 0; j < N_IN; j++) {
            double scale = (double)got->scales[i * got->n_groups + order[j] / got->group_size];
            double most = (1 << (bits - 1)) - 1, code = rint(w[j] / scale);
            code = code < -most ? -most : code > most ? most : code;
            double error = (w[j] - code * scale) / upper[j * N_IN + j];
            for (size_t k = j; k < N_IN; k++) w[k] -= error * upper[j * N_IN + k];
            n += got->codes[i * N_IN + order[j]] != (uint8_t)((int)code + (1 << (bits - 1)));
        }
    }
    return n;
}

TEST(the_steps_of_the_paper_give_the_same_codes) {
    static const int64_t groups[] = {QDISP_GROUP_CHANNEL, 32, 64};
    for (size_t g = 0; g < 3; g++)
        for (int act_order = 0; act_order < 2; act_order++) {
            char options[64];
            snprintf(options, sizeof options, "damp=0.01,act_order=%d", act_order);
            qd_choice nearest = choice_of("rtn", 3, groups[g], QD_NARROW, NULL);
            qd_choice gptq = choice_of("gptq", 3, groups[g], QD_NARROW, options);
            qd_codes a, b;
            CHECK_STATUS(quantize(&nearest, NULL, &a), QDISP_OK);
            CHECK_STATUS(quantize(&gptq, moments, &b), QDISP_OK);
            double before = error_of(&a), after = error_of(&b);
            size_t unlike = n_unlike(&b, 3, act_order);
            printf("group %d, act_order %d: error %.4g, to nearest %.4g; %zu of %d codes unlike the paper's\n",
                   (int)groups[g], act_order, after, before, unlike, N_OUT * N_IN);
            CHECK(after < 0.3 * before);
            CHECK(unlike < N_OUT * N_IN / 500); /* a code on the border turns the rest of its row a little */
            qd_codes_clear(ctx, &a);
            qd_codes_clear(ctx, &b);
        }
}

TEST(all_bits_levels_and_groups) {
    static const int64_t groups[] = {QDISP_GROUP_TENSOR, QDISP_GROUP_CHANNEL, 32, 128};
    for (int bits = 2; bits <= 8; bits++)
        for (size_t g = 0; g < 4; g++)
            for (qd_levels levels = QD_NARROW; levels <= QD_ASYM; levels++) {
                qd_choice nearest = choice_of("rtn", bits, groups[g], levels, NULL);
                qd_choice gptq = choice_of("gptq", bits, groups[g], levels, NULL);
                qd_codes a, b;
                CHECK_STATUS(quantize(&nearest, NULL, &a), QDISP_OK);
                CHECK_STATUS(quantize(&gptq, moments, &b), QDISP_OK);
                CHECK(error_of(&b) < 0.7 * error_of(&a));
                CHECK((b.zeros != NULL) == (levels == QD_ASYM));
                for (size_t k = 0; k < N_OUT * N_IN; k++) CHECK(b.codes[k] < 1 << bits);
                qd_codes_clear(ctx, &a);
                qd_codes_clear(ctx, &b);
            }
}

TEST(kept_weights_are_exact_and_make_no_error) {
    static float q[N_OUT * N_IN];
    uint64_t keep[] = {1, 7 * N_IN + 5, 149 * N_IN + 299};
    qd_choice c = choice_of("gptq", 3, 32, QD_NARROW, NULL);
    weights[1] = 4; /* its group would be lost */
    qd_codes without, with;
    CHECK_STATUS(quantize(&c, moments, &without), QDISP_OK);
    c.keep = keep;
    c.n_keep = 3;
    CHECK_STATUS(quantize(&c, moments, &with), QDISP_OK);
    CHECK(error_of(&with) < error_of(&without));
    qd_codes_decode(ctx, &with, 0, N_OUT, q);
    for (size_t k = 0; k < 3; k++) CHECK_NEAR(q[keep[k]], weights[keep[k]], 1e-3);
    weights[1] = 0.05f * tiny_random(3, 0, 1);
    qd_codes_clear(ctx, &without);
    qd_codes_clear(ctx, &with);
}

TEST(threads_do_not_matter) {
    qd_choice c = choice_of("gptq", 4, 64, QD_NARROW, NULL);
    qd_codes one;
    CHECK_STATUS(quantize(&c, moments, &one), QDISP_OK);
    for (unsigned n = 2; n < 5; n++) {
        qdisp_ctx_options o = {.size = sizeof o, .n_threads = n, .own_blas = 1};
        qdisp_ctx *own = NULL;
        qd_codes codes;
        CHECK_STATUS(qdisp_ctx_new(&o, &own), QDISP_OK);
        CHECK_STATUS(qd_choice_quantize(own, &c, &(qd_inputs){.h = moments}, &codes), QDISP_OK);
        CHECK(!memcmp(codes.codes, one.codes, N_OUT * N_IN));
        qd_codes_clear(own, &codes);
        qdisp_ctx_free(own);
    }
    qd_codes_clear(ctx, &one);
}

TEST(singular_moments_get_more_damping_or_a_message) {
    static double h[N_IN * N_IN];
    qd_choice c = choice_of("gptq", 3, 64, QD_NARROW, "damp=0");
    qd_codes codes = {0};
    for (size_t k = 0; k < N_IN * N_IN; k++) h[k] = 1; /* of rank 1 */
    CHECK_STATUS(quantize(&c, h, &codes), QDISP_OK);
    qd_codes_clear(ctx, &codes);
    memset(h, 0, sizeof h); /* nothing ever came: all weights go */
    CHECK_STATUS(quantize(&c, h, &codes), QDISP_OK);
    CHECK(codes.codes[0] == 4 && codes.codes[N_OUT * N_IN - 1] == 4);
    qd_codes_clear(ctx, &codes);
    for (size_t k = 0; k < N_IN * N_IN; k++) h[k] = k % (N_IN + 1) == 0 ? 1 : -1; /* no moments of anything */
    CHECK_STATUS(quantize(&c, h, &codes), QDISP_ENUMERIC);
    CHECK(strstr(qdisp_ctx_error(ctx), "singular") && strstr(qdisp_ctx_error(ctx), "matrix"));
    h[0] = INFINITY;
    CHECK_STATUS(quantize(&c, h, &codes), QDISP_ENUMERIC);
    CHECK(codes.codes == NULL);
}

/* ---- by language ---- */

typedef struct plain_sums {
    const size_t *starts;
    size_t i_linear, n_in, n_rows;
    double *sum;
} plain_sums;

static int add_rows(void *user, qdisp_activation *a) {
    plain_sums *p = user;
    if (a->i_linear != p->i_linear) return 0;
    for (size_t r = 0; r < a->n_rows; r++)
        for (size_t i = 0; i < p->n_in; i++)
            for (size_t j = 0; j < p->n_in; j++)
                p->sum[i * p->n_in + j] += (double)a->data[r * a->stride + i] * (double)a->data[r * a->stride + j];
    p->n_rows += a->n_rows;
    return 0;
}

/* lambda / (mean of the diagonal) sum x x^T of a language, added to out. */
static void add_plain(const qdisp_corpus *corpus, size_t l, size_t i_linear, double lambda, double *out) {
    qd_frame frame;
    qd_lines lines;
    size_t n_in = model->linears[i_linear].n_in;
    double mean = 0, *sum = calloc(n_in * n_in, sizeof *sum);
    CHECK_STATUS(qd_frame_make(model, tokenizer, &frame), QDISP_OK);
    CHECK_STATUS(qd_lines_make(&frame, corpus, l, NULL, qdisp_corpus_n_lines(corpus), &lines), QDISP_OK);
    qdisp_batch batch = qd_sequences_batch(&lines.sequences, false);
    plain_sums p = {.i_linear = i_linear, .n_in = n_in, .sum = sum};
    qd_run run = {.tap = add_rows, .user = &p, .sites = QDISP_SITE_BIT(QDISP_SITE_LINEAR_IN), .tap_head = true};
    CHECK_STATUS(qd_model_run(model, &batch, &run), QDISP_OK);
    for (size_t j = 0; j < n_in; j++) mean += sum[j * n_in + j] / (double)n_in;
    for (size_t k = 0; k < n_in * n_in; k++) out[k] += lambda / mean * sum[k];
    free(sum);
    qd_lines_clear(&lines);
}

TEST(moments_are_the_sums_of_every_row_by_language) {
    qdisp_corpus *corpus = tiny_corpus(ctx, 3, 40, 1);
    const double lambda[3] = {0.2, 0.5, 0.3};
    qd_hessians *h = NULL;
    CHECK_STATUS(qd_hessians_open(model, tokenizer, corpus, NULL, 0, &h), QDISP_OK);
    for (size_t layer = 0; layer <= model->config.n_layer; layer++) {
        bool head = layer == model->config.n_layer;
        for (size_t i = 0; i < model->n_linears; i++) {
            if (model->linears[i].layer != (head ? -1 : (int)layer)) continue;
            size_t n_in = model->linears[i].n_in;
            double *plain = calloc(n_in * n_in, sizeof *plain), worst = 0, most = 0;
            qd_hessian_want want = {i, lambda};
            CHECK_STATUS(qd_hessians_layer(h, head ? -1 : (int)layer, &want, 1), QDISP_OK);
            const qd_hessian *x = qd_hessians_find(h, &want);
            CHECK(x && x->n_in == n_in);
            CHECK_NEAR(x->heard, 1, 1e-12);
            for (size_t l = 0; l < 3; l++) add_plain(corpus, l, i, lambda[l], plain);
            for (size_t k = 0; k < n_in * n_in; k++) {
                worst = fmax(worst, fabs(plain[k] - x->total[k]));
                most = fmax(most, fabs(plain[k]));
            }
            CHECK(worst < 1e-5 * most); /* f32 products */
            free(plain);
        }
        if (!head) CHECK_STATUS(qd_layerwise_advance(h->walk, layer), QDISP_OK);
    }
    qd_hessians_free(h);
    qdisp_corpus_free(corpus);
}

static qdisp_table *plan_of(const char *weights_text, const char *options) {
    qdisp_quantizer_options o = {.size = sizeof o, .bits = 3, .group_size = 16, .weights = weights_text,
                                 .options = options};
    qdisp_quantizer *q = NULL;
    qdisp_table *plan = NULL;
    CHECK_STATUS(qdisp_quantizer_new(ctx, "gptq", &o, &q), QDISP_OK);
    CHECK_STATUS(qdisp_quantizer_plan(q, model, NULL, &plan), QDISP_OK);
    qdisp_quantizer_free(q);
    if (!plan) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
    return plan;
}

static qdisp_status apply(const qdisp_table *plan, const qdisp_model *m, qdisp_plan_options with, qdisp_model **out) {
    with.size = sizeof with;
    with.tokenizer = tokenizer;
    return qdisp_plan_apply(plan, m, &with, out);
}

static bool same_weights(const qdisp_model *a, const qdisp_model *b) {
    for (size_t i = 0; i < a->n_tensors; i++)
        if (memcmp(a->tensors[i].data, b->tensors[i].data, a->tensors[i].n_bytes)) return false;
    return true;
}

TEST(a_plan_is_applied_with_text) {
    qdisp_corpus *corpus = tiny_corpus(ctx, 2, 40, 1);
    const char *tag = qdisp_corpus_language(corpus, 1);
    char only[64];
    snprintf(only, sizeof only, "%s:1", tag);
    qdisp_table *even = plan_of(NULL, NULL), *second = plan_of(only, NULL);
    qdisp_model *all = NULL, *again = NULL, *one = NULL, *original = NULL, *cut = NULL, *none = NULL;
    CHECK_STATUS(apply(even, model, (qdisp_plan_options){.corpus = corpus}, &all), QDISP_OK);
    CHECK_STATUS(apply(even, model, (qdisp_plan_options){.corpus = corpus}, &again), QDISP_OK);
    CHECK_STATUS(apply(second, model, (qdisp_plan_options){.corpus = corpus}, &one), QDISP_OK);
    CHECK_STATUS(apply(even, model, (qdisp_plan_options){.corpus = corpus, .original_inputs = 1}, &original), QDISP_OK);
    CHECK_STATUS(apply(even, model, (qdisp_plan_options){.corpus = corpus, .max_tokens = 100}, &cut), QDISP_OK);
    CHECK(same_weights(all, again));
    CHECK(!same_weights(all, one) && !same_weights(all, original) && !same_weights(all, cut));
    CHECK_STATUS(apply(even, model, (qdisp_plan_options){0}, &none), QDISP_EINVAL);
    CHECK(strstr(qdisp_ctx_error(ctx), "gptq") && strstr(qdisp_ctx_error(ctx), "text"));
    qdisp_corpus *first = tiny_corpus(ctx, 1, 40, 1);
    CHECK_STATUS(apply(second, model, (qdisp_plan_options){.corpus = first}, &none), QDISP_EMISMATCH);
    CHECK(strstr(qdisp_ctx_error(ctx), only));
    CHECK(none == NULL);
    qdisp_model *const models[] = {all, again, one, original, cut};
    for (size_t i = 0; i < 5; i++) qdisp_model_free(models[i]);
    qdisp_table_free(even);
    qdisp_table_free(second);
    qdisp_corpus_free(first);
    qdisp_corpus_free(corpus);
}

TEST(activations_that_are_not_finite_are_named) {
    tiny *bad = tiny_make(1, 32, 2, 1);
    qdisp_corpus *corpus = tiny_corpus(ctx, 2, 8, 1);
    tiny_data(bad, "h.1.input_layernorm.weight")[3] = INFINITY;
    qdisp_model *broken = tiny_model(ctx, bad), *out = NULL;
    qdisp_table *plan = plan_of(NULL, NULL);
    CHECK_STATUS(apply(plan, broken, (qdisp_plan_options){.corpus = corpus}, &out), QDISP_ENUMERIC);
    CHECK(strstr(qdisp_ctx_error(ctx), "h.1.self_attention.query_key_value.weight"));
    CHECK(strstr(qdisp_ctx_error(ctx), qdisp_corpus_language(corpus, 0)));
    CHECK(out == NULL);
    qdisp_model_free(broken);
    qdisp_table_free(plan);
    qdisp_corpus_free(corpus);
    tiny_free(bad);
}

TEST(weights_by_measured_losses_keep_the_best_step) {
    qdisp_corpus *corpus = tiny_corpus(ctx, 3, 40, 1);
    qdisp_quantizer_options o = {.size = sizeof o, .bits = 2, .group_size = 16};
    qdisp_quantizer *q = NULL;
    qdisp_table *plan = NULL, *steps = NULL;
    qdisp_plan_options with = {.size = sizeof with, .corpus = corpus, .tokenizer = tokenizer};
    qdisp_fair_options fair = {.size = sizeof fair, .n_steps = 2, .objective = "cvar"};
    CHECK_STATUS(qdisp_quantizer_new(ctx, "gptq", &o, &q), QDISP_OK);
    CHECK_STATUS(qdisp_quantizer_fair(q, model, NULL, &with, &fair, &plan, &steps), QDISP_OK);
    if (!plan || !steps) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
    const double *value = qdisp_table_f64(steps, qdisp_table_find(steps, "objective_bpb"));
    const double *weight = qdisp_table_f64(steps, qdisp_table_find(steps, "weight"));
    CHECK(qdisp_table_n_rows(steps) == 9);
    size_t best = 0;
    for (size_t s = 0; s < 3; s++) {
        CHECK_NEAR(weight[3 * s] + weight[3 * s + 1] + weight[3 * s + 2], 1, 1e-9);
        if (value[3 * s] < value[3 * best]) best = s;
    }
    CHECK_NEAR(weight[0], weight[1], 1e-12);
    const char *text = qdisp_table_str(plan, qdisp_table_find(plan, "weights"))[0];
    CHECK(text && fabs(atof(strchr(text, ':') + 1) - weight[3 * best]) < 1e-6);
    qdisp_table_free(plan);
    qdisp_table_free(steps);
    plan = NULL;
    CHECK_STATUS(qdisp_quantizer_fair(q, model, NULL, NULL, NULL, &plan, NULL), QDISP_EINVAL);
    fair.objective = "best";
    CHECK_STATUS(qdisp_quantizer_fair(q, model, NULL, &with, &fair, &plan, NULL), QDISP_EINVAL);
    CHECK(plan == NULL && strstr(qdisp_ctx_error(ctx), "best"));
    qdisp_quantizer_free(q);
    qdisp_corpus_free(corpus);
}

int main(void) {
    qdisp_ctx_options o = {.size = sizeof o, .n_threads = 1, .own_blas = 1};
    if (qdisp_ctx_new(&o, &ctx) != QDISP_OK) return 1;
    parts = tiny_make(1, 32, 2, 1);
    model = tiny_model(ctx, parts);
    tokenizer = tiny_tokenizer(ctx);
    make_moments();
    RUN(the_steps_of_the_paper_give_the_same_codes);
    RUN(all_bits_levels_and_groups);
    RUN(kept_weights_are_exact_and_make_no_error);
    RUN(threads_do_not_matter);
    RUN(singular_moments_get_more_damping_or_a_message);
    RUN(moments_are_the_sums_of_every_row_by_language);
    RUN(a_plan_is_applied_with_text);
    RUN(activations_that_are_not_finite_are_named);
    RUN(weights_by_measured_losses_keep_the_best_step);
    qdisp_tokenizer_free(tokenizer);
    qdisp_model_free(model);
    qdisp_ctx_free(ctx);
    tiny_free(parts);
    return TEST_END();
}
