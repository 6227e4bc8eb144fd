/* test_reference.c - the C kernels against straightforward double arithmetic. u = 2^-24 is half an ulp of a float at 1;
 * each bound counts the roundings of the kernel, and says so. */
#include "../harness.h"
#include "inputs.h"
#include "kernels/kernels.h"

#include <float.h>

enum { N = 5003 };
#define U 0x1p-24

static const qd_kernels *c;
static float x[N], y[N], out[N];

/* |got - want| <= bound, absolutely. */
#define CHECK_WITHIN(got, want, bound) CHECK(fabs((double)(got) - (double)(want)) <= (double)(bound))

TEST(widening_is_exact) {
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t h = (uint16_t)i;
        float f, g;
        uint32_t bits, exponent = (i >> 10) & 31, fraction = i & 1023;
        c->to_f32_f16(&h, 1, &f);
        c->to_f32_bf16(&h, 1, &g);
        memcpy(&bits, &g, sizeof bits);
        if (bits != i << 16) CHECK(!"bf16 is the upper half");
        if (exponent == 31 && fraction) {
            if (!isnan(f)) CHECK(!"NaN stays");
            continue;
        }
        double want = exponent == 31 ? INFINITY
                      : exponent     ? ldexp(1024 + fraction, (int)exponent - 25)
                                     : ldexp(fraction, -24);
        if (!signbit(f) != !(i >> 15)) CHECK(!"sign");
        if (fabs((double)f) != want) CHECK(!"value");
    }
}

static void check_power_sums(enum input_kind kind, float pivot) {
    long double s[4] = {0}, a[4] = {0};
    qd_power_sums sums;
    uint64_t n_finite = 0;
    double min = INFINITY, max = -INFINITY;
    input_fill(kind, 7, x, N);
    c->power_sums(x, N, pivot, &sums);
    for (size_t i = 0; i < N; i++) {
        if (!isfinite(x[i])) continue;
        long double d = (long double)x[i] - pivot, p = d;
        for (int k = 0; k < 4; k++, p *= d) s[k] += p, a[k] += fabsl(p);
        n_finite++;
        min = fmin(min, (double)x[i]);
        max = fmax(max, (double)x[i]);
    }
    CHECK(sums.n_finite == n_finite && sums.min == min && sums.max == max);
    double got[4] = {sums.s1, sums.s2, sums.s3, sums.s4};
    /* 9 additions, x - pivot rounded once and used p times, p - 1 products */
    for (int k = 0; k < 4; k++) CHECK(fabsl(got[k] - s[k]) <= (long double)((10 + 2 * k) * U) * a[k]);
}

TEST(power_sums_of_any_magnitude) {
    for (int kind = 0; kind < N_KINDS; kind++) check_power_sums((enum input_kind)kind, 0.0f);
    check_power_sums(SHIFTED, 1e4f);
    check_power_sums(CONSTANT, 0.37f);
    check_power_sums(HUGE_ONES, -1e38f);
    check_power_sums(SPECIAL, 0.5f);
}

enum { N_COLUMNS = 37, N_ROWS = 100 };

static void check_column_sums(enum input_kind kind, float pivot) {
    double sums[4][N_COLUMNS] = {{0}}, squares[N_COLUMNS] = {0};
    float range[2 * N_COLUMNS], pivots[N_COLUMNS];
    uint64_t n_bad[N_COLUMNS] = {0};
    qd_column_sums into = {&sums[0][0], range, range + N_COLUMNS, n_bad};
    input_fill(kind, 3, x, N_COLUMNS * N_ROWS);
    for (size_t j = 0; j < N_COLUMNS; j++) range[j] = INFINITY, range[N_COLUMNS + j] = -INFINITY, pivots[j] = pivot;
    c->column_sums(x, N_ROWS, N_COLUMNS, N_COLUMNS, pivot == 0 ? NULL : pivots, &into);
    c->column_squares(x, N_ROWS, N_COLUMNS, N_COLUMNS, squares);
    for (size_t j = 0; j < N_COLUMNS; j++) {
        long double s[4] = {0}, a[4] = {0}, sum2 = 0;
        float min = INFINITY, max = -INFINITY;
        uint64_t n = 0;
        for (size_t i = 0; i < N_ROWS; i++) {
            float v = x[i * N_COLUMNS + j];
            long double d = (long double)v - pivot, p = d;
            sum2 += (long double)v * v;
            if (!isfinite(v)) continue;
            for (int k = 0; k < 4; k++, p *= d) s[k] += p, a[k] += fabsl(p);
            min = fminf(min, v);
            max = fmaxf(max, v);
            n++;
        }
        CHECK(n_bad[j] == N_ROWS - n && range[j] == min && range[N_COLUMNS + j] == max);
        /* 15 additions, x - pivot rounded once and used p times, p - 1 products */
        for (int k = 0; k < 4; k++) CHECK(fabsl(sums[k][j] - s[k]) <= (long double)((16 + 2 * k) * U) * a[k]);
        /* 7 additions and a product */
        if (n == N_ROWS) CHECK(fabsl(squares[j] - sum2) <= (long double)(10 * U) * sum2);
        if (n < N_ROWS) CHECK(!isfinite(squares[j]));
    }
}

