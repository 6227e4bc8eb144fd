/* forward.c - the forward pass over many sequences.
 *
 * Sequences are cut into chunks of whole sequences, and chunks into batches. A batch goes through the model layer by
 * layer: the layer's weights become f32 in panels once for all of it, then workers take chunk after chunk through the
 * layer, each with scratch of its own. Chunks depend on the input alone, so that results do not depend on threads. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "model/run.h"

/* Rows a chunk aims at: enough for full speed of a matrix product, and its rows of a layer stay within a 1 MiB L2. */
#define CHUNK_ROWS 256
/* Floats of a batch's residual stream, and the chunks that it has at least. */
#define BATCH_FLOATS ((size_t)16 << 20)
#define BATCH_CHUNKS_MIN 8
/* Elements that a worker loads at a time. */
#define PIECE_ELEMENTS ((size_t)1 << 16)

size_t qd_model_chunks(const size_t *starts, const size_t *source_starts, size_t n_seq, qd_chunk *chunks) {
    size_t n = 0;
    for (size_t first = 0, end; first < n_seq; first = end, n++) {
        for (end = first + 1; end < n_seq && starts[end + 1] - starts[first] <= CHUNK_ROWS &&
                              (!source_starts || source_starts[end + 1] - source_starts[first] <= CHUNK_ROWS);)
            end++;
        if (!chunks) continue;
        chunks[n] = (qd_chunk){.i_chunk = n, .i_seq = first, .n_seq = end - first, .i_row = starts[first],
                               .n_rows = starts[end] - starts[first]};
        if (!source_starts) continue;
        chunks[n].i_source = source_starts[first];
        chunks[n].n_source = source_starts[end] - source_starts[first];
    }
    return n;
}

/* --- input --- */

static qdisp_status check_ids(qd_forward *f, const char *what, const int32_t *ids, const size_t *starts) {
    const qd_model_config *c = &f->model->config;
    if (!ids || !starts) return qd_fail(f->ctx, QDISP_EINVAL, "forward: no %s or starts", what);
    if (starts[0] != 0) return qd_fail(f->ctx, QDISP_EINVAL, "forward: starts[0] is %zu, not 0", starts[0]);
    for (size_t s = 0; s < f->batch->n_seq; s++) {
        if (starts[s + 1] <= starts[s]) {
            return qd_fail(f->ctx, QDISP_EINVAL, "forward: sequence %zu is empty or starts[%zu] is less than the one "
                           "before", s, s + 1);
        }
        size_t n = starts[s + 1] - starts[s];
        /* BLAS counts in int, and a row of scores has a column a token. */
        if (n > INT32_MAX / QD_QUERY_ROWS) {
            return qd_fail(f->ctx, QDISP_EINVAL, "forward: sequence %zu has %zu tokens", s, n);
        }
        if (c->n_positions && n > c->n_positions) {
            return qd_fail(f->ctx, QDISP_EINVAL, "forward: sequence %zu has %zu tokens, the model reads at most %zu: "
                           "cut it into windows", s, n, c->n_positions);
        }
        if (n > f->sizes.longest) f->sizes.longest = n;
    }
    for (size_t i = 0; i < starts[f->batch->n_seq]; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= c->n_vocab) {
            return qd_fail(f->ctx, QDISP_EINVAL, "forward: id %d at position %zu is outside the vocabulary (%zu)",
                           (int)ids[i], i, c->n_vocab);
        }
    }
    return QDISP_OK;
}

