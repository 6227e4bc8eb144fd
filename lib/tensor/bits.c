/* bits.c - codes of 2 to 8 bits in words of 32, and matrices of them: decoded by panels of rows.
 *
 * The programs that wrote these files multiply in the type of the scales, so that a value is one exact product of a
 * small integer and a scale, rounded once: here the product is made in f32, where it is exact, and rounded to that
 * type. */
#include <math.h>
#include <string.h>

#include "tensor/quantized.h"

enum {
    PANEL = 16,       /* rows at once: their words, side by side, fill a line of cache */
    CHUNK = 256,      /* codes of a row at once: whole words whatever the bits */
    MAX_TABLE = 256   /* groups whose scales are fetched before the elements of a row in any order of groups */
};

static uint32_t word_at(const uint8_t *p) {
    uint32_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

static const uint8_t *word_address(const qd_bits *b, size_t lane, size_t i) {
    return b->words + (lane * b->lane_stride + i * b->word_stride) * sizeof(uint32_t);
}

uint64_t qd_bits_words(qd_bits_order order, unsigned bits, uint64_t n) {
    uint64_t per_word = 32 / bits;
    if (order == QD_BITS_PLANES) return (n / 32 + (n % 32 != 0)) * bits;
    if (order == QD_BITS_DENSE) return n / 32 * bits + (n % 32 * bits + 31) / 32;
    return n / per_word + (n % per_word != 0);
}

/* Widths of the planes, lowest first: 8, 4 or 2 bits, then what is left as 2 and 1. */
static unsigned plane_code(const qd_bits *b, size_t lane, size_t i) {
    unsigned code = 0, done = 0, left = b->bits;
    size_t base = i / 32 * b->bits;
    while (left > 0) {
        unsigned width = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1, per_word = 32 / width;
        size_t at = i % 32;
        uint32_t w = word_at(word_address(b, lane, base + at / per_word));
        code |= (w >> (at % per_word * width) & ((1u << width) - 1)) << done;
        base += width;
        done += width;
        left -= width;
    }
    return code;
}

static const uint8_t awq_place[8] = {0, 4, 1, 5, 2, 6, 3, 7};

unsigned qd_bits_at(const qd_bits *b, size_t lane, size_t i) {
    uint32_t mask = (1u << b->bits) - 1;
    size_t per_word = 32 / b->bits;
    if (b->order == QD_BITS_PLANES) return plane_code(b, lane, i);
    if (b->order == QD_BITS_AWQ) return word_at(word_address(b, lane, i / 8)) >> (4 * awq_place[i % 8]) & mask;
    if (b->order == QD_BITS_PADDED) {
        return word_at(word_address(b, lane, i / per_word)) >> (i % per_word * b->bits) & mask;
    }
    size_t word = i / 32 * b->bits + i % 32 * b->bits / 32;
    unsigned shift = (unsigned)(i % 32 * b->bits % 32);
    uint32_t code = word_at(word_address(b, lane, word)) >> shift;
    if (shift + b->bits > 32) code |= word_at(word_address(b, lane, word + 1)) << (32 - shift);
    return code & mask;
}

/* --- codes of rows as floats, less 2^(bits - 1): out[n_rows][n] --- */

static void values_of_floats(const qd_quantized *q, const qd_kernels *kernels, size_t first, size_t n, float *out) {
    if (q->values_dtype == QDISP_DTYPE_I8) {
        kernels->scale_codes((const int8_t *)q->values + first, n, 1, out);
        return;
    }
    const float *x = qd_load_f32(kernels, q->values, q->values_dtype, first, n, out);
    if (x != out) memcpy(out, x, n * sizeof *out);
}

/* Streams along the rows of the matrix: from column `first`, words gathered for a panel, then unpacked a row each. */
static void values_along(const qd_quantized *q, const qd_kernels *kernels, size_t row, size_t n_rows, size_t first,
                         size_t n, float *out) {
    const qd_bits *b = &q->codes;
    uint32_t words[PANEL][CHUNK / 32 * 8];
    int8_t codes[CHUNK];
    size_t n_words = (size_t)qd_bits_words(b->order, b->bits, q->base.n_columns);
    for (size_t done = 0; done < n;) {
        size_t at = first + done, skip = at % CHUNK, m = CHUNK - skip < n - done ? CHUNK - skip : n - done;
        size_t word = (at - skip) / 32 * b->bits, n_chunk = (size_t)qd_bits_words(b->order, b->bits, skip + m);
        n_chunk = n_chunk < n_words - word ? n_chunk : n_words - word;
        for (size_t w = 0; w < n_chunk; w++)
            for (size_t r = 0; r < n_rows; r++) words[r][w] = word_at(word_address(b, row + r, word + w));
        for (size_t r = 0; r < n_rows; r++) {
            kernels->unpack_bits((const uint8_t *)words[r], skip + m, b->bits, true, codes);
            kernels->scale_codes(codes + skip, m, 1, out + r * n + done);
        }
        done += m;
    }
}

/* AWQ: eight neighbouring rows lie in the words of a column, which are gathered once for them. */
static void values_awq(const qd_quantized *q, const qd_kernels *kernels, size_t row, size_t n_rows, size_t first,
                       size_t n, float *out) {
    const qd_bits *b = &q->codes;
    uint32_t words[CHUNK];
    int8_t codes[CHUNK];
    for (size_t done = 0; done < n; done += CHUNK) {
        size_t m = n - done < CHUNK ? n - done : CHUNK;
        for (size_t r = 0; r < n_rows; r++) {
            if (r == 0 || (row + r) % 8 == 0) {
                for (size_t i = 0; i < m; i++) words[i] = word_at(word_address(b, first + done + i, (row + r) / 8));
            }
            unsigned shift = 4u * awq_place[(row + r) % 8];
            for (size_t i = 0; i < m; i++) codes[i] = (int8_t)((int)(words[i] >> shift & 15) - 8);
            kernels->scale_codes(codes, m, 1, out + r * n + done);
        }
    }
}

/* All others, a code at a time. */
static void values_any(const qd_quantized *q, size_t row, size_t n_rows, size_t first, size_t n, float *out) {
    const qd_bits *b = &q->codes;
    float half = (float)(1u << (b->bits - 1));
    for (size_t i = 0; i < n; i++) {
        for (size_t r = 0; r < n_rows; r++) {
            out[r * n + i] = (float)qd_bits_at(b, row + r, first + i) - half;
        }
    }
}

/* --- scales --- */

static float scale_of(const qd_quantized *q, const qd_kernels *kernels, size_t row, size_t group) {
    size_t i = row / q->row_block * q->scale_row + group * q->scale_group;
    float buffer, s;
    if (q->scale_dtype == QDISP_DTYPE_U8) {
        s = ldexpf(1, (int)((const uint8_t *)q->scales)[i] - 127);
    } else {
        s = *qd_load_f32(kernels, q->scales, q->scale_dtype, i, 1, &buffer);
    }
    if (q->divisor == 0) return s;
    s /= q->divisor;
    return q->scale_is_bf16 ? qd_bf16_to_f32(qd_f32_to_bf16(s)) : s;
}

/* Less 2^(bits - 1), as the codes are. */
static float zero_of(const qd_quantized *q, size_t row, size_t group) {
    int zero = q->zero_bias, half = q->codes.bits ? 1 << (q->codes.bits - 1) : 0;
    switch (q->zeros_kind) {
    case QD_ZEROS_CONSTANT: break;
    case QD_ZEROS_OF_GROUPS: zero += (int)qd_bits_at(&q->zeros, group, row); break;
    case QD_ZEROS_OF_ROWS: zero += (int)qd_bits_at(&q->zeros, row, group); break;
    case QD_ZEROS_I8: zero += q->zeros_i8[row / q->row_block * q->scale_row + group * q->scale_group]; break;
    }
    return (float)(zero - half);
}

/* x[n] of one row from column first on: a run a group. */
static void scale_runs(const qd_quantized *q, const qd_kernels *kernels, size_t row, size_t first, size_t n, float *x) {
    for (size_t i = 0; i < n;) {
        size_t group = (first + i) / q->group_size, left = q->group_size - (first + i) % q->group_size;
        size_t end = n - i < left ? n : i + left;
        float s = scale_of(q, kernels, row, group), z = zero_of(q, row, group);
        for (; i < end; i++) x[i] = (x[i] - z) * s;
    }
}

static size_t group_at(const qd_quantized *q, size_t column) {
    int32_t g;
    memcpy(&g, q->g_idx + column * sizeof g, sizeof g);
    return (size_t)g;
}

/* The same with columns in any order of groups. */
static void scale_each(const qd_quantized *q, const qd_kernels *kernels, size_t row, size_t first, size_t n, float *x) {
    float s[MAX_TABLE], z[MAX_TABLE];
    if (q->n_groups > MAX_TABLE || n < q->n_groups) {
        for (size_t i = 0; i < n; i++) {
            size_t g = group_at(q, first + i);
            x[i] = (x[i] - zero_of(q, row, g)) * scale_of(q, kernels, row, g);
        }
        return;
    }
    for (size_t g = 0; g < q->n_groups; g++) {
        s[g] = scale_of(q, kernels, row, g);
        z[g] = zero_of(q, row, g);
    }
    for (size_t i = 0; i < n; i++) {
        size_t g = group_at(q, first + i);
        x[i] = (x[i] - z[g]) * s[g];
    }
}

void qd_round_values(const qd_kernels *kernels, qdisp_dtype dtype, size_t n, float *x) {
    if (dtype == QDISP_DTYPE_F16) kernels->round_f16(x, n, x);
    if (dtype != QDISP_DTYPE_BF16) return;
    for (size_t i = 0; i < n; i++) { /* qd_f32_to_bf16, without branches for the compiler's sake */
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        uint32_t is_nan = (int32_t)(bits & 0x7fffffff) > 0x7f800000;
        uint32_t add = is_nan ? 0 : 0x7fff + (bits >> 16 & 1);
        bits = ((bits + add) | is_nan << 22) & 0xffff0000;
        memcpy(&x[i], &bits, sizeof bits);
    }
}

static void read_panel(const qd_quantized *q, const qd_kernels *kernels, size_t row, size_t n_rows, size_t first,
                       size_t n, float *out) {
    if (q->codes.bits == 0) {
        values_of_floats(q, kernels, row * q->base.n_columns + first, n_rows * n, out);
    } else if (!q->is_column && q->codes.order == QD_BITS_DENSE) {
        values_along(q, kernels, row, n_rows, first, n, out);
    } else if (q->is_column) {
        values_awq(q, kernels, row, n_rows, first, n, out);
    } else {
        values_any(q, row, n_rows, first, n, out);
    }
    for (size_t r = 0; r < n_rows; r++) {
        if (q->g_idx) scale_each(q, kernels, row + r, first, n, out + r * n);
        else scale_runs(q, kernels, row + r, first, n, out + r * n);
    }
    for (size_t i = 0; q->factor != 0 && i < n_rows * n; i++) out[i] *= q->factor;
    qd_round_values(kernels, q->rounding, n_rows * n, out);
}

/* --- elements that are not quantized --- */

static size_t kept_at(const qd_quantized *q, size_t i) {
    int64_t place;
    memcpy(&place, q->kept_index + i * sizeof place, sizeof place);
    return (size_t)place;
}

static void read_kept(const qd_quantized *q, const qd_kernels *kernels, size_t first, size_t n, float *out) {
    size_t low = 0, high = q->n_kept;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (kept_at(q, middle) < first) low = middle + 1;
        else high = middle;
    }
    for (; low < q->n_kept && kept_at(q, low) < first + n; low++) {
        float buffer;
        out[kept_at(q, low) - first] = *qd_load_f32(kernels, q->kept_values, q->kept_dtype, low, 1, &buffer);
    }
}

void qd_quantized_read(const qd_packed *packed, const qd_kernels *kernels, size_t first, size_t n, float *out) {
    const qd_quantized *q = (const qd_quantized *)packed;
    size_t n_columns = packed->n_columns, first_read = first, n_read = n;
    float *read = out;
    while (n > 0) {
        size_t row = first / n_columns, column = first % n_columns, n_rows = column == 0 ? n / n_columns : 0;
        size_t m = n_columns;
        if (n_rows == 0) {
            n_rows = 1;
            m = n < n_columns - column ? n : n_columns - column;
        } else if (n_rows > PANEL - row % PANEL) {
            n_rows = PANEL - row % PANEL;
        }
        read_panel(q, kernels, row, n_rows, column, m, out);
        first += n_rows * m;
        out += n_rows * m;
        n -= n_rows * m;
    }
    if (q->n_kept > 0) read_kept(q, kernels, first_read, n_read, read);
}
