/* archs.c - the architectures: one file and one row (a word in lib/meson.build) each. */
#include <string.h>

#include "model/arch.h"

#define ARCH(name) extern const qd_arch qd_arch_##name;
#include "archs.inc"
#undef ARCH

static const qd_arch *const archs[] = {
#define ARCH(name) &qd_arch_##name,
#include "archs.inc"
#undef ARCH
};
#define N_ARCHS (sizeof archs / sizeof *archs)

static const char names[] =
#define ARCH(name) " " #name
#include "archs.inc"
#undef ARCH
    ;

static bool has(const char *const *list, const char *word) {
    while (list && *list && strcmp(*list, word)) list++;
    return list && *list;
}

const qd_arch *qd_arch_named(const char *name) {
    for (size_t i = 0; i < N_ARCHS; i++) {
        if (!strcmp(archs[i]->name, name)) return archs[i];
    }
    return NULL;
}

qdisp_status qd_arch_find(qdisp_ctx *ctx, const char *path, const json_t *json, const qd_arch **out) {
    const json_t *classes = json_object_get(json, "architectures");
    const char *class_name = json_string_value(json_array_get(classes, 0));
    const char *type = json_string_value(json_object_get(json, "model_type"));
    if (!class_name && !type) {
        return qd_fail(ctx, QDISP_EFORMAT, "%s: neither architectures nor model_type is given", path);
    }
    for (size_t i = 0; i < N_ARCHS; i++) {
        const qd_arch *a = archs[i];
        bool by_type = !class_name && (!strcmp(type, a->name) || has(a->model_types, type));
        if (by_type || (class_name && has(a->class_names, class_name))) {
            *out = a;
            return QDISP_OK;
        }
    }
    return qd_fail(ctx, QDISP_EUNSUPPORTED, "%s: architecture '%.100s' is not supported (there is%s)", path,
                   class_name ? class_name : type, names);
}

/* "A, B, C" into text. */
static void join(const char *const *list, char *text, size_t size) {
    size_t n = 0;
    text[0] = 0;
    for (; *list && n + strlen(*list) + 3 < size; list++) {
        if (n) n = (size_t)(stpcpy(text + n, ", ") - text);
        n = (size_t)(stpcpy(text + n, *list) - text);
    }
}

qdisp_status qdisp_architectures(qdisp_ctx *ctx, qdisp_table **out) {
    static const char *const kinds[] = {"", "decoder", "masked", "encoder-decoder"};
    qdisp_table *table = NULL;
    if (!ctx) return QDISP_EINVAL;
    QD_TRY(qdisp_table_new(ctx, "architectures", "Architectures", &table));
    qdisp_status status = QDISP_OK;
    size_t name = qd_table_column(table, &status, "name", "", QDISP_COLUMN_STR);
    size_t kind = qd_table_column(table, &status, "kind", "", QDISP_COLUMN_STR);
    size_t classes = qd_table_column(table, &status, "classes", "", QDISP_COLUMN_STR);
    for (size_t i = 0; i < N_ARCHS && status == QDISP_OK; i++) {
        char text[256];
        join(archs[i]->class_names, text, sizeof text);
        size_t row = qd_table_row(table, &status);
        qd_table_str(table, &status, row, name, archs[i]->name);
        qd_table_str(table, &status, row, kind, kinds[archs[i]->kind]);
        qd_table_str(table, &status, row, classes, text);
    }
    if (status == QDISP_OK) *out = table;
    else qdisp_table_free(table);
    return status;
}
