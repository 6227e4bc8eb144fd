/* Taps and gradients: what a tap sees and changes, and that gradients are those of finite differences. That the values
 * are transformers' is shown by test_archs. */
#include "harness.h"

#include <math.h>
#include <stdlib.h>

#include "model/model.h"

#define N 21
static const int32_t ids[2 * N] = {3, 14, 15, 9, 26, 5, 35, 8, 9, 7, 9, 32, 38, 46, 26, 43, 38, 32, 7, 9, 50,
                                   2, 7,  18, 28, 18, 2, 8,  4, 5, 9, 0, 45, 23, 53, 60, 28, 7,  47, 13, 52, 6};
static const size_t starts[3] = {0, N, 2 * N};

typedef struct opened {
    qdisp_ctx *ctx;
    qdisp_model *model;
} opened;

static opened open_arch(const char *name, unsigned n_threads) {
    opened o = {0};
    char path[512];
    qdisp_ctx_options options = {.size = sizeof options, .n_threads = n_threads, .own_blas = 1};
    snprintf(path, sizeof path, "%s/test/golden/arch/%s", QDISP_ROOT, name);
    CHECK_STATUS(qdisp_ctx_new(&options, &o.ctx), QDISP_OK);
    CHECK_STATUS(qdisp_model_open(o.ctx, path, &o.model), QDISP_OK);
    return o;
}

static void close_arch(opened *o) {
    qdisp_model_free(o->model);
    qdisp_ctx_free(o->ctx);
}

static qdisp_batch batch_of(size_t n_seq) {
    return (qdisp_batch){.size = sizeof(qdisp_batch), .ids = ids, .starts = starts, .n_seq = n_seq};
}

static qdisp_status run(const opened *o, qdisp_tap tap, void *user, uint64_t sites, float *nll) {
    qdisp_batch batch = batch_of(2);
    qdisp_run_options options = {.size = sizeof options, .nll = nll, .tap = tap, .user = user, .sites = sites};
    return qdisp_model_run(o->model, &batch, &options);
}

static double total(const float *nll) {
    double sum = 0;
    for (size_t i = 0; i < 2 * N; i++) sum += isnan(nll[i]) ? 0 : (double)nll[i];
    return sum;
}

/* --- reading --- */

typedef struct seen {
    const qdisp_model *model;
    size_t n[16];
    double row_sum_error, sum_of_parts_error;
    float attn[2 * N][64], mlp[2 * N][64], before[2 * N][64];
} seen;

static void note_parts(seen *s, const qdisp_activation *a) {
    size_t d = a->n_cols;
    for (size_t r = 0; r < a->n_rows; r++) {
        const float *row = a->data + r * a->stride;
        size_t at = a->i_row + r;
        for (size_t j = 0; j < d; j++) {
            if (a->site == QDISP_SITE_ATTN) s->attn[at][j] = row[j];
            if (a->site == QDISP_SITE_MLP) s->mlp[at][j] = row[j];
            if (a->site != QDISP_SITE_RESIDUAL) continue;
            double whole = (double)s->before[at][j] + (double)s->attn[at][j] + (double)s->mlp[at][j];
            if (a->layer >= 0) s->sum_of_parts_error = fmax(s->sum_of_parts_error, fabs((double)row[j] - whole));
            s->before[at][j] = row[j];
        }
    }
}

static int look(void *user, qdisp_activation *a) {
    seen *s = user;
    s->n[a->site]++;
    if (a->site == QDISP_SITE_PROBS) {
        for (size_t r = 0; r < a->n_rows; r++) {
            double sum = 0;
            for (size_t j = 0; j < a->n_cols; j++) sum += (double)a->data[r * a->stride + j];
            s->row_sum_error = fmax(s->row_sum_error, fabs(sum - 1));
        }
    } else if (a->site == QDISP_SITE_ATTN || a->site == QDISP_SITE_MLP || a->site == QDISP_SITE_RESIDUAL) {
        note_parts(s, a);
    }
    return 0;
}

TEST(what_taps_see_adds_up) {
    static const char *const names[] = {"llama", "gpt2", "gpt_neox", "gemma2"};
    for (size_t i = 0; i < 4; i++) {
        opened o = open_arch(names[i], 1);
        if (!o.model) continue;
        const qdisp_model_info *info = qdisp_model_describe(o.model);
        seen *s = calloc(1, sizeof *s);
        float nll[2 * N];
        CHECK_STATUS(run(&o, look, s, ~(uint64_t)0, nll), QDISP_OK);
        /* both sequences are in one chunk */
        CHECK(s->n[QDISP_SITE_RESIDUAL] == info->n_layer + 1 && s->n[QDISP_SITE_ATTN] == info->n_layer);
        CHECK(s->n[QDISP_SITE_MLP] == info->n_layer && s->n[QDISP_SITE_HEADS] == info->n_layer);
        CHECK(s->n[QDISP_SITE_PROBS] == 2 * info->n_layer * info->n_head);
        CHECK(s->n[QDISP_SITE_LINEAR_IN] == qdisp_model_n_linears(o.model));
        CHECK(s->n[QDISP_SITE_LINEAR_OUT] == qdisp_model_n_linears(o.model) - 1);
        CHECK(s->row_sum_error < 1e-5);
        CHECK(s->sum_of_parts_error < 1e-4); /* f32 sums of numbers near 1 */
        free(s);
        close_arch(&o);
    }
}

