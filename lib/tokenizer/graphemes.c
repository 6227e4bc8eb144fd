/* graphemes.c - counts extended grapheme clusters, what readers take for characters (Unicode Standard Annex 29).
 *
 * Rules are those of Unicode 16 and properties those of 17, with any utf8proc: the rules are written here, since
 * utf8proc 2.8 lacks the one for conjuncts (GB9c), and a table holds what Unicode 17 classes otherwise than 14 does.
 * Counts of Devanagari or Bengali would else change by a tenth with the library's age. */
#include "tokenizer/tokenizer.h"
#include <utf8proc.h>

enum { CONJUNCT_NONE, CONJUNCT_CONSONANT, CONJUNCT_LINKER };

typedef struct class_range {
    int32_t first, last;
    uint8_t boundclass;
} class_range;

#define EXTEND UTF8PROC_BOUNDCLASS_EXTEND
#define SPACING UTF8PROC_BOUNDCLASS_SPACINGMARK
#define PREPEND UTF8PROC_BOUNDCLASS_PREPEND
#define CONTROL UTF8PROC_BOUNDCLASS_CONTROL
#define VOWEL UTF8PROC_BOUNDCLASS_V
#define PICTURE UTF8PROC_BOUNDCLASS_EXTENDED_PICTOGRAPHIC

/* Where Unicode 17 differs from utf8proc 2.8 (Unicode 14, and code points that are not assigned). */
static const class_range NEWER[] = {
    {0x0897, 0x0897, EXTEND}, {0x0CC0, 0x0CC0, EXTEND}, {0x0CC7, 0x0CC8, EXTEND}, {0x0CCA, 0x0CCB, EXTEND},
    {0x1715, 0x1715, EXTEND}, {0x1734, 0x1734, EXTEND}, {0x1ACF, 0x1ADD, EXTEND}, {0x1AE0, 0x1AEB, EXTEND},
    {0x1B3B, 0x1B3B, EXTEND}, {0x1B3D, 0x1B3D, EXTEND}, {0x1B43, 0x1B44, EXTEND}, {0x1BAA, 0x1BAA, EXTEND},
    {0x1BF2, 0x1BF3, EXTEND}, {0x2065, 0x2065, CONTROL}, {0xA953, 0xA953, EXTEND}, {0xA9C0, 0xA9C0, EXTEND},
    {0xFFF0, 0xFFF8, CONTROL}, {0x10D69, 0x10D6D, EXTEND}, {0x10EFA, 0x10EFB, EXTEND}, {0x10EFC, 0x10EFC, EXTEND},
    {0x111C0, 0x111C0, EXTEND}, {0x11235, 0x11235, EXTEND}, {0x1134D, 0x1134D, EXTEND}, {0x113B8, 0x113B8, EXTEND},
    {0x113B9, 0x113BA, SPACING}, {0x113BB, 0x113C0, EXTEND}, {0x113C2, 0x113C2, EXTEND}, {0x113C5, 0x113C5, EXTEND},
    {0x113C7, 0x113C9, EXTEND}, {0x113CA, 0x113CA, SPACING}, {0x113CC, 0x113CD, SPACING}, {0x113CE, 0x113D0, EXTEND},
    {0x113D1, 0x113D1, PREPEND}, {0x113D2, 0x113D2, EXTEND}, {0x113E1, 0x113E2, EXTEND}, {0x116B6, 0x116B6, EXTEND},
    {0x1171E, 0x1171E, SPACING}, {0x1193D, 0x1193D, EXTEND}, {0x11B60, 0x11B60, EXTEND}, {0x11B61, 0x11B61, SPACING},
    {0x11B62, 0x11B64, EXTEND}, {0x11B65, 0x11B65, SPACING}, {0x11B66, 0x11B66, EXTEND}, {0x11B67, 0x11B67, SPACING},
    {0x11F41, 0x11F41, EXTEND}, {0x11F5A, 0x11F5A, EXTEND}, {0x1611E, 0x16129, EXTEND}, {0x1612A, 0x1612C, SPACING},
    {0x1612D, 0x1612F, EXTEND}, {0x16D63, 0x16D63, VOWEL}, {0x16D67, 0x16D6A, VOWEL}, {0x16FF0, 0x16FF1, EXTEND},
    {0x1D166, 0x1D166, EXTEND}, {0x1D16D, 0x1D16D, EXTEND}, {0x1E5EE, 0x1E5EF, EXTEND}, {0x1E6E3, 0x1E6E3, EXTEND},
    {0x1E6E6, 0x1E6E6, EXTEND}, {0x1E6EE, 0x1E6EF, EXTEND}, {0x1E6F5, 0x1E6F5, EXTEND}, {0x1F02C, 0x1F02F, PICTURE},
    {0x1F094, 0x1F09F, PICTURE}, {0x1F0AF, 0x1F0B0, PICTURE}, {0x1F0C0, 0x1F0C0, PICTURE}, {0x1F0D0, 0x1F0D0, PICTURE},
    {0x1F0F6, 0x1F0FF, PICTURE}, {0x1F1AE, 0x1F1E5, PICTURE}, {0x1F203, 0x1F20F, PICTURE}, {0x1F23C, 0x1F23F, PICTURE},
    {0x1F249, 0x1F24F, PICTURE}, {0x1F252, 0x1F25F, PICTURE}, {0x1F266, 0x1F2FF, PICTURE}, {0x1F6D8, 0x1F6DB, PICTURE},
    {0x1F6ED, 0x1F6EF, PICTURE}, {0x1F6FD, 0x1F6FF, PICTURE}, {0x1F777, 0x1F77A, PICTURE}, {0x1F7DA, 0x1F7DF, PICTURE},
    {0x1F7EC, 0x1F7EF, PICTURE}, {0x1F7F1, 0x1F7FF, PICTURE}, {0x1F80C, 0x1F80F, PICTURE}, {0x1F848, 0x1F84F, PICTURE},
    {0x1F85A, 0x1F85F, PICTURE}, {0x1F888, 0x1F88F, PICTURE}, {0x1F8AE, 0x1F8AF, PICTURE}, {0x1F8B2, 0x1F8FF, PICTURE},
    {0x1FA54, 0x1FA5F, PICTURE}, {0x1FA6E, 0x1FA6F, PICTURE}, {0x1FA7D, 0x1FA7F, PICTURE}, {0x1FA89, 0x1FA8F, PICTURE},
    {0x1FABE, 0x1FABE, PICTURE}, {0x1FAC6, 0x1FACD, PICTURE}, {0x1FADC, 0x1FADF, PICTURE}, {0x1FAE9, 0x1FAEF, PICTURE},
    {0x1FAF9, 0x1FAFF, PICTURE}, {0x1FC00, 0x1FFFD, PICTURE}, {0xE0000, 0xE0000, CONTROL}, {0xE0002, 0xE001F, CONTROL},
    {0xE0080, 0xE00FF, CONTROL}, {0xE01F0, 0xE0FFF, CONTROL},
};

