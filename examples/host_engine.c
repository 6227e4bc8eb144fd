/* host_engine.c - a host that holds weights and activations itself: no file is read. It hands over a one-layer BLOOM
 * by pointer, feeds what each language sends into every linear map, and gets a model back that is clipped for all
 * languages at once. The data are synthetic: language "b" lives in the columns that "a" hardly uses. */
#include <qdisp/qdisp.h>
#include <stdio.h>

#define E 32
#define ROWS 256 /* activation rows a language and map */
#define MAP(name, n_out, n_in) {name ".weight", n_out, n_in}, {name ".bias", n_out, 0}
#define NORM(name) {name ".weight", E, 0}, {name ".bias", E, 0}

static const char config[] = "{\"architectures\": [\"BloomForCausalLM\"], \"hidden_size\": 32, \"n_head\": 4,"
                             " \"n_layer\": 1, \"vocab_size\": 64, \"layer_norm_epsilon\": 1e-5}";
static const struct { const char *name; uint64_t n_out, n_in; } shapes[] = { /* n_in 0: a vector */
    {"word_embeddings.weight", 64, E}, NORM("word_embeddings_layernorm"), NORM("h.0.input_layernorm"),
    MAP("h.0.self_attention.query_key_value", 3 * E, E), MAP("h.0.self_attention.dense", E, E),
    NORM("h.0.post_attention_layernorm"), MAP("h.0.mlp.dense_h_to_4h", 4 * E, E),
    MAP("h.0.mlp.dense_4h_to_h", E, 4 * E), NORM("ln_f")};
enum { N = sizeof shapes / sizeof *shapes };
static float weights[N][4 * E * E], rows[ROWS * 4 * E]; /* not copied by the library: they outlive the model */
static float uniform(void) { /* in [-1, 1), the same on every machine */
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(state >> 40) / 8388608.0f - 1.0f;
}
static float heavy(void) { float u = uniform(); return u * u * u; } /* of heavy tails */

/* Size of input j: language 0 uses the first half of the columns ten times as much, language 1 the second. */
static float size_of(int language, size_t j, size_t n_in) { return (j < n_in / 2) == (language == 0) ? 1.0f : 0.1f; }

static qdisp_status feed(qdisp_calib *calib, int language, size_t i) {
    size_t n_in = shapes[i].n_in, n_bytes = i == 5 ? 4 * ROWS : 0; /* of text: said once, with the first map */
    for (size_t k = 0; k < ROWS * n_in; k++) rows[k] = uniform() * size_of(language, k % n_in, n_in);
    return qdisp_calib_feed(calib, language ? "b" : "a", 0, shapes[i].name, rows, ROWS, n_in, n_bytes);
}

/* Error of a map as a language uses it: sum_ij e_j (w_ij - q_ij)^2 / sum_ij e_j w_ij^2, e_j the energy of input j. */
static double error(const float *w, const float *q, size_t n, size_t n_in, int language) {
    double lost = 0, all = 0;
    for (size_t k = 0; k < n; k++) {
        double s = size_of(language, k % n_in, n_in), d = s * (w[k] - q[k]);
        lost += d * d, all += s * w[k] * s * w[k];
    }
    return lost / all;
}

int main(void) {
    qdisp_tensor tensors[N], w, q;
    for (size_t i = 0; i < N; i++) {
        uint64_t n_in = shapes[i].n_in, n = shapes[i].n_out * (n_in ? n_in : 1);
        for (size_t k = 0; k < n; k++) weights[i][k] = n_in ? heavy() : 1;
        tensors[i] = (qdisp_tensor){shapes[i].name, weights[i], n * sizeof(float), {shapes[i].n_out, n_in},
                                    n_in ? 2 : 1, QDISP_DTYPE_F32};
    }
    qdisp_ctx *ctx = NULL;
    qdisp_model *model = NULL, *quantized = NULL;
    qdisp_quantizer *quantizer = NULL;
    qdisp_calib *calib = NULL;
    qdisp_table *plan = NULL;
    qdisp_quantizer_options options = {.size = sizeof options, .bits = 3, .group_size = QDISP_GROUP_CHANNEL};
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    qdisp_status s = qdisp_model_from_tensors(ctx, config, tensors, N, &model);
    if (s == QDISP_OK) s = qdisp_calib_new(model, &calib);
    for (size_t i = 1; i < N; i++) /* all maps but the embedding */
        for (int l = 0; l < 2 && shapes[i].n_in && s == QDISP_OK; l++) s = feed(calib, l, i);
    if (s == QDISP_OK) s = qdisp_quantizer_new(ctx, "la-aciq", &options, &quantizer);
    if (s == QDISP_OK) s = qdisp_quantizer_plan(quantizer, model, calib, &plan);
    if (s == QDISP_OK) s = qdisp_plan_apply(plan, model, NULL, &quantized);
    for (size_t i = 0; s == QDISP_OK && i < qdisp_model_n_tensors(model); i++) {
        if (qdisp_model_tensor(model, i, &w) || qdisp_model_tensor(quantized, i, &q)) s = QDISP_EINVAL;
        else if (w.data != q.data) /* what no plan names is shared */
            for (int l = 0; l < 2; l++)
                printf("%-42s %c %.5f\n", w.name, "ab"[l], error(w.data, q.data, w.n_bytes / 4, w.shape[1], l));
    }
    if (s != QDISP_OK) fprintf(stderr, "%s\n", qdisp_ctx_error(ctx));
    qdisp_table_free(plan), qdisp_quantizer_free(quantizer), qdisp_calib_free(calib), qdisp_model_free(quantized);
    qdisp_model_free(model), qdisp_ctx_free(ctx);
    return s != QDISP_OK;
}
