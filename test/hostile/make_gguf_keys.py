#!/usr/bin/env python3
"""Writes broken GGUF files that hold a vocabulary (gguf_vocab/) or a model (gguf_model/), and what each must be refused
with (expected.txt: file, status, part of the message). Only the standard library; the same bytes every time."""
import os
import struct

from gguf_bytes import BOOL, F32, F64, I32, STRING, U8, U32, U64, array, file_bytes, scalar, tensor

HERE = os.path.dirname(os.path.abspath(__file__))
NAN, INF = float("nan"), float("inf")
lines = {"gguf_vocab": [], "gguf_model": []}


def write(folder, name, status, reason, data):
    os.makedirs(os.path.join(HERE, folder), exist_ok=True)
    with open(os.path.join(HERE, folder, name + ".gguf"), "wb") as f:
        f.write(data)
    lines[folder].append(f"{name}.gguf {status} {reason}\n")


# --- vocabularies: keys by their names after "tokenizer.ggml." ---

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
SPACE = "\u2581"
PIECES = ["<unk>", "<s>", "</s>", SPACE, "a", "b", "c", "ab", SPACE + "a", "<0x41>"]
TYPES = [UNKNOWN, CONTROL, CONTROL] + [NORMAL] * 6 + [BYTE]
SCORES = [0.0, 0.0, 0.0] + [float(-i) for i in range(1, 7)] + [0.0]
LLAMA = {"model": (STRING, "llama"), "tokens": (STRING, PIECES), "token_type": (I32, TYPES), "scores": (F32, SCORES)}
T5 = {**LLAMA, "model": (STRING, "t5"), "unknown_token_id": (U32, 0)}
GPT2 = {"model": (STRING, "gpt2"), "pre": (STRING, "gpt-2"), "tokens": (STRING, ["a", "b", "c", "\u0120", "ab", "<e>"]),
        "token_type": (I32, [NORMAL] * 5 + [CONTROL]), "merges": (STRING, ["a b"])}
