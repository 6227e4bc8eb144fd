/* calibrate.c - the accumulator: made, fed, merged, asked. Sums are f64 and added in a fixed order. */
#include "calib/calib.h"

#include "kernels/kernels.h"
#include "model/sequences.h"

#include <math.h>
#include <string.h>

qdisp_status qd_calib_make(qdisp_ctx *ctx, size_t n_linears, size_t n_layer, size_t n_embd, qdisp_calib **out) {
    qdisp_calib *c = qd_alloc(ctx, 1, sizeof *c);
    if (!c) return QDISP_ENOMEM;
    c->ctx = qd_ctx_ref(ctx);
    c->n_layer = n_layer;
    c->n_embd = n_embd;
    c->names = qd_alloc(ctx, n_linears, sizeof *c->names);
    c->n_in = qd_alloc(ctx, n_linears, sizeof *c->n_in);
    c->offsets = qd_alloc(ctx, n_linears, sizeof *c->offsets);
    c->n_out = qd_alloc(ctx, n_linears, sizeof *c->n_out);
    c->out_offsets = qd_alloc(ctx, n_linears, sizeof *c->out_offsets);
    if (!c->names || !c->n_in || !c->offsets || !c->n_out || !c->out_offsets) {
        qdisp_calib_free(c);
        return QDISP_ENOMEM;
    }
    c->n_linears = n_linears;
    *out = c;
    return QDISP_OK;
}

qdisp_status qd_calib_layout(qdisp_calib *c) {
    c->total = c->total_out = 0;
    for (size_t i = 0; i < c->n_linears; i++) {
        c->offsets[i] = c->total;
        c->out_offsets[i] = c->total_out;
        if (c->n_in[i] == 0 || c->n_in[i] > SIZE_MAX / 16 - c->total || c->n_out[i] > SIZE_MAX / 16 - c->total_out)
            return qd_fail(c->ctx, QDISP_EFORMAT, "linear map %s: %zu inputs, %zu outputs", c->names[i], c->n_in[i],
                           c->n_out[i]);
        c->total += c->n_in[i];
        c->total_out += c->n_out[i];
    }
    return QDISP_OK;
}

qdisp_status qdisp_calib_new(const qdisp_model *model, qdisp_calib **out) {
    qdisp_calib *c;
    QD_TRY(qd_calib_make(model->ctx, model->n_linears, model->info.n_layer, model->info.n_embd, &c));
    qdisp_status status = QDISP_OK;
    for (size_t i = 0; i < c->n_linears && status == QDISP_OK; i++) {
        c->n_in[i] = model->linears[i].n_in;
        c->n_out[i] = model->linears[i].n_out;
        c->names[i] = qd_strdup(c->ctx, model->tensors[model->linears[i].i_weight].name);
        if (!c->names[i]) status = QDISP_ENOMEM;
    }
    if (status == QDISP_OK) status = qd_calib_layout(c);
    if (status == QDISP_OK) *out = c;
    else qdisp_calib_free(c);
    return status;
}

void qd_calib_fold_clear(const qdisp_calib *c, qd_calib_fold *f) {
    qd_free(c->ctx, f->squares);
    qd_free(c->ctx, f->n_rows);
    qd_free(c->ctx, f->abs_sums);
    qd_free(c->ctx, f->gradients);
    memset(f, 0, sizeof *f);
}

static qdisp_status fold_new(const qdisp_calib *c, qd_calib_fold *f) {
    memset(f, 0, sizeof *f);
    f->squares = qd_alloc(c->ctx, c->total, sizeof *f->squares);
    f->n_rows = qd_alloc(c->ctx, c->n_linears, sizeof *f->n_rows);
    f->abs_sums = qd_alloc(c->ctx, c->n_layer + 1, sizeof *f->abs_sums);
    if (f->squares && f->n_rows && f->abs_sums) return QDISP_OK;
    qd_calib_fold_clear(c, f);
    return QDISP_ENOMEM;
}

qdisp_status qd_calib_fold_gradients(const qdisp_calib *c, qd_calib_fold *f) {
    if (!f->gradients) f->gradients = qd_alloc(c->ctx, c->total_out, sizeof *f->gradients);
    return f->gradients ? QDISP_OK : QDISP_ENOMEM;
}

