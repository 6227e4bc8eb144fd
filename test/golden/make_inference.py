"""Golden values for lib/stats: distributions, correlations, regression, tests. Writes inference.txt beside itself.

    python3 -m venv venv; venv/bin/pip install numpy==2.4.6 scipy==1.17.1 statsmodels==0.15.0 mpmath==1.4.1
    venv/bin/python make_inference.py

Values are those of the double inputs in 60-digit arithmetic (mpmath) where a formula exists, and beside them what scipy
or statsmodels says. Both are written: for r next to 1 the p of scipy has lost digits (it takes 1 - r^2 from a rounded
r), and `digits` in the script's last lines tells by how much.

Lines of inference.txt, fields separated by spaces:
    normal_cdf Z P | normal_quantile P Z | t_two_sided T DF P | t_quantile P DF T | f_sf F DF1 DF2 P | chi2_sf X DF P
    hypergeometric K MARKED DRAWN N LOG_P | noncentral_t T DF DELTA P(scipy)
    pairs N X... Y...                               the data of the lines up to the next `pairs`
    pearson|spearman|kendall R P_TWO P_LESS P_GREATER LOW HIGH LOW_GREATER SCIPY_TWO SCIPY_LESS SCIPY_GREATER
    ols N K R2 ADJUSTED LOO SIGMA F P Y... COLUMNS... {COEFFICIENT SE T P LOW HIGH VIF}   (K + 1 times)
    partial N K R P LOW HIGH SEMIPARTIAL X... Y... COVARIATES...
    paired N DIFFERENCE SE T P_TWO P_LESS P_GREATER LOW HIGH X... Y...
    welch NX NY DIFFERENCE DF T P_TWO P_LESS P_GREATER LOW HIGH X... Y...
    tost N MARGIN_LOW MARGIN_HIGH P_LOW P_HIGH LOW90 HIGH90 X... Y...
    fisher A B C D ODDS P_TWO P_LESS P_GREATER
    wilson K N LEVEL LOW HIGH
    adjust N P... HOLM... BH...
    power_paired EFFECT N ALPHA ALTERNATIVE POWER | detectable_paired N ALPHA POWER ALTERNATIVE EFFECT
    power_correlation RHO N ALPHA ALTERNATIVE POWER | detectable_correlation N ALPHA POWER ALTERNATIVE RHO
    simulated_power RHO N SHARE N_DRAWS             of two-sided t tests of normal data with p < 0.05
ALTERNATIVE: 0 two-sided, 1 less, 2 greater. Levels not given are 0.95.
"""
import math
import os
import random
import sys
from fractions import Fraction

import mpmath as mp
import numpy as np
import scipy
import statsmodels
import statsmodels.api as sm
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.outliers_influence import OLSInfluence, variance_inflation_factor
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_paired

mp.mp.dps = 60
rng = np.random.default_rng(20240711)
random.seed(20240711)
here = os.path.dirname(os.path.abspath(__file__))
out = open(os.path.join(here, "inference.txt"), "w")
ALTERNATIVES = ["two-sided", "less", "greater"]
apart = {}  # largest relative difference between scipy and 60 digits, by kind


def row(name, *values):
    flat = []
    for v in values:
        flat += list(v) if isinstance(v, (list, tuple, np.ndarray)) else [v]
    out.write(" ".join([name] + [repr(float(v)) for v in flat]) + "\n")


def compare(kind, ours, theirs):
    if ours != 0:
        apart[kind] = max(apart.get(kind, 0), abs(float(mp.mpf(float(theirs)) / mp.mpf(ours) - 1)))


def normal_cdf(z):
    return mp.erfc(-mp.mpf(z) / mp.sqrt(2)) / 2


def beta(a, b, x):
    return mp.betainc(mp.mpf(a), mp.mpf(b), 0, x, regularized=True)


def t_two(t, df):
    t = mp.mpf(t)
    return beta(mp.mpf(df) / 2, mp.mpf("0.5"), df / (df + t * t))


