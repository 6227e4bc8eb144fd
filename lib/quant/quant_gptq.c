/* quant_gptq.c - rounding with feedback under second moments: Frantar, Ashkboos, Hoefler, Alistarh, "GPTQ", ICLR 2023.
 *
 * Each row minimises (w - q) H (w - q)^T over its codes, columns one after another, and what rounding a column costs
 * is made good by those not yet rounded. The paper updates all of them by the Cholesky factor of H^-1. Written with
 * the factor of H itself the same steps are simpler: H = L L^T in the reverse of the order of rounding turns the sum
 * into sum_m (sum_{m' >= m} e_m' L_m'm)^2 with e = w - q, so that, from the last m to the first, q_m has to be near
 *     w_m + sum_{m' > m} e_m' L_m'm / L_mm
 * (Babai's nearest plane; the equality with the paper's steps is exact, and no matrix is inverted). Rows are
 * independent: strips of them are the tasks of the parallel loop. Within a strip numbers lie column by column, so that
 * loops run over rows; sums over far columns are matrix products, by blocks of columns.
 *
 * Thresholds are the plan's: chosen beforehand, column by column the same for any order of rounding ("static groups"),
 * so that the order does not have to be stored. H mixes the languages by the plan's weights. As in the paper's code,
 * inputs that are always 0 get weights of 0, and damp times the mean of the diagonal is added to it. */
#include "quant/rows.h"

#include "model/gemm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    STRIP = 128, /* rows of a task */
    BLOCK = 128, /* columns between two products with all that are left */
    INNER = 32,  /* columns between two with the rest of the block */
    TILE = 16    /* rows and columns that are transposed at a time */
};
#define DAMP 0.01    /* of the paper */
#define DAMP_MOST 1.0

/* Order m = 0 .. n-1 of the factor; columns are rounded from the last m to the first. */
typedef struct feedback {
    qdisp_ctx *ctx;
    const qd_choice *c;
    const float *w;
    size_t n;
    uint32_t *columns; /* [n] the column of m */
    uint32_t *places;  /* [n] the m of a column */
    bool *dead;        /* [n] by column: an input that is always 0 */
    float *factor;     /* [n, n] L_m'm / L_mm below the diagonal */
    qd_codes *out;
    struct strip *strips; /* [workers] */
} feedback;

/* Scratch of a worker; everything [.., STRIP], a row of the matrix a column here. */
typedef struct strip {
    float *errors;  /* [n, STRIP] w in the order of m, then w - q */
    float *targets; /* [n, STRIP] what feedback adds to w */
    float *grids;   /* [5][n_groups, STRIP] inverse, scale, low, high, code of 0 */
    uint8_t *codes; /* [n, STRIP] */
} strip;

/* ---- the factor ---- */

typedef struct by_energy {
    double e;
    uint32_t column;
} by_energy;

/* Ascending, and of equals the first column last: the largest is rounded first. */
static int compare(const void *a, const void *b) {
    const by_energy *x = a, *y = b;
    if (x->e != y->e) return x->e < y->e ? -1 : 1;
    return (x->column < y->column) - (x->column > y->column);
}

static qdisp_status order_columns(feedback *f, const double *h) {
    bool by_diagonal = qd_choice_option(f->c, "act_order", 1) != 0;
    by_energy *list = qd_alloc(f->ctx, f->n, sizeof *list);
    if (!list) return QDISP_ENOMEM;
    for (size_t j = 0; j < f->n; j++) {
        f->dead[j] = !(h[j * f->n + j] > 0);
        list[j] = (by_energy){by_diagonal ? h[j * f->n + j] : 0, (uint32_t)j};
    }
    qsort(list, f->n, sizeof *list, compare);
    for (size_t m = 0; m < f->n; m++) f->places[f->columns[m] = list[m].column] = (uint32_t)m;
    qd_free(f->ctx, list);
    return QDISP_OK;
}

typedef struct filling {
    const feedback *f;
    const double *h;
    double damp; /* added to the diagonal */
    double *a;   /* NULL: in the factor's place, in f32 */
} filling;

static qdisp_status fill_task(void *arg, size_t m, unsigned i_worker) {
    const filling *k = arg;
    const feedback *f = k->f;
    const double *row = k->h + f->columns[m] * f->n;
    float *to = f->factor + m * f->n;
    (void)i_worker;
    double diagonal = (f->dead[f->columns[m]] ? 1 : row[f->columns[m]]) + k->damp;
    for (size_t i = 0; k->a && i < m; i++) k->a[m * f->n + i] = row[f->columns[i]];
    for (size_t i = 0; !k->a && i < m; i++) to[i] = (float)row[f->columns[i]];
    if (k->a) k->a[m * f->n + m] = diagonal;
    else to[m] = (float)diagonal;
    return QDISP_OK;
}

