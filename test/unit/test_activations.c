/* Quantized activations: thresholds by language against a search over the inputs themselves, what they cost, and the
 * factors of SmoothQuant. */
#include "tiny.h"

#include "model/model.h"
#include "quant/quant.h"

#define UP "transformer.h.1.mlp.dense_h_to_4h.weight"

static qdisp_ctx *ctx;
static tiny *weights;
static qdisp_model *model;
static qdisp_tokenizer *tokenizer;
static qdisp_corpus *corpus;

static size_t linear_of(const char *name) {
    for (size_t i = 0; i < model->n_linears; i++)
        if (!strcmp(model->tensors[model->linears[i].i_weight].name, name)) return i;
    return 0;
}

static qdisp_table *thresholds_of(uint64_t bits, const qdisp_table *plan) {
    qdisp_activations_options o = {.size = sizeof o, .bits = bits, .plan = plan};
    qdisp_table *t = NULL;
    CHECK_STATUS(qdisp_activations_choose(model, tokenizer, corpus, &o, &t), QDISP_OK);
    if (!t) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
    return t;
}

static double cell(const qdisp_table *t, const char *language, const char *tensor, const char *column) {
    const char *const *languages = qdisp_table_str(t, qdisp_table_find(t, "language"));
    const char *const *tensors = qdisp_table_str(t, qdisp_table_find(t, "tensor"));
    for (size_t r = 0; r < qdisp_table_n_rows(t); r++)
        if (!strcmp(languages[r], language) && !strcmp(tensors[r], tensor))
            return qdisp_table_f64(t, qdisp_table_find(t, column))[r];
    return NAN;
}

/* The inputs of UP for the lines of one language, gathered as a host would. */
typedef struct gathered {
    size_t i_linear, n;
    float x[1 << 17];
} gathered;

static int gather(void *user, qdisp_activation *a) {
    gathered *g = user;
    if (a->i_linear != g->i_linear) return 0;
    for (size_t r = 0; r < a->n_rows && g->n + a->n_cols <= sizeof g->x / sizeof *g->x; r++, g->n += a->n_cols)
        memcpy(g->x + g->n, a->data + r * a->stride, a->n_cols * sizeof(float));
    return 0;
}

static void gather_language(size_t l, gathered *g) {
    int32_t ids[4096];
    g->i_linear = linear_of(UP);
    g->n = 0;
    for (size_t i = 0; i < qdisp_corpus_n_lines(corpus); i++) {
        size_t n_bytes;
        const char *line = qdisp_corpus_line(corpus, l, i, &n_bytes);
        ids[0] = 0; /* <s> */
        for (size_t k = 0; k < n_bytes; k++) ids[k + 1] = 2 + (unsigned char)line[k];
        size_t starts[] = {0, n_bytes + 1};
        float *nll = malloc((n_bytes + 1) * sizeof *nll);
        qdisp_batch batch = {.size = sizeof batch, .ids = ids, .starts = starts, .n_seq = 1};
        qdisp_run_options o = {.size = sizeof o, .nll = nll, .tap = gather, .user = g,
                               .sites = QDISP_SITE_BIT(QDISP_SITE_LINEAR_IN)};
        CHECK_STATUS(qdisp_model_run(model, &batch, &o), QDISP_OK);
        free(nll);
    }
}

static double exact_error(const gathered *g, double alpha, int bits) {
    double half = (1 << (bits - 1)) - 1, step = alpha / half, sum = 0;
    for (size_t i = 0; i < g->n; i++) {
        double q = rint((double)g->x[i] / step);
        q = q > half ? half : q < -half ? -half : q;
        sum += ((double)g->x[i] - q * step) * ((double)g->x[i] - q * step);
    }
    return sum;
}

