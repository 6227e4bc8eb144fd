"""Losses by language, what a quantization costs each, and the whole diagnosis."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from ._lib import c_list, ffi, lib, whole
from ._model import Model
from ._quant import group, need
from ._table import Report, Table
from ._text import Corpus, Tokenizer

_Path = (str, os.PathLike)


def losses(model: Model, tokenizer: Tokenizer, corpus: Corpus) -> Table:
    """Table "losses", a row a line: language, i_line, n_bytes, n_tokens, nll_nats (sum over the line's tokens).

    Errors: TypeError; Error (EMISMATCH: ids beyond the model's vocabulary; ENUMERIC: names language and line).
    """
    need(model, Model, "model"), need(tokenizer, Tokenizer, "tokenizer"), need(corpus, Corpus, "corpus")
    return Table(model._ctx, *model._ctx.call("qdisp_eval_losses", model._handle, tokenizer._handle, corpus._handle,
                                              long=True))


def activations(model: Model, tokenizer: Tokenizer, corpus: Corpus, bits: int = 8, plan: Table | None = None) -> Table:
    """Thresholds of the inputs of linear maps by language, for engines that quantize activations: table "activations":
    language ("*": one for all), tensor, bits, alpha, largest, error_rel.

    Args:
        bits: 2 to 8.
        plan: only its tensors, their inputs divided by its column "inputs".

    Errors: TypeError; Error (EINVAL, EMISMATCH, ENUMERIC).
    """
    need(model, Model, "model"), need(tokenizer, Tokenizer, "tokenizer"), need(corpus, Corpus, "corpus")
    options = ffi.new("qdisp_activations_options *")
    options.size = ffi.sizeof(options[0])
    options.bits = whole(bits, "bits", 1)
    options.plan = ffi.NULL if plan is None else need(plan, Table, "plan")._handle
    return Table(model._ctx, *model._ctx.call("qdisp_activations_choose", model._handle, tokenizer._handle,
                                              corpus._handle, options, long=True))


def losses_with(model: Model, tokenizer: Tokenizer, corpus: Corpus, thresholds: Table, plan: Table | None = None,
                shared: bool = False) -> Table:
    """`losses` with the inputs of linear maps quantized as `activations` says, each language by its own thresholds or,
    shared, by those of "*". plan: the one that the thresholds were chosen for."""
    need(model, Model, "model"), need(tokenizer, Tokenizer, "tokenizer"), need(corpus, Corpus, "corpus")
    options = ffi.new("qdisp_eval_activations *")
    options.size = ffi.sizeof(options[0])
    options.thresholds = need(thresholds, Table, "thresholds")._handle
    options.plan = ffi.NULL if plan is None else need(plan, Table, "plan")._handle
    options.shared = bool(shared)
    return Table(model._ctx, *model._ctx.call("qdisp_eval_losses_with", model._handle, tokenizer._handle,
                                              corpus._handle, options, long=True))


def eval_text(model: Model, tokenizer: Tokenizer, text: str | bytes, window: int | None = None, min_context: int = 0,
              max_windows: int | None = None, replace_first: bool = False, no_bos: bool = False) -> Table:
    """Loss of one running text in windows side by side: table "perplexity" of one row: n_windows, n_read, n_tokens,
    n_bytes, nll_nats, mean_nats, perplexity, perplexity_error, bpb (bits per byte).

    Args:
        text: str, or UTF-8 as bytes.
        window: tokens read at once, with the template's; None: 512, or what the model can read.
        min_context: tokens before a scored one in its window.
        max_windows: only these, from the beginning; None: all.
        replace_first: decoders: what is put in front takes the place of a window's first token. llama-perplexity's
            protocol with a context of N is window=N, min_context=N // 2 + 1, replace_first=True.
        no_bos: decoders: nothing in front, whatever tokenizer and model say.

    Errors: TypeError, ValueError; Error (EINVAL: window or text too short; EENCODING; EMISMATCH).
    """
    need(model, Model, "model"), need(tokenizer, Tokenizer, "tokenizer")
    if not isinstance(text, (str, bytes)):
        raise TypeError(f"text: str or bytes are needed, not {type(text).__name__}")
    data = text.encode("utf-8") if isinstance(text, str) else text
    options = ffi.new("qdisp_eval_text_options *")
    options.size = ffi.sizeof(options[0])
    options.window = 0 if window is None else whole(window, "window", 1)
    options.min_context = whole(min_context, "min_context")
    options.max_windows = 0 if max_windows is None else whole(max_windows, "max_windows", 1)
    options.replace_first, options.no_bos = bool(replace_first), bool(no_bos)
    return Table(model._ctx, *model._ctx.call("qdisp_eval_text", model._handle, tokenizer._handle,
                                              ffi.from_buffer("char[]", data), len(data), options, long=True))


def compare(base: Table, quantized: Table, n_resamples: int = 0) -> Table:
    """Table "comparison", a row a language, paired by line: language, n_lines, n_bytes, baseline_bpb, loss_bpb (bits
    per byte of `quantized` minus those of `base`), low_bpb, high_bpb (95 % interval), p_holm.

    Args:
        base, quantized: from `losses`, on the same corpus.
        n_resamples: 0: the default, 2000.

    Errors: TypeError; Error (EMISMATCH, ENUMERIC).
    """
    need(base, Table, "base"), need(quantized, Table, "quantized")
    return Table(base._ctx, *base._ctx.call("qdisp_eval_compare", base._handle, quantized._handle,
                                            whole(n_resamples, "n_resamples"), long=True))


def gate(base: Table, quantized: Table, margin: float, alpha: float = 0.05, equivalence: bool = False) -> Report:
    """Does a quantized model stay within a margin of its baseline in every language? Report "gate" with tables
    "verdict" (one row: verdict "pass", "fail" or "undecided", n_lines_needed ...) and "languages" (a row a language:
    verdict, loss_bpb, low_bpb, high_bpb, p_pass, p_fail, detectable_bpb, n_lines_needed ...).

    Args:
        base, quantized: from `losses`, on the same corpus.
        margin: bits per byte that a language may lose; to be set before the losses are seen.
        alpha: chance of a wrong verdict on any language, for each kind of error.
        equivalence: a gain beyond the margin is no pass, either.

    Errors: TypeError; Error (EINVAL: margin or alpha; EMISMATCH; ENUMERIC).
    """
    need(base, Table, "base"), need(quantized, Table, "quantized")
    options = ffi.new("qdisp_eval_gate_options *")
    options.size = ffi.sizeof(options[0])
    options.margin_bpb, options.alpha, options.equivalence = margin, alpha, bool(equivalence)
    return Report(base._ctx, *base._ctx.call("qdisp_eval_gate", base._handle, quantized._handle, options, long=True))


def diagnose(model: Model | str | os.PathLike, tokenizer: Tokenizer | str | os.PathLike | None,
             corpus: Corpus | str | os.PathLike | Mapping[str, Any], methods: str | Iterable[str] | None = None,
             bits: int | str | Iterable[int] | None = None, group_size: int | str = 64,
             roles: str | Iterable[str] | None = None, calibration_share: float = 0.5, seed: int = 0,
             n_resamples: int = 0, gradients: bool = False) -> Report:
    """Which languages does a quantization of this model hurt? Calibrates on one part of the text, then predicts and
    measures the loss of every language under every method and bit width on the other.

    Args:
        model: a Model, or its path.
        tokenizer: a Tokenizer, or its path; None: the model's path (if model is one).
        corpus: a Corpus, its folder, or a dict as Corpus takes.
        methods: a list or comma-separated; None: rtn, aciq, la-aciq.
        bits: one, a list or comma-separated; None: 8, 4, 3.
        group_size: "channel", "tensor" or 8 and more, as Quantizer.
        roles: as Quantizer.
        calibration_share: of the lines that calibrate, in (0, 1).
        seed: of the split and the intervals, 0 or more.
        n_resamples: of the intervals, 0: the default, 2000.
        gradients: predict from gradients, too, which takes five times as long.

    Returns the Report "diagnosis" with tables languages, losses, quantizers, prediction (bits per byte).
    Errors: TypeError, ValueError; Error, as the parts.
    """
    if tokenizer is None:
        if not isinstance(model, _Path):
            raise ValueError("tokenizer: None is for a model that is given by its path")
        tokenizer = model
    if not 0 < calibration_share < 1:
        raise ValueError(f"calibration_share: {calibration_share} is outside (0, 1)")
    options = ffi.new("qdisp_diagnose_options *")
    options.size = ffi.sizeof(options[0])
    lists = [c_list(methods, "methods"), c_list(bits, "bits"), c_list(roles, "roles")]
    options.methods, options.bits, options.roles = lists
    options.group_size = group(group_size, 64)
    options.calibration_share = calibration_share
    options.seed = whole(seed, "seed", 0, 2**64 - 1)
    options.n_resamples = whole(n_resamples, "n_resamples")
    options.gradients = bool(gradients)
    model = need(Model(model) if isinstance(model, _Path) else model, Model, "model")
    tokenizer = need(Tokenizer(tokenizer) if isinstance(tokenizer, _Path) else tokenizer, Tokenizer, "tokenizer")
    corpus = need(Corpus(corpus) if isinstance(corpus, (*_Path, Mapping)) else corpus, Corpus, "corpus")
    return Report(model._ctx, *model._ctx.call("qdisp_diagnose", model._handle, tokenizer._handle, corpus._handle,
                                               options, long=True))
