/* inspect.c - what is at a path, as a report: parts are opened as everyone opens them, and what fails says why. */
#include <qdisp/inspect.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "model/model.h"
#include "tensor/gguf.h"
#include "tokenizer/tokenizer.h"

#define MAX_VALUE 200 /* bytes of a text that are shown */

typedef struct inspection {
    qdisp_ctx *ctx;
    const char *path;
    qdisp_model *model;         /* or NULL */
    qdisp_tokenizer *tokenizer; /* or NULL */
    qd_tensor_file *own_file;   /* without a model */
    const qd_tensor_file *file; /* or NULL */
    const qdisp_tensor *tensors;
    size_t n_tensors;
    qdisp_status status[3];     /* of model, weights, tokenizer */
    char reason[3][512];
} inspection;

/* --- opening --- */

static bool goes_on(qdisp_status status) {
    return status != QDISP_ENOMEM && status != QDISP_ECANCELLED;
}

static qdisp_status note(inspection *p, int part, qdisp_status status) {
    p->status[part] = status;
    if (status != QDISP_OK) qd_copy_error(p->ctx, p->reason[part]);
    return goes_on(status) ? QDISP_OK : status;
}

/* The part that came nearest: one that is there and broken rather than one that is missing. */
static qdisp_status nothing(const inspection *p) {
    int best = qd_is_directory(p->path) ? 0 : 1;
    for (int i = 2; i >= 0; i--)
        if (p->status[best] == QDISP_ENOTFOUND && p->status[i] != QDISP_ENOTFOUND) best = i;
    if (p->status[best] != QDISP_ENOTFOUND) return qd_fail(p->ctx, p->status[best], "%s", p->reason[best]);
    return qd_fail(p->ctx, QDISP_ENOTFOUND, "%s: no model (config.json with weights, or a .gguf), no weights and no "
                   "tokenizer (tokenizer.json)", p->path);
}

static qdisp_status open_parts(inspection *p) {
    if (access(p->path, F_OK) != 0) return qd_fail_errno(p->ctx, p->path, errno);
    QD_TRY(note(p, 0, qdisp_model_open(p->ctx, p->path, &p->model)));
    if (!p->model) QD_TRY(note(p, 1, qd_weights_open(p->ctx, p->path, &p->own_file)));
    QD_TRY(note(p, 2, qdisp_tokenizer_open(p->ctx, p->path, &p->tokenizer)));
    if (!p->model && !p->own_file && !p->tokenizer) return nothing(p);
    p->file = p->model ? p->model->file : p->own_file;
    p->tensors = p->model ? p->model->tensors : p->file ? p->file->tensors : NULL;
    p->n_tensors = p->model ? p->model->n_tensors : p->file ? p->file->n_tensors : 0;
    return QDISP_OK;
}

/* --- summary --- */

typedef struct summary {
    const inspection *p;
    qdisp_table *table;
    qdisp_status status;
} summary;

