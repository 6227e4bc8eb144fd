import math

import numpy as np
import pytest

import qdisp


def test_numbers(tokenizer, model_path, corpus):
    report = qdisp.fertility({"a": tokenizer, "b": model_path}, corpus)
    rows, texts = report["fertility"], report["texts"]
    assert list(rows["tokenizer"]) == ["a"] * 3 + ["b"] * 3 and list(rows["language"]) == ["en", "ru", "hi"] * 2
    n_tokens = [sum(len(tokenizer.encode(line)) for line in corpus.lines(tag)) for tag in corpus.languages]
    assert list(rows["n_tokens"][:3]) == n_tokens
    np.testing.assert_allclose(rows["premium.ratio"][:3], np.array(n_tokens) / n_tokens[0])
    assert (rows["premium.low"] <= rows["premium.ratio"]).all()
    assert (rows["premium.ratio"] <= rows["premium.high"]).all()
    assert list(texts["n_codepoints"]) == [sum(map(len, corpus.lines(tag))) for tag in corpus.languages]
    assert report["tokenizers"]["premium.worst"][0] == rows["premium.ratio"].max()


def test_pivot_and_missing_values(tokenizer):
    corpus = {"fr": "un\ndeux\ntrois\n", "th": "หนึ่ง\nสอง\nสาม\n"}
    report = qdisp.fertility({"t": tokenizer}, corpus)
    assert np.isnan(report["fertility"]["premium.ratio"]).all()
    rows = qdisp.fertility({"t": tokenizer}, corpus, pivot="fr", n_resamples=100, seed=3)["fertility"]
    assert rows["premium.ratio"][0] == 1 and rows["premium.ratio"][1] > 1
    assert math.isnan(rows["share.whole_words"][1]) and rows["share.whole_words"][0] >= 0


def test_errors(tokenizer, corpus):
    with pytest.raises(qdisp.Error) as error:
        qdisp.fertility({"t": tokenizer}, corpus, pivot="xx")
    assert error.value.status == qdisp.Status.EINVAL and "xx" in error.value.message
    for wrong in ([tokenizer], "t", {"t": 3}):
        with pytest.raises(TypeError):
            qdisp.fertility(wrong, corpus)
    with pytest.raises(ValueError):
        qdisp.fertility({}, corpus)
    with pytest.raises(ValueError):
        qdisp.fertility({"t": tokenizer}, corpus, seed=-1)
