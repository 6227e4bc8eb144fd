/* blocks_k.c - blocks of 256 values in groups of 16 or 32: a group's scale is a small integer times the block's f16
 * scale d, its minimum (Q2_K, Q4_K, Q5_K) a small integer times the block's dmin: value = scale * q - minimum. */
#include <string.h>

#include "tensor/blocks.h"

/* 16 scales and minima (low and high half), 64 bytes of 2-bit codes, d, dmin. In each half of 128 values, the four
 * pairs of bits of 32 bytes one after another. */
void qd_decode_q2_k(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 84) {
        float d = qd_f16_at(blocks + 80), d_min = qd_f16_at(blocks + 82);
        for (size_t g = 0; g < 16; g++, out += 16) {
            float scale = d * (float)(blocks[g] & 15), minimum = d_min * (float)(blocks[g] >> 4);
            const uint8_t *q = blocks + 16 + 32 * (g / 8) + 16 * (g % 2);
            unsigned shift = 2 * (g % 8 / 2);
            for (size_t j = 0; j < 16; j++) out[j] = scale * (float)(q[j] >> shift & 3) - minimum;
        }
    }
}

/* 32 bytes of high bits (bit g of byte j: value j of the g-th 32), 64 bytes of 2-bit codes as in Q2_K, 16 scales of 6
 * bits in 12 bytes, d. A high bit that is not set takes 4 away. */
void qd_decode_q3_k(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 110) {
        float d = qd_f16_at(blocks + 108);
        const uint8_t *scales = blocks + 96;
        for (size_t g = 0; g < 16; g++, out += 16) {
            int low = scales[g % 8] >> 4 * (g / 8) & 15, high = scales[8 + g % 4] >> 2 * (g / 4) & 3;
            float scale = d * (float)((low | high << 4) - 32);
            const uint8_t *q = blocks + 32 + 32 * (g / 8) + 16 * (g % 2), *mask = blocks + 16 * (g % 2);
            unsigned shift = 2 * (g % 8 / 2), bit = (unsigned)(g / 2);
            for (size_t j = 0; j < 16; j++) {
                out[j] = scale * (float)((q[j] >> shift & 3) - (~mask[j] >> bit & 1) * 4);
            }
        }
    }
}

/* Eight scales and eight minima of 6 bits in 12 bytes: four of each in the low bits of bytes 0..3 and 4..7, the others
 * in the halves of bytes 8..11, with their high bits on top of the first. */
static void read_scales(const uint8_t *s, uint8_t scales[8], uint8_t minima[8]) {
    for (size_t g = 0; g < 4; g++) {
        scales[g] = s[g] & 63;
        minima[g] = s[g + 4] & 63;
        scales[g + 4] = (uint8_t)((s[g + 8] & 15) | (s[g] >> 2 & 48));
        minima[g + 4] = (uint8_t)(s[g + 8] >> 4 | (s[g + 4] >> 2 & 48));
    }
}

/* d, dmin, scales, 128 bytes of 4-bit codes: the low halves of 32 bytes, then the high halves. */
void qd_decode_q4_k(const uint8_t *blocks, size_t n, float *out) {
    uint8_t scales[8], minima[8];
    for (size_t i = 0; i < n; i++, blocks += 144) {
        float d = qd_f16_at(blocks), d_min = qd_f16_at(blocks + 2);
        read_scales(blocks + 4, scales, minima);
        for (size_t g = 0; g < 8; g += 2, out += 64) {
            float scale = d * (float)scales[g], minimum = d_min * (float)minima[g];
            float scale_high = d * (float)scales[g + 1], minimum_high = d_min * (float)minima[g + 1];
            const uint8_t *q = blocks + 16 + 16 * g;
            for (size_t j = 0; j < 32; j++) out[j] = scale * (float)(q[j] & 15) - minimum;
            for (size_t j = 0; j < 32; j++) out[j + 32] = scale_high * (float)(q[j] >> 4) - minimum_high;
        }
    }
}

/* As Q4_K, with 32 bytes of fifth bits before the codes: bit g of byte j for value j of the g-th 32. */
void qd_decode_q5_k(const uint8_t *blocks, size_t n, float *out) {
    uint8_t scales[8], minima[8];
    for (size_t i = 0; i < n; i++, blocks += 176) {
        float d = qd_f16_at(blocks), d_min = qd_f16_at(blocks + 2);
        read_scales(blocks + 4, scales, minima);
        for (size_t g = 0; g < 8; g++, out += 32) {
            float scale = d * (float)scales[g], minimum = d_min * (float)minima[g];
            const uint8_t *high = blocks + 16, *q = blocks + 48 + 32 * (g / 2);
            unsigned shift = 4 * (g % 2), bit = (unsigned)g;
            for (size_t j = 0; j < 32; j++) {
                out[j] = scale * (float)((q[j] >> shift & 15) | (high[j] >> bit & 1) << 4) - minimum;
            }
        }
    }
}

/* 128 bytes of low halves, 64 bytes of high pairs of bits, 16 signed scales, d. In each half of 128 values: the low
 * halves of 64 bytes, then their high halves; the four pairs of bits of 32 bytes one after another. */
void qd_decode_q6_k(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 210) {
        float d = qd_f16_at(blocks + 208);
        for (size_t g = 0; g < 16; g++, out += 16) {
            float scale = d * (float)(int8_t)blocks[192 + g];
            const uint8_t *low = blocks + 64 * (g / 8) + 16 * (g % 4);
            const uint8_t *high = blocks + 128 + 32 * (g / 8) + 16 * (g % 2);
            unsigned low_shift = 4 * (g % 8 / 4), high_shift = 2 * (g % 8 / 2);
            for (size_t j = 0; j < 16; j++) {
                out[j] = scale * (float)(((low[j] >> low_shift & 15) | (high[j] >> high_shift & 3) << 4) - 32);
            }
        }
    }
}

/* An f32 scale, 256 signed bytes, and sums that only products use. */
void qd_decode_q8_k(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 292, out += 256) {
        float d;
        memcpy(&d, blocks, 4);
        for (size_t j = 0; j < 256; j++) out[j] = d * (float)(int8_t)blocks[4 + j];
    }
}
