/* Normalizers: golden tokenizers whose ids are the bytes of the normalized text, and steps added from memory. */
#include "tokenizer_golden.h"

TEST(golden) {
    CHECK_KINDS("n_bert", "n_bert_part", "n_nmt", "n_accents", "n_bytes", "n_charsmap", "n_albert", "n_replace");
}

static const qd_place *here(void) {
    static qd_place place;
    place = (qd_place){.ctx = ctx, .file = "memory", .member = "normalizer"};
    return &place;
}

/* text normalized; *n_from: where the last byte came from. */
static const char *normalized(const qd_normalizer *normalizer, const char *text, size_t *from) {
    static char out[256];
    qd_encoder e = {.ctx = ctx};
    qd_text plain = {.bytes = (const uint8_t *)text, .n = strlen(text)};
    const qd_text *result = &plain;
    size_t begin = 0, end = plain.n;
    CHECK_STATUS(qd_matcher_new(ctx, &e.matcher), QDISP_OK);
    qdisp_status status = qd_normalize(&e, normalizer, &result, &begin, &end);
    snprintf(out, sizeof out, "%.*s", (int)(end - begin), (const char *)result->bytes + begin);
    if (status != QDISP_OK) snprintf(out, sizeof out, "%s", qdisp_status_name(status));
    if (from) *from = end > begin ? qd_text_origin(result, end - 1) : 0;
    qd_encoder_clear(&e);
    return out;
}

/* A map in which 'a' stands for the text at `value` of "X\0bc": unit 0, then a's at 256 ^ 'a', then its value's. */
static size_t small_map(uint8_t *map, uint32_t value) {
    uint32_t units[512] = {[0] = 1u << 10 | 1u << 9, [0x161] = 0x61 | 1u << 8 | 1u << 10, [0x160] = value};
    const uint32_t size = sizeof units;
    memcpy(map, &size, 4);
    memcpy(map + 4, units, sizeof units); /* little-endian machines, as all that this runs on */
    memcpy(map + 4 + sizeof units, "X\0bc", 4);
    return 4 + sizeof units + 4;
}

TEST(charsmap_from_memory) {
    static uint8_t map[4096];
    qd_normalizer *n = NULL;
    size_t from = 9;
    CHECK_STATUS(qd_normalizer_add_charsmap(here(), map, small_map(map, 0), &n), QDISP_OK);
    CHECK_STR(normalized(n, "bab", NULL), "bXb");
    CHECK_STR(normalized(n, "a\xCC\x81", NULL), "X");           /* a cluster of 3 bytes: what follows goes */
    CHECK_STR(normalized(n, "a\xCC\x81\xCC\x81\xCC\x81", &from), "X\xCC\x81\xCC\x81\xCC\x81"); /* 7: by characters */
    CHECK(from == 5);
    CHECK_STATUS(qd_normalizer_add_charsmap(here(), map, small_map(map, 2), &n), QDISP_OK);
    CHECK_STR(normalized(n, "bab", NULL), "bXb"); /* the first step's X is not in the second's map */
    qd_normalizer_free(ctx, n);
}

TEST(charsmap_that_leads_outside) {
    static uint8_t map[4096];
    const uint32_t values[] = {4, 100, 0x7FFFFFFF, 1u << 31 | 5};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        qd_normalizer *n = NULL;
        qdisp_status status = qd_normalizer_add_charsmap(here(), map, small_map(map, values[i]), &n);
        CHECK_STATUS(status, QDISP_OK);
        CHECK_STR(normalized(n, "bb", NULL), "bb");
        CHECK_STR(normalized(n, "bab", NULL), "QDISP_EFORMAT");
        CHECK_HAS(qdisp_ctx_error(ctx), "leads outside itself");
        qd_normalizer_free(ctx, n);
    }
}

TEST(charsmap_that_is_none) {
    static uint8_t map[4096];
    qd_normalizer *n = NULL;
    size_t size = small_map(map, 0);
    CHECK_STATUS(qd_normalizer_add_charsmap(here(), map, 3, &n), QDISP_EFORMAT);
    CHECK_STATUS(qd_normalizer_add_charsmap(here(), map, 1000, &n), QDISP_EFORMAT); /* cut in the array */
    map[size - 1] = 0xFF;
    CHECK_STATUS(qd_normalizer_add_charsmap(here(), map, size, &n), QDISP_EFORMAT);
    CHECK_HAS(qdisp_ctx_error(ctx), "not UTF-8");
    memset(map, 0, 4);
    CHECK_STATUS(qd_normalizer_add_charsmap(here(), map, size, &n), QDISP_EFORMAT); /* no units */
    CHECK(!n);
}

/* A step that fails to be read leaves the ones before it. */
TEST(a_failed_step_leaves_the_others) {
    qd_normalizer *n = NULL;
    json_t *good = json_pack("{s:s}", "type", "Lowercase"), *bad = json_pack("{s:s}", "type", "Telepathy");
    CHECK_STATUS(qd_normalizer_add(here(), good, &n), QDISP_OK);
    CHECK_STATUS(qd_normalizer_add(here(), bad, &n), QDISP_EUNSUPPORTED);
    CHECK_STR(normalized(n, "ABc", NULL), "abc");
    qd_normalizer_free(ctx, n);
    n = NULL;
    CHECK_STATUS(qd_normalizer_add(here(), bad, &n), QDISP_EUNSUPPORTED);
    CHECK(!n);
    json_decref(good);
    json_decref(bad);
}

int main(void) {
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(golden);
    RUN(charsmap_from_memory);
    RUN(charsmap_that_leads_outside);
    RUN(charsmap_that_is_none);
    RUN(a_failed_step_leaves_the_others);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
