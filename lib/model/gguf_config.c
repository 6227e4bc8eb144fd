/* gguf_config.c - the keys of a GGUF file as the config.json that the same model has elsewhere, so that one reader of
 * configs serves both. What a converter leaves out is taken from llama.cpp's own defaults. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf_model.h"

/* A key, after "ARCH.", and its name in config.json. 'i' integer, 'n' number; big letters: must be there. */
typedef struct key_row {
    const char *gguf, *json;
    char kind;
} key_row;

static const key_row llama_keys[] = {{"embedding_length", "hidden_size", 'I'},
                                     {"block_count", "num_hidden_layers", 'I'},
                                     {"attention.head_count", "num_attention_heads", 'I'},
                                     {"attention.head_count_kv", "num_key_value_heads", 'i'},
                                     {"attention.key_length", "head_dim", 'i'},
                                     {"feed_forward_length", "intermediate_size", 'I'},
                                     {"attention.layer_norm_rms_epsilon", "rms_norm_eps", 'N'},
                                     {"rope.freq_base", "rope_theta", 'n'},
                                     {"context_length", "max_position_embeddings", 'i'},
                                     {"expert_used_count", "num_experts_per_tok", 'i'},
                                     {"attn_logit_softcapping", "attn_logit_softcapping", 'n'},
                                     {"final_logit_softcapping", "final_logit_softcapping", 'n'},
                                     {NULL, NULL, 0}};
static const key_row bloom_keys[] = {{"embedding_length", "hidden_size", 'I'},
                                     {"block_count", "n_layer", 'I'},
                                     {"attention.head_count", "n_head", 'I'},
                                     {"attention.layer_norm_epsilon", "layer_norm_epsilon", 'N'},
                                     {NULL, NULL, 0}};
static const key_row gpt2_keys[] = {{"embedding_length", "n_embd", 'I'},
                                    {"block_count", "n_layer", 'I'},
                                    {"attention.head_count", "n_head", 'I'},
                                    {"context_length", "n_positions", 'I'},
                                    {"attention.layer_norm_epsilon", "layer_norm_epsilon", 'N'},
                                    {NULL, NULL, 0}};
static const key_row neox_keys[] = {{"embedding_length", "hidden_size", 'I'},
                                    {"block_count", "num_hidden_layers", 'I'},
                                    {"attention.head_count", "num_attention_heads", 'I'},
                                    {"feed_forward_length", "intermediate_size", 'I'},
                                    {"context_length", "max_position_embeddings", 'i'},
                                    {"rope.freq_base", "rope_theta", 'n'},
                                    {"attention.layer_norm_epsilon", "layer_norm_eps", 'N'},
                                    {NULL, NULL, 0}};
static const key_row falcon_keys[] = {{"embedding_length", "hidden_size", 'I'},
                                      {"block_count", "num_hidden_layers", 'I'},
                                      {"attention.head_count", "num_attention_heads", 'I'},
                                      {"feed_forward_length", "ffn_hidden_size", 'i'},
                                      {"rope.freq_base", "rope_theta", 'n'},
                                      {"attention.layer_norm_epsilon", "layer_norm_epsilon", 'N'},
                                      {NULL, NULL, 0}};
static const key_row t5_keys[] = {{"embedding_length", "d_model", 'I'},
                                  {"block_count", "num_layers", 'I'},
                                  {"decoder_block_count", "num_decoder_layers", 'i'},
                                  {"attention.head_count", "num_heads", 'I'},
                                  {"attention.key_length", "d_kv", 'I'},
                                  {"feed_forward_length", "d_ff", 'I'},
                                  {"attention.layer_norm_rms_epsilon", "layer_norm_epsilon", 'N'},
                                  {"attention.relative_buckets_count", "relative_attention_num_buckets", 'I'},
                                  {"decoder_start_token_id", "decoder_start_token_id", 'i'},
                                  {NULL, NULL, 0}};

