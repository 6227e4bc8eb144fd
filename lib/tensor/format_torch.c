/* format_torch.c - PyTorch checkpoints (torch.save since 1.6): a zip archive of a pickle and its storages.
 *
 * The pickle is read as data (pickle.c): it may name what tensors are made of and nothing else, and nothing is called.
 * A tensor is a view of a storage, an entry of the archive that is used in place; every view is checked against the
 * bytes of its entry before it is made. Contiguous ones are plain arrays, others are read through their strides. */
#include <stdio.h>
#include <string.h>

#include "tensor/pickle.h"
#include "tensor/tensor.h"
#include "tensor/zip.h"

enum { MAX_DEPTH = 16, MAX_DIMS = 16, MAX_NAME = 1024 };

/* --- what a checkpoint may name --- */

enum {
    ORDERED_DICT,
    REBUILD_TENSOR,
    REBUILD_TENSOR_V3,
    REBUILD_PARAMETER,
    REBUILD_PARAMETER_STATE,
    SIZE,
    DEVICE,
    ENCODE,
    N_FUNCTIONS
};

/* Element types: the class of their storage, the constant, how they are read. */
typedef struct element_type {
    const char *storage, *constant, *text; /* text: for those that are not arrays, as in safetensors */
    qdisp_dtype dtype;
    size_t size;
} element_type;

#define TYPES(X)                                                   \
    X("FloatStorage", "float32", "F32", F32, 4)                    \
    X("HalfStorage", "float16", "F16", F16, 2)                     \
    X("BFloat16Storage", "bfloat16", "BF16", BF16, 2)              \
    X("DoubleStorage", "float64", "F64", F64, 8)                   \
    X("LongStorage", "int64", "I64", I64, 8)                       \
    X("IntStorage", "int32", "I32", I32, 4)                        \
    X("ShortStorage", "int16", "I16", OTHER, 2)                    \
    X("CharStorage", "int8", "I8", I8, 1)                          \
    X("ByteStorage", "uint8", "U8", U8, 1)                         \
    X("BoolStorage", "bool", "BOOL", BOOL, 1)                      \
    X("ComplexFloatStorage", "complex64", "C64", OTHER, 8)         \
    X("ComplexDoubleStorage", "complex128", "C128", OTHER, 16)     \
    X("UInt16Storage", "uint16", "U16", OTHER, 2)                  \
    X("UInt32Storage", "uint32", "U32", OTHER, 4)                  \
    X("UInt64Storage", "uint64", "U64", OTHER, 8)                  \
    X("Float8_e4m3fnStorage", "float8_e4m3fn", "F8_E4M3", OTHER, 1)         \
    X("Float8_e5m2Storage", "float8_e5m2", "F8_E5M2", OTHER, 1)             \
    X("Float8_e4m3fnuzStorage", "float8_e4m3fnuz", "F8_E4M3FNUZ", OTHER, 1) \
    X("Float8_e5m2fnuzStorage", "float8_e5m2fnuz", "F8_E5M2FNUZ", OTHER, 1) \
    X("Float8_e8m0fnuStorage", "float8_e8m0fnu", "F8_E8M0", OTHER, 1)

static const element_type types[] = {
#define ROW(storage, constant, text, dtype, size) {storage, constant, text, QDISP_DTYPE_##dtype, size},
    TYPES(ROW)
#undef ROW
};
enum { N_TYPES = sizeof types / sizeof *types };

/* The functions in the order of their enum, then a storage and a constant for each type, then bytes without a type. */
static const qd_pickle_name names[] = {
    {"collections", "OrderedDict", true},
    {"torch._utils", "_rebuild_tensor_v2", false},
    {"torch._utils", "_rebuild_tensor_v3", false},
    {"torch._utils", "_rebuild_parameter", false},
    {"torch._utils", "_rebuild_parameter_with_state", false},
    {"torch", "Size", false},
    {"torch", "device", false},
    {"_codecs", "encode", false},
#define ROW(storage, constant, text, dtype, size) {"torch", storage, false}, {"torch", constant, false},
    TYPES(ROW)
#undef ROW
    {"torch.storage", "UntypedStorage", false},
};
enum { UNTYPED = N_FUNCTIONS + 2 * N_TYPES, N_NAMES };

