import csv
import io
import json
import sys

import numpy as np
import pytest

import qdisp


@pytest.fixture()
def plan(model):
    return qdisp.Quantizer("rtn").plan(model)


def test_columns(plan):
    assert {"tensor", "bits", "alpha", "clip"} <= set(plan.columns) and "bits" in plan
    assert list(plan.units) == plan.columns
    assert plan["bits"].dtype == np.int64 and plan["error_rel"].dtype == np.float64
    assert plan["tensor"].dtype == object and isinstance(plan["tensor"][0], str)
    assert all(column.shape == (len(plan),) for column in plan.to_dict().values())
    with pytest.raises(KeyError, match="no column 'x'"):
        plan["x"]
    with pytest.raises(TypeError, match="column"):
        plan[0]


def test_numbers_are_views(plan):
    a, b = plan["bits"], plan["bits"]
    assert np.shares_memory(a, b) and not a.flags.writeable


def test_a_view_keeps_the_table(model):
    column = qdisp.Quantizer("rtn", 5).plan(model)["bits"]
    others = [qdisp.Quantizer("rtn", 4).plan(model) for _ in range(5)]  # would take the freed memory
    assert (column == 5).all() and others


def test_set(plan):
    plan.set(0, "alpha", 1)
    plan.set(1, "alpha", None)
    plan.set(0, "note", "edited")
    plan.set(1, "note", None)
    plan.set(1, "layer", None)
    assert plan["alpha"][0] == 1 and np.isnan(plan["alpha"][1])
    assert list(plan["note"][:2]) == ["edited", None] and plan["layer"][1] == plan.MISSING
    for row, column, value, error in [(len(plan), "bits", 1, IndexError), (-1, "bits", 1, IndexError),
                                      (0, "no", 1, KeyError), (0, "bits", 1.5, TypeError), (0, "note", 1, TypeError),
                                      (0, "alpha", "1", TypeError), (0, "note", "a\0b", ValueError)]:
        with pytest.raises(error):
            plan.set(row, column, value)


def test_writers(plan, tmp_path):
    rows = list(csv.DictReader(io.StringIO(plan.to_csv())))
    assert [row["tensor"] for row in rows] == list(plan["tensor"])
    assert [float(row["error_rel"]) for row in rows] == list(plan["error_rel"])
    assert json.loads(plan.to_json())
    assert "| tensor" in plan.to_markdown() and plan._repr_markdown_() == plan.to_markdown()
    assert "tensor" in str(plan) and repr(plan) == f"<Table plan: {len(plan)} rows, {len(plan.columns)} columns>"
    for format in ("csv", "json", "markdown"):
        path = tmp_path / f"plan.{format}"
        assert getattr(plan, f"to_{format}")(path) is None
        assert path.read_text("utf-8") == getattr(plan, f"to_{format}")()
    with pytest.raises(qdisp.Error, match="nowhere"):
        plan.to_csv(tmp_path / "nowhere" / "plan.csv")


def test_from_csv(plan, tmp_path):
    plan.to_csv(tmp_path / "plan.csv")
    again = qdisp.Table.from_csv(tmp_path / "plan.csv")
    assert again.columns == plan.columns
    np.testing.assert_array_equal(again["error_rel"], plan["error_rel"])
    (tmp_path / "bad.csv").write_text('a,b\n1\n')
    with pytest.raises(qdisp.Error) as error:
        qdisp.Table.from_csv(tmp_path / "bad.csv")
    assert error.value.status == qdisp.Status.EFORMAT


def test_pandas(plan):
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = plan.to_pandas()
    assert list(frame.columns) == plan.columns and list(frame["bits"]) == list(plan["bits"])
    assert frame.attrs["units"] == plan.units


def test_without_pandas(plan, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        plan.to_pandas()


@pytest.fixture(scope="module")
def report(model, tokenizer, corpus):
    return qdisp.diagnose(model, tokenizer, corpus, methods="rtn", bits=4, n_resamples=100)


def test_report(report, tmp_path):
    assert len(report) == len(list(report)) and report.name == "diagnosis"
    assert all(table.name == name and table.title for name, table in report.items())
    assert "no" not in report
    report.to_json(tmp_path / "report.json")
    assert (tmp_path / "report.json").read_text("utf-8") == report.to_json()
    assert "languages" in repr(report) and str(report) and report.to_markdown() and report.to_csv()
    with pytest.raises(ValueError, match="report"):
        report["losses"].set(0, "language", "xx")
    with pytest.raises(KeyError, match="no table 'no'"):
        report["no"]


def test_a_table_keeps_its_report(model, tokenizer, corpus):
    column = qdisp.diagnose(model, tokenizer, corpus, methods="rtn", bits=4, n_resamples=100)["losses"]["loss_bpb"]
    assert np.isfinite(column).all()
