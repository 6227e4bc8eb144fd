/* Reading GGUF: keys of every type, tensors in our order of dimensions, alignment, split files, and what is refused. */
#include <unistd.h>

#include "gguf_writer.h"
#include "tensor/gguf.h"

static qdisp_ctx *ctx;
static gguf_bytes b;

static qdisp_status parse(qd_tensor_file **out) {
    *out = NULL;
    return qd_tensor_file_parse(ctx, "memory", b.data, b.n, out);
}

static bool text_is(const qd_gguf *gguf, const char *key, const char *wanted) {
    qd_gguf_text text;
    return qd_gguf_string(qd_gguf_find(gguf, key), &text) && qd_gguf_is(text, wanted);
}

static bool int_is(const qd_gguf *gguf, const char *key, size_t i, int64_t wanted) {
    int64_t x = wanted + 1;
    return qd_gguf_int(qd_gguf_find(gguf, key), i, &x) && x == wanted;
}

TEST(values_of_every_type) {
    qd_tensor_file *file;
    put_header(&b, 3, 0, 13);
    put_value(&b, "u8", QD_GGUF_U8, 200, 1);
    put_value(&b, "i8", QD_GGUF_I8, 200, 1);
    put_value(&b, "u16", QD_GGUF_U16, 65000, 2);
    put_value(&b, "i16", QD_GGUF_I16, 65000, 2);
    put_value(&b, "u32", QD_GGUF_U32, 4000000000, 4);
    put_value(&b, "i32", QD_GGUF_I32, 4000000000, 4);
    put_value(&b, "f32", QD_GGUF_F32, 0x3fc00000, 4);
    put_value(&b, "bool", QD_GGUF_BOOL, 1, 1);
    put_string(&b, "string", "x\xc3\xa9y");
    put_array(&b, "array", QD_GGUF_I16, 3);
    put_number(&b, 0xffff00030002, 6);
    put_value(&b, "u64", QD_GGUF_U64, (uint64_t)1 << 63, 8);
    put_value(&b, "i64", QD_GGUF_I64, (uint64_t)-5, 8);
    put_value(&b, "f64", QD_GGUF_F64, 0x3ff8000000000000, 8);
    CHECK_STATUS(parse(&file), QDISP_OK);
    if (!file) return;
    const qd_gguf *g = file->gguf;
    CHECK(g->n_values == 13 && g->version == 3 && g->alignment == 32 && file->n_tensors == 0);
    CHECK(int_is(g, "u8", 0, 200) && int_is(g, "i8", 0, -56) && int_is(g, "u16", 0, 65000));
    CHECK(int_is(g, "i16", 0, -536) && int_is(g, "u32", 0, 4000000000) && int_is(g, "i32", 0, -294967296));
    CHECK(int_is(g, "array", 0, 2) && int_is(g, "array", 1, 3) && int_is(g, "array", 2, -1));
    CHECK(!int_is(g, "array", 3, 0) && int_is(g, "i64", 0, -5) && int_is(g, "bool", 0, 1));
    CHECK(text_is(g, "string", "x\xc3\xa9y") && !text_is(g, "u8", "") && !text_is(g, "none", ""));
    int64_t integer = 7;
    double number = 7;
    bool truth = false;
    CHECK(!qd_gguf_int(qd_gguf_find(g, "u64"), 0, &integer) && !qd_gguf_int(qd_gguf_find(g, "f32"), 0, &integer));
    CHECK(integer == 7 && !qd_gguf_int(NULL, 0, &integer));
    CHECK(qd_gguf_number(qd_gguf_find(g, "f32"), 0, &number) && number == 1.5);
    CHECK(qd_gguf_number(qd_gguf_find(g, "f64"), 0, &number) && number == 1.5);
    CHECK(qd_gguf_number(qd_gguf_find(g, "i8"), 0, &number) && number == -56);
    CHECK(!qd_gguf_number(qd_gguf_find(g, "string"), 0, &number));
    CHECK(qd_gguf_bool(qd_gguf_find(g, "bool"), &truth) && truth && !qd_gguf_bool(qd_gguf_find(g, "u8"), &truth));
    qd_tensor_file_free(file);
}

