/* format_awq.c - AWQ checkpoints of AutoAWQ, and those of AutoRound that are like them. 4 bits.
 *
 * "gemm": qweight i32 [K, N / 8] and qzeros i32 [G, N / 8], packed along the N outputs, a word with codes 0, 2, 4, 6,
 * 1, 3, 5, 7; scales [G, N]. "gemv": qweight i32 [N, K / 8] and qzeros i32 [N, W], packed along the K inputs in order;
 * scales [N, 8 W], W words with room for all groups. As AutoAWQ's reference: (q - z) * s in the type of s. */
#include <string.h>
#include <strings.h>

#include "tensor/quantized.h"

static qdisp_status wrong_shapes(const qd_resolve *r, const qdisp_tensor *qweight, const qdisp_tensor *qzeros,
                                 const qdisp_tensor *scales) {
    char a[96], b[96], c[96];
    qd_tensor_shape_text(qweight->shape, 2, a);
    qd_tensor_shape_text(qzeros->shape, 2, b);
    qd_tensor_shape_text(scales->shape, 2, c);
    return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "qweight %s, qzeros %s and scales %s do not fit together", a, b, c);
}

static qdisp_status resolve_module(qd_resolve *r, size_t i, bool is_gemv) {
    const qdisp_tensor *qweight = NULL, *qzeros = NULL, *scales = qd_resolve_take(r, ".scales");
    QD_TRY(qd_resolve_need(r, ".qweight", QDISP_DTYPE_I32, 2, &qweight));
    QD_TRY(qd_resolve_need(r, ".qzeros", QDISP_DTYPE_I32, 2, &qzeros));
    if (!scales || scales->n_dims != 2) return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%s", "it has no matrix 'scales'");
    uint64_t rows = qweight->shape[0], words = qweight->shape[1], zero_words = qzeros->shape[1];
    if (words > UINT64_MAX / 8 || zero_words > UINT64_MAX / 8 || scales->shape[1] != 8 * zero_words ||
        scales->shape[0] != qzeros->shape[0] || (is_gemv ? scales->shape[0] != rows : zero_words != words)) {
        return wrong_shapes(r, qweight, qzeros, scales);
    }
    qd_bits_order order = is_gemv ? QD_BITS_DENSE : QD_BITS_AWQ;
    uint64_t n_out = is_gemv ? rows : 8 * words, n_in = is_gemv ? 8 * words : rows, n_groups = scales->shape[0];
    if (is_gemv) {
        int64_t size = qd_resolve_integer(r, "group_size", qd_resolve_integer(r, "q_group_size", 0));
        n_groups = size > 0 ? n_in / (uint64_t)size + (n_in % (uint64_t)size != 0) : 1;
        if (n_groups > scales->shape[1]) return wrong_shapes(r, qweight, qzeros, scales);
    }
    qd_quantized m = {
        .base = {.n_rows = (size_t)n_out, .n_columns = (size_t)n_in},
        .codes = {qweight->data, 1, (size_t)words, 4, order},
        .is_column = !is_gemv,
        .zeros_kind = is_gemv ? QD_ZEROS_OF_ROWS : QD_ZEROS_OF_GROUPS,
        .zeros = {qzeros->data, 1, (size_t)zero_words, 4, order},
        .scale_row = is_gemv ? (size_t)scales->shape[1] : 1,
        .scale_group = is_gemv ? 1 : (size_t)n_out,
    };
    QD_TRY(qd_resolve_scales(r, &m, scales));
    QD_TRY(qd_resolve_groups(r, &m, n_groups, NULL));
    return qd_resolve_give_matrix(r, i, &m, "awq-4bit", qweight->n_bytes + qzeros->n_bytes + scales->n_bytes);
}

qdisp_status qd_resolve_awq(qd_resolve *r) {
    const char *version = qd_resolve_text(r, "version");
    int64_t bits = qd_resolve_integer(r, "bits", qd_resolve_integer(r, "w_bit", 4));
    bool is_gemv = !strcasecmp(version, "gemv");
    if (*version && !is_gemv && strcasecmp(version, "gemm")) {
        return qd_fail(r->file->ctx, QDISP_EUNSUPPORTED, "%s: AWQ version '%.40s' is not read (gemm and gemv are)",
                       r->file->path, version);
    }
    if (bits != 4) {
        return qd_fail(r->file->ctx, QDISP_EUNSUPPORTED, "%s: AWQ of %lld bits, not 4", r->file->path, (long long)bits);
    }
    for (size_t i = 0; i < r->file->n_tensors; i++)
        if (qd_resolve_is(r, i, ".qweight")) QD_TRY(resolve_module(r, i, is_gemv));
    return QDISP_OK;
}

qdisp_status qd_resolve_autoround(qd_resolve *r) {
    const char *packing = qd_resolve_text(r, "packing_format");
    if (!strcmp(packing, "auto_round:auto_gptq")) return qd_resolve_gptq(r);
    if (!strcmp(packing, "auto_round:auto_awq")) return qd_resolve_awq(r);
    return qd_fail(r->file->ctx, QDISP_EUNSUPPORTED, "%s: AutoRound packing '%.60s' is not read "
                   "(auto_round:auto_gptq and auto_round:auto_awq are)", r->file->path, packing);
}
