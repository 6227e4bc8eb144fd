/* test_table.c - lib/base/table.c and lib/report: tables, reports, their writers and the CSV reader. */
#include "harness.h"

#include "base/base.h"
#include "report/report.h"

#include <jansson.h>
#include <locale.h>
#include <unistd.h>

static qdisp_ctx *ctx;
static char folder[64], path_text[256];

static const char *in_folder(const char *name) {
    snprintf(path_text, sizeof path_text, "%s/%s", folder, name);
    return path_text;
}

/* What a writer wrote, NUL-terminated; n_calls limits how many the sink takes. */
typedef struct taken {
    char text[65536];
    size_t n;
    int refuse;
} taken;
static taken written;

static int take(void *user, const char *bytes, size_t n) {
    taken *t = user;
    if (t->refuse || t->n + n >= sizeof t->text) return 1;
    memcpy(t->text + t->n, bytes, n);
    t->n += n;
    t->text[t->n] = 0;
    return 0;
}

static const char *write_as(const qdisp_table *t, const char *format) {
    written.n = 0;
    written.refuse = 0;
    written.text[0] = 0;
    CHECK_STATUS(qdisp_table_write(t, format, take, &written), QDISP_OK);
    return written.text;
}

static qdisp_table *new_table(const char *name) {
    qdisp_table *t = NULL;
    CHECK_STATUS(qdisp_table_new(ctx, name, "A title", &t), QDISP_OK);
    return t;
}

static void write_plain(const char *path, const char *text, size_t n) {
    FILE *f = fopen(path, "wb");
    fwrite(text, 1, n, f);
    fclose(f);
}

static qdisp_status read_text(const char *text, qdisp_table **out) {
    write_plain(in_folder("in.csv"), text, strlen(text));
    return qdisp_table_open_csv(ctx, in_folder("in.csv"), "in", out);
}

TEST(cells_start_missing_and_take_values) {
    qdisp_table *t = new_table("t");
    size_t a = 9, b = 9, c = 9, row = 9;
    CHECK_STATUS(qdisp_table_add_column(t, "a", "bits", QDISP_COLUMN_F64, &a), QDISP_OK);
    CHECK_STATUS(qdisp_table_add_rows(t, 2, &row), QDISP_OK);
    CHECK(row == 0);
    CHECK_STATUS(qdisp_table_add_column(t, "b", "", QDISP_COLUMN_I64, &b), QDISP_OK);
    CHECK_STATUS(qdisp_table_add_column(t, "c", NULL, QDISP_COLUMN_STR, &c), QDISP_OK);
    CHECK(a == 0 && b == 1 && c == 2);
    CHECK_STATUS(qdisp_table_add_rows(t, 100, &row), QDISP_OK);
    CHECK(row == 2 && qdisp_table_n_rows(t) == 102 && qdisp_table_n_columns(t) == 3);
    for (size_t i = 0; i < 102; i++)
        CHECK(isnan(qdisp_table_f64(t, a)[i]) && qdisp_table_i64(t, b)[i] == QDISP_MISSING_I64 && !qdisp_table_str(t,
            c)[i]);
    CHECK_STATUS(qdisp_table_set_f64(t, 5, a, 1.5), QDISP_OK);
    CHECK_STATUS(qdisp_table_set_i64(t, 6, b, -7), QDISP_OK);
    char text[] = "copied";
    CHECK_STATUS(qdisp_table_set_str(t, 7, c, text), QDISP_OK);
    text[0] = 'X';
    CHECK(qdisp_table_f64(t, a)[5] == 1.5 && qdisp_table_i64(t, b)[6] == -7);
    CHECK_STR(qdisp_table_str(t, c)[7], "copied");
    CHECK_STATUS(qdisp_table_set_str(t, 7, c, NULL), QDISP_OK);
    CHECK(qdisp_table_str(t, c)[7] == NULL);
    CHECK_STR(qdisp_table_column_name(t, 0), "a");
    CHECK_STR(qdisp_table_column_unit(t, 0), "bits");
    CHECK_STR(qdisp_table_column_unit(t, 2), "");
    CHECK(qdisp_table_column_type(t, 1) == QDISP_COLUMN_I64 && qdisp_table_column_type(t, 3) == 0);
    CHECK(!qdisp_table_column_name(t, 3) && !qdisp_table_column_unit(t, 3) && !qdisp_table_f64(t, 3));
    CHECK(!qdisp_table_f64(t, b) && !qdisp_table_i64(t, a) && !qdisp_table_str(t, (size_t)-1));
    CHECK(qdisp_table_find(t, "b") == 1 && qdisp_table_find(t, "B") == (size_t)-1);
    CHECK_STR(qdisp_table_name(t), "t");
    CHECK_STR(qdisp_table_title(t), "A title");
    qdisp_table_free(t);
    qdisp_table_free(NULL);
}