TEST(strings_one_after_another) {
    static const char *const words[] = {"", "a", "two words"};
    qd_tensor_file *file;
    put_header(&b, 2, 0, 2);
    put_array(&b, "words", QD_GGUF_STRING, 3);
    for (size_t i = 0; i < 3; i++) put_text(&b, words[i]);
    put_array(&b, "nested", QD_GGUF_ARRAY, 2);
    for (size_t i = 0; i < 2; i++) {
        put_number(&b, QD_GGUF_U8, 4);
        put_number(&b, 2, 8);
        put_number(&b, 7, 2);
    }
    CHECK_STATUS(parse(&file), QDISP_OK);
    if (!file) return;
    const qd_gguf_value *value = qd_gguf_find(file->gguf, "words"), *nested = qd_gguf_find(file->gguf, "nested");
    const uint8_t *at = NULL;
    CHECK(value && value->is_array && value->n == 3 && file->gguf->version == 2);
    for (size_t i = 0; value && i < value->n; i++) {
        qd_gguf_text text;
        CHECK(qd_gguf_next(value, &at, &text) && qd_gguf_is(text, words[i]));
    }
    CHECK(nested && nested->n == 2 && !qd_gguf_next(nested, &at, &(qd_gguf_text){0}));
    CHECK(!qd_gguf_string(value, &(qd_gguf_text){0}));
    qd_tensor_file_free(file);
}

TEST(tensors_lie_in_our_order) {
    qd_tensor_file *file;
    const float x[6] = {1, 2, 3, 4, 5, 6};
    uint8_t q8[34] = {0, 0x38}; /* scale 0.5 */
    for (size_t i = 0; i < 32; i++) q8[2 + i] = (uint8_t)(i - 16);
    put_header(&b, 3, 3, 1);
    put_value(&b, "general.alignment", QD_GGUF_U32, 64, 4);
    put_tensor(&b, "a.weight", 3, 2, 0, 0);
    put_tensor(&b, "q", 32, 1, 8, 64);
    put_tensor(&b, "none", 0, 5, 1, 128);
    put_padding(&b, 64);
    put(&b, x, sizeof x);
    put_padding(&b, 64);
    put(&b, q8, sizeof q8);
    put_padding(&b, 64);
    CHECK_STATUS(parse(&file), QDISP_OK);
    if (!file) return printf("%s\n", qdisp_ctx_error(ctx)), (void)0;
    const qdisp_tensor *a = qd_tensor_file_find(file, "a.weight"), *q = qd_tensor_file_find(file, "q");
    CHECK(file->n_tensors == 3 && a && q && a->n_dims == 2 && a->shape[0] == 2 && a->shape[1] == 3);
    CHECK(a && a->dtype == QDISP_DTYPE_F32 && a->n_bytes == 24 && !memcmp(a->data, x, 24));
    CHECK(q && q->dtype == QDISP_DTYPE_PACKED && q->n_bytes == 34 && q->shape[0] == 1 && q->shape[1] == 32);
    if (q) CHECK_STR(qd_tensor_format(q), "Q8_0");
    float values[32];
    for (size_t first = 0; q && first < 32; first++) {
        for (size_t n = 1; first + n <= 32; n++) {
            CHECK(qd_load_f32(ctx->kernels, q->data, QDISP_DTYPE_PACKED, first, n, values) == values);
            CHECK(values[0] == 0.5f * ((float)first - 16) && values[n - 1] == 0.5f * ((float)(first + n) - 17));
        }
    }
    qd_tensor_file_free(file);
}

/* NAME-0000i-of-00003.gguf with tensor i of one value; says[2] = number and count in its keys. */
static void write_shard(const char *folder, unsigned i, unsigned no, unsigned count, bool with_total) {
    char path[128], name[32];
    float x = (float)i;
    put_header(&b, 3, 1, with_total ? 4 : 2);
    put_value(&b, "split.no", QD_GGUF_U16, no, 2);
    put_value(&b, "split.count", QD_GGUF_U16, count, 2);
    if (with_total) {
        put_value(&b, "split.tensors.count", QD_GGUF_I32, 3, 4);
        put_string(&b, "general.architecture", "llama");
    }
    snprintf(name, sizeof name, "t%u", i);
    put_tensor(&b, name, 1, 1, 0, 0);
    put_padding(&b, 32);
    put(&b, &x, 4);
    snprintf(path, sizeof path, "%s/x-%05u-of-00003.gguf", folder, i);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(b.data, 1, b.n, f) == b.n);
    if (f) fclose(f);
}

