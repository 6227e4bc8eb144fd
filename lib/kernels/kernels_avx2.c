/* kernels_avx2.c - 16 lanes as two 256-bit registers (doubles: four). Needs AVX2, F16C and
 * FMA, which vf_fma alone uses. */
#include "lanes.h"

#include <immintrin.h>

#define QD_ISA avx2
#define QD_TILE_ROWS 6
#define QD_TILE_VECTORS 1

typedef struct vf { __m256 a, b; } vf;
typedef struct vi { __m256i a, b; } vi;
typedef struct vd { __m256d a, b, c, d; } vd;

#define VF(A, B) ((vf){(A), (B)})
#define VI(A, B) ((vi){(A), (B)})
#define PAIR(name, op) static inline vf name(vf x, vf y) { return VF(op(x.a, y.a), op(x.b, y.b)); }
PAIR(vf_add, _mm256_add_ps)
PAIR(vf_sub, _mm256_sub_ps)
PAIR(vf_mul, _mm256_mul_ps)
PAIR(vf_div, _mm256_div_ps)
PAIR(vf_min, _mm256_min_ps)
PAIR(vf_max, _mm256_max_ps)
#undef PAIR

/* x y + z, rounded once. */
static inline vf vf_fma(vf x, vf y, vf z) {
    return VF(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b));
}

static inline vf vf_set(float x) {
    return VF(_mm256_set1_ps(x), _mm256_set1_ps(x));
}

static inline vf vf_load(const float *x) {
    return VF(_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8));
}

static inline void vf_store(float *out, vf x) {
    _mm256_storeu_ps(out, x.a);
    _mm256_storeu_ps(out + 8, x.b);
}

/* Half a vector, for loops that a whole one gives more to hold than there are registers. */
#define QD_HALVES
typedef __m256 vh;
#define vh_add _mm256_add_ps
#define vh_sub _mm256_sub_ps
#define vh_mul _mm256_mul_ps
#define vh_min _mm256_min_ps
#define vh_max _mm256_max_ps

static inline vh vh_load(const float *x) {
    return _mm256_loadu_ps(x);
}

static inline vh vh_load_f16(const uint16_t *x) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)x));
}

static inline vf vf_load_f16(const uint16_t *x) {
    return VF(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)x)),
              _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(x + 8))));
}

static inline vh vh_load_bf16(const uint16_t *x) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)x));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

static inline vf vf_load_bf16(const uint16_t *x) {
    return VF(vh_load_bf16(x), vh_load_bf16(x + 8));
}

static inline vh vh_load_i8(const int8_t *x) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)x)));
}

static inline vf vf_load_i8(const int8_t *x) {
    return VF(vh_load_i8(x), vh_load_i8(x + 8));
}

/* The least and the greatest lane; none is NaN, and which zero it is is not told. */
static inline float vf_lowest(vf x) {
    __m256 eight = _mm256_min_ps(x.a, x.b);
    __m128 four = _mm_min_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_min_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_min_ss(two, _mm_movehdup_ps(two)));
}

static inline float vf_highest(vf x) {
    __m256 eight = _mm256_max_ps(x.a, x.b);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/* Folds to 4 lanes and adds them to f64 lanes. */
static inline void vf_flush_quad(double lanes[4], vf x) {
    __m256 eight = _mm256_add_ps(x.a, x.b);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    _mm256_storeu_pd(lanes, _mm256_add_pd(_mm256_loadu_pd(lanes), _mm256_cvtps_pd(four)));
}

static inline vf vf_abs(vf x) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return VF(_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b));
}

/* NaN to +0. */
static inline vf vf_zero_nan(vf x) {
    return VF(_mm256_and_ps(x.a, _mm256_cmp_ps(x.a, x.a, _CMP_ORD_Q)),
              _mm256_and_ps(x.b, _mm256_cmp_ps(x.b, x.b, _CMP_ORD_Q)));
}

/* a < b ? yes : no, by lane. */
static inline vf vf_if_less(vf a, vf b, vf yes, vf no) {
    return VF(_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(a.a, b.a, _CMP_LT_OQ)),
              _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(a.b, b.b, _CMP_LT_OQ)));
}

/* To the nearest integer, ties to even; a zero keeps its sign. */
static inline vf vf_round(vf x) {
    return VF(_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
              _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* To the nearest f16 value. */
static inline vf vf_round_f16(vf x) {
    return VF(_mm256_cvtph_ps(_mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)),
              _mm256_cvtph_ps(_mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)));
}

