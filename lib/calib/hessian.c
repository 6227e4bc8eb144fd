/* hessian.c - second moments by language. All rows count, those of the template and of a first position too: they are
 * few, but what a first position sends is often huge (an attention sink), and every token after it reads what becomes
 * of it.
 *
 * A wave of rows is copied from the taps into a buffer an input; then the product of the buffer with itself is made in
 * tiles, which are the tasks of the parallel loop: what a number is summed from, and in which order, depends on the
 * text alone. Sequences lie language after language, so that one sum for the language under way is enough; when it
 * ends, it is scaled and added to the total. */
#include "calib/hessian.h"

#include "calib/calib.h"
#include "model/gemm.h"

#include <math.h>
#include <string.h>

/* Rows of a wave, and floats of all buffers that hold them. */
#define WAVE_ROWS ((size_t)2048)
#define WAVE_FLOATS ((size_t)64 << 20)
#define TILE ((size_t)256)

/* --- which maps read the same --- */

static qd_slot first_reader(qd_slot slot) {
    switch (slot) {
        case QD_SLOT_ATTN_K:
        case QD_SLOT_ATTN_V: return QD_SLOT_ATTN_Q;
        case QD_SLOT_CROSS_V: return QD_SLOT_CROSS_K;
        case QD_SLOT_MLP_UP: return QD_SLOT_MLP_GATE;
        case QD_SLOT_EXPERT_UP: return QD_SLOT_EXPERT_GATE;
        default: return slot;
    }
}

static size_t first_linear(const qdisp_model *m, size_t i_linear) {
    const qd_linear *l = &m->linears[i_linear];
    qd_slot slot = first_reader(l->slot);
    if (slot == l->slot) return i_linear;
    size_t i = qd_model_linear_index(m, (size_t)l->layer, l->expert < 0 ? 0 : (size_t)l->expert, slot);
    return i == QD_NONE ? i_linear : i; /* a network without a gate */
}

/* Columns of all inputs of the layer that has most. */
static size_t widest_layer(const qdisp_model *m) {
    size_t widest = 1, n = 0;
    for (size_t i = 0; i < m->n_linears; i++) {
        if (i > 0 && m->linears[i].layer != m->linears[i - 1].layer) n = 0;
        if (first_linear(m, i) == i) n += m->linears[i].n_in;
        widest = qd_larger(widest, n);
    }
    return widest;
}

/* --- the text --- */

static qdisp_status add_language(qd_hessians *h, size_t l, size_t max_tokens) {
    qd_lines text;
    size_t n_tokens = 0;
    QD_TRY(qd_lines_make(&h->frame, h->corpus, l, NULL, qdisp_corpus_n_lines(h->corpus), &text));
    const qd_sequences *s = &text.sequences;
    qdisp_status status = QDISP_OK;
    for (size_t i = 0; i < s->n_seq && status == QDISP_OK && (!max_tokens || n_tokens < max_tokens); i++) {
        status = qd_sequences_append(&h->text, s, i, max_tokens ? max_tokens - n_tokens : SIZE_MAX);
        if (status != QDISP_OK) break;
        size_t k = h->text.n_seq - 1;
        n_tokens += h->text.text[k].end - h->text.text[k].first;
        if (s->source_text) n_tokens += s->source_text[i].end - s->source_text[i].first;
        status = qd_grow(h->ctx, (void **)&h->language, &h->cap, h->text.n_seq, sizeof *h->language);
        if (status == QDISP_OK) h->language[k] = (uint16_t)l;
    }
    qd_lines_clear(&text);
    if (status == QDISP_OK && n_tokens == 0)
        status = qd_fail(h->ctx, QDISP_EINVAL, "language %s has no text for second moments",
                         qdisp_corpus_language(h->corpus, l));
    return status;
}

static qdisp_status add_text(qd_hessians *h, size_t max_tokens) {
    for (size_t l = 0; l < h->n_languages; l++)
        if (!h->wanted || h->wanted[l]) QD_TRY(add_language(h, l, max_tokens));
    return QDISP_OK;
}

