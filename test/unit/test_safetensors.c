/* Reading and writing safetensors: what the format allows, and that a file comes back as it was written. */
#include <unistd.h>

#include "harness.h"
#include "tensor/tensor.h"

static qdisp_ctx *ctx;
static char folder[] = "/tmp/qdisp-test-XXXXXX";
static char path[64];

/* A file in memory: header length, header, data. */
static qdisp_status parse(const char *header, const void *data, size_t n_data, qd_tensor_file **out) {
    static uint8_t bytes[65536]; /* lives as long as the file must */
    size_t n = strlen(header);
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)((uint64_t)n >> (8 * i));
    memcpy(bytes + 8, header, n);
    if (n_data) memcpy(bytes + 8 + n, data, n_data);
    return qd_tensor_file_parse(ctx, "memory", bytes, 8 + n + n_data, out);
}

TEST(test_reads_every_dtype) {
    static const struct {
        const char *name;
        qdisp_dtype dtype;
        size_t size;
    } rows[] = {{"F64", QDISP_DTYPE_F64, 8}, {"F32", QDISP_DTYPE_F32, 4}, {"F16", QDISP_DTYPE_F16, 2},
                {"BF16", QDISP_DTYPE_BF16, 2}, {"I64", QDISP_DTYPE_I64, 8}, {"I32", QDISP_DTYPE_I32, 4},
                {"I8", QDISP_DTYPE_I8, 1}, {"U8", QDISP_DTYPE_U8, 1}, {"BOOL", QDISP_DTYPE_BOOL, 1}};
    static const char data[64];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char header[200];
        snprintf(header, sizeof header, "{\"a\":{\"dtype\":\"%s\",\"shape\":[2,3],\"data_offsets\":[0,%zu]}}",
                 rows[i].name, 6 * rows[i].size);
        qd_tensor_file *file = NULL;
        CHECK_STATUS(parse(header, data, 6 * rows[i].size, &file), QDISP_OK);
        if (!file) continue;
        CHECK(file->n_tensors == 1 && file->tensors[0].dtype == rows[i].dtype);
        CHECK(file->tensors[0].n_bytes == 6 * rows[i].size && file->tensors[0].n_dims == 2);
        CHECK(file->tensors[0].shape[0] == 2 && file->tensors[0].shape[1] == 3);
        qd_tensor_file_free(file);
    }
}

TEST(test_scalars_empties_metadata_padding) {
    qd_tensor_file *file = NULL;
    float x = 2.5f;
    CHECK_STATUS(parse("{\"__metadata__\":{\"format\":\"pt\",\"note\":\"\\u00e9\"},"
                       "\"z\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                       "\"none\":{\"dtype\":\"F16\",\"shape\":[3,0],\"data_offsets\":[4,4]},"
                       "\"first\":{\"dtype\":\"F16\",\"shape\":[0],\"data_offsets\":[0,0]}}    ",
                       &x, 4, &file), QDISP_OK);
    if (!file) return;
    CHECK(file->n_tensors == 3 && file->n_metadata == 2);
    CHECK_STR(qd_tensor_file_metadata(file, "format"), "pt");
    CHECK_STR(qd_tensor_file_metadata(file, "note"), "\xc3\xa9");
    CHECK(qd_tensor_file_metadata(file, "other") == NULL);
    const qdisp_tensor *z = qd_tensor_file_find(file, "z");
    float y = 0;
    if (z) memcpy(&y, z->data, 4); /* the data begin at an odd address here: unaligned is legal */
    CHECK(z && z->n_dims == 0 && y == x);
    CHECK_STR(file->tensors[0].name, "first"); /* the order of the data */
    CHECK(qd_tensor_file_find(file, "none") && qd_tensor_file_find(file, "none")->n_bytes == 0);
    CHECK(qd_tensor_file_find(file, "zz") == NULL);
    qd_tensor_file_free(file);
    CHECK_STATUS(parse("{}", NULL, 0, &file), QDISP_OK);
    qd_tensor_file_free(file);
}

/* A type that nothing here reads does not keep the others from being read. */
TEST(test_other_types) {
    qd_tensor_file *file = NULL;
    float x = 1.5f;
    static const char data[9] = {0, 0, (char)0xc0, 63};
    CHECK_STATUS(parse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                       "\"b\":{\"dtype\":\"Q9\",\"shape\":[3],\"data_offsets\":[4,9]}}", data, 9, &file), QDISP_OK);
    if (!file) return;
    const qdisp_tensor *a = qd_tensor_file_find(file, "a"), *b = qd_tensor_file_find(file, "b");
    CHECK(a && b && !memcmp(a->data, &x, 4) && !qd_tensor_is_float(b) && b->n_bytes == 5);
    if (b) CHECK_STR(qd_tensor_format(b), "Q9");
    if (b) CHECK(qd_load_f32(ctx->kernels, b->data, (qdisp_dtype)b->dtype, 0, 1, &x) == NULL);
    qd_tensor_file_free(file);
}

