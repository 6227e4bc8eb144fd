/* test_shape.c - shape, quantiles and column moments. Golden values: test/golden/make_moments.py (scipy, numpy). */
#include "../harness.h"
#include "../kernels/inputs.h"
#include "kernels/kernels.h"
#include "stats/stats.h"

enum { N = 200000, N_P = 9 };

static const double probabilities[N_P] = {0, 0.001, 0.01, 0.25, 0.5, 0.75, 0.99, 0.999, 1};
static qdisp_ctx *ctx;
static float x[N];
static uint16_t halves[N];

typedef struct golden {
    char kind[16], type[8];
    unsigned seed;
    size_t n;
    double mean_abs, l1, l2, t3, t4, n_tail, hill, max_over_std, energy, energy_low, energy_high, kurtosis;
    double quantiles[2][N_P];
} golden;

static int read_golden(FILE *f, golden *g) {
    double *numbers[] = {&g->mean_abs, &g->l1,           &g->l2,     &g->t3,         &g->t4,          &g->n_tail,
                         &g->hill,     &g->max_over_std, &g->energy, &g->energy_low, &g->energy_high, &g->kurtosis};
    if (fscanf(f, " shape %15s %u %zu %7s", g->kind, &g->seed, &g->n, g->type) != 4) return 0;
    for (size_t i = 0; i < 12; i++) {
        if (fscanf(f, "%lf", numbers[i]) != 1) return 0;
    }
    for (size_t i = 0; i < 2 * N_P; i++) {
        if (fscanf(f, "%lf", &g->quantiles[i / N_P][i % N_P]) != 1) return 0;
    }
    return 1;
}

/* Data of a line: floats in x, or halves. */
static const void *golden_data(const golden *g, qdisp_dtype *dtype) {
    enum input_kind kind = !strcmp(g->kind, "normal") ? NORMAL : !strcmp(g->kind, "weights") ? WEIGHTS : SHIFTED;
    input_fill(kind, g->seed, x, g->n);
    *dtype = !strcmp(g->type, "f32") ? QDISP_DTYPE_F32 : !strcmp(g->type, "f16") ? QDISP_DTYPE_F16 : QDISP_DTYPE_BF16;
    for (size_t i = 0; i < g->n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        halves[i] = *dtype == QDISP_DTYPE_F16 ? qd_f32_to_f16(x[i]) : (uint16_t)(bits >> 16);
    }
    return *dtype == QDISP_DTYPE_F32 ? (const void *)x : halves;
}

/* 16 bits are counted exactly: what is left are some hundred roundings of f64, of terms that may cancel a little. The
 * moments' std and m2 have short f32 sums: 1e-6 (test_moments.c). */
static void check_exact(const golden *g, const qdisp_shape *s, const double q[2][N_P]) {
    CHECK(fabs(s->l1 - g->l1) <= 1e-7 * g->l2);
    CHECK_NEAR(s->l2, g->l2, 1e-11);
    CHECK(fabs(s->t3 - g->t3) <= 1e-11 && fabs(s->t4 - g->t4) <= 1e-11);
    CHECK_NEAR(s->hill_index, g->hill, 1e-11);
    CHECK_NEAR(s->outlier_energy, g->energy, 1e-6);
    CHECK(memcmp(q, g->quantiles, sizeof g->quantiles) == 0);
}

/* The bounds of qdisp/stats.h. */
static void check_bounded(const golden *g, const qdisp_shape *s, const double q[2][N_P]) {
    double bound = 0x1p-8 * g->mean_abs, slack = 1e-6;
    CHECK(fabs(s->l1 - g->l1) <= 1e-7 * g->l2 + 1e-16 * fabs(g->l1));
    CHECK(fabs(1 / s->hill_index - 1 / g->hill) <= 0x1p-6);
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < N_P; i++) {
            CHECK(fabs(q[k][i] - g->quantiles[k][i]) <= 0x1p-7 * fabs(g->quantiles[k][i]));
        }
        CHECK(q[k][N_P - 1] == g->quantiles[k][N_P - 1]); /* the maximum is known */
    }
    CHECK(q[0][0] == g->quantiles[0][0]);
    if (!strcmp(g->kind, "shifted")) { /* 1e4 standard deviations from 0: too coarse, and said so */
        CHECK(isnan(s->l2) && isnan(s->t3) && isnan(s->t4) && isnan(s->outlier_energy));
        return;
    }
    CHECK(fabs(s->l2 - g->l2) <= bound);
    CHECK(fabs(s->t3 * s->l2 - g->t3 * g->l2) <= bound && fabs(s->t4 * s->l2 - g->t4 * g->l2) <= bound);
    CHECK(s->outlier_energy >= g->energy_low * (1 - 0x1p-6) - slack);
    CHECK(s->outlier_energy <= g->energy_high * (1 + 0x1p-6) + slack);
    if (g->n < 20000) return;
    /* as a rule: elements are off by 2^-8 / sqrt(3) of themselves at random, a mean of n of them by sqrt(n) less, and
     * what a density bends within a counter (2^-16 / 12) is less again */
    CHECK_NEAR(s->l2, g->l2, 1e-4);
    CHECK(fabs(s->t3 - g->t3) <= 1e-4 && fabs(s->t4 - g->t4) <= 1e-4);
}