static qdisp_status check_input(qd_forward *f) {
    const qdisp_batch *in = f->batch;
    bool has_encoder = f->model->config.kind == QDISP_MODEL_ENCODER_DECODER;
    QD_TRY(check_ids(f, "ids", in->ids, in->starts));
    if (has_encoder) QD_TRY(check_ids(f, "source_ids (this model has an encoder)", in->source_ids, in->source_starts));
    else if (in->source_ids) return qd_fail(f->ctx, QDISP_EINVAL, "forward: source_ids, but the model has no encoder");
    for (size_t i = 0; in->targets && i < in->starts[in->n_seq]; i++) {
        if (in->targets[i] < -1 || in->targets[i] >= (int64_t)f->model->config.n_vocab) {
            return qd_fail(f->ctx, QDISP_EINVAL, "forward: target %d at position %zu is outside the vocabulary (%zu)",
                           (int)in->targets[i], i, f->model->config.n_vocab);
        }
    }
    return QDISP_OK;
}

/* What each row has to predict, and what the decoder of an encoder-decoder model reads for it. */
static qdisp_status make_targets(qd_forward *f) {
    const qdisp_batch *in = f->batch;
    const qd_model_config *c = &f->model->config;
    size_t n = in->starts[in->n_seq];
    if (c->kind == QDISP_MODEL_ENCODER_DECODER) {
        if (!(f->shifted = qd_alloc(f->ctx, n, sizeof *f->shifted))) return QDISP_ENOMEM;
        memcpy(f->shifted + 1, in->ids, (n - 1) * sizeof *f->shifted);
        for (size_t s = 0; s < in->n_seq; s++)
            f->shifted[in->starts[s]] = c->decoder_start_id >= 0 ? c->decoder_start_id : 0;
    }
    f->targets = in->targets;
    if (f->targets) return QDISP_OK;
    int32_t *targets = f->own_targets = qd_alloc(f->ctx, n, sizeof *targets);
    if (!targets) return QDISP_ENOMEM;
    f->targets = targets;
    memcpy(targets, in->ids, n * sizeof *targets);
    if (c->kind != QDISP_MODEL_DECODER) return QDISP_OK;
    f->first_target = 1;
    memmove(targets, targets + 1, (n - 1) * sizeof *targets);
    for (size_t s = 0; s < in->n_seq; s++) targets[in->starts[s + 1] - 1] = -1;
    return QDISP_OK;
}

/* --- weights --- */

/* Linear maps go into panels (kernels.h), but for a backward pass, which reads them both ways. */
static bool in_panels(const qd_forward *f, const qdisp_tensor *t) {
    return !f->keep && t->n_dims == 2;
}

/* Floats that loading a tensor takes: 0 if it is used in place. */
static size_t n_loaded(const qd_forward *f, const qdisp_tensor *t) {
    if (in_panels(f, t)) return qd_panel_floats((size_t)t->shape[0], (size_t)t->shape[1]);
    bool in_place = t->dtype == QDISP_DTYPE_F32 && (uintptr_t)t->data % _Alignof(float) == 0;
    return in_place ? 0 : (size_t)(qd_tensor_n_elements(t) + 15) / 16 * 16; /* each begins at a cache line */
}

/* Pieces of tensors to load: whole panels, whole rows, or a stretch of one long row. */
typedef struct loading {
    const qdisp_tensor *t;
    const qd_kernels *kernels;
    size_t n_columns, first, end, piece; /* elements */
    bool panels;
    float *out; /* of element first */
} loading;

static qdisp_status load_task(void *arg, size_t i, unsigned i_worker) {
    const loading *l = arg;
    size_t first = l->first + i * l->piece, n = l->end - first < l->piece ? l->end - first : l->piece;
    float *to = l->out + (first - l->first);
    (void)i_worker;
    if (l->panels) {
        qd_panels_load(l->kernels, l->t, first / l->n_columns, n / l->n_columns, to);
        return QDISP_OK;
    }
    const float *x = qd_load_f32(l->kernels, l->t->data, (qdisp_dtype)l->t->dtype, first, n, to);
    if (x != to) memcpy(to, x, n * sizeof *to);
    return QDISP_OK;
}