/* --- reading --- */

typedef struct checkpoint {
    qd_tensor_file *file;
    const qd_zip_entry *entries;
    size_t n_entries;
    char root[MAX_NAME]; /* the archive's folder, with its slash */
    size_t n_root;
    qd_pickle pickle;
    char name[MAX_NAME]; /* of the tensor */
    size_t n_visits;     /* of dict items, to bound what shared dicts could make of a small file */
} checkpoint;

#define FAIL(c, status, format, ...) \
    qd_fail((c)->file->ctx, (status), "%s: tensor '%.200s': " format, (c)->file->path, (c)->name, __VA_ARGS__)

/* An entry of the checkpoint's folder; stored, as torch writes them. */
static qdisp_status find_entry(checkpoint *c, const char *name, const qd_zip_entry **out) {
    char path[2 * MAX_NAME];
    int n = snprintf(path, sizeof path, "%s%s", c->root, name);
    const qd_zip_entry *entry = qd_zip_find(c->entries, c->n_entries, path, (size_t)n);
    *out = entry;
    if (entry && !entry->is_stored) {
        return qd_fail(c->file->ctx, QDISP_EUNSUPPORTED, "%s: entry '%.200s' is compressed or encrypted: torch.save "
                       "stores it as it is", c->file->path, path);
    }
    return QDISP_OK;
}

/* The folder of the archive is that of its data.pkl. */
static qdisp_status find_root(checkpoint *c) {
    static const char pickle[] = "/data.pkl";
    qdisp_ctx *ctx = c->file->ctx;
    const char *path = c->file->path;
    for (size_t i = 0; i < c->n_entries && !c->n_root; i++) {
        const qd_zip_entry *e = &c->entries[i];
        size_t n = sizeof pickle - 1, n_root = e->n_name - n + 1;
        if (e->n_name <= n || e->n_name >= MAX_NAME || memcmp(e->name + e->n_name - n, pickle, n)) continue;
        if (memchr(e->name, '/', n_root - 1) || memchr(e->name, 0, n_root)) continue;
        memcpy(c->root, e->name, n_root);
        c->n_root = n_root;
    }
    if (!c->n_root) return qd_fail(ctx, QDISP_EFORMAT, "%s: a zip archive without data.pkl: no checkpoint", path);
    const qd_zip_entry *entry;
    QD_TRY(find_entry(c, "constants.pkl", &entry));
    if (entry) {
        return qd_fail(ctx, QDISP_EUNSUPPORTED, "%s: a TorchScript archive, a program: save its state_dict", path);
    }
    QD_TRY(find_entry(c, "byteorder", &entry));
    if (entry && (entry->n_bytes < 6 || memcmp(entry->data, "little", 6))) {
        return qd_fail(ctx, QDISP_EUNSUPPORTED, "%s: byte order '%.*s' is not little", path,
                       entry->n_bytes < 20 ? (int)entry->n_bytes : 20, (const char *)entry->data);
    }
    return QDISP_OK;
}

static const qd_pickle_value *argument(const checkpoint *c, const qd_pickle_value *call, size_t i) {
    return qd_pickle_item_of(&c->pickle, qd_pickle_at(&c->pickle, call->as.inner), i);
}

