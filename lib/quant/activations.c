/* activations.c - per-language thresholds of activations (la-aciq: weights are shared by all languages, but an engine
 * knows the language of a request and can index a table of scales). One forward pass a language counts |x| of every
 * input by magnitude; the threshold is the one with the least clipping plus rounding error under these counts, for
 * each language and, from the even mixture of their shares, for all together ("*"). */
#include "quant/activations.h"
#include "model/sequences.h"

#include <math.h>
#include <string.h>

/* Magnitudes by exponent and 5 bits of mantissa: 3 % apart. */
enum { SHIFT = 18, N_BINS = 1 << 13, N_CANDIDATES = 128 };
#define SHARED "*"

static float bin_value(size_t i) {
    uint32_t bits = (uint32_t)i << SHIFT | 1u << (SHIFT - 1);
    float x;
    memcpy(&x, &bits, sizeof x);
    return i == 0 ? 0 : x;
}

/* ---- counting ---- */

typedef struct counter {
    qdisp_ctx *ctx;
    const qdisp_model *model;
    size_t *slots;      /* [n_linears] of the map's input among n_inputs; QD_NONE: not counted */
    size_t *inputs;     /* [n_linears] the same for maps that are counted with another */
    float **factors;    /* [n_linears] 1 / s_j; NULL: 1 */
    size_t n_inputs;
    uint64_t **counts;  /* [n_workers][n_inputs][N_BINS] */
} counter;

static int count_rows(void *user, qdisp_activation *a) {
    counter *k = user;
    size_t slot = k->slots[a->i_linear];
    if (slot == QD_NONE) return 0;
    uint64_t *counts = k->counts[a->i_worker] + slot * N_BINS;
    const float *factors = k->factors[a->i_linear];
    for (size_t r = 0; r < a->n_rows; r++)
        for (size_t j = 0; j < a->n_cols; j++) {
            float x = fabsf(a->data[r * a->stride + j] * (factors ? factors[j] : 1));
            uint32_t bits;
            memcpy(&bits, &x, sizeof bits);
            counts[bits >> SHIFT]++;
        }
    return 0;
}

/* All rows that the model reads: what stands in front of a text is quantized, too. */
static qdisp_status count_language(counter *k, const qd_frame *frame, const qdisp_corpus *corpus, size_t l,
                                   uint64_t *total) {
    qd_lines lines;
    QD_TRY(qd_lines_make(frame, corpus, l, NULL, qdisp_corpus_n_lines(corpus), &lines));
    qdisp_batch batch = qd_sequences_batch(&lines.sequences, false);
    qd_run run = {.user = k, .tap = count_rows, .sites = QDISP_SITE_BIT(QDISP_SITE_LINEAR_IN), .tap_head = true};
    size_t n = k->n_inputs * N_BINS, n_workers = qd_n_workers(k->ctx);
    for (size_t w = 0; w < n_workers; w++) memset(k->counts[w], 0, n * sizeof *total);
    qdisp_status status = qd_model_run(k->model, &batch, &run);
    memset(total, 0, n * sizeof *total);
    for (size_t w = 0; w < n_workers; w++)
        for (size_t i = 0; i < n; i++) total[i] += k->counts[w][i];
    qd_lines_clear(&lines);
    return status;
}

/* ---- choosing ---- */

typedef struct threshold {
    double alpha, largest, error_rel;
} threshold;

/* The least of clipping plus rounding; what lies below half a step is lost whole. */
static threshold choose_threshold(const double *share, int bits) {
    double energy = 0, least = INFINITY, half = (double)((1 << (bits - 1)) - 1);
    size_t top = 0;
    threshold best = {0, 0, 0};
    for (size_t i = 1; i < N_BINS; i++) {
        double x = (double)bin_value(i);
        if (share[i] > 0) top = i;
        energy += share[i] > 0 ? share[i] * x * x : 0;
    }
    if (top == 0 || !isfinite(energy)) return best;
    best.largest = (double)bin_value(top + 1 < N_BINS ? top + 1 : top);
    for (unsigned k = 0; k < N_CANDIDATES; k++) {
        double alpha = best.largest * exp2(-(double)k / 12), step = alpha / half, error = 0;
        for (size_t i = 1; i <= top; i++) {
            if (!(share[i] > 0)) continue;
            double x = (double)bin_value(i), d = x > alpha ? x - alpha : x < step / 2 ? x : step / sqrt(12);
            error += share[i] * d * d;
        }
        if (!(error < least)) continue;
        least = error;
        best.alpha = alpha;
        best.error_rel = error / energy;
    }
    return best;
}

