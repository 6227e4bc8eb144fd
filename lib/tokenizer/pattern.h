/* pattern.h - between the two halves of the patterns: translating and matching. */
#ifndef QD_PATTERN_H
#define QD_PATTERN_H

#include "tokenizer/tokenizer.h"

/* *out: the pattern for PCRE2, NUL-terminated, to free with qd_free. */
qdisp_status qd_pattern_translate(const qd_place *place, const char *source, size_t n, char **out, size_t *n_out);

#endif
