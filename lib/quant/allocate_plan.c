/* allocate_plan.c - plans of one method at several bit widths, what each tensor of each costs every language, and the
 * plan that takes the best of them for its size. */
#include "calib/damage.h"
#include "quant/allocate.h"
#include "quant/quant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_WIDTHS = 16, N_ROWS = 8, N_BLOCKS = 32 };

typedef struct width {
    int bits;
    const char *type; /* of blocks; NULL: integers of bits */
} width;

typedef struct allocator {
    const qdisp_quantizer *q;
    qdisp_ctx *ctx;
    const qdisp_model *model;
    const qdisp_calib *calib;
    qdisp_allocation_options opt;
    width widths[MOST_WIDTHS];
    size_t n_widths, n, n_languages; /* n: tensors */
    qd_choice *choices[MOST_WIDTHS]; /* [n] each */
    bool gradients;
    double *damage, *size; /* [n][n_widths][n_languages]; [n][n_widths] bytes */
    double fixed;          /* bytes of what is not quantized */
    size_t *chosen;        /* [n] */
} allocator;

/* "3", or "q4_k"; false if it is neither. */
static bool parse_width(const char *word, width *out) {
    char *end;
    long bits = strtol(word, &end, 10);
    *out = (width){(int)bits, NULL};
    if (end != word) return !*end && bits >= 2 && bits <= 8;
    *out = (width){0, qd_block_type_static(word)};
    return out->type != NULL;
}

static qdisp_status parse_widths(allocator *a) {
    const char *list = a->opt.bits ? a->opt.bits : "2,3,4,5,6,8";
    for (const char *at = list; *at;) {
        char word[16] = "";
        size_t n = strcspn(at, ",");
        width w;
        if (n > 0 && n < sizeof word) memcpy(word, at, n);
        bool good = parse_width(word, &w) && a->n_widths < MOST_WIDTHS;
        for (size_t k = 0; k < a->n_widths && good; k++)
            good = a->widths[k].bits != w.bits || a->widths[k].type != w.type;
        if (!good)
            return qd_fail(a->ctx, QDISP_EINVAL, "bits: '%s' is not a comma-separated list of 2..8 and types of blocks "
                           "(q4_0, q4_k ...), each once", list);
        a->widths[a->n_widths++] = w;
        at += n + (at[n] == ',');
    }
    return a->n_widths ? QDISP_OK : qd_fail(a->ctx, QDISP_EINVAL, "bits: an empty list");
}

static qdisp_status parse_objective(const allocator *a, qd_objective *out) {
    static const char *const names[] = {"worst", "mean", "cvar", "disparity"};
    for (size_t i = 0; i < 4; i++)
        if (!strcmp(a->opt.objective ? a->opt.objective : "worst", names[i])) {
            *out = (qd_objective)i;
            if (i == QD_DISPARITY && !a->gradients)
                return qd_fail(a->ctx, QDISP_EINVAL, "objective: a cap in bits per byte needs statistics with "
                               "gradients: 'qdisp calibrate --gradients'");
            return QDISP_OK;
        }
    return qd_fail(a->ctx, QDISP_EINVAL, "objective: '%s' is not worst, mean, cvar or disparity", a->opt.objective);
}

static qdisp_status check(allocator *a) {
    qdisp_allocation_options *o = &a->opt;
    if ((o->n_bytes == 0) == (o->bits_per_weight == 0))
        return qd_fail(a->ctx, QDISP_EINVAL, "size: give either n_bytes or bits_per_weight");
    if (!(o->bits_per_weight >= 0 && o->bits_per_weight <= 64))
        return qd_fail(a->ctx, QDISP_EINVAL, "bits_per_weight: %g is not in 0..64", o->bits_per_weight);
    if (o->share == 0) o->share = 0.25;
    if (!(o->share > 0 && o->share <= 1)) return qd_fail(a->ctx, QDISP_EINVAL, "share: %g is not in 0..1", o->share);
    if (!(o->cap >= 0)) return qd_fail(a->ctx, QDISP_EINVAL, "cap: %g is negative", o->cap);
    if (!a->calib || !a->calib->n_languages)
        return qd_fail(a->ctx, QDISP_EINVAL, "bits are allocated for languages: 'qdisp calibrate' or "
                       "qdisp_calib_collect makes the statistics");
    QD_TRY(qd_calib_check(a->calib, a->model));
    a->gradients = true;
    for (size_t l = 0; l < a->calib->n_languages; l++) {
        const qd_calib_fold *folds = a->calib->languages[l].folds;
        a->gradients = a->gradients && folds[0].n_scored + folds[1].n_scored > 0;
    }
    return parse_widths(a);
}

