/* quant_rtn.c - round to nearest: every threshold is the largest |w| of its unit. */
#include "quant/rows.h"

#include <math.h>
#include <string.h>

qdisp_status qd_rtn_choose(const qd_rows *rows) {
    qd_choice *c = rows->c;
    c->error_rel_model = NAN;
    memset(c->clips, 0, c->n_units);
    memset(c->gains, 0, c->n_units);
    if (c->units_per_row) return QDISP_OK;
    QD_TRY(qd_rows_range(rows, &c->range));
    c->alpha = qd_range_most(c->range);
    return QDISP_OK;
}

static qdisp_status choose(const qdisp_quantizer *q, const qd_languages *languages, qd_choice *choices, size_t n) {
    (void)languages;
    return qd_choose_each(q->ctx, choices, n, qd_rtn_choose);
}

const qd_method qd_method_rtn = {"rtn", "weights", "round to nearest, min-max", QD_UNUSED, choose};
