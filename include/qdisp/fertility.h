/* qdisp/fertility.h - how many tokens a tokenizer needs for the same text in every language. */
#ifndef QDISP_FERTILITY_H
#define QDISP_FERTILITY_H

#include <qdisp/base.h>
#include <qdisp/corpus.h>
#include <qdisp/table.h>
#include <qdisp/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Options of qdisp_fertility; a sized struct, zero means default. */
typedef struct qdisp_fertility_options {
    uint64_t size;
    const char *pivot;    /* language of the corpus that premiums are against; default "en" if the corpus has it, else
                             premiums are missing */
    uint64_t n_resamples; /* of the intervals, 100 or more; default 2000 */
    uint64_t seed;        /* of the intervals, default 0 */
} qdisp_fertility_options;

/* Tokens for parallel text, n tokenizers side by side. names[n]: how rows call them, all different. No special token is
 * added. Report "fertility" with tables
 *   tokenizers  a row a tokenizer: tokenizer, n_vocab, and means over languages, each counting once:
 *               tokens_per.byte, .grapheme, premium.mean (without the pivot's 1), share.bytes, .unk, .whole_words;
 *               premium.worst and worst_language: the highest premium
 *   fertility   a row a tokenizer and language: tokenizer, language, n_tokens,
 *               tokens_per.byte, .codepoint, .grapheme (extended grapheme clusters of Unicode 16), .sentence (a line),
 *               premium.ratio (tokens over the pivot's tokens for the same lines; Petrov et al. 2023), .low, .high (BCa
 *               bootstrap over lines, 95 %; missing below 3 lines),
 *               share.bytes (of tokens: one byte of a character of several, or <0xXX>), share.unk (of tokens),
 *               share.whole_words (of words: in one token; a word is a run of letters, marks, digits and underscores
 *               with a letter in it)
 *   texts       a row a language: language, script, n_lines, n_bytes, n_codepoints, n_graphemes, n_words
 * Words are missing, never 0, where more than half of a text's letters belong to scripts that do not write spaces
 * between words (Thai, Lao, Khmer, Burmese, Han, Kana, Tibetan ...): there no word is to be seen.
 * Errors: EINVAL (no tokenizer, a NULL or repeated name, a pivot that the corpus lacks), ENOMEM, ECANCELLED, those of
 * qdisp_tokenizer_encode with tokenizer, language and line named.
 * Cost: the text is encoded once a tokenizer, on the context's threads. Progress: "fertility".
 * Source: Petrov et al. 2023, "Language Model Tokenizers Introduce Unfairness Between Languages" (premium). */
QDISP_API qdisp_status qdisp_fertility(qdisp_ctx *ctx, const qdisp_tokenizer *const *tokenizers,
                                       const char *const *names, size_t n, const qdisp_corpus *corpus,
                                       const qdisp_fertility_options *options, qdisp_report **out);

#ifdef __cplusplus
}
#endif
#endif
