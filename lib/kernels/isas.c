/* isas.c - the instruction sets, weakest first: a row is (name, CPU bits it needs). */
#include "lanes.h"

#if defined(__x86_64__)
#define QD_ISAS(ROW) ROW(c, 0) ROW(avx2, QD_CPU_AVX2) ROW(avx512, QD_CPU_AVX512)
#elif defined(__aarch64__)
#define QD_ISAS(ROW) ROW(c, 0) ROW(neon, QD_CPU_NEON)
#else
#define QD_ISAS(ROW) ROW(c, 0)
#endif

#define DECLARE(name, bits) extern const qd_kernels qd_kernels_##name;
QD_ISAS(DECLARE)
#undef DECLARE

typedef struct isa_row {
    const char *name;
    unsigned bits;
    const qd_kernels *kernels;
} isa_row;

static const isa_row isas[] = {
#define LIST(name, bits) {#name, bits, &qd_kernels_##name},
    QD_ISAS(LIST)
#undef LIST
};

static const char *const all_names[] = {"c", "avx2", "avx512", "neon"};

const qd_kernels *qd_kernels_get(const char *isa, const char **chosen, int *known) {
    unsigned features = qd_cpu_features();
    const isa_row *best = NULL;
    if (known) {
        *known = isa == NULL;
        for (size_t i = 0; isa && i < sizeof all_names / sizeof *all_names; i++) {
            if (strcmp(isa, all_names[i]) == 0) *known = 1;
        }
    }
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        bool wanted = !isa || strcmp(isa, isas[i].name) == 0;
        if (wanted && (isas[i].bits & ~features) == 0) best = &isas[i];
    }
    if (best && chosen) *chosen = best->name;
    return best ? best->kernels : NULL;
}

size_t qd_kernels_list(const char *names[8]) {
    unsigned features = qd_cpu_features();
    size_t n = 0;
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        if ((isas[i].bits & ~features) == 0) names[n++] = isas[i].name;
    }
    return n;
}
