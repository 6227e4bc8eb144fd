/* zip.c - the central directory of a zip archive (APPNOTE 6.3.10, with zip64), checked before it is believed.
 *
 * libzip does not tell where the bytes of a stored entry lie, and here they are used in place. Every entry must lie
 * wholly in the archive, before the directory, and overlap no other. */
#include "tensor/zip.h"

#include <stdlib.h>
#include <string.h>

enum {
    END_BYTES = 22,
    LOCATOR_BYTES = 20,
    END64_BYTES = 56,
    CENTRAL_BYTES = 46,
    LOCAL_BYTES = 30,
    MAX_COMMENT = 65535
};

typedef struct archive {
    qdisp_ctx *ctx;
    const char *label;
    const uint8_t *data;
    size_t size;
    uint64_t n_entries, first, n_bytes; /* of the directory */
} archive;

static uint64_t number(const uint8_t *at, size_t n) {
    uint64_t value = 0;
    while (n-- > 0) value = value << 8 | at[n];
    return value;
}

static bool is_signature(const uint8_t *at, char third, char fourth) {
    return at[0] == 'P' && at[1] == 'K' && at[2] == third && at[3] == fourth;
}

static qdisp_status bad(const archive *a, const char *reason) {
    return qd_fail(a->ctx, QDISP_EFORMAT, "%s: zip archive: %s", a->label, reason);
}

/* The last record whose comment ends with the file: anything else after it would be hidden. */
static const uint8_t *find_end(const archive *a) {
    if (a->size < END_BYTES) return NULL;
    size_t last = a->size - END_BYTES, low = last > MAX_COMMENT ? last - MAX_COMMENT : 0;
    for (size_t at = last + 1; at-- > low;) {
        const uint8_t *end = a->data + at;
        if (is_signature(end, 5, 6) && number(end + 20, 2) == last - at) return end;
    }
    return NULL;
}

static qdisp_status find_directory(archive *a) {
    const uint8_t *end = find_end(a), *limit = end;
    if (!end) return bad(a, "its end is missing: cut short, or not a zip archive");
    uint64_t disks = number(end + 4, 2) | number(end + 6, 2);
    a->n_entries = number(end + 10, 2);
    a->n_bytes = number(end + 12, 4);
    a->first = number(end + 16, 4);
    size_t at = (size_t)(end - a->data);
    if (at >= LOCATOR_BYTES && is_signature(end - LOCATOR_BYTES, 6, 7)) {
        uint64_t end64 = number(end - LOCATOR_BYTES + 8, 8);
        if (at - LOCATOR_BYTES < END64_BYTES || end64 > at - LOCATOR_BYTES - END64_BYTES ||
            !is_signature(a->data + end64, 6, 6)) {
            return bad(a, "its zip64 end is not where it should be");
        }
        limit = a->data + end64;
        disks = number(limit + 16, 4) | number(limit + 20, 4);
        a->n_entries = number(limit + 32, 8);
        a->n_bytes = number(limit + 40, 8);
        a->first = number(limit + 48, 8);
    }
    uint64_t room = (uint64_t)(limit - a->data);
    if (disks) return qd_fail(a->ctx, QDISP_EUNSUPPORTED, "%s: zip archive: in several parts", a->label);
    if (a->first > room || a->n_bytes > room - a->first) return bad(a, "its directory passes the end");
    if (a->n_entries > a->n_bytes / CENTRAL_BYTES) return bad(a, "more entries than its directory has room for");
    return QDISP_OK;
}

/* Sizes and offset of 32 bits that are full stand in the extra field, in this order. */
static bool read_zip64(const uint8_t *extra, size_t n, uint64_t *const values[3]) {
    while (n >= 4) {
        size_t size = (size_t)number(extra + 2, 2);
        if (size > n - 4) return false;
        if (number(extra, 2) == 1) {
            const uint8_t *at = extra + 4;
            for (size_t i = 0; i < 3; i++) {
                if (*values[i] != 0xffffffff) continue;
                if (size < 8) return false;
                *values[i] = number(at, 8);
                at += 8;
                size -= 8;
            }
            return true;
        }
        extra += 4 + size;
        n -= 4 + size;
    }
    return true;
}

