/* quantizers.c - the list of methods (quantizers.inc, written by meson from lib/meson.build) and the handle. */
#include "quant/rows.h"

#include <math.h>
#include <string.h>

#define METHOD(name) extern const qd_method qd_method_##name;
#include "quantizers.inc"
#undef METHOD

static const qd_method *const methods[] = {
#define METHOD(name) &qd_method_##name,
#include "quantizers.inc"
#undef METHOD
};
#define N_METHODS (sizeof methods / sizeof *methods)

const qd_method *qd_method_find(const char *name) {
    for (size_t i = 0; i < N_METHODS; i++)
        if (!strcmp(methods[i]->name, name)) return methods[i];
    return NULL;
}

static const char *const levels_names[] = {"narrow", "full", "asym"};

const char *qd_levels_name(qd_levels levels) {
    return levels_names[levels];
}

bool qd_levels_find(const char *name, qd_levels *levels) {
    for (int i = 0; i < 3; i++)
        if (!strcmp(name, levels_names[i])) return *levels = (qd_levels)i, true;
    return false;
}

static qdisp_status find_method(qdisp_ctx *ctx, const char *name, const qd_method **out) {
    char known[256] = "";
    *out = name ? qd_method_find(name) : NULL;
    if (*out) return QDISP_OK;
    for (size_t i = 0; i < N_METHODS; i++) {
        if (i > 0) strncat(known, ", ", sizeof known - strlen(known) - 1);
        strncat(known, methods[i]->name, sizeof known - strlen(known) - 1);
    }
    return qd_fail(ctx, QDISP_EINVAL, "unknown method '%s': use one of %s", name ? name : "(null)", known);
}

/* *type: static, NULL for integers. */
static qdisp_status find_type(qdisp_ctx *ctx, const char *name, const char **type) {
    char known[128];
    *type = name && strcmp(name, "int") ? qd_block_type_static(name) : NULL;
    if (*type || !name || !strcmp(name, "int")) return QDISP_OK;
    qd_block_type_list(known, sizeof known);
    return qd_fail(ctx, QDISP_EINVAL, "type: '%s' is not int or one of%s", name, known);
}

static qdisp_status check_options(qdisp_ctx *ctx, const qd_method *method, qdisp_quantizer_options *o,
                                  qd_levels *levels) {
    if (o->bits == 0) o->bits = 4;
    if (o->group_size == 0) o->group_size = method->group ? method->group : 64;
    if (!o->levels) o->levels = "narrow";
    if (!o->objective) o->objective = "regret";
    if (o->n_steps == 0) o->n_steps = 12;
    if (o->step == 0) o->step = 1;
    if (o->bits < 2 || o->bits > 8)
        return qd_fail(ctx, QDISP_EINVAL, "bits: %llu is not in 2..8", (unsigned long long)o->bits);
    if (o->group_size < QDISP_GROUP_TENSOR || (o->group_size > 0 && o->group_size < 8))
        return qd_fail(ctx, QDISP_EINVAL, "group_size: %lld is not 8 or more, -1 (channel) or -2 (tensor)",
                       (long long)o->group_size);
    if (!qd_levels_find(o->levels, levels))
        return qd_fail(ctx, QDISP_EINVAL, "levels: '%s' is not narrow, full or asym", o->levels);
    if (o->weights) QD_TRY(qd_weights_check(ctx, "quantizer", o->weights));
    if (o->options) QD_TRY(qd_options_check(ctx, "quantizer", o->options, method));
    if (strcmp(o->objective, "regret") && strcmp(o->objective, "worst") && strcmp(o->objective, "mean") &&
        strcmp(o->objective, "cvar") && strcmp(o->objective, "disparity"))
        return qd_fail(ctx, QDISP_EINVAL, "objective: '%s' is not regret, worst, mean, cvar or disparity",
                       o->objective);
    if (o->n_steps > 1000) return qd_fail(ctx, QDISP_EINVAL, "n_steps: at most 1000");
    if (!(o->step > 0 && o->step <= 100)) return qd_fail(ctx, QDISP_EINVAL, "step: %g is not in 0..100", o->step);
    return QDISP_OK;
}

