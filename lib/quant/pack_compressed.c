/* pack_compressed.c - compressed-tensors checkpoints, format pack-quantized.
 *
 * A linear map of K inputs and N outputs is weight_packed i32 [N, words], a stream of codes a row; weight_scale f16
 * [N, groups]; weight_shape i64 [2]; asymmetric: weight_zero_point i32 [words, groups], a stream of zero points a
 * group, over the rows; weight_g_idx i32 [K], the group of each input, where they are not in order. Codes and zero
 * points count from 0, the first in the lowest bits; of 3, 5, 6 and 7 bits they go on in the next word (the layout
 * since June 2026). */
#include "quant/checkpoint.h"

#include <stdio.h>
#include <string.h>

enum { PACKED, SCALE, SHAPE, OPTIONAL };

static size_t n_words_of(size_t n, int bits) {
    return (n * (size_t)bits + 31) / 32;
}

static size_t n_groups_of(const qd_choice *c) {
    return c->group_size > 0 ? (c->n_in + (size_t)c->group_size - 1) / (size_t)c->group_size : 1;
}

static bool has_zeros(const qd_choice *c) {
    return c->levels == QD_ASYM;
}

static bool has_order(const qd_choice *c) {
    return qd_choice_option(c, "act_order", 0) != 0;
}

static size_t parts_of(const qd_choice *c, qd_module_part parts[QD_MAX_PARTS]) {
    size_t n = OPTIONAL, n_groups = n_groups_of(c);
    parts[PACKED] = (qd_module_part){".weight_packed", QDISP_DTYPE_I32, 2, {c->n_out, n_words_of(c->n_in, c->bits)}};
    parts[SCALE] = (qd_module_part){".weight_scale", QDISP_DTYPE_F16, 2, {c->n_out, n_groups}};
    parts[SHAPE] = (qd_module_part){".weight_shape", QDISP_DTYPE_I64, 1, {2, 0}};
    if (has_zeros(c))
        parts[n++] = (qd_module_part){".weight_zero_point", QDISP_DTYPE_I32, 2,
                                      {n_words_of(c->n_out, c->bits), n_groups}};
    if (has_order(c)) parts[n++] = (qd_module_part){".weight_g_idx", QDISP_DTYPE_I32, 1, {c->n_in, 0}};
    return n;
}

static qdisp_status check(const qd_packing *p) {
    QD_TRY(qd_checkpoint_check(p, p->packer->name));
    for (size_t i = 0; i < p->n_choices; i++) {
        const qd_choice *c = &p->choices[i];
        if (p->model->transposed[c->i_tensor])
            return qd_fail(p->ctx, QDISP_EUNSUPPORTED, "%s: its module is no Linear (the matrix is stored as [n_in, "
                           "n_out]), which %s cannot name", c->name, p->packer->name);
        if (c->group_size > 0 && c->n_in % (size_t)c->group_size)
            return qd_fail(p->ctx, QDISP_EUNSUPPORTED, "%s: %zu inputs are not whole groups of %lld, as %s wants them",
                           c->name, c->n_in, (long long)c->group_size, p->packer->name);
    }
    return QDISP_OK;
}

/* ---- one matrix ---- */

typedef struct pack_job {
    const qd_kernels *kernels;
    const uint8_t *codes; /* [n_lanes, n] */
    size_t n, n_words;
    unsigned bits;
    uint8_t *words; /* [n_lanes, n_words], zero */
} pack_job;

static qdisp_status pack_task(void *arg, size_t i, unsigned i_worker) {
    const pack_job *j = arg;
    (void)i_worker;
    j->kernels->pack_bits((const int8_t *)j->codes + i * j->n, j->n, j->bits, false,
                          j->words + i * j->n_words * sizeof(uint32_t));
    return QDISP_OK;
}

