/* kernels_avx2.c - 16 lanes as two 256-bit registers (doubles: four). Needs AVX2 and F16C; built without FMA. */
#include "lanes.h"

#include <immintrin.h>

#define QD_ISA avx2

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

static inline vf vf_load_f16(const uint16_t *x) {
    return VF(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)x)),
              _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(x + 8))));
}

static inline __m256 load_8_bf16(const uint16_t *x) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)x));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

static inline vf vf_load_bf16(const uint16_t *x) {
    return VF(load_8_bf16(x), load_8_bf16(x + 8));
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

/* Whether a lane (none is negative) is >= high, or < low and not 0. */
static inline bool vi_outside(vi x, int low, int high) {
    __m256i zero = _mm256_setzero_si256(), lows = _mm256_set1_epi32(low), highs = _mm256_set1_epi32(high - 1);
    __m256i a = _mm256_and_si256(_mm256_cmpgt_epi32(lows, x.a), _mm256_cmpgt_epi32(x.a, zero));
    __m256i b = _mm256_and_si256(_mm256_cmpgt_epi32(lows, x.b), _mm256_cmpgt_epi32(x.b, zero));
    a = _mm256_or_si256(a, _mm256_cmpgt_epi32(x.a, highs));
    b = _mm256_or_si256(b, _mm256_cmpgt_epi32(x.b, highs));
    return _mm256_movemask_epi8(_mm256_or_si256(a, b)) != 0;
}

/* 2^n from the bits of n + QD_ROUND: see exp_one in c_forward.c. */
static inline vf vi_power_of_two(vi shifted) {
    __m256i bias = _mm256_set1_epi32(127 - 0x4b400000);
    return VF(_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(shifted.a, bias), 23)),
              _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(shifted.b, bias), 23)));
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
