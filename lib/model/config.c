/* config.c - members of a config.json, each checked before anyone uses it. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "model/arch.h"

qdisp_status qd_config_fail(qd_config *c, qdisp_status status, const char *format, ...) {
    if (c->status != QDISP_OK) return c->status;
    char reason[400];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    return c->status = qd_fail(c->ctx, status, "%s: %s", c->path, reason);
}

#define FAIL(...) qd_config_fail(c, QDISP_EFORMAT, __VA_ARGS__)

/* The member under either name, NULL if it is absent or null; *used is the name it has. */
static const json_t *member(qd_config *c, const char *key, const char *alias, const char **used) {
    const json_t *value = json_object_get(c->json, key), *other = alias ? json_object_get(c->json, alias) : NULL;
    if (value && other && !json_equal(value, other)) FAIL("%s and %s do not agree", key, alias);
    *used = value || !other ? key : alias;
    if (!value) value = other;
    return json_is_null(value) ? NULL : value;
}

static size_t size_of(qd_config *c, const char *used, const json_t *value, size_t low, size_t high) {
    if (!json_is_integer(value)) {
        FAIL("%s is not an integer", used);
        return low;
    }
    json_int_t n = json_integer_value(value);
    if (n < (json_int_t)low || (uint64_t)n > high) {
        FAIL("%s: %lld is outside %zu..%zu", used, (long long)n, low, high);
        return low;
    }
    return (size_t)n;
}

size_t qd_config_size(qd_config *c, const char *key, const char *alias, size_t max) {
    const char *used;
    const json_t *value = member(c, key, alias, &used);
    if (value) return size_of(c, used, value, 1, max);
    FAIL("%s is missing", key);
    return 1;
}

size_t qd_config_size_or(qd_config *c, const char *key, const char *alias, size_t max, size_t absent) {
    const char *used;
    const json_t *value = member(c, key, alias, &used);
    return value ? size_of(c, used, value, 0, max) : absent;
}

float qd_config_epsilon(qd_config *c, const char *key) {
    const json_t *value = json_object_get(c->json, key);
    double x = json_number_value(value);
    if (!json_is_number(value)) FAIL("%s is missing or not a number", key);
    else if (!(x > 0 && x < 1)) FAIL("%s: %g is outside 0..1", key, x);
    return (float)x;
}

double qd_config_number_or(qd_config *c, const char *key, double low, double high, double absent) {
    const json_t *value = json_object_get(c->json, key);
    if (!value || json_is_null(value)) return absent;
    double x = json_number_value(value);
    if (!json_is_number(value)) FAIL("%s is not a number", key);
    else if (!(x >= low && x <= high)) FAIL("%s: %g is outside %g..%g", key, x, low, high);
    else return x;
    return absent;
}

bool qd_config_bool_or(qd_config *c, const char *key, bool absent) {
    const json_t *value = json_object_get(c->json, key);
    if (!value || json_is_null(value)) return absent;
    if (!json_is_boolean(value)) FAIL("%s is not true or false", key);
    return json_is_true(value);
}

const char *qd_config_string(qd_config *c, const char *key) {
    const json_t *value = json_object_get(c->json, key);
    if (!value || json_is_null(value)) return NULL;
    if (!json_is_string(value)) FAIL("%s is not a string", key);
    return json_string_value(value);
}

int32_t qd_config_id(qd_config *c, const char *key, size_t n_vocab) {
    const json_t *value = json_object_get(c->json, key);
    if (json_is_array(value)) value = json_array_get(value, 0);
    if (!value || json_is_null(value)) return -1;
    if (!json_is_integer(value)) {
        FAIL("%s is not a token id", key);
        return -1;
    }
    json_int_t id = json_integer_value(value);
    if (id == -1) return -1;
    if (id < 0 || (uint64_t)id >= n_vocab) {
        FAIL("%s: %lld is outside the vocabulary (%zu)", key, (long long)id, n_vocab);
        return -1;
    }
    return (int32_t)id;
}

