/* The backward pass of every architecture against torch's autograd. */
#include "archs.h"

/* What is promised; errors are of some 1e-6 of the largest value. */
#define TOLERANCE 1e-3

typedef struct grads {
    const golden *g;
    float **squares; /* [n_linears] of [n_out] */
    double worst;
    size_t n_seen;
} grads;

static const char *grad_name(const golden *g, size_t i_linear, char *text, size_t size) {
    qdisp_tensor t;
    CHECK_STATUS(qdisp_model_tensor(g->model, qdisp_model_linear(g->model, i_linear), &t), QDISP_OK);
    bool tied = !strcmp(qdisp_model_role(g->model, qdisp_model_linear(g->model, i_linear)), "embed+head");
    snprintf(text, size, "grad.%s", tied ? "head" : t.name);
    return text;
}

static int on_weight(void *user, size_t i_linear, const float *grad, size_t n_out, size_t n_in) {
    grads *o = user;
    char name[192];
    const qdisp_tensor *t = find(o->g, grad_name(o->g, i_linear, name, sizeof name));
    CHECK(t && t->shape[0] == n_in + 2 * n_out + 1);
    if (!t || t->shape[0] != n_in + 2 * n_out + 1) {
        printf("%s: %s\n", o->g->name, name);
        return 0;
    }
    const float *wanted = t->data;
    float *left = calloc(n_in, sizeof *left), *right = calloc(n_out, sizeof *right);
    double norm = 0;
    for (size_t r = 0; r < n_out; r++) {
        double sum = 0;
        for (size_t c = 0; c < n_in; c++) {
            double d = (double)grad[r * n_in + c];
            left[c] += (float)(sign(0, r) * d);
            sum += sign(1, c) * d;
            norm += d * d;
        }
        right[r] = (float)sum;
    }
    float root = (float)sqrt(norm);
    double error = fmax(difference(left, wanted, n_in), difference(right, wanted + n_in, n_out));
    error = fmax(error, difference(o->squares[i_linear], wanted + n_in + n_out, n_out));
    error = fmax(error, difference(&root, wanted + n_in + 2 * n_out, 1));
    check_error(o->g, name, error, TOLERANCE);
    o->worst = fmax(o->worst, error);
    o->n_seen++;
    free(left);
    free(right);
    return 0;
}

/* Chunks at once: sequences 1 and 2 are one chunk, so that no lock is needed. */
static int tap_grad(void *user, qdisp_activation *a) {
    grads *o = user;
    float *squares = o->squares[a->i_linear] + a->i_col;
    for (size_t r = 0; r < a->n_rows; r++) {
        for (size_t c = 0; c < a->n_cols; c++) {
            float d = a->data[r * a->stride + c];
            squares[c] += d * d;
        }
    }
    return 0;
}

/* Sequences 1 and 2, masked as make_archs.py says. */
static void grad_batch(const golden *g, qdisp_batch *batch, size_t *starts, size_t *source_starts, int32_t *ids,
                       int32_t *targets) {
    const size_t first = g->starts[1];
    bool masked = g->info->kind == QDISP_MODEL_MASKED;
    *batch = g->batch;
    batch->n_seq = 2;
    for (size_t s = 0; s < 3; s++) {
        starts[s] = g->starts[s + 1] - first;
        source_starts[s] = g->source_starts[s + 1] - g->source_starts[1];
    }
    memcpy(ids, g->batch.ids + first, starts[2] * sizeof *ids);
    for (size_t i = 0; masked && i < starts[2]; i++) {
        bool here = (i < starts[1] ? i : i - starts[1]) % 3 == 1;
        targets[i] = here ? ids[i] : -1;
        if (here) ids[i] = *(const int32_t *)data(g, "mask_id");
    }
    batch->ids = ids;
    batch->starts = starts;
    if (masked) batch->targets = targets;
    if (batch->source_ids) batch->source_ids += g->source_starts[1];
    if (batch->source_ids) batch->source_starts = source_starts;
}

static void check_grads(const golden *g, bool report) {
    size_t n = qdisp_model_n_linears(g->model), starts[3], source_starts[3];
    grads o = {.g = g, .squares = calloc(n, sizeof *o.squares)};
    int32_t *ids = calloc(g->n_rows, sizeof *ids), *targets = calloc(g->n_rows, sizeof *targets);
    qdisp_batch batch;
    for (size_t i = 0; i < n; i++) {
        qdisp_tensor t;
        CHECK_STATUS(qdisp_model_tensor(g->model, qdisp_model_linear(g->model, i), &t), QDISP_OK);
        o.squares[i] = calloc((size_t)t.shape[0], sizeof **o.squares);
    }
    grad_batch(g, &batch, starts, source_starts, ids, targets);
    qdisp_grad_options options = {.size = sizeof options, .weight = on_weight, .tap = tap_grad, .user = &o,
                                  .sites = QDISP_SITE_BIT(QDISP_SITE_LINEAR_GRAD)};
    CHECK_STATUS(qdisp_model_grads(g->model, &batch, &options), QDISP_OK);
    CHECK(o.n_seen == n);
    if (report) printf("%-16s gradients of %zu linear maps differ by at most %.0e\n", g->name, o.n_seen, o.worst);
    for (size_t i = 0; i < n; i++) free(o.squares[i]);
    free(o.squares);
    free(ids);
    free(targets);
}

TEST(test_gradients) {
    for (size_t i = 0; i < n_folders; i++) {
        for (unsigned n_threads = 1; n_threads <= 2; n_threads++) {
            golden g;
            if (!open_golden(&g, folders[i], n_threads)) continue;
            check_grads(&g, n_threads == 1);
            close_golden(&g);
        }
    }
}

int main(int argc, char **argv) {
    if (!list_folders(argc, argv)) return 1;
    RUN(test_gradients);
    return TEST_END();
}
