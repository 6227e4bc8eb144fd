"""Calibration, quantizers and plans."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ._arrays import floats, pointer, weights
from ._lib import Context, c_list, c_path, c_string, context, ffi, lib, whole
from ._model import Model
from ._table import Table
from ._text import Corpus, Tokenizer


def need(value: Any, kind: type, what: str) -> Any:
    """value, or TypeError."""
    if not isinstance(value, kind):
        raise TypeError(f"{what}: a {kind.__name__} is needed, not {type(value).__name__}")
    return value


def group(value: int | str | None, default: int) -> int:
    """group_size: "channel", "tensor" or a number of weights, 8 or more."""
    if value is None:
        return default
    if isinstance(value, str):
        named = {"channel": lib.QDISP_GROUP_CHANNEL, "tensor": lib.QDISP_GROUP_TENSOR}
        if value not in named:
            raise ValueError(f"group_size: {value!r}: a number, 'channel' or 'tensor' is needed")
        return named[value]
    return whole(value, "group_size", 8)


class Calibration:
    """Statistics of a model's activations by language: sums of x_j^2 for the input x of every linear map, sums of |h|
    of the residual stream, counts of tokens and bytes; in two folds, "fit" and "guard". One thread at a time.

    Args:
        model: the Model that the statistics are of.
    """

    def __init__(self, model: Model):
        need(model, Model, "model")
        self._set(model._ctx, *model._ctx.call("qdisp_calib_new", model._handle), model)

    def _set(self, ctx: Context, handle: Any, model: Model | None) -> None:
        self._ctx, self._handle, self._model = ctx, handle, model

    @classmethod
    def open(cls, path: str | os.PathLike, model: Model | None = None) -> Calibration:
        """Opens statistics that save wrote.

        Args:
            path: the file.
            model: for `collect` and `languages`, unless it is given there.

        Errors: TypeError; Error (ENOTFOUND, EFORMAT, EIO).
        """
        if model is not None:
            need(model, Model, "model")
        ctx = context()
        calibration = cls.__new__(cls)
        calibration._set(ctx, *ctx.call("qdisp_calib_open", ctx.handle, c_path(path)), model)
        return calibration

    def _of(self, model: Model | None) -> Model:
        model = self._model if model is None else model
        if model is None:
            raise ValueError("model: a calibration that was opened from a file needs the model")
        return need(model, Model, "model")

    def collect(self, tokenizer: Tokenizer, corpus: Corpus, model: Model | None = None,
                gradients: bool = False) -> Calibration:
        """Runs the model over every line of every language, adds what it saw, and returns self.

        Every fourth line goes to the guard fold. gradients: also energies of the gradients of the loss, by a backward
        pass, which takes four times as long. Errors: Error (EMISMATCH, ENUMERIC: names the map); on failure nothing was
        added (by the pass that failed).
        """
        need(tokenizer, Tokenizer, "tokenizer"), need(corpus, Corpus, "corpus")
        arguments = (self._handle, self._of(model)._handle, tokenizer._handle, corpus._handle)
        self._ctx.call("qdisp_calib_collect", *arguments, long=True)
        if gradients:
            self._ctx.call("qdisp_calib_collect_gradients", *arguments, long=True)
        return self

    def feed(self, language: str, tensor: str, rows: Any, guard: bool = False, n_bytes: int = 0) -> None:
        """Adds activations that another engine saw.

        Args:
            language: BCP-47 tag.
            tensor: name of the weight of the linear map.
            rows: inputs of that map, float32 [n_rows, n_in]; other floats are converted.
            guard: True adds to the guard fold.
            n_bytes: of text that the rows stand for; count it once, with one tensor.

        Errors: TypeError, ValueError; Error (ENOTFOUND: tensor; EINVAL: n_in; ENUMERIC: names row and input).
        """
        array = np.asarray(rows)
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
            raise TypeError(f"rows: floats are needed, not {array.dtype}")
        if array.ndim != 2:
            raise ValueError(f"rows: 2 dimensions are needed, not {array.ndim}")
        array = np.ascontiguousarray(array, np.float32)
        self._ctx.call("qdisp_calib_feed", self._handle, _text(language, "language"), bool(guard),
                       _text(tensor, "tensor"), pointer(array, "float *"), array.shape[0], array.shape[1],
                       whole(n_bytes, "n_bytes"))

    def merge(self, other: Calibration) -> Calibration:
        """Adds the statistics of other, and returns self. Errors: Error (EMISMATCH: other linear maps)."""
        self._ctx.call("qdisp_calib_merge", self._handle, need(other, Calibration, "other")._handle)
        return self

    def save(self, path: str | os.PathLike) -> None:
        """Writes a safetensors file of F64 sums. Errors: Error (EIO)."""
        self._ctx.call("qdisp_calib_save", self._handle, c_path(path), long=True)

    def languages(self, model: Model | None = None) -> Table:
        """Table "languages": language, kurtosis_eff (excess kurtosis of the weights as the language uses them),
        kurtosis_eff_max, outlier_activation. Errors: Error (EMISMATCH: another model)."""
        return Table(self._ctx, *self._ctx.call("qdisp_calib_languages", self._handle, self._of(model)._handle,
                                                long=True))

    def describe(self) -> Table:
        """Table "calibration": language, n_tokens, n_bytes, tokens_per_byte, n_gradients, mean |h| after every
        layer."""
        return Table(self._ctx, *self._ctx.call("qdisp_calib_describe", self._handle))


def _text(value: Any, what: str) -> Any:
    if value is None:
        raise TypeError(f"{what}: a str is needed, not None")
    return c_string(value, what)


def _pairs(value: Any, between: str, what: str) -> Any:
    """{"a": 1} as "a=1"."""
    if value is None:
        return ffi.NULL
    if not isinstance(value, dict):
        raise TypeError(f"{what}: a dict is needed, not {type(value).__name__}")
    return c_string(",".join(f"{name}{between}{float(number)!r}" for name, number in value.items()), what)


class Quantizer:
    """An immutable quantizer: a method and its options.

    Args:
        method: "rtn" (round to nearest), "aciq", "percentile", "mse" (weighted if there is a calibration), "kl", "hqq",
            "nf4", "fp4", "mxfp4", "la-aciq", "awq", "imatrix" (these three need a calibration); see quantizers().
        bits: 2..8.
        group_size: weights of a row that share a threshold, 8 or more; "channel": one threshold an output channel;
            "tensor": one a tensor.
        levels: "narrow" (None): 2^bits - 1 symmetric ones; "full": 2^bits; "asym": 2^bits over the range of the
            weights, with an integer zero point.
        roles: roles to quantize, a list or comma-separated; None: every linear map of the blocks.
        objective: la-aciq: "regret" (None): the largest damage of a language over what it would be under thresholds
            chosen for it alone; "worst", "mean", "cvar" (option share) or "disparity" (option tau) of the predicted
            damage per byte over languages.
        steps: la-aciq: steps of the dual, 0: the default.
        step: la-aciq: size of the multiplicative update, 0: the default.
        weights: lambda of the languages, {"en": 0.3, "de": 0.7}, for methods that mix what they send; None: even.
        options: of the method, {"percentile": 99.5}; quantizers() lists them.
        type: "int" (codes of bits), or a type of GGUF's blocks ("q4_k", "q8_0" ...) for the methods rtn and imatrix.
        keep: weights that stay in 16 bits beside the grid, a table as superweights() gives.

    Errors: TypeError, ValueError; Error (EINVAL: unknown method, an option out of range).
    """

    def __init__(self, method: str, bits: int = 4, group_size: int | str = 64, levels: str | None = None,
                 roles: Any = None, objective: str | None = None, steps: int = 0, step: float = 0,
                 weights: dict[str, float] | None = None, options: dict[str, float] | None = None,
                 type: str = "int", keep: Table | None = None):
        self._ctx = context()
        c = ffi.new("qdisp_quantizer_options *")
        c.size = ffi.sizeof(c[0])
        c.bits = whole(bits, "bits", 2, 8)
        c.group_size = group(group_size, 0)
        c_roles, c_objective = c_list(roles, "roles"), c_string(objective, "objective")
        c_levels, c_type = c_string(levels, "levels"), c_string(type, "type")
        c.type = c_type
        c_weights, c_options = _pairs(weights, ":", "weights"), _pairs(options, "=", "options")
        c.roles, c.objective, c.levels, c.weights, c.options = c_roles, c_objective, c_levels, c_weights, c_options
        c.n_steps = whole(steps, "steps")
        c.step = step
        if keep is not None:
            c.keep = need(keep, Table, "keep")._handle
        self._repr = f"<Quantizer {method}: {type if type != 'int' else f'{bits} bits, group {group_size}'}>"
        self._handle, = self._ctx.call("qdisp_quantizer_new", self._ctx.handle, _text(method, "method"), c)

    def plan(self, model: Model, calibration: Calibration | None = None) -> Table:
        """Table "plan", a row for every tensor to quantize: tensor, role, layer, method, type, bits, group_size,
        levels, alpha, clip, gain, inputs, weights, keep, options, n_weights, bits_per_weight, error_rel,
        error_rel_model, note. It may be edited (Table.set), saved.

        Errors: TypeError; Error (EINVAL: a method that needs a calibration; EMISMATCH: of another model; ENUMERIC).
        """
        c_calibration = ffi.NULL
        if calibration is not None:
            c_calibration = need(calibration, Calibration, "calibration")._handle
        need(model, Model, "model")
        return Table(self._ctx, *model._ctx.call("qdisp_quantizer_plan", self._handle, model._handle, c_calibration,
                                                 long=True))

    def allocate(self, model: Model, calibration: Calibration, n_bytes: int = 0, bits_per_weight: float = 0,
                 bits: Iterable[int | str] | None = None, objective: str | None = None, share: float = 0,
                 cap: float = 0) -> tuple[Table, Table]:
        """A plan whose tensors have the bits that make the objective least for a size: (plan, allocation).

        Args:
            calibration: best one with gradients.
            n_bytes, bits_per_weight: one of them: most bytes of all tensors, or most bits a planned weight.
            bits: widths 2..8 or types of GGUF's blocks ("q4_k") to choose from; default 2, 3, 4, 5, 6, 8.
            objective: "worst" (default), "mean", "cvar" (of the worst share of the languages) or "disparity" (the worst
                language at most cap bits per byte above the mean).

        Table "allocation": language, predicted_bpb (damage without gradients), objective, bound, n_bytes,
        n_bytes_fixed, bits_per_weight. Errors: TypeError; Error (EINVAL: a size that cannot be met, names the least).
        """
        need(model, Model, "model"), need(calibration, Calibration, "calibration")
        options = ffi.new("qdisp_allocation_options *")
        options.size = ffi.sizeof(options[0])
        options.n_bytes, options.bits_per_weight = whole(n_bytes, "n_bytes"), bits_per_weight
        c_bits = c_string(None if bits is None else ",".join(str(b) for b in bits), "bits")
        c_objective = c_string(objective, "objective")
        options.bits, options.objective, options.share, options.cap = c_bits, c_objective, share, cap
        plan, allocation = self._ctx.call("qdisp_quantizer_allocate", self._handle, model._handle, calibration._handle,
                                          options, long=True)
        return Table(self._ctx, plan), Table(self._ctx, allocation)

    def fair(self, model: Model, tokenizer: Tokenizer, corpus: Corpus, calibration: Calibration | None = None,
             objective: str = "worst", steps: int = 3, step: float = 1, max_tokens: int = 0,
             original_inputs: bool = False) -> tuple[Table, Table]:
        """A plan whose languages are weighted by what each really loses, for methods that mix them by weights.

        Plans, quantizes and measures on every fourth line of the corpus (the others are what quantizing sees), gives
        more weight to languages that lose more than the mean, again; the best iterate stays.

        Args:
            calibration: statistics by language; None: made from the text that quantizing sees, if the method uses them.
            objective: "worst", "cvar" (mean of the worst quarter) or "mean" of the losses in bits per byte.
            steps: updates of the weights.
            step: eta, weight of a language times exp(eta (loss - mean loss) / largest).
            max_tokens, original_inputs: as in apply_plan.

        Returns the plan and table "steps": step, objective_bpb, language, weight, loss_bpb. Errors: TypeError; Error,
        as plan, apply_plan and losses.
        """
        need(model, Model, "model"), need(tokenizer, Tokenizer, "tokenizer"), need(corpus, Corpus, "corpus")
        c_options = ffi.new("qdisp_fair_options *")
        c_objective = c_string(objective, "objective")
        c_options.size, c_options.objective, c_options.step = ffi.sizeof(c_options[0]), c_objective, step
        c_options.n_steps = whole(steps, "steps", 1, 1000)
        c_calibration = ffi.NULL if calibration is None else need(calibration, Calibration, "calibration")._handle
        handles = model._ctx.call("qdisp_quantizer_fair", self._handle, model._handle, c_calibration,
                                  _plan_options(calibration, tokenizer, corpus, max_tokens, original_inputs), c_options,
                                  long=True)
        return Table(self._ctx, handles[0]), Table(self._ctx, handles[1])

    def matrix(self, array: Any, energy: Any = None, tokens_per_byte: Any = None,
               dtype: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Thresholds of one matrix of yours: (steps, scales), float32, a value a unit in memory order.

        The code of a weight is clip(rint(w / step)), its value code * scale.

        Args:
            array: [n_out, n_in] of float32, float16 or (dtype="bfloat16") uint16 bits.
            energy: [n_languages, n_in], mean of the squared inputs of each language; for methods that need it.
            tokens_per_byte: [n_languages] or None: all the same.

        Errors: TypeError, ValueError; Error (EINVAL: no energy; ENUMERIC: a number that is not finite).
        """
        data, c_dtype = weights(array, "array", dtype)
        if data.ndim != 2:
            raise ValueError(f"array: 2 dimensions are needed, not {data.ndim}")
        c = ffi.new("qdisp_matrix *")
        c.size, c.dtype, c.n_out, c.n_in = ffi.sizeof(c[0]), c_dtype, data.shape[0], data.shape[1]
        c.data = pointer(data)
        if energy is not None:
            energy = np.ascontiguousarray(energy, np.float64)
            if energy.ndim != 2 or energy.shape[1] != data.shape[1]:
                raise ValueError(f"energy: shape [n_languages, {data.shape[1]}] is needed, not {list(energy.shape)}")
            c.energy, c.n_languages = pointer(energy, "double *"), energy.shape[0]
        if tokens_per_byte is not None:
            rates = floats(tokens_per_byte, "tokens_per_byte")
            if energy is None or len(rates) != len(energy):
                raise ValueError("tokens_per_byte: one a language of energy is needed")
            c.tokens_per_byte = pointer(rates, "double *")
        n = lib.qdisp_quantizer_n_units(self._handle, *data.shape)
        steps, scales = np.empty(n, np.float32), np.empty(n, np.float32)
        self._ctx.call("qdisp_quantizer_matrix", self._handle, c, pointer(steps, "float *"),
                       pointer(scales, "float *"), long=True)
        return steps, scales

    def __repr__(self) -> str:
        return self._repr


