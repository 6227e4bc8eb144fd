"""Every architecture against transformers (test/golden/make_archs.py), by what Python users call; taps; gradients."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

import qdisp

ARCH = Path(__file__).resolve().parents[3] / "test" / "golden" / "arch"
NAMES = sorted(path.name for path in ARCH.iterdir())
TYPES = {"F32": "<f4", "I32": "<i4"}
TOLERANCE = 1e-4  # of the largest number: other sums of the same f32 products


def read_golden(name):
    data = (ARCH / name / "golden.safetensors").read_bytes()
    n_header, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + n_header])
    header.pop("__metadata__")
    return {key: np.frombuffer(data[8 + n_header:][slice(*value["data_offsets"])], TYPES[value["dtype"]])
            .reshape(value["shape"]) for key, value in header.items()}


class Case:
    def __init__(self, name):
        self.model, self.golden = qdisp.Model(ARCH / name), read_golden(name)
        self.kind = self.model.info.kind
        parts = [self.golden["ids"][a:b] for a, b in zip(self.golden["starts"], self.golden["starts"][1:])]
        self.sources, self.ids = None, parts
        if self.kind == qdisp.ModelKind.ENCODER_DECODER:
            starts = self.golden["target_starts"]
            self.sources = parts
            self.ids = [self.golden["target_ids"][a:b] for a, b in zip(starts, starts[1:])]
        self.mask_id = int(self.golden["mask_id"][0]) if "mask_id" in self.golden else None

    def source(self, i):
        return None if self.sources is None else self.sources[i]


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    return Case(request.param)


def close(got, expected, tolerance=TOLERANCE):
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max()


def test_logits(case):
    for i, ids in enumerate(case.ids):
        begin = sum(len(part) for part in case.ids[:i])
        close(case.model.forward(ids, case.source(i)), case.golden["logits"][begin:begin + len(ids)])


def test_nll(case):
    got = case.model.nll(case.ids, case.sources, case.mask_id)
    expected = case.golden["nll"]
    if case.kind == qdisp.ModelKind.DECODER:
        expected = expected[~np.isnan(expected)]
    got = np.concatenate(got)
    assert got.shape == expected.shape and np.isfinite(got).all()
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)
    alone = case.model.nll(case.ids[1], case.source(1), case.mask_id)
    first = 1 if case.kind == qdisp.ModelKind.DECODER else 0
    np.testing.assert_allclose(alone, np.concatenate(case.model.run(case.ids, case.sources, case.mask_id).nll)
                               [len(case.ids[0]) + first:][:alone.size], rtol=1e-3, atol=1e-4)


def test_hidden_states(case):
    pairs = [(case.model.hidden(case.ids[i], case.source(i))) for i in (0, 1)]
    if case.sources is None:
        close(np.concatenate(pairs, axis=1), case.golden["hidden"])
        return
    close(np.concatenate([h.encoder for h in pairs], axis=1), case.golden["hidden"])
    close(np.concatenate([h.decoder for h in pairs], axis=1), case.golden["decoder_hidden"])


def test_attentions(case):
    got = case.model.attentions(case.ids[1], case.source(1))
    if case.sources is None:
        close(got, case.golden["attention"])
        return
    close(got.encoder, case.golden["attention"])
    close(got.decoder, case.golden["decoder_attention"])
    close(got.cross, case.golden["cross_attention"])


def signs(n, k):
    """s_k(j) of make_archs.py."""
    z = (np.arange(n, dtype=np.uint64) + np.uint64(k << 32)) + np.uint64(0x9e3779b97f4a7c15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xbf58476d1ce4e5b9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94d049bb133111eb)
    return 1.0 - 2.0 * ((z ^ (z >> np.uint64(31))) >> np.uint64(63)).astype(np.float64)


def test_gradients(case):
    golden = {key[5:]: value for key, value in case.golden.items() if key.startswith("grad.")}
    ids, sources, targets = case.ids[1:3], case.sources and case.sources[1:3], None
    if case.kind == qdisp.ModelKind.MASKED:
        hidden = [np.arange(len(s)) % 3 == 1 for s in ids]
        targets = [np.where(h, s, -1) for h, s in zip(hidden, ids)]
        ids = [np.where(h, case.mask_id, s) for h, s in zip(hidden, ids)]
    squares = {}

    def tap(a):
        first = a.first_column
        sums = squares.setdefault(a.linear, {})
        sums[first] = sums.get(first, 0) + (a.data.astype(np.float64) ** 2).sum(axis=0)

    grads = case.model.grads(ids, sources, targets, tap=tap, sites="linear_grad")
    assert list(grads) == case.model.linears()
    n_seen = 0
    for name, expected in golden.items():
        if name not in grads:
            continue  # a part of what is one map here: experts that a file stores together
        g = grads[name].astype(np.float64)
        n_out, n_in = g.shape
        assert expected.size == n_in + 2 * n_out + 1
        n_seen += 1
        columns, rows, outputs = np.split(expected[:-1], [n_in, n_in + n_out])
        close(signs(n_out, 0) @ g, columns, 1e-3)
        close(g @ signs(n_in, 1), rows, 1e-3)
        close(np.concatenate([squares[name][first] for first in sorted(squares[name])]), outputs, 2e-3)
        assert np.linalg.norm(g) == pytest.approx(expected[-1], rel=1e-3)
    assert n_seen >= len(golden) // 2


def test_gradients_of_some(case):
    names = case.model.linears()
    if case.kind == qdisp.ModelKind.MASKED:
        with pytest.raises(qdisp.Error) as error:
            case.model.grads(case.ids[1])
        assert error.value.status == qdisp.Status.EINVAL
        return
    assert list(case.model.grads(case.ids[1], case.source(1), only=names[2])) == [names[2]]
    with pytest.raises(KeyError, match="no linear map 'x'"):
        case.model.grads(case.ids[1], case.source(1), only=["x"])


def test_tensors_are_read(case):
    table = case.model.tensors()
    for name, shape in zip(table["name"], table["shape"]):
        values = case.model.read(name)
        assert list(values.shape) == json.loads(shape) and values.dtype == np.float32
        if values.ndim == 2:
            np.testing.assert_array_equal(case.model.read(name, slice(1, 3)), values[1:3])
    with pytest.raises(KeyError):
        case.model.read("x")


def test_census_names_experts():
    model = qdisp.Model(ARCH / "qwen3_moe")
    experts = {int(e) for e in model.census()["expert"] if e >= 0}
    assert experts == set(range(model.info.n_expert))


# ---- taps ----

@pytest.fixture(scope="module")
def gpt2():
    return Case("gpt2")


def test_a_tap_that_changes_nothing(gpt2):
    seen = {}

    def tap(a):
        seen.setdefault(a.site, []).append((a.layer, a.linear, a.head, a.data.shape, a.encoder, a.rows.tolist()))

    ids = gpt2.ids[1]
    run = gpt2.model.run(ids, logits=True, tap=tap, sites=qdisp.SITES)
    np.testing.assert_array_equal(run.logits, gpt2.model.forward(ids))
    info = gpt2.model.info
    assert [layer for layer, *_ in seen["residual"]] == [-1, 0, 1]
    assert sorted((layer, head) for layer, _, head, *_ in seen["probs"]) == [(i, h) for i in (0, 1) for h in range(4)]
    assert [linear for _, linear, *_ in seen["linear_in"]] == gpt2.model.linears()
    assert all(shape == (17, info.n_embd) and rows == list(range(17)) and not encoder
               for _, _, _, shape, encoder, rows in seen["residual"])


def test_a_head_is_ablated():
    """Zeroing a head's output is the same as zeroing its columns of the map behind it."""
    case, layer = Case("llama"), 1
    model, ids = case.model, case.ids[1]
    columns = slice(2 * model.info.head_dim, 3 * model.info.head_dim)

    def ablate(a):
        if a.layer == layer:
            a.data[:, columns] = 0

    got = model.run(ids, logits=True, nll=False, tap=ablate, sites="heads").logits
    tensors = {name: model.read(name) for name in model.tensors()["name"]}
    tensors[f"model.layers.{layer}.self_attn.o_proj.weight"][:, columns] = 0
    config = (ARCH / "llama" / "config.json").read_text("utf-8")
    close(got, qdisp.Model.from_tensors(config, tensors).forward(ids))
    assert np.abs(got - model.forward(ids)).max() > 1e-3


