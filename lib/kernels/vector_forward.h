/* vector_forward.h - c_forward.c over vectors; a part of kernels_vector.h. */

/* exp in two halves, so that a loop can run the first of one vector beside the second of the vector before: one alone
 * is a chain of 20 dependent operations, of which too few fit the scheduler of a CPU to fill its units. */
typedef struct v_reduced {
    vf r, power;
} v_reduced;

/* not_above_zero: the caller knows that x <= 0 or NaN, which spares the upper end. */
QD_INLINE static inline v_reduced vf_exp_reduce(vf x, bool not_above_zero) {
    vf round = vf_set(QD_EXP_ROUND), clamped = vf_max(vf_set(QD_EXP_LOW), x);
    if (!not_above_zero) clamped = vf_min(vf_set(QD_EXP_HIGH), clamped);
    vf shifted = vf_add(vf_mul(clamped, vf_set(QD_LOG2E)), round), n = vf_sub(shifted, round);
    vf r = vf_sub(vf_sub(clamped, vf_mul(n, vf_set(QD_LN2_HIGH))), vf_mul(n, vf_set(QD_LN2_LOW)));
    return (v_reduced){r, vi_power_of_two(vf_bits(shifted))};
}

QD_INLINE static inline vf vf_exp_finish(v_reduced x) {
    vf r = x.r, r2 = vf_mul(r, r);
    vf low = vf_add(vf_mul(vf_set(QD_EXP_P3), r), vf_set(QD_EXP_P2));
    vf high = vf_add(vf_mul(vf_set(QD_EXP_P5), r), vf_set(QD_EXP_P4));
    vf p = vf_add(vf_mul(vf_add(vf_mul(vf_set(QD_EXP_P6), r2), high), r2), low);
    p = vf_add(vf_add(vf_mul(p, r2), r), vf_set(1.0f));
    return vf_mul(p, x.power);
}

QD_INLINE static inline vf vf_exp(vf x, bool not_above_zero) {
    return vf_exp_finish(vf_exp_reduce(x, not_above_zero));
}

static inline float v_max_of(const float *x, size_t n) {
    vf max = vf_set(-INFINITY);
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) max = vf_max(max, vf_load(x + i));
    if (i < n) max = vf_max(max, vf_part(x + i, n - i, -INFINITY));
    return vf_highest(max);
}

/* 128 elements. ahead: fetches what lies a block further on, so that the pass for the maximum of the next block finds
 * it in the cache and memory works while the exponentials do; fetching past the end of an array is harmless. */
static inline vf v_exp_group(const float *x, vf shift, float *out, bool ahead) {
    vf sum = vf_set(0.0f);
    v_reduced now = vf_exp_reduce(vf_sub(vf_load(x), shift), true);
    for (size_t i = QD_STEP;; i += QD_STEP) {
        if (ahead) __builtin_prefetch(x + QD_ROW_BLOCK + i - QD_STEP);
        v_reduced next = now;
        if (i < QD_FLUSH) next = vf_exp_reduce(vf_sub(vf_load(x + i), shift), true);
        vf y = vf_exp_finish(now);
        sum = vf_add(sum, y);
        if (out) vf_store(out + i - QD_STEP, y);
        if (i == QD_FLUSH) return sum;
        now = next;
    }
}

/* Beside a NaN the maximum may be another element's, and x - max above zero: the sum is NaN whatever comes of that. */
static inline double v_exp_sum(const float *x, size_t n, float max, float *out, bool ahead) {
    vf shift = vf_set(max), sum = vf_set(0.0f);
    vd total = vd_from(sum);
    size_t i = 0;
    for (; i + QD_FLUSH <= n; i += QD_FLUSH) {
        total = vd_add(total, vd_from(v_exp_group(x + i, shift, out ? out + i : NULL, ahead)));
    }
    for (; i + QD_STEP <= n; i += QD_STEP) {
        vf y = vf_exp(vf_sub(vf_load(x + i), shift), true);
        sum = vf_add(sum, y);
        if (out) vf_store(out + i, y);
    }
    if (i < n) { /* exp(-inf) = 0 */
        vf y = vf_exp(vf_sub(vf_part(x + i, n - i, -INFINITY), shift), true);
        sum = vf_add(sum, y);
        if (out) vf_store_part(out + i, n - i, y);
    }
    return vd_fold(vd_add(total, vd_from(sum)));
}

static void v_softmax(float *x, size_t n) {
    float scale = (float)(1.0 / v_exp_sum(x, n, v_max_of(x, n), x, false));
    vf factor = vf_set(scale);
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) vf_store(x + i, vf_mul(vf_load(x + i), factor));
    for (; i < n; i++) x[i] *= scale;
}

