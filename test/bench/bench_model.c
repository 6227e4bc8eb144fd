/* bench_model.c - a synthetic model with the names and shapes of a BLOOM, in memory or as a file, for the jobs that
 * take a model. */
#include "bench_model.h"

#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct size_row {
    size_t embd, n_layer, vocab;
} size_row;

/* 256 Ki, 16 Mi and 256 Mi weights. */
static const size_row sizes[] = {
    [BENCH_TINY] = {128, 1, 512}, [BENCH_QUICK] = {1024, 1, 4096}, [BENCH_FULL] = {2048, 4, 32768}};

/* A block's tensors; rows and columns in units of embd, columns 0: a vector. */
static const struct {
    const char *name;
    size_t rows, columns;
} parts[] = {{"input_layernorm.weight", 1, 0},
             {"input_layernorm.bias", 1, 0},
             {"self_attention.query_key_value.weight", 3, 1},
             {"self_attention.query_key_value.bias", 3, 0},
             {"self_attention.dense.weight", 1, 1},
             {"self_attention.dense.bias", 1, 0},
             {"post_attention_layernorm.weight", 1, 0},
             {"post_attention_layernorm.bias", 1, 0},
             {"mlp.dense_h_to_4h.weight", 4, 1},
             {"mlp.dense_h_to_4h.bias", 4, 0},
             {"mlp.dense_4h_to_h.weight", 1, 4},
             {"mlp.dense_4h_to_h.bias", 1, 0}};
enum { N_PARTS = sizeof parts / sizeof *parts };

static void add(bench_model *m, const char *name, size_t rows, size_t columns, const void *data, size_t n_data) {
    size_t n = rows * (columns ? columns : 1), size = m->dtype == QDISP_DTYPE_F32 ? 4 : 2;
    size_t first = n_data > n ? m->n_weights % (n_data - n + 1) : 0; /* another place of the data each time */
    snprintf(m->names[m->n], sizeof m->names[m->n], "transformer.%s", name);
    m->tensors[m->n] = (qdisp_tensor){.name = m->names[m->n], .data = (const char *)data + first * size,
                                      .n_bytes = n * size, .shape = {rows, columns}, .n_dims = columns ? 2 : 1,
                                      .dtype = m->dtype};
    m->n_weights += n;
    m->n++;
}

void bench_model_make(bench_model *m, bench_scale scale, qdisp_dtype dtype, const void *data, size_t n_data) {
    size_t e = sizes[scale].embd;
    char name[64];
    *m = (bench_model){.dtype = dtype};
    snprintf(m->config, sizeof m->config,
             "{\"architectures\": [\"BloomForCausalLM\"], \"model_type\": \"bloom\", \"vocab_size\": %zu, "
             "\"hidden_size\": %zu, \"n_layer\": %zu, \"n_head\": 8, \"layer_norm_epsilon\": 1e-5, "
             "\"bos_token_id\": 1, \"eos_token_id\": 2}",
             sizes[scale].vocab, e, sizes[scale].n_layer);
    add(m, "word_embeddings.weight", sizes[scale].vocab, e, data, n_data);
    add(m, "word_embeddings_layernorm.weight", e, 0, data, n_data);
    add(m, "word_embeddings_layernorm.bias", e, 0, data, n_data);
    for (size_t layer = 0; layer < sizes[scale].n_layer; layer++)
        for (size_t i = 0; i < N_PARTS; i++) {
            snprintf(name, sizeof name, "h.%zu.%s", layer, parts[i].name);
            add(m, name, parts[i].rows * e, parts[i].columns * e, data, n_data);
        }
    add(m, "ln_f.weight", e, 0, data, n_data);
    add(m, "ln_f.bias", e, 0, data, n_data);
}

qdisp_status bench_model_write(qdisp_ctx *ctx, const bench_model *m, const char *folder) {
    char path[512];
    struct stat old;
    static const char *const metadata[] = {"format", "pt"};
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    if (stat(path, &old) == 0 && (size_t)old.st_size > m->n_weights) return QDISP_OK; /* of an earlier row */
    if (mkdir(folder, 0700) != 0 && stat(folder, &old) != 0) return qd_fail_errno(ctx, folder, errno);
    QD_TRY(qd_safetensors_write(ctx, path, m->tensors, m->n, metadata, 1, NULL, NULL));
    snprintf(path, sizeof path, "%s/config.json", folder);
    FILE *f = fopen(path, "w");
    if (!f) return qd_fail_errno(ctx, path, errno);
    fputs(m->config, f);
    return fclose(f) == 0 ? QDISP_OK : qd_fail_errno(ctx, path, errno);
}

void bench_model_remove(const char *folder) {
    static const char *const names[] = {"model.safetensors", "config.json"};
    char path[512];
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        remove(path);
    }
    remove(folder);
}
