/* corpus.h - the table of languages. */
#ifndef QD_CORPUS_H
#define QD_CORPUS_H

#include "base/base.h"
#include <qdisp/corpus.h>

typedef enum qd_resource { QD_RESOURCE_LOW, QD_RESOURCE_MEDIUM, QD_RESOURCE_HIGH } qd_resource;

typedef struct qd_language {
    const char *tag;    /* BCP-47: a language, with a script where it is not the first one of that language */
    const char *name;   /* in English */
    const char *script; /* ISO 15924 */
    bool right_to_left;
    qd_resource resource;
} qd_language;

/* The row of a tag: language and script first, then the language alone; NULL if there is none. Case does not count. */
const qd_language *qd_language_find(const char *tag);
size_t qd_language_count(void);
const qd_language *qd_language_at(size_t i); /* NULL outside the range */
const char *qd_resource_name(qd_resource resource); /* "low", "medium", "high" */

/* The lines `order`[n] of a corpus, 1 or more, each once, in its order; keeps it alive. Errors: ENOMEM. */
qdisp_status qd_corpus_part(const qdisp_corpus *corpus, const size_t *order, size_t n, qdisp_corpus **out);

/* Shape of a tag: 2-3 letters, then a script of 4 letters and a region of 2 letters or 3 digits, both optional. */
bool qd_language_is_tag(const char *tag, size_t n);

#endif
