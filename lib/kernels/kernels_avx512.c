/* kernels_avx512.c - 16 lanes as one 512-bit register (doubles: two). Needs AVX-512F only. */
#include "lanes.h"

#include <immintrin.h>

#define QD_ISA avx512
#define QD_TILE_ROWS 12
#define QD_TILE_VECTORS 2

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

/* x y + z, rounded once. */
static inline vf vf_fma(vf x, vf y, vf z) {
    return _mm512_fmadd_ps(x, y, z);
}

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

static inline vf vf_load_i8(const int8_t *x) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)x)));
}

/* The least and the greatest lane; none is NaN, and which zero it is is not told. */
static inline float vf_lowest(vf x) {
    return _mm512_reduce_min_ps(x);
}

static inline float vf_highest(vf x) {
    return _mm512_reduce_max_ps(x);
}

/* Folds to 4 lanes and adds them to f64 lanes. */
static inline void vf_flush_quad(double lanes[4], vf x) {
    __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1));
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    _mm256_storeu_pd(lanes, _mm256_add_pd(_mm256_loadu_pd(lanes), _mm256_cvtps_pd(four)));
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

/* To the nearest integer, ties to even; a zero keeps its sign. */
static inline vf vf_round(vf x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* To the nearest f16 value. */
static inline vf vf_round_f16(vf x) {
    return _mm512_cvtph_ps(_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* Of values that are f16 or beyond its range. */
static inline void vf_store_f16(uint16_t *out, vf x) {
    __m256i halves = _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_storeu_si256((__m256i *)(void *)out, halves);
}

/* sums[i] += the lanes of the i-th vector, folded in f32 in halves as qd_fold does. */
static inline void vf_fold4(double sums[4], vf x, vf y, vf z, vf w) {
    __m512 a = _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xee)); /* x x y y */
    __m512 c = _mm512_add_ps(_mm512_shuffle_f32x4(z, w, 0x44), _mm512_shuffle_f32x4(z, w, 0xee));
    a = _mm512_add_ps(_mm512_shuffle_f32x4(a, c, 0x88), _mm512_shuffle_f32x4(a, c, 0xdd)); /* x y z w */
    a = _mm512_add_ps(a, _mm512_shuffle_ps(a, a, 0xee));
    a = _mm512_add_ps(a, _mm512_shuffle_ps(a, a, 0xf5));
    __m256d folded = _mm256_cvtps_pd(_mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, a)));
    _mm256_storeu_pd(sums, _mm256_add_pd(_mm256_loadu_pd(sums), folded));
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

static inline vi vi_min(vi x, vi y) {
    return _mm512_min_epi32(x, y);
}

static inline vi vi_and(vi x, vi y) {
    return _mm512_and_si512(x, y);
}

static inline vf vi_to_float(vi x) {
    return _mm512_cvtepi32_ps(x);
}

static inline void vi_store(uint32_t *out, vi x) {
    _mm512_storeu_si512(out, x);
}

/* Values in [-128, 127]. */
static inline void vi_store_i8(int8_t *out, vi x) {
    _mm_storeu_si128((__m128i *)(void *)out, _mm512_cvtepi32_epi8(x));
}

/* 32 lanes in [-128, 127] as bytes. */
static inline qd_words vi_to_words(vi x, vi y) {
    return (qd_words)_mm256_setr_m128i(_mm512_cvtepi32_epi8(x), _mm512_cvtepi32_epi8(y));
}

/* 64 lanes in [0, 15] as 32 bytes, the first in the low half. */
static inline void vi_store_nibbles(uint8_t *out, vi a, vi b, vi c, vi d) {
    __m256i weights = _mm256_set1_epi16(0x1001); /* bytes 1, 16 */
    __m256i ab = _mm256_maddubs_epi16((__m256i)vi_to_words(a, b), weights);
    __m256i cd = _mm256_maddubs_epi16((__m256i)vi_to_words(c, d), weights);
    _mm256_storeu_si256((__m256i *)(void *)out, _mm256_permute4x64_epi64(_mm256_packus_epi16(ab, cd), 0xd8));
}

