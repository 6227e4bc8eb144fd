/* census.c - the shape of every weight tensor: one pass for rows and tallies, merged into parts and tensors. */
#include "stats/census.h"
#include "stats/stats.h"

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

/* Tensors, of a model or (model NULL) of a file alone, which says nothing of their roles. */
typedef struct source {
    qdisp_ctx *ctx;
    const qdisp_model *model;
    const qdisp_tensor *tensors;
    size_t n_tensors;
    const qd_tensor_file *file;
} source;

typedef struct census {
    source from;
    qdisp_table *table;
    qd_pass *pass;
    size_t tensor, role, layer, expert, n, n_non_finite, mean, std, kurtosis, l_kurtosis, max_over_std, hill_index,
        outlier_energy, row_kurtosis_max, class;
} census;

static qdisp_status census_columns(census *c) {
    QD_TRY(qdisp_table_new(c->from.ctx, "census", "Census of the weights (excess kurtosis, population moments)",
                           &c->table));
    qdisp_status status = QDISP_OK;
    qdisp_table *t = c->table;
    c->tensor = qd_table_column(t, &status, "tensor", "", QDISP_COLUMN_STR);
    c->role = qd_table_column(t, &status, "role", "", QDISP_COLUMN_STR);
    c->layer = qd_table_column(t, &status, "layer", "", QDISP_COLUMN_I64);
    c->expert = qd_table_column(t, &status, "expert", "", QDISP_COLUMN_I64);
    c->n = qd_table_column(t, &status, "n", "weights", QDISP_COLUMN_I64);
    c->n_non_finite = qd_table_column(t, &status, "n_non_finite", "weights", QDISP_COLUMN_I64);
    c->mean = qd_table_column(t, &status, "mean", "", QDISP_COLUMN_F64);
    c->std = qd_table_column(t, &status, "std", "", QDISP_COLUMN_F64);
    c->kurtosis = qd_table_column(t, &status, "kurtosis", "", QDISP_COLUMN_F64);
    c->l_kurtosis = qd_table_column(t, &status, "l_kurtosis", "", QDISP_COLUMN_F64);
    c->max_over_std = qd_table_column(t, &status, "max_over_std", "", QDISP_COLUMN_F64);
    c->hill_index = qd_table_column(t, &status, "hill_index", "", QDISP_COLUMN_F64);
    c->outlier_energy = qd_table_column(t, &status, "outlier_energy", "", QDISP_COLUMN_F64);
    c->row_kurtosis_max = qd_table_column(t, &status, "row_kurtosis_max", "", QDISP_COLUMN_F64);
    c->class = qd_table_column(t, &status, "class", "", QDISP_COLUMN_STR);
    return status;
}

/* A tensor, or a part of one. */
typedef struct subject {
    const char *name, *role;
    int layer, expert;
    const qdisp_moments *rows; /* of the tensor */
    qd_part part;
} subject;

/* Moments of all rows of a part, in order, and the largest kurtosis of a row (NaN: none has one). */
static qdisp_moments part_moments(const subject *s, double *row_kurtosis_max) {
    qdisp_moments all = qd_moments_none();
    *row_kurtosis_max = NAN;
    for (size_t run = 0; run < s->part.n_runs; run++) {
        for (size_t r = 0; r < s->part.run_rows; r++) {
            const qdisp_moments *m = &s->rows[s->part.first + run * s->part.stride + r];
            double kurtosis = qdisp_moments_kurtosis(m);
            qdisp_moments_merge(&all, m);
            if (!isnan(kurtosis) && !(*row_kurtosis_max >= kurtosis)) *row_kurtosis_max = kurtosis;
        }
    }
    return all;
}

static qdisp_status census_row(census *c, const subject *s, const qd_tally *tally) {
    qdisp_status status = QDISP_OK;
    qdisp_shape shape;
    double row_max;
    qdisp_moments all = part_moments(s, &row_max);
    double kurtosis = qdisp_moments_kurtosis(&all);
    QD_TRY(qd_shape_make(c->from.ctx, tally, &all, &shape));
    size_t row = qd_table_row(c->table, &status);
    qd_table_str(c->table, &status, row, c->tensor, s->name);
    qd_table_str(c->table, &status, row, c->role, s->role);
    qd_table_i64(c->table, &status, row, c->layer, s->layer < 0 ? QDISP_MISSING_I64 : s->layer);
    qd_table_i64(c->table, &status, row, c->expert, s->expert < 0 ? QDISP_MISSING_I64 : s->expert);
    qd_table_i64(c->table, &status, row, c->n, (int64_t)(all.n + all.n_non_finite));
    qd_table_i64(c->table, &status, row, c->n_non_finite, (int64_t)all.n_non_finite);
    qd_table_f64(c->table, &status, row, c->mean, all.mean);
    qd_table_f64(c->table, &status, row, c->std, qdisp_moments_std(&all));
    qd_table_f64(c->table, &status, row, c->kurtosis, kurtosis);
    qd_table_f64(c->table, &status, row, c->l_kurtosis, shape.t4);
    qd_table_f64(c->table, &status, row, c->max_over_std, shape.max_over_std);
    qd_table_f64(c->table, &status, row, c->hill_index, shape.hill_index);
    qd_table_f64(c->table, &status, row, c->outlier_energy, shape.outlier_energy);
    qd_table_f64(c->table, &status, row, c->row_kurtosis_max, row_max);
    qd_table_str(c->table, &status, row, c->class, class_name(kurtosis));
    return status;
}

