/* qdisp/stats.h - moments and shape of arrays, the census of a model, correlation and intervals. */
#ifndef QDISP_STATS_H
#define QDISP_STATS_H

#include <qdisp/base.h>
#include <qdisp/model.h>
#include <qdisp/table.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Mergeable moments of a set of numbers. Frozen struct. m2, m3, m4 are sums of powers of (x - mean). Non-finite
 * elements are counted and left out of everything else. n = 0: mean NaN, min +inf, max -inf. */
typedef struct qdisp_moments {
    uint64_t n;            /* finite elements */
    uint64_t n_non_finite; /* NaN and infinities */
    double mean, m2, m3, m4;
    double min, max;
} qdisp_moments;

/* Moments of data[n] of dtype F32, F16, BF16 or I8 (any alignment). Same bits on every instruction set; the order of
 * blocks is fixed, so also for any number of threads. Relative error against exact arithmetic: m2 below 7e-6, m4 below
 * 8e-5 in the worst case, some 1e-7 as a rule, wherever the mean lies (lib/stats/moments.c). Errors: EINVAL (NULL data
 * with n > 0), EUNSUPPORTED (dtype), ENOMEM. Cost: one pass, as fast as memory is read. */
QDISP_API qdisp_status qdisp_moments_compute(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n,
                                             qdisp_moments *out);
/* The same for each row of data[n_rows * n_columns]: out[n_rows]. Groups are rows of a reshaped array: groups of 128 of
 * a matrix [n_out, n_in] are n_out * n_in / 128 rows of 128; the heads of a projection [n_head * head_dim, n_in] are
 * n_head rows of head_dim * n_in. */
QDISP_API qdisp_status qdisp_moments_rows(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n_rows,
                                          size_t n_columns, qdisp_moments *out);
/* The same for each column of data[n_rows * n_columns]: out[n_columns]. m2 within 1e-5, m4 within 1.1e-4. Cost: one
 * pass in the order of memory, a second if 45 rows spread over the matrix say too little of some column's mean. */
QDISP_API qdisp_status qdisp_moments_columns(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n_rows,
                                             size_t n_columns, qdisp_moments *out);
/* into = moments of the union of two disjoint sets (Pebay 2008, eqs. 3.1). */
QDISP_API void qdisp_moments_merge(qdisp_moments *into, const qdisp_moments *from);
/* Excess kurtosis n m4 / m2^2 - 3 (population, "Fisher", biased: scipy's default); NaN if m2 = 0 or n = 0. */
QDISP_API double qdisp_moments_kurtosis(const qdisp_moments *moments);
/* Population standard deviation and skewness; NaN where undefined. */
QDISP_API double qdisp_moments_std(const qdisp_moments *moments);
QDISP_API double qdisp_moments_skewness(const qdisp_moments *moments);

/* The shape of a set of numbers. Frozen struct. What is not defined (too few elements, no spread) is NaN. F16, BF16 and
 * F32 that hold no more than 16 bits are counted exactly. Other F32 are counted by the upper 16 bits of their pattern:
 * every element is then known to 2^-8 of itself, which moves l2, l2 * t3 and l2 * t4 by at most 2^-8 times the mean of
 * |x|, 1 / hill_index by at most 2^-6, and outlier_energy as moving its limit of 6 by at most 2^-8 |x| / std would, and
 * 2^-6 of itself; as a rule some 1e-5, as these errors do not conspire. Where that bound says little, more than a
 * sixteenth of l2 (a mean beyond some nine standard deviations), l2, t3, t4 and outlier_energy are NaN. */
typedef struct qdisp_shape {
    qdisp_moments moments;
    double max_over_std;   /* largest |x - mean| / std */
    double l1, l2, t3, t4; /* L-moments l1 (the mean) and l2, ratios t3 = l3 / l2, t4 = l4 / l2, the L-kurtosis: 0.1226
                            * for a Gaussian (Hosking 1990; unbiased sample form). From n = 1, 2, 3, 4 on */
    double hill_index;     /* tail index of |x|: 1 / mean of ln(|x|_(i) / |x|_(k + 1)) over the n_tail = k largest (Hill
                            * 1975), k a thousandth of n, 10 at least; small: a heavy tail */
    uint64_t n_tail;
    double outlier_energy; /* share of sum (x - mean)^2 that elements with |x - mean| > 6 std have */
} qdisp_shape;

