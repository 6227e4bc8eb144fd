/* Every architecture against transformers: logits, losses, hidden states and attention; roles and parts of tensors. */
#include "archs.h"

/* Both compute in f32 with sums in another order: errors of some 1e-6 of the largest value. This is promised: */
#define TOLERANCE 1e-4

/* --- the forward pass --- */

static void on_signs(const float *x, size_t n, double *out) {
    out[0] = out[1] = 0;
    for (size_t j = 0; j < n; j++) {
        out[0] += sign(0, j) * (double)x[j];
        out[1] += sign(1, j) * (double)x[j];
    }
}

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

/* --- threads and instruction sets --- */

#define N_COPIES 8

/* Many copies of the sequences, so that there are several chunks, and copies lie in unlike ones. */
static void run_copies(const golden *g, float *logits, float *nll) {
    size_t starts[16 * N_COPIES], source_starts[16 * N_COPIES], n_source = g->source_starts[g->n_seq];
    int32_t *ids = calloc(N_COPIES * g->n_rows, sizeof *ids);
    int32_t *sources = calloc(N_COPIES * n_source + 1, sizeof *sources), *targets = ids;
    qdisp_batch batch = g->batch;
    for (size_t c = 0; c < N_COPIES; c++) {
        memcpy(ids + c * g->n_rows, g->batch.ids, g->n_rows * sizeof *ids);
        if (n_source) memcpy(sources + c * n_source, g->batch.source_ids, n_source * sizeof *sources);
        for (size_t s = 0; s <= g->n_seq; s++) {
            starts[c * g->n_seq + s] = c * g->n_rows + g->starts[s];
            source_starts[c * g->n_seq + s] = c * n_source + g->source_starts[s];
        }
    }
    batch.ids = ids;
    batch.starts = starts;
    batch.n_seq = N_COPIES * g->n_seq;
    if (n_source) batch.source_ids = sources;
    if (n_source) batch.source_starts = source_starts;
    if (g->info->kind == QDISP_MODEL_MASKED) batch.targets = targets;
    qdisp_run_options options = {.size = sizeof options, .logits = logits, .nll = nll};
    CHECK_STATUS(qdisp_model_run(g->model, &batch, &options), QDISP_OK);
    free(ids);
    free(sources);
}

TEST(test_threads_chunks_and_isas) {
    static const struct {
        unsigned n_threads;
        const char *isa;
    } runs[] = {{1, NULL}, {2, NULL}, {1, "c"}};
    enum { N_RUNS = sizeof runs / sizeof *runs };
    for (size_t i = 0; i < n_folders; i++) {
        float *logits[N_RUNS] = {NULL}, *nll[N_RUNS] = {NULL};
        size_t n_logits = 0, n = 0;
        for (size_t t = 0; t < N_RUNS; t++) {
            golden g;
            if (!open_golden_as(&g, folders[i], runs[t].n_threads, runs[t].isa)) return;
            n = g.n_rows;
            n_logits = n * g.info->n_vocab;
            logits[t] = calloc(N_COPIES * n_logits, sizeof **logits);
            nll[t] = calloc(N_COPIES * n, sizeof **nll);
            run_copies(&g, logits[t], nll[t]);
            close_golden(&g);
        }
        for (size_t t = 1; t < N_RUNS; t++) {
            CHECK(n && !memcmp(logits[0], logits[t], N_COPIES * n_logits * sizeof **logits));
            CHECK(n && !memcmp(nll[0], nll[t], N_COPIES * n * sizeof **nll));
        }
        for (size_t c = 1; n && c < N_COPIES; c++) {
            CHECK(!memcmp(logits[0] + c * n_logits, logits[0], n_logits * sizeof **logits));
            CHECK(!memcmp(nll[0] + c * n, nll[0], n * sizeof **nll));
        }
        for (size_t t = 0; t < N_RUNS; t++) {
            free(logits[t]);
            free(nll[t]);
        }
    }
}

/* --- tied heads --- */

/* A config may say "tied" of a file whose head differs: the file is believed. */
TEST(test_a_head_that_the_config_ties) {
    golden g;
    char *config = NULL;
    size_t size;
    qd_tensor_file *file = NULL;
    if (!open_golden(&g, "mt5", 1)) return;
    double wanted = check_logits(&g);
    CHECK_STATUS(qd_read_file(g.ctx, FOLDER "/mt5/config.json", 1 << 20, &config, &size), QDISP_OK);
    CHECK_STATUS(qd_safetensors_open(g.ctx, FOLDER "/mt5/model.safetensors", &file), QDISP_OK);
    char *at = config ? strstr(config, "\"tie_word_embeddings\": false") : NULL;
    CHECK(at != NULL);
    if (at && file) {
        memcpy(at + strlen("\"tie_word_embeddings\": "), "true ", 5);
        qdisp_model_free(g.model);
        g.model = NULL;
        CHECK_STATUS(qdisp_model_from_tensors(g.ctx, config, file->tensors, file->n_tensors, &g.model), QDISP_OK);
        g.info = qdisp_model_describe(g.model);
        CHECK(check_logits(&g) == wanted);
        size_t head = qdisp_model_linear(g.model, qdisp_model_n_linears(g.model) - 1);
        CHECK_STR(qdisp_model_role(g.model, head), "head");
    }
    qd_free(g.ctx, config);
    qd_tensor_file_free(file);
    close_golden(&g);
}

/* --- experts in one tensor, as transformers 5 can save them --- */

