/* c_search.c - the specification of the searches of block encoders: one lane after another. */
#include "lanes.h"

static float at(const float *x, size_t i, size_t lane) {
    return x[QD_STEP * i + lane];
}

/* The error of a grid; inverse NULL: of the codes already there. */
static float affine_error(const float *x, const float *w, size_t n, size_t l, const uint8_t *codes, float scale,
                          float minimum, bool absolute) {
    float error = 0;
    for (size_t i = 0; i < n; i++) {
        float d = scale * (float)codes[i] + minimum - at(x, i, l);
        error += at(w, i, l) * (absolute ? fabsf(d) : d * d);
    }
    return error;
}

/* Sums over the codes of a grid, which are left in codes. */
typedef struct affine_sums {
    float w, x, l, l2, xl;
} affine_sums;

static void affine_fit(const affine_sums *s, float d, float *scale, float *minimum) {
    *scale = (s->w * s->xl - s->x * s->l) / d;
    *minimum = (s->l2 * s->x - s->l * s->xl) / d;
    if (*minimum > 0) {
        *minimum = 0;
        *scale = s->xl / s->l2;
    }
}

static void affine_lane(const float *x, const float *w, size_t n, size_t l, const qd_affine_search *how, float *scale,
                        float *minimum, uint8_t *codes) {
    float low = at(x, 0, l), high = low, error, part, offset;
    affine_sums s = {.w = at(w, 0, l), .x = at(w, 0, l) * low};
    uint8_t tried[32];
    for (size_t i = 1; i < n; i++) {
        float xi = at(x, i, l), wi = at(w, i, l);
        if (xi < low) low = xi;
        if (xi > high) high = xi;
        s.w += wi;
        s.x += wi * xi;
    }
    if (low > 0) low = 0;
    *scale = 0;
    for (size_t i = 0; i < n; i++) codes[QD_STEP * i + l] = 0;
    if (low < high) {
        float inverse = (float)how->n_max / (high - low);
        *scale = 1 / inverse;
        for (size_t i = 0; i < n; i++) tried[i] = (uint8_t)qd_nearest(inverse * (at(x, i, l) - low), 0, how->n_max);
        error = affine_error(x, w, n, l, tried, *scale, low, how->absolute);
        for (size_t i = 0; i < n; i++) codes[QD_STEP * i + l] = tried[i];
        for (int k = 0; k <= how->n_steps; k++) {
            inverse = (how->first + how->step * (float)k + (float)how->n_max) / (high - low);
            s.l = s.l2 = s.xl = 0;
            for (size_t i = 0; i < n; i++) {
                float xi = at(x, i, l), code;
                tried[i] = (uint8_t)qd_nearest(inverse * (xi - low), 0, how->n_max);
                code = at(w, i, l) * (float)tried[i];
                s.l += code;
                s.l2 += code * (float)tried[i];
                s.xl += code * xi;
            }
            float d = s.w * s.l2 - s.l * s.l;
            if (!(d > 0)) continue;
            affine_fit(&s, d, &part, &offset);
            float its = affine_error(x, w, n, l, tried, part, offset, how->absolute);
            if (!(its < error)) continue;
            error = its;
            *scale = part;
            low = offset;
            for (size_t i = 0; i < n; i++) codes[QD_STEP * i + l] = tried[i];
        }
    }
    *minimum = -low;
}

void qd_c_search_affine(const float *x, const float *w, size_t n, const qd_affine_search *how, float *scales,
                        float *minima, uint8_t *codes) {
    for (size_t l = 0; l < QD_STEP; l++) affine_lane(x, w, n, l, how, &scales[l], &minima[l], codes);
}

/* The first element of the largest magnitude; 0 if that is below 1e-15. */
static float lane_peak(const float *x, size_t n, size_t l) {
    float peak = 0;
    for (size_t i = 0; i < n; i++) {
        if (fabsf(at(x, i, l)) > fabsf(peak)) peak = at(x, i, l);
    }
    return fabsf(peak) < QD_BLOCK_ZERO ? 0 : peak;
}

static void scale_sums(const float *x, const float *w, size_t n, size_t l, int n_max, float inverse, float sums[2]) {
    sums[0] = sums[1] = 0;
    for (size_t i = 0; i < n; i++) {
        float xi = at(x, i, l), wi = at(w, i, l), code = (float)qd_nearest(inverse * xi, -n_max, n_max - 1);
        sums[0] += wi * xi * code;
        sums[1] += wi * code * code;
    }
}

