/* pack_gguf.c - a quantized model as a GGUF file. Blocks are stored as they are, integer codes as the smallest legacy
 * type whose integers hold theirs, block by block under the scale of their group: exactly. All other tensors first (of
 * a model that came from a GGUF file the bytes they have there), then the quantized ones in the order in which they
 * come, so that none has to wait: experts of a block, which are one tensor, do so. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf_model.h"
#include "quant/fold.h"
#include "quant/packers.h"
#include "tensor/blocks.h"
#include "tokenizer/sources.h"

enum { N = 32, MAX_LANGUAGES = 4096 };

/* A tensor of the file that is quantized. */
typedef struct item {
    const qd_block_type *type;
    size_t n_missing; /* slices */
    uint8_t *data;    /* of all its slices, from the first to the last */
    size_t row_bytes, n_rows; /* of a slice */
} item;

typedef struct pack {
    const qd_packing *packing;
    qdisp_ctx *ctx;
    const qdisp_model *model;
    qd_gguf_writer *w;
    qd_tensor_file *raw;   /* the GGUF file that the model came from, or NULL */
    qd_gguf_place *places; /* [model->n_tensors] */
    qd_fold *folds;        /* [model->n_tensors] scaled inputs put into the tensors around them */
    size_t *item_of;       /* [model->n_tensors], QD_NONE: not quantized */
    item *items;           /* [n_items] in the order of the file */
    size_t n_items;
} pack;

/* --- which type holds a choice --- */

/* The integers that codes stand for, less their zero point. */
static void integers(const qd_choice *c, int *low, int *high) {
    int half = 1 << (c->bits - 1);
    *low = c->levels == QD_ASYM ? 1 - 2 * half : c->levels == QD_FULL ? -half : 1 - half;
    *high = c->levels == QD_ASYM ? 2 * half - 1 : half - 1;
}

static const qd_block_type *type_of(const qd_choice *c) {
    static const struct {
        const char *name;
        int half;
    } holders[] = {{"Q4_0", 8}, {"Q5_0", 16}, {"Q8_0", 128}};
    int low, high;
    if (strcmp(c->type, "int")) return qd_block_type_named(c->type);
    if (!strcmp(c->method->name, "hqq")) return NULL; /* its offsets are no 16-bit floats */
    integers(c, &low, &high);
    for (size_t i = 0; i < sizeof holders / sizeof *holders; i++)
        if (low >= -holders[i].half && high < holders[i].half) return qd_block_type_named(holders[i].name);
    return NULL;
}

static qdisp_status check_choice(const qd_packing *p, const qd_choice *c) {
    const qd_block_type *type = type_of(c);
    const char *why = NULL;
    bool mx = !strcmp(c->type, "mxfp4"); /* its codes and scales are GGUF's */
    if (!type || (!type->encode && !mx))
        why = "no type of GGUF holds it; there are integers that are -128..127 less their zero, in groups of 32 or "
              "multiples of it, and q4_0 ... q8_0, q2_k ... q6_k, iq4_nl, iq4_xs, mxfp4";
    else if (c->n_in % type->n_values) why = "its rows are no whole blocks: their length must be a multiple of 32";
    else if (!strcmp(c->type, "int") && c->group_size > 0 && c->group_size % N)
        why = "blocks of 32 do not fit its groups: use a group size that is a multiple of 32, or channels";
    else if (c->n_keep > 0) why = "kept weights have no place in GGUF";
    return why ? qd_fail(p->ctx, QDISP_EUNSUPPORTED, "%s: %s", c->name, why) : QDISP_OK;
}

/* The model's own tensors are those of its file. */
static bool is_from_gguf(const qdisp_model *m) {
    return m->file && m->file->gguf && !m->base && !m->n_owned;
}

/* Blocks cannot be divided row by row. */
static qdisp_status check_folds(const qd_packing *p) {
    qd_fold *folds = NULL;
    QD_TRY(qd_folds_make(p->model, p->choices, p->n_choices, &folds));
    qdisp_status status = QDISP_OK;
    for (size_t i = 0; i < p->n_choices && status == QDISP_OK; i++)
        if (folds[p->choices[i].i_tensor].rows && strcmp(p->choices[i].type, "int"))
            status = qd_fail(p->ctx, QDISP_EUNSUPPORTED, "%s: its rows would have to be divided for the scaled inputs "
                             "of the next map, which blocks cannot be: use type int", p->choices[i].name);
    qd_folds_free(p->model, folds);
    return status;
}

