/* cpu.c - which vector registers the CPU has and the system saves. */
#include "lanes.h"

#if defined(__x86_64__)
#include <cpuid.h>

static uint32_t saved_state(void) {
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    (void)high;
    return low;
}

unsigned qd_cpu_features(void) {
    unsigned a, b, c, d, found = 0;
    const unsigned fma = 1u << 12, avx = 1u << 28, osxsave = 1u << 27, f16c = 1u << 29;
    const unsigned needed = fma | avx | osxsave | f16c, avx2 = 1u << 5, avx512f = 1u << 16;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & needed) != needed) return 0;
    uint32_t state = saved_state();
    if ((state & 0x06) != 0x06) return 0; /* XMM, YMM */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    if (b & avx2) found |= QD_CPU_AVX2;
    if ((b & avx512f) && (b & avx2) && (state & 0xe6) == 0xe6) found |= QD_CPU_AVX512; /* and opmask, both ZMM halves */
    return found;
}
#elif defined(__aarch64__)
unsigned qd_cpu_features(void) {
    return QD_CPU_NEON; /* part of the architecture */
}
#else
unsigned qd_cpu_features(void) {
    return 0;
}
#endif
