/* c_forward.c - the specification of the forward pass. Lanes, flush interval, the fold and
 * the constants are those of lanes.h. */
#include "lanes.h"

/* Within 1 ulp of exp (0.963 seen over every 97th float of the range); NaN stays. */
static float exp_one(float x) {
    float clamped = qd_min(QD_EXP_HIGH, qd_max(QD_EXP_LOW, x)); /* this order keeps NaN */
    float shifted = clamped * QD_LOG2E + QD_ROUND, n = shifted - QD_ROUND;
    float r = clamped - n * QD_LN2_HIGH - n * QD_LN2_LOW;
    float p = QD_EXP_P0;
    p = p * r + QD_EXP_P1;
    p = p * r + QD_EXP_P2;
    p = p * r + QD_EXP_P3;
    p = p * r + QD_EXP_P4;
    p = p * r + QD_EXP_P5;
    p = p * (r * r) + r + 1.0f;
    /* the low bits of `shifted` hold n; 2^n by its exponent field, n in [-126, 127] */
    uint32_t power = (qd_float_bits(shifted) - qd_float_bits(QD_ROUND) + 127u) << 23;
    float y = p * qd_bits_float(power);
    y = x < QD_EXP_LOW ? 0.0f : y;
    return x > QD_EXP_HIGH ? INFINITY : y;
}

static float max_of(const float *x, size_t n) {
    float m[QD_STEP];
    for (size_t l = 0; l < QD_STEP; l++) m[l] = -INFINITY;
    for (size_t i = 0; i < n; i++) m[i % QD_STEP] = qd_max(m[i % QD_STEP], x[i]);
    for (size_t half = QD_STEP / 2; half > 0; half /= 2) {
        for (size_t l = 0; l < half; l++) m[l] = qd_max(m[l], m[l + half]);
    }
    return m[0];
}

/* Sum of exp(x - max); stored to out unless it is NULL. */
static double exp_sum(const float *x, size_t n, float max, float *out) {
    double lanes[QD_STEP] = {0};
    for (size_t first = 0; first < n; first += QD_FLUSH) {
        float sums[QD_STEP] = {0};
        for (size_t i = first; i < n && i < first + QD_FLUSH; i++) {
            float y = exp_one(x[i] - max);
            sums[i % QD_STEP] += y;
            if (out) out[i] = y;
        }
        for (size_t l = 0; l < QD_STEP; l++) lanes[l] += (double)sums[l];
    }
    return qd_fold(lanes);
}

void qd_c_softmax(float *x, size_t n) {
    float scale = (float)(1.0 / exp_sum(x, n, max_of(x, n), x));
    for (size_t i = 0; i < n; i++) x[i] *= scale;
}

float qd_nll_finish(double sum, float max, float x_target) {
    return (float)(log(sum) + ((double)max - (double)x_target));
}

float qd_c_nll(const float *x, size_t n, size_t target) {
    float max = max_of(x, n);
    return qd_nll_finish(exp_sum(x, n, max, NULL), max, x[target]);
}

void qd_c_bias_gelu_tanh(float *x, const float *bias, size_t n_rows, size_t n_columns) {
    for (size_t i = 0; i < n_rows; i++) {
        for (size_t j = 0; j < n_columns; j++) {
            float v = x[i * n_columns + j] + bias[j];
            float u = v * QD_GELU_SCALE * (v * v * QD_GELU_CUBIC + 1.0f);
            x[i * n_columns + j] = v / (exp_one(u) + 1.0f);
        }
    }
}

float qd_layer_norm_scale(double sum_squares, size_t n, double mean, float rounded, float epsilon) {
    double shift = mean - (double)rounded;
    double variance = sum_squares / (double)n - shift * shift;
    return (float)(1.0 / sqrt((variance > 0 ? variance : 0) + (double)epsilon));
}

void qd_c_layer_norm(const float *x, size_t n, float epsilon, const float *weight, const float *bias, float *out) {
    double sums[QD_STEP] = {0}, squares[QD_STEP] = {0};
    for (size_t i = 0; i < n; i++) sums[i % QD_STEP] += (double)x[i];
    double mean = qd_fold(sums) / (double)n;
    float rounded = (float)mean;
    for (size_t i = 0; i < n; i++) {
        double d = (double)(x[i] - rounded);
        squares[i % QD_STEP] += d * d;
    }
    float scale = qd_layer_norm_scale(qd_fold(squares), n, mean, rounded, epsilon);
    for (size_t i = 0; i < n; i++) out[i] = (x[i] - rounded) * scale * weight[i] + bias[i];
}
