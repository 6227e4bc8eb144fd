/* blocks_iq.c - blocks whose codes are places in a codebook of 4 or 8 values, or (IQ4) of single values. The codebooks
 * lie in blocks_grids.c as sets of points; a decoder spreads its own into a table first, which costs some microseconds
 * a call, so that callers should ask for many rows at once. */
#include "tensor/blocks.h"

/* Values of the digits, and the table: n_points rows of n_digits. */
static void spread(const qd_grid_points *grid, const int8_t *values, int8_t *table) {
    uint32_t half = grid->n_digits / 2, n_halves = 1;
    int8_t halves[81][4]; /* 3^4 or 8^2 points of half the digits */
    for (uint32_t i = 0; i < half; i++) n_halves *= grid->base;
    for (uint32_t p = 0; p < n_halves; p++) {
        for (uint32_t i = 0, rest = p; i < half; i++, rest /= grid->base) halves[p][i] = values[rest % grid->base];
    }
    for (uint32_t w = 0, n = 0; n < grid->n_points; w++) {
        for (uint64_t bits = grid->bits[w]; bits; bits &= bits - 1, n++) {
            uint32_t p = 64 * w + (uint32_t)__builtin_ctzll(bits);
            for (uint32_t i = 0; i < half; i++) {
                table[n * grid->n_digits + i] = halves[p % n_halves][i];
                table[n * grid->n_digits + half + i] = halves[p / n_halves][i];
            }
        }
    }
}

/* Signs of eight values as 1 and -1 from bits; seven bits stand for eight, of which an even number is set. */
static void apply_signs(float *out, unsigned bits) {
    for (unsigned j = 0; j < 8; j++) out[j] *= bits >> j & 1 ? -1.0f : 1.0f;
}

static unsigned even_signs(uint32_t seven) {
    return (unsigned)(seven & 127) | (unsigned)__builtin_parity(seven & 127) << 7;
}

static void scale_8(const int8_t *point, float scale, float *out) {
    for (size_t j = 0; j < 8; j++) out[j] = scale * (float)point[j];
}

static const int8_t values_2[3] = {8, 25, 43};

/* d, then for 32 values each four places of 8 bits, four times seven signs and a scale of 4 bits. */
void qd_decode_iq2_xxs(const uint8_t *blocks, size_t n, float *out) {
    int8_t table[256][8];
    spread(&qd_grid_iq2_xxs, values_2, table[0]);
    for (size_t i = 0; i < n; i++, blocks += 66) {
        float d = qd_f16_at(blocks);
        for (size_t g = 0; g < 32; g++, out += 8) {
            uint32_t rest = qd_u32_at(blocks + 2 + 8 * (g / 4) + 4);
            scale_8(table[blocks[2 + 8 * (g / 4) + g % 4]], d * (0.5f + (float)(rest >> 28)) * 0.25f, out);
            apply_signs(out, even_signs(rest >> 7 * (g % 4)));
        }
    }
}

/* d, 32 places of 9 bits with seven signs, 16 scales of 4 bits. */
void qd_decode_iq2_xs(const uint8_t *blocks, size_t n, float *out) {
    int8_t table[512][8];
    spread(&qd_grid_iq2_xs, values_2, table[0]);
    for (size_t i = 0; i < n; i++, blocks += 74) {
        float d = qd_f16_at(blocks);
        for (size_t g = 0; g < 32; g++, out += 8) {
            uint32_t code = qd_u16_at(blocks + 2 + 2 * g), scale = blocks[66 + g / 4] >> 4 * (g / 2 % 2) & 15;
            scale_8(table[code & 511], d * (0.5f + (float)scale) * 0.25f, out);
            apply_signs(out, even_signs(code >> 9));
        }
    }
}

/* d, 32 places of 8 bits, 32 bytes of signs, 2 more bits a place, 16 scales of 4 bits. */
void qd_decode_iq2_s(const uint8_t *blocks, size_t n, float *out) {
    int8_t table[1024][8];
    spread(&qd_grid_iq2_s, values_2, table[0]);
    for (size_t i = 0; i < n; i++, blocks += 82) {
        float d = qd_f16_at(blocks);
        for (size_t g = 0; g < 32; g++, out += 8) {
            uint32_t high = blocks[66 + g / 4] >> 2 * (g % 4) & 3, scale = blocks[74 + g / 4] >> 4 * (g / 2 % 2) & 15;
            scale_8(table[blocks[2 + g] | high << 8], d * (0.5f + (float)scale) * 0.25f, out);
            apply_signs(out, blocks[34 + g]);
        }
    }
}