static qdisp_status check(const qd_packing *p) {
    const char *arch;
    qd_gguf_place place;
    QD_TRY(check_folds(p));
    if (!is_from_gguf(p->model)) QD_TRY(qd_gguf_architecture(p->model, &arch));
    for (size_t i = 0; i < p->model->n_tensors; i++) QD_TRY(qd_gguf_find_place(p->model, i, &place));
    for (size_t i = 0; i < p->n_choices; i++) QD_TRY(check_choice(p, &p->choices[i]));
    return QDISP_OK;
}

/* --- the list of tensors --- */

static bool same_tensor(const pack *p, size_t i, size_t k) {
    return !strcmp(p->places[i].name, p->places[k].name);
}

/* The items, each at the choice that completes it. */
static qdisp_status list_items(pack *p) {
    const qd_choice *choices = p->packing->choices;
    for (size_t i = 0; i < p->packing->n_choices; i++) {
        size_t t = choices[i].i_tensor, n_seen = 1, k = i;
        const qd_block_type *type = type_of(&choices[i]);
        while (k-- > 0 && p->places[t].n_slices > 1) { /* choices of a block's experts stand near each other */
            if (!same_tensor(p, choices[k].i_tensor, t)) continue;
            n_seen++;
            if (type_of(&choices[k]) != type)
                return qd_fail(p->ctx, QDISP_EUNSUPPORTED, "%s: the experts of a block are one tensor in GGUF, of one "
                               "type", choices[i].name);
        }
        if (n_seen < p->places[t].n_slices) continue;
        size_t n_in = choices[i].n_in;
        p->items[p->n_items] = (item){.type = type, .n_missing = n_seen, .n_rows = choices[i].n_out,
                                      .row_bytes = n_in / type->n_values * type->n_bytes};
        for (size_t s = 0; s < p->model->n_tensors; s++)
            if (same_tensor(p, s, t)) p->item_of[s] = p->n_items;
        p->n_items++;
    }
    for (size_t i = 0; i < p->packing->n_choices; i++)
        if (p->item_of[choices[i].i_tensor] == QD_NONE)
            return qd_fail(p->ctx, QDISP_EUNSUPPORTED, "%s: the experts of a block are one tensor in GGUF: all or none "
                           "of them can be quantized", choices[i].name);
    return QDISP_OK;
}

/* Which tensor of the model stands first for a name; QD_NONE: none. */
static size_t find_place(const pack *p, const char *name) {
    size_t i = 0;
    while (i < p->model->n_tensors && strcmp(p->places[i].name, name)) i++;
    return i < p->model->n_tensors ? i : QD_NONE;
}

static bool is_folded(const pack *p, size_t i) {
    return p->folds[i].rows || p->folds[i].columns;
}

/* A product has more digits than its factors. */
static const qd_block_type *plain_type(const pack *p, size_t i) {
    static const char *const names[] = {"F32", "F16", "BF16"};
    bool wide = p->places[i].wide || is_folded(p, i);
    qdisp_dtype dtype = wide ? QDISP_DTYPE_F32 : qd_tensor_value_dtype(&p->model->tensors[i]);
    return qd_block_type_named(names[dtype == QDISP_DTYPE_F16 ? 1 : dtype == QDISP_DTYPE_BF16 ? 2 : 0]);
}

/* The shape in the file: slices are stacked. */
static void put_shape(const pack *p, const qd_block_type *type, size_t i) {
    const qdisp_tensor *t = &p->model->tensors[i];
    uint64_t shape[5] = {p->places[i].n_slices};
    size_t n = p->places[i].n_slices > 1;
    for (size_t k = 0; k < t->n_dims && n < 5; k++) shape[n++] = t->shape[k];
    qd_gguf_put_tensor(p->w, p->places[i].name, type, shape, n);
}

static void put_items(const pack *p) {
    for (size_t k = 0; k < p->n_items; k++)
        for (size_t i = 0; i < p->model->n_tensors; i++) {
            if (p->item_of[i] != k) continue;
            put_shape(p, p->items[k].type, i);
            break;
        }
}

/* --- tensors that stay --- */

static bool stays(const pack *p, size_t i) {
    return p->item_of[i] == QD_NONE;
}

