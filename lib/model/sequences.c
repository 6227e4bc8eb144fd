/* sequences.c - what calibration and evaluation feed to a model, whatever its kind. */
#include "model/sequences.h"

#include <string.h>

/* --- how a model reads text --- */

static qdisp_status check_ids(const qd_frame *f, const int32_t *ids, size_t n) {
    size_t n_vocab = f->model->info.n_vocab;
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= n_vocab)
            return qd_fail(f->model->ctx, QDISP_EMISMATCH, "token id %d: the model's vocabulary has %zu: is this the "
                           "model's tokenizer?", (int)ids[i], n_vocab);
    return QDISP_OK;
}

qdisp_status qd_frame_make(const qdisp_model *model, const qdisp_tokenizer *tokenizer, qd_frame *out) {
    const qdisp_model_info *info = &model->info;
    qd_frame f = {.model = model, .tokenizer = tokenizer, .n_most = SIZE_MAX};
    bool adds = !qdisp_tokenizer_states_template(tokenizer);
    f.prefix = qdisp_tokenizer_prefix(tokenizer, &f.n_prefix);
    f.suffix = qdisp_tokenizer_suffix(tokenizer, &f.n_suffix);
    if (info->kind == QDISP_MODEL_DECODER) {
        f.n_suffix = 0; /* it ends a text, which nothing here does */
        if (!f.n_prefix && adds && info->bos_id >= 0) f.prefix = &info->bos_id, f.n_prefix = 1;
    }
    if (info->kind == QDISP_MODEL_ENCODER_DECODER && !f.n_suffix && adds && info->eos_id >= 0)
        f.suffix = &info->eos_id, f.n_suffix = 1;
    f.mask_id = info->kind == QDISP_MODEL_MASKED ? qdisp_tokenizer_mask_id(tokenizer) : -1;
    if (f.mask_id >= 0) QD_TRY(check_ids(&f, &f.mask_id, 1));
    QD_TRY(check_ids(&f, f.prefix, f.n_prefix));
    QD_TRY(check_ids(&f, f.suffix, f.n_suffix));
    if (info->n_positions) {
        if (f.n_prefix + f.n_suffix + 2 > info->n_positions)
            return qd_fail(model->ctx, QDISP_EMISMATCH, "the model reads %u tokens, the tokenizer's template alone has "
                           "%zu: is this the model's tokenizer?", (unsigned)info->n_positions, f.n_prefix + f.n_suffix);
        f.n_most = info->n_positions - f.n_prefix - f.n_suffix;
    }
    *out = f;
    return QDISP_OK;
}

qdisp_status qd_frame_scores(const qd_frame *frame) {
    if (frame->model->info.kind != QDISP_MODEL_MASKED || frame->mask_id >= 0) return QDISP_OK;
    return qd_fail(frame->model->ctx, QDISP_EMISMATCH, "a masked model (%s) needs a token that hides a word, and the "
                   "tokenizer has no special [MASK] or <mask>: is this the model's tokenizer?",
                   frame->model->info.architecture);
}

size_t qd_frame_first_scored(const qd_frame *f, size_t n) {
    if (f->model->info.kind == QDISP_MODEL_ENCODER_DECODER) return n / 2;
    return f->model->info.kind == QDISP_MODEL_DECODER && !f->n_prefix;
}

qdisp_status qd_frame_encode(const qd_frame *f, const char *text, size_t n_bytes, int32_t **ids, size_t **starts,
                             size_t *n) {
    qdisp_ctx *ctx = f->model->ctx;
    size_t cap = n_bytes + 1;
    int32_t *to = NULL;
    size_t *at = NULL;
    qdisp_status status = QDISP_OK;
    for (*n = cap + 1; *n > cap && status == QDISP_OK;) { /* again if a normalizer made the text longer */
        cap = *n;
        qd_free(ctx, to);
        qd_free(ctx, at);
        to = qd_alloc(ctx, cap, sizeof *to);
        at = qd_alloc(ctx, cap + 1, sizeof *at);
        status = to && at ? qdisp_tokenizer_encode(f->tokenizer, text, n_bytes, to, at, cap, n) : QDISP_ENOMEM;
    }
    if (status == QDISP_OK && *n == 0) status = qd_fail(ctx, QDISP_EINVAL, "the text has no tokens");
    if (status == QDISP_OK) status = check_ids(f, to, *n);
    if (status != QDISP_OK) {
        qd_free(ctx, to);
        qd_free(ctx, at);
        return status;
    }
    at[*n] = n_bytes;
    *ids = to;
    *starts = at;
    return QDISP_OK;
}

/* --- sequences --- */

