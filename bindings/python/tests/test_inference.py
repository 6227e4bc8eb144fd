"""Correlation, regression and tests, beside scipy and by hand."""

import numpy as np
import pytest

import qdisp
from qdisp import _inference as inference

REL = 1e-10  # what the library promises of scipy's p-values


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(4)
    x = rng.normal(size=30)
    return x, 0.6 * x + rng.normal(size=30)


@pytest.mark.parametrize("alternative", ["two-sided", "less", "greater"])
@pytest.mark.parametrize("kind, peer", [("pearson", "pearsonr"), ("spearman", "spearmanr"), ("kendall", "kendalltau")])
def test_correlations_equal_scipys(data, kind, peer, alternative):
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    ours = getattr(inference, kind)(*data, alternative=alternative)
    theirs = getattr(stats, peer)(*data, alternative=alternative)
    assert ours.r == pytest.approx(theirs.statistic, rel=1e-13)
    assert ours.p == pytest.approx(theirs.pvalue, rel=REL)
    assert ours.n == 30 and ours.low < ours.r < ours.high


def test_missing_values_and_other_types(data):
    x, y = data[0].copy(), data[1].astype(np.float32)
    x[3] = np.nan
    result = inference.pearson(x, y)
    kept = np.delete(x, 3), np.delete(y, 3)
    assert result == inference.pearson(*kept) and result.n == 29
    assert np.isnan(inference.kendall([1, 2], [3, 4]).r)
    assert np.isnan(inference.pearson([], []).r) and inference.pearson([], []).n == 0
    with pytest.raises(ValueError, match="2 and 1 values"):
        inference.spearman([1, 2], [1])
    with pytest.raises(TypeError, match="x: "):
        inference.pearson(["a"], [1])
    with pytest.raises(ValueError, match="two-sided, less, greater"):
        inference.pearson(x, y, alternative="more")
    with pytest.raises(qdisp.Error, match="level 2"):
        inference.pearson(x, y, level=2)


def test_leave_one_out(data):
    x, y = data
    names = [f"l{i}" for i in range(30)]
    table = inference.leave_one_out(x, y, names, "spearman")
    assert list(table["left_out"]) == names and set(table["n"]) == {29}
    assert table["r"][4] == inference.spearman(np.delete(x, 4), np.delete(y, 4)).r
    assert inference.leave_one_out(x, y)["left_out"][0] == "0"
    with pytest.raises(ValueError, match="labels"):
        inference.leave_one_out(x, y, names[:3])
    with pytest.raises(ValueError, match="kind"):
        inference.leave_one_out(x, y, kind="tau")


def test_ols_equals_numpy(data):
    x, y = data
    z = np.cos(np.arange(30))
    fit, table = inference.ols(y, {"x": x, "latin": z > 0})
    assert list(table["term"]) == ["(constant)", "x", "latin"]
    design = np.column_stack([np.ones(30), x, z > 0])
    b, rest, _, _ = np.linalg.lstsq(design, y, rcond=None)
    np.testing.assert_allclose(table["coefficient"], b, rtol=1e-12)
    assert fit.r2 == pytest.approx(1 - rest[0] / np.sum((y - y.mean()) ** 2), rel=1e-12)
    assert fit.n == 30 and fit.df == 27 and fit.loo_r2 < fit.r2
    columns = np.column_stack([x, z > 0])
    np.testing.assert_array_equal(inference.vif(columns), table["vif"][1:])
    assert list(inference.ols(y, columns, ["a", "b"])[1]["term"]) == ["(constant)", "a", "b"]
    assert list(inference.ols(y, x)[1]["term"]) == ["(constant)", "x1"]
    with pytest.raises(qdisp.Error, match="column twice is a linear combination"):
        inference.ols(y, {"x": x, "twice": 2 * x})
    with pytest.raises(ValueError, match=r"columns\[1\]"):
        inference.ols(y, [x, x[:3]])


def test_partial_and_semipartial(data):
    x, y = data
    z = np.sin(np.arange(30)) + x
    part, semi = inference.partial(x, y, z), inference.semipartial(x, y, [z])
    rxy, rxz, ryz = np.corrcoef(x, y)[0, 1], np.corrcoef(x, z)[0, 1], np.corrcoef(y, z)[0, 1]
    assert part.r == pytest.approx((rxy - rxz * ryz) / np.sqrt((1 - rxz**2) * (1 - ryz**2)), rel=1e-12)
    assert semi.r == pytest.approx((rxy - rxz * ryz) / np.sqrt(1 - rxz**2), rel=1e-12)
    assert semi.p == part.p and np.isnan(semi.low) and part.low < part.r < part.high


def test_counts():
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    table = [[16, 32], [8, 88]]
    for alternative in inference.ALTERNATIVES:
        theirs = stats.fisher_exact(table, alternative=alternative)
        assert inference.fisher_exact(table, alternative) == pytest.approx(tuple(theirs), rel=REL)
    low, high = inference.wilson(24, 144)
    assert (low, high) == pytest.approx(stats.binomtest(24, 144).proportion_ci(method="wilson"), rel=1e-12)
    with pytest.raises(ValueError, match="3 counts"):
        inference.fisher_exact([[1, 2], [3]])
    with pytest.raises(ValueError, match="table"):
        inference.fisher_exact([[1, 2], [3, -1]])
    with pytest.raises(qdisp.Error, match="5 of 4"):
        inference.wilson(5, 4)


def test_several_tests_at_once():
    p = [0.04, 0.5, np.nan, 0.01, 0.2, 0.03]
    np.testing.assert_allclose(inference.holm(p), [0.12, 0.5, np.nan, 0.05, 0.4, 0.12], rtol=1e-14)
    np.testing.assert_allclose(inference.benjamini_hochberg(p), [0.2 / 3, 0.5, np.nan, 0.05, 0.25, 0.2 / 3], rtol=1e-14)
    assert inference.holm([]).size == 0
    with pytest.raises(qdisp.Error, match="outside"):
        inference.holm([2.0])


def test_t_tests(data):
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    x, y = data
    ours, theirs = inference.t_test_paired(x, y), stats.ttest_rel(x, y)
    assert (ours.t, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=REL)
    assert (ours.low, ours.high) == pytest.approx(theirs.confidence_interval(), rel=REL)
    assert inference.t_test_paired(x - y) == ours
    ours, theirs = inference.t_test_welch(x, y[:9]), stats.ttest_ind(x, y[:9], equal_var=False)
    assert (ours.t, ours.p, ours.df) == pytest.approx((theirs.statistic, theirs.pvalue, theirs.df), rel=REL)
    assert (ours.n_x, ours.n_y) == (30, 9)
    shown = inference.tost_paired(x, y, -5, 5)
    assert shown.equivalent is True and shown.p < 0.05 and -5 < shown.low < shown.high < 5
    assert inference.tost_paired(x, y, -1e-3, 1e-3).equivalent is False
    with pytest.raises(qdisp.Error, match="margins"):
        inference.tost_paired(x, y, 1, -1)


def test_power():
    rho = inference.detectable_correlation(14, power=0.8)
    assert 0.6 < rho < 0.75
    assert inference.power_correlation(rho, 14) == pytest.approx(0.8, rel=1e-10)
    effect = inference.detectable_paired(14, power=0.8, alternative="less")
    assert effect < 0 and inference.power_paired(effect, 14, alternative="less") == pytest.approx(0.8, rel=1e-10)
    with pytest.raises(qdisp.Error, match="power"):
        inference.detectable_paired(14, power=0.01)