TEST(column_sums_of_any_magnitude) {
    for (int kind = 0; kind < N_KINDS; kind++) check_column_sums((enum input_kind)kind, 0.0f);
    check_column_sums(SHIFTED, 1e4f);
    check_column_sums(CONSTANT, 0.37f);
    check_column_sums(HUGE_ONES, -1e38f);
    check_column_sums(SPECIAL, 0.5f);
}

/* The kernels that widen on the way give the bits of those over the widened elements. */
TEST(moments_of_other_types_are_those_of_floats) {
    enum { HALVES = 4096 };
    uint16_t h[HALVES];
    int8_t bytes[HALVES];
    input_fill(WEIGHTS, 12, x, HALVES);
    for (int type = 0; type < 3; type++) {
        double sums[2][4 * 64] = {{0}};
        float range[2][128];
        uint64_t n_bad[2][64] = {{0}};
        qd_column_sums into[2];
        qd_power_sums a, b;
        for (size_t i = 0; i < HALVES; i++) {
            h[i] = (uint16_t)(i * 40503u + 77u * (i >> 4)); /* infinities and NaN among them */
            bytes[i] = (int8_t)(i * 131u);
            if (type == 2) x[i] = (float)bytes[i];
        }
        if (type < 2) (type ? c->to_f32_bf16 : c->to_f32_f16)(h, HALVES, x);
        for (size_t k = 0; k < 2; k++) {
            for (size_t j = 0; j < 64; j++) range[k][j] = INFINITY, range[k][64 + j] = -INFINITY;
            into[k] = (qd_column_sums){sums[k], range[k], range[k] + 64, n_bad[k]};
        }
        c->power_sums(x, HALVES, 0.25f, &a);
        c->column_sums(x, HALVES / 64, 64, 64, NULL, &into[0]);
        if (type == 2) {
            c->power_sums_i8(bytes, HALVES, 0.25f, &b);
            c->column_sums_i8(bytes, HALVES / 64, 64, 64, NULL, &into[1]);
        } else {
            (type ? c->power_sums_bf16 : c->power_sums_f16)(h, HALVES, 0.25f, &b);
            (type ? c->column_sums_bf16 : c->column_sums_f16)(h, HALVES / 64, 64, 64, NULL, &into[1]);
        }
        CHECK(memcmp(&a, &b, sizeof a) == 0 && a.n_finite > 0 && (type == 2 || a.n_finite < HALVES));
        CHECK(!memcmp(sums[0], sums[1], sizeof sums[0]) && !memcmp(range[0], range[1], sizeof range[0]) &&
              !memcmp(n_bad[0], n_bad[1], sizeof n_bad[0]));
    }
}

TEST(counts_of_patterns) {
    static uint32_t counts[131072];
    float v[3] = {1.0f, -2.0f, NAN};
    uint16_t h[3] = {7, 7, 0xffff};
    CHECK(c->count_f32(v, 3, counts) == 0 && counts[2 * 0x3f80] == 1 && counts[2 * 0xc000 + 1] == 1);
    CHECK(counts[2 * 0x7fc0] == 1);
    c->count_16(h, 3, counts);
    CHECK(counts[14] == 1 && counts[15] == 1 && counts[2 * 0xffff] == 1);
    v[1] = 1.0f + 0x1p-20f;
    CHECK(c->count_f32(v, 2, counts) == 8 && counts[2 * 0x3f80] == 2 && counts[2 * 0x3f80 + 1] == 1);
    memset(counts, 0, sizeof counts);
    input_fill(SPECIAL, 13, x, N);
    uint64_t total = 0;
    c->count_f32(x, N, counts);
    for (size_t i = 0; i < 131072; i++) total += counts[i];
    for (size_t i = 0; i < N; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        if (counts[2 * (bits >> 16)] + counts[2 * (bits >> 16) + 1] == 0) CHECK(!"its counter");
    }
    CHECK(total == N);
}

TEST(bad_values_are_seen_or_skipped) {
    float v[5] = {1, -3, NAN, INFINITY, 2};
    double squares[1] = {0};
    CHECK(c->abs_max(v, 2) == 3.0f && c->abs_max(v, 0) == 0.0f && c->abs_max(v, 3) == INFINITY);
    c->column_squares(v, 5, 1, 1, squares);
    CHECK(isnan(squares[0]));
}

