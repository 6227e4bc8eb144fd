/* plan.c - the plan as a table, out and in. It is the seam between choosing and quantizing, and the place where bits
 * become firm: thresholds come from it and from the weights alone. */
#include "quant/quant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A character a unit, or one if all are the same. */
static void set_codes(qdisp_table *t, qdisp_status *status, size_t row, size_t col, const uint8_t *codes, size_t n) {
    char *text = qd_alloc(qd_table_ctx(t), n + 1, 1);
    if (!text) {
        *status = QDISP_ENOMEM;
        return;
    }
    bool same = true;
    for (size_t u = 0; u < n; u++) {
        text[u] = QD_CLIP_CODES[codes[u]];
        same = same && codes[u] == codes[0];
    }
    if (same) text[1] = 0;
    qd_table_str(t, status, row, col, text);
    qd_free(qd_table_ctx(t), text);
}

qdisp_status qd_plan_make(const qdisp_quantizer *q, const qdisp_model *model, const qd_choice *choices, size_t n,
                          qdisp_table **out) {
    qdisp_table *t;
    QD_TRY(qdisp_table_new(q->ctx, "plan", "Plan: how each tensor is quantized", &t));
    qdisp_status status = QDISP_OK;
    size_t tensor = qd_table_column(t, &status, "tensor", "", QDISP_COLUMN_STR);
    size_t role = qd_table_column(t, &status, "role", "", QDISP_COLUMN_STR);
    size_t layer = qd_table_column(t, &status, "layer", "", QDISP_COLUMN_I64);
    size_t method = qd_table_column(t, &status, "method", "", QDISP_COLUMN_STR);
    size_t bits = qd_table_column(t, &status, "bits", "bits", QDISP_COLUMN_I64);
    size_t group_size = qd_table_column(t, &status, "group_size", "weights", QDISP_COLUMN_I64);
    size_t levels = qd_table_column(t, &status, "levels", "", QDISP_COLUMN_STR);
    size_t alpha = qd_table_column(t, &status, "alpha", "", QDISP_COLUMN_F64);
    size_t clip = qd_table_column(t, &status, "clip", "", QDISP_COLUMN_STR);
    size_t gain = qd_table_column(t, &status, "gain", "", QDISP_COLUMN_STR);
    size_t n_weights = qd_table_column(t, &status, "n_weights", "", QDISP_COLUMN_I64);
    size_t bpw = qd_table_column(t, &status, "bits_per_weight", "bits", QDISP_COLUMN_F64);
    size_t error = qd_table_column(t, &status, "error_rel", "", QDISP_COLUMN_F64);
    size_t error_model = qd_table_column(t, &status, "error_rel_model", "", QDISP_COLUMN_F64);
    size_t note = qd_table_column(t, &status, "note", "", QDISP_COLUMN_STR);
    for (size_t i = 0; i < n && status == QDISP_OK; i++) {
        const qd_choice *c = &choices[i];
        size_t row = qd_table_row(t, &status), n_all = c->n_out * c->n_in;
        qd_table_str(t, &status, row, tensor, model->tensors[c->i_tensor].name);
        qd_table_str(t, &status, row, role, qdisp_model_role(model, c->i_tensor));
        qd_table_i64(t, &status, row, layer, model->layers[c->i_tensor]);
        qd_table_str(t, &status, row, method, q->method->name);
        qd_table_i64(t, &status, row, bits, c->bits);
        qd_table_i64(t, &status, row, group_size, c->group_size);
        qd_table_str(t, &status, row, levels, c->full_range ? "full" : "narrow");
        qd_table_i64(t, &status, row, n_weights, (int64_t)n_all);
        qd_table_f64(t, &status, row, bpw, c->bits + 16.0 * (double)c->n_units / (double)n_all);
        qd_table_f64(t, &status, row, error, c->error_rel);
        qd_table_f64(t, &status, row, error_model, c->error_rel_model);
        if (*c->note) qd_table_str(t, &status, row, note, c->note);
        if (c->units_per_row == 0) qd_table_f64(t, &status, row, alpha, (double)c->alpha);
        else set_codes(t, &status, row, clip, c->clips, c->n_units);
        set_codes(t, &status, row, gain, c->gains, c->n_units);
    }
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}

