"""Writes test/golden/gguf/blocks.gguf, a tensor of every type that gguf-py 0.19 can write, and blocks.txt, what
gguf-py's quants.py decodes them to: a line a tensor with its name, type, CRC-32 of the f32 bytes and first four values
as bits.

    python test/golden/make_gguf.py

Needs gguf 0.19 and numpy. Blocks are random bytes; scales are random f16 of any size that are finite, denormal ones
among them. Q1_0 and Q8_K, which gguf-py does not decode, are decoded here as ggml-quants.c does (dequantize_row_*).
"""
import pathlib
import zlib

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T, GGUFWriter, dequantize

OUT = pathlib.Path(__file__).resolve().parent / "gguf"
# where the f16 scales of a block lie
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ1_S": [0], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0],
          "IQ3_XXS": [0], "IQ3_S": [0], "IQ4_NL": [0], "IQ4_XS": [0], "TQ1_0": [52], "TQ2_0": [64], "Q1_0": [0],
          "IQ1_M": [], "MXFP4": [], "NVFP4": [], "Q8_K": []}
N_ROWS, N_BLOCKS = 3, 4
rng = np.random.default_rng(20260101)


def finite_halves(n):
    bits = rng.integers(0, 1 << 16, n, dtype=np.uint16)
    bits[0] = 0x8003  # denormal
    return np.where(bits & 0x7C00 == 0x7C00, bits ^ 0x4000, bits).astype(np.uint16)


def blocks(name):
    size = GGML_QUANT_SIZES[T[name]][1]
    n = N_ROWS * N_BLOCKS
    data = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for at in HALVES[name]:
        data[:, at:at + 2] = finite_halves(n).view(np.uint8).reshape(n, 2)
    if name == "IQ1_M":  # the scale in the highest bits of four u16
        for k, half in enumerate((finite_halves(n)[:, None] >> np.array([0, 4, 8, 12])).T & 15):
            data[:, 49 + 2 * k] = data[:, 49 + 2 * k] & 15 | half.astype(np.uint8) << 4
    if name == "MXFP4":
        data[:, 0] = np.minimum(data[:, 0], 250)
        data[:2, 0] = 0, 1
    if name == "Q8_K":
        data[:, :4] = rng.standard_normal(n).astype(np.float32).view(np.uint8).reshape(n, 4)
    return data.reshape(N_ROWS, -1)


def decoded(name, data):
    if name == "Q1_0":
        rows = data.reshape(-1, 18)
        d = rows[:, :2].copy().view(np.float16).astype(np.float32)
        bits = np.unpackbits(rows[:, 2:], axis=1, bitorder="little")
        return np.where(bits, d, -d)
    if name == "Q8_K":
        rows = data.reshape(-1, 292)
        return rows[:, :4].copy().view(np.float32) * rows[:, 4:260].copy().view(np.int8).astype(np.float32)
    return dequantize(data, T[name])


def main():
    OUT.mkdir(exist_ok=True)
    writer = GGUFWriter(OUT / "blocks.gguf", "llama")
    writer.add_name("a tensor of every type")
    writer.add_array("general.languages", ["en", "sw"])
    lines = []

    def add(name, kind, data, values):
        writer.add_tensor(name, data, raw_dtype=T[kind])
        values = np.ascontiguousarray(values, dtype=np.float32)
        assert np.isfinite(values).all() and values.size
        bits = " ".join(f"{x:08x}" for x in values.reshape(-1)[:4].view(np.uint32))
        lines.append(f"{name} {kind} {values.size} {zlib.crc32(values.tobytes()):08x} {bits}\n")

    x = rng.standard_normal((3, 5))
    for kind, dtype in (("F32", np.float32), ("F16", np.float16), ("F64", np.float64)):
        add("plain." + kind.lower(), kind, x.astype(dtype), x.astype(dtype))
    bf16 = (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    add("plain.bf16", "BF16", bf16.view(np.uint8), (bf16.astype(np.uint32) << 16).view(np.float32))
    integers = rng.integers(-32768, 32768, (2, 7), dtype=np.int16)
    add("plain.i16", "I16", integers, integers)
    for name in HALVES:
        data = blocks(name)
        add("blk.0." + name.lower(), name, data, decoded(name, data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (OUT / "blocks.txt").write_text("".join(lines))


main()
