/* reports.c - the table of output formats, and what they share. */
#include "report/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

static const qd_report_format *const formats[] = {&qd_report_text, &qd_report_csv, &qd_report_json,
                                                  &qd_report_markdown, &qd_report_junit};

static const qd_report_format *find_format(qdisp_ctx *ctx, const char *name) {
    for (size_t i = 0; name && i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(formats[i]->name, name)) return formats[i];
    qd_fail(ctx, QDISP_EINVAL, "unknown format '%s': use text, csv, json, markdown or junit", name ? name : "(null)");
    return NULL;
}

void qd_text_add(qd_text *t, const char *bytes, size_t n) {
    if (t->status != QDISP_OK) return;
    t->status = qd_grow(t->ctx, (void **)&t->bytes, &t->cap, t->n + n + 1, 1);
    if (t->status != QDISP_OK) return;
    memcpy(t->bytes + t->n, bytes, n);
    t->n += n;
    t->bytes[t->n] = 0;
}

void qd_text_str(qd_text *t, const char *s) {
    qd_text_add(t, s, strlen(s));
}

void qd_text_printf(qd_text *t, const char *format, ...) {
    char buffer[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(buffer, sizeof buffer, format, args);
    va_end(args);
    if (n > 0) qd_text_add(t, buffer, (size_t)n < sizeof buffer ? (size_t)n : sizeof buffer - 1);
}

const char *qd_column_format(const qdisp_table *table, size_t i_column) {
    const double *v = qdisp_table_f64(table, i_column);
    double largest = 0;
    for (size_t i = 0; v && i < qdisp_table_n_rows(table); i++)
        if (isfinite(v[i]) && fabs(v[i]) > largest) largest = fabs(v[i]);
    if (largest >= 1e7 || (largest > 0 && largest < 1e-5)) return "%.2e";
    if (largest > 0 && largest < 1e-3) return "%.6f";
    return largest >= 1000 ? "%.0f" : largest >= 100 ? "%.1f" : largest >= 10 ? "%.2f" : largest >= 1 ? "%.3f" : "%.4f";
}

const char *qd_cell_text(const qdisp_table *table, size_t row, size_t col, const char *format, char buffer[64]) {
    switch (qdisp_table_column_type(table, col)) {
    case QDISP_COLUMN_F64: {
        double v = qdisp_table_f64(table, col)[row];
        if (isnan(v)) return "-";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(buffer, 64, format, v);
#pragma GCC diagnostic pop
        char *comma = strchr(buffer, ','); /* the host's locale may have one */
        if (comma) *comma = '.';
        return buffer;
    }
    case QDISP_COLUMN_I64: {
        int64_t v = qdisp_table_i64(table, col)[row];
        if (v == QDISP_MISSING_I64) return "-";
        snprintf(buffer, 64, "%lld", (long long)v);
        return buffer;
    }
    default: {
        const char *s = qdisp_table_str(table, col)[row];
        return s ? s : "-";
    }
    }
}

size_t qd_text_width(const char *s) {
    size_t width = 0;
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)s;
    while (*at) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate(at, -1, &c);
        if (n <= 0) n = 1, c = '?';
        width += (size_t)utf8proc_charwidth(c);
        at += n;
    }
    return width;
}

/* One of the two is given. */
static qdisp_status render(const qdisp_table *table, const qdisp_report *report, const char *format, qd_text *text) {
    const qd_report_format *f = find_format(text->ctx, format);
    if (!f) return QDISP_EINVAL;
    if (table) {
        f->table(table, text);
    } else if (f->report) {
        f->report(report, text);
    } else {
        for (size_t i = 0; i < qdisp_report_n_tables(report); i++) {
            if (i > 0) qd_text_str(text, "\n");
            f->table(qdisp_report_table(report, i), text);
        }
    }
    return text->status;
}

static qdisp_status deliver(const qdisp_table *table, const qdisp_report *report, const char *format, qdisp_sink sink,
                            void *user) {
    qd_text text = {.ctx = table ? qd_table_ctx(table) : qd_report_ctx(report)};
    qdisp_status status = render(table, report, format, &text);
    if (status == QDISP_OK && text.n > 0 && sink(user, text.bytes, text.n) != 0)
        status = qd_fail(text.ctx, QDISP_EIO, "the output did not take %zu bytes", text.n);
    qd_free(text.ctx, text.bytes);
    return status;
}

qdisp_status qdisp_table_write(const qdisp_table *table, const char *format, qdisp_sink sink, void *user) {
    return deliver(table, NULL, format, sink, user);
}

qdisp_status qdisp_report_write(const qdisp_report *report, const char *format, qdisp_sink sink, void *user) {
    return deliver(NULL, report, format, sink, user);
}

static qdisp_status save(const qdisp_table *table, const qdisp_report *report, const char *path, const char *format) {
    qd_text text = {.ctx = table ? qd_table_ctx(table) : qd_report_ctx(report)};
    qd_output *output = NULL;
    qdisp_status status = render(table, report, format, &text);
    if (status == QDISP_OK) status = qd_output_open(text.ctx, path, &output);
    if (status == QDISP_OK) status = qd_output_write(output, text.bytes, text.n);
    qd_free(text.ctx, text.bytes);
    if (status == QDISP_OK) return qd_output_commit(output);
    qd_output_discard(output);
    return status;
}

qdisp_status qdisp_table_save(const qdisp_table *table, const char *path, const char *format) {
    return save(table, NULL, path, format);
}

qdisp_status qdisp_report_save(const qdisp_report *report, const char *path, const char *format) {
    return save(NULL, report, path, format);
}
