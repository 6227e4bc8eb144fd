/* tokenizer.h - the parts of a tokenizer: vocabulary, added tokens, normalizer, pre-tokenizer, model, decoder.
 *
 * Text runs left to right: added tokens are cut out, the rest is normalized, cut into words by the pre-tokenizer's
 * steps, and each word goes to the model, which pushes ids. Everything in qdisp_tokenizer is immutable after opening;
 * all that changes during a call lives in qd_encoder. */
#ifndef QD_TOKENIZER_H
#define QD_TOKENIZER_H

#include "base/base.h"
#include <jansson.h>
#include <qdisp/tokenizer.h>

/* tokenizer.json above this is refused. BLOOM's, among the largest published ones, has 14 MB. */
#define QD_TOKENIZER_MAX_FILE ((size_t)256 << 20)
#define QD_IDLE_ENCODERS 8
/* Sequences inside sequences. */
#define QD_TOKENIZER_MAX_NESTING 8

/* ---- text with a map back to what the caller gave (text.c) ---- */

typedef struct qd_text {
    const uint8_t *bytes;
    size_t n;
    const size_t *map;  /* original offset of each byte's character; NULL: bytes are the original from `base` on */
    size_t base;
    uint8_t *own_bytes; /* storage behind bytes and map, reused from call to call */
    size_t *own_map;
    size_t n_own, cap_bytes, cap_map;
} qd_text;

/* A character of a new text: changes as in the reference, 0 replaces one old character, > 0 is inserted, -k replaces
 * one and removes k more. */
typedef struct qd_char {
    int32_t c;
    int32_t changes;
} qd_char;

size_t qd_text_origin(const qd_text *text, size_t i_byte);
/* Writes to `to`: clear it, push, seal. */
void qd_text_clear(qd_text *to);
qdisp_status qd_text_push(qdisp_ctx *ctx, qd_text *to, const uint8_t *bytes, size_t n, const qd_text *from,
                          size_t i_from);
/* Pushes one code point whose origin is given. */
qdisp_status qd_text_push_char(qdisp_ctx *ctx, qd_text *to, int32_t c, size_t origin);
void qd_text_seal(qd_text *to);
void qd_text_free(qdisp_ctx *ctx, qd_text *text);
/* The code point at s (valid UTF-8); *n_bytes is its length. */
int32_t qd_utf8_next(const uint8_t *s, size_t *n_bytes);
size_t qd_utf8_put(int32_t c, uint8_t out[4]);

/* ---- Unicode versions (unicode_versions.c) ---- */

/* A code point of the same general category and UTF-8 length that every PCRE2 knows, or c itself. */
int32_t qd_unicode_stand_in(int32_t c);
/* Characters that the reference's normalization tables, which are older, leave alone. */
bool qd_unicode_inert(int32_t c);
/* Simple lower case that utf8proc does not know yet, or -1. */
int32_t qd_unicode_lower_newer(int32_t c);
bool qd_unicode_is_space(int32_t c);
/* Kinds of the 256 characters from `first` on: numbers of utf8proc's general categories (of the stand-ins where there
 * are), and this one for U+0085, the control character beyond ASCII that is \s. true: all are the same. */
#define QD_KIND_NEXT_LINE 30
bool qd_unicode_kinds(int32_t first, uint8_t kinds[256]);
bool qd_unicode_is_word(int32_t c);

typedef struct qd_code_range {
    int32_t first, last, other;
} qd_code_range;
/* The range of a sorted table that holds c, or NULL. */
const qd_code_range *qd_code_range_find(const qd_code_range *ranges, size_t n, int32_t c);
#define QD_RANGE_OF(table, c) qd_code_range_find(table, sizeof table / sizeof table[0], c)

/* Classes as the reference's steps have them (unicode_classes.c). */
bool qd_unicode_is_punctuation(int32_t c); /* ASCII's symbols too */
bool qd_unicode_is_numeric(int32_t c);
bool qd_unicode_is_control(int32_t c);     /* not tab, newline, return */
bool qd_unicode_is_nonspacing(int32_t c);
bool qd_unicode_is_mark(int32_t c);
/* Extended grapheme clusters of valid UTF-8, by Unicode 16 (graphemes.c). */
size_t qd_count_graphemes(const char *text, size_t n);
/* Bytes of the first of them; n > 0. */
size_t qd_grapheme_length(const char *text, size_t n);

