/* cases_search.h - the cases of c_search.c; a part of test_kernels.c. 16 lanes of up to 32 elements; what a lane with a
 * NaN or infinity gives is not used, but must be the same. */

enum { SEARCH_ROOM = 16 * 32 };

/* How many elements a lane has: all lengths occur. */
static size_t search_length(const test_case *t) {
    size_t n = t->n / 16;
    return n > 32 ? 32 : n;
}

/* Scales, minima and codes, all compared as bytes of one array. */
typedef struct searched {
    float scales[16], minima[16];
    uint8_t codes[SEARCH_ROOM];
} searched;

static int same_searched(searched *a, searched *b, size_t n) {
    (void)n;
    return same_f32(a->scales, b->scales, 16) && same_f32(a->minima, b->minima, 16) &&
           !memcmp(a->codes, b->codes, sizeof a->codes);
}

static const searched no_search;
#define COMPARE_SEARCH(kernel, CALL) COMPARE(kernel, searched, same_searched, 0, &no_search, 1, CALL)

static void test_search_affine(const test_case *t) {
    static const qd_affine_search hows[] = {{3, 15, -0.5f, 0.1f, true}, {15, 20, -1.0f, 0.1f, false},
                                            {31, 36, -0.9f, 0.05f, false}};
    size_t n = search_length(t);
    for (size_t h = 0; n > 0 && h < sizeof hows / sizeof *hows; h++) {
        COMPARE_SEARCH("search_affine",
                       k->search_affine(t->x, t->positive, n, &hows[h], out->scales, out->minima, out->codes));
    }
}

static void test_search_scale(const test_case *t) {
    size_t n = search_length(t);
    for (int n_max = 4; n > 0 && n_max <= 32; n_max *= 2)
        COMPARE_SEARCH("search_scale", k->search_scale(t->x, t->positive, n, n_max, out->scales, out->codes));
}

static void test_search_descent(const test_case *t) {
    size_t n = search_length(t);
    if (n > 0) COMPARE_SEARCH("search_descent", k->search_descent(t->x, n, 4, out->scales, out->codes));
}

static void test_affine_codes(const test_case *t) {
    searched start = {.codes = {7, 6, 5}};
    float scales[16];
    size_t n = search_length(t);
    for (size_t l = 0; n > 0 && l < 16; l++) scales[l] = l % 5 == 0 ? 0 : 0.1f * t->x[l];
    if (n > 0) {
        COMPARE("affine_codes", searched, same_searched, 0, &start, 1,
                k->affine_codes(t->x, n, scales, t->positive, 0, 15, out->codes));
        COMPARE("affine_codes", searched, same_searched, 0, &start, 1,
                k->affine_codes(t->x, n, scales, t->positive, -32, 31, out->codes));
    }
}

static void test_search_codebook(const test_case *t) {
    size_t n = search_length(t);
    if (n > 0) COMPARE_SEARCH("search_codebook", k->search_codebook(t->x, t->positive, n, out->scales));
}

static void test_codebook_codes(const test_case *t) {
    size_t n = search_length(t);
    if (n > 0) COMPARE_SEARCH("codebook_codes", k->codebook_codes(t->x, n, t->y, out->codes));
}
