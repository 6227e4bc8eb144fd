"""Golden values for lib/stats/divergence.c: writes divergence.txt beside itself.

    python3 -m venv venv; venv/bin/pip install numpy==2.4.6 scipy==1.17.1; venv/bin/python make_divergence.py

Lines of divergence.txt, fields separated by spaces; the inputs are float32 numbers:
    nll N TARGET NLL X...
    kl N KL LSE_X LSE_Y X... Y...
    js N JS P... Q...
LSE by scipy.special.logsumexp, KL by scipy.special.rel_entr of its softmax, JS by the square of
scipy.spatial.distance.jensenshannon (which rescales its arguments to sums of 1: those of the float32 rows differ from 1
by their rounding).
"""
import os
import sys

import numpy as np
import scipy
from scipy.spatial.distance import jensenshannon
from scipy.special import logsumexp, rel_entr

rng = np.random.default_rng(20261123)
here = os.path.dirname(os.path.abspath(__file__))


def row(values):
    return " ".join(repr(float(v)) for v in values)


def f32(values):
    return np.asarray(values, np.float32).astype(np.float64)


with open(os.path.join(here, "divergence.txt"), "w") as out:
    out.write(f"# make_divergence.py, Python {sys.version.split()[0]}, numpy {np.__version__}, "
              f"scipy {scipy.__version__}\n")
    for n, scale, offset in [(1, 1, 0), (5, 1, 0), (40, 5, 0), (300, 3, 1000), (300, 10, -50)]:
        x = f32(scale * rng.normal(size=n) + offset)
        target = int(rng.integers(n))
        out.write(f"nll {n} {target} {float(logsumexp(x) - x[target])!r} {row(x)}\n")
    for n, scale, change, offset in [(2, 1, 1, 0), (50, 2, 0.1, 0), (300, 4, 0.3, 0), (300, 4, 2, 16), (300, 1, 6, 0),
                                     (300, 4, 1e-2, -8), (40, 30, 30, 0)]:
        x = f32(scale * rng.normal(size=n))
        y = f32(x + change * rng.normal(size=n) + offset)
        lse_x, lse_y = float(logsumexp(x)), float(logsumexp(y))
        kl = float(rel_entr(np.exp(x - lse_x), np.exp(y - lse_y)).sum())
        out.write(f"kl {n} {kl!r} {lse_x!r} {lse_y!r} {row(x)} {row(y)}\n")
    for n, change, zeros in [(2, 1, 0), (64, 0.1, 0), (300, 1, 0), (300, 3, 0.5), (100, 0.02, 0.3), (64, 8, 0)]:
        p = rng.exponential(size=n) * (rng.random(n) >= zeros)
        q = p * np.exp(change * rng.normal(size=n)) * (rng.random(n) >= zeros / 2)
        p, q = f32(p / p.sum()), f32(q / q.sum())
        out.write(f"js {n} {float(jensenshannon(p, q)) ** 2!r} {row(p)} {row(q)}\n")
