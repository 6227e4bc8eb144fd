/* c_norm.c - the specification of what transformers do to a row besides products: norms, the rotation of positions,
 * and the gradients of norms and softmax. Lanes and the fold are those of lanes.h. */
#include "lanes.h"

float qd_layer_norm_scale(double sum_squares, size_t n, double mean, float rounded, float epsilon) {
    double shift = mean - (double)rounded;
    double variance = sum_squares / (double)n - shift * shift;
    return (float)(1.0 / sqrt((variance > 0 ? variance : 0) + (double)epsilon));
}

float qd_rms_norm_scale(double sum_squares, size_t n, float epsilon) {
    return (float)(1.0 / sqrt(sum_squares / (double)n + (double)epsilon));
}

/* The mean of a row, the same as a float, and 1 / its standard deviation. */
static float centre(const float *x, size_t n, float epsilon, double *mean, float *rounded) {
    double sums[QD_STEP] = {0}, squares[QD_STEP] = {0};
    for (size_t i = 0; i < n; i++) sums[i % QD_STEP] += (double)x[i];
    *mean = qd_fold(sums) / (double)n;
    *rounded = (float)*mean;
    for (size_t i = 0; i < n; i++) {
        double d = (double)(x[i] - *rounded);
        squares[i % QD_STEP] += d * d;
    }
    return qd_layer_norm_scale(qd_fold(squares), n, *mean, *rounded, epsilon);
}

void qd_c_layer_norm(const float *x, size_t n, float epsilon, const float *weight, const float *bias, float *out) {
    double mean;
    float rounded, scale = centre(x, n, epsilon, &mean, &rounded);
    for (size_t i = 0; i < n; i++) {
        float y = (x[i] - rounded) * scale * weight[i];
        out[i] = bias ? y + bias[i] : y;
    }
}

/* With d = x - mean, r = 1 / sqrt(variance + epsilon) and g = dy weight:
 * dx = r (g - mean(g) - d r^2 mean(g d)); d is taken from the rounded mean, which the sum of g d gives back. */
void qd_c_layer_norm_grad(const float *x, size_t n, float epsilon, const float *weight, const float *dy, float *dx) {
    double mean, sums[QD_STEP] = {0}, products[QD_STEP] = {0};
    float rounded, scale = centre(x, n, epsilon, &mean, &rounded);
    for (size_t i = 0; i < n; i++) {
        double g = (double)(dy[i] * weight[i]);
        sums[i % QD_STEP] += g;
        products[i % QD_STEP] += g * (double)(x[i] - rounded);
    }
    qd_norm_slope s = qd_layer_norm_slope(qd_fold(sums), qd_fold(products), n, mean, rounded, scale);
    for (size_t i = 0; i < n; i++) dx[i] = (dy[i] * weight[i] - s.mean - (x[i] - rounded) * s.along) * scale;
}

qd_norm_slope qd_layer_norm_slope(double sum, double products, size_t n, double mean, float rounded, float scale) {
    double r = (double)scale, centred = products - (mean - (double)rounded) * sum;
    return (qd_norm_slope){(float)(sum / (double)n), (float)(r * r * centred / (double)n)};
}

static float rms_scale(const float *x, size_t n, float epsilon) {
    double squares[QD_STEP] = {0};
    for (size_t i = 0; i < n; i++) squares[i % QD_STEP] += (double)x[i] * (double)x[i];
    return qd_rms_norm_scale(qd_fold(squares), n, epsilon);
}

void qd_c_rms_norm(const float *x, size_t n, float epsilon, const float *weight, float offset, float *out) {
    float scale = rms_scale(x, n, epsilon);
    for (size_t i = 0; i < n; i++) out[i] = x[i] * scale * (weight[i] + offset);
}

/* With r = 1 / sqrt(mean(x^2) + epsilon) and g = dy (weight + offset): dx = r (g - x r^2 mean(g x)). */
void qd_c_rms_norm_grad(const float *x, size_t n, float epsilon, const float *weight, float offset, const float *dy,
                        float *dx) {
    double products[QD_STEP] = {0};
    float scale = rms_scale(x, n, epsilon);
    for (size_t i = 0; i < n; i++) products[i % QD_STEP] += (double)(dy[i] * (weight[i] + offset)) * (double)x[i];
    float along = qd_layer_norm_slope(0, qd_fold(products), n, 0, 0, scale).along;
    for (size_t i = 0; i < n; i++) dx[i] = (dy[i] * (weight[i] + offset) - x[i] * along) * scale;
}

void qd_c_softmax_grad(const float *p, const float *dp, size_t n, float *out) {
    double products[QD_STEP] = {0};
    for (size_t i = 0; i < n; i++) products[i % QD_STEP] += (double)p[i] * (double)dp[i];
    float mean = (float)qd_fold(products);
    for (size_t i = 0; i < n; i++) out[i] = p[i] * (dp[i] - mean);
}

void qd_c_rope(float *x, const float *cos, const float *sin, size_t n_pairs, bool interleaved) {
    qd_rope(x, cos, sin, n_pairs, interleaved);
}
