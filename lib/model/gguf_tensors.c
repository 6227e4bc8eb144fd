/* gguf_tensors.c - tensors of a GGUF file under the names and in the order that checkpoints have.
 *
 * What llama.cpp's converters did is undone by views: Llama's rows of queries and keys (pairs that turn together were
 * put side by side), fused q, k, v (put one after the other), Gemma's norms (one was added), experts (stacked). */
#include <ctype.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "model/gguf_model.h"

#define NAME_BYTES 192

typedef struct name_row {
    const char *name;
    qd_slot slot;
} name_row;

/* Between "blk.N." and ".weight" or ".bias". */
static const name_row block_names[] = {
    {"attn_norm", QD_SLOT_ATTN_NORM}, {"attn_qkv", QD_SLOT_ATTN_QKV}, {"attn_q", QD_SLOT_ATTN_Q},
    {"attn_k", QD_SLOT_ATTN_K}, {"attn_v", QD_SLOT_ATTN_V}, {"attn_q_norm", QD_SLOT_Q_NORM},
    {"attn_k_norm", QD_SLOT_K_NORM}, {"attn_output", QD_SLOT_ATTN_OUT}, {"attn_o", QD_SLOT_ATTN_OUT},
    {"post_attention_norm", QD_SLOT_ATTN_POST_NORM}, {"cross_attn_norm", QD_SLOT_CROSS_NORM},
    {"cross_attn_q", QD_SLOT_CROSS_Q}, {"cross_attn_k", QD_SLOT_CROSS_K}, {"cross_attn_v", QD_SLOT_CROSS_V},
    {"cross_attn_o", QD_SLOT_CROSS_OUT}, {"ffn_norm", QD_SLOT_MLP_NORM}, {"ffn_gate_inp", QD_SLOT_MLP_ROUTER},
    {"ffn_gate", QD_SLOT_MLP_GATE}, {"ffn_up", QD_SLOT_MLP_UP}, {"ffn_down", QD_SLOT_MLP_DOWN},
    {"ffn_gate_exps", QD_SLOT_EXPERT_GATE}, {"ffn_up_exps", QD_SLOT_EXPERT_UP},
    {"ffn_down_exps", QD_SLOT_EXPERT_DOWN}, {"post_ffw_norm", QD_SLOT_MLP_POST_NORM},
    {NULL, QD_N_SLOTS}};
static const name_row model_names[] = {
    {"token_embd", QD_SLOT_EMBED}, {"position_embd", QD_SLOT_POSITION}, {"token_types", QD_SLOT_TYPE},
    {"token_embd_norm", QD_SLOT_EMBED_NORM}, {"enc.blk.0.attn_rel_b", QD_SLOT_ENCODER_RELATIVE},
    {"dec.blk.0.attn_rel_b", QD_SLOT_RELATIVE}, {"enc.output_norm", QD_SLOT_ENCODER_NORM},
    {"output_norm", QD_SLOT_NORM}, {"dec.output_norm", QD_SLOT_NORM}, {"output", QD_SLOT_HEAD},
    {NULL, QD_N_SLOTS}};
/* Read with the config, or of no use: frequencies, a table that no block of T5 uses. */
static const char *const dropped[] = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight",
                                      "dec.blk.0.cross_attn_rel_b.weight"};

/* Where a tensor belongs. */
typedef struct place {
    qd_slot slot;
    size_t block;
    bool encoder;
} place;

static qd_slot slot_named(const name_row *rows, const char *name, size_t n) {
    while (rows->name && (strncmp(rows->name, name, n) || rows->name[n])) rows++;
    return rows->slot;
}

/* "blk.12.", "enc.blk.12." or "dec.blk.12." at the start of a name: what follows, or NULL. */
static const char *block_of(const char *name, place *p) {
    p->encoder = !strncmp(name, "enc.", 4);
    if (p->encoder || !strncmp(name, "dec.", 4)) name += 4;
    if (strncmp(name, "blk.", 4) || !isdigit((unsigned char)name[4])) return NULL;
    char *end;
    p->block = strtoul(name + 4, &end, 10);
    return *end == '.' && p->block < QD_MAX_LAYERS ? end + 1 : NULL;
}

