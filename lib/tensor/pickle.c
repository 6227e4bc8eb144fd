/* pickle.c - the machine that reads a pickle: a stack, a memo, and values in arrays that the pickle's size bounds.
 *
 * A pickle is a program that may call anything; this machine has no call. A value is an index; nothing is followed
 * while reading, so that depth and cycles cost nothing here. */
#include "tensor/pickle.h"

#include <string.h>

enum { NONE_VALUE, FALSE_VALUE, TRUE_VALUE, N_CONSTANTS };
#define MAX_PICKLE ((size_t)1 << 30) /* indices of 32 bits do not overflow; real ones have some MB */
#define NOTHING UINT32_MAX

typedef struct machine {
    qdisp_ctx *ctx;
    const char *label;
    const uint8_t *data;
    size_t size, at, start; /* start: of the operation */
    const qd_pickle_name *names;
    size_t n_names;
    qd_pickle *p;
    uint32_t *stack, *memo;
    size_t n_stack, cap_stack, n_memo, cap_memo;
    bool done;
} machine;

static qdisp_status broken(const machine *m, const char *reason) {
    return qd_fail(m->ctx, QDISP_EFORMAT, "%s: pickle: byte %zu: %s", m->label, m->start, reason);
}

/* --- input --- */

static qdisp_status take(machine *m, uint64_t n, const uint8_t **out) {
    if (n > m->size - m->at) return broken(m, "cut short");
    *out = m->data + m->at;
    m->at += (size_t)n;
    return QDISP_OK;
}

static qdisp_status take_number(machine *m, size_t n_bytes, uint64_t *out) {
    const uint8_t *at = NULL;
    QD_TRY(take(m, n_bytes, &at));
    *out = 0;
    for (size_t i = n_bytes; i-- > 0;) *out = *out << 8 | at[i];
    return QDISP_OK;
}

static qdisp_status take_line(machine *m, const char **text, size_t *n) {
    const uint8_t *from = m->data + m->at, *end = memchr(from, '\n', m->size - m->at);
    if (!end) return broken(m, "cut short");
    *text = (const char *)from;
    *n = (size_t)(end - from);
    m->at += *n + 1;
    return QDISP_OK;
}

/* --- values and the stack --- */

static qdisp_status push(machine *m, uint32_t value) {
    QD_TRY(qd_grow(m->ctx, (void **)&m->stack, &m->cap_stack, m->n_stack + 1, sizeof *m->stack));
    m->stack[m->n_stack++] = value;
    return QDISP_OK;
}

static qdisp_status push_new(machine *m, qd_pickle_value value) {
    qd_pickle *p = m->p;
    QD_TRY(qd_grow(m->ctx, (void **)&p->values, &p->cap_values, p->n_values + 1, sizeof *p->values));
    p->values[p->n_values] = value;
    return push(m, (uint32_t)p->n_values++);
}

static qdisp_status push_integer(machine *m, int64_t integer) {
    return push_new(m, (qd_pickle_value){.kind = QD_PICKLE_INTEGER, .as.integer = integer});
}

static qdisp_status push_kind(machine *m, qd_pickle_kind kind) {
    return push_new(m, (qd_pickle_value){.kind = kind, .as.items = {NOTHING, NOTHING, 0}});
}

static qdisp_status push_text(machine *m, uint64_t n) {
    const uint8_t *at = NULL;
    QD_TRY(take(m, n, &at));
    return push_new(m, (qd_pickle_value){.kind = QD_PICKLE_TEXT, .as.text = {(const char *)at, (size_t)n}});
}

static qdisp_status pop(machine *m, uint32_t *out) {
    if (m->n_stack == 0 || m->p->values[m->stack[m->n_stack - 1]].kind == QD_PICKLE_MARK) {
        return broken(m, "it takes more values than there are");
    }
    *out = m->stack[--m->n_stack];
    return QDISP_OK;
}

/* What lies above the last mark, which is taken away: stack[*first .. n_stack). */
static qdisp_status pop_mark(machine *m, size_t *first) {
    size_t i = m->n_stack;
    while (i > 0 && m->p->values[m->stack[i - 1]].kind != QD_PICKLE_MARK) i--;
    if (i == 0) return broken(m, "no mark");
    *first = i;
    return QDISP_OK;
}

