/* matrix.c - one matrix of a host engine: its weights and what each language sends into it, by pointers. */
#include "quant/rows.h"

#include <math.h>
#include <string.h>

size_t qdisp_quantizer_n_units(const qdisp_quantizer *q, size_t n_out, size_t n_in) {
    size_t units_per_row;
    return qd_unit_count(n_out, n_in, q->opt.group_size, &units_per_row);
}

static bool uses_energy(const qdisp_quantizer *q, const qdisp_matrix *m) {
    return q->method->needs_calib != QD_UNUSED && m->energy && m->n_languages > 0;
}

static qdisp_status check_matrix(const qdisp_quantizer *q, const qdisp_matrix *m) {
    uint64_t n;
    if (m->dtype != QDISP_DTYPE_F32 && m->dtype != QDISP_DTYPE_F16 && m->dtype != QDISP_DTYPE_BF16)
        return qd_fail(q->ctx, QDISP_EUNSUPPORTED, "matrix: dtype %s (%llu) is none of f32, f16, bf16",
                       qd_dtype_name((qdisp_dtype)m->dtype), (unsigned long long)m->dtype);
    if (!m->data || m->n_out == 0 || m->n_in == 0 || qd_mul_overflows(m->n_out, m->n_in, &n) || n > SIZE_MAX / 16)
        return qd_fail(q->ctx, QDISP_EINVAL, "matrix: no data, or a size of [%llu, %llu]",
                       (unsigned long long)m->n_out, (unsigned long long)m->n_in);
    if (q->levels == QD_ASYM || q->method->quantize)
        return qd_fail(q->ctx, QDISP_EUNSUPPORTED, "matrix: %s is not told by steps and scales",
                       q->levels == QD_ASYM ? "levels asym" : q->method->name);
    if (m->n_languages > SIZE_MAX / 64 / m->n_in || (q->method->needs_calib == QD_NEEDED && !uses_energy(q, m)))
        return qd_fail(q->ctx, QDISP_EINVAL, "matrix: %s needs the energy of at least one language", q->method->name);
    for (size_t k = 0; uses_energy(q, m) && k < m->n_languages * m->n_in; k++)
        if (!(m->energy[k] >= 0) || isinf(m->energy[k]))
            return qd_fail(q->ctx, QDISP_ENUMERIC, "matrix: energy of language %zu, input %zu is %g",
                           (size_t)(k / m->n_in), (size_t)(k % m->n_in), m->energy[k]);
    for (size_t l = 0; m->tokens_per_byte && l < m->n_languages; l++)
        if (!(m->tokens_per_byte[l] > 0) || isinf(m->tokens_per_byte[l]))
            return qd_fail(q->ctx, QDISP_ENUMERIC, "matrix: tokens per byte of language %zu: %g", l,
                           m->tokens_per_byte[l]);
    return QDISP_OK;
}

typedef struct units {
    float *steps, *scales;
} units;

static qdisp_status write_unit(qdisp_ctx *ctx, const qd_choice *c, qd_range range, size_t u, const units *out) {
    qd_grid step, grid;
    if (!qd_grid_make(range, 1, c->bits, c->levels, &step) ||
        !qd_grid_make(range, qd_gain_ratio(c->gains[u]), c->bits, c->levels, &grid))
        return qd_fail(ctx, QDISP_ENUMERIC, "matrix: a scale of %g does not fit a 16-bit float", (double)range.high);
    out->steps[u] = step.scale;
    out->scales[u] = grid.scale;
    return QDISP_OK;
}

/* The units of a group of rows. */
static qdisp_status group_write(const qd_rows *rows, void *user, const size_t *i_rows, size_t h, const float *w,
                                float *q, double *sums) {
    const qd_choice *c = rows->c;
    (void)q, (void)sums;
    for (size_t r = 0; r < h; r++)
        for (size_t u = i_rows[r] * c->units_per_row; u < (i_rows[r] + 1) * c->units_per_row; u++) {
            size_t row, first, n;
            qd_range range;
            qd_unit_span(c, u, &row, &first, &n);
            QD_TRY(qd_unit_range(rows->ctx, c, w + r * c->n_in + first, n, &range));
            QD_TRY(write_unit(rows->ctx, c, qd_range_scale(range, qd_clip_ratio(c->clips[u])), u, user));
        }
    return QDISP_OK;
}

qdisp_status qdisp_quantizer_matrix(const qdisp_quantizer *q, const qdisp_matrix *matrix, float *steps, float *scales) {
    qdisp_ctx *ctx = q->ctx;
    qdisp_matrix m;
    QD_TRY(qd_copy_options(ctx, "matrix", matrix, &m, sizeof m));
    QD_TRY(check_matrix(q, &m));
    size_t n_languages = uses_energy(q, &m) ? (size_t)m.n_languages : 0;
    qd_choice c = {.name = "matrix", .method = q->method, .type = "int", .data = m.data,
                   .dtype = (qdisp_dtype)m.dtype, .n_out = (size_t)m.n_out,
                   .n_in = (size_t)m.n_in, .bits = (int)q->opt.bits, .levels = q->levels,
                   .group_size = q->opt.group_size, .input = {.run = (size_t)m.n_in, .n_tied = 1}, .alpha = NAN,
                   .error_rel_model = NAN};
    c.n_units = qd_unit_count(c.n_out, c.n_in, c.group_size, &c.units_per_row);
    c.clips = qd_alloc(ctx, c.n_units, 1);
    c.gains = qd_alloc(ctx, c.n_units, 1);
    double *tokens_per_byte = qd_alloc(ctx, n_languages + 1, sizeof *tokens_per_byte);
    qd_energy *energies = qd_alloc(ctx, QD_N_FOLDS * n_languages + 1, sizeof *energies);
    float *out = qd_alloc(ctx, 2 * c.n_units, sizeof *out);
    qdisp_status status = c.clips && c.gains && tokens_per_byte && energies && out ? QDISP_OK : QDISP_ENOMEM;
    for (size_t l = 0; l < n_languages && status == QDISP_OK; l++) {
        tokens_per_byte[l] = m.tokens_per_byte ? m.tokens_per_byte[l] : 1;
        energies[l] = energies[n_languages + l] = (qd_energy){m.energy + l * c.n_in, 1};
    }
    qd_languages languages = {n_languages, 1, NULL, tokens_per_byte, energies};
    if (status == QDISP_OK) status = q->method->choose(q, n_languages ? &languages : NULL, &c, 1);
    units written = {out, out + c.n_units};
    qd_rows all = {ctx, &c, c.n_out};
    if (status == QDISP_OK)
        status = c.units_per_row ? qd_rows_run(&all, group_write, &written, NULL, 0)
                                 : write_unit(ctx, &c, qd_choice_range(&c), 0, &written);
    if (status == QDISP_OK) {
        memcpy(steps, out, c.n_units * sizeof *steps);
        memcpy(scales, out + c.n_units, c.n_units * sizeof *scales);
    }
    qd_free(ctx, c.clips);
    qd_free(ctx, c.gains);
    qd_free(ctx, tokens_per_byte);
    qd_free(ctx, energies);
    qd_free(ctx, out);
    return status;
}
