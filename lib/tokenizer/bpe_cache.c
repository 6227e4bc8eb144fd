/* bpe_cache.c - a table of the words met last, one place a word: natural text repeats its words.
 *
 * It belongs to an encoder, so it needs no lock; its size is fixed, and a word that falls on the place of another takes
 * it. */
#include "tokenizer/bpe.h"
#include <string.h>

#define N_WORDS 16384

static uint64_t load64(const uint8_t *s) {
    uint64_t v;
    memcpy(&v, s, 8);
    return v;
}

static uint64_t load32(const uint8_t *s) {
    uint32_t v;
    memcpy(&v, s, 4);
    return v;
}

/* Words of fixed size that overlap in the middle of the bytes; nothing outside them is read. */
static void make_key(const uint8_t *s, size_t n, uint64_t key[4]) {
    key[1] = key[2] = key[3] = 0;
    if (n >= 8) {
        key[0] = load64(s);
        key[1] = load64(s + n - 8);
        if (n > 16) {
            key[2] = load64(s + 8);
            key[3] = load64(s + n - 16);
        }
    } else if (n >= 4) {
        key[0] = load32(s) | load32(s + n - 4) << 32;
    } else {
        key[0] = (uint64_t)s[0] | (uint64_t)s[n / 2] << 8 | (uint64_t)s[n - 1] << 16;
    }
}

static size_t place_of(const uint64_t key[4], size_t n) {
    uint64_t h = (key[0] ^ n) * 0x9E3779B97F4A7C15u;
    h = (h ^ h >> 32 ^ key[1]) * 0xC2B2AE3D27D4EB4Fu;
    if (n > 16) h = (h ^ h >> 29 ^ key[2] ^ (key[3] << 31 | key[3] >> 33)) * 0x9E3779B97F4A7C15u;
    return (size_t)(h >> 40) % N_WORDS;
}

qd_cached_word *qd_bpe_cached(qd_encoder *e, const uint8_t *word, size_t n) {
    uint64_t key[4];
    if (!e->cache) e->cache = qd_alloc(e->ctx, N_WORDS, sizeof(qd_cached_word));
    if (!e->cache) return NULL;
    make_key(word, n, key);
    qd_cached_word *found = (qd_cached_word *)e->cache + place_of(key, n);
    if (found->len == n && !memcmp(found->key, key, sizeof key)) return found;
    memcpy(found->key, key, sizeof key);
    found->len = (uint8_t)n;
    found->n = 0;
    return found;
}