BERT = {"model": (STRING, "bert"), "tokens": (STRING, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", SPACE + "a", "b"]),
        "token_type": (I32, [CONTROL, UNKNOWN, CONTROL, CONTROL, NORMAL, NORMAL]), "unknown_token_id": (U32, 1),
        "bos_token_id": (U32, 2), "seperator_token_id": (U32, 3)}


def vocab(name, status, reason, base, **changed):
    """changed: a key's type and value, or None: the key is not there."""
    keys = [scalar("general.architecture", STRING, "none")]
    for key, given in {**base, **changed}.items():
        if given is not None:
            make = array if isinstance(given[1], list) else scalar
            keys.append(make("tokenizer.ggml." + key, *given))
    write("gguf_vocab", name, status, reason, file_bytes(keys, []))


def both_models():
    vocab("good", "OK", "", LLAMA)
    vocab("good_t5", "OK", "", T5)
    vocab("good_gpt2", "OK", "", GPT2)
    vocab("good_bert", "OK", "", BERT)
    vocab("model_missing", "EFORMAT", "tokenizer.ggml.model: missing: the file has no vocabulary", LLAMA, model=None)
    vocab("model_number", "EFORMAT", "tokenizer.ggml.model: missing", LLAMA, model=(U32, 7))
    vocab("model_unknown", "EUNSUPPORTED", "tokenizer.ggml.model: 'rwkv' is not known", LLAMA, model=(STRING, "rwkv"))
    vocab("model_not_utf8", "EUNSUPPORTED", "tokenizer.ggml.model: '' is not known", LLAMA, model=(STRING, b"\xff\xfe"))
    vocab("model_long", "EUNSUPPORTED", "'" + "x" * 40 + "' is not known", LLAMA, model=(STRING, "x" * 3000))
    vocab("tokens_missing", "EFORMAT", "tokenizer.ggml.tokens: missing", LLAMA, tokens=None)
    vocab("tokens_numbers", "EFORMAT", "tokenizer.ggml.tokens: not an array of strings", LLAMA, tokens=(U8, [1, 2]))
    vocab("tokens_one_string", "EFORMAT", "tokenizer.ggml.tokens: not an array", LLAMA, tokens=(STRING, "abc"))
    vocab("tokens_none", "EFORMAT", "tokenizer.ggml.tokens: not an array of strings", LLAMA, tokens=(STRING, []))
    vocab("token_not_utf8", "EFORMAT", "tokenizer.ggml.tokens: token 4: not UTF-8", LLAMA,
          tokens=(STRING, PIECES[:4] + [b"\x80"] + PIECES[5:]))
    vocab("token_nul", "EFORMAT", "token 4: a string with a NUL", LLAMA,
          tokens=(STRING, PIECES[:4] + ["\0"] + PIECES[5:]))
    vocab("token_twice", "EFORMAT", "token 4: the string is there twice", LLAMA,
          tokens=(STRING, PIECES[:4] + ["<s>"] + PIECES[5:]))
    vocab("token_empty", "OK", "", LLAMA, tokens=(STRING, PIECES[:9] + [""]))
    vocab("token_empty_twice", "OK", "", LLAMA, tokens=(STRING, PIECES[:8] + ["", ""]))
    vocab("token_like_an_empty_one", "EFORMAT", "token 9: the string is there twice", LLAMA,
          tokens=(STRING, PIECES[:8] + ["", "[EMPTY_8]"]))
    vocab("types_short", "EFORMAT", "token_type: not an array as long as that of the tokens", LLAMA,
          token_type=(I32, TYPES[:9]))
    vocab("types_text", "EFORMAT", "token_type: not an array of integers", LLAMA, token_type=(STRING, ["x"] * 10))
    vocab("types_scalar", "EFORMAT", "token_type: not an array", LLAMA, token_type=(I32, 1))
    vocab("types_outside", "EUNSUPPORTED", "piece 9 holds a character that is no piece", LLAMA,
          token_type=(I32, [-1, 7, 99, 0, 2 ** 31 - 1, -2 ** 31, 1, 1, 1, 1]))
    vocab("types_all_control", "EFORMAT", "tokenizer.ggml.unk_token: '<unk>' is not in the vocabulary", LLAMA,
          token_type=(I32, [CONTROL] * 10))
    vocab("types_all_user", "EFORMAT", "tokenizer.ggml.unk_token: '<unk>' is not in the vocabulary", LLAMA,
          token_type=(I32, [USER] * 10))
    vocab("special_outside", "OK", "", LLAMA, bos_token_id=(U32, 10), eos_token_id=(U64, 2 ** 64 - 1),
          unknown_token_id=(I32, -5), add_eos_token=(BOOL, 1))


def pieces():
    vocab("scores_missing", "EFORMAT", "tokenizer.ggml.scores: missing", LLAMA, scores=None)
    vocab("scores_short", "EFORMAT", "scores: not an array as long as that of the tokens", LLAMA,
          scores=(F32, SCORES[1:]))
    vocab("scores_text", "EFORMAT", "scores: a score that is no finite number", LLAMA, scores=(STRING, PIECES))
    vocab("scores_nan", "EFORMAT", "scores: a score that is no finite number", LLAMA, scores=(F32, SCORES[:9] + [NAN]))
    vocab("scores_too_large", "EFORMAT", "scores: a score that is no finite number", LLAMA,
          scores=(F64, SCORES[:9] + [1e300]))
    vocab("piece_long", "EUNSUPPORTED", "tokenizer.ggml: piece 9 has more than 512 bytes", LLAMA,
          tokens=(STRING, PIECES[:9] + ["a" * 600]), token_type=(I32, TYPES[:9] + [NORMAL]))
    vocab("t5_map_of_numbers", "EFORMAT", "precompiled_charsmap: not an array of bytes", T5,
          precompiled_charsmap=(I32, [4, 0]))
    vocab("t5_map_short", "EFORMAT", "tokenizer.ggml.precompiled_charsmap: shorter than its size field", T5,
          precompiled_charsmap=(U8, [4, 0, 0]))
    vocab("t5_map_claims", "EFORMAT", "its size field is not that of its content", T5,
          precompiled_charsmap=(U8, [255] * 12))
    vocab("t5_map_outside", "OK", "", T5, precompiled_charsmap=(U8, list(struct.pack("<II", 4, 0x7FFFFC00))))
    vocab("t5_no_unknown", "OK", "", T5, unknown_token_id=(U32, 77))


def words():
    vocab("merges_missing", "EFORMAT", "tokenizer.ggml.merges: missing", GPT2, merges=None)
    vocab("merges_numbers", "EFORMAT", "tokenizer.ggml.merges: not an array of strings", GPT2, merges=(U32, [1]))
    vocab("merge_no_space", "EFORMAT", "tokenizer.ggml.merges[1]: not \"a b\"", GPT2, merges=(STRING, ["a b", "ab"]))
    vocab("merge_empty", "EFORMAT", "tokenizer.ggml.merges[0]: not \"a b\"", GPT2, merges=(STRING, [""]))
    vocab("merge_only_spaces", "EFORMAT", "tokenizer.ggml.merges[0]", GPT2, merges=(STRING, ["  "]))
    vocab("merge_unknown_part", "EFORMAT", "tokenizer.ggml.merges[0]", GPT2, merges=(STRING, ["a zz"]))
    vocab("merge_unknown_whole", "EFORMAT", "tokenizer.ggml.merges[0]", GPT2, merges=(STRING, ["b c"]))
    vocab("merge_not_utf8", "EFORMAT", "tokenizer.ggml.merges[0]", GPT2, merges=(STRING, [b"\xff \xff"]))
    vocab("pre_unknown", "EUNSUPPORTED", "tokenizer.ggml.pre: 'gpt-9' is not known", GPT2, pre=(STRING, "gpt-9"))
    vocab("pre_not_utf8", "EUNSUPPORTED", "tokenizer.ggml.pre: '' is not known", GPT2, pre=(STRING, b"\xc3"))
    vocab("pre_missing", "OK", "", GPT2, pre=None)
    vocab("bert_no_unknown", "OK", "", BERT, unknown_token_id=None)
    vocab("bert_same_after_turning", "EFORMAT", "the string is there twice", BERT,
          tokens=(STRING, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "b", "##b"]),
          token_type=(I32, [CONTROL, UNKNOWN, CONTROL, CONTROL, NORMAL, CONTROL]))


