/* spm.h - between the parts of SentencePiece: what a model file or a GGUF vocabulary says, and the model made of it. */
#ifndef QD_SPM_H
#define QD_SPM_H

#include "tokenizer/normalize.h"

/* Numbers of the file format, and of GGUF's token types. */
typedef enum qd_piece_type {
    QD_PIECE_NORMAL = 1,
    QD_PIECE_UNKNOWN,
    QD_PIECE_CONTROL,
    QD_PIECE_USER_DEFINED,
    QD_PIECE_UNUSED,
    QD_PIECE_BYTE
} qd_piece_type;

typedef enum qd_spm_kind { QD_SPM_UNIGRAM = 1, QD_SPM_BPE, QD_SPM_WORD, QD_SPM_CHAR } qd_spm_kind;

typedef struct qd_spm_spec {
    qd_spm_kind kind;
    const float *scores;            /* [strings.n] finite */
    const uint8_t *types;           /* [strings.n] of qd_piece_type */
    int32_t unk_id;                 /* -1: none, for a vocabulary whose bytes cover all */
    bool byte_fallback;
    bool add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces;
    bool whitespace_suffix;         /* the dummy space goes behind the text */
    const uint8_t *charsmap;        /* precompiled, or NULL; copied */
    size_t n_charsmap;
    /* As llama.cpp has it: all pieces merge whatever their type; unigram scores add up in f64, a user-defined piece's
     * score is 0. */
    bool like_llama;
} qd_spm_spec;

typedef struct qd_spm {
    const qdisp_tokenizer *t;
    qd_spm_kind kind;
    int32_t unk_id;
    int32_t byte_id[256];           /* -1: no byte fallback */
    bool byte_fallback, add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces, whitespace_suffix;
    qd_charsmap *charsmap;
    bool plain[256];                /* bytes that are a character which stands for itself, whatever follows */
    uint8_t *types;                 /* [strings.n] */
    qd_trie user;                   /* user-defined pieces; no nodes: none */
    /* unigram */
    qd_trie trie;
    double *scores;                 /* [strings.n] what a piece adds */
    double unk_score;
    bool in_f32;                    /* sums are rounded to f32 at every step */
    /* BPE */
    void *bpe;                      /* of qd_tokenizer_bpe */
    bool by_words;                  /* no piece reaches over the start of a space, so words merge by themselves */
} qd_spm;

/* A model for tokenizer->model with tokenizer->kind = &qd_tokenizer_spm; tokenizer->strings and in_model are filled.
 * Errors: EFORMAT (missing byte pieces, a broken charsmap), EUNSUPPORTED (BPE: a piece that is unused and merged to, is
 * longer than 512 bytes, holds a character that is no piece, or has another's score), ENOMEM. */
qdisp_status qd_spm_new(const qd_place *place, const qdisp_tokenizer *tokenizer, const qd_spm_spec *spec, void **out);
extern const qd_tokenizer_kind qd_tokenizer_spm;

/* Its decoder: spaces, bytes, and at most n_stripped leading spaces less. */
json_t *qd_spm_decoder_json(size_t n_stripped);

/* The text that pieces are matched against, with its map, into *to (spm_normalize.c). */
qdisp_status qd_spm_normalize(qd_encoder *encoder, const qd_spm *spm, const qd_text *text, size_t begin, size_t end,
                              qd_text *to);
void qd_spm_set_plain(qd_spm *spm);
/* Bytes of the longest user-defined piece that s[n] begins with, and its id; 0 if there is none. */
size_t qd_spm_user_piece(const qd_spm *spm, const uint8_t *s, size_t n, int32_t *id);
/* What stands in pieces for a space. */
#define QD_SPM_SPACE "\xE2\x96\x81"

/* Pieces to tokens (tokenizer_spm.c): bytes of an unknown one, or one unknown token for several in a row.
 * *unknown_before: whether the piece before was. */
qdisp_status qd_spm_push(qd_encoder *encoder, const qd_spm *spm, int32_t id, const qd_text *text, size_t begin,
                         size_t end, bool *unknown_before);
/* Models (spm_unigram.c, spm_bpe.c) over a normalized text. */
qdisp_status qd_spm_make_unigram(const qd_place *place, const qd_spm_spec *spec, qd_spm *spm);
qdisp_status qd_spm_encode_unigram(qd_encoder *encoder, const qd_spm *spm, const qd_text *text);
qdisp_status qd_spm_make_bpe(const qd_place *place, const qd_spm_spec *spec, qd_spm *spm);
qdisp_status qd_spm_encode_bpe(qd_encoder *encoder, const qd_spm *spm, const qd_text *text);

static inline size_t qd_spm_char_length(const uint8_t *s, size_t n) {
    size_t len = s[0] < 0xC0 ? 1 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    return len < n ? len : n;
}

#endif
