/* scanner.h - patterns simple enough to run without a regular-expression engine: read, then run. */
#ifndef QD_SCANNER_H
#define QD_SCANNER_H

#include "tokenizer/tokenizer.h"

#define QD_SCAN_CLASSES 16     /* sets of characters in a pattern */
#define QD_SCAN_ALTERNATIVES 16
#define QD_SCAN_ITEMS 64       /* over all alternatives, ends included */
#define QD_SCAN_LITERAL_BYTES 256

typedef enum qd_scan_type { QD_SCAN_END, QD_SCAN_CLASS, QD_SCAN_LITERALS, QD_SCAN_NOT_BEFORE } qd_scan_type;

typedef struct qd_scan_item {
    qd_scan_type type;
    uint16_t bit;         /* the class: CLASS, NOT_BEFORE */
    uint32_t min, max;    /* how many; LITERALS: max is 1 */
    bool possessive;      /* never gives back */
    bool no_case;         /* LITERALS */
    uint16_t first, n;    /* LITERALS: strings in `literals`, each a length byte and its bytes, tried in order */
} qd_scan_item;

typedef struct qd_scanner {
    qd_scan_item items[QD_SCAN_ITEMS];
    unsigned starts[QD_SCAN_ALTERNATIVES]; /* of each alternative, in items */
    unsigned n_alternatives;
    uint8_t literals[QD_SCAN_LITERAL_BYTES];
    uint16_t ascii[128];        /* the classes of a character, a bit each */
    uint16_t *blocks;           /* the same for all others: blocks[block_of[c >> 8] * 256 + (c & 255)] */
    uint16_t block_of[0x1100];
    size_t n_blocks, cap_blocks;
    uint16_t ascii_first[128];  /* the alternatives that may begin with a character, a bit each */
    uint16_t first[QD_SCAN_ALTERNATIVES]; /* classes that an alternative may begin with; all: with anything */
} qd_scanner;

/* *out: NULL if the pattern (Oniguruma's Ruby syntax, as qd_pattern_new takes it) is of another kind: an alternation of
 * sequences of literals and sets of characters with greedy or possessive quantifiers, groups of literals, and
 * negative lookahead for a set, none of which matches nothing. Errors: ENOMEM. */
qdisp_status qd_scanner_new(qdisp_ctx *ctx, const char *source, size_t n, qd_scanner **out);
void qd_scanner_free(qdisp_ctx *ctx, qd_scanner *scanner);
/* The first match in [from, end): false if there is none or *budget, counted down by the bytes looked at, is used up
 * (< 0). */
bool qd_scanner_next(const qd_scanner *scanner, const uint8_t *from, const uint8_t *end, int64_t *budget,
                     const uint8_t **match_begin, const uint8_t **match_end);

#endif