qd_act qd_config_act_named(qd_config *c, const char *key, const char *name) {
    static const struct {
        const char *name;
        qd_act act;
    } names[] = {{"gelu", QD_ACT_GELU_ERF},
                 {"gelu_python", QD_ACT_GELU_ERF},
                 {"gelu_new", QD_ACT_GELU_TANH},
                 {"gelu_fast", QD_ACT_GELU_TANH},
                 {"gelu_pytorch_tanh", QD_ACT_GELU_TANH},
                 {"relu", QD_ACT_RELU},
                 {"silu", QD_ACT_SILU},
                 {"swish", QD_ACT_SILU}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strcmp(name, names[i].name)) return names[i].act;
    }
    qd_config_fail(c, QDISP_EUNSUPPORTED, "%s: '%.60s' is not supported", key, name);
    return QD_ACT_RELU;
}

qd_act qd_config_act_or(qd_config *c, const char *key, const char *absent) {
    const char *name = qd_config_string(c, key);
    return qd_config_act_named(c, key, name ? name : absent);
}

qd_act qd_config_act(qd_config *c, const char *key) {
    if (!qd_config_string(c, key)) FAIL("%s is missing", key);
    return qd_config_act_or(c, key, "relu");
}

size_t qd_config_window(qd_config *c, size_t absent) {
    const json_t *value = json_object_get(c->json, "sliding_window");
    if (!value) return absent;
    return json_is_null(value) ? 0 : size_of(c, "sliding_window", value, 1, QD_MAX_POSITIONS);
}

void qd_config_heads(qd_config *c, qd_model_config *m) {
    if (c->status != QDISP_OK) return;
    if (!m->head_dim) {
        if (m->n_embd % m->n_head) {
            FAIL("hidden_size %zu is no multiple of n_head %zu", m->n_embd, m->n_head);
            return;
        }
        m->head_dim = m->n_embd / m->n_head;
    }
    if (!m->n_kv_head) m->n_kv_head = m->n_head;
    if (m->n_head % m->n_kv_head) {
        FAIL("%zu attention heads are no multiple of %zu key heads", m->n_head, m->n_kv_head);
    } else if (m->n_head * m->head_dim > 4 * (size_t)QD_MAX_EMBD) {
        FAIL("%zu heads of %zu dimensions are too many", m->n_head, m->head_dim);
    }
}

void qd_config_tokens(qd_config *c, qd_model_config *m, bool tied) {
    m->tied_head = qd_config_bool_or(c, "tie_word_embeddings", tied);
    m->bos_id = qd_config_id(c, "bos_token_id", m->n_vocab);
    m->eos_id = qd_config_id(c, "eos_token_id", m->n_vocab);
    m->decoder_start_id = qd_config_id(c, "decoder_start_token_id", m->n_vocab);
}

/* --- rotary positions --- */

static void rope_factors(qd_config *c, const char *key, size_t n, float *out) {
    const json_t *list = json_object_get(c->json, key), *item;
    size_t i;
    if (!json_is_array(list) || json_array_size(list) != n) {
        FAIL("%s: not a list of %zu numbers", key, n);
        return;
    }
    json_array_foreach(list, i, item) {
        double x = json_number_value(item);
        if (!json_is_number(item) || !(x > 0 && x < 1e9)) FAIL("%s[%zu] is no positive number", key, i);
        out[i] = (float)x;
    }
}

/* Yarn's magnitude, Peng et al. 2023: 0.1 m ln s + 1. */
static double yarn_magnitude(double factor, double m) {
    return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1;
}

