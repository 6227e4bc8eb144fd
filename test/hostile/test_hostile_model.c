/* Broken models (test/hostile/make_model.py): each is refused with the right status and a message that says which file
 * and why. Cut at every length, a valid file is refused too. */
#include <sys/resource.h>

#include "harness.h"
#include "model/model.h"

#ifndef QDISP_ROOT
#define QDISP_ROOT "."
#endif

#define QKV "'transformer.h.0.self_attention.query_key_value.weight'"

static const struct {
    const char *folder;
    qdisp_status status;
    const char *file, *reason;
} cases[] = {
    {"no_tensors", QDISP_ENOTFOUND, "model.safetensors", "No such file"},
    {"only_index", QDISP_EFORMAT, "model.safetensors.index.json", "no object weight_map"},
    {"four_bytes", QDISP_EFORMAT, "model.safetensors", "4 bytes are too few"},
    {"cut_header", QDISP_EFORMAT, "model.safetensors", "passes the end of the file (300)"},
    {"cut_data", QDISP_EFORMAT, "model.safetensors", "pass the end"},
    {"long_header", QDISP_EFORMAT, "model.safetensors", "passes the end of the file"},
    {"huge_header", QDISP_EFORMAT, "model.safetensors", "header of 9223372036854775808 bytes"},
    {"over_limit_header", QDISP_EFORMAT, "model.safetensors", "more than 100000000"},
    {"zero_header", QDISP_EFORMAT, "model.safetensors", "no JSON object"},
    {"header_no_json", QDISP_EFORMAT, "model.safetensors", "header: "},
    {"header_no_object", QDISP_EFORMAT, "model.safetensors", "no JSON object"},
    {"header_not_utf8", QDISP_EFORMAT, "model.safetensors", "unable to decode byte 0xff"},
    {"header_deep", QDISP_EFORMAT, "model.safetensors", "maximum parsing depth"},
    {"metadata_number", QDISP_EFORMAT, "model.safetensors", "__metadata__ 'format' is not a string"},
    {"duplicate", QDISP_EFORMAT, "model.safetensors", "duplicate object key"},
    {"overlap", QDISP_EFORMAT, "model.safetensors", "before the end of another tensor"},
    {"hole", QDISP_EFORMAT, "model.safetensors", "after a hole in the data"},
    {"past_end", QDISP_EFORMAT, "model.safetensors", "'transformer.ln_f.bias': offsets"},
    {"reversed", QDISP_EFORMAT, "model.safetensors", QKV ": offsets"},
    {"negative_offset", QDISP_EFORMAT, "model.safetensors", "do not ascend from 0"},
    {"offset_overflow", QDISP_EFORMAT, "model.safetensors", "too big integer"},
    {"trailing_bytes", QDISP_EFORMAT, "model.safetensors", "the tensors end at"},
    {"unknown_dtype", QDISP_EUNSUPPORTED, "model.safetensors", QKV ": dtype Q9 is not supported in a model"},
    {"float8", QDISP_EFORMAT, "model.safetensors", QKV ": shape [12, 4] of F8_E4M3 takes 48 bytes, offsets give 96"},
    {"shape_overflow", QDISP_EFORMAT, "model.safetensors", "[4294967296, 4294967296] overflows"},
    {"shape_wraps", QDISP_EFORMAT, "model.safetensors", "overflows"},
    {"shape_float", QDISP_EFORMAT, "model.safetensors", "dimension 0 of the shape"},
    {"shape_unlike_bytes", QDISP_EFORMAT, "model.safetensors", QKV ": shape [12, 5] of f16 takes 120 bytes"},
    {"missing_tensor", QDISP_EFORMAT, "model.safetensors", "'transformer.h.0.mlp.dense_4h_to_h.bias' is missing"},
    {"unexpected_tensor", QDISP_EFORMAT, "model.safetensors", "'transformer.h.7.surprise' has no place"},
    {"wrong_shape", QDISP_EFORMAT, "model.safetensors", QKV ": shape [4, 12], the config asks for [12, 4]"},
    {"integer_tensor", QDISP_EFORMAT, "model.safetensors", "'transformer.ln_f.bias': shape [8]"},
    {"integer_weights", QDISP_EUNSUPPORTED, "model.safetensors", "'transformer.ln_f.bias': dtype i32"},
    {"no_tensor_at_all", QDISP_EFORMAT, "model.safetensors", "0 tensors, the config asks for 1 layers"},
    {"untied_without_head", QDISP_EFORMAT, "model.safetensors", "'lm_head.weight' is missing"},
    {"more_layers", QDISP_EFORMAT, "model.safetensors", "'transformer.h.1.input_layernorm.weight' is missing"},
    {"empty_folder", QDISP_ENOTFOUND, "config.json", "No such file"},
    {"does_not_exist", QDISP_ENOTFOUND, "config.json", "No such file"},
    {"no_config", QDISP_ENOTFOUND, "config.json", "No such file"},
    {"config_empty", QDISP_EFORMAT, "config.json", "'[' or '{' expected"},
    {"config_no_json", QDISP_EFORMAT, "config.json", "line 1: '[' or '{' expected"},
    {"config_array", QDISP_EFORMAT, "config.json", "not a JSON object"},
    {"config_deep", QDISP_EFORMAT, "config.json", "maximum parsing depth"},
    {"config_nan_epsilon", QDISP_EFORMAT, "config.json", "invalid token near 'NaN'"},
    {"config_text_epsilon", QDISP_EFORMAT, "config.json", "layer_norm_epsilon is missing or not a number"},
    {"config_negative_epsilon", QDISP_EFORMAT, "config.json", "layer_norm_epsilon: -1e-05"},
    {"config_no_architecture", QDISP_EFORMAT, "config.json", "neither architectures nor model_type"},
    {"config_other_architecture", QDISP_EUNSUPPORTED, "config.json", "'MambaForCausalLM'"},
    {"config_other_type", QDISP_EUNSUPPORTED, "config.json", "'mamba' is not supported (there is bloom "},
    {"config_zero_hidden", QDISP_EFORMAT, "config.json", "hidden_size: 0 is outside 1..65536"},
    {"config_huge_hidden", QDISP_EFORMAT, "config.json", "hidden_size: 1099511627776 is outside"},
    {"config_too_huge_hidden", QDISP_EFORMAT, "config.json", "too big integer"},
    {"config_negative_hidden", QDISP_EFORMAT, "config.json", "hidden_size: -4 is outside"},
    {"config_float_hidden", QDISP_EFORMAT, "config.json", "hidden_size is not an integer"},
    {"config_text_hidden", QDISP_EFORMAT, "config.json", "hidden_size is not an integer"},
    {"config_no_hidden", QDISP_EFORMAT, "config.json", "hidden_size is missing"},
    {"config_two_hidden", QDISP_EFORMAT, "config.json", "hidden_size and n_embed do not agree"},
    {"config_zero_layers", QDISP_EFORMAT, "config.json", "n_layer: 0 is outside 1..1024"},
    {"config_huge_layers", QDISP_EFORMAT, "config.json", "n_layer: 2147483648 is outside"},
    {"config_zero_heads", QDISP_EFORMAT, "config.json", "n_head: 0 is outside"},
    {"config_odd_heads", QDISP_EFORMAT, "config.json", "hidden_size 4 is no multiple of n_head 3"},
    {"config_zero_vocab", QDISP_EFORMAT, "config.json", "vocab_size: 0 is outside"},
    {"config_huge_vocab", QDISP_EFORMAT, "config.json", "vocab_size: 4611686018427387904 is outside"},
    {"config_bos_outside", QDISP_EFORMAT, "config.json", "bos_token_id: 5 is outside the vocabulary (5)"},
    {"config_text_tie", QDISP_EFORMAT, "config.json", "tie_word_embeddings is not true or false"},
    {"bert_no_types", QDISP_EFORMAT, "config.json", "type_vocab_size: 0 is outside 1..65536"},
    {"bert_relative", QDISP_EUNSUPPORTED, "config.json", "position_embedding_type 'relative_key' is not supported"},
    {"experts_dense_outside", QDISP_EFORMAT, "config.json", "mlp_only_layers[0] is no layer"},
    {"experts_dense_text", QDISP_EFORMAT, "config.json", "mlp_only_layers is not a list"},
    {"experts_huge", QDISP_EFORMAT, "config.json", "num_local_experts: 1099511627776 is outside 1..1024"},
    {"experts_no_rows", QDISP_EFORMAT, "config.json", "layer 0 has experts, but their number or size is 0"},
    {"experts_none", QDISP_EFORMAT, "config.json", "num_local_experts: 0 is outside 1..1024"},
    {"experts_none_used", QDISP_EFORMAT, "config.json", "layer 0 has experts, but their number or size is 0"},
    {"experts_one_missing", QDISP_EFORMAT, "model.safetensors", "tensor 'model.layers.0.mlp.experts.1.up_proj.weight'"},
    {"experts_one_more", QDISP_EFORMAT, "model.safetensors",
     "tensor 'model.layers.0.block_sparse_moe.experts.2.w1.weight' has no place in a mixtral model of 1 layers"},
    {"experts_router_shape", QDISP_EFORMAT, "model.safetensors",
     "tensor 'model.layers.0.block_sparse_moe.gate.weight': shape [3, 8], the config asks for [2, 8]"},
    {"experts_step", QDISP_EFORMAT, "config.json", "decoder_sparse_step is 0"},
    {"experts_too_many_used", QDISP_EFORMAT, "config.json", "3 experts a token, there are 2"},
    {"falcon_key_heads", QDISP_EFORMAT, "config.json", "2 attention heads are no multiple of 5 key heads"},
    {"gemma2_scalar", QDISP_EFORMAT, "config.json", "query_pre_attn_scalar: 0 is outside 0.001..1e+06"},
    {"gemma2_softcap", QDISP_EFORMAT, "config.json", "attn_logit_softcapping: -50 is outside 0.001..1e+06"},
    {"gemma3_both_ways", QDISP_EUNSUPPORTED, "config.json", "use_bidirectional_attention is not supported"},
    {"gpt_neox_rotary", QDISP_EFORMAT, "config.json", "1 dimensions of a head cannot turn"},
    {"layer_types_number", QDISP_EUNSUPPORTED, "config.json", "layer_types[0]: '?' is not supported"},
    {"layer_types_short", QDISP_EFORMAT, "config.json", "layer_types: not a list of 1 layers"},
    {"layer_types_unknown", QDISP_EUNSUPPORTED, "config.json", "layer_types[0]: 'linear_attention' is not supported"},
    {"llama_act_number", QDISP_EFORMAT, "config.json", "hidden_act is not a string"},
    {"llama_bias_text", QDISP_EFORMAT, "config.json", "attention_bias is not true or false"},
    {"llama_bias_without_config", QDISP_EFORMAT, "model.safetensors",
     "tensor 'model.layers.0.self_attn.q_proj.bias' has no place in a llama model of 1 layers"},
    {"llama_config_without_bias", QDISP_EFORMAT, "model.safetensors",
     "tensor 'model.layers.0.self_attn.q_proj.bias' is missing"},
    {"llama_key_shape", QDISP_EFORMAT, "model.safetensors",
     "tensor 'model.layers.0.self_attn.k_proj.weight': shape [8, 8], the config asks for [4, 8]"},
    {"llama_more_key_heads", QDISP_EFORMAT, "config.json", "2 attention heads are no multiple of 4 key heads"},
    {"llama_more_layers_than_tensors", QDISP_EFORMAT, "model.safetensors",
     "11 tensors, the config asks for 1000 layers"},
    {"llama_no_act", QDISP_EFORMAT, "config.json", "hidden_act is missing"},
    {"llama_no_ff", QDISP_EFORMAT, "config.json", "intermediate_size: 0 is outside 1..1048576"},
    {"llama_odd_head_dim", QDISP_EFORMAT, "config.json", "3 dimensions of a head cannot turn"},
    {"llama_odd_heads", QDISP_EFORMAT, "config.json", "hidden_size 8 is no multiple of n_head 3"},
    {"llama_odd_key_heads", QDISP_EFORMAT, "config.json", "8 attention heads are no multiple of 3 key heads"},
    {"llama_unknown_act", QDISP_EUNSUPPORTED, "config.json", "hidden_act: 'swiglu_oai' is not supported"},
    {"llama_wide_heads", QDISP_EFORMAT, "config.json", "8 heads of 65536 dimensions are too many"},
    {"opt_no_bias", QDISP_EUNSUPPORTED, "config.json",
     "linear maps without bias or norms without weight are not supported"},
    {"opt_word_embed", QDISP_EFORMAT, "config.json", "word_embed_proj_dim is 0"},
    {"phi3_unfused", QDISP_EFORMAT, "model.safetensors",
     "tensor 'model.layers.0.self_attn.qkv_proj.weight' is missing"},
    {"qwen3_no_norms", QDISP_EFORMAT, "model.safetensors",
     "tensor 'model.layers.0.self_attn.q_norm.weight' is missing"},
    {"roberta_no_positions", QDISP_EFORMAT, "config.json", "max_position_embeddings 16 leaves no position"},
    {"rope_dynamic_no_length", QDISP_EFORMAT, "config.json", "rope scaling 'dynamic' needs max_position_embeddings"},
    {"rope_dynamic_pair", QDISP_EFORMAT, "config.json",
     "rope scaling 'dynamic' needs more than 2 dimensions that turn"},
    {"rope_llama3_reversed", QDISP_EFORMAT, "config.json", "low_freq_factor 4 is not below high_freq_factor 1"},
    {"rope_long_original", QDISP_EFORMAT, "config.json", "original_max_position_embeddings is missing or 1"},
    {"rope_long_short_list", QDISP_EFORMAT, "config.json", "long_factor: not a list of 2 numbers"},
    {"rope_long_text", QDISP_EFORMAT, "config.json", "short_factor: not a list of 2 numbers"},
    {"rope_long_zero", QDISP_EFORMAT, "config.json", "short_factor[0] is no positive number"},
    {"rope_negative_factor", QDISP_EFORMAT, "config.json", "factor: -2 is outside 1e-06..1e+09"},
    {"rope_no_factor", QDISP_EFORMAT, "config.json", "rope scaling 'linear' has no factor"},
    {"rope_parameters_list", QDISP_EFORMAT, "config.json", "rope_parameters is not an object"},
    {"rope_part", QDISP_EFORMAT, "config.json", "partial_rotary_factor: 1.5 is outside 0..1"},
    {"rope_text", QDISP_EFORMAT, "config.json", "rope_scaling is not an object"},
    {"rope_text_theta", QDISP_EFORMAT, "config.json", "rope_theta is not a number"},
    {"rope_type_number", QDISP_EFORMAT, "config.json", "rope_type is not a string"},
    {"rope_unknown", QDISP_EUNSUPPORTED, "config.json",
     "rope type 'spiral' is not supported (there is default, linear, dynamic, yarn, llama3, longrope)"},
    {"rope_yarn_theta", QDISP_EFORMAT, "config.json", "rope scaling 'yarn' needs a rope_theta beyond 1, not 1"},
    {"rope_zero_theta", QDISP_EFORMAT, "config.json", "rope_theta: 0 is outside 0.001..1e+12"},
    {"t5_act", QDISP_EUNSUPPORTED, "config.json", "feed_forward_proj: 'swoosh' is not supported"},
    {"t5_buckets", QDISP_EFORMAT, "config.json", "3 buckets of relative positions up to 128 make no sense"},
    {"t5_distance", QDISP_EFORMAT, "config.json", "32 buckets of relative positions up to 8 make no sense"},
    {"t5_no_head_size", QDISP_EFORMAT, "config.json", "d_kv: 0 is outside 1..65536"},
    {"t5_no_start", QDISP_EFORMAT, "config.json", "decoder_start_token_id is missing"},
    {"t5_start_outside", QDISP_EFORMAT, "config.json", "decoder_start_token_id: 5 is outside the vocabulary (5)"},
    {"window_negative", QDISP_EFORMAT, "config.json", "sliding_window: -4 is outside 1..1073741824"},
    {"window_text", QDISP_EFORMAT, "config.json", "sliding_window is not an integer"},
    {"window_zero", QDISP_EFORMAT, "config.json", "sliding_window: 0 is outside 1..1073741824"},
    {"xglm_narrow", QDISP_EFORMAT, "config.json", "d_model 2 is too small for sines"},
};

