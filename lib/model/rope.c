/* rope.c - positions: rotary turns with their scalings, ALiBi slopes, T5's buckets, sinusoids.
 *
 * Frequencies and angles are rounded to f32 where transformers' modeling_rope_utils.py does so. */
#include <math.h>
#include <string.h>

#include "model/run.h"

#define PI 3.14159265358979323846

bool qd_rope_is_dynamic(const qd_rope *rope) {
    return rope->scaling == QD_ROPE_DYNAMIC || rope->scaling == QD_ROPE_LONG;
}

/* Yarn's ramp (Peng et al. 2023, section 3.2): dimension where `turns` full turns fit in the original context. */
static double yarn_dimension(const qd_rope *r, double turns) {
    return (double)r->n_rot * log((double)r->n_original / (turns * 2 * PI)) / (2 * log(r->theta));
}

static float yarn_frequency(const qd_rope *r, size_t i, float plain) {
    double low = yarn_dimension(r, r->beta_fast), high = yarn_dimension(r, r->beta_slow);
    if (r->truncate) low = floor(low), high = ceil(high);
    if (low < 0) low = 0;
    if (high > (double)r->n_rot - 1) high = (double)r->n_rot - 1;
    if (low == high) high += 0.001;
    float ramp = ((float)i - (float)low) / (float)(high - low), kept;
    kept = 1.0f - (ramp < 0 ? 0.0f : ramp > 1 ? 1.0f : ramp);
    float slow = 1.0f / ((float)r->factor * (1.0f / plain));
    return slow * (1.0f - kept) + plain * kept;
}

static float llama3_frequency(const qd_rope *r, float plain) {
    float wave = 2 * (float)PI / plain, n = (float)r->n_original;
    if (wave > n / (float)r->low_factor) return plain / (float)r->factor;
    if (wave < n / (float)r->high_factor) return plain;
    float smooth = (n / wave - (float)r->low_factor) / (float)(r->high_factor - r->low_factor);
    return (1 - smooth) * plain / (float)r->factor + smooth * plain;
}

static float frequency(const qd_rope *r, size_t i, size_t n_tokens) {
    double theta = r->theta, n_rot = (double)r->n_rot;
    if (r->scaling == QD_ROPE_DYNAMIC && n_tokens > r->n_original) {
        double grown = r->factor * (double)n_tokens / (double)r->n_original - (r->factor - 1);
        theta *= pow(grown, n_rot / (n_rot - 2));
    }
    float plain = 1.0f / (float)pow(theta, (double)((float)(2 * i) / (float)r->n_rot));
    switch (r->scaling) {
    case QD_ROPE_LINEAR: return plain / (float)r->factor;
    case QD_ROPE_YARN: return yarn_frequency(r, i, plain);
    case QD_ROPE_LLAMA3: return llama3_frequency(r, plain);
    case QD_ROPE_LONG: return plain / r->factors[n_tokens > r->n_original][i];
    case QD_ROPE_FACTORS: return plain / r->factors[0][i];
    default: return plain;
    }
}

void qd_rope_divisors(const qd_rope *r, float *out) {
    qd_rope plain = *r;
    plain.scaling = QD_ROPE_PLAIN;
    for (size_t i = 0; i < r->n_rot / 2; i++) out[i] = frequency(&plain, i, 1) / frequency(r, i, 1);
}

void qd_rope_table(const qd_rope *r, size_t n_tokens, float *cos_out, float *sin_out) {
    size_t n = r->n_rot / 2;
    double magnitude = r->magnitude > 0 ? r->magnitude : 1;
    for (size_t i = 0; i < n; i++) {
        float f = frequency(r, i, n_tokens);
        for (size_t p = 0; p < n_tokens; p++) {
            float angle = (float)p * f;
            cos_out[p * n + i] = (float)(cos((double)angle) * magnitude);
            sin_out[p * n + i] = (float)(sin((double)angle) * magnitude);
        }
    }
}

/* Slope of a head, Press et al. 2022 section 3: 2^(-8 (i + 1) / n) for n a power of two, else those of the power
 * below, followed by every other one of twice that power (their reference code, which transformers follows). */
static float alibi_slope(size_t i_head, size_t n_head) {
    size_t power = 1;
    while (2 * power <= n_head) power *= 2;
    double exponent = i_head < power ? 8.0 * (double)(i_head + 1) / (double)power
                                     : 8.0 * (double)(2 * (i_head - power) + 1) / (double)(2 * power);
    return (float)exp2(-exponent);
}

static float round_bf16(float x) {
    return qd_bf16_to_f32(qd_f32_to_bf16(x));
}

static void make_alibi(const qd_model_config *c, size_t i_head, size_t longest, float *out) {
    float slope = alibi_slope(i_head, c->n_head);
    for (size_t j = 0; j < longest; j++) {
        out[j] = c->alibi_bf16 ? round_bf16(round_bf16(slope) * round_bf16((float)j)) : slope * (float)j;
    }
}

/* T5's bucket of the distance key - query (Raffel et al. 2020, appendix of their code): near ones each have their own,
 * far ones share by the logarithm. */
