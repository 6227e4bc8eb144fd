/* report_text.c - aligned columns for a terminal: numbers to the right, text to the left. A table that is wider than
 * MAX_WIDTH is continued below, repeating its leading text columns. */
#include "report/report.h"

#include <string.h>

#define MAX_WIDTH 100
#define MAX_CELL 56

typedef struct layout {
    const char *format;
    size_t width;
} layout;

/* The text as it is shown: at most MAX_CELL wide, with spaces for line breaks and other control characters. */
static const char *clip(const char *s, char buffer[MAX_CELL * 4 + 4]) {
    bool plain = true;
    for (const char *at = s; *at; at++) plain = plain && (unsigned char)*at >= 32 && *at != 127;
    if (plain && qd_text_width(s) <= MAX_CELL) return s;
    size_t n = 0, room = 0; /* room: end of the longest start that leaves room for "..." */
    while (s[n] && n <= MAX_CELL * 4 - 4) {
        size_t next = n + 1;
        while ((s[next] & 0xc0) == 0x80 && next < n + 4) next++;
        memcpy(buffer + n, s + n, next - n);
        if ((unsigned char)s[n] < 32 || s[n] == 127) buffer[n] = ' ';
        buffer[next] = 0;
        if (qd_text_width(buffer) > MAX_CELL) break;
        n = next;
        if (qd_text_width(buffer) <= MAX_CELL - 3) room = n;
    }
    if (s[n]) memcpy(buffer + room, "...", 4);
    return buffer;
}

static void pad(qd_text *out, size_t n) {
    while (n-- > 0) qd_text_add(out, " ", 1);
}

static void cell(qd_text *out, const char *s, size_t width, bool right, bool last) {
    size_t used = qd_text_width(s), fill = width > used ? width - used : 0;
    if (right) pad(out, fill);
    qd_text_str(out, s);
    if (!right && !last) pad(out, fill);
}

/* Columns named GROUP.PART, the same GROUP side by side, stand under one heading and are not torn apart. */
static size_t group_length(const qdisp_table *t, size_t col) {
    const char *name = qdisp_table_column_name(t, col), *dot = strchr(name, '.');
    return dot ? (size_t)(dot - name) : 0;
}

static size_t group_end(const qdisp_table *t, size_t col) {
    size_t n = group_length(t, col), end = col + 1;
    const char *name = qdisp_table_column_name(t, col);
    while (n > 0 && end < qdisp_table_n_columns(t) && group_length(t, end) == n &&
           !strncmp(qdisp_table_column_name(t, end), name, n))
        end++;
    return end;
}

static const char *header(const qdisp_table *t, size_t col, char buffer[MAX_CELL * 4 + 4]) {
    size_t n = group_length(t, col);
    return clip(qdisp_table_column_name(t, col) + (n ? n + 1 : 0), buffer);
}

/* Columns of one band: the keys, then [first, last). */
typedef struct band {
    size_t n_keys, first, last;
} band;

static size_t band_column(const band *b, size_t k) {
    return k < b->n_keys ? k : b->first + k - b->n_keys;
}

static void write_headings(const qdisp_table *t, const layout *l, const band *b, qd_text *out) {
    size_t n = b->n_keys + (b->last - b->first), k = 0;
    bool any = false;
    for (size_t i = 0; i < n; i++) any = any || group_length(t, band_column(b, i));
    while (any && k < n) {
        size_t col = band_column(b, k), end = k < b->n_keys ? col + 1 : group_end(t, col), width = 0, length;
        char heading[64];
        for (size_t c = col; c < end; c++) width += l[c].width + (c > col ? 2 : 0);
        length = group_length(t, col) < sizeof heading ? group_length(t, col) : sizeof heading - 1;
        memcpy(heading, qdisp_table_column_name(t, col), length);
        heading[length] = 0;
        if (k > 0) qd_text_str(out, "  ");
        k += end - col;
        cell(out, heading, width, length > 0, k == n);
    }
    if (any) qd_text_str(out, "\n");
}

static void write_band(const qdisp_table *t, const layout *l, const band *b, qd_text *out) {
    char number[64], clipped[MAX_CELL * 4 + 4];
    size_t n = b->n_keys + (b->last - b->first);
    write_headings(t, l, b, out);
    for (size_t row = 0; row <= qdisp_table_n_rows(t); row++) {
        for (size_t k = 0; k < n; k++) {
            size_t col = band_column(b, k);
            const char *s = row == 0 ? header(t, col, clipped)
                                     : clip(qd_cell_text(t, row - 1, col, l[col].format, number), clipped);
            if (k > 0) qd_text_str(out, "  ");
            cell(out, s, l[col].width, qdisp_table_column_type(t, col) != QDISP_COLUMN_STR, k + 1 == n);
        }
        qd_text_str(out, "\n");
    }
}

static void measure(const qdisp_table *t, layout *l) {
    char number[64], clipped[MAX_CELL * 4 + 4];
    for (size_t col = 0; col < qdisp_table_n_columns(t); col++) {
        l[col].format = qd_column_format(t, col);
        l[col].width = qd_text_width(header(t, col, clipped));
        for (size_t row = 0; row < qdisp_table_n_rows(t); row++) {
            size_t w = qd_text_width(clip(qd_cell_text(t, row, col, l[col].format, number), clipped));
            if (w > l[col].width) l[col].width = w;
        }
    }
}

static void write_table(const qdisp_table *t, qd_text *out) {
    size_t n_cols = qdisp_table_n_columns(t), key_width = 0;
    layout *l = qd_alloc(out->ctx, n_cols, sizeof *l);
    if (!l) {
        out->status = QDISP_ENOMEM;
        return;
    }
    measure(t, l);
    qd_text_str(out, qdisp_table_title(t));
    qd_text_str(out, "\n\n");
    band b = {0};
    while (b.n_keys < n_cols && b.n_keys < 2 && qdisp_table_column_type(t, b.n_keys) == QDISP_COLUMN_STR)
        key_width += l[b.n_keys++].width + 2;
    b.first = b.n_keys;
    do {
        size_t width = key_width;
        b.last = b.first;
        while (b.last < n_cols) {
            size_t end = group_end(t, b.last), more = 0;
            for (size_t c = b.last; c < end; c++) more += l[c].width + 2;
            if (b.last > b.first && width + more > MAX_WIDTH + 2) break;
            width += more;
            b.last = end;
        }
        if (b.first > b.n_keys) qd_text_str(out, "\n");
        write_band(t, l, &b, out);
        b.first = b.last;
    } while (b.first < n_cols);
    qd_free(out->ctx, l);
}

const qd_report_format qd_report_text = {"text", write_table, NULL};
