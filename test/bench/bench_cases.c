/* bench_cases.c - what a user waits for: whole calls of the library. To add a case: a row in the table at the end, and
 * what it needs and does above it. The peers of a row (bench_peers.py) go by its name. */
#include "bench_jobs.h"
#include "bench_model.h"
#include "model/model.h"
#include "quant/quant.h"
#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { N_RATIOS = 80 };

static qdisp_status no_memory(run *r) {
    return qd_fail(r->ctx, QDISP_ENOMEM, "not enough memory for the inputs");
}

/* ---- Moments and shapes of arrays ---- */

static qdisp_status use_f32(run *r) {
    if (!r->f32) r->f32 = bench_weights(r->n);
    r->row.n = (double)r->n;
    r->row.bytes = 4 * r->row.n;
    return r->f32 ? QDISP_OK : no_memory(r);
}

static qdisp_status use_halves(run *r, uint16_t **halves, uint16_t (*convert)(float)) {
    QD_TRY(use_f32(r));
    if (!*halves) {
        *halves = bench_zeros(2 * r->n);
        for (size_t i = 0; *halves && i < r->n; i++) (*halves)[i] = convert(r->f32[i]);
    }
    r->row.bytes = 2 * r->row.n;
    return *halves ? QDISP_OK : no_memory(r);
}

static qdisp_status use_f16(run *r) {
    return use_halves(r, &r->f16, qd_f32_to_f16);
}

static qdisp_status use_bf16(run *r) {
    return use_halves(r, &r->bf16, qd_f32_to_bf16);
}

static qdisp_status use_rows(run *r) {
    if (!r->moments) r->moments = bench_zeros((r->n / GROUP + COLUMNS) * sizeof *r->moments);
    return r->moments ? use_f32(r) : no_memory(r);
}

static qdisp_status moments_f32(run *r) {
    return qdisp_moments_compute(r->ctx, r->f32, QDISP_DTYPE_F32, r->n, &(qdisp_moments){0});
}

static qdisp_status moments_f16(run *r) {
    return qdisp_moments_compute(r->ctx, r->f16, QDISP_DTYPE_F16, r->n, &(qdisp_moments){0});
}

static qdisp_status moments_bf16(run *r) {
    return qdisp_moments_compute(r->ctx, r->bf16, QDISP_DTYPE_BF16, r->n, &(qdisp_moments){0});
}

static qdisp_status moments_rows(run *r) {
    size_t columns = (size_t)r->job->arg;
    return qdisp_moments_rows(r->ctx, r->f32, QDISP_DTYPE_F32, r->n / columns, columns, r->moments);
}

static qdisp_status moments_columns(run *r) {
    return qdisp_moments_columns(r->ctx, r->f32, QDISP_DTYPE_F32, r->n / COLUMNS, COLUMNS, r->moments);
}

static qdisp_status shape_f32(run *r) {
    return qdisp_shape_compute(r->ctx, r->f32, QDISP_DTYPE_F32, r->n, &(qdisp_shape){0});
}

static qdisp_status shape_bf16(run *r) {
    return qdisp_shape_compute(r->ctx, r->bf16, QDISP_DTYPE_BF16, r->n, &(qdisp_shape){0});
}

/* ---- Census of a file ---- */

/* A model of the shape as a folder: r->folder, row.n its size. */
static qdisp_status write_model(run *r, bench_shape shape, qdisp_dtype dtype) {
    bench_model m;
    char path[600];
    QD_TRY(dtype == QDISP_DTYPE_F32 ? use_f32(r) : use_bf16(r));
    bench_model_make(&m, shape, r->o->scale, dtype, dtype == QDISP_DTYPE_F32 ? (void *)r->f32 : (void *)r->bf16, r->n);
    snprintf(r->folder, sizeof r->folder, "%s/qdisp-bench-%ld-%s", r->o->folder, (long)getpid(), qd_dtype_name(dtype));
    QD_TRY(bench_model_write(r->ctx, &m, r->folder));
    snprintf(path, sizeof path, "%s/model.safetensors", r->folder);
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) return qd_fail_errno(r->ctx, path, errno);
    r->row.n = r->row.bytes = (double)ftell(f);
    fclose(f);
    return QDISP_OK;
}

