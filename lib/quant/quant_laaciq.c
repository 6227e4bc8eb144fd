/* quant_laaciq.c - language-aware clipping. All languages share one weight matrix, so one set of thresholds has to
 * serve them all: minimise F over r_l, where the damage of language l (calib/damage.c) comes from D_l = sum_ij
 * e_l[j] (w_ij - Q(w_ij))^2 and P_l = sum_ij e_l[j] w_ij^2, with e_l[j] = E_l[x_j^2].
 *
 * Objectives. "regret", the default: F = max r_l with r_l the damage over what it would be at best for l alone with one
 * clipping ratio a matrix. The others take the damage per byte itself for r_l: "worst", "mean" (under the weights of
 * the options), "cvar" (the mean of the worst share of the languages), "disparity" (the mean, while the worst is at
 * most tau times it). Damage compares badly between languages (one with few tokens a byte looks safe and is then given
 * up); in a regret such scales cancel.
 *
 * The dual is a weight lambda_l a language. For fixed lambda the problem falls apart into units (groups, channels),
 * each a search over candidate thresholds under the column weights sum_l lambda_l tpb_l e_l[j] / (reference_l P_l),
 * then lambda_l <- lambda_l exp(eta (r_l - mean r) / max r), normalised. The weights of the best iterate are kept, the
 * average of all lambda is tried last.
 *
 * Cost. Nothing that touches the weights grows with the number of languages: the references come from one table
 * E[k][j] = sum_i (w_ij - Q_k(w_ij))^2 for all of them (D = e E^T), a step's damages from one vector of column errors.
 * The dual, the references and the guard look at N_SAMPLE rows of a matrix that has more, evenly spaced: they are sums
 * over rows, and lambda needs no more digits. The choice under the final lambda is made for every row.
 *
 * Gain. What clipping takes of the weights' own direction (quant/search.c) adds up over the layers to a loss of first
 * order that D does not see; so gains are searched too. */
#include "calib/damage.h"
#include "quant/rows.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    N_SAMPLE = 256,
    REFERENCE_STEP = 2 /* every second candidate for the references */
};
#define SHARE 0.25 /* of the languages, for cvar */
#define TAU 1.25   /* most that the worst is of the mean, for disparity */

/* What stays of a matrix between steps. */
typedef struct matrix {
    float *omega;    /* [n_in] column weights of the mixture, mean 1 */
    double *total;   /* [n_in + 1] their running sums */
    double *squares; /* [n_in] column sums of w^2 over the sampled rows */
    double *power;   /* [n_languages] P_l over them, fit fold */
} matrix;

typedef struct laaciq {
    const qdisp_quantizer *q;
    qdisp_ctx *ctx;
    const qd_languages *languages;
    qd_choice *choices;
    size_t n, n_languages;
    matrix *matrices;  /* [n] */
    qd_damage *damage; /* [n][n_languages] */
    double *lambda;    /* [n_languages] */
    double *reference; /* [n_languages]: what the damage of a language is measured by, 1 or its own optimum */
    float every[QD_N_CLIPS / REFERENCE_STEP]; /* those of the references */
} laaciq;

static const qd_energy *energy_of(const laaciq *s, size_t fold, size_t i, size_t l) {
    return &s->languages->energies[(fold * s->n + i) * s->n_languages + l];
}

static qd_damage *damage_of(const laaciq *s, size_t i) {
    return s->damage + i * s->n_languages;
}

/* The rows that the dual looks at. */
static qd_rows sampled(const laaciq *s, size_t i) {
    size_t n_out = s->choices[i].n_out;
    return (qd_rows){s->ctx, &s->choices[i], n_out > N_SAMPLE ? N_SAMPLE : n_out};
}

static qd_rows all_rows(const laaciq *s, size_t i) {
    return (qd_rows){s->ctx, &s->choices[i], s->choices[i].n_out};
}

/* sum_j e[j] x[j] */
static double weigh(const qd_energy *e, const double *x, size_t n_in) {
    double sum = 0;
    for (size_t j = 0; j < n_in; j++) sum += e->squares[j] * x[j];
    return e->scale * sum;
}

