/* vocab.c - strings to ids and back: open addressing over borrowed strings. */
#include "tokenizer/tokenizer.h"
#include <string.h>

/* FNV-1a with a final mix: short keys, and a hostile file can only slow itself down. */
static size_t hash_of(const void *str, size_t len) {
    const uint8_t *s = str;
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < len; i++) h = (h ^ s[i]) * 0x100000001B3u;
    h ^= h >> 32;
    return (size_t)(h * 0x9E3779B97F4A7C15u >> 20);
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

bool qd_strings_add(qd_strings *strings, int32_t id, const char *str, size_t len) {
    size_t i = hash_of(str, len) & (strings->n_slots - 1);
    for (; strings->slots[i]; i = (i + 1) & (strings->n_slots - 1)) {
        int32_t other = strings->slots[i] - 1;
        if (strings->len[other] == len && !memcmp(strings->str[other], str, len)) return false;
    }
    strings->slots[i] = id + 1;
    strings->str[id] = str;
    strings->len[id] = (uint32_t)len;
    if (len > strings->max_len) strings->max_len = (uint32_t)len;
    return true;
}

int32_t qd_strings_find(const qd_strings *strings, const void *str, size_t len) {
    if (len > strings->max_len || strings->n == 0) return -1;
    size_t i = hash_of(str, len) & (strings->n_slots - 1);
    for (; strings->slots[i]; i = (i + 1) & (strings->n_slots - 1)) {
        int32_t id = strings->slots[i] - 1;
        if (strings->len[id] == len && !memcmp(strings->str[id], str, len)) return id;
    }
    return -1;
}