TEST(sums_of_magnitudes) {
    long double want = 0;
    input_fill(HUGE_ONES, 4, x, N);
    for (size_t i = 0; i < N; i++) want += fabsl((long double)x[i]);
    CHECK_NEAR(c->abs_sum(x, N), (double)want, N * DBL_EPSILON);
}

TEST(quantizing_rounds_half_to_even_and_saturates) {
    const qd_grid unit = {1.0f, 1.0f, -8, 7};
    float v[] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 7.5f, 6.5f, -8.5f, 1e30f, -1e30f, INFINITY, NAN, 0.49999997f, -0.0f};
    int8_t want[] = {0, 2, 2, 0, -2, 7, 6, -8, 7, -8, 7, 0, 0, 0}, codes[14];
    c->quantize_codes(v, 14, &unit, codes);
    c->quantize(v, 14, &unit, out);
    for (size_t i = 0; i < 14; i++) {
        CHECK(codes[i] == want[i] && out[i] == (float)want[i]);
        CHECK(out[i] != 0 || !signbit(out[i]));
    }
    const qd_grid grid = {0.03f, 1.0f / 0.03f, -127, 127};
    input_fill(NORMAL, 5, x, N);
    c->quantize(x, N, &grid, out);
    for (size_t i = 0; i < N; i++) {
        float t = x[i] * grid.inverse, code = fminf(fmaxf(nearbyintf(t), -127.0f), 127.0f);
        if (out[i] != code * grid.scale) CHECK(!"code times scale");
    }
}

TEST(errors_of_grids_and_columns) {
    qd_grid grids[3] = {{0.01f, 100.0f, -8, 7}, {0.003f, 1.0f / 0.003f, -128, 127}, {0.0f, 0.0f, -8, 7}};
    double errors[3], columns[N] = {0}, squares[N] = {0};
    input_fill(WEIGHTS, 5, x, N);
    input_fill(NORMAL, 6, y, N);
    for (size_t i = 0; i < N; i++) y[i] = fabsf(y[i]);
    for (int weighted = 0; weighted < 2; weighted++) {
        c->grid_errors(x, weighted ? y : NULL, N, grids, 3, errors);
        for (size_t k = 0; k < 3; k++) {
            double want = 0;
            c->quantize(x, N, &grids[k], out);
            for (size_t i = 0; i < N; i++) {
                want += pow((double)x[i] - (double)out[i], 2) * (weighted ? (double)y[i] : 1);
            }
            /* 7 additions, the square of a rounded difference (3), the weight (1); all terms are >= 0 */
            CHECK_NEAR(errors[k], want, 11 * U);
        }
    }
    c->quantize(x, N, &grids[0], out);
    c->column_measure(x, out, 1, N, N, N, columns, squares);
    for (size_t i = 0; i < N; i++) CHECK_NEAR(columns[i], pow((double)x[i] - (double)out[i], 2), 3 * U);
}

static void check_round_f16(float v, float want) {
    float v4[4] = {v, -v, v, -v}, got[4];
    c->round_f16(v4, 4, got);
    if (got[0] != want || got[1] != -want || !signbit(got[1])) CHECK(!"the nearest f16");
}

/* Every f16 value is its own, and the floats at and beside the middle of two neighbours decide all others. */
TEST(f16_rounding_is_to_the_nearest_even) {
    for (uint32_t i = 0; i < 0x7c00; i++) {
        uint16_t h[2] = {(uint16_t)i, (uint16_t)(i + 1)};
        float f[2], nan = NAN;
        c->to_f32_f16(h, 2, f);
        if (i == 0x7bff) f[1] = 65536.0f; /* where the next would be */
        float middle = (f[0] + f[1]) / 2, next = i == 0x7bff ? INFINITY : f[1];
        check_round_f16(f[0], f[0]);
        check_round_f16(nextafterf(middle, 0.0f), f[0]);
        check_round_f16(middle, i % 2 ? next : f[0]);
        check_round_f16(nextafterf(middle, INFINITY), next);
        c->round_f16(&nan, 1, &nan);
        if (!isnan(nan)) CHECK(!"NaN stays");
    }
    check_round_f16(INFINITY, INFINITY);
    check_round_f16(FLT_MAX, INFINITY);
    check_round_f16(0x1p-149f, 0.0f);
}

TEST(column_grid_errors_over_eight_rows) {
    enum { COLUMNS = 137, ROWS = 8 };
    static const qd_grid grids[2] = {{0.01f, 100.0f, -8, 7}, {0.003f, 1.0f / 0.003f, -127, 127}};
    static float errors[2 * COLUMNS];
    memset(errors, 0, sizeof errors);
    input_fill(WEIGHTS, 5, x, COLUMNS * ROWS);
    for (size_t i = 0; i < ROWS; i++) c->column_grid_errors(x + i * COLUMNS, COLUMNS, grids, 2, errors);
    for (size_t k = 0; k < 2; k++) {
        double want[COLUMNS] = {0};
        c->quantize(x, COLUMNS * ROWS, &grids[k], out);
        for (size_t i = 0; i < COLUMNS * ROWS; i++) want[i % COLUMNS] += pow((double)x[i] - (double)out[i], 2);
        /* 7 additions, the square of a rounded difference (3) */
        for (size_t j = 0; j < COLUMNS; j++) CHECK_NEAR(errors[k * COLUMNS + j], want[j], 10 * U);
    }
}