qdisp_status qdisp_quantizer_new(qdisp_ctx *ctx, const char *method, const qdisp_quantizer_options *options,
                                 qdisp_quantizer **out) {
    qdisp_quantizer_options opt;
    const qd_method *row = NULL;
    const char *type;
    QD_TRY(find_method(ctx, method, &row));
    QD_TRY(qd_copy_options(ctx, "quantizer options", options, &opt, sizeof opt));
    qd_levels levels = QD_NARROW;
    QD_TRY(check_options(ctx, row, &opt, &levels));
    QD_TRY(find_type(ctx, opt.type, &type));
    qdisp_quantizer *q = qd_alloc(ctx, 1, sizeof *q);
    if (!q) return QDISP_ENOMEM;
    q->ctx = qd_ctx_ref(ctx);
    q->method = row;
    q->type = opt.type = type;
    q->opt = opt;
    q->levels = levels;
    const struct {
        const char **from;
        char **to;
    } strings[] = {{&q->opt.roles, &q->roles}, {&q->opt.objective, &q->objective}, {&q->opt.weights, &q->weights},
                   {&q->opt.options, &q->options}};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
        if (!*strings[i].from) continue;
        *strings[i].from = *strings[i].to = qd_strdup(ctx, *strings[i].from);
        if (*strings[i].to) continue;
        qdisp_quantizer_free(q);
        return QDISP_ENOMEM;
    }
    q->opt.levels = qd_levels_name(levels);
    qdisp_status status = opt.keep ? qd_keeps_parse(ctx, opt.keep, &q->keeps, &q->n_keeps) : QDISP_OK;
    q->opt.keep = NULL;
    if (status != QDISP_OK) {
        qdisp_quantizer_free(q);
        return status;
    }
    *out = q;
    return QDISP_OK;
}

void qdisp_quantizer_free(qdisp_quantizer *q) {
    if (!q) return;
    qdisp_ctx *ctx = q->ctx;
    qd_keeps_free(ctx, q->keeps, q->n_keeps);
    qd_free(ctx, q->roles);
    qd_free(ctx, q->objective);
    qd_free(ctx, q->weights);
    qd_free(ctx, q->options);
    qd_free(ctx, q);
    qdisp_ctx_free(ctx);
}

qdisp_status qdisp_quantizers(qdisp_ctx *ctx, qdisp_table **out) {
    qdisp_table *t;
    QD_TRY(qdisp_table_new(ctx, "quantizers", "Quantizers", &t));
    qdisp_status status = QDISP_OK;
    size_t method = qd_table_column(t, &status, "method", "", QDISP_COLUMN_STR);
    size_t needs = qd_table_column(t, &status, "needs", "", QDISP_COLUMN_STR);
    size_t options = qd_table_column(t, &status, "options", "", QDISP_COLUMN_STR);
    size_t paper = qd_table_column(t, &status, "paper", "", QDISP_COLUMN_STR);
    for (size_t i = 0; i < N_METHODS; i++) {
        size_t row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, method, methods[i]->name);
        qd_table_str(t, &status, row, needs, methods[i]->needs);
        if (methods[i]->options) qd_table_str(t, &status, row, options, methods[i]->options);
        qd_table_str(t, &status, row, paper, methods[i]->paper);
    }
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}

/* Does the comma-separated list hold the word? */
static bool list_has(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += n)
        if ((at == list || at[-1] == ',') && (at[n] == 0 || at[n] == ',')) return true;
    return false;
}

/* Is a map asked for? Without a list: all of the blocks but routers, whose few weights decide the most. A tied head is
 * the embedding and the head. */
static bool is_wanted(const char *list, const qd_linear *linear, const char *role) {
    if (!list) return linear->layer >= 0 && linear->slot != QD_SLOT_MLP_ROUTER;
    if (!strcmp(role, "embed+head")) return list_has(list, role) || list_has(list, "embed") || list_has(list, "head");
    return list_has(list, role);
}

