/* test_divergence.c - losses and divergences of rows. Golden values: test/golden/make_divergence.py (scipy); the
 * kernels' bounds are tested in test/kernels/test_reference.c. */
#include "golden.h"

#include <qdisp/stats.h>

enum { ROWS = 37, COLUMNS = 5000, STRIDE = 5008 };
#define U 0x1p-24

static qdisp_ctx *ctx;
static float x[ROWS * STRIDE], y[ROWS * STRIDE];
static int32_t targets[ROWS];

/* Numbers about -1..1, the same everywhere. */
static float hashed(uint32_t i) {
    i = (i ^ (i >> 16)) * 0x7feb352du;
    i = (i ^ (i >> 15)) * 0x846ca68bu;
    return (float)(int32_t)(i ^ (i >> 16)) * 0x1p-31f;
}

static void fill(void) {
    for (uint32_t i = 0; i < ROWS * STRIDE; i++) {
        x[i] = 8 * hashed(i);
        y[i] = x[i] + 0.3f * hashed(~i);
    }
    for (int i = 0; i < ROWS; i++) targets[i] = 131 * i;
}

static void to_floats(const double *v, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = (float)v[i];
}

static void golden_nll(const double *v, size_t n_values) {
    size_t n = (size_t)v[0];
    int32_t target = (int32_t)v[1];
    double nll = 7;
    CHECK(n_values == 3 + n);
    to_floats(v + 3, n, x);
    CHECK_STATUS(qdisp_nll_rows(ctx, x, &target, 1, n, 0, &nll), QDISP_OK);
    /* 9 u and the mean distance from the maximum, of these rows at most 16; scipy's own error is of f64 */
    CHECK(fabs(nll - v[2]) <= 25 * U);
}

static void golden_kl(const double *v, size_t n_values) {
    size_t n = (size_t)v[0];
    double kl = 7, lse_x = 7, lse_y = 7;
    CHECK(n_values == 4 + 2 * n);
    to_floats(v + 4, n, x);
    to_floats(v + 4 + n, n, y);
    CHECK_STATUS(qdisp_softmax_kl(ctx, x, y, 1, n, 0, &kl, &lse_x, &lse_y, NULL), QDISP_OK);
    /* the sum of |q - p| is at most sqrt(2 KL) (Pinsker) and 2, the differences it weighs at most 100 or so here; then
     * 40 u of KL and (E t)^2, below 100 KL in these rows; scipy's terms cancel to 1e-15 */
    CHECK(fabs(kl - v[1]) <= (100 * fmin(sqrt(2 * v[1]), 2) + 40 * 100 * v[1]) * U + 1e-15);
    CHECK(fabs(lse_x - v[2]) <= 25 * U && fabs(lse_y - v[3]) <= 25 * U);
}

static void golden_js(const double *v, size_t n_values) {
    size_t n = (size_t)v[0];
    double js = 7;
    CHECK(n_values == 2 + 2 * n);
    to_floats(v + 2, n, x);
    to_floats(v + 2 + n, n, y);
    CHECK_STATUS(qdisp_js_divergence(ctx, x, y, 1, n, 0, &js), QDISP_OK);
    /* 30 u; and scipy's rescaling: a row of n floats sums to 1 within u / 2, which moves JS by u / 2 of itself and of
     * |sum p - sum q|^2; scipy's logarithms cancel to 1e-16 */
    CHECK(fabs(js - v[1]) <= 31 * U * v[1] + 1e-15);
}

TEST(golden_values_of_scipy) {
    CHECK(golden_each("divergence.txt", "nll", golden_nll) == 5);
    CHECK(golden_each("divergence.txt", "kl", golden_kl) == 7);
    CHECK(golden_each("divergence.txt", "js", golden_js) == 6);
    fill();
}

