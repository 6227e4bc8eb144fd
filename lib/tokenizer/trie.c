/* trie.c - strings to ids by prefix: a double array (Aoe 1989), a step a byte and no hashing.
 *
 * A node's child by byte b is at base + b if that place names the node as its parent. Nodes are placed depth first over
 * the sorted strings; a node with several children tries a bounded number of free places, from where the last search
 * ended, and then the end of the array, so building is linear in the bytes and the array stays a small multiple of
 * them. */
#include "tokenizer/tokenizer.h"
#include <stdlib.h>
#include <string.h>

#define MAX_TRIES 64
#define FREE (-2) /* parent of a place that is free; base and value then link the free places */

typedef struct key {
    const uint8_t *str;
    uint32_t len;
    int32_t value;
} key;

typedef struct range { /* keys [begin, end) share the path to a node */
    size_t begin, end;
    uint32_t depth;
    int32_t node;
} range;

typedef struct builder {
    qdisp_ctx *ctx;
    qd_trie *trie;
    size_t cap;
    int32_t cursor; /* a free place, or -1 */
    range *stack;
    size_t n_stack, cap_stack;
} builder;

static int compare(const void *a, const void *b) {
    const key *x = a, *y = b;
    size_t n = x->len < y->len ? x->len : y->len;
    int order = n ? memcmp(x->str, y->str, n) : 0;
    if (order) return order;
    if (x->len != y->len) return x->len < y->len ? -1 : 1;
    return x->value < y->value ? -1 : x->value > y->value;
}

/* Free places form a ring. */
static void unlink_place(builder *b, int32_t at) {
    qd_trie_node *nodes = b->trie->nodes;
    int32_t before = nodes[at].base, after = nodes[at].value;
    b->cursor = after == at ? -1 : after;
    nodes[before].value = after;
    nodes[after].base = before;
}

/* Makes [n_nodes, need) free places, behind the cursor. */
static qdisp_status extend(builder *b, size_t need) {
    qd_trie *t = b->trie;
    if (need <= t->n_nodes) return QDISP_OK;
    if (need >= INT32_MAX - 512) return qd_fail(b->ctx, QDISP_EUNSUPPORTED, "vocabulary: more than 2^31 bytes");
    QD_TRY(qd_grow(b->ctx, (void **)&t->nodes, &b->cap, need, sizeof *t->nodes));
    for (int32_t i = (int32_t)t->n_nodes; i < (int32_t)need; i++) {
        int32_t next = b->cursor < 0 ? i : b->cursor, before = b->cursor < 0 ? i : t->nodes[next].base;
        t->nodes[i] = (qd_trie_node){.base = before, .parent = FREE, .value = next};
        t->nodes[before].value = i;
        t->nodes[next].base = i;
        if (b->cursor < 0) b->cursor = i;
    }
    t->n_nodes = need;
    return QDISP_OK;
}

static bool fits(const qd_trie *t, int64_t base, const uint8_t *bytes, size_t n) {
    if (base < 1) return false;
    for (size_t i = 0; i < n; i++) {
        if ((size_t)base + bytes[i] < t->n_nodes && t->nodes[base + bytes[i]].parent != FREE) return false;
    }
    return true;
}

static qdisp_status find_base(builder *b, const uint8_t *bytes, size_t n, int32_t *base) {
    qd_trie *t = b->trie;
    int32_t at = b->cursor;
    int64_t found = -1;
    for (int i = 0; i < MAX_TRIES && at >= 0 && found < 0; i++) {
        if (fits(t, (int64_t)at - bytes[0], bytes, n)) found = (int64_t)at - bytes[0];
        at = t->nodes[at].value;
        if (at == b->cursor) break;
    }
    b->cursor = at;
    if (found < 0) found = (int64_t)t->n_nodes > bytes[0] ? (int64_t)t->n_nodes - bytes[0] : 1;
    QD_TRY(extend(b, (size_t)found + bytes[n - 1] + 1));
    *base = (int32_t)found;
    return QDISP_OK;
}

