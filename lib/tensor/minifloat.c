/* minifloat.c - floats of 8 and 4 bits as packed tensors: a table of their values, by the names of safetensors.
 *
 * E4M3 and E2M1 have no infinity ("fn"): E4M3 gives its largest pattern to NaN, E2M1 has none. The forms "fnuz" have
 * one zero and one NaN, the pattern of -0, and a bias greater by 1. E8M0 is a power of two without sign or zero. The
 * values of all of them are bf16 (OCP 8-bit floating point 1.0, OCP microscaling formats 1.0). */
#include <math.h>
#include <string.h>

#include "tensor/tensor.h"

typedef enum not_finite { IEEE, LARGEST_IS_NAN, ALL_FINITE, MINUS_ZERO_IS_NAN } not_finite;

typedef struct kind {
    const char *name;
    int n_exponent, n_mantissa, bias;
    not_finite special;
} kind;

static const kind kinds[] = {
    {"F8_E4M3", 4, 3, 7, LARGEST_IS_NAN},
    {"F8_E5M2", 5, 2, 15, IEEE},
    {"F8_E4M3FNUZ", 4, 3, 8, MINUS_ZERO_IS_NAN},
    {"F8_E5M2FNUZ", 5, 2, 16, MINUS_ZERO_IS_NAN},
    {"F8_E8M0", 8, 0, 127, LARGEST_IS_NAN},
    {"F4", 2, 1, 1, ALL_FINITE},
};

typedef struct minifloats {
    qd_packed base;
    const uint8_t *data;
    float values[256]; /* of 4 bits: 16 */
} minifloats;

static float value_of(const kind *k, unsigned bits) {
    unsigned mantissa = bits & ((1u << k->n_mantissa) - 1), largest = (1u << k->n_exponent) - 1;
    unsigned exponent = bits >> k->n_mantissa & largest, sign = bits >> (k->n_mantissa + k->n_exponent) & 1;
    if (k->n_mantissa == 0) return exponent == largest ? NAN : ldexpf(1, (int)exponent - k->bias);
    bool top = exponent == largest && mantissa == (1u << k->n_mantissa) - 1;
    if (k->special == LARGEST_IS_NAN && top) return NAN;
    if (k->special == MINUS_ZERO_IS_NAN && sign && !exponent && !mantissa) return NAN;
    if (k->special == IEEE && exponent == largest) return mantissa ? NAN : sign ? -INFINITY : INFINITY;
    unsigned implicit = exponent ? 1u << k->n_mantissa : 0;
    float magnitude = ldexpf((float)(mantissa + implicit), (exponent ? (int)exponent : 1) - k->bias - k->n_mantissa);
    return sign ? -magnitude : magnitude;
}

static void read_bytes(const qd_packed *packed, const qd_kernels *kernels, size_t first, size_t n, float *out) {
    const minifloats *m = (const minifloats *)packed;
    (void)kernels;
    for (size_t i = 0; i < n; i++) out[i] = m->values[m->data[first + i]];
}

/* Two a byte, the first in the low half. */
static void read_nibbles(const qd_packed *packed, const qd_kernels *kernels, size_t first, size_t n, float *out) {
    const minifloats *m = (const minifloats *)packed;
    (void)kernels;
    size_t i = 0;
    if (first % 2 && n > 0) out[i++] = m->values[m->data[first / 2] >> 4];
    const uint8_t *pairs = m->data + (first + i) / 2;
    for (; i + 2 <= n; i += 2, pairs++) {
        out[i] = m->values[*pairs & 15];
        out[i + 1] = m->values[*pairs >> 4];
    }
    if (i < n) out[i] = m->values[*pairs & 15];
}

unsigned qd_minifloat_bits(const char *name) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(name, kinds[i].name)) return kinds[i].n_exponent == 2 ? 4 : 8;
    return 0;
}

qdisp_status qd_minifloat_pack(qd_tensor_file *file, qdisp_tensor *tensor, const char *name) {
    const kind *k = kinds;
    while (strcmp(k->name, name)) k++;
    minifloats *m = qd_alloc(file->ctx, 1, sizeof *m);
    if (!m) return QDISP_ENOMEM;
    unsigned bits = qd_minifloat_bits(name);
    m->base = (qd_packed){.read = bits == 4 ? read_nibbles : read_bytes, .format = k->name, .value = QDISP_DTYPE_BF16};
    qd_tensor_matrix(tensor, &m->base.n_rows, &m->base.n_columns);
    m->data = tensor->data;
    for (unsigned i = 0; i < 1u << bits; i++) m->values[i] = value_of(k, i);
    return qd_tensor_file_pack(file, tensor, &m->base, tensor->n_bytes);
}
