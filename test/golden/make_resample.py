"""Golden values for lib/stats/bootstrap.c, permute.c and aciq_law.c: writes resample.txt beside itself.

    python3 -m venv venv; venv/bin/pip install numpy==2.4.6 scipy==1.17.1 mpmath==1.4.1
    venv/bin/python make_resample.py        (some minutes)

Lines of resample.txt, fields separated by spaces; KIND 0 Pearson, 1 Spearman, 2 Kendall's tau-b; METHOD 0 percentile,
1 basic, 2 BCa; ALTERNATIVE 0 two-sided, 1 less, 2 greater:
    boot KIND METHOD N LEVEL ESTIMATE SE LOW HIGH SD_SE SD_LOW SD_HIGH X... Y...
    jack KIND N ESTIMATE BIAS SE X... Y...
    exact KIND ALTERNATIVE N P NULL_SD X... Y...
    permute KIND ALTERNATIVE N P X... Y...
    aciq LAW N_PARAMS P1 P2 BITS ALPHA MSE
boot: means over 12 runs of scipy.stats.bootstrap (paired, 20000 resamples) with unlike seeds, SD_* the standard
deviation of one run. exact: all N! orders; less and greater are scipy.stats.permutation_test's, two-sided counts
|r| >= |observed|, which scipy does not offer (it doubles the smaller tail). permute: one run of 400000.
aciq: quadrature and root in 40 digits.
"""
import itertools
import os
import sys

import mpmath as mp
import numpy as np
import scipy
from scipy import stats

here = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(7)


def pearson(x, y, axis=-1):
    x = x - x.mean(axis=axis, keepdims=True)
    y = y - y.mean(axis=axis, keepdims=True)
    return (x * y).sum(axis=axis) / np.sqrt((x * x).sum(axis=axis) * (y * y).sum(axis=axis))


def spearman(x, y, axis=-1):
    return pearson(stats.rankdata(x, axis=axis), stats.rankdata(y, axis=axis), axis)


def kendall(x, y, axis=-1):
    x, y = np.broadcast_arrays(np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1))
    i, j = np.triu_indices(x.shape[-1], 1)
    a, b = np.sign(x[..., i] - x[..., j]), np.sign(y[..., i] - y[..., j])
    return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))


KINDS = [pearson, spearman, kendall]
METHODS = ["percentile", "basic", "BCa"]


def row(*values):
    return " ".join(repr(float(v)) for part in values for v in np.atleast_1d(part))


def sample(n, rho, ties=0):
    x = rng.normal(size=n)
    y = rho * x + np.sqrt(1 - rho * rho) * rng.normal(size=n)
    return (np.round(x * ties), np.round(y * ties)) if ties else (x, y)


def boot(out, kind, method, n, level, x, y):
    runs = []
    for seed in range(12):
        r = stats.bootstrap((x, y), KINDS[kind], paired=True, vectorized=True, n_resamples=20000, batch=2000,
                            confidence_level=level, method=METHODS[method], rng=np.random.default_rng(seed))
        runs.append((r.standard_error, *r.confidence_interval))
    mean, sd = np.mean(runs, axis=0), np.std(runs, axis=0, ddof=1)
    out.write(f"boot {kind} {method} {n} {level} {row(KINDS[kind](x, y), mean, sd, x, y)}\n")


def jack(out, kind, n, x, y):
    keep = ~np.eye(n, dtype=bool)
    left = np.array([KINDS[kind](x[k], y[k]) for k in keep])
    estimate = KINDS[kind](x, y)
    se = np.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum())
    out.write(f"jack {kind} {n} {row(estimate, (n - 1) * (left.mean() - estimate), se, x, y)}\n")


def exact(out, kind, n, x, y):
    null = KINDS[kind](x, y[np.array(list(itertools.permutations(range(n))))])
    observed = KINDS[kind](x, y)
    for alternative, name in enumerate(["two-sided", "less", "greater"]):
        if alternative == 0:
            p = (np.abs(null) >= abs(observed) - 1e-12).mean()
        else:
            p = stats.permutation_test((y,), lambda b, axis=-1: KINDS[kind](x, b, axis), vectorized=True,
                                       permutation_type="pairings", n_resamples=np.inf, alternative=name).pvalue
        out.write(f"exact {kind} {alternative} {n} {row(p, null.std(), x, y)}\n")


