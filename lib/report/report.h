/* report.h - the writers of tables. A format is one file and one row in reports.c. */
#ifndef QD_REPORT_H
#define QD_REPORT_H

#include "base/base.h"

/* A growing text; the first failure sticks in status. */
typedef struct qd_text {
    qdisp_ctx *ctx;
    char *bytes;
    size_t n, cap;
    qdisp_status status;
} qd_text;
void qd_text_add(qd_text *text, const char *bytes, size_t n);
void qd_text_str(qd_text *text, const char *s);
void qd_text_printf(qd_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

typedef struct qd_report_format {
    const char *name;
    void (*table)(const qdisp_table *table, qd_text *out);
    void (*report)(const qdisp_report *report, qd_text *out); /* NULL: the tables, an empty line between two */
} qd_report_format;

extern const qd_report_format qd_report_text, qd_report_csv, qd_report_json, qd_report_markdown,
    qd_report_junit;

/* Printf precision for people, from the values of a column: three to four digits that matter. */
const char *qd_column_format(const qdisp_table *table, size_t i_column);
/* A value for people in buffer[64] or the string itself; "-" when missing. */
const char *qd_cell_text(const qdisp_table *table, size_t row, size_t col, const char *format, char buffer[64]);
/* Width of UTF-8 text on a terminal in columns (wide characters count two). */
size_t qd_text_width(const char *s);

#endif