/* L_m'm / L_mm, so that sums over it are what is added to w_m. The diagonal stays. */
static qdisp_status scale_task(void *arg, size_t m, unsigned i_worker) {
    const filling *k = arg;
    const feedback *f = k->f;
    float *row = f->factor + m * f->n;
    (void)i_worker;
    for (size_t i = 0; k->a && i < m; i++) row[i] = (float)(k->a[m * f->n + i] / k->a[i * f->n + i]);
    for (size_t i = 0; !k->a && i < m; i++) row[i] /= f->factor[i * f->n + i];
    return QDISP_OK;
}

/* *bad: 0, or 1 + where it is singular. */
static qdisp_status factorise_once(const feedback *f, const filling *k, size_t *bad) {
    QD_TRY(qd_parallel(f->ctx, f->n, fill_task, (void *)(uintptr_t)k));
    *bad = k->a ? qd_cholesky_f64(f->n, k->a) : qd_cholesky_f32(f->n, f->factor);
    return *bad ? QDISP_OK : qd_parallel(f->ctx, f->n, scale_task, (void *)(uintptr_t)k);
}

/* In f32; where that breaks down in f64, and then with more damping. */
static qdisp_status factorise(feedback *f, const double *h) {
    double mean = 0, damp = qd_choice_option(f->c, "damp", DAMP);
    filling k = {.f = f, .h = h};
    size_t bad;
    for (size_t j = 0; j < f->n; j++) mean += (f->dead[j] ? 1 : h[j * f->n + j]) / (double)f->n;
    if (!isfinite(mean))
        return qd_fail(f->ctx, QDISP_ENUMERIC, "%s: second moments of the inputs are not finite", f->c->name);
    k.damp = damp * mean;
    QD_TRY(factorise_once(f, &k, &bad));
    if (!bad) return QDISP_OK;
    k.a = qd_alloc_aligned(f->ctx, f->n * f->n, sizeof *k.a);
    qdisp_status status = k.a ? QDISP_OK : QDISP_ENOMEM;
    while (status == QDISP_OK) {
        k.damp = damp * mean;
        status = factorise_once(f, &k, &bad);
        if (status != QDISP_OK || !bad) break;
        double more = damp > 0 ? 10 * damp : DAMP;
        if (more > DAMP_MOST)
            status = qd_fail(f->ctx, QDISP_ENUMERIC, "%s: second moments of the inputs are singular at input %zu, also "
                             "with damp = %g: use more text", f->c->name, (size_t)f->columns[bad - 1], damp);
        else qd_log(f->ctx, QDISP_LOG_WARNING, "gptq %s: second moments are singular with damp = %g, trying %g",
                    f->c->name, damp, more);
        damp = more;
    }
    qd_free_aligned(f->ctx, k.a);
    return status;
}

/* ---- a strip ---- */

static qdisp_status strip_make(const feedback *f, strip *s) {
    size_t n_groups = f->out->n_groups;
    s->errors = qd_alloc_aligned(f->ctx, f->n * STRIP, sizeof *s->errors);
    s->targets = qd_alloc_aligned(f->ctx, f->n * STRIP, sizeof *s->targets);
    s->grids = qd_alloc_aligned(f->ctx, 5 * n_groups * STRIP, sizeof *s->grids);
    s->codes = qd_alloc_aligned(f->ctx, f->n * STRIP, 1);
    return s->errors && s->targets && s->grids && s->codes ? QDISP_OK : QDISP_ENOMEM;
}