TEST(thresholds_are_nearly_the_best_for_the_inputs_themselves) {
    gathered *g = malloc(sizeof *g);
    for (uint64_t bits = 3; bits <= 8; bits++) {
        qdisp_table *t = thresholds_of(bits, NULL);
        CHECK(qdisp_table_n_rows(t) == 4 * 8); /* three languages and all, of two blocks of four maps */
        for (size_t l = 0; l < 3; l++) {
            gather_language(l, g);
            double alpha = cell(t, qdisp_corpus_language(corpus, l), UP, "alpha"), best = INFINITY, energy = 0;
            double largest = cell(t, qdisp_corpus_language(corpus, l), UP, "largest"), most = 0;
            for (size_t i = 0; i < g->n; i++) {
                most = fmax(most, fabs((double)g->x[i]));
                energy += (double)g->x[i] * (double)g->x[i];
            }
            for (int k = 0; k < 200; k++) best = fmin(best, exact_error(g, most * exp2(-k / 40.0), (int)bits));
            CHECK(alpha <= largest && largest >= most * 0.98 && largest <= most * 1.07);
            CHECK(exact_error(g, alpha, (int)bits) < 1.15 * best);
            double told = cell(t, qdisp_corpus_language(corpus, l), UP, "error_rel");
            CHECK(told > 0.7 * best / energy && told < 1.5 * best / energy);
        }
        qdisp_table_free(t);
    }
    free(g);
}

static double *losses_of(const qdisp_model *m, const qdisp_table *thresholds, const qdisp_table *plan, uint64_t shared,
                         size_t *n) {
    qdisp_eval_activations a = {.size = sizeof a, .thresholds = thresholds, .plan = plan, .shared = shared};
    qdisp_table *t = NULL;
    CHECK_STATUS(thresholds ? qdisp_eval_losses_with(m, tokenizer, corpus, &a, &t)
                            : qdisp_eval_losses(m, tokenizer, corpus, &t), QDISP_OK);
    if (!t) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
    *n = qdisp_table_n_rows(t);
    double *out = malloc(*n * sizeof *out);
    memcpy(out, qdisp_table_f64(t, qdisp_table_find(t, "nll_nats")), *n * sizeof *out);
    qdisp_table_free(t);
    return out;
}

static double distance(const double *a, const double *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += fabs(a[i] - b[i]);
    return sum;
}

TEST(fewer_bits_of_activations_change_losses_more) {
    size_t n;
    double before = 0, *plain = losses_of(model, NULL, NULL, 0, &n);
    for (uint64_t bits = 8; bits >= 2; bits -= 2) {
        qdisp_table *t = thresholds_of(bits, NULL);
        double *own = losses_of(model, t, NULL, 0, &n), *shared = losses_of(model, t, NULL, 1, &n);
        double changed = distance(plain, own, n);
        CHECK(changed > 2 * before);
        CHECK(distance(shared, own, n) > 0 && distance(shared, plain, n) > before);
        before = changed;
        free(own);
        free(shared);
        qdisp_table_free(t);
    }
    free(plain);
}

/* Inputs divided by 2 and columns doubled: exact in f32, so that nothing but the thresholds changes. */
TEST(factors_of_a_plan_are_divided_out_and_multiplied_back) {
    qdisp_quantizer_options qo = {.size = sizeof qo, .bits = 8, .group_size = QDISP_GROUP_CHANNEL};
    qdisp_quantizer *q = NULL;
    qdisp_table *plan = NULL;
    CHECK_STATUS(qdisp_quantizer_new(ctx, "rtn", &qo, &q), QDISP_OK);
    CHECK_STATUS(qdisp_quantizer_plan(q, model, NULL, &plan), QDISP_OK);
    qdisp_table *without = thresholds_of(4, plan);
    for (size_t r = 0; r < qdisp_table_n_rows(plan); r++) /* 'o' is 40: 2^((40 - 32) / 8) */
        CHECK_STATUS(qdisp_table_set_str(plan, r, qdisp_table_find(plan, "inputs"), "o"), QDISP_OK);
    qdisp_table *with = thresholds_of(4, plan);
    const double *a = qdisp_table_f64(without, qdisp_table_find(without, "alpha"));
    const double *b = qdisp_table_f64(with, qdisp_table_find(with, "alpha"));
    CHECK(qdisp_table_n_rows(with) == qdisp_table_n_rows(without));
    for (size_t r = 0; r < qdisp_table_n_rows(with); r++) CHECK(b[r] == a[r] / 2);
    size_t n;
    double *x = losses_of(model, without, NULL, 0, &n), *y = losses_of(model, with, plan, 0, &n);
    CHECK(distance(x, y, n) == 0);
    free(x);
    free(y);
    qdisp_table_free(with);
    qdisp_table_free(without);
    qdisp_table_free(plan);
    qdisp_quantizer_free(q);
}

