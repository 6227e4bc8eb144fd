import json

import numpy as np
import pytest

import qdisp


def test_quantizers():
    assert {"rtn", "aciq", "la-aciq"} <= set(qdisp.quantizers()["method"])


def test_calibration(model, calibration, tmp_path, tokenizer, corpus):
    table = calibration.describe()
    assert list(table["language"]) == corpus.languages
    assert (table["n_bytes"] > 0).all() and (table["n_tokens"] > 0).all()
    languages = calibration.languages()
    assert np.isfinite(languages["kurtosis_eff"]).all()
    calibration.save(tmp_path / "calibration.safetensors")
    again = qdisp.Calibration.open(tmp_path / "calibration.safetensors")
    np.testing.assert_array_equal(again.languages(model)["kurtosis_eff"], languages["kurtosis_eff"])
    with pytest.raises(ValueError, match="model"):
        again.collect(tokenizer, corpus)


def test_gradients(model, tokenizer, corpus):
    table = qdisp.Calibration(model).collect(tokenizer, corpus, gradients=True).describe()
    np.testing.assert_array_equal(table["n_gradients"], table["n_tokens"])


def test_allocate(model, calibration):
    quantizer = qdisp.Quantizer("rtn")
    plan, allocation = quantizer.allocate(model, calibration, bits_per_weight=4.5, bits=[2, 4, 8])
    assert set(plan["bits"]) <= {2, 4, 8} and allocation["bits_per_weight"][0] <= 4.5
    with pytest.raises(qdisp.Error, match="least possible"):
        quantizer.allocate(model, calibration, n_bytes=1)


def test_superweights(model):
    table = qdisp.superweights(model, n_candidates=2)
    assert len(table) == 2 and table["sigmas"][0] >= table["sigmas"][1]
    plan = qdisp.Quantizer("rtn", bits=3, keep=table).plan(model)
    kept = dict(zip(plan["tensor"], plan["keep"]))[table["tensor"][0]]
    assert f"{table['row'][0]}:{table['column'][0]}" in kept


def test_merge_adds(model, tokenizer, corpus):
    one = qdisp.Calibration(model).collect(tokenizer, corpus)
    two = qdisp.Calibration(model).collect(tokenizer, corpus).merge(one)
    np.testing.assert_array_equal(two.describe()["n_tokens"], 2 * one.describe()["n_tokens"])


def test_feed(model):
    plan = qdisp.Quantizer("rtn").plan(model)
    calibration = qdisp.Calibration(model)
    rng = np.random.default_rng(1)
    for i, tensor in enumerate(plan["tensor"]):
        for language in ("a", "b"):
            rows = rng.normal(size=(20, model.tensor(tensor).shape[1])).astype(np.float32)
            calibration.feed(language, tensor, rows, n_bytes=80 if i == 0 else 0)
    assert list(calibration.describe()["language"]) == ["a", "b"]
    assert len(qdisp.Quantizer("la-aciq", steps=2).plan(model, calibration)) == len(plan)
    with pytest.raises(qdisp.Error) as error:
        calibration.feed("a", "no such tensor", rows)
    assert error.value.status == qdisp.Status.ENOTFOUND
    with pytest.raises(qdisp.Error) as error:
        calibration.feed("a", tensor, rows[:, 1:])
    assert error.value.status == qdisp.Status.EINVAL
    rows[1, 2] = np.nan
    with pytest.raises(qdisp.Error, match="row 1, input 2"):
        calibration.feed("a", tensor, rows)
    with pytest.raises(TypeError, match="rows"):
        calibration.feed("a", tensor, np.zeros((2, 2), int))
    with pytest.raises(ValueError, match="rows"):
        calibration.feed("a", tensor, rows[0])


