/* pack_gptq.h - what both forms of GPTQ checkpoints share: see pack_gptq.c. */
#ifndef QD_PACK_GPTQ_H
#define QD_PACK_GPTQ_H

#include "quant/checkpoint.h"

qdisp_status qd_gptq_check(const qd_packing *packing);
qdisp_status qd_gptq_open(const qd_packing *packing, bool is_v2, void **state);
qdisp_status qd_gptq_put(void *state, size_t i_choice, const qd_codes *codes);
qdisp_status qd_gptq_commit(void *state);
void qd_gptq_discard(void *state);

#endif
