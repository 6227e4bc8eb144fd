/* vector_activate.h - c_activate.c over vectors; a part of kernels_vector.h. A kind is a constant in each loop. */

static inline vf vf_negate(vf x) {
    return vf_mul(x, vf_set(-1.0f));
}

static inline vf vf_clamp(vf x, float end) {
    return vf_min(vf_set(end), vf_max(vf_set(-end), x));
}

/* Phi(v) from e = exp(-v^2 / 2). */
QD_INLINE static inline vf vf_normal_cdf(vf v, vf e) {
    vf one = vf_set(1.0f), t = vf_div(one, vf_add(vf_mul(vf_abs(v), vf_set(QD_TAIL_STEP)), one));
    vf t2 = vf_mul(t, t), t4 = vf_mul(t2, t2);
    vf low = vf_add(vf_mul(vf_line(QD_TAIL_4, t, QD_TAIL_3), t2), vf_line(QD_TAIL_2, t, QD_TAIL_1));
    vf middle = vf_add(vf_mul(vf_line(QD_TAIL_8, t, QD_TAIL_7), t2), vf_line(QD_TAIL_6, t, QD_TAIL_5));
    vf p = vf_add(vf_mul(vf_add(vf_mul(vf_line(QD_TAIL_10, t, QD_TAIL_9), t4), middle), t4), low);
    vf tail = vf_mul(vf_mul(p, t), e);
    return vf_if_less(v, vf_set(0.0f), tail, vf_sub(one, tail));
}

/* An activation in two halves, as exp. */
QD_INLINE static inline v_reduced vf_act_reduce(qd_act kind, vf v) {
    vf square = vf_mul(v, v);
    switch (kind) {
    case QD_ACT_GELU_TANH:
        return vf_exp_reduce(vf_mul(vf_mul(v, vf_set(QD_GELU_SCALE)), vf_line(QD_GELU_CUBIC, square, 1.0f)), false);
    case QD_ACT_GELU_ERF: return vf_exp_reduce(vf_mul(square, vf_set(-0.5f)), true);
    case QD_ACT_RELU: return (v_reduced){v, v};
    default: return vf_exp_reduce(vf_negate(v), false);
    }
}

QD_INLINE static inline vf vf_act_finish(qd_act kind, vf v, v_reduced x) {
    switch (kind) {
    case QD_ACT_GELU_ERF: return vf_mul(v, vf_normal_cdf(v, vf_exp_finish(x)));
    case QD_ACT_RELU: return vf_max(vf_set(0.0f), v);
    default: return vf_div(v, vf_add(vf_exp_finish(x), vf_set(1.0f)));
    }
}

QD_INLINE static inline vf vf_act(qd_act kind, vf v) {
    return vf_act_finish(kind, v, vf_act_reduce(kind, v));
}

QD_INLINE static inline vf vf_act_slope(qd_act kind, vf x) {
    vf one = vf_set(1.0f), v, w, e, s;
    switch (kind) {
    case QD_ACT_GELU_TANH:
        v = vf_clamp(x, QD_GELU_TANH_END);
        w = vf_mul(vf_mul(v, v), vf_set(QD_GELU_CUBIC));
        e = vf_exp(vf_mul(vf_mul(v, vf_set(QD_GELU_SCALE)), vf_add(w, one)), false);
        s = vf_div(one, vf_add(e, one));
        w = vf_mul(vf_line(3.0f, w, 1.0f), vf_set(QD_GELU_SCALE));
        return vf_sub(s, vf_mul(vf_mul(vf_mul(v, s), vf_mul(e, s)), w));
    case QD_ACT_GELU_ERF:
        v = vf_clamp(x, QD_GELU_ERF_END);
        e = vf_exp(vf_mul(vf_mul(v, v), vf_set(-0.5f)), true);
        return vf_add(vf_mul(v, vf_mul(e, vf_set(QD_GAUSS_0))), vf_normal_cdf(v, e));
    case QD_ACT_RELU: return vf_if_less(vf_set(0.0f), x, one, vf_set(0.0f));
    default:
        v = vf_clamp(x, QD_SILU_END);
        e = vf_exp(vf_negate(v), false);
        s = vf_div(one, vf_add(e, one));
        return vf_add(vf_mul(vf_mul(v, s), vf_mul(e, s)), s);
    }
}

/* name(kind, ...) with kind as a constant. */
#define V_EACH_ACT(name, ...)                                              \
    switch (kind) {                                                        \
    case QD_ACT_GELU_TANH: name(QD_ACT_GELU_TANH, __VA_ARGS__); break;     \
    case QD_ACT_GELU_ERF: name(QD_ACT_GELU_ERF, __VA_ARGS__); break;       \
    case QD_ACT_RELU: name(QD_ACT_RELU, __VA_ARGS__); break;               \
    default: name(QD_ACT_SILU, __VA_ARGS__);                               \
    }

QD_INLINE static inline vf v_biased(const float *x, const float *bias, size_t j) {
    return bias ? vf_add(vf_load(x + j), vf_load(bias + j)) : vf_load(x + j);
}

