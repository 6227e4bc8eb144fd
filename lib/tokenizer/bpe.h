/* bpe.h - between the parts of BPE: the table of merges, merging, and the model that calls them. */
#ifndef QD_BPE_H
#define QD_BPE_H

#include "tokenizer/tokenizer.h"

#define QD_NO_RANK UINT32_MAX
#define QD_BPE_SHORT 64 /* symbols that qd_bpe_merge_short takes */

/* A pair is found by a filter that most pairs without a merge do not pass, then by open addressing. A slot holds the
 * pair and the rank of its merge in 8 bytes, so that more of the table stays in the processor's caches. */
#define QD_MERGE_ID_BITS 21
#define QD_MERGE_RANK_BITS 22
#define QD_MERGE_HASH 0x9E3779B97F4A7C15u

typedef struct qd_merge_table {
    uint64_t *slots;  /* left, right, rank + 1; 0: empty */
    uint64_t *filter; /* bits */
    unsigned slot_shift, filter_shift;
    int32_t *ids;     /* what a merge gives, by its rank */
    uint32_t *ties;   /* NULL, or the rank that pairs are compared by where several tokens share one */
} qd_merge_table;

qdisp_status qd_merge_table_new(qdisp_ctx *ctx, const qd_merges *merges, qd_merge_table *out);
void qd_merge_table_free(qdisp_ctx *ctx, qd_merge_table *table);

/* Both merge ids[n] with their starts in place until no two neighbours are a pair, the lowest rank first and the
 * leftmost of equals. n <= QD_BPE_SHORT in the first; the second takes O(n log n) and memory of the encoder. */
size_t qd_bpe_merge_short(const qd_merge_table *table, int32_t *ids, uint32_t *starts, size_t n);
qdisp_status qd_bpe_merge_long(qd_encoder *encoder, const qd_merge_table *table, int32_t *ids, uint32_t *starts,
                               size_t *n);

static inline uint32_t qd_merge_find(const qd_merge_table *table, int32_t left, int32_t right) {
    uint64_t pair = (uint64_t)(uint32_t)left << QD_MERGE_ID_BITS | (uint32_t)right;
    uint64_t hash = pair * QD_MERGE_HASH, bit = hash >> table->filter_shift;
    if (!(table->filter[bit >> 6] >> (bit & 63) & 1)) return QD_NO_RANK;
    uint64_t mask = UINT64_MAX >> table->slot_shift, i = hash >> table->slot_shift, slot;
    for (; (slot = table->slots[i]) != 0; i = (i + 1) & mask) {
        if (slot >> QD_MERGE_RANK_BITS == pair) return (uint32_t)(slot & (((uint32_t)1 << QD_MERGE_RANK_BITS) - 1)) - 1;
    }
    return QD_NO_RANK;
}

/* ---- what words gave, kept by an encoder (bpe_cache.c) ---- */

#define QD_CACHED_BYTES 32
#define QD_CACHED_IDS 18

typedef struct qd_cached_word {
    uint64_t key[4]; /* the word's bytes: with len they say all of them */
    int32_t ids[QD_CACHED_IDS];
    uint8_t starts[QD_CACHED_IDS];
    uint8_t len; /* 0: empty */
    uint8_t n;
} qd_cached_word;

/* The place of word[n] (1..QD_CACHED_BYTES) in the encoder's cache, made at the first call: its entry, or one to write
 * over, whose key and len are set and whose n is 0. NULL: out of memory. */
qd_cached_word *qd_bpe_cached(qd_encoder *encoder, const uint8_t *word, size_t n);

/* ---- where a text can be cut because no merge joins the two sides (bpe_cut.c) ---- */

typedef struct qd_joins { /* pairs of characters that some merge brings together: a set with false members */
    uint64_t *bits;       /* NULL: do not cut */
    unsigned shift;
} qd_joins;

/* unmerged: tokens that stand for no text of their own (byte fallback, unknown); if a merge has one, nothing is cut. */
qdisp_status qd_joins_new(qdisp_ctx *ctx, const qd_strings *strings, const qd_merges *merges, const bool *unmerged,
                          qd_joins *out);
/* The end of the first part of text[begin, end), end > begin. */
size_t qd_joins_cut(const qd_joins *joins, const uint8_t *text, size_t begin, size_t end);

qdisp_status qd_bpe_open(const qd_place *place, qdisp_tokenizer *tokenizer, const json_t *model, void **out);

#endif
