/* vector_norm.h - c_norm.c over vectors; a part of kernels_vector.h. */

/* 16 elements from i on, the missing ones `fill`. */
static inline vf vf_load_to(const float *x, size_t i, size_t n, float fill) {
    return i + QD_STEP <= n ? vf_load(x + i) : vf_part(x + i, n - i, fill);
}

/* The first n of 16 elements, if there are so many. */
static inline void vf_store_to(float *out, size_t i, size_t n, vf v) {
    if (i + QD_STEP <= n) vf_store(out + i, v);
    else vf_store_part(out + i, n - i, v);
}

static float v_centre(const float *x, size_t n, float epsilon, double *mean, float *rounded) {
    vd sum = vd_from(vf_set(0.0f)), squares = sum;
    for (size_t i = 0; i < n; i += QD_STEP) sum = vd_add(sum, vd_from(vf_load_to(x, i, n, 0.0f)));
    *mean = vd_fold(sum) / (double)n;
    *rounded = (float)*mean;
    vf center = vf_set(*rounded);
    for (size_t i = 0; i < n; i += QD_STEP) {
        vd d = vd_from(vf_sub(vf_load_to(x, i, n, *rounded), center));
        squares = vd_add(squares, vd_mul(d, d));
    }
    return qd_layer_norm_scale(vd_fold(squares), n, *mean, *rounded, epsilon);
}

static void v_layer_norm(const float *x, size_t n, float epsilon, const float *weight, const float *bias, float *out) {
    double mean;
    float rounded, scale = v_centre(x, n, epsilon, &mean, &rounded);
    vf center = vf_set(rounded), factor = vf_set(scale);
    for (size_t i = 0; i < n; i += QD_STEP) {
        vf d = vf_mul(vf_sub(vf_load_to(x, i, n, 0.0f), center), factor);
        vf y = vf_mul(d, vf_load_to(weight, i, n, 0.0f));
        vf_store_to(out, i, n, bias ? vf_add(y, vf_load_to(bias, i, n, 0.0f)) : y);
    }
}

static void v_layer_norm_grad(const float *x, size_t n, float epsilon, const float *weight, const float *dy,
                              float *dx) {
    double mean;
    float rounded, scale = v_centre(x, n, epsilon, &mean, &rounded);
    vf center = vf_set(rounded), factor = vf_set(scale);
    vd sum = vd_from(vf_set(0.0f)), products = sum;
    for (size_t i = 0; i < n; i += QD_STEP) {
        vf product = vf_mul(vf_load_to(dy, i, n, 0.0f), vf_load_to(weight, i, n, 0.0f));
        vd g = vd_from(product), d = vd_from(vf_sub(vf_load_to(x, i, n, rounded), center));
        sum = vd_add(sum, g);
        products = vd_add(products, vd_mul(g, d));
    }
    qd_norm_slope s = qd_layer_norm_slope(vd_fold(sum), vd_fold(products), n, mean, rounded, scale);
    vf shift = vf_set(s.mean), along = vf_set(s.along);
    for (size_t i = 0; i < n; i += QD_STEP) {
        vf g = vf_mul(vf_load_to(dy, i, n, 0.0f), vf_load_to(weight, i, n, 0.0f));
        vf d = vf_sub(vf_load_to(x, i, n, rounded), center);
        vf_store_to(dx, i, n, vf_mul(vf_sub(vf_sub(g, shift), vf_mul(d, along)), factor));
    }
}

static float v_rms_scale(const float *x, size_t n, float epsilon) {
    vd squares = vd_from(vf_set(0.0f));
    for (size_t i = 0; i < n; i += QD_STEP) {
        vd v = vd_from(vf_load_to(x, i, n, 0.0f));
        squares = vd_add(squares, vd_mul(v, v));
    }
    return qd_rms_norm_scale(vd_fold(squares), n, epsilon);
}

static void v_rms_norm(const float *x, size_t n, float epsilon, const float *weight, float offset, float *out) {
    vf scale = vf_set(v_rms_scale(x, n, epsilon)), shift = vf_set(offset);
    for (size_t i = 0; i < n; i += QD_STEP) {
        vf y = vf_mul(vf_load_to(x, i, n, 0.0f), scale);
        vf_store_to(out, i, n, vf_mul(y, vf_add(vf_load_to(weight, i, n, 0.0f), shift)));
    }
}

static void v_rms_norm_grad(const float *x, size_t n, float epsilon, const float *weight, float offset,
                            const float *dy, float *dx) {
    float scale = v_rms_scale(x, n, epsilon);
    vf factor = vf_set(scale), shift = vf_set(offset);
    vd products = vd_from(vf_set(0.0f));
    for (size_t i = 0; i < n; i += QD_STEP) {
        vf g = vf_mul(vf_load_to(dy, i, n, 0.0f), vf_add(vf_load_to(weight, i, n, 0.0f), shift));
        products = vd_add(products, vd_mul(vd_from(g), vd_from(vf_load_to(x, i, n, 0.0f))));
    }
    vf along = vf_set(qd_layer_norm_slope(0, vd_fold(products), n, 0, 0, scale).along);
    for (size_t i = 0; i < n; i += QD_STEP) {
        vf g = vf_mul(vf_load_to(dy, i, n, 0.0f), vf_add(vf_load_to(weight, i, n, 0.0f), shift));
        vf_store_to(dx, i, n, vf_mul(vf_sub(g, vf_mul(vf_load_to(x, i, n, 0.0f), along)), factor));
    }
}

static void v_softmax_grad(const float *p, const float *dp, size_t n, float *out) {
    vd products = vd_from(vf_set(0.0f));
    for (size_t i = 0; i < n; i += QD_STEP) {
        vd a = vd_from(vf_load_to(p, i, n, 0.0f)), b = vd_from(vf_load_to(dp, i, n, 0.0f));
        products = vd_add(products, vd_mul(a, b));
    }
    vf mean = vf_set((float)vd_fold(products));
    for (size_t i = 0; i < n; i += QD_STEP) {
        vf d = vf_sub(vf_load_to(dp, i, n, 0.0f), mean);
        vf_store_to(out, i, n, vf_mul(vf_load_to(p, i, n, 0.0f), d));
    }
}

static void v_rope(float *x, const float *cos, const float *sin, size_t n_pairs, bool interleaved) {
    qd_rope(x, cos, sin, n_pairs, interleaved);
}
