/* harness.h - the whole test framework: a C test is a program of TEST functions, run by RUN, closed by TEST_END. */
#ifndef HARNESS_H
#define HARNESS_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int harness_n_passed, harness_n_failed, harness_n_skipped, harness_bad, harness_skip;

#define TEST(name) static void name(void)
#define RUN(name)                                                \
    do {                                                         \
        harness_bad = harness_skip = 0;                          \
        name();                                                  \
        if (harness_bad) {                                       \
            harness_n_failed++;                                  \
            printf("FAIL %s\n", #name);                          \
        } else if (harness_skip) {                               \
            harness_n_skipped++;                                 \
        } else {                                                 \
            harness_n_passed++;                                  \
        }                                                        \
        fflush(stdout);                                          \
    } while (0)
/* A test that cannot run says why, and counts as skipped. */
#define SKIP(...)                             \
    do {                                      \
        harness_skip = 1;                     \
        printf("skipped %s: ", __func__);     \
        printf(__VA_ARGS__);                  \
        printf("\n");                         \
        return;                               \
    } while (0)
#define TEST_END()                                                                                              \
    (printf("%d passed, %d failed, %d skipped\n", harness_n_passed, harness_n_failed, harness_n_skipped),       \
     harness_n_failed ? 1 : 0)

#define CHECK(condition)                                                          \
    do {                                                                          \
        if (!(condition)) {                                                       \
            harness_bad = 1;                                                      \
            printf("%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);      \
        }                                                                         \
    } while (0)
#define CHECK_STATUS(call, expected)                                                                          \
    do {                                                                                                      \
        int harness_got = (int)(call);                                                                        \
        if (harness_got != (int)(expected)) {                                                                 \
            harness_bad = 1;                                                                                  \
            printf("%s:%d: %s gave %d, expected %s\n", __FILE__, __LINE__, #call, harness_got, #expected);    \
        }                                                                                                     \
    } while (0)
/* |a - b| <= tolerance * max(|a|, |b|), and equal infinities or both NaN pass. */
#define CHECK_NEAR(a, b, tolerance)                                                                           \
    do {                                                                                                      \
        double harness_a = (double)(a), harness_b = (double)(b);                                              \
        int harness_same = harness_a == harness_b || (isnan(harness_a) && isnan(harness_b)) ||                \
                           fabs(harness_a - harness_b) <= (tolerance) * fmax(fabs(harness_a), fabs(harness_b)); \
        if (!harness_same) {                                                                                  \
            harness_bad = 1;                                                                                  \
            printf("%s:%d: %s = %.17g, %s = %.17g: differ by more than %g (relative)\n", __FILE__, __LINE__, #a, \
                   harness_a, #b, harness_b, (double)(tolerance));                                            \
        }                                                                                                     \
    } while (0)
#define CHECK_STR(a, b)                                                                                       \
    do {                                                                                                      \
        const char *harness_a = (a), *harness_b = (b);                                                        \
        if (!harness_a || !harness_b || strcmp(harness_a, harness_b)) {                                       \
            harness_bad = 1;                                                                                  \
            printf("%s:%d: \"%s\" is not \"%s\"\n", __FILE__, __LINE__, harness_a ? harness_a : "(null)",       \
                   harness_b ? harness_b : "(null)");                                                         \
        }                                                                                                     \
    } while (0)
/* The text holds the part: for error messages. */
#define CHECK_HAS(text, part)                                                                                 \
    do {                                                                                                      \
        const char *harness_a = (text), *harness_b = (part);                                                  \
        if (!harness_a || !strstr(harness_a, harness_b)) {                                                    \
            harness_bad = 1;                                                                                  \
            printf("%s:%d: \"%s\" does not mention \"%s\"\n", __FILE__, __LINE__, harness_a ? harness_a : "",  \
                   harness_b);                                                                                \
        }                                                                                                     \
    } while (0)

#endif