static void v_lse_part(const float *x, size_t n, qd_lse *row) {
    float top = -INFINITY;
    size_t block = 0;
    for (size_t first = 0; first < n; first += QD_ROW_BLOCK) {
        size_t m = n - first < QD_ROW_BLOCK ? n - first : QD_ROW_BLOCK;
        float max = v_max_of(x + first, m) + 0.0f, shift = qd_max(max, -FLT_MAX);
        if (max > top) top = max, block = first;
        qd_lse_add(row, shift, v_exp_sum(x + first, m, shift, NULL, true));
    }
    qd_lse_part_end(row, x, n, top, block);
}

static double v_nll(const float *x, size_t n, size_t target) {
    qd_lse row = QD_LSE;
    v_lse_part(x, n, &row);
    return qd_lse_nll(&row, x[target]);
}

/* c + x * k, a pair of coefficients. */
QD_INLINE static inline vf vf_line(float k, vf x, float c) {
    return vf_add(vf_mul(vf_set(k), x), vf_set(c));
}

static inline vf vf_phi(vf t) {
    vf t2 = vf_mul(t, t), p = vf_add(vf_mul(vf_set(QD_PHI_6), t2), vf_line(QD_PHI_5, t, QD_PHI_4));
    p = vf_add(vf_mul(p, t2), vf_line(QD_PHI_3, t, QD_PHI_2));
    return vf_mul(t2, vf_add(vf_mul(p, t2), vf_line(QD_PHI_1, t, 0.5f)));
}

/* 128 pairs; the exponentials go through memory, so that each loop is a few short chains. */
static inline void v_kl_group(const float *x, const float *y, vf shift_x, vf shift_y, double lanes[4][QD_STEP]) {
    float exps_x[QD_FLUSH], exps_y[QD_FLUSH];
    vf zero = vf_set(0.0f), shift = zero, spread = zero;
    vd_flush(lanes[0], v_exp_group(x, shift_x, exps_x, true));
    vd_flush(lanes[1], v_exp_group(y, shift_y, exps_y, true));
    for (size_t i = 0; i < QD_FLUSH; i += QD_STEP) {
        vf ex = vf_load(exps_x + i), ey = vf_load(exps_y + i);
        vf t = vf_sub(vf_sub(vf_load(y + i), shift_y), vf_sub(vf_load(x + i), shift_x));
        vf at = vf_mul(ex, vf_if_less(zero, ex, t, zero));
        vf near = vf_mul(ex, vf_phi(t)), far = vf_sub(vf_sub(ey, ex), at);
        shift = vf_add(shift, at);
        spread = vf_add(spread, vf_if_less(vf_abs(t), vf_set(1.0f), near, far));
    }
    vd_flush(lanes[2], shift);
    vd_flush(lanes[3], spread);
}

static void v_kl_block(const float *x, const float *y, size_t n, qd_kl_sums *out) {
    float max_x = qd_max(out->top_x, -FLT_MAX), max_y = qd_max(out->top_y, -FLT_MAX);
    vf shift_x = vf_set(max_x), shift_y = vf_set(max_y);
    double lanes[4][QD_STEP] = {{0}};
    size_t i = 0;
    for (; i + QD_FLUSH <= n; i += QD_FLUSH) v_kl_group(x + i, y + i, shift_x, shift_y, lanes);
    if (i < n) { /* pairs of -inf add 0 to each sum */
        float rest_x[QD_FLUSH], rest_y[QD_FLUSH];
        for (size_t j = 0; j < QD_FLUSH; j++) rest_x[j] = rest_y[j] = -INFINITY;
        memcpy(rest_x, x + i, (n - i) * sizeof *x);
        memcpy(rest_y, y + i, (n - i) * sizeof *y);
        v_kl_group(rest_x, rest_y, shift_x, shift_y, lanes);
    }
    out->max_x = max_x;
    out->max_y = max_y;
    out->x = qd_fold(lanes[0]);
    out->y = qd_fold(lanes[1]);
    out->shift = qd_fold(lanes[2]);
    out->spread = qd_fold(lanes[3]);
}

static void v_softmax_kl(const float *x, const float *y, size_t n, qd_kl *out) {
    qd_kl_sums total = QD_KL_SUMS;
    for (size_t first = 0; first < n; first += QD_ROW_BLOCK) {
        size_t m = n - first < QD_ROW_BLOCK ? n - first : QD_ROW_BLOCK;
        qd_kl_sums block = {.top_x = v_max_of(x + first, m), .top_y = v_max_of(y + first, m)};
        v_kl_block(x + first, y + first, m, &block);
        qd_kl_add(&total, &block, first);
    }
    qd_kl_finish(&total, x, y, n, out);
}

