/* test_rows.c - the C kernels of c_activate.c and c_norm.c against plain double arithmetic. u = 2^-24 is half an
 * ulp of a float at 1; the bounds are those that kernels.inc states. */
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

TEST(gelu) {
    float zero[1] = {0}, ends[4] = {-1e30f, 1e30f, -20.0f, 20.0f};
    for (int i = 0; i < N; i++) x[i] = out[i] = (float)(i - N / 2) * 0.004f;
    c->bias_act(QD_ACT_GELU_TANH, out, zero, N, 1);
    for (int i = 0; i < N; i++) {
        double v = (double)x[i], u = 0.7978845608028654 * v * (1 + 0.044715 * v * v), want = v / (1 + exp(-2 * u));
        /* the argument 2u has five roundings, so exp(-2u) is off by 5 u |2u|; exp, sum, quotient 4 u more */
        CHECK_WITHIN(out[i], want, (10 * fabs(u) + 5) * U * fabs(want) + (double)FLT_MIN);
    }
    c->bias_act(QD_ACT_GELU_TANH, ends, zero, 4, 1);
    CHECK(ends[0] == 0.0f && ends[1] == 1e30f && ends[2] == 0.0f && ends[3] == 20.0f);
    float rows[4] = {1, 2, 3, 4}, bias[2] = {10, -1};
    c->bias_act(QD_ACT_GELU_TANH, rows, bias, 2, 2);
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

static const qd_act acts[] = {QD_ACT_GELU_TANH, QD_ACT_GELU_ERF, QD_ACT_RELU, QD_ACT_SILU};

static double act_of(qd_act kind, double v) {
    double u = 0.7978845608028654 * v * (1 + 0.044715 * v * v);
    switch (kind) {
    case QD_ACT_GELU_TANH: return v / (1 + exp(-2 * u));
    case QD_ACT_GELU_ERF: return 0.5 * v * erfc(-v * sqrt(0.5));
    case QD_ACT_RELU: return v > 0 ? v : 0;
    default: return v / (1 + exp(-v));
    }
}

static double slope_of(qd_act kind, double v) {
    double s = kind == QD_ACT_SILU ? 1 / (1 + exp(-v)) : v == 0 ? 0.5 : act_of(kind, v) / v;
    switch (kind) {
    case QD_ACT_GELU_TANH: return s + v * s * (1 - s) * 2 * 0.7978845608028654 * (1 + 3 * 0.044715 * v * v);
    case QD_ACT_GELU_ERF: return s + v * exp(-v * v / 2) / sqrt(2 * acos(-1));
    case QD_ACT_RELU: return v > 0;
    default: return s + v * s * (1 - s);
    }
}

/* As kernels.inc states it. */
static double act_bound(qd_act kind, double v) {
    double u = 0.7978845608028654 * v * (1 + 0.044715 * v * v);
    switch (kind) {
    case QD_ACT_GELU_TANH: return 10 * fabs(u) + 5;
    case QD_ACT_GELU_ERF: return 8 + v * v;
    case QD_ACT_RELU: return 0;
    default: return 6;
    }
}

/* On [-20, 20] and a few of all magnitudes; the slopes' error in u, and the activations' over their bound. */
TEST(activations_and_their_slopes) {
    static float one[N], slopes[N], halves[N];
    for (size_t i = 0; i < N; i++) one[i] = 1, halves[i] = 0.5f;
    for (size_t a = 0; a < sizeof acts / sizeof *acts; a++) {
        double worst = 0, worst_slope = 0;
        for (int pass = 0; pass < 8; pass++) {
            for (int i = 0; i < N; i++) x[i] = out[i] = (float)(i - N / 2) * 0.008f + 0.001f * (float)pass;
            if (pass == 7) input_fill(MIXED_SCALES, 5, x, N), memcpy(out, x, sizeof x);
            c->bias_act(acts[a], out, NULL, N, 1);
            c->act_grad(acts[a], x, one, N, slopes);
            for (size_t i = 0; i < N; i++) {
                double v = (double)x[i], want = act_of(acts[a], v), error = fabs((double)out[i] - want);
                double bound = act_bound(acts[a], v) * U * fabs(want) + (want == v ? 0 : 2e-36);
                if (bound > 0 && error / bound > worst) worst = error / bound;
                if (error > bound) CHECK(!"activation");
                if (acts[a] == QD_ACT_GELU_ERF && fabs(v) > 1e15) continue; /* the C library's own range */
                double slope = fabs((double)slopes[i] - slope_of(acts[a], fmin(fmax(v, -1e3), 1e3)));
                if (slope > worst_slope) worst_slope = slope;
                if (slope > 6 * U) CHECK(!"slope");
            }
        }
        printf("activation %zu: worst error %.2f of its bound; of the slope %.1f u\n", a, worst, worst_slope / U);
        /* gates, by the bits */
        input_fill(NORMAL, 21, x, N);
        input_fill(NORMAL, 22, y, N);
        memcpy(slopes, x, sizeof x);
        c->bias_act(acts[a], slopes, NULL, N, 1);
        c->act_gated(acts[a], x, y, N, out);
        for (size_t i = 0; i < N; i++) CHECK(out[i] == slopes[i] * y[i]);
        c->act_gated_grad(acts[a], x, y, halves, N, one, out);
        for (size_t i = 0; i < N; i++) CHECK(out[i] == slopes[i] * 0.5f);
        c->act_grad(acts[a], x, one, 0, slopes);
        for (size_t i = 0; i < N; i++) halves[i] = 0.5f * y[i];
        c->act_grad(acts[a], x, halves, N, slopes);
        for (size_t i = 0; i < N; i++) CHECK(one[i] == slopes[i]);
        for (size_t i = 0; i < N; i++) one[i] = 1, halves[i] = 0.5f;
    }
}

TEST(soft_cap) {
    const float caps[] = {0.0f, 1.0f, 50.0f};
    for (size_t k = 0; k < 3; k++) {
        double worst = 0;
        for (int i = 0; i < N; i++) x[i] = out[i] = (float)(i - N / 2) * (k == 1 ? 0.004f : 0.2f);
        c->scale_softcap(out, N, 0.375f, caps[k]);
        for (size_t i = 0; i < N; i++) {
            double v = (double)(x[i] * 0.375f), cap = (double)caps[k], want = cap > 0 ? cap * tanh(v / cap) : v;
            if (cap == 0) CHECK(out[i] == x[i] * 0.375f);
            else if (want != 0) worst = fmax(worst, fabs((double)out[i] / want - 1));
        }
        printf("soft cap %g: worst relative error %.1f u\n", (double)caps[k], worst / U);
        CHECK(worst <= 6 * U);
    }
}

TEST(rotations) {
    enum { PAIRS = 37 };
    float cosines[PAIRS], sines[PAIRS], back[PAIRS];
    input_fill(NORMAL, 31, x, 2 * PAIRS);
    for (size_t i = 0; i < PAIRS; i++) {
        cosines[i] = (float)cos(0.3 * (double)i);
        sines[i] = (float)sin(0.3 * (double)i);
        back[i] = -sines[i];
    }
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        memcpy(out, x, 2 * PAIRS * sizeof *x);
        c->rope(out, cosines, sines, PAIRS, interleaved != 0);
        for (size_t i = 0; i < PAIRS; i++) {
            size_t first = interleaved ? 2 * i : i, second = interleaved ? first + 1 : i + PAIRS;
            double a = (double)x[first], b = (double)x[second], t = 0.3 * (double)i, size = fabs(a) + fabs(b);
            CHECK_WITHIN(out[first], a * cos(t) - b * sin(t), 3 * U * size);
            CHECK_WITHIN(out[second], b * cos(t) + a * sin(t), 3 * U * size);
        }
        c->rope(out, cosines, back, PAIRS, interleaved != 0);
        for (size_t i = 0; i < 2 * PAIRS; i++) CHECK_WITHIN(out[i], x[i], 32 * U);
    }
}

