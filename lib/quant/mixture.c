/* mixture.c - the lists of numbers that a plan and its options hold, "damp=0.01" and "en:0.07,de:0.12", and the mixture
 * of languages that the second means. */
#include "quant/quant.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Next "name:number" (or =) of a comma-separated list, n characters of name; false at what is none. */
static bool next_pair(const char **text, char between, size_t *n, double *value) {
    char *end = NULL;
    *n = strcspn(*text, ":=,");
    if (*n == 0 || (*text)[*n] != between) return false;
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c_locale) return false;
    *value = strtod_l(*text + *n + 1, &end, c_locale);
    freelocale(c_locale);
    if (end == *text + *n + 1 || !isfinite(*value) || (*end && *end != ',') || (*end && !end[1])) return false;
    *text = *end ? end + 1 : end;
    return true;
}

/* The value of a name of n characters in such a list, the first that is there. */
static double pair_value(const char *text, char between, const char *name, size_t n_name, double missing) {
    size_t n;
    double value;
    for (const char *at = text, *word = at; *at && next_pair(&at, between, &n, &value); word = at)
        if (n == n_name && !strncmp(word, name, n)) return value;
    return missing;
}

double qd_choice_option(const qd_choice *c, const char *name, double missing) {
    return c->options ? pair_value(c->options, '=', name, strlen(name), missing) : missing;
}

double qd_choice_weight(const qd_choice *c, const char *tag, double missing) {
    return c->weights ? pair_value(c->weights, ':', tag, strlen(tag), 0) : missing;
}

/* Is a word of n characters in a comma-separated list? */
static bool is_known(const char *list, const char *word, size_t n) {
    for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',')
        if (strcspn(at, ",") == n && !strncmp(at, word, n)) return true;
    return false;
}

qdisp_status qd_options_check(qdisp_ctx *ctx, const char *place, const char *text, const qd_method *method) {
    const char *known = method->options ? method->options : "", *at = text, *word = at;
    double value;
    size_t n;
    for (; next_pair(&at, '=', &n, &value); word = at)
        if (!is_known(known, word, n))
            return qd_fail(ctx, QDISP_EINVAL, "%s: options: %s has no option '%.*s'%s%s", place, method->name,
                           (int)(n < 40 ? n : 40), word, *known ? ", but " : "", known);
    if (!*at && at > text) return QDISP_OK;
    return qd_fail(ctx, QDISP_EINVAL, "%s: options is not name=number pairs with commas between them", place);
}

qdisp_status qd_weights_check(qdisp_ctx *ctx, const char *place, const char *text) {
    const char *at = text, *word = at;
    double sum = 0, lambda;
    size_t n;
    for (; next_pair(&at, ':', &n, &lambda) && lambda >= 0; word = at) {
        if (pair_value(at, ':', word, n, -1) >= 0)
            return qd_fail(ctx, QDISP_EINVAL, "%s: weights names %.*s twice", place, (int)(n < 40 ? n : 40), word);
        sum += lambda;
    }
    if (!*at && fabs(sum - 1) < 1e-3) return QDISP_OK;
    return qd_fail(ctx, QDISP_EINVAL,
                   "%s: weights is not language:weight pairs with commas between them and a sum of 1", place);
}

qdisp_status qd_mix_languages(qdisp_ctx *ctx, const qd_languages *languages, size_t i_choice, const qd_choice *c,
                              double *out) {
    double total = 0, mean = 0;
    memset(out, 0, c->n_in * sizeof *out);
    for (size_t l = 0; l < languages->n; l++) {
        double lambda = qd_choice_weight(c, languages->tags ? languages->tags[l] : "", 1 / (double)languages->n);
        double sum = 0;
        total += lambda;
        for (size_t fold = 0; fold < QD_N_FOLDS; fold++) {
            const qd_energy *e = &languages->energies[(fold * languages->n_choices + i_choice) * languages->n + l];
            for (size_t j = 0; j < c->n_in; j++) sum += e->scale * e->squares[j];
        }
        for (size_t fold = 0; fold < QD_N_FOLDS && sum > 0; fold++) {
            const qd_energy *e = &languages->energies[(fold * languages->n_choices + i_choice) * languages->n + l];
            for (size_t j = 0; j < c->n_in; j++) out[j] += lambda * e->scale * e->squares[j] / sum;
        }
    }
    if (!(fabs(total - 1) < 1e-2))
        return qd_fail(ctx, QDISP_EMISMATCH, "%s: weights '%.80s' name a language of which there are no statistics",
                       c->name, c->weights);
    for (size_t j = 0; j < c->n_in; j++) mean += out[j] / (double)c->n_in;
    for (size_t j = 0; j < c->n_in; j++) out[j] = mean > 0 ? out[j] / mean : 1; /* idle inputs: even */
    return QDISP_OK;
}
