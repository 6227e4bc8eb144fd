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


def entries(shapes=None):
    """Header entries with offsets, and data: 0.5 everywhere as f16."""
    header, at = {}, 0
    for name, shape in (shapes or SHAPES).items():
        n = 2
        for size in shape:
            n *= size
        header["transformer." + name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + n]}
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
    print(len(list(OUT.iterdir())), "cases")


if __name__ == "__main__":
    main()
