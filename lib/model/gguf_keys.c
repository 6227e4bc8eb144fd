/* gguf_keys.c - a model's config as keys of a GGUF file: what gguf_config.c reads, written. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "model/gguf_model.h"
#include "model/run.h"

/* Our architectures, general.architecture, and what is missing there. */
static const struct {
    const char *name, *gguf;
} archs[] = {{"llama", "llama"}, {"mistral", "llama"}, {"mixtral", "llama"}, {"qwen2", "qwen2"}, {"qwen3", "qwen3"},
             {"qwen3_moe", "qwen3moe"}, {"gemma", "gemma"}, {"gemma2", "gemma2"}, {"gemma3", "gemma3"},
             {"bloom", "bloom"}, {"gpt2", "gpt2"}, {"gpt_neox", "gptneox"}};
#define N_ARCHS (sizeof archs / sizeof *archs)

qdisp_status qd_gguf_architecture(const qdisp_model *m, const char **out) {
    char known[160];
    size_t n = 0;
    for (size_t i = 0; i < N_ARCHS; i++) {
        if (!strcmp(archs[i].name, m->arch->name)) {
            *out = archs[i].gguf;
            return QDISP_OK;
        }
        n += (size_t)snprintf(known + n, sizeof known - n, " %s", archs[i].name);
    }
    return qd_fail(m->ctx, QDISP_EUNSUPPORTED, "a %s model cannot be written as GGUF (there is%s, and whatever came "
                   "from a GGUF file)", m->arch->name, known);
}

typedef struct keys {
    qd_gguf_writer *w;
    const char *arch;
} keys;

static void put(const keys *k, const char *key, size_t x) {
    char name[96];
    snprintf(name, sizeof name, "%s.%s", k->arch, key);
    qd_gguf_put_u32(k->w, name, (uint32_t)x);
}

static void put_real(const keys *k, const char *key, double x) {
    char name[96];
    snprintf(name, sizeof name, "%s.%s", k->arch, key);
    qd_gguf_put_f32(k->w, name, (float)x);
}

static void put_text(const keys *k, const char *key, const char *x) {
    char name[96];
    snprintf(name, sizeof name, "%s.%s", k->arch, key);
    qd_gguf_put_text(k->w, name, x);
}

/* Positions the model is made for; only the config's text has it for models without a limit. */
static size_t context_length(const qdisp_model *m) {
    static const char *const names[] = {"max_position_embeddings", "n_positions", "seq_length"};
    json_t *json = json_loads(m->config_text, 0, NULL);
    json_int_t n = (json_int_t)m->config.n_positions;
    for (size_t i = 0; n <= 0 && i < sizeof names / sizeof *names; i++)
        n = json_integer_value(json_object_get(json, names[i]));
    json_decref(json);
    return n > 0 && n <= UINT32_MAX ? (size_t)n : 2048;
}

/* Frequencies are told by a type, or divided by what a tensor says: Llama 3's. */
static qdisp_status put_rope(const qdisp_model *m, const keys *k, float **factors, size_t *n_factors) {
    const qd_rope *r = &m->config.rope[0];
    put(k, "rope.dimension_count", r->n_rot);
    put_real(k, "rope.freq_base", r->theta);
    if (m->config.local_rope) put_real(k, "rope.freq_base_swa", m->config.rope[1].theta);
    switch (r->scaling) {
    case QD_ROPE_PLAIN: return QDISP_OK;
    case QD_ROPE_LINEAR:
        put_text(k, "rope.scaling.type", "linear");
        put_real(k, "rope.scaling.factor", r->factor);
        return QDISP_OK;
    case QD_ROPE_YARN:
        put_text(k, "rope.scaling.type", "yarn");
        put_real(k, "rope.scaling.factor", r->factor);
        put(k, "rope.scaling.original_context_length", r->n_original);
        put_real(k, "rope.scaling.yarn_beta_fast", r->beta_fast);
        put_real(k, "rope.scaling.yarn_beta_slow", r->beta_slow);
        return QDISP_OK;
    case QD_ROPE_LLAMA3: case QD_ROPE_FACTORS:
        *n_factors = r->n_rot / 2;
        *factors = qd_alloc(m->ctx, *n_factors, sizeof **factors);
        if (!*factors) return QDISP_ENOMEM;
        qd_rope_divisors(r, *factors);
        return QDISP_OK;
    default: return qd_fail(m->ctx, QDISP_EUNSUPPORTED, "rotary positions of this scaling cannot be written as GGUF "
                            "(there is linear, yarn, llama3)");
    }
}

static void put_window(const qdisp_model *m, const keys *k) {
    const qd_model_config *c = &m->config;
    if (!c->window || !strcmp(k->arch, "llama")) return;
    put(k, "attention.sliding_window", c->window);
    if (strcmp(k->arch, "gemma3")) return;
    char name[96];
    snprintf(name, sizeof name, "%s.attention.sliding_window_pattern", k->arch);
    qd_gguf_put_array(k->w, name, QD_GGUF_BOOL, c->is_local, c->n_layer);
}

qdisp_status qd_gguf_put_config(const qdisp_model *m, qd_gguf_writer *w, float **factors, size_t *n_factors) {
    const qd_model_config *c = &m->config;
    keys k = {.w = w};
    QD_TRY(qd_gguf_architecture(m, &k.arch));
    qd_gguf_put_text(w, "general.architecture", k.arch);
    put(&k, "vocab_size", c->n_vocab);
    put(&k, "context_length", context_length(m));
    put(&k, "embedding_length", c->n_embd);
    put(&k, "block_count", c->n_layer);
    put(&k, "feed_forward_length", c->n_ff ? c->n_ff : c->n_ff_expert);
    put(&k, "attention.head_count", c->n_head);
    put(&k, "attention.head_count_kv", c->n_kv_head);
    put_real(&k, c->rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon", (double)c->epsilon);
    if (c->head_dim * c->n_head != c->n_embd || !strncmp(k.arch, "gemma", 5)) {
        put(&k, "attention.key_length", c->head_dim);
        put(&k, "attention.value_length", c->head_dim);
    }
    if (c->n_expert) {
        put(&k, "expert_count", c->n_expert);
        put(&k, "expert_used_count", c->n_expert_used);
        put(&k, "expert_feed_forward_length", c->n_ff_expert);
    }
    if (c->attn_softcap > 0) put_real(&k, "attn_logit_softcapping", (double)c->attn_softcap);
    if (c->logit_softcap > 0) put_real(&k, "final_logit_softcapping", (double)c->logit_softcap);
    put_window(m, &k);
    if (!strcmp(k.arch, "gptneox")) qd_gguf_put_bool(w, "gptneox.use_parallel_residual", c->parallel);
    return c->position == QD_POSITION_ROPE ? put_rope(m, &k, factors, n_factors) : QDISP_OK;
}