static qdisp_status add_item(machine *m, uint32_t into, uint32_t key, uint32_t value) {
    qd_pickle *p = m->p;
    QD_TRY(qd_grow(m->ctx, (void **)&p->items, &p->cap_items, p->n_items + 1, sizeof *p->items));
    uint32_t i = (uint32_t)p->n_items++;
    p->items[i] = (qd_pickle_item){key, value, NOTHING};
    qd_pickle_value *v = &p->values[into];
    if (v->as.items.n++ == 0) {
        v->as.items.first = i;
    } else {
        p->items[v->as.items.last].next = i;
    }
    v->as.items.last = i;
    return QDISP_OK;
}

/* A tuple of stack[first..), which goes down to `keep` values. */
static qdisp_status make_tuple(machine *m, size_t first, size_t keep) {
    size_t n = m->n_stack;
    for (size_t i = first; i < n; i++)
        if (m->p->values[m->stack[i]].kind == QD_PICKLE_MARK) return broken(m, "it takes more values than there are");
    QD_TRY(push_kind(m, QD_PICKLE_TUPLE));
    uint32_t tuple = m->stack[n];
    for (size_t i = first; i < n; i++) QD_TRY(add_item(m, tuple, NOTHING, m->stack[i]));
    m->n_stack = keep;
    return push(m, tuple);
}

/* Items above the mark into the list or dict under it. */
static qdisp_status add_items(machine *m, qd_pickle_kind kind) {
    size_t first = 0, step = kind == QD_PICKLE_DICT ? 2 : 1;
    QD_TRY(pop_mark(m, &first));
    if (first < 2 || m->p->values[m->stack[first - 2]].kind != kind) return broken(m, "items of no list or dict");
    if ((m->n_stack - first) % step) return broken(m, "a key without a value");
    uint32_t into = m->stack[first - 2];
    for (size_t i = first; i < m->n_stack; i += step)
        QD_TRY(add_item(m, into, step == 2 ? m->stack[i] : NOTHING, m->stack[i + step - 1]));
    m->n_stack = first - 1;
    return QDISP_OK;
}

static qdisp_status add_one(machine *m, qd_pickle_kind kind) {
    uint32_t value = NONE_VALUE, key = NOTHING;
    QD_TRY(pop(m, &value));
    if (kind == QD_PICKLE_DICT) QD_TRY(pop(m, &key));
    if (m->n_stack == 0 || m->p->values[m->stack[m->n_stack - 1]].kind != kind) {
        return broken(m, "items of no list or dict");
    }
    return add_item(m, m->stack[m->n_stack - 1], key, value);
}

static qdisp_status memo_put(machine *m, uint64_t i) {
    if (m->n_stack == 0 || m->p->values[m->stack[m->n_stack - 1]].kind == QD_PICKLE_MARK) {
        return broken(m, "nothing to remember");
    }
    if (i > m->size) return broken(m, "a place in the memo beyond the size of the pickle");
    size_t old = m->cap_memo;
    QD_TRY(qd_grow(m->ctx, (void **)&m->memo, &m->cap_memo, (size_t)i + 1, sizeof *m->memo));
    if (m->cap_memo > old) memset(m->memo + old, 0xff, (m->cap_memo - old) * sizeof *m->memo);
    m->memo[i] = m->stack[m->n_stack - 1];
    m->n_memo = (size_t)i + 1 > m->n_memo ? (size_t)i + 1 : m->n_memo;
    return QDISP_OK;
}

static qdisp_status memo_get(machine *m, uint64_t i) {
    if (i >= m->n_memo || m->memo[i] == NOTHING) return broken(m, "the memo has nothing there");
    return push(m, m->memo[i]);
}

/* --- names, calls --- */

static qdisp_status push_name(machine *m, const char *module, size_t n_module, const char *name, size_t n_name) {
    for (size_t i = 0; i < m->n_names; i++) {
        const qd_pickle_name *known = &m->names[i];
        if (strlen(known->module) == n_module && !memcmp(known->module, module, n_module) &&
            strlen(known->name) == n_name && !memcmp(known->name, name, n_name)) {
            return push_new(m, (qd_pickle_value){.kind = QD_PICKLE_NAME, .name = (uint32_t)i});
        }
    }
    return qd_fail(m->ctx, QDISP_EFORMAT, "%s: pickle: byte %zu: wants %.*s.%.*s, which is not a part of a tensor; "
                   "it is never run: save a state_dict, or as safetensors", m->label, m->start,
                   n_module < 100 ? (int)n_module : 100, module, n_name < 100 ? (int)n_name : 100, name);
}