static size_t n_parts_of(const source *from, size_t i_tensor) {
    return from->model ? qd_model_n_parts(from->model, i_tensor) : 1;
}

/* The whole tensor's tally is the sum of those of its parts, added into that of part 0 once that has been used. */
static qdisp_status census_rows(census *c, size_t i_tensor, const qdisp_moments *rows, size_t n_rows, qd_tally *sum) {
    const qdisp_model *model = c->from.model;
    size_t n_parts = n_parts_of(&c->from, i_tensor);
    subject s = {.name = c->from.tensors[i_tensor].name, .layer = -1, .expert = -1, .rows = rows,
                 .part = {.name = "", .run_rows = n_rows, .n_runs = 1}};
    if (model) {
        s.role = qdisp_model_role(model, i_tensor);
        s.layer = model->layers[i_tensor];
        s.expert = model->experts[i_tensor];
    }
    if (n_parts < 2) return census_row(c, &s, qd_pass_tally(c->pass, 0));
    *sum = *qd_pass_tally(c->pass, 0);
    for (size_t i = 1; i < n_parts; i++) qd_tally_add(sum, qd_pass_tally(c->pass, i));
    QD_TRY(census_row(c, &s, sum));
    for (size_t i = 0; i < n_parts; i++) {
        s.part = qd_model_part(model, i_tensor, i);
        s.role = s.part.role;
        QD_TRY(census_row(c, &s, qd_pass_tally(c->pass, i)));
    }
    return QDISP_OK;
}

/* The part that each row belongs to. */
static void mark_parts(const qdisp_model *model, size_t i_tensor, uint8_t *sets) {
    for (size_t i = 0; i < qd_model_n_parts(model, i_tensor); i++) {
        qd_part part = qd_model_part(model, i_tensor, i);
        for (size_t run = 0; run < part.n_runs; run++)
            memset(sets + part.first + run * part.stride, (int)i, part.run_rows);
    }
}

/* Rows shorter than this in a file of unknown tensors are no outputs of anything, and their moments might take more
 * memory than the file: all of the tensor is one row. */
#define SHORTEST_ROW 16

static qd_array array_of(const source *from, size_t i_tensor) {
    const qdisp_tensor *t = &from->tensors[i_tensor];
    size_t n_rows = (size_t)t->shape[0];
    if (!from->model && qd_tensor_n_elements(t) / n_rows < SHORTEST_ROW) n_rows = 1;
    return qd_array_of(t, n_rows, from->file);
}

static bool is_weight(const qdisp_tensor *t) {
    return t->n_dims >= 2 && qd_tensor_n_elements(t) > 0 && qd_tensor_is_float(t);
}

static qdisp_status census_tensor(census *c, size_t i_tensor, qd_tally *sum) {
    if (!is_weight(&c->from.tensors[i_tensor])) return QDISP_OK;
    qdisp_ctx *ctx = c->from.ctx;
    qd_array array = array_of(&c->from, i_tensor);
    qdisp_moments *rows = qd_alloc(ctx, array.n_rows, sizeof *rows);
    uint8_t *sets = qd_alloc(ctx, array.n_rows, 1);
    qdisp_status status = rows && sets ? QDISP_OK : QDISP_ENOMEM;
    if (status == QDISP_OK) {
        if (c->from.model) mark_parts(c->from.model, i_tensor, sets);
        status = qd_pass_run(c->pass, &array, sets, rows);
    }
    if (status == QDISP_OK) status = census_rows(c, i_tensor, rows, array.n_rows, sum);
    qd_free(ctx, rows);
    qd_free(ctx, sets);
    return status;
}

