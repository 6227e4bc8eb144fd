/* split_quantized.h - a config and a safetensors file in one: u32 length of the config, the config, the file. */
#ifndef SPLIT_QUANTIZED_H
#define SPLIT_QUANTIZED_H

#include "tensor/quantized.h"

static inline qdisp_status open_quantized(qdisp_ctx *ctx, const char *label, const uint8_t *data, size_t size,
                                          qd_tensor_file **out) {
    uint32_t n = 0;
    qd_tensor_file *file = NULL;
    if (size >= 4) memcpy(&n, data, 4);
    json_t *config = size >= 4 && n <= size - 4 ? json_loadb((const char *)data + 4, n, 0, NULL) : NULL;
    if (!config) return qd_fail(ctx, QDISP_EFORMAT, "%s: no config", label);
    qdisp_status status = qd_tensor_file_parse(ctx, label, data + 4 + n, size - 4 - n, &file);
    if (status == QDISP_OK) status = qd_quantized_resolve(file, config);
    json_decref(config);
    if (status == QDISP_OK) {
        *out = file;
    } else {
        qd_tensor_file_free(file);
    }
    return status;
}

#endif
