/* qdisp/table.h - the result of every analysis: named columns, each with a unit; and reports,
 * which are ordered lists of tables. */
#ifndef QDISP_TABLE_H
#define QDISP_TABLE_H

#include <qdisp/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct qdisp_table qdisp_table;

/* Column types. A missing value is NaN, QDISP_MISSING_I64 or NULL; writers print it as an empty
 * field (CSV), null (JSON) or "-" (text, Markdown). */
typedef enum qdisp_column_type {
    QDISP_COLUMN_F64 = 1,
    QDISP_COLUMN_I64 = 2,
    QDISP_COLUMN_STR = 3
} qdisp_column_type;
#define QDISP_MISSING_I64 INT64_MIN

/* A new empty table. name: a short identifier ("census"); title: one line for people. Both are
 * copied. Errors: ENOMEM, EINVAL (NULL or empty name). */
QDISP_API qdisp_status qdisp_table_new(qdisp_ctx *ctx, const char *name, const char *title, qdisp_table **out);
QDISP_API void qdisp_table_free(qdisp_table *table);

/* Appends a column. name ends with its unit where it has one ("loss_bpb"); unit: "" if none.
 * Existing rows get missing values. *i_column (may be NULL) is its index.
 * Errors: EINVAL (a name that exists, a bad type), ENOMEM. */
QDISP_API qdisp_status qdisp_table_add_column(qdisp_table *table, const char *name, const char *unit,
                                              qdisp_column_type type, size_t *i_column);
/* Appends n rows of missing values; *i_row (may be NULL) is the first one's index. Errors: ENOMEM. */
QDISP_API qdisp_status qdisp_table_add_rows(qdisp_table *table, size_t n, size_t *i_row);
/* Sets one value. Strings are copied; NULL is a missing value. Errors: EINVAL (index out of range,
 * wrong type), ENOMEM. */
QDISP_API qdisp_status qdisp_table_set_f64(qdisp_table *table, size_t i_row, size_t i_column, double value);
QDISP_API qdisp_status qdisp_table_set_i64(qdisp_table *table, size_t i_row, size_t i_column, int64_t value);
QDISP_API qdisp_status qdisp_table_set_str(qdisp_table *table, size_t i_row, size_t i_column, const char *value);

QDISP_API const char *qdisp_table_name(const qdisp_table *table);
QDISP_API const char *qdisp_table_title(const qdisp_table *table);
QDISP_API size_t qdisp_table_n_rows(const qdisp_table *table);
QDISP_API size_t qdisp_table_n_columns(const qdisp_table *table);
/* Index of a column by name, or (size_t)-1. */
QDISP_API size_t qdisp_table_find(const qdisp_table *table, const char *column);
/* Name, unit and type of a column; NULL or 0 outside the range. */
QDISP_API const char *qdisp_table_column_name(const qdisp_table *table, size_t i_column);
QDISP_API const char *qdisp_table_column_unit(const qdisp_table *table, size_t i_column);
QDISP_API qdisp_column_type qdisp_table_column_type(const qdisp_table *table, size_t i_column);
/* The values of a column, [n_rows], owned by the table and valid until it changes; NULL if the
 * type is another one or the index is out of range. */
QDISP_API const double *qdisp_table_f64(const qdisp_table *table, size_t i_column);
QDISP_API const int64_t *qdisp_table_i64(const qdisp_table *table, size_t i_column);
QDISP_API const char *const *qdisp_table_str(const qdisp_table *table, size_t i_column);

/* Formats of qdisp_table_write and qdisp_table_save: "text" (aligned, at most 100 columns wide where
 * the data allow), "csv" (RFC 4180, full precision), "json" (one object), "markdown", "junit"
 * (XML for test runners: a case for each row of a table with a column "verdict", as qdisp_eval_gate makes).
 * sink returns 0, or non-zero to stop with EIO. Errors: EINVAL (unknown format), EIO, ENOMEM. */
typedef int (*qdisp_sink)(void *user, const char *bytes, size_t n_bytes);
QDISP_API qdisp_status qdisp_table_write(const qdisp_table *table, const char *format, qdisp_sink sink, void *user);
/* Writes to a file by way of a temporary file beside it: the old file or the new one stays, never a
 * part. Errors: as above; EIO names the path and the system's reason (no space left, read-only). */
QDISP_API qdisp_status qdisp_table_save(const qdisp_table *table, const char *path, const char *format);
/* Reads a table that qdisp_table_save wrote as "csv" (line 1: names; numbers are recognized; a
 * column is STR unless all its values are numbers). Errors: ENOTFOUND, EIO, EFORMAT (line and column),
 * EENCODING, ENOMEM. Cost: memory proportional to the file. */
QDISP_API qdisp_status qdisp_table_open_csv(qdisp_ctx *ctx, const char *path, const char *name, qdisp_table **out);

/* A report: an ordered list of tables, as `diagnose` and the studies return. */
typedef struct qdisp_report qdisp_report;
QDISP_API qdisp_status qdisp_report_new(qdisp_ctx *ctx, const char *name, qdisp_report **out);
QDISP_API void qdisp_report_free(qdisp_report *report);
/* Appends a table, which the report then owns (also on failure). Errors: EINVAL (a table of this
 * name is there), ENOMEM. */
QDISP_API qdisp_status qdisp_report_add(qdisp_report *report, qdisp_table *table);
QDISP_API const char *qdisp_report_name(const qdisp_report *report);
QDISP_API size_t qdisp_report_n_tables(const qdisp_report *report);
/* A table by index or by name; owned by the report; NULL if there is none. */
QDISP_API const qdisp_table *qdisp_report_table(const qdisp_report *report, size_t i_table);
QDISP_API const qdisp_table *qdisp_report_find(const qdisp_report *report, const char *name);
/* Writes all tables: "text", "markdown", "csv" (tables separated by an empty line) or "json" ({"report":
 * name, "tables": {name: table}}). Errors: as qdisp_table_write. */
QDISP_API qdisp_status qdisp_report_write(const qdisp_report *report, const char *format, qdisp_sink sink, void *user);
/* Writes all tables to a file, as qdisp_table_save. */
QDISP_API qdisp_status qdisp_report_save(const qdisp_report *report, const char *path, const char *format);

#ifdef __cplusplus
}
#endif
#endif
