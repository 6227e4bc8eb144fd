"""Losses and divergences of rows of logits or probabilities that the caller has."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ._arrays import pointer
from ._lib import context

_LONG_BYTES = 1 << 22  # from here on a call runs where Ctrl-C can stop it


class SoftmaxKL(NamedTuple):
    """Result of `softmax_kl`: arrays of the shape of x without its last axis."""

    kl: np.ndarray
    lse_x: np.ndarray
    lse_y: np.ndarray
    same_top: np.ndarray


def _rows(a: Any, what: str) -> tuple[np.ndarray, tuple]:
    """The rows of an array along its last axis, float32 with unit stride, and the shape of the other axes."""
    array = np.asarray(a)
    if array.dtype.name == "float16":
        array = array.astype(np.float32)  # exact
    if array.dtype.name != "float32":
        hint = "; say a.astype(numpy.float32) if that precision is enough" if array.dtype.kind == "f" else ""
        raise TypeError(f"{what}: float32 or float16 is needed, not {array.dtype}{hint}")
    if array.ndim == 0 or array.shape[-1] == 0:
        raise ValueError(f"{what}: rows of one element at least are needed, not shape {array.shape}")
    shape = array.shape[:-1]
    if not array.dtype.isnative:
        array = array.astype(np.float32)
    return array.reshape(-1, array.shape[-1]), shape


def _stride(array: np.ndarray) -> int:
    """Elements between rows; 0 if the array has to be copied first."""
    rows, columns = array.shape
    row_bytes, element_bytes = array.strides
    if (columns > 1 and element_bytes != 4) or array.ctypes.data % 4:
        return 0
    if rows < 2:
        return columns
    return row_bytes // 4 if row_bytes % 4 == 0 and row_bytes >= 4 * columns else 0


def _laid_out(*arrays: np.ndarray) -> tuple:
    """The arrays with one stride between rows, copied only where they have none in common."""
    strides = {_stride(array) for array in arrays if array.shape[0]}
    if len(strides) != 1 or 0 in strides:
        return (*(np.require(array, np.float32, ["C", "A"]) for array in arrays), arrays[0].shape[1])
    return (*arrays, strides.pop())


def _pair(x: Any, y: Any, names: tuple[str, str]) -> tuple[np.ndarray, np.ndarray, int, tuple]:
    a, shape = _rows(x, names[0])
    b, other = _rows(y, names[1])
    if (*shape, a.shape[1]) != (*other, b.shape[1]):
        raise ValueError(f"{names[0]} and {names[1]}: shapes {(*shape, a.shape[1])} and {(*other, b.shape[1])}")
    return (*_laid_out(a, b), shape)


def nll_rows(logits: Any, targets: Any) -> Any:
    """Losses log(sum(exp(row))) - row[target] in nats, for the rows along the last axis of `logits`.

    Args:
        logits: float32 (float16 is widened), [..., n_columns]. Rows of a 2-D slice are not copied.
        targets: integers of the shape of `logits` without its last axis, each in [0, n_columns).

    Returns float64 of the shape of `targets`; NaN for a row with a NaN, +inf, or nothing but -inf.
    Errors: TypeError, ValueError (shapes), Error (EINVAL: a target out of range; names its row).
    """
    a, shape = _rows(logits, "logits")
    ids = np.asarray(targets)
    if ids.dtype.kind not in "iu" and ids.size:
        raise TypeError(f"targets: integers are needed, not {ids.dtype}")
    if ids.shape != shape:
        raise ValueError(f"targets: shape {ids.shape} for logits of rows {shape}")
    # what does not fit 32 bits is out of range, and the library says so
    ids = np.ascontiguousarray(np.clip(ids.astype(np.int64), -(2**31), 2**31 - 1), np.int32)
    a, stride = _laid_out(a)
    out = np.empty(shape)
    ctx = context()
    ctx.call("qdisp_nll_rows", ctx.handle, pointer(a, "float *"), pointer(ids, "int32_t *"), a.shape[0], a.shape[1],
             stride, pointer(out, "double *"), long=a.nbytes > _LONG_BYTES)
    return out[()]


def softmax_kl(x: Any, y: Any) -> SoftmaxKL:
    """KL(softmax(x) || softmax(y)) in nats, for the rows along the last axis of two arrays of logits.

    Args:
        x, y: float32 (float16 is widened), of one shape. Rows of 2-D slices with one stride are not copied.

    Returns SoftmaxKL: `kl` >= 0, also right to many digits where it is 1e-6 and rows differ by a constant; `lse_x` and
    `lse_y`, the logarithms of the sums of exponentials, in float64; `same_top`, whether the largest elements (the first
    of equal ones) stand in one column. NaN, and same_top False, for a row with a NaN, +inf or nothing but -inf.
    Errors: TypeError, ValueError (shapes).
    """
    a, b, stride, shape = _pair(x, y, ("x", "y"))
    kl, lse_x, lse_y, same = np.empty(shape), np.empty(shape), np.empty(shape), np.empty(shape, bool)
    ctx = context()
    ctx.call("qdisp_softmax_kl", ctx.handle, pointer(a, "float *"), pointer(b, "float *"), a.shape[0], a.shape[1],
             stride, *(pointer(out, "double *") for out in (kl, lse_x, lse_y)), pointer(same, "uint8_t *"),
             long=a.nbytes > _LONG_BYTES)
    return SoftmaxKL(kl[()], lse_x[()], lse_y[()], same[()])


def js_divergence(p: Any, q: Any) -> Any:
    """Jensen-Shannon divergence in nats (0..log 2) of the probability rows along the last axis of p and q.

    Its square root is the Jensen-Shannon distance, scipy.spatial.distance.jensenshannon(p, q) in base e; that in base 2
    is this over sqrt(log 2). Rows are taken as they are, not rescaled to a sum of 1.

    Args:
        p, q: float32 (float16 is widened), of one shape; elements >= 0. Rows of 2-D slices with one stride are not
            copied.

    Returns float64 of the shape of p without its last axis; NaN for rows with a negative, infinite or NaN element.
    Errors: TypeError, ValueError (shapes).
    """
    a, b, stride, shape = _pair(p, q, ("p", "q"))
    out = np.empty(shape)
    ctx = context()
    ctx.call("qdisp_js_divergence", ctx.handle, pointer(a, "float *"), pointer(b, "float *"), a.shape[0], a.shape[1],
             stride, pointer(out, "double *"), long=a.nbytes > _LONG_BYTES)
    return out[()]
