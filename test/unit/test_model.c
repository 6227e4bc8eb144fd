/* The model handle and its forward pass, against transformers (test/golden/make_bloom.py) and against itself. */
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "model/model.h"
#include "tensor/tensor.h"

#include <qdisp/quant.h>

#ifndef QDISP_ROOT
#define QDISP_ROOT "."
#endif

static const char *const names[] = {"bloom_f16", "bloom_bf16", "bloom_f32", "bloom_bare"};
#define N_MODELS 4
static char scratch_folder[] = "/tmp/qdisp-test-XXXXXX";

/* A model with its golden values. */
typedef struct golden {
    qdisp_ctx *ctx;
    qdisp_model *model;
    qd_tensor_file *file;
    const int32_t *ids;
    size_t starts[4];
    size_t n_tokens, n_vocab;
    const float *logits, *nll, *hidden;
} golden;

static const void *data(const golden *g, const char *name) {
    const qdisp_tensor *t = qd_tensor_file_find(g->file, name);
    return t ? t->data : NULL; /* the writer aligns them */
}

static void close_golden(golden *g) {
    qdisp_model_free(g->model);
    qd_tensor_file_free(g->file);
    qdisp_ctx_free(g->ctx);
}

static int open_golden(golden *g, const char *name, unsigned n_threads) {
    char path[512];
    memset(g, 0, sizeof *g);
    /* this process is ours: with a threaded OpenBLAS the library's own threads are what is tested */
    qdisp_ctx_options options = {.size = sizeof options, .n_threads = n_threads, .own_blas = 1};
    CHECK_STATUS(qdisp_ctx_new(&options, &g->ctx), QDISP_OK);
    if (!g->ctx) return 0;
    snprintf(path, sizeof path, "%s/test/golden/%s/golden.safetensors", QDISP_ROOT, name);
    CHECK_STATUS(qd_safetensors_open(g->ctx, path, &g->file), QDISP_OK);
    snprintf(path, sizeof path, "%s/test/golden/%s", QDISP_ROOT, name);
    CHECK_STATUS(qdisp_model_open(g->ctx, path, &g->model), QDISP_OK);
    if (!g->file || !g->model) {
        printf("%s\n", qdisp_ctx_error(g->ctx));
        close_golden(g);
        return 0;
    }
    const int64_t *starts = data(g, "starts");
    for (int i = 0; i < 4; i++) g->starts[i] = (size_t)starts[i];
    g->n_tokens = g->starts[3];
    g->n_vocab = qdisp_model_describe(g->model)->n_vocab;
    g->ids = data(g, "ids");
    g->logits = data(g, "logits");
    g->nll = data(g, "nll");
    g->hidden = data(g, "hidden_mean");
    return 1;
}

/* Both compute in f32, in another order of sums: errors of some 1e-6. 1e-4 is what is promised.
 * Logits: relative to the largest of their row, as one near zero has no relative error to speak of. */
TEST(test_logits_as_transformers) {
    for (int i = 0; i < N_MODELS; i++) {
        golden g;
        if (!open_golden(&g, names[i], 2)) continue;
        float *logits = malloc(g.n_tokens * g.n_vocab * sizeof *logits);
        double worst = 0;
        for (int s = 0; s < 3; s++) {
            CHECK_STATUS(qdisp_model_forward(g.model, g.ids + g.starts[s], g.starts[s + 1] - g.starts[s],
                                             logits + g.starts[s] * g.n_vocab), QDISP_OK);
        }
        for (size_t t = 0; t < g.n_tokens; t++) {
            double largest = 0, error = 0;
            for (size_t j = 0; j < g.n_vocab; j++) {
                largest = fmax(largest, fabs(g.logits[t * g.n_vocab + j]));
                error = fmax(error, fabs((double)logits[t * g.n_vocab + j] - g.logits[t * g.n_vocab + j]));
            }
            worst = fmax(worst, error / largest);
        }
        printf("%s: logits differ by at most %.1e\n", names[i], worst);
        CHECK(worst <= 1e-4);
        free(logits);
        close_golden(&g);
    }
}

/* nll: relative to itself, or to 0.1 nat where it is smaller: it is a difference of logits of some 10. */
static double nll_error(const golden *g, const float *nll) {
    double worst = 0;
    for (size_t t = 0; t < g->n_tokens; t++) {
        if (isnan(g->nll[t])) {
            CHECK(isnan(nll[t]));
        } else {
            worst = fmax(worst, fabs((double)nll[t] - g->nll[t]) / fmax(fabs(g->nll[t]), 0.1));
        }
    }
    return worst;
}

