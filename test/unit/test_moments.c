/* test_moments.c - moments against a two-pass reference in long double, and their edges. */
#include "../harness.h"
#include "../kernels/inputs.h"
#include "kernels/kernels.h"
#include "stats/stats.h"

enum { N = 1000003 };

static qdisp_ctx *ctx;
static float *x;

static qdisp_ctx *new_ctx(const char *isa, unsigned n_threads) {
    qdisp_ctx_options options = {.size = sizeof options, .isa = isa, .n_threads = n_threads};
    qdisp_ctx *made = NULL;
    CHECK_STATUS(qdisp_ctx_new(&options, &made), QDISP_OK);
    return made;
}

typedef struct reference {
    long double n, mean, m2, m3, m4, a3; /* a3: sum of |x - mean|^3 */
} reference;

static reference reference_of(const float *v, size_t n) {
    reference r = {0};
    for (size_t i = 0; i < n; i++) {
        if (isfinite(v[i])) r.n++, r.mean += v[i];
    }
    r.mean = r.n > 0 ? r.mean / r.n : NAN;
    for (size_t i = 0; i < n; i++) {
        long double d = v[i] - r.mean, d2 = d * d;
        if (!isfinite(v[i])) continue;
        r.m2 += d2;
        r.m3 += d2 * d;
        r.m4 += d2 * d2;
        r.a3 += d2 * fabsl(d);
    }
    return r;
}

/* The worst case is 108 u for m2 and 1296 u for m4 (moments.c), u = 2^-24; what a case of n > 1000 shows is far less,
 * as roundings do not conspire: 1e-6 is asked of all. The mean: within 1e-6 of a standard deviation. */
static void check_array(const float *v, size_t n, double tolerance) {
    qdisp_moments m;
    reference r = reference_of(v, n);
    CHECK_STATUS(qdisp_moments_compute(ctx, v, QDISP_DTYPE_F32, n, &m), QDISP_OK);
    CHECK((long double)m.n == r.n && m.n + m.n_non_finite == n);
    CHECK_NEAR(m.m2, (double)r.m2, tolerance);
    CHECK_NEAR(m.m4, (double)r.m4, tolerance);
    CHECK(fabsl(m.m3 - r.m3) <= tolerance * r.a3);
    CHECK(fabsl(m.mean - r.mean) <= tolerance * sqrtl(r.m2 / r.n) + 1e-16L * fabsl(r.mean));
    if (r.m2 > 0) {
        CHECK_NEAR(qdisp_moments_kurtosis(&m) + 3, (double)(r.n * r.m4 / (r.m2 * r.m2)), 3 * tolerance);
        CHECK_NEAR(qdisp_moments_std(&m), (double)sqrtl(r.m2 / r.n), tolerance);
    }
}

TEST(every_kind_of_input) {
    for (int kind = 0; kind < N_KINDS; kind++) {
        static const size_t lengths[] = {4, 17, 1000, 8191, 8193, 100000};
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            if (kind == CONSTANT) continue;
            input_fill((enum input_kind)kind, 20, x, lengths[i]);
            check_array(x, lengths[i], lengths[i] < 1000 ? 2e-6 : 1e-6);
        }
    }
}

TEST(hard_cases) {
    uint64_t s = 1;
    input_fill(SHIFTED, 21, x, N); /* mean 1e4, sigma 1 */
    check_array(x, N, 1e-6);
    for (size_t i = 0; i < N; i++) x[i] = 1e6f + rintf(input_gauss(&s) * 16) * 0.0625f; /* mean 1e6 sigma */
    check_array(x, N, 1e-6);
    check_array(x, 100, 2e-6);
    input_fill(NORMAL, 22, x, N); /* one outlier in a million */
    x[N / 3] = 1e4f;
    check_array(x, N, 1e-6);
    x[N / 3] = -3e38f;
    check_array(x, N, 1e-6);
    for (size_t i = 0; i < N; i++) x[i] = input_gauss(&s) * 1e38f * 0.5f;
    check_array(x, N, 1e-9); /* f64 all the way */
    for (size_t i = 0; i < N; i++) x[i] = input_gauss(&s) * 1e-38f;
    check_array(x, N, 1e-9);
    for (size_t i = 0; i < N; i++) x[i] = (float)i; /* every block far from every other */
    check_array(x, N, 1e-6);
    for (size_t i = 0; i < N; i++) x[i] = i % 8192 < 900 ? 1e6f : input_gauss(&s); /* pivots that miss */
    check_array(x, N, 1e-6);
    for (size_t i = 0; i < N; i++) x[i] = i & 1 ? 16777216.0f : 16777215.0f; /* two neighbours */
    check_array(x, N, 1e-12);
}

