/* qdisp/tokenizer.h - text to token ids and back, identical to the model's own tokenizer. */
#ifndef QDISP_TOKENIZER_H
#define QDISP_TOKENIZER_H

#include <qdisp/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An immutable tokenizer; any number of threads may use it at once. */
typedef struct qdisp_tokenizer qdisp_tokenizer;

/* Opens a tokenizer, told by content:
 *   tokenizer.json       byte-level and other BPE, Unigram, WordPiece, WordLevel. Ids are those of Hugging Face
 *                        tokenizers 0.23; a file where an added token's stated id is another one is refused.
 *                        truncation and padding are not applied. At most 256 MiB
 *   tiktoken ranks       lines of a token in base64 and its rank. The file names neither its pattern nor its special
 *                        tokens: they are those of the known encoding with that number of ranks (r50k_base 50256,
 *                        p50k_base 50280, cl100k_base 100256, o200k_base 199998, llama3 128000, qwen 151643), or of the
 *                        one named by "NAME:PATH" or by options; with another number of ranks a named encoding lends
 *                        its pattern alone. Ids are those of tiktoken with allowed_special="all"
 *   SentencePiece .model unigram, bpe, word and char. Ids are those of the sentencepiece library 0.2.3: control pieces
 *                        are not recognized in text, and there is no template
 *   GGUF                 tokenizer.ggml.model "gpt2" with the pre-tokenizers that tokenizer.ggml.pre names, "llama",
 *                        "t5", "bert". Ids are llama.cpp's with special tokens parsed; for bert Hugging Face's, from
 *                        which llama.cpp departs where accents are stripped. What llama.cpp adds around a text is the
 *                        template
 * or a folder with tokenizer.json, else tokenizer.model, spiece.model, sentencepiece.bpe.model, sentencepiece.model,
 * tiktoken.model, else one file that ends in .tiktoken, .model or .gguf.
 * Errors: ENOTFOUND, EIO, EINVAL (a folder with several), EFORMAT (file, place and reason), EUNSUPPORTED (names the
 * part; a number of ranks that is not known), ENOMEM. Cost: a pass over the file; memory in proportion to it. */
QDISP_API qdisp_status qdisp_tokenizer_open(qdisp_ctx *ctx, const char *path, qdisp_tokenizer **out);
/* What a file does not say of itself; a sized struct, zero means that it says all. */
typedef struct qdisp_tokenizer_options {
    uint64_t size;
    const char *encoding;       /* tiktoken: name of the encoding */
    const char *special_tokens; /* tiktoken: "TOKEN=ID,..." besides those of the encoding; a token holds no comma */
} qdisp_tokenizer_options;
/* The same. Errors also: EINVAL (options that are not for this kind of file). */
QDISP_API qdisp_status qdisp_tokenizer_open_as(qdisp_ctx *ctx, const char *path,
                                               const qdisp_tokenizer_options *options, qdisp_tokenizer **out);
QDISP_API void qdisp_tokenizer_free(qdisp_tokenizer *tokenizer);

/* Encodes text[n_bytes] (UTF-8, may hold NUL) without adding special tokens; added tokens in the text are recognized.
 * ids[capacity] receives the ids; starts[capacity] (may be NULL) the byte offset in the text, as given, where each
 * token begins: where the character that holds its first byte starts (so a token from inside a character gives that
 * character's start), under a normalizer the origin of that character; *n_ids the number of tokens. If capacity is too
 * small nothing is written but *n_ids, and the result is QDISP_OK: call again with room (n_bytes + 1 suffices without a
 * normalizer and without added prefix spaces).
 * Errors: EENCODING (byte offset), EINVAL, ENOMEM, EUNSUPPORTED (a pattern that backtracks without end gave up).
 * Cost: O(n log n) in the longest word, linear in the number of words. */
QDISP_API qdisp_status qdisp_tokenizer_encode(const qdisp_tokenizer *tokenizer, const char *text, size_t n_bytes,
                                              int32_t *ids, size_t *starts, size_t capacity, size_t *n_ids);
/* How a text is read; a sized struct, zero means default. */
typedef struct qdisp_encode_options {
    uint64_t size;
    /* 1: what reads like a special token ("<s>", "<|im_start|>") is ordinary text, as text from strangers should be
     * read; added tokens that are not special are recognized still. 0: it is that token, as transformers has it. */
    uint64_t special_as_text;
} qdisp_encode_options;
QDISP_API qdisp_status qdisp_tokenizer_encode_as(const qdisp_tokenizer *tokenizer, const char *text, size_t n_bytes,
                                                 const qdisp_encode_options *options, int32_t *ids, size_t *starts,
                                                 size_t capacity, size_t *n_ids);
/* Decodes ids[n_ids] to text[capacity] (bytes; not NUL-terminated); *n_bytes is the length, and nothing else is
 * written if capacity is too small. skip_special: leave special tokens out. Bytes that are not UTF-8 together become
 * U+FFFD as the reference does. Errors: EINVAL (an id outside the vocabulary), ENOMEM. */
QDISP_API qdisp_status qdisp_tokenizer_decode(const qdisp_tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                                              int skip_special, char *text, size_t capacity, size_t *n_bytes);

/* The highest id plus one; ids of holes in the vocabulary count. 0 for NULL. */
QDISP_API size_t qdisp_tokenizer_n_vocab(const qdisp_tokenizer *tokenizer);
/* Id of a token by its vocabulary string, or -1; the string of an id, or NULL (owned by the tokenizer). */
QDISP_API int32_t qdisp_tokenizer_id(const qdisp_tokenizer *tokenizer, const char *token);
QDISP_API const char *qdisp_tokenizer_token(const qdisp_tokenizer *tokenizer, int32_t id);

/* What the tokenizer's template (post_processor) puts before and behind a single text, such as [CLS] and [SEP]:
 * ids[*n_ids], owned by the tokenizer; NULL and 0 where it puts nothing. Encoding leaves them out: a sequence for the
 * model is prefix, ids, suffix. n_ids may be NULL. */
QDISP_API const int32_t *qdisp_tokenizer_prefix(const qdisp_tokenizer *tokenizer, size_t *n_ids);
QDISP_API const int32_t *qdisp_tokenizer_suffix(const qdisp_tokenizer *tokenizer, size_t *n_ids);
/* 1: the file says itself what stands around a text, also where that is nothing (GGUF: add_bos_token, add_eos_token or
 * llama.cpp's defaults), and evaluation and calibration add no token of the model's; 0: where the template puts nothing
 * in front, a decoder reads the model's beginning-of-sequence token first. */
QDISP_API int qdisp_tokenizer_states_template(const qdisp_tokenizer *tokenizer);
/* Id of the token that hides a word from a masked model: the special "[MASK]" or "<mask>"; -1 if there is none. */
QDISP_API int32_t qdisp_tokenizer_mask_id(const qdisp_tokenizer *tokenizer);

#ifdef __cplusplus
}
#endif
#endif