static void put_raw(const pack *p) {
    for (size_t i = 0; i < p->raw->n_tensors; i++) {
        const qdisp_tensor *t = &p->raw->tensors[i];
        size_t at = find_place(p, t->name);
        const uint8_t *data;
        if (at != QD_NONE && !stays(p, at)) continue;
        if (at != QD_NONE && is_folded(p, at)) put_shape(p, plain_type(p, at), at);
        else qd_gguf_put_tensor(p->w, t->name, qd_block_type_of(t, &data), t->shape, t->n_dims);
    }
}

/* Values as they are stored; all of them are exact. */
static void narrow(const qd_block_type *type, const float *x, size_t n, uint8_t *out) {
    for (size_t i = 0; i < n; i++) {
        uint16_t half = type->dtype == QDISP_DTYPE_F16 ? qd_f32_to_f16(x[i]) : qd_f32_to_bf16(x[i]);
        if (type->n_bytes == 4) memcpy(out + 4 * i, &x[i], 4);
        else memcpy(out + 2 * i, &half, 2);
    }
}

/* Rows of a tensor in their order in the file. */
static qdisp_status write_plain(const pack *p, size_t i) {
    const qdisp_tensor *t = &p->model->tensors[i];
    const qd_gguf_place *place = &p->places[i];
    const qd_block_type *type = plain_type(p, i);
    size_t n_rows, n_columns;
    qd_tensor_matrix(t, &n_rows, &n_columns);
    if (t->n_dims < 2) {
        n_rows = n_columns; /* elements move as rows do */
        n_columns = 1;
    }
    size_t n = n_rows * n_columns;
    float *x = qd_alloc(p->ctx, n, sizeof *x), *moved = qd_alloc(p->ctx, n, sizeof *moved);
    qdisp_status status = x && moved ? QDISP_OK : QDISP_ENOMEM;
    if (status == QDISP_OK) {
        const float *from = qd_load_f32(p->ctx->kernels, t->data, (qdisp_dtype)t->dtype, 0, n, x);
        if (is_folded(p, i)) {
            if (from != x) memcpy(x, from, n * sizeof *x);
            qd_fold_rows(p->model, p->folds, i, 0, n_rows, x);
            from = x;
        }
        for (size_t r = 0; r < n_rows; r++)
            memcpy(moved + qd_gguf_row(place, r) * n_columns, from + r * n_columns, n_columns * sizeof *moved);
        for (size_t k = 0; place->rows == QD_ROWS_PLUS_ONE && k < n; k++) moved[k] += 1;
        narrow(type, moved, n, (uint8_t *)x);
        status = qd_gguf_write_data(p->w, x, n * type->n_bytes);
    }
    qd_free(p->ctx, x);
    qd_free(p->ctx, moved);
    return status;
}

/* A tensor whose first slice is i: all of its slices. */
static qdisp_status write_slices(const pack *p, size_t i) {
    for (size_t s = 0; s < p->places[i].n_slices; s++) {
        size_t k = i;
        while (k < p->model->n_tensors && !(same_tensor(p, i, k) && p->places[k].i_slice == s)) k++;
        if (k == p->model->n_tensors) return qd_fail(p->ctx, QDISP_EFORMAT, "%s: no expert %zu", p->places[i].name, s);
        QD_TRY(write_plain(p, k));
    }
    return QDISP_OK;
}

static qdisp_status write_raw(const pack *p) {
    for (size_t i = 0; i < p->raw->n_tensors; i++) {
        const qdisp_tensor *t = &p->raw->tensors[i];
        size_t at = find_place(p, t->name);
        const uint8_t *data;
        if (at != QD_NONE && !stays(p, at)) continue;
        if (at != QD_NONE && is_folded(p, at)) {
            QD_TRY(write_slices(p, at));
            continue;
        }
        qd_block_type_of(t, &data);
        QD_TRY(qd_gguf_write_data(p->w, data, (size_t)t->n_bytes));
    }
    return QDISP_OK;
}

static qdisp_status write_others(const pack *p, const float *factors, size_t n_factors) {
    if (p->raw) return write_raw(p);
    if (n_factors) QD_TRY(qd_gguf_write_data(p->w, factors, n_factors * sizeof *factors));
    for (size_t i = 0; i < p->model->n_tensors; i++)
        if (stays(p, i) && find_place(p, p->places[i].name) == i) QD_TRY(write_slices(p, i));
    return QDISP_OK;
}

