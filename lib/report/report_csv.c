/* report_csv.c - RFC 4180 out and in, numbers with all their digits. */
#include "report/report.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_CSV_BYTES ((size_t)1 << 32)

/* Digits with an optional sign, fraction and exponent, or nan or inf: by looks, so that no locale has a say. */
static bool looks_like_number(const char *s) {
    s += *s == '+' || *s == '-';
    if (!strcasecmp(s, "nan") || !strcasecmp(s, "inf")) return true;
    size_t whole = strspn(s, "0123456789"), fraction = 0;
    s += whole;
    if (*s == '.') {
        fraction = strspn(s + 1, "0123456789");
        s += 1 + fraction;
    }
    if (whole + fraction == 0) return false;
    if (*s == 'e' || *s == 'E') {
        s += 1 + (s[1] == '+' || s[1] == '-');
        size_t digits = strspn(s, "0123456789");
        if (digits == 0) return false;
        s += digits;
    }
    return *s == 0;
}

/* Text that looks like a number is quoted, and what is quoted is read as text: a table comes back as it was. */
static void field(qd_text *out, const char *s, bool is_text) {
    if (*s && !strpbrk(s, ",\"\r\n") && !(is_text && looks_like_number(s))) {
        qd_text_str(out, s);
        return;
    }
    qd_text_str(out, "\"");
    for (; *s; s++) qd_text_add(out, *s == '"' ? "\"\"" : s, *s == '"' ? 2 : 1);
    qd_text_str(out, "\"");
}

static void write_table(const qdisp_table *t, qd_text *out) {
    size_t n_cols = qdisp_table_n_columns(t);
    for (size_t col = 0; col < n_cols; col++) {
        if (col > 0) qd_text_str(out, ",");
        field(out, qdisp_table_column_name(t, col), true);
    }
    qd_text_str(out, "\n");
    for (size_t row = 0; row < qdisp_table_n_rows(t); row++) {
        for (size_t col = 0; col < n_cols; col++) {
            char number[64];
            const char *s = qd_cell_text(t, row, col, "%.17g", number);
            bool missing = s[0] == '-' && s[1] == 0 &&
                           (qdisp_table_column_type(t, col) != QDISP_COLUMN_STR || !qdisp_table_str(t, col)[row]);
            if (col > 0) qd_text_str(out, ",");
            if (!missing) field(out, s, qdisp_table_column_type(t, col) == QDISP_COLUMN_STR);
            /* a whole number in a column of reals stays one */
            if (!missing && s == number && qdisp_table_f64(t, col) && !strpbrk(s, ".en")) qd_text_str(out, ".0");
        }
        qd_text_str(out, "\n");
    }
}

const qd_report_format qd_report_csv = {"csv", write_table, NULL};

typedef struct reader {
    qdisp_ctx *ctx;
    const char *path, *at, *end;
    size_t line;
    char **cells; /* all fields, row by row: '"' or ' ' (quoted or not), then the text; NULL: missing */
    size_t n_cells, cap, n_columns;
    locale_t c_locale; /* numbers have a decimal point, whatever the host's locale */
} reader;

/* One field into cells; *last tells that it ended its line. */
static qdisp_status read_field(reader *r, bool *last) {
    char *text = NULL;
    size_t n = 0, cap = 0;
    bool quoted = r->at < r->end && *r->at == '"';
    size_t start_line = r->line;
    if (quoted) {
        QD_TRY(qd_grow(r->ctx, (void **)&text, &cap, 2, 1));
        text[n++] = '"';
        r->at++;
    }
    for (;;) {
        if (r->at == r->end) {
            if (quoted) {
                qd_free(r->ctx, text);
                return qd_fail(r->ctx, QDISP_EFORMAT, "%s: line %zu: a quoted field does not end", r->path, start_line);
            }
            break;
        }
        char c = *r->at;
        if (quoted && c == '"') {
            r->at++;
            if (r->at == r->end || *r->at != '"') {
                quoted = false;
                continue;
            }
        } else if (!quoted && (c == ',' || c == '\n' || c == '\r')) {
            break;
        }
        if (*r->at == '\n') r->line++;
        qdisp_status status = qd_grow(r->ctx, (void **)&text, &cap, n + 3, 1);
        if (status != QDISP_OK) {
            qd_free(r->ctx, text);
            return status;
        }
        if (n == 0) text[n++] = ' ';
        text[n++] = *r->at++;
    }
    if (text) text[n] = 0;
    *last = true;
    if (r->at < r->end && *r->at == ',') {
        *last = false;
        r->at++;
    } else {
        if (r->at < r->end && *r->at == '\r') r->at++;
        if (r->at < r->end && *r->at == '\n') r->at++;
        r->line++;
    }
    qdisp_status status = qd_grow(r->ctx, (void **)&r->cells, &r->cap, r->n_cells + 1, sizeof *r->cells);
    if (status == QDISP_OK) r->cells[r->n_cells++] = text; /* NULL: an empty field, a missing value */
    else qd_free(r->ctx, text);
    return status;
}