/* The bytes of a storage, and its elements' type (NULL: not told). */
static qdisp_status read_storage(checkpoint *c, const qd_pickle_value *storage, const qd_zip_entry **entry,
                                 const element_type **type) {
    const qd_pickle *p = &c->pickle;
    if (!storage || storage->kind != QD_PICKLE_PERSISTENT) return FAIL(c, QDISP_EFORMAT, "%s", "it has no storage");
    const qd_pickle_value *id = qd_pickle_at(p, storage->as.inner), *class = qd_pickle_item_of(p, id, 1);
    const qd_pickle_value *key = qd_pickle_item_of(p, id, 2), *n = qd_pickle_item_of(p, id, 4);
    if (!qd_pickle_text_is(qd_pickle_item_of(p, id, 0), "storage") || !class || class->kind != QD_PICKLE_NAME || !key ||
        key->kind != QD_PICKLE_TEXT || !n || n->kind != QD_PICKLE_INTEGER || n->as.integer < 0) {
        return FAIL(c, QDISP_EFORMAT, "%s", "its storage is described in another way than torch does");
    }
    bool is_class = class->name >= N_FUNCTIONS && (class->name == UNTYPED || (class->name - N_FUNCTIONS) % 2 == 0);
    if (!is_class) return FAIL(c, QDISP_EFORMAT, "'%s' is no class of storages", names[class->name].name);
    *type = class->name == UNTYPED ? NULL : &types[(class->name - N_FUNCTIONS) / 2];
    char name[MAX_NAME];
    if (key->as.text.n > 64 || memchr(key->as.text.at, 0, key->as.text.n)) {
        return FAIL(c, QDISP_EFORMAT, "%s", "the name of its storage is too long or holds a zero byte");
    }
    snprintf(name, sizeof name, "data/%.*s", (int)key->as.text.n, key->as.text.at);
    QD_TRY(find_entry(c, name, entry));
    if (!*entry) return FAIL(c, QDISP_EFORMAT, "the archive has no entry '%s%s'", c->root, name);
    uint64_t n_bytes;
    size_t size = *type ? (*type)->size : 1;
    if (qd_mul_overflows((uint64_t)n->as.integer, size, &n_bytes) || n_bytes > (*entry)->n_bytes) {
        return FAIL(c, QDISP_EFORMAT, "its storage claims %lld elements, its entry has %zu bytes",
                    (long long)n->as.integer, (*entry)->n_bytes);
    }
    return QDISP_OK;
}

/* A tuple of sizes, or torch.Size of one. */
static bool read_sizes(const checkpoint *c, const qd_pickle_value *v, uint64_t sizes[MAX_DIMS], size_t *n) {
    if (v && v->kind == QD_PICKLE_CALL && v->name == SIZE) v = argument(c, v, 0);
    if (!v || v->kind != QD_PICKLE_TUPLE || v->as.items.n > MAX_DIMS) return false;
    *n = v->as.items.n;
    for (size_t i = 0; i < *n; i++) {
        const qd_pickle_value *size = qd_pickle_item_of(&c->pickle, v, i);
        if (size->kind != QD_PICKLE_INTEGER || size->as.integer < 0) return false;
        sizes[i] = (uint64_t)size->as.integer;
    }
    return true;
}

typedef struct view {
    const element_type *type;
    uint64_t offset, shape[MAX_DIMS], strides[MAX_DIMS], n_elements;
    size_t n_dims;
    bool contiguous;
} view;

/* Every element lies in the storage, and no more of them than it has (overlapping windows could claim any number). */
static qdisp_status check_view(checkpoint *c, view *v, uint64_t n_storage) {
    uint64_t last = v->offset, step, expected = 1;
    bool fits = true;
    v->n_elements = 1;
    v->contiguous = true;
    for (size_t i = v->n_dims; i-- > 0;) {
        v->contiguous = v->contiguous && (v->shape[i] == 1 || v->strides[i] == expected);
        fits = fits && !qd_mul_overflows(v->n_elements, v->shape[i], &v->n_elements);
        expected = v->n_elements;
    }
    if (fits && v->n_elements == 0) {
        v->contiguous = true;
        return v->offset <= n_storage ? QDISP_OK : FAIL(c, QDISP_EFORMAT, "%s", "it begins after its storage");
    }
    for (size_t i = 0; i < v->n_dims && fits; i++) {
        fits = !qd_mul_overflows(v->shape[i] - 1, v->strides[i], &step) && step <= UINT64_MAX - last;
        if (fits) last += step;
    }
    if (!fits || last >= n_storage) {
        return FAIL(c, QDISP_EFORMAT, "its elements pass the end of its storage (%llu)", (unsigned long long)n_storage);
    }
    if (v->n_elements > n_storage) return FAIL(c, QDISP_EUNSUPPORTED, "%s", "its elements lie over each other");
    return QDISP_OK;
}

