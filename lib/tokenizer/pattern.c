/* pattern.c - patterns compiled by PCRE2 with its JIT, and bounded matching. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/pattern.h"
#include "tokenizer/scanner.h"
#include <pcre2.h>
#include <string.h>

/* Backtracking steps a match may take: published patterns need a few a character, and a catastrophic one ends within
 * about a second. The heap and JIT stack bound its memory. */
#define MATCH_LIMIT 5000000u
#define HEAP_LIMIT_KIB (32u * 1024u)
#define JIT_STACK_FIRST ((size_t)32 << 10)
#define JIT_STACK_MOST ((size_t)16 << 20)

struct qd_pattern {
    qd_scanner *scanner; /* the pattern is of the kind that needs no PCRE2; else NULL */
    pcre2_code *code;
    bool literal;
};

struct qd_matcher {
    pcre2_general_context *general;
    pcre2_match_context *context;
    pcre2_match_data *data;
    pcre2_jit_stack *stack;
};

static void *pcre2_allocate(PCRE2_SIZE n, void *ctx) {
    return qd_alloc(ctx, n ? n : 1, 1);
}

static void pcre2_release(void *block, void *ctx) {
    if (block) qd_free(ctx, block);
}

static qdisp_status compile(const qd_place *place, const char *source, size_t n, bool literal,
                            pcre2_general_context *general, pcre2_code **out) {
    pcre2_compile_context *context = pcre2_compile_context_create(general);
    if (!context) return QDISP_ENOMEM;
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context, 100);
    pcre2_set_max_pattern_length(context, 1 << 20);
    uint32_t options = literal ? PCRE2_UTF | PCRE2_LITERAL
                               : PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    int error = 0;
    PCRE2_SIZE offset = 0;
    *out = pcre2_compile((PCRE2_SPTR)source, n, options, &error, &offset, context);
    pcre2_compile_context_free(context);
    if (*out) {
        pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* without a JIT the interpreter serves */
        return QDISP_OK;
    }
    if (error == PCRE2_ERROR_HEAP_FAILED || error == 121) return QDISP_ENOMEM; /* 121: no memory while compiling */
    char reason[200] = "";
    pcre2_get_error_message(error, (PCRE2_UCHAR *)reason, sizeof reason);
    return qd_fail(place->ctx, QDISP_EFORMAT, "%s: %s: pattern: %s at byte %zu", place->file, place->member, reason,
                   (size_t)offset);
}

qdisp_status qd_pattern_new(const qd_place *place, const char *source, size_t n, bool literal, qd_pattern **out) {
    qdisp_ctx *ctx = place->ctx;
    char *translated = NULL;
    size_t n_translated = 0;
    if (!literal) QD_TRY(qd_pattern_translate(place, source, n, &translated, &n_translated));
    qdisp_status status = QDISP_ENOMEM;
    qd_pattern *pattern = qd_alloc(ctx, 1, sizeof *pattern);
    if (pattern && !literal) status = qd_scanner_new(ctx, source, n, &pattern->scanner);
    if (pattern && pattern->scanner) {
        qd_free(ctx, translated);
        *out = pattern;
        return QDISP_OK;
    }
    pcre2_general_context *general = pattern ? pcre2_general_context_create(pcre2_allocate, pcre2_release, ctx) : NULL;
    if (general) {
        pattern->literal = literal;
        status = compile(place, literal ? source : translated, literal ? n : n_translated, literal, general,
                         &pattern->code);
    }
    pcre2_general_context_free(general);
    qd_free(ctx, translated);
    if (status != QDISP_OK) {
        qd_free(ctx, pattern);
        return status;
    }
    *out = pattern;
    return QDISP_OK;
}

void qd_pattern_free(qdisp_ctx *ctx, qd_pattern *pattern) {
    if (!pattern) return;
    qd_scanner_free(ctx, pattern->scanner);
    pcre2_code_free(pattern->code);
    qd_free(ctx, pattern);
}

qdisp_status qd_matcher_new(qdisp_ctx *ctx, qd_matcher **out) {
    *out = qd_alloc(ctx, 1, sizeof **out);
    return *out ? QDISP_OK : QDISP_ENOMEM;
}

