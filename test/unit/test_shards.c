/* Weights by content: folders, indices of shards, and what is wrong with them; types that nothing here reads. */
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "tensor/tensor.h"

static qdisp_ctx *ctx;
static char folder[] = "/tmp/qdisp-test-XXXXXX";

static const char *in_folder(const char *name) {
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, 128, "%s/%s", folder, name);
    return path;
}

static void write_text(const char *name, const char *text) {
    FILE *f = fopen(in_folder(name), "wb");
    CHECK(f != NULL);
    if (!f) return;
    fputs(text, f);
    fclose(f);
}

/* A shard with tensors of one f32 element each: names separated by spaces, values 1, 2, ... from first. */
static void write_shard(const char *name, const char *tensors, float first) {
    qdisp_tensor t[8];
    float values[8];
    char text[256];
    size_t n = 0;
    snprintf(text, sizeof text, "%s", tensors);
    for (char *at = strtok(text, " "); at; at = strtok(NULL, " "), n++) {
        values[n] = first + (float)n;
        t[n] = (qdisp_tensor){.name = at, .data = &values[n], .n_bytes = 4, .shape = {1}, .n_dims = 1,
                              .dtype = QDISP_DTYPE_F32};
    }
    CHECK_STATUS(qd_safetensors_write(ctx, in_folder(name), t, n, NULL, 0, NULL, NULL), QDISP_OK);
}

static float value(const qd_tensor_file *file, const char *name) {
    float x = -1;
    const qdisp_tensor *t = qd_tensor_file_find(file, name);
    if (t) memcpy(&x, t->data, 4);
    return x;
}

TEST(test_shards_become_one_file) {
    qd_tensor_file *file = NULL;
    write_shard("a-1.safetensors", "w.a w.c", 1);
    write_shard("a-2.safetensors", "w.b extra", 10);
    write_text("model.safetensors.index.json", "{\"metadata\": {\"total_size\": 12}, \"weight_map\": {"
               "\"w.a\": \"a-1.safetensors\", \"w.b\": \"a-2.safetensors\", \"w.c\": \"a-1.safetensors\"}}");
    const char *paths[] = {folder, in_folder("model.safetensors.index.json")};
    for (size_t i = 0; i < 2; i++) {
        CHECK_STATUS(qd_weights_open(ctx, paths[i], &file), QDISP_OK);
        if (!file) return;
        CHECK(file->n_tensors == 4 && file->n_maps == 2);
        CHECK(value(file, "w.a") == 1 && value(file, "w.b") == 10 && value(file, "w.c") == 2);
        CHECK(value(file, "extra") == 11); /* in a shard, though not in the map */
        const qdisp_tensor *t = qd_tensor_file_find(file, "w.b");
        float x = 0;
        CHECK(qd_tensor_file_maps(file, t->data));
        CHECK_STATUS(qd_tensor_file_read(file, t->data, 4, &x), QDISP_OK);
        CHECK(x == 10);
        qd_tensor_file_free(file);
        file = NULL;
    }
    unlink(in_folder("model.safetensors.index.json"));
}

