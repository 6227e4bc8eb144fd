/* test_census.c - the census of a file is that of the same tensors in memory, to the bit; it reads, and says so when
 * the file has shrunk. */
#include "../harness.h"
#include "model/model.h"
#include "stats/stats.h"

#include <unistd.h>

static const char folder[] = QDISP_ROOT "/examples/data/model";

static qdisp_ctx *new_ctx(const char *isa, unsigned n_threads) {
    qdisp_ctx_options options = {.size = sizeof options, .isa = isa, .n_threads = n_threads};
    qdisp_ctx *made = NULL;
    CHECK_STATUS(qdisp_ctx_new(&options, &made), QDISP_OK);
    return made;
}

static int same_tables(const qdisp_table *a, const qdisp_table *b) {
    size_t n = qdisp_table_n_rows(a);
    if (n != qdisp_table_n_rows(b) || qdisp_table_n_columns(a) != qdisp_table_n_columns(b)) return 0;
    for (size_t c = 0; c < qdisp_table_n_columns(a); c++) {
        qdisp_column_type type = qdisp_table_column_type(a, c);
        if (type == QDISP_COLUMN_STR) continue;
        const void *x = type == QDISP_COLUMN_F64 ? (const void *)qdisp_table_f64(a, c) : qdisp_table_i64(a, c);
        const void *y = type == QDISP_COLUMN_F64 ? (const void *)qdisp_table_f64(b, c) : qdisp_table_i64(b, c);
        if (memcmp(x, y, n * 8) != 0) return 0;
    }
    return 1;
}

/* The same tensors from memory, odd addresses included. */
static qdisp_model *in_memory(qdisp_ctx *ctx, const qdisp_model *model, char **bytes) {
    qdisp_tensor *tensors = calloc(model->n_tensors, sizeof *tensors);
    qdisp_model *made = NULL;
    size_t at = 1, total = 1;
    for (size_t i = 0; i < model->n_tensors; i++) total += (size_t)model->tensors[i].n_bytes + 1;
    *bytes = malloc(total);
    for (size_t i = 0; i < model->n_tensors; i++) {
        tensors[i] = model->tensors[i];
        memcpy(*bytes + at, tensors[i].data, (size_t)tensors[i].n_bytes);
        tensors[i].data = *bytes + at;
        at += (size_t)tensors[i].n_bytes + 1;
    }
    CHECK_STATUS(qdisp_model_from_tensors(ctx, model->config_text, tensors, model->n_tensors, &made), QDISP_OK);
    free(tensors);
    return made;
}

TEST(a_file_is_as_memory) {
    qdisp_ctx *ctx = new_ctx(NULL, 2);
    qdisp_model *model = NULL;
    qdisp_table *want = NULL;
    char *bytes = NULL;
    CHECK_STATUS(qdisp_model_open(ctx, folder, &model), QDISP_OK);
    CHECK_STATUS(qdisp_census(model, &want), QDISP_OK);
    static const struct { const char *isa; unsigned n_threads; } runs[] = {{NULL, 1}, {"c", 3}, {NULL, 7}};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        qdisp_ctx *other = new_ctx(runs[i].isa, runs[i].n_threads);
        qdisp_model *copy = in_memory(other, model, &bytes), *again = NULL;
        qdisp_table *memory = NULL, *file = NULL;
        CHECK_STATUS(qdisp_model_open(other, folder, &again), QDISP_OK);
        CHECK_STATUS(qdisp_census(copy, &memory), QDISP_OK);
        CHECK_STATUS(qdisp_census(again, &file), QDISP_OK);
        CHECK(same_tables(want, memory) && same_tables(want, file));
        qdisp_table_free(memory);
        qdisp_table_free(file);
        qdisp_model_free(copy);
        qdisp_model_free(again);
        qdisp_ctx_free(other);
        free(bytes);
    }
    qdisp_table_free(want);
    qdisp_model_free(model);
    qdisp_ctx_free(ctx);
}

/* Every row of the census is the shape of its tensor as an array. The census merges rows, the array spans: short f32
 * sums about other pivots, some 1e-7 of m4. */