TEST(column_measure_of_any_magnitude) {
    enum { COLUMNS = 37, ROWS = 100, STRIDE = 41 };
    for (int kind = 0; kind <= ZEROS; kind++) {
        double errors[COLUMNS] = {0}, squares[COLUMNS] = {0};
        input_fill((enum input_kind)kind, 3, x, STRIDE * ROWS);
        input_fill((enum input_kind)kind, 4, y, COLUMNS * ROWS);
        c->column_measure(x, y, ROWS, COLUMNS, STRIDE, COLUMNS, errors, squares);
        for (size_t j = 0; j < COLUMNS; j++) {
            long double e = 0, s = 0;
            for (size_t i = 0; i < ROWS; i++) {
                long double q = y[i * COLUMNS + j], d = x[i * STRIDE + j] - q;
                e += d * d;
                s += q * q;
            }
            /* 7 additions, the square of a rounded difference (3) */
            CHECK(fabsl(errors[j] - e) <= (long double)(10 * U) * e);
            CHECK(fabsl(squares[j] - s) <= (long double)(10 * U) * s);
        }
    }
    double errors[1] = {0}, squares[1] = {0};
    float bad[2] = {NAN, 1}, fine[2] = {1, 1};
    c->column_measure(bad, fine, 2, 1, 1, 1, errors, squares);
    CHECK(isnan(errors[0]) && squares[0] == 2);
    c->column_measure(fine, bad, 2, 1, 1, 1, errors, squares);
    CHECK(isnan(squares[0]));
}

TEST(weighted_products_within_their_bound) {
    static float q[N], e[N];
    input_fill(WEIGHTS, 6, x, N);
    input_fill(WEIGHTS, 7, q, N);
    input_fill(MIXED_SCALES, 8, e, N);
    long double squares = 0, products = 0, all = 0;
    double sums[2];
    for (size_t i = 0; i < N; i++) {
        e[i] = fminf(fabsf(e[i]), 1e6f);
        squares += (long double)e[i] * x[i] * x[i];
        products += (long double)e[i] * x[i] * q[i];
        all += fabsl((long double)e[i] * x[i] * q[i]);
    }
    c->weighted_products(x, q, e, N, sums);
    CHECK(fabsl(sums[0] - squares) <= (long double)(9 * U) * squares);
    CHECK(fabsl(sums[1] - products) <= (long double)(9 * U) * all);
}

TEST(excesses_over_a_threshold) {
    for (int kind = 0; kind <= SPECIAL; kind++) {
        static const float thresholds[] = {-1.0f, 0.0f, 0.1f, 2.5f};
        input_fill((enum input_kind)kind, 6, x, N);
        input_fill(NORMAL, 7, y, N);
        for (size_t i = 0; i < N; i++) {
            y[i] = fabsf(y[i]);
            if (isinf(x[i])) x[i] = 1;
        }
        for (size_t t = 0; t < 4; t++) {
            long double moment = 0, weight = 0, squares = 0;
            double sums[2], plain[2], count = 0;
            for (size_t i = 0; i < N; i++) {
                if (!(fabsf(x[i]) > thresholds[t])) continue;
                long double d = (long double)fabsf(x[i]) - thresholds[t];
                moment += (long double)y[i] * fabsf(x[i]);
                weight += y[i];
                squares += d * d;
                count++;
            }
            c->excess_sums(x, y, N, thresholds[t], sums);
            c->excess_sums(x, NULL, N, thresholds[t], plain);
            /* N roundings in f64; the squares' difference is rounded to f32 and counts twice */
            CHECK_NEAR(sums[0], (double)moment, N * DBL_EPSILON);
            CHECK_NEAR(sums[1], (double)weight, N * DBL_EPSILON);
            CHECK(plain[1] == count);
            CHECK_NEAR(c->excess_squares(x, N, thresholds[t]), (double)squares, 3 * U);
        }
    }
}

/* exp as softmax uses it: with x = {0, v, -200} the second element over the first is exp(v), rounded. */
TEST(exp_is_within_an_ulp) {
    double worst = 0;
    for (uint32_t bits = 0x80000000u; bits < 0xc2aea8f6u; bits += 9973) { /* -0 .. -87.33 */
        float v = input_from_bits(bits), t[2] = {0.0f, v};
        c->softmax(t, 2);
        double sum = 1.0 + exp((double)v), error = fabs((double)t[1] * sum / exp((double)v) - 1.0);
        if (t[1] >= FLT_MIN && error > worst) worst = error;
    }
    printf("softmax of two: worst relative error %.3g (%.2f u)\n", worst, worst / U);
    CHECK(worst <= 5 * U); /* exp 2 u, the sum in f32 0.5 u or so twice, scale and product 1 u each */
}