def test_patching_the_residual_stream(gpt2):
    """What one text's last layer leaves, put into another's run, gives the first one's logits."""
    a, b = gpt2.ids[1], np.roll(gpt2.ids[1], 3)
    donor = gpt2.model.hidden(a)[-1]

    def patch(activation):
        if activation.layer == 1:
            activation.data[:] = donor

    close(gpt2.model.run(b, logits=True, tap=patch, sites=["residual"]).logits, gpt2.model.forward(a))


def test_an_exception_of_a_tap_comes_out(gpt2):
    def tap(a):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        gpt2.model.run(gpt2.ids, tap=tap, sites="residual")
    assert np.isfinite(gpt2.model.nll(gpt2.ids[1])).all()  # and the model goes on


@pytest.mark.parametrize("arguments, error", [
    ({"tap": 3, "sites": "residual"}, TypeError), ({"tap": print}, ValueError),
    ({"tap": print, "sites": "nowhere"}, ValueError), ({"targets": [1]}, ValueError), ({"source": [[1]]}, ValueError),
    ({"source": [1]}, qdisp.Error), ({"mask_id": 3}, qdisp.Error), ({"mask_id": 3, "tap": print}, ValueError),
    ({"targets": [-2] * 3}, ValueError), ({"targets": [61] * 3}, qdisp.Error)])
