/* vector_search.h - c_search.c over vectors, all 16 lanes at once; a part of kernels_vector.h. */

/* qd_nearest, by lane; the bounds move with the bits, which are 0x400000 too many. */
typedef struct nearest_range {
    vi low, high;
} nearest_range;

static inline nearest_range nearest_range_of(int low, int high) {
    return (nearest_range){vi_from_u32(0x400000u + (uint32_t)low), vi_from_u32(0x400000u + (uint32_t)high)};
}

static inline vf vf_nearest(vf x, const nearest_range *range) {
    vi i = vi_and(vf_bits(vf_add(x, vf_set(QD_ROUND))), vi_from_u32(0x7fffff));
    i = vi_min(vi_max(i, range->low), range->high);
    return vf_sub(vi_to_float(i), vf_set(4194304.0f));
}

static inline vf vf_negative(vf x) {
    return vf_sub(vf_set(-0.0f), x);
}

/* x of a lane, from either of two by a < b. */
#define MOVE_IF_LESS(a, b, x, its) ((x) = vf_if_less(a, b, its, x))

typedef struct affine_state {
    vf low, range, sum_w, sum_x;         /* range: of the elements; low: the current minimum */
    vf scale, error, inverse, low_codes; /* the best so far; codes are nearest(inverse (x - low_codes)) */
} affine_state;

static inline vf affine_term(vf x, vf w, vf code, vf scale, vf low, bool absolute) {
    vf d = vf_sub(vf_add(vf_mul(scale, code), low), x);
    return vf_mul(w, absolute ? vf_abs(d) : vf_mul(d, d));
}

static QD_INLINE inline void affine_try(const float *x, const float *w, size_t n, const nearest_range *range,
                                        bool absolute, vf high, float n_levels, affine_state *s) {
    vf codes[32], zero = vf_set(0.0f), inverse = vf_div(vf_set(n_levels), vf_sub(high, s->low));
    vf sum_l = zero, sum_l2 = zero, sum_xl = zero, error = zero;
    for (size_t i = 0; i < n; i++) {
        vf xi = vf_load(x + QD_STEP * i);
        vf code = codes[i] = vf_nearest(vf_mul(inverse, vf_sub(xi, s->low)), range);
        vf product = vf_mul(vf_load(w + QD_STEP * i), code);
        sum_l = vf_add(sum_l, product);
        sum_l2 = vf_add(sum_l2, vf_mul(product, code));
        sum_xl = vf_add(sum_xl, vf_mul(product, xi));
    }
    vf d = vf_sub(vf_mul(s->sum_w, sum_l2), vf_mul(sum_l, sum_l));
    vf scale = vf_div(vf_sub(vf_mul(s->sum_w, sum_xl), vf_mul(s->sum_x, sum_l)), d);
    vf low = vf_div(vf_sub(vf_mul(sum_l2, s->sum_x), vf_mul(sum_l, sum_xl)), d);
    MOVE_IF_LESS(zero, low, scale, vf_div(sum_xl, sum_l2));
    MOVE_IF_LESS(zero, low, low, zero);
    for (size_t i = 0; i < n; i++) {
        vf term = affine_term(vf_load(x + QD_STEP * i), vf_load(w + QD_STEP * i), codes[i], scale, low, absolute);
        error = vf_add(error, term);
    }
    error = vf_if_less(zero, d, error, vf_set(INFINITY)); /* no fit */
    vf best = s->error;
    MOVE_IF_LESS(error, best, s->scale, scale);
    MOVE_IF_LESS(error, best, s->inverse, inverse);
    MOVE_IF_LESS(error, best, s->low_codes, s->low);
    MOVE_IF_LESS(error, best, s->low, low);
    MOVE_IF_LESS(error, best, s->error, error);
}

static QD_INLINE inline void affine_all(const float *x, const float *w, size_t n, const qd_affine_search *how,
                                        bool absolute, float *scales, float *minima, uint8_t *codes) {
    nearest_range range = nearest_range_of(0, how->n_max);
    vf low = vf_load(x), high = low, zero = vf_set(0.0f);
    affine_state s = {.sum_w = vf_load(w), .error = zero};
    s.sum_x = vf_mul(s.sum_w, low);
    for (size_t i = 1; i < n; i++) {
        vf xi = vf_load(x + QD_STEP * i), wi = vf_load(w + QD_STEP * i);
        low = vf_min(xi, low);
        high = vf_max(xi, high);
        s.sum_w = vf_add(s.sum_w, wi);
        s.sum_x = vf_add(s.sum_x, vf_mul(wi, xi));
    }
    MOVE_IF_LESS(zero, low, low, zero);
    vf first_low = low;
    s.low = s.low_codes = low;
    s.inverse = vf_div(vf_set((float)how->n_max), vf_sub(high, low));
    s.scale = vf_div(vf_set(1.0f), s.inverse);
    for (size_t i = 0; i < n; i++) {
        vf xi = vf_load(x + QD_STEP * i), code = vf_nearest(vf_mul(s.inverse, vf_sub(xi, low)), &range);
        s.error = vf_add(s.error, affine_term(xi, vf_load(w + QD_STEP * i), code, s.scale, low, absolute));
    }
    for (int k = 0; k <= how->n_steps; k++) {
        float n_levels = how->first + how->step * (float)k + (float)how->n_max;
        affine_try(x, w, n, &range, absolute, high, n_levels, &s);
    }
    for (size_t i = 0; i < n; i++) {
        vf code = vf_nearest(vf_mul(s.inverse, vf_sub(vf_load(x + QD_STEP * i), s.low_codes)), &range);
        vi_store_i8((int8_t *)codes + QD_STEP * i, vf_to_int(vf_if_less(first_low, high, code, zero)));
    }
    vf_store(scales, vf_if_less(first_low, high, s.scale, zero));
    vf_store(minima, vf_negative(vf_if_less(first_low, high, s.low, first_low)));
}