TEST(shapes_are_scipys) {
    FILE *f = fopen(QDISP_ROOT "/test/golden/moments.txt", "r");
    golden g;
    char line[256];
    int n_lines = 0;
    CHECK(f != NULL);
    if (!f || !fgets(line, sizeof line, f)) return;
    for (; read_golden(f, &g); n_lines++) {
        qdisp_dtype dtype;
        qdisp_shape s;
        double q[2][N_P];
        const void *data = golden_data(&g, &dtype);
        CHECK_STATUS(qdisp_shape_compute(ctx, data, dtype, g.n, &s), QDISP_OK);
        for (int k = 0; k < 2; k++)
            CHECK_STATUS(qdisp_quantiles(ctx, data, dtype, g.n, k, probabilities, N_P, q[k]), QDISP_OK);
        CHECK(s.moments.n == g.n && s.n_tail == (uint64_t)g.n_tail);
        CHECK_NEAR(qdisp_moments_kurtosis(&s.moments) + 3, g.kurtosis + 3, 1e-5);
        CHECK_NEAR(s.max_over_std, g.max_over_std, 1e-6);
        if (dtype == QDISP_DTYPE_F32) check_bounded(&g, &s, (const double (*)[N_P])q);
        else check_exact(&g, &s, (const double (*)[N_P])q);
    }
    fclose(f);
    CHECK(n_lines == 28);
}

/* Floats that hold 16 bits, and bytes, are counted exactly too. */
TEST(narrow_values_in_wide_types) {
    qdisp_shape wide, narrow;
    int8_t *bytes = (int8_t *)halves;
    input_fill(NORMAL, 40, x, N);
    for (size_t i = 0; i < N; i++) {
        halves[i] = qd_f32_to_bf16(x[i]);
        x[i] = qd_bf16_to_f32(halves[i]);
    }
    CHECK_STATUS(qdisp_shape_compute(ctx, x, QDISP_DTYPE_F32, N, &wide), QDISP_OK);
    CHECK_STATUS(qdisp_shape_compute(ctx, halves, QDISP_DTYPE_BF16, N, &narrow), QDISP_OK);
    CHECK(memcmp(&wide, &narrow, sizeof wide) == 0);
    for (size_t i = 0; i < N; i++) bytes[i] = (int8_t)(x[i] * 30), x[i] = (float)bytes[i];
    CHECK_STATUS(qdisp_shape_compute(ctx, x, QDISP_DTYPE_F32, N, &wide), QDISP_OK);
    CHECK_STATUS(qdisp_shape_compute(ctx, bytes, QDISP_DTYPE_I8, N, &narrow), QDISP_OK);
    CHECK(memcmp(&wide, &narrow, sizeof wide) == 0);
}

