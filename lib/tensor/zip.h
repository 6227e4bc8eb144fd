/* zip.h - the directory of a zip archive in memory, for entries that are stored as they are. */
#ifndef QD_ZIP_H
#define QD_ZIP_H

#include "base/base.h"

typedef struct qd_zip_entry {
    const char *name; /* [n_name], not terminated */
    size_t n_name;
    const uint8_t *data; /* in the archive: the bytes themselves if is_stored */
    size_t n_bytes;
    bool is_stored; /* false: compressed or encrypted */
} qd_zip_entry;

/* The entries, sorted by name; free with qd_free. They lie in the archive, do not overlap and have names of their own.
 * label: for messages. Errors: EFORMAT, EUNSUPPORTED (several disks), ENOMEM. Memory: 40 bytes for 46 of the file. */
qdisp_status qd_zip_read(qdisp_ctx *ctx, const char *label, const uint8_t *data, size_t size, qd_zip_entry **out,
                         size_t *n_out);
/* NULL if there is none. */
const qd_zip_entry *qd_zip_find(const qd_zip_entry *entries, size_t n, const char *name, size_t n_name);

#endif
