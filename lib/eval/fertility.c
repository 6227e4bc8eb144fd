/* fertility.c - tokens of parallel text by tokenizer and language.
 *
 * Nothing is divided by whitespace-separated words: they do not exist in a dozen scripts, and where they do they say
 * more about a language's grammar than about its tokenizer. What is divided by exists everywhere: bytes, code points,
 * graphemes, and the same sentence. */
#include "base/base.h"
#include "tokenizer/tokenizer.h"

#include <qdisp/fertility.h>
#include <qdisp/stats.h>

#include <math.h>
#include <string.h>
#include <utf8proc.h>

#define DEFAULT_RESAMPLES 2000
#define LEVEL 0.95

typedef struct text_counts { /* of one language */
    int64_t n_bytes, n_codepoints, n_graphemes, n_words;
    bool has_words;
} text_counts;

typedef struct token_counts { /* of one tokenizer and language */
    int64_t n_tokens, n_bytes, n_unk, n_whole;
    double low, high; /* of the premium */
    double *lines;    /* [n_lines] tokens of each */
} token_counts;

typedef struct fertility {
    qdisp_ctx *ctx;
    const qdisp_tokenizer *const *tokenizers;
    const char *const *names;
    const qdisp_corpus *corpus;
    size_t n_tokenizers, n_languages, n_lines, pivot; /* pivot: SIZE_MAX if there is none */
    size_t n_resamples;
    uint64_t seed;
    text_counts *texts;   /* [n_languages] */
    token_counts *counts; /* [n_tokenizers * n_languages] */
    double *lines;        /* [n_tokenizers * n_languages * n_lines] */
} fertility;

/* ---- text ---- */

/* Blocks of scripts written without spaces between words. */
static const struct {
    int32_t first, last;
} SPACELESS[] = {
    {0x0E00, 0x0FFF},   /* Thai, Lao, Tibetan */
    {0x1000, 0x109F},   /* Burmese, Shan, Mon, Karen */
    {0x1780, 0x17FF},   /* Khmer */
    {0x1950, 0x19FF},   /* Tai Le, New Tai Lue, Khmer symbols */
    {0x1A20, 0x1AAF},   /* Tai Tham */
    {0x1B00, 0x1B7F},   /* Balinese */
    {0x3040, 0x312F},   /* Hiragana, Katakana, Bopomofo */
    {0x31A0, 0x31FF},   /* Bopomofo, Katakana, strokes */
    {0x3400, 0x4DBF},   /* Han */
    {0x4E00, 0x9FFF},   /* Han */
    {0xA000, 0xA4CF},   /* Yi */
    {0xA980, 0xA9FF},   /* Javanese, Burmese */
    {0xAA60, 0xAADF},   /* Burmese, Tai Viet */
    {0xF900, 0xFAFF},   /* Han */
    {0x20000, 0x3FFFF}, /* Han */
};

static bool is_spaceless(int32_t c) {
    for (size_t i = 0; i < sizeof SPACELESS / sizeof *SPACELESS; i++)
        if (c >= SPACELESS[i].first && c <= SPACELESS[i].last) return true;
    return false;
}