static qdisp_status use_file(run *r) {
    return write_model(r, BENCH_BLOOM, (qdisp_dtype)r->job->arg);
}

qdisp_status bench_census(run *r) {
    qdisp_model *model = NULL;
    qdisp_table *table = NULL;
    qdisp_status status = qdisp_model_open(r->ctx, r->folder, &model);
    if (status == QDISP_OK) status = qdisp_census(model, &table);
    qdisp_table_free(table);
    qdisp_model_free(model);
    return status;
}

/* ---- Quantizing a matrix ---- */

static qdisp_status use_matrix(run *r) {
    QD_TRY(use_f32(r));
    if (!r->bytes) r->bytes = bench_zeros(r->n);
    r->row.n = (double)r->n_rows * MATRIX_COLUMNS;
    r->row.bytes = 4 * r->row.n;
    return r->bytes ? QDISP_OK : no_memory(r);
}

/* The same with a place for the scales of groups of job->arg. */
static qdisp_status use_packed(run *r, unsigned bits) {
    QD_TRY(use_matrix(r));
    if (!r->packed_scales) r->packed_scales = bench_zeros(r->n / 8 * sizeof *r->packed_scales);
    r->row.bytes = r->row.n * (4 + bits / 8.0 + 2.0 / r->job->arg);
    return r->packed_scales ? QDISP_OK : no_memory(r);
}

static qdisp_status use_int4(run *r) {
    return use_packed(r, 4);
}

static qdisp_status use_int8(run *r) {
    return use_packed(r, 8);
}

static qdisp_status rtn(run *r, unsigned bits) {
    return qdisp_quantize_packed(r->ctx, r->f32, QDISP_DTYPE_F32, r->n_rows, MATRIX_COLUMNS, bits, r->job->arg, 1,
                                 r->bytes, r->packed_scales);
}

static qdisp_status rtn_int4(run *r) {
    return rtn(r, 4);
}

static qdisp_status rtn_int8(run *r) {
    return rtn(r, 8);
}

static qdisp_status use_codes(run *r) {
    QD_TRY(use_int4(r));
    if (!r->quantized) r->quantized = bench_zeros(r->n_rows * MATRIX_COLUMNS * sizeof *r->quantized);
    return r->quantized ? rtn(r, 4) : no_memory(r);
}

static qdisp_status unpack_int4(run *r) {
    return qdisp_dequantize_packed(r->ctx, r->bytes, r->packed_scales, r->n_rows, MATRIX_COLUMNS, 4, r->job->arg,
                                   r->quantized);
}

/* The least squared error over 80 thresholds, absmax times 1, 0.99 ... 0.21, in every group of a row, as la-aciq
 * searches: exact, and it stops where no later threshold can be better. */
static qdisp_status grid_row(void *arg, size_t row, unsigned i_worker) {
    run *r = arg;
    const qd_kernels *k = r->ctx->kernels;
    float ratios[N_RATIOS];
    (void)i_worker;
    for (int i = 0; i < N_RATIOS; i++) ratios[i] = 1 - 0.01f * (float)i;
    for (size_t g = 0; g < MATRIX_COLUMNS / GROUP; g++) {
        const float *w = r->f32 + row * MATRIX_COLUMNS + g * GROUP;
        qd_grid grid;
        float most = k->abs_max(w, GROUP);
        qd_unit unit = {w, NULL, GROUP, GROUP, {-most, most}};
        r->bytes[row * (MATRIX_COLUMNS / GROUP) + g] =
            (uint8_t)qd_grid_search(k, &unit, ratios, N_RATIOS, 4, QD_FULL, &grid);
    }
    return QDISP_OK;
}

static qdisp_status mse_grid(run *r) {
    return qd_parallel(r->ctx, r->n_rows, grid_row, r);
}

/* A quantizer of 4 bits for the matrix, with the energies of job->arg languages: each has inputs of its own that are
 * large. */