/* Shape of data[n]; arguments as qdisp_moments_compute, and the same errors. Same bits for any number of threads. Cost:
 * one pass, two steps an element: half the speed of qdisp_moments_compute or less; 1 MiB a thread. */
QDISP_API qdisp_status qdisp_shape_compute(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n,
                                           qdisp_shape *out);
/* Quantiles of data[n], or of |x| if magnitudes is not 0: out[i] = the smallest element x with at least a share
 * probabilities[i] in [0, 1] of the finite elements <= x (numpy's "inverted_cdf"); NaN if there is none. Exact where
 * the counts of qdisp_shape are, else off by at most 2^-7 of itself. n_probabilities >= 1. Errors: EINVAL too for a
 * probability outside [0, 1]. Cost: as qdisp_shape_compute. */
QDISP_API qdisp_status qdisp_quantiles(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n, int magnitudes,
                                       const double *probabilities, size_t n_probabilities, double *out);

/* Census: table "census", a row for every tensor with two or more dimensions, and for each part of a fused map (roles
 * attn.q, attn.k, attn.v; mlp.gate, mlp.up): tensor, role, layer, expert (missing outside experts), n, n_non_finite,
 * mean, std, kurtosis, l_kurtosis (t4), max_over_std, hill_index, outlier_energy (see qdisp_shape), row_kurtosis_max,
 * class (heavy > 50, moderate 15-50, mild 5-15, gaussian < 5). Cost: weights of a file are read once, in blocks of
 * 256 KiB a thread: memory does not grow with the file. A file that has shrunk since it was opened: EIO. */
QDISP_API qdisp_status qdisp_census(const qdisp_model *model, qdisp_table **out);
/* The same of a file of tensors whose model is not known, of any container (safetensors, GGUF, PyTorch; a folder or an
 * index of shards): role, layer and expert are missing; tensors of integers are left out. Errors: those of opening. */
QDISP_API qdisp_status qdisp_census_weights(qdisp_ctx *ctx, const char *path, qdisp_table **out);

/* ---- Correlation, regression, tests ----
 * Arrays are float64 and only read. NaN is a missing value: a pair or row that has one is left out, and n counts what
 * stays. A statistic that is not defined (too few values, a constant, an infinity among values that are summed) is
 * NaN, as is its p; infinities have ranks. p-values are by special functions, to a relative error of about 1e-12 of
 * what the data define, tails included. Functions of this block may run in several threads at once. Common errors:
 * EINVAL (NULL, a level, kind or size out of its range), ENOMEM. */

typedef enum qdisp_correlation {
    QDISP_CORRELATION_PEARSON = 0,
    QDISP_CORRELATION_SPEARMAN = 1, /* average ranks for ties */
    QDISP_CORRELATION_KENDALL = 2   /* tau-b */
} qdisp_correlation;

/* What a p-value speaks for: a value other than that of the hypothesis, a smaller one, a larger one. */
typedef enum qdisp_alternative { QDISP_TWO_SIDED = 0, QDISP_LESS = 1, QDISP_GREATER = 2 } qdisp_alternative;

/* Frozen struct. A one-sided alternative makes the interval one-sided: its other end is that of the range. */
typedef struct qdisp_correlation_test {
    double r;         /* the coefficient, in [-1, 1] */
    double p;         /* of the hypothesis that there is no correlation */
    uint64_t n;       /* pairs without NaN */
    double low, high; /* interval of the level asked for; NaN where n is too small for one */
} qdisp_correlation_test;

/* Pearson's product-moment correlation of x[n] and y[n]. p by Student's t with n - 2 degrees of freedom; low and high
 * by Fisher's z at `level` (0.95), standard error 1 / sqrt(n - 3), n >= 4. NaN if n < 3 or either is constant; r = 1
 * or -1 has p = 0 (two-sided) and the interval [r, r]. Sums are compensated to twice the precision of double, so r
 * and 1 - r^2 hold their digits for data far from zero and for r next to 1. Cost: O(n). */
