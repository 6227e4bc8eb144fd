"""Tokenizers and parallel text."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ._arrays import pointer, token_ids
from ._lib import Context, c_list, c_path, c_string, context, ffi, lib, text, whole
from ._table import Table


class Tokenizer:
    """An immutable tokenizer, identical to the model's own; any number of threads may use it at once.

    Args:
        path: a tokenizer.json, a SentencePiece .model, a GGUF model, tiktoken's ranks, or a folder that holds one.
        encoding: for tiktoken's ranks, which do not name it: "cl100k_base" and the like; None: told by their number.
        special_tokens: for tiktoken's ranks: ids by token, besides those of the encoding.

    Errors: TypeError, ValueError; Error (ENOTFOUND, EIO, EFORMAT: file, place and reason; EUNSUPPORTED: names the part;
    EINVAL: arguments that are not for this kind of file).
    """

    def __init__(self, path: str | os.PathLike, encoding: str | None = None,
                 special_tokens: Mapping[str, int] | None = None):
        self._ctx = context()
        options = ffi.new("qdisp_tokenizer_options *")
        options.size = ffi.sizeof(options[0])
        tokens = [f"{token}={whole(i, 'special_tokens')}" for token, i in (special_tokens or {}).items()]
        if any("," in token for token in tokens):
            raise ValueError("special_tokens: a token holds a comma")
        kept = c_string(encoding, "encoding"), c_string(",".join(tokens) or None, "special_tokens")
        options.encoding, options.special_tokens = kept
        self._handle, = self._ctx.call("qdisp_tokenizer_open_as", self._ctx.handle, c_path(path), options)

    def encode(self, text: str | bytes, offsets: bool = False, special: bool = False,
               special_as_text: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Token ids of a text, int32 [n]; added tokens in the text are recognized.

        Args:
            text: str, or UTF-8 as bytes.
            offsets: also return where each token begins, int64 [n], in bytes of the UTF-8 text.
            special: with the template's tokens around it (`prefix` and `suffix`); they begin at 0 and at its end.
            special_as_text: what reads like a special token ("<s>") is ordinary text.

        Errors: TypeError; Error (EENCODING: bytes that are not UTF-8, with their offset), UnicodeEncodeError (a lone
        surrogate in a str).
        """
        if not isinstance(text, (str, bytes)):
            raise TypeError(f"text: str or bytes are needed, not {type(text).__name__}")
        data = text.encode("utf-8") if isinstance(text, str) else text
        c_text = ffi.from_buffer("char[]", data)
        options = ffi.new("qdisp_encode_options *", {"size": ffi.sizeof("qdisp_encode_options"),
                                                     "special_as_text": special_as_text})
        capacity = len(data) + 1
        while True:
            ids, starts = np.empty(capacity, np.int32), np.empty(capacity if offsets else 0, np.uintp)
            n_ids, = self._ctx.call("qdisp_tokenizer_encode_as", self._handle, c_text, len(data), options,
                                    pointer(ids, "int32_t *"),
                                    pointer(starts, "size_t *") if offsets else ffi.NULL, capacity)
            if n_ids <= capacity:
                break
            capacity = n_ids  # a normalizer made the text longer
        ids, starts = ids[:n_ids].copy(), starts[:n_ids].astype(np.int64)
        if special:
            prefix, suffix = self.prefix, self.suffix
            ids = np.concatenate([prefix, ids, suffix]).astype(np.int32)
            starts = np.concatenate([np.zeros(len(prefix), np.int64), starts, np.full(len(suffix), len(data))])
        return (ids, starts) if offsets else ids

    def decode(self, ids: Any, skip_special: bool = False) -> str:
        """The text of token ids; bytes that are not UTF-8 together become U+FFFD.

        Args:
            ids: a list or an array of integers.
            skip_special: leave special tokens out.

        Errors: TypeError, ValueError; Error (EINVAL: an id outside the vocabulary).
        """
        array = token_ids(ids)
        capacity = 8 * array.size + 64
        while True:
            buffer = ffi.new("char[]", capacity)
            n_bytes, = self._ctx.call("qdisp_tokenizer_decode", self._handle, pointer(array, "int32_t *"), array.size,
                                      bool(skip_special), buffer, capacity)
            if n_bytes <= capacity:
                return ffi.buffer(buffer, n_bytes)[:].decode("utf-8")
            capacity = n_bytes

    @property
    def n_vocab(self) -> int:
        """Number of ids."""
        return lib.qdisp_tokenizer_n_vocab(self._handle)

    def id(self, token: str) -> int | None:
        """Id of a token by its string in the vocabulary, None if there is none."""
        i_token = lib.qdisp_tokenizer_id(self._handle, c_string(token, "token"))
        return None if i_token < 0 else i_token

    def token(self, id: int) -> str | None:
        """String in the vocabulary of an id, None outside it."""
        return text(lib.qdisp_tokenizer_token(self._handle, whole(id, "id", -(2**31), 2**31 - 1)))

    def _template(self, function: Any) -> list[int]:
        n_ids = ffi.new("size_t *")
        ids = function(self._handle, n_ids)
        return [ids[i] for i in range(n_ids[0])]

    @property
    def prefix(self) -> list[int]:
        """Ids that the tokenizer's template puts before a text."""
        return self._template(lib.qdisp_tokenizer_prefix)

    @property
    def suffix(self) -> list[int]:
        """Ids that the tokenizer's template puts behind a text."""
        return self._template(lib.qdisp_tokenizer_suffix)

    @property
    def mask_id(self) -> int | None:
        """Id of the token that hides a word from a masked model, None if there is none."""
        id = lib.qdisp_tokenizer_mask_id(self._handle)
        return None if id < 0 else id

    def __repr__(self) -> str:
        return f"<Tokenizer: {self.n_vocab} tokens>"


