/* quant_imatrix.c - GGUF's blocks under an importance matrix: each input channel weighs what the languages, mixed by
 * the plan's weights, send into it. The blocks are llama.cpp's for the same importances. */
#include "quant/quant.h"

static qdisp_status choose(const qdisp_quantizer *q, const qd_languages *languages, qd_choice *choices, size_t n) {
    (void)languages;
    for (size_t i = 0; i < n; i++)
        if (!qd_choice_block(&choices[i]))
            return qd_fail(q->ctx, QDISP_EINVAL, "imatrix needs a type of blocks, q4_k for one, not int");
    return QDISP_OK;
}

extern const qd_method qd_method_imatrix;
const qd_method qd_method_imatrix = {
    .name = "imatrix",
    .needs = "weights, activations of each language; a type of GGUF's blocks",
    .paper = "llama.cpp (Kawrakow 2024), importances by language here",
    .needs_calib = QD_NEEDED,
    .choose = choose,
    .needs_e = true,
};