TEST(test_refuses_indices) {
    static const struct {
        const char *map, *reason;
        qdisp_status status;
    } rows[] = {
        {"{}", "index.json: no object weight_map", QDISP_EFORMAT},
        {"{\"weight_map\": [\"a-1.safetensors\"]}", "no object weight_map", QDISP_EFORMAT},
        {"{\"weight_map\": {\"w.a\": 1}}", "'w.a': not the name of a file", QDISP_EFORMAT},
        {"{\"weight_map\": {\"w.a\": \"../a-1.safetensors\"}}", "'../a-1.safetensors' is not the name", QDISP_EFORMAT},
        {"{\"weight_map\": {\"w.a\": \"..\"}}", "'..' is not the name of a file in this folder", QDISP_EFORMAT},
        {"{\"weight_map\": {\"w.a\": \".\"}}", "'.' is not the name", QDISP_EFORMAT},
        {"{\"weight_map\": {\"w.a\": \"\"}}", "'' is not the name", QDISP_EFORMAT},
        {"{\"weight_map\": {\"w.a\": \"/etc/passwd\"}}", "'/etc/passwd' is not the name", QDISP_EFORMAT},
        {"{\"weight_map\": {\"w.a\": \"x\\\\a\"}}", "'x\\a' is not the name", QDISP_EFORMAT},
        {"{\"weight_map\": {\"w.a\": \"C:a\"}}", "'C:a' is not the name", QDISP_EFORMAT},
        {"{\"weight_map\": {\"w.a\": \"a\\u0000b\"}}", "line 1: ", QDISP_EFORMAT},
        {"{\"weight_map\": {\"w.a\": \"a-1.safetensors\", \"w.a\": \"a-2.safetensors\"}}", "duplicate", QDISP_EFORMAT},
        {"{\"weight_map\": {\"w.a\": \"a-9.safetensors\"}}", "the shard 'a-9.safetensors' is not there",
         QDISP_ENOTFOUND},
        {"{\"weight_map\": {\"w.z\": \"a-1.safetensors\"}}", "tensor 'w.z' is not in 'a-1.safetensors'", QDISP_EFORMAT},
        {"{\"weight_map\": {\"w.a\": \"a-2.safetensors\", \"w.c\": \"a-1.safetensors\"}}",
         "tensor 'w.a' is not in 'a-2.safetensors', but in a-1.safetensors", QDISP_EFORMAT},
        {"{\"weight_map\": {\"w.a\": \"a-1.safetensors\", \"x\": \"a-3.safetensors\"}}",
         "tensor 'w.c' is in two shards", QDISP_EFORMAT},
        {"{\"weight_map\": {\"w.a\": \"a-4.safetensors\"}}", "a-4.safetensors: ", QDISP_EUNSUPPORTED},
        {"{\"weight_map\": {\"w.a\": \"folder\"}}", "folder: ", QDISP_EIO},
        {"{\"weight_map\": {", "line 1: ", QDISP_EFORMAT},
    };
    write_shard("a-3.safetensors", "w.c x", 5);
    write_text("a-4.safetensors", "nothing that is known");
    mkdir(in_folder("folder"), 0700);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qd_tensor_file *file = NULL;
        int bad = harness_bad;
        write_text("model.safetensors.index.json", rows[i].map);
        CHECK_STATUS(qd_weights_open(ctx, folder, &file), rows[i].status);
        CHECK(!file);
        CHECK_HAS(qdisp_ctx_error(ctx), rows[i].reason);
        if (bad != harness_bad) printf("  row %zu: %s\n", i, rows[i].map);
        qd_tensor_file_free(file);
    }
    rmdir(in_folder("folder"));
    unlink(in_folder("model.safetensors.index.json"));
}

TEST(test_by_content) {
    qd_tensor_file *file = NULL;
    CHECK_STATUS(qd_weights_open(ctx, folder, &file), QDISP_ENOTFOUND);
    CHECK_HAS(qdisp_ctx_error(ctx), "No such file, nor model.safetensors.index.json");
    CHECK_STATUS(qd_weights_open(ctx, in_folder("a-4.safetensors"), &file), QDISP_EUNSUPPORTED);
    CHECK_STATUS(qd_weights_open(ctx, in_folder("none"), &file), QDISP_ENOTFOUND);
    write_text("short", "{");
    CHECK_STATUS(qd_weights_open(ctx, in_folder("short"), &file), QDISP_EUNSUPPORTED);
    write_shard("named.bin", "x", 3); /* safetensors, whatever its name */
    CHECK_STATUS(qd_weights_open(ctx, in_folder("named.bin"), &file), QDISP_OK);
    CHECK(value(file, "x") == 3);
    qd_tensor_file_free(file);
    file = NULL;
    rename(in_folder("named.bin"), in_folder("pytorch_model.bin"));
    CHECK_STATUS(qd_weights_open(ctx, folder, &file), QDISP_OK);
    CHECK(value(file, "x") == 3);
    qd_tensor_file_free(file);
    file = NULL;
    unlink(in_folder("pytorch_model.bin"));
    write_text("a.gguf", "x");
    write_text("b.gguf", "x");
    CHECK_STATUS(qd_weights_open(ctx, folder, &file), QDISP_EUNSUPPORTED);
    CHECK_HAS(qdisp_ctx_error(ctx), "several models in GGUF");
}

