/* bpe_merge.c - the table of merges and the two ways of merging: a scan for short words, a heap for long ones. */
#include "tokenizer/bpe.h"
#include <stdlib.h>
#include <string.h>

#define FILTER_BITS_A_PAIR 6 /* at least, and at most twice that */

static unsigned shift_for(size_t n) {
    unsigned shift = 60;
    while (n > (size_t)1 << (64 - shift)) shift--;
    return shift;
}

static void insert(qd_merge_table *t, const qd_merge *m) {
    uint64_t pair = (uint64_t)(uint32_t)m->left << QD_MERGE_ID_BITS | (uint32_t)m->right;
    uint64_t hash = pair * QD_MERGE_HASH, bit = hash >> t->filter_shift;
    uint64_t mask = UINT64_MAX >> t->slot_shift, i = hash >> t->slot_shift;
    t->filter[bit >> 6] |= (uint64_t)1 << (bit & 63);
    while (t->slots[i] && t->slots[i] >> QD_MERGE_RANK_BITS != pair) i = (i + 1) & mask;
    t->slots[i] = pair << QD_MERGE_RANK_BITS | (m->rank + 1); /* of two merges of a pair the later one holds */
    t->ids[m->rank] = m->id;
}

/* Whether every rank gives one token, as the table has it; ids[n_ranks] are filled. */
static bool one_id_a_rank(const qd_merges *merges, int32_t *ids, size_t n_ranks) {
    for (size_t i = 0; i < n_ranks; i++) ids[i] = -1;
    for (size_t i = 0; i < merges->n; i++) {
        int32_t *id = &ids[merges->items[i].rank];
        if (*id >= 0 && *id != merges->items[i].id) return false;
        *id = merges->items[i].id;
    }
    return true;
}

static int compare_merges(const void *a, const void *b) {
    const qd_merge *x = a, *y = b;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* A copy of the merges with a rank a token; table->ties gives the ranks that were the same their first one back. */
static qdisp_status separate_ties(qdisp_ctx *ctx, const qd_merges *merges, qd_merge_table *t, qd_merges *out) {
    uint32_t rank = 0, first = 0;
    out->items = qd_alloc(ctx, merges->n, sizeof *out->items);
    t->ties = qd_alloc(ctx, merges->n, sizeof *t->ties);
    if (!out->items || !t->ties) return QDISP_ENOMEM;
    memcpy(out->items, merges->items, merges->n * sizeof *out->items);
    qsort(out->items, merges->n, sizeof *out->items, compare_merges);
    for (size_t i = 0, given = 0; i < merges->n; i++) {
        qd_merge *m = &out->items[i];
        bool same_rank = i && m->rank == given;
        if (i && (!same_rank || m->id != m[-1].id)) rank++;
        if (!same_rank) first = rank;
        given = m->rank;
        m->rank = rank;
        t->ties[rank] = first;
    }
    out->n = merges->n;
    return QDISP_OK;
}

static qdisp_status fill_table(qdisp_ctx *ctx, const qd_merges *merges, qd_merge_table *t) {
    uint32_t n_ranks = 0;
    qd_merges own = {0};
    qdisp_status status = QDISP_OK;
    for (size_t i = 0; i < merges->n; i++) {
        if (merges->items[i].rank >= n_ranks) n_ranks = merges->items[i].rank + 1;
    }
    if (n_ranks < merges->n) n_ranks = (uint32_t)merges->n;
    t->slots = qd_alloc(ctx, (size_t)1 << (64 - t->slot_shift), sizeof *t->slots);
    t->filter = qd_alloc(ctx, (((size_t)1 << (64 - t->filter_shift)) + 63) / 64, sizeof *t->filter);
    t->ids = qd_alloc(ctx, n_ranks + 1, sizeof *t->ids);
    if (!t->slots || !t->filter || !t->ids) return QDISP_ENOMEM;
    if (!one_id_a_rank(merges, t->ids, n_ranks)) {
        status = separate_ties(ctx, merges, t, &own);
        merges = &own;
    }
    for (size_t i = 0; status == QDISP_OK && i < merges->n; i++) insert(t, &merges->items[i]);
    qd_free(ctx, own.items);
    return status;
}

qdisp_status qd_merge_table_new(qdisp_ctx *ctx, const qd_merges *merges, qd_merge_table *out) {
    qd_merge_table t = {.slot_shift = shift_for(merges->n * 2),
                        .filter_shift = shift_for(merges->n * FILTER_BITS_A_PAIR)};
    qdisp_status status = fill_table(ctx, merges, &t);
    if (status == QDISP_OK) *out = t;
    else qd_merge_table_free(ctx, &t);
    return status;
}

void qd_merge_table_free(qdisp_ctx *ctx, qd_merge_table *table) {
    qd_free(ctx, table->slots);
    qd_free(ctx, table->filter);
    qd_free(ctx, table->ids);
    qd_free(ctx, table->ties);
}

/* The rank by which pairs are compared, QD_NO_RANK if this is none. */
static uint32_t order_of(const qd_merge_table *table, int32_t left, int32_t right) {
    uint32_t rank = qd_merge_find(table, left, right);
    return table->ties && rank != QD_NO_RANK ? table->ties[rank] : rank;
}

/* What a pair of that order merges to. */
static int32_t result_of(const qd_merge_table *table, uint32_t order, int32_t left, int32_t right) {
    return table->ids[table->ties ? qd_merge_find(table, left, right) : order];
}

/* ---- short words: the lowest of rank << 6 | place ---- */

#define PLACE_BITS 6
_Static_assert(QD_BPE_SHORT == 1 << PLACE_BITS && PLACE_BITS + QD_MERGE_RANK_BITS < 31, "a key is a positive int32_t");

static int32_t key_of(const qd_merge_table *table, const int32_t *ids, size_t left, size_t right) {
    uint32_t rank = order_of(table, ids[left], ids[right]);
    return rank == QD_NO_RANK ? INT32_MAX : (int32_t)(rank << PLACE_BITS | left);
}

size_t qd_bpe_merge_short(const qd_merge_table *table, int32_t *ids, uint32_t *starts, size_t n) {
    int32_t keys[QD_BPE_SHORT];
    uint8_t prev[QD_BPE_SHORT + 1], next[QD_BPE_SHORT];
    size_t n_keys = (n + 7) & ~(size_t)7, n_left = 0; /* whole vectors */
    for (size_t i = 0; i < n_keys; i++) keys[i] = i + 1 < n ? key_of(table, ids, i, i + 1) : INT32_MAX;
    for (size_t i = 0; i < n; i++) {
        prev[i] = (uint8_t)(i - 1);
        next[i] = (uint8_t)(i + 1);
    }
    for (;;) {
        int32_t best = INT32_MAX;
        for (size_t i = 0; i < n_keys; i++) best = keys[i] < best ? keys[i] : best;
        if (best == INT32_MAX) break;
        size_t left = (size_t)best & (QD_BPE_SHORT - 1), right = next[left], behind = next[right];
        ids[left] = result_of(table, (uint32_t)best >> PLACE_BITS, ids[left], ids[right]);
        next[left] = (uint8_t)behind;
        prev[behind] = (uint8_t)left;
        keys[right] = INT32_MAX;
        keys[left] = behind < n ? key_of(table, ids, left, behind) : INT32_MAX;
        if (left > 0) keys[prev[left]] = key_of(table, ids, prev[left], left);
    }
    for (size_t i = 0; i < n; i = next[i]) {
        ids[n_left] = ids[i];
        starts[n_left++] = starts[i];
    }
    return n_left;
}

/* ---- long words: a heap of rank << 32 | place ---- */

#define NONE UINT32_MAX

typedef struct links {
    uint32_t *prev, *next; /* NONE: at the end; next[i] = i: merged into the one before */
} links;

static void sift_up(uint64_t *heap, size_t i, uint64_t key) {
    for (; i > 0 && key < heap[(i - 1) / 2]; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = key;
}

static void sift_down(uint64_t *heap, size_t n, size_t i, uint64_t key) {
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= key) break;
        heap[i] = heap[child];
    }
    heap[i] = key;
}