void qdisp_calib_free(qdisp_calib *c) {
    if (!c) return;
    for (size_t i = 0; i < c->n_languages; i++) {
        qd_free(c->ctx, c->languages[i].tag);
        for (size_t f = 0; f < QD_N_FOLDS; f++) qd_calib_fold_clear(c, &c->languages[i].folds[f]);
    }
    qd_free(c->ctx, c->languages);
    for (size_t i = 0; i < c->n_linears; i++) qd_free(c->ctx, c->names[i]);
    qd_free(c->ctx, c->names);
    qd_free(c->ctx, c->n_in);
    qd_free(c->ctx, c->offsets);
    qd_free(c->ctx, c->n_out);
    qd_free(c->ctx, c->out_offsets);
    qdisp_ctx *ctx = c->ctx;
    qd_free(ctx, c);
    qdisp_ctx_free(ctx);
}

size_t qd_calib_find(const qdisp_calib *c, const char *tag) {
    for (size_t i = 0; i < c->n_languages; i++)
        if (!strcmp(c->languages[i].tag, tag)) return i;
    return (size_t)-1;
}

qdisp_status qd_calib_get(qdisp_calib *c, const char *tag, size_t *i_language) {
    *i_language = qd_calib_find(c, tag);
    if (*i_language != (size_t)-1) return QDISP_OK;
    QD_TRY(qd_grow(c->ctx, (void **)&c->languages, &c->cap, c->n_languages + 1, sizeof *c->languages));
    qd_calib_language language = {.tag = qd_strdup(c->ctx, tag)};
    qdisp_status status = language.tag ? fold_new(c, &language.folds[0]) : QDISP_ENOMEM;
    if (status == QDISP_OK) status = fold_new(c, &language.folds[1]);
    if (status != QDISP_OK) {
        qd_calib_fold_clear(c, &language.folds[0]);
        qd_free(c->ctx, language.tag);
        return status;
    }
    *i_language = c->n_languages;
    c->languages[c->n_languages++] = language;
    return QDISP_OK;
}

qdisp_status qd_calib_check(const qdisp_calib *c, const qdisp_model *model) {
    bool same = c->n_linears == model->n_linears && c->n_layer == model->info.n_layer;
    for (size_t i = 0; same && i < c->n_linears; i++)
        same = c->n_in[i] == model->linears[i].n_in && (!c->total_out || c->n_out[i] == model->linears[i].n_out) &&
               !strcmp(c->names[i], model->tensors[model->linears[i].i_weight].name);
    return same ? QDISP_OK
                : qd_fail(c->ctx, QDISP_EMISMATCH, "the calibration is of another model: calibrate this one first");
}

bool qd_calib_energy(const qdisp_calib *c, size_t i_language, size_t fold, size_t i_linear, double *out) {
    const qd_calib_language *language = &c->languages[i_language];
    size_t n_in = c->n_in[i_linear], offset = c->offsets[i_linear];
    uint64_t n_rows = 0;
    memset(out, 0, n_in * sizeof *out);
    for (size_t f = 0; f < QD_N_FOLDS; f++) {
        if (fold != QD_N_FOLDS && f != fold) continue;
        n_rows += language->folds[f].n_rows[i_linear];
        for (size_t j = 0; j < n_in; j++) out[j] += language->folds[f].squares[offset + j];
    }
    for (size_t j = 0; n_rows > 0 && j < n_in; j++) out[j] /= (double)n_rows;
    return n_rows > 0;
}

bool qd_calib_gradient(const qdisp_calib *c, size_t i_language, size_t i_linear, double *out) {
    const qd_calib_language *language = &c->languages[i_language];
    uint64_t n_scored = 0;
    memset(out, 0, c->n_out[i_linear] * sizeof *out);
    for (size_t f = 0; f < QD_N_FOLDS; f++) {
        const double *g = language->folds[f].gradients;
        n_scored += language->folds[f].n_scored;
        for (size_t j = 0; g && j < c->n_out[i_linear]; j++) out[j] += g[c->out_offsets[i_linear] + j];
    }
    for (size_t j = 0; n_scored && j < c->n_out[i_linear]; j++) out[j] /= (double)n_scored;
    return n_scored > 0;
}

double qd_calib_tokens_per_byte(const qdisp_calib *c, size_t i_language) {
    const qd_calib_fold *f = c->languages[i_language].folds;
    uint64_t n_bytes = f[0].n_bytes + f[1].n_bytes;
    /* rows fed by a host count through the first map that has any */
    uint64_t n_tokens = f[0].n_tokens + f[1].n_tokens;
    for (size_t i = 0; n_tokens == 0 && i < c->n_linears; i++) n_tokens = f[0].n_rows[i] + f[1].n_rows[i];
    return n_bytes > 0 ? (double)n_tokens / (double)n_bytes : NAN;
}