static qdisp_status take_census(const source *from, qdisp_table **out) {
    census c = {.from = *from};
    qd_tally *sum = NULL;
    size_t n_sets = 1;
    for (size_t i = 0; i < from->n_tensors; i++) {
        size_t n_parts = n_parts_of(from, i);
        n_sets = n_parts > n_sets ? n_parts : n_sets;
    }
    qdisp_status status = census_columns(&c);
    if (status == QDISP_OK) status = qd_pass_new(from->ctx, n_sets, &c.pass);
    if (status == QDISP_OK && !(sum = qd_alloc(from->ctx, 1, sizeof *sum))) status = QDISP_ENOMEM;
    for (size_t i = 0; i < from->n_tensors && status == QDISP_OK; i++) {
        status = qd_progress(from->ctx, "census", (double)i / (double)from->n_tensors);
        if (status == QDISP_OK) status = census_tensor(&c, i, sum);
    }
    if (status == QDISP_OK) status = qd_progress(from->ctx, "census", 1);
    qd_free(from->ctx, sum);
    qd_pass_free(c.pass);
    if (status == QDISP_OK) *out = c.table;
    else qdisp_table_free(c.table);
    return status;
}

static source source_of(const qdisp_model *model) {
    return (source){model->ctx, model, model->tensors, model->n_tensors, model->file};
}

qdisp_status qdisp_census(const qdisp_model *model, qdisp_table **out) {
    source from = source_of(model);
    return take_census(&from, out);
}

qdisp_status qdisp_census_weights(qdisp_ctx *ctx, const char *path, qdisp_table **out) {
    qd_tensor_file *file = NULL;
    if (!ctx) return QDISP_EINVAL;
    if (!path || !out) return qd_fail(ctx, QDISP_EINVAL, "census: no path or no place for the result");
    QD_TRY(qd_weights_open(ctx, path, &file));
    source from = {ctx, NULL, file->tensors, file->n_tensors, file};
    qdisp_status status = take_census(&from, out);
    qd_tensor_file_free(file);
    return status;
}

/* The largest kurtosis of a tensor and, if it has some, of its parts; as the census has them. NaN: none. */
static qdisp_status highest_kurtosis(const qdisp_model *model, qd_pass *pass, size_t i_tensor, double *out) {
    source from = source_of(model);
    qd_array array = array_of(&from, i_tensor);
    size_t n_parts = qd_model_n_parts(model, i_tensor);
    qdisp_moments *rows = qd_alloc(model->ctx, array.n_rows, sizeof *rows);
    qdisp_status status = rows ? qd_pass_run(pass, &array, NULL, rows) : QDISP_ENOMEM;
    *out = NAN;
    for (size_t i = 0; i <= (n_parts > 1 ? n_parts : 0) && status == QDISP_OK; i++) {
        subject s = {.rows = rows, .part = {.name = "", .run_rows = array.n_rows, .n_runs = 1}};
        double row_max;
        if (i > 0) s.part = qd_model_part(model, i_tensor, i - 1);
        qdisp_moments all = part_moments(&s, &row_max);
        double kurtosis = qdisp_moments_kurtosis(&all);
        if (!(*out >= kurtosis)) *out = kurtosis;
    }
    qd_free(model->ctx, rows);
    return status;
}

qdisp_status qd_outlier_layers(const qdisp_model *model, bool *is_outlier) {
    size_t n_layer = model->info.n_layer, n_outlier = n_layer / 4 > 0 ? n_layer / 4 : 1;
    double *highest = qd_alloc(model->ctx, n_layer, sizeof *highest);
    qd_pass *pass = NULL;
    qdisp_status status = highest ? qd_pass_new(model->ctx, 0, &pass) : QDISP_ENOMEM;
    for (size_t i = 0; i < n_layer && status == QDISP_OK; i++) highest[i] = -INFINITY, is_outlier[i] = false;
    for (size_t i = 0; i < model->n_tensors && status == QDISP_OK; i++) {
        double kurtosis;
        int layer = model->layers[i];
        if (layer < 0 || !is_weight(&model->tensors[i])) continue;
        status = highest_kurtosis(model, pass, i, &kurtosis);
        if (kurtosis > highest[layer]) highest[layer] = kurtosis;
    }
    for (size_t k = 0; k < n_outlier && status == QDISP_OK; k++) {
        size_t best = (size_t)-1;
        for (size_t i = 0; i < n_layer; i++)
            if (!is_outlier[i] && (best == (size_t)-1 || highest[i] > highest[best])) best = i;
        if (best != (size_t)-1) is_outlier[best] = true;
    }
    qd_pass_free(pass);
    qd_free(model->ctx, highest);
    return status;
}
