/* bpe_merge.c - the table of merges and the two ways of merging: a scan for short words, a heap for long ones. */
#include "tokenizer/bpe.h"
#include <string.h>

qdisp_status qd_merge_table_new(qdisp_ctx *ctx, const qd_merges *merges, qd_merge_table *out) {
    qd_merge_table t = {.n_slots = 16, .shift = 60};
    for (; t.n_slots < merges->n * 2; t.n_slots *= 2) t.shift--;
    t.slots = qd_alloc(ctx, t.n_slots, sizeof *t.slots);
    if (!t.slots) return QDISP_ENOMEM;
    for (size_t i = 0; i < t.n_slots; i++) t.slots[i].rank = QD_NO_RANK;
    for (size_t i = 0; i < merges->n; i++) {
        const qd_merge *m = &merges->items[i];
        qd_merge_slot *slot = (qd_merge_slot *)qd_merge_find(&t, m->left, m->right);
        *slot = (qd_merge_slot){(uint64_t)(uint32_t)m->left << 32 | (uint32_t)m->right, m->rank, m->id};
    }
    *out = t;
    return QDISP_OK;
}

void qd_merge_table_free(qdisp_ctx *ctx, qd_merge_table *table) {
    qd_free(ctx, table->slots);
}

size_t qd_bpe_merge_short(const qd_merge_table *table, int32_t *ids, uint32_t *starts, size_t n) {
    const qd_merge_slot *next[QD_BPE_SHORT];
    uint32_t ranks[QD_BPE_SHORT];
    for (size_t i = 0; i + 1 < n; i++) {
        next[i] = qd_merge_find(table, ids[i], ids[i + 1]);
        ranks[i] = next[i]->rank;
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            if (ranks[i] < ranks[best]) best = i;
        }
        if (ranks[best] == QD_NO_RANK) break;
        size_t n_behind = n - best - 2;
        ids[best] = next[best]->id;
        memmove(ids + best + 1, ids + best + 2, n_behind * sizeof *ids);
        memmove(starts + best + 1, starts + best + 2, n_behind * sizeof *starts);
        memmove(next + best, next + best + 1, n_behind * sizeof *next);
        memmove(ranks + best, ranks + best + 1, n_behind * sizeof *ranks);
        n--;
        if (best > 0) {
            next[best - 1] = qd_merge_find(table, ids[best - 1], ids[best]);
            ranks[best - 1] = next[best - 1]->rank;
        }
        if (best + 1 < n) {
            next[best] = qd_merge_find(table, ids[best], ids[best + 1]);
            ranks[best] = next[best]->rank;
        }
    }
    return n;
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
    uint32_t rank = qd_merge_find(table, ids[left], ids[right])->rank;
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
        const qd_merge_slot *m = qd_merge_find(table, ids[left], ids[right]);
        if (m->rank != top >> 32) continue; /* the pair has changed since */
        ids[left] = m->id;
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