static bool is_letter(int32_t c) {
    utf8proc_category_t category = utf8proc_category(qd_unicode_stand_in(c));
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

/* The next word of text[n] at or behind *end: true and its place, or false at the end. */
static bool next_word(const char *text, size_t n, size_t *begin, size_t *end) {
    bool inside = false, letter = false;
    size_t len = 0;
    for (size_t i = *end; i <= n; i += len) {
        int32_t c = i < n ? qd_utf8_next((const uint8_t *)text + i, &len) : ' ';
        if (i == n) len = 1;
        if (qd_unicode_is_word(c)) {
            if (!inside) *begin = i;
            letter = (inside && letter) || is_letter(c);
            inside = true;
            continue;
        }
        if (inside && letter) {
            *end = i;
            return true;
        }
        inside = false;
    }
    return false;
}

static qdisp_status count_text(void *arg, size_t l, unsigned i_worker) {
    fertility *f = arg;
    text_counts *counts = &f->texts[l];
    int64_t n_letters = 0, n_spaceless = 0;
    (void)i_worker;
    for (size_t i = 0; i < f->n_lines; i++) {
        size_t n, begin = 0, end = 0;
        const char *line = qdisp_corpus_line(f->corpus, l, i, &n);
        counts->n_bytes += (int64_t)n;
        counts->n_graphemes += (int64_t)qd_count_graphemes(line, n);
        for (size_t k = 0, len; k < n; k += len) {
            int32_t c = qd_utf8_next((const uint8_t *)line + k, &len);
            bool letter = is_letter(c);
            counts->n_codepoints++;
            n_letters += letter;
            n_spaceless += letter && is_spaceless(c);
        }
        while (next_word(line, n, &begin, &end)) counts->n_words++;
    }
    counts->has_words = 2 * n_spaceless <= n_letters && counts->n_words > 0;
    return QDISP_OK;
}

/* ---- tokens ---- */

typedef struct encoded {
    int32_t *ids;
    size_t *starts, n, cap_ids, cap_starts;
} encoded;

static qdisp_status encode_line(fertility *f, const qdisp_tokenizer *t, const char *line, size_t n, encoded *e) {
    size_t room = n + 2;
    do {
        QD_TRY(qd_grow(f->ctx, (void **)&e->ids, &e->cap_ids, room, sizeof *e->ids));
        QD_TRY(qd_grow(f->ctx, (void **)&e->starts, &e->cap_starts, room, sizeof *e->starts));
        room = e->cap_ids < e->cap_starts ? e->cap_ids : e->cap_starts;
        QD_TRY(qdisp_tokenizer_encode(t, line, n, e->ids, e->starts, room, &e->n));
        if (e->n <= room) return QDISP_OK;
        room = e->n;
    } while (true);
}

/* Not the unknown token, and not the rest of a character that began in the token before. */
static bool may_hold_word(const qdisp_tokenizer *t, int32_t id) {
    const char *bytes = t->decoded.str[id];
    return id != t->unk_id && !(bytes && t->decoded.len[id] && ((uint8_t)*bytes & 0xC0) == 0x80);
}

/* Words that one token holds: no token begins inside, and not two at the start. */
static int64_t count_whole(const qdisp_tokenizer *t, const char *line, size_t n, const encoded *e) {
    int64_t n_whole = 0;
    size_t begin = 0, end = 0, k = 0;
    while (next_word(line, n, &begin, &end)) {
        while (k < e->n && e->starts[k] < begin) k++;
        size_t first = k, n_at = 0;
        while (k < e->n && e->starts[k] < end) n_at += e->starts[k++] == begin;
        bool alone = k - first == n_at && n_at <= 1 && (first < k || first > 0);
        n_whole += alone && may_hold_word(t, e->ids[first < k ? first : first - 1]);
    }
    return n_whole;
}

static qdisp_status count_line(fertility *f, const qdisp_tokenizer *t, size_t l, size_t i, encoded *e,
                               token_counts *counts) {
    size_t n;
    const char *line = qdisp_corpus_line(f->corpus, l, i, &n);
    QD_TRY(encode_line(f, t, line, n, e));
    counts->lines[i] = (double)e->n;
    counts->n_tokens += (int64_t)e->n;
    for (size_t k = 0; k < e->n; k++) {
        counts->n_bytes += qd_tokenizer_is_byte(t, e->ids[k]);
        counts->n_unk += e->ids[k] == t->unk_id;
    }
    if (f->texts[l].has_words) counts->n_whole += count_whole(t, line, n, e);
    return QDISP_OK;
}

static qdisp_status count_tokens(void *arg, size_t i_task, unsigned i_worker) {
    fertility *f = arg;
    size_t i = i_task / f->n_languages, l = i_task % f->n_languages;
    token_counts *counts = &f->counts[i_task];
    encoded e = {0};
    qdisp_status status = QDISP_OK;
    (void)i_worker;
    counts->lines = f->lines + i_task * f->n_lines;
    for (size_t k = 0; k < f->n_lines && status == QDISP_OK; k++) {
        status = count_line(f, f->tokenizers[i], l, k, &e, counts);
        if (status == QDISP_OK) continue;
        char reason[512];
        qd_copy_error(f->tokenizers[i]->ctx, reason);
        qd_fail(f->ctx, status, "%.80s: language %s, line %zu: %.300s", f->names[i],
                qdisp_corpus_language(f->corpus, l), k + 1, reason);
    }
    qd_free(f->ctx, e.ids);
    qd_free(f->ctx, e.starts);
    return status;
}

static qdisp_status resample(void *arg, size_t i_task, unsigned i_worker) {
    fertility *f = arg;
    token_counts *counts = &f->counts[i_task];
    const token_counts *pivot = &f->counts[i_task / f->n_languages * f->n_languages + f->pivot];
    (void)i_worker;
    counts->low = counts->high = counts == pivot ? 1 : NAN;
    if (f->n_lines < 3 || counts == pivot || pivot->n_tokens == 0) return QDISP_OK;
    /* the same seed everywhere: parallel lines are resampled together */
    return qdisp_bootstrap_ratio(f->ctx, counts->lines, pivot->lines, f->n_lines, LEVEL, f->n_resamples, f->seed,
                                 &counts->low, &counts->high);
}

/* ---- tables ---- */

static double ratio(int64_t a, int64_t b) {
    return b > 0 ? (double)a / (double)b : NAN;
}

static double premium_of(const fertility *f, size_t i, size_t l) {
    const token_counts *row = f->counts + i * f->n_languages;
    return f->pivot == SIZE_MAX ? NAN : ratio(row[l].n_tokens, row[f->pivot].n_tokens);
}

static double whole_of(const fertility *f, size_t i, size_t l) {
    return f->texts[l].has_words ? ratio(f->counts[i * f->n_languages + l].n_whole, f->texts[l].n_words) : NAN;
}

typedef struct mean { /* of what is not missing */
    double sum;
    size_t n;
} mean;

static void mean_add(mean *m, double v) {
    if (isnan(v)) return;
    m->sum += v;
    m->n++;
}

static double mean_of(const mean *m) {
    return m->n ? m->sum / (double)m->n : NAN;
}

enum { PER_BYTE, PER_GRAPHEME, PREMIUM, BYTES, UNK, WHOLE, N_MEANS };

/* Means of tokenizer i over languages; the language with the highest premium, or n_languages. */
static size_t summarize(const fertility *f, size_t i, mean means[N_MEANS]) {
    size_t worst = f->n_languages;
    for (size_t l = 0; l < f->n_languages; l++) {
        const token_counts *c = &f->counts[i * f->n_languages + l];
        double premium = premium_of(f, i, l);
        mean_add(&means[PER_BYTE], ratio(c->n_tokens, f->texts[l].n_bytes));
        mean_add(&means[PER_GRAPHEME], ratio(c->n_tokens, f->texts[l].n_graphemes));
        if (l != f->pivot) mean_add(&means[PREMIUM], premium);
        mean_add(&means[BYTES], ratio(c->n_bytes, c->n_tokens));
        mean_add(&means[UNK], ratio(c->n_unk, c->n_tokens));
        mean_add(&means[WHOLE], whole_of(f, i, l));
        if (!isnan(premium) && (worst == f->n_languages || premium > premium_of(f, i, worst))) worst = l;
    }
    return worst;
}

static qdisp_status fill_tokenizers(const fertility *f, qdisp_table *t) {
    static const char *const names[N_MEANS][2] = {
        {"tokens_per.byte", "tokens/byte"}, {"tokens_per.grapheme", "tokens/grapheme"}, {"premium.mean", "ratio"},
        {"share.bytes", "share"}, {"share.unk", "share"}, {"share.whole_words", "share"}};
    qdisp_status status = QDISP_OK;
    size_t columns[N_MEANS], worst_premium = 0;
    size_t name = qd_table_column(t, &status, "tokenizer", "", QDISP_COLUMN_STR);
    size_t n_vocab = qd_table_column(t, &status, "n_vocab", "", QDISP_COLUMN_I64);
    for (size_t k = 0; k < N_MEANS; k++) {
        columns[k] = qd_table_column(t, &status, names[k][0], names[k][1], QDISP_COLUMN_F64);
        if (k == PREMIUM) worst_premium = qd_table_column(t, &status, "premium.worst", "ratio", QDISP_COLUMN_F64);
    }
    size_t worst_column = qd_table_column(t, &status, "worst_language", "", QDISP_COLUMN_STR);
    for (size_t i = 0; i < f->n_tokenizers; i++) {
        mean means[N_MEANS] = {{0}};
        size_t row = qd_table_row(t, &status), worst = summarize(f, i, means);
        qd_table_str(t, &status, row, name, f->names[i]);
        qd_table_i64(t, &status, row, n_vocab, (int64_t)qdisp_tokenizer_n_vocab(f->tokenizers[i]));
        for (size_t k = 0; k < N_MEANS; k++) qd_table_f64(t, &status, row, columns[k], mean_of(&means[k]));
        if (worst == f->n_languages) continue;
        qd_table_str(t, &status, row, worst_column, qdisp_corpus_language(f->corpus, worst));
        qd_table_f64(t, &status, row, worst_premium, premium_of(f, i, worst));
    }
    return status;
}

static qdisp_status fill_fertility(const fertility *f, qdisp_table *t) {
    static const char *const names[][2] = {
        {"tokens_per.byte", "tokens/byte"}, {"tokens_per.codepoint", "tokens/codepoint"},
        {"tokens_per.grapheme", "tokens/grapheme"}, {"tokens_per.sentence", "tokens/line"}, {"premium.ratio", "ratio"},
        {"premium.low", "ratio"}, {"premium.high", "ratio"}, {"share.bytes", "share"}, {"share.unk", "share"},
        {"share.whole_words", "share"}};
    enum { N = sizeof names / sizeof *names };
    qdisp_status status = QDISP_OK;
    size_t columns[N];
    size_t tokenizer = qd_table_column(t, &status, "tokenizer", "", QDISP_COLUMN_STR);
    size_t language = qd_table_column(t, &status, "language", "", QDISP_COLUMN_STR);
    size_t n_tokens = qd_table_column(t, &status, "n_tokens", "", QDISP_COLUMN_I64);
    for (size_t k = 0; k < N; k++)
        columns[k] = qd_table_column(t, &status, names[k][0], names[k][1], QDISP_COLUMN_F64);
    for (size_t i = 0; i < f->n_tokenizers * f->n_languages; i++) {
        const token_counts *c = &f->counts[i];
        const text_counts *text = &f->texts[i % f->n_languages];
        size_t row = qd_table_row(t, &status);
        const double values[N] = {
            ratio(c->n_tokens, text->n_bytes), ratio(c->n_tokens, text->n_codepoints),
            ratio(c->n_tokens, text->n_graphemes), ratio(c->n_tokens, (int64_t)f->n_lines),
            premium_of(f, i / f->n_languages, i % f->n_languages), c->low, c->high,
            ratio(c->n_bytes, c->n_tokens), ratio(c->n_unk, c->n_tokens),
            whole_of(f, i / f->n_languages, i % f->n_languages)};
        qd_table_str(t, &status, row, tokenizer, f->names[i / f->n_languages]);
        qd_table_str(t, &status, row, language, qdisp_corpus_language(f->corpus, i % f->n_languages));
        qd_table_i64(t, &status, row, n_tokens, c->n_tokens);
        for (size_t k = 0; k < N; k++) qd_table_f64(t, &status, row, columns[k], values[k]);
    }
    return status;
}

static qdisp_status fill_texts(const fertility *f, qdisp_table *t) {
    qdisp_status status = QDISP_OK;
    size_t language = qd_table_column(t, &status, "language", "", QDISP_COLUMN_STR);
    size_t script = qd_table_column(t, &status, "script", "", QDISP_COLUMN_STR);
    size_t n_lines = qd_table_column(t, &status, "n_lines", "", QDISP_COLUMN_I64);
    size_t n_bytes = qd_table_column(t, &status, "n_bytes", "bytes", QDISP_COLUMN_I64);
    size_t n_codepoints = qd_table_column(t, &status, "n_codepoints", "", QDISP_COLUMN_I64);
    size_t n_graphemes = qd_table_column(t, &status, "n_graphemes", "", QDISP_COLUMN_I64);
    size_t n_words = qd_table_column(t, &status, "n_words", "", QDISP_COLUMN_I64);
    for (size_t l = 0; l < f->n_languages; l++) {
        const text_counts *text = &f->texts[l];
        size_t row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, language, qdisp_corpus_language(f->corpus, l));
        qd_table_str(t, &status, row, script, qdisp_corpus_script(f->corpus, l));
        qd_table_i64(t, &status, row, n_lines, (int64_t)f->n_lines);
        qd_table_i64(t, &status, row, n_bytes, text->n_bytes);
        qd_table_i64(t, &status, row, n_codepoints, text->n_codepoints);
        qd_table_i64(t, &status, row, n_graphemes, text->n_graphemes);
        qd_table_i64(t, &status, row, n_words, text->has_words ? text->n_words : QDISP_MISSING_I64);
    }
    return status;
}

