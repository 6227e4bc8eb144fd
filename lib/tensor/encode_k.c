/* encode_k.c - encoders of blocks of 256 values in groups of 16 or 32. The groups' scales (and minima) are searched,
 * 16 groups at a time; then they become small integers times the block's own scale, and the codes are taken once more
 * under what the integers stand for. With importance the integers are searched for, too. */
#include <math.h>
#include <string.h>

#include "tensor/blocks.h"

enum { N = QD_BLOCK_MAX };

/* A type whose groups have minima (Q2_K, Q4_K, Q5_K), or have none (Q3_K, Q6_K). */
typedef struct kind {
    size_t n_group;  /* values of a group */
    int n_max;       /* codes 0..n_max; without minima 0..2 n_max - 1 */
    int scale_max;   /* of the integers */
    qd_affine_search plain, weighted;
} kind;

static const kind q2_k = {16, 3, 15, {3, 15, -0.5f, 0.1f, true}, {3, 36, -0.9f, 0.05f, false}};
static const kind q4_k = {32, 15, 63, {15, 20, -1.0f, 0.1f, false}, {15, 36, -0.9f, 0.05f, false}};
static const kind q5_k = {32, 31, 63, {31, 15, -0.5f, 0.1f, false}, {31, 36, -0.9f, 0.05f, false}};
static const kind q3_k = {.n_group = 16, .n_max = 4}, q6_k = {.n_group = 16, .n_max = 32};

static float sum_squares(const float *x, size_t n) {
    float sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sum;
}

/* --- with importance: the integers of a block's n scales --- */

static void scale_grids(const float *x, const float *w, size_t n, int n_max, float most, float *inverse) {
    float best = 0;
    for (int k = -5; k <= 4; k++) { /* -5: the plain one */
        float its = k == -5 ? (float)n_max / most : (0.1f * (float)k + (float)n_max) / most;
        float scale = 1 / its, error = 0;
        if (k == 0) continue;
        for (size_t i = 0; i < n; i++) {
            int code = qd_block_nearest(its * x[i]);
            float d = x[i] - scale * (float)(k == -5 ? (uint8_t)code : code < n_max ? code : n_max);
            error += w[i] * d * d;
        }
        if (k == -5 || error < best) {
            best = error;
            *inverse = its;
        }
    }
}

/* x ~ scale * codes, codes 0..n_max: grids about the plain one, then rounds in which each code goes where it is
 * best. */
static float search_integers(const float *x, const float *w, size_t n, int n_max, uint8_t *codes) {
    float most = 0, inverse, xl = 0, l2 = 0;
    for (size_t i = 0; i < n; i++) most = most > x[i] ? most : x[i];
    memset(codes, 0, n);
    if (most < 1e-15f) return 0;
    scale_grids(x, w, n, n_max, most, &inverse);
    for (size_t i = 0; i < n; i++) {
        int code = qd_block_nearest(inverse * x[i]);
        if (code > n_max) code = n_max;
        codes[i] = (uint8_t)code;
        xl += w[i] * x[i] * (float)code;
        l2 += w[i] * (float)code * (float)code;
    }
    for (int round = 0, n_changed = 1; round < 5 && n_changed > 0; round++) {
        n_changed = 0;
        for (size_t i = 0; i < n; i++) {
            float code = (float)codes[i], a = xl - w[i] * x[i] * code, b = l2 - w[i] * code * code;
            if (!(a > 0 && b > 0)) continue;
            int its = qd_block_nearest(x[i] * b / a);
            if (its > n_max) its = n_max;
            if (its == codes[i]) continue;
            a += w[i] * x[i] * (float)its;
            b += w[i] * (float)its * (float)its;
            if (!(a * a * l2 > xl * xl * b)) continue;
            codes[i] = (uint8_t)its;
            xl = a;
            l2 = b;
            n_changed++;
        }
    }
    return l2 > 0 ? xl / l2 : 0;
}

/* The block's scale and the integers: nearest under the largest, or searched. Returned as the f16 that is stored. */
static uint16_t integer_scales(const kind *k, const float *x, const float *w, size_t n, uint8_t *codes) {
    float most = 0;
    if (w) return qd_f32_to_f16(search_integers(x, w, n, k->scale_max, codes));
    for (size_t i = 0; i < n; i++) most = x[i] > most ? x[i] : most;
    float inverse = most > 0 ? (float)k->scale_max / most : 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t code = (uint8_t)qd_block_nearest(inverse * x[i]);
        codes[i] = code < k->scale_max ? code : (uint8_t)k->scale_max;
    }
    return qd_f32_to_f16(most / (float)k->scale_max);
}

