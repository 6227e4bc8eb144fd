/* imatrix.c - importance matrices of llama.cpp: statistics by language merged into one mean square an input channel, in
 * its GGUF form and its older one, and both read as statistics.
 *
 * Sums are f64 until they are written as f32. A mean square is what counts; the sums of the file are it times the rows
 * that all languages have together, so that readers who divide get it back. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calib/calib.h"
#include "model/gguf_model.h"
#include "tensor/blocks.h"

#define MAX_NAME 4096   /* bytes of a name in the older form */
#define CHUNK_SIZE 512  /* llama-imatrix's context: for the count of chunks, which only people read */
#define MAX_ROWS 1e15   /* of a count in a file */

/* --- merging --- */

typedef struct merge {
    qdisp_ctx *ctx;
    const qdisp_calib *calib;
    const qdisp_model *model;
    const qdisp_imatrix_options *opt;
    double *weights; /* [n_languages], sum 1 */
    double *one;     /* [longest n_in] */
} merge;

static uint64_t rows_of(const qd_calib_language *l, size_t i) {
    return l->folds[0].n_rows[i] + l->folds[1].n_rows[i];
}

/* What a language counts under a merge by its own text. */
static double amount_of(const merge *m, size_t l) {
    const qd_calib_fold *f = m->calib->languages[l].folds;
    double n_bytes = (double)(f[0].n_bytes + f[1].n_bytes), n_tokens = (double)(f[0].n_tokens + f[1].n_tokens);
    if (!strcmp(m->opt->merge, "sentence")) return 1;
    if (!strcmp(m->opt->merge, "byte")) return n_bytes;
    for (size_t i = 0; n_tokens == 0 && i < m->calib->n_linears; i++)
        n_tokens = (double)rows_of(&m->calib->languages[l], i);
    return n_tokens;
}

/* "en:0.5,sw:0.5" into the weights; a language that is not named has 0. */
static qdisp_status parse_weights(merge *m) {
    for (const char *at = m->opt->weights; *at;) {
        char *end;
        size_t n = strcspn(at, ":,"), l = 0;
        double w = at[n] == ':' ? strtod(at + n + 1, &end) : -1;
        while (l < m->calib->n_languages &&
               (strlen(m->calib->languages[l].tag) != n || strncmp(m->calib->languages[l].tag, at, n)))
            l++;
        if (!(w >= 0 && w < INFINITY) || end == at + n + 1 || (*end && *end != ','))
            return qd_fail(m->ctx, QDISP_EINVAL, "weights: '%.60s' is not language:weight pairs with commas between",
                           m->opt->weights);
        if (l == m->calib->n_languages)
            return qd_fail(m->ctx, QDISP_EMISMATCH, "weights: the statistics have no language '%.*s'",
                           (int)(n < 40 ? n : 40), at);
        m->weights[l] = w;
        at = *end ? end + 1 : end;
    }
    return QDISP_OK;
}

static qdisp_status find_weights(merge *m) {
    static const char *const names[] = {"token", "byte", "sentence"};
    double sum = 0;
    bool known = m->opt->weights != NULL;
    for (size_t i = 0; i < 3; i++) known = known || !strcmp(m->opt->merge, names[i]);
    if (!known) return qd_fail(m->ctx, QDISP_EINVAL, "merge: '%s' is not token, byte or sentence", m->opt->merge);
    if (m->opt->weights) QD_TRY(parse_weights(m));
    for (size_t l = 0; !m->opt->weights && l < m->calib->n_languages; l++) m->weights[l] = amount_of(m, l);
    for (size_t l = 0; l < m->calib->n_languages; l++) sum += m->weights[l];
    if (!(sum > 0))
        return qd_fail(m->ctx, QDISP_EINVAL, "imatrix: nothing to merge by '%s'",
                       m->opt->weights ? m->opt->weights : m->opt->merge);
    for (size_t l = 0; l < m->calib->n_languages; l++) m->weights[l] /= sum;
    return QDISP_OK;
}