QDISP_API qdisp_status qdisp_pearson(qdisp_ctx *ctx, const double *x, const double *y, size_t n,
                                     qdisp_alternative alternative, double level, qdisp_correlation_test *out);
/* Spearman's rank correlation: Pearson's of the ranks, ties at the mean of their places; infinities have ranks. p by
 * Student's t with n - 2 degrees of freedom (for n < 10 the permutation test is the exact one); interval by Fisher's z
 * with the standard error sqrt((1 + r^2 / 2) / (n - 3)) of Bonett and Wright 2000. Cost: O(n log n). */
QDISP_API qdisp_status qdisp_spearman(qdisp_ctx *ctx, const double *x, const double *y, size_t n,
                                      qdisp_alternative alternative, double level, qdisp_correlation_test *out);
/* Kendall's tau-b (concordant minus discordant pairs over the geometric mean of the pairs not tied in x and in y). p
 * is exact without ties if n <= 33 or if at most one pair is out of order, else by the normal approximation with the
 * correction for ties (Kendall 1970); interval by Fisher's z with the standard error sqrt(0.437 / (n - 4))
 * of Fieller, Hartley and Pearson 1957, n >= 5. Infinities have ranks. n < 2^31. Cost: O(n log n) (Knight 1966). */
QDISP_API qdisp_status qdisp_kendall(qdisp_ctx *ctx, const double *x, const double *y, size_t n,
                                     qdisp_alternative alternative, double level, qdisp_correlation_test *out);

/* Table "leave_one_out": a row for every pair without NaN: left_out (labels[i], or the index where labels is NULL), n
 * (pairs left), r, p (two-sided), low, high (interval at `level`), change (r minus that of all pairs). Cost: n times
 * that of the correlation. */
QDISP_API qdisp_status qdisp_leave_one_out(qdisp_ctx *ctx, qdisp_correlation kind, const double *x, const double *y,
                                           const char *const *labels, size_t n, double level, qdisp_table **out);

/* Partial correlation of x[n] and y[n] given covariates[n_covariates][n] (one after another): Pearson's of what is
 * left of x and of y after least squares on the covariates and a constant. p by Student's t with n - 2 - n_covariates
 * degrees of freedom (NaN if none); interval by Fisher's z, standard error 1 / sqrt(n - n_covariates - 3). NaN if the
 * covariates determine x or y. Errors: as qdisp_ols, for the covariates (the first is named x1). Cost: O(n
 * n_covariates^2). */
QDISP_API qdisp_status qdisp_partial(qdisp_ctx *ctx, const double *x, const double *y, const double *covariates,
                                     size_t n_covariates, size_t n, qdisp_alternative alternative, double level,
                                     qdisp_correlation_test *out);
/* Semipartial (part) correlation: the covariates are taken out of x alone and y stays whole, so r^2 is what x adds to
 * the R^2 of y. p is that of the partial correlation, as the hypotheses are one (x has no coefficient in the
 * regression of y on x and the covariates); a t of r sqrt(df / (1 - r^2)), which is sometimes printed, is not a test
 * of it. low and high are NaN: Fisher's z does not hold; bootstrap instead. Else as qdisp_partial. */
QDISP_API qdisp_status qdisp_semipartial(qdisp_ctx *ctx, const double *x, const double *y, const double *covariates,
                                         size_t n_covariates, size_t n, qdisp_alternative alternative, double level,
                                         qdisp_correlation_test *out);

/* Frozen struct: a least-squares fit as a whole. */
typedef struct qdisp_fit {
    uint64_t n, df;      /* rows used; n minus the number of coefficients */
    double r2, adjusted_r2;
    double loo_r2;       /* 1 - PRESS / total sum of squares: of predictions of every row by a fit without it, which
                            leverages give (Allen 1974); may be negative; NaN if a row has leverage 1 */
    double sigma;        /* residual standard deviation, of df degrees of freedom */
    double f, p;         /* F test that all coefficients but the constant are 0 */
} qdisp_fit;

