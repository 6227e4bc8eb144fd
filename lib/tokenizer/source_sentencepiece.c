/* source_sentencepiece.c - SentencePiece's .model: a protocol buffer with pieces, trainer_spec and normalizer_spec.
 *
 * The wire format is small: a message is a list of fields, each a number and a varint, 4 or 8 bytes, or a length and
 * bytes. Groups, which the format has given up, are refused; unknown fields are passed over; of a field that comes
 * twice the last holds, as the format says. Nothing is nested deeper than the file's two levels, and everything is read
 * where it lies. */
#include "tokenizer/sources.h"
#include "tokenizer/spm.h"
#include <math.h>
#include <string.h>

typedef struct field {
    uint32_t number;
    uint64_t value; /* of a varint, or the bits of 4 or 8 bytes */
    const uint8_t *bytes;
    size_t n;       /* of bytes; bytes = NULL: no string */
} field;

typedef struct cursor {
    const uint8_t *at, *end;
} cursor;

/* ---- the wire format ---- */

static bool read_varint(cursor *c, uint64_t *out) {
    *out = 0;
    for (unsigned shift = 0; shift < 64 && c->at < c->end; shift += 7) {
        uint8_t byte = *c->at++;
        if (shift == 63 && byte > 1) return false;
        *out |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) return true;
    }
    return false;
}

static bool read_fixed(cursor *c, size_t n, uint64_t *out) {
    if ((size_t)(c->end - c->at) < n) return false;
    *out = 0;
    for (size_t i = 0; i < n; i++) *out |= (uint64_t)c->at[i] << (8 * i);
    c->at += n;
    return true;
}

/* The next field, c->at < c->end. */
static bool read_field(cursor *c, field *out) {
    uint64_t key, n;
    *out = (field){0};
    if (!read_varint(c, &key) || key >> 3 == 0 || key >> 3 > UINT32_MAX >> 3) return false;
    out->number = (uint32_t)(key >> 3);
    switch (key & 7) {
    case 0: return read_varint(c, &out->value);
    case 1: return read_fixed(c, 8, &out->value);
    case 5: return read_fixed(c, 4, &out->value);
    case 2:
        if (!read_varint(c, &n) || n > (uint64_t)(c->end - c->at)) return false;
        out->bytes = c->at;
        out->n = (size_t)n;
        c->at += n;
        return true;
    default: return false;
    }
}

/* ---- the model ---- */

typedef struct reader {
    const qd_source_job *job;
    qd_place place;
    char *data;
    size_t n_data, n_pieces, n_bytes, used;
    qd_spm_spec spec;
    float *scores;
    uint8_t *types;
    const uint8_t *unk_surface;
    size_t n_unk_surface;
    uint64_t kind;
} reader;

typedef struct piece {
    const uint8_t *str;
    size_t n;
    float score;
    uint64_t type;
} piece;

static qdisp_status broken(const reader *r, const char *what) {
    return qd_fail(r->job->ctx, QDISP_EFORMAT, "%s: %s: a field that passes the end or is none", r->job->file, what);
}

static qdisp_status read_piece(const reader *r, const field *message, piece *out) {
    cursor c = {message->bytes, message->bytes + message->n};
    field f;
    *out = (piece){.type = QD_PIECE_NORMAL};
    while (c.at < c.end) {
        if (!read_field(&c, &f)) return broken(r, "pieces");
        if (f.number == 1) {
            out->str = f.bytes;
            out->n = f.n;
        } else if (f.number == 2) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&out->score, &bits, sizeof bits);
        } else if (f.number == 3) {
            out->type = f.value;
        }
    }
    return QDISP_OK;
}

static qdisp_status read_trainer(reader *r, const field *message) {
    cursor c = {message->bytes, message->bytes + message->n};
    field f;
    while (c.at < c.end) {
        if (!read_field(&c, &f)) return broken(r, "trainer_spec");
        if (f.number == 3) r->kind = f.value;
        else if (f.number == 24) r->spec.whitespace_suffix = f.value != 0;
        else if (f.number == 35) r->spec.byte_fallback = f.value != 0;
        else if (f.number == 44 && f.bytes) r->unk_surface = f.bytes, r->n_unk_surface = f.n;
    }
    return QDISP_OK;
}

static qdisp_status read_normalizer(reader *r, const field *message) {
    cursor c = {message->bytes, message->bytes + message->n};
    field f;
    while (c.at < c.end) {
        if (!read_field(&c, &f)) return broken(r, "normalizer_spec");
        if (f.number == 2) r->spec.charsmap = f.n ? f.bytes : NULL, r->spec.n_charsmap = f.n;
        else if (f.number == 3) r->spec.add_dummy_prefix = f.value != 0;
        else if (f.number == 4) r->spec.remove_extra_whitespaces = f.value != 0;
        else if (f.number == 5) r->spec.escape_whitespaces = f.value != 0;
    }
    return QDISP_OK;
}

/* All but the pieces, which are counted. */
static qdisp_status read_specs(reader *r) {
    cursor c = {(const uint8_t *)r->data, (const uint8_t *)r->data + r->n_data};
    field f;
    r->kind = QD_SPM_UNIGRAM;
    r->spec.add_dummy_prefix = r->spec.remove_extra_whitespaces = r->spec.escape_whitespaces = true;
    while (c.at < c.end) {
        if (!read_field(&c, &f)) return broken(r, "the model");
        if (f.number <= 3 && !f.bytes) return broken(r, "the model");
        if (f.number == 1) r->n_pieces++, r->n_bytes += f.n;
        else if (f.number == 2) QD_TRY(read_trainer(r, &f));
        else if (f.number == 3) QD_TRY(read_normalizer(r, &f));
    }
    if (!r->n_pieces) return qd_fail(r->job->ctx, QDISP_EFORMAT, "%s: no pieces", r->job->file);
    if (r->kind >= QD_SPM_UNIGRAM && r->kind <= QD_SPM_CHAR) return QDISP_OK;
    return qd_fail(r->job->ctx, QDISP_EUNSUPPORTED, "%s: trainer_spec.model_type: %llu is not known", r->job->file,
                   (unsigned long long)r->kind);
}