static void v_search_affine(const float *x, const float *w, size_t n, const qd_affine_search *how, float *scales,
                            float *minima, uint8_t *codes) {
    if (how->absolute) affine_all(x, w, n, how, true, scales, minima, codes);
    else affine_all(x, w, n, how, false, scales, minima, codes);
}

/* lane_peak, by lane. */
static inline vf vf_lane_peak(const float *x, size_t n) {
    vf peak = vf_set(0.0f), size = peak;
    for (size_t i = 0; i < n; i++) {
        vf xi = vf_load(x + QD_STEP * i), its = vf_abs(xi);
        MOVE_IF_LESS(size, its, peak, xi);
        MOVE_IF_LESS(size, its, size, its);
    }
    return vf_if_less(size, vf_set(QD_BLOCK_ZERO), vf_set(0.0f), peak);
}

/* n_max + codes, 0 in lanes of no peak. */
static inline void store_signed_codes(uint8_t *codes, vf code, vf peak, int n_max) {
    code = vf_add(code, vf_set((float)n_max));
    vi_store_i8((int8_t *)codes, vf_to_int(vf_if_less(vf_set(0.0f), vf_abs(peak), code, vf_set(0.0f))));
}

static void v_search_scale(const float *x, const float *w, size_t n, int n_max, float *scales, uint8_t *codes) {
    nearest_range range = nearest_range_of(-n_max, n_max - 1);
    vf products[32], zero = vf_set(0.0f), peak = vf_lane_peak(x, n);
    vf inverse = zero, scale = zero, gain = zero;
    for (size_t i = 0; i < n; i++) products[i] = vf_mul(vf_load(w + QD_STEP * i), vf_load(x + QD_STEP * i));
    for (int k = -10; k <= 9; k++) { /* -10: the grid of the peak itself */
        float levels = k == -10 ? (float)n_max : (float)n_max + 0.1f * (float)k;
        vf its = vf_div(vf_set(-levels), peak), xl = zero, l2 = zero;
        if (k == 0) continue;
        for (size_t i = 0; i < n; i++) {
            vf code = vf_nearest(vf_mul(its, vf_load(x + QD_STEP * i)), &range);
            xl = vf_add(xl, vf_mul(products[i], code));
            l2 = vf_add(l2, vf_mul(vf_mul(vf_load(w + QD_STEP * i), code), code));
        }
        vf ratio = vf_div(xl, l2), its_gain = vf_mul(ratio, xl);
        if (k == -10) {
            inverse = its;
            scale = vf_if_less(zero, l2, ratio, zero);
            gain = vf_mul(scale, xl);
            continue;
        }
        vf left = vf_mul(gain, l2), right = vf_if_less(zero, l2, vf_mul(xl, xl), vf_set(-INFINITY));
        MOVE_IF_LESS(left, right, inverse, its);
        MOVE_IF_LESS(left, right, scale, ratio);
        MOVE_IF_LESS(left, right, gain, its_gain);
    }
    vf_store(scales, vf_if_less(zero, vf_abs(peak), scale, zero));
    for (size_t i = 0; i < n; i++) {
        vf code = vf_nearest(vf_mul(inverse, vf_load(x + QD_STEP * i)), &range);
        store_signed_codes(codes + QD_STEP * i, code, peak, n_max);
    }
}