/* Of values that are f16 or beyond its range. */
static inline void vf_store_f16(uint16_t *out, vf x) {
    __m128i *to = (__m128i *)(void *)out;
    _mm_storeu_si128(to, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128(to + 1, _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* sums[i] += the lanes of the i-th vector, folded in f32 in halves as qd_fold does. */
static inline void vf_fold4(double sums[4], vf x, vf y, vf z, vf w) {
    __m256 a = _mm256_add_ps(x.a, x.b), b = _mm256_add_ps(y.a, y.b);
    __m256 c = _mm256_add_ps(z.a, z.b), d = _mm256_add_ps(w.a, w.b);
    a = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    c = _mm256_add_ps(_mm256_permute2f128_ps(c, d, 0x20), _mm256_permute2f128_ps(c, d, 0x31));
    a = _mm256_add_ps(_mm256_shuffle_ps(a, c, 0x44), _mm256_shuffle_ps(a, c, 0xee)); /* x x z z | y y w w */
    a = _mm256_add_ps(a, _mm256_shuffle_ps(a, a, 0xf5));
    __m128 xz = _mm256_castps256_ps128(a), yw = _mm256_extractf128_ps(a, 1);
    xz = _mm_shuffle_ps(xz, yw, 0x88);
    xz = _mm_shuffle_ps(xz, xz, 0xd8);
    _mm256_storeu_pd(sums, _mm256_add_pd(_mm256_loadu_pd(sums), _mm256_cvtps_pd(xz)));
}

static inline vi vf_bits(vf x) {
    return VI(_mm256_castps_si256(x.a), _mm256_castps_si256(x.b));
}

/* Of integral values, |x| < 2^31. */
static inline vi vf_to_int(vf x) {
    return VI(_mm256_cvttps_epi32(x.a), _mm256_cvttps_epi32(x.b));
}

static inline vi vi_max(vi x, vi y) {
    return VI(_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b));
}

static inline vi vi_min(vi x, vi y) {
    return VI(_mm256_min_epi32(x.a, y.a), _mm256_min_epi32(x.b, y.b));
}

static inline vi vi_and(vi x, vi y) {
    return VI(_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b));
}

static inline vf vi_to_float(vi x) {
    return VF(_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b));
}

static inline void vi_store(uint32_t *out, vi x) {
    _mm256_storeu_si256((__m256i *)(void *)out, x.a);
    _mm256_storeu_si256((__m256i *)(void *)(out + 8), x.b);
}

/* Values in [-128, 127]. */
static inline void vi_store_i8(int8_t *out, vi x) {
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8);
    __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i *)(void *)out, bytes);
}

/* 32 lanes in [-128, 127] as bytes. */
static inline qd_words vi_to_words(vi x, vi y) {
    __m256i out = _mm256_packs_epi16(_mm256_packs_epi32(x.a, x.b), _mm256_packs_epi32(y.a, y.b));
    return (qd_words)_mm256_permutevar8x32_epi32(out, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
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
    __m256i a = _mm256_max_epi32(x.a, x.b);
    __m128i b = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    b = _mm_max_epi32(b, _mm_shuffle_epi32(b, 0xee));
    b = _mm_max_epi32(b, _mm_shuffle_epi32(b, 0x55));
    return (uint32_t)_mm_cvtsi128_si32(b);
}

/* Whether a lane (none is negative) is >= high, or < low and not 0. */
static inline bool vi_outside(vi x, int low, int high) {
    __m256i zero = _mm256_setzero_si256(), lows = _mm256_set1_epi32(low), highs = _mm256_set1_epi32(high - 1);
    __m256i a = _mm256_and_si256(_mm256_cmpgt_epi32(lows, x.a), _mm256_cmpgt_epi32(x.a, zero));
    __m256i b = _mm256_and_si256(_mm256_cmpgt_epi32(lows, x.b), _mm256_cmpgt_epi32(x.b, zero));
    a = _mm256_or_si256(a, _mm256_cmpgt_epi32(x.a, highs));
    b = _mm256_or_si256(b, _mm256_cmpgt_epi32(x.b, highs));
    return _mm256_movemask_epi8(_mm256_or_si256(a, b)) != 0;
}

/* 2^n from the bits of n + QD_EXP_ROUND: see qd_exp in lanes.h. */
static inline vf vi_power_of_two(vi shifted) {
    return VF(_mm256_castsi256_ps(_mm256_slli_epi32(shifted.a, 23)),
              _mm256_castsi256_ps(_mm256_slli_epi32(shifted.b, 23)));
}

static inline __m256 split(__m256 x, __m256 *mantissa) {
    __m256i base = _mm256_set1_epi32((int)QD_SQRT_HALF_BITS), bits = _mm256_sub_epi32(_mm256_castps_si256(x), base);
    __m256i low = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffff));
    *mantissa = _mm256_castsi256_ps(_mm256_add_epi32(low, base));
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(bits, 23));
}

