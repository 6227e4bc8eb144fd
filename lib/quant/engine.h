/* engine.h - a plan carried out: tensor after tensor in the order of the forward pass, each to a packer. */
#ifndef QD_ENGINE_H
#define QD_ENGINE_H

#include "quant/packers.h"

/* The model with dequantized weights, as a packer's state. */
typedef struct qd_dequantized {
    const qd_packing *packing;
    size_t *i_tensors, n; /* of those that came */
    float **data;
} qd_dequantized;
qdisp_status qd_dequantized_open(const qd_packing *packing, qd_dequantized **out);
qdisp_status qd_dequantized_put(qd_dequantized *d, size_t i_choice, const qd_codes *codes);
qdisp_status qd_dequantized_commit(qd_dequantized *d, qdisp_model **out); /* frees d */
void qd_dequantized_discard(qd_dequantized *d);

#endif
