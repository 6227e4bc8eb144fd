/* inputs.c - the neighbours of linear maps. A channel x_j of an input may be divided by s_j if column j of every map
 * that reads it is multiplied by it; the division costs nothing where the norm or the rows before can take it. */
#include "quant/inputs.h"

/* The norm whose output a map reads, and nothing else does; QD_N_SLOTS: there is none. */
static qd_slot norm_of(const qdisp_model *m, const qd_linear *l) {
    const qd_model_config *c = &m->config;
    bool before = c->norm_place != QD_NORM_POST && !c->residual_normed && l->layer >= 0;
    if (!before) return QD_N_SLOTS;
    switch (l->slot) {
    case QD_SLOT_ATTN_QKV:
    case QD_SLOT_ATTN_Q:
    case QD_SLOT_ATTN_K:
    case QD_SLOT_ATTN_V: return QD_SLOT_ATTN_NORM;
    case QD_SLOT_CROSS_Q: return QD_SLOT_CROSS_NORM;
    case QD_SLOT_MLP_ROUTER:
    case QD_SLOT_MLP_GATE_UP:
    case QD_SLOT_MLP_GATE:
    case QD_SLOT_MLP_UP:
    case QD_SLOT_EXPERT_GATE:
    case QD_SLOT_EXPERT_UP:
        if (c->parallel && qd_model_index(m, (size_t)l->layer, 0, QD_SLOT_MLP_NORM) == QD_NONE)
            return QD_SLOT_ATTN_NORM;
        return QD_SLOT_MLP_NORM;
    default: return QD_N_SLOTS;
    }
}

/* The maps whose rows become the input, the separate one and the fused one, and which part of that they are. */
typedef struct before {
    qd_slot slot, fused;
    size_t i_part;
} before;

static before rows_before(const qdisp_model *m, const qd_linear *l) {
    const qd_model_config *c = &m->config;
    const before none = {QD_N_SLOTS, QD_N_SLOTS, 0};
    switch (l->slot) {
    case QD_SLOT_ATTN_OUT: return (before){QD_SLOT_ATTN_V, QD_SLOT_ATTN_QKV, 2};
    case QD_SLOT_CROSS_OUT: return (before){QD_SLOT_CROSS_V, QD_N_SLOTS, 0};
    case QD_SLOT_MLP_DOWN:
        return c->gated || c->act == QD_ACT_RELU ? (before){QD_SLOT_MLP_UP, QD_SLOT_MLP_GATE_UP, 1} : none;
    case QD_SLOT_EXPERT_DOWN: return (before){QD_SLOT_EXPERT_UP, QD_N_SLOTS, 0};
    default: return none;
    }
}

/* Of the tensor of a slot, or nothing. */
static bool take_tensor(const qdisp_model *m, const qd_linear *l, qd_slot slot, qd_input *out) {
    size_t layer = (size_t)l->layer, expert = l->expert < 0 ? 0 : (size_t)l->expert;
    if (slot == QD_N_SLOTS) return false;
    out->i_tensor = qd_model_index(m, layer, expert, slot);
    if (out->i_tensor == QD_NONE) return false;
    out->i_bias = qd_slot_rows[slot + 1].what == 'B' ? qd_model_index(m, layer, expert, (qd_slot)(slot + 1)) : QD_NONE;
    return true;
}

static void find_maker(const qdisp_model *m, const qd_linear *l, qd_input *out) {
    *out = (qd_input){.i_tensor = QD_NONE, .i_bias = QD_NONE, .run = l->n_in, .n_tied = 1};
    if (l->layer < 0) return;
    if (take_tensor(m, l, norm_of(m, l), out)) {
        out->maker = QD_MAKER_NORM;
        return;
    }
    before b = rows_before(m, l);
    size_t i_part = 0;
    if (!take_tensor(m, l, b.slot, out)) {
        if (!take_tensor(m, l, b.fused, out)) return;
        i_part = b.i_part;
    }
    out->maker = QD_MAKER_ROWS;
    out->part = qd_model_part(m, out->i_tensor, i_part);
    if (l->slot == QD_SLOT_ATTN_OUT || l->slot == QD_SLOT_CROSS_OUT) {
        out->run = m->config.head_dim;
        out->n_tied = m->config.n_head / m->config.n_kv_head;
    }
}

/* Without a maker, those that read the same: the q, k and v of a norm that serves the residual, too, and the like. */
static size_t reader_of(const qd_linear *l) {
    switch (l->slot) {
    case QD_SLOT_ATTN_Q:
    case QD_SLOT_ATTN_K:
    case QD_SLOT_ATTN_V: return QD_SLOT_ATTN_Q;
    case QD_SLOT_CROSS_K:
    case QD_SLOT_CROSS_V: return QD_SLOT_CROSS_K;
    case QD_SLOT_MLP_GATE:
    case QD_SLOT_MLP_UP: return QD_SLOT_MLP_GATE;
    default: return l->slot;
    }
}

static bool reads_same(const qd_linear *a, const qd_input *of_a, const qd_linear *b, const qd_input *of_b) {
    if (of_a->maker != of_b->maker) return false;
    if (of_a->maker != QD_MAKER_NONE) return of_a->i_tensor == of_b->i_tensor;
    return a->layer == b->layer && a->expert == b->expert && reader_of(a) == reader_of(b);
}

void qd_input_find(const qdisp_model *m, size_t i_linear, qd_input *out) {
    const qd_linear *l = &m->linears[i_linear];
    find_maker(m, l, out);
    out->i_first = i_linear;
    for (size_t i = i_linear; i-- > 0 && m->linears[i].layer == l->layer;) { /* maps of a layer stand together */
        qd_input other;
        find_maker(m, &m->linears[i], &other);
        if (reads_same(l, out, &m->linears[i], &other)) out->i_first = i;
    }
}

size_t qd_input_tied(const qd_input *input, size_t j) {
    size_t head = j / input->run;
    return head / input->n_tied * input->n_tied * input->run + j % input->run;
}

size_t qd_input_row(const qd_input *input, size_t j) {
    if (input->maker == QD_MAKER_NORM) return j;
    size_t r = j / (input->run * input->n_tied) * input->run + j % input->run; /* of the part */
    return input->part.first + r / input->part.run_rows * input->part.stride + r % input->part.run_rows;
}