# --- models: a llama of one block, keys by their names after "llama." ---

E, FF, HEADS, VOCAB = 8, 6, 2, 5
MODEL = {"embedding_length": (U32, E), "block_count": (U32, 1), "attention.head_count": (U32, HEADS),
         "attention.head_count_kv": (U32, HEADS), "feed_forward_length": (U32, FF),
         "attention.layer_norm_rms_epsilon": (F32, 1e-5), "context_length": (U32, 16)}
TENSORS = {"token_embd.weight": [E, VOCAB], "blk.0.attn_norm.weight": [E], "blk.0.attn_q.weight": [E, E],
           "blk.0.attn_k.weight": [E, E], "blk.0.attn_v.weight": [E, E], "blk.0.attn_output.weight": [E, E],
           "blk.0.ffn_norm.weight": [E], "blk.0.ffn_gate.weight": [E, FF], "blk.0.ffn_up.weight": [E, FF],
           "blk.0.ffn_down.weight": [FF, E], "output_norm.weight": [E]}
F32_TYPE, F16_TYPE, Q8_0_TYPE, I32_TYPE = 0, 1, 8, 26
BYTES = {F32_TYPE: (4, 1), F16_TYPE: (2, 1), Q8_0_TYPE: (34, 32), I32_TYPE: (4, 1)}