/* What PCRE2 needs is made for its first pattern. */
static qdisp_status prepare(qdisp_ctx *ctx, qd_matcher *m) {
    if (m->data) return QDISP_OK;
    if (!m->general) m->general = pcre2_general_context_create(pcre2_allocate, pcre2_release, ctx);
    if (m->general && !m->context) m->context = pcre2_match_context_create(m->general);
    pcre2_match_data *data = m->context ? pcre2_match_data_create(1, m->general) : NULL;
    if (!data) return QDISP_ENOMEM;
    m->stack = pcre2_jit_stack_create(JIT_STACK_FIRST, JIT_STACK_MOST, m->general); /* NULL without a JIT */
    pcre2_set_match_limit(m->context, MATCH_LIMIT);
    pcre2_set_heap_limit(m->context, HEAP_LIMIT_KIB);
    if (m->stack) pcre2_jit_stack_assign(m->context, NULL, m->stack);
    m->data = data;
    return QDISP_OK;
}

void qd_matcher_free(qdisp_ctx *ctx, qd_matcher *matcher) {
    if (!matcher) return;
    pcre2_jit_stack_free(matcher->stack);
    pcre2_match_data_free(matcher->data);
    pcre2_match_context_free(matcher->context);
    pcre2_general_context_free(matcher->general);
    qd_free(ctx, matcher);
}

static qdisp_status push(qdisp_ctx *ctx, qd_spans *spans, size_t begin, size_t end, bool is_match) {
    QD_TRY(qd_grow(ctx, (void **)&spans->items, &spans->cap, spans->n + 1, sizeof *spans->items));
    spans->items[spans->n++] = (qd_span){begin, end, is_match};
    return QDISP_OK;
}

static qdisp_status match_failed(qdisp_ctx *ctx, int rc, size_t at) {
    if (rc == PCRE2_ERROR_NOMEMORY) return qd_fail(ctx, QDISP_ENOMEM, "out of memory");
    char reason[200] = "";
    pcre2_get_error_message(rc, (PCRE2_UCHAR *)reason, sizeof reason);
    return qd_fail(ctx, QDISP_EUNSUPPORTED, "tokenizer: the pre-tokenizer's pattern gave up at byte %zu: %s", at,
                   reason);
}

/* Steps a text may take: what published patterns need many times over, and an end for those that look at the same bytes
 * again and again. */
#define SCAN_STEPS_A_BYTE 100
#define SCAN_STEPS_MORE 5000000

static qdisp_status scanned_spans(qdisp_ctx *ctx, const qd_scanner *scanner, const uint8_t *text, size_t begin,
                                  size_t end, qd_spans *spans) {
    int64_t budget = (int64_t)(end - begin) * SCAN_STEPS_A_BYTE + SCAN_STEPS_MORE;
    const uint8_t *from = text + begin, *done = from, *at[2];
    while (qd_scanner_next(scanner, from, text + end, &budget, &at[0], &at[1])) {
        if (at[0] > done) QD_TRY(push(ctx, spans, (size_t)(done - text), (size_t)(at[0] - text), false));
        QD_TRY(push(ctx, spans, (size_t)(at[0] - text), (size_t)(at[1] - text), true));
        done = from = at[1];
    }
    if (budget < 0) return match_failed(ctx, PCRE2_ERROR_MATCHLIMIT, (size_t)(from - text));
    return done < text + end ? push(ctx, spans, (size_t)(done - text), end, false) : QDISP_OK;
}

/* An empty match is taken except right behind the match before it, as the reference's iterator does. */
qdisp_status qd_pattern_spans(qdisp_ctx *ctx, qd_matcher *matcher, const qd_pattern *pattern, const uint8_t *text,
                              const uint8_t *shadow, size_t begin, size_t end, qd_spans *spans) {
    if (pattern->scanner) return scanned_spans(ctx, pattern->scanner, text, begin, end, spans);
    PCRE2_SPTR subject = (pattern->literal ? text : shadow) + begin;
    size_t n = end - begin, from = 0, done = 0, last_end = SIZE_MAX;
    QD_TRY(prepare(ctx, matcher));
    while (from <= n) {
        int rc = pcre2_match(pattern->code, subject, n, from, PCRE2_NO_UTF_CHECK, matcher->data, matcher->context);
        if (rc == PCRE2_ERROR_NOMATCH) break;
        if (rc < 0) return match_failed(ctx, rc, begin + from);
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(matcher->data);
        if (at[0] >= at[1] && at[1] == last_end) {
            if (from >= n) break;
            for (from++; from < n && (subject[from] & 0xC0) == 0x80;) from++;
            continue;
        }
        if (at[0] > done) QD_TRY(push(ctx, spans, begin + done, begin + at[0], false));
        QD_TRY(push(ctx, spans, begin + at[0], begin + at[1], true));
        done = from = last_end = at[1];
    }
    return done < n ? push(ctx, spans, begin + done, end, false) : QDISP_OK;
}