/* Columns of a plan from outside: any type that holds the value will do, as a file tells numbers from text by looks. */
typedef struct plan_columns {
    const qdisp_table *plan;
    size_t tensor, bits, group_size, levels, alpha, clip;
    size_t gain; /* (size_t)-1: no such column */
} plan_columns;

static double number_at(const qdisp_table *t, size_t col, size_t row) {
    if (qdisp_table_f64(t, col)) return qdisp_table_f64(t, col)[row];
    if (qdisp_table_i64(t, col)) {
        int64_t v = qdisp_table_i64(t, col)[row];
        return v == QDISP_MISSING_I64 ? NAN : (double)v;
    }
    const char *s = qdisp_table_str(t, col)[row];
    return s ? INFINITY : NAN; /* text where a number belongs is out of every range */
}

static const char *text_at(const qdisp_table *t, size_t col, size_t row) {
    return qdisp_table_str(t, col) ? qdisp_table_str(t, col)[row] : NULL;
}

static qdisp_status find_columns(qdisp_ctx *ctx, const qdisp_table *plan, plan_columns *c) {
    c->plan = plan;
    const struct {
        const char *name;
        size_t *out;
    } needed[] = {{"tensor", &c->tensor}, {"bits", &c->bits},   {"group_size", &c->group_size},
                  {"levels", &c->levels}, {"alpha", &c->alpha}, {"clip", &c->clip}};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if ((*needed[i].out = qdisp_table_find(plan, needed[i].name)) == (size_t)-1)
            return qd_fail(ctx, QDISP_EINVAL, "plan: no column '%s'", needed[i].name);
    c->gain = qdisp_table_find(plan, "gain");
    return QDISP_OK;
}

static qdisp_status parse_codes(qdisp_ctx *ctx, const char *what, const char *text, size_t row, size_t n_units,
                                uint8_t *codes) {
    size_t n = text ? strlen(text) : 0;
    if (n != 1 && n != n_units)
        return qd_fail(ctx, QDISP_EMISMATCH, "plan row %zu: %s has %zu characters, the tensor %zu groups", row + 1,
                       what, n, n_units);
    for (size_t u = 0; u < n_units; u++) {
        const char *at = strchr(QD_CLIP_CODES, text[n == 1 ? 0 : u]);
        if (!at || !*at)
            return qd_fail(ctx, QDISP_EINVAL, "plan row %zu: %s character %zu is not one of A-Z a-z 0-9 - _", row + 1,
                           what, u + 1);
        codes[u] = (uint8_t)(at - QD_CLIP_CODES);
    }
    return QDISP_OK;
}