/* --- what a tensor costs --- */

typedef struct cost_job {
    const allocator *a;
    const qd_choice *c;
    const qd_codes *codes;
    const qd_map_inputs *inputs;
    double *sums; /* [N_BLOCKS][3 n_languages]: of the errors, of the weights, work */
} cost_job;

static qdisp_status cost_task(void *arg, size_t block, unsigned i_worker) {
    const cost_job *j = arg;
    size_t n_in = j->c->n_in, n = j->a->n_languages, per_block = (j->c->n_out + N_BLOCKS - 1) / N_BLOCKS;
    size_t first = block * per_block, end = first + per_block < j->c->n_out ? first + per_block : j->c->n_out;
    double *sums = j->sums + block * 3 * n;
    float *rows = qd_alloc(j->a->ctx, 2 * N_ROWS * n_in, sizeof *rows);
    (void)i_worker;
    if (!rows) return QDISP_ENOMEM;
    for (size_t r = first; r < end; r += N_ROWS) {
        size_t h = end - r < N_ROWS ? end - r : N_ROWS;
        const float *w = qd_load_f32(j->a->ctx->kernels, j->c->data, j->c->dtype, r * n_in, h * n_in, rows);
        qd_codes_decode(j->a->ctx, j->codes, r, h, rows + N_ROWS * n_in);
        qd_error_sums(j->inputs, r, h, w, rows + N_ROWS * n_in, sums + 2 * n, sums);
        if (!j->inputs->gradients) qd_error_sums(j->inputs, r, h, w, NULL, sums + 2 * n, sums + n);
    }
    qd_free(j->a->ctx, rows);
    return QDISP_OK;
}

/* Of tensor i at width k for all languages: second order in bits per byte, or without gradients the error of the output
 * relative to it, per byte. Methods that round by second moments are judged by rounding to nearest. */
static qdisp_status cost_tensor(const allocator *a, size_t i, size_t k, const qd_map_inputs *inputs) {
    qd_method nearest = {.name = "nearest"};
    qd_choice c = a->choices[k][i];
    qd_codes codes;
    size_t n = a->n_languages;
    if (c.method->needs_e || c.method->needs_h) c.method = &nearest;
    double *sums = qd_alloc(a->ctx, N_BLOCKS * 3 * n, sizeof *sums), *out = a->damage + (i * a->n_widths + k) * n;
    if (!sums) return QDISP_ENOMEM;
    qdisp_status status = qd_choice_quantize(a->ctx, &c, NULL, &codes);
    if (status == QDISP_OK) {
        cost_job job = {a, &c, &codes, inputs, sums};
        status = qd_parallel(a->ctx, N_BLOCKS, cost_task, &job);
        qd_codes_clear(a->ctx, &codes);
    }
    for (size_t l = 0; l < n && status == QDISP_OK; l++) {
        double errors = 0, squares = 0, rate = qd_calib_tokens_per_byte(a->calib, l);
        for (size_t b = 0; b < N_BLOCKS; b++) errors += sums[b * 3 * n + l], squares += sums[b * 3 * n + n + l];
        if (!isfinite(rate)) rate = 1;
        out[l] = rate * (a->gradients ? 0.5 / QD_LN2 * errors : squares > 0 ? errors / squares : 0);
        if (!isfinite(out[l]))
            status = qd_fail(a->ctx, QDISP_ENUMERIC, "%s: its cost for language %s is not finite", c.name,
                             a->calib->languages[l].tag);
    }
    qd_free(a->ctx, sums);
    return status;
}