def distributions():
    for z in [-37.5, -37, -30, -20, -8.3, -3, -1.96, -1, -0.1, -1e-9, 0, 0.5, 2, 6] + list(rng.uniform(-37, 3, 20)):
        value = normal_cdf(float(z))
        compare("normal cdf", value, stats.norm.cdf(z))
        row("normal_cdf", z, value)
    for p in [1e-305, 1e-200, 1e-30, 1e-5, 0.025, 0.2, 0.25, 0.3, 0.4999, 0.5 + 1e-9, 0.7, 0.75, 0.975, 1 - 1e-12]:
        value = mp.findroot(lambda z: mp.log(normal_cdf(z)) - mp.log(mp.mpf(p)), mp.mpf(float(stats.norm.ppf(p))))
        compare("normal quantile", value, stats.norm.ppf(p))
        row("normal_quantile", p, value)
    for df in [0.5, 1, 2, 3, 5, 12, 33.7, 100, 198, 1000, 10000]:
        for t in [1e-8, 0.01, 0.7, 1.5, 2, 5, 12, 37, 1e3, 1e6, 10 ** rng.uniform(-2, 2)]:
            value = t_two(float(t), df)
            if value > 1e-300:
                compare("t", value, 2 * stats.t.sf(t, df))
                row("t_two_sided", t, df, value)
    for df in [0.5, 1, 2, 3, 12, 100.5, 10000]:
        for p in [1e-100, 1e-10, 0.001, 0.025, 0.1, 0.2, 0.4, 0.499, 0.6, 0.9, 0.975, 0.9999]:
            tail = min(mp.mpf(p), 1 - mp.mpf(p))
            start = abs(float(stats.t.ppf(p, df)))
            if not 0 < start < 1e150:
                continue
            root = mp.findroot(lambda u: mp.log(t_two(mp.exp(u), df) / 2) - mp.log(tail), mp.log(start))
            row("t_quantile", p, df, -mp.exp(root) if p < 0.5 else mp.exp(root))
    for df1 in [1, 2, 3, 10, 100, 1000]:
        for df2 in [1, 2, 5, 30, 500]:
            for f in [0.1, 0.9, 1.1, 3, 20]:
                share = df1 * mp.mpf(f) / (df2 + df1 * mp.mpf(f))
                value = beta(mp.mpf(df2) / 2, mp.mpf(df1) / 2, 1 - share)
                compare("F", value, stats.f.sf(f, df1, df2))
                row("f_sf", f, df1, df2, value)
    for df in [1, 2, 3, 7, 30, 100.5, 1000]:
        for x in [df * 10 ** rng.uniform(-1.5, 0.9) for _ in range(6)] + [df, df * 1.01]:
            value = mp.gammainc(mp.mpf(df) / 2, mp.mpf(x) / 2, mp.inf, regularized=True)
            if value > 1e-300:
                compare("chi2", value, stats.chi2.sf(x, df))
                row("chi2_sf", x, df, value)
    for _ in range(40):
        n = random.choice([10, 50, 144, 1000, 20000])
        marked, drawn = random.randint(1, n), random.randint(1, n)
        k = random.randint(max(0, drawn + marked - n), min(drawn, marked))
        row("hypergeometric", k, marked, drawn, n,
            mp.log(mp.binomial(marked, k) * mp.binomial(n - marked, drawn - k) / mp.binomial(n, drawn)))
    for df in [1, 5, 13, 50, 500]:
        for delta in [0, 0.5, 2, 5, 10, 19]:
            for t in [0, 0.5, 2, 4]:
                row("noncentral_t", t, df, delta, stats.nct.sf(t, df, delta))


def correlation_p(r2_rest, r, df):
    """Two-sided, less, greater from 1 - r^2."""
    both = beta(mp.mpf(df) / 2, mp.mpf("0.5"), r2_rest) if r2_rest > 0 else mp.mpf(0)
    agrees, other = both / 2, 1 - both / 2
    return [both, agrees if r < 0 else other, agrees if r > 0 else other]