/* Where a config is being made: errors stick, as in qd_config. */
typedef struct maker {
    qd_tensor_file *file;
    const char *arch; /* general.architecture */
    json_t *json;
    qdisp_status status;
} maker;

#define FAIL(m, code, ...) \
    ((m)->status = (m)->status != QDISP_OK ? (m)->status : qd_fail((m)->file->ctx, code, __VA_ARGS__))

/* Into an object, which is the config or a part of it. */
static void set_in(maker *m, json_t *object, const char *key, json_t *value) {
    if (m->status == QDISP_OK && (!value || json_object_set(object, key, value) != 0)) {
        FAIL(m, QDISP_ENOMEM, "%s: config", m->file->path);
    }
    json_decref(value);
}

static void set(maker *m, const char *key, json_t *value) {
    set_in(m, m->json, key, value);
}

/* The value of "ARCH.key", or NULL. */
static const qd_gguf_value *value_of(const maker *m, const char *key) {
    char name[160];
    snprintf(name, sizeof name, "%s.%s", m->arch, key);
    return qd_gguf_find(m->file->gguf, name);
}

static const qdisp_tensor *tensor_of(const maker *m, const char *name) {
    return qd_tensor_file_find(m->file, name);
}

/* An f32 as the double that its shortest decimal stands for: 1e-5 and not 9.99999974737875e-6. */
static double shortest(double x) {
    char text[32];
    for (int digits = 6; digits < 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        double y = strtod(text, NULL);
        if ((float)y == (float)x) return y;
    }
    return x;
}

static void set_real_in(maker *m, json_t *object, const char *key, double x) {
    if (isfinite(x)) set_in(m, object, key, json_real(shortest(x)));
    else FAIL(m, QDISP_EFORMAT, "%s: %s is not finite", m->file->path, key);
}

static void set_real(maker *m, const char *key, double x) {
    set_real_in(m, m->json, key, x);
}

static void copy_number(maker *m, const key_row *row, const qd_gguf_value *value) {
    double x, first;
    int64_t integer;
    bool is_integer = row->kind == 'i' || row->kind == 'I';
    if (!qd_gguf_number(value, 0, &x) || (is_integer && !qd_gguf_int(value, 0, &integer))) {
        FAIL(m, QDISP_EFORMAT, "%s: key '%s.%s' is not %s", m->file->path, m->arch, row->gguf,
             is_integer ? "an integer" : "a number");
        return;
    }
    for (size_t i = 1; i < value->n; i++) { /* one a layer */
        first = x;
        if (!qd_gguf_number(value, i, &first) || first != x) {
            FAIL(m, QDISP_EUNSUPPORTED, "%s: key '%s.%s' differs between layers, which is not supported",
                 m->file->path, m->arch, row->gguf);
            return;
        }
    }
    if (is_integer) set(m, row->json, json_integer((json_int_t)integer));
    else set_real(m, row->json, x);
}

static void copy_keys(maker *m, const key_row *rows) {
    for (const key_row *row = rows; row->gguf && m->status == QDISP_OK; row++) {
        const qd_gguf_value *value = value_of(m, row->gguf);
        if (value) copy_number(m, row, value);
        else if (row->kind < 'a') {
            FAIL(m, QDISP_EFORMAT, "%s: key '%s.%s' is missing", m->file->path, m->arch, row->gguf);
        }
    }
}

/* An integer of the file's keys; -1: none. */
static int64_t integer_of(const maker *m, const char *key) {
    int64_t x = -1;
    return qd_gguf_int(value_of(m, key), 0, &x) ? x : -1;
}

static size_t json_size(const maker *m, const char *key) {
    json_int_t x = json_integer_value(json_object_get(m->json, key));
    return x > 0 ? (size_t)x : 0;
}

