"""Makes the broken quantized models of test/hostile/quantized, and expected.txt: file, status, part of the message.

    python test/hostile/make_quantized_files.py

A file is the length of a config as u32, the config, and a safetensors file: what fuzz_quantized.c takes. Only the
standard library; the same bytes every time.
"""
import json
import pathlib
import struct

OUT = pathlib.Path(__file__).resolve().parent / "quantized"
EXPECTED = []
SIZE = {"I32": 4, "F16": 2, "F32": 4, "BF16": 2, "I8": 1, "U8": 1, "I64": 8, "F8_E4M3": 1, "F8_": 1}


def product(shape):
    n = 1
    for size in shape:
        n *= size
    return n


def model(config, tensors):
    """tensors: name to (dtype, shape[, bytes]); bytes are 0x11 unless given."""
    header, data = {}, b""
    for name, (dtype, shape, *content) in tensors.items():
        body = content[0] if content else b"\x11" * (SIZE[dtype] * product(shape))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(body)]}
        data += body
    text = json.dumps(header).encode()
    config = config if isinstance(config, bytes) else json.dumps({"quantization_config": config}).encode()
    return struct.pack("<I", len(config)) + config + struct.pack("<Q", len(text)) + text + data


def case(file, config, tensors, reason, status="EFORMAT"):
    (OUT / file).write_bytes(model(config, tensors))
    EXPECTED.append(f"{file} {status} {reason}")


def changed(tensors, **changes):
    """name=None removes; "__" stands for a dot."""
    out = dict(tensors)
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del out[name]
        else:
            out[name] = value
    return out