TEST(what_is_not_defined_is_nan) {
    float v[16] = {1, 2, 4, NAN, INFINITY}, constant[12], p = 0.5f;
    double half = 0.5, bad[2] = {0.5, NAN}, q = 7;
    qdisp_shape s;
    for (size_t i = 0; i < 12; i++) constant[i] = 0.1f;
    CHECK_STATUS(qdisp_shape_compute(ctx, NULL, QDISP_DTYPE_F32, 0, &s), QDISP_OK);
    CHECK(s.moments.n == 0 && isnan(s.l1) && isnan(s.l2) && isnan(s.t3) && isnan(s.t4) && isnan(s.hill_index));
    CHECK(s.n_tail == 0 && isnan(s.max_over_std) && isnan(s.outlier_energy));
    CHECK_STATUS(qdisp_shape_compute(ctx, v, QDISP_DTYPE_F32, 5, &s), QDISP_OK);
    CHECK(s.moments.n == 3 && s.moments.n_non_finite == 2 && isnan(s.t4) && isnan(s.hill_index));
    CHECK_NEAR(s.l2, 1, 1e-14); /* half the mean difference: (1 + 2 + 3) / 3 / 2 */
    CHECK_NEAR(s.t3, 1.0 / 3, 1e-14);
    CHECK_STATUS(qdisp_shape_compute(ctx, constant, QDISP_DTYPE_F32, 12, &s), QDISP_OK);
    CHECK(s.l1 == (double)0.1f && s.l2 == 0 && isnan(s.t4) && isnan(s.max_over_std) && isnan(s.hill_index));
    CHECK_STATUS(qdisp_quantiles(ctx, constant, QDISP_DTYPE_F32, 12, 0, &half, 1, &q), QDISP_OK);
    CHECK(q == (double)0.1f);
    CHECK_STATUS(qdisp_quantiles(ctx, v + 3, QDISP_DTYPE_F32, 2, 0, &half, 1, &q), QDISP_OK);
    CHECK(isnan(q));
    q = 7;
    CHECK_STATUS(qdisp_quantiles(ctx, v, QDISP_DTYPE_F32, 3, 0, bad, 2, &q), QDISP_EINVAL);
    CHECK_STATUS(qdisp_quantiles(ctx, v, QDISP_DTYPE_F32, 3, 0, NULL, 1, &q), QDISP_EINVAL);
    CHECK_STATUS(qdisp_quantiles(ctx, v, QDISP_DTYPE_I64, 3, 0, &half, 1, &q), QDISP_EUNSUPPORTED);
    CHECK_STATUS(qdisp_shape_compute(ctx, NULL, QDISP_DTYPE_F32, 1, &s), QDISP_EINVAL);
    CHECK_STATUS(qdisp_shape_compute(ctx, &p, QDISP_DTYPE_F64, 1, &s), QDISP_EUNSUPPORTED);
    CHECK(q == 7 && s.l1 == (double)0.1f);
}

/* The tally of many times a block is that of the block, times as many: one outlier in 10^9 without 4 GB. */
TEST(one_outlier_in_a_billion) {
    enum { TIMES = 1 << 13, BLOCK = 1 << 17 };
    static qd_tally tally;
    qd_pass *pass = NULL;
    qdisp_moments all = qd_moments_none(), block, one;
    qdisp_shape s;
    float outlier = 1000;
    qd_array array = {.data = x, .dtype = QDISP_DTYPE_F32, .n_rows = 1, .n_columns = BLOCK};
    input_fill(NORMAL, 41, x, BLOCK);
    CHECK_STATUS(qd_pass_new(ctx, 1, &pass), QDISP_OK);
    CHECK_STATUS(qd_pass_run(pass, &array, NULL, &block), QDISP_OK);
    tally = *qd_pass_tally(pass, 0);
    for (size_t p = 0; p < QD_PATTERNS; p++) tally.counts[p] *= TIMES;
    array = (qd_array){.data = &outlier, .dtype = QDISP_DTYPE_F32, .n_rows = 1, .n_columns = 1};
    CHECK_STATUS(qd_pass_run(pass, &array, NULL, &one), QDISP_OK);
    qd_tally_add(&tally, qd_pass_tally(pass, 0));
    for (int i = 0; i < TIMES; i++) qdisp_moments_merge(&all, &block);
    qdisp_moments_merge(&all, &one);
    CHECK_STATUS(qd_shape_make(ctx, &tally, &all, &s), QDISP_OK);
    /* sums over the block in long double, TIMES of them, moved to the mean of all */
    long double n = (long double)TIMES * BLOCK + 1, raw[5] = {0}, mean = 0, m2 = 0, m4 = 0;
    for (size_t i = 0; i < BLOCK; i++) mean += x[i];
    mean = (mean * TIMES + outlier) / n;
    for (size_t i = 0; i < BLOCK; i++) {
        long double d = x[i] - mean;
        raw[2] += d * d, raw[4] += d * d * d * d;
    }
    m2 = raw[2] * TIMES + (outlier - mean) * (outlier - mean);
    m4 = raw[4] * TIMES + powl(outlier - mean, 4);
    CHECK(all.n == (uint64_t)TIMES * BLOCK + 1 && all.n > 1000000000);
    CHECK_NEAR(all.m2, (double)m2, 7e-6); /* the bounds of moments.c; merging adds 8192 roundings of f64 */
    CHECK_NEAR(all.m4, (double)m4, 8e-5);
    CHECK_NEAR(qdisp_moments_kurtosis(&all), (double)(n * m4 / (m2 * m2)) - 3, 1e-4);
    CHECK(s.max_over_std > 990 && s.moments.max == 1000);
    CHECK_NEAR(s.outlier_energy, (double)(powl(outlier - mean, 2) / m2), 1e-5); /* the maximum itself is known */
    CHECK(fabs(s.t4 - 0.1226) < 0.01); /* a Gaussian's: what kurtosis cannot see past, L-kurtosis hardly sees */
    qd_pass_free(pass);
}