/* ---- strings to ids (vocab.c) ---- */

typedef struct qd_string_slot {
    uint32_t tag;      /* of the string's hash */
    int32_t id_plus_1; /* 0: empty */
} qd_string_slot;

typedef struct qd_strings {
    const char **str; /* [n], NULL where there is none */
    uint32_t *len;
    qd_string_slot *slots;
    size_t n, n_slots;
    uint32_t max_len;
} qd_strings;
qdisp_status qd_strings_new(qdisp_ctx *ctx, size_t n, qd_strings *out);
void qd_strings_free(qdisp_ctx *ctx, qd_strings *strings);
/* str must outlive the table. false: the string is there already. */
bool qd_strings_add(qd_strings *strings, int32_t id, const char *str, size_t len);
/* The same, and a string that is there already is found by the new id from now on; the old id keeps it. */
void qd_strings_add_again(qd_strings *strings, int32_t id, const char *str, size_t len);
int32_t qd_strings_find(const qd_strings *strings, const void *str, size_t len);

/* ---- strings by prefix (trie.c) ---- */

typedef struct qd_trie_node {
    int32_t base;   /* the child by byte b is at base + b */
    int32_t parent; /* -1: the root; < -1: no node */
    int32_t value;  /* id of the string that ends here, or -1 */
} qd_trie_node;

typedef struct qd_trie {
    qd_trie_node *nodes; /* the root first; base + 255 of every node is inside */
    size_t n_nodes;
} qd_trie;

/* Of the strings with wanted[id] (NULL: all); of equal ones the highest id holds. Errors: ENOMEM, EUNSUPPORTED. */
qdisp_status qd_trie_new(qdisp_ctx *ctx, const qd_strings *strings, const bool *wanted, qd_trie *out);
void qd_trie_free(qdisp_ctx *ctx, qd_trie *trie);
/* The node below `node` by bytes[n], or -1. */
int32_t qd_trie_walk(const qd_trie *trie, int32_t node, const void *bytes, size_t n);
/* Id of a string that is not empty, or -1. */
int32_t qd_trie_find(const qd_trie *trie, const void *bytes, size_t n);

static inline int32_t qd_trie_child(const qd_trie *trie, int32_t node, uint8_t byte) {
    int32_t child = trie->nodes[node].base + byte;
    return trie->nodes[child].parent == node ? child : -1;
}

/* ---- patterns (pattern.c) ---- */

typedef enum qd_behavior { QD_REMOVED, QD_ISOLATED, QD_MERGED_PREVIOUS, QD_MERGED_NEXT, QD_CONTIGUOUS } qd_behavior;

typedef struct qd_span {
    size_t begin, end;
    bool is_match;
} qd_span;

typedef struct qd_spans {
    qd_span *items;
    size_t n, cap;
} qd_spans;

typedef struct qd_pattern qd_pattern;
typedef struct qd_matcher qd_matcher;

typedef struct qd_place { /* where a message is about: "FILE: MEMBER" */
    qdisp_ctx *ctx;
    const char *file;
    const char *member;
} qd_place;

/* The reference's engine is Oniguruma in Ruby syntax; the pattern is translated to PCRE2 (see pattern.c).
 * literal: a plain string. Errors: EFORMAT (PCRE2's reason and offset), EUNSUPPORTED (names the construct), ENOMEM. */
qdisp_status qd_pattern_new(const qd_place *place, const char *source, size_t n, bool literal, qd_pattern **out);
void qd_pattern_free(qdisp_ctx *ctx, qd_pattern *pattern);
qdisp_status qd_matcher_new(qdisp_ctx *ctx, qd_matcher **out);
void qd_matcher_free(qdisp_ctx *ctx, qd_matcher *matcher);
/* Matches and gaps of text[begin, end), in order and covering it, appended to spans. shadow: see qd_encoder. */
qdisp_status qd_pattern_spans(qdisp_ctx *ctx, qd_matcher *matcher, const qd_pattern *pattern, const uint8_t *text,
                              const uint8_t *shadow, size_t begin, size_t end, qd_spans *spans);

/* ---- added tokens (added_tokens.c) ---- */

typedef struct qd_added {
    const char *content; /* what is matched: the normalized form where `normalized` is set */
    size_t n;
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
} qd_added;

