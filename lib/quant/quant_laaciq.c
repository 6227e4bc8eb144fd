/* quant_laaciq.c - language-aware clipping. All languages share one weight matrix, so one set of thresholds has to
 * serve them all: minimise F over r_l, where the damage of language l (calib/damage.c) comes from D_l = sum_ij
 * e_l[j] (w_ij - Q(w_ij))^2 and P_l = sum_ij e_l[j] w_ij^2, with e_l[j] = E_l[x_j^2].
 *
 * Objectives. "regret", the default: F = max r_l with r_l the damage over what it would be under thresholds chosen
 * for l alone. "worst" and "mean": r_l is the damage per byte itself. Damage compares badly between languages (one
 * with few tokens a byte looks safe and is then given up); in a regret such scales cancel.
 *
 * The dual is a weight lambda_l a language. For fixed lambda the problem falls apart into units (groups, channels),
 * each a search over candidate thresholds under the column weights sum_l lambda_l tpb_l e_l[j] / (reference_l P_l),
 * then lambda_l <- lambda_l exp(eta (r_l - mean r) / max r), normalised. The best iterate is kept, the average of
 * all lambda is tried last. A step costs one pass of the candidates over the weights, whatever the number of
 * languages; regret costs one more such pass a language, once.
 *
 * Gain. Clipping shrinks: Q(w) keeps less than all of w's own direction, and what every map loses of it adds up over
 * the layers to a loss of first order that D does not see. So each unit's values are scaled by the gain that makes
 * the error orthogonal to the weights, sum_j omega_j w_j (w_j - gain Q(w_j)) = 0 (the weighted form of the bias
 * correction in section 3 of the ACIQ paper); engines store it as part of the scale, so it costs nothing. */
#include "calib/damage.h"
#include "quant/quant.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Candidate codes: thresholds of groups never pay below 2^(-31/12) = 1/6 of the maximum; whole channels and tensors of
 * heavy-tailed weights can, so they get the whole range. */
#define N_GROUP_CANDIDATES 32

typedef struct laaciq {
    const qdisp_quantizer *q;
    const qdisp_model *model;
    const qdisp_calib *calib;
    qd_choice *choices;
    size_t n, n_languages;
    double *tpb;      /* [n_languages] tokens per byte */
    double **energy;  /* [QD_N_FOLDS * n]: [n_languages][n_in] of a fold and tensor */
    double **power;   /* the same shape [n_languages]: P_l of a fold and tensor */
    double **squares; /* [n]: [n_in] column sums of w^2 */
    qd_damage *damage; /* [QD_N_FOLDS * n * n_languages] of a fold, tensor and language */
    double *lambda;   /* [n_languages] */
    double *reference; /* [n_languages]: what the damage of a language is measured by, 1 or its own optimum */
    bool fixed;       /* measure the choices as they are instead of choosing */
} laaciq;

static size_t slot(const laaciq *s, size_t fold, size_t i) {
    return fold * s->n + i;
}

/* Energies of the two folds; languages without guard text guard with what they have. */
static qdisp_status load_energies(laaciq *s, size_t i) {
    const qd_choice *c = &s->choices[i];
    qdisp_ctx *ctx = s->model->ctx;
    double *columns = qd_alloc(ctx, c->n_in, sizeof *columns);
    qd_tensor_work work;
    qdisp_status status = columns ? qd_tensor_work_open(s->model, c, &work) : QDISP_ENOMEM;
    if (status != QDISP_OK) {
        qd_free(ctx, columns);
        return status;
    }
    double *squares = s->squares[i] = columns;
    ctx->kernels->column_squares(work.w, c->n_out, c->n_in, c->n_in, squares);
    for (size_t fold = 0; fold < QD_N_FOLDS; fold++) {
        double *e = qd_alloc(ctx, s->n_languages * c->n_in, sizeof *e);
        double *p = qd_alloc(ctx, s->n_languages, sizeof *p);
        s->energy[slot(s, fold, i)] = e;
        s->power[slot(s, fold, i)] = p;
        if (!e || !p) {
            status = QDISP_ENOMEM;
            break;
        }
        for (size_t l = 0; l < s->n_languages; l++, e += c->n_in) {
            if (!qd_calib_energy(s->calib, l, fold, c->i_linear, e) &&
                !qd_calib_energy(s->calib, l, QD_N_FOLDS, c->i_linear, e))
                status = qd_fail(ctx, QDISP_EMISMATCH, "language %s has no calibration rows for %s",
                                 s->calib->languages[l].tag, s->model->tensors[c->i_tensor].name);
            for (size_t j = 0; j < c->n_in; j++) p[l] += e[j] * squares[j];
        }
    }
    qd_tensor_work_close(&work);
    return status;
}

