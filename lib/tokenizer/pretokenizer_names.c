/* pretokenizer_names.c - how a GGUF file's tokenizer.ggml.pre cuts text: a row a name.
 *
 * A GGUF file of a byte-level BPE names the family of its pre-tokenizer instead of carrying it. The patterns are those
 * of the models' own tokenizer.json files, which llama.cpp follows; each cuts further what the one before left. */
#include "tokenizer/sources.h"
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define PUNCTUATION "[\\p{P}\\$\\+<=>\\^~\\|`]+"
#define DEEPSEEK_WORDS "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+" \
    "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+" \
                       "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CJK "[\\x{4E00}-\\x{9FA5}\\x{0800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"
#define CJK_KANA "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+"
/* Letters with case (of Unicode 9), as the pattern of deepseek-llm lists them. */
#define CASED "\\s?[A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}" \
              "\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}" \
              "\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}" \
              "\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}" \
              "\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}" \
              "\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}" \
    "\\x{1F5D}\\x{1F5F}-\\x{1F7D}" \
              "\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}" \
              "\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}" \
              "\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}" \
              "\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}" \
              "\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}" \
              "\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}" \
              "\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}" \
              "\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}" \
              "\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}]+"
#define BLOOM " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{FF0C}\\x{3001}\\x{0964}\\x{06D4}\\x{060C})]+"
#define BAILING "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}" \
    "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]" \
                "|\\s+(?!\\S)|\\s+"
#define SEED_CODER QD_PATTERN_ENGLISH "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}" \
    "| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+" \
                   "|\\s+(?!\\S)|\\s+"

#define GPT2 {QD_PATTERN_GPT2}
#define DIGITS_GPT2 {"\\p{N}", QD_PATTERN_GPT2}
#define DEEPSEEK3 {"\\p{N}{1,3}", CJK_KANA, DEEPSEEK_WORDS}

static const qd_named_pattern NAMES[] = {
    {"default", {"[\\p{P}\\$\\+<=>\\^~\\|]+", QD_PATTERN_GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, false, false},
    {"llama3", {QD_PATTERN_LLAMA3}, true, true},
    {"llama-v3", {QD_PATTERN_LLAMA3}, true, true},
    {"llama-bpe", {QD_PATTERN_LLAMA3}, true, true},
    {"falcon3", {QD_PATTERN_LLAMA3}, true, true},
    {"falcon-h1", {QD_PATTERN_LLAMA3}, true, true},
    {"pixtral", {QD_PATTERN_LLAMA3}, true, true},
    {"midm-2.0", {QD_PATTERN_LLAMA3}, true, true},
    {"lfm2", {QD_PATTERN_LLAMA3}, true, true},
    {"dbrx", {QD_PATTERN_LLAMA3}, false, false},
    {"smaug-bpe", {QD_PATTERN_LLAMA3}, false, false},
    {"chatglm-bpe", {QD_PATTERN_LLAMA3}, false, false},
    {"glm4", {QD_PATTERN_LLAMA3}, true, false},
    {"glm5", {QD_PATTERN_LLAMA3}, true, false},
    {"deepseek-llm", {"[\\r\\n]", CASED, "\\s?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}"
                      "\\x{3000}-\\x{3002}]+", "\\s+$", CJK, "\\p{N}+"}, false, false},
    {"deepseek-coder", {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK, "\\p{N}"}, false, false},
    {"deepseek-v3", DEEPSEEK3, false, false},
    {"hunyuan-dense", DEEPSEEK3, false, false},
    {"joyai-llm", DEEPSEEK3, false, false},
    {"falcon", {PUNCTUATION, QD_PATTERN_GPT2, "[0-9][0-9][0-9]"}, false, false},
    {"starcoder", DIGITS_GPT2, false, false},
    {"refact", DIGITS_GPT2, false, false},
    {"command-r", DIGITS_GPT2, false, false},
    {"smollm", DIGITS_GPT2, false, false},
    {"codeshell", DIGITS_GPT2, false, false},
    {"exaone", DIGITS_GPT2, false, false},
    {"minerva-7b", DIGITS_GPT2, false, false},
    {"mellum2", DIGITS_GPT2, false, false},
    {"gpt-2", GPT2, false, false},
    {"phi-2", GPT2, false, false},
    {"jina-es", GPT2, false, false},
    {"jina-de", GPT2, false, false},
    {"jina-v2-es", GPT2, false, false},
    {"jina-v2-de", GPT2, false, false},
    {"jina-v1-en", GPT2, false, false},
    {"jina-v2-code", GPT2, false, false},
    {"roberta-bpe", GPT2, false, false},
    {"gigachat", GPT2, false, false},
    {"a.x-4.0", GPT2, false, false},
    {"mellum", GPT2, false, false},
    {"modern-bert", GPT2, false, false},
    {"exaone4", GPT2, false, false},
    {"mpt", GPT2, false, false},
    {"olmo", GPT2, false, false},
    {"jais", GPT2, false, false},
    {"trillion", GPT2, false, false},
    {"granite-docling", GPT2, false, false},
    {"qwen2", {QD_PATTERN_QWEN2}, false, false},
    {"deepseek-r1-qwen", {QD_PATTERN_QWEN2}, false, false},
    {"kormo", {QD_PATTERN_QWEN2}, false, false},
    {"megrez", {QD_PATTERN_QWEN2}, false, false},
    {"stablelm2", {QD_PATTERN_QWEN2}, false, false},
    {"hunyuan", {QD_PATTERN_QWEN2}, false, false},
    {"solar-open", {QD_PATTERN_QWEN2}, false, false},
    {"grok-2", {QD_PATTERN_QWEN2}, false, false},
    {"qwen35", {QD_PATTERN_ENGLISH "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*"
                "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}, false, false},
    {"bloom", {BLOOM}, false, false},
    {"poro-chat", {BLOOM}, false, false},
    {"gpt3-finnish", {BLOOM}, false, false},
    {"viking", {BLOOM, "\\p{N}"}, false, false},
    {"tekken", {QD_PATTERN_CASES("", "\\p{N}")}, true, true},
    {"gpt-4o", {QD_PATTERN_O200K}, false, false},
    {"llama4", {QD_PATTERN_O200K}, false, false},
    {"kanana2", {QD_PATTERN_O200K}, false, false},
    {"minimax-m2", {QD_PATTERN_O200K}, false, false},
    {"superbpe", {"\\p{N}+", "(?=(\\d{3})+(?!\\d))"}, false, false},
    {"bailingmoe", {BAILING}, false, false},
    {"bailingmoe2", {BAILING}, false, false},
    {"llada-moe", {BAILING}, false, false},
    {"seed-coder", {SEED_CODER}, false, false},
    {"minicpm5", {"\\p{N}{1,3}", QD_PATTERN_ENGLISH "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}+" QD_PATTERN_TAIL}, true,
     false},
};

const qd_named_pattern *qd_pretokenizer_named(const char *name, size_t n) {
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        if (strlen(NAMES[i].name) == n && !memcmp(NAMES[i].name, name, n)) return &NAMES[i];
    }
    return NULL;
}

/* One character of a pattern, escapes of control characters and code points undone. */
static uint32_t next_character(const char **at) {
    const char *s = *at;
    if (s[0] == '\\' && (s[1] == 'r' || s[1] == 'n')) {
        *at = s + 2;
        return s[1] == 'r' ? '\r' : '\n';
    }
    if (s[0] == '\\' && s[1] == 'x' && s[2] == '{') {
        char *end;
        uint32_t c = (uint32_t)strtoul(s + 3, &end, 16);
        *at = *end == '}' ? end + 1 : end;
        return c;
    }
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s, -1, &c);
    *at = s + (n > 0 ? n : 1);
    return n > 0 ? (uint32_t)c : (uint8_t)*s;
}

static bool same_pattern(const char *a, const char *b) {
    while (*a && *b) {
        if (next_character(&a) != next_character(&b)) return false;
    }
    return !*a && !*b;
}

const char *qd_pretokenizer_name(const char *const *patterns, size_t n, bool ignore_merges) {
    /* BLOOM's own has a bracket within its class, which means the same */
    static const char bloom[] = " ?[^(\\s|[.,!?\\x{2026}\\x{3002}\\x{FF0C}\\x{3001}\\x{0964}\\x{06D4}\\x{060C}])]+";
    if (n == 1 && same_pattern(patterns[0], bloom)) return "bloom";
    const char *found = NULL; /* with other merges, which hardly ever matters */
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        size_t k = 0;
        while (k < n && k < 6 && NAMES[i].patterns[k] && same_pattern(NAMES[i].patterns[k], patterns[k])) k++;
        if (k != n || (k < 6 && NAMES[i].patterns[k])) continue;
        if (NAMES[i].ignore_merges == ignore_merges) return NAMES[i].name;
        if (!found) found = NAMES[i].name;
    }
    return found;
}
