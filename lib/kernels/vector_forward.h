/* vector_forward.h - c_forward.c over vectors; a part of kernels_vector.h. */

/* not_above_zero: the caller knows that x <= 0 or NaN, which spares the upper end. */
static inline vf vf_exp(vf x, bool not_above_zero) {
    vf low = vf_set(QD_EXP_LOW), high = vf_set(QD_EXP_HIGH), round = vf_set(QD_ROUND), one = vf_set(1.0f);
    vf clamped = vf_max(low, x);
    if (!not_above_zero) clamped = vf_min(high, clamped);
    vf shifted = vf_add(vf_mul(clamped, vf_set(QD_LOG2E)), round), n = vf_sub(shifted, round);
    vf r = vf_sub(vf_sub(clamped, vf_mul(n, vf_set(QD_LN2_HIGH))), vf_mul(n, vf_set(QD_LN2_LOW)));
    vf p = vf_set(QD_EXP_P0);
    p = vf_add(vf_mul(p, r), vf_set(QD_EXP_P1));
    p = vf_add(vf_mul(p, r), vf_set(QD_EXP_P2));
    p = vf_add(vf_mul(p, r), vf_set(QD_EXP_P3));
    p = vf_add(vf_mul(p, r), vf_set(QD_EXP_P4));
    p = vf_add(vf_mul(p, r), vf_set(QD_EXP_P5));
    p = vf_add(vf_add(vf_mul(p, vf_mul(r, r)), r), one);
    vf y = vf_mul(p, vi_power_of_two(vf_bits(shifted)));
    y = vf_if_less(x, low, vf_set(0.0f), y);
    return not_above_zero ? y : vf_if_less(high, x, vf_set(INFINITY), y);
}

static inline float v_max_of(const float *x, size_t n) {
    vf max = vf_set(-INFINITY);
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) max = vf_max(max, vf_load(x + i));
    if (i < n) max = vf_max(max, vf_part(x + i, n - i, -INFINITY));
    float m[QD_STEP];
    vf_store(m, max);
    for (size_t half = QD_STEP / 2; half > 0; half /= 2) {
        for (size_t l = 0; l < half; l++) m[l] = m[l] > m[l + half] ? m[l] : m[l + half];
    }
    return m[0];
}

/* Beside a NaN the maximum may be another element's, and x - max above zero: the sum is NaN whatever comes of that. */
static inline double v_exp_sum(const float *x, size_t n, float max, float *out) {
    vf shift = vf_set(max);
    vd total = vd_from(vf_set(0.0f));
    for (size_t first = 0; first < n; first += QD_FLUSH) {
        size_t end = first + QD_FLUSH < n ? first + QD_FLUSH : n, i = first;
        vf sum = vf_set(0.0f);
        for (; i + QD_STEP <= end; i += QD_STEP) {
            vf y = vf_exp(vf_sub(vf_load(x + i), shift), true);
            sum = vf_add(sum, y);
            if (out) vf_store(out + i, y);
        }
        if (i < end) { /* exp(-inf) = 0 */
            vf y = vf_exp(vf_sub(vf_part(x + i, end - i, -INFINITY), shift), true);
            sum = vf_add(sum, y);
            if (out) vf_store_part(out + i, end - i, y);
        }
        total = vd_add(total, vd_from(sum));
    }
    return vd_fold(total);
}

static void v_softmax(float *x, size_t n) {
    float scale = (float)(1.0 / v_exp_sum(x, n, v_max_of(x, n), x));
    vf factor = vf_set(scale);
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) vf_store(x + i, vf_mul(vf_load(x + i), factor));
    for (; i < n; i++) x[i] *= scale;
}

static float v_nll(const float *x, size_t n, size_t target) {
    float max = v_max_of(x, n);
    return qd_nll_finish(v_exp_sum(x, n, max, NULL), max, x[target]);
}

static inline vf vf_gelu(vf v) {
    vf one = vf_set(1.0f);
    vf cubic = vf_add(vf_mul(vf_mul(v, v), vf_set(QD_GELU_CUBIC)), one);
    return vf_div(v, vf_add(vf_exp(vf_mul(vf_mul(v, vf_set(QD_GELU_SCALE)), cubic), false), one));
}

static void v_bias_gelu_tanh(float *x, const float *bias, size_t n_rows, size_t n_columns) {
    for (size_t i = 0; i < n_rows; i++, x += n_columns) {
        size_t j = 0;
        for (; j + QD_STEP <= n_columns; j += QD_STEP) {
            vf_store(x + j, vf_gelu(vf_add(vf_load(x + j), vf_load(bias + j))));
        }
        qd_c_bias_gelu_tanh(x + j, bias + j, 1, n_columns - j);
    }
}

static void v_layer_norm(const float *x, size_t n, float epsilon, const float *weight, const float *bias, float *out) {
    vd sum = vd_from(vf_set(0.0f)), squares = sum;
    size_t full = n - n % QD_STEP;
    for (size_t i = 0; i < full; i += QD_STEP) sum = vd_add(sum, vd_from(vf_load(x + i)));
    if (full < n) sum = vd_add(sum, vd_from(vf_part(x + full, n - full, 0.0f)));
    double mean = vd_fold(sum) / (double)n;
    float rounded = (float)mean;
    vf center = vf_set(rounded);
    for (size_t i = 0; i < n; i += QD_STEP) {
        vf v = i < full ? vf_load(x + i) : vf_part(x + i, n - i, rounded);
        vd d = vd_from(vf_sub(v, center));
        squares = vd_add(squares, vd_mul(d, d));
    }
    float scale = qd_layer_norm_scale(vd_fold(squares), n, mean, rounded, epsilon);
    vf factor = vf_set(scale);
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) {
        vf y = vf_mul(vf_mul(vf_sub(vf_load(x + i), center), factor), vf_load(weight + i));
        vf_store(out + i, vf_add(y, vf_load(bias + i)));
    }
    for (; i < n; i++) out[i] = (x[i] - rounded) * scale * weight[i] + bias[i];
}