/* Column weights of the mixture, scaled to mean 1 so that f32 holds them. */
static void mix_energies(const laaciq *s, size_t i, float *omega) {
    const qd_choice *c = &s->choices[i];
    double total = 0;
    const double *e = s->energy[slot(s, 0, i)], *p = s->power[slot(s, 0, i)];
    for (int pass = 0; pass < 2; pass++) {
        for (size_t j = 0; j < c->n_in; j++) {
            double sum = 0;
            for (size_t l = 0; l < s->n_languages; l++)
                if (p[l] > 0) sum += s->lambda[l] * s->tpb[l] / (s->reference[l] * p[l]) * e[l * c->n_in + j];
            if (pass == 0) total += sum;
            else omega[j] = total > 0 ? (float)(sum / total * (double)c->n_in) : 1;
        }
    }
}

static size_t make_candidates(const qd_choice *c, float absmax, qd_grid *grids) {
    size_t n = c->group_size > 0 ? N_GROUP_CANDIDATES : QD_N_CLIPS;
    for (size_t k = 0; k < n; k++) /* an overflow shows at min-max, the first: quantizing will then say so */
        if (!qd_grid_make(absmax * qd_clip_ratio((unsigned)k), 1, c->bits, c->full_range, &grids[k])) return k;
    return n;
}

static size_t best_of(const double *errors, size_t n) {
    size_t best = 0;
    for (size_t k = 1; k < n; k++)
        if (errors[k] < errors[best]) best = k;
    return best;
}

/* What a unit's gain is made of: sum omega w^2 and sum omega w Q(w). */
typedef struct projection {
    double original, quantized;
} projection;

static void project(const qd_kernels *kernels, const float *w, const float *omega, size_t n, const qd_grid *grid,
                    float *q, projection *p) {
    kernels->quantize(w, n, grid, q);
    for (size_t j = 0; j < n; j++) {
        p->original += (double)omega[j] * (double)w[j] * (double)w[j];
        p->quantized += (double)omega[j] * (double)w[j] * (double)q[j];
    }
}

static uint8_t gain_of(const projection *p) {
    return p->quantized > 0 ? qd_gain_code(p->original / p->quantized) : 0;
}

/* A whole tensor is one unit over all its rows. */
static qdisp_status choose_tensor(const laaciq *s, qd_choice *c, const float *w, const float *omega, float *q) {
    const qd_kernels *kernels = s->model->ctx->kernels;
    qd_grid grids[QD_N_CLIPS];
    double errors[QD_N_CLIPS], sums[QD_N_CLIPS] = {0};
    projection p = {0, 0};
    float absmax;
    QD_TRY(qd_unit_absmax(s->model, c, w, c->n_out * c->n_in, &absmax));
    size_t n = make_candidates(c, absmax, grids);
    for (size_t row = 0; row < c->n_out; row++) {
        kernels->grid_errors(w + row * c->n_in, omega, c->n_in, grids, n, errors);
        for (size_t k = 0; k < n; k++) sums[k] += errors[k];
    }
    size_t best = best_of(sums, n);
    c->alpha = absmax * qd_clip_ratio((unsigned)best);
    for (size_t row = 0; row < c->n_out && n > 0; row++)
        project(kernels, w + row * c->n_in, omega, c->n_in, &grids[best], q, &p);
    c->gains[0] = gain_of(&p);
    return QDISP_OK;
}

