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

static bool is_slot(const qdisp_model *m, size_t i_tensor, qd_slot weight) {
    return m->slots[i_tensor] == weight || m->slots[i_tensor] == weight + 1;
}

size_t qd_model_n_parts(const qdisp_model *model, size_t i_tensor) {
    if (is_slot(model, i_tensor, QD_SLOT_ATTN_QKV)) return 3;
    return is_slot(model, i_tensor, QD_SLOT_MLP_GATE_UP) ? 2 : 1;
}

static qd_part qkv_part(const qd_model_config *c, size_t i) {
    static const char *const names[] = {"q", "k", "v"}, *const roles[] = {"attn.q", "attn.k", "attn.v"};
    size_t d = c->head_dim, n_q = c->n_head * d, n_k = c->n_kv_head * d, group = c->n_head / c->n_kv_head;
    qd_part part = {.name = names[i], .role = roles[i], .n_runs = 1};
    if (c->qkv_layout == QD_QKV_STACKED) {
        part.first = i == 0 ? 0 : n_q + (i - 1) * n_k;
        part.run_rows = part.stride = i == 0 ? n_q : n_k;
    } else { /* key head after key head: its query heads, its k, its v */
        part.first = i == 0 ? 0 : (group + i - 1) * d;
        part.run_rows = i == 0 ? group * d : d;
        part.stride = (group + 2) * d;
        part.n_runs = c->n_kv_head;
    }
    return part;
}

qd_part qd_model_part(const qdisp_model *model, size_t i_tensor, size_t i_part) {
    const qdisp_tensor *t = &model->tensors[i_tensor];
    size_t n_rows = t->n_dims ? (size_t)t->shape[0] : 1;
    if (is_slot(model, i_tensor, QD_SLOT_ATTN_QKV)) return qkv_part(&model->config, i_part);
    if (is_slot(model, i_tensor, QD_SLOT_MLP_GATE_UP)) {
        return (qd_part){i_part ? "up" : "gate", i_part ? "mlp.up" : "mlp.gate", i_part * n_rows / 2, n_rows / 2,
                         n_rows / 2, 1};
    }
    return (qd_part){"", qd_slot_rows[model->slots[i_tensor]].role, 0, n_rows, n_rows, 1};
}
