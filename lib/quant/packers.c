/* packers.c - the list of packers (packers.inc, written by meson from lib/meson.build). */
#include "quant/packers.h"

#include <string.h>

#define PACKER(name) extern const qd_packer qd_packer_##name;
#include "packers.inc"
#undef PACKER

static const qd_packer *const packers[] = {
#define PACKER(name) &qd_packer_##name,
#include "packers.inc"
#undef PACKER
};
#define N_PACKERS (sizeof packers / sizeof *packers)

qdisp_status qd_packer_find(qdisp_ctx *ctx, const char *name, const qd_packer **out) {
    char known[256] = "";
    for (size_t i = 0; i < N_PACKERS; i++) {
        if (name && !strcmp(packers[i]->name, name)) {
            *out = packers[i];
            return QDISP_OK;
        }
        if (i > 0) strncat(known, ", ", sizeof known - strlen(known) - 1);
        strncat(known, packers[i]->name, sizeof known - strlen(known) - 1);
    }
    return qd_fail(ctx, QDISP_EINVAL, "unknown format '%s': use one of %s", name ? name : "(null)", known);
}

qdisp_status qdisp_packers(qdisp_ctx *ctx, qdisp_table **out) {
    qdisp_table *t;
    QD_TRY(qdisp_table_new(ctx, "formats", "Formats of quantized models", &t));
    qdisp_status status = QDISP_OK;
    size_t format = qd_table_column(t, &status, "format", "", QDISP_COLUMN_STR);
    size_t summary = qd_table_column(t, &status, "summary", "", QDISP_COLUMN_STR);
    for (size_t i = 0; i < N_PACKERS; i++) {
        size_t row = qd_table_row(t, &status);
        qd_table_str(t, &status, row, format, packers[i]->name);
        qd_table_str(t, &status, row, summary, packers[i]->summary);
    }
    if (status == QDISP_OK) *out = t;
    else qdisp_table_free(t);
    return status;
}
