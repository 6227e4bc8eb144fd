/* quant_awq.c - activation-aware weight quantization (Lin et al. 2023), for the mixture of languages.
 *
 * A channel of an input that carries much is made small, and its column of the weights as much larger, before
 * rounding to nearest: s_j = a_j^r for one r of 0, 1/20 .. 1 a group of maps that read the same input, scaled so that
 * the largest and the smallest lie around 1. The paper's a_j is the mean |x_j| of its calibration text and its r the
 * best for the output error on that text. Here a_j = sqrt(e_j) with e_j = sum_l lambda_l e_l[j] / mean(e_l), the mixed
 * second moment, and the error is that of a diagonal second moment, sum_ij e_j (w_ij - Q(s_j w_ij) / s_j)^2: statistics
 * are all that it needs. Then each group's threshold is searched likewise; not that of queries and keys, whose product
 * clipping would shrink (so the paper's program).
 *
 * Only inputs whose scaling the norm or the rows before can take are scaled (quant/inputs.h): elsewhere it would cost a
 * product a token. Query heads that share a value head have one factor. Factors are powers of 2^(1/8): within 4.5 % of
 * any wanted one, where the error is flat; a plan says them in a character. */
#include "quant/rows.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    N_STEPS = 20,
    N_SAMPLE = 512 /* rows of a matrix that the search for r looks at: a sum over rows, for one number */
};

typedef struct awq {
    qdisp_ctx *ctx;
    const qd_languages *languages;
    qd_choice *choices;
    size_t n;
} awq;

/* One group under search: choices that read the same input. */
typedef struct search {
    float *scales;  /* [N_STEPS + 1][n_in] */
    float *weights; /* [N_STEPS + 1][n_in]: e_j / s_j^2, of the choice at hand */
    size_t n_steps;
} search;

/* e[n_in] of a choice: the mixture, mean 1. */
static qdisp_status mix(const awq *a, size_t i, double *e) {
    return qd_mix_languages(a->ctx, a->languages, i, &a->choices[i], e);
}

static bool same_input(const qd_choice *a, const qd_choice *b) {
    return a->input.i_first == b->input.i_first;
}

/* The mean over the group's choices (experts see tokens of their own), and over columns that share a factor. */
static qdisp_status mix_group(const awq *a, size_t first, double *e, double *one) {
    const qd_choice *c = &a->choices[first];
    memset(e, 0, c->n_in * sizeof *e);
    for (size_t i = first; i < a->n; i++) {
        if (!same_input(c, &a->choices[i])) continue;
        QD_TRY(mix(a, i, one));
        for (size_t j = 0; j < c->n_in; j++) e[qd_input_tied(&c->input, j)] += one[j];
    }
    for (size_t j = 0; j < c->n_in; j++) e[j] = e[qd_input_tied(&c->input, j)];
    return QDISP_OK;
}

/* Factors of every step, 1 where a channel carries nothing; as characters if codes is not NULL. */
static void make_scales(const double *e, size_t n_in, size_t step, float *scales, uint8_t *codes) {
    double low = INFINITY, high = 0;
    for (size_t j = 0; j < n_in; j++) {
        if (!(e[j] > 0)) continue;
        low = fmin(low, e[j]);
        high = fmax(high, e[j]);
    }
    double middle = high > 0 ? (log2(low) + log2(high)) / 2 : 0;
    for (size_t j = 0; j < n_in; j++) {
        double wanted = e[j] > 0 ? (log2(e[j]) - middle) / 2 * (double)step / N_STEPS : 0;
        uint8_t code = qd_input_code(wanted);
        if (codes) codes[j] = code;
        else scales[j] = qd_input_factor(code);
    }
}

/* sums[step] += the error of these rows. */
static qdisp_status group_steps(const qd_rows *rows, void *user, const size_t *i_rows, size_t h, const float *w,
                                float *q, double *sums) {
    const search *s = user;
    const qd_choice *c = rows->c;
    const qd_kernels *kernels = rows->ctx->kernels;
    (void)i_rows;
    for (size_t k = 0; k < s->n_steps; k++) {
        const float *scales = s->scales + k * c->n_in, *weights = s->weights + k * c->n_in;
        for (size_t r = 0; r < h; r++)
            for (size_t u = 0; u < c->units_per_row; u++) {
                size_t row, first, n;
                qd_range range;
                double error = INFINITY;
                qd_grid grid;
                qd_unit_span(c, u, &row, &first, &n);
                for (size_t j = first; j < first + n; j++) q[j] = w[r * c->n_in + j] * scales[j];
                QD_TRY(qd_unit_range(rows->ctx, c, q + first, n, &range));
                if (qd_grid_make(range, 1, c->bits, c->levels, &grid))
                    kernels->grid_errors(q + first, weights + first, n, &grid, 1, &error);
                sums[k] += error;
            }
    }
    return QDISP_OK;
}

static void weigh(const double *e, const float *scales, size_t n_in, float *weights) {
    for (size_t j = 0; j < n_in; j++) weights[j] = (float)(e[j] / ((double)scales[j] * (double)scales[j]));
}

