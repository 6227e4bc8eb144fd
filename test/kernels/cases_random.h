/* cases_random.h - the cases of c_random.c; a part of test_kernels.c. */

static int same_u32(uint32_t *a, uint32_t *b, size_t n) {
    return n == 0 || memcmp(a, b, n * sizeof *a) == 0;
}

static void test_philox(const test_case *t) {
    /* counters whose low word carries in a step, at its border, into the second word and around */
    static const uint32_t counters[][4] = {{0, 0, 0, 0}, {0xfffffff0u, 7, 1, 2}, {0xffffffefu, 7, 1, 2},
                                           {0xfffffff5u, 0xffffffffu, 3, 9},
                                           {0x12345678u, 5, 0x9abcdef0u, 0xffffffffu}};
    uint32_t key[2] = {(uint32_t)t->n * 2654435761u, 0x243f6a88u};
    size_t n_blocks = t->n % 700;
    for (size_t s = 0; s < 5; s++) {
        COMPARE("philox", uint32_t, same_u32, s, NULL, 4 * n_blocks, k->philox(counters[s], key, n_blocks, out));
    }
}