/* --- changing --- */

static int zero_mlp(void *user, qdisp_activation *a) {
    const int *layer = user;
    for (size_t r = 0; r < a->n_rows && a->layer == *layer; r++) {
        for (size_t j = 0; j < a->n_cols; j++) a->data[r * a->stride + j] = 0;
    }
    return 0;
}

/* A network whose mlp.down is zero adds nothing: the same as a tap that replaces its output by zeros. */
TEST(replacing_a_module_is_as_if_it_had_said_so) {
    opened o = open_arch("llama", 2);
    if (!o.model) return;
    size_t i = qd_model_index(o.model, 1, 0, QD_SLOT_MLP_DOWN), n = (size_t)qd_tensor_n_elements(&o.model->tensors[i]);
    float *zeros = qd_alloc_aligned(o.ctx, n, sizeof *zeros), plain[2 * N], tapped[2 * N], changed[2 * N];
    qdisp_model *without = NULL;
    int layer = 1;
    CHECK_STATUS(qd_model_with_tensors(o.model, &i, &zeros, 1, &without), QDISP_OK);
    opened other = {o.ctx, without};
    CHECK_STATUS(run(&o, NULL, NULL, 0, plain), QDISP_OK);
    CHECK_STATUS(run(&o, zero_mlp, &layer, QDISP_SITE_BIT(QDISP_SITE_MLP), tapped), QDISP_OK);
    CHECK_STATUS(run(&other, NULL, NULL, 0, changed), QDISP_OK);
    CHECK(fabs(total(plain) - total(tapped)) > 1e-3);
    CHECK_NEAR(total(tapped), total(changed), 1e-5);
    qdisp_model_free(without);
    close_arch(&o);
}

static int stop_at_two(void *user, qdisp_activation *a) {
    int *n = user;
    return a->site == QDISP_SITE_RESIDUAL && ++*n == 2;
}

TEST(a_tap_stops_the_run) {
    opened o = open_arch("llama", 1);
    float nll[2 * N];
    int n = 0;
    CHECK_STATUS(run(&o, stop_at_two, &n, QDISP_SITE_BIT(QDISP_SITE_RESIDUAL), nll), QDISP_ECANCELLED);
    CHECK_HAS(qdisp_ctx_error(o.ctx), "stopped by a tap");
    CHECK(n == 2);
    close_arch(&o);
}

/* --- gradients --- */

typedef struct gradient {
    size_t i_linear;
    float *values;
    size_t n, n_calls, last;
    double tapped;
} gradient;

static int keep(void *user, size_t i_linear, const float *grad, size_t n_out, size_t n_in) {
    gradient *g = user;
    CHECK(g->n_calls == 0 || i_linear < g->last);
    g->last = i_linear;
    g->n_calls++;
    if (i_linear != g->i_linear) return 0;
    g->n = n_out * n_in;
    g->values = malloc(g->n * sizeof *g->values);
    memcpy(g->values, grad, g->n * sizeof *grad);
    return 0;
}

static int count_grads(void *user, qdisp_activation *a) {
    gradient *g = user;
    CHECK(a->site == QDISP_SITE_LINEAR_GRAD);
    if (a->i_linear == g->i_linear) g->tapped += (double)a->n_rows;
    return 0;
}

static void grads(const opened *o, gradient *g, float *nll) {
    qdisp_batch batch = batch_of(2);
    qdisp_grad_options options = {.size = sizeof options, .weight = keep, .tap = count_grads, .user = g, .nll = nll,
                                  .sites = QDISP_SITE_BIT(QDISP_SITE_LINEAR_GRAD)};
    CHECK_STATUS(qdisp_model_grads(o->model, &batch, &options), QDISP_OK);
}

