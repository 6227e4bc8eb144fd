"""Makes test/golden/quantized: a folder a format with config.json and model.safetensors, and in values.safetensors the
weights that the format's own program reads from it, in its own type.

    PYTHONPATH=FOLDER_OF_GPTQMODEL python test/golden/make_quantized.py

Made with torch 2.15.0, safetensors 0.8.0, gptqmodel 7.7.0 (its source, TorchLinear.dequantize_weight), autoawq 0.2.9
(dequantize_gemm), compressed-tensors 0.20.0 (the compressors' decompress), bitsandbytes 0.50.2 (its default
backend's dequantize_4bit, which its CPU kernels only equal for rows of whole blocks, and int8_vectorwise_dequant),
transformers 5.24.0 (Fp8Dequantize). Packages that only other parts of these import are replaced by stubs. Two rows
are this script's own: the older packing of compressed-tensors (32 / bits codes a word), whose writer is gone,
unpacked as it was; AWQ's "gemv", whose program runs on a GPU only, as its gemm.
"""
import importlib.abc
import importlib.machinery
import json
import math
import pathlib
import shutil
import sys
from unittest import mock

import torch
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parent / "quantized"


class Stub(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("datasets", "pyarrow"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        made = mock.MagicMock(name=spec.name)
        made.__path__, made.__name__, made.__spec__, made.__file__ = [], spec.name, spec, "stub"
        return made

    def exec_module(self, module):
        pass


sys.meta_path.append(Stub())


def write(name, config, tensors, values):
    folder = OUT / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "none", "quantization_config": config}) + "\n")
    extra = {"model.norm.weight": torch.arange(4, dtype=torch.float16)}
    save_file({k: v.contiguous().clone() for k, v in {**tensors, **extra}.items()}, folder / "model.safetensors")
    save_file({k + ".weight": v.contiguous() for k, v in values.items()}, folder / "values.safetensors")


def codes(bits, *shape):
    return torch.randint(0, 2**bits, shape, dtype=torch.int64)


def pack_dense(values, bits):
    """[rows, n] to int32 [rows, ceil(n * bits / 32)], the first code in the lowest bits."""
    rows, n = values.shape
    words = [[0] * math.ceil(n * bits / 32) for _ in range(rows)]
    for r in range(rows):
        stream = 0
        for i in range(n):
            stream |= int(values[r, i]) << (i * bits)
        for w in range(len(words[r])):
            words[r][w] = (stream >> (32 * w) & 0xffffffff) - (stream >> (32 * w + 31) & 1) * 2**32
    return torch.tensor(words, dtype=torch.int32)