/* Grids of the rows' groups; scales, and the weights in the order of m. */
static qdisp_status strip_load(const feedback *f, strip *s, size_t first, size_t h) {
    size_t n_groups = f->out->n_groups, n = n_groups * STRIP;
    memset(s->targets, 0, f->n * STRIP * sizeof *s->targets);
    if (h < STRIP) memset(s->grids, 0, 5 * n * sizeof *s->grids);
    for (size_t r = 0; r < h; r++) {
        const float *w = f->w + (first + r) * f->n;
        for (size_t g = 0; g < n_groups; g++) {
            size_t from, length, at = g * STRIP + r;
            qd_grid grid;
            QD_TRY(qd_row_grid(f->ctx, f->c, (first + r) * n_groups + g, w, &from, &length, &grid));
            s->grids[at] = grid.scale > 0 ? 1 / grid.scale : 0;
            s->grids[n + at] = grid.scale;
            s->grids[2 * n + at] = (float)grid.low;
            s->grids[3 * n + at] = (float)grid.high;
            s->grids[4 * n + at] = (float)qd_grid_zero(&grid, f->c->bits, f->c->levels);
            f->out->scales[(first + r) * n_groups + g] = grid.scale;
            if (f->out->zeros) f->out->zeros[(first + r) * n_groups + g] = (uint8_t)s->grids[4 * n + at];
        }
    }
    if (h < STRIP) memset(s->errors, 0, f->n * STRIP * sizeof *s->errors);
    for (size_t r0 = 0; r0 < h; r0 += TILE) /* tiles, so that lines of both sides stay in the cache */
        for (size_t j0 = 0; j0 < f->n; j0 += TILE)
            for (size_t j = j0; j < j0 + TILE && j < f->n; j++)
                for (size_t r = r0; r < r0 + TILE && r < h; r++)
                    s->errors[f->places[j] * STRIP + r] = f->dead[j] ? 0 : f->w[(first + r) * f->n + j];
    return QDISP_OK;
}

/* Rounds column m of all rows: w becomes w - q. Adding and taking away 3 * 2^22 rounds half to even, as codes are far
 * smaller. */
static void round_column(const feedback *f, strip *s, size_t m) {
    const float magic = 12582912.0f;
    size_t n = f->out->n_groups * STRIP, g = f->columns[m] / f->out->group_size * STRIP;
    const float *inverse = s->grids + g, *scale = inverse + n, *low = scale + n, *high = low + n, *zero = high + n;
    float *e = s->errors + m * STRIP, *target = s->targets + m * STRIP;
    uint8_t *codes = s->codes + m * STRIP;
    for (size_t r = 0; r < STRIP; r++) {
        float x = (e[r] + target[r]) * inverse[r];
        x = x < low[r] ? low[r] : x;
        x = x > high[r] ? high[r] : x;
        float q = (x + magic) - magic;
        codes[r] = (uint8_t)(int)(q + zero[r]);
        e[r] -= q * scale[r];
    }
}

/* Kept weights are 0 here, and what they are instead is exact: their code is that of 0 and makes no error. */
static void keep_exact(const feedback *f, strip *s, size_t m, size_t first, size_t h) {
    const qd_choice *c = f->c;
    size_t zeros = (4 * f->out->n_groups + f->columns[m] / f->out->group_size) * STRIP;
    for (size_t k = 0; k < c->n_keep; k++) {
        size_t row = c->keep[k] / c->n_in;
        if (c->keep[k] % c->n_in != f->columns[m] || row < first || row >= first + h) continue;
        s->errors[m * STRIP + row - first] = 0;
        s->codes[m * STRIP + row - first] = (uint8_t)s->grids[zeros + row - first];
    }
}

/* targets[to .. to_end) += what the errors of columns [from, end) feed back to them. */
static void feed_back(const feedback *f, strip *s, size_t from, size_t end, size_t to, size_t to_end) {
    if (to_end <= to) return;
    qd_gemm(true, false, to_end - to, STRIP, end - from, 1.0f, f->factor + from * f->n + to, f->n,
            s->errors + from * STRIP, STRIP, 1.0f, s->targets + to * STRIP, STRIP);
}

static void round_inner(const feedback *f, strip *s, size_t first, size_t end, size_t i_row, size_t h) {
    for (size_t m = end; m-- > first;) {
        round_column(f, s, m);
        if (f->c->n_keep > 0) keep_exact(f, s, m, i_row, h);
        const float *e = s->errors + m * STRIP;
        for (size_t i = first; i < m; i++) {
            float share = f->factor[m * f->n + i], *target = s->targets + i * STRIP;
            for (size_t r = 0; r < STRIP; r++) target[r] += share * e[r];
        }
    }
}

static void strip_store(const feedback *f, const strip *s, size_t first, size_t h) {
    for (size_t r0 = 0; r0 < h; r0 += TILE)
        for (size_t j0 = 0; j0 < f->n; j0 += 4 * TILE)
            for (size_t j = j0; j < j0 + 4 * TILE && j < f->n; j++)
                for (size_t r = r0; r < r0 + TILE && r < h; r++)
                    f->out->codes[(first + r) * f->n + j] = s->codes[f->places[j] * STRIP + r];
}

