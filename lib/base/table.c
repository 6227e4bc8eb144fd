/* table.c - tables and reports: the result of every analysis. */
#include "base/base.h"

#include <math.h>
#include <string.h>

typedef struct column {
    char *name, *unit;
    qdisp_column_type type;
    void *values; /* double, int64_t or char *, [row_cap] */
} column;

struct qdisp_table {
    qdisp_ctx *ctx;
    char *name, *title;
    column *columns;
    size_t n_columns, column_cap, n_rows, row_cap;
};

static size_t value_size(qdisp_column_type type) {
    return type == QDISP_COLUMN_F64 ? sizeof(double) : type == QDISP_COLUMN_I64 ? sizeof(int64_t) : sizeof(char *);
}

static void set_missing(column *c, size_t row) {
    if (c->type == QDISP_COLUMN_F64) ((double *)c->values)[row] = NAN;
    else if (c->type == QDISP_COLUMN_I64) ((int64_t *)c->values)[row] = QDISP_MISSING_I64;
    else ((char **)c->values)[row] = NULL;
}

qdisp_status qdisp_table_new(qdisp_ctx *ctx, const char *name, const char *title, qdisp_table **out) {
    if (!name || !*name || !title) return qd_fail(ctx, QDISP_EINVAL, "table: a name and a title are needed");
    qdisp_table *t = qd_alloc(ctx, 1, sizeof *t);
    if (!t) return QDISP_ENOMEM;
    t->ctx = qd_ctx_ref(ctx);
    t->name = qd_strdup(ctx, name);
    t->title = t->name ? qd_strdup(ctx, title) : NULL;
    if (!t->title) {
        qdisp_table_free(t);
        return QDISP_ENOMEM;
    }
    *out = t;
    return QDISP_OK;
}

void qdisp_table_free(qdisp_table *t) {
    if (!t) return;
    for (size_t i = 0; i < t->n_columns; i++) {
        column *c = &t->columns[i];
        for (size_t row = 0; c->type == QDISP_COLUMN_STR && row < t->n_rows; row++)
            qd_free(t->ctx, ((char **)c->values)[row]);
        qd_free(t->ctx, c->values);
        qd_free(t->ctx, c->name);
        qd_free(t->ctx, c->unit);
    }
    qd_free(t->ctx, t->columns);
    qd_free(t->ctx, t->name);
    qd_free(t->ctx, t->title);
    qdisp_ctx *ctx = t->ctx;
    qd_free(ctx, t);
    qdisp_ctx_free(ctx);
}

qdisp_status qdisp_table_add_column(qdisp_table *t, const char *name, const char *unit, qdisp_column_type type,
                                    size_t *i_column) {
    if (!name || !*name) return qd_fail(t->ctx, QDISP_EINVAL, "table %s: a column needs a name", t->name);
    if (type < QDISP_COLUMN_F64 || type > QDISP_COLUMN_STR)
        return qd_fail(t->ctx, QDISP_EINVAL, "table %s, column %s: unknown type %d", t->name, name, (int)type);
    if (qdisp_table_find(t, name) != (size_t)-1)
        return qd_fail(t->ctx, QDISP_EINVAL, "table %s: column %s is there already", t->name, name);
    QD_TRY(qd_grow(t->ctx, (void **)&t->columns, &t->column_cap, t->n_columns + 1, sizeof *t->columns));
    column c = {.type = type};
    c.name = qd_strdup(t->ctx, name);
    c.unit = c.name ? qd_strdup(t->ctx, unit ? unit : "") : NULL;
    c.values = c.unit ? qd_alloc(t->ctx, t->row_cap, value_size(type)) : NULL;
    if (!c.values) {
        qd_free(t->ctx, c.name);
        qd_free(t->ctx, c.unit);
        return QDISP_ENOMEM;
    }
    for (size_t row = 0; row < t->n_rows; row++) set_missing(&c, row);
    t->columns[t->n_columns] = c;
    if (i_column) *i_column = t->n_columns;
    t->n_columns++;
    return QDISP_OK;
}

