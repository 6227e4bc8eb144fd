"""Charts: what they show, and what they refuse."""

import pytest

import qdisp

plot = pytest.importorskip("qdisp.plot", reason="Altair is absent", exc_type=ImportError)

ROWS = {"language": ["de", "sw", "de", "sw"], "method": ["rtn", "rtn", "gptq", "gptq"], "bits": [4, 4, 4, 4],
        "loss_bpb": [0.1, 0.4, 0.05, 0.1], "low_bpb": [0.0, 0.3, 0.04, 0.0], "high_bpb": [0.2, 0.5, 0.06, 0.2]}


def test_languages_stand_from_the_worst_down():
    chart = plot.losses(ROWS, title="t").to_dict()
    assert chart["title"] == "t"
    bars, points = chart["layer"]
    assert points["encoding"]["y"]["sort"] == ["sw", "de"]
    assert points["encoding"]["color"]["scale"]["domain"] == ["rtn", "gptq"]
    assert bars["encoding"]["x"]["field"] == "low_bpb" and bars["encoding"]["x2"]["field"] == "high_bpb"
    data = chart["data"]["values"]
    assert len(data) == 4 and data[3]["loss_bpb"] == 0.1 and "bits" not in data[3]


def test_panels():
    chart = plot.losses(ROWS, row="bits").to_dict()
    assert chart["facet"]["row"]["field"] == "bits"


def test_of_a_diagnosis(model, corpus, tokenizer):
    report = qdisp.diagnose(model, tokenizer, corpus, methods="rtn", bits=3, n_resamples=200)
    chart = plot.losses(report["losses"]).to_dict()
    assert len(chart["data"]["values"]) == len(report["losses"])


def test_svg(tmp_path):
    pytest.importorskip("vl_convert", reason="vl-convert is absent")
    path = tmp_path / "losses.svg"
    plot.losses(ROWS).save(path)
    assert path.read_text().startswith("<svg")


@pytest.mark.parametrize("column", ["language", "high_bpb", "method"])
def test_missing_column(column):
    with pytest.raises(ValueError, match=column):
        plot.losses({name: values for name, values in ROWS.items() if name != column})


def test_unlike_lengths():
    with pytest.raises(ValueError, match="lengths"):
        plot.losses({**ROWS, "bits": [4]})
