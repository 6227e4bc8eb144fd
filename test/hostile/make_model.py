"""Makes the broken models of test/hostile/model: one folder a case, from one tiny valid BLOOM model ("valid").

    python test/hostile/make_model.py

Only the standard library; the same bytes every time. test_hostile_model.c says what each must give.
"""
import json
import pathlib
import shutil
import struct

OUT = pathlib.Path(__file__).resolve().parent / "model"
E, V, HEADS = 4, 5, 2
CONFIG = {"architectures": ["BloomForCausalLM"], "model_type": "bloom", "vocab_size": V, "hidden_size": E, "n_layer": 1,
          "n_head": HEADS, "layer_norm_epsilon": 1e-5, "bos_token_id": 1, "eos_token_id": 2,
          "tie_word_embeddings": True, "dtype": "float16"}
SHAPES = {
    "word_embeddings.weight": [V, E],
    "word_embeddings_layernorm.weight": [E],
    "word_embeddings_layernorm.bias": [E],
    "h.0.input_layernorm.weight": [E],
    "h.0.input_layernorm.bias": [E],
    "h.0.self_attention.query_key_value.weight": [3 * E, E],
    "h.0.self_attention.query_key_value.bias": [3 * E],
    "h.0.self_attention.dense.weight": [E, E],
    "h.0.self_attention.dense.bias": [E],
    "h.0.post_attention_layernorm.weight": [E],
    "h.0.post_attention_layernorm.bias": [E],
    "h.0.mlp.dense_h_to_4h.weight": [4 * E, E],
    "h.0.mlp.dense_h_to_4h.bias": [4 * E],
    "h.0.mlp.dense_4h_to_h.weight": [E, 4 * E],
    "h.0.mlp.dense_4h_to_h.bias": [E],
    "ln_f.weight": [E],
    "ln_f.bias": [E],
}
QKV = "transformer.h.0.self_attention.query_key_value.weight"