static qdisp_status use_quantizer(run *r, const char *method, int64_t group_size) {
    qdisp_quantizer_options options = {.size = sizeof options, .bits = 4, .group_size = group_size};
    size_t n = r->n_rows * MATRIX_COLUMNS;
    QD_TRY(use_matrix(r));
    if (!r->quantized) r->quantized = bench_zeros(n * sizeof *r->quantized);
    if (!r->steps) {
        r->steps = bench_zeros(n / 8 * sizeof *r->steps);
        r->scales = bench_zeros(n / 8 * sizeof *r->scales);
        r->energy = bench_zeros(sizeof *r->energy * MAX_LANGUAGES * MATRIX_COLUMNS);
        if (!r->quantized || !r->steps || !r->scales || !r->energy) return no_memory(r);
        for (size_t k = 0; k < (size_t)MAX_LANGUAGES * MATRIX_COLUMNS; k++) {
            double x = (double)r->f32[k * 7919 % r->n] / 0.02;
            r->energy[k] = 0.01 + x * x;
        }
    }
    r->matrix = (qdisp_matrix){.size = sizeof r->matrix, .data = r->f32, .dtype = QDISP_DTYPE_F32, .n_out = r->n_rows,
                               .n_in = MATRIX_COLUMNS, .energy = r->energy, .n_languages = (uint64_t)r->job->arg};
    return qdisp_quantizer_new(r->ctx, method, &options, &r->quantizer);
}

static qdisp_status use_aciq(run *r) {
    return use_quantizer(r, "aciq", QDISP_GROUP_TENSOR);
}

static qdisp_status use_laaciq(run *r) {
    return use_quantizer(r, "la-aciq", GROUP);
}

static qdisp_status use_laaciq_channel(run *r) {
    return use_quantizer(r, "la-aciq", QDISP_GROUP_CHANNEL);
}

static qdisp_status choose_thresholds(run *r) {
    return qdisp_quantizer_matrix(r->quantizer, &r->matrix, r->steps, r->scales);
}

static qdisp_status quantize_row(void *arg, size_t row, unsigned i_worker) {
    run *r = arg;
    qd_grid grid = {*r->scales, *r->scales > 0 ? 1 / *r->scales : 0, -7, 7};
    size_t first = row * MATRIX_COLUMNS;
    (void)i_worker;
    r->ctx->kernels->quantize(r->f32 + first, MATRIX_COLUMNS, &grid, r->quantized + first);
    return QDISP_OK;
}

static qdisp_status aciq_rtn(run *r) {
    QD_TRY(choose_thresholds(r));
    return qd_parallel(r->ctx, r->n_rows, quantize_row, r);
}

/* ---- Methods that need more than thresholds: a layer of 2048 x 2048 to codes ---- */

enum { LAYER = 2048, N_SAMPLES = 64 };
typedef enum method { GPTQ, HQQ, NF4 } method;
static const struct {
    const char *name;
    int group_size;
    qd_levels levels;
} methods[] = {[GPTQ] = {"gptq", 128, QD_NARROW}, [HQQ] = {"hqq", 64, QD_ASYM}, [NF4] = {"nf4", 64, QD_NARROW}};

/* E[x x^T] of a few samples, with something on the diagonal as damping would put there. */
static void make_hessian(run *r) {
    for (size_t i = 0; i < LAYER; i++) {
        for (size_t j = 0; j <= i; j++) {
            double sum = 0;
            for (size_t k = 0; k < N_SAMPLES; k++)
                sum += (double)r->f32[k * LAYER + i] * (double)r->f32[k * LAYER + j];
            r->h[i * LAYER + j] = r->h[j * LAYER + i] = sum / N_SAMPLES + (i == j ? 1e-4 : 0);
        }
    }
}

static qdisp_status use_layer(run *r) {
    const qd_method *its = qd_method_find(methods[r->job->arg].name);
    size_t n = LAYER * LAYER;
    if (!its) return qd_fail(r->ctx, QDISP_EUNSUPPORTED, "no method %s", methods[r->job->arg].name);
    if (!r->f32) QD_TRY(use_f32(r));
    if (r->n < n) return qd_fail(r->ctx, QDISP_EINVAL, "for --quick and more");
    if (!r->h) r->h = bench_zeros(2 * n * sizeof *r->h);
    if (!r->units) r->units = bench_zeros(2 * n);
    if (!r->h || !r->units) return no_memory(r);
    if (r->job->arg == GPTQ) make_hessian(r);
    r->choice = (qd_choice){.name = "layer", .method = its, .type = "int", .data = r->f32, .dtype = QDISP_DTYPE_F32,
                            .n_out = LAYER, .n_in = LAYER, .bits = 4, .levels = methods[r->job->arg].levels,
                            .group_size = methods[r->job->arg].group_size, .clips = r->units, .gains = r->units + n};
    r->choice.n_units = qd_unit_count(LAYER, LAYER, r->choice.group_size, &r->choice.units_per_row);
    r->row.n = (double)n;
    return QDISP_OK;
}

