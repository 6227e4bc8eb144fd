/* superweights.c - single weights that a model cannot do without (la-aciq section 6). Candidates are found by size
 * alone, in the outputs of attention and feed-forward networks, and by what the gradients of each language foretell of
 * their removal: first order -w dL/dw, second order 1/2 w^2 g_i e_j. Each is then removed and the loss measured. */
#include "calib/damage.h"
#include "eval/eval.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MOST 64
enum { N_CRITERIA = 3, BY_SIZE = 0, BY_FIRST, BY_SECOND };

typedef struct candidate {
    size_t i_linear;
    uint64_t at; /* row * n_in + column */
    float w;
    double key;             /* of the criterion that it is ranked by */
    unsigned found_by;      /* bits of criteria */
    double sigmas, first, second; /* bits per byte, of the language that has most */
} candidate;

/* The best by key, descending; each weight once, with its largest key. */
typedef struct ranking {
    candidate items[MOST];
    size_t n, most;
} ranking;

typedef struct search {
    const qdisp_model *model;
    qdisp_ctx *ctx;
    qdisp_calib *calib;
    qd_frame frame;
    const qdisp_corpus *corpus;
    ranking by[N_CRITERIA];
    candidate all[N_CRITERIA * MOST];
    size_t n_all;
    float *buffer; /* [widest map's row] */
    /* of the language under way */
    double scale;  /* from a sum of nats to bits per byte */
    bool counting; /* not looking for candidates any more: their first order is wanted */
    double sums[N_CRITERIA * MOST];
} search;

static void offer(ranking *r, candidate c) {
    size_t k = 0, at;
    if (r->n == r->most && !(c.key > r->items[r->n - 1].key)) return;
    while (k < r->n && (r->items[k].i_linear != c.i_linear || r->items[k].at != c.at)) k++;
    if (k < r->n && r->items[k].key >= c.key) return;
    if (k == r->n && r->n < r->most) r->n++;
    if (k == r->n) k--; /* the last makes room */
    for (at = k; at > 0 && r->items[at - 1].key < c.key; at--) r->items[at] = r->items[at - 1];
    r->items[at] = c;
}

static double threshold(const ranking *r) {
    return r->n < r->most ? 0 : r->items[r->n - 1].key;
}

static const float *row_of(const search *s, size_t i, size_t row) {
    const qd_linear *linear = &s->model->linears[i];
    const qdisp_tensor *t = &s->model->tensors[linear->i_weight];
    return qd_load_f32(s->ctx->kernels, t->data, (qdisp_dtype)t->dtype, row * linear->n_in, linear->n_in, s->buffer);
}

/* --- by size --- */

static void find_large(search *s, size_t i) {
    const qd_linear *linear = &s->model->linears[i];
    double sum = 0, squares = 0, n = (double)linear->n_out * (double)linear->n_in;
    ranking own = {.most = s->by[BY_SIZE].most};
    for (size_t r = 0; r < linear->n_out; r++) {
        const float *w = row_of(s, i, r);
        for (size_t j = 0; j < linear->n_in; j++) {
            double x = (double)w[j];
            sum += x, squares += x * x;
            if (fabs(x) > threshold(&own))
                offer(&own, (candidate){.i_linear = i, .at = r * linear->n_in + j, .w = w[j], .key = fabs(x)});
        }
    }
    double variance = squares / n - sum / n * (sum / n);
    for (size_t k = 0; k < own.n && variance > 0; k++) {
        own.items[k].key = fabs((double)own.items[k].w) / sqrt(variance);
        offer(&s->by[BY_SIZE], own.items[k]);
    }
}

/* |w| / sigma of a candidate in its tensor. */
static double sigmas_of(const search *s, const candidate *c) {
    const qd_linear *linear = &s->model->linears[c->i_linear];
    double sum = 0, squares = 0, n = (double)linear->n_out * (double)linear->n_in;
    for (size_t r = 0; r < linear->n_out; r++) {
        const float *w = row_of(s, c->i_linear, r);
        for (size_t j = 0; j < linear->n_in; j++) sum += (double)w[j], squares += (double)w[j] * (double)w[j];
    }
    return fabs((double)c->w) / sqrt(squares / n - sum / n * (sum / n));
}

