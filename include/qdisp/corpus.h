/* qdisp/corpus.h - parallel text by language, and its split into calibration and evaluation. */
#ifndef QDISP_CORPUS_H
#define QDISP_CORPUS_H

#include <qdisp/base.h>
#include <qdisp/table.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An immutable corpus; any number of threads may use it at once. */
typedef struct qdisp_corpus qdisp_corpus;

/* Opens a folder with one file a language, TAG.txt (TAG a BCP-47 tag; other files are ignored), UTF-8, one sentence a
 * line, line i of every file a translation of line i of the others. languages: NULL = all files in the folder, else a
 * comma-separated list in the order wanted (files of the folder come sorted by tag). A carriage return before a newline
 * and a byte order mark at the start of a file are left out; the last line may lack its newline; a line of spaces and
 * tabs counts as empty. A tag has 2-3 letters, then optionally a script of 4 letters and a region.
 * Errors: ENOTFOUND (names the file), EIO, EENCODING (file, line, byte), EFORMAT (empty corpus, an empty line, files
 * with unlike numbers of lines: names both), EINVAL (a bad tag), ENOMEM. Cost: the text is read into memory. */
QDISP_API qdisp_status qdisp_corpus_open(qdisp_ctx *ctx, const char *path, const char *languages, qdisp_corpus **out);
/* The same from memory: texts[i] of n_bytes[i] for the language tags[i]. Copied. */
QDISP_API qdisp_status qdisp_corpus_from_texts(qdisp_ctx *ctx, const char *const *tags, const char *const *texts,
                                               const size_t *n_bytes, size_t n_languages, qdisp_corpus **out);
QDISP_API void qdisp_corpus_free(qdisp_corpus *corpus);

QDISP_API size_t qdisp_corpus_n_languages(const qdisp_corpus *corpus);
QDISP_API size_t qdisp_corpus_n_lines(const qdisp_corpus *corpus); /* the same for every language */
/* Tag of a language, NULL outside the range; its script (ISO 15924, "Latn"), "Zyyy" when the table of languages does
 * not know the tag and it has no script subtag. */
QDISP_API const char *qdisp_corpus_language(const qdisp_corpus *corpus, size_t i_language);
QDISP_API const char *qdisp_corpus_script(const qdisp_corpus *corpus, size_t i_language);
/* A line without its newline: not NUL-terminated, owned by the corpus; NULL outside the range. */
QDISP_API const char *qdisp_corpus_line(const qdisp_corpus *corpus, size_t i_language, size_t i_line, size_t *n_bytes);

/* Splits the lines in two, the same lines for every language, by a seeded shuffle: `calibration` gets
 * round(share * n_lines) of them and `evaluation` the rest, both in the corpus's order. share in (0, 1); both parts get
 * at least one line. The parts keep the corpus alive. Errors: EINVAL (share, a single line), ENOMEM. */
QDISP_API qdisp_status qdisp_corpus_split(const qdisp_corpus *corpus, double share, uint64_t seed,
                                          qdisp_corpus **calibration, qdisp_corpus **evaluation);

/* Table "corpus": language, name, script, n_lines, n_bytes, n_codepoints. */
QDISP_API qdisp_status qdisp_corpus_describe(const qdisp_corpus *corpus, qdisp_table **out);

#ifdef __cplusplus
}
#endif
#endif