typedef struct columns {
    size_t language, tensor, bits, alpha, largest, error;
} columns;

static qdisp_status add_rows(const counter *k, const char *language, const double *shares, int bits, const columns *c,
                             qdisp_table *t) {
    qdisp_status status = QDISP_OK;
    for (size_t i = 0; i < k->model->n_linears && status == QDISP_OK; i++) {
        if (k->inputs[i] == QD_NONE) continue;
        threshold best = choose_threshold(shares + k->inputs[i] * N_BINS, bits);
        const char *name = k->model->tensors[k->model->linears[i].i_weight].name;
        if (!(best.alpha > 0))
            return qd_fail(k->ctx, QDISP_ENUMERIC, "%s, language %s: inputs are all 0, or not finite", name, language);
        size_t row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, c->language, language);
        qd_table_str(t, &status, row, c->tensor, name);
        qd_table_i64(t, &status, row, c->bits, bits);
        qd_table_f64(t, &status, row, c->alpha, (double)(float)best.alpha);
        qd_table_f64(t, &status, row, c->largest, best.largest);
        qd_table_f64(t, &status, row, c->error, best.error_rel);
    }
    return status;
}

/* ---- which maps ---- */

static void counter_clear(counter *k) {
    for (size_t i = 0; k->factors && i < k->model->n_linears; i++) qd_free(k->ctx, k->factors[i]);
    for (size_t w = 0; k->counts && w < qd_n_workers(k->ctx); w++) qd_free(k->ctx, k->counts[w]);
    qd_free(k->ctx, k->factors);
    qd_free(k->ctx, k->slots);
    qd_free(k->ctx, k->inputs);
    qd_free(k->ctx, k->counts);
}

/* 1 / s_j or s_j of the plan's rows, by linear map. */
static qdisp_status load_factors(const qdisp_model *model, const qdisp_table *plan, bool inverse, bool *is_in_plan,
                                 float **factors) {
    qd_choice *choices;
    size_t n;
    qdisp_status status = qd_plan_parse(plan, model, &choices, &n);
    if (status != QDISP_OK) return status;
    for (size_t i = 0; i < n && status == QDISP_OK; i++) {
        const qd_choice *c = &choices[i];
        if (is_in_plan) is_in_plan[c->i_linear] = true;
        if (!c->inputs) continue;
        float *f = factors[c->i_linear] = qd_alloc(model->ctx, c->n_in, sizeof *f);
        for (size_t j = 0; f && j < c->n_in; j++)
            f[j] = inverse ? 1 / qd_input_factor(c->inputs[j]) : qd_input_factor(c->inputs[j]);
        if (!f) status = QDISP_ENOMEM;
    }
    qd_choices_free(model->ctx, choices, n);
    return status;
}

static qdisp_status counter_make(const qdisp_model *model, const qdisp_table *plan, counter *k) {
    size_t n = model->n_linears;
    *k = (counter){.ctx = model->ctx, .model = model};
    k->slots = qd_alloc(k->ctx, n, sizeof *k->slots);
    k->inputs = qd_alloc(k->ctx, n, sizeof *k->inputs);
    k->factors = qd_alloc(k->ctx, n, sizeof *k->factors);
    k->counts = qd_alloc(k->ctx, qd_n_workers(k->ctx), sizeof *k->counts);
    bool *in_plan = qd_alloc(k->ctx, n, sizeof *in_plan);
    size_t *of_first = qd_alloc(k->ctx, n, sizeof *of_first); /* slot of an input plus 1 */
    bool made = k->slots && k->inputs && k->factors && k->counts && in_plan && of_first;
    qdisp_status status = made ? QDISP_OK : QDISP_ENOMEM;
    if (status == QDISP_OK && plan) status = load_factors(model, plan, true, in_plan, k->factors);
    for (size_t i = 0; i < n && status == QDISP_OK; i++) {
        const qd_linear *l = &model->linears[i];
        qd_input input;
        k->slots[i] = k->inputs[i] = QD_NONE;
        if (plan ? !in_plan[i] : l->layer < 0 || l->slot == QD_SLOT_MLP_ROUTER) continue;
        qd_input_find(model, i, &input);
        bool is_new = of_first[input.i_first] == 0;
        if (is_new) of_first[input.i_first] = ++k->n_inputs;
        k->inputs[i] = of_first[input.i_first] - 1;
        if (is_new || l->expert >= 0) k->slots[i] = k->inputs[i]; /* experts see rows of their own */
    }
    for (size_t w = 0; w < qd_n_workers(k->ctx) && status == QDISP_OK; w++)
        if (!(k->counts[w] = qd_alloc(k->ctx, k->n_inputs * N_BINS + 1, sizeof **k->counts))) status = QDISP_ENOMEM;
    qd_free(k->ctx, in_plan);
    qd_free(k->ctx, of_first);
    return status;
}