static qdisp_status quantize_layer(run *r) {
    qd_codes codes;
    memcpy(r->h + LAYER * LAYER, r->h, LAYER * LAYER * sizeof *r->h); /* quantizing may change it */
    qd_inputs inputs = {.h = r->h + LAYER * LAYER};
    QD_TRY(qd_choice_quantize(r->ctx, &r->choice, &inputs, &codes));
    qd_codes_clear(r->ctx, &codes);
    return QDISP_OK;
}

/* ---- Languages ---- */

/* A model in memory and the energies of job->arg languages. */
static qdisp_status use_languages(run *r) {
    bench_model m;
    QD_TRY(use_f32(r));
    bench_model_make(&m, BENCH_BLOOM, r->o->scale, QDISP_DTYPE_F32, r->f32, r->n);
    QD_TRY(qdisp_model_from_tensors(r->ctx, m.config, m.tensors, m.n, &r->model));
    QD_TRY(qdisp_calib_new(r->model, &r->calib));
    for (size_t i = 0; i < m.n; i++) {
        const qdisp_tensor *t = &m.tensors[i];
        if (t->n_dims < 2 || strstr(t->name, "word_embeddings")) continue;
        for (int l = 0; l < r->job->arg; l++) {
            char tag[4] = {(char)('a' + l / 26), (char)('a' + l % 26), 'a', 0};
            QD_TRY(qdisp_calib_feed(r->calib, tag, 0, t->name, r->f32 + l, 1, (size_t)t->shape[1], 0));
        }
    }
    r->row.n = (double)m.n_weights;
    r->row.bytes = 4 * r->row.n;
    return QDISP_OK;
}

static qdisp_status effective_kurtosis(run *r) {
    qdisp_table *table = NULL;
    QD_TRY(qdisp_calib_languages(r->calib, r->model, &table));
    qdisp_table_free(table);
    return QDISP_OK;
}

/* ---- Resampling ---- */

/* Pairs of a weak correlation. */
static qdisp_status use_pairs(run *r) {
    for (int i = 0; i < N_PAIRS; i++) {
        r->x[i] = (double)(i * 5 % N_PAIRS);
        r->y[i] = 0.3 * r->x[i] + (double)(i * i % 11);
    }
    r->row.n = r->o->scale == BENCH_FULL ? 1e6 : r->o->scale == BENCH_QUICK ? 1e5 : 1e4;
    return QDISP_OK;
}

static qdisp_status bootstrap(run *r) {
    return qdisp_bootstrap_correlation(r->ctx, QDISP_CORRELATION_PEARSON, r->x, r->y, N_PAIRS,
                                       (qdisp_interval_method)r->job->arg, 0.95, (size_t)r->row.n, 1,
                                       &(qdisp_bootstrap){0});
}

static qdisp_status permutation(run *r) {
    return qdisp_permutation_correlation(r->ctx, QDISP_CORRELATION_PEARSON, r->x, r->y, N_PAIRS, QDISP_TWO_SIDED,
                                         (size_t)r->row.n, 1, &(qdisp_permutation){0});
}

/* ---- Opening a file ---- */

enum { GIB_TENSORS = 300, GIB_ROWS = 3495 };