static void rope_yarn(qd_config *c, qd_rope *r) {
    r->beta_fast = qd_config_number_or(c, "beta_fast", 1e-6, 1e6, 32);
    r->beta_slow = qd_config_number_or(c, "beta_slow", 1e-6, 1e6, 1);
    r->truncate = qd_config_bool_or(c, "truncate", true);
    double m = qd_config_number_or(c, "mscale", 0, 1e3, 0), all = qd_config_number_or(c, "mscale_all_dim", 0, 1e3, 0);
    r->magnitude = qd_config_number_or(c, "attention_factor", 1e-6, 1e6, 0);
    if (r->magnitude > 0) return;
    r->magnitude = m > 0 && all > 0 ? yarn_magnitude(r->factor, m) / yarn_magnitude(r->factor, all)
                                    : yarn_magnitude(r->factor, 1);
}

static void rope_llama3(qd_config *c, qd_rope *r) {
    r->low_factor = qd_config_number_or(c, "low_freq_factor", 1e-6, 1e6, 1);
    r->high_factor = qd_config_number_or(c, "high_freq_factor", 1e-6, 1e6, 4);
    if (r->low_factor >= r->high_factor) FAIL("low_freq_factor %g is not below high_freq_factor %g", r->low_factor,
                                              r->high_factor);
}

/* Phi-3: two tables of divisors and a magnitude of sqrt(1 + ln s / ln n), s the growth of the context. */
static void rope_long(qd_config *c, size_t n_max, qd_rope *r) {
    rope_factors(c, "short_factor", r->n_rot / 2, r->factors[0]);
    rope_factors(c, "long_factor", r->n_rot / 2, r->factors[1]);
    if (r->n_original < 2) {
        FAIL("original_max_position_embeddings is missing or 1");
        return;
    }
    double grown = n_max ? (double)n_max / (double)r->n_original : 1;
    double factor = qd_config_number_or(c, "factor", 1e-6, 1e9, grown);
    double magnitude = factor <= 1 ? 1 : sqrt(1 + log(factor) / log((double)r->n_original));
    r->magnitude = qd_config_number_or(c, "attention_factor", 1e-6, 1e6, magnitude);
}

/* n_max: the longest sequence that the scaled model is made for. */
static void rope_scaling(qd_config *c, const char *type, size_t n_max, qd_rope *r) {
    static const struct {
        const char *name;
        qd_rope_scaling scaling;
    } names[] = {{"default", QD_ROPE_PLAIN}, {"linear", QD_ROPE_LINEAR}, {"dynamic", QD_ROPE_DYNAMIC},
                 {"yarn", QD_ROPE_YARN},     {"llama3", QD_ROPE_LLAMA3}, {"longrope", QD_ROPE_LONG},
                 {"su", QD_ROPE_LONG}};
    size_t i = 0, n = sizeof names / sizeof *names;
    while (i < n && strcmp(type, names[i].name)) i++;
    if (i == n) {
        qd_config_fail(c, QDISP_EUNSUPPORTED, "rope type '%.60s' is not supported (there is default, linear, dynamic, "
                       "yarn, llama3, longrope)", type);
        return;
    }
    r->scaling = names[i].scaling;
    if (r->scaling == QD_ROPE_PLAIN) return;
    size_t original = qd_config_size_or(c, "original_max_position_embeddings", NULL, QD_MAX_POSITIONS, 0);
    r->n_original = original ? original : r->n_original;
    if (r->scaling == QD_ROPE_DYNAMIC && n_max) r->n_original = n_max; /* transformers grows from there */
    if (r->scaling == QD_ROPE_LONG) {
        rope_long(c, n_max, r);
        return;
    }
    r->factor = qd_config_number_or(c, "factor", 1e-6, 1e9, 0);
    if (!(r->factor > 0)) {
        FAIL("rope scaling '%.60s' has no factor", type);
    } else if (!r->n_original && r->scaling != QD_ROPE_LINEAR) {
        FAIL("rope scaling '%.60s' needs max_position_embeddings", type);
    } else if (r->scaling == QD_ROPE_DYNAMIC && r->n_rot <= 2) {
        FAIL("rope scaling 'dynamic' needs more than %zu dimensions that turn", r->n_rot);
    } else if (r->scaling == QD_ROPE_YARN && r->theta <= 1) {
        FAIL("rope scaling 'yarn' needs a rope_theta beyond 1, not %g", r->theta);
    } else if (r->scaling == QD_ROPE_YARN) {
        rope_yarn(c, r);
    } else if (r->scaling == QD_ROPE_LLAMA3) {
        rope_llama3(c, r);
    }
}

