/* spm_unigram.c - SentencePiece's unigram model: the best segmentation of the whole text (Kudo 2018).
 *
 * Sums are kept in f32 from the text's beginning on, as SentencePiece does, and the first of equal ones holds: ties
 * and near ties fall as they do there. Where no piece reaches over a place the path so far is settled, and goes out. */
#include "tokenizer/spm.h"
#include <float.h>
#include <math.h>
#include <string.h>

#define UNKNOWN_PENALTY 10.0f
#define SCORE_RESET 100000
#define WINDOW 4096 /* bytes of text whose paths are kept: they stay in the second cache */

typedef struct best { /* the best path that ends at a place */
    double score;
    uint32_t start; /* of its last piece; NO_PATH: none ends here */
    int32_t id;
} best;
#define NO_PATH UINT32_MAX

qdisp_status qd_spm_make_unigram(const qd_place *place, const qd_spm_spec *spec, qd_spm *m) {
    size_t n = m->t->strings.n;
    float lowest = FLT_MAX, highest = FLT_MIN;
    bool *wanted = qd_alloc(place->ctx, n, 1);
    m->scores = qd_alloc(place->ctx, n, sizeof *m->scores);
    if (!wanted || !m->scores) {
        qd_free(place->ctx, wanted);
        return QDISP_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        wanted[i] = spec->types[i] == QD_PIECE_NORMAL || spec->types[i] == QD_PIECE_USER_DEFINED ||
                    (spec->types[i] == QD_PIECE_UNUSED && spec->like_llama);
        if (spec->types[i] != QD_PIECE_NORMAL) continue;
        if (spec->scores[i] < lowest) lowest = spec->scores[i];
        if (spec->scores[i] > highest) highest = spec->scores[i];
    }
    for (size_t i = 0; i < n; i++) {
        m->scores[i] = spec->scores[i];
        if (spec->types[i] != QD_PIECE_USER_DEFINED) continue;
        /* so that it is always chosen */
        m->scores[i] = spec->like_llama ? 0 : (double)((float)m->t->strings.len[i] * highest) - 0.1;
    }
    m->unk_score = lowest - UNKNOWN_PENALTY;
    m->in_f32 = !spec->like_llama;
    qdisp_status status = qd_trie_new(place->ctx, &m->t->strings, wanted, &m->trie);
    qd_free(place->ctx, wanted);
    return status;
}

static void offer(best *target, double score, size_t start, int32_t id, bool in_f32) {
    if (in_f32) score = (float)score;
    if (target->start != NO_PATH && !(score > target->score)) return;
    *target = (best){score, (uint32_t)start, id};
}

/* What lies ahead counts from here on: as SentencePiece has it, for the sake of a long text's precision. */
static void reset(best *path, size_t start, size_t reach) {
    double offset = path[start].score;
    for (size_t i = start; i <= reach; i++) {
        if (i == start || path[i].start != NO_PATH) path[i].score = (float)(path[i].score - offset);
    }
}

/* The best paths through s[n], or through its first *n_done bytes once those are many and no piece reaches over their
 * end: whatever follows, the best path is through there. score: of the path to the beginning, then to that end. */
static qdisp_status search(qd_encoder *e, const qd_spm *m, const uint8_t *s, size_t n, double *score, size_t *n_done) {
    const qd_trie_node *nodes = m->trie.nodes;
    size_t start = 0, reach = 0, n_ready = 1, longest = m->t->strings.max_len + 4; /* or a character */
    QD_TRY(qd_grow(e->ctx, &e->symbols, &e->cap_symbols, 1, sizeof(best)));
    best *path = e->symbols;
    path[0] = (best){.score = *score, .start = NO_PATH};
    for (size_t len; start < n && !(start >= WINDOW && reach == start); start += len) {
        size_t end = n - start < longest ? n : start + longest;
        QD_TRY(qd_grow(e->ctx, &e->symbols, &e->cap_symbols, end + 1, sizeof(best)));
        path = e->symbols;
        for (; n_ready <= end; n_ready++) path[n_ready].start = NO_PATH;
        if (m->in_f32 && fabs(path[start].score) > SCORE_RESET) reset(path, start, reach);
        bool has_single = false;
        int32_t here = 0;
        len = qd_spm_char_length(s + start, n - start);
        for (size_t i = start; i < n; i++) {
            int32_t next = nodes[here].base + s[i];
            if (nodes[next].parent != here) break;
            here = next;
            int32_t id = nodes[here].value;
            if (id < 0) continue;
            has_single = has_single || i + 1 - start == len;
            if (i + 1 > reach) reach = i + 1;
            offer(&path[i + 1], path[start].score + m->scores[id], start, id, m->in_f32);
        }
        if (start + len > reach) reach = start + len;
        if (!has_single) offer(&path[start + len], m->unk_score + path[start].score, start, m->unk_id, m->in_f32);
    }
    *score = path[start].score;
    *n_done = start;
    return QDISP_OK;
}

/* Links the path forward: afterwards path[i].start is where the piece that begins at i ends. */
static void turn(best *path, size_t n) {
    best last = path[n];
    for (uint32_t end = (uint32_t)n;;) {
        uint32_t begin = last.start;
        best before = path[begin];
        path[begin].start = end;
        path[begin].id = last.id;
        if (!begin) break;
        end = begin;
        last = before;
    }
}

qdisp_status qd_spm_encode_unigram(qd_encoder *e, const qd_spm *m, const qd_text *text) {
    bool unknown = false;
    double score = 0;
    for (size_t begin = 0, n; begin < text->n; begin += n) {
        QD_TRY(search(e, m, text->bytes + begin, text->n - begin, &score, &n));
        best *path = e->symbols;
        turn(path, n);
        for (size_t i = 0, stop; i < n; i = stop) {
            stop = path[i].start;
            QD_TRY(qd_spm_push(e, m, path[i].id, text, begin + i, begin + stop, &unknown));
        }
    }
    return QDISP_OK;
}
