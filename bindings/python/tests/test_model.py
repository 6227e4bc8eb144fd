import json

import numpy as np
import pytest

import qdisp


def test_info(model, model_path):
    config = json.loads((model_path / "config.json").read_text("utf-8"))
    assert model.info.architecture == "bloom"
    assert model.info.n_vocab == config["vocab_size"] and model.info.n_layer == config["n_layer"]
    assert model.info.n_parameters == model.tensors()["n_parameters"].sum()


def test_forward_and_nll_agree(model, tokenizer):
    ids = tokenizer.encode("The sun rises in the east, and the children go to school.")
    logits = model.forward(ids)
    assert logits.shape == (ids.size, model.info.n_vocab) and logits.dtype == np.float32
    x = logits[:-1].astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    expected = np.log(np.exp(x).sum(axis=1)) - x[np.arange(ids.size - 1), ids[1:]]
    # the same f32 products, other block sizes, then a sum of n_vocab exponentials
    np.testing.assert_allclose(model.nll(ids), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(model.forward(list(ids)), logits)


def test_nll_of_many(model, tokenizer, texts):
    sequences = [tokenizer.encode(line) for line in texts["en"]]
    many = model.nll(sequences)
    assert [part.shape for part in many] == [(s.size - 1,) for s in sequences]
    # other batches give other block sizes in the matrix products
    np.testing.assert_allclose(many[3], model.nll(sequences[3]), rtol=1e-4, atol=1e-4)
    assert model.nll(sequences[0][:1]).shape == (0,)
    assert all(np.isfinite(part).all() for part in many)


@pytest.mark.parametrize("ids, error", [([], ValueError), ([[]], ValueError), ([[1], []], ValueError), ("a", TypeError),
                                        ([1.5], TypeError), ([-1], ValueError), ([2**40], ValueError)])
def test_bad_ids(model, ids, error):
    with pytest.raises(error):
        model.nll(ids)


def test_id_outside_the_vocabulary(model):
    with pytest.raises(qdisp.Error, match=str(model.info.n_vocab)) as error:
        model.forward([1, model.info.n_vocab])
    assert error.value.status == qdisp.Status.EINVAL and "QDISP_EINVAL" in str(error.value)


def test_tensors_are_views(model):
    name = model.tensors()["name"][0]
    a, b = model.tensor(name), model.tensor(name)
    assert np.shares_memory(a, b) and not a.flags.writeable
    assert a.size == model.tensors()["n_parameters"][0]
    with pytest.raises(KeyError, match="no tensor 'x'"):
        model.tensor("x")


def test_a_view_keeps_the_model(model_path, model):
    name = model.tensors()["name"][0]
    view = qdisp.Model(model_path).tensor(name)
    others = [qdisp.Model(model_path) for _ in range(5)]  # would take the freed memory
    np.testing.assert_array_equal(view, others[0].tensor(name))


def test_census_equals_kurtosis(model):
    census = model.census()
    for row, name in enumerate(census["tensor"]):
        if census["role"][row] not in ("attn.q", "attn.k", "attn.v"):
            # the census adds row by row, kurtosis in blocks of its own: short f32 sums, some 1e-7 of m4
            assert census["kurtosis"][row] == pytest.approx(qdisp.kurtosis(model.tensor(name)), rel=1e-5, abs=1e-5)


def from_arrays(model, model_path, change=lambda a: a):
    config = (model_path / "config.json").read_text("utf-8")
    return qdisp.Model.from_tensors(config, {name: change(model.tensor(name)) for name in model.tensors()["name"]})


def test_from_tensors_equals_open(model, model_path, tokenizer):
    ids = tokenizer.encode("A small test.")
    np.testing.assert_array_equal(from_arrays(model, model_path).forward(ids), model.forward(ids))
    copied = from_arrays(model, model_path, np.copy)  # the copies live only in the new model
    np.testing.assert_array_equal(copied.forward(ids), model.forward(ids))


def test_from_tensors_does_not_copy(model, model_path):
    name = model.tensors()["name"][0]
    assert np.shares_memory(from_arrays(model, model_path).tensor(name), model.tensor(name))


def test_from_tensors_in_bfloat16(model, model_path, tokenizer):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    a = from_arrays(model, model_path, lambda a: a.astype(ml_dtypes.bfloat16))
    b = from_arrays(model, model_path, lambda a: a.astype(ml_dtypes.bfloat16).view(np.uint16))
    ids = tokenizer.encode("A small test.")
    np.testing.assert_array_equal(a.forward(ids), b.forward(ids))
    name = model.tensors()["name"][0]
    assert a.tensor(name).dtype == np.uint16
    assert qdisp.kurtosis(a.tensor(name), dtype="bfloat16") == pytest.approx(qdisp.kurtosis(model.tensor(name)),
                                                                            rel=0.05)  # 8 bits of mantissa


def test_from_tensors_refuses(model, model_path):
    config = json.loads((model_path / "config.json").read_text("utf-8"))
    with pytest.raises(qdisp.Error) as error:
        qdisp.Model.from_tensors(config, {})
    assert error.value.status == qdisp.Status.EFORMAT
    with pytest.raises(TypeError, match="float64"):
        qdisp.Model.from_tensors(config, {"a": np.zeros(2)})
    with pytest.raises(TypeError, match="config"):
        qdisp.Model.from_tensors(3, {})


def test_no_such_model(tmp_path):
    with pytest.raises(qdisp.Error, match="nowhere") as error:
        qdisp.Model(tmp_path / "nowhere")
    assert error.value.status == qdisp.Status.ENOTFOUND


def test_save(model, tmp_path, tokenizer):
    model.save(tmp_path / "out")
    ids = tokenizer.encode("A small test.")
    np.testing.assert_array_equal(qdisp.Model(tmp_path / "out").forward(ids), model.forward(ids))
    with pytest.raises(qdisp.Error) as error:
        model.save(tmp_path / "out")
    assert error.value.status == qdisp.Status.EINVAL
