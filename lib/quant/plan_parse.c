/* plan_parse.c - rows of a plan as choices. A plan comes from a file that people and programs edit: every cell is
 * checked before anything is done, and the message names row and column. */
#include "quant/quant.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Columns of a plan from outside: any type that holds the value will do, as a file tells numbers from text by looks. */
enum { TENSOR, BITS, GROUP_SIZE, LEVELS, ALPHA, CLIP, GAIN, METHOD, TYPE, INPUTS, WEIGHTS, KEEP, OPTIONS, N_COLUMNS };
static const char *const column_names[N_COLUMNS] = {"tensor", "bits", "group_size", "levels", "alpha",
                                                    "clip",   "gain", "method",     "type",   "inputs",
                                                    "weights", "keep", "options"};
enum { N_NEEDED = GAIN }; /* the first must be there; the others have defaults, also where a cell is empty */
#define NO_COLUMN ((size_t)-1)

typedef struct parser {
    qdisp_ctx *ctx;
    const qdisp_table *plan;
    const qdisp_model *model;
    size_t columns[N_COLUMNS];
    size_t row;
} parser;

static qdisp_status find_columns(parser *p) {
    for (size_t i = 0; i < N_COLUMNS; i++) {
        p->columns[i] = qdisp_table_find(p->plan, column_names[i]);
        if (i < N_NEEDED && p->columns[i] == NO_COLUMN)
            return qd_fail(p->ctx, QDISP_EINVAL, "plan: no column '%s'", column_names[i]);
    }
    return QDISP_OK;
}

static double number_at(const parser *p, int column) {
    size_t at = p->columns[column];
    if (at == NO_COLUMN) return NAN;
    if (qdisp_table_f64(p->plan, at)) return qdisp_table_f64(p->plan, at)[p->row];
    if (qdisp_table_i64(p->plan, at)) {
        int64_t v = qdisp_table_i64(p->plan, at)[p->row];
        return v == QDISP_MISSING_I64 ? NAN : (double)v;
    }
    return qdisp_table_str(p->plan, at)[p->row] ? INFINITY : NAN; /* text is out of every range */
}

/* NULL: nothing there. A cell of digits alone may have made its column one of numbers: *number tells. */
static const char *text_at(const parser *p, int column, bool *number) {
    size_t at = p->columns[column];
    *number = false;
    if (at == NO_COLUMN) return NULL;
    if (qdisp_table_str(p->plan, at)) return qdisp_table_str(p->plan, at)[p->row];
    *number = !isnan(number_at(p, column));
    return NULL;
}

static qdisp_status bad(const parser *p, int column, const char *reason) {
    return qd_fail(p->ctx, QDISP_EINVAL, "plan row %zu: %s %s", p->row + 1, column_names[column], reason);
}

/* The text of a cell that is not NULL, or a message. */
static qdisp_status read_text(const parser *p, int column, const char **text) {
    bool number;
    *text = text_at(p, column, &number);
    return number ? bad(p, column, "is a number, not text") : QDISP_OK;
}

/* ---- cells ---- */

/* A character a unit, or one for all. */
static qdisp_status parse_codes(const parser *p, int column, const char *what, size_t n_units, uint8_t *codes) {
    const char *text;
    QD_TRY(read_text(p, column, &text));
    if (!text && column >= N_NEEDED) return QDISP_OK; /* "A" */
    size_t n = text ? strlen(text) : 0;
    if (n != 1 && n != n_units)
        return qd_fail(p->ctx, QDISP_EMISMATCH, "plan row %zu: %s has %zu characters, the tensor %zu %s", p->row + 1,
                       column_names[column], n, n_units, what);
    for (size_t u = 0; u < n_units; u++) {
        const char *at = strchr(QD_CLIP_CODES, text[n == 1 ? 0 : u]);
        if (!at)
            return qd_fail(p->ctx, QDISP_EINVAL, "plan row %zu: %s character %zu is not one of A-Z a-z 0-9 - _",
                           p->row + 1, column_names[column], u + 1);
        codes[u] = (uint8_t)(at - QD_CLIP_CODES);
    }
    return QDISP_OK;
}