/* Row of a plan to a choice; clips and gains are allocated, also on failure. */
static qdisp_status parse_row(const plan_columns *p, size_t row, const qdisp_model *model, qd_choice *c) {
    qdisp_ctx *ctx = model->ctx;
    const char *name = text_at(p->plan, p->tensor, row), *levels = text_at(p->plan, p->levels, row);
    double bits = number_at(p->plan, p->bits, row), group_size = number_at(p->plan, p->group_size, row);
    double alpha = number_at(p->plan, p->alpha, row);
    size_t i = 0;
    while (i < model->n_linears && (!name || strcmp(model->tensors[model->linears[i].i_weight].name, name))) i++;
    if (i == model->n_linears)
        return qd_fail(ctx, QDISP_EMISMATCH, "plan row %zu: the model has no linear map '%s'", row + 1,
                       name ? name : "");
    if (!(bits >= 2 && bits <= 8) || bits != rint(bits))
        return qd_fail(ctx, QDISP_EINVAL, "plan row %zu: bits is not 2..8", row + 1);
    if (group_size != rint(group_size) || !(group_size == -2 || group_size == -1 || group_size >= 8) ||
        group_size > 1e9)
        return qd_fail(ctx, QDISP_EINVAL, "plan row %zu: group_size is not 8 or more, -1 (channel) or -2 (tensor)",
                       row + 1);
    if (!levels || (strcmp(levels, "narrow") && strcmp(levels, "full")))
        return qd_fail(ctx, QDISP_EINVAL, "plan row %zu: levels is not narrow or full", row + 1);
    const qd_linear *linear = &model->linears[i];
    const qdisp_tensor *t = &model->tensors[linear->i_weight];
    *c = (qd_choice){.name = t->name, .data = t->data, .dtype = (qdisp_dtype)t->dtype,
                     .i_tensor = linear->i_weight, .i_linear = i, .n_out = linear->n_out, .n_in = linear->n_in,
                     .bits = (int)bits, .full_range = !strcmp(levels, "full"), .group_size = (int64_t)group_size,
                     .alpha = (float)alpha};
    c->n_units = qd_unit_count(c->n_out, c->n_in, c->group_size, &c->units_per_row);
    const char *gain = p->gain != (size_t)-1 ? text_at(p->plan, p->gain, row) : NULL;
    c->clips = qd_alloc(ctx, c->n_units, 1);
    c->gains = qd_alloc(ctx, c->n_units, 1);
    if (!c->clips || !c->gains) return QDISP_ENOMEM;
    if (gain) QD_TRY(parse_codes(ctx, "gain", gain, row, c->n_units, c->gains));
    if (c->units_per_row)
        return parse_codes(ctx, "clip", text_at(p->plan, p->clip, row), row, c->n_units, c->clips);
    if (!(alpha >= 0 && isfinite(alpha)))
        return qd_fail(ctx, QDISP_EINVAL, "plan row %zu: alpha is not a number of 0 or more", row + 1);
    return QDISP_OK;
}

typedef struct apply_job {
    const qdisp_model *model;
    qd_choice *choices;
    float **data;
} apply_job;

static qdisp_status apply_one(void *arg, size_t i, unsigned i_worker) {
    apply_job *job = arg;
    qd_choice *c = &job->choices[i];
    (void)i_worker;
    float *out = job->data[i] = qd_alloc_aligned(job->model->ctx, c->n_out * c->n_in, sizeof *out);
    if (!out) return QDISP_ENOMEM;
    const float *w = qd_choice_weights(job->model->ctx, c, out); /* widened in place, then quantized in place */
    for (size_t row = 0; row < c->n_out; row++)
        QD_TRY(qd_quantize_row(job->model->ctx, c, row, w + row * c->n_in, out + row * c->n_in));
    return QDISP_OK;
}

static qdisp_status check_distinct(qdisp_ctx *ctx, const qd_choice *choices, size_t n) {
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (choices[i].i_tensor == choices[k].i_tensor)
                return qd_fail(ctx, QDISP_EINVAL, "plan rows %zu and %zu name the same tensor", k + 1, i + 1);
    return QDISP_OK;
}

qdisp_status qdisp_plan_apply(const qdisp_table *plan, const qdisp_model *model, qdisp_model **out) {
    qdisp_ctx *ctx = model->ctx;
    plan_columns p;
    QD_TRY(find_columns(ctx, plan, &p));
    size_t n = qdisp_table_n_rows(plan);
    qd_choice *choices = qd_alloc(ctx, n, sizeof *choices);
    float **data = qd_alloc(ctx, n, sizeof *data);
    size_t *i_tensors = qd_alloc(ctx, n, sizeof *i_tensors);
    qdisp_status status = choices && data && i_tensors ? QDISP_OK : QDISP_ENOMEM;
    for (size_t i = 0; i < n && status == QDISP_OK; i++) {
        status = parse_row(&p, i, model, &choices[i]);
        i_tensors[i] = choices[i].i_tensor;
    }
    if (status == QDISP_OK) status = check_distinct(ctx, choices, n);
    apply_job job = {model, choices, data};
    if (status == QDISP_OK) status = qd_parallel(ctx, n, apply_one, &job);
    if (status == QDISP_OK) status = qd_model_with_tensors(model, i_tensors, data, n, out);
    for (size_t i = 0; status != QDISP_OK && data && i < n; i++) qd_free_aligned(ctx, data[i]);
    qd_choices_free(ctx, choices, choices ? n : 0);
    qd_free(ctx, data);
    qd_free(ctx, i_tensors);
    return status;
}
