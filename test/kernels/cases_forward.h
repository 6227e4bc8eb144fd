/* cases_forward.h - the cases of c_forward.c, c_activate.c, c_norm.c and c_product.c; a part of test_kernels.c. */

static void test_softmax(const test_case *t) {
    if (t->n == 0) return;
    COMPARE("softmax", float, same_f32, t->n % 4, t->x, t->n, k->softmax(out, t->n));
}

static void test_nll(const test_case *t) {
    if (t->n == 0) return;
    COMPARE("nll", double, same_f64, 0, NULL, 1, *out = k->nll(t->x, t->n, t->n / 2));
}

static void lse_in_parts(const qd_kernels *k, const test_case *t, size_t size, qd_lse *row) {
    for (size_t i = 0; i < t->n; i += size) k->lse_part(t->x + i, t->n - i < size ? t->n - i : size, row);
}

/* In one part, in parts of whole blocks, and in parts of any size. */
static void test_lse_part(const test_case *t) {
    static const size_t sizes[] = {MAX_N, QD_LSE_BLOCK, 37};
    for (size_t s = 0; s < 3; s++) {
        if (t->n / sizes[s] > 8) continue;
        qd_lse row;
        COMPARE("lse_part", double, same_f64, 0, NULL, 5,
                (row = (qd_lse)QD_LSE, lse_in_parts(k, t, sizes[s], &row), out[0] = row.sum, out[1] = (double)row.n,
                 out[2] = row.sum > 0 ? (double)row.max : 0, out[3] = row.sum > 0 ? (double)row.top : 0,
                 out[4] = row.sum > 0 ? (double)row.i_top : 0)); /* with a NaN the maxima mean nothing */
    }
}

static void test_softmax_grad(const test_case *t) {
    COMPARE("softmax_grad", float, same_f32, t->n % 4, NULL, t->n, k->softmax_grad(t->positive, t->x, t->n, out));
    COMPARE("softmax_grad", float, same_f32, 1, t->x, t->n, k->softmax_grad(t->y, out, t->n, out));
}

static void test_softmax_kl(const test_case *t) {
    if (t->n == 0) return;
    const float *pairs[3][2] = {{t->x, t->y}, {t->x, t->positive}, {t->x, t->x}};
    for (size_t i = 0; i < 3; i++) {
        qd_kl kl;
        COMPARE("softmax_kl", double, same_f64, 0, NULL, 5,
                (k->softmax_kl(pairs[i][0], pairs[i][1], t->n, &kl), out[0] = kl.kl, out[1] = kl.lse_x,
                 out[2] = kl.lse_y, out[3] = (double)kl.top_x, out[4] = (double)kl.top_y));
    }
}

static void test_js_divergence(const test_case *t) {
    COMPARE("js_divergence", double, same_f64, 0, NULL, 1, *out = k->js_divergence(t->positive, t->positive + 1, t->n));
    COMPARE("js_divergence", double, same_f64, 0, NULL, 1, *out = k->js_divergence(t->x, t->positive, t->n));
    COMPARE("js_divergence", double, same_f64, 0, NULL, 1, *out = k->js_divergence(t->x, t->y, t->n));
}

/* ---- rows of a transformer ---- */

static const qd_act acts[] = {QD_ACT_GELU_TANH, QD_ACT_GELU_ERF, QD_ACT_RELU, QD_ACT_SILU};
enum { N_ACTS = sizeof acts / sizeof *acts };

static void test_bias_act(const test_case *t) {
    static const size_t columns[] = {1, 16, 37, 64};
    for (size_t a = 0; a < N_ACTS; a++) {
        for (size_t s = 0; s < 4; s++) {
            size_t n_rows = t->n / columns[s];
            COMPARE("bias_act", float, same_f32, s, t->x, n_rows * columns[s],
                    k->bias_act(acts[a], out, t->y, n_rows, columns[s]));
        }
        if (t->n) COMPARE("bias_act", float, same_f32, 1, t->x, t->n, k->bias_act(acts[a], out, t->y, 1, t->n));
        COMPARE("bias_act", float, same_f32, 2, t->x, t->n, k->bias_act(acts[a], out, NULL, t->n, 1));
    }
}

static void test_act_gated(const test_case *t) {
    for (size_t a = 0; a < N_ACTS; a++) {
        COMPARE("act_gated", float, same_f32, a, NULL, t->n, k->act_gated(acts[a], t->x, t->y, t->n, out));
        COMPARE("act_gated", float, same_f32, a, t->x, t->n, k->act_gated(acts[a], out, t->y, t->n, out));
        COMPARE("act_gated", float, same_f32, a, t->x, t->n, k->act_gated(acts[a], t->y, out, t->n, out));
    }
}

static void test_act_grad(const test_case *t) {
    for (size_t a = 0; a < N_ACTS; a++) {
        COMPARE("act_grad", float, same_f32, a, NULL, t->n, k->act_grad(acts[a], t->x, t->y, t->n, out));
        COMPARE("act_grad", float, same_f32, a, t->x, t->n, k->act_grad(acts[a], t->y, out, t->n, out));
    }
}

