/* kernels_neon.c - 16 lanes as four 128-bit registers (doubles: eight). AArch64; fused operations stay off. */
#include "lanes.h"

#include <arm_neon.h>

#define QD_ISA neon
#define QD_TILE_ROWS 6
#define QD_TILE_VECTORS 1

typedef struct vf { float32x4_t a, b, c, d; } vf;
typedef struct vi { int32x4_t a, b, c, d; } vi;
typedef struct vd { float64x2_t a, b, c, d, e, f, g, h; } vd;

#define ONE(type, op, x) ((type){op((x).a), op((x).b), op((x).c), op((x).d)})
#define TWO(type, op, x, y) ((type){op((x).a, (y).a), op((x).b, (y).b), op((x).c, (y).c), op((x).d, (y).d)})
#define PAIR(name, op) static inline vf name(vf x, vf y) { return TWO(vf, op, x, y); }

/* The instructions vmin and vmax prefer NaN: these are a < b ? a : b and a > b ? a : b. */
static inline float32x4_t lesser(float32x4_t a, float32x4_t b) {
    return vbslq_f32(vcltq_f32(a, b), a, b);
}

static inline float32x4_t greater(float32x4_t a, float32x4_t b) {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}

PAIR(vf_add, vaddq_f32)
PAIR(vf_sub, vsubq_f32)
PAIR(vf_mul, vmulq_f32)
PAIR(vf_div, vdivq_f32)
PAIR(vf_min, lesser)
PAIR(vf_max, greater)
#undef PAIR

/* x y + z, rounded once. */
static inline vf vf_fma(vf x, vf y, vf z) {
    return (vf){vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c), vfmaq_f32(z.d, x.d, y.d)};
}

static inline vf vf_set(float x) {
    float32x4_t v = vdupq_n_f32(x);
    return (vf){v, v, v, v};
}

static inline vf vf_load(const float *x) {
    return (vf){vld1q_f32(x), vld1q_f32(x + 4), vld1q_f32(x + 8), vld1q_f32(x + 12)};
}

static inline void vf_store(float *out, vf x) {
    vst1q_f32(out, x.a);
    vst1q_f32(out + 4, x.b);
    vst1q_f32(out + 8, x.c);
    vst1q_f32(out + 12, x.d);
}

static inline float32x4_t load_4_f16(const uint16_t *x) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x)));
}

static inline vf vf_load_f16(const uint16_t *x) {
    return (vf){load_4_f16(x), load_4_f16(x + 4), load_4_f16(x + 8), load_4_f16(x + 12)};
}

static inline float32x4_t load_4_bf16(const uint16_t *x) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(x), 16));
}

static inline vf vf_load_bf16(const uint16_t *x) {
    return (vf){load_4_bf16(x), load_4_bf16(x + 4), load_4_bf16(x + 8), load_4_bf16(x + 12)};
}

static inline vf vf_load_i8(const int8_t *x) {
    int8x16_t bytes = vld1q_s8(x);
    int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
    return (vf){vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_high_s16(low)),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_high_s16(high))};
}

/* The least and the greatest lane; none is NaN, and which zero it is is not told. */
static inline float vf_lowest(vf x) {
    return vminvq_f32(vminq_f32(vminq_f32(x.a, x.b), vminq_f32(x.c, x.d)));
}

static inline float vf_highest(vf x) {
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.a, x.b), vmaxq_f32(x.c, x.d)));
}

/* Folds to 4 lanes and adds them to f64 lanes. */
static inline void vf_flush_quad(double lanes[4], vf x) {
    float32x4_t four = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
    vst1q_f64(lanes, vaddq_f64(vld1q_f64(lanes), vcvt_f64_f32(vget_low_f32(four))));
    vst1q_f64(lanes + 2, vaddq_f64(vld1q_f64(lanes + 2), vcvt_high_f64_f32(four)));
}

static inline vf vf_abs(vf x) {
    return ONE(vf, vabsq_f32, x);
}

static inline float32x4_t zero_nan(float32x4_t x) {
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x), vceqq_f32(x, x)));
}