void qd_sequences_reset(qd_sequences *s) {
    s->n_seq = 0;
}

void qd_sequences_clear(qd_sequences *s) {
    void *blocks[] = {s->ids, s->source_ids, s->starts, s->source_starts, s->targets, s->scored, s->text,
                      s->source_text};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) qd_free(s->ctx, blocks[i]);
    memset(s, 0, sizeof *s);
}

static qdisp_status grow(qd_sequences *s, size_t n_ids, size_t n_source) {
    size_t n = s->n_seq + 1;
    QD_TRY(qd_grow(s->ctx, (void **)&s->ids, &s->cap[0], n_ids, sizeof *s->ids));
    QD_TRY(qd_grow(s->ctx, (void **)&s->targets, &s->cap[1], n_ids, sizeof *s->targets));
    QD_TRY(qd_grow(s->ctx, (void **)&s->starts, &s->cap[2], n + 1, sizeof *s->starts));
    QD_TRY(qd_grow(s->ctx, (void **)&s->scored, &s->cap[3], n, sizeof *s->scored));
    QD_TRY(qd_grow(s->ctx, (void **)&s->text, &s->cap[4], n, sizeof *s->text));
    if (!n_source) return QDISP_OK;
    QD_TRY(qd_grow(s->ctx, (void **)&s->source_ids, &s->cap[5], n_source, sizeof *s->source_ids));
    QD_TRY(qd_grow(s->ctx, (void **)&s->source_starts, &s->cap[6], n + 1, sizeof *s->source_starts));
    return qd_grow(s->ctx, (void **)&s->source_text, &s->cap[7], n, sizeof *s->source_text);
}

/* Prefix, ids[n] and suffix at `at`. */
static void put(const qd_frame *f, const int32_t *ids, size_t n, int32_t *at) {
    if (f->n_prefix) memcpy(at, f->prefix, f->n_prefix * sizeof *at);
    if (n) memcpy(at + f->n_prefix, ids, n * sizeof *at);
    if (f->n_suffix) memcpy(at + f->n_prefix + n, f->suffix, f->n_suffix * sizeof *at);
}

static qdisp_status add_pair(qd_sequences *s, const int32_t *ids, size_t n) {
    const qd_frame *f = s->frame;
    size_t n_source = n / 2, around = f->n_prefix + f->n_suffix, i = s->n_seq;
    size_t at = i ? s->starts[i] : 0, source_at = i ? s->source_starts[i] : 0, end = at + n - n_source;
    if (n_source + around == 0)
        return qd_fail(s->ctx, QDISP_EINVAL, "a single token, and no template: the encoder would read nothing");
    QD_TRY(grow(s, end, source_at + n_source + around));
    put(f, ids, n_source, s->source_ids + source_at);
    memcpy(s->ids + at, ids + n_source, (n - n_source) * sizeof *ids);
    s->starts[0] = s->source_starts[0] = 0;
    s->starts[i + 1] = end;
    s->source_starts[i + 1] = source_at + n_source + around;
    s->scored[i] = (qd_row_span){at, end};
    s->text[i] = (qd_row_span){at + 1, end}; /* row 0 reads decoder_start_id, row r the token before its own */
    s->source_text[i] = (qd_row_span){source_at + f->n_prefix, source_at + f->n_prefix + n_source};
    return QDISP_OK;
}

static qdisp_status add_single(qd_sequences *s, const int32_t *ids, size_t n, size_t from) {
    const qd_frame *f = s->frame;
    size_t i = s->n_seq, at = i ? s->starts[i] : 0, end = at + f->n_prefix + n + f->n_suffix;
    size_t first = qd_frame_first_scored(f, n);
    QD_TRY(grow(s, end, 0));
    put(f, ids, n, s->ids + at);
    s->starts[0] = 0;
    s->starts[i + 1] = end;
    s->scored[i] = (qd_row_span){at + f->n_prefix + (from > first ? from : first), at + f->n_prefix + n};
    s->text[i] = s->scored[i];
    return QDISP_OK;
}

qdisp_status qd_sequences_add(qd_sequences *s, const int32_t *ids, size_t n, size_t from) {
    bool is_pair = s->frame->model->info.kind == QDISP_MODEL_ENCODER_DECODER;
    if (!n && (is_pair || !s->frame->n_prefix)) return qd_fail(s->ctx, QDISP_EINVAL, "no tokens");
    QD_TRY(is_pair ? add_pair(s, ids, n) : add_single(s, ids, n, from));
    size_t i = s->n_seq++;
    for (size_t r = s->starts[i]; r < s->starts[i + 1]; r++)
        s->targets[r] = r >= s->scored[i].first && r < s->scored[i].end ? s->ids[r] : -1;
    return QDISP_OK;
}

