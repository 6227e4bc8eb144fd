"""Token ids to a batch for a model, and what taps see of a run."""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterable
from typing import Any, Callable

import numpy as np

from ._arrays import pointer, token_ids
from ._lib import Context, ffi, lib, text, whole

_SITE = "QDISP_SITE_"
_NAMES = {value: name[len(_SITE):].lower() for name, value in ffi.typeof("qdisp_site").relements.items()}
SITES = {name: value for value, name in sorted(_NAMES.items())}
"""Where a run can be read and changed: "residual", "linear_in", "linear_out", "probs" ... as qdisp/model.h has them."""

Run = collections.namedtuple("Run", ["nll", "logits"])
Run.__doc__ = """What Model.run gives: nll, float32 [n] in nats (NaN: no loss); logits, float32 [n, n_vocab].

A list of such arrays if the ids were a list of sequences; None for what was not asked for.
"""
Hidden = collections.namedtuple("Hidden", ["encoder", "decoder"])
Hidden.__doc__ = "Residual streams of an encoder-decoder model, float32 [n_layer + 1, n, n_embd] each."
Attentions = collections.namedtuple("Attentions", ["encoder", "decoder", "cross"])
Attentions.__doc__ = """Attention probabilities of an encoder-decoder model, float32 [n_layer, n_head, n_query, n_key].

In `cross` the queries are the decoder's tokens and the keys the source's.
"""


class Activation:
    """What a tap sees, valid during the call.

    Attributes:
        site: name of the place, a key of `SITES`.
        layer: block, those of an encoder first; -1: after the embedding, or the head.
        linear: "linear_*": name of the map's weight; else None.
        head: "probs" and "cross_probs": the head; else None.
        encoder: the rows are the source's: of the encoder, or keys and values of cross attention.
        rows: which tokens the rows are, int64 [n_rows]: indices into all ids (of the source) one after another.
        keys: "probs": which tokens the columns are, int64 [n_cols]; else None. Other keys have probability 0.
        first_column: "linear_grad" of the head comes in pieces: the output that the first column is of; else 0.
        data: float32 [n_rows, n_cols], a view: what is written into it is what the run goes on with (but at
            "linear_in" and "linear_grad"). Copy what is to be kept.
    """

    __slots__ = ("_a", "_batch", "_names")

    def __init__(self, a: Any, batch: Batch, names: list[str]):
        self._a, self._batch, self._names = a, batch, names

    @property
    def site(self) -> str:
        return _NAMES[self._a.site]

    @property
    def layer(self) -> int:
        return self._a.layer

    @property
    def linear(self) -> str | None:
        return self._names[self._a.i_linear] if self.site.startswith("linear") else None

    @property
    def head(self) -> int | None:
        return self._a.i_head if self.site.endswith("probs") else None

    @property
    def encoder(self) -> bool:
        return self._a.starts == self._batch.struct.source_starts

    @property
    def rows(self) -> np.ndarray:
        a = self._a
        if a.rows == ffi.NULL:
            return np.arange(a.i_row, a.i_row + a.n_rows, dtype=np.int64)
        return a.i_row + np.array(ffi.unpack(a.rows, a.n_rows), np.int64)

    @property
    def keys(self) -> np.ndarray | None:
        if not self.site.endswith("probs"):
            return None
        return np.arange(self._a.i_key, self._a.i_key + self._a.n_cols, dtype=np.int64)

    @property
    def first_column(self) -> int:
        return self._a.i_col

    @property
    def data(self) -> np.ndarray:
        a = self._a
        if a.n_rows == 0 or a.n_cols == 0:
            return np.empty((a.n_rows, a.n_cols), np.float32)
        n_floats = (a.n_rows - 1) * a.stride + a.n_cols
        flat = np.frombuffer(ffi.buffer(a.data, 4 * n_floats), np.float32)
        return np.lib.stride_tricks.as_strided(flat, (a.n_rows, a.n_cols), (4 * a.stride, 4))

    def __repr__(self) -> str:
        return f"<Activation {self.site}, layer {self.layer}: {self._a.n_rows} rows of {self._a.n_cols}>"


Tap = Callable[[Activation], Any]