static void v_search_descent(const float *x, size_t n, int n_max, float *scales, uint8_t *codes) {
    nearest_range range = nearest_range_of(-n_max, n_max - 1);
    vf its[32], zero = vf_set(0.0f), peak = vf_lane_peak(x, n), inverse = vf_div(vf_set(-(float)n_max), peak);
    vf xl = zero, l2 = zero;
    for (size_t i = 0; i < n; i++) {
        vf xi = vf_load(x + QD_STEP * i), w = vf_mul(xi, xi);
        its[i] = vf_nearest(vf_mul(inverse, xi), &range);
        xl = vf_add(xl, vf_mul(vf_mul(w, xi), its[i]));
        l2 = vf_add(l2, vf_mul(vf_mul(w, its[i]), its[i]));
    }
    for (size_t k = 0; k < 5 * n; k++) {
        size_t i = k % n;
        vf xi = vf_load(x + QD_STEP * i), w = vf_mul(xi, xi), wx = vf_mul(w, xi), code = its[i];
        vf a = vf_sub(xl, vf_mul(wx, code)), b = vf_sub(l2, vf_mul(vf_mul(w, code), code));
        vf moved = vf_nearest(vf_div(vf_mul(xi, b), a), &range);
        vf its_xl = vf_add(a, vf_mul(wx, moved)), its_l2 = vf_add(b, vf_mul(vf_mul(w, moved), moved));
        vf left = vf_mul(vf_mul(xl, xl), its_l2), right = vf_mul(vf_mul(its_xl, its_xl), l2), never = vf_set(-INFINITY);
        right = vf_if_less(zero, a, right, never);
        right = vf_if_less(zero, its_l2, right, never);
        right = vf_if_less(zero, vf_abs(vf_sub(moved, code)), right, never);
        MOVE_IF_LESS(left, right, its[i], moved);
        MOVE_IF_LESS(left, right, xl, its_xl);
        MOVE_IF_LESS(left, right, l2, its_l2);
    }
    vf scale = vf_if_less(zero, l2, vf_div(xl, l2), zero);
    vf_store(scales, vf_if_less(zero, vf_abs(peak), scale, zero));
    for (size_t i = 0; i < n; i++) store_signed_codes(codes + QD_STEP * i, its[i], peak, n_max);
}

/* Sums of steps[k] where x is not below the k-th middle. */
static inline vf codebook_steps(vf x, const float steps[15], float first) {
    static const float middles[15] = QD_CODEBOOK_MIDDLES;
    vf sum = vf_set(first), zero = vf_set(0.0f);
    for (size_t k = 0; k < 15; k++) sum = vf_add(sum, vf_if_less(x, vf_set(middles[k]), zero, vf_set(steps[k])));
    return sum;
}

static void v_search_codebook(const float *x, const float *w, size_t n, float *scales) {
    static const float codebook[16] = QD_CODEBOOK;
    float steps[15];
    vf zero = vf_set(0.0f), peak = vf_lane_peak(x, n), scale = zero, gain = zero;
    for (size_t k = 0; k < 15; k++) steps[k] = codebook[k + 1] - codebook[k];
    for (int k = -8; k <= 7; k++) { /* -8: the grid of the peak itself */
        vf inverse = k == -8 ? vf_div(vf_set(1.0f), vf_div(vf_negative(peak), vf_set(codebook[0])))
                             : vf_div(vf_set((float)k + codebook[0]), peak);
        vf xq = zero, q2 = zero;
        for (size_t i = 0; i < n; i++) {
            vf xi = vf_load(x + QD_STEP * i), q = codebook_steps(vf_mul(inverse, xi), steps, codebook[0]);
            vf wq = vf_mul(vf_load(w + QD_STEP * i), q);
            xq = vf_add(xq, vf_mul(wq, xi));
            q2 = vf_add(q2, vf_mul(wq, q));
        }
        vf ratio = vf_div(xq, q2), its_gain = vf_mul(ratio, xq);
        if (k == -8) {
            scale = vf_if_less(zero, q2, ratio, zero);
            gain = vf_mul(scale, xq);
            continue;
        }
        vf left = vf_mul(gain, q2), right = vf_if_less(zero, q2, vf_mul(xq, xq), vf_set(-INFINITY));
        MOVE_IF_LESS(left, right, scale, ratio);
        MOVE_IF_LESS(left, right, gain, its_gain);
    }
    vf_store(scales, vf_if_less(zero, vf_abs(peak), scale, zero));
}

static void v_codebook_codes(const float *x, size_t n, const float *inverses, uint8_t *codes) {
    static const float ones[15] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    vf inverse = vf_load(inverses);
    for (size_t i = 0; i < n; i++) {
        vf code = codebook_steps(vf_mul(inverse, vf_load(x + QD_STEP * i)), ones, 0);
        vi_store_i8((int8_t *)codes + QD_STEP * i, vf_to_int(code));
    }
}

static void v_affine_codes(const float *x, size_t n, const float *scales, const float *minima, int low, int high,
                           uint8_t *codes) {
    nearest_range range = nearest_range_of(low, high);
    vf scale = vf_load(scales), minimum = vf_load(minima), least = vf_set((float)low), smallest = vf_set(0x1p-149f);
    for (size_t i = 0; i < n; i++) {
        int8_t *its = (int8_t *)codes + QD_STEP * i;
        vf code = vf_nearest(vf_div(vf_add(vf_load(x + QD_STEP * i), minimum), scale), &range);
        vi_store_i8(its, vf_to_int(vf_if_less(vf_abs(scale), smallest, vf_load_i8(its), vf_sub(code, least))));
    }
}

#undef MOVE_IF_LESS
