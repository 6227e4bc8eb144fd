/* special.c - distributions. Every density is exp(Stirling errors + deviances) times a root (C. Loader, Fast and
 * accurate computation of binomial probabilities, 2000): terms that are small where the density is large, where
 * log-gammas would cancel. What remains is a continued fraction or a series of the order of one. */
#include "stats/special.h"

#include <float.h>
#include <math.h>

#define PI 3.14159265358979323846
#define SQRT_2PI 2.50662827463100050242
#define MAX_STEPS 2000000 /* reached by no distribution with under 10^11 degrees of freedom; NaN beyond */

/* log(1 + d) - d. By 2 atanh(r), r = d / (2 + d), where the difference would cancel. */
static double log1p_minus(double d) {
    if (d < -0.5 || d > 1) return log1p(d) - d;
    double r = d / (2 + d), square = r * r, power = r * square, sum = 0;
    for (int k = 3; k < 60; k += 2) { /* |r| <= 1/3: 1/9 a term */
        double term = power / k;
        sum += term;
        if (fabs(term) <= DBL_EPSILON / 4 * fabs(sum)) break;
        power *= square;
    }
    return 2 * sum - d * r;
}

/* log Gamma(z + 1) - log(sqrt(2 pi z) (z / e)^z), z > 0: Stirling's series from 16 on, below by its recurrence. */
static double stirling_error(double z) {
    double below = 0;
    for (; z < 16; z += 1) below += (z + 0.5) * log1p(1 / z) - 1;
    double s = 1 / (z * z); /* the first term left out is 2e-15 of the sum at z = 16 */
    double series = 1.0 / 12 - s * (1.0 / 360 - s * (1.0 / 1260 - s * (1.0 / 1680 - s * (1.0 / 1188 -
                    s * (691.0 / 360360 - s / 156)))));
    return below + series / z;
}

/* a log(m / a) - m + a <= 0 with m - a given: minus the deviance of a from its mean m. */
static double deviance(double a, double m, double m_minus_a) {
    double d = m_minus_a / a;
    return d < -0.5 ? a * (log(m / a) - d) : a * log1p_minus(d);
}

double qd_beta_kernel(double a, double b, double x, double y) {
    double n = a + b, apart = b * x - a * y;
    if (x <= 0 || y <= 0) return 0;
    double log_density = stirling_error(n) - stirling_error(a) - stirling_error(b) + deviance(a, n * x, apart) +
                         deviance(b, n * y, -apart);
    return sqrt(a / n * b / (2 * PI)) * exp(log_density);
}

/* I_x(a, b) divided by the kernel, for x below the mean or so: the continued fraction of DiDonato and Morris 1992,
 * by the modified Lentz method. */
static double beta_fraction(double a, double b, double x, double y) {
    double lambda = a * y - b * x, f = a * (lambda + 1) / (a + 1), c, d = 0;
    if (f == 0) f = DBL_MIN;
    c = f;
    for (int m = 1; m < MAX_STEPS; m++) {
        double am = a + 2 * m, alpha = (a + m - 1) / (am - 1) * ((a + b + m - 1) / (am - 1)) * m * (b - m) * x * x;
        double beta = m + m * (b - m) * x / (am - 1) + (a + m) * (lambda + 1 + m * (1 + y)) / (am + 1);
        d = beta + alpha * d;
        c = beta + alpha / c;
        if (d == 0) d = DBL_MIN;
        if (c == 0) c = DBL_MIN;
        d = 1 / d;
        f *= c * d;
        if (fabs(c * d - 1) <= DBL_EPSILON) return 1 / f;
    }
    return NAN;
}

/* The same by the hypergeometric series, whose terms are all positive; a term is at most x of the last when b <= 1. */
static double beta_series(double a, double b, double x) {
    double term = 1, sum = 1;
    for (int k = 0; k < MAX_STEPS; k++) {
        term *= (a + b + k) / (a + 1 + k) * x;
        sum += term;
        if (term <= DBL_EPSILON / 4 * sum) return sum / a;
    }
    return NAN;
}

double qd_beta_inc(double a, double b, double x, double y) {
    if (!(a > 0 && b > 0 && x >= 0 && y >= 0)) return NAN;
    if (x == 0 || y == 0) return x == 0 ? 0 : 1;
    bool swap = b * x > a * y && x * (a + b + 2) > a + 1; /* beyond the mean the other tail is the small one */
    double p = swap ? b : a, q = swap ? a : b, u = swap ? y : x, v = swap ? x : y;
    double tail = qd_beta_kernel(p, q, u, v) * (u < 0.5 && q <= 40 ? beta_series(p, q, u) : beta_fraction(p, q, u, v));
    return swap ? 1 - tail : tail;
}

