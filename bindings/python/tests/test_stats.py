import tracemalloc

import numpy as np
import pytest

import qdisp

# moments are sums in f64 with short f32 partial sums: some 1e-7 of m4 for data of order one (lib/stats/moments.c)
REL = 1e-5


def reference(a, axis=None):
    """Excess kurtosis in float64, two passes."""
    x = np.asarray(a, np.float64)
    d = x - x.mean(axis=axis, keepdims=True)
    return (d**4).mean(axis=axis) / (d**2).mean(axis=axis) ** 2 - 3


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(1).standard_t(5, (37, 501)).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("axis", [None, 0, 1, -1, -2])
def test_kurtosis_equals_the_formula(data, dtype, axis):
    a = data.astype(dtype)
    np.testing.assert_allclose(qdisp.kurtosis(a, axis), reference(a, axis), rtol=REL, atol=REL)


def test_kurtosis_equals_scipy(data):
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    assert qdisp.kurtosis(data) == pytest.approx(stats.kurtosis(data.astype(np.float64), axis=None), rel=REL)


def test_three_dimensions(data):
    a = data[:36, :500].reshape(6, 6, 500)
    for axis in (0, 1, 2):
        result = qdisp.kurtosis(a, axis)
        assert result.shape == tuple(np.delete(a.shape, axis))
        np.testing.assert_allclose(result, reference(a, axis), rtol=1e-4, atol=1e-4)  # columns of 6: small m2


