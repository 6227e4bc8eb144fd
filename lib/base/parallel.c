/* parallel.c - one parallel loop. Threads live for one call: the loops here run for milliseconds and more, and a pool
 * would be state that a host has to fork around. Results never depend on which worker ran what. */
#include "base/base.h"

#include <pthread.h>

typedef struct job {
    qdisp_ctx *ctx;
    qd_task task;
    void *arg;
    size_t n;
    size_t next;        /* atomic: first index not yet taken */
    unsigned n_workers; /* atomic: workers that have numbers */
    bool cancelled;     /* set by worker 0, the only one that asks: the callback is never called concurrently */
    size_t failed;      /* lowest failing index so far, n = none */
    qdisp_status status;
    char error[512];
    pthread_mutex_t lock;
} job;

unsigned qd_n_workers(const qdisp_ctx *ctx) {
    return ctx->n_threads;
}

static void run_worker(job *j) {
    unsigned i_worker = __atomic_fetch_add(&j->n_workers, 1, __ATOMIC_RELAXED);
    for (;;) {
        size_t i = __atomic_fetch_add(&j->next, 1, __ATOMIC_RELAXED);
        if (i >= j->n) return;
        if (i_worker == 0 && qd_cancelled(j->ctx)) {
            j->cancelled = true;
            __atomic_store_n(&j->next, j->n, __ATOMIC_RELAXED);
            return;
        }
        qdisp_status status = j->task(j->arg, i, i_worker);
        if (status == QDISP_OK) continue;
        pthread_mutex_lock(&j->lock);
        if (i < j->failed) {
            j->failed = i;
            j->status = status;
            /* the message of this failure, unless another thread has just written its own */
            qd_copy_error(j->ctx, j->error);
        }
        pthread_mutex_unlock(&j->lock);
        __atomic_store_n(&j->next, j->n, __ATOMIC_RELAXED);
        return;
    }
}

static void *thread_main(void *arg) {
    run_worker(arg);
    return NULL;
}

static void host_task(void *arg, size_t i) {
    (void)i;
    run_worker(arg);
}

qdisp_status qd_parallel(qdisp_ctx *ctx, size_t n, qd_task task, void *arg) {
    if (n == 0) return QDISP_OK;
    job j = {.ctx = ctx, .task = task, .arg = arg, .n = n, .failed = n, .lock = PTHREAD_MUTEX_INITIALIZER};
    size_t n_threads = n < ctx->n_threads ? n : ctx->n_threads;
    if (n_threads > 1 && ctx->opt.parallel_for) {
        ctx->opt.parallel_for(ctx->opt.user, n_threads, host_task, &j);
    } else {
        pthread_t threads[64];
        size_t n_started = 0;
        /* too few threads is no failure: those that run take the work */
        while (n_started + 1 < n_threads && n_started < 64 &&
               pthread_create(&threads[n_started], NULL, thread_main, &j) == 0)
            n_started++;
        run_worker(&j);
        for (size_t i = 0; i < n_started; i++) pthread_join(threads[i], NULL);
    }
    pthread_mutex_destroy(&j.lock);
    if (j.status != QDISP_OK) return qd_fail(ctx, j.status, "%s", j.error);
    if (j.cancelled || qd_cancelled(ctx)) return qd_fail(ctx, QDISP_ECANCELLED, "cancelled");
    return QDISP_OK;
}
