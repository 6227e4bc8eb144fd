/* sources.h - the files that a tokenizer can come from, and what making one from memory takes. */
#ifndef QD_SOURCES_H
#define QD_SOURCES_H

#include "tokenizer/tokenizer.h"

#define QD_SOURCE_HEAD 256 /* bytes of a file that tell its kind */

/* A file being opened. t is empty but for its context; what it holds on failure is freed by the caller. */
typedef struct qd_source_job {
    qdisp_ctx *ctx;
    const char *file;
    const qdisp_tokenizer_options *options; /* all set or NULL, never NULL itself */
    qdisp_tokenizer *t;
} qd_source_job;

/* A row a kind of file; see the table in sources.c. */
typedef struct qd_source {
    const char *name;
    /* By the first QD_SOURCE_HEAD bytes, or all there are. */
    bool (*matches)(const char *file, const uint8_t *head, size_t n);
    qdisp_status (*open)(const qd_source_job *job);
} qd_source;

extern const qd_source qd_source_json, qd_source_gguf, qd_source_sentencepiece, qd_source_tiktoken;

/* Whether name[n] is an encoding that source_tiktoken.c knows. */
bool qd_tiktoken_knows(const char *name, size_t n);

/* ---- a vocabulary from memory ---- */

/* Makes t's tables for n_ids ids whose strings have at most n_bytes bytes in all. */
qdisp_status qd_vocab_new(qdisp_tokenizer *t, size_t n_ids, size_t n_bytes);
/* Copies a token string into t's pool, at *used. place->member says where it stands in the file. Errors: EFORMAT (an
 * id outside the table or given twice, a string that is there already, is empty, holds a NUL or is not UTF-8). */
qdisp_status qd_vocab_put(const qd_place *place, qdisp_tokenizer *t, int32_t id, const char *str, size_t n,
                          size_t *used);
/* The vocabulary's token `id` is cut out of the text before anything else; call qd_added_sort when all are there.
 * reserve: room for that many in all, at the first call. */
qdisp_status qd_vocab_add_special(qdisp_tokenizer *t, int32_t id, bool special, size_t reserve);
/* Pre-tokenizer, normalizer, decoder as a tokenizer.json says them. json is taken over; NULL: ENOMEM. */
qdisp_status qd_vocab_pretokenizer(const qd_place *place, qdisp_tokenizer *t, json_t *json);
qdisp_status qd_vocab_normalizer(const qd_place *place, qdisp_tokenizer *t, json_t *json);
qdisp_status qd_vocab_decoder(const qd_place *place, qdisp_tokenizer *t, json_t *json);
/* Split by each pattern in turn (matches and what is between them are words), then the byte alphabet; "" is no
 * pattern. */
json_t *qd_split_json(const char *const *patterns, size_t n);

/* ---- pre-tokenizers by name (pretokenizer_names.c) ---- */

typedef struct qd_named_pattern {
    const char *name;
    const char *patterns[6]; /* up to the first NULL */
    bool ignore_merges, add_bos;
} qd_named_pattern;
/* A GGUF file's tokenizer.ggml.pre; NULL if the name is not known. */
const qd_named_pattern *qd_pretokenizer_named(const char *name, size_t n);

/* The name of a list of patterns, written as tokenizer.json or this table has them; NULL: there is none. */
const char *qd_pretokenizer_name(const char *const *patterns, size_t n, bool ignore_merges);

/* The patterns that several sources share. */
#define QD_PATTERN_GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define QD_PATTERN_TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define QD_PATTERN_ENGLISH "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define QD_PATTERN_LLAMA3 QD_PATTERN_ENGLISH "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" QD_PATTERN_TAIL
#define QD_PATTERN_QWEN2 QD_PATTERN_ENGLISH "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" QD_PATTERN_TAIL
#define QD_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define QD_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
/* Words by case; end: what may follow one; digits: how many make a token. */
#define QD_PATTERN_CASES(end, digits)                                                                     \
    "[^\\r\\n\\p{L}\\p{N}]?" QD_UPPER "*" QD_LOWER "+" end "|[^\\r\\n\\p{L}\\p{N}]?" QD_UPPER "+" QD_LOWER "*" end \
    "|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define QD_PATTERN_O200K QD_PATTERN_CASES(QD_PATTERN_ENGLISH "?", "\\p{N}{1,3}")

struct qd_gguf_writer;
/* The vocabulary of a folder's tokenizer.json as tokenizer.ggml.* keys: byte-level BPE ("gpt2"), BPE with bytes as a
 * fallback ("llama"), Unigram ("t5"); n_vocab tokens, of which those without a name are unused. Special tokens of
 * config.json, the template's first and last token, tokenizer_config.json's padding token and chat template. A folder
 * without tokenizer.json: "none". Errors: EUNSUPPORTED (another kind, a pre-tokenizer that GGUF has no name for),
 * EFORMAT, EIO, ENOMEM. */
qdisp_status qd_vocab_put_gguf(qdisp_ctx *ctx, const char *folder, size_t n_vocab, struct qd_gguf_writer *writer);

#endif