qdisp_status qdisp_table_add_rows(qdisp_table *t, size_t n, size_t *i_row) {
    if (n > SIZE_MAX / 16 - t->n_rows) return qd_fail(t->ctx, QDISP_ENOMEM, "table %s: %zu rows", t->name, n);
    size_t need = t->n_rows + n;
    if (need > t->row_cap) {
        size_t cap = t->row_cap ? t->row_cap : 16;
        while (cap < need) cap *= 2;
        for (size_t i = 0; i < t->n_columns; i++) {
            size_t column_cap = t->row_cap; /* a column that has grown before a failure just has more room */
            QD_TRY(qd_grow(t->ctx, &t->columns[i].values, &column_cap, cap, value_size(t->columns[i].type)));
        }
        t->row_cap = cap;
    }
    for (size_t i = 0; i < t->n_columns; i++)
        for (size_t row = t->n_rows; row < need; row++) set_missing(&t->columns[i], row);
    if (i_row) *i_row = t->n_rows;
    t->n_rows = need;
    return QDISP_OK;
}

static qdisp_status check_cell(qdisp_table *t, size_t row, size_t col, qdisp_column_type type) {
    if (row >= t->n_rows || col >= t->n_columns)
        return qd_fail(t->ctx, QDISP_EINVAL, "table %s: no cell at row %zu, column %zu", t->name, row, col);
    if (t->columns[col].type != type)
        return qd_fail(t->ctx, QDISP_EINVAL, "table %s: column %s has another type", t->name, t->columns[col].name);
    return QDISP_OK;
}

qdisp_status qdisp_table_set_f64(qdisp_table *t, size_t row, size_t col, double value) {
    QD_TRY(check_cell(t, row, col, QDISP_COLUMN_F64));
    ((double *)t->columns[col].values)[row] = value;
    return QDISP_OK;
}

qdisp_status qdisp_table_set_i64(qdisp_table *t, size_t row, size_t col, int64_t value) {
    QD_TRY(check_cell(t, row, col, QDISP_COLUMN_I64));
    ((int64_t *)t->columns[col].values)[row] = value;
    return QDISP_OK;
}

qdisp_status qdisp_table_set_str(qdisp_table *t, size_t row, size_t col, const char *value) {
    QD_TRY(check_cell(t, row, col, QDISP_COLUMN_STR));
    char *copy = value ? qd_strdup(t->ctx, value) : NULL;
    if (value && !copy) return QDISP_ENOMEM;
    char **cell = &((char **)t->columns[col].values)[row];
    qd_free(t->ctx, *cell);
    *cell = copy;
    return QDISP_OK;
}

const char *qdisp_table_name(const qdisp_table *t) {
    return t->name;
}
const char *qdisp_table_title(const qdisp_table *t) {
    return t->title;
}
size_t qdisp_table_n_rows(const qdisp_table *t) {
    return t->n_rows;
}
size_t qdisp_table_n_columns(const qdisp_table *t) {
    return t->n_columns;
}

size_t qdisp_table_find(const qdisp_table *t, const char *name) {
    for (size_t i = 0; i < t->n_columns; i++)
        if (!strcmp(t->columns[i].name, name)) return i;
    return (size_t)-1;
}

const char *qdisp_table_column_name(const qdisp_table *t, size_t i) {
    return i < t->n_columns ? t->columns[i].name : NULL;
}
const char *qdisp_table_column_unit(const qdisp_table *t, size_t i) {
    return i < t->n_columns ? t->columns[i].unit : NULL;
}
qdisp_column_type qdisp_table_column_type(const qdisp_table *t, size_t i) {
    return i < t->n_columns ? t->columns[i].type : (qdisp_column_type)0;
}

