/* Every architecture against transformers: the folders of test/golden/arch, which make_archs.py describes. */
#include <dirent.h>

#include "harness.h"
#include "model/model.h"

#ifndef QDISP_ROOT
#define QDISP_ROOT "."
#endif
#define FOLDER QDISP_ROOT "/test/golden/arch"
#define MAX_FOLDERS 128
/* Both compute in f32 with sums in another order: errors of some 1e-6 of the largest value. What is promised: */
#define TOLERANCE 1e-4
#define GRAD_TOLERANCE 1e-3

static char folders[MAX_FOLDERS][64];
static size_t n_folders;

/* --- golden values --- */

typedef struct golden {
    const char *name;
    qdisp_ctx *ctx;
    qdisp_model *model;
    const qdisp_model_info *info;
    qd_tensor_file *file;
    qdisp_batch batch;
    size_t n_rows, n_seq;   /* of batch.ids */
    size_t starts[16], source_starts[16];
} golden;

static const qdisp_tensor *find(const golden *g, const char *name) {
    return qd_tensor_file_find(g->file, name);
}

static const void *data(const golden *g, const char *name) {
    const qdisp_tensor *t = find(g, name);
    CHECK(t != NULL);
    return t ? t->data : NULL; /* the writer aligns them */
}

static size_t read_starts(const golden *g, const char *name, size_t *starts) {
    const qdisp_tensor *t = find(g, name);
    CHECK(t && t->n_dims == 1 && t->shape[0] <= 16);
    if (!t) return 0;
    for (size_t i = 0; i < t->shape[0]; i++) starts[i] = (size_t)((const int32_t *)t->data)[i];
    return (size_t)t->shape[0] - 1;
}

static void close_golden(golden *g) {
    qdisp_model_free(g->model);
    qd_tensor_file_free(g->file);
    qdisp_ctx_free(g->ctx);
}

static int open_golden(golden *g, const char *name, unsigned n_threads) {
    char path[512];
    qdisp_ctx_options options = {.size = sizeof options, .n_threads = n_threads, .own_blas = 1};
    *g = (golden){.name = name};
    CHECK_STATUS(qdisp_ctx_new(&options, &g->ctx), QDISP_OK);
    snprintf(path, sizeof path, FOLDER "/%s/golden.safetensors", name);
    CHECK_STATUS(qd_safetensors_open(g->ctx, path, &g->file), QDISP_OK);
    snprintf(path, sizeof path, FOLDER "/%s", name);
    CHECK_STATUS(qdisp_model_open(g->ctx, path, &g->model), QDISP_OK);
    if (!g->file || !g->model) {
        printf("%s: %s\n", name, qdisp_ctx_error(g->ctx));
        close_golden(g);
        return 0;
    }
    g->info = qdisp_model_describe(g->model);
    bool has_source = g->info->kind == QDISP_MODEL_ENCODER_DECODER;
    g->n_seq = read_starts(g, has_source ? "target_starts" : "starts", g->starts);
    g->batch = (qdisp_batch){.size = sizeof g->batch, .starts = g->starts, .n_seq = g->n_seq};
    g->batch.ids = data(g, has_source ? "target_ids" : "ids");
    if (has_source) {
        read_starts(g, "starts", g->source_starts);
        g->batch.source_starts = g->source_starts;
        g->batch.source_ids = data(g, "ids");
    }
    g->n_rows = g->starts[g->n_seq];
    return 1;
}

/* Sign of index j in vector k: see make_archs.py. */
static double sign(uint64_t k, uint64_t j) {
    uint64_t z = (k << 32) + j + 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) >> 63 ? -1 : 1;
}

static void on_signs(const float *x, size_t n, double *out) {
    out[0] = out[1] = 0;
    for (size_t j = 0; j < n; j++) {
        out[0] += sign(0, j) * (double)x[j];
        out[1] += sign(1, j) * (double)x[j];
    }
}

/* The largest error of n values, relative to the largest of them; NaN must meet NaN. */
static double difference(const float *got, const float *wanted, size_t n) {
    double largest = 0, error = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(wanted[i]) || isnan(got[i])) {
            if (!isnan(wanted[i]) || !isnan(got[i])) return INFINITY;
            continue;
        }
        largest = fmax(largest, fabs((double)wanted[i]));
        error = fmax(error, fabs((double)got[i] - (double)wanted[i]));
    }
    return error == 0 ? 0 : error / largest;
}

static void check_error(const golden *g, const char *what, double error, double tolerance) {
    CHECK(error <= tolerance);
    if (!(error <= tolerance)) printf("%s: %s differs by %.1e\n", g->name, what, error);
}