/* n a multiple of 16. */
QD_INLINE static inline void v_bias_act_row(qd_act kind, float *x, const float *bias, size_t n) {
    vf v = v_biased(x, bias, 0);
    v_reduced now = vf_act_reduce(kind, v);
    for (size_t j = QD_STEP; j < n; j += QD_STEP) {
        vf w = v_biased(x, bias, j);
        v_reduced next = vf_act_reduce(kind, w);
        vf_store(x + j - QD_STEP, vf_act_finish(kind, v, now));
        v = w;
        now = next;
    }
    vf_store(x + n - QD_STEP, vf_act_finish(kind, v, now));
}

static void v_bias_act(qd_act kind, float *x, const float *bias, size_t n_rows, size_t n_columns) {
    if (!bias) n_columns *= n_rows, n_rows = n_rows != 0; /* one long row */
    size_t full = n_columns - n_columns % QD_STEP;
    for (size_t i = 0; i < n_rows; i++, x += n_columns) {
        if (full && bias) V_EACH_ACT(v_bias_act_row, x, bias, full)
        if (full && !bias) V_EACH_ACT(v_bias_act_row, x, NULL, full)
        qd_c_bias_act(kind, x + full, bias ? bias + full : NULL, 1, n_columns - full);
    }
}

/* n a multiple of 16, as below. */
QD_INLINE static inline void v_gated(qd_act kind, const float *gate, const float *up, size_t n, float *out) {
    for (size_t i = 0; i < n; i += QD_STEP) {
        vf_store(out + i, vf_mul(vf_act(kind, vf_load(gate + i)), vf_load(up + i)));
    }
}

static void v_act_gated(qd_act kind, const float *gate, const float *up, size_t n, float *out) {
    size_t full = n - n % QD_STEP;
    V_EACH_ACT(v_gated, gate, up, full, out)
    qd_c_act_gated(kind, gate + full, up + full, n - full, out + full);
}

QD_INLINE static inline void v_slopes(qd_act kind, const float *x, const float *dy, size_t n, float *dx) {
    for (size_t i = 0; i < n; i += QD_STEP) {
        vf_store(dx + i, vf_mul(vf_act_slope(kind, vf_load(x + i)), vf_load(dy + i)));
    }
}

static void v_act_grad(qd_act kind, const float *x, const float *dy, size_t n, float *dx) {
    size_t full = n - n % QD_STEP;
    V_EACH_ACT(v_slopes, x, dy, full, dx)
    qd_c_act_grad(kind, x + full, dy + full, n - full, dx + full);
}

QD_INLINE static inline void v_gated_slopes(qd_act kind, const float *gate, const float *up, const float *dy, size_t n,
                                            float *dgate, float *dup) {
    for (size_t i = 0; i < n; i += QD_STEP) {
        vf g = vf_load(gate + i), d = vf_load(dy + i), du = vf_mul(d, vf_load(up + i));
        vf_store(dgate + i, vf_mul(vf_act_slope(kind, g), du));
        vf_store(dup + i, vf_mul(vf_act(kind, g), d));
    }
}

static void v_act_gated_grad(qd_act kind, const float *gate, const float *up, const float *dy, size_t n, float *dgate,
                             float *dup) {
    size_t full = n - n % QD_STEP;
    V_EACH_ACT(v_gated_slopes, gate, up, dy, full, dgate, dup)
    qd_c_act_gated_grad(kind, gate + full, up + full, dy + full, n - full, dgate + full, dup + full);
}

QD_INLINE static inline vf vf_tanh(vf z) {
    vf one = vf_set(1.0f), w = vf_mul(z, z), w2 = vf_mul(w, w);
    vf near = vf_add(vf_mul(w2, vf_set(QD_TANH_4)), vf_line(QD_TANH_3, w, QD_TANH_2));
    near = vf_add(vf_mul(near, w2), vf_line(QD_TANH_1, w, QD_TANH_0));
    near = vf_add(vf_mul(vf_mul(near, w), z), z);
    vf far = vf_sub(one, vf_div(vf_set(2.0f), vf_add(vf_exp(vf_add(z, z), false), one)));
    return vf_if_less(vf_abs(z), vf_set(QD_TANH_NEAR), near, far);
}

static void v_scale_softcap(float *x, size_t n, float scale, float cap) {
    size_t full = n - n % QD_STEP;
    vf factor = vf_set(scale), inverse = vf_set(1.0f / cap), high = vf_set(cap);
    if (cap > 0.0f) {
        for (size_t i = 0; i < full; i += QD_STEP) {
            vf z = vf_mul(vf_mul(vf_load(x + i), factor), inverse);
            vf_store(x + i, vf_mul(vf_tanh(z), high));
        }
    } else {
        for (size_t i = 0; i < full; i += QD_STEP) vf_store(x + i, vf_mul(vf_load(x + i), factor));
    }
    qd_c_scale_softcap(x + full, n - full, scale, cap);
}