static qdisp_status add_table(const fertility *f, qdisp_report *report, const char *name, const char *title,
                              qdisp_status (*fill)(const fertility *f, qdisp_table *t)) {
    qdisp_table *t = NULL;
    QD_TRY(qdisp_table_new(f->ctx, name, title, &t));
    qdisp_status status = fill(f, t);
    if (status == QDISP_OK) return qdisp_report_add(report, t);
    qdisp_table_free(t);
    return status;
}

static qdisp_status make_report(const fertility *f, qdisp_report **out) {
    qdisp_report *report = NULL;
    QD_TRY(qdisp_report_new(f->ctx, "fertility", &report));
    qdisp_status status = add_table(f, report, "tokenizers", "Tokenizers (means over languages)", fill_tokenizers);
    if (status == QDISP_OK)
        status = add_table(f, report, "fertility", "Tokens by tokenizer and language (premium: 95 % interval)",
                           fill_fertility);
    if (status == QDISP_OK) status = add_table(f, report, "texts", "Text by language", fill_texts);
    if (status == QDISP_OK) *out = report;
    else qdisp_report_free(report);
    return status;
}

/* ---- the whole ---- */

static qdisp_status check_arguments(fertility *f, const char *pivot) {
    if (!f->n_tokenizers) return qd_fail(f->ctx, QDISP_EINVAL, "qdisp_fertility: no tokenizer");
    for (size_t i = 0; i < f->n_tokenizers; i++) {
        if (!f->tokenizers[i]) return qd_fail(f->ctx, QDISP_EINVAL, "tokenizers[%zu] is NULL", i);
        if (!f->names[i]) return qd_fail(f->ctx, QDISP_EINVAL, "names[%zu] is NULL", i);
        for (size_t k = 0; k < i; k++)
            if (!strcmp(f->names[i], f->names[k]))
                return qd_fail(f->ctx, QDISP_EINVAL, "names: '%.80s' is there twice", f->names[i]);
    }
    f->pivot = SIZE_MAX;
    for (size_t l = 0; l < f->n_languages; l++)
        if (!strcmp(qdisp_corpus_language(f->corpus, l), pivot ? pivot : "en")) f->pivot = l;
    if (pivot && f->pivot == SIZE_MAX)
        return qd_fail(f->ctx, QDISP_EINVAL, "pivot: the corpus has no language '%.40s'", pivot);
    if (f->n_resamples < 100) return qd_fail(f->ctx, QDISP_EINVAL, "n_resamples: %zu is below 100", f->n_resamples);
    return QDISP_OK;
}

