/* fuzz_gguf.c - whatever the GGUF reader accepts must be consistent: every tensor readable, every value in the file. */
#include "fuzz.h"

#include "tensor/gguf.h"
#include "use_tensors.h"

static void use_values(const qd_gguf *gguf, const uint8_t *data, size_t size) {
    for (size_t i = 0; i < gguf->n_values; i++) {
        const qd_gguf_value *v = &gguf->values[i];
        const uint8_t *at = NULL;
        qd_gguf_text text;
        int64_t integer;
        double number;
        require(v->data >= data && v->data <= data + size);
        for (size_t k = 0; k < v->n; k++) {
            if (qd_gguf_int(v, k, &integer)) require(qd_gguf_number(v, k, &number));
            if (qd_gguf_next(v, &at, &text)) require((const uint8_t *)text.text + text.n <= data + size);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qdisp_ctx *ctx = NULL;
    qd_tensor_file *file = NULL;
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 0;
    if (size >= 4 && !memcmp(data, "GGUF", 4)) {
        if (qd_tensor_file_parse(ctx, "fuzz", data, size, &file) == QDISP_OK) {
            require(file->gguf != NULL);
            use_values(file->gguf, data, size);
            use_tensors(ctx, file);
            qd_tensor_file_free(file);
        } else {
            require(file == NULL && qdisp_ctx_error(ctx)[0]);
        }
    }
    qdisp_ctx_free(ctx);
    return 0;
}
