/* calib_file.c - statistics as a safetensors file: per language and fold squares [total], n_rows [n_linears],
 * abs_sums [n_layer + 1] and counts [2], and where there are gradients gradients [total_out] and n_scored [1]; the
 * linear maps are in the metadata as "map.I" = "N_IN NAME", their outputs as "outputs.I" = "N_OUT". */
#include "calib/calib.h"
#include "tensor/tensor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_ARRAYS 6
#define FIRST_OPTIONAL 4
static const char *const fold_names[QD_N_FOLDS] = {"fit", "guard"};
static const char *const array_names[N_ARRAYS] = {"squares", "n_rows", "abs_sums", "counts", "gradients", "n_scored"};

/* Array k of a fold: where it lies and how long it is. */
static void *array_at(const qdisp_calib *c, qd_calib_fold *f, size_t k, size_t *n) {
    const size_t lengths[N_ARRAYS] = {c->total, c->n_linears, c->n_layer + 1, 2, c->total_out, 1};
    void *const arrays[N_ARRAYS] = {f->squares, f->n_rows, f->abs_sums, &f->n_tokens, f->gradients, &f->n_scored};
    *n = lengths[k];
    return arrays[k];
}

static bool array_is_f64(size_t k) {
    return k % 2 == 0;
}

static char *array_name(qdisp_ctx *ctx, const char *tag, size_t fold, size_t k) {
    return qd_format(ctx, "%s.%s.%s", tag, fold_names[fold], array_names[k]);
}

static qdisp_status make_metadata(const qdisp_calib *c, char **metadata) {
    size_t at = 0;
    metadata[at++] = qd_strdup(c->ctx, "qdisp.calibration");
    metadata[at++] = qd_format(c->ctx, "1 %zu %zu %zu", c->n_linears, c->n_layer, c->n_embd);
    for (size_t i = 0; i < c->n_linears; i++) {
        metadata[at++] = qd_format(c->ctx, "map.%zu", i);
        metadata[at++] = qd_format(c->ctx, "%zu %s", c->n_in[i], c->names[i]);
    }
    for (size_t i = 0; c->total_out && i < c->n_linears; i++) {
        metadata[at++] = qd_format(c->ctx, "outputs.%zu", i);
        metadata[at++] = qd_format(c->ctx, "%zu", c->n_out[i]);
    }
    for (size_t i = 0; i < c->n_languages; i++) {
        metadata[at++] = qd_format(c->ctx, "language.%zu", i);
        metadata[at++] = qd_strdup(c->ctx, c->languages[i].tag);
    }
    for (size_t i = 0; i < at; i++)
        if (!metadata[i]) return QDISP_ENOMEM;
    return QDISP_OK;
}

qdisp_status qdisp_calib_save(const qdisp_calib *c, const char *path) {
    qdisp_ctx *ctx = c->ctx;
    size_t n = c->n_languages * QD_N_FOLDS * N_ARRAYS, n_written = 0;
    size_t n_metadata = 1 + c->n_linears * (c->total_out ? 2 : 1) + c->n_languages;
    qdisp_tensor *tensors = qd_alloc(ctx, n, sizeof *tensors);
    char **metadata = qd_alloc(ctx, 2 * n_metadata, sizeof *metadata);
    qdisp_status status = tensors && metadata ? make_metadata(c, metadata) : QDISP_ENOMEM;
    for (size_t i = 0; i < n && status == QDISP_OK; i++) {
        size_t k = i % N_ARRAYS, fold = i / N_ARRAYS % QD_N_FOLDS, l = i / N_ARRAYS / QD_N_FOLDS, length;
        qd_calib_fold *f = &c->languages[l].folds[fold];
        if (k >= FIRST_OPTIONAL && !f->gradients) continue;
        qdisp_tensor *t = &tensors[n_written++];
        t->data = array_at(c, f, k, &length);
        t->name = array_name(ctx, c->languages[l].tag, fold, k);
        t->dtype = array_is_f64(k) ? QDISP_DTYPE_F64 : QDISP_DTYPE_I64;
        t->n_dims = 1;
        t->shape[0] = length;
        t->n_bytes = 8 * (uint64_t)length;
        if (!t->name) status = QDISP_ENOMEM;
    }
    if (status == QDISP_OK)
        status = qd_safetensors_write(ctx, path, tensors, n_written, (const char *const *)metadata, n_metadata, NULL,
                                      NULL);
    for (size_t i = 0; tensors && i < n_written; i++) qd_free(ctx, (char *)(uintptr_t)tensors[i].name);
    for (size_t i = 0; metadata && i < 2 * n_metadata; i++) qd_free(ctx, metadata[i]);
    qd_free(ctx, tensors);
    qd_free(ctx, metadata);
    return status;
}

