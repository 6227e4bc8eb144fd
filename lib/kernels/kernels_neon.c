/* kernels_neon.c - 16 lanes as four 128-bit registers (doubles: eight). AArch64; fused operations stay off. */
#include "lanes.h"

#include <arm_neon.h>

#define QD_ISA neon

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
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(shifted, vdupq_n_s32(127 - 0x4b400000)), 23));
}

/* 2^n from the bits of n + QD_ROUND: see exp_one in c_forward.c. */
static inline vf vi_power_of_two(vi shifted) {
    return ONE(vf, power_of_two, shifted);
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