static qdisp_status put_weight(qd_checkpoint *k, size_t i_choice, const qd_codes *c) {
    qdisp_ctx *ctx = k->ctx;
    pack_job j = {ctx->kernels, c->codes, c->n_in, n_words_of(c->n_in, c->bits), (unsigned)c->bits, NULL};
    j.words = qd_alloc(ctx, c->n_out * j.n_words, sizeof(uint32_t));
    qdisp_status status = j.words ? qd_parallel(ctx, c->n_out, pack_task, &j) : QDISP_ENOMEM;
    if (status == QDISP_OK) status = qd_checkpoint_put(k, i_choice, PACKED, j.words);
    qd_free(ctx, j.words);
    return status;
}

/* [words, groups]: words of a group lie n_groups apart. */
static qdisp_status put_zeros(qd_checkpoint *k, size_t i_choice, size_t i_part, const qd_codes *c) {
    qdisp_ctx *ctx = k->ctx;
    size_t n_words = n_words_of(c->n_out, c->bits), n = c->n_out * c->n_groups;
    uint8_t *zeros = qd_alloc(ctx, n, 1);
    uint32_t *words = qd_alloc(ctx, 2 * n_words * c->n_groups, sizeof *words), *out = words + n_words * c->n_groups;
    qdisp_status status = zeros && words ? QDISP_OK : QDISP_ENOMEM;
    for (size_t i = 0; i < n && status == QDISP_OK; i++)
        zeros[i % c->n_groups * c->n_out + i / c->n_groups] = c->zeros ? c->zeros[i] : (uint8_t)(1 << (c->bits - 1));
    pack_job j = {ctx->kernels, zeros, c->n_out, n_words, (unsigned)c->bits, (uint8_t *)words};
    if (status == QDISP_OK) status = qd_parallel(ctx, c->n_groups, pack_task, &j);
    for (size_t i = 0; i < n_words * c->n_groups && status == QDISP_OK; i++)
        out[i % n_words * c->n_groups + i / n_words] = words[i];
    if (status == QDISP_OK) status = qd_checkpoint_put(k, i_choice, i_part, out);
    qd_free(ctx, zeros);
    qd_free(ctx, words);
    return status;
}

static qdisp_status put_order(qd_checkpoint *k, size_t i_choice, size_t i_part, const qd_codes *c) {
    qdisp_ctx *ctx = k->ctx;
    int32_t *groups = qd_alloc(ctx, c->n_in, sizeof *groups);
    if (!groups) return QDISP_ENOMEM;
    for (size_t j = 0; j < c->n_in; j++) groups[j] = (int32_t)(c->order ? c->order[j] : j / c->group_size);
    qdisp_status status = qd_checkpoint_put(k, i_choice, i_part, groups);
    qd_free(ctx, groups);
    return status;
}

static qdisp_status put_scales(qd_checkpoint *k, size_t i_choice, const qd_codes *c) {
    uint16_t *scales = qd_alloc(k->ctx, c->n_out * c->n_groups, sizeof *scales);
    if (!scales) return QDISP_ENOMEM;
    qdisp_status status = qd_checkpoint_scales(k, i_choice, c, scales);
    if (status == QDISP_OK) status = qd_checkpoint_put(k, i_choice, SCALE, scales);
    qd_free(k->ctx, scales);
    return status;
}

static qdisp_status put(void *state, size_t i_choice, const qd_codes *codes) {
    qd_checkpoint *k = state;
    const qd_choice *c = &k->packing->choices[i_choice];
    int64_t shape[2] = {(int64_t)codes->n_out, (int64_t)codes->n_in};
    size_t n = OPTIONAL;
    if ((codes->zeros && !has_zeros(c)) || (codes->order && !has_order(c)))
        return qd_fail(k->ctx, QDISP_EUNSUPPORTED, "%s: zero points or an order of groups that the plan's "
                       "columns levels and options do not announce", c->name);
    QD_TRY(put_scales(k, i_choice, codes)); /* which looks at what the codes are */
    QD_TRY(put_weight(k, i_choice, codes));
    QD_TRY(qd_checkpoint_put(k, i_choice, SHAPE, shape));
    if (has_zeros(c)) QD_TRY(put_zeros(k, i_choice, n++, codes));
    if (has_order(c)) QD_TRY(put_order(k, i_choice, n++, codes));
    return qd_checkpoint_put_kept(k, i_choice, n, codes);
}

/* ---- what config.json says ---- */