typedef struct qd_added_set { /* sorted by content */
    qd_added *items;
    size_t n;
    bool first[256];
} qd_added_set;

typedef struct qd_piece {
    size_t begin, end;
    int32_t id; /* an added token's, or -1: text still to tokenize */
} qd_piece;

typedef struct qd_pieces {
    qd_piece *items;
    size_t n, cap;
} qd_pieces;

void qd_added_sort(qd_added_set *set);
/* Cuts text[begin, end) at the added tokens, leftmost and longest first; pieces are appended. special_as_text: special
 * ones do not cut. */
qdisp_status qd_added_cut(qdisp_ctx *ctx, const qd_added_set *set, const uint8_t *text, size_t begin, size_t end,
                          bool special_as_text, qd_pieces *pieces);

/* ---- normalizer (normalize.c) and pre-tokenizer (pretokenize.c) ---- */

typedef struct qd_normalizer qd_normalizer;
typedef struct qd_pretokenizer qd_pretokenizer;
typedef struct qd_decoder qd_decoder;
typedef struct qd_encoder qd_encoder;

/* json null or absent: *out = NULL. */
qdisp_status qd_normalizer_new(const qd_place *place, const json_t *json, qd_normalizer **out);
/* Appends the steps of a json normalizer, or a precompiled_charsmap, which is copied, to *normalizer (NULL:
 * a new one). On failure *normalizer is as it was. */
qdisp_status qd_normalizer_add(const qd_place *place, const json_t *json, qd_normalizer **normalizer);
qdisp_status qd_normalizer_add_charsmap(const qd_place *place, const uint8_t *bytes, size_t n,
                                        qd_normalizer **normalizer);
void qd_normalizer_free(qdisp_ctx *ctx, qd_normalizer *normalizer);
/* Normalizes (*text)[*begin, *end) and sets all three to the result, which lies in the encoder unless nothing
 * changed. */
qdisp_status qd_normalize(qd_encoder *encoder, const qd_normalizer *normalizer, const qd_text **text, size_t *begin,
                          size_t *end);

typedef struct qd_metaspace { /* U+2581 and the like in the place of spaces */
    int32_t replacement;
    enum { QD_PREPEND_ALWAYS, QD_PREPEND_FIRST, QD_PREPEND_NEVER } prepend;
    bool split;
} qd_metaspace;
qdisp_status qd_metaspace_read(const qd_place *place, const json_t *json, qd_metaspace *out);

qdisp_status qd_pretokenizer_new(const qd_place *place, const json_t *json, qd_pretokenizer **out);
void qd_pretokenizer_free(qdisp_ctx *ctx, qd_pretokenizer *pretokenizer);
bool qd_pretokenizer_is_byte_level(const qd_pretokenizer *pretokenizer);
/* Cuts text[begin, end) into words: encoder->words, positions in *out (which differs from text where a space was put
 * before a word). */
qdisp_status qd_pretokenize(qd_encoder *encoder, const qd_pretokenizer *pretokenizer, const qd_text *text, size_t begin,
                            size_t end, const qd_text **out);

/* ---- the whole (tokenizers.c) and its models ---- */

struct qd_encoder {
    qdisp_ctx *ctx;
    const qdisp_tokenizer *tokenizer;
    qd_matcher *matcher;
    qd_text norm[2], prefixed[2];
    qd_char *chars;     /* of the normalizer */
    uint8_t *classes;   /* their combining classes */
    size_t cap_chars, cap_classes;
    uint8_t *shadow;    /* the text with characters newer than PCRE2's tables replaced (qd_unicode_stand_in) */
    size_t cap_shadow;
    qd_pieces outer, inner;
    qd_pieces words, words_next;
    qd_spans spans;
    void *symbols, *heap, *links; /* of the model */
    size_t cap_symbols, cap_heap, cap_links;
    void *cache; /* of the model: what words gave; qd_free frees it */
    bool want_starts, special_as_text;
    int32_t *ids;
    size_t *starts; /* only if want_starts */
    size_t n, cap_ids, cap_starts;
};