def sequences(ids: Any, what: str = "ids", low: int = 0) -> tuple[list[np.ndarray], bool]:
    """One sequence of ids or a list of such, none of them empty; and whether it was a list."""
    many = isinstance(ids, (list, tuple, np.ndarray)) and len(ids) > 0 and np.ndim(ids[0]) > 0
    arrays = [token_ids(sequence, what, low) for sequence in (ids if many else [ids])]
    for i_sequence, array in enumerate(arrays):
        if array.size == 0:
            raise ValueError(f"{what}: sequence {i_sequence} is empty")
    return arrays, many


def _flat(arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.zeros(len(arrays) + 1, np.uintp)
    starts[1:] = np.cumsum([array.size for array in arrays])
    return np.ascontiguousarray(np.concatenate(arrays)), starts


class Batch:
    """A qdisp_batch and the arrays that it borrows."""

    def __init__(self, ids: Any, source: Any = None, mask_id: int | None = None, targets: Any = None):
        arrays, self.many = sequences(ids)
        self.ids, self.starts = _flat(arrays)
        self.struct = ffi.new("qdisp_batch *")
        self.struct.size = ffi.sizeof(self.struct[0])
        self.struct.ids = pointer(self.ids, "int32_t *")
        self.struct.starts = pointer(self.starts, "size_t *")
        self.struct.n_seq = len(arrays)
        if source is not None:
            self.source, self.source_starts = _flat(self._beside(source, "source", 0))
            self.struct.source_ids = pointer(self.source, "int32_t *")
            self.struct.source_starts = pointer(self.source_starts, "size_t *")
        if mask_id is not None:
            self.struct.mask_id_plus_1 = whole(mask_id, "mask_id", 0, 2**31 - 2) + 1
        if targets is not None:
            lists = self._beside(targets, "targets", -1)
            if [t.size for t in lists] != [a.size for a in arrays]:
                raise ValueError("targets: one is needed for every id, -1 for none")
            self.targets = _flat(lists)[0]
            self.struct.targets = pointer(self.targets, "int32_t *")

    def _beside(self, ids: Any, what: str, low: int) -> list[np.ndarray]:
        arrays, many = sequences(ids, what, low)
        if many != self.many or len(arrays) != self.struct.n_seq:
            raise ValueError(f"{what}: as many sequences as of ids are needed, {self.struct.n_seq}")
        return arrays

    def split(self, rows: np.ndarray) -> np.ndarray | list[np.ndarray]:
        """Rows of all ids as they came: of one sequence, or a list."""
        parts = [rows[int(start):int(end)] for start, end in zip(self.starts[:-1], self.starts[1:])]
        return parts if self.many else parts[0]


def tap_bits(sites: str | Iterable[str] | None) -> int:
    """Sites by name as the bits that C wants."""
    names = [sites] if isinstance(sites, str) else list(sites or ())
    for name in names:
        if name not in SITES:
            raise ValueError(f"sites: no site {name!r}; there are {', '.join(SITES)}")
    if not names:
        raise ValueError("sites: none; say which a tap sees")
    return sum({1 << SITES[name] for name in names})


def tap_callback(ctx: Context, tap: Tap, batch: Batch, names: list[str]) -> Any:
    """A C callback for a tap, called by one thread at a time. An exception stops the run and comes out of it."""
    if not callable(tap):
        raise TypeError(f"tap: a callable is needed, not {type(tap).__name__}")
    lock = threading.Lock()

    @ffi.callback("int(void *, qdisp_activation *)", error=1, onerror=ctx._on_error)
    def on_activation(_user: Any, a: Any) -> int:
        with lock:
            tap(Activation(a, batch, names))
        return 0

    return on_activation


def linear_names(handle: Any, tensor_names: list[str]) -> list[str]:
    """Of every linear map, in the order of the forward pass: its weight; "head" for one that is the embedding."""
    names = []
    for i in range(lib.qdisp_model_n_linears(handle)):
        i_tensor = lib.qdisp_model_linear(handle, i)
        tied = text(lib.qdisp_model_role(handle, i_tensor)) == "embed+head"
        names.append("head" if tied else tensor_names[i_tensor])
    return names
