/* format_gptq.c - GPTQ checkpoints, and those of AutoRound that are like them.
 *
 * A linear map of K inputs and N outputs is qweight i32 [words of K, N], packed along the inputs; qzeros i32 [G, words
 * of N], packed along the outputs; scales [G, N]; g_idx i32 [K], the group of each input. The first form of the format
 * stores zeros less one. Bits and groups are told by the shapes, so that a config's exceptions by module ("dynamic")
 * need no matching of names. Exactly as AutoGPTQ's and GPTQModel's reference modules: (q - z) * s in the type of s. */
#include <stdio.h>
#include <string.h>

#include "tensor/quantized.h"

typedef struct variant {
    const char *name;
    int zero_bias;
    bool is_planar;
} variant;

static const variant variants[] = {{"", 1, false}, {"gptq", 1, false}, {"gptq_v2", 0, false}, {"gptq_p", 0, true}};

static qd_bits_order order_of(const variant *v, unsigned bits) {
    return bits == 5 || bits == 6 || bits == 7 || (bits == 3 && v->is_planar) ? QD_BITS_PLANES : QD_BITS_DENSE;
}

/* The bits that give the words of the zeros, and of the weight if the number of inputs is known: those of the config if
 * they do. 0: none do. */
static unsigned bits_of(const qd_resolve *r, const variant *v, const qdisp_tensor *qweight, const qdisp_tensor *qzeros,
                        const qdisp_tensor *g_idx) {
    int64_t wanted = qd_resolve_integer(r, "bits", 0);
    unsigned found = 0, rank = 0;
    for (unsigned bits = 2; bits <= 8; bits++) {
        qd_bits_order order = order_of(v, bits);
        if (qd_bits_words(order, bits, qweight->shape[1]) != qzeros->shape[1]) continue;
        bool fits = g_idx && qd_bits_words(order, bits, g_idx->shape[0]) == qweight->shape[0];
        unsigned this_rank = 1 + ((int64_t)bits == wanted) + 2 * fits;
        if (this_rank > rank) rank = this_rank, found = bits;
    }
    return found;
}

static qdisp_status resolve_module(qd_resolve *r, size_t i, const variant *v) {
    const qdisp_tensor *qweight = NULL, *qzeros = NULL;
    const qdisp_tensor *scales = qd_resolve_take(r, ".scales"), *g_idx = qd_resolve_take(r, ".g_idx");
    QD_TRY(qd_resolve_need(r, ".qweight", QDISP_DTYPE_I32, 2, &qweight));
    QD_TRY(qd_resolve_need(r, ".qzeros", QDISP_DTYPE_I32, 2, &qzeros));
    if (!scales || scales->n_dims != 2) return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%s", "it has no matrix 'scales'");
    uint64_t n_groups = scales->shape[0], n_out = scales->shape[1];
    if (qweight->shape[1] != n_out || qzeros->shape[0] != n_groups) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%llu groups of %llu outputs in scales, %llu groups in qzeros, %llu "
                               "outputs in qweight", (unsigned long long)n_groups, (unsigned long long)n_out,
                               (unsigned long long)qzeros->shape[0], (unsigned long long)qweight->shape[1]);
    }
    if (g_idx && (g_idx->dtype != QDISP_DTYPE_I32 || g_idx->n_dims != 1)) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%s", "g_idx is no row of i32");
    }
    unsigned bits = bits_of(r, v, qweight, qzeros, g_idx);
    if (!bits) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "%llu words of zeros for %llu outputs are no number of bits",
                               (unsigned long long)qzeros->shape[1], (unsigned long long)n_out);
    }
    uint64_t n_in = g_idx ? g_idx->shape[0] : qweight->shape[0] / bits * 32 + qweight->shape[0] % bits * 32 / bits;
    qd_bits_order order = order_of(v, bits);
    if (qd_bits_words(order, bits, n_in) != qweight->shape[0]) {
        return QD_RESOLVE_FAIL(r, QDISP_EFORMAT, "qweight has %llu words for %llu inputs of %u bits",
                               (unsigned long long)qweight->shape[0], (unsigned long long)n_in, bits);
    }
    qd_quantized m = {
        .base = {.n_rows = (size_t)n_out, .n_columns = (size_t)n_in},
        .codes = {qweight->data, (size_t)n_out, 1, bits, order},
        .zeros_kind = QD_ZEROS_OF_GROUPS,
        .zeros = {qzeros->data, 1, (size_t)qzeros->shape[1], bits, order},
        .zero_bias = v->zero_bias,
        .scale_row = 1,
        .scale_group = (size_t)n_out,
    };
    QD_TRY(qd_resolve_scales(r, &m, scales));
    QD_TRY(qd_resolve_groups(r, &m, n_groups, g_idx));
    char format[32];
    snprintf(format, sizeof format, "gptq-%ubit", bits);
    return qd_resolve_give_matrix(r, i, &m, format, qweight->n_bytes + qzeros->n_bytes + scales->n_bytes +
                                  (g_idx ? g_idx->n_bytes : 0));
}

qdisp_status qd_resolve_gptq(qd_resolve *r) {
    const char *format = qd_resolve_text(r, "checkpoint_format"), *words = qd_resolve_text(r, "pack_dtype");
    if (!*format) format = qd_resolve_text(r, "format");
    if (*words && strcmp(words, "int32")) {
        return qd_fail(r->file->ctx, QDISP_EUNSUPPORTED, "%s: GPTQ in words of '%.40s', not int32", r->file->path,
                       words);
    }
    const variant *v = NULL;
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
        if (!strcmp(format, variants[i].name)) v = &variants[i];
    if (!v) {
        return qd_fail(r->file->ctx, QDISP_EUNSUPPORTED, "%s: GPTQ format '%.40s' is not read (gptq, gptq_v2 and "
                       "gptq_p are)", r->file->path, format);
    }
    for (size_t i = 0; i < r->file->n_tensors; i++)
        if (qd_resolve_is(r, i, ".qweight")) QD_TRY(resolve_module(r, i, v));
    return QDISP_OK;
}
