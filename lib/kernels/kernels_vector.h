/* kernels_vector.h - the kernels over 16-lane vectors, once for all vector instruction sets. A file kernels_NAME.c
 * defines QD_ISA (its name), the types vf, vi (16 floats, 16 int32) and vd (16 doubles) with the operations used below,
 * and includes this. The bits are those of c_*.c: read those first. */
#ifndef QD_KERNELS_VECTOR_H
#define QD_KERNELS_VECTOR_H

#define QD_INLINE __attribute__((always_inline))

/* m < 16 elements, the other lanes `fill`. */
static inline vf vf_part(const float *x, size_t m, float fill) {
    float lanes[QD_STEP];
    vf_store(lanes, vf_set(fill));
    memcpy(lanes, x, m * sizeof *x);
    return vf_load(lanes);
}

static inline void vf_store_part(float *out, size_t m, vf v) {
    float lanes[QD_STEP];
    vf_store(lanes, v);
    memcpy(out, lanes, m * sizeof *out);
}

/* lanes += f32 sums: a flush. */
static inline void vd_flush(double lanes[QD_STEP], vf sums) {
    vd_store(lanes, vd_add(vd_load(lanes), vd_from(sums)));
}

#include "vector_moments.h"
#include "vector_quantize.h"
#include "vector_pack.h"
#include "vector_search.h"
#include "vector_forward.h"
#include "vector_activate.h"
#include "vector_norm.h"
#include "vector_product.h"
#include "vector_random.h"
#include "vector_half_quadratic.h"

#define QD_PASTE_(a, b) a##b
#define QD_PASTE(a, b) QD_PASTE_(a, b)
const qd_kernels QD_PASTE(qd_kernels_, QD_ISA) = {
#define K(name, ret, args) .name = v_##name,
#include "kernels.inc"
#undef K
};

#endif