/* What every model has: the size of the vocabulary, special tokens, whether the head is the embedding. */
static void set_tokens(maker *m) {
    static const struct {
        const char *gguf, *json;
    } ids[] = {{"tokenizer.ggml.bos_token_id", "bos_token_id"}, {"tokenizer.ggml.eos_token_id", "eos_token_id"}};
    const qdisp_tensor *embed = tensor_of(m, "token_embd.weight");
    if (!embed || embed->n_dims != 2) {
        FAIL(m, QDISP_EFORMAT, "%s: tensor 'token_embd.weight' is missing or no matrix", m->file->path);
        return;
    }
    set(m, "vocab_size", json_integer((json_int_t)embed->shape[0]));
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        int64_t id;
        bool there = qd_gguf_int(qd_gguf_find(m->file->gguf, ids[i].gguf), 0, &id) && id >= 0 &&
                     (uint64_t)id < embed->shape[0];
        set(m, ids[i].json, there ? json_integer((json_int_t)id) : json_null());
    }
    set(m, "tie_word_embeddings", json_boolean(!tensor_of(m, "output.weight")));
}

/* --- rotary positions --- */

/* A tensor of divisors as a list. */
static json_t *list_of(maker *m, const char *name) {
    const qdisp_tensor *t = tensor_of(m, name);
    float buffer[QD_MAX_ROPE_PAIRS];
    size_t n = (size_t)qd_tensor_n_elements(t);
    const float *x = n > QD_MAX_ROPE_PAIRS
                         ? NULL
                         : qd_load_f32(m->file->ctx->kernels, t->data, (qdisp_dtype)t->dtype, 0, n, buffer);
    if (!x) {
        FAIL(m, QDISP_EFORMAT, "%s: tensor '%s': more than %d numbers, or none", m->file->path, name,
             QD_MAX_ROPE_PAIRS);
        return NULL;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        if (isfinite(x[i])) json_array_append_new(list, json_real(shortest((double)x[i])));
        else FAIL(m, QDISP_EFORMAT, "%s: tensor '%s': number %zu is not finite", m->file->path, name, i);
    }
    return list;
}

/* Divisors of the frequencies, for all lengths or one table up to the original context and one beyond. */
static json_t *divisors(maker *m, const char *near, const char *far) {
    json_t *scaling = json_pack("{s:s}", "rope_type", "longrope");
    double magnitude = 1;
    int64_t original = integer_of(m, "rope.scaling.original_context_length");
    if (original < 1) original = integer_of(m, "context_length");
    qd_gguf_number(value_of(m, "rope.scaling.attn_factor"), 0, &magnitude);
    set_in(m, scaling, "short_factor", list_of(m, near));
    set_in(m, scaling, "long_factor", list_of(m, far));
    set_real_in(m, scaling, "attention_factor", magnitude);
    set_in(m, scaling, "original_max_position_embeddings", json_integer((json_int_t)original));
    return scaling;
}

static json_t *yarn(maker *m, double factor) {
    static const key_row rows[] = {{"rope.scaling.yarn_beta_fast", "beta_fast", 'n'},
                                   {"rope.scaling.yarn_beta_slow", "beta_slow", 'n'},
                                   {"rope.scaling.yarn_attn_factor", "attention_factor", 'n'}};
    json_t *scaling = json_pack("{s:s}", "rope_type", "yarn");
    int64_t original = integer_of(m, "rope.scaling.original_context_length");
    double x;
    set_real_in(m, scaling, "factor", factor);
    if (original > 0) set_in(m, scaling, "original_max_position_embeddings", json_integer((json_int_t)original));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (qd_gguf_number(value_of(m, rows[i].gguf), 0, &x)) set_real_in(m, scaling, rows[i].json, x);
    }
    return scaling;
}