/* Indic_Conjunct_Break = Consonant: Devanagari, Bengali, Gujarati, Oriya, Telugu, Malayalam. */
static const class_range CONSONANTS[] = {
    {0x0915, 0x0939, 0}, {0x0958, 0x095F, 0}, {0x0978, 0x097F, 0}, {0x0995, 0x09A8, 0}, {0x09AA, 0x09B0, 0},
    {0x09B2, 0x09B2, 0}, {0x09B6, 0x09B9, 0}, {0x09DC, 0x09DD, 0}, {0x09DF, 0x09DF, 0}, {0x09F0, 0x09F1, 0},
    {0x0A95, 0x0AA8, 0}, {0x0AAA, 0x0AB0, 0}, {0x0AB2, 0x0AB3, 0}, {0x0AB5, 0x0AB9, 0}, {0x0AF9, 0x0AF9, 0},
    {0x0B15, 0x0B28, 0}, {0x0B2A, 0x0B30, 0}, {0x0B32, 0x0B33, 0}, {0x0B35, 0x0B39, 0}, {0x0B5C, 0x0B5D, 0},
    {0x0B5F, 0x0B5F, 0}, {0x0B71, 0x0B71, 0}, {0x0C15, 0x0C28, 0}, {0x0C2A, 0x0C39, 0}, {0x0C58, 0x0C5A, 0},
    {0x0D15, 0x0D3A, 0},
};

static const class_range *find(const class_range *ranges, size_t n, int32_t c) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (c > ranges[mid].last) low = mid + 1;
        else high = mid;
    }
    return low < n && c >= ranges[low].first ? &ranges[low] : NULL;
}