def interval(r, rest, error, critical):
    """Ends by Fisher's z; r = +-1 has a point."""
    if rest == 0:
        return [r, r]
    z = mp.log((1 + abs(r)) / mp.sqrt(rest)) * (1 if r > 0 else -1)
    return [mp.tanh(z - critical * error), mp.tanh(z + critical * error)]


def exact(v):
    return mp.mpf(v.numerator) / mp.mpf(v.denominator)


def moments(x, y):
    """r and 1 - r^2 of the exact rational values of the doubles."""
    x, y = [Fraction(float(v)) for v in x], [Fraction(float(v)) for v in y]
    n = len(x)
    mx, my = sum(x) / n, sum(y) / n
    xx, yy = sum((a - mx) ** 2 for a in x), sum((b - my) ** 2 for b in y)
    xy = sum((a - mx) * (b - my) for a, b in zip(x, y))
    rest = 1 - xy * xy / (xx * yy)
    r = mp.sqrt(1 - exact(rest)) * (1 if xy > 0 else -1 if xy < 0 else 0)
    return r, exact(rest)


def from_scipy(kind, x, y):
    function = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}[kind]
    return [float(function(x, y, alternative=a).pvalue) for a in ALTERNATIVES]


CRITICAL = mp.sqrt(2) * mp.erfinv(mp.mpf("0.95"))
CRITICAL_ONE = mp.sqrt(2) * mp.erfinv(mp.mpf("0.90"))


def write_correlation(kind, x, y, r, rest, ps, error):
    theirs = from_scipy(kind, x, y)
    if error is None:
        ends = [mp.nan] * 3
    else:
        ends = interval(r, rest, error, CRITICAL) + interval(r, rest, error, CRITICAL_ONE)[:1]
    for ours, other in zip(ps, theirs):
        if ours > 1e-300:
            compare(f"{kind}, 1 - r^2 {'>' if rest > 1e-3 else '<'} 1e-3", ours, other)
    row(kind, r, ps, ends, theirs)