static bool is_output(qd_slot slot) {
    return slot == QD_SLOT_ATTN_OUT || slot == QD_SLOT_MLP_DOWN || slot == QD_SLOT_EXPERT_DOWN;
}

/* --- by gradients --- */

/* Second order of one weight, for the language that has most of it. */
static double second_of(const qd_map_inputs *m, const double *rates, const candidate *c) {
    double most = 0, w2 = (double)c->w * (double)c->w;
    size_t row = (size_t)(c->at / m->n_in), j = (size_t)(c->at % m->n_in);
    for (size_t l = 0; l < m->n_languages; l++)
        most = fmax(most, rates[l] * m->gradients[l * m->n_out + row] * m->energies[j * m->n_languages + l]);
    return 0.5 / QD_LN2 * w2 * most;
}

/* The product of the largest factors is never below the largest product: most weights are dismissed by it. */
static void find_second(search *s, size_t i, const qd_map_inputs *m, const double *rates, double *rows,
                        double *columns) {
    for (size_t r = 0; r < m->n_out; r++) {
        rows[r] = 0;
        for (size_t l = 0; l < m->n_languages; l++) rows[r] = fmax(rows[r], rates[l] * m->gradients[l * m->n_out + r]);
    }
    for (size_t j = 0; j < m->n_in; j++) {
        columns[j] = 0;
        for (size_t l = 0; l < m->n_languages; l++) columns[j] = fmax(columns[j], m->energies[j * m->n_languages + l]);
    }
    for (size_t r = 0; r < m->n_out; r++) {
        const float *w = row_of(s, i, r);
        for (size_t j = 0; j < m->n_in; j++) {
            double x = (double)w[j];
            if (!(0.5 / QD_LN2 * x * x * rows[r] * columns[j] > threshold(&s->by[BY_SECOND]))) continue;
            candidate c = {.i_linear = i, .at = r * m->n_in + j, .w = w[j]};
            c.key = second_of(m, rates, &c);
            offer(&s->by[BY_SECOND], c);
        }
    }
}

static qdisp_status each_second(search *s, bool looking) {
    size_t n = s->calib->n_languages, most = 1;
    for (size_t i = 0; i < s->model->n_linears; i++)
        most = s->model->linears[i].n_out > most ? s->model->linears[i].n_out : most;
    double *rates = qd_alloc(s->ctx, n, sizeof *rates), *rows = qd_alloc(s->ctx, most, sizeof *rows), *columns = NULL;
    for (size_t i = 0; i < s->model->n_linears; i++)
        most = s->model->linears[i].n_in > most ? s->model->linears[i].n_in : most;
    columns = qd_alloc(s->ctx, most, sizeof *columns);
    qdisp_status status = rates && rows && columns ? QDISP_OK : QDISP_ENOMEM;
    for (size_t l = 0; l < n && status == QDISP_OK; l++) rates[l] = qd_calib_tokens_per_byte(s->calib, l);
    for (size_t i = 0; i < s->model->n_linears && status == QDISP_OK; i++) {
        qd_map_inputs m;
        if (s->model->linears[i].layer < 0) continue;
        status = qd_map_inputs_make(s->calib, i, s->model->linears[i].n_out, true, &m);
        if (status != QDISP_OK) break;
        if (looking) find_second(s, i, &m, rates, rows, columns);
        for (size_t k = 0; k < s->n_all; k++)
            if (s->all[k].i_linear == i) s->all[k].second = second_of(&m, rates, &s->all[k]);
        qd_map_inputs_clear(s->ctx, &m);
    }
    qd_free(s->ctx, rates);
    qd_free(s->ctx, rows);
    qd_free(s->ctx, columns);
    return status;
}