/* --- the forward pass --- */

/* What the taps gather, laid out as the golden tensors are. */
typedef struct stack {
    const char *prefix;
    size_t first_layer, n_layer;
    size_t n_rows; /* of the stack's own tokens */
    float *hidden_signs, *attention_signs, *hidden, *attention;
} stack;

typedef struct gathered {
    const golden *g;
    stack stacks[3]; /* the encoder (or the only one); the decoder; its cross attention */
    float *final_signs;
} gathered;

static void tap_residual(const gathered *o, const qdisp_activation *a, bool decoder) {
    const stack *s = &o->stacks[decoder];
    size_t i = (size_t)(a->layer + 1) - (a->layer < 0 ? 0 : s->first_layer), n_whole = a->starts[2];
    for (size_t r = 0; r < a->n_rows; r++) {
        const float *x = a->data + r * a->stride;
        size_t row = a->i_row + r;
        double sums[2];
        on_signs(x, a->n_cols, sums);
        for (size_t k = 0; k < 2; k++) s->hidden_signs[(i * s->n_rows + row) * 2 + k] = (float)sums[k];
        if (row < n_whole) memcpy(s->hidden + (i * n_whole + row) * a->n_cols, x, a->n_cols * sizeof *x);
    }
}

static void tap_probs(const gathered *o, const qdisp_activation *a, const stack *s) {
    const golden *g = o->g;
    bool cross = a->site == QDISP_SITE_CROSS_PROBS;
    const size_t *key_starts = cross ? g->source_starts : a->starts;
    size_t n_head = g->info->n_head, i = ((size_t)a->layer - s->first_layer) * n_head + a->i_head;
    size_t n_q = a->starts[a->i_seq + 1] - a->starts[a->i_seq];
    size_t n_k = key_starts[a->i_seq + 1] - key_starts[a->i_seq], at = a->i_key - key_starts[a->i_seq];
    float row[64] = {0};
    CHECK(n_k <= 64 && at + a->n_cols <= n_k);
    for (size_t r = 0; r < a->n_rows; r++) {
        size_t query = a->i_row + r;
        double sums[2];
        memset(row, 0, sizeof row);
        memcpy(row + at, a->data + r * a->stride, a->n_cols * sizeof *row);
        on_signs(row, n_k, sums);
        for (size_t k = 0; k < 2; k++) s->attention_signs[(i * s->n_rows + query) * 2 + k] = (float)sums[k];
        if (a->i_seq == 1) memcpy(s->attention + (i * n_q + query - a->starts[1]) * n_k, row, n_k * sizeof *row);
    }
}

static int tap(void *user, qdisp_activation *a) {
    const gathered *o = user;
    bool decoder = o->g->batch.source_ids && a->starts != o->g->source_starts;
    if (a->site == QDISP_SITE_RESIDUAL) {
        tap_residual(o, a, decoder);
    } else if (a->site == QDISP_SITE_LINEAR_IN) {
        if (a->i_linear + 1 != qdisp_model_n_linears(o->g->model)) return 0;
        for (size_t r = 0; r < a->n_rows; r++) {
            double sums[2];
            on_signs(a->data + r * a->stride, a->n_cols, sums);
            for (size_t k = 0; k < 2; k++) o->final_signs[(a->i_row + r) * 2 + k] = (float)sums[k];
        }
    } else {
        tap_probs(o, a, &o->stacks[a->site == QDISP_SITE_CROSS_PROBS ? 2 : decoder]);
    }
    return 0;
}

static float *room(const golden *g, const char *prefix, const char *name) {
    char text[96];
    snprintf(text, sizeof text, "%s%s", prefix, name);
    const qdisp_tensor *t = find(g, text);
    CHECK(t != NULL);
    return t ? calloc((size_t)qd_tensor_n_elements(t), sizeof(float)) : NULL;
}

static stack make_stack(const golden *g, const char *prefix, size_t first, size_t n, size_t n_rows, bool has_hidden) {
    stack s = {.prefix = prefix, .first_layer = first, .n_layer = n, .n_rows = n_rows};
    s.attention_signs = room(g, prefix, "attention_signs");
    s.attention = room(g, prefix, "attention");
    if (!has_hidden) return s;
    s.hidden_signs = room(g, prefix, "hidden_signs");
    s.hidden = room(g, prefix, "hidden");
    return s;
}

