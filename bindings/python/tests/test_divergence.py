import numpy as np
import pytest

import qdisp
from qdisp._divergence import js_divergence, nll_rows, softmax_kl

U = 2.0**-24


def lse(a):
    a = np.asarray(a, np.float64)
    top = a.max(-1, keepdims=True)
    return (np.log(np.exp(a - top).sum(-1, keepdims=True)) + top)[..., 0]


def kl_reference(x, y):
    a, b = (np.asarray(v, np.float64) - lse(v)[..., None] for v in (x, y))
    return (np.exp(a) * (a - b)).sum(-1)


@pytest.fixture(scope="module")
def logits():
    rng = np.random.default_rng(5)
    x = (4 * rng.normal(size=(3, 7, 5000))).astype(np.float32)
    return x, (x + 0.1 * rng.normal(size=x.shape) + 3).astype(np.float32)


def test_nll(logits):
    x = logits[0]
    targets = np.random.default_rng(6).integers(0, 5000, (3, 7))
    want = lse(x) - np.take_along_axis(x, targets[..., None], -1)[..., 0]
    got = nll_rows(x, targets)
    assert got.shape == (3, 7) and got.dtype == np.float64
    np.testing.assert_allclose(got, want, rtol=0, atol=30 * U)  # 9 u and the mean distance from the maximum
    assert nll_rows(x[0, 0], np.int64(5)) == nll_rows(x, np.full((3, 7), 5))[0, 0]


def test_softmax_kl(logits):
    x, y = logits
    r = softmax_kl(x, y)
    want = kl_reference(x, y)
    assert want.max() < 0.02
    np.testing.assert_allclose(r.kl, want, rtol=20 * U * 10 / np.sqrt(want.min()))  # as the header states it
    np.testing.assert_allclose(r.lse_x, lse(x), rtol=10 * U)
    np.testing.assert_allclose(r.lse_y, lse(y), rtol=10 * U)
    np.testing.assert_array_equal(r.same_top, x.argmax(-1) == y.argmax(-1))
    assert np.all(softmax_kl(x, x).kl == 0) and softmax_kl(x, x).same_top.all()


def test_js_is_scipys_distance_squared(logits):
    distance = pytest.importorskip("scipy.spatial.distance", reason="scipy is not installed")
    p, q = (np.exp(v - lse(v)[..., None]).astype(np.float32) for v in logits)
    got = js_divergence(p, q)
    assert got.shape == (3, 7)
    for i, j in np.ndindex(got.shape):
        assert got[i, j] == pytest.approx(distance.jensenshannon(p[i, j].astype(float), q[i, j].astype(float)) ** 2,
                                          rel=31 * U)
    assert js_divergence(np.float32([1, 0]), np.float32([0, 1])) == pytest.approx(np.log(2), rel=2 * U)


def test_layouts(logits):
    x, y = logits[0][0], logits[1][0]
    want = softmax_kl(x[:, :100].copy(), y[:, :100].copy()).kl
    for a, b in ((x[:, :100], y[:, :100]), (x[:, :100], y[:, :100].copy()), (np.asfortranarray(x[:, :100]), y[:, :100]),
                 (x[:, :100].astype(">f4"), y[:, :100]), (x[::-1, :100], y[::-1, :100])):
        got = softmax_kl(a, b).kl
        np.testing.assert_array_equal(got[::-1] if a.strides[0] < 0 else got, want)
    half = x[:, :100].astype(np.float16)
    np.testing.assert_array_equal(softmax_kl(half, half.astype(np.float32)).kl, 0)
    assert softmax_kl(x[:0], y[:0]).kl.shape == (0,) and nll_rows(x[:0], []).shape == (0,)


def test_what_is_not_finite():
    row = np.float32([0, 1, -np.inf, 2])
    bad = np.float32([0, 1, np.nan, 2])
    assert nll_rows(row, 2) == np.inf and np.isnan(nll_rows(bad, 0))
    assert softmax_kl(np.float32([0, 1, 0, 2]), row).kl == np.inf and np.isfinite(softmax_kl(row, row + 1).kl)
    assert np.isnan(softmax_kl(row, bad).kl) and not softmax_kl(bad, bad).same_top
    assert np.isnan(js_divergence(np.float32([1, -1]), np.float32([1, 1])))


def test_refusals(logits):
    x = logits[0][0]
    with pytest.raises(qdisp.Error, match="target 5000 of row 1"):
        nll_rows(x[:2], [0, 5000])
    with pytest.raises(qdisp.Error, match="target -7 of row 0"):
        nll_rows(x[:2], [-7, 0])
    with pytest.raises(TypeError, match="float64"):
        softmax_kl(x.astype(np.float64), x)
    with pytest.raises(TypeError, match="integers"):
        nll_rows(x[0], 0.5)
    with pytest.raises(ValueError, match="shape"):
        nll_rows(x, [1, 2])
    with pytest.raises(ValueError, match="shapes"):
        js_divergence(x, x[:, :-1])
    with pytest.raises(ValueError, match="one element"):
        softmax_kl(np.zeros((2, 0), np.float32), np.zeros((2, 0), np.float32))