/* The role by which a linear map is asked for. */
static const char *map_role(const qdisp_model *model, const qd_linear *linear) {
    const char *role = qdisp_model_role(model, linear->i_weight);
    return role ? role : linear->role;
}

static qdisp_status check_roles(const qdisp_quantizer *q, const qdisp_model *model) {
    char word[64], known[256] = "";
    if (!q->opt.roles) return QDISP_OK;
    for (const char *at = q->opt.roles; *at;) {
        size_t n = strcspn(at, ",");
        bool found = false;
        if (n >= sizeof word) n = sizeof word - 1;
        memcpy(word, at, n);
        word[n] = 0;
        known[0] = 0;
        for (size_t i = 0; i < model->n_linears; i++) {
            const char *role = map_role(model, &model->linears[i]);
            found = found || is_wanted(word, &model->linears[i], role);
            if (list_has(known, role) || strlen(known) + strlen(role) + 2 > sizeof known) continue;
            if (*known) strcat(known, ",");
            strcat(known, role);
        }
        if (!found) return qd_fail(q->ctx, QDISP_EINVAL, "roles: no linear map is '%s': use of %s", word, known);
        at += strcspn(at, ",");
        if (*at == ',') at++;
    }
    return *q->opt.roles ? QDISP_OK : qd_fail(q->ctx, QDISP_EINVAL, "roles: empty list");
}

void qd_choices_free(qdisp_ctx *ctx, qd_choice *choices, size_t n) {
    for (size_t i = 0; choices && i < n; i++) {
        qd_free(ctx, choices[i].clips);
        qd_free(ctx, choices[i].gains);
        qd_free(ctx, choices[i].inputs);
        qd_free(ctx, choices[i].keep);
        qd_free(ctx, choices[i].weights);
        qd_free(ctx, choices[i].options);
    }
    qd_free(ctx, choices);
}

qdisp_status qd_choices_make(const qdisp_quantizer *q, const qdisp_model *model, qd_choice **choices, size_t *n) {
    QD_TRY(check_roles(q, model));
    qd_choice *list = qd_alloc(q->ctx, model->n_linears, sizeof *list);
    if (!list) return QDISP_ENOMEM;
    size_t n_list = 0;
    for (size_t i = 0; i < model->n_linears; i++) {
        const qd_linear *linear = &model->linears[i];
        if (!is_wanted(q->opt.roles, linear, map_role(model, linear))) continue;
        qd_choice *c = &list[n_list];
        const qdisp_tensor *t = &model->tensors[linear->i_weight];
        *c = (qd_choice){.name = t->name, .method = q->method, .data = t->data,
                         .type = q->method->type ? q->method->type : "int",
                         .dtype = (qdisp_dtype)t->dtype, .i_tensor = linear->i_weight, .i_linear = i,
                         .slot = linear->slot, .n_out = linear->n_out, .n_in = linear->n_in,
                         .bits = (int)q->opt.bits,
                         .levels = q->levels, .group_size = q->opt.group_size,
                         .alpha = NAN, .error_rel_model = NAN};
        qd_input_find(model, i, &c->input);
        c->n_units = qd_unit_count(c->n_out, c->n_in, c->group_size, &c->units_per_row);
        if (q->type) {
            qdisp_status status = qd_choice_set_block(q->ctx, c, q->type);
            if (status != QDISP_OK) {
                qd_choices_free(q->ctx, list, n_list);
                return status;
            }
            c->n_units = 1;
        }
        c->clips = qd_alloc(q->ctx, c->n_units, 1);
        c->gains = qd_alloc(q->ctx, c->n_units, 1);
        if (q->weights) c->weights = qd_strdup(q->ctx, q->weights);
        if (q->options) c->options = qd_strdup(q->ctx, q->options);
        n_list++;
        bool made = c->clips && c->gains && (c->weights || !q->weights) && (c->options || !q->options);
        qdisp_status status = made ? QDISP_OK : QDISP_ENOMEM;
        if (made && q->method->check) status = q->method->check(q->ctx, c);
        if (status == QDISP_OK) continue;
        qd_choices_free(q->ctx, list, n_list);
        return status;
    }
    qdisp_status status = qd_keeps_apply(q, list, n_list);
    if (status != QDISP_OK) {
        qd_choices_free(q->ctx, list, n_list);
        return status;
    }
    *choices = list;
    *n = n_list;
    return QDISP_OK;
}