TEST(split_files) {
    char folder[] = "/tmp/qdisp-test-XXXXXX", path[128];
    qd_tensor_file *file = NULL;
    CHECK(mkdtemp(folder) != NULL);
    for (unsigned i = 1; i <= 3; i++) write_shard(folder, i, i - 1, 3, i == 1);
    for (unsigned i = 1; i <= 3; i++) {
        snprintf(path, sizeof path, "%s/x-%05u-of-00003.gguf", folder, i);
        CHECK_STATUS(qd_tensor_file_open(ctx, path, &file), QDISP_OK);
        if (!file) continue;
        CHECK(file->n_tensors == 3 && text_is(file->gguf, "general.architecture", "llama"));
        for (unsigned k = 0; k < file->n_tensors; k++) {
            float x = 0;
            CHECK_STATUS(qd_tensor_file_read(file, file->tensors[k].data, 4, &x), QDISP_OK);
            CHECK(x == (float)(k + 1));
        }
        qd_tensor_file_free(file);
    }
    file = NULL;
    write_shard(folder, 2, 2, 3, false);
    snprintf(path, sizeof path, "%s/x-00001-of-00003.gguf", folder);
    CHECK_STATUS(qd_tensor_file_open(ctx, path, &file), QDISP_EFORMAT);
    CHECK_HAS(qdisp_ctx_error(ctx), "x-00002-of-00003.gguf: says that it is file 3 of 3");
    snprintf(path, sizeof path, "%s/x-00002-of-00003.gguf", folder);
    CHECK_STATUS(qd_tensor_file_open(ctx, path, &file), QDISP_EFORMAT);
    CHECK_HAS(qdisp_ctx_error(ctx), "its name must end with -00003-of-00003.gguf");
    unlink(path);
    snprintf(path, sizeof path, "%s/x-00003-of-00003.gguf", folder);
    CHECK_STATUS(qd_tensor_file_open(ctx, path, &file), QDISP_ENOTFOUND);
    CHECK_HAS(qdisp_ctx_error(ctx), "x-00002-of-00003.gguf: file 2 of 3 is missing");
    unlink(path);
    CHECK_STATUS(parse(&file), QDISP_EUNSUPPORTED);
    CHECK_HAS(qdisp_ctx_error(ctx), "file 3 of 3 and not on disk");
    snprintf(path, sizeof path, "%s/x-00001-of-00003.gguf", folder);
    unlink(path);
    rmdir(folder);
}

static void refused(qdisp_status status, const char *reason) {
    qd_tensor_file *file;
    CHECK_STATUS(parse(&file), status);
    CHECK(file == NULL);
    CHECK_HAS(qdisp_ctx_error(ctx), "memory: ");
    CHECK_HAS(qdisp_ctx_error(ctx), reason);
    qd_tensor_file_free(file);
}

TEST(refuses) {
    put_header(&b, 1, 0, 0);
    refused(QDISP_EUNSUPPORTED, "version 1 is not supported");
    put_header(&b, 0x03000000, 0, 0);
    refused(QDISP_EUNSUPPORTED, "big-endian");
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "x", 256, 1, 137, 0);
    refused(QDISP_EUNSUPPORTED, "tensor 'x': type 137 (of the fork ik_llama.cpp) is not supported");
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "x", 33, 1, 8, 0);
    refused(QDISP_EFORMAT, "shape [1, 33]: rows of no whole number of blocks (Q8_0: 32 values)");
    put_header(&b, 3, 0, 2);
    put_string(&b, "k", "1");
    put_string(&b, "k", "2");
    refused(QDISP_EFORMAT, "key 'k': it is there twice");
}

/* Memory is checked by a sanitizer: the copy ends where the file does. */
TEST(cut_everywhere) {
    tensors_lie_in_our_order();
    size_t n_refused = 0;
    for (size_t n = 0; n < b.n; n++) {
        uint8_t *exact = malloc(n + 1);
        qd_tensor_file *file = NULL;
        memcpy(exact + 1, b.data, n);
        n_refused += qd_tensor_file_parse(ctx, "cut", exact + 1, n, &file) != QDISP_OK && !file;
        qd_tensor_file_free(file);
        free(exact);
    }
    CHECK(n_refused == b.n);
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(values_of_every_type);
    RUN(strings_one_after_another);
    RUN(tensors_lie_in_our_order);
    RUN(split_files);
    RUN(refuses);
    RUN(cut_everywhere);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
