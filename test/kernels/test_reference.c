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
    /* 7 additions, x - pivot rounded once and used p times, p - 1 products */
    for (int k = 0; k < 4; k++) CHECK(fabsl(got[k] - s[k]) <= (long double)((8 + 2 * k) * U) * a[k]);
}

TEST(power_sums_of_any_magnitude) {
    for (int kind = 0; kind < N_KINDS; kind++) check_power_sums((enum input_kind)kind, 0.0f);
    check_power_sums(SHIFTED, 1e4f);
    check_power_sums(CONSTANT, 0.37f);
    check_power_sums(HUGE_ONES, -1e38f);
    check_power_sums(SPECIAL, 0.5f);
}

TEST(column_sums_of_any_magnitude) {
    enum { COLUMNS = 37, ROWS = 100 };
    static const enum input_kind kinds[] = {NORMAL, WEIGHTS, SHIFTED, HUGE_ONES, TINY, DENORMAL, MIXED_SCALES};
    for (size_t t = 0; t < sizeof kinds / sizeof *kinds; t++) {
        double sums[4][COLUMNS] = {{0}}, squares[COLUMNS] = {0};
        input_fill(kinds[t], 3, x, COLUMNS * ROWS);
        c->column_sums(x, ROWS, COLUMNS, COLUMNS, &sums[0][0]);
        c->column_squares(x, ROWS, COLUMNS, COLUMNS, squares);
        for (size_t j = 0; j < COLUMNS; j++) {
            long double s[4] = {0}, a[4] = {0};
            for (size_t i = 0; i < ROWS; i++) {
                long double v = x[i * COLUMNS + j], p = v;
                for (int k = 0; k < 4; k++, p *= v) s[k] += p, a[k] += fabsl(p);
            }
            for (int k = 0; k < 4; k++) CHECK(fabsl(sums[k][j] - s[k]) <= (long double)((8 + 2 * k) * U) * a[k]);
            CHECK(fabsl(squares[j] - s[1]) <= (long double)(10 * U) * a[1]);
        }
    }
}

TEST(bad_values_are_seen_or_skipped) {
    float v[5] = {1, -3, NAN, INFINITY, 2};
    double sums[4] = {0}, squares[1] = {0};
    uint64_t counts[4] = {0};
    CHECK(c->abs_max(v, 2) == 3.0f && c->abs_max(v, 0) == 0.0f && c->abs_max(v, 3) == INFINITY);
    c->column_sums(v, 5, 1, 1, sums);
    c->column_squares(v, 5, 1, 1, squares);
    CHECK(isnan(sums[0]) && isnan(sums[3]) && isnan(squares[0]));
    c->abs_histogram(v, 5, 1.0f, 4, counts);
    CHECK(counts[0] == 0 && counts[1] == 1 && counts[2] == 1 && counts[3] == 1);
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
    double errors[3], columns[N] = {0};
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
    c->column_errors(x, out, N, columns);
    for (size_t i = 0; i < N; i++) CHECK_NEAR(columns[i], pow((double)x[i] - (double)out[i], 2), 3 * U);
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

TEST(softmax_and_nll) {
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
    sum = 0;
    for (size_t i = 0; i < N; i++) sum += exp((double)x[i]);
    for (size_t t = 0; t < N; t += 500) {
        double want = log(sum) - (double)x[t];
        /* a sum off by 60 u at worst moves its log by that; the result is rounded once more */
        CHECK_WITHIN(c->nll(x, N, t), want, 60 * U + U * fabs(want));
    }
    float one = 3.0f, far[3] = {-1e30f, 1e30f, 0.0f};
    CHECK(c->nll(&one, 1, 0) == 0.0f && c->nll(far, 3, 1) == 0.0f && c->nll(far, 3, 2) == 1e30f);
}

TEST(gelu) {
    float zero[1] = {0}, ends[4] = {-1e30f, 1e30f, -20.0f, 20.0f};
    for (int i = 0; i < N; i++) x[i] = out[i] = (float)(i - N / 2) * 0.004f;
    c->bias_gelu_tanh(out, zero, N, 1);
    for (int i = 0; i < N; i++) {
        double v = (double)x[i], u = 0.7978845608028654 * v * (1 + 0.044715 * v * v), want = v / (1 + exp(-2 * u));
        /* the argument 2u has five roundings, so exp(-2u) is off by 5 u |2u|; exp, sum, quotient 4 u more */
        CHECK_WITHIN(out[i], want, (10 * fabs(u) + 5) * U * fabs(want) + (double)FLT_MIN);
    }
    c->bias_gelu_tanh(ends, zero, 4, 1);
    CHECK(ends[0] == 0.0f && ends[1] == 1e30f && ends[2] == 0.0f && ends[3] == 20.0f);
    float rows[4] = {1, 2, 3, 4}, bias[2] = {10, -1};
    c->bias_gelu_tanh(rows, bias, 2, 2);
    CHECK(rows[0] == 11.0f && rows[2] == 13.0f && rows[1] < 0.85f && rows[3] < 3.0f);
}

static void check_layer_norm(enum input_kind kind) {
    double mean = 0, variance = 0;
    input_fill(kind, 9, x, N);
    input_fill(NORMAL, 10, y, N);
    for (size_t i = 0; i < N; i++) mean += (double)x[i] / N;
    for (size_t i = 0; i < N; i++) variance += pow((double)x[i] - mean, 2) / N;
    double rstd = 1 / sqrt(variance + 1e-5);
    c->layer_norm(x, N, 1e-5f, y, y, out);
    for (size_t i = 0; i < N; i++) {
        double d = ((double)x[i] - mean) * rstd, want = d * (double)y[i] + (double)y[i];
        /* x - mean and the mean are rounded (u |x| and u |mean|), then four roundings of the result */
        double weight = fabs((double)y[i]), inputs = fabs((double)x[i]) + fabs(mean);
        double bound = (2 * inputs * rstd * weight + 4 * (fabs(want) + weight)) * U;
        CHECK_WITHIN(out[i], want, bound);
    }
}

TEST(layer_norm) {
    check_layer_norm(NORMAL);
    check_layer_norm(WEIGHTS);
    check_layer_norm(SHIFTED);
    for (size_t i = 0; i < N; i++) x[i] = 1234.567f, y[i] = 1.0f;
    memset(out, 0, sizeof out);
    c->layer_norm(x, N, 1e-5f, y, out, out);
    for (size_t i = 0; i < N; i++) CHECK(out[i] == 0.0f); /* constant rows give the bias to the bit */
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
    RUN(bad_values_are_seen_or_skipped);
    RUN(sums_of_magnitudes);
    RUN(quantizing_rounds_half_to_even_and_saturates);
    RUN(errors_of_grids_and_columns);
    RUN(exp_is_within_an_ulp);
    RUN(softmax_and_nll);
    RUN(gelu);
    RUN(layer_norm);
    RUN(blocks_at_any_alignment);
    return TEST_END();
}