TEST(test_nll_as_transformers) {
    for (int i = 0; i < N_MODELS; i++) {
        golden g;
        if (!open_golden(&g, names[i], 2)) continue;
        float *nll = malloc(g.n_tokens * sizeof *nll);
        CHECK_STATUS(qdisp_model_nll(g.model, g.ids, g.starts, 3, nll), QDISP_OK);
        double worst = nll_error(&g, nll);
        printf("%s: nll differs by at most %.1e\n", names[i], worst);
        CHECK(worst <= 1e-4);
        free(nll);
        close_golden(&g);
    }
}

typedef struct taps {
    const golden *g;
    double *hidden; /* [n_layer + 1, n_embd] sums of |h|; one chunk only here */
    double sums[64];
    size_t n_inputs, n_done;
} taps;

static int on_activation(void *user, qdisp_activation *a) {
    taps *t = user;
    CHECK(a->i_worker < qd_n_workers(t->g->ctx));
    t->n_inputs += a->site == QDISP_SITE_LINEAR_IN;
    for (size_t r = 0; r < a->n_rows; r++) {
        for (size_t j = 0; j < a->n_cols; j++) {
            float x = a->data[r * a->stride + j];
            if (a->site == QDISP_SITE_RESIDUAL) t->hidden[(size_t)(a->layer + 1) * a->n_cols + j] += fabsf(x);
            else t->sums[a->i_linear] += x * x;
        }
    }
    return 0;
}

static qdisp_status on_done(void *user, size_t i_chunk, size_t n_chunks) {
    taps *t = user;
    CHECK(i_chunk == t->n_done);
    t->n_done += n_chunks;
    return QDISP_OK;
}

TEST(test_taps) {
    for (int i = 0; i < N_MODELS; i++) {
        golden g;
        if (!open_golden(&g, names[i], 2)) continue;
        const qd_model_config *c = &g.model->config;
        taps t = {.g = &g, .hidden = calloc((c->n_layer + 1) * c->n_embd, sizeof(double))};
        qd_run run = {.user = &t, .tap = on_activation, .chunks_done = on_done, .tap_head = true,
                      .sites = QDISP_SITE_BIT(QDISP_SITE_RESIDUAL) | QDISP_SITE_BIT(QDISP_SITE_LINEAR_IN)};
        qdisp_batch batch = qd_batch_of(g.ids, g.starts, 3);
        CHECK_STATUS(qd_model_run(g.model, &batch, &run), QDISP_OK);
        CHECK(t.n_inputs == 4 * c->n_layer + 1 && t.n_done == 1);
        /* 1e-4: as for logits; a mean of 51 positive numbers has their relative error */
        for (size_t j = 0; j < (c->n_layer + 1) * c->n_embd; j++) {
            CHECK_NEAR(t.hidden[j] / (double)g.n_tokens, g.hidden[j], 1e-4);
        }
        for (size_t l = 0; l < g.model->n_linears; l++) CHECK(t.sums[l] > 0 && isfinite(t.sums[l]));
        free(t.hidden);
        close_golden(&g);
    }
}

TEST(test_any_number_of_threads_gives_the_same_bits) {
    /* several rounds: two products at once in a build without locks went wrong about once in ten runs */
    enum { N_RUNS = 12 };
    static const unsigned n_threads[N_RUNS] = {1, 2, 3, 5, 2, 4, 2, 8, 2, 3, 2, 2};
    enum { N_SEQ = 60 };
    size_t starts[N_SEQ + 1] = {0};
    for (size_t s = 0; s < N_SEQ; s++) starts[s + 1] = starts[s] + 1 + s * 7 % 50 + (s == 31 ? 400 : 0);
    size_t n = starts[N_SEQ];
    int32_t *ids = malloc(n * sizeof *ids);
    float *nll[N_RUNS];
    for (size_t i = 0; i < n; i++) ids[i] = (int32_t)(i * i * 31 % 97);
    for (int k = 0; k < N_RUNS; k++) {
        golden g;
        nll[k] = malloc(n * sizeof **nll);
        if (!open_golden(&g, "bloom_f16", n_threads[k])) continue;
        CHECK(qd_model_chunks(starts, NULL, N_SEQ, NULL) > 5);
        CHECK_STATUS(qdisp_model_nll(g.model, ids, starts, N_SEQ, nll[k]), QDISP_OK);
        CHECK(!memcmp(nll[0], nll[k], n * sizeof **nll));
        close_golden(&g);
    }
    for (int k = 0; k < N_RUNS; k++) free(nll[k]);
    free(ids);
}