TEST(bad_calls_are_refused) {
    qdisp_table *t = NULL, *kept = NULL;
    CHECK_STATUS(qdisp_table_new(ctx, "", "x", &t), QDISP_EINVAL);
    CHECK_STATUS(qdisp_table_new(ctx, NULL, "x", &t), QDISP_EINVAL);
    CHECK(t == kept);
    t = new_table("t");
    CHECK_STATUS(qdisp_table_add_column(t, "a", "", QDISP_COLUMN_F64, NULL), QDISP_OK);
    CHECK_STATUS(qdisp_table_add_column(t, "a", "", QDISP_COLUMN_F64, NULL), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "column a");
    CHECK_STATUS(qdisp_table_add_column(t, "b", "", (qdisp_column_type)7, NULL), QDISP_EINVAL);
    CHECK_STATUS(qdisp_table_add_column(t, "", "", QDISP_COLUMN_F64, NULL), QDISP_EINVAL);
    CHECK_STATUS(qdisp_table_set_f64(t, 0, 0, 1), QDISP_EINVAL);
    CHECK_STATUS(qdisp_table_add_rows(t, 1, NULL), QDISP_OK);
    CHECK_STATUS(qdisp_table_set_f64(t, 0, 1, 1), QDISP_EINVAL);
    CHECK_STATUS(qdisp_table_set_i64(t, 0, 0, 1), QDISP_EINVAL);
    CHECK_STATUS(qdisp_table_set_str(t, 0, 0, "x"), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "column a");
    CHECK_STATUS(qdisp_table_add_rows(t, SIZE_MAX, NULL), QDISP_ENOMEM);
    CHECK(qdisp_table_n_rows(t) == 1);
    CHECK_STATUS(qdisp_table_write(t, "xml", take, &written), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "'xml'");
    CHECK_STATUS(qdisp_table_write(t, NULL, take, &written), QDISP_EINVAL);
    written.refuse = 1;
    CHECK_STATUS(qdisp_table_write(t, "csv", take, &written), QDISP_EIO);
    CHECK_STATUS(qdisp_table_save(t, in_folder("no/such/t.csv"), "csv"), QDISP_EIO);
    CHECK_HAS(qdisp_ctx_error(ctx), "no/such/t.csv");
    qdisp_table_free(t);
}

TEST(a_table_outlives_its_context_handle) {
    qdisp_ctx *own = NULL;
    qdisp_table *t = NULL;
    CHECK_STATUS(qdisp_ctx_new(NULL, &own), QDISP_OK);
    CHECK_STATUS(qdisp_table_new(own, "t", "x", &t), QDISP_OK);
    qdisp_ctx_free(own);
    CHECK_STATUS(qdisp_table_add_column(t, "a", "", QDISP_COLUMN_STR, NULL), QDISP_OK);
    qdisp_table_free(t);
}