/* ---- once ---- */

static qdisp_status load_matrix(laaciq *s, size_t i) {
    const qd_choice *c = &s->choices[i];
    matrix *m = &s->matrices[i];
    qd_rows rows = sampled(s, i);
    m->omega = qd_alloc_aligned(s->ctx, c->n_in, sizeof *m->omega);
    m->total = qd_alloc(s->ctx, c->n_in + 1, sizeof *m->total);
    m->squares = qd_alloc(s->ctx, c->n_in, sizeof *m->squares);
    m->power = qd_alloc(s->ctx, s->n_languages, sizeof *m->power);
    if (!m->omega || !m->total || !m->squares || !m->power) return QDISP_ENOMEM;
    qd_rows all = all_rows(s, i);
    if (c->units_per_row == 0) QD_TRY(qd_rows_range(&all, &s->choices[i].range));
    QD_TRY(qd_rows_squares(&rows, m->squares));
    for (size_t l = 0; l < s->n_languages; l++) m->power[l] = weigh(energy_of(s, 0, i, l), m->squares, c->n_in);
    return QDISP_OK;
}

/* Column weights of the mixture, scaled to mean 1 so that f32 holds them. */
static qdisp_status mix_energies(laaciq *s, size_t i) {
    size_t n_in = s->choices[i].n_in;
    matrix *m = &s->matrices[i];
    double *mix = qd_alloc(s->ctx, n_in, sizeof *mix), total = 0;
    if (!mix) return QDISP_ENOMEM;
    for (size_t l = 0; l < s->n_languages; l++) {
        const qd_energy *e = energy_of(s, 0, i, l);
        if (!(m->power[l] > 0)) continue;
        double share = s->lambda[l] * s->languages->tokens_per_byte[l] * e->scale / (s->reference[l] * m->power[l]);
        for (size_t j = 0; j < n_in; j++) mix[j] += share * e->squares[j];
    }
    for (size_t j = 0; j < n_in; j++) total += mix[j];
    for (size_t j = 0; j < n_in; j++) {
        m->omega[j] = total > 0 ? (float)(mix[j] / total * (double)n_in) : 1;
        m->total[j + 1] = m->total[j] + (double)m->omega[j];
    }
    qd_free(s->ctx, mix);
    return QDISP_OK;
}

static qd_weighting weighting_of(const laaciq *s, size_t i) {
    return (qd_weighting){s->matrices[i].omega, s->matrices[i].total};
}

/* ---- damages ---- */

typedef struct damage_job {
    laaciq *s;
    size_t i, fold;
    const double *sums; /* of qd_rows_measure */
} damage_job;

static qdisp_status damage_task(void *arg, size_t l, unsigned i_worker) {
    damage_job *j = arg;
    laaciq *s = j->s;
    size_t n_in = s->choices[j->i].n_in;
    (void)i_worker;
    damage_of(s, j->i)[l] = qd_damage_of(energy_of(s, j->fold, j->i, l)->squares, j->sums, s->matrices[j->i].squares,
                                         j->sums + n_in, n_in);
    return QDISP_OK;
}

/* Damages on a fold under the choices (made anew under lambda, or as they are), over the sampled rows. */
static qdisp_status step_matrix(laaciq *s, size_t i, bool choose, size_t fold) {
    qd_rows rows = sampled(s, i);
    qd_choice *c = rows.c;
    qd_weighting weighting = weighting_of(s, i);
    double *sums = qd_alloc(s->ctx, 2 * c->n_in, sizeof *sums);
    qdisp_status status = sums ? QDISP_OK : QDISP_ENOMEM;
    if (status == QDISP_OK && choose) status = mix_energies(s, i);
    if (status == QDISP_OK)
        status = choose ? qd_search_rows(&rows, &weighting, true, sums) : qd_rows_measure(&rows, sums);
    damage_job job = {s, i, fold, sums};
    if (status == QDISP_OK) status = qd_parallel(s->ctx, s->n_languages, damage_task, &job);
    qd_free(s->ctx, sums);
    return status;
}