/* Ordinary least squares of y[n] on a constant and columns[n_columns][n] (one after another), by a QR of the centred
 * columns. fit may be NULL. Table "coefficients": a row for the constant and each column: term ("(constant)",
 * names[i], or "x1", "x2", ... where names is NULL), coefficient, standard_error, t, p, low, high (at `level`), vif.
 * Errors: EINVAL also for fewer than n_columns + 2 rows, and for a column of which less than 2^-26 of its length
 * stands out of the constant and the columns before it (its VIF would pass 2^52 and no digit be left): named.
 * ENUMERIC for a value over 1e140, with its row. y constant: r2 and the like are NaN. Cost: O(n n_columns^2). */
QDISP_API qdisp_status qdisp_ols(qdisp_ctx *ctx, const double *y, const double *columns, const char *const *names,
                                 size_t n_columns, size_t n, double level, qdisp_fit *fit, qdisp_table **coefficients);
/* Variance inflation factors of columns[n_columns][n] into vif[n_columns]: 1 / (1 - R^2 of each on the others), from
 * one QR. Errors: as qdisp_ols. */
QDISP_API qdisp_status qdisp_vif(qdisp_ctx *ctx, const double *columns, size_t n_columns, size_t n, double *vif);

/* Wilson's score interval of a proportion, n_hits of n (Wilson 1927). Errors: EINVAL (n = 0, n_hits > n). */
QDISP_API qdisp_status qdisp_wilson(qdisp_ctx *ctx, uint64_t n_hits, uint64_t n, double level, double *low,
                                    double *high);
/* Fisher's exact test of the table {{a, b}, {c, d}}. odds_ratio: a d / (b c), the sample's (inf if only b c is 0, NaN
 * if a row or column is empty, and p is 1 then). GREATER: odds ratio over 1. Two-sided: the sum over all tables of
 * these margins that are at most as probable as this one, within 1e-12 (ties; rounding makes 1e-14). Counts below
 * 2^48. Cost: about the standard deviation of a. */
QDISP_API qdisp_status qdisp_fisher_exact(qdisp_ctx *ctx, const uint64_t table[4], qdisp_alternative alternative,
                                          double *odds_ratio, double *p);

/* p-values adjusted for n tests at once: Holm's step-down bounds the chance of any false finding (Holm 1979), Benjamini
 * and Hochberg's step-up the expected share of false ones among the findings (1995; independent or positively dependent
 * tests). adjusted[n] may be p itself. NaN stays NaN and does not count. Errors: EINVAL (a value outside [0, 1]). */
QDISP_API qdisp_status qdisp_holm(qdisp_ctx *ctx, const double *p, size_t n, double *adjusted);
QDISP_API qdisp_status qdisp_benjamini_hochberg(qdisp_ctx *ctx, const double *p, size_t n, double *adjusted);

/* Frozen struct: a t test of a mean difference. */
typedef struct qdisp_t_test {
    double difference, standard_error; /* of the means, x - y */
    double t, df, p;                   /* for the hypothesis that the difference is 0 */
    double low, high;                  /* interval of the difference at the level asked for */
    uint64_t n_x, n_y;                 /* values used; of pairs: n_x = n_y */
} qdisp_t_test;

/* Paired t test of x[n] and y[n]; y = NULL: of x alone against 0. NaN for fewer than 2 pairs. All differences alike:
 * the standard error is 0, t infinite and p 0, or both NaN if they are 0. */
QDISP_API qdisp_status qdisp_t_test_paired(qdisp_ctx *ctx, const double *x, const double *y, size_t n,
                                           qdisp_alternative alternative, double level, qdisp_t_test *out);
/* Welch's t test of two independent samples with unlike variances (Welch 1947, degrees of freedom by Satterthwaite).
 * NaN if a sample has fewer than 2 values. */
QDISP_API qdisp_status qdisp_t_test_welch(qdisp_ctx *ctx, const double *x, size_t n_x, const double *y, size_t n_y,
                                          qdisp_alternative alternative, double level, qdisp_t_test *out);

/* Frozen struct: a test of equivalence. */
typedef struct qdisp_tost {
    double difference, standard_error, df;
    double p_low, p_high, p; /* that the difference is not over margin_low, not under margin_high; the larger of both */
    double low, high;        /* interval at level 1 - 2 alpha: within the margins just if p < alpha */
    uint64_t n;
    int32_t equivalent;      /* 1 if p < alpha, else 0: not shown */
    int32_t reserved;        /* 0 */
} qdisp_tost;

