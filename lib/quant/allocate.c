/* allocate.c - a knapsack of many choices whose value is the worst of several sums. Its dual: weights lambda of the
 * languages make one cost of a candidate, and then the relaxed problem is solved exactly by going down the lower convex
 * hulls of (size, cost) in the order of their slopes, until the size is used up (Shoham and Gersho 1988). Every lambda
 * gives a lower bound of F; the losses of its solution say where lambda has to grow. Rounding down at the end of the
 * size gives candidates, of which the best is improved by single changes and by exchanges of two. */
#include "quant/allocate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N_ROUNDS 6
#define N_STEPS 60               /* of each; the step halves from round to round, which begins at the best lambda */
#define MOST_EXCHANGES 4000000   /* pairs that a sweep of exchanges may look at */
#define MOST_SWEEPS 100

/* From one candidate of a tensor to the next on its hull. */
typedef struct move {
    size_t i_tensor, from, to;
    double size, gain, slope; /* more bytes, less cost, gain / size */
} move;

typedef struct solver {
    qd_allocation *a;
    qdisp_ctx *ctx;
    double *cost;   /* [n_tensors][n_candidates] under lambda */
    double *lambda; /* [n_languages] */
    double *p;      /* [n_languages + 1] what the dual moves: lambda, or (disparity) shares of it and a rest */
    double *best_p;
    double *r, *work; /* [n_languages] */
    size_t *now;    /* [n_tensors] */
    move *moves;    /* [n_tensors * n_candidates] */
    size_t n_moves;
} solver;

static double size_of(const qd_allocation *a, size_t t, size_t k) {
    return a->size[t * a->n_candidates + k];
}

static const double *damage_of(const qd_allocation *a, size_t t, size_t k) {
    return a->damage + (t * a->n_candidates + k) * a->n_languages;
}

static int descending(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a < b) - (a > b);
}

double qd_allocation_objective(const qd_allocation *a, const double *r, double *work) {
    double mean = 0, worst = 0;
    size_t n = a->n_languages;
    for (size_t l = 0; l < n; l++) {
        mean += r[l] / (double)n;
        if (r[l] > worst) worst = r[l];
    }
    if (a->objective == QD_MEAN) return mean;
    if (a->objective == QD_WORST) return worst;
    if (a->objective == QD_DISPARITY) return fmax(mean, worst - a->cap);
    double left = fmax(a->share * (double)n, 1), sum = 0, all = left;
    memcpy(work, r, n * sizeof *work);
    qsort(work, n, sizeof *work, descending);
    for (size_t l = 0; l < n && left > 0; l++, left -= 1) sum += fmin(left, 1) * work[l];
    return sum / all;
}

/* --- fixed lambda --- */

static int by_slope(const void *x, const void *y) {
    const move *a = x, *b = y;
    if (a->slope != b->slope) return a->slope < b->slope ? 1 : -1;
    if (a->i_tensor != b->i_tensor) return a->i_tensor > b->i_tensor ? 1 : -1;
    return (a->size > b->size) - (a->size < b->size);
}

/* The smallest candidate, of those the cheapest. */
static size_t smallest(const solver *s, size_t t) {
    size_t best = 0;
    const double *cost = s->cost + t * s->a->n_candidates;
    for (size_t k = 1; k < s->a->n_candidates; k++) {
        double d = size_of(s->a, t, k) - size_of(s->a, t, best);
        if (d < 0 || (d == 0 && cost[k] < cost[best])) best = k;
    }
    return best;
}

static void make_moves(solver *s) {
    const qd_allocation *a = s->a;
    s->n_moves = 0;
    for (size_t t = 0; t < a->n_tensors; t++) {
        const double *cost = s->cost + t * a->n_candidates;
        size_t at = s->now[t] = smallest(s, t);
        for (;;) {
            move next = {.slope = 0};
            for (size_t k = 0; k < a->n_candidates; k++) {
                double size = size_of(a, t, k) - size_of(a, t, at), gain = cost[at] - cost[k];
                if (!(size > 0 && gain > 0)) continue;
                double slope = gain / size;
                if (slope > next.slope || (slope == next.slope && size > next.size))
                    next = (move){t, at, k, size, gain, slope};
            }
            if (!(next.slope > 0)) break;
            s->moves[s->n_moves++] = next;
            at = next.to;
        }
    }
    qsort(s->moves, s->n_moves, sizeof *s->moves, by_slope);
}

static void add_damage(const qd_allocation *a, size_t t, size_t k, double factor, double *r) {
    for (size_t l = 0; l < a->n_languages; l++) r[l] += factor * damage_of(a, t, k)[l];
}