/* Gradients against the formulas in f64. */
static void check_norm_grads(enum input_kind kind, size_t n) {
    static float dy[N];
    double mean = 0, variance = 0, square = 0, sums[5] = {0}, eps = (double)1e-5f;
    input_fill(kind, 51, x, n);
    input_fill(NORMAL, 52, y, n);
    input_fill(NORMAL, 53, dy, n);
    for (size_t i = 0; i < n; i++) mean += (double)x[i] / (double)n, square += pow((double)x[i], 2) / (double)n;
    for (size_t i = 0; i < n; i++) variance += pow((double)x[i] - mean, 2) / (double)n;
    double r = 1 / sqrt(variance + eps), q = 1 / sqrt(square + eps);
    for (size_t i = 0; i < n; i++) { /* means of g, |g|, g d, |g d|; g x of rms_norm with offset 1 */
        double g = (double)dy[i] * (double)y[i], d = (double)x[i] - mean;
        sums[0] += g / (double)n, sums[1] += fabs(g) / (double)n;
        sums[2] += g * d / (double)n, sums[3] += fabs(g * d) / (double)n;
        sums[4] += (double)dy[i] * ((double)y[i] + 1) * (double)x[i] / (double)n;
    }
    c->layer_norm_grad(x, n, 1e-5f, y, dy, out);
    for (size_t i = 0; i < n; i++) {
        double g = (double)dy[i] * (double)y[i], d = (double)x[i] - mean, shift = (fabs((double)x[i]) + fabs(mean)) * U;
        double bound = 6 * U * r * (fabs(g) + sums[1] + fabs(d) * r * r * sums[3]);
        bound += r * r * r * shift * (fabs(d) * sums[1] + sums[3]);
        CHECK_WITHIN(out[i], r * (g - sums[0] - d * r * r * sums[2]), bound);
    }
    double total = 0;
    for (size_t i = 0; i < n; i++) total += fabs((double)dy[i] * ((double)y[i] + 1) * (double)x[i]) / (double)n;
    c->rms_norm_grad(x, n, 1e-5f, y, 1.0f, dy, out);
    for (size_t i = 0; i < n; i++) {
        double g = (double)dy[i] * ((double)y[i] + 1), v = (double)x[i];
        CHECK_WITHIN(out[i], q * (g - v * q * q * sums[4]), 7 * U * q * (fabs(g) + fabs(v) * q * q * total));
    }
    c->rms_norm(x, n, 1e-5f, y, 1.0f, out);
    for (size_t i = 0; i < n; i++) {
        double want = (double)x[i] * q * ((double)y[i] + 1);
        CHECK_WITHIN(out[i], want, 4 * U * fabs(want));
    }
}

