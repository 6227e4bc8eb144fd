"""Correlation, regression and tests: what `qdisp.stats` offers without resampling.

Numbers are 1-D sequences, computed in float64. NaN is a missing value: a pair or row that has one is left out. What is
not defined (too few values, a constant) is NaN.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ._arrays import floats, pointer
from ._lib import c_string, context, ffi, lib, whole
from ._table import Table

ALTERNATIVES = {"two-sided": lib.QDISP_TWO_SIDED, "less": lib.QDISP_LESS, "greater": lib.QDISP_GREATER}
KINDS = {"pearson": lib.QDISP_CORRELATION_PEARSON, "spearman": lib.QDISP_CORRELATION_SPEARMAN,
         "kendall": lib.QDISP_CORRELATION_KENDALL}


class Correlation(NamedTuple):
    """A coefficient r with its p, the number n of pairs, and the interval low..high."""

    r: float
    p: float
    n: int
    low: float
    high: float


class Fit(NamedTuple):
    """A least-squares fit. loo_r2: of predictions of every row by the fit to the others. f, p: F test of the whole."""

    n: int
    df: int
    r2: float
    adjusted_r2: float
    loo_r2: float
    sigma: float
    f: float
    p: float


class TTest(NamedTuple):
    """A t test of a difference of means, x - y, with the interval low..high of the difference."""

    difference: float
    standard_error: float
    t: float
    df: float
    p: float
    low: float
    high: float
    n_x: int
    n_y: int


class Equivalence(NamedTuple):
    """Two one-sided tests: p is the larger of p_low and p_high, low..high the interval of level 1 - 2 alpha."""

    difference: float
    standard_error: float
    df: float
    p_low: float
    p_high: float
    p: float
    low: float
    high: float
    n: int
    equivalent: bool


def choice(value: Any, what: str, choices: dict[str, int]) -> int:
    """The number of a name. Errors: TypeError, ValueError (lists the names)."""
    if not isinstance(value, str):
        raise TypeError(f"{what}: a str is needed, not {type(value).__name__}")
    if value not in choices:
        raise ValueError(f"{what}: {value!r}; one of {', '.join(choices)} is needed")
    return choices[value]


def _numbers(a: Any, what: str) -> np.ndarray:
    array = np.asarray(a)
    return floats(array.astype(np.float64) if array.dtype.kind == "b" else array, what)


def pairs(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Two 1-D float64 arrays of one length. Errors: TypeError, ValueError."""
    a, b = _numbers(x, "x"), _numbers(y, "y")
    if a.size != b.size:
        raise ValueError(f"x and y: {a.size} and {b.size} values")
    return a, b


def _columns(columns: Any, n: int | None, what: str) -> tuple[np.ndarray, list[str] | None]:
    """[n_columns, n] float64, contiguous, and names if there are any."""
    names = None
    if isinstance(columns, dict):
        names, columns = [str(name) for name in columns], list(columns.values())
    if isinstance(columns, np.ndarray) and columns.ndim == 2:
        columns = list(columns.T)
    elif isinstance(columns, np.ndarray):
        columns = [columns]
    arrays = [_numbers(column, f"{what}[{i}]") for i, column in enumerate(columns)]
    n = n if n is not None else arrays[0].size if arrays else 0
    for i, array in enumerate(arrays):
        if array.size != n:
            raise ValueError(f"{what}[{i}]: {array.size} values, {n} are needed")
    return (np.ascontiguousarray(arrays) if arrays else np.empty((0, n))), names


def _c_names(names: Any, n: int, what: str) -> tuple[Any, list]:
    """const char *const * of n names, and what has to be kept for the call."""
    if names is None:
        return ffi.NULL, []
    names = [names] if isinstance(names, str) else list(names)
    if len(names) != n:
        raise ValueError(f"{what}: {len(names)} names, {n} are needed")
    kept = [c_string(str(name), what) for name in names]
    return ffi.new("char *[]", kept), kept


def _result(kind: Any, struct: Any) -> Any:
    return kind(*(getattr(struct, name) for name in kind._fields))


def _doubles(array: np.ndarray) -> Any:
    return pointer(array, "double *") if array.size else ffi.new("double[1]")


def _correlate(name: str, x: Any, y: Any, alternative: str, level: float) -> Correlation:
    a, b = pairs(x, y)
    ctx = context()
    return _result(Correlation, ctx.call(name, ctx.handle, _doubles(a), _doubles(b), a.size,
                                         choice(alternative, "alternative", ALTERNATIVES), level)[0])


