/* vector_norm.h - c_norm.c over vectors; a part of kernels_vector.h. */

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
        vf_store(out + i, bias ? vf_add(y, vf_load(bias + i)) : y);
    }
    for (; i < n; i++) {
        float y = (x[i] - rounded) * scale * weight[i];
        out[i] = bias ? y + bias[i] : y;
    }
}

static void v_rope(float *x, const float *cos, const float *sin, size_t n_pairs, bool interleaved) {
    qd_rope(x, cos, sin, n_pairs, interleaved);
}

#define v_layer_norm_grad qd_c_layer_norm_grad
#define v_rms_norm qd_c_rms_norm
#define v_rms_norm_grad qd_c_rms_norm_grad
#define v_softmax_grad qd_c_softmax_grad