qdisp_status qd_hessians_open(const qdisp_model *model, const qdisp_tokenizer *tokenizer, const qdisp_corpus *corpus,
                              const bool *wanted, size_t max_tokens, qd_hessians **out) {
    qd_hessians *h = qd_alloc(model->ctx, 1, sizeof *h);
    if (!h) return QDISP_ENOMEM;
    h->ctx = model->ctx;
    h->corpus = corpus;
    h->n_languages = qdisp_corpus_n_languages(corpus);
    h->wanted = wanted;
    h->text = (qd_sequences){.ctx = h->ctx, .frame = &h->frame};
    qdisp_status status = h->n_languages < UINT16_MAX ? qd_frame_make(model, tokenizer, &h->frame)
                                                      : qd_fail(h->ctx, QDISP_EINVAL, "more than 65534 languages");
    if (status == QDISP_OK) status = add_text(h, max_tokens);
    if (status == QDISP_OK) {
        h->batch = qd_sequences_batch(&h->text, false);
        size_t rows = WAVE_FLOATS / widest_layer(model);
        status = qd_layerwise_open(model, &h->batch, rows < WAVE_ROWS ? qd_larger(rows, 1) : WAVE_ROWS, &h->walk);
    }
    if (status == QDISP_OK) *out = h;
    else qd_hessians_free(h);
    return status;
}

void qd_hessians_free(qd_hessians *h) {
    if (!h) return;
    qd_hessians_done(h);
    qd_layerwise_free(h->walk);
    qd_sequences_clear(&h->text);
    qd_free(h->ctx, h->language);
    qd_free(h->ctx, h);
}

/* --- the inputs of a layer --- */

void qd_hessians_done(qd_hessians *h) {
    for (size_t i = 0; h->inputs && i < h->n_inputs; i++) {
        qd_free_aligned(h->ctx, h->inputs[i].total);
        qd_free_aligned(h->ctx, h->inputs[i].sum);
        qd_free_aligned(h->ctx, h->inputs[i].rows);
        qd_free(h->ctx, h->inputs[i].languages);
    }
    qd_free(h->ctx, h->inputs);
    h->inputs = NULL;
    h->n_inputs = 0;
}

const qd_hessian *qd_hessians_find(const qd_hessians *h, const qd_hessian_want *want) {
    size_t i_linear = first_linear(h->frame.model, want->i_linear);
    for (size_t i = 0; i < h->n_inputs; i++)
        if (h->inputs[i].i_linear == i_linear &&
            !memcmp(h->inputs[i].lambda, want->lambda, h->n_languages * sizeof *want->lambda))
            return &h->inputs[i];
    return NULL;
}

static qdisp_status add_input(qd_hessians *h, const qd_hessian_want *want) {
    if (qd_hessians_find(h, want)) return QDISP_OK;
    const qd_forward *f = &h->walk->f;
    size_t n_rows = qd_larger(f->batch_rows, f->batch_source_rows);
    qd_hessian *x = &h->inputs[h->n_inputs++];
    *x = (qd_hessian){.i_linear = first_linear(h->frame.model, want->i_linear), .lambda = want->lambda,
                      .n_in = h->frame.model->linears[want->i_linear].n_in};
    x->total = qd_alloc_aligned(h->ctx, x->n_in * x->n_in, sizeof *x->total);
    x->sum = qd_alloc_aligned(h->ctx, x->n_in * x->n_in, sizeof *x->sum);
    x->rows = qd_alloc_aligned(h->ctx, n_rows * x->n_in, sizeof *x->rows);
    x->languages = qd_alloc(h->ctx, n_rows, sizeof *x->languages);
    return x->total && x->sum && x->rows && x->languages ? QDISP_OK : QDISP_ENOMEM;
}

/* --- rows, from the taps --- */

