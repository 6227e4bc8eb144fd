/* c_activate.c - the specification of activations, their slopes, and the soft cap of logits. The constants are those
 * of lanes.h. */
#include "lanes.h"

/* Phi(v), and with it 1 / sqrt(2 pi) exp(-v^2 / 2). */
static float normal_cdf(float v, float *density) {
    float a = fabsf(v), t = 1.0f / (a * QD_TAIL_STEP + 1.0f), t2 = t * t, t4 = t2 * t2;
    float e = qd_exp(v * v * -0.5f);
    float p12 = QD_TAIL_2 * t + QD_TAIL_1, p34 = QD_TAIL_4 * t + QD_TAIL_3, p56 = QD_TAIL_6 * t + QD_TAIL_5;
    float p78 = QD_TAIL_8 * t + QD_TAIL_7, p90 = QD_TAIL_10 * t + QD_TAIL_9;
    float p = (p90 * t4 + (p78 * t2 + p56)) * t4 + (p34 * t2 + p12);
    float tail = p * t * e;
    *density = e * QD_GAUSS_0;
    return v < 0.0f ? tail : 1.0f - tail;
}

static float act_one(qd_act kind, float v) {
    float density;
    switch (kind) {
    case QD_ACT_GELU_TANH: return v / (qd_exp(v * QD_GELU_SCALE * (v * v * QD_GELU_CUBIC + 1.0f)) + 1.0f);
    case QD_ACT_GELU_ERF: return v * normal_cdf(v, &density);
    case QD_ACT_RELU: return qd_max(0.0f, v);
    default: return v / (qd_exp(v * -1.0f) + 1.0f);
    }
}

static float clamp(float x, float end) {
    return qd_min(end, qd_max(-end, x)); /* this order keeps NaN */
}

/* act'(x). With s = 1 / (1 + exp(u)) the products have s' = -u' s (1 - s), and 1 - s = exp(u) s does not cancel. */
static float slope_one(qd_act kind, float x) {
    float density, v, w, e, s, cdf;
    switch (kind) {
    case QD_ACT_GELU_TANH:
        v = clamp(x, QD_GELU_TANH_END);
        w = v * v * QD_GELU_CUBIC;
        e = qd_exp(v * QD_GELU_SCALE * (w + 1.0f));
        s = 1.0f / (e + 1.0f);
        return s - v * s * (e * s) * ((w * 3.0f + 1.0f) * QD_GELU_SCALE);
    case QD_ACT_GELU_ERF:
        v = clamp(x, QD_GELU_ERF_END);
        cdf = normal_cdf(v, &density);
        return v * density + cdf;
    case QD_ACT_RELU: return 0.0f < x ? 1.0f : 0.0f;
    default:
        v = clamp(x, QD_SILU_END);
        e = qd_exp(v * -1.0f);
        s = 1.0f / (e + 1.0f);
        return v * s * (e * s) + s;
    }
}

void qd_c_bias_act(qd_act kind, float *x, const float *bias, size_t n_rows, size_t n_columns) {
    for (size_t i = 0; i < n_rows; i++, x += n_columns) {
        for (size_t j = 0; j < n_columns; j++) x[j] = act_one(kind, bias ? x[j] + bias[j] : x[j]);
    }
}

void qd_c_act_gated(qd_act kind, const float *gate, const float *up, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = act_one(kind, gate[i]) * up[i];
}

void qd_c_act_grad(qd_act kind, const float *x, const float *dy, size_t n, float *dx) {
    for (size_t i = 0; i < n; i++) dx[i] = slope_one(kind, x[i]) * dy[i];
}

void qd_c_act_gated_grad(qd_act kind, const float *gate, const float *up, const float *dy, size_t n, float *dgate,
                         float *dup) {
    for (size_t i = 0; i < n; i++) {
        float g = gate[i], u = up[i], d = dy[i];
        dgate[i] = slope_one(kind, g) * (d * u);
        dup[i] = act_one(kind, g) * d;
    }
}

/* tanh(z): a polynomial where 1 - 2 / (1 + exp(2 z)) would cancel. */
static float tanh_one(float z) {
    float w = z * z, w2 = w * w, p01 = QD_TANH_1 * w + QD_TANH_0, p23 = QD_TANH_3 * w + QD_TANH_2;
    float near = (w2 * QD_TANH_4 + p23) * w2 + p01, far = 1.0f - 2.0f / (qd_exp(z + z) + 1.0f);
    return fabsf(z) < QD_TANH_NEAR ? near * w * z + z : far;
}

void qd_c_scale_softcap(float *x, size_t n, float scale, float cap) {
    float inverse = 1.0f / cap;
    for (size_t i = 0; i < n; i++) {
        float v = x[i] * scale;
        x[i] = cap > 0.0f ? tanh_one(v * inverse) * cap : v;
    }
}