static qdisp_status step(laaciq *s, bool choose, size_t fold) {
    for (size_t i = 0; i < s->n; i++) QD_TRY(step_matrix(s, i, choose, fold));
    return QDISP_OK;
}

/* ---- objectives ---- */

/* Weights before the dual moves them: the plan's, or even. */
static double prior(const laaciq *s, size_t l) {
    const char *tag = s->languages->tags ? s->languages->tags[l] : "";
    return qd_choice_weight(s->choices, tag, 1 / (double)s->n_languages);
}

static double mean_of(const laaciq *s, const double *r) {
    double mean = 0;
    for (size_t l = 0; l < s->n_languages; l++) mean += prior(s, l) * r[l];
    return mean;
}

static double worst_of(const laaciq *s, const double *r) {
    double worst = 0;
    for (size_t l = 0; l < s->n_languages; l++) worst = fmax(worst, r[l]);
    return worst;
}

/* The mean of the worst share of the languages: least over t of t + mean (r - t)+ / share, at one of the r. */
static double cvar_of(const laaciq *s, const double *r) {
    double share = qd_choice_option(s->choices, "share", SHARE), least = INFINITY;
    for (size_t k = 0; k < s->n_languages; k++) {
        double beyond = 0;
        for (size_t l = 0; l < s->n_languages; l++) beyond += fmax(r[l] - r[k], 0) / (double)s->n_languages;
        least = fmin(least, r[k] + beyond / share);
    }
    return least;
}

/* The mean, and what the worst is above tau times the mean counts a thousandfold. */
static double disparity_of(const laaciq *s, const double *r) {
    double mean = mean_of(s, r), tau = qd_choice_option(s->choices, "tau", TAU);
    return mean + 1000 * fmax(worst_of(s, r) - tau * mean, 0);
}

/* In this order the names are told. */
static const struct {
    const char *name;
    double (*value)(const laaciq *s, const double *r);
} objectives[] = {{"regret", worst_of}, {"worst", worst_of}, {"mean", mean_of}, {"cvar", cvar_of},
                  {"disparity", disparity_of}};

/* r_l into r[n_languages]; returns the objective. */
static double objective(const laaciq *s, double *r) {
    size_t k = 0;
    for (size_t l = 0; l < s->n_languages; l++)
        r[l] = qd_damage_sum(damage_of(s, 0) + l, s->n, s->n_languages, s->languages->tokens_per_byte[l]) /
               s->reference[l];
    while (strcmp(s->q->opt.objective, objectives[k].name)) k++; /* the quantizer has checked it */
    return objectives[k].value(s, r);
}

/* ---- references ---- */

/* Adds to E[k][j], the column errors of candidate k everywhere. Tiles of columns stay in the first cache. */
static qdisp_status group_table(const qd_rows *rows, void *user, const size_t *i_rows, size_t h, const float *w,
                                float *q, double *sums) {
    enum { TILE = 64, N_GRIDS = QD_N_CLIPS / REFERENCE_STEP };
    const laaciq *s = user;
    const qd_choice *c = rows->c;
    qd_grid grids[QD_ROW_GROUP][N_GRIDS];
    float errors[N_GRIDS * TILE];
    qd_range range = c->range;
    size_t n_units = c->units_per_row ? c->units_per_row : 1, n_grids = qd_n_candidates(c) / REFERENCE_STEP, n_fit;
    (void)i_rows, (void)q;
    for (size_t u = 0; u < n_units; u++) {
        size_t row, first = 0, n = c->n_in;
        if (c->units_per_row) qd_unit_span(c, u, &row, &first, &n);
        for (size_t r = 0; r < h; r++) {
            if (c->units_per_row) QD_TRY(qd_unit_range(rows->ctx, c, w + r * c->n_in + first, n, &range));
            qd_grids_make(rows->ctx->kernels, range, s->every, n_grids, c->bits, c->levels, grids[r], &n_fit);
            if (n_fit < n_grids)
                return qd_fail(rows->ctx, QDISP_ENUMERIC, "%s: a scale of %g does not fit a 16-bit float", c->name,
                               (double)qd_range_span(range, c->levels));
        }
        for (size_t j = first; j < first + n; j += TILE) {
            size_t width = first + n - j < TILE ? first + n - j : TILE;
            memset(errors, 0, sizeof errors);
            for (size_t r = 0; r < h; r++)
                rows->ctx->kernels->column_grid_errors(w + r * c->n_in + j, width, grids[r], n_grids, errors);
            for (size_t k = 0; k < n_grids; k++)
                for (size_t t = 0; t < width; t++) sums[k * c->n_in + j + t] += (double)errors[k * width + t];
        }
    }
    return QDISP_OK;
}

