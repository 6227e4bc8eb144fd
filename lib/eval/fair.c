/* fair.c - weights of the languages by what each really loses: the dual of la-aciq over measured losses, around any
 * method that mixes languages by weights. The text is cut in two: lines that quantizing is fitted to, and every fourth
 * line, on which the losses of the quantized model are measured. The language that loses more than the mean of all gets
 * more weight, lambda_l <- lambda_l exp(eta (r_l - mean r) / max |r|), normalised, and the model is quantized anew; the
 * weights of the best iterate stay. No gradient and no model of the damage is needed, at the price of quantizing and
 * evaluating once a step. */
#include "eval/eval.h"
#include "corpus/corpus.h"
#include "quant/quant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Lambda as text: parts of a million, so that it does not depend on a locale. */
enum { MOST_TAG = 64, UNIT = 1000000 };

typedef enum objective { WORST, CVAR, MEAN } objective;
static const char *const objectives[] = {"worst", "cvar", "mean"};
#define CVAR_SHARE 0.25 /* of the languages, the worst ones */

typedef struct fair {
    qdisp_ctx *ctx;
    const qdisp_quantizer *q;
    const qdisp_model *model;
    const qdisp_calib *calib;
    qdisp_calib *own_calib; /* of the fitting lines, if none was given and the method uses one */
    qdisp_plan_options with;
    qdisp_corpus *fit, *guard;
    objective objective;
    double eta;
    size_t n; /* languages */
    double *lambda, *base, *loss, *sorted; /* [n] weights; bits per byte of the model, lost by the quantized one */
    qdisp_table *steps;
    struct {
        size_t step, objective, language, weight, loss;
    } columns;
} fair;

static qdisp_status check(const qdisp_fair_options *o, fair *f) {
    size_t i = 0;
    while (i < 3 && strcmp(o->objective ? o->objective : "worst", objectives[i])) i++;
    if (i == 3)
        return qd_fail(f->ctx, QDISP_EINVAL, "fair: objective '%s' is not worst, cvar or mean", o->objective);
    if (o->n_steps > 1000 || !(o->step >= 0 && o->step <= 100))
        return qd_fail(f->ctx, QDISP_EINVAL, "fair: n_steps is at most 1000, step in 0..100");
    if (!f->with.corpus || !f->with.tokenizer)
        return qd_fail(f->ctx, QDISP_EINVAL, "fair: losses need text by language: a corpus and its tokenizer");
    if (qdisp_corpus_n_lines(f->with.corpus) < QD_GUARD_EVERY)
        return qd_fail(f->ctx, QDISP_EINVAL, "fair: %zu lines are too few: every %d-th is kept for measuring",
                       qdisp_corpus_n_lines(f->with.corpus), QD_GUARD_EVERY);
    f->objective = (objective)i;
    f->eta = o->step > 0 ? o->step : 1;
    return QDISP_OK;
}

static qdisp_status split(fair *f, const qdisp_corpus *corpus) {
    size_t n_lines = qdisp_corpus_n_lines(corpus), *lines = qd_alloc(f->ctx, n_lines, sizeof *lines);
    if (!lines) return QDISP_ENOMEM;
    size_t n = qd_calib_fold_lines(n_lines, 0, lines);
    qdisp_status status = qd_corpus_part(corpus, lines, n, &f->fit);
    n = qd_calib_fold_lines(n_lines, 1, lines);
    if (status == QDISP_OK) status = qd_corpus_part(corpus, lines, n, &f->guard);
    qd_free(f->ctx, lines);
    return status;
}

/* Bits per byte of each language on the guard lines. */
static qdisp_status measure(const fair *f, const qdisp_model *model, double *bpb) {
    qdisp_table *t = NULL;
    qd_losses losses;
    QD_TRY(qdisp_eval_losses(model, f->with.tokenizer, f->guard, &t));
    qdisp_status status = qd_losses_read(t, &losses);
    for (size_t l = 0; status == QDISP_OK && l < losses.n_languages; l++) {
        double nll = 0, n_bytes = 0;
        for (size_t i = losses.first[l]; i < losses.first[l + 1]; i++) {
            nll += losses.nll[i];
            n_bytes += (double)losses.n_bytes[i];
        }
        bpb[l] = n_bytes > 0 ? nll / (n_bytes * QD_LN2) : 0;
    }
    if (status == QDISP_OK) qd_losses_clear(&losses);
    qdisp_table_free(t);
    return status;
}

static int descending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

