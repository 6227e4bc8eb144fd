/* source_gguf.c - the vocabulary of a GGUF file, as llama.cpp reads it: a function a tokenizer.ggml.model.
 *
 * The file holds token strings, their types and either merges or scores. What cuts text into words it only names
 * (pretokenizer_names.c), and what it leaves out has llama.cpp's defaults, written here where they are used. */
#include "tokenizer/sources.h"
#include "tokenizer/spm.h"
#include "tensor/gguf.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct reader {
    const qd_source_job *job;
    qd_place place;
    const qd_gguf *gguf;
    const qd_gguf_value *tokens;
    uint8_t *types; /* [tokens->n] of qd_piece_type, 0 for any other */
    float *scores;  /* [tokens->n] or NULL */
    size_t used;
} reader;

#define KEY(name) "tokenizer.ggml." name

static qdisp_status refuse(const reader *r, qdisp_status status, const char *key, const char *why) {
    return qd_fail(r->job->ctx, status, "%s: %s: %s", r->job->file, key, why);
}

static bool get_bool(const reader *r, const char *key, bool otherwise) {
    bool value = otherwise;
    qd_gguf_bool(qd_gguf_find(r->gguf, key), &value);
    return value;
}

/* The id that a key names, else `otherwise`; -1 if there is no such token. */
static int32_t get_id(const reader *r, const char *key, int64_t otherwise) {
    int64_t id = otherwise;
    qd_gguf_int(qd_gguf_find(r->gguf, key), 0, &id);
    return id >= 0 && (uint64_t)id < r->tokens->n ? (int32_t)id : -1;
}

static bool is_array(const qd_gguf_value *value, qd_gguf_type type) {
    return value && value->is_array && value->type == type;
}

/* ---- what all kinds have ---- */

static qdisp_status read_types(reader *r) {
    const qd_gguf_value *types = qd_gguf_find(r->gguf, KEY("token_type"));
    if (types && (!types->is_array || types->n < r->tokens->n)) {
        return refuse(r, QDISP_EFORMAT, KEY("token_type"), "not an array as long as that of the tokens");
    }
    r->types = qd_alloc(r->job->ctx, r->tokens->n + 1, 1);
    if (!r->types) return QDISP_ENOMEM;
    for (size_t i = 0; i < r->tokens->n; i++) {
        int64_t type = QD_PIECE_NORMAL;
        if (types && !qd_gguf_int(types, i, &type)) {
            return refuse(r, QDISP_EFORMAT, KEY("token_type"), "not an array of integers");
        }
        r->types[i] = type >= QD_PIECE_NORMAL && type <= QD_PIECE_BYTE ? (uint8_t)type : 0;
    }
    return QDISP_OK;
}

/* Bytes of the longest token name that put_token makes longer than it is in the file. */
#define MAX_ADDED 32

/* An empty string stands for a token that no text gives. */
static qdisp_status put_token(reader *r, int32_t id, qd_gguf_text token) {
    char name[MAX_ADDED];
    if (!token.n) {
        token.n = (size_t)snprintf(name, sizeof name, "[EMPTY_%d]", (int)id);
        token.text = name;
        r->types[id] = 0;
    }
    return qd_vocab_put(&r->place, r->job->t, id, token.text, token.n, &r->used);
}

typedef qdisp_status (*token_put)(reader *r, int32_t id, qd_gguf_text token);

static qdisp_status read_tokens(reader *r, token_put put) {
    const uint8_t *at = NULL;
    qd_gguf_text token;
    size_t n_bytes = 0;
    r->place.member = KEY("tokens");
    for (size_t i = 0; i < r->tokens->n && qd_gguf_next(r->tokens, &at, &token); i++) n_bytes += token.n + MAX_ADDED;
    QD_TRY(qd_vocab_new(r->job->t, r->tokens->n, n_bytes));
    at = NULL;
    for (size_t i = 0; i < r->tokens->n && qd_gguf_next(r->tokens, &at, &token); i++) {
        QD_TRY(put(r, (int32_t)i, token));
    }
    return QDISP_OK;
}

static bool is_special(const reader *r, size_t i) {
    return r->types[i] == QD_PIECE_CONTROL || r->types[i] == QD_PIECE_USER_DEFINED || r->types[i] == QD_PIECE_UNKNOWN;
}

