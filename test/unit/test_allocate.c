/* test_allocate.c - bits for every tensor: against exhaustive search, and on a tiny model. */
#include "tiny.h"

#include "eval/eval.h"
#include "quant/allocate.h"

static qdisp_ctx *ctx;

enum { MOST_T = 6, MOST_K = 4, MOST_L = 4 };

typedef struct problem {
    double damage[MOST_T * MOST_K * MOST_L], size[MOST_T * MOST_K];
    size_t chosen[MOST_T];
    qd_allocation a;
} problem;

/* Like bits: twice the size, a quarter of the damage, more or less; languages care about unlike tensors. */
static void make_problem(problem *p, uint32_t seed, qd_objective objective) {
    qd_allocation *a = &p->a;
    *a = (qd_allocation){.n_tensors = 2 + seed % 5, .n_candidates = 2 + seed % 3, .n_languages = 1 + seed % 4,
                         .damage = p->damage, .size = p->size, .objective = objective, .share = 0.5, .cap = 0.3,
                         .chosen = p->chosen};
    double least = 0, most = 0;
    for (size_t t = 0; t < a->n_tensors; t++) {
        double n = exp((double)tiny_random(seed, 1, (uint32_t)t));
        for (size_t k = 0; k < a->n_candidates; k++) {
            p->size[t * a->n_candidates + k] =
                n * (double)(k + 1) * (1 + 0.05 * (double)tiny_random(seed, 2, (uint32_t)k));
            for (size_t l = 0; l < a->n_languages; l++)
                p->damage[(t * a->n_candidates + k) * a->n_languages + l] =
                    exp(-1.2 * (double)k + (double)tiny_random(seed, 3, (uint32_t)(t * 8 + l)) +
                        0.3 * (double)tiny_random(seed, 4, (uint32_t)((t * 8 + k) * 8 + l)));
        }
        least += p->size[t * a->n_candidates];
        most += p->size[(t + 1) * a->n_candidates - 1];
    }
    a->most = least + (most - least) * (0.05 + 0.9 * fmod(0.37 * seed, 1));
}

static double exhaustive(const problem *p, double *size_of_best) {
    const qd_allocation *a = &p->a;
    size_t n = 1;
    double best = INFINITY, work[2 * MOST_L];
    for (size_t t = 0; t < a->n_tensors; t++) n *= a->n_candidates;
    for (size_t code = 0; code < n; code++) {
        double r[MOST_L] = {0}, size = 0;
        size_t rest = code;
        for (size_t t = 0; t < a->n_tensors; t++, rest /= a->n_candidates) {
            size_t at = t * a->n_candidates + rest % a->n_candidates;
            size += p->size[at];
            for (size_t l = 0; l < a->n_languages; l++) r[l] += p->damage[at * a->n_languages + l];
        }
        if (size > a->most) continue;
        double value = qd_allocation_objective(a, r, work);
        if (value < best) best = value, *size_of_best = size;
    }
    return best;
}

TEST(small_cases_are_solved_as_by_exhaustive_search) {
    int n_exact = 0, n_all = 0;
    for (int objective = QD_WORST; objective <= QD_DISPARITY; objective++)
        for (uint32_t seed = 1; seed <= 60; seed++, n_all++) {
            problem p;
            double size, used = 0, r[MOST_L] = {0}, work[2 * MOST_L];
            make_problem(&p, seed, (qd_objective)objective);
            CHECK_STATUS(qd_allocate(ctx, &p.a), QDISP_OK);
            double best = exhaustive(&p, &size);
            for (size_t t = 0; t < p.a.n_tensors; t++) {
                size_t at = t * p.a.n_candidates + p.chosen[t];
                used += p.size[at];
                for (size_t l = 0; l < p.a.n_languages; l++) r[l] += p.damage[at * p.a.n_languages + l];
            }
            CHECK(used <= p.a.most);
            CHECK_NEAR(qd_allocation_objective(&p.a, r, work), p.a.value, 1e-9);
            CHECK(p.a.bound <= best * (1 + 1e-9)); /* the bound is one */
            CHECK(p.a.value >= best * (1 - 1e-9) && p.a.value <= best * 1.25);
            n_exact += p.a.value <= best * (1 + 1e-9);
        }
    printf("exact in %d of %d cases\n", n_exact, n_all);
    CHECK(n_exact * 10 >= n_all * 9);
}