def superweights(model: Model, tokenizer: Tokenizer | None = None, corpus: Corpus | None = None, n_candidates: int = 8,
                 n_resamples: int = 0) -> Table:
    """Table "super_weights": single weights that the model cannot do without, the most harmful first.

    Without text the largest weights of output maps beside the standard deviation of their tensor: tensor, role, layer,
    row, column, weight, sigmas, found_by. With text also those that the gradients of some language point at, and what
    removing each costs every language: first_order_bpb, second_order_bpb, mean_bpb, worst_bpb, worst, p_holm,
    LANGUAGE.loss. n_candidates: by each criterion, at most 64. Quantizer(keep=...) takes it.

    Errors: TypeError; Error (EINVAL).
    """
    need(model, Model, "model")
    options = ffi.new("qdisp_superweights_options *")
    options.size = ffi.sizeof(options[0])
    options.n_candidates, options.n_resamples = whole(n_candidates, "n_candidates"), whole(n_resamples, "n_resamples")
    handles = [ffi.NULL if value is None else need(value, kind, name)._handle
               for name, value, kind in (("tokenizer", tokenizer, Tokenizer), ("corpus", corpus, Corpus))]
    return Table(model._ctx, *model._ctx.call("qdisp_superweights", model._handle, *handles, options, long=True))


