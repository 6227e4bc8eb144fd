"""Moments and shape of arrays, rank correlation, bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ._arrays import floats, pointer, weights
from ._lib import context, ffi, lib, whole

_FIELDS = [name for name, _ in ffi.typeof("qdisp_moments").fields]
_DTYPE = np.dtype([(name, np.uint64 if name.startswith("n") else np.float64) for name in _FIELDS])
assert _DTYPE.itemsize == ffi.sizeof("qdisp_moments")
_LONG_BYTES = 1 << 24  # a pass over this much takes some milliseconds: worth a thread that Ctrl-C can stop


class Moments:
    """Mergeable moments: attributes n, n_non_finite, mean, m2, m3, m4 (sums of powers of x - mean), min, max, and
    kurtosis, std and skewness. Scalars, or arrays with one value a row.

    NaN and infinities are counted in n_non_finite and left out of everything else.
    """

    def __init__(self, data: np.ndarray):
        self._data = data  # of _DTYPE, laid out as the C structs

    def __getattr__(self, name: str) -> Any:
        if name not in _FIELDS:
            raise AttributeError(f"Moments has no attribute {name!r}")
        value = self._data[name]
        return value[()] if self._data.ndim == 0 else value

    def _each(self, function: Any) -> Any:
        flat = self._data.reshape(-1)
        structs = pointer(flat, "qdisp_moments *")
        values = np.array([function(structs + i) for i in range(flat.size)], np.float64).reshape(self._data.shape)
        return float(values) if values.ndim == 0 else values

    @property
    def kurtosis(self) -> Any:
        """Excess kurtosis n m4 / m2^2 - 3, as scipy.stats.kurtosis; NaN where m2 or n is 0."""
        return self._each(lib.qdisp_moments_kurtosis)

    @property
    def std(self) -> Any:
        """Population standard deviation."""
        return self._each(lib.qdisp_moments_std)

    @property
    def skewness(self) -> Any:
        """Population skewness."""
        return self._each(lib.qdisp_moments_skewness)

    def merge(self, other: Moments) -> Moments:
        """Moments of the union of two disjoint sets (Pebay 2008), row by row.

        Errors: TypeError, ValueError (unlike shapes).
        """
        if not isinstance(other, Moments):
            raise TypeError(f"merge: Moments are needed, not {type(other).__name__}")
        if other._data.shape != self._data.shape:
            raise ValueError(f"merge: shapes {self._data.shape} and {other._data.shape}")
        merged = self._data.copy()
        into, source = merged.reshape(-1), other._data.reshape(-1)
        for i in range(into.size):
            lib.qdisp_moments_merge(pointer(into, "qdisp_moments *") + i, pointer(source, "qdisp_moments *") + i)
        return Moments(merged)

    def __repr__(self) -> str:
        if self._data.ndim:
            return f"<Moments of {self._data.size} rows>"
        return f"Moments(n={self.n}, mean={self.mean:g}, std={self.std:g}, kurtosis={self.kurtosis:g})"


def moments(a: Any, axis: int | None = None, dtype: str | None = None) -> Moments:
    """Moments of an array in one pass, within 1e-4 of exact arithmetic and some 1e-7 as a rule (qdisp/stats.h).

    Args:
        a: float32, float16, bfloat16 (ml_dtypes) or int8, any shape. Read in place if C-contiguous, else copied.
            float64 is refused (TypeError): weights have 32 bits or fewer, a silent conversion would lose some.
        axis: None: of all elements. -1 (the last): of every row; 0: of every column; both without a copy. Another one
            is moved to the end, with a copy. Groups and heads are rows of a.reshape(...).
        dtype: "bfloat16" reads a uint16 array, such as Model.tensor returns, as the bits of bfloat16.

    Returns Moments with scalars, or arrays of the shape of `a` without `axis`.
    Errors: TypeError (type of a), ValueError (axis).
    """
    array, c_dtype = weights(a, "a", dtype, int8=True)
    columns = False
    if axis is not None:
        axis = whole(axis, "axis", -(2**31))
        if not -array.ndim <= axis < array.ndim:
            raise ValueError(f"axis: {axis} is out of range for an array of {array.ndim} dimensions")
        columns = axis % array.ndim == 0 and array.ndim > 1
        if not columns and axis % array.ndim != array.ndim - 1:
            array = np.ascontiguousarray(np.moveaxis(array, axis, -1))
    ctx = context()
    out = np.empty(() if axis is None else array.shape[1:] if columns else array.shape[:-1], _DTYPE)
    c_out = pointer(out, "qdisp_moments *")
    long = array.nbytes > _LONG_BYTES
    if columns:
        ctx.call("qdisp_moments_columns", ctx.handle, pointer(array), c_dtype, array.shape[0], out.size, c_out,
                 long=long)
    elif axis is None:
        ctx.call("qdisp_moments_compute", ctx.handle, pointer(array), c_dtype, array.size, c_out, long=long)
    elif out.size:
        ctx.call("qdisp_moments_rows", ctx.handle, pointer(array), c_dtype, out.size, array.shape[-1], c_out, long=long)
    return Moments(out)


def kurtosis(a: Any, axis: int | None = None, dtype: str | None = None) -> Any:
    """Excess kurtosis (population, Fisher: 0 for a Gaussian) of an array; arguments and errors as `moments`.

    Returns a float, or a float64 array of the shape of `a` without `axis`; NaN where it is not defined.
    """
    return moments(a, axis, dtype).kurtosis


@dataclass(frozen=True)
class Shape:
    """Shape of a set of numbers beyond its moments; NaN where something is not defined (qdisp/stats.h has the bounds).

    l1, l2, t3, t4: L-moments and their ratios (Hosking 1990); t4 is the L-kurtosis, 0.1226 for a Gaussian. hill_index:
    tail index of |x| (Hill 1975) over the n_tail largest; small means heavy. outlier_energy: share of
    sum (x - mean)^2 that elements beyond 6 standard deviations have.
    """

    moments: Moments
    max_over_std: float
    l1: float
    l2: float
    t3: float
    t4: float
    hill_index: float
    n_tail: int
    outlier_energy: float


def shape(a: Any, dtype: str | None = None) -> Shape:
    """Shape of all elements of an array, in one pass over it; arguments and errors as `moments`, without axis."""
    array, c_dtype = weights(a, "a", dtype, int8=True)
    ctx = context()
    c = ctx.call("qdisp_shape_compute", ctx.handle, pointer(array), c_dtype, array.size,
                 long=array.nbytes > _LONG_BYTES)[0]
    data = np.frombuffer(bytes(ffi.buffer(ffi.addressof(c.moments))), _DTYPE)[0]
    return Shape(Moments(np.array(data)), **{f.name: getattr(c, f.name) for f in fields(Shape) if f.name != "moments"})


def quantiles(a: Any, q: Any, magnitudes: bool = False, dtype: str | None = None) -> Any:
    """Quantiles of all finite elements of an array, or of their magnitudes, as numpy.quantile(method="inverted_cdf").

    Args:
        a, dtype: as `moments`.
        q: a probability in [0, 1], or a 1-D array of them.

    Exact for 16 bits and fewer (and float32 that hold no more), else within 2^-7 of the value itself. Returns a float,
    or a float64 array like q; NaN without finite elements. Errors: TypeError, ValueError (q).
    """
    array, c_dtype = weights(a, "a", dtype, int8=True)
    probabilities = floats(np.atleast_1d(np.asarray(q)), "q")
    if not (probabilities.size and np.all((probabilities >= 0) & (probabilities <= 1))):
        raise ValueError("q: probabilities in [0, 1] are needed")
    ctx = context()
    out = np.empty(probabilities.size)
    ctx.call("qdisp_quantiles", ctx.handle, pointer(array), c_dtype, array.size, int(magnitudes),
             pointer(probabilities, "double *"), probabilities.size, pointer(out, "double *"),
             long=array.nbytes > _LONG_BYTES)
    return float(out[0]) if np.ndim(q) == 0 else out


def spearman(x: Any, y: Any) -> float:
    """Spearman's rank correlation of x[n] and y[n], average ranks for ties; pairs with a NaN are left out.

    NaN if fewer than 3 pairs are left or either is constant. Errors: TypeError, ValueError (not 1-D, unlike lengths).
    """
    a, b = floats(x, "x"), floats(y, "y")
    if a.size != b.size:
        raise ValueError(f"x and y: {a.size} and {b.size} values")
    ctx = context()
    return ctx.call("qdisp_spearman", ctx.handle, pointer(a, "double *"), pointer(b, "double *"), a.size,
                    lib.QDISP_TWO_SIDED, 0.95)[0].r


def bootstrap_ratio(a: Any, b: Any, level: float = 0.95, n_resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """BCa bootstrap interval (Efron 1987) of sum(a) / sum(b), resampling pairs.

    Args:
        a, b: 1-D arrays of one length, 3 or more.
        level: in (0, 1).
        n_resamples: 100 or more.
        seed: 0 or more; the interval depends on data and seed only.

    Returns (low, high). Errors: TypeError, ValueError, Error (ENUMERIC: a sum of b that is not positive).
    """
    x, y = floats(a, "a"), floats(b, "b")
    if x.size != y.size or x.size < 3:
        raise ValueError(f"a and b: {x.size} and {y.size} values; as many in each are needed, 3 at least")
    if not 0 < level < 1:
        raise ValueError(f"level: {level} is outside (0, 1)")
    ctx = context()
    return ctx.call("qdisp_bootstrap_ratio", ctx.handle, pointer(x, "double *"), pointer(y, "double *"), x.size, level,
                    whole(n_resamples, "n_resamples", 100), whole(seed, "seed", 0, 2**64 - 1), long=True)