TEST(constant_input_has_no_spread) {
    static const float values[] = {0.1f, 0.0f, -0.0f, 3e38f, 1e-45f, -7.3e-20f, 1e4f};
    for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
        qdisp_moments m;
        for (size_t i = 0; i < N; i++) x[i] = values[k];
        CHECK_STATUS(qdisp_moments_compute(ctx, x, QDISP_DTYPE_F32, N, &m), QDISP_OK);
        CHECK(m.m2 == 0 && m.m3 == 0 && m.m4 == 0 && m.mean == (double)values[k]);
        CHECK(isnan(qdisp_moments_kurtosis(&m)) && isnan(qdisp_moments_skewness(&m)) && qdisp_moments_std(&m) == 0);
    }
}

TEST(small_counts) {
    float v[3] = {1, 2, 6};
    qdisp_moments m;
    CHECK_STATUS(qdisp_moments_compute(ctx, NULL, QDISP_DTYPE_F32, 0, &m), QDISP_OK);
    CHECK(m.n == 0 && isnan(m.mean) && m.min == INFINITY && m.max == -INFINITY && m.m2 == 0);
    CHECK(isnan(qdisp_moments_kurtosis(&m)) && isnan(qdisp_moments_std(&m)) && isnan(qdisp_moments_skewness(&m)));
    CHECK_STATUS(qdisp_moments_compute(ctx, v, QDISP_DTYPE_F32, 1, &m), QDISP_OK);
    CHECK(m.n == 1 && m.mean == 1 && m.m2 == 0 && isnan(qdisp_moments_kurtosis(&m)));
    CHECK_STATUS(qdisp_moments_compute(ctx, v, QDISP_DTYPE_F32, 2, &m), QDISP_OK);
    CHECK(m.mean == 1.5 && m.m2 == 0.5 && m.m3 == 0 && m.m4 == 0.125 && qdisp_moments_kurtosis(&m) == -2);
    CHECK_STATUS(qdisp_moments_compute(ctx, v, QDISP_DTYPE_F32, 3, &m), QDISP_OK);
    CHECK(m.mean == 3 && m.m2 == 14 && m.m3 == 18 && m.m4 == 98 && m.min == 1 && m.max == 6);
    CHECK_NEAR(qdisp_moments_skewness(&m), 6.0 / pow(14.0 / 3.0, 1.5), 1e-15);
    CHECK_NEAR(qdisp_moments_kurtosis(&m), -1.5, 1e-15);
}

TEST(bad_values_are_counted) {
    float v[6] = {NAN, 1, INFINITY, 3, -INFINITY, NAN}, none[2] = {NAN, INFINITY};
    qdisp_moments m;
    CHECK_STATUS(qdisp_moments_compute(ctx, v, QDISP_DTYPE_F32, 6, &m), QDISP_OK);
    CHECK(m.n == 2 && m.n_non_finite == 4 && m.mean == 2 && m.m2 == 2 && m.min == 1 && m.max == 3);
    CHECK_STATUS(qdisp_moments_compute(ctx, none, QDISP_DTYPE_F32, 2, &m), QDISP_OK);
    CHECK(m.n == 0 && m.n_non_finite == 2 && isnan(m.mean) && m.min == INFINITY);
}