static const char *const awkward[] = {
    "plain", "", "-", "1", "-2.5e3", "nan", "inf", "+7", "a,b", "\"quoted\"", "\"", "two\nlines", "cr\r\nlf",
        " spaces ",
    "Ünïcödé", "日本語", "a\tb", "1,5", "null", "0x10", ".5", "5.", "1e5", "# no comment", "'", "\xef\xbb\xbf" "bom",
        NULL};
#define N_AWKWARD (sizeof awkward / sizeof *awkward)

static const double numbers[] = {0, -0.0, 1, -1, 0.1, 1.0 / 3, 1e300, 5e-324, -2.2250738585072014e-308,
    123456789012345678.0,
                                 INFINITY, -INFINITY, NAN, 3.5, 100, 4294967296.0};
static const int64_t integers[] = {0, 1, -1, INT64_MAX, INT64_MIN + 1, QDISP_MISSING_I64, 42};

static qdisp_table *awkward_table(void) {
    qdisp_table *t = new_table("awkward");
    qdisp_status status = QDISP_OK;
    qd_table_column(t, &status, "text, with \"all\"\nof it", "", QDISP_COLUMN_STR);
    qd_table_column(t, &status, "number", "m", QDISP_COLUMN_F64);
    qd_table_column(t, &status, "12", "", QDISP_COLUMN_I64);
    for (size_t i = 0; i < N_AWKWARD; i++) {
        size_t row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, 0, awkward[i]);
        qd_table_f64(t, &status, row, 1, numbers[i % (sizeof numbers / sizeof *numbers)]);
        qd_table_i64(t, &status, row, 2, integers[i % (sizeof integers / sizeof *integers)]);
    }
    CHECK_STATUS(status, QDISP_OK);
    return t;
}

static void check_same(const qdisp_table *a, const qdisp_table *b) {
    CHECK(qdisp_table_n_rows(a) == qdisp_table_n_rows(b) && qdisp_table_n_columns(a) == qdisp_table_n_columns(b));
    for (size_t col = 0; col < qdisp_table_n_columns(a) && col < qdisp_table_n_columns(b); col++) {
        CHECK_STR(qdisp_table_column_name(a, col), qdisp_table_column_name(b, col));
        CHECK(qdisp_table_column_type(a, col) == qdisp_table_column_type(b, col));
        if (qdisp_table_column_type(a, col) != qdisp_table_column_type(b, col)) continue;
        for (size_t row = 0; row < qdisp_table_n_rows(a) && row < qdisp_table_n_rows(b); row++) {
            int same = 1;
            if (qdisp_table_f64(a, col)) {
                double x = qdisp_table_f64(a, col)[row], y = qdisp_table_f64(b, col)[row];
                same = (isnan(x) && isnan(y)) || (x == y && signbit(x) == signbit(y));
            } else if (qdisp_table_i64(a, col)) {
                same = qdisp_table_i64(a, col)[row] == qdisp_table_i64(b, col)[row];
            } else {
                const char *x = qdisp_table_str(a, col)[row], *y = qdisp_table_str(b, col)[row];
                same = (!x && !y) || (x && y && !strcmp(x, y));
            }
            if (!same) printf("column %zu, row %zu\n", col, row);
            CHECK(same);
        }
    }
}

TEST(csv_comes_back_as_it_was) {
    qdisp_table *t = awkward_table(), *back = NULL;
    CHECK_STATUS(qdisp_table_save(t, in_folder("a.csv"), "csv"), QDISP_OK);
    CHECK_STATUS(qdisp_table_open_csv(ctx, in_folder("a.csv"), "awkward", &back), QDISP_OK);
    if (back) check_same(t, back);
    qdisp_table_free(t);
    qdisp_table_free(back);
}