TEST(test_chunks) {
    size_t starts[] = {0, 100, 200, 300, 301, 1000, 1001, 1257};
    qd_chunk chunks[7];
    size_t n = qd_model_chunks(starts, NULL, 7, chunks), row = 0, seq = 0;
    for (size_t i = 0; i < n; i++) {
        CHECK(chunks[i].i_chunk == i && chunks[i].i_row == row && chunks[i].i_seq == seq);
        row += chunks[i].n_rows;
        seq += chunks[i].n_seq;
    }
    CHECK(n == 5 && row == 1257 && seq == 7);
}

TEST(test_tensors_of_a_host) {
    for (int i = 0; i < N_MODELS; i++) {
        golden g;
        if (!open_golden(&g, names[i], 1)) continue;
        size_t n = qdisp_model_n_tensors(g.model);
        qdisp_tensor *tensors = calloc(n, sizeof *tensors);
        uint8_t **copies = calloc(n, sizeof *copies);
        for (size_t j = 0; j < n; j++) {
            CHECK_STATUS(qdisp_model_tensor(g.model, j, &tensors[j]), QDISP_OK);
            copies[j] = malloc(tensors[j].n_bytes + 1);
            memcpy(copies[j] + j % 2, tensors[j].data, tensors[j].n_bytes); /* every other one unaligned */
            tensors[j].data = copies[j] + j % 2;
        }
        qdisp_model *model = NULL;
        CHECK_STATUS(qdisp_model_from_tensors(g.ctx, g.model->config_text, tensors, n, &model), QDISP_OK);
        float *a = malloc(2 * g.n_tokens * sizeof *a), *b = a + g.n_tokens;
        CHECK_STATUS(qdisp_model_nll(g.model, g.ids, g.starts, 3, a), QDISP_OK);
        if (model) {
            CHECK_STATUS(qdisp_model_nll(model, g.ids, g.starts, 3, b), QDISP_OK);
            CHECK(!memcmp(a, b, g.n_tokens * sizeof *a));
        }
        qdisp_model_free(model);
        tensors[3].n_bytes--;
        CHECK_STATUS(qdisp_model_from_tensors(g.ctx, g.model->config_text, tensors, n, &model), QDISP_EINVAL);
        CHECK_HAS(qdisp_ctx_error(g.ctx), tensors[3].name);
        tensors[3].n_bytes++;
        tensors[2].data = NULL;
        CHECK_STATUS(qdisp_model_from_tensors(g.ctx, g.model->config_text, tensors, n, &model), QDISP_EINVAL);
        CHECK_HAS(qdisp_ctx_error(g.ctx), tensors[2].name);
        for (size_t j = 0; j < n; j++) free(copies[j]);
        free(copies);
        free(tensors);
        free(a);
        close_golden(&g);
    }
}

static void remove_saved(const char *path) {
    static const char *const files[] = {"config.json", "model.safetensors"};
    char file[600];
    for (int i = 0; i < 2; i++) {
        snprintf(file, sizeof file, "%s/%s", path, files[i]);
        unlink(file);
    }
    rmdir(path);
}