def pack_whole(values, bits, order=None):
    """[rows, n] to int32, 32 // bits codes a word."""
    per, (rows, n) = 32 // bits, values.shape
    out = torch.zeros(rows, math.ceil(n / per), dtype=torch.int64)
    for i in range(n):
        place = order[i % per] if order else i % per
        out[:, i // per] |= values[:, i] << (place * bits)
    return torch.where(out >= 2**31, out - 2**32, out).to(torch.int32)


def scales_of(dtype, *shape):
    return (torch.rand(shape) * 0.02 + 1e-4).to(dtype)


def gptq(name, format, modules):
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.utils.planar_packing import planar_pack_cols, planar_pack_rows
    from gptqmodel.quantization.config import FORMAT
    tensors, values = {}, {}
    for module, (bits, n_in, n_out, group, order, dtype) in modules.items():
        size = n_in if group == -1 else group
        n_groups = math.ceil(n_in / size)
        linear = TorchLinear(bits=bits, group_size=group, sym=False, desc_act=order, in_features=n_in,
                             out_features=n_out, bias=False, format=FORMAT(format))
        q, z = codes(bits, n_in, n_out), codes(bits, n_groups, n_out).clamp(min=1)
        g_idx = torch.arange(n_in, dtype=torch.int32) // size
        if order:
            g_idx = g_idx[torch.randperm(n_in)]
        stored = z - int(format == "gptq")
        if linear.planar:
            rows, zeros = planar_pack_rows(q, bits), planar_pack_cols(stored, bits)
            zeros_read = planar_pack_cols(z, bits)
        else:
            rows = pack_dense(q.t(), bits).t()
            zeros, zeros_read = pack_dense(stored, bits), pack_dense(z, bits)
        scales = scales_of(dtype, n_groups, n_out)
        linear.qweight, linear.qzeros = rows.contiguous(), zeros_read.contiguous()
        linear.scales, linear.g_idx = scales, g_idx
        values[module] = linear.dequantize_weight().t()
        tensors |= {f"{module}.qweight": rows, f"{module}.qzeros": zeros, f"{module}.scales": scales,
                    f"{module}.g_idx": g_idx, f"{module}.bias": torch.zeros(n_out, dtype=dtype)}
    write(name, {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": False,
                 "checkpoint_format": format, "dynamic": {"+:.*": {}}}, tensors, values)


def awq():
    from awq.utils.packing_utils import dequantize_gemm
    order = [0, 4, 1, 5, 2, 6, 3, 7]
    gemm, gemv, values, values_v = {}, {}, {}, {}
    for module, (n_in, n_out, group) in {"a.q": (64, 24, 32), "a.k": (96, 16, 96), "a.v": (128, 40, 16)}.items():
        q, z, s = codes(4, n_in, n_out), codes(4, n_in // group, n_out), scales_of(torch.float16, n_in // group, n_out)
        qweight, qzeros = pack_whole(q, 4, order), pack_whole(z, 4, order)
        gemm |= {f"{module}.qweight": qweight, f"{module}.qzeros": qzeros, f"{module}.scales": s}
        values[module] = dequantize_gemm(qweight, qzeros, s, 4, group).t()
        if group != 32:
            continue
        width = math.ceil(n_in // group / 8)
        padded = torch.zeros(n_out, 8 * width, dtype=torch.float16)
        padded[:, :n_in // group] = s.t()
        gemv |= {f"{module}.qweight": pack_whole(q.t(), 4), f"{module}.qzeros": pack_whole(z.t(), 4),
                 f"{module}.scales": padded}
        values_v[module] = values[module]
    config = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True}
    write("awq_gemm", {**config, "version": "gemm"}, gemm, values)
    write("awq_gemv", {**config, "version": "gemv"}, gemv, values_v)


def compressed(name, format, modules):
    """modules: name to (weights of the scheme, weight, scale, zero point or None, global scale or None)."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    tensors, values, groups = {}, {}, {}
    for i, (module, (of, kind, weights, state)) in enumerate(modules.items()):
        scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights))
        compressor = BaseCompressor.get_value_from_registry(kind)
        state = compressor.compress(dict(state), scheme) if of == "float" else dict(state)
        values[module] = compressor.decompress(dict(state), scheme)["weight"]
        tensors |= {f"{module}.{k}": v for k, v in state.items() if v is not None}
        groups[f"group_{i}"] = {"targets": [module], "weights": weights, "format": kind}
    write(name, {"quant_method": "compressed-tensors", "format": format, "config_groups": groups,
                 "quantization_status": "compressed", "ignore": ["lm_head"]}, tensors, values)


def integers(bits, n, k, strategy, group=None, symmetric=True, dtype=torch.bfloat16):
    size = group or k
    shape = (1,) if strategy == "tensor" else (n, k // size)
    scale = scales_of(dtype, *shape)
    half = 2**(bits - 1)
    zero = None if symmetric else torch.randint(-half, half, shape, dtype=torch.int8)
    q = torch.randint(-half, half, (n, k))
    flat_scale, flat_zero = [(x if x is None or strategy == "tensor" else x.repeat_interleave(size, 1))
                             for x in (scale, zero)]
    weight = ((q - (0 if zero is None else flat_zero)) * flat_scale.float()).to(dtype)
    weights = {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": strategy, "group_size": group}
    return weights, {"weight": weight, "weight_scale": scale, "weight_zero_point": zero}


def pack_quantized():
    modules = {}
    for bits in range(2, 9):
        modules[f"m.int{bits}"] = ("float", "pack-quantized", *integers(bits, 24, 96, "group", 32))
        modules[f"m.int{bits}_asym"] = ("float", "pack-quantized", *integers(bits, 24, 70, "channel", None, False,
                                                                             torch.float16))
    modules["m.tensor"] = ("float", "pack-quantized", *integers(4, 16, 40, "tensor", None, True, torch.float32))
    compressed("ct_pack", "pack-quantized", modules)


def pack_old():
    """32 // bits codes a word, for 3, 5, 6 and 7 bits too; zeros along the outputs."""
    tensors, values, groups = {}, {}, {}
    for bits in (3, 5, 6, 7):
        module, n, k, size = f"m.int{bits}", 24, 96, 32
        q, z = codes(bits, n, k), codes(bits, n, k // size)
        scale = scales_of(torch.bfloat16, n, k // size)
        wide = [x.repeat_interleave(size, 1) for x in (z, scale)]
        values[module] = (q - wide[0]).to(torch.bfloat16) * wide[1]
        tensors |= {f"{module}.weight_packed": pack_whole(q, bits), f"{module}.weight_scale": scale,
                    f"{module}.weight_zero_point": pack_whole(z.t(), bits).t(),
                    f"{module}.weight_shape": torch.tensor([n, k])}
        groups[f"group_{bits}"] = {"targets": [module], "weights": {"num_bits": bits, "type": "int"}}
    order = torch.randperm(96).to(torch.int32) // 32
    values["m.ordered"] = (q - z[:, order.long()]).to(torch.bfloat16) * scale[:, order.long()]
    tensors |= {"m.ordered." + k.split(".", 2)[2]: v.clone() for k, v in tensors.items() if k.startswith("m.int7.")}
    tensors["m.ordered.weight_g_idx"] = order
    write("ct_pack_old", {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups},
          tensors, values)


def naive():
    def floats(n, k, strategy, shape, dtype=torch.bfloat16, **more):
        state = {"weight": torch.randn(n, k, dtype=torch.float32).mul(3).to(torch.float8_e4m3fn),
                 "weight_scale": scales_of(dtype, *shape)}
        return {"num_bits": 8, "type": "float", "symmetric": True, "strategy": strategy, **more}, state
    modules = {
        "m.int_channel": ("float", "int-quantized", *integers(8, 16, 40, "channel")),
        "m.int_asym": ("float", "int-quantized", *integers(8, 16, 64, "group", 16, False, torch.float32)),
        "m.int_tensor": ("float", "naive-quantized", *integers(8, 8, 24, "tensor", None, True, torch.float16)),
        "m.fp_channel": ("stored", "float-quantized", *floats(16, 40, "channel", (16, 1))),
        "m.fp_tensor": ("stored", "float-quantized", *floats(8, 24, "tensor", (1,), torch.float32)),
        "m.fp_block": ("stored", "float-quantized", *floats(20, 40, "block", (3, 3), torch.bfloat16,
                                                            block_structure=[8, 16])),
    }
    compressed("ct_naive", "mixed-precision", modules)


def fp4():
    def packed(n, k, size, scale, **more):
        weights = {"num_bits": 4, "type": "float", "symmetric": True, "group_size": size, **more}
        return weights, {"weight_packed": torch.randint(0, 256, (n, k // 2), dtype=torch.uint8), "weight_scale": scale}
    e4m3 = (torch.rand(12, 4) * 100 + 1).to(torch.float8_e4m3fn)
    nv, state = packed(12, 64, 16, e4m3, strategy="tensor_group")
    modules = {"m.nv": ("stored", "nvfp4-pack-quantized", nv, {**state, "weight_global_scale": torch.tensor([2688.7])}),
               "m.nv_number": ("stored", "nvfp4-pack-quantized", nv,
                               {**state, "weight_global_scale": torch.tensor(731.3)})}
    exponents = torch.randint(100, 140, (12, 2), dtype=torch.uint8)
    modules["m.mx"] = ("stored", "mxfp4-pack-quantized", *packed(12, 64, 32, exponents, strategy="group"))
    weights = {"num_bits": 8, "type": "float", "symmetric": True, "group_size": 32, "strategy": "group",
               "scale_dtype": "torch.uint8"}
    modules["m.mx8"] = ("stored", "mxfp8-quantized", weights, {
        "weight": torch.randn(12, 64).mul(50).to(torch.float8_e4m3fn), "weight_scale": exponents})
    compressed("ct_fp4", "mixed-precision", modules)


def bitsandbytes():
    import bitsandbytes as bnb
    from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
    tensors, values = {}, {}
    for module, (kind, n, k, nested, dtype, block) in {
            "m.nf4": ("nf4", 24, 96, False, torch.bfloat16, 64),
            "m.nf4_nested": ("nf4", 130, 130, True, torch.float16, 64),
            "m.fp4": ("fp4", 16, 66, False, torch.float16, 64),
            "m.fp4_nested": ("fp4", 16, 64, True, torch.float32, 128),
            "m.odd": ("nf4", 5, 7, False, torch.float32, 64)}.items():
        weight = torch.randn(n, k).mul(0.02).to(dtype)
        q, state = bnb.functional.quantize_4bit(weight, blocksize=block, compress_statistics=nested, quant_type=kind)
        absmax = state.absmax
        if nested:
            absmax = bnb.functional.dequantize_blockwise(state.absmax, state.state2) + state.offset
        values[module] = _dequantize_4bit_compute(q.reshape(-1), absmax, state.code, block, (n, k), dtype)
        tensors |= {f"{module}.weight": q} | {f"{module}.weight.{k}": v for k, v in state.as_dict(packed=True).items()}
    write("bnb_4bit", {"quant_method": "bitsandbytes", "load_in_4bit": True}, tensors, values)
    q, scb = torch.randint(-127, 128, (16, 40), dtype=torch.int8), torch.rand(16)
    write("bnb_int8", {"quant_method": "bitsandbytes", "load_in_8bit": True},
          {"m.w.weight": q, "m.w.SCB": scb, "m.w.weight_format": torch.tensor(0, dtype=torch.uint8)},
          {"m.w": bnb.functional.int8_vectorwise_dequant(q, scb)})


def fp8():
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize
    tensors, values = {}, {}
    for module, shape, scale in (("m.a", (32, 48), scales_of(torch.float32, 4, 3)),
                                 ("m.b", (16, 24), scales_of(torch.float32, 1, 1))):
        weight = torch.randn(*shape).mul(100).to(torch.float8_e4m3fn)
        tensors |= {f"{module}.weight": weight, f"{module}.weight_scale_inv": scale}
        values[module] = Fp8Dequantize(None)._dequantize_one(weight, scale, torch.float32)
    write("fp8", {"quant_method": "fp8", "weight_block_size": [8, 16]}, tensors, values)


def main():
    torch.manual_seed(11)
    shutil.rmtree(OUT, ignore_errors=True)
    f16, bf16 = torch.float16, torch.bfloat16
    each = {f"m.w{b}": (b, 96, 32, 32, False, f16) for b in (2, 3, 4, 8)}
    gptq("gptq", "gptq", {**each, "m.act": (4, 128, 64, 32, True, f16), "m.act3": (3, 64, 32, 16, True, bf16),
                          "m.one": (4, 320, 32, -1, False, bf16), "m.part": (4, 96, 32, 64, False, f16)})
    gptq("gptq_v2", "gptq_v2", {"m.w4": (4, 64, 32, 32, True, f16), "m.w8": (8, 64, 32, -1, False, f16)})
    gptq("gptq_p", "gptq_p", {f"m.w{b}": (b, 64, 32, 32, False, f16) for b in (2, 3, 4, 5, 6, 7, 8)})
    awq()
    pack_quantized()
    pack_old()
    naive()
    fp4()
    bitsandbytes()
    fp8()


main()