/* The merged mean square of map i, out[n_in], and the rows of all languages. With weights of its own each language is
 * taken in units of its mean, as plans do, and the whole has the mean of all. */
static uint64_t merge_map(const merge *m, size_t i, double *out) {
    size_t n_in = m->calib->n_in[i];
    uint64_t n_rows = 0;
    double scale = 0, total = 0;
    memset(out, 0, n_in * sizeof *out);
    for (size_t l = 0; l < m->calib->n_languages; l++) {
        double mean = 0, w = m->weights[l];
        if (!qd_calib_energy(m->calib, l, QD_N_FOLDS, i, m->one)) continue;
        n_rows += rows_of(&m->calib->languages[l], i);
        for (size_t j = 0; j < n_in; j++) mean += m->one[j] / (double)n_in;
        if (m->opt->weights && mean > 0) w /= mean;
        for (size_t j = 0; j < n_in; j++) out[j] += w * m->one[j];
        scale += m->weights[l] * mean;
        total += m->weights[l];
    }
    if (m->opt->weights) total = scale > 0 ? total / scale : 1;
    for (size_t j = 0; total > 0 && j < n_in; j++) out[j] /= total;
    return n_rows;
}

/* --- writing --- */

/* The GGUF tensor of a map, and which map stands first for it: experts are slices. */
typedef struct entry {
    qd_gguf_place place;
    size_t *maps; /* [place.n_slices] or QD_NONE */
} entry;

static uint64_t rows_of_all(const merge *m, size_t i) {
    uint64_t n = 0;
    for (size_t l = 0; l < m->calib->n_languages; l++) n += rows_of(&m->calib->languages[l], i);
    return n;
}

static qdisp_status list_entries(const merge *m, entry *entries, size_t *n) {
    for (size_t i = 0; i < m->calib->n_linears; i++) {
        qd_gguf_place place;
        size_t k = 0;
        if (rows_of_all(m, i) == 0) continue; /* as llama-imatrix leaves out what it did not see */
        QD_TRY(qd_gguf_find_place(m->model, m->model->linears[i].i_weight, &place));
        while (k < *n && strcmp(entries[k].place.name, place.name)) k++;
        if (k == *n) {
            entries[k].place = place;
            entries[k].maps = qd_alloc(m->ctx, place.n_slices, sizeof *entries[k].maps);
            if (!entries[k].maps) return QDISP_ENOMEM;
            for (size_t s = 0; s < place.n_slices; s++) entries[k].maps[s] = QD_NONE;
            ++*n;
        }
        entries[k].maps[place.i_slice] = i;
    }
    return QDISP_OK;
}

static size_t inputs_of(const merge *m, const entry *e) {
    size_t s = 0;
    while (s + 1 < e->place.n_slices && e->maps[s] == QD_NONE) s++;
    return m->calib->n_in[e->maps[s]];
}

static void put_keys(const merge *m, qd_gguf_writer *w, uint64_t n_tokens) {
    size_t n = m->calib->n_languages;
    float *weights = qd_alloc(m->ctx, n, sizeof *weights);
    for (size_t l = 0; weights && l < n; l++) weights[l] = (float)m->weights[l];
    qd_gguf_put_text(w, "general.type", "imatrix");
    qd_gguf_put_texts(w, "imatrix.datasets", n);
    for (size_t l = 0; l < n; l++)
        qd_gguf_put_element(w, m->calib->languages[l].tag, strlen(m->calib->languages[l].tag));
    qd_gguf_put_u32(w, "imatrix.chunk_count", (uint32_t)((n_tokens + CHUNK_SIZE - 1) / CHUNK_SIZE));
    qd_gguf_put_u32(w, "imatrix.chunk_size", CHUNK_SIZE);
    qd_gguf_put_texts(w, "qdisp.calibration.languages", n);
    for (size_t l = 0; l < n; l++)
        qd_gguf_put_element(w, m->calib->languages[l].tag, strlen(m->calib->languages[l].tag));
    if (weights) qd_gguf_put_array(w, "qdisp.calibration.weights", QD_GGUF_F32, weights, n);
    qd_gguf_put_text(w, "qdisp.calibration.merge", m->opt->weights ? "weights" : m->opt->merge);
    qd_free(m->ctx, weights);
}

