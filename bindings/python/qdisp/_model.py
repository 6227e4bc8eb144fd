"""Models: tensors, forward pass, negative log-likelihood."""

from __future__ import annotations

import collections
import collections.abc
import json
import os
from typing import Any

import numpy as np

from ._arrays import pointer, token_ids, view, weights
from ._lib import Context, c_path, c_string, context, ffi, lib, text
from ._table import Table

ModelInfo = collections.namedtuple("ModelInfo", [name for name, _ in ffi.typeof("qdisp_model_info").fields])
ModelInfo.__doc__ = "Sizes of a model, as the C struct qdisp_model_info has them; bos_id and eos_id are None if absent."


class Model:
    """An immutable model; any number of threads may use it at once.

    Args:
        path: a Hugging Face folder (config.json and model.safetensors in F32, F16 or BF16), mapped, not copied: the
            file must not be truncated as long as the model lives.

    Errors: Error (ENOTFOUND, EIO, EFORMAT, EUNSUPPORTED: the message names file, tensor and reason).
    """

    def __init__(self, path: str | os.PathLike):
        ctx = context()
        self._set(ctx, *ctx.call("qdisp_model_open", ctx.handle, c_path(path), long=True))

    def _set(self, ctx: Context, handle: Any, keep: Any = None) -> None:
        self._ctx, self._handle = ctx, handle
        self._keep = keep  # arrays, or another model, whose memory this one reads
        self._index: dict[str, int] | None = None

    @classmethod
    def _from_handle(cls, ctx: Context, handle: Any, keep: Any) -> Model:
        model = cls.__new__(cls)
        model._set(ctx, handle, keep)
        return model

    @classmethod
    def from_tensors(cls, config: dict | str, tensors: dict[str, np.ndarray]) -> Model:
        """A model of arrays, which are kept, and not copied if they are C-contiguous: leave them unchanged.

        Args:
            config: a config.json, as dict or text.
            tensors: arrays by their Hugging Face names: float32, float16, bfloat16 (ml_dtypes), or uint16 for the bits
                of bfloat16.

        Errors: TypeError; Error (EFORMAT: a tensor that is missing or has another shape; EUNSUPPORTED).
        """
        if not isinstance(config, (dict, str)):
            raise TypeError(f"config: a dict or str is needed, not {type(config).__name__}")
        if not isinstance(tensors, collections.abc.Mapping):
            raise TypeError(f"tensors: a dict is needed, not {type(tensors).__name__}")
        structs = ffi.new("qdisp_tensor[]", max(len(tensors), 1))
        keep: list[Any] = []
        for struct, (name, tensor) in zip(structs, tensors.items()):
            bits = "bfloat16" if getattr(tensor, "dtype", None) == np.uint16 else None
            array, dtype = weights(tensor, f"tensor {name!r}", bits)
            if array.ndim > 4:
                raise ValueError(f"tensor {name!r}: {array.ndim} dimensions, at most 4 are possible")
            c_name = c_string(name, "tensor name")
            struct.name, struct.data, struct.n_bytes = c_name, pointer(array), array.nbytes
            struct.n_dims, struct.dtype = array.ndim, dtype
            struct.shape[0:array.ndim] = array.shape
            keep += [array, c_name]
        ctx = context()
        c_config = c_string(config if isinstance(config, str) else json.dumps(config), "config")
        handle, = ctx.call("qdisp_model_from_tensors", ctx.handle, c_config, structs, len(tensors))
        return cls._from_handle(ctx, handle, keep)

    @property
    def info(self) -> ModelInfo:
        """Architecture and sizes."""
        struct = lib.qdisp_model_describe(self._handle)
        values = {name: getattr(struct, name) for name in ModelInfo._fields}
        values["architecture"] = text(values["architecture"])
        for name in ("bos_id", "eos_id"):
            values[name] = None if values[name] < 0 else values[name]
        return ModelInfo(**values)

    def tensors(self) -> Table:
        """Table "tensors": name, role, layer, dtype, shape, n_parameters, n_bytes."""
        return Table(self._ctx, *self._ctx.call("qdisp_model_tensors", self._handle))

    def tensor(self, name: str) -> np.ndarray:
        """A read-only array on the model's memory, without a copy; bfloat16 comes as uint16, its bits.

        (w.astype(numpy.uint32) << 16).view(numpy.float32) widens bfloat16. Errors: KeyError.
        """
        if self._index is None:
            names = (text(self._struct(i).name) for i in range(lib.qdisp_model_n_tensors(self._handle)))
            self._index = {tensor: i for i, tensor in enumerate(names)}
        if name not in self._index:
            raise KeyError(f"the model has no tensor {name!r}; see tensors()")
        struct = self._struct(self._index[name])
        return view(struct.data, tuple(struct.shape[0:struct.n_dims]), struct.dtype, self)

    def _struct(self, i_tensor: int) -> Any:
        return self._ctx.call("qdisp_model_tensor", self._handle, i_tensor)[0]

    def forward(self, ids: Any) -> np.ndarray:
        """Logits, float32 [n, n_vocab]: row i is for the token after ids[i].

        Args:
            ids: n token ids, a list or an array of integers.

        Errors: TypeError, ValueError; Error (EINVAL: empty, or an id outside the vocabulary: names position and id).
        """
        array = token_ids(ids)
        logits = np.empty((array.size, self.info.n_vocab), np.float32)
        self._ctx.call("qdisp_model_forward", self._handle, pointer(array, "int32_t *"), array.size,
                       pointer(logits, "float *"), long=True)
        return logits

    def nll(self, ids: Any) -> np.ndarray | list[np.ndarray]:
        """Negative log-likelihood in nats of every token but the first, given those before it.

        Args:
            ids: n token ids; or a list of such sequences, which run together.

        Returns float32 [n - 1]; or a list of such arrays. Errors: TypeError, ValueError (an empty sequence); Error
        (EINVAL: an id outside the vocabulary).
        """
        many = isinstance(ids, (list, tuple, np.ndarray)) and len(ids) > 0 and np.ndim(ids[0]) > 0
        sequences = [token_ids(sequence) for sequence in (ids if many else [ids])]
        for i_sequence, sequence in enumerate(sequences):
            if sequence.size == 0:
                raise ValueError(f"ids: sequence {i_sequence} is empty")
        starts = np.zeros(len(sequences) + 1, np.uintp)
        starts[1:] = np.cumsum([sequence.size for sequence in sequences])
        flat = np.concatenate(sequences)
        nll = np.empty(flat.size, np.float32)
        self._ctx.call("qdisp_model_nll", self._handle, pointer(flat, "int32_t *"), pointer(starts, "size_t *"),
                       len(sequences), pointer(nll, "float *"), long=True)
        parts = [nll[int(start) + 1:int(end)] for start, end in zip(starts[:-1], starts[1:])]
        return parts if many else parts[0]

    def census(self) -> Table:
        """Table "census": the shape of every tensor of two or more dimensions, and of the parts of a fused QKV map:
        tensor, role, layer, n, n_non_finite, mean, std, kurtosis, l_kurtosis, max_over_std, hill_index, outlier_energy,
        row_kurtosis_max, class. A file is read once, in blocks: memory does not grow with it.
        """
        return Table(self._ctx, *self._ctx.call("qdisp_census", self._handle, long=True))

    def save(self, path: str | os.PathLike) -> None:
        """Writes a Hugging Face folder (config.json, model.safetensors in F32, the tokenizer files of its origin).

        Args:
            path: must not exist, or be an empty folder.

        Errors: Error (EINVAL: path in use; EIO: names the file and the system's reason).
        """
        self._ctx.call("qdisp_model_save", self._handle, c_path(path), long=True)

    def __repr__(self) -> str:
        info = self.info
        return f"<Model {info.architecture}: {info.n_parameters} parameters, {info.n_layer} layers>"
