/* assemble.c - tensors of a file to the slots of an architecture, each checked against the config. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "model/assemble.h"

#define NAME_BYTES 192

typedef struct assembly {
    qdisp_model *m;
    bool prefixed;
    bool *used; /* [file->n_tensors] */
    size_t cap_tensors, cap_slots, cap_layers, cap_experts, cap_transposed, cap_linears;
} assembly;

/* '#' becomes the block, '%' the expert; '|' ends it. name has room for the longest spec, prefix and numbers. */
static void spec_name(const assembly *a, const char *pattern, bool prefixed, size_t block, size_t expert,
                      char name[NAME_BYTES]) {
    size_t n = 0;
    name[0] = 0;
    if (*pattern == '/') pattern++;
    else if (prefixed) n = (size_t)snprintf(name, NAME_BYTES, "%s", a->m->arch->prefix);
    for (; *pattern && *pattern != '|' && n < NAME_BYTES - 24; pattern++) {
        if (*pattern == '#' || *pattern == '%') {
            n += (size_t)snprintf(name + n, NAME_BYTES - n, "%zu", *pattern == '#' ? block : expert);
        } else {
            name[n++] = *pattern;
            name[n] = 0;
        }
    }
}

/* The first of the pattern's names that the file has; if it has none, NULL and the first of all in name. */
static const qdisp_tensor *find_spec(const assembly *a, const char *pattern, bool prefixed, size_t block, size_t expert,
                                     char name[NAME_BYTES]) {
    for (const char *p = pattern; p; p = strchr(p, '|')) {
        spec_name(a, *p == '|' ? ++p : p, prefixed, block, expert, name);
        const qdisp_tensor *found = qd_tensor_file_find(a->m->file, name);
        if (found) return found;
    }
    spec_name(a, pattern, prefixed, block, expert, name);
    return NULL;
}

static qdisp_status fail_missing(const assembly *a, const char *pattern, size_t block, size_t expert) {
    char name[NAME_BYTES], names[3 * NAME_BYTES] = "";
    size_t n = 0;
    for (const char *p = pattern; p && n < sizeof names - NAME_BYTES; p = strchr(p, '|')) {
        spec_name(a, *p == '|' ? ++p : p, a->prefixed, block, expert, name);
        n += (size_t)snprintf(names + n, sizeof names - n, "%s'%s'", n ? " or " : "", name);
    }
    return qd_fail(a->m->ctx, QDISP_EFORMAT, "%s: tensor %s is missing", a->m->file->path, names);
}

static uint64_t spec_size(const qd_model_config *c, char what) {
    size_t n_q = c->n_head * c->head_dim, n_k = c->n_kv_head * c->head_dim;
    switch (what) {
    case 'e': return c->n_embd;
    case 'w': return c->n_word_embd;
    case 'v': return c->n_vocab;
    case 'q': return n_q;
    case 'k': return n_k;
    case 'a': return n_q + 2 * n_k;
    case 'd': return c->head_dim;
    case 'f': return c->n_ff;
    case 'g': return 2 * c->n_ff;
    case 'x': return c->n_ff_expert;
    case 'n': return c->n_expert;
    case 'p': return c->n_positions + c->position_offset;
    case 't': return c->n_types;
    case 'b': return c->n_buckets;
    default: return c->n_head;
    }
}

static qdisp_status check_tensor(const qdisp_model *m, const qdisp_tensor *t, const char *dims, bool transposed) {
    uint64_t shape[4] = {0};
    uint32_t n = (uint32_t)strlen(dims);
    for (uint32_t i = 0; i < n; i++) shape[transposed ? n - 1 - i : i] = spec_size(&m->config, dims[i]);
    if (t->n_dims != n || memcmp(t->shape, shape, n * sizeof *shape)) {
        char got[96], wanted[96];
        qd_tensor_shape_text(t->shape, t->n_dims, got);
        qd_tensor_shape_text(shape, n, wanted);
        return qd_fail(m->ctx, QDISP_EFORMAT, "%s: tensor '%s': shape %s, the config asks for %s", m->file->path,
                       t->name, got, wanted);
    }
    if (!qd_tensor_is_float(t)) {
        return qd_fail(m->ctx, QDISP_EUNSUPPORTED, "%s: tensor '%s': dtype %s is not supported in a model",
                       m->file->path, t->name, qd_tensor_format(t));
    }
    return QDISP_OK;
}

