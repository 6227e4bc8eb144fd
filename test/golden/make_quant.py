"""Golden values for lib/quant: writes quant.txt beside itself.

    python3 -m venv venv; venv/bin/pip install numpy==2.4.6 scipy==1.17.1; venv/bin/python make_quant.py

Lines of quant.txt, fields separated by spaces:
    sample LAW HEX...                    64 x 16 weights as f32 bit patterns
    aciq LAW BITS FULL ALPHA             root of E[(|X| - a)+] = c a on the sample, by scipy.optimize.brentq
    channels LAW BITS FULL CLIPS         the same a row, as the character of the nearest 2^(-k/12)
    rtn LAW BITS LEVELS GROUP CRC ERROR  round to nearest with f16 scales in numpy: zlib.crc32 of the f32 weights and
                                         sum (w - q)^2 / sum w^2; GROUP -1 a row, -2 the tensor; LEVELS 2: asymmetric
    mse LAW BITS LEVELS GROUP CLIPS      the clip character of the least squared error of every unit (of the first 32
                                         for groups, else 64), ? where the best two are within 1e-6
    percentile LAW LEVELS GROUP P CLIPS  clip characters of numpy.percentile of |w|, asymmetric: of |w| over that of
                                         the end on its side; ? where the nearest is not clear
    kl LAW BITS LEVELS GROUP CLIPS       those of the least Kullback-Leibler divergence of bins of the same
    hqq LAW BITS GROUP ERROR OFFSETS     half-quadratic quantization (Badri, Shaji 2023: 20 steps of the generalised
                                         soft threshold and the mean, beta 10 growing by 1.01, p = 0.7) in f64 from
                                         16-bit steps: the error as rtn's, and f16 offsets of units (up to 64 of them)
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


def rtn_block(w, bits, levels, ratio=F(1)):
    low, high = F(min(w.min(), 0)) * ratio, F(max(w.max(), 0)) * ratio
    span, n = (high - low, 2 ** bits - 1) if levels == 2 else (F(np.abs(w).max()) * ratio, half_of(bits, levels))
    scale = F(np.float16(span / F(n)))
    inverse = F(1) / scale
    first, last = (-n, n - 1 if levels else n)
    if levels == 2:
        first = -int(np.clip(np.rint(-low * inverse), 0, n))
        last = n + first
    codes = np.clip(np.rint(w * inverse), first, last).astype(np.int32)
    return codes.astype(F) * scale


def units(w, group):
    if group == -2:
        return [w.ravel()]
    n = w.shape[1] if group == -1 else group
    return [r[i:i + n] for r in w for i in range(0, len(r), n)]


def rtn(w, bits, levels, group):
    return np.concatenate([rtn_block(u, bits, levels) for u in units(w, group)]).reshape(w.shape)


def mse_clip(w, bits, levels, n_candidates):
    ratios = [F(2 ** (-(k % 12) / 12)) * F(2.0 ** -(k // 12)) for k in range(n_candidates)]
    d = [((w.astype(float) - rtn_block(w, bits, levels, r).astype(float)) ** 2).sum() for r in ratios]
    best = int(np.argmin(d))
    return "?" if np.partition(d, 1)[1] < d[best] * (1 + 1e-6) else CODES[best]


def hqq_unit(w, bits):
    w, top = w.astype(np.float64), 2 ** bits - 1
    step = np.float64(np.float16(F(w.max() - w.min()) / F(top)))
    zero, beta = -w.min() / step, 10.0
    for _ in range(20):
        q = np.clip(np.rint(w / step + zero), 0, top)
        error = w - (q - zero) * step
        size = np.maximum(np.abs(error), 1e-300)
        kept = np.sign(error) * np.maximum(size - size ** (0.7 - 1) / beta, 0)
        zero = (q - (w - kept) / step).mean()
        beta *= 1.01
    offset = np.float64(np.float16((2 ** (bits - 1) - zero) * step))
    q = np.clip(np.rint((w - offset) / step), -2 ** (bits - 1), 2 ** (bits - 1) - 1)
    return q * step + offset, offset


def sizes_of(u, levels):
    u = u.astype(float)
    low, high = max(-u.min(), 0), max(u.max(), 0)
    if levels < 2:
        low = high = max(low, high)
    return np.where(u < 0, -u / (low or 1), u / (high or 1))


def percentile_clip(u, levels, p):
    k = -12 * np.log2(np.percentile(sizes_of(u, levels), p))
    return "?" if abs(k - np.floor(k) - 0.5) < 1e-4 else CODES[int(np.clip(np.rint(k), 0, 63))]


def kl_clip(u, bits, levels, n_candidates):
    sizes = np.minimum(sizes_of(u, levels).astype(F), F(1))
    bins = 2048
    while bins > 4 * 2 ** (bits - 1) and 4 * bins > len(u):
        bins //= 2
    hist = np.bincount(np.minimum((sizes * F(bins)).astype(int), bins - 1), minlength=bins).astype(float)
    found = []
    for k in range(n_candidates):
        n, n_levels = int(np.rint(bins * 2 ** (-k / 12))), 2 ** (bits - 1)
        inside = hist[:n]
        if n < n_levels or not inside.any():
            found.append(np.inf)
            continue
        p = inside.copy()
        p[-1] += hist[n:].sum()
        level = np.arange(n) * n_levels // n
        filled = inside > 0
        sums = np.bincount(level, weights=inside, minlength=n_levels)
        members = np.bincount(level, weights=filled, minlength=n_levels)
        q = np.where(filled, sums[level] / np.maximum(members[level], 1), 0)
        p, q = p / p.sum(), q / max(q.sum(), 1e-300)
        q[-1] = q[-1] or 1e-4
        with np.errstate(divide="ignore", invalid="ignore"):
            found.append(np.where(p > 0, p * np.log(p / q), 0).sum())
    best = int(np.argmin(found))
    near = [k for k in range(n_candidates) if k != best and found[k] < found[best] + 1e-9]
    return "?" if near else CODES[best]


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
            for full in (0, 1, 2):
                for group in (-2, -1, 8, 12, 64):
                    q = rtn(w, bits, full, group)
                    d, e = (w.astype(float) - q.astype(float)), w.astype(float)
                    out.write(f"rtn {law} {bits} {full} {group} {zlib.crc32(q.astype('<f4').tobytes())} "
                              f"{(d * d).sum() / (e * e).sum():.17g}\n")
                    if group in (-2, -1, 12) and bits in (2, 3, 4, 8):
                        clips = [mse_clip(u, bits, full, 32 if group > 0 else 64) for u in units(w, group)]
                        out.write(f"mse {law} {bits} {full} {group} {''.join(clips)}\n")
        if law not in ("laplace", "t5"):
            continue
        for levels in (0, 2):
            for group, p in ((-1, 90), (12, 75), (-2, 99.5)):
                clips = "".join(percentile_clip(u, levels, p) for u in units(w, group))
                out.write(f"percentile {law} {levels} {group} {p} {clips}\n")
            for bits in (2, 3, 4):
                for group in (-1, 12, -2):
                    clips = "".join(kl_clip(u, bits, levels, 32 if group > 0 else 64) for u in units(w, group))
                    out.write(f"kl {law} {bits} {levels} {group} {clips}\n")
        for bits in (2, 3, 4, 8):
            for group in (-2, -1, 8, 12):
                done = [hqq_unit(u, bits) for u in units(w, group)]
                q, x = np.concatenate([d[0] for d in done]), w.ravel().astype(float)
                error = ((x - q) ** 2).sum() / (x * x).sum()
                offsets = [f"{o:.6g}" for _, o in done[:64]] if group < 0 else []
                out.write(" ".join([f"hqq {law} {bits} {group} {error:.9g}", *offsets]) + "\n")
    for bits in range(2, 9):
        c = 1 / (3 * 4 ** bits)
        g = optimize.brentq(lambda a: 2 * (stats.norm.pdf(a) - a * stats.norm.sf(a)) - c * a, 1e-3, 20, rtol=1e-14)
        lap = optimize.brentq(lambda a: np.exp(-a) - c * a, 1e-3, 40, rtol=1e-14) / np.sqrt(2)
        out.write(f"closed gaussian {bits} {g:.17g}\nclosed laplace {bits} {lap:.17g}\n")