static qdisp_status write_gguf_entry(const merge *m, qd_gguf_writer *w, const entry *e, double *e2, float *counts) {
    size_t n_in = inputs_of(m, e);
    float *sums = qd_alloc(m->ctx, n_in, sizeof *sums);
    qdisp_status status = sums ? QDISP_OK : QDISP_ENOMEM;
    for (size_t s = 0; s < e->place.n_slices && status == QDISP_OK; s++) {
        uint64_t n_rows = e->maps[s] == QD_NONE ? 0 : merge_map(m, e->maps[s], e2);
        for (size_t j = 0; j < n_in; j++) sums[j] = n_rows ? (float)(e2[j] * (double)n_rows) : 0;
        counts[s] = (float)n_rows;
        status = qd_gguf_write_data(w, sums, n_in * sizeof *sums);
    }
    qd_free(m->ctx, sums);
    return status == QDISP_OK ? qd_gguf_write_data(w, counts, e->place.n_slices * sizeof *counts) : status;
}

static qdisp_status write_gguf(const merge *m, const entry *entries, size_t n, uint64_t n_tokens, double *e2,
                               const char *path) {
    const qd_block_type *f32 = qd_block_type_named("F32");
    qd_gguf_writer *w;
    QD_TRY(qd_gguf_writer_new(m->ctx, path, &w));
    put_keys(m, w, n_tokens);
    for (size_t k = 0; k < n; k++) {
        char name[96];
        uint64_t shape[2] = {entries[k].place.n_slices, inputs_of(m, &entries[k])}, counts[2] = {shape[0], 1};
        snprintf(name, sizeof name, "%s.in_sum2", entries[k].place.name);
        qd_gguf_put_tensor(w, name, f32, shape, 2);
        snprintf(name, sizeof name, "%s.counts", entries[k].place.name);
        qd_gguf_put_tensor(w, name, f32, counts, 2);
    }
    qdisp_status status = QDISP_OK;
    for (size_t k = 0; k < n && status == QDISP_OK; k++) {
        float *counts = qd_alloc(m->ctx, entries[k].place.n_slices, sizeof *counts);
        status = counts ? write_gguf_entry(m, w, &entries[k], e2, counts) : QDISP_ENOMEM;
        qd_free(m->ctx, counts);
    }
    if (status == QDISP_OK) return qd_gguf_writer_commit(w);
    qd_gguf_writer_discard(w);
    return status;
}

static qdisp_status put_i32(qd_output *out, int64_t x) {
    int32_t small = x > INT32_MAX ? INT32_MAX : (int32_t)x;
    return qd_output_write(out, &small, 4);
}

/* The older form has one count an entry: mean squares times a count, experts one after another. */
static qdisp_status write_dat_entry(const merge *m, qd_output *out, const entry *e, double *e2) {
    size_t n_in = inputs_of(m, e), n_name = strlen(e->place.name);
    uint64_t n_rows = 0;
    for (size_t s = 0; s < e->place.n_slices; s++)
        if (e->maps[s] != QD_NONE) n_rows += rows_of_all(m, e->maps[s]);
    QD_TRY(put_i32(out, (int64_t)n_name));
    QD_TRY(qd_output_write(out, e->place.name, n_name));
    QD_TRY(put_i32(out, (int64_t)n_rows));
    QD_TRY(put_i32(out, (int64_t)(n_in * e->place.n_slices)));
    for (size_t s = 0; s < e->place.n_slices; s++) {
        uint64_t own = e->maps[s] == QD_NONE ? 0 : merge_map(m, e->maps[s], e2);
        for (size_t j = 0; j < n_in; j++) { /* an expert that saw nothing: all channels alike */
            float sum = (float)((own ? e2[j] : 1) * (double)(n_rows > INT32_MAX ? INT32_MAX : n_rows));
            QD_TRY(qd_output_write(out, &sum, 4));
        }
    }
    return QDISP_OK;
}

