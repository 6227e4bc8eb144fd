/* perplexity.c - the loss of one running text, in windows. */
#include "eval/eval.h"

#include <math.h>

#define DEFAULT_WINDOW 512
/* Rows that run at a time: some full batches of chunks, so that their losses are all that is held. */
#define RUN_ROWS ((size_t)1 << 15)

typedef struct perplexity {
    qd_frame frame;
    const int32_t *ids; /* [n] of the text */
    const size_t *starts;
    size_t n;
    size_t n_in, step, from; /* tokens of text in a window, from one to the next, and those that are only context */
    bool whole_only;         /* the last window is left out if it is not full */
    size_t max_windows;
    qd_sequences sequences;
    float *nll;
    size_t nll_cap;
    uint64_t n_windows, n_read, n_tokens, n_bytes;
    double sum, sum_squares;
} perplexity;

static qdisp_status check_window(perplexity *p, const qdisp_eval_text_options *o) {
    const qdisp_model_info *info = &p->frame.model->info;
    qdisp_ctx *ctx = p->frame.model->ctx;
    bool is_pair = info->kind == QDISP_MODEL_ENCODER_DECODER;
    size_t around = is_pair ? 0 : p->frame.n_prefix + p->frame.n_suffix, most = SIZE_MAX, window = o->window;
    if (p->frame.n_most != SIZE_MAX) most = is_pair ? 2 * p->frame.n_most : p->frame.n_most + around;
    if (!window) window = most < DEFAULT_WINDOW ? most : DEFAULT_WINDOW;
    if (window < around + 2 || window > most || window > INT32_MAX / 64)
        return qd_fail(ctx, QDISP_EINVAL, "window: %zu tokens, it must be %zu..%zu", window, around + 2,
                       most < INT32_MAX / 64 ? most : INT32_MAX / 64);
    if (o->replace_first && info->kind != QDISP_MODEL_DECODER)
        return qd_fail(ctx, QDISP_EINVAL, "replace_first: for decoders, %s is none", info->architecture);
    p->n_in = window - around;
    p->step = o->replace_first ? window : p->n_in;
    p->whole_only = o->replace_first != 0;
    p->max_windows = o->max_windows ? (size_t)o->max_windows : SIZE_MAX;
    size_t before = is_pair ? 0 : p->frame.n_prefix;
    p->from = o->min_context > before ? (size_t)o->min_context - before : 0;
    if (p->from >= p->n_in)
        return qd_fail(ctx, QDISP_EINVAL, "min_context: %llu tokens, nothing of a window of %zu is left to score",
                       (unsigned long long)o->min_context, window);
    return QDISP_OK;
}

/* Runs the windows that have been gathered, and forgets them. */
static qdisp_status run_windows(perplexity *p, size_t done) {
    qdisp_ctx *ctx = p->frame.model->ctx;
    qd_sequences *s = &p->sequences;
    if (!s->n_seq) return QDISP_OK;
    QD_TRY(qd_grow(ctx, (void **)&p->nll, &p->nll_cap, s->starts[s->n_seq], sizeof *p->nll));
    double n = (double)p->n, from = (double)(done - s->n_seq * p->step), to = (double)done;
    qd_progress_range range = qd_progress_enter(ctx, "evaluating", fmin(from / n, 1), fmin(to / n, 1));
    qdisp_status status = qd_sequences_nll(s, p->nll);
    qd_progress_leave(ctx, range);
    QD_TRY(status);
    for (size_t i = 0; i < s->n_seq; i++) {
        double sum = 0, squares = 0;
        for (size_t r = s->scored[i].first; r < s->scored[i].end; r++) {
            sum += (double)p->nll[r];
            squares += (double)p->nll[r] * (double)p->nll[r];
        }
        if (!isfinite(sum))
            return qd_fail(ctx, QDISP_ENUMERIC, "window %llu: the loss is not finite",
                           (unsigned long long)p->n_windows + 1);
        p->sum += sum;
        p->sum_squares += squares;
        p->n_tokens += s->scored[i].end - s->scored[i].first;
        p->n_windows++;
    }
    p->n_read += s->starts[s->n_seq] + (s->source_starts ? s->source_starts[s->n_seq] : 0);
    qd_sequences_reset(s);
    return QDISP_OK;
}