static void set_rope(maker *m) {
    qd_gguf_text type = {"none", 4};
    double factor = 0;
    qd_gguf_string(value_of(m, "rope.scaling.type"), &type);
    qd_gguf_number(value_of(m, "rope.scaling.factor"), 0, &factor);
    if (factor == 0) qd_gguf_number(value_of(m, "rope.scale_linear"), 0, &factor); /* files before 2024 */
    factor = shortest(factor);
    if (tensor_of(m, "rope_freqs.weight")) {
        set(m, "rope_scaling", divisors(m, "rope_freqs.weight", "rope_freqs.weight"));
    } else if (tensor_of(m, "rope_factors_short.weight") && tensor_of(m, "rope_factors_long.weight")) {
        set(m, "rope_scaling", divisors(m, "rope_factors_short.weight", "rope_factors_long.weight"));
    } else if (qd_gguf_is(type, "yarn")) {
        set(m, "rope_scaling", yarn(m, factor));
    } else if (factor > 0 && factor != 1 && (qd_gguf_is(type, "linear") || qd_gguf_is(type, "none"))) {
        set(m, "rope_scaling", json_pack("{s:s, s:f}", "rope_type", "linear", "factor", factor));
    } else if (!qd_gguf_is(type, "linear") && !qd_gguf_is(type, "none") && !qd_gguf_is(type, "longrope")) {
        FAIL(m, QDISP_EUNSUPPORTED, "%s: key '%s.rope.scaling.type': '%.*s' is not supported", m->file->path, m->arch,
             qd_gguf_printable(type), type.text);
    }
}

/* The part of a head that turns, if it is not all of it. */
static void set_rope_part(maker *m, const char *key, size_t head_dim) {
    int64_t n = integer_of(m, "rope.dimension_count");
    if (n < 0 || !head_dim || (size_t)n == head_dim) return;
    double part = (double)n / (double)head_dim;
    /* readers cut the product to an integer */
    if ((int64_t)((double)head_dim * part) != n) part = ((double)n + 0.5) / (double)head_dim;
    set(m, key, json_real(part));
}

static size_t head_dim_of(const maker *m) {
    size_t head_dim = json_size(m, "head_dim"), n_head = json_size(m, "num_attention_heads");
    return head_dim || !n_head ? head_dim : json_size(m, "hidden_size") / n_head;
}

/* --- one function an architecture, where keys are not all --- */

static void llama_like(maker *m) {
    set_rope_part(m, "partial_rotary_factor", head_dim_of(m));
    set_rope(m);
}

static void llama(maker *m) {
    int64_t n_expert = integer_of(m, "expert_count");
    llama_like(m);
    set(m, "attention_bias", json_boolean(tensor_of(m, "blk.0.attn_q.bias")));
    set(m, "mlp_bias", json_boolean(tensor_of(m, "blk.0.ffn_up.bias")));
    if (n_expert > 0) {
        set(m, "architectures", json_pack("[s]", "MixtralForCausalLM"));
        set(m, "model_type", json_string("mixtral"));
        set(m, "num_local_experts", json_integer((json_int_t)n_expert));
    }
}

static void qwen3_moe(maker *m) {
    llama_like(m);
    set(m, "num_experts", json_integer((json_int_t)integer_of(m, "expert_count")));
    set(m, "moe_intermediate_size", json_integer((json_int_t)integer_of(m, "expert_feed_forward_length")));
}

/* llama.cpp's rule for the scale of the scores, which files do not tell: the 27B models differ, known by depth. */
static void set_query_scale(maker *m, size_t n_layer_27b) {
    size_t n_head = json_size(m, "num_attention_heads");
    bool large = n_head && json_size(m, "num_hidden_layers") == n_layer_27b;
    set(m, "query_pre_attn_scalar",
        json_integer((json_int_t)(large ? json_size(m, "hidden_size") / n_head : head_dim_of(m))));
}

static void gemma2(maker *m) {
    int64_t window = integer_of(m, "attention.sliding_window");
    llama_like(m);
    set_query_scale(m, 46);
    set(m, "sliding_window", json_integer((json_int_t)(window > 0 ? window : 4096)));
}

