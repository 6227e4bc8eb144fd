/* test_special.c - distributions against 60-digit arithmetic (test/golden/make_inference.py). */
#include "golden.h"

#include "stats/special.h"

#include <float.h>

static golden g;

/* Relative error in special.h. */
#define PROMISED 1e-13

TEST(the_normal_distribution) {
    int n = 0;
    CHECK(golden_open(&g, "inference.txt"));
    while (golden_next(&g)) {
        if (!strcmp(g.word, "normal_cdf")) {
            CHECK_NEAR(qd_normal_cdf(g.v[0]), g.v[1], g.v[1] < DBL_MIN * 100 ? 1e-12 : 1e-15);
            n++;
        } else if (!strcmp(g.word, "normal_quantile")) {
            CHECK_NEAR(qd_normal_quantile(g.v[0]), g.v[1], 1e-15);
            CHECK(qd_normal_quantile(1 - g.v[0]) == -qd_normal_quantile(1 - (1 - g.v[0])));
            n++;
        }
    }
    CHECK(n == 48);
    CHECK(qd_normal_cdf(0) == 0.5 && qd_normal_quantile(0.5) == 0);
    CHECK(qd_normal_cdf(INFINITY) == 1 && qd_normal_cdf(-INFINITY) == 0 && isnan(qd_normal_cdf(NAN)));
    CHECK(qd_normal_quantile(0) == -INFINITY && qd_normal_quantile(1) == INFINITY);
    CHECK(isnan(qd_normal_quantile(-0.1)) && isnan(qd_normal_quantile(1.1)) && isnan(qd_normal_quantile(NAN)));
    CHECK(qd_normal_quantile(5e-324) < -38 && qd_normal_quantile(5e-324) > -39);
}

TEST(students_t) {
    int n = 0;
    CHECK(golden_open(&g, "inference.txt"));
    while (golden_next(&g)) {
        if (!strcmp(g.word, "t_two_sided")) {
            CHECK_NEAR(qd_t_two_sided(g.v[0], g.v[1]), g.v[2], PROMISED);
            CHECK(qd_t_two_sided(-g.v[0], g.v[1]) == qd_t_two_sided(g.v[0], g.v[1]));
            CHECK_NEAR(qd_t_sf(g.v[0], g.v[1]), g.v[2] / 2, PROMISED);
            CHECK_NEAR(qd_t_sf(-g.v[0], g.v[1]), 1 - g.v[2] / 2, 1e-15);
            n++;
        } else if (!strcmp(g.word, "t_quantile")) {
            CHECK_NEAR(qd_t_quantile(g.v[0], g.v[1]), g.v[2], PROMISED);
            n++;
        }
    }
    CHECK(n == 196);
    CHECK(qd_t_two_sided(0, 3) == 1 && qd_t_two_sided(INFINITY, 3) == 0 && qd_t_quantile(0.5, 7) == 0);
    CHECK(isnan(qd_t_two_sided(NAN, 3)) && isnan(qd_t_two_sided(1, 0)) && isnan(qd_t_quantile(0.3, -1)));
    CHECK(isnan(qd_t_quantile(1.5, 3)) && qd_t_quantile(1, 3) == INFINITY && qd_t_quantile(0, 3) == -INFINITY);
    /* closed forms: Cauchy, 1 - t / sqrt(2 + t^2), the limit; t^2 beyond the range of double */
    CHECK_NEAR(qd_t_two_sided(1e200, 1), 2 / (acos(-1) * 1e200), PROMISED);
    CHECK_NEAR(qd_t_two_sided(1e120, 2), 1e-240, PROMISED);
    CHECK_NEAR(qd_t_two_sided(2.5, INFINITY), 2 * qd_normal_cdf(-2.5), 1e-15);
    CHECK_NEAR(qd_t_quantile(1e-300, 1), -1 / (acos(-1) * 1e-300), 1e-13);
    CHECK(qd_t_quantile(1e-300, 0.1) == -INFINITY);
    CHECK_NEAR(qd_t_two_sided(1.5, 1e9), 2 * qd_normal_cdf(-1.5), 1e-8); /* they differ by 1 / df or so */
}