/* Control, user-defined and unknown tokens are cut out of the text first. */
static qdisp_status add_specials(reader *r) {
    size_t n = 0;
    for (size_t i = 0; i < r->tokens->n; i++) n += is_special(r, i);
    for (size_t i = 0; n && i < r->tokens->n; i++) {
        if (!is_special(r, i)) continue;
        QD_TRY(qd_vocab_add_special(r->job->t, (int32_t)i, r->types[i] != QD_PIECE_USER_DEFINED, n));
    }
    qd_added_sort(&r->job->t->raw);
    return QDISP_OK;
}

static qdisp_status add_template(reader *r, int32_t before, int32_t after) {
    r->job->t->states_template = true;
    return qd_template_make(r->job->t, &before, before >= 0, &after, after >= 0);
}

/* ---- gpt2: byte-level BPE ---- */

static qdisp_status read_merges(reader *r, qd_merges *merges) {
    const qd_gguf_value *list = qd_gguf_find(r->gguf, KEY("merges"));
    const uint8_t *at = NULL;
    qd_gguf_text merge;
    if (!is_array(list, QD_GGUF_STRING)) {
        return refuse(r, QDISP_EFORMAT, KEY("merges"), list ? "not an array of strings" : "missing");
    }
    r->place.member = "tokenizer.ggml";
    for (size_t i = 0; i < list->n && qd_gguf_next(list, &at, &merge); i++) {
        const char *space = merge.n > 1 ? memchr(merge.text + 1, ' ', merge.n - 1) : NULL;
        if (!space) {
            return qd_fail(r->job->ctx, QDISP_EFORMAT, "%s: %s[%zu]: not \"a b\"", r->job->file, KEY("merges"), i);
        }
        size_t n_left = (size_t)(space - merge.text);
        QD_TRY(qd_merges_push(&r->place, r->job->t, i, merge.text, n_left, space + 1, merge.n - n_left - 1, 0,
                              merges));
    }
    return QDISP_OK;
}

static qdisp_status find_pattern(reader *r, const qd_named_pattern **out) {
    qd_gguf_text name = {"default", 7};
    qd_gguf_string(qd_gguf_find(r->gguf, KEY("pre")), &name);
    *out = qd_pretokenizer_named(name.text, name.n);
    if (*out) return QDISP_OK;
    return qd_fail(r->job->ctx, QDISP_EUNSUPPORTED, "%s: %s: '%.*s' is not known", r->job->file, KEY("pre"),
                   qd_gguf_printable(name), name.text);
}

static qdisp_status make_bpe(reader *r, const qd_named_pattern *pattern, bool byte_level) {
    qdisp_tokenizer *t = r->job->t;
    qd_merges merges = {0};
    qd_bpe_options options = {.byte_level = byte_level, .ignore_merges = pattern->ignore_merges, .merges = &merges};
    qdisp_status status = read_merges(r, &merges);
    t->kind = &qd_tokenizer_bpe;
    if (status == QDISP_OK) status = qd_bpe_new(&r->place, t, &options, &t->model);
    qd_free(r->job->ctx, merges.items);
    return status;
}

static qdisp_status open_gpt2(reader *r) {
    qdisp_tokenizer *t = r->job->t;
    const qd_named_pattern *pattern = NULL;
    QD_TRY(find_pattern(r, &pattern));
    QD_TRY(read_tokens(r, put_token));
    QD_TRY(add_specials(r));
    QD_TRY(qd_vocab_pretokenizer(&r->place, t, qd_split_json(pattern->patterns, 6)));
    QD_TRY(qd_vocab_decoder(&r->place, t, json_pack("{s:s}", "type", "ByteLevel")));
    QD_TRY(make_bpe(r, pattern, true));
    bool add_bos = get_bool(r, KEY("add_bos_token"), pattern->add_bos);
    return add_template(r, add_bos ? get_id(r, KEY("bos_token_id"), 11) : -1,
                        get_bool(r, KEY("add_eos_token"), false) ? get_id(r, KEY("eos_token_id"), 11) : -1);
}

/* ---- llama and t5: SentencePiece's BPE and unigram model ---- */

static qdisp_status read_scores(reader *r) {
    const qd_gguf_value *scores = qd_gguf_find(r->gguf, KEY("scores"));
    if (!scores || !scores->is_array || scores->n < r->tokens->n) {
        return refuse(r, QDISP_EFORMAT, KEY("scores"),
                      scores ? "not an array as long as that of the tokens" : "missing");
    }
    r->scores = qd_alloc(r->job->ctx, r->tokens->n, sizeof *r->scores);
    if (!r->scores) return QDISP_ENOMEM;
    for (size_t i = 0; i < r->tokens->n; i++) {
        double score;
        if (!qd_gguf_number(scores, i, &score) || !(fabs(score) <= FLT_MAX)) {
            return refuse(r, QDISP_EFORMAT, KEY("scores"), "a score that is no finite number");
        }
        r->scores[i] = (float)score;
    }
    return QDISP_OK;
}

