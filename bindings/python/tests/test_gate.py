"""The gate, and quantized activations."""

import xml.etree.ElementTree as xml

import pytest

import qdisp


@pytest.fixture(scope="module")
def losses(model, tokenizer, corpus):
    return qdisp.losses(model, tokenizer, corpus)


def quantized(model, bits, group="channel"):
    return qdisp.apply_plan(qdisp.Quantizer("rtn", bits, group).plan(model), model)


def test_verdicts(model, tokenizer, corpus, losses):
    close = qdisp.losses(quantized(model, 8), tokenizer, corpus)
    far = qdisp.losses(quantized(model, 2, "tensor"), tokenizer, corpus)
    for other, verdict, n_failures in ((close, "pass", 0), (far, "fail", 3)):
        report = qdisp.gate(losses, other, 0.1)
        assert list(report["verdict"]["verdict"]) == [verdict]
        assert len(report["languages"]) == 3
        suites = xml.fromstring(report.to_junit().encode())
        assert sum(int(suite.get("failures")) for suite in suites.iter("testsuite")) >= n_failures
    with pytest.raises(qdisp.Error, match="margin_bpb"):
        qdisp.gate(losses, close, 0)
    with pytest.raises(TypeError):
        qdisp.gate(losses, "close", 1)


def test_activations(model, tokenizer, corpus, losses):
    thresholds = qdisp.activations(model, tokenizer, corpus, bits=6)
    assert set(thresholds["language"]) == {"en", "ru", "hi", "*"}
    own = qdisp.compare(losses, qdisp.losses_with(model, tokenizer, corpus, thresholds))
    shared = qdisp.compare(losses, qdisp.losses_with(model, tokenizer, corpus, thresholds, shared=True))
    assert all(abs(own["loss_bpb"]) < 1) and any(own["loss_bpb"] != shared["loss_bpb"])


def test_smoothquant(model, tokenizer, corpus, calibration):
    plan = qdisp.Quantizer("smoothquant", 8, "channel").plan(model, calibration)
    thresholds = qdisp.activations(model, tokenizer, corpus, plan=plan)
    smoothed = qdisp.apply_plan(plan, model)
    assert len(qdisp.losses_with(smoothed, tokenizer, corpus, thresholds, plan)) == 24