static void put_others(const pack *p, size_t n_factors) {
    uint64_t shape = n_factors;
    if (p->raw) {
        put_raw(p);
        return;
    }
    if (n_factors) qd_gguf_put_tensor(p->w, "rope_freqs.weight", qd_block_type_named("F32"), &shape, 1);
    for (size_t i = 0; i < p->model->n_tensors; i++)
        if (stays(p, i) && find_place(p, p->places[i].name) == i) put_shape(p, plain_type(p, i), i);
}

/* --- keys --- */

/* Keys that are of the old file alone, or written anew. */
static bool is_ours(const qd_gguf_value *value) {
    static const char *const keys[] = {"general.file_type", "general.quantization_version", "general.alignment",
                                       "split.", "quantize.imatrix.", "qdisp."};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        size_t n = strlen(keys[i]);
        if (value->key.n >= n && !memcmp(value->key.text, keys[i], n)) return true;
    }
    return false;
}

static void put_file_keys(const pack *p) {
    const qd_gguf *gguf = p->raw->gguf;
    for (size_t i = 0; i < gguf->n_values; i++)
        if (!is_ours(&gguf->values[i])) qd_gguf_put_value(p->w, &gguf->values[i]);
}

static qdisp_status put_model_keys(const pack *p, float **factors, size_t *n_factors) {
    const char *path = p->model->path, *slash = path ? strrchr(path, '/') : NULL;
    QD_TRY(qd_gguf_put_config(p->model, p->w, factors, n_factors));
    if (path) qd_gguf_put_text(p->w, "general.name", slash ? slash + 1 : path);
    if (path) return qd_vocab_put_gguf(p->ctx, path, p->model->config.n_vocab, p->w);
    qd_gguf_put_text(p->w, "tokenizer.ggml.model", "none");
    return QDISP_OK;
}

/* The number of a file without quantized tensors: the one it had, or that of its first matrix. */
static uint32_t plain_file_type(const pack *p) {
    int64_t number = 0;
    if (p->raw && qd_gguf_int(qd_gguf_find(p->raw->gguf, "general.file_type"), 0, &number)) return (uint32_t)number;
    for (size_t i = 0; i < p->model->n_tensors; i++) {
        if (p->places[i].wide) continue;
        const char *name = plain_type(p, i)->name;
        return !strcmp(name, "F16") ? 1 : !strcmp(name, "BF16") ? 32 : 0;
    }
    return 0;
}

/* llama.cpp's number for files that are mostly of a type; only told to people. */
static uint32_t file_type(const pack *p) {
    static const struct {
        const char *type;
        uint32_t number;
    } rows[] = {{"Q4_0", 2}, {"Q4_1", 3}, {"Q8_0", 7}, {"Q5_0", 8}, {"Q5_1", 9}, {"Q2_K", 10}, {"Q3_K", 12},
                {"Q4_K", 15}, {"Q5_K", 17}, {"Q6_K", 18}, {"IQ4_NL", 25}, {"IQ4_XS", 30}, {"MXFP4", 38}};
    size_t most = 0;
    uint32_t number = 0;
    if (p->n_items == 0) return plain_file_type(p);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        size_t n = 0;
        for (size_t k = 0; k < p->n_items; k++) n += !strcmp(p->items[k].type->name, rows[r].type);
        if (n > most) number = rows[r].number;
        if (n > most) most = n;
    }
    return number;
}

/* What llama-quantize tells of an importance matrix; ours has no file, and its text is the languages'. */
static void put_imatrix(const pack *p, const qdisp_calib *calib) {
    char text[256] = "";
    size_t n = 0;
    for (size_t i = 0; i < p->packing->n_choices; i++)
        n += !strcmp(p->packing->choices[i].method->name, "imatrix");
    for (size_t l = 0; l < calib->n_languages; l++) {
        if (strlen(text) + strlen(calib->languages[l].tag) + 2 > sizeof text) break;
        if (l > 0) strcat(text, ",");
        strcat(text, calib->languages[l].tag);
    }
    if (n == 0) return;
    qd_gguf_put_text(p->w, "quantize.imatrix.dataset", text);
    qd_gguf_put_u32(p->w, "quantize.imatrix.entries_count", (uint32_t)n);
}

