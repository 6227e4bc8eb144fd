/* block_codes.c - choices whose type is one of GGUF's blocks: which type a matrix can take, and its blocks. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "quant/quant.h"

/* Types that a plan may name, lower case, and what llama-quantize takes instead where rows are no whole blocks of
 * 256. */
static const struct {
    const char *name, *instead;
    int bits; /* of a code */
} types[] = {{"q4_0", NULL, 4},   {"q4_1", NULL, 4},   {"q5_0", NULL, 5},   {"q5_1", NULL, 5},
             {"q8_0", NULL, 8},   {"q2_k", "q4_0", 2}, {"q3_k", "q4_0", 3}, {"q4_k", "q5_0", 4},
             {"q5_k", "q5_1", 5}, {"q6_k", "q8_0", 6}, {"iq4_nl", NULL, 4}, {"iq4_xs", "iq4_nl", 4}};
#define N_TYPES (sizeof types / sizeof *types)

static size_t find(const char *name) {
    size_t i = 0;
    while (i < N_TYPES && strcmp(types[i].name, name)) i++;
    return i;
}

const char *qd_block_type_static(const char *name) {
    size_t i = find(name);
    return i < N_TYPES ? types[i].name : NULL;
}

void qd_block_type_list(char *text, size_t n) {
    size_t at = 0;
    for (size_t i = 0; i < N_TYPES; i++) at += (size_t)snprintf(text + at, at < n ? n - at : 0, " %s", types[i].name);
}

const qd_block_type *qd_choice_block(const qd_choice *c) {
    return find(c->type) < N_TYPES ? qd_block_type_named(c->type) : NULL;
}

qdisp_status qd_choice_set_block(qdisp_ctx *ctx, qd_choice *c, const char *type) {
    size_t i = find(type);
    const qd_block_type *block = qd_block_type_named(type);
    if (strcmp(c->method->name, "rtn") && strcmp(c->method->name, "imatrix"))
        return qd_fail(ctx, QDISP_EINVAL, "%s: %s makes no blocks of %s: use rtn or imatrix", c->name, c->method->name,
                       type);
    if (c->n_in % block->n_values && types[i].instead) {
        snprintf(c->note, sizeof c->note, "%s needs rows of whole blocks of %d: %s", type, block->n_values,
                 types[i].instead);
        i = find(types[i].instead);
        block = qd_block_type_named(types[i].name);
    }
    if (c->n_in % block->n_values)
        return qd_fail(ctx, QDISP_EUNSUPPORTED, "%s: rows of %zu are no whole blocks of %d, which %s needs", c->name,
                       c->n_in, block->n_values, types[i].name);
    c->type = types[i].name;
    c->bits = types[i].bits;
    c->group_size = block->n_values;
    return QDISP_OK;
}

/* ---- blocks ---- */

typedef struct block_job {
    qdisp_ctx *ctx;
    const qd_choice *c;
    const qd_block_type *type;
    const float *w, *importance;
    qd_codes *out;
} block_job;

#define MOST 32768.0f /* above, a scale or minimum could pass the range of f16 */

static qdisp_status encode_row(void *arg, size_t i, unsigned i_worker) {
    const block_job *j = arg;
    const float *w = j->w + i * j->c->n_in;
    (void)i_worker;
    if (!(j->ctx->kernels->abs_max(w, j->c->n_in) <= MOST))
        return qd_fail(j->ctx, QDISP_ENUMERIC, "%s: row %zu has a weight that is not finite or beyond %g", j->c->name,
                       i, (double)MOST);
    j->type->encode(j->ctx->kernels, w, j->importance, j->c->n_in, j->out->blocks + i * j->out->row_bytes);
    return QDISP_OK;
}

/* As f32, in units of their mean; without any, all alike, as for maps that an importance matrix lacks. */
static float *importance_of(qdisp_ctx *ctx, const qd_choice *c, const double *e) {
    float *out = qd_alloc(ctx, c->n_in, sizeof *out);
    double mean = 0;
    for (size_t j = 0; out && j < c->n_in; j++) mean += e[j] / (double)c->n_in;
    for (size_t j = 0; out && j < c->n_in; j++) out[j] = mean > 0 ? (float)(e[j] / mean) : 1;
    return out;
}

qdisp_status qd_quantize_blocks(qdisp_ctx *ctx, const qd_choice *c, const float *w, const qd_inputs *x, qd_codes *out) {
    const qd_block_type *type = qd_choice_block(c);
    float *importance = x && x->e && c->method->needs_e ? importance_of(ctx, c, x->e) : NULL;
    if (x && x->e && c->method->needs_e && !importance) return QDISP_ENOMEM;
    *out = (qd_codes){.n_out = c->n_out, .n_in = c->n_in, .bits = c->bits, .group_size = c->n_in, .n_groups = 1,
                      .type = c->type, .block = type, .row_bytes = c->n_in / type->n_values * type->n_bytes};
    out->blocks = qd_alloc(ctx, c->n_out, out->row_bytes);
    block_job job = {ctx, c, type, w, importance, out};
    qdisp_status status = out->blocks ? qd_parallel(ctx, c->n_out, encode_row, &job) : QDISP_ENOMEM;
    qd_free(ctx, importance);
    return status;
}

qdisp_status qd_measure_blocks(qdisp_ctx *ctx, qd_choice *c) {
    qd_codes codes = {0};
    double error = 0, energy = 0;
    float *row = qd_alloc(ctx, 2 * c->n_in, sizeof *row);
    qdisp_status status = row ? qd_choice_quantize(ctx, c, NULL, &codes) : QDISP_ENOMEM;
    for (size_t r = 0; status == QDISP_OK && r < c->n_out; r++) {
        const float *w = qd_load_f32(ctx->kernels, c->data, c->dtype, r * c->n_in, c->n_in, row);
        qd_codes_decode(ctx, &codes, r, 1, row + c->n_in);
        for (size_t j = 0; j < c->n_in; j++) {
            double d = (double)w[j] - (double)row[c->n_in + j];
            error += d * d;
            energy += (double)w[j] * (double)w[j];
        }
    }
    if (status == QDISP_OK) c->error_rel = energy > 0 ? error / energy : NAN;
    qd_codes_clear(ctx, &codes);
    qd_free(ctx, row);
    return status;
}
