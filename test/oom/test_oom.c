/* test_oom.c - fails the N-th allocation, N = 1, 2, ... until a job succeeds: always QDISP_ENOMEM, never a crash, and
 * not one block is left. A job is a row of the table below; arguments name the jobs to run, none: all. Beyond the first
 * DENSE failures N is thinned out, so that a job takes at most about DENSE + SPARSE runs. Counted are the allocations
 * of the context; those of jansson, PCRE2 and OpenBLAS are their own. */
#include "tiny.h"
#include "words.h"

#include "tensor/tensor.h"

#include <sys/stat.h>

#define DENSE 300
#define SPARSE 80

typedef struct counter {
    long n_live, n_calls, fail_at;
} counter;
static counter memory;

static int fails(void) {
    return __atomic_add_fetch(&memory.n_calls, 1, __ATOMIC_RELAXED) == memory.fail_at;
}
static void *allocate(void *user, size_t n) {
    (void)user;
    if (fails()) return NULL;
    __atomic_add_fetch(&memory.n_live, 1, __ATOMIC_RELAXED);
    return malloc(n);
}
static void *reallocate(void *user, void *block, size_t n) {
    (void)user;
    if (fails()) return NULL;
    if (!block) __atomic_add_fetch(&memory.n_live, 1, __ATOMIC_RELAXED);
    return realloc(block, n);
}
static void release(void *user, void *block) {
    (void)user;
    __atomic_sub_fetch(&memory.n_live, 1, __ATOMIC_RELAXED);
    free(block);
}

static tiny *weights;
static char folder[64];

static const char *in_folder(const char *name) {
    static char text[128];
    snprintf(text, sizeof text, "%s/%s", folder, name);
    return text;
}

/* What a job works on; opened before failures start unless the job opens it itself. */
typedef struct inputs {
    qdisp_ctx *ctx;
    qdisp_model *model;
    qdisp_tokenizer *tokenizer;
    qdisp_corpus *corpus;
    qdisp_calib *calib;
    qdisp_table *plan;
} inputs;

static const char *const tags[] = {"en", "sw", "el"};
static const char *const texts[] = {"one line\ntwo lines\nthree\nfour of them\n", "mstari\nmistari miwili\ntatu\nnne\n",
                                    "ένα\nδύο\nτρία\nτέσσερα\n"};