/* In a model of Phi-3 what follows a control token loses its spaces. */
static void strip_behind(reader *r) {
    static const char *const NAMES[] = {"phi-3", "phi3", "Phi-3", "Phi3"}, *const KEPT[] = {"<unk>", "<s>",
                                                                                        "<|endoftext|>"};
    qdisp_tokenizer *t = r->job->t;
    qd_gguf_text name = {"", 0};
    bool found = false;
    qd_gguf_string(qd_gguf_find(r->gguf, "general.name"), &name);
    for (size_t k = 0; k < sizeof NAMES / sizeof *NAMES; k++) {
        size_t n = strlen(NAMES[k]);
        for (size_t i = 0; i + n <= name.n && !found; i++) found = !memcmp(name.text + i, NAMES[k], n);
    }
    for (size_t i = 0; found && i < t->raw.n; i++) {
        qd_added *token = &t->raw.items[i];
        token->rstrip = true;
        for (size_t k = 0; k < sizeof KEPT / sizeof *KEPT; k++) {
            if (!strcmp(token->content, KEPT[k])) token->rstrip = false;
        }
    }
}

static qdisp_status make_spm(reader *r, qd_spm_spec *spec) {
    qdisp_tokenizer *t = r->job->t;
    size_t n_stripped = spec->remove_extra_whitespaces ? INT32_MAX : spec->add_dummy_prefix;
    QD_TRY(read_scores(r));
    QD_TRY(read_tokens(r, put_token));
    for (size_t i = 0; i < r->tokens->n; i++) {
        t->in_model[i] = r->types[i] != QD_PIECE_CONTROL && r->types[i] != QD_PIECE_USER_DEFINED;
    }
    QD_TRY(add_specials(r));
    strip_behind(r);
    r->place.member = "tokenizer.ggml";
    QD_TRY(qd_vocab_decoder(&r->place, t, qd_spm_decoder_json(n_stripped)));
    spec->scores = r->scores;
    spec->types = r->types;
    spec->unk_id = t->unk_id;
    spec->like_llama = true;
    spec->escape_whitespaces = true;
    t->kind = &qd_tokenizer_spm;
    return qd_spm_new(&r->place, t, spec, &t->model);
}

static qdisp_status open_llama(reader *r) {
    qd_spm_spec spec = {.kind = QD_SPM_BPE, .byte_fallback = true};
    spec.add_dummy_prefix = get_bool(r, KEY("add_space_prefix"), true);
    r->job->t->unk_id = get_id(r, KEY("unknown_token_id"), 0);
    QD_TRY(make_spm(r, &spec));
    return add_template(r, get_bool(r, KEY("add_bos_token"), true) ? get_id(r, KEY("bos_token_id"), 1) : -1,
                        get_bool(r, KEY("add_eos_token"), false) ? get_id(r, KEY("eos_token_id"), 2) : -1);
}

static qdisp_status open_t5(reader *r) {
    qd_spm_spec spec = {.kind = QD_SPM_UNIGRAM};
    const qd_gguf_value *charsmap = qd_gguf_find(r->gguf, KEY("precompiled_charsmap"));
    if (charsmap && !is_array(charsmap, QD_GGUF_U8) && !is_array(charsmap, QD_GGUF_I8)) {
        return refuse(r, QDISP_EFORMAT, KEY("precompiled_charsmap"), "not an array of bytes");
    }
    if (charsmap && charsmap->n) spec.charsmap = charsmap->data, spec.n_charsmap = charsmap->n;
    spec.add_dummy_prefix = get_bool(r, KEY("add_space_prefix"), false);
    spec.remove_extra_whitespaces = get_bool(r, KEY("remove_extra_whitespaces"), false);
    r->job->t->unk_id = get_id(r, KEY("unknown_token_id"), 2);
    QD_TRY(make_spm(r, &spec));
    return add_template(r, get_bool(r, KEY("add_bos_token"), false) ? get_id(r, KEY("bos_token_id"), -1) : -1,
                        get_bool(r, KEY("add_eos_token"), true) ? get_id(r, KEY("eos_token_id"), 1) : -1);
}

/* ---- bert: WordPiece ---- */

/* The file has U+2581 before a word's beginning and nothing before what continues it; WordPiece has it the other way
 * round. Names in brackets stand as they are. */
