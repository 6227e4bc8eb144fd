/* report_junit.c - tables with a column "verdict" as JUnit's XML, which test runners show: a table is a suite, a row a
 * case named by its first column. "fail" is a failure, any verdict but "pass" an error; the numbers of the row are its
 * message. Other tables are left out. */
#include "report/report.h"

#include <string.h>

static void escaped(qd_text *out, const char *s) {
    static const char marks[] = "<>&\"'";
    static const char *const names[] = {"&lt;", "&gt;", "&amp;", "&quot;", "&apos;"};
    for (; *s; s++) {
        const char *at = strchr(marks, *s);
        if (at) qd_text_str(out, names[at - marks]);
        else if ((unsigned char)*s < ' ') qd_text_str(out, " ");
        else qd_text_add(out, s, 1);
    }
}

static const char *verdict_of(const qdisp_table *t, size_t row) {
    const char *const *column = qdisp_table_str(t, qdisp_table_find(t, "verdict"));
    return column && column[row] ? column[row] : "undecided";
}

static void write_message(const qdisp_table *t, size_t row, qd_text *out) {
    char number[64];
    for (size_t col = 1; col < qdisp_table_n_columns(t); col++) {
        if (col > 1) qd_text_str(out, ", ");
        escaped(out, qdisp_table_column_name(t, col));
        qd_text_str(out, " ");
        escaped(out, qd_cell_text(t, row, col, "%.6g", number));
    }
}

static void write_case(const qdisp_table *t, size_t row, qd_text *out) {
    const char *verdict = verdict_of(t, row);
    char number[64];
    qd_text_str(out, "    <testcase classname=\"");
    escaped(out, qdisp_table_name(t));
    qd_text_str(out, "\" name=\"");
    escaped(out, qd_cell_text(t, row, 0, "%.17g", number));
    if (!strcmp(verdict, "pass")) {
        qd_text_str(out, "\"/>\n");
        return;
    }
    const char *element = strcmp(verdict, "fail") ? "error" : "failure";
    qd_text_printf(out, "\">\n      <%s message=\"", element);
    write_message(t, row, out);
    qd_text_printf(out, "\"/>\n    </testcase>\n");
}

static void write_suite(const qdisp_table *t, qd_text *out) {
    size_t n = qdisp_table_n_rows(t), n_failures = 0, n_errors = 0;
    if (!qdisp_table_str(t, qdisp_table_find(t, "verdict"))) return;
    for (size_t row = 0; row < n; row++) {
        n_failures += !strcmp(verdict_of(t, row), "fail");
        n_errors += strcmp(verdict_of(t, row), "fail") && strcmp(verdict_of(t, row), "pass");
    }
    qd_text_str(out, "  <testsuite name=\"");
    escaped(out, qdisp_table_name(t));
    qd_text_printf(out, "\" tests=\"%zu\" failures=\"%zu\" errors=\"%zu\">\n", n, n_failures, n_errors);
    for (size_t row = 0; row < n; row++) write_case(t, row, out);
    qd_text_str(out, "  </testsuite>\n");
}

#define OPENING "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"qdisp\">\n"

static void write_table(const qdisp_table *t, qd_text *out) {
    qd_text_str(out, OPENING);
    write_suite(t, out);
    qd_text_str(out, "</testsuites>\n");
}

static void write_report(const qdisp_report *r, qd_text *out) {
    qd_text_str(out, OPENING);
    for (size_t i = 0; i < qdisp_report_n_tables(r); i++) write_suite(qdisp_report_table(r, i), out);
    qd_text_str(out, "</testsuites>\n");
}

const qd_report_format qd_report_junit = {"junit", write_table, write_report};