/* Rows go to the part of the buffer that is the chunk's, side by side. Chunks are apart: any thread. */
static int on_activation(void *user, qdisp_activation *a) {
    qd_hessians *h = user;
    const qd_sequences *s = &h->text;
    bool is_source = a->starts == s->source_starts && s->source_starts;
    const qd_chunk *first = &h->walk->f.chunks[h->walk->f.first_chunk];
    for (size_t i = 0; i < h->n_inputs; i++) {
        qd_hessian *x = &h->inputs[i];
        if (x->i_linear != a->i_linear) continue;
        size_t to = a->i_row - (is_source ? first->i_source : first->i_row), i_seq = a->i_seq;
        for (size_t r = 0; r < a->n_rows; r++) {
            size_t at = a->i_row + (a->rows ? a->rows[r] : r);
            while (a->starts[i_seq + 1] <= at) i_seq++;
            memcpy(x->rows + to * x->n_in, a->data + r * a->stride, x->n_in * sizeof *x->rows);
            x->languages[to++] = (uint16_t)(h->language[i_seq] + 1);
        }
    }
    return 0;
}

/* Moves the rows of a wave together: how many. */
static size_t gather(qd_hessian *x, size_t n_rows) {
    size_t n = 0;
    for (size_t r = 0; r < n_rows; r++) {
        if (!x->languages[r]) continue;
        if (n != r) memcpy(x->rows + n * x->n_in, x->rows + r * x->n_in, x->n_in * sizeof *x->rows);
        x->languages[n++] = x->languages[r];
    }
    for (size_t r = n; r < n_rows; r++) x->languages[r] = 0;
    return n;
}

/* --- products --- */

static size_t n_tiles(const qd_hessian *x) {
    size_t n = (x->n_in + TILE - 1) / TILE;
    return n * (n + 1) / 2;
}

/* Tile i of all inputs' upper halves: which input, rows and columns. */
static qd_hessian *find_tile(const qd_hessians *h, size_t i, size_t *row, size_t *column) {
    qd_hessian *x = h->inputs;
    for (; i >= n_tiles(x); x++) i -= n_tiles(x);
    size_t n = (x->n_in + TILE - 1) / TILE;
    for (*row = 0; i >= n - *row; ++*row) i -= n - *row;
    *column = *row + i;
    return x;
}

static qdisp_status product_task(void *arg, size_t i, unsigned i_worker) {
    const qd_hessians *h = arg;
    size_t row, column;
    const qd_hessian *x = find_tile(h, i, &row, &column);
    (void)i_worker;
    if (x->end == x->first) return QDISP_OK;
    size_t r = row * TILE, c = column * TILE, m = x->n_in - r < TILE ? x->n_in - r : TILE;
    size_t n = x->n_in - c < TILE ? x->n_in - c : TILE;
    const float *rows = x->rows + x->first * x->n_in;
    qd_gemm(true, false, m, n, x->end - x->first, 1.0f, rows + r, x->n_in, rows + c, x->n_in, 1.0f,
            x->sum + r * x->n_in + c, x->n_in);
    return QDISP_OK;
}

/* A tile of the sum, scaled, to the total, also below the diagonal; the sum begins anew. */
static qdisp_status fold_task(void *arg, size_t i, unsigned i_worker) {
    const qd_hessians *h = arg;
    size_t row, column;
    qd_hessian *x = find_tile(h, i, &row, &column);
    (void)i_worker;
    for (size_t r = row * TILE; r < (row + 1) * TILE && r < x->n_in; r++)
        for (size_t c = column * TILE > r ? column * TILE : r; c < (column + 1) * TILE && c < x->n_in; c++) {
            double v = x->total[r * x->n_in + c] + x->scale * (double)x->sum[r * x->n_in + c];
            x->total[r * x->n_in + c] = x->total[c * x->n_in + r] = v;
        }
    for (size_t r = row * TILE; r < (row + 1) * TILE && r < x->n_in; r++) {
        size_t end = (column + 1) * TILE < x->n_in ? (column + 1) * TILE : x->n_in;
        memset(x->sum + r * x->n_in + column * TILE, 0, (end - column * TILE) * sizeof *x->sum);
    }
    return QDISP_OK;
}