static int on_weight(void *user, size_t i, const float *grad, size_t n_out, size_t n_in) {
    search *s = user;
    if (s->model->linears[i].layer < 0) return 0;
    for (size_t k = 0; s->counting && k < s->n_all; k++)
        if (s->all[k].i_linear == i) s->sums[k] -= (double)s->all[k].w * (double)grad[s->all[k].at];
    for (size_t r = 0; !s->counting && r < n_out; r++) {
        const float *w = row_of(s, i, r);
        double least = threshold(&s->by[BY_FIRST]);
        for (size_t j = 0; j < n_in; j++) {
            double key = s->scale * fabs((double)w[j] * (double)grad[r * n_in + j]);
            if (!(key > least)) continue;
            offer(&s->by[BY_FIRST], (candidate){.i_linear = i, .at = r * n_in + j, .w = w[j], .key = key});
            least = threshold(&s->by[BY_FIRST]);
        }
    }
    return 0;
}

/* One backward pass over the first lines of a language that fit into it. */
static qdisp_status first_of_language(search *s, size_t l) {
    qd_lines lines;
    qd_sequences part;
    size_t n_targets = 0;
    QD_TRY(qd_lines_make(&s->frame, s->corpus, l, NULL, qdisp_corpus_n_lines(s->corpus), &lines));
    size_t end = qd_gradients_end(&lines.sequences, 0), n_scored = 0, n_bytes = 0;
    for (size_t i = 0; i < lines.n_lines; i++) n_scored += lines.n_scored[i], n_bytes += lines.n_bytes[i];
    qdisp_status status = qd_sequences_slice(&lines.sequences, 0, end, &part);
    qd_lines_clear(&lines);
    QD_TRY(status);
    qdisp_grad_options options = {.size = sizeof options, .weight = on_weight, .user = s};
    int32_t *targets = qd_alloc(s->ctx, part.starts[part.n_seq], sizeof *targets);
    status = targets ? QDISP_OK : QDISP_ENOMEM;
    memset(s->sums, 0, sizeof s->sums);
    if (status == QDISP_OK) {
        qdisp_batch batch = qd_sequences_targets(&part, targets, &n_targets);
        /* a mean over the losses, times losses a byte */
        s->scale = n_targets && n_bytes ? (double)n_scored / (double)n_bytes / (double)n_targets / QD_LN2 : 0;
        if (n_targets) status = qdisp_model_grads(s->model, &batch, &options);
    }
    qd_free(s->ctx, targets);
    qd_sequences_clear(&part);
    for (size_t k = 0; s->counting && k < s->n_all; k++)
        if (fabs(s->scale * s->sums[k]) > fabs(s->all[k].first)) s->all[k].first = s->scale * s->sums[k];
    return status;
}

static qdisp_status each_first(search *s, double from, double to) {
    size_t n = qdisp_corpus_n_languages(s->corpus);
    qdisp_status status = QDISP_OK;
    for (size_t l = 0; l < n && status == QDISP_OK; l++) {
        qd_progress_range range =
            qd_progress_enter(s->ctx, "super weights", from + (to - from) * (double)l / (double)n,
                              from + (to - from) * (double)(l + 1) / (double)n);
        status = first_of_language(s, l);
        qd_progress_leave(s->ctx, range);
    }
    return status;
}

/* --- all together --- */

static void gather(search *s) {
    for (unsigned by = 0; by < N_CRITERIA; by++)
        for (size_t i = 0; i < s->by[by].n; i++) {
            const candidate *c = &s->by[by].items[i];
            size_t k = 0;
            while (k < s->n_all && (s->all[k].i_linear != c->i_linear || s->all[k].at != c->at)) k++;
            if (k == s->n_all) s->all[s->n_all++] = *c;
            s->all[k].found_by |= 1u << by;
        }
}

