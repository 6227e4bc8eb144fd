"""numpy arrays to C and C memory to numpy, without copies where the layout allows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._lib import DType, ffi

# bfloat16 has no numpy type of its own: uint16 holds its bits
_NUMPY = {DType.F32: "<f4", DType.F16: "<f2", DType.BF16: "<u2", DType.F64: "<f8", DType.I64: "<i8", DType.I32: "<i4",
          DType.I8: "|i1", DType.U8: "|u1", DType.BOOL: "|b1"}
_WEIGHTS = {"float32": DType.F32, "float16": DType.F16, "bfloat16": DType.BF16}


class _Memory:
    """C memory as numpy sees it; the array's base, which keeps the owner."""

    def __init__(self, address: int, shape: tuple, typestr: str, owner: Any):
        self.owner = owner
        self.__array_interface__ = {"version": 3, "data": (address, True), "shape": shape, "typestr": typestr}


def view(pointer: Any, shape: tuple, dtype: int, owner: Any) -> np.ndarray:
    """A read-only array on C memory that lives as long as `owner`."""
    typestr = _NUMPY[DType(dtype)]
    if pointer == ffi.NULL or 0 in shape:
        return np.empty(shape, typestr)
    return np.asarray(_Memory(int(ffi.cast("uintptr_t", pointer)), shape, typestr, owner))


def weights(a: Any, what: str, dtype: Any = None, int8: bool = False) -> tuple[np.ndarray, DType]:
    """An array of numbers that the library reads, C-contiguous and in native byte order, and its C type.

    dtype "bfloat16" takes a uint16 array for the bits of bfloat16; int8 says that int8 will do too.
    """
    array = np.asarray(a)
    name = array.dtype.name
    types = {**_WEIGHTS, "int8": DType.I8} if int8 else _WEIGHTS
    if dtype is not None:
        if str(dtype) != "bfloat16" or name not in ("uint16", "bfloat16"):
            raise TypeError(f"{what}: dtype: only 'bfloat16', for an array of uint16, not {dtype} for {name}")
        name = "bfloat16"
    if name not in types:
        hint = {"uint16": "; bits of bfloat16 need dtype='bfloat16'",
                "float64": "; say a.astype(numpy.float32) if that precision is enough"}.get(name, "")
        raise TypeError(f"{what}: {', '.join(list(types)[:-1])} or {list(types)[-1]} is needed, not {name}{hint}")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return np.ascontiguousarray(array).reshape(array.shape), types[name]


def pointer(array: np.ndarray, c_type: str = "void *") -> Any:
    """Address of an array's data; the caller keeps the array."""
    return ffi.cast(c_type, array.ctypes.data)


def floats(a: Any, what: str) -> np.ndarray:
    """A 1-D float64 array, contiguous."""
    array = np.asarray(a)
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        raise (ValueError if array.dtype.kind in "fiu" else TypeError)(
            f"{what}: a 1-D array of numbers is needed, not {array.ndim}-D of {array.dtype}")
    return np.ascontiguousarray(array, np.float64)


def token_ids(ids: Any, what: str = "ids", low: int = 0) -> np.ndarray:
    """A 1-D int32 array, contiguous, of numbers from low on."""
    array = np.asarray(ids)
    if array.size == 0:
        array = array.astype(np.int32)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{what}: integers are needed, not {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"{what}: one dimension is needed, not {array.ndim}")
    if array.size and not low <= int(array.min()) <= int(array.max()) < 2**31:
        raise ValueError(f"{what}: {int(array.min())}..{int(array.max())}: they are {low} and more, and fit 32 bits")
    return np.ascontiguousarray(array, np.int32)