TEST(test_refuses) {
#define ONE(dtype, shape, offsets) \
    "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
    static const struct {
        const char *header;
        size_t n_data;
        qdisp_status status;
        const char *reason;
    } rows[] = {
        {ONE("F8_E4M3", "[2]", "[0,4]"), 4, QDISP_EFORMAT, "shape [2] of F8_E4M3 takes 2 bytes"},
        {ONE("F32", "[1,1,1,1,1]", "[0,4]"), 4, QDISP_EUNSUPPORTED, "5 dimensions"},
        {ONE("F32", "[2]", "[0,4]"), 4, QDISP_EFORMAT, "shape [2] of f32 takes 8 bytes, offsets give 4"},
        {ONE("F32", "[-1]", "[0,4]"), 4, QDISP_EFORMAT, "dimension 0"},
        {ONE("F32", "[1.0]", "[0,4]"), 4, QDISP_EFORMAT, "dimension 0"},
        {ONE("F32", "[4294967296,4294967296]", "[0,4]"), 4, QDISP_EFORMAT, "overflows"},
        {ONE("F32", "[0,4294967296,4294967296]", "[0,0]"), 0, QDISP_EFORMAT, "overflows"},
        {ONE("F32", "[1]", "[0,8]"), 4, QDISP_EFORMAT, "0..8 pass the end (4)"},
        {ONE("F32", "[1]", "[4,0]"), 4, QDISP_EFORMAT, "4..0 do not ascend"},
        {ONE("F32", "[1]", "[-4,0]"), 4, QDISP_EFORMAT, "-4..0 do not ascend"},
        {ONE("F32", "[1]", "[0]"), 4, QDISP_EFORMAT, "not two integers"},
        {ONE("F32", "[1]", "[0,4]"), 8, QDISP_EFORMAT, "the tensors end at 4, the data at 8"},
        {ONE("F32", "[1]", "[4,8]"), 8, QDISP_EFORMAT, "after a hole"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, QDISP_EFORMAT, "no dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, QDISP_EFORMAT, "no shape"},
        {"{\"a\":[]}", 0, QDISP_EFORMAT, "not an object"},
        {"{\"a\":1,\"a\":2}", 0, QDISP_EFORMAT, "duplicate"},
        {"{\"__metadata__\":[]}", 0, QDISP_EFORMAT, "__metadata__ is not an object"},
        {"{\"__metadata__\":{\"n\":1}}", 0, QDISP_EFORMAT, "'n' is not a string"},
        {"{\"a\":", 0, QDISP_EFORMAT, "header: "},
        {"{} x", 0, QDISP_EFORMAT, "header: "},
        {"[]", 0, QDISP_EUNSUPPORTED, "not a container"},
        {" {}", 0, QDISP_EUNSUPPORTED, "not a container"},
    };
    static const char data[16];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qd_tensor_file *file = NULL;
        CHECK_STATUS(parse(rows[i].header, data, rows[i].n_data, &file), rows[i].status);
        CHECK(file == NULL);
        CHECK_HAS(qdisp_ctx_error(ctx), rows[i].reason);
        CHECK_HAS(qdisp_ctx_error(ctx), "memory: ");
    }
}

static qdisp_status fill(void *user, size_t i_tensor, uint64_t offset, void *out, size_t n_bytes) {
    (void)user;
    uint8_t *bytes = out;
    for (size_t i = 0; i < n_bytes; i++) bytes[i] = (uint8_t)((offset + i) * 7 + i_tensor);
    return QDISP_OK;
}

static qdisp_status fill_fails(void *user, size_t i_tensor, uint64_t offset, void *out, size_t n_bytes) {
    (void)out, (void)n_bytes, (void)i_tensor;
    return offset ? qd_fail(user, QDISP_ENUMERIC, "on purpose") : QDISP_OK;
}