/* --- adding --- */

static qdisp_status grow(assembly *a) {
    qdisp_model *m = a->m;
    size_t n = m->n_tensors + 1;
    QD_TRY(qd_grow(m->ctx, (void **)&m->tensors, &a->cap_tensors, n, sizeof *m->tensors));
    QD_TRY(qd_grow(m->ctx, (void **)&m->slots, &a->cap_slots, n, sizeof *m->slots));
    QD_TRY(qd_grow(m->ctx, (void **)&m->layers, &a->cap_layers, n, sizeof *m->layers));
    QD_TRY(qd_grow(m->ctx, (void **)&m->experts, &a->cap_experts, n, sizeof *m->experts));
    QD_TRY(qd_grow(m->ctx, (void **)&m->transposed, &a->cap_transposed, n, sizeof *m->transposed));
    return qd_grow(m->ctx, (void **)&m->linears, &a->cap_linears, m->n_linears + 1, sizeof *m->linears);
}

static void add_linear(qdisp_model *m, size_t i_tensor, qd_slot slot, size_t layer, size_t expert) {
    qd_linear *l = &m->linears[m->n_linears];
    const qdisp_tensor *t = &m->tensors[i_tensor];
    char where = qd_slot_rows[slot].where;
    *l = (qd_linear){.i_weight = i_tensor, .i_bias = QD_NONE, .role = qd_slot_rows[slot].role, .slot = slot,
                     .layer = where == 'M' ? -1 : (int)layer, .expert = where == 'E' ? (int)expert : -1,
                     .n_out = (size_t)t->shape[0], .n_in = (size_t)t->shape[1]};
    m->linear_index[qd_model_at(m, layer, expert, slot)] = m->n_linears++;
}

static void place(assembly *a, qdisp_tensor t, qd_slot slot, size_t layer, size_t expert, bool transposed) {
    qdisp_model *m = a->m;
    const qd_slot_row *row = &qd_slot_rows[slot];
    size_t i = m->n_tensors++;
    m->tensors[i] = t;
    m->slots[i] = slot;
    m->layers[i] = row->where == 'M' ? -1 : (int)layer;
    m->experts[i] = row->where == 'E' ? (int)expert : -1;
    m->transposed[i] = transposed;
    m->index[qd_model_at(m, layer, expert, slot)] = i;
    m->info.n_parameters += qd_tensor_n_elements(&t);
    m->info.n_bytes += t.n_bytes;
    if (row->what == 'W') add_linear(m, i, slot, layer, expert);
    size_t weight = row->what == 'B' ? qd_model_linear_index(m, layer, expert, slot - 1) : QD_NONE;
    if (weight != QD_NONE) m->linears[weight].i_bias = i;
}

/* One tensor, or one for every expert from a tensor that holds them all. */
static qdisp_status add_tensor(assembly *a, const qd_tensor_spec *spec, size_t block, size_t layer, size_t expert) {
    qdisp_model *m = a->m;
    char name[NAME_BYTES];
    const qdisp_tensor *found = find_spec(a, spec->name, a->prefixed, block, expert, name);
    if (!found) return fail_missing(a, spec->name, block, expert);
    QD_TRY(check_tensor(m, found, spec->dims, spec->transposed));
    QD_TRY(grow(a));
    a->used[found - m->file->tensors] = true;
    qdisp_tensor t = *found;
    if (qd_slot_rows[spec->slot].where == 'E' && !strchr(spec->name, '%')) QD_TRY(qd_tensor_slice(m->file, &t, expert));
    if (spec->transposed) QD_TRY(qd_tensor_transpose(m->file, &t));
    place(a, t, spec->slot, layer, expert, spec->transposed);
    return QDISP_OK;
}

/* --- the specs --- */

static bool is_absent(const qd_model_config *c, const qd_tensor_spec *spec, size_t layer) {
    bool dense = spec->slot >= QD_SLOT_MLP_GATE_UP && spec->slot <= QD_SLOT_MLP_DOWN_BIAS;
    bool moe = spec->slot == QD_SLOT_MLP_ROUTER || qd_slot_rows[spec->slot].where == 'E';
    if ((dense && c->is_moe[layer]) || (moe && !c->is_moe[layer])) return true; /* neither is outside the blocks */
    return c->absent[spec->slot];
}

