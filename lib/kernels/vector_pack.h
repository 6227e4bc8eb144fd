/* vector_pack.h - c_pack.c over vectors; a part of kernels_vector.h. Eight codes are the bytes of a 64-bit word, whose
 * fields are drawn together in three steps: every second byte to its neighbour, then pairs, then fours. Little-endian.
 */

typedef struct packing {
    unsigned bits;
    uint64_t flip, codes;          /* the top bit of each code, or 0; the bits of each */
    uint64_t singles, pairs, fours; /* the bits of every second field of 1, 2, 4 codes */
} packing;

static inline packing packing_of(unsigned bits, bool flipped) {
    uint64_t one = 1, each_byte = UINT64_MAX / 255;
    return (packing){bits,
                     flipped ? each_byte << (bits - 1) : 0,
                     each_byte * ((one << bits) - 1),
                     UINT64_MAX / 0xffff * ((one << bits) - 1),
                     (one << 32 | one) * ((one << 2 * bits) - 1),
                     (one << 4 * bits) - 1};
}

static inline qd_words pack_words(qd_words x, packing p) {
    unsigned b = p.bits, gap = 8 - b;
    x = (x & p.codes) ^ p.flip;
    x = (x & p.singles) | (x >> gap & p.singles << b);
    x = (x & p.pairs) | (x >> 2 * gap & p.pairs << 2 * b);
    return (x & p.fours) | (x >> 4 * gap & p.fours << 4 * b);
}

static inline qd_words unpack_words(qd_words x, packing p) {
    unsigned gap = 8 - p.bits;
    qd_words top = {0};
    x = (x & p.fours) | (x << 4 * gap & p.fours << 32);
    x = (x & p.pairs) | (x << 2 * gap & p.pairs << 16);
    x = (x & p.singles) | (x << gap & p.singles << 8);
    top += UINT64_MAX / 255 << (p.bits - 1);
    return (qd_words)((qd_bytes)(x ^ p.flip) - (qd_bytes)top);
}

/* 32 codes as 4 * bits bytes, or as up to 6 more that are written over later: the caller knows that there is room. */
static inline void store_packed(uint8_t *out, qd_words x, unsigned bits, bool room) {
    uint8_t exact[40], *to = room ? out : exact;
    for (size_t i = 0; i < 4; i++) {
        uint64_t word = x[i];
        memcpy(to + i * bits, &word, sizeof word);
    }
    if (!room) memcpy(out, exact, 4 * bits);
}

static void v_pack_bits(const int8_t *codes, size_t n, unsigned bits, bool offset, uint8_t *out) {
    packing p = packing_of(bits, offset);
    size_t i = 0;
    for (; n - i >= 32; i += 32) {
        qd_words x;
        memcpy(&x, codes + i, sizeof x);
        store_packed(out + i / 8 * bits, pack_words(x, p), bits, n - i >= 64);
    }
    qd_c_pack_bits(codes + i, n - i, bits, offset, out + i / 8 * bits);
}

static void v_unpack_bits(const uint8_t *packed, size_t n, unsigned bits, bool offset, int8_t *codes) {
    packing p = packing_of(bits, !offset);
    size_t i = 0;
    for (; n - i >= 64; i += 32) { /* words of 8 bytes, `bits` of which count: the last reach into the next 32 codes */
        const uint8_t *from = packed + i / 8 * bits;
        uint64_t w[4];
        for (size_t k = 0; k < 4; k++) memcpy(&w[k], from + k * bits, sizeof *w);
        qd_words x = {w[0], w[1], w[2], w[3]};
        x = unpack_words(x, p);
        memcpy(codes + i, &x, sizeof x);
    }
    qd_c_unpack_bits(packed + i / 8 * bits, n - i, bits, offset, codes + i);
}

static void v_scale_codes(const int8_t *codes, size_t n, float scale, float *out) {
    vf s = vf_set(scale);
    size_t i = 0;
    for (; i + QD_STEP <= n; i += QD_STEP) vf_store(out + i, vf_mul(vf_load_i8(codes + i), s));
    qd_c_scale_codes(codes + i, n - i, scale, out + i);
}

/* ---- quantize and pack ---- */

static inline float group_max(const float *w, size_t n) {
    vi a = vf_bits(vf_set(0.0f)), b = a;
    size_t i = 0;
    for (; i + 2 * QD_STEP <= n; i += 2 * QD_STEP) {
        a = vi_max(a, vf_bits(vf_abs(vf_load(w + i))));
        b = vi_max(b, vf_bits(vf_abs(vf_load(w + i + QD_STEP))));
    }
    uint32_t max_bits = vi_fold_max(vi_max(a, b));
    if (i < n) {
        uint32_t rest = qd_float_bits(qd_c_abs_max(w + i, n - i));
        max_bits = rest > max_bits ? rest : max_bits;
    }
    return qd_bits_float(max_bits);
}