TEST(test_round_trip) {
    double d[3] = {1, -2, 0.1};
    uint8_t u[5] = {1, 2, 3, 4, 5};
    qdisp_tensor tensors[] = {
        {.name = "b\"\\\n", .data = u, .n_bytes = 5, .shape = {5}, .n_dims = 1, .dtype = QDISP_DTYPE_U8},
        {.name = "d", .data = d, .n_bytes = 24, .shape = {3, 1}, .n_dims = 2, .dtype = QDISP_DTYPE_F64},
        {.name = "a", .data = d, .n_bytes = 8, .shape = {0}, .n_dims = 0, .dtype = QDISP_DTYPE_F64},
        {.name = "empty", .data = NULL, .n_bytes = 0, .shape = {0, 7}, .n_dims = 2, .dtype = QDISP_DTYPE_F32},
    };
    const char *metadata[] = {"format", "pt", "k\xc3\xa9y", "v"};
    CHECK_STATUS(qd_safetensors_write(ctx, path, tensors, 4, metadata, 2, NULL, NULL), QDISP_OK);
    qd_tensor_file *file = NULL;
    CHECK_STATUS(qd_tensor_file_open(ctx, path, &file), QDISP_OK);
    if (!file) return;
    CHECK(file->n_tensors == 4 && file->n_metadata == 2);
    CHECK_STR(qd_tensor_file_metadata(file, "k\xc3\xa9y"), "v");
    for (size_t i = 0; i < 4; i++) {
        const qdisp_tensor *t = qd_tensor_file_find(file, tensors[i].name);
        CHECK(t && t->dtype == tensors[i].dtype && t->n_dims == tensors[i].n_dims && t->n_bytes == tensors[i].n_bytes);
        CHECK(t && (!t->n_bytes || !memcmp(t->data, tensors[i].data, t->n_bytes)));
        CHECK(t && (uintptr_t)t->data % qd_dtype_size(t->dtype) == 0);
    }
    /* wide elements first, then by name */
    CHECK_STR(file->tensors[0].name, "a");
    CHECK_STR(file->tensors[1].name, "d");
    qd_tensor_file_free(file);
}

TEST(test_streamed) {
    /* more than a block of the writer, and no multiple of it */
    qdisp_tensor t = {.name = "big", .n_bytes = 4 * 700001, .shape = {700001}, .n_dims = 1, .dtype = QDISP_DTYPE_F32};
    CHECK_STATUS(qd_safetensors_write(ctx, path, &t, 1, NULL, 0, fill, NULL), QDISP_OK);
    qd_tensor_file *file = NULL;
    CHECK_STATUS(qd_safetensors_open(ctx, path, &file), QDISP_OK);
    if (!file) return;
    const uint8_t *bytes = file->tensors[0].data;
    size_t n_bad = 0;
    for (size_t i = 0; i < file->tensors[0].n_bytes; i++) n_bad += bytes[i] != (uint8_t)(i * 7);
    CHECK(n_bad == 0);
    qd_tensor_file_free(file);
    /* a fill that fails leaves the old file */
    CHECK_STATUS(qd_safetensors_write(ctx, path, &t, 1, NULL, 0, fill_fails, ctx), QDISP_ENUMERIC);
    CHECK_STATUS(qd_safetensors_open(ctx, path, &file), QDISP_OK);
    qd_tensor_file_free(file);
}

TEST(test_writer_refuses) {
    float x = 0;
    qdisp_tensor twice[] = {{.name = "a", .data = &x, .n_bytes = 4, .n_dims = 0, .dtype = QDISP_DTYPE_F32},
                            {.name = "a", .data = &x, .n_bytes = 4, .n_dims = 0, .dtype = QDISP_DTYPE_F32}};
    CHECK_STATUS(qd_safetensors_write(ctx, path, twice, 2, NULL, 0, NULL, NULL), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "'a'");
    twice[0].name = "\xff";
    CHECK_STATUS(qd_safetensors_write(ctx, path, twice, 2, NULL, 0, NULL, NULL), QDISP_EINVAL);
    twice[0].n_bytes = 8;
    CHECK_STATUS(qd_safetensors_write(ctx, path, twice, 1, NULL, 0, NULL, NULL), QDISP_EINVAL);
    CHECK_HAS(qdisp_ctx_error(ctx), "does not match shape");
    twice[0].n_bytes = 4;
    twice[0].name = "a";
    CHECK_STATUS(qd_safetensors_write(ctx, "/dev/full/x", twice, 1, NULL, 0, NULL, NULL), QDISP_EIO);
    CHECK_HAS(qdisp_ctx_error(ctx), "/dev/full");
    CHECK_STATUS(qd_safetensors_open(ctx, "/nowhere/x", &(qd_tensor_file *){NULL}), QDISP_ENOTFOUND);
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK || !mkdtemp(folder)) return 1;
    snprintf(path, sizeof path, "%s/x.safetensors", folder);
    RUN(test_reads_every_dtype);
    RUN(test_scalars_empties_metadata_padding);
    RUN(test_other_types);
    RUN(test_refuses);
    RUN(test_round_trip);
    RUN(test_streamed);
    RUN(test_writer_refuses);
    qdisp_ctx_free(ctx);
    unlink(path);
    rmdir(folder);
    return TEST_END();
}