static qd_row_span shifted(qd_row_span span, size_t from, size_t to, size_t end) {
    span.first = span.first - from + to;
    span.end = span.end - from + to;
    if (span.end > end) span.end = end;
    return span;
}

qdisp_status qd_sequences_append(qd_sequences *s, const qd_sequences *others, size_t i, size_t n_most) {
    size_t from = others->starts[i], n = others->starts[i + 1] - from, k = s->n_seq, at = k ? s->starts[k] : 0;
    size_t lead = others->text[i].first - from, source_from = 0, n_source = 0;
    bool cut = s->frame->model->info.kind == QDISP_MODEL_DECODER && n > lead && n_most < n - lead;
    if (cut) n = lead + n_most;
    if (others->source_ids) {
        source_from = others->source_starts[i];
        n_source = others->source_starts[i + 1] - source_from;
    }
    size_t source_at = k && n_source ? s->source_starts[k] : 0;
    QD_TRY(grow(s, at + n, n_source ? source_at + n_source : 0));
    memcpy(s->ids + at, others->ids + from, n * sizeof *s->ids);
    memcpy(s->targets + at, others->targets + from, n * sizeof *s->targets);
    s->starts[0] = 0;
    s->starts[k + 1] = at + n;
    s->text[k] = shifted(others->text[i], from, at, at + n);
    s->scored[k] = shifted(others->scored[i], from, at, at + n);
    if (n_source) {
        memcpy(s->source_ids + source_at, others->source_ids + source_from, n_source * sizeof *s->source_ids);
        s->source_starts[0] = 0;
        s->source_starts[k + 1] = source_at + n_source;
        s->source_text[k] = shifted(others->source_text[i], source_from, source_at, source_at + n_source);
    }
    s->n_seq++;
    return QDISP_OK;
}

qdisp_batch qd_sequences_batch(const qd_sequences *s, bool scores) {
    qdisp_batch batch = qd_batch_of(s->ids, s->starts, s->n_seq);
    if (s->frame->model->info.kind == QDISP_MODEL_ENCODER_DECODER) {
        batch.source_ids = s->source_ids;
        batch.source_starts = s->source_starts;
    }
    if (scores && s->frame->model->info.kind == QDISP_MODEL_MASKED) {
        batch.mask_id_plus_1 = (int64_t)s->frame->mask_id + 1;
        batch.targets = s->targets;
    }
    return batch;
}

static qdisp_status slice_stack(qdisp_ctx *ctx, const int32_t *ids, const size_t *starts, const qd_row_span *text,
                                size_t n, int32_t **out_ids, size_t **out_starts, qd_row_span **out_text) {
    *out_ids = qd_alloc(ctx, starts[n] - *starts, sizeof **out_ids);
    *out_starts = qd_alloc(ctx, n + 1, sizeof **out_starts);
    *out_text = qd_alloc(ctx, n, sizeof **out_text);
    if (!*out_ids || !*out_starts || !*out_text) return QDISP_ENOMEM;
    memcpy(*out_ids, ids + *starts, (starts[n] - *starts) * sizeof *ids);
    for (size_t i = 0; i <= n; i++) (*out_starts)[i] = starts[i] - *starts;
    for (size_t i = 0; i < n; i++) (*out_text)[i] = (qd_row_span){text[i].first - *starts, text[i].end - *starts};
    return QDISP_OK;
}

qdisp_status qd_sequences_slice(const qd_sequences *s, size_t first, size_t n, qd_sequences *out) {
    qd_sequences t = {.ctx = s->ctx, .frame = s->frame, .n_seq = n};
    size_t base = s->starts[first], n_ids = s->starts[first + n] - base;
    qdisp_status status =
        slice_stack(s->ctx, s->ids, s->starts + first, s->text + first, n, &t.ids, &t.starts, &t.text);
    if (status == QDISP_OK && s->source_ids)
        status = slice_stack(s->ctx, s->source_ids, s->source_starts + first, s->source_text + first, n, &t.source_ids,
                             &t.source_starts, &t.source_text);
    t.targets = qd_alloc(s->ctx, n_ids, sizeof *t.targets);
    t.scored = qd_alloc(s->ctx, n, sizeof *t.scored);
    if (!t.targets || !t.scored) status = QDISP_ENOMEM;
    for (size_t i = 0; i < n && status == QDISP_OK; i++)
        t.scored[i] = (qd_row_span){s->scored[first + i].first - base, s->scored[first + i].end - base};
    if (status == QDISP_OK) {
        memcpy(t.targets, s->targets + base, n_ids * sizeof *t.targets);
        *out = t;
    } else {
        qd_sequences_clear(&t);
    }
    return status;
}

