/* arch_bloom.c - BLOOM (BigScience 2022): ALiBi, q, k and v fused head by head, a norm after the embedding, tied head.
 * The order of operations follows transformers' modeling_bloom.py. */
#include "model/arch.h"

/* Beyond any model known, and small enough that no product of three of them passes 63 bits. */
#define MAX_LAYERS 1024
#define MAX_EMBD 65536
#define MAX_VOCAB ((size_t)1 << 24)

static const char *const class_names[] = {"BloomForCausalLM", "BloomModel", NULL};

static const qd_tensor_spec specs[] = {
    {QD_SLOT_EMBED, "word_embeddings.weight", "ve"},
    {QD_SLOT_EMBED_NORM, "word_embeddings_layernorm.weight", "e"},
    {QD_SLOT_EMBED_NORM_BIAS, "word_embeddings_layernorm.bias", "e"},
    {QD_SLOT_ATTN_NORM, "h.#.input_layernorm.weight", "e"},
    {QD_SLOT_ATTN_NORM_BIAS, "h.#.input_layernorm.bias", "e"},
    {QD_SLOT_ATTN_QKV, "h.#.self_attention.query_key_value.weight", "qe"},
    {QD_SLOT_ATTN_QKV_BIAS, "h.#.self_attention.query_key_value.bias", "q"},
    {QD_SLOT_ATTN_OUT, "h.#.self_attention.dense.weight", "ee"},
    {QD_SLOT_ATTN_OUT_BIAS, "h.#.self_attention.dense.bias", "e"},
    {QD_SLOT_MLP_NORM, "h.#.post_attention_layernorm.weight", "e"},
    {QD_SLOT_MLP_NORM_BIAS, "h.#.post_attention_layernorm.bias", "e"},
    {QD_SLOT_MLP_UP, "h.#.mlp.dense_h_to_4h.weight", "fe"},
    {QD_SLOT_MLP_UP_BIAS, "h.#.mlp.dense_h_to_4h.bias", "f"},
    {QD_SLOT_MLP_DOWN, "h.#.mlp.dense_4h_to_h.weight", "ef"},
    {QD_SLOT_MLP_DOWN_BIAS, "h.#.mlp.dense_4h_to_h.bias", "e"},
    {QD_SLOT_NORM, "ln_f.weight", "e"},
    {QD_SLOT_NORM_BIAS, "ln_f.bias", "e"},
};

static qdisp_status read_config(qdisp_ctx *ctx, const char *path, const json_t *json, qd_model_config *c) {
    /* The first BLOOM checkpoints say n_embed, later ones hidden_size. */
    QD_TRY(qd_config_size(ctx, path, json, "hidden_size", "n_embed", MAX_EMBD, &c->n_embd));
    QD_TRY(qd_config_size(ctx, path, json, "n_layer", "num_hidden_layers", MAX_LAYERS, &c->n_layer));
    QD_TRY(qd_config_size(ctx, path, json, "n_head", "num_attention_heads", MAX_EMBD, &c->n_head));
    QD_TRY(qd_config_size(ctx, path, json, "vocab_size", NULL, MAX_VOCAB, &c->n_vocab));
    if (c->n_embd % c->n_head) {
        return qd_fail(ctx, QDISP_EFORMAT, "%s: hidden_size %zu is no multiple of n_head %zu", path, c->n_embd,
                       c->n_head);
    }
    c->head_dim = c->n_embd / c->n_head;
    c->n_ff = 4 * c->n_embd;
    QD_TRY(qd_config_epsilon(ctx, path, json, "layer_norm_epsilon", &c->epsilon));
    QD_TRY(qd_config_bool(ctx, path, json, "apply_residual_connection_post_layernorm", false, &c->residual_normed));
    QD_TRY(qd_config_bool(ctx, path, json, "tie_word_embeddings", true, &c->tied_head));
    QD_TRY(qd_config_id(ctx, path, json, "bos_token_id", c->n_vocab, &c->bos_id));
    return qd_config_id(ctx, path, json, "eos_token_id", c->n_vocab, &c->eos_id);
}

static qdisp_status block(const qd_block *b) {
    const qd_model_config *c = &b->model->config;
    size_t n_rows = b->chunk->n_rows, n = n_rows * c->n_embd;

    qd_layer_norm(b, b->h, QD_SLOT_ATTN_NORM, b->normed);
    QD_TRY(qd_linear_run(b, QD_SLOT_ATTN_QKV, b->normed, true, b->wide));
    qd_attention_alibi(b);
    /* The residual must survive in h: with residual_normed it is the normed rows, else h itself. */
    if (c->residual_normed) {
        for (size_t i = 0; i < n; i++) b->h[i] = b->normed[i];
    }
    QD_TRY(qd_linear_run(b, QD_SLOT_ATTN_OUT, b->mixed, true, b->normed));
    qd_rows_add(b->h, b->normed, n);

    qd_layer_norm(b, b->h, QD_SLOT_MLP_NORM, b->normed);
    QD_TRY(qd_linear_run(b, QD_SLOT_MLP_UP, b->normed, false, b->wide));
    b->kernels->bias_act(QD_ACT_GELU_TANH, b->wide, b->weights[QD_SLOT_MLP_UP_BIAS], n_rows, c->n_ff);
    if (c->residual_normed) {
        for (size_t i = 0; i < n; i++) b->h[i] = b->normed[i];
    }
    QD_TRY(qd_linear_run(b, QD_SLOT_MLP_DOWN, b->wide, true, b->mixed));
    qd_rows_add(b->h, b->mixed, n);
    return QDISP_OK;
}

extern const qd_arch qd_arch_bloom;
const qd_arch qd_arch_bloom = {
    .name = "bloom",
    .class_names = class_names,
    .prefix = "transformer.",
    .head_name = "lm_head.weight",
    .specs = specs,
    .n_specs = sizeof specs / sizeof *specs,
    .read_config = read_config,
    .block = block,
};