static qdisp_status check_finite(const qdisp_calib *c, const char *tag, const qd_calib_fold *f) {
    for (size_t i = 0; i < c->n_linears; i++)
        for (size_t j = 0; j < c->n_in[i]; j++)
            if (!isfinite(f->squares[c->offsets[i] + j]))
                return qd_fail(c->ctx, QDISP_ENUMERIC, "language %s: the input %zu of %s is not finite", tag, j,
                               c->names[i]);
    return QDISP_OK;
}

static void fold_add(const qdisp_calib *c, qd_calib_fold *into, const qd_calib_fold *from) {
    for (size_t j = 0; j < c->total; j++) into->squares[j] += from->squares[j];
    for (size_t i = 0; i < c->n_linears; i++) into->n_rows[i] += from->n_rows[i];
    for (size_t i = 0; i <= c->n_layer; i++) into->abs_sums[i] += from->abs_sums[i];
    for (size_t j = 0; from->gradients && j < c->total_out; j++) into->gradients[j] += from->gradients[j];
    into->n_scored += from->n_scored;
    into->n_tokens += from->n_tokens;
    into->n_bytes += from->n_bytes;
}

qdisp_status qdisp_calib_merge(qdisp_calib *into, const qdisp_calib *from) {
    bool same = into->n_linears == from->n_linears && into->n_layer == from->n_layer;
    for (size_t i = 0; same && i < into->n_linears; i++)
        same = into->n_in[i] == from->n_in[i] && !strcmp(into->names[i], from->names[i]) &&
               (into->n_out[i] == from->n_out[i] || !into->total_out || !from->total_out);
    if (!same) return qd_fail(into->ctx, QDISP_EMISMATCH, "the two calibrations are of unlike models");
    if (!into->total_out) {
        memcpy(into->n_out, from->n_out, from->n_linears * sizeof *into->n_out);
        QD_TRY(qd_calib_layout(into));
    }
    for (size_t l = 0; l < from->n_languages; l++) { /* all that can fail comes first */
        size_t i_language;
        QD_TRY(qd_calib_get(into, from->languages[l].tag, &i_language));
        for (size_t f = 0; f < QD_N_FOLDS; f++)
            if (from->languages[l].folds[f].gradients)
                QD_TRY(qd_calib_fold_gradients(into, &into->languages[i_language].folds[f]));
    }
    for (size_t l = 0; l < from->n_languages; l++) {
        qd_calib_language *language = &into->languages[qd_calib_find(into, from->languages[l].tag)];
        for (size_t f = 0; f < QD_N_FOLDS; f++) fold_add(into, &language->folds[f], &from->languages[l].folds[f]);
    }
    return QDISP_OK;
}

qdisp_status qdisp_calib_feed(qdisp_calib *c, const char *language, int guard, const char *tensor, const float *rows,
                              size_t n_rows, size_t n_in, size_t n_bytes) {
    size_t i = 0, i_language;
    while (i < c->n_linears && strcmp(c->names[i], tensor)) i++;
    if (i == c->n_linears) return qd_fail(c->ctx, QDISP_ENOTFOUND, "the model has no linear map '%s'", tensor);
    if (n_in != c->n_in[i] || !language || !*language)
        return qd_fail(c->ctx, QDISP_EINVAL, "%s has %zu inputs, the rows %zu (language '%s')", tensor, c->n_in[i],
                       n_in, language ? language : "");
    for (size_t k = 0; k < n_rows * n_in; k++)
        if (!isfinite(rows[k]))
            return qd_fail(c->ctx, QDISP_ENUMERIC, "language %s, %s: row %zu, input %zu is not finite", language,
                           tensor, k / n_in, k % n_in);
    QD_TRY(qd_calib_get(c, language, &i_language));
    qd_calib_fold *f = &c->languages[i_language].folds[guard ? 1 : 0];
    c->ctx->kernels->column_squares(rows, n_rows, n_in, n_in, f->squares + c->offsets[i]);
    f->n_rows[i] += n_rows;
    f->n_bytes += n_bytes;
    return QDISP_OK;
}

/* One run over the lines of a language and fold. Chunks have accumulators of their own, merged in their order, so that
 * the sums do not depend on the number of threads. */
typedef struct collector {
    const qdisp_calib *calib;
    const qd_sequences *sequences;
    qd_calib_fold chunks[QD_RUN_MAX_CHUNKS];
    qd_calib_fold sum;
} collector;