/* The largest lane; none is negative. */
static inline uint32_t vi_fold_max(vi x) {
    return (uint32_t)_mm512_reduce_max_epi32(x);
}

/* Whether a lane (none is negative) is >= high, or < low and not 0. */
static inline bool vi_outside(vi x, int low, int high) {
    __mmask16 above = _mm512_cmpge_epi32_mask(x, _mm512_set1_epi32(high));
    __mmask16 below = _mm512_mask_cmplt_epi32_mask(_mm512_cmpgt_epi32_mask(x, _mm512_setzero_si512()), x,
                                                   _mm512_set1_epi32(low));
    return (above | below) != 0;
}

/* 2^n from the bits of n + QD_EXP_ROUND: see qd_exp in lanes.h. */
static inline vf vi_power_of_two(vi shifted) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(shifted, 23));
}

/* x = mantissa * 2^result, the mantissa from the root of 1/2 up: see qd_log in lanes.h. */
static inline vf vf_split(vf x, vf *mantissa) {
    __m512i base = _mm512_set1_epi32((int)QD_SQRT_HALF_BITS), bits = _mm512_sub_epi32(_mm512_castps_si512(x), base);
    __m512i low = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffff));
    *mantissa = _mm512_castsi512_ps(_mm512_add_epi32(low, base));
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(bits, 23));
}

static inline vi vi_from_u32(uint32_t x) {
    return _mm512_set1_epi32((int)x);
}

static inline vi vi_load_u32(const uint32_t *x) {
    return _mm512_loadu_si512(x);
}

static inline vi vi_add_i32(vi x, vi y) {
    return _mm512_add_epi32(x, y);
}

static inline vi vi_xor(vi x, vi y) {
    return _mm512_xor_si512(x, y);
}

/* Both halves of the 64-bit products of unsigned lanes and m. */
static inline void vi_mul_wide(vi x, uint32_t m, vi *high, vi *low) {
    vi by = _mm512_set1_epi32((int)m);
    vi even = _mm512_mul_epu32(x, by), odd = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), by);
    *high = _mm512_mask_mov_epi32(_mm512_srli_epi64(even, 32), 0xaaaa, odd);
    *low = _mm512_mask_mov_epi32(even, 0xaaaa, _mm512_slli_epi64(odd, 32));
}

/* out[4 l .. 4 l + 3] = lane l of a, b, c, d. */
static inline void vi_store_blocks(uint32_t *out, vi a, vi b, vi c, vi d) {
    vi ab = _mm512_unpacklo_epi32(a, b), AB = _mm512_unpackhi_epi32(a, b);
    vi cd = _mm512_unpacklo_epi32(c, d), CD = _mm512_unpackhi_epi32(c, d);
    vi r0 = _mm512_unpacklo_epi64(ab, cd), r1 = _mm512_unpackhi_epi64(ab, cd); /* 0, 4, 8, 12 and 1, 5, 9, 13 */
    vi r2 = _mm512_unpacklo_epi64(AB, CD), r3 = _mm512_unpackhi_epi64(AB, CD);
    vi s0 = _mm512_shuffle_i32x4(r0, r1, 0x44), s1 = _mm512_shuffle_i32x4(r2, r3, 0x44); /* 0, 4, 1, 5; 2, 6, 3, 7 */
    vi s2 = _mm512_shuffle_i32x4(r0, r1, 0xee), s3 = _mm512_shuffle_i32x4(r2, r3, 0xee);
    _mm512_storeu_si512(out, _mm512_shuffle_i32x4(s0, s1, 0x88));
    _mm512_storeu_si512(out + 16, _mm512_shuffle_i32x4(s0, s1, 0xdd));
    _mm512_storeu_si512(out + 32, _mm512_shuffle_i32x4(s2, s3, 0x88));
    _mm512_storeu_si512(out + 48, _mm512_shuffle_i32x4(s2, s3, 0xdd));
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
