/* bench_model.h - synthetic models with the names and shapes of published ones. */
#ifndef BENCH_MODEL_H
#define BENCH_MODEL_H

#include "bench.h"
#include "base/base.h"

#include <qdisp/model.h>

#include <errno.h>

enum { BENCH_MAX_TENSORS = 320 };

typedef enum bench_shape { BENCH_BLOOM, BENCH_SMOLLM2 } bench_shape;

typedef struct bench_model {
    qdisp_dtype dtype;
    char config[640], names[BENCH_MAX_TENSORS][96];
    qdisp_tensor tensors[BENCH_MAX_TENSORS];
    size_t n, n_weights;
} bench_model;

/* Tensors over data[n_data], which they share and which outlives them; n_data: 2^28, 2^24, 2^18 by scale. */
void bench_model_make(bench_model *m, bench_shape shape, bench_scale scale, qdisp_dtype dtype, const void *data,
                      size_t n_data);
/* As a Hugging Face folder, unless it is there; then its removal. */
qdisp_status bench_model_write(qdisp_ctx *ctx, const bench_model *m, const char *folder);
void bench_model_remove(const char *folder);

#endif
