/* report_markdown.c - pipe tables. */
#include "report/report.h"

static void escaped(qd_text *out, const char *s) {
    for (; *s; s++) {
        if (*s == '|') qd_text_str(out, "\\|");
        else if (*s == '\n' || *s == '\r') qd_text_str(out, " ");
        else qd_text_add(out, s, 1);
    }
}

static void write_table(const qdisp_table *t, qd_text *out) {
    size_t n_cols = qdisp_table_n_columns(t);
    char number[64];
    qd_text_str(out, "**");
    escaped(out, qdisp_table_title(t));
    qd_text_str(out, "**\n\n|");
    for (size_t col = 0; col < n_cols; col++) {
        qd_text_str(out, " ");
        escaped(out, qdisp_table_column_name(t, col));
        qd_text_str(out, " |");
    }
    qd_text_str(out, "\n|");
    for (size_t col = 0; col < n_cols; col++)
        qd_text_str(out, qdisp_table_column_type(t, col) == QDISP_COLUMN_STR ? "---|" : "---:|");
    qd_text_str(out, "\n");
    for (size_t row = 0; row < qdisp_table_n_rows(t); row++) {
        qd_text_str(out, "|");
        for (size_t col = 0; col < n_cols; col++) {
            qd_text_str(out, " ");
            escaped(out, qd_cell_text(t, row, col, qd_column_format(t, col), number));
            qd_text_str(out, " |");
        }
        qd_text_str(out, "\n");
    }
}

const qd_report_format qd_report_markdown = {"markdown", write_table, NULL};
