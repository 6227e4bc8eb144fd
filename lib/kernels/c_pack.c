/* c_pack.c - the specification of packing: codes of 2 to 8 bits as one stream of bits, the first code in the lowest
 * bits of the first byte, as in the 32-bit words of GPTQ checkpoints read as bytes. */
#include "lanes.h"

void qd_c_pack_bits(const int8_t *codes, size_t n, unsigned bits, bool offset, uint8_t *out) {
    uint32_t flip = offset ? 1u << (bits - 1) : 0, held = 0; /* adding 2^(bits-1) flips the top bit */
    unsigned n_held = 0;
    for (size_t i = 0; i < n; i++) {
        held |= (((uint32_t)codes[i] & ((1u << bits) - 1)) ^ flip) << n_held;
        for (n_held += bits; n_held >= 8; n_held -= 8) {
            *out++ = (uint8_t)held;
            held >>= 8;
        }
    }
    if (n_held > 0) *out = (uint8_t)held;
}

void qd_c_unpack_bits(const uint8_t *packed, size_t n, unsigned bits, bool offset, int8_t *codes) {
    uint32_t top = 1u << (bits - 1), flip = offset ? 0 : top, held = 0;
    unsigned n_held = 0;
    for (size_t i = 0; i < n; i++) {
        if (n_held < bits) {
            held |= (uint32_t)*packed++ << n_held;
            n_held += 8;
        }
        codes[i] = (int8_t)((int32_t)((held & ((1u << bits) - 1)) ^ flip) - (int32_t)top);
        held >>= bits;
        n_held -= bits;
    }
}

void qd_c_scale_codes(const int8_t *codes, size_t n, float scale, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = (float)codes[i] * scale;
}

/* Of a value that is one: f32 and f16 differ in where exponent and fraction stand. */
static uint16_t f16_bits(float f16) {
    if (f16 < 0x1p-14f) return (uint16_t)(f16 * 0x1p24f);
    return (uint16_t)((qd_float_bits(f16) - (112u << 23)) >> 13);
}

size_t qd_c_quantize_pack(const float *w, size_t n, size_t group_size, unsigned bits, bool full_range, uint16_t *scales,
                          uint8_t *packed) {
    int32_t half = full_range ? 1 << (bits - 1) : (1 << (bits - 1)) - 1;
    size_t i_group = 0;
    for (size_t first = 0; first < n; first += group_size, i_group++) {
        size_t end = n - first < group_size ? n : first + group_size;
        float scale = qd_c_abs_max(w + first, end - first) / (float)half;
        qd_c_round_f16(&scale, 1, &scale);
        if (!isfinite(scale)) return i_group;
        qd_grid grid = {scale, scale > 0 ? 1 / scale : 0, -half, full_range ? half - 1 : half};
        scales[i_group] = f16_bits(scale);
        for (size_t i = first; i < end; i += QD_FLUSH) {
            int8_t codes[QD_FLUSH];
            size_t m = end - i < QD_FLUSH ? end - i : QD_FLUSH;
            qd_c_quantize_codes(w + i, m, &grid, codes);
            qd_c_pack_bits(codes, m, bits, true, packed + i / 8 * bits); /* i is a multiple of 8 */
        }
    }
    return i_group;
}
