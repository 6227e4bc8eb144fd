/* bench_model.c - synthetic models, in memory or as a file, for the jobs that take a model. */
#include "bench_model.h"

#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Rows and columns in units of the model's; 0 rows: the vocabulary; 0 columns: a vector. */
typedef struct part {
    const char *name;
    size_t rows, columns;
} part;

static const part bloom_whole[] = {{"word_embeddings.weight", 0, 1},
                                   {"word_embeddings_layernorm.weight", 1, 0},
                                   {"word_embeddings_layernorm.bias", 1, 0},
                                   {"ln_f.weight", 1, 0},
                                   {"ln_f.bias", 1, 0},
                                   {NULL, 0, 0}};
static const part bloom_block[] = {{"input_layernorm.weight", 1, 0},
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
                                   {"mlp.dense_4h_to_h.bias", 1, 0},
                                   {NULL, 0, 0}};
static const part llama_whole[] = {{"embed_tokens.weight", 0, 3}, {"norm.weight", 3, 0}, {NULL, 0, 0}};
static const part llama_block[] = {{"input_layernorm.weight", 3, 0},
                                   {"self_attn.q_proj.weight", 3, 3},
                                   {"self_attn.k_proj.weight", 1, 3},
                                   {"self_attn.v_proj.weight", 1, 3},
                                   {"self_attn.o_proj.weight", 3, 3},
                                   {"post_attention_layernorm.weight", 3, 0},
                                   {"mlp.gate_proj.weight", 8, 3},
                                   {"mlp.up_proj.weight", 8, 3},
                                   {"mlp.down_proj.weight", 3, 8},
                                   {NULL, 0, 0}};

typedef struct size_row {
    size_t unit, n_layer, vocab;
} size_row;

static const struct {
    const char *prefix, *blocks, *config; /* config: vocabulary, width, layers */
    const part *whole, *block;
    size_t width; /* in units */
    size_row sizes[3];
} shapes[] = {
    [BENCH_BLOOM] = {"transformer.", "h", "{\"architectures\": [\"BloomForCausalLM\"], \"model_type\": \"bloom\", "
                     "\"vocab_size\": %zu, \"hidden_size\": %zu, \"n_layer\": %zu, \"n_head\": 8, "
                     "\"layer_norm_epsilon\": 1e-5, \"bos_token_id\": 1, \"eos_token_id\": 2}",
                     bloom_whole, bloom_block, 1, /* 256 Ki, 16 Mi and 256 Mi weights */
                     {{128, 1, 512}, {1024, 1, 4096}, {2048, 4, 32768}}},
    [BENCH_SMOLLM2] = {"model.", "layers", "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", "
                       "\"vocab_size\": %zu, \"hidden_size\": %zu, \"num_hidden_layers\": %zu, "
                       "\"intermediate_size\": 1536, \"num_attention_heads\": 9, \"num_key_value_heads\": 3, "
                       "\"rms_norm_eps\": 1e-5, \"rope_theta\": 100000, \"max_position_embeddings\": 8192, "
                       "\"hidden_act\": \"silu\", \"tie_word_embeddings\": true, \"bos_token_id\": 1, "
                       "\"eos_token_id\": 2}",
                       llama_whole, llama_block, 3, /* SmolLM2-135M's: 134 515 008 weights */
                       {{192, 1, 512}, {192, 6, 49152}, {192, 30, 49152}}},
};

static void add(bench_model *m, const char *name, size_t rows, size_t columns, const void *data, size_t n_data) {
    size_t n = rows * (columns ? columns : 1), size = m->dtype == QDISP_DTYPE_F32 ? 4 : 2;
    size_t first = n_data > n ? m->n_weights % (n_data - n + 1) : 0; /* another place of the data each time */
    snprintf(m->names[m->n], sizeof m->names[m->n], "%s", name);
    m->tensors[m->n] = (qdisp_tensor){.name = m->names[m->n], .data = (const char *)data + first * size,
                                      .n_bytes = n * size, .shape = {rows, columns}, .n_dims = columns ? 2 : 1,
                                      .dtype = m->dtype};
    m->n_weights += n;
    m->n++;
}

void bench_model_make(bench_model *m, bench_shape shape, bench_scale scale, qdisp_dtype dtype, const void *data,
                      size_t n_data) {
    char name[96];
    const size_row *size = &shapes[shape].sizes[scale];
    size_t unit = size->unit;
    *m = (bench_model){.dtype = dtype};
    snprintf(m->config, sizeof m->config, shapes[shape].config, size->vocab, unit * shapes[shape].width, size->n_layer);
    for (const part *p = shapes[shape].whole; p->name; p++) {
        snprintf(name, sizeof name, "%s%s", shapes[shape].prefix, p->name);
        add(m, name, p->rows ? p->rows * unit : size->vocab, p->columns * unit, data, n_data);
    }
    for (size_t layer = 0; layer < size->n_layer; layer++)
        for (const part *p = shapes[shape].block; p->name; p++) {
            snprintf(name, sizeof name, "%s%s.%zu.%s", shapes[shape].prefix, shapes[shape].blocks, layer, p->name);
            add(m, name, p->rows * unit, p->columns * unit, data, n_data);
        }
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