/* With many tensors the relaxation hardly differs from whole candidates. */
TEST(the_gap_closes_with_many_tensors) {
    enum { T = 150, K = 5, L = 6 };
    static double damage[T * K * L], size[T * K];
    static size_t chosen[T], again[T];
    for (size_t t = 0; t < T; t++)
        for (size_t k = 0; k < K; k++) {
            size[t * K + k] = (double)(2 + k) * exp(0.5 * (double)tiny_random(9, 1, (uint32_t)t));
            for (size_t l = 0; l < L; l++)
                damage[(t * K + k) * L + l] =
                    exp(-1.3 * (double)k + 0.8 * (double)tiny_random(9, 2, (uint32_t)(t * 8 + l)));
        }
    double total = 0;
    for (size_t t = 0; t < T; t++) total += size[t * K];
    for (int objective = QD_WORST; objective <= QD_DISPARITY; objective++) {
        qd_allocation a = {T, K, L, damage, size, 1.7 * total, (qd_objective)objective, 0.34, 0.5, chosen, 0, 0};
        CHECK_STATUS(qd_allocate(ctx, &a), QDISP_OK);
        printf("objective %d: %.5g, bound %.5g, gap %.3f %%\n", objective, a.value, a.bound,
               100 * (a.value / a.bound - 1));
        CHECK(a.bound <= a.value && a.value <= 1.02 * a.bound);
        qd_allocation b = a;
        b.chosen = again;
        CHECK_STATUS(qd_allocate(ctx, &b), QDISP_OK);
        CHECK(!memcmp(chosen, again, sizeof chosen));
    }
}

TEST(a_size_that_cannot_be_met_names_the_least) {
    problem p;
    make_problem(&p, 7, QD_WORST);
    p.a.most = 0.01;
    CHECK_STATUS(qd_allocate(ctx, &p.a), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "least possible");
}

/* --- on a model --- */

static tiny *weights;
static qdisp_model *model;
static qdisp_tokenizer *tokenizer;
static qdisp_corpus *corpus;
static qdisp_calib *calib, *plain; /* with gradients, without */

static qdisp_status allocate(const qdisp_calib *c, qdisp_allocation_options o, qdisp_table **plan,
                             qdisp_table **summary) {
    qdisp_quantizer_options options = {.size = sizeof options, .group_size = 16};
    qdisp_quantizer *q = NULL;
    o.size = sizeof o;
    CHECK_STATUS(qdisp_quantizer_new(ctx, "rtn", &options, &q), QDISP_OK);
    qdisp_status status = qdisp_quantizer_allocate(q, model, c, &o, plan, summary);
    qdisp_quantizer_free(q);
    return status;
}

static const double *f64(const qdisp_table *t, const char *name) {
    return qdisp_table_f64(t, qdisp_table_find(t, name));
}

TEST(one_width_is_the_plan_of_that_width) {
    qdisp_quantizer_options options = {.size = sizeof options, .bits = 3, .group_size = 16};
    qdisp_quantizer *q = NULL;
    qdisp_table *plan = NULL, *expected = NULL, *summary = NULL;
    qdisp_model *quantized = NULL;
    double damage[3], fisher[3];
    CHECK_STATUS(qdisp_quantizer_new(ctx, "rtn", &options, &q), QDISP_OK);
    CHECK_STATUS(qdisp_quantizer_plan(q, model, NULL, &expected), QDISP_OK);
    CHECK_STATUS(allocate(calib, (qdisp_allocation_options){.bits = "3", .bits_per_weight = 4}, &plan, &summary),
                 QDISP_OK);
    CHECK(qdisp_table_n_rows(plan) == qdisp_table_n_rows(expected));
    CHECK(!memcmp(f64(plan, "error_rel"), f64(expected, "error_rel"), 8 * qdisp_table_n_rows(plan)));
    CHECK_STATUS(qdisp_plan_apply(plan, model, NULL, &quantized), QDISP_OK);
    CHECK_STATUS(qd_predict_damage(model, quantized, calib, damage, fisher, NULL), QDISP_OK);
    for (size_t l = 0; l < 3; l++) CHECK_NEAR(f64(summary, "predicted_bpb")[l], fisher[l], 1e-6);
    CHECK(f64(summary, "bound")[0] <= f64(summary, "objective")[0]);
    CHECK_NEAR(f64(summary, "objective")[0], f64(summary, "bound")[0], 1e-3); /* the dual goes on by steps */
    qdisp_quantizer_free(q);
    qdisp_table_free(plan);
    qdisp_table_free(expected);
    qdisp_table_free(summary);
    qdisp_model_free(quantized);
}

