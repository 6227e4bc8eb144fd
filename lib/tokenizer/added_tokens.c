/* added_tokens.c - tokens that are cut out of the text before anything else.
 *
 * Matching is leftmost and longest, and goes on behind a match also when the match is then discarded because it is
 * not a single word, or special in a text that shall hold none: that is what the reference does, since it searches
 * first and decides later. */
#include "tokenizer/tokenizer.h"
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b) {
    const qd_added *x = a, *y = b;
    size_t n = x->n < y->n ? x->n : y->n;
    int order = memcmp(x->content, y->content, n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

void qd_added_sort(qd_added_set *set) {
    if (set->n) qsort(set->items, set->n, sizeof *set->items, compare);
    memset(set->first, 0, sizeof set->first);
    for (size_t i = 0; i < set->n; i++) set->first[(uint8_t)set->items[i].content[0]] = true;
}

/* First item in [low, high) whose byte at `depth` is >= byte; an item that ends there sorts first. */
static size_t lower_bound(const qd_added_set *set, size_t low, size_t high, size_t depth, unsigned byte) {
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const qd_added *item = &set->items[mid];
        if (item->n <= depth || (uint8_t)item->content[depth] < byte) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* The longest token that text[at, end) begins with. */
static const qd_added *longest_at(const qd_added_set *set, const uint8_t *text, size_t at, size_t end) {
    const qd_added *best = NULL;
    size_t low = 0, high = set->n;
    for (size_t depth = 0; low < high; depth++) {
        if (set->items[low].n == depth) best = &set->items[low];
        if (at + depth >= end) break;
        unsigned byte = text[at + depth];
        low = lower_bound(set, low, high, depth, byte);
        high = lower_bound(set, low, high, depth, byte + 1);
    }
    return best;
}

static size_t char_before(const uint8_t *text, size_t begin, size_t at) {
    at--;
    while (at > begin && (text[at] & 0xC0) == 0x80) at--;
    return at;
}

static bool is_single_word(const uint8_t *text, size_t begin, size_t end, size_t start, size_t stop) {
    size_t n;
    if (start > begin && qd_unicode_is_word(qd_utf8_next(text + char_before(text, begin, start), &n))) return false;
    return stop >= end || !qd_unicode_is_word(qd_utf8_next(text + stop, &n));
}

static qdisp_status push(qdisp_ctx *ctx, qd_pieces *pieces, size_t begin, size_t end, int32_t id) {
    if (begin >= end) return QDISP_OK;
    QD_TRY(qd_grow(ctx, (void **)&pieces->items, &pieces->cap, pieces->n + 1, sizeof *pieces->items));
    pieces->items[pieces->n++] = (qd_piece){begin, end, id};
    return QDISP_OK;
}

qdisp_status qd_added_cut(qdisp_ctx *ctx, const qd_added_set *set, const uint8_t *text, size_t begin, size_t end,
                          bool special_as_text, qd_pieces *pieces) {
    size_t done = begin, at = begin;
    while (set->n && at < end) {
        const qd_added *token = set->first[text[at]] ? longest_at(set, text, at, end) : NULL;
        if (!token) {
            at++;
            continue;
        }
        size_t start = at, stop = at + token->n, n;
        at = stop;
        if (token->special && special_as_text) continue;
        if (token->single_word && !is_single_word(text, begin, end, start, stop)) continue;
        if (token->lstrip) {
            size_t left = start;
            while (left > begin) {
                size_t before = char_before(text, begin, left);
                if (!qd_unicode_is_space(qd_utf8_next(text + before, &n))) break;
                left = before;
            }
            start = left > done ? left : done;
        }
        while (token->rstrip && stop < end && qd_unicode_is_space(qd_utf8_next(text + stop, &n))) stop += n;
        QD_TRY(push(ctx, pieces, done, start, -1));
        QD_TRY(push(ctx, pieces, start, stop, token->id));
        done = stop;
    }
    return push(ctx, pieces, done, end, -1);
}
