/* variant.c - models that share most tensors with another one, and the parts of fused tensors. */
#include <string.h>

#include "model/model.h"

qdisp_status qd_model_with_tensors(const qdisp_model *base, const size_t *i_tensors, float *const *data, size_t n,
                                   qdisp_model **out) {
    qdisp_ctx *ctx = base->ctx;
    qdisp_tensor *tensors = qd_alloc(ctx, base->n_tensors, sizeof *tensors);
    float **owned = qd_alloc(ctx, n ? n : 1, sizeof *owned);
    qdisp_model *m = qd_alloc(ctx, 1, sizeof *m);
    qdisp_status status = QDISP_ENOMEM;
    if (!tensors || !owned || !m) goto done;
    *m = *base;
    memcpy(tensors, base->tensors, base->n_tensors * sizeof *tensors);
    for (size_t i = 0; i < n; i++) {
        if (i_tensors[i] >= base->n_tensors || !data[i] || tensors[i_tensors[i]].data == data[i]) {
            status = qd_fail(ctx, QDISP_EINVAL, "model: tensor %zu of %zu cannot be replaced", i_tensors[i],
                             base->n_tensors);
            goto done;
        }
        qdisp_tensor *t = &tensors[i_tensors[i]];
        m->info.n_bytes -= t->n_bytes;
        t->dtype = QDISP_DTYPE_F32;
        t->data = data[i];
        t->n_bytes = qd_tensor_n_elements(t) * sizeof(float);
        m->info.n_bytes += t->n_bytes;
        owned[i] = data[i];
    }
    m->ctx = qd_ctx_ref(ctx);
    m->n_refs = 1;
    m->base = qd_model_ref(base);
    m->tensors = tensors;
    m->owned = owned;
    m->n_owned = n;
    *out = m;
    return QDISP_OK;
done:
    qd_free(ctx, tensors);
    qd_free(ctx, owned);
    qd_free(ctx, m);
    return status;
}

static bool is_fused(const qdisp_model *model, size_t i_tensor) {
    return model->slots[i_tensor] == QD_SLOT_ATTN_QKV || model->slots[i_tensor] == QD_SLOT_ATTN_QKV_BIAS;
}

size_t qd_model_n_parts(const qdisp_model *model, size_t i_tensor) {
    return is_fused(model, i_tensor) ? 3 : 1;
}

qd_part qd_model_part(const qdisp_model *model, size_t i_tensor, size_t i_part) {
    static const char *const names[] = {"q", "k", "v"};
    size_t d = model->config.head_dim;
    const qdisp_tensor *t = &model->tensors[i_tensor];
    size_t n_rows = t->n_dims ? (size_t)t->shape[0] : 1;
    /* Head by head: row (head * 3 + part) * head_dim + r. */
    if (is_fused(model, i_tensor)) return (qd_part){names[i_part], i_part * d, 3 * d, d, model->config.n_head};
    return (qd_part){"", 0, n_rows, n_rows, 1};
}
