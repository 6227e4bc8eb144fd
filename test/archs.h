/* archs.h - models of every architecture with their golden values: the folders of test/golden/arch, which make_archs.py
 * writes and describes. */
#ifndef ARCHS_H
#define ARCHS_H

#include <dirent.h>

#include "harness.h"
#include "model/model.h"

#ifndef QDISP_ROOT
#define QDISP_ROOT "."
#endif
#define FOLDER QDISP_ROOT "/test/golden/arch"
#define MAX_FOLDERS 128

static char folders[MAX_FOLDERS][64];
static size_t n_folders;

static int archs_by_name(const void *a, const void *b) {
    return strcmp(a, b);
}

/* Lists the folders, or one that the program is asked for; 0 if there is none. */
static size_t list_folders(int argc, char **argv) {
    DIR *d = opendir(FOLDER);
    for (struct dirent *entry; d && (entry = readdir(d)) && n_folders < MAX_FOLDERS;) {
        if (entry->d_name[0] == '.' || (argc > 1 && strcmp(argv[1], entry->d_name))) continue;
        snprintf(folders[n_folders++], sizeof folders[0], "%.63s", entry->d_name);
    }
    if (d) closedir(d);
    qsort(folders, n_folders, sizeof folders[0], archs_by_name);
    printf("%zu folders\n", n_folders);
    return n_folders;
}

typedef struct golden {
    const char *name;
    qdisp_ctx *ctx;
    qdisp_model *model;
    const qdisp_model_info *info;
    qd_tensor_file *file;
    qdisp_batch batch;
    size_t n_rows, n_seq;   /* of batch.ids */
    size_t starts[16], source_starts[16];
} golden;

static const qdisp_tensor *find(const golden *g, const char *name) {
    return qd_tensor_file_find(g->file, name);
}

static const void *data(const golden *g, const char *name) {
    const qdisp_tensor *t = find(g, name);
    CHECK(t != NULL);
    return t ? t->data : NULL; /* the writer aligns them */
}

static size_t read_starts(const golden *g, const char *name, size_t *starts) {
    const qdisp_tensor *t = find(g, name);
    CHECK(t && t->n_dims == 1 && t->shape[0] <= 16);
    if (!t) return 0;
    for (size_t i = 0; i < t->shape[0]; i++) starts[i] = (size_t)((const int32_t *)t->data)[i];
    return (size_t)t->shape[0] - 1;
}

static void close_golden(golden *g) {
    qdisp_model_free(g->model);
    qd_tensor_file_free(g->file);
    qdisp_ctx_free(g->ctx);
}

static int open_golden_as(golden *g, const char *name, unsigned n_threads, const char *isa) {
    char path[512];
    qdisp_ctx_options options = {.size = sizeof options, .n_threads = n_threads, .isa = isa, .own_blas = 1};
    *g = (golden){.name = name};
    CHECK_STATUS(qdisp_ctx_new(&options, &g->ctx), QDISP_OK);
    snprintf(path, sizeof path, FOLDER "/%.63s/golden.safetensors", name);
    CHECK_STATUS(qd_safetensors_open(g->ctx, path, &g->file), QDISP_OK);
    snprintf(path, sizeof path, FOLDER "/%.63s", name);
    CHECK_STATUS(qdisp_model_open(g->ctx, path, &g->model), QDISP_OK);
    if (!g->file || !g->model) {
        printf("%s: %s\n", name, qdisp_ctx_error(g->ctx));
        close_golden(g);
        return 0;
    }
    g->info = qdisp_model_describe(g->model);
    bool has_source = g->info->kind == QDISP_MODEL_ENCODER_DECODER;
    g->n_seq = read_starts(g, has_source ? "target_starts" : "starts", g->starts);
    g->batch = (qdisp_batch){.size = sizeof g->batch, .starts = g->starts, .n_seq = g->n_seq};
    g->batch.ids = data(g, has_source ? "target_ids" : "ids");
    if (has_source) {
        read_starts(g, "starts", g->source_starts);
        g->batch.source_starts = g->source_starts;
        g->batch.source_ids = data(g, "ids");
    }
    g->n_rows = g->starts[g->n_seq];
    return 1;
}

static int open_golden(golden *g, const char *name, unsigned n_threads) {
    return open_golden_as(g, name, n_threads, NULL);
}

/* Sign of index j in vector k: see make_archs.py. */
static double sign(uint64_t k, uint64_t j) {
    uint64_t z = (k << 32) + j + 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) >> 63 ? -1 : 1;
}

/* The largest error of n values, relative to the largest of them; NaN must meet NaN. */
static double difference(const float *got, const float *wanted, size_t n) {
    double largest = 0, error = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(wanted[i]) || isnan(got[i])) {
            if (!isnan(wanted[i]) || !isnan(got[i])) return INFINITY;
            continue;
        }
        largest = fmax(largest, fabs((double)wanted[i]));
        error = fmax(error, fabs((double)got[i] - (double)wanted[i]));
    }
    return error == 0 ? 0 : error / largest;
}

static void check_error(const golden *g, const char *what, double error, double tolerance) {
    CHECK(error <= tolerance);
    if (!(error <= tolerance)) printf("%s: %s differs by %.1e\n", g->name, what, error);
}

#endif