static qdisp_status each_tile(const qd_hessians *h, qd_task task) {
    size_t n = 0;
    for (size_t i = 0; i < h->n_inputs; i++) n += n_tiles(&h->inputs[i]);
    return qd_gemm_each(h->ctx, qd_gemm_is_threaded(h->ctx), n, task, (void *)(uintptr_t)h);
}

/* The language under way has sent all of its rows. */
static qdisp_status end_language(qd_hessians *h) {
    for (size_t i = 0; i < h->n_inputs; i++) {
        qd_hessian *x = &h->inputs[i];
        double mean = 0;
        for (size_t j = 0; j < x->n_in; j++) mean += (double)x->sum[j * x->n_in + j] / (double)x->n_in;
        if (!isfinite(mean))
            return qd_fail(h->ctx, QDISP_ENUMERIC, "language %s: an input of %s is not finite or too large",
                           qdisp_corpus_language(h->corpus, h->i_language),
                           h->frame.model->tensors[h->frame.model->linears[x->i_linear].i_weight].name);
        x->scale = mean > 0 ? x->lambda[h->i_language] / mean : 0; /* mean: rows times the reference */
        if (mean > 0) x->heard += x->lambda[h->i_language];
    }
    return each_tile(h, fold_task);
}

/* Rows of the language under way among those of the wave that are left. */
static void next_rows(const qd_hessians *h, qd_hessian *x, size_t n) {
    x->first = x->end;
    while (x->end < n && x->languages[x->end] == h->i_language + 1) x->end++;
}

static qdisp_status wave_done(void *user) {
    qd_hessians *h = user;
    const qd_forward *f = &h->walk->f;
    size_t n_rows = qd_larger(f->batch_rows, f->batch_source_rows);
    const qd_chunk *last = &f->chunks[f->first_chunk + f->n_batch - 1];
    size_t last_language = h->language[last->i_seq + last->n_seq - 1];
    for (size_t i = 0; i < h->n_inputs; i++) {
        h->inputs[i].n = gather(&h->inputs[i], n_rows);
        h->inputs[i].end = 0;
    }
    for (;;) {
        for (size_t i = 0; i < h->n_inputs; i++) next_rows(h, &h->inputs[i], h->inputs[i].n);
        QD_TRY(each_tile(h, product_task));
        if (h->i_language == last_language) break;
        QD_TRY(end_language(h));
        h->i_language++;
    }
    for (size_t i = 0; i < h->n_inputs; i++) memset(h->inputs[i].languages, 0, n_rows * sizeof(uint16_t));
    return QDISP_OK;
}

static qdisp_status look(qd_hessians *h, int layer) {
    qd_run run = {.tap = on_activation, .user = h, .sites = QDISP_SITE_BIT(QDISP_SITE_LINEAR_IN)};
    h->i_language = h->language[0];
    QD_TRY(layer >= 0 ? qd_layerwise_look(h->walk, (size_t)layer, &run, wave_done)
                      : qd_layerwise_look_head(h->walk, &run, wave_done));
    return end_language(h);
}

qdisp_status qd_hessians_layer(qd_hessians *h, int layer, const qd_hessian_want *wanted, size_t n) {
    qd_hessians_done(h);
    h->inputs = qd_alloc(h->ctx, n, sizeof *h->inputs);
    qdisp_status status = h->inputs ? QDISP_OK : QDISP_ENOMEM;
    for (size_t i = 0; i < n && status == QDISP_OK; i++) status = add_input(h, &wanted[i]);
    if (status == QDISP_OK) status = look(h, layer);
    for (size_t i = 0; i < h->n_inputs && status == QDISP_OK; i++) { /* what only products needed */
        qd_free_aligned(h->ctx, h->inputs[i].sum);
        qd_free_aligned(h->ctx, h->inputs[i].rows);
        h->inputs[i].sum = h->inputs[i].rows = NULL;
    }
    if (status != QDISP_OK) qd_hessians_done(h);
    return status;
}