def test_wrong_arguments(gpt2, arguments, error):
    with pytest.raises(error):
        gpt2.model.run([5, 6, 7], **arguments)


def test_one_sequence(gpt2):
    for method in (gpt2.model.hidden, gpt2.model.attentions):
        with pytest.raises(ValueError, match="one sequence"):
            method([[1, 2], [3]])
    with pytest.raises(qdisp.Error, match="source"):
        Case("t5").model.hidden([5, 6])


def test_targets(gpt2):
    ids = gpt2.ids[1]
    targets = np.full(ids.size, -1)
    targets[3] = 7
    nll = gpt2.model.nll(ids, targets=targets)
    logits = gpt2.model.forward(ids)[3].astype(np.float64)
    assert np.isnan(np.delete(nll, 3)).all()
    assert nll[3] == pytest.approx(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[7], rel=1e-5)


# ---- functions of paths ----

def test_architectures():
    table = qdisp.architectures()
    assert {"llama", "bert", "t5", "bloom"} <= set(table["name"])
    assert set(table["kind"]) == {"decoder", "masked", "encoder-decoder"}


def test_inspect(tmp_path):
    report = qdisp.inspect(ARCH / "mixtral")
    summary = dict(zip(report["summary"]["property"], report["summary"]["value"]))
    assert summary["architecture"] == "mixtral" and summary["n_expert"] == "4" and "none" in summary["tokenizer"]
    assert report["formats"]["n_tensors"].sum() == len(report["tensors"])
    with pytest.raises(qdisp.Error, match="no model") as error:
        qdisp.inspect(tmp_path)
    assert error.value.status == qdisp.Status.ENOTFOUND


def test_census_of_weights_alone():
    path = ARCH / "llama" / "model.safetensors"
    alone, model = qdisp.census(path), qdisp.Model(ARCH / "llama").census()
    assert dict(zip(alone["tensor"], alone["kurtosis"])) == dict(zip(model["tensor"], model["kurtosis"]))
    assert all(role is None for role in alone["role"])