def quantizers() -> Table:
    """Table "quantizers": method, needs, paper."""
    ctx = context()
    return Table(ctx, *ctx.call("qdisp_quantizers", ctx.handle))


def _plan_options(calibration: Calibration | None, tokenizer: Tokenizer | None, corpus: Corpus | None,
                  max_tokens: int, original_inputs: bool) -> Any:
    options = ffi.new("qdisp_plan_options *")
    options.size = ffi.sizeof(options[0])
    for name, value, kind in (("calib", calibration, Calibration), ("tokenizer", tokenizer, Tokenizer),
                              ("corpus", corpus, Corpus)):
        if value is not None:
            setattr(options, name, need(value, kind, "calibration" if name == "calib" else name)._handle)
    options.max_tokens, options.original_inputs = whole(max_tokens, "max_tokens"), bool(original_inputs)
    return options


def apply_plan(plan: Table, model: Model, calibration: Calibration | None = None, tokenizer: Tokenizer | None = None,
               corpus: Corpus | None = None, max_tokens: int = 0, original_inputs: bool = False) -> Model:
    """A model that computes with the quantized weights, dequantized to f32, and shares the others with `model`.

    Args:
        calibration: statistics by language, for methods that weigh by them.
        tokenizer, corpus: text by language, for methods that need second moments of inputs ("gptq").
        max_tokens: of each language's text, no more than about these; 0: all.
        original_inputs: second moments are those of the model as it is, not of one whose earlier layers are quantized.

    Errors: TypeError; Error (EMISMATCH: a tensor the model lacks, names the row; EINVAL: a value out of range, names
    row and column, or no text where the method needs it; ENUMERIC).
    """
    need(plan, Table, "plan"), need(model, Model, "model")
    options = _plan_options(calibration, tokenizer, corpus, max_tokens, original_inputs)
    handle, = model._ctx.call("qdisp_plan_apply", plan._handle, model._handle, options, long=True)
    return Model._from_handle(model._ctx, handle, model)


