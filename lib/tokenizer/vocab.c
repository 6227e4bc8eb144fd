/* vocab.c - strings to ids and back: open addressing over borrowed strings. */
#include "tokenizer/tokenizer.h"
#include <string.h>

#define FACTOR 0x9E3779B97F4A7C15u

static uint64_t load(const uint8_t *s, size_t n) {
    uint64_t v = 0;
    memcpy(&v, s, n);
    return v;
}

/* Eight bytes at a time, the last eight overlapping those before. A hostile file can only slow itself down. */
static uint64_t hash_of(const void *str, size_t len) {
    const uint8_t *s = str;
    uint64_t h = len * FACTOR;
    if (len >= 8) {
        for (size_t i = 0; i + 8 < len; i += 8) {
            h = (h ^ load(s + i, 8)) * FACTOR;
            h ^= h >> 32;
        }
        h ^= load(s + len - 8, 8);
    } else if (len >= 4) {
        h ^= load(s, 4) | load(s + len - 4, 4) << 32;
    } else if (len) {
        h ^= (uint64_t)s[0] | (uint64_t)s[len / 2] << 8 | (uint64_t)s[len - 1] << 16;
    }
    h *= FACTOR;
    h ^= h >> 32;
    return h * FACTOR;
}

qdisp_status qd_strings_new(qdisp_ctx *ctx, size_t n, qd_strings *out) {
    qd_strings s = {.n = n, .n_slots = 16};
    while (s.n_slots < n * 2) s.n_slots *= 2;
    s.str = qd_alloc(ctx, n ? n : 1, sizeof *s.str);
    s.len = qd_alloc(ctx, n ? n : 1, sizeof *s.len);
    s.slots = qd_alloc(ctx, s.n_slots, sizeof *s.slots);
    if (!s.str || !s.len || !s.slots) {
        qd_strings_free(ctx, &s);
        return QDISP_ENOMEM;
    }
    *out = s;
    return QDISP_OK;
}

void qd_strings_free(qdisp_ctx *ctx, qd_strings *strings) {
    qd_free(ctx, strings->str);
    qd_free(ctx, strings->len);
    qd_free(ctx, strings->slots);
    *strings = (qd_strings){0};
}

/* The slot of a string, or the empty one where it would be. A slot's tag, the upper half of the hash, spares most looks
 * at other strings. */
static qd_string_slot *find_slot(const qd_strings *strings, const void *str, size_t len, uint64_t hash) {
    size_t i = (size_t)hash & (strings->n_slots - 1);
    for (; strings->slots[i].id_plus_1; i = (i + 1) & (strings->n_slots - 1)) {
        int32_t id = strings->slots[i].id_plus_1 - 1;
        if (strings->slots[i].tag != (uint32_t)(hash >> 32)) continue;
        if (strings->len[id] == len && !memcmp(strings->str[id], str, len)) break;
    }
    return &strings->slots[i];
}

static bool put(qd_strings *strings, int32_t id, const char *str, size_t len, bool again) {
    uint64_t hash = hash_of(str, len);
    qd_string_slot *slot = find_slot(strings, str, len, hash);
    if (slot->id_plus_1 && !again) return false;
    *slot = (qd_string_slot){(uint32_t)(hash >> 32), id + 1};
    strings->str[id] = str;
    strings->len[id] = (uint32_t)len;
    if (len > strings->max_len) strings->max_len = (uint32_t)len;
    return true;
}

bool qd_strings_add(qd_strings *strings, int32_t id, const char *str, size_t len) {
    return put(strings, id, str, len, false);
}

void qd_strings_add_again(qd_strings *strings, int32_t id, const char *str, size_t len) {
    put(strings, id, str, len, true);
}

int32_t qd_strings_find(const qd_strings *strings, const void *str, size_t len) {
    if (len > strings->max_len || strings->n == 0) return -1;
    return find_slot(strings, str, len, hash_of(str, len))->id_plus_1 - 1;
}
