/* cases_quantize.h - the cases of c_quantize.c; a part of test_kernels.c. */

static const qd_grid grids[] = {{0.1f, 10.0f, -8, 7},    {0.003f, 1.0f / 0.003f, -4, 3}, {1e-3f, 1e3f, -127, 127},
                                {1e37f, 1e-37f, -8, 7},  {2.0f, 0.5f, -128, 127},        {0.0f, 0.0f, -8, 7},
                                {1e-26f, 1e26f, -2, 1},  {0.25f, 4.0f, -1, 1}};
enum { N_GRIDS = sizeof grids / sizeof *grids };

static void test_quantize(const test_case *t) {
    for (size_t g = 0; g < N_GRIDS; g++) {
        COMPARE("quantize", float, same_f32, t->n % 3, NULL, t->n, k->quantize(t->x, t->n, &grids[g], out));
        COMPARE("quantize in place", float, same_f32, 1, t->x, t->n, k->quantize(out, t->n, &grids[g], out));
    }
}

static void test_quantize_codes(const test_case *t) {
    for (size_t g = 0; g < N_GRIDS; g++) {
        COMPARE("quantize_codes", int8_t, same_i8, t->n % 5, NULL, t->n, k->quantize_codes(t->x, t->n, &grids[g], out));
    }
}

static void test_grid_errors(const test_case *t) {
    qd_grid many[MAX_GRIDS];
    static const size_t n_grids[] = {0, 1, 3, 64, MAX_GRIDS};
    for (size_t g = 0; g < MAX_GRIDS; g++) many[g] = grids[g % N_GRIDS];
    for (size_t s = 0; s < 5; s++) {
        if (n_grids[s] > 3 && t->n > 300 && t->n % 2 == 0) continue;
        COMPARE("grid_errors", double, same_f64, s % 2, NULL, n_grids[s],
                k->grid_errors(t->x, NULL, t->n, many, n_grids[s], out));
        COMPARE("grid_errors weighted", double, same_f64, s % 2, NULL, n_grids[s],
                k->grid_errors(t->x, t->positive, t->n, many, n_grids[s], out));
    }
}

static void test_column_errors(const test_case *t) {
    static double start[MAX_N];
    for (size_t i = 0; i < t->n; i++) start[i] = (double)i;
    COMPARE("column_errors", double, same_f64, t->n % 2, start, t->n, k->column_errors(t->x, t->y, t->n, out));
}