static qdisp_status strip_task(void *arg, size_t i, unsigned i_worker) {
    const feedback *f = arg;
    strip *s = &f->strips[i_worker];
    size_t first = i * STRIP, h = f->c->n_out - first < STRIP ? f->c->n_out - first : STRIP;
    if (!s->codes) QD_TRY(strip_make(f, s));
    QD_TRY(strip_load(f, s, first, h));
    for (size_t end = f->n, start; end > 0; end = start) {
        start = end > BLOCK ? end - BLOCK : 0;
        for (size_t e = end, b; e > start; e = b) {
            b = e > start + INNER ? e - INNER : start;
            round_inner(f, s, b, e, first, h);
            feed_back(f, s, b, e, start, b);
        }
        feed_back(f, s, start, end, 0, start);
    }
    strip_store(f, s, first, h);
    return QDISP_OK;
}

/* ---- the matrix ---- */

static qdisp_status run_strips(feedback *f) {
    unsigned n_workers = qd_n_workers(f->ctx);
    f->strips = qd_alloc(f->ctx, n_workers, sizeof *f->strips);
    if (!f->strips) return QDISP_ENOMEM;
    qdisp_status status = qd_gemm_each(f->ctx, qd_gemm_is_threaded(f->ctx), (f->c->n_out + STRIP - 1) / STRIP,
                                       strip_task, f);
    for (unsigned i = 0; i < n_workers; i++) {
        qd_free_aligned(f->ctx, f->strips[i].errors);
        qd_free_aligned(f->ctx, f->strips[i].targets);
        qd_free_aligned(f->ctx, f->strips[i].grids);
        qd_free_aligned(f->ctx, f->strips[i].codes);
    }
    qd_free(f->ctx, f->strips);
    return status;
}

static qdisp_status quantize(qdisp_ctx *ctx, const qd_choice *c, const float *w, const qd_inputs *x, qd_codes *out) {
    if (!x || !x->h) return qd_quantize_nearest(ctx, c, w, out); /* an expert that no text went to */
    qd_choice own = *c;
    feedback f = {.ctx = ctx, .c = &own, .w = w, .n = c->n_in, .out = out};
    if (c->units_per_row == 0) QD_TRY(qd_unit_range(ctx, c, w, c->n_out * c->n_in, &own.range));
    QD_TRY(qd_codes_make(ctx, c->n_out, c->n_in, c->bits, qd_choice_group(c), c->levels == QD_ASYM, false, out));
    f.columns = qd_alloc(ctx, f.n, sizeof *f.columns);
    f.places = qd_alloc(ctx, f.n, sizeof *f.places);
    f.dead = qd_alloc(ctx, f.n, sizeof *f.dead);
    f.factor = qd_alloc_aligned(ctx, f.n * f.n, sizeof *f.factor);
    qdisp_status status = f.columns && f.places && f.dead && f.factor ? order_columns(&f, x->h) : QDISP_ENOMEM;
    if (status == QDISP_OK) status = factorise(&f, x->h);
    if (status == QDISP_OK) status = run_strips(&f);
    qd_free(ctx, f.columns);
    qd_free(ctx, f.places);
    qd_free(ctx, f.dead);
    qd_free_aligned(ctx, f.factor);
    if (status != QDISP_OK) qd_codes_clear(ctx, out);
    return status;
}

/* Thresholds, by option: min-max; of the least squared error under the energies of the languages, as mse has it; or
 * la-aciq's. Its gains make good what clipping takes from rounding to nearest; feedback does so itself. */
enum { MIN_MAX, SQUARED_ERROR, LA_ACIQ };

static qdisp_status choose(const qdisp_quantizer *q, const qd_languages *languages, qd_choice *choices, size_t n) {
    double thresholds = n > 0 ? qd_choice_option(&choices[0], "thresholds", SQUARED_ERROR) : MIN_MAX;
    const char *name = thresholds == LA_ACIQ ? "la-aciq" : thresholds == SQUARED_ERROR ? "mse" : "rtn";
    if (thresholds != MIN_MAX && thresholds != SQUARED_ERROR && thresholds != LA_ACIQ)
        return qd_fail(q->ctx, QDISP_EINVAL, "gptq: thresholds is not 0 (min-max), 1 (squared error) or 2 (la-aciq)");
    QD_TRY(qd_method_find(name)->choose(q, languages, choices, n));
    for (size_t i = 0; i < n; i++) memset(choices[i].gains, 0, choices[i].n_units);
    return QDISP_OK;
}

const qd_method qd_method_gptq = {.name = "gptq",
                                  .needs = "weights, calibration by language if there is one; text when it is applied",
                                  .paper = "Frantar, Ashkboos, Hoefler, Alistarh 2023", .needs_calib = QD_USED,
                                  .choose = choose, .quantize = quantize, .needs_h = true,
                                  .options = "damp,act_order,thresholds"};
