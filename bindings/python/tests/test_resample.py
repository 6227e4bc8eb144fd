import threading

import numpy as np
import pytest

import qdisp
from qdisp import stats


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(4)
    x = rng.normal(size=14)
    return x, 0.6 * x + rng.normal(size=14)


@pytest.mark.parametrize("statistic", ["pearson", "spearman", "kendall"])
@pytest.mark.parametrize("method", ["percentile", "basic", "BCa"])
def test_bootstrap(data, statistic, method):
    r = stats.bootstrap(*data, 20000, seed=3, method=method, statistic=statistic)
    assert r.estimate == pytest.approx(getattr(stats, statistic)(*data).r, abs=1e-12)
    assert r.low < r.estimate < r.high and r.n_resamples == 20000 and r.n_degenerate == 0
    assert r == stats.bootstrap(*data, 20000, seed=3, method=method, statistic=statistic)
    if statistic == "pearson":  # ranks give few values: another seed may end on the same one
        assert r.low != stats.bootstrap(*data, 20000, seed=4, method=method, statistic=statistic).low


def test_bootstrap_equals_scipy(data):
    scipy_stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")

    def pearson(x, y, axis=-1):
        x = x - x.mean(axis=axis, keepdims=True)
        y = y - y.mean(axis=axis, keepdims=True)
        return (x * y).sum(axis=axis) / np.sqrt((x * x).sum(axis=axis) * (y * y).sum(axis=axis))

    ours = stats.bootstrap(*data, 50000, seed=1)
    theirs = scipy_stats.bootstrap(data, pearson, paired=True, vectorized=True, n_resamples=50000, batch=5000,
                                   method="BCa", random_state=np.random.default_rng(2))
    # an end of the interval is a quantile of 50000 values: its deviation is some 0.3 % of the interval's length, 1 % at
    # the long tail; five of the difference of two
    room = 0.05 * (ours.high - ours.low)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=room)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=room)
    # a standard deviation from 50000 values: 0.5 %, and heavy tails
    assert ours.standard_error == pytest.approx(theirs.standard_error, rel=0.03)


def test_permutation(data):
    r = stats.permutation(*data, 200000, seed=5)
    # p of Student's t is for Gaussian data, which these are: the two differ by the sample's own shape
    assert r.p == pytest.approx(stats.pearson(*data).p, abs=0.02) and not r.exact
    assert r.null_sd == pytest.approx(1 / np.sqrt(13), rel=0.01)  # 5 deviations of a deviation of 200000 values
    assert r.p == (r.n_extreme + 1) / (r.n_permutations + 1)
    few = stats.permutation(data[0][:6], data[1][:6], statistic="kendall", alternative="less")
    assert few.exact is True and few.n_permutations == 720 and few.p == few.n_extreme / 720
    more = stats.permutation(data[0][:6], data[1][:6], statistic="kendall", alternative="greater")
    assert few.p + more.p >= 1  # the orders as good as the data count in both


def test_jackknife(data):
    x, y = data
    r = stats.jackknife(x, y)
    left = np.array([np.corrcoef(np.delete(x, i), np.delete(y, i))[0, 1] for i in range(14)])
    assert r.bias == pytest.approx(13 * (left.mean() - r.estimate), abs=1e-12)
    assert r.standard_error == pytest.approx(np.sqrt(13 / 14 * ((left - left.mean()) ** 2).sum()), rel=1e-12)
    assert (r.low, r.high) == pytest.approx((left.min(), left.max()), abs=1e-13)


def test_undefined(data):
    nan = [np.nan] * 12 + [1.0, 2.0]
    for x, y in [(nan, data[1]), (np.ones(14), data[1]), ([], [])]:
        r = stats.bootstrap(x, y, 100)
        assert np.isnan([r.estimate, r.low, r.high, r.bias]).all() and r.n_degenerate == 100
        assert np.isnan(stats.permutation(x, y).p) and np.isnan(stats.jackknife(x, y).bias)


@pytest.mark.parametrize("arguments, error", [
    ({"n": 99}, ValueError), ({"n": 1e4}, TypeError), ({"seed": -1}, ValueError), ({"method": "bca"}, ValueError),
    ({"statistic": "cosine"}, ValueError), ({"level": 1}, qdisp.Error), ({"y": [1, 2]}, ValueError),
    ({"x": "text"}, TypeError)])
def test_wrong_arguments(data, arguments, error):
    with pytest.raises(error):
        stats.bootstrap(**{"x": data[0], "y": data[1], **arguments})


def test_the_gil_is_released(data):
    n_ticks = [0]
    done = threading.Event()

    def tick():
        while not done.is_set():
            n_ticks[0] += 1

    thread = threading.Thread(target=tick)
    thread.start()
    before = n_ticks[0]
    stats.bootstrap(*data, 10**6, statistic="kendall")
    after = n_ticks[0]
    done.set()
    thread.join()
    assert after > before


def test_aciq_of_laws():
    assert stats.aciq("gaussian", 2).alpha == pytest.approx(1.7106351681140446, rel=1e-12)
    assert stats.aciq(("student_t", 5), 4) == pytest.approx((3.780395602795772, 0.03243469188062173), rel=1e-9)
    assert stats.aciq(("generalized_gaussian", 1), 3) == pytest.approx(stats.aciq("laplace", 3), rel=1e-12)
    assert stats.aciq(("two_gaussian", 0, 3), 3) == pytest.approx(stats.aciq("gaussian", 3), rel=1e-12)
    with pytest.raises(qdisp.Error) as error:
        stats.aciq("cauchy", 4)
    assert error.value.status == qdisp.Status.ENOTFOUND
    with pytest.raises(qdisp.Error, match="nu"):
        stats.aciq(("student_t", 2), 4)
    with pytest.raises(ValueError, match="bits"):
        stats.aciq("gaussian", 0)


@pytest.mark.parametrize("full_range", [True, False])
def test_aciq_of_an_array(full_range):
    a = np.random.default_rng(1).normal(size=(300, 1000)).astype(np.float32)
    alpha, mse = stats.aciq(a, 4, full_range)
    noise = 1 / (12 * (8 if full_range else 7) ** 2)
    excess = np.maximum(np.abs(a.astype(np.float64)) - alpha, 0)
    assert excess.mean() == pytest.approx(noise * alpha, rel=1e-9)
    assert mse == pytest.approx((excess**2).mean() + noise * alpha**2, rel=1e-6)
    if full_range:  # 300000 numbers of the law; few lie beyond the threshold, which moves it by a per mille
        assert alpha == pytest.approx(stats.aciq("gaussian", 4).alpha, rel=0.01)
    with pytest.raises(TypeError, match="float64"):
        stats.aciq(a.astype(np.float64), 4)
    a[0, 0] = np.nan
    with pytest.raises(qdisp.Error) as error:
        stats.aciq(a, 4)
    assert error.value.status == qdisp.Status.ENUMERIC
