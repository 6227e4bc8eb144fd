/* Patterns that need no PCRE2 give what PCRE2 gives. The other side is the same pattern in an atomic group, which the
 * scanner leaves to PCRE2 and which matches the same, since nothing stands behind it. */
#include "harness.h"
#include "tokenizer/scanner.h"

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define O200K_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define O200K_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"

static const char *const PATTERNS[] = {
    /* gpt2, llama3, qwen2, o200k, deepseek v3, bloom */
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES,
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES,
    "[^\\r\\n\\p{L}\\p{N}]?" O200K_UPPER "*" O200K_LOWER "+" CONTRACTIONS "?|[^\\r\\n\\p{L}\\p{N}]?" O200K_UPPER
    "+" O200K_LOWER "*" CONTRACTIONS "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES,
    "\\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
    " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
    " ?[^(\\s|[.,!?…。，、।۔،])]+",
    /* every kind of item and of quantifier */
    "\\p{Lu}++\\p{Ll}*+|\\d{2,4}|\\P{L}{3}", "a{2,}b?|[^a-c]{2}|x", "(?:ab|a|é)?c+|ab", "[\\S]+", "[\\P{Ll}a]+",
    "\\s+(?!\\S)|[.]+(?!a)", "(?i:sk|k|'S)|(?i:kelvin)a+", "'s|s", "\\p{Zs}+|\\p{Mn}\\p{Nd}*\\p{Po}", "[^é-ü]+",
    "\\.\\/",
};

/* Left to PCRE2, or refused by it. */
static const char *const OTHERS[] = {
    "", "a|", "|a", "a||b", "a*", "(a)", "(?:a+)", "a+?", "a{2}+", "a{3}?", "^a", "a$", ".", "\\ba", "\\w+", "[\\w]",
    "(?=a)b", "(?!a)", "(?<!a)b", "\\p{Han}", "[a&&b]", "[[:alpha:]]", "[^]", "[]a]", "[b-a]", "[a", "a(?i:", "(?i:a|",
    "\\", "[\\", "\\p{L", "\\p", "a**", "(?:a)*", "\\x41", "\\1", "(?i:é)", "[a-\\s]", "a{2", "a{4,2}", "a{0}",
    "(?i)a", "\\pL", "x{99999999}", "(?i:a)+",
};

static qdisp_ctx *ctx;

static void compare(const char *source, const uint8_t *text, size_t n) {
    char *other = malloc(strlen(source) + 8);
    qd_place place = {.ctx = ctx, .file = "test", .member = "pattern"};
    qd_pattern *ours = NULL, *pcre2 = NULL;
    qd_matcher *matcher = NULL;
    qd_spans a = {0}, b = {0};
    qd_encoder e = {.ctx = ctx};
    qd_text whole = {.bytes = text, .n = n};
    const uint8_t *shadow = NULL;
    sprintf(other, "(?>%s)", source);
    CHECK_STATUS(qd_pattern_new(&place, source, strlen(source), false, &ours), QDISP_OK);
    CHECK_STATUS(qd_pattern_new(&place, other, strlen(other), false, &pcre2), QDISP_OK);
    CHECK_STATUS(qd_matcher_new(ctx, &matcher), QDISP_OK);
    CHECK_STATUS(qd_encoder_shadow(&e, &whole, 0, n, &shadow), QDISP_OK);
    CHECK_STATUS(qd_pattern_spans(ctx, matcher, ours, text, text, 0, n, &a), QDISP_OK);
    CHECK_STATUS(qd_pattern_spans(ctx, matcher, pcre2, text, shadow, 0, n, &b), QDISP_OK);
    size_t i = 0;
    while (i < a.n && i < b.n && a.items[i].begin == b.items[i].begin && a.items[i].end == b.items[i].end &&
           a.items[i].is_match == b.items[i].is_match)
        i++;
    CHECK(a.n > 0 && i == a.n && i == b.n);
    if (i < a.n || i < b.n) {
        printf("  %s\n  span %zu of %zu and %zu", source, i, a.n, b.n);
        if (i < a.n && i < b.n) {
            printf(": %zu..%zu (%d) and %zu..%zu (%d)", a.items[i].begin, a.items[i].end, a.items[i].is_match,
                   b.items[i].begin, b.items[i].end, b.items[i].is_match);
        }
        printf("\n");
    }
    qd_free(ctx, a.items);
    qd_free(ctx, b.items);
    qd_encoder_clear(&e);
    qd_matcher_free(ctx, matcher);
    qd_pattern_free(ctx, ours);
    qd_pattern_free(ctx, pcre2);
    free(other);
}

