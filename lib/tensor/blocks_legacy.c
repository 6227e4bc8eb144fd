/* blocks_legacy.c - blocks of 32 values with an f16 scale d, and for the _1 types an f16 minimum m:
 * value = d * q, or d * q + m. 4-bit codes: byte j holds value j in its low half and value j + 16 in its high half;
 * fifth bits follow in one u32, bit i for value i. */
#include <string.h>

#include "tensor/blocks.h"

static uint16_t u16_at(const uint8_t *data) {
    return (uint16_t)(data[0] | data[1] << 8);
}

static uint32_t u32_at(const uint8_t *data) {
    return (uint32_t)u16_at(data) | (uint32_t)u16_at(data + 2) << 16;
}

void qd_decode_q4_0(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 18, out += 32) {
        float d = qd_f16_to_f32(u16_at(blocks));
        for (size_t j = 0; j < 16; j++) {
            out[j] = d * (float)((blocks[2 + j] & 15) - 8);
            out[j + 16] = d * (float)((blocks[2 + j] >> 4) - 8);
        }
    }
}

void qd_decode_q4_1(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 20, out += 32) {
        float d = qd_f16_to_f32(u16_at(blocks)), m = qd_f16_to_f32(u16_at(blocks + 2));
        for (size_t j = 0; j < 16; j++) {
            out[j] = d * (float)(blocks[4 + j] & 15) + m;
            out[j + 16] = d * (float)(blocks[4 + j] >> 4) + m;
        }
    }
}

void qd_decode_q5_0(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 22, out += 32) {
        float d = qd_f16_to_f32(u16_at(blocks));
        uint32_t high = u32_at(blocks + 2);
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
        float d = qd_f16_to_f32(u16_at(blocks)), m = qd_f16_to_f32(u16_at(blocks + 2));
        uint32_t high = u32_at(blocks + 4);
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
        float d = qd_f16_to_f32(u16_at(blocks));
        for (size_t j = 0; j < 32; j++) out[j] = (float)(int8_t)blocks[2 + j] * d;
    }
}