static qdisp_status read_cells(reader *r) {
    while (r->at < r->end) {
        size_t first = r->n_cells, line = r->line;
        bool last = false;
        while (!last) QD_TRY(read_field(r, &last));
        size_t n = r->n_cells - first;
        if (r->n_columns == 0) r->n_columns = n;
        else if (n != r->n_columns)
            return qd_fail(r->ctx, QDISP_EFORMAT, "%s: line %zu: %zu fields, the first line has %zu", r->path, line, n,
                           r->n_columns);
    }
    if (r->n_columns == 0) return qd_fail(r->ctx, QDISP_EFORMAT, "%s: empty, expected a line of column names", r->path);
    for (size_t i = 0; i < r->n_columns; i++)
        if (!r->cells[i] || !r->cells[i][1])
            return qd_fail(r->ctx, QDISP_EFORMAT, "%s: line 1: column %zu has no name", r->path, i + 1);
    return QDISP_OK;
}

static bool parse_i64(const char *s, int64_t *v) {
    char *end;
    errno = 0;
    long long x = strtoll(s, &end, 10);
    *v = x;
    return end != s && *end == 0 && errno == 0 && (s[0] == '-' || (s[0] >= '0' && s[0] <= '9'));
}

static qdisp_column_type column_type(const reader *r, size_t col) {
    bool any = false, all_i64 = true, all_f64 = true;
    for (size_t i = r->n_columns + col; i < r->n_cells; i += r->n_columns) {
        int64_t i64;
        if (!r->cells[i]) continue;
        any = true;
        if (r->cells[i][0] == '"') return QDISP_COLUMN_STR;
        all_i64 = all_i64 && parse_i64(r->cells[i] + 1, &i64);
        all_f64 = all_f64 && looks_like_number(r->cells[i] + 1);
    }
    return !any ? QDISP_COLUMN_STR : all_i64 ? QDISP_COLUMN_I64 : all_f64 ? QDISP_COLUMN_F64 : QDISP_COLUMN_STR;
}

static qdisp_status fill(const reader *r, qdisp_table *t) {
    qdisp_status status = QDISP_OK;
    size_t n_rows = r->n_cells / r->n_columns - 1;
    for (size_t col = 0; col < r->n_columns; col++) {
        if (qdisp_table_find(t, r->cells[col] + 1) != (size_t)-1)
            return qd_fail(r->ctx, QDISP_EFORMAT, "%s: line 1: column '%s' is there already", r->path,
                           r->cells[col] + 1);
        QD_TRY(qdisp_table_add_column(t, r->cells[col] + 1, "", column_type(r, col), NULL));
    }
    QD_TRY(qdisp_table_add_rows(t, n_rows, NULL));
    for (size_t i = r->n_columns; i < r->n_cells && status == QDISP_OK; i++) {
        size_t row = i / r->n_columns - 1, col = i % r->n_columns;
        int64_t i64;
        if (!r->cells[i]) continue;
        switch (qdisp_table_column_type(t, col)) {
        case QDISP_COLUMN_I64:
            parse_i64(r->cells[i] + 1, &i64);
            qd_table_i64(t, &status, row, col, i64);
            break;
        case QDISP_COLUMN_F64:
            qd_table_f64(t, &status, row, col, strtod_l(r->cells[i] + 1, NULL, r->c_locale));
            break;
        default: qd_table_str(t, &status, row, col, r->cells[i] + 1);
        }
    }
    return status;
}

qdisp_status qdisp_table_open_csv(qdisp_ctx *ctx, const char *path, const char *name, qdisp_table **out) {
    char *text;
    size_t n;
    qdisp_table *t = NULL;
    QD_TRY(qd_read_file(ctx, path, MAX_CSV_BYTES, &text, &n));
    reader r = {.ctx = ctx, .path = path, .at = text, .end = text + n, .line = 1};
    if (n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) r.at += 3; /* the byte order mark of spreadsheets */
    qdisp_status status = QDISP_OK;
    size_t bad = qd_utf8_check(text, n);
    if (bad < n) status = qd_fail(ctx, QDISP_EENCODING, "%s: byte %zu: invalid UTF-8", path, bad);
    else if (memchr(text, 0, n)) status = qd_fail(ctx, QDISP_EFORMAT, "%s: holds a NUL byte: not a CSV file", path);
    r.c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (status == QDISP_OK && !r.c_locale) status = qd_fail(ctx, QDISP_ENOMEM, "out of memory");
    if (status == QDISP_OK) status = read_cells(&r);
    if (status == QDISP_OK) status = qdisp_table_new(ctx, name, path, &t);
    if (status == QDISP_OK) status = fill(&r, t);
    for (size_t i = 0; i < r.n_cells; i++) qd_free(ctx, r.cells[i]);
    qd_free(ctx, r.cells);
    qd_free(ctx, text);
    if (r.c_locale) freelocale(r.c_locale);
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}
