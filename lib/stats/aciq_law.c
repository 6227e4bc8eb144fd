/* aciq_law.c - the ACIQ threshold of named laws (Banner, Nahshan, Soudry 2019).
 *
 * For X of mean 0 and variance 1 the derivative of E[((|X| - a)+)^2] + c a^2, c = 1 / (3 4^bits), is 0 where
 * f(a) = E[(|X| - a)+] - c a is. f is convex and falls, so Newton's steps from a = 0 rise to the root. The tails
 * P(|X| > a), E[|X|; |X| > a] and E[X^2; |X| > a] have closed forms. */
#include "stats/special.h"

#include <qdisp/stats.h>

#include <math.h>
#include <string.h>

/* Of |X| above a. */
typedef struct tails {
    double share, first, second;
} tails;

typedef struct law {
    const char *name;
    size_t n_params;
    /* NULL, or what the parameters should be */
    const char *(*refuses)(const double *params);
    tails (*above)(const double *params, double a);
} law;

/* Normal of deviation s. E[|X|; > a] = 2 s phi(z), E[X^2; > a] = 2 s^2 (z phi(z) + Q(z)), z = a / s. */
static tails normal_above(double s, double a) {
    double z = a / s, q = qd_normal_cdf(-z), phi = exp(-0.5 * z * z) * 0.39894228040143267794;
    return (tails){2 * q, 2 * s * phi, 2 * s * s * (z * phi + q)};
}

static tails gaussian_above(const double *params, double a) {
    (void)params;
    return normal_above(1, a);
}

/* Scale b = 1 / sqrt 2. */
static tails laplace_above(const double *params, double a) {
    double b = 0.70710678118654752440, share = exp(-a / b);
    (void)params;
    return (tails){share, (a + b) * share, (a * a + 2 * a * b + 2 * b * b) * share};
}

/* X = T s, s^2 = (nu - 2) / nu. With f the density of T and t = a / s, by parts:
 *     E[T; > t] = f (nu + t^2) / (nu - 1), E[T^2; > t] = (t f (nu + t^2) + nu Q) / (nu - 2).
 * t f(t) is the beta kernel of nu / (nu + t^2). */
static tails student_above(const double *params, double a) {
    double nu = params[0], s = sqrt((nu - 2) / nu), t = a / s, square = nu + t * t, q = qd_t_sf(t, nu);
    /* at 0, and next to it where t f would lose digits by the division: f by its value at 0, (1 + t^2 / nu)^.. */
    double at_1 = qd_beta_kernel(nu / 2, 0.5, nu / (nu + 1), 1 / (nu + 1));
    double f = t > 1e-3 ? qd_beta_kernel(nu / 2, 0.5, nu / square, t * t / square) / t
                        : at_1 * exp(-0.5 * (nu + 1) * (log1p(t * t / nu) - log1p(1 / nu)));
    return (tails){2 * q, 2 * s * f * square / (nu - 1), 2 * s * s * (t * f * square + nu * q) / (nu - 2)};
}

static const char *student_refuses(const double *params) {
    return params[0] > 2 && params[0] <= 1e6 ? NULL : "nu in (2, 1e6]";
}

/* Density ~ exp(-|x / s|^beta): with z = (a / s)^beta, E[|X|^k; > a] = s^k Gamma((k + 1) / beta) / Gamma(1 / beta)
 * Q((k + 1) / beta, z); the variance sets s. */
static tails generalized_above(const double *params, double a) {
    double beta = params[0], one = lgamma(1 / beta), m2 = exp(lgamma(3 / beta) - one), s = 1 / sqrt(m2);
    double m1 = exp(lgamma(2 / beta) - one), z = pow(a / s, beta);
    return (tails){qd_gamma_q(1 / beta, z), s * m1 * qd_gamma_q(2 / beta, z), qd_gamma_q(3 / beta, z)};
}

static const char *generalized_refuses(const double *params) {
    return params[0] >= 0.1 && params[0] <= 100 ? NULL : "beta in 0.1..100";
}

static tails two_gaussian_above(const double *params, double a) {
    double p = params[0], ratio = params[1], s = 1 / sqrt(1 - p + p * ratio * ratio);
    tails body = normal_above(s, a), wide = normal_above(s * ratio, a);
    return (tails){(1 - p) * body.share + p * wide.share, (1 - p) * body.first + p * wide.first,
                   (1 - p) * body.second + p * wide.second};
}

static const char *two_gaussian_refuses(const double *params) {
    if (!(params[0] >= 0 && params[0] <= 1)) return "p in 0..1";
    return params[1] >= 1e-6 && params[1] <= 1e6 ? NULL : "ratio in 1e-6..1e6";
}

static const law laws[] = {
    {"gaussian", 0, NULL, gaussian_above},
    {"laplace", 0, NULL, laplace_above},
    {"student_t", 1, student_refuses, student_above},
    {"generalized_gaussian", 1, generalized_refuses, generalized_above},
    {"two_gaussian", 2, two_gaussian_refuses, two_gaussian_above},
};
enum { N_LAWS = sizeof laws / sizeof *laws, MAX_STEPS = 200 };

/* w e^w = z, z > 0 (Lambert's W0), by Newton's steps on w + log w = log z, which is concave: from the left they rise.
 */
static double lambert_w(double z) {
    double w = z < 2.718281828459045 ? z / (1 + z) : 1, from = 0;
    for (int step = 0; step < MAX_STEPS && fabs(w - from) > 1e-16 * w; step++) {
        from = w;
        w = w * (1 + log(z / w)) / (1 + w);
    }
    return w;
}

static double solve(const law *l, const double *params, double c) {
    double a = 0;
    if (!strcmp(l->name, "laplace")) return lambert_w(1 / c) * 0.70710678118654752440;
    for (int step = 0; step < MAX_STEPS; step++) {
        tails t = l->above(params, a);
        double next = t.first / (t.share + c); /* a - f / f' */
        if (!(fabs(next - a) > 1e-15 * a)) return next;
        a = next;
    }
    return a;
}

qdisp_status qdisp_aciq_law(qdisp_ctx *ctx, const char *name, const double *params, size_t n_params, unsigned bits,
                            double *alpha_over_sigma, double *mse_over_variance) {
    const law *l = NULL;
    if (!name || (n_params > 0 && !params)) return qd_fail(ctx, QDISP_EINVAL, "aciq: law or params is NULL");
    if (bits < 1 || bits > 16) return qd_fail(ctx, QDISP_EINVAL, "aciq: %u bits, not 1..16", bits);
    for (size_t i = 0; i < N_LAWS; i++) {
        if (!strcmp(laws[i].name, name)) l = &laws[i];
    }
    if (!l) {
        return qd_fail(ctx, QDISP_ENOTFOUND, "aciq: law '%s' is none of gaussian, laplace, student_t, "
                       "generalized_gaussian, two_gaussian", name);
    }
    if (n_params != l->n_params) {
        return qd_fail(ctx, QDISP_EINVAL, "aciq: %s has %zu parameters, not %zu", name, l->n_params, n_params);
    }
    const char *wanted = l->refuses ? l->refuses(params) : NULL;
    if (wanted) return qd_fail(ctx, QDISP_EINVAL, "aciq: %s needs %s, not %g", name, wanted, params[0]);
    double c = ldexp(1.0 / 3, -2 * (int)bits), a = solve(l, params, c);
    tails t = l->above(params, a);
    if (alpha_over_sigma) *alpha_over_sigma = a;
    if (mse_over_variance) *mse_over_variance = fmax(0, t.second - 2 * a * t.first + a * a * t.share) + c * a * a;
    return QDISP_OK;
}
