/* fuzz_tokenizer.c - a tokenizer.json that opens must encode and decode without harm, or say why not. */
#include "fuzz.h"

#include <qdisp/tokenizer.h>

static void use(const qdisp_tokenizer *tokenizer, const char *text, size_t n) {
    int32_t ids[512];
    size_t starts[512], n_ids = 0, n_bytes = 0;
    char out[8192];
    if (qdisp_tokenizer_encode(tokenizer, text, n, ids, starts, 512, &n_ids) != QDISP_OK || n_ids > 512) return;
    for (size_t i = 0; i < n_ids; i++) require(starts[i] <= n && qdisp_tokenizer_token(tokenizer, ids[i]) != NULL);
    qdisp_tokenizer_decode(tokenizer, ids, n_ids, 0, out, sizeof out, &n_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] = "The cat, 12 \xe7\x8c\xab \xd7\x97\xd7\xaa\xd7\x95\xd7\x9c  a\xcc\x81 <s>\n x";
    qdisp_ctx *ctx = NULL;
    qdisp_tokenizer *tokenizer = NULL;
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 0;
    if (qdisp_tokenizer_open(ctx, fuzz_file(data, size), &tokenizer) == QDISP_OK) {
        use(tokenizer, text, sizeof text - 1);
        use(tokenizer, (const char *)data, size < 300 ? size : 300);
    } else {
        require(tokenizer == NULL && qdisp_ctx_error(ctx)[0]);
    }
    qdisp_tokenizer_free(tokenizer);
    qdisp_ctx_free(ctx);
    return 0;
}