class Corpus:
    """Immutable parallel text: line i of every language is a translation of line i of the others.

    Args:
        source: a folder with one UTF-8 file a language, TAG.txt; or a dict of tags (BCP-47) to a text with a sentence a
            line, or to a list of sentences.
        languages: None: all; else a list of tags, or one comma-separated str, in the order wanted.

    Errors: TypeError, ValueError; Error (ENOTFOUND, EIO, EENCODING: file, line and byte; EFORMAT: an empty line or
    unlike numbers of lines; EINVAL: a bad tag).
    """

    def __init__(self, source: str | os.PathLike | Mapping[str, str | Iterable[str]],
                 languages: str | Iterable[str] | None = None):
        ctx = context()
        if isinstance(source, Mapping):
            handle = self._from_texts(ctx, source, languages)
        else:
            handle, = ctx.call("qdisp_corpus_open", ctx.handle, c_path(source), c_list(languages, "languages"))
        self._set(ctx, handle)

    def _set(self, ctx: Context, handle: Any) -> None:
        self._ctx, self._handle = ctx, handle
        self._languages = [text(lib.qdisp_corpus_language(handle, i))
                           for i in range(lib.qdisp_corpus_n_languages(handle))]

    @staticmethod
    def _from_texts(ctx: Context, texts: Mapping, languages: Any) -> Any:
        if isinstance(languages, str):
            languages = languages.split(",")
        tags = list(texts if languages is None else languages)
        missing = [tag for tag in tags if tag not in texts]
        if missing:
            raise ValueError(f"languages: no text for {', '.join(map(repr, missing))}")
        c_tags = [c_string(tag, "language") for tag in tags]
        data = [_joined(texts[tag], tag).encode("utf-8") for tag in tags]
        c_texts = [ffi.from_buffer("char[]", text_bytes) for text_bytes in data]
        return ctx.call("qdisp_corpus_from_texts", ctx.handle, ffi.new("char *[]", c_tags),
                        ffi.new("char *[]", c_texts), ffi.new("size_t[]", [len(b) for b in data]), len(tags))[0]

    @property
    def languages(self) -> list[str]:
        """Tags, in order."""
        return list(self._languages)

    def _find(self, language: str) -> int:
        if language not in self._languages:
            raise KeyError(f"the corpus has no language {language!r}; it has {', '.join(self._languages)}")
        return self._languages.index(language)

    def script(self, language: str) -> str:
        """Script of a language (ISO 15924, such as "Latn"), "Zyyy" if not known. Errors: KeyError."""
        return text(lib.qdisp_corpus_script(self._handle, self._find(language)))

    def lines(self, language: str) -> list[str]:
        """The lines of a language. Errors: KeyError."""
        i_language, n_bytes = self._find(language), ffi.new("size_t *")
        lines = []
        for i_line in range(len(self)):
            line = lib.qdisp_corpus_line(self._handle, i_language, i_line, n_bytes)
            lines.append(ffi.buffer(line, n_bytes[0])[:].decode("utf-8"))
        return lines

    def split(self, share: float = 0.5, seed: int = 0) -> tuple[Corpus, Corpus]:
        """Splits the lines in two by a seeded shuffle, the same lines for every language.

        Args:
            share: of the lines that the first part gets, in (0, 1); both parts get at least one.
            seed: 0 or more.

        Returns (calibration, evaluation). Errors: ValueError; Error (EINVAL: a single line).
        """
        if not 0 < share < 1:
            raise ValueError(f"share: {share} is outside (0, 1)")
        handles = self._ctx.call("qdisp_corpus_split", self._handle, share, whole(seed, "seed", 0, 2**64 - 1))
        parts = []
        for handle in handles:
            part = Corpus.__new__(Corpus)
            part._set(self._ctx, handle)
            parts.append(part)
        return parts[0], parts[1]

    def describe(self) -> Table:
        """Table "corpus": language, name, script, n_lines, n_bytes, n_codepoints."""
        return Table(self._ctx, *self._ctx.call("qdisp_corpus_describe", self._handle))

    def __len__(self) -> int:
        """Number of lines, the same for every language."""
        return lib.qdisp_corpus_n_lines(self._handle)

    def __repr__(self) -> str:
        return f"<Corpus: {len(self)} lines in {', '.join(self._languages)}>"


def _joined(lines: Any, tag: str) -> str:
    if isinstance(lines, str):
        return lines
    lines = list(lines)
    for i_line, line in enumerate(lines):
        if not isinstance(line, str):
            raise TypeError(f"language {tag!r}: line {i_line}: a str is needed, not {type(line).__name__}")
        if "\n" in line:
            raise ValueError(f"language {tag!r}: line {i_line} holds a newline")
    return "".join(line + "\n" for line in lines)