static qdisp_status write_dat_all(const merge *m, qd_output *out, const entry *entries, size_t n, uint64_t n_tokens,
                                  double *e2) {
    QD_TRY(put_i32(out, (int64_t)n));
    for (size_t k = 0; k < n; k++) QD_TRY(write_dat_entry(m, out, &entries[k], e2));
    size_t n_text = 0;
    for (size_t l = 0; l < m->calib->n_languages; l++) n_text += (l > 0) + strlen(m->calib->languages[l].tag);
    QD_TRY(put_i32(out, (int64_t)((n_tokens + CHUNK_SIZE - 1) / CHUNK_SIZE)));
    QD_TRY(put_i32(out, (int64_t)n_text));
    for (size_t l = 0; l < m->calib->n_languages; l++) {
        if (l > 0) QD_TRY(qd_output_write(out, ",", 1));
        QD_TRY(qd_output_write(out, m->calib->languages[l].tag, strlen(m->calib->languages[l].tag)));
    }
    return QDISP_OK;
}

static qdisp_status write_dat(const merge *m, const entry *entries, size_t n, uint64_t n_tokens, double *e2,
                              const char *path) {
    qd_output *out;
    QD_TRY(qd_output_open(m->ctx, path, &out));
    qdisp_status status = write_dat_all(m, out, entries, n, n_tokens, e2);
    if (status == QDISP_OK) return qd_output_commit(out);
    qd_output_discard(out);
    return status;
}

qdisp_status qdisp_imatrix_save(const qdisp_calib *calib, const qdisp_model *model,
                                const qdisp_imatrix_options *options, const char *path) {
    qdisp_imatrix_options opt;
    qdisp_ctx *ctx = calib->ctx;
    size_t n = 0, longest = 1;
    uint64_t n_tokens = 0;
    QD_TRY(qd_calib_check(calib, model));
    QD_TRY(qd_copy_options(ctx, "imatrix options", options, &opt, sizeof opt));
    if (!path || !*path) return qd_fail(ctx, QDISP_EINVAL, "imatrix: no path to save to");
    if (!opt.merge) opt.merge = "token";
    for (size_t i = 0; i < calib->n_linears; i++) longest = calib->n_in[i] > longest ? calib->n_in[i] : longest;
    for (size_t l = 0; l < calib->n_languages; l++)
        n_tokens += calib->languages[l].folds[0].n_tokens + calib->languages[l].folds[1].n_tokens;
    merge m = {ctx, calib, model, &opt, qd_alloc(ctx, calib->n_languages, sizeof(double)),
               qd_alloc(ctx, longest, sizeof(double))};
    entry *entries = qd_alloc(ctx, calib->n_linears, sizeof *entries);
    double *e2 = qd_alloc(ctx, longest, sizeof *e2);
    qdisp_status status = m.weights && m.one && entries && e2 ? find_weights(&m) : QDISP_ENOMEM;
    if (status == QDISP_OK) status = list_entries(&m, entries, &n);
    if (status == QDISP_OK)
        status = opt.legacy ? write_dat(&m, entries, n, n_tokens, e2, path)
                            : write_gguf(&m, entries, n, n_tokens, e2, path);
    for (size_t k = 0; entries && k < n; k++) qd_free(ctx, entries[k].maps);
    qd_free(ctx, m.weights);
    qd_free(ctx, m.one);
    qd_free(ctx, entries);
    qd_free(ctx, e2);
    return status;
}

/* --- reading --- */

/* Where what is read goes. */
typedef struct reading {
    qdisp_ctx *ctx;
    const char *path;
    const qdisp_model *model;
    qdisp_calib *calib;
    qd_calib_fold *fold;
    qd_gguf_place *places; /* [n_linears] */
    size_t n_found;
} reading;