static qdisp_status push_pair(qd_encoder *e, size_t *n_heap, const qd_merge_table *table, const int32_t *ids,
                              uint32_t left, uint32_t right) {
    uint32_t rank = order_of(table, ids[left], ids[right]);
    if (rank == QD_NO_RANK) return QDISP_OK;
    QD_TRY(qd_grow(e->ctx, &e->heap, &e->cap_heap, *n_heap + 1, sizeof(uint64_t)));
    sift_up(e->heap, *n_heap, (uint64_t)rank << 32 | left);
    (*n_heap)++;
    return QDISP_OK;
}

static qdisp_status make_links(qd_encoder *e, size_t n, links *out) {
    QD_TRY(qd_grow(e->ctx, &e->links, &e->cap_links, 2 * n, sizeof(uint32_t)));
    *out = (links){(uint32_t *)e->links, (uint32_t *)e->links + n};
    for (size_t i = 0; i < n; i++) {
        out->prev[i] = i ? (uint32_t)i - 1 : NONE;
        out->next[i] = i + 1 < n ? (uint32_t)i + 1 : NONE;
    }
    return QDISP_OK;
}

qdisp_status qd_bpe_merge_long(qd_encoder *e, const qd_merge_table *table, int32_t *ids, uint32_t *starts,
                               size_t *n) {
    size_t n_heap = 0, n_left = 0;
    links at;
    if (*n < 2) return QDISP_OK;
    QD_TRY(make_links(e, *n, &at));
    for (uint32_t i = 0; i + 1 < *n; i++) QD_TRY(push_pair(e, &n_heap, table, ids, i, i + 1));
    while (n_heap) {
        uint64_t *heap = e->heap, top = heap[0];
        n_heap--;
        if (n_heap) sift_down(heap, n_heap, 0, heap[n_heap]);
        uint32_t left = (uint32_t)top, right = at.next[left];
        if (right == left || right == NONE) continue;
        if (order_of(table, ids[left], ids[right]) != top >> 32) continue; /* the pair has changed since */
        ids[left] = result_of(table, (uint32_t)(top >> 32), ids[left], ids[right]);
        at.next[left] = at.next[right];
        at.next[right] = right;
        if (at.next[left] != NONE) at.prev[at.next[left]] = left;
        if (at.prev[left] != NONE) QD_TRY(push_pair(e, &n_heap, table, ids, at.prev[left], left));
        if (at.next[left] != NONE) QD_TRY(push_pair(e, &n_heap, table, ids, left, at.next[left]));
    }
    for (size_t i = 0; i < *n; i++) {
        if (at.next[i] == i) continue;
        ids[n_left] = ids[i];
        starts[n_left++] = starts[i];
    }
    *n = n_left;
    return QDISP_OK;
}
