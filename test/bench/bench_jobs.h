/* bench_jobs.h - a whole call of the library as a row of the table, and what it works on. */
#ifndef BENCH_JOBS_H
#define BENCH_JOBS_H

#include "bench.h"
#include "base/base.h"
#include "quant/quant.h"

#include <qdisp/qdisp.h>

enum { COLUMNS = 4096, MATRIX_ROWS = 4096, MATRIX_COLUMNS = 11008, GROUP = 128, MAX_TOKENS = 4 * 512,
       MAX_LANGUAGES = 100, N_PAIRS = 14 };

struct job;

/* The state of a row: inputs that rows share are made when first needed, handles live for one row. */
typedef struct run {
    const bench_options *o;
    const struct job *job;
    bench_row row;
    qdisp_ctx *ctx;
    size_t n, n_rows;        /* elements of an array, rows of MATRIX_COLUMNS of a matrix */
    float *f32;              /* [n] */
    uint16_t *f16, *bf16;    /* [n] */
    qdisp_moments *moments;  /* [n / GROUP + COLUMNS] */
    uint8_t *bytes;          /* [n] of output */
    float *quantized;        /* [n_rows * MATRIX_COLUMNS] */
    float *steps, *scales;   /* [n_rows * MATRIX_COLUMNS / 8] */
    uint16_t *packed_scales; /* [n / 8] */
    double *energy;          /* [MAX_LANGUAGES * MATRIX_COLUMNS] */
    double x[N_PAIRS], y[N_PAIRS];
    int32_t ids[MAX_TOKENS], targets[MAX_TOKENS];
    size_t starts[MAX_TOKENS / 512 + 1];
    float nll[MAX_TOKENS];
    double products; /* multiply-adds of a pass */
    double *h;      /* [2, 2048, 2048] second moments and a copy */
    uint8_t *units; /* [2, 2048, 2048] no clips, no gains */
    qd_choice choice;
    qdisp_matrix matrix;
    qdisp_quantizer *quantizer;
    qdisp_model *model;
    qdisp_calib *calib;
    qdisp_tokenizer *tokenizer;
    qdisp_corpus *corpus;
    char folder[512];
} run;

typedef enum limit { NO_LIMIT, READ, FILE_READ, PRODUCTS } limit;

typedef struct job {
    const char *name, *unit;         /* what `prepare` counts into row.n, G, M or k of them; "s": seconds of a pass */
    qdisp_status (*prepare)(run *r); /* makes the inputs, sets row.n and row.bytes */
    qdisp_status (*pass)(run *r);
    int arg;
    limit limit;
} job;

/* The table (bench_cases.c). */
extern const job bench_job_table[];
extern const size_t bench_n_jobs;
/* A census of the model at r->folder, which bench_census_memory runs too. */
qdisp_status bench_census(run *r);

#endif