def pearson(x: Any, y: Any, alternative: str = "two-sided", level: float = 0.95) -> Correlation:
    """Pearson's correlation; p by Student's t, interval by Fisher's z.

    Args:
        x, y: 1-D sequences of one length.
        alternative: "two-sided", "less" or "greater"; one-sided ones make the interval one-sided.
        level: of the interval, in (0, 1).

    Errors: TypeError, ValueError, Error (EINVAL: level).
    """
    return _correlate("qdisp_pearson", x, y, alternative, level)


def spearman(x: Any, y: Any, alternative: str = "two-sided", level: float = 0.95) -> Correlation:
    """Spearman's rank correlation, average ranks for ties; p by Student's t, interval by Bonett and Wright (2000).
    Arguments and errors as `pearson`."""
    return _correlate("qdisp_spearman", x, y, alternative, level)


def kendall(x: Any, y: Any, alternative: str = "two-sided", level: float = 0.95) -> Correlation:
    """Kendall's tau-b; p exact without ties up to n = 33, else by the normal approximation, corrected for ties;
    interval by Fieller, Hartley and Pearson (1957). Arguments and errors as `pearson`."""
    return _correlate("qdisp_kendall", x, y, alternative, level)


def leave_one_out(x: Any, y: Any, labels: Any = None, kind: str = "pearson", level: float = 0.95) -> Table:
    """The correlation without each pair in turn: left_out, n, r, p, low, high, change.

    Args:
        labels: a name a pair, or None: its index.
        kind: "pearson", "spearman" or "kendall".
    """
    a, b = pairs(x, y)
    c_labels, _kept = _c_names(labels, a.size, "labels")
    ctx = context()
    return Table(ctx, *ctx.call("qdisp_leave_one_out", ctx.handle, choice(kind, "kind", KINDS), _doubles(a),
                                _doubles(b), c_labels, a.size, level))


def _partial(name: str, x: Any, y: Any, covariates: Any, alternative: str, level: float) -> Correlation:
    a, b = pairs(x, y)
    z, _names = _columns(covariates, a.size, "covariates")
    ctx = context()
    return _result(Correlation, ctx.call(name, ctx.handle, _doubles(a), _doubles(b), _doubles(z), len(z), a.size,
                                         choice(alternative, "alternative", ALTERNATIVES), level)[0])


def partial(x: Any, y: Any, covariates: Any, alternative: str = "two-sided", level: float = 0.95) -> Correlation:
    """Partial correlation: of what the covariates leave of x and of y; p with n - 2 - n_covariates degrees of freedom.

    Args:
        covariates: [n] or [n, n_covariates] array, a list of 1-D sequences, or a dict of them.

    Errors: as `pearson`; Error (EINVAL: a covariate that the others determine).
    """
    return _partial("qdisp_partial", x, y, covariates, alternative, level)


def semipartial(x: Any, y: Any, covariates: Any, alternative: str = "two-sided", level: float = 0.95) -> Correlation:
    """Semipartial correlation: of what the covariates leave of x, and all of y; r^2 is what x adds to R^2. p is that of
    the partial correlation, and there is no interval. Arguments and errors as `partial`."""
    return _partial("qdisp_semipartial", x, y, covariates, alternative, level)


def ols(y: Any, columns: Any, names: Any = None, level: float = 0.95) -> tuple[Fit, Table]:
    """Least squares of y on a constant and columns: the fit, and a table of coefficients (term, coefficient,
    standard_error, t, p, low, high, vif).

    Args:
        y: 1-D, n values.
        columns: [n] or [n, n_columns] array, a list of 1-D sequences, or a dict of them, whose keys are the names.
        names: of the columns; None: those of a dict, or x1, x2, ...

    Errors: TypeError, ValueError, Error (EINVAL: too few rows, a column that others determine; ENUMERIC: infinity).
    """
    a = _numbers(y, "y")
    x, found = _columns(columns, a.size, "columns")
    c_names, _kept = _c_names(found if names is None else names, len(x), "names")
    ctx = context()
    fit, table = ctx.call("qdisp_ols", ctx.handle, _doubles(a), _doubles(x), c_names, len(x), a.size, level)
    return _result(Fit, fit), Table(ctx, table)


def vif(columns: Any) -> np.ndarray:
    """Variance inflation factor of each column on the others. Arguments and errors as `ols`."""
    x, _names = _columns(columns, None, "columns")
    out = np.empty(len(x))
    ctx = context()
    ctx.call("qdisp_vif", ctx.handle, _doubles(x), len(x), x.shape[1], _doubles(out))
    return out