TEST(csv_keeps_columns_of_whole_numbers_f64) {
    qdisp_table *t = new_table("t"), *back = NULL;
    qdisp_status status = QDISP_OK;
    qd_table_column(t, &status, "x", "", QDISP_COLUMN_F64);
    for (int i = 0; i < 4; i++) qd_table_f64(t, &status, qd_table_row(t, &status), 0, i - 1.0);
    CHECK_STATUS(qdisp_table_save(t, in_folder("w.csv"), "csv"), QDISP_OK);
    CHECK_STATUS(qdisp_table_open_csv(ctx, in_folder("w.csv"), "t", &back), QDISP_OK);
    if (back) check_same(t, back);
    qdisp_table_free(t);
    qdisp_table_free(back);
}

TEST(csv_of_one_column_with_missing_values) {
    qdisp_table *t = new_table("t"), *back = NULL;
    qdisp_status status = QDISP_OK;
    qd_table_column(t, &status, "x", "", QDISP_COLUMN_I64);
    qdisp_table_add_rows(t, 3, NULL);
    qd_table_i64(t, &status, 1, 0, 5);
    CHECK_STR(write_as(t, "csv"), "x\n\n5\n\n");
    CHECK_STATUS(read_text("x\n\n5\n\n", &back), QDISP_OK);
    if (back) check_same(t, back);
    qdisp_table_free(t);
    qdisp_table_free(back);
}

TEST(csv_from_other_programs) {
    qdisp_table *t = NULL;
    CHECK_STATUS(read_text("a,b,c\r\n1,x,2.5\r\n,\"y\"\"z\",-1e-3\r\n3,,4", &t), QDISP_OK);
    if (t) {
        CHECK(qdisp_table_n_rows(t) == 3 && qdisp_table_n_columns(t) == 3);
        CHECK(qdisp_table_i64(t, 0) && qdisp_table_i64(t, 0)[0] == 1 && qdisp_table_i64(t, 0)[1] == QDISP_MISSING_I64);
        CHECK_STR(qdisp_table_str(t, 1)[1], "y\"z");
        CHECK(qdisp_table_str(t, 1)[2] == NULL);
        CHECK(qdisp_table_f64(t, 2) && qdisp_table_f64(t, 2)[1] == -1e-3 && qdisp_table_f64(t, 2)[2] == 4);
        qdisp_table_free(t);
    }
    t = NULL;
    /* a spreadsheet marks UTF-8 with a byte order mark */
    CHECK_STATUS(read_text("\xef\xbb\xbf" "tensor,bits\nx,4\n", &t), QDISP_OK);
    if (t) CHECK(qdisp_table_find(t, "tensor") == 0);
    qdisp_table_free(t);
    t = NULL;
    CHECK_STATUS(read_text("a,b\n", &t), QDISP_OK); /* no rows is a table too */
    if (t) CHECK(qdisp_table_n_rows(t) == 0 && qdisp_table_n_columns(t) == 2);
    qdisp_table_free(t);
    t = NULL;
    CHECK_STATUS(read_text("n\n9223372036854775807\n9223372036854775808\n", &t), QDISP_OK); /* beyond 64 bits */
    if (t) CHECK(qdisp_table_f64(t, 0) && qdisp_table_f64(t, 0)[1] == 9223372036854775808.0);
    qdisp_table_free(t);
}

TEST(bad_csv_is_refused_with_its_line) {
    static const struct {
        const char *text, *part;
        qdisp_status status;
    } rows[] = {
        {"", "in.csv", QDISP_EFORMAT},
        {"a,b\n1,2\n3\n", "line 3", QDISP_EFORMAT},
        {"a,b\n1,2,3\n", "line 2", QDISP_EFORMAT},
        {"a,\n1,2\n", "column 2 has no name", QDISP_EFORMAT},
        {"a,a\n1,2\n", "column 'a'", QDISP_EFORMAT},
        {"a\n\"x\ny\n", "line 2", QDISP_EFORMAT},
        {"a\n\"x\ny\"\nz,1\n", "line 4", QDISP_EFORMAT},
        {"a\n\xff\n", "byte 2", QDISP_EENCODING},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qdisp_table *t = NULL;
        CHECK_STATUS(read_text(rows[i].text, &t), rows[i].status);
        CHECK_HAS(qdisp_ctx_error(ctx), rows[i].part);
        CHECK_HAS(qdisp_ctx_error(ctx), "in");
        CHECK(t == NULL);
        qdisp_table_free(t);
    }
    qdisp_table *t = NULL;
    write_plain(in_folder("nul.csv"), "a\nx\0y\n", 6);
    CHECK_STATUS(qdisp_table_open_csv(ctx, in_folder("nul.csv"), "x", &t), QDISP_EFORMAT);
    CHECK_STATUS(qdisp_table_open_csv(ctx, in_folder("none.csv"), "x", &t), QDISP_ENOTFOUND);
    CHECK_HAS(qdisp_ctx_error(ctx), "none.csv");
    CHECK_STATUS(qdisp_table_open_csv(ctx, folder, "x", &t), QDISP_EIO);
}