/* Two one-sided paired t tests (Schuirmann 1987) that the mean of x - y lies between margin_low < margin_high, in the
 * unit of the data; y = NULL: the mean of x. alpha in (0, 0.5). Margins are to be set before the data are seen. NaN and
 * not equivalent for fewer than 2 pairs; all differences alike: p is 0 strictly between the margins, else 1. */
QDISP_API qdisp_status qdisp_tost_paired(qdisp_ctx *ctx, const double *x, const double *y, size_t n, double margin_low,
                                         double margin_high, double alpha, qdisp_tost *out);

/* Power of qdisp_pearson's test of a correlation rho with n pairs of normal data at significance alpha. An
 * approximation by Fisher's z and its bias (Cohen 1988): within 0.03 at n = 6, 0.02 at 10, 0.01 from 14 on
 * (against simulation). n >= 4. LESS asks for the power to find rho < 0, GREATER for rho > 0. */
QDISP_API qdisp_status qdisp_power_correlation(qdisp_ctx *ctx, double rho, uint64_t n, double alpha,
                                               qdisp_alternative alternative, double *power);
/* The smallest |rho| that n pairs find with the given power (in (alpha, 1)), by the same approximation; negative for
 * LESS. */
QDISP_API qdisp_status qdisp_detectable_correlation(qdisp_ctx *ctx, uint64_t n, double alpha, double power,
                                                    qdisp_alternative alternative, double *rho);
/* The same for a paired t test: effect is the mean difference over the standard deviation of differences; exact for
 * normal data, by the noncentral t distribution. n >= 2. Errors: ENUMERIC (alpha so small that the
 * power is not 1 yet at a noncentrality of 1e5). */
QDISP_API qdisp_status qdisp_power_paired(qdisp_ctx *ctx, double effect, uint64_t n, double alpha,
                                          qdisp_alternative alternative, double *power);
QDISP_API qdisp_status qdisp_detectable_paired(qdisp_ctx *ctx, uint64_t n, double alpha, double power,
                                               qdisp_alternative alternative, double *effect);

/* ---- Resampling ----
 *
 * Random numbers are counter-based (Philox 4x32-10): a result depends on data, seed and number of resamples only, not
 * on threads or instruction set. Pairs with a NaN are left out. A correlation is not defined for fewer than 3 pairs,
 * where x or y is constant and, for Pearson, where a value is infinite: then results are NaN, and all resamples count
 * as degenerate. At most 2^20 pairs. */

/* Of bootstrap intervals. q(p): the p-quantile of the resampled values, by linear interpolation. */
typedef enum qdisp_interval_method {
    QDISP_INTERVAL_PERCENTILE = 0, /* q((1 - level) / 2) .. q((1 + level) / 2) */
    QDISP_INTERVAL_BASIC = 1,      /* 2 estimate - q((1 + level) / 2) .. 2 estimate - q((1 - level) / 2) */
    QDISP_INTERVAL_BCA = 2         /* bias-corrected and accelerated (Efron 1987), acceleration by the jackknife */
} qdisp_interval_method;

/* Frozen struct. */
typedef struct qdisp_bootstrap {
    double estimate;       /* of the data */
    double low, high;      /* interval */
    double bias;           /* mean of the resampled values minus estimate */
    double standard_error; /* their standard deviation (n - 1) */
    uint64_t n_resamples, n_degenerate; /* n_degenerate: x or y constant in the resample; left out of all the rest */
} qdisp_bootstrap;

/* Bootstrap of a correlation of x[n] and y[n], resampling pairs; level in (0, 1), n_resamples 100..1e8. BCa is NaN if
 * leaving one pair out makes x or y constant; it costs n more evaluations. Errors: EINVAL, ENOMEM, ECANCELLED. Cost:
 * n_resamples n, Kendall n_resamples n^2 / 8 up to n = 256 and n_resamples n log n beyond; 8 bytes a resample. */
QDISP_API qdisp_status qdisp_bootstrap_correlation(qdisp_ctx *ctx, qdisp_correlation kind, const double *x,
                                                   const double *y, size_t n, qdisp_interval_method method,
                                                   double level, size_t n_resamples, uint64_t seed,
                                                   qdisp_bootstrap *out);