/* The languages of the calibration and the mean of what each weighs in the choices that weigh them. */
static qdisp_status put_languages(const pack *p) {
    const qdisp_calib *calib = p->packing->options->calib;
    size_t n = calib ? calib->n_languages : 0, n_used = 0;
    if (n == 0) return QDISP_OK;
    float *weights = qd_alloc(p->ctx, n, sizeof *weights);
    if (!weights) return QDISP_ENOMEM;
    for (size_t i = 0; i < p->packing->n_choices; i++) {
        const qd_choice *c = &p->packing->choices[i];
        n_used += c->method->needs_calib || c->method->needs_e || c->method->needs_h;
    }
    for (size_t l = 0; n_used && l < n; l++) {
        double sum = 0;
        for (size_t i = 0; i < p->packing->n_choices; i++)
            sum += qd_choice_weight(&p->packing->choices[i], calib->languages[l].tag, 1 / (double)n);
        weights[l] = (float)(sum / (double)p->packing->n_choices);
    }
    if (n_used) {
        qd_gguf_put_texts(p->w, "qdisp.calibration.languages", n);
        for (size_t l = 0; l < n; l++)
            qd_gguf_put_element(p->w, calib->languages[l].tag, strlen(calib->languages[l].tag));
        qd_gguf_put_array(p->w, "qdisp.calibration.weights", QD_GGUF_F32, weights, n);
        put_imatrix(p, calib);
    }
    qd_free(p->ctx, weights);
    return QDISP_OK;
}

static qdisp_status put_provenance(const pack *p) {
    char version[48], methods[256] = "";
    snprintf(version, sizeof version, "%d.%d.%d", QDISP_VERSION_MAJOR, QDISP_VERSION_MINOR, QDISP_VERSION_PATCH);
    for (size_t i = 0; i < p->packing->n_choices; i++) {
        const char *name = p->packing->choices[i].method->name;
        if (strstr(methods, name) || strlen(methods) + strlen(name) + 2 > sizeof methods) continue;
        if (*methods) strcat(methods, ",");
        strcat(methods, name);
    }
    qd_gguf_put_u32(p->w, "general.quantization_version", 2);
    qd_gguf_put_u32(p->w, "general.file_type", file_type(p));
    qd_gguf_put_text(p->w, "qdisp.version", version);
    qd_gguf_put_text(p->w, "qdisp.plan.method", methods);
    return put_languages(p);
}

/* --- the packer --- */

static void discard(void *state) {
    pack *p = state;
    if (!p) return;
    qdisp_ctx *ctx = p->ctx;
    for (size_t i = 0; p->items && i < p->n_items; i++) qd_free(ctx, p->items[i].data);
    qd_gguf_writer_discard(p->w);
    qd_tensor_file_free(p->raw);
    qd_free(ctx, p->places);
    qd_folds_free(p->model, p->folds);
    qd_free(ctx, p->item_of);
    qd_free(ctx, p->items);
    qd_free(ctx, p);
}

static qdisp_status begin(pack *p) {
    float *factors = NULL;
    size_t n_factors = 0;
    QD_TRY(qd_gguf_writer_new(p->ctx, p->packing->path, &p->w));
    if (is_from_gguf(p->model)) QD_TRY(qd_tensor_file_open(p->ctx, p->model->file->path, &p->raw));
    for (size_t i = 0; i < p->model->n_tensors; i++) {
        p->item_of[i] = QD_NONE;
        QD_TRY(qd_gguf_find_place(p->model, i, &p->places[i]));
    }
    QD_TRY(qd_folds_make(p->model, p->packing->choices, p->packing->n_choices, &p->folds));
    QD_TRY(list_items(p));
    qdisp_status status = QDISP_OK;
    if (p->raw) put_file_keys(p);
    else status = put_model_keys(p, &factors, &n_factors);
    if (status == QDISP_OK) status = put_provenance(p);
    put_others(p, n_factors);
    put_items(p);
    if (status == QDISP_OK) status = write_others(p, factors, n_factors);
    qd_free(p->ctx, factors);
    return status;
}

static qdisp_status open(const qd_packing *packing, void **state) {
    pack *p = qd_alloc(packing->ctx, 1, sizeof *p);
    if (!p) return QDISP_ENOMEM;
    p->packing = packing;
    p->ctx = packing->ctx;
    p->model = packing->model;
    p->places = qd_alloc(p->ctx, p->model->n_tensors, sizeof *p->places);
    p->item_of = qd_alloc(p->ctx, p->model->n_tensors, sizeof *p->item_of);
    p->items = qd_alloc(p->ctx, packing->n_choices, sizeof *p->items);
    qdisp_status status = p->places && p->item_of && p->items ? begin(p) : QDISP_ENOMEM;
    if (status == QDISP_OK) *state = p;
    else discard(p);
    return status;
}

