/* pickle.h - a pickle read as data: calls of the functions in a list become values that say so, and nothing is run. */
#ifndef QD_PICKLE_H
#define QD_PICKLE_H

#include "base/base.h"

typedef enum qd_pickle_kind {
    QD_PICKLE_NONE,
    QD_PICKLE_BOOL,
    QD_PICKLE_INTEGER,
    QD_PICKLE_FLOAT,
    QD_PICKLE_TEXT,       /* text or bytes */
    QD_PICKLE_TUPLE,
    QD_PICKLE_LIST,
    QD_PICKLE_DICT,
    QD_PICKLE_NAME,       /* a function, class or constant of the list */
    QD_PICKLE_CALL,       /* function(arguments) of the list */
    QD_PICKLE_PERSISTENT, /* what the archive holds beside the pickle: persistent id */
    QD_PICKLE_MARK
} qd_pickle_kind;

typedef struct qd_pickle_value {
    uint32_t kind; /* qd_pickle_kind */
    uint32_t name; /* NAME, CALL: its place in the list */
    union {
        int64_t integer; /* BOOL, INTEGER */
        double number;
        struct {
            const char *at; /* in the pickle, not terminated */
            size_t n;
        } text;
        struct {
            uint32_t first, last, n; /* TUPLE, LIST, DICT: items */
        } items;
        uint32_t inner; /* CALL: its arguments, a TUPLE; PERSISTENT: the id */
    } as;
} qd_pickle_value;

/* Of a tuple they lie one after the other; all are linked by next. */
typedef struct qd_pickle_item {
    uint32_t key, value, next; /* key: of DICT only */
} qd_pickle_item;

typedef struct qd_pickle {
    qd_pickle_value *values;
    qd_pickle_item *items;
    size_t n_values, cap_values, n_items, cap_items;
    uint32_t root; /* what is pickled */
} qd_pickle;

/* A name that a pickle may use. */
typedef struct qd_pickle_name {
    const char *module, *name;
    bool makes_dict; /* called without arguments it gives an empty dict */
} qd_pickle_name;

/* Protocols 2 to 5, the operations that the savers of tensors write. What is pickled may hold itself: who walks it has
 * to count. names[n_names]: all else is refused by name. label: for messages. out is to be freed in every case.
 * Errors: EFORMAT (also a name), EUNSUPPORTED (an operation), ENOMEM. Memory: at most about 100 bytes for one of the
 * pickle. */
qdisp_status qd_pickle_read(qdisp_ctx *ctx, const char *label, const uint8_t *data, size_t size,
                            const qd_pickle_name *names, size_t n_names, qd_pickle *out);
void qd_pickle_free(qdisp_ctx *ctx, qd_pickle *pickle);

static inline const qd_pickle_value *qd_pickle_at(const qd_pickle *p, uint32_t i) {
    return &p->values[i];
}
/* Item i of a tuple; NULL if it has fewer, or is none. */
const qd_pickle_value *qd_pickle_item_of(const qd_pickle *p, const qd_pickle_value *tuple, size_t i);
bool qd_pickle_text_is(const qd_pickle_value *value, const char *text);

#endif
