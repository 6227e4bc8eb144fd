/* fuzz_config.c - any text as the config.json of a model, of whatever architecture it names: refused, as there are no
 * tensors, or by its own fault; never a crash. */
#include "fuzz.h"

#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qdisp_ctx *ctx = NULL;
    qdisp_model *model = NULL;
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 0;
    char *text = malloc(size + 1);
    require(text != NULL);
    memcpy(text, data, size);
    text[size] = 0;
    require(qdisp_model_from_tensors(ctx, text, NULL, 0, &model) != QDISP_OK && !model);
    require(*qdisp_ctx_error(ctx) != 0);
    free(text);
    qdisp_ctx_free(ctx);
    return 0;
}
