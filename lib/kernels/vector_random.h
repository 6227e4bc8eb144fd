/* vector_random.h - c_random.c over 16 counters at once; a part of kernels_vector.h. */

static inline void philox_round(vi c[4], uint32_t k0, uint32_t k1) {
    vi high0, low0, high1, low1;
    vi_mul_wide(c[0], QD_PHILOX_M0, &high0, &low0);
    vi_mul_wide(c[2], QD_PHILOX_M1, &high1, &low1);
    c[0] = vi_xor(vi_xor(high1, c[1]), vi_from_u32(k0));
    c[2] = vi_xor(vi_xor(high0, c[3]), vi_from_u32(k1));
    c[1] = low1;
    c[3] = low0;
}

static void v_philox(const uint32_t counter[4], const uint32_t key[2], size_t n_blocks, uint32_t *out) {
    uint32_t steps[QD_STEP], first[4] = {counter[0], counter[1], counter[2], counter[3]};
    for (uint32_t l = 0; l < QD_STEP; l++) steps[l] = l;
    vi lanes = vi_load_u32(steps);
    while (n_blocks > 0) {
        if (n_blocks < QD_STEP || first[0] > UINT32_MAX - QD_STEP) { /* the end, or a carry inside the step */
            size_t m = n_blocks < QD_STEP ? n_blocks : QD_STEP;
            qd_c_philox(first, key, m, out);
            n_blocks -= m;
            out += 4 * m;
        } else {
            vi c[4] = {vi_add_i32(lanes, vi_from_u32(first[0])), vi_from_u32(first[1]), vi_from_u32(first[2]),
                       vi_from_u32(first[3])};
            uint32_t k0 = key[0], k1 = key[1];
            for (int round = 0; round < 10; round++) {
                philox_round(c, k0, k1);
                k0 += QD_PHILOX_W0;
                k1 += QD_PHILOX_W1;
            }
            vi_store_blocks(out, c[0], c[1], c[2], c[3]);
            n_blocks -= QD_STEP;
            out += 4 * QD_STEP;
        }
        first[1] += first[0] > UINT32_MAX - QD_STEP;
        first[0] += QD_STEP;
    }
}
