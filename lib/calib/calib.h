/* calib.h - activation statistics inside: energies by language, fold and linear map. */
#ifndef QD_CALIB_H
#define QD_CALIB_H

#include "model/model.h"

#include <qdisp/calib.h>

#define QD_N_FOLDS 2 /* 0 fit, 1 guard */
#define QD_GUARD_EVERY 4

typedef struct qd_calib_fold {
    double *squares;   /* [total]: sum of x_j^2, maps one after another */
    uint64_t *n_rows;  /* [n_linears] */
    double *abs_sums;  /* [n_layer + 1]: sum of |h| */
    uint64_t n_tokens; /* rows of the residual stream; with host-fed rows 0 */
    uint64_t n_bytes;
} qd_calib_fold;

typedef struct qd_calib_language {
    char *tag;
    qd_calib_fold folds[QD_N_FOLDS];
} qd_calib_language;

struct qdisp_calib {
    qdisp_ctx *ctx;
    size_t n_linears, n_layer, n_embd, total;
    char **names;    /* [n_linears] weight tensors; a tied head goes by the name of the embedding */
    size_t *n_in;    /* [n_linears] */
    size_t *offsets; /* [n_linears] into squares */
    qd_calib_language *languages;
    size_t n_languages, cap;
};

/* EMISMATCH unless the linear maps are those of the model. */
qdisp_status qd_calib_check(const qdisp_calib *calib, const qdisp_model *model);
/* E[x_j^2] of a language and map, out[n_in]: fold 0, 1, or QD_N_FOLDS for both. False if there are no rows. */
bool qd_calib_energy(const qdisp_calib *calib, size_t i_language, size_t fold, size_t i_linear, double *out);
/* Scored tokens a byte of text, NaN if no bytes were counted. */
double qd_calib_tokens_per_byte(const qdisp_calib *calib, size_t i_language);
/* Index of a tag, (size_t)-1 if absent; get adds it. */
size_t qd_calib_find(const qdisp_calib *calib, const char *tag);
qdisp_status qd_calib_get(qdisp_calib *calib, const char *tag, size_t *i_language);
/* An empty calibration over given maps. */
qdisp_status qd_calib_make(qdisp_ctx *ctx, size_t n_linears, size_t n_layer, size_t n_embd, qdisp_calib **out);
/* Names and sizes of all maps are set: lay out the offsets. EFORMAT on overflow. */
qdisp_status qd_calib_layout(qdisp_calib *calib);

#endif