/* d, 64 places of 8 bits, then for 32 values each four times seven signs and a scale of 4 bits. */
void qd_decode_iq3_xxs(const uint8_t *blocks, size_t n, float *out) {
    static const int8_t values[8] = {4, 12, 20, 28, 36, 44, 52, 62};
    int8_t table[256][4];
    spread(&qd_grid_iq3_xxs, values, table[0]);
    for (size_t i = 0; i < n; i++, blocks += 98) {
        float d = qd_f16_at(blocks);
        for (size_t g = 0; g < 32; g++, out += 8) {
            uint32_t rest = qd_u32_at(blocks + 66 + 4 * (g / 4));
            float scale = d * (0.5f + (float)(rest >> 28)) * 0.5f;
            for (size_t j = 0; j < 8; j++) out[j] = scale * (float)table[blocks[2 + 2 * g + j / 4]][j % 4];
            apply_signs(out, even_signs(rest >> 7 * (g % 4)));
        }
    }
}

/* d, 64 places of 8 bits, a ninth bit each, 32 bytes of signs, 8 scales of 4 bits. */
void qd_decode_iq3_s(const uint8_t *blocks, size_t n, float *out) {
    static const int8_t values[8] = {1, 3, 5, 7, 9, 11, 13, 15};
    int8_t table[512][4];
    spread(&qd_grid_iq3_s, values, table[0]);
    for (size_t i = 0; i < n; i++, blocks += 110) {
        float d = qd_f16_at(blocks);
        for (size_t g = 0; g < 32; g++, out += 8) {
            float scale = d * (float)(1 + 2 * (blocks[106 + g / 8] >> 4 * (g / 4 % 2) & 15));
            for (size_t j = 0; j < 8; j++) {
                size_t place = 2 * g + j / 4;
                unsigned high = blocks[66 + place / 8] >> place % 8 & 1;
                out[j] = scale * (float)table[blocks[2 + place] | high << 8][j % 4];
            }
            apply_signs(out, blocks[74 + g]);
        }
    }
}

static const int8_t values_1[3] = {-1, 0, 1};

static void shift_8(const int8_t *point, float scale, bool down, float *out) {
    float shift = down ? -0.125f : 0.125f;
    for (size_t j = 0; j < 8; j++) out[j] = scale * ((float)point[j] + shift);
}

/* d, 32 places of 8 bits, then for 32 values each 3 more bits a place, a scale of 3 bits and the way of the shift. */
void qd_decode_iq1_s(const uint8_t *blocks, size_t n, float *out) {
    int8_t table[2048][8];
    spread(&qd_grid_iq1, values_1, table[0]);
    for (size_t i = 0; i < n; i++, blocks += 50) {
        float d = qd_f16_at(blocks);
        for (size_t g = 0; g < 32; g++, out += 8) {
            uint32_t high = qd_u16_at(blocks + 34 + 2 * (g / 4));
            float scale = d * (float)(2 * (high >> 12 & 7) + 1);
            shift_8(table[blocks[2 + g] | (high >> 3 * (g % 4) & 7) << 8], scale, high >> 15, out);
        }
    }
}

/* 32 places of 8 bits, 4 bits each of which 3 belong to the place and one is the way of the shift, 16 scales of 3 bits
 * in four u16 whose highest 4 bits together are d. */
void qd_decode_iq1_m(const uint8_t *blocks, size_t n, float *out) {
    int8_t table[2048][8];
    spread(&qd_grid_iq1, values_1, table[0]);
    for (size_t i = 0; i < n; i++, blocks += 56) {
        unsigned bits = 0;
        for (size_t k = 0; k < 4; k++) bits |= (unsigned)(blocks[49 + 2 * k] >> 4) << 4 * k;
        float d = qd_f16_to_f32((uint16_t)bits);
        for (size_t g = 0; g < 32; g++, out += 8) {
            unsigned high = blocks[32 + g / 2] >> 4 * (g % 2) & 15;
            unsigned scale = qd_u16_at(blocks + 48 + 2 * (g / 8)) >> 3 * (g / 2 % 4) & 7;
            shift_8(table[blocks[g] | (high & 7) << 8], d * (float)(2 * scale + 1), high >> 3, out);
        }
    }
}

/* Codes of 4 bits stand for these. */
static const int8_t values_4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static void decode_16_bytes(const uint8_t *q, float scale, float *out) {
    for (size_t j = 0; j < 16; j++) {
        out[j] = scale * (float)values_4[q[j] & 15];
        out[j + 16] = scale * (float)values_4[q[j] >> 4];
    }
}

void qd_decode_iq4_nl(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 18, out += 32) decode_16_bytes(blocks + 2, qd_f16_at(blocks), out);
}

/* d, 8 scales of 6 bits: their high pairs in a u16, their low halves in 4 bytes; codes. */
void qd_decode_iq4_xs(const uint8_t *blocks, size_t n, float *out) {
    for (size_t i = 0; i < n; i++, blocks += 136) {
        float d = qd_f16_at(blocks);
        for (size_t g = 0; g < 8; g++, out += 32) {
            int low = blocks[4 + g / 2] >> 4 * (g % 2) & 15, high = qd_u16_at(blocks + 2) >> 2 * g & 3;
            decode_16_bytes(blocks + 8 + 16 * g, d * (float)((low | high << 4) - 32), out);
        }
    }
}