static bool find_place(const char *name, place *p) {
    *p = (place){.slot = QD_N_SLOTS};
    const char *ending = strrchr(name, '.'), *rest = block_of(name, p);
    bool is_bias = ending && !strcmp(ending, ".bias");
    if (!ending || (!is_bias && strcmp(ending, ".weight"))) return false;
    p->slot = slot_named(model_names, name, (size_t)(ending - name));
    if (p->slot == QD_N_SLOTS && rest && rest < ending) {
        p->slot = slot_named(block_names, rest, (size_t)(ending - rest));
    }
    if (is_bias && p->slot != QD_N_SLOTS) {
        p->slot = p->slot + 1 < QD_N_SLOTS && qd_slot_rows[p->slot + 1].what == 'B' ? p->slot + 1 : QD_N_SLOTS;
    }
    return p->slot != QD_N_SLOTS;
}

typedef struct restore {
    qd_tensor_file *file;
    const qd_arch *arch;
    const qd_model_config *config;
    bool two_norms; /* Falcon's attn_norm_2: then attn_norm is of the feed-forward network */
} restore;

static bool is_arch(const restore *r, const char *name) {
    return !strcmp(r->arch->name, name);
}

static void adjust_place(const restore *r, const char *name, place *p) {
    if (p->slot == QD_SLOT_MLP_UP && is_arch(r, "phi3")) p->slot = QD_SLOT_MLP_GATE_UP;
    if (!r->two_norms) return;
    if (p->slot == QD_SLOT_ATTN_NORM) p->slot = QD_SLOT_MLP_NORM;
    else if (p->slot == QD_SLOT_ATTN_NORM_BIAS) p->slot = QD_SLOT_MLP_NORM_BIAS;
    if (strstr(name, ".attn_norm_2.")) {
        p->slot = strstr(name, ".bias") ? QD_SLOT_ATTN_NORM_BIAS : QD_SLOT_ATTN_NORM;
    }
}

/* --- names --- */

/* The pattern that the architecture has for a slot, or NULL. */
static const char *pattern_of(const restore *r, const place *p) {
    if (p->slot == QD_SLOT_HEAD && r->arch->head_name) return r->arch->head_name;
    for (size_t i = 0; i < r->arch->n_specs; i++) {
        const qd_tensor_spec *s = &r->arch->specs[i];
        if (s->slot == p->slot && (qd_slot_rows[s->slot].where == 'M' || s->encoder == p->encoder)) return s->name;
    }
    return NULL;
}

/* Of several names the one that fits: those of Falcon's and T5's second kinds and of Mixtral come last. */
static const char *choose(const restore *r, const place *p, const char *pattern) {
    const char *last = strrchr(pattern, '|');
    bool second = (r->two_norms && qd_slot_rows[p->slot].where == 'L') || is_arch(r, "mixtral") ||
                  (is_arch(r, "t5") && r->config->gated && p->slot == QD_SLOT_MLP_UP);
    return last && second ? last + 1 : pattern;
}

static void write_name(const restore *r, const place *p, size_t expert, const char *pattern, char name[NAME_BYTES]) {
    size_t n = 0;
    bool prefixed = *pattern != '/' && p->slot != QD_SLOT_HEAD;
    if (prefixed) n = (size_t)snprintf(name, NAME_BYTES, "%s", r->arch->prefix);
    for (pattern += *pattern == '/'; *pattern && *pattern != '|' && n < NAME_BYTES - 24; pattern++) {
        if (*pattern == '#' || *pattern == '%') {
            n += (size_t)snprintf(name + n, NAME_BYTES - n, "%zu", *pattern == '#' ? p->block : expert);
        } else {
            name[n++] = *pattern;
        }
    }
    name[n] = 0;
}

static qdisp_status give_name(const restore *r, qdisp_tensor *t, const place *p, size_t expert, const char *pattern) {
    char name[NAME_BYTES];
    write_name(r, p, expert, pattern, name);
    t->name = qd_tensor_file_text(r->file, name, strlen(name));
    return t->name ? QDISP_OK : QDISP_ENOMEM;
}

/* --- order of rows --- */

