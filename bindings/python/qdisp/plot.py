"""Plots, by Altair (pip install 'qdisp[plot]'); charts are drawn offline and saved by chart.save("name.svg")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._table import Table

try:
    import altair
except ImportError as error:  # the package works without it
    raise ImportError("qdisp.plot needs Altair: pip install 'qdisp[plot]'") from error


def _columns(data: Table | Mapping[str, Any], needed: list[str]) -> dict[str, list]:
    if isinstance(data, Table):
        data = data.to_dict()
    missing = [name for name in needed if name not in data]
    if missing:
        raise ValueError(f"data: no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, data))}")
    columns = {name: np.asarray(values).tolist() for name, values in data.items()}
    if len({len(values) for values in columns.values()}) > 1:
        raise ValueError("data: columns of unlike lengths")
    return columns


def losses(data: Table | Mapping[str, Any], color: str = "method", row: str | None = None, title: str = "",
           order: list | None = None) -> Any:
    """What a quantization costs each language: a point a row with its interval, languages from the worst down.

    Args:
        data: a Table, or a dict of columns: language, loss_bpb, low_bpb, high_bpb and those that are named below; the
            table "losses" of a diagnosis is one.
        color: the column that colours tell apart.
        row: the column that makes a panel a value, None: one panel.
        title: of the chart.
        order: values of color from first to last; None: as they come.

    Returns an altair.Chart. Errors: ValueError (a column that is not there).
    """
    needed = ["language", "loss_bpb", "low_bpb", "high_bpb", color] + ([row] if row else [])
    columns = _columns(data, needed)
    values = [dict(zip(needed, cells)) for cells in zip(*(columns[name] for name in needed))]
    sums: dict[str, float] = {}
    for value in values:
        sums[value["language"]] = sums.get(value["language"], 0) + value["loss_bpb"]
    hues = order if order is not None else list(dict.fromkeys(columns[color]))
    base = altair.Chart(altair.Data(values=values)).encode(
        y=altair.Y("language:N", sort=sorted(sums, key=lambda tag: -sums[tag]), title=None),
        color=altair.Color(f"{color}:N", sort=hues, title=color, scale=altair.Scale(scheme="tableau10", domain=hues)))
    bars = base.mark_rule(opacity=0.5).encode(x=altair.X("low_bpb:Q", title="loss, bits per byte"), x2="high_bpb:Q")
    points = base.mark_point(filled=True, size=45, opacity=1).encode(x="loss_bpb:Q")
    chart = altair.layer(bars, points).properties(width=420, title=title)
    return chart.facet(row=altair.Row(f"{row}:N", title=None)).resolve_scale(x="independent") if row else chart