/* Bias-corrected and accelerated bootstrap interval (Efron 1987) of the ratio sum(a) / sum(b), resampling pairs
 * (clusters) n times: a[n], b[n]; level 0.95; n_resamples >= 100. The interval depends only on data and seed. Errors:
 * EINVAL (n < 3 and so on), ENUMERIC (a sum of b that is not positive), ENOMEM, ECANCELLED. */
QDISP_API qdisp_status qdisp_bootstrap_ratio(qdisp_ctx *ctx, const double *a, const double *b, size_t n, double level,
                                             size_t n_resamples, uint64_t seed, double *low, double *high);

/* Frozen struct. */
typedef struct qdisp_permutation {
    double estimate;         /* of the data */
    double p;
    double null_sd;          /* standard deviation of the permuted values; 1 / sqrt(n - 1) in theory for Pearson and
                                Spearman, exactly so over all permutations */
    uint64_t n_permutations; /* evaluated; n! if exact */
    uint64_t n_extreme;      /* as extreme as the data or more, up to 1e-12 of the largest possible value */
    uint64_t exact;          /* 1: all n! were evaluated, p = n_extreme / n!; 0: p = (n_extreme + 1) / (n + 1) */
} qdisp_permutation;

/* Permutation test of a correlation: y against x in random order (Fisher-Yates), or in every order if n! <=
 * n_permutations or n <= 9; n counts the pairs without NaN. n_permutations 100..1e8. Undefined cases: see above;
 * n_permutations is 0 then. Errors: EINVAL, ENOMEM, ECANCELLED. Cost: n_permutations n, Kendall n_permutations n^2 / 8
 * up to n = 256 and n_permutations n log n beyond. */
QDISP_API qdisp_status qdisp_permutation_correlation(qdisp_ctx *ctx, qdisp_correlation kind, const double *x,
                                                     const double *y, size_t n, qdisp_alternative alternative,
                                                     size_t n_permutations, uint64_t seed, qdisp_permutation *out);

/* Jackknife of a correlation (Efron and Tibshirani 1993, eqs. 11.4, 11.5). Frozen struct. All but estimate and
 * n_degenerate are NaN if n_degenerate > 0. */
typedef struct qdisp_jackknife {
    double estimate;
    double bias;           /* (n - 1) (mean of the leave-one-out values - estimate) */
    double standard_error; /* sqrt((n - 1) / n sum (value - mean)^2) */
    double low, high;      /* least and greatest leave-one-out value: what one pair can do */
    uint64_t n_degenerate; /* leave-one-out samples with x or y constant */
} qdisp_jackknife;
QDISP_API qdisp_status qdisp_jackknife_correlation(qdisp_ctx *ctx, qdisp_correlation kind, const double *x,
                                                   const double *y, size_t n, qdisp_jackknife *out);

/* ---- Clipping of a law ---- */

/* ACIQ (Banner, Nahshan, Soudry 2019): the threshold a that minimises E[((|X| - a)+)^2] + a^2 / (3 4^bits), the root of
 * E[(|X| - a)+] = a / (3 4^bits), and that minimum, both for the law scaled to mean 0 and variance 1. Laws, parameters:
 *     "gaussian"; "laplace"; "student_t" {nu in (2, 1e6]};
 *     "generalized_gaussian" {beta in 0.1..100}, density ~ exp(-|x / s|^beta);
 *     "two_gaussian" {p in 0..1, ratio in 1e-6..1e6}: a share p has `ratio` times the deviation of the rest.
 * bits 1..16. Relative error below 1e-12. Errors: EINVAL, ENOTFOUND (law). Either output may be NULL. */
QDISP_API qdisp_status qdisp_aciq_law(qdisp_ctx *ctx, const char *law, const double *params, size_t n_params,
                                      unsigned bits, double *alpha_over_sigma, double *mse_over_variance);

/* Frozen struct. */
typedef struct qdisp_aciq {
    double alpha;       /* threshold, in the unit of the data */
    double mse;         /* mean ((|x| - alpha)+)^2 + rounding noise, step^2 / 12: what the model expects */
    double mean_square; /* of the data */
    uint64_t n;
} qdisp_aciq;