static qdisp_status make_tensor(checkpoint *c, const view *v, const uint8_t *data, qdisp_tensor *tensor) {
    const element_type *type = v->type;
    uint64_t n_bytes = v->n_elements * type->size;
    bool is_float = type->dtype == QDISP_DTYPE_F32 || type->dtype == QDISP_DTYPE_F16 || type->dtype == QDISP_DTYPE_BF16;
    *tensor = (qdisp_tensor){.dtype = type->dtype, .data = data + v->offset * type->size, .n_bytes = n_bytes};
    tensor->name = qd_tensor_file_text(c->file, c->name, strlen(c->name));
    if (!tensor->name) return QDISP_ENOMEM;
    if (!qd_tensor_set_shape(tensor, v->shape, v->n_dims)) return FAIL(c, QDISP_EFORMAT, "%s", "its shape overflows");
    if (v->n_dims <= 4 && v->contiguous) {
        if (type->dtype != QDISP_DTYPE_OTHER) return QDISP_OK;
        if (qd_minifloat_bits(type->text)) return qd_minifloat_pack(c->file, tensor, type->text);
    }
    if (v->n_dims <= 4 && is_float) return qd_strided_pack(c->file, tensor, v->strides);
    char text[64];
    snprintf(text, sizeof text, "%s%s of %zu dimensions", v->contiguous ? "" : "strided ", type->text, v->n_dims);
    return qd_tensor_file_other(c->file, tensor, text, n_bytes);
}

static bool is_tensor(const qd_pickle_value *v) {
    return v->kind == QD_PICKLE_CALL && v->name >= REBUILD_TENSOR && v->name <= REBUILD_PARAMETER_STATE;
}

static qdisp_status read_tensor(checkpoint *c, const qd_pickle_value *call) {
    for (int depth = 0; call && call->kind == QD_PICKLE_CALL && call->name >= REBUILD_PARAMETER && depth < 4; depth++) {
        if (call->name > REBUILD_PARAMETER_STATE) break;
        call = argument(c, call, 0);
    }
    if (!call || !is_tensor(call) || call->name >= REBUILD_PARAMETER) {
        return FAIL(c, QDISP_EFORMAT, "%s", "a parameter of no tensor");
    }
    view v = {0};
    const qd_zip_entry *entry = NULL;
    size_t n_strides = 0;
    QD_TRY(read_storage(c, argument(c, call, 0), &entry, &v.type));
    const qd_pickle_value *offset = argument(c, call, 1);
    if (!offset || offset->kind != QD_PICKLE_INTEGER || offset->as.integer < 0 ||
        !read_sizes(c, argument(c, call, 2), v.shape, &v.n_dims) ||
        !read_sizes(c, argument(c, call, 3), v.strides, &n_strides) || n_strides != v.n_dims) {
        return FAIL(c, QDISP_EFORMAT, "%s", "offset, shape or strides are not what torch writes");
    }
    if (call->name == REBUILD_TENSOR_V3) {
        const qd_pickle_value *dtype = argument(c, call, 6);
        bool is_dtype = dtype && dtype->kind == QD_PICKLE_NAME && dtype->name >= N_FUNCTIONS && dtype->name < UNTYPED &&
                        (dtype->name - N_FUNCTIONS) % 2 == 1;
        v.type = is_dtype ? &types[(dtype->name - N_FUNCTIONS) / 2] : NULL;
    }
    if (!v.type) return FAIL(c, QDISP_EFORMAT, "%s", "the type of its elements is not told");
    v.offset = (uint64_t)offset->as.integer;
    QD_TRY(check_view(c, &v, entry->n_bytes / v.type->size));
    QD_TRY(qd_tensor_file_reserve(c->file, 1));
    QD_TRY(make_tensor(c, &v, entry->data, &c->file->tensors[c->file->n_tensors]));
    c->file->n_tensors++;
    return QDISP_OK;
}

/* --- dicts --- */

#define EACH_ITEM(p, dict, i) (uint32_t i = (dict)->as.items.first; i != UINT32_MAX; i = (p)->items[i].next)