TEST(json_parses_and_missing_is_null) {
    qdisp_table *t = awkward_table();
    json_error_t error;
    json_t *o = json_loads(write_as(t, "json"), 0, &error);
    CHECK(o != NULL);
    CHECK_STR(json_string_value(json_object_get(o, "name")), "awkward");
    CHECK_STR(json_string_value(json_object_get(o, "title")), "A title");
    json_t *columns = json_object_get(o, "columns"), *rows = json_object_get(o, "rows");
    CHECK(json_array_size(columns) == 3 && json_array_size(rows) == N_AWKWARD);
    CHECK_STR(json_string_value(json_object_get(json_array_get(columns, 1), "unit")), "m");
    for (size_t i = 0; i < N_AWKWARD; i++) {
        json_t *row = json_array_get(rows, i), *text = json_object_get(row, "text, with \"all\"\nof it");
        double x = numbers[i % (sizeof numbers / sizeof *numbers)];
        int64_t k = integers[i % (sizeof integers / sizeof *integers)];
        if (awkward[i]) CHECK_STR(json_string_value(text), awkward[i]);
        else CHECK(json_is_null(text));
        if (isfinite(x)) CHECK(json_is_real(json_object_get(row, "number")) && json_real_value(json_object_get(row,
            "number")) == x);
        else CHECK(json_is_null(json_object_get(row, "number")));
        if (k == QDISP_MISSING_I64) CHECK(json_is_null(json_object_get(row, "12")));
        else CHECK(json_integer_value(json_object_get(row, "12")) == k);
    }
    json_decref(o);
    qdisp_table_free(t);
}

static size_t widest_line(const char *text) {
    size_t most = 0;
    for (const char *at = text; *at;) {
        size_t n = strcspn(at, "\n");
        char *line = strndup(at, n);
        if (qd_text_width(line) > most) most = qd_text_width(line);
        free(line);
        at += n + (at[n] == '\n');
    }
    return most;
}