def kendall(x, y):
    n = len(x)
    s = sum(int(np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])) for i in range(n) for j in range(i))
    tx, ty = [np.unique(v, return_counts=True)[1].tolist() for v in (x, y)]
    pairs = lambda t: sum(c * (c - 1) // 2 for c in t)
    total = n * (n - 1) // 2
    tau = s / mp.sqrt(mp.mpf(total - pairs(tx)) * (total - pairs(ty)))
    down = (total - s) // 2
    if pairs(tx) == pairs(ty) == 0 and (n <= 33 or min(down, total - down) <= 1):
        counts = [1]  # permutations by inversions
        for j in range(2, n + 1):
            counts = [sum(counts[max(0, i - j + 1):i + 1]) for i in range(len(counts) + j - 1)]
        low = mp.mpf(sum(counts[:down + 1])) / mp.factorial(n)  # P(inversions <= down): for `greater`
        high = mp.mpf(sum(counts[down:])) / mp.factorial(n)
        ps = [min(mp.mpf(1), 2 * min(low, high)), high, low]
    else:
        m = n * (n - 1)
        part = lambda t: sum(c * (c - 1) * (2 * c + 5) for c in t)
        triples = lambda t: sum(c * (c - 1) * (c - 2) for c in t)
        variance = (mp.mpf(m * (2 * n + 5) - part(tx) - part(ty)) / 18 + mp.mpf(2 * pairs(tx) * pairs(ty)) / m +
                    mp.mpf(triples(tx) * triples(ty)) / (9 * m * (n - 2)))
        z = s / mp.sqrt(variance)
        ps = [2 * normal_cdf(-abs(z)), normal_cdf(z), normal_cdf(-z)]
    error = mp.sqrt(mp.mpf("0.437") / (n - 4)) if n > 4 else None
    write_correlation("kendall", x, y, tau, 1 - tau * tau, ps, error)


def correlations():
    cases = []
    for n in [3, 4, 5, 7, 10, 14, 25, 33, 34, 60, 200]:
        for rho in [0.0, 0.6] if n != 14 else [0.0, 0.6, -0.95]:
            x = rng.normal(size=n)
            cases.append((x, rho * x + math.sqrt(1 - rho * rho) * rng.normal(size=n)))
    for n, levels in [(5, 2), (10, 3), (26, 2), (40, 5), (100, 3), (200, 20)]:  # ties
        x = rng.integers(0, levels + 1, n).astype(float)
        cases.append((x, np.round(x / 2 + rng.normal(size=n))))
    # r next to 1 and -1
    for n, noise in [(6, 1e-2), (14, 1e-4), (40, 1e-3), (14, 1e-7), (14, 1e-8), (100, 0.05), (200, 0.2)]:
        x = rng.normal(size=n)
        cases.append((x, (-1) ** n * x + noise * rng.normal(size=n)))
    x = np.arange(40.0)
    cases.append((x, x))
    cases.append((x, -3 * x))
    swapped = x.copy()
    swapped[[7, 8]] = swapped[[8, 7]]
    cases.append((x, swapped))
    x = rng.normal(size=20)
    cases.append((x + 1e9, x + rng.normal(size=20) - 1e12))  # far from zero
    cases.append((x * 1e-200, (x + rng.normal(size=20)) * 1e300))
    for x, y in cases:
        n = len(x)
        row("pairs", n, x, y)
        r, rest = moments(x, y)
        error = 1 / mp.sqrt(n - 3) if n > 3 else None
        write_correlation("pearson", x, y, r, rest, correlation_p(rest, r, n - 2), error)
        rho, rest = moments(stats.rankdata(x), stats.rankdata(y))
        error = mp.sqrt((1 + rho * rho / 2) / (n - 3)) if n > 3 else None
        write_correlation("spearman", x, y, rho, rest, correlation_p(rest, rho, n - 2), error)
        kendall(x, y)


def least_squares(design, y):
    """Coefficients, (X'X)^-1 and residuals in 60 digits."""
    x, v = mp.matrix(design.tolist()), mp.matrix([mp.mpf(float(a)) for a in y])
    inverse = (x.T * x) ** -1
    b = inverse * (x.T * v)
    return b, inverse, v - x * b, x


def square(v):
    return mp.fsum(a * a for a in v)


def fit_in_60_digits(design, y):
    n, terms = design.shape
    b, inverse, rest, x = least_squares(design, y)
    mean = mp.fsum(mp.mpf(float(a)) for a in y) / n
    total, unexplained, df = square([mp.mpf(float(a)) - mean for a in y]), square(rest), n - terms
    press = mp.fsum((rest[i] / (1 - (x[i, :] * inverse * x[i, :].T)[0])) ** 2 for i in range(n))
    sigma, k = mp.sqrt(unexplained / df), terms - 1
    whole = [1 - unexplained / total, 1 - unexplained / df / (total / (n - 1)), 1 - press / total, sigma,
             (total - unexplained) / k / sigma ** 2, beta(mp.mpf(df) / 2, mp.mpf(k) / 2, unexplained / total)]
    critical = mp.findroot(lambda t: t_two(t, df) - mp.mpf("0.05"), mp.mpf(float(stats.t.isf(0.025, df))))
    rows = []
    for j in range(terms):
        error = sigma * mp.sqrt(inverse[j, j])
        vif = mp.nan
        if j > 0:
            column = [mp.mpf(float(a)) for a in design[:, j]]
            spread = square([a - mp.fsum(column) / n for a in column])
            vif = spread * inverse[j, j]
        t = b[j] / error
        rows += [b[j], error, t, t_two(t, df), b[j] - critical * error, b[j] + critical * error, vif]
    return whole, rows


def regressions():
    for n, k, offset in [(4, 1, 0), (10, 1, 0), (14, 3, 0), (26, 5, 100), (60, 8, 0), (30, 2, 1e6)]:
        x = rng.normal(size=(n, k)) + offset
        if k > 2:
            x[:, 1] = x[:, 0] + 0.1 * rng.normal(size=n)  # collinear
        y = x @ rng.normal(size=k) + rng.normal(size=n) + 3
        design = sm.add_constant(x)
        whole, terms = fit_in_60_digits(design, y)
        fit = sm.OLS(y, design).fit()
        press = OLSInfluence(fit).resid_press
        total = float(np.sum((y - y.mean()) ** 2))
        theirs = [fit.rsquared, fit.rsquared_adj, 1 - float(press @ press) / total, math.sqrt(fit.mse_resid)]
        theirs += [fit.fvalue, fit.f_pvalue]
        for j in range(k + 1):
            vif = variance_inflation_factor(design, j) if j else mp.nan
            theirs += [fit.params[j], fit.bse[j], fit.tvalues[j], fit.pvalues[j], *fit.conf_int(0.05)[j], vif]
        for ours, other in zip(whole + terms, theirs):
            if not mp.isnan(ours):
                compare(f"ols, columns at {offset:g}", ours, other)
        row("ols", n, k, whole, y, x.T.ravel(), terms)
    for n, k in [(5, 1), (14, 1), (14, 2), (40, 4), (200, 3), (6, 3)]:
        z = rng.normal(size=(n, k))
        x, y = z @ rng.normal(size=k) + rng.normal(size=n), z @ rng.normal(size=k) + rng.normal(size=n)
        y = y + 0.5 * x
        basis = np.linalg.qr(sm.add_constant(z))[0]
        rest = lambda v: v - basis @ (basis.T @ v) - basis @ (basis.T @ (v - basis @ (basis.T @ v)))
        cosine = lambda a, b: float(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))
        r, semi = cosine(rest(x), rest(y)), cosine(rest(x), y - y.mean())
        p = sm.OLS(y, sm.add_constant(np.column_stack([x, z]))).fit().pvalues[1]  # the test of x's coefficient
        ends = [math.nan, math.nan]
        if n - k > 3:
            ends = [math.tanh(math.atanh(r) + s * float(CRITICAL) / math.sqrt(n - k - 3)) for s in (-1, 1)]
        row("partial", n, k, r, p, ends, semi, x, y, z.T.ravel())


