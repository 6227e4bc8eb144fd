/* layerwise.h - a model walked layer by layer with all of a text: the residual streams of every sequence are kept, a
 * layer is looked at as often as wanted, its weights are replaced, and only then the streams go through it. */
#ifndef QD_LAYERWISE_H
#define QD_LAYERWISE_H

#include "model/run.h"

typedef struct qd_layerwise {
    qd_forward f;       /* batches are waves: a few chunks whose rows a caller can hold at a time */
    qdisp_batch batch;
    qdisp_model *model; /* shares all but what was replaced */
    qd_run run;
    float *h, *memory;  /* [n_rows, n_embd] of all sequences, as the next layer reads them; memory: of the encoder */
} qd_layerwise;

/* Embeds the batch (its arrays are borrowed). most_rows: of a wave, more only if a sequence is longer. Errors: those of
 * qd_model_run. Memory: 4 n_embd bytes a token. */
qdisp_status qd_layerwise_open(const qdisp_model *model, const qdisp_batch *batch, size_t most_rows,
                               qd_layerwise **out);
void qd_layerwise_free(qd_layerwise *w);
/* The block of a layer runs on what it reads now and tells run->tap; the streams stay as they are. wave_done, after
 * each wave: from the calling thread, in order; the wave has the rows of chunks f.first_chunk .. + f.n_batch - 1. */
typedef qdisp_status (*qd_wave_done)(void *user);
qdisp_status qd_layerwise_look(qd_layerwise *w, size_t layer, const qd_run *run, qd_wave_done wave_done);
/* The same for the input of the head, after the last layer. */
qdisp_status qd_layerwise_look_head(qd_layerwise *w, const qd_run *run, qd_wave_done wave_done);
/* From now on tensor i_tensor is data, F32 of its shape, which the caller owns; NULL: the model's own again. */
void qd_layerwise_replace(qd_layerwise *w, size_t i_tensor, const float *data);
/* The streams go through the layer; layers come in ascending order, each once. */
qdisp_status qd_layerwise_advance(qd_layerwise *w, size_t layer);

#endif
