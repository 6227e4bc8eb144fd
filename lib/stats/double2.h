/* double2.h - sums and products to twice the precision of double, as an unevaluated sum of two (Dekker 1971). Without
 * fused operations, so the same everywhere. Operands stay far from overflow: callers scale. */
#ifndef QD_DOUBLE2_H
#define QD_DOUBLE2_H

typedef struct qd_double2 {
    double hi, lo; /* |lo| at most half a unit of hi's last place */
} qd_double2;

static inline qd_double2 qd_two_sum(double a, double b) { /* exact (Knuth) */
    double s = a + b, part = s - a;
    return (qd_double2){s, (a - (s - part)) + (b - part)};
}

static inline qd_double2 qd_two_product(double a, double b) { /* exact (Veltkamp, Dekker); |a|, |b| below 2^996 */
    double p = a * b, t = 134217729 * a, a_hi = t - (t - a), a_lo = a - a_hi; /* 2^27 + 1: halves of 26 bits */
    t = 134217729 * b;
    double b_hi = t - (t - b), b_lo = b - b_hi;
    return (qd_double2){p, ((a_hi * b_hi - p) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo};
}

/* Relative error of these two below 2^-102 (of add: of the larger operand where signs differ). */
static inline qd_double2 qd_add2(qd_double2 a, qd_double2 b) {
    qd_double2 s = qd_two_sum(a.hi, b.hi), t = qd_two_sum(a.lo, b.lo);
    s = qd_two_sum(s.hi, s.lo + t.hi);
    return qd_two_sum(s.hi, s.lo + t.lo);
}

static inline qd_double2 qd_multiply2(qd_double2 a, qd_double2 b) {
    qd_double2 p = qd_two_product(a.hi, b.hi);
    return qd_two_sum(p.hi, p.lo + (a.hi * b.lo + a.lo * b.hi));
}

static inline qd_double2 qd_negative2(qd_double2 a) {
    return (qd_double2){-a.hi, -a.lo};
}

static inline qd_double2 qd_mean2(const double *x, size_t n, double scale) { /* of scale x[i]; n > 0 */
    qd_double2 sum = {0, 0};
    for (size_t i = 0; i < n; i++) sum = qd_add2(sum, (qd_double2){x[i] * scale, 0});
    double quotient = sum.hi / (double)n;
    qd_double2 back = qd_two_product(quotient, (double)n);
    return qd_two_sum(quotient, ((sum.hi - back.hi) - back.lo + sum.lo) / (double)n);
}

#endif