static qdisp_status choose_units(const laaciq *s, qd_choice *c, const float *w, const float *omega, float *q) {
    const qd_kernels *kernels = s->model->ctx->kernels;
    qd_grid grids[QD_N_CLIPS];
    double errors[QD_N_CLIPS];
    for (size_t u = 0; u < c->n_units; u++) {
        size_t row, first, n;
        projection p = {0, 0};
        float absmax;
        qd_unit_span(c, u, &row, &first, &n);
        const float *x = w + row * c->n_in + first;
        QD_TRY(qd_unit_absmax(s->model, c, x, n, &absmax));
        size_t n_candidates = make_candidates(c, absmax, grids);
        kernels->grid_errors(x, omega + first, n, grids, n_candidates, errors);
        size_t best = best_of(errors, n_candidates);
        if (n_candidates > 0) project(kernels, x, omega + first, n, &grids[best], q, &p);
        c->clips[u] = (uint8_t)best;
        c->gains[u] = gain_of(&p);
    }
    return QDISP_OK;
}

/* One tensor of one step: choose under lambda (unless fixed), then measure the damage on both folds. */
static qdisp_status step_tensor(void *arg, size_t i, unsigned i_worker) {
    laaciq *s = arg;
    qd_choice *c = &s->choices[i];
    qdisp_ctx *ctx = s->model->ctx;
    (void)i_worker;
    float *omega = qd_alloc(ctx, c->n_in, sizeof *omega);
    double *errors = qd_alloc(ctx, 2 * c->n_in, sizeof *errors), *quantized = errors ? errors + c->n_in : NULL;
    qd_tensor_work work = {.ctx = ctx};
    qdisp_status status = omega && errors ? qd_tensor_work_open(s->model, c, &work) : QDISP_ENOMEM;
    if (status == QDISP_OK && !s->fixed) {
        mix_energies(s, i, omega);
        status = c->units_per_row ? choose_units(s, c, work.w, omega, work.row)
                                  : choose_tensor(s, c, work.w, omega, work.row);
    }
    for (size_t row = 0; row < c->n_out && status == QDISP_OK; row++) {
        const float *w = work.w + row * c->n_in;
        status = qd_quantize_row(s->model, c, row, w, work.row);
        if (status != QDISP_OK) break;
        ctx->kernels->column_errors(w, work.row, c->n_in, errors);
        ctx->kernels->column_squares(work.row, 1, c->n_in, c->n_in, quantized);
    }
    for (size_t fold = 0; fold < QD_N_FOLDS && status == QDISP_OK; fold++) {
        const double *e = s->energy[slot(s, fold, i)];
        for (size_t l = 0; l < s->n_languages; l++)
            s->damage[slot(s, fold, i) * s->n_languages + l] =
                qd_damage_of(e + l * c->n_in, errors, s->squares[i], quantized, c->n_in);
    }
    qd_tensor_work_close(&work);
    qd_free(ctx, omega);
    qd_free(ctx, errors);
    return status;
}

/* r_l of a fold into r[n_languages]; returns the objective. */
static double objective(const laaciq *s, size_t fold, double *r) {
    double worst = 0, mean = 0;
    for (size_t l = 0; l < s->n_languages; l++) {
        r[l] = qd_damage_sum(s->damage + slot(s, fold, 0) * s->n_languages + l, s->n, s->n_languages, s->tpb[l]);
        r[l] /= s->reference[l];
        if (r[l] > worst) worst = r[l];
        mean += r[l] / (double)s->n_languages;
    }
    return strcmp(s->q->opt.objective, "mean") ? worst : mean;
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
}

static void copy_choices(qd_choice *to, const qd_choice *from, size_t n) {
    for (size_t i = 0; i < n; i++) {
        memcpy(to[i].clips, from[i].clips, from[i].n_units);
        memcpy(to[i].gains, from[i].gains, from[i].n_units);
        to[i].alpha = from[i].alpha;
    }
}