/* --- weights of the values in the search for scales --- */

/* m values, whole groups and whole blocks. */
static void affine_weights(const kind *k, const float *x, const float *importance, size_t m, float *w) {
    for (size_t first = 0; importance && first < m; first += N) {
        float sum = sum_squares(x + first, N), mean = k == &q2_k ? sum / N : 2 * sum / N;
        for (size_t i = first; i < first + N; i++) w[i] = importance[i] * sqrtf(mean + x[i] * x[i]);
    }
    for (size_t first = 0; !importance && first < m; first += k->n_group) {
        float mean = k == &q2_k ? 0 : sqrtf(sum_squares(x + first, k->n_group) / (float)k->n_group);
        for (size_t i = first; i < first + k->n_group; i++) w[i] = mean + fabsf(x[i]);
    }
}

static void group_sums(const float *w, size_t n_groups, size_t n, float *sums) {
    for (size_t g = 0; g < n_groups; g++) {
        sums[g] = 0;
        for (size_t i = 0; i < n; i++) sums[g] += w[n * g + i];
    }
}

/* --- blocks with minima --- */

/* What stands in a block: d, dmin and their integers, and 256 codes in order. */
typedef struct parts {
    uint16_t d, d_min;
    uint8_t scales[16], minima[16], codes[N];
} parts;

/* One or two blocks, as many as have 16 groups. */
static void affine_parts(const qd_kernels *kernels, const kind *k, const float *x, const float *importance,
                         size_t n_blocks, parts *out) {
    qd_block_lanes lanes;
    float w[2 * N], sums[QD_LANES], scales[QD_LANES], minima[QD_LANES];
    size_t n_groups = N / k->n_group, n = k->n_group;
    affine_weights(k, x, importance, n_blocks * N, w);
    group_sums(w, n_blocks * n_groups, n, sums);
    qd_block_lanes_load(x, n_blocks * n_groups, n, lanes.x);
    qd_block_lanes_load(w, n_blocks * n_groups, n, lanes.w);
    kernels->search_affine(lanes.x, lanes.w, n, importance ? &k->weighted : &k->plain, lanes.scales, lanes.minima,
                           lanes.codes);
    memset(scales, 0, sizeof scales);
    memset(minima, 0, sizeof minima);
    for (size_t b = 0; b < n_blocks; b++) {
        size_t at = b * n_groups;
        float *weights = importance ? sums + at : NULL;
        out[b].d = integer_scales(k, lanes.scales + at, weights, n_groups, out[b].scales);
        out[b].d_min = integer_scales(k, lanes.minima + at, weights, n_groups, out[b].minima);
        for (size_t g = 0; g < n_groups; g++) {
            scales[at + g] = qd_f16_to_f32(out[b].d) * (float)out[b].scales[g];
            minima[at + g] = qd_f16_to_f32(out[b].d_min) * (float)out[b].minima[g];
        }
    }
    kernels->affine_codes(lanes.x, n, scales, minima, 0, k->n_max, lanes.codes);
    for (size_t i = 0; i < n_blocks * N; i++) out[i / N].codes[i % N] = lanes.codes[QD_LANES * (i % n) + i / n];
}

/* Four codes of two bits a byte: of values 32 apart. */
static void put_pairs(const uint8_t codes[N], uint8_t *out) {
    for (size_t i = 0; i < N / 4; i++) {
        const uint8_t *q = codes + 128 * (i / 32) + i % 32;
        out[i] = (uint8_t)((q[0] & 3) | (q[32] & 3) << 2 | (q[64] & 3) << 4 | (q[96] & 3) << 6);
    }
}

/* Two codes of four bits a byte: of values 32 apart. */
static void put_nibbles(const uint8_t codes[N], uint8_t *out) {
    for (size_t i = 0; i < N / 2; i++) {
        const uint8_t *q = codes + 64 * (i / 32) + i % 32;
        out[i] = (uint8_t)((q[0] & 15) | (q[32] & 15) << 4);
    }
}

