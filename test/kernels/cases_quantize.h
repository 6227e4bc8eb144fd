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

/* The grids as they are, and symmetric. */
static void test_grid_errors(const test_case *t) {
    qd_grid many[MAX_GRIDS], odd[MAX_GRIDS];
    static const size_t n_grids[] = {0, 1, 3, 64, MAX_GRIDS};
    for (size_t g = 0; g < MAX_GRIDS; g++) {
        many[g] = odd[g] = grids[g % N_GRIDS];
        odd[g].high = -odd[g].low;
    }
    for (size_t s = 0; s < 5; s++) {
        if (n_grids[s] > 3 && t->n > 300 && t->n % 2 == 0) continue;
        COMPARE("grid_errors", double, same_f64, s % 2, NULL, n_grids[s],
                k->grid_errors(t->x, NULL, t->n, many, n_grids[s], out));
        COMPARE("grid_errors weighted", double, same_f64, s % 2, NULL, n_grids[s],
                k->grid_errors(t->x, t->positive, t->n, many, n_grids[s], out));
        COMPARE("grid_errors of symmetric grids", double, same_f64, s % 2, NULL, n_grids[s],
                k->grid_errors(t->x, s % 2 ? t->positive : NULL, t->n, odd, n_grids[s], out));
    }
}

static void test_round_f16(const test_case *t) {
    COMPARE("round_f16", float, same_f32, t->n % 3, NULL, t->n, k->round_f16(t->x, t->n, out));
    COMPARE("round_f16 in place", float, same_f32, 1, t->x, t->n, k->round_f16(out, t->n, out));
}

/* Rows of at most 130 elements; grids that are all symmetric, and a mixture. */
static void test_column_grid_errors(const test_case *t) {
    static const qd_grid odd[] = {{0.1f, 10.0f, -7, 7}, {0.003f, 1.0f / 0.003f, -127, 127}, {0.0f, 0.0f, -1, 1}};
    static float start[130 * N_GRIDS];
    size_t n = t->n > 130 ? 130 : t->n;
    for (size_t i = 0; i < n * N_GRIDS; i++) start[i] = (float)i;
    COMPARE("column_grid_errors", float, same_f32, t->n % 3, start, n * N_GRIDS,
            k->column_grid_errors(t->x, n, grids, N_GRIDS, out));
    COMPARE("column_grid_errors", float, same_f32, t->n % 3, start, n * 3, k->column_grid_errors(t->x, n, odd, 3, out));
}

static void test_column_measure(const test_case *t) {
    for (size_t s = 0; s < 4; s++) {
        size_t n_columns, stride, n_rows = matrix(t, s, &n_columns, &stride);
        double start[2 * 64] = {1, 2, 3};
        COMPARE("column_measure", double, same_f64, s % 2, start, 2 * n_columns,
                k->column_measure(t->x, t->y, n_rows, n_columns, stride, n_columns, out, out + n_columns));
        COMPARE("column_measure", double, same_f64, s % 2, start, 2 * n_columns,
                k->column_measure(t->x, t->x, n_rows, n_columns, stride, stride, out, out + n_columns));
    }
}

static void test_weighted_products(const test_case *t) {
    COMPARE("weighted_products", double, same_f64, 0, NULL, 2,
            k->weighted_products(t->x, t->y, t->positive, t->n, out));
}

/* Weights of every size at steps around them; the shrinking term with and without effect. */
static void test_half_quadratic(const test_case *t) {
    static const qd_half_quadratic hows[] = {{8, 15, 0.3f, 0.99f, -0.3f, 0.35f, 20},
                                             {50, 7, 1e-3f, 0.99f, -0.3f, 5e-3f, 7},
                                             {0.25f, 255, 1e9f, 0.9f, -0.5f, 1e6f, 20}, {3, 3, 1, 0.99f, 0, 0.9f, 0}};
    float w[130];
    size_t n = t->n > 130 ? 130 : t->n;
    if (n == 0) return;
    for (size_t i = 0; i < n; i++) w[i] = fabsf(t->x[i]) < 1e3f ? t->x[i] : 0.5f; /* finite, and |t| in range */
    for (size_t s = 0; s < 4; s++) {
        COMPARE("half_quadratic", float, same_f32, 0, NULL, 1,
                *out = k->half_quadratic(w, n, hows[s].high / 2, &hows[s]));
    }
}