static qdisp_status parse_inputs(const parser *p, qd_choice *c) {
    const char *text;
    QD_TRY(read_text(p, INPUTS, &text));
    if (!text) return QDISP_OK;
    c->inputs = qd_alloc(p->ctx, c->n_in, 1);
    return c->inputs ? parse_codes(p, INPUTS, "inputs", c->n_in, c->inputs) : QDISP_ENOMEM;
}

/* A decimal number of digits alone, below limit. */
static bool read_index(const char **text, size_t limit, size_t *out) {
    size_t value = 0, n = strspn(*text, "0123456789");
    if (n == 0 || n > 18) return false;
    for (size_t i = 0; i < n; i++) value = 10 * value + (size_t)((*text)[i] - '0');
    *text += n;
    *out = value;
    return value < limit;
}

static qdisp_status parse_keep(const parser *p, qd_choice *c) {
    const char *text;
    QD_TRY(read_text(p, KEEP, &text));
    if (!text) return QDISP_OK;
    c->keep = qd_alloc(p->ctx, strlen(text) / 4 + 1, sizeof *c->keep); /* "0:0 " is the shortest */
    if (!c->keep) return QDISP_ENOMEM;
    for (const char *at = text;; at++) {
        size_t row, column;
        if (!read_index(&at, c->n_out, &row) || *at++ != ':' || !read_index(&at, c->n_in, &column) ||
            (*at && *at != ' '))
            return bad(p, KEEP, "is not row:column pairs of the matrix, with single spaces between them");
        uint64_t place = (uint64_t)row * c->n_in + column;
        if (c->n_keep > 0 && c->keep[c->n_keep - 1] >= place) return bad(p, KEEP, "is not in ascending order");
        c->keep[c->n_keep++] = place;
        if (!*at) return QDISP_OK;
    }
}

/* A cell of pairs, checked, as an own string. */
static qdisp_status parse_pairs(const parser *p, int column, const qd_method *method, char **out) {
    const char *text;
    char place[40];
    QD_TRY(read_text(p, column, &text));
    if (!text) return QDISP_OK;
    snprintf(place, sizeof place, "plan row %zu", p->row + 1);
    QD_TRY(column == OPTIONS ? qd_options_check(p->ctx, place, text, method) : qd_weights_check(p->ctx, place, text));
    *out = qd_strdup(p->ctx, text);
    return *out ? QDISP_OK : QDISP_ENOMEM;
}

/* ---- a row ---- */

static qdisp_status find_linear(const parser *p, size_t *i_linear) {
    const qdisp_model *model = p->model;
    const char *name;
    size_t i = 0;
    QD_TRY(read_text(p, TENSOR, &name));
    while (i < model->n_linears && (!name || strcmp(model->tensors[model->linears[i].i_weight].name, name))) i++;
    *i_linear = i;
    if (i < model->n_linears) return QDISP_OK;
    return qd_fail(p->ctx, QDISP_EMISMATCH, "plan row %zu: the model has no linear map '%s'", p->row + 1,
                   name ? name : "");
}

static qdisp_status parse_method(const parser *p, const qd_method **method, const char **type) {
    const char *name, *text;
    QD_TRY(read_text(p, METHOD, &name));
    QD_TRY(read_text(p, TYPE, &text));
    *method = qd_method_find(name ? name : "rtn");
    if (!*method) return bad(p, METHOD, "is none of those that 'qdisp_quantizers' lists");
    const char *own = (*method)->type;
    *type = own ? own : "int";
    if (own && text && strcmp(text, own))
        return qd_fail(p->ctx, QDISP_EINVAL, "plan row %zu: type %s is not that of %s", p->row + 1, text, own);
    if (!own && text && strcmp(text, "int")) *type = qd_block_type_static(text);
    return *type ? QDISP_OK : bad(p, TYPE, "is neither int nor a type of GGUF's blocks");
}

/* bits, group_size, levels */
static qdisp_status parse_grid(const parser *p, qd_choice *c) {
    const char *levels;
    double bits = number_at(p, BITS), group_size = number_at(p, GROUP_SIZE);
    if (!(bits >= 2 && bits <= 8) || bits != rint(bits)) return bad(p, BITS, "is not 2..8");
    if (group_size != rint(group_size) || !(group_size == -2 || group_size == -1 || group_size >= 8) ||
        group_size > 1e9)
        return bad(p, GROUP_SIZE, "is not 8 or more, -1 (channel) or -2 (tensor)");
    QD_TRY(read_text(p, LEVELS, &levels));
    if (!levels || !qd_levels_find(levels, &c->levels)) return bad(p, LEVELS, "is not narrow, full or asym");
    c->bits = (int)bits;
    c->group_size = (int64_t)group_size;
    c->n_units = qd_unit_count(c->n_out, c->n_in, c->group_size, &c->units_per_row);
    return QDISP_OK;
}