qdisp_status qd_forward_load_rows(qd_forward *f, size_t i_tensor, size_t first, size_t n, float *buffer,
                                  const float **out) {
    const qdisp_tensor *t = &f->model->tensors[i_tensor];
    loading l = {.t = t, .kernels = f->ctx->kernels, .panels = in_panels(f, t), .out = buffer};
    l.n_columns = t->n_dims ? (size_t)t->shape[t->n_dims - 1] : 1;
    l.first = first * l.n_columns;
    l.end = (first + n) * l.n_columns;
    if (!n_loaded(f, t)) {
        *out = (const float *)t->data + l.first;
        return QDISP_OK;
    }
    size_t whole = l.n_columns * (l.panels ? QD_PANEL : 1);
    l.piece = whole < PIECE_ELEMENTS ? PIECE_ELEMENTS / whole * whole : whole;
    *out = buffer;
    size_t n_pieces = (l.end - l.first + l.piece - 1) / l.piece;
    if (n_pieces == 1) return load_task(&l, 0, 0);
    return qd_parallel(f->ctx, n_pieces, load_task, &l);
}

qdisp_status qd_forward_load(qd_forward *f, size_t i_tensor, float *buffer, const float **out) {
    const qdisp_tensor *t = &f->model->tensors[i_tensor];
    size_t n_rows = 1;
    for (uint32_t i = 0; i + 1 < t->n_dims; i++) n_rows *= (size_t)t->shape[i];
    return qd_forward_load_rows(f, i_tensor, 0, n_rows, buffer, out);
}

/* Rows of these are read one by one, or made into other tables. */
static bool is_table(qd_slot slot) {
    return slot == QD_SLOT_EMBED || slot == QD_SLOT_POSITION || slot == QD_SLOT_TYPE || slot == QD_SLOT_HEAD ||
           slot == QD_SLOT_RELATIVE || slot == QD_SLOT_ENCODER_RELATIVE;
}

/* Makes weights[] of a layer, or of the slots outside the layers; *used is the floats of buffer that it takes (NULL:
 * only counts). */
static qdisp_status load_slots(qd_forward *f, char where, size_t layer, float *buffer, size_t *used) {
    *used = 0;
    for (qd_slot slot = 0; slot < QD_N_SLOTS; slot++) {
        if (qd_slot_rows[slot].where != where || is_table(slot)) continue;
        size_t i = qd_model_index(f->model, layer, 0, slot);
        if (buffer) f->weights[slot] = NULL;
        if (i == QD_NONE) continue;
        if (buffer) QD_TRY(qd_forward_load(f, i, buffer + *used, &f->weights[slot]));
        *used += n_loaded(f, &f->model->tensors[i]);
    }
    return QDISP_OK;
}

qdisp_status qd_forward_load_layer(qd_forward *f) {
    size_t used;
    return load_slots(f, 'L', f->layer, f->layer_weights, &used);
}

static qdisp_status prepare_weights(qd_forward *f) {
    size_t n_model, n_layer = 0, n;
    load_slots(f, 'M', 0, NULL, &n_model);
    for (size_t i = 0; i < f->model->config.n_layer; i++) {
        load_slots(f, 'L', i, NULL, &n);
        if (n > n_layer) n_layer = n;
    }
    /* Not empty, so that load_slots sees a buffer even if all weights are f32 in place. */
    f->model_weights = qd_alloc_aligned(f->ctx, n_model + 16, sizeof(float));
    f->layer_weights = qd_alloc_aligned(f->ctx, n_layer + 16, sizeof(float));
    if (!f->model_weights || !f->layer_weights) return QDISP_ENOMEM;
    return load_slots(f, 'M', 0, f->model_weights, &n);
}

/* --- scratch and stages --- */

