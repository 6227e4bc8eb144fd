/* format_gguf.c - GGUF 2 and 3, one file or split: header, keys, descriptions of tensors, padding, data.
 *
 * As strict as the reference: names once, offsets the running sum of padded sizes, so that nothing overlaps. A split
 * file NAME-00001-of-00003.gguf brings the others; the first has the keys, all have tensors. */
#include <stdio.h>
#include <string.h>

#include "tensor/blocks.h"
#include "tensor/gguf.h"

#define MAX_NAME 255                     /* the reference allows 63 */
#define MAX_ALIGNMENT ((int64_t)1 << 20) /* the reference has no limit */
#define MIN_TENSOR_BYTES 24              /* the description of one without name and dimensions */

static bool matches(const uint8_t *data, size_t size) {
    return size >= 4 && !memcmp(data, "GGUF", 4);
}

/* --- one file --- */

static qdisp_status read_version(qd_gguf_cursor *c, uint32_t *version) {
    if (!qd_gguf_take(c, 4) || !qd_gguf_u32(c, version)) {
        return qd_fail(c->ctx, QDISP_EFORMAT, "%s: %zu bytes are too few for GGUF", c->path, c->size);
    }
    if (*version && (*version & 0xffff) == 0) {
        return qd_fail(c->ctx, QDISP_EUNSUPPORTED, "%s: a big-endian GGUF file; convert it to little-endian", c->path);
    }
    if (*version != 2 && *version != 3) {
        return qd_fail(c->ctx, QDISP_EUNSUPPORTED, "%s: GGUF version %u is not supported (2 and 3 are)", c->path,
                       *version);
    }
    return QDISP_OK;
}

static qdisp_status read_alignment(const qd_gguf_cursor *c, qd_gguf *gguf) {
    const qd_gguf_value *value = qd_gguf_find(gguf, "general.alignment");
    int64_t alignment = 32;
    if (value && (value->is_array || value->type != QD_GGUF_U32)) {
        return qd_fail(c->ctx, QDISP_EFORMAT, "%s: general.alignment is not a u32", c->path);
    }
    qd_gguf_int(value, 0, &alignment);
    if (alignment < 1 || alignment > MAX_ALIGNMENT || (alignment & (alignment - 1))) {
        return qd_fail(c->ctx, QDISP_EFORMAT, "%s: general.alignment: %lld is no power of two in 1..%lld", c->path,
                       (long long)alignment, (long long)MAX_ALIGNMENT);
    }
    gguf->alignment = (size_t)alignment;
    return QDISP_OK;
}

static qdisp_status read_name(qd_gguf_cursor *c, qd_tensor_file *file, uint64_t i, const char **out) {
    uint64_t n = 0;
    const uint8_t *text = NULL;
    if (qd_gguf_u64(c, &n) && n > 0 && n <= MAX_NAME) text = qd_gguf_take(c, n);
    if (!text) {
        return qd_fail(c->ctx, QDISP_EFORMAT, "%s: tensor %llu: a name of %llu bytes: not 1..%d or past the end (%zu)",
                       c->path, (unsigned long long)i, (unsigned long long)n, MAX_NAME, c->size);
    }
    if (memchr(text, 0, (size_t)n) || qd_utf8_check((const char *)text, (size_t)n) != n) {
        return qd_fail(c->ctx, QDISP_EFORMAT, "%s: tensor %llu: its name has a zero byte or is not UTF-8", c->path,
                       (unsigned long long)i);
    }
    *out = qd_tensor_file_text(file, (const char *)text, (size_t)n);
    return *out ? QDISP_OK : QDISP_ENOMEM;
}

#define FAIL(c, t, status, format, ...) \
    qd_fail((c)->ctx, (status), "%s: tensor '%.200s': " format, (c)->path, (t)->name, __VA_ARGS__)