static qdisp_status undo(const restore *r, qdisp_tensor *t, const place *p) {
    const qd_model_config *c = r->config;
    bool paired = is_arch(r, "llama") || is_arch(r, "mixtral");
    bool is_q = p->slot == QD_SLOT_ATTN_Q || p->slot == QD_SLOT_ATTN_Q_BIAS;
    bool is_k = p->slot == QD_SLOT_ATTN_K || p->slot == QD_SLOT_ATTN_K_BIAS;
    bool is_qkv = p->slot == QD_SLOT_ATTN_QKV || p->slot == QD_SLOT_ATTN_QKV_BIAS;
    uint64_t n_rows = t->n_dims ? t->shape[0] : 0;
    if (paired && (is_q || is_k)) {
        size_t n_head = is_q ? c->n_head : c->n_kv_head;
        if (n_rows != n_head * c->head_dim || c->head_dim % 2) return QDISP_OK; /* the shape is refused later */
        return qd_tensor_unpair(r->file, t, n_head);
    }
    if (is_qkv && c->qkv_layout == QD_QKV_GROUPED) {
        if (n_rows != (c->n_head + 2 * c->n_kv_head) * c->head_dim) return QDISP_OK;
        return qd_tensor_group_heads(r->file, t, c->n_head, c->n_kv_head);
    }
    if (!strncmp(r->arch->name, "gemma", 5) && t->n_dims == 1) return qd_tensor_less_one(r->file, t);
    return QDISP_OK;
}

/* --- one tensor --- */

static bool is_dropped(const char *name) {
    for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++) {
        if (!strcmp(dropped[i], name)) return true;
    }
    return false;
}

/* Stacked experts become one tensor each at the end of the list; the first takes the place of the stack. */
static qdisp_status unstack(const restore *r, size_t i, const place *p, const char *pattern) {
    qd_tensor_file *file = r->file;
    const qdisp_tensor stack = file->tensors[i];
    size_t n = stack.n_dims == 3 ? (size_t)stack.shape[0] : 0;
    if (n == 0 || n != r->config->n_expert) {
        return qd_fail(file->ctx, QDISP_EFORMAT, "%s: tensor '%s': not a stack of %zu experts", file->path, stack.name,
                       r->config->n_expert);
    }
    QD_TRY(qd_tensor_file_reserve(file, n));
    for (size_t e = 0; e < n; e++) {
        qdisp_tensor t = stack;
        QD_TRY(qd_tensor_slice(file, &t, e));
        QD_TRY(give_name(r, &t, p, e, pattern));
        file->tensors[e ? file->n_tensors++ : i] = t;
    }
    return QDISP_OK;
}

static qdisp_status restore_tensor(const restore *r, size_t i) {
    qdisp_tensor *t = &r->file->tensors[i];
    place p;
    const char *pattern = NULL, *old = t->name;
    if (find_place(old, &p) || r->two_norms) {
        adjust_place(r, old, &p);
        if (p.slot != QD_N_SLOTS) pattern = pattern_of(r, &p);
    }
    if (!pattern) {
        return qd_fail(r->file->ctx, QDISP_EFORMAT, "%s: tensor '%s' has no place in a %s model", r->file->path, old,
                       r->arch->name);
    }
    pattern = choose(r, &p, pattern);
    if (qd_slot_rows[p.slot].where == 'E') return unstack(r, i, &p, pattern);
    for (size_t k = 0; k < r->arch->n_specs; k++) {
        if (r->arch->specs[k].slot == p.slot && r->arch->specs[k].transposed && t->n_dims == 2) {
            QD_TRY(qd_tensor_transpose(r->file, t)); /* as checkpoints have it; whoever turns it back gets the file's */
        }
    }
    QD_TRY(undo(r, t, &p));
    return give_name(r, t, &p, 0, pattern);
}

qdisp_status qd_gguf_restore(qd_tensor_file *file, const qd_arch *arch, const qd_model_config *config) {
    restore r = {file, arch, config, qd_tensor_file_find(file, "blk.0.attn_norm_2.weight") != NULL};
    size_t n = 0;
    for (size_t i = 0; i < file->n_tensors; i++) {
        if (!is_dropped(file->tensors[i].name)) file->tensors[n++] = file->tensors[i];
    }
    file->n_tensors = n;
    for (size_t i = 0; i < n; i++) QD_TRY(restore_tensor(&r, i));
    return qd_tensor_file_index(file);
}

/* --- the other way --- */

static const char *name_of(const name_row *rows, qd_slot slot) {
    while (rows->name && rows->slot != slot) rows++;
    return rows->name;
}

