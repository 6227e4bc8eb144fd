/* gemm.h - the one door to OpenBLAS. */
#ifndef QD_GEMM_H
#define QD_GEMM_H

#include "base/base.h"

/* Who uses the processors during a backward pass? true: OpenBLAS runs its own threads inside a product, so products are
 * called from one thread; false: the library's threads each call products that run in one thread. */
bool qd_gemm_is_threaded(const qdisp_ctx *ctx);
/* c [m, n] = alpha a b + beta c, row-major with row strides; a is [m, k], or [k, m] if a_transposed; b is [k, n], or
 * [n, k] if b_transposed. Any thread. */
void qd_gemm(bool a_transposed, bool b_transposed, size_t m, size_t n, size_t k, float alpha, const float *a,
             size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc);
/* task(arg, i, i_worker) for i in [0, n), tasks that call products: on the library's threads, or one after another if
 * OpenBLAS has its own (threaded, as qd_gemm_is_threaded said). */
qdisp_status qd_gemm_each(qdisp_ctx *ctx, bool threaded, size_t n, qd_task task, void *arg);
/* The lower factor L of a positive definite a [n, n] = L L^T, row-major, of which the lower half is read and replaced:
 * 0, or 1 + the row where it is not positive definite (LAPACK's potrf). */
size_t qd_cholesky_f32(size_t n, float *a);
size_t qd_cholesky_f64(size_t n, double *a);

#endif
