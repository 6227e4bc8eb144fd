/* kernels_avx512.c - 16 lanes as one 512-bit register (doubles: two). Needs AVX-512F only. */
#include "lanes.h"

#include <immintrin.h>

#define QD_ISA avx512

typedef __m512 vf;
typedef __m512i vi;
typedef struct vd { __m512d a, b; } vd;

#define SAME(name, op) static inline vf name(vf x, vf y) { return op(x, y); }
SAME(vf_add, _mm512_add_ps)
SAME(vf_sub, _mm512_sub_ps)
SAME(vf_mul, _mm512_mul_ps)
SAME(vf_div, _mm512_div_ps)
SAME(vf_min, _mm512_min_ps)
SAME(vf_max, _mm512_max_ps)
#undef SAME

static inline vf vf_set(float x) {
    return _mm512_set1_ps(x);
}

static inline vf vf_load(const float *x) {
    return _mm512_loadu_ps(x);
}

static inline void vf_store(float *out, vf x) {
    _mm512_storeu_ps(out, x);
}

static inline vf vf_load_f16(const uint16_t *x) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)x));
}

static inline vf vf_load_bf16(const uint16_t *x) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)x));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

static inline vf vf_abs(vf x) {
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff)));
}

/* NaN to +0. */
static inline vf vf_zero_nan(vf x) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), x);
}

/* a < b ? yes : no, by lane. */
static inline vf vf_if_less(vf a, vf b, vf yes, vf no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}

static inline vi vf_bits(vf x) {
    return _mm512_castps_si512(x);
}

/* Of integral values, |x| < 2^31. */
static inline vi vf_to_int(vf x) {
    return _mm512_cvttps_epi32(x);
}

static inline vi vi_max(vi x, vi y) {
    return _mm512_max_epi32(x, y);
}

static inline void vi_store(uint32_t *out, vi x) {
    _mm512_storeu_si512(out, x);
}

/* Values in [-128, 127]. */
static inline void vi_store_i8(int8_t *out, vi x) {
    _mm_storeu_si128((__m128i *)(void *)out, _mm512_cvtepi32_epi8(x));
}

/* Whether a lane (none is negative) is >= high, or < low and not 0. */
static inline bool vi_outside(vi x, int low, int high) {
    __mmask16 above = _mm512_cmpge_epi32_mask(x, _mm512_set1_epi32(high));
    __mmask16 below = _mm512_mask_cmplt_epi32_mask(_mm512_cmpgt_epi32_mask(x, _mm512_setzero_si512()), x,
                                                   _mm512_set1_epi32(low));
    return (above | below) != 0;
}

/* 2^n from the bits of n + QD_ROUND: see exp_one in c_forward.c. */
static inline vf vi_power_of_two(vi shifted) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(shifted, _mm512_set1_epi32(127 - 0x4b400000)), 23));
}

static inline vd vd_from(vf x) {
    __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1));
    return (vd){_mm512_cvtps_pd(_mm512_castps512_ps256(x)), _mm512_cvtps_pd(high)};
}

static inline vd vd_load(const double *x) {
    return (vd){_mm512_loadu_pd(x), _mm512_loadu_pd(x + 8)};
}

static inline void vd_store(double *out, vd x) {
    _mm512_storeu_pd(out, x.a);
    _mm512_storeu_pd(out + 8, x.b);
}

static inline vd vd_add(vd x, vd y) {
    return (vd){_mm512_add_pd(x.a, y.a), _mm512_add_pd(x.b, y.b)};
}

static inline vd vd_mul(vd x, vd y) {
    return (vd){_mm512_mul_pd(x.a, y.a), _mm512_mul_pd(x.b, y.b)};
}

static inline double vd_fold(vd x) {
    __m512d eight = _mm512_add_pd(x.a, x.b);
    __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

#include "kernels_vector.h"