def test_matrix_of_a_host():
    rng = np.random.default_rng(3)
    w = rng.standard_t(4, size=(24, 100)).astype(np.float32)
    energy = np.where(np.arange(100) < 50, [[1.0], [0.01]], [[0.01], [1.0]])
    steps, scales = qdisp.Quantizer("rtn", 4, 32).matrix(w)
    assert steps.shape == (24 * 4,) and (steps == scales).all()
    absmax = np.abs(np.pad(w, ((0, 0), (0, 28))).reshape(24 * 4, 32)).max(1)
    np.testing.assert_array_equal(steps, (absmax / np.float32(7)).astype(np.float16).astype(np.float32))
    clipped, gained = qdisp.Quantizer("la-aciq", 4, 32).matrix(w, energy, [0.3, 0.4])
    assert (clipped <= steps).all() and (clipped < steps).any() and (gained >= clipped).all()
    with pytest.raises(qdisp.Error, match="la-aciq needs the energy"):
        qdisp.Quantizer("la-aciq").matrix(w)
    with pytest.raises(ValueError, match="energy"):
        qdisp.Quantizer("la-aciq").matrix(w, energy[:, 1:])
    with pytest.raises(ValueError, match="tokens_per_byte"):
        qdisp.Quantizer("la-aciq").matrix(w, energy, [1.0])
    with pytest.raises(ValueError, match="array"):
        qdisp.Quantizer("rtn").matrix(w[0])


@pytest.mark.parametrize("arguments, error", [
    (("no-such",), qdisp.Error), (("rtn", 9), ValueError), (("rtn", 4.0), TypeError), ((3,), TypeError),
    (("rtn", 4, 7), ValueError), (("rtn", 4, "row"), ValueError), (("rtn", 4, 64, None, []), ValueError),
    (("rtn", 4, 64, "wide"), qdisp.Error),
    (("rtn", 4, 64, None, "no.such"), qdisp.Error)])
def test_bad_quantizers(model, arguments, error):
    with pytest.raises(error):
        qdisp.Quantizer(*arguments).plan(model)


def test_la_aciq_needs_a_calibration(model):
    with pytest.raises(qdisp.Error) as error:
        qdisp.Quantizer("la-aciq").plan(model)
    assert error.value.status == qdisp.Status.EINVAL


def error_of(a, b):
    return float(((a - b) ** 2).sum() / (a**2).sum())


@pytest.mark.parametrize("group_size", [64, "channel", "tensor"])
def test_a_plan_says_its_error(model, group_size):
    plan = qdisp.Quantizer("rtn", 4, group_size).plan(model)
    quantized = qdisp.apply_plan(plan, model)
    name = plan["tensor"][0]
    a, b = model.tensor(name).astype(np.float64), quantized.tensor(name).astype(np.float64)
    assert plan["error_rel"][0] == pytest.approx(error_of(a, b), rel=1e-6)  # both are sums in f64
    shared = next(name for name in model.tensors()["name"] if name not in set(plan["tensor"]))
    assert np.shares_memory(model.tensor(shared), quantized.tensor(shared))


def test_an_edited_plan(model, tmp_path):
    plan = qdisp.Quantizer("rtn", 3).plan(model)
    bits = plan["bits"]
    plan.set(0, "bits", 8)
    assert bits[0] == 8 and bits[1] == 3  # the view shows the edit
    quantized = qdisp.apply_plan(plan, model)
    a, b = plan["tensor"][:2]

    def lost(name):
        return error_of(model.tensor(name).astype(np.float64), quantized.tensor(name).astype(np.float64))

    # a step 2^5 times finer, in squares 1024: 8 bits lose far less than a hundredth of 3 bits
    assert lost(a) < lost(b) / 100
    plan.to_csv(tmp_path / "plan.csv")
    again = qdisp.apply_plan(qdisp.Table.from_csv(tmp_path / "plan.csv"), model)
    np.testing.assert_array_equal(again.tensor(a), quantized.tensor(a))


@pytest.mark.parametrize("method, group_size", [("rtn", 64), ("aciq", "channel"), ("aciq", "tensor")])
def test_a_plan_survives_its_file(model, tmp_path, method, group_size):
    plan = qdisp.Quantizer(method, 4, group_size).plan(model)
    plan.to_csv(tmp_path / "plan.csv")
    a = qdisp.apply_plan(plan, model)
    b = qdisp.apply_plan(qdisp.Table.from_csv(tmp_path / "plan.csv"), model)
    for name in plan["tensor"]:
        np.testing.assert_array_equal(a.tensor(name), b.tensor(name))


def test_plans_that_cannot_be_applied(model):
    plan = qdisp.Quantizer("rtn").plan(model)
    plan.set(1, "bits", 40)
    with pytest.raises(qdisp.Error, match="bits") as error:
        qdisp.apply_plan(plan, model)
    assert error.value.status == qdisp.Status.EINVAL
    plan = qdisp.Quantizer("rtn").plan(model)
    plan.set(1, "tensor", "no such tensor")
    with pytest.raises(qdisp.Error, match="no such tensor") as error:
        qdisp.apply_plan(plan, model)
    assert error.value.status == qdisp.Status.EMISMATCH
    with pytest.raises(TypeError, match="Table"):
        qdisp.apply_plan(None, model)