static qdisp_status global(machine *m) {
    const char *module = NULL, *name = NULL;
    size_t n_module = 0, n_name = 0;
    QD_TRY(take_line(m, &module, &n_module));
    QD_TRY(take_line(m, &name, &n_name));
    return push_name(m, module, n_module, name, n_name);
}

static qdisp_status stack_global(machine *m) {
    uint32_t i_name = NONE_VALUE, i_module = NONE_VALUE;
    QD_TRY(pop(m, &i_name));
    QD_TRY(pop(m, &i_module));
    const qd_pickle_value *name = &m->p->values[i_name], *module = &m->p->values[i_module];
    if (name->kind != QD_PICKLE_TEXT || module->kind != QD_PICKLE_TEXT) return broken(m, "a name is no text");
    return push_name(m, module->as.text.at, module->as.text.n, name->as.text.at, name->as.text.n);
}

static qdisp_status reduce(machine *m) {
    uint32_t i_arguments = NONE_VALUE, i_function = NONE_VALUE;
    QD_TRY(pop(m, &i_arguments));
    QD_TRY(pop(m, &i_function));
    const qd_pickle_value *function = &m->p->values[i_function], *arguments = &m->p->values[i_arguments];
    if (function->kind != QD_PICKLE_NAME || arguments->kind != QD_PICKLE_TUPLE) {
        return broken(m, "a call of no function");
    }
    uint32_t name = function->name;
    if (m->names[name].makes_dict) {
        if (arguments->as.items.n) return broken(m, "a dict made with arguments");
        return push_kind(m, QD_PICKLE_DICT);
    }
    return push_new(m, (qd_pickle_value){.kind = QD_PICKLE_CALL, .name = name, .as.inner = i_arguments});
}

static qdisp_status persistent(machine *m) {
    uint32_t id = NONE_VALUE;
    QD_TRY(pop(m, &id));
    return push_new(m, (qd_pickle_value){.kind = QD_PICKLE_PERSISTENT, .as.inner = id});
}

/* The state of an object (a dict's _metadata): nothing that tensors need. */
static qdisp_status build(machine *m) {
    uint32_t state = NONE_VALUE;
    QD_TRY(pop(m, &state));
    if (m->n_stack == 0) return broken(m, "it takes more values than there are");
    return QDISP_OK;
}

/* --- operations --- */

static qdisp_status long_integer(machine *m, uint64_t n) {
    const uint8_t *at = NULL;
    QD_TRY(take(m, n, &at));
    if (n > 8) return push(m, NONE_VALUE); /* too large to be a size: a seed, say */
    uint64_t bits = n && at[n - 1] & 0x80 ? UINT64_MAX : 0;
    for (size_t i = (size_t)n; i-- > 0;) bits = bits << 8 | at[i];
    return push_integer(m, (int64_t)bits);
}

static qdisp_status float_number(machine *m) {
    const uint8_t *at = NULL;
    QD_TRY(take(m, 8, &at));
    uint64_t bits = 0;
    for (size_t i = 0; i < 8; i++) bits = bits << 8 | at[i]; /* the one big-endian number of a pickle */
    qd_pickle_value v = {.kind = QD_PICKLE_FLOAT};
    memcpy(&v.as.number, &bits, sizeof bits);
    return push_new(m, v);
}

/* Operations with an argument of n bytes: the number comes from the caller. */
static qdisp_status with_number(machine *m, uint8_t operation, size_t n_bytes) {
    uint64_t n = 0;
    QD_TRY(take_number(m, n_bytes, &n));
    switch (operation) {
    case 'K': case 'M': return push_integer(m, (int64_t)n);
    case 'J': return push_integer(m, (int32_t)(uint32_t)n);
    case 'q': case 'r': return memo_put(m, n);
    case 'h': case 'j': return memo_get(m, n);
    case 0x8a: case 0x8b: return long_integer(m, n);
    case 0x95: return n <= m->size - m->at ? QDISP_OK : broken(m, "a frame passes the end");
    case 0x80: return n >= 2 && n <= 5 ? QDISP_OK : broken(m, "not protocol 2 to 5");
    default: return push_text(m, n);
    }
}