typedef struct reference_job {
    const laaciq *s;
    size_t i, n_grids;
    const double *table;
    double *least; /* [n_languages] += the least D_l / P_l */
} reference_job;

static qdisp_status reference_task(void *arg, size_t l, unsigned i_worker) {
    reference_job *j = arg;
    size_t n_in = j->s->choices[j->i].n_in;
    const qd_energy *e = energy_of(j->s, 0, j->i, l);
    double least = INFINITY, power = j->s->matrices[j->i].power[l];
    (void)i_worker;
    for (size_t k = 0; k < j->n_grids; k++) least = fmin(least, weigh(e, j->table + k * n_in, n_in));
    if (power > 0 && isfinite(least)) j->least[l] += least / power;
    return QDISP_OK;
}

/* Regret: what every language would lose with the one clipping ratio a matrix that suits it best. */
static qdisp_status find_references(laaciq *s) {
    double *least = qd_alloc(s->ctx, s->n_languages, sizeof *least);
    qdisp_status status = least ? QDISP_OK : QDISP_ENOMEM;
    for (size_t i = 0; i < s->n && status == QDISP_OK; i++) {
        qd_rows rows = sampled(s, i);
        reference_job job = {s, i, qd_n_candidates(rows.c) / REFERENCE_STEP, NULL, least};
        double *table = qd_alloc(s->ctx, job.n_grids * rows.c->n_in, sizeof *table);
        job.table = table;
        status = table ? qd_rows_run(&rows, group_table, s, table, job.n_grids * rows.c->n_in) : QDISP_ENOMEM;
        if (status == QDISP_OK) status = qd_parallel(s->ctx, s->n_languages, reference_task, &job);
        qd_free(s->ctx, table);
    }
    for (size_t l = 0; l < s->n_languages && status == QDISP_OK; l++)
        s->reference[l] = least[l] > 0 ? s->languages->tokens_per_byte[l] * least[l] : 1;
    qd_free(s->ctx, least);
    return status;
}

/* ---- the dual ---- */

/* The dual of the worst share: no weight above 1 / (share n); what is cut off goes to the others in proportion. */
static void cap_lambda(laaciq *s) {
    double cap = fmax(1 / (qd_choice_option(s->choices, "share", SHARE) * (double)s->n_languages),
                      1 / (double)s->n_languages);
    for (size_t round = 0; round < s->n_languages; round++) {
        double free_sum = 0, left = 1;
        bool is_over = false;
        for (size_t l = 0; l < s->n_languages; l++) {
            if (s->lambda[l] >= cap) left -= cap;
            else free_sum += s->lambda[l];
        }
        for (size_t l = 0; l < s->n_languages; l++) {
            if (s->lambda[l] >= cap) s->lambda[l] = cap;
            else if (free_sum > 0) s->lambda[l] *= left / free_sum;
            is_over = is_over || s->lambda[l] > cap;
        }
        if (!is_over) return;
    }
}

