/* strided.c - views of an array: transposed matrices, every other column, slices; read as packed tensors. */
#include <string.h>

#include "tensor/tensor.h"

enum { STRIP = 64 }; /* elements of two lines of cache, read before the next column's */

typedef struct strided {
    qd_packed base;
    const uint8_t *data;
    size_t size; /* bytes an element */
    uint64_t shape[4], strides[4];
} strided;

static float element(const strided *s, uint64_t at) {
    const uint8_t *p = s->data + at * s->size;
    if (s->base.value == QDISP_DTYPE_F32) {
        float wide;
        memcpy(&wide, p, sizeof wide);
        return wide;
    }
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return s->base.value == QDISP_DTYPE_F16 ? qd_f16_to_f32(half) : qd_bf16_to_f32(half);
}

/* Where a row of the matrix that the tensor is begins. */
static uint64_t row_begin(const strided *s, size_t row) {
    uint64_t at = 0;
    for (size_t i = 3; i-- > 0;) {
        at += row % s->shape[i] * s->strides[i];
        row /= (size_t)s->shape[i];
    }
    return at;
}

/* n_rows whole rows whose first elements are neighbours: by strips, so that a line of cache is used up while it is
 * there. */
static void read_columns(const strided *s, const qd_kernels *kernels, uint64_t begin, size_t n_rows, float *out) {
    size_t n_columns = s->base.n_columns;
    float strip[STRIP];
    for (size_t r = 0; r < n_rows; r += STRIP) {
        size_t n = n_rows - r < STRIP ? n_rows - r : STRIP;
        for (size_t c = 0; c < n_columns; c++) {
            size_t at = (size_t)(begin + c * s->strides[3] + r);
            const float *x = qd_load_f32(kernels, s->data, s->base.value, at, n, strip);
            for (size_t i = 0; i < n; i++) out[(r + i) * n_columns + c] = x[i];
        }
    }
}

static void read_strided(const qd_packed *packed, const qd_kernels *kernels, size_t first, size_t n, float *out) {
    const strided *s = (const strided *)packed;
    size_t n_columns = packed->n_columns, end = first + n;
    while (first < end) {
        size_t row = first / n_columns, column = first % n_columns, left = end - first;
        size_t n_whole = column == 0 ? left / n_columns : 0, inner = (size_t)s->shape[2] - row % (size_t)s->shape[2];
        if (n_whole > 1 && s->strides[2] == 1 && inner > 1) {
            n_whole = n_whole < inner ? n_whole : inner;
            read_columns(s, kernels, row_begin(s, row), n_whole, out);
            first += n_whole * n_columns;
            out += n_whole * n_columns;
            continue;
        }
        size_t m = left < n_columns - column ? left : n_columns - column;
        uint64_t at = row_begin(s, row) + column * s->strides[3];
        for (size_t i = 0; i < m; i++) out[i] = element(s, at + i * s->strides[3]);
        first += m;
        out += m;
    }
}

qdisp_status qd_strided_pack(qd_tensor_file *file, qdisp_tensor *tensor, const uint64_t strides[4]) {
    strided *s = qd_alloc(file->ctx, 1, sizeof *s);
    if (!s) return QDISP_ENOMEM;
    qdisp_dtype dtype = (qdisp_dtype)tensor->dtype;
    s->base = (qd_packed){.read = read_strided, .value = dtype,
                          .format = dtype == QDISP_DTYPE_F32 ? "strided f32"
                                    : dtype == QDISP_DTYPE_F16 ? "strided f16" : "strided bf16"};
    qd_tensor_matrix(tensor, &s->base.n_rows, &s->base.n_columns);
    s->data = tensor->data;
    s->size = qd_dtype_size(dtype);
    for (size_t i = 0; i < 4; i++) { /* leading dimensions of 1 */
        size_t n_missing = 4 - tensor->n_dims;
        s->shape[i] = i < n_missing ? 1 : tensor->shape[i - n_missing];
        s->strides[i] = i < n_missing ? 0 : strides[i - n_missing];
    }
    return qd_tensor_file_pack(file, tensor, &s->base, qd_tensor_n_elements(tensor) * s->size);
}
