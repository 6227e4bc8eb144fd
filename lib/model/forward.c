/* forward.c - the forward pass over many sequences.
 *
 * Sequences are cut into chunks of whole sequences, and chunks into batches. A batch goes through the model layer by
 * layer: the layer's weights are widened to F32 once for all of it, then workers take chunk after chunk through the
 * layer, each with scratch of its own. Chunks depend on the input alone, so that results do not depend on threads. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "model/arch.h"
#include "model/gemm.h"

/* Rows a chunk aims at: enough for full speed of a matrix product, and its rows of a layer stay within a 1 MiB L2. */
#define CHUNK_ROWS 256
/* Logits at a time and worker, and the rows that this may mean: the head's product wants some rows, too. */
#define HEAD_FLOATS ((size_t)1 << 20)
#define HEAD_ROWS_MIN 16

size_t qd_model_chunks(const size_t *starts, size_t n_seq, qd_chunk *chunks) {
    size_t n = 0;
    for (size_t first = 0, end; first < n_seq; first = end, n++) {
        for (end = first + 1; end < n_seq && starts[end + 1] - starts[first] <= CHUNK_ROWS;) end++;
        if (chunks) chunks[n] = (qd_chunk){n, first, end - first, starts[first], starts[end] - starts[first]};
    }
    return n;
}

typedef struct forward {
    const qdisp_model *model;
    qdisp_ctx *ctx;
    const qd_run *run;
    const int32_t *ids;
    const size_t *starts;
    size_t n_seq;
    qd_chunk *chunks;
    size_t n_chunks;
    bool threaded_blas;
    /* What sizes the scratch. */
    size_t max_batch_rows, max_chunk_rows, longest, head_rows;
    float *h;       /* [max_batch_rows, n_embd] residual stream of the batch */
    float *widened; /* weights of the layer that are not F32 in place */
    float *head;    /* the head, widened; NULL if it is F32 in place */
    float **scratch; /* [n_workers], made when a worker first needs it */
    unsigned n_workers;
    size_t n_scratch; /* floats each */
    const float *weights[QD_N_SLOTS];
    const float *head_weight;
    /* The work under way. */
    size_t first_chunk, n_batch, layer;
} forward;

static qdisp_status check_input(forward *f) {
    if (f->n_seq == 0) return QDISP_OK;
    if (!f->ids || !f->starts) return qd_fail(f->ctx, QDISP_EINVAL, "forward: no ids or starts");
    if (f->starts[0] != 0) return qd_fail(f->ctx, QDISP_EINVAL, "forward: starts[0] is %zu, not 0", f->starts[0]);
    for (size_t s = 0; s < f->n_seq; s++) {
        if (f->starts[s + 1] <= f->starts[s]) {
            return qd_fail(f->ctx, QDISP_EINVAL, "forward: sequence %zu is empty or starts[%zu] is less than the one "
                           "before", s, s + 1);
        }
        size_t n = f->starts[s + 1] - f->starts[s];
        /* BLAS counts in int, and a row of scores has a column a token. */
        if (n > INT32_MAX / QD_QUERY_ROWS) {
            return qd_fail(f->ctx, QDISP_EINVAL, "forward: sequence %zu has %zu tokens", s, n);
        }
        if (n > f->longest) f->longest = n;
    }
    for (size_t i = 0; i < f->starts[f->n_seq]; i++) {
        if (f->ids[i] < 0 || (size_t)f->ids[i] >= f->model->config.n_vocab) {
            return qd_fail(f->ctx, QDISP_EINVAL, "forward: id %d at position %zu is outside the vocabulary (%zu)",
                           (int)f->ids[i], i, f->model->config.n_vocab);
        }
    }
    return QDISP_OK;
}

/* --- weights --- */

static size_t n_widened(const qdisp_tensor *t) {
    bool in_place = t->dtype == QDISP_DTYPE_F32 && (uintptr_t)t->data % _Alignof(float) == 0;
    return in_place ? 0 : (size_t)qd_tensor_n_elements(t) + 15; /* 15: each begins at a cache line */
}

/* Makes weights[] of a layer, or of the slots outside the layers; returns the floats of buffer used (buffer may be
 * NULL: only counts). The embedding is left out: its rows are widened one by one, and the head has its own place. */