static int class_of(int32_t c) {
    const class_range *newer = find(NEWER, sizeof NEWER / sizeof *NEWER, c);
    return newer ? newer->boundclass : (int)utf8proc_get_property(c)->boundclass;
}

static bool is_linker(int32_t c) {
    return c == 0x094D || c == 0x09CD || c == 0x0ACD || c == 0x0B4D || c == 0x0C4D || c == 0x0D4D;
}

static bool is_control(int boundclass) {
    return boundclass == CONTROL || boundclass == UTF8PROC_BOUNDCLASS_CR || boundclass == UTF8PROC_BOUNDCLASS_LF;
}

static bool joins_hangul(int left, int right) { /* GB6, GB7, GB8 */
    bool right_v = right == UTF8PROC_BOUNDCLASS_V, right_t = right == UTF8PROC_BOUNDCLASS_T;
    switch (left) {
    case UTF8PROC_BOUNDCLASS_L:
        return right_v || right == UTF8PROC_BOUNDCLASS_L || right == UTF8PROC_BOUNDCLASS_LV ||
               right == UTF8PROC_BOUNDCLASS_LVT;
    case UTF8PROC_BOUNDCLASS_V: case UTF8PROC_BOUNDCLASS_LV: return right_v || right_t;
    case UTF8PROC_BOUNDCLASS_T: case UTF8PROC_BOUNDCLASS_LVT: return right_t;
    default: return false;
    }
}

typedef struct cluster {
    int left;                /* class of the character before */
    int conjunct;            /* of GB9c: what has been seen since the last consonant */
    bool picture, picture_z; /* of GB11: a pictograph and extensions; then a joiner */
    bool odd_flag;           /* of GB12 and GB13: an odd number of regional indicators */
} cluster;

static bool joins(const cluster *s, int right, bool consonant) {
    if (s->left == UTF8PROC_BOUNDCLASS_CR) return right == UTF8PROC_BOUNDCLASS_LF; /* GB3 */
    if (is_control(s->left) || is_control(right)) return false;                    /* GB4, GB5 */
    if (right == EXTEND || right == UTF8PROC_BOUNDCLASS_ZWJ || right == SPACING) return true; /* GB9, GB9a */
    if (s->left == PREPEND || joins_hangul(s->left, right)) return true;                      /* GB9b */
    if (consonant && s->conjunct == CONJUNCT_LINKER) return true;                             /* GB9c */
    if (right == PICTURE && s->picture_z) return true;                                        /* GB11 */
    return right == UTF8PROC_BOUNDCLASS_REGIONAL_INDICATOR && s->odd_flag;
}

static void advance(cluster *s, int32_t c, int right, bool consonant) {
    if (consonant) s->conjunct = CONJUNCT_CONSONANT;
    else if (is_linker(c)) s->conjunct = s->conjunct ? CONJUNCT_LINKER : CONJUNCT_NONE;
    else if ((right != EXTEND && right != UTF8PROC_BOUNDCLASS_ZWJ) || c == 0x200C) s->conjunct = CONJUNCT_NONE;
    s->picture_z = s->picture && right == UTF8PROC_BOUNDCLASS_ZWJ;
    s->picture = right == PICTURE || (s->picture && right == EXTEND);
    s->odd_flag = right == UTF8PROC_BOUNDCLASS_REGIONAL_INDICATOR && !s->odd_flag;
    s->left = right;
}

/* Takes the character at text in; true if a cluster begins with it. */
static bool step(cluster *s, const char *text, size_t *len) {
    int32_t c = qd_utf8_next((const uint8_t *)text, len);
    int right = class_of(c);
    bool consonant = find(CONSONANTS, sizeof CONSONANTS / sizeof *CONSONANTS, c) != NULL;
    bool begins = !joins(s, right, consonant);
    advance(s, c, right, consonant);
    return begins;
}

size_t qd_count_graphemes(const char *text, size_t n) {
    cluster s = {.left = CONTROL};
    size_t count = 0;
    for (size_t i = 0, len; i < n; i += len) count += step(&s, text + i, &len);
    return count;
}

size_t qd_grapheme_length(const char *text, size_t n) {
    cluster s = {.left = CONTROL};
    size_t i = 0;
    for (size_t len; i < n && (!step(&s, text + i, &len) || i == 0); i += len) continue;
    return i;
}
