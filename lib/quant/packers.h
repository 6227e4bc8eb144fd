/* packers.h - the forms in which a quantized model is written. A packer is one file pack_NAME.c and one word in the
 * list of packers (lib/meson.build). */
#ifndef QD_PACKERS_H
#define QD_PACKERS_H

#include "quant/codes.h"
#include "quant/quant.h"

/* What is about to be written. All of it is borrowed and outlives the packer's state. */
typedef struct qd_packing {
    qdisp_ctx *ctx;
    const qdisp_model *model;
    const qdisp_table *plan;
    const qd_choice *choices; /* in the order in which their codes come: that of the forward pass, the head last */
    size_t n_choices;
    const qdisp_plan_options *options; /* never NULL: zeros for what was not given */
    const char *path;                  /* of the file or folder to be made */
    const struct qd_packer *packer;
} qd_packing;

/* The engine calls check, open, put once a choice, and at last commit or, after a failure, discard. One thread. */
typedef struct qd_packer {
    const char *name, *summary;
    /* Can all of it be written so? Before any work: EUNSUPPORTED naming the tensor and what the format can hold, EINVAL
     * for a path that is in use. NULL: always. */
    qdisp_status (*check)(const qd_packing *packing);
    /* Nothing is left behind on failure. */
    qdisp_status (*open)(const qd_packing *packing, void **state);
    /* The codes of choices[i_choice], cleared by the caller afterwards. */
    qdisp_status (*put)(void *state, size_t i_choice, const qd_codes *codes);
    /* Writes what is left, and makes the output appear, whole. Frees the state in every case. */
    qdisp_status (*commit)(void *state);
    void (*discard)(void *state); /* removes what was written; NULL is fine */
} qd_packer;

/* By its name; EINVAL lists those there are. */
qdisp_status qd_packer_find(qdisp_ctx *ctx, const char *name, const qd_packer **out);

#endif
