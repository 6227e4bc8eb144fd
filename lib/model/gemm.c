/* gemm.c - products by OpenBLAS, whatever build of it the process has.
 *
 * A build with threads is safe to call from several threads. Its thread count belongs to the process: it is only set
 * (to one, as our own threads do better: they also share what lies between the products) if the host says that OpenBLAS
 * is ours alone (own_blas). A build without threads is not safe: two concurrent calls can take the same packing buffer
 * (its table of buffers is only locked in builds with threads or with USE_LOCKING, and no function tells which it is),
 * so calls to it go one at a time. That lock is the library's one global: it guards a global of OpenBLAS. */
#include "model/gemm.h"

#include <cblas.h>
#include <pthread.h>

static pthread_mutex_t sequential_lock = PTHREAD_MUTEX_INITIALIZER;

bool qd_gemm_is_threaded(const qdisp_ctx *ctx) {
    if (openblas_get_parallel() == OPENBLAS_SEQUENTIAL || openblas_get_num_threads() == 1) return false;
    if (!ctx->opt.own_blas) return true;
    openblas_set_num_threads(1);
    return false;
}

void qd_gemm(bool a_transposed, bool b_transposed, size_t m, size_t n, size_t k, float alpha, const float *a,
             size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc) {
    bool locked = openblas_get_parallel() == OPENBLAS_SEQUENTIAL;
    if (locked) pthread_mutex_lock(&sequential_lock);
    cblas_sgemm(CblasRowMajor, a_transposed ? CblasTrans : CblasNoTrans, b_transposed ? CblasTrans : CblasNoTrans,
                (blasint)m, (blasint)n, (blasint)k, alpha, a, (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
    if (locked) pthread_mutex_unlock(&sequential_lock);
}