TEST(sizes_are_kept_and_more_of_it_is_better) {
    double last = INFINITY;
    for (double bpw = 3.2; bpw < 9; bpw += 0.7) {
        qdisp_table *plan = NULL, *summary = NULL;
        CHECK_STATUS(allocate(calib, (qdisp_allocation_options){.bits_per_weight = bpw}, &plan, &summary), QDISP_OK);
        const int64_t *n = qdisp_table_i64(plan, qdisp_table_find(plan, "n_weights"));
        double bits = 0, n_all = 0;
        for (size_t i = 0; i < qdisp_table_n_rows(plan); i++)
            bits += f64(plan, "bits_per_weight")[i] * (double)n[i], n_all += (double)n[i];
        CHECK(bits / n_all <= bpw * (1 + 1e-12));
        CHECK_NEAR(f64(summary, "bits_per_weight")[0], bits / n_all, 1e-9);
        CHECK(f64(summary, "objective")[0] <= last * (1 + 1e-9));
        last = f64(summary, "objective")[0];
        qdisp_table_free(plan);
        qdisp_table_free(summary);
    }
    /* in bytes: what was used is enough, and a byte less than the least is not */
    qdisp_table *plan = NULL, *summary = NULL;
    CHECK_STATUS(allocate(plain, (qdisp_allocation_options){.bits = "2,8", .n_bytes = 1}, &plan, &summary),
                 QDISP_EINVAL);
    const char *at = strstr(qdisp_ctx_error(ctx), "least possible is ");
    CHECK(at != NULL && plan == NULL && summary == NULL);
    uint64_t least = at ? strtoull(at + strlen("least possible is "), NULL, 10) : 0;
    CHECK_STATUS(allocate(plain, (qdisp_allocation_options){.bits = "2,8", .n_bytes = least - 1}, &plan, NULL),
                 QDISP_EINVAL);
    CHECK_STATUS(allocate(plain, (qdisp_allocation_options){.bits = "2,8", .n_bytes = least}, &plan, &summary),
                 QDISP_OK);
    CHECK(qdisp_table_i64(summary, qdisp_table_find(summary, "n_bytes"))[0] == (int64_t)least);
    const int64_t *bits = qdisp_table_i64(plan, qdisp_table_find(plan, "bits"));
    for (size_t i = 0; i < qdisp_table_n_rows(plan); i++) CHECK(bits[i] == 2);
    qdisp_table_free(plan);
    qdisp_table_free(summary);
}

TEST(bad_options_are_refused) {
    static const struct {
        qdisp_allocation_options o;
        const char *part;
    } rows[] = {{{.bits_per_weight = 0}, "either"}, {{.bits_per_weight = 4, .n_bytes = 9}, "either"},
                {{.bits_per_weight = -1}, "bits_per_weight"}, {{.bits_per_weight = 4, .bits = "4,4"}, "each once"},
                {{.bits_per_weight = 4, .bits = "1"}, "2..8"}, {{.bits_per_weight = 4, .bits = ""}, "empty"},
                {{.bits_per_weight = 4, .objective = "best"}, "best"}, {{.bits_per_weight = 4, .share = 2}, "share"},
                {{.bits_per_weight = 4, .cap = -1}, "cap"}, {{.bits_per_weight = 2.5}, "least possible is 3"}};
    qdisp_table *plan = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CHECK_STATUS(allocate(calib, rows[i].o, &plan, NULL), QDISP_EINVAL);
        CHECK_HAS(qdisp_ctx_error(ctx), rows[i].part);
    }
    CHECK_STATUS(allocate(NULL, (qdisp_allocation_options){.bits_per_weight = 4}, &plan, NULL), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "calibrate");
    qdisp_allocation_options capped = {.bits_per_weight = 4, .objective = "disparity"};
    CHECK_STATUS(allocate(plain, capped, &plan, NULL), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "gradients");
    CHECK(plan == NULL);
}

int main(void) {
    ctx = tiny_ctx(2, NULL);
    weights = tiny_make(3, 16, 2, 1);
    model = tiny_model(ctx, weights);
    tokenizer = tiny_tokenizer(ctx);
    corpus = tiny_corpus(ctx, 3, 8, 1);
    CHECK_STATUS(qdisp_calib_new(model, &plain), QDISP_OK);
    CHECK_STATUS(qdisp_calib_collect(plain, model, tokenizer, corpus), QDISP_OK);
    CHECK_STATUS(qdisp_calib_new(model, &calib), QDISP_OK);
    CHECK_STATUS(qdisp_calib_merge(calib, plain), QDISP_OK);
    CHECK_STATUS(qdisp_calib_collect_gradients(calib, model, tokenizer, corpus), QDISP_OK);
    RUN(small_cases_are_solved_as_by_exhaustive_search);
    RUN(the_gap_closes_with_many_tensors);
    RUN(a_size_that_cannot_be_met_names_the_least);
    RUN(one_width_is_the_plan_of_that_width);
    RUN(sizes_are_kept_and_more_of_it_is_better);
    RUN(bad_options_are_refused);
    qdisp_calib_free(plain);
    qdisp_calib_free(calib);
    qdisp_corpus_free(corpus);
    qdisp_tokenizer_free(tokenizer);
    qdisp_model_free(model);
    tiny_free(weights);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