/* The sums of one map: n_in of them for a count of rows. */
static qdisp_status take_map(reading *r, size_t i, const uint8_t *sums, double count) {
    double *to = r->fold->squares + r->calib->offsets[i];
    const char *name = r->places[i].name;
    if (!(count >= 0 && count <= MAX_ROWS))
        return qd_fail(r->ctx, QDISP_EFORMAT, "%s: '%s': %g rows cannot be", r->path, name, count);
    for (size_t j = 0; j < r->calib->n_in[i]; j++) {
        float x;
        memcpy(&x, sums + 4 * j, 4);
        if (!(x >= 0 && x < INFINITY))
            return qd_fail(r->ctx, QDISP_EFORMAT, "%s: '%s': sum %zu of squares is %g", r->path, name, j, (double)x);
        to[j] = count > 0 ? (double)x : 0;
    }
    r->fold->n_rows[i] = (uint64_t)count;
    if (r->fold->n_tokens < r->fold->n_rows[i]) r->fold->n_tokens = r->fold->n_rows[i];
    r->n_found++;
    return QDISP_OK;
}

static qdisp_status wrong_size(const reading *r, size_t i, uint64_t n) {
    return qd_fail(r->ctx, QDISP_EMISMATCH, "%s: '%s' has %llu values, not %zu times %zu: of another model?", r->path,
                   r->places[i].name, (unsigned long long)n, r->places[i].n_slices, r->calib->n_in[i]);
}

static qdisp_status read_gguf_map(reading *r, const qd_tensor_file *file, size_t i) {
    char name[96];
    const qd_gguf_place *p = &r->places[i];
    const uint8_t *data;
    float count;
    snprintf(name, sizeof name, "%s.in_sum2", p->name);
    const qdisp_tensor *sums = qd_tensor_file_find(file, name);
    snprintf(name, sizeof name, "%s.counts", p->name);
    const qdisp_tensor *counts = qd_tensor_file_find(file, name);
    if (!sums && !counts) return QDISP_OK;
    if (!sums || !counts || sums->dtype != QDISP_DTYPE_F32 || counts->dtype != QDISP_DTYPE_F32)
        return qd_fail(r->ctx, QDISP_EFORMAT, "%s: '%s': in_sum2 and counts are not both there in F32", r->path,
                       p->name);
    uint64_t n = qd_tensor_n_elements(sums), n_counts = qd_tensor_n_elements(counts);
    if (n != (uint64_t)p->n_slices * r->calib->n_in[i]) return wrong_size(r, i, n);
    if (n_counts != 1 && n_counts != p->n_slices)
        return qd_fail(r->ctx, QDISP_EFORMAT, "%s: '%s' has %llu counts", r->path, p->name,
                       (unsigned long long)n_counts);
    memcpy(&count, (const uint8_t *)counts->data + (n_counts > 1 ? 4 * p->i_slice : 0), 4);
    data = (const uint8_t *)sums->data + 4 * p->i_slice * r->calib->n_in[i];
    return take_map(r, i, data, (double)count);
}

static qdisp_status read_gguf(reading *r) {
    qd_tensor_file *file;
    qd_gguf_text type = {"", 0};
    QD_TRY(qd_tensor_file_open(r->ctx, r->path, &file));
    qdisp_status status = QDISP_OK;
    qd_gguf_string(qd_gguf_find(file->gguf, "general.type"), &type);
    if (!qd_gguf_is(type, "imatrix"))
        status = qd_fail(r->ctx, QDISP_EFORMAT, "%s: general.type is not 'imatrix'", r->path);
    for (size_t i = 0; i < r->calib->n_linears && status == QDISP_OK; i++) status = read_gguf_map(r, file, i);
    qd_tensor_file_free(file);
    return status;
}

