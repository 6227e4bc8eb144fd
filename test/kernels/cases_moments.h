/* cases_moments.h - the cases of c_moments.c; a part of test_kernels.c. */

static void test_to_f32_f16(const test_case *t) {
    const uint16_t *h = (const uint16_t *)t->x;
    COMPARE("to_f32_f16", float, same_f32, t->n % 3, NULL, t->n, k->to_f32_f16(h, t->n, out));
}

static void test_to_f32_bf16(const test_case *t) {
    const uint16_t *h = (const uint16_t *)t->x;
    COMPARE("to_f32_bf16", float, same_f32, t->n % 3, NULL, t->n, k->to_f32_bf16(h, t->n, out));
}

#define POWER_SUMS_CASE(name, type)                                               \
    static void test_##name(const test_case *t) {                                 \
        static const float pivots[] = {0.0f, 0.37f, 1e4f, -3e38f};                \
        for (size_t p = 0; p < 4; p++) {                                          \
            qd_power_sums a, b;                                                   \
            memset(&a, 0, sizeof a);                                              \
            memset(&b, 0, sizeof b);                                              \
            t->c->name((const type *)t->x, t->n, pivots[p], &a);                  \
            t->isa->name((const type *)t->x, t->n, pivots[p], &b);                \
            report(t, #name, memcmp(&a, &b, sizeof a) == 0);                      \
        }                                                                         \
    }
POWER_SUMS_CASE(power_sums, float)
POWER_SUMS_CASE(power_sums_f16, uint16_t)
POWER_SUMS_CASE(power_sums_bf16, uint16_t)
POWER_SUMS_CASE(power_sums_i8, int8_t)

/* The array as a matrix: several shapes, the last with a stride wider than its rows. */
static size_t matrix(const test_case *t, size_t shape, size_t *n_columns, size_t *stride) {
    static const size_t columns[] = {1, 16, 37, 64};
    *n_columns = columns[shape];
    *stride = *n_columns + (shape == 3 ? 5 : 0);
    return t->n / *stride;
}

/* Sums, range and counts of each column lie in one output of doubles, one after the other. */
static qd_column_sums column_output(double *out, size_t n_columns) {
    uint64_t *counts = (uint64_t *)(void *)(out + 5 * n_columns);
    float *range = (float *)(void *)(out + 4 * n_columns);
    return (qd_column_sums){out, range, range + n_columns, counts};
}

#define COLUMN_SUMS_CASE(name, type)                                                                     \
    static void test_##name(const test_case *t) {                                                        \
        for (size_t s = 0; s < 4; s++) {                                                                 \
            double start[6 * 64] = {0};                                                                  \
            float pivots[64];                                                                            \
            size_t n_columns, stride, n_rows = matrix(t, s, &n_columns, &stride);                        \
            fill_columns(t, column_output(start, n_columns), n_columns, pivots);                         \
            for (size_t with = 0; with < 2; with++) {                                                    \
                COMPARE(#name, double, same_f64, s % 2, start, 6 * n_columns,                            \
                        qd_column_sums into = column_output(out, n_columns);                             \
                        k->name((const type *)t->x, n_rows, n_columns, stride, with ? pivots : NULL, &into)); \
            }                                                                                            \
        }                                                                                                \
    }

static void fill_columns(const test_case *t, qd_column_sums from, size_t n_columns, float *pivots) {
    for (size_t i = 0; i < n_columns; i++) {
        for (size_t p = 0; p < 4; p++) from.sums[p * n_columns + i] = (double)i * 0.125;
        from.min[i] = i % 3 ? INFINITY : -0.5f;
        from.max[i] = i % 3 ? -INFINITY : 0.25f;
        from.n_non_finite[i] = i;
        pivots[i] = isfinite(t->y[i]) && i % 4 ? t->y[i] : 0.25f;
    }
}

COLUMN_SUMS_CASE(column_sums, float)
COLUMN_SUMS_CASE(column_sums_f16, uint16_t)
COLUMN_SUMS_CASE(column_sums_bf16, uint16_t)
COLUMN_SUMS_CASE(column_sums_i8, int8_t)

static void test_column_squares(const test_case *t) {
    for (size_t s = 0; s < 4; s++) {
        size_t n_columns, stride, n_rows = matrix(t, s, &n_columns, &stride);
        double start[64] = {1, 2, 3};
        COMPARE("column_squares", double, same_f64, s % 2, start, n_columns,
                k->column_squares(t->x, n_rows, n_columns, stride, out));
    }
}

static void test_abs_max(const test_case *t) {
    COMPARE("abs_max", float, same_f32, 0, NULL, 1, *out = k->abs_max(t->x, t->n));
}

static void test_range(const test_case *t) {
    COMPARE("range", float, same_f32, 0, NULL, 2, k->range(t->x, t->n, out));
}

static void test_abs_sum(const test_case *t) {
    COMPARE("abs_sum", double, same_f64, 0, NULL, 1, *out = k->abs_sum(t->x, t->n));
}

static int same_counts(const uint32_t *a, const uint32_t *b, size_t n) {
    return memcmp(a, b, n * sizeof *a) == 0;
}

/* 131072 counters, of which few are looked at: cleared again where they were counted. */
static void test_count_f32(const test_case *t) {
    static uint32_t a[131072], b[131072];
    uint32_t low_a = t->c->count_f32(t->x, t->n, a), low_b = t->isa->count_f32(t->x, t->n, b);
    report(t, "count_f32", low_a == low_b && (t->n % 64 || same_counts(a, b, 131072)));
    for (size_t i = 0; i < t->n; i++) {
        uint32_t bits;
        memcpy(&bits, &t->x[i], sizeof bits);
        report(t, "count_f32", same_counts(a + 2 * (bits >> 16), b + 2 * (bits >> 16), 2));
    }
    for (size_t i = 0; i < t->n; i++) {
        uint32_t bits;
        memcpy(&bits, &t->x[i], sizeof bits);
        memset(a + 2 * (bits >> 16), 0, 2 * sizeof *a);
        memset(b + 2 * (bits >> 16), 0, 2 * sizeof *b);
    }
}

static void test_count_16(const test_case *t) {
    static uint32_t a[131072], b[131072];
    const uint16_t *h = (const uint16_t *)t->x;
    t->c->count_16(h, t->n, a);
    t->isa->count_16(h, t->n, b);
    report(t, "count_16", t->n % 64 || same_counts(a, b, 131072));
    for (size_t i = 0; i < t->n; i++) report(t, "count_16", same_counts(a + 2 * h[i], b + 2 * h[i], 2));
    for (size_t i = 0; i < t->n; i++) {
        memset(a + 2 * h[i], 0, 2 * sizeof *a);
        memset(b + 2 * h[i], 0, 2 * sizeof *b);
    }
}