TEST(test_save_and_reload) {
    for (int i = 0; i < N_MODELS; i++) {
        golden g;
        char path[512];
        if (!open_golden(&g, names[i], 2)) continue;
        /* QDISP_SAVE_DIR keeps the folders, for make_bloom.py check */
        const char *keep = getenv("QDISP_SAVE_DIR");
        snprintf(path, sizeof path, "%s/%s", keep ? keep : scratch_folder, names[i]);
        if (i == 1) CHECK(mkdir(path, 0777) == 0); /* an empty folder is no obstacle */
        CHECK_STATUS(qdisp_model_save(g.model, path), QDISP_OK);
        qdisp_model *saved = NULL;
        CHECK_STATUS(qdisp_model_open(g.ctx, path, &saved), QDISP_OK);
        float *a = malloc(2 * g.n_tokens * sizeof *a), *b = a + g.n_tokens;
        CHECK_STATUS(qdisp_model_nll(g.model, g.ids, g.starts, 3, a), QDISP_OK);
        if (saved) {
            CHECK(qdisp_model_describe(saved)->n_parameters == qdisp_model_describe(g.model)->n_parameters);
            CHECK(qdisp_model_describe(saved)->n_bytes == 4 * qdisp_model_describe(g.model)->n_parameters);
            CHECK_HAS(saved->config_text, "\"float32\"");
            CHECK_STATUS(qdisp_model_nll(saved, g.ids, g.starts, 3, b), QDISP_OK);
            CHECK(!memcmp(a, b, g.n_tokens * sizeof *a));
        }
        qdisp_model_free(saved);
        CHECK_STATUS(qdisp_model_save(g.model, path), QDISP_EINVAL);
        CHECK_HAS(qdisp_ctx_error(g.ctx), path);
        CHECK_STATUS(qdisp_model_save(g.model, "/nowhere/model"), QDISP_ENOTFOUND);
        if (!keep) remove_saved(path);
        free(a);
        close_golden(&g);
    }
}

TEST(test_roles_and_parts) {
    golden g;
    if (!open_golden(&g, "bloom_bf16", 1)) return;
    size_t n_embed = 0, n_qkv = 0;
    for (size_t i = 0; i < qdisp_model_n_tensors(g.model); i++) {
        const char *role = qdisp_model_role(g.model, i);
        n_embed += !strcmp(role, "embed+head");
        CHECK(strcmp(role, "head")); /* tied: it is the embedding */
        CHECK((qdisp_model_layer(g.model, i) >= 0) == (strstr(g.model->tensors[i].name, ".h.") != NULL));
        if (strcmp(role, "attn.qkv")) {
            if (strcmp(role, "attn.qkv.bias")) CHECK(qd_model_n_parts(g.model, i) == 1);
            continue;
        }
        n_qkv++;
        CHECK(qd_model_n_parts(g.model, i) == 3);
        size_t n_rows = 0;
        for (size_t p = 0; p < 3; p++) {
            qd_part part = qd_model_part(g.model, i, p);
            CHECK(part.first == 8 * p && part.stride == 24 && part.run_rows == 8 && part.n_runs == 6);
            n_rows += part.run_rows * part.n_runs;
        }
        CHECK(n_rows == g.model->tensors[i].shape[0]);
    }
    CHECK(n_embed == 1 && n_qkv == 3);
    CHECK(qdisp_model_role(g.model, 1000) == NULL && qdisp_model_layer(g.model, 1000) == -1);
    CHECK_STATUS(qdisp_model_tensor(g.model, 1000, &(qdisp_tensor){0}), QDISP_EINVAL);
    CHECK(g.model->n_linears == 13);
    const qd_linear *head = &g.model->linears[12];
    CHECK_STR(head->role, "head");
    CHECK(head->i_weight == qd_model_index(g.model, 0, 0, QD_SLOT_EMBED));
    CHECK(head->i_bias == QD_NONE && head->layer == -1);
    CHECK(head->n_out == 131 && head->n_in == 48);
    CHECK_STR(g.model->linears[5].role, "attn.out");
    CHECK(g.model->linears[6].n_out == 192 && g.model->linears[7].n_in == 192);
    qdisp_table *table = NULL;
    CHECK_STATUS(qdisp_model_tensors(g.model, &table), QDISP_OK);
    CHECK(qdisp_table_n_rows(table) == qdisp_model_n_tensors(g.model));
    CHECK_STR(qdisp_table_str(table, qdisp_table_find(table, "shape"))[0], "[131, 48]");
    CHECK_STR(qdisp_table_str(table, qdisp_table_find(table, "dtype"))[0], "bf16");
    CHECK(qdisp_table_i64(table, qdisp_table_find(table, "layer"))[0] == QDISP_MISSING_I64);
    const qdisp_model_info *info = qdisp_model_describe(g.model);
    CHECK_STR(info->architecture, "bloom");
    CHECK(info->n_layer == 3 && info->n_head == 6 && info->n_embd == 48 && info->bos_id == 1 && info->eos_id == 2);
    CHECK(info->n_parameters == 91296 && info->n_bytes == 2 * 91296);
    qdisp_table_free(table);
    close_golden(&g);
    /* an untied head is a tensor of its own */
    if (!open_golden(&g, "bloom_f32", 1)) return;
    CHECK_STR(qdisp_model_role(g.model, qdisp_model_n_tensors(g.model) - 1), "head");
    close_golden(&g);
}