static void update_lambda(laaciq *s, const double *r) {
    double mean = 0, most = 0, sum = 0;
    for (size_t l = 0; l < s->n_languages; l++) {
        mean += r[l] / (double)s->n_languages;
        if (r[l] > most) most = r[l];
    }
    for (size_t l = 0; l < s->n_languages && most > 0; l++) {
        s->lambda[l] *= exp(s->q->opt.step * (r[l] - mean) / most);
        sum += s->lambda[l];
    }
    for (size_t l = 0; l < s->n_languages && most > 0; l++) s->lambda[l] /= sum;
    if (!strcmp(s->q->opt.objective, "cvar")) cap_lambda(s);
}

/* Leaves the best lambda in place. work[3][n_languages]. */
static qdisp_status run_dual(laaciq *s, double *work) {
    size_t n = s->n_languages;
    double *r = work, *average = work + n, *best = work + 2 * n, best_value = INFINITY;
    bool mean = !strcmp(s->q->opt.objective, "mean"); /* linear in r: its own weights are optimal */
    uint64_t n_steps = mean ? 0 : s->q->opt.n_steps;
    for (size_t l = 0; l < n; l++) s->lambda[l] = best[l] = prior(s, l);
    for (uint64_t i = 0; i < n_steps + !mean; i++) {
        if (i == n_steps)
            for (size_t l = 0; l < n; l++) s->lambda[l] = average[l] / (double)n_steps;
        for (size_t l = 0; l < n; l++) average[l] += s->lambda[l];
        QD_TRY(step(s, true, 0));
        double value = objective(s, r);
        if (value < best_value) {
            best_value = value;
            memcpy(best, s->lambda, n * sizeof *best);
        }
        update_lambda(s, r);
        QD_TRY(qd_progress(s->ctx, "planning", 0.1 + 0.7 * (double)(i + 1) / (double)(n_steps + 1)));
    }
    memcpy(s->lambda, best, n * sizeof *best);
    return QDISP_OK;
}

/* ---- guard, and the choice for every row ---- */

enum { OWN, NO_GAIN, MIN_MAX, ACIQ, N_RIVALS }; /* NO_GAIN right behind OWN, whose clips it keeps */
static const char *const rivals[N_RIVALS] = {"la-aciq", "no gain", "min-max", "aciq"};

static qdisp_status choose_rows(laaciq *s, size_t i, qd_rows rows, int rival) {
    qd_weighting weighting = weighting_of(s, i);
    if (rival == MIN_MAX) return qd_rtn_choose(&rows);
    if (rival == ACIQ) return qd_aciq_choose(&rows);
    QD_TRY(mix_energies(s, i));
    return qd_search_rows(&rows, &weighting, rival == OWN, NULL);
}

/* The dual's weights into the plan, for methods that mix the languages likewise. */
static qdisp_status tell_lambda(laaciq *s) {
    enum { LONGEST = 40 }; /* of a number and what is around it */
    size_t n = 1;
    for (size_t l = 0; s->languages->tags && l < s->n_languages; l++) n += strlen(s->languages->tags[l]) + LONGEST;
    char *text = s->languages->tags ? qd_alloc(s->ctx, n, 1) : NULL, *at = text;
    if (!text) return s->languages->tags ? QDISP_ENOMEM : QDISP_OK;
    for (size_t l = 0; l < s->n_languages; l++)
        at += sprintf(at, "%s%s:%.6f", l ? "," : "", s->languages->tags[l], s->lambda[l]);
    qdisp_status status = QDISP_OK;
    for (size_t i = 0; i < s->n && status == QDISP_OK; i++) {
        qd_free(s->ctx, s->choices[i].weights);
        s->choices[i].weights = qd_strdup(s->ctx, text);
        if (!s->choices[i].weights) status = QDISP_ENOMEM;
    }
    qd_free(s->ctx, text);
    return status;
}

/* Never worse on held-out calibration text than the same without gain (which pays where many maps shrink together),
 * min-max and plain ACIQ: else the best of them is taken, and said. */