def tests():
    for n, shift in [(2, 0.3), (5, 0.1), (14, 0.5), (60, 2.0)]:
        x = rng.normal(size=n)
        y = x + 0.5 * rng.normal(size=n) - shift
        all_three = [stats.ttest_rel(x, y, alternative=a) for a in ALTERNATIVES]
        ends = all_three[0].confidence_interval(0.95)
        row("paired", n, (x - y).mean(), (x - y).std(ddof=1) / math.sqrt(n), all_three[0].statistic,
            [t.pvalue for t in all_three], ends.low, ends.high, x, y)
        z = rng.normal(size=2 * n) * 3 + shift
        all_three = [stats.ttest_ind(x, z, equal_var=False, alternative=a) for a in ALTERNATIVES]
        ends = all_three[0].confidence_interval(0.95)
        row("welch", n, 2 * n, x.mean() - z.mean(), all_three[0].df, all_three[0].statistic,
            [t.pvalue for t in all_three], ends.low, ends.high, x, z)
        p, low, high = ttost_paired(x, y, shift - 0.4, shift + 0.6)
        assert p == max(low[1], high[1])
        ends = stats.ttest_rel(x, y).confidence_interval(0.90)
        row("tost", n, shift - 0.4, shift + 0.6, low[1], high[1], ends.low, ends.high, x, y)
    tables = [[8, 2, 1, 5], [16, 32, 8, 88], [0, 5, 5, 0], [3, 3, 3, 3], [10, 0, 3, 7], [0, 0, 4, 5], [100, 2, 1000, 5],
              [5, 15, 12, 8], [1, 9, 9, 1], [200, 100, 90, 210], [3000, 2000, 2900, 2100], [6, 6, 12, 0], [2, 7, 8, 2]]
    tables += [[int(v) for v in rng.integers(0, 30, 4)] for _ in range(12)]
    for t in tables:
        square = [t[:2], t[2:]]
        results = [stats.fisher_exact(square, alternative=a) for a in ALTERNATIVES]
        row("fisher", t, results[0].statistic, [r.pvalue for r in results])
    for k, n, level in [(24, 144, 0.95), (0, 10, 0.95), (10, 10, 0.95), (1, 1, 0.9), (3, 1000, 0.99), (50, 100, 0.5)]:
        row("wilson", k, n, level, proportion_confint(k, n, 1 - level, "wilson"))
    for n in [1, 2, 5, 30]:
        p = rng.uniform(size=n) ** 3
        if n == 30:
            p[3] = p[9] = p[20]
        row("adjust", n, p, multipletests(p, method="holm")[1], multipletests(p, method="fdr_bh")[1])


