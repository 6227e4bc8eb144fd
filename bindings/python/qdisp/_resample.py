"""Bootstrap, permutation test and jackknife of correlations; ACIQ thresholds of laws and arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ._arrays import pointer, weights
from ._inference import ALTERNATIVES, KINDS, choice, pairs
from ._lib import c_string, context, ffi, lib, whole

METHODS = {"percentile": lib.QDISP_INTERVAL_PERCENTILE, "basic": lib.QDISP_INTERVAL_BASIC,
           "BCa": lib.QDISP_INTERVAL_BCA}


class Bootstrap(NamedTuple):
    """Result of `bootstrap`: the interval low..high of the estimate; bias is the mean of the resampled values minus the
    estimate. Resamples with a constant x or y are counted in n_degenerate and left out."""

    estimate: float
    low: float
    high: float
    bias: float
    standard_error: float
    n_resamples: int
    n_degenerate: int


class Permutation(NamedTuple):
    """Result of `permutation`: null_sd is the standard deviation of the permuted values; exact tells whether they are
    those of all n! orders."""

    estimate: float
    p: float
    null_sd: float
    n_permutations: int
    n_extreme: int
    exact: bool


class Jackknife(NamedTuple):
    """Result of `jackknife`: low and high are the least and greatest of the leave-one-out values."""

    estimate: float
    bias: float
    standard_error: float
    low: float
    high: float
    n_degenerate: int


class Threshold(NamedTuple):
    """Result of `aciq`: the threshold and the mean squared error that it leaves, for a law over its standard deviation
    and its variance, for an array in its own unit and that squared."""

    alpha: float
    mse: float


def _doubles(array: np.ndarray) -> Any:
    return pointer(array, "double *") if array.size else ffi.new("double[1]")


def _result(kind: Any, struct: Any) -> Any:
    return kind(*(getattr(struct, name) for name in kind._fields))


def bootstrap(x: Any, y: Any, n: int = 10000, seed: int = 0, method: str = "BCa", statistic: str = "pearson",
              level: float = 0.95) -> Bootstrap:
    """Bootstrap interval of a correlation of x and y, resampling pairs.

    Args:
        x, y: 1-D, of one length, at most 2**20; pairs with a NaN are left out.
        n: resamples, 100..1e8. A million at 14 pairs take some hundredths of a second.
        seed: 0 or more; the result depends on data, n and seed only, not on threads or machine.
        method: "percentile", "basic" or "BCa" (Efron 1987; NaN if leaving one pair out makes x or y constant).
        statistic: "pearson", "spearman" or "kendall" (tau-b).
        level: in (0, 1).

    Returns Bootstrap; NaN where the correlation is not defined (fewer than 3 pairs, a constant). Errors: TypeError,
    ValueError, Error (EINVAL: level).
    """
    a, b = pairs(x, y)
    ctx = context()
    out = ctx.call("qdisp_bootstrap_correlation", ctx.handle, choice(statistic, "statistic", KINDS), _doubles(a),
                   _doubles(b), a.size, choice(method, "method", METHODS), level, whole(n, "n", 100, 10**8),
                   whole(seed, "seed", 0, 2**64 - 1), long=True)[0]
    return _result(Bootstrap, out)


def permutation(x: Any, y: Any, n: int = 10000, seed: int = 0, alternative: str = "two-sided",
                statistic: str = "pearson") -> Permutation:
    """Permutation test of a correlation of x and y.

    Args:
        x, y: 1-D, of one length, at most 2**20; pairs with a NaN are left out.
        n: random orders, 100..1e8; p = (b + 1) / (n + 1). All of them are evaluated if they are at most n, or for 9
            pairs and fewer; then p = b / all.
        seed: as in `bootstrap`.
        alternative: "two-sided" (b counts the orders with |r| as large or larger), "less" or "greater".
        statistic: "pearson", "spearman" or "kendall" (tau-b).

    Returns Permutation; NaN where the correlation is not defined. Errors: TypeError, ValueError.
    """
    a, b = pairs(x, y)
    ctx = context()
    out = ctx.call("qdisp_permutation_correlation", ctx.handle, choice(statistic, "statistic", KINDS), _doubles(a),
                   _doubles(b), a.size, choice(alternative, "alternative", ALTERNATIVES), whole(n, "n", 100, 10**8),
                   whole(seed, "seed", 0, 2**64 - 1), long=True)[0]
    return _result(Permutation, out)._replace(exact=bool(out.exact))


def jackknife(x: Any, y: Any, statistic: str = "pearson") -> Jackknife:
    """Jackknife bias and standard error of a correlation of x and y (Efron and Tibshirani 1993, chapter 11).

    NaN if leaving one pair out makes x or y constant: n_degenerate counts these. Errors: TypeError, ValueError.
    """
    a, b = pairs(x, y)
    ctx = context()
    return _result(Jackknife, ctx.call("qdisp_jackknife_correlation", ctx.handle, choice(statistic, "statistic", KINDS),
                                       _doubles(a), _doubles(b), a.size, long=True)[0])


def _law(dist: Any) -> tuple[str, list[float]]:
    if isinstance(dist, str):
        return dist, []
    return dist[0], [float(value) for value in dist[1:]]


def aciq(dist: Any, bits: int, full_range: bool = True, dtype: str | None = None) -> Threshold:
    """The clipping threshold of ACIQ (Banner, Nahshan, Soudry 2019): least clip error plus rounding noise.

    Args:
        dist: a law: "gaussian", "laplace", ("student_t", nu), ("generalized_gaussian", beta), ("two_gaussian", p,
            ratio), each with variance 1; or an array of float32, float16 or bfloat16: its own numbers are the law.
        bits: 1..16.
        full_range: 2**bits levels, as in the paper; False: 2**bits - 1, for arrays only.
        dtype: "bfloat16" reads a uint16 array as the bits of bfloat16.

    Returns Threshold. Errors: TypeError, ValueError, Error (ENOTFOUND: a law; EINVAL: its parameters; ENUMERIC: an
    array with NaN or infinity).
    """
    ctx = context()
    n_bits = whole(bits, "bits", 1, 16)
    if isinstance(dist, str) or (isinstance(dist, tuple) and dist and isinstance(dist[0], str)):
        if not full_range:
            raise ValueError("full_range: False is for arrays only")
        name, values = _law(dist)
        params = ffi.new("double[]", values or [0.0])
        return Threshold(*ctx.call("qdisp_aciq_law", ctx.handle, c_string(name, "dist"), params, len(values), n_bits))
    array, c_dtype = weights(dist, "dist", dtype)
    out = ctx.call("qdisp_aciq_array", ctx.handle, pointer(array), c_dtype, array.size, n_bits, int(bool(full_range)),
                   long=True)[0]
    return Threshold(out.alpha, out.mse)