/* Every value of the small floats, by the definition of each type. */
TEST(test_minifloats) {
    static const struct {
        const char *dtype;
        int n_codes, code;
        float value;
    } rows[] = {
        {"F8_E4M3", 256, 0x7e, 448}, {"F8_E4M3", 256, 0x01, 0x1p-9f}, {"F8_E4M3", 256, 0x7f, NAN},
        {"F8_E4M3", 256, 0xff, NAN}, {"F8_E4M3", 256, 0x38, 1}, {"F8_E4M3", 256, 0xb8, -1},
        {"F8_E4M3", 256, 0x08, 0x1p-6f}, {"F8_E4M3", 256, 0x80, -0.0f}, {"F8_E5M2", 256, 0x7b, 57344},
        {"F8_E5M2", 256, 0x7c, INFINITY}, {"F8_E5M2", 256, 0xfc, -INFINITY}, {"F8_E5M2", 256, 0x7d, NAN},
        {"F8_E5M2", 256, 0x01, 0x1p-16f}, {"F8_E4M3FNUZ", 256, 0x7f, 240}, {"F8_E4M3FNUZ", 256, 0x80, NAN},
        {"F8_E5M2FNUZ", 256, 0x7f, 57344}, {"F8_E5M2FNUZ", 256, 0x80, NAN}, {"F8_E8M0", 256, 0, 0x1p-127f},
        {"F8_E8M0", 256, 254, 0x1p127f}, {"F8_E8M0", 256, 255, NAN}, {"F4", 16, 1, 0.5f}, {"F4", 16, 7, 6},
        {"F4", 16, 15, -6}, {"F4", 16, 3, 1.5f},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t bytes[600];
        char header[128];
        int n = rows[i].n_codes, n_bytes = n == 16 ? 8 : n;
        snprintf(header, sizeof header, "{\"x\":{\"dtype\":\"%s\",\"shape\":[2,%d],\"data_offsets\":[0,%d]}}",
                 rows[i].dtype, n / 2, n_bytes);
        size_t n_header = strlen(header);
        for (size_t k = 0; k < 8; k++) bytes[k] = (uint8_t)(n_header >> 8 * k);
        memcpy(bytes + 8, header, n_header);
        for (int k = 0; k < n_bytes; k++)
            bytes[8 + n_header + (size_t)k] = (uint8_t)(n == 16 ? 2 * k | (2 * k + 1) << 4 : k);
        qd_tensor_file *file = NULL;
        CHECK_STATUS(qd_tensor_file_parse(ctx, "f8", bytes, 8 + n_header + (size_t)n_bytes, &file), QDISP_OK);
        if (!file) continue;
        const qdisp_tensor *t = &file->tensors[0];
        float all[256], one;
        CHECK_STR(qd_tensor_format(t), rows[i].dtype);
        CHECK(qd_tensor_is_float(t) && qd_tensor_value_dtype(t) == QDISP_DTYPE_BF16);
        CHECK(qd_load_f32(ctx->kernels, t->data, QDISP_DTYPE_PACKED, 0, (size_t)n, all) == all);
        qd_load_f32(ctx->kernels, t->data, QDISP_DTYPE_PACKED, (size_t)rows[i].code, 1, &one);
        CHECK_NEAR(all[rows[i].code], rows[i].value, 0);
        CHECK(!memcmp(&one, &all[rows[i].code], 4) && (isnan(one) || !signbit(one) == !signbit(rows[i].value)));
        for (int k = 0; k < n; k++) CHECK(isnan(all[k]) || qd_bf16_to_f32(qd_f32_to_bf16(all[k])) == all[k]);
        qd_tensor_file_free(file);
    }
}

int main(void) {
    if (!mkdtemp(folder) || qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(test_shards_become_one_file);
    RUN(test_refuses_indices);
    RUN(test_by_content);
    RUN(test_minifloats);
    qdisp_ctx_free(ctx);
    char command[64];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    if (system(command) != 0) puts("temporary folder left behind");
    return TEST_END();
}