/* qd_log. */
static inline vf vf_log(vf z) {
    vf mantissa, e = vf_split(z, &mantissa), t = vf_sub(mantissa, vf_set(1.0f)), t2 = vf_mul(t, t);
    vf low = vf_add(vf_mul(vf_line(QD_LOG_4, t, QD_LOG_3), t2), vf_line(QD_LOG_2, t, QD_LOG_1));
    vf high = vf_add(vf_mul(vf_line(QD_LOG_8, t, QD_LOG_7), t2), vf_line(QD_LOG_6, t, QD_LOG_5));
    vf p = vf_add(vf_mul(high, vf_mul(t2, t2)), low);
    return vf_add(vf_mul(e, vf_set(QD_LN2)), vf_mul(t, p));
}

/* s, w and z of js_one. */
typedef struct v_js_parts {
    vf s, w, z;
} v_js_parts;

static inline v_js_parts v_js_reduce(vf p, vf q, vf lesser) {
    vf s = vf_add(p, q), inverse = vf_div(vf_set(1.0f), vf_max(vf_set(FLT_MIN), s));
    vf r = vf_mul(vf_sub(p, q), inverse);
    return (v_js_parts){s, vf_mul(r, r), vf_mul(vf_add(lesser, lesser), inverse)};
}

static inline vf v_js_finish(v_js_parts x) {
    vf w = x.w, z = x.z, w2 = vf_mul(w, w), z2 = vf_mul(z, z);
    vf near = vf_add(vf_mul(vf_line(QD_JS_5, w, QD_JS_4), w2), vf_line(QD_JS_3, w, QD_JS_2));
    near = vf_add(vf_mul(near, w2), vf_line(QD_JS_1, w, 1.0f));
    vf far = vf_add(vf_mul(vf_line(QD_JS_FAR_5, z, QD_JS_FAR_4), z2), vf_line(QD_JS_FAR_3, z, QD_JS_FAR_2));
    far = vf_add(vf_mul(far, z2), vf_line(QD_JS_FAR_1, z, QD_JS_FAR_0));
    far = vf_add(vf_mul(z, vf_log(z)), far);
    return vf_mul(x.s, vf_if_less(w, vf_set(0.25f), vf_mul(near, w), far));
}

/* At most 128 pairs, n a multiple of 16; the divisions of a group run ahead of its polynomials. */
static inline vf v_js_group(const float *p, const float *q, size_t n, vf *low) {
    float s[QD_FLUSH], w[QD_FLUSH], z[QD_FLUSH];
    vf sum = vf_set(0.0f);
    for (size_t i = 0; i < n; i += QD_STEP) {
        vf a = vf_load(p + i), b = vf_load(q + i), lesser = vf_min(a, b);
        v_js_parts x = v_js_reduce(a, b, lesser);
        *low = vf_min(lesser, *low);
        vf_store(s + i, x.s);
        vf_store(w + i, x.w);
        vf_store(z + i, x.z);
    }
    for (size_t i = 0; i < n; i += QD_STEP) {
        v_js_parts x = {vf_load(s + i), vf_load(w + i), vf_load(z + i)};
        sum = vf_add(sum, v_js_finish(x));
    }
    return sum;
}

static double v_js_divergence(const float *p, const float *q, size_t n) {
    vf zero = vf_set(0.0f), low = zero;
    vd total = vd_from(zero);
    size_t i = 0;
    for (; i + QD_FLUSH <= n; i += QD_FLUSH) total = vd_add(total, vd_from(v_js_group(p + i, q + i, QD_FLUSH, &low)));
    if (i < n) { /* pairs of zeros add 0 */
        float rest_p[QD_FLUSH] = {0}, rest_q[QD_FLUSH] = {0};
        memcpy(rest_p, p + i, (n - i) * sizeof *p);
        memcpy(rest_q, q + i, (n - i) * sizeof *q);
        size_t rounded = (n - i + QD_STEP - 1) / QD_STEP * QD_STEP;
        total = vd_add(total, vd_from(v_js_group(rest_p, rest_q, rounded, &low)));
    }
    float lanes[QD_STEP];
    vf_store(lanes, low);
    for (size_t l = 0; l < QD_STEP; l++) {
        if (lanes[l] < 0) return (double)NAN;
    }
    double js = 0.25 * vd_fold(total);
    return js < INFINITY ? js : (double)NAN;
}