/* The object that holds a key of rotary positions: the kind's own, the shared one, or the config itself. */
static void read_rope(qd_config *c, const json_t *own, const qd_model_config *m, double part, qd_rope *r) {
    qd_config inner = *c;
    if (own) inner.json = own;
    bool in_own = own && json_object_get(own, "rope_theta");
    qd_config *theta = in_own ? &inner : c;
    r->theta = qd_config_number_or(theta, json_object_get(theta->json, "rotary_emb_base") ? "rotary_emb_base"
                                                                                         : "rope_theta",
                                   1e-3, 1e12, r->theta > 0 ? r->theta : 10000);
    const char *part_key = json_object_get(c->json, "rotary_pct") ? "rotary_pct" : "partial_rotary_factor";
    part = qd_config_number_or(c, part_key, 0, 1, part);
    part = qd_config_number_or(&inner, "partial_rotary_factor", 0, 1, part);
    r->n_rot = (size_t)((double)m->head_dim * part);
    if (r->n_rot % 2 || r->n_rot > 2 * QD_MAX_ROPE_PAIRS) FAIL("%zu dimensions of a head cannot turn", r->n_rot);
    size_t n_max = qd_config_size_or(c, "max_position_embeddings", NULL, QD_MAX_POSITIONS, 0);
    r->n_original = qd_config_size_or(c, "original_max_position_embeddings", NULL, QD_MAX_POSITIONS, 0);
    if (!r->n_original) r->n_original = n_max;
    if (own && inner.status == QDISP_OK && c->status == QDISP_OK) {
        const char *type = qd_config_string(&inner, "rope_type");
        if (!type) type = qd_config_string(&inner, "type");
        rope_scaling(&inner, type ? type : "default", n_max, r);
    }
    if (c->status == QDISP_OK) c->status = inner.status;
}

void qd_config_rope(qd_config *c, const qd_model_config *m, double part, const char *layer_type, qd_rope *out) {
    if (c->status != QDISP_OK) return;
    const char *key = json_object_get(c->json, "rope_parameters") ? "rope_parameters" : "rope_scaling";
    const json_t *own = json_object_get(c->json, key);
    if (json_is_null(own)) own = NULL;
    if (own && !json_is_object(own)) {
        FAIL("%s is not an object", key);
        return;
    }
    if (own && layer_type && json_is_object(json_object_get(own, layer_type))) own = json_object_get(own, layer_type);
    read_rope(c, own, m, part, out);
}

void qd_config_local_layers(qd_config *c, qd_model_config *m, size_t period) {
    const json_t *list = json_object_get(c->json, "layer_types");
    for (size_t i = 0; i < m->n_layer; i++) m->is_local[i] = period == 0 || (i + 1) % period != 0;
    if (!list || json_is_null(list) || c->status != QDISP_OK) return;
    if (!json_is_array(list) || json_array_size(list) != m->n_layer) {
        FAIL("layer_types: not a list of %zu layers", m->n_layer);
        return;
    }
    for (size_t i = 0; i < m->n_layer; i++) {
        const char *type = json_string_value(json_array_get(list, i));
        if (type && !strcmp(type, "sliding_attention")) m->is_local[i] = true;
        else if (type && !strcmp(type, "full_attention")) m->is_local[i] = false;
        else qd_config_fail(c, QDISP_EUNSUPPORTED, "layer_types[%zu]: '%.60s' is not supported", i, type ? type : "?");
    }
}