void qd_c_search_scale(const float *x, const float *w, size_t n, int n_max, float *scales, uint8_t *codes) {
    for (size_t l = 0; l < QD_STEP; l++) {
        float peak = lane_peak(x, n, l), inverse = -(float)n_max / peak, sums[2], gain;
        scales[l] = 0;
        if (peak != 0) {
            scale_sums(x, w, n, l, n_max, inverse, sums);
            scales[l] = sums[1] > 0 ? sums[0] / sums[1] : 0;
            gain = scales[l] * sums[0];
            for (int k = -9; k <= 9; k++) {
                float its = -((float)n_max + 0.1f * (float)k) / peak;
                if (k == 0) continue;
                scale_sums(x, w, n, l, n_max, its, sums);
                if (!(sums[1] > 0 && sums[0] * sums[0] > gain * sums[1])) continue;
                inverse = its;
                scales[l] = sums[0] / sums[1];
                gain = scales[l] * sums[0];
            }
        }
        for (size_t i = 0; i < n; i++) {
            int32_t code = peak != 0 ? n_max + qd_nearest(inverse * at(x, i, l), -n_max, n_max - 1) : 0;
            codes[QD_STEP * i + l] = (uint8_t)code;
        }
    }
}

/* One round: sums of w x code and w code^2, with w = x^2, kept up to date. */
static void descend(const float *x, size_t n, size_t l, int n_max, float codes[32], float sums[2]) {
    for (size_t i = 0; i < n; i++) {
        float xi = at(x, i, l), w = xi * xi, code = codes[i];
        float a = sums[0] - w * xi * code, b = sums[1] - w * code * code;
        if (!(a > 0)) continue;
        code = (float)qd_nearest(xi * b / a, -n_max, n_max - 1);
        if (code == codes[i]) continue;
        a += w * xi * code;
        b += w * code * code;
        if (!(b > 0 && a * a * sums[1] > sums[0] * sums[0] * b)) continue;
        codes[i] = code;
        sums[0] = a;
        sums[1] = b;
    }
}

void qd_c_search_descent(const float *x, size_t n, int n_max, float *scales, uint8_t *codes) {
    for (size_t l = 0; l < QD_STEP; l++) {
        float peak = lane_peak(x, n, l), inverse = -(float)n_max / peak, sums[2] = {0, 0}, its[32];
        for (size_t i = 0; i < n && peak != 0; i++) {
            float xi = at(x, i, l), w = xi * xi;
            its[i] = (float)qd_nearest(inverse * xi, -n_max, n_max - 1);
            sums[0] += w * xi * its[i];
            sums[1] += w * its[i] * its[i];
        }
        for (int k = 0; k < 5 && peak != 0; k++) descend(x, n, l, n_max, its, sums); /* a round without change stays */
        scales[l] = sums[1] > 0 ? sums[0] / sums[1] : 0;
        for (size_t i = 0; i < n; i++) codes[QD_STEP * i + l] = peak != 0 ? (uint8_t)((int)its[i] + n_max) : 0;
    }
}

static const float codebook[16] = QD_CODEBOOK, middles[15] = QD_CODEBOOK_MIDDLES;

static uint8_t codebook_code(float x) {
    uint8_t code = 0;
    for (size_t k = 0; k < 15; k++) code += !(x < middles[k]);
    return code;
}

static void codebook_sums(const float *x, const float *w, size_t n, size_t l, float inverse, float sums[2]) {
    sums[0] = sums[1] = 0;
    for (size_t i = 0; i < n; i++) {
        float xi = at(x, i, l), q = codebook[codebook_code(inverse * xi)], wq = at(w, i, l) * q;
        sums[0] += wq * xi;
        sums[1] += wq * q;
    }
}

void qd_c_search_codebook(const float *x, const float *w, size_t n, float *scales) {
    for (size_t l = 0; l < QD_STEP; l++) {
        float peak = lane_peak(x, n, l), sums[2];
        scales[l] = 0;
        if (peak == 0) continue;
        codebook_sums(x, w, n, l, 1 / (-peak / codebook[0]), sums);
        scales[l] = sums[1] > 0 ? sums[0] / sums[1] : 0;
        float gain = scales[l] * sums[0];
        for (int k = -7; k <= 7; k++) {
            codebook_sums(x, w, n, l, ((float)k + codebook[0]) / peak, sums);
            if (!(sums[1] > 0 && sums[0] * sums[0] > gain * sums[1])) continue;
            scales[l] = sums[0] / sums[1];
            gain = scales[l] * sums[0];
        }
    }
}

void qd_c_codebook_codes(const float *x, size_t n, const float *inverses, uint8_t *codes) {
    for (size_t i = 0; i < QD_STEP * n; i++) codes[i] = codebook_code(inverses[i % QD_STEP] * x[i]);
}

void qd_c_affine_codes(const float *x, size_t n, const float *scales, const float *minima, int low, int high,
                       uint8_t *codes) {
    for (size_t i = 0; i < QD_STEP * n; i++) {
        float scale = scales[i % QD_STEP];
        if (scale != 0)
            codes[i] = (uint8_t)(qd_nearest((x[i] + minima[i % QD_STEP]) / scale, low, high) - low);
    }
}