void qd_encoder_clear(qd_encoder *encoder); /* frees all that it holds */
qdisp_status qd_encoder_push(qd_encoder *encoder, int32_t id, size_t start);
/* Room for n more in ids (and starts, if they are wanted): ids[n++] may then be written. */
qdisp_status qd_encoder_reserve(qd_encoder *encoder, size_t n);
void qd_encoder_free(qd_encoder *encoder);
/* Bytes for the patterns to read in [begin, end): text->bytes, or a copy in encoder->shadow. */
qdisp_status qd_encoder_shadow(qd_encoder *encoder, const qd_text *text, size_t begin, size_t end, const uint8_t **out);

/* A row a model type; see the table in tokenizers.c. */
typedef struct qd_tokenizer_kind {
    const char *name; /* model.type */
    /* tokenizer->strings holds the vocabulary, in_model tells its own ids from the added ones. */
    qdisp_status (*open)(const qd_place *place, qdisp_tokenizer *tokenizer, const json_t *model, void **out);
    void (*free)(qdisp_ctx *ctx, void *model);
    qdisp_status (*encode)(qd_encoder *encoder, const void *model, const qd_text *text, size_t begin, size_t end);
} qd_tokenizer_kind;

extern const qd_tokenizer_kind qd_tokenizer_bpe, qd_tokenizer_unigram, qd_tokenizer_wordpiece,
    qd_tokenizer_wordlevel;

/* The same models from memory, for vocabularies that are not in a tokenizer.json: tokenizer->strings and in_model are
 * filled and outlive the model, place names the file; *out goes to tokenizer->model, and tokenizer->kind is the row
 * above. unk_id: -1 for none (a text that needs one is then refused). */
/* scores: [strings.n], finite where in_model. byte_fallback: unknown characters become "<0x00>".."<0xFF>". */
qdisp_status qd_unigram_new(const qd_place *place, const qdisp_tokenizer *tokenizer, const double *scores,
                             int32_t unk_id, bool byte_fallback, void **out);
/* prefix: what tokens inside a word begin with; words of more than max_chars characters are unknown. */
qdisp_status qd_wordpiece_new(const qd_place *place, const qdisp_tokenizer *tokenizer, int32_t unk_id,
                               const char *prefix, size_t n_prefix, size_t max_chars, void **out);
qdisp_status qd_wordlevel_new(const qd_place *place, const qdisp_tokenizer *tokenizer, int32_t unk_id, void **out);
/* Fails: a word that begins at text[at] has no token and there is no unknown token. */
qdisp_status qd_tokenizer_unknown(qd_encoder *encoder, const qd_text *text, size_t at);
/* Id of json.unk_token in the model, -1 if it is not there. */
qdisp_status qd_tokenizer_read_unk(const qd_place *place, const qdisp_tokenizer *tokenizer, const json_t *json,
                                   int32_t *id);

/* ---- BPE made from memory (tokenizer_bpe.c), for any source of vocabulary and merges ---- */

typedef struct qd_merge {
    int32_t left, right, id;
    uint32_t rank; /* the lowest is merged first, of equal ones the leftmost; equal ranks have equal ids; < 2^22 - 1 */
} qd_merge;

typedef struct qd_merges {
    qd_merge *items; /* qd_free */
    size_t n, cap;
} qd_merges;

/* Appends the merge of two token strings with rank = its place in the list. prefix_len: bytes that the second string
 * loses when joined (the length of continuing_subword_prefix if it has one). Errors: EFORMAT (names
 * "FILE: MEMBER[i_merge]" and the string that is not in the vocabulary), ENOMEM. */
qdisp_status qd_merges_push(const qd_place *place, const qdisp_tokenizer *tokenizer, size_t i_merge, const char *left,
                            size_t n_left, const char *right, size_t n_right, size_t prefix_len, qd_merges *merges);

typedef struct qd_bpe_options {
    /* true: token strings are in GPT-2's byte alphabet, and a word is taken byte by byte; false: strings are text, and
     * a word is taken character by character. */
    bool byte_level;
    bool byte_fallback;    /* a character without a token becomes its bytes' tokens <0x00> .. <0xFF> if all are there */
    bool fuse_unk;         /* unknown characters in a row give one token */
    bool ignore_merges;    /* a word that is a token as it stands is that token */
    const char *unk_token; /* NULL: what has no token is dropped */
    const char *prefix;    /* of every character but the word's first (continuing_subword_prefix) */
    const char *suffix;    /* of the word's last character (end_of_word_suffix); NULL or "": none */
    /* The pairs that merge. NULL: as tiktoken has it, any two neighbours whose strings together are a token, the
     * lowest id first. */
    const qd_merges *merges;
} qd_bpe_options;