static qdisp_status find(search *s) {
    size_t widest = 1;
    for (size_t i = 0; i < s->model->n_linears; i++)
        widest = s->model->linears[i].n_in > widest ? s->model->linears[i].n_in : widest;
    if (!(s->buffer = qd_alloc(s->ctx, widest, sizeof *s->buffer))) return QDISP_ENOMEM;
    for (size_t i = 0; i < s->model->n_linears; i++) {
        QD_TRY(qd_progress(s->ctx, "super weights", 0.05 * (double)i / (double)s->model->n_linears));
        if (is_output(s->model->linears[i].slot)) find_large(s, i);
    }
    if (s->corpus) {
        qd_progress_range range = qd_progress_enter(s->ctx, "super weights", 0.05, 0.1);
        qdisp_status status = qdisp_calib_collect(s->calib, s->model, s->frame.tokenizer, s->corpus);
        qd_progress_leave(s->ctx, range);
        QD_TRY(status);
        range = qd_progress_enter(s->ctx, "super weights", 0.1, 0.2);
        status = qdisp_calib_collect_gradients(s->calib, s->model, s->frame.tokenizer, s->corpus);
        qd_progress_leave(s->ctx, range);
        QD_TRY(status);
        QD_TRY(each_first(s, 0.2, 0.25));
        QD_TRY(each_second(s, true));
    }
    gather(s);
    for (size_t k = 0; k < s->n_all; k++) s->all[k].sigmas = sigmas_of(s, &s->all[k]);
    if (!s->corpus) return QDISP_OK;
    s->counting = true;
    QD_TRY(each_first(s, 0.25, 0.3));
    return each_second(s, false);
}

/* --- removal --- */

/* The comparison by language of the model without a weight. */
static qdisp_status removed(const search *s, const candidate *c, const qdisp_table *base, size_t n_resamples,
                            qdisp_table **comparison) {
    const qd_linear *linear = &s->model->linears[c->i_linear];
    size_t n = linear->n_out * linear->n_in;
    const qdisp_tensor *t = &s->model->tensors[linear->i_weight];
    float *data = qd_alloc_aligned(s->ctx, n, sizeof *data);
    qdisp_model *without = NULL;
    qdisp_table *losses = NULL;
    if (!data) return QDISP_ENOMEM;
    const float *w = qd_load_f32(s->ctx->kernels, t->data, (qdisp_dtype)t->dtype, 0, n, data);
    if (w != data) memcpy(data, w, n * sizeof *data);
    data[c->at] = 0;
    qdisp_status status = qd_model_with_tensors(s->model, &linear->i_weight, &data, 1, &without);
    if (status != QDISP_OK) qd_free_aligned(s->ctx, data);
    if (status == QDISP_OK) status = qdisp_eval_losses(without, s->frame.tokenizer, s->corpus, &losses);
    if (status == QDISP_OK) status = qdisp_eval_compare(base, losses, n_resamples, comparison);
    qdisp_table_free(losses);
    qdisp_model_free(without);
    return status;
}

static void found_text(unsigned found_by, char text[64]) {
    static const char *const names[N_CRITERIA] = {"size", "first order", "second order"};
    *text = 0;
    for (unsigned by = 0; by < N_CRITERIA; by++) {
        if (!(found_by >> by & 1)) continue;
        if (*text) strcat(text, " + ");
        strcat(text, names[by]);
    }
}

typedef struct columns {
    size_t tensor, role, layer, row, column, weight, sigmas, found_by;
    size_t first, second, mean, worst_bpb, worst, p, language; /* with text */
} columns;

