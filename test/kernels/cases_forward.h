/* cases_forward.h - the cases of c_forward.c; a part of test_kernels.c. */

static void test_softmax(const test_case *t) {
    if (t->n == 0) return;
    COMPARE("softmax", float, same_f32, t->n % 4, t->x, t->n, k->softmax(out, t->n));
}

static void test_nll(const test_case *t) {
    if (t->n == 0) return;
    COMPARE("nll", double, same_f64, 0, NULL, 1, *out = k->nll(t->x, t->n, t->n / 2));
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

static void test_bias_gelu_tanh(const test_case *t) {
    static const size_t columns[] = {1, 16, 37, 64};
    for (size_t s = 0; s < 4; s++) {
        size_t n_rows = t->n / columns[s];
        COMPARE("bias_gelu_tanh", float, same_f32, s, t->x, n_rows * columns[s],
                k->bias_gelu_tanh(out, t->y, n_rows, columns[s]));
    }
    if (t->n) COMPARE("bias_gelu_tanh", float, same_f32, 1, t->x, t->n, k->bias_gelu_tanh(out, t->y, 1, t->n));
}

static void test_layer_norm(const test_case *t) {
    if (t->n == 0) return;
    COMPARE("layer_norm", float, same_f32, t->n % 4, NULL, t->n,
            k->layer_norm(t->x, t->n, 1e-5f, t->y, t->positive, out));
    COMPARE("layer_norm in place", float, same_f32, 1, t->x, t->n,
            k->layer_norm(out, t->n, 1e-5f, t->y, t->positive, out));
}