/* Codes of 16 weights that are finite, plus an offset: the low bits of a sum with QD_ROUND are the rounded number. */
static inline vi codes_of(const float *w, const vector_grid *g, vi offset) {
    vf t = vf_min(vf_max(vf_mul(vf_load(w), g->inverse), g->low), g->high);
    return vi_add_i32(vf_bits(vf_add(t, vf_set(QD_ROUND))), offset);
}

/* A group whose first bit starts a byte; n_left elements of the row from here on. */
static inline void pack_group(const float *w, size_t n, size_t n_left, const qd_grid *grid, packing p,
                              uint8_t *packed) {
    vector_grid g = grid_load(grid);
    vi plain = vi_from_u32(0u - 0x4b400000u), plus_8 = vi_from_u32(8u - 0x4b400000u);
    size_t i = 0;
    for (; p.bits == 4 && i + 64 <= n; i += 64) {
        const float *x = w + i;
        vi a = codes_of(x, &g, plus_8), b = codes_of(x + QD_STEP, &g, plus_8);
        vi c = codes_of(x + 2 * QD_STEP, &g, plus_8), d = codes_of(x + 3 * QD_STEP, &g, plus_8);
        vi_store_nibbles(packed + i / 2, a, b, c, d);
    }
    for (; i + 32 <= n; i += 32) {
        qd_words x = vi_to_words(codes_of(w + i, &g, plain), codes_of(w + i + QD_STEP, &g, plain));
        store_packed(packed + i / 8 * p.bits, pack_words(x, p), p.bits, n_left - i >= 64);
    }
    if (i < n) {
        int8_t codes[32];
        qd_c_quantize_codes(w + i, n - i, grid, codes);
        qd_c_pack_bits(codes, n - i, p.bits, true, packed + i / 8 * p.bits);
    }
}

/* The groups of one block: first all their scales, as 16 divisions cost no more than one, then the codes. Returns how
 * many had a scale before the first that has none. */
static inline size_t pack_block(const float *w, size_t n, size_t n_left, size_t group_size, int32_t half,
                                bool full_range, packing p, uint16_t *scales, uint8_t *packed) {
    float all[QD_STEP] = {0}, inverses[QD_STEP];
    uint16_t f16[QD_STEP];
    size_t n_groups = 0, n_fit = 0;
    for (size_t i = 0; i < n; i += group_size)
        all[n_groups++] = group_max(w + i, n - i < group_size ? n - i : group_size);
    vf zero = vf_set(0.0f), s = vf_round_f16(vf_div(vf_load(all), vf_set((float)half)));
    vf_store(all, s);
    vf_store(inverses, vf_if_less(zero, s, vf_div(vf_set(1.0f), s), zero));
    vf_store_f16(f16, s);
    while (n_fit < n_groups && all[n_fit] < INFINITY) n_fit++;
    memcpy(scales, f16, n_fit * sizeof *scales);
    for (size_t g = 0; g < n_fit; g++) {
        size_t i = g * group_size, m = n - i < group_size ? n - i : group_size;
        qd_grid grid = {all[g], inverses[g], -half, full_range ? half - 1 : half};
        pack_group(w + i, m, n_left - i, &grid, p, packed + i / 8 * p.bits);
    }
    return n_fit;
}

/* Blocks of at most 16 groups, which stay in L1 between the two passes if groups are small. */
static size_t v_quantize_pack(const float *w, size_t n, size_t group_size, unsigned bits, bool full_range,
                              uint16_t *scales, uint8_t *packed) {
    packing p = packing_of(bits, true);
    int32_t half = full_range ? 1 << (bits - 1) : (1 << (bits - 1)) - 1;
    size_t done = 0, per_block = 4096 / group_size;
    if (group_size > n) group_size = n;
    per_block = per_block < 1 ? 1 : per_block > QD_STEP ? QD_STEP : per_block;
    for (size_t i = 0; i < n;) {
        size_t n_groups = (n - i + group_size - 1) / group_size;
        if (n_groups > per_block) n_groups = per_block;
        size_t m = n - i < n_groups * group_size ? n - i : n_groups * group_size;
        size_t n_fit = pack_block(w + i, m, n - i, group_size, half, full_range, p, scales + done,
                                  packed + i / 8 * bits);
        done += n_fit;
        if (n_fit < n_groups) break;
        i += m;
    }
    return done;
}