def write_plan(plan: Table, model: Model, path: str | os.PathLike, format: str, calibration: Calibration | None = None,
               tokenizer: Tokenizer | None = None, corpus: Corpus | None = None, max_tokens: int = 0,
               original_inputs: bool = False) -> None:
    """The same, written to path in a format of `packers()`: whole or not at all.

    Errors: as apply_plan; Error (EINVAL: an unknown format or a path in use; EUNSUPPORTED: what the format cannot
    hold, names the tensor; EIO).
    """
    need(plan, Table, "plan"), need(model, Model, "model")
    options = _plan_options(calibration, tokenizer, corpus, max_tokens, original_inputs)
    model._ctx.call("qdisp_plan_write", plan._handle, model._handle, options, _text(format, "format"), c_path(path),
                    long=True)


def packers() -> Table:
    """Table "formats": format, summary: what write_plan can write."""
    ctx = context()
    return Table(ctx, *ctx.call("qdisp_packers", ctx.handle))


def quantize_packed(array: Any, bits: int = 4, group_size: int | str = 128, full_range: bool = False,
                    dtype: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Rounds to nearest with a min-max scale a group, as the method "rtn" does, and packs the codes.

    Args:
        array: float32 or float16 [..., n_columns], rows are packed one by one; uint16 with dtype="bfloat16".
        bits: 2..8.
        group_size: weights of a row that share a scale, 8 or more, or "channel".
        full_range: 2^bits levels instead of 2^bits - 1 symmetric ones.

    Returns packed, uint8 [..., (n_columns * bits + 7) // 8], a stream of bits that starts with the lowest bits of the
    first byte and holds code + 2^(bits - 1), and scales, float16 [..., groups]: a weight is about code * scale. Errors:
    TypeError, ValueError; Error (ENUMERIC: names row and column).
    """
    rows, c_type = weights(array, "array", dtype)
    if rows.ndim == 0:
        raise ValueError("array: at least one dimension is needed")
    ctx, n_bits, size = context(), whole(bits, "bits", 2, 8), group(group_size, 128)
    n_columns = rows.shape[-1]
    n_rows = int(np.prod(rows.shape[:-1], dtype=np.int64))
    packed = np.empty((*rows.shape[:-1], lib.qdisp_packed_row_bytes(n_columns, n_bits)), np.uint8)
    scales = np.empty((*rows.shape[:-1], lib.qdisp_packed_n_groups(n_columns, size)), np.float16)
    ctx.call("qdisp_quantize_packed", ctx.handle, pointer(rows), c_type, n_rows, n_columns, n_bits, size,
             bool(full_range), pointer(packed, "uint8_t *"), pointer(scales, "uint16_t *"), long=True)
    return packed, scales


def dequantize_packed(packed: Any, scales: Any, n_columns: int, bits: int = 4,
                      group_size: int | str = 128) -> np.ndarray:
    """Back from quantize_packed: float32 [..., n_columns], code * scale.

    Args:
        packed, scales: as quantize_packed returned them.
        n_columns: numbers of a row.
        bits, group_size: as they were given to it.

    Errors: TypeError, ValueError; Error (EINVAL).
    """
    ctx, n_bits, size = context(), whole(bits, "bits", 2, 8), group(group_size, 128)
    n_columns = whole(n_columns, "n_columns")
    arrays = []
    for name, value, wanted, n in (("packed", packed, np.uint8, lib.qdisp_packed_row_bytes(n_columns, n_bits)),
                                   ("scales", scales, np.float16, lib.qdisp_packed_n_groups(n_columns, size))):
        array = np.asarray(value)
        if array.dtype != wanted:
            raise TypeError(f"{name}: {np.dtype(wanted)} is needed, not {array.dtype}")
        if array.ndim == 0 or array.shape[-1] != n or array.shape[:-1] != np.shape(packed)[:-1]:
            raise ValueError(f"{name}: a shape of {(*np.shape(packed)[:-1], n)} is needed, not {array.shape}")
        arrays.append(np.ascontiguousarray(array))
    out = np.empty((*arrays[0].shape[:-1], n_columns), np.float32)
    n_rows = int(np.prod(out.shape[:-1], dtype=np.int64))
    ctx.call("qdisp_dequantize_packed", ctx.handle, pointer(arrays[0], "uint8_t *"), pointer(arrays[1], "uint16_t *"),
             n_rows, n_columns, n_bits, size, pointer(out, "float *"), long=True)
    return out