static void make_columns(qdisp_table *t, qdisp_status *status, const search *s, columns *c) {
    c->tensor = qd_table_column(t, status, "tensor", "", QDISP_COLUMN_STR);
    c->role = qd_table_column(t, status, "role", "", QDISP_COLUMN_STR);
    c->layer = qd_table_column(t, status, "layer", "", QDISP_COLUMN_I64);
    c->row = qd_table_column(t, status, "row", "", QDISP_COLUMN_I64);
    c->column = qd_table_column(t, status, "column", "", QDISP_COLUMN_I64);
    c->weight = qd_table_column(t, status, "weight", "", QDISP_COLUMN_F64);
    c->sigmas = qd_table_column(t, status, "sigmas", "", QDISP_COLUMN_F64);
    c->found_by = qd_table_column(t, status, "found_by", "", QDISP_COLUMN_STR);
    if (!s->corpus) return;
    c->first = qd_table_column(t, status, "first_order_bpb", "bits/byte", QDISP_COLUMN_F64);
    c->second = qd_table_column(t, status, "second_order_bpb", "bits/byte", QDISP_COLUMN_F64);
    c->mean = qd_table_column(t, status, "mean_bpb", "bits/byte", QDISP_COLUMN_F64);
    c->worst_bpb = qd_table_column(t, status, "worst_bpb", "bits/byte", QDISP_COLUMN_F64);
    c->worst = qd_table_column(t, status, "worst", "", QDISP_COLUMN_STR);
    c->p = qd_table_column(t, status, "p_holm", "", QDISP_COLUMN_F64);
    for (size_t l = 0; l < qdisp_corpus_n_languages(s->corpus); l++) {
        char name[96];
        snprintf(name, sizeof name, "%.80s.loss", qdisp_corpus_language(s->corpus, l));
        size_t at = qd_table_column(t, status, name, "bits/byte", QDISP_COLUMN_F64);
        if (l == 0) c->language = at;
    }
}

static void fill_losses(qdisp_table *t, qdisp_status *status, size_t row, const columns *c, const candidate *k,
                        const qdisp_table *comparison) {
    const double *loss = qdisp_table_f64(comparison, qdisp_table_find(comparison, "loss_bpb"));
    const double *p = qdisp_table_f64(comparison, qdisp_table_find(comparison, "p_holm"));
    size_t n = qdisp_table_n_rows(comparison), worst = 0;
    double mean = 0;
    for (size_t l = 0; l < n; l++) {
        mean += loss[l] / (double)n;
        if (loss[l] > loss[worst]) worst = l;
        qd_table_f64(t, status, row, c->language + l, loss[l]);
    }
    qd_table_f64(t, status, row, c->first, k->first);
    qd_table_f64(t, status, row, c->second, k->second);
    qd_table_f64(t, status, row, c->mean, mean);
    qd_table_f64(t, status, row, c->worst_bpb, loss[worst]);
    qd_table_str(t, status, row, c->worst, qdisp_table_str(comparison, 0)[worst]);
    qd_table_f64(t, status, row, c->p, p[worst]);
}

static qdisp_status fill_row(qdisp_table *t, const search *s, const columns *c, const candidate *k,
                             const qdisp_table *comparison) {
    const qd_linear *linear = &s->model->linears[k->i_linear];
    qdisp_status status = QDISP_OK;
    char text[64];
    size_t row = qd_table_row(t, &status);
    found_text(k->found_by, text);
    qd_table_str(t, &status, row, c->tensor, s->model->tensors[linear->i_weight].name);
    qd_table_str(t, &status, row, c->role, linear->role);
    qd_table_i64(t, &status, row, c->layer, linear->layer);
    qd_table_i64(t, &status, row, c->row, (int64_t)(k->at / linear->n_in));
    qd_table_i64(t, &status, row, c->column, (int64_t)(k->at % linear->n_in));
    qd_table_f64(t, &status, row, c->weight, (double)k->w);
    qd_table_f64(t, &status, row, c->sigmas, k->sigmas);
    qd_table_str(t, &status, row, c->found_by, text);
    if (comparison) fill_losses(t, &status, row, c, k, comparison);
    return status;
}