/* Down the hulls: the relaxed value, its losses to r, and a solution in whole candidates to now. */
static double solve_relaxed(solver *s) {
    const qd_allocation *a = s->a;
    double left = a->most, value = 0, left_whole;
    memset(s->r, 0, a->n_languages * sizeof *s->r);
    for (size_t t = 0; t < a->n_tensors; t++) {
        for (size_t k = 0; k < a->n_candidates; k++) {
            double sum = 0;
            for (size_t l = 0; l < a->n_languages; l++) sum += s->lambda[l] * damage_of(a, t, k)[l];
            s->cost[t * a->n_candidates + k] = sum;
        }
    }
    make_moves(s);
    for (size_t t = 0; t < a->n_tensors; t++) {
        left -= size_of(a, t, s->now[t]);
        value += s->cost[t * a->n_candidates + s->now[t]];
        add_damage(a, t, s->now[t], 1, s->r);
    }
    left_whole = left;
    for (size_t i = 0; i < s->n_moves; i++) {
        const move *m = &s->moves[i];
        double share = left > 0 ? fmin(left / m->size, 1) : 0;
        left -= share * m->size;
        value -= share * m->gain;
        if (share > 0) {
            add_damage(a, m->i_tensor, m->from, -share, s->r);
            add_damage(a, m->i_tensor, m->to, share, s->r);
        }
        if (m->size <= left_whole && s->now[m->i_tensor] == m->from) {
            s->now[m->i_tensor] = m->to;
            left_whole -= m->size;
        }
    }
    return value;
}

/* --- the dual --- */

/* Shares p, of sum 1, none above `most`: what is cut off is given to the others. */
static void cap_shares(double *p, size_t n, double most) {
    for (size_t round = 0; round < n; round++) {
        double over = 0, below = 0;
        for (size_t l = 0; l < n; l++) {
            if (p[l] > most) over += p[l] - most, p[l] = most;
            else if (p[l] < most) below += p[l];
        }
        if (!(over > 1e-15) || !(below > 0)) break;
        for (size_t l = 0; l < n; l++)
            if (p[l] < most) p[l] *= 1 + over / below;
    }
}

static void set_lambda(solver *s) {
    const qd_allocation *a = s->a;
    size_t n = a->n_languages, n_p = n + (a->objective == QD_DISPARITY);
    double sum = 0;
    for (size_t l = 0; l < n_p; l++) sum += s->p[l];
    for (size_t l = 0; l < n_p; l++) s->p[l] /= sum;
    if (a->objective == QD_CVAR) cap_shares(s->p, n, 1 / fmax(a->share * (double)n, 1));
    for (size_t l = 0; l < n; l++)
        s->lambda[l] = a->objective == QD_MEAN        ? 1 / (double)n
                       : a->objective == QD_DISPARITY ? s->p[l] + s->p[n] / (double)n
                                                      : s->p[l];
}

/* The dual's value: for disparity (F = max(mean, worst - cap)) the shares but the rest pay for the cap. */
static double dual_value(const solver *s, double relaxed) {
    const qd_allocation *a = s->a;
    return a->objective == QD_DISPARITY ? relaxed - (1 - s->p[a->n_languages]) * a->cap : relaxed;
}

static void move_lambda(solver *s, double step) {
    const qd_allocation *a = s->a;
    size_t n = a->n_languages;
    double mean = 0, scale = 0;
    for (size_t l = 0; l < n; l++) {
        mean += s->r[l] / (double)n;
        if (s->r[l] > scale) scale = s->r[l];
    }
    if (!(scale > 0)) return;
    double cap = a->objective == QD_DISPARITY ? a->cap : 0;
    for (size_t l = 0; l < n; l++) s->p[l] = fmax(s->p[l] * exp(step * (s->r[l] - cap - mean) / scale), 1e-12);
}

static void losses_of(const qd_allocation *a, const size_t *chosen, double *r) {
    memset(r, 0, a->n_languages * sizeof *r);
    for (size_t t = 0; t < a->n_tensors; t++) add_damage(a, t, chosen[t], 1, r);
}

static void run_dual(solver *s) {
    qd_allocation *a = s->a;
    size_t n_p = a->n_languages + 1;
    double step = 4;
    a->bound = -INFINITY;
    a->value = INFINITY;
    for (size_t l = 0; l < n_p; l++) s->p[l] = s->best_p[l] = 1;
    for (size_t round = 0; round < N_ROUNDS; round++, step /= 3) {
        memcpy(s->p, s->best_p, n_p * sizeof *s->p);
        for (size_t i = 0; i < N_STEPS; i++) {
            set_lambda(s);
            double bound = dual_value(s, solve_relaxed(s));
            if (bound > a->bound) {
                a->bound = bound;
                memcpy(s->best_p, s->p, n_p * sizeof *s->p);
            }
            move_lambda(s, step / sqrt((double)i + 1));
            losses_of(a, s->now, s->r);
            double value = qd_allocation_objective(a, s->r, s->work);
            if (!(value < a->value)) continue;
            a->value = value;
            memcpy(a->chosen, s->now, a->n_tensors * sizeof *a->chosen);
        }
        if (a->objective == QD_MEAN) return; /* lambda does not move */
    }
}