static qdisp_status open_model(inputs *in) {
    return qdisp_model_from_tensors(in->ctx, weights->config, weights->tensors, weights->n, &in->model);
}
static qdisp_status open_folder(inputs *in) {
    return qdisp_model_open(in->ctx, in_folder("model"), &in->model);
}
static qdisp_status open_arch(inputs *in, const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/test/golden/arch/%s", QDISP_ROOT, name);
    return qdisp_model_open(in->ctx, path, &in->model);
}
static qdisp_status open_transposed(inputs *in) {
    return open_arch(in, "gpt2");
}
static qdisp_status open_experts(inputs *in) {
    return open_arch(in, "mixtral");
}
static qdisp_status open_encoder(inputs *in) {
    return open_arch(in, "bert");
}
static qdisp_status open_both(inputs *in) {
    return open_arch(in, "t5");
}
static qdisp_status open_gguf_models(inputs *in) {
    static const char *const names[] = {"gpt2", "t5", "mixtral", "gemma3", "falcon_new", "phi3_longrope"};
    qdisp_status status = QDISP_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && status == QDISP_OK; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/test/golden/gguf/%s.gguf", QDISP_ROOT, names[i]);
        qdisp_model_free(in->model);
        in->model = NULL;
        status = qdisp_model_open(in->ctx, path, &in->model);
    }
    return status;
}
static qdisp_status open_gguf(inputs *in) {
    qd_tensor_file *file = NULL;
    qdisp_status status = qd_tensor_file_open(in->ctx, QDISP_ROOT "/test/golden/gguf/blocks.gguf", &file);
    qd_tensor_file_free(file);
    return status;
}
static qdisp_status open_paths(inputs *in, const char *const *paths) {
    qdisp_status status = QDISP_OK;
    for (; *paths && status == QDISP_OK; paths++) {
        qd_tensor_file *file = NULL;
        status = qd_weights_open(in->ctx, *paths, &file);
        qd_tensor_file_free(file);
    }
    return status;
}
static qdisp_status open_torch(inputs *in) {
    return open_paths(in, (const char *const[]){QDISP_ROOT "/test/golden/torch/views.bin",
                                                QDISP_ROOT "/test/golden/torch/nested.bin", NULL});
}
static qdisp_status open_shards(inputs *in) {
    return open_paths(in, (const char *const[]){in_folder("model/model.safetensors.index.json"), NULL});
}
#define QUANTIZED QDISP_ROOT "/test/golden/quantized/"
static qdisp_status open_quantized(inputs *in) {
    return open_paths(in, (const char *const[]){QUANTIZED "gptq_v2", QUANTIZED "awq_gemv", QUANTIZED "ct_fp4",
                                                QUANTIZED "ct_naive", QUANTIZED "bnb_4bit", QUANTIZED "bnb_int8",
                                                QUANTIZED "fp8", NULL});
}
static qdisp_status open_tokenizer(inputs *in) {
    return qdisp_tokenizer_open(in->ctx, in_folder("tokenizer.json"), &in->tokenizer);
}
/* Files of every kind that tokenizers come from. */
static qdisp_status open_sources(inputs *in, const char *const *files, const char *encoding) {
    qdisp_tokenizer_options options = {.size = sizeof options, .encoding = encoding};
    qdisp_status status = QDISP_OK;
    for (; *files && status == QDISP_OK; files++) {
        char path[512];
        qdisp_tokenizer *t = NULL;
        snprintf(path, sizeof path, "%s/test/%s", QDISP_ROOT, *files);
        status = qdisp_tokenizer_open_as(in->ctx, path, &options, &t);
        qdisp_tokenizer_free(t);
    }
    return status;
}
static qdisp_status open_sentencepiece(inputs *in) {
    return open_sources(in, (const char *const[]){"hostile/sentencepiece/good.model",
                                                  "hostile/sentencepiece/good_bpe.model",
                                                  "golden/sentencepiece/unigram_user.model", NULL}, NULL);
}
static qdisp_status open_tiktoken(inputs *in) {
    return open_sources(in, (const char *const[]){"hostile/tiktoken/good.tiktoken", NULL}, "llama3");
}
static qdisp_status open_gguf_vocab(inputs *in) {
    return open_sources(in, (const char *const[]){"hostile/gguf_vocab/good.gguf", "hostile/gguf_vocab/good_t5.gguf",
                                                  "hostile/gguf_vocab/good_gpt2.gguf",
                                                  "hostile/gguf_vocab/good_bert.gguf", NULL}, NULL);
}
static qdisp_status open_words(inputs *in) {
    in->tokenizer = words_tokenizer(in->ctx, "0 $ 1", 1);
    return in->tokenizer ? QDISP_OK : QDISP_EIO;
}
static qdisp_status open_words_text(inputs *in) {
    static const char *const lines[] = {"w7 w8 w9 w10\nw11\n", "w30 w31\nw32 w33 w34\n"};
    const size_t n_bytes[] = {strlen(lines[0]), strlen(lines[1])};
    return qdisp_corpus_from_texts(in->ctx, tags, lines, n_bytes, 2, &in->corpus);
}
static qdisp_status open_corpus(inputs *in) {
    size_t n_bytes[3];
    for (size_t i = 0; i < 3; i++) n_bytes[i] = strlen(texts[i]);
    return qdisp_corpus_from_texts(in->ctx, tags, texts, n_bytes, 3, &in->corpus);
}
static qdisp_status open_corpus_folder(inputs *in) {
    return qdisp_corpus_open(in->ctx, in_folder("text"), NULL, &in->corpus);
}
static qdisp_status open_calib(inputs *in) {
    qdisp_status status = qdisp_calib_new(in->model, &in->calib);
    return status == QDISP_OK ? qdisp_calib_collect(in->calib, in->model, in->tokenizer, in->corpus) : status;
}
static qdisp_status open_plan(inputs *in) {
    qdisp_quantizer_options o = {.size = sizeof o, .group_size = QDISP_GROUP_CHANNEL};
    qdisp_quantizer *q = NULL;
    qdisp_status status = qdisp_quantizer_new(in->ctx, "rtn", &o, &q);
    if (status == QDISP_OK) status = qdisp_quantizer_plan(q, in->model, NULL, &in->plan);
    qdisp_quantizer_free(q);
    return status;
}

static const int32_t few[] = {3, 4, 5, 6, 7, 8, 9};
static const size_t two[] = {0, 4, 7};
static int no_tap(void *user, qdisp_activation *a) {
    (void)user;
    (void)a;
    return 0;
}
static int no_grad(void *user, size_t i_linear, const float *grad, size_t n_out, size_t n_in) {
    (void)user;
    (void)i_linear;
    return !grad || !n_out || !n_in;
}
static qdisp_status run_batch(const inputs *in, const qdisp_batch *batch) {
    float nll[7];
    qdisp_run_options options = {.size = sizeof options, .nll = nll, .tap = no_tap, .sites = ~(uint64_t)0};
    return qdisp_model_run(in->model, batch, &options);
}
static qdisp_status run(inputs *in) {
    qdisp_batch batch = {.size = sizeof batch, .ids = few, .starts = two, .n_seq = 2};
    return run_batch(in, &batch);
}
static qdisp_status run_masked(inputs *in) {
    qdisp_batch batch = {.size = sizeof batch, .ids = few, .starts = two, .n_seq = 2, .mask_id_plus_1 = 4};
    return run_batch(in, &batch);
}
static qdisp_status run_pairs(inputs *in) {
    qdisp_batch batch = {.size = sizeof batch, .ids = few, .starts = two, .n_seq = 2, .source_ids = few,
                         .source_starts = two};
    return run_batch(in, &batch);
}
static qdisp_status grads(inputs *in) {
    qdisp_batch batch = {.size = sizeof batch, .ids = few, .starts = two, .n_seq = 2};
    if (qdisp_model_describe(in->model)->kind == QDISP_MODEL_ENCODER_DECODER) {
        batch.source_ids = few, batch.source_starts = two;
    }
    qdisp_grad_options options = {.size = sizeof options, .weight = no_grad, .tap = no_tap, .sites = ~(uint64_t)0};
    return qdisp_model_grads(in->model, &batch, &options);
}

