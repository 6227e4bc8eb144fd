/* rearrange.c - what converters to GGUF did to tensors, undone by views: rows in another order, one added to norms. */
#include <string.h>

#include "tensor/tensor.h"

typedef struct rearranged {
    qd_packed packed; /* first */
    const void *data; /* of the tensor that is seen */
    qdisp_dtype dtype;
    size_t row_length; /* elements of a row; 1 for a vector, whose elements are put in order */
    size_t n_head, n_kv_head, head_dim;
    size_t (*source)(const struct rearranged *v, size_t row); /* the row that is seen there */
} rearranged;

size_t qd_row_unpaired(size_t row, size_t head_dim) {
    size_t half = head_dim / 2, in_head = row % head_dim;
    return row - in_head + 2 * (in_head % half) + in_head / half;
}

size_t qd_row_grouped(size_t row, size_t head_dim, size_t n_head, size_t n_kv_head) {
    size_t n_q = n_head / n_kv_head, head = row / head_dim, group = head / (n_q + 2), i = head % (n_q + 2);
    size_t source = i < n_q ? group * n_q + i : n_head + (i - n_q) * n_kv_head + group;
    return source * head_dim + row % head_dim;
}

static size_t unpaired(const rearranged *v, size_t row) {
    return qd_row_unpaired(row, v->head_dim);
}

static size_t grouped(const rearranged *v, size_t row) {
    return qd_row_grouped(row, v->head_dim, v->n_head, v->n_kv_head);
}

static void load(const rearranged *v, const qd_kernels *kernels, size_t first, size_t n, float *out) {
    const float *x = qd_load_f32(kernels, v->data, v->dtype, first, n, out);
    if (x != out) memcpy(out, x, n * sizeof *out);
}

/* Rows that follow each other there, too, are read at once. */
static void read_rows(const qd_packed *packed, const qd_kernels *kernels, size_t first, size_t n, float *out) {
    const rearranged *v = (const rearranged *)packed;
    size_t length = v->row_length;
    while (n > 0) {
        size_t row = first / length, column = first % length, source = v->source(v, row), n_rows = 1;
        while (n_rows * length < n + column && v->source(v, row + n_rows) == source + n_rows) n_rows++;
        size_t m = n_rows * length - column < n ? n_rows * length - column : n;
        load(v, kernels, source * length + column, m, out);
        out += m;
        first += m;
        n -= m;
    }
}

static void read_less_one(const qd_packed *packed, const qd_kernels *kernels, size_t first, size_t n, float *out) {
    load((const rearranged *)packed, kernels, first, n, out);
    for (size_t i = 0; i < n; i++) out[i] -= 1;
}

static qdisp_status make(qd_tensor_file *file, qdisp_tensor *t, rearranged made) {
    rearranged *v = qd_alloc(file->ctx, 1, sizeof *v);
    if (!v) return QDISP_ENOMEM;
    *v = made;
    v->data = t->data;
    v->dtype = (qdisp_dtype)t->dtype;
    v->row_length = t->n_dims > 1 ? (size_t)(qd_tensor_n_elements(t) / t->shape[0]) : 1;
    v->packed.format = qd_tensor_format(t);
    if (!v->packed.value) v->packed.value = qd_tensor_value_dtype(t);
    qd_tensor_matrix(t, &v->packed.n_rows, &v->packed.n_columns);
    return qd_tensor_file_pack(file, t, &v->packed, t->n_bytes);
}

qdisp_status qd_tensor_unpair(qd_tensor_file *file, qdisp_tensor *t, size_t n_head) {
    rearranged made = {.packed.read = read_rows, .head_dim = (size_t)t->shape[0] / n_head, .source = unpaired};
    return make(file, t, made);
}

qdisp_status qd_tensor_group_heads(qd_tensor_file *file, qdisp_tensor *t, size_t n_head, size_t n_kv_head) {
    rearranged made = {.packed.read = read_rows, .n_head = n_head, .n_kv_head = n_kv_head,
                       .head_dim = (size_t)t->shape[0] / (n_head + 2 * n_kv_head), .source = grouped};
    return make(file, t, made);
}

qdisp_status qd_tensor_less_one(qd_tensor_file *file, qdisp_tensor *t) {
    /* the difference of two f16 needs more digits than they have */
    rearranged made = {.packed.read = read_less_one, .packed.value = QDISP_DTYPE_F32};
    return make(file, t, made);
}