/* --- whole candidates --- */

/* F if tensor t takes k (and u takes v; t == u: alone). */
static double value_with(const solver *s, size_t t, size_t k, size_t u, size_t v) {
    const qd_allocation *a = s->a;
    double *r = s->work;
    memcpy(r, s->r, a->n_languages * sizeof *r);
    add_damage(a, t, k, 1, r);
    add_damage(a, t, a->chosen[t], -1, r);
    if (u != t) {
        add_damage(a, u, v, 1, r);
        add_damage(a, u, a->chosen[u], -1, r);
    }
    return qd_allocation_objective(a, r, s->work + a->n_languages);
}

typedef struct change {
    size_t t, k, u, v;
    double value;
} change;

/* The best partner of a change of tensor t to k: none, or another tensor that makes room. */
static void try_change(const solver *s, size_t t, size_t k, double left, bool exchanges, change *best) {
    const qd_allocation *a = s->a;
    double needed = size_of(a, t, k) - size_of(a, t, a->chosen[t]);
    if (needed <= left) {
        double value = value_with(s, t, k, t, k);
        if (value < best->value) *best = (change){t, k, t, k, value};
    }
    for (size_t u = 0; exchanges && u < a->n_tensors; u++) {
        for (size_t v = 0; u != t && v < a->n_candidates; v++) {
            double room = size_of(a, u, a->chosen[u]) - size_of(a, u, v);
            if (v == a->chosen[u] || room <= 0 || needed - room > left) continue;
            double value = value_with(s, t, k, u, v);
            if (value < best->value) *best = (change){t, k, u, v, value};
        }
    }
}

static void improve(const solver *s) {
    qd_allocation *a = s->a;
    double n_pairs = (double)a->n_tensors * (double)a->n_candidates;
    bool exchanges = n_pairs * n_pairs * (double)a->n_languages <= MOST_EXCHANGES;
    for (size_t sweep = 0; sweep < MOST_SWEEPS; sweep++) {
        change best = {.value = a->value * (1 - 1e-12)};
        double left = a->most;
        bool found = false;
        losses_of(a, a->chosen, s->r);
        for (size_t t = 0; t < a->n_tensors; t++) left -= size_of(a, t, a->chosen[t]);
        for (size_t t = 0; t < a->n_tensors; t++)
            for (size_t k = 0; k < a->n_candidates; k++) {
                double before = best.value;
                if (k != a->chosen[t]) try_change(s, t, k, left, exchanges, &best);
                found = found || best.value < before;
            }
        if (!found) return;
        a->chosen[best.t] = best.k;
        a->chosen[best.u] = best.v;
        losses_of(a, a->chosen, s->r);
        a->value = qd_allocation_objective(a, s->r, s->work);
    }
}

static double least_size(const qd_allocation *a) {
    double sum = 0;
    for (size_t t = 0; t < a->n_tensors; t++) {
        double least = INFINITY;
        for (size_t k = 0; k < a->n_candidates; k++) least = fmin(least, size_of(a, t, k));
        sum += least;
    }
    return sum;
}

qdisp_status qd_allocate(qdisp_ctx *ctx, qd_allocation *a) {
    size_t n = a->n_languages, n_all = a->n_tensors * a->n_candidates;
    if (!(least_size(a) <= a->most))
        return qd_fail(ctx, QDISP_EINVAL, "size: %.0f cannot be met, the least possible is %.0f", a->most,
                       least_size(a));
    solver s = {.a = a, .ctx = ctx};
    double *block = qd_alloc(ctx, n_all + 7 * n + 2, sizeof *block);
    s.now = qd_alloc(ctx, a->n_tensors, sizeof *s.now);
    s.moves = qd_alloc(ctx, n_all, sizeof *s.moves);
    qdisp_status status = block && s.now && s.moves ? QDISP_OK : QDISP_ENOMEM;
    if (status == QDISP_OK) {
        s.cost = block;
        s.lambda = s.cost + n_all;
        s.r = s.lambda + n;
        s.work = s.r + n; /* [2 n] */
        s.p = s.work + 2 * n;
        s.best_p = s.p + n + 1;
        run_dual(&s);
        improve(&s);
        if (a->bound > a->value) a->bound = a->value; /* rounding */
    }
    qd_free(ctx, block);
    qd_free(ctx, s.now);
    qd_free(ctx, s.moves);
    return status;
}
