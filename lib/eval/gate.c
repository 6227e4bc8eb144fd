/* gate.c - does a quantized model stay within a margin of its baseline, in every language?
 *
 * The loss of a language is a ratio, sum of d_i over sum of b_i (bits lost and bytes of line i). Whether it lies below
 * a margin M is a paired t test of z_i = d_i - M b_i against 0, and its bounds are those M that the test does not
 * reject (Fieller 1954): bounds and tests say the same, however bytes vary. Both families of tests, "below the margin"
 * and "above it", are adjusted over the languages (Holm 1979), so that with probability 1 - alpha no language is passed
 * wrongly, and none failed wrongly. */
#include "eval/eval.h"
#include "stats/special.h"

#include <qdisp/stats.h>

#include <math.h>
#include <string.h>

enum { PASS, FAIL, UNDECIDED };
static const char *const verdicts[] = {"pass", "fail", "undecided"};
#define POWER 0.8
#define MOST_LINES 100000000

typedef struct gate_language {
    const char *tag;
    size_t n;             /* lines that say something */
    uint64_t n_bytes;
    double baseline, loss; /* bits per byte */
    double low, high;      /* simultaneous */
    double p_pass, p_fail; /* adjusted in the end */
    double detectable;     /* bits per byte */
    int64_t n_needed;
    int verdict;
} gate_language;

typedef struct gate {
    qdisp_ctx *ctx;
    qdisp_eval_gate_options opt;
    const qd_losses *a, *b;
    size_t n_languages;
    gate_language *languages;
} gate;

/* Bits lost d[n] and bytes b[n] of a language's lines; a line of one token without context says nothing. */
static size_t load_lines(const gate *g, size_t l, double *d, double *b) {
    size_t n = 0;
    for (size_t i = g->a->first[l]; i < g->a->first[l + 1]; i++) {
        d[n] = (g->b->nll[i] - g->a->nll[i]) / QD_LN2;
        b[n] = (double)g->a->n_bytes[i];
        n += !(b[n] == 0 && d[n] == 0);
    }
    return n;
}

/* Fieller's bounds of mean(d) / mean(b), each with probability alpha beyond it; infinite where bytes say too little. */
static void bounds(const double *d, const double *b, size_t n, double alpha, double *low, double *high) {
    double md = 0, mb = 0, vd = 0, vb = 0, vdb = 0, t = -qd_t_quantile(alpha, (double)n - 1);
    for (size_t i = 0; i < n; i++) {
        md += d[i] / (double)n;
        mb += b[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        double scale = 1 / ((double)n * ((double)n - 1));
        vd += (d[i] - md) * (d[i] - md) * scale;
        vb += (b[i] - mb) * (b[i] - mb) * scale;
        vdb += (d[i] - md) * (b[i] - mb) * scale;
    }
    double first = mb * mb - t * t * vb, second = md * mb - t * t * vdb, third = md * md - t * t * vd;
    double root = second * second - first * third;
    *low = -INFINITY;
    *high = INFINITY;
    if (!(first > 0)) return;
    root = root > 0 ? sqrt(root) : 0;
    *low = (second - root) / first;
    *high = (second + root) / first;
}

/* p of the hypothesis that the loss is not below (LESS) or not above (GREATER) a margin; *effect: its distance from
 * the margin in standard deviations of a line, *scale: bits per byte of one of these. z[n] is scratch. */
static qdisp_status test_margin(const gate *g, const double *d, const double *b, size_t n, double margin,
                                qdisp_alternative alternative, double *z, double *p, double *effect, double *scale) {
    qdisp_t_test t;
    double bytes = 0;
    for (size_t i = 0; i < n; i++) {
        z[i] = d[i] - margin * b[i];
        bytes += b[i] / (double)n;
    }
    QD_TRY(qdisp_t_test_paired(g->ctx, z, NULL, n, alternative, 0.95, &t));
    double deviation = t.standard_error * sqrt((double)n);
    *p = isnan(t.p) ? 1 : t.p;
    *effect = deviation > 0 ? t.difference / deviation : 0;
    *scale = bytes > 0 ? deviation / bytes : NAN;
    return QDISP_OK;
}

/* Lines with which a true effect as large as the one seen is found with probability POWER; missing: none will do. */
static qdisp_status lines_needed(const gate *g, double effect, double alpha, int64_t *out) {
    uint64_t low = 2, high = 4;
    double power = 0;
    *out = QDISP_MISSING_I64;
    if (!(fabs(effect) > 1e-4)) return QDISP_OK;
    for (;; low = high, high *= 2) {
        QD_TRY(qdisp_power_paired(g->ctx, fabs(effect), high, alpha, QDISP_GREATER, &power));
        if (power >= POWER) break;
        if (high > MOST_LINES) return QDISP_OK;
    }
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        QD_TRY(qdisp_power_paired(g->ctx, fabs(effect), middle, alpha, QDISP_GREATER, &power));
        if (power >= POWER) high = middle;
        else low = middle;
    }
    *out = (int64_t)high;
    return QDISP_OK;
}

