/* pack_gptq.c - GPTQ checkpoints, first and second form.
 *
 * A linear map of K inputs and N outputs is qweight i32 [K bits / 32, N], a stream of codes an output; qzeros i32
 * [groups, N bits / 32], a stream of zero points a group; scales f16 [groups, N]; g_idx i32 [K], the group of each
 * input. The first code stands in the lowest bits. The first form stores zero points less one, which leaves none for 0.
 * Every group of a tensor that has one scale gets that scale. */
#include "quant/pack_gptq.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QWEIGHT, QZEROS, SCALES, G_IDX, N_PARTS };

static size_t n_groups_of(const qd_choice *c) {
    return c->group_size > 0 ? (c->n_in + (size_t)c->group_size - 1) / (size_t)c->group_size : 1;
}

static size_t parts_of(const qd_choice *c, qd_module_part parts[QD_MAX_PARTS]) {
    uint64_t bits = (uint64_t)c->bits, n_groups = n_groups_of(c);
    parts[QWEIGHT] = (qd_module_part){".qweight", QDISP_DTYPE_I32, 2, {c->n_in / 32 * bits, c->n_out}};
    parts[QZEROS] = (qd_module_part){".qzeros", QDISP_DTYPE_I32, 2, {n_groups, c->n_out / 32 * bits}};
    parts[SCALES] = (qd_module_part){".scales", QDISP_DTYPE_F16, 2, {n_groups, c->n_out}};
    parts[G_IDX] = (qd_module_part){".g_idx", QDISP_DTYPE_I32, 1, {c->n_in, 0}};
    return N_PARTS;
}

qdisp_status qd_gptq_check(const qd_packing *p) {
    QD_TRY(qd_checkpoint_check(p, p->packer->name));
    for (size_t i = 0; i < p->n_choices; i++) {
        const qd_choice *c = &p->choices[i];
        if (c->bits != 2 && c->bits != 3 && c->bits != 4 && c->bits != 8)
            return qd_fail(p->ctx, QDISP_EUNSUPPORTED, "%s: %s has no %d bits, only 2, 3, 4 and 8", c->name,
                           p->packer->name, c->bits);
        if (c->n_in % 32 || c->n_out % 32)
            return qd_fail(p->ctx, QDISP_EUNSUPPORTED, "%s: %s holds multiples of 32 inputs and outputs, not [%zu, "
                           "%zu]", c->name, p->packer->name, c->n_out, c->n_in);
    }
    return QDISP_OK;
}

/* ---- one matrix ---- */

typedef struct gptq {
    qd_checkpoint *checkpoint;
    bool is_v2, has_order, is_asymmetric;
} gptq;

/* A stream of n codes, at stride, into words that lie n_lanes apart. */
static void pack_stream(const uint8_t *codes, size_t n, size_t stride, unsigned bits, uint32_t *words, size_t n_lanes) {
    uint64_t held = 0;
    unsigned n_held = 0;
    for (size_t i = 0; i < n; i++) {
        held |= (uint64_t)codes[i * stride] << n_held;
        n_held += bits;
        if (n_held < 32) continue;
        *words = (uint32_t)held;
        words += n_lanes;
        held >>= 32;
        n_held -= 32;
    }
}

typedef struct weight_job {
    const qd_codes *codes;
    uint32_t *words;
} weight_job;

/* 64 outputs: what they write of a line of words lies together. */
static qdisp_status weight_task(void *arg, size_t i, unsigned i_worker) {
    const weight_job *j = arg;
    const qd_codes *c = j->codes;
    (void)i_worker;
    for (size_t r = 64 * i; r < 64 * (i + 1) && r < c->n_out; r++)
        pack_stream(c->codes + r * c->n_in, c->n_in, 1, (unsigned)c->bits, j->words + r, c->n_out);
    return QDISP_OK;
}

static qdisp_status put_weight(gptq *s, size_t i_choice, const qd_codes *codes) {
    qdisp_ctx *ctx = s->checkpoint->ctx;
    weight_job j = {codes, qd_alloc(ctx, codes->n_in / 32 * (size_t)codes->bits, codes->n_out * sizeof(uint32_t))};
    qdisp_status status = j.words ? qd_parallel(ctx, (codes->n_out + 63) / 64, weight_task, &j) : QDISP_ENOMEM;
    if (status == QDISP_OK) status = qd_checkpoint_put(s->checkpoint, i_choice, QWEIGHT, j.words);
    qd_free(ctx, j.words);
    return status;
}