static qdisp_status tokenize(inputs *in) {
    int32_t ids[64];
    char text[64];
    size_t starts[64], n_ids, n;
    qdisp_status status = qdisp_tokenizer_encode(in->tokenizer, "a β c</s>", 11, ids, starts, 64, &n_ids);
    return status == QDISP_OK ? qdisp_tokenizer_decode(in->tokenizer, ids, n_ids, 0, text, 64, &n) : status;
}
static qdisp_status split(inputs *in) {
    qdisp_corpus *a = NULL, *b = NULL;
    qdisp_table *t = NULL;
    qdisp_status status = qdisp_corpus_split(in->corpus, 0.5, 1, &a, &b);
    if (status == QDISP_OK) status = qdisp_corpus_describe(a, &t);
    qdisp_corpus_free(a);
    qdisp_corpus_free(b);
    qdisp_table_free(t);
    return status;
}
static qdisp_status tensors(inputs *in) {
    qdisp_table *t = NULL;
    qdisp_status status = qdisp_model_tensors(in->model, &t);
    qdisp_table_free(t);
    return status;
}
static qdisp_status census(inputs *in) {
    qdisp_table *t = NULL;
    qdisp_status status = qdisp_census(in->model, &t);
    qdisp_table_free(t);
    return status;
}
/* Rows longer than a span, at an odd address: with all the scratch that a pass may need. */
static qdisp_status shapes(inputs *in) {
    enum { ROWS = 3, COLUMNS = 70000 };
    static char bytes[4 * ROWS * COLUMNS + 1];
    static qdisp_moments columns[COLUMNS];
    static const double half = 0.5;
    const void *x = bytes + 1;
    qdisp_moments m[ROWS];
    qdisp_shape s;
    double q;
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (char)(i % 64);
    qdisp_status status = qdisp_moments_rows(in->ctx, x, QDISP_DTYPE_F32, ROWS, COLUMNS, m);
    if (status == QDISP_OK) status = qdisp_moments_columns(in->ctx, x, QDISP_DTYPE_F32, ROWS, COLUMNS, columns);
    if (status == QDISP_OK) status = qdisp_shape_compute(in->ctx, x, QDISP_DTYPE_F32, ROWS * COLUMNS, &s);
    if (status == QDISP_OK) status = qdisp_quantiles(in->ctx, x, QDISP_DTYPE_F32, 100, 1, &half, 1, &q);
    return status;
}
static qdisp_status inference(inputs *in) {
    static const double x[6] = {1, 2, 3, 5, 8, 13}, y[6] = {2, 1, 4, 3, 6, 5}, p[3] = {0.1, 0.2, 0.01};
    double adjusted[3], vif;
    qdisp_correlation_test c;
    qdisp_fit fit;
    qdisp_t_test t;
    qdisp_tost tost;
    qdisp_table *table = NULL;
    qdisp_status status = qdisp_holm(in->ctx, p, 3, adjusted);
    if (status == QDISP_OK) status = qdisp_benjamini_hochberg(in->ctx, p, 3, adjusted);
    if (status == QDISP_OK) status = qdisp_partial(in->ctx, x, y, p, 1, 3, QDISP_TWO_SIDED, 0.95, &c);
    if (status == QDISP_OK) status = qdisp_vif(in->ctx, x, 1, 6, &vif);
    if (status == QDISP_OK) status = qdisp_t_test_welch(in->ctx, x, 6, y, 6, QDISP_TWO_SIDED, 0.95, &t);
    if (status == QDISP_OK) status = qdisp_tost_paired(in->ctx, x, y, 6, -1, 1, 0.05, &tost);
    for (int k = 0; k < 3 && status == QDISP_OK; k++) {
        status = qdisp_leave_one_out(in->ctx, (qdisp_correlation)k, x, y, NULL, 6, 0.95, &table);
        qdisp_table_free(table);
        table = NULL;
    }
    if (status == QDISP_OK) status = qdisp_ols(in->ctx, y, x, NULL, 1, 6, 0.95, &fit, &table);
    qdisp_table_free(table);
    return status;
}
static qdisp_status resample(inputs *in) {
    static const double x[10] = {1, 2, 3, 5, 8, 13, 21, 34, 55, 89}, y[10] = {2, 1, 4, 3, 6, 5, 8, 7, 10, 9};
    static const float w[10] = {1, 2, 3, 5, 8, 13, 21, 34, 55, 89};
    qdisp_bootstrap b;
    qdisp_permutation p;
    qdisp_jackknife j;
    qdisp_aciq a;
    double low, high;
    qdisp_status status = qdisp_bootstrap_ratio(in->ctx, x, y, 10, 0.95, 5000, 1, &low, &high);
    for (int k = 0; k < 3 && status == QDISP_OK; k++) {
        qdisp_correlation kind = (qdisp_correlation)k;
        status = qdisp_bootstrap_correlation(in->ctx, kind, x, y, 10, QDISP_INTERVAL_BCA, 0.95, 200, 1, &b);
        if (status == QDISP_OK) status = qdisp_permutation_correlation(in->ctx, kind, x, y, 10, QDISP_LESS, 200, 1, &p);
        if (status == QDISP_OK) status = qdisp_jackknife_correlation(in->ctx, kind, x, y, 10, &j);
    }
    return status == QDISP_OK ? qdisp_aciq_array(in->ctx, w, QDISP_DTYPE_F32, 10, 4, 1, &a) : status;
}
static qdisp_status calibrate(inputs *in) {
    qdisp_status status = open_calib(in);
    qdisp_table *t = NULL, *d = NULL;
    if (status == QDISP_OK) status = qdisp_calib_languages(in->calib, in->model, &t);
    if (status == QDISP_OK) status = qdisp_calib_describe(in->calib, &d);
    qdisp_table_free(t);
    qdisp_table_free(d);
    return status;
}
static qdisp_status open_gradients(inputs *in) {
    qdisp_status status = open_calib(in);
    return status == QDISP_OK ? qdisp_calib_collect_gradients(in->calib, in->model, in->tokenizer, in->corpus) : status;
}
static qdisp_status calibrate_gradients(inputs *in) {
    return qdisp_calib_collect_gradients(in->calib, in->model, in->tokenizer, in->corpus);
}
static qdisp_status calib_files(inputs *in) {
    qdisp_calib *back = NULL;
    qdisp_status status = qdisp_calib_save(in->calib, in_folder("stats"));
    if (status == QDISP_OK) status = qdisp_calib_open(in->ctx, in_folder("stats"), &back);
    if (status == QDISP_OK) status = qdisp_calib_merge(back, in->calib);
    qdisp_calib_free(back);
    return status;
}
static qdisp_status plan_by(inputs *in, const char *method, int64_t group_size) {
    qdisp_quantizer_options o = {.size = sizeof o, .group_size = group_size, .n_steps = 2};
    qdisp_quantizer *q = NULL;
    qdisp_table *t = NULL;
    qdisp_status status = qdisp_quantizer_new(in->ctx, method, &o, &q);
    if (status == QDISP_OK) status = qdisp_quantizer_plan(q, in->model, in->calib, &t);
    qdisp_quantizer_free(q);
    qdisp_table_free(t);
    return status;
}
static qdisp_status allocate_bits(inputs *in) {
    qdisp_quantizer_options o = {.size = sizeof o, .group_size = 8};
    qdisp_allocation_options a = {.size = sizeof a, .bits_per_weight = 6, .bits = "2,4,8"};
    qdisp_quantizer *q = NULL;
    qdisp_table *t = NULL, *s = NULL;
    qdisp_status status = qdisp_quantizer_new(in->ctx, "rtn", &o, &q);
    if (status == QDISP_OK) status = qdisp_quantizer_allocate(q, in->model, in->calib, &a, &t, &s);
    CHECK((status == QDISP_OK) == (t != NULL) && (status == QDISP_OK) == (s != NULL));
    qdisp_quantizer_free(q);
    qdisp_table_free(t);
    qdisp_table_free(s);
    return status;
}
static qdisp_status super_weights(inputs *in) {
    qdisp_superweights_options o = {.size = sizeof o, .n_candidates = 1, .n_resamples = 100};
    qdisp_quantizer_options keep = {.size = sizeof keep, .group_size = 8};
    qdisp_quantizer *q = NULL;
    qdisp_table *t = NULL, *plan = NULL;
    qdisp_status status = qdisp_superweights(in->model, in->tokenizer, in->corpus, &o, &t);
    keep.keep = t;
    if (status == QDISP_OK) status = qdisp_quantizer_new(in->ctx, "rtn", &keep, &q);
    if (status == QDISP_OK) status = qdisp_quantizer_plan(q, in->model, NULL, &plan);
    qdisp_quantizer_free(q);
    qdisp_table_free(plan);
    qdisp_table_free(t);
    return status;
}
static qdisp_status plan_rtn(inputs *in) { return plan_by(in, "rtn", 8); }
static qdisp_status plan_aciq(inputs *in) { return plan_by(in, "aciq", QDISP_GROUP_TENSOR); }
static qdisp_status plan_laaciq(inputs *in) { return plan_by(in, "la-aciq", QDISP_GROUP_CHANNEL); }
static qdisp_status plan_smoothquant(inputs *in) { return plan_by(in, "smoothquant", QDISP_GROUP_CHANNEL); }
static qdisp_status plan_mse(inputs *in) { return plan_by(in, "mse", 8); }
static qdisp_status plan_percentile(inputs *in) { return plan_by(in, "percentile", QDISP_GROUP_TENSOR); }
static qdisp_status plan_kl(inputs *in) { return plan_by(in, "kl", QDISP_GROUP_CHANNEL); }
static qdisp_status plan_hqq(inputs *in) { return plan_by(in, "hqq", 8); }
static qdisp_status plan_nf4(inputs *in) { return plan_by(in, "nf4", 8); }
static qdisp_status plan_awq(inputs *in) { return plan_by(in, "awq", 8); }
static qdisp_status pack(inputs *in) {
    static float w[8 * 50];
    uint8_t packed[8 * 25];
    uint16_t scales[8 * 6];
    qdisp_status status = qdisp_quantize_packed(in->ctx, w, QDISP_DTYPE_F32, 8, 50, 4, 9, 0, packed, scales);
    return status == QDISP_OK ? qdisp_dequantize_packed(in->ctx, packed, scales, 8, 50, 4, 9, w) : status;
}
static qdisp_status apply(inputs *in) {
    qdisp_model *m = NULL;
    qdisp_status status = qdisp_plan_apply(in->plan, in->model, NULL, &m);
    qdisp_model_free(m);
    return status;
}
/* A plan that needs text, made and applied. */
static qdisp_status gptq(inputs *in) {
    qdisp_quantizer_options o = {.size = sizeof o, .group_size = 8};
    qdisp_plan_options with = {.size = sizeof with, .tokenizer = in->tokenizer, .corpus = in->corpus};
    qdisp_quantizer *q = NULL;
    qdisp_table *t = NULL;
    qdisp_model *m = NULL;
    qdisp_status status = qdisp_quantizer_new(in->ctx, "gptq", &o, &q);
    if (status == QDISP_OK) status = qdisp_quantizer_plan(q, in->model, NULL, &t);
    if (status == QDISP_OK) status = qdisp_plan_apply(t, in->model, &with, &m);
    qdisp_quantizer_free(q);
    qdisp_table_free(t);
    qdisp_model_free(m);
    return status;
}
static qdisp_status weigh_languages(inputs *in) {
    qdisp_quantizer_options o = {.size = sizeof o, .group_size = 8, .roles = "mlp.down"};
    qdisp_plan_options with = {.size = sizeof with, .tokenizer = in->tokenizer, .corpus = in->corpus};
    qdisp_fair_options fair = {.size = sizeof fair, .n_steps = 1};
    qdisp_quantizer *q = NULL;
    qdisp_table *t = NULL, *steps = NULL;
    qdisp_status status = qdisp_quantizer_new(in->ctx, "gptq", &o, &q);
    if (status == QDISP_OK) status = qdisp_quantizer_fair(q, in->model, NULL, &with, &fair, &t, &steps);
    qdisp_quantizer_free(q);
    qdisp_table_free(t);
    qdisp_table_free(steps);
    return status;
}
/* Removes what was written, so that the next run starts as the first did. */
static qdisp_status write_packed(inputs *in) {
    static const char *const files[] = {"config.json", "model.safetensors"};
    qdisp_status status = qdisp_plan_write(in->plan, in->model, NULL, "compressed-tensors", in_folder("packed"));
    for (size_t i = 0; i < 2; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", in_folder("packed"), files[i]);
        remove(path);
    }
    remove(in_folder("packed"));
    return status;
}
static qdisp_status fertility(inputs *in) {
    const qdisp_tokenizer *tokenizer = in->tokenizer;
    const char *name = "tiny";
    qdisp_report *report = NULL;
    qdisp_status status = qdisp_fertility(in->ctx, &tokenizer, &name, 1, in->corpus, NULL, &report);
    qdisp_report_free(report);
    return status;
}