double qd_gamma_q(double a, double x) {
    if (!(a > 0 && x >= 0)) return NAN;
    if (x == 0 || isinf(x)) return x == 0 ? 1 : 0;
    double kernel = sqrt(a / (2 * PI)) * exp(deviance(a, x, x - a) - stirling_error(a)); /* x^a e^-x / Gamma(a) */
    if (x < a + 1) {
        double term = 1 / a, sum = term;
        for (int k = 1; k < MAX_STEPS; k++) {
            term *= x / (a + k);
            sum += term;
            if (term <= DBL_EPSILON / 4 * sum) return 1 - kernel * sum;
        }
        return NAN;
    }
    double b = x + 1 - a, c = 1 / DBL_MIN, d = 1 / b, f = d; /* Legendre's continued fraction, modified Lentz */
    for (int k = 1; k < MAX_STEPS; k++) {
        double numerator = -k * (k - a);
        b += 2;
        d = b + numerator * d;
        c = b + numerator / c;
        if (d == 0) d = DBL_MIN;
        if (c == 0) c = DBL_MIN;
        d = 1 / d;
        f *= c * d;
        if (fabs(c * d - 1) <= DBL_EPSILON) return kernel * f;
    }
    return NAN;
}

double qd_chi2_sf(double x, double df) {
    return x <= 0 ? (df > 0 ? 1 : NAN) : qd_gamma_q(df / 2, x / 2);
}

double qd_f_sf(double f, double df1, double df2) {
    if (!(df1 > 0 && df2 > 0) || isnan(f)) return NAN;
    if (f <= 0 || isinf(f)) return f <= 0 ? 1 : 0;
    double ratio = df1 / df2 * f;
    return qd_beta_inc(df2 / 2, df1 / 2, 1 / (1 + ratio), ratio / (1 + ratio));
}

double qd_normal_cdf(double z) {
    /* z / sqrt(2) = u + rest: the tail feels an error of u z^2 times as much */
    double u = z / 1.41421356237309504880, half = 0.70710678118654752440;
    if (!(fabs(z) < 40)) return isnan(z) ? z : z > 0;
    double high = (double)(float)z, rest = (high * 0.707106769084930419921875 - u) + /* the first factor has 24 bits */
                                           (z - high) * half + high * 1.210161710447897e-08;
    return 0.5 * (erfc(-u) + 2 / sqrt(PI) * exp(-u * u) * rest);
}

/* Newton on the logarithm of the tail, which is concave: from the left every step stays left of the root. */
static double normal_tail_quantile(double p) {
    double z = -sqrt(-2 * log(p)); /* cdf(z) <= exp(-z^2 / 2) / 2 */
    for (int i = 0; i < 100; i++) {
        double cdf = qd_normal_cdf(z);
        if (cdf == 0) return z; /* p is one of the last few denormals */
        double step = log(p / cdf) * cdf * SQRT_2PI * exp(0.5 * z * z);
        z += step;
        if (fabs(step) <= 1e-15 * fabs(z)) break;
    }
    return z;
}

double qd_normal_quantile(double p) {
    if (!(p >= 0 && p <= 1)) return NAN;
    if (p == 0 || p == 1) return p == 0 ? -INFINITY : INFINITY;
    double from_middle = p - 0.5, z = fabs(from_middle) * SQRT_2PI; /* exact difference; left of the root */
    if (p < 0.25) return normal_tail_quantile(p);
    if (p > 0.75) return -normal_tail_quantile(1 - p); /* 1 - p is exact */
    for (int i = 0; i < 100 && z > 0; i++) {
        double step = (fabs(from_middle) - 0.5 * erf(z / 1.41421356237309504880)) * SQRT_2PI * exp(0.5 * z * z);
        z += step;
        if (fabs(step) <= 1e-15 * z) break;
    }
    return copysign(z, from_middle);
}

/* x = df / (df + t^2) and y = 1 - x, both to full precision and without overflow. */
static void t_shares(double t, double df, double *x, double *y) {
    double ratio = t / sqrt(df), square = ratio * ratio;
    *x = 1 / (1 + square);
    *y = square < 1 ? square * *x : 1 / (1 + 1 / square);
}

double qd_t_two_sided(double t, double df) {
    double x, y;
    if (!(df > 0) || isnan(t)) return NAN;
    t = fabs(t);
    if (isinf(df)) return 2 * qd_normal_cdf(-t);
    t_shares(t, df, &x, &y);
    if (x > 1e-200 || isinf(t)) return qd_beta_inc(df / 2, 0.5, x, y);
    /* t^2 / df nears the largest number: I_x is proportional to x^(df / 2) */
    return qd_beta_inc(df / 2, 0.5, 1e-20, 1) * exp(df * (0.5 * log(df) - log(t) + 10 * log(10)));
}