static void say(summary *s, const char *property, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void say(summary *s, const char *property, const char *format, ...) {
    char text[640];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    text[qd_utf8_check(text, strlen(text))] = 0; /* cut within a character */
    size_t row = qd_table_row(s->table, &s->status);
    qd_table_str(s->table, &s->status, row, 0, property);
    qd_table_str(s->table, &s->status, row, 1, text);
}

static void say_file(summary *s) {
    const inspection *p = s->p;
    uint64_t n_bytes = 0;
    if (!p->file || !p->file->n_maps) return;
    const char *container = qd_tensor_file_container(p->file);
    for (size_t i = 0; i < p->file->n_maps; i++) n_bytes += p->file->maps[i].size;
    if (p->file->gguf) say(s, "container", "gguf, version %u", (unsigned)p->file->gguf->version);
    else say(s, "container", "%s", container ? container : "?");
    say(s, "files", "%zu", p->file->n_maps);
    say(s, "file_bytes", "%llu", (unsigned long long)n_bytes);
}

static void say_sizes(summary *s) {
    const qdisp_model_info *i = &s->p->model->info;
    const struct {
        const char *name;
        uint64_t value;
        bool always;
    } sizes[] = {{"n_parameters", i->n_parameters, true}, {"n_bytes", i->n_bytes, true},
                 {"n_vocab", i->n_vocab, true},           {"n_layer", i->n_layer, true},
                 {"n_encoder_layer", i->n_encoder_layer, false}, {"n_embd", i->n_embd, true},
                 {"n_head", i->n_head, true},             {"n_kv_head", i->n_kv_head, true},
                 {"head_dim", i->head_dim, true},         {"n_ff", i->n_ff, true},
                 {"n_expert", i->n_expert, false},        {"n_expert_used", i->n_expert_used, false}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        if (sizes[k].always || sizes[k].value) say(s, sizes[k].name, "%llu", (unsigned long long)sizes[k].value);
    say(s, "bits_per_parameter", "%.2f", 8.0 * (double)i->n_bytes / (double)i->n_parameters);
}

static void say_positions(summary *s) {
    static const char *const names[] = {"none", "rope", "alibi", "learned", "sinusoidal", "relative"};
    static const char *const scalings[] = {"", "linear", "dynamic", "yarn", "llama3", "long", "factors"};
    const qd_model_config *c = &s->p->model->config;
    for (int k = 0; k <= c->local_rope; k++) {
        const qd_rope *r = &c->rope[k];
        const char *property = k ? "positions.local" : "positions";
        if (c->position != QD_POSITION_ROPE) say(s, property, "%s", names[c->position]);
        else if (r->scaling == QD_ROPE_PLAIN) say(s, property, "rope, theta %g, %zu of %zu dimensions", r->theta,
                                                  r->n_rot, c->head_dim);
        else say(s, property, "rope, theta %g, %zu of %zu dimensions, %s from %zu by %g", r->theta, r->n_rot,
                 c->head_dim, scalings[r->scaling], r->n_original, r->factor);
    }
    if (c->n_positions) say(s, "n_positions", "%zu", c->n_positions);
    else say(s, "n_positions", "no limit");
    size_t n_local = 0;
    for (size_t i = 0; i < c->n_layer; i++) n_local += c->is_local[i];
    if (c->window && n_local) say(s, "window", "%zu tokens in %zu of %zu layers", c->window, n_local, c->n_layer);
    say(s, "head", "%s", c->tied_head ? "tied to the embedding" : "its own");
}

static void say_id(summary *s, const char *property, int32_t id) {
    const char *token = s->p->tokenizer ? qdisp_tokenizer_token(s->p->tokenizer, id) : NULL;
    if (id >= 0) say(s, property, "%d%s%s", (int)id, token ? " " : "", token ? token : "");
}

static void say_model(summary *s) {
    static const char *const kinds[] = {"", "decoder", "masked", "encoder-decoder"};
    const qdisp_model_info *i = &s->p->model->info;
    say(s, "architecture", "%s", i->architecture);
    say(s, "kind", "%s", kinds[i->kind]);
    say_sizes(s);
    say_positions(s);
    say_id(s, "bos_id", i->bos_id);
    say_id(s, "eos_id", i->eos_id);
    say_id(s, "decoder_start_id", i->decoder_start_id);
}

static void say_template(summary *s, const char *property, const int32_t *ids, size_t n) {
    char text[256] = "";
    size_t at = 0;
    for (size_t i = 0; i < n && at + 32 < sizeof text; i++) {
        const char *token = qdisp_tokenizer_token(s->p->tokenizer, ids[i]);
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%d %.16s", i ? ", " : "", (int)ids[i],
                               token ? token : "");
    }
    if (n) say(s, property, "%s", text);
}

static void say_tokenizer(summary *s) {
    const qdisp_tokenizer *t = s->p->tokenizer;
    size_t n_prefix, n_suffix, n_vocab = qdisp_tokenizer_n_vocab(t);
    const int32_t *prefix = qdisp_tokenizer_prefix(t, &n_prefix), *suffix = qdisp_tokenizer_suffix(t, &n_suffix);
    say(s, "tokenizer", "%s", t->kind->name);
    say(s, "n_tokens", "%zu", n_vocab);
    say_template(s, "prefix", prefix, n_prefix);
    say_template(s, "suffix", suffix, n_suffix);
    say_id(s, "mask", qdisp_tokenizer_mask_id(t));
    if (s->p->model && n_vocab > s->p->model->info.n_vocab)
        say(s, "note", "the tokenizer has more tokens than the model: %zu, not %u", n_vocab,
            (unsigned)s->p->model->info.n_vocab);
}

/* Why a part is not there, without the path, which everyone knows. */
static void say_none(summary *s, const char *property, int part) {
    const char *reason = s->p->reason[part];
    size_t n = strlen(s->p->path);
    if (!strncmp(reason, s->p->path, n)) reason += n;
    say(s, property, "none: %s", reason + strspn(reason, "/: "));
}

static qdisp_status fill_summary(const inspection *p, qdisp_table *t) {
    summary s = {.p = p, .table = t};
    qd_table_column(t, &s.status, "property", "", QDISP_COLUMN_STR);
    qd_table_column(t, &s.status, "value", "", QDISP_COLUMN_STR);
    say_file(&s);
    if (p->model) say_model(&s);
    else say_none(&s, "model", 0);
    if (!p->model && !p->file) say_none(&s, "weights", 1);
    if (p->tokenizer) say_tokenizer(&s);
    else say_none(&s, "tokenizer", 2);
    return s.status;
}

/* --- the other tables --- */

static uint64_t n_elements(const inspection *p, size_t i) {
    return qd_tensor_n_elements(&p->tensors[i]);
}

/* One row a format, in the order of their first tensors. */
static qdisp_status fill_formats(const inspection *p, qdisp_table *t) {
    qdisp_status status = QDISP_OK;
    size_t format = qd_table_column(t, &status, "format", "", QDISP_COLUMN_STR);
    size_t n_tensors = qd_table_column(t, &status, "n_tensors", "", QDISP_COLUMN_I64);
    size_t n_parameters = qd_table_column(t, &status, "n_parameters", "", QDISP_COLUMN_I64);
    size_t n_bytes = qd_table_column(t, &status, "n_bytes", "bytes", QDISP_COLUMN_I64);
    for (size_t i = 0; i < p->n_tensors && status == QDISP_OK; i++) {
        const char *name = qd_tensor_format(&p->tensors[i]);
        size_t row = 0, n_rows = qdisp_table_n_rows(t);
        while (row < n_rows && strcmp(qdisp_table_str(t, format)[row], name)) row++;
        int64_t sums[3] = {0};
        for (size_t k = 0; row < n_rows && k < 3; k++) sums[k] = qdisp_table_i64(t, n_tensors + k)[row];
        if (row == n_rows) row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, format, name);
        qd_table_i64(t, &status, row, n_tensors, sums[0] + 1);
        qd_table_i64(t, &status, row, n_parameters, sums[1] + (int64_t)n_elements(p, i));
        qd_table_i64(t, &status, row, n_bytes, sums[2] + (int64_t)p->tensors[i].n_bytes);
    }
    return status;
}

