/* c_random.c - the specification of random words: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, SC 2011), as in
 * base/rng.c, a block after the other. */
#include "lanes.h"

void qd_c_philox(const uint32_t counter[4], const uint32_t key[2], size_t n_blocks, uint32_t *out) {
    uint64_t first = counter[0] | (uint64_t)counter[1] << 32;
    for (size_t i = 0; i < n_blocks; i++) {
        uint64_t low = first + i;
        uint32_t c0 = (uint32_t)low, c1 = (uint32_t)(low >> 32), c2 = counter[2], c3 = counter[3];
        uint32_t k0 = key[0], k1 = key[1];
        for (int round = 0; round < 10; round++) {
            uint64_t p0 = (uint64_t)QD_PHILOX_M0 * c0, p1 = (uint64_t)QD_PHILOX_M1 * c2;
            c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
            c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
            c1 = (uint32_t)p1;
            c3 = (uint32_t)p0;
            k0 += QD_PHILOX_W0;
            k1 += QD_PHILOX_W1;
        }
        out[4 * i] = c0, out[4 * i + 1] = c1, out[4 * i + 2] = c2, out[4 * i + 3] = c3;
    }
}