/* A type fixes all of that; what stands in for one has its own name in the plan. */
static qdisp_status parse_block(const parser *p, qd_choice *c) {
    const char *type = c->type;
    QD_TRY(qd_choice_set_block(p->ctx, c, type));
    c->n_units = 1;
    return c->type == type ? QDISP_OK
                           : qd_fail(p->ctx, QDISP_EMISMATCH, "plan row %zu: type %s: rows of %zu are no whole blocks",
                                     p->row + 1, type, c->n_in);
}

static qdisp_status parse_row(const parser *p, qd_choice *c) {
    size_t i;
    QD_TRY(find_linear(p, &i));
    const qd_linear *linear = &p->model->linears[i];
    const qdisp_tensor *t = &p->model->tensors[linear->i_weight];
    *c = (qd_choice){.name = t->name, .data = t->data, .dtype = (qdisp_dtype)t->dtype,
                     .i_tensor = linear->i_weight, .i_linear = i, .slot = linear->slot,
                     .n_out = linear->n_out, .n_in = linear->n_in, .alpha = (float)number_at(p, ALPHA)};
    qd_input_find(p->model, i, &c->input);
    QD_TRY(parse_method(p, &c->method, &c->type));
    if (strcmp(c->type, "int") && !c->method->type) QD_TRY(parse_block(p, c));
    else QD_TRY(parse_grid(p, c));
    c->clips = qd_alloc(p->ctx, c->n_units, 1);
    c->gains = qd_alloc(p->ctx, c->n_units, 1);
    if (!c->clips || !c->gains) return QDISP_ENOMEM;
    if (!qd_choice_block(c)) QD_TRY(parse_codes(p, GAIN, "groups", c->n_units, c->gains));
    QD_TRY(parse_inputs(p, c));
    QD_TRY(parse_keep(p, c));
    QD_TRY(parse_pairs(p, WEIGHTS, c->method, &c->weights));
    QD_TRY(parse_pairs(p, OPTIONS, c->method, &c->options));
    if (qd_choice_block(c)) return QDISP_OK;
    if (c->method->check) QD_TRY(c->method->check(p->ctx, c));
    if (c->units_per_row) return parse_codes(p, CLIP, "groups", c->n_units, c->clips);
    double alpha = number_at(p, ALPHA);
    return alpha >= 0 && isfinite(alpha) ? QDISP_OK : bad(p, ALPHA, "is not a number of 0 or more");
}

/* Row by row, so that a long list of one tensor is not read to its end. */
static qdisp_status check_distinct(const parser *p, const qd_choice *choices) {
    for (size_t k = 0; k < p->row; k++)
        if (choices[p->row].i_tensor == choices[k].i_tensor)
            return qd_fail(p->ctx, QDISP_EINVAL, "plan rows %zu and %zu name the same tensor", k + 1, p->row + 1);
    return QDISP_OK;
}

qdisp_status qd_plan_parse(const qdisp_table *plan, const qdisp_model *model, qd_choice **choices, size_t *n) {
    parser p = {.ctx = model->ctx, .plan = plan, .model = model};
    QD_TRY(find_columns(&p));
    size_t n_rows = qdisp_table_n_rows(plan);
    qd_choice *list = qd_alloc(p.ctx, n_rows, sizeof *list);
    qdisp_status status = list ? QDISP_OK : QDISP_ENOMEM;
    for (; p.row < n_rows && status == QDISP_OK; p.row++) {
        status = parse_row(&p, &list[p.row]);
        if (status == QDISP_OK) status = check_distinct(&p, list);
    }
    if (status != QDISP_OK) {
        qd_choices_free(p.ctx, list, list ? n_rows : 0);
        return status;
    }
    *choices = list;
    *n = n_rows;
    return QDISP_OK;
}
