"""Golden values for lib/quant: writes quant.txt beside itself.

    python3 -m venv venv; venv/bin/pip install numpy==2.4.6 scipy==1.17.1; venv/bin/python make_quant.py

Lines of quant.txt, fields separated by spaces:
    sample LAW HEX...                    64 x 16 weights as f32 bit patterns
    aciq LAW BITS FULL ALPHA             root of E[(|X| - a)+] = c a on the sample, by scipy.optimize.brentq
    channels LAW BITS FULL CLIPS         the same a row, as the character of the nearest 2^(-k/12)
    rtn LAW BITS FULL GROUP CRC ERROR    round to nearest with f16 scales in numpy: zlib.crc32 of the f32 weights and
                                         sum (w - q)^2 / sum w^2; GROUP -1 a row, -2 the tensor
    closed LAW BITS ALPHA                alpha / sigma of the law itself for 2^BITS levels, by brentq on its formula
"""
import os
import sys
import zlib

import numpy as np
import scipy
from scipy import optimize, stats

rng = np.random.default_rng(77)
CODES = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
F = np.float32
laws = {
    "gaussian": rng.normal(size=(64, 16)),
    "laplace": rng.laplace(size=(64, 16)),
    "t5": rng.standard_t(5, size=(64, 16)) * 0.02,
    "mixture": rng.normal(size=(64, 16)) * np.where(rng.random((64, 16)) < 0.01, 20, 1),
}
laws = {k: v.astype(F) for k, v in laws.items()}


def half_of(bits, full):
    return 2 ** (bits - 1) if full else 2 ** (bits - 1) - 1


def aciq(x, bits, full):
    x = np.abs(x.astype(np.float64).ravel())
    c = 1 / (12 * half_of(bits, full) ** 2)
    return optimize.brentq(lambda a: np.maximum(x - a, 0).mean() - c * a, 0, x.max(), xtol=1e-300, rtol=1e-14)


def rtn_block(w, bits, full):
    half = half_of(bits, full)
    scale = F(np.float16(F(np.abs(w).max()) / F(half)))
    inverse = F(1) / scale
    codes = np.clip(np.rint(w * inverse), -half, half - 1 if full else half).astype(np.int32)
    return codes.astype(F) * scale


def rtn(w, bits, full, group):
    if group == -2:
        return rtn_block(w, bits, full)
    n = w.shape[1] if group == -1 else group
    return np.stack([np.concatenate([rtn_block(r[i:i + n], bits, full) for i in range(0, len(r), n)]) for r in w])


here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "quant.txt"), "w") as out:
    out.write(f"# make_quant.py, Python {sys.version.split()[0]}, numpy {np.__version__}, scipy {scipy.__version__}\n")
    for law, w in laws.items():
        out.write(f"sample {law} " + " ".join(f"{v:08x}" for v in w.view(np.uint32).ravel()) + "\n")
        for bits in range(2, 9):
            for full in (0, 1):
                out.write(f"aciq {law} {bits} {full} {aciq(w, bits, full):.17g}\n")
                clips = ""
                for row in w:
                    k = -12 * np.log2(aciq(row, bits, full) / np.abs(row).max())
                    assert abs(k - np.floor(k) - 0.5) > 1e-4, "too near the middle: take another seed"
                    clips += CODES[int(np.clip(np.rint(k), 0, 63))]
                out.write(f"channels {law} {bits} {full} {clips}\n")
                for group in (-2, -1, 8, 12, 64):
                    q = rtn(w, bits, full, group)
                    d, e = (w.astype(float) - q.astype(float)), w.astype(float)
                    out.write(f"rtn {law} {bits} {full} {group} {zlib.crc32(q.astype('<f4').tobytes())} "
                              f"{(d * d).sum() / (e * e).sum():.17g}\n")
    for bits in range(2, 9):
        c = 1 / (3 * 4 ** bits)
        g = optimize.brentq(lambda a: 2 * (stats.norm.pdf(a) - a * stats.norm.sf(a)) - c * a, 1e-3, 20, rtol=1e-14)
        lap = optimize.brentq(lambda a: np.exp(-a) - c * a, 1e-3, 40, rtol=1e-14) / np.sqrt(2)
        out.write(f"closed gaussian {bits} {g:.17g}\nclosed laplace {bits} {lap:.17g}\n")
