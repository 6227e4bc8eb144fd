/* views.c - tensors that are others seen differently: a range of rows, or transposed. Nothing is copied. */
#include <string.h>

#include "tensor/tensor.h"

typedef struct view {
    qd_packed packed; /* first */
    const void *data; /* of the tensor that is seen */
    qdisp_dtype dtype;
    size_t first;     /* element that a range begins at */
} view;

static void read_range(const qd_packed *packed, const qd_kernels *kernels, size_t first, size_t n, float *out) {
    const view *v = (const view *)packed;
    const float *x = qd_load_f32(kernels, v->data, v->dtype, v->first + first, n, out);
    if (x != out) memcpy(out, x, n * sizeof *out);
}

/* Rows of the result are columns of the matrix. Whole stretches of columns are read at a time, so that each line of the
 * cache that is fetched is used; a part of a row goes element by element. */
enum { STRETCH = 64 };

typedef struct matrix {
    const qd_kernels *kernels;
    const void *data;
    qdisp_dtype dtype;
    size_t n_rows, n_columns;
} matrix;

static void read_columns(const matrix *m, size_t column, size_t n, float *out) {
    float buffer[STRETCH];
    for (size_t k = 0; k < m->n_rows; k++) {
        const float *x = qd_load_f32(m->kernels, m->data, m->dtype, k * m->n_columns + column, n, buffer);
        for (size_t r = 0; r < n; r++) out[r * m->n_rows + k] = x[r];
    }
}

static void read_matrix(const matrix *m, size_t first, size_t n, float *out) {
    size_t end = first + n;
    while (first < end) {
        size_t column = first / m->n_rows, row = first % m->n_rows, left = end - first;
        if (row == 0 && left >= m->n_rows) {
            size_t n_columns = left / m->n_rows < STRETCH ? left / m->n_rows : STRETCH;
            read_columns(m, column, n_columns, out);
            out += n_columns * m->n_rows;
            first += n_columns * m->n_rows;
            continue;
        }
        float one;
        *out++ = *qd_load_f32(m->kernels, m->data, m->dtype, row * m->n_columns + column, 1, &one);
        first++;
    }
}

static void read_transposed(const qd_packed *packed, const qd_kernels *kernels, size_t first, size_t n, float *out) {
    const view *v = (const view *)packed;
    matrix m = {kernels, v->data, v->dtype, packed->n_columns, packed->n_rows};
    read_matrix(&m, first, n, out);
}

void qd_tensor_read_transposed(const qd_kernels *kernels, const qdisp_tensor *t, size_t first, size_t n, float *out) {
    matrix m = {kernels, t->data, (qdisp_dtype)t->dtype, (size_t)t->shape[0], (size_t)t->shape[1]};
    read_matrix(&m, first, n, out);
}

static qdisp_status make_view(qd_tensor_file *file, qdisp_tensor *t, view made, const char *format, size_t n_rows,
                              size_t n_columns, uint64_t n_bytes) {
    view *v = qd_alloc(file->ctx, 1, sizeof *v);
    if (!v) return QDISP_ENOMEM;
    *v = made;
    v->data = t->data;
    v->dtype = (qdisp_dtype)t->dtype;
    v->packed.format = format;
    v->packed.value = qd_tensor_value_dtype(t);
    v->packed.n_rows = n_rows;
    v->packed.n_columns = n_columns;
    return qd_tensor_file_pack(file, t, &v->packed, n_bytes);
}

qdisp_status qd_tensor_transpose(qd_tensor_file *file, qdisp_tensor *t) {
    size_t n_rows = (size_t)t->shape[0], n_columns = (size_t)t->shape[1];
    view made = {.packed.read = read_transposed};
    const view *seen = t->dtype == QDISP_DTYPE_PACKED ? t->data : NULL;
    if (seen && seen->packed.read == read_transposed) { /* back to what is seen */
        t->dtype = seen->dtype;
        t->data = seen->data;
    } else {
        QD_TRY(make_view(file, t, made, qd_tensor_format(t), n_columns, n_rows, t->n_bytes));
    }
    t->shape[0] = n_columns;
    t->shape[1] = n_rows;
    return QDISP_OK;
}

/* "NAME[i]", owned by the file. */
static qdisp_status slice_name(qd_tensor_file *file, qdisp_tensor *t, size_t i) {
    QD_TRY(qd_grow(file->ctx, (void **)&file->owned, &file->cap_owned, file->n_owned + 1, sizeof *file->owned));
    char *name = qd_format(file->ctx, "%s[%zu]", t->name, i);
    if (!name) return QDISP_ENOMEM;
    file->owned[file->n_owned++] = name;
    t->name = name;
    return QDISP_OK;
}

qdisp_status qd_tensor_slice(qd_tensor_file *file, qdisp_tensor *t, size_t i) {
    size_t n = (size_t)t->shape[0], n_elements = n ? (size_t)(qd_tensor_n_elements(t) / n) : 0;
    size_t size = qd_dtype_size((qdisp_dtype)t->dtype);
    QD_TRY(slice_name(file, t, i));
    if (t->dtype == QDISP_DTYPE_PACKED) {
        const qd_packed *of = t->data;
        view made = {.packed.read = read_range, .first = i * n_elements};
        QD_TRY(make_view(file, t, made, of->format, of->n_rows / n, of->n_columns, t->n_bytes / n));
    } else {
        t->data = (const char *)t->data + i * n_elements * size;
        t->n_bytes /= n;
    }
    t->n_dims--;
    memmove(t->shape, t->shape + 1, t->n_dims * sizeof *t->shape);
    t->shape[t->n_dims] = 0;
    return QDISP_OK;
}