static qdisp_status step(machine *m, uint8_t operation) {
    size_t first = 0;
    switch (operation) {
    case '.': m->done = true; return pop(m, &m->p->root);
    case '(': return push_kind(m, QD_PICKLE_MARK);
    case 'N': return push(m, NONE_VALUE);
    case 0x88: return push(m, TRUE_VALUE);
    case 0x89: return push(m, FALSE_VALUE);
    case 'G': return float_number(m);
    case ')': return push_kind(m, QD_PICKLE_TUPLE);
    case ']': return push_kind(m, QD_PICKLE_LIST);
    case '}': return push_kind(m, QD_PICKLE_DICT);
    case 't':
        QD_TRY(pop_mark(m, &first));
        return make_tuple(m, first, first - 1);
    case 0x85: case 0x86: case 0x87: {
        size_t n = (size_t)operation - 0x84;
        if (m->n_stack < n) return broken(m, "it takes more values than there are");
        return make_tuple(m, m->n_stack - n, m->n_stack - n);
    }
    case 'a': return add_one(m, QD_PICKLE_LIST);
    case 's': return add_one(m, QD_PICKLE_DICT);
    case 'e': return add_items(m, QD_PICKLE_LIST);
    case 'u': return add_items(m, QD_PICKLE_DICT);
    case 'c': return global(m);
    case 0x93: return stack_global(m);
    case 'R': return reduce(m);
    case 'Q': return persistent(m);
    case 'b': return build(m);
    case 0x94: return memo_put(m, m->n_memo);
    case 'K': case 'q': case 'h': case 'U': case 'C': case 0x8c: case 0x8a: case 0x80:
        return with_number(m, operation, 1);
    case 'M': return with_number(m, operation, 2);
    case 'J': case 'r': case 'j': case 'X': case 'T': case 'B': case 0x8b: return with_number(m, operation, 4);
    case 0x8d: case 0x8e: case 0x95: return with_number(m, operation, 8);
    default:
        return qd_fail(m->ctx, QDISP_EUNSUPPORTED, "%s: pickle: byte %zu: operation 0x%02x is not of a tensor",
                       m->label, m->start, operation);
    }
}

qdisp_status qd_pickle_read(qdisp_ctx *ctx, const char *label, const uint8_t *data, size_t size,
                            const qd_pickle_name *names, size_t n_names, qd_pickle *out) {
    machine m = {.ctx = ctx, .label = label, .data = data, .size = size, .names = names, .n_names = n_names, .p = out};
    if (size > MAX_PICKLE) return qd_fail(ctx, QDISP_EUNSUPPORTED, "%s: pickle: %zu bytes", label, size);
    qdisp_status status = QDISP_OK;
    for (int i = 0; i < N_CONSTANTS && status == QDISP_OK; i++) {
        bool is_none = i == NONE_VALUE;
        status = push_new(&m, (qd_pickle_value){.kind = is_none ? QD_PICKLE_NONE : QD_PICKLE_BOOL,
                                                .as.integer = i == TRUE_VALUE});
    }
    m.n_stack = 0;
    while (status == QDISP_OK && !m.done) {
        m.start = m.at;
        status = m.at < size ? step(&m, data[m.at++]) : broken(&m, "cut short");
    }
    qd_free(ctx, m.stack);
    qd_free(ctx, m.memo);
    return status;
}

void qd_pickle_free(qdisp_ctx *ctx, qd_pickle *pickle) {
    qd_free(ctx, pickle->values);
    qd_free(ctx, pickle->items);
}

const qd_pickle_value *qd_pickle_item_of(const qd_pickle *p, const qd_pickle_value *tuple, size_t i) {
    if (!tuple || tuple->kind != QD_PICKLE_TUPLE || i >= tuple->as.items.n) return NULL;
    return qd_pickle_at(p, p->items[tuple->as.items.first + i].value);
}

bool qd_pickle_text_is(const qd_pickle_value *value, const char *text) {
    size_t n = strlen(text);
    return value && value->kind == QD_PICKLE_TEXT && value->as.text.n == n && !memcmp(value->as.text.at, text, n);
}
