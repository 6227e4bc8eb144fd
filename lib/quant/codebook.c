/* codebook.c - the nearest of 16 levels, by counting the middles between them that a weight is above: compared in
 * vectors by any compiler, exact, and so the same everywhere. */
#include "quant/codebook.h"
#include "quant/rows.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 64 };

/* A block at a time: its counters stay in registers or the first cache. */
void qd_codebook_count(const float *x, size_t n, const float *bounds, size_t n_bounds, uint8_t *above) {
    for (size_t first = 0; first < n; first += BLOCK) {
        int32_t counts[BLOCK] = {0};
        float part[BLOCK] = {0};
        size_t m = n - first < BLOCK ? n - first : BLOCK;
        memcpy(part, x + first, m * sizeof *part);
        for (size_t k = 0; k < n_bounds; k++)
            for (size_t j = 0; j < BLOCK; j++) counts[j] += part[j] > bounds[k];
        for (size_t j = 0; j < m; j++) above[first + j] = (uint8_t)counts[j];
    }
}

typedef struct codebook_job {
    const qd_choice *c;
    const qd_codebook *book;
    float bounds[15];
    float absmax; /* of a tensor */
} codebook_job;

static void code_group(const codebook_job *j, const float *w, size_t n, float absmax, uint8_t *codes) {
    enum { CHUNK = 512 };
    float scaled[CHUNK], inverse = 1 / fmaxf(absmax, 1e-38f);
    for (size_t first = 0; first < n; first += CHUNK) {
        size_t m = n - first < CHUNK ? n - first : CHUNK;
        for (size_t i = 0; i < m; i++) {
            float t = w[first + i] * inverse;
            t = t < -1.0f ? -1.0f : t;
            scaled[i] = t > 1.0f ? 1.0f : t;
        }
        qd_codebook_count(scaled, m, j->bounds, 15, codes + first);
        for (size_t i = 0; j->book->order && i < m; i++) codes[first + i] = j->book->order[codes[first + i]];
    }
}

static qdisp_status quantize_row(qdisp_ctx *ctx, void *user, const float *w, size_t i_row, qd_codes *out) {
    const codebook_job *j = user;
    const qd_choice *c = j->c;
    for (size_t g = 0; g < out->n_groups; g++) {
        size_t first = g * out->group_size, n = c->n_in - first < out->group_size ? c->n_in - first : out->group_size;
        float absmax = c->units_per_row ? ctx->kernels->abs_max(w + first, n) : j->absmax;
        if (!isfinite(absmax)) return qd_fail(ctx, QDISP_ENUMERIC, "%s: a weight is not finite", c->name);
        code_group(j, w + first, n, absmax, out->codes + i_row * c->n_in + first);
        out->scales[i_row * out->n_groups + g] = absmax;
    }
    return QDISP_OK;
}

qdisp_status qd_codebook_quantize(qdisp_ctx *ctx, const qd_choice *c, const float *w, const qd_codebook *book,
                                  qd_codes *out) {
    codebook_job j = {.c = c, .book = book};
    if (c->units_per_row == 0) j.absmax = ctx->kernels->abs_max(w, c->n_out * c->n_in);
    for (size_t k = 0; k < 15; k++)
        j.bounds[k] = (book->levels[book->order ? book->order[k] : k] +
                       book->levels[book->order ? book->order[k + 1] : k + 1]) / 2;
    QD_TRY(qd_codes_make(ctx, c->n_out, c->n_in, 4, qd_choice_group(c), false, false, out));
    out->levels = book->levels;
    out->type = c->type;
    return qd_codes_rows(ctx, w, quantize_row, &j, out);
}

qdisp_status qd_codebook_check(qdisp_ctx *ctx, const qd_choice *c, int64_t group) {
    if (c->bits != 4) return qd_fail(ctx, QDISP_EINVAL, "%s: %s has 4 bits, not %d", c->name, c->method->name, c->bits);
    if (group == 0 || c->group_size == group) return QDISP_OK;
    return qd_fail(ctx, QDISP_EINVAL, "%s: %s has groups of %d", c->name, c->method->name, (int)group);
}

qdisp_status qd_codebook_choose(const qdisp_quantizer *q, const qd_languages *languages, qd_choice *choices, size_t n) {
    (void)languages;
    return qd_choose_each(q->ctx, choices, n, qd_rtn_choose);
}
