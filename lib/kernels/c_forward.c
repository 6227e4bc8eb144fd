/* c_forward.c - the specification of softmax, log-sum-exp and the divergences. Lanes, flush interval, the fold and
 * the constants are those of lanes.h. */
#include "lanes.h"

static float max_of(const float *x, size_t n) {
    float m[QD_STEP];
    for (size_t l = 0; l < QD_STEP; l++) m[l] = -INFINITY;
    for (size_t i = 0; i < n; i++) m[i % QD_STEP] = qd_max(m[i % QD_STEP], x[i]);
    for (size_t half = QD_STEP / 2; half > 0; half /= 2) {
        for (size_t l = 0; l < half; l++) m[l] = qd_max(m[l], m[l + half]);
    }
    return m[0];
}

/* Sum of exp(x - shift); stored to out unless it is NULL. */
static double exp_sum(const float *x, size_t n, float shift, float *out) {
    double lanes[QD_STEP] = {0};
    for (size_t first = 0; first < n; first += QD_FLUSH) {
        float sums[QD_STEP] = {0};
        for (size_t i = first; i < n && i < first + QD_FLUSH; i++) {
            float y = qd_exp(x[i] - shift);
            sums[i % QD_STEP] += y;
            if (out) out[i] = y;
        }
        for (size_t l = 0; l < QD_STEP; l++) lanes[l] += (double)sums[l];
    }
    return qd_fold(lanes);
}

void qd_c_softmax(float *x, size_t n) {
    float scale = (float)(1.0 / exp_sum(x, n, max_of(x, n), x));
    for (size_t i = 0; i < n; i++) x[i] *= scale;
}

void qd_lse_add(qd_lse *total, float max, double sum) {
    if (sum == 0) return; /* all -inf */
    if (total->sum == 0) {
        total->max = max;
        total->sum = sum;
    } else if (max > total->max) {
        total->sum = total->sum * exp((double)total->max - (double)max) + sum;
        total->max = max;
    } else {
        total->sum += sum * exp((double)max - (double)total->max);
    }
}

double qd_lse_nll(const qd_lse *row, float x_target) {
    return row->sum > 0 ? log(row->sum) + ((double)row->max - (double)x_target) : (double)NAN;
}

void qd_lse_part_end(qd_lse *row, const float *x, size_t n, float top, size_t block) {
    if (top > row->top) {
        row->top = top;
        row->i_top = row->n + qd_first_equal(x, n, block, top);
    }
    row->n += n;
}

void qd_c_lse_part(const float *x, size_t n, qd_lse *row) {
    float top = -INFINITY;
    size_t block = 0;
    for (size_t first = 0; first < n; first += QD_ROW_BLOCK) {
        size_t m = n - first < QD_ROW_BLOCK ? n - first : QD_ROW_BLOCK;
        float max = max_of(x + first, m) + 0.0f; /* a zero is +0 */
        float shift = qd_max(max, -FLT_MAX);     /* all -inf: exp(-inf + FLT_MAX) = 0 */
        if (max > top) top = max, block = first;
        qd_lse_add(row, shift, exp_sum(x + first, m, shift, NULL));
    }
    qd_lse_part_end(row, x, n, top, block);
}

double qd_c_nll(const float *x, size_t n, size_t target) {
    qd_lse row = QD_LSE;
    qd_c_lse_part(x, n, &row);
    return qd_lse_nll(&row, x[target]);
}

/* softmax_kl. With p = softmax(x), q = softmax(y), any constant c and t = y - x - c,
 *     KL(p || q) = log(1 + a + b) - a,   a = E_p[t],   b = E_p[e^t - 1 - t],
 * where b has no negative term and an error of a counts only times a + b: small divergences keep their digits, and an
 * offset between the rows is gone with c, the difference of the maxima. Per block: sums of e^x, e^y, e^x t and
 * e^x (e^t - 1 - t) about the block's maxima, the last from a polynomial where |t| < 1 and from e^y else. */
static float phi(float t) {
    float t2 = t * t, a = QD_PHI_1 * t + 0.5f, b = QD_PHI_3 * t + QD_PHI_2, c = QD_PHI_5 * t + QD_PHI_4;
    return t2 * (((QD_PHI_6 * t2 + c) * t2 + b) * t2 + a);
}

static void kl_block(const float *x, const float *y, size_t n, qd_kl_sums *out) {
    float max_x = qd_max(out->top_x, -FLT_MAX), max_y = qd_max(out->top_y, -FLT_MAX);
    double lanes[4][QD_STEP] = {{0}};
    for (size_t first = 0; first < n; first += QD_FLUSH) {
        float sums[4][QD_STEP] = {{0}};
        for (size_t i = first; i < n && i < first + QD_FLUSH; i++) {
            size_t l = i % QD_STEP;
            float dx = x[i] - max_x, dy = y[i] - max_y, t = dy - dx, ex = qd_exp(dx), ey = qd_exp(dy);
            float at = ex * (0.0f < ex ? t : 0.0f); /* 0 times infinity is 0 here: p log p = 0 */
            float near = ex * phi(t), far = (ey - ex) - at;
            sums[0][l] += ex;
            sums[1][l] += ey;
            sums[2][l] += at;
            sums[3][l] += fabsf(t) < 1.0f ? near : far;
        }
        for (size_t s = 0; s < 4; s++) {
            for (size_t l = 0; l < QD_STEP; l++) lanes[s][l] += (double)sums[s][l];
        }
    }
    out->max_x = max_x;
    out->max_y = max_y;
    out->x = qd_fold(lanes[0]);
    out->y = qd_fold(lanes[1]);
    out->shift = qd_fold(lanes[2]);
    out->spread = qd_fold(lanes[3]);
}

