/* load.c - f32, f16, bf16 and packed arrays at any alignment, as blocks of floats. */
#include "lanes.h"

enum { PIECE = 1024 };

const float *qd_load_f32(const qd_kernels *kernels, const void *data, qdisp_dtype dtype, size_t first, size_t n,
                         float *buffer) {
    if (dtype == QDISP_DTYPE_F32) {
        const char *p = (const char *)data + first * sizeof(float);
        if ((uintptr_t)p % _Alignof(float) == 0) return (const float *)(const void *)p;
        if (n) memcpy(buffer, p, n * sizeof(float));
        return buffer;
    }
    if (dtype == QDISP_DTYPE_PACKED) {
        const qd_packed *packed = data;
        packed->read(packed, kernels, first, n, buffer);
        return buffer;
    }
    if (dtype != QDISP_DTYPE_F16 && dtype != QDISP_DTYPE_BF16) return NULL;
    void (*widen)(const uint16_t *, size_t, float *) =
        dtype == QDISP_DTYPE_F16 ? kernels->to_f32_f16 : kernels->to_f32_bf16;
    const char *p = (const char *)data + first * sizeof(uint16_t);
    if ((uintptr_t)p % _Alignof(uint16_t) == 0) {
        widen((const uint16_t *)(const void *)p, n, buffer);
        return buffer;
    }
    uint16_t piece[PIECE];
    for (size_t i = 0; i < n; i += PIECE) {
        size_t m = n - i < PIECE ? n - i : PIECE;
        memcpy(piece, p + i * sizeof *piece, m * sizeof *piece);
        widen(piece, m, buffer + i);
    }
    return buffer;
}