/* The same for the numbers data[n] of dtype F32, F16, BF16 (any alignment), whatever their law: symmetric about 0.
 * full_range: 1: 2^bits levels, step alpha / 2^(bits - 1), as in the paper; 0: 2^bits - 1 levels, step alpha /
 * (2^(bits - 1) - 1), bits >= 2. bits up to 16. All zeros: alpha 0. Same result for any number of threads. Errors:
 * EINVAL (n = 0, bits), EUNSUPPORTED (dtype), ENUMERIC (NaN, infinity), ENOMEM, ECANCELLED. Cost: 5 to 10 passes. */
QDISP_API qdisp_status qdisp_aciq_array(qdisp_ctx *ctx, const void *data, qdisp_dtype dtype, size_t n, unsigned bits,
                                        int full_range, qdisp_aciq *out);

/* ---- Losses and divergences of rows ----
 *
 * For engines that bring their own logits and attention. Arrays are f32, row-major, n_rows rows of n_columns, the first
 * elements `stride` elements apart (0: n_columns); results are natural logarithms (nats), one a row, the same bits for
 * any number of threads. Bounds: u = 2^-24. Errors: EINVAL (NULL arrays, no columns, stride < n_columns), ENOMEM,
 * ECANCELLED. Cost: one pass over memory; a few doubles a row. */

/* nll[i] = log(sum_j exp(logits[i][j])) - logits[i][targets[i]], the loss of target i. Off by at most (9 + E[max -
 * x]) u, E over softmax(x): 1e-6 for logits as models have them. Of -inf: a target +inf; a whole row NaN. A NaN or
 * +inf anywhere in a row gives NaN. Errors: also EINVAL for a target outside 0..n_columns - 1, with its row. */
QDISP_API qdisp_status qdisp_nll_rows(qdisp_ctx *ctx, const float *logits, const int32_t *targets, size_t n_rows,
                                      size_t n_columns, size_t stride, double *nll);

/* What a model with logits y loses against one with logits x: kl[i] = KL(softmax(x[i]) || softmax(y[i])) = sum_j p_j
 * log(p_j / q_j) >= 0 (what rounding puts below 0 is 0). Small divergences keep their digits and constants added to a
 * row change nothing but the rounding of its elements: off by at most as if each x - max(x) and y - max(y) were
 * rounded to f32 (with KL 1e-6, some 1e-9), plus 40 u of KL and of (E[t])^2, t = y - max(y) - x + max(x);
 * lib/kernels/kernels.inc has the bound in full, also for rows that are far apart. An element with x = -inf counts
 * nothing; y = -inf where p > 0 gives +inf (p below 1e-38 of the largest is 0); NaN as above. lse_x, lse_y: the
 * logarithms of the sums, so that lse_x[i] - x[i][target] is the loss of a target; same_top[i]: 1 if the largest
 * elements (the first of equal ones) stand in one column, else 0, also beside a NaN. Each may be NULL. */
QDISP_API qdisp_status qdisp_softmax_kl(qdisp_ctx *ctx, const float *x, const float *y, size_t n_rows,
                                        size_t n_columns, size_t stride, double *kl, double *lse_x, double *lse_y,
                                        uint8_t *same_top);

/* Jensen-Shannon divergence of probability rows, such as those of attention: js[i] = sum_j p_j log(2 p_j / (p_j +
 * q_j)) / 2 + q_j log(2 q_j / (p_j + q_j)) / 2 (Lin 1991), 0 log 0 = 0; 0..log 2 nats. Its root is the Jensen-Shannon
 * distance, a metric (scipy's jensenshannon; divide by sqrt(log 2) for base 2). Rows are taken as they are, never
 * rescaled: a row that does not sum to 1 should be divided by its sum before. Off by at most 30 u relatively, however
 * near p is to q, plus 2e-38 an element. A negative, infinite or NaN element gives NaN. */
QDISP_API qdisp_status qdisp_js_divergence(qdisp_ctx *ctx, const float *p, const float *q, size_t n_rows,
                                           size_t n_columns, size_t stride, double *js);

#ifdef __cplusplus
}
#endif
#endif