/* Descending by the worst measured loss, or by size. */
static void sort_candidates(search *s, qdisp_table **comparisons) {
    for (size_t i = 0; i < s->n_all; i++) {
        candidate *c = &s->all[i];
        c->key = c->sigmas;
        if (!comparisons) continue;
        const double *loss = qdisp_table_f64(comparisons[i], qdisp_table_find(comparisons[i], "loss_bpb"));
        c->key = -INFINITY;
        for (size_t l = 0; l < qdisp_table_n_rows(comparisons[i]); l++) c->key = fmax(c->key, loss[l]);
    }
    for (size_t i = 1; i < s->n_all; i++)
        for (size_t k = i; k > 0 && s->all[k - 1].key < s->all[k].key; k--) {
            candidate c = s->all[k];
            s->all[k] = s->all[k - 1];
            s->all[k - 1] = c;
            if (!comparisons) continue;
            qdisp_table *t = comparisons[k];
            comparisons[k] = comparisons[k - 1];
            comparisons[k - 1] = t;
        }
}

static qdisp_status measure(search *s, size_t n_resamples, qdisp_table **comparisons) {
    qdisp_table *base = NULL;
    double step = 0.7 / (double)(s->n_all + 1);
    qdisp_status status = QDISP_OK;
    for (size_t i = 0; i <= s->n_all && status == QDISP_OK; i++) {
        qd_progress_range range =
            qd_progress_enter(s->ctx, "super weights", 0.3 + step * (double)i, 0.3 + step * (double)(i + 1));
        status = i == 0 ? qdisp_eval_losses(s->model, s->frame.tokenizer, s->corpus, &base)
                        : removed(s, &s->all[i - 1], base, n_resamples, &comparisons[i - 1]);
        qd_progress_leave(s->ctx, range);
    }
    qdisp_table_free(base);
    return status;
}

static qdisp_status superweights(search *s, const qdisp_superweights_options *opt, qdisp_table **out) {
    qdisp_table *comparisons[N_CRITERIA * MOST] = {NULL}, *t = NULL;
    columns c = {.tensor = 0};
    qdisp_status status = find(s);
    if (status == QDISP_OK && s->corpus) status = measure(s, (size_t)opt->n_resamples, comparisons);
    if (status == QDISP_OK) sort_candidates(s, s->corpus ? comparisons : NULL);
    if (status == QDISP_OK)
        status = qdisp_table_new(s->ctx, "super_weights", "Super weights: what their removal costs each language", &t);
    if (status == QDISP_OK) make_columns(t, &status, s, &c);
    for (size_t i = 0; i < s->n_all && status == QDISP_OK; i++) status = fill_row(t, s, &c, &s->all[i], comparisons[i]);
    for (size_t i = 0; i < s->n_all; i++) qdisp_table_free(comparisons[i]);
    if (status == QDISP_OK) status = qd_progress(s->ctx, "super weights", 1);
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}

qdisp_status qdisp_superweights(const qdisp_model *model, const qdisp_tokenizer *tokenizer, const qdisp_corpus *corpus,
                                const qdisp_superweights_options *options, qdisp_table **out) {
    qdisp_ctx *ctx = model->ctx;
    qdisp_superweights_options opt;
    QD_TRY(qd_copy_options(ctx, "super weights options", options, &opt, sizeof opt));
    if (opt.n_candidates == 0) opt.n_candidates = 8;
    if (opt.n_candidates > MOST) return qd_fail(ctx, QDISP_EINVAL, "n_candidates: at most %d", MOST);
    if (corpus && !tokenizer) return qd_fail(ctx, QDISP_EINVAL, "super weights: a corpus needs a tokenizer");
    search *s = qd_alloc(ctx, 1, sizeof *s);
    if (!s) return QDISP_ENOMEM;
    s->model = model;
    s->ctx = ctx;
    s->corpus = corpus;
    for (size_t i = 0; i < N_CRITERIA; i++) s->by[i].most = (size_t)opt.n_candidates;
    qdisp_status status = corpus ? qd_frame_make(model, tokenizer, &s->frame) : QDISP_OK;
    if (status == QDISP_OK && corpus) status = qd_frame_scores(&s->frame);
    if (status == QDISP_OK && corpus) status = qdisp_calib_new(model, &s->calib);
    if (status == QDISP_OK) status = superweights(s, &opt, out);
    qdisp_calib_free(s->calib);
    qd_free(ctx, s->buffer);
    qd_free(ctx, s);
    return status;
}