static qdisp_status guard(laaciq *s, double *r) {
    double values[N_RIVALS];
    int best = OWN;
    char note[sizeof s->choices->note] = "";
    for (int k = 0; k < N_RIVALS; k++) {
        for (size_t i = 0; i < s->n; i++) {
            if (k == NO_GAIN) memset(s->choices[i].gains, 0, s->choices[i].n_units);
            else QD_TRY(choose_rows(s, i, sampled(s, i), k));
        }
        QD_TRY(step(s, false, 1));
        values[k] = objective(s, r);
        if (values[k] < values[best]) best = k;
    }
    if (best != OWN) {
        snprintf(note, sizeof note, "fell back to %s: %.4g against %.4g on held-out calibration text", rivals[best],
                 values[best], values[OWN]);
        qd_log(s->ctx, QDISP_LOG_WARNING, "la-aciq %d bits %s", s->choices->bits, note);
    }
    for (size_t i = 0; i < s->n; i++) {
        QD_TRY(choose_rows(s, i, all_rows(s, i), best));
        memcpy(s->choices[i].note, note, sizeof note);
        s->choices[i].error_rel_model = NAN;
    }
    QD_TRY(tell_lambda(s));
    return qd_progress(s->ctx, "planning", 1);
}

static void laaciq_free(laaciq *s) {
    for (size_t i = 0; s->matrices && i < s->n; i++) {
        qd_free_aligned(s->ctx, s->matrices[i].omega);
        qd_free(s->ctx, s->matrices[i].total);
        qd_free(s->ctx, s->matrices[i].squares);
        qd_free(s->ctx, s->matrices[i].power);
    }
    qd_free(s->ctx, s->matrices);
    qd_free(s->ctx, s->damage);
    qd_free(s->ctx, s->lambda);
    qd_free(s->ctx, s->reference);
}

static qdisp_status choose(const qdisp_quantizer *q, const qd_languages *languages, qd_choice *choices, size_t n) {
    laaciq s = {.q = q, .ctx = q->ctx, .languages = languages, .choices = choices, .n = n};
    qdisp_status status = QDISP_ENOMEM;
    if (!languages || languages->n == 0)
        return qd_fail(q->ctx, QDISP_EINVAL, "la-aciq: the calibration holds no language");
    s.n_languages = languages->n;
    s.matrices = qd_alloc(s.ctx, n, sizeof *s.matrices);
    s.damage = qd_alloc(s.ctx, n * s.n_languages, sizeof *s.damage);
    s.lambda = qd_alloc(s.ctx, s.n_languages, sizeof *s.lambda);
    s.reference = qd_alloc(s.ctx, s.n_languages, sizeof *s.reference);
    double *work = qd_alloc(s.ctx, 3 * s.n_languages, sizeof *work);
    if (!s.matrices || !s.damage || !s.lambda || !s.reference || !work) goto done;
    for (unsigned k = 0; k < QD_N_CLIPS / REFERENCE_STEP; k++) s.every[k] = qd_clip_ratio(k * REFERENCE_STEP);
    for (size_t i = 0; i < n; i++) QD_TRY_GOTO(load_matrix(&s, i));
    for (size_t l = 0; l < s.n_languages; l++) s.reference[l] = 1;
    if (!strcmp(q->opt.objective, "regret")) QD_TRY_GOTO(find_references(&s));
    QD_TRY_GOTO(run_dual(&s, work));
    status = guard(&s, work);
done:
    laaciq_free(&s);
    qd_free(s.ctx, work);
    return status;
}

static qdisp_status check(qdisp_ctx *ctx, const qd_choice *c) {
    double share = qd_choice_option(c, "share", SHARE), tau = qd_choice_option(c, "tau", TAU);
    if (!(share > 0 && share <= 1)) return qd_fail(ctx, QDISP_EINVAL, "%s: share: %g is not in 0..1", c->name, share);
    return tau >= 1 ? QDISP_OK : qd_fail(ctx, QDISP_EINVAL, "%s: tau: %g is below 1", c->name, tau);
}

const qd_method qd_method_laaciq = {.name = "la-aciq", .needs = "weights, calibration by language",
                                    .paper = "libqdisp: ACIQ's problem for the worst language, solved by its dual",
                                    .needs_calib = QD_NEEDED, .choose = choose, .check = check,
                                    .options = "share,tau"};
