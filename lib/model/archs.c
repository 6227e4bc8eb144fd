/* archs.c - the architectures: one file and one row in archs.inc each. */
#include <string.h>

#include "model/arch.h"

#define ARCH(name) extern const qd_arch qd_arch_##name;
#include "model/archs.inc"
#undef ARCH

static const qd_arch *const archs[] = {
#define ARCH(name) &qd_arch_##name,
#include "model/archs.inc"
#undef ARCH
};

static const char names[] =
#define ARCH(name) " " #name
#include "model/archs.inc"
#undef ARCH
    ;

qdisp_status qd_arch_find(qdisp_ctx *ctx, const char *path, const json_t *json, const qd_arch **out) {
    const json_t *classes = json_object_get(json, "architectures");
    const char *class_name = json_string_value(json_array_get(classes, 0));
    const char *type = json_string_value(json_object_get(json, "model_type"));
    if (!class_name && !type) {
        return qd_fail(ctx, QDISP_EFORMAT, "%s: neither architectures nor model_type is given", path);
    }
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        bool found = !class_name && !strcmp(type, archs[i]->name);
        for (const char *const *c = archs[i]->class_names; class_name && *c; c++) found |= !strcmp(class_name, *c);
        if (found) {
            *out = archs[i];
            return QDISP_OK;
        }
    }
    return qd_fail(ctx, QDISP_EUNSUPPORTED, "%s: architecture '%.100s' is not supported (there is%s)", path,
                   class_name ? class_name : type, names);
}