TEST(bad_thresholds_are_refused_by_name) {
    qdisp_table *t = thresholds_of(8, NULL), *losses = NULL;
    qdisp_eval_activations a = {.size = sizeof a, .thresholds = t};
    CHECK_STATUS(qdisp_table_set_f64(t, 1, qdisp_table_find(t, "alpha"), -1), QDISP_OK);
    CHECK_STATUS(qdisp_eval_losses_with(model, tokenizer, corpus, &a, &losses), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "activations row 2");
    CHECK_STATUS(qdisp_table_set_f64(t, 1, qdisp_table_find(t, "alpha"), 1), QDISP_OK);
    CHECK_STATUS(qdisp_table_set_str(t, 0, qdisp_table_find(t, "tensor"), "nobody"), QDISP_OK);
    CHECK_STATUS(qdisp_eval_losses_with(model, tokenizer, corpus, &a, &losses), QDISP_EMISMATCH);
    CHECK_HAS(qdisp_ctx_error(ctx), "nobody");
    for (size_t r = 0; r < qdisp_table_n_rows(t); r++)
        CHECK_STATUS(qdisp_table_set_str(t, r, qdisp_table_find(t, "language"), "xx"), QDISP_OK);
    CHECK_STATUS(qdisp_eval_losses_with(model, tokenizer, corpus, &a, &losses), QDISP_EMISMATCH);
    CHECK_HAS(qdisp_ctx_error(ctx), "language 'en'");
    a.thresholds = NULL;
    CHECK_STATUS(qdisp_eval_losses_with(model, tokenizer, corpus, &a, &losses), QDISP_EINVAL);
    qdisp_activations_options o = {.size = sizeof o, .bits = 9};
    CHECK_STATUS(qdisp_activations_choose(model, tokenizer, corpus, &o, &losses), QDISP_EINVAL);
    CHECK(losses == NULL);
    qdisp_table_free(t);
}

TEST(threads_do_not_matter) {
    qdisp_ctx *other = tiny_ctx(5, NULL);
    qdisp_model *m = tiny_model(other, weights), *old = model;
    qdisp_table *a = thresholds_of(6, NULL), *b;
    model = m;
    b = thresholds_of(6, NULL);
    model = old;
    const double *x = qdisp_table_f64(a, 3), *y = qdisp_table_f64(b, 3);
    for (size_t r = 0; r < qdisp_table_n_rows(a); r++) CHECK(x[r] == y[r]);
    qdisp_table_free(a);
    qdisp_table_free(b);
    qdisp_model_free(m);
    qdisp_ctx_free(other);
}

/* --- SmoothQuant --- */

static qdisp_status smooth(const qdisp_calib *calib, const char *options, qdisp_table **plan) {
    qdisp_quantizer_options o = {.size = sizeof o, .bits = 8, .group_size = QDISP_GROUP_CHANNEL, .roles = "mlp.up",
                                 .options = options};
    qdisp_quantizer *q = NULL;
    qdisp_status status = qdisp_quantizer_new(ctx, "smoothquant", &o, &q);
    if (status == QDISP_OK) status = qdisp_quantizer_plan(q, model, calib, plan);
    qdisp_quantizer_free(q);
    return status;
}