TEST(rows_with_a_stride) {
    double nll[ROWS], kl[ROWS], lse_x[ROWS], lse_y[ROWS], js[ROWS];
    uint8_t same[ROWS];
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t j = COLUMNS; j < STRIDE; j++) x[i * STRIDE + j] = y[i * STRIDE + j] = NAN; /* not to be read */
    }
    CHECK_STATUS(qdisp_nll_rows(ctx, x, targets, ROWS, COLUMNS, STRIDE, nll), QDISP_OK);
    CHECK_STATUS(qdisp_softmax_kl(ctx, x, y, ROWS, COLUMNS, STRIDE, kl, lse_x, lse_y, same), QDISP_OK);
    int n_same = 0;
    for (size_t i = 0; i < ROWS; i++) {
        const float *a = x + i * STRIDE, *b = y + i * STRIDE;
        double sum_x = 0, sum_y = 0, want = 0, one;
        size_t top_x = 0, top_y = 0;
        for (size_t j = 0; j < COLUMNS; j++) {
            sum_x += exp((double)a[j]), sum_y += exp((double)b[j]);
            if (a[j] > a[top_x]) top_x = j;
            if (b[j] > b[top_y]) top_y = j;
        }
        for (size_t j = 0; j < COLUMNS; j++) {
            want += exp((double)a[j]) / sum_x * ((double)a[j] - log(sum_x) - (double)b[j] + log(sum_y));
        }
        CHECK_NEAR(lse_x[i], log(sum_x), 5 * U);
        CHECK_NEAR(lse_y[i], log(sum_y), 5 * U);
        CHECK(fabs(nll[i] - (lse_x[i] - (double)a[targets[i]])) < 1e-14); /* the same sum, another order in f64 */
        CHECK_NEAR(kl[i], want, 200 * U); /* KL 0.01: 10 u sqrt(2 KL) and 40 u KL */
        CHECK(same[i] == (top_x == top_y));
        n_same += same[i];
        CHECK_STATUS(qdisp_nll_rows(ctx, a, targets + i, 1, COLUMNS, 0, &one), QDISP_OK);
        CHECK(one == nll[i]);
        CHECK_STATUS(qdisp_softmax_kl(ctx, a, b, 1, COLUMNS, 0, &one, NULL, NULL, NULL), QDISP_OK);
        CHECK(one == kl[i]);
    }
    CHECK(n_same > 0 && n_same < ROWS);
    for (size_t i = 0; i < ROWS * STRIDE; i++) x[i] = fabsf(x[i]), y[i] = fabsf(y[i]);
    CHECK_STATUS(qdisp_js_divergence(ctx, x, y, ROWS, COLUMNS, STRIDE, js), QDISP_OK);
    for (size_t i = 0; i < ROWS; i++) {
        double one;
        CHECK_STATUS(qdisp_js_divergence(ctx, x + i * STRIDE, y + i * STRIDE, 1, COLUMNS, 0, &one), QDISP_OK);
        CHECK(one == js[i] && one > 0);
    }
    fill();
}

TEST(threads_and_instruction_sets_change_nothing) {
    static const char *const isas[] = {"c", NULL};
    double first[3][ROWS], now[3][ROWS];
    for (int k = 0; k < 6; k++) {
        qdisp_ctx_options o = {.size = sizeof o, .n_threads = (uint64_t)(1 + k / 2), .isa = isas[k % 2]};
        qdisp_ctx *other = NULL;
        CHECK_STATUS(qdisp_ctx_new(&o, &other), QDISP_OK);
        CHECK_STATUS(qdisp_nll_rows(other, x, targets, ROWS, COLUMNS, STRIDE, now[0]), QDISP_OK);
        CHECK_STATUS(qdisp_softmax_kl(other, x, y, ROWS, COLUMNS, STRIDE, now[1], now[2], NULL, NULL), QDISP_OK);
        if (k == 0) memcpy(first, now, sizeof first);
        CHECK(memcmp(first, now, sizeof first) == 0);
        qdisp_ctx_free(other);
    }
}

TEST(top_tokens) {
    float a[2][4] = {{1, 3, 3, 0}, {NAN, 1, 2, 3}}, b[2][4] = {{-9, 5, 1, 5}, {0, 1, 2, 3}}; /* of equals, the first */
    double kl[2];
    uint8_t same[2] = {7, 7};
    CHECK_STATUS(qdisp_softmax_kl(ctx, &a[0][0], &b[0][0], 2, 4, 0, kl, NULL, NULL, same), QDISP_OK);
    CHECK(same[0] == 1 && same[1] == 0 && isnan(kl[1]));
    b[0][0] = 5;
    CHECK_STATUS(qdisp_softmax_kl(ctx, &a[0][0], &b[0][0], 1, 4, 0, kl, NULL, NULL, same), QDISP_OK);
    CHECK(same[0] == 0);
}