/* Specs first .. end - 1 are of the same blocks, or all outside of them. */
static size_t run_end(const qd_arch *arch, size_t first) {
    const qd_tensor_spec *s = &arch->specs[first];
    bool outside = qd_slot_rows[s->slot].where == 'M';
    size_t end = first + 1;
    while (end < arch->n_specs && (qd_slot_rows[arch->specs[end].slot].where == 'M') == outside &&
           (outside || arch->specs[end].encoder == s->encoder))
        end++;
    return end;
}

static qdisp_status add_block(assembly *a, size_t first, size_t end, size_t block, size_t layer) {
    for (size_t i = first; i < end; i++) {
        const qd_tensor_spec *spec = &a->m->arch->specs[i];
        size_t n = qd_slot_rows[spec->slot].where == 'E' ? a->m->config.n_expert : 1;
        if (is_absent(&a->m->config, spec, layer)) continue;
        for (size_t expert = 0; expert < n; expert++) QD_TRY(add_tensor(a, spec, block, layer, expert));
    }
    return QDISP_OK;
}

/* Whether a stored head repeats the embedding, by some rows: they are alike in all or in none. */
static qdisp_status compare_head(const qdisp_model *m, const qdisp_tensor *head, bool *same) {
    const qdisp_tensor *embed = &m->tensors[qd_model_index(m, 0, 0, QD_SLOT_EMBED)];
    size_t n = m->config.n_word_embd, n_vocab = m->config.n_vocab, step = n_vocab / 64 + 1;
    float *rows = qd_alloc(m->ctx, 2 * n, sizeof *rows);
    if (!rows) return QDISP_ENOMEM;
    *same = true;
    for (size_t i = 0; i < n_vocab && *same; i += step) {
        const qd_kernels *k = m->ctx->kernels;
        const float *a = qd_load_f32(k, head->data, (qdisp_dtype)head->dtype, i * n, n, rows);
        const float *b = qd_load_f32(k, embed->data, (qdisp_dtype)embed->dtype, i * n, n, rows + n);
        *same = !memcmp(a, b, n * sizeof *a);
    }
    qd_free(m->ctx, rows);
    return QDISP_OK;
}

/* The head, unless the embedding stands for it. Configs that say so may be wrong: transformers believes the file if it
 * has a head that differs, and says "tied" for every mT5. */
static qdisp_status add_head(assembly *a) {
    qdisp_model *m = a->m;
    const qd_tensor_spec head = {.slot = QD_SLOT_HEAD, .name = m->arch->head_name, .dims = "vw"};
    char name[NAME_BYTES];
    const qdisp_tensor *found = find_spec(a, head.name, false, 0, 0, name);
    if (m->config.tied_head && !found) return QDISP_OK;
    if (m->config.tied_head) {
        bool same;
        QD_TRY(check_tensor(m, found, head.dims, false));
        QD_TRY(compare_head(m, found, &same));
        qd_log(m->ctx, QDISP_LOG_INFO, "%s: tensor '%s' %s", m->file->path, name,
               same ? "is tied to the embedding and left out" : "is used, though the config ties it to the embedding");
        if (same) a->used[found - m->file->tensors] = true;
        if (same) return QDISP_OK;
        m->config.tied_head = false;
    }
    bool prefixed = a->prefixed;
    a->prefixed = false;
    qdisp_status status = add_tensor(a, &head, 0, 0, 0);
    a->prefixed = prefixed;
    return status;
}

static qdisp_status add_specs(assembly *a) {
    const qd_arch *arch = a->m->arch;
    const qd_model_config *c = &a->m->config;
    char name[NAME_BYTES];
    a->prefixed = find_spec(a, arch->specs[0].name, true, 0, 0, name) != NULL;
    for (size_t first = 0, end; first < arch->n_specs; first = end) {
        const qd_tensor_spec *s = &arch->specs[first];
        bool outside = qd_slot_rows[s->slot].where == 'M';
        size_t from = outside || s->encoder ? 0 : c->n_encoder_layer;
        size_t to = outside ? 1 : s->encoder ? c->n_encoder_layer : c->n_layer;
        end = run_end(arch, first);
        for (size_t layer = from; layer < to; layer++) QD_TRY(add_block(a, first, end, layer - from, layer));
    }
    return arch->head_name ? add_head(a) : QDISP_OK;
}

