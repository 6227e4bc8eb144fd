/* encode_simple.c - encoders of blocks of 32 values with one scale. Without importance the scale comes from the
 * extremes of a block; with it from a search for the least error, each value weighing importance * sqrt(mean x^2 of the
 * row + x^2). */
#include <math.h>
#include <string.h>

#include "tensor/blocks.h"

enum { N = 32 }; /* values of a block */

void qd_block_lanes_load(const float *from, size_t n_runs, size_t n, float *to) {
    for (size_t l = 0; l < QD_LANES; l++) {
        for (size_t i = 0; i < n; i++) to[QD_LANES * i + l] = l < n_runs ? from[n * l + i] : 0;
    }
}

/* The extremes of a block, in four chains that do not wait for each other; of two zeros low is the first. */
static inline void extremes(const float *x, float *low, float *high) {
    float lows[4], highs[4];
    memcpy(lows, x, sizeof lows);
    memcpy(highs, x, sizeof highs);
    for (size_t i = 4; i < N; i += 4) {
        for (size_t k = 0; k < 4; k++) lows[k] = x[i + k] < lows[k] ? x[i + k] : lows[k];
        for (size_t k = 0; k < 4; k++) highs[k] = x[i + k] > highs[k] ? x[i + k] : highs[k];
    }
    for (size_t k = 2; k > 0; k--) {
        for (size_t l = 0; l < k; l++) lows[l] = lows[l + k] < lows[l] ? lows[l + k] : lows[l];
        for (size_t l = 0; l < k; l++) highs[l] = highs[l + k] > highs[l] ? highs[l + k] : highs[l];
    }
    *low = lows[0];
    *high = highs[0];
    for (size_t i = 0; *low == 0; i++) {
        if (x[i] != 0) continue;
        *low = x[i];
        break;
    }
}

/* The first value of the largest magnitude. */
static inline float peak_of(const float *x) {
    float low, high;
    extremes(x, &low, &high);
    if (high != -low) return high > -low ? high : low;
    for (size_t i = 0; i < N; i++) { /* both signs */
        if (x[i] == high || x[i] == low) return x[i] == 0 ? 0 : x[i];
    }
    return 0;
}

/* 1 / d, and 0 for d = 0. False: d is so small that the inverse overflows; then all codes are 0, as d is in 16 bits. */
static bool invert(float d, float *inverse) {
    *inverse = d != 0 ? 1 / d : 0;
    return isfinite(*inverse);
}

/* d, [minimum,] [fifth bits,] halves of bytes. */
static void put_nibbles(const uint8_t codes[N], uint8_t *out) {
    for (size_t i = 0; i < N / 2; i++) out[i] = (uint8_t)((codes[i] & 15) | codes[i + N / 2] << 4);
}

static void put_fifth_bits(const uint8_t codes[N], uint8_t *out) {
    uint32_t high = 0;
    for (size_t i = 0; i < N; i++) high |= (uint32_t)(codes[i] >> 4 & 1) << i;
    for (size_t i = 0; i < 4; i++) out[i] = (uint8_t)(high >> 8 * i);
}

/* The codes of all blocks of a row: d and m into what starts a block, codes where four or five bits are written. */
typedef struct layout {
    int n_max;           /* codes 0 .. n_max; with a sign 0 .. 2 n_max - 1 */
    uint8_t n_bytes, at; /* of a block; where its codes start */
    bool minimum, fifth;
} layout;

static void put_codes(const layout *how, const uint8_t codes[N], uint8_t *block) {
    if (how->fifth) put_fifth_bits(codes, block + how->at - 4);
    put_nibbles(codes, block + how->at);
}

static const qd_affine_search affine_search = {.n_steps = 36, .first = -0.9f, .step = 0.05f};

/* With importance: 16 blocks at a time. */
static void encode_searched(const qd_kernels *kernels, const layout *how, const float *x, const float *importance,
                            size_t n, uint8_t *blocks) {
    qd_block_lanes lanes;
    float weights[QD_LANES * N], sum = 0;
    qd_affine_search search = affine_search;
    search.n_max = how->n_max;
    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
    float mean = sum / (float)n;
    for (size_t first = 0; first < n; first += QD_LANES * N) {
        size_t m = n - first < QD_LANES * N ? n - first : QD_LANES * N;
        for (size_t i = 0; i < m; i++) {
            float xi = x[first + i];
            weights[i] = importance[first + i] * sqrtf(mean + xi * xi);
        }
        qd_block_lanes_load(x + first, m / N, N, lanes.x);
        qd_block_lanes_load(weights, m / N, N, lanes.w);
        if (how->minimum)
            kernels->search_affine(lanes.x, lanes.w, N, &search, lanes.scales, lanes.minima, lanes.codes);
        else kernels->search_scale(lanes.x, lanes.w, N, how->n_max, lanes.scales, lanes.codes);
        for (size_t l = 0; l < m / N; l++, blocks += how->n_bytes) {
            uint8_t codes[N];
            for (size_t i = 0; i < N; i++) codes[i] = lanes.codes[QD_LANES * i + l];
            qd_put_f16(blocks, lanes.scales[l]);
            if (how->minimum) qd_put_f16(blocks + 2, -lanes.minima[l]);
            put_codes(how, codes, blocks);
        }
    }
}