static qdisp_status put_zeros(gptq *s, size_t i_choice, const qd_codes *codes) {
    qdisp_ctx *ctx = s->checkpoint->ctx;
    size_t n_words = codes->n_out / 32 * (size_t)codes->bits, n = codes->n_out * codes->n_groups;
    uint8_t *zeros = qd_alloc(ctx, n, 1);
    uint32_t *words = qd_alloc(ctx, n_words * codes->n_groups, sizeof *words);
    qdisp_status status = zeros && words ? QDISP_OK : QDISP_ENOMEM;
    for (size_t i = 0; i < n && status == QDISP_OK; i++) {
        int zero = codes->zeros ? codes->zeros[i] : 1 << (codes->bits - 1);
        if (zero == 0 && !s->is_v2)
            status = qd_fail(ctx, QDISP_EUNSUPPORTED, "%s: a group of row %zu has the zero point 0, which format gptq "
                             "cannot hold: use gptq_v2", codes->name, i / codes->n_groups);
        zeros[i] = (uint8_t)(zero - !s->is_v2);
    }
    for (size_t g = 0; g < codes->n_groups && status == QDISP_OK; g++)
        pack_stream(zeros + g, codes->n_out, codes->n_groups, (unsigned)codes->bits, words + g * n_words, 1);
    if (status == QDISP_OK) status = qd_checkpoint_put(s->checkpoint, i_choice, QZEROS, words);
    qd_free(ctx, zeros);
    qd_free(ctx, words);
    return status;
}

static qdisp_status put_scales(gptq *s, size_t i_choice, const qd_codes *codes) {
    qdisp_ctx *ctx = s->checkpoint->ctx;
    size_t n = codes->n_out * codes->n_groups;
    uint16_t *rows = qd_alloc(ctx, 2 * n, sizeof *rows), *out = rows + n;
    if (!rows) return QDISP_ENOMEM;
    qdisp_status status = qd_checkpoint_scales(s->checkpoint, i_choice, codes, rows);
    for (size_t r = 0; r < codes->n_out && status == QDISP_OK; r++)
        for (size_t g = 0; g < codes->n_groups; g++) out[g * codes->n_out + r] = rows[r * codes->n_groups + g];
    if (status == QDISP_OK) status = qd_checkpoint_put(s->checkpoint, i_choice, SCALES, out);
    qd_free(ctx, rows);
    return status;
}

static qdisp_status put_groups(gptq *s, size_t i_choice, const qd_codes *codes) {
    qdisp_ctx *ctx = s->checkpoint->ctx;
    int32_t *groups = qd_alloc(ctx, codes->n_in, sizeof *groups);
    if (!groups) return QDISP_ENOMEM;
    for (size_t j = 0; j < codes->n_in; j++)
        groups[j] = (int32_t)(codes->order ? codes->order[j] : j / codes->group_size);
    qdisp_status status = qd_checkpoint_put(s->checkpoint, i_choice, G_IDX, groups);
    qd_free(ctx, groups);
    return status;
}

qdisp_status qd_gptq_put(void *state, size_t i_choice, const qd_codes *codes) {
    gptq *s = state;
    s->has_order = s->has_order || codes->order;
    s->is_asymmetric = s->is_asymmetric || codes->zeros;
    QD_TRY(put_scales(s, i_choice, codes)); /* which looks at what the codes are */
    QD_TRY(put_weight(s, i_choice, codes));
    QD_TRY(put_zeros(s, i_choice, codes));
    QD_TRY(put_groups(s, i_choice, codes));
    return qd_checkpoint_put_kept(s->checkpoint, i_choice, N_PARTS, codes);
}

/* ---- what config.json says ---- */

static int64_t group_of(const qd_choice *c) {
    return c->group_size > 0 && (size_t)c->group_size < c->n_in ? c->group_size : -1;
}

/* The first choice whose bits and groups most others have. */
static const qd_choice *most_common(const qd_packing *p) {
    const qd_choice *best = NULL;
    size_t most = 0;
    for (size_t i = 0; i < p->n_choices; i++) {
        size_t n = 0;
        for (size_t k = 0; k < p->n_choices; k++)
            n += p->choices[k].bits == p->choices[i].bits && group_of(&p->choices[k]) == group_of(&p->choices[i]);
        if (n > most) most = n, best = &p->choices[i];
    }
    return best;
}

/* A module in a rule of GPTQModel: a regular expression for its whole name, after + (its own settings) or - (left
 * out). */
