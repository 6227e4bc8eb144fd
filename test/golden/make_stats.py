"""Golden values for lib/stats/correlate.c and resample.c: writes stats.txt beside itself.

    python3 -m venv venv; venv/bin/pip install numpy==2.4.6 scipy==1.17.1; venv/bin/python make_stats.py

Lines of stats.txt, fields separated by spaces:
    spearman N RHO X... Y...
    bca N LEVEL LOW HIGH SD_LOW SD_HIGH A... B...
LOW and HIGH are means over 20 runs of scipy.stats.bootstrap (paired, BCa, 20000 resamples) with unlike seeds, SD_* the
standard deviation of one run: what a run of 20000 resamples with another generator may differ by.
"""
import os
import sys

import numpy as np
import scipy
from scipy import stats

rng = np.random.default_rng(20240613)
here = os.path.dirname(os.path.abspath(__file__))


def row(values):
    return " ".join(repr(float(v)) for v in values)


with open(os.path.join(here, "stats.txt"), "w") as out:
    out.write(f"# make_stats.py, Python {sys.version.split()[0]}, numpy {np.__version__}, scipy {scipy.__version__}\n")
    for n, levels in [(3, 0), (5, 0), (26, 0), (26, 4), (40, 2), (200, 7), (7, 3)]:
        x, y = rng.normal(size=n), rng.normal(size=n)
        y = y + 0.7 * x
        if levels:  # ties
            x, y = np.round(x * levels / 2), np.round(y * levels / 2)
        rho = float(stats.spearmanr(x, y).statistic)
        out.write(f"spearman {n} {rho!r} {row(x)} {row(y)}\n")
    for n, level, kind in [(12, 0.95, "normal"), (32, 0.95, "skewed"), (32, 0.90, "normal"), (100, 0.95, "heavy"),
                           (64, 0.99, "skewed")]:
        b = rng.integers(20, 300, size=n).astype(float)
        a = b * rng.normal(0.3, 0.1, size=n)
        if kind == "skewed":
            a = b * rng.lognormal(-1, 0.8, size=n)
        if kind == "heavy":
            a = b * (0.1 + 0.1 * rng.standard_t(3, size=n))
        ends = []
        for seed in range(20):
            r = stats.bootstrap((a, b), lambda p, q, axis=-1: p.sum(axis=axis) / q.sum(axis=axis), paired=True,
                                vectorized=True, n_resamples=20000, batch=2000, confidence_level=level, method="BCa",
                                rng=np.random.default_rng(seed))
            ends.append((r.confidence_interval.low, r.confidence_interval.high))
        ends = np.array(ends)
        out.write(f"bca {n} {level} {row(ends.mean(axis=0))} {row(ends.std(axis=0, ddof=1))} {row(a)} {row(b)}\n")