/* Compares by pieces of the tensor's leading dimensions: rows (whole = false), or all but the first (true). */
static double compare(const golden *g, const char *prefix, const char *name, const float *got, bool by_layer) {
    char text[96];
    snprintf(text, sizeof text, "%s%s", prefix, name);
    const qdisp_tensor *t = find(g, text);
    if (!t || !got) return INFINITY;
    size_t n = (size_t)qd_tensor_n_elements(t);
    size_t piece = by_layer ? n / (size_t)t->shape[0] : (size_t)t->shape[t->n_dims - 1];
    double worst = 0;
    for (size_t i = 0; i < n; i += piece) worst = fmax(worst, difference(got + i, (const float *)t->data + i, piece));
    return worst;
}

static double check_stack(const golden *g, const stack *s) {
    double hidden = 0, attention = compare(g, s->prefix, "attention", s->attention, false);
    attention = fmax(attention, compare(g, s->prefix, "attention_signs", s->attention_signs, true));
    if (s->hidden) {
        hidden = compare(g, s->prefix, "hidden", s->hidden, false);
        hidden = fmax(hidden, compare(g, s->prefix, "hidden_signs", s->hidden_signs, true));
    }
    check_error(g, "attention", attention, TOLERANCE);
    check_error(g, "hidden states", hidden, TOLERANCE);
    return fmax(hidden, attention);
}

static void free_stack(stack *s) {
    free(s->hidden);
    free(s->hidden_signs);
    free(s->attention);
    free(s->attention_signs);
}

/* The final hidden state is what the head reads, but for T5's scale and the dense layer of masked models. */
static double check_final(const golden *g, float *final) {
    bool seq2seq = g->batch.source_ids != NULL;
    float scale = g->model->config.head_scale;
    for (size_t i = 0; scale > 0 && i < 2 * g->n_rows; i++) final[i] /= scale;
    double error = g->info->kind == QDISP_MODEL_MASKED
                       ? 0
                       : compare(g, seq2seq ? "decoder_" : "", "final_signs", final, true);
    check_error(g, "last hidden state", error, TOLERANCE);
    return error;
}

static double check_taps(const golden *g) {
    gathered o = {.g = g};
    size_t n_layer = g->info->n_layer, n_encoder = g->info->n_encoder_layer, n_stacks = 1;
    if (n_encoder) {
        o.stacks[0] = make_stack(g, "", 0, n_encoder, g->source_starts[g->n_seq], true);
        o.stacks[1] = make_stack(g, "decoder_", n_encoder, n_layer - n_encoder, g->n_rows, true);
        o.stacks[2] = make_stack(g, "cross_", n_encoder, n_layer - n_encoder, g->n_rows, false);
        n_stacks = 3;
    } else {
        o.stacks[0] = make_stack(g, "", 0, n_layer, g->n_rows, true);
    }
    o.final_signs = calloc(2 * g->n_rows, sizeof(float));
    qdisp_run_options options = {.size = sizeof options, .tap = tap, .user = &o};
    options.sites = QDISP_SITE_BIT(QDISP_SITE_RESIDUAL) | QDISP_SITE_BIT(QDISP_SITE_PROBS) |
                    QDISP_SITE_BIT(QDISP_SITE_CROSS_PROBS) | QDISP_SITE_BIT(QDISP_SITE_LINEAR_IN);
    CHECK_STATUS(qdisp_model_run(g->model, &g->batch, &options), QDISP_OK);
    double worst = check_final(g, o.final_signs);
    for (size_t i = 0; i < n_stacks; i++) {
        worst = fmax(worst, check_stack(g, &o.stacks[i]));
        free_stack(&o.stacks[i]);
    }
    free(o.final_signs);
    return worst;
}

static double check_losses(const golden *g) {
    qdisp_batch batch = g->batch;
    float *nll = calloc(g->n_rows, sizeof *nll);
    double error = 0;
    qdisp_run_options options = {.size = sizeof options, .nll = nll};
    if (g->info->kind == QDISP_MODEL_MASKED) batch.mask_id_plus_1 = *(const int32_t *)data(g, "mask_id") + 1;
    CHECK_STATUS(qdisp_model_run(g->model, &batch, &options), QDISP_OK);
    const float *wanted = data(g, "nll");
    for (size_t i = 0; wanted && i < g->n_rows; i++) error = fmax(error, difference(nll + i, wanted + i, 1));
    check_error(g, "nll", error, TOLERANCE);
    free(nll);
    return error;
}

static double check_logits(const golden *g) {
    float *logits = calloc(g->n_rows * g->info->n_vocab, sizeof *logits);
    qdisp_run_options options = {.size = sizeof options, .logits = logits};
    CHECK_STATUS(qdisp_model_run(g->model, &g->batch, &options), QDISP_OK);
    double error = compare(g, "", "logits", logits, false);
    check_error(g, "logits", error, TOLERANCE);
    free(logits);
    return error;
}