TEST(text_fits_100_columns_and_repeats_its_keys) {
    qdisp_table *t = new_table("wide");
    qdisp_status status = QDISP_OK;
    qd_table_column(t, &status, "language", "", QDISP_COLUMN_STR);
    qd_table_column(t, &status, "script", "", QDISP_COLUMN_STR);
    const char *const parts[] = {"pred", "loss", "low", "high"};
    for (int q = 0; q < 9; q++)
        for (int k = 0; k < 4; k++) {
            char name[32];
            snprintf(name, sizeof name, "method%d.%s", q, parts[k]);
            qd_table_column(t, &status, name, "", QDISP_COLUMN_F64);
        }
    const char *const tags[] = {"sw", "日本語の長い名前", "en"};
    for (size_t l = 0; l < 3; l++) {
        size_t row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, 0, tags[l]);
        qd_table_str(t, &status, row, 1, "Latn");
        for (size_t c = 2; c < 38; c++) qd_table_f64(t, &status, row, c, (double)c * 0.123 * (double)(l + 1));
    }
    CHECK_STATUS(status, QDISP_OK);
    const char *text = write_as(t, "text");
    CHECK(widest_line(text) <= 100);
    CHECK(!strncmp(text, "A title\n\n", 9));
    size_t n_tags = 0, n_headings = 0;
    for (const char *at = text; (at = strstr(at, "\nsw")); at++) n_tags++;
    for (int q = 0; q < 9; q++) {
        char name[32];
        snprintf(name, sizeof name, "method%d", q);
        const char *at = strstr(text, name);
        n_headings += at && !strstr(at + 1, name); /* once: a group is never torn apart */
    }
    CHECK(n_tags > 1 && n_headings == 9);
    /* columns stand under each other whatever the width of the characters */
    size_t widths[3] = {0};
    for (size_t l = 0; l < 3; l++) {
        const char *at = strstr(text, tags[l]), *script = at ? strstr(at, "Latn") : NULL;
        CHECK(script != NULL);
        if (!script) break;
        char *head = strndup(at, (size_t)(script - at));
        widths[l] = qd_text_width(head);
        free(head);
    }
    CHECK(widths[0] == widths[1] && widths[1] == widths[2]);
    qdisp_table_free(t);
}

TEST(text_shows_what_is_there) {
    qdisp_table *t = awkward_table();
    const char *text = write_as(t, "text");
    size_t n_lines = 0;
    for (const char *at = text; *at; at++) n_lines += *at == '\n';
    CHECK(n_lines == 2 + 1 + N_AWKWARD); /* title, an empty line, names, and a line a row: no cell breaks its line */
    CHECK(widest_line(text) <= 100);
    for (const char *at = text; *at; at++) CHECK(*at == '\n' || (unsigned char)*at >= 32);
    qdisp_table_free(t);
    t = new_table("empty");
    CHECK(strlen(write_as(t, "text")) > 0);
    CHECK(strlen(write_as(t, "csv")) > 0);
    CHECK(strlen(write_as(t, "markdown")) > 0);
    json_t *o = json_loads(write_as(t, "json"), 0, NULL);
    CHECK(o != NULL);
    json_decref(o);
    qdisp_table_free(t);
    t = new_table("long");
    qdisp_status status = QDISP_OK;
    qd_table_column(t, &status, "name", "", QDISP_COLUMN_STR);
    char longest[1000];
    memset(longest, 'w', sizeof longest);
    longest[999] = 0;
    qd_table_str(t, &status, qd_table_row(t, &status), 0, longest);
    CHECK(widest_line(write_as(t, "text")) <= 100);
    CHECK_HAS(written.text, "www...");
    qdisp_table_free(t);
}

TEST(markdown_is_a_pipe_table) {
    qdisp_table *t = new_table("m");
    qdisp_status status = QDISP_OK;
    qd_table_column(t, &status, "a|b", "", QDISP_COLUMN_STR);
    qd_table_column(t, &status, "x", "", QDISP_COLUMN_F64);
    size_t row = qd_table_row(t, &status);
    qd_table_str(t, &status, row, 0, "p|q\nr");
    qd_table_f64(t, &status, row, 1, 0.5);
    qd_table_row(t, &status);
    CHECK_STR(write_as(t, "markdown"), "**A title**\n\n| a\\|b | x |\n|---|---:|\n| p\\|q r | 0.5000 |\n| - | - |\n");
    qdisp_table_free(t);
}

