"""Tables and reports: what every analysis returns."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ._arrays import view
from ._lib import Context, DType, c_path, c_string, context, ffi, lib, text, whole


def _write(ctx: Context, name: str, handle: Any, format: str) -> str:
    parts: list[bytes] = []

    @ffi.callback("int(void *, const char *, size_t)", error=1)
    def sink(_user: Any, data: Any, n_bytes: int) -> int:
        parts.append(ffi.buffer(data, n_bytes)[:])
        return 0

    ctx.call(name, handle, c_string(format, "format"), sink, ffi.NULL)
    return b"".join(parts).decode("utf-8")


class _Writers:
    """str(), and to_FORMAT(path=None): text, or a file written beside its place and renamed."""

    _noun: str
    _ctx: Context
    _handle: Any

    def _to(self, format: str, path: str | os.PathLike | None) -> str | None:
        if path is None:
            return _write(self._ctx, f"qdisp_{self._noun}_write", self._handle, format)
        self._ctx.call(f"qdisp_{self._noun}_save", self._handle, c_path(path), c_string(format, "format"))
        return None

    def to_csv(self, path: str | os.PathLike | None = None) -> str | None:
        """CSV in full precision (RFC 4180): returned, or written to `path`. Errors: Error (EIO)."""
        return self._to("csv", path)

    def to_json(self, path: str | os.PathLike | None = None) -> str | None:
        """JSON: returned, or written to `path`. Errors: Error (EIO)."""
        return self._to("json", path)

    def to_markdown(self, path: str | os.PathLike | None = None) -> str | None:
        """Markdown: returned, or written to `path`. Errors: Error (EIO)."""
        return self._to("markdown", path)

    def to_junit(self, path: str | os.PathLike | None = None) -> str | None:
        """JUnit XML of tables with a column "verdict" (`gate`): returned, or written to `path`. Errors: Error (EIO)."""
        return self._to("junit", path)

    def __str__(self) -> str:
        return self._to("text", None)

    def _repr_markdown_(self) -> str:
        return self._to("markdown", None)


class Table(_Writers):
    """Named columns of numbers and text, each with a unit. len() is the number of rows.

    t["column"] is a numpy array: float64 and int64 columns are read-only views of the library's memory, which live as
    long as anyone holds them and show what `set` changes; text columns are new arrays of str, None where missing. A
    missing number is NaN, or Table.MISSING in an int64 column.
    """

    _noun = "table"
    MISSING = lib.QDISP_MISSING_I64

    def __init__(self, ctx: Context, handle: Any, owner: Any = None):
        self._ctx, self._handle = ctx, handle
        self._owner = owner  # of a report's table, which is read-only

    @classmethod
    def from_csv(cls, path: str | os.PathLike, name: str = "plan") -> Table:
        """Reads a table that to_csv wrote; a column without any value comes back as text.

        Errors: Error (ENOTFOUND, EIO, EFORMAT with line and column, EENCODING).
        """
        ctx = context()
        return cls(ctx, *ctx.call("qdisp_table_open_csv", ctx.handle, c_path(path), c_string(name, "name")))

    @property
    def name(self) -> str:
        """Short identifier, such as "census"."""
        return text(lib.qdisp_table_name(self._handle))

    @property
    def title(self) -> str:
        """One line for people."""
        return text(lib.qdisp_table_title(self._handle))

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [text(lib.qdisp_table_column_name(self._handle, i))
                for i in range(lib.qdisp_table_n_columns(self._handle))]

    @property
    def units(self) -> dict[str, str]:
        """Unit of every column, "" where it has none."""
        return {name: text(lib.qdisp_table_column_unit(self._handle, i)) for i, name in enumerate(self.columns)}

    def _find(self, column: str) -> int:
        if not isinstance(column, str):
            raise TypeError(f"column: a str is needed, not {type(column).__name__}")
        i_column = lib.qdisp_table_find(self._handle, c_string(column, "column"))
        if i_column >= lib.qdisp_table_n_columns(self._handle):
            raise KeyError(f"table {self.name} has no column {column!r}; it has {', '.join(self.columns)}")
        return i_column

    def __getitem__(self, column: str) -> np.ndarray:
        i_column, n = self._find(column), len(self)
        kind = lib.qdisp_table_column_type(self._handle, i_column)
        if kind == lib.QDISP_COLUMN_F64:
            return view(lib.qdisp_table_f64(self._handle, i_column), (n,), DType.F64, self)
        if kind == lib.QDISP_COLUMN_I64:
            return view(lib.qdisp_table_i64(self._handle, i_column), (n,), DType.I64, self)
        values = lib.qdisp_table_str(self._handle, i_column)
        column_array = np.empty(n, object)
        column_array[:] = [text(values[i]) for i in range(n)]
        return column_array

    def set(self, row: int, column: str, value: Any) -> None:
        """Sets one value; None makes it missing.

        Args:
            row: 0..len - 1.
            column: its name.
            value: a number for numbers (whole for int64), str for text.

        Errors: IndexError, KeyError, TypeError; ValueError for a table of a report, which cannot be changed.
        """
        if self._owner is not None:
            raise ValueError(f"table {self.name} belongs to a report, and cannot be changed")
        i_column = self._find(column)
        if not 0 <= whole(row, "row", -(2**63)) < len(self):
            raise IndexError(f"row: {row} is outside 0..{len(self) - 1}")
        kind = lib.qdisp_table_column_type(self._handle, i_column)
        if kind == lib.QDISP_COLUMN_STR:
            name, c_value = "str", c_string(value, column)
        elif kind == lib.QDISP_COLUMN_I64:
            name, c_value = "i64", self.MISSING if value is None else whole(value, column, -(2**63))
        else:
            name, c_value = "f64", float("nan") if value is None else self._number(value, column)
        self._ctx.call(f"qdisp_table_set_{name}", self._handle, row, i_column, c_value)

    @staticmethod
    def _number(value: Any, column: str) -> float:
        if isinstance(value, (str, bytes, bool)):
            raise TypeError(f"{column}: a number is needed, not {type(value).__name__}")
        return float(value)

    def to_dict(self) -> dict[str, np.ndarray]:
        """The columns as arrays, as t["column"] returns them."""
        return {name: self[name] for name in self.columns}

    def to_pandas(self) -> Any:
        """A pandas.DataFrame, its units in df.attrs["units"]. Errors: ImportError without pandas."""
        try:
            import pandas
        except ImportError:
            raise ImportError("to_pandas needs pandas: pip install pandas (or qdisp[pandas])") from None
        frame = pandas.DataFrame(self.to_dict())
        frame.attrs["units"] = self.units
        return frame

    def __len__(self) -> int:
        return lib.qdisp_table_n_rows(self._handle)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __contains__(self, column: object) -> bool:
        return column in self.columns

    def __repr__(self) -> str:
        return f"<Table {self.name}: {len(self)} rows, {len(self.columns)} columns>"


class Report(_Writers, Mapping):
    """An ordered mapping of names to tables."""

    _noun = "report"

    def __init__(self, ctx: Context, handle: Any):
        self._ctx, self._handle = ctx, handle

    @property
    def name(self) -> str:
        """Short identifier, such as "diagnosis"."""
        return text(lib.qdisp_report_name(self._handle))

    def __getitem__(self, name: str) -> Table:
        handle = lib.qdisp_report_find(self._handle, c_string(name, "name"))
        if handle == ffi.NULL:
            raise KeyError(f"report {self.name} has no table {name!r}; it has {', '.join(self)}")
        return Table(self._ctx, ffi.cast("qdisp_table *", handle), self)

    def __iter__(self) -> Iterator[str]:
        for i_table in range(len(self)):
            yield text(lib.qdisp_table_name(lib.qdisp_report_table(self._handle, i_table)))

    def __len__(self) -> int:
        return lib.qdisp_report_n_tables(self._handle)

    def __repr__(self) -> str:
        return f"<Report {self.name}: {', '.join(self)}>"