/* The same sums about other, not smaller maxima: t becomes t + s, and e^(t+s) - 1 - (t+s) =
 * e^s (e^t - 1 - t) + (e^s - 1) t + (e^s - 1 - s). */
static void kl_rebase(qd_kl_sums *sums, float max_x, float max_y) {
    double dx = (double)sums->max_x - (double)max_x, dy = (double)sums->max_y - (double)max_y, s = dy - dx;
    if (dx == 0 && dy == 0) return;
    double ex = exp(dx), ey = exp(dy), spread = 0;
    bool near = fabs(s) <= 0.5 && !isinf(sums->shift);
    if (near) {
        double grown = expm1(s);
        spread = ex * ((1 + grown) * sums->spread + grown * sums->shift + (grown - s) * sums->x);
    }
    sums->shift = ex == 0 ? 0 : ex * (sums->shift + s * sums->x);
    sums->x = ex == 0 ? 0 : ex * sums->x;
    sums->y *= ey;
    sums->spread = near ? spread : sums->y - sums->x - sums->shift;
    sums->max_x = max_x;
    sums->max_y = max_y;
}

void qd_kl_add(qd_kl_sums *total, qd_kl_sums *block, size_t first) {
    if (block->top_x > total->top_x) total->top_x = block->top_x, total->block_x = first;
    if (block->top_y > total->top_y) total->top_y = block->top_y, total->block_y = first;
    float max_x = qd_max(total->max_x, block->max_x), max_y = qd_max(total->max_y, block->max_y);
    if (first) kl_rebase(total, max_x, max_y);
    else total->max_x = max_x, total->max_y = max_y;
    kl_rebase(block, max_x, max_y);
    total->x += block->x;
    total->y += block->y;
    total->shift += block->shift;
    total->spread += block->spread;
}

void qd_kl_finish(const qd_kl_sums *sums, const float *x, const float *y, size_t n, qd_kl *out) {
    out->lse_x = sums->x > 0 ? (double)sums->max_x + log(sums->x) : (double)NAN;
    out->lse_y = sums->y > 0 ? (double)sums->max_y + log(sums->y) : (double)NAN;
    out->top_x = isnan(out->lse_x) ? n : qd_first_equal(x, n, sums->block_x, sums->top_x);
    out->top_y = isnan(out->lse_y) ? n : qd_first_equal(y, n, sums->block_y, sums->top_y);
    double a = sums->shift / sums->x, growth = a + sums->spread / sums->x;
    double kl = (fabs(growth) < 0.5 ? log1p(growth) : log(sums->y / sums->x)) - a;
    if (kl < 0) kl = 0;
    out->kl = isnan(out->lse_x) || isnan(out->lse_y) ? (double)NAN : kl;
}

void qd_c_softmax_kl(const float *x, const float *y, size_t n, qd_kl *out) {
    qd_kl_sums total = QD_KL_SUMS;
    for (size_t first = 0; first < n; first += QD_ROW_BLOCK) {
        size_t m = n - first < QD_ROW_BLOCK ? n - first : QD_ROW_BLOCK;
        qd_kl_sums block = {.top_x = max_of(x + first, m), .top_y = max_of(y + first, m)};
        kl_block(x + first, y + first, m, &block);
        qd_kl_add(&total, &block, first);
    }
    qd_kl_finish(&total, x, y, n, out);
}

/* js_divergence. With s = p + q, r = (p - q) / s and z = 1 - |r| = 2 min(p, q) / s a pair adds s/4 h to the divergence,
 *     h = (1 + r) log(1 + r) + (1 - r) log(1 - r) = r^2 + r^4/6 + r^6/15 + ...   (|r| < 1/2)
 *       = z log z + (2 - z) log(2 - z)                                           (else),
 * which is never negative and never a difference of near numbers. */
static float js_one(float p, float q) {
    float s = p + q, lesser = qd_min(p, q), inverse = 1.0f / qd_max(FLT_MIN, s); /* p = q = 0 gives 0; NaN stays */
    float r = (p - q) * inverse, w = r * r, z = (lesser + lesser) * inverse;
    float w2 = w * w, near = (QD_JS_5 * w + QD_JS_4) * w2 + (QD_JS_3 * w + QD_JS_2);
    near = near * w2 + (QD_JS_1 * w + 1.0f);
    float z2 = z * z, far = (QD_JS_FAR_5 * z + QD_JS_FAR_4) * z2 + (QD_JS_FAR_3 * z + QD_JS_FAR_2);
    far = far * z2 + (QD_JS_FAR_1 * z + QD_JS_FAR_0);
    return s * (w < 0.25f ? near * w : z * qd_log(z) + far);
}

double qd_c_js_divergence(const float *p, const float *q, size_t n) {
    double lanes[QD_STEP] = {0};
    float low = 0;
    for (size_t first = 0; first < n; first += QD_FLUSH) {
        float sums[QD_STEP] = {0};
        for (size_t i = first; i < n && i < first + QD_FLUSH; i++) {
            low = qd_min(qd_min(p[i], q[i]), low);
            sums[i % QD_STEP] += js_one(p[i], q[i]);
        }
        for (size_t l = 0; l < QD_STEP; l++) lanes[l] += (double)sums[l];
    }
    double js = 0.25 * qd_fold(lanes);
    return low < 0 || !(js < INFINITY) ? (double)NAN : js;
}