def ints(*values):
    return struct.pack(f"<{len(values)}i", *values)


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 16}
GPTQ_PARTS = {"m.qweight": ("I32", [4, 32]), "m.qzeros": ("I32", [2, 4]), "m.scales": ("F16", [2, 32]),
              "m.g_idx": ("I32", [32], ints(*[i // 16 for i in range(32)]))}


def gptq():
    def one(file, reason, status="EFORMAT", config=GPTQ, **changes):
        case(file, config, changed(GPTQ_PARTS, **changes), "module 'm': " + reason if reason else "", status)
    one("good.bin", "", "OK")
    one("gptq_no_zeros.bin", "its 'qzeros' is missing", m__qzeros=None)
    one("gptq_no_scales.bin", "it has no matrix 'scales'", m__scales=None)
    one("gptq_scales_row.bin", "it has no matrix 'scales'", m__scales=("F16", [64]))
    one("gptq_scales_of_ints.bin", "scales of i32", "EUNSUPPORTED", m__scales=("I32", [2, 32]))
    one("gptq_weight_of_bytes.bin", "'qweight' is u8, not i32", m__qweight=("U8", [4, 32]))
    one("gptq_weight_3d.bin", "'qweight' has shape [1, 4, 32]", m__qweight=("I32", [1, 4, 32]))
    one("gptq_weight_empty.bin", "'qweight' has shape [0, 32]", m__qweight=("I32", [0, 32]))
    one("gptq_outputs.bin", "2 groups of 32 outputs in scales, 2 groups in qzeros, 33 outputs in qweight",
        m__qweight=("I32", [4, 33]))
    one("gptq_groups.bin", "2 groups of 32 outputs in scales, 3 groups in qzeros",
        m__qzeros=("I32", [3, 4]))
    one("gptq_zero_words.bin", "9 words of zeros for 32 outputs are no number of bits", m__qzeros=("I32", [2, 9]))
    one("gptq_words.bin", "qweight has 5 words for 32 inputs of 4 bits", m__qweight=("I32", [5, 32]))
    one("gptq_words_missing.bin", "qweight has 3 words for 32 inputs of 4 bits", m__qweight=("I32", [3, 32]))
    one("gptq_index_negative.bin", "g_idx -1 of input 5 is outside of 2 groups",
        m__g_idx=("I32", [32], ints(*[-1 if i == 5 else 0 for i in range(32)])))
    one("gptq_index_high.bin", "g_idx 2 of input 31 is outside of 2 groups",
        m__g_idx=("I32", [32], ints(*[2 if i == 31 else 0 for i in range(32)])))
    one("gptq_index_huge.bin", "g_idx 2147483647 of input 0",
        m__g_idx=("I32", [32], ints(*[2**31 - 1] * 32)))
    one("gptq_index_long.bin", "qweight has 4 words for 64 inputs of 4 bits", m__g_idx=("I32", [64]))
    one("gptq_index_floats.bin", "g_idx is no row of i32", m__g_idx=("F32", [32]))
    one("gptq_index_square.bin", "g_idx is no row of i32", m__g_idx=("I32", [32, 1]))
    one("gptq_many_groups.bin", "40 groups of 32 inputs", m__qzeros=("I32", [40, 4]), m__scales=("F16", [40, 32]),
        m__g_idx=None)
    one("gptq_odd_groups.bin", "32 inputs in 3 groups: not of 16", m__qzeros=("I32", [3, 4]),
        m__scales=("F16", [3, 32]), m__g_idx=None)
    one("gptq_group_overflow.bin", "32 inputs in 3 groups", config={**GPTQ, "group_size": 2**62},
        m__qzeros=("I32", [3, 4]), m__scales=("F16", [3, 32]), m__g_idx=None)
    case("gptq_weight_too.bin", GPTQ, {**GPTQ_PARTS, "m.weight": ("F16", [32, 32])}, "two tensors are named 'm.weight'")
    case("gptq_format.bin", {**GPTQ, "checkpoint_format": "marlin"}, GPTQ_PARTS, "GPTQ format 'marlin'", "EUNSUPPORTED")
    case("unknown_method.bin", {"quant_method": "aqlm"}, GPTQ_PARTS, "method 'aqlm' is not read", "EUNSUPPORTED")
    case("no_method.bin", {"x": 1}, GPTQ_PARTS, "method '' is not read", "EUNSUPPORTED")
    case("method_number.bin", {"quant_method": 4, "bits": [4]}, GPTQ_PARTS, "", "OK")
    name = "n" * 600
    case("long_name.bin", GPTQ, {name + k[1:]: v for k, v in GPTQ_PARTS.items()}, "", "OK")


AWQ = {"quant_method": "awq", "bits": 4, "group_size": 16, "version": "gemm"}
AWQ_PARTS = {"m.qweight": ("I32", [32, 2]), "m.qzeros": ("I32", [2, 2]), "m.scales": ("F16", [2, 16])}


def awq():
    def one(file, reason, config=AWQ, **changes):
        case(file, config, changed(AWQ_PARTS, **changes), "module 'm': " + reason)
    one("awq_no_zeros.bin", "its 'qzeros' is missing", m__qzeros=None)
    one("awq_no_scales.bin", "it has no matrix 'scales'", m__scales=None)
    one("awq_scales.bin", "qweight [32, 2], qzeros [2, 2] and scales [2, 8] do not fit", m__scales=("F16", [2, 8]))
    one("awq_zeros.bin", "qweight [32, 2], qzeros [2, 1] and scales [2, 16] do not fit together",
        m__qzeros=("I32", [2, 1]))
    one("awq_groups.bin", "qweight [32, 2], qzeros [3, 2] and scales [2, 16] do not fit together",
        m__qzeros=("I32", [3, 2]))
    one("awq_odd_groups.bin", "32 inputs in 3 groups", m__qzeros=("I32", [3, 2]), m__scales=("F16", [3, 16]))
    gemv = {**AWQ, "version": "gemv", "group_size": 1}
    one("awq_gemv_rows.bin", "qweight [3, 4], qzeros [2, 2] and scales [2, 16] do not fit together",
        gemv, m__qweight=("I32", [3, 4]))
    one("awq_gemv_groups.bin", "qweight [2, 400], qzeros [2, 2] and scales [2, 16] do not fit together",
        gemv, m__qweight=("I32", [2, 400]))


CT = {"quant_method": "compressed-tensors", "format": "pack-quantized",
      "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4}}}}
SHAPE = ("I64", [2], struct.pack("<2q", 8, 32))
CT_PARTS = {"m.weight_packed": ("I32", [8, 4]), "m.weight_scale": ("BF16", [8, 2]), "m.weight_shape": SHAPE}


def compressed():
    def one(file, reason, status="EFORMAT", config=CT, **changes):
        case(file, config, changed(CT_PARTS, **changes), "module 'm': " + reason, status)
    one("ct_no_scale.bin", "no packed matrix, or no scales", m__weight_scale=None)
    one("ct_no_shape.bin", "weight_shape is missing", m__weight_shape=None)
    for file, shape in (("zero", (8, 0)), ("negative", (8, -32)), ("rows", (9, 32)), ("huge", (2**62, 2**62))):
        one(f"ct_shape_{file}.bin", "weight_shape is missing or not that of", m__weight_shape=(
            "I64", [2], struct.pack("<2q", *shape)))
    one("ct_shape_wide.bin", "4 words for 4611686018427387904 codes: no number of bits",
        m__weight_shape=("I64", [2], struct.pack("<2q", 8, 2**62)))
    one("ct_words.bin", "3 words for 32 codes: no number of bits of the config", m__weight_packed=("I32", [8, 3]))
    one("ct_no_groups.bin", "4 words for 32 codes: no number", config={**CT, "config_groups": {}})
    one("ct_bits_100.bin", "4 words for 32 codes: no number of bits",
        config={**CT, "config_groups": {"g": {"weights": {"num_bits": 100}}}})
    one("ct_scale_shape.bin", "weight_scale [7, 2] does not fit a weight [8, 32]", m__weight_scale=("BF16", [7, 2]))
    one("ct_scale_groups.bin", "40 groups of 32 inputs", m__weight_scale=("BF16", [8, 40]))
    one("ct_scale_odd.bin", "32 inputs in 3 groups", m__weight_scale=("BF16", [8, 3]))
    one("ct_scale_empty.bin", "weight_scale [8, 0] does not fit a weight", m__weight_scale=("BF16", [8, 0]))
    one("ct_scale_of_bytes.bin", "scales of i8", "EUNSUPPORTED", m__weight_scale=("I8", [8, 2]))
    one("ct_zeros.bin", "weight_zero_point of i32 does not fit", m__weight_zero_point=("I32", [2, 2]))
    one("ct_zeros_floats.bin", "weight_zero_point of f16 does not fit", m__weight_zero_point=("F16", [8, 2]))
    one("ct_index.bin", "g_idx 286331153 of input 0 is outside of 2 groups", m__weight_g_idx=("I32", [32]))
    one("ct_index_short.bin", "weight_g_idx is not an i32 an input", m__weight_g_idx=("I32", [31]))
    one("ct_packed_floats.bin", "weight_packed of f16", "EUNSUPPORTED", m__weight_packed=("F16", [8, 4]))
    fp4 = {"m.weight_packed": ("U8", [8, 16]), "m.weight_scale": ("F8_E4M3", [8, 2]),
           "m.weight_global_scale": ("F32", [1])}
    case("ct_global_zero.bin", CT, {**fp4, "m.weight_global_scale": ("F32", [1], bytes(4))},
         "weight_global_scale is 0")
    case("ct_global_two.bin", CT, {**fp4, "m.weight_global_scale": ("F32", [2])}, "weight_global_scale is not one f32")
    case("ct_global_none.bin", CT, changed(fp4, m__weight_global_scale=None), "4-bit floats with scales of F8_E4M3",
         "EUNSUPPORTED")
    case("ct_fp4_scales.bin", CT, {**fp4, "m.weight_scale": ("F8_E4M3", [9, 2])}, "weight_scale [9, 2] does not fit")
    case("ct_scale_alone.bin", CT, {"m.weight_scale": ("F16", [8, 1])}, "weight_scale without a matrix")
    case("ct_bytes_row.bin", CT, {"m.weight": ("I8", [8]), "m.weight_scale": ("F16", [8, 1])},
         "weight_scale without a matrix")
    case("ct_unknown_f8.bin", CT, {"m.weight": ("F8_", [8, 4]), "m.weight_scale": ("F16", [8, 1])}, "", "OK")
    case("ct_float_weight.bin", CT, {"m.weight": ("F16", [8, 4]), "m.weight_scale": ("F16", [8, 1])}, "", "OK")
    case("ct_sparse.bin", {**CT, "sparsity_config": {"format": "sparse-bitmask"}}, CT_PARTS, "sparse weights",
         "EUNSUPPORTED")


NF4 = {"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": [8, 16]}
BNB = {"quant_method": "bitsandbytes", "load_in_4bit": True}


def bitsandbytes():
    def one(file, reason, status="EFORMAT", state=None, **changes):
        text = state if isinstance(state, bytes) else json.dumps({**NF4, **(state or {})}).encode()
        parts = {"m.weight": ("U8", [64, 1]), "m.weight.absmax": ("F32", [2]), "m.weight.quant_map": ("F32", [16]),
                 "m.weight.quant_state.bitsandbytes__nf4": ("U8", [len(text)], text)}
        case(file, BNB, changed(parts, **changes), "module 'm': " + reason if reason else "", status)
    one("bnb_good.bin", "", "OK")
    one("bnb_no_weight.bin", "no weight of 64 bytes", m__weight=None)
    one("bnb_weight_short.bin", "no weight of 64 bytes", m__weight=("U8", [63, 1]))
    one("bnb_no_absmax.bin", "its 'weight.absmax' is missing", m__weight__absmax=None)
    one("bnb_absmax_short.bin", "'weight.absmax' is 1 elements of f32, not 2 of f32", m__weight__absmax=("F32", [1]))
    one("bnb_absmax_bytes.bin", "'weight.absmax' is 2 elements of u8", m__weight__absmax=("U8", [2]))
    one("bnb_map_short.bin", "'weight.quant_map' is 15 elements", m__weight__quant_map=("F32", [15]))
    one("bnb_state_text.bin", "quant_state: ", state=b"not JSON")
    one("bnb_state_deep.bin", "quant_state: ", state=b"[" * 4000)
    one("bnb_shape_flat.bin", "quant_state gives no matrix", state={"shape": [128]})
    one("bnb_shape_negative.bin", "quant_state gives no matrix", state={"shape": [-8, -16]})
    one("bnb_shape_overflow.bin", "quant_state gives no matrix", state={"shape": [2**62, 2**62]})
    one("bnb_shape_huge.bin", "no weight of 4611686018427387904 bytes", state={"shape": [2**62, 2]})
    one("bnb_shape_text.bin", "quant_state gives no matrix", state={"shape": "8 16"})
    one("bnb_block_zero.bin", "quant_state gives no matrix, or no block size", state={"blocksize": 0})
    one("bnb_block_negative.bin", "quant_state gives no matrix, or no block size", state={"blocksize": -64})
    one("bnb_dtype.bin", "quant_state: dtype 'float64'", "EUNSUPPORTED", state={"dtype": "float64"})
    nested = {"nested_offset": 0.1, "nested_blocksize": 256, "nested_dtype": "float32"}
    one("bnb_nested_absmax.bin", "'weight.absmax' is 2 elements of f32, not 2 of u8", state=nested)
    one("bnb_nested_no_map.bin", "its 'weight.nested_quant_map' is missing", state=nested,
        m__weight__absmax=("U8", [2]))
    one("bnb_nested_no_absmax.bin", "its 'weight.nested_absmax' is missing", state=nested,
        m__weight__absmax=("U8", [2]), m__weight__nested_quant_map=("F32", [256]))
    one("bnb_nested_map_short.bin", "'weight.nested_quant_map' is 255", state=nested, m__weight__absmax=("U8", [2]),
        m__weight__nested_quant_map=("F32", [255]))
    one("bnb_nested_block.bin", "quant_state: nested blocksize", state={**nested, "nested_blocksize": 0})
    one("bnb_nested_offset.bin", "quant_state: nested blocksize, offset", state={**nested, "nested_offset": "x"})
    case("bnb_int8_no_weight.bin", BNB, {"m.SCB": ("F32", [8])}, "its 'weight' is missing")
    case("bnb_int8_floats.bin", BNB, {"m.SCB": ("F32", [8]), "m.weight": ("F16", [8, 4])}, "'weight' is f16, not i8")
    case("bnb_int8_scales.bin", BNB, {"m.SCB": ("F32", [7]), "m.weight": ("I8", [8, 4])}, "SCB is 7 elements of f32")
    case("bnb_int8_layout.bin", BNB, {"m.SCB": ("F32", [8]), "m.weight": ("I8", [8, 4]),
         "m.weight_format": ("U8", [1])}, "weight_format is not 0", "EUNSUPPORTED")


def fp8():
    config = {"quant_method": "fp8", "weight_block_size": [4, 0]}
    def one(file, reason, weight, scale, status="EFORMAT"):
        case(file, config, {"m.weight": weight, "m.weight_scale_inv": scale}, "module 'm': " + reason, status)
    one("fp8_floats.bin", "a scale of no matrix of 8-bit floats", ("F16", [8, 4]), ("F32", [2, 1]))
    one("fp8_unknown.bin", "a scale of no matrix of 8-bit floats", ("F8_", [8, 4]), ("F32", [2, 1]))
    one("fp8_row.bin", "a scale of no matrix of 8-bit floats", ("F8_E4M3", [8]), ("F32", [2, 1]))
    one("fp8_scale_row.bin", "its scales are neither one nor a matrix", ("F8_E4M3", [8, 4]), ("F32", [2]))
    one("fp8_scale_empty.bin", "its scales are neither one nor a matrix", ("F8_E4M3", [8, 4]), ("F32", [0, 1]))
    one("fp8_blocks.bin", "its scales do not fit its weight", ("F8_E4M3", [8, 4]), ("F32", [3, 1]))
    one("fp8_block_zero.bin", "its scales do not fit its weight", ("F8_E4M3", [8, 4]), ("F32", [2, 3]))
    one("fp8_scale_ints.bin", "scales of i32", ("F8_E4M3", [8, 4]), ("I32", [2, 1]), "EUNSUPPORTED")
    (OUT / "config_claims.bin").write_bytes(struct.pack("<I", 200_000_000) + b"{}")
    EXPECTED.append("config_claims.bin EFORMAT no config")
    case("config_text.bin", b"nothing", {"x": ("F16", [1])}, "no config")


def main():
    OUT.mkdir(exist_ok=True)
    for old in OUT.iterdir():
        old.unlink()
    gptq()
    awq()
    compressed()
    bitsandbytes()
    fp8()
    (OUT / "expected.txt").write_text("\n".join(EXPECTED) + "\n")


main()