/* Which layers see the window: a list, or every layer but each n-th. */
static void set_pattern(maker *m) {
    const qd_gguf_value *value = value_of(m, "attention.sliding_window_pattern");
    int64_t local, n = 6;
    if (!value || !value->is_array) {
        qd_gguf_int(value, 0, &n);
        set(m, "sliding_window_pattern", json_integer((json_int_t)n));
        return;
    }
    json_t *types = json_array();
    for (size_t i = 0; i < value->n && i < QD_MAX_LAYERS; i++) {
        bool is_local = qd_gguf_int(value, i, &local) && local;
        json_array_append_new(types, json_string(is_local ? "sliding_attention" : "full_attention"));
    }
    set(m, "layer_types", types);
}

static void gemma3(maker *m) {
    int64_t window = integer_of(m, "attention.sliding_window");
    double local_base = 10000;
    llama_like(m);
    set_query_scale(m, 62);
    set(m, "sliding_window", window > 0 ? json_integer((json_int_t)window) : json_null());
    set_pattern(m);
    qd_gguf_number(value_of(m, "rope.freq_base_swa"), 0, &local_base);
    set_real(m, "rope_local_base_freq", local_base);
}

static void phi3(maker *m) {
    int64_t window = integer_of(m, "attention.sliding_window");
    int64_t n = integer_of(m, "rope.scaling.original_context_length");
    llama_like(m);
    set(m, "sliding_window", window > 0 ? json_integer((json_int_t)window) : json_null());
    if (n > 0) set(m, "original_max_position_embeddings", json_integer((json_int_t)n));
}

/* The converter writes 4 n_embd whatever it is. */
static void gpt2(maker *m) {
    const qdisp_tensor *up = tensor_of(m, "blk.0.ffn_up.weight");
    if (up && up->n_dims == 2) set(m, "n_inner", json_integer((json_int_t)up->shape[0]));
}

static void gpt_neox(maker *m) {
    bool parallel = true;
    set_rope_part(m, "rotary_pct", head_dim_of(m));
    if (!json_object_get(m->json, "rotary_pct")) set(m, "rotary_pct", json_real(1));
    qd_gguf_bool(value_of(m, "use_parallel_residual"), &parallel);
    set(m, "use_parallel_residual", json_boolean(parallel));
}

/* 7B has one key head and one norm, 40B more of both. */
static void falcon(maker *m) {
    int64_t n_kv_head = integer_of(m, "attention.head_count_kv");
    bool is_new = tensor_of(m, "blk.0.attn_norm_2.weight") != NULL;
    set(m, "new_decoder_architecture", json_boolean(is_new));
    if (is_new) set(m, "num_kv_heads", json_integer((json_int_t)n_kv_head));
    else if (n_kv_head != 1) FAIL(m, QDISP_EUNSUPPORTED, "%s: falcon with %lld key heads and one norm a block is not "
                                  "supported", m->file->path, (long long)n_kv_head);
    set(m, "bias", json_boolean(tensor_of(m, "blk.0.attn_qkv.bias")));
}

static void t5(maker *m) {
    bool gated = tensor_of(m, "enc.blk.0.ffn_gate.weight") != NULL;
    set(m, "feed_forward_proj", json_string(gated ? "gated-gelu" : "relu"));
}