static bool parse_size(const char **text, size_t *value) {
    char *end;
    errno = 0;
    unsigned long long v = strtoull(*text, &end, 10);
    if (end == *text || errno || v > SIZE_MAX / 64 || **text == '-') return false;
    *text = *end == ' ' ? end + 1 : end;
    *value = (size_t)v;
    return true;
}

/* The layout of the maps; sizes are bounded by the file's own: a map needs a metadata entry of its own. */
static qdisp_status read_maps(const qd_tensor_file *file, qdisp_calib **out) {
    size_t version, n_linears, n_layer, n_embd;
    const char *text = qd_tensor_file_metadata(file, "qdisp.calibration");
    if (!text || !parse_size(&text, &version) || version != 1 || !parse_size(&text, &n_linears) ||
        !parse_size(&text, &n_layer) || !parse_size(&text, &n_embd))
        return qd_fail(file->ctx, QDISP_EFORMAT, "%s: not a calibration of version 1", file->path);
    if (n_linears > file->n_metadata)
        return qd_fail(file->ctx, QDISP_EFORMAT, "%s: %zu linear maps claimed, %zu entries", file->path, n_linears,
                       file->n_metadata);
    QD_TRY(qd_calib_make(file->ctx, n_linears, n_layer, n_embd, out));
    for (size_t i = 0; i < n_linears; i++) {
        char key[32];
        snprintf(key, sizeof key, "map.%zu", i);
        text = qd_tensor_file_metadata(file, key);
        if (!text || !parse_size(&text, &(*out)->n_in[i]))
            return qd_fail(file->ctx, QDISP_EFORMAT, "%s: metadata '%s' is missing or malformed", file->path, key);
        if (!((*out)->names[i] = qd_strdup(file->ctx, text))) return QDISP_ENOMEM;
        snprintf(key, sizeof key, "outputs.%zu", i);
        text = qd_tensor_file_metadata(file, key);
        if (text && !parse_size(&text, &(*out)->n_out[i]))
            return qd_fail(file->ctx, QDISP_EFORMAT, "%s: metadata '%s' is malformed", file->path, key);
    }
    qdisp_status status = qd_calib_layout(*out);
    return status == QDISP_OK ? QDISP_OK
                              : qd_fail(file->ctx, status, "%s: a linear map has no inputs or too many", file->path);
}

#define MAX_SUM 1e300
#define MAX_COUNT ((uint64_t)1 << 53) /* exact as a double; a negative number in the file is above it */

static bool sums_are_good(const double *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!(x[i] >= 0 && x[i] <= MAX_SUM)) return false;
    return true;
}

static qdisp_status check_fold(const qd_tensor_file *file, const char *tag, const qdisp_calib *c,
                               const qd_calib_fold *f) {
    bool counts = f->n_tokens <= MAX_COUNT && f->n_bytes <= MAX_COUNT && f->n_scored <= MAX_COUNT, rows = true;
    for (size_t i = 0; i < c->n_linears; i++) {
        counts = counts && f->n_rows[i] <= MAX_COUNT;
        for (size_t j = 0; f->n_rows[i] == 0 && j < c->n_in[i]; j++)
            rows = rows && f->squares[c->offsets[i] + j] == 0;
    }
    const char *what = !sums_are_good(f->squares, c->total)            ? "a sum of squares"
                       : !sums_are_good(f->abs_sums, c->n_layer + 1) ? "a sum of magnitudes"
                       : f->gradients && !sums_are_good(f->gradients, c->total_out) ? "a sum of gradients"
                       : !counts                                       ? "a count"
                       : !rows                                         ? "a sum without rows"
                                                                       : NULL;
    return what ? qd_fail(c->ctx, QDISP_EFORMAT, "%s: language '%s' has %s that cannot be", file->path, tag, what)
                : QDISP_OK;
}