static size_t bucket_of(ptrdiff_t distance, bool both_ways, size_t n_buckets, size_t max_distance) {
    size_t first = 0;
    if (both_ways) {
        n_buckets /= 2;
        if (distance > 0) first = n_buckets;
    } else if (distance > 0) {
        distance = 0;
    }
    size_t d = (size_t)(distance < 0 ? -distance : distance), n_exact = n_buckets / 2;
    if (d < n_exact) return first + d;
    float part = logf((float)d / (float)n_exact) / (float)log((double)max_distance / (double)n_exact);
    size_t far = n_exact + (size_t)(part * (float)(n_buckets - n_exact));
    return first + (far < n_buckets - 1 ? far : n_buckets - 1);
}

static qdisp_status make_relative(const qdisp_model *m, size_t longest, bool encoder, float **out) {
    const qd_model_config *c = &m->config;
    size_t i_tensor = qd_model_index(m, 0, 0, encoder ? QD_SLOT_ENCODER_RELATIVE : QD_SLOT_RELATIVE);
    if (i_tensor == QD_NONE) return QDISP_OK;
    float *table = qd_alloc(m->ctx, c->n_buckets * c->n_head, sizeof *table);
    float *bias = *out = qd_alloc_aligned(m->ctx, c->n_head * (2 * longest - 1), sizeof *bias);
    qdisp_status status = table && bias ? QDISP_OK : QDISP_ENOMEM;
    if (status == QDISP_OK) status = qdisp_model_read(m, i_tensor, 0, c->n_buckets * c->n_head, table);
    for (size_t i = 0; i < 2 * longest - 1 && status == QDISP_OK; i++) {
        size_t bucket = bucket_of((ptrdiff_t)i - (ptrdiff_t)longest + 1, encoder, c->n_buckets, c->max_distance);
        for (size_t h = 0; h < c->n_head; h++) bias[h * (2 * longest - 1) + i] = table[bucket * c->n_head + h];
    }
    qd_free(m->ctx, table);
    return status;
}

/* Vaswani et al. 2017 as fairseq and XGLM have it: sines first, then cosines. */
static void make_sinusoid(const qd_model_config *c, size_t longest, float *out) {
    size_t half = c->n_embd / 2;
    double step = -log(10000.0) / ((double)half - 1);
    for (size_t p = 0; p < longest; p++) {
        for (size_t i = 0; i < half; i++) {
            float angle = (float)(p + c->position_offset) * expf((float)i * (float)step);
            out[p * c->n_embd + i] = (float)sin((double)angle);
            out[p * c->n_embd + half + i] = (float)cos((double)angle);
        }
    }
}

static qdisp_status make_turns(qdisp_ctx *ctx, const qd_rope *r, size_t longest, float **cos_out, float **sin_out) {
    *cos_out = qd_alloc_aligned(ctx, longest * (r->n_rot / 2) + 1, sizeof(float));
    *sin_out = qd_alloc_aligned(ctx, longest * (r->n_rot / 2) + 1, sizeof(float));
    if (!*cos_out || !*sin_out) return QDISP_ENOMEM;
    size_t n = qd_rope_is_dynamic(r) && longest > r->n_original ? r->n_original : longest;
    qd_rope_table(r, n, *cos_out, *sin_out);
    return QDISP_OK;
}

qdisp_status qd_positions_make(const qdisp_model *m, size_t longest, qd_positions *p) {
    const qd_model_config *c = &m->config;
    p->longest = longest;
    switch (c->position) {
    case QD_POSITION_ROPE:
        QD_TRY(make_turns(m->ctx, &c->rope[0], longest, &p->cos[0], &p->sin[0]));
        if (c->local_rope) QD_TRY(make_turns(m->ctx, &c->rope[1], longest, &p->cos[1], &p->sin[1]));
        return QDISP_OK;
    case QD_POSITION_ALIBI:
        if (!(p->alibi = qd_alloc(m->ctx, c->n_head * longest, sizeof(float)))) return QDISP_ENOMEM;
        for (size_t h = 0; h < c->n_head; h++) make_alibi(c, h, longest, p->alibi + h * longest);
        return QDISP_OK;
    case QD_POSITION_RELATIVE:
        QD_TRY(make_relative(m, longest, false, &p->relative[0]));
        return make_relative(m, longest, true, &p->relative[1]);
    case QD_POSITION_SINUSOIDAL:
        if (!(p->sinusoid = qd_alloc_aligned(m->ctx, longest * c->n_embd, sizeof(float)))) return QDISP_ENOMEM;
        make_sinusoid(c, longest, p->sinusoid);
        return QDISP_OK;
    default: return QDISP_OK;
    }
}

void qd_positions_free(qdisp_ctx *ctx, qd_positions *p) {
    for (size_t i = 0; i < 2; i++) {
        qd_free_aligned(ctx, p->cos[i]);
        qd_free_aligned(ctx, p->sin[i]);
        qd_free_aligned(ctx, p->relative[i]);
    }
    qd_free(ctx, p->alibi);
    qd_free_aligned(ctx, p->sinusoid);
}