static qd_calib_fold *fold_of(collector *k, const qdisp_activation *a) {
    return &k->chunks[a->i_chunk % QD_RUN_MAX_CHUNKS];
}

static void add_squares(void *user, const qdisp_activation *a, size_t first, size_t n) {
    const collector *k = user;
    const qdisp_calib *c = k->calib;
    qd_calib_fold *f = fold_of(user, a);
    size_t n_in = c->n_in[a->i_linear];
    c->ctx->kernels->column_squares(a->data + first * a->stride, n, n_in, a->stride,
                                    f->squares + c->offsets[a->i_linear]);
    f->n_rows[a->i_linear] += n;
}

/* Rows of text by sequence, in the stack that the activation is of. */
static const qd_row_span *text_of(const qd_sequences *s, const qdisp_activation *a) {
    return a->starts == s->starts ? s->text : s->source_text;
}

/* An expert sees only some rows. */
void qd_calib_text_rows(const qd_sequences *sequences, const qdisp_activation *a, qd_calib_add add, void *user) {
    const qd_row_span *text = text_of(sequences, a);
    size_t s = a->i_seq;
    for (size_t r = 0; a->rows && r < a->n_rows; r++) {
        size_t at = a->i_row + a->rows[r];
        while (a->starts[s + 1] <= at) s++;
        if (at >= text[s].first && at < text[s].end) add(user, a, r, 1);
    }
    for (; !a->rows && s < a->i_seq + a->n_seq; s++)
        if (text[s].end > text[s].first) add(user, a, text[s].first - a->i_row, text[s].end - text[s].first);
}

static void on_residual(const collector *k, qd_calib_fold *f, const qdisp_activation *a) {
    const qd_row_span *text = text_of(k->sequences, a);
    for (size_t s = a->i_seq; s < a->i_seq + a->n_seq; s++) {
        if (text[s].end <= text[s].first) continue;
        size_t first = text[s].first - a->i_row, n_rows = text[s].end - text[s].first;
        f->abs_sums[a->layer + 1] +=
            k->calib->ctx->kernels->abs_sum(a->data + first * a->stride, n_rows * a->n_cols);
        if (a->layer < 0) f->n_tokens += n_rows;
    }
}

static int on_activation(void *user, qdisp_activation *a) {
    collector *k = user;
    if (a->site == QDISP_SITE_RESIDUAL) on_residual(k, fold_of(k, a), a);
    else qd_calib_text_rows(k->sequences, a, add_squares, k);
    return 0;
}

static qdisp_status on_chunks_done(void *user, size_t i_chunk, size_t n_chunks) {
    collector *k = user;
    const qdisp_calib *c = k->calib;
    for (size_t i = i_chunk; i < i_chunk + n_chunks; i++) {
        qd_calib_fold *f = &k->chunks[i % QD_RUN_MAX_CHUNKS];
        fold_add(c, &k->sum, f);
        memset(f->squares, 0, c->total * sizeof *f->squares);
        memset(f->n_rows, 0, c->n_linears * sizeof *f->n_rows);
        memset(f->abs_sums, 0, (c->n_layer + 1) * sizeof *f->abs_sums);
        f->n_tokens = 0;
    }
    return QDISP_OK;
}

/* Blocks of an encoder-decoder model see their own stack's rows only: their sums are scaled up to all of them, so that
 * the mean of every layer is its sum over n_tokens. */
static void scale_stacks(collector *k, const qdisp_model_info *info) {
    const qd_sequences *s = k->sequences;
    uint64_t n_source = 0;
    for (size_t i = 0; s->source_text && i < s->n_seq; i++) n_source += s->source_text[i].end - s->source_text[i].first;
    for (size_t i = 0; n_source && i < info->n_layer; i++) {
        uint64_t n = i < info->n_encoder_layer ? n_source : k->sum.n_tokens - n_source;
        if (n) k->sum.abs_sums[i + 1] *= (double)k->sum.n_tokens / (double)n;
    }
}