static void size_batches(qd_forward *f) {
    size_t n_embd = f->model->config.n_embd;
    for (size_t i = 0; i < f->n_chunks; i++) {
        f->sizes.chunk_rows = qd_larger(f->sizes.chunk_rows, f->chunks[i].n_rows);
        f->sizes.source_rows = qd_larger(f->sizes.source_rows, f->chunks[i].n_source);
    }
    size_t rows = qd_larger(f->sizes.chunk_rows, f->sizes.source_rows);
    f->batch_chunks = qd_larger(BATCH_FLOATS / (rows * n_embd), BATCH_CHUNKS_MIN);
    if (f->batch_chunks > QD_RUN_MAX_CHUNKS) f->batch_chunks = QD_RUN_MAX_CHUNKS;
    if (f->most_rows) f->batch_chunks = qd_larger(f->most_rows / rows, 1);
    if (f->keep) f->batch_chunks = f->n_chunks; /* a backward pass goes back over all of them */
    for (size_t i = 0; i < f->n_chunks; i += f->batch_chunks) {
        size_t n = 0, n_source = 0;
        for (size_t j = i; j < f->n_chunks && j < i + f->batch_chunks; j++) {
            n += f->chunks[j].n_rows;
            n_source += f->chunks[j].n_source;
        }
        f->batch_rows = qd_larger(f->batch_rows, n);
        f->batch_source_rows = qd_larger(f->batch_source_rows, n_source);
    }
}

static size_t score_floats(const qd_forward *f) {
    size_t n = f->sizes.longest < QD_QUERY_ROWS ? f->sizes.longest : QD_QUERY_ROWS;
    n = (f->keep ? 3 : 1) * n * f->sizes.longest;
    return qd_larger(n, 4 * f->sizes.chunk_rows) + 16; /* experts.c keeps the numbers of its rows there */
}

static size_t turn_floats(const qd_model_config *c, const qd_sizes *s) {
    return 2 * s->longest * (qd_larger(c->rope[0].n_rot, c->rope[1].n_rot) / 2) + 16;
}

size_t qd_forward_scratch_floats(const qd_forward *f) {
    const qd_model_config *c = &f->model->config;
    size_t in_block = qd_larger(qd_acts_plan(f->model, &f->sizes, false, NULL, NULL),
                             f->keep ? qd_acts_plan(f->model, &f->sizes, true, NULL, NULL) : 0);
    in_block += score_floats(f) + turn_floats(c, &f->sizes);
    if (!f->keep) in_block += qd_attend_floats(c, f->sizes.longest);
    return qd_larger(in_block, f->sizes.chunk_rows * c->n_vocab < QD_HEAD_TILE * f->sizes.chunk_rows
                                ? f->sizes.chunk_rows * c->n_vocab
                                : QD_HEAD_TILE * f->sizes.chunk_rows);
}

float *qd_forward_scratch(qd_forward *f, unsigned i_worker) {
    if (!f->scratch[i_worker]) f->scratch[i_worker] = qd_alloc_aligned(f->ctx, f->n_scratch, sizeof(float));
    return f->scratch[i_worker];
}

qd_block qd_forward_block(qd_forward *f, const qd_chunk *chunk, unsigned i_worker, float *scratch) {
    size_t n_embd = f->model->config.n_embd;
    const qd_chunk *first = &f->chunks[f->first_chunk];
    qd_block b = {
        .model = f->model,
        .kernels = f->ctx->kernels,
        .weights = f->weights,
        .panels = !f->keep,
        .positions = &f->positions,
        .run = f->run,
        .chunk = chunk,
        .starts = f->encoder ? f->batch->source_starts : f->batch->starts,
        .source_starts = f->batch->source_starts,
        .i_row = f->encoder ? chunk->i_source : chunk->i_row,
        .n_rows = f->encoder ? chunk->n_source : chunk->n_rows,
        .i_layer = f->layer,
        .encoder = f->encoder,
        .i_worker = i_worker,
        .scratch = scratch,
    };
    if (f->memory) b.memory = f->memory + (chunk->i_source - first->i_source) * n_embd;
    b.h = f->encoder ? (float *)(uintptr_t)b.memory : f->h + (chunk->i_row - first->i_row) * n_embd;
    b.scores = scratch + qd_acts_plan(f->model, &f->sizes, f->recompute, scratch, &b.a);
    b.turns = b.scores + score_floats(f);
    b.kv = b.turns + turn_floats(&f->model->config, &f->sizes);
    return b;
}

