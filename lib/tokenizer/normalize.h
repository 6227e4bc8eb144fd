/* normalize.h - between the parts of the normalizer: its loop, the Unicode forms, SentencePiece's map. */
#ifndef QD_NORMALIZE_H
#define QD_NORMALIZE_H

#include "tokenizer/tokenizer.h"

/* Appends to encoder->chars[*n]; see qd_char. */
qdisp_status qd_chars_push(qd_encoder *encoder, size_t *n, int32_t c, int32_t changes);
/* Writes encoder->chars[n], what text[begin, end) becomes, to `to`. */
qdisp_status qd_chars_write(qd_encoder *encoder, size_t n, const qd_text *text, size_t begin, size_t end, qd_text *to);

/* NFD, NFC (composing), NFKD, NFKC (compat) of text[begin, end) to `to`, unless *changed is false afterwards: then
 * nothing was written (normalize_forms.c). */
qdisp_status qd_normalize_form(qd_encoder *encoder, bool composing, bool compat, const qd_text *text, size_t begin,
                               size_t end, qd_text *to, bool *changed);

/* A precompiled_charsmap (charsmap.c). Errors: EFORMAT, ENOMEM. */
typedef struct qd_charsmap qd_charsmap;
qdisp_status qd_charsmap_new(const qd_place *place, const uint8_t *bytes, size_t n, qd_charsmap **out);
/* The same in base 64, as tokenizer.json has it. */
/* The bytes of a charsmap, owned by the caller. Errors: EFORMAT, ENOMEM. */
qdisp_status qd_base64_decode(const qd_place *place, const char *text, size_t n, uint8_t **out, size_t *n_out);
qdisp_status qd_charsmap_from_base64(const qd_place *place, const char *text, size_t n, qd_charsmap **out);
void qd_charsmap_free(qdisp_ctx *ctx, qd_charsmap *map);
/* As qd_normalize_form. Errors: EFORMAT (the map leads outside itself), ENOMEM. */
qdisp_status qd_charsmap_apply(qd_encoder *encoder, const qd_charsmap *map, const qd_text *text, size_t begin,
                               size_t end, qd_text *to, bool *changed);
/* The longest entry that s[n] begins with, as SentencePiece has it: *len its bytes, 0 if there is none; *out[*n_out]
 * what it stands for, whole characters. false: the map leads outside itself. */
bool qd_charsmap_longest(const qd_charsmap *map, const uint8_t *s, size_t n, size_t *len, const char **out,
                         size_t *n_out);
/* Whether any entry begins with the byte. */
bool qd_charsmap_begins(const qd_charsmap *map, uint8_t byte);

#endif