TEST(factors_are_those_of_the_formula) {
    qdisp_calib *calib = NULL;
    CHECK_STATUS(qdisp_calib_new(model, &calib), QDISP_OK);
    float rows[32 * 64];
    double e[16] = {0};
    for (size_t i = 0; i < model->n_linears; i++) {
        const qd_linear *l = &model->linears[i];
        if (l->n_in > 64) continue;
        for (uint32_t k = 0; k < 32 * l->n_in; k++)
            rows[k] = tiny_random(3, 1, k) * (k % l->n_in == 5 ? 20.0f : 1.0f + (float)(k % l->n_in));
        for (int guard = 0; guard < 2; guard++)
            CHECK_STATUS(qdisp_calib_feed(calib, "xx", guard, model->tensors[l->i_weight].name, rows, 32, l->n_in, 9),
                         QDISP_OK);
        for (size_t k = 0; i == linear_of(UP) && k < 32 * 16; k++) e[k % 16] += (double)rows[k] * (double)rows[k];
    }
    const float *w = model->tensors[model->linears[linear_of(UP)].i_weight].data;
    static const char *const options[] = {NULL, "migration=0.8", "migration=0", "migration=1"};
    static const double m[] = {0.5, 0.8, 0, 1};
    for (size_t k = 0; k < 4; k++) {
        qdisp_table *plan = NULL;
        CHECK_STATUS(smooth(calib, options[k], &plan), QDISP_OK);
        if (!plan) printf("%s\n", qdisp_ctx_error(ctx)), exit(1);
        double factor[16], low = INFINITY, high = -INFINITY;
        for (size_t j = 0; j < 16; j++) {
            double most = 0;
            for (size_t i = 0; i < 64; i++) most = fmax(most, fabs((double)w[i * 16 + j]));
            factor[j] = m[k] * log2(sqrt(e[j])) - (1 - m[k]) * log2(most);
            low = fmin(low, factor[j]);
            high = fmax(high, factor[j]);
        }
        char wanted[17] = "";
        for (size_t j = 0; j < 16; j++) wanted[j] = QD_CLIP_CODES[qd_input_code(factor[j] - (low + high) / 2)];
        size_t row = qdisp_table_n_rows(plan) - 1; /* the second block's */
        CHECK_STR(qdisp_table_str(plan, qdisp_table_find(plan, "tensor"))[row], UP);
        CHECK_STR(qdisp_table_str(plan, qdisp_table_find(plan, "inputs"))[row], wanted);
        qdisp_table_free(plan);
    }
    qdisp_table *plan = NULL;
    CHECK_STATUS(smooth(calib, "migration=2", &plan), QDISP_EINVAL);
    CHECK_STATUS(smooth(NULL, NULL, &plan), QDISP_EINVAL);
    CHECK(plan == NULL);
    qdisp_calib_free(calib);
}

int main(void) {
    ctx = tiny_ctx(2, NULL);
    weights = tiny_make(1, 16, 2, 1);
    model = tiny_model(ctx, weights);
    tokenizer = tiny_tokenizer(ctx);
    corpus = tiny_corpus(ctx, 3, 12, 0);
    RUN(thresholds_are_nearly_the_best_for_the_inputs_themselves);
    RUN(fewer_bits_of_activations_change_losses_more);
    RUN(factors_of_a_plan_are_divided_out_and_multiplied_back);
    RUN(bad_thresholds_are_refused_by_name);
    RUN(threads_do_not_matter);
    RUN(factors_are_those_of_the_formula);
    qdisp_corpus_free(corpus);
    qdisp_tokenizer_free(tokenizer);
    qdisp_model_free(model);
    qdisp_ctx_free(ctx);
    tiny_free(weights);
    return TEST_END();
}