static qdisp_status read_shape(qd_gguf_cursor *c, qdisp_tensor *t) {
    uint32_t n_dims = 0;
    bool there = qd_gguf_u32(c, &n_dims);
    if (there && n_dims > 4) return FAIL(c, t, QDISP_EFORMAT, "%u dimensions, more than 4", n_dims);
    t->n_dims = n_dims;
    /* the file's first dimension varies fastest, ours slowest */
    for (uint32_t i = n_dims; i > 0 && there; i--) there = qd_gguf_u64(c, &t->shape[i - 1]);
    if (!there) return FAIL(c, t, QDISP_EFORMAT, "its description passes the end of the file (%zu)", c->size);
    return QDISP_OK;
}

/* What the file says of a tensor before its data are known to be there. */
typedef struct described {
    const qd_block_type *type;
    uint64_t offset, n_bytes;
} described;

static qdisp_status read_type(qd_gguf_cursor *c, qdisp_tensor *t, described *d) {
    uint32_t id;
    uint64_t n_elements, n_bytes;
    const char *name;
    char shape[96];
    if (!qd_gguf_u32(c, &id) || !qd_gguf_u64(c, &d->offset)) {
        return FAIL(c, t, QDISP_EFORMAT, "its description passes the end of the file (%zu)", c->size);
    }
    d->type = qd_block_type_find(id, &name);
    if (!d->type) return FAIL(c, t, QDISP_EUNSUPPORTED, "type %u (%s) is not supported", id, name);
    qd_tensor_shape_text(t->shape, t->n_dims, shape);
    if (t->n_dims && t->shape[t->n_dims - 1] % d->type->n_values) {
        return FAIL(c, t, QDISP_EFORMAT, "shape %s: rows of no whole number of blocks (%s: %u values)", shape,
                    d->type->name, d->type->n_values);
    }
    if (!t->n_dims && d->type->n_values > 1) return FAIL(c, t, QDISP_EFORMAT, "one value of %s", d->type->name);
    if (!qd_tensor_sizes(t->shape, t->n_dims, QDISP_DTYPE_I8, &n_elements, &n_bytes) ||
        !qd_block_type_bytes(d->type, n_elements, &d->n_bytes)) {
        return FAIL(c, t, QDISP_EFORMAT, "the size of shape %s overflows", shape);
    }
    return QDISP_OK;
}

/* The data of a file's n tensors: tensors[n], described by d[n]. */
static qdisp_status place_tensors(qd_gguf_cursor *c, qd_tensor_file *file, size_t alignment, qdisp_tensor *tensors,
                                  const described *d, size_t n) {
    uint64_t pad = (alignment - c->at % alignment) % alignment, at = 0;
    if (n == 0) return QDISP_OK; /* a vocabulary alone may end without padding */
    if (!qd_gguf_take(c, pad)) return qd_fail(c->ctx, QDISP_EFORMAT, "%s: ends before its data", c->path);
    uint64_t n_data = c->size - c->at;
    for (size_t i = 0; i < n; i++) {
        if (d[i].offset != at) {
            return FAIL(c, &tensors[i], QDISP_EFORMAT, "begins at %llu of the data, expected at %llu",
                        (unsigned long long)d[i].offset, (unsigned long long)at);
        }
        if (at > n_data || d[i].n_bytes > n_data - at) {
            return FAIL(c, &tensors[i], QDISP_EFORMAT, "its %llu bytes from %llu on pass the end of the data (%llu)",
                        (unsigned long long)d[i].n_bytes, (unsigned long long)at, (unsigned long long)n_data);
        }
        QD_TRY(qd_block_tensor(file, &tensors[i], d[i].type, c->data + c->at + at, d[i].n_bytes));
        at += d[i].n_bytes;
        at += (alignment - at % alignment) % alignment;
    }
    if (at < n_data) {
        qd_log(c->ctx, QDISP_LOG_WARNING, "%s: %llu bytes after the last tensor are left out", c->path,
               (unsigned long long)(n_data - at));
    }
    return QDISP_OK;
}