static qdisp_status push(builder *b, range r) {
    QD_TRY(qd_grow(b->ctx, (void **)&b->stack, &b->cap_stack, b->n_stack + 1, sizeof *b->stack));
    b->stack[b->n_stack++] = r;
    return QDISP_OK;
}

/* Places the children of a node and notes them for later. Of equal strings the one with the highest id holds. */
static qdisp_status place(builder *b, const key *keys, range r) {
    qd_trie *t = b->trie;
    uint8_t bytes[256];
    size_t starts[257], n = 0;
    for (; r.begin < r.end && keys[r.begin].len == r.depth; r.begin++) t->nodes[r.node].value = keys[r.begin].value;
    for (size_t i = r.begin; i < r.end; i++) {
        uint8_t byte = keys[i].str[r.depth];
        if (n && bytes[n - 1] == byte) continue;
        bytes[n] = byte;
        starts[n++] = i;
    }
    if (!n) return QDISP_OK;
    starts[n] = r.end;
    int32_t base = 0;
    QD_TRY(find_base(b, bytes, n, &base));
    t->nodes[r.node].base = base;
    for (size_t i = 0; i < n; i++) {
        int32_t child = base + bytes[i];
        unlink_place(b, child);
        t->nodes[child] = (qd_trie_node){.base = 0, .parent = r.node, .value = -1};
    }
    for (size_t i = n; i-- > 0;) {
        QD_TRY(push(b, (range){starts[i], starts[i + 1], r.depth + 1, base + bytes[i]}));
    }
    return QDISP_OK;
}

static qdisp_status build(builder *b, const key *keys, size_t n) {
    qd_trie *t = b->trie;
    QD_TRY(extend(b, 512));
    unlink_place(b, 0);
    t->nodes[0] = (qd_trie_node){.base = 0, .parent = -1, .value = -1};
    QD_TRY(push(b, (range){0, n, 0, 0}));
    while (b->n_stack) QD_TRY(place(b, keys, b->stack[--b->n_stack]));
    QD_TRY(extend(b, t->n_nodes + 256)); /* so that base + byte needs no check against the end */
    for (size_t i = 0; i < t->n_nodes; i++) {
        if (t->nodes[i].parent == FREE) t->nodes[i] = (qd_trie_node){.base = 0, .parent = FREE, .value = -1};
    }
    return QDISP_OK;
}

qdisp_status qd_trie_new(qdisp_ctx *ctx, const qd_strings *strings, const bool *wanted, qd_trie *out) {
    qd_trie trie = {0};
    builder b = {.ctx = ctx, .trie = &trie, .cursor = -1};
    size_t n = 0;
    key *keys = qd_alloc(ctx, strings->n ? strings->n : 1, sizeof *keys);
    if (!keys) return QDISP_ENOMEM;
    for (size_t i = 0; i < strings->n; i++) {
        if (!strings->str[i] || (wanted && !wanted[i])) continue;
        keys[n++] = (key){(const uint8_t *)strings->str[i], strings->len[i], (int32_t)i};
    }
    qsort(keys, n, sizeof *keys, compare);
    qdisp_status status = build(&b, keys, n);
    qd_free(ctx, keys);
    qd_free(ctx, b.stack);
    if (status != QDISP_OK) {
        qd_trie_free(ctx, &trie);
        return status;
    }
    *out = trie;
    return QDISP_OK;
}

void qd_trie_free(qdisp_ctx *ctx, qd_trie *trie) {
    qd_free(ctx, trie->nodes);
    *trie = (qd_trie){0};
}

int32_t qd_trie_walk(const qd_trie *trie, int32_t node, const void *bytes, size_t n) {
    const uint8_t *s = bytes;
    for (size_t i = 0; i < n && node >= 0; i++) node = qd_trie_child(trie, node, s[i]);
    return node;
}

int32_t qd_trie_find(const qd_trie *trie, const void *bytes, size_t n) {
    int32_t node = n ? qd_trie_walk(trie, 0, bytes, n) : -1;
    return node < 0 ? -1 : trie->nodes[node].value;
}