static qdisp_status losses(inputs *in) {
    qdisp_table *t = NULL, *c = NULL;
    qdisp_status status = qdisp_eval_losses(in->model, in->tokenizer, in->corpus, &t);
    if (status == QDISP_OK) status = qdisp_eval_compare(t, t, 100, &c);
    qdisp_table_free(t);
    qdisp_table_free(c);
    return status;
}
static qdisp_status eval_text(inputs *in) {
    qdisp_eval_text_options options = {.size = sizeof options, .window = 8, .min_context = 2};
    qdisp_table *t = NULL;
    char *text = words_text(60, 1);
    qdisp_status status = qdisp_eval_text(in->model, in->tokenizer, text, strlen(text), &options, &t);
    qdisp_table_free(t);
    free(text);
    return status;
}
/* Of what is at a path of every kind. */
static qdisp_status inspect(inputs *in) {
    static const char *const paths[] = {"golden/gguf/gpt2.gguf", "golden/arch/bert", "golden/quantized/gptq_v2",
                                        "hostile/sentencepiece/good.model"};
    qdisp_status status = QDISP_OK;
    for (size_t i = 0; i < sizeof paths / sizeof *paths && status == QDISP_OK; i++) {
        char path[512];
        qdisp_report *report = NULL;
        snprintf(path, sizeof path, "%s/test/%s", QDISP_ROOT, paths[i]);
        status = qdisp_inspect(in->ctx, path, &report);
        qdisp_report_free(report);
    }
    return status;
}
static qdisp_status diagnose(inputs *in) {
    qdisp_diagnose_options o = {.size = sizeof o, .methods = "rtn,la-aciq", .bits = "3", .n_resamples = 100};
    qdisp_report *r = NULL;
    qdisp_status status = qdisp_diagnose(in->model, in->tokenizer, in->corpus, &o, &r);
    qdisp_report_free(r);
    return status;
}
static qdisp_status gate(inputs *in) {
    qdisp_eval_gate_options o = {.size = sizeof o, .margin_bpb = 0.1};
    qdisp_table *t = NULL;
    qdisp_report *r = NULL;
    qdisp_status status = qdisp_eval_losses(in->model, in->tokenizer, in->corpus, &t);
    if (status == QDISP_OK) status = qdisp_eval_gate(t, t, &o, &r);
    qdisp_table_free(t);
    qdisp_report_free(r);
    return status;
}
static qdisp_status activations(inputs *in) {
    qdisp_table *t = NULL, *losses = NULL;
    qdisp_status status = qdisp_activations_choose(in->model, in->tokenizer, in->corpus, NULL, &t);
    qdisp_eval_activations a = {.size = sizeof a, .thresholds = t};
    if (status == QDISP_OK) status = qdisp_eval_losses_with(in->model, in->tokenizer, in->corpus, &a, &losses);
    qdisp_table_free(t);
    qdisp_table_free(losses);
    return status;
}
static qdisp_status diagnose_gradients(inputs *in) {
    qdisp_diagnose_options o = {.size = sizeof o, .methods = "rtn", .bits = "3", .n_resamples = 100, .gradients = 1};
    qdisp_report *r = NULL;
    qdisp_status status = qdisp_diagnose(in->model, in->tokenizer, in->corpus, &o, &r);
    qdisp_report_free(r);
    return status;
}
static int drop(void *user, const char *bytes, size_t n) {
    (void)user, (void)bytes, (void)n;
    return 0;
}
static qdisp_status tables(inputs *in) {
    static const char *const formats[] = {"text", "csv", "markdown", "json"};
    qdisp_table *t = NULL;
    qdisp_status status = qdisp_table_save(in->plan, in_folder("plan.csv"), "csv");
    if (status == QDISP_OK) status = qdisp_table_open_csv(in->ctx, in_folder("plan.csv"), "plan", &t);
    for (size_t i = 0; i < 4 && status == QDISP_OK; i++) status = qdisp_table_write(t, formats[i], drop, NULL);
    qdisp_table_free(t);
    return status;
}
static qdisp_status save_model(inputs *in) {
    char command[256];
    qdisp_status status = qdisp_model_save(in->model, in_folder("saved"));
    snprintf(command, sizeof command, "rm -rf '%s'", in_folder("saved"));
    if (status == QDISP_OK && system(command) != 0) return QDISP_EIO;
    if (status != QDISP_OK) CHECK(access(in_folder("saved"), F_OK) != 0); /* nothing half-written */
    return status;
}

