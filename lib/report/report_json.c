/* report_json.c - a table is {"name", "title", "columns": [{"name", "unit"}], "rows": [{column: value}]}; a report is
 * {"report": name, "tables": {name: table}}. Missing and non-finite values are null, as JSON has no NaN. */
#include "report/report.h"

#include <jansson.h>
#include <math.h>

static json_t *cell_json(const qdisp_table *t, size_t row, size_t col) {
    switch (qdisp_table_column_type(t, col)) {
    case QDISP_COLUMN_F64: {
        double v = qdisp_table_f64(t, col)[row];
        return isfinite(v) ? json_real(v) : json_null();
    }
    case QDISP_COLUMN_I64: {
        int64_t v = qdisp_table_i64(t, col)[row];
        return v == QDISP_MISSING_I64 ? json_null() : json_integer(v);
    }
    default: {
        const char *s = qdisp_table_str(t, col)[row];
        return s ? json_string(s) : json_null();
    }
    }
}

/* NULL when memory is out; jansson's setters take the reference also on failure. */
static json_t *table_json(const qdisp_table *t) {
    size_t n_cols = qdisp_table_n_columns(t), n_rows = qdisp_table_n_rows(t);
    json_t *columns = json_array(), *rows = json_array();
    json_t *object = json_pack("{s:s, s:s, s:o, s:o}", "name", qdisp_table_name(t), "title", qdisp_table_title(t),
                               "columns", columns, "rows", rows);
    if (!object) return NULL;
    int failed = 0;
    for (size_t col = 0; col < n_cols; col++)
        failed |= json_array_append_new(columns, json_pack("{s:s, s:s}", "name", qdisp_table_column_name(t, col),
                                                           "unit", qdisp_table_column_unit(t, col)));
    for (size_t row = 0; row < n_rows && !failed; row++) {
        json_t *values = json_object();
        for (size_t col = 0; col < n_cols; col++)
            failed |= json_object_set_new(values, qdisp_table_column_name(t, col), cell_json(t, row, col));
        failed |= json_array_append_new(rows, values);
    }
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

static int take(const char *bytes, size_t n, void *user) {
    qd_text *out = user;
    qd_text_add(out, bytes, n);
    return out->status == QDISP_OK ? 0 : -1;
}

static void dump(json_t *object, qd_text *out) {
    if (!object || json_dump_callback(object, take, out, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) != 0) {
        if (out->status == QDISP_OK) out->status = qd_fail(out->ctx, QDISP_ENOMEM, "out of memory writing JSON");
    }
    json_decref(object);
    qd_text_str(out, "\n");
}

static void write_table(const qdisp_table *t, qd_text *out) {
    dump(table_json(t), out);
}

static void write_report(const qdisp_report *r, qd_text *out) {
    json_t *tables = json_object();
    json_t *object = json_pack("{s:s, s:o}", "report", qdisp_report_name(r), "tables", tables);
    for (size_t i = 0; object && i < qdisp_report_n_tables(r); i++) {
        const qdisp_table *t = qdisp_report_table(r, i);
        if (json_object_set_new(tables, qdisp_table_name(t), table_json(t)) != 0) {
            json_decref(object);
            object = NULL;
        }
    }
    dump(object, out);
}

const qd_report_format qd_report_json = {"json", write_table, write_report};