/* Regret: the damage of every language under thresholds chosen for it alone. */
static qdisp_status find_references(laaciq *s, double *r) {
    for (size_t own = 0; own < s->n_languages; own++) {
        for (size_t l = 0; l < s->n_languages; l++) s->lambda[l] = l == own;
        QD_TRY(qd_parallel(s->q->ctx, s->n, step_tensor, s));
        objective(s, 0, r);
        /* kept aside: the references must all be 1 until the last is found */
        s->reference[s->n_languages + own] = r[own] > 0 ? r[own] : 1;
        QD_TRY(qd_progress(s->q->ctx, "planning", 0.5 * (double)(own + 1) / (double)s->n_languages));
    }
    memcpy(s->reference, s->reference + s->n_languages, s->n_languages * sizeof *s->reference);
    return QDISP_OK;
}

/* The dual. best[n] receives the best iterate's choices. */
static qdisp_status run_dual(laaciq *s, qd_choice *best, double *r, double *average) {
    bool mean = !strcmp(s->q->opt.objective, "mean"); /* linear in r: the even weights are optimal */
    uint64_t n_steps = mean ? 1 : s->q->opt.n_steps;
    double best_value = INFINITY;
    for (size_t l = 0; l < s->n_languages; l++) s->lambda[l] = 1 / (double)s->n_languages;
    for (uint64_t step = 0; step < n_steps + !mean; step++) {
        if (step == n_steps)
            for (size_t l = 0; l < s->n_languages; l++) s->lambda[l] = average[l] / (double)n_steps;
        for (size_t l = 0; l < s->n_languages; l++) average[l] += s->lambda[l];
        QD_TRY(qd_parallel(s->q->ctx, s->n, step_tensor, s));
        double value = objective(s, 0, r);
        if (value < best_value) {
            best_value = value;
            copy_choices(best, s->choices, s->n);
        }
        update_lambda(s, r);
        QD_TRY(qd_progress(s->q->ctx, "planning", 0.5 + 0.5 * (double)(step + 1) / (double)(n_steps + 1)));
    }
    return QDISP_OK;
}

/* Objective on the guard fold of what stands in s->choices. */
static qdisp_status guard_value(laaciq *s, double *r, double *value) {
    s->fixed = true;
    QD_TRY(qd_parallel(s->q->ctx, s->n, step_tensor, s));
    *value = objective(s, 1, r);
    return QDISP_OK;
}

/* A gain pays where many maps shrink together; a plan of one or two can do without. */
static qdisp_status without_gain(const qdisp_model *model, qd_choice *c) {
    (void)model;
    memset(c->gains, 0, c->n_units);
    return QDISP_OK;
}

/* Never worse on held-out calibration text than the same without gain, min-max and plain ACIQ: else the best of them is
 * taken, and said. */
static qdisp_status guard(laaciq *s, qd_choice *best, double *r) {
    static const struct {
        const char *name;
        qd_choose_one choose;
    } rivals[] = {{"no gain", without_gain}, {"min-max", qd_rtn_choose}, {"aciq", qd_aciq_choose}};
    double value, rival_value;
    char note[sizeof best->note] = "";
    copy_choices(s->choices, best, s->n);
    QD_TRY(guard_value(s, r, &value));
    for (size_t i = 0; i < sizeof rivals / sizeof *rivals; i++) {
        QD_TRY(qd_choose_each(s->q->ctx, s->model, s->choices, s->n, rivals[i].choose));
        QD_TRY(guard_value(s, r, &rival_value));
        if (rival_value >= value) continue;
        snprintf(note, sizeof note, "fell back to %s: %.4g against %.4g on held-out calibration text", rivals[i].name,
                 rival_value, value);
        value = rival_value;
        copy_choices(best, s->choices, s->n);
    }
    copy_choices(s->choices, best, s->n);
    for (size_t i = 0; i < s->n; i++) {
        memcpy(s->choices[i].note, note, sizeof note);
        s->choices[i].error_rel_model = NAN;
    }
    if (*note) qd_log(s->q->ctx, QDISP_LOG_WARNING, "la-aciq %d bits %s", best->bits, note);
    return QDISP_OK;
}