def permute(out, kind, alternative, n, x, y):
    observed, extreme, total = KINDS[kind](x, y), 0, 400000
    for _ in range(20):
        null = KINDS[kind](x, rng.permuted(np.tile(y, (total // 20, 1)), axis=1))
        signed = [np.abs(null) - abs(observed), observed - null, null - observed][alternative]
        extreme += int((signed >= -1e-12).sum())
    out.write(f"permute {kind} {alternative} {n} {row((extreme + 1) / (total + 1), x, y)}\n")


def density(law, p):
    """A density of variance 1 on x > 0, where it integrates to 1/2."""
    if law == "student_t":
        s = mp.sqrt((p[0] - 2) / p[0])
        c = mp.gamma((p[0] + 1) / 2) / mp.sqrt(p[0] * mp.pi) / mp.gamma(p[0] / 2) / s
        return lambda x: c * (1 + (x / s) ** 2 / p[0]) ** (-(p[0] + 1) / 2)
    if law == "generalized_gaussian":
        s = mp.sqrt(mp.gamma(1 / p[0]) / mp.gamma(3 / p[0]))
        c = p[0] / (2 * s * mp.gamma(1 / p[0]))
        return lambda x: c * mp.exp(-((x / s) ** p[0]))
    if law == "two_gaussian":
        s = 1 / mp.sqrt(1 - p[0] + p[0] * p[1] ** 2)
        return lambda x: (1 - p[0]) * mp.npdf(x, 0, s) + p[0] * mp.npdf(x, 0, s * p[1])
    return mp.npdf if law == "gaussian" else lambda x: mp.exp(-mp.sqrt(2) * x) / mp.sqrt(2)


def aciq(out, law, params, bits):
    p = [mp.mpf(repr(v)) for v in params]
    f, c = density(law, p), 1 / (3 * mp.mpf(4) ** bits)

    def tail(a, power):
        return 2 * mp.quad(lambda x: (x - a) ** power * f(x), [a, a + 0.5, a + 2, a + 8, a + 50, a + 1000, mp.inf])

    a = mp.findroot(lambda a: tail(a, 1) - c * a, (mp.mpf(1) / 100, mp.mpf(200)), solver="anderson", tol=1e-28,
                    maxsteps=200)
    first, second = (list(params) + [0, 0])[:2]
    out.write(f"aciq {law} {len(params)} {first!r} {second!r} {bits} {mp.nstr(a, 20)} "
              f"{mp.nstr(tail(a, 2) + c * a * a, 20)}\n")


with open(os.path.join(here, "resample.txt"), "w") as out:
    out.write(f"# make_resample.py, Python {sys.version.split()[0]}, numpy {np.__version__}, "
              f"scipy {scipy.__version__}, mpmath {mp.__version__}\n")
    for n, rho, ties in [(14, -0.83, 0), (15, 0.2, 0), (20, 0.5, 2), (45, 0.3, 0)]:
        x, y = sample(n, rho, ties)
        for kind in range(3):
            for method in ([0, 1, 2] if n == 14 else [0, 2]):
                boot(out, kind, method, n, 0.9 if n == 15 else 0.95, x, y)
            jack(out, kind, n, x, y)
    x, y = sample(300, 0.4, 3)
    for kind in range(2):
        boot(out, kind, 2, 300, 0.95, x, y)
    for kind in range(3):
        jack(out, kind, 300, x, y)
        for n, ties in [(5, 0), (7, 0), (8, 1)]:
            exact(out, kind, n, *sample(n, 0.5, ties))
    for n, rho, ties in [(14, 0.4, 0), (20, -0.3, 2), (300, 0.05, 0)]:
        x, y = sample(n, rho, ties)
        for kind in range(2 if n == 300 else 3):
            for alternative in range(3):
                permute(out, kind, alternative, n, x, y)
    mp.mp.dps = 40
    for bits in (1, 2, 4, 8, 16):
        for law, params in [("gaussian", []), ("laplace", []), ("student_t", [2.5]), ("student_t", [5.0]),
                            ("student_t", [40.0]), ("generalized_gaussian", [0.5]), ("generalized_gaussian", [1.3]),
                            ("generalized_gaussian", [6.0]), ("two_gaussian", [0.02, 5.0])]:
            aciq(out, law, params, bits)