static qdisp_status read_tensors(qd_gguf_cursor *c, qd_tensor_file *file, size_t alignment, uint64_t n) {
    if (n > (c->size - c->at) / MIN_TENSOR_BYTES) {
        return qd_fail(c->ctx, QDISP_EFORMAT, "%s: %llu tensors do not fit into the file (%zu bytes)", c->path,
                       (unsigned long long)n, c->size);
    }
    size_t first = file->n_tensors;
    QD_TRY(qd_tensor_file_reserve(file, (size_t)n));
    described *d = qd_alloc(file->ctx, (size_t)n + 1, sizeof *d);
    qdisp_status status = d ? QDISP_OK : QDISP_ENOMEM;
    for (uint64_t i = 0; i < n && status == QDISP_OK; i++) {
        qdisp_tensor *t = &file->tensors[file->n_tensors];
        memset(t, 0, sizeof *t);
        QD_TRY_GOTO(read_name(c, file, i, &t->name));
        file->n_tensors++;
        QD_TRY_GOTO(read_shape(c, t));
        QD_TRY_GOTO(read_type(c, t, &d[i]));
    }
    if (status == QDISP_OK) {
        status = place_tensors(c, file, alignment, file->tensors + first, d, (size_t)n);
    }
done:
    qd_free(file->ctx, d);
    return status;
}

/* Reads header and keys to out, which the caller frees in every case, and leaves the cursor at the tensors. */
static qdisp_status read_header(qd_gguf_cursor *c, qd_gguf *out, uint64_t *n_tensors) {
    uint64_t n_values;
    QD_TRY(read_version(c, &out->version));
    if (!qd_gguf_u64(c, n_tensors) || !qd_gguf_u64(c, &n_values)) {
        return qd_fail(c->ctx, QDISP_EFORMAT, "%s: %zu bytes are too few for GGUF", c->path, c->size);
    }
    QD_TRY(qd_gguf_read_values(c, n_values, out));
    return read_alignment(c, out);
}

/* --- split files --- */

/* Which of how many files this is: 1 of 1 unless its keys say otherwise. */
static qdisp_status read_split(const qd_gguf_cursor *c, const qd_gguf *gguf, int64_t *number, int64_t *count) {
    const qd_gguf_value *no = qd_gguf_find(gguf, "split.no"), *n = qd_gguf_find(gguf, "split.count");
    *number = *count = 1;
    if (!n && !no) return QDISP_OK;
    if (!qd_gguf_int(no, 0, number) || !qd_gguf_int(n, 0, count)) {
        return qd_fail(c->ctx, QDISP_EFORMAT, "%s: split.no and split.count are not two integers", c->path);
    }
    if (*count == 0) *count = 1; /* what merging leaves */
    if (*number < 0 || *number >= *count || *count > 65535) {
        return qd_fail(c->ctx, QDISP_EFORMAT, "%s: split.no %lld of split.count %lld", c->path, (long long)*number,
                       (long long)*count);
    }
    ++*number;
    return QDISP_OK;
}

/* The path of another shard: the last 20 characters of a name are -00001-of-00003.gguf. */
static qdisp_status shard_path(const qd_gguf_cursor *c, int64_t number, int64_t count, int64_t wanted, char **out) {
    char ending[32];
    size_t n = strlen(c->path);
    snprintf(ending, sizeof ending, "-%05u-of-%05u.gguf", (unsigned)number, (unsigned)count);
    size_t n_ending = strlen(ending);
    if (n < n_ending || strcmp(c->path + n - n_ending, ending)) {
        return qd_fail(c->ctx, QDISP_EFORMAT, "%s: is file %lld of %lld: its name must end with %s to find the others",
                       c->path, (long long)number, (long long)count, ending);
    }
    *out = qd_format(c->ctx, "%.*s-%05u-of-%05u.gguf", (int)(n - n_ending), c->path, (unsigned)wanted,
                     (unsigned)count);
    return *out ? QDISP_OK : QDISP_ENOMEM;
}