/* ---- the table ---- */

static qdisp_status run_languages(counter *k, const qd_frame *frame, const qdisp_corpus *corpus, int bits,
                                  const columns *c, qdisp_table *t) {
    size_t n = k->n_inputs * N_BINS, n_languages = qdisp_corpus_n_languages(corpus);
    uint64_t *total = qd_alloc(k->ctx, n + 1, sizeof *total);
    double *shares = qd_alloc(k->ctx, 2 * n + 1, sizeof *shares), *mixed = shares + n;
    qdisp_status status = total && shares ? QDISP_OK : QDISP_ENOMEM;
    for (size_t l = 0; l < n_languages && status == QDISP_OK; l++) {
        double from = (double)l / (double)n_languages, to = (double)(l + 1) / (double)n_languages;
        qd_progress_range range = qd_progress_enter(k->ctx, "activations", from, to);
        status = count_language(k, frame, corpus, l, total);
        qd_progress_leave(k->ctx, range);
        for (size_t i = 0; i < k->n_inputs && status == QDISP_OK; i++) {
            double sum = 0;
            for (size_t b = 0; b < N_BINS; b++) sum += (double)total[i * N_BINS + b];
            for (size_t b = i * N_BINS; b < (i + 1) * N_BINS; b++) {
                shares[b] = sum > 0 ? (double)total[b] / sum : 0;
                mixed[b] += shares[b] / (double)n_languages;
            }
        }
        if (status == QDISP_OK) status = add_rows(k, qdisp_corpus_language(corpus, l), shares, bits, c, t);
    }
    if (status == QDISP_OK) status = add_rows(k, SHARED, mixed, bits, c, t);
    qd_free(k->ctx, total);
    qd_free(k->ctx, shares);
    return status;
}

qdisp_status qdisp_activations_choose(const qdisp_model *model, const qdisp_tokenizer *tokenizer,
                                      const qdisp_corpus *corpus, const qdisp_activations_options *options,
                                      qdisp_table **out) {
    qdisp_ctx *ctx = model->ctx;
    qdisp_activations_options opt;
    qd_frame frame;
    counter k = {0};
    columns c;
    qdisp_table *t = NULL;
    QD_TRY(qd_copy_options(ctx, "activations options", options, &opt, sizeof opt));
    if (opt.bits == 0) opt.bits = 8;
    if (opt.bits < 2 || opt.bits > 8)
        return qd_fail(ctx, QDISP_EINVAL, "bits: %llu is not in 2..8", (unsigned long long)opt.bits);
    QD_TRY(qd_frame_make(model, tokenizer, &frame));
    qdisp_status status = counter_make(model, opt.plan, &k);
    if (status == QDISP_OK) status = qdisp_table_new(ctx, "activations", "Thresholds of activations by language", &t);
    if (status == QDISP_OK) {
        c.language = qd_table_column(t, &status, "language", "", QDISP_COLUMN_STR);
        c.tensor = qd_table_column(t, &status, "tensor", "", QDISP_COLUMN_STR);
        c.bits = qd_table_column(t, &status, "bits", "bits", QDISP_COLUMN_I64);
        c.alpha = qd_table_column(t, &status, "alpha", "", QDISP_COLUMN_F64);
        c.largest = qd_table_column(t, &status, "largest", "", QDISP_COLUMN_F64);
        c.error = qd_table_column(t, &status, "error_rel", "", QDISP_COLUMN_F64);
    }
    if (status == QDISP_OK) status = run_languages(&k, &frame, corpus, (int)opt.bits, &c, t);
    counter_clear(&k);
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}

/* ---- in use ---- */