/* ---- columns ---- */

static void check_columns(qdisp_dtype dtype, size_t n_rows, size_t n_columns) {
    qdisp_moments *m = malloc(n_columns * sizeof *m);
    size_t size = qd_dtype_size(dtype);
    const void *data = size == 4 ? (const void *)x : halves;
    CHECK_STATUS(qdisp_moments_columns(ctx, data, dtype, n_rows, n_columns, m), QDISP_OK);
    for (size_t j = 0; j < n_columns; j++) {
        long double n = 0, mean = 0, m2 = 0, m3 = 0, m4 = 0, a3 = 0;
        float min = INFINITY, max = -INFINITY;
        for (int second = 0; second < 2; second++) {
            for (size_t i = 0; i < n_rows; i++) {
                size_t at = i * n_columns + j;
                float v = dtype == QDISP_DTYPE_F32   ? x[at]
                          : dtype == QDISP_DTYPE_F16 ? qd_f16_to_f32(halves[at])
                          : dtype == QDISP_DTYPE_I8  ? (float)((const int8_t *)halves)[at]
                                                     : qd_bf16_to_f32(halves[at]);
                long double d = v - mean;
                if (!isfinite(v)) continue;
                if (!second) n++, min = fminf(min, v), max = fmaxf(max, v), m2 += v;
                else m2 += d * d, m3 += d * d * d, m4 += d * d * d * d, a3 += fabsl(d * d * d);
            }
            if (!second) mean = n > 0 ? m2 / n : NAN, m2 = 0;
        }
        CHECK((long double)m[j].n == n && m[j].n + m[j].n_non_finite == n_rows);
        CHECK(m[j].min == (double)min && m[j].max == (double)max);
        /* the worst case of columns.c, and the rounding of a mean in f64 */
        CHECK_NEAR(m[j].m2, (double)m2, 1e-5);
        CHECK_NEAR(m[j].m4, (double)m4, 1.1e-4);
        CHECK(fabsl(m[j].m3 - m3) <= 1.1e-4L * a3);
        if (n > 0) CHECK(fabsl(m[j].mean - mean) <= 3e-6L * sqrtl(m2 / n) + 1e-15L * fabsl(mean));
        else CHECK(isnan(m[j].mean));
    }
    free(m);
}

TEST(columns_of_any_input) {
    static const struct { size_t n_rows, n_columns; } shapes[] = {{1, 7},    {2, 3},    {48, 33},
                                                                  {1000, 1}, {333, 17}, {40, 600}};
    for (int kind = 0; kind < N_KINDS; kind++) {
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            input_fill((enum input_kind)kind, 42, x, shapes[i].n_rows * shapes[i].n_columns);
            check_columns(QDISP_DTYPE_F32, shapes[i].n_rows, shapes[i].n_columns);
        }
    }
}

