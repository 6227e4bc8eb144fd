/* config.c - members of a config.json, each checked before anyone uses it. */
#include <math.h>

#include "model/arch.h"

qdisp_status qd_config_size(qdisp_ctx *ctx, const char *path, const json_t *json, const char *key, const char *alias,
                            size_t max, size_t *out) {
    const json_t *value = json_object_get(json, key), *other = alias ? json_object_get(json, alias) : NULL;
    if (value && other && !json_equal(value, other)) {
        return qd_fail(ctx, QDISP_EFORMAT, "%s: %s and %s do not agree", path, key, alias);
    }
    const char *used = value || !alias ? key : alias;
    if (!value) value = other;
    if (!value) return qd_fail(ctx, QDISP_EFORMAT, "%s: %s is missing", path, key);
    if (!json_is_integer(value)) return qd_fail(ctx, QDISP_EFORMAT, "%s: %s is not an integer", path, used);
    json_int_t n = json_integer_value(value);
    if (n < 1 || (uint64_t)n > max) {
        return qd_fail(ctx, QDISP_EFORMAT, "%s: %s: %lld is outside 1..%zu", path, used, (long long)n, max);
    }
    *out = (size_t)n;
    return QDISP_OK;
}

qdisp_status qd_config_epsilon(qdisp_ctx *ctx, const char *path, const json_t *json, const char *key, float *out) {
    const json_t *value = json_object_get(json, key);
    if (!json_is_number(value)) return qd_fail(ctx, QDISP_EFORMAT, "%s: %s is missing or not a number", path, key);
    double x = json_number_value(value);
    if (!(x > 0 && x < 1)) return qd_fail(ctx, QDISP_EFORMAT, "%s: %s: %g is outside 0..1", path, key, x);
    *out = (float)x;
    return QDISP_OK;
}

qdisp_status qd_config_bool(qdisp_ctx *ctx, const char *path, const json_t *json, const char *key, bool absent,
                            bool *out) {
    const json_t *value = json_object_get(json, key);
    if (value && !json_is_boolean(value)) return qd_fail(ctx, QDISP_EFORMAT, "%s: %s is not true or false", path, key);
    *out = value ? json_is_true(value) : absent;
    return QDISP_OK;
}

qdisp_status qd_config_id(qdisp_ctx *ctx, const char *path, const json_t *json, const char *key, size_t n_vocab,
                          int32_t *out) {
    const json_t *value = json_object_get(json, key);
    if (json_is_array(value)) value = json_array_get(value, 0);
    *out = -1;
    if (!value || json_is_null(value)) return QDISP_OK;
    if (!json_is_integer(value)) return qd_fail(ctx, QDISP_EFORMAT, "%s: %s is not a token id", path, key);
    json_int_t id = json_integer_value(value);
    if (id < 0 || (uint64_t)id >= n_vocab) {
        return qd_fail(ctx, QDISP_EFORMAT, "%s: %s: %lld is outside the vocabulary (%zu)", path, key, (long long)id,
                       n_vocab);
    }
    *out = (int32_t)id;
    return QDISP_OK;
}