def model(name, status, reason, keys=None, tensors=None, arch="llama", fill=b"\0\0\0\x3e", more=()):
    """tensors: changed shapes, (shape, type), or None: not there."""
    made = [scalar("general.architecture", STRING, arch)] if arch is not None else []
    for key, given in {**MODEL, **(keys or {})}.items():
        if given is not None:
            made.append((array if isinstance(given[1], list) else scalar)(f"{arch}.{key}", *given))
    headers, data = [], b""
    for label, given in {**TENSORS, **(tensors or {})}.items():
        if given is None:
            continue
        shape, kind = given if isinstance(given, tuple) else (given, F32_TYPE)
        n = 1
        for size in shape:
            n *= size
        headers.append(tensor(label, shape, kind, len(data)))
        size = n * BYTES[kind][0] // BYTES[kind][1]
        data += (fill * (size // 4 + 1))[:size]
        data += bytes(-len(data) % 32)
    write("gguf_model", name, status, reason, file_bytes(made + list(more), headers, data))


def model_keys():
    model("good", "OK", "")
    model("arch_missing", "EFORMAT", "key 'general.architecture' is missing: no model", arch=None)
    model("arch_unknown", "EUNSUPPORTED", "general.architecture 'mamba' is not supported in GGUF", arch="mamba")
    model("arch_long", "EUNSUPPORTED", "is not supported in GGUF", arch="llama" * 200)
    model("arch_percent", "EUNSUPPORTED", "general.architecture '%s%n%n' is not supported", arch="%s%n%n")
    for key in ("embedding_length", "block_count", "attention.head_count", "feed_forward_length",
                "attention.layer_norm_rms_epsilon"):
        model(key.replace(".", "_") + "_missing", "EFORMAT", f"key 'llama.{key}' is missing", {key: None})
    model("blocks_huge", "EFORMAT", "num_hidden_layers: 4294967295 is outside", {"block_count": (U32, 2 ** 32 - 1)})
    model("blocks_wrap", "EFORMAT", "key 'llama.block_count' is not an integer", {"block_count": (U64, 2 ** 64 - 1)})
    model("blocks_text", "EFORMAT", "key 'llama.block_count' is not an integer", {"block_count": (STRING, "1")})
    model("blocks_float", "EFORMAT", "key 'llama.block_count' is not an integer", {"block_count": (F32, 1.0)})
    model("blocks_none", "EFORMAT", "key 'llama.block_count' is not an integer", {"block_count": (U32, [])})
    model("blocks_more", "EFORMAT", "tensors, the config asks for 1000 layers", {"block_count": (U32, 1000)})
    model("blocks_fewer", "EFORMAT", "num_hidden_layers: 0 is outside", {"block_count": (U32, 0)})
    model("heads_none", "EFORMAT", "num_attention_heads: 0 is outside", {"attention.head_count": (U32, 0)})
    model("heads_odd", "EFORMAT", "is no multiple of", {"attention.head_count": (U32, 3)})
    model("heads_by_layer", "EUNSUPPORTED", "differs between layers", {"attention.head_count": (U32, [2, 4])})
    model("ff_by_layer_nan", "EFORMAT", "key 'llama.feed_forward_length' is not an integer",
          {"feed_forward_length": (F32, [6.0, NAN])})
    model("epsilon_nan", "EFORMAT", "rms_norm_eps is not finite", {"attention.layer_norm_rms_epsilon": (F32, NAN)})
    model("epsilon_negative", "EFORMAT", "rms_norm_eps: -1", {"attention.layer_norm_rms_epsilon": (F32, -1.0)})
    model("rope_base_inf", "EFORMAT", "rope_theta is not finite", {"rope.freq_base": (F32, INF)})
    model("head_of_3", "EFORMAT", "3 dimensions of a head cannot turn", {"attention.key_length": (U32, 3)})
    model("head_huge", "EFORMAT", "head_dim: 2147483648 is outside", {"attention.key_length": (U32, 2 ** 31)})
    model("turning_part_huge", "EFORMAT", "partial_rotary_factor: 5.36871e+08 is outside",
          {"rope.dimension_count": (U32, 2 ** 31)})
    model("turning_part_odd", "EFORMAT", "3 dimensions of a head cannot turn", {"rope.dimension_count": (U32, 3)})
    model("scaling_unknown", "EUNSUPPORTED", "key 'llama.rope.scaling.type': 'spiral' is not supported",
          {"rope.scaling.type": (STRING, "spiral")})
    model("scaling_not_utf8", "EUNSUPPORTED", "key 'llama.rope.scaling.type': '' is not supported",
          {"rope.scaling.type": (STRING, b"\xff" * 50)})
    model("scaling_nan", "EFORMAT", "factor is not finite",
          {"rope.scaling.type": (STRING, "yarn"), "rope.scaling.factor": (F32, NAN)})
    model("yarn_factor_none", "EFORMAT", "factor: 0 is outside", {"rope.scaling.type": (STRING, "yarn")})
    model("yarn_beta_nan", "EFORMAT", "beta_fast is not finite",
          {"rope.scaling.type": (STRING, "yarn"), "rope.scaling.factor": (F32, 4.0),
                                           "rope.scaling.yarn_beta_fast": (F32, NAN)})
    model("experts_huge", "EFORMAT", "num_local_experts", {"expert_count": (U32, 2 ** 31),
          "expert_used_count": (U32, 1)})
    model("experts_without_stack", "EFORMAT",
          "mlp.gate.weight' or 'model.layers.0.block_sparse_moe.gate.weight' is missing",
          {"expert_count": (U32, 2), "expert_used_count": (U32, 1)})
    model("experts_used_more", "EFORMAT", "9 experts a token, there are 2",
          {"expert_count": (U32, 2), "expert_used_count": (U32, 9)})


def model_tensors():
    model("embedding_missing", "EFORMAT", "tensor 'token_embd.weight' is missing or no matrix",
          tensors={"token_embd.weight": None})
    model("embedding_flat", "EFORMAT", "tensor 'token_embd.weight' is missing or no matrix",
          tensors={"token_embd.weight": [E * VOCAB]})
    model("embedding_of_integers", "EUNSUPPORTED", "dtype i32 is not supported in a model",
          tensors={"token_embd.weight": ([E, VOCAB], I32_TYPE)})
    model("norm_missing", "EFORMAT", "model.norm.weight' is missing", tensors={"output_norm.weight": None})
    model("norm_matrix", "EFORMAT", "model.norm.weight'", tensors={"output_norm.weight": [E, 2]})
    model("queries_narrow", "EFORMAT", "q_proj.weight'", tensors={"blk.0.attn_q.weight": [E, E - 1]})
    model("queries_of_four_dimensions", "EFORMAT", "q_proj.weight'", tensors={"blk.0.attn_q.weight": [2, 2, 2, E]})
    model("queries_without_dimensions", "EFORMAT", "q_proj.weight'", tensors={"blk.0.attn_q.weight": []})
    model("tensor_unknown", "EFORMAT", "tensor 'blk.0.surprise.weight' has no place in a llama model",
          tensors={"blk.0.surprise.weight": [E]})
    model("tensor_of_block_7", "EFORMAT", "input_layernorm.weight' has no place in a llama model of 1 layers",
          tensors={"blk.7.attn_norm.weight": [E]})
    model("tensor_of_block_huge", "EFORMAT", "has no place", tensors={"blk.18446744073709551616.attn_norm.weight": [E]})
    model("tensor_by_two_names", "EFORMAT", "two tensors are named 'model.layers.0.self_attn.o_proj.weight'",
          tensors={"blk.0.attn_o.weight": [E, E]})
    model("tensor_with_other_zeros", "EFORMAT", "two tensors are named 'model.layers.0.input_layernorm.weight'",
          tensors={"blk.00.attn_norm.weight": [E]})
    model("stack_without_experts", "EFORMAT", "tensor 'blk.0.ffn_up_exps.weight'",
          tensors={"blk.0.ffn_up_exps.weight": [E, FF, 2]})
    experts = {"expert_count": (U32, 2), "expert_used_count": (U32, 1)}
    stacks = {"blk.0.ffn_gate.weight": None, "blk.0.ffn_up.weight": None, "blk.0.ffn_down.weight": None,
              "blk.0.ffn_gate_inp.weight": [E, 2], "blk.0.ffn_gate_exps.weight": [E, FF, 2],
              "blk.0.ffn_up_exps.weight": [E, FF, 2], "blk.0.ffn_down_exps.weight": [FF, E, 2]}
    model("good_experts", "OK", "", experts, stacks)
    model("stack_of_3", "EFORMAT", "tensor 'blk.0.ffn_up_exps.weight': not a stack of 2 experts", experts,
          {**stacks, "blk.0.ffn_up_exps.weight": [E, FF, 3]})
    model("stack_flat", "EFORMAT", "tensor 'blk.0.ffn_up_exps.weight': not a stack of 2 experts", experts,
          {**stacks, "blk.0.ffn_up_exps.weight": [E, FF * 2]})
    model("divisors_many", "EFORMAT", "tensor 'rope_freqs.weight': more than 256 numbers",
          tensors={"rope_freqs.weight": [257]})
    model("divisors_packed", "EFORMAT", "short_factor: not a list of 2 numbers",
          tensors={"rope_freqs.weight": ([32], Q8_0_TYPE)})
    model("divisors_integers", "EFORMAT", "tensor 'rope_freqs.weight'", tensors={"rope_freqs.weight": ([2], I32_TYPE)})
    model("divisors_few", "EFORMAT", "short_factor: not a list of 2 numbers", tensors={"rope_freqs.weight": [1]})
    model("divisors_zero", "EFORMAT", "short_factor[0] is no positive number",
          tensors={"rope_freqs.weight": [2]}, fill=bytes(4))
    model("divisors_nan", "EFORMAT", "tensor 'rope_freqs.weight': number 0 is not finite",
          tensors={"rope_freqs.weight": [2]}, fill=b"\xff" * 4)
    model("weights_nan", "OK", "", fill=b"\xff" * 4)


def main():
    both_models()
    pieces()
    words()
    model_keys()
    model_tensors()
    for folder, expected in lines.items():
        with open(os.path.join(HERE, folder, "expected.txt"), "w", encoding="utf-8") as f:
            f.write("".join(expected))


main()