def critical_z(n, tail):
    """Fisher's z, in standard errors, of the r at which the t test becomes significant."""
    t = stats.t.isf(tail, n - 2)
    return math.atanh(t / math.sqrt(t * t + n - 2)) * math.sqrt(n - 3)


def powers():
    names = {0: "two-sided", 1: "smaller", 2: "larger"}
    for effect, n, alpha, kind in [(0.5, 14, 0.05, 0), (0.5, 14, 0.05, 2), (-0.8, 10, 0.01, 1), (0.2, 100, 0.05, 0),
                                   (1.5, 3, 0.05, 0), (3, 2, 0.1, 2), (0, 20, 0.05, 0), (0.3, 20, 0.05, 1)]:
        row("power_paired", effect, n, alpha, kind, TTestPower().power(effect, n, alpha, alternative=names[kind]))
    for n, alpha, power, kind in [(14, 0.05, 0.8, 0), (26, 0.05, 0.9, 2), (100, 0.01, 0.5, 0), (5, 0.05, 0.95, 2)]:
        excess = lambda d: TTestPower().power(d, n, alpha, alternative=names[kind]) - power
        most = 0.1
        while excess(most) < 0:
            most *= 2
        effect = optimize.brentq(excess, 0, most, xtol=1e-14, rtol=1e-14)  # solve_power stops at 1e-6
        row("detectable_paired", n, alpha, power, kind, effect)
    normal = stats.norm
    for rho, n, alpha, kind in [(0.6, 14, 0.05, 0), (-0.3, 50, 0.01, 1), (0.1, 1000, 0.05, 2), (0, 30, 0.05, 0)]:
        delta = (math.atanh(rho) + rho / (2 * (n - 1))) * math.sqrt(n - 3)
        c = critical_z(n, alpha / 2 if kind == 0 else alpha)
        power = {0: normal.sf(c - delta) + normal.cdf(-c - delta), 1: normal.cdf(-c - delta),
                 2: normal.sf(c - delta)}[kind]
        row("power_correlation", rho, n, alpha, kind, power)
    for n, alpha, power, kind in [(14, 0.05, 0.8, 2), (14, 0.05, 0.8, 1), (100, 0.01, 0.9, 2)]:
        z = (critical_z(n, alpha) + normal.ppf(power)) / math.sqrt(n - 3)
        r = optimize.brentq(lambda r: math.atanh(r) + r / (2 * (n - 1)) - z, 0, 1 - 1e-12, xtol=1e-15, rtol=1e-15)
        row("detectable_correlation", n, alpha, power, kind, -r if kind == 1 else r)
    for n in [6, 10, 14, 30]:
        for rho in [0.3, 0.6, 0.8]:
            draws = 200000
            x = rng.normal(size=(draws, n))
            y = rho * x + math.sqrt(1 - rho * rho) * rng.normal(size=(draws, n))
            x -= x.mean(axis=1, keepdims=True)
            y -= y.mean(axis=1, keepdims=True)
            r = (x * y).sum(axis=1) / np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
            t = stats.t.isf(0.025, n - 2)
            row("simulated_power", rho, n, np.mean(np.abs(r) > t / math.sqrt(t * t + n - 2)), draws)


out.write(f"# make_inference.py, Python {sys.version.split()[0]}, numpy {np.__version__}, scipy {scipy.__version__}, "
          f"statsmodels {statsmodels.__version__}, mpmath {mp.__version__}\n")
distributions()
correlations()
regressions()
tests()
powers()
out.close()
print("digits: largest relative difference of scipy and statsmodels from 60-digit arithmetic")
for kind, value in apart.items():
    print(f"    {kind}: {value:.1e}")
