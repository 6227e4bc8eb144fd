/* keep.c - weights that stay in 16 bits, from a table of super weights to the choices of their tensors. */
#include "quant/quant.h"

#include <stdlib.h>
#include <string.h>

void qd_keeps_free(qdisp_ctx *ctx, qd_keep *keeps, size_t n) {
    for (size_t i = 0; keeps && i < n; i++) qd_free(ctx, keeps[i].tensor);
    qd_free(ctx, keeps);
}

qdisp_status qd_keeps_parse(qdisp_ctx *ctx, const qdisp_table *t, qd_keep **out, size_t *n_out) {
    const char *const *tensor = qdisp_table_str(t, qdisp_table_find(t, "tensor"));
    const int64_t *row = qdisp_table_i64(t, qdisp_table_find(t, "row"));
    const int64_t *column = qdisp_table_i64(t, qdisp_table_find(t, "column"));
    size_t n = qdisp_table_n_rows(t);
    if (n && (!tensor || !row || !column))
        return qd_fail(ctx, QDISP_EINVAL, "keep: table %s needs columns tensor (text), row and column (numbers)",
                       qdisp_table_name(t));
    qd_keep *keeps = qd_alloc(ctx, n, sizeof *keeps);
    if (!keeps) return QDISP_ENOMEM;
    qdisp_status status = QDISP_OK;
    for (size_t i = 0; i < n && status == QDISP_OK; i++) {
        if (!tensor[i] || row[i] < 0 || column[i] < 0) {
            status = qd_fail(ctx, QDISP_EINVAL, "keep: row %zu of the table has no tensor or no place", i + 1);
            break;
        }
        keeps[i] = (qd_keep){qd_strdup(ctx, tensor[i]), (uint64_t)row[i], (uint64_t)column[i]};
        if (!keeps[i].tensor) status = QDISP_ENOMEM;
    }
    if (status == QDISP_OK) *out = keeps, *n_out = n;
    else qd_keeps_free(ctx, keeps, n);
    return status;
}

static int ascending(const void *x, const void *y) {
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return (a > b) - (a < b);
}

/* Sorted, each once. */
static void tidy(qd_choice *c) {
    size_t n = 0;
    qsort(c->keep, c->n_keep, sizeof *c->keep, ascending);
    for (size_t k = 0; k < c->n_keep; k++)
        if (k == 0 || c->keep[k] != c->keep[n - 1]) c->keep[n++] = c->keep[k];
    c->n_keep = n;
}

qdisp_status qd_keeps_apply(const qdisp_quantizer *q, qd_choice *choices, size_t n) {
    for (size_t i = 0; i < q->n_keeps; i++) {
        const qd_keep *k = &q->keeps[i];
        size_t t = 0;
        while (t < n && strcmp(choices[t].name, k->tensor)) t++;
        if (t == n)
            return qd_fail(q->ctx, QDISP_EMISMATCH, "keep: row %zu: the plan has no tensor '%s'", i + 1, k->tensor);
        qd_choice *c = &choices[t];
        if (k->row >= c->n_out || k->column >= c->n_in)
            return qd_fail(q->ctx, QDISP_EMISMATCH, "keep: row %zu: %s is [%zu, %zu], the weight at %llu, %llu", i + 1,
                           c->name, c->n_out, c->n_in, (unsigned long long)k->row, (unsigned long long)k->column);
        if (!c->keep && !(c->keep = qd_alloc(q->ctx, q->n_keeps, sizeof *c->keep))) return QDISP_ENOMEM;
        c->keep[c->n_keep++] = k->row * c->n_in + k->column;
    }
    for (size_t t = 0; t < n; t++)
        if (choices[t].keep) tidy(&choices[t]);
    return QDISP_OK;
}