static qdisp_status test_language(const gate *g, const double *d, const double *b, double *z, gate_language *l) {
    double alpha = g->opt.alpha / (double)g->n_languages, margin = g->opt.margin_bpb, effect, scale, unused, standard;
    QD_TRY(test_margin(g, d, b, l->n, margin, QDISP_LESS, z, &l->p_pass, &effect, &scale));
    QD_TRY(test_margin(g, d, b, l->n, margin, QDISP_GREATER, z, &l->p_fail, &unused, &unused));
    if (g->opt.equivalence) { /* within: above -M, too; beyond: on either side */
        double above, below, lower_effect;
        QD_TRY(test_margin(g, d, b, l->n, -margin, QDISP_GREATER, z, &above, &lower_effect, &unused));
        QD_TRY(test_margin(g, d, b, l->n, -margin, QDISP_LESS, z, &below, &lower_effect, &unused));
        l->p_pass = fmax(l->p_pass, above);
        l->p_fail = fmin(1, 2 * fmin(l->p_fail, below));
        if (fabs(lower_effect) < fabs(effect)) effect = lower_effect;
    }
    bounds(d, b, l->n, alpha, &l->low, &l->high);
    QD_TRY(qdisp_detectable_paired(g->ctx, l->n, alpha, POWER, QDISP_GREATER, &standard));
    l->detectable = standard * scale;
    return lines_needed(g, effect, alpha, &l->n_needed);
}

static qdisp_status gate_task(void *arg, size_t i, unsigned i_worker) {
    const gate *g = arg;
    gate_language *l = &g->languages[i];
    size_t first = g->a->first[i], n_lines = g->a->first[i + 1] - first;
    double base = 0, other = 0, *d = qd_alloc(g->ctx, 3 * n_lines, sizeof *d);
    (void)i_worker;
    if (!d) return QDISP_ENOMEM;
    for (size_t k = first; k < first + n_lines; k++) {
        l->n_bytes += (uint64_t)g->a->n_bytes[k];
        base += g->a->nll[k] / QD_LN2;
        other += g->b->nll[k] / QD_LN2;
    }
    *l = (gate_language){.tag = g->a->language[first], .n = load_lines(g, i, d, d + n_lines), .n_bytes = l->n_bytes,
                         .baseline = l->n_bytes ? base / (double)l->n_bytes : NAN,
                         .loss = l->n_bytes ? (other - base) / (double)l->n_bytes : NAN, .low = NAN, .high = NAN,
                         .p_pass = 1, .p_fail = 1, .detectable = NAN, .n_needed = QDISP_MISSING_I64};
    qdisp_status status = l->n >= 3 ? test_language(g, d, d + n_lines, d + 2 * n_lines, l) : QDISP_OK;
    qd_free(g->ctx, d);
    return status;
}

static qdisp_status adjust(const gate *g) {
    double *p = qd_alloc(g->ctx, 2 * g->n_languages, sizeof *p), *q = p + g->n_languages;
    if (!p) return QDISP_ENOMEM;
    for (size_t l = 0; l < g->n_languages; l++) {
        p[l] = g->languages[l].p_pass;
        q[l] = g->languages[l].p_fail;
    }
    qdisp_status status = qdisp_holm(g->ctx, p, g->n_languages, p);
    if (status == QDISP_OK) status = qdisp_holm(g->ctx, q, g->n_languages, q);
    for (size_t l = 0; l < g->n_languages && status == QDISP_OK; l++) {
        gate_language *one = &g->languages[l];
        one->p_pass = p[l];
        one->p_fail = q[l];
        one->verdict = p[l] < g->opt.alpha ? PASS : q[l] < g->opt.alpha ? FAIL : UNDECIDED;
        if (one->verdict != UNDECIDED) one->n_needed = QDISP_MISSING_I64;
    }
    qd_free(g->ctx, p);
    return status;
}