static qdisp_status group_decoded(const qd_rows *rows, void *user, const size_t *i_rows, size_t h, const float *w,
                                  float *q, double *sums) {
    size_t n_in = rows->c->n_in;
    qd_codes_decode(rows->ctx, user, i_rows[0], h, q);
    rows->ctx->kernels->column_measure(w, q, h, n_in, n_in, n_in, sums, sums + n_in);
    return QDISP_OK;
}

/* Column sums of the errors of a method that quantizes by itself, in the units of prepared weights. */
static qdisp_status measure_codes(const qd_rows *all, double *sums) {
    qd_choice own = *all->c;
    qd_codes codes;
    QD_TRY(qd_choice_quantize(all->ctx, &own, NULL, &codes));
    qd_free(all->ctx, codes.inputs);
    codes.inputs = NULL;
    for (size_t k = 0; k < codes.n_kept; k++) codes.kept[k].value = 0;
    qdisp_status status = qd_rows_run(all, group_decoded, &codes, sums, 2 * all->c->n_in);
    qd_codes_clear(all->ctx, &codes);
    return status;
}

/* The exact error of what was chosen, by the real quantizer; columns in their own units again. Kept weights have none,
 * and are counted with the energy. */
static qdisp_status measure(qdisp_ctx *ctx, qd_choice *c) {
    if (c->method->needs_e || c->method->needs_h) { /* what it does is seen when the plan is applied */
        c->error_rel = NAN;
        return QDISP_OK;
    }
    double error = 0, energy = 0, *sums = qd_alloc(ctx, 3 * c->n_in, sizeof *sums);
    if (!sums) return QDISP_ENOMEM;
    qd_rows all = {ctx, c, c->n_out};
    qdisp_status status = c->method->quantize ? measure_codes(&all, sums) : qd_rows_measure(&all, sums);
    if (status == QDISP_OK) status = qd_rows_squares(&all, sums + 2 * c->n_in);
    for (size_t j = 0; j < c->n_in; j++) {
        double factor = c->inputs ? (double)qd_input_factor(c->inputs[j]) : 1;
        error += sums[j] / (factor * factor);
        energy += sums[2 * c->n_in + j] / (factor * factor);
    }
    for (size_t k = 0; k < c->n_keep; k++) {
        float buffer, w = *qd_load_f32(ctx->kernels, c->data, c->dtype, (size_t)c->keep[k], 1, &buffer);
        energy += (double)w * (double)w;
    }
    c->error_rel = energy > 0 ? error / energy : NAN;
    qd_free(ctx, sums);
    return status;
}

/* A language's fold without rows answers with the other's. */
static qd_energy energy_at(const qdisp_calib *calib, size_t l, size_t fold, size_t i_linear) {
    const qd_calib_fold *f = calib->languages[l].folds;
    if (f[fold].n_rows[i_linear] == 0) fold = 1 - fold;
    if (f[fold].n_rows[i_linear] == 0) return (qd_energy){NULL, 0};
    return (qd_energy){f[fold].squares + calib->offsets[i_linear], 1 / (double)f[fold].n_rows[i_linear]};
}

