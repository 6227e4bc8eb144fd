"""Golden values for lib/stats/histogram.c: writes moments.txt beside itself.

    python3 -m venv venv; venv/bin/pip install numpy==2.4.6 scipy==1.17.1; venv/bin/python make_moments.py

The data are those of test/kernels/inputs.h, made here anew. Lines of moments.txt, fields separated by spaces:
    shape KIND SEED N DTYPE MEAN_ABS L1 L2 T3 T4 N_TAIL HILL MAX_OVER_STD ENERGY ENERGY_LOW ENERGY_HIGH KURTOSIS
          Q... M...
ENERGY_LOW and ENERGY_HIGH are the shares for limits of 6 standard deviations plus and minus 2^-8 |x|; Q and M are
quantiles of x and |x| at PROBABILITIES. L-moments: scipy.stats.lmoment (sorted data, unbiased); kurtosis:
scipy.stats.kurtosis; quantiles: numpy.quantile, method "inverted_cdf"; Hill's estimator: on sorted data.
"""
import os
import sys

import numpy as np
import scipy
from scipy import stats

here = os.path.dirname(os.path.abspath(__file__))
KINDS = {"normal": 0, "weights": 1, "shifted": 3}
PROBABILITIES = [0, 0.001, 0.01, 0.25, 0.5, 0.75, 0.99, 0.999, 1]
MASK = (1 << 64) - 1


def words(seed, n):
    """The first n words of input_random (splitmix64)."""
    state = (np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9e3779b97f4a7c15)) + np.uint64(seed & MASK)
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xbf58476d1ce4e5b9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94d049bb133111eb)
    return (z ^ (z >> np.uint64(31))) >> np.uint64(32)


def fill(kind, seed, n):
    w = words(seed * 1000 + KINDS[kind], 13 * n).reshape(n, 13)
    g = np.zeros(n)
    for k in range(12):
        g += w[:, k].astype(np.float64) * 2.0**-32
    g = (g - 6.0).astype(np.float32)
    if kind == "weights":
        return g * np.where(w[:, 12] % np.uint64(50) == 0, np.float32(0.4), np.float32(0.02))
    if kind == "shifted":
        return np.float32(1e4) + g
    return g


def convert(x, dtype):
    if dtype == "f16":
        return x.astype(np.float16)
    if dtype == "bf16":  # the upper half of the pattern
        return (x.view(np.uint32) & np.uint32(0xffff0000)).view(np.float32)
    return x


def row(values):
    return " ".join(repr(float(v)) for v in values)


def shape(kind, seed, n, dtype):
    x = convert(fill(kind, seed, n), dtype).astype(np.float64)
    a = np.sort(np.abs(x))
    l1, l2, t3, t4 = stats.lmoment(x, order=[1, 2, 3, 4], standardize=True)
    k = max(10, n // 1000)
    hill = k / np.log(a[-k:] / a[-k - 1]).sum()
    d = x - x.mean()
    away = np.abs(x) / x.std() * 2.0**-8
    shares = [float((d[np.abs(d) / x.std() > 6 + s * away] ** 2).sum() / (d**2).sum()) for s in (0, 1, -1)]
    values = [np.abs(x).mean(), l1, l2, t3, t4]
    tail = [hill, np.abs(d).max() / x.std(), *shares, stats.kurtosis(x)]
    q = np.quantile(x, PROBABILITIES, method="inverted_cdf")
    m = np.quantile(a, PROBABILITIES, method="inverted_cdf")
    return f"shape {kind} {seed} {n} {dtype} {row(values)} {k} {row(tail)} {row(q)} {row(m)}\n"


with open(os.path.join(here, "moments.txt"), "w") as out, np.errstate(over="ignore"):
    out.write(f"# make_moments.py, Python {sys.version.split()[0]}, numpy {np.__version__}, "
              f"scipy {scipy.__version__}\n")
    for seed, n in [(31, 11), (32, 500), (33, 20001), (34, 200000)]:
        for kind in KINDS:
            for dtype in ["f32", "bf16", "f16"]:
                if kind != "shifted" or dtype == "f32":  # 16 bits do not hold 1e4 + g
                    out.write(shape(kind, seed, n, dtype))
