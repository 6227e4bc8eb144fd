/* overrides.c - a plan's choice of bits as what other quantizers read: a row a tool. Their own methods then choose the
 * codes; names are theirs, patterns are anchored. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf_model.h"
#include "quant/quant.h"

typedef struct writing {
    qdisp_ctx *ctx;
    const qdisp_model *model;
    const qd_choice *choices;
    const bool *symmetric; /* [n] */
    size_t n;
    qdisp_sink sink;
    void *user;
} writing;

static qdisp_status emit(const writing *w, const char *text) {
    if (w->sink(w->user, text, strlen(text)) == 0) return QDISP_OK;
    return qd_fail(w->ctx, QDISP_EIO, "overrides: the sink refused what was written");
}

/* A name as a regular expression that matches nothing else. */
static void escape(const char *name, char *out, size_t n) {
    size_t at = 0;
    for (; *name && at + 3 < n; name++) {
        if (strchr(".[](){}*+?^$|\\", *name)) out[at++] = '\\';
        out[at++] = *name;
    }
    out[at] = 0;
}

/* ---- llama.cpp and its kin: a type a tensor, names as in GGUF ---- */

/* ggml's name for a choice: of integers the k-quant of as many bits, which goes back to a type that fits by itself. */
static const char *ggml_type(const qd_choice *c) {
    static const char *const by_bits[] = {"q2_K", "q3_K", "q4_K", "q5_K", "q6_K", "q8_0", "q8_0"};
    static const char *const kinds[] = {"q2_K", "q3_K", "q4_K", "q5_K", "q6_K"};
    if (!strcmp(c->type, "int")) return by_bits[c->bits - 2];
    for (size_t i = 0; i < 5; i++)
        if (!strcasecmp(kinds[i], c->type)) return kinds[i];
    return c->type;
}

/* NAME=TYPE with something between two; experts are one tensor, which has the type of the first. */
static qdisp_status write_ggml(const writing *w, const char *between) {
    for (size_t i = 0; i < w->n; i++) {
        char name[160], line[256];
        qd_gguf_place place, other = {.name = ""};
        size_t t = w->choices[i].i_tensor;
        QD_TRY(qd_gguf_find_place(w->model, t, &place));
        for (size_t k = 0; place.n_slices > 1 && k < i && strcmp(other.name, place.name); k++)
            if (w->model->layers[w->choices[k].i_tensor] == w->model->layers[t])
                QD_TRY(qd_gguf_find_place(w->model, w->choices[k].i_tensor, &other));
        if (!strcmp(other.name, place.name)) continue;
        escape(place.name, name, sizeof name);
        snprintf(line, sizeof line, "%s^%s$=%s", i ? between : "", name, ggml_type(&w->choices[i]));
        QD_TRY(emit(w, line));
    }
    return emit(w, "\n");
}

static qdisp_status write_llama_quantize(const writing *w) {
    return write_ggml(w, "\n");
}

static qdisp_status write_ik_llama(const writing *w) {
    return write_ggml(w, ",");
}

/* ---- the others: JSON by module, names as in checkpoints ---- */

/* The module of a weight: its name without ".weight". */
static void module_of(const char *tensor, char *out, size_t n) {
    size_t length = strlen(tensor);
    if (length > 7 && !strcmp(tensor + length - 7, ".weight")) length -= 7;
    snprintf(out, n, "%.*s", (int)length, tensor);
}

static void pattern_of(const char *before, const char *tensor, char *out, size_t n) {
    char module[256], escaped[400];
    module_of(tensor, module, sizeof module);
    escape(module, escaped, sizeof escaped);
    snprintf(out, n, "%s^%s$", before, escaped);
}

/* -1: a channel or a tensor has one threshold. */
static json_int_t group_of(const qd_choice *c) {
    return c->group_size > 0 ? (json_int_t)c->group_size : -1;
}

static bool is_chosen(const writing *w, size_t i_tensor) {
    size_t i = 0;
    while (i < w->n && w->choices[i].i_tensor != i_tensor) i++;
    return i < w->n;
}

static qdisp_status emit_json(const writing *w, json_t *json) {
    char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
    json_decref(json);
    if (!text) return qd_fail(w->ctx, QDISP_ENOMEM, "overrides: out of memory");
    qdisp_status status = emit(w, text);
    free(text); /* jansson's */
    return status == QDISP_OK ? emit(w, "\n") : status;
}

static qdisp_status write_gptqmodel(const writing *w) {
    json_t *all = json_object();
    char name[512];
    for (size_t i = 0; i < w->n; i++) {
        const qd_choice *c = &w->choices[i];
        pattern_of("+:", c->name, name, sizeof name);
        json_object_set_new(all, name, json_pack("{s:i, s:I, s:b}", "bits", c->bits, "group_size", group_of(c), "sym",
                                                 (int)w->symmetric[i]));
    }
    for (size_t k = 0; k < w->model->n_linears; k++) {
        const qd_linear *l = &w->model->linears[k];
        if (l->layer < 0 || is_chosen(w, l->i_weight)) continue;
        pattern_of("-:", w->model->tensors[l->i_weight].name, name, sizeof name);
        json_object_set_new(all, name, json_object());
    }
    return emit_json(w, all);
}