TEST(merging_parts_gives_the_whole) {
    qdisp_moments whole, parts[3], merged, empty, bad;
    float nan = NAN;
    input_fill(SHIFTED, 23, x, 10000);
    CHECK_STATUS(qdisp_moments_compute(ctx, x, QDISP_DTYPE_F32, 10000, &whole), QDISP_OK);
    CHECK_STATUS(qdisp_moments_compute(ctx, x, QDISP_DTYPE_F32, 1, &parts[0]), QDISP_OK);
    CHECK_STATUS(qdisp_moments_compute(ctx, x + 1, QDISP_DTYPE_F32, 4999, &parts[1]), QDISP_OK);
    CHECK_STATUS(qdisp_moments_compute(ctx, x + 5000, QDISP_DTYPE_F32, 5000, &parts[2]), QDISP_OK);
    CHECK_STATUS(qdisp_moments_compute(ctx, NULL, QDISP_DTYPE_F32, 0, &empty), QDISP_OK);
    CHECK_STATUS(qdisp_moments_compute(ctx, &nan, QDISP_DTYPE_F32, 1, &bad), QDISP_OK);
    merged = empty;
    for (int i = 0; i < 3; i++) qdisp_moments_merge(&merged, &parts[i]);
    qdisp_moments_merge(&merged, &empty);
    qdisp_moments_merge(&merged, &bad);
    CHECK(merged.n == 10000 && merged.n_non_finite == 1 && merged.min == whole.min && merged.max == whole.max);
    CHECK_NEAR(merged.mean, whole.mean, 1e-12);
    CHECK_NEAR(merged.m2, whole.m2, 1e-6); /* f32 sums about different pivots */
    CHECK_NEAR(merged.m4, whole.m4, 1e-6);
}

TEST(same_bits_on_threads_and_isas) {
    const char *names[8];
    size_t n_names = qd_kernels_list(names);
    qdisp_moments want, rows_want[7];
    for (int kind = 0; kind < N_KINDS; kind++) {
        for (size_t i = 0; i < n_names; i++) {
            for (unsigned n_threads = 1; n_threads <= 5; n_threads += 2) {
                qdisp_ctx *other = new_ctx(names[i], n_threads);
                qdisp_moments m, rows[7];
                memset(&m, 0, sizeof m);
                if (i == 0 && n_threads == 1) input_fill((enum input_kind)kind, 24, x, N);
                CHECK_STATUS(qdisp_moments_compute(other, x, QDISP_DTYPE_F32, N, &m), QDISP_OK);
                CHECK_STATUS(qdisp_moments_rows(other, x, QDISP_DTYPE_F32, 7, 1001, rows), QDISP_OK);
                if (i == 0 && n_threads == 1) want = m, memcpy(rows_want, rows, sizeof rows);
                CHECK(memcmp(&m, &want, sizeof m) == 0);
                CHECK(memcmp(rows, rows_want, sizeof rows) == 0);
                qdisp_ctx_free(other);
            }
        }
    }
}

static void check_same(const float *v, size_t n, const qdisp_moments *want) {
    qdisp_moments m;
    CHECK_STATUS(qdisp_moments_compute(ctx, v, QDISP_DTYPE_F32, n, &m), QDISP_OK);
    CHECK(memcmp(&m, want, sizeof m) == 0);
}

TEST(rows_are_arrays) {
    enum { ROWS = 301, COLUMNS = 3000 };
    static qdisp_moments rows[ROWS];
    input_fill(WEIGHTS, 25, x, (size_t)ROWS * COLUMNS);
    CHECK_STATUS(qdisp_moments_rows(ctx, x, QDISP_DTYPE_F32, ROWS, COLUMNS, rows), QDISP_OK);
    for (size_t r = 0; r < ROWS; r++) check_same(x + r * COLUMNS, COLUMNS, &rows[r]);
    for (size_t length = 60; length <= 130; length += 7) { /* groups: rows of a reshaped array */
        CHECK_STATUS(qdisp_moments_rows(ctx, x, QDISP_DTYPE_F32, ROWS, length, rows), QDISP_OK);
        for (size_t r = 0; r < ROWS; r++) check_same(x + r * length, length, &rows[r]);
    }
    CHECK_STATUS(qdisp_moments_rows(ctx, x, QDISP_DTYPE_F32, 2, 0, rows), QDISP_OK);
    CHECK(rows[0].n == 0 && rows[1].n == 0 && isnan(rows[1].mean));
    CHECK_STATUS(qdisp_moments_rows(ctx, x, QDISP_DTYPE_F32, 1, N, rows), QDISP_OK);
    CHECK_STATUS(qdisp_moments_compute(ctx, x, QDISP_DTYPE_F32, N, &rows[1]), QDISP_OK);
    CHECK(memcmp(&rows[0], &rows[1], sizeof rows[0]) == 0);
}