/* Integers as blocks: the scale of the group (divided, for the scaled inputs of the next map), and codes about what the
 * type calls 0. */
static qdisp_status encode_integers(const pack *p, const qd_block_type *type, const qd_codes *c, size_t row,
                                    float divisor, uint8_t *out) {
    int half = !strcmp(type->name, "Q4_0") ? 8 : !strcmp(type->name, "Q5_0") ? 16 : 0;
    for (size_t first = 0; first < c->n_in; first += N, out += type->n_bytes) {
        size_t g = row * c->n_groups + first / c->group_size;
        const uint8_t *codes = c->codes + row * c->n_in + first;
        int zero = c->zeros ? c->zeros[g] : 1 << (c->bits - 1), shift = half - zero;
        float scale = qd_f16_to_f32(qd_f32_to_f16(c->scales[g] / divisor));
        if (c->order || c->offsets || (divisor == 1 ? scale != c->scales[g] : !isfinite(scale)))
            return qd_fail(p->ctx, QDISP_EUNSUPPORTED, "%s: a group's scale is no f16, or it has an offset or columns "
                           "of its own: no type of GGUF holds that", c->name);
        memset(out, 0, type->n_bytes);
        qd_put_f16(out, scale);
        for (size_t i = 0; i < N; i++) {
            unsigned code = (unsigned)(codes[i] + shift);
            uint8_t *nibble = out + type->n_bytes - 16 + i % 16;
            if (half == 0) out[2 + i] = (uint8_t)code;
            else *nibble |= (uint8_t)((code & 15) << 4 * (i / 16));
            if (half == 16) out[2 + i / 8] |= (uint8_t)((code >> 4 & 1) << i % 8);
        }
    }
    return QDISP_OK;
}

/* 2^(e - 127), and codes of E2M1: value j in the low half of byte j, value j + 16 in the high half. */
static qdisp_status encode_mxfp4(const pack *p, const qd_codes *c, size_t row, float divisor, uint8_t *out) {
    for (size_t first = 0; first < c->n_in; first += N, out += 17) {
        const uint8_t *codes = c->codes + row * c->n_in + first;
        float scale = c->scales[row * c->n_groups + first / c->group_size];
        int e = scale > 0 ? ilogbf(scale) : -127;
        if (divisor != 1 || (scale > 0 && (ldexpf(1, e) != scale || e < -127 || e > 127)))
            return qd_fail(p->ctx, QDISP_EUNSUPPORTED, "%s: a scale of %g is no power of two of MXFP4", c->name,
                           (double)scale);
        out[0] = (uint8_t)(e + 127);
        for (size_t i = 0; i < N / 2; i++) out[1 + i] = (uint8_t)(codes[i] | codes[i + N / 2] << 4);
    }
    return QDISP_OK;
}

static qdisp_status put(void *state, size_t i_choice, const qd_codes *codes) {
    pack *p = state;
    size_t i = p->packing->choices[i_choice].i_tensor;
    const qd_gguf_place *place = &p->places[i];
    item *it = &p->items[p->item_of[i]];
    size_t slice_bytes = it->n_rows * it->row_bytes;
    const float *rows = p->folds[i].rows;
    if (!it->data) it->data = qd_alloc(p->ctx, place->n_slices, slice_bytes);
    if (!it->data) return QDISP_ENOMEM;
    for (size_t r = 0; r < it->n_rows; r++) {
        uint8_t *row = it->data + place->i_slice * slice_bytes + qd_gguf_row(place, r) * it->row_bytes;
        if (codes->block) memcpy(row, codes->blocks + r * codes->row_bytes, it->row_bytes);
        else if (codes->levels) QD_TRY(encode_mxfp4(p, codes, r, rows ? rows[r] : 1, row));
        else QD_TRY(encode_integers(p, it->type, codes, r, rows ? rows[r] : 1, row));
    }
    if (--it->n_missing > 0) return QDISP_OK;
    qdisp_status status = qd_gguf_write_data(p->w, it->data, place->n_slices * slice_bytes);
    qd_free(p->ctx, it->data);
    it->data = NULL;
    return status;
}

static qdisp_status commit(void *state) {
    pack *p = state;
    qdisp_status status = qd_gguf_writer_commit(p->w);
    p->w = NULL;
    discard(p);
    return status;
}

const qd_packer qd_packer_gguf = {"gguf", "one GGUF file, for llama.cpp and what is built on it", check, open, put,
                                  commit, discard};