/* Copies the matrices of all experts of a layer one after the other, those of the slots in turn for each. */
static qdisp_tensor stack_of(const qdisp_model *m, size_t layer, const qd_slot *slots, size_t n_slots,
                             const char *name) {
    qdisp_tensor t = {.name = name, .n_dims = 3};
    size_t n_expert = m->config.n_expert, n_bytes = 0;
    for (size_t e = 0; e < n_expert * n_slots; e++) {
        const qdisp_tensor *part = &m->tensors[qd_model_index(m, layer, e / n_slots, slots[e % n_slots])];
        uint8_t *bytes = realloc((void *)(uintptr_t)t.data, n_bytes + part->n_bytes);
        memcpy(bytes + n_bytes, part->data, part->n_bytes);
        t.data = bytes;
        t.dtype = part->dtype;
        n_bytes += part->n_bytes;
        t.shape[1] = n_slots * part->shape[0];
        t.shape[2] = part->shape[1];
    }
    t.shape[0] = n_expert;
    t.n_bytes = n_bytes;
    return t;
}

TEST(test_experts_in_one_tensor) {
    static const qd_slot gate_up[] = {QD_SLOT_EXPERT_GATE, QD_SLOT_EXPERT_UP}, down[] = {QD_SLOT_EXPERT_DOWN};
    static const char *const names[] = {"mixtral", "qwen3_moe"};
    for (size_t k = 0; k < 2; k++) {
        golden g;
        if (!open_golden(&g, names[k], 1)) continue;
        qdisp_model *m = g.model, *stacked = NULL;
        size_t n = 0, n_stacks = 0;
        qdisp_tensor *tensors = calloc(m->n_tensors, sizeof *tensors), *stacks[64];
        char (*labels)[96] = calloc(64, sizeof *labels);
        for (size_t i = 0; i < m->n_tensors; i++) {
            if (qd_slot_rows[m->slots[i]].where != 'E') tensors[n++] = m->tensors[i];
        }
        for (size_t layer = 0; layer < m->config.n_layer; layer++) {
            if (!m->config.is_moe[layer]) continue;
            for (size_t part = 0; part < 2; part++) {
                snprintf(labels[n_stacks], 96, "model.layers.%zu.mlp.experts.%s", layer,
                         part ? "down_proj" : "gate_up_proj");
                tensors[n] = part ? stack_of(m, layer, down, 1, labels[n_stacks])
                                  : stack_of(m, layer, gate_up, 2, labels[n_stacks]);
                stacks[n_stacks++] = &tensors[n++];
            }
        }
        double wanted = check_logits(&g);
        CHECK_STATUS(qdisp_model_from_tensors(g.ctx, m->config_text, tensors, n, &stacked), QDISP_OK);
        CHECK(n_stacks > 0 && stacked && stacked->n_tensors == m->n_tensors);
        if (stacked) {
            g.model = stacked;
            g.info = qdisp_model_describe(stacked);
            CHECK(check_logits(&g) == wanted);
            qdisp_model_free(stacked);
        }
        qdisp_model *none = NULL;
        stacks[0]->shape[0] *= 2, stacks[0]->shape[1] /= 2; /* too many experts */
        CHECK_STATUS(qdisp_model_from_tensors(g.ctx, m->config_text, tensors, n, &none), QDISP_EFORMAT);
        stacks[0]->shape[0] = 2048, stacks[0]->shape[1] = 1, stacks[0]->shape[2] = stacks[0]->n_bytes / 2048 / 2;
        stacks[0]->n_bytes = 2048 * 2 * stacks[0]->shape[2];
        if (stacks[0]->dtype == QDISP_DTYPE_F32) stacks[0]->shape[2] /= 2;
        CHECK_STATUS(qdisp_model_from_tensors(g.ctx, m->config_text, tensors, n, &none), QDISP_EFORMAT);
        CHECK_HAS(qdisp_ctx_error(g.ctx), "no stack of experts");
        for (size_t i = 0; i < n_stacks; i++) free((void *)(uintptr_t)stacks[i]->data);
        free(tensors);
        free(labels);
        g.model = m;
        close_golden(&g);
    }
}

/* --- refusals --- */

/* A model with learned positions cannot read beyond them; the other kinds of input are named. */
TEST(test_input_that_a_model_cannot_read) {
    static float logits[80 * 64];
    int32_t ids[80] = {0};
    for (size_t i = 0; i < n_folders; i++) {
        golden g;
        if (!open_golden(&g, folders[i], 1)) continue;
        size_t limit = g.info->n_positions;
        qdisp_status expected = g.batch.source_ids || limit ? QDISP_EINVAL : QDISP_OK;
        CHECK_STATUS(qdisp_model_forward(g.model, ids, 80, logits), expected);
        if (g.batch.source_ids) CHECK_HAS(qdisp_ctx_error(g.ctx), "source_ids");
        else if (limit) CHECK_HAS(qdisp_ctx_error(g.ctx), "sequence 0 has 80 tokens, the model reads at most");
        if (limit) CHECK_STATUS(qdisp_model_forward(g.model, ids, limit, logits), QDISP_OK);
        if (g.info->kind != QDISP_MODEL_DECODER) {
            CHECK_STATUS(qdisp_model_nll(g.model, ids, (size_t[]){0, 2}, 1, logits), QDISP_EINVAL);
        }
        close_golden(&g);
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

int main(int argc, char **argv) {
    if (!list_folders(argc, argv)) return 1;
    RUN(test_forward);
    RUN(test_threads_chunks_and_isas);
    RUN(test_a_head_that_the_config_ties);
    RUN(test_experts_in_one_tensor);
    RUN(test_input_that_a_model_cannot_read);
    RUN(test_tensors);
    return TEST_END();
}
