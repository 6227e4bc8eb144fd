"""Statistics: moments and shape, correlation and regression, resampling, tests, divergences, clipping thresholds.

    from qdisp import stats
    stats.pearson(x, y)                                     # r, p, n and Fisher's interval
    stats.bootstrap(x, y, 10**6, seed=1, method="BCa")      # an interval without a law
    stats.permutation(x, y, 10**6, seed=1, statistic="spearman")
    stats.aciq(("student_t", 5), bits=4)

Computed by libqdisp with the GIL released. NaN is a missing value; what is not defined is NaN. What is random depends
on data and seed alone, on any machine and for any number of threads.
"""

from ._divergence import SoftmaxKL, js_divergence, nll_rows, softmax_kl
from ._inference import (Correlation, Equivalence, Fit, TTest, benjamini_hochberg, detectable_correlation,
                         detectable_paired, fisher_exact, holm, kendall, leave_one_out, ols, partial, pearson,
                         power_correlation, power_paired, semipartial, spearman, t_test_paired, t_test_welch,
                         tost_paired, vif, wilson)
from ._resample import Bootstrap, Jackknife, Permutation, Threshold, aciq, bootstrap, jackknife, permutation
from ._stats import Moments, bootstrap_ratio, kurtosis, moments

__all__ = [
    "Bootstrap", "Correlation", "Equivalence", "Fit", "Jackknife", "Moments", "Permutation", "SoftmaxKL", "TTest",
    "Threshold", "aciq", "benjamini_hochberg", "bootstrap", "bootstrap_ratio", "detectable_correlation",
    "detectable_paired", "fisher_exact", "holm", "jackknife", "js_divergence", "kendall", "kurtosis", "leave_one_out",
    "moments", "nll_rows", "ols", "partial", "pearson", "permutation", "power_correlation", "power_paired",
    "semipartial", "softmax_kl", "spearman", "t_test_paired", "t_test_welch", "tost_paired", "vif", "wilson",
]
