/* cases_moments.h - the cases of c_moments.c; a part of test_kernels.c. */

static void test_to_f32_f16(const test_case *t) {
    const uint16_t *h = (const uint16_t *)t->x;
    COMPARE("to_f32_f16", float, same_f32, t->n % 3, NULL, t->n, k->to_f32_f16(h, t->n, out));
}

static void test_to_f32_bf16(const test_case *t) {
    const uint16_t *h = (const uint16_t *)t->x;
    COMPARE("to_f32_bf16", float, same_f32, t->n % 3, NULL, t->n, k->to_f32_bf16(h, t->n, out));
}

static void test_power_sums(const test_case *t) {
    float pivots[] = {0.0f, 0.37f, 1e4f, -3e38f};
    for (size_t p = 0; p < 4; p++) {
        qd_power_sums a, b;
        memset(&a, 0, sizeof a);
        memset(&b, 0, sizeof b);
        t->c->power_sums(t->x, t->n, pivots[p], &a);
        t->isa->power_sums(t->x, t->n, pivots[p], &b);
        report(t, "power_sums", memcmp(&a, &b, sizeof a) == 0);
    }
}

/* The array as a matrix: several shapes, the last with a stride wider than its rows. */
static size_t matrix(const test_case *t, size_t shape, size_t *n_columns, size_t *stride) {
    static const size_t columns[] = {1, 16, 37, 64};
    *n_columns = columns[shape];
    *stride = *n_columns + (shape == 3 ? 5 : 0);
    return t->n / *stride;
}

static void test_column_sums(const test_case *t) {
    for (size_t s = 0; s < 4; s++) {
        size_t n_columns, stride, n_rows = matrix(t, s, &n_columns, &stride);
        double start[4 * 64];
        for (size_t i = 0; i < 4 * 64; i++) start[i] = (double)i * 0.125;
        COMPARE("column_sums", double, same_f64, s % 2, start, 4 * n_columns,
                k->column_sums(t->x, n_rows, n_columns, stride, out));
    }
}

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

static void test_abs_sum(const test_case *t) {
    COMPARE("abs_sum", double, same_f64, 0, NULL, 1, *out = k->abs_sum(t->x, t->n));
}

static void test_abs_histogram(const test_case *t) {
    static const float per_unit[] = {25.0f, 1e30f, 0.0f, 1e-36f};
    static const uint32_t n_bins[] = {100, 512, 1, 7};
    uint64_t start[512] = {3, 1};
    for (size_t s = 0; s < 4; s++) {
        COMPARE("abs_histogram", uint64_t, same_u64, 0, start, n_bins[s],
                k->abs_histogram(t->x, t->n, per_unit[s], n_bins[s], out));
    }
}