def test_columns_in_place_and_int8(data):
    a = np.ones((1 << 16, 64), np.float32)  # 16 MiB
    a[0] = 2
    tracemalloc.start()
    columns = qdisp.moments(a, axis=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert columns.n.shape == (64,) and peak < 1 << 20
    np.testing.assert_allclose(columns.kurtosis, reference(a, 0), rtol=REL)
    far = data + np.float32(1e5)
    exact = np.asarray(far, np.float64)
    np.testing.assert_allclose(qdisp.moments(far, 0).std, exact.std(axis=0), rtol=REL)
    codes = np.clip(np.rint(data * 20), -128, 127).astype(np.int8)
    for axis in (None, 0, 1):
        np.testing.assert_allclose(qdisp.kurtosis(codes, axis), reference(codes, axis), rtol=REL, atol=REL)


def test_shape(data):
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    a = data.astype(np.float16)
    s, x = qdisp.shape(a), np.sort(np.abs(a.astype(np.float64)), axis=None)
    if hasattr(stats, "lmoment"):
        l1, l2, t3, t4 = stats.lmoment(a.astype(np.float64), axis=None, standardize=True)
        assert (s.l1, s.l2, s.t3, s.t4) == pytest.approx((l1, l2, t3, t4), rel=1e-9, abs=1e-7)
    k = s.n_tail
    assert k == a.size // 1000 and s.hill_index == pytest.approx(k / np.log(x[-k:] / x[-k - 1]).sum(), rel=1e-9)
    d = a.astype(np.float64) - a.astype(np.float64).mean()
    assert s.outlier_energy == pytest.approx((d[np.abs(d) > 6 * d.std()] ** 2).sum() / (d**2).sum(), rel=1e-6)
    assert s.moments.n == a.size and s.moments.kurtosis == qdisp.kurtosis(a)
    assert qdisp.shape(data).t4 == pytest.approx(s.t4, abs=1e-3)  # f32 is counted to 2^-8
    assert np.isnan(qdisp.shape(np.zeros(0, np.float32)).t4)


def test_quantiles(data):
    a, q = data.astype(np.float16), [0, 0.1, 0.5, 0.999, 1]
    for magnitudes in (False, True):
        x = np.abs(a) if magnitudes else a
        np.testing.assert_array_equal(qdisp.quantiles(a, q, magnitudes), np.quantile(x, q, method="inverted_cdf"))
        wide = np.abs(data) if magnitudes else data
        np.testing.assert_allclose(qdisp.quantiles(data, q, magnitudes), np.quantile(wide, q, method="inverted_cdf"),
                                   rtol=2**-7)
    assert qdisp.quantiles(a, 0.5) == np.quantile(a, 0.5, method="inverted_cdf")
    assert np.isnan(qdisp.quantiles(np.full(3, np.nan, np.float32), 0.5))
    for bad in (1.5, np.nan, []):
        with pytest.raises(ValueError, match="q: "):
            qdisp.quantiles(a, bad)


def test_bfloat16(data):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    a = data.astype(ml_dtypes.bfloat16)
    assert qdisp.kurtosis(a) == pytest.approx(reference(a.astype(np.float64)), rel=REL)
    assert qdisp.kurtosis(a.view(np.uint16), dtype="bfloat16") == qdisp.kurtosis(a)


def test_layouts_that_are_copied(data):
    for a in (data[:, ::3], data.T, data[::-1], data.astype(">f4")):
        assert qdisp.kurtosis(a) == pytest.approx(reference(a), rel=REL)


def test_a_row_array_is_not_copied():
    a = np.ones((64, 1 << 16), np.float32)  # 16 MiB
    a[:, 0] = 2
    tracemalloc.start()
    rows = qdisp.kurtosis(a, axis=-1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows.shape == (64,) and peak < 1 << 20


@pytest.mark.parametrize("a, word", [(np.zeros(3), "float64"), (np.zeros(3, int), "int64"), ([1.0, 2.0], "float64"),
                                     (np.zeros(3, np.uint16), "bfloat16"), (np.array(["a"]), "str")])
def test_other_types_are_refused(a, word):
    with pytest.raises(TypeError, match=word):
        qdisp.kurtosis(a)


def test_bad_axis(data):
    with pytest.raises(ValueError, match="axis"):
        qdisp.kurtosis(data, 2)
    with pytest.raises(TypeError, match="axis"):
        qdisp.kurtosis(data, 0.5)


def test_moments(data):
    a = data.copy()
    a[0, :3] = np.nan, np.inf, -np.inf
    m = qdisp.moments(a)
    finite = a[np.isfinite(a)].astype(np.float64)
    assert (m.n, m.n_non_finite) == (finite.size, 3)
    assert m.mean == pytest.approx(finite.mean(), abs=1e-7) and m.std == pytest.approx(finite.std(), rel=1e-6)
    assert (m.min, m.max) == (finite.min(), finite.max())
    third = ((finite - finite.mean()) ** 3).mean() / finite.std() ** 3
    assert m.skewness == pytest.approx(third, rel=REL, abs=REL)
    rows = qdisp.moments(a, -1)
    assert rows.n[0] == a.shape[1] - 3 and rows.mean.shape == (37,)


def test_merge(data):
    merged = qdisp.moments(data[:10]).merge(qdisp.moments(data[10:]))
    assert merged.n == data.size and merged.kurtosis == pytest.approx(qdisp.kurtosis(data), rel=REL)
    with pytest.raises(ValueError, match="shapes"):
        qdisp.moments(data).merge(qdisp.moments(data, -1))


def test_nothing_and_a_constant():
    assert np.isnan(qdisp.kurtosis(np.zeros(0, np.float32)))
    assert np.isnan(qdisp.kurtosis(np.ones(9, np.float32)))
    assert qdisp.moments(np.zeros((0, 4), np.float32), -1).kurtosis.shape == (0,)


def test_spearman():
    x, y = [1, 2, 2, 5, 9, np.nan], [3.0, 1, 4, 4, 8, 1]
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    assert qdisp.spearman(x, y) == pytest.approx(stats.spearmanr(x[:5], y[:5]).statistic, rel=1e-12)
    assert np.isnan(qdisp.spearman([1, 2], [1, 2]))
    with pytest.raises(ValueError, match="2 and 1 values"):
        qdisp.spearman([1, 2], [1])


def test_bootstrap_ratio():
    rng = np.random.default_rng(2)
    b = rng.uniform(1, 2, 60)
    a = 0.5 * b + rng.normal(0, 0.1, 60)
    low, high = qdisp.bootstrap_ratio(a, b, seed=3)
    assert low < a.sum() / b.sum() < high and high - low < 0.1
    assert (low, high) == qdisp.bootstrap_ratio(a, b, seed=3)
    with pytest.raises(qdisp.Error) as error:
        qdisp.bootstrap_ratio(a, -b)
    assert error.value.status == qdisp.Status.ENUMERIC
    with pytest.raises(ValueError, match="level"):
        qdisp.bootstrap_ratio(a, b, level=2)
