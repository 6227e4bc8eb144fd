/* bench_jobs.c - runs the cases of bench_cases.c at every number of threads, beside the limit of each. */
#include "bench_jobs.h"
#include "bench_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int bench_memory(const bench_options *o, const char *name) {
    qdisp_ctx_options options = {.size = sizeof options, .n_threads = o->threads[0], .own_blas = 1};
    static run r;
    char line[128];
    int kb = 0;
    qdisp_status status = qdisp_ctx_new(&options, &r.ctx);
    r.o = o;
    snprintf(r.folder, sizeof r.folder, "%s", o->model);
    for (size_t i = 0; i < bench_n_jobs && status == QDISP_OK; i++) {
        r.job = &bench_job_table[i];
        if (strcmp(r.job->name, name)) continue;
        if (r.job->limit == PRODUCTS) status = r.job->prepare(&r); /* opens the model, and no other */
        if (status == QDISP_OK) status = r.job->pass(&r);
    }
    FILE *f = fopen("/proc/self/status", "r"); /* VmHWM counts mapped pages, and not those of the parent */
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %d", &kb) == 1) printf("%d\n", kb);
    if (f) fclose(f);
    return status != QDISP_OK || kb == 0; /* the process ends here */
}

/* In a process of its own, which makes no inputs. */
static void note_memory(run *r) {
    char command[2048];
    int kb = 0;
    snprintf(command, sizeof command, "/proc/%ld/exe %s --threads %u --model '%s' --memory %s", (long)getpid(),
             r->o->scale == BENCH_FULL ? "" : "--quick", r->row.threads, *r->folder ? r->folder : r->o->model,
             r->job->name);
    FILE *f = popen(command, "r");
    if (f && fscanf(f, "%d", &kb) == 1) snprintf(r->row.note, sizeof r->row.note, "max RSS %.0f MB", kb / 1e3);
    if (f) pclose(f);
}

static int one_pass(void *arg) {
    run *r = arg;
    return r->job->pass(r) != QDISP_OK;
}

static void set_limit(run *r) {
    char path[600];
    double gbs = 0;
    if (r->job->limit == READ) gbs = bench_read_limit(r->o, r->f32, 4 * r->n, r->row.threads);
    if (r->job->limit == FILE_READ) {
        snprintf(path, sizeof path, "%s/model.safetensors", r->folder);
        gbs = bench_file_limit(r->o, path, r->row.threads);
        note_memory(r);
    }
    if (r->job->limit == PRODUCTS) {
        double rate = bench_products_limit(r->o, qdisp_ctx_isa(r->ctx));
        if (rate > 0) r->row.limit = "fma", r->row.limit_seconds = r->products / rate / r->row.threads;
        note_memory(r);
    }
    if (gbs > 0) r->row.limit_seconds = 1e-9 * r->row.bytes / gbs;
    if (gbs > 0) r->row.limit = r->job->limit == READ ? "read" : "file";
}

static void bench_job(run *r, unsigned threads) {
    qdisp_ctx_options options = {.size = sizeof options, .n_threads = threads, .isa = r->o->isa, .own_blas = 1};
    bench_times times;
    r->row = (bench_row){.name = r->job->name, .by = "-", .threads = threads, .unit = r->job->unit};
    if (qdisp_ctx_new(&options, &r->ctx) != QDISP_OK) {
        bench_skip(r->o, &r->row, "no context: an instruction set that this CPU lacks, or no memory");
        return;
    }
    r->row.by = qdisp_ctx_isa(r->ctx);
    bench_confine(threads);
    qdisp_status status = r->job->prepare(r);
    if (status == QDISP_OK) {
        set_limit(r);
        bench_confine(threads);
        status = bench_measure(r->o, one_pass, r, &times) ? QDISP_EINVAL : QDISP_OK;
    }
    if (status == QDISP_OK) bench_print(r->o, &r->row, &times);
    else bench_skip(r->o, &r->row, qdisp_ctx_error(r->ctx));
    qdisp_quantizer_free(r->quantizer), qdisp_corpus_free(r->corpus), qdisp_tokenizer_free(r->tokenizer);
    qdisp_calib_free(r->calib), qdisp_model_free(r->model), qdisp_ctx_free(r->ctx);
    r->quantizer = NULL, r->corpus = NULL, r->tokenizer = NULL, r->calib = NULL, r->model = NULL, r->ctx = NULL;
}

void bench_list_jobs(void) {
    for (size_t i = 0; i < bench_n_jobs; i++) puts(bench_job_table[i].name);
}

void bench_jobs(const bench_options *o) {
    static run r;
    r.o = o;
    r.n = (size_t)1 << (o->scale == BENCH_FULL ? 28 : o->scale == BENCH_QUICK ? 24 : 18);
    r.n_rows = r.n / MATRIX_COLUMNS < MATRIX_ROWS ? r.n / MATRIX_COLUMNS : MATRIX_ROWS;
    for (size_t i = 0; i < bench_n_jobs; i++) {
        r.job = &bench_job_table[i];
        if (!bench_selected(o, r.job->name)) continue;
        for (size_t t = 0; t < o->n_threads; t++) bench_job(&r, o->threads[t]);
        if (*r.folder) bench_model_remove(r.folder);
        *r.folder = 0;
    }
    free(r.f32), free(r.f16), free(r.bf16), free(r.moments), free(r.bytes);
    free(r.quantized), free(r.steps), free(r.scales), free(r.energy), free(r.packed_scales);
    free(r.h), free(r.units);
}