/* A model with experts and one that came from a file, without a quantized tensor. */
static qdisp_status write_gguf(inputs *in) {
    static const char *const models[] = {"arch/mixtral", "gguf/llama_yarn.gguf"};
    static const char *const columns[] = {"tensor", "bits", "group_size", "levels", "alpha", "clip"};
    qdisp_table *plan = NULL;
    qdisp_status status = qdisp_table_new(in->ctx, "plan", "plan", &plan);
    for (size_t i = 0; i < 6 && status == QDISP_OK; i++)
        status = qdisp_table_add_column(plan, columns[i], "", QDISP_COLUMN_STR, NULL);
    for (size_t i = 0; i < 2 && status == QDISP_OK; i++) {
        char path[512];
        qdisp_model *m = NULL;
        snprintf(path, sizeof path, "%s/test/golden/%s", QDISP_ROOT, models[i]);
        status = qdisp_model_open(in->ctx, path, &m);
        if (status == QDISP_OK) status = qdisp_plan_write(plan, m, NULL, "gguf", in_folder("out.gguf"));
        if (status != QDISP_OK) CHECK(access(in_folder("out.gguf"), F_OK) != 0);
        remove(in_folder("out.gguf"));
        qdisp_model_free(m);
    }
    qdisp_table_free(plan);
    return status;
}
static qdisp_status imatrix(inputs *in) {
    qdisp_status status = QDISP_OK;
    for (uint64_t legacy = 0; legacy < 2 && status == QDISP_OK; legacy++) {
        qdisp_imatrix_options options = {.size = sizeof options, .legacy = legacy};
        qdisp_calib *back = NULL;
        status = qdisp_imatrix_save(in->calib, in->model, &options, in_folder("imatrix"));
        if (status == QDISP_OK) status = qdisp_imatrix_open(in->model, in_folder("imatrix"), "und", &back);
        qdisp_calib_free(back);
        remove(in_folder("imatrix"));
    }
    return status;
}
static qdisp_status overrides(inputs *in) {
    qdisp_status status = qdisp_plan_overrides(in->plan, in->model, "llama-quantize", drop, NULL);
    return status == QDISP_OK ? qdisp_plan_overrides(in->plan, in->model, "compressed-tensors", drop, NULL) : status;
}

