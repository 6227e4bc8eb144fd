"""Models: tensors, forward and backward pass, negative log-likelihood, taps."""

from __future__ import annotations

import collections
import collections.abc
import json
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from ._arrays import pointer, view, weights
from ._lib import Context, DType, _enum, c_path, c_string, context, ffi, lib, text
from ._run import Activation, Attentions, Batch, Hidden, Run, Tap, linear_names, tap_bits, tap_callback
from ._table import Report, Table

ModelKind = _enum("ModelKind", "qdisp_model_kind", "QDISP_MODEL_")

ModelInfo = collections.namedtuple("ModelInfo", [name for name, _ in ffi.typeof("qdisp_model_info").fields])
ModelInfo.__doc__ = """Sizes of a model, as the C struct qdisp_model_info has them.

kind is a ModelKind; bos_id, eos_id and decoder_start_id are None if absent.
"""


class Model:
    """An immutable model; any number of threads may use it at once.

    Args:
        path: a Hugging Face folder (config.json and model.safetensors, its shards or pytorch_model.bin, quantized or
            not), or a GGUF file. Mapped, not copied: files must not be truncated as long as the model lives.

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
        values["kind"] = ModelKind(values["kind"])
        for name in ("bos_id", "eos_id", "decoder_start_id"):
            values[name] = None if values[name] < 0 else values[name]
        return ModelInfo(**values)

    def tensors(self) -> Table:
        """Table "tensors": name, role, layer, expert, dtype, shape, n_parameters, n_bytes."""
        return Table(self._ctx, *self._ctx.call("qdisp_model_tensors", self._handle))

    def _names(self) -> list[str]:
        return [text(self._struct(i).name) for i in range(lib.qdisp_model_n_tensors(self._handle))]

    def _find(self, name: str) -> int:
        if self._index is None:
            self._index = {tensor: i for i, tensor in enumerate(self._names())}
        if name not in self._index:
            raise KeyError(f"the model has no tensor {name!r}; see tensors()")
        return self._index[name]

    def tensor(self, name: str) -> np.ndarray:
        """A read-only array on the model's memory, without a copy; bfloat16 comes as uint16, its bits.

        (w.astype(numpy.uint32) << 16).view(numpy.float32) widens bfloat16. Errors: KeyError; TypeError (values that
        are stored packed: `read` decodes them).
        """
        i_tensor = self._find(name)
        struct = self._struct(i_tensor)
        if struct.dtype >= DType.PACKED:
            format = text(lib.qdisp_model_format(self._handle, i_tensor))
            raise TypeError(f"tensor {name!r} is stored as {format}: read() decodes it")
        return view(struct.data, tuple(struct.shape[0:struct.n_dims]), struct.dtype, self)

    def read(self, name: str, rows: slice | None = None) -> np.ndarray:
        """The values of a tensor as float32, whatever they are stored as: exact, a copy.

        Args:
            name: of the tensor.
            rows: only these along the first dimension, without a step; None: all.

        Errors: KeyError, ValueError; Error (EUNSUPPORTED: integers).
        """
        i_tensor = self._find(name)
        struct = self._struct(i_tensor)
        shape = list(struct.shape[0:struct.n_dims])
        first, width = 0, 1
        if rows is not None:
            if not shape or rows.step not in (None, 1):
                raise ValueError(f"rows: {rows} of a tensor of {len(shape)} dimensions")
            first, end, _ = rows.indices(shape[0])
            shape[0], width = max(end - first, 0), int(np.prod(shape[1:], dtype=np.int64))
        out = np.empty(shape, np.float32)
        self._ctx.call("qdisp_model_read", self._handle, i_tensor, first * width, out.size, pointer(out, "float *"))
        return out

    def _struct(self, i_tensor: int) -> Any:
        return self._ctx.call("qdisp_model_tensor", self._handle, i_tensor)[0]

    def linears(self) -> list[str]:
        """Linear maps in the order of the forward pass, by the names of their weights; a head that is the embedding is
        "head". So `grads` and `Activation.linear` call them."""
        return linear_names(self._handle, self._names())

    def run(self, ids: Any, source: Any = None, mask_id: int | None = None, targets: Any = None, *, nll: bool = True,
            logits: bool = False, tap: Tap | None = None, sites: str | Iterable[str] | None = None) -> Run:
        """Runs sequences through the model: losses, logits, and a tap that reads and changes activations.

        Args:
            ids: n token ids; or a list of such sequences, which run together. What the decoder of an encoder-decoder
                model predicts.
            source: encoder-decoder models: what the encoder reads, as ids.
            mask_id: masked models, for nll: each token is replaced by it in turn.
            targets: as ids: what row r has to predict, -1 for nothing; None: each token, decoders the next one.
            nll, logits: which to compute.
            tap: called with an `Activation` at the places that `sites` names, by one thread at a time, which need not
                be this one. What it writes into `data` replaces what was there. An exception stops the run.
            sites: keys of `SITES`.

        Errors: TypeError, ValueError; Error (EINVAL: names position and id; no source; longer than n_positions).
        """
        if tap is not None and mask_id is not None:
            raise ValueError("tap: not with mask_id, which runs copies; give masked ids and targets")
        batch = Batch(ids, source, mask_id, targets)
        options = ffi.new("qdisp_run_options *")
        options.size = ffi.sizeof(options[0])
        losses = np.empty(batch.ids.size, np.float32) if nll else None
        rows = np.empty((batch.ids.size, self.info.n_vocab), np.float32) if logits else None
        callback = tap_callback(self._ctx, tap, batch, self.linears()) if tap is not None else None
        if nll:
            options.nll = pointer(losses, "float *")
        if logits:
            options.logits = pointer(rows, "float *")
        if tap is not None:
            options.tap, options.sites = callback, tap_bits(sites)
        self._ctx.call("qdisp_model_run", self._handle, batch.struct, options, long=True)
        return Run(batch.split(losses) if nll else None, batch.split(rows) if logits else None)

    def forward(self, ids: Any, source: Any = None) -> np.ndarray:
        """Logits, float32 [n, n_vocab]: row i is for the token after ids[i]; masked models: for the one at i;
        encoder-decoder models: for ids[i], given the source and ids before it.

        Args:
            ids: n token ids, a list or an array of integers.
            source: encoder-decoder models: the ids that the encoder reads.

        Errors: TypeError, ValueError (empty); Error (EINVAL: an id outside the vocabulary: names position and id).
        """
        return self.run(ids, source, nll=False, logits=True).logits

    def nll(self, ids: Any, source: Any = None, mask_id: int | None = None,
            targets: Any = None) -> np.ndarray | list[np.ndarray]:
        """Negative log-likelihood in nats: decoders, of every token but the first given those before it, float32
        [n - 1]; masked models, of every token with mask_id in its place, [n]; encoder-decoder models, of every token
        given the source and those before it, [n].

        Args:
            ids: n token ids; or a list of such sequences, which run together: then the result is a list.
            source, mask_id, targets: as `run`; with targets float32 [n], NaN where there is none.

        Errors: TypeError, ValueError (an empty sequence); Error (EINVAL: an id outside the vocabulary).
        """
        losses = self.run(ids, source, mask_id, targets).nll
        if self.info.kind != ModelKind.DECODER or targets is not None:
            return losses
        return [part[1:] for part in losses] if isinstance(losses, list) else losses[1:]

    def hidden(self, ids: Any, source: Any = None) -> np.ndarray | Hidden:
        """The residual stream of one sequence, float32 [n_layer + 1, n, n_embd]: into the first block, then out of each
        block, before the final norm. Encoder-decoder models: Hidden(encoder, decoder). Errors: as `run`.
        """
        info, batch = self.info, Batch(ids, source)
        decoder = np.empty((info.n_layer - info.n_encoder_layer + 1, batch.ids.size, info.n_embd), np.float32)
        encoder = np.empty((info.n_encoder_layer + 1, 0 if source is None else batch.source.size, info.n_embd),
                           np.float32)

        def keep(a: Activation) -> None:
            i_layer = a.layer - (0 if a.encoder or a.layer < 0 else info.n_encoder_layer)
            (encoder if a.encoder else decoder)[i_layer + 1, a.rows] = a.data

        self.run(_single(ids), source, nll=False, tap=keep, sites="residual")
        return Hidden(encoder, decoder) if info.kind == ModelKind.ENCODER_DECODER else decoder

    def attentions(self, ids: Any, source: Any = None) -> np.ndarray | Attentions:
        """Attention probabilities of one sequence, float32 [n_layer, n_head, n, n]: rows are queries. Encoder-decoder
        models: Attentions(encoder, decoder, cross). Errors: as `run`.
        """
        info, batch = self.info, Batch(ids, source)
        n, n_source = batch.ids.size, 0 if source is None else batch.source.size
        n_decoder = info.n_layer - info.n_encoder_layer
        encoder = np.zeros((info.n_encoder_layer, info.n_head, n_source, n_source), np.float32)
        decoder = np.zeros((n_decoder, info.n_head, n, n), np.float32)
        cross = np.zeros((n_decoder, info.n_head, n, n_source), np.float32)

        def keep(a: Activation) -> None:
            to = cross if a.site == "cross_probs" else encoder if a.encoder else decoder
            i_layer = a.layer - (0 if a.encoder else info.n_encoder_layer)
            to[i_layer, a.head, a.rows[0]:a.rows[-1] + 1, a.keys[0]:a.keys[-1] + 1] = a.data

        self.run(_single(ids), source, nll=False, tap=keep, sites=("probs", "cross_probs"))
        return Attentions(encoder, decoder, cross) if info.kind == ModelKind.ENCODER_DECODER else decoder

    def grads(self, ids: Any, source: Any = None, targets: Any = None, *, only: Iterable[str] | None = None,
              tap: Tap | None = None, sites: str | Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """Gradients of the sum of the losses of all tokens by the weight of every linear map: name to float32
        [n_out, n_in], in the order of the forward pass, named as `linears` says ("head": the head's part alone).

        Args:
            ids, source, targets: as `run`; masked models need targets, for ids with the masks in them.
            only: the maps whose gradients are wanted; None: all.
            tap, sites: of "linear_in" (inputs) and "linear_grad" (gradients by outputs).

        Errors: KeyError (only), TypeError, ValueError; Error, as `run`.
        """
        names = self.linears()
        wanted = set(names if only is None else [only] if isinstance(only, str) else only)
        if wanted - set(names):
            raise KeyError(f"the model has no linear map {sorted(wanted - set(names))[0]!r}; see linears()")
        batch = Batch(ids, source, None, targets)
        grads: dict[str, np.ndarray] = {}

        @ffi.callback("int(void *, size_t, const float *, size_t, size_t)", error=1, onerror=self._ctx._on_error)
        def keep(_user: Any, i_linear: int, grad: Any, n_out: int, n_in: int) -> int:
            if names[i_linear] in wanted:
                values = np.frombuffer(ffi.buffer(grad, 4 * n_out * n_in), np.float32)
                grads[names[i_linear]] = values.reshape(n_out, n_in).copy()
            return 0

        options = ffi.new("qdisp_grad_options *")
        options.size, options.weight = ffi.sizeof(options[0]), keep
        callback = tap_callback(self._ctx, tap, batch, names) if tap is not None else None
        if tap is not None:
            options.tap, options.sites = callback, tap_bits(sites)
        self._ctx.call("qdisp_model_grads", self._handle, batch.struct, options, long=True)
        return {name: grads[name] for name in names if name in grads}

    def census(self) -> Table:
        """Table "census": the shape of every tensor of two or more dimensions, and of the parts of fused maps: tensor,
        role, layer, expert, n, n_non_finite, mean, std, kurtosis, l_kurtosis, max_over_std, hill_index, outlier_energy,
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


def _single(ids: Any) -> Any:
    if len(ids) > 0 and np.ndim(ids[0]) > 0:
        raise ValueError("ids: one sequence is needed, not a list of them")
    return ids


def architectures() -> Table:
    """Table "architectures", a row an architecture that can be opened: name, kind, classes (of config.json)."""
    ctx = context()
    return Table(ctx, *ctx.call("qdisp_architectures", ctx.handle))


def inspect(path: str | os.PathLike) -> Report:
    """What is at a path: a model, a file of tensors, a tokenizer. Report "inspection" with tables summary (property,
    value), formats, tensors, files, metadata: those that there is something for.

    Errors: Error (ENOTFOUND; the reason of what came nearest to be opened).
    """
    ctx = context()
    return Report(ctx, *ctx.call("qdisp_inspect", ctx.handle, c_path(path), long=True))


def census(path: str | os.PathLike) -> Table:
    """`Model.census` of a file of tensors whose model is not known (safetensors, GGUF, PyTorch; a folder): role, layer
    and expert are missing. Errors: Error (ENOTFOUND, EIO, EFORMAT, EUNSUPPORTED).
    """
    ctx = context()
    return Table(ctx, *ctx.call("qdisp_census_weights", ctx.handle, c_path(path), long=True))