TEST(a_locale_with_a_decimal_comma_has_no_say) {
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "ru_RU.UTF-8"};
    const char *set = NULL;
    char command[256];
    for (size_t i = 0; !set && i < sizeof names / sizeof *names; i++) set = setlocale(LC_NUMERIC, names[i]);
    if (!set) { /* none is installed: make one, if the sources of locales are there */
        snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 '%s/de_DE.UTF-8' >'%s/log' 2>&1", folder,
            folder);
        if (system(command) == 0 && setenv("LOCPATH", folder, 1) == 0) set = setlocale(LC_NUMERIC, "de_DE.UTF-8");
    }
    if (!set) SKIP("no locale with a decimal comma is installed and localedef cannot make one");
    qdisp_table *t = awkward_table(), *back = NULL;
    CHECK_STATUS(qdisp_table_save(t, in_folder("l.csv"), "csv"), QDISP_OK);
    CHECK_STATUS(qdisp_table_open_csv(ctx, in_folder("l.csv"), "awkward", &back), QDISP_OK);
    if (back) check_same(t, back);
    json_t *o = json_loads(write_as(t, "json"), 0, NULL);
    CHECK(o != NULL);
    json_decref(o);
    setlocale(LC_NUMERIC, "C");
    qdisp_table_free(t);
    qdisp_table_free(back);
}

TEST(reports_hold_tables) {
    qdisp_report *r = NULL;
    CHECK_STATUS(qdisp_report_new(ctx, "study", &r), QDISP_OK);
    qdisp_table *t = new_table("one");
    qdisp_status status = QDISP_OK;
    qd_table_column(t, &status, "x", "", QDISP_COLUMN_I64);
    qd_table_i64(t, &status, qd_table_row(t, &status), 0, 1);
    CHECK_STATUS(qdisp_report_add(r, t), QDISP_OK);
    CHECK_STATUS(qdisp_report_add(r, new_table("one")), QDISP_EINVAL); /* freed by the report */
    CHECK_STATUS(qdisp_report_add(r, NULL), QDISP_EINVAL);
    CHECK_STATUS(qdisp_report_add(r, awkward_table()), QDISP_OK);
    CHECK(qdisp_report_n_tables(r) == 2 && qdisp_report_table(r, 0) == t && !qdisp_report_table(r, 2));
    CHECK(qdisp_report_find(r, "one") == t && !qdisp_report_find(r, "two"));
    CHECK_STR(qdisp_report_name(r), "study");
    written.n = 0, written.refuse = 0;
    CHECK_STATUS(qdisp_report_write(r, "json", take, &written), QDISP_OK);
    json_t *o = json_loads(written.text, 0, NULL), *tables = json_object_get(o, "tables");
    CHECK_STR(json_string_value(json_object_get(o, "report")), "study");
    CHECK(json_object_size(tables) == 2 && json_object_get(tables, "awkward"));
    json_decref(o);
    written.n = 0;
    CHECK_STATUS(qdisp_report_write(r, "csv", take, &written), QDISP_OK);
    CHECK(!strncmp(written.text, "x\n1\n\n", 5));
    CHECK_STATUS(qdisp_report_write(r, "nope", take, &written), QDISP_EINVAL);
    CHECK_STATUS(qdisp_report_save(r, in_folder("r.md"), "markdown"), QDISP_OK);
    CHECK(access(in_folder("r.md"), R_OK) == 0);
    qdisp_report_free(r);
    qdisp_report_free(NULL);
}

int main(void) {
    snprintf(folder, sizeof folder, "/tmp/qdisp-table-XXXXXX");
    if (!mkdtemp(folder) || qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(cells_start_missing_and_take_values);
    RUN(bad_calls_are_refused);
    RUN(a_table_outlives_its_context_handle);
    RUN(csv_comes_back_as_it_was);
    RUN(csv_keeps_columns_of_whole_numbers_f64);
    RUN(csv_of_one_column_with_missing_values);
    RUN(csv_from_other_programs);
    RUN(bad_csv_is_refused_with_its_line);
    RUN(json_parses_and_missing_is_null);
    RUN(text_fits_100_columns_and_repeats_its_keys);
    RUN(text_shows_what_is_there);
    RUN(markdown_is_a_pipe_table);
    RUN(a_locale_with_a_decimal_comma_has_no_say);
    RUN(reports_hold_tables);
    qdisp_ctx_free(ctx);
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    if (system(command) != 0) puts("temporary folder left behind");
    return TEST_END();
}