TEST(softmax) {
    input_fill(NORMAL, 8, x, N);
    for (size_t i = 0; i < N; i++) x[i] *= 5;
    memcpy(out, x, sizeof out);
    out[17] = -INFINITY;
    float before = out[18];
    double sum = 0, total = 0, max = -INFINITY;
    for (size_t i = 0; i < N; i++) max = fmax(max, (double)out[i]), sum += exp((double)out[i]);
    c->softmax(out, N);
    CHECK(out[17] == 0.0f);
    for (size_t i = 0; i < N; i++) total += (double)out[i];
    CHECK_NEAR(total, 1.0, 3 * U);
    /* x - max is rounded: |x - max| u absolute in the exponent, at most 50 u here */
    CHECK_NEAR(out[18], exp((double)before) / sum, 60 * U);
}

/* Log-sum-exp of v[n] about its maximum, and the mean of max - v over its softmax. */
static long double lse_of(const float *v, size_t n, long double *mean_below) {
    long double sum = 0, below = 0, max = -INFINITY;
    for (size_t i = 0; i < n; i++) max = fmaxl(max, (long double)v[i]);
    for (size_t i = 0; i < n; i++) {
        long double e = expl(v[i] - max);
        sum += e;
        if (e > 0) below += e * (max - v[i]);
    }
    *mean_below = below / sum;
    return max + logl(sum);
}

/* As kernels.inc states it, and 1e-15 relatively for the logarithm in f64. */
static void check_nll(const float *v, size_t n) {
    long double below, lse = lse_of(v, n, &below);
    for (size_t t = 0; t < n; t += n / 7 + 1) {
        long double want = lse - v[t];
        CHECK_WITHIN(c->nll(v, n, t), want, (9 + below) * U + 1e-15L * (1 + fabsl(want)));
    }
}

static int descending(const void *a, const void *b) {
    float p = *(const float *)a, q = *(const float *)b;
    return (p < q) - (p > q);
}

TEST(nll) {
    static const size_t lengths[] = {1, 2, 17, 128, 2047, 2048, 2049, 4096, N};
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
        for (int kind = 0; kind <= DENORMAL; kind++) {
            input_fill((enum input_kind)kind, 8, x, N);
            for (size_t i = 0; i < N && kind == NORMAL; i++) x[i] *= 5;
            check_nll(x, lengths[k]);
        }
    }
    input_fill(NORMAL, 12, x, N);
    for (size_t i = 0; i < N; i++) x[i] *= 30;
    qsort(x, N, sizeof *x, descending); /* the first block's maximum holds */
    check_nll(x, N);
    for (size_t i = 0; i < N / 2; i++) x[N - 1] = x[i], x[i] = x[N - 1 - i], x[N - 1 - i] = x[N - 1];
    check_nll(x, N); /* rises block by block */
    float one = 3.0f, far[3] = {-1e30f, 1e30f, 0.0f};
    CHECK(c->nll(&one, 1, 0) == 0.0 && c->nll(far, 3, 1) == 0.0 && c->nll(far, 3, 2) == (double)1e30f);
}

/* The bits of one part, if cut at whole blocks; and near them if not. The largest element is the first of its like. */
TEST(log_sum_exp_in_parts) {
    const size_t sizes[] = {N, QD_LSE_BLOCK, 2 * QD_LSE_BLOCK, 100, 1};
    input_fill(NORMAL, 41, x, N);
    for (int kind = 0; kind < 3; kind++) {
        if (kind == 1) x[4711] = x[4722] = 9.0f;
        if (kind == 2) x[17] = x[4098] = 10.0f;
        long double below;
        double want = (double)lse_of(x, N, &below);
        size_t top = 0;
        for (size_t i = 0; i < N; i++) top = x[i] > x[top] ? i : top;
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            qd_lse row = QD_LSE;
            for (size_t i = 0; i < N; i += sizes[s]) c->lse_part(x + i, N - i < sizes[s] ? N - i : sizes[s], &row);
            CHECK(row.n == N && row.i_top == top && row.top == x[top]);
            CHECK_WITHIN(qd_lse_nll(&row, 0), want, (9 + below) * U + 1e-15L * (1 + fabs(want)));
            if (s < 3) CHECK(qd_lse_nll(&row, x[3]) == c->nll(x, N, 3));
        }
    }
    const float none[2] = {-INFINITY, -INFINITY}, bad[2] = {1, NAN};
    qd_lse row = QD_LSE;
    c->lse_part(none, 2, &row);
    CHECK(isnan(qd_lse_nll(&row, 0)));
    c->lse_part(x, N, &row); /* rows of -inf add nothing */
    CHECK_WITHIN(qd_lse_nll(&row, x[3]), c->nll(x, N, 3), 20 * U);
    c->lse_part(bad, 2, &row);
    CHECK(isnan(qd_lse_nll(&row, 0)));
}