static void test_excess_sums(const test_case *t) {
    static const float thresholds[] = {-1.0f, 0.0f, 0.37f, 2.0f, 1e30f};
    for (size_t s = 0; s < 5; s++) {
        COMPARE("excess_sums", double, same_f64, 1, NULL, 2, k->excess_sums(t->x, NULL, t->n, thresholds[s], out));
        COMPARE("excess_sums weighted", double, same_f64, 0, NULL, 2,
                k->excess_sums(t->x, t->positive, t->n, thresholds[s], out));
    }
}

static void test_excess_squares(const test_case *t) {
    static const float thresholds[] = {0.0f, 0.37f, 2.0f, 1e30f};
    for (size_t s = 0; s < 4; s++) {
        COMPARE("excess_squares", double, same_f64, 0, NULL, 1, *out = k->excess_squares(t->x, t->n, thresholds[s]));
    }
}

/* ---- packing ---- */

static int same_u8(uint8_t *a, uint8_t *b, size_t n) {
    return n == 0 || memcmp(a, b, n) == 0;
}

static void test_pack_bits(const test_case *t) {
    const int8_t *codes = (const int8_t *)t->x; /* any bytes: only low bits are kept */
    for (unsigned bits = 2; bits <= 8; bits++) {
        size_t n_bytes = (t->n * bits + 7) / 8;
        COMPARE("pack_bits", uint8_t, same_u8, t->n % 3, NULL, n_bytes, k->pack_bits(codes, t->n, bits, false, out));
        COMPARE("pack_bits with offset", uint8_t, same_u8, 0, NULL, n_bytes,
                k->pack_bits(codes, t->n, bits, true, out));
    }
}

static void test_unpack_bits(const test_case *t) {
    const uint8_t *packed = (const uint8_t *)t->x;
    for (unsigned bits = 2; bits <= 8; bits++) {
        COMPARE("unpack_bits", int8_t, same_i8, t->n % 3, NULL, t->n, k->unpack_bits(packed, t->n, bits, false, out));
        COMPARE("unpack_bits with offset", int8_t, same_i8, 0, NULL, t->n,
                k->unpack_bits(packed, t->n, bits, true, out));
    }
}

static void test_scale_codes(const test_case *t) {
    COMPARE("scale_codes", float, same_f32, t->n % 3, NULL, t->n,
            k->scale_codes((const int8_t *)t->x, t->n, 0.01f, out));
}

/* Output: scales, codes and how many groups; what lies beyond a group that failed is not compared. */
static void test_quantize_pack(const test_case *t) {
    static const size_t group_sizes[] = {8, 40, 64, 128, SIZE_MAX};
    for (unsigned bits = 2; bits <= 8; bits += t->n < 68 ? 1 : 3) {
        for (size_t s = 0; s < 5; s++) {
            size_t group_size = group_sizes[s] < t->n ? group_sizes[s] : t->n + (t->n == 0);
            size_t n_groups = (t->n + group_size - 1) / group_size, n_done[2], n_bytes = (t->n * bits + 7) / 8;
            uint16_t scales[2][MAX_N / 8 + 1];
            bool full = bits % 2 == s % 2;
            n_done[0] = t->c->quantize_pack(t->x, t->n, group_size, bits, full, scales[0], (uint8_t *)outputs[0]);
            n_done[1] = t->isa->quantize_pack(t->x, t->n, group_size, bits, full, scales[1], (uint8_t *)outputs[1]);
            report(t, "quantize_pack",
                   n_done[0] == n_done[1] && memcmp(scales[0], scales[1], n_done[0] * sizeof **scales) == 0 &&
                       (n_done[0] < n_groups || memcmp(outputs[0], outputs[1], n_bytes) == 0));
            if (n_done[0] < n_groups) continue;
            COMPARE("quantize_pack", uint8_t, same_u8, t->n % 3, NULL, n_bytes,
                    k->quantize_pack(t->x, t->n, group_size, bits, full, scales[0], out));
        }
    }
}