def entries(shapes=None, prefix="transformer."):
    """Header entries with offsets, and data: 0.5 everywhere as f16."""
    header, at = {}, 0
    for name, shape in (shapes or SHAPES).items():
        n = 2
        for size in shape:
            n *= size
        header[prefix + name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + n]}
        at += n
    return header, b"\x00\x38" * (at // 2)


def container(header, data, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def case(name, config=None, tensors=None):
    """config: changes to CONFIG (None removes), or the text itself; tensors: bytes, None for the valid ones."""
    folder = OUT / name
    folder.mkdir(parents=True)
    if config is None or isinstance(config, dict):
        merged = {**CONFIG, **(config or {})}
        config = json.dumps({k: v for k, v in merged.items() if v is not None}, indent=1) + "\n"
    if config != "":
        (folder / "config.json").write_text(config)
    if tensors != b"":
        (folder / "model.safetensors").write_bytes(container(*entries()) if tensors is None else tensors)


LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": V, "hidden_size": 8,
         "intermediate_size": 6, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
         "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 16,
         "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2}
LLAMA_SHAPES = {"model.embed_tokens.weight": [V, 8], "model.norm.weight": [8], **{"model.layers.0." + k: v for k, v in {
    "input_layernorm.weight": [8], "post_attention_layernorm.weight": [8], "self_attn.q_proj.weight": [8, 8],
    "self_attn.k_proj.weight": [4, 8], "self_attn.v_proj.weight": [4, 8], "self_attn.o_proj.weight": [8, 8],
    "mlp.gate_proj.weight": [6, 8], "mlp.up_proj.weight": [6, 8], "mlp.down_proj.weight": [8, 6]}.items()}}


def llama(name, shapes=None, **changes):
    """Without shapes: the config alone, which is refused before tensors are looked for."""
    config = {k: v for k, v in {**LLAMA, **changes}.items() if v is not None}
    tensors = b""
    if shapes is not None:
        header, data = entries(shapes, "")
        tensors = container(header, data)
    case(name, config=json.dumps(config) + "\n", tensors=tensors)


def kin(model_type, name, **more):
    return {"architectures": [name], "model_type": model_type, **more}


def architectures():
    """Sizes and traits of the other architectures; experts; positions."""
    rope = {"rope_type": "longrope", "short_factor": [1.0, 1.0], "long_factor": [1.0, 2.0]}
    moe = kin("qwen3_moe", "Qwen3MoeForCausalLM", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=4)
    mixtral = kin("mixtral", "MixtralForCausalLM", num_local_experts=2, num_experts_per_tok=2)
    llama("llama_valid", LLAMA_SHAPES)
    llama("llama_odd_heads", num_attention_heads=3)
    llama("llama_odd_key_heads", num_attention_heads=8, num_key_value_heads=3)
    llama("llama_more_key_heads", num_key_value_heads=4)
    llama("llama_wide_heads", head_dim=65536, num_attention_heads=8)
    llama("llama_odd_head_dim", head_dim=3)
    llama("llama_no_ff", intermediate_size=0)
    llama("llama_no_act", hidden_act=None)
    llama("llama_unknown_act", hidden_act="swiglu_oai")
    llama("llama_act_number", hidden_act=3)
    llama("llama_bias_text", attention_bias="no")
    llama("llama_key_shape", {**LLAMA_SHAPES, "model.layers.0.self_attn.k_proj.weight": [8, 8]})
    llama("llama_bias_without_config", {**LLAMA_SHAPES, "model.layers.0.self_attn.q_proj.bias": [8]})
    llama("llama_config_without_bias", LLAMA_SHAPES, attention_bias=True)
    llama("llama_more_layers_than_tensors", LLAMA_SHAPES, num_hidden_layers=1000)
    llama("rope_text", rope_scaling="linear")
    llama("rope_parameters_list", rope_parameters=[1])
    llama("rope_unknown", rope_scaling={"rope_type": "spiral", "factor": 2.0})
    llama("rope_type_number", rope_scaling={"rope_type": 3, "factor": 2.0})
    llama("rope_no_factor", rope_scaling={"type": "linear"})
    llama("rope_negative_factor", rope_scaling={"type": "linear", "factor": -2.0})
    llama("rope_zero_theta", rope_theta=0)
    llama("rope_text_theta", rope_theta="10000")
    llama("rope_dynamic_pair", head_dim=2, rope_scaling={"type": "dynamic", "factor": 2.0})
    llama("rope_dynamic_no_length", rope_scaling={"type": "dynamic", "factor": 2.0}, max_position_embeddings=None)
    llama("rope_yarn_theta", rope_theta=1.0, rope_scaling={"rope_type": "yarn", "factor": 2.0})
    llama("rope_llama3_reversed", rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0,
                                                "high_freq_factor": 1.0})
    llama("rope_long_short_list", rope_scaling={**rope, "long_factor": [1.0]})
    llama("rope_long_text", rope_scaling={**rope, "short_factor": "1.0"})
    llama("rope_long_zero", rope_scaling={**rope, "short_factor": [0.0, 1.0]})
    llama("rope_long_original", rope_scaling={**rope, "original_max_position_embeddings": 1})
    llama("rope_part", partial_rotary_factor=1.5)
    llama("window_zero", **kin("mistral", "MistralForCausalLM", sliding_window=0))
    llama("window_negative", **kin("mistral", "MistralForCausalLM", sliding_window=-4))
    llama("window_text", **kin("mistral", "MistralForCausalLM", sliding_window="all"))
    llama("layer_types_short", **kin("mistral", "MistralForCausalLM", layer_types=[]))
    llama("layer_types_unknown", **kin("mistral", "MistralForCausalLM", layer_types=["linear_attention"]))
    llama("layer_types_number", **kin("mistral", "MistralForCausalLM", layer_types=[1]))
    llama("experts_none", **{**mixtral, "num_local_experts": 0})
    llama("experts_huge", **{**mixtral, "num_local_experts": 2 ** 40})
    llama("experts_too_many_used", **{**mixtral, "num_experts_per_tok": 3})
    llama("experts_none_used", **{**mixtral, "num_experts_per_tok": 0})
    llama("experts_no_rows", **{**moe, "moe_intermediate_size": 0})
    llama("experts_step", **{**moe, "decoder_sparse_step": 0})
    llama("experts_dense_outside", **{**moe, "mlp_only_layers": [1]})
    llama("experts_dense_text", **{**moe, "mlp_only_layers": "0"})
    experts = {k: v for k, v in LLAMA_SHAPES.items() if ".mlp." not in k}
    experts["model.layers.0.block_sparse_moe.gate.weight"] = [2, 8]
    for name, shape in (("w1", [6, 8]), ("w2", [8, 6]), ("w3", [6, 8])):
        for i in range(2):
            experts[f"model.layers.0.block_sparse_moe.experts.{i}.{name}.weight"] = shape
    llama("experts_one_missing", {k: v for k, v in experts.items() if "experts.1.w3" not in k}, **mixtral)
    llama("experts_one_more", {**experts, "model.layers.0.block_sparse_moe.experts.2.w1.weight": [6, 8]}, **mixtral)
    llama("experts_router_shape", {**experts, "model.layers.0.block_sparse_moe.gate.weight": [3, 8]}, **mixtral)
    llama("qwen3_no_norms", {k: v for k, v in LLAMA_SHAPES.items()}, **kin("qwen3", "Qwen3ForCausalLM", head_dim=4))
    llama("gemma2_softcap", **kin("gemma2", "Gemma2ForCausalLM", hidden_activation="gelu_pytorch_tanh",
                                  attn_logit_softcapping=-50.0))
    llama("gemma2_scalar", **kin("gemma2", "Gemma2ForCausalLM", hidden_activation="gelu_pytorch_tanh",
                                 query_pre_attn_scalar=0))
    llama("gemma3_both_ways", **kin("gemma3_text", "Gemma3ForCausalLM", hidden_activation="gelu_pytorch_tanh",
                                    use_bidirectional_attention=True))
    llama("phi3_unfused", LLAMA_SHAPES, **kin("phi3", "Phi3ForCausalLM"))
    llama("gpt_neox_rotary", **kin("gpt_neox", "GPTNeoXForCausalLM", layer_norm_eps=1e-5, rotary_pct=0.3))
    llama("falcon_key_heads", **kin("falcon", "FalconForCausalLM", layer_norm_epsilon=1e-5,
                                    new_decoder_architecture=True, num_kv_heads=5))
    llama("opt_word_embed", **kin("opt", "OPTForCausalLM", ffn_dim=6, word_embed_proj_dim=0))
    llama("opt_no_bias", **kin("opt", "OPTForCausalLM", ffn_dim=6, enable_bias=False))
    llama("xglm_narrow", **kin("xglm", "XGLMForCausalLM", d_model=2, hidden_size=None, num_layers=1, ffn_dim=6,
                               attention_heads=1, num_hidden_layers=None, num_attention_heads=None))
    bert = kin("bert", "BertForMaskedLM", layer_norm_eps=1e-12, type_vocab_size=2)
    llama("bert_relative", **bert, position_embedding_type="relative_key")
    llama("bert_no_types", **{**bert, "type_vocab_size": 0})
    llama("roberta_no_positions", **{**bert, **kin("roberta", "RobertaForMaskedLM", pad_token_id=20)})
    t5 = kin("t5", "T5ForConditionalGeneration", d_model=8, d_kv=4, d_ff=6, num_layers=1, num_heads=2, hidden_size=None,
             num_attention_heads=None, num_hidden_layers=None, layer_norm_epsilon=1e-6, decoder_start_token_id=0)
    llama("t5_act", **t5, feed_forward_proj="gated-swoosh")
    llama("t5_buckets", **t5, relative_attention_num_buckets=3)
    llama("t5_distance", **t5, relative_attention_max_distance=8)
    llama("t5_no_start", **{**t5, "decoder_start_token_id": None})
    llama("t5_start_outside", **{**t5, "decoder_start_token_id": V})
    llama("t5_no_head_size", **{**t5, "d_kv": 0})


def with_entry(name, **changes):
    header, data = entries()
    header[name] = {**header[name], **changes}
    return container(header, data)


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    header, data = entries()
    whole = container(header, data)
    text = json.dumps(header, separators=(",", ":")).encode()

    case("valid")
    # the container
    case("no_tensors", tensors=b"")
    case("only_index", tensors=b"")
    (OUT / "only_index" / "model.safetensors.index.json").write_text("{}\n")
    case("four_bytes", tensors=whole[:4])
    case("cut_header", tensors=whole[:300])
    case("cut_data", tensors=whole[:-7])
    case("long_header", tensors=container(header, data, length=len(text) + len(data) + 1))
    case("huge_header", tensors=container(header, data, length=2 ** 63))
    case("over_limit_header", tensors=container(header, data, length=100000001))
    case("zero_header", tensors=container(header, data, length=0))
    case("header_no_json", tensors=container(b"{" + b"x" * 40, data))
    case("header_no_object", tensors=container(b"[1,2]", data))
    case("header_not_utf8", tensors=container(text.replace(b"ln_f.bias", b"ln_f.bi\xff\xfe"), data))
    case("header_deep", tensors=container(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", b""))
    case("metadata_number", tensors=container({"__metadata__": {"format": 1}, **header}, data))
    case("duplicate", tensors=container(text[:-1] + b',"' + QKV.encode() + b'":' +
                                        json.dumps(header[QKV]).encode() + b"}", data))
    a, b = header[QKV]["data_offsets"]
    case("overlap", tensors=with_entry(QKV, data_offsets=[a - 2, b - 2]))
    case("hole", tensors=container(entries({k: v for k, v in SHAPES.items() if k not in
                                            ("ln_f.weight", "ln_f.bias")})[0] |
                                   {"transformer.ln_f.bias": header["transformer.ln_f.bias"]}, data))
    case("past_end", tensors=with_entry("transformer.ln_f.bias", data_offsets=[len(data), len(data) + 2 * E]))
    case("reversed", tensors=with_entry(QKV, data_offsets=[b, a]))
    case("negative_offset", tensors=with_entry(QKV, data_offsets=[-2, b]))
    case("offset_overflow", tensors=container(text.replace(str(b).encode() + b"]", b"99999999999999999999]", 1), data))
    case("trailing_bytes", tensors=whole + b"xx")
    case("unknown_dtype", tensors=with_entry(QKV, dtype="Q9"))
    case("float8", tensors=with_entry(QKV, dtype="F8_E4M3"))
    case("shape_overflow", tensors=with_entry(QKV, shape=[2 ** 32, 2 ** 32]))
    case("shape_wraps", tensors=with_entry(QKV, shape=[2 ** 62, 2, 2]))
    case("shape_float", tensors=with_entry(QKV, shape=[12.0, 4]))
    case("shape_unlike_bytes", tensors=with_entry(QKV, shape=[12, 5]))
    # tensors against config
    case("missing_tensor", tensors=container(*entries({k: v for k, v in SHAPES.items() if "mlp.dense_4h_to_h.bias"
                                                       not in k})))
    case("unexpected_tensor", tensors=container(*entries({**SHAPES, "h.7.surprise": [1]})))
    case("wrong_shape", tensors=container(*entries({**SHAPES, "h.0.self_attention.query_key_value.weight": [4, 12]})))
    case("integer_tensor", tensors=with_entry("transformer.ln_f.bias", dtype="I8", shape=[2 * E]))
    case("integer_weights", tensors=container(
        {**header, "transformer.ln_f.bias": {"dtype": "I32", "shape": [E],
                                             "data_offsets": [len(data) - 2 * E, len(data) + 2 * E]}},
        data + b"\0" * (2 * E)))
    case("no_tensor_at_all", tensors=container({}, b""))
    case("untied_without_head", config={"tie_word_embeddings": False})
    case("more_layers", config={"n_layer": 2})
    # the config
    case("empty_folder", config="", tensors=b"")
    (OUT / "empty_folder" / ".keep").write_text("")
    case("no_config", config="")
    case("config_empty", config=" ")
    case("config_no_json", config="hidden_size = 4\n")
    case("config_array", config="[]\n")
    case("config_deep", config="[" * 5000 + "\n")
    case("config_nan_epsilon", config=json.dumps({**CONFIG, "layer_norm_epsilon": float("nan")}))
    case("config_text_epsilon", config={"layer_norm_epsilon": "nan"})
    case("config_negative_epsilon", config={"layer_norm_epsilon": -1e-5})
    case("config_no_architecture", config={"architectures": None, "model_type": None})
    case("config_other_architecture", config={"architectures": ["MambaForCausalLM"], "model_type": "mamba"})
    case("config_other_type", config={"architectures": None, "model_type": "mamba"})
    case("config_zero_hidden", config={"hidden_size": 0})
    case("config_huge_hidden", config={"hidden_size": 2 ** 40})
    case("config_too_huge_hidden", config=json.dumps(CONFIG).replace('"hidden_size": 4', '"hidden_size": ' + "9" * 30))
    case("config_negative_hidden", config={"hidden_size": -4})
    case("config_float_hidden", config={"hidden_size": 4.0})
    case("config_text_hidden", config={"hidden_size": "4"})
    case("config_no_hidden", config={"hidden_size": None})
    case("config_two_hidden", config={"n_embed": 8})
    case("config_zero_layers", config={"n_layer": 0})
    case("config_huge_layers", config={"n_layer": 2 ** 31})
    case("config_zero_heads", config={"n_head": 0})
    case("config_odd_heads", config={"n_head": 3})
    case("config_zero_vocab", config={"vocab_size": 0})
    case("config_huge_vocab", config={"vocab_size": 2 ** 62})
    case("config_bos_outside", config={"bos_token_id": 5})
    case("config_text_tie", config={"tie_word_embeddings": "yes"})
    architectures()
    print(len(list(OUT.iterdir())), "cases")


if __name__ == "__main__":
    main()