/* --- what is left over --- */

/* '#' is a number, a final '*' anything. */
static bool matches(const char *pattern, const char *name) {
    for (; *pattern; pattern++) {
        if (*pattern == '*' && !pattern[1]) return true;
        if (*pattern == '#') {
            if (!isdigit((unsigned char)*name)) return false;
            while (isdigit((unsigned char)*name)) name++;
        } else if (*pattern != *name++) {
            return false;
        }
    }
    return *name == 0;
}

static bool is_ignored(const qd_arch *arch, const char *name) {
    size_t n = strlen(arch->prefix);
    for (const char *const *p = arch->ignored; p && *p; p++) {
        if (matches(*p, name) || (!strncmp(name, arch->prefix, n) && matches(*p, name + n))) return true;
    }
    return false;
}

static qdisp_status check_rest(const assembly *a) {
    const qdisp_model *m = a->m;
    for (size_t i = 0; i < m->file->n_tensors; i++) {
        const qdisp_tensor *t = &m->file->tensors[i];
        if (a->used[i] || is_ignored(m->arch, t->name)) continue;
        return qd_fail(m->ctx, QDISP_EFORMAT, "%s: tensor '%.200s' has no place in a %s model of %zu layers",
                       m->file->path, t->name, m->arch->name, m->config.n_layer);
    }
    return QDISP_OK;
}

static void fill_info(qdisp_model *m) {
    const qd_model_config *c = &m->config;
    m->info.architecture = m->arch->name;
    m->info.kind = c->kind;
    m->info.n_vocab = (uint32_t)c->n_vocab;
    m->info.n_layer = (uint32_t)c->n_layer;
    m->info.n_encoder_layer = (uint32_t)c->n_encoder_layer;
    m->info.n_head = (uint32_t)c->n_head;
    m->info.n_kv_head = (uint32_t)c->n_kv_head;
    m->info.head_dim = (uint32_t)c->head_dim;
    m->info.n_embd = (uint32_t)c->n_embd;
    m->info.n_ff = (uint32_t)(c->n_expert ? c->n_ff_expert : c->n_ff);
    m->info.n_expert = (uint32_t)c->n_expert;
    m->info.n_expert_used = (uint32_t)c->n_expert_used;
    m->info.n_positions = (uint32_t)c->n_positions;
    m->info.bos_id = c->bos_id;
    m->info.eos_id = c->eos_id;
    m->info.decoder_start_id = c->decoder_start_id;
}

static qdisp_status assemble(assembly *a) {
    qdisp_model *m = a->m;
    size_t n_index = m->config.n_layer * m->n_index;
    if (m->config.n_layer > m->file->n_tensors) { /* before memory is taken for them */
        return qd_fail(m->ctx, QDISP_EFORMAT, "%s: %zu tensors, the config asks for %zu layers", m->file->path,
                       m->file->n_tensors, m->config.n_layer);
    }
    a->used = qd_alloc(m->ctx, m->file->n_tensors + 1, sizeof *a->used);
    m->index = qd_alloc(m->ctx, n_index, sizeof *m->index);
    m->linear_index = qd_alloc(m->ctx, n_index, sizeof *m->linear_index);
    if (!a->used || !m->index || !m->linear_index) return QDISP_ENOMEM;
    for (size_t i = 0; i < n_index; i++) m->index[i] = m->linear_index[i] = QD_NONE;
    QD_TRY(grow(a));
    QD_TRY(add_specs(a));
    QD_TRY(check_rest(a));
    if (m->config.tied_head) {
        QD_TRY(grow(a));
        add_linear(m, qd_model_index(m, 0, 0, QD_SLOT_EMBED), QD_SLOT_HEAD, 0, 0);
        m->linears[m->n_linears - 1].i_bias = qd_model_index(m, 0, 0, QD_SLOT_HEAD_BIAS);
    }
    fill_info(m);
    return QDISP_OK;
}

qdisp_status qd_model_assemble(qdisp_model *m) {
    assembly a = {.m = m};
    m->n_index = QD_N_SLOTS + 3 * m->config.n_expert;
    qdisp_status status = assemble(&a);
    qd_free(m->ctx, a.used);
    return status;
}