/* The eight bits `bit` of values 32 apart in a byte. */
static void put_bits(const uint8_t codes[N], unsigned bit, uint8_t *out) {
    for (size_t i = 0; i < 32; i++) {
        unsigned bits = 0;
        for (size_t g = 0; g < 8; g++) bits |= (codes[32 * g + i] >> bit & 1u) << g;
        out[i] = (uint8_t)bits;
    }
}

static void put_u16(uint8_t *out, uint16_t x) {
    out[0] = (uint8_t)x;
    out[1] = (uint8_t)(x >> 8);
}

/* Eight scales and eight minima of 6 bits: see read_scales in blocks_k.c. */
static void put_scales(const parts *p, uint8_t *s) {
    for (size_t g = 0; g < 4; g++) {
        s[g] = (uint8_t)(p->scales[g] | p->scales[g + 4] >> 4 << 6);
        s[g + 4] = (uint8_t)(p->minima[g] | p->minima[g + 4] >> 4 << 6);
        s[g + 8] = (uint8_t)((p->scales[g + 4] & 15) | (p->minima[g + 4] & 15) << 4);
    }
}

void qd_encode_q2_k(const qd_kernels *kernels, const float *x, const float *importance, size_t n, uint8_t *blocks) {
    for (size_t first = 0; first < n; first += N, blocks += 84) {
        parts p;
        affine_parts(kernels, &q2_k, x + first, importance ? importance + first : NULL, 1, &p);
        for (size_t g = 0; g < 16; g++) blocks[g] = (uint8_t)(p.scales[g] | p.minima[g] << 4);
        put_pairs(p.codes, blocks + 16);
        put_u16(blocks + 80, p.d);
        put_u16(blocks + 82, p.d_min);
    }
}

/* Q4_K and Q5_K, two blocks at a time. */
static void encode_4_or_5(const qd_kernels *kernels, const kind *k, const float *x, const float *importance, size_t n,
                          uint8_t *blocks) {
    bool fifth = k == &q5_k;
    for (size_t first = 0; first < n; first += 2 * N) {
        parts p[2];
        size_t n_blocks = n - first < 2 * N ? 1 : 2;
        affine_parts(kernels, k, x + first, importance ? importance + first : NULL, n_blocks, p);
        for (size_t b = 0; b < n_blocks; b++) {
            put_u16(blocks, p[b].d);
            put_u16(blocks + 2, p[b].d_min);
            put_scales(&p[b], blocks + 4);
            if (fifth) put_bits(p[b].codes, 4, blocks + 16);
            put_nibbles(p[b].codes, blocks + (fifth ? 48 : 16));
            blocks += fifth ? 176 : 144;
        }
    }
}

void qd_encode_q4_k(const qd_kernels *kernels, const float *x, const float *importance, size_t n, uint8_t *blocks) {
    encode_4_or_5(kernels, &q4_k, x, importance, n, blocks);
}

void qd_encode_q5_k(const qd_kernels *kernels, const float *x, const float *importance, size_t n, uint8_t *blocks) {
    encode_4_or_5(kernels, &q5_k, x, importance, n, blocks);
}

/* --- blocks without minima --- */

/* The group scale of the largest magnitude, the first of them. */
static float largest(const float *scales) {
    float most = 0;
    for (size_t g = 0; g < 16; g++) {
        if (fabsf(scales[g]) > fabsf(most)) most = scales[g];
    }
    return most;
}

/* Takes the codes once more under d times the integers and puts them into order. */
static void signed_codes(const qd_kernels *kernels, const kind *k, qd_block_lanes *lanes, const int8_t integers[16],
                         uint16_t d, uint8_t codes[N]) {
    float scales[16], none[16] = {0};
    for (size_t g = 0; g < 16; g++) scales[g] = qd_f16_to_f32(d) * (float)integers[g];
    kernels->affine_codes(lanes->x, 16, scales, none, -k->n_max, k->n_max - 1, lanes->codes);
    for (size_t i = 0; i < N; i++) codes[i] = lanes->codes[QD_LANES * (i % 16) + i / 16];
}

