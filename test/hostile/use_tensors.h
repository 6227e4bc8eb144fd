/* use_tensors.h - reads every value of an opened file: under a sanitizer, whatever the file says must be there. */
#ifndef USE_TENSORS_H
#define USE_TENSORS_H

#include "tensor/tensor.h"

enum { MAX_USED = 1 << 20 }; /* values of a tensor: a shape may claim more than a fuzzer has time for */

static inline void use_tensors(qdisp_ctx *ctx, const qd_tensor_file *file) {
    volatile uint8_t last = 0;
    float x[1000];
    for (size_t i = 0; i < file->n_tensors; i++) {
        const qdisp_tensor *t = &file->tensors[i];
        uint64_t n = qd_tensor_n_elements(t);
        size_t size = qd_dtype_size((qdisp_dtype)t->dtype);
        if (t->n_dims > 4 || qd_tensor_file_find(file, t->name) != t || (size && n * size != t->n_bytes)) abort();
        for (uint64_t j = 0; size && j < t->n_bytes; j++) last = ((const uint8_t *)t->data)[j];
        if (t->dtype != QDISP_DTYPE_PACKED) continue;
        const qd_packed *packed = t->data;
        if ((uint64_t)packed->n_rows * packed->n_columns != n || !qd_tensor_format(t)[0]) abort();
        for (uint64_t j = 0; j < n && j < MAX_USED; j += 1000)
            packed->read(packed, ctx->kernels, (size_t)j, n - j < 1000 ? (size_t)(n - j) : 1000, x);
        for (uint64_t j = 0; j < n && j < 64; j++) packed->read(packed, ctx->kernels, (size_t)(n - 1 - j), 1, x);
    }
    (void)last;
}

#endif