static bool same_scheme(const qd_choice *a, const qd_choice *b) {
    bool grouped = a->group_size > 0;
    return a->bits == b->bits && has_zeros(a) == has_zeros(b) && has_order(a) == has_order(b) &&
           grouped == (b->group_size > 0) && (!grouped || a->group_size == b->group_size);
}

static json_t *module_name(const char *weight) {
    const qd_choice named = {.name = weight};
    return json_stringn(weight, qd_module_length(&named));
}

/* Weights of choice `first`'s kind, and the modules that have them. */
static json_t *make_group(const qd_packing *p, size_t first) {
    const qd_choice *c = &p->choices[first];
    json_t *targets = json_array(), *weights = NULL;
    int failed = !targets;
    for (size_t i = first; i < p->n_choices && !failed; i++)
        if (same_scheme(c, &p->choices[i])) failed = json_array_append_new(targets, module_name(p->choices[i].name));
    bool grouped = c->group_size > 0;
    if (!failed)
        weights = json_pack("{s:i, s:s, s:b, s:s, s:o, s:o, s:b}", "num_bits", c->bits, "type", "int", "symmetric",
                            !has_zeros(c), "strategy", grouped ? "group" : "channel", "group_size",
                            grouped ? json_integer((json_int_t)c->group_size) : json_null(), "actorder",
                            has_order(c) ? json_string("group") : json_null(), "dynamic", 0);
    json_t *group = weights ? json_pack("{s:O, s:O, s:n, s:n, s:s}", "targets", targets, "weights", weights,
                                        "input_activations", "output_activations", "format", "pack-quantized") : NULL;
    json_decref(targets);
    json_decref(weights);
    return group;
}

static bool is_choice(const qd_packing *p, size_t i_tensor) {
    for (size_t i = 0; i < p->n_choices; i++)
        if (p->choices[i].i_tensor == i_tensor) return true;
    return false;
}

static json_t *make_ignored(const qd_packing *p) {
    json_t *ignored = json_array();
    int failed = !ignored;
    for (size_t i = 0; i < p->model->n_linears && !failed; i++) {
        const qd_linear *l = &p->model->linears[i];
        if (is_choice(p, l->i_weight) || p->model->slots[l->i_weight] == QD_SLOT_EMBED) continue;
        failed = json_array_append_new(ignored, module_name(p->model->tensors[l->i_weight].name));
    }
    /* a head that is the embedding has a module of its own */
    if (!failed && p->model->config.tied_head) failed = json_array_append_new(ignored, json_string("lm_head"));
    if (!failed) return ignored;
    json_decref(ignored);
    return NULL;
}

static json_t *make_config(const qd_packing *p) {
    json_t *groups = json_object(), *ignored = make_ignored(p);
    int failed = !groups || !ignored;
    size_t n = 0;
    for (size_t i = 0; i < p->n_choices && !failed; i++) {
        size_t first = 0;
        char name[40];
        while (!same_scheme(&p->choices[first], &p->choices[i])) first++;
        if (first < i) continue;
        snprintf(name, sizeof name, "group_%zu", n++);
        failed = json_object_set_new(groups, name, make_group(p, i));
    }
    json_t *json = failed ? NULL
                          : json_pack("{s:s, s:s, s:s, s:O, s:O, s:n}", "quant_method", "compressed-tensors", "format",
                                      "pack-quantized", "quantization_status", "compressed", "config_groups", groups,
                                      "ignore", ignored, "kv_cache_scheme");
    json_decref(groups);
    json_decref(ignored);
    return json;
}

/* ---- the packer ---- */

static qdisp_status open_folder(const qd_packing *p, void **state) {
    return qd_checkpoint_open(p, parts_of, (qd_checkpoint **)state);
}

static qdisp_status commit(void *state) {
    return qd_checkpoint_commit(state, make_config(((qd_checkpoint *)state)->packing), NULL);
}

static void discard(void *state) {
    qd_checkpoint_discard(state);
}

const qd_packer qd_packer_compressed = {"compressed-tensors", "pack-quantized, as vLLM and transformers read it", check,
                                        open_folder, put, commit, discard};