TEST(nll_of_what_is_not_finite) {
    for (size_t i = 0; i < N; i++) x[i] = i < 3000 ? -INFINITY : 1.0f; /* the first block holds nothing */
    CHECK_NEAR(c->nll(x, N, 4000), log(N - 3000), U);
    CHECK(c->nll(x, N, 5) == INFINITY && isnan(c->nll(x, 3000, 5)) && isnan(c->nll(x, 1, 0)));
    for (int bad = 0; bad < 2; bad++) {
        for (size_t at = 0; at < N; at += 500) {
            float before = x[at];
            x[at] = bad ? INFINITY : NAN;
            CHECK(isnan(c->nll(x, N, 4000)) && isnan(c->nll(x, N, at)));
            x[at] = before;
        }
    }
}

static double worst_kl; /* error over its bound */

/* KL and its bound as kernels.inc states it, and 1e-15 for log1p(a + b) - a in f64. */
static void check_kl(size_t n) {
    long double below, lse_x = lse_of(x, n, &below), bound_x = (9 + below) * U, lse_y = lse_of(y, n, &below), want = 0;
    long double moved = 0, shift = 0, shift_abs = 0, spread = 0, max_x = -INFINITY, max_y = -INFINITY;
    qd_kl kl;
    c->softmax_kl(x, y, n, &kl);
    for (size_t i = 0; i < n; i++) max_x = fmaxl(max_x, x[i]), max_y = fmaxl(max_y, y[i]);
    for (size_t i = 0; i < n; i++) {
        long double p = expl(x[i] - lse_x), q = expl(y[i] - lse_y), t = (y[i] - max_y) - (x[i] - max_x);
        want += p * ((x[i] - lse_x) - (y[i] - lse_y));
        moved += fabsl(q - p) * ((max_x - x[i]) + (max_y - y[i]) + fabsl(t));
        shift += p * t;
        shift_abs += p * fabsl(t);
        spread += p * (expm1l(t) - t);
    }
    long double growth = fabsl(shift + spread);
    long double bound = moved + 40 * (spread + growth * shift_abs) + (growth > 0.5L ? 20 : 0);
    bound = bound * U + 1e-15L * (fabsl(shift) + 1e-3L);
    CHECK(kl.kl >= 0);
    CHECK_WITHIN(kl.kl, want, bound);
    worst_kl = fmax(worst_kl, (double)(fabsl(kl.kl - want) / bound));
    CHECK_WITHIN(kl.lse_x, lse_x, bound_x + 1e-15L * fabsl(lse_x));
    CHECK_WITHIN(kl.lse_y, lse_y, (9 + below) * U + 1e-15L * fabsl(lse_y));
    CHECK(kl.top_x < n && x[kl.top_x] == (float)max_x && kl.top_y < n && y[kl.top_y] == (float)max_y);
    for (size_t i = 0; i < kl.top_x; i++) CHECK(x[i] < (float)max_x);
}

TEST(softmax_kl_of_near_and_far_rows) {
    static const float offsets[] = {0.0f, 0.25f, 1000.0f, -30000.0f}, sizes[] = {0, 1e-5f, 1e-3f, 0.1f, 1, 5};
    static const size_t lengths[] = {1, 2, 100, 2049, N};
    for (size_t k = 0; k < 5 * 4 * 6; k++) {
        size_t n = lengths[k % 5];
        float offset = offsets[k / 5 % 4], size = sizes[k / 20];
        input_fill(NORMAL, 20, x, N);
        input_fill(NORMAL, 21, y, N);
        for (size_t i = 0; i < n; i++) x[i] *= k % 3 == 0 ? 1.0f : 5.0f, y[i] = x[i] + size * y[i] + offset;
        check_kl(n);
    }
    for (size_t i = 0; i < N; i++) x[i] = 0.01f * (float)i, y[i] = 0.01f * (float)(N - i); /* opposite ends */
    check_kl(N);
    for (size_t i = 0; i < N; i++) x[i] = 0, y[i] = i == 3000 ? 20.0f : 0; /* flat against one peak, and back */
    check_kl(N);
    for (size_t i = 0; i < N; i++) y[i] = 0, x[i] = i == 3000 ? 20.0f : 0;
    check_kl(N);
    input_fill(NORMAL, 22, x, N);
    for (size_t i = 0; i < N; i++) y[i] = x[i] + (i == 77 ? 0.1f : 0); /* the maxima are shifted, the rest is not */
    check_kl(N);
}

