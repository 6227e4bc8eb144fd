/* special.h - distributions: normal, Student's t, F, chi-squared, hypergeometric; the incomplete beta and gamma
 * functions behind them. Relative error of a probability: below 2e-13 for up to 10^4 degrees of freedom and values down
 * to 1e-300 (measured against 60-digit arithmetic, test/golden/make_inference.py), growing slowly beyond. NaN in, NaN
 * out; so do parameters outside their range. */
#ifndef QD_SPECIAL_H
#define QD_SPECIAL_H

#include "base/base.h"

/* P(Z <= z), and z with P(Z <= z) = p for p in [0, 1]. P(Z > z) is qd_normal_cdf(-z), without cancellation. */
double qd_normal_cdf(double z);
double qd_normal_quantile(double p);

/* Regularized incomplete beta I_x(a, b), a, b > 0; y = 1 - x is an argument, so that the caller can give both to full
 * relative precision. Cost: O(sqrt(a + b)) near the middle of the distribution, some tens of steps elsewhere. */
double qd_beta_inc(double a, double b, double x, double y);
/* x^a y^b / B(a, b): -x y times the slope of I_x; by Stirling errors and deviances (Loader 2000), so that it loses no
 * digits to large a and b. */
double qd_beta_kernel(double a, double b, double x, double y);
/* Regularized upper incomplete gamma Q(a, x), a > 0, x >= 0. Cost: O(sqrt(a)). */
double qd_gamma_q(double a, double x);

/* P(T > t), P(|T| > |t|) for df > 0 degrees of freedom (need not be whole), and t with P(T <= t) = p. */
double qd_t_sf(double t, double df);
double qd_t_two_sided(double t, double df);
double qd_t_quantile(double p, double df);
/* P(T > t), t >= 0, at noncentrality delta: the power of a t test (R. V. Lenth, algorithm AS 243, 1989, complemented).
 * Absolute error about 1e-14. NaN for |delta| over 1e5 unless it is 1 to all digits. Cost: some 20 |delta| terms. */
double qd_noncentral_t_sf(double t, double df, double delta);

double qd_f_sf(double f, double df1, double df2); /* P(F > f) */
double qd_chi2_sf(double x, double df);           /* P(X > x) */

/* Natural logarithm of the probability of k marked in a draw of n_drawn out of n, n_marked of which are marked;
 * -infinity outside the support. Counts below 2^53. */
double qd_hypergeometric_log(double k, double n_marked, double n_drawn, double n);

#endif
