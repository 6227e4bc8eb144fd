"""Turns the public headers into declarations for cffi, so that they are written down once, in include/qdisp.

Used by setup.py, which stores the result in the package, and on import in a source tree that was not installed.
Imports nothing but the standard library.
"""

from __future__ import annotations

import re
from pathlib import Path

_INT64_MIN = "-9223372036854775808"


def _ordered(folder: Path) -> list[Path]:
    """The headers that qdisp.h includes, in its order, which is that of their dependence."""
    names = re.findall(r"^#include <qdisp/(\w+\.h)>", (folder / "qdisp.h").read_text("utf-8"), re.M)
    if not names:
        raise ValueError(f"{folder / 'qdisp.h'}: includes no header of qdisp")
    return [folder / name for name in names]


def _list_macros(text: str) -> dict[str, list[list[str]]]:
    """X-macro lists: {"QDISP_STATUSES": [["OK", "0", '"success"'], ...]}."""
    lists = {}
    for name, body in re.findall(r"^#define (\w+)\(X\) ((?:.*\\\n)*.*)", text, re.M):
        rows = re.findall(r"\bX\(((?:[^()\"]|\"[^\"]*\")*)\)", body)
        lists[name] = [[field.strip() for field in row.split(",")] for row in rows]
    return lists


def _expand(text: str, lists: dict[str, list[list[str]]]) -> str:
    """Expands `#define F(a, b) PATTERN / LIST(F) / #undef F` as the preprocessor would."""
    block = re.compile(r"^#define (\w+)\(([^)]*)\) (.*)\n\s*(\w+)\(\1\)\n#undef \1\n", re.M)

    def rows(match: re.Match) -> str:
        _, parameters, pattern, name = match.groups()
        names = [parameter.strip() for parameter in parameters.split(",")]
        lines = []
        for row in lists[name]:
            line = pattern
            for parameter, value in zip(names, row):
                line = re.sub(rf"\b{parameter}\b", lambda _: value, re.sub(rf"##\s*{parameter}\b", value, line))
            lines.append("    " + line.replace("##", ""))
        return "\n".join(lines) + "\n"

    return block.sub(rows, text)


def from_headers(folder: Path) -> str:
    """The text for FFI.cdef of all headers in `folder` (include/qdisp).

    Kept: declarations, and macros whose value is an integer. Gone: comments, includes, conditionals, other macros.
    """
    text = "\n".join(header.read_text("utf-8") for header in _ordered(Path(folder)))
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"^#ifdef __cplusplus\n.*?^#endif\n", "", text, flags=re.M | re.S)
    text = _expand(text, _list_macros(text))
    text = text.replace("\\\n", " ")
    macros = []
    for name, value in re.findall(r"^#define (\w+) +(.+?) *$", text, re.M):
        value = value.strip("()").replace("INT64_MIN", _INT64_MIN)
        if re.fullmatch(r"-?\d+", value):
            macros.append(f"#define {name} {value}")
    text = re.sub(r"^#.*$", "", text, flags=re.M)
    text = re.sub(r"\bQDISP_API\b", "", text)
    text = re.sub(r"[ \t]+$", "", text, flags=re.M)
    text = re.sub(r"\n{2,}", "\n", text)
    return "/* Made from include/qdisp/*.h by _cdef.py. */\n" + "\n".join(macros) + "\n" + text.lstrip("\n")