/* NaN to +0. */
static inline vf vf_zero_nan(vf x) {
    return ONE(vf, zero_nan, x);
}

/* a < b ? yes : no, by lane. */
static inline vf vf_if_less(vf a, vf b, vf yes, vf no) {
    return (vf){vbslq_f32(vcltq_f32(a.a, b.a), yes.a, no.a), vbslq_f32(vcltq_f32(a.b, b.b), yes.b, no.b),
                vbslq_f32(vcltq_f32(a.c, b.c), yes.c, no.c), vbslq_f32(vcltq_f32(a.d, b.d), yes.d, no.d)};
}

/* To the nearest integer, ties to even; a zero keeps its sign. */
static inline vf vf_round(vf x) {
    return ONE(vf, vrndnq_f32, x);
}

static inline float32x4_t round_f16(float32x4_t x) {
    return vcvt_f32_f16(vcvt_f16_f32(x));
}

/* To the nearest f16 value. */
static inline vf vf_round_f16(vf x) {
    return ONE(vf, round_f16, x);
}

static inline void store_4_f16(uint16_t *out, float32x4_t x) {
    vst1_u16(out, vreinterpret_u16_f16(vcvt_f16_f32(x)));
}

/* Of values that are f16 or beyond its range. */
static inline void vf_store_f16(uint16_t *out, vf x) {
    store_4_f16(out, x.a);
    store_4_f16(out + 4, x.b);
    store_4_f16(out + 8, x.c);
    store_4_f16(out + 12, x.d);
}

static inline float32x4_t fold_to_4(vf x) {
    return vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
}

static inline float32x4_t fold_two(float32x4_t x, float32x4_t y) {
    return vaddq_f32(vcombine_f32(vget_low_f32(x), vget_low_f32(y)), vcombine_f32(vget_high_f32(x), vget_high_f32(y)));
}

/* sums[i] += the lanes of the i-th vector, folded in f32 in halves as qd_fold does. */
static inline void vf_fold4(double sums[4], vf x, vf y, vf z, vf w) {
    float32x4_t xy = fold_two(fold_to_4(x), fold_to_4(y)), zw = fold_two(fold_to_4(z), fold_to_4(w));
    float32x4_t folded = vpaddq_f32(xy, zw);
    vst1q_f64(sums, vaddq_f64(vld1q_f64(sums), vcvt_f64_f32(vget_low_f32(folded))));
    vst1q_f64(sums + 2, vaddq_f64(vld1q_f64(sums + 2), vcvt_high_f64_f32(folded)));
}

static inline vi vf_bits(vf x) {
    return ONE(vi, vreinterpretq_s32_f32, x);
}

/* Of integral values, |x| < 2^31. */
static inline vi vf_to_int(vf x) {
    return ONE(vi, vcvtq_s32_f32, x);
}

static inline vi vi_max(vi x, vi y) {
    return TWO(vi, vmaxq_s32, x, y);
}

static inline vi vi_min(vi x, vi y) {
    return TWO(vi, vminq_s32, x, y);
}

static inline vi vi_and(vi x, vi y) {
    return TWO(vi, vandq_s32, x, y);
}

static inline vf vi_to_float(vi x) {
    return ONE(vf, vcvtq_f32_s32, x);
}

static inline void vi_store(uint32_t *out, vi x) {
    vst1q_u32(out, vreinterpretq_u32_s32(x.a));
    vst1q_u32(out + 4, vreinterpretq_u32_s32(x.b));
    vst1q_u32(out + 8, vreinterpretq_u32_s32(x.c));
    vst1q_u32(out + 12, vreinterpretq_u32_s32(x.d));
}