static void test_act_gated_grad(const test_case *t) {
    static float other[2][MAX_N]; /* the second output */
    for (size_t a = 0; a < N_ACTS; a++) {
        size_t run = 0;
        COMPARE("act_gated_grad", float, same_f32, a, t->x, t->n,
                (memcpy(other[run], t->y, t->n * sizeof *out),
                 k->act_gated_grad(acts[a], out, other[run], t->positive, t->n, out, other[run]), run++));
        report(t, "act_gated_grad", same_f32(other[0], other[1], t->n));
    }
}

static void test_scale_softcap(const test_case *t) {
    static const float caps[] = {0.0f, 1.0f, 30.0f};
    for (size_t i = 0; i < 3; i++) {
        COMPARE("scale_softcap", float, same_f32, i, t->x, t->n, k->scale_softcap(out, t->n, 0.7f, caps[i]));
    }
}

static void test_layer_norm(const test_case *t) {
    if (t->n == 0) return;
    COMPARE("layer_norm", float, same_f32, t->n % 4, NULL, t->n,
            k->layer_norm(t->x, t->n, 1e-5f, t->y, t->positive, out));
    COMPARE("layer_norm", float, same_f32, t->n % 4, NULL, t->n, k->layer_norm(t->x, t->n, 1e-5f, t->y, NULL, out));
    COMPARE("layer_norm", float, same_f32, 1, t->x, t->n,
            k->layer_norm(out, t->n, 1e-5f, t->y, t->positive, out)); /* in place */
}

static void test_layer_norm_grad(const test_case *t) {
    if (t->n == 0) return;
    COMPARE("layer_norm_grad", float, same_f32, t->n % 4, NULL, t->n,
            k->layer_norm_grad(t->x, t->n, 1e-5f, t->positive, t->y, out));
    COMPARE("layer_norm_grad", float, same_f32, 1, t->x, t->n,
            k->layer_norm_grad(out, t->n, 1e-5f, t->positive, t->y, out));
    COMPARE("layer_norm_grad", float, same_f32, 1, t->y, t->n,
            k->layer_norm_grad(t->x, t->n, 1e-5f, t->positive, out, out));
}

static void test_rms_norm(const test_case *t) {
    if (t->n == 0) return;
    COMPARE("rms_norm", float, same_f32, t->n % 4, NULL, t->n, k->rms_norm(t->x, t->n, 1e-6f, t->y, 1.0f, out));
    COMPARE("rms_norm", float, same_f32, 1, t->x, t->n, k->rms_norm(out, t->n, 1e-6f, t->y, 0.0f, out));
}

static void test_rms_norm_grad(const test_case *t) {
    if (t->n == 0) return;
    COMPARE("rms_norm_grad", float, same_f32, t->n % 4, NULL, t->n,
            k->rms_norm_grad(t->x, t->n, 1e-6f, t->positive, 1.0f, t->y, out));
    COMPARE("rms_norm_grad", float, same_f32, 1, t->x, t->n,
            k->rms_norm_grad(out, t->n, 1e-6f, t->positive, 0.0f, t->y, out));
    COMPARE("rms_norm_grad", float, same_f32, 1, t->y, t->n,
            k->rms_norm_grad(t->x, t->n, 1e-6f, t->positive, 0.0f, out, out));
}

static void test_rope(const test_case *t) {
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        COMPARE("rope", float, same_f32, t->n % 4, t->x, t->n / 2 * 2,
                k->rope(out, t->y, t->positive, t->n / 2, interleaved != 0));
    }
}

/* Shapes from what t->n gives: rows beyond and between the tiles, panels in part, inputs beyond a block. */
static void test_panel_product(const test_case *t) {
    static const size_t shapes[][3] = {{1, 1, 1}, {13, 33, 5}, {30, 70, 9}, {7, 32, 64}, {3, 3, QD_PANEL_DEPTH + 7}};
    static float panels[QD_PANEL * (QD_PANEL_DEPTH + 7)];
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        size_t n_rows = shapes[s][0], n_out = shapes[s][1], n_in = shapes[s][2], ld = n_out + s;
        if (t->n < n_rows * n_in || t->n < n_rows * ld) continue;
        for (size_t i = 0; i < (n_out + QD_PANEL - 1) / QD_PANEL * QD_PANEL * n_in; i++) panels[i] = t->y[i % t->n];
        COMPARE("panel_product", float, same_f32, s % 4, NULL, n_rows * n_out,
                k->panel_product(t->x, n_in, n_rows, n_in, panels, n_in, n_out, false, out, n_out));
        COMPARE("panel_product", float, same_f32, 1, t->positive, n_rows * ld,
                k->panel_product(t->x, n_in, n_rows, n_in - n_in / 3, panels, n_in, n_out, true, out, ld));
    }
}