typedef struct stage {
    qd_forward *f;
    qd_stage task;
} stage;

static qdisp_status stage_task(void *arg, size_t i, unsigned i_worker) {
    const stage *s = arg;
    float *scratch = qd_forward_scratch(s->f, i_worker);
    if (!scratch) return QDISP_ENOMEM;
    qd_block b = qd_forward_block(s->f, &s->f->chunks[s->f->first_chunk + i], i_worker, scratch);
    return s->task(s->f, &b);
}

qdisp_status qd_forward_stage(qd_forward *f, qd_stage task) {
    stage s = {f, task};
    return qd_gemm_each(f->ctx, f->threaded_blas, f->n_batch, stage_task, &s);
}

/* --- the stages --- */

/* Adds row `row` of a table to x. */
static void add_row(const qd_block *b, qd_slot slot, size_t row, size_t n, float *x, float *buffer) {
    const qdisp_tensor *t = &b->model->tensors[qd_model_index(b->model, 0, 0, slot)];
    const float *from = qd_load_f32(b->kernels, t->data, (qdisp_dtype)t->dtype, row * n, n, buffer);
    qd_sum(x, from, n, x);
}

void qd_embed_rows(const qd_forward *f, const qd_block *b, float *out) {
    const qd_model_config *c = &f->model->config;
    const qdisp_tensor *t = &f->model->tensors[qd_model_index(f->model, 0, 0, QD_SLOT_EMBED)];
    const int32_t *ids = b->encoder ? f->batch->source_ids : f->shifted ? f->shifted : f->batch->ids;
    size_t n = c->n_word_embd;
    for (size_t r = 0; r < b->n_rows; r++) {
        float *row = out + r * n;
        const float *x = qd_load_f32(b->kernels, t->data, (qdisp_dtype)t->dtype, (size_t)ids[b->i_row + r] * n, n, row);
        if (x != row) memcpy(row, x, n * sizeof *row);
        for (size_t i = 0; c->embed_scale > 0 && i < n; i++) row[i] *= c->embed_scale;
    }
}

static void add_positions(const qd_forward *f, const qd_block *b) {
    const qd_model_config *c = &f->model->config;
    bool has_types = qd_model_index(f->model, 0, 0, QD_SLOT_TYPE) != QD_NONE;
    for (size_t s = b->chunk->i_seq; s < b->chunk->i_seq + b->chunk->n_seq; s++) {
        for (size_t p = 0; p < b->starts[s + 1] - b->starts[s]; p++) {
            float *x = b->h + (b->starts[s] + p - b->i_row) * c->n_embd;
            if (has_types) add_row(b, QD_SLOT_TYPE, 0, c->n_embd, x, b->a.normed);
            if (c->position == QD_POSITION_LEARNED)
                add_row(b, QD_SLOT_POSITION, p + c->position_offset, c->n_embd, x, b->a.normed);
            if (c->position == QD_POSITION_SINUSOIDAL) qd_sum(x, f->positions.sinusoid + p * c->n_embd, c->n_embd, x);
        }
    }
}

static qdisp_status tap_embedding(const qd_block *b) {
    qdisp_activation a = {.site = QDISP_SITE_RESIDUAL, .layer = -1, .i_linear = QD_NONE, .i_seq = b->chunk->i_seq,
                          .n_seq = b->chunk->n_seq, .starts = b->starts, .i_row = b->i_row, .n_rows = b->n_rows,
                          .n_cols = b->model->config.n_embd, .stride = b->model->config.n_embd, .data = b->h};
    return qd_tap_call(b, &a);
}