static double number_at(const qdisp_table *t, size_t column, size_t row) {
    if (qdisp_table_f64(t, column)) return qdisp_table_f64(t, column)[row];
    return qdisp_table_i64(t, column) ? (double)qdisp_table_i64(t, column)[row] : NAN;
}

static size_t find_linear(const qdisp_model *m, const char *name) {
    size_t i = 0;
    while (i < m->n_linears && (!name || strcmp(m->tensors[m->linears[i].i_weight].name, name))) i++;
    return i;
}

static qdisp_status read_rows(const qdisp_model *m, const qdisp_table *t, const char *language, qd_clips *out) {
    const char *const *languages = qdisp_table_str(t, qdisp_table_find(t, "language"));
    const char *const *tensors = qdisp_table_str(t, qdisp_table_find(t, "tensor"));
    size_t bits_column = qdisp_table_find(t, "bits"), alpha_column = qdisp_table_find(t, "alpha"), n = 0;
    if (!languages || !tensors || bits_column == QD_NONE || alpha_column == QD_NONE)
        return qd_fail(m->ctx, QDISP_EINVAL, "activations: columns language, tensor, bits and alpha are needed");
    for (size_t row = 0; row < qdisp_table_n_rows(t); row++) {
        double bits = number_at(t, bits_column, row), alpha = number_at(t, alpha_column, row);
        if (!languages[row] || strcmp(languages[row], language)) continue;
        size_t i = find_linear(m, tensors[row]);
        if (i == m->n_linears)
            return qd_fail(m->ctx, QDISP_EMISMATCH, "activations row %zu: the model has no linear map '%s'", row + 1,
                           tensors[row] ? tensors[row] : "");
        if (!(bits >= 2 && bits <= 8) || bits != rint(bits) || !(alpha > 0 && alpha < 1e30))
            return qd_fail(m->ctx, QDISP_EINVAL, "activations row %zu: bits is not 2..8, or alpha not above 0",
                           row + 1);
        int32_t half = (1 << ((int)bits - 1)) - 1;
        float scale = (float)(alpha / half);
        out->grids[i] = (qd_grid){scale, 1 / scale, -half, half};
        n++;
    }
    return n > 0 ? QDISP_OK : qd_fail(m->ctx, QDISP_EMISMATCH, "activations: no row is of language '%s'", language);
}

qdisp_status qd_clips_make(const qdisp_model *model, const qdisp_table *activations, const qdisp_table *plan,
                           const char *language, bool shared, qd_clips *out) {
    size_t n = model->n_linears;
    *out = (qd_clips){.ctx = model->ctx, .n_linears = n};
    out->grids = qd_alloc(out->ctx, n, sizeof *out->grids);
    out->factors = qd_alloc(out->ctx, n, sizeof *out->factors);
    out->n_in = qd_alloc(out->ctx, n, sizeof *out->n_in);
    qdisp_status status = out->grids && out->factors && out->n_in ? QDISP_OK : QDISP_ENOMEM;
    for (size_t i = 0; i < n && status == QDISP_OK; i++) out->n_in[i] = model->linears[i].n_in;
    if (status == QDISP_OK) status = read_rows(model, activations, shared ? SHARED : language, out);
    if (status == QDISP_OK && plan) status = load_factors(model, plan, false, NULL, out->factors);
    if (status != QDISP_OK) qd_clips_clear(out);
    return status;
}

void qd_clips_clear(qd_clips *c) {
    for (size_t i = 0; c->factors && i < c->n_linears; i++) qd_free(c->ctx, c->factors[i]);
    qd_free(c->ctx, c->factors);
    qd_free(c->ctx, c->grids);
    qd_free(c->ctx, c->n_in);
    *c = (qd_clips){0};
}

int qd_clips_tap(void *user, qdisp_activation *a) {
    const qd_clips *c = user;
    const qd_grid *grid = &c->grids[a->i_linear];
    const float *factors = c->factors[a->i_linear];
    if (grid->scale == 0) return 0;
    for (size_t r = 0; r < a->n_rows; r++) {
        float *x = a->data + r * a->stride;
        for (size_t j = 0; factors && j < a->n_cols; j++) x[j] /= factors[j];
        c->ctx->kernels->quantize(x, a->n_cols, grid, x);
        for (size_t j = 0; factors && j < a->n_cols; j++) x[j] *= factors[j];
    }
    return 0;
}