TEST(bad_arguments_leave_outputs_alone) {
    double out[2] = {7, 7};
    int32_t bad[2] = {0, 4};
    CHECK_STATUS(qdisp_nll_rows(ctx, x, bad, 2, 4, 0, out), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "target 4 of row 1 is outside 0..3");
    bad[0] = -1;
    CHECK_STATUS(qdisp_nll_rows(ctx, x, bad, 2, 4, 0, out), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "target -1 of row 0");
    CHECK_STATUS(qdisp_nll_rows(ctx, x, NULL, 2, 4, 0, out), QDISP_EINVAL);
    CHECK_STATUS(qdisp_nll_rows(ctx, NULL, targets, 2, 4, 0, out), QDISP_EINVAL);
    CHECK_STATUS(qdisp_nll_rows(ctx, x, targets, 2, 4, 0, NULL), QDISP_EINVAL);
    CHECK_STATUS(qdisp_nll_rows(ctx, x, targets, 2, 0, 0, out), QDISP_EINVAL);
    CHECK_STATUS(qdisp_js_divergence(ctx, x, NULL, 2, 4, 0, out), QDISP_EINVAL);
    CHECK_STATUS(qdisp_js_divergence(ctx, x, y, 2, 4, 3, out), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "stride 3 is below 4 columns");
    CHECK_STATUS(qdisp_softmax_kl(ctx, x, y, 2, 4, 0, NULL, out, NULL, NULL), QDISP_EINVAL);
    CHECK_STATUS(qdisp_softmax_kl(ctx, NULL, NULL, 0, 4, 0, NULL, NULL, NULL, NULL), QDISP_OK);
    CHECK_STATUS(qdisp_js_divergence(ctx, NULL, NULL, 0, 0, 0, NULL), QDISP_OK);
    CHECK_STATUS(qdisp_nll_rows(ctx, NULL, NULL, 0, 0, 0, NULL), QDISP_OK);
    CHECK(out[0] == 7 && out[1] == 7);
}

static int always(void *user) {
    (void)user;
    return 1;
}
static size_t n_allocated;
static void *one_block(void *user, size_t n) {
    (void)user;
    return n_allocated++ == 0 ? malloc(n) : NULL; /* the context, then nothing */
}
static void *no_growth(void *user, void *block, size_t n) {
    (void)user;
    (void)block;
    (void)n;
    return NULL;
}
static void release(void *user, void *block) {
    (void)user;
    free(block);
}

TEST(cancelled_or_out_of_memory) {
    qdisp_ctx_options o = {.size = sizeof o, .cancelled = always};
    qdisp_ctx *other = NULL;
    double out[3][ROWS];
    for (int k = 0; k < 2; k++) {
        qdisp_status want = k ? QDISP_ENOMEM : QDISP_ECANCELLED;
        if (k) o = (qdisp_ctx_options){sizeof o, .allocate = one_block, .reallocate = no_growth, .release = release};
        for (int i = 0; i < ROWS; i++) out[0][i] = out[1][i] = out[2][i] = 7;
        CHECK_STATUS(qdisp_ctx_new(&o, &other), QDISP_OK);
        CHECK_STATUS(qdisp_nll_rows(other, x, targets, ROWS, COLUMNS, STRIDE, out[0]), want);
        CHECK_STATUS(qdisp_softmax_kl(other, x, y, ROWS, COLUMNS, STRIDE, out[1], NULL, NULL, NULL), want);
        CHECK_STATUS(qdisp_js_divergence(other, x, y, ROWS, COLUMNS, STRIDE, out[2]), want);
        for (int i = 0; i < ROWS; i++) CHECK(out[0][i] == 7 && out[1][i] == 7 && out[2][i] == 7);
        qdisp_ctx_free(other);
    }
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(golden_values_of_scipy);
    RUN(rows_with_a_stride);
    RUN(threads_and_instruction_sets_change_nothing);
    RUN(top_tokens);
    RUN(bad_arguments_leave_outputs_alone);
    RUN(cancelled_or_out_of_memory);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