/* general.architecture, what stands in config.json for all models of it, keys, and what is left to do. */
static const struct {
    const char *name, *fixed;
    const key_row *keys;
    void (*rest)(maker *m);
} archs[] = {
    {"llama", "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_act\": \"silu\"}",
     llama_keys, llama},
    {"qwen2", "{\"architectures\": [\"Qwen2ForCausalLM\"], \"model_type\": \"qwen2\", \"hidden_act\": \"silu\"}",
     llama_keys, llama_like},
    {"qwen3", "{\"architectures\": [\"Qwen3ForCausalLM\"], \"model_type\": \"qwen3\", \"hidden_act\": \"silu\"}",
     llama_keys, llama_like},
    {"qwen3moe", "{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"model_type\": \"qwen3_moe\", "
     "\"hidden_act\": \"silu\", "
     "\"norm_topk_prob\": true, \"decoder_sparse_step\": 1, \"mlp_only_layers\": []}", llama_keys, qwen3_moe},
    {"gemma", "{\"architectures\": [\"GemmaForCausalLM\"], \"model_type\": \"gemma\", "
     "\"hidden_act\": \"gelu_pytorch_tanh\", \"hidden_activation\": \"gelu_pytorch_tanh\"}", llama_keys, llama_like},
    {"gemma2", "{\"architectures\": [\"Gemma2ForCausalLM\"], \"model_type\": \"gemma2\", "
     "\"hidden_act\": \"gelu_pytorch_tanh\", \"hidden_activation\": \"gelu_pytorch_tanh\"}", llama_keys, gemma2},
    {"gemma3", "{\"architectures\": [\"Gemma3ForCausalLM\"], \"model_type\": \"gemma3_text\", "
     "\"hidden_act\": \"gelu_pytorch_tanh\", \"hidden_activation\": \"gelu_pytorch_tanh\"}", llama_keys, gemma3},
    {"phi3", "{\"architectures\": [\"Phi3ForCausalLM\"], \"model_type\": \"phi3\", \"hidden_act\": \"silu\"}",
     llama_keys, phi3},
    {"bloom", "{\"architectures\": [\"BloomForCausalLM\"], \"model_type\": \"bloom\"}", bloom_keys, NULL},
    {"gpt2", "{\"architectures\": [\"GPT2LMHeadModel\"], \"model_type\": \"gpt2\", "
     "\"activation_function\": \"gelu_new\"}",
     gpt2_keys, gpt2},
    {"gptneox", "{\"architectures\": [\"GPTNeoXForCausalLM\"], \"model_type\": \"gpt_neox\", \"hidden_act\": \"gelu\"}",
     neox_keys, gpt_neox},
    {"falcon", "{\"architectures\": [\"FalconForCausalLM\"], \"model_type\": \"falcon\", \"alibi\": false, "
     "\"multi_query\": true, \"parallel_attn\": true}", falcon_keys, falcon},
    {"t5", "{\"architectures\": [\"T5ForConditionalGeneration\"], \"model_type\": \"t5\", "
     "\"is_encoder_decoder\": true}", t5_keys, t5},
};
#define N_ARCHS (sizeof archs / sizeof *archs)

static qdisp_status unknown(const qd_tensor_file *file, qd_gguf_text name) {
    char known[256];
    size_t n = 0;
    for (size_t i = 0; i < N_ARCHS; i++) {
        n += (size_t)snprintf(known + n, sizeof known - n, " %s", archs[i].name);
    }
    return qd_fail(file->ctx, QDISP_EUNSUPPORTED,
                   "%s: general.architecture '%.*s' is not supported in GGUF (there is%s)", file->path,
                   qd_gguf_printable(name), name.text, known);
}

qdisp_status qd_gguf_config(qd_tensor_file *file, char **out) {
    qd_gguf_text name;
    size_t i = 0;
    if (!qd_gguf_string(qd_gguf_find(file->gguf, "general.architecture"), &name)) {
        return qd_fail(file->ctx, QDISP_EFORMAT, "%s: key 'general.architecture' is missing: no model", file->path);
    }
    while (i < N_ARCHS && !qd_gguf_is(name, archs[i].name)) i++;
    if (i == N_ARCHS) return unknown(file, name);
    maker m = {file, archs[i].name, json_loads(archs[i].fixed, 0, NULL), QDISP_OK};
    if (!m.json) return qd_fail(file->ctx, QDISP_ENOMEM, "%s: config", file->path);
    copy_keys(&m, archs[i].keys);
    set_tokens(&m);
    if (archs[i].rest && m.status == QDISP_OK) archs[i].rest(&m);
    char *text = m.status == QDISP_OK ? json_dumps(m.json, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
    if (m.status == QDISP_OK && !text) FAIL(&m, QDISP_ENOMEM, "%s: config", file->path);
    json_decref(m.json);
    if (text && !(*out = qd_strdup(file->ctx, text))) m.status = QDISP_ENOMEM;
    free(text); /* jansson's */
    return m.status;
}