qdisp_batch qd_sequences_targets(qd_sequences *s, int32_t *targets, size_t *n_targets) {
    enum { EVERY = 7 };
    qdisp_model_kind kind = s->frame->model->config.kind;
    size_t ahead = kind == QDISP_MODEL_DECODER; /* row r predicts the next token, else its own */
    *n_targets = 0;
    for (size_t i = 0; i < s->n_seq; i++) {
        qd_row_span scored = s->scored[i];
        size_t n = scored.end - scored.first;
        for (size_t r = s->starts[i]; r < s->starts[i + 1]; r++) {
            bool wanted = r + ahead >= scored.first && r + ahead < scored.end;
            if (kind == QDISP_MODEL_MASKED && wanted)
                wanted = (r - scored.first) % EVERY == i % (n < EVERY ? n : (size_t)EVERY);
            targets[r] = wanted ? s->targets[r + ahead] : -1;
            if (wanted && kind == QDISP_MODEL_MASKED) s->ids[r] = s->frame->mask_id;
            *n_targets += wanted;
        }
    }
    qdisp_batch batch = qd_sequences_batch(s, false);
    batch.targets = targets;
    return batch;
}

/* --- lines --- */

void qd_lines_clear(qd_lines *l) {
    qdisp_ctx *ctx = l->sequences.ctx;
    qd_free(ctx, l->first);
    qd_free(ctx, l->n_bytes);
    qd_free(ctx, l->n_scored);
    qd_sequences_clear(&l->sequences);
    memset(l, 0, sizeof *l);
}

/* Adds the tokens of line i as one sequence, or as many as it needs. */
static qdisp_status add_line(qd_lines *l, size_t i, const int32_t *ids, const size_t *starts, size_t n) {
    qd_sequences *s = &l->sequences;
    const qd_frame *f = s->frame;
    bool is_pair = f->model->info.kind == QDISP_MODEL_ENCODER_DECODER;
    size_t most = is_pair && f->n_most <= SIZE_MAX / 2 ? 2 * f->n_most : f->n_most;
    for (size_t done = 0, first = 0, end; done < n; done = end) {
        if (done && !is_pair) first = n - (done - most / 2) < most ? n - most : done - most / 2;
        else first = done;
        end = n - first < most ? n : first + most;
        QD_TRY(qd_sequences_add(s, ids + first, end - first, done - first));
        size_t scored = is_pair || !done ? first + qd_frame_first_scored(f, end - first) : done;
        l->n_scored[i] += end - scored;
        l->n_bytes[i] += starts[end] - starts[scored];
    }
    l->first[i + 1] = s->n_seq;
    return QDISP_OK;
}

static qdisp_status encode_line(qd_lines *l, size_t i, const char *text, size_t n_bytes) {
    int32_t *ids;
    size_t *starts, n;
    QD_TRY(qd_frame_encode(l->sequences.frame, text, n_bytes, &ids, &starts, &n));
    qdisp_status status = add_line(l, i, ids, starts, n);
    qd_free(l->sequences.ctx, ids);
    qd_free(l->sequences.ctx, starts);
    return status;
}

qdisp_status qd_lines_make(const qd_frame *frame, const qdisp_corpus *corpus, size_t i_language, const size_t *lines,
                           size_t n, qd_lines *out) {
    qdisp_ctx *ctx = frame->model->ctx;
    qd_lines l = {.sequences = {.ctx = ctx, .frame = frame}, .n_lines = n};
    l.first = qd_alloc(ctx, n + 1, sizeof *l.first);
    l.n_bytes = qd_alloc(ctx, n, sizeof *l.n_bytes);
    l.n_scored = qd_alloc(ctx, n, sizeof *l.n_scored);
    qdisp_status status = l.first && l.n_bytes && l.n_scored ? QDISP_OK : QDISP_ENOMEM;
    for (size_t i = 0; i < n && status == QDISP_OK; i++) {
        size_t n_bytes, i_line = lines ? lines[i] : i;
        const char *text = qdisp_corpus_line(corpus, i_language, i_line, &n_bytes);
        status = text ? encode_line(&l, i, text, n_bytes) : qd_fail(ctx, QDISP_EINVAL, "there is no such line");
        if (status == QDISP_OK || status == QDISP_ENOMEM) continue;
        char reason[512];
        qd_copy_error(ctx, reason);
        qd_fail(ctx, status, "language %s, line %zu: %.400s", qdisp_corpus_language(corpus, i_language), i_line + 1,
                reason);
    }
    if (status == QDISP_OK) *out = l;
    else qd_lines_clear(&l);
    return status;
}