/* A number of the older form, in low..high. */
static qdisp_status take_i32(reading *r, qd_gguf_cursor *c, const char *what, int64_t low, uint64_t high,
                             int64_t *out) {
    uint32_t bits = 0;
    bool there = qd_gguf_u32(c, &bits);
    *out = (int32_t)bits;
    if (there && *out >= low && (*out < 0 || (uint64_t)*out <= high)) return QDISP_OK;
    return qd_fail(r->ctx, QDISP_EFORMAT, "%s: byte %zu: %s of %lld cannot be", r->path, c->at, what, (long long)*out);
}

static qdisp_status read_dat_entry(reading *r, qd_gguf_cursor *c) {
    int64_t n_name, n_rows, n_values;
    QD_TRY(take_i32(r, c, "a name", 1, MAX_NAME, &n_name));
    const char *name = (const char *)qd_gguf_take(c, (uint64_t)n_name);
    if (!name) return qd_fail(r->ctx, QDISP_EFORMAT, "%s: byte %zu: a name passes the end", r->path, c->at);
    QD_TRY(take_i32(r, c, "a count", 0, INT32_MAX, &n_rows));
    QD_TRY(take_i32(r, c, "a number of values", 1, (c->size - c->at) / 4, &n_values));
    const uint8_t *sums = qd_gguf_take(c, 4 * (uint64_t)n_values);
    if (!sums) return qd_fail(r->ctx, QDISP_EFORMAT, "%s: byte %zu: values pass the end", r->path, c->at);
    for (size_t i = 0; i < r->calib->n_linears; i++) {
        const qd_gguf_place *p = &r->places[i];
        if (strlen(p->name) != (size_t)n_name || memcmp(p->name, name, (size_t)n_name)) continue;
        if ((uint64_t)n_values != (uint64_t)p->n_slices * r->calib->n_in[i])
            return wrong_size(r, i, (uint64_t)n_values);
        QD_TRY(take_map(r, i, sums + 4 * p->i_slice * r->calib->n_in[i], (double)n_rows));
    }
    return QDISP_OK;
}

static qdisp_status read_dat(reading *r, const qd_mapped_file *file) {
    qd_gguf_cursor c = {r->ctx, r->path, file->data, file->size, 0};
    int64_t n;
    QD_TRY(take_i32(r, &c, "a number of entries", 1, file->size / 13, &n)); /* three numbers and a character each */
    for (int64_t k = 0; k < n; k++) QD_TRY(read_dat_entry(r, &c));
    return QDISP_OK; /* chunks and the name of the text may follow */
}

static qdisp_status read_file(reading *r) {
    qd_mapped_file file;
    for (size_t i = 0; i < r->calib->n_linears; i++)
        QD_TRY(qd_gguf_find_place(r->model, r->model->linears[i].i_weight, &r->places[i]));
    QD_TRY(qd_map_file(r->ctx, r->path, &file));
    bool is_gguf = file.size >= 4 && !memcmp(file.data, "GGUF", 4);
    qdisp_status status = is_gguf ? read_gguf(r) : read_dat(r, &file);
    qd_unmap_file(&file);
    if (status == QDISP_OK && r->n_found == 0)
        status = qd_fail(r->ctx, QDISP_EMISMATCH, "%s: no linear map of the model is in it", r->path);
    return status;
}

qdisp_status qdisp_imatrix_open(const qdisp_model *model, const char *path, const char *language, qdisp_calib **out) {
    reading r = {.ctx = model->ctx, .path = path, .model = model};
    size_t i_language;
    if (!path || !language || !*language) return qd_fail(r.ctx, QDISP_EINVAL, "imatrix: no path or no language");
    QD_TRY(qdisp_calib_new(model, &r.calib));
    r.places = qd_alloc(r.ctx, r.calib->n_linears, sizeof *r.places);
    qdisp_status status = r.places ? qd_calib_get(r.calib, language, &i_language) : QDISP_ENOMEM;
    if (status == QDISP_OK) {
        r.fold = &r.calib->languages[i_language].folds[0];
        status = read_file(&r);
    }
    qd_free(r.ctx, r.places);
    if (status == QDISP_OK) *out = r.calib;
    else qdisp_calib_free(r.calib);
    return status;
}