static double value_of(const fair *f) {
    size_t n = f->objective == WORST ? 1 : f->objective == MEAN ? f->n : (size_t)ceil(CVAR_SHARE * (double)f->n);
    double sum = 0;
    memcpy(f->sorted, f->loss, f->n * sizeof *f->sorted);
    qsort(f->sorted, f->n, sizeof *f->sorted, descending);
    for (size_t i = 0; i < n; i++) sum += f->sorted[i];
    return sum / (double)n;
}

static qdisp_status lambda_text(const fair *f, char **out) {
    char *text = qd_alloc(f->ctx, f->n, MOST_TAG + 16), *at = text;
    if (!text) return QDISP_ENOMEM;
    for (size_t l = 0; l < f->n; l++) {
        unsigned parts = (unsigned)lrint(UNIT * f->lambda[l]);
        at += snprintf(at, MOST_TAG + 16, "%s%.*s:%u.%06u", l ? "," : "", MOST_TAG - 1,
                       qdisp_corpus_language(f->guard, l), parts / UNIT, parts % UNIT);
    }
    *out = text;
    return QDISP_OK;
}

/* The plan under lambda, from the same quantizer otherwise. */
static qdisp_status make_plan(const fair *f, qdisp_table **plan) {
    qdisp_quantizer_options o = f->q->opt;
    qdisp_quantizer *q = NULL;
    char *weights;
    QD_TRY(lambda_text(f, &weights));
    o.size = sizeof o;
    o.weights = weights;
    qdisp_status status = qdisp_quantizer_new(f->ctx, f->q->method->name, &o, &q);
    if (status == QDISP_OK) status = qdisp_quantizer_plan(q, f->model, f->calib, plan);
    qdisp_quantizer_free(q);
    qd_free(f->ctx, weights);
    return status;
}

static qdisp_status record(fair *f, size_t step, double value) {
    qdisp_status status = QDISP_OK;
    for (size_t l = 0; l < f->n; l++) {
        size_t row = qd_table_row(f->steps, &status);
        qd_table_i64(f->steps, &status, row, f->columns.step, (int64_t)step);
        qd_table_f64(f->steps, &status, row, f->columns.objective, value);
        qd_table_str(f->steps, &status, row, f->columns.language, qdisp_corpus_language(f->guard, l));
        qd_table_f64(f->steps, &status, row, f->columns.weight, f->lambda[l]);
        qd_table_f64(f->steps, &status, row, f->columns.loss, f->loss[l]);
    }
    return status;
}

/* Plans, quantizes and measures under lambda. */
static qdisp_status run_step(fair *f, size_t step, size_t n_steps, qdisp_table **plan, double *value) {
    double from = (double)(step + 1) / (double)(n_steps + 2), to = (double)(step + 2) / (double)(n_steps + 2);
    qdisp_model *quantized = NULL;
    qd_progress_range range = qd_progress_enter(f->ctx, "weighing languages", from, 0.9 * from + 0.1 * to);
    qdisp_status status = make_plan(f, plan);
    qd_progress_leave(f->ctx, range);
    range = qd_progress_enter(f->ctx, "weighing languages", 0.9 * from + 0.1 * to, 0.2 * from + 0.8 * to);
    if (status == QDISP_OK) status = qdisp_plan_apply(*plan, f->model, &f->with, &quantized);
    qd_progress_leave(f->ctx, range);
    range = qd_progress_enter(f->ctx, "weighing languages", 0.2 * from + 0.8 * to, to);
    if (status == QDISP_OK) status = measure(f, quantized, f->loss);
    qd_progress_leave(f->ctx, range);
    qdisp_model_free(quantized);
    for (size_t l = 0; l < f->n; l++) f->loss[l] -= f->base[l];
    *value = value_of(f);
    return status == QDISP_OK ? record(f, step, *value) : status;
}

static void update(fair *f) {
    double mean = 0, most = 0, sum = 0;
    for (size_t l = 0; l < f->n; l++) {
        mean += f->loss[l] / (double)f->n;
        most = fmax(most, fabs(f->loss[l]));
    }
    for (size_t l = 0; l < f->n && most > 0; l++) f->lambda[l] *= exp(f->eta * (f->loss[l] - mean) / most);
    for (size_t l = 0; l < f->n; l++) sum += f->lambda[l];
    for (size_t l = 0; l < f->n; l++) f->lambda[l] /= sum;
}

/* The first step has the quantizer's own weights, even ones if it has none. */
static qdisp_status first_lambda(fair *f) {
    const qd_choice own = {.weights = f->q->weights};
    double sum = 0;
    for (size_t l = 0; l < f->n; l++)
        sum += f->lambda[l] = qd_choice_weight(&own, qdisp_corpus_language(f->guard, l), 1 / (double)f->n);
    if (!(sum > 0)) return qd_fail(f->ctx, QDISP_EMISMATCH, "fair: weights '%s' name no language of the corpus",
                                   f->q->weights);
    for (size_t l = 0; l < f->n; l++) f->lambda[l] /= sum;
    return QDISP_OK;
}