static qdisp_status embed_task(qd_forward *f, const qd_block *b) {
    const qd_model_config *c = &f->model->config;
    bool projected = qd_weight(b, QD_SLOT_PROJECT_IN) != NULL;
    qd_embed_rows(f, b, projected ? b->a.normed : b->h);
    if (projected) QD_TRY(qd_linear_run(b, QD_SLOT_PROJECT_IN, b->a.normed, b->n_rows, false, b->h, c->n_embd, false));
    add_positions(f, b);
    if (qd_weight(b, QD_SLOT_EMBED_NORM)) qd_norm_rows(b, QD_SLOT_EMBED_NORM, b->h, b->n_rows, b->h);
    return tap_embedding(b);
}

qdisp_status qd_forward_embed(qd_forward *f) {
    return qd_forward_stage(f, embed_task);
}

static qdisp_status block_task(qd_forward *f, const qd_block *b) {
    QD_TRY(qd_block_attention(b));
    QD_TRY(qd_block_mlp(b));
    return qd_tap_rows(b, QDISP_SITE_RESIDUAL, b->h, f->model->config.n_embd);
}

qdisp_status qd_forward_layer(qd_forward *f) {
    QD_TRY(qd_progress(f->ctx, "forward", f->done));
    f->done += f->step;
    QD_TRY(qd_forward_load_layer(f));
    return f->model->config.is_moe[f->layer] ? qd_experts_run(f) : qd_forward_stage(f, block_task);
}

static qdisp_status encoder_norm_task(qd_forward *f, const qd_block *b) {
    (void)f;
    qd_norm_rows(b, QD_SLOT_ENCODER_NORM, b->h, b->n_rows, b->h);
    return QDISP_OK;
}

qdisp_status qd_forward_encoder_norm(qd_forward *f) {
    return f->weights[QD_SLOT_ENCODER_NORM] ? qd_forward_stage(f, encoder_norm_task) : QDISP_OK;
}

static qdisp_status encode(qd_forward *f) {
    const qd_model_config *c = &f->model->config;
    if (c->kind != QDISP_MODEL_ENCODER_DECODER) return QDISP_OK;
    f->encoder = true;
    QD_TRY(qd_forward_embed(f));
    for (f->layer = 0; f->layer < c->n_encoder_layer; f->layer++) QD_TRY(qd_forward_layer(f));
    QD_TRY(qd_forward_encoder_norm(f));
    f->encoder = false;
    return QDISP_OK;
}

static qdisp_status run_batch(qd_forward *f) {
    const qd_model_config *c = &f->model->config;
    QD_TRY(encode(f));
    QD_TRY(qd_forward_embed(f));
    for (f->layer = c->n_encoder_layer; f->layer < c->n_layer; f->layer++) QD_TRY(qd_forward_layer(f));
    QD_TRY(qd_progress(f->ctx, "forward", f->done));
    f->done += f->step;
    if (f->run->nll || f->run->logits || f->run->tap_head) QD_TRY(qd_head_run(f));
    return f->run->chunks_done ? f->run->chunks_done(f->run->user, f->first_chunk, f->n_batch) : QDISP_OK;
}

/* --- the run --- */

qdisp_status qd_forward_begin(qd_forward *f, size_t extra) {
    const qdisp_batch *in = f->batch;
    size_t n_embd = f->model->config.n_embd;
    QD_TRY(check_input(f));
    QD_TRY(make_targets(f));
    for (size_t i = 0; f->run->nll && i < in->starts[in->n_seq]; i++) f->run->nll[i] = NAN;
    const size_t *source = in->source_ids ? in->source_starts : NULL;
    f->n_chunks = qd_model_chunks(in->starts, source, in->n_seq, NULL);
    f->chunks = qd_alloc(f->ctx, f->n_chunks, sizeof *f->chunks);
    f->threaded_blas = f->keep && qd_gemm_is_threaded(f->ctx);
    f->n_workers = f->threaded_blas ? 1 : qd_n_workers(f->ctx);
    f->scratch = qd_alloc(f->ctx, f->n_workers, sizeof *f->scratch);
    if (!f->chunks || !f->scratch) return QDISP_ENOMEM;
    qd_model_chunks(in->starts, source, in->n_seq, f->chunks);
    size_batches(f);
    f->n_scratch = qd_forward_scratch_floats(f) + extra;
    f->h = qd_alloc_aligned(f->ctx, f->batch_rows * n_embd, sizeof(float));
    if (source) f->memory = qd_alloc_aligned(f->ctx, f->batch_source_rows * n_embd, sizeof(float));
    if (!f->h || (source && !f->memory)) return QDISP_ENOMEM;
    QD_TRY(qd_positions_make(f->model, f->sizes.longest, &f->positions));
    return prepare_weights(f);
}