static qdisp_status collect_energies(qdisp_calib *c, size_t i_language, qd_calib_fold *fold, const qd_lines *lines) {
    const qdisp_model *model = lines->sequences.frame->model;
    collector *k = qd_alloc(c->ctx, 1, sizeof *k);
    if (!k) return QDISP_ENOMEM;
    k->calib = c;
    k->sequences = &lines->sequences;
    qdisp_batch batch = qd_sequences_batch(k->sequences, false);
    qdisp_status status = fold_new(c, &k->sum);
    size_t n_chunks = qd_model_chunks(batch.starts, batch.source_starts, batch.n_seq, NULL);
    for (size_t i = 0; i < QD_RUN_MAX_CHUNKS && i < n_chunks && status == QDISP_OK; i++)
        status = fold_new(c, &k->chunks[i]);
    qd_run run = {.user = k, .tap = on_activation, .chunks_done = on_chunks_done, .tap_head = true,
                  .sites = QDISP_SITE_BIT(QDISP_SITE_LINEAR_IN) | QDISP_SITE_BIT(QDISP_SITE_RESIDUAL)};
    if (status == QDISP_OK) status = qd_model_run(model, &batch, &run);
    if (status == QDISP_OK) status = check_finite(c, c->languages[i_language].tag, &k->sum);
    if (status == QDISP_OK) scale_stacks(k, &model->info);
    for (size_t i = 0; i < lines->n_lines; i++) k->sum.n_bytes += lines->n_bytes[i];
    if (status == QDISP_OK) fold_add(c, fold, &k->sum);
    for (size_t i = 0; i < QD_RUN_MAX_CHUNKS; i++) qd_calib_fold_clear(c, &k->chunks[i]);
    qd_calib_fold_clear(c, &k->sum);
    qd_free(c->ctx, k);
    return status;
}

/* Lines of a fold: every QD_GUARD_EVERY-th guards. A corpus of fewer lines has an empty guard fold. */
size_t qd_calib_fold_lines(size_t n_lines, size_t fold, size_t *lines) {
    size_t n = 0;
    for (size_t i = 0; i < n_lines; i++)
        if ((i % QD_GUARD_EVERY == QD_GUARD_EVERY - 1) == (fold == 1)) lines[n++] = i;
    return n;
}

static qdisp_status collect_language(qdisp_calib *c, const qd_frame *frame, const qdisp_corpus *corpus, size_t l,
                                     qd_calib_pass pass) {
    size_t n_lines = qdisp_corpus_n_lines(corpus), i_language;
    QD_TRY(qd_calib_get(c, qdisp_corpus_language(corpus, l), &i_language));
    size_t *lines = qd_alloc(c->ctx, n_lines, sizeof *lines);
    if (!lines) return QDISP_ENOMEM;
    qdisp_status status = QDISP_OK;
    for (size_t fold = 0; fold < QD_N_FOLDS && status == QDISP_OK; fold++) {
        qd_lines text;
        size_t n = qd_calib_fold_lines(n_lines, fold, lines);
        if (n == 0) continue;
        status = qd_lines_make(frame, corpus, l, lines, n, &text);
        if (status != QDISP_OK) break;
        const double ends[] = {0, 1 - 1.0 / QD_GUARD_EVERY, 1};
        qd_progress_range range = qd_progress_enter(c->ctx, "calibrating", ends[fold], ends[fold + 1]);
        status = pass(c, i_language, &c->languages[i_language].folds[fold], &text);
        qd_progress_leave(c->ctx, range);
        qd_lines_clear(&text);
    }
    qd_free(c->ctx, lines);
    return status;
}

qdisp_status qd_calib_collect(qdisp_calib *calib, const qdisp_model *model, const qdisp_tokenizer *tokenizer,
                              const qdisp_corpus *corpus, qd_calib_pass pass) {
    qdisp_calib *fresh;
    qd_frame frame;
    QD_TRY(qd_calib_check(calib, model));
    QD_TRY(qd_frame_make(model, tokenizer, &frame));
    QD_TRY(qdisp_calib_new(model, &fresh));
    qdisp_status status = QDISP_OK;
    size_t n = qdisp_corpus_n_languages(corpus);
    for (size_t l = 0; l < n && status == QDISP_OK; l++) {
        status = qd_progress(calib->ctx, "calibrating", (double)l / (double)n);
        qd_progress_range range =
            qd_progress_enter(calib->ctx, "calibrating", (double)l / (double)n, (double)(l + 1) / (double)n);
        if (status == QDISP_OK) status = collect_language(fresh, &frame, corpus, l, pass);
        qd_progress_leave(calib->ctx, range);
    }
    if (status == QDISP_OK) status = qdisp_calib_merge(calib, fresh);
    if (status == QDISP_OK) status = qd_progress(calib->ctx, "calibrating", 1);
    qdisp_calib_free(fresh);
    return status;
}

qdisp_status qdisp_calib_collect(qdisp_calib *calib, const qdisp_model *model, const qdisp_tokenizer *tokenizer,
                                 const qdisp_corpus *corpus) {
    return qd_calib_collect(calib, model, tokenizer, corpus, collect_energies);
}