/* Array k of a fold, of the right size and type; *out NULL: it is not there and need not be. */
static qdisp_status find_array(const qd_tensor_file *file, const char *tag, const qdisp_calib *c, size_t fold, size_t k,
                               const qdisp_tensor **out) {
    size_t n;
    array_at(c, &(qd_calib_fold){0}, k, &n);
    char *name = array_name(c->ctx, tag, fold, k);
    if (!name) return QDISP_ENOMEM;
    const qdisp_tensor *t = qd_tensor_file_find(file, name);
    qdisp_status status = QDISP_OK;
    qdisp_dtype dtype = array_is_f64(k) ? QDISP_DTYPE_F64 : QDISP_DTYPE_I64;
    bool fits = t && t->n_dims == 1 && t->shape[0] == n && t->dtype == (uint32_t)dtype;
    if (k < FIRST_OPTIONAL ? !fits : t && (!fits || !c->total_out))
        status = qd_fail(c->ctx, QDISP_EFORMAT, "%s: tensor '%s' is missing or of another size", file->path, name);
    qd_free(c->ctx, name);
    *out = t;
    return status;
}

static qdisp_status read_language(const qd_tensor_file *file, const char *tag, qdisp_calib *c) {
    size_t i_language, n_before = c->n_languages;
    const qdisp_tensor *arrays[QD_N_FOLDS * N_ARRAYS];
    for (size_t i = 0; i < QD_N_FOLDS * N_ARRAYS; i++) /* checked before memory is taken for their sizes */
        QD_TRY(find_array(file, tag, c, i / N_ARRAYS, i % N_ARRAYS, &arrays[i]));
    QD_TRY(qd_calib_get(c, tag, &i_language));
    if (c->n_languages == n_before)
        return qd_fail(c->ctx, QDISP_EFORMAT, "%s: language '%s' comes twice", file->path, tag);
    for (size_t fold = 0; fold < QD_N_FOLDS; fold++) {
        qd_calib_fold *f = &c->languages[i_language].folds[fold];
        const qdisp_tensor **of_fold = arrays + fold * N_ARRAYS;
        if (!of_fold[FIRST_OPTIONAL] != !of_fold[FIRST_OPTIONAL + 1])
            return qd_fail(c->ctx, QDISP_EFORMAT, "%s: language '%s' has only one of %s and %s", file->path, tag,
                           array_names[FIRST_OPTIONAL], array_names[FIRST_OPTIONAL + 1]);
        if (of_fold[FIRST_OPTIONAL]) QD_TRY(qd_calib_fold_gradients(c, f));
        for (size_t k = 0; k < N_ARRAYS; k++) {
            size_t n;
            void *to = array_at(c, f, k, &n);
            if (of_fold[k]) memcpy(to, of_fold[k]->data, 8 * n);
        }
        QD_TRY(check_fold(file, tag, c, f));
    }
    return QDISP_OK;
}

qdisp_status qdisp_calib_open(qdisp_ctx *ctx, const char *path, qdisp_calib **out) {
    qd_tensor_file *file;
    qdisp_calib *c = NULL;
    QD_TRY(qd_safetensors_open(ctx, path, &file));
    qdisp_status status = read_maps(file, &c);
    for (size_t i = 0; status == QDISP_OK; i++) {
        char key[40];
        snprintf(key, sizeof key, "language.%zu", i);
        const char *tag = qd_tensor_file_metadata(file, key);
        if (!tag) break;
        status = read_language(file, tag, c);
    }
    qd_tensor_file_free(file);
    if (status == QDISP_OK) *out = c;
    else qdisp_calib_free(c);
    return status;
}