/* A file of 300 tensors and 1 GiB, of which only the header takes room on the disk. */
static qdisp_status use_sparse(run *r) {
    char header[GIB_TENSORS * 96];
    int n = 0;
    size_t size = (size_t)GIB_ROWS * 256 * 4;
    for (size_t i = 0; i < GIB_TENSORS; i++)
        n += snprintf(header + n, sizeof header - (size_t)n,
                      "%c\"h.%zu.weight\":{\"dtype\":\"F32\",\"shape\":[%d,256],\"data_offsets\":[%zu,%zu]}",
                      i ? ',' : '{', i, GIB_ROWS, i * size, (i + 1) * size);
    header[n++] = '}';
    uint64_t n_header = (uint64_t)n;
    snprintf(r->folder, sizeof r->folder, "%s/qdisp-bench-%ld-sparse", r->o->folder, (long)getpid());
    char path[600];
    snprintf(path, sizeof path, "%s/model.safetensors", r->folder);
    FILE *f = mkdir(r->folder, 0700) == 0 || errno == EEXIST ? fopen(path, "wb") : NULL;
    if (!f || fwrite(&n_header, 1, 8, f) != 8 || fwrite(header, 1, n_header, f) != n_header ||
        ftruncate(fileno(f), (off_t)(8 + n_header + GIB_TENSORS * size)) != 0)
        return qd_fail_errno(r->ctx, path, errno);
    r->row.n = 1;
    return fclose(f) == 0 ? QDISP_OK : qd_fail_errno(r->ctx, path, errno);
}

static qdisp_status open_sparse(run *r) {
    char path[600];
    qd_tensor_file *file = NULL;
    snprintf(path, sizeof path, "%s/model.safetensors", r->folder);
    qdisp_status status = qd_safetensors_open(r->ctx, path, &file);
    qd_tensor_file_free(file);
    return status;
}

/* ---- Evaluating a model ---- */

enum { WINDOW = 512 };

/* Tokens of the text, if there are any and a tokenizer beside the model, else any numbers. */
static qdisp_status use_tokens(run *r, const char *path, size_t n) {
    size_t n_text, n_ids = 0;
    char *text = r->o->text ? bench_read(r->o->text, &n_text) : NULL;
    int32_t *ids = text ? malloc((n_text + 1) * sizeof *ids) : NULL;
    if (ids && qdisp_tokenizer_open(r->ctx, path, &r->tokenizer) == QDISP_OK &&
        qdisp_tokenizer_encode(r->tokenizer, text, n_text, ids, NULL, n_text + 1, &n_ids) == QDISP_OK && n_ids >= n)
        memcpy(r->ids, ids, n * sizeof *ids);
    else
        for (size_t i = 0; i < n; i++) r->ids[i] = (int32_t)(i * 7919 % (size_t)r->model->info.n_vocab);
    free(ids), free(text);
    return QDISP_OK;
}

/* Multiply-adds of a window: the linear maps, the head for the half that is scored, attention to what is before. */
static double products_of(const qdisp_model *m) {
    double n = 0;
    for (size_t i = 0; i < m->n_linears; i++)
        n += (double)m->linears[i].n_out * (double)m->linears[i].n_in * (i + 1 < m->n_linears ? WINDOW : WINDOW / 2);
    return n + (double)m->config.n_layer * (double)(m->config.n_head * m->config.head_dim) * WINDOW * (WINDOW + 1);
}

/* Windows of 512, of which the second half is scored, as llama-perplexity does. */
static qdisp_status use_evaluation(run *r) {
    size_t n_windows = r->o->scale == BENCH_FULL ? 4 : r->o->scale == BENCH_QUICK ? 2 : 1, n = n_windows * WINDOW;
    if (!r->o->model) QD_TRY(write_model(r, BENCH_SMOLLM2, QDISP_DTYPE_BF16));
    const char *path = r->o->model ? r->o->model : r->folder;
    QD_TRY(qdisp_model_open(r->ctx, path, &r->model));
    for (size_t w = 0; w <= n_windows; w++) r->starts[w] = w * WINDOW;
    QD_TRY(use_tokens(r, path, n));
    for (size_t i = 0; i < n; i++) r->targets[i] = i % WINDOW < WINDOW / 2 ? -1 : r->ids[i + 1 < n ? i + 1 : i];
    r->row.n = (double)n;
    r->row.bytes = 0;
    r->products = products_of(r->model) * (double)n_windows;
    return QDISP_OK;
}

static qdisp_status evaluate(run *r) {
    qdisp_batch batch = {.size = sizeof batch, .ids = r->ids, .starts = r->starts, .n_seq = (size_t)r->row.n / WINDOW,
                         .targets = r->targets};
    qdisp_run_options options = {.size = sizeof options, .nll = r->nll};
    return qdisp_model_run(r->model, &batch, &options);
}

/* ---- The whole ---- */

