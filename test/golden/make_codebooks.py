"""Golden values for NF4, FP4 and MXFP4: writes codebooks.txt beside itself.

    python3 make_codebooks.py     with numpy, torch, bitsandbytes and gguf

Lines: `weights HEX...` 8 x 128 f32 bit patterns; `nf4 SCALES CODES`, `fp4 ...`: bitsandbytes.functional.quantize_4bit
on a CPU in blocks of 64, `mxfp4 ...`: gguf.quants in blocks of 32: scales as f32 bit patterns with commas between them,
codes a hexadecimal digit a weight.
"""
import importlib.metadata
import os
import sys

import numpy as np
import torch
from bitsandbytes import functional
from gguf import GGMLQuantizationType, quants

rng = np.random.default_rng(5)
w = rng.standard_t(5, size=(8, 128)).astype(np.float32) * np.float32(0.03)
w[1] = np.round(w[1] * 64) / 64  # ties
w[2, :64] = 0
w[3, :32] = np.float32(2.0) ** rng.integers(-20, 3, 32)
w[4, 64:] *= 1e-20
w[5, :16] = [0, 0.25, -0.25, 0.75, -0.75, 1.25, -1.25, 1.75, -1.75, 2.5, -2.5, 3.5, -3.5, 5, -5, 7.5]


def line(out, name, scales, codes):
    scales = ",".join(f"{v:08x}" for v in np.asarray(scales, np.float32).ravel().view(np.uint32))
    out.write(f"{name} {scales} {''.join(f'{c:x}' for c in codes.ravel())}\n")


with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "codebooks.txt"), "w") as out:
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in ("numpy", "torch", "bitsandbytes", "gguf"))
    out.write(f"# make_codebooks.py, Python {sys.version.split()[0]}, {versions}\n")
    out.write("weights " + " ".join(f"{v:08x}" for v in w.ravel().view(np.uint32)) + "\n")
    for name in ("nf4", "fp4"):
        packed, state = functional.quantize_4bit(torch.from_numpy(w), blocksize=64, quant_type=name)
        packed = packed.numpy().ravel()
        line(out, name, state.absmax.numpy(), np.stack([packed >> 4, packed & 15], 1))
    blocks = quants.quantize(w, GGMLQuantizationType.MXFP4).reshape(-1, 17)
    codes = np.concatenate([blocks[:, 1:] & 15, blocks[:, 1:] >> 4], 1)
    line(out, "mxfp4", 2.0 ** (blocks[:, 0].astype(np.float64) - 127), codes)