/* Falcon's two norms have each other's names, phi3's fused gate and up is ffn_up, T5's attention output attn_o. */
static const char *block_name(const qdisp_model *m, qd_slot slot) {
    bool two_norms = !strcmp(m->arch->name, "falcon") && m->config.n_layer &&
                     qd_model_index(m, 0, 0, QD_SLOT_MLP_NORM) != QD_NONE;
    if (two_norms && slot == QD_SLOT_ATTN_NORM) return "attn_norm_2";
    if (two_norms && slot == QD_SLOT_MLP_NORM) return "attn_norm";
    if (slot == QD_SLOT_MLP_GATE_UP) return "ffn_up";
    if (slot == QD_SLOT_ATTN_OUT && !strcmp(m->arch->name, "t5")) return "attn_o";
    return name_of(block_names, slot);
}

static void write_place(const qdisp_model *m, size_t i, const char *name, const char *ending, qd_gguf_place *out) {
    bool both = m->config.kind == QDISP_MODEL_ENCODER_DECODER, in_block = m->layers[i] >= 0;
    size_t layer = in_block ? (size_t)m->layers[i] : 0;
    bool encoder = both && layer < m->config.n_encoder_layer;
    if (both && !encoder) layer -= m->config.n_encoder_layer;
    const char *stack = both && in_block ? encoder ? "enc." : "dec." : "";
    if (in_block) snprintf(out->name, sizeof out->name, "%sblk.%zu.%s.%s", stack, layer, name, ending);
    else snprintf(out->name, sizeof out->name, "%s.%s", name, ending);
}

/* As undo above, seen from the model. */
static void find_rows(const qdisp_model *m, qd_slot slot, size_t n_dims, qd_gguf_place *out) {
    const qd_model_config *c = &m->config;
    bool is_q = slot == QD_SLOT_ATTN_Q || slot == QD_SLOT_ATTN_Q_BIAS;
    bool is_k = slot == QD_SLOT_ATTN_K || slot == QD_SLOT_ATTN_K_BIAS;
    bool is_qkv = slot == QD_SLOT_ATTN_QKV || slot == QD_SLOT_ATTN_QKV_BIAS;
    const char *name = m->arch->name;
    out->head_dim = c->head_dim;
    out->n_head = c->n_head;
    out->n_kv_head = c->n_kv_head;
    out->rows = QD_ROWS_SAME;
    if (is_q || is_k) {
        bool paired = !strcmp(name, "llama") || !strcmp(name, "mistral") || !strcmp(name, "mixtral");
        if (paired) out->rows = QD_ROWS_UNPAIRED;
    } else if (is_qkv && c->qkv_layout == QD_QKV_GROUPED) {
        out->rows = QD_ROWS_GROUPED;
    } else if (!strncmp(name, "gemma", 5) && n_dims == 1) {
        out->rows = QD_ROWS_PLUS_ONE;
    }
}

qdisp_status qd_gguf_find_place(const qdisp_model *m, size_t i, qd_gguf_place *out) {
    qd_slot slot = m->slots[i], of = slot;
    const char *ending = "weight", *name;
    *out = (qd_gguf_place){.n_slices = 1};
    if (qd_slot_rows[slot].what == 'B') {
        ending = "bias";
        of = slot - 1;
    }
    name = qd_slot_rows[of].where == 'M' ? name_of(model_names, of) : block_name(m, of);
    bool both = m->config.kind == QDISP_MODEL_ENCODER_DECODER;
    if (both && of == QD_SLOT_NORM) name = "dec.output_norm";
    if (!name)
        return qd_fail(m->ctx, QDISP_EUNSUPPORTED, "GGUF has no name for tensor '%s' of a %s model", m->tensors[i].name,
                       m->arch->name);
    write_place(m, i, name, ending, out);
    if (qd_slot_rows[slot].where == 'E') {
        out->i_slice = (size_t)m->experts[i];
        out->n_slices = m->config.n_expert;
    }
    out->wide = m->tensors[i].n_dims < 2 || slot == QD_SLOT_POSITION || slot == QD_SLOT_TYPE ||
                slot == QD_SLOT_MLP_ROUTER || slot == QD_SLOT_RELATIVE || slot == QD_SLOT_ENCODER_RELATIVE;
    find_rows(m, slot, m->tensors[i].n_dims, out);
    return QDISP_OK;
}

size_t qd_gguf_row(const qd_gguf_place *p, size_t row) {
    if (p->rows == QD_ROWS_UNPAIRED) return qd_row_unpaired(row, p->head_dim);
    if (p->rows == QD_ROWS_GROUPED) return qd_row_grouped(row, p->head_dim, p->n_head, p->n_kv_head);
    return row;
}
