/* kernels.h - the table of inner loops. c_*.c are the specification: all instruction sets return its bits. */
#ifndef QD_KERNELS_H
#define QD_KERNELS_H

#include <qdisp/base.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>

/* Sums over one block; see lanes.h for lanes, order and flush interval. */
typedef struct qd_power_sums {
    double s1, s2, s3, s4; /* sums of (x - pivot)^p over finite x */
    double min, max;       /* +inf, -inf when no element is finite; a zero is +0 */
    uint64_t n_finite;
} qd_power_sums;

/* Sums by column, added to what is there. */
typedef struct qd_column_sums {
    double *sums;           /* [4][n_columns] sums of (x - pivot)^p over finite x */
    float *min, *max;       /* [n_columns], of finite x; start from +inf, -inf */
    uint64_t *n_non_finite; /* [n_columns] */
} qd_column_sums;

/* Grid of a symmetric integer quantizer: code q = clamp(round_half_even(w * inverse), low, high); value q * scale.
 * -2^22 <= low <= 0 <= high <= 2^22; scale and inverse finite. */
typedef struct qd_grid {
    float scale, inverse;
    int32_t low, high;
} qd_grid;

/* The grids that search_affine tries. */
typedef struct qd_affine_search {
    int n_max, n_steps;
    float first, step;
    bool absolute; /* weighs |difference|, else its square */
} qd_affine_search;

/* half_quadratic: see kernels.inc. */
typedef struct qd_half_quadratic {
    float inverse, high;              /* of the step; 2^bits - 1 */
    float weight, decay, power, limit;
    unsigned n_iterations;
} qd_half_quadratic;

/* softmax_kl of one row; natural logarithms. */
typedef struct qd_kl {
    double kl, lse_x, lse_y; /* KL(softmax(x) || softmax(y)) >= 0, log(sum exp(x)), log(sum exp(y)) */
    size_t top_x, top_y;     /* first of the largest elements; n where the lse is NaN */
} qd_kl;

/* log(sum exp(x)) of a row that comes in parts: lse_part adds them to a state that starts as QD_LSE. */
enum { QD_LSE_BLOCK = 2048 }; /* elements that share a maximum: where parts may be cut without a change of bits */
typedef struct qd_lse {
    double sum;   /* NaN after a NaN or +inf: the others but n then mean nothing */
    float max;    /* the sum is of exp(x - max) */
    float top;    /* the largest element, */
    size_t i_top; /* the first that is as large, counted from the start of the row */
    size_t n;     /* elements so far */
} qd_lse;
#define QD_LSE {.max = -FLT_MAX, .top = -INFINITY}
/* log(sum exp(x)) - x_target: the nll of a target whose element is x_target, the log-sum-exp itself for 0. NaN as in
 * the kernel nll, whose bits these are if every part but the last was a multiple of QD_LSE_BLOCK. */
double qd_lse_nll(const qd_lse *row, float x_target);

/* panel_product: rows of a matrix in a panel, and inputs that are summed together. */
enum { QD_PANEL = 32, QD_PANEL_DEPTH = 1024 };

/* Activations: x Phi(x) by BLOOM's and GPT-2's tanh ("gelu_new", "gelu_pytorch_tanh") or exactly ("gelu"),
 * max(0, x), x / (1 + exp(-x)) ("silu", "swish"). */
typedef enum qd_act { QD_ACT_GELU_TANH, QD_ACT_GELU_ERF, QD_ACT_RELU, QD_ACT_SILU } qd_act;

/* kernels.inc lists them: K(name, return type, (arguments)). */
typedef struct qd_kernels {
#define K(name, ret, args) ret(*name) args;
#include "kernels.inc"
#undef K
} qd_kernels;

/* The table for an instruction set name, or the best this CPU has (NULL); NULL result: unknown or not on this CPU
 * (*known tells which). *chosen is its name, untouched on failure. The tables are constant. Both may be NULL. */
const qd_kernels *qd_kernels_get(const char *isa, const char **chosen, int *known);
/* Instruction sets compiled in and allowed by this CPU, weakest first; for tests and benchmarks. */
size_t qd_kernels_list(const char *names[8]);

/* Values that have to be decoded: what data of dtype PACKED point at, the first member of a larger struct of the
 * decoder's own. A matrix of n_rows rows of n_columns (all dimensions but the last make the rows), row-major. */
typedef struct qd_packed qd_packed;
struct qd_packed {
    /* Elements [first, first + n) in row-major order to out. Any first and n; fast for whole rows, several at a time.
     * Any thread, no allocation, cannot fail: everything was checked when the packed tensor was made. */
    void (*read)(const qd_packed *packed, const qd_kernels *kernels, size_t first, size_t n, float *out);
    const char *format;   /* "Q4_K", "gptq-4bit", "transposed" ...: for people; static or owned by the file */
    qdisp_dtype value;    /* F32, F16 or BF16: the narrowest that holds every value exactly */
    size_t n_rows, n_columns;
};

/* Elements [first, first + n) of an array of F32, F16 or BF16, at any alignment, or PACKED, as floats: a pointer into
 * data when it is F32 and 4-aligned, else widened into buffer[n]. NULL: another dtype. Callers stream blocks through
 * it. */
const float *qd_load_f32(const qd_kernels *kernels, const void *data, qdisp_dtype dtype, size_t first, size_t n,
                         float *buffer);

#endif