/* A constant added to a row of multiples of 2^-10 is exact, so it must not change a single digit that the bound leaves:
 * here KL is about 1e-6, and the answer is off by a hundred thousandth of it, not by the 4e-6 of a difference of f32
 * logarithms of 70. */
TEST(softmax_kl_ignores_an_offset) {
    qd_kl near, far;
    input_fill(NORMAL, 23, x, N);
    input_fill(NORMAL, 24, y, N);
    for (size_t i = 0; i < N; i++) {
        x[i] = rintf(x[i] * 4096) * 0x1p-10f;
        y[i] = x[i] + rintf(y[i] * 1.4f) * 0x1p-10f;
    }
    c->softmax_kl(x, y, N, &near);
    check_kl(N);
    for (size_t i = 0; i < N; i++) y[i] += 64.0f;
    check_kl(N);
    c->softmax_kl(x, y, N, &far);
    printf("KL: worst error %.2f of its bound; ", worst_kl);
    printf("KL %.3g: beside an offset of 64, %.1g of it different\n", near.kl, fabs(far.kl - near.kl) / near.kl);
    CHECK(near.kl > 2e-7 && near.kl < 5e-6);
    CHECK_NEAR(near.kl, far.kl, 1e-12); /* the same f32 differences from the maxima: only f64 arithmetic differs */
    CHECK_NEAR(far.lse_y - near.lse_y, 64.0, 1e-14);
    for (size_t i = 0; i < N; i++) y[i] = x[i] - 100.0f;
    c->softmax_kl(x, y, N, &far);
    CHECK(far.kl == 0 && far.top_x == far.top_y);
}

TEST(softmax_kl_of_what_is_not_finite) {
    qd_kl kl, plain;
    input_fill(NORMAL, 25, x, N);
    input_fill(NORMAL, 26, y, N);
    x[0] = y[0] = -INFINITY; /* masked in both: as if it were not there */
    c->softmax_kl(x, y, N, &kl);
    x[0] = y[0] = -500.0f;
    c->softmax_kl(x, y, N, &plain);
    CHECK(kl.kl == plain.kl && kl.lse_x == plain.lse_x && kl.top_y == plain.top_y);
    for (size_t i = 0; i < 2100; i++) x[i] = y[i] = -INFINITY; /* a whole block */
    c->softmax_kl(x, y, N, &kl);
    c->softmax_kl(x + 2100, y + 2100, N - 2100, &plain);
    CHECK_NEAR(kl.kl, plain.kl, 20 * U);
    CHECK(kl.top_x == plain.top_x + 2100);
    for (size_t i = 0; i < 2100; i++) y[i] = 1.0f; /* p = 0 < q */
    c->softmax_kl(x, y, N, &kl);
    CHECK(isfinite(kl.kl) && kl.kl > plain.kl + 0.1);
    c->softmax_kl(y, x, N, &kl); /* p > 0 = q */
    CHECK(kl.kl == INFINITY && isfinite(kl.lse_x) && isfinite(kl.lse_y));
    const float bad[2] = {NAN, INFINITY};
    for (size_t at = 7; at < N; at += 1000) {
        for (int b = 0; b < 2; b++) {
            float before = y[at];
            y[at] = bad[b];
            c->softmax_kl(x, y, N, &kl);
            CHECK(isnan(kl.kl) && isfinite(kl.lse_x) && isnan(kl.lse_y));
            CHECK(kl.top_y == N && kl.top_x == plain.top_x + 2100);
            y[at] = before;
        }
    }
    for (size_t i = 0; i < N; i++) y[i] = -INFINITY;
    c->softmax_kl(x, y, N, &kl);
    CHECK(isnan(kl.kl) && isnan(kl.lse_y) && kl.top_y == N);
}

static long double js_of(const float *p, const float *q, size_t n) {
    long double sum = 0;
    for (size_t i = 0; i < n; i++) {
        long double s = (long double)p[i] + q[i], r = s > 0 ? ((long double)p[i] - q[i]) / s : 0;
        /* below 1e-4 the next term of the series, r^6/15, is under 1e-17 of the first */
        long double h = fabsl(r) < 1e-4L ? r * r * (1 + r * r / 6) : (1 + r) * log1pl(r);
        if (fabsl(r) >= 1e-4L && fabsl(r) < 1) h += (1 - r) * log1pl(-r);
        if (r == -1) h = 2 * logl(2);
        sum += s * h / 4;
    }
    return sum;
}

