/* quant_smoothquant.c - SmoothQuant (Xiao et al. 2023) for the mixture of languages: for engines that quantize
 * activations, too.
 *
 * s_j = a_j^m / b_j^(1 - m): a_j says how large channel j of an input is, b_j the largest |w_ij| of the maps that
 * read it; the input is divided by s_j, so that its channels become alike, and the columns are multiplied. The paper's
 * a_j is max |x_j| on its calibration text; statistics hold second moments, so a_j = sqrt(e_j) of the mixture stands
 * for it: the same but for a channel's own ratio of peak to root mean square, and a common factor cancels. m, the
 * migration strength, is 0.5 unless the options say otherwise. Weights are then rounded to nearest, min-max.
 *
 * As AWQ's, factors go where the norm or the rows before can take them (quant/inputs.h), in steps of 2^(1/8). */
#include "quant/rows.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool same_input(const qd_choice *a, const qd_choice *b) {
    return a->input.i_first == b->input.i_first;
}

/* most[n_in] = the largest |w| of each column, over these rows. */
typedef struct column_job {
    float *most; /* [n_out / QD_ROW_GROUP + 1][n_in] of each group of rows, at the place of its first */
} column_job;

static qdisp_status group_columns(const qd_rows *rows, void *user, const size_t *i_rows, size_t h, const float *w,
                                  float *q, double *sums) {
    const column_job *j = user;
    size_t n_in = rows->c->n_in;
    float *most = j->most + i_rows[0] / QD_ROW_GROUP * n_in;
    (void)q, (void)sums;
    for (size_t r = 0; r < h; r++)
        for (size_t k = 0; k < n_in; k++) most[k] = fmaxf(most[k], fabsf(w[r * n_in + k]));
    return QDISP_OK;
}

static qdisp_status add_columns(qdisp_ctx *ctx, qd_choice *c, float *most) {
    size_t n_groups = c->n_out / QD_ROW_GROUP + 1;
    column_job j = {qd_alloc(ctx, n_groups * c->n_in, sizeof *j.most)};
    qd_rows all = {ctx, c, c->n_out};
    qdisp_status status = j.most ? qd_rows_run(&all, group_columns, &j, NULL, 0) : QDISP_ENOMEM;
    for (size_t i = 0; i < n_groups * c->n_in && status == QDISP_OK; i++) {
        if (!isfinite(j.most[i])) status = qd_fail(ctx, QDISP_ENUMERIC, "%s: a weight is not finite", c->name);
        most[qd_input_tied(&c->input, i % c->n_in)] = fmaxf(most[qd_input_tied(&c->input, i % c->n_in)], j.most[i]);
    }
    qd_free(ctx, j.most);
    return status;
}

typedef struct smooth {
    qdisp_ctx *ctx;
    const qd_languages *languages;
    qd_choice *choices;
    size_t n;
    double migration;
} smooth;

/* log2 s_j, around 0; channels that carry nothing, or that nothing reads, stay as they are. */
static void make_factors(const smooth *s, const double *e, const float *most, size_t n_in, double *factors) {
    double low = INFINITY, high = -INFINITY;
    for (size_t j = 0; j < n_in; j++) {
        bool used = e[j] > 0 && most[j] > 0;
        factors[j] = used ? s->migration * log2(e[j]) / 2 - (1 - s->migration) * log2((double)most[j]) : NAN;
        if (!used) continue;
        low = fmin(low, factors[j]);
        high = fmax(high, factors[j]);
    }
    for (size_t j = 0; j < n_in; j++) factors[j] = isnan(factors[j]) ? 0 : factors[j] - (low + high) / 2;
}

/* The group of maps that read the input of choice `first`. work[3][n_in]. */
static qdisp_status smooth_group(const smooth *s, size_t first, double *work, float *most) {
    qd_choice *c = &s->choices[first];
    double *e = work, *one = work + c->n_in, *factors = work + 2 * c->n_in;
    memset(work, 0, 3 * c->n_in * sizeof *work);
    memset(most, 0, c->n_in * sizeof *most);
    for (size_t i = first; i < s->n; i++) {
        if (!same_input(c, &s->choices[i])) continue;
        QD_TRY(qd_mix_languages(s->ctx, s->languages, i, &s->choices[i], one));
        for (size_t j = 0; j < c->n_in; j++) e[qd_input_tied(&c->input, j)] += one[j];
        QD_TRY(add_columns(s->ctx, &s->choices[i], most));
    }
    for (size_t j = 0; j < c->n_in; j++) {
        e[j] = e[qd_input_tied(&c->input, j)];
        most[j] = most[qd_input_tied(&c->input, j)];
    }
    make_factors(s, e, most, c->n_in, factors);
    for (size_t i = first; i < s->n; i++) {
        qd_choice *other = &s->choices[i];
        if (!same_input(c, other)) continue;
        if (!other->inputs && !(other->inputs = qd_alloc(s->ctx, c->n_in, 1))) return QDISP_ENOMEM;
        for (size_t j = 0; j < c->n_in; j++) other->inputs[j] = qd_input_code(factors[j]);
        snprintf(other->note, sizeof other->note, "migration %.2f", s->migration);
    }
    return QDISP_OK;
}

static qdisp_status choose(const qdisp_quantizer *q, const qd_languages *languages, qd_choice *choices, size_t n) {
    smooth s = {q->ctx, languages, choices, n, n ? qd_choice_option(&choices[0], "migration", 0.5) : 0.5};
    size_t longest = 0;
    if (!(s.migration >= 0 && s.migration <= 1))
        return qd_fail(q->ctx, QDISP_EINVAL, "smoothquant: migration %g is not in 0 .. 1", s.migration);
    for (size_t i = 0; i < n; i++) longest = choices[i].n_in > longest ? choices[i].n_in : longest;
    double *work = qd_alloc(q->ctx, 3 * longest + 1, sizeof *work);
    float *most = qd_alloc(q->ctx, longest + 1, sizeof *most);
    qdisp_status status = work && most ? QDISP_OK : QDISP_ENOMEM;
    for (size_t i = 0; i < n && status == QDISP_OK; i++) {
        bool is_first = choices[i].input.maker != QD_MAKER_NONE;
        for (size_t k = 0; k < i && is_first; k++) is_first = !same_input(&choices[k], &choices[i]);
        if (is_first) status = smooth_group(&s, i, work, most);
    }
    /* thresholds: the largest |w s|, "A" and no gain, as the clips and gains are zero */
    if (status == QDISP_OK) status = qd_choose_each(q->ctx, choices, n, qd_rtn_choose);
    qd_free(q->ctx, work);
    qd_free(q->ctx, most);
    return status;
}

const qd_method qd_method_smoothquant = {.name = "smoothquant", .needs = "weights, calibration by language",
                                         .paper = "Xiao et al. 2023, SmoothQuant; with the mixture of languages",
                                         .needs_calib = QD_NEEDED, .choose = choose, .options = "migration"};