static qdisp_status use_embedded(run *r) {
    const char *languages = r->o->scale == BENCH_FULL ? NULL : "en,sw";
    r->row.n = 1;
    QD_TRY(qdisp_model_open(r->ctx, QDISP_ROOT "/examples/data/model", &r->model));
    QD_TRY(qdisp_tokenizer_open(r->ctx, QDISP_ROOT "/examples/data/model", &r->tokenizer));
    return qdisp_corpus_open(r->ctx, QDISP_ROOT "/examples/data/text", languages, &r->corpus);
}

static qdisp_status diagnose(run *r) {
    qdisp_diagnose_options options = {.size = sizeof options};
    qdisp_report *report = NULL;
    if (r->o->scale != BENCH_FULL) options.methods = "rtn", options.bits = "4";
    QD_TRY(qdisp_diagnose(r->model, r->tokenizer, r->corpus, &options, &report));
    qdisp_report_free(report);
    return QDISP_OK;
}

/* ---- The table ---- */

const job bench_job_table[] = {
    {"moments_f32", "Gel/s", use_f32, moments_f32, 0, READ},
    {"moments_rows_f32", "Gel/s", use_rows, moments_rows, COLUMNS, READ},
    {"moments_groups_f32", "Gel/s", use_rows, moments_rows, GROUP, READ},
    {"moments_columns_f32", "Gel/s", use_rows, moments_columns, 0, READ},
    {"moments_bf16", "Gel/s", use_bf16, moments_bf16, 0, READ},
    {"moments_f16", "Gel/s", use_f16, moments_f16, 0, READ},
    {"shape_f32", "Gel/s", use_f32, shape_f32, 0, READ},
    {"shape_bf16", "Gel/s", use_bf16, shape_bf16, 0, READ},
    {"census_f32", "Gbytes/s", use_file, bench_census, QDISP_DTYPE_F32, FILE_READ},
    {"census_bf16", "Gbytes/s", use_file, bench_census, QDISP_DTYPE_BF16, FILE_READ},
    {"open_1gib", "s", use_sparse, open_sparse, 0, NO_LIMIT},
    {"eval_smollm2", "tokens/s", use_evaluation, evaluate, 0, PRODUCTS},
    {"rtn_int4_g128", "Mel/s", use_int4, rtn_int4, GROUP, READ},
    {"rtn_int4_g32", "Mel/s", use_int4, rtn_int4, 32, READ},
    {"rtn_int8_g32", "Mel/s", use_int8, rtn_int8, 32, READ},
    {"unpack_int4_g128", "Mel/s", use_codes, unpack_int4, GROUP, READ},
    {"mse_grid_g128", "Mel/s", use_matrix, mse_grid, 0, NO_LIMIT},
    {"aciq_rtn", "Mel/s", use_aciq, aciq_rtn, 0, READ},
    {"laaciq_1", "Mel/s", use_laaciq, choose_thresholds, 1, NO_LIMIT},
    {"laaciq_32", "Mel/s", use_laaciq, choose_thresholds, 32, NO_LIMIT},
    {"laaciq_100", "Mel/s", use_laaciq, choose_thresholds, 100, NO_LIMIT},
    {"laaciq_channel_32", "Mel/s", use_laaciq_channel, choose_thresholds, 32, NO_LIMIT},
    {"gptq_g128", "Mel/s", use_layer, quantize_layer, GPTQ, NO_LIMIT},
    {"hqq_g64", "Mel/s", use_layer, quantize_layer, HQQ, NO_LIMIT},
    {"nf4_g64", "Mel/s", use_layer, quantize_layer, NF4, NO_LIMIT},
    {"effective_kurtosis_1", "Gel/s", use_languages, effective_kurtosis, 1, READ},
    {"effective_kurtosis_100", "Gel/s", use_languages, effective_kurtosis, 100, READ},
    {"bootstrap_pearson", "Mel/s", use_pairs, bootstrap, QDISP_INTERVAL_PERCENTILE, NO_LIMIT},
    {"bootstrap_pearson_bca", "Mel/s", use_pairs, bootstrap, QDISP_INTERVAL_BCA, NO_LIMIT},
    {"permutation_pearson", "Mel/s", use_pairs, permutation, 0, NO_LIMIT},
    {"diagnose", "s", use_embedded, diagnose, 0, NO_LIMIT},
};
const size_t bench_n_jobs = sizeof bench_job_table / sizeof *bench_job_table;