static const void *values(const qdisp_table *t, size_t i, qdisp_column_type type) {
    return i < t->n_columns && t->columns[i].type == type ? t->columns[i].values : NULL;
}
const double *qdisp_table_f64(const qdisp_table *t, size_t i) {
    return values(t, i, QDISP_COLUMN_F64);
}
const int64_t *qdisp_table_i64(const qdisp_table *t, size_t i) {
    return values(t, i, QDISP_COLUMN_I64);
}
const char *const *qdisp_table_str(const qdisp_table *t, size_t i) {
    return values(t, i, QDISP_COLUMN_STR);
}

qdisp_ctx *qd_table_ctx(const qdisp_table *t) {
    return t->ctx;
}

size_t qd_table_column(qdisp_table *t, qdisp_status *status, const char *name, const char *unit,
                       qdisp_column_type type) {
    size_t i = 0;
    if (*status == QDISP_OK) *status = qdisp_table_add_column(t, name, unit, type, &i);
    return i;
}
size_t qd_table_row(qdisp_table *t, qdisp_status *status) {
    size_t i = 0;
    if (*status == QDISP_OK) *status = qdisp_table_add_rows(t, 1, &i);
    return i;
}
void qd_table_f64(qdisp_table *t, qdisp_status *status, size_t row, size_t col, double v) {
    if (*status == QDISP_OK) *status = qdisp_table_set_f64(t, row, col, v);
}
void qd_table_i64(qdisp_table *t, qdisp_status *status, size_t row, size_t col, int64_t v) {
    if (*status == QDISP_OK) *status = qdisp_table_set_i64(t, row, col, v);
}
void qd_table_str(qdisp_table *t, qdisp_status *status, size_t row, size_t col, const char *v) {
    if (*status == QDISP_OK) *status = qdisp_table_set_str(t, row, col, v);
}

struct qdisp_report {
    qdisp_ctx *ctx;
    char *name;
    qdisp_table **tables;
    size_t n_tables, cap;
};

qdisp_status qdisp_report_new(qdisp_ctx *ctx, const char *name, qdisp_report **out) {
    qdisp_report *r = qd_alloc(ctx, 1, sizeof *r);
    if (!r) return QDISP_ENOMEM;
    r->ctx = qd_ctx_ref(ctx);
    r->name = qd_strdup(ctx, name);
    if (!r->name) {
        qdisp_report_free(r);
        return QDISP_ENOMEM;
    }
    *out = r;
    return QDISP_OK;
}

void qdisp_report_free(qdisp_report *r) {
    if (!r) return;
    for (size_t i = 0; i < r->n_tables; i++) qdisp_table_free(r->tables[i]);
    qd_free(r->ctx, r->tables);
    qd_free(r->ctx, r->name);
    qdisp_ctx *ctx = r->ctx;
    qd_free(ctx, r);
    qdisp_ctx_free(ctx);
}

qdisp_status qdisp_report_add(qdisp_report *r, qdisp_table *table) {
    qdisp_status status = QDISP_OK;
    if (!table) return qd_fail(r->ctx, QDISP_EINVAL, "report %s: no table given", r->name);
    if (qdisp_report_find(r, table->name))
        status = qd_fail(r->ctx, QDISP_EINVAL, "report %s: table %s is there already", r->name, table->name);
    if (status == QDISP_OK)
        status = qd_grow(r->ctx, (void **)&r->tables, &r->cap, r->n_tables + 1, sizeof *r->tables);
    if (status == QDISP_OK) r->tables[r->n_tables++] = table;
    else qdisp_table_free(table);
    return status;
}

const char *qdisp_report_name(const qdisp_report *r) {
    return r->name;
}
size_t qdisp_report_n_tables(const qdisp_report *r) {
    return r->n_tables;
}
const qdisp_table *qdisp_report_table(const qdisp_report *r, size_t i) {
    return i < r->n_tables ? r->tables[i] : NULL;
}
const qdisp_table *qdisp_report_find(const qdisp_report *r, const char *name) {
    for (size_t i = 0; i < r->n_tables; i++)
        if (!strcmp(r->tables[i]->name, name)) return r->tables[i];
    return NULL;
}

qdisp_ctx *qd_report_ctx(const qdisp_report *r) {
    return r->ctx;
}
