/* half.c - half floats, element types, UTF-8 check. */
#include "base/base.h"

#include <string.h>

static float bits_to_f32(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t f32_to_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

float qd_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 0x3ff;
    if (exponent == 31) return bits_to_f32(sign | 0x7f800000 | (mantissa ? 0x400000 | mantissa << 13 : 0));
    if (exponent) return bits_to_f32(sign | (exponent + 112) << 23 | mantissa << 13);
    /* subnormal: mantissa * 2^-24 is exact in f32 */
    return bits_to_f32(sign | f32_to_bits((float)mantissa * 0x1p-24f));
}

uint16_t qd_f32_to_f16(float f) {
    uint32_t bits = f32_to_bits(f), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and above round to infinity */
    if (magnitude < 0x38800000) /* below 2^-14: the unit is 2^-24; adding 0.5 rounds to it in f32's own arithmetic */
        return (uint16_t)(sign | (f32_to_bits(bits_to_f32(magnitude) + 0.5f) - f32_to_bits(0.5f)));
    uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (rounded - 0x38000000) >> 13);
}

float qd_bf16_to_f32(uint16_t h) {
    return bits_to_f32((uint32_t)h << 16);
}

uint16_t qd_f32_to_bf16(float f) {
    uint32_t bits = f32_to_bits(f);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static const struct {
    qdisp_dtype dtype;
    size_t size;
    const char *name;
} dtype_rows[] = {
    {QDISP_DTYPE_F32, 4, "f32"}, {QDISP_DTYPE_F16, 2, "f16"}, {QDISP_DTYPE_BF16, 2, "bf16"},
    {QDISP_DTYPE_F64, 8, "f64"}, {QDISP_DTYPE_I64, 8, "i64"}, {QDISP_DTYPE_I32, 4, "i32"},
    {QDISP_DTYPE_I8, 1, "i8"},   {QDISP_DTYPE_U8, 1, "u8"},   {QDISP_DTYPE_BOOL, 1, "bool"},
    {QDISP_DTYPE_PACKED, 0, "packed"}, {QDISP_DTYPE_OTHER, 0, "other"},
};
#define N_DTYPES (sizeof dtype_rows / sizeof *dtype_rows)

size_t qd_dtype_size(qdisp_dtype dtype) {
    for (size_t i = 0; i < N_DTYPES; i++)
        if (dtype_rows[i].dtype == dtype) return dtype_rows[i].size;
    return 0;
}

const char *qd_dtype_name(qdisp_dtype dtype) {
    for (size_t i = 0; i < N_DTYPES; i++)
        if (dtype_rows[i].dtype == dtype) return dtype_rows[i].name;
    return "?";
}

/* Length of the valid sequence at s (1..4), or 0. Table 3-7 of the Unicode standard. */
static size_t sequence_length(const unsigned char *s, size_t n) {
    unsigned char c = s[0], low = 0x80, high = 0xbf;
    size_t length;
    if (c < 0x80) return 1;
    if (c < 0xc2) return 0;
    if (c < 0xe0) {
        length = 2;
    } else if (c < 0xf0) {
        length = 3;
        if (c == 0xe0) low = 0xa0;
        if (c == 0xed) high = 0x9f;
    } else if (c < 0xf5) {
        length = 4;
        if (c == 0xf0) low = 0x90;
        if (c == 0xf4) high = 0x8f;
    } else {
        return 0;
    }
    if (n < length || s[1] < low || s[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if (s[i] < 0x80 || s[i] > 0xbf) return 0;
    return length;
}

size_t qd_utf8_check(const char *text, size_t n) {
    const unsigned char *s = (const unsigned char *)text;
    size_t i = 0;
    while (i < n) {
        uint64_t eight;
        if (n - i >= 8 && (memcpy(&eight, s + i, 8), (eight & 0x8080808080808080u) == 0)) {
            i += 8;
            continue;
        }
        size_t length = sequence_length(s + i, n - i);
        if (!length) return i;
        i += length;
    }
    return n;
}