TEST(columns_far_from_zero_and_drifting) {
    uint64_t s = 3;
    for (size_t i = 0; i < N; i++) { /* 0: 1e6 sigma away, 1: drifts, 2: near 1e38, 3: jumps, 4: an outlier */
        float g = input_gauss(&s), row = (float)(i / 5);
        float columns[5] = {1e6f + (float)(i / 5 % 16), row, g * 5e37f, row < 100 ? 1e5f : g, i / 5 == 77 ? 1e9f : g};
        x[i] = columns[i % 5];
    }
    check_columns(QDISP_DTYPE_F32, N / 5, 5);
    for (size_t i = 0; i < N; i++) x[i] = 0.1f;
    qdisp_moments m[4];
    CHECK_STATUS(qdisp_moments_columns(ctx, x, QDISP_DTYPE_F32, N / 4, 4, m), QDISP_OK);
    CHECK(m[3].m2 == 0 && m[3].mean == (double)0.1f && isnan(qdisp_moments_kurtosis(&m[3])));
}

TEST(columns_of_other_types) {
    input_fill(WEIGHTS, 43, x, N);
    for (size_t i = 0; i < N; i++) halves[i] = qd_f32_to_f16(x[i]);
    check_columns(QDISP_DTYPE_F16, N / 37, 37);
    for (size_t i = 0; i < N; i++) halves[i] = qd_f32_to_bf16(x[i]);
    check_columns(QDISP_DTYPE_BF16, N / 37, 37);
    check_columns(QDISP_DTYPE_I8, N / 37, 37);
    qdisp_moments m = {.n = 42};
    CHECK_STATUS(qdisp_moments_columns(ctx, NULL, QDISP_DTYPE_F32, 0, 1, &m), QDISP_OK);
    CHECK(m.n == 0 && isnan(m.mean) && m.min == INFINITY);
    m.n = 42;
    CHECK_STATUS(qdisp_moments_columns(ctx, NULL, QDISP_DTYPE_F32, 1, 1, &m), QDISP_EINVAL);
    CHECK_STATUS(qdisp_moments_columns(ctx, x, QDISP_DTYPE_F64, 1, 1, &m), QDISP_EUNSUPPORTED);
    CHECK_STATUS(qdisp_moments_columns(ctx, x, QDISP_DTYPE_F32, SIZE_MAX, 2, &m), QDISP_EINVAL);
    CHECK(m.n == 42);
}

/* Any number of threads, instruction set and alignment. */
TEST(same_bits_everywhere) {
    enum { COLUMNS = 700, ROWS = N / COLUMNS };
    static qdisp_moments want[COLUMNS], got[COLUMNS];
    static char bytes[4 * N + 1];
    const char *names[8];
    size_t n_names = qd_kernels_list(names);
    qdisp_shape shape, other;
    input_fill(SPECIAL, 44, x, N);
    memcpy(bytes + 1, x, sizeof x);
    CHECK_STATUS(qdisp_moments_columns(ctx, x, QDISP_DTYPE_F32, ROWS, COLUMNS, want), QDISP_OK);
    CHECK_STATUS(qdisp_shape_compute(ctx, x, QDISP_DTYPE_F32, N, &shape), QDISP_OK);
    for (size_t i = 0; i < n_names; i++) {
        for (unsigned n_threads = 1; n_threads <= 5; n_threads += 2) {
            qdisp_ctx_options options = {.size = sizeof options, .isa = names[i], .n_threads = n_threads};
            qdisp_ctx *made = NULL;
            CHECK_STATUS(qdisp_ctx_new(&options, &made), QDISP_OK);
            for (size_t offset = 0; offset < 2; offset++) {
                const void *data = offset ? (const void *)(bytes + 1) : x;
                memset(got, 0, sizeof got);
                CHECK_STATUS(qdisp_moments_columns(made, data, QDISP_DTYPE_F32, ROWS, COLUMNS, got), QDISP_OK);
                CHECK_STATUS(qdisp_shape_compute(made, data, QDISP_DTYPE_F32, N, &other), QDISP_OK);
                CHECK(memcmp(got, want, sizeof want) == 0 && memcmp(&other, &shape, sizeof shape) == 0);
            }
            qdisp_ctx_free(made);
        }
    }
}

int main(void) {
    CHECK_STATUS(qdisp_ctx_new(NULL, &ctx), QDISP_OK);
    if (!ctx) return 1;
    RUN(shapes_are_scipys);
    RUN(narrow_values_in_wide_types);
    RUN(what_is_not_defined_is_nan);
    RUN(one_outlier_in_a_billion);
    RUN(columns_of_any_input);
    RUN(columns_far_from_zero_and_drifting);
    RUN(columns_of_other_types);
    RUN(same_bits_everywhere);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