TEST(other_types_at_any_alignment) {
    const qdisp_dtype types[] = {QDISP_DTYPE_F16, QDISP_DTYPE_BF16, QDISP_DTYPE_F32, QDISP_DTYPE_I8};
    char *bytes = malloc(4 * 20000 + 4);
    float *wide = malloc(20000 * sizeof *wide);
    for (size_t t = 0; t < 4; t++) {
        for (size_t offset = 0; offset < 4; offset++) {
            qdisp_moments m, want;
            size_t size = t == 3 ? 1 : t == 2 ? 4 : 2;
            input_fill(WEIGHTS, 26, x, 20000);
            for (size_t i = 0; i < 20000; i++) {
                uint16_t h = t == 0 ? qd_f32_to_f16(x[i]) : qd_f32_to_bf16(x[i]);
                int8_t code = (int8_t)(x[i] * 200);
                if (t == 3) x[i] = (float)code;
                wide[i] = t >= 2 ? x[i] : t == 0 ? qd_f16_to_f32(h) : qd_bf16_to_f32(h);
                memcpy(bytes + offset + i * size, t == 3 ? (void *)&code : t == 2 ? (void *)&x[i] : (void *)&h, size);
            }
            CHECK_STATUS(qdisp_moments_compute(ctx, bytes + offset, types[t], 20000, &m), QDISP_OK);
            CHECK_STATUS(qdisp_moments_compute(ctx, wide, QDISP_DTYPE_F32, 20000, &want), QDISP_OK);
            CHECK(memcmp(&m, &want, sizeof m) == 0);
        }
    }
    free(wide);
    free(bytes);
}

TEST(errors_leave_outputs_alone) {
    qdisp_moments m = {.n = 42};
    CHECK_STATUS(qdisp_moments_compute(ctx, NULL, QDISP_DTYPE_F32, 1, &m), QDISP_EINVAL);
    CHECK_STATUS(qdisp_moments_compute(ctx, x, QDISP_DTYPE_I32, 1, &m), QDISP_EUNSUPPORTED);
    CHECK(strstr(qdisp_ctx_error(ctx), "i32") != NULL);
    CHECK_STATUS(qdisp_moments_rows(ctx, NULL, QDISP_DTYPE_F32, 1, 1, &m), QDISP_EINVAL);
    CHECK_STATUS(qdisp_moments_rows(ctx, x, QDISP_DTYPE_F32, SIZE_MAX, 2, &m), QDISP_EINVAL);
    CHECK_STATUS(qdisp_moments_rows(ctx, x, QDISP_DTYPE_BOOL, 1, 1, &m), QDISP_EUNSUPPORTED);
    CHECK(m.n == 42);
}

int main(void) {
    x = malloc((size_t)N * sizeof *x);
    ctx = new_ctx(NULL, 0);
    if (!x || !ctx) return 1;
    RUN(every_kind_of_input);
    RUN(hard_cases);
    RUN(constant_input_has_no_spread);
    RUN(small_counts);
    RUN(bad_values_are_counted);
    RUN(merging_parts_gives_the_whole);
    RUN(same_bits_on_threads_and_isas);
    RUN(rows_are_arrays);
    RUN(other_types_at_any_alignment);
    RUN(errors_leave_outputs_alone);
    qdisp_ctx_free(ctx);
    free(x);
    return TEST_END();
}