TEST(js_divergence_of_near_and_far_rows) {
    double worst = 0;
    for (int kind = 0; kind < 12; kind++) {
        double scale = pow(10, -kind);
        input_fill(NORMAL, 30, x, N);
        input_fill(NORMAL, 31, y, N);
        for (size_t i = 0; i < N; i++) {
            x[i] = expf(3 * x[i]) * 1e-4f;
            y[i] = kind < 8 ? x[i] * (float)exp((double)y[i] * scale) : x[i] * (1 + (i % 5 == 0) * FLT_EPSILON);
            if (kind == 9) x[i] *= (float)(i % 3 == 0), y[i] *= (float)(i % 4 == 0); /* zeros on either side and both */
            if (kind == 10) y[i] = fabsf(y[i]) * 1e-30f;
            if (kind == 11) y[i] = input_from_bits((uint32_t)i * 429487u % 0x3f800000u); /* all ratios */
        }
        for (size_t n = 1; n <= N; n = n * 3 + 1) {
            long double want = js_of(x, y, n);
            double got = c->js_divergence(x, y, n);
            if (want > 0 && fabs(got / (double)want - 1) > worst) worst = fabs(got / (double)want - 1);
            CHECK_WITHIN(got, want, 30 * U * want + 2e-38L * n); /* kernels.inc */
            CHECK(got == c->js_divergence(y, x, n));
        }
    }
    printf("JS divergence: worst relative error %.3g (%.1f u)\n", worst, worst / U);
}

TEST(js_divergence_at_the_edges) {
    float p[4] = {0.5f, 0.5f, 0, 0}, q[4] = {0, 0, 0.25f, 0.75f}, tiny[4] = {FLT_TRUE_MIN, 0, -0.0f, 1e-39f};
    CHECK_NEAR(c->js_divergence(p, q, 4), log(2), 2 * U);
    CHECK(c->js_divergence(p, p, 4) == 0 && c->js_divergence(p, q, 0) == 0 && c->js_divergence(q + 2, tiny, 0) == 0);
    CHECK(c->js_divergence(tiny, tiny, 4) == 0 && c->js_divergence(tiny, p + 2, 1) >= 0);
    const float bad[] = {NAN, INFINITY, -INFINITY, -1e-30f, -FLT_TRUE_MIN};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        for (size_t at = 0; at < N; at += 333) {
            for (size_t j = 0; j < N; j++) x[j] = y[j] = 1e-3f;
            x[at] = bad[i];
            CHECK(isnan(c->js_divergence(x, y, N)) && isnan(c->js_divergence(y, x, N)));
            y[at] = bad[i];
            CHECK(isnan(c->js_divergence(x, y, N)));
        }
    }
}

TEST(blocks_at_any_alignment) {
    static char bytes[4 * N + 4];
    static float buffer[N];
    const qdisp_dtype types[] = {QDISP_DTYPE_F32, QDISP_DTYPE_F16, QDISP_DTYPE_BF16};
    input_fill(NORMAL, 11, x, N);
    for (size_t t = 0; t < 3; t++) {
        size_t size = t == 0 ? 4 : 2;
        float want[N];
        memset(want, 0, sizeof want);
        if (t == 0) memcpy(want, x, sizeof want);
        if (t == 1) c->to_f32_f16((const uint16_t *)x, N, want);
        if (t == 2) c->to_f32_bf16((const uint16_t *)x, N, want);
        for (size_t offset = 0; offset < 4; offset++) {
            memcpy(bytes + offset, x, size * N);
            const float *got = qd_load_f32(c, bytes + offset, types[t], 3, N - 3, buffer);
            CHECK(memcmp(got, want + 3, (N - 3) * sizeof *got) == 0);
            CHECK((t == 0 && offset == 0) == (got != buffer));
        }
    }
    CHECK(qd_load_f32(c, bytes, QDISP_DTYPE_I8, 0, 1, buffer) == NULL);
}

int main(void) {
    c = qd_kernels_get("c", NULL, NULL);
    RUN(widening_is_exact);
    RUN(power_sums_of_any_magnitude);
    RUN(column_sums_of_any_magnitude);
    RUN(moments_of_other_types_are_those_of_floats);
    RUN(counts_of_patterns);
    RUN(bad_values_are_seen_or_skipped);
    RUN(sums_of_magnitudes);
    RUN(quantizing_rounds_half_to_even_and_saturates);
    RUN(errors_of_grids_and_columns);
    RUN(f16_rounding_is_to_the_nearest_even);
    RUN(column_grid_errors_over_eight_rows);
    RUN(column_measure_of_any_magnitude);
    RUN(weighted_products_within_their_bound);
    RUN(excesses_over_a_threshold);
    RUN(exp_is_within_an_ulp);
    RUN(softmax);
    RUN(nll);
    RUN(log_sum_exp_in_parts);
    RUN(nll_of_what_is_not_finite);
    RUN(softmax_kl_of_near_and_far_rows);
    RUN(softmax_kl_ignores_an_offset);
    RUN(softmax_kl_of_what_is_not_finite);
    RUN(js_divergence_of_near_and_far_rows);
    RUN(js_divergence_at_the_edges);
    RUN(blocks_at_any_alignment);
    return TEST_END();
}