TEST(rows_are_shapes) {
    qdisp_ctx *ctx = new_ctx(NULL, 0);
    qdisp_model *model = NULL;
    qdisp_table *t = NULL;
    size_t n_compared = 0;
    CHECK_STATUS(qdisp_model_open(ctx, folder, &model), QDISP_OK);
    CHECK_STATUS(qdisp_census(model, &t), QDISP_OK);
    const double *kurtosis = qdisp_table_f64(t, qdisp_table_find(t, "kurtosis"));
    const double *l_kurtosis = qdisp_table_f64(t, qdisp_table_find(t, "l_kurtosis"));
    const double *hill = qdisp_table_f64(t, qdisp_table_find(t, "hill_index"));
    const double *energy = qdisp_table_f64(t, qdisp_table_find(t, "outlier_energy"));
    const int64_t *n = qdisp_table_i64(t, qdisp_table_find(t, "n"));
    for (size_t row = 0; row < qdisp_table_n_rows(t); row++) {
        const char *name = qdisp_table_str(t, qdisp_table_find(t, "tensor"))[row];
        for (size_t i = 0; i < model->n_tensors; i++) {
            const qdisp_tensor *tensor = &model->tensors[i];
            qdisp_shape s;
            if (strcmp(tensor->name, name) || (uint64_t)n[row] != qd_tensor_n_elements(tensor)) continue;
            CHECK_STATUS(qdisp_shape_compute(ctx, tensor->data, (qdisp_dtype)tensor->dtype, (size_t)n[row], &s),
                         QDISP_OK);
            CHECK(fabs(qdisp_moments_kurtosis(&s.moments) - kurtosis[row]) <= 1e-5 * (3 + kurtosis[row]));
            CHECK_NEAR(s.t4, l_kurtosis[row], 1e-6);
            CHECK_NEAR(s.hill_index, hill[row], 1e-12); /* from counts alone */
            CHECK(fabs(s.outlier_energy - energy[row]) <= 1e-6);
            CHECK(l_kurtosis[row] > 0 && hill[row] > 0);
            n_compared++;
        }
    }
    CHECK(n_compared > 10 && qdisp_table_n_rows(t) > n_compared); /* and parts */
    qdisp_table_free(t);
    qdisp_model_free(model);
    qdisp_ctx_free(ctx);
}

TEST(a_file_that_shrinks_is_an_error) {
    char path[] = "/tmp/qdisp-census-XXXXXX", command[512];
    qdisp_ctx *ctx = new_ctx(NULL, 2);
    qdisp_model *model = NULL;
    qdisp_table *t = NULL;
    if (!mkdtemp(path)) SKIP("no temporary folder");
    snprintf(command, sizeof command, "cp '%s/config.json' '%s/model.safetensors' '%s'", folder, folder, path);
    CHECK(system(command) == 0);
    CHECK_STATUS(qdisp_model_open(ctx, path, &model), QDISP_OK);
    snprintf(command, sizeof command, "%s/model.safetensors", path);
    CHECK(truncate(command, 1 << 20) == 0);
    CHECK_STATUS(qdisp_census(model, &t), QDISP_EIO);
    CHECK_HAS(qdisp_ctx_error(ctx), "is gone, of");
    CHECK(t == NULL);
    qdisp_model_free(model);
    qdisp_ctx_free(ctx);
    unlink(command);
    snprintf(command, sizeof command, "%s/config.json", path);
    unlink(command);
    rmdir(path);
}

/* Packed tensors are decoded by spans: the census of transposed views is that of the arrays, to the bit. */
TEST(a_packed_tensor_is_as_its_values) {
    qdisp_ctx *ctx = new_ctx(NULL, 2);
    qdisp_model *plain = NULL, *packed = NULL;
    qdisp_table *want = NULL, *got = NULL;
    CHECK_STATUS(qdisp_model_open(ctx, QDISP_ROOT "/test/golden/bloom_f32", &plain), QDISP_OK);
    CHECK_STATUS(qdisp_model_open(ctx, QDISP_ROOT "/test/golden/torch/bloom", &packed), QDISP_OK);
    if (plain && packed) {
        size_t n = 0;
        for (size_t i = 0; i < packed->n_tensors; i++) n += packed->tensors[i].dtype == QDISP_DTYPE_PACKED;
        CHECK(n > 5);
        CHECK_STATUS(qdisp_census(plain, &want), QDISP_OK);
        CHECK_STATUS(qdisp_census(packed, &got), QDISP_OK);
        CHECK(want && got && same_tables(want, got));
    }
    qdisp_table_free(want);
    qdisp_table_free(got);
    qdisp_model_free(plain);
    qdisp_model_free(packed);
    qdisp_ctx_free(ctx);
}

int main(void) {
    RUN(a_file_is_as_memory);
    RUN(rows_are_shapes);
    RUN(a_file_that_shrinks_is_an_error);
    RUN(a_packed_tensor_is_as_its_values);
    return TEST_END();
}