/* The whole part of (x - low) inverse + offset, never negative, at most n_max. As floats they are cut to size in one
 * instruction on every processor. */
static inline void cut_codes(const float *x, float low, float inverse, float offset, int n_max, uint8_t codes[N]) {
    float most = (float)n_max;
    for (size_t i = 0; i < N; i++) {
        float t = (x[i] - low) * inverse + offset;
        codes[i] = (uint8_t)(int)(t < most ? t : most);
    }
}

/* Plain, symmetric: the peak becomes the lowest code, which has no opposite. */
static inline void encode_signed(const layout *how, const float *x, size_t n, uint8_t *blocks) {
    int n_max = how->n_max;
    float offset = (float)n_max + 0.5f;
    for (size_t first = 0; first < n; first += N, blocks += how->n_bytes) {
        float d = peak_of(x + first) / (float)-n_max, inverse;
        uint8_t codes[N] = {0};
        bool fits = invert(d, &inverse);
        if (fits) cut_codes(x + first, 0, inverse, offset, 2 * n_max - 1, codes);
        qd_put_f16(blocks, d);
        put_codes(how, codes, blocks);
    }
}

/* Plain, with a minimum. */
static void encode_between(const layout *how, const float *x, size_t n, uint8_t *blocks) {
    for (size_t first = 0; first < n; first += N, blocks += how->n_bytes) {
        float low, high;
        extremes(x + first, &low, &high);
        float d = (high - low) / (float)how->n_max, inverse;
        uint8_t codes[N] = {0};
        bool fits = invert(d, &inverse);
        if (fits) cut_codes(x + first, low, inverse, 0.5f, how->n_max, codes);
        qd_put_f16(blocks, d);
        qd_put_f16(blocks + 2, low);
        put_codes(how, codes, blocks);
    }
}

static const layout q4_0 = {.n_max = 8, .n_bytes = 18, .at = 2}, q5_0 = {16, 22, 6, false, true};
static const layout q4_1 = {15, 20, 4, true, false}, q5_1 = {31, 24, 8, true, true};

void qd_encode_q4_0(const qd_kernels *kernels, const float *x, const float *importance, size_t n, uint8_t *blocks) {
    if (importance) encode_searched(kernels, &q4_0, x, importance, n, blocks);
    else encode_signed(&q4_0, x, n, blocks);
}

void qd_encode_q5_0(const qd_kernels *kernels, const float *x, const float *importance, size_t n, uint8_t *blocks) {
    if (importance) encode_searched(kernels, &q5_0, x, importance, n, blocks);
    else encode_signed(&q5_0, x, n, blocks);
}

void qd_encode_q4_1(const qd_kernels *kernels, const float *x, const float *importance, size_t n, uint8_t *blocks) {
    if (importance) encode_searched(kernels, &q4_1, x, importance, n, blocks);
    else encode_between(&q4_1, x, n, blocks);
}

void qd_encode_q5_1(const qd_kernels *kernels, const float *x, const float *importance, size_t n, uint8_t *blocks) {
    if (importance) encode_searched(kernels, &q5_1, x, importance, n, blocks);
    else encode_between(&q5_1, x, n, blocks);
}

/* Halves are rounded away from zero. */
void qd_encode_q8_0(const qd_kernels *kernels, const float *x, const float *importance, size_t n, uint8_t *blocks) {
    (void)kernels, (void)importance;
    for (size_t first = 0; first < n; first += N, blocks += 34) {
        float most = 0, inverse;
        for (size_t i = 0; i < N; i++) most = fabsf(x[first + i]) > most ? fabsf(x[first + i]) : most;
        float d = most / 127;
        if (!invert(d, &inverse)) inverse = 0;
        qd_put_f16(blocks, d);
        for (size_t i = 0; i < N; i++) {
            float t = x[first + i] * inverse;
            int cut = (int)t;
            float rest = t - (float)cut;
            blocks[2 + i] = (uint8_t)(int8_t)(cut + (rest >= 0.5f) - (rest <= -0.5f));
        }
    }
}
