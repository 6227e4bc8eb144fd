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

qdisp_status qd_gemm_each(qdisp_ctx *ctx, bool threaded, size_t n, qd_task task, void *arg) {
    if (!threaded) return qd_parallel(ctx, n, task, arg);
    for (size_t i = 0; i < n; i++) {
        if (qd_cancelled(ctx)) return qd_fail(ctx, QDISP_ECANCELLED, "cancelled");
        QD_TRY(task(arg, i, 0));
    }
    return QDISP_OK;
}

void qd_gemm(bool a_transposed, bool b_transposed, size_t m, size_t n, size_t k, float alpha, const float *a,
             size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc) {
    bool locked = openblas_get_parallel() == OPENBLAS_SEQUENTIAL;
    if (locked) pthread_mutex_lock(&sequential_lock);
    cblas_sgemm(CblasRowMajor, a_transposed ? CblasTrans : CblasNoTrans, b_transposed ? CblasTrans : CblasNoTrans,
                (blasint)m, (blasint)n, (blasint)k, alpha, a, (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
    if (locked) pthread_mutex_unlock(&sequential_lock);
}

/* LAPACK comes with OpenBLAS, but not always with a header. */
void spotrf_(const char *uplo, const blasint *n, float *a, const blasint *lda, blasint *info);
void dpotrf_(const char *uplo, const blasint *n, double *a, const blasint *lda, blasint *info);

/* LAPACK's matrices are column-major: our lower half is its upper one. */
#define CHOLESKY(name, type, potrf)                                                  \
    size_t name(size_t n, type *a) {                                                 \
        bool locked = openblas_get_parallel() == OPENBLAS_SEQUENTIAL;                \
        blasint size = (blasint)n, info = 0;                                         \
        if (locked) pthread_mutex_lock(&sequential_lock);                            \
        potrf("U", &size, a, &size, &info);                                          \
        if (locked) pthread_mutex_unlock(&sequential_lock);                          \
        return info < 0 ? 1 : (size_t)info;                                          \
    }
CHOLESKY(qd_cholesky_f32, float, spotrf_)
CHOLESKY(qd_cholesky_f64, double, dpotrf_)