/* ---- the jobs ---- */

typedef qdisp_status work(inputs *in);

static const struct job {
    const char *name;
    work *run, *prepare[5]; /* what it needs, up to the first NULL */
} jobs[] = {
    {"open_model", open_model, {NULL}},
    {"open_folder", open_folder, {NULL}},
    {"open_gguf", open_gguf, {NULL}},
    {"open_gguf_models", open_gguf_models, {NULL}},
    {"open_torch", open_torch, {NULL}},
    {"open_shards", open_shards, {NULL}},
    {"open_quantized", open_quantized, {NULL}},
    {"open_transposed", open_transposed, {NULL}},
    {"open_experts", open_experts, {NULL}},
    {"open_tokenizer", open_tokenizer, {NULL}},
    {"open_sentencepiece", open_sentencepiece, {NULL}},
    {"open_tiktoken", open_tiktoken, {NULL}},
    {"open_gguf_vocab", open_gguf_vocab, {NULL}},
    {"open_corpus", open_corpus, {NULL}},
    {"open_corpus_folder", open_corpus_folder, {NULL}},
    {"inspect", inspect, {NULL}},
    {"tokenize", tokenize, {open_tokenizer}},
    {"fertility", fertility, {open_tokenizer, open_corpus}},
    {"split", split, {open_corpus}},
    {"tensors", tensors, {open_model}},
    {"census", census, {open_model}},
    {"shapes", shapes, {NULL}},
    {"inference", inference, {NULL}},
    {"resample", resample, {NULL}},
    {"calibrate", calibrate, {open_model, open_tokenizer, open_corpus}},
    {"calibrate masked", calibrate, {open_encoder, open_words, open_words_text}},
    {"calibrate pairs", calibrate, {open_both, open_words, open_words_text}},
    {"calibrate gradients", calibrate_gradients, {open_model, open_tokenizer, open_corpus, open_calib}},
    {"calib_files", calib_files, {open_model, open_tokenizer, open_corpus, open_gradients}},
    {"plan_rtn", plan_rtn, {open_model}},
    {"plan_aciq", plan_aciq, {open_model}},
    {"plan_laaciq", plan_laaciq, {open_model, open_tokenizer, open_corpus, open_calib}},
    {"plan_mse", plan_mse, {open_model, open_tokenizer, open_corpus, open_calib}},
    {"plan_percentile", plan_percentile, {open_model}},
    {"plan_kl", plan_kl, {open_model}},
    {"plan_hqq", plan_hqq, {open_model}},
    {"plan_nf4", plan_nf4, {open_model}},
    {"plan_awq", plan_awq, {open_model, open_tokenizer, open_corpus, open_calib}},
    {"pack", pack, {NULL}},
    {"apply", apply, {open_model, open_plan}},
    {"gptq", gptq, {open_model, open_tokenizer, open_corpus}},
    {"gptq pairs", gptq, {open_both, open_words, open_words_text}},
    {"gptq experts", gptq, {open_experts, open_words, open_words_text}},
    {"weigh_languages", weigh_languages, {open_model, open_tokenizer, open_corpus}},
    {"write_packed", write_packed, {open_model, open_plan}},
    {"write_gguf", write_gguf, {NULL}},
    {"imatrix", imatrix, {open_model, open_tokenizer, open_corpus, open_calib}},
    {"overrides", overrides, {open_model, open_plan}},
    {"losses", losses, {open_model, open_tokenizer, open_corpus}},
    {"gate", gate, {open_model, open_tokenizer, open_corpus}},
    {"activations", activations, {open_model, open_tokenizer, open_corpus}},
    {"plan_smoothquant", plan_smoothquant, {open_model, open_tokenizer, open_corpus, open_calib}},
    {"losses masked", losses, {open_encoder, open_words, open_words_text}},
    {"losses pairs", losses, {open_both, open_words, open_words_text}},
    {"eval_text", eval_text, {open_transposed, open_words}},
    {"eval_text masked", eval_text, {open_encoder, open_words}},
    {"eval_text pairs", eval_text, {open_both, open_words}},
    {"tables", tables, {open_model, open_plan}},
    {"run experts", run, {open_experts}},
    {"run masked", run_masked, {open_encoder}},
    {"run pairs", run_pairs, {open_both}},
    {"grads transposed", grads, {open_transposed}},
    {"grads experts", grads, {open_experts}},
    {"grads pairs", grads, {open_both}},
    {"save_model", save_model, {open_model}},
    {"super weights", super_weights, {open_model, open_tokenizer, open_corpus}},
    {"allocate", allocate_bits, {open_model, open_tokenizer, open_corpus, open_gradients}},
    {"diagnose", diagnose, {open_model, open_tokenizer, open_corpus}},
    {"diagnose gradients", diagnose_gradients, {open_model, open_tokenizer, open_corpus}},
};
static const struct job *job;