static char *rule_name(qdisp_ctx *ctx, char sign, const char *name, size_t n) {
    char *text = qd_alloc(ctx, 2 * n + 8, 1), *at = text;
    if (!text) return NULL;
    at += sprintf(at, "%c:^", sign);
    for (size_t i = 0; i < n; i++) {
        if (name[i] == '.') *at++ = '\\';
        *at++ = name[i];
    }
    *at = '$';
    return text;
}

static int add_rule(qdisp_ctx *ctx, json_t *rules, char sign, const char *name, size_t n, json_t *settings) {
    char *text = rule_name(ctx, sign, name, n);
    int failed = text ? json_object_set_new(rules, text, settings) : (json_decref(settings), -1);
    qd_free(ctx, text);
    return failed;
}

static const qd_choice *choice_of(const qd_packing *p, size_t i_tensor) {
    for (size_t i = 0; i < p->n_choices; i++)
        if (p->choices[i].i_tensor == i_tensor) return &p->choices[i];
    return NULL;
}

/* Modules of the blocks that are not quantized, or not as the most. NULL: out of memory. */
static json_t *make_rules(const qd_packing *p, const qd_choice *usual) {
    json_t *rules = json_object();
    int failed = !rules;
    for (size_t i = 0; i < p->model->n_linears && !failed; i++) {
        const qd_linear *l = &p->model->linears[i];
        const qd_choice *c = choice_of(p, l->i_weight);
        const qd_choice named = {.name = p->model->tensors[l->i_weight].name};
        if (l->layer >= 0 && !c)
            failed = add_rule(p->ctx, rules, '-', named.name, qd_module_length(&named), json_object());
        if (c && (c->bits != usual->bits || group_of(c) != group_of(usual)))
            failed = add_rule(p->ctx, rules, '+', c->name, qd_module_length(c),
                              json_pack("{s:i, s:I}", "bits", c->bits, "group_size", (json_int_t)group_of(c)));
    }
    if (!failed) return rules;
    json_decref(rules);
    return NULL;
}

static json_t *make_config(const gptq *s) {
    const qd_packing *p = s->checkpoint->packing;
    const qd_choice *usual = most_common(p);
    bool has_head = false;
    for (size_t i = 0; i < p->n_choices; i++) has_head = has_head || p->choices[i].slot == QD_SLOT_HEAD;
    const char *form = s->is_v2 ? "gptq_v2" : "gptq";
    json_t *rules = usual ? make_rules(p, usual) : json_object();
    if (!rules) return NULL;
    json_t *json = json_pack("{s:s, s:i, s:I, s:b, s:b, s:b, s:s, s:s, s:s, s:{s:[s]}}", "quant_method", "gptq", "bits",
                             usual ? usual->bits : 4, "group_size", (json_int_t)(usual ? group_of(usual) : -1),
                             "desc_act", s->has_order, "sym", !s->is_asymmetric, "lm_head", has_head,
                             "checkpoint_format", form, "format", form, "pack_dtype", "int32", "meta", "quantizer",
                             "qdisp");
    if (json && json_object_size(rules) > 0) json_object_set(json, "dynamic", rules);
    json_decref(rules);
    return json;
}

/* ---- the packer ---- */

qdisp_status qd_gptq_open(const qd_packing *p, bool is_v2, void **state) {
    gptq *s = qd_alloc(p->ctx, 1, sizeof *s);
    if (!s) return QDISP_ENOMEM;
    s->is_v2 = is_v2;
    qdisp_status status = qd_checkpoint_open(p, parts_of, &s->checkpoint);
    if (status == QDISP_OK) *state = s;
    else qd_free(p->ctx, s);
    return status;
}

static qdisp_status open_first(const qd_packing *p, void **state) {
    return qd_gptq_open(p, false, state);
}

qdisp_status qd_gptq_commit(void *state) {
    gptq *s = state;
    qdisp_ctx *ctx = s->checkpoint->ctx;
    qdisp_status status = qd_checkpoint_commit(s->checkpoint, make_config(s), "quantize_config.json");
    qd_free(ctx, s);
    return status;
}

void qd_gptq_discard(void *state) {
    gptq *s = state;
    if (!s) return;
    qdisp_ctx *ctx = s->checkpoint->ctx;
    qd_checkpoint_discard(s->checkpoint);
    qd_free(ctx, s);
}

const qd_packer qd_packer_gptq = {"gptq", "GPTQ checkpoint, first form: most engines read it", qd_gptq_check,
                                  open_first, qd_gptq_put, qd_gptq_commit, qd_gptq_discard};