static qdisp_status run_text(perplexity *p) {
    bool is_pair = p->frame.model->info.kind == QDISP_MODEL_ENCODER_DECODER;
    qd_sequences *s = &p->sequences;
    size_t n_added = 0, at = 0;
    for (; at < p->n && n_added < p->max_windows; at += p->step, n_added++) {
        size_t n = p->n - at < p->n_in ? p->n - at : p->n_in, first = qd_frame_first_scored(&p->frame, n);
        if (p->whole_only && n < p->n_in) break;
        if (first < p->from) first = p->from;
        if (first >= n) continue; /* a short rest: all of it is context */
        QD_TRY(qd_sequences_add(s, p->ids + at, n, p->from));
        if (is_pair) s->scored[s->n_seq - 1].first = s->starts[s->n_seq - 1] + first - n / 2;
        p->n_bytes += p->starts[at + n] - p->starts[at + first];
        if (s->starts[s->n_seq] >= RUN_ROWS) QD_TRY(run_windows(p, at + p->step));
    }
    QD_TRY(run_windows(p, at));
    if (p->n_tokens) return QDISP_OK;
    return qd_fail(p->frame.model->ctx, QDISP_EINVAL, "the text has %zu tokens: too short for a window of %zu", p->n,
                   p->step);
}

static qdisp_status make_table(const perplexity *p, qdisp_table **out) {
    qdisp_table *t = NULL;
    QD_TRY(qdisp_table_new(p->frame.model->ctx, "perplexity", "Loss of the text", &t));
    qdisp_status status = QDISP_OK;
    double n = (double)p->n_tokens, mean = p->sum / n, variance = (p->sum_squares / n - mean * mean) / (n - 1);
    const struct {
        const char *name, *unit;
        double value;
    } numbers[] = {{"nll_nats", "nats", p->sum},
                   {"mean_nats", "nats/token", mean},
                   {"perplexity", "", exp(mean)},
                   {"perplexity_error", "", p->n_tokens > 1 ? exp(mean) * sqrt(fmax(variance, 0)) : NAN},
                   {"bpb", "bits/byte", p->n_bytes ? p->sum / QD_LN2 / (double)p->n_bytes : NAN}};
    const struct {
        const char *name, *unit;
        uint64_t value;
    } counts[] = {{"n_windows", "", p->n_windows}, {"n_read", "tokens", p->n_read}, {"n_tokens", "tokens", p->n_tokens},
                  {"n_bytes", "bytes", p->n_bytes}};
    size_t row = qd_table_row(t, &status);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        size_t column = qd_table_column(t, &status, counts[i].name, counts[i].unit, QDISP_COLUMN_I64);
        qd_table_i64(t, &status, row, column, (int64_t)counts[i].value);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        size_t column = qd_table_column(t, &status, numbers[i].name, numbers[i].unit, QDISP_COLUMN_F64);
        qd_table_f64(t, &status, row, column, numbers[i].value);
    }
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}

qdisp_status qdisp_eval_text(const qdisp_model *model, const qdisp_tokenizer *tokenizer, const char *text,
                             size_t n_bytes, const qdisp_eval_text_options *options, qdisp_table **out) {
    if (!model) return QDISP_EINVAL;
    if (!tokenizer || !text || !out)
        return qd_fail(model->ctx, QDISP_EINVAL, "qdisp_eval_text: %s is NULL",
                       !tokenizer ? "tokenizer" : !text ? "text" : "out");
    qdisp_eval_text_options given;
    perplexity p = {.sequences = {.ctx = model->ctx, .frame = &p.frame}};
    int32_t *ids = NULL;
    size_t *starts = NULL;
    QD_TRY(qd_copy_options(model->ctx, "eval text options", options, &given, sizeof given));
    QD_TRY(qd_frame_make(model, tokenizer, &p.frame));
    QD_TRY(qd_frame_scores(&p.frame));
    if (given.no_bos && model->info.kind == QDISP_MODEL_DECODER) {
        p.frame.n_most += p.frame.n_most == SIZE_MAX ? 0 : p.frame.n_prefix;
        p.frame.n_prefix = 0;
    }
    QD_TRY(check_window(&p, &given));
    QD_TRY(qd_frame_encode(&p.frame, text, n_bytes, &ids, &starts, &p.n));
    p.ids = ids;
    p.starts = starts;
    qdisp_status status = run_text(&p);
    if (status == QDISP_OK) status = qd_progress(model->ctx, "evaluating", 1);
    if (status == QDISP_OK) status = make_table(&p, out);
    qd_sequences_clear(&p.sequences);
    qd_free(model->ctx, p.nll);
    qd_free(model->ctx, ids);
    qd_free(model->ctx, starts);
    return status;
}