void qd_forward_end(qd_forward *f) {
    for (unsigned i = 0; f->scratch && i < f->n_workers; i++) qd_free_aligned(f->ctx, f->scratch[i]);
    qd_experts_free(f);
    qd_head_free(f);
    qd_positions_free(f->ctx, &f->positions);
    qd_free(f->ctx, f->scratch);
    qd_free(f->ctx, f->chunks);
    qd_free(f->ctx, f->own_targets);
    qd_free(f->ctx, f->shifted);
    qd_free_aligned(f->ctx, f->h);
    qd_free_aligned(f->ctx, f->memory);
    qd_free_aligned(f->ctx, f->model_weights);
    qd_free_aligned(f->ctx, f->layer_weights);
}

static qdisp_status run_all(qd_forward *f) {
    QD_TRY(qd_forward_begin(f, 0));
    size_t n_stages = (f->n_chunks + f->batch_chunks - 1) / f->batch_chunks * (f->model->config.n_layer + 1);
    f->step = 1.0 / (double)n_stages;
    for (; f->first_chunk < f->n_chunks; f->first_chunk += f->n_batch) {
        size_t left = f->n_chunks - f->first_chunk;
        f->n_batch = left < f->batch_chunks ? left : f->batch_chunks;
        QD_TRY(run_batch(f));
    }
    return qd_progress(f->ctx, "forward", 1.0);
}

qdisp_status qd_model_run(const qdisp_model *model, const qdisp_batch *batch, const qd_run *run) {
    qd_forward f = {.model = model, .ctx = model->ctx, .run = run, .batch = batch};
    if (!batch->n_seq) return QDISP_OK;
    qdisp_status status = run_all(&f);
    qd_forward_end(&f);
    return status;
}

qdisp_batch qd_batch_of(const int32_t *ids, const size_t *starts, size_t n_seq) {
    return (qdisp_batch){.size = sizeof(qdisp_batch), .ids = ids, .starts = starts, .n_seq = n_seq};
}

qdisp_status qdisp_model_forward(const qdisp_model *model, const int32_t *ids, size_t n_ids, float *logits) {
    if (!model) return QDISP_EINVAL;
    if (!ids || !n_ids || !logits) return qd_fail(model->ctx, QDISP_EINVAL, "forward: no ids or no place for logits");
    size_t starts[2] = {0, n_ids};
    qd_run run = {.logits = logits};
    qdisp_batch batch = qd_batch_of(ids, starts, 1);
    return qd_model_run(model, &batch, &run);
}

qdisp_status qdisp_model_nll(const qdisp_model *model, const int32_t *ids, const size_t *starts, size_t n_seq,
                             float *nll) {
    if (!model) return QDISP_EINVAL;
    if (n_seq && !nll) return qd_fail(model->ctx, QDISP_EINVAL, "forward: no place for nll");
    if (model->config.kind != QDISP_MODEL_DECODER) {
        return qd_fail(model->ctx, QDISP_EINVAL, "forward: a %s model needs %s: use qdisp_model_run",
                       model->arch->name, model->config.kind == QDISP_MODEL_MASKED ? "a mask id" : "source_ids");
    }
    qd_run run = {.nll = nll};
    qdisp_batch batch = qd_batch_of(ids, starts, n_seq);
    return qd_model_run(model, &batch, &run);
}