/* The entry at offset of the archive: where its bytes begin follows from its own, local header. */
static qdisp_status locate(const archive *a, qd_zip_entry *entry, uint64_t offset, uint64_t n_bytes) {
    if (offset > a->first || a->first - offset < LOCAL_BYTES) return bad(a, "an entry begins outside of the archive");
    const uint8_t *local = a->data + offset;
    uint64_t n_header = LOCAL_BYTES + number(local + 26, 2) + number(local + 28, 2);
    if (!is_signature(local, 3, 4)) return bad(a, "an entry does not begin where the directory says");
    if (n_header > a->first - offset || n_bytes > a->first - offset - n_header) {
        return bad(a, "an entry passes the end of the data");
    }
    if (number(local + 26, 2) != entry->n_name || memcmp(local + LOCAL_BYTES, entry->name, entry->n_name)) {
        return bad(a, "an entry has another name than the directory says");
    }
    entry->data = local + n_header;
    entry->n_bytes = (size_t)n_bytes;
    return QDISP_OK;
}

static qdisp_status read_entry(const archive *a, const uint8_t *at, size_t left, qd_zip_entry *entry, size_t *n_read) {
    if (left < CENTRAL_BYTES || !is_signature(at, 1, 2)) return bad(a, "its directory is broken");
    size_t n_name = (size_t)number(at + 28, 2), n_extra = (size_t)number(at + 30, 2);
    *n_read = CENTRAL_BYTES + n_name + n_extra + (size_t)number(at + 32, 2);
    if (*n_read > left) return bad(a, "its directory is broken");
    uint64_t n_bytes = number(at + 20, 4), n_plain = number(at + 24, 4), offset = number(at + 42, 4);
    if (!read_zip64(at + CENTRAL_BYTES + n_name, n_extra, (uint64_t *[3]){&n_plain, &n_bytes, &offset})) {
        return bad(a, "an entry has a broken extra field");
    }
    *entry = (qd_zip_entry){.name = (const char *)at + CENTRAL_BYTES, .n_name = n_name,
                            .is_stored = number(at + 10, 2) == 0 && !(number(at + 8, 2) & 1)};
    if (entry->is_stored && n_bytes != n_plain) return bad(a, "a stored entry has two sizes");
    return locate(a, entry, offset, n_bytes);
}

static int compare_places(const void *x, const void *y) {
    const qd_zip_entry *a = x, *b = y;
    return a->data == b->data ? 0 : (uintptr_t)a->data < (uintptr_t)b->data ? -1 : 1;
}

static int compare_text(const char *a, size_t n_a, const char *b, size_t n_b) {
    int order = memcmp(a, b, n_a < n_b ? n_a : n_b);
    return order ? order : n_a < n_b ? -1 : n_a > n_b;
}

static int compare_names(const void *x, const void *y) {
    const qd_zip_entry *a = x, *b = y;
    return compare_text(a->name, a->n_name, b->name, b->n_name);
}

static qdisp_status check_entries(const archive *a, qd_zip_entry *entries, size_t n) {
    qsort(entries, n, sizeof *entries, compare_places);
    for (size_t i = 1; i < n; i++) { /* a local header with its name lies between two entries */
        uintptr_t end = (uintptr_t)entries[i - 1].data + entries[i - 1].n_bytes;
        if (end + LOCAL_BYTES + entries[i].n_name > (uintptr_t)entries[i].data) return bad(a, "two entries overlap");
    }
    qsort(entries, n, sizeof *entries, compare_names);
    for (size_t i = 1; i < n; i++)
        if (compare_names(&entries[i - 1], &entries[i]) == 0) return bad(a, "two entries have one name");
    return QDISP_OK;
}

qdisp_status qd_zip_read(qdisp_ctx *ctx, const char *label, const uint8_t *data, size_t size, qd_zip_entry **out,
                         size_t *n_out) {
    archive a = {.ctx = ctx, .label = label, .data = data, .size = size};
    QD_TRY(find_directory(&a));
    size_t n = (size_t)a.n_entries, left = (size_t)a.n_bytes, n_read = 0;
    qd_zip_entry *entries = qd_alloc(ctx, n ? n : 1, sizeof *entries);
    if (!entries) return QDISP_ENOMEM;
    const uint8_t *at = data + a.first;
    qdisp_status status = QDISP_OK;
    for (size_t i = 0; i < n && status == QDISP_OK; i++, at += n_read, left -= n_read)
        status = read_entry(&a, at, left, &entries[i], &n_read);
    if (status == QDISP_OK) status = check_entries(&a, entries, n);
    if (status != QDISP_OK) {
        qd_free(ctx, entries);
        return status;
    }
    *out = entries;
    *n_out = n;
    return QDISP_OK;
}

const qd_zip_entry *qd_zip_find(const qd_zip_entry *entries, size_t n, const char *name, size_t n_name) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_text(entries[middle].name, entries[middle].n_name, name, n_name);
        if (order == 0) return &entries[middle];
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}