/* ---- tables ---- */

static qdisp_status languages_table(const gate *g, qdisp_table **out) {
    qdisp_table *t;
    QD_TRY(qdisp_table_new(g->ctx, "languages", "Gate by language: loss against the margin (bits per byte)", &t));
    qdisp_status status = QDISP_OK;
    size_t language = qd_table_column(t, &status, "language", "", QDISP_COLUMN_STR);
    size_t verdict = qd_table_column(t, &status, "verdict", "", QDISP_COLUMN_STR);
    size_t loss = qd_table_column(t, &status, "loss_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t low = qd_table_column(t, &status, "low_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t high = qd_table_column(t, &status, "high_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t margin = qd_table_column(t, &status, "margin_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t p_pass = qd_table_column(t, &status, "p_pass", "", QDISP_COLUMN_F64);
    size_t p_fail = qd_table_column(t, &status, "p_fail", "", QDISP_COLUMN_F64);
    size_t baseline = qd_table_column(t, &status, "baseline_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t n_lines = qd_table_column(t, &status, "n_lines", "", QDISP_COLUMN_I64);
    size_t n_bytes = qd_table_column(t, &status, "n_bytes", "bytes", QDISP_COLUMN_I64);
    size_t detectable = qd_table_column(t, &status, "detectable_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t needed = qd_table_column(t, &status, "n_lines_needed", "", QDISP_COLUMN_I64);
    for (size_t l = 0; l < g->n_languages; l++) {
        const gate_language *one = &g->languages[l];
        size_t row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, language, one->tag);
        qd_table_str(t, &status, row, verdict, verdicts[one->verdict]);
        qd_table_f64(t, &status, row, loss, one->loss);
        qd_table_f64(t, &status, row, low, one->low);
        qd_table_f64(t, &status, row, high, one->high);
        qd_table_f64(t, &status, row, margin, g->opt.margin_bpb);
        qd_table_f64(t, &status, row, p_pass, one->p_pass);
        qd_table_f64(t, &status, row, p_fail, one->p_fail);
        qd_table_f64(t, &status, row, baseline, one->baseline);
        qd_table_i64(t, &status, row, n_lines, (int64_t)one->n);
        qd_table_i64(t, &status, row, n_bytes, (int64_t)one->n_bytes);
        qd_table_f64(t, &status, row, detectable, one->detectable);
        qd_table_i64(t, &status, row, needed, one->n_needed);
    }
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}

/* One row: the verdict over all, and the worst language. */
static qdisp_status verdict_table(const gate *g, qdisp_table **out) {
    size_t counts[3] = {0}, worst = 0;
    int64_t needed = 0;
    bool known = true;
    for (size_t l = 0; l < g->n_languages; l++) {
        const gate_language *one = &g->languages[l];
        counts[one->verdict]++;
        if (one->loss > g->languages[worst].loss) worst = l;
        if (one->verdict != UNDECIDED) continue;
        known = known && one->n_needed != QDISP_MISSING_I64;
        if (known && one->n_needed > needed) needed = one->n_needed;
    }
    int verdict = counts[FAIL] ? FAIL : counts[UNDECIDED] ? UNDECIDED : PASS;
    qdisp_table *t;
    QD_TRY(qdisp_table_new(g->ctx, "verdict", "Gate: does every language stay within the margin?", &t));
    qdisp_status status = QDISP_OK;
    size_t scope = qd_table_column(t, &status, "scope", "", QDISP_COLUMN_STR);
    size_t word = qd_table_column(t, &status, "verdict", "", QDISP_COLUMN_STR);
    size_t margin = qd_table_column(t, &status, "margin_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t alpha = qd_table_column(t, &status, "alpha", "", QDISP_COLUMN_F64);
    size_t columns[3];
    for (int k = 0; k < 3; k++) {
        static const char *const names[] = {"n_pass", "n_fail", "n_undecided"};
        columns[k] = qd_table_column(t, &status, names[k], "", QDISP_COLUMN_I64);
    }
    size_t worst_tag = qd_table_column(t, &status, "worst", "", QDISP_COLUMN_STR);
    size_t worst_loss = qd_table_column(t, &status, "worst_bpb", "bits/byte", QDISP_COLUMN_F64);
    size_t n_needed = qd_table_column(t, &status, "n_lines_needed", "", QDISP_COLUMN_I64);
    size_t row = qd_table_row(t, &status);
    qd_table_str(t, &status, row, scope, "all languages");
    qd_table_str(t, &status, row, word, verdicts[verdict]);
    qd_table_f64(t, &status, row, margin, g->opt.margin_bpb);
    qd_table_f64(t, &status, row, alpha, g->opt.alpha);
    for (int k = 0; k < 3; k++) qd_table_i64(t, &status, row, columns[k], (int64_t)counts[k]);
    qd_table_str(t, &status, row, worst_tag, g->languages[worst].tag);
    qd_table_f64(t, &status, row, worst_loss, g->languages[worst].loss);
    if (known && needed > 0) qd_table_i64(t, &status, row, n_needed, needed);
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}

static qdisp_status make_report(const gate *g, qdisp_report **out) {
    qdisp_report *report;
    qdisp_table *verdict = NULL, *languages = NULL;
    QD_TRY(qdisp_report_new(g->ctx, "gate", &report));
    qdisp_status status = verdict_table(g, &verdict);
    if (status == QDISP_OK) status = qdisp_report_add(report, verdict);
    if (status == QDISP_OK) status = languages_table(g, &languages);
    if (status == QDISP_OK) status = qdisp_report_add(report, languages);
    if (status == QDISP_OK) *out = report;
    else qdisp_report_free(report);
    return status;
}

static qdisp_status check_options(qdisp_ctx *ctx, qdisp_eval_gate_options *o) {
    if (o->alpha == 0) o->alpha = 0.05;
    if (!(o->margin_bpb > 0) || isinf(o->margin_bpb))
        return qd_fail(ctx, QDISP_EINVAL, "margin_bpb: %g is no number above 0", o->margin_bpb);
    if (!(o->alpha > 1e-6 && o->alpha < 0.5))
        return qd_fail(ctx, QDISP_EINVAL, "alpha: %g is not in 1e-6 .. 0.5", o->alpha);
    if (o->equivalence > 1) return qd_fail(ctx, QDISP_EINVAL, "equivalence: 0 or 1");
    return QDISP_OK;
}

qdisp_status qdisp_eval_gate(const qdisp_table *baseline, const qdisp_table *quantized,
                             const qdisp_eval_gate_options *options, qdisp_report **out) {
    qdisp_ctx *ctx = qd_table_ctx(baseline);
    qd_losses a = {.ctx = ctx}, b = {.ctx = ctx};
    gate g = {.ctx = ctx, .a = &a, .b = &b};
    QD_TRY(qd_copy_options(ctx, "gate options", options, &g.opt, sizeof g.opt));
    QD_TRY(check_options(ctx, &g.opt));
    qdisp_status status = qd_losses_read(baseline, &a);
    if (status == QDISP_OK) status = qd_losses_read(quantized, &b);
    if (status == QDISP_OK) status = qd_losses_check(&a, &b);
    g.n_languages = a.n_languages;
    if (status == QDISP_OK && g.n_languages == 0) status = qd_fail(ctx, QDISP_EINVAL, "gate: no language");
    if (status == QDISP_OK)
        status = (g.languages = qd_alloc(ctx, g.n_languages, sizeof *g.languages)) ? QDISP_OK : QDISP_ENOMEM;
    if (status == QDISP_OK) status = qd_parallel(ctx, g.n_languages, gate_task, &g);
    if (status == QDISP_OK) status = adjust(&g);
    if (status == QDISP_OK) status = make_report(&g, out);
    qd_losses_clear(&a);
    qd_losses_clear(&b);
    qd_free(ctx, g.languages);
    return status;
}
