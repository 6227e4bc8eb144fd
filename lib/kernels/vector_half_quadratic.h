/* vector_half_quadratic.h - c_half_quadratic.c over vectors; a part of kernels_vector.h. */

/* r of a step of elements. */
static inline vf v_residual(const float *w, vf inverse, vf zero, vf high) {
    vf t = vf_add(vf_mul(vf_load(w), inverse), zero);
    return vf_sub(t, vf_round(vf_min(vf_max(t, vf_set(0.0f)), high)));
}

/* The term of r where |r| is above the limit. */
static inline vf v_shrunk(vf r, vf weight, vf power, vf limit) {
    vf size = vf_abs(r), zero = vf_set(0.0f);
    vf least = vf_min(vf_mul(weight, vf_exp(vf_mul(power, vf_log(size)), false)), size);
    return vf_if_less(limit, size, vf_if_less(r, zero, vf_sub(zero, least), least), r);
}

/* Sum of the terms, shrink = false: as if none were shrunk; *most = the largest |r|. */
static inline double v_residual_sum(const float *w, size_t n, float zero, const qd_half_quadratic *how, bool shrink,
                                    float weight, float *most) {
    double lanes[QD_STEP] = {0};
    vf inverse = vf_set(how->inverse), high = vf_set(how->high), start = vf_set(zero), largest = vf_set(0.0f);
    vf weights = vf_set(weight), power = vf_set(how->power), limit = vf_set(how->limit);
    for (size_t first = 0; first < n; first += QD_FLUSH) {
        size_t m = n - first < QD_FLUSH ? n - first : QD_FLUSH, i = 0;
        vf sums = vf_set(0.0f);
        for (; i + QD_STEP <= m; i += QD_STEP) {
            vf r = v_residual(w + first + i, inverse, start, high);
            largest = vf_max(vf_abs(r), largest);
            sums = vf_add(sums, shrink ? v_shrunk(r, weights, power, limit) : r);
        }
        if (i < m) {
            float rest[QD_STEP] = {0};
            for (size_t l = 0; l < m - i; l++) rest[l] = qd_half_quadratic_residual(w[first + i + l], zero, how);
            largest = vf_max(vf_abs(vf_load(rest)), largest);
            for (size_t l = 0; shrink && l < m - i; l++) rest[l] = qd_half_quadratic_term(rest[l], weight, how);
            sums = vf_add(sums, vf_load(rest));
        }
        vd_flush(lanes, sums);
    }
    *most = vf_highest(largest);
    return vd_fold(vd_load(lanes));
}

static float v_half_quadratic(const float *w, size_t n, float zero, const qd_half_quadratic *how) {
    float weight = how->weight, most, ignored;
    for (unsigned k = 0; k < how->n_iterations; k++) {
        double sum = v_residual_sum(w, n, zero, how, false, weight, &most);
        if (most > how->limit) sum = v_residual_sum(w, n, zero, how, true, weight, &ignored);
        float next = (float)((double)zero - sum / (double)n);
        if (next == zero && !(most > how->limit)) break;
        zero = next;
        weight *= how->decay;
    }
    return zero;
}