double qd_t_sf(double t, double df) {
    double p = 0.5 * qd_t_two_sided(t, df);
    return t < 0 ? 1 - p : p;
}

/* Newton on log P as a function of log t, for P = P(|T| > t) or, from the middle, P(|T| <= t): both are concave, so a
 * start from the outer side, or one step, puts every iterate on that side. */
static double t_abs_quantile(double probability, bool is_tail, double df) {
    double kernel = qd_beta_kernel(0.5, df / 2, 1e-20, 1) * 1e10; /* P(|T| <= t) -> 2 kernel t / sqrt(df) */
    double log_t = is_tail ? log(-qd_normal_quantile(probability / 2)) : log(probability / (2 * kernel) * sqrt(df));
    for (int i = 0; i < 200; i++) {
        double x, y, t = exp(log_t);
        if (log_t > 700) return INFINITY;
        t_shares(t, df, &x, &y);
        double p = is_tail ? qd_t_two_sided(t, df) : qd_beta_inc(0.5, df / 2, y, x);
        double slope = (is_tail ? -2 : 2) * qd_beta_kernel(df / 2, 0.5, x, y); /* of P by log t */
        double step = x > 1e-200 ? log(probability / p) * p / slope : log(p / probability) / df;
        if (fabs(step) <= 1e-9) return t + t * step; /* steps square; log t itself is too coarse for far tails */
        log_t += step;
    }
    return NAN;
}

double qd_t_quantile(double p, double df) {
    if (!(p >= 0 && p <= 1 && df > 0)) return NAN;
    if (isinf(df)) return qd_normal_quantile(p);
    if (p == 0 || p == 1 || p == 0.5) return p == 0.5 ? 0 : p == 0 ? -INFINITY : INFINITY;
    double tail = p < 0.5 ? p : 1 - p, middle = fabs(p - 0.5);
    double t = tail < 0.125 ? t_abs_quantile(2 * tail, true, df) : t_abs_quantile(2 * middle, false, df);
    return p < 0.5 ? -t : t;
}

double qd_noncentral_t_sf(double t, double df, double delta) {
    double x, y, half = 0.5 * delta * delta, total = 0;
    if (!(t >= 0 && df > 0) || isnan(delta)) return NAN;
    t_shares(t, df, &x, &y);
    /* T = (Z + delta) / S: P(T <= t) is at most P(Z < -delta / 2) + P(S > delta / (2 t)). Beyond that, many terms. */
    if (delta > 18 && qd_chi2_sf(df * delta * delta / (4 * t * t), df) < 1e-17) return 1;
    if (delta < -40) return 0; /* T > 0 is Z > -delta */
    if (delta > 1e5) return NAN;
    /* sums over Poisson(delta^2 / 2) weights, from the mode outward: terms of even powers of delta, and of odd ones */
    double mode = floor(half);
    for (int direction = 0; direction < 2; direction++) {
        for (double j = direction ? mode - 1 : mode; j >= 0; j += direction ? -1 : 1) {
            double log_weight = half > 0 ? j * log(half) - half : (j > 0 ? -INFINITY : 0);
            double even = exp(log_weight - lgamma_r(j + 1, &(int){0}));
            double odd = delta / sqrt(2) * exp(log_weight - lgamma_r(j + 1.5, &(int){0}));
            total += 0.5 * (even * qd_beta_inc(df / 2, j + 0.5, x, y) + odd * qd_beta_inc(df / 2, j + 1, x, y));
            if (even + fabs(odd) < 1e-18) break;
        }
    }
    return total > 1 ? 1 : total < 0 ? 0 : total;
}

static double binomial_log(double k, double n, double p, double q) {
    if (k == 0) return n * log1p(-p);
    if (k == n) return n * log1p(-q);
    double apart = n * p - k; /* k (1 - p) - (n - k) p = k - n p */
    return stirling_error(n) - stirling_error(k) - stirling_error(n - k) + deviance(k, n * p, apart) +
           deviance(n - k, n * q, -apart) + 0.5 * log(n / (2 * PI * k * (n - k)));
}

double qd_hypergeometric_log(double k, double n_marked, double n_drawn, double n) {
    double n_plain = n - n_marked, p = n_drawn / n, q = (n - n_drawn) / n;
    if (k < 0 || k > n_marked || n_drawn - k < 0 || n_drawn - k > n_plain) return -INFINITY;
    if (n_drawn == 0 || n_drawn == n) return 0;
    return binomial_log(k, n_marked, p, q) + binomial_log(n_drawn - k, n_plain, p, q) - binomial_log(n_drawn, n, p, q);
}
