"""llama.cpp's importance matrices, and plans as other quantizers' override lists."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ._lib import c_path, c_string, ffi
from ._model import Model
from ._quant import Calibration, need
from ._table import Table


def save_imatrix(calibration: Calibration, path: str | os.PathLike, merge: str = "token",
                 weights: Mapping[str, float] | None = None, legacy: bool = False, model: Model | None = None) -> None:
    """Writes the importance matrix that llama-quantize --imatrix reads.

    Args:
        merge: what makes a language count: "token" (as llama-imatrix has it), "byte" or "sentence" (all the same).
        weights: what languages count instead, {"en": 0.25, "sw": 0.75}: each in units of its own mean.
        legacy: llama.cpp's form before 2025 (.dat) instead of its GGUF form.
        model: of the calibration, unless it knows it.

    Errors: TypeError, ValueError; Error (EMISMATCH: an unknown language; EINVAL; EIO).
    """
    need(calibration, Calibration, "calibration")
    options = ffi.new("qdisp_imatrix_options *")
    c_merge = c_string(merge, "merge")
    c_weights = ffi.NULL
    if weights is not None:
        c_weights = c_string(",".join(f"{tag}:{float(value)!r}" for tag, value in weights.items()), "weights")
    options.size, options.merge, options.weights = ffi.sizeof(options[0]), c_merge, c_weights
    options.legacy = bool(legacy)
    calibration._ctx.call("qdisp_imatrix_save", calibration._handle, calibration._of(model)._handle, options,
                          c_path(path), long=True)


def open_imatrix(model: Model, path: str | os.PathLike, language: str = "und") -> Calibration:
    """An importance matrix of either form as statistics of one language, whose tag you give: the file does not tell.

    Errors: TypeError; Error (EFORMAT; EMISMATCH: of another model; ENOTFOUND).
    """
    need(model, Model, "model")
    calibration = Calibration.__new__(Calibration)
    handle, = model._ctx.call("qdisp_imatrix_open", model._handle, c_path(path), c_string(language, "language"),
                              long=True)
    calibration._set(model._ctx, handle, model)
    return calibration


def plan_overrides(plan: Table, model: Model, tool: str) -> str:
    """What the plan chose, as another tool reads it, whose own method then makes the codes.

    Args:
        tool: "llama-quantize" (a file for --tensor-type-file), "ik_llama" (--custom-q), "gptqmodel" (dynamic, JSON),
            "auto-round" (layer_config, JSON) or "compressed-tensors" (config_groups and ignore, JSON).

    Errors: TypeError; Error (EINVAL: an unknown tool; EUNSUPPORTED: a type that the tool does not have).
    """
    parts: list[bytes] = []

    @ffi.callback("int(void *, const char *, size_t)", error=1)
    def sink(_user: object, data: object, n_bytes: int) -> int:
        parts.append(ffi.buffer(data, n_bytes)[:])
        return 0

    need(plan, Table, "plan"), need(model, Model, "model")
    model._ctx.call("qdisp_plan_overrides", plan._handle, model._handle, c_string(tool, "tool"), sink, ffi.NULL)
    return b"".join(parts).decode("utf-8")