/* L changes along a random direction of W as the gradient says. */
static void check_direction(const opened *o, size_t i_linear) {
    gradient g = {.i_linear = i_linear};
    float nll[2 * N], moved[2 * N];
    size_t i = qdisp_model_linear(o->model, i_linear);
    grads(o, &g, nll);
    CHECK(g.n_calls == qdisp_model_n_linears(o->model) && g.values);
    CHECK(g.tapped == 2 * N); /* the vocabulary is one piece */
    double slope = 0, losses[2];
    for (int side = 0; side < 2 && g.values; side++) {
        float *w = qd_alloc_aligned(o->ctx, g.n, sizeof *w);
        qdisp_model *other = NULL;
        CHECK_STATUS(qdisp_model_read(o->model, i, 0, g.n, w), QDISP_OK);
        uint32_t state = 12345;
        slope = 0;
        for (size_t k = 0; k < g.n; k++) {
            state = state * 1664525u + 1013904223u;
            float step = state & 0x80000000u ? 4e-4f : -4e-4f;
            w[k] += side ? step : -step;
            slope += (double)g.values[k] * (double)step * 2;
        }
        CHECK_STATUS(qd_model_with_tensors(o->model, &i, &w, 1, &other), QDISP_OK);
        opened two = {o->ctx, other};
        CHECK_STATUS(run(&two, NULL, NULL, 0, moved), QDISP_OK);
        losses[side] = total(moved);
        qdisp_model_free(other);
    }
    /* central differences of f32 losses near 170: rounding gives some 1e-4, the third order of the step less */
    CHECK(fabs(losses[1] - losses[0] - slope) < 2e-3 * fabs(slope) + 5e-4);
    free(g.values);
}

TEST(gradients_are_slopes) {
    opened o = open_arch("llama", 2);
    if (!o.model) return;
    size_t n = qdisp_model_n_linears(o.model);
    for (size_t i = 0; i < n; i++) check_direction(&o, i);
    CHECK(n == 15);
    close_arch(&o);
}

TEST(gradients_do_not_depend_on_threads) {
    static const unsigned n_threads[] = {1, 2, 3, 8};
    gradient g[4] = {{.i_linear = 3}, {.i_linear = 3}, {.i_linear = 3}, {.i_linear = 3}};
    enum { MANY = 900 }; /* tokens: several chunks */
    static int32_t many[MANY];
    static size_t cuts[MANY / 30 + 1];
    for (size_t i = 0; i < MANY; i++) many[i] = ids[i * 7 % (2 * N)];
    for (size_t s = 0; s <= MANY / 30; s++) cuts[s] = 30 * s;
    for (size_t k = 0; k < 4; k++) {
        opened o = open_arch("llama", n_threads[k]);
        if (!o.model) return;
        qdisp_batch batch = {.size = sizeof batch, .ids = many, .starts = cuts, .n_seq = MANY / 30};
        qdisp_grad_options options = {.size = sizeof options, .weight = keep, .user = &g[k]};
        CHECK(qd_model_chunks(cuts, NULL, MANY / 30, NULL) >= 4);
        CHECK_STATUS(qdisp_model_grads(o.model, &batch, &options), QDISP_OK);
        CHECK(g[k].n == g[0].n && !memcmp(g[k].values, g[0].values, g[0].n * sizeof(float)));
        close_arch(&o);
    }
    for (size_t k = 0; k < 4; k++) free(g[k].values);
}

TEST(what_cannot_be_differentiated_says_so) {
    opened o = open_arch("bert", 1);
    qdisp_batch batch = batch_of(2);
    qdisp_grad_options options = {.size = sizeof options};
    if (!o.model) return;
    CHECK_STATUS(qdisp_model_grads(o.model, &batch, &options), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(o.ctx), "need targets");
    close_arch(&o);
}

TEST(bad_batches_are_refused) {
    opened o = open_arch("llama", 1);
    float nll[2 * N];
    int32_t targets[2 * N] = {0};
    qdisp_run_options options = {.size = sizeof options, .nll = nll};
    qdisp_batch batch = batch_of(2);
    batch.source_ids = ids;
    batch.source_starts = starts;
    CHECK_STATUS(qdisp_model_run(o.model, &batch, &options), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(o.ctx), "no encoder");
    batch = batch_of(2);
    batch.mask_id_plus_1 = 5;
    CHECK_STATUS(qdisp_model_run(o.model, &batch, &options), QDISP_EINVAL);
    batch = batch_of(2);
    targets[3] = 61;
    batch.targets = targets;
    CHECK_STATUS(qdisp_model_run(o.model, &batch, &options), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(o.ctx), "target 61 at position 3");
    struct {
        qdisp_batch known;
        uint64_t tail;
    } later = {batch_of(2), 1}; /* of a later version, with a member set that this one does not know */
    later.known.size = sizeof later;
    CHECK_STATUS(qdisp_model_run(o.model, &later.known, &options), QDISP_EINVAL);
    batch = batch_of(0);
    CHECK_STATUS(qdisp_model_run(o.model, &batch, &options), QDISP_OK);
    close_arch(&o);
}

int main(void) {
    RUN(what_taps_see_adds_up);
    RUN(replacing_a_module_is_as_if_it_had_said_so);
    RUN(a_tap_stops_the_run);
    RUN(gradients_are_slopes);
    RUN(gradients_do_not_depend_on_threads);
    RUN(what_cannot_be_differentiated_says_so);
    RUN(bad_batches_are_refused);
    return TEST_END();
}