/* Adds the tensors of a dict and of the dicts in it: names are joined with dots. */
static qdisp_status walk(checkpoint *c, const qd_pickle_value *dict, size_t n_prefix, int depth) {
    const qd_pickle *p = &c->pickle;
    for EACH_ITEM(p, dict, i) {
        const qd_pickle_value *key = qd_pickle_at(p, p->items[i].key), *value = qd_pickle_at(p, p->items[i].value);
        if (key->kind != QD_PICKLE_TEXT || (value->kind != QD_PICKLE_DICT && !is_tensor(value))) continue;
        const char *text = key->as.text.at;
        size_t n = key->as.text.n;
        c->name[n_prefix] = 0;
        if (n + 2 > MAX_NAME - n_prefix || memchr(text, 0, n) || qd_utf8_check(text, n) != n) {
            return FAIL(c, QDISP_EFORMAT, "%s", "a name in it is too long, or no text");
        }
        memcpy(c->name + n_prefix, text, n);
        c->name[n_prefix + n] = 0;
        if (c->n_visits++ > 64 + 4 * p->n_items || depth > MAX_DEPTH) {
            return FAIL(c, QDISP_EFORMAT, "%s", "dicts within dicts, too deep or too often the same ones");
        }
        if (value->kind == QD_PICKLE_DICT) {
            c->name[n_prefix + n] = '.';
            QD_TRY(walk(c, value, n_prefix + n + 1, depth + 1));
        } else {
            QD_TRY(read_tensor(c, value));
        }
    }
    return QDISP_OK;
}

/* A training checkpoint keeps the weights beside other things: the dict that is named so, unless there are tensors
 * already. */
static const qd_pickle_value *find_weights(const qd_pickle *p, const qd_pickle_value *dict) {
    static const char *const wrappers[] = {"state_dict", "model_state_dict", "model", "module"};
    for (int depth = 0; depth < MAX_DEPTH; depth++) {
        const qd_pickle_value *inner = NULL;
        for EACH_ITEM(p, dict, i) {
            const qd_pickle_value *key = qd_pickle_at(p, p->items[i].key), *value = qd_pickle_at(p, p->items[i].value);
            if (is_tensor(value)) return dict;
            for (size_t w = 0; w < sizeof wrappers / sizeof *wrappers && !inner; w++)
                if (value->kind == QD_PICKLE_DICT && qd_pickle_text_is(key, wrappers[w])) inner = value;
        }
        if (!inner) break;
        dict = inner;
    }
    return dict;
}

static qdisp_status read_checkpoint(checkpoint *c, const uint8_t *data, size_t size, qd_zip_entry **entries) {
    qd_tensor_file *file = c->file;
    size_t first = file->n_tensors;
    const qd_zip_entry *pickle;
    QD_TRY(qd_zip_read(file->ctx, file->path, data, size, entries, &c->n_entries));
    c->entries = *entries;
    QD_TRY(find_root(c));
    QD_TRY(find_entry(c, "data.pkl", &pickle));
    QD_TRY(qd_pickle_read(file->ctx, file->path, pickle->data, pickle->n_bytes, names, N_NAMES, &c->pickle));
    const qd_pickle_value *root = qd_pickle_at(&c->pickle, c->pickle.root);
    if (root->kind == QD_PICKLE_DICT) QD_TRY(walk(c, find_weights(&c->pickle, root), 0, 0));
    if (file->n_tensors == first) {
        return qd_fail(file->ctx, QDISP_EFORMAT, "%s: holds no dict with tensors: save a state_dict", file->path);
    }
    return QDISP_OK;
}

static qdisp_status parse(qd_tensor_file *file, const uint8_t *data, size_t size) {
    if (data[0] != 'P') {
        return qd_fail(file->ctx, QDISP_EUNSUPPORTED, "%s: a pickle without an archive, as torch.save wrote before "
                       "1.6: load it with torch and save it again, or as safetensors", file->path);
    }
    checkpoint *c = qd_alloc(file->ctx, 1, sizeof *c);
    if (!c) return QDISP_ENOMEM;
    c->file = file;
    qd_zip_entry *entries = NULL;
    qdisp_status status = read_checkpoint(c, data, size, &entries);
    qd_pickle_free(file->ctx, &c->pickle);
    qd_free(file->ctx, entries);
    qd_free(file->ctx, c);
    return status;
}

/* A zip archive, or a bare pickle: its protocol comes first. */
static bool matches(const uint8_t *data, size_t size) {
    if (size < 4) return false;
    return !memcmp(data, "PK\3\4", 4) || !memcmp(data, "PK\5\6", 4) || (data[0] == 0x80 && data[1] <= 5);
}

extern const qd_container qd_container_torch;
const qd_container qd_container_torch = {"torch", matches, parse};