static qdisp_status run(fertility *f) {
    size_t n = f->n_tokenizers * f->n_languages; /* both are counts of things in memory, but one may come twice */
    uint64_t total;
    if (qd_mul_overflows(n, f->n_lines, &total) || total > SIZE_MAX / sizeof(double)) return QDISP_ENOMEM;
    f->texts = qd_alloc(f->ctx, f->n_languages, sizeof *f->texts);
    f->counts = qd_alloc(f->ctx, n, sizeof *f->counts);
    f->lines = qd_alloc(f->ctx, (size_t)total, sizeof *f->lines);
    if (!f->texts || !f->counts || !f->lines) return QDISP_ENOMEM;
    for (size_t i = 0; i < n; i++) f->counts[i].low = f->counts[i].high = NAN;
    QD_TRY(qd_progress(f->ctx, "fertility", 0));
    QD_TRY(qd_parallel(f->ctx, f->n_languages, count_text, f));
    QD_TRY(qd_parallel(f->ctx, n, count_tokens, f));
    QD_TRY(qd_progress(f->ctx, "fertility", 0.8));
    if (f->pivot != SIZE_MAX) QD_TRY(qd_parallel(f->ctx, n, resample, f));
    return qd_progress(f->ctx, "fertility", 1);
}

qdisp_status qdisp_fertility(qdisp_ctx *ctx, const qdisp_tokenizer *const *tokenizers, const char *const *names,
                             size_t n, const qdisp_corpus *corpus, const qdisp_fertility_options *options,
                             qdisp_report **out) {
    if (!ctx) return QDISP_EINVAL;
    if (!tokenizers || !names || !corpus || !out)
        return qd_fail(ctx, QDISP_EINVAL, "qdisp_fertility: %s is NULL",
                       !tokenizers ? "tokenizers" : !names ? "names" : !corpus ? "corpus" : "out");
    qdisp_fertility_options given;
    QD_TRY(qd_copy_options(ctx, "fertility options", options, &given, sizeof given));
    fertility f = {.ctx = ctx, .tokenizers = tokenizers, .names = names, .corpus = corpus, .n_tokenizers = n,
                   .n_languages = qdisp_corpus_n_languages(corpus), .n_lines = qdisp_corpus_n_lines(corpus),
                   .n_resamples = given.n_resamples ? given.n_resamples : DEFAULT_RESAMPLES, .seed = given.seed};
    QD_TRY(check_arguments(&f, given.pivot));
    qdisp_status status = run(&f);
    if (status == QDISP_OK) status = make_report(&f, out);
    qd_free(ctx, f.texts);
    qd_free(ctx, f.counts);
    qd_free(ctx, f.lines);
    return status;
}