static qdisp_status put_wordpiece(reader *r, int32_t id, qd_gguf_text token) {
    char *longer;
    size_t n = token.n;
    if (n > 3 && !memcmp(token.text, QD_SPM_SPACE, 3)) {
        token = (qd_gguf_text){token.text + 3, n - 3};
        return put_token(r, id, token);
    }
    if (!n || is_special(r, (size_t)id) || (n > 1 && token.text[0] == '[' && token.text[n - 1] == ']')) {
        return put_token(r, id, token);
    }
    if (!(longer = qd_alloc(r->job->ctx, n + 2, 1))) return QDISP_ENOMEM;
    memcpy(longer, "##", 2);
    memcpy(longer + 2, token.text, n);
    qdisp_status status = put_token(r, id, (qd_gguf_text){longer, n + 2});
    qd_free(r->job->ctx, longer);
    return status;
}

static qdisp_status open_bert(reader *r) {
    qdisp_tokenizer *t = r->job->t;
    bool lowercase = get_bool(r, KEY("normalizer.lowercase"), true);
    bool strip_accents = get_bool(r, KEY("normalizer.strip_accents"), lowercase);
    t->unk_id = get_id(r, KEY("unknown_token_id"), 100);
    QD_TRY(read_tokens(r, put_wordpiece));
    QD_TRY(add_specials(r));
    r->place.member = "tokenizer.ggml";
    QD_TRY(qd_vocab_normalizer(&r->place, t, json_pack("{s:s, s:b, s:b, s:b, s:b}", "type", "BertNormalizer",
                                                       "clean_text", 1, "handle_chinese_chars", 1, "strip_accents",
                                                       strip_accents, "lowercase", lowercase)));
    QD_TRY(qd_vocab_pretokenizer(&r->place, t, json_pack("{s:s}", "type", "BertPreTokenizer")));
    QD_TRY(qd_vocab_decoder(&r->place, t, json_pack("{s:s, s:s, s:b}", "type", "WordPiece", "prefix", "##", "cleanup",
                                                    1)));
    t->kind = &qd_tokenizer_wordpiece;
    QD_TRY(qd_wordpiece_new(&r->place, t, t->unk_id, "##", 2, SIZE_MAX, &t->model));
    return add_template(r, get_id(r, KEY("bos_token_id"), 101), get_id(r, KEY("seperator_token_id"), 102));
}

/* ---- the whole ---- */

static const struct {
    const char *model;
    qdisp_status (*open)(reader *r);
} MODELS[] = {{"gpt2", open_gpt2}, {"llama", open_llama}, {"t5", open_t5}, {"bert", open_bert}};

static qdisp_status read_model(reader *r) {
    qd_gguf_text model;
    if (!qd_gguf_string(qd_gguf_find(r->gguf, KEY("model")), &model)) {
        return refuse(r, QDISP_EFORMAT, KEY("model"), "missing: the file has no vocabulary");
    }
    r->tokens = qd_gguf_find(r->gguf, KEY("tokens"));
    if (!is_array(r->tokens, QD_GGUF_STRING) || !r->tokens->n || r->tokens->n >= INT32_MAX) {
        return refuse(r, QDISP_EFORMAT, KEY("tokens"), r->tokens ? "not an array of strings" : "missing");
    }
    for (size_t i = 0; i < sizeof MODELS / sizeof *MODELS; i++) {
        if (!qd_gguf_is(model, MODELS[i].model)) continue;
        QD_TRY(read_types(r));
        return MODELS[i].open(r);
    }
    return qd_fail(r->job->ctx, QDISP_EUNSUPPORTED, "%s: %s: '%.*s' is not known", r->job->file, KEY("model"),
                   qd_gguf_printable(model), model.text);
}

static qdisp_status open_gguf(const qd_source_job *job) {
    reader r = {.job = job, .place = {.ctx = job->ctx, .file = job->file, .member = "tokenizer.ggml"}};
    qd_tensor_file *file = NULL;
    QD_TRY(qd_tensor_file_open(job->ctx, job->file, &file));
    r.gguf = file->gguf;
    qdisp_status status = r.gguf ? read_model(&r) : QDISP_EFORMAT;
    qd_free(job->ctx, r.types);
    qd_free(job->ctx, r.scores);
    qd_tensor_file_free(file);
    return status;
}

static bool matches(const char *file, const uint8_t *head, size_t n) {
    (void)file;
    return n >= 4 && !memcmp(head, "GGUF", 4);
}

const qd_source qd_source_gguf = {"GGUF", matches, open_gguf};
