/* blocks_simple.c - blocks with one scale d for all values: d * q, for Q4_1 and Q5_1 d * q + m with a minimum m. Halves
 * of bytes: byte j of a run of 16 holds value j in its low half and value j + 16 in its high half. */
#include "tensor/blocks.h"

void qd_decode_q4_0(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 18, out += 32) {
        float d = qd_f16_at(blocks);
        for (size_t j = 0; j < 16; j++) {
            out[j] = d * (float)((blocks[2 + j] & 15) - 8);
            out[j + 16] = d * (float)((blocks[2 + j] >> 4) - 8);
        }
    }
}

void qd_decode_q4_1(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 20, out += 32) {
        float d = qd_f16_at(blocks), m = qd_f16_at(blocks + 2);
        for (size_t j = 0; j < 16; j++) {
            out[j] = d * (float)(blocks[4 + j] & 15) + m;
            out[j + 16] = d * (float)(blocks[4 + j] >> 4) + m;
        }
    }
}

void qd_decode_q5_0(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 22, out += 32) {
        float d = qd_f16_at(blocks);
        uint32_t high = qd_u32_at(blocks + 2);
        for (size_t j = 0; j < 16; j++) {
            uint32_t a = (blocks[6 + j] & 15u) | (high >> j & 1) << 4;
            uint32_t b = (uint32_t)blocks[6 + j] >> 4 | (high >> (j + 16) & 1) << 4;
            out[j] = d * (float)((int32_t)a - 16);
            out[j + 16] = d * (float)((int32_t)b - 16);
        }
    }
}

void qd_decode_q5_1(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 24, out += 32) {
        float d = qd_f16_at(blocks), m = qd_f16_at(blocks + 2);
        uint32_t high = qd_u32_at(blocks + 4);
        for (size_t j = 0; j < 16; j++) {
            uint32_t a = (blocks[8 + j] & 15u) | (high >> j & 1) << 4;
            uint32_t b = (uint32_t)blocks[8 + j] >> 4 | (high >> (j + 16) & 1) << 4;
            out[j] = d * (float)(int32_t)a + m;
            out[j + 16] = d * (float)(int32_t)b + m;
        }
    }
}

void qd_decode_q8_0(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 34, out += 32) {
        float d = qd_f16_at(blocks);
        for (size_t j = 0; j < 32; j++) out[j] = (float)(int8_t)blocks[2 + j] * d;
    }
}

void qd_decode_q1_0(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 18, out += 128) {
        float d = qd_f16_at(blocks);
        for (size_t j = 0; j < 128; j++) out[j] = blocks[2 + j / 8] >> j % 8 & 1 ? d : -d;
    }
}

void qd_decode_q2_0(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 18, out += 64) {
        float d = qd_f16_at(blocks);
        for (size_t j = 0; j < 64; j++) out[j] = (float)((blocks[2 + j / 4] >> 2 * (j % 4) & 3) - 1) * d;
    }
}

/* Ternary digits: a byte b is about 256/243 times a number of five base-3 digits after the point. Multiplied by 3^t
 * (modulo 256), its leading digit is digit t. */
static float ternary(float d, uint8_t b, uint8_t power) {
    return d * (float)(((uint8_t)(b * power) * 3 >> 8) - 1);
}

void qd_decode_tq1_0(const uint8_t *blocks, size_t n, float *out) {
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};
    for (size_t i = 0; i < n; i++, blocks += 54) {
        float d = qd_f16_at(blocks + 52);
        for (size_t t = 0; t < 5; t++, out += 32) {
            for (size_t j = 0; j < 32; j++) out[j] = ternary(d, blocks[j], powers[t]);
        }
        for (size_t t = 0; t < 5; t++, out += 16) {
            for (size_t j = 0; j < 16; j++) out[j] = ternary(d, blocks[32 + j], powers[t]);
        }
        for (size_t t = 0; t < 4; t++, out += 4) {
            for (size_t j = 0; j < 4; j++) out[j] = ternary(d, blocks[48 + j], powers[t]);
        }
    }
}

void qd_decode_tq2_0(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 66) {
        float d = qd_f16_at(blocks + 64);
        for (size_t k = 0; k < 8; k++, out += 32) {
            const uint8_t *q = blocks + 32 * (k / 4);
            for (size_t j = 0; j < 32; j++) out[j] = d * (float)((q[j] >> 2 * (k % 4) & 3) - 1);
        }
    }
}

/* E2M1, doubled to be integers; the scales below are halved. */
static const int8_t e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 2^(e - 128) from an E8M0 exponent. */
static float e8m0_half(uint8_t e) {
    return qd_bf16_to_f32(e < 2 ? (uint16_t)(0x20 << e) : (uint16_t)((e - 1) << 7));
}

void qd_decode_mxfp4(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 17, out += 32) {
        float d = e8m0_half(blocks[0]);
        for (size_t j = 0; j < 16; j++) {
            out[j] = d * (float)e2m1[blocks[1 + j] & 15];
            out[j + 16] = d * (float)e2m1[blocks[1 + j] >> 4];
        }
    }
}

/* Half of an E4M3 without sign (its top bit is passed over); the one NaN counts as 0. */
static float e4m3_half(uint8_t x) {
    unsigned exponent = x >> 3 & 15, mantissa = x & 7;
    if (x == 0x7f) return 0;
    if (exponent == 0) return (float)mantissa * 0x1p-10f;
    return (float)(8 + mantissa) * (float)(1 << exponent) * 0x1p-11f;
}

void qd_decode_nvfp4(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 36) {
        for (size_t k = 0; k < 4; k++, out += 16) {
            float d = e4m3_half(blocks[k]);
            const uint8_t *q = blocks + 4 + 8 * k;
            for (size_t j = 0; j < 8; j++) {
                out[j] = d * (float)e2m1[q[j] & 15];
                out[j + 8] = d * (float)e2m1[q[j] >> 4];
            }
        }
    }
}
