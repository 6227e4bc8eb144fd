/* quant_rtn.c - round to nearest: every threshold is the largest |w| of its unit. */
#include "quant/quant.h"

#include <math.h>
#include <string.h>

qdisp_status qd_rtn_choose(const qdisp_model *model, qd_choice *c) {
    qd_tensor_work work;
    c->error_rel_model = NAN;
    memset(c->clips, 0, c->n_units);
    memset(c->gains, 0, c->n_units);
    if (c->units_per_row) return QDISP_OK;
    QD_TRY(qd_tensor_work_open(model, c, &work));
    qdisp_status status = qd_unit_absmax(model, c, work.w, c->n_out * c->n_in, &c->alpha);
    qd_tensor_work_close(&work);
    return status;
}

static qdisp_status choose(const qdisp_quantizer *q, const qdisp_model *model, const qdisp_calib *calib,
                           qd_choice *choices, size_t n) {
    (void)calib;
    return qd_choose_each(q->ctx, model, choices, n, qd_rtn_choose);
}

const qd_method qd_method_rtn = {"rtn", "weights", "round to nearest, min-max", false, choose};