TEST(f_chi2_and_the_noncentral_t) {
    int n = 0;
    CHECK(golden_open(&g, "inference.txt"));
    while (golden_next(&g)) {
        if (!strcmp(g.word, "f_sf")) {
            CHECK_NEAR(qd_f_sf(g.v[0], g.v[1], g.v[2]), g.v[3], 2 * PROMISED); /* 1e-203, 1500 degrees of freedom */
            n++;
        } else if (!strcmp(g.word, "chi2_sf")) {
            CHECK_NEAR(qd_chi2_sf(g.v[0], g.v[1]), g.v[2], PROMISED);
            n++;
        } else if (!strcmp(g.word, "noncentral_t")) {
            /* absolute: scipy's upper tail is 1 minus the lower one */
            CHECK(fabs(qd_noncentral_t_sf(g.v[0], g.v[1], g.v[2]) - g.v[3]) < 1e-13);
            n++;
        }
    }
    CHECK(n == 326);
    CHECK(qd_f_sf(0, 2, 3) == 1 && qd_f_sf(INFINITY, 2, 3) == 0 && isnan(qd_f_sf(1, 0, 3)));
    CHECK(qd_chi2_sf(0, 2) == 1 && qd_chi2_sf(INFINITY, 2) == 0 && isnan(qd_chi2_sf(1, -1)));
    CHECK_NEAR(qd_chi2_sf(1400, 2), exp(-700), PROMISED); /* exponential */
    CHECK_NEAR(qd_noncentral_t_sf(2, 7, 0), qd_t_sf(2, 7), 1e-14);
    CHECK(qd_noncentral_t_sf(2, 7, 1e6) == 1 && isnan(qd_noncentral_t_sf(1e6, 1, 2e5)));
    CHECK(qd_noncentral_t_sf(2, 30, -3) < 1e-4 && qd_noncentral_t_sf(2, 30, -3) >= 0);
}

TEST(the_incomplete_beta_is_consistent) {
    /* I_x(a, b) = 1 - I_y(b, a); I_x(a, 1) = x^a; I_x(1, b) = 1 - y^b; I_1/2(a, a) = 1/2; slope = kernel / (x y) */
    static const double sizes[] = {0.3, 0.5, 1, 2.5, 17, 120, 3000, 1e6};
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++)
            for (double x = 0.0625; x < 1; x += 0.125) {
                double a = sizes[i], b = sizes[j], p = qd_beta_inc(a, b, x, 1 - x);
                CHECK(p >= 0 && p <= 1);
                CHECK(fabs(p + qd_beta_inc(b, a, 1 - x, x) - 1) < 1e-14);
                if (sizes[j] == 1 && pow(x, a) > 0) CHECK_NEAR(p, pow(x, a), 1e-12); /* a * half a unit of log x */
            }
    for (int i = 0; i < 8; i++) CHECK_NEAR(qd_beta_inc(sizes[i], sizes[i], 0.5, 0.5), 0.5, 1e-12);
    for (double a = 0.5; a < 100; a *= 3) {
        double x = 0.4, h = 1e-5;
        double slope = (qd_beta_inc(a, 7, x + h, 1 - x - h) - qd_beta_inc(a, 7, x - h, 1 - x + h)) / (2 * h);
        CHECK(fabs(slope - qd_beta_kernel(a, 7, x, 1 - x) / (x * (1 - x))) < 1e-6); /* third derivative times h^2 */
    }
    CHECK(qd_beta_inc(2, 3, 0, 1) == 0 && qd_beta_inc(2, 3, 1, 0) == 1 && isnan(qd_beta_inc(-1, 3, 0.5, 0.5)));
    CHECK(isnan(qd_beta_inc(2, 3, NAN, 0.5)));
    CHECK(qd_gamma_q(3, 0) == 1 && qd_gamma_q(3, INFINITY) == 0 && isnan(qd_gamma_q(0, 1)));
}

TEST(the_hypergeometric_distribution) {
    int n = 0;
    CHECK(golden_open(&g, "inference.txt"));
    while (golden_next(&g)) {
        if (strcmp(g.word, "hypergeometric")) continue;
        /* of the log: 2e-16 of it is rounding of the deviances, 1e-14 that of Stirling's errors */
        CHECK(fabs(qd_hypergeometric_log(g.v[0], g.v[1], g.v[2], g.v[3]) - g.v[4]) < 1e-13 + 2e-15 * fabs(g.v[4]));
        n++;
    }
    CHECK(n == 40);
    double sum = 0;
    for (int k = -2; k <= 12; k++) sum += exp(qd_hypergeometric_log(k, 9, 11, 30));
    CHECK_NEAR(sum, 1, 1e-14);
    CHECK(qd_hypergeometric_log(10, 9, 11, 30) == -INFINITY && qd_hypergeometric_log(0, 0, 5, 30) == 0);
    CHECK(qd_hypergeometric_log(9, 9, 30, 30) == 0 && qd_hypergeometric_log(0, 9, 0, 30) == 0);
}

int main(void) {
    RUN(the_normal_distribution);
    RUN(students_t);
    RUN(f_chi2_and_the_noncentral_t);
    RUN(the_incomplete_beta_is_consistent);
    RUN(the_hypergeometric_distribution);
    return TEST_END();
}