static void compare_all(const uint8_t *text, size_t n) {
    for (size_t i = 0; i < sizeof PATTERNS / sizeof PATTERNS[0]; i++) compare(PATTERNS[i], text, n);
}

static size_t put(int32_t c, uint8_t *out) {
    return qd_utf8_put(c >= 0xD800 && c < 0xE000 ? 0xFFFD : c, out);
}

TEST(which_patterns) {
    qd_scanner *scanner = NULL;
    for (size_t i = 0; i < sizeof PATTERNS / sizeof PATTERNS[0]; i++) {
        CHECK_STATUS(qd_scanner_new(ctx, PATTERNS[i], strlen(PATTERNS[i]), &scanner), QDISP_OK);
        CHECK(scanner != NULL);
        if (!scanner) printf("  %s\n", PATTERNS[i]);
        qd_scanner_free(ctx, scanner);
    }
    for (size_t i = 0; i < sizeof OTHERS / sizeof OTHERS[0]; i++) {
        CHECK_STATUS(qd_scanner_new(ctx, OTHERS[i], strlen(OTHERS[i]), &scanner), QDISP_OK);
        CHECK(scanner == NULL);
        if (scanner) printf("  %s\n", OTHERS[i]);
        qd_scanner_free(ctx, scanner);
    }
}

/* Every character between two letters, and in a row; of those that have no names a part. */
TEST(all_characters) {
    uint8_t *text = malloc((size_t)8 * 0x40000);
    size_t n = 0, n_row = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t c = 0; c < 0x110000; c += c < 0x32400 || c >> 8 == 0xE00 || c >> 8 == 0xE01 ? 1 : 97) {
            if (pass == 0) text[n++] = 'a';
            n += put(c, text + n);
        }
        if (pass == 0) n_row = n;
    }
    compare_all(text, n_row);
    compare_all(text + n_row, n - n_row);
    free(text);
}

/* Short texts of characters that the patterns tell apart, and long runs of them. */
TEST(random_texts) {
    static const int32_t CHARS[] = {
        ' ', ' ', ' ',  '\n', '\r', '\t', 'a', 'b', 'c', 'x', 's',   'S',    'K',   'B',   'Z',   '1',   '2',
        '9', '\'', '\'', '.', '/', '-', '(', '|', 0x85, 0xA0, 0xE9, 'l', 'd', 'e', 'r', 'v', 'm', 't', 0x17F, 0x212A,
        0x301, 0x1C5, 0x2B0, 0x5D0, 0x661, '[', ']', 0x2028, 0x3000, 0x4E00, 0x9FA5, 0x3042, 0x2164, 0xBD, 0x20AC,
        0x1F600, 0x200D};
    uint8_t text[4 * 4000];
    for (uint32_t seed = 0; seed < 120; seed++) {
        const uint32_t key[2] = {seed, 7};
        uint32_t words[4];
        size_t n = 0, n_chars = seed % 8 ? 1 + seed % 60 : 3000;
        for (uint32_t i = 0; i < n_chars; i++) {
            const uint32_t counter[4] = {i, 0, 0, 0};
            qd_philox(counter, key, words);
            size_t n_kinds = seed % 3 ? sizeof CHARS / sizeof CHARS[0] : 8;
            uint32_t run = words[1] % 50 ? 1 : words[2] % 40;
            for (; run > 0 && n + 4 < sizeof text; run--) n += put(CHARS[words[0] % n_kinds], text + n);
        }
        compare_all(text, n);
    }
}

/* A pattern that looks at the same bytes again and again comes to an end. */
TEST(bounded) {
    static const char source[] = "a*a*a*a*b";
    size_t n = 100000;
    uint8_t *text = malloc(n);
    qd_place place = {.ctx = ctx, .file = "test", .member = "pattern"};
    qd_pattern *pattern = NULL;
    qd_matcher *matcher = NULL;
    qd_spans spans = {0};
    memset(text, 'a', n);
    CHECK_STATUS(qd_pattern_new(&place, source, sizeof source - 1, false, &pattern), QDISP_OK);
    CHECK_STATUS(qd_matcher_new(ctx, &matcher), QDISP_OK);
    CHECK_STATUS(qd_pattern_spans(ctx, matcher, pattern, text, text, 0, n, &spans), QDISP_EUNSUPPORTED);
    CHECK_HAS(qdisp_ctx_error(ctx), "gave up at byte 0");
    qd_free(ctx, spans.items);
    qd_matcher_free(ctx, matcher);
    qd_pattern_free(ctx, pattern);
    free(text);
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(which_patterns);
    RUN(all_characters);
    RUN(random_texts);
    RUN(bounded);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
