/* pack_folder.c - the model with its dequantized weights as a Hugging Face folder (F32), for any program that loads
 * such folders. */
#include "quant/engine.h"

static qdisp_status open(const qd_packing *packing, void **state) {
    return qd_dequantized_open(packing, (qd_dequantized **)state);
}

static qdisp_status put(void *state, size_t i_choice, const qd_codes *codes) {
    return qd_dequantized_put(state, i_choice, codes);
}

static qdisp_status commit(void *state) {
    qdisp_model *model = NULL;
    const char *path = ((qd_dequantized *)state)->packing->path;
    QD_TRY(qd_dequantized_commit(state, &model));
    qdisp_status status = qdisp_model_save(model, path);
    qdisp_model_free(model);
    return status;
}

static void discard(void *state) {
    qd_dequantized_discard(state);
}

const qd_packer qd_packer_folder = {"folder", "dequantized weights, F32, as a Hugging Face folder", NULL, open, put,
                                    commit, discard};