static qdisp_status run_steps(fair *f, size_t n_steps, qdisp_table **best) {
    double best_value = INFINITY, value;
    QD_TRY(first_lambda(f));
    for (size_t i = 0; i <= n_steps; i++) {
        qdisp_table *plan = NULL;
        qdisp_status status = run_step(f, i, n_steps, &plan, &value);
        if (status != QDISP_OK || !(value < best_value)) {
            qdisp_table_free(plan);
        } else {
            qdisp_table_free(*best);
            *best = plan;
            best_value = value;
        }
        QD_TRY(status);
        update(f);
    }
    return *best ? qd_progress(f->ctx, "weighing languages", 1)
                 : qd_fail(f->ctx, QDISP_ENUMERIC, "fair: no step gave a finite loss");
}

static qdisp_status make_steps_table(fair *f) {
    qdisp_status status = QDISP_OK;
    QD_TRY(qdisp_table_new(f->ctx, "steps", "Weights of the languages and what each loses", &f->steps));
    f->columns.step = qd_table_column(f->steps, &status, "step", "", QDISP_COLUMN_I64);
    f->columns.objective = qd_table_column(f->steps, &status, "objective_bpb", "bits/byte", QDISP_COLUMN_F64);
    f->columns.language = qd_table_column(f->steps, &status, "language", "", QDISP_COLUMN_STR);
    f->columns.weight = qd_table_column(f->steps, &status, "weight", "", QDISP_COLUMN_F64);
    f->columns.loss = qd_table_column(f->steps, &status, "loss_bpb", "bits/byte", QDISP_COLUMN_F64);
    return status;
}

static qdisp_status prepare(fair *f) {
    f->n = qdisp_corpus_n_languages(f->with.corpus);
    QD_TRY(split(f, f->with.corpus));
    f->with.corpus = f->fit;
    f->lambda = qd_alloc(f->ctx, f->n, sizeof *f->lambda);
    f->base = qd_alloc(f->ctx, f->n, sizeof *f->base);
    f->loss = qd_alloc(f->ctx, f->n, sizeof *f->loss);
    f->sorted = qd_alloc(f->ctx, f->n, sizeof *f->sorted);
    if (!f->lambda || !f->base || !f->loss || !f->sorted) return QDISP_ENOMEM;
    QD_TRY(make_steps_table(f));
    if (!f->calib && f->q->method->needs_calib != QD_UNUSED) {
        QD_TRY(qdisp_calib_new(f->model, &f->own_calib));
        QD_TRY(qdisp_calib_collect(f->own_calib, f->model, f->with.tokenizer, f->fit));
        f->calib = f->own_calib;
    }
    if (!f->with.calib) f->with.calib = f->calib;
    return measure(f, f->model, f->base);
}

qdisp_status qdisp_quantizer_fair(const qdisp_quantizer *quantizer, const qdisp_model *model, const qdisp_calib *calib,
                                  const qdisp_plan_options *with, const qdisp_fair_options *options,
                                  qdisp_table **plan, qdisp_table **steps) {
    qdisp_fair_options o;
    fair f = {.ctx = model->ctx, .q = quantizer, .model = model, .calib = calib};
    qdisp_table *best = NULL;
    QD_TRY(qd_copy_options(f.ctx, "fair options", options, &o, sizeof o));
    QD_TRY(qd_copy_options(f.ctx, "plan options", with, &f.with, sizeof f.with));
    f.with.size = sizeof f.with;
    QD_TRY(check(&o, &f));
    size_t n_steps = o.n_steps ? (size_t)o.n_steps : 3;
    qd_progress_range range = qd_progress_enter(f.ctx, "weighing languages", 0, 1 / (double)(n_steps + 2));
    qdisp_status status = prepare(&f);
    qd_progress_leave(f.ctx, range);
    if (status == QDISP_OK) status = run_steps(&f, n_steps, &best);
    qd_free(f.ctx, f.lambda);
    qd_free(f.ctx, f.base);
    qd_free(f.ctx, f.loss);
    qd_free(f.ctx, f.sorted);
    qdisp_calib_free(f.own_calib);
    qdisp_corpus_free(f.fit);
    qdisp_corpus_free(f.guard);
    if (status == QDISP_OK && steps) *steps = f.steps;
    else qdisp_table_free(f.steps);
    if (status == QDISP_OK) *plan = best;
    else qdisp_table_free(best);
    return status;
}