/* The integers -32..31 of Q3_K, and d. */
static uint16_t q3_scales(const qd_kernels *kernels, const float *x, const float *importance, qd_block_lanes *lanes,
                          int8_t integers[16]) {
    float w[N], sums[16], mean = 2 * sum_squares(x, N) / N;
    qd_block_lanes one;
    if (!importance) {
        kernels->search_descent(lanes->x, 16, q3_k.n_max, lanes->scales, lanes->codes);
        float most = largest(lanes->scales), inverse = -32 / most;
        for (size_t g = 0; g < 16; g++) {
            int code = most != 0 ? (int8_t)qd_block_nearest(inverse * lanes->scales[g]) : -32;
            integers[g] = (int8_t)(code < -32 ? -32 : code > 31 ? 31 : code);
        }
        return qd_f32_to_f16(most != 0 ? 1 / inverse : 0);
    }
    for (size_t i = 0; i < N; i++) w[i] = importance[i] * sqrtf(mean + x[i] * x[i]);
    group_sums(w, 16, 16, sums);
    qd_block_lanes_load(w, 16, 16, lanes->w);
    kernels->search_scale(lanes->x, lanes->w, 16, q3_k.n_max, lanes->scales, lanes->codes);
    qd_block_lanes_load(lanes->scales, 1, 16, one.x);
    qd_block_lanes_load(sums, 1, 16, one.w);
    kernels->search_scale(one.x, one.w, 16, 32, one.scales, one.codes);
    for (size_t g = 0; g < 16; g++) integers[g] = (int8_t)(one.codes[QD_LANES * g] - 32);
    return qd_f32_to_f16(one.scales[0]);
}

void qd_encode_q3_k(const qd_kernels *kernels, const float *x, const float *importance, size_t n, uint8_t *blocks) {
    for (size_t first = 0; first < n; first += N, blocks += 110) {
        qd_block_lanes lanes;
        int8_t integers[16];
        uint8_t codes[N], *scales = blocks + 96;
        qd_block_lanes_load(x + first, 16, 16, lanes.x);
        uint16_t d = q3_scales(kernels, x + first, importance ? importance + first : NULL, &lanes, integers);
        signed_codes(kernels, &q3_k, &lanes, integers, d, codes);
        memset(scales, 0, 12);
        for (size_t g = 0; g < 16; g++) {
            unsigned code = (unsigned)(integers[g] + 32);
            scales[g % 8] |= (uint8_t)((code & 15) << 4 * (g / 8));
            scales[8 + g % 4] |= (uint8_t)(code >> 4 << 2 * (g / 4));
        }
        put_bits(codes, 2, blocks);
        put_pairs(codes, blocks + 32);
        put_u16(blocks + 108, d);
    }
}

void qd_encode_q6_k(const qd_kernels *kernels, const float *x, const float *importance, size_t n, uint8_t *blocks) {
    for (size_t first = 0; first < n; first += N, blocks += 210) {
        qd_block_lanes lanes;
        int8_t integers[16];
        uint8_t codes[N];
        qd_block_lanes_load(x + first, 16, 16, lanes.x);
        if (importance) qd_block_lanes_load(importance + first, 16, 16, lanes.w);
        for (size_t i = 0; !importance && i < N; i++) lanes.w[i] = lanes.x[i] * lanes.x[i];
        kernels->search_scale(lanes.x, lanes.w, 16, q6_k.n_max, lanes.scales, lanes.codes);
        float most = largest(lanes.scales), inverse = -128 / most;
        memset(blocks, 0, 210);
        if (fabsf(most) < 1e-15f) continue;
        uint16_t d = qd_f32_to_f16(1 / inverse);
        for (size_t g = 0; g < 16; g++) {
            int code = qd_block_nearest(inverse * lanes.scales[g]);
            integers[g] = (int8_t)(code < 127 ? code : 127);
            blocks[192 + g] = (uint8_t)integers[g];
        }
        signed_codes(kernels, &q6_k, &lanes, integers, d, codes);
        for (size_t i = 0; i < N / 2; i++) { /* low halves of values 64 apart, high pairs of values 32 apart */
            const uint8_t *q = codes + 128 * (i / 64) + i % 64;
            blocks[i] = (uint8_t)((q[0] & 15) | (q[64] & 15) << 4);
        }
        for (size_t i = 0; i < N; i++) codes[i] >>= 4;
        put_pairs(codes, blocks + 128);
        put_u16(blocks + 208, d);
    }
}