TEST(norms_and_their_gradients) {
    for (int kind = 0; kind < FINITE_KINDS; kind++) {
        check_norm_grads((enum input_kind)kind, N);
        check_norm_grads((enum input_kind)kind, 1);
        check_norm_grads((enum input_kind)kind, 576);
    }
    memset(out, 0, sizeof out);
    input_fill(NORMAL, 54, x, N);
    c->layer_norm(x, N, 1e-5f, y, out, out);
    static float bare[N];
    c->layer_norm(x, N, 1e-5f, y, NULL, bare);
    for (size_t i = 0; i < N; i++) CHECK(bare[i] == out[i]); /* no bias is a bias of zeros */
}

TEST(gradient_of_softmax) {
    double sum = 0;
    input_fill(NORMAL, 61, x, N);
    input_fill(NORMAL, 62, y, N);
    c->softmax(x, N);
    for (size_t i = 0; i < N; i++) sum += (double)x[i] * (double)y[i];
    c->softmax_grad(x, y, N, out);
    for (size_t i = 0; i < N; i++) {
        double p = (double)x[i], d = (double)y[i] - sum;
        CHECK_WITHIN(out[i], p * d, 2 * U * p * (fabs(d) + fabs(sum)));
    }
}

TEST(products_with_panels) {
    enum { ROWS = 2, OUT = 4, IN = QD_PANEL_DEPTH + 19 };
    static float panels[QD_PANEL * IN];
    input_fill(NORMAL, 71, x, ROWS * IN);
    input_fill(MIXED_SCALES, 72, y, OUT * IN);
    for (size_t j = 0; j < OUT; j++)
        for (size_t k = 0; k < IN; k++) panels[k * QD_PANEL + j] = y[j * IN + k];
    c->panel_product(x, IN, ROWS, IN, panels, IN, OUT, false, out, OUT);
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t j = 0; j < OUT; j++) {
            double sum = 0, size = 0;
            for (size_t k = 0; k < IN; k++) {
                double term = (double)x[r * IN + k] * (double)y[j * IN + k];
                sum += term;
                size += fabs(term);
            }
            CHECK_WITHIN(out[r * OUT + j], sum, (QD_PANEL_DEPTH + 3) * U * size);
        }
    }
}

int main(void) {
    c = qd_kernels_get("c", NULL, NULL);
    RUN(gelu);
    RUN(layer_norm);
    RUN(activations_and_their_slopes);
    RUN(soft_cap);
    RUN(rotations);
    RUN(norms_and_their_gradients);
    RUN(gradient_of_softmax);
    RUN(products_with_panels);
    return TEST_END();
}