static qdisp_status fill_tensors(const inspection *p, qdisp_table *t) {
    qdisp_status status = QDISP_OK;
    size_t name = qd_table_column(t, &status, "name", "", QDISP_COLUMN_STR);
    size_t role = qd_table_column(t, &status, "role", "", QDISP_COLUMN_STR);
    size_t layer = qd_table_column(t, &status, "layer", "", QDISP_COLUMN_I64);
    size_t expert = qd_table_column(t, &status, "expert", "", QDISP_COLUMN_I64);
    size_t format = qd_table_column(t, &status, "format", "", QDISP_COLUMN_STR);
    size_t shape = qd_table_column(t, &status, "shape", "", QDISP_COLUMN_STR);
    size_t n_parameters = qd_table_column(t, &status, "n_parameters", "", QDISP_COLUMN_I64);
    size_t n_bytes = qd_table_column(t, &status, "n_bytes", "bytes", QDISP_COLUMN_I64);
    for (size_t i = 0; i < p->n_tensors && status == QDISP_OK; i++) {
        const qdisp_tensor *tensor = &p->tensors[i];
        int at_layer = p->model ? qdisp_model_layer(p->model, i) : -1;
        int at_expert = p->model ? qdisp_model_expert(p->model, i) : -1;
        char text[96];
        qd_tensor_shape_text(tensor->shape, tensor->n_dims, text);
        size_t row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, name, tensor->name);
        qd_table_str(t, &status, row, role, p->model ? qdisp_model_role(p->model, i) : NULL);
        qd_table_i64(t, &status, row, layer, at_layer < 0 ? QDISP_MISSING_I64 : at_layer);
        qd_table_i64(t, &status, row, expert, at_expert < 0 ? QDISP_MISSING_I64 : at_expert);
        qd_table_str(t, &status, row, format, qd_tensor_format(tensor));
        qd_table_str(t, &status, row, shape, text);
        qd_table_i64(t, &status, row, n_parameters, (int64_t)n_elements(p, i));
        qd_table_i64(t, &status, row, n_bytes, (int64_t)tensor->n_bytes);
    }
    return status;
}

static qdisp_status fill_files(const inspection *p, qdisp_table *t) {
    qdisp_status status = QDISP_OK;
    size_t file = qd_table_column(t, &status, "file", "", QDISP_COLUMN_STR);
    size_t n_bytes = qd_table_column(t, &status, "n_bytes", "bytes", QDISP_COLUMN_I64);
    for (size_t i = 0; p->file && i < p->file->n_maps; i++) {
        const char *slash = strrchr(p->file->map_paths[i], '/'), *name = slash ? slash + 1 : p->file->map_paths[i];
        size_t row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, file, qd_utf8_check(name, strlen(name)) == strlen(name) ? name : NULL);
        qd_table_i64(t, &status, row, n_bytes, (int64_t)p->file->maps[i].size);
    }
    return status;
}

