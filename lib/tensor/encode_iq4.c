/* encode_iq4.c - encoders of IQ4_NL (blocks of 32 with a scale) and IQ4_XS (blocks of 256 in groups of 32, whose scales
 * are small integers times the block's), both of four-bit codes for values that stand closer near 0. Values weigh their
 * squares, or importance * sqrt(2 mean x^2 of the block + x^2). */
#include <math.h>
#include <string.h>

#include "tensor/blocks.h"

enum { N = 32 };

/* 16 groups at most, of blocks of n_block values each: their scales into lanes. */
static void search(const qd_kernels *kernels, const float *x, const float *importance, size_t n, size_t n_block,
                   qd_block_lanes *lanes) {
    float w[QD_LANES * N];
    for (size_t first = 0; first < n; first += n_block) {
        float sum = 0;
        for (size_t i = first; i < first + n_block; i++) sum += x[i] * x[i];
        sum *= 2.0f / (float)n_block;
        for (size_t i = first; i < first + n_block; i++)
            w[i] = importance ? importance[i] * sqrtf(sum + x[i] * x[i]) : x[i] * x[i];
    }
    qd_block_lanes_load(x, n / N, N, lanes->x);
    qd_block_lanes_load(w, n / N, N, lanes->w);
    kernels->search_codebook(lanes->x, lanes->w, N, lanes->scales);
}

/* Codes of lane l: value j in the low half of byte j, value j + 16 in the high half. */
static void put_codes(const qd_block_lanes *lanes, size_t l, uint8_t *out) {
    for (size_t i = 0; i < N / 2; i++) {
        unsigned low = lanes->codes[QD_LANES * i + l], high = lanes->codes[QD_LANES * (i + N / 2) + l];
        out[i] = (uint8_t)(low | high << 4);
    }
}

static float invert(float x) {
    return x != 0 ? 1 / x : 0;
}

void qd_encode_iq4_nl(const qd_kernels *kernels, const float *x, const float *importance, size_t n, uint8_t *blocks) {
    qd_block_lanes lanes;
    for (size_t first = 0; first < n; first += QD_LANES * N) {
        size_t m = n - first < QD_LANES * N ? n - first : QD_LANES * N;
        float inverses[QD_LANES];
        search(kernels, x + first, importance ? importance + first : NULL, m, N, &lanes);
        for (size_t l = 0; l < QD_LANES; l++) inverses[l] = invert(lanes.scales[l]);
        kernels->codebook_codes(lanes.x, N, inverses, lanes.codes);
        for (size_t l = 0; l < m / N; l++, blocks += 18) {
            qd_put_f16(blocks, lanes.scales[l]);
            put_codes(&lanes, l, blocks + 2);
        }
    }
}

/* The integers -32..31 of a block's eight scales, times what they are multiplied by; the block's d in 16 bits. */
static void put_scales(const float scales[8], float inverses[8], uint8_t *block) {
    float most = 0;
    unsigned high = 0;
    for (size_t g = 0; g < 8; g++) most = fabsf(scales[g]) > fabsf(most) ? scales[g] : most;
    float d = -most / 32, inverse = invert(d);
    qd_put_f16(block, d);
    memset(block + 4, 0, 4);
    for (size_t g = 0; g < 8; g++) {
        int code = qd_block_nearest(inverse * scales[g]);
        code = code < -32 ? -32 : code > 31 ? 31 : code;
        inverses[g] = invert(d * (float)code);
        block[4 + g / 2] |= (uint8_t)(((unsigned)(code + 32) & 15) << 4 * (g % 2));
        high |= (unsigned)(code + 32) >> 4 << 2 * g;
    }
    block[2] = (uint8_t)high;
    block[3] = (uint8_t)(high >> 8);
}

void qd_encode_iq4_xs(const qd_kernels *kernels, const float *x, const float *importance, size_t n, uint8_t *blocks) {
    qd_block_lanes lanes;
    for (size_t first = 0; first < n; first += 2 * QD_BLOCK_MAX) {
        size_t m = n - first < 2 * QD_BLOCK_MAX ? QD_BLOCK_MAX : 2 * QD_BLOCK_MAX;
        float inverses[QD_LANES] = {0};
        search(kernels, x + first, importance ? importance + first : NULL, m, QD_BLOCK_MAX, &lanes);
        for (size_t b = 0; b < m / QD_BLOCK_MAX; b++)
            put_scales(lanes.scales + 8 * b, inverses + 8 * b, blocks + 136 * b);
        kernels->codebook_codes(lanes.x, N, inverses, lanes.codes);
        for (size_t l = 0; l < m / N; l++) put_codes(&lanes, l, blocks + 136 * (l / 8) + 8 + 16 * (l % 8));
        blocks += 136 * (m / QD_BLOCK_MAX);
    }
}
