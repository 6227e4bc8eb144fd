/* json_lists.h - the two long lists of a tokenizer.json, read without a tree of values. */
#ifndef QD_JSON_LISTS_H
#define QD_JSON_LISTS_H

#include "tokenizer/tokenizer.h"

typedef struct qd_json_list {
    char *begin; /* at its bracket; NULL: the file has no such list */
    size_t n;    /* entries */
} qd_json_list;

typedef struct qd_json_lists {
    char *text; /* the file, NUL-terminated; reading strings writes to it */
    size_t n_text;
    qd_json_list vocab, merges; /* model.vocab as an object, model.merges */
    int32_t max_id;             /* of vocab */
    size_t vocab_bytes;         /* room for its strings, each with a NUL */
} qd_json_lists;

/* Reads the file and parses it, *root without the entries of the two lists (an empty object and array stand for them),
 * which are checked to be what they should: strings to integers in [0, bytes of the file), and strings or pairs of
 * strings. Errors: those of qd_read_file, EFORMAT (jansson's line, column and reason, or the entry), ENOMEM. */
qdisp_status qd_json_lists_read(qdisp_ctx *ctx, const char *file, size_t max_bytes, qd_json_lists *out, json_t **root);
void qd_json_lists_free(qdisp_ctx *ctx, qd_json_lists *lists);

/* The entries of a list in order: set *at to its begin, then one call an entry. The string, NUL-terminated, lies in the
 * text. */
void qd_json_vocab_next(char **at, char **token, size_t *n, int32_t *id);
/* part[1] = NULL: the entry is a single string. */
void qd_json_merge_next(char **at, char *part[2], size_t n[2]);

#endif