static size_t load_weights(forward *f, size_t layer, bool in_layer, float *buffer) {
    const qdisp_model *m = f->model;
    size_t used = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        qd_slot slot = m->slots[i];
        if ((m->layers[i] >= 0) != in_layer || (in_layer && (size_t)m->layers[i] != layer)) continue;
        if (slot == QD_SLOT_EMBED || slot == QD_SLOT_HEAD) continue;
        const qdisp_tensor *t = &m->tensors[i];
        if (buffer) {
            f->weights[slot] = qd_load_f32(f->ctx->kernels, t->data, (qdisp_dtype)t->dtype, 0,
                                           (size_t)qd_tensor_n_elements(t), buffer + used);
        }
        used += n_widened(t) / 16 * 16;
    }
    return used;
}

static bool wants_head(const forward *f) {
    return f->run->nll || f->run->logits || f->run->tap_head;
}

static qdisp_status prepare_weights(forward *f) {
    const qdisp_model *m = f->model;
    size_t n_model = load_weights(f, 0, false, NULL), n_layer = 0;
    for (size_t i = 0; i < m->config.n_layer; i++) {
        size_t n = load_weights(f, i, true, NULL);
        if (n > n_layer) n_layer = n;
    }
    /* Not empty, so that load_weights sees a buffer even if all weights are F32 in place. */
    f->widened = qd_alloc_aligned(f->ctx, n_model + n_layer + 16, sizeof(float));
    if (!f->widened) return QDISP_ENOMEM;
    load_weights(f, 0, false, f->widened + n_layer);
    if (!wants_head(f)) return QDISP_OK;
    const qdisp_tensor *t = &m->tensors[m->linears[m->n_linears - 1].i_weight];
    if (n_widened(t)) {
        f->head = qd_alloc_aligned(f->ctx, n_widened(t), sizeof(float));
        if (!f->head) return QDISP_ENOMEM;
    }
    f->head_weight = qd_load_f32(f->ctx->kernels, t->data, (qdisp_dtype)t->dtype, 0, (size_t)qd_tensor_n_elements(t),
                                 f->head);
    return QDISP_OK;
}

/* --- scratch and work --- */

static size_t wide_columns(const qd_model_config *c) {
    return c->n_ff > 3 * c->n_embd ? c->n_ff : 3 * c->n_embd;
}

static void size_scratch(forward *f) {
    const qd_model_config *c = &f->model->config;
    for (size_t i = 0; i < f->n_chunks; i += QD_RUN_MAX_CHUNKS) {
        size_t n = 0;
        for (size_t j = i; j < f->n_chunks && j < i + QD_RUN_MAX_CHUNKS; j++) {
            n += f->chunks[j].n_rows;
            if (f->chunks[j].n_rows > f->max_chunk_rows) f->max_chunk_rows = f->chunks[j].n_rows;
        }
        if (n > f->max_batch_rows) f->max_batch_rows = n;
    }
    f->head_rows = HEAD_FLOATS / c->n_vocab;
    if (f->head_rows < HEAD_ROWS_MIN) f->head_rows = HEAD_ROWS_MIN;
    if (f->head_rows > f->max_chunk_rows) f->head_rows = f->max_chunk_rows;
    size_t n_query = f->longest < QD_QUERY_ROWS ? f->longest : QD_QUERY_ROWS;
    size_t in_block = f->max_chunk_rows * (2 * c->n_embd + wide_columns(c)) + n_query * f->longest;
    size_t in_head = f->max_chunk_rows * c->n_embd + (f->run->logits ? 0 : f->head_rows * c->n_vocab);
    f->n_scratch = in_block > in_head ? in_block : in_head;
}

static float *worker_scratch(forward *f, unsigned i_worker) {
    if (!f->scratch[i_worker]) f->scratch[i_worker] = qd_alloc_aligned(f->ctx, f->n_scratch, sizeof(float));
    return f->scratch[i_worker];
}

static qd_block make_block(forward *f, const qd_chunk *chunk, unsigned i_worker, float *scratch) {
    const qd_model_config *c = &f->model->config;
    size_t n = f->max_chunk_rows * c->n_embd;
    return (qd_block){
        .model = f->model,
        .kernels = f->ctx->kernels,
        .weights = f->weights,
        .run = f->run,
        .chunk = chunk,
        .starts = f->starts,
        .i_layer = f->layer,
        .i_worker = i_worker,
        .h = f->h + (chunk->i_row - f->chunks[f->first_chunk].i_row) * c->n_embd,
        .normed = scratch,
        .mixed = scratch + n,
        .wide = scratch + 2 * n,
        .scores = scratch + 2 * n + f->max_chunk_rows * wide_columns(c),
    };
}