TEST(test_replaced_tensors) {
    golden g;
    if (!open_golden(&g, "bloom_f16", 2)) return;
    size_t i_tensor = g.model->linears[1].i_weight, n = (size_t)qd_tensor_n_elements(&g.model->tensors[i_tensor]);
    float *same = qd_alloc_aligned(g.ctx, n, sizeof *same), *zero = qd_alloc_aligned(g.ctx, n, sizeof *zero);
    const uint16_t *half = g.model->tensors[i_tensor].data;
    for (size_t i = 0; i < n; i++) same[i] = qd_f16_to_f32(half[i]);
    qdisp_model *a = NULL, *b = NULL;
    CHECK_STATUS(qd_model_with_tensors(g.model, &i_tensor, &same, 1, &a), QDISP_OK);
    CHECK_STATUS(qd_model_with_tensors(g.model, &(size_t){1000}, &zero, 1, &b), QDISP_EINVAL);
    CHECK_STATUS(qd_model_with_tensors(a, &i_tensor, &zero, 1, &b), QDISP_OK);
    CHECK(qdisp_model_describe(a)->n_bytes == qdisp_model_describe(g.model)->n_bytes + 2 * n);
    float nll[3][64];
    CHECK_STATUS(qdisp_model_nll(g.model, g.ids, g.starts, 3, nll[0]), QDISP_OK);
    qdisp_model_free(g.model); /* the others keep it */
    g.model = NULL;
    CHECK_STATUS(qdisp_model_nll(a, g.ids, g.starts, 3, nll[1]), QDISP_OK);
    qdisp_model_free(a);
    CHECK_STATUS(qdisp_model_nll(b, g.ids, g.starts, 3, nll[2]), QDISP_OK);
    qdisp_model_free(b);
    CHECK(!memcmp(nll[0], nll[1], g.n_tokens * sizeof(float)));
    CHECK(memcmp(nll[0], nll[2], g.n_tokens * sizeof(float)));
    close_golden(&g);
}

TEST(test_bad_ids_and_starts) {
    golden g;
    if (!open_golden(&g, "bloom_f16", 1)) return;
    float out[97 * 4];
    int32_t ids[4] = {0, 5, 97, 1};
    CHECK_STATUS(qdisp_model_forward(g.model, ids, 4, out), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(g.ctx), "id 97 at position 2");
    ids[2] = -1;
    CHECK_STATUS(qdisp_model_forward(g.model, ids, 4, out), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(g.ctx), "id -1 at position 2");
    CHECK_STATUS(qdisp_model_forward(g.model, ids, 0, out), QDISP_EINVAL);
    ids[2] = 2;
    CHECK_STATUS(qdisp_model_nll(g.model, ids, (size_t[]){1, 4}, 1, out), QDISP_EINVAL);
    CHECK_STATUS(qdisp_model_nll(g.model, ids, (size_t[]){0, 2, 2, 4}, 3, out), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(g.ctx), "sequence 1");
    CHECK_STATUS(qdisp_model_nll(g.model, ids, (size_t[]){0, 3, 2}, 2, out), QDISP_EINVAL);
    CHECK_STATUS(qdisp_model_nll(g.model, NULL, (size_t[]){0}, 0, out), QDISP_OK);
    close_golden(&g);
}

static int cancel_at_once(void *user) {
    (void)user;
    return 1;
}

static double last_done;
static void on_progress(void *user, const char *what, double done) {
    (void)user;
    CHECK_STR(what, "forward");
    CHECK(done >= last_done && done <= 1);
    last_done = done;
}

TEST(test_progress_and_cancelling) {
    qdisp_ctx_options options = {.size = sizeof options, .progress = on_progress, .n_threads = 2};
    for (int k = 0; k < 2; k++) {
        qdisp_ctx *ctx = NULL;
        qdisp_model *model = NULL;
        if (k) options.cancelled = cancel_at_once;
        CHECK_STATUS(qdisp_ctx_new(&options, &ctx), QDISP_OK);
        CHECK_STATUS(qdisp_model_open(ctx, QDISP_ROOT "/test/golden/bloom_f16", &model), QDISP_OK);
        float nll[3];
        last_done = 0;
        CHECK_STATUS(qdisp_model_nll(model, (int32_t[]){1, 2, 3}, (size_t[]){0, 3}, 1, nll),
                     k ? QDISP_ECANCELLED : QDISP_OK);
        if (!k) CHECK(last_done == 1);
        qdisp_ctx_free(ctx); /* before the model, which keeps it */
        qdisp_model_free(model);
    }
}