/* The first bytes of a text, whole characters of it; a mark where something is left out or cannot be shown. */
static void shown(const char *text, size_t n, char out[MAX_VALUE + 8]) {
    size_t cut = n < MAX_VALUE ? n : MAX_VALUE, good = qd_utf8_check(text, cut);
    for (size_t i = 0; i < good; i++) out[i] = text[i] ? text[i] : ' ';
    strcpy(out + good, good < n ? "..." : "");
}

static void gguf_value_text(const qd_gguf_value *v, char out[MAX_VALUE + 8]) {
    static const char *const types[QD_GGUF_N_TYPES] = {"u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool",
                                                       "string", "array", "u64", "i64", "f64"};
    int64_t integer;
    double number;
    bool truth;
    qd_gguf_text text;
    if (v->is_array) snprintf(out, MAX_VALUE, "%zu of %s", v->n, types[v->type]);
    else if (v->type == QD_GGUF_BOOL && qd_gguf_bool(v, &truth)) snprintf(out, MAX_VALUE, truth ? "true" : "false");
    else if (qd_gguf_int(v, 0, &integer)) snprintf(out, MAX_VALUE, "%lld", (long long)integer);
    else if (qd_gguf_number(v, 0, &number)) snprintf(out, MAX_VALUE, "%.9g", number);
    else if (qd_gguf_string(v, &text)) shown(text.text, text.n, out);
    else snprintf(out, MAX_VALUE, "(%s)", types[v->type]);
}

static qdisp_status fill_metadata(const inspection *p, qdisp_table *t) {
    qdisp_status status = QDISP_OK;
    size_t key = qd_table_column(t, &status, "key", "", QDISP_COLUMN_STR);
    size_t value = qd_table_column(t, &status, "value", "", QDISP_COLUMN_STR);
    const qd_gguf *gguf = p->file ? p->file->gguf : NULL;
    char name[MAX_VALUE + 8], text[MAX_VALUE + 8];
    for (size_t i = 0; gguf && i < gguf->n_values && status == QDISP_OK; i++) {
        shown(gguf->values[i].key.text, gguf->values[i].key.n, name);
        gguf_value_text(&gguf->values[i], text);
        size_t row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, key, name);
        qd_table_str(t, &status, row, value, text);
    }
    for (size_t i = 0; p->file && i < p->file->n_metadata && status == QDISP_OK; i++) {
        shown(p->file->metadata[2 * i], strlen(p->file->metadata[2 * i]), name);
        shown(p->file->metadata[2 * i + 1], strlen(p->file->metadata[2 * i + 1]), text);
        size_t row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, key, name);
        qd_table_str(t, &status, row, value, text);
    }
    return status;
}

/* --- the report --- */

static const struct {
    const char *name, *title;
    qdisp_status (*fill)(const inspection *p, qdisp_table *t);
} tables[] = {
    {"summary", "Summary", fill_summary},     {"formats", "How values are stored", fill_formats},
    {"tensors", "Tensors", fill_tensors},     {"files", "Files of the weights", fill_files},
    {"metadata", "Metadata", fill_metadata},
};

static qdisp_status make_report(const inspection *p, qdisp_report *report) {
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        qdisp_table *t = NULL;
        QD_TRY(qdisp_table_new(p->ctx, tables[i].name, tables[i].title, &t));
        qdisp_status status = tables[i].fill(p, t);
        if (status == QDISP_OK && qdisp_table_n_rows(t)) QD_TRY(qdisp_report_add(report, t));
        else qdisp_table_free(t);
        QD_TRY(status);
    }
    return QDISP_OK;
}

qdisp_status qdisp_inspect(qdisp_ctx *ctx, const char *path, qdisp_report **out) {
    if (!ctx) return QDISP_EINVAL;
    if (!path || !out) return qd_fail(ctx, QDISP_EINVAL, "inspect: no path or no place for the result");
    inspection *p = qd_alloc(ctx, 1, sizeof *p);
    if (!p) return QDISP_ENOMEM;
    qdisp_report *report = NULL;
    p->ctx = ctx;
    p->path = path;
    qdisp_status status = open_parts(p);
    if (status == QDISP_OK) status = qdisp_report_new(ctx, "inspection", &report);
    if (status == QDISP_OK) status = make_report(p, report);
    if (status == QDISP_OK) *out = report;
    else qdisp_report_free(report);
    qdisp_model_free(p->model);
    qd_tensor_file_free(p->own_file);
    qdisp_tokenizer_free(p->tokenizer);
    qd_free(ctx, p);
    return status;
}