/* Bytes of the tensors that no choice is of: 16 bits a value, unless they are stored in less. */
static double fixed_bytes(const allocator *a) {
    double sum = 0;
    for (size_t t = 0; t < a->model->n_tensors; t++) {
        const qdisp_tensor *tensor = &a->model->tensors[t];
        bool planned = false;
        for (size_t i = 0; i < a->n; i++) planned = planned || a->choices[0][i].i_tensor == t;
        if (!planned) sum += fmin((double)tensor->n_bytes, 2 * (double)qd_tensor_n_elements(tensor));
    }
    return sum;
}

static qdisp_status make_costs(allocator *a) {
    for (size_t k = 0; k < a->n_widths; k++) {
        qdisp_quantizer q = *a->q;
        size_t n;
        q.type = q.opt.type = a->widths[k].type;
        if (a->widths[k].bits) q.opt.bits = (uint64_t)a->widths[k].bits;
        qd_progress_range range = qd_progress_enter(a->ctx, "allocating", 0.8 * (double)k / (double)a->n_widths,
                                                    0.8 * (double)(k + 1) / (double)a->n_widths);
        qdisp_status status = qd_choices_plan(&q, a->model, a->calib, &a->choices[k], &n);
        qd_progress_leave(a->ctx, range);
        QD_TRY(status);
        a->n = n;
    }
    a->n_languages = a->calib->n_languages;
    a->damage = qd_alloc(a->ctx, a->n * a->n_widths * a->n_languages, sizeof *a->damage);
    a->size = qd_alloc(a->ctx, a->n * a->n_widths, sizeof *a->size);
    a->chosen = qd_alloc(a->ctx, a->n, sizeof *a->chosen);
    if (!a->damage || !a->size || !a->chosen) return QDISP_ENOMEM;
    for (size_t i = 0; i < a->n; i++) {
        const qd_choice *c = &a->choices[0][i];
        qd_map_inputs inputs;
        QD_TRY(qd_progress(a->ctx, "allocating", 0.8 + 0.2 * (double)i / (double)a->n));
        QD_TRY(qd_map_inputs_make(a->calib, c->i_linear, c->n_out, a->gradients, &inputs));
        qdisp_status status = QDISP_OK;
        for (size_t k = 0; k < a->n_widths && status == QDISP_OK; k++) {
            a->size[i * a->n_widths + k] =
                qd_choice_bits(&a->choices[k][i]) * (double)c->n_out * (double)c->n_in / 8;
            status = cost_tensor(a, i, k, &inputs);
        }
        qd_map_inputs_clear(a->ctx, &inputs);
        QD_TRY(status);
    }
    a->fixed = fixed_bytes(a);
    return QDISP_OK;
}

/* --- tables --- */

static qdisp_status make_plan(const allocator *a, qdisp_table **plan) {
    qd_choice *choices = qd_alloc(a->ctx, a->n, sizeof *choices); /* shallow: their arrays stay the allocator's */
    if (!choices) return QDISP_ENOMEM;
    for (size_t i = 0; i < a->n; i++) choices[i] = a->choices[a->chosen[i]][i];
    qdisp_status status = qd_plan_make(a->q, a->model, choices, a->n, plan);
    qd_free(a->ctx, choices);
    return status;
}