def test_losses_and_compare(model, tokenizer, corpus, calibration):
    base = qdisp.losses(model, tokenizer, corpus)
    assert len(base) == 3 * 8 and (base["nll_nats"] > 0).all()
    plan = qdisp.Quantizer("la-aciq", 3, "channel", steps=2).plan(model, calibration)
    table = qdisp.compare(base, qdisp.losses(qdisp.apply_plan(plan, model), tokenizer, corpus), n_resamples=200)
    assert list(table["language"]) == corpus.languages
    assert (table["low_bpb"] <= table["loss_bpb"]).all() and (table["loss_bpb"] <= table["high_bpb"]).all()
    en = base["language"] == "en"
    bpb = base["nll_nats"][en].sum() / base["n_bytes"][en].sum() / np.log(2)
    assert table["baseline_bpb"][0] == pytest.approx(bpb, rel=1e-9)
    with pytest.raises(qdisp.Error):
        qdisp.compare(base, qdisp.losses(model, tokenizer, corpus.split()[0]))


def test_diagnose(model, model_path, tokenizer, corpus, texts):
    report = qdisp.diagnose(model, tokenizer, corpus, methods=["rtn", "la-aciq"], bits=[4, 3], n_resamples=200)
    assert set(report) >= {"languages", "losses", "quantizers", "prediction"}
    assert list(report["languages"]["language"]) == ["en", "ru", "hi"]
    assert len(report["losses"]) == 3 * 4 and len(report["quantizers"]) == 4
    assert np.isfinite(report["losses"]["loss_bpb"]).all()
    data = json.loads(report.to_json())
    assert set(report) == set(data["tables"])
    again = qdisp.diagnose(model_path, None, texts, methods="rtn,la-aciq", bits="4,3", n_resamples=200)
    np.testing.assert_array_equal(again["losses"]["loss_bpb"], report["losses"]["loss_bpb"])


def test_bad_diagnoses(model, tokenizer, corpus):
    with pytest.raises(ValueError, match="tokenizer"):
        qdisp.diagnose(model, None, corpus)
    with pytest.raises(ValueError, match="calibration_share"):
        qdisp.diagnose(model, tokenizer, corpus, calibration_share=1)
    with pytest.raises(TypeError, match="corpus"):
        qdisp.diagnose(model, tokenizer, 3)
    with pytest.raises(qdisp.Error, match="9"):
        qdisp.diagnose(model, tokenizer, corpus, bits=[9])


def test_gptq_by_languages(model, tokenizer, corpus):
    quantizer = qdisp.Quantizer("gptq", bits=2, group_size=16)
    with pytest.raises(qdisp.Error, match="text"):
        qdisp.apply_plan(quantizer.plan(model), model)
    plan, steps = quantizer.fair(model, tokenizer, corpus, objective="worst", steps=1)
    weights, losses = steps["weight"], steps["loss_bpb"]
    n = len(weights) // 2
    assert list(steps["step"]) == [0] * n + [1] * n
    assert np.allclose([weights[:n].sum(), weights[n:].sum()], 1)
    best = int(np.argmin([losses[:n].max(), losses[n:].max()]))
    first = plan["weights"][0].split(",")[0]
    assert first == f"{steps['language'][0]}:{weights[best * n]:.6f}"
    quantized = qdisp.apply_plan(plan, model, tokenizer=tokenizer, corpus=corpus, max_tokens=200)
    assert np.isfinite(qdisp.losses(quantized, tokenizer, corpus)["nll_nats"]).all()


def test_write_plan(tmp_path, model):
    plan = qdisp.Quantizer("rtn", bits=4).plan(model)
    assert "folder" in set(qdisp.packers()["format"])
    qdisp.write_plan(plan, model, tmp_path / "out", "folder")
    written, applied = qdisp.Model(tmp_path / "out"), qdisp.apply_plan(plan, model)
    ids = [5, 6, 7, 8]
    np.testing.assert_array_equal(written.forward(ids), applied.forward(ids))
    with pytest.raises(qdisp.Error, match="folder"):
        qdisp.write_plan(plan, model, tmp_path / "other", "parchment")
    with pytest.raises(TypeError, match="corpus"):
        qdisp.apply_plan(plan, model, corpus="text")
