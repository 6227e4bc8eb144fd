/* census.c - the shape of every weight tensor: one pass for the rows, merged into parts and tensors. */
#include "stats/census.h"

#include <qdisp/stats.h>

#include <math.h>
#include <string.h>

/* Classes of the research record's kurtosis census (EXP-020). */
static const struct {
    double above;
    const char *name;
} classes[] = {{50, "heavy"}, {15, "moderate"}, {5, "mild"}, {-INFINITY, "gaussian"}};

static const char *class_name(double kurtosis) {
    if (isnan(kurtosis)) return NULL;
    size_t i = 0;
    while (!(kurtosis > classes[i].above)) i++;
    return classes[i].name;
}

typedef struct census {
    qdisp_table *table;
    size_t tensor, role, layer, n, n_non_finite, mean, std, kurtosis, max_over_std, row_kurtosis_max, class;
} census;

static qdisp_status census_columns(qdisp_ctx *ctx, census *c) {
    QD_TRY(qdisp_table_new(ctx, "census", "Census of the weights (excess kurtosis, population moments)", &c->table));
    qdisp_status status = QDISP_OK;
    qdisp_table *t = c->table;
    c->tensor = qd_table_column(t, &status, "tensor", "", QDISP_COLUMN_STR);
    c->role = qd_table_column(t, &status, "role", "", QDISP_COLUMN_STR);
    c->layer = qd_table_column(t, &status, "layer", "", QDISP_COLUMN_I64);
    c->n = qd_table_column(t, &status, "n", "weights", QDISP_COLUMN_I64);
    c->n_non_finite = qd_table_column(t, &status, "n_non_finite", "weights", QDISP_COLUMN_I64);
    c->mean = qd_table_column(t, &status, "mean", "", QDISP_COLUMN_F64);
    c->std = qd_table_column(t, &status, "std", "", QDISP_COLUMN_F64);
    c->kurtosis = qd_table_column(t, &status, "kurtosis", "", QDISP_COLUMN_F64);
    c->max_over_std = qd_table_column(t, &status, "max_over_std", "", QDISP_COLUMN_F64);
    c->row_kurtosis_max = qd_table_column(t, &status, "row_kurtosis_max", "", QDISP_COLUMN_F64);
    c->class = qd_table_column(t, &status, "class", "", QDISP_COLUMN_STR);
    return status;
}

/* Adds the row for the rows of a part. */
static qdisp_status census_row(census *c, const qdisp_model *model, size_t i_tensor, const char *role,
                               const qdisp_moments *rows, const qd_part *part) {
    qdisp_status status = QDISP_OK;
    qdisp_moments all = {.mean = NAN, .min = INFINITY, .max = -INFINITY};
    double row_max = NAN;
    for (size_t run = 0; run < part->n_runs; run++)
        for (size_t r = 0; r < part->run_rows; r++) {
            const qdisp_moments *m = &rows[part->first + run * part->stride + r];
            double kurtosis = qdisp_moments_kurtosis(m);
            qdisp_moments_merge(&all, m);
            if (!isnan(kurtosis) && !(row_max >= kurtosis)) row_max = kurtosis;
        }
    double kurtosis = qdisp_moments_kurtosis(&all), std = qdisp_moments_std(&all);
    double reach = fmax(all.max - all.mean, all.mean - all.min);
    size_t row = qd_table_row(c->table, &status);
    qd_table_str(c->table, &status, row, c->tensor, model->tensors[i_tensor].name);
    qd_table_str(c->table, &status, row, c->role, role);
    qd_table_i64(c->table, &status, row, c->layer,
                 model->layers[i_tensor] < 0 ? QDISP_MISSING_I64 : model->layers[i_tensor]);
    qd_table_i64(c->table, &status, row, c->n, (int64_t)(all.n + all.n_non_finite));
    qd_table_i64(c->table, &status, row, c->n_non_finite, (int64_t)all.n_non_finite);
    qd_table_f64(c->table, &status, row, c->mean, all.mean);
    qd_table_f64(c->table, &status, row, c->std, std);
    qd_table_f64(c->table, &status, row, c->kurtosis, kurtosis);
    qd_table_f64(c->table, &status, row, c->max_over_std, std > 0 ? reach / std : NAN);
    qd_table_f64(c->table, &status, row, c->row_kurtosis_max, row_max);
    qd_table_str(c->table, &status, row, c->class, class_name(kurtosis));
    return status;
}