static qdisp_status write_auto_round(const writing *w) {
    json_t *all = json_object();
    char name[512];
    for (size_t i = 0; i < w->n; i++) {
        const qd_choice *c = &w->choices[i];
        module_of(c->name, name, sizeof name);
        json_object_set_new(all, name, json_pack("{s:i, s:I, s:b, s:s}", "bits", c->bits, "group_size", group_of(c),
                                                 "sym", (int)w->symmetric[i], "data_type", "int"));
    }
    for (size_t k = 0; k < w->model->n_linears; k++) {
        const qd_linear *l = &w->model->linears[k];
        if (l->layer < 0 || is_chosen(w, l->i_weight)) continue;
        module_of(w->model->tensors[l->i_weight].name, name, sizeof name);
        json_object_set_new(all, name, json_pack("{s:i}", "bits", 16));
    }
    return emit_json(w, all);
}

static bool same_scheme(const writing *w, size_t i, size_t k) {
    const qd_choice *a = &w->choices[i], *b = &w->choices[k];
    return a->bits == b->bits && a->group_size == b->group_size && w->symmetric[i] == w->symmetric[k];
}

/* Choices of one scheme are a group. */
static qdisp_status write_compressed(const writing *w) {
    json_t *groups = json_object(), *ignore = json_array();
    char name[512], label[32];
    size_t n_groups = 0;
    for (size_t i = 0; i < w->n; i++) {
        size_t first = 0;
        const qd_choice *c = &w->choices[i];
        while (!same_scheme(w, first, i)) first++;
        if (first < i) continue;
        json_t *targets = json_array();
        for (size_t k = i; k < w->n; k++) {
            if (!same_scheme(w, i, k)) continue;
            pattern_of("re:", w->choices[k].name, name, sizeof name);
            json_array_append_new(targets, json_string(name));
        }
        const char *strategy = c->group_size > 0 ? "group" : c->group_size == QDISP_GROUP_TENSOR ? "tensor" : "channel";
        json_t *weights = json_pack("{s:i, s:s, s:b, s:s}", "num_bits", c->bits, "type", "int", "symmetric",
                                    (int)w->symmetric[i], "strategy", strategy);
        if (c->group_size > 0) json_object_set_new(weights, "group_size", json_integer((json_int_t)c->group_size));
        snprintf(label, sizeof label, "group_%zu", n_groups++);
        json_object_set_new(groups, label, json_pack("{s:o, s:o}", "targets", targets, "weights", weights));
    }
    for (size_t k = 0; k < w->model->n_linears; k++) {
        const qd_linear *l = &w->model->linears[k];
        if (is_chosen(w, l->i_weight)) continue;
        module_of(l->slot == QD_SLOT_HEAD && w->model->config.tied_head ? "lm_head"
                                                                         : w->model->tensors[l->i_weight].name,
                  name, sizeof name);
        json_array_append_new(ignore, json_string(name));
    }
    return emit_json(w, json_pack("{s:o, s:o}", "config_groups", groups, "ignore", ignore));
}

/* ---- the tools ---- */

static const struct {
    const char *name, *summary;
    qdisp_status (*write)(const writing *w);
    bool blocks; /* takes GGUF's types; the others integers */
} tools[] = {
    {"llama-quantize", "a file for llama-quantize --tensor-type-file", write_llama_quantize, true},
    {"ik_llama", "the argument of ik_llama.cpp's llama-quantize --custom-q", write_ik_llama, true},
    {"gptqmodel", "GPTQModel's QuantizeConfig.dynamic, JSON", write_gptqmodel, false},
    {"auto-round", "AutoRound's layer_config, JSON", write_auto_round, false},
    {"compressed-tensors", "config_groups and ignore of a quantization_config, JSON", write_compressed, false},
};
#define N_TOOLS (sizeof tools / sizeof *tools)

static qdisp_status find_tool(qdisp_ctx *ctx, const char *name, size_t *out) {
    char known[160];
    size_t n = 0;
    for (*out = 0; *out < N_TOOLS; ++*out) {
        if (name && !strcmp(tools[*out].name, name)) return QDISP_OK;
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", *out ? ", " : "", tools[*out].name);
    }
    return qd_fail(ctx, QDISP_EINVAL, "unknown tool '%s': use one of %s", name ? name : "(null)", known);
}

/* From the plan's own text, as a choice of blocks has no levels. */
static void find_symmetric(const qdisp_table *plan, size_t n, bool *out) {
    size_t column = qdisp_table_find(plan, "levels");
    const char *const *levels = column == (size_t)-1 ? NULL : qdisp_table_str(plan, column);
    for (size_t i = 0; i < n; i++) out[i] = !levels || !levels[i] || strcmp(levels[i], "asym");
}

qdisp_status qdisp_plan_overrides(const qdisp_table *plan, const qdisp_model *model, const char *tool, qdisp_sink sink,
                                  void *user) {
    qdisp_ctx *ctx = model->ctx;
    qd_choice *choices;
    size_t n, i_tool;
    QD_TRY(find_tool(ctx, tool, &i_tool));
    QD_TRY(qd_plan_parse(plan, model, &choices, &n));
    bool *symmetric = qd_alloc(ctx, n, sizeof *symmetric);
    writing w = {ctx, model, choices, symmetric, n, sink, user};
    qdisp_status status = symmetric ? QDISP_OK : QDISP_ENOMEM;
    for (size_t i = 0; i < n && status == QDISP_OK; i++)
        if (strcmp(choices[i].type, "int") && !(tools[i_tool].blocks && qd_block_type_named(choices[i].type)))
            status = qd_fail(ctx, QDISP_EUNSUPPORTED, "%s: %s has no type %s", choices[i].name, tool,
                             choices[i].type);
    if (symmetric) find_symmetric(plan, n, symmetric);
    if (status == QDISP_OK) status = tools[i_tool].write(&w);
    qd_free(ctx, symmetric);
    qd_choices_free(ctx, choices, n);
    return status;
}