/* A model for tokenizer->model with tokenizer->kind = &qd_tokenizer_bpe. tokenizer->strings (hashed, the token strings
 * by id) and tokenizer->in_model must be filled and stay as they are; options are copied. place names file and member
 * in messages. Errors: EFORMAT (an unk_token that is not in the vocabulary where it would be needed; ids of merges
 * outside it), EUNSUPPORTED (a prefix or suffix of more than 64 bytes), ENOMEM. Cost: linear in vocabulary and
 * merges. */
qdisp_status qd_bpe_new(const qd_place *place, const qdisp_tokenizer *tokenizer, const qd_bpe_options *options,
                        void **out);

struct qdisp_tokenizer {
    qdisp_ctx *ctx;
    struct qd_json_lists *lists; /* while a tokenizer.json is opened: its merges (json_lists.h); else NULL */
    unsigned n_refs;
    const qd_tokenizer_kind *kind;
    void *model;
    qd_strings strings; /* token strings by id, added ones included */
    char *pool;         /* their storage */
    bool *in_model;     /* [strings.n] */
    bool *special;      /* [strings.n] */
    qd_decoder *decoder; /* NULL: tokens joined by spaces, as the reference does */
    qd_strings decoded; /* what the decoder starts from: bytes of the byte alphabet, else the token; not hashed */
    char *decoded_pool;
    int32_t unk_id;     /* the token for what has none, or -1 */
    int32_t *template_ids; /* what stands before a text, then what stands behind it (template.c) */
    size_t n_before, n_after;
    bool states_template;  /* the file says all that stands around a text, so that no model adds to it */
    qd_added_set raw, normalized; /* contents borrowed from strings, or own where normalizing changed them */
    qd_normalizer *normalizer;
    qd_pretokenizer *pretokenizer;
    qd_encoder *idle[QD_IDLE_ENCODERS]; /* atomic: encoders between calls (encoder.c) */
};

qdisp_tokenizer *qd_tokenizer_ref(const qdisp_tokenizer *tokenizer);
/* One byte of a character of several, or a token <0xXX> of byte fallback. */
bool qd_tokenizer_is_byte(const qdisp_tokenizer *tokenizer, int32_t id);

/* ---- ids to text (decode.c) ---- */

/* json: a decoder; null or absent joins tokens by spaces. tokenizer->strings and the added tokens are filled. */
qdisp_status qd_decoder_read(const qd_place *place, qdisp_tokenizer *tokenizer, const json_t *json);
void qd_decoder_free(qdisp_ctx *ctx, qd_decoder *decoder);

/* ---- what stands around a text (template.c) ---- */

/* json: a post_processor; null or absent leaves the tokenizer without a template. tokenizer->strings is filled. */
qdisp_status qd_template_read(const qd_place *place, qdisp_tokenizer *tokenizer, const json_t *json);
/* The same from memory: ids of tokens, copied. */
qdisp_status qd_template_make(qdisp_tokenizer *tokenizer, const int32_t *before, size_t n_before, const int32_t *after,
                              size_t n_after);

/* GPT-2's alphabet: the code point that stands for a byte, and back (-1: none). */
int32_t qd_byte_level_char(uint8_t byte);
int qd_byte_level_byte(int32_t c);
/* Bytes of a token in that alphabet to out[n]; false if a character is outside it. */
bool qd_byte_level_decode(const char *token, size_t n, char *out, size_t *n_out);

/* Members of an object; kinds of failure name file and member. required: absent or null is EFORMAT, else *out keeps its
 * value. */
qdisp_status qd_json_bool(const qd_place *place, const json_t *object, const char *name, bool required, bool *out);
qdisp_status qd_json_string(const qd_place *place, const json_t *object, const char *name, bool required,
                            const char **out, size_t *n);
/* A string of one character. */
qdisp_status qd_json_char(const qd_place *place, const json_t *object, const char *name, int32_t *out);
/* A member "pattern": {"String": ...} or {"Regex": ...}. */
qdisp_status qd_json_pattern(const qd_place *place, const json_t *object, qd_pattern **out);

#endif