static qdisp_status census_tensor(census *c, const qdisp_model *model, size_t i_tensor) {
    const qdisp_tensor *t = &model->tensors[i_tensor];
    const char *role = qdisp_model_role(model, i_tensor);
    size_t n_all = (size_t)qd_tensor_n_elements(t), n_rows = (size_t)t->shape[0], n_parts;
    if (t->n_dims < 2 || n_all == 0) return QDISP_OK;
    qdisp_moments *rows = qd_alloc(model->ctx, n_rows, sizeof *rows);
    if (!rows) return QDISP_ENOMEM;
    qd_part whole = {.name = "", .run_rows = n_rows, .n_runs = 1};
    qdisp_status status =
        qdisp_moments_rows(model->ctx, t->data, (qdisp_dtype)t->dtype, n_rows, n_all / n_rows, rows);
    if (status == QDISP_OK) status = census_row(c, model, i_tensor, role, rows, &whole);
    n_parts = qd_model_n_parts(model, i_tensor);
    for (size_t i = 0; n_parts > 1 && i < n_parts && status == QDISP_OK; i++) {
        qd_part part = qd_model_part(model, i_tensor, i);
        char part_role[32] = "attn.";
        strncat(part_role, part.name, sizeof part_role - 6);
        status = census_row(c, model, i_tensor, part_role, rows, &part);
    }
    qd_free(model->ctx, rows);
    return status;
}

qdisp_status qdisp_census(const qdisp_model *model, qdisp_table **out) {
    census c = {0};
    qdisp_status status = census_columns(model->ctx, &c);
    for (size_t i = 0; i < model->n_tensors && status == QDISP_OK; i++) {
        status = qd_progress(model->ctx, "census", (double)i / (double)model->n_tensors);
        if (status == QDISP_OK) status = census_tensor(&c, model, i);
    }
    if (status == QDISP_OK) status = qd_progress(model->ctx, "census", 1);
    if (status == QDISP_OK) *out = c.table;
    else qdisp_table_free(c.table);
    return status;
}

qdisp_status qd_outlier_layers(const qdisp_model *model, bool *is_outlier) {
    size_t n_layer = model->info.n_layer, n_outlier = n_layer / 4 > 0 ? n_layer / 4 : 1;
    qdisp_table *t;
    double *highest = qd_alloc(model->ctx, n_layer, sizeof *highest);
    if (!highest) return QDISP_ENOMEM;
    qdisp_status status = qdisp_census(model, &t);
    if (status != QDISP_OK) {
        qd_free(model->ctx, highest);
        return status;
    }
    const int64_t *layer = qdisp_table_i64(t, qdisp_table_find(t, "layer"));
    const double *kurtosis = qdisp_table_f64(t, qdisp_table_find(t, "kurtosis"));
    for (size_t i = 0; i < n_layer; i++) highest[i] = -INFINITY, is_outlier[i] = false;
    for (size_t row = 0; row < qdisp_table_n_rows(t); row++)
        if (layer[row] != QDISP_MISSING_I64 && kurtosis[row] > highest[layer[row]]) highest[layer[row]] = kurtosis[row];
    for (size_t k = 0; k < n_outlier; k++) {
        size_t best = (size_t)-1;
        for (size_t i = 0; i < n_layer; i++)
            if (!is_outlier[i] && (best == (size_t)-1 || highest[i] > highest[best])) best = i;
        if (best != (size_t)-1) is_outlier[best] = true;
    }
    qdisp_table_free(t);
    qd_free(model->ctx, highest);
    return QDISP_OK;
}