TEST(test_forward) {
    for (size_t i = 0; i < n_folders; i++) {
        for (unsigned n_threads = 1; n_threads <= 2; n_threads++) {
            golden g;
            if (!open_golden(&g, folders[i], n_threads)) continue;
            double logits = check_logits(&g), nll = check_losses(&g), taps = check_taps(&g);
            if (n_threads == 1) {
                printf("%-16s logits differ by at most %.0e, nll by %.0e, hidden states and attention by %.0e\n",
                       folders[i], logits, nll, taps);
            }
            close_golden(&g);
        }
    }
}

/* --- gradients --- */

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
    check_error(o->g, name, error, GRAD_TOLERANCE);
    o->worst = fmax(o->worst, error);
    o->n_seen++;
    free(left);
    free(right);
    return 0;
}

/* Chunks at once: sequences 1 and 2 are one chunk, so that no lock is needed. */
static int tap_grad(void *user, qdisp_activation *a) {
    grads *o = user;
    float *squares = o->squares[a->i_linear];
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
    if (o.n_seen != n) printf("%s: %zu of %zu linear maps: %s\n", g->name, o.n_seen, n, qdisp_ctx_error(g->ctx));
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

/* --- tensors --- */

/* Parts of a fused tensor: their names, and that they hold each row once. */
static void check_parts(const golden *g, size_t i_tensor, const qdisp_tensor *t, const char *role) {
    size_t n_parts = qd_model_n_parts(g->model, i_tensor), n_rows = (size_t)t->shape[0], n_held = 0;
    bool qkv = !strncmp(role, "attn.qkv", 8), gate_up = !strncmp(role, "mlp.gate_up", 11);
    static const char *const names[2][3] = {{"q", "k", "v"}, {"gate", "up", ""}};
    unsigned char *held = calloc(n_rows, 1);
    CHECK(n_parts == (qkv ? 3 : gate_up ? 2 : 1));
    for (size_t p = 0; p < n_parts; p++) {
        qd_part part = qd_model_part(g->model, i_tensor, p);
        CHECK_STR(part.name, n_parts == 1 ? "" : names[gate_up][p]);
        for (size_t run = 0; run < part.n_runs; run++) {
            for (size_t r = 0; r < part.run_rows; r++) {
                size_t row = part.first + run * part.stride + r;
                CHECK(row < n_rows && !held[row]);
                if (row < n_rows) held[row] = 1;
                n_held++;
            }
        }
    }
    CHECK(n_held == n_rows);
    free(held);
}

TEST(test_tensors) {
    for (size_t i = 0; i < n_folders; i++) {
        golden g;
        if (!open_golden(&g, folders[i], 1)) continue;
        size_t n = qdisp_model_n_tensors(g.model), n_tied = 0;
        for (size_t t = 0; t < n; t++) {
            qdisp_tensor tensor;
            const char *role = qdisp_model_role(g.model, t);
            CHECK_STATUS(qdisp_model_tensor(g.model, t, &tensor), QDISP_OK);
            CHECK(role && *role);
            if (role) check_parts(&g, t, &tensor, role);
            n_tied += role && !strcmp(role, "embed+head");
            for (size_t u = 0; u < t; u++) {
                qdisp_tensor other;
                CHECK_STATUS(qdisp_model_tensor(g.model, u, &other), QDISP_OK);
                CHECK(strcmp(tensor.name, other.name) != 0);
            }
        }
        size_t head = qdisp_model_linear(g.model, qdisp_model_n_linears(g.model) - 1);
        const char *role = qdisp_model_role(g.model, head);
        CHECK(n_tied == (find(&g, "grad.head") != NULL));
        CHECK_STR(role, n_tied ? "embed+head" : "head");
        close_golden(&g);
    }
}

static int by_name(const void *a, const void *b) {
    return strcmp(a, b);
}

int main(int argc, char **argv) {
    DIR *d = opendir(FOLDER);
    for (struct dirent *entry; d && (entry = readdir(d)) && n_folders < MAX_FOLDERS;) {
        if (entry->d_name[0] == '.' || (argc > 1 && strcmp(argv[1], entry->d_name))) continue;
        snprintf(folders[n_folders++], sizeof folders[0], "%.63s", entry->d_name);
    }
    if (d) closedir(d);
    qsort(folders, n_folders, sizeof folders[0], by_name);
    printf("%zu folders\n", n_folders);
    if (!n_folders) return 1;
    RUN(test_forward);
    RUN(test_gradients);
    RUN(test_tensors);
    return TEST_END();
}
