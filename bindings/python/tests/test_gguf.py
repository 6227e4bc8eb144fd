import json

import numpy as np
import pytest

import qdisp


def test_imatrix_there_and_back(model, calibration, tmp_path):
    for legacy in (False, True):
        qdisp.save_imatrix(calibration, tmp_path / "im", merge="sentence", legacy=legacy)
        back = qdisp.open_imatrix(model, tmp_path / "im", "mul")
        assert list(back.describe()["language"]) == ["mul"]
        qdisp.save_imatrix(back, tmp_path / "again", legacy=legacy)
        assert np.isfinite(back.languages()["kurtosis_eff"]).all()
    qdisp.save_imatrix(calibration, tmp_path / "im", weights={"en": 1, "hi": 3.5})
    assert (tmp_path / "im").read_bytes()[:4] == b"GGUF"
    with pytest.raises(qdisp.Error, match="no language 'xx'"):
        qdisp.save_imatrix(calibration, tmp_path / "im", weights={"xx": 1})
    with pytest.raises(qdisp.Error) as error:
        qdisp.open_imatrix(model, tmp_path / "nothing")
    assert error.value.status == qdisp.Status.ENOTFOUND


def test_overrides(model):
    plan = qdisp.Quantizer("rtn", bits=3).plan(model)
    lines = qdisp.plan_overrides(plan, model, "llama-quantize").split()
    assert len(lines) == len(plan) and lines[0].startswith("^blk\\.0\\.") and lines[0].endswith("$=q3_K")
    assert len(json.loads(qdisp.plan_overrides(plan, model, "auto-round"))) == len(plan)
    with pytest.raises(qdisp.Error, match="gptqmodel"):
        qdisp.plan_overrides(plan, model, "bitsandbytes")


def test_blocks(model, calibration, tmp_path):
    plan = qdisp.Quantizer("imatrix", type="q4_0").plan(model, calibration)
    assert set(plan["type"]) == {"q4_0"} and (plan["bits_per_weight"] == 4.5).all()
    quantized = qdisp.apply_plan(plan, model, calibration)
    name = plan["tensor"][0]
    before, after = model.tensor(name), quantized.tensor(name)
    assert 0 < np.square(before - after).sum() < 0.02 * np.square(before).sum()
    with pytest.raises(qdisp.Error, match="pre_tokenizer"):  # GGUF names pre-tokenizers, and this one has no name
        qdisp.write_plan(plan, model, tmp_path / "q.gguf", "gguf", calibration)
    assert not (tmp_path / "q.gguf").exists()