static qdisp_status put_piece(reader *r, int32_t id, const piece *p) {
    qdisp_tokenizer *t = r->job->t;
    if (p->type < QD_PIECE_NORMAL || p->type > QD_PIECE_BYTE || !isfinite(p->score)) {
        return qd_fail(r->job->ctx, QDISP_EFORMAT, "%s: pieces: token %d: %s", r->job->file, (int)id,
                       isfinite(p->score) ? "an unknown type" : "a score that is not finite");
    }
    QD_TRY(qd_vocab_put(&r->place, t, id, (const char *)p->str, p->str ? p->n : 0, &r->used));
    r->scores[id] = p->score;
    r->types[id] = (uint8_t)p->type;
    t->in_model[id] = p->type != QD_PIECE_CONTROL && p->type != QD_PIECE_USER_DEFINED;
    t->special[id] = p->type == QD_PIECE_CONTROL || p->type == QD_PIECE_UNKNOWN;
    if (p->type != QD_PIECE_UNKNOWN) return QDISP_OK;
    if (t->unk_id >= 0) return qd_fail(r->job->ctx, QDISP_EFORMAT, "%s: pieces: two unknown ones", r->job->file);
    t->unk_id = id;
    return QDISP_OK;
}

static qdisp_status read_pieces(reader *r) {
    cursor c = {(const uint8_t *)r->data, (const uint8_t *)r->data + r->n_data};
    field f;
    piece p;
    r->place.member = "pieces";
    QD_TRY(qd_vocab_new(r->job->t, r->n_pieces, r->n_bytes));
    r->scores = qd_alloc(r->job->ctx, r->n_pieces, sizeof *r->scores);
    r->types = qd_alloc(r->job->ctx, r->n_pieces, 1);
    if (!r->scores || !r->types) return QDISP_ENOMEM;
    for (int32_t id = 0; c.at < c.end && read_field(&c, &f);) {
        if (f.number != 1) continue;
        QD_TRY(read_piece(r, &f, &p));
        QD_TRY(put_piece(r, id++, &p));
    }
    if (r->job->t->unk_id >= 0) return QDISP_OK;
    return qd_fail(r->job->ctx, QDISP_EFORMAT, "%s: pieces: no unknown one", r->job->file);
}

/* Control pieces show nothing, the unknown one its surface. */
static qdisp_status set_decoder(reader *r) {
    qdisp_tokenizer *t = r->job->t;
    size_t n_stripped = r->spec.remove_extra_whitespaces ? INT32_MAX : r->spec.add_dummy_prefix;
    QD_TRY(qd_vocab_decoder(&r->place, t, qd_spm_decoder_json(n_stripped)));
    for (size_t i = 0; i < t->strings.n; i++) {
        if (r->types[i] == QD_PIECE_CONTROL) t->decoded.str[i] = "", t->decoded.len[i] = 0;
    }
    size_t n = r->unk_surface ? r->n_unk_surface : 5;
    if (r->unk_surface && qd_utf8_check((const char *)r->unk_surface, n) != n) {
        return qd_fail(r->job->ctx, QDISP_EFORMAT, "%s: trainer_spec.unk_surface: not UTF-8", r->job->file);
    }
    t->decoded_pool = qd_strndup(t->ctx, r->unk_surface ? (const char *)r->unk_surface : " \xE2\x81\x87 ", n);
    if (!t->decoded_pool) return QDISP_ENOMEM;
    t->decoded.str[t->unk_id] = t->decoded_pool;
    t->decoded.len[t->unk_id] = (uint32_t)n;
    return QDISP_OK;
}

static qdisp_status make(reader *r) {
    qdisp_tokenizer *t = r->job->t;
    QD_TRY(read_specs(r));
    QD_TRY(read_pieces(r));
    QD_TRY(set_decoder(r));
    r->place.member = "model";
    r->spec.kind = (qd_spm_kind)r->kind;
    r->spec.scores = r->scores;
    r->spec.types = r->types;
    r->spec.unk_id = t->unk_id;
    t->kind = &qd_tokenizer_spm;
    return qd_spm_new(&r->place, t, &r->spec, &t->model);
}

static qdisp_status open_sentencepiece(const qd_source_job *job) {
    reader r = {.job = job, .place = {.ctx = job->ctx, .file = job->file, .member = ""}};
    QD_TRY(qd_read_file(job->ctx, job->file, QD_TOKENIZER_MAX_FILE, &r.data, &r.n_data));
    qdisp_status status = make(&r);
    qd_free(job->ctx, r.data);
    qd_free(job->ctx, r.scores);
    qd_free(job->ctx, r.types);
    return status;
}

/* A file begins with a piece, and a piece with its string. */
static bool matches(const char *file, const uint8_t *head, size_t n) {
    cursor c = {head, head + n};
    uint64_t key, length;
    (void)file;
    return read_varint(&c, &key) && key == (1 << 3 | 2) && read_varint(&c, &length) && length > 0 &&
           length < QD_TOKENIZER_MAX_FILE && c.at < c.end && *c.at == (1 << 3 | 2);
}

const qd_source qd_source_sentencepiece = {"SentencePiece", matches, open_sentencepiece};