/* Opens shard `wanted` and adds its tensors; of the first the keys are kept. */
static qdisp_status add_shard(qd_tensor_file *file, const char *path, int64_t wanted, int64_t count) {
    qd_gguf *gguf = qd_alloc(file->ctx, 1, sizeof *gguf);
    qdisp_status status = QDISP_ENOMEM;
    int64_t number, its_count;
    uint64_t n_tensors;
    if (!gguf) return status;
    status = qd_tensor_file_map(file, path);
    if (status == QDISP_ENOTFOUND) {
        status = qd_fail(file->ctx, QDISP_ENOTFOUND, "%s: file %lld of %lld is missing (opened by %s)", path,
                         (long long)wanted, (long long)count, file->path);
    }
    if (status != QDISP_OK) goto done;
    const qd_mapped_file *map = &file->maps[file->n_maps - 1];
    qd_gguf_cursor c = {file->ctx, path, map->data, map->size, 0};
    if (!matches(c.data, c.size)) {
        status = qd_fail(file->ctx, QDISP_EFORMAT, "%s: not a GGUF file (opened by %s)", path, file->path);
        goto done;
    }
    QD_TRY_GOTO(read_header(&c, gguf, &n_tensors));
    QD_TRY_GOTO(read_split(&c, gguf, &number, &its_count));
    if (number != wanted || its_count != count) {
        status = qd_fail(file->ctx, QDISP_EFORMAT, "%s: says that it is file %lld of %lld", path, (long long)number,
                         (long long)its_count);
        goto done;
    }
    status = read_tensors(&c, file, gguf->alignment, n_tensors);
    if (wanted == 1) {
        file->gguf = gguf;
        gguf = NULL;
    }
done:
    qd_gguf_free(file->ctx, gguf);
    return status;
}

static qdisp_status read_shards(qd_tensor_file *file, const qd_gguf_cursor *opened, int64_t number, int64_t count) {
    int64_t total = -1;
    if (file->n_maps == 0) {
        return qd_fail(file->ctx, QDISP_EUNSUPPORTED, "%s: is file %lld of %lld and not on disk", file->path,
                       (long long)number, (long long)count);
    }
    for (int64_t wanted = 1; wanted <= count; wanted++) {
        char *path = NULL;
        QD_TRY(shard_path(opened, number, count, wanted, &path));
        qdisp_status status = add_shard(file, path, wanted, count);
        qd_free(file->ctx, path);
        QD_TRY(status);
    }
    if (qd_gguf_int(qd_gguf_find(file->gguf, "split.tensors.count"), 0, &total) && (uint64_t)total != file->n_tensors) {
        return qd_fail(file->ctx, QDISP_EFORMAT, "%s: the %lld files have %zu tensors, split.tensors.count says %lld",
                       file->path, (long long)count, file->n_tensors, (long long)total);
    }
    return QDISP_OK;
}

static qdisp_status parse(qd_tensor_file *file, const uint8_t *data, size_t size) {
    qd_gguf_cursor c = {file->ctx, file->path, data, size, 0};
    qd_gguf *gguf = qd_alloc(file->ctx, 1, sizeof *gguf);
    qdisp_status status = QDISP_ENOMEM;
    int64_t number, count;
    uint64_t n_tensors;
    if (!gguf) goto done;
    QD_TRY_GOTO(read_header(&c, gguf, &n_tensors));
    QD_TRY_GOTO(read_split(&c, gguf, &number, &count));
    if (count > 1) {
        status = read_shards(file, &c, number, count);
    } else {
        file->gguf = gguf;
        gguf = NULL;
        status = read_tensors(&c, file, file->gguf->alignment, n_tensors);
    }
done:
    qd_gguf_free(file->ctx, gguf);
    return status;
}

extern const qd_container qd_container_gguf;
const qd_container qd_container_gguf = {"gguf", matches, parse};