/* Quantized weights read by the folder, by the path of the file in it, and from tensors as the file has them: the same
 * losses. A file of weights without its config.json says so. */
TEST(test_quantized_by_file_and_by_tensors) {
    char folder[] = "/tmp/qdisp-test-XXXXXX", path[64], weights[96], command[128];
    static const int32_t ids[] = {1, 4, 2, 3};
    static const size_t starts[] = {0, 4};
    qdisp_ctx *ctx = NULL;
    qdisp_model *base = NULL, *models[3] = {NULL};
    qdisp_quantizer *q = NULL;
    qdisp_table *plan = NULL;
    qd_tensor_file *file = NULL;
    char *config = NULL;
    size_t size;
    float nll[3][4] = {{0}};
    CHECK_STATUS(qdisp_ctx_new(NULL, &ctx), QDISP_OK);
    CHECK_STATUS(qdisp_model_open(ctx, QDISP_ROOT "/test/golden/arch/llama", &base), QDISP_OK);
    qdisp_quantizer_options channels = {.size = sizeof channels, .group_size = QDISP_GROUP_CHANNEL};
    CHECK_STATUS(qdisp_quantizer_new(ctx, "rtn", &channels, &q), QDISP_OK);
    CHECK_STATUS(qdisp_quantizer_plan(q, base, NULL, &plan), QDISP_OK);
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/x", folder);
    CHECK_STATUS(qdisp_plan_write(plan, base, NULL, "compressed-tensors", path), QDISP_OK);
    snprintf(weights, sizeof weights, "%s/config.json", path);
    CHECK_STATUS(qd_read_file(ctx, weights, 1 << 20, &config, &size), QDISP_OK);
    snprintf(weights, sizeof weights, "%s/model.safetensors", path);
    CHECK_STATUS(qdisp_model_open(ctx, path, &models[0]), QDISP_OK);
    CHECK_STATUS(qdisp_model_open(ctx, weights, &models[1]), QDISP_OK);
    CHECK_STATUS(qd_tensor_file_open(ctx, weights, &file), QDISP_OK);
    if (config && file) {
        CHECK(strstr(config, "quantization_config") != NULL);
        CHECK_STATUS(qdisp_model_from_tensors(ctx, config, file->tensors, file->n_tensors, &models[2]), QDISP_OK);
    }
    if (harness_bad) printf("  %s\n", qdisp_ctx_error(ctx));
    for (int i = 0; i < 3 && models[i]; i++) {
        CHECK_STATUS(qdisp_model_nll(models[i], ids, starts, 1, nll[i]), QDISP_OK);
        CHECK(nll[i][1] > 0 && !memcmp(nll[i] + 1, nll[0] + 1, 3 * sizeof **nll));
        qdisp_model_free(models[i]);
    }
    snprintf(command, sizeof command, "rm '%s/config.json'", path);
    CHECK(system(command) == 0);
    CHECK_STATUS(qdisp_model_open(ctx, weights, &models[0]), QDISP_EUNSUPPORTED);
    CHECK_HAS(qdisp_ctx_error(ctx), "model.safetensors: weights without a config.json beside them");
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    CHECK(system(command) == 0);
    qd_tensor_file_free(file);
    qd_free(ctx, config);
    qdisp_table_free(plan);
    qdisp_quantizer_free(q);
    qdisp_model_free(base);
    qdisp_ctx_free(ctx);
}

int main(void) {
    if (!mkdtemp(scratch_folder)) return 1;
    RUN(test_logits_as_transformers);
    RUN(test_nll_as_transformers);
    RUN(test_taps);
    RUN(test_any_number_of_threads_gives_the_same_bits);
    RUN(test_chunks);
    RUN(test_tensors_of_a_host);
    RUN(test_quantized_by_file_and_by_tensors);
    RUN(test_save_and_reload);
    RUN(test_roles_and_parts);
    RUN(test_replaced_tensors);
    RUN(test_bad_ids_and_starts);
    RUN(test_progress_and_cancelling);
    rmdir(scratch_folder);
    return TEST_END();
}