/* The best step of the group that begins with choice `first`. */
static qdisp_status find_step(const awq *a, size_t first, search *s, const double *e, double *one, size_t *best) {
    double errors[N_STEPS + 1] = {0}, sums[N_STEPS + 1];
    size_t n_in = a->choices[first].n_in;
    for (size_t k = 0; k <= N_STEPS; k++) make_scales(e, n_in, k, s->scales + k * n_in, NULL);
    s->n_steps = N_STEPS + 1;
    for (size_t i = first; i < a->n; i++) {
        qd_choice *c = &a->choices[i];
        if (!same_input(&a->choices[first], c)) continue;
        QD_TRY(mix(a, i, one));
        for (size_t k = 0; k <= N_STEPS; k++) weigh(one, s->scales + k * n_in, n_in, s->weights + k * n_in);
        qd_rows rows = {a->ctx, c, c->n_out > N_SAMPLE ? N_SAMPLE : c->n_out};
        QD_TRY(qd_rows_run(&rows, group_steps, s, sums, N_STEPS + 1));
        for (size_t k = 0; k <= N_STEPS; k++) errors[k] += sums[k] * (double)c->n_out / (double)rows.n;
    }
    *best = 0;
    for (size_t k = 1; k <= N_STEPS; k++)
        if (errors[k] < errors[*best]) *best = k;
    return QDISP_OK;
}

static bool is_clipped(const qd_choice *c) {
    return c->slot != QD_SLOT_ATTN_Q && c->slot != QD_SLOT_ATTN_K && c->slot != QD_SLOT_ATTN_QKV;
}

static qdisp_status choose_one(const awq *a, size_t i, size_t step, search *s, const double *e, double *one) {
    qd_choice *c = &a->choices[i];
    bool is_scaled = c->input.maker != QD_MAKER_NONE && step > 0;
    c->error_rel_model = NAN;
    memset(c->clips, 0, c->n_units);
    memset(c->gains, 0, c->n_units);
    if (is_scaled && !c->inputs && !(c->inputs = qd_alloc(a->ctx, c->n_in, 1))) return QDISP_ENOMEM;
    if (is_scaled) make_scales(e, c->n_in, step, NULL, c->inputs);
    snprintf(c->note, sizeof c->note, "exponent %.2f", (double)step / N_STEPS);
    if (!is_clipped(c)) return QDISP_OK;
    QD_TRY(mix(a, i, one));
    make_scales(e, c->n_in, is_scaled ? step : 0, s->scales, NULL);
    weigh(one, s->scales, c->n_in, s->weights);
    one[0] = 0;
    for (size_t j = 0; j < c->n_in; j++) one[j + 1] = one[j] + (double)s->weights[j];
    qd_rows all = {a->ctx, c, c->n_out};
    return qd_search_rows(&all, &(qd_weighting){s->weights, one}, false, NULL);
}

static qdisp_status choose_group(const awq *a, size_t first) {
    size_t n_in = a->choices[first].n_in, step = 0;
    search s = {qd_alloc_aligned(a->ctx, (N_STEPS + 1) * n_in, sizeof *s.scales),
                qd_alloc_aligned(a->ctx, (N_STEPS + 1) * n_in, sizeof *s.weights), 0};
    double *e = qd_alloc(a->ctx, n_in, sizeof *e), *one = qd_alloc(a->ctx, n_in + 1, sizeof *one);
    qdisp_status status = s.scales && s.weights && e && one ? QDISP_OK : QDISP_ENOMEM;
    if (status == QDISP_OK) status = mix_group(a, first, e, one);
    if (status == QDISP_OK && a->choices[first].input.maker != QD_MAKER_NONE)
        status = find_step(a, first, &s, e, one, &step);
    for (size_t i = first; i < a->n && status == QDISP_OK; i++)
        if (same_input(&a->choices[first], &a->choices[i])) status = choose_one(a, i, step, &s, e, one);
    qd_free_aligned(a->ctx, s.scales);
    qd_free_aligned(a->ctx, s.weights);
    qd_free(a->ctx, e);
    qd_free(a->ctx, one);
    return status;
}

static qdisp_status choose(const qdisp_quantizer *q, const qd_languages *languages, qd_choice *choices, size_t n) {
    awq a = {q->ctx, languages, choices, n};
    for (size_t i = 0; i < n; i++) {
        bool is_first = true;
        if (choices[i].units_per_row == 0)
            return qd_fail(q->ctx, QDISP_EUNSUPPORTED, "awq: one threshold a tensor is not offered: use groups or "
                           "channels");
        for (size_t k = 0; k < i; k++) is_first = is_first && !same_input(&choices[k], &choices[i]);
        if (is_first) QD_TRY(choose_group(&a, i));
        QD_TRY(qd_progress(q->ctx, "planning", (double)(i + 1) / (double)n));
    }
    return QDISP_OK;
}

const qd_method qd_method_awq = {"awq", "weights, calibration by language",
                                 "Lin et al. 2023, AWQ; with the mixture of languages", QD_NEEDED, choose};