static void laaciq_free(laaciq *s, qd_choice *best, double *r, double *average) {
    qdisp_ctx *ctx = s->q->ctx;
    for (size_t i = 0; i < QD_N_FOLDS * s->n; i++) {
        if (s->energy) qd_free(ctx, s->energy[i]);
        if (s->power) qd_free(ctx, s->power[i]);
    }
    qd_choices_free(ctx, best, s->n);
    qd_free(ctx, s->energy);
    for (size_t i = 0; s->squares && i < s->n; i++) qd_free(ctx, s->squares[i]);
    qd_free(ctx, s->power);
    qd_free(ctx, s->squares);
    qd_free(ctx, s->damage);
    qd_free(ctx, s->lambda);
    qd_free(ctx, s->tpb);
    qd_free(ctx, s->reference);
    qd_free(ctx, r);
    qd_free(ctx, average);
}

static qdisp_status choose(const qdisp_quantizer *q, const qdisp_model *model, const qdisp_calib *calib,
                           qd_choice *choices, size_t n) {
    qdisp_ctx *ctx = q->ctx;
    laaciq s = {.q = q, .model = model, .calib = calib, .choices = choices, .n = n, .n_languages = calib->n_languages};
    qdisp_status status = QDISP_ENOMEM;
    if (s.n_languages == 0) return qd_fail(ctx, QDISP_EINVAL, "la-aciq: the calibration holds no language");
    s.energy = qd_alloc(ctx, QD_N_FOLDS * n, sizeof *s.energy);
    s.power = qd_alloc(ctx, QD_N_FOLDS * n, sizeof *s.power);
    s.squares = qd_alloc(ctx, n, sizeof *s.squares);
    s.damage = qd_alloc(ctx, QD_N_FOLDS * n * s.n_languages, sizeof *s.damage);
    s.lambda = qd_alloc(ctx, s.n_languages, sizeof *s.lambda);
    s.tpb = qd_alloc(ctx, s.n_languages, sizeof *s.tpb);
    s.reference = qd_alloc(ctx, 2 * s.n_languages, sizeof *s.reference);
    qd_choice *best = qd_alloc(ctx, n, sizeof *best);
    double *r = qd_alloc(ctx, s.n_languages, sizeof *r), *average = qd_alloc(ctx, s.n_languages, sizeof *average);
    if (!s.energy || !s.power || !s.squares || !s.damage || !s.lambda || !s.tpb || !s.reference || !best || !r ||
        !average)
        goto done;
    for (size_t i = 0; i < n; i++) {
        best[i] = choices[i];
        best[i].clips = best[i].gains = NULL;
    }
    for (size_t i = 0; i < n; i++)
        if (!(best[i].clips = qd_alloc(ctx, choices[i].n_units, 1)) ||
            !(best[i].gains = qd_alloc(ctx, choices[i].n_units, 1)))
            goto done;
    for (size_t l = 0; l < s.n_languages; l++) {
        s.tpb[l] = qd_calib_tokens_per_byte(calib, l);
        if (!isfinite(s.tpb[l])) s.tpb[l] = 1; /* a host that gave no bytes: then r is a loss per token */
        s.reference[l] = 1;
    }
    for (size_t i = 0; i < n; i++) QD_TRY_GOTO(load_energies(&s, i));
    if (!strcmp(q->opt.objective, "regret")) QD_TRY_GOTO(find_references(&s, r));
    QD_TRY_GOTO(run_dual(&s, best, r, average));
    status = guard(&s, best, r);
done:
    laaciq_free(&s, best, r, average);
    return status;
}

const qd_method qd_method_laaciq = {"la-aciq", "weights, calibration by language",
                                    "libqdisp: ACIQ's problem for the worst language, solved by its dual", true,
                                    choose};