def wilson(n_hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a proportion, n_hits of n. Errors: Error (EINVAL: n = 0, n_hits > n, level)."""
    ctx = context()
    return ctx.call("qdisp_wilson", ctx.handle, whole(n_hits, "n_hits"), whole(n, "n"), level)


def fisher_exact(table: Any, alternative: str = "two-sided") -> tuple[float, float]:
    """Fisher's exact test of [[a, b], [c, d]]: (odds ratio a d / (b c), p). Errors: TypeError, ValueError."""
    counts = [whole(count, "table", 0, 2**48 - 1) for row in table for count in row]
    if len(counts) != 4:
        raise ValueError(f"table: {len(counts)} counts, two rows of two are needed")
    ctx = context()
    return ctx.call("qdisp_fisher_exact", ctx.handle, ffi.new("uint64_t[4]", counts),
                    choice(alternative, "alternative", ALTERNATIVES))


def _adjust(name: str, p: Any) -> np.ndarray:
    values = floats(p, "p")
    out = np.empty_like(values)
    ctx = context()
    ctx.call(name, ctx.handle, _doubles(values), values.size, _doubles(out))
    return out


def holm(p: Any) -> np.ndarray:
    """p-values adjusted for the chance of any false finding (Holm 1979). Errors: Error (EINVAL: outside [0, 1])."""
    return _adjust("qdisp_holm", p)


def benjamini_hochberg(p: Any) -> np.ndarray:
    """p-values adjusted for the share of false findings (Benjamini and Hochberg 1995). Errors as `holm`."""
    return _adjust("qdisp_benjamini_hochberg", p)


def t_test_paired(x: Any, y: Any = None, alternative: str = "two-sided", level: float = 0.95) -> TTest:
    """Paired t test; y None: of x against 0. Arguments and errors as `pearson`."""
    a, b = pairs(x, x if y is None else y)
    ctx = context()
    return _result(TTest, ctx.call("qdisp_t_test_paired", ctx.handle, _doubles(a),
                                   ffi.NULL if y is None else _doubles(b), a.size,
                                   choice(alternative, "alternative", ALTERNATIVES), level)[0])


def t_test_welch(x: Any, y: Any, alternative: str = "two-sided", level: float = 0.95) -> TTest:
    """Welch's t test of two independent samples. Arguments and errors as `pearson`, but for the lengths."""
    a, b = _numbers(x, "x"), _numbers(y, "y")
    ctx = context()
    return _result(TTest, ctx.call("qdisp_t_test_welch", ctx.handle, _doubles(a), a.size, _doubles(b), b.size,
                                   choice(alternative, "alternative", ALTERNATIVES), level)[0])


def tost_paired(x: Any, y: Any, margin_low: float, margin_high: float, alpha: float = 0.05) -> Equivalence:
    """Two one-sided paired t tests that the mean of x - y lies between the margins, in the unit of the data; y None:
    the mean of x. Errors: TypeError, ValueError, Error (EINVAL: margins, alpha outside (0, 0.5))."""
    a, b = pairs(x, x if y is None else y)
    ctx = context()
    result = _result(Equivalence, ctx.call("qdisp_tost_paired", ctx.handle, _doubles(a),
                                           ffi.NULL if y is None else _doubles(b), a.size, margin_low, margin_high,
                                           alpha)[0])
    return result._replace(equivalent=bool(result.equivalent))


def _power(name: str, first: Any, second: Any, third: float, alternative: str) -> float:
    ctx = context()
    return ctx.call(name, ctx.handle, first, second, third, choice(alternative, "alternative", ALTERNATIVES))[0]


def power_correlation(rho: float, n: int, alpha: float = 0.05, alternative: str = "two-sided") -> float:
    """Power to find a correlation rho with n pairs, by Fisher's z: an approximation. Errors: Error (EINVAL)."""
    return _power("qdisp_power_correlation", rho, whole(n, "n"), alpha, alternative)


def detectable_correlation(n: int, alpha: float = 0.05, power: float = 0.8, alternative: str = "two-sided") -> float:
    """The smallest correlation that n pairs find with this power, by the same approximation. Errors: Error (EINVAL)."""
    return _power("qdisp_detectable_correlation", whole(n, "n"), alpha, power, alternative)


def power_paired(effect: float, n: int, alpha: float = 0.05, alternative: str = "two-sided") -> float:
    """Power of a paired t test; effect: mean difference over the standard deviation of differences. Errors: Error."""
    return _power("qdisp_power_paired", effect, whole(n, "n"), alpha, alternative)


def detectable_paired(n: int, alpha: float = 0.05, power: float = 0.8, alternative: str = "two-sided") -> float:
    """The smallest effect that a paired t test of n pairs finds with this power. Errors: Error."""
    return _power("qdisp_detectable_paired", whole(n, "n"), alpha, power, alternative)
