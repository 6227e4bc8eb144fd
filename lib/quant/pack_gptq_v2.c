/* pack_gptq_v2.c - GPTQ checkpoints of the second form, which store zero points as they are. */
#include "quant/pack_gptq.h"

static qdisp_status open_second(const qd_packing *p, void **state) {
    return qd_gptq_open(p, true, state);
}

const qd_packer qd_packer_gptq_v2 = {"gptq_v2", "GPTQ checkpoint, second form: any zero point", qd_gptq_check,
                                     open_second, qd_gptq_put, qd_gptq_commit, qd_gptq_discard};