static qdisp_status tap_hidden(const forward *f, const qd_block *b, size_t i_layer) {
    return f->run->hidden ? f->run->hidden(f->run->user, b->chunk, i_layer, b->h, b->i_worker) : QDISP_OK;
}

static qdisp_status embed_task(forward *f, const qd_block *b) {
    const qdisp_tensor *t = &f->model->tensors[qd_model_index(f->model, 0, QD_SLOT_EMBED)];
    size_t n = f->model->config.n_embd;
    for (size_t r = 0; r < b->chunk->n_rows; r++) {
        float *row = b->h + r * n;
        const float *x = qd_load_f32(b->kernels, t->data, (qdisp_dtype)t->dtype,
                                     (size_t)f->ids[b->chunk->i_row + r] * n, n, row);
        if (x != row) memcpy(row, x, n * sizeof *row);
    }
    qd_layer_norm(b, b->h, QD_SLOT_EMBED_NORM, b->h);
    return tap_hidden(f, b, 0);
}

static qdisp_status block_task(forward *f, const qd_block *b) {
    QD_TRY(f->model->arch->block(b));
    return tap_hidden(f, b, f->layer + 1);
}

/* nll of the tokens after rows first .. first + n - 1 of the chunk. */
static void score_rows(const forward *f, const qd_block *b, size_t first, size_t n, const float *logits,
                       size_t *i_seq) {
    size_t n_vocab = f->model->config.n_vocab;
    for (size_t r = 0; r < n; r++) {
        size_t at = b->chunk->i_row + first + r;
        while (f->starts[*i_seq + 1] <= at) ++*i_seq;
        if (at == f->starts[*i_seq]) f->run->nll[at] = NAN;
        if (at + 1 == f->starts[*i_seq + 1]) continue;
        f->run->nll[at + 1] = b->kernels->nll(logits + r * n_vocab, n_vocab, (size_t)f->ids[at + 1]);
    }
}

static qdisp_status head_task(forward *f, const qd_block *b) {
    const qd_model_config *c = &f->model->config;
    const qd_chunk *chunk = b->chunk;
    qd_layer_norm(b, b->h, QD_SLOT_NORM, b->normed);
    if (f->run->linear_input && f->run->tap_head) {
        QD_TRY(f->run->linear_input(f->run->user, chunk, f->model->n_linears - 1, b->normed, b->i_worker));
    }
    if (!f->run->nll && !f->run->logits) return QDISP_OK;
    size_t i_seq = chunk->i_seq;
    for (size_t first = 0; first < chunk->n_rows; first += f->head_rows) {
        size_t n = chunk->n_rows - first < f->head_rows ? chunk->n_rows - first : f->head_rows;
        float *logits = f->run->logits ? f->run->logits + (chunk->i_row + first) * c->n_vocab : b->mixed;
        qd_gemm(true, n, c->n_vocab, c->n_embd, 1.0f, b->normed + first * c->n_embd, c->n_embd, f->head_weight,
                c->n_embd, 0.0f, logits, c->n_vocab);
        if (f->run->nll) score_rows(f, b, first, n, logits, &i_seq);
    }
    return QDISP_OK;
}

typedef struct stage {
    forward *f;
    qdisp_status (*task)(forward *f, const qd_block *b);
} stage;

static qdisp_status stage_task(void *arg, size_t i, unsigned i_worker) {
    const stage *s = arg;
    float *scratch = worker_scratch(s->f, i_worker);
    if (!scratch) return QDISP_ENOMEM;
    qd_block b = make_block(s->f, &s->f->chunks[s->f->first_chunk + i], i_worker, scratch);
    return s->task(s->f, &b);
}