/* x = mantissa * 2^result, the mantissa from the root of 1/2 up: see qd_log in lanes.h. */
static inline vf vf_split(vf x, vf *mantissa) {
    return VF(split(x.a, &mantissa->a), split(x.b, &mantissa->b));
}

static inline vi vi_from_u32(uint32_t x) {
    return VI(_mm256_set1_epi32((int)x), _mm256_set1_epi32((int)x));
}

static inline vi vi_load_u32(const uint32_t *x) {
    return VI(_mm256_loadu_si256((const __m256i *)(const void *)x),
              _mm256_loadu_si256((const __m256i *)(const void *)(x + 8)));
}

static inline vi vi_add_i32(vi x, vi y) {
    return VI(_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b));
}

static inline vi vi_xor(vi x, vi y) {
    return VI(_mm256_xor_si256(x.a, y.a), _mm256_xor_si256(x.b, y.b));
}

static inline void mul_wide(__m256i x, __m256i m, __m256i *high, __m256i *low) {
    __m256i even = _mm256_mul_epu32(x, m), odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), m);
    *high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
    *low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
}

/* Both halves of the 64-bit products of unsigned lanes and m. */
static inline void vi_mul_wide(vi x, uint32_t m, vi *high, vi *low) {
    mul_wide(x.a, _mm256_set1_epi32((int)m), &high->a, &low->a);
    mul_wide(x.b, _mm256_set1_epi32((int)m), &high->b, &low->b);
}

static inline void store_8_blocks(uint32_t *out, __m256i a, __m256i b, __m256i c, __m256i d) {
    __m256i ab = _mm256_unpacklo_epi32(a, b), AB = _mm256_unpackhi_epi32(a, b);
    __m256i cd = _mm256_unpacklo_epi32(c, d), CD = _mm256_unpackhi_epi32(c, d);
    __m256i r0 = _mm256_unpacklo_epi64(ab, cd), r1 = _mm256_unpackhi_epi64(ab, cd); /* blocks 0 and 4, 1 and 5 */
    __m256i r2 = _mm256_unpacklo_epi64(AB, CD), r3 = _mm256_unpackhi_epi64(AB, CD);
    __m256i *to = (__m256i *)(void *)out;
    _mm256_storeu_si256(to, _mm256_permute2x128_si256(r0, r1, 0x20));
    _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(r2, r3, 0x20));
    _mm256_storeu_si256(to + 2, _mm256_permute2x128_si256(r0, r1, 0x31));
    _mm256_storeu_si256(to + 3, _mm256_permute2x128_si256(r2, r3, 0x31));
}

/* out[4 l .. 4 l + 3] = lane l of a, b, c, d. */
static inline void vi_store_blocks(uint32_t *out, vi a, vi b, vi c, vi d) {
    store_8_blocks(out, a.a, b.a, c.a, d.a);
    store_8_blocks(out + 32, a.b, b.b, c.b, d.b);
}

static inline vd vd_from(vf x) {
    return (vd){_mm256_cvtps_pd(_mm256_castps256_ps128(x.a)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.a, 1)),
                _mm256_cvtps_pd(_mm256_castps256_ps128(x.b)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.b, 1))};
}

static inline vd vd_load(const double *x) {
    return (vd){_mm256_loadu_pd(x), _mm256_loadu_pd(x + 4), _mm256_loadu_pd(x + 8), _mm256_loadu_pd(x + 12)};
}

static inline void vd_store(double *out, vd x) {
    _mm256_storeu_pd(out, x.a);
    _mm256_storeu_pd(out + 4, x.b);
    _mm256_storeu_pd(out + 8, x.c);
    _mm256_storeu_pd(out + 12, x.d);
}

static inline vd vd_add(vd x, vd y) {
    return (vd){_mm256_add_pd(x.a, y.a), _mm256_add_pd(x.b, y.b), _mm256_add_pd(x.c, y.c), _mm256_add_pd(x.d, y.d)};
}

static inline vd vd_mul(vd x, vd y) {
    return (vd){_mm256_mul_pd(x.a, y.a), _mm256_mul_pd(x.b, y.b), _mm256_mul_pd(x.c, y.c), _mm256_mul_pd(x.d, y.d)};
}

static inline double vd_fold(vd x) {
    __m256d four = _mm256_add_pd(_mm256_add_pd(x.a, x.c), _mm256_add_pd(x.b, x.d));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

#include "kernels_vector.h"