static qdisp_status make_summary(const allocator *a, const qd_allocation *s, double n_weights, qdisp_table **out) {
    qdisp_table *t;
    QD_TRY(qdisp_table_new(a->ctx, "allocation", "Allocation: predicted losses of every language", &t));
    qdisp_status status = QDISP_OK;
    size_t language = qd_table_column(t, &status, "language", "", QDISP_COLUMN_STR);
    size_t predicted = qd_table_column(t, &status, a->gradients ? "predicted_bpb" : "damage",
                                       a->gradients ? "bits/byte" : "", QDISP_COLUMN_F64);
    size_t value = qd_table_column(t, &status, "objective", a->gradients ? "bits/byte" : "", QDISP_COLUMN_F64);
    size_t bound = qd_table_column(t, &status, "bound", a->gradients ? "bits/byte" : "", QDISP_COLUMN_F64);
    size_t n_bytes = qd_table_column(t, &status, "n_bytes", "bytes", QDISP_COLUMN_I64);
    size_t n_fixed = qd_table_column(t, &status, "n_bytes_fixed", "bytes", QDISP_COLUMN_I64);
    size_t bpw = qd_table_column(t, &status, "bits_per_weight", "bits", QDISP_COLUMN_F64);
    double bytes = 0;
    for (size_t i = 0; i < a->n; i++) bytes += a->size[i * a->n_widths + a->chosen[i]];
    for (size_t l = 0; l < a->n_languages; l++) {
        double sum = 0;
        size_t row = qd_table_row(t, &status);
        for (size_t i = 0; i < a->n; i++) sum += a->damage[(i * a->n_widths + a->chosen[i]) * a->n_languages + l];
        qd_table_str(t, &status, row, language, a->calib->languages[l].tag);
        qd_table_f64(t, &status, row, predicted, sum);
        qd_table_f64(t, &status, row, value, s->value);
        qd_table_f64(t, &status, row, bound, s->bound);
        qd_table_i64(t, &status, row, n_bytes, (int64_t)ceil(bytes + a->fixed));
        qd_table_i64(t, &status, row, n_fixed, (int64_t)ceil(a->fixed));
        qd_table_f64(t, &status, row, bpw, 8 * bytes / n_weights);
    }
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}

static qdisp_status allocate(allocator *a, qdisp_table **plan, qdisp_table **summary) {
    qd_objective objective;
    double n_weights = 0, least = 0;
    QD_TRY(check(a));
    QD_TRY(parse_objective(a, &objective));
    QD_TRY(make_costs(a));
    for (size_t i = 0; i < a->n; i++) {
        double smallest = INFINITY;
        for (size_t k = 0; k < a->n_widths; k++) smallest = fmin(smallest, a->size[i * a->n_widths + k]);
        least += smallest;
        n_weights += (double)a->choices[0][i].n_out * (double)a->choices[0][i].n_in;
    }
    double most = a->opt.n_bytes ? (double)a->opt.n_bytes - a->fixed : a->opt.bits_per_weight * n_weights / 8;
    if (least > most && a->opt.n_bytes)
        return qd_fail(a->ctx, QDISP_EINVAL, "size: %llu bytes cannot be met, the least possible is %.0f, of which "
                       "%.0f are tensors that are not quantized", (unsigned long long)a->opt.n_bytes,
                       ceil(least + a->fixed), ceil(a->fixed));
    if (least > most)
        return qd_fail(a->ctx, QDISP_EINVAL, "size: %g bits per weight cannot be met, the least possible is %.4f",
                       a->opt.bits_per_weight, ceil(80000 * least / n_weights) / 10000);
    qd_allocation s = {a->n, a->n_widths, a->n_languages, a->damage, a->size, most, objective, a->opt.share,
                       a->opt.cap, a->chosen, 0, 0};
    QD_TRY(qd_allocate(a->ctx, &s));
    QD_TRY(qd_progress(a->ctx, "allocating", 1));
    qdisp_table *p = NULL;
    QD_TRY(make_plan(a, &p));
    qdisp_status status = summary ? make_summary(a, &s, n_weights, summary) : QDISP_OK;
    if (status == QDISP_OK) *plan = p;
    else qdisp_table_free(p);
    return status;
}

qdisp_status qdisp_quantizer_allocate(const qdisp_quantizer *q, const qdisp_model *model, const qdisp_calib *calib,
                                      const qdisp_allocation_options *options, qdisp_table **plan,
                                      qdisp_table **summary) {
    allocator a = {.q = q, .ctx = q->ctx, .model = model, .calib = calib};
    QD_TRY(qd_copy_options(q->ctx, "allocation options", options, &a.opt, sizeof a.opt));
    qdisp_status status = allocate(&a, plan, summary);
    for (size_t k = 0; k < MOST_WIDTHS; k++) qd_choices_free(q->ctx, a.choices[k], a.n);
    qd_free(q->ctx, a.damage);
    qd_free(q->ctx, a.size);
    qd_free(q->ctx, a.chosen);
    return status;
}
