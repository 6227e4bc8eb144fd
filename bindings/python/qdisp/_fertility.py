"""How many tokens tokenizers need for the same text in every language."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ._lib import c_string, ffi, whole
from ._quant import need
from ._table import Report
from ._text import Corpus, Tokenizer

_Path = (str, os.PathLike)


def fertility(tokenizers: Mapping[str, Tokenizer | str | os.PathLike], corpus: Corpus | str | os.PathLike | Mapping,
              pivot: str | None = None, n_resamples: int = 0, seed: int = 0) -> Report:
    """Tokens for parallel text, tokenizers side by side: by byte, code point, grapheme and sentence, and the premium
    over the pivot language with a 95 % interval.

    Args:
        tokenizers: names to Tokenizers or their paths.
        corpus: a Corpus, its folder, or a dict as Corpus takes.
        pivot: language that premiums are against; None: "en" if the corpus has it, else premiums are NaN.
        n_resamples: of the intervals, 0: the default, 2000.
        seed: of the intervals, 0 or more.

    Returns the Report "fertility" with tables tokenizers (means over languages), fertility (a row a tokenizer and
    language) and texts (a row a language). Words are missing where a script shows none.
    Errors: TypeError, ValueError; Error (EINVAL: a pivot that the corpus lacks), those of Tokenizer and Corpus.
    """
    if not isinstance(tokenizers, Mapping):
        raise TypeError(f"tokenizers: a dict of names to tokenizers is needed, not {type(tokenizers).__name__}")
    if not tokenizers:
        raise ValueError("tokenizers: none")
    names = [c_string(name, "tokenizers") for name in tokenizers]
    opened = [need(Tokenizer(t) if isinstance(t, _Path) else t, Tokenizer, "tokenizers") for t in tokenizers.values()]
    corpus = need(Corpus(corpus) if isinstance(corpus, (*_Path, Mapping)) else corpus, Corpus, "corpus")
    c_pivot = c_string(pivot, "pivot")
    options = ffi.new("qdisp_fertility_options *")
    options.size, options.pivot = ffi.sizeof(options[0]), c_pivot
    options.n_resamples, options.seed = whole(n_resamples, "n_resamples"), whole(seed, "seed", 0, 2**64 - 1)
    ctx = corpus._ctx
    return Report(ctx, *ctx.call("qdisp_fertility", ctx.handle, ffi.new("qdisp_tokenizer *[]",
                                 [t._handle for t in opened]), ffi.new("char *[]", names), len(opened),
                                 corpus._handle, options, long=True))
