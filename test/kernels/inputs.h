/* inputs.h - arrays that kernels must survive, the same on every machine. */
#ifndef TEST_KERNELS_INPUTS_H
#define TEST_KERNELS_INPUTS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Kinds of input; FINITE_KINDS of them hold finite numbers of ordinary size. */
enum input_kind {
    NORMAL,    /* about Gaussian, sigma 1 */
    WEIGHTS,   /* sigma 0.02, one element in 50 times 20 */
    CONSTANT,
    SHIFTED,   /* 1e4 + Gaussian */
    FINITE_KINDS,
    HUGE_ONES = FINITE_KINDS, /* up to the largest float */
    TINY,      /* 1e-25 */
    DENORMAL,
    MIXED_SCALES, /* all exponents */
    ZEROS,     /* +0 and -0 */
    SPECIAL,   /* a third NaN, +-inf, -0, denormals */
    ONE_NAN,
    ONE_INF,
    N_KINDS
};

static inline uint32_t input_random(uint64_t *state) { /* splitmix64 */
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

static inline float input_gauss(uint64_t *state) {
    double sum = 0;
    for (int i = 0; i < 12; i++) sum += (double)input_random(state) * 0x1p-32;
    return (float)(sum - 6.0);
}

static inline float input_from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline float input_special(uint64_t *state) {
    static const uint32_t bits[] = {0x7fc00000u, 0x7f800000u, 0xff800000u, 0x80000000u, 0x00000001u, 0x807fffffu};
    uint32_t r = input_random(state);
    return r % 18 < 6 ? input_from_bits(bits[r % 18]) : input_gauss(state);
}

static inline void input_fill(enum input_kind kind, uint64_t seed, float *x, size_t n) {
    uint64_t s = seed * 1000 + (uint64_t)kind;
    for (size_t i = 0; i < n; i++) {
        float g = input_gauss(&s);
        uint32_t r = input_random(&s);
        switch (kind) {
        case NORMAL: x[i] = g; break;
        case WEIGHTS: x[i] = g * (r % 50 == 0 ? 0.4f : 0.02f); break;
        case CONSTANT: x[i] = 0.37f; break;
        case SHIFTED: x[i] = 1e4f + g; break;
        case HUGE_ONES: x[i] = g * 5e37f; break;
        case TINY: x[i] = g * 1e-25f; break;
        case DENORMAL: x[i] = input_from_bits(r & 0x807fffffu); break;
        case MIXED_SCALES: x[i] = ldexpf(g, (int)(r % 230) - 120); break;
        case ZEROS: x[i] = r & 1 ? 0.0f : -0.0f; break;
        case SPECIAL: x[i] = input_special(&s); break;
        case ONE_NAN: x[i] = i == n / 2 ? NAN : g; break;
        case ONE_INF: x[i] = i == n / 3 ? -INFINITY : g; break;
        default: x[i] = 0; break;
        }
    }
}

#endif