/* What a calibration says of the choices; energies point into it. */
static qdisp_status find_languages(qdisp_ctx *ctx, const qdisp_calib *calib, const qd_choice *choices, size_t n,
                                   const char ***tags, double **tokens_per_byte, qd_energy **energies) {
    size_t n_languages = calib->n_languages;
    *tags = qd_alloc(ctx, n_languages, sizeof **tags);
    *tokens_per_byte = qd_alloc(ctx, n_languages, sizeof **tokens_per_byte);
    *energies = qd_alloc(ctx, QD_N_FOLDS * n * n_languages, sizeof **energies);
    if (!*tags || !*tokens_per_byte || !*energies) return QDISP_ENOMEM;
    for (size_t l = 0; l < n_languages; l++) {
        (*tags)[l] = calib->languages[l].tag;
        double rate = qd_calib_tokens_per_byte(calib, l);
        (*tokens_per_byte)[l] = isfinite(rate) ? rate : 1; /* a host that gave no bytes: a loss per token */
    }
    for (size_t k = 0; k < QD_N_FOLDS * n * n_languages; k++) {
        size_t l = k % n_languages, i = k / n_languages % n, fold = k / n_languages / n;
        (*energies)[k] = energy_at(calib, l, fold, choices[i].i_linear);
        if (!(*energies)[k].squares)
            return qd_fail(ctx, QDISP_EMISMATCH, "language %s has no calibration rows for %s", calib->languages[l].tag,
                           choices[i].name);
    }
    return QDISP_OK;
}

static qdisp_status choose_all(const qdisp_quantizer *q, const qd_languages *languages, qd_choice *choices, size_t n) {
    if (!q->type || q->method->needs_e) QD_TRY(q->method->choose(q, languages, choices, n));
    for (size_t i = 0; i < n; i++) {
        if (!q->type) QD_TRY(measure(q->ctx, &choices[i]));
        else if (!q->method->needs_e) QD_TRY(qd_measure_blocks(q->ctx, &choices[i]));
        else choices[i].error_rel = NAN; /* its blocks come with the importances, when the plan is applied */
    }
    return QDISP_OK;
}

static qdisp_status check_calib(const qdisp_quantizer *q, bool given) {
    if (q->method->needs_calib != QD_NEEDED || given) return QDISP_OK;
    return qd_fail(q->ctx, QDISP_EINVAL,
                   "%s needs a calibration by language: 'qdisp calibrate' or qdisp_calib_collect makes one",
                   q->method->name);
}

qdisp_status qd_choices_plan(const qdisp_quantizer *q, const qdisp_model *model, const qdisp_calib *calib,
                             qd_choice **out, size_t *n_out) {
    qd_choice *choices = NULL;
    size_t n = 0;
    const char **tags = NULL;
    double *tokens_per_byte = NULL;
    qd_energy *energies = NULL;
    QD_TRY(check_calib(q, calib));
    if (calib) QD_TRY(qd_calib_check(calib, model));
    QD_TRY(qd_progress(q->ctx, "planning", 0));
    QD_TRY(qd_choices_make(q, model, &choices, &n));
    qdisp_status status = QDISP_OK;
    bool used = calib && calib->n_languages > 0 && q->method->needs_calib != QD_UNUSED;
    if (used) status = find_languages(q->ctx, calib, choices, n, &tags, &tokens_per_byte, &energies);
    qd_languages languages = {calib ? calib->n_languages : 0, n, tags, tokens_per_byte, energies};
    if (status == QDISP_OK) status = choose_all(q, used ? &languages : NULL, choices, n);
    qd_free(q->ctx, tags);
    qd_free(q->ctx, tokens_per_byte);
    qd_free(q->ctx, energies);
    if (status == QDISP_OK) *out = choices, *n_out = n;
    else qd_choices_free(q->ctx, choices, n);
    return status;
}

qdisp_status qdisp_quantizer_plan(const qdisp_quantizer *q, const qdisp_model *model, const qdisp_calib *calib,
                                  qdisp_table **plan) {
    qd_choice *choices;
    size_t n;
    QD_TRY(qd_choices_plan(q, model, calib, &choices, &n));
    qdisp_status status = qd_plan_make(q, model, choices, n, plan);
    qd_choices_free(q->ctx, choices, n);
    return status;
}