/* Values in [-128, 127]. */
static inline void vi_store_i8(int8_t *out, vi x) {
    int16x8_t low = vcombine_s16(vmovn_s32(x.a), vmovn_s32(x.b)), high = vcombine_s16(vmovn_s32(x.c), vmovn_s32(x.d));
    vst1q_s8(out, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}

/* 32 lanes in [-128, 127] as bytes. */
static inline qd_words vi_to_words(vi x, vi y) {
    qd_words out;
    int8_t lanes[32];
    vi_store_i8(lanes, x);
    vi_store_i8(lanes + 16, y);
    memcpy(&out, lanes, sizeof out);
    return out;
}

static inline void store_32_nibbles(uint8_t *out, vi x, vi y) {
    int8_t lanes[32];
    vi_store_i8(lanes, x);
    vi_store_i8(lanes + 16, y);
    uint8x16x2_t even_odd = vld2q_u8((const uint8_t *)lanes);
    vst1q_u8(out, vorrq_u8(even_odd.val[0], vshlq_n_u8(even_odd.val[1], 4)));
}

/* 64 lanes in [0, 15] as 32 bytes, the first in the low half. */
static inline void vi_store_nibbles(uint8_t *out, vi a, vi b, vi c, vi d) {
    store_32_nibbles(out, a, b);
    store_32_nibbles(out + 16, c, d);
}

/* The largest lane; none is negative. */
static inline uint32_t vi_fold_max(vi x) {
    return (uint32_t)vmaxvq_s32(vmaxq_s32(vmaxq_s32(x.a, x.b), vmaxq_s32(x.c, x.d)));
}

static inline uint32x4_t outside(int32x4_t x, int low, int high) {
    uint32x4_t below = vandq_u32(vcltq_s32(x, vdupq_n_s32(low)), vcgtzq_s32(x));
    return vorrq_u32(below, vcgeq_s32(x, vdupq_n_s32(high)));
}

/* Whether a lane (none is negative) is >= high, or < low and not 0. */
static inline bool vi_outside(vi x, int low, int high) {
    uint32x4_t any = vorrq_u32(vorrq_u32(outside(x.a, low, high), outside(x.b, low, high)),
                               vorrq_u32(outside(x.c, low, high), outside(x.d, low, high)));
    return vmaxvq_u32(any) != 0;
}

static inline float32x4_t power_of_two(int32x4_t shifted) {
    return vreinterpretq_f32_s32(vshlq_n_s32(shifted, 23));
}

/* 2^n from the bits of n + QD_EXP_ROUND: see qd_exp in lanes.h. */
static inline vf vi_power_of_two(vi shifted) {
    return ONE(vf, power_of_two, shifted);
}

static inline float32x4_t split(float32x4_t x, float32x4_t *mantissa) {
    int32x4_t base = vdupq_n_s32((int32_t)QD_SQRT_HALF_BITS), bits = vsubq_s32(vreinterpretq_s32_f32(x), base);
    *mantissa = vreinterpretq_f32_s32(vaddq_s32(vandq_s32(bits, vdupq_n_s32(0x7fffff)), base));
    return vcvtq_f32_s32(vshrq_n_s32(bits, 23));
}

/* x = mantissa * 2^result, the mantissa from the root of 1/2 up: see qd_log in lanes.h. */
static inline vf vf_split(vf x, vf *mantissa) {
    return (vf){split(x.a, &mantissa->a), split(x.b, &mantissa->b), split(x.c, &mantissa->c),
                split(x.d, &mantissa->d)};
}

static inline vi vi_from_u32(uint32_t x) {
    int32x4_t v = vreinterpretq_s32_u32(vdupq_n_u32(x));
    return (vi){v, v, v, v};
}

static inline int32x4_t load_4_u32(const uint32_t *x) {
    return vreinterpretq_s32_u32(vld1q_u32(x));
}

static inline vi vi_load_u32(const uint32_t *x) {
    return (vi){load_4_u32(x), load_4_u32(x + 4), load_4_u32(x + 8), load_4_u32(x + 12)};
}

static inline vi vi_add_i32(vi x, vi y) {
    return TWO(vi, vaddq_s32, x, y);
}

static inline vi vi_xor(vi x, vi y) {
    return TWO(vi, veorq_s32, x, y);
}

static inline void mul_wide(int32x4_t x, uint32_t m, int32x4_t *high, int32x4_t *low) {
    uint32x4_t u = vreinterpretq_u32_s32(x), by = vdupq_n_u32(m);
    uint32x4_t p = vreinterpretq_u32_u64(vmull_u32(vget_low_u32(u), vget_low_u32(by)));
    uint32x4_t q = vreinterpretq_u32_u64(vmull_high_u32(u, by));
    *high = vreinterpretq_s32_u32(vuzp2q_u32(p, q));
    *low = vreinterpretq_s32_u32(vuzp1q_u32(p, q));
}

/* Both halves of the 64-bit products of unsigned lanes and m. */
static inline void vi_mul_wide(vi x, uint32_t m, vi *high, vi *low) {
    mul_wide(x.a, m, &high->a, &low->a);
    mul_wide(x.b, m, &high->b, &low->b);
    mul_wide(x.c, m, &high->c, &low->c);
    mul_wide(x.d, m, &high->d, &low->d);
}

static inline void store_4_blocks(uint32_t *out, int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d) {
    vst4q_s32((int32_t *)out, (int32x4x4_t){{a, b, c, d}});
}

/* out[4 l .. 4 l + 3] = lane l of a, b, c, d. */
static inline void vi_store_blocks(uint32_t *out, vi a, vi b, vi c, vi d) {
    store_4_blocks(out, a.a, b.a, c.a, d.a);
    store_4_blocks(out + 16, a.b, b.b, c.b, d.b);
    store_4_blocks(out + 32, a.c, b.c, c.c, d.c);
    store_4_blocks(out + 48, a.d, b.d, c.d, d.d);
}

static inline vd vd_from(vf x) {
    return (vd){vcvt_f64_f32(vget_low_f32(x.a)), vcvt_high_f64_f32(x.a), vcvt_f64_f32(vget_low_f32(x.b)),
                vcvt_high_f64_f32(x.b),          vcvt_f64_f32(vget_low_f32(x.c)), vcvt_high_f64_f32(x.c),
                vcvt_f64_f32(vget_low_f32(x.d)), vcvt_high_f64_f32(x.d)};
}

static inline vd vd_load(const double *x) {
    return (vd){vld1q_f64(x),     vld1q_f64(x + 2),  vld1q_f64(x + 4),  vld1q_f64(x + 6),
                vld1q_f64(x + 8), vld1q_f64(x + 10), vld1q_f64(x + 12), vld1q_f64(x + 14)};
}

static inline void vd_store(double *out, vd x) {
    vst1q_f64(out, x.a);
    vst1q_f64(out + 2, x.b);
    vst1q_f64(out + 4, x.c);
    vst1q_f64(out + 6, x.d);
    vst1q_f64(out + 8, x.e);
    vst1q_f64(out + 10, x.f);
    vst1q_f64(out + 12, x.g);
    vst1q_f64(out + 14, x.h);
}

static inline vd vd_add(vd x, vd y) {
    return (vd){vaddq_f64(x.a, y.a), vaddq_f64(x.b, y.b), vaddq_f64(x.c, y.c), vaddq_f64(x.d, y.d),
                vaddq_f64(x.e, y.e), vaddq_f64(x.f, y.f), vaddq_f64(x.g, y.g), vaddq_f64(x.h, y.h)};
}

static inline vd vd_mul(vd x, vd y) {
    return (vd){vmulq_f64(x.a, y.a), vmulq_f64(x.b, y.b), vmulq_f64(x.c, y.c), vmulq_f64(x.d, y.d),
                vmulq_f64(x.e, y.e), vmulq_f64(x.f, y.f), vmulq_f64(x.g, y.g), vmulq_f64(x.h, y.h)};
}

static inline double vd_fold(vd x) {
    float64x2_t a = vaddq_f64(x.a, x.e), b = vaddq_f64(x.b, x.f), c = vaddq_f64(x.c, x.g), d = vaddq_f64(x.d, x.h);
    return vpaddd_f64(vaddq_f64(vaddq_f64(a, c), vaddq_f64(b, d)));
}

#include "kernels_vector.h"