static bool is_named(const char *name, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], name)) return true;
    }
    return argc < 2;
}

TEST(every_allocation_failing_once) {
    const char *name = job->name;
    long n_runs = 0, step = 1, n_total = 0;
    for (long fail_at = 0;; fail_at += step) { /* 0: none fails, to count */
        memory = (counter){0};
        qdisp_ctx_options o = {.size = sizeof o, .allocate = allocate, .reallocate = reallocate, .release = release,
                               .n_threads = 2};
        inputs in = {NULL};
        CHECK_STATUS(qdisp_ctx_new(&o, &in.ctx), QDISP_OK);
        qdisp_status status = QDISP_OK;
        for (size_t i = 0; job->prepare[i] && status == QDISP_OK; i++) status = job->prepare[i](&in);
        if (status != QDISP_OK) {
            printf("%s: not prepared: %s\n", name, qdisp_ctx_error(in.ctx));
            CHECK(!"prepared");
        }
        long before = memory.n_calls;
        memory.fail_at = fail_at ? before + fail_at : 0;
        if (status == QDISP_OK) status = job->run(&in);
        if (fail_at == 0) n_total = memory.n_calls - before;
        int failed = fail_at && memory.n_calls >= memory.fail_at;
        /* a failure may be got over (fewer threads, say), but nothing else may come of it */
        if (status != QDISP_OK && status != QDISP_ENOMEM) {
            printf("%s: allocation %ld of %ld: %s: %s\n", name, fail_at, n_total, qdisp_status_name(status),
                qdisp_ctx_error(in.ctx));
            CHECK(!"ENOMEM or OK");
        }
        if (status == QDISP_ENOMEM) CHECK(failed && strlen(qdisp_ctx_error(in.ctx)) > 0);
        memory.fail_at = 0;
        qdisp_ctx_free(in.ctx);
        qdisp_model_free(in.model);
        qdisp_tokenizer_free(in.tokenizer);
        qdisp_corpus_free(in.corpus);
        qdisp_calib_free(in.calib);
        qdisp_table_free(in.plan);
        if (memory.n_live != 0) {
            printf("%s: allocation %ld of %ld: %ld blocks are left\n", name, fail_at, n_total, memory.n_live);
            CHECK(!"all freed");
        }
        n_runs++;
        if (fail_at && !failed) break;
        if (fail_at == DENSE && n_total > DENSE + SPARSE) step = (n_total - DENSE) / SPARSE + 1;
        if (harness_bad) break;
    }
    printf("%-18s %6ld allocations, %ld runs%s\n", name, n_total, n_runs, step > 1 ? " (thinned out)" : "");
}

int main(int argc, char **argv) {
    snprintf(folder, sizeof folder, "/tmp/qdisp-oom-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    weights = tiny_make(1, 16, 1, 1);
    tiny_write_tokenizer(in_folder("tokenizer.json"));
    mkdir(in_folder("text"), 0700);
    for (size_t i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "text/%s.txt", tags[i]);
        FILE *f = fopen(in_folder(name), "wb");
        fputs(texts[i], f);
        fclose(f);
    }
    qdisp_ctx *ctx = tiny_ctx(1, NULL);
    qdisp_model *model = tiny_model(ctx, weights);
    CHECK_STATUS(qdisp_model_save(model, in_folder("model")), QDISP_OK);
    qdisp_model_free(model);
    qdisp_ctx_free(ctx);
    FILE *index = fopen(in_folder("model/model.safetensors.index.json"), "wb");
    fputs("{\"weight_map\": {\"transformer.ln_f.bias\": \"model.safetensors\"}}", index);
    fclose(index);
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) {
        job = &jobs[i];
        if (is_named(job->name, argc, argv)) RUN(every_allocation_failing_once);
    }
    tiny_free(weights);
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    if (system(command) != 0) puts("temporary folder left behind");
    return TEST_END();
}