static qdisp_ctx *ctx;

TEST(test_cases) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[512], file[600];
        qdisp_model *model = NULL;
        snprintf(path, sizeof path, "%s/test/hostile/model/%s", QDISP_ROOT, cases[i].folder);
        snprintf(file, sizeof file, "%s/%s: ", path, cases[i].file);
        int bad = harness_bad;
        CHECK_STATUS(qdisp_model_open(ctx, path, &model), cases[i].status);
        CHECK(model == NULL);
        CHECK_HAS(qdisp_ctx_error(ctx), file);
        CHECK_HAS(qdisp_ctx_error(ctx), cases[i].reason);
        if (harness_bad != bad) printf("  in case %s\n", cases[i].folder);
        qdisp_model_free(model);
    }
}

TEST(test_the_valid_one) {
    qdisp_model *model = NULL;
    CHECK_STATUS(qdisp_model_open(ctx, QDISP_ROOT "/test/hostile/model/valid", &model), QDISP_OK);
    float logits[15];
    if (model) {
        CHECK_STATUS(qdisp_model_forward(model, (int32_t[]){0, 4, 2}, 3, logits), QDISP_OK);
        CHECK_STATUS(qdisp_model_forward(model, (int32_t[]){0, 5, 2}, 3, logits), QDISP_EINVAL);
        CHECK_HAS(qdisp_ctx_error(ctx), "id 5 at position 1");
    }
    qdisp_model_free(model);
}

TEST(test_cut_everywhere) {
    char *data = NULL;
    size_t size = 0, n_refused = 0;
    CHECK_STATUS(qd_read_file(ctx, QDISP_ROOT "/test/hostile/model/valid/model.safetensors", 1 << 20, &data, &size),
                 QDISP_OK);
    for (size_t n = 0; n < size; n++) {
        qd_tensor_file *file = NULL;
        uint8_t *exact = malloc(n + 1); /* so that a sanitizer sees a read past the end */
        memcpy(exact + 1, data, n);
        n_refused += qd_tensor_file_parse(ctx, "cut", exact + 1, n, &file) != QDISP_OK && !file;
        free(exact);
    }
    CHECK(size > 1000 && n_refused == size);
    qd_free(ctx, data);
}

/* No refusal above needs much memory: nothing is allocated by a size that only a header claims. */
TEST(test_memory) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
#ifndef __SANITIZE_ADDRESS__
    CHECK(usage.ru_maxrss < 256 * 1024); /* KiB; code and BLAS buffers take most of it */
#endif
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(test_cases);
    RUN(test_the_valid_one);
    RUN(test_cut_everywhere);
    RUN(test_memory);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