/* Our threads with an OpenBLAS that runs in one, else its own: gemm.c decides. */
static qdisp_status run_stage(forward *f, double done, qdisp_status (*task)(forward *f, const qd_block *b)) {
    stage s = {f, task};
    QD_TRY(qd_progress(f->ctx, "forward", done));
    if (!f->threaded_blas) return qd_parallel(f->ctx, f->n_batch, stage_task, &s);
    for (size_t i = 0; i < f->n_batch; i++) {
        if (qd_cancelled(f->ctx)) return qd_fail(f->ctx, QDISP_ECANCELLED, "forward: cancelled");
        QD_TRY(stage_task(&s, i, 0));
    }
    return QDISP_OK;
}

static qdisp_status run_batch(forward *f) {
    const qd_model_config *c = &f->model->config;
    double n_stages = (double)c->n_layer + 2, total = (double)f->n_chunks * n_stages;
    double before = (double)f->first_chunk * n_stages, each = (double)f->n_batch;
    QD_TRY(run_stage(f, before / total, embed_task));
    for (f->layer = 0; f->layer < c->n_layer; f->layer++) {
        load_weights(f, f->layer, true, f->widened);
        QD_TRY(run_stage(f, (before + each * (double)(f->layer + 1)) / total, block_task));
    }
    if (wants_head(f)) QD_TRY(run_stage(f, (before + each * (n_stages - 1)) / total, head_task));
    if (f->run->chunks_done) QD_TRY(f->run->chunks_done(f->run->user, f->first_chunk, f->n_batch));
    return QDISP_OK;
}

static qdisp_status run_all(forward *f) {
    f->n_chunks = qd_model_chunks(f->starts, f->n_seq, NULL);
    f->chunks = qd_alloc(f->ctx, f->n_chunks, sizeof *f->chunks);
    f->threaded_blas = qd_gemm_is_threaded(f->ctx);
    f->n_workers = f->threaded_blas ? 1 : qd_n_workers(f->ctx);
    f->scratch = qd_alloc(f->ctx, f->n_workers, sizeof *f->scratch);
    if (!f->chunks || !f->scratch) return QDISP_ENOMEM;
    qd_model_chunks(f->starts, f->n_seq, f->chunks);
    size_scratch(f);
    f->h = qd_alloc_aligned(f->ctx, f->max_batch_rows * f->model->config.n_embd, sizeof(float));
    if (!f->h) return QDISP_ENOMEM;
    QD_TRY(prepare_weights(f));
    for (; f->first_chunk < f->n_chunks; f->first_chunk += f->n_batch) {
        size_t left = f->n_chunks - f->first_chunk;
        f->n_batch = left < QD_RUN_MAX_CHUNKS ? left : QD_RUN_MAX_CHUNKS;
        QD_TRY(run_batch(f));
    }
    return qd_progress(f->ctx, "forward", 1.0);
}

qdisp_status qd_model_run(const qdisp_model *model, const int32_t *ids, const size_t *starts, size_t n_seq,
                          const qd_run *run) {
    forward f = {.model = model, .ctx = model->ctx, .run = run, .ids = ids, .starts = starts, .n_seq = n_seq};
    qdisp_status status = check_input(&f);
    if (status == QDISP_OK && n_seq) status = run_all(&f);
    for (unsigned i = 0; f.scratch && i < f.n_workers; i++) qd_free_aligned(f.ctx, f.scratch[i]);
    qd_free(f.ctx, f.scratch);
    qd_free(f.ctx, f.chunks);
    qd_free_aligned(f.ctx, f.h);
    qd_free_aligned(f.ctx, f.widened);
    qd_free_aligned(f.ctx, f.head);
    return status;
}

qdisp_status qdisp_model_forward(const qdisp_model *model, const int32_t *ids, size_t n_ids, float *logits) {
    if (!model) return QDISP_EINVAL;
    if (!ids || !n_ids || !logits) return qd_fail(model->ctx, QDISP_EINVAL, "forward: no ids or no place for logits");
    size_t starts[2] = {0, n_ids};
    qd_run run = {.logits = logits};
    return qd_model_run(model, ids, starts, 1, &run);
}

qdisp_status qdisp_model_nll(const qdisp_model *model, const int32_t *ids, const size_t *starts, size_t n_seq,
                             float *nll) {
    if (!model) return QDISP_EINVAL;
    if (n_seq && !nll) return qd_fail(model->ctx, QDISP_EINVAL, "forward: no place for nll");
    qd_run run = {.nll = nll};
    return qd_model_run(model, ids, starts, n_seq, &run);
}
